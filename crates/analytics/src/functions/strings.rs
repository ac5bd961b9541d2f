//! Texts. Places in a text are counted in characters, from 0.

use gantry_kql::value::{Bag, Dynamic, Type, Value};

use super::Implementation::{Fallible, Lax};
use super::{Call, Family, text};
use crate::column::Cell;
use crate::error::Result;

/// Bytes that a text made by repetition may have.
const REPEATED_BYTES_MAX: usize = 1 << 20;

pub(super) const FUNCTIONS: Family = &[
    ("strcat", Lax(|cells, _| text(cells.iter().map(|cell| cell.text()).collect::<String>()))),
    ("strcat_delim", Lax(|cells, _| text(join(&cells[1..], &cells[0].text())))),
    ("strcat_array", Lax(|cells, _| text(join_array(cells[0], &cells[1].text())))),
    ("array_strcat", Lax(|cells, _| text(join_array(cells[0], &cells[1].text())))),
    ("strcmp", Lax(|cells, _| Value::Long(cells[0].text().cmp(&cells[1].text()) as i64))),
    ("strrep", Lax(strrep)),
    ("strlen", Lax(|cells, _| Value::Long(cells[0].text().chars().count() as i64))),
    ("string_size", Lax(|cells, _| Value::Long(cells[0].text().len() as i64))),
    ("toupper", Lax(|cells, _| text(cells[0].text().to_uppercase()))),
    ("tolower", Lax(|cells, _| text(cells[0].text().to_lowercase()))),
    ("reverse", Lax(|cells, _| text(cells[0].text().chars().rev().collect::<String>()))),
    ("substring", Lax(substring)),
    ("split", Lax(split)),
    ("indexof", Lax(indexof)),
    ("indexof_regex", Fallible(indexof_regex)),
    ("has_any_index", Lax(has_any_index)),
    ("countof", Fallible(countof)),
    ("regex_quote", Lax(|cells, _| text(regex_quote(&cells[0].text())))),
    ("extract", Fallible(extract)),
    ("extract_all", Fallible(extract_all)),
    ("replace_regex", Fallible(replace_regex)),
    ("replace_string", Lax(replace_string)),
    ("replace_strings", Lax(replace_strings)),
    ("trim", Fallible(|cells, call| trim(cells, call, true, true))),
    ("trim_start", Fallible(|cells, call| trim(cells, call, true, false))),
    ("trim_end", Fallible(|cells, call| trim(cells, call, false, true))),
    ("translate", Lax(translate)),
    ("unicode_codepoints_from_string", Lax(codepoints)),
    ("unicode_codepoints_to_string", Lax(from_codepoints)),
    ("isascii", Lax(|cells, _| Value::Bool(cells[0].text().is_ascii()))),
    ("isutf8", Lax(|_, _| Value::Bool(true))),
    ("extract_json", Lax(extract_json)),
    ("extractjson", Lax(extract_json)),
    ("parse_csv", Lax(parse_csv)),
    ("parse_path", Lax(parse_path)),
    ("parse_command_line", Lax(parse_command_line)),
    ("parse_version", Lax(parse_version)),
    ("repeat", Lax(repeat)),
];

fn join(cells: &[Cell], delimiter: &str) -> String {
    let parts: Vec<_> = cells.iter().map(|cell| cell.text()).collect();
    parts.join(delimiter)
}

fn join_array(array: Cell, delimiter: &str) -> String {
    let items = array.array().unwrap_or_default();
    let parts: Vec<String> = items.iter().map(Dynamic::to_string).collect();
    parts.join(delimiter)
}

fn strrep(cells: &[Cell], _: &Call) -> Value {
    let (piece, delimiter) = (cells[0].text(), cells.get(2).map(|cell| cell.text()).unwrap_or_default());
    let times = cells[1].long().unwrap_or(0).clamp(0, 1_024) as usize;
    let fits = REPEATED_BYTES_MAX / (piece.len() + delimiter.len()).max(1);
    text(vec![&*piece; times.min(fits)].join(&*delimiter))
}

/// A negative start counts from the end; without a length the rest is meant.
fn substring(cells: &[Cell], _: &Call) -> Value {
    let source = cells[0].text();
    let length = source.chars().count() as i64;
    let Some(start) = cells[1].long() else { return text("") };
    let start = if start < 0 { (length + start).max(0) } else { start };
    let take = cells.get(2).and_then(|cell| cell.long()).unwrap_or(i64::MAX).max(0);
    text(source.chars().skip(start as usize).take(take as usize).collect::<String>())
}

