//! RON text to a [`Tree`].

use std::ops::Range;

use super::lex::{Lexer, Token, Unreadable};
use super::origin::{OriginId, Place};
use super::problem::Diagnostic;
use super::tree::{Body, Field, Name, Tree, Value};

/// How deep values may lie within each other.
pub const DEEPEST: usize = 128;

/// Extensions that graph files always have, so that naming them changes nothing.
const EXTENSIONS: [&str; 3] = ["implicit_some", "unwrap_newtypes", "unwrap_variant_newtypes"];

/// Parses a text that holds one RON value.
///
/// # Errors
/// The first place at which the text is not RON, a key that stands twice, or values deeper than [`DEEPEST`].
pub fn parse(text: &str, origin: OriginId) -> Result<Tree, Box<Diagnostic>> {
    parse_from(text, 0, origin)
}

/// [`parse`] for a value that starts within its text, as behind the `=` of an argument.
///
/// # Errors
/// As [`parse`].
pub fn parse_from(text: &str, start: usize, origin: OriginId) -> Result<Tree, Box<Diagnostic>> {
    let lexer = Lexer::new(text, start);
    let mut parser =
        Parser { lexer, origin, token: Token::End, span: start..start, before: start, long: None, depth: 0 };
    parser.advance()?;
    parser.attributes()?;
    let tree = parser.value()?;
    match parser.token {
        Token::End => Ok(tree),
        _ => Err(parser.unexpected("the end of the text")),
    }
}

struct Parser<'t> {
    lexer: Lexer<'t>,
    origin: OriginId,
    token: Token,
    span: Range<usize>,
    /// Where the token before this one ended.
    before: usize,
    /// The opening quote of the string before this token, when it runs over several lines.
    long: Option<Range<usize>>,
    depth: usize,
}

type Parsed<T> = Result<T, Box<Diagnostic>>;

