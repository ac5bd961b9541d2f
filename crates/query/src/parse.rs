//! Tokens to expressions: recursive descent with a bound on depth, lists and length.

use std::borrow::Cow;

use serde_json::Value;

use crate::ast::{Comparison, Expr, Operator, Reference};
use crate::functions;
use crate::lex::{Token, lex};
use crate::path::{Path, Step, canonical};

/// Longest query or condition in characters (query language reference).
pub const TEXT_LEN_MAX: usize = 8192;
/// Deepest nesting of parentheses, NOT and arguments.
const DEPTH_MAX: usize = 64;
/// Longest `IN` list.
const LIST_LEN_MAX: usize = 1000;

/// Why a text is not a query.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum QueryError {
    /// Longer than the language allows.
    #[error("longer than {TEXT_LEN_MAX} characters")]
    TooLong,
    /// A piece of text that is no token.
    #[error("{what} at character {at}")]
    Lexical {
        /// Byte position.
        at: usize,
        /// What is there.
        what: &'static str,
    },
    /// Something else was expected.
    #[error("expected {expected} but found {found}")]
    Syntax {
        /// Byte position.
        at: usize,
        /// What the grammar wants there.
        expected: Cow<'static, str>,
        /// What stands there.
        found: String,
    },
    /// Nested deeper than supported.
    #[error("nested deeper than {DEPTH_MAX} levels")]
    TooDeep,
    /// List longer than supported.
    #[error("list is longer than {LIST_LEN_MAX} items")]
    ListTooLong,
    /// A combination the language does not allow.
    #[error("{0}")]
    Unsupported(&'static str),
}

impl QueryError {
    /// Where in the text it went wrong, in bytes, when one place is to blame.
    pub fn position(&self) -> Option<usize> {
        match self {
            Self::Lexical { at, .. } | Self::Syntax { at, .. } => Some(*at),
            _ => None,
        }
    }
}

/// What names stand for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Names {
    /// Places in a document: twin and job queries.
    Document,
    /// Parts of a message: routes.
    Message,
}

pub(crate) struct Parser {
    pub(crate) tokens: Vec<(usize, Token)>,
    pub(crate) at: usize,
    pub(crate) alias: Option<String>,
    depth: usize,
    end: usize,
    names: Names,
}

impl Parser {
    pub(crate) fn new(text: &str, names: Names) -> Result<Self, QueryError> {
        // A character has at most four bytes: count only what may be short enough.
        if text.len() > 4 * TEXT_LEN_MAX || text.chars().count() > TEXT_LEN_MAX {
            return Err(QueryError::TooLong);
        }
        Ok(Self { tokens: lex(text)?, at: 0, alias: None, depth: 0, end: text.len(), names })
    }

    pub(crate) fn finish(&mut self) -> Result<(), QueryError> {
        self.take_symbol(";");
        if self.at < self.tokens.len() { Err(self.unexpected("the end of the query")) } else { Ok(()) }
    }

    pub(crate) fn condition(&mut self) -> Result<Expr, QueryError> {
        self.nested(|p| p.chain("OR", Expr::Any, |p| p.chain("AND", Expr::All, Self::negation)))
    }

    fn chain(
        &mut self,
        word: &str,
        join: fn(Vec<Expr>) -> Expr,
        part: impl Fn(&mut Self) -> Result<Expr, QueryError>,
    ) -> Result<Expr, QueryError> {
        let first = part(self)?;
        if !self.take_word(word) {
            return Ok(first);
        }
        let mut parts = vec![first, part(self)?];
        while self.take_word(word) {
            parts.push(part(self)?);
        }
        Ok(join(parts))
    }

    fn negation(&mut self) -> Result<Expr, QueryError> {
        if self.take_word("NOT") {
            return self.nested(|p| Ok(Expr::Not(Box::new(p.negation()?))));
        }
        self.comparison()
    }

    fn comparison(&mut self) -> Result<Expr, QueryError> {
        let left = self.sum()?;
        if self.take_word("IN") {
            return self.list(left, false);
        }
        if self.take_word("NIN") {
            return self.list(left, true);
        }
        if self.take_word("NOT") {
            self.expect_word("IN")?;
            return self.list(left, true);
        }
        let operators = [
            ("=", Comparison::Equal),
            ("!=", Comparison::NotEqual),
            ("<>", Comparison::NotEqual),
            ("<=", Comparison::LessOrEqual),
            (">=", Comparison::GreaterOrEqual),
            ("<", Comparison::Less),
            (">", Comparison::Greater),
        ];
        for (symbol, comparison) in operators {
            if self.take_symbol(symbol) {
                let right = self.sum()?;
                return Ok(compare(comparison, left, right));
            }
        }
        Ok(left)
    }

    fn list(&mut self, needle: Expr, negated: bool) -> Result<Expr, QueryError> {
        let close = if self.take_symbol("[") {
            "]"
        } else {
            self.expect_symbol("(")?;
            ")"
        };
        let list = self.expressions(close)?;
        Ok(Expr::In { needle: Box::new(needle), list, negated })
    }

