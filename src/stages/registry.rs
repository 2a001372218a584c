//! Stages that a user's crate brings, by the `kind` under which a graph names them.
//!
//! A crate of your own holds the stage and a `main` that hands it to [`crate::main_with`]. Here is a stage in the place of `center`: the
//! teacher's softmax at a low temperature, without a centre.
//!
//! ```
//! use dfdx::prelude::Cpu;
//! use dinoflow::runtime::stage::{Inputs, Moment, Outputs, Stage, StageError, Value};
//! use dinoflow::stages::{Batch, Cost, Declare, EdgeType, Given, Port, Ports, Problem, Rate, Registry, Role, Scope};
//! use dinoflow::tensor::Batched;
//! use ron::value::RawValue;
//!
//! #[derive(serde::Deserialize)]
//! #[serde(deny_unknown_fields)]
//! struct Sharpening {
//!     temperature: f32,
//! }
//!
//! impl Sharpening {
//!     fn parse(with: &RawValue) -> Result<Self, String> {
//!         with.into_rust().map_err(|e| e.to_string())
//!     }
//! }
//!
//! /// What it is: asked by `check` and `graph`, long before anything runs.
//! impl Declare for Sharpening {
//!     fn role(&self) -> Role {
//!         Role::Center
//!     }
//!     /// Once a step, with the whole batch in sight.
//!     fn rate(&self) -> Rate {
//!         Rate::Step
//!     }
//!     /// Those of its role, so that it can stand in another's place.
//!     fn ports(&self) -> Ports {
//!         Ports {
//!             inputs: vec![Port::new("logits", "the teacher's logits (2, B, K)")],
//!             outputs: vec![
//!                 Port::new("targets", "a probability for each prototype (2, B, K)"),
//!                 Port::new("centered", "the logits less a centre (2, B, K)").optional(),
//!             ],
//!         }
//!     }
//!     fn problems(&self, _: &Scope) -> Vec<Problem> {
//!         let wrong = Problem::parameter("temperature", "a number above 0", self.temperature.to_string());
//!         if self.temperature > 0.0 { vec![] } else { vec![wrong] }
//!     }
//!     fn infer(&self, _: &Scope, given: &Given) -> Result<Vec<EdgeType>, Vec<Problem>> {
//!         match given.get("logits") {
//!             Some(EdgeType::Tensor { dims, .. }) if dims.len() == 3 => {
//!                 Ok(vec![EdgeType::Tensor { dims: dims.clone(), batch: Some((1, Batch::Whole)) }; 2])
//!             }
//!             other => Err(vec![Problem::input("logits", "a tensor (views, batch, K)", format!("{other:?}"))]),
//!         }
//!     }
//!     fn cost(&self, _: &Scope, _: &Given) -> Cost {
//!         Cost::default()
//!     }
//! }
//!
//! /// What it does: values for its outputs, in the order of its ports.
//! impl Stage<Cpu> for Sharpening {
//!     fn fire(&mut self, _: &Moment, inputs: &mut Inputs<'_, Cpu>, outputs: &mut Outputs<'_, Cpu>) -> Result<(), StageError> {
//!         let device = |e| StageError::Device(format!("{e:?}"));
//!         let logits = inputs.tensor(0)?;
//!         let mut targets = logits.to_host().map_err(device)?;
//!         for row in targets.chunks_exact_mut(logits.dims[2]) {
//!             let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
//!             row.iter_mut().for_each(|x| *x = ((*x - most) / self.temperature).exp());
//!             let sum: f32 = row.iter().sum();
//!             row.iter_mut().for_each(|x| *x /= sum);
//!         }
//!         let targets = Batched::from_host(&Cpu::default(), targets, logits.dims.clone(), logits.batch);
//!         outputs.values[0] = Some(Value::Tensor(targets.map_err(device)?));
//!         outputs.values[1] = Some(Value::Tensor(logits.clone()));
//!         Ok(())
//!     }
//! }
//!
//! let registry = Registry::default().stage(
//!     "sharpening",
//!     |with| Ok(Box::new(Sharpening::parse(with)?)),
//!     |with, _graph, _device| Ok(Box::new(Sharpening::parse(with)?)),
//! );
//! // in `main`: dinoflow::main_with(registry), and on the command line:
//! // --swap 'center=Custom(kind: "sharpening", with: (temperature: 0.04))'
//! # let request = dinoflow::graph::load::Request {
//! #     graph: "graphs/quickstart.ron".into(),
//! #     swaps: vec![r#"center=Custom(kind: "sharpening", with: (temperature: 0.04))"#.into()],
//! #     sets: ["global_batch=4", "knn.train.count=16", "knn.val.count=8", "knn.k=[1]"].map(String::from).into(),
//! #     ..Default::default()
//! # };
//! # let loaded = dinoflow::graph::load::load(&request).unwrap();
//! # let (plan, _) = dinoflow::plan::build::plan(&loaded, &registry).unwrap();
//! # let folder = tempfile::tempdir().unwrap();
//! # let options = dinoflow::runtime::Options { out: folder.path().join("run"), steps: Some(2), ..Default::default() };
//! # let outcome = dinoflow::runtime::run(&plan, &registry, "", &Cpu::default(), &options, &Default::default()).unwrap();
//! # assert_eq!(outcome.step, 2);
//! ```
//!
//! A stage with state also implements [`Stage::save`], [`Stage::restore`] and, for what a step leaves to the next, [`Stage::commit`].

