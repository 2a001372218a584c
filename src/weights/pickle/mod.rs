//! Python pickles, read without running anything: what a pickle would build is taken down as inert values, and what it would call
//! is written beside its arguments, never called. There is nothing here to call it with.
//!
//! A pickle is a program for a stack machine (Python's `pickletools` describes its instructions). `code` reads the instructions,
//! `machine` follows them, `tree` makes values of what is left. All of them are bounded by the file: no length is believed that the
//! bytes at hand don't have, and nesting is kept within what a thread's stack holds.

mod code;
mod machine;
mod node;
mod op;
mod tree;
mod value;
pub mod write;

pub use value::{Object, Value};

/// The longest pickle that is read, in bytes. Tensors lie outside of it; a whole training's state takes less than one of them.
pub const LONGEST: usize = 1 << 26;
/// The most instructions that are followed.
pub const MOST: usize = 1 << 20;
/// The longest name of a class or function, in bytes.
pub const LONGEST_NAME: usize = 1 << 10;
/// The deepest nesting of lists, tuples, dictionaries and objects.
pub const DEEPEST: u32 = 200;

/// Why a pickle can't be read. Places are bytes from its start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PickleError {
    #[error(
        "the pickle ends at byte {at}, where {needs} more bytes were announced: the file is cut short or damaged"
    )]
    Short { at: usize, needs: u64 },
    #[error(
        "byte {at} of the pickle is 0x{byte:02x}, which is no instruction of a pickle: the file is damaged or no pickle"
    )]
    Instruction { at: usize, byte: u8 },
    #[error("the pickle is of protocol {found}; protocols 0 to 5 are read")]
    Protocol { found: u8 },
    #[error(
        "at byte {at} the pickle holds no {expected} where its instructions need one: the file is damaged"
    )]
    Stack { at: usize, expected: &'static str },
    #[error("at byte {at} the pickle asks for value {index}, which it never kept: the file is damaged")]
    Memo { at: usize, index: u32 },
    #[error("at byte {at} the pickle holds text that is none: {what}")]
    Text { at: usize, what: &'static str },
    #[error(
        "at byte {at} the pickle wants {what}, which only the program that wrote it has; save plain tensors (a state_dict)"
    )]
    Foreign { at: usize, what: &'static str },
    #[error("at byte {at} the pickle names what takes {found} bytes to name; up to {LONGEST_NAME} are read")]
    Name { at: usize, found: usize },
    #[error("the pickle has {found} bytes; up to {LONGEST} are read")]
    Long { found: u64 },
    #[error("the pickle has more than {MOST} instructions, more than any that holds weights")]
    Many,
    #[error("the pickle's values are nested more than {DEEPEST} deep, deeper than any that holds weights")]
    Deep,
}

/// Reads the pickle that `bytes` begin with, of protocol 0 to 5. What comes after its end is left alone.
///
/// # Errors
/// When it is cut short, damaged, too large, too deep, or leans on something outside of it.
pub fn read(bytes: &[u8]) -> Result<Value, PickleError> {
    Ok(read_one(bytes)?.root)
}

/// A pickle, and what one needs to read on behind it.
#[derive(Clone, Debug)]
pub struct Pickle {
    pub root: Value,
    /// Its references to what is kept elsewhere, in their order.
    pub references: Vec<Value>,
    /// How many bytes it took.
    pub taken: usize,
}

/// The same as [`read`], for several pickles in a row.
///
/// # Errors
/// As [`read`].
pub fn read_one(bytes: &[u8]) -> Result<Pickle, PickleError> {
    let (nodes, root, taken) = machine::follow(bytes)?;
    let (root, references) = tree::values(&nodes, root)?;
    Ok(Pickle { root, references, taken })
}
