//! The stack machine that a pickle is a program for, on nodes of an arena: whatever is nested or shared is a number, so that nothing
//! recurses and a value may hold itself.

use std::collections::HashMap;

use super::code::{Atom, Code, Kind, Op};
use super::{LONGEST, MOST, PickleError};

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

struct Machine<'a> {
    nodes: Vec<Node<'a>>,
    stack: Vec<Id>,
    /// Heights of the stack at the marks that stand.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
    /// Where in the pickle the instruction stands that is followed.
    at: usize,
}

/// Follows a pickle to its end: its nodes, the one that it is, and how many bytes it took.
pub fn follow(bytes: &[u8]) -> Result<(Vec<Node<'_>>, Id, usize), PickleError> {
    if bytes.len() > LONGEST {
        return Err(PickleError::Long { found: bytes.len() as u64 });
    }
    let mut code = Code::new(bytes);
    let mut machine =
        Machine { nodes: Vec::new(), stack: Vec::new(), marks: Vec::new(), memo: HashMap::new(), at: 0 };
    for _ in 0..MOST {
        machine.at = code.at;
        match code.op()? {
            Op::Stop => {
                let root = machine.pop("value at its end")?;
                return Ok((machine.nodes, root, code.at));
            }
            op => machine.step(op)?,
        }
    }
    Err(PickleError::Many)
}

impl<'a> Machine<'a> {
    fn step(&mut self, op: Op<'a>) -> Result<(), PickleError> {
        match op {
            Op::Note => {}
            // `follow` ends there
            Op::Stop => {}
            Op::Mark => self.marks.push(self.stack.len()),
            Op::Pop => self.discard()?,
            Op::PopMark => drop(self.above()?),
            Op::Duplicate => {
                let top = self.top("value to repeat")?;
                self.stack.push(top);
            }
            Op::Push(atom) => self.push(Node::Atom(atom)),
            Op::Empty(kind) => self.push(holding(kind, Vec::new(), self.at)?),
            Op::Gather(kind) => {
                let members = self.above()?;
                self.push(holding(kind, members, self.at)?);
            }
            Op::Tuple(count) => {
                let from = self.floor(count, "values for a tuple")?;
                let members = self.stack.split_off(from);
                self.push(Node::Tuple(members));
            }
            Op::Append => {
                let value = self.pop("value to append")?;
                self.append(vec![value])?;
            }
            Op::Appends => {
                let values = self.above()?;
                self.append(values)?;
            }
            Op::SetItem => {
                let from = self.floor(2, "key and value")?;
                let pair = self.stack.split_off(from);
                self.set(pair)?;
            }
            Op::SetItems => {
                let flat = self.above()?;
                self.set(flat)?;
            }
            other => self.step_of_objects(other)?,
        }
        Ok(())
    }

    fn step_of_objects(&mut self, op: Op<'a>) -> Result<(), PickleError> {
        match op {
            Op::Get(index) => {
                let id = *self.memo.get(&index).ok_or(PickleError::Memo { at: self.at, index })?;
                self.stack.push(id);
            }
            Op::Put(index) => {
                let top = self.top("value to keep")?;
                self.memo.insert(index, top);
            }
            Op::Memoize => {
                let top = self.top("value to keep")?;
                self.memo.insert(self.memo.len() as u32, top);
            }
            Op::Global(module, name) => self.push(Node::Global(module, name)),
            Op::StackGlobal => {
                let (name, module) = (self.pop_text()?, self.pop_text()?);
                self.push(Node::Global(module, name));
            }
            Op::Call => {
                let (arguments, class) = (self.pop("arguments")?, self.pop("class")?);
                self.make(class, arguments);
            }
            Op::CallWith => {
                let (named, arguments) = (self.pop("named arguments")?, self.pop("arguments")?);
                let class = self.pop("class")?;
                let both = self.node(Node::Tuple(vec![arguments, named]));
                self.make(class, both);
            }
            Op::Instance(module, name) => {
                let arguments = self.above()?;
                let (class, arguments) =
                    (self.node(Node::Global(module, name)), self.node(Node::Tuple(arguments)));
                self.make(class, arguments);
            }
            Op::Make => {
                let mut all = self.above()?.into_iter();
                let class = all.next().ok_or_else(|| self.lacks("class"))?;
                let arguments = self.node(Node::Tuple(all.collect()));
                self.make(class, arguments);
            }
            Op::Build => {
                let (state, object) = (self.pop("state")?, self.top("object")?);
                self.tell(object, state)?;
            }
            Op::Persistent(name) => {
                let id = self.node(Node::Atom(Atom::Str(name)));
                self.push(Node::Persistent(id));
            }
            Op::StackPersistent => {
                let id = self.pop("reference")?;
                self.push(Node::Persistent(id));
            }
            _ => {}
        }
        Ok(())
    }

