//! Texts to queries.

use serde_json::Value;

use super::ast::{Check, Column, Comparison, Direction, Edge, Expr, Operand, Query, Reference, Select, Slot, TextTest};
use super::lex::{QueryError, Token, tokens};
use super::{COLUMNS_MAX, DEPTH_MAX, HOPS_MAX, IN_MAX, JOINS_MAX, LOGICAL_MAX, NAMES_MAX, PATH_MAX};

type Parsed<T> = Result<T, QueryError>;

/// Words that no alias can be.
const KEYWORDS: [&str; 14] =
    ["SELECT", "TOP", "FROM", "JOIN", "RELATED", "MATCH", "WHERE", "AND", "OR", "NOT", "IN", "NIN", "AS", "NULL"];

/// A path as it is written, before it is known what there is.
type Path = (usize, Vec<String>);

enum Wanted {
    All,
    Count,
    Columns(Vec<(Path, Option<String>)>),
}

impl Query {
    /// Parses a query.
    ///
    /// # Errors
    /// Says what is wrong, and where.
    pub fn parse(text: &str) -> Result<Self, QueryError> {
        let mut parser = Parser { tokens: tokens(text)?, at: 0, logical: 0, query: empty(text) };
        parser.keyword("SELECT")?;
        parser.top()?;
        let wanted = parser.wanted()?;
        parser.keyword("FROM")?;
        parser.source()?;
        if parser.is_keyword("WHERE") {
            parser.at += 1;
            let condition = parser.expression(0)?;
            parser.query.conditions = match condition {
                Expr::And(all) => all,
                one => vec![one],
            };
        }
        let (position, token) = parser.peek();
        if *token != Token::End {
            let what = format!("{} does not belong there", token.told());
            return Err(QueryError::new(position, what));
        }
        parser.query.select = parser.select(wanted)?;
        if parser.query.top.is_some() && matches!(parser.query.select, Select::Count) {
            return Err(QueryError::new(1, "`TOP` does not go with `COUNT()`"));
        }
        Ok(parser.query)
    }
}

fn empty(text: &str) -> Query {
    Query {
        text: text.to_owned(),
        select: Select::All,
        top: None,
        nodes: vec![],
        links: vec![],
        edges: vec![],
        is_match: false,
        conditions: vec![],
    }
}

struct Parser {
    tokens: Vec<(usize, Token)>,
    at: usize,
    logical: usize,
    query: Query,
}

impl Parser {
    fn peek(&self) -> (usize, &Token) {
        self.tokens.get(self.at).map_or((0, &Token::End), |(position, token)| (*position, token))
    }

    fn wrong<T>(&self, wanted: &str) -> Parsed<T> {
        let (position, token) = self.peek();
        Err(QueryError::new(position, format!("expected {wanted}, found {}", token.told())))
    }

    fn is_keyword(&self, keyword: &str) -> bool {
        matches!(self.peek().1, Token::Word(word) if word.eq_ignore_ascii_case(keyword))
    }

    fn accept_keyword(&mut self, keyword: &str) -> bool {
        let is_there = self.is_keyword(keyword);
        self.at += usize::from(is_there);
        is_there
    }

    fn keyword(&mut self, keyword: &str) -> Parsed<()> {
        if self.accept_keyword(keyword) { Ok(()) } else { self.wrong(&format!("`{keyword}`")) }
    }

    fn is_sign(&self, sign: &str) -> bool {
        matches!(self.peek().1, Token::Sign(one) if *one == sign)
    }

    fn accept(&mut self, sign: &str) -> bool {
        let is_there = self.is_sign(sign);
        self.at += usize::from(is_there);
        is_there
    }

    fn sign(&mut self, sign: &str) -> Parsed<()> {
        if self.accept(sign) { Ok(()) } else { self.wrong(&format!("`{sign}`")) }
    }

    fn whole(&mut self) -> Parsed<u64> {
        match self.peek().1 {
            Token::Literal(Value::Number(number)) if number.is_u64() => {
                let number = number.as_u64().unwrap_or_default();
                self.at += 1;
                Ok(number)
            }
            _ => self.wrong("a whole number"),
        }
    }

    /// A name that is no keyword.
    fn name(&mut self, what: &str) -> Parsed<String> {
        let name = match self.peek().1 {
            Token::Word(word) if !KEYWORDS.iter().any(|keyword| keyword.eq_ignore_ascii_case(word)) => word.clone(),
            Token::Escaped(word) => word.clone(),
            _ => return self.wrong(what),
        };
        self.at += 1;
        Ok(name)
    }

