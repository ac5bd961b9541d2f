//! Checked expressions, and their values over rows.

use std::cmp::Ordering;
use std::sync::Arc;

use crate::ast::{Binary, Type};
use crate::functions::{Function, cast, dates};
use crate::row::Row;
use crate::time::{Ticks, Unit};
use crate::value::Value;

/// A value, or what is wrong with the event.
pub(crate) type Evaluated = Result<Value, String>;

/// An expression whose names are resolved.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Expr {
    Literal(Value),
    /// The whole row of a slot.
    Slot(usize),
    /// The time of the row of a slot.
    SlotTime(usize),
    /// A column of the row of a slot.
    Field(usize, Arc<str>),
    Member(Box<Expr>, Arc<str>),
    /// The time of the row, or the end of the window.
    Timestamp,
    /// A property that the sender of the row in a slot attached to it.
    UserProperty(usize, Arc<str>),
    /// The value of a key of the group.
    Key(usize),
    Aggregate(usize),
    Analytic(usize),
    Window(WindowPart),
    Negate(Box<Expr>),
    Not(Box<Expr>),
    And(Vec<Expr>),
    Or(Vec<Expr>),
    Binary(Binary, Box<Expr>, Box<Expr>),
    IsNull(Box<Expr>, bool),
    Between(Box<[Expr; 3]>, bool),
    In(Box<Expr>, Vec<Expr>, bool),
    /// Whether a text matches.
    Like(Box<Expr>, Pattern, bool),
    /// 1 or 0: whether a text contains a match.
    Matches(Box<Expr>, Pattern),
    /// Where a match begins, from 1, or 0.
    PatternIndex(Box<Expr>, Pattern),
    Case(Vec<(Expr, Expr)>, Box<Expr>),
    Coalesce(Vec<Expr>),
    Cast(Box<Expr>, Type, bool),
    Date(DatePart, Unit, Vec<Expr>),
    Call(&'static Function, Vec<Expr>),
}

/// What is done with a unit of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DatePart {
    Add,
    Difference,
    Number,
    Name,
}

/// A part of `System.Window()`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WindowPart {
    Id,
    Start,
    End,
}

/// A regular expression, equal to those of the same text.
#[derive(Debug, Clone)]
pub(crate) struct Pattern(pub(crate) regex::Regex);

