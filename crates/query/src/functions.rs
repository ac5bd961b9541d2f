//! The functions of the language.
//!
//! An argument of the wrong kind, or missing, makes the result undefined; only the `IS_`
//! functions answer false then. Positions and lengths count characters.

use std::borrow::Cow;

use serde_json::Value;

use crate::ast::{Expr, Function};
use crate::eval::{Scope, evaluate};
use crate::operand::{Operand, equal};

/// Longest text a function makes, in bytes; a longer one is undefined.
pub(crate) const TEXT_BYTES_MAX: usize = 64 * 1024;

/// Name without underscores, function, fewest and most arguments.
const FUNCTIONS: [(&str, Function, usize, usize); 27] = [
    ("ISDEFINED", Function::IsDefined, 1, 1),
    ("ISARRAY", Function::IsArray, 1, 1),
    ("ISBOOL", Function::IsBool, 1, 1),
    ("ISNULL", Function::IsNull, 1, 1),
    ("ISNUMBER", Function::IsNumber, 1, 1),
    ("ISOBJECT", Function::IsObject, 1, 1),
    ("ISPRIMITIVE", Function::IsPrimitive, 1, 1),
    ("ISSTRING", Function::IsString, 1, 1),
    ("STARTSWITH", Function::StartsWith, 2, 2),
    ("ENDSWITH", Function::EndsWith, 2, 2),
    ("CONTAINS", Function::Contains, 2, 2),
    ("ARRAYCONTAINS", Function::ArrayContains, 2, 2),
    ("LENGTH", Function::Length, 1, 1),
    ("LOWER", Function::Lower, 1, 1),
    ("UPPER", Function::Upper, 1, 1),
    ("SUBSTRING", Function::Substring, 2, 3),
    ("INDEXOF", Function::IndexOf, 2, 2),
    ("CONCAT", Function::Concat, 2, usize::MAX),
    ("ASNUMBER", Function::AsNumber, 1, 1),
    ("ABS", Function::Abs, 1, 1),
    ("EXP", Function::Exp, 1, 1),
    ("POWER", Function::Power, 2, 2),
    ("SQUARE", Function::Square, 1, 1),
    ("CEILING", Function::Ceiling, 1, 1),
    ("FLOOR", Function::Floor, 1, 1),
    ("SIGN", Function::Sign, 1, 1),
    ("SQRT", Function::Sqrt, 1, 1),
];

/// Finds a function by name (without regard to case; `STARTSWITH` is `STARTS_WITH`) with the range of its arguments.
pub(crate) fn find(name: &str) -> Option<(Function, std::ops::RangeInclusive<usize>)> {
    let letters = |text: &str| text.bytes().filter(|b| *b != b'_').map(|b| b.to_ascii_uppercase()).collect::<Vec<_>>();
    let wanted = letters(name);
    let (_, function, least, most) = FUNCTIONS.iter().find(|(known, ..)| known.as_bytes() == wanted)?;
    Some((*function, *least..=*most))
}

pub(crate) fn call<'a>(function: Function, arguments: &'a [Expr], scope: &'a impl Scope) -> Operand<'a> {
    let argument = |index: usize| arguments.get(index).map_or(Operand::Undefined, |expr| evaluate(expr, scope));
    match function {
        Function::Concat => return concat(arguments, scope).map(Cow::Owned).into(),
        Function::Substring => return substring(argument(0), &argument(1), arguments.get(2).map(|_| argument(2))),
        _ => {}
    }
    let first = argument(0);
    match function {
        Function::IsDefined => Operand::Bool(first != Operand::Undefined),
        Function::IsArray => Operand::Bool(matches!(first, Operand::Json(Value::Array(_)))),
        Function::IsObject => Operand::Bool(matches!(first, Operand::Json(Value::Object(_)))),
        Function::IsBool => Operand::Bool(matches!(first, Operand::Bool(_))),
        Function::IsNull => Operand::Bool(first == Operand::Null),
        Function::IsNumber => Operand::Bool(first.as_number().is_some()),
        Function::IsString => Operand::Bool(first.as_text().is_some()),
        Function::IsPrimitive => Operand::Bool(!matches!(first, Operand::Undefined | Operand::Json(_))),
        Function::ArrayContains => array_contains(&first, &argument(1)),
        Function::StartsWith | Function::EndsWith | Function::Contains | Function::IndexOf => {
            of_texts(function, &first, &argument(1)).unwrap_or(Operand::Undefined)
        }
        Function::Length | Function::Lower | Function::Upper | Function::AsNumber => {
            of_text(function, first).unwrap_or(Operand::Undefined)
        }
        Function::Power => match (first.as_number(), argument(1).as_number()) {
            (Some(base), Some(exponent)) => Operand::number(base.powf(exponent)),
            _ => Operand::Undefined,
        },
        _ => first.as_number().map_or(Operand::Undefined, |number| Operand::number(of_number(function, number))),
    }
}

