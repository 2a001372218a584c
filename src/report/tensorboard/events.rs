//! A run's event file: scalars of each step and evaluation, pictures, and how weights are spread.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Result, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use prost::Message;
use serde_json::{Map, Value as Json};

use super::histogram::histogram;
use super::message::{Event, Image, Kind, START, SessionLog, Summary, VERSION, Value, What};
use super::record::framed;
use crate::checkpoint::leavings::{EVENTS, OURS};
use crate::data::rgb::Rgb8;
use crate::runtime::stage::{SavedTensor, State};

/// Writes an event file. Every event goes out whole, at once: TensorBoard can read while the run lasts.
#[derive(Debug)]
pub struct Events {
    file: File,
    pub path: PathBuf,
}

impl Events {
    /// Begins a file in this folder, which is made where it is not there; what earlier files say of `step` and later no longer counts.
    ///
    /// # Errors
    /// When the folder or the file can't be written.
    pub fn begin(folder: &Path, step: u64) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        let mut earlier = files(folder)?;
        earlier.sort();
        // TensorBoard reads files in the order of their names, so the clock must not go back
        let last = earlier.last().and_then(|path| seconds_of(path)).unwrap_or(0);
        let name = format!("{EVENTS}{:010}{OURS}{:04}", (now() as u64).max(last), earlier.len());
        let path = folder.join(name);
        let file = File::options().append(true).create_new(true).open(&path)?;
        let mut events = Events { file, path };
        events.write(0, What::FileVersion(VERSION.into()))?;
        events.write(step, What::SessionLog(SessionLog { status: START }))?;
        Ok(events)
    }

    /// The numbers of a step's line, each under its key.
    ///
    /// # Errors
    /// When the file can't be written; so of all that follow.
    pub fn step(&mut self, step: u64, line: &Map<String, Json>) -> Result<()> {
        const PLACES: [&str; 2] = ["step", "epoch"];
        let numbers = line.iter().filter(|(key, _)| !PLACES.contains(&key.as_str()));
        self.scalars(step, numbers.filter_map(|(key, value)| Some((key.clone(), value.as_f64()?))))
    }

    /// The numbers of an evaluation's line: `knn/teacher/20` is the accuracy, `knn_top5/teacher/20` that of the first five; others are
    /// under their event, network and key.
    pub fn evaluation(&mut self, name: &str, step: u64, fields: &Map<String, Json>) -> Result<()> {
        let network = fields.get("network").and_then(Json::as_str).unwrap_or("network");
        let scalar = |(key, value): (&String, &Json)| {
            let tag = match (key.as_str(), fields.get("k")) {
                ("top1", Some(k)) => format!("{name}/{network}/{k}"),
                ("top5", Some(k)) => format!("{name}_top5/{network}/{k}"),
                // counts and sizes are no figures
                _ if value.is_u64() => return None,
                _ => format!("{name}/{network}/{key}"),
            };
            Some((tag, value.as_f64()?))
        };
        self.scalars(step, fields.iter().filter_map(scalar))
    }

    fn scalars(&mut self, step: u64, numbers: impl Iterator<Item = (String, f64)>) -> Result<()> {
        let value = |(tag, number): (String, f64)| Value { tag, kind: Some(Kind::Scalar(number as f32)) };
        self.values(step, numbers.map(value).collect())
    }

    /// A picture of this size, as the bytes of a PNG file.
    pub fn picture(&mut self, step: u64, tag: &str, size: &Rgb8, png: Vec<u8>) -> Result<()> {
        let (height, width) = (size.height as i32, size.width as i32);
        let image = Image { height, width, colorspace: 3, encoded_image_string: png };
        self.values(step, vec![Value { tag: tag.into(), kind: Some(Kind::Image(image)) }])
    }

    /// How the weights of the networks are spread, by groups of parameters: `student/backbone.blocks.3`.
    pub fn weights(&mut self, step: u64, networks: &BTreeMap<String, State>) -> Result<()> {
        let mut values = Vec::new();
        for (network, state) in networks.iter().filter(|(name, _)| *name != "state") {
            let mut groups: BTreeMap<String, Vec<&[f32]>> = BTreeMap::new();
            for (name, tensor) in state {
                if let SavedTensor::F32 { values, .. } = tensor {
                    groups.entry(group(name)).or_default().push(values);
                }
            }
            let spread = groups.into_iter().filter_map(|(group, tensors)| {
                let kind = Some(Kind::Histogram(histogram(&tensors)?));
                Some(Value { tag: format!("{network}/{group}"), kind })
            });
            values.extend(spread);
        }
        self.values(step, values)
    }

    fn values(&mut self, step: u64, value: Vec<Value>) -> Result<()> {
        if value.is_empty() { Ok(()) } else { self.write(step, What::Summary(Summary { value })) }
    }

    fn write(&mut self, step: u64, what: What) -> Result<()> {
        let event = Event { wall_time: now(), step: step as i64, what: Some(what) };
        // one write an event: a killed run leaves whole ones
        self.file.write_all(&framed(&event.encode_to_vec()))
    }
}

