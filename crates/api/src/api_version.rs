//! The version of the API that a call asks for: `api-version` in its query.
//!
//! The reference demands one it knows, on every operation of the hub and of the provisioning service. What is asked
//! for changes nothing here. The platform's own API has its version in the path.

use std::borrow::Cow;

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use gantry_provisioning::check_api_version;

use crate::dps::DpsFailure;
use crate::error::ApiError;

/// Versions of the hub's API: those of the published documents, and the previews that released clients ask for.
const HUB: [&str; 20] = [
    "2015-08-15-preview",
    "2016-02-03",
    "2016-11-14",
    "2017-06-30",
    "2017-11-08-preview",
    "2018-01-16",
    "2018-04-01",
    "2018-06-30",
    "2018-08-30-preview",
    "2019-03-30",
    "2019-07-01-preview",
    "2019-10-01",
    "2020-03-13",
    "2020-05-31-preview",
    "2020-06-30-preview",
    "2020-09-30",
    "2020-10-01-preview",
    "2021-04-12",
    "2024-03-31",
    "2025-08-01-preview",
];

/// Lets a call to the hub through that asks for a version the hub knows.
pub(crate) async fn of_hub(request: Request, next: Next) -> Response {
    let message = match asked(request.uri().query()) {
        Some(text) if HUB.iter().any(|known| known.eq_ignore_ascii_case(&text)) => return next.run(request).await,
        Some(text) => format!("BadRequest: api-version `{text}` is not known"),
        None => "BadRequest: api-version is missing".to_owned(),
    };
    ApiError::new(400_001, "InvalidProtocolVersion", message).into_response()
}

/// Lets a call to the provisioning service through that asks for a version it knows.
pub(crate) async fn of_provisioning(request: Request, next: Next) -> Response {
    match check_api_version(asked(request.uri().query()).as_deref()) {
        Ok(()) => next.run(request).await,
        Err(error) => DpsFailure::from(error).into_response(),
    }
}

/// The version of the API that a query asks for, once and not blank.
pub fn asked_version(query: Option<&str>) -> Option<String> {
    asked(query).map(Cow::into_owned)
}

/// The version a query asks for; several as a list, which is no version.
fn asked(query: Option<&str>) -> Option<Cow<'_, str>> {
    let decode = |text| percent_encoding::percent_decode_str(text).decode_utf8_lossy();
    let pairs = query?.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let values = pairs.filter(|(name, _)| decode(name).eq_ignore_ascii_case("api-version")).map(|(_, value)| value);
    let joined = values.map(decode).reduce(|one, other| format!("{one},{other}").into());
    joined.filter(|text| !text.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_from_the_query() {
        let check =
            |query: Option<&str>, expected: Option<&str>| assert_eq!(asked(query).as_deref(), expected, "{query:?}");
        check(Some("api-version=2021-04-12"), Some("2021-04-12"));
        check(Some("top=1&API-Version=2021-04-12&x"), Some("2021-04-12"));
        check(Some("api%2Dversion=2021%2D04-12"), Some("2021-04-12"));
        check(Some("api-version=2021-04-12&api-version=2016-11-14"), Some("2021-04-12,2016-11-14"));
        for missing in [None, Some(""), Some("api-version"), Some("api-version="), Some("api-version=%20&apiversion=1")]
        {
            check(missing, None);
        }
    }
}
