//! Expressions.
//!
//! From loosest to tightest: `or`, `and`, equality and lists, `< <= > >=`, `+ -`, `* / %`, tests
//! of strings, a sign, and members, elements and calls. Only `or`, `and` and arithmetic make
//! chains: `a == b == c` is not of the language.

use super::{Kind, Parser, Result};
use crate::ast::{Binary, Expr, ExprKind, In, Named, Property, SchemaItem, TypeOf};
use crate::value::Type;

/// How tightly an operator binds.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
enum Level {
    Equality,
    Relation,
    Sum,
    Product,
    Text,
}

/// An operator behind a value.
#[derive(Clone, Copy)]
enum Infix {
    /// `like` and its relatives, which nothing documents: read as a call of a function of that
    /// name, which binding does not find.
    Like(&'static str),
    Binary(Binary),
    In(In),
    Between(bool),
}

impl Parser<'_> {
    /// An expression that is one value: no `|` outside parentheses.
    pub(super) fn expr(&mut self) -> Result<Expr> {
        self.logical("or", Self::and, ExprKind::Or)
    }

    fn and(&mut self) -> Result<Expr> {
        self.logical("and", |parser| parser.infix(Level::Equality), ExprKind::And)
    }

    /// Parts with a word between them: one node, however many.
    fn logical(
        &mut self,
        word: &str,
        mut part: impl FnMut(&mut Self) -> Result<Expr>,
        kind: fn(Vec<Expr>) -> ExprKind,
    ) -> Result<Expr> {
        let outer = std::mem::take(&mut self.tallest);
        let start = self.token(0);
        let first = part(self)?;
        let mut whole = first;
        if self.is_word(word) {
            let mut parts = vec![whole];
            while self.eat_word(word) {
                parts.push(part(self)?);
            }
            let span = self.since(start);
            whole = self.make(kind(parts), span)?;
        }
        self.tallest = self.tallest.max(outer);
        Ok(whole)
    }

    /// A chain of operators of at least this level, grouped from the left.
    fn infix(&mut self, least: Level) -> Result<Expr> {
        let outer = std::mem::take(&mut self.tallest);
        let start = self.token(0);
        let mut left = self.sign()?;
        // Behind an operator that makes no chain, only looser ones may follow.
        let mut tightest = Level::Text;
        while let Some((infix, level, tokens)) = self.infix_here(least) {
            if level > tightest {
                break;
            }
            self.at += tokens;
            let kind = match infix {
                Infix::Binary(op) => {
                    let right = match level {
                        Level::Equality => self.infix(Level::Relation)?,
                        Level::Relation => self.infix(Level::Sum)?,
                        Level::Sum => self.infix(Level::Product)?,
                        Level::Product => self.infix(Level::Text)?,
                        Level::Text => self.sign()?,
                    };
                    ExprKind::Binary { op, left: Box::new(left), right: Box::new(right) }
                }
                Infix::Like(name) => {
                    let span = self.tokens[self.at - 1].span();
                    let right = self.sign()?;
                    let argument = |value| Named { names: Vec::new(), tuple: false, value };
                    let name = crate::ast::Name { text: name.into(), span };
                    ExprKind::Call { name, arguments: vec![argument(left), argument(right)] }
                }
                Infix::In(op) => {
                    self.expect_sign("(")?;
                    let list = self.nested(|parser| parser.list(Self::pipe))?;
                    self.expect_sign(")")?;
                    ExprKind::In { op, value: Box::new(left), list }
                }
                Infix::Between(negated) => {
                    self.expect_sign("(")?;
                    let low = self.nested(|parser| parser.infix(Level::Sum))?;
                    self.expect_sign("..")?;
                    let high = self.nested(|parser| parser.infix(Level::Relation))?;
                    self.expect_sign(")")?;
                    ExprKind::Between { negated, value: Box::new(left), low: Box::new(low), high: Box::new(high) }
                }
            };
            let span = self.since(start);
            left = self.make(kind, span)?;
            match level {
                Level::Equality => break,
                Level::Relation => tightest = Level::Equality,
                Level::Text => tightest = Level::Product,
                Level::Sum | Level::Product => tightest = level,
            }
        }
        self.tallest = self.tallest.max(outer);
        Ok(left)
    }

