//! Texts to tokens, and reading tokens one after the other.
//!
//! A word begins with a letter, `_`, `$` or `@` and goes on with these, digits, `.` and `/`; a DTMI is a token of its
//! own. Texts are in single or double quotes; inside, the quote is written twice, or in double quotes after a backslash,
//! where a backslash is written twice.

use super::{Literal, SyntaxError};
use crate::language::compare::Comparison;

/// A piece of a text.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Token {
    /// A name or keyword.
    Word(String),
    /// A DTMI.
    Dtmi(String),
    /// A number or a text in quotes.
    Literal(Literal),
    /// A comparison.
    Comparison(Comparison),
    /// Anything else: `(`, `)`, `[`, `]`, `,`, `*`.
    Mark(char),
}

/// Tokens with their places, read from the first to the last.
pub(crate) struct Reader {
    tokens: Vec<(usize, Token)>,
    next: usize,
    end: usize,
}

impl Reader {
    /// Takes a text of at most `chars_max` characters apart.
    pub(crate) fn new(text: &str, chars_max: usize) -> Result<Self, SyntaxError> {
        let chars: Vec<char> = text.chars().take(chars_max + 1).collect();
        if chars.len() > chars_max {
            return Err(SyntaxError::new(chars_max + 1, format!("the text is longer than {chars_max} characters")));
        }
        let (mut tokens, mut at) = (vec![], 0);
        while let Some(first) = chars.get(at) {
            if first.is_whitespace() {
                at += 1;
                continue;
            }
            let (token, length) = token(chars.get(at..).unwrap_or_default(), at + 1)?;
            tokens.push((at + 1, token));
            at += length;
        }
        Ok(Self { tokens, next: 0, end: chars.len() + 1 })
    }

    /// Where the next token is.
    pub(crate) fn at(&self) -> usize {
        self.tokens.get(self.next).map_or(self.end, |(at, _)| *at)
    }

    pub(crate) fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next).map(|(_, token)| token)
    }

    /// The token after the next.
    pub(crate) fn peek_second(&self) -> Option<&Token> {
        self.tokens.get(self.next + 1).map(|(_, token)| token)
    }

    pub(crate) fn take(&mut self) -> Option<Token> {
        let token = self.peek().cloned();
        self.next += usize::from(token.is_some());
        token
    }

    /// That something else is wanted here.
    pub(crate) fn wants<T>(&self, what: &str) -> Result<T, SyntaxError> {
        Err(SyntaxError::new(self.at(), format!("{what} is wanted")))
    }

    /// Whether the next token is a keyword, whatever its case.
    pub(crate) fn is_word(&self, keyword: &str) -> bool {
        matches!(self.peek(), Some(Token::Word(word)) if word.eq_ignore_ascii_case(keyword))
    }

    /// Takes a keyword if it is next.
    pub(crate) fn take_word(&mut self, keyword: &str) -> bool {
        let is_it = self.is_word(keyword);
        self.next += usize::from(is_it);
        is_it
    }

    pub(crate) fn want_word(&mut self, keyword: &str) -> Result<(), SyntaxError> {
        if self.take_word(keyword) { Ok(()) } else { self.wants(&format!("`{keyword}`")) }
    }

    /// Takes a mark if it is next.
    pub(crate) fn take_mark(&mut self, mark: char) -> bool {
        let is_it = self.peek() == Some(&Token::Mark(mark));
        self.next += usize::from(is_it);
        is_it
    }

    pub(crate) fn want_mark(&mut self, mark: char) -> Result<(), SyntaxError> {
        if self.take_mark(mark) { Ok(()) } else { self.wants(&format!("`{mark}`")) }
    }

    /// Takes a name.
    pub(crate) fn want_name(&mut self) -> Result<String, SyntaxError> {
        match self.peek() {
            Some(Token::Word(word)) => {
                let word = word.clone();
                self.next += 1;
                Ok(word)
            }
            _ => self.wants("a name"),
        }
    }

    /// Takes a literal, one of the words `true`, `false` and `null` among them.
    pub(crate) fn want_literal(&mut self) -> Result<Literal, SyntaxError> {
        let literal = match self.peek() {
            Some(Token::Literal(literal)) => Some(literal.clone()),
            Some(Token::Word(word)) => match word.to_ascii_lowercase().as_str() {
                "true" => Some(Literal::Boolean(true)),
                "false" => Some(Literal::Boolean(false)),
                "null" => Some(Literal::Null),
                _ => None,
            },
            _ => None,
        };
        let Some(literal) = literal else { return self.wants("a value") };
        self.next += 1;
        Ok(literal)
    }

    /// That nothing is left.
    pub(crate) fn want_end(&self) -> Result<(), SyntaxError> {
        if self.peek().is_none() { Ok(()) } else { self.wants("the end of the text") }
    }
}

