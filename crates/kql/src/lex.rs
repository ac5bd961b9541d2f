//! Text to tokens.
//!
//! Keywords are names here: what a word means depends on where it stands, and the parser knows
//! where. Tokens are offsets into the text; nothing is copied. Literals are recognised by form
//! and read later: a timespan is a number with letters right behind it, `datetime(...)` and its
//! relatives are one token up to the closing parenthesis, because what is in them follows no
//! other rule.

use crate::diagnostic::{Code, Diagnostic, Span};
use crate::value::TimeSpan;

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A word: name or keyword, also `$left`, `!has`, `in~`.
    Word,
    /// A whole number, decimal or hexadecimal.
    Long,
    /// A number with a point or exponent.
    Real,
    /// A number with a unit.
    TimeSpan,
    /// A string of any form, with its `h`.
    String,
    /// `datetime(...)`, `int(...)`...: a type's name and what is between the parentheses.
    Typed,
    /// A sign: `(`, `==`, `..`...
    Sign,
    /// The end of the text.
    End,
}

/// One token.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Token {
    pub kind: Kind,
    pub start: u32,
    pub end: u32,
}

impl Token {
    pub fn span(self) -> Span {
        Span::new(self.start as usize, self.end as usize)
    }
}

/// The signs, longest first.
const SIGNS: [&str; 34] = [
    "<|", "==", "=~", "=>", "!=", "!~", "<>", "<=", ">=", "..", "(", ")", "[", "]", "{", "}", ",", ";", ":", "|", ".",
    "=", "<", ">", "+", "-", "*", "/", "%", "?", "@", "#", "&", "^",
];

/// The types whose literals are written as calls.
const TYPED: [&str; 16] = [
    "bool", "boolean", "int", "int32", "long", "int64", "real", "double", "float", "decimal", "datetime", "date",
    "timespan", "time", "guid", "uuid",
];

/// Words that end in a sign.
const WORDS_WITH_TILDE: [&str; 2] = ["in", "!in"];

/// The tokens of a text, an `End` last. The first thing that is no token is an error.
pub(crate) fn tokens(text: &str) -> Result<Vec<Token>, Diagnostic> {
    let mut lexer = Lexer { text, bytes: text.as_bytes(), at: 0, tokens: Vec::with_capacity(text.len() / 4) };
    while lexer.next()? {}
    Ok(lexer.tokens)
}

/// Whether a character may be within a name.
pub(crate) fn is_name_char(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

struct Lexer<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    tokens: Vec<Token>,
}

