//! `dinoflow eval video`.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::outcome::OutcomeArgs;
use super::subject::ViewArgs;
use crate::checkpoint::atomic;
use crate::error::Error;
use crate::eval::video::davis::{Sequence, sequences};
use crate::eval::video::folders::judge;
use crate::eval::video::propagate::Settings;
use crate::eval::video::score::{ObjectScore, overall};
use crate::eval::video::track::{Tracking, track};
use crate::report::count::Count;
use crate::report::tables;
use crate::weights::Which;

/// The arguments of `dinoflow eval video`.
#[derive(Clone, Debug, Args)]
pub struct VideoArgs {
    /// A run's folder, a checkpoint's, or a file of weights; none where masks are only judged
    #[arg(value_name = "RUN|WEIGHTS", required_unless_present = "score")]
    weights: Option<PathBuf>,
    /// Which network of a run or a full checkpoint
    #[arg(long, value_enum, default_value_t = Which::Teacher)]
    which: Which,
    /// DAVIS's folder: JPEGImages/480p, Annotations/480p, ImageSets/2017/val.txt
    #[arg(long, value_name = "DIR", required_unless_present = "score", requires = "out")]
    data: Option<PathBuf>,
    /// Where masks are written: DIR/SEQUENCE/*.png
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Judges masks that are there: FOUND/SEQUENCE/*.png against TRUE/SEQUENCE/*.png
    #[arg(long, value_names = ["FOUND", "TRUE"], num_args = 2, conflicts_with_all = ["weights", "data", "out"])]
    score: Vec<PathBuf>,
    /// Sequences in place of those that val.txt names
    #[arg(long, value_name = "NAME,NAME…", value_delimiter = ',')]
    sequences: Vec<String>,
    /// The shorter side of a frame in pixels
    #[arg(long, value_name = "PIXELS", default_value_t = 480, value_parser = clap::value_parser!(u16).range(1..))]
    size: u16,
    /// Latest frames that labels come from, besides the first
    #[arg(long, value_name = "N", default_value_t = 7)]
    frames: u16,
    /// How far a patch looks around its place, in patches
    #[arg(long, value_name = "N", default_value_t = 12)]
    radius: u16,
    /// Patches that a patch takes its label from
    #[arg(long, value_name = "N", default_value_t = 5)]
    nearest: u16,
    /// Goes on with the sequences whose masks are not all there
    #[arg(long, requires = "out", conflicts_with = "overwrite")]
    resume: bool,
    /// Writes over masks that are there
    #[arg(long, requires = "out")]
    overwrite: bool,
    #[command(flatten)]
    view: ViewArgs,
    #[command(flatten)]
    outcome: OutcomeArgs,
}

/// A sequence's name and its objects' scores.
type Scored = (String, Vec<ObjectScore>);

/// What decided the masks of a folder, so that a resume adds only what is alike.
const SETTINGS: &str = "settings.json";

impl VideoArgs {
    /// Carries masks through sequences, and judges them.
    pub fn run(&self) -> Result<(), Error> {
        self.outcome.check()?;
        let (scored, record) = match self.score.as_slice() {
            [found, truth] => (self.score_folders(found, truth)?, json!({"found": found, "true": truth})),
            _ => self.track_all()?,
        };
        let objects: Vec<ObjectScore> = scored.iter().flat_map(|(_, objects)| objects.clone()).collect();
        if objects.is_empty() {
            return Err(Error::Request("the true masks hold no object".into()));
        }
        let all = overall(&objects);
        let mut lines: Vec<String> = table(&scored, &all).lines().map(str::to_owned).collect();
        let percent = |share: f64| 100.0 * share;
        lines.push(format!(
            "J&F-Mean {:.1}  J-Mean {:.1}  J-Recall {:.1}  J-Decay {:.1}  F-Mean {:.1}  F-Recall {:.1}  F-Decay {:.1}",
            percent(all.mean()), percent(all.region.mean), percent(all.region.recall), percent(all.region.decay),
            percent(all.boundary.mean), percent(all.boundary.recall), percent(all.boundary.decay),
        ));
        let of = |(name, objects): &Scored| json!({"sequence": name, "objects": objects.iter().map(figures).collect::<Vec<_>>()});
        let record = json!({
            "subject": record, "overall": figures(&all), "sequences": scored.iter().map(of).collect::<Vec<_>>(),
        });
        self.outcome.give("video", &lines, record)
    }

    /// The sequences that are folders of `truth`, or those that are named.
    fn score_folders(&self, found: &Path, truth: &Path) -> Result<Vec<Scored>, Error> {
        let mut names = self.sequences.clone();
        if names.is_empty() {
            let read = |cause| Error::File { doing: "read", path: truth.to_owned(), cause };
            for entry in std::fs::read_dir(truth).map_err(read)? {
                let path = entry.map_err(read)?.path();
                names.extend(
                    path.file_name().filter(|_| path.is_dir()).map(|n| n.to_string_lossy().into_owned()),
                );
            }
            names.sort();
        }
        if names.is_empty() {
            return Err(Error::Request(format!("{}: expected a folder for each sequence", truth.display())));
        }
        let mut count = Count::new("sequences judged", names.len());
        let one = |name: String| {
            let scores = judge(&found.join(&name), &truth.join(&name))?;
            count.add(1);
            Ok((name, scores))
        };
        names.into_iter().map(one).collect()
    }

    fn track_all(&self) -> Result<(Vec<Scored>, Value), Error> {
        // clap has seen that these are there where no masks are judged
        let (data, out) = (self.data.clone().unwrap_or_default(), self.out.clone().unwrap_or_default());
        let all = sequences(&data, &self.sequences)?;
        let subject = self.view.open(&self.weights.clone().unwrap_or_default(), self.which)?;
        let [frames, radius, nearest] = [self.frames, self.radius, self.nearest].map(usize::from);
        let settings = Settings { frames, radius, nearest, ..Settings::default() };
        let mut record = subject.to_json();
        record["size"] = json!(self.size);
        record["frames"] = json!(self.frames);
        record["radius"] = json!(self.radius);
        record["nearest"] = json!(self.nearest);
        self.begin(&out, &record)?;
        let tracking = Tracking { shorter: usize::from(self.size), settings };
        let mut scored = Vec::with_capacity(all.len());
        for (at, sequence) in all.iter().enumerate() {
            let folder = out.join(&sequence.name);
            make(&folder)?;
            if !(self.resume && whole(&folder, sequence)) {
                let what = format!("[{}/{}] {}", at + 1, all.len(), sequence.name);
                let mut count = Count::new(what, sequence.frames.len());
                track(&subject, sequence, tracking, |number, mask| {
                    mask.write(&mask_path(&folder, &sequence.frames[number]))?;
                    count.add(1);
                    Ok(())
                })?;
            }
            let truth = data.join("Annotations/480p").join(&sequence.name);
            scored.push((sequence.name.clone(), judge(&folder, &truth)?));
        }
        Ok((scored, record))
    }

    /// Refuses a folder of other masks.
    fn begin(&self, out: &Path, record: &Value) -> Result<(), Error> {
        make(out)?;
        let (path, text) = (out.join(SETTINGS), format!("{record:#}\n"));
        if let (Ok(found), false) = (std::fs::read_to_string(&path), self.overwrite) {
            if !self.resume {
                let text = format!("{} holds masks already", out.display());
                return Err(Error::Request(format!("{text}; go on with --resume, or --overwrite them")));
            }
            if found != text {
                let text = format!("{} tells of other settings", path.display());
                return Err(Error::Request(format!("{text}; choose another --out, or --overwrite")));
            }
        }
        let written = atomic::write(&path, |file| file.write_all(text.as_bytes()));
        written.map_err(|cause| Error::File { doing: "write", path, cause })
    }
}

fn make(folder: &Path) -> Result<(), Error> {
    let wrong = |cause| Error::File { doing: "write", path: folder.to_owned(), cause };
    std::fs::create_dir_all(folder).map_err(wrong)
}

fn mask_path(folder: &Path, frame: &Path) -> PathBuf {
    // listed frames have names
    folder.join(frame.file_stem().unwrap_or_default()).with_extension("png")
}

/// Whether each of a sequence's frames has its mask.
fn whole(folder: &Path, sequence: &Sequence) -> bool {
    sequence.frames.iter().all(|frame| mask_path(folder, frame).is_file())
}

fn figures(score: &ObjectScore) -> Value {
    let (j, f) = (score.region, score.boundary);
    json!({
        "jf_mean": score.mean(), "j_mean": j.mean, "j_recall": j.recall, "j_decay": j.decay,
        "f_mean": f.mean, "f_recall": f.recall, "f_decay": f.decay,
    })
}

/// A row for each object, and one for all.
fn table(scored: &[Scored], all: &ObjectScore) -> String {
    let mut table =
        tables::table(&["sequence", "J&F", "J", "J recall", "J decay", "F", "F recall", "F decay"]);
    let percent = |share: f64| format!("{:.1}", 100.0 * share);
    let mut row = |name: String, score: &ObjectScore| {
        let (j, f) = (score.region, score.boundary);
        let shares = [score.mean(), j.mean, j.recall, j.decay, f.mean, f.recall, f.decay].map(percent);
        table.add_row(std::iter::once(name).chain(shares));
    };
    for (name, objects) in scored {
        objects.iter().enumerate().for_each(|(at, score)| row(format!("{name}, object {}", at + 1), score));
    }
    row("all".into(), all);
    tables::right(&mut table);
    table.to_string()
}