/// The event files of this program in a folder.
///
/// # Errors
/// When the folder can't be read; one that is not there holds none.
pub fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let paths: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    Ok(paths.into_iter().filter(|path| seconds_of(path).is_some()).collect())
}

/// When a file of this program was begun, by its name; none for other files.
fn seconds_of(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?;
    let (seconds, _) = name.strip_prefix(EVENTS)?.split_once(OURS)?;
    seconds.parse().ok()
}

/// The group of a parameter by its published name: a block of the backbone, or a part of backbone or head.
fn group(name: &str) -> String {
    let parts: Vec<&str> = name.split('.').collect();
    let block = parts.get(2).is_some_and(|part| part.parse::<usize>().is_ok()) && parts[0] == "backbone";
    let parts = &parts[..parts.len().min(if block { 3 } else { 2 })];
    parts.join(".")
}

/// Seconds since 1970; a clock before that is at it.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The events of a file, its frames taken apart.
    fn read(path: &Path) -> Vec<Event> {
        let bytes = std::fs::read(path).unwrap();
        let (mut rest, mut events) = (&bytes[..], Vec::new());
        while !rest.is_empty() {
            let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
            let message = &rest[12..12 + length];
            assert_eq!(framed(message), rest[..length + 16]);
            events.push(Event::decode(message).unwrap());
            rest = &rest[length + 16..];
        }
        events
    }

    fn tags(event: &Event) -> Vec<String> {
        match &event.what {
            Some(What::Summary(summary)) => summary.value.iter().map(|value| value.tag.clone()).collect(),
            _ => Vec::new(),
        }
    }

    fn object(text: &str) -> Map<String, Json> {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_file_begins_with_its_version_and_step_and_then_has_what_happened() {
        let folder = tempfile::tempdir().unwrap();
        let mut events = Events::begin(&folder.path().join("tensorboard"), 5).unwrap();
        events.step(5, &object(r#"{"event":"step","step":5,"epoch":0,"loss":2.5,"kl":null}"#)).unwrap();
        events
            .evaluation("knn", 6, &object(r#"{"network":"teacher","k":20,"top1":40.0,"top5":80.0}"#))
            .unwrap();
        events.picture(6, "crops", &Rgb8::new(2, 3), vec![1]).unwrap();
        let f32s = |values: &[f32]| SavedTensor::F32 { dims: vec![values.len()], values: values.to_vec() };
        let state: State = [
            ("backbone.blocks.0.mlp.fc1.bias".to_owned(), f32s(&[1.0, 2.0])),
            ("backbone.blocks.0.norm1.bias".to_owned(), f32s(&[3.0])),
            ("head.last_layer.weight_v".to_owned(), f32s(&[0.0])),
        ]
        .into();
        events
            .weights(6, &[("student".to_owned(), state.clone()), ("state".to_owned(), state)].into())
            .unwrap();
        let found = read(&events.path);
        assert_eq!(found[0].what, Some(What::FileVersion(VERSION.into())));
        assert_eq!(
            (found[1].step, &found[1].what),
            (5, &Some(What::SessionLog(SessionLog { status: START })))
        );
        let all: Vec<(i64, Vec<String>)> = found[2..].iter().map(|event| (event.step, tags(event))).collect();
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let expected = [
            (5, words(&["loss"])),
            (6, words(&["knn/teacher/20", "knn_top5/teacher/20"])),
            (6, words(&["crops"])),
            (6, words(&["student/backbone.blocks.0", "student/head.last_layer"])),
        ];
        assert_eq!(all, expected);
    }

    #[test]
    fn files_of_later_lives_come_later_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let far = folder.path().join(format!("{EVENTS}9999999999{OURS}0000"));
        std::fs::write(&far, "").unwrap();
        std::fs::write(folder.path().join(format!("{EVENTS}9999999999.other")), "").unwrap();
        let second = Events::begin(folder.path(), 0).unwrap().path;
        let third = Events::begin(folder.path(), 0).unwrap().path;
        assert!(far < second && second < third);
        assert_eq!(files(folder.path()).unwrap().len(), 3);
    }
}
