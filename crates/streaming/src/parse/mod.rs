//! Tokens to tree, by recursive descent.
//!
//! Bounded: the length of the text, the nesting of expressions and queries, and the number of selects. What
//! the language has and this does not is refused by name.

mod expression;

use crate::ast::{Expr, Item};
use crate::ast::{Joined, Name, Query, Relation, Script, Select, Statement, Step};
use crate::error::Error;
use crate::lex::{self, At, Token};

/// Bytes of a text.
pub const TEXT_BYTES_MAX: usize = 256 * 1024;
/// Levels of nesting of an expression, and of queries within queries.
pub const NESTING_MAX: u16 = 64;
/// `SELECT`s of a text.
pub const SELECTS_MAX: usize = 200;
/// Things in one list: what is selected, arguments, joins.
pub const LIST_MAX: usize = 1024;

/// Words that are no names unless in brackets.
const RESERVED: &[&str] = &[
    "select", "from", "where", "group", "having", "join", "on", "union", "into", "over", "with", "as", "and", "or",
    "not", "between", "in", "like", "is", "case", "when", "then", "else", "end", "order", "by", "null", "cast",
    "try_cast",
];

/// Words that go on with a query, and so are no names behind something that may have one without `AS`.
const FOLLOWING: &[&str] = &[
    "left",
    "right",
    "full",
    "inner",
    "cross",
    "outer",
    "timestamp",
    "partition",
    "limit",
    "escape",
    "apply",
    "filter",
    "except",
    "intersect",
];

pub(crate) struct Parser<'a> {
    text: &'a str,
    tokens: Vec<(Token, At)>,
    position: usize,
    nesting: u16,
    selects: usize,
    /// Steps made of queries in `FROM (…)`.
    inner: Vec<Step>,
}

/// The tree of a text.
pub(crate) fn parse(text: &str) -> Result<Script, Error> {
    if text.len() > TEXT_BYTES_MAX {
        let message = format!("the text is longer than {TEXT_BYTES_MAX} bytes");
        return Err(lex::error(text, At(0), message));
    }
    let mut parser =
        Parser { text, tokens: lex::tokens(text)?, position: 0, nesting: 0, selects: 0, inner: Vec::new() };
    parser.script()
}