    fn alias(&mut self) -> Option<String> {
        self.name("a name").ok()
    }

    /// What follows a point may be any word.
    fn path(&mut self) -> Parsed<Path> {
        let position = self.peek().0;
        let mut path = vec![self.name("a name")?];
        while self.accept(".") {
            let step = match self.peek().1 {
                Token::Word(word) | Token::Escaped(word) => word.clone(),
                _ => return self.wrong("a name"),
            };
            self.at += 1;
            path.push(step);
            if path.len() > PATH_MAX {
                return Err(QueryError::new(position, format!("a path has at most {PATH_MAX} steps")));
            }
        }
        if self.is_sign("[") {
            return self.wrong("no `[`: items of arrays cannot be named; `ARRAY_CONTAINS` looks for them");
        }
        Ok((position, path))
    }

    fn top(&mut self) -> Parsed<()> {
        if self.accept_keyword("TOP") {
            self.sign("(")?;
            self.query.top = Some(self.whole()?);
            self.sign(")")?;
        }
        Ok(())
    }

    fn wanted(&mut self) -> Parsed<Wanted> {
        if self.accept("*") {
            return Ok(Wanted::All);
        }
        let is_call = matches!(self.tokens.get(self.at + 1), Some((_, Token::Sign("("))));
        if self.is_keyword("COUNT") && is_call {
            self.at += 2;
            self.sign(")")?;
            return Ok(Wanted::Count);
        }
        let mut columns = vec![];
        loop {
            let path = self.path()?;
            let name = if self.accept_keyword("AS") { Some(self.name("a name")?) } else { None };
            columns.push((path, name));
            if columns.len() > COLUMNS_MAX {
                return self.wrong(&format!("at most {COLUMNS_MAX} columns"));
            }
            if !self.accept(",") {
                return Ok(Wanted::Columns(columns));
            }
        }
    }

    fn source(&mut self) -> Parsed<()> {
        if self.accept_keyword("RELATIONSHIPS") {
            let name = self.alias();
            self.query.links.push(name.unwrap_or_default());
            return Ok(());
        }
        if !self.accept_keyword("DIGITALTWINS") {
            return self.wrong("`DIGITALTWINS` or `RELATIONSHIPS`");
        }
        if self.accept_keyword("MATCH") {
            return self.pattern();
        }
        let name = self.alias();
        self.query.nodes.push(name);
        if self.accept_keyword("MATCH") {
            self.query.nodes.clear();
            return self.pattern();
        }
        let mut joins = 0;
        while self.is_keyword("JOIN") {
            joins += 1;
            if joins > JOINS_MAX {
                return self.wrong(&format!("at most {JOINS_MAX} joins"));
            }
            self.at += 1;
            self.join()?;
        }
        Ok(())
    }

    fn join(&mut self) -> Parsed<()> {
        let position = self.peek().0;
        let name = self.name("a name for the twins that are joined")?;
        self.check_new(position, &name)?;
        self.keyword("RELATED")?;
        let (position, path) = self.path()?;
        let [left, relationship] = path.as_slice() else {
            return Err(QueryError::new(position, "`RELATED` is followed by a name, a point and a relationship"));
        };
        let left = self.query.nodes.iter().position(|one| one.as_ref() == Some(left));
        let left = left.ok_or_else(|| QueryError::new(position, "the twins before the point are not known yet"))?;
        let position = self.peek().0;
        let link = match self.alias() {
            Some(link) => {
                self.check_new(position, &link)?;
                self.query.links.push(link);
                Some(self.query.links.len() - 1)
            }
            None => None,
        };
        self.query.nodes.push(Some(name));
        let (right, direction, names) = (self.query.nodes.len() - 1, Direction::Forward, vec![relationship.clone()]);
        self.query.edges.push(Edge { left, right, direction, names, hops: (1, 1), link });
        Ok(())
    }

    fn check_new(&self, position: usize, name: &str) -> Parsed<()> {
        let of_nodes = self.query.nodes.iter().flatten();
        match of_nodes.chain(&self.query.links).any(|one| one == name) {
            true => Err(QueryError::new(position, format!("`{name}` is the name of something else already"))),
            false => Ok(()),
        }
    }

