//! The hub as a resource.

pub(crate) mod consumer_groups;
mod document;
pub(crate) mod failover;
pub(crate) mod jobs;
pub(crate) mod measures;
pub(crate) mod routing;

use std::time::{Duration, UNIX_EPOCH};

use axum::Json;
use axum::response::Response;
use gantry_api::now;
use gantry_identity::{Policy, Timestamp};
use serde_json::{Value, json};

use self::document::Keys;
use crate::call::{Call, Kind};
use crate::kept::read_tags;
use crate::{Failure, changes, operations};

const KIND: Kind = Kind::Hub;

/// A time as most documents of the control plane have it.
pub(crate) fn rfc1123(at: Timestamp) -> String {
    let since = Duration::from_millis(u64::try_from(at.as_millis()).unwrap_or_default());
    httpdate::fmt_http_date(UNIX_EPOCH + since)
}

/// A policy with its keys.
pub(crate) fn with_keys(policy: &Policy) -> Value {
    json!({
        "keyName": policy.name,
        "primaryKey": policy.keys.primary.to_base64(),
        "secondaryKey": policy.keys.secondary.to_base64(),
        "rights": policy.rights.to_string(),
    })
}

pub(crate) async fn list(call: Call) -> Json<Value> {
    Json(json!({ "value": [document::of(&call, Keys::Hidden)] }))
}

pub(crate) async fn get(call: Call) -> Result<Json<Value>, Failure> {
    call.check_name(KIND)?;
    Ok(Json(document::of(&call, Keys::Hidden)))
}

/// Routing and tags are written; everything else must be as it is.
pub(crate) async fn put(call: Call) -> Result<Response, Failure> {
    call.check_name_to_write(KIND)?;
    call.check_is_new(true)?;
    let mut body = call.body()?;
    let (before, etag) = call.hub().routing();
    let if_match = call.if_match(Some(&body));
    if !if_match.admits(&etag) {
        return Err(Failure::precondition("etag of the hub does not match"));
    }
    let asked = body.get_mut("properties").and_then(Value::as_object_mut).and_then(|all| all.shift_remove("routing"));
    let asked = asked.filter(|routing| !routing.is_null());
    changes::check_resource(&body, &document::of(&call, Keys::Shown), &["sku", "properties", "identity"])?;
    let tags = body.get("tags").filter(|tags| !tags.is_null()).map(read_tags).transpose()?;
    if let Some(asked) = asked {
        let asked = routing::read(asked, &before, &call.management.facts.subscription)?;
        if asked.clone().with_secrets_of(&before) != before {
            call.hub().put_routing(now(), asked, &if_match).await?;
        }
    }
    if let Some(tags) = tags {
        call.management.kept.put_tags(KIND, tags).await?;
    }
    Ok(operations::written(&call, KIND, document::of(&call, Keys::Hidden)))
}

pub(crate) async fn patch(call: Call) -> Result<Response, Failure> {
    call.check_name(KIND)?;
    if let Some(tags) = call.body()?.get("tags").filter(|tags| !tags.is_null()) {
        call.management.kept.put_tags(KIND, read_tags(tags)?).await?;
    }
    Ok(operations::written(&call, KIND, document::of(&call, Keys::Hidden)))
}

pub(crate) async fn operation(call: Call) -> Result<Response, Failure> {
    operations::outcome(&call, KIND)
}

pub(crate) async fn keys(call: Call) -> Result<Json<Value>, Failure> {
    call.check_name(KIND)?;
    Ok(Json(json!({ "value": call.hub().policies().iter().map(with_keys).collect::<Vec<_>>() })))
}

pub(crate) async fn key(call: Call) -> Result<Json<Value>, Failure> {
    call.check_name(KIND)?;
    let (policies, name) = (call.hub().policies(), call.piece("keyName"));
    let found = policies.iter().find(|policy| policy.name.eq_ignore_ascii_case(name));
    let policy = found.ok_or_else(|| Failure::not_found("the hub has no policy of this name"))?;
    Ok(Json(with_keys(policy)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_of_the_web() {
        assert_eq!(rfc1123(Timestamp::from_millis(1_700_000_000_123)), "Tue, 14 Nov 2023 22:13:20 GMT");
        assert_eq!(rfc1123(Timestamp::from_millis(-5)), "Thu, 01 Jan 1970 00:00:00 GMT");
    }
}
