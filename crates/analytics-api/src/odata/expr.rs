//! Expressions: what `$filter`, `$orderby` and `filter()` hold, as trees of KQL.
//!
//! The protocol's rules are its own: text is compared by its bytes and with case, `null eq null` holds, `null ne 1`
//! holds, and no other comparison with null does, so that `not` of it holds. Objects and arrays are text.

use gantry_kql::ast::{Binary, Expr};
use gantry_kql::value::{DateTime, TICKS_PER_SECOND, TimeSpan, Type, Value};

use super::failure::Failure;
use super::lex::{Kind, Token, tokens};
use super::model::Property;
use super::tree::{among, and, binary, boolean, call, literal, long, name, negative, or, text};

/// How deep parentheses, calls and signs may stand in each other.
const DEPTH_MAX: usize = 50;
/// How many pieces an expression may have.
const PIECES_MAX: usize = 2_000;

/// Types as far as they are told apart here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ty {
    /// `null`.
    Null,
    /// A column or a function that is a bool.
    Bool,
    /// What a comparison gives; null of it counts as false.
    Truth,
    /// A whole number.
    Whole,
    /// Any other number.
    Number,
    /// A text.
    Text,
    /// An instant; a day is its first.
    Instant,
    /// A span.
    Span,
    /// A guid.
    Guid,
}

impl Ty {
    fn of(ty: Type) -> Ty {
        match ty {
            Type::Bool => Ty::Bool,
            Type::Int | Type::Long => Ty::Whole,
            Type::Real | Type::Decimal => Ty::Number,
            Type::DateTime => Ty::Instant,
            Type::TimeSpan => Ty::Span,
            Type::Guid => Ty::Guid,
            Type::String | Type::Dynamic | Type::Unknown => Ty::Text,
        }
    }

    fn is_number(self) -> bool {
        matches!(self, Ty::Whole | Ty::Number)
    }

    fn is_bool(self) -> bool {
        matches!(self, Ty::Bool | Ty::Truth | Ty::Null)
    }

    fn name(self) -> &'static str {
        match self {
            Ty::Null => "null",
            Ty::Bool | Ty::Truth => "Edm.Boolean",
            Ty::Whole => "Edm.Int64",
            Ty::Number => "Edm.Double",
            Ty::Text => "Edm.String",
            Ty::Instant => "Edm.DateTimeOffset",
            Ty::Span => "Edm.Duration",
            Ty::Guid => "Edm.Guid",
        }
    }
}

/// An expression with its type.
#[derive(Debug, Clone)]
pub struct Typed {
    /// The tree.
    pub expr: Expr,
    /// Its type.
    pub ty: Ty,
    /// It may be null.
    nullable: bool,
    /// Pieces it is made of.
    pieces: usize,
}

/// What an expression is read against.
#[derive(Clone, Copy)]
pub struct Scope<'a> {
    /// The properties.
    pub properties: &'a [Property],
    /// Values of `@name`.
    pub aliases: &'a [(String, String)],
}

/// A condition.
///
/// # Errors
/// When it is none.
pub fn condition(text: &str, scope: Scope) -> Result<Expr, Failure> {
    let mut parser = Parser::new(text, scope, 0)?;
    let value = parser.expression()?;
    parser.end()?;
    if !value.ty.is_bool() {
        return Err(Failure::bad_request(format!("a condition must be Edm.Boolean, not {}", value.ty.name())));
    }
    Ok(value.truth())
}

/// Values with `asc` or `desc` behind them, and whether it was the latter: `$orderby`.
///
/// # Errors
/// When they are none.
pub fn order(text: &str, scope: Scope) -> Result<Vec<(Typed, bool)>, Failure> {
    let mut parser = Parser::new(text, scope, 0)?;
    let mut all = Vec::new();
    loop {
        let value = parser.expression()?;
        let descending = match parser.peek() {
            Kind::Word(word) if word == "asc" || word == "desc" => {
                let descending = word == "desc";
                parser.at += 1;
                descending
            }
            _ => false,
        };
        all.push((value, descending));
        if all.len() > ORDER_MAX {
            return Err(Failure::bad_request(format!("$orderby may have {ORDER_MAX} items")));
        }
        if !parser.takes(',') {
            break;
        }
    }
    parser.end()?;
    Ok(all)
}

/// Items of `$orderby`.
const ORDER_MAX: usize = 20;

