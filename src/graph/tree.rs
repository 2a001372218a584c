//! RON text as a tree in which every value knows where it was written.

use super::origin::Place;

/// One value of a RON text.
#[derive(Clone, Debug)]
pub struct Tree {
    pub value: Value,
    /// Where the whole value stands.
    pub at: Place,
}

/// What a value is.
#[derive(Clone, Debug)]
pub enum Value {
    Bool(bool),
    /// As written, without underscores.
    Number(String),
    Str(String),
    Char(char),
    List(Vec<Tree>),
    Map(Vec<(Tree, Tree)>),
    /// `Name`, `Name(…)` or `(…)`.
    Shape {
        name: Option<Name>,
        body: Body,
    },
}

/// The name in front of a value's parentheses.
#[derive(Clone, Debug)]
pub struct Name {
    pub text: String,
    pub at: Place,
}

/// What stands between a value's parentheses.
#[derive(Clone, Debug)]
pub enum Body {
    /// There are none.
    Bare,
    /// Values, or nothing.
    Tuple(Vec<Tree>),
    /// `key: value`, at least one.
    Fields(Vec<Field>),
}

/// `key: value` within parentheses.
#[derive(Clone, Debug)]
pub struct Field {
    pub key: String,
    pub key_at: Place,
    pub value: Tree,
    /// The comment lines in front of it, joined.
    pub comment: String,
}

/// The way to a value: field names, map keys, and positions within lists and tuples.
pub type Path = Vec<String>;

impl Tree {
    /// The name in front, as of `Cosine(…)`.
    pub fn name(&self) -> Option<&Name> {
        match &self.value {
            Value::Shape { name, .. } => name.as_ref(),
            _ => None,
        }
    }

    /// The fields, looking through `Name((…))` and `Some(…)`.
    pub fn fields(&self) -> &[Field] {
        match &self.value {
            Value::Shape { body: Body::Fields(fields), .. } => fields,
            Value::Shape { body: Body::Tuple(items), .. } if items.len() == 1 => items[0].fields(),
            _ => &[],
        }
    }

    /// The value one step down.
    pub fn child(&self, step: &str) -> Option<&Tree> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|(key, _)| key.is_str(step)).map(|(_, value)| value),
            Value::List(items) => items.get(step.parse::<usize>().ok()?),
            Value::Shape { body: Body::Fields(fields), .. } => {
                fields.iter().find(|field| field.key == step).map(|field| &field.value)
            }
            Value::Shape { body: Body::Tuple(items), .. } => match (step.parse::<usize>(), &items[..]) {
                (Ok(index), _) => items.get(index),
                (_, [only]) => only.child(step),
                _ => None,
            },
            _ => None,
        }
    }

    /// [`Tree::child`] for editing.
    pub fn child_mut(&mut self, step: &str) -> Option<&mut Tree> {
        match &mut self.value {
            Value::Map(entries) => {
                entries.iter_mut().find(|(key, _)| key.is_str(step)).map(|(_, value)| value)
            }
            Value::List(items) => items.get_mut(step.parse::<usize>().ok()?),
            Value::Shape { body: Body::Fields(fields), .. } => {
                fields.iter_mut().find(|field| field.key == step).map(|field| &mut field.value)
            }
            Value::Shape { body: Body::Tuple(items), .. } => match (step.parse::<usize>(), items.len()) {
                (Ok(index), _) => items.get_mut(index),
                (_, 1) => items[0].child_mut(step),
                _ => None,
            },
            _ => None,
        }
    }

    /// The value at the end of a path.
    pub fn find<S: AsRef<str>>(&self, path: &[S]) -> Option<&Tree> {
        path.iter().try_fold(self, |tree, step| tree.child(step.as_ref()))
    }

    /// Where the value at a path stands, or else the nearest value around it.
    pub fn place<S: AsRef<str>>(&self, path: &[S]) -> &Place {
        let mut tree = self;
        for step in path {
            match tree.child(step.as_ref()) {
                Some(child) => tree = child,
                None => return tree.name().map_or(&tree.at, |name| &name.at),
            }
        }
        &tree.at
    }

    /// Where the key of the value at a path stands; the nearest value around it when the path is not written.
    pub fn key_place<S: AsRef<str>>(&self, path: &[S]) -> &Place {
        let Some((last, parents)) = path.split_last() else { return &self.at };
        let Some(parent) = self.find(parents) else { return self.place(path) };
        let last = last.as_ref();
        if let Value::Map(entries) = &parent.value {
            let entry = entries.iter().find(|(key, _)| key.is_str(last));
            return entry.map_or(&parent.at, |(key, _)| &key.at);
        }
        let field = parent.fields().iter().find(|field| field.key == last);
        field.map_or_else(|| self.place(path), |field| &field.key_at)
    }

    fn is_str(&self, text: &str) -> bool {
        matches!(&self.value, Value::Str(own) if own == text)
    }

    /// What kind of value it is, in words.
    pub fn kind(&self) -> &'static str {
        match &self.value {
            Value::Bool(_) => "true or false",
            Value::Number(_) => "a number",
            Value::Str(_) => "a string",
            Value::Char(_) => "a character",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
            Value::Shape { body: Body::Fields(_), .. } => "named fields",
            Value::Shape { body: Body::Tuple(_), .. } => "values in parentheses",
            Value::Shape { body: Body::Bare, .. } => "a name",
        }
    }

    /// The value as RON text on one line.
    pub fn to_ron(&self) -> String {
        fn join<T>(items: &[T], each: impl Fn(&T) -> String) -> String {
            items.iter().map(each).collect::<Vec<_>>().join(", ")
        }
        match &self.value {
            Value::Bool(value) => value.to_string(),
            Value::Number(text) => text.clone(),
            Value::Str(text) => format!("{text:?}"),
            Value::Char(value) => format!("{value:?}"),
            Value::List(items) => format!("[{}]", join(items, Tree::to_ron)),
            Value::Map(entries) => {
                format!(
                    "{{{}}}",
                    join(entries, |(key, value)| format!("{}: {}", key.to_ron(), value.to_ron()))
                )
            }
            Value::Shape { name, body } => {
                let name = name.as_ref().map_or("", |name| name.text.as_str());
                match body {
                    Body::Bare => name.to_owned(),
                    Body::Tuple(items) => format!("{name}({})", join(items, Tree::to_ron)),
                    Body::Fields(fields) => {
                        format!("{name}({})", join(fields, |f| format!("{}: {}", f.key, f.value.to_ron())))
                    }
                }
            }
        }
    }
}
