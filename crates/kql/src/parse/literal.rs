//! Literals.

use super::{Kind, Parser, Result};
use crate::ast::{Binary, Expr, ExprKind, Name, Named};
use crate::diagnostic::{Code, Diagnostic, Span};
use crate::lex::{self, Token};
use crate::value::{
    Bag, DateTime, Decimal, Dynamic, Guid, TimeSpan, Type, Value, parse_bool, parse_long, parse_real, print_real,
};

impl Parser<'_> {
    /// The text of one or more string literals that stand behind each other.
    pub(crate) fn string(&mut self) -> Result<String> {
        if self.token(0).kind != Kind::String {
            return self.expected("a string");
        }
        let mut text = String::new();
        while self.token(0).kind == Kind::String {
            let token = self.advance();
            match lex::string_value(self.text_of(token)) {
                Ok((value, _)) => text.push_str(&value),
                Err(at) => {
                    let at = token.start as usize + at;
                    return self.fault(
                        Code::Syntax,
                        Span::new(at, at + 1),
                        "the string has an escape that means nothing",
                    );
                }
            }
        }
        Ok(text)
    }

    /// The text of one string literal, whatever stands behind it.
    pub(crate) fn one_string(&mut self) -> Result<String> {
        let token = self.token(0);
        if token.kind != Kind::String {
            return self.expected("a string");
        }
        self.advance();
        match lex::string_value(self.text_of(token)) {
            Ok((value, _)) => Ok(value),
            Err(_) => self.fault(Code::Syntax, token.span(), "the string has an escape that means nothing"),
        }
    }

    /// A literal, if one is here.
    pub(super) fn try_literal(&mut self) -> Result<Option<Expr>> {
        let start = self.token(0);
        let (value, ty) = match start.kind {
            Kind::String => (Value::String(self.string()?), Type::String),
            Kind::Long | Kind::Real | Kind::TimeSpan | Kind::Typed => {
                self.advance();
                match literal(self.text_of(start), start.kind) {
                    Some(literal) => literal,
                    None => return self.odd_literal(start).map(Some),
                }
            }
            Kind::Word => match self.text_of(start) {
                "true" | "false" | "True" | "False" | "TRUE" | "FALSE" => {
                    self.advance();
                    let value = self.text_of(start).eq_ignore_ascii_case("true");
                    (Value::Bool(value), Type::Bool)
                }
                "dynamic" if self.is_sign_at(1, "(") => {
                    self.at += 2;
                    let outer = std::mem::take(&mut self.odd);
                    let value = self.nested(Self::dynamic)?;
                    self.expect_sign(")")?;
                    let odd = std::mem::replace(&mut self.odd, outer);
                    if odd {
                        let span = self.since(start);
                        return self.make(ExprKind::BadLiteral(Type::Dynamic), span).map(Some);
                    }
                    let value = if value == Dynamic::Null { Value::Null } else { Value::Dynamic(value) };
                    (value, Type::Dynamic)
                }
                _ => return Ok(None),
            },
            _ => return Ok(None),
        };
        let span = self.since(start);
        self.make(ExprKind::Literal(value, ty), span).map(Some)
    }

    /// `datetime()` is now, `datetime(8:00)` a time of today; other texts that are no value of
    /// their type have the form of a literal all the same.
    fn odd_literal(&mut self, token: Token) -> Result<Expr> {
        let text = self.text_of(token);
        let (name, content) = text.split_once('(').unwrap_or((text, ""));
        let (ty, content) = (Type::from_name(name).unwrap_or(Type::Long), content.trim_end_matches(')').trim());
        let span = token.span();
        let call = |name: &str, arguments| {
            let name = Name { text: name.into(), span };
            Expr { kind: ExprKind::Call { name, arguments }, span }
        };
        let now = call("now", Vec::new());
        if ty == Type::DateTime && content.is_empty() {
            return Ok(now);
        }
        if ty == Type::DateTime
            && content.contains(':')
            && let Some(time) = TimeSpan::parse(content)
        {
            let today = call("startofday", vec![Named { names: Vec::new(), tuple: false, value: now }]);
            let time = Expr { kind: ExprKind::Literal(Value::TimeSpan(time), Type::TimeSpan), span };
            let kind = ExprKind::Binary { op: Binary::Add, left: Box::new(today), right: Box::new(time) };
            return self.make(kind, span);
        }
        self.make(ExprKind::BadLiteral(ty), span)
    }

    /// What is in `dynamic(...)`: JSON, and literals of the language.
    fn dynamic(&mut self) -> Result<Dynamic> {
        let start = self.token(0);
        if self.eat_sign("[") {
            let items = self.list_until("]", |parser| parser.nested(Self::dynamic))?;
            return Ok(Dynamic::Array(items));
        }
        if self.eat_sign("{") {
            let entries = self.list_until("}", |parser| {
                if parser.token(1).kind == Kind::String {
                    return parser.expected("`:` behind a name");
                }
                let name = parser.string()?;
                parser.expect_sign(":")?;
                Ok((name, parser.nested(Self::dynamic)?))
            })?;
            return Ok(Dynamic::Bag(Bag::from_entries(entries)));
        }
        if self.eat_word("null") {
            return Ok(Dynamic::Null);
        }
        if self.eat_sign("-") {
            return match self.dynamic()? {
                Dynamic::Long(value) => Ok(Dynamic::Long(value.wrapping_neg())),
                Dynamic::Real(value) => Ok(Dynamic::Real(-value)),
                Dynamic::TimeSpan(value) => Ok(Dynamic::TimeSpan(TimeSpan(value.0.wrapping_neg()))),
                _ => self.fault(Code::Syntax, self.since(start), "only a number has a sign"),
            };
        }
        match self.try_literal()? {
            Some(Expr { kind: ExprKind::Literal(value, _), .. }) => Ok(value.into_dynamic()),
            Some(_) => {
                self.odd = true;
                Ok(Dynamic::Null)
            }
            None => self.expected("a value of a dynamic"),
        }
    }
}