/// All pieces, or the one asked for.
fn split(cells: &[Cell], _: &Call) -> Value {
    let (source, delimiter) = (cells[0].text(), cells[1].text());
    let pieces: Vec<&str> = if delimiter.is_empty() { vec![&*source] } else { source.split(&*delimiter).collect() };
    let pieces: Vec<Dynamic> = match cells.get(2).and_then(|cell| cell.long()) {
        Some(index) => {
            let index = if index < 0 { pieces.len() as i64 + index } else { index };
            let piece = usize::try_from(index).ok().and_then(|index| pieces.get(index));
            piece.map(|piece| Dynamic::String((*piece).to_owned())).into_iter().collect()
        }
        None => pieces.into_iter().map(|piece| Dynamic::String(piece.to_owned())).collect(),
    };
    Value::Dynamic(Dynamic::Array(pieces))
}

/// Where to look: from a character, over a length, for which occurrence.
fn window(cells: &[Cell], source: &str) -> Option<(usize, usize, i64)> {
    let length = source.chars().count() as i64;
    let start = cells.get(2).and_then(|cell| cell.long()).unwrap_or(0);
    let start = if start < 0 { (length + start).max(0) } else { start };
    let take = cells.get(3).and_then(|cell| cell.long()).unwrap_or(-1);
    let end = if take < 0 { length } else { start.saturating_add(take).min(length) };
    let occurrence = cells.get(4).and_then(|cell| cell.long()).unwrap_or(1);
    (start <= length && occurrence > 0 && start <= end).then_some((start as usize, end as usize, occurrence))
}

fn byte_of(source: &str, character: usize) -> usize {
    source.char_indices().nth(character).map_or(source.len(), |(byte, _)| byte)
}

fn indexof(cells: &[Cell], _: &Call) -> Value {
    let (source, wanted) = (cells[0].text(), cells[1].text());
    let Some((start, end, occurrence)) = window(cells, &source) else { return Value::Long(-1) };
    let (from, to) = (byte_of(&source, start), byte_of(&source, end));
    let found = source[from..to].match_indices(&*wanted).nth(occurrence as usize - 1).map(|(at, _)| from + at);
    Value::Long(found.map_or(-1, |at| source[..at].chars().count() as i64))
}

fn indexof_regex(cells: &[Cell], call: &Call) -> Result<Value> {
    if cells.get(2).and_then(|cell| cell.long()).is_some_and(|start| start < 0) {
        return Ok(Value::Null);
    }
    let source = cells[0].text();
    let regex = call.context.regex(&cells[1].text())?;
    let Some((start, end, occurrence)) = window(cells, &source) else { return Ok(Value::Long(-1)) };
    let (from, to) = (byte_of(&source, start), byte_of(&source, end));
    let found = regex.find_iter(&source[from..to]).nth(occurrence as usize - 1).map(|found| from + found.start());
    Ok(Value::Long(found.map_or(-1, |at| source[..at].chars().count() as i64)))
}

/// Place in the list of the first text that is a term of the source; −1 for none, 0 for an empty source.
fn has_any_index(cells: &[Cell], _: &Call) -> Value {
    let source = cells[0].text();
    let Some(list) = cells[1].array() else { return Value::Long(-1) };
    if list.is_empty() {
        return Value::Long(-1);
    }
    let found = list
        .iter()
        .position(|item| crate::text::Needle::new(crate::text::Match::Has, false, &item.to_string()).matches(&source));
    Value::Long(found.map_or(-1, |at| at as i64))
}

/// Occurrences, overlapping ones too for plain texts.
fn countof(cells: &[Cell], call: &Call) -> Result<Value> {
    let (source, wanted) = (cells[0].text(), cells[1].text());
    let kind = cells.get(2).map(|cell| cell.text().to_ascii_lowercase());
    if kind.as_deref() == Some("regex") {
        return Ok(Value::Long(call.context.regex(&wanted)?.find_iter(&source).count() as i64));
    }
    if wanted.is_empty() {
        return Ok(Value::Long(0));
    }
    let count = source.char_indices().filter(|(at, _)| source[*at..].starts_with(&*wanted)).count();
    Ok(Value::Long(count as i64))
}

