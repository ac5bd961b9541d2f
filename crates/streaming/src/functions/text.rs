//! Functions of texts. Places are counted in characters from 1.

use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};

use super::{Function, TEXT_BYTES_MAX, function, kind, texts, whole};
use crate::expr::Evaluated;
use crate::time;
use crate::value::Value;

pub(super) const FUNCTIONS: &[Function] = &[
    function("concat", 1, usize::MAX, |args| join(args.iter(), "")),
    function("concat_ws", 2, usize::MAX, |args| {
        let Some([between]) = texts(args)? else {
            return Ok(Value::Null);
        };
        join(args[1..].iter().filter(|arg| !arg.is_null()), between)
    }),
    function("len", 1, 1, |args| {
        // Blanks at the end do not count.
        Ok(texts(args)?.map_or(Value::Null, |[text]| Value::Bigint(text.trim_end_matches(' ').chars().count() as i64)))
    }),
    function("lower", 1, 1, |args| map(args, str::to_lowercase)),
    function("upper", 1, 1, |args| map(args, str::to_uppercase)),
    function("trim", 1, 1, |args| map(args, |text| text.trim().to_owned())),
    function("ltrim", 1, 1, |args| map(args, |text| text.trim_start().to_owned())),
    function("rtrim", 1, 1, |args| map(args, |text| text.trim_end().to_owned())),
    function("reverse", 1, 1, |args| map(args, |text| text.chars().rev().collect())),
    function("substring", 3, 3, |args| {
        let (Some([text]), Some(start), Some(length)) = (texts(args)?, whole(&args[1])?, whole(&args[2])?) else {
            return Ok(Value::Null);
        };
        if length < 0 {
            return Err("a length below zero".to_owned());
        }
        let end = start.saturating_add(length).max(1) - 1;
        let start = start.max(1) - 1;
        let taken: String = text
            .chars()
            .skip(usize::try_from(start).unwrap_or(usize::MAX))
            .take(usize::try_from(end - start).unwrap_or(0))
            .collect();
        Ok(Value::Text(taken.into()))
    }),
    function("left", 2, 2, |args| {
        let (Some([text]), Some(length)) = (texts(args)?, whole(&args[1])?) else {
            return Ok(Value::Null);
        };
        let length = usize::try_from(length).map_err(|_| "a length below zero")?;
        Ok(Value::Text(text.chars().take(length).collect::<String>().into()))
    }),
    function("right", 2, 2, |args| {
        let (Some([text]), Some(length)) = (texts(args)?, whole(&args[1])?) else {
            return Ok(Value::Null);
        };
        let length = usize::try_from(length).map_err(|_| "a length below zero")?;
        let skip = text.chars().count().saturating_sub(length);
        Ok(Value::Text(text.chars().skip(skip).collect::<String>().into()))
    }),
    function("charindex", 2, 3, |args| {
        let Some([wanted, text]) = texts(args)? else {
            return Ok(Value::Null);
        };
        let start = match args.get(2) {
            Some(start) => whole(start)?.unwrap_or(1).max(1),
            None => 1,
        };
        let skipped = usize::try_from(start - 1).unwrap_or(usize::MAX);
        let Some((from, _)) = text.char_indices().nth(skipped) else {
            return Ok(Value::Bigint(0));
        };
        if wanted.is_empty() {
            return Ok(Value::Bigint(0));
        }
        let found = text[from..].find(wanted);
        Ok(Value::Bigint(found.map_or(0, |found| text[..from + found].chars().count() as i64 + 1)))
    }),
    function("replace", 3, 3, |args| {
        let Some([text, old, new]) = texts(args)? else {
            return Ok(Value::Null);
        };
        if old.is_empty() {
            return Ok(args[0].clone());
        }
        let grown = text.matches(old).count().saturating_mul(new.len());
        bounded(text.len().saturating_add(grown))?;
        Ok(Value::Text(text.replace(old, new).into()))
    }),
    function("replicate", 2, 2, |args| {
        let (Some([text]), Some(count)) = (texts(args)?, whole(&args[1])?) else {
            return Ok(Value::Null);
        };
        let count = usize::try_from(count).map_err(|_| "a count below zero")?;
        bounded(text.len().saturating_mul(count))?;
        Ok(Value::Text(text.repeat(count).into()))
    }),
    function("split", 2, 2, |args| {
        let Some([text, between]) = texts(args)? else {
            return Ok(Value::Null);
        };
        if between.is_empty() {
            return Ok(Value::Array(vec![Value::from(text)].into()));
        }
        Ok(Value::Array(text.split(between).map(Value::from).collect()))
    }),
    function("hashbytes", 2, 2, |args| {
        let Some([algorithm, text]) = texts(args)? else {
            return Ok(Value::Null);
        };
        let bytes = match algorithm.to_ascii_uppercase().as_str() {
            "MD5" => Md5::digest(text).to_vec(),
            "SHA1" => Sha1::digest(text).to_vec(),
            "SHA2_256" => Sha256::digest(text).to_vec(),
            "SHA2_512" => Sha512::digest(text).to_vec(),
            _ => return Err("the algorithms are MD5, SHA1, SHA2_256 and SHA2_512".to_owned()),
        };
        let digits: String = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
        Ok(Value::Text(digits.into()))
    }),
];

