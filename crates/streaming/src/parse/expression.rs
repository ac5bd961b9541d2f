//! Expressions, by climbing over the binding powers of their operators.

use super::{LIST_MAX, NESTING_MAX, Parser, reserved};
use crate::ast::{Binary, Call, Expr, Kind, Name, Over, Type};
use crate::error::Error;
use crate::lex::{At, Token};

/// Binding powers: what is larger binds closer.
const OR: u8 = 1;
const AND: u8 = 2;
const NOT: u8 = 3;
const COMPARISON: u8 = 4;
const SUM: u8 = 5;
const PRODUCT: u8 = 6;
const SIGN: u8 = 7;

/// Deepest tree: nesting, and what long sums add, which are trees that lean to the left.
const DEPTH_MAX: u16 = 4 * NESTING_MAX;

impl Parser<'_> {
    pub(super) fn expr(&mut self) -> Result<Expr, Error> {
        self.binary(OR)
    }

    fn binary(&mut self, power: u8) -> Result<Expr, Error> {
        let at = self.at();
        self.descend(at)?;
        let mut left = self.prefix()?;
        loop {
            match self.infix(left, power)? {
                Next::More(more) => left = more,
                Next::Done(done) => {
                    self.nesting -= 1;
                    return Ok(done);
                }
            }
        }
    }

    fn prefix(&mut self) -> Result<Expr, Error> {
        let at = self.at();
        if self.accept("not") {
            let inner = self.binary(NOT)?;
            return self.make(at, Kind::Not(Box::new(inner)));
        }
        if self.accept_symbol("-") {
            // The smallest whole number has no positive counterpart.
            let inner = self.binary(SIGN)?;
            let kind = match inner.kind {
                Kind::Whole(number) => Kind::Whole(-number),
                Kind::Number(number) => Kind::Number(-number),
                _ => Kind::Negate(Box::new(inner)),
            };
            return self.make(at, kind);
        }
        if self.accept_symbol("+") {
            return self.binary(SIGN);
        }
        let mut value = self.primary()?;
        while self.is_symbol(".") {
            self.position += 1;
            let member = self.member()?;
            value = self.make(at, Kind::Member(Box::new(value), member))?;
        }
        Ok(value)
    }

    /// The name after a dot, which may be any word.
    fn member(&mut self) -> Result<Name, Error> {
        let at = self.at();
        match self.peek().clone() {
            Token::Word(text, _) => {
                self.position += 1;
                Ok(Name { text, at })
            }
            _ => Err(self.unexpected("a name after the dot")),
        }
    }

    fn infix(&mut self, left: Expr, power: u8) -> Result<Next, Error> {
        let at = self.at();
        let symbol = match self.peek() {
            Token::Symbol(symbol) => *symbol,
            Token::Word(_, false) => "",
            _ => return Ok(Next::Done(left)),
        };
        let (operator, binds) = match symbol {
            "+" => (Binary::Add, SUM),
            "-" => (Binary::Subtract, SUM),
            "*" => (Binary::Multiply, PRODUCT),
            "/" => (Binary::Divide, PRODUCT),
            "%" => (Binary::Modulo, PRODUCT),
            "=" => (Binary::Equal, COMPARISON),
            "<>" | "!=" => (Binary::NotEqual, COMPARISON),
            "<" => (Binary::Less, COMPARISON),
            "<=" => (Binary::LessOrEqual, COMPARISON),
            ">" => (Binary::Greater, COMPARISON),
            ">=" => (Binary::GreaterOrEqual, COMPARISON),
            "" => return self.word_operator(left, power),
            _ => return Ok(Next::Done(left)),
        };
        if binds < power {
            return Ok(Next::Done(left));
        }
        self.position += 1;
        let right = self.binary(binds + 1)?;
        self.make(at, Kind::Binary(operator, Box::new(left), Box::new(right))).map(Next::More)
    }

    fn word_operator(&mut self, left: Expr, power: u8) -> Result<Next, Error> {
        let at = self.at();
        for (word, binds) in [("or", OR), ("and", AND)] {
            if binds >= power && self.accept(word) {
                // A chain is one list, so that it may be long without being deep.
                let right = self.binary(binds + 1)?;
                let kind = match (left.kind, binds) {
                    (Kind::Or(mut terms), OR) => {
                        terms.push(right);
                        Kind::Or(terms)
                    }
                    (Kind::And(mut terms), AND) => {
                        terms.push(right);
                        Kind::And(terms)
                    }
                    (kind, _) => {
                        let terms = vec![Expr { kind, ..left }, right];
                        if binds == OR { Kind::Or(terms) } else { Kind::And(terms) }
                    }
                };
                return self.make(at, kind).map(Next::More);
            }
        }
        if power > COMPARISON {
            return Ok(Next::Done(left));
        }
        if self.accept("is") {
            let negated = self.accept("not");
            self.expect("null")?;
            let kind = Kind::IsNull(Box::new(left), negated);
            return self.make(at, kind).map(Next::More);
        }
        let before = self.position;
        let negated = self.accept("not");
        let kind = if self.accept("between") {
            let low = self.binary(SUM)?;
            self.expect("and")?;
            let high = self.binary(SUM)?;
            Kind::Between(Box::new([left, low, high]), negated)
        } else if self.accept("in") {
            self.expect_symbol("(")?;
            if self.is("select") {
                return Err(self.error(self.at(), "not implemented: IN with a query"));
            }
            let items = self.list("values of IN", Self::expr)?;
            self.expect_symbol(")")?;
            Kind::In(Box::new(left), items, negated)
        } else if self.accept("like") {
            let pattern = self.binary(SUM)?;
            let mut escape = None;
            if self.accept("escape") {
                let at = self.at();
                let Token::Text(text) = self.peek().clone() else {
                    return Err(self.unexpected("a text of one character"));
                };
                let mut characters = text.chars();
                escape = characters.next();
                if escape.is_none() || characters.next().is_some() {
                    return Err(self.error(at, "ESCAPE takes one character"));
                }
                self.position += 1;
            }
            Kind::Like(Box::new(left), Box::new(pattern), escape, negated)
        } else {
            self.position = before;
            return Ok(Next::Done(left));
        };
        self.make(at, kind).map(Next::More)
    }

    fn primary(&mut self) -> Result<Expr, Error> {
        let at = self.at();
        match self.peek().clone() {
            Token::Whole(number) => {
                self.position += 1;
                self.make(at, Kind::Whole(number))
            }
            Token::Number(number) => {
                self.position += 1;
                self.make(at, Kind::Number(number))
            }
            Token::Text(text) => {
                self.position += 1;
                self.make(at, Kind::Text(text))
            }
            Token::Symbol("(") => {
                self.position += 1;
                if self.is("select") {
                    return Err(self.error(at, "not implemented: a query as a value"));
                }
                let inner = self.expr()?;
                self.expect_symbol(")")?;
                Ok(inner)
            }
            Token::Word(word, false) => {
                let word = word.to_ascii_lowercase();
                match word.as_str() {
                    "null" => {
                        self.position += 1;
                        self.make(at, Kind::Null)
                    }
                    "case" => self.case(at),
                    "cast" | "try_cast" => self.cast(at, word == "try_cast"),
                    _ if reserved(&word) => Err(self.unexpected("a value")),
                    _ => self.path_or_call(at),
                }
            }
            Token::Word(_, true) => self.path_or_call(at),
            _ => Err(self.unexpected("a value")),
        }
    }

    fn case(&mut self, at: At) -> Result<Expr, Error> {
        self.position += 1;
        let operand = if self.is("when") { None } else { Some(Box::new(self.expr()?)) };
        let mut whens = Vec::new();
        while self.accept("when") {
            if whens.len() >= LIST_MAX {
                return Err(self.error(at, format!("more than {LIST_MAX} WHENs")));
            }
            let when = self.expr()?;
            self.expect("then")?;
            whens.push((when, self.expr()?));
        }
        if whens.is_empty() {
            return Err(self.unexpected("`WHEN`"));
        }
        let otherwise = if self.accept("else") { Some(Box::new(self.expr()?)) } else { None };
        self.expect("end")?;
        self.make(at, Kind::Case { operand, whens, otherwise })
    }

    fn cast(&mut self, at: At, attempt: bool) -> Result<Expr, Error> {
        self.position += 1;
        self.expect_symbol("(")?;
        let value = self.expr()?;
        self.expect("as")?;
        let kind_at = self.at();
        let name = self.name("a type")?.text;
        let kind = match name.to_ascii_lowercase().as_str() {
            "bigint" => Type::Bigint,
            "float" => Type::Float,
            "nvarchar" => Type::Text,
            "datetime" => Type::Datetime,
            "bit" => Type::Bit,
            "record" => Type::Record,
            "array" => Type::Array,
            _ => {
                let message =
                    format!("`{name}` is no type: bigint, float, nvarchar(max), datetime, bit, record and array are");
                return Err(self.error(kind_at, message));
            }
        };
        if kind == Type::Text && self.accept_symbol("(") {
            let length_at = self.at();
            if !self.accept("max") {
                return Err(self.error(length_at, "not implemented: nvarchar of a length; write nvarchar(max)"));
            }
            self.expect_symbol(")")?;
        }
        self.expect_symbol(")")?;
        self.make(at, Kind::Cast(Box::new(value), kind, attempt))
    }

    fn path_or_call(&mut self, at: At) -> Result<Expr, Error> {
        let mut path = vec![self.member()?];
        while self.is_symbol(".") {
            self.position += 1;
            path.push(self.member()?);
            if path.len() > usize::from(NESTING_MAX) {
                return Err(self.error(at, format!("a name of more than {NESTING_MAX} parts")));
            }
        }
        if !self.is_symbol("(") {
            return self.make(at, Kind::Path(path));
        }
        let name = path.iter().map(|part| part.text.as_str()).collect::<Vec<_>>().join(".");
        self.position += 1;
        let mut call = Call { name, args: Vec::new(), star: false, distinct: false, filter: None, over: None };
        if self.accept_symbol("*") {
            call.star = true;
        } else if !self.is_symbol(")") {
            call.distinct = self.accept("distinct");
            if !call.distinct && self.is("all") && !self.next_is_symbol(",") && !self.next_is_symbol(")") {
                self.position += 1;
            }
            call.args = self.list("arguments", Self::expr)?;
        }
        self.expect_symbol(")")?;
        if self.is("filter") && self.next_is_symbol("(") {
            self.position += 2;
            self.expect("where")?;
            call.filter = Some(self.expr()?);
            self.expect_symbol(")")?;
        }
        if self.accept("over") {
            call.over = Some(self.over()?);
        }
        self.make(at, Kind::Call(Box::new(call)))
    }

    fn over(&mut self) -> Result<Over, Error> {
        let mut over = Over::default();
        self.expect_symbol("(")?;
        if self.accept("partition") {
            self.expect("by")?;
            over.partition = self.list("keys of a partition", Self::expr)?;
        }
        if self.accept("order") {
            self.expect("by")?;
            over.order = self.list("keys of an order", |parser| {
                let key = parser.expr()?;
                let descending = parser.accept("desc");
                if !descending {
                    parser.accept("asc");
                }
                Ok((key, descending))
            })?;
        }
        if self.accept("limit") {
            over.limit = Some(self.expr()?);
        }
        if self.accept("when") {
            over.when = Some(self.expr()?);
        }
        self.expect_symbol(")")?;
        Ok(over)
    }

    fn make(&self, at: At, kind: Kind) -> Result<Expr, Error> {
        let depth = 1 + deepest(&kind);
        if depth > DEPTH_MAX {
            return Err(self.error(at, format!("an expression of more than {DEPTH_MAX} levels")));
        }
        Ok(Expr { kind, at, depth })
    }
}