    /// The operator here, if it binds at least so tightly, its level and how many tokens it has.
    fn infix_here(&self, least: Level) -> Option<(Infix, Level, usize)> {
        let token = self.token(0);
        let text = self.text_of(token);
        let (infix, level, tokens) = match token.kind {
            Kind::Sign => {
                let (op, level) = match text {
                    "*" => (Binary::Multiply, Level::Product),
                    "/" => (Binary::Divide, Level::Product),
                    "%" => (Binary::Modulo, Level::Product),
                    "+" => (Binary::Add, Level::Sum),
                    "-" => (Binary::Subtract, Level::Sum),
                    "==" => (Binary::Equal, Level::Equality),
                    "!=" | "<>" => (Binary::NotEqual, Level::Equality),
                    "<" => (Binary::Less, Level::Relation),
                    "<=" => (Binary::LessOrEqual, Level::Relation),
                    ">" => (Binary::Greater, Level::Relation),
                    ">=" => (Binary::GreaterOrEqual, Level::Relation),
                    "=~" => (Binary::EqualNoCase, Level::Text),
                    "!~" => (Binary::NotEqualNoCase, Level::Text),
                    ":" => (Binary::Has, Level::Text),
                    _ => return None,
                };
                (Infix::Binary(op), level, 1)
            }
            Kind::Word => {
                let infix = match text {
                    "in" => Infix::In(In::In),
                    "!in" => Infix::In(In::NotIn),
                    "in~" => Infix::In(In::InNoCase),
                    "!in~" => Infix::In(In::NotInNoCase),
                    "has_any" => Infix::In(In::HasAny),
                    "has_all" => Infix::In(In::HasAll),
                    "between" => Infix::Between(false),
                    "!between" => Infix::Between(true),
                    "like" => Infix::Like("like"),
                    "notlike" => Infix::Like("notlike"),
                    "likecs" => Infix::Like("likecs"),
                    "notlikecs" => Infix::Like("notlikecs"),
                    "matches" if self.word(1) == Some("regex") => Infix::Binary(Binary::MatchesRegex),
                    word => Infix::Binary(text_test(word)?),
                };
                let level =
                    if matches!(infix, Infix::Binary(_) | Infix::Like(_)) { Level::Text } else { Level::Equality };
                (infix, level, if text == "matches" { 2 } else { 1 })
            }
            _ => return None,
        };
        (level >= least).then_some((infix, level, tokens))
    }

    fn sign(&mut self) -> Result<Expr> {
        let start = self.token(0);
        if !self.is_sign("-") && !self.is_sign("+") {
            return self.postfix();
        }
        let negative = self.text_of(start) == "-";
        self.advance();
        let of = self.postfix()?;
        let span = self.since(start);
        self.make(ExprKind::Sign { negative, of: Box::new(of) }, span)
    }

    /// A value with members, elements and calls behind it.
    pub(super) fn postfix(&mut self) -> Result<Expr> {
        let outer = std::mem::take(&mut self.tallest);
        let start = self.token(0);
        let mut of = self.primary()?;
        loop {
            let simple = matches!(of.kind, ExprKind::Literal(_, ty) if ty != Type::Dynamic);
            // `d.[0]` is `d[0]`.
            let dotted = self.is_sign(".") && self.is_sign_at(1, "[") && !self.is_bracketed_name(1) && !simple;
            self.at += usize::from(dotted);
            let kind = if self.is_sign(".") && !simple {
                self.advance();
                let member = self.member()?;
                ExprKind::Path { of: Box::new(of), member: Box::new(member) }
            } else if self.is_sign("[") && !simple {
                self.advance();
                let index = self.nested(Self::expr)?;
                self.expect_sign("]")?;
                ExprKind::Index { of: Box::new(of), index: Box::new(index) }
            } else {
                break;
            };
            let span = self.since(start);
            of = self.make(kind, span)?;
        }
        self.tallest = self.tallest.max(outer);
        Ok(of)
    }

    /// What may stand behind a dot.
    fn member(&mut self) -> Result<Expr> {
        if self.is_wildcard() {
            return self.wildcard();
        }
        let start = self.token(0);
        if start.kind == Kind::Typed {
            // `a.time(...)` is no literal; nothing has such a member.
            return self.expected("a member");
        }
        let name = self.name()?;
        if self.is_sign("(") {
            return self.call(name);
        }
        let span = self.since(start);
        self.make(ExprKind::Name(name.text), span)
    }

