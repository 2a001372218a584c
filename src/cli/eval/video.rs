//! `dinoflow eval video`.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::outcome::OutcomeArgs;
use super::subject::ViewArgs;
use crate::error::Error;
use crate::eval::subject::Subject;
use crate::eval::video::davis::{ANNOTATIONS, Sequence, sequences};
use crate::eval::video::folders::judge;
use crate::eval::video::mask_folder::{Begin, MaskFolder};
use crate::eval::video::propagate::Settings;
use crate::eval::video::ready::judgeable;
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
    /// DAVIS's folder: JPEGImages/480p, Annotations/480p, ImageSets/2017/val.txt. A sequence whose first mask alone is there is not judged
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
    #[arg(long, value_name = "PIXELS", default_value_t = 480, value_parser = clap::value_parser!(u16).range(1..=16384))]
    size: u16,
    /// Latest frames that labels come from, besides the first
    #[arg(long, value_name = "N", default_value_t = 7)]
    frames: u16,
    /// How far a patch looks around its place, in patches; 0 is as far as the frame goes
    #[arg(long, value_name = "N", default_value_t = 12)]
    radius: u16,
    /// Patches that a patch takes its label from
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    nearest: u16,
    /// Goes on with the sequences whose masks are not all there
    #[arg(long, requires = "out", conflicts_with = "overwrite")]
    resume: bool,
    /// Takes away the masks that are there
    #[arg(long, requires = "out")]
    overwrite: bool,
    #[command(flatten)]
    view: ViewArgs,
    #[command(flatten)]
    outcome: OutcomeArgs,
}

/// A sequence's name and its objects' scores.
type Scored = (String, Vec<ObjectScore>);

impl VideoArgs {
    /// Carries masks through sequences, and judges them.
    pub fn run(&self) -> Result<(), Error> {
        self.outcome.check()?;
        let (scored, record) = match self.score.as_slice() {
            [found, truth] => (self.score_folders(found, truth)?, json!({"found": found, "true": truth})),
            _ => self.track_all()?,
        };
        let objects: Vec<ObjectScore> = scored.iter().flat_map(|(_, objects)| objects.clone()).collect();
        if objects.is_empty() && !scored.is_empty() {
            return Err(Error::Request("the first true masks hold no object".into()));
        }
        let (all, judged) = (overall(&objects), !scored.is_empty());
        let lines = match judged {
            true => table(&scored, &all).lines().map(str::to_owned).chain([summary(&all)]).collect(),
            false => vec![
                "No sequence has masks to be judged by: its objects were followed, and that is all."
                    .to_owned(),
            ],
        };
        let all = judged.then(|| figures(&all));
        let of = |(name, objects): &Scored| json!({"sequence": name, "objects": objects.iter().map(figures).collect::<Vec<_>>()});
        let record = json!({
            "subject": record, "overall": all, "sequences": scored.iter().map(of).collect::<Vec<_>>(),
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
        let truth = |sequence: &Sequence| data.join(ANNOTATIONS).join(&sequence.name);
        let fit = |one: &Sequence| judgeable(one, &truth(one), &subject.view.decode);
        let judged = all.iter().map(fit).collect::<Result<Vec<bool>, Error>>()?;
        let record = self.settings(&subject);
        let folder = MaskFolder::begin(&out, &record, &all, self.over())?;
        let mut scored = Vec::with_capacity(all.len());
        for (at, (sequence, judged)) in all.iter().zip(judged).enumerate() {
            let what = format!("[{}/{}] {}", at + 1, all.len(), sequence.name);
            let mut count = Count::new(what, sequence.frames.len());
            if !(self.resume && folder.whole(sequence)) {
                track(&subject, sequence, self.tracking(), |number, mask| {
                    mask.write(&folder.mask(sequence, &sequence.frames[number]))?;
                    count.add(1);
                    Ok(())
                })?;
            }
            match judged {
                true => scored.push((sequence.name.clone(), judge(&folder.of(sequence), &truth(sequence))?)),
                false => count.say(&format!("{}: not judged, it has its first mask alone", sequence.name)),
            }
        }
        Ok((scored, record))
    }

    fn tracking(&self) -> Tracking {
        let [frames, radius, nearest] = [self.frames, self.radius, self.nearest].map(usize::from);
        let settings = Settings { frames, radius, nearest, ..Settings::default() };
        Tracking { shorter: usize::from(self.size), settings }
    }

    /// What decides the masks.
    fn settings(&self, subject: &Subject) -> Value {
        let mut record = subject.to_json();
        record["data"] = json!(self.data);
        for (key, value) in
            [("size", self.size), ("frames", self.frames), ("radius", self.radius), ("nearest", self.nearest)]
        {
            record[key] = json!(value);
        }
        record
    }

    fn over(&self) -> Begin {
        match (self.resume, self.overwrite) {
            (true, _) => Begin::Resume,
            (_, true) => Begin::Overwrite,
            _ => Begin::New,
        }
    }
}

fn figures(score: &ObjectScore) -> Value {
    let (j, f) = (score.region, score.boundary);
    json!({
        "jf_mean": score.mean(), "j_mean": j.mean, "j_recall": j.recall, "j_decay": j.decay,
        "f_mean": f.mean, "f_recall": f.recall, "f_decay": f.decay,
    })
}

/// The means over all objects, in percent and in the words of DAVIS's evaluation.
fn summary(all: &ObjectScore) -> String {
    let (j, f, percent) = (all.region, all.boundary, |share: f64| format!("{:.1}", 100.0 * share));
    let words = [
        ("J&F-Mean", all.mean()),
        ("J-Mean", j.mean),
        ("J-Recall", j.recall),
        ("J-Decay", j.decay),
        ("F-Mean", f.mean),
        ("F-Recall", f.recall),
        ("F-Decay", f.decay),
    ];
    words.map(|(word, share)| format!("{word} {}", percent(share))).join("  ")
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
