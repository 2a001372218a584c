//! What instructions there are.

/// What a pickle puts on its stack as it stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Atom<'a> {
    None,
    Bool(bool),
    Int(i64),
    Long(&'a [u8]),
    Float(f64),
    /// Text between two quotes, whose escapes are still to be undone.
    Quoted(&'a str),
    /// Text in which `\u` stands for what ASCII lacks.
    Escaped(&'a str),
    Str(&'a str),
    Bytes(&'a [u8]),
}

/// What holds other values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    List,
    Tuple,
    Dict,
    Set,
}

/// One instruction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Op<'a> {
    /// Says something of the pickle, and does nothing.
    Note,
    Stop,
    Mark,
    Pop,
    PopMark,
    Duplicate,
    Push(Atom<'a>),
    Empty(Kind),
    /// Everything above the mark.
    Gather(Kind),
    /// A tuple of the topmost values.
    Tuple(usize),
    /// Values into the list or set below: the topmost one.
    Append,
    /// All above the mark.
    Appends,
    SetItem,
    SetItems,
    Get(u32),
    Put(u32),
    /// Keeps the topmost value under the next number.
    Memoize,
    Global(&'a str, &'a str),
    /// A global whose two names lie on the stack.
    StackGlobal,
    /// Something called with a tuple, both on the stack.
    Call,
    /// The same with keyword arguments, a dictionary on top.
    CallWith,
    /// A named class called with what is above the mark.
    Instance(&'a str, &'a str),
    /// A class called with arguments, both above the mark.
    Make,
    /// Tells the object below its state.
    Build,
    Persistent(&'a str),
    StackPersistent,
}

/// Instructions of one byte that stand for themselves.
pub fn plain(byte: u8) -> Option<Op<'static>> {
    Some(match byte {
        b'.' => Op::Stop,
        b'(' => Op::Mark,
        b'0' => Op::Pop,
        b'1' => Op::PopMark,
        b'2' => Op::Duplicate,
        b']' => Op::Empty(Kind::List),
        b')' => Op::Empty(Kind::Tuple),
        b'}' => Op::Empty(Kind::Dict),
        0x8f => Op::Empty(Kind::Set),
        b'l' => Op::Gather(Kind::List),
        b't' => Op::Gather(Kind::Tuple),
        b'd' => Op::Gather(Kind::Dict),
        0x91 => Op::Gather(Kind::Set),
        0x85..=0x87 => Op::Tuple(usize::from(byte - 0x84)),
        b'a' => Op::Append,
        b'e' | 0x90 => Op::Appends,
        b's' => Op::SetItem,
        b'u' => Op::SetItems,
        0x94 => Op::Memoize,
        0x93 => Op::StackGlobal,
        b'R' | 0x81 => Op::Call,
        0x92 => Op::CallWith,
        b'o' => Op::Make,
        b'b' => Op::Build,
        b'Q' => Op::StackPersistent,
        _ => return None,
    })
}
