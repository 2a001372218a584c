//! What an evaluation says: lines for people, and one JSON object with all that decided the numbers.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use crate::checkpoint::atomic;
use crate::error::Error;

/// Where results go.
#[derive(Clone, Debug, Args)]
pub struct OutcomeArgs {
    /// Prints one JSON object in place of lines
    #[arg(long)]
    pub json: bool,
    /// Writes the JSON object into a file as well
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

impl OutcomeArgs {
    /// Refuses a file that could not be written, before hours of work are done for it.
    ///
    /// # Errors
    /// [`Error::Request`] when its folder is not there, or it is a folder.
    pub fn check(&self) -> Result<(), Error> {
        match &self.output {
            Some(path) if path.is_dir() || !atomic::parent(path).is_dir() => Err(Error::Request(format!(
                "--output {}: expected a file's path in a folder that exists",
                path.display()
            ))),
            _ => Ok(()),
        }
    }

    /// Says `lines` or `record`, to which the protocol's name and the program's version are added.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn give(&self, protocol: &str, lines: &[String], mut record: Value) -> Result<(), Error> {
        record["protocol"] = json!(protocol);
        record["version"] = json!(env!("CARGO_PKG_VERSION"));
        let text = format!("{record:#}\n");
        if let Some(path) = &self.output {
            atomic::write(path, |file| file.write_all(text.as_bytes())).map_err(|cause| Error::File {
                doing: "write",
                path: path.clone(),
                cause,
            })?;
        }
        let said = lines.iter().map(|line| format!("{line}\n")).collect::<String>();
        crate::cli::say(if self.json { &text } else { &said })
    }
}