    fn pattern(&mut self) -> Parsed<()> {
        self.query.is_match = true;
        let mut left = self.node()?;
        let mut hops = 0;
        while self.is_sign("-") || self.is_sign("<") {
            let position = self.peek().0;
            let mut edge = self.edge(left)?;
            hops += edge.hops.1;
            if hops > HOPS_MAX {
                return Err(QueryError::new(position, format!("a `MATCH` has at most {HOPS_MAX} hops")));
            }
            edge.right = self.node()?;
            left = edge.right;
            self.query.edges.push(edge);
        }
        Ok(())
    }

    /// A twin of a pattern; a name that was there is the same twin.
    fn node(&mut self) -> Parsed<usize> {
        self.sign("(")?;
        let position = self.peek().0;
        let name = self.alias();
        self.sign(")")?;
        if let Some(name) = &name {
            if let Some(known) = self.query.nodes.iter().position(|one| one.as_ref() == Some(name)) {
                return Ok(known);
            }
            self.check_new(position, name)?;
        }
        self.query.nodes.push(name);
        Ok(self.query.nodes.len() - 1)
    }

    fn edge(&mut self, left: usize) -> Parsed<Edge> {
        let is_backward = self.accept("<");
        self.sign("-")?;
        self.sign("[")?;
        let position = self.peek().0;
        let name = self.alias();
        let mut names = vec![];
        if self.accept(":") {
            loop {
                names.push(self.name("the name of a relationship")?);
                if names.len() > NAMES_MAX {
                    return self.wrong(&format!("at most {NAMES_MAX} names"));
                }
                if !self.accept("|") {
                    break;
                }
            }
        }
        let hops = self.hops()?;
        self.sign("]")?;
        self.sign("-")?;
        let at_arrow = self.peek().0;
        let is_forward = self.accept(">");
        let direction = match (is_backward, is_forward) {
            (true, true) => return Err(QueryError::new(at_arrow, "an arrow has one direction")),
            (true, false) => Direction::Backward,
            (false, true) => Direction::Forward,
            (false, false) => Direction::Either,
        };
        let link = match name {
            Some(_) if hops != (1, 1) => {
                let what = "a relationship of more than one hop has no name";
                return Err(QueryError::new(position, what));
            }
            Some(name) => {
                self.check_new(position, &name)?;
                self.query.links.push(name);
                Some(self.query.links.len() - 1)
            }
            None => None,
        };
        Ok(Edge { left, right: left, direction, names, hops, link })
    }

    /// `*n`: so many; `*n..m`: more than n and up to m; `*..m`: up to m.
    fn hops(&mut self) -> Parsed<(usize, usize)> {
        if !self.accept("*") {
            return Ok((1, 1));
        }
        let position = self.peek().0;
        let number = |whole: u64| usize::try_from(whole).unwrap_or(usize::MAX);
        let first = if self.is_sign("..") { None } else { Some(number(self.whole()?)) };
        let hops = if self.accept("..") {
            (first.unwrap_or(0).saturating_add(1), number(self.whole()?))
        } else {
            let exact = first.unwrap_or(1);
            (exact, exact)
        };
        if hops.0 == 0 || hops.1 < hops.0 || hops.1 > HOPS_MAX {
            let what = format!("hops are 1 to {HOPS_MAX}, and the second number is larger than the first");
            return Err(QueryError::new(position, what));
        }
        Ok(hops)
    }

    fn select(&self, wanted: Wanted) -> Parsed<Select> {
        let columns = match wanted {
            Wanted::All => return Ok(Select::All),
            Wanted::Count => return Ok(Select::Count),
            Wanted::Columns(columns) => columns,
        };
        let mut made: Vec<Column> = vec![];
        for ((position, path), name) in columns {
            let last = path.last().cloned().unwrap_or_default();
            let name = name.unwrap_or(last);
            if made.iter().any(|column| column.name == name) {
                let what = format!("two columns are named `{name}`; `AS` gives one of them another name");
                return Err(QueryError::new(position, what));
            }
            made.push(Column { name, value: self.resolve((position, path))? });
        }
        Ok(Select::Columns(made))
    }

    fn slot(&self, name: &str) -> Option<Slot> {
        let node = self.query.nodes.iter().position(|one| one.as_deref() == Some(name)).map(Slot::Node);
        node.or_else(|| self.query.links.iter().position(|one| one == name).map(Slot::Link))
    }

