//! `dinoflow export`.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::import::{headline, to_json};
use crate::error::Error;
use crate::stages::Registry;
use crate::weights::Which;
use crate::weights::export::{Request, Target, export};

/// The arguments of `dinoflow export`.
#[derive(Clone, Debug, Args)]
pub struct ExportArgs {
    /// A run, a checkpoint, or a file or folder of weights
    #[arg(value_name = "RUN|WEIGHTS")]
    from: PathBuf,
    /// What to write
    #[arg(long, value_enum)]
    format: Target,
    /// The file to write (.safetensors, or .pth for torch.load), or the folder (hf, timm)
    #[arg(short, long, value_name = "PATH")]
    output: PathBuf,
    /// Which network, where there are two
    #[arg(long, value_enum, default_value_t)]
    which: Which,
    /// Lays position embeddings out for pictures of N x N pixels, by DINO's own interpolation, so that other programs interpolate nothing
    #[arg(long, value_name = "N")]
    size: Option<usize>,
    /// Prints one JSON object: what was read, what became of every key, what was written
    #[arg(long)]
    json: bool,
}

impl ExportArgs {
    /// Reads, writes, and says what was written.
    ///
    /// # Errors
    /// When the weights can't be read, the format can't hold them, or nothing can be written there.
    pub fn run(&self, _: &Registry) -> Result<(), Error> {
        let exported = export(&Request {
            from: self.from.clone(),
            which: self.which,
            target: self.format,
            out: self.output.clone(),
            size: self.size,
        })?;
        if self.json {
            let mut value = to_json(&exported.opened, &exported.files);
            value["target"] = json!(self.format);
            value["tensors"] = json!(exported.tensors);
            value["notes"] = json!(exported.notes);
            return super::say(&format!("{value:#}\n"));
        }
        let mut text = format!("{}\n{}\n", headline(&exported.opened), exported.opened.keys);
        exported.notes.iter().for_each(|note| text += &format!("note       {note}\n"));
        let files =
            exported.files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", ");
        text += &format!("{} tensors written to {files}\n", exported.tensors);
        super::say(&text)
    }
}