impl Lexer<'_> {
    fn next(&mut self) -> Result<bool, Diagnostic> {
        self.skip_blank();
        let start = self.at;
        let Some(c) = self.text[start..].chars().next() else {
            self.push(Kind::End, start);
            return Ok(false);
        };
        if let Some(end) = string_end(self.text, start)? {
            self.at = end;
            self.push(Kind::String, start);
        } else if c.is_ascii_digit() {
            self.number();
        } else if is_name_char(c) || c == '$' || c == '!' && self.word_follows(start + 1) {
            self.word();
        } else if let Some(sign) = SIGNS.iter().find(|sign| self.text[start..].starts_with(**sign)) {
            self.at += sign.len();
            self.push(Kind::Sign, start);
        } else {
            let span = Span::new(start, start + c.len_utf8());
            return Err(Diagnostic::new(Code::Syntax, span, format!("unexpected character `{}`", c.escape_default())));
        }
        Ok(true)
    }

    fn push(&mut self, kind: Kind, start: usize) {
        self.tokens.push(Token { kind, start: start as u32, end: self.at as u32 });
    }

    fn skip_blank(&mut self) {
        while let Some(c) = self.text[self.at..].chars().next() {
            if c.is_whitespace() || c == '\u{feff}' || c == '\u{200b}' {
                self.at += c.len_utf8();
            } else if self.text[self.at..].starts_with("//") || c == '#' && self.at_line_start() {
                let rest = &self.bytes[self.at..];
                self.at += rest.iter().position(|byte| *byte == b'\n' || *byte == b'\r').unwrap_or(rest.len());
            } else {
                return;
            }
        }
    }

    /// `#connect ...` and other directives of tools are lines of their own.
    fn at_line_start(&self) -> bool {
        self.text[..self.at].rsplit(['\n', '\r']).next().is_none_or(|before| before.trim().is_empty())
    }

    fn word_follows(&self, at: usize) -> bool {
        self.bytes.get(at).is_some_and(u8::is_ascii_alphabetic)
    }

    fn name_end(&self, from: usize) -> usize {
        let rest = &self.text[from..];
        from + rest.find(|c| !is_name_char(c)).unwrap_or(rest.len())
    }

    fn word(&mut self) {
        let start = self.at;
        let marked = matches!(self.bytes[start], b'$' | b'!');
        self.at = self.name_end(start + usize::from(marked));
        let word = &self.text[start..self.at];
        if self.bytes.get(self.at) == Some(&b'~') && WORDS_WITH_TILDE.contains(&word) {
            self.at += 1;
        }
        if TYPED.contains(&word)
            && self.bytes.get(self.at) == Some(&b'(')
            && !self.after_dot()
            && let Some(close) = self.typed_end(self.at + 1)
        {
            self.at = close + 1;
            return self.push(Kind::Typed, start);
        }
        self.push(Kind::Word, start);
    }

    /// The closing parenthesis of a typed literal.
    fn typed_end(&self, from: usize) -> Option<usize> {
        let rest = &self.bytes[from..];
        let close = rest.iter().position(|byte| matches!(byte, b')' | b'(' | b'\n'))?;
        (rest[close] == b')').then_some(from + close)
    }

    fn after_dot(&self) -> bool {
        self.tokens.last().is_some_and(|last| &self.bytes[last.start as usize..last.end as usize] == b".")
    }

    fn number(&mut self) {
        let start = self.at;
        let digits = |from: usize| {
            let rest = &self.bytes[from..];
            from + rest.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len())
        };
        if self.bytes[start] == b'0' && matches!(self.bytes.get(start + 1), Some(b'x' | b'X')) {
            let rest = &self.bytes[start + 2..];
            let end = start + 2 + rest.iter().position(|byte| !byte.is_ascii_hexdigit()).unwrap_or(rest.len());
            if end > start + 2 && self.name_end(end) == end {
                self.at = end;
                return self.push(Kind::Long, start);
            }
        }
        let mut end = digits(start);
        let mut kind = Kind::Long;
        // `1..2` is a range, `1.foo` nothing, `1.` and `1.5` are reals.
        if self.bytes.get(end) == Some(&b'.') && self.bytes.get(end + 1) != Some(&b'.') {
            let fraction = digits(end + 1);
            let exponent = matches!(self.bytes.get(fraction), Some(b'e' | b'E'))
                && self
                    .bytes
                    .get(fraction + 1)
                    .is_some_and(|byte| byte.is_ascii_digit() || matches!(byte, b'+' | b'-'));
            if fraction > end + 1 || exponent || self.name_end(fraction) == fraction {
                (kind, end) = (Kind::Real, fraction);
            }
        }
        if matches!(self.bytes.get(end), Some(b'e' | b'E')) {
            let sign = usize::from(matches!(self.bytes.get(end + 1), Some(b'+' | b'-')));
            let exponent = digits(end + 1 + sign);
            if exponent > end + 1 + sign && self.name_end(exponent) == exponent {
                (kind, end) = (Kind::Real, exponent);
            }
        }
        let word_end = self.name_end(end);
        self.at = end;
        if word_end > end {
            if TimeSpan::unit(&self.text[end..word_end]).is_some() {
                (kind, self.at) = (Kind::TimeSpan, word_end);
            } else if kind == Kind::Long {
                // A name may start with digits.
                (kind, self.at) = (Kind::Word, word_end);
            }
        }
        self.push(kind, start);
    }
}

/// The end of the string that starts here, if one does.
pub(crate) fn string_end(text: &str, start: usize) -> Result<Option<usize>, Diagnostic> {
    let bytes = text.as_bytes();
    let mut at = start;
    if matches!(bytes.get(at), Some(b'h' | b'H')) {
        at += 1;
    }
    let verbatim = bytes.get(at) == Some(&b'@');
    at += usize::from(verbatim);
    let open =
        |end: usize| Diagnostic::new(Code::Syntax, Span::new(start, end.min(text.len())), "the string is not closed");
    let Some(&quote) = bytes.get(at) else { return Ok(None) };
    for fence in ["```", "~~~"] {
        if !verbatim && text[at..].starts_with(fence) {
            let from = at + fence.len();
            let length = text[from..].find(fence).ok_or_else(|| open(from))?;
            return Ok(Some(from + length + fence.len()));
        }
    }
    if !matches!(quote, b'"' | b'\'') {
        return Ok(None);
    }
    at += 1;
    loop {
        match bytes.get(at) {
            None => return Err(open(at)),
            Some(b'\n' | b'\r') => return Err(open(at)),
            Some(&byte) if byte == quote => {
                if verbatim && bytes.get(at + 1) == Some(&quote) {
                    at += 2;
                } else {
                    return Ok(Some(at + 1));
                }
            }
            Some(b'\\') if !verbatim => {
                at += 1;
                // The escaped character itself, whole.
                at += text.get(at..).and_then(|rest| rest.chars().next()).map_or(1, char::len_utf8);
                if matches!(bytes.get(at - 1), Some(b'\n' | b'\r')) {
                    return Err(open(at - 1));
                }
            }
            Some(_) => at += 1,
        }
    }
}

