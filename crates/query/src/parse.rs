//! Tokens to a query: recursive descent with a bound on depth and length.

use serde_json::Value;

use crate::ast::{Aggregate, Comparison, Expr, Function, Item, Operator, Path, Query, Select, Source, What};
use crate::lex::{Token, lex};

/// Deepest nesting of parentheses and NOT.
const DEPTH_MAX: usize = 64;
/// Longest `IN` list.
const LIST_LEN_MAX: usize = 1000;

/// Why a text is not a query.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum QueryError {
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
        /// What the grammar wants there.
        expected: &'static str,
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

pub(crate) fn parse(text: &str) -> Result<Query, QueryError> {
    let mut parser = Parser { tokens: lex(text)?, at: 0, depth: 0, alias: None };
    // The alias of FROM is needed to read the select list, so FROM is looked up first.
    parser.find_alias();
    parser.query()
}

struct Parser {
    tokens: Vec<(usize, Token)>,
    at: usize,
    depth: usize,
    alias: Option<String>,
}

impl Parser {
    fn query(&mut self) -> Result<Query, QueryError> {
        self.expect_word("SELECT")?;
        let top = if self.take_word("TOP") { Some(self.count()?) } else { None };
        let select = self.select()?;
        self.expect_word("FROM")?;
        let source = self.source()?;
        let condition = if self.take_word("WHERE") { Some(self.condition()?) } else { None };
        let group_by = if self.take_word("GROUP") { self.group_by()? } else { vec![] };
        self.take_symbol(";");
        if self.at < self.tokens.len() {
            return Err(self.unexpected("the end of the query"));
        }
        if !group_by.is_empty() && select == Select::Whole {
            return Err(QueryError::Unsupported("GROUP BY needs a list of attributes and aggregates"));
        }
        Ok(Query { source, top, select, condition, group_by })
    }

    fn find_alias(&mut self) {
        let is = |token: &Token, word: &str| matches!(token, Token::Word(w) if w.eq_ignore_ascii_case(word));
        let Some(from) = self.tokens.iter().position(|(_, t)| is(t, "FROM")) else { return };
        let mut rest = self.tokens[from + 1..].iter().map(|(_, t)| t).peekable();
        rest.next();
        while rest.next_if(|t| **t == Token::Symbol(".")).is_some() {
            rest.next();
        }
        rest.next_if(|t| is(t, "AS"));
        if let Some(Token::Word(word)) = rest.next()
            && !["WHERE", "GROUP"].iter().any(|k| word.eq_ignore_ascii_case(k))
        {
            self.alias = Some(word.clone());
        }
    }

    fn count(&mut self) -> Result<usize, QueryError> {
        let parens = self.take_symbol("(");
        let Some(Token::Integer(n)) = self.next() else { return Err(self.unexpected_last("a number after TOP")) };
        if parens {
            self.expect_symbol(")")?;
        }
        usize::try_from(n).map_err(|_| QueryError::Unsupported("TOP needs a positive number"))
    }

    fn select(&mut self) -> Result<Select, QueryError> {
        if self.take_symbol("*") {
            return Ok(Select::Whole);
        }
        let mut items = vec![self.item()?];
        while self.take_symbol(",") {
            items.push(self.item()?);
        }
        Ok(Select::Items(items))
    }

    fn item(&mut self) -> Result<Item, QueryError> {
        let what = match self.aggregate() {
            Some(aggregate) => {
                self.expect_symbol("(")?;
                let argument = if self.take_symbol("*") || self.peek() == Some(&Token::Symbol(")")) {
                    None
                } else {
                    Some(self.path()?)
                };
                self.expect_symbol(")")?;
                if argument.is_none() && aggregate != Aggregate::Count {
                    return Err(QueryError::Unsupported("this aggregate needs an attribute"));
                }
                What::Aggregate(aggregate, argument)
            }
            None => What::Attribute(self.path()?),
        };
        let alias = if self.take_word("AS") { Some(self.name()?) } else { None };
        Ok(Item { what, alias })
    }

    fn aggregate(&mut self) -> Option<Aggregate> {
        let Some(Token::Word(word)) = self.peek() else { return None };
        let all = [
            ("COUNT", Aggregate::Count),
            ("AVG", Aggregate::Avg),
            ("SUM", Aggregate::Sum),
            ("MIN", Aggregate::Min),
            ("MAX", Aggregate::Max),
        ];
        let found = all.iter().find(|(name, _)| word.eq_ignore_ascii_case(name))?.1;
        if self.tokens.get(self.at + 1).map(|(_, t)| t) != Some(&Token::Symbol("(")) {
            return None;
        }
        self.at += 1;
        Some(found)
    }

    fn source(&mut self) -> Result<Source, QueryError> {
        self.expect_word("devices")?;
        let source = if self.take_symbol(".") {
            match self.name()?.to_ascii_lowercase().as_str() {
                "modules" => Source::Modules,
                "jobs" => Source::Jobs,
                _ => return Err(self.unexpected_last("`devices`, `devices.modules` or `devices.jobs`")),
            }
        } else {
            Source::Devices
        };
        if self.alias.is_some() {
            self.take_word("AS");
            self.at += 1;
        }
        Ok(source)
    }

    fn group_by(&mut self) -> Result<Vec<Path>, QueryError> {
        self.expect_word("BY")?;
        let mut paths = vec![self.path()?];
        while self.take_symbol(",") {
            paths.push(self.path()?);
        }
        Ok(paths)
    }

    fn condition(&mut self) -> Result<Expr, QueryError> {
        self.nested(|p| {
            let mut left = p.conjunction()?;
            while p.take_word("OR") {
                left = Expr::Or(Box::new(left), Box::new(p.conjunction()?));
            }
            Ok(left)
        })
    }