fn regex_quote(source: &str) -> String {
    source
        .chars()
        .flat_map(|c| {
            let quoted = !(c.is_alphanumeric() || c == '_' || !c.is_ascii());
            quoted.then_some('\\').into_iter().chain([c])
        })
        .collect()
}

/// `extract(regex, group, source [, typeof(T)])`.
fn extract(cells: &[Cell], call: &Call) -> Result<Value> {
    let regex = call.context.regex(&cells[0].text())?;
    let source = cells[2].text();
    let group = cells[1].long().and_then(|group| usize::try_from(group).ok());
    let found = group.and_then(|group| regex.captures(&source)?.get(group).map(|found| found.as_str()));
    Ok(found.map_or(Value::absent(call.ty), |found| match call.ty {
        Type::String => text(found),
        ty => Cell::String(found).cast(ty),
    }))
}

/// `extract_all(regex [, groups], source)`: one group gives texts, several give arrays of texts.
fn extract_all(cells: &[Cell], call: &Call) -> Result<Value> {
    let regex = call.context.regex(&cells[0].text())?;
    let source = cells[cells.len() - 1].text();
    let names: Vec<Option<&str>> = regex.capture_names().collect();
    let groups: Vec<usize> = match cells.get(1).filter(|_| cells.len() > 2).and_then(|cell| cell.array()) {
        Some(items) => items
            .iter()
            .filter_map(|item| match item {
                Dynamic::String(name) => names.iter().position(|known| *known == Some(name.as_str())),
                other => Cell::from(other).long().and_then(|group| usize::try_from(group).ok()),
            })
            .filter(|group| *group < names.len())
            .collect(),
        None => (1..names.len()).collect(),
    };
    let found: Vec<Dynamic> = regex
        .captures_iter(&source)
        .map(|captures| {
            let take = |group: &usize| {
                Dynamic::String(captures.get(*group).map(|found| found.as_str()).unwrap_or_default().to_owned())
            };
            match groups.as_slice() {
                [] => take(&0),
                [only] => take(only),
                several => Dynamic::Array(several.iter().map(take).collect()),
            }
        })
        .collect();
    Ok(if found.is_empty() { Value::Null } else { Value::Dynamic(Dynamic::Array(found)) })
}

/// `\1` stands for a group.
fn replace_regex(cells: &[Cell], call: &Call) -> Result<Value> {
    let regex = call.context.regex(&cells[1].text())?;
    let (source, rewrite) = (cells[0].text(), cells[2].text());
    let replaced = regex.replace_all(&source, |captures: &regex::Captures| {
        let mut out = String::new();
        let mut rest = rewrite.chars();
        while let Some(c) = rest.next() {
            match (c, rest.clone().next()) {
                ('\\', Some(next)) if next.is_ascii_digit() => {
                    let group = next as usize - '0' as usize;
                    out.push_str(captures.get(group).map(|found| found.as_str()).unwrap_or_default());
                    rest.next();
                }
                ('\\', Some('\\')) => {
                    out.push('\\');
                    rest.next();
                }
                (c, _) => out.push(c),
            }
        }
        out
    });
    Ok(text(replaced))
}

fn replace_string(cells: &[Cell], _: &Call) -> Value {
    let (source, wanted, new) = (cells[0].text(), cells[1].text(), cells[2].text());
    text(if wanted.is_empty() { source.into_owned() } else { source.replace(&*wanted, &new) })
}

/// Several replacements, each with its own text or all with one.
fn replace_strings(cells: &[Cell], _: &Call) -> Value {
    let mut out = cells[0].text().into_owned();
    let wanted = cells[1].array().unwrap_or_default();
    for (at, one) in wanted.iter().enumerate() {
        let new = match cells[2] {
            Cell::Dynamic(_) => {
                cells[2].array().and_then(|news| news.get(at)).map(Dynamic::to_string).unwrap_or_default()
            }
            cell => cell.text().into_owned(),
        };
        let one = one.to_string();
        if !one.is_empty() {
            out = out.replace(&one, &new);
        }
    }
    text(out)
}

