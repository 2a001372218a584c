//! RON text cut into tokens.

use std::ops::Range;

/// One token.
#[derive(Clone, Debug, PartialEq)]
pub enum Token {
    /// One of `( ) [ ] { } : , # !`.
    Sign(char),
    Word(String),
    /// Without underscores.
    Number(String),
    Str(String),
    Char(char),
    End,
}

/// Text that is no token.
#[derive(Clone, Debug, PartialEq)]
pub struct Unreadable {
    pub span: Range<usize>,
    pub expected: &'static str,
}

/// Reads tokens one after the other.
pub struct Lexer<'t> {
    text: &'t str,
    at: usize,
    /// The comment lines since the last token, for whoever documents what follows.
    pub comment: String,
}

impl<'t> Lexer<'t> {
    /// Reads from byte `start` on.
    pub fn new(text: &'t str, start: usize) -> Self {
        let at = if start == 0 && text.starts_with('\u{feff}') { 3 } else { start };
        Lexer { text, at, comment: String::new() }
    }

    /// The next token and where it stands.
    pub fn token(&mut self) -> Result<(Token, Range<usize>), Unreadable> {
        self.skip()?;
        let start = self.at;
        let Some(first) = self.peek() else { return Ok((Token::End, start..start)) };
        let token = match first {
            '(' | ')' | '[' | ']' | '{' | '}' | ':' | ',' | '#' | '!' => {
                self.at += 1;
                Token::Sign(first)
            }
            '"' => self.string()?,
            '\'' => self.character()?,
            'r' if self.raw_hashes().is_some() => self.raw_string()?,
            'r' if self.rest()[1..].starts_with('#') => match self.raw_word() {
                Some(word) => word,
                None => self.word(),
            },
            '0'..='9' | '+' | '-' | '.' => self.number()?,
            _ if first == '_' || first.is_alphabetic() => self.word(),
            _ => return Err(self.unreadable(start, start + first.len_utf8(), "a value")),
        };
        Ok((token, start..self.at))
    }

    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn unreadable(&self, start: usize, end: usize, expected: &'static str) -> Unreadable {
        Unreadable { span: start..end.min(self.text.len()), expected }
    }

    /// Passes over white space and comments, keeping the latter.
    fn skip(&mut self) -> Result<(), Unreadable> {
        self.comment.clear();
        loop {
            let rest = self.rest();
            let blank = rest.len() - rest.trim_start().len();
            if rest[..blank].matches('\n').count() > 1 {
                self.comment.clear();
            }
            self.at += blank;
            let rest = self.rest();
            if let Some(line) = rest.strip_prefix("//") {
                let line = line.split('\n').next().unwrap_or("");
                self.at += 2 + line.len();
                if !self.comment.is_empty() {
                    self.comment.push(' ');
                }
                self.comment.push_str(line.trim());
            } else if rest.starts_with("/*") {
                self.block_comment()?;
            } else {
                return Ok(());
            }
        }
    }

    fn block_comment(&mut self) -> Result<(), Unreadable> {
        let (start, mut depth) = (self.at, 0usize);
        loop {
            let rest = self.rest();
            if rest.starts_with("/*") {
                (depth, self.at) = (depth + 1, self.at + 2);
            } else if rest.starts_with("*/") {
                (depth, self.at) = (depth - 1, self.at + 2);
                if depth == 0 {
                    return Ok(());
                }
            } else if let Some(next) = rest.chars().next() {
                self.at += next.len_utf8();
            } else {
                return Err(self.unreadable(start, start + 2, "the comment's end, `*/`"));
            }
        }
    }

    /// `r#None`: a name that would mean something else without its mark.
    fn raw_word(&mut self) -> Option<Token> {
        let rest = self.rest().strip_prefix("r#")?;
        let end = rest.find(|c: char| !(c == '_' || c.is_alphanumeric())).unwrap_or(rest.len());
        self.at += 2 + end;
        Some(Token::Word(rest[..end].into()))
    }

    fn word(&mut self) -> Token {
        let rest = self.rest();
        let end = rest.find(|c: char| !(c == '_' || c.is_alphanumeric())).unwrap_or(rest.len());
        self.at += end;
        match &rest[..end] {
            number @ ("inf" | "NaN") => Token::Number(number.into()),
            word => Token::Word(word.into()),
        }
    }