/// What became of the left side.
enum Next {
    More(Expr),
    Done(Expr),
}

fn deepest(kind: &Kind) -> u16 {
    let of = |items: &[Expr]| items.iter().map(|item| item.depth).max().unwrap_or(0);
    match kind {
        Kind::Null | Kind::Whole(_) | Kind::Number(_) | Kind::Text(_) | Kind::Path(_) => 0,
        Kind::Member(inner, _)
        | Kind::Negate(inner)
        | Kind::Not(inner)
        | Kind::IsNull(inner, _)
        | Kind::Cast(inner, _, _) => inner.depth,
        Kind::And(terms) | Kind::Or(terms) => of(terms),
        Kind::Binary(_, left, right) | Kind::Like(left, right, _, _) => left.depth.max(right.depth),
        Kind::Between(three, _) => of(three.as_slice()),
        Kind::In(value, items, _) => value.depth.max(of(items)),
        Kind::Case { operand, whens, otherwise } => whens
            .iter()
            .flat_map(|(when, then)| [when.depth, then.depth])
            .chain(operand.iter().chain(otherwise).map(|inner| inner.depth))
            .max()
            .unwrap_or(0),
        Kind::Call(call) => {
            let over = call.over.iter().flat_map(|over| {
                over.partition.iter().chain(over.order.iter().map(|(key, _)| key)).chain(&over.limit).chain(&over.when)
            });
            call.args.iter().chain(&call.filter).chain(over).map(|inner| inner.depth).max().unwrap_or(0)
        }
    }
}
