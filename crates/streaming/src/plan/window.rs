//! Windows of `GROUP BY`.

use super::compile::{Scope, Slot};
use super::{Window, WindowKind};
use crate::ast::{Expr, Kind};
use crate::error::Error;
use crate::lex::{self, At};
use crate::time::{DAY, Ticks, Unit};

/// Longest window.
const SIZE_MAX: Ticks = 7 * DAY;
/// Most hopping windows that one event may lie in.
pub const HOPS_MAX: i64 = 10_000;
/// Most windows of one query.
const WINDOWS_MAX: usize = 64;

/// Takes a key of `GROUP BY` if it is a window, and says whether it was one.
pub(super) fn parse(text: &str, slots: &[Slot], item: &Expr, windows: &mut Vec<Window>) -> Result<bool, Error> {
    let reader = Reader { text, slots };
    let found = match &item.kind {
        Kind::Call(call) if call.name.eq_ignore_ascii_case("windows") => {
            if call.args.is_empty() || call.args.len() > WINDOWS_MAX {
                let message = format!("Windows takes 1 to {WINDOWS_MAX} windows");
                return Err(reader.error(item.at, message));
            }
            let mut found = Vec::new();
            for arg in &call.args {
                found.push(reader.named(arg)?);
            }
            found
        }
        _ => match reader.window(item)? {
            Some(kind) => vec![Window { id: None, kind }],
            None => return Ok(false),
        },
    };
    if !windows.is_empty() {
        let message = "a query has one window; write Windows(…) for several";
        return Err(reader.error(item.at, message));
    }
    for (index, window) in found.iter().enumerate() {
        if window.id.is_some() && found[..index].iter().any(|other| other.id == window.id) {
            return Err(reader.error(item.at, "two windows have the same id"));
        }
    }
    windows.extend(found);
    Ok(true)
}

struct Reader<'a> {
    text: &'a str,
    slots: &'a [Slot],
}

