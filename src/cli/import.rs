//! `dinoflow import`.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::error::Error;
use crate::stages::Registry;
use crate::weights::{Opened, Which, export, open};

/// The arguments of `dinoflow import`.
#[derive(Clone, Debug, Args)]
pub struct ImportArgs {
    /// A file of weights (safetensors, or of torch.save), a Hugging Face or timm folder, a checkpoint or a run
    #[arg(value_name = "FILE|FOLDER")]
    from: PathBuf,
    /// The safetensors file to write, with the published keys
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Which network, where there are two
    #[arg(long, value_enum, default_value_t)]
    which: Which,
    /// Prints one JSON object: what the file was and what became of every key
    #[arg(long)]
    json: bool,
}

impl ImportArgs {
    /// Reads, writes, and says what became of every key.
    ///
    /// # Errors
    /// When the weights can't be read or used, or the file can't be written.
    pub fn run(&self, _: &Registry) -> Result<(), Error> {
        if self.output.extension().is_none_or(|extension| extension != "safetensors") {
            let output = self.output.display();
            let instead = "expected a name that ends in .safetensors; `dinoflow export` writes other formats";
            return Err(Error::Request(format!("--output {output}: {instead}")));
        }
        let opened = open(&self.from, self.which)?;
        export::safetensors(&self.output, &opened.state)?;
        super::say(&match self.json {
            true => format!("{:#}\n", to_json(&opened, std::slice::from_ref(&self.output))),
            false => format!("{}\n{}\n{}\n", headline(&opened), opened.keys, self.output.display()),
        })
    }
}

/// What weights are, in a line.
pub fn headline(opened: &Opened) -> String {
    let network = &opened.network;
    let head = match (opened.has_head, network.head.prototypes) {
        (false, _) => "without a head".into(),
        (true, true) => format!("with a head to {} prototypes", network.head.out_dim),
        (true, false) => format!("with a head to {} features", network.head.bottleneck),
    };
    let size =
        network.backbone.vit().map(|(vit, _)| format!(" for {} pixels", vit.image)).unwrap_or_default();
    format!("{}: {}{size}, {head}", opened.format.label(), network.backbone.label())
}

/// The same for programs, with every key.
pub fn to_json(opened: &Opened, files: &[PathBuf]) -> serde_json::Value {
    json!({
        "format": opened.format,
        "network": opened.network,
        "has_head": opened.has_head,
        "shown": opened.shown,
        "keys": opened.keys,
        "files": files,
    })
}