/// The column of a property, as it is compared.
pub fn column(property: &Property) -> Typed {
    let column = name(&property.column);
    let expr = if matches!(property.ty, Type::Dynamic | Type::Unknown) { call("tostring", [column]) } else { column };
    let nullable = property.ty != Type::String;
    Typed { expr, ty: Ty::of(property.ty), nullable, pieces: 1 }
}

impl Typed {
    fn new(expr: Expr, ty: Ty, nullable: bool) -> Typed {
        Typed { expr, ty, nullable, pieces: 1 }
    }

    fn with(self, pieces: usize) -> Typed {
        Typed { pieces, ..self }
    }

    /// As a condition of which only true counts.
    fn truth(self) -> Expr {
        if self.ty == Ty::Null { literal(Value::Null, Type::Bool) } else { self.expr }
    }

    /// The same with false in the place of the null that a comparison gave.
    fn definite(self) -> Typed {
        if self.ty == Ty::Truth {
            Typed { expr: call("coalesce", [self.expr, boolean(false)]), nullable: false, ..self }
        } else {
            self
        }
    }
}

struct Parser<'a> {
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
    scope: Scope<'a>,
}

impl<'a> Parser<'a> {
    fn new(text: &str, scope: Scope<'a>, depth: usize) -> Result<Parser<'a>, Failure> {
        Ok(Parser { tokens: tokens(text)?, at: 0, depth, scope })
    }

    fn peek(&self) -> &Kind {
        &self.tokens[self.at.min(self.tokens.len() - 1)].kind
    }

    fn takes(&mut self, sign: char) -> bool {
        let found = *self.peek() == Kind::Sign(sign);
        self.at += usize::from(found);
        found
    }

    fn takes_word(&mut self, words: &[&'static str]) -> Option<&'static str> {
        let Kind::Word(word) = self.peek() else { return None };
        let found = words.iter().copied().find(|known| known == word)?;
        self.at += 1;
        Some(found)
    }

    fn wrong(&self, what: impl std::fmt::Display) -> Failure {
        let at = self.tokens[self.at.min(self.tokens.len() - 1)].at;
        Failure::bad_request(format!("{what} at position {at}"))
    }

    fn expect(&mut self, sign: char) -> Result<(), Failure> {
        if self.takes(sign) { Ok(()) } else { Err(self.wrong(format!("`{sign}` expected"))) }
    }

    fn end(&self) -> Result<(), Failure> {
        if *self.peek() == Kind::End { Ok(()) } else { Err(self.wrong("nothing more expected")) }
    }

    /// A value as it will be part of a larger one.
    fn sized(&self, value: Typed) -> Result<Typed, Failure> {
        if value.pieces > PIECES_MAX {
            return Err(self.wrong(format!("more than {PIECES_MAX} pieces in one expression")));
        }
        Ok(value)
    }

    fn expression(&mut self) -> Result<Typed, Failure> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.wrong(format!("more than {DEPTH_MAX} levels")));
        }
        let value = self.joined("or", Parser::all, or);
        self.depth -= 1;
        value
    }

    fn all(&mut self) -> Result<Typed, Failure> {
        self.joined("and", Parser::equality, and)
    }

    /// Conditions with a word between them.
    fn joined(
        &mut self,
        word: &'static str,
        part: fn(&mut Self) -> Result<Typed, Failure>,
        join: fn(Vec<Expr>) -> Expr,
    ) -> Result<Typed, Failure> {
        let first = part(self)?;
        let mut pieces = first.pieces + 1;
        let mut parts = vec![first];
        while self.takes_word(&[word]).is_some() {
            let next = part(self)?;
            pieces += next.pieces;
            parts.push(next);
        }
        if parts.len() == 1 {
            return Ok(parts.remove(0));
        }
        if let Some(other) = parts.iter().find(|part| !part.ty.is_bool()) {
            return Err(self.wrong(format!("`{word}` stands between conditions, not {}", other.ty.name())));
        }
        let value = join(parts.into_iter().map(Typed::truth).collect());
        self.sized(Typed::new(value, Ty::Truth, true).with(pieces))
    }

    fn equality(&mut self) -> Result<Typed, Failure> {
        let mut left = self.relation()?;
        while let Some(word) = self.takes_word(&["eq", "ne", "has", "in"]) {
            left = match word {
                "has" => return Err(self.wrong("there are no flags here that something could `has`")),
                "in" => self.list(left)?,
                _ => {
                    let right = self.relation()?;
                    self.equal(left, right, word == "ne")?
                }
            };
        }
        Ok(left)
    }

