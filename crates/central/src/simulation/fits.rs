//! Whether a device takes a value that it is asked to have: one of its schema, within its bounds.

use serde_json::Value;

use super::additions::Bounds;
use crate::templates::Schema;

/// Checks a value; says what is wrong.
pub(super) fn check(schema: &Schema, bounds: &Bounds, value: &Value) -> Result<(), String> {
    schema.check(value).map_err(|unfit| unfit.to_string())?;
    let wrong = |what: String| Err(format!("the value {what}"));
    if let Some(number) = value.as_f64() {
        match (bounds.min, bounds.max) {
            (Some(min), _) if number < min => return wrong(format!("is below {min}")),
            (_, Some(max)) if number > max => return wrong(format!("is above {max}")),
            _ => {}
        }
    }
    if let Some(length) = value.as_str().map(|text| text.chars().count()) {
        match (bounds.length_min, bounds.length_max) {
            (Some(min), _) if length < min => return wrong(format!("is shorter than {min} characters")),
            (_, Some(max)) if length > max => return wrong(format!("is longer than {max} characters")),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn bounds_are_looked_at() {
        let of = |bounds: Bounds, word, value: Value| {
            check(&Schema::Word(word), &bounds, &value).map_or_else(|misfit| misfit, |()| String::new())
        };
        let numbers = Bounds { min: Some(1.0), max: Some(2.5), ..Bounds::default() };
        assert_eq!(of(numbers, "double", json!(1)), "");
        assert_eq!(of(numbers, "double", json!(2.5)), "");
        assert_eq!(of(numbers, "double", json!(0.99)), "the value is below 1");
        assert_eq!(of(numbers, "double", json!(2.51)), "the value is above 2.5");
        let texts = Bounds { length_min: Some(2), length_max: Some(3), ..Bounds::default() };
        assert_eq!(of(texts, "string", json!("äöü")), "");
        assert_eq!(of(texts, "string", json!("a")), "the value is shorter than 2 characters");
        assert_eq!(of(texts, "string", json!("abcd")), "the value is longer than 3 characters");
    }
}