    /// The only thing there is, whose properties need no name before them.
    fn only(&self) -> Option<Slot> {
        match (self.query.nodes.len(), self.query.links.len()) {
            (1, 0) => Some(Slot::Node(0)),
            (0, 1) => Some(Slot::Link(0)),
            _ => None,
        }
    }

    fn resolve(&self, (position, mut path): Path) -> Parsed<Reference> {
        let first = path.first().cloned().unwrap_or_default();
        if let Some(slot) = self.slot(&first) {
            path.remove(0);
            return Ok(Reference { slot, path });
        }
        match self.only() {
            Some(slot) => Ok(Reference { slot, path }),
            None => Err(QueryError::new(position, format!("`{first}` is not a name of this query"))),
        }
    }

    fn count_logical(&mut self) -> Parsed<()> {
        self.logical += 1;
        if self.logical > LOGICAL_MAX {
            return self.wrong(&format!("at most {LOGICAL_MAX} `AND` and `OR`"));
        }
        Ok(())
    }

    fn expression(&mut self, depth: usize) -> Parsed<Expr> {
        if depth > DEPTH_MAX {
            return self.wrong(&format!("at most {DEPTH_MAX} conditions within each other"));
        }
        let mut all = vec![self.conjunction(depth)?];
        while self.is_keyword("OR") {
            self.count_logical()?;
            self.at += 1;
            all.push(self.conjunction(depth)?);
        }
        Ok(one_or(all, Expr::Or))
    }

    fn conjunction(&mut self, depth: usize) -> Parsed<Expr> {
        let mut all = vec![self.negation(depth)?];
        while self.is_keyword("AND") {
            self.count_logical()?;
            self.at += 1;
            match self.negation(depth)? {
                // `a AND (b AND c)` has three conditions, each of which may say where to begin.
                Expr::And(more) => all.extend(more),
                one => all.push(one),
            }
        }
        Ok(one_or(all, Expr::And))
    }

    fn negation(&mut self, depth: usize) -> Parsed<Expr> {
        let mut negations = 0;
        while self.accept_keyword("NOT") {
            negations += 1;
            if depth + negations > DEPTH_MAX {
                return self.wrong(&format!("at most {DEPTH_MAX} conditions within each other"));
            }
        }
        let mut made = self.condition(depth + negations)?;
        for _ in 0..negations {
            made = Expr::Not(Box::new(made));
        }
        Ok(made)
    }

    fn condition(&mut self, depth: usize) -> Parsed<Expr> {
        if self.accept("(") {
            let inner = self.expression(depth + 1)?;
            self.sign(")")?;
            return Ok(inner);
        }
        if let Some(call) = self.call()? {
            return Ok(call);
        }
        let left = self.operand()?;
        for (keyword, is_in) in [("IN", true), ("NIN", false)] {
            if self.accept_keyword(keyword) {
                let found = Expr::In(left, self.list()?);
                return Ok(if is_in { found } else { Expr::Not(Box::new(found)) });
            }
        }
        if self.is_keyword("NOT") {
            self.at += 1;
            self.keyword("IN")?;
            return Ok(Expr::Not(Box::new(Expr::In(left, self.list()?))));
        }
        match self.comparison() {
            Some(comparison) => Ok(Expr::Compare(comparison, left, self.operand()?)),
            None if matches!(left, Operand::Literal(Value::Bool(_)) | Operand::Reference(_)) => Ok(Expr::Is(left)),
            None => self.wrong("a comparison"),
        }
    }

    fn comparison(&mut self) -> Option<Comparison> {
        let all = [
            ("=", Comparison::Equal),
            ("!=", Comparison::NotEqual),
            ("<>", Comparison::NotEqual),
            ("<=", Comparison::LessOrEqual),
            (">=", Comparison::GreaterOrEqual),
            ("<", Comparison::Less),
            (">", Comparison::Greater),
        ];
        all.into_iter().find(|(sign, _)| self.accept(sign)).map(|(_, comparison)| comparison)
    }

    fn list(&mut self) -> Parsed<Vec<Value>> {
        let end = if self.accept("[") {
            "]"
        } else {
            self.sign("(").or_else(|_| self.wrong("`[`"))?;
            ")"
        };
        let mut values = vec![];
        loop {
            match self.literal()? {
                Some(value) => values.push(value),
                None => return self.wrong("a value"),
            }
            if values.len() > IN_MAX {
                return self.wrong(&format!("at most {IN_MAX} values"));
            }
            if !self.accept(",") {
                break;
            }
        }
        self.sign(end)?;
        Ok(values)
    }