    fn relation(&mut self) -> Result<Typed, Failure> {
        let mut left = self.sum()?;
        while let Some(word) = self.takes_word(&["lt", "le", "gt", "ge"]) {
            let op = match word {
                "lt" => Binary::Less,
                "le" => Binary::LessOrEqual,
                "gt" => Binary::Greater,
                _ => Binary::GreaterOrEqual,
            };
            let right = self.sum()?;
            left = self.ordered(op, left, right)?;
        }
        Ok(left)
    }

    fn sum(&mut self) -> Result<Typed, Failure> {
        let mut left = self.product()?;
        while let Some(word) = self.takes_word(&["add", "sub"]) {
            let right = self.product()?;
            left = self.arithmetic(word, left, right)?;
        }
        Ok(left)
    }

    fn product(&mut self) -> Result<Typed, Failure> {
        let mut left = self.unary()?;
        while let Some(word) = self.takes_word(&["mul", "div", "divby", "mod"]) {
            let right = self.unary()?;
            left = self.arithmetic(word, left, right)?;
        }
        Ok(left)
    }

    fn unary(&mut self) -> Result<Typed, Failure> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.wrong(format!("more than {DEPTH_MAX} levels")));
        }
        let value = if self.takes_word(&["not"]).is_some() {
            let of = self.unary()?;
            if !of.ty.is_bool() {
                return Err(self.wrong(format!("`not` of {}", of.ty.name())));
            }
            let pieces = of.pieces + 2;
            Typed::new(call("not", [of.definite().truth()]), Ty::Bool, true).with(pieces)
        } else if self.takes('-') {
            let of = self.unary()?;
            if !of.ty.is_number() && of.ty != Ty::Span {
                return Err(self.wrong(format!("a sign before {}", of.ty.name())));
            }
            Typed { expr: negative(of.expr), pieces: of.pieces + 1, ..of }
        } else {
            self.primary()?
        };
        self.depth -= 1;
        self.sized(value)
    }

    fn primary(&mut self) -> Result<Typed, Failure> {
        let kind = self.peek().clone();
        let wrong = self.wrong("a value expected");
        self.at += 1;
        let constant = |value: Value, ty: Type| Ok(Typed::new(literal(value, ty), Ty::of(ty), false));
        match kind {
            Kind::Sign('(') => {
                let value = self.expression()?;
                self.expect(')')?;
                Ok(value)
            }
            Kind::Text(value) => Ok(Typed::new(text(&value), Ty::Text, false)),
            Kind::Long(value) => Ok(Typed::new(long(value), Ty::Whole, false)),
            Kind::Real(value) => constant(Value::Real(value), Type::Real),
            Kind::Decimal(value) => constant(Value::Decimal(value), Type::Decimal),
            Kind::Instant(value) | Kind::Date(value) => constant(Value::DateTime(value), Type::DateTime),
            Kind::Span(value) => constant(Value::TimeSpan(value), Type::TimeSpan),
            Kind::Guid(value) => constant(Value::Guid(value), Type::Guid),
            Kind::Alias(alias) => self.alias(&alias),
            Kind::System(word) => Err(Failure::not_implemented(&format!("${word} in an expression"))),
            Kind::Word(word) => match word.as_str() {
                "null" => Ok(Typed::new(literal(Value::Null, Type::Bool), Ty::Null, true)),
                "true" | "false" => Ok(Typed::new(boolean(word == "true"), Ty::Bool, false)),
                _ if self.takes('(') => self.function(&word),
                _ => self.property(&word),
            },
            Kind::Sign(_) | Kind::End => Err(wrong),
        }
    }

    fn alias(&mut self, alias: &str) -> Result<Typed, Failure> {
        let known = self.scope.aliases.iter().find(|(name, _)| name == alias);
        let Some((_, text)) = known else { return Err(self.wrong(format!("@{alias} has no value"))) };
        let mut inner = Parser::new(text, self.scope, self.depth)?;
        let value = inner.expression()?;
        inner.end()?;
        Ok(value)
    }

    fn property(&mut self, word: &str) -> Result<Typed, Failure> {
        if *self.peek() == Kind::Sign('/') {
            return Err(Failure::not_implemented(&format!("the path {word}/... in an expression")));
        }
        match self.scope.properties.iter().find(|property| property.name == word) {
            Some(property) => Ok(column(property)),
            None => Err(self.wrong(format!("there is no property `{word}`"))),
        }
    }

    fn mismatch(&self, what: &str, left: &Typed, right: &Typed) -> Failure {
        self.wrong(format!("`{what}` is not defined for {} and {}", left.ty.name(), right.ty.name()))
    }

    /// `eq` and `ne`.
    fn equal(&self, left: Typed, right: Typed, negated: bool) -> Result<Typed, Failure> {
        let pieces = 2 * (left.pieces + right.pieces) + 4;
        let same = left.ty == right.ty
            || left.ty.is_number() && right.ty.is_number()
            || left.ty.is_bool() && right.ty.is_bool();
        let value = match (left.ty, right.ty) {
            (Ty::Null, Ty::Null) => boolean(!negated),
            (Ty::Null, _) | (_, Ty::Null) => {
                let other = if left.ty == Ty::Null { right } else { left };
                let is_null = if other.nullable && other.ty != Ty::Text {
                    call("isnull", [other.definite().expr])
                } else {
                    boolean(false)
                };
                if negated { call("not", [is_null]) } else { is_null }
            }
            _ if !same => return Err(self.mismatch(if negated { "ne" } else { "eq" }, &left, &right)),
            _ => {
                let (left, right) = (left.definite(), right.definite());
                let both = left.nullable && right.nullable && left.ty != Ty::Text;
                if negated {
                    binary(Binary::NotEqual, left.expr, right.expr)
                } else if both {
                    let nulls = [&left, &right].map(|side| call("isnull", [side.expr.clone()]));
                    or(vec![binary(Binary::Equal, left.expr, right.expr), and(nulls.into())])
                } else {
                    binary(Binary::Equal, left.expr, right.expr)
                }
            }
        };
        self.sized(Typed::new(value, Ty::Truth, true).with(pieces))
    }

    /// `lt`, `le`, `gt` and `ge`.
    fn ordered(&self, op: Binary, left: Typed, right: Typed) -> Result<Typed, Failure> {
        let pieces = left.pieces + right.pieces + 3;
        let value = match (left.ty, right.ty) {
            (Ty::Null, _) | (_, Ty::Null) => boolean(false),
            (Ty::Text, Ty::Text) | (Ty::Guid, Ty::Guid) => {
                let sides = [left, right].map(|side| match side.ty {
                    Ty::Guid => call("tostring", [side.expr]),
                    _ => side.expr,
                });
                binary(op, call("strcmp", sides), long(0))
            }
            (a, b) if a == b || a.is_number() && b.is_number() || a.is_bool() && b.is_bool() => {
                binary(op, left.definite().expr, right.definite().expr)
            }
            _ => return Err(self.mismatch("a comparison", &left, &right)),
        };
        self.sized(Typed::new(value, Ty::Truth, true).with(pieces))
    }

    /// `in (a, b)`
    fn list(&mut self, left: Typed) -> Result<Typed, Failure> {
        self.expect('(')?;
        let (mut list, mut with_null, mut pieces) = (Vec::new(), false, left.pieces + 3);
        loop {
            let item = self.unary()?;
            pieces += item.pieces;
            if item.ty == Ty::Null {
                with_null = true;
            } else if item.ty == left.ty
                || item.ty.is_number() && left.ty.is_number()
                || item.ty.is_bool() && left.ty.is_bool()
            {
                list.push(item);
            } else {
                return Err(self.mismatch("in", &left, &item));
            }
            if !self.takes(',') {
                break;
            }
        }
        self.expect(')')?;
        // A list has one type in KQL; numbers of two kinds are compared one by one.
        let plain = list.iter().all(|item| item.ty == left.ty) && left.ty != Ty::Number;
        let mut any = if plain && !list.is_empty() {
            vec![among(left.clone().definite().expr, list.into_iter().map(|item| item.expr).collect())]
        } else {
            pieces += left.pieces * list.len();
            self.sized(left.clone().with(pieces))?;
            list.into_iter().map(|item| binary(Binary::Equal, left.clone().definite().expr, item.expr)).collect()
        };
        if with_null && left.nullable && left.ty != Ty::Text {
            any.push(call("isnull", [left.definite().expr]));
        }
        self.sized(Typed::new(or(any), Ty::Truth, true).with(pieces))
    }

    fn arithmetic(&self, word: &str, left: Typed, right: Typed) -> Result<Typed, Failure> {
        let pieces = 2 * (left.pieces + right.pieces) + 3;
        let ty = match (word, left.ty, right.ty) {
            (_, Ty::Null, _) | (_, _, Ty::Null) => {
                return Ok(Typed::new(literal(Value::Null, Type::Bool), Ty::Null, true));
            }
            ("divby", a, b) if a.is_number() && b.is_number() => Ty::Number,
            (_, Ty::Whole, Ty::Whole) => Ty::Whole,
            (_, a, b) if a.is_number() && b.is_number() => Ty::Number,
            ("add" | "sub", Ty::Instant, Ty::Span) | ("add", Ty::Span, Ty::Instant) => Ty::Instant,
            ("sub", Ty::Instant, Ty::Instant) | ("add" | "sub", Ty::Span, Ty::Span) => Ty::Span,
            ("mul", Ty::Span, b) if b.is_number() => Ty::Span,
            ("mul", a, Ty::Span) if a.is_number() => Ty::Span,
            ("div" | "divby", Ty::Span, b) if b.is_number() => Ty::Span,
            ("div" | "divby", Ty::Span, Ty::Span) => Ty::Number,
            _ => return Err(self.mismatch(word, &left, &right)),
        };
        let (a, b) = (left.expr, right.expr);
        let value = match word {
            "add" => binary(Binary::Add, a, b),
            "sub" => binary(Binary::Subtract, a, b),
            "mul" => binary(Binary::Multiply, a, b),
            "divby" if left.ty == Ty::Whole => binary(Binary::Divide, call("toreal", [a]), b),
            "div" | "divby" => binary(Binary::Divide, a, b),
            // The sign is the dividend's; that of KQL is never negative.
            _ => {
                let times = binary(Binary::Divide, a.clone(), b.clone());
                let times = if ty == Ty::Whole {
                    times
                } else {
                    let size = call("bin", [call("abs", [times.clone()]), long(1)]);
                    binary(Binary::Multiply, call("sign", [times]), size)
                };
                binary(Binary::Subtract, a, binary(Binary::Multiply, times, b))
            }
        };
        let pieces = if word == "mod" { 2 * pieces } else { left.pieces + right.pieces + 1 };
        self.sized(Typed::new(value, ty, true).with(pieces))
    }

    fn function(&mut self, name: &str) -> Result<Typed, Failure> {
        if ELSEWHERE.contains(&name) || name.starts_with("geo.") {
            return Err(Failure::not_implemented(&format!("the function {name}")));
        }
        if name == "cast" {
            return self.cast();
        }
        let mut arguments = Vec::new();
        if !self.takes(')') {
            loop {
                arguments.push(self.expression()?);
                if !self.takes(',') {
                    break;
                }
            }
            self.expect(')')?;
        }
        let pieces: usize = arguments.iter().map(|argument| argument.pieces).sum();
        let types: Vec<Ty> = arguments.iter().map(|argument| argument.ty).collect();
        let mut values = arguments.into_iter().map(|argument| argument.definite().expr);
        let mut next = || values.next().unwrap_or_else(|| boolean(false));
        let second = || literal(Value::TimeSpan(TimeSpan(TICKS_PER_SECOND)), Type::TimeSpan);
        use Ty::{Instant, Number, Span, Text, Truth, Whole};
        let (value, ty) = match (name, types.as_slice()) {
            ("contains", [Text, Text]) => (binary(Binary::ContainsCs, next(), next()), Truth),
            ("startswith", [Text, Text]) => (binary(Binary::StartsWithCs, next(), next()), Truth),
            ("endswith", [Text, Text]) => (binary(Binary::EndsWithCs, next(), next()), Truth),
            ("matchesPattern", [Text, Text]) => (binary(Binary::MatchesRegex, next(), next()), Truth),
            ("tolower", [Text]) => (call("tolower", [next()]), Text),
            ("toupper", [Text]) => (call("toupper", [next()]), Text),
            ("length", [Text]) => (call("strlen", [next()]), Whole),
            ("indexof", [Text, Text]) => (call("indexof", [next(), next()]), Whole),
            ("substring", [Text, Whole]) => (call("substring", [next(), next()]), Text),
            ("substring", [Text, Whole, Whole]) => (call("substring", [next(), next(), next()]), Text),
            ("trim", [Text]) => (call("trim", [text(r"\s+"), next()]), Text),
            ("concat", [Text, Text]) => (call("strcat", [next(), next()]), Text),
            ("year", [Instant]) => (call("getyear", [next()]), Whole),
            ("month", [Instant]) => (call("monthofyear", [next()]), Whole),
            ("day", [Instant]) => (call("dayofmonth", [next()]), Whole),
            ("hour", [Instant]) => (call("hourofday", [next()]), Whole),
            ("minute", [Instant]) => (call("datetime_part", [text("minute"), next()]), Whole),
            ("second", [Instant]) => (call("datetime_part", [text("second"), next()]), Whole),
            ("fractionalseconds", [Instant]) => {
                let of = next();
                let whole = call("bin", [of.clone(), second()]);
                (binary(Binary::Divide, binary(Binary::Subtract, of, whole), second()), Number)
            }
            ("date", [Instant]) => (call("startofday", [next()]), Instant),
            ("totaloffsetminutes", [Instant]) => (long(0), Whole),
            ("totalseconds", [Span]) => (binary(Binary::Divide, next(), second()), Number),
            ("now", []) => (call("now", []), Instant),
            ("mindatetime", []) => (literal(Value::DateTime(DateTime::MIN), Type::DateTime), Instant),
            ("maxdatetime", []) => (literal(Value::DateTime(DateTime::MAX), Type::DateTime), Instant),
            ("round", [ty @ (Whole | Number)]) => (call("round", [next()]), *ty),
            ("floor", [ty @ (Whole | Number)]) => (call("bin", [next(), long(1)]), *ty),
            ("ceiling", [ty @ (Whole | Number)]) => (call("ceiling", [next()]), *ty),
            _ if KNOWN.contains(&name) => {
                let types: Vec<_> = types.iter().map(|ty| ty.name()).collect();
                return Err(self.wrong(format!("{name}({}) is not defined", types.join(", "))));
            }
            _ => return Err(self.wrong(format!("there is no function `{name}`"))),
        };
        self.sized(Typed::new(value, ty, ty != Text).with(2 * pieces + 3))
    }

    /// `cast(value, Edm.Type)`
    fn cast(&mut self) -> Result<Typed, Failure> {
        let of = self.expression()?;
        self.expect(',')?;
        let Kind::Word(to) = self.peek().clone() else { return Err(self.wrong("the name of a type expected")) };
        self.at += 1;
        self.expect(')')?;
        let (function, ty) = match to.as_str() {
            "Edm.String" => ("tostring", Ty::Text),
            "Edm.Boolean" => ("tobool", Ty::Bool),
            "Edm.Byte" | "Edm.SByte" | "Edm.Int16" | "Edm.Int32" => ("toint", Ty::Whole),
            "Edm.Int64" => ("tolong", Ty::Whole),
            "Edm.Double" | "Edm.Single" => ("toreal", Ty::Number),
            "Edm.Decimal" => ("todecimal", Ty::Number),
            "Edm.DateTimeOffset" | "Edm.Date" => ("todatetime", Ty::Instant),
            "Edm.Duration" => ("totimespan", Ty::Span),
            "Edm.Guid" => ("toguid", Ty::Guid),
            _ => return Err(Failure::not_implemented(&format!("a cast to {to}"))),
        };
        let pieces = of.pieces + 1;
        self.sized(Typed::new(call(function, [of.definite().truth()]), ty, true).with(pieces))
    }
}