impl Parser<'_> {
    fn advance(&mut self) -> Parsed<()> {
        self.before = self.span.end;
        let next = self.lexer.token().map_err(|Unreadable { span, expected }| {
            let place = Place { origin: self.origin, span };
            Box::new(Diagnostic::error(place, "not RON").expected(expected).found("something else"))
        })?;
        let before = std::mem::replace(&mut self.token, next.0);
        let start = std::mem::replace(&mut self.span, next.1).start;
        let long = matches!(&before, Token::Str(text) if text.contains('\n'));
        self.long = long.then(|| start..start + 1);
        Ok(())
    }

    fn here(&self) -> Place {
        Place { origin: self.origin, span: self.span.clone() }
    }

    fn since(&self, start: usize) -> Place {
        Place { origin: self.origin, span: start..self.before }
    }

    fn unexpected(&self, expected: &str) -> Box<Diagnostic> {
        let found = match &self.token {
            Token::Sign(sign) => format!("`{sign}`"),
            Token::Word(word) => format!("`{word}`"),
            Token::Number(number) => format!("`{number}`"),
            Token::Str(text) => format!("{text:?}"),
            Token::Char(one) => format!("{one:?}"),
            Token::End => "the end of the text".into(),
        };
        let problem = Diagnostic::error(self.here(), "not RON").expected(expected).found(found);
        Box::new(match &self.long {
            // what stands behind a closing quote that was forgotten is read as text up to the next quote
            Some(span) => {
                let place = Place { origin: self.origin, span: span.clone() };
                problem.also(place, "this string runs over several lines: is its closing quote missing?")
            }
            None => problem,
        })
    }

    fn is(&self, sign: char) -> bool {
        self.token == Token::Sign(sign)
    }

    fn take(&mut self, sign: char, expected: &str) -> Parsed<()> {
        if self.is(sign) { self.advance() } else { Err(self.unexpected(expected)) }
    }

    /// `#![enable(…)]` at the start.
    fn attributes(&mut self) -> Parsed<()> {
        while self.is('#') {
            self.advance()?;
            self.take('!', "`!`, as in `#![enable(implicit_some)]`")?;
            self.take('[', "`[`")?;
            if self.token != Token::Word("enable".into()) {
                return Err(self.unexpected("`enable`"));
            }
            self.advance()?;
            self.take('(', "`(`")?;
            while !self.is(')') {
                if !EXTENSIONS.iter().any(|known| self.token == Token::Word((*known).into())) {
                    return Err(self.unexpected(&super::problem::listing(EXTENSIONS)));
                }
                self.advance()?;
                if !self.is(')') {
                    self.take(',', "`,` or `)`")?;
                }
            }
            self.advance()?;
            self.take(']', "`]`")?;
        }
        Ok(())
    }

    fn value(&mut self) -> Parsed<Tree> {
        let start = self.span.start;
        self.depth += 1;
        if self.depth > DEEPEST {
            let what = "values lie too deep within each other";
            return Err(Box::new(
                Diagnostic::error(self.here(), what)
                    .expected(format!("at most {DEEPEST} levels"))
                    .found(format!("level {}", self.depth)),
            ));
        }
        let value = match self.token.clone() {
            Token::Number(text) => self.leaf(Value::Number(text))?,
            Token::Str(text) => self.leaf(Value::Str(text))?,
            Token::Char(one) => self.leaf(Value::Char(one))?,
            Token::Word(word) if word == "true" || word == "false" => {
                self.leaf(Value::Bool(word == "true"))?
            }
            Token::Word(text) => {
                let name = Name { text, at: self.here() };
                self.advance()?;
                let body = if self.is('(') { self.body()? } else { Body::Bare };
                Value::Shape { name: Some(name), body }
            }
            Token::Sign('(') => Value::Shape { name: None, body: self.body()? },
            Token::Sign('[') => self.list()?,
            Token::Sign('{') => self.map()?,
            _ => return Err(self.unexpected("a value")),
        };
        self.depth -= 1;
        Ok(Tree { value, at: self.since(start) })
    }

    fn leaf(&mut self, value: Value) -> Parsed<Value> {
        self.advance()?;
        Ok(value)
    }

    /// After an element: a comma, or the end.
    fn comma(&mut self, end: char, expected: &str) -> Parsed<()> {
        if self.is(end) { Ok(()) } else { self.take(',', expected) }
    }

    fn list(&mut self) -> Parsed<Value> {
        self.advance()?;
        let mut items = Vec::new();
        while !self.is(']') {
            items.push(self.value()?);
            self.comma(']', "`,` or `]`")?;
        }
        self.advance()?;
        Ok(Value::List(items))
    }

    fn map(&mut self) -> Parsed<Value> {
        self.advance()?;
        let mut entries: Vec<(Tree, Tree)> = Vec::new();
        while !self.is('}') {
            let key = self.value()?;
            self.take(':', "`:`")?;
            let text = key.to_ron();
            if let Some((first, _)) = entries.iter().find(|(other, _)| other.to_ron() == text) {
                return Err(twice(&text, &key.at, &first.at));
            }
            entries.push((key, self.value()?));
            self.comma('}', "`,` or `}`")?;
        }
        self.advance()?;
        Ok(Value::Map(entries))
    }

    /// From `(` to `)`: fields when a word and a colon come first, else values.
    fn body(&mut self) -> Parsed<Body> {
        self.advance()?;
        let (mut items, mut fields): (Vec<Tree>, Vec<Field>) = (Vec::new(), Vec::new());
        while !self.is(')') {
            let comment = std::mem::take(&mut self.lexer.comment);
            let item = self.value()?;
            let word = match &item.value {
                Value::Shape { name: Some(name), body: Body::Bare } if self.is(':') => Some(name.clone()),
                _ => None,
            };
            match word {
                Some(name) if items.is_empty() => {
                    self.advance()?;
                    if let Some(first) = fields.iter().find(|field| field.key == name.text) {
                        return Err(twice(&name.text, &name.at, &first.key_at));
                    }
                    let value = self.value()?;
                    fields.push(Field { key: name.text, key_at: name.at, value, comment });
                }
                None if fields.is_empty() => items.push(item),
                None => return Err(self.unexpected("`:` and the field's value")),
                Some(_) => return Err(self.unexpected("`,` or `)`")),
            }
            self.comma(')', "`,` or `)`")?;
        }
        self.advance()?;
        Ok(if fields.is_empty() { Body::Tuple(items) } else { Body::Fields(fields) })
    }
}

fn twice(key: &str, at: &Place, first: &Place) -> Box<Diagnostic> {
    let name = key.trim_matches('"');
    Box::new(
        Diagnostic::error(at.clone(), format!("`{name}` stands twice"))
            .key(name)
            .expected("each key once")
            .found("it again")
            .also(first.clone(), "first here"),
    )
}

#[cfg(test)]
mod tests;