    fn conjunction(&mut self) -> Result<Expr, QueryError> {
        let mut left = self.negation()?;
        while self.take_word("AND") {
            left = Expr::And(Box::new(left), Box::new(self.negation()?));
        }
        Ok(left)
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
                return Ok(Expr::Compare(comparison, Box::new(left), Box::new(self.sum()?)));
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
        let mut left = self.product()?;
        loop {
            let operator = match self.peek() {
                Some(Token::Symbol("+")) => Operator::Add,
                Some(Token::Symbol("-")) => Operator::Subtract,
                _ => return Ok(left),
            };
            self.at += 1;
            left = Expr::Arithmetic(operator, Box::new(left), Box::new(self.product()?));
        }
    }

    fn product(&mut self) -> Result<Expr, QueryError> {
        let mut left = self.primary()?;
        loop {
            let operator = match self.peek() {
                Some(Token::Symbol("*")) => Operator::Multiply,
                Some(Token::Symbol("/")) => Operator::Divide,
                Some(Token::Symbol("%")) => Operator::Remainder,
                _ => return Ok(left),
            };
            self.at += 1;
            left = Expr::Arithmetic(operator, Box::new(left), Box::new(self.primary()?));
        }
    }

    fn primary(&mut self) -> Result<Expr, QueryError> {
        if self.take_symbol("(") {
            let inner = self.condition()?;
            self.expect_symbol(")")?;
            return Ok(inner);
        }
        if self.take_symbol("-") {
            return self.nested(|p| {
                let zero = Box::new(Expr::Constant(0.into()));
                Ok(Expr::Arithmetic(Operator::Subtract, zero, Box::new(p.primary()?)))
            });
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
            Some(Token::Quoted(_)) => Ok(Expr::Attribute(self.path()?)),
            _ => Err(self.unexpected("a value, an attribute or a function")),
        }
    }

    fn constant(&mut self, value: Value) -> Result<Expr, QueryError> {
        self.at += 1;
        Ok(Expr::Constant(value))
    }

    fn word(&mut self, word: &str) -> Result<Expr, QueryError> {
        match word.to_ascii_lowercase().as_str() {
            "true" => return self.constant(true.into()),
            "false" => return self.constant(false.into()),
            "null" => return self.constant(Value::Null),
            "undefined" => {
                self.at += 1;
                return Ok(Expr::Undefined);
            }
            _ => {}
        }
        if self.tokens.get(self.at + 1).map(|(_, t)| t) == Some(&Token::Symbol("(")) {
            return self.call(word);
        }
        Ok(Expr::Attribute(self.path()?))
    }

    fn call(&mut self, name: &str) -> Result<Expr, QueryError> {
        let (function, arity) = match name.to_ascii_uppercase().as_str() {
            "IS_DEFINED" => (Function::IsDefined, 1),
            "STARTSWITH" | "STARTS_WITH" => (Function::StartsWith, 2),
            "ENDSWITH" | "ENDS_WITH" => (Function::EndsWith, 2),
            "CONTAINS" => (Function::Contains, 2),
            "ARRAY_CONTAINS" => (Function::ArrayContains, 2),
            _ => return Err(self.unexpected("a function of the query language")),
        };
        self.at += 1;
        self.expect_symbol("(")?;
        let arguments = self.expressions(")")?;
        if arguments.len() != arity {
            return Err(QueryError::Unsupported("wrong number of arguments for a function"));
        }
        Ok(Expr::Call(function, arguments))
    }

    /// A dotted path; a leading `devices` or alias is the document itself.
    fn path(&mut self) -> Result<Path, QueryError> {
        let mut path = vec![self.name()?];
        while self.take_symbol(".") {
            path.push(self.name()?);
        }
        let is_root = |name: &str| name.eq_ignore_ascii_case("devices") || self.alias.as_deref() == Some(name);
        if path.len() > 1 && is_root(&path[0]) {
            path.remove(0);
            if path.len() > 1 && ["jobs", "modules"].iter().any(|w| path[0].eq_ignore_ascii_case(w)) {
                path.remove(0);
            }
        }
        Ok(path)
    }

    fn name(&mut self) -> Result<String, QueryError> {
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

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|(_, token)| token)
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.peek().cloned();
        self.at += 1;
        token
    }

    fn take_word(&mut self, word: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Word(w)) if w.eq_ignore_ascii_case(word));
        self.at += usize::from(found);
        found
    }

    fn take_symbol(&mut self, symbol: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Symbol(s)) if *s == symbol);
        self.at += usize::from(found);
        found
    }

    fn expect_word(&mut self, word: &'static str) -> Result<(), QueryError> {
        if self.take_word(word) { Ok(()) } else { Err(self.unexpected(word)) }
    }

    fn expect_symbol(&mut self, symbol: &'static str) -> Result<(), QueryError> {
        if self.take_symbol(symbol) { Ok(()) } else { Err(self.unexpected(symbol)) }
    }

    fn unexpected(&self, expected: &'static str) -> QueryError {
        let found = match self.peek() {
            None => "the end of the query".to_owned(),
            Some(Token::Word(w) | Token::Quoted(w)) => format!("`{w}`"),
            Some(Token::Text(t)) => format!("'{t}'"),
            Some(Token::Number(n)) => n.to_string(),
            Some(Token::Integer(n)) => n.to_string(),
            Some(Token::Symbol(s)) => format!("`{s}`"),
        };
        QueryError::Syntax { expected, found }
    }

    fn unexpected_last(&mut self, expected: &'static str) -> QueryError {
        self.at -= 1;
        self.unexpected(expected)
    }
}
