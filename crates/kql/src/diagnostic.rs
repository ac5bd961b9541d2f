//! What is wrong with a text, and where.

use std::fmt;

/// A piece of the text: byte offset and length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Span {
    /// Byte offset.
    pub start: u32,
    /// Length in bytes.
    pub len: u32,
}

impl Span {
    /// The span between two offsets.
    pub fn new(start: usize, end: usize) -> Self {
        // Texts are bounded far below 4 GB.
        Self { start: start as u32, len: end.saturating_sub(start) as u32 }
    }

    /// The offset behind the last byte.
    pub fn end(self) -> u32 {
        self.start + self.len
    }

    /// From the start of this to the end of another.
    pub fn to(self, other: Self) -> Self {
        Self { start: self.start, len: other.end().saturating_sub(self.start) }
    }

    /// The piece of the text, empty when the span is not within it.
    pub fn of(self, text: &str) -> &str {
        text.get(self.start as usize..self.end() as usize).unwrap_or("")
    }
}

/// What kind of fault a diagnostic reports: the codes users see and look up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    /// The text is not of the language.
    Syntax,
    /// The text is too long, too deep, or what it stands for too large.
    TooComplex,
    /// A name of a column, variable, table or database that nothing has.
    UnknownName,
    /// A function, aggregate or plugin that nothing has.
    UnknownFunction,
    /// A name that may not appear twice.
    DuplicateName,
    /// An operator or function does not take these types, or this number of arguments.
    WrongType,
    /// The value must be known before the query runs.
    NotConstant,
    /// A rows-and-columns value where a scalar was expected, or the reverse.
    WrongShape,
    /// A window function over rows without order.
    NotSerialized,
    /// A query parameter is missing or not of its type.
    Parameter,
    /// Part of the language that this implementation knows and does not have.
    NotSupported,
}

impl Code {
    /// The code of the query engine: `SYN0002`, `SEM0100`...
    pub fn engine(self) -> &'static str {
        match self {
            Self::Syntax | Self::TooComplex => "SYN0002",
            Self::UnknownName => "SEM0100",
            Self::UnknownFunction => "SEM0260",
            Self::DuplicateName => "SEM0041",
            Self::WrongType => "SEM0064",
            Self::NotConstant => "SEM0026",
            Self::WrongShape => "SEM0001",
            Self::NotSerialized => "SEM0032",
            Self::Parameter => "SEM0015",
            Self::NotSupported => "SEM0019",
        }
    }
}

/// One fault of a text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", code.engine())]
pub struct Diagnostic {
    /// What kind of fault.
    pub code: Code,
    /// What is wrong, as a sentence fragment naming the piece.
    pub message: String,
    /// Where. Within a stored function it is where that function is called.
    pub span: Span,
}

impl Diagnostic {
    /// A fault of this kind.
    pub fn new(code: Code, span: Span, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), span }
    }

    /// Line and column of the start, both from 1, columns in characters: `[line:position=1:10]`.
    pub fn position(&self, text: &str) -> Position {
        let mut start = (self.span.start as usize).min(text.len());
        while !text.is_char_boundary(start) {
            start -= 1;
        }
        let before = &text[..start];
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
        Position { line, column }
    }
}

/// A place in a text, as people count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_lines_and_characters() {
        let text = "T\n| where é == x";
        let at = text.find('x').unwrap();
        let fault = Diagnostic::new(Code::UnknownName, Span::new(at, at + 1), "name `x`");
        assert_eq!(fault.position(text).to_string(), "2:14");
        assert_eq!(fault.span.of(text), "x");
        assert_eq!(fault.to_string(), "SEM0100: name `x`");
    }
}
