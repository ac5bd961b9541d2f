//! Writes of whole resources: what a client sends back as it was shown is taken, what differs is refused by name.

use serde_json::{Map, Value};

use crate::{Failure, LOCATION};

/// Refuses what `asked` has otherwise than `shown`, naming the property. Names are compared without case; null asks for
/// nothing.
pub(crate) fn check(asked: &Value, shown: &Value, at: &str) -> Result<(), Failure> {
    match (asked, shown) {
        (Value::Null, _) => Ok(()),
        (Value::Object(asked), Value::Object(shown)) => asked.iter().try_for_each(|(name, value)| {
            let at = format!("{at}.{name}");
            let found = shown.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
            check(value, found.map_or(&Value::Null, |(_, value)| value), &at)
        }),
        (Value::Array(asked), Value::Array(shown)) if asked.len() == shown.len() => {
            asked.iter().zip(shown).try_for_each(|(asked, shown)| check(asked, shown, at))
        }
        _ if asked == shown => Ok(()),
        _ => Err(Failure::unchangeable(at)),
    }
}

/// The same for the parts of a resource that are `names`, and for where it is.
pub(crate) fn check_resource(asked: &Map<String, Value>, shown: &Value, names: &[&str]) -> Result<(), Failure> {
    match asked.get("location") {
        None | Some(Value::Null) => {}
        Some(Value::String(place)) if place.eq_ignore_ascii_case(LOCATION) => {}
        Some(Value::String(place)) => return Err(Failure::location(place)),
        Some(_) => return Err(Failure::invalid("`location` is a string")),
    }
    names.iter().try_for_each(|name| {
        let asked = asked.get(*name).unwrap_or(&Value::Null);
        check(asked, shown.get(*name).unwrap_or(&Value::Null), name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::StatusCode;
    use axum::response::IntoResponse as _;
    use serde_json::json;

    #[test]
    fn what_was_shown_is_taken_and_what_differs_is_named() {
        let shown = json!({ "a": 1, "b": { "c": "x", "d": [{ "e": true }] }, "n": null });
        for same in [
            json!({}),
            json!({ "a": null, "b": null }),
            shown.clone(),
            json!({ "A": 1, "b": { "D": [{ "e": true }] } }),
            json!({ "b": { "d": [{}] } }),
        ] {
            assert_eq!(check(&same, &shown, "p"), Ok(()), "{same}");
        }
        for (other, name) in [
            (json!({ "a": 2 }), "p.a"),
            (json!({ "n": 1 }), "p.n"),
            (json!({ "b": { "c": "X" } }), "p.b.c"),
            (json!({ "b": { "d": [] } }), "p.b.d"),
            (json!({ "b": { "d": [{ "e": false }] } }), "p.b.d.e"),
            (json!({ "colour": false }), "p.colour"),
            (json!([]), "p"),
        ] {
            assert_eq!(check(&other, &shown, "p"), Err(Failure::unchangeable(name)), "{other}");
        }
    }

    #[test]
    fn a_resource_stays_where_it_is() {
        let resource =
            |place: Value| json!({ "location": place, "sku": { "name": "S1" } }).as_object().unwrap().clone();
        let shown = json!({ "sku": { "name": "S1" } });
        assert_eq!(check_resource(&resource(json!("Local")), &shown, &["sku"]), Ok(()));
        let moved = check_resource(&resource(json!("westus")), &shown, &["sku"]).unwrap_err();
        assert_eq!(moved.into_response().status(), StatusCode::CONFLICT);
        assert!(check_resource(&resource(json!(1)), &shown, &["sku"]).is_err());
        assert!(check_resource(&resource(Value::Null), &json!({}), &["sku"]).is_err());
    }
}
