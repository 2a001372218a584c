//! Where a fine-tuning stands, in a file: what it goes on from to the same bits. Weights stand under their published keys.

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::trainer::Trainer;
use super::{Line, Recipe};
use crate::error::Error;
use crate::eval::tensor_file::{Tensor, TensorFile};

/// What is no tensor.
#[derive(Serialize, Deserialize)]
struct Note {
    recipe: Recipe,
    /// Which weights it began with, and on which pictures.
    subject: String,
    step: u64,
    history: Vec<Line>,
}

/// Moments by the names of what they are of.
const FIRST: &str = "first moment/";
const SECOND: &str = "second moment/";

impl Trainer {
    /// Names and shapes of all that is trained, in the order of the moments.
    fn names(&self) -> Vec<(String, Vec<usize>)> {
        let parameters = self.subject.placed.network.parameters();
        let backbone = parameters.into_iter().filter(|p| p.name.starts_with("backbone."));
        let mut names: Vec<_> = backbone.map(|p| (p.name, p.dims)).collect();
        let (classes, dim) = (self.classifier.classes, self.classifier.dim);
        names.extend([("linear.weight".into(), vec![classes, dim]), ("linear.bias".into(), vec![classes])]);
        names
    }

    /// The weights alone.
    fn weights(&self) -> TensorFile {
        let mut file = TensorFile::default();
        for parameter in self.subject.placed.network.parameters() {
            if parameter.name.starts_with("backbone.") {
                file.tensors.insert(parameter.name, Tensor::new(parameter.dims, parameter.tensor.view()));
            }
        }
        let (classes, dim) = (self.classifier.classes, self.classifier.dim);
        let weight = Tensor::new(vec![classes, dim], &self.classifier.weights);
        file.tensors.insert("linear.weight".into(), weight);
        file.tensors.insert("linear.bias".into(), Tensor::new(vec![classes], &self.classifier.bias));
        file
    }

    /// Writes the weights: `backbone.…`, `linear.weight` and `linear.bias`.
    ///
    /// # Errors
    /// When the folder can't be written to.
    pub fn save_weights(&self, path: &Path) -> Result<(), Error> {
        self.weights().write(path)
    }

    /// Writes where it stands. `subject` says what it began with.
    ///
    /// # Errors
    /// When the folder can't be written to.
    pub fn save(&self, path: &Path, subject: &str) -> Result<(), Error> {
        let mut file = self.weights();
        for ((name, dims), moments) in self.names().into_iter().zip(&self.moments) {
            file.tensors.insert(format!("{FIRST}{name}"), Tensor::new(dims.clone(), &moments.first));
            file.tensors.insert(format!("{SECOND}{name}"), Tensor::new(dims, &moments.second));
        }
        let (recipe, history) = (self.recipe.clone(), self.history.clone());
        let note = Note { recipe, subject: subject.to_owned(), step: self.step, history };
        file.note = serde_json::to_string(&note).map_err(|e| Error::Failed(e.to_string()))?;
        file.write(path)
    }

    /// Goes on from a file, if this fine-tuning is the one that wrote it.
    ///
    /// # Errors
    /// When it can't be read, or stands for another: [`Error::Request`] says in what they differ.
    pub fn resume(&mut self, path: &Path, subject: &str) -> Result<(), Error> {
        let mut file = TensorFile::read(path)?;
        let other = |text: String| {
            let text = format!("{} is of another fine-tuning: {text}", path.display());
            Error::Request(format!(
                "{text}; choose another folder with --out, or start anew with --overwrite"
            ))
        };
        let note: Note = serde_json::from_str(&file.note).map_err(|e| other(e.to_string()))?;
        if (&note.recipe, &*note.subject) != (&self.recipe, subject) {
            let words = |recipe: &Recipe, subject: &str| format!("{recipe:?} on {subject}");
            let (found, asked) = (words(&note.recipe, &note.subject), words(&self.recipe, subject));
            return Err(other(format!("it holds {found}; asked for is {asked}")));
        }
        let names = self.names();
        let mut take = |name: String, dims: &[usize]| file.take(&name, dims).map_err(&other);
        for ((name, dims), moments) in names.iter().zip(&mut self.moments) {
            moments.first = take(format!("{FIRST}{name}"), dims)?;
            moments.second = take(format!("{SECOND}{name}"), dims)?;
        }
        let network = Arc::get_mut(&mut self.subject.placed.network)
            .ok_or_else(|| Error::Failed("the network's weights are still lent".into()))?;
        for parameter in network.parameters_mut() {
            if parameter.name.starts_with("backbone.") {
                let values = take(parameter.name.clone(), &parameter.dims)?;
                parameter.tensor.view_mut().copy_from_slice(&values);
            }
        }
        let (classes, dim) = (self.classifier.classes, self.classifier.dim);
        self.classifier.weights = take("linear.weight".into(), &[classes, dim])?;
        self.classifier.bias = take("linear.bias".into(), &[classes])?;
        (self.step, self.history) = (note.step, note.history);
        Ok(())
    }
}
