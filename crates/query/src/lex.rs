//! Text to tokens.

use crate::parse::QueryError;

#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Token {
    /// A name or keyword, as written.
    Word(String),
    /// A name in `[[…]]`: never a keyword.
    Quoted(String),
    /// A name in `{…}`: an application property.
    Braced(String),
    Text(String),
    Number(f64),
    Integer(i64),
    Symbol(&'static str),
}

const SYMBOLS: [&str; 19] =
    ["<=", ">=", "<>", "!=", "=", "<", ">", "(", ")", "[", "]", ",", ".", "*", "+", "-", "/", "%", ";"];

/// Tokens with the byte each begins at.
pub(crate) fn lex(text: &str) -> Result<Vec<(usize, Token)>, QueryError> {
    let mut tokens = vec![];
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        if c.is_whitespace() {
            at += c.len_utf8();
            continue;
        }
        let (len, token) = token(&text[at..], c).map_err(|what| QueryError::Lexical { at, what })?;
        tokens.push((at, token));
        at += len;
    }
    Ok(tokens)
}

fn token(rest: &str, first: char) -> Result<(usize, Token), &'static str> {
    if first == '\'' || first == '"' {
        return string(rest, first);
    }
    if let Some(inner) = rest.strip_prefix("[[") {
        let len = inner.find("]]").ok_or("`[[` without `]]`")?;
        return Ok((len + 4, Token::Quoted(inner[..len].to_owned())));
    }
    if let Some(inner) = rest.strip_prefix('{') {
        let len = inner.find('}').ok_or("`{` without `}`")?;
        return Ok((len + 2, Token::Braced(inner[..len].to_owned())));
    }
    if first.is_ascii_digit() {
        return number(rest);
    }
    if first.is_alphabetic() || first == '_' || first == '$' {
        let len = word_len(rest);
        return Ok((len, Token::Word(rest[..len].to_owned())));
    }
    match SYMBOLS.iter().find(|s| rest.starts_with(**s)) {
        Some(symbol) => Ok((symbol.len(), Token::Symbol(symbol))),
        None => Err("a character that is not part of the language"),
    }
}

/// Bytes of the word `rest` begins with. A hyphen belongs to it before a letter (`$dt-subject`), and is a minus
/// before anything else (`rate-1`).
fn word_len(rest: &str) -> usize {
    let mut chars = rest.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let next_is_letter = chars.peek().is_some_and(|(_, next)| next.is_alphabetic() || *next == '_');
        if !(c.is_alphanumeric() || matches!(c, '_' | '$') || c == '-' && next_is_letter) {
            return at;
        }
    }
    rest.len()
}

fn number(rest: &str) -> Result<(usize, Token), &'static str> {
    if let Some(hex) = rest.strip_prefix("0x").or_else(|| rest.strip_prefix("0X")) {
        let len = hex.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(hex.len());
        let value = i64::from_str_radix(&hex[..len], 16).map_err(|_| "a malformed hexadecimal number")?;
        return Ok((len + 2, Token::Integer(value)));
    }
    let mut len = 0;
    let bytes = rest.as_bytes();
    let mut exponent = false;
    while let Some(byte) = bytes.get(len) {
        match byte {
            b'0'..=b'9' | b'.' => {}
            b'e' | b'E' if !exponent => {
                exponent = true;
                if matches!(bytes.get(len + 1), Some(b'+' | b'-')) {
                    len += 1;
                }
            }
            _ => break,
        }
        len += 1;
    }
    let text = &rest[..len];
    if let Ok(value) = text.parse() {
        return Ok((len, Token::Integer(value)));
    }
    text.parse().map(|value| (len, Token::Number(value))).map_err(|_| "a malformed number")
}

fn string(rest: &str, quote: char) -> Result<(usize, Token), &'static str> {
    let mut text = String::new();
    let mut chars = rest.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => match chars.next().ok_or("a string without end")?.1 {
                'n' => text.push('\n'),
                't' => text.push('\t'),
                'r' => text.push('\r'),
                'u' => {
                    let hex: String = chars.by_ref().take(4).map(|(_, c)| c).collect();
                    let code = u32::from_str_radix(&hex, 16).map_err(|_| "a malformed `\\u` escape")?;
                    text.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
                }
                other => text.push(other),
            },
            // A doubled quote is the quote itself, as SQL writes it.
            c if c == quote && rest[at + 1..].starts_with(quote) => {
                chars.next();
                text.push(quote);
            }
            c if c == quote => return Ok((at + 1, Token::Text(text))),
            c => text.push(c),
        }
    }
    Err("a string without end")
}
