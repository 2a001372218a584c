//! What a pickle holds, as inert values.

use std::sync::Arc;

use crate::weights::words::shown;

/// A value of a pickle. Parts that a pickle shares are shared here too, so a copy costs nothing.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    None,
    Bool(bool),
    Int(i64),
    /// A whole number of more than 64 bits: two's complement, lowest byte first.
    Long(Arc<[u8]>),
    Float(f64),
    Str(Arc<str>),
    Bytes(Arc<[u8]>),
    List(Arc<[Value]>),
    Tuple(Arc<[Value]>),
    Set(Arc<[Value]>),
    /// Keys and values in their order; a key that was set twice stands twice, the later one last.
    Dict(Arc<[(Value, Value)]>),
    /// A class or function by its name, `collections.OrderedDict`. It is a name and nothing else.
    Global(Arc<str>),
    /// What Python would build by calling something.
    Object(Arc<Object>),
    /// A reference to what the pickle's program keeps elsewhere: of PyTorch's, the numbers of a tensor.
    Persistent(Arc<Value>),
    /// The place where a value holds itself.
    Cycle,
}

/// What Python would build by calling something, taken down and not done.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// What would be called: `torch._utils._rebuild_tensor_v2`. Empty when it is no plain name.
    pub class: Arc<str>,
    /// What it would be called with, a tuple as a rule.
    pub arguments: Value,
    /// What it would be told afterwards; [`Value::None`] as a rule.
    pub state: Value,
    /// What would be put in by key.
    pub entries: Vec<(Value, Value)>,
    /// What would be appended.
    pub appended: Vec<Value>,
}

impl Value {
    /// Keys and values of a dictionary, also of an ordered one or one with a default.
    pub fn entries(&self) -> Option<&[(Value, Value)]> {
        match self {
            Value::Dict(entries) => Some(entries),
            Value::Object(object) => match &*object.class {
                "collections.OrderedDict" | "collections.defaultdict" => Some(&object.entries),
                _ => None,
            },
            _ => None,
        }
    }

    /// What a dictionary holds under a key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        let named = |(name, _): &&(Value, Value)| name.text() == Some(key);
        self.entries()?.iter().rev().find(named).map(|(_, value)| value)
    }

    /// The members of a list or tuple.
    pub fn members(&self) -> Option<&[Value]> {
        match self {
            Value::List(members) | Value::Tuple(members) => Some(members),
            _ => None,
        }
    }

    /// A text.
    pub fn text(&self) -> Option<&str> {
        match self {
            Value::Str(text) => Some(text),
            _ => None,
        }
    }

    /// A whole number of 64 bits.
    pub fn int(&self) -> Option<i64> {
        match self {
            Value::Int(number) => Some(*number),
            _ => None,
        }
    }

    /// A number, whole or not.
    pub fn number(&self) -> Option<f64> {
        match self {
            Value::Int(number) => Some(*number as f64),
            Value::Float(number) => Some(*number),
            _ => None,
        }
    }

    /// What this would be in Python, in a few words for messages.
    pub fn kind(&self) -> String {
        match self {
            Value::None => "None".into(),
            Value::Bool(_) => "a bool".into(),
            Value::Int(_) | Value::Long(_) => "an int".into(),
            Value::Float(_) => "a float".into(),
            Value::Str(_) => "a str".into(),
            Value::Bytes(_) => "bytes".into(),
            Value::List(_) => "a list".into(),
            Value::Tuple(_) => "a tuple".into(),
            Value::Set(_) => "a set".into(),
            Value::Dict(_) => "a dict".into(),
            Value::Global(name) => format!("the name {}", shown(name)),
            Value::Object(object) if object.class.is_empty() => "an object without a name".into(),
            Value::Object(object) => ["what ", &*shown(&object.class), " makes"].concat(),
            Value::Persistent(_) => "a reference to a storage".into(),
            Value::Cycle => "a value that holds itself".into(),
        }
    }
}