impl PartialEq for Pattern {
    fn eq(&self, other: &Pattern) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

/// What names stand for while one expression is evaluated.
#[derive(Clone, Copy, Default)]
pub(crate) struct Env<'a> {
    pub slots: &'a [Row],
    pub timestamp: Ticks,
    pub analytics: &'a [Value],
    pub keys: &'a [Value],
    pub aggregates: &'a [Value],
    pub window: Option<(&'a Option<Arc<str>>, Option<Ticks>)>,
}

impl Expr {
    pub(crate) fn evaluate(&self, env: &Env<'_>) -> Evaluated {
        Ok(match self {
            Expr::Literal(value) => value.clone(),
            Expr::Slot(slot) => env.slots[*slot].value.clone(),
            Expr::SlotTime(slot) => match &env.slots[*slot] {
                row if row.timestamp == Ticks::MIN => Value::Null,
                row => Value::Datetime(row.timestamp),
            },
            Expr::Field(slot, name) => env.slots[*slot].value.member(name).clone(),
            Expr::Member(inner, name) => match &**inner {
                // Without a copy of the record around it.
                Expr::Field(slot, outer) => env.slots[*slot].value.member(outer).member(name).clone(),
                _ => inner.evaluate(env)?.member(name).clone(),
            },
            Expr::Timestamp => Value::Datetime(env.timestamp),
            Expr::UserProperty(slot, name) => match &env.slots[*slot].user {
                Some(user) => user.member(name).clone(),
                None => Value::Null,
            },
            Expr::Key(index) => env.keys[*index].clone(),
            Expr::Aggregate(index) => env.aggregates[*index].clone(),
            Expr::Analytic(index) => env.analytics[*index].clone(),
            Expr::Window(part) => match (part, env.window) {
                (WindowPart::Id, Some((Some(id), _))) => Value::Text(id.clone()),
                (WindowPart::Start, Some((_, Some(start)))) => Value::Datetime(start),
                (WindowPart::End, Some(_)) => Value::Datetime(env.timestamp),
                _ => Value::Null,
            },
            Expr::Negate(inner) => match inner.evaluate(env)? {
                Value::Null => Value::Null,
                Value::Bigint(number) => Value::Bigint(number.checked_neg().ok_or("a bigint overflows")?),
                Value::Float(number) => Value::Float(-number),
                other => return Err(format!("a {} has no sign", name(&other))),
            },
            Expr::Not(inner) => match truth(inner.evaluate(env)?)? {
                Some(value) => Value::Bit(!value),
                None => Value::Null,
            },
            Expr::And(terms) => junction(terms, env, false)?,
            Expr::Or(terms) => junction(terms, env, true)?,
            Expr::Binary(operator, left, right) => binary(*operator, left.evaluate(env)?, right.evaluate(env)?)?,
            Expr::IsNull(inner, negated) => Value::Bit(inner.evaluate(env)?.is_null() != *negated),
            Expr::Between(three, negated) => {
                let [value, low, high] = &**three;
                let value = value.evaluate(env)?;
                let above = value.compare(&low.evaluate(env)?)?.map(|order| order != Ordering::Less);
                let below = value.compare(&high.evaluate(env)?)?.map(|order| order != Ordering::Greater);
                match (above, below) {
                    (Some(false), _) | (_, Some(false)) => Value::Bit(*negated),
                    (Some(true), Some(true)) => Value::Bit(!*negated),
                    _ => Value::Null,
                }
            }
            Expr::In(value, items, negated) => {
                let value = value.evaluate(env)?;
                let mut unknown = value.is_null();
                for item in items {
                    match value.compare(&item.evaluate(env)?)? {
                        Some(Ordering::Equal) => return Ok(Value::Bit(!*negated)),
                        Some(_) => {}
                        None => unknown = true,
                    }
                }
                if unknown { Value::Null } else { Value::Bit(*negated) }
            }
            Expr::Like(value, pattern, negated) => match text(value.evaluate(env)?)? {
                Some(value) => Value::Bit(pattern.0.is_match(&value) != *negated),
                None => Value::Null,
            },
            Expr::Matches(value, pattern) => match text(value.evaluate(env)?)? {
                Some(value) => Value::Bigint(i64::from(pattern.0.is_match(&value))),
                None => Value::Null,
            },
            Expr::PatternIndex(value, pattern) => match text(value.evaluate(env)?)? {
                Some(value) => {
                    let found = pattern.0.captures(&value).and_then(|found| found.get(1));
                    Value::Bigint(found.map_or(0, |found| value[..found.start()].chars().count() as i64 + 1))
                }
                None => Value::Null,
            },
            Expr::Case(whens, otherwise) => {
                for (when, then) in whens {
                    if truth(when.evaluate(env)?)? == Some(true) {
                        return then.evaluate(env);
                    }
                }
                otherwise.evaluate(env)?
            }
            Expr::Coalesce(values) => {
                for value in values {
                    let value = value.evaluate(env)?;
                    if !value.is_null() {
                        return Ok(value);
                    }
                }
                Value::Null
            }
            Expr::Cast(inner, kind, attempt) => match cast(inner.evaluate(env)?, *kind) {
                Err(_) if *attempt => Value::Null,
                result => result?,
            },
            Expr::Date(part, unit, args) => {
                let values = args.iter().map(|arg| arg.evaluate(env)).collect::<Result<Vec<_>, _>>()?;
                dates::run(*part, *unit, &values)?
            }
            Expr::Call(function, args) => {
                let values = args.iter().map(|arg| arg.evaluate(env)).collect::<Result<Vec<_>, _>>()?;
                (function.run)(&values).map_err(|error| format!("{}: {error}", function.name))?
            }
        })
    }

    /// Whether this condition is known to hold.
    pub(crate) fn holds(&self, env: &Env<'_>) -> Result<bool, String> {
        Ok(truth(self.evaluate(env)?)? == Some(true))
    }

    /// The expressions this is made of.
    pub(crate) fn children_mut(&mut self) -> Vec<&mut Expr> {
        match self {
            Expr::Literal(_)
            | Expr::Slot(_)
            | Expr::SlotTime(_)
            | Expr::Field(..)
            | Expr::Timestamp
            | Expr::UserProperty(..)
            | Expr::Key(_)
            | Expr::Aggregate(_)
            | Expr::Analytic(_)
            | Expr::Window(_) => Vec::new(),
            Expr::Member(inner, _)
            | Expr::Negate(inner)
            | Expr::Not(inner)
            | Expr::IsNull(inner, _)
            | Expr::Like(inner, ..)
            | Expr::Matches(inner, _)
            | Expr::PatternIndex(inner, _)
            | Expr::Cast(inner, ..) => vec![inner],
            Expr::And(inner)
            | Expr::Or(inner)
            | Expr::Coalesce(inner)
            | Expr::Date(_, _, inner)
            | Expr::Call(_, inner) => inner.iter_mut().collect(),
            Expr::Binary(_, left, right) => vec![left, right],
            Expr::Between(three, _) => three.iter_mut().collect(),
            Expr::In(value, items, _) => std::iter::once(&mut **value).chain(items).collect(),
            Expr::Case(whens, otherwise) => {
                whens.iter_mut().flat_map(|(when, then)| [when, then]).chain([&mut **otherwise]).collect()
            }
        }
    }

