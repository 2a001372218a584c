//! A small run's network, the program that judges it, and pictures to judge it by.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use image::{Rgb, RgbImage};
use serde_json::Value;

/// A folder with a run of one step in it.
pub struct Bench {
    pub folder: tempfile::TempDir,
}

impl Bench {
    pub fn new() -> Self {
        let bench = Bench { folder: tempfile::tempdir().unwrap() };
        let graph = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/graphs/small.ron");
        let run =
            bench.program(&["run", &graph.display().to_string(), "--out", &bench.at("run"), "--steps", "1"]);
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        bench
    }

    pub fn at(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    pub fn program(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_dinoflow")).args(arguments).output().unwrap()
    }

    /// A protocol on the run's network: lines for people, and the record that it writes.
    pub fn judge(&self, protocol: &str, arguments: &[&str]) -> (String, Value) {
        let (run, record) = (self.at("run"), self.at("record.json"));
        let mut all = vec!["eval", protocol, &*run];
        all.extend(arguments);
        all.extend(["-o", &record]);
        let output = self.program(&all);
        assert!(output.status.success(), "{all:?}: {}", String::from_utf8_lossy(&output.stderr));
        let record: Value = serde_json::from_str(&std::fs::read_to_string(record).unwrap()).unwrap();
        assert_eq!(record["protocol"], protocol);
        (String::from_utf8(output.stdout).unwrap(), record)
    }

    /// What it says when it refuses.
    pub fn refused(&self, arguments: &[&str]) -> String {
        let output = self.program(arguments);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {text}");
        text
    }

    pub fn folder(&self, name: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    }
}

/// A picture of its own for each number.
pub fn picture(number: u32, width: u32, height: u32) -> RgbImage {
    let level = |x: u32, y: u32, by: u32| ((x * (3 + number) + y * by + 40 * number) % 256) as u8;
    RgbImage::from_fn(width, height, |x, y| Rgb([level(x, y, 7), level(y, x, 5 + number), level(x, x, 11)]))
}

/// A JPEG file's bytes.
pub fn jpeg(picture: &RgbImage) -> Vec<u8> {
    let mut bytes = Vec::new();
    let encoder = jpeg_encoder::Encoder::new(&mut bytes, 95);
    encoder
        .encode(picture, picture.width() as u16, picture.height() as u16, jpeg_encoder::ColorType::Rgb)
        .unwrap();
    bytes
}
