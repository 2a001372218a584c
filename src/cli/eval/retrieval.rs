//! `dinoflow eval retrieval`.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::outcome::OutcomeArgs;
use super::subject::ViewArgs;
use crate::data::{Rgb8, decode};
use crate::error::Error;
use crate::eval::features::Wanted;
use crate::eval::knn::Labelled;
use crate::eval::retrieval::ground_truth::GroundTruth;
use crate::eval::retrieval::pictures::{SCALES, features, fitted, fitted_part};
use crate::eval::retrieval::revisited::{KS, Protocol, judged};
use crate::eval::retrieval::{Judgement, classes, mean, ranking};
use crate::eval::subject::Subject;
use crate::eval::{dataset, feature_file, features};
use crate::report::count::Count;
use crate::weights::Which;

/// The arguments of `dinoflow eval retrieval`.
#[derive(Clone, Debug, Args)]
pub struct RetrievalArgs {
    /// A run's folder, a checkpoint's, or a file of weights; none where features are given
    #[arg(value_name = "RUN|WEIGHTS", required_unless_present = "features")]
    weights: Option<PathBuf>,
    /// Which network of a run or a full checkpoint
    #[arg(long, value_enum, default_value_t = Which::Teacher)]
    which: Which,
    /// The folder of .jpg pictures that the ground truth names; without one, labelled pictures, each asking for the others of its class
    #[arg(long, value_name = "DATA", required_unless_present = "features")]
    data: Option<String>,
    /// What is right: gnd_roxford5k.pkl, gnd_rparis6k.pkl, or the same as .json
    #[arg(long, value_name = "FILE")]
    ground_truth: Option<PathBuf>,
    /// The longer side of a picture in pixels, with a ground truth; larger pictures are brought down to it
    #[arg(long, value_name = "PIXELS", default_value_t = 224, value_parser = clap::value_parser!(u16).range(1..))]
    size: u16,
    /// Features are means over the scales 1, 1/√2 and 1/2, with a ground truth
    #[arg(long)]
    multi_scale: bool,
    /// Asks with whole pictures, as DINO's script does; otherwise with the parts that the ground truth names, at the scale of their
    /// pictures, as the published protocol of revisited Oxford and Paris does
    #[arg(long)]
    whole_queries: bool,
    /// Features of the database's pictures, as `dinoflow features` writes them (safetensors)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["weights", "data"])]
    features: Option<PathBuf>,
    /// Features of the queries, in the order of the ground truth's
    #[arg(long, value_name = "FILE", requires_all = ["features", "ground_truth"])]
    query_features: Option<PathBuf>,
    #[command(flatten)]
    view: ViewArgs,
    #[command(flatten)]
    outcome: OutcomeArgs,
}

/// Rows of unit length, the database's and the queries'.
struct Both {
    dim: usize,
    database: Vec<f32>,
    queries: Vec<f32>,
    record: Value,
}

impl RetrievalArgs {
    /// Ranks, and says how early the right ones come.
    pub fn run(&self) -> Result<(), Error> {
        self.outcome.check()?;
        match &self.ground_truth {
            Some(path) => {
                let truth = GroundTruth::read(path)?;
                let both = match (&self.features, &self.query_features) {
                    (Some(database), Some(queries)) => from_files(database, queries)?,
                    (None, _) => self.of_pictures(&truth)?,
                    _ => {
                        return Err(Error::Request(
                            "--ground-truth with --features: expected --query-features too".into(),
                        ));
                    }
                };
                self.by_ground_truth(path, &truth, both)
            }
            None => self.by_class(),
        }
    }

    fn by_ground_truth(&self, path: &Path, truth: &GroundTruth, both: Both) -> Result<(), Error> {
        let Both { dim, database, queries, mut record } = both;
        for (what, rows, names) in
            [("database", &database, truth.images.len()), ("queries", &queries, truth.queries.len())]
        {
            if rows.len() != names * dim {
                let rows = rows.len() / dim.max(1);
                let text = format!("there are features of {rows} pictures of the {what}");
                return Err(Error::Request(format!("{text}; {} names {names}", path.display())));
            }
        }
        let per_query = ranking::each(dim, &database, &queries, |query, order| {
            Protocol::ALL.map(|protocol| judged(order, truth.images.len(), &truth.answers[query], protocol))
        });
        let name = path.file_stem().unwrap_or_default().to_string_lossy().replace("gnd_", "");
        let (mut maps, mut firsts) = (Vec::new(), Vec::new());
        for (at, protocol) in Protocol::ALL.into_iter().enumerate() {
            let of: Vec<Option<Judgement>> = per_query.iter().map(|query| query[at].clone()).collect();
            let Some((judgement, asked)) = mean(&of) else { continue };
            let letter = protocol.word()[..1].to_uppercase();
            maps.push(format!("{letter}: {:.2}", 100.0 * judgement.precision));
            let at: Vec<String> = judgement.at.iter().map(|p| format!("{:.2}", 100.0 * p)).collect();
            firsts.push(format!("{letter}: [{}]", at.join(" ")));
            record[protocol.word()] = figures(&judgement, asked);
        }
        let lines = [
            format!(">> {name}: mAP {}", maps.join(", ")),
            format!(">> {name}: mP@k{KS:?} {}", firsts.join(", ")),
        ];
        record["ground_truth"] = json!(path.display().to_string());
        self.outcome.give("retrieval", &lines, record)
    }