    fn expressions(&mut self, close: &'static str) -> Result<Vec<Expr>, QueryError> {
        let mut list = vec![];
        while !self.take_symbol(close) {
            if !list.is_empty() {
                self.expect_symbol(",")?;
            }
            if list.len() >= LIST_LEN_MAX {
                return Err(QueryError::ListTooLong);
            }
            list.push(self.condition()?);
        }
        Ok(list)
    }

    fn sum(&mut self) -> Result<Expr, QueryError> {
        self.arithmetic(&[("+", Operator::Add), ("-", Operator::Subtract)], |p| {
            let products = [("*", Operator::Multiply), ("/", Operator::Divide), ("%", Operator::Remainder)];
            p.arithmetic(&products, Self::primary)
        })
    }

    fn arithmetic(
        &mut self,
        operators: &[(&'static str, Operator)],
        part: impl Fn(&mut Self) -> Result<Expr, QueryError>,
    ) -> Result<Expr, QueryError> {
        let first = part(self)?;
        let mut rest = vec![];
        while let Some((_, operator)) = operators.iter().find(|(symbol, _)| self.take_symbol(symbol)) {
            rest.push((*operator, part(self)?));
        }
        Ok(if rest.is_empty() { first } else { Expr::Arithmetic(Box::new(first), rest) })
    }

    fn primary(&mut self) -> Result<Expr, QueryError> {
        if self.take_symbol("(") {
            let inner = self.condition()?;
            self.expect_symbol(")")?;
            return Ok(inner);
        }
        if self.take_symbol("-") {
            return self.nested(|p| Ok(negative(p.primary()?)));
        }
        if self.take_symbol("[") {
            let items = self.expressions("]")?;
            let constants = items.into_iter().map(|item| match item {
                Expr::Constant(value) => Ok(value),
                _ => Err(QueryError::Unsupported("an array may hold constants only")),
            });
            return constants.collect::<Result<_, _>>().map(|all| Expr::Constant(Value::Array(all)));
        }
        match self.peek().cloned() {
            Some(Token::Text(text)) => self.constant(text.into()),
            Some(Token::Integer(n)) => self.constant(n.into()),
            Some(Token::Number(n)) => self.constant(n.into()),
            Some(Token::Word(word)) => self.word(&word),
            Some(Token::Braced(name)) if self.names == Names::Message => {
                self.at += 1;
                Ok(Expr::Reference(Reference::Property(name)))
            }
            Some(Token::Quoted(_)) => self.reference(),
            _ => Err(self.unexpected("a value, an attribute or a function")),
        }
    }

    fn constant(&mut self, value: Value) -> Result<Expr, QueryError> {
        self.at += 1;
        Ok(Expr::Constant(value))
    }

    fn word(&mut self, word: &str) -> Result<Expr, QueryError> {
        if self.tokens.get(self.at + 1).map(|(_, t)| t) == Some(&Token::Symbol("(")) {
            return self.call(word);
        }
        match word.to_ascii_lowercase().as_str() {
            "true" => self.constant(true.into()),
            "false" => self.constant(false.into()),
            "null" => self.constant(Value::Null),
            "undefined" => {
                self.at += 1;
                Ok(Expr::Undefined)
            }
            "and" | "or" | "in" | "nin" => Err(self.unexpected("a value, an attribute or a function")),
            _ => self.reference(),
        }
    }

    fn reference(&mut self) -> Result<Expr, QueryError> {
        let mut path = self.steps()?;
        let reference = match self.names {
            Names::Document => Reference::Document(self.rooted(path)),
            Names::Message => match &path[0] {
                Step::Name(name) if name.eq_ignore_ascii_case("$body") => Reference::Body(path.split_off(1)),
                Step::Name(name) if name.eq_ignore_ascii_case("$twin") => {
                    let mut inner = path.split_off(1);
                    canonical(&mut inner);
                    Reference::Twin(inner)
                }
                _ => {
                    let dotted = dotted(&path).ok_or(QueryError::Unsupported("only $body and $twin have items"))?;
                    match dotted.strip_prefix('$') {
                        Some(system) => Reference::System(system.to_owned()),
                        None => Reference::Property(dotted),
                    }
                }
            },
        };
        Ok(Expr::Reference(reference))
    }

    fn call(&mut self, name: &str) -> Result<Expr, QueryError> {
        let Some((function, arity)) = functions::find(name) else {
            return Err(self.unexpected("a function of the query language"));
        };
        self.at += 1;
        self.expect_symbol("(")?;
        let arguments = self.expressions(")")?;
        if !arity.contains(&arguments.len()) {
            return Err(QueryError::Unsupported("wrong number of arguments for a function"));
        }
        Ok(Expr::Call(function, arguments))
    }

    /// A dotted path from the document's root; a leading `devices` or alias is the document itself.
    pub(crate) fn path(&mut self) -> Result<Path, QueryError> {
        let path = self.steps()?;
        Ok(self.rooted(path))
    }

    fn rooted(&self, mut path: Path) -> Path {
        let first_is = |path: &Path, word: &str| {
            path.len() > 1 && matches!(&path[0], Step::Name(name) if name.eq_ignore_ascii_case(word))
        };
        let by_alias = self.alias.as_ref().is_some_and(|alias| first_is(&path, alias));
        if by_alias || first_is(&path, "devices") {
            path.remove(0);
            if !by_alias && (first_is(&path, "jobs") || first_is(&path, "modules")) {
                path.remove(0);
            }
        }
        canonical(&mut path);
        path
    }

    /// `name`, `.name`, `[3]`, `[[name]]` in a row.
    fn steps(&mut self) -> Result<Path, QueryError> {
        let mut path = vec![Step::Name(self.name()?)];
        loop {
            if self.take_symbol(".") {
                path.push(Step::Name(self.name()?));
            } else if let Some(Token::Quoted(name)) = self.peek().cloned() {
                self.at += 1;
                path.push(Step::Name(name));
            } else if self.take_symbol("[") {
                let Some(Token::Integer(index)) = self.next() else {
                    return Err(self.unexpected_last("the number of an item"));
                };
                let index = usize::try_from(index).map_err(|_| self.unexpected_last("the number of an item"))?;
                self.expect_symbol("]")?;
                path.push(Step::Index(index));
            } else {
                return Ok(path);
            }
        }
    }

    pub(crate) fn name(&mut self) -> Result<String, QueryError> {
        match self.next() {
            Some(Token::Word(name) | Token::Quoted(name)) => Ok(name),
            _ => Err(self.unexpected_last("a name")),
        }
    }

    fn nested<T>(&mut self, inner: impl FnOnce(&mut Self) -> Result<T, QueryError>) -> Result<T, QueryError> {
        if self.depth >= DEPTH_MAX {
            return Err(QueryError::TooDeep);
        }
        self.depth += 1;
        let result = inner(self);
        self.depth -= 1;
        result
    }

    pub(crate) fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|(_, token)| token)
    }

