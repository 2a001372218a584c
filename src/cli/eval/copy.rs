//! `dinoflow eval copy`.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::outcome::OutcomeArgs;
use super::subject::ViewArgs;
use crate::data::augment::{Interpolation, Scratch, resized};
use crate::data::source::Images;
use crate::error::Error;
use crate::eval::copy::features::cls_and_gem;
use crate::eval::copy::whitening::Whitening;
use crate::eval::copy::{DEPTH, precision, sources};
use crate::eval::dataset;
use crate::eval::feature_file::{Pair, pair};
use crate::eval::features::picture;
use crate::eval::knn::Labelled;
use crate::eval::subject::Subject;
use crate::nn::network::Asked;
use crate::report::count::Count;
use crate::weights::Which;

/// The arguments of `dinoflow eval copy`.
#[derive(Clone, Debug, Args)]
pub struct CopyArgs {
    /// A run's folder, a checkpoint's, or a file of weights; none where features are given
    #[arg(value_name = "RUN|WEIGHTS", required_unless_present = "features")]
    weights: Option<PathBuf>,
    /// Which network of a run or a full checkpoint
    #[arg(long, value_enum, default_value_t = Which::Teacher)]
    which: Which,
    /// Copydays' folder: `original/*.jpg`, and a folder of copies
    #[arg(long, value_name = "DIR", required_unless_present = "features")]
    data: Option<PathBuf>,
    /// The folder of copies in it
    #[arg(long, value_name = "NAME", default_value = "strong")]
    copies: String,
    /// Pictures that are put among the originals
    #[arg(long, value_name = "DATA", conflicts_with = "features")]
    distractors: Option<String>,
    /// Pictures that a whitening is learnt from
    #[arg(long, value_name = "DATA", conflicts_with = "features")]
    whitening: Option<String>,
    /// The side in pixels that pictures are brought to, whatever their proportions
    #[arg(long, value_name = "PIXELS", default_value_t = 320, value_parser = clap::value_parser!(u16).range(1..))]
    size: u16,
    /// Ranks that count
    #[arg(long, value_name = "N", default_value_t = DEPTH)]
    depth: usize,
    /// Features of originals and distractors, whose label is their block of pictures (safetensors)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["weights", "data"], requires = "query_features")]
    features: Option<PathBuf>,
    /// Features of copies, labelled with the block that they were made of
    #[arg(long, value_name = "FILE", requires = "features")]
    query_features: Option<PathBuf>,
    #[command(flatten)]
    view: ViewArgs,
    #[command(flatten)]
    outcome: OutcomeArgs,
}

/// Features, and of what each copy was made.
struct Copies {
    dim: usize,
    database: Vec<f32>,
    queries: Vec<f32>,
    sources: Vec<Vec<u32>>,
    record: Value,
}

impl CopyArgs {
    /// Ranks originals for each copy, and says how early the right one comes.
    pub fn run(&self) -> Result<(), Error> {
        self.outcome.check()?;
        let Copies { dim, database, queries, sources, mut record } =
            match (&self.features, &self.query_features) {
                (Some(database), Some(queries)) => from_files(database, queries)?,
                _ => self.of_pictures()?,
            };
        let unit = |rows| Labelled::normalized(dim, rows, Vec::new()).features;
        let (database, queries) = (unit(database), unit(queries));
        let Some((map, asked)) = precision(dim, &database, &queries, &sources, self.depth) else {
            return Err(Error::Request("no copy was made of an original that is there".into()));
        };
        let lines = [format!("eval on {} mAP={map:.3}", self.copies)];
        record["map"] = json!(map);
        record["copies"] = json!(self.copies);
        record["queries"] = json!(asked);
        record["database"] = json!(database.len() / dim);
        record["depth"] = json!(self.depth);
        self.outcome.give("copy", &lines, record)
    }

    fn of_pictures(&self) -> Result<Copies, Error> {
        let root = self.data.clone().unwrap_or_default(); // clap has seen that it is there where features are not
        let subject = self.view.open(&self.weights.clone().unwrap_or_default(), self.which)?;
        let patch = subject.spec.backbone.patch().max(1);
        if !usize::from(self.size).is_multiple_of(patch) {
            let text = format!("--size {}: expected a multiple of the patch, {patch}", self.size);
            return Err(Error::Request(text));
        }
        let (originals, mut database) =
            self.folder(&subject, &root.join("original").display().to_string())?;
        let (copies, mut queries) = self.folder(&subject, &root.join(&self.copies).display().to_string())?;
        if let Some(data) = &self.distractors {
            database.extend(self.folder(&subject, data)?.1);
        }
        let dim = 2 * subject.width();
        if let Some(data) = &self.whitening {
            let whitening = Whitening::learn(dim, &self.folder(&subject, data)?.1);
            (database, queries) = (whitening.apply(&database), whitening.apply(&queries));
        }
        let mut record = subject.to_json();
        record["size"] = json!(self.size);
        record["distractors"] = json!(self.distractors);
        record["whitening"] = json!(self.whitening);
        Ok(Copies { dim, database, queries, sources: sources(&originals, &copies), record })
    }

    /// Names and features of a folder's pictures, of which all must be readable.
    fn folder(&self, subject: &Subject, data: &str) -> Result<(Vec<String>, Vec<f32>), Error> {
        let images = dataset::open(data)?;
        let file = |index| {
            let name = images.name(index);
            Path::new(&name).file_name().map_or(name.clone(), |file| file.to_string_lossy().into_owned())
        };
        let mut order: Vec<(String, usize)> = (0..images.len()).map(|i| (file(i), i)).collect();
        order.sort();
        let mut count = Count::new(format!("features ({data})"), images.len());
        let mut rows = Vec::with_capacity(order.len() * 2 * subject.width());
        for part in order.chunks(self.view.batch()) {
            rows.extend(self.features(subject, images.as_ref(), part)?);
            count.add(part.len());
        }
        Ok((order.into_iter().map(|(name, _)| name).collect(), rows))
    }

    /// CLS and generalised mean of some pictures.
    fn features(
        &self,
        subject: &Subject,
        images: &dyn Images,
        part: &[(String, usize)],
    ) -> Result<Vec<f32>, Error> {
        let side = usize::from(self.size);
        let mut pixels = Vec::with_capacity(part.len() * 3 * side * side);
        for &(_, index) in part {
            let wrong = |reason| Error::Request(format!("{}: {reason}", images.name(index)));
            let whole = picture(images, index, subject.view).map_err(wrong)?;
            let shown = resized(&whole, (side, side), Interpolation::Bicubic, &mut Scratch::default());
            pixels.extend(subject.view.normalized(&shown));
        }
        let asked = Asked { patches: true, ..Asked::default() };
        let tokens = subject.answer(pixels, (side, side), asked)?.tokens.ok_or_else(|| {
            let label = subject.spec.backbone.label();
            Error::Request(format!("{label} has no patches; expected a vision transformer"))
        })?;
        Ok(cls_and_gem(&tokens.numbers, tokens.count, tokens.width))
    }
}

fn from_files(database: &Path, queries: &Path) -> Result<Copies, Error> {
    let record =
        json!({"features": database.display().to_string(), "query_features": queries.display().to_string()});
    let Pair { first: database, second: queries, .. } = pair(database, queries)?;
    let of =
        |block: &u32| (0..database.len() as u32).filter(|&i| database.labels[i as usize] == *block).collect();
    let sources = queries.labels.iter().map(of).collect();
    Ok(Copies { dim: database.dim, database: database.features, queries: queries.features, sources, record })
}
