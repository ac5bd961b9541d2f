//! Words and signs of a query, with their places.

use serde_json::{Number, Value};

use super::TEXT_LEN_MAX;

/// Why a text is no query: what is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at position {position}: {what}")]
pub struct QueryError {
    /// The character at which it is wrong, from 1.
    pub position: usize,
    /// What is wrong there.
    pub what: String,
}

impl QueryError {
    pub(crate) fn new(position: usize, what: impl Into<String>) -> Self {
        Self { position, what: what.into() }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Token {
    Word(String),
    /// `[[word]]`: never a keyword.
    Escaped(String),
    Literal(Value),
    Sign(&'static str),
    End,
}

impl Token {
    /// As it is told in an error.
    pub(crate) fn told(&self) -> String {
        match self {
            Self::Word(word) | Self::Escaped(word) => format!("`{}`", word.chars().take(64).collect::<String>()),
            Self::Literal(value) => format!("`{}`", value.to_string().chars().take(64).collect::<String>()),
            Self::Sign(sign) => format!("`{sign}`"),
            Self::End => "the end".into(),
        }
    }
}

/// Signs, the longer first.
const SIGNS: [&str; 20] =
    ["!=", "<>", "<=", ">=", "..", "[", "]", "(", ")", ",", ".", "=", "<", ">", "*", "-", ":", "|", "+", "/"];

pub(crate) fn tokens(text: &str) -> Result<Vec<(usize, Token)>, QueryError> {
    let len = text.chars().count();
    if len > TEXT_LEN_MAX {
        return Err(QueryError::new(TEXT_LEN_MAX + 1, format!("a query has at most {TEXT_LEN_MAX} characters")));
    }
    let mut lexer = Lexer { rest: text, position: 1 };
    let mut tokens = vec![];
    loop {
        let (position, token) = lexer.token()?;
        let is_end = token == Token::End;
        tokens.push((position, token));
        if is_end {
            return Ok(tokens);
        }
    }
}

struct Lexer<'a> {
    rest: &'a str,
    position: usize,
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}

impl<'a> Lexer<'a> {
    /// Takes what fits from the beginning.
    fn take(&mut self, fits: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|c| !fits(c)).unwrap_or(self.rest.len());
        self.skip(end)
    }

    fn skip(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at_checked(bytes).unwrap_or((self.rest, ""));
        self.rest = rest;
        self.position += taken.chars().count();
        taken
    }

    fn token(&mut self) -> Result<(usize, Token), QueryError> {
        self.take(char::is_whitespace);
        let position = self.position;
        let Some(first) = self.rest.chars().next() else { return Ok((position, Token::End)) };
        let token = match first {
            '\'' | '"' => self.string(first)?,
            c if c.is_ascii_digit() => self.number()?,
            c if is_word(c) => Token::Word(self.take(is_word).to_owned()),
            _ if self.rest.starts_with("[[") => self.escaped()?,
            _ => {
                let sign = SIGNS.into_iter().find(|sign| self.rest.starts_with(sign));
                let sign = sign.ok_or_else(|| QueryError::new(position, format!("`{first}` is no part of a query")))?;
                self.skip(sign.len());
                Token::Sign(sign)
            }
        };
        Ok((position, token))
    }

    fn escaped(&mut self) -> Result<Token, QueryError> {
        let position = self.position;
        self.skip(2);
        let word = self.take(is_word).to_owned();
        if word.is_empty() || !self.rest.starts_with("]]") {
            return Err(QueryError::new(position, "`[[` has a name and `]]` behind it"));
        }
        self.skip(2);
        Ok(Token::Escaped(word))
    }

    fn string(&mut self, quote: char) -> Result<Token, QueryError> {
        let position = self.position;
        self.skip(1);
        let mut text = String::new();
        loop {
            let Some(c) = self.rest.chars().next() else {
                return Err(QueryError::new(position, "the string does not end"));
            };
            self.skip(c.len_utf8());
            match c {
                '\\' => {
                    let escaped = self.rest.chars().next();
                    let escaped = escaped.ok_or_else(|| QueryError::new(position, "the string does not end"))?;
                    self.skip(escaped.len_utf8());
                    text.push(match escaped {
                        'n' => '\n',
                        't' => '\t',
                        'r' => '\r',
                        '\'' | '"' | '\\' | '/' => escaped,
                        _ => return Err(QueryError::new(self.position - 1, format!("`\\{escaped}` is no escape"))),
                    });
                }
                c if c == quote && self.rest.starts_with(quote) => {
                    self.skip(1);
                    text.push(quote);
                }
                c if c == quote => return Ok(Token::Literal(text.into())),
                c => text.push(c),
            }
        }
    }

    fn number(&mut self) -> Result<Token, QueryError> {
        let position = self.position;
        let mut text = self.take(|c| c.is_ascii_digit()).to_owned();
        if self.rest.starts_with('.') && !self.rest.starts_with("..") {
            self.skip(1);
            text.push('.');
            text.push_str(self.take(|c| c.is_ascii_digit()));
        }
        if self.rest.starts_with(['e', 'E']) {
            text.push_str(self.skip(1));
            if self.rest.starts_with(['+', '-']) {
                text.push_str(self.skip(1));
            }
            text.push_str(self.take(|c| c.is_ascii_digit()));
        }
        let wrong =
            || QueryError::new(position, format!("`{}` is not a number", text.chars().take(64).collect::<String>()));
        if self.rest.starts_with(is_word) {
            return Err(wrong());
        }
        let number = match text.parse::<i64>() {
            Ok(whole) => Some(whole.into()),
            Err(_) => text.parse::<f64>().ok().and_then(Number::from_f64),
        };
        number.map(|number| Token::Literal(Value::Number(number))).ok_or_else(wrong)
    }
}