fn of_number(function: Function, number: f64) -> f64 {
    match function {
        Function::Abs => number.abs(),
        Function::Exp => number.exp(),
        Function::Square => number * number,
        Function::Ceiling => number.ceil(),
        Function::Floor => number.floor(),
        Function::Sign if number == 0.0 => 0.0,
        Function::Sign => number.signum(),
        Function::Sqrt => number.sqrt(),
        _ => f64::NAN,
    }
}

fn of_text(function: Function, first: Operand<'_>) -> Option<Operand<'_>> {
    if function == Function::AsNumber && first.as_number().is_some() {
        return Some(first);
    }
    let text = first.as_text().filter(|text| text.len() <= TEXT_BYTES_MAX || function == Function::Length)?;
    Some(match function {
        Function::Length => (text.chars().count() as u64).into(),
        Function::Lower => Cow::<str>::Owned(text.to_lowercase()).into(),
        Function::Upper => Cow::<str>::Owned(text.to_uppercase()).into(),
        _ => match text.trim().parse::<i64>() {
            Ok(integer) => Operand::Integer(integer),
            Err(_) => Operand::number(text.trim().parse().ok()?),
        },
    })
}

fn of_texts(function: Function, first: &Operand<'_>, second: &Operand<'_>) -> Option<Operand<'static>> {
    let (text, part) = (first.as_text()?, second.as_text()?);
    Some(match function {
        Function::StartsWith => text.starts_with(part).into(),
        Function::EndsWith => text.ends_with(part).into(),
        Function::Contains => text.contains(part).into(),
        _ => match text.find(part) {
            Some(at) => (text[..at].chars().count() as u64).into(),
            None => Operand::Integer(-1),
        },
    })
}

fn array_contains(array: &Operand<'_>, item: &Operand<'_>) -> Operand<'static> {
    match array {
        Operand::Json(Value::Array(items)) if *item != Operand::Undefined => {
            let same = |found: &Value| match item {
                Operand::Json(wanted) => found == *wanted,
                item => equal(&found.into(), item) == Some(true),
            };
            Operand::Bool(items.iter().any(same))
        }
        _ => Operand::Undefined,
    }
}

/// `SUBSTRING(text, start[, length])`; what lies outside of the text is left out.
fn substring<'a>(text: Operand<'a>, start: &Operand<'_>, length: Option<Operand<'_>>) -> Operand<'a> {
    let count = |operand: &Operand<'_>| match operand {
        Operand::Integer(n) => usize::try_from(*n).ok(),
        _ => None,
    };
    let (Operand::Text(text), Some(start)) = (text, count(start)) else { return Operand::Undefined };
    let length = match length.as_ref().map(count) {
        None => usize::MAX,
        Some(Some(length)) => length,
        Some(None) => return Operand::Undefined,
    };
    let byte_at = |text: &str, index: usize| text.char_indices().nth(index).map_or(text.len(), |(at, _)| at);
    let cut = |text: &str| {
        let from = byte_at(text, start);
        (from, from + byte_at(&text[from..], length))
    };
    let (from, to) = cut(&text);
    match text {
        Cow::Borrowed(text) => Operand::Text(Cow::Borrowed(&text[from..to])),
        Cow::Owned(text) => Operand::Text(Cow::Owned(text[from..to].to_owned())),
    }
}

fn concat(arguments: &[Expr], scope: &impl Scope) -> Option<String> {
    let mut all = String::new();
    for argument in arguments {
        match evaluate(argument, scope) {
            Operand::Text(text) if all.len() + text.len() <= TEXT_BYTES_MAX => all.push_str(&text),
            _ => return None,
        }
    }
    Some(all)
}
