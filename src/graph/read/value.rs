//! serde's reader of a tree.

use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeSeed, IntoDeserializer, Visitor};

use super::access::{Entries, Items, Variant};
use super::stand_in::StandIn;
use super::{Context, Fault, Kind};
use crate::graph::lex::whole;
use crate::graph::problem::listing;
use crate::graph::tree::{Body, Field, Path, Tree, Value};

/// ron's own name for a value that is kept as text.
const RAW_VALUE: &str = "$ron::private::RawValue";

/// Reads one value; `inside` says that its name was read already, as the variant's.
#[derive(Clone)]
pub struct Reader<'a> {
    pub(super) tree: &'a Tree,
    pub(super) path: Path,
    pub(super) inside: bool,
    pub(super) context: &'a Context,
}

type Read<T> = Result<T, Fault>;

impl<'a> Reader<'a> {
    pub fn root(tree: &'a Tree, context: &'a Context) -> Self {
        Reader { tree, path: Path::new(), inside: false, context }
    }

    pub(super) fn down(&self, tree: &'a Tree, step: impl Into<String>) -> Self {
        let mut path = self.path.clone();
        path.push(step.into());
        Reader { tree, path, inside: false, context: self.context }
    }

    fn fault(&self, kind: Kind) -> Fault {
        Fault { path: self.path.clone(), place: Some(self.tree.at.clone()), kind }
    }

    pub(super) fn mismatch(&self, expected: impl Into<String>) -> Fault {
        self.fault(Kind::Mismatch { expected: expected.into() })
    }

    fn replaced(&self) -> bool {
        self.context.stand_ins.contains(&self.path)
    }

    /// Gives a fault that names no place this value's.
    fn placed<T>(&self, result: Read<T>) -> Read<T> {
        result.map_err(|fault| match fault.place {
            Some(_) => fault,
            None => self.fault(fault.kind),
        })
    }

    pub(super) fn seed<'de, S: DeserializeSeed<'de>>(self, seed: S) -> Read<S::Value> {
        if self.replaced() { seed.deserialize(StandIn) } else { seed.deserialize(self) }
    }

    fn whole(&self, least: i128, most: i128, expected: &str) -> Read<i128> {
        match &self.tree.value {
            Value::Number(text) => {
                whole(text).filter(|n| (least..=most).contains(n)).ok_or_else(|| self.mismatch(expected))
            }
            _ => Err(self.mismatch(expected)),
        }
    }

    /// The values of a list or between parentheses.
    fn items(&self) -> Option<&'a [Tree]> {
        match &self.tree.value {
            Value::List(items) if !self.inside => Some(items),
            Value::Shape { name, body: Body::Tuple(items) } if self.inside || name.is_none() => Some(items),
            _ => None,
        }
    }

    fn fields(&self, name: &str) -> Option<&'a [Field]> {
        let Value::Shape { name: own, body } = &self.tree.value else { return None };
        let named = self.inside || own.as_ref().is_none_or(|own| own.text == name);
        match body {
            Body::Fields(fields) if named => Some(fields),
            Body::Tuple(items) if named && items.is_empty() => Some(&[]),
            Body::Bare if self.inside => Some(&[]),
            _ => None,
        }
    }

    pub(super) fn structure<'de, V: Visitor<'de>>(
        self,
        name: &'static str,
        known: &'static [&'static str],
        visitor: V,
    ) -> Read<V::Value> {
        let Some(written) = self.fields(name) else {
            return Err(self.mismatch(format!("named fields: {}", listing(known.iter().copied()))));
        };
        let mut entries: Vec<(&str, Option<&Tree>)> = Vec::new();
        for field in written {
            match known.contains(&field.key.as_str()) {
                true => entries.push((&field.key, Some(&field.value))),
                false => self.context.unknown.borrow_mut().push(Fault {
                    path: self.down(&field.value, &field.key).path,
                    place: Some(field.key_at.clone()),
                    kind: Kind::UnknownKey { known },
                }),
            }
        }
        for key in known {
            let absent = entries.iter().all(|(written, _)| written != key);
            if absent && self.down(self.tree, *key).replaced() {
                entries.push((key, None));
            }
        }
        let result = visitor.visit_map(Entries { reader: &self, left: entries.into_iter(), next: None });
        self.placed(result)
    }
}

macro_rules! whole_numbers {
    ($($method:ident $visit:ident $type:ty, $expected:expr;)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Read<V::Value> {
            let expected = $expected;
            let number = self.whole(<$type>::MIN as i128, <$type>::MAX as i128, &expected)?;
            visitor.$visit(number as $type)
        })*
    };
}

