//! Stages that a user's crate brings, by the `kind` under which a graph names them.

use dfdx::prelude::Cpu;
use indexmap::IndexMap;
use ron::value::RawValue;

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
}

/// A device for which stages can be registered.
pub trait Registered: Kernels {
    /// The stages that were registered for it, by kind.
    fn registered(registry: &Registry) -> &IndexMap<String, BuildFn<Self>>;
}

impl Registered for Cpu {
    fn registered(registry: &Registry) -> &IndexMap<String, BuildFn<Self>> {
        &registry.on_cpu
    }
}

impl Registry {
    /// Makes `Custom(kind: "…")` known to graphs: what it declares, and what runs on the CPU. A kind registered twice is the later one.
    pub fn stage(mut self, kind: impl Into<String>, declare: DeclareFn, on_cpu: BuildFn<Cpu>) -> Self {
        let kind = kind.into();
        self.on_cpu.insert(kind.clone(), on_cpu);
        self.declare(kind, declare)
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
