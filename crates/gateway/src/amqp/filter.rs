//! The selector filter of an Event Hubs receiver: where it begins.
//!
//! `amqp.annotation.NAME OP VALUE` with OP `>` or `>=` and VALUE quoted or not. The descriptor of the described
//! string differs from client to client, so only the key of the filter map is looked at.

use gantry_amqp::Value;
use gantry_amqp::message::lookup;
use gantry_amqp::value::Map;
use gantry_hub::ports::Start;
use gantry_identity::Timestamp;

/// Key of the filter in the source's filter map.
const SELECTOR: &str = "apache.org:selector-filter:string";

/// Why a filter cannot be used; for the peer.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the selector filter `{0}` is not supported")]
pub(super) struct FilterError(String);

/// Reads the start position from a source's filters. Without one it is the first event.
pub(super) fn start_position(filters: &Map) -> Result<Start, FilterError> {
    let Some(filter) = lookup(filters, SELECTOR).map(Value::undescribed) else {
        return Ok(Start::Earliest);
    };
    let text = filter.as_str().unwrap_or_default();
    parse(text).ok_or_else(|| FilterError(text.chars().take(200).collect()))
}

fn parse(text: &str) -> Option<Start> {
    let condition = text.trim().strip_prefix("amqp.annotation.")?;
    let (name, rest) = condition.split_once('>')?;
    let (inclusive, value) = match rest.strip_prefix('=') {
        Some(value) => (true, value),
        None => (false, rest),
    };
    let value = value.trim();
    let value = value.strip_prefix('\'').and_then(|v| v.strip_suffix('\'')).unwrap_or(value);
    match name.trim().to_ascii_lowercase().as_str() {
        "x-opt-offset" if value.eq_ignore_ascii_case("@latest") => Some(Start::Latest),
        "x-opt-offset" | "x-opt-sequence-number" => sequence(value, inclusive),
        // The Azure CLI spells it without hyphens.
        "x-opt-enqueued-time" | "x-opt-enqueuedtimeutc" => {
            let ms: i64 = value.parse().ok()?;
            let after = if inclusive { ms.saturating_sub(1) } else { ms };
            Some(Start::After(Timestamp::from_millis(after)))
        }
        _ => None,
    }
}

/// A sequence number or offset; anything below zero lies before the first event.
fn sequence(value: &str, inclusive: bool) -> Option<Start> {
    let number: i64 = value.parse().ok()?;
    Some(match u64::try_from(number) {
        Ok(number) => Start::At(number.saturating_add(u64::from(!inclusive))),
        Err(_) => Start::Earliest,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_amqp::Symbol;
    use gantry_amqp::value::Described;

    #[track_caller]
    fn check(text: &str, expected: Start) {
        for descriptor in [Value::Ulong(0x13_7000_000A), Value::Symbol(Symbol::from(SELECTOR))] {
            let filter = Value::Described(Box::new(Described { descriptor, value: text.into() }));
            let filters = vec![(Value::Symbol(Symbol::from(SELECTOR)), filter)];
            assert_eq!(start_position(&filters), Ok(expected), "{text}");
        }
    }

    #[test]
    fn every_form_of_the_clients_is_read() {
        let after = |ms| Start::After(Timestamp::from_millis(ms));
        check("amqp.annotation.x-opt-offset > '-1'", Start::Earliest);
        check("amqp.annotation.x-opt-offset > '@latest'", Start::Latest);
        check("amqp.annotation.x-opt-offset > '4096'", Start::At(4097));
        check("amqp.annotation.x-opt-offset >= 7", Start::At(7));
        check("amqp.annotation.x-opt-sequence-number >= '5'", Start::At(5));
        check("amqp.annotation.x-opt-sequence-number > '-1'", Start::Earliest);
        check("amqp.annotation.x-opt-enqueued-time > '1795387521548'", after(1_795_387_521_548));
        check("amqp.annotation.x-opt-enqueued-time >= '1000'", after(999));
        check("amqp.annotation.x-opt-enqueuedtimeutc > 1795387521548", after(1_795_387_521_548));
        check("  amqp.annotation.x-opt-offset>'1'", Start::At(2));
    }

    #[test]
    fn no_filter_begins_at_the_first_event() {
        assert_eq!(start_position(&Map::new()), Ok(Start::Earliest));
    }

    #[test]
    fn other_filters_are_refused() {
        for text in ["", "x-opt-offset > '1'", "amqp.annotation.x-opt-offset < '1'", "amqp.annotation.size > '1'"] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert_eq!(parse("amqp.annotation.x-opt-offset > 'abc'"), None);
        let filters = vec![(Value::from(SELECTOR), Value::Int(1))];
        assert!(start_position(&filters).is_err());
    }
}