/// The token a text begins with, and its length in characters.
fn token(text: &[char], at: usize) -> Result<(Token, usize), SyntaxError> {
    let first = text.first().copied().unwrap_or(' ');
    let second = text.get(1).copied().unwrap_or(' ');
    let comparison = |comparison, length| Ok((Token::Comparison(comparison), length));
    match (first, second) {
        ('=', '=') => comparison(Comparison::Equal, 2),
        ('=', _) => comparison(Comparison::Equal, 1),
        ('!', '=') | ('<', '>') => comparison(Comparison::NotEqual, 2),
        ('<', '=') => comparison(Comparison::LessOrEqual, 2),
        ('<', _) => comparison(Comparison::Less, 1),
        ('>', '=') => comparison(Comparison::GreaterOrEqual, 2),
        ('>', _) => comparison(Comparison::Greater, 1),
        ('(' | ')' | '[' | ']' | ',' | '*', _) => Ok((Token::Mark(first), 1)),
        ('\'' | '"', _) => quoted(text, first, at),
        ('0'..='9', _) | ('-', '0'..='9') => number(text, at),
        _ if is_first(first) => Ok(word(text)),
        _ => Err(SyntaxError::new(at, format!("{first:?} cannot be read"))),
    }
}

fn is_first(c: char) -> bool {
    c.is_ascii_alphabetic() || matches!(c, '_' | '$' | '@')
}

fn word(text: &[char]) -> (Token, usize) {
    let until = |is_in: fn(char) -> bool| text.iter().take_while(|c| is_in(**c)).collect::<String>();
    let plain = until(|c| is_first(c) || c.is_ascii_digit() || matches!(c, '.' | '/'));
    let length = plain.len();
    if plain.eq_ignore_ascii_case("dtmi") && text.get(length) == Some(&':') {
        let dtmi = until(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | ';' | '.'));
        let length = dtmi.len();
        return (Token::Dtmi(dtmi), length);
    }
    (Token::Word(plain), length)
}

fn quoted(text: &[char], quote: char, at: usize) -> Result<(Token, usize), SyntaxError> {
    let (mut inside, mut place) = (String::new(), 1);
    while let Some(c) = text.get(place) {
        let second = text.get(place + 1).copied();
        match second {
            Some(next) if *c == quote && next == quote => inside.push(quote),
            Some(next) if *c == '\\' && quote == '"' && (next == quote || next == '\\') => inside.push(next),
            _ if *c == quote => return Ok((Token::Literal(Literal::Text(inside)), place + 1)),
            _ => {
                inside.push(*c);
                place += 1;
                continue;
            }
        }
        place += 2;
    }
    Err(SyntaxError::new(at, "a text does not end"))
}

fn number(text: &[char], at: usize) -> Result<(Token, usize), SyntaxError> {
    let is_part = |place: usize, c: char| {
        let after_exponent =
            place.checked_sub(1).and_then(|before| text.get(before)).is_some_and(|c| matches!(c, 'e' | 'E'));
        c.is_ascii_alphanumeric() || c == '.' || (matches!(c, '-' | '+') && (place == 0 || after_exponent))
    };
    let whole: String =
        text.iter().enumerate().take_while(|(place, c)| is_part(*place, **c)).map(|(_, c)| *c).collect();
    let float = || whole.parse::<f64>().ok().filter(|number| number.is_finite()).map(Literal::Number);
    let literal = whole.parse().ok().map(Literal::Integer).or_else(float);
    let literal = literal.ok_or_else(|| SyntaxError::new(at, format!("`{whole}` is no number")))?;
    let length = whole.len();
    Ok((Token::Literal(literal), length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> Result<Vec<Token>, SyntaxError> {
        Reader::new(text, 100).map(|reader| reader.tokens.into_iter().map(|(_, token)| token).collect())
    }

    #[track_caller]
    fn check(text: &str, expected: &[Token]) {
        assert_eq!(tokens(text).unwrap(), expected, "{text}");
    }

    #[test]
    fn texts_are_taken_apart() {
        let word = |word: &str| Token::Word(word.to_owned());
        let text = |text: &str| Token::Literal(Literal::Text(text.to_owned()));
        check("a.b $id @id", &[word("a.b"), word("$id"), word("@id")]);
        check("dtmi:a:b;1,x", &[Token::Dtmi("dtmi:a:b;1".into()), Token::Mark(','), word("x")]);
        check("dtmi", &[word("dtmi")]);
        check(r#"'it''s' "a\"b" 'ä' '\n' '\'"#, &[text("it's"), text("a\"b"), text("ä"), text("\\n"), text("\\")]);
        check(
            "-1 2.5 1e-3",
            &[
                Token::Literal(Literal::Integer(-1)),
                Token::Literal(Literal::Number(2.5)),
                Token::Literal(Literal::Number(0.001)),
            ],
        );
        check(
            "==<=<>",
            &[
                Token::Comparison(Comparison::Equal),
                Token::Comparison(Comparison::LessOrEqual),
                Token::Comparison(Comparison::NotEqual),
            ],
        );
        check("", &[]);
    }

    #[test]
    fn what_cannot_be_read_is_named_with_its_place() {
        for (text, at) in [("a 'b", 3), ("ä", 1), ("a ; b", 3), ("12ab", 1), ("1e999", 1), ("a !", 3), ("\"x\\\"", 1)]
        {
            assert_eq!(tokens(text).unwrap_err().at, at, "{text}");
        }
        assert!(Reader::new(&"x".repeat(100), 100).is_ok());
        assert_eq!(Reader::new(&"x".repeat(101), 100).err().unwrap().at, 101);
    }
}
