//! JSON bodies of the hub's service API.

use axum::Json;
use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use gantry_hub::HubError;
use gantry_hub::device::{Authentication, AuthenticationWrite, DeviceWrite, Status};
use gantry_hub::ports::Record;
use gantry_hub::twin::TwinWrite;
use gantry_identity::{Identity, Timestamp};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::error::ApiError;
use crate::fields::Fields;

pub(crate) fn parse<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    gantry_hub::json::read(body).map_err(malformed)
}

/// Reads an object of which every field is known.
pub(crate) fn parse_fields<T: serde::de::DeserializeOwned>(body: &[u8], fields: &Fields) -> Result<T, ApiError> {
    read_fields(parse(body)?, fields)
}

/// As [`parse_fields`], of JSON.
pub(crate) fn read_fields<T: serde::de::DeserializeOwned>(body: Value, fields: &Fields) -> Result<T, ApiError> {
    gantry_hub::json::read_value(fields.read(body).map_err(ApiError::invalid)?).map_err(malformed)
}

pub(crate) fn malformed(error: serde_json::Error) -> ApiError {
    ApiError::invalid(format!("malformed body: {error}"))
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct DeviceBody {
    device_id: Option<String>,
    module_id: Option<String>,
    status: Option<String>,
    status_reason: Option<String>,
    authentication: Option<AuthenticationBody>,
    capabilities: Option<CapabilitiesBody>,
    device_scope: Option<String>,
    parent_scopes: Option<Vec<String>>,
    managed_by: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct AuthenticationBody {
    r#type: Option<String>,
    symmetric_key: Option<SymmetricKeyBody>,
    x509_thumbprint: Option<ThumbprintBody>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct SymmetricKeyBody {
    primary_key: Option<String>,
    secondary_key: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ThumbprintBody {
    primary_thumbprint: Option<String>,
    secondary_thumbprint: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct CapabilitiesBody {
    iot_edge: bool,
}

impl DeviceBody {
    /// The body of a bulk entry: ids in it have other names.
    pub(crate) fn named_elsewhere(self) -> Self {
        Self { device_id: None, module_id: None, ..self }
    }

    pub(crate) fn write(self, identity: &Identity) -> Result<DeviceWrite, ApiError> {
        check_ids(identity, self.device_id.as_deref(), self.module_id.as_deref())?;
        let status = match self.status.as_deref().map(str::to_ascii_lowercase).as_deref() {
            None | Some("enabled") => Status::Enabled,
            Some("disabled") => Status::Disabled,
            Some(_) => return Err(ApiError::invalid("status must be enabled or disabled")),
        };
        let write = DeviceWrite {
            status,
            status_reason: self.status_reason.filter(|reason| !reason.is_empty()),
            authentication: self
                .authentication
                .map_or(Ok(AuthenticationWrite::Unchanged), AuthenticationBody::write)?,
            iot_edge: self.capabilities.is_some_and(|c| c.iot_edge),
            device_scope: self.device_scope.filter(|scope| !scope.is_empty()),
            parent_scopes: self.parent_scopes.unwrap_or_default(),
            managed_by: self.managed_by.filter(|by| !by.is_empty()),
        };
        match &identity.module {
            None if write.managed_by.is_some() => Err(ApiError::invalid("managedBy belongs to modules")),
            Some(_) if !is_plain(&write) => Err(ApiError::invalid(
                "status, statusReason, capabilities, deviceScope and parentScopes belong to devices",
            )),
            _ => Ok(write),
        }
    }
}

/// Whether it holds nothing that devices alone have. Clients send the defaults with modules too.
fn is_plain(write: &DeviceWrite) -> bool {
    let DeviceWrite { authentication, managed_by, .. } = write.clone();
    DeviceWrite { authentication, managed_by, ..DeviceWrite::default() } == *write
}

/// Whether the ids in a body, where it has them, are those of its path.
fn check_ids(identity: &Identity, device_id: Option<&str>, module_id: Option<&str>) -> Result<(), ApiError> {
    let same = |given: Option<&str>, id: &str| given.is_none_or(|given| given.is_empty() || given == id);
    let module = identity.module.as_ref().map_or("", |module| module.as_str());
    if same(device_id, identity.device.as_str()) && same(module_id, module) {
        return Ok(());
    }
    Err(ApiError::invalid("id in the body differs from the id in the path"))
}

impl AuthenticationBody {
    fn write(self) -> Result<AuthenticationWrite, ApiError> {
        let thumbprints = self.x509_thumbprint.unwrap_or_default();
        let given = |text: Option<String>| text.filter(|t| !t.is_empty());
        let (primary, secondary) = (given(thumbprints.primary_thumbprint), given(thumbprints.secondary_thumbprint));
        let kind = match self.r#type.as_deref() {
            Some(kind) => kind,
            None if primary.is_some() || secondary.is_some() => "selfSigned",
            None => "sas",
        };
        let keys = self.symmetric_key.unwrap_or_default();
        let has_keys = [&keys.primary_key, &keys.secondary_key].into_iter().flatten().any(|key| !key.is_empty());
        let has_thumbprints = primary.is_some() || secondary.is_some();
        let kind = kind.to_ascii_lowercase();
        if has_keys && kind != "sas" || has_thumbprints && kind != "selfsigned" {
            return Err(ApiError::invalid("authentication holds keys or thumbprints of another type than its own"));
        }
        match kind.as_str() {
            "sas" => AuthenticationWrite::sas(keys.primary_key.as_deref(), keys.secondary_key.as_deref())
                .map_err(|error| ApiError::invalid(format!("symmetricKey: {error}"))),
            "selfsigned" => {
                for thumbprint in [&primary, &secondary].into_iter().flatten() {
                    let hex = thumbprint.bytes().filter(|b| *b != b':').all(|b| b.is_ascii_hexdigit());
                    let len = thumbprint.bytes().filter(|b| *b != b':').count();
                    if !hex || !matches!(len, 40 | 64) {
                        return Err(ApiError::invalid("a thumbprint has 40 or 64 hexadecimal digits"));
                    }
                }
                Ok(AuthenticationWrite::SelfSigned { primary, secondary })
            }
            "certificateauthority" => Ok(AuthenticationWrite::CertificateAuthority),
            "none" => Ok(AuthenticationWrite::None),
            _ => Err(ApiError::invalid("authentication.type must be sas, selfSigned, certificateAuthority or none")),
        }
    }
}

/// The identity as the registry shows it.
pub(crate) fn device(record: &Record, connected: bool) -> Value {
    let device = &record.device;
    let mut all = Map::new();
    let mut put = |key: &str, value: Value| all.insert(key.to_owned(), value);
    // Times of identities have no zone in the reference when they are "never".
    let time = |at: Timestamp| if at == Timestamp::NEVER { "0001-01-01T00:00:00".to_owned() } else { at.to_string() };
    put("deviceId", device.identity.device.as_str().into());
    if let Some(module) = &device.identity.module {
        put("moduleId", module.as_str().into());
        put("managedBy", device.managed_by.as_deref().unwrap_or_default().into());
    }
    put("generationId", device.generation_id.as_str().into());
    put("etag", device.etag_text().into());
    put("connectionState", if connected { "Connected" } else { "Disconnected" }.into());
    put("connectionStateUpdatedTime", time(record.presence.updated_at).into());
    put("lastActivityTime", time(record.presence.last_activity_at).into());
    put("cloudToDeviceMessageCount", record.presence.c2d_count.into());
    put("authentication", authentication(&device.authentication));
    if device.identity.module.is_none() {
        put("status", device.status.as_str().into());
        put("statusReason", device.status_reason.clone().into());
        put("statusUpdatedTime", time(device.status_updated_at).into());
        put("capabilities", json!({ "iotEdge": device.iot_edge }));
        if let Some(scope) = &device.device_scope {
            put("deviceScope", scope.as_str().into());
        }
        if !device.parent_scopes.is_empty() {
            put("parentScopes", device.parent_scopes.clone().into());
        }
    }
    Value::Object(all)
}

pub(crate) fn authentication(authentication: &Authentication) -> Value {
    let (mut primary_key, mut secondary_key, mut primary, mut secondary) = (None, None, None, None);
    match authentication {
        Authentication::Sas(keys) => {
            (primary_key, secondary_key) = (Some(keys.primary.to_base64()), Some(keys.secondary.to_base64()));
        }
        Authentication::SelfSigned { primary: first, secondary: second } => {
            (primary, secondary) = (first.clone(), second.clone());
        }
        Authentication::CertificateAuthority | Authentication::None => {}
    }
    json!({
        "symmetricKey": { "primaryKey": primary_key, "secondaryKey": secondary_key },
        "x509Thumbprint": { "primaryThumbprint": primary, "secondaryThumbprint": secondary },
        "type": authentication.kind(),
    })
}

/// Tags and desired properties. Absent is not null, which clears a section.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct TwinBody {
    device_id: Option<String>,
    module_id: Option<String>,
    etag: Option<String>,
    #[serde(deserialize_with = "there")]
    tags: Option<Value>,
    properties: Option<PropertiesBody>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct PropertiesBody {
    #[serde(deserialize_with = "there")]
    desired: Option<Value>,
}

fn there<'de, D: serde::Deserializer<'de>>(value: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(value).map(Some)
}

impl TwinBody {
    /// Checks that it is about a device or module, where it says so.
    pub(crate) fn of(self, identity: &Identity) -> Result<Self, ApiError> {
        check_ids(identity, self.device_id.as_deref(), self.module_id.as_deref())?;
        Ok(self)
    }

    /// The ETag, unless it is one that everything matches.
    pub(crate) fn particular_etag(&self) -> Option<&str> {
        self.etag.as_deref().filter(|etag| !matches!(*etag, "" | "*" | "\"*\""))
    }

    pub(crate) fn merge(self) -> Result<TwinWrite, ApiError> {
        Ok(TwinWrite::merging(self.tags, self.properties.unwrap_or_default().desired).map_err(HubError::from)?)
    }

    pub(crate) fn replacement(self) -> Result<TwinWrite, ApiError> {
        Ok(TwinWrite::replacing(self.tags, self.properties.unwrap_or_default().desired).map_err(HubError::from)?)
    }
}

/// An answer that is JSON already, as far as we know.
pub(crate) fn json_text(text: impl Into<Body>) -> Response {
    let json = HeaderValue::from_static("application/json; charset=utf-8");
    ([(header::CONTENT_TYPE, json)], text.into()).into_response()
}

/// A JSON answer with its ETag in quotes.
pub(crate) fn with_etag(body: Value, etag: &str) -> Response {
    let mut response = Json(body).into_response();
    if let Ok(value) = HeaderValue::from_str(&format!("\"{etag}\"")) {
        response.headers_mut().insert(header::ETAG, value);
    }
    response
}