/// The value of a string token, and whether it is obfuscated. `Err` is the offset in the token
/// of an escape that means nothing.
pub(crate) fn string_value(token: &str) -> Result<(String, bool), usize> {
    let (obfuscated, body) = match token.strip_prefix(['h', 'H']) {
        Some(rest) => (true, rest),
        None => (false, token),
    };
    for fence in ["```", "~~~"] {
        if let Some(inner) = body.strip_prefix(fence).and_then(|rest| rest.strip_suffix(fence)) {
            return Ok((inner.into(), obfuscated));
        }
    }
    if let Some(verbatim) = body.strip_prefix('@') {
        let quote = &verbatim[..1];
        let inner = &verbatim[1..verbatim.len() - 1];
        return Ok((inner.replace(&quote.repeat(2), quote), obfuscated));
    }
    let inner = &body[1..body.len() - 1];
    let from = token.len() - body.len() + 1;
    if !inner.contains('\\') {
        return Ok((inner.into(), obfuscated));
    }
    let mut value = String::with_capacity(inner.len());
    let mut chars = inner.char_indices();
    while let Some((at, c)) = chars.next() {
        if c != '\\' {
            value.push(c);
            continue;
        }
        let wrong = from + at;
        let (_, escaped) = chars.next().ok_or(wrong)?;
        value.push(match escaped {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'a' => '\u{7}',
            'v' => '\u{b}',
            '\\' | '\'' | '"' => escaped,
            '0'..='7' => {
                let rest = &inner[at + 1..];
                let digits = rest.bytes().take(3).take_while(|byte| matches!(byte, b'0'..=b'7')).count();
                for _ in 1..digits {
                    chars.next();
                }
                u32::from_str_radix(&rest[..digits], 8).ok().and_then(char::from_u32).ok_or(wrong)?
            }
            'x' | 'u' | 'U' => {
                let count = match escaped {
                    'x' => 2,
                    'u' => 4,
                    _ => 8,
                };
                let digits = inner.get(at + 2..at + 2 + count).ok_or(wrong)?;
                if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                    return Err(wrong);
                }
                for _ in 0..count {
                    chars.next();
                }
                let code = u32::from_str_radix(digits, 16).map_err(|_| wrong)?;
                // Two halves of a pair are one character; a lone half is none of its own.
                let low = inner.get(at + 6..at + 12).and_then(|next| next.strip_prefix("\\u"));
                let low = low.and_then(|digits| u32::from_str_radix(digits, 16).ok());
                match (code, low) {
                    (0xd800..0xdc00, Some(low @ 0xdc00..0xe000)) => {
                        for _ in 0..6 {
                            chars.next();
                        }
                        char::from_u32(0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00)).ok_or(wrong)?
                    }
                    _ => char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER),
                }
            }
            _ => return Err(wrong),
        });
    }
    Ok((value, obfuscated))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_of_every_form_have_their_value() {
        for (token, value) in [
            (r#""a\tb\\\"'""#, "a\tb\\\"'"),
            (r"@'it''s \d'", r"it's \d"),
            ("```a 'b' \\n```", "a 'b' \\n"),
            ("~~~x~~~", "x"),
            (r"h'\x41\u00e9\101'", "AéA"),
            (r"'\ud83d\ude00 \ud83d'", "😀 \u{fffd}"),
            (r#"H@"c:\d""#, r"c:\d"),
        ] {
            assert_eq!(string_value(token).unwrap().0, value, "{token}");
            assert_eq!(string_end(token, 0).unwrap(), Some(token.len()), "{token}");
        }
        assert!(string_value("h'x'").unwrap().1);
        assert_eq!(string_value(r"'ab\d'"), Err(3));
    }

    #[test]
    fn a_string_that_does_not_end_is_a_fault_within_the_text() {
        for text in ["'", "\"a", "'a\\", "'a\\\\\n'", "@'a''", "```a``", "h'é"] {
            let fault = tokens(text).expect_err(text);
            assert!(fault.span.end() as usize <= text.len(), "{text}");
        }
    }

    #[test]
    fn numbers_and_names_are_told_apart() {
        let kinds = |text: &str| tokens(text).unwrap().iter().map(|token| token.kind).collect::<Vec<_>>();
        use Kind::{End, Long, Real, Sign, TimeSpan, Typed, Word};
        assert_eq!(kinds("1 0x1F 1.5 1e3 1. 1d 1.5h"), [Long, Long, Real, Real, Real, TimeSpan, TimeSpan, End]);
        assert_eq!(
            kinds("1..2 3DES 1w $left !in~ a.b"),
            [Long, Sign, Long, Word, Word, Word, Word, Word, Sign, Word, End]
        );
        assert_eq!(
            kinds("datetime(2020) datetime (x) int(f(1))"),
            [Typed, Word, Sign, Word, Sign, Word, Sign, Word, Sign, Long, Sign, Sign, End]
        );
    }
}