    pub(crate) fn next(&mut self) -> Option<Token> {
        let token = self.peek().cloned();
        self.at += 1;
        token
    }

    pub(crate) fn take_word(&mut self, word: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Word(w)) if w.eq_ignore_ascii_case(word));
        self.at += usize::from(found);
        found
    }

    pub(crate) fn take_symbol(&mut self, symbol: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Symbol(s)) if *s == symbol);
        self.at += usize::from(found);
        found
    }

    pub(crate) fn expect_word(&mut self, word: &'static str) -> Result<(), QueryError> {
        if self.take_word(word) { Ok(()) } else { Err(self.unexpected(format!("`{word}`"))) }
    }

    pub(crate) fn expect_symbol(&mut self, symbol: &'static str) -> Result<(), QueryError> {
        if self.take_symbol(symbol) { Ok(()) } else { Err(self.unexpected(format!("`{symbol}`"))) }
    }

    pub(crate) fn unexpected(&self, expected: impl Into<Cow<'static, str>>) -> QueryError {
        let found = match self.peek() {
            None => "the end of the query".to_owned(),
            Some(Token::Word(w) | Token::Quoted(w)) => format!("`{w}`"),
            Some(Token::Braced(w)) => format!("`{{{w}}}`"),
            Some(Token::Text(t)) => format!("'{t}'"),
            Some(Token::Number(n)) => n.to_string(),
            Some(Token::Integer(n)) => n.to_string(),
            Some(Token::Symbol(s)) => format!("`{s}`"),
        };
        let at = self.tokens.get(self.at).map_or(self.end, |(at, _)| *at);
        QueryError::Syntax { at, expected: expected.into(), found }
    }

    pub(crate) fn unexpected_last(&mut self, expected: &'static str) -> QueryError {
        self.at = self.at.saturating_sub(1);
        self.unexpected(expected)
    }
}

/// `x = undefined` asks whether x is missing; every other comparison with it is undefined.
fn compare(comparison: Comparison, left: Expr, right: Expr) -> Expr {
    let is_defined = |expr| Expr::Call(crate::ast::Function::IsDefined, vec![expr]);
    match (comparison, left, right) {
        (Comparison::Equal, asked, Expr::Undefined) | (Comparison::Equal, Expr::Undefined, asked) => {
            Expr::Not(Box::new(is_defined(asked)))
        }
        (Comparison::NotEqual, asked, Expr::Undefined) | (Comparison::NotEqual, Expr::Undefined, asked) => {
            is_defined(asked)
        }
        (comparison, left, right) => Expr::Compare(comparison, Box::new(left), Box::new(right)),
    }
}

/// A negative number is a constant.
fn negative(inner: Expr) -> Expr {
    if let Expr::Constant(Value::Number(number)) = &inner {
        if let Some(integer) = number.as_i64().and_then(i64::checked_neg) {
            return Expr::Constant(integer.into());
        }
        if let Some(float) = number.as_f64() {
            return Expr::Constant((-float).into());
        }
    }
    Expr::Negative(Box::new(inner))
}

/// Names joined by dots: an application property may have dots in its name.
fn dotted(path: &[Step]) -> Option<String> {
    let names: Option<Vec<&str>> = path
        .iter()
        .map(|step| match step {
            Step::Name(name) => Some(name.as_str()),
            Step::Index(_) => None,
        })
        .collect();
    names.map(|names| names.join("."))
}
