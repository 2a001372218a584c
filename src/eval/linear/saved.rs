//! Where a linear training stands, in a file: what it goes on from to the same bits.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::head::Head;
use super::{Line, Protocol, Training};
use crate::error::Error;
use crate::eval::classifier::Classifier;
use crate::eval::tensor_file::{Tensor, TensorFile};

/// What is no tensor.
#[derive(Serialize, Deserialize)]
struct Note {
    protocol: Protocol,
    /// What the features are of: a training goes on with the same only.
    subject: String,
    dim: usize,
    classes: usize,
    epoch: u64,
    history: Vec<Line>,
    best: Option<Line>,
}

impl Training {
    /// Writes where it stands. `subject` says what its features are of.
    ///
    /// # Errors
    /// When the folder can't be written to.
    pub fn save(&self, path: &Path, subject: &str) -> Result<(), Error> {
        let (dim, classes) = self.heads.first().map_or((0, 0), |h| (h.classifier.dim, h.classifier.classes));
        let note = Note {
            protocol: self.protocol.clone(),
            subject: subject.to_owned(),
            dim,
            classes,
            epoch: self.epoch,
            history: self.history.clone(),
            best: self.best.as_ref().map(|(line, _)| *line),
        };
        let note = serde_json::to_string(&note).map_err(|e| Error::Failed(e.to_string()))?;
        let mut file = TensorFile { note, ..TensorFile::default() };
        let mut put = |name: String, weights: &[f32], bias: &[f32]| {
            file.tensors.insert(format!("{name}.weight"), Tensor::new(vec![classes, dim], weights));
            file.tensors.insert(format!("{name}.bias"), Tensor::new(vec![classes], bias));
        };
        for (at, Head { classifier, velocity }) in self.heads.iter().enumerate() {
            put(format!("heads.{at}"), &classifier.weights, &classifier.bias);
            put(format!("velocity.{at}"), &velocity[0], &velocity[1]);
        }
        if let Some((_, best)) = &self.best {
            put("linear".into(), &best.weights, &best.bias);
        }
        file.write(path)
    }

    /// Goes on from a file, if this training is the one that wrote it.
    ///
    /// # Errors
    /// When it can't be read, or stands for another training: [`Error::Request`] says in what they differ.
    pub fn resume(&mut self, path: &Path, subject: &str) -> Result<(), Error> {
        let mut file = TensorFile::read(path)?;
        let other = |text: String| {
            let text = format!("{} is of another training: {text}", path.display());
            Error::Request(format!(
                "{text}; choose another folder with --out, or start anew with --overwrite"
            ))
        };
        let note: Note = serde_json::from_str(&file.note).map_err(|e| other(e.to_string()))?;
        let (dim, classes) = self.heads.first().map_or((0, 0), |h| (h.classifier.dim, h.classifier.classes));
        let words = |protocol: &Protocol, subject: &str, dim, classes| {
            format!("{protocol:?} on {subject}, {classes} classes of width {dim}")
        };
        let found = words(&note.protocol, &note.subject, note.dim, note.classes);
        let expected = words(&self.protocol, subject, dim, classes);
        if found != expected {
            return Err(other(format!("it holds {found}; asked for is {expected}")));
        }
        let mut take = |name: String| -> Result<(Vec<f32>, Vec<f32>), Error> {
            let weights = file.take(&format!("{name}.weight"), &[classes, dim]).map_err(&other)?;
            Ok((weights, file.take(&format!("{name}.bias"), &[classes]).map_err(&other)?))
        };
        let mut heads = Vec::with_capacity(self.heads.len());
        for at in 0..self.heads.len() {
            let (weights, bias) = take(format!("heads.{at}"))?;
            let velocity = take(format!("velocity.{at}"))?.into();
            heads.push(Head { classifier: Classifier { dim, classes, weights, bias }, velocity });
        }
        let best = match note.best {
            Some(line) => {
                let (weights, bias) = take("linear".into())?;
                Some((line, Classifier { dim, classes, weights, bias }))
            }
            None => None,
        };
        (self.heads, self.epoch, self.history, self.best) = (heads, note.epoch, note.history, best);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::classifier::Rows;
    use crate::keyed::Key;

    fn training(epochs: u64) -> Training {
        Training::new(Protocol { lrs: vec![0.1, 10.0], batch: 7, epochs, seed: 3 }, 4, 3)
    }

    fn rows(count: usize, seed: u64) -> Rows {
        let mut draws = Key::new(seed).draws();
        let labels: Vec<u32> = (0..count).map(|_| draws.below(3) as u32).collect();
        let near = |&label: &u32| (0..4).map(move |i| f64::from(u8::from(i == label)));
        let features = labels.iter().flat_map(near).map(|x| (3.0 * x + draws.normal()) as f32).collect();
        Rows { dim: 4, features, labels }
    }

    fn train(training: &mut Training, epochs: u64) {
        let (train, val) = (rows(40, 1), rows(30, 2));
        for _ in 0..epochs {
            let batch = |_, places: &[usize]| Ok(train.gather(places));
            training.epoch(40, &val, batch, |_| ()).unwrap();
        }
    }

    #[test]
    fn going_on_gives_the_bits_of_never_having_stopped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("linear.safetensors");
        let mut whole = training(5);
        train(&mut whole, 5);
        assert!(whole.best.as_ref().unwrap().0.top1 > 60.0, "{:?}", whole.history);
        let mut first = training(5);
        train(&mut first, 2);
        first.save(&path, "a").unwrap();
        let mut second = training(5);
        second.resume(&path, "a").unwrap();
        assert_eq!(second, first);
        train(&mut second, 3);
        assert_eq!(second, whole);
        for (mut wrong, subject) in [(training(6), "a"), (training(5), "b")] {
            let error = wrong.resume(&path, subject).unwrap_err();
            assert!(
                matches!(error, Error::Request(_)) && error.to_string().contains("--overwrite"),
                "{error}"
            );
        }
    }
}
