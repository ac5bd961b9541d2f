//! Conditions of message routes.

use std::borrow::Cow;

use serde_json::Value;

use crate::ast::{Expr, Reference};
use crate::eval::{Scope, evaluate};
use crate::operand::Operand;
use crate::parse::{Names, Parser, QueryError};
use crate::path::find;

/// Where a condition finds the parts of a message. What is absent is undefined.
pub trait Lookup {
    /// An application property, which may be null; names are compared without case.
    fn property(&self, name: &str) -> Operand<'_>;
    /// A system property, such as `contentType` or `iothub-message-source`, without its `$`.
    fn system(&self, name: &str) -> Option<Cow<'_, str>>;
    /// The body as JSON, when content type and encoding say that it is.
    fn body(&self) -> Option<&Value>;
    /// The twin document of the device that sent the message.
    fn twin(&self) -> Option<&Value>;
}

/// Which kinds of reference a condition holds: what its caller has to get ready.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Uses {
    /// Application properties.
    pub properties: bool,
    /// System properties.
    pub system: bool,
    /// The JSON body.
    pub body: bool,
    /// The device's twin.
    pub twin: bool,
}

impl Uses {
    /// What either needs.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            properties: self.properties || other.properties,
            system: self.system || other.system,
            body: self.body || other.body,
            twin: self.twin || other.twin,
        }
    }
}

/// A parsed condition: the expression language without SELECT.
///
/// `name` is an application property (`{$name}` one whose name begins with `$`), `$name` a
/// system property, `$body.a[0].b` a place in the JSON body, `$twin.tags.x` a place in the
/// twin. An empty text is `true`, as a route without a condition.
#[derive(Clone, PartialEq, Debug)]
pub struct Condition {
    expr: Expr,
    uses: Uses,
}

impl Condition {
    /// Parses a condition.
    ///
    /// # Errors
    /// [`QueryError`] says what was found where, and what was expected.
    pub fn parse(text: &str) -> Result<Self, QueryError> {
        if text.trim().is_empty() {
            return Ok(Self { expr: Expr::Constant(true.into()), uses: Uses::default() });
        }
        let mut parser = Parser::new(text, Names::Message)?;
        let expr = parser.condition()?;
        parser.finish()?;
        let mut uses = Uses::default();
        expr.for_each_reference(&mut |reference| match reference {
            Reference::Property(_) => uses.properties = true,
            Reference::System(_) => uses.system = true,
            Reference::Body(_) => uses.body = true,
            Reference::Twin(_) => uses.twin = true,
            Reference::Document(_) => {}
        });
        Ok(Self { expr, uses })
    }

    /// Which kinds of reference it holds.
    pub fn uses(&self) -> Uses {
        self.uses
    }

    /// Whether it is true for a message; false and undefined are not.
    pub fn matches(&self, message: &impl Lookup) -> bool {
        evaluate(&self.expr, &Message(message)).is_true()
    }
}

struct Message<'m, L>(&'m L);

