//! Where wires begin and end.

/// One named place where a wire can end or start.
#[derive(Clone, Debug, PartialEq)]
pub struct Port {
    /// The word in wires: `"producer/name"`.
    pub name: &'static str,
    /// An input that may stay unwired, or an output that is computed only when something is wired to it.
    pub optional: bool,
    /// An input that takes the previous step's value (weights).
    pub feedback: bool,
    /// An input through which a gradient flows back: the plan mirrors its wire.
    pub differentiable: bool,
    /// An input that no file wires: the plan does (the gradients of what an optimizer trains).
    pub mirrored: bool,
    /// One line for `dinoflow stages`.
    pub about: &'static str,
}

impl Port {
    /// A port that must be wired and carries this step's value.
    pub const fn new(name: &'static str, about: &'static str) -> Self {
        Port { name, optional: false, feedback: false, differentiable: false, mirrored: false, about }
    }
    /// An input that may stay unwired, or an output that is computed only when something is wired to it.
    pub const fn optional(self) -> Self {
        Port { optional: true, ..self }
    }
    /// An input of the previous step's value.
    pub const fn feedback(self) -> Self {
        Port { feedback: true, ..self }
    }
    /// An input through which a gradient flows back.
    pub const fn differentiable(self) -> Self {
        Port { differentiable: true, ..self }
    }
    /// An input that the plan wires, not the file.
    pub const fn mirrored(self) -> Self {
        Port { mirrored: true, ..self }
    }
}

/// What a stage makes of an input that its role has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// What its port says: needed unless it is optional.
    AsDeclared,
    /// Needed, although the role's variants may do without.
    Needed,
    /// Of no use: a wire there counts for nothing, and costs nothing.
    Ignored,
}

/// A stage's ports; their order is the order of its inputs and outputs everywhere.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ports {
    /// Where wires end.
    pub inputs: Vec<Port>,
    /// Where wires start.
    pub outputs: Vec<Port>,
}
