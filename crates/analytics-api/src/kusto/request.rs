//! What a client asks: `{"db", "csl", "properties"}`.
//!
//! `properties` is an object, or a text that holds one; names in it are read without case (`Options`, `options`).
//! Members that nobody knows are passed over, as the reference does: clients send what they like.

use axum::http::HeaderMap;
use gantry_analytics::Limits;
use gantry_kql::value::{TimeSpan, Value};
use serde_json::Value as Json;

use super::Failure;

/// A request, read.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// The database; none for whole-cluster commands.
    pub database: Option<String>,
    /// The text.
    pub text: String,
    /// Values of `declare query_parameters`, as literals of the language or plain texts.
    pub parameters: Vec<(String, String)>,
    /// What the client calls the request.
    pub request_id: String,
    /// The program that asks.
    pub application: String,
    options: Vec<(String, Json)>,
}

impl Request {
    /// Reads a body, or (of a GET) the query.
    ///
    /// # Errors
    /// When it is not such a request.
    pub fn read(body: &[u8], query: &[(String, String)], headers: &HeaderMap) -> Result<Request, Failure> {
        let document: Json = if body.is_empty() {
            Json::Object(query.iter().map(|(name, value)| (name.clone(), Json::String(value.clone()))).collect())
        } else {
            serde_json::from_slice(body)
                .map_err(|error| Failure::bad_request(format!("the body is no JSON: {error}")))?
        };
        let Json::Object(members) = &document else {
            return Err(Failure::bad_request("the body must be an object with `db` and `csl`"));
        };
        let member =
            |name: &str| members.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value);
        let text = match member("csl") {
            Some(Json::String(text)) => text.clone(),
            _ => return Err(Failure::bad_request("`csl` must be a text")),
        };
        let database = match member("db") {
            None | Some(Json::Null) => None,
            Some(Json::String(name)) => Some(name.clone()).filter(|name| !name.is_empty()),
            Some(_) => return Err(Failure::bad_request("`db` must be a text")),
        };
        let properties = match member("properties") {
            None | Some(Json::Null) => Json::Null,
            Some(Json::String(text)) if text.trim().is_empty() => Json::Null,
            Some(Json::String(text)) => serde_json::from_str(text)
                .map_err(|error| Failure::bad_request(format!("`properties` is no JSON: {error}")))?,
            Some(other) => other.clone(),
        };
        let part = |name: &str| match &properties {
            Json::Object(members) => {
                members.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone())
            }
            _ => None,
        };
        let pairs = |value: Option<Json>| match value {
            Some(Json::Object(members)) => members.into_iter().collect(),
            _ => Vec::new(),
        };
        let parameters = pairs(part("Parameters"));
        let header = headers.get("x-ms-client-request-id").and_then(|value| value.to_str().ok()).map(str::to_owned);
        Ok(Request {
            database,
            text,
            parameters: parameters
                .into_iter()
                .map(|(name, value)| match value {
                    Json::String(text) => (name, text),
                    other => (name, other.to_string()),
                })
                .collect(),
            request_id: header
                .or_else(|| part("ClientRequestId").and_then(|id| id.as_str().map(str::to_owned)))
                .unwrap_or_default(),
            application: headers.get("x-ms-app").and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned(),
            options: pairs(part("Options")),
        })
    }

    fn option(&self, name: &str) -> Option<&Json> {
        self.options.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// The limits: the defaults, what the request says, then what `set` says in its text.
    pub fn limits(&self, set: &[(String, Value)]) -> Limits {
        let mut limits = Limits::default();
        let text_of = |name: &str| -> Option<String> {
            let of_set = set
                .iter()
                .rev()
                .find(|(known, _)| known.eq_ignore_ascii_case(name))
                .map(|(_, value)| value.to_string());
            of_set.or_else(|| {
                self.option(name).map(|value| match value {
                    Json::String(text) => text.clone(),
                    other => other.to_string(),
                })
            })
        };
        let flag = |name: &str| text_of(name).is_some_and(|text| text.eq_ignore_ascii_case("true"));
        let number = |name: &str| text_of(name).and_then(|text| text.parse::<u64>().ok());
        if flag("notruncation") {
            (limits.rows_max, limits.bytes_max) = (None, None);
        }
        if let Some(rows) = number("truncationmaxrecords") {
            limits.rows_max = Some(rows);
        }
        if let Some(bytes) = number("truncationmaxsize") {
            limits.bytes_max = Some(bytes);
        }
        if let Some(span) = text_of("servertimeout").and_then(|text| TimeSpan::parse(&text)) {
            limits.seconds_max = (span.0 / 10_000_000).clamp(1, 3_600) as u64;
        }
        if flag("norequesttimeout") {
            limits.seconds_max = 3_600;
        }
        limits
    }

    /// The client wants nothing to be changed.
    pub fn is_read_only(&self) -> bool {
        let names = ["request_readonly", "request_readonly_hardline"];
        names.iter().filter_map(|name| self.option(name)).any(|value| match value {
            Json::String(text) => text.eq_ignore_ascii_case("true"),
            other => other.as_bool().unwrap_or(false),
        })
    }

    /// The text is T-SQL: the client says so, or it begins as only that does.
    pub fn is_sql(&self) -> bool {
        match self.option("query_language").and_then(Json::as_str) {
            Some(language) if language.eq_ignore_ascii_case("sql") => true,
            Some(language) if language.eq_ignore_ascii_case("kql") || language.eq_ignore_ascii_case("csl") => false,
            _ => gantry_sql::tsql::is_tsql(&self.text),
        }
    }

    /// Rows after which a result ends in silence.
    pub fn rows_wanted(&self) -> Option<u64> {
        self.option("query_take_max_records").and_then(|value| match value {
            Json::String(text) => text.parse().ok(),
            other => other.as_u64(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Result<Request, Failure> {
        Request::read(body.as_bytes(), &[], &HeaderMap::new())
    }

    #[test]
    fn properties_are_an_object_or_a_text_in_any_case() {
        for body in [
            r#"{"db":"telemetry","csl":"T","properties":{"options":{"servertimeout":"00:10:00","notruncation":true},"Parameters":{"n":5,"s":"x"}}}"#,
            r#"{"DB":"telemetry","csl":"T","properties":"{\"Options\":{\"servertimeout\":\"00:10:00\",\"notruncation\":true},\"Parameters\":{\"n\":5,\"s\":\"x\"}}"}"#,
        ] {
            let request = read(body).unwrap();
            assert_eq!(request.database.as_deref(), Some("telemetry"));
            assert_eq!(request.parameters, [("n".to_owned(), "5".to_owned()), ("s".to_owned(), "x".to_owned())]);
            let limits = request.limits(&[]);
            assert_eq!((limits.rows_max, limits.seconds_max), (None, 600));
        }
    }

    #[test]
    fn what_is_no_request_is_refused() {
        for body in
            ["[]", "{", r#"{"db":"x"}"#, r#"{"csl":5}"#, r#"{"csl":"T","db":5}"#, r#"{"csl":"T","properties":"{"}"#]
        {
            assert!(read(body).is_err(), "{body}");
        }
        assert_eq!(read(r#"{"csl":"T"}"#).unwrap().database, None);
    }

    #[test]
    fn what_the_text_sets_wins() {
        let request = read(r#"{"csl":"T","properties":{"Options":{"truncationmaxrecords":5}}}"#).unwrap();
        assert_eq!(request.limits(&[]).rows_max, Some(5));
        assert_eq!(request.limits(&[("truncationmaxrecords".into(), Value::Long(7))]).rows_max, Some(7));
    }
}