    fn primary(&mut self) -> Result<Expr> {
        let start = self.token(0);
        if let Some(literal) = self.try_literal()? {
            return Ok(literal);
        }
        if self.eat_sign("(") {
            let mut inner = self.sub_pipe()?;
            self.expect_sign(")")?;
            inner.span = self.since(start);
            return Ok(inner);
        }
        if self.is_sign("*") {
            self.advance();
            return self.make(ExprKind::Wildcard("*".into()), start.span());
        }
        match self.word(0) {
            Some("typeof") if self.is_sign_at(1, "(") => {
                self.at += 2;
                let ty = self.type_of()?;
                let span = self.since(start);
                return self.make(ExprKind::TypeOf(ty), span);
            }
            Some("datatable") if self.is_sign_at(1, "(") || self.property_follows(1) => return self.data_table(),
            Some("externaldata" | "external_data") if self.is_sign_at(1, "(") || self.property_follows(1) => {
                return self.external_data();
            }
            Some("inline_external_table") if self.is_sign_at(1, "(") || self.property_follows(1) => {
                return self.inline_external_table();
            }
            Some("entity_group") if self.is_sign_at(1, "[") => {
                self.at += 2;
                let entities = self.nested(|parser| parser.list_until("]", Self::source))?;
                let span = self.since(start);
                return self.make(ExprKind::EntityGroup(entities), span);
            }
            _ => {}
        }
        let Some(name) = self.try_name()? else { return self.expected("an expression") };
        if self.is_sign("(") {
            return self.call(name);
        }
        let span = name.span;
        self.make(ExprKind::Name(name.text), span)
    }

    fn call(&mut self, name: crate::ast::Name) -> Result<Expr> {
        let start = name.span;
        self.expect_sign("(")?;
        // Only these take operators without parentheses of their own.
        let tables = matches!(name.text.as_str(), "toscalar" | "materialize" | "totable");
        let arguments = self.nested(|parser| parser.list_until(")", |parser| parser.argument(tables)))?;
        let span = start.to(self.tokens[self.at - 1].span());
        self.make(ExprKind::Call { name, arguments }, span)
    }

    /// `value` or `name = value`.
    fn argument(&mut self, table: bool) -> Result<Named> {
        let names = self.names_before_equals()?;
        let value = if table { self.pipe()? } else { self.expr()? };
        Ok(Named { names, tuple: false, value })
    }

    fn names_before_equals(&mut self) -> Result<Vec<crate::ast::Name>> {
        // Before `=` every word is a name.
        let length = if self.is_bracketed_name(0) { 3 } else { usize::from(self.word(0).is_some()) };
        if length > 0 && self.is_sign_at(length, "=") {
            let name = self.any_word()?;
            self.expect_sign("=")?;
            return Ok(vec![name]);
        }
        Ok(Vec::new())
    }

    /// `value`, `name = value` or `(a, b) = value`
    pub(super) fn named(&mut self) -> Result<Named> {
        if self.at_tuple() {
            self.expect_sign("(")?;
            let names = self.list_until(")", Self::any_word)?;
            self.expect_sign("=")?;
            return Ok(Named { names, tuple: true, value: self.expr()? });
        }
        let names = self.names_before_equals()?;
        Ok(Named { names, tuple: false, value: self.expr()? })
    }

    /// Names between parentheses with `=` behind.
    fn at_tuple(&self) -> bool {
        if !self.is_sign("(") {
            return false;
        }
        let mut ahead = 1;
        loop {
            ahead += if self.is_bracketed_name(ahead) {
                3
            } else if self.word(ahead).is_some() {
                1
            } else {
                return false;
            };
            if self.is_sign_at(ahead, ")") {
                return self.is_sign_at(ahead + 1, "=");
            }
            if !self.is_sign_at(ahead, ",") {
                return false;
            }
            ahead += 1;
        }
    }

    /// Whether the name here has a `*` that touches it, or is one.
    pub(super) fn is_wildcard(&self) -> bool {
        self.is_sign("*") || self.word(0).is_some() && self.is_sign_at(1, "*") && self.touches(0)
    }