impl Reader<'_> {
    /// `Window('id', …)`, or a window without an id.
    fn named(&self, item: &Expr) -> Result<Window, Error> {
        if let Kind::Call(call) = &item.kind
            && call.name.eq_ignore_ascii_case("window")
        {
            if let [Expr { kind: Kind::Text(id), .. }, inner] = call.args.as_slice()
                && let Some(kind) = self.window(inner)?
            {
                return Ok(Window { id: Some(id.as_str().into()), kind });
            }
        } else if let Some(kind) = self.window(item)? {
            return Ok(Window { id: None, kind });
        }
        Err(self.error(item.at, "expected Window('id', …Window(…))"))
    }

    fn window(&self, item: &Expr) -> Result<Option<WindowKind>, Error> {
        let call = match &item.kind {
            Kind::Path(path) if is_timestamp(path.iter().map(|name| name.text.as_str())) => {
                return Ok(Some(WindowKind::Snapshot));
            }
            Kind::Call(call) => call,
            _ => return Ok(None),
        };
        let name = call.name.to_ascii_lowercase();
        let (required, optional): (&[&str], &[&str]) = match name.as_str() {
            "system.timestamp" if call.args.is_empty() => return Ok(Some(WindowKind::Snapshot)),
            "tumblingwindow" => (&["duration"], &["offset"]),
            "hoppingwindow" => (&["duration", "hop"], &["offset"]),
            "slidingwindow" => (&["duration"], &[]),
            "sessionwindow" => (&["timeout", "maxduration"], &[]),
            _ => return Ok(None),
        };
        if call.over.is_some() && name != "sessionwindow" {
            return Err(self.error(item.at, "only a session window has OVER"));
        }
        let all: Vec<&str> = required.iter().chain(optional).copied().collect();
        let numbers = self.arguments(&call.args, &all, required.len(), item.at)?;
        for (number, part) in numbers.iter().zip(required) {
            if !(1..=SIZE_MAX).contains(number) {
                let message = format!("the {part} of a window is more than nothing and at most 7 days");
                return Err(self.error(item.at, message));
            }
        }
        let offset = numbers.get(required.len()).copied().unwrap_or(0);
        Ok(Some(match name.as_str() {
            "slidingwindow" => WindowKind::Sliding { size: numbers[0] },
            "sessionwindow" => {
                if numbers[1] < numbers[0] {
                    let message = "the longest duration of a session is at least its timeout";
                    return Err(self.error(item.at, message));
                }
                let mut partition = Vec::new();
                if let Some(over) = &call.over {
                    if over.limit.is_some() || over.when.is_some() || !over.order.is_empty() {
                        let message = "a session window has OVER (PARTITION BY …) only";
                        return Err(self.error(item.at, message));
                    }
                    for key in &over.partition {
                        partition.push(Scope::rows(self.text, self.slots).compile(key)?);
                    }
                }
                WindowKind::Session { timeout: numbers[0], longest: numbers[1], partition }
            }
            _ => {
                let size = numbers[0];
                let hop = if name == "hoppingwindow" { numbers[1] } else { size };
                if offset.abs() >= hop {
                    return Err(self.error(item.at, "the offset of a window is shorter than its hop"));
                }
                if size / hop > HOPS_MAX {
                    let message = format!("an event would lie in more than {HOPS_MAX} windows");
                    return Err(self.error(item.at, message));
                }
                WindowKind::Hopping { size, hop, offset }
            }
        }))
    }

    /// Durations, as `unit, n, m` or as `Duration(unit, n), Hop(unit, m)`.
    fn arguments(&self, args: &[Expr], names: &[&str], required: usize, at: At) -> Result<Vec<Ticks>, Error> {
        let mut found = Vec::new();
        if matches!(args.first().map(|arg| &arg.kind), Some(Kind::Call(_))) {
            for (arg, name) in args.iter().zip(names) {
                match &arg.kind {
                    Kind::Call(call) if call.name.eq_ignore_ascii_case(name) => {
                        found.push(duration(self.text, &call.args, arg.at)?);
                    }
                    _ => {
                        let message = format!("expected {name}(unit, number)");
                        return Err(self.error(arg.at, message));
                    }
                }
            }
            if args.len() > names.len() {
                return Err(self.error(at, "too many arguments of a window"));
            }
        } else if let [unit, numbers @ ..] = args {
            for number in numbers {
                // An offset may stand on its own, with a unit of its own.
                if let Kind::Call(call) = &number.kind
                    && found.len() < names.len()
                    && call.name.eq_ignore_ascii_case(names[found.len()])
                {
                    found.push(duration(self.text, &call.args, number.at)?);
                } else {
                    found.push(duration(self.text, &[unit.clone(), number.clone()], at)?);
                }
            }
        }
        if found.len() < required || found.len() > names.len() {
            let message = format!("a window takes a unit and {required} to {} numbers", names.len());
            return Err(self.error(at, message));
        }
        Ok(found)
    }

    fn error(&self, at: At, message: impl Into<String>) -> Error {
        lex::error(self.text, at, message)
    }
}

/// `unit, number` as a duration, which may be negative.
pub(super) fn duration(text: &str, args: &[Expr], at: At) -> Result<Ticks, Error> {
    let [unit, number] = args else {
        return Err(lex::error(text, at, "expected a unit and a number"));
    };
    let length = match &unit.kind {
        Kind::Path(path) if path.len() == 1 => Unit::parse(&path[0].text).and_then(Unit::fixed),
        _ => None,
    };
    let Some(length) = length else {
        let message = "expected a unit: day, hour, minute, second, millisecond or microsecond";
        return Err(lex::error(text, unit.at, message));
    };
    match number.kind {
        Kind::Whole(number) => {
            number.checked_mul(length).ok_or_else(|| lex::error(text, at, "a duration that is too long"))
        }
        _ => Err(lex::error(text, number.at, "expected a whole number")),
    }
}

/// Whether a path is `System.Timestamp`.
pub(super) fn is_timestamp<'a>(path: impl Iterator<Item = &'a str>) -> bool {
    let mut wanted = ["system", "timestamp"].into_iter();
    let mut path = path;
    wanted.all(|part| path.next().is_some_and(|name| name.eq_ignore_ascii_case(part))) && path.next().is_none()
}