    fn lacks(&self, expected: &'static str) -> PickleError {
        PickleError::Stack { at: self.at, expected }
    }

    fn node(&mut self, node: Node<'a>) -> Id {
        // `MOST` instructions make fewer nodes than an id can count
        self.nodes.push(node);
        self.nodes.len() as Id - 1
    }

    fn push(&mut self, node: Node<'a>) {
        let id = self.node(node);
        self.stack.push(id);
    }

    fn make(&mut self, class: Id, arguments: Id) {
        let made = Made { class, arguments, state: None, entries: Vec::new(), appended: Vec::new() };
        self.push(Node::Object(Box::new(made)));
    }

    /// Where the topmost `count` values begin; what lies below a mark is out of reach.
    fn floor(&self, count: usize, expected: &'static str) -> Result<usize, PickleError> {
        let lowest = self.marks.last().copied().unwrap_or(0);
        let from = self.stack.len().checked_sub(count).filter(|&from| from >= lowest);
        from.ok_or_else(|| self.lacks(expected))
    }

    fn top(&self, expected: &'static str) -> Result<Id, PickleError> {
        Ok(self.stack[self.floor(1, expected)?])
    }

    fn pop(&mut self, expected: &'static str) -> Result<Id, PickleError> {
        let from = self.floor(1, expected)?;
        Ok(self.stack.remove(from))
    }

    /// A value, or a mark that has nothing above it.
    fn discard(&mut self) -> Result<(), PickleError> {
        if self.marks.last() == Some(&self.stack.len()) {
            self.marks.pop();
            return Ok(());
        }
        self.pop("value to drop").map(drop)
    }

    fn above(&mut self) -> Result<Vec<Id>, PickleError> {
        let mark = self.marks.pop().ok_or_else(|| self.lacks("mark"))?;
        Ok(self.stack.split_off(mark))
    }

    fn pop_text(&mut self) -> Result<&'a str, PickleError> {
        let id = self.pop("name")?;
        match self.nodes[id as usize] {
            Node::Atom(Atom::Str(text)) => Ok(text),
            _ => Err(self.lacks("name")),
        }
    }

    fn append(&mut self, values: Vec<Id>) -> Result<(), PickleError> {
        let to = self.top("list to append to")?;
        match &mut self.nodes[to as usize] {
            Node::List(members) | Node::Set(members) => members.extend(values),
            Node::Object(made) => made.appended.extend(values),
            _ => return Err(self.lacks("list to append to")),
        }
        Ok(())
    }

    fn set(&mut self, flat: Vec<Id>) -> Result<(), PickleError> {
        let (to, at) = (self.top("dictionary")?, self.at);
        let pairs = pairs(flat, at)?;
        match &mut self.nodes[to as usize] {
            Node::Dict(entries) => entries.extend(pairs),
            Node::Object(made) => made.entries.extend(pairs),
            _ => return Err(self.lacks("dictionary")),
        }
        Ok(())
    }

    fn tell(&mut self, object: Id, state: Id) -> Result<(), PickleError> {
        match &mut self.nodes[object as usize] {
            Node::Object(made) => made.state = Some(state),
            _ => return Err(self.lacks("object")),
        }
        Ok(())
    }
}

/// Keys and values that lie flat.
fn pairs(flat: Vec<Id>, at: usize) -> Result<Vec<(Id, Id)>, PickleError> {
    if !flat.len().is_multiple_of(2) {
        return Err(PickleError::Stack { at, expected: "value for the last key" });
    }
    Ok(flat.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect())
}

fn holding<'a>(kind: Kind, members: Vec<Id>, at: usize) -> Result<Node<'a>, PickleError> {
    Ok(match kind {
        Kind::List => Node::List(members),
        Kind::Tuple => Node::Tuple(members),
        Kind::Set => Node::Set(members),
        Kind::Dict => Node::Dict(pairs(members, at)?),
    })
}
