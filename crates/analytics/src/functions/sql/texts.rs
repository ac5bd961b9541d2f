//! Texts: they count characters, from one.

use gantry_kql::value::{Dynamic, Value};

use super::{fallible, wrong};
use crate::column::Cell;
use crate::context::Regex;
use crate::error::Result;
use crate::functions::Implementation::{self, Lax, Strict};
use crate::functions::{Call, Family, text};

pub(super) const FUNCTIONS: Family = &[
    ("sql.lower", Strict(|cells, _| text(cells[0].text().to_lowercase()))),
    ("sql.upper", Strict(|cells, _| text(cells[0].text().to_uppercase()))),
    ("sql.initcap", Strict(|cells, _| text(initcap(&cells[0].text())))),
    ("sql.length", Strict(|cells, _| Value::Int(cells[0].text().chars().count() as i32))),
    ("sql.octet_length", Strict(|cells, _| Value::Int(cells[0].text().len() as i32))),
    ("sql.btrim", Strict(|cells, _| trim(cells, true, true))),
    ("sql.ltrim", Strict(|cells, _| trim(cells, true, false))),
    ("sql.rtrim", Strict(|cells, _| trim(cells, false, true))),
    ("sql.substr", fallible!(substr)),
    ("sql.left", Strict(|cells, _| ends(cells, true))),
    ("sql.right", Strict(|cells, _| ends(cells, false))),
    ("sql.replace", Strict(replace)),
    ("sql.translate", Strict(translate)),
    ("sql.split_part", fallible!(split_part)),
    ("sql.strpos", Strict(strpos)),
    ("sql.repeat", fallible!(repeat)),
    ("sql.reverse", Strict(|cells, _| text(cells[0].text().chars().rev().collect::<String>()))),
    ("sql.lpad", fallible!(|cells, _| pad(cells, true))),
    ("sql.rpad", fallible!(|cells, _| pad(cells, false))),
    ("sql.starts_with", Strict(|cells, _| Value::Bool(cells[0].text().starts_with(&*cells[1].text())))),
    ("sql.ascii", Strict(|cells, _| Value::Int(cells[0].text().chars().next().map_or(0, |c| c as i32)))),
    ("sql.chr", fallible!(chr)),
    ("sql.md5", Strict(|cells, _| text(md5(&cells[0].text())))),
    ("sql.to_hex", Strict(|cells, _| cells[0].long().map_or(Value::Null, |value| text(format!("{value:x}"))))),
    ("sql.quote_ident", Strict(|cells, _| text(quote_ident(&cells[0].text())))),
    ("sql.quote_literal", Strict(|cells, _| text(format!("'{}'", cells[0].text().replace('\'', "''"))))),
    ("sql.parse_ident", fallible!(parse_ident)),
    ("sql.concat", Lax(|cells, _| text(cells.iter().map(|cell| cell.text()).collect::<String>()))),
    ("sql.concat2", Strict(|cells, _| text(format!("{}{}", cells[0].text(), cells[1].text())))),
    ("sql.concat_ws", Lax(concat_ws)),
    ("sql.like", fallible!(|cells, call| like(cells, call, false))),
    ("sql.ilike", fallible!(|cells, call| like(cells, call, true))),
    ("sql.regex", fallible!(|cells, call| matches(cells, call, ""))),
    ("sql.iregex", fallible!(|cells, call| matches(cells, call, "(?i)"))),
    ("sql.regexp_replace", fallible!(regexp_replace)),
    ("sql.regexp_match", fallible!(regexp_match)),
    ("sql.regexp_substr", fallible!(regexp_substr)),
];

/// Characters that a function may make.
const CHARACTERS_MAX: i64 = 16 << 20;

fn initcap(of: &str) -> String {
    let mut inside = false;
    let mut made = String::with_capacity(of.len());
    for c in of.chars() {
        if inside {
            made.extend(c.to_lowercase());
        } else {
            made.extend(c.to_uppercase());
        }
        inside = c.is_alphanumeric();
    }
    made
}

fn trim(cells: &[Cell], start: bool, end: bool) -> Value {
    let of = cells[0].text();
    let set = cells.get(1).map_or_else(|| " ".to_owned(), |set| set.text().into_owned());
    let mut of: &str = &of;
    if start {
        of = of.trim_start_matches(|c| set.contains(c));
    }
    if end {
        of = of.trim_end_matches(|c| set.contains(c));
    }
    text(of)
}

