//! Everything that a run writes down as it goes: its record, and what repeats it for other programs.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::epochs::EpochLog;
use super::metrics::Recorder;
use super::pictures::Drawn;
use super::pictures::attention::png;
use super::tensorboard::Events;
use crate::checkpoint::{RunFolder, atomic};
use crate::runtime::stage::State;

/// A log beside `metrics.jsonl`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Log {
    /// Event files for TensorBoard, in `tensorboard/`
    Tensorboard,
    /// `log.txt`, a line an epoch as the published script writes it
    #[value(name = "log.txt")]
    LogTxt,
    /// None but metrics.jsonl
    None,
}

/// A file that could not be written.
#[derive(Debug)]
pub struct Unwritten {
    pub path: PathBuf,
    pub source: io::Error,
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> Unwritten {
    let path = path.to_owned();
    |source| Unwritten { path, source }
}

/// The logs of a run.
pub struct Logs {
    metrics: PathBuf,
    recorder: Recorder,
    pictures: PathBuf,
    tensorboard: Option<Events>,
    epochs: Option<(PathBuf, EpochLog)>,
}

impl Logs {
    /// Opens the logs of a run that goes on at `first`, its record cut back to there. A log that an earlier life of the run began is
    /// gone on with, whatever is asked for.
    ///
    /// # Errors
    /// When a file can't be written.
    pub fn open(
        folder: &RunFolder,
        wanted: &[Log],
        first: u64,
        steps_per_epoch: u64,
    ) -> Result<Self, Unwritten> {
        let (metrics, log) = (folder.metrics(), folder.log_txt());
        let recorder = Recorder::open(&metrics).map_err(at(&metrics))?;
        let epochs = match wanted.contains(&Log::LogTxt) || log.exists() {
            true => Some(EpochLog::open(&log, &metrics, steps_per_epoch).map_err(at(&log))?),
            false => None,
        };
        let board = folder.tensorboard();
        let tensorboard = match wanted.contains(&Log::Tensorboard) || board.exists() {
            true => Some(Events::begin(&board, first).map_err(at(&board))?),
            false => None,
        };
        let epochs = epochs.map(|epochs| (log, epochs));
        Ok(Logs { metrics, recorder, pictures: folder.pictures(), tensorboard, epochs })
    }

    /// Tells TensorBoard again what was seen at the barrier that a run goes on from, which it drops with the steps after it.
    ///
    /// # Errors
    /// When a file can't be read or written.
    pub fn repeat(&mut self, step: u64, networks: &BTreeMap<String, State>) -> Result<(), Unwritten> {
        let Some(events) = &mut self.tensorboard else { return Ok(()) };
        let text = std::fs::read_to_string(&self.metrics).map_err(at(&self.metrics))?;
        let mut tell = || {
            for line in text.lines().filter_map(|line| serde_json::from_str::<Map<String, Value>>(line).ok())
            {
                let name = line.get("event").and_then(Value::as_str).unwrap_or_default();
                let here = line.get("step").and_then(Value::as_u64) == Some(step);
                if here && name != "step" {
                    let mut fields = line.clone();
                    fields.retain(|key, _| key != "event" && key != "step");
                    events.evaluation(name, step, &fields)?;
                    picture_again(events, &self.pictures, &line, step)?;
                }
            }
            events.weights(step, networks)
        };
        let told = tell();
        told.map_err(at(&events.path))
    }

    /// A step's line, which it gives back.
    ///
    /// # Errors
    /// When a file can't be written; so of all that follow.
    pub fn step(
        &mut self,
        step: u64,
        epoch: u64,
        metrics: &[(&'static str, f64)],
    ) -> Result<Map<String, Value>, Unwritten> {
        let line = self.recorder.step(step, epoch, metrics).map_err(at(&self.metrics))?;
        if let Some(events) = &mut self.tensorboard {
            events.step(step, &line).map_err(at(&events.path))?;
        }
        if let Some((path, epochs)) = &mut self.epochs {
            epochs.step(&line).map_err(at(path))?;
        }
        Ok(line)
    }

    /// A line of a stage at the barrier, after `step` updates.
    pub fn evaluation(
        &mut self,
        name: &str,
        step: u64,
        fields: &Map<String, Value>,
    ) -> Result<(), Unwritten> {
        self.recorder.event(name, step, fields).map_err(at(&self.metrics))?;
        match &mut self.tensorboard {
            Some(events) => events.evaluation(name, step, fields).map_err(at(&events.path)),
            None => Ok(()),
        }
    }

    /// A picture of a step or barrier, kept as `pictures/<name>.png`; TensorBoard has it under its tag.
    pub fn picture(&mut self, step: u64, tag: &str, drawn: &Drawn) -> Result<(), Unwritten> {
        let path = self.pictures.join(format!("{}.png", drawn.name));
        let kept = png(&drawn.picture).and_then(|bytes| {
            std::fs::create_dir_all(&self.pictures)?;
            atomic::write(&path, |file| file.write_all(&bytes))?;
            Ok(bytes)
        });
        let bytes = kept.map_err(at(&path))?;
        match &mut self.tensorboard {
            Some(events) => events.picture(step, tag, &drawn.picture, bytes).map_err(at(&events.path)),
            None => Ok(()),
        }
    }

    /// How the weights of a checkpoint are spread.
    pub fn weights(&mut self, step: u64, networks: &BTreeMap<String, State>) -> Result<(), Unwritten> {
        match &mut self.tensorboard {
            Some(events) => events.weights(step, networks).map_err(at(&events.path)),
            None => Ok(()),
        }
    }

    /// Down to the disk, so that a checkpoint never knows more than the record.
    pub fn sync(&self) -> Result<(), Unwritten> {
        self.recorder.sync().map_err(at(&self.metrics))
    }
}

/// The picture that a line of the record names, if it is still there and can be read.
fn picture_again(events: &mut Events, folder: &Path, line: &Map<String, Value>, step: u64) -> io::Result<()> {
    let text = |key: &str| line.get(key).and_then(Value::as_str);
    let (Some(name), Some(tag)) = (text("picture"), text("event")) else { return Ok(()) };
    let Ok(bytes) = std::fs::read(folder.join(name)) else { return Ok(()) };
    let Ok(picture) = image::load_from_memory(&bytes) else { return Ok(()) };
    let size = crate::data::rgb::Rgb8::new(picture.height() as usize, picture.width() as usize);
    let tag = text("network").map_or(tag.to_owned(), |network| format!("{tag}/{network}"));
    events.picture(step, &tag, &size, bytes)
}
