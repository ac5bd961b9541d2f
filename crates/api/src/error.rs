//! Hub errors as HTTP: status, name and number of the reference's table.
//!
//! Body `{"Message":"ErrorCode:<Name>;<words>","ExceptionMessage":"Tracking ID:…"}` and header
//! `iothub-errorcode: <Name>`. Direct methods put a JSON text into `Message` instead; SDKs
//! tell both apart (service API reference, section 2.2).

use axum::Json;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use gantry_hub::HubError;
use gantry_hub::configuration::ConfigurationError;
use gantry_hub::digital_twin::DigitalTwinError;
use gantry_hub::job::JobError;
use gantry_hub::twin::TwinError;
use serde_json::json;

use crate::body::BodyError;
use crate::now;

/// An error answer of the hub's service API.
#[derive(Debug)]
pub struct ApiError {
    status: StatusCode,
    name: &'static str,
    number: u32,
    message: String,
    is_method: bool,
}

impl ApiError {
    pub(crate) fn new(number: u32, name: &'static str, message: impl Into<String>) -> Self {
        let status = u16::try_from(number / 1000).ok().and_then(|s| StatusCode::from_u16(s).ok());
        Self {
            status: status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            name,
            number,
            message: message.into(),
            is_method: false,
        }
    }

    /// Credentials were refused; why is in the log only.
    pub(crate) fn unauthorized() -> Self {
        Self::new(401_003, "IotHubUnauthorized", "Unauthorized")
    }

    /// Somebody of a directory has no role for this.
    pub(crate) fn no_role(principal: &str, method: &axum::http::Method, path: &str) -> Self {
        let message =
            format!("Principal {principal} is not authorized for {method} on {path} due to no assigned permissions");
        Self::new(403_000, "GenericForbidden", message)
    }

    /// The request cannot be used.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(400_004, "ArgumentInvalid", message)
    }

    /// The path has no such method.
    pub(crate) fn method_not_allowed(method: &axum::http::Method) -> Self {
        Self::new(405_000, "GenericMethodNotAllowed", format!("{method} is not allowed here"))
    }

    /// Try again later.
    pub(crate) fn server_busy(message: &str) -> Self {
        Self::new(503_005, "ServerBusy", message)
    }

    /// The reference has it; Gantry does not yet.
    pub(crate) fn not_implemented(what: &str) -> Self {
        let message = format!("{what} is not implemented; see docs/compatibility.md");
        Self { status: StatusCode::NOT_IMPLEMENTED, ..Self::new(501_001, "NotImplemented", message) }
    }

    /// A call that is refused on purpose.
    pub(crate) fn planned_fault(status: u16) -> Self {
        let message = "refused by a planned fault";
        match status {
            429 => Self::new(429_001, "ThrottlingException", message),
            503 => Self::new(503_001, "ServiceUnavailable", message),
            _ => Self::new(500_001, "ServerError", message),
        }
    }

    /// HTTP status, number and name.
    pub fn code(&self) -> (u16, u32, &'static str) {
        (self.status.as_u16(), self.number, self.name)
    }

    /// No such path.
    #[must_use]
    pub fn no_such_path(path: &str) -> Self {
        Self::new(404_000, "GenericNotFound", format!("no operation at {path}"))
    }

    /// What is wrong, for a head with another shape of error.
    pub(crate) fn words(&self) -> &str {
        &self.message
    }

    fn of_job(error: &JobError) -> Self {
        let (number, name) = match error {
            JobError::NotFound(_) => (404_002, "JobNotFound"),
            JobError::AlreadyExists(_) => (409_104, "JobAlreadyExists"),
            JobError::Ended(_) => (405_102, "OperationNotAllowedInCurrentState"),
            JobError::TooMany => (429_004, "ThrottlingMaxActiveJobCountExceeded"),
            JobError::Invalid(_) => (400_004, "ArgumentInvalid"),
        };
        Self::new(number, name, error.to_string())
    }

    fn of_configuration(error: &ConfigurationError) -> Self {
        let (number, name) = match error {
            ConfigurationError::NotFound(_) => (404_301, "ConfigurationNotFound"),
            ConfigurationError::AlreadyExists(_) => (409_401, "ConfigurationAlreadyExists"),
            ConfigurationError::PreconditionFailed(_) => (412_001, "PreconditionFailed"),
            ConfigurationError::Id => (400_004, "ArgumentInvalid"),
            ConfigurationError::SchemaVersion(_) => (400_010, "InvalidSchemaVersion"),
            ConfigurationError::Target(_) => (400_401, "InvalidConfigurationTargetCondition"),
            ConfigurationError::Content(_) => (400_402, "InvalidConfigurationContent"),
            ConfigurationError::Immutable => (400_403, "CannotModifyImmutableConfigurationContent"),
            ConfigurationError::Metric { .. } => (400_404, "InvalidConfigurationCustomMetricsQuery"),
            ConfigurationError::TooMany => (413_101, "ConfigurationCountLimitExceeded"),
        };
        Self::new(number, name, error.to_string())
    }

    /// The name in the reference's table of errors.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// More entries than one call may have.
    pub(crate) fn too_many_devices(max: usize) -> Self {
        Self::new(413_002, "TooManyDevices", format!("one call may have {max} entries"))
    }

    /// Not a word for keys to draw anew.
    pub(crate) fn invalid_policy_key() -> Self {
        Self::new(400_035, "InvalidPolicyKey", "policyKey must be primaryKey, secondaryKey or both")
    }

    /// The form direct methods use.
    pub(crate) fn for_method(mut self) -> Self {
        self.is_method = true;
        self
    }
}