    /// `T*`, `*_x`, `*`
    pub(super) fn wildcard(&mut self) -> Result<Expr> {
        let start = self.token(0);
        self.advance();
        while self.tokens[self.at - 1].end == self.token(0).start
            && (self.is_sign("*") || matches!(self.token(0).kind, Kind::Word | Kind::Long))
        {
            self.advance();
        }
        let span = self.since(start);
        self.make(ExprKind::Wildcard(span.of(self.text).into()), span)
    }

    /// A name, a wildcard, or whatever else a column or table may be given by.
    pub(super) fn name_or_wildcard(&mut self) -> Result<Expr> {
        if self.is_wildcard() { self.wildcard() } else { self.postfix() }
    }

    /// What is in `typeof(...)`, with the closing parenthesis.
    fn type_of(&mut self) -> Result<TypeOf> {
        if let Some(ty) = self.word(0).and_then(Type::from_name)
            && self.is_sign_at(1, ")")
        {
            self.at += 2;
            return Ok(TypeOf::Scalar(ty));
        }
        Ok(TypeOf::Schema(self.list_until(")", Self::schema_item)?))
    }

    pub(super) fn schema_item(&mut self) -> Result<SchemaItem> {
        if self.eat_sign("*") {
            return Ok(SchemaItem::Star);
        }
        self.column_declaration().map(SchemaItem::Column)
    }

    fn data_table(&mut self) -> Result<Expr> {
        let start = self.advance();
        let properties = self.properties(&[])?;
        let schema = self.schema()?;
        self.expect_sign("[")?;
        let mut values = Vec::new();
        while !self.eat_sign("]") {
            // Beside each other, not on each other.
            let outer = std::mem::take(&mut self.tallest);
            values.push(self.signed_literal()?);
            self.tallest = self.tallest.max(outer);
            if !self.is_sign("]") {
                self.expect_sign(",")?;
            }
        }
        let span = self.since(start);
        self.make(ExprKind::DataTable { schema, values, properties }, span)
    }

    fn external_data(&mut self) -> Result<Expr> {
        let start = self.advance();
        let mut properties = self.properties(&[])?;
        let schema = self.schema()?;
        self.expect_sign("[")?;
        let mut uris = Vec::new();
        while !self.eat_sign("]") {
            uris.push(self.nested(Self::expr)?);
            if !self.is_sign("]") {
                self.expect_sign(",")?;
            }
        }
        if self.eat_word("with") {
            self.expect_sign("(")?;
            properties.extend(self.list_until(")", Self::property)?);
        }
        let span = self.since(start);
        self.make(ExprKind::ExternalData { schema, uris, properties }, span)
    }

    /// `inline_external_table [(schema)] kind=k properties (connections) [with (properties)]`
    fn inline_external_table(&mut self) -> Result<Expr> {
        let start = self.advance();
        if self.is_sign("(") {
            self.schema()?;
        }
        while !self.is_sign("(") {
            // `partition by (date:datetime = bin(t, 1d)) pathformat = (...)`
            if self.eat_word("partition") {
                self.expect_word("by")?;
                self.skip_parentheses()?;
            } else if self.is_word("pathformat") && self.is_sign_at(1, "=") {
                self.at += 2;
                self.skip_parentheses()?;
            } else {
                self.property()?;
            }
        }
        self.expect_sign("(")?;
        self.nested(|parser| parser.list_until(")", Self::expr))?;
        if self.eat_word("with") {
            self.expect_sign("(")?;
            self.list_until(")", Self::property)?;
        }
        let span = self.since(start);
        self.make(ExprKind::InlineExternalTable, span)
    }

    pub(crate) fn skip_parentheses(&mut self) -> Result<()> {
        self.expect_sign("(")?;
        let mut open = 1;
        while open > 0 {
            open += i32::from(self.is_sign("(")) - i32::from(self.is_sign(")"));
            if self.advance().kind == Kind::End {
                return self.expected("`)`");
            }
        }
        Ok(())
    }

    /// A literal with or without a sign.
    fn signed_literal(&mut self) -> Result<Expr> {
        let start = self.token(0);
        let negative = self.eat_sign("-");
        if !negative {
            self.eat_sign("+");
        }
        let literal = match self.try_literal()? {
            Some(literal) => literal,
            None => return self.expected("a literal"),
        };
        if !negative {
            return Ok(literal);
        }
        let span = self.since(start);
        self.make(ExprKind::Sign { negative, of: Box::new(literal) }, span)
    }