fn substr(cells: &[Cell], _: &Call) -> Result<Value> {
    let (of, from) = (cells[0].text(), cells[1].long().unwrap_or(1));
    let until = match cells.get(2).map(|count| count.long().unwrap_or(0)) {
        Some(count) if count < 0 => return Err(wrong("22011", "negative substring length not allowed")),
        Some(count) => from.saturating_add(count),
        None => i64::MAX,
    };
    let skip = from.max(1) - 1;
    let take = until.max(1) - 1 - skip;
    Ok(text(of.chars().skip(skip as usize).take(take.max(0) as usize).collect::<String>()))
}

fn ends(cells: &[Cell], first: bool) -> Value {
    let (of, count) = (cells[0].text(), cells[1].long().unwrap_or(0));
    let length = of.chars().count() as i64;
    // A negative count leaves so many out at the other end.
    let count = if count < 0 { (length + count).max(0) } else { count.min(length) } as usize;
    let chars = of.chars();
    text(if first { chars.take(count).collect::<String>() } else { chars.skip(length as usize - count).collect() })
}

fn replace(cells: &[Cell], _: &Call) -> Value {
    let from = cells[1].text();
    if from.is_empty() { text(cells[0].text()) } else { text(cells[0].text().replace(&*from, &cells[2].text())) }
}

fn translate(cells: &[Cell], _: &Call) -> Value {
    let from: Vec<char> = cells[1].text().chars().collect();
    let to: Vec<char> = cells[2].text().chars().collect();
    let of = cells[0].text();
    let made = of.chars().filter_map(|c| match from.iter().position(|known| *known == c) {
        Some(at) => to.get(at).copied(),
        None => Some(c),
    });
    text(made.collect::<String>())
}

fn split_part(cells: &[Cell], _: &Call) -> Result<Value> {
    let (of, by, at) = (cells[0].text(), cells[1].text(), cells[2].long().unwrap_or(0));
    if at == 0 {
        return Err(wrong("22023", "field position must not be zero"));
    }
    let parts: Vec<&str> = if by.is_empty() { vec![&of] } else { of.split(&*by).collect() };
    let at = if at > 0 { at - 1 } else { parts.len() as i64 + at };
    Ok(text(usize::try_from(at).ok().and_then(|at| parts.get(at).copied()).unwrap_or_default()))
}

fn strpos(cells: &[Cell], _: &Call) -> Value {
    let of = cells[0].text();
    let at = of.find(&*cells[1].text()).map_or(0, |at| of[..at].chars().count() + 1);
    Value::Int(at as i32)
}

fn repeat(cells: &[Cell], _: &Call) -> Result<Value> {
    let (of, count) = (cells[0].text(), cells[1].long().unwrap_or(0).max(0));
    if (of.len() as i64).saturating_mul(count) > CHARACTERS_MAX {
        return Err(wrong("54000", "requested length too large"));
    }
    Ok(text(of.repeat(count as usize)))
}

fn pad(cells: &[Cell], left: bool) -> Result<Value> {
    let (of, length) = (cells[0].text(), cells[1].long().unwrap_or(0).max(0));
    if length > CHARACTERS_MAX {
        return Err(wrong("54000", "requested length too large"));
    }
    let fill = cells.get(2).map_or_else(|| " ".to_owned(), |fill| fill.text().into_owned());
    let has = of.chars().count() as i64;
    let kept: String = of.chars().take(length as usize).collect();
    if has >= length || fill.is_empty() {
        return Ok(text(kept));
    }
    let filling: String = fill.chars().cycle().take((length - has) as usize).collect();
    Ok(text(if left { filling + &kept } else { kept + &filling }))
}

fn chr(cells: &[Cell], _: &Call) -> Result<Value> {
    let code = cells[0].long().and_then(|code| u32::try_from(code).ok()).filter(|code| *code != 0);
    match code.and_then(char::from_u32) {
        Some(c) => Ok(text(c.to_string())),
        None => Err(wrong("54000", "requested character not valid for encoding")),
    }
}