fn bounded(length: usize) -> Result<(), String> {
    if length > TEXT_BYTES_MAX {
        return Err(format!("a text longer than {TEXT_BYTES_MAX} bytes"));
    }
    Ok(())
}

fn map(args: &[Value], change: impl Fn(&str) -> String) -> Evaluated {
    Ok(texts(args)?.map_or(Value::Null, |[text]| Value::Text(change(text).into())))
}

fn join<'a>(args: impl Iterator<Item = &'a Value>, between: &str) -> Evaluated {
    let mut joined = String::new();
    for (index, arg) in args.enumerate() {
        if index > 0 {
            joined.push_str(between);
        }
        match arg {
            // Null is an empty text here.
            Value::Null => {}
            other => joined.push_str(&of(other).ok_or_else(|| format!("a {} is no text", kind(other)))?),
        }
        bounded(joined.len())?;
    }
    Ok(Value::Text(joined.into()))
}

/// A value as text; nothing when it is null.
pub(super) fn of(value: &Value) -> Option<String> {
    Some(match value {
        Value::Null => return None,
        Value::Bigint(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Bit(value) => if *value { "1" } else { "0" }.to_owned(),
        Value::Datetime(ticks) => time::text(*ticks),
        Value::Text(text) => text.to_string(),
        Value::Record(_) | Value::Array(_) => value.to_json().to_string(),
    })
}

/// A pattern of LIKE as a regular expression: `%`, `_`, `[abc]`, `[^a-c]`.
pub(crate) fn like(pattern: &str, escape: Option<char>) -> String {
    let mut expression = String::new();
    let mut rest = pattern.chars();
    let literal = |expression: &mut String, character: char| {
        expression.push_str(&regex::escape(character.encode_utf8(&mut [0; 4])));
    };
    while let Some(character) = rest.next() {
        if Some(character) == escape {
            literal(&mut expression, rest.next().unwrap_or(character));
            continue;
        }
        match character {
            '%' => expression.push_str(".*"),
            '_' => expression.push('.'),
            '[' => match rest.as_str().split_once(']') {
                Some((set, after)) if !set.is_empty() && set != "^" => {
                    rest = after.chars();
                    let (negated, set) = match set.strip_prefix('^') {
                        Some(set) => ("^", set),
                        None => ("", set),
                    };
                    expression.push('[');
                    expression.push_str(negated);
                    for (index, character) in set.char_indices() {
                        let between = index > 0 && index + 1 < set.len();
                        if character == '-' && between {
                            expression.push('-');
                        } else {
                            if !character.is_alphanumeric() && character.is_ascii() {
                                expression.push('\\');
                            }
                            expression.push(character);
                        }
                    }
                    expression.push(']');
                }
                _ => literal(&mut expression, '['),
            },
            _ => literal(&mut expression, character),
        }
    }
    expression
}
