//! From the machine's nodes to values: shared parts once, cycles cut, nesting bounded.

use std::collections::HashMap;
use std::sync::Arc;

use super::node::{Id, Made, Node};
use super::op::Atom;
use super::value::{Object, Value};
use super::{DEEPEST, PickleError};

/// How far a node has come.
#[derive(Clone)]
enum Progress {
    Untouched,
    /// Its parts are being made: whoever meets it now is one of them.
    Begun,
    /// The value, and how deep it is nested. Depth counts what is shared as well, because that is what dropping it will take.
    Done(Value, u32),
}

struct Tree<'n, 'a> {
    nodes: &'n [Node<'a>],
    progress: Vec<Progress>,
    /// Names by module and name: a pickle may say one as often as it likes, and it is made once.
    names: HashMap<(&'a str, &'a str), Arc<str>>,
}

/// The value that a node stands for, and all references.
pub fn values(nodes: &[Node<'_>], root: Id) -> Result<(Value, Vec<Value>), PickleError> {
    let progress = vec![Progress::Untouched; nodes.len()];
    let mut tree = Tree { nodes, progress, names: HashMap::new() };
    let root = tree.value(root, 0)?.0;
    let persistent = (0..nodes.len()).filter(|&id| matches!(nodes[id], Node::Persistent(_)));
    let references = persistent.map(|id| Ok(tree.value(id as Id, 0)?.0)).collect::<Result<_, _>>()?;
    Ok((root, references))
}

impl Tree<'_, '_> {
    /// `above` is how many values this one lies in.
    fn value(&mut self, id: Id, above: u32) -> Result<(Value, u32), PickleError> {
        match &self.progress[id as usize] {
            Progress::Done(value, depth) => return Ok((value.clone(), *depth)),
            Progress::Begun => return Ok((Value::Cycle, 0)),
            Progress::Untouched => {}
        }
        if above > DEEPEST {
            return Err(PickleError::Deep);
        }
        self.progress[id as usize] = Progress::Begun;
        let (value, depth) = self.make(id, above + 1)?;
        if depth > DEEPEST {
            return Err(PickleError::Deep);
        }
        self.progress[id as usize] = Progress::Done(value.clone(), depth);
        Ok((value, depth))
    }

    fn make(&mut self, id: Id, above: u32) -> Result<(Value, u32), PickleError> {
        let nodes = self.nodes;
        Ok(match &nodes[id as usize] {
            Node::Atom(atom) => (plain(*atom), 0),
            Node::Global(module, name) => {
                let whole = self.names.entry((module, name));
                (Value::Global(whole.or_insert_with(|| format!("{module}.{name}").into()).clone()), 0)
            }
            Node::List(members) => {
                let (members, depth) = self.all(members, above)?;
                (Value::List(members.into()), depth + 1)
            }
            Node::Tuple(members) => {
                let (members, depth) = self.all(members, above)?;
                (Value::Tuple(members.into()), depth + 1)
            }
            Node::Set(members) => {
                let (members, depth) = self.all(members, above)?;
                (Value::Set(members.into()), depth + 1)
            }
            Node::Dict(entries) => {
                let (entries, depth) = self.entries(entries, above)?;
                (Value::Dict(entries.into()), depth + 1)
            }
            Node::Persistent(id) => {
                let (id, depth) = self.value(*id, above)?;
                (Value::Persistent(Arc::new(id)), depth + 1)
            }
            Node::Object(made) => self.object(made, above)?,
        })
    }

    fn all(&mut self, ids: &[Id], above: u32) -> Result<(Vec<Value>, u32), PickleError> {
        let (mut values, mut deepest) = (Vec::with_capacity(ids.len()), 0);
        for &id in ids {
            let (value, depth) = self.value(id, above)?;
            deepest = deepest.max(depth);
            values.push(value);
        }
        Ok((values, deepest))
    }

    fn entries(&mut self, pairs: &[(Id, Id)], above: u32) -> Result<(Vec<(Value, Value)>, u32), PickleError> {
        let (mut entries, mut deepest) = (Vec::with_capacity(pairs.len()), 0);
        for &(key, value) in pairs {
            let ((key, one), (value, other)) = (self.value(key, above)?, self.value(value, above)?);
            deepest = deepest.max(one).max(other);
            entries.push((key, value));
        }
        Ok((entries, deepest))
    }

    fn object(&mut self, made: &Made, above: u32) -> Result<(Value, u32), PickleError> {
        let (class, mut deepest) = self.value(made.class, above)?;
        let class = match class {
            Value::Global(name) => name,
            _ => "".into(),
        };
        let mut deeper = |(value, depth): (Value, u32)| {
            deepest = deepest.max(depth);
            value
        };
        let arguments = deeper(self.value(made.arguments, above)?);
        let state = match made.state {
            Some(state) => deeper(self.value(state, above)?),
            None => Value::None,
        };
        let (entries, among) = self.entries(&made.entries, above)?;
        let (appended, within) = self.all(&made.appended, above)?;
        let object = Object { class, arguments, state, entries, appended };
        Ok((Value::Object(Arc::new(object)), 1 + deepest.max(among).max(within)))
    }
}

fn plain(atom: Atom<'_>) -> Value {
    match atom {
        Atom::None => Value::None,
        Atom::Bool(truth) => Value::Bool(truth),
        Atom::Int(number) => Value::Int(number),
        Atom::Long(bytes) => Value::Long(bytes.into()),
        Atom::Float(number) => Value::Float(number),
        Atom::Str(text) => Value::Str(text.into()),
        Atom::Bytes(bytes) => Value::Bytes(bytes.into()),
        Atom::Quoted(text) | Atom::Escaped(text) if !text.contains('\\') => Value::Str(text.into()),
        Atom::Quoted(text) => unescaped(text, |letter| match letter {
            'n' => Some(Escape::Is('\n')),
            't' => Some(Escape::Is('\t')),
            'r' => Some(Escape::Is('\r')),
            '\\' | '\'' | '"' => Some(Escape::Is(letter)),
            'x' => Some(Escape::Hex(2)),
            _ => None,
        }),
        Atom::Escaped(text) => unescaped(text, |letter| match letter {
            'u' => Some(Escape::Hex(4)),
            'U' => Some(Escape::Hex(8)),
            _ => None,
        }),
    }
}

/// What a letter behind a backslash stands for.
enum Escape {
    Is(char),
    /// The character whose number follows in so many digits.
    Hex(usize),
}

/// A text with its escapes undone; what is no escape stays as it is.
fn unescaped(text: &str, escape: impl Fn(char) -> Option<Escape>) -> Value {
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some((before, after)) = rest.split_once('\\') {
        out.push_str(before);
        let letter = after.chars().next();
        let behind = &after[letter.map_or(0, char::len_utf8)..];
        let found = match letter.and_then(&escape) {
            Some(Escape::Is(character)) => Some((character, behind)),
            Some(Escape::Hex(digits)) => behind.split_at_checked(digits).and_then(|(hex, behind)| {
                let number = u32::from_str_radix(hex, 16).ok()?;
                Some((char::from_u32(number)?, behind))
            }),
            None => None,
        };
        match found {
            Some((character, behind)) => {
                out.push(character);
                rest = behind;
            }
            None => {
                out.push('\\');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    Value::Str(out.into())
}
