//! A request, read: what handlers work with.

use std::collections::HashMap;
use std::sync::Arc;

use axum::RequestExt as _;
use axum::body::Bytes;
use axum::extract::{FromRequest, Path, Query, Request};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse as _, Response};
use gantry_api::{Row, now};
use gantry_central::access::caller::{Denied, Place};
use gantry_central::access::permissions::Permission;
use gantry_central::ids::{IdError, OrganizationId};
use gantry_central::{Central, Write};
use gantry_hub::device::IfMatch;
use rand::Rng as _;
use serde_json::Value;

use crate::guard::Who;
use crate::{Application, Failure, Shared};

/// How often a change is worked out anew because somebody else was quicker.
const ATTEMPTS_MAX: usize = 100;

/// A request of somebody who may call.
pub(crate) struct Call {
    pub(crate) shared: Arc<Shared>,
    pub(crate) who: Who,
    pub(crate) row: Row,
    pub(crate) query: Vec<(String, String)>,
    pub(crate) headers: HeaderMap,
    pub(crate) bytes: Bytes,
    /// Where the caller thinks the platform is.
    pub(crate) host: String,
    /// How often it was looked again.
    attempts: usize,
    path: HashMap<String, String>,
}

impl FromRequest<Arc<Shared>> for Call {
    type Rejection = Response;

    async fn from_request(mut request: Request, shared: &Arc<Shared>) -> Result<Self, Response> {
        let (who, row) = (request.extensions().get::<Who>().cloned(), request.extensions().get::<Row>().cloned());
        let (Some(mut who), Some(row)) = (who, row) else {
            return Err(Failure::internal(&"an operation without its guard").into_response());
        };
        let invalid = |words: String| Failure::invalid(words).into_response();
        let path = request.extract_parts::<Path<HashMap<String, String>>>().await;
        let Path(path) = path.map_err(|error| invalid(error.body_text()))?;
        let query = request.extract_parts::<Query<Vec<(String, String)>>>().await;
        let Query(query) = query.map_err(|error| invalid(error.body_text()))?;
        let headers = request.headers().clone();
        let named = || headers.get(header::HOST).and_then(|host| host.to_str().ok()).map(str::to_owned);
        let host = request.uri().authority().map(ToString::to_string).or_else(named).unwrap_or_default();
        let bytes = request.extract::<Bytes, _>().await.map_err(|error| invalid(error.body_text()))?;
        // A body may take its time: whoever sent it may be somebody else by now.
        if !who.renew(shared) {
            return Err(Failure::unauthorized().into_response());
        }
        if headers.contains_key(header::IF_NONE_MATCH) && row.has_body() {
            return Err(invalid("If-None-Match is not taken here".to_owned()));
        }
        Ok(Self { shared: Arc::clone(shared), who, row, query, headers, bytes, host, attempts: 0, path })
    }
}

impl Call {
    /// The application.
    pub(crate) fn application(&self) -> &Application {
        &self.shared.application
    }

    /// What it has.
    pub(crate) fn central(&self) -> &Central {
        &self.shared.application.central
    }

    /// A piece of the path.
    pub(crate) fn piece(&self, name: &str) -> &str {
        self.path.get(name).map_or("", String::as_str)
    }

    /// A piece of the path that the operation may not have.
    pub(crate) fn piece_or_none(&self, name: &str) -> Option<&str> {
        self.path.get(name).map(String::as_str)
    }

    /// The id that is a piece of the path.
    pub(crate) fn id<T>(&self, name: &str, parse: fn(&str) -> Result<T, IdError>) -> Result<T, Failure> {
        Ok(parse(self.piece(name))?)
    }

    /// A parameter of the query, under any of its names.
    pub(crate) fn asked(&self, names: &[&str]) -> Option<&str> {
        let is_named = |name: &str| names.iter().any(|one| one.eq_ignore_ascii_case(name));
        self.query.iter().find(|(name, _)| is_named(name)).map(|(_, value)| value.as_str())
    }

    /// Whether the caller may do something, and where.
    pub(crate) fn may(&self, one: Permission, place: Place<'_>) -> Result<(), Failure> {
        Ok(self.who.caller.may(&self.who.state.organizations, one, place)?)
    }

    /// The same in an organization.
    pub(crate) fn may_in(&self, one: Permission, organization: Option<&OrganizationId>) -> Result<(), Failure> {
        self.may(one, Place::In(organization))
    }

    /// The same, with what is told of something that is not there when the caller does not see it.
    pub(crate) fn may_see(
        &self,
        one: Permission,
        organization: Option<&OrganizationId>,
        unknown: impl FnOnce() -> Failure,
    ) -> Result<(), Failure> {
        match self.who.caller.may(&self.who.state.organizations, one, Place::In(organization)) {
            Err(Denied::Unseen) => Err(unknown()),
            other => Ok(other?),
        }
    }

    /// Whether the caller sees what is in an organization.
    pub(crate) fn sees(&self, one: Permission, organization: Option<&OrganizationId>) -> bool {
        self.may_in(one, organization).is_ok()
    }

    /// The body with the fields of the row.
    pub(crate) fn body(&self) -> Result<Value, Failure> {
        let body = gantry_hub::json::parse(&self.bytes).map_err(|error| Failure::invalid(error.to_string()))?;
        let body = self.row.read(body).map_err(Failure::invalid)?;
        if body.is_object() { Ok(body) } else { Err(Failure::invalid("the body is one JSON object")) }
    }

    /// The body as it is: for operations whose fields are a template's.
    pub(crate) fn json(&self) -> Result<Value, Failure> {
        gantry_hub::json::parse(&self.bytes).map_err(|error| Failure::invalid(error.to_string()))
    }

    /// What the caller expects: the header, or the etag that the body has.
    pub(crate) fn if_match(&self, body: &Value) -> Result<IfMatch, Failure> {
        let mut lines = vec![];
        for line in self.headers.get_all(header::IF_MATCH) {
            lines.push(line.to_str().map_err(|_| Failure::invalid("If-Match is no list of etags"))?);
        }
        let text = match body.get("etag") {
            _ if !lines.is_empty() => lines.join(","),
            None | Some(Value::Null) => return Ok(IfMatch::Absent),
            Some(Value::String(etag)) => etag.clone(),
            Some(_) => return Err(Failure::invalid("`etag` is a string")),
        };
        match IfMatch::parse(Some(&text)) {
            IfMatch::Absent => Err(Failure::invalid("an etag that is expected is not empty")),
            expected => Ok(expected),
        }
    }

    /// What a change of something expects that was read with this etag: that it is so still.
    pub(crate) fn expecting(&self, patch: &Value, etag: &str, id: &str) -> Result<IfMatch, Failure> {
        if self.if_match(patch)?.admits(etag) { Ok(IfMatch::tag(etag)) } else { Err(Failure::changed(id)) }
    }

    /// Looks again at what there is, when a change was refused because somebody else was quicker; not for ever.
    pub(crate) fn again(&mut self, failure: &Failure) -> bool {
        self.attempts += 1;
        if !failure.is_changed() || self.attempts > ATTEMPTS_MAX {
            return false;
        }
        self.who.renew(&self.shared);
        true
    }

    /// A write of the moment.
    pub(crate) fn write<'a>(&self, if_match: &'a IfMatch) -> Write<'a> {
        Write { now: now(), drawn: rand::rng().random(), if_match }
    }
}
