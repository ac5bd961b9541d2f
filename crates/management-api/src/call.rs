//! A request, read: what handlers work with.

use std::collections::HashMap;
use std::sync::Arc;

use axum::RequestExt as _;
use axum::body::Bytes;
use axum::extract::{FromRequest, Path, Request};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse as _, Response};
use gantry_api::{Row, asked_version, management};
use gantry_hub::Hub;
use gantry_hub::device::IfMatch;
use gantry_provisioning::Service;
use serde_json::{Map, Value, json};

use crate::{Failure, LOCATION, Management, RESOURCE_GROUP};

/// A kind of resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Hub,
    Provisioning,
    Application,
}

impl Kind {
    /// Its type.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Hub => "Microsoft.Devices/IotHubs",
            Self::Provisioning => "Microsoft.Devices/provisioningServices",
            Self::Application => "Microsoft.IoTCentral/IoTApps",
        }
    }

    /// What another one would be, in words.
    const fn another(self) -> &'static str {
        match self {
            Self::Hub => "making a hub while the platform runs",
            Self::Provisioning => "making a provisioning service while the platform runs",
            Self::Application => "making an application while the platform runs",
        }
    }
}

/// A request of somebody who may call, within the subscription and resource group of the platform.
pub(crate) struct Call {
    pub(crate) management: Arc<Management>,
    row: Row,
    headers: HeaderMap,
    bytes: Bytes,
    version: String,
    /// Where the caller thinks the platform is.
    host: String,
    path: HashMap<String, String>,
}

impl FromRequest<Arc<Management>> for Call {
    type Rejection = Response;

    async fn from_request(mut request: Request, management: &Arc<Management>) -> Result<Self, Response> {
        let row = request.extensions().get::<Row>().cloned();
        let row = row.ok_or_else(|| Failure::invalid("an operation without its row").into_response())?;
        let invalid = |words: String| Failure::invalid(words).into_response();
        let path = request.extract_parts::<Path<HashMap<String, String>>>().await;
        let Path(path) = path.map_err(|error| invalid(error.body_text()))?;
        let headers = request.headers().clone();
        let named = || headers.get(header::HOST).and_then(|host| host.to_str().ok()).map(str::to_owned);
        let host = request.uri().authority().map(ToString::to_string).or_else(named).unwrap_or_default();
        let version = asked_version(request.uri().query()).unwrap_or_default();
        let bytes = request.extract::<Bytes, _>().await.map_err(|error| invalid(error.body_text()))?;
        let call = Self { management: Arc::clone(management), row, headers, bytes, version, host, path };
        call.check_place().map_err(|failure| failure.into_response())?;
        Ok(call)
    }
}

impl Call {
    fn check_place(&self) -> Result<(), Failure> {
        let is = |name: &str, expected: &str| self.path.get(name).is_none_or(|one| one.eq_ignore_ascii_case(expected));
        if !is("subscriptionId", &self.management.facts.subscription) {
            return Err(Failure::no_subscription(self.piece("subscriptionId")));
        }
        if !is("resourceGroupName", RESOURCE_GROUP) {
            return Err(Failure::no_group(self.piece("resourceGroupName")));
        }
        Ok(())
    }

    /// The published name of the operation.
    pub(crate) fn operation(&self) -> &str {
        self.row.id.strip_prefix(management::NAMES).unwrap_or(&self.row.id)
    }

    /// The hub.
    pub(crate) fn hub(&self) -> &Hub {
        &self.management.api.hub
    }

    /// The provisioning service.
    pub(crate) fn provisioning(&self) -> &Service {
        &self.management.api.provisioning
    }

    /// A piece of the path.
    pub(crate) fn piece(&self, name: &str) -> &str {
        self.path.get(name).map_or("", String::as_str)
    }

    fn names_ours(&self) -> bool {
        self.piece("resourceName").eq_ignore_ascii_case(self.hub().name())
    }

    /// That the path names the resource there is.
    pub(crate) fn check_name(&self, kind: Kind) -> Result<(), Failure> {
        let name = self.piece("resourceName");
        if self.names_ours() { Ok(()) } else { Err(Failure::no_resource(kind.name(), name, RESOURCE_GROUP)) }
    }

    /// The same where another name asks for another resource.
    pub(crate) fn check_name_to_write(&self, kind: Kind) -> Result<(), Failure> {
        if self.names_ours() { Ok(()) } else { Err(Failure::not_implemented(kind.another())) }
    }

    /// The body with the fields of the row.
    pub(crate) fn body(&self) -> Result<Map<String, Value>, Failure> {
        let body = gantry_hub::json::parse(&self.bytes).map_err(|error| Failure::invalid(error.to_string()))?;
        match self.row.read(body).map_err(Failure::invalid)? {
            Value::Object(body) => Ok(body),
            _ => Err(Failure::invalid("the body is one JSON object")),
        }
    }

    /// What the caller expects: the header, or the etag that the body has.
    pub(crate) fn if_match(&self, body: Option<&Map<String, Value>>) -> IfMatch {
        let header = self.headers.get(header::IF_MATCH).and_then(|value| value.to_str().ok());
        let in_body = || body.and_then(|body| body.get("etag")?.as_str());
        header.or_else(in_body).map_or(IfMatch::Absent, |text| IfMatch::parse(Some(text)))
    }

    /// Refuses a write that is only for what is not there yet.
    pub(crate) fn check_is_new(&self, is_there: bool) -> Result<(), Failure> {
        match self.headers.get(header::IF_NONE_MATCH).map(|value| value.as_bytes()) {
            None => Ok(()),
            Some(b"*" | b"\"*\"") if !is_there => Ok(()),
            Some(b"*" | b"\"*\"") => Err(Failure::precondition("it is there already")),
            Some(_) => Err(Failure::invalid("`If-None-Match` of a write is `*`")),
        }
    }

    /// The id of a resource.
    pub(crate) fn id(&self, kind: Kind) -> String {
        let (subscription, name) = (&self.management.facts.subscription, self.hub().name());
        format!("/subscriptions/{subscription}/resourceGroups/{RESOURCE_GROUP}/providers/{}/{name}", kind.name())
    }

    /// What every resource shows, with its tags.
    pub(crate) fn resource(&self, kind: Kind) -> Value {
        json!({
            "id": self.id(kind),
            "name": self.hub().name(),
            "type": kind.name(),
            "location": LOCATION,
            "tags": self.management.kept.tags(kind),
        })
    }

    /// The address where the outcome of an operation on a resource is.
    pub(crate) fn address_of(&self, kind: Kind, operation: &str) -> String {
        let word = if kind == Kind::Provisioning { "operationresults" } else { "operationResults" };
        let (host, id, version) = (&self.host, self.id(kind), &self.version);
        format!("https://{host}{id}/{word}/{operation}?api-version={version}&asyncinfo")
    }
}
