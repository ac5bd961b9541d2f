//! A request, read: what handlers work with.

use std::collections::HashMap;
use std::sync::Arc;

use axum::RequestExt as _;
use axum::body::Bytes;
use axum::extract::{FromRequest, Path, Query, Request};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse as _, Response};
use gantry_api::{Row, now};
use gantry_central::access::caller::Place;
use gantry_central::access::permissions::Permission;
use gantry_central::ids::{IdError, OrganizationId};
use gantry_central::{Central, Write};
use gantry_hub::device::IfMatch;
use rand::Rng as _;
use serde_json::Value;

use crate::guard::Who;
use crate::{Application, Failure, Shared};

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
    path: HashMap<String, String>,
}

impl FromRequest<Arc<Shared>> for Call {
    type Rejection = Response;

    async fn from_request(mut request: Request, shared: &Arc<Shared>) -> Result<Self, Response> {
        let (who, row) = (request.extensions().get::<Who>().cloned(), request.extensions().get::<Row>().cloned());
        let (Some(who), Some(row)) = (who, row) else {
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
        Ok(Self { shared: Arc::clone(shared), who, row, query, headers, bytes, host, path })
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
    pub(crate) fn if_match(&self, body: &Value) -> IfMatch {
        let header = self.headers.get(header::IF_MATCH).and_then(|value| value.to_str().ok());
        header
            .or_else(|| body.get("etag").and_then(Value::as_str))
            .map_or(IfMatch::Absent, |text| IfMatch::parse(Some(text)))
    }

    /// A write of the moment.
    pub(crate) fn write<'a>(&self, if_match: &'a IfMatch) -> Write<'a> {
        Write { now: now(), drawn: rand::rng().random(), if_match }
    }
}