    fn number(&mut self) -> Result<Token, Unreadable> {
        let (start, rest) = (self.at, self.rest());
        let mut before = ' ';
        let end = rest.find(|c: char| {
            let sign = matches!(c, '+' | '-') && matches!(before, ' ' | 'e' | 'E');
            before = c;
            !(sign || c.is_ascii_alphanumeric() || c == '.' || c == '_')
        });
        let end = end.unwrap_or(rest.len());
        self.at += end;
        let plain = rest[..end].replace('_', "");
        if whole(&plain).is_some() || plain.trim_start_matches(['+', '-']) == "inf" || is_float(&plain) {
            Ok(Token::Number(plain))
        } else {
            Err(self.unreadable(start, start + end, "a number"))
        }
    }

    fn string(&mut self) -> Result<Token, Unreadable> {
        let start = self.at;
        self.at += 1;
        let mut out = String::new();
        while let Some(next) = self.peek() {
            let from = self.at;
            self.at += next.len_utf8();
            match next {
                '"' => return Ok(Token::Str(out)),
                '\\' => match self.escape() {
                    Some(escaped) => out.extend(escaped),
                    None => {
                        return Err(self.unreadable(from, self.at, "an escape such as \\n, \\\" or \\u{e9}"));
                    }
                },
                _ => out.push(next),
            }
        }
        Err(self.unreadable(start, start + 1, "the string's closing quote"))
    }

    /// What an escape stands for, after its backslash: a character, or nothing for a line's continuation.
    #[allow(clippy::option_option)]
    fn escape(&mut self) -> Option<Option<char>> {
        let next = self.peek()?;
        self.at += next.len_utf8();
        let one = match next {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            '0' => '\0',
            '\\' | '"' | '\'' => next,
            '\n' => {
                self.at += self.rest().len() - self.rest().trim_start().len();
                return Some(None);
            }
            'x' => self.code(2)?,
            'u' => {
                let digits = self.rest().strip_prefix('{')?.split('}').next()?.len();
                self.at += 1;
                let code = self.code(digits)?;
                self.at += 1;
                code
            }
            _ => return None,
        };
        Some(Some(one))
    }

    fn code(&mut self, digits: usize) -> Option<char> {
        let hex = self.rest().get(..digits)?;
        let code = char::from_u32(u32::from_str_radix(hex, 16).ok()?)?;
        self.at += digits;
        Some(code)
    }

    fn character(&mut self) -> Result<Token, Unreadable> {
        let start = self.at;
        self.at += 1;
        let next = self.peek();
        self.at += next.map_or(0, char::len_utf8);
        let one = if next == Some('\\') { self.escape().flatten() } else { next };
        let closed = self.peek() == Some('\'');
        self.at += usize::from(closed);
        match one {
            Some(one) if closed => Ok(Token::Char(one)),
            _ => Err(self.unreadable(start, start + 1, "one character in single quotes")),
        }
    }

    /// The number of `#` of a raw string that starts here.
    fn raw_hashes(&self) -> Option<usize> {
        let rest = self.rest().strip_prefix('r')?;
        let hashes = rest.len() - rest.trim_start_matches('#').len();
        rest[hashes..].starts_with('"').then_some(hashes)
    }

    fn raw_string(&mut self) -> Result<Token, Unreadable> {
        let (start, hashes) = (self.at, self.raw_hashes().unwrap_or(0));
        let end = format!("\"{}", "#".repeat(hashes));
        let body = start + 2 + hashes;
        match self.text[body..].find(&end) {
            Some(length) => {
                self.at = body + length + end.len();
                Ok(Token::Str(self.text[body..body + length].into()))
            }
            None => Err(self.unreadable(start, body, "the raw string's closing quote with as many #")),
        }
    }
}

/// A whole number as RON writes them: decimal, hexadecimal, octal or binary.
pub fn whole(text: &str) -> Option<i128> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let (base, digits) = match digits.get(..2) {
        Some("0x") => (16, &digits[2..]),
        Some("0o") => (8, &digits[2..]),
        Some("0b") => (2, &digits[2..]),
        _ => (10, digits),
    };
    let plain = digits.chars().all(|c| c.is_ascii_alphanumeric());
    if plain { Some(sign * i128::from_str_radix(digits, base).ok()?) } else { None }
}

fn is_float(text: &str) -> bool {
    text.parse::<f64>().is_ok() && text.contains(|c: char| c.is_ascii_digit())
}
