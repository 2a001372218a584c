//! What instructions make, before it is a value: nodes of an arena that know each other by number.

use super::PickleError;
use super::op::{Atom, Kind};

/// The place of a node.
pub type Id = u32;

/// What an instruction made.
#[derive(Debug)]
pub enum Node<'a> {
    Atom(Atom<'a>),
    List(Vec<Id>),
    Tuple(Vec<Id>),
    Set(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Global(&'a str, &'a str),
    Object(Box<Made>),
    Persistent(Id),
}

/// An object: what would be called, with what, and what would be done to it afterwards.
#[derive(Debug)]
pub struct Made {
    pub class: Id,
    pub arguments: Id,
    pub state: Option<Id>,
    pub entries: Vec<(Id, Id)>,
    pub appended: Vec<Id>,
}

impl Node<'_> {
    /// What holds these members.
    pub fn holding(kind: Kind, members: Vec<Id>, at: usize) -> Result<Self, PickleError> {
        Ok(match kind {
            Kind::List => Node::List(members),
            Kind::Tuple => Node::Tuple(members),
            Kind::Set => Node::Set(members),
            Kind::Dict => Node::Dict(pairs(members, at)?),
        })
    }
}

/// Keys and values that lie flat.
pub fn pairs(flat: Vec<Id>, at: usize) -> Result<Vec<(Id, Id)>, PickleError> {
    if !flat.len().is_multiple_of(2) {
        return Err(PickleError::Stack { at, expected: "value for the last key" });
    }
    Ok(flat.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect())
}