/// `trim(regex, source)`: what the pattern matches is cut off the ends, again and again.
fn trim(cells: &[Cell], call: &Call, start: bool, end: bool) -> Result<Value> {
    let pattern = cells[0].text();
    let (at_start, at_end) =
        (call.context.regex(&format!("^(?:{pattern})"))?, call.context.regex(&format!("(?:{pattern})$"))?);
    let source = cells[1].text();
    let mut rest = &*source;
    while let Some(found) = at_start.find(rest).filter(|found| start && found.end() > 0) {
        rest = &rest[found.end()..];
    }
    while let Some(found) = at_end.find(rest).filter(|found| end && found.start() < rest.len()) {
        rest = &rest[..found.start()];
    }
    Ok(text(rest))
}

/// Characters of one list become those of another; the last of a shorter list stands for the rest.
fn translate(cells: &[Cell], _: &Call) -> Value {
    let (from, to): (Vec<char>, Vec<char>) = (cells[0].text().chars().collect(), cells[1].text().chars().collect());
    let source = cells[2].text();
    let translated = source.chars().filter_map(|c| match from.iter().position(|known| *known == c) {
        Some(at) => to.get(at).or(to.last()).copied(),
        None => Some(c),
    });
    text(translated.collect::<String>())
}

fn codepoints(cells: &[Cell], _: &Call) -> Value {
    Value::Dynamic(Dynamic::Array(cells[0].text().chars().map(|c| Dynamic::Long(i64::from(u32::from(c)))).collect()))
}

fn from_codepoints(cells: &[Cell], _: &Call) -> Value {
    let mut out = String::new();
    let mut push = |cell: Cell| {
        out.extend(cell.long().and_then(|code| u32::try_from(code).ok()).and_then(char::from_u32));
    };
    for cell in cells {
        match cell.array() {
            Some(items) => items.iter().for_each(|item| push(Cell::from(item))),
            None => push(*cell),
        }
    }
    text(out)
}

/// `extract_json(path, json [, typeof(T)])`: a path like `$.a['b'][0]`.
fn extract_json(cells: &[Cell], call: &Call) -> Value {
    let path = cells[0].text();
    let document = match cells[1] {
        Cell::String(json) => Dynamic::parse_json(json),
        other => Some(other.to_dynamic()),
    };
    let found = document.as_ref().and_then(|document| json_path(document, &path));
    match (found, call.ty) {
        (None, ty) => Value::absent(ty),
        (Some(found), Type::String) => text(found.to_string()),
        (Some(found), ty) => Cell::from(found).cast(ty),
    }
}

/// Follows a JSON path: `$`, `.name`, `['name']`, `["name"]`, `[0]`.
pub fn json_path<'a>(document: &'a Dynamic, path: &str) -> Option<&'a Dynamic> {
    let mut rest = path.trim().strip_prefix('$').unwrap_or(path.trim());
    let mut at = document;
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('[') {
            let end = after.find(']')?;
            let key = &after[..end];
            let name = key.strip_prefix(['\'', '"']).and_then(|key| key.strip_suffix(['\'', '"']));
            at = match name {
                Some(name) => at.member(name)?,
                None => at.element(key.trim().parse().ok()?)?,
            };
            rest = &after[end + 1..];
        } else {
            let after = rest.strip_prefix('.').unwrap_or(rest);
            let end = after.find(['.', '[']).unwrap_or(after.len());
            if end == 0 {
                return None;
            }
            at = at.member(&after[..end])?;
            rest = &after[end..];
        }
    }
    Some(at)
}

/// The fields of one CSV record.
fn parse_csv(cells: &[Cell], _: &Call) -> Value {
    let source = cells[0].text();
    Value::Dynamic(Dynamic::Array(csv_fields(&source).into_iter().map(Dynamic::String).collect()))
}

/// Fields of the first record of a CSV text (RFC 4180).
pub fn csv_fields(source: &str) -> Vec<String> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(source.as_bytes());
    let mut record = csv::StringRecord::new();
    match reader.read_record(&mut record) {
        Ok(true) => record.iter().map(str::to_owned).collect(),
        _ => vec![String::new()],
    }
}

fn bag<const N: usize>(entries: [(&str, String); N]) -> Value {
    let entries = entries.into_iter().map(|(name, value)| (name.to_owned(), Dynamic::String(value))).collect();
    Value::Dynamic(Dynamic::Bag(Bag::from_entries(entries)))
}

