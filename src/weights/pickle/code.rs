//! A pickle's instructions, one after the other.

use super::PickleError;
use super::op::{Atom, Op, plain};

/// The instructions of a pickle.
pub struct Code<'a> {
    bytes: &'a [u8],
    pub at: usize,
}

impl<'a> Code<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Code { bytes, at: 0 }
    }

    /// The next instruction.
    pub fn op(&mut self) -> Result<Op<'a>, PickleError> {
        let (at, byte) = (self.at, self.take(1)?[0]);
        let value = self.number(byte)?.or(self.text(byte)?);
        if let Some(atom) = value {
            return Ok(Op::Push(atom));
        }
        if let Some(op) = plain(byte) {
            return Ok(op);
        }
        Ok(match byte {
            0x80 => self.protocol()?,
            // a frame says how much may be read at once
            0x95 => {
                let length = self.length::<8>()?;
                self.has(length)?;
                Op::Note
            }
            b'g' => Op::Get(self.decimal()?),
            b'h' => Op::Get(self.length::<1>()? as u32),
            b'j' => Op::Get(self.length::<4>()? as u32),
            b'p' => Op::Put(self.decimal()?),
            b'q' => Op::Put(self.length::<1>()? as u32),
            b'r' => Op::Put(self.length::<4>()? as u32),
            b'c' => Op::Global(self.line()?, self.line()?),
            b'i' => Op::Instance(self.line()?, self.line()?),
            b'P' => Op::Persistent(self.line()?),
            0x82..=0x84 => {
                return Err(PickleError::Foreign { at, what: "an entry of Python's extension registry" });
            }
            0x97 | 0x98 => return Err(PickleError::Foreign { at, what: "a buffer that was kept apart" }),
            _ => return Err(PickleError::Instruction { at, byte }),
        })
    }

    fn number(&mut self, byte: u8) -> Result<Option<Atom<'a>>, PickleError> {
        Ok(Some(match byte {
            b'N' => Atom::None,
            0x88 => Atom::Bool(true),
            0x89 => Atom::Bool(false),
            b'K' => Atom::Int(self.length::<1>()? as i64),
            b'M' => Atom::Int(self.length::<2>()? as i64),
            b'J' => Atom::Int(i64::from(self.length::<4>()? as u32 as i32)),
            b'I' => match self.line()? {
                "00" => Atom::Bool(false),
                "01" => Atom::Bool(true),
                digits => Atom::Int(self.parsed(digits)?),
            },
            b'L' => {
                let digits = self.line()?;
                Atom::Int(self.parsed(digits.strip_suffix('L').unwrap_or(digits))?)
            }
            b'F' => {
                let digits = self.line()?;
                Atom::Float(self.parsed(digits)?)
            }
            b'G' => Atom::Float(f64::from_be_bytes(self.array()?)),
            0x8a => whole(self.counted::<1>()?),
            0x8b => whole(self.counted::<4>()?),
            _ => return Ok(None),
        }))
    }

    fn text(&mut self, byte: u8) -> Result<Option<Atom<'a>>, PickleError> {
        let at = self.at;
        let utf8 = |bytes| {
            let text = std::str::from_utf8(bytes);
            text.map(Atom::Str).map_err(|_| PickleError::Text { at, what: "it is not UTF-8" })
        };
        // Python 2 wrote its text as bytes
        let either = |bytes| utf8(bytes).unwrap_or(Atom::Bytes(bytes));
        Ok(Some(match byte {
            b'S' => {
                let line = self.line()?.trim_end();
                let quote = line.chars().next().filter(|c| matches!(c, '\'' | '"'));
                let inner = quote.and_then(|quote| line.strip_prefix(quote)?.strip_suffix(quote));
                Atom::Quoted(inner.ok_or(PickleError::Text { at, what: "it stands between no quotes" })?)
            }
            b'V' => Atom::Escaped(self.line()?),
            b'U' => either(self.counted::<1>()?),
            b'T' => either(self.counted::<4>()?),
            0x8c => utf8(self.counted::<1>()?)?,
            b'X' => utf8(self.counted::<4>()?)?,
            0x8d => utf8(self.counted::<8>()?)?,
            b'C' => Atom::Bytes(self.counted::<1>()?),
            b'B' => Atom::Bytes(self.counted::<4>()?),
            0x8e | 0x96 => Atom::Bytes(self.counted::<8>()?),
            _ => return Ok(None),
        }))
    }

    fn protocol(&mut self) -> Result<Op<'a>, PickleError> {
        match self.take(1)?[0] {
            0..=5 => Ok(Op::Note),
            found => Err(PickleError::Protocol { found }),
        }
    }

    /// Whether so many bytes are left.
    fn has(&self, needs: u64) -> Result<usize, PickleError> {
        let left = (self.bytes.len() - self.at) as u64;
        if needs > left { Err(PickleError::Short { at: self.at, needs }) } else { Ok(needs as usize) }
    }

    fn take(&mut self, count: u64) -> Result<&'a [u8], PickleError> {
        let count = self.has(count)?;
        let taken = &self.bytes[self.at..self.at + count];
        self.at += count;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], PickleError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N as u64)?);
        Ok(array)
    }

    /// An unsigned number of `N` bytes, the lowest first.
    fn length<const N: usize>(&mut self) -> Result<u64, PickleError> {
        Ok(self.array::<N>()?.iter().rev().fold(0, |sum, &byte| sum << 8 | u64::from(byte)))
    }

    /// As many bytes as a number of `N` bytes in front of them says.
    fn counted<const N: usize>(&mut self) -> Result<&'a [u8], PickleError> {
        let count = self.length::<N>()?;
        self.take(count)
    }

    fn line(&mut self) -> Result<&'a str, PickleError> {
        let (at, rest) = (self.at, &self.bytes[self.at..]);
        let end = rest.iter().position(|&byte| byte == b'\n');
        let end = end.ok_or(PickleError::Short { at: self.bytes.len(), needs: 1 })?;
        self.at += end + 1;
        std::str::from_utf8(&rest[..end]).map_err(|_| PickleError::Text { at, what: "it is not UTF-8" })
    }

    fn decimal(&mut self) -> Result<u32, PickleError> {
        let line = self.line()?;
        self.parsed(line)
    }

    fn parsed<T: std::str::FromStr>(&self, digits: &str) -> Result<T, PickleError> {
        digits.trim().parse().map_err(|_| PickleError::Text { at: self.at, what: "it should be a number" })
    }
}

/// A whole number in two's complement.
fn whole(bytes: &[u8]) -> Atom<'_> {
    if bytes.len() > 8 {
        return Atom::Long(bytes);
    }
    let sign = if bytes.last().is_some_and(|&byte| byte >= 0x80) { 0xff } else { 0 };
    let mut all = [sign; 8];
    all[..bytes.len()].copy_from_slice(bytes);
    Atom::Int(i64::from_le_bytes(all))
}