use dfdx::prelude::Cpu;
use indexmap::IndexMap;
use ron::value::RawValue;

use super::collate::Cropper;
use super::{Custom, Declare, StageSpec};
use crate::graph::spec::GraphSpec;
use crate::kernels::Kernels;
use crate::runtime::stage::{Stage, StageError};

/// Parses a custom stage's parameters; an error says what was wrong with them.
pub type DeclareFn = fn(&RawValue) -> Result<Box<dyn Declare>, String>;

/// Builds a custom stage on the thread that will run it, from its parameters and the graph around it.
pub type BuildFn<D> = fn(&RawValue, &GraphSpec, &D) -> Result<Box<dyn Stage<D>>, String>;

/// The custom stages that a binary knows.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    declarations: IndexMap<String, DeclareFn>,
    on_cpu: IndexMap<String, BuildFn<Cpu>>,
    #[cfg(feature = "cuda")]
    on_cuda: IndexMap<String, BuildFn<dfdx::prelude::Cuda>>,
}

/// A device for which stages can be registered.
pub trait Registered: Kernels {
    /// The stages that were registered for it, by kind.
    fn registered(registry: &Registry) -> &IndexMap<String, BuildFn<Self>>;

    /// What makes crops on it of whole pictures; none where the host makes them.
    fn cropper(&self) -> Option<Box<dyn Cropper<Self>>> {
        None
    }
}

impl Registered for Cpu {
    fn registered(registry: &Registry) -> &IndexMap<String, BuildFn<Self>> {
        &registry.on_cpu
    }
}

#[cfg(feature = "cuda")]
impl Registered for dfdx::prelude::Cuda {
    fn registered(registry: &Registry) -> &IndexMap<String, BuildFn<Self>> {
        &registry.on_cuda
    }

    fn cropper(&self) -> Option<Box<dyn Cropper<Self>>> {
        Some(Box::new(super::collate::OnGpu::new(self)))
    }
}

impl Registry {
    /// Makes `Custom(kind: "…")` known to graphs: what it declares, and what runs on the CPU. A kind registered twice is the later one.
    pub fn stage(mut self, kind: impl Into<String>, declare: DeclareFn, on_cpu: BuildFn<Cpu>) -> Self {
        let kind = kind.into();
        self.on_cpu.insert(kind.clone(), on_cpu);
        self.declare(kind, declare)
    }

    /// What runs a kind on NVIDIA GPUs, beside what [`Registry::stage`] said of it.
    #[cfg(feature = "cuda")]
    pub fn on_cuda(mut self, kind: impl Into<String>, build: BuildFn<dfdx::prelude::Cuda>) -> Self {
        self.on_cuda.insert(kind.into(), build);
        self
    }

    /// Makes `Custom(kind: "…")` known to `check` and `graph` alone.
    pub fn declare(mut self, kind: impl Into<String>, declare: DeclareFn) -> Self {
        self.declarations.insert(kind.into(), declare);
        self
    }

    /// The running stage of a custom one.
    ///
    /// # Errors
    /// When nothing is registered that runs it on this device, or its crate refuses its parameters.
    pub fn build<D: Registered>(
        &self,
        custom: &Custom,
        graph: &GraphSpec,
        device: &D,
    ) -> Result<Box<dyn Stage<D>>, StageError> {
        let kind = &custom.kind;
        let build = D::registered(self).get(kind).ok_or_else(|| {
            StageError::Data(format!("Custom(kind: {kind:?}) has nothing that runs it on {}", device.word()))
        })?;
        build(&custom.with, graph, device)
            .map_err(|e| StageError::Data(format!("Custom(kind: {kind:?}): {e}")))
    }

    /// The registered kinds, in the order in which they were registered.
    pub fn kinds(&self) -> impl Iterator<Item = &str> {
        self.declarations.keys().map(String::as_str)
    }

    /// What a custom stage declares.
    ///
    /// # Errors
    /// When its kind is not registered, or its crate refuses its parameters.
    pub fn declaration(&self, custom: &Custom) -> Result<Box<dyn Declare>, Unknown> {
        let declare = self.declarations.get(&custom.kind).ok_or(Unknown::Kind)?;
        declare(&custom.with).map_err(Unknown::Parameters)
    }
}

/// Why a custom stage declares nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    #[error("no stage of this kind is registered in this program")]
    Kind,
    #[error("{0}")]
    Parameters(String),
}

/// A stage's declaration: lent by its own parameters, or made by a user's crate.
pub enum Declared<'s> {
    Own(&'s dyn Declare),
    Custom(Box<dyn Declare>),
}

impl<'s> std::ops::Deref for Declared<'s> {
    type Target = dyn Declare + 's;

    fn deref(&self) -> &Self::Target {
        match self {
            Declared::Own(declare) => *declare,
            Declared::Custom(declare) => &**declare,
        }
    }
}

impl StageSpec {
    /// What this stage declares of itself.
    ///
    /// # Errors
    /// For a custom stage that is not registered or whose parameters its crate refuses.
    pub fn declaration<'s>(&'s self, registry: &Registry) -> Result<Declared<'s>, Unknown> {
        match self {
            StageSpec::Custom(custom) => registry.declaration(custom).map(Declared::Custom),
            own => own.built_in().map(Declared::Own).ok_or(Unknown::Kind),
        }
    }
}
