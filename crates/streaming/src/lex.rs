//! A text as tokens with their places.

use crate::error::Error;

/// A byte of the text, for messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct At(pub(crate) u32);

/// One token.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Token {
    /// A word; `true` when it was in brackets and so is never a keyword.
    Word(String, bool),
    Text(String),
    Whole(i64),
    Number(f64),
    Symbol(&'static str),
    End,
}

impl Token {
    /// What a message calls it.
    pub(crate) fn describe(&self) -> String {
        match self {
            Token::Word(word, _) => format!("`{word}`"),
            Token::Text(text) => format!("'{text}'"),
            Token::Whole(number) => format!("`{number}`"),
            Token::Number(number) => format!("`{number}`"),
            Token::Symbol(symbol) => format!("`{symbol}`"),
            Token::End => "the end of the text".to_owned(),
        }
    }
}

const SYMBOLS: [&str; 18] =
    ["<>", "!=", "<=", ">=", "(", ")", ",", ".", ";", "*", "+", "-", "/", "%", "=", "<", ">", ":"];

/// An error at a byte of the text.
pub(crate) fn error(text: &str, at: At, message: impl Into<String>) -> Error {
    let before = text.get(..at.0 as usize).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    Error {
        line: before.matches('\n').count() as u32 + 1,
        column: before[line_start..].chars().count() as u32 + 1,
        message: message.into(),
    }
}

/// The tokens of a text, the last of which is its end.
pub(crate) fn tokens(text: &str) -> Result<Vec<(Token, At)>, Error> {
    let bytes = text.as_bytes();
    let mut tokens = Vec::new();
    let mut position = 0;
    while let Some(&byte) = bytes.get(position) {
        let at = At(position as u32);
        let rest = &text[position..];
        if byte.is_ascii_whitespace() || rest.starts_with('\u{feff}') {
            position += if byte.is_ascii() { 1 } else { 3 };
        } else if rest.starts_with("--") {
            position += rest.find('\n').unwrap_or(rest.len());
        } else if rest.starts_with("/*") {
            position += match rest.find("*/") {
                Some(end) => end + 2,
                None => return Err(error(text, at, "a comment is not closed")),
            };
        } else if byte == b'\'' {
            let (content, length) = quoted(rest, '\'').ok_or_else(|| error(text, at, "a text is not closed"))?;
            tokens.push((Token::Text(content), at));
            position += length;
        } else if byte == b'[' {
            let (content, length) =
                quoted(rest, ']').ok_or_else(|| error(text, at, "a name in brackets is not closed"))?;
            tokens.push((Token::Word(content, true), at));
            position += length;
        } else if byte.is_ascii_digit() {
            let (token, length) = number(rest);
            let token = token.ok_or_else(|| error(text, at, format!("`{}` is no number", &rest[..length])))?;
            tokens.push((token, at));
            position += length;
        } else if let Some(length) = word(rest) {
            tokens.push((Token::Word(rest[..length].to_owned(), false), at));
            position += length;
        } else if let Some(symbol) = SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol)) {
            tokens.push((Token::Symbol(symbol), at));
            position += symbol.len();
        } else {
            let character = rest.chars().next().unwrap_or_default();
            return Err(error(text, at, format!("unexpected `{character}`")));
        }
    }
    tokens.push((Token::End, At(text.len() as u32)));
    Ok(tokens)
}

/// What is between an opening character and `end`, which stands for itself when doubled, and the whole length.
fn quoted(rest: &str, end: char) -> Option<(String, usize)> {
    let mut content = String::new();
    let mut characters = rest.char_indices().skip(1).peekable();
    while let Some((index, character)) = characters.next() {
        if character != end {
            content.push(character);
        } else if characters.next_if(|(_, next)| *next == end).is_some() {
            content.push(end);
        } else {
            return Some((content, index + end.len_utf8()));
        }
    }
    None
}

fn word(rest: &str) -> Option<usize> {
    let mut characters = rest.char_indices();
    let (_, first) = characters.next()?;
    if !(first.is_alphabetic() || first == '_') {
        return None;
    }
    Some(characters.find(|(_, next)| !(next.is_alphanumeric() || *next == '_')).map_or(rest.len(), |(index, _)| index))
}

fn number(rest: &str) -> (Option<Token>, usize) {
    let bytes = rest.as_bytes();
    let digits = |from: usize| bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let mut length = digits(0);
    let mut whole = true;
    if bytes.get(length) == Some(&b'.') && digits(length + 1) > 0 {
        whole = false;
        length += 1 + digits(length + 1);
    }
    if matches!(bytes.get(length), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(length + 1), Some(b'+' | b'-')));
        let exponent = bytes.get(length + 1 + sign..).map_or(0, |_| digits(length + 1 + sign));
        if exponent > 0 {
            whole = false;
            length += 1 + sign + exponent;
        }
    }
    if let Some(more) = word(&rest[length..]) {
        return (None, length + more);
    }
    let text = &rest[..length];
    let token = match text.parse() {
        Ok(number) if whole => Token::Whole(number),
        _ => match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Token::Number(number),
            _ => return (None, length),
        },
    };
    (Some(token), length)
}