    /// Moves every slot this reads by `count`, none of them below zero.
    pub(crate) fn shift(&mut self, count: isize) {
        match self {
            Expr::Slot(slot) | Expr::SlotTime(slot) | Expr::Field(slot, _) | Expr::UserProperty(slot, _) => {
                *slot = slot.saturating_add_signed(count)
            }
            _ => self.children_mut().into_iter().for_each(|child| child.shift(count)),
        }
    }

    /// Which slots this reads.
    pub(crate) fn slots(&mut self, found: &mut Vec<usize>) {
        match self {
            Expr::Slot(slot) | Expr::SlotTime(slot) | Expr::Field(slot, _) | Expr::UserProperty(slot, _) => {
                found.push(*slot)
            }
            _ => self.children_mut().into_iter().for_each(|child| child.slots(found)),
        }
    }
}

fn name(value: &Value) -> &'static str {
    value.kind().unwrap_or("null")
}

fn text(value: Value) -> Result<Option<Arc<str>>, String> {
    match value {
        Value::Null => Ok(None),
        Value::Text(text) => Ok(Some(text)),
        other => Err(format!("a {} is no text", name(&other))),
    }
}

fn truth(value: Value) -> Result<Option<bool>, String> {
    match value {
        Value::Null => Ok(None),
        Value::Bit(value) => Ok(Some(value)),
        Value::Bigint(number) => Ok(Some(number != 0)),
        other => Err(format!("a {} is no condition", name(&other))),
    }
}

/// AND (decided by false) and OR (decided by true) of three values.
fn junction(terms: &[Expr], env: &Env<'_>, decides: bool) -> Evaluated {
    let mut unknown = false;
    for term in terms {
        match truth(term.evaluate(env)?)? {
            Some(value) if value == decides => return Ok(Value::Bit(decides)),
            Some(_) => {}
            None => unknown = true,
        }
    }
    Ok(if unknown { Value::Null } else { Value::Bit(!decides) })
}

fn binary(operator: Binary, left: Value, right: Value) -> Evaluated {
    use Binary::{
        Add, Divide, Equal, Greater, GreaterOrEqual, Less, LessOrEqual, Modulo, Multiply, NotEqual, Subtract,
    };
    if matches!(operator, Add | Subtract | Multiply | Divide | Modulo) {
        return arithmetic(operator, left, right);
    }
    if matches!((&left, &right), (Value::Array(_), Value::Array(_)) | (Value::Record(_), Value::Record(_)))
        && !matches!(operator, Equal | NotEqual)
    {
        return Err(format!("a {} has no order", name(&left)));
    }
    Ok(match left.compare(&right)? {
        None => Value::Null,
        Some(order) => Value::Bit(match operator {
            Equal => order == Ordering::Equal,
            NotEqual => order != Ordering::Equal,
            Less => order == Ordering::Less,
            LessOrEqual => order != Ordering::Greater,
            Greater => order == Ordering::Greater,
            GreaterOrEqual => order != Ordering::Less,
            Add | Subtract | Multiply | Divide | Modulo => unreachable!("handled above"),
        }),
    })
}

fn arithmetic(operator: Binary, left: Value, right: Value) -> Evaluated {
    match (&left, &right) {
        (Value::Null, _) | (_, Value::Null) => return Ok(Value::Null),
        (Value::Text(left), Value::Text(right)) if operator == Binary::Add => {
            return Ok(Value::Text(format!("{left}{right}").into()));
        }
        (Value::Bigint(left), Value::Bigint(right)) => {
            let (left, right) = (*left, *right);
            let result = match operator {
                Binary::Add => left.checked_add(right),
                Binary::Subtract => left.checked_sub(right),
                Binary::Multiply => left.checked_mul(right),
                _ if right == 0 => return Err("division by zero".to_owned()),
                Binary::Divide => left.checked_div(right),
                _ => left.checked_rem(right),
            };
            return result.map(Value::Bigint).ok_or_else(|| "a bigint overflows".to_owned());
        }
        _ => {}
    }
    let (Some(left_number), Some(right_number)) = (left.number(), right.number()) else {
        return Err(format!("no arithmetic between {} and {}", name(&left), name(&right)));
    };
    let result = match operator {
        Binary::Add => left_number + right_number,
        Binary::Subtract => left_number - right_number,
        Binary::Multiply => left_number * right_number,
        _ if right_number == 0.0 => return Err("division by zero".to_owned()),
        Binary::Divide => left_number / right_number,
        _ => left_number % right_number,
    };
    if result.is_finite() { Ok(Value::Float(result)) } else { Err("a float overflows".to_owned()) }
}
