//! The parts of a value, one after the other: entries, items, and what a variant's parentheses hold.

use serde::de::{self, DeserializeSeed, IntoDeserializer, MapAccess, SeqAccess, Visitor};

use super::Fault;
use super::stand_in::StandIn;
use super::value::Reader;
use crate::graph::tree::{Body, Tree, Value};

type Read<T> = Result<T, Fault>;

/// The entries of a map or a structure; a value that is not written is a stand-in.
pub struct Entries<'r, 'a, I> {
    pub reader: &'r Reader<'a>,
    pub left: I,
    pub next: Option<(&'a str, Option<&'a Tree>)>,
}

impl<'de, 'a, I: Iterator<Item = (&'a str, Option<&'a Tree>)>> MapAccess<'de> for Entries<'_, 'a, I> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Read<Option<K::Value>> {
        self.next = self.left.next();
        self.next
            .map(|(key, _)| seed.deserialize(IntoDeserializer::<Fault>::into_deserializer(key)))
            .transpose()
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Read<V::Value> {
        match self.next.take() {
            Some((key, Some(tree))) => self.reader.down(tree, key).seed(seed),
            _ => seed.deserialize(StandIn),
        }
    }
}

pub struct Items<'r, 'a, I> {
    pub reader: &'r Reader<'a>,
    pub items: I,
}

impl<'de, 'a, I: Iterator<Item = (usize, &'a Tree)>> SeqAccess<'de> for Items<'_, 'a, I> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Read<Option<T::Value>> {
        self.items
            .next()
            .map(|(index, tree)| self.reader.down(tree, index.to_string()).seed(seed))
            .transpose()
    }
}

/// A variant: its name, then what is in its parentheses.
pub struct Variant<'a> {
    pub reader: Reader<'a>,
    pub name: &'a str,
}

impl<'de, 'a> de::EnumAccess<'de> for Variant<'a> {
    type Error = Fault;
    type Variant = Content<'a>;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Read<(V::Value, Content<'a>)> {
        let variant = seed.deserialize(IntoDeserializer::<Fault>::into_deserializer(self.name))?;
        Ok((variant, Content(self.reader)))
    }
}

pub struct Content<'a>(Reader<'a>);

impl<'de> de::VariantAccess<'de> for Content<'_> {
    type Error = Fault;

    fn unit_variant(self) -> Read<()> {
        match &self.0.tree.value {
            Value::Shape { body: Body::Bare, .. } => Ok(()),
            _ => Err(self.0.mismatch("the name alone, without parentheses")),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Read<T::Value> {
        match &self.0.tree.value {
            Value::Shape { body: Body::Tuple(items), .. } if items.len() == 1 => match &items[0].value {
                // `VitSmall((patch: 16))` is `VitSmall(patch: 16)`, with the same paths
                Value::Shape { name: None, body: Body::Fields(_) } => {
                    seed.deserialize(Reader { tree: &items[0], ..self.0 })
                }
                _ => self.0.down(&items[0], "0").seed(seed),
            },
            _ => seed.deserialize(Reader { inside: true, ..self.0 }),
        }
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Read<V::Value> {
        de::Deserializer::deserialize_tuple(Reader { inside: true, ..self.0 }, len, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(self, fields: &'static [&'static str], visitor: V) -> Read<V::Value> {
        Reader { inside: true, ..self.0 }.structure("", fields, visitor)
    }
}
