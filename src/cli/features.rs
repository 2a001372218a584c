//! `dinoflow features`.

use std::path::{Path, PathBuf};

use clap::Args;

use super::eval::subject::{ViewArgs, WeightsArgs};
use crate::checkpoint::atomic;
use crate::data::source::Images;
use crate::error::Error;
use crate::eval::dataset;
use crate::eval::feature_file::{Collected, Kind, Row};
use crate::eval::features::{Shown, Wanted, each_batch};
use crate::eval::subject::Subject;
use crate::nn::network::Asked;
use crate::report::count::Count;

/// The arguments of `dinoflow features`.
#[derive(Clone, Debug, Args)]
pub struct FeaturesArgs {
    /// The pictures, labelled or not: a folder, a list, a .tar file, or a source as RON
    #[arg(value_name = "DATA")]
    data: String,
    #[command(flatten)]
    weights: WeightsArgs,
    /// The file: its end, .safetensors, .npy or .parquet, says which kind
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// CLS of so many of the last blocks side by side, the earliest first
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64))]
    last_blocks: u8,
    /// The patches after the last norm as well
    #[arg(long)]
    patches: bool,
    #[command(flatten)]
    view: ViewArgs,
}

impl FeaturesArgs {
    /// Writes what a network makes of pictures.
    pub fn run(&self) -> Result<(), Error> {
        let kind = self.kind()?;
        let subject = self.view.open(&self.weights.weights, self.weights.which)?;
        let images = dataset::open(&self.data)?;
        let mut collected = self.start(&subject, images.classes())?;
        let all: Vec<usize> = (0..images.len()).collect();
        let mut count = Count::new("features", all.len());
        let unreadable = each_batch(images.as_ref(), &all, subject.view, self.view.batch(), |shown| {
            count.add(shown.indices.len());
            self.collect(&subject, images.as_ref(), shown, &mut collected)
        })?;
        for one in &unreadable {
            count.say(&format!("left out {}: {}", images.name(one.index), one.reason));
        }
        drop(count);
        if collected.is_empty() {
            return Err(Error::Request(format!("{}: no picture there can be read", self.data)));
        }
        let files = kind.write(&self.output, &mut collected).map_err(|cause| self.unwritten(cause))?;
        let names: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
        super::say(&format!(
            "{} pictures, {} numbers each{}: {}\n",
            collected.len(),
            collected.dim,
            collected.patches.map_or(String::new(), |(count, dim)| format!(", {count} patches of {dim}")),
            names.join(", ")
        ))
    }

    fn unwritten(&self, cause: std::io::Error) -> Error {
        Error::File { doing: "write", path: self.output.clone(), cause }
    }

    fn kind(&self) -> Result<Kind, Error> {
        let wrong =
            |expected| Error::Request(format!("--output {}: expected {expected}", self.output.display()));
        if self.output.is_dir() || !atomic::parent(&self.output).is_dir() {
            return Err(wrong("a file's path in a folder that exists"));
        }
        Kind::of(&self.output).ok_or_else(|| wrong("a name that ends in .safetensors, .npy or .parquet"))
    }

    /// Nothing collected yet, of what the network has to give.
    fn start(&self, subject: &Subject, classes: &[String]) -> Result<Collected, Error> {
        let (backbone, side) = (&subject.spec.backbone, subject.view.crop);
        let lacks = |what: &str| {
            Error::Request(format!("{}: {} has no {what}", subject.path.display(), backbone.label()))
        };
        match backbone.vit() {
            None if self.patches => return Err(lacks("patches: leave out --patches")),
            None if self.last_blocks > 1 => {
                return Err(lacks("blocks with a CLS token: leave out --last-blocks"));
            }
            Some((_, shape)) if usize::from(self.last_blocks) > shape.depth => {
                return Err(lacks(&format!("{} blocks: it has {}", self.last_blocks, shape.depth)));
            }
            _ => {}
        }
        let width = subject.width();
        let patches = self.patches.then(|| ((side / backbone.patch()).pow(2), width));
        let dim = width * usize::from(self.last_blocks);
        Collected::new(atomic::parent(&self.output), classes.to_vec(), dim, patches)
            .map_err(|cause| self.unwritten(cause))
    }

    fn collect(
        &self,
        subject: &Subject,
        images: &dyn Images,
        shown: Shown,
        collected: &mut Collected,
    ) -> Result<(), Error> {
        let wanted = Wanted { last_blocks: usize::from(self.last_blocks), average_patches: false };
        let (side, width) = (subject.view.crop, subject.width());
        let asked = Asked { patches: self.patches, ..wanted.asked() };
        let told = subject.answer(shown.pixels, (side, side), asked)?;
        let cls = wanted.rows(&told, width);
        let tokens = told.tokens.map_or(Vec::new(), |tokens| tokens.numbers);
        // CLS stands first among an image's tokens
        let each = tokens.len() / shown.indices.len().max(1);
        for (at, &index) in shown.indices.iter().enumerate() {
            let patches = if self.patches { &tokens[at * each + width..(at + 1) * each] } else { &[] };
            let cls = &cls[at * collected.dim..][..collected.dim];
            let (name, label) = (images.name(index), images.label(index));
            finite(&subject.path, &name, cls.iter().chain(patches))?;
            collected.add(Row { name: &name, label, cls, patches }).map_err(|cause| self.unwritten(cause))?;
        }
        Ok(())
    }
}

/// Holds a picture's features against what they are for: whoever reads them computes with them.
fn finite<'r>(weights: &Path, picture: &str, mut row: impl Iterator<Item = &'r f32>) -> Result<(), Error> {
    if row.all(|x| x.is_finite()) {
        return Ok(());
    }
    let what = "are not finite numbers, so nothing was written: the weights are damaged or far too large";
    Err(Error::Request(format!("{}: the features of {picture:?} {what}", weights.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_that_are_no_numbers_are_refused_with_their_picture() {
        let check = |row: &[f32], refuses: bool| match finite(Path::new("w.pth"), "cat/a\n.png", row.iter()) {
            Ok(()) => assert!(!refuses, "{row:?}"),
            Err(error) => {
                let text = error.to_string();
                assert!(
                    refuses && text.starts_with("w.pth: the features of \"cat/a\\n.png\" are not finite"),
                    "{text}"
                );
                assert_eq!(error.exit_status(), 2);
            }
        };
        check(&[0.0, -1e30, f32::MAX], false);
        check(&[], false);
        check(&[0.0, f32::NAN], true);
        check(&[f32::NEG_INFINITY], true);
    }
}