    /// Every labelled picture asks for the others of its class.
    fn by_class(&self) -> Result<(), Error> {
        let (rows, mut record) = match &self.features {
            Some(path) => (feature_file::labelled(path)?, json!({"features": path.display().to_string()})),
            None => self.labelled_rows()?,
        };
        let Some((judgement, asked)) = classes::leave_one_out(&rows, &KS) else {
            return Err(Error::Request(
                "no two pictures are of one class: there is nothing that a picture could ask for".into(),
            ));
        };
        let first = 100.0 * judgement.at[0];
        let lines = [format!(
            ">> by class: mAP {:.2}, mP@1 {first:.2}, over {asked} pictures",
            100.0 * judgement.precision
        )];
        record["class"] = figures(&judgement, asked);
        self.outcome.give("retrieval", &lines, record)
    }

    /// The features of labelled pictures in the evaluation's view.
    fn labelled_rows(&self) -> Result<(Labelled, Value), Error> {
        let data = self.data.clone().unwrap_or_default(); // clap has seen that it is there where features are not
        let images = dataset::open(&data)?;
        let which = features::labelled(images.as_ref());
        if which.is_empty() {
            let text = format!("{data}: the pictures have no classes");
            return Err(Error::Request(format!(
                "{text}; put each into a folder of its class, or give a --ground-truth"
            )));
        }
        let subject = self.subject()?;
        let mut count = Count::new("features", which.len());
        let wanted = (Wanted::CLS, self.view.batch());
        let (rows, unreadable) = subject.rows(images.as_ref(), &which, wanted, |n| count.add(n))?;
        for one in unreadable {
            count.say(&format!("left out {}: {}", images.name(one.index), one.reason));
        }
        let mut record = subject.to_json();
        record["data"] = json!(data);
        Ok((rows.into(), record))
    }

    fn subject(&self) -> Result<Subject, Error> {
        self.view.open(&self.weights.clone().unwrap_or_default(), self.which)
    }

    /// Features of the pictures that a ground truth names.
    fn of_pictures(&self, truth: &GroundTruth) -> Result<Both, Error> {
        let (subject, folder) = (self.subject()?, PathBuf::from(self.data.clone().unwrap_or_default()));
        let scales = if self.multi_scale { &SCALES[..] } else { &SCALES[..1] };
        let size = usize::from(self.size);
        let of = |name: &String, region: Option<[f64; 4]>| {
            let path = GroundTruth::path(&folder, name);
            let whole = read(&path, &subject)?;
            let picture = match region {
                Some(region) => fitted_part(&whole, region, size),
                None => fitted(&whole, size),
            };
            if picture.pixels.is_empty() {
                return Err(Error::Request(format!(
                    "{}: {region:?} holds none of its pixels",
                    path.display()
                )));
            }
            features(&subject, &picture, scales)
        };
        let mut count = Count::new("features", truth.images.len() + truth.queries.len());
        let (mut database, mut queries) = (Vec::new(), Vec::new());
        for (query, answer) in truth.queries.iter().zip(&truth.answers) {
            queries.extend(of(query, answer.region.filter(|_| !self.whole_queries))?);
            count.add(1);
        }
        for image in &truth.images {
            database.extend(of(image, None)?);
            count.add(1);
        }
        let mut record = subject.to_json();
        record["data"] = json!(self.data);
        record["size"] = json!(size);
        record["scales"] = json!(scales);
        record["whole_queries"] = json!(self.whole_queries);
        Ok(Both { dim: subject.width(), database, queries, record })
    }
}

/// A picture of the ground truth's, which can't do without any.
fn read(path: &Path, subject: &Subject) -> Result<Rgb8, Error> {
    let bytes =
        std::fs::read(path).map_err(|cause| Error::File { doing: "read", path: path.to_owned(), cause })?;
    decode(&bytes, &subject.view.decode).map_err(|e| Error::Request(format!("{}: {e}", path.display())))
}

fn from_files(database: &Path, queries: &Path) -> Result<Both, Error> {
    let record =
        json!({"features": database.display().to_string(), "query_features": queries.display().to_string()});
    let ((dim, database), (of_queries, queries)) =
        (feature_file::unlabelled(database)?, feature_file::unlabelled(queries)?);
    if dim != of_queries {
        let text = format!("the database's features are {dim} wide, the queries' {of_queries}");
        return Err(Error::Request(format!("{text}; both must be the same network's")));
    }
    let unit = |rows| Labelled::normalized(dim, rows, Vec::new()).features;
    Ok(Both { dim, database: unit(database), queries: unit(queries), record })
}

/// In percent.
fn figures(judgement: &Judgement, queries: usize) -> Value {
    let at: Vec<f64> = judgement.at.iter().map(|p| 100.0 * p).collect();
    json!({"map": 100.0 * judgement.precision, "k": KS, "precision": at, "queries": queries})
}