/// Functions that are here, for other arguments.
const KNOWN: [&str; 27] = [
    "contains",
    "startswith",
    "endswith",
    "matchesPattern",
    "tolower",
    "toupper",
    "length",
    "indexof",
    "substring",
    "trim",
    "concat",
    "year",
    "month",
    "day",
    "hour",
    "minute",
    "second",
    "fractionalseconds",
    "date",
    "totaloffsetminutes",
    "totalseconds",
    "now",
    "mindatetime",
    "maxdatetime",
    "round",
    "floor",
    "ceiling",
];
/// Functions of the protocol that are not.
const ELSEWHERE: [&str; 6] = ["time", "totalminutes", "case", "isof", "hassubset", "hassubsequence"];

/// A value alone.
///
/// # Errors
/// When it is none.
pub fn value(text: &str, scope: Scope) -> Result<Typed, Failure> {
    let mut parser = Parser::new(text, scope, 0)?;
    let value = parser.expression()?;
    parser.end()?;
    Ok(value)
}

/// That a property has the value of a literal.
///
/// # Errors
/// When it is none of the property's type.
pub fn is_literal(property: &Property, text: &str, scope: Scope) -> Result<Expr, Failure> {
    let mut parser = Parser::new(text, Scope { properties: &[], ..scope }, 0)?;
    let value = parser.primary()?;
    parser.end()?;
    if value.ty == Ty::Null {
        return Err(Failure::bad_request("null is no value of a key"));
    }
    Ok(parser.equal(column(property), value, false)?.expr)
}
