//! A graph of operators as it is put together: every operator names its own output.

use super::message::{
    Attribute, Dimension, FLOAT, Form, Graph, INT64, Node, Shape, Side, Tensor, TensorForm, Value,
};
use crate::runtime::stage::{SavedTensor, State};
use crate::weights::error::Cause;

/// What an operator gave, by its name.
pub type Name = String;

/// Operators and weights so far.
pub struct Builder<'s> {
    graph: Graph,
    state: &'s State,
}

impl<'s> Builder<'s> {
    /// Nothing yet, of a network with these weights.
    pub fn new(name: &str, state: &'s State) -> Self {
        Builder { graph: Graph { name: name.to_owned(), ..Graph::default() }, state }
    }

    /// An input: its first dimension is any number of pictures.
    pub fn input(&mut self, name: &str, dims: &[usize]) -> Name {
        self.graph.input.push(value(name, dims));
        name.to_owned()
    }

    /// Gives a result the name of an output.
    pub fn output(&mut self, name: &str, of: &str, dims: &[usize]) {
        self.graph.node.push(Node {
            input: vec![of.to_owned()],
            output: vec![name.to_owned()],
            name: name.to_owned(),
            op_type: "Identity".into(),
            attribute: Vec::new(),
        });
        self.graph.output.push(value(name, dims));
    }

    /// An operator with one output.
    pub fn op(&mut self, op_type: &str, input: &[&str], attribute: Vec<Attribute>) -> Name {
        let output = format!("{}_{}", op_type.to_lowercase(), self.graph.node.len());
        self.graph.node.push(Node {
            input: input.iter().map(|&name| name.to_owned()).collect(),
            output: vec![output.clone()],
            name: output.clone(),
            op_type: op_type.to_owned(),
            attribute,
        });
        output
    }

    /// Whole numbers that never change: a shape, places.
    pub fn ints(&mut self, values: &[i64]) -> Name {
        let name = format!("ints_{}", self.graph.initializer.len());
        let raw_data = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let dims = vec![values.len() as i64];
        self.graph.initializer.push(Tensor { dims, data_type: INT64, name: name.clone(), raw_data });
        name
    }

    /// A number that never changes.
    pub fn number(&mut self, value: f32) -> Name {
        let name = format!("number_{}", self.graph.initializer.len());
        self.constant(&name, &[], &[value])
    }

    /// Numbers that never change, under their name.
    pub fn constant(&mut self, name: &str, dims: &[usize], values: &[f32]) -> Name {
        let raw_data = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let dims = dims.iter().map(|&side| side as i64).collect();
        self.graph.initializer.push(Tensor { dims, data_type: FLOAT, name: name.to_owned(), raw_data });
        name.to_owned()
    }

    /// A weight's dimensions and numbers, by its key within the backbone.
    ///
    /// # Errors
    /// When there is none of that name: the network was opened, so that is a mistake of this program.
    pub fn numbers(&self, key: &str) -> Result<(&'s [usize], &'s [f32]), Cause> {
        match self.state.get(&format!("backbone.{key}")) {
            Some(SavedTensor::F32 { dims, values }) => Ok((dims, values)),
            _ => Err(Cause::tensor(key, "the network has no such weight of floats")),
        }
    }

    /// A weight as it is.
    ///
    /// # Errors
    /// As [`Builder::numbers`].
    pub fn weight(&mut self, key: &str) -> Result<Name, Cause> {
        let (dims, values) = self.numbers(key)?;
        Ok(self.constant(key, dims, values))
    }

    /// A linear layer's weight (out, inp) as (inp, out), which a product from the right takes.
    ///
    /// # Errors
    /// As [`Builder::numbers`].
    pub fn turned(&mut self, key: &str) -> Result<Name, Cause> {
        let (dims, values) = self.numbers(key)?;
        let &[out, inp] = dims else {
            return Err(Cause::tensor(key, "a linear layer's weight has two axes"));
        };
        let turned: Vec<f32> = (0..inp * out).map(|at| values[(at % out) * inp + at / out]).collect();
        Ok(self.constant(key, &[inp, out], &turned))
    }

    pub fn end(self) -> Graph {
        self.graph
    }
}

/// A value of floats, (batch, …).
fn value(name: &str, dims: &[usize]) -> Value {
    let batch = Dimension { side: Some(Side::Name("batch".into())) };
    let fixed = dims.iter().map(|&side| Dimension { side: Some(Side::Value(side as i64)) });
    let shape = Shape { dim: std::iter::once(batch).chain(fixed).collect() };
    let tensor = TensorForm { elem_type: FLOAT, shape: Some(shape) };
    Value { name: name.to_owned(), form: Some(Form { tensor: Some(tensor) }) }
}

/// A parameter that is a whole number.
pub fn int(name: &str, value: i64) -> Attribute {
    Attribute { name: name.to_owned(), int: Some(value), kind: 2, ..Attribute::default() }
}

/// A parameter that is a float.
pub fn float(name: &str, value: f32) -> Attribute {
    Attribute { name: name.to_owned(), float: Some(value), kind: 1, ..Attribute::default() }
}

/// A parameter of several whole numbers.
pub fn ints(name: &str, values: &[usize]) -> Attribute {
    let ints = values.iter().map(|&value| value as i64).collect();
    Attribute { name: name.to_owned(), ints, kind: 7, ..Attribute::default() }
}