impl<'de> de::Deserializer<'de> for Reader<'_> {
    type Error = Fault;

    whole_numbers! {
        deserialize_u8 visit_u8 u8, "a whole number, 0 to 255";
        deserialize_u16 visit_u16 u16, format!("a whole number, 0 to {}", u16::MAX);
        deserialize_u32 visit_u32 u32, format!("a whole number, 0 to {}", u32::MAX);
        deserialize_u64 visit_u64 u64, "a whole number, 0 or more";
        deserialize_i8 visit_i8 i8, "a whole number, -128 to 127";
        deserialize_i16 visit_i16 i16, format!("a whole number, {} to {}", i16::MIN, i16::MAX);
        deserialize_i32 visit_i32 i32, format!("a whole number, {} to {}", i32::MIN, i32::MAX);
        deserialize_i64 visit_i64 i64, "a whole number";
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Read<V::Value> {
        match &self.tree.value {
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Number(text) if whole(text).is_some() => self.deserialize_i64(visitor),
            Value::Number(_) => self.deserialize_f64(visitor),
            Value::Str(text) => visitor.visit_str(text),
            Value::Char(one) => visitor.visit_char(*one),
            Value::List(_) => self.deserialize_seq(visitor),
            Value::Map(_) => self.deserialize_map(visitor),
            Value::Shape { body: Body::Tuple(_), .. } => self.deserialize_seq(visitor),
            Value::Shape { .. } => visitor.visit_unit(),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Read<V::Value> {
        match self.tree.value {
            Value::Bool(value) => visitor.visit_bool(value),
            _ => Err(self.mismatch("true or false")),
        }
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Read<V::Value> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Read<V::Value> {
        let number = match &self.tree.value {
            Value::Number(text) => text.parse().ok().or_else(|| whole(text).map(|n| n as f64)),
            _ => None,
        };
        visitor.visit_f64(number.ok_or_else(|| self.mismatch("a number"))?)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Read<V::Value> {
        match self.tree.value {
            Value::Char(one) => visitor.visit_char(one),
            _ => Err(self.mismatch("one character in single quotes")),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Read<V::Value> {
        match &self.tree.value {
            Value::Str(text) => {
                let result = visitor.visit_str(text);
                self.placed(result)
            }
            _ => Err(self.mismatch("a string in quotes")),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Read<V::Value> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Read<V::Value> {
        self.deserialize_str(visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Read<V::Value> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Read<V::Value> {
        if let Value::Shape { name: Some(name), body } = &self.tree.value {
            match (name.text.as_str(), body) {
                ("None", Body::Bare) => return visitor.visit_none(),
                ("Some", Body::Tuple(items)) if items.len() == 1 => {
                    return visitor.visit_some(Reader { tree: &items[0], ..self });
                }
                _ => {}
            }
        }
        visitor.visit_some(self)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Read<V::Value> {
        match self.items() {
            Some([]) => visitor.visit_unit(),
            _ => Err(self.mismatch("()")),
        }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Read<V::Value> {
        match &self.tree.value {
            Value::Shape { name: Some(own), body: Body::Bare } if own.text == name => visitor.visit_unit(),
            _ => self.deserialize_unit(visitor),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Read<V::Value> {
        if name == RAW_VALUE {
            let text = self.tree.to_ron();
            let result =
                visitor.visit_newtype_struct::<StrDeserializer<'_, Fault>>(text.as_str().into_deserializer());
            return self.placed(result);
        }
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Read<V::Value> {
        match self.items() {
            Some(items) => visitor.visit_seq(Items { reader: &self, items: items.iter().enumerate() }),
            None => Err(self.mismatch("a list, [a, b]")),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Read<V::Value> {
        match self.items() {
            Some(items) if items.len() == len => {
                visitor.visit_seq(Items { reader: &self, items: items.iter().enumerate() })
            }
            _ => Err(self.mismatch(format!("{len} values in parentheses"))),
        }
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        len: usize,
        visitor: V,
    ) -> Read<V::Value> {
        self.deserialize_tuple(len, visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Read<V::Value> {
        let Value::Map(written) = &self.tree.value else {
            return Err(self.mismatch("a map, {\"name\": value}"));
        };
        let mut entries = Vec::new();
        for (key, value) in written {
            match &key.value {
                Value::Str(text) => entries.push((text.as_str(), Some(value))),
                _ => {
                    let fault = Kind::Mismatch { expected: "a name in quotes".into() };
                    let reader = self.down(key, key.to_ron());
                    if !reader.replaced() {
                        return Err(Fault { path: reader.path, place: Some(key.at.clone()), kind: fault });
                    }
                }
            }
        }
        visitor.visit_map(Entries { reader: &self, left: entries.into_iter(), next: None })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Read<V::Value> {
        self.structure(name, fields, visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Read<V::Value> {
        let Some(name) = self.tree.name().filter(|_| !self.inside) else {
            let expected = format!("{}, each with its parameters", listing(variants.iter().copied()));
            return Err(self.mismatch(expected));
        };
        if !variants.contains(&name.text.as_str()) {
            let kind = Kind::UnknownVariant { known: variants };
            return Err(Fault { path: self.path.clone(), place: Some(name.at.clone()), kind });
        }
        let result = visitor.visit_enum(Variant { reader: self.clone(), name: &name.text });
        self.placed(result)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Read<V::Value> {
        self.deserialize_str(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Read<V::Value> {
        visitor.visit_unit()
    }
}