/// Parts of a file path or URI.
fn parse_path(cells: &[Cell], _: &Call) -> Value {
    let whole = cells[0].text().into_owned();
    let (scheme, rest) = match whole.split_once("://") {
        Some((scheme, rest)) => (scheme.to_owned(), rest.to_owned()),
        None => (String::new(), whole.clone()),
    };
    let (rest, stream) = match rest.char_indices().skip(2).find(|(_, c)| *c == ':') {
        Some((at, _)) => (rest[..at].to_owned(), rest[at + 1..].to_owned()),
        None => (rest, String::new()),
    };
    let is_separator = |c: char| c == '/' || c == '\\';
    let (directory, file) = match rest.rfind(is_separator) {
        Some(at) => (rest[..at].to_owned(), rest[at + 1..].to_owned()),
        None => (String::new(), rest.clone()),
    };
    let extension = file.rfind('.').map(|at| file[at + 1..].to_owned()).unwrap_or_default();
    let name = directory.rsplit(is_separator).next().unwrap_or_default().to_owned();
    let root = match directory.find(is_separator) {
        Some(at) if directory[..at].ends_with(':') || !scheme.is_empty() => directory[..at].to_owned(),
        _ => String::new(),
    };
    bag([
        ("Scheme", scheme),
        ("RootPath", root),
        ("DirectoryPath", directory),
        ("DirectoryName", name),
        ("Filename", file),
        ("Extension", extension),
        ("AlternateDataStreamName", stream),
    ])
}

/// Arguments of a Windows command line.
fn parse_command_line(cells: &[Cell], _: &Call) -> Value {
    let source = cells[0].text();
    let (mut arguments, mut current, mut quoted, mut any) = (Vec::new(), String::new(), false, false);
    let mut rest = source.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\\' => {
                let mut count = 1;
                while rest.next_if_eq(&'\\').is_some() {
                    count += 1;
                }
                if rest.peek() == Some(&'"') {
                    current.extend(std::iter::repeat_n('\\', count / 2));
                    if count % 2 == 1 {
                        rest.next();
                        current.push('"');
                    }
                } else {
                    current.extend(std::iter::repeat_n('\\', count));
                }
                any = true;
            }
            '"' => {
                quoted = !quoted;
                any = true;
            }
            c if c.is_whitespace() && !quoted => {
                if any {
                    arguments.push(Dynamic::String(std::mem::take(&mut current)));
                }
                any = false;
            }
            c => {
                current.push(c);
                any = true;
            }
        }
    }
    if any {
        arguments.push(Dynamic::String(current));
    }
    Value::Dynamic(Dynamic::Array(arguments))
}

/// Versions of up to four parts as one decimal that orders like them.
fn parse_version(cells: &[Cell], _: &Call) -> Value {
    let source = cells[0].text();
    let parts: Option<Vec<i128>> =
        source.trim().split('.').map(|part| part.parse::<u32>().ok().map(i128::from)).collect();
    let Some(parts) = parts.filter(|parts| parts.len() <= 4 && parts.iter().all(|part| *part < 100_000_000)) else {
        return Value::Null;
    };
    let whole = (0..4).fold(0, |sum: i128, at| sum * 100_000_000 + parts.get(at).copied().unwrap_or(0));
    Value::Decimal(gantry_kql::value::Decimal { mantissa: whole, scale: 0 })
}

/// `repeat(value, count)`: an array.
fn repeat(cells: &[Cell], _: &Call) -> Value {
    let count = cells[1].long().unwrap_or(0);
    if count < 0 || cells[1].is_null() {
        return Value::Null;
    }
    let item = cells[0].to_dynamic();
    let fits = (super::dynamics::ELEMENTS_MAX).min(count as usize);
    Value::Dynamic(Dynamic::Array(vec![item; fits]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_json_path_is_followed_in_every_spelling() {
        let document = Dynamic::parse_json(r#"{"a":{"b c":[1,{"d":2}]}}"#).unwrap();
        for path in ["$.a['b c'][1].d", r#"$["a"]["b c"][-1].d"#, "a['b c'][1]['d']"] {
            assert_eq!(json_path(&document, path), Some(&Dynamic::Long(2)), "{path}");
        }
        for path in ["$.x", "$.a[", "$..a", "$.a['b c'][x]"] {
            assert_eq!(json_path(&document, path), None, "{path}");
        }
        assert_eq!(json_path(&document, "$"), Some(&document));
    }
}