    /// `name = value`
    pub(super) fn property(&mut self) -> Result<Property> {
        let name = self.property_name()?;
        self.expect_sign("=")?;
        Ok(Property { name, value: self.property_value()? })
    }

    /// A word, or words with dots between them.
    fn property_name(&mut self) -> Result<crate::ast::Name> {
        let mut name = self.any_word()?;
        while self.is_sign(".") {
            self.advance();
            let more = self.any_word()?;
            name.span = name.span.to(more.span);
            name.text = format!("{}.{}", name.text, more.text);
        }
        Ok(name)
    }

    /// Whether `name =` or `hint.name =` stands there.
    pub(super) fn property_follows(&self, ahead: usize) -> bool {
        self.word(ahead).is_some()
            && (self.is_sign_at(ahead + 1, "=") || self.word(ahead) == Some("hint") && self.is_sign_at(ahead + 1, "."))
    }

    /// The properties of an operator: those of these names, and every `hint.`.
    pub(super) fn properties(&mut self, known: &[&str]) -> Result<Vec<Property>> {
        let mut properties = Vec::new();
        while self.property_follows(0) && self.word(0).is_some_and(|word| word == "hint" || known.contains(&word)) {
            properties.push(self.property()?);
        }
        Ok(properties)
    }

    /// A literal, or a word for a text.
    pub(crate) fn property_value(&mut self) -> Result<Expr> {
        let start = self.token(0);
        if start.kind == Kind::Word
            && !matches!(self.text_of(start), "true" | "false" | "dynamic" | "True" | "False" | "TRUE" | "FALSE")
        {
            let mut name = self.any_word()?;
            // `kind=leftouter`, `granny-asc`.
            while self.is_sign("-") && self.touches(0) && self.word(1).is_some() {
                self.advance();
                let more = self.any_word()?;
                name.span = name.span.to(more.span);
                name.text = format!("{}-{}", name.text, more.text);
            }
            return self.make(ExprKind::Name(name.text), name.span);
        }
        if let Some(name) = if self.is_bracketed_name(0) { self.try_name()? } else { None } {
            return self.make(ExprKind::Name(name.text), name.span);
        }
        let negative = self.eat_sign("-");
        match self.try_literal()? {
            Some(Expr { kind: ExprKind::Literal(value, ty), .. }) => {
                let value = if negative { super::literal::negated(&value).unwrap_or(value) } else { value };
                let span = self.since(start);
                Ok(Expr { kind: ExprKind::Literal(value, ty), span })
            }
            _ => self.expected("a value"),
        }
    }

    /// A name with members behind it: a column, and no call.
    pub(super) fn column_path(&mut self) -> Result<Expr> {
        let start = self.token(0);
        let name = self.name()?;
        let mut of = self.make(ExprKind::Name(name.text), name.span)?;
        while self.eat_sign(".") {
            let name = self.name()?;
            let member = self.make(ExprKind::Name(name.text), name.span)?;
            let span = self.since(start);
            of = self.make(ExprKind::Path { of: Box::new(of), member: Box::new(member) }, span)?;
        }
        Ok(of)
    }
}

/// The tests of strings.
fn text_test(word: &str) -> Option<Binary> {
    const TESTS: [Binary; 24] = [
        Binary::Has,
        Binary::NotHas,
        Binary::HasCs,
        Binary::NotHasCs,
        Binary::HasPrefix,
        Binary::NotHasPrefix,
        Binary::HasPrefixCs,
        Binary::NotHasPrefixCs,
        Binary::HasSuffix,
        Binary::NotHasSuffix,
        Binary::HasSuffixCs,
        Binary::NotHasSuffixCs,
        Binary::Contains,
        Binary::NotContains,
        Binary::ContainsCs,
        Binary::NotContainsCs,
        Binary::StartsWith,
        Binary::NotStartsWith,
        Binary::StartsWithCs,
        Binary::NotStartsWithCs,
        Binary::EndsWith,
        Binary::NotEndsWith,
        Binary::EndsWithCs,
        Binary::NotEndsWithCs,
    ];
    // Older spellings.
    let word = match word {
        "notcontains" => "!contains",
        "notcontainscs" | "notcontains_cs" => "!contains_cs",
        "containscs" => "contains_cs",
        word => word,
    };
    TESTS.into_iter().find(|test| test.symbol() == word)
}