fn md5(of: &str) -> String {
    use md5::{Digest, Md5};
    Md5::digest(of.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn quote_ident(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

fn parse_ident(cells: &[Cell], _: &Call) -> Result<Value> {
    let of = cells[0].text();
    let failed = || wrong("22023", format!("string is not a valid identifier: \"{of}\""));
    let mut parts = Vec::new();
    let mut chars = of.trim().chars().peekable();
    loop {
        let mut part = String::new();
        if chars.next_if_eq(&'"').is_some() {
            loop {
                match chars.next().ok_or_else(failed)? {
                    '"' if chars.next_if_eq(&'"').is_some() => part.push('"'),
                    '"' => break,
                    c => part.push(c),
                }
            }
        } else {
            while let Some(c) = chars.next_if(|c| c.is_alphanumeric() || matches!(c, '_' | '$')) {
                part.extend(c.to_lowercase());
            }
        }
        if part.is_empty() {
            return Err(failed());
        }
        parts.push(Dynamic::String(part));
        match chars.next() {
            None => return Ok(Value::Dynamic(Dynamic::Array(parts))),
            Some('.') => {}
            Some(_) => return Err(failed()),
        }
    }
}

fn concat_ws(cells: &[Cell], call: &Call) -> Value {
    if cells[0].is_null() {
        return Value::absent(call.ty);
    }
    let by = cells[0].text();
    let parts: Vec<_> = cells[1..].iter().filter(|cell| !cell.is_null()).map(|cell| cell.text()).collect();
    text(parts.join(&by))
}

/// A pattern of `like` as a regular expression.
pub(super) fn like_pattern(pattern: &str, escape: Option<char>, folded: bool) -> Result<String> {
    let mut made = String::from(if folded { "(?is)^" } else { "(?s)^" });
    let mut chars = pattern.chars();
    let literal = |c: char, made: &mut String| made.push_str(&regex::escape(c.encode_utf8(&mut [0; 4])));
    while let Some(c) = chars.next() {
        match c {
            c if Some(c) == escape => match chars.next() {
                Some(c) => literal(c, &mut made),
                None => return Err(wrong("22025", "LIKE pattern must not end with escape character")),
            },
            '%' => made.push_str(".*"),
            '_' => made.push('.'),
            c => literal(c, &mut made),
        }
    }
    made.push('$');
    Ok(made)
}

fn like(cells: &[Cell], call: &Call, folded: bool) -> Result<Value> {
    let escape = match cells.get(2).map(|escape| escape.text()) {
        None => Some('\\'),
        Some(escape) => {
            let mut chars = escape.chars();
            let first = chars.next();
            if chars.next().is_some() {
                return Err(wrong("22025", "invalid escape string"));
            }
            first
        }
    };
    let pattern = like_pattern(&cells[1].text(), escape, folded)?;
    Ok(Value::Bool(call.context.regex(&pattern)?.is_match(&cells[0].text())))
}

fn prepared(call: &Call, pattern: &str, flags: &str) -> Result<std::sync::Arc<Regex>> {
    // PostgreSQL's `\m` and `\M` are the two ends of a word.
    let pattern = pattern.replace("\\m", "\\b").replace("\\M", "\\b").replace("\\y", "\\b");
    call.context
        .regex(&format!("{flags}{pattern}"))
        .map_err(|error| wrong("2201B", format!("invalid regular expression: {error}")))
}

fn matches(cells: &[Cell], call: &Call, flags: &str) -> Result<Value> {
    Ok(Value::Bool(prepared(call, &cells[1].text(), flags)?.is_match(&cells[0].text())))
}

fn regexp_replace(cells: &[Cell], call: &Call) -> Result<Value> {
    let flags = cells.get(3).map_or_else(String::new, |flags| flags.text().into_owned());
    if let Some(other) = flags.chars().find(|c| !"gi".contains(*c)) {
        return Err(wrong("22023", format!("invalid regular expression option: \"{other}\"")));
    }
    let regex = prepared(call, &cells[1].text(), if flags.contains('i') { "(?i)" } else { "" })?;
    // `\1` is `${1}` there, and a dollar is itself.
    let mut with = String::new();
    let written = cells[2].text();
    let mut chars = written.chars();
    while let Some(c) = chars.next() {
        match c {
            '$' => with.push_str("$$"),
            '\\' => match chars.next() {
                Some(digit) if digit.is_ascii_digit() => with.push_str(&format!("${{{digit}}}")),
                Some('&') => with.push_str("${0}"),
                Some(other) => with.push(other),
                None => with.push('\\'),
            },
            c => with.push(c),
        }
    }
    let of = cells[0].text();
    Ok(text(if flags.contains('g') {
        regex.replace_all(&of, with.as_str())
    } else {
        regex.replace(&of, with.as_str())
    }))
}

fn regexp_match(cells: &[Cell], call: &Call) -> Result<Value> {
    let of = cells[0].text();
    let Some(found) = prepared(call, &cells[1].text(), "")?.captures(&of) else { return Ok(Value::Null) };
    let first = usize::from(found.len() > 1);
    let parts = (first..found.len())
        .map(|at| found.get(at).map_or(Dynamic::Null, |part| Dynamic::String(part.as_str().to_owned())));
    Ok(Value::Dynamic(Dynamic::Array(parts.collect())))
}

fn regexp_substr(cells: &[Cell], call: &Call) -> Result<Value> {
    let of = cells[0].text();
    let Some(found) = prepared(call, &cells[1].text(), "")?.captures(&of) else { return Ok(Value::Null) };
    let part = if found.len() > 1 { found.get(1) } else { found.get(0) };
    Ok(part.map_or(Value::Null, |part| text(part.as_str())))
}
