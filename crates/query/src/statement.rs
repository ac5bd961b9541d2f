//! Tokens to a query: everything around the condition.

use crate::ast::{Aggregate, Item, Query, Select, Source, What};
use crate::lex::Token;
use crate::parse::{Names, Parser, QueryError};
use crate::path::{Path, last_name};

/// Most items in a select list, and most attributes to group by.
const ITEMS_MAX: usize = 100;

pub(crate) fn parse(text: &str) -> Result<Query, QueryError> {
    let mut parser = Parser::new(text, Names::Document)?;
    // The alias of FROM is needed to read the select list, so FROM is looked up first.
    parser.find_alias();
    parser.query()
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
        self.finish()?;
        let query = Query { source, top, select, condition, group_by };
        check(&query)?;
        Ok(query)
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
        usize::try_from(n).ok().filter(|n| *n > 0).ok_or(QueryError::Unsupported("TOP needs a positive number"))
    }

    fn select(&mut self) -> Result<Select, QueryError> {
        if self.take_symbol("*") {
            return Ok(Select::Whole);
        }
        let mut items = vec![self.item()?];
        while self.take_symbol(",") {
            if items.len() >= ITEMS_MAX {
                return Err(QueryError::Unsupported("the select list is longer than 100 items"));
            }
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
        let name = if self.take_word("AS") { self.name()? } else { name_of(&what) };
        Ok(Item { what, name })
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
            self.name()?;
        }
        Ok(source)
    }

    fn group_by(&mut self) -> Result<Vec<Path>, QueryError> {
        self.expect_word("BY")?;
        let mut paths = vec![self.path()?];
        while self.take_symbol(",") {
            if paths.len() >= ITEMS_MAX {
                return Err(QueryError::Unsupported("GROUP BY names more than 100 attributes"));
            }
            paths.push(self.path()?);
        }
        Ok(paths)
    }
}

/// Combinations the grammar lets through and the language does not.
fn check(query: &Query) -> Result<(), QueryError> {
    if !query.group_by.is_empty() && query.select == Select::Whole {
        return Err(QueryError::Unsupported("GROUP BY needs a list of attributes and aggregates"));
    }
    if query.source == Source::Jobs && query.select != Select::Whole {
        return Err(QueryError::Unsupported("queries over devices.jobs support SELECT * only"));
    }
    let Select::Items(items) = &query.select else { return Ok(()) };
    let ungrouped = |item: &Item| matches!(&item.what, What::Attribute(path) if !query.group_by.contains(path));
    if query.is_aggregate() && items.iter().any(ungrouped) {
        return Err(QueryError::Unsupported("an attribute beside aggregates must be in GROUP BY"));
    }
    Ok(())
}

fn name_of(what: &What) -> String {
    match what {
        What::Attribute(path) => last_name(path),
        What::Aggregate(Aggregate::Count, _) => "count".to_owned(),
        What::Aggregate(Aggregate::Avg, _) => "avg".to_owned(),
        What::Aggregate(Aggregate::Sum, _) => "sum".to_owned(),
        What::Aggregate(Aggregate::Min, _) => "min".to_owned(),
        What::Aggregate(Aggregate::Max, _) => "max".to_owned(),
    }
}
