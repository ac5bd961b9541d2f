//! A request, read: what handlers work with.

use std::collections::HashMap;
use std::sync::Arc;

use axum::RequestExt as _;
use axum::body::Bytes;
use axum::extract::{FromRequest, Path, Request};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse as _, Response};
use gantry_api::{Row, asked_version, now};
use gantry_graph::{Graph, GraphError, Patch, Write, limits};
use gantry_hub::device::IfMatch;
use percent_encoding::percent_decode_str;
use rand::Rng as _;
use serde_json::{Map, Value};

use crate::{Failure, Service};

/// A request of somebody who may call.
pub(crate) struct Call {
    pub(crate) service: Arc<Service>,
    row: Row,
    pub(crate) headers: HeaderMap,
    bytes: Bytes,
    pub(crate) version: String,
    /// Where the caller thinks the platform is.
    pub(crate) host: String,
    path: HashMap<String, String>,
    query: Vec<(String, String)>,
}

impl FromRequest<Arc<Service>> for Call {
    type Rejection = Response;

    async fn from_request(mut request: Request, service: &Arc<Service>) -> Result<Self, Response> {
        let row = request.extensions().get::<Row>().cloned();
        let row = row.ok_or_else(|| Failure::invalid("an operation without its row").into_response())?;
        let invalid = |words: String| Failure::invalid(words).into_response();
        let path = request.extract_parts::<Path<HashMap<String, String>>>().await;
        let Path(path) = path.map_err(|error| invalid(error.body_text()))?;
        let headers = request.headers().clone();
        let named = || headers.get(header::HOST).and_then(|host| host.to_str().ok()).map(str::to_owned);
        let host = request.uri().authority().map(ToString::to_string).or_else(named).unwrap_or_default();
        let version = asked_version(request.uri().query()).unwrap_or_default();
        let query = pairs(request.uri().query().unwrap_or_default());
        let bytes = request.extract::<Bytes, _>().await.map_err(|error| invalid(error.body_text()))?;
        let call = Self { service: Arc::clone(service), row, headers, bytes, version, host, path, query };
        call.check_query().map_err(|failure| failure.into_response())?;
        Ok(call)
    }
}

fn pairs(query: &str) -> Vec<(String, String)> {
    let decode = |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (decode(name), decode(value)))
        .collect()
}

impl Call {
    /// A parameter that the row does not have is not passed over.
    fn check_query(&self) -> Result<(), Failure> {
        let is_known = |name: &str| {
            name.eq_ignore_ascii_case("api-version")
                || self.row.query.iter().any(|one| one.name.eq_ignore_ascii_case(name))
        };
        match self.query.iter().find(|(name, _)| !is_known(name)) {
            Some((name, _)) => {
                let name: String = name.chars().take(64).collect();
                Err(Failure::invalid(format!("`{name}` is not a parameter of this operation")))
            }
            None => Ok(()),
        }
    }

    pub(crate) fn graph(&self) -> &Graph {
        &self.service.graph
    }

    /// A piece of the path.
    pub(crate) fn piece(&self, name: &str) -> &str {
        self.path.get(name).map_or("", String::as_str)
    }

    /// The id that the path names.
    pub(crate) fn id(&self) -> &str {
        self.piece("id")
    }

    /// The component that the path names, if it does.
    pub(crate) fn component(&self) -> Option<&str> {
        self.path.get("componentPath").map(String::as_str)
    }

    /// Every value of a parameter of the query.
    pub(crate) fn values(&self, name: &str) -> Vec<String> {
        self.query.iter().filter(|(one, _)| one.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone()).collect()
    }

    /// A parameter of the query.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(one, _)| one.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// A flag of the query.
    pub(crate) fn flag(&self, name: &str) -> Result<bool, Failure> {
        match self.value(name).map(str::to_ascii_lowercase).as_deref() {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(Failure::invalid(format!("`{name}` is true or false"))),
        }
    }

    /// A header as text.
    pub(crate) fn header(&self, name: &str) -> Result<Option<&str>, Failure> {
        let text = self.headers.get(name).map(|value| value.to_str());
        text.transpose().map_err(|_| Failure::invalid(format!("the header `{name}` has signs that are not ASCII")))
    }

    /// How many items of a page the caller wants.
    pub(crate) fn items_max(&self) -> Result<usize, Failure> {
        let Some(text) = self.header("max-items-per-page")? else { return Ok(limits::PAGE_ITEMS) };
        match text.trim().parse::<usize>() {
            Ok(wanted) if wanted > 0 => Ok(wanted.min(limits::PAGE_ITEMS_MAX)),
            _ => Err(Failure::invalid("`max-items-per-page` is a whole number from 1 on")),
        }
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Result<Value, Failure> {
        gantry_hub::json::parse(&self.bytes).map_err(|error| Failure::invalid(format!("the body is no JSON: {error}")))
    }

    /// The body as an object.
    pub(crate) fn object(&self) -> Result<Map<String, Value>, Failure> {
        match self.json()? {
            Value::Object(object) => Ok(object),
            _ => Err(Failure::invalid("the body is one JSON object")),
        }
    }

    /// The body with the fields of the row.
    pub(crate) fn fields(&self) -> Result<Map<String, Value>, Failure> {
        match self.row.read(self.json()?).map_err(Failure::invalid)? {
            Value::Object(object) => Ok(object),
            _ => Err(Failure::invalid("the body is one JSON object")),
        }
    }

    /// The body as a patch.
    pub(crate) fn patch(&self) -> Result<Patch, Failure> {
        let body = gantry_hub::json::parse(&self.bytes);
        let body = body.map_err(|error| GraphError::JsonPatchInvalid(format!("the body is no JSON: {error}")))?;
        Ok(Patch::read(&body)?)
    }

    /// What the caller expects to be there.
    pub(crate) fn if_match(&self) -> Result<IfMatch, Failure> {
        let mut lines = vec![];
        for line in self.headers.get_all(header::IF_MATCH) {
            lines.push(line.to_str().map_err(|_| Failure::invalid("`If-Match` is no list of etags"))?);
        }
        match IfMatch::parse(Some(&lines.join(","))) {
            IfMatch::Absent if !lines.is_empty() => Err(Failure::invalid("`If-Match` names no etag")),
            expected => Ok(expected),
        }
    }

    /// Whether the caller expects nothing to be there.
    pub(crate) fn is_new(&self) -> Result<bool, Failure> {
        match self.headers.get(header::IF_NONE_MATCH).map(|value| value.as_bytes()) {
            None => Ok(false),
            Some(b"*" | b"\"*\"") => Ok(true),
            Some(_) => Err(Failure::invalid("`If-None-Match` is `*`")),
        }
    }

    /// A write of the moment.
    pub(crate) fn write<'a>(&self, if_match: &'a IfMatch, is_new: bool) -> Write<'a> {
        Write { now: now(), drawn: rand::rng().random(), if_match, is_new }
    }
}