    fn literal(&mut self) -> Parsed<Option<Value>> {
        if self.is_sign("-") {
            self.at += 1;
            return match self.peek().1.clone() {
                Token::Literal(Value::Number(number)) => {
                    self.at += 1;
                    let negative = match number.as_i64() {
                        Some(whole) => Value::from(-whole),
                        None => Value::from(-number.as_f64().unwrap_or_default()),
                    };
                    Ok(Some(negative))
                }
                _ => self.wrong("a number"),
            };
        }
        let value = match self.peek().1 {
            Token::Literal(value) => value.clone(),
            Token::Word(word) if word.eq_ignore_ascii_case("true") => true.into(),
            Token::Word(word) if word.eq_ignore_ascii_case("false") => false.into(),
            Token::Word(word) if word.eq_ignore_ascii_case("null") => Value::Null,
            _ => return Ok(None),
        };
        self.at += 1;
        Ok(Some(value))
    }

    fn operand(&mut self) -> Parsed<Operand> {
        if let Some(value) = self.literal()? {
            return Ok(Operand::Literal(value));
        }
        let path = self.path()?;
        self.resolve(path).map(Operand::Reference)
    }

    /// A function, if one stands here.
    fn call(&mut self) -> Parsed<Option<Expr>> {
        let (Token::Word(word), Some((_, Token::Sign("(")))) = (self.peek().1, self.tokens.get(self.at + 1)) else {
            return Ok(None);
        };
        let word = word.to_ascii_uppercase();
        let checks = [
            ("IS_DEFINED", Check::Defined),
            ("IS_NULL", Check::Null),
            ("IS_PRIMITIVE", Check::Primitive),
            ("IS_BOOL", Check::Bool),
            ("IS_NUMBER", Check::Number),
            ("IS_STRING", Check::Text),
            ("IS_OBJECT", Check::Object),
        ];
        let texts =
            [("STARTSWITH", TextTest::StartsWith), ("ENDSWITH", TextTest::EndsWith), ("CONTAINS", TextTest::Contains)];
        let check = checks.into_iter().find(|(name, _)| *name == word).map(|(_, check)| check);
        let text = texts.into_iter().find(|(name, _)| *name == word).map(|(_, text)| text);
        if check.is_none() && text.is_none() && word != "ARRAY_CONTAINS" && word != "IS_OF_MODEL" {
            return self.wrong("a function of this language");
        }
        self.at += 2;
        if word == "IS_OF_MODEL" {
            return self.of_model().map(Some);
        }
        let first = self.operand()?;
        if let Some(check) = check {
            self.sign(")")?;
            return Ok(Some(Expr::Check(check, first)));
        }
        self.sign(",")?;
        let second = self.operand()?;
        self.sign(")")?;
        Ok(Some(match text {
            Some(text) => Expr::Text(text, first, second),
            None => Expr::ArrayContains(first, second),
        }))
    }

    fn of_model(&mut self) -> Parsed<Expr> {
        let position = self.peek().0;
        let named = match self.peek().1 {
            Token::Word(_) | Token::Escaped(_) => {
                let (position, path) = self.path()?;
                let found = path.first().and_then(|name| self.slot(name)).filter(|_| path.len() == 1);
                let Some(slot @ Slot::Node(_)) = found else {
                    return Err(QueryError::new(position, "`IS_OF_MODEL` is asked of twins by their name"));
                };
                self.sign(",")?;
                Some(slot)
            }
            _ => None,
        };
        let Some(Value::String(model)) = self.literal()? else { return self.wrong("the id of a model in quotes") };
        let exact = if self.accept(",") {
            self.keyword("EXACT")?;
            true
        } else {
            false
        };
        self.sign(")")?;
        let slot = match named.or_else(|| self.only()) {
            Some(slot @ Slot::Node(_)) => slot,
            Some(Slot::Link(_)) => {
                return Err(QueryError::new(position, "relationships have no model of their own"));
            }
            None if !self.query.nodes.is_empty() => Slot::Node(0),
            None => return Err(QueryError::new(position, "there are no twins in this query")),
        };
        Ok(Expr::OfModel { slot, model, exact })
    }
}

fn one_or(mut all: Vec<Expr>, many: impl FnOnce(Vec<Expr>) -> Expr) -> Expr {
    match all.pop() {
        Some(one) if all.is_empty() => one,
        Some(last) => {
            all.push(last);
            many(all)
        }
        None => many(all),
    }
}