impl Parser<'_> {
    fn script(&mut self) -> Result<Script, Error> {
        let mut script = Script::default();
        while self.accept_symbol(";") {}
        if self.accept("with") {
            loop {
                let name = self.name("the name of a step")?;
                self.expect("as")?;
                self.expect_symbol("(")?;
                let query = self.query()?;
                self.expect_symbol(")")?;
                if let Some(into) = query.selects.iter().find_map(|select| select.into.as_ref()) {
                    return Err(self.error(into.at, "a step has no INTO"));
                }
                script.steps.append(&mut self.inner);
                script.steps.push(Step { name, query });
                if !self.accept_symbol(",") {
                    break;
                }
            }
            while self.accept_symbol(";") {}
        }
        while *self.peek() != Token::End {
            let at = self.at();
            if self.is("create") {
                return Err(self.error(at, "not implemented: CREATE statements"));
            }
            let mut query = self.query()?;
            let mut into = query.selects.iter_mut().filter_map(|select| select.into.take());
            let output = into.next();
            if let Some(second) = into.next() {
                return Err(self.error(second.at, "a statement has one INTO"));
            }
            let output = output.unwrap_or(Name { text: "output".to_owned(), at });
            script.steps.append(&mut self.inner);
            script.statements.push(Statement { output, query });
            if !self.accept_symbol(";") && *self.peek() != Token::End && !self.is("select") {
                return Err(self.unexpected("`SELECT`, `;` or the end of the text"));
            }
            while self.accept_symbol(";") {}
        }
        if script.statements.is_empty() {
            return Err(self.unexpected("a SELECT statement"));
        }
        Ok(script)
    }

    fn query(&mut self) -> Result<Query, Error> {
        let mut selects = vec![self.select()?];
        loop {
            let at = self.at();
            if self.is("except") || self.is("intersect") {
                let word = self.peek().describe();
                return Err(self.error(at, format!("not implemented: {word}")));
            }
            if !self.accept("union") {
                return Ok(Query { selects });
            }
            self.accept("all");
            selects.push(self.select()?);
        }
    }

    fn select(&mut self) -> Result<Select, Error> {
        let at = self.at();
        self.selects += 1;
        if self.selects > SELECTS_MAX {
            return Err(self.error(at, format!("more than {SELECTS_MAX} SELECTs")));
        }
        self.expect("select")?;
        for word in ["distinct", "top"] {
            if self.is(word) && !self.next_is_symbol(",") && !self.next_is_symbol(".") {
                let message = format!("not implemented: SELECT {}", word.to_uppercase());
                return Err(self.error(self.at(), message));
            }
        }
        let items = self.list("things selected", Self::item)?;
        let into = if self.accept("into") {
            let output = self.name("the name of an output")?;
            if self.is("partition") {
                return Err(self.error(self.at(), "not implemented: INTO … PARTITION BY"));
            }
            Some(output)
        } else {
            None
        };
        self.expect("from")?;
        let from = self.relation()?;
        let joined = self.joined()?;
        let filter = self.clause("where")?;
        let mut group = Vec::new();
        if self.accept("group") {
            self.expect("by")?;
            group = self.list("keys of a group", Self::expr)?;
        }
        let having = self.clause("having")?;
        if self.is("order") {
            return Err(self.error(self.at(), "not implemented: ORDER BY (a stream has no end)"));
        }
        Ok(Select { at, items, into, from, joined, filter, group, having })
    }

    fn clause(&mut self, word: &str) -> Result<Option<Expr>, Error> {
        if self.accept(word) { self.expr().map(Some) } else { Ok(None) }
    }

    fn item(&mut self) -> Result<Item, Error> {
        let at = self.at();
        if self.accept_symbol("*") {
            return Ok(Item::All(at));
        }
        if let Token::Word(word, _) = self.peek().clone()
            && self.next_is_symbol(".")
            && self.tokens.get(self.position + 2).map(|(token, _)| token) == Some(&Token::Symbol("*"))
        {
            self.position += 3;
            return Ok(Item::AllOf(Name { text: word, at }));
        }
        let value = self.expr()?;
        let name = self.alias("the name of a column")?;
        Ok(Item::One(value, name))
    }

    fn alias(&mut self, what: &str) -> Result<Option<Name>, Error> {
        if self.accept("as") {
            return self.name(what).map(Some);
        }
        match self.peek() {
            Token::Word(word, bracketed) if *bracketed || !(reserved(word) || is_one_of(word, FOLLOWING)) => {
                self.name(what).map(Some)
            }
            _ => Ok(None),
        }
    }

    fn relation(&mut self) -> Result<Relation, Error> {
        let at = self.at();
        if self.accept_symbol("(") {
            self.descend(at)?;
            let query = self.query()?;
            self.nesting -= 1;
            self.expect_symbol(")")?;
            if let Some(into) = query.selects.iter().find_map(|select| select.into.as_ref()) {
                return Err(self.error(into.at, "a query within a query has no INTO"));
            }
            // A name that no text can write, because brackets end at it.
            let name = Name { text: format!("]{}", at.0), at };
            let alias = self.alias("the name of the rows")?;
            self.inner.push(Step { name: name.clone(), query });
            return Ok(Relation { name, alias, timestamp: None, over: None, partition: None });
        }
        let name = self.name("the name of an input or step")?;
        let mut relation =
            Relation { alias: self.alias("the name of the rows")?, name, timestamp: None, over: None, partition: None };
        loop {
            let at = self.at();
            let given = if self.accept("timestamp") {
                self.expect("by")?;
                let given = relation.timestamp.replace(self.expr()?).is_some();
                if self.accept("over") {
                    relation.over = Some(self.expr()?);
                }
                given
            } else if self.accept("partition") {
                self.expect("by")?;
                relation.partition.replace(self.expr()?).is_some()
            } else {
                // The alias may follow the clauses.
                if relation.alias.is_none() {
                    relation.alias = self.alias("the name of the rows")?;
                }
                return Ok(relation);
            };
            if given {
                return Err(self.error(at, "this was given already"));
            }
        }
    }

    fn joined(&mut self) -> Result<Vec<Joined>, Error> {
        let mut joined = Vec::new();
        loop {
            let at = self.at();
            if joined.len() > LIST_MAX {
                return Err(self.error(at, format!("more than {LIST_MAX} joins")));
            }
            if self.is_symbol(",") {
                return Err(self.error(at, "not implemented: FROM with several inputs; write JOIN"));
            }
            for word in ["right", "full"] {
                if self.is(word) {
                    let message = format!("not implemented: {} JOIN", word.to_uppercase());
                    return Err(self.error(at, message));
                }
            }
            let cross = self.is("cross");
            if cross || self.is("outer") {
                self.position += 1;
                if self.is("join") {
                    return Err(self.error(at, "not implemented: CROSS JOIN"));
                }
                self.expect("apply")?;
                joined.push(self.apply(!cross)?);
                continue;
            }
            let outer = self.accept("left");
            if outer {
                self.accept("outer");
            } else {
                let inner = self.accept("inner");
                if !inner && !self.is("join") {
                    return Ok(joined);
                }
            }
            self.expect("join")?;
            let relation = self.relation()?;
            self.expect("on")?;
            joined.push(Joined::Join { outer, relation, on: self.expr()? });
        }
    }

    fn apply(&mut self, outer: bool) -> Result<Joined, Error> {
        let at = self.at();
        let function = self.name("GetArrayElements or GetRecordProperties")?;
        let properties = match function.text.to_ascii_lowercase().as_str() {
            "getarrayelements" => false,
            "getrecordproperties" => true,
            _ => {
                let message = format!("not implemented: APPLY of {}", function.text);
                return Err(self.error(at, message));
            }
        };
        self.expect_symbol("(")?;
        let argument = self.expr()?;
        self.expect_symbol(")")?;
        let alias = self
            .alias("the name of the elements")?
            .ok_or_else(|| self.unexpected("AS and the name of the elements"))?;
        Ok(Joined::Apply { outer, properties, argument, alias })
    }

    // What all rules are made of.

    fn list<T>(&mut self, what: &str, mut one: impl FnMut(&mut Self) -> Result<T, Error>) -> Result<Vec<T>, Error> {
        let mut items = vec![one(self)?];
        while self.accept_symbol(",") {
            if items.len() >= LIST_MAX {
                return Err(self.error(self.at(), format!("more than {LIST_MAX} {what}")));
            }
            items.push(one(self)?);
        }
        Ok(items)
    }

    fn descend(&mut self, at: At) -> Result<(), Error> {
        self.nesting += 1;
        if self.nesting > NESTING_MAX {
            return Err(self.error(at, format!("nested deeper than {NESTING_MAX} levels")));
        }
        Ok(())
    }

    fn peek(&self) -> &Token {
        &self.tokens[self.position.min(self.tokens.len() - 1)].0
    }

    fn at(&self) -> At {
        self.tokens[self.position.min(self.tokens.len() - 1)].1
    }

    fn next_is_symbol(&self, symbol: &str) -> bool {
        matches!(self.tokens.get(self.position + 1), Some((Token::Symbol(next), _)) if *next == symbol)
    }

    fn is(&self, keyword: &str) -> bool {
        matches!(self.peek(), Token::Word(word, false) if word.eq_ignore_ascii_case(keyword))
    }

    fn accept(&mut self, keyword: &str) -> bool {
        let found = self.is(keyword);
        self.position += usize::from(found);
        found
    }

    fn expect(&mut self, keyword: &str) -> Result<(), Error> {
        if self.accept(keyword) { Ok(()) } else { Err(self.unexpected(&format!("`{}`", keyword.to_uppercase()))) }
    }

    fn is_symbol(&self, symbol: &str) -> bool {
        matches!(self.peek(), Token::Symbol(found) if *found == symbol)
    }

    fn accept_symbol(&mut self, symbol: &str) -> bool {
        let found = self.is_symbol(symbol);
        self.position += usize::from(found);
        found
    }

    fn expect_symbol(&mut self, symbol: &str) -> Result<(), Error> {
        if self.accept_symbol(symbol) { Ok(()) } else { Err(self.unexpected(&format!("`{symbol}`"))) }
    }

    fn name(&mut self, what: &str) -> Result<Name, Error> {
        let at = self.at();
        match self.peek().clone() {
            Token::Word(text, bracketed) if bracketed || !reserved(&text) => {
                self.position += 1;
                Ok(Name { text, at })
            }
            _ => Err(self.unexpected(what)),
        }
    }

    fn unexpected(&self, wanted: &str) -> Error {
        let message = format!("expected {wanted}, found {}", self.peek().describe());
        self.error(self.at(), message)
    }

    fn error(&self, at: At, message: impl Into<String>) -> Error {
        lex::error(self.text, at, message)
    }
}

fn reserved(word: &str) -> bool {
    is_one_of(word, RESERVED)
}

fn is_one_of(word: &str, words: &[&str]) -> bool {
    words.iter().any(|one| word.eq_ignore_ascii_case(one))
}
