//! Runs an ablation's variants, one after the other, each with every seed in a folder of its own.

use std::path::{Path, PathBuf};
use std::time::Instant;

use super::result::Kept;
use super::variant::{Ablation, Planned, Variant};
use crate::bench::memory;
use crate::checkpoint::Reuse;
use crate::error::Error;
use crate::runtime::{self, Interrupt, Options};
use crate::stages::Registry;
use crate::stages::registry::Registered;
use crate::tensor::release_freed_memory;

/// What an ablation is asked for.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The ablation's folder.
    pub out: PathBuf,
    /// Goes on with what lies there: skips finished runs, resumes others.
    pub resume: bool,
    /// The variants that run; all where there are none.
    pub only: Vec<String>,
    /// For every run; its folder and its reuse are the ablation's to say.
    pub options: Options,
}

/// Runs what is to run. A run that fails or collapses does not stop the others; a signal stops all, and is the interrupt's to tell.
///
/// # Errors
/// [`Error::Request`] before the first step: an unknown variant, a folder that was used before, a finished run of another graph.
pub fn run<D: Registered>(
    ablation: &Ablation,
    request: &Request,
    registry: &Registry,
    device: &D,
    interrupt: &Interrupt,
) -> Result<(), Error> {
    let variants = ablation.only(&request.only)?;
    fits(&variants, request)?;
    let all = variants.iter().flat_map(|variant| variant.runs.iter().map(move |run| (*variant, run)));
    let all: Vec<(&Variant, &Planned)> = all.collect();
    for (index, (variant, planned)) in all.iter().enumerate() {
        if interrupt.status().is_some() {
            break;
        }
        let folder = planned.folder(&request.out, &variant.name);
        let heading = format!("{}, seed {} ({} of {})", variant.name, planned.seed, index + 1, all.len());
        if Kept::read(&folder).is_some_and(|kept| kept.finished()) {
            eprintln!("{heading}: finished before");
            continue;
        }
        eprintln!("{heading}");
        let kept = one(planned, &folder, request, registry, device, interrupt);
        if let Some(error) = &kept.error {
            eprintln!("{heading}: {error}");
        }
        kept.write(&folder)?;
    }
    Ok(())
}

/// Refuses a folder that belongs to something else, before anything runs.
fn fits(variants: &[&Variant], request: &Request) -> Result<(), Error> {
    for variant in variants {
        for planned in &variant.runs {
            let folder = planned.folder(&request.out, &variant.name);
            let Ok(graph) = std::fs::read_to_string(folder.join("graph.ron")) else { continue };
            if !request.resume {
                return Err(Error::Request(format!(
                    "{} holds an earlier ablation; --resume goes on with it, --out names another folder",
                    request.out.display()
                )));
            }
            if graph != planned.text {
                return Err(Error::Request(format!(
                    "{} was trained with another graph than `{}` is now; name another folder with --out",
                    folder.display(),
                    variant.name
                )));
            }
        }
    }
    Ok(())
}

/// One run, to its end or to a signal.
fn one<D: Registered>(
    planned: &Planned,
    folder: &Path,
    request: &Request,
    registry: &Registry,
    device: &D,
    interrupt: &Interrupt,
) -> Kept {
    // what earlier runs left with the allocator is not this one's
    release_freed_memory();
    device.let_go();
    let alone = memory::forget_peak();
    device.forget_peak();
    let start = Instant::now();
    let options = Options { out: folder.to_owned(), reuse: Reuse::Resume, ..request.options.clone() };
    let outcome = runtime::run(&planned.plan, registry, &planned.text, device, &options, interrupt);
    let peak_bytes = device.peak_memory().or_else(|| memory::peak().filter(|_| alone));
    let seconds = start.elapsed().as_secs_f64();
    match outcome {
        Ok(outcome) => Kept { status: outcome.status, error: None, seconds, peak_bytes },
        Err(error) => Kept { status: error.status(), error: Some(error.to_string()), seconds, peak_bytes },
    }
}
