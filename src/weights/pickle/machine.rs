//! The stack machine that a pickle is a program for, on nodes of an arena: whatever is nested or shared is a number, so that nothing
//! recurses and a value may hold itself.

use std::collections::HashMap;

use super::code::Code;
use super::node::{Id, Made, Node, pairs};
use super::op::{Atom, Op};
use super::{LONGEST, LONGEST_NAME, MOST, PickleError};

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
            Op::Note | Op::Stop => {}
            Op::Push(atom) => self.push(Node::Atom(atom)),
            Op::Global(module, name) => self.name(module, name)?,
            Op::StackGlobal => {
                let (name, module) = (self.pop_text()?, self.pop_text()?);
                self.name(module, name)?;
            }
            Op::Empty(kind) => self.push(Node::holding(kind, Vec::new(), self.at)?),
            Op::Gather(kind) => {
                let members = self.above()?;
                self.push(Node::holding(kind, members, self.at)?);
            }
            Op::Tuple(count) => {
                let from = self.floor(count, "values for a tuple")?;
                let members = self.stack.split_off(from);
                self.push(Node::Tuple(members));
            }
            Op::Mark | Op::Pop | Op::PopMark | Op::Duplicate => self.turn(op)?,
            Op::Get(_) | Op::Put(_) | Op::Memoize => self.remember(op)?,
            Op::Append | Op::Appends | Op::SetItem | Op::SetItems => self.fill(op)?,
            Op::Persistent(name) => {
                let id = self.node(Node::Atom(Atom::Str(name)));
                self.push(Node::Persistent(id));
            }
            Op::StackPersistent => {
                let id = self.pop("reference")?;
                self.push(Node::Persistent(id));
            }
            _ => self.take_down(op)?,
        }
        Ok(())
    }

    /// Moves what lies on the stack.
    fn turn(&mut self, op: Op<'a>) -> Result<(), PickleError> {
        match op {
            Op::Mark => self.marks.push(self.stack.len()),
            Op::Pop => self.discard()?,
            Op::PopMark => drop(self.above()?),
            _ => {
                let top = self.top("value to repeat")?;
                self.stack.push(top);
            }
        }
        Ok(())
    }

    /// Keeps the topmost value under a number, or brings one back.
    fn remember(&mut self, op: Op<'a>) -> Result<(), PickleError> {
        if let Op::Get(index) = op {
            let id = *self.memo.get(&index).ok_or(PickleError::Memo { at: self.at, index })?;
            self.stack.push(id);
            return Ok(());
        }
        let index = if let Op::Put(index) = op { index } else { self.memo.len() as u32 };
        let top = self.top("value to keep")?;
        self.memo.insert(index, top);
        Ok(())
    }

    /// Puts values into what lies below them.
    fn fill(&mut self, op: Op<'a>) -> Result<(), PickleError> {
        let values = match op {
            Op::Append => vec![self.pop("value to append")?],
            Op::SetItem => {
                let from = self.floor(2, "key and value")?;
                self.stack.split_off(from)
            }
            _ => self.above()?,
        };
        match op {
            Op::Append | Op::Appends => self.append(values),
            _ => self.set(values),
        }
    }

    /// Takes down what Python would call, and with what.
    fn take_down(&mut self, op: Op<'a>) -> Result<(), PickleError> {
        let (class, arguments) = match op {
            Op::Build => {
                let (state, object) = (self.pop("state")?, self.top("object")?);
                return self.tell(object, state);
            }
            Op::CallWith => {
                let (named, arguments) = (self.pop("named arguments")?, self.pop("arguments")?);
                let class = self.pop("class")?;
                (class, self.node(Node::Tuple(vec![arguments, named])))
            }
            Op::Instance(module, name) => {
                let arguments = self.above()?;
                self.name(module, name)?;
                (self.pop("class")?, self.node(Node::Tuple(arguments)))
            }
            Op::Make => {
                let mut all = self.above()?.into_iter();
                let class = all.next().ok_or_else(|| self.lacks("class"))?;
                (class, self.node(Node::Tuple(all.collect())))
            }
            _ => {
                let arguments = self.pop("arguments")?;
                (self.pop("class")?, arguments)
            }
        };
        let made = Made { class, arguments, state: None, entries: Vec::new(), appended: Vec::new() };
        self.push(Node::Object(Box::new(made)));
        Ok(())
    }

    /// What is found in a module under a name.
    fn name(&mut self, module: &'a str, name: &'a str) -> Result<(), PickleError> {
        match module.len().max(name.len()) {
            found if found > LONGEST_NAME => Err(PickleError::Name { at: self.at, found }),
            _ => {
                self.push(Node::Global(module, name));
                Ok(())
            }
        }
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
