//! An ablation's variants as checked graphs: all of them, before the first runs.

use std::path::{Path, PathBuf};

use super::spec::{AblationSpec, Expect, VariantSpec};
use crate::error::Error;
use crate::graph::check::check;
use crate::graph::load::{Loaded, Request, load};
use crate::graph::origin::Origins;
use crate::graph::problem::{Diagnostic, listing, nearest};
use crate::graph::spec::{DeviceChoice, GraphSpec};
use crate::graph::write::to_ron;
use crate::plan::explain::picture::{Picture, picture};
use crate::plan::{Plan, build};
use crate::stages::Registry;

/// An ablation that can run.
#[derive(Clone, Debug)]
pub struct Ablation {
    pub title: String,
    /// The file that it was read from, without its extension: names the folder.
    pub name: String,
    pub graph: PathBuf,
    pub seeds: Vec<u64>,
    pub variants: Vec<Variant>,
}

/// One variant of the graph.
#[derive(Clone, Debug)]
pub struct Variant {
    pub name: String,
    pub published: Option<String>,
    pub expect: Option<Expect>,
    /// For comparing with others.
    pub picture: Picture,
    /// A run for each seed.
    pub runs: Vec<Planned>,
}

/// A variant with one seed.
#[derive(Clone, Debug)]
pub struct Planned {
    pub seed: u64,
    pub plan: Plan,
    /// The text of its `graph.ron`.
    pub text: String,
}

impl Planned {
    /// The run's folder, in the ablation's.
    pub fn folder(&self, out: &Path, variant: &str) -> PathBuf {
        out.join(variant).join(format!("seed-{}", self.seed))
    }
}

/// A variant that can't run: its name, what is wrong, and the texts that this points into.
pub struct Refused {
    pub variant: String,
    pub problems: Vec<Diagnostic>,
    pub origins: Origins,
}

impl Ablation {
    /// Reads a file and checks every variant of it with every seed; `auto` is what the device `Auto` stands for.
    ///
    /// # Errors
    /// When a file can't be read or the ablation's is wrong; within, all variants that are.
    pub fn read(
        file: &Path,
        registry: &Registry,
        auto: DeviceChoice,
    ) -> Result<Result<Self, Vec<Refused>>, Error> {
        let spec = AblationSpec::read(file)?;
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let (mut variants, mut refused) = (Vec::new(), Vec::new());
        for one in &spec.variants {
            match variant(&spec, one, registry, auto)? {
                Ok(variant) => variants.push(variant),
                Err(wrong) => refused.push(wrong),
            }
        }
        if !refused.is_empty() {
            return Ok(Err(refused));
        }
        let title = spec.title.unwrap_or_else(|| name.clone());
        Ok(Ok(Ablation { title, name, graph: spec.graph, seeds: spec.seeds, variants }))
    }

    /// The variants of these names, all of them where there are none.
    ///
    /// # Errors
    /// [`Error::Request`] for a name that no variant has.
    pub fn only(&self, names: &[String]) -> Result<Vec<&Variant>, Error> {
        let known = || self.variants.iter().map(|variant| variant.name.as_str());
        if let Some(name) = names.iter().find(|name| known().all(|known| known != name.as_str())) {
            let near =
                nearest(name, known()).map_or(String::new(), |near| format!("; did you mean `{near}`?"));
            return Err(Error::Request(format!("--only {name}: expected {}{near}", listing(known()))));
        }
        Ok(self.variants.iter().filter(|variant| names.is_empty() || names.contains(&variant.name)).collect())
    }
}

/// Loads, checks and plans a variant with each seed.
fn variant(
    spec: &AblationSpec,
    one: &VariantSpec,
    registry: &Registry,
    auto: DeviceChoice,
) -> Result<Result<Variant, Refused>, Error> {
    let mut runs = Vec::new();
    let mut shown = None;
    for &seed in &spec.seeds {
        let loaded = load(&Request { auto, ..request(spec, one, seed) })?;
        match planned(&loaded, seed, registry)? {
            Ok(run) => runs.push(run),
            Err(problems) => {
                return Ok(Err(Refused { variant: one.name.clone(), problems, origins: loaded.origins }));
            }
        }
        shown = shown.or_else(|| check(&loaded, registry).map(|draft| picture(&draft)));
    }
    // a file without seeds was refused, and a graph that was planned can be drawn
    let Some(picture) = shown else { return Err(Error::Failed(format!("`{}` has no run", one.name))) };
    let (name, published, expect) = (one.name.clone(), one.published.clone(), one.expect);
    Ok(Ok(Variant { name, published, expect, picture, runs }))
}

fn request(spec: &AblationSpec, one: &VariantSpec, seed: u64) -> Request {
    let both = |a: &[String], b: &[String]| [a, b].concat();
    let mut sets = both(&spec.set, &one.set);
    sets.push(format!("seed={seed}"));
    Request {
        graph: spec.graph.clone(),
        without: both(&spec.without, &one.without),
        swaps: both(&spec.swap, &one.swap),
        sets,
        ..Request::default()
    }
}

fn planned(
    loaded: &Loaded,
    seed: u64,
    registry: &Registry,
) -> Result<Result<Planned, Vec<Diagnostic>>, Error> {
    let plan = match build::plan(loaded, registry) {
        Ok((plan, _)) => plan,
        Err(problems) => return Ok(Err(problems)),
    };
    // as `dinoflow run` writes it down
    let graph = GraphSpec { precision: plan.precision(), device: loaded.asked, ..plan.graph.clone() };
    let text = to_ron(&graph).map_err(|e| Error::Failed(format!("the graph can't be written out: {e}")))?;
    Ok(Ok(Planned { seed, plan, text }))
}