impl From<HubError> for ApiError {
    fn from(error: HubError) -> Self {
        let message = error.to_string();
        match error {
            HubError::NotFound(id) if id.module.is_some() => Self::new(404_010, "ModuleNotFound", message),
            HubError::NotFound(id) => {
                Self::new(404_001, "DeviceNotFound", format!("E2002: Device {id} not registered"))
            }
            HubError::AlreadyExists(id) if id.module.is_some() => {
                Self::new(409_301, "ModuleAlreadyExistsOnDevice", message)
            }
            HubError::AlreadyExists(id) => {
                Self::new(409_001, "DeviceAlreadyExists", format!("A device with ID '{id}' is already registered."))
            }
            HubError::NoSuchCertificate(_) => Self::new(404_008, "CertificateNotFound", message),
            HubError::RoutingChanged | HubError::PreconditionFailed(_) | HubError::CertificateChanged(_) => {
                Self::new(412_001, "PreconditionFailed", message)
            }
            HubError::Disabled(_) => Self::new(403_012, "DeviceDisabled", message),
            HubError::Twin(TwinError::TooLarge { .. }) => Self::new(413_000, "GenericRequestEntityTooLarge", message),
            HubError::DigitalTwin(error) => match error {
                DigitalTwinError::Patch(_) => Self::new(400_505, "InvalidDigitalTwinJsonPatch", message),
                DigitalTwinError::Value(_) => Self::new(400_507, "InvalidDigitalTwinPatch", message),
                DigitalTwinError::Path(_) => Self::new(400_508, "InvalidDigitalTwinPatchPath", message),
            },
            HubError::Job(error) => Self::of_job(&error),
            HubError::Configuration(error) => Self::of_configuration(&error),
            HubError::Scope(_) => Self::new(400_028, "InvalidDeviceScope", message),
            HubError::SystemModule(_) => Self::new(401_100, "SystemModuleModifyUnauthorizedAccess", message),
            HubError::TooManyModules(_) => Self::new(413_003, "TooManyModulesOnDevice", message),
            HubError::NamedTwice(_) => Self::new(400_011, "DeviceDefinedMultipleTimes", message),
            HubError::Routing(_)
            | HubError::Invalid(_)
            | HubError::Id(_)
            | HubError::Keys(_)
            | HubError::Twin(_)
            | HubError::Query(_) => Self::invalid(message),
            HubError::Unauthorized(_) => Self::unauthorized(),
            HubError::MessageTooLarge { .. } => Self::new(413_001, "MessageTooLarge", message),
            HubError::QueueFull(_) => Self::new(403_004, "DeviceMaximumQueueDepthExceeded", message),
            HubError::LockLost => Self::new(412_002, "DeviceMessageLockLost", message),
            HubError::NotOnline(_) => {
                Self::new(404_103, "DeviceNotOnline", "The operation failed because the requested device isn't online.")
            }
            HubError::TakenOver(_) => Self::new(400_027, "ConnectionForcefullyClosedOnNewConnection", message),
            HubError::TooManyMethods(_) => Self::new(403_800, "DeviceMaximumInflightMethodExceeded", message),
            HubError::TooManyStreams => Self::new(429_001, "ThrottlingException", message),
            HubError::Timeout(_) => {
                Self::new(504_101, "GatewayTimeout", "Timed out waiting for the response from device.")
            }
            HubError::FaultsOff => Self::new(403_000, "GenericForbidden", message),
            HubError::QuotaExceeded(_) => Self::new(403_002, "IotHubQuotaExceeded", message),
            HubError::NotInEdition(_) => Self::new(403_010, "OperationNotAvailableInCurrentTier", message),
            HubError::Throttled(_) | HubError::Contended(_) => Self::new(429_001, "ThrottlingException", message),
            HubError::NoSpace => Self::new(503_001, "ServiceUnavailable", message),
            HubError::Failed(_) => {
                tracing::error!(error = %message, "operation failed");
                Self::new(500_001, "ServerError", "Internal error")
            }
            HubError::NotImplemented(what) => Self::not_implemented(what),
        }
    }
}

impl From<BodyError> for ApiError {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge => Self::new(413_000, "GenericRequestEntityTooLarge", error.to_string()),
            BodyError::TooSlow => Self::new(408_000, "GenericTimeout", error.to_string()),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (tracking_id, at) = (uuid::Uuid::new_v4().simple().to_string(), now());
        let message = if self.is_method {
            json!({
                "errorCode": self.number,
                "trackingId": tracking_id,
                "message": self.message,
                "info": {},
                "timestampUtc": at.to_string(),
            })
            .to_string()
        } else {
            format!("ErrorCode:{};{}", self.name, self.message)
        };
        let body =
            json!({ "Message": message, "ExceptionMessage": format!("Tracking ID:{tracking_id}-TimeStamp:{at}") });
        let mut response = (self.status, Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert("iothub-errorcode", HeaderValue::from_static(self.name));
        if let Ok(id) = HeaderValue::from_str(&tracking_id) {
            headers.insert("x-ms-request-id", id);
        }
        response
    }
}