impl<L: Lookup> Scope for Message<'_, L> {
    fn resolve<'a>(&'a self, reference: &'a Reference) -> Operand<'a> {
        match reference {
            Reference::Property(name) => self.0.property(name),
            Reference::System(name) => self.0.system(name).into(),
            Reference::Body(path) => self.0.body().and_then(|body| find(body, path)).into(),
            Reference::Twin(path) => self.0.twin().and_then(|twin| find(twin, path)).into(),
            Reference::Document(_) => Operand::Undefined,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    struct Example {
        body: Option<Value>,
        twin: Value,
    }

    impl Lookup for Example {
        fn property(&self, name: &str) -> Operand<'_> {
            if name == "null" {
                return Operand::Null;
            }
            let all = [("level", "storm"), ("temperature", "21.5"), ("$odd", "x"), ("a.b", "dots"), ("empty", "")];
            all.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| *value).into()
        }

        fn system(&self, name: &str) -> Option<Cow<'_, str>> {
            let all = [("contentType", "application/json"), ("connectionDeviceId", "d1"), ("dt-subject", "thermo")];
            all.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).into())
        }

        fn body(&self) -> Option<&Value> {
            self.body.as_ref()
        }

        fn twin(&self) -> Option<&Value> {
            Some(&self.twin)
        }
    }

    fn message() -> Example {
        Example {
            body: Some(json!({"Weather": {"Temperature": 50, "Stations": [{"name": "a"}, {"name": "b"}]}, "on": true})),
            twin: json!({"tags": {"site": "north"}, "properties": {"desired": {"limit": 40}, "reported": {}}}),
        }
    }

    #[track_caller]
    fn check(condition: &str, expected: bool) {
        let parsed = Condition::parse(condition).unwrap_or_else(|error| panic!("{condition}: {error}"));
        assert_eq!(parsed.matches(&message()), expected, "{condition}");
    }

    #[test]
    fn every_kind_of_reference() {
        for (condition, expected) in [
            ("", true),
            ("true", true),
            ("false", false),
            ("LEVEL = 'storm'", true),
            ("Level = 'Storm'", false),
            ("level", false),
            ("{$odd} = 'x'", true),
            ("{level} = 'storm'", true),
            ("a.b = 'dots'", true),
            ("null = null", true),
            ("{null} = null", true),
            ("{null} = ''", false),
            ("is_null({null})", true),
            ("is_defined({null})", true),
            ("{null} = undefined", false),
            ("empty = ''", true),
            ("empty = null", false),
            ("is_null(empty)", false),
            ("missing = null", false),
            ("is_defined(missing)", false),
            ("$contentType = 'application/json' AND $dt-subject = 'thermo'", true),
            ("$body.Weather.Temperature > 40", true),
            ("$body.Weather.Temperature > $twin.properties.desired.limit", true),
            ("$body.weather.Temperature > 40", false),
            ("$body.Weather.Stations[1].name = 'b'", true),
            ("$body.Weather.Stations[2].name = 'b'", false),
            ("$body.on", true),
            ("NOT $body.on", false),
            ("$twin.tags.site IN ['north', 'south']", true),
            ("$twin.Properties.Desired.limit = 40", true),
        ] {
            check(condition, expected);
        }
    }

    #[test]
    fn functions_of_routes() {
        for (condition, expected) in [
            ("AS_NUMBER(temperature) > 21", true),
            ("temperature > 21", false),
            ("as_number('x') > 1 OR NOT as_number('x') > 1", false),
            ("IS_DEFINED($body.on) AND NOT IS_DEFINED($body.off)", true),
            ("STARTS_WITH($connectionDeviceId, 'd')", true),
            ("ENDS_WITH(level, 'orm') AND CONTAINS(level, 'tor')", true),
            ("LENGTH(level) = 5 AND UPPER(level) = 'STORM' AND LOWER('ÄB') = 'äb'", true),
            ("SUBSTRING(level, 1) = 'torm' AND SUBSTRING(level, 1, 2) = 'to' AND SUBSTRING(level, 9) = ''", true),
            ("INDEX_OF(level, 'o') = 2 AND INDEX_OF(level, 'z') = -1", true),
            ("CONCAT(level, '-', 'x') = 'storm-x'", true),
            ("ABS(-2) = 2 AND SIGN(-3.5) = -1 AND SIGN(0) = 0 AND SQUARE(3) = 9 AND POWER(2, 10) = 1024", true),
            ("CEILING(1.2) = 2 AND FLOOR(-1.2) = -2 AND SQRT(16) = 4 AND EXP(0) = 1", true),
            ("IS_DEFINED(SQRT(-1))", false),
            ("IS_ARRAY($body.Weather.Stations) AND IS_OBJECT($body.Weather) AND IS_BOOL($body.on)", true),
            ("IS_NUMBER($body.Weather.Temperature) AND IS_STRING(level) AND IS_PRIMITIVE(level)", true),
            ("IS_NULL(null) AND NOT IS_NULL(level) AND NOT IS_PRIMITIVE($body.none)", true),
        ] {
            check(condition, expected);
        }
    }

    #[test]
    fn a_condition_says_what_it_needs() {
        let uses = |text: &str| Condition::parse(text).unwrap().uses();
        assert_eq!(uses("true"), Uses::default());
        assert_eq!(uses("a = 1"), Uses { properties: true, ..Uses::default() });
        assert_eq!(uses("$body.a IN [1] OR ABS($twin.tags.b) > 1"), Uses { body: true, twin: true, ..Uses::default() });
        assert_eq!(uses("NOT $contentType = 'x'"), Uses { system: true, ..Uses::default() });
    }

    #[test]
    fn without_a_json_body_its_comparisons_hold_neither_way() {
        let message = Example { body: None, ..message() };
        for condition in ["$body.a = 1", "NOT $body.a = 1", "$body.a != 1"] {
            assert!(!Condition::parse(condition).unwrap().matches(&message), "{condition}");
        }
        assert!(Condition::parse("NOT IS_DEFINED($body)").unwrap().matches(&message));
    }

    #[test]
    fn bad_conditions_say_where() {
        let error = Condition::parse("a = 1 AND").unwrap_err();
        assert_eq!(error.position(), Some(9));
        let error = Condition::parse("level = #").unwrap_err();
        assert_eq!(error.position(), Some(8));
        assert_eq!(Condition::parse(&" a".repeat(5000)), Err(QueryError::TooLong));
    }
}