/// The value of a token that is a literal by itself.
fn literal(text: &str, kind: Kind) -> Option<(Value, Type)> {
    match kind {
        Kind::Long => Some((Value::Long(parse_long(text)?), Type::Long)),
        Kind::Real => Some((Value::Real(parse_real(text)?), Type::Real)),
        Kind::TimeSpan => {
            let unit = text.find(|c: char| c.is_alphabetic())?;
            Some((Value::TimeSpan(TimeSpan::of(&text[..unit], &text[unit..])?), Type::TimeSpan))
        }
        _ => {
            let (name, rest) = text.split_once('(')?;
            let ty = Type::from_name(name.trim())?;
            Some((typed(ty, rest.strip_suffix(')')?.trim())?, ty))
        }
    }
}

/// The value of `type(content)`.
fn typed(ty: Type, content: &str) -> Option<Value> {
    if content == "null" || content.is_empty() && ty != Type::DateTime {
        return Some(Value::Null);
    }
    let quoted;
    let content = if content.len() > 1 && content.starts_with(['"', '\'']) && content.ends_with(&content[..1]) {
        quoted = lex::string_value(content).ok()?.0;
        &quoted
    } else {
        content
    };
    value_of(ty, content)
}

/// The value a text means as a type: what stands in `type(...)`, and what a query parameter is.
pub(crate) fn value_of(ty: Type, text: &str) -> Option<Value> {
    Some(match ty {
        Type::Bool => Value::Bool(parse_bool(text)?),
        Type::Int => Value::Int(i32::try_from(parse_long(text)?).ok()?),
        Type::Long => Value::Long(parse_long(text)?),
        Type::Real => Value::Real(parse_real(text).or_else(|| parse_long(text).map(|long| long as f64))?),
        Type::Decimal => Value::Decimal(Decimal::parse(text)?),
        Type::String => Value::String(text.into()),
        Type::DateTime => Value::DateTime(DateTime::parse(text)?),
        Type::TimeSpan => Value::TimeSpan(TimeSpan::parse(text)?),
        Type::Guid => Value::Guid(Guid::parse(text)?),
        Type::Dynamic | Type::Unknown => return None,
    })
}

/// A text that is one literal, signed or not, as a query parameter's value may be.
pub(crate) fn parse_literal(text: &str) -> Result<(Value, Type)> {
    let tokens = super::tokens(text)?;
    let mut parser = Parser::new(text, &tokens);
    let negative = parser.eat_sign("-");
    let literal = parser.try_literal()?;
    match literal {
        Some(Expr { kind: ExprKind::Literal(value, ty), span }) if parser.token(0).kind == Kind::End => {
            let value = if negative { negated(&value) } else { Some(value) };
            value.map(|value| (value, ty)).ok_or_else(|| {
                Box::new(Diagnostic::new(Code::Syntax, span, format!("`{text:.40}` has a sign and is no number")))
            })
        }
        _ => parser.expected("a literal"),
    }
}

/// The value with the other sign, of numbers and timespans.
pub(crate) fn negated(value: &Value) -> Option<Value> {
    Some(match value {
        Value::Null => Value::Null,
        Value::Int(value) => Value::Int(value.wrapping_neg()),
        Value::Long(value) => Value::Long(value.wrapping_neg()),
        Value::Real(value) => Value::Real(-value),
        Value::Decimal(value) => Value::Decimal(Decimal { mantissa: -value.mantissa, scale: value.scale }),
        Value::TimeSpan(value) => Value::TimeSpan(TimeSpan(value.0.wrapping_neg())),
        _ => return None,
    })
}

/// The literal that gives a value back, as `.show` commands print defaults of parameters.
pub fn print_literal(value: &Value, ty: Type) -> String {
    let quoted = |text: &str| serde_json::to_string(text).expect("a string is always JSON");
    match value {
        Value::Null => format!("{ty}(null)"),
        Value::Bool(value) => value.to_string(),
        Value::Long(value) => value.to_string(),
        Value::Real(value) if value.is_finite() => print_real(*value),
        Value::String(value) => quoted(value),
        Value::Dynamic(value) => format!("dynamic({})", value.to_json()),
        other => format!("{ty}({other})"),
    }
}
