//! What kinds of objects with an etag have in common: how they are made and changed.

use std::fmt::Display;

use axum::Json;
use gantry_central::kept::Kept;
use gantry_hub::device::IfMatch;
use serde_json::Value;

use crate::call::Call;
use crate::{Failure, body};

/// A kind of objects.
pub(crate) trait Kind {
    /// What names one.
    type Id: Display;
    /// One.
    type Object;
    /// Members that a change gives whole: half of one is none.
    const WHOLE: &'static [&'static str];

    /// The one of the path, which the caller may change.
    fn known(call: &Call) -> Result<(Self::Id, &Kept<Self::Object>), Failure>;

    /// As bodies show it.
    fn show(id: &str, kept: &Kept<Self::Object>) -> Value;

    /// Writes the one of the path as a body says, if it is what is expected, and shows it.
    fn write(
        call: &Call,
        body: &Value,
        if_match: &IfMatch,
    ) -> impl Future<Output = Result<Json<Value>, Failure>> + Send;
}

/// Makes or replaces one.
pub(crate) async fn put<K: Kind>(call: Call) -> Result<Json<Value>, Failure> {
    let body = call.body()?;
    let if_match = call.if_match(&body)?;
    K::write(&call, &body, &if_match).await
}

/// Changes one: a merge patch on what is shown of it, worked out anew when somebody else was quicker.
pub(crate) async fn patch<K: Kind>(mut call: Call) -> Result<Json<Value>, Failure> {
    let patch = call.body()?;
    loop {
        let (body, if_match) = changed::<K>(&call, &patch)?;
        match K::write(&call, &body, &if_match).await {
            Err(failure) if call.again(&failure) => {}
            other => return other,
        }
    }
}

fn changed<K: Kind>(call: &Call, patch: &Value) -> Result<(Value, IfMatch), Failure> {
    let (id, kept) = K::known(call)?;
    let id = id.to_string();
    let if_match = call.expecting(patch, &kept.etag.text(), &id)?;
    let mut body = body::patched(&K::show(&id, kept), patch);
    for name in K::WHOLE {
        if let Some(value) = patch.get(*name) {
            body[*name] = value.clone();
        }
    }
    Ok((body, if_match))
}
