//! Where exports send data, and how they are let in.
//!
//! Every kind and way in of the preview. Secrets are written and never said; see [`secrets`](crate::secrets) for when a
//! write keeps the one that is there.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use url::Url;

use crate::ids::{DestinationId, DisplayName, IdError};
use crate::kept::Kept;
use crate::secrets::{ConnectionString, Secret, SecretError};
use crate::shape::is_url;

/// Destinations an application has (IoT Central quotas and limits).
pub const DESTINATIONS_MAX: usize = 10;
/// Customizations of a webhook, of each kind; ours.
pub const CUSTOMIZATIONS_MAX: usize = 50;
/// Characters of a name; ours.
const NAME_CHARS_MAX: usize = 256;

/// A destination.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Destination {
    /// What it is called.
    pub display_name: DisplayName,
    /// Where it is.
    pub target: Target,
}

/// Where data is sent.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all_fields = "camelCase")]
pub enum Target {
    /// A container of blobs.
    #[serde(rename = "blobstorage@v1")]
    BlobStorage {
        /// How it is let in.
        authorization: BlobAuthorization,
    },
    /// An event hub.
    #[serde(rename = "eventhubs@v1")]
    EventHubs {
        /// How it is let in.
        authorization: EntityAuthorization,
    },
    /// A queue of Service Bus.
    #[serde(rename = "servicebusqueue@v1")]
    ServiceBusQueue {
        /// How it is let in.
        authorization: EntityAuthorization,
    },
    /// A topic of Service Bus.
    #[serde(rename = "servicebustopic@v1")]
    ServiceBusTopic {
        /// How it is let in.
        authorization: EntityAuthorization,
    },
    /// A table of Data Explorer.
    #[serde(rename = "dataexplorer@v1")]
    DataExplorer {
        /// The cluster.
        cluster_url: String,
        /// Its database.
        database: String,
        /// The table in it.
        table: String,
        /// How it is let in.
        authorization: TableAuthorization,
    },
    /// A web server.
    #[serde(rename = "webhook@v1")]
    Webhook {
        /// What is called.
        url: String,
        /// Parameters added to each request.
        query_customizations: Customizations,
        /// Headers added to each request.
        header_customizations: Customizations,
        /// How it is let in; by nothing without.
        authorization: Option<WebhookAuthorization>,
    },
}

/// How a container lets data in.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum BlobAuthorization {
    /// By a key.
    ConnectionString {
        /// Account and key.
        connection_string: ConnectionString,
        /// The container.
        container_name: String,
    },
    /// By who the application is.
    SystemAssignedManagedIdentity {
        /// The service of the account.
        endpoint_uri: String,
        /// The container.
        container_name: String,
    },
}

/// How an event hub, queue or topic lets data in.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum EntityAuthorization {
    /// By a key.
    ConnectionString {
        /// Namespace, policy, key, and the entity as `EntityPath`.
        connection_string: ConnectionString,
    },
    /// By who the application is.
    SystemAssignedManagedIdentity {
        /// The namespace.
        host_name: String,
        /// The entity in it: `eventHubName`, `queueName` or `topicName`.
        entity: String,
    },
}

/// How a table lets data in.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum TableAuthorization {
    /// As a program of a directory.
    ServicePrincipal {
        /// Which.
        client_id: String,
        /// Of which directory.
        tenant_id: String,
        /// What proves it.
        client_secret: Secret,
    },
    /// By who the application is.
    SystemAssignedManagedIdentity,
}

/// How a web server lets data in.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum WebhookAuthorization {
    /// By the header `Authorization`.
    Header {
        /// What is in it.
        value: Secret,
    },
    /// By a token of OAuth 2.0, got with client credentials.
    #[serde(rename = "oauth")]
    OAuth {
        /// Where the token is got.
        token_url: String,
        /// As whom.
        client_id: String,
        /// What proves it.
        client_secret: Secret,
        /// For whom.
        audience: Option<String>,
        /// For what.
        scope: Option<String>,
        /// How the token is asked for.
        request_type: Option<RequestType>,
    },
}

/// How a token is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RequestType {
    /// As works.
    Auto,
    /// With JSON.
    Json,
    /// With a form.
    #[serde(rename = "urlencoded")]
    UrlEncoded,
}

/// A parameter or header that is added.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "type", content = "value", rename_all = "camelCase")]
pub enum Customization {
    /// One that is said again.
    Open(String),
    /// One that is not.
    Secret(Secret),
}

/// Parameters or headers by name.
pub type Customizations = BTreeMap<String, Customization>;

/// All destinations by id.
pub type Destinations = BTreeMap<DestinationId, Arc<Kept<Destination>>>;

/// Why a destination was not written or deleted.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum DestinationError {
    /// There is none with this id.
    #[error("there is no destination `{0}`")]
    Unknown(DestinationId),
    /// The name is none.
    #[error(transparent)]
    Name(#[from] IdError),
    /// A secret is none.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// A member is not what it must be.
    #[error("`{field}` is not {what}")]
    Invalid {
        /// Which.
        field: &'static str,
        /// What it must be.
        what: &'static str,
    },
    /// A name among the customizations is none.
    #[error("`{field}` has a name {name:?} that is not one to be set")]
    Customization {
        /// `queryCustomizations` or `headerCustomizations`.
        field: &'static str,
        /// Its beginning.
        name: String,
    },
    /// Too many customizations.
    #[error("`{0}` has {CUSTOMIZATIONS_MAX} members at most")]
    TooManyCustomizations(&'static str),
    /// There are as many as there may be.
    #[error("there are {DESTINATIONS_MAX} destinations, which is the most")]
    TooMany,
    /// Exports send to it.
    #[error("export `{export}` sends to destination `{id}`")]
    InUse {
        /// Which.
        id: DestinationId,
        /// Who.
        export: crate::ids::ExportId,
    },
}

impl Destination {
    /// Checks ranges.
    ///
    /// # Errors
    /// [`DestinationError`] names what is wrong.
    pub fn check(&self) -> Result<(), DestinationError> {
        match &self.target {
            Target::BlobStorage { authorization } => check_blobs(authorization),
            Target::EventHubs { authorization } => check_entity(authorization, "eventHubName"),
            Target::ServiceBusQueue { authorization } => check_entity(authorization, "queueName"),
            Target::ServiceBusTopic { authorization } => check_entity(authorization, "topicName"),
            Target::DataExplorer { cluster_url, database, table, authorization } => {
                check_url("clusterUrl", cluster_url)?;
                check_name("database", database)?;
                check_name("table", table)?;
                match authorization {
                    TableAuthorization::SystemAssignedManagedIdentity => Ok(()),
                    TableAuthorization::ServicePrincipal { client_id, tenant_id, .. } => {
                        check_name("clientId", client_id).and_then(|()| check_name("tenantId", tenant_id))
                    }
                }
            }
            Target::Webhook { url, query_customizations, header_customizations, authorization } => {
                check_url("url", url)?;
                check_customizations("queryCustomizations", query_customizations, |name| !name.is_empty())?;
                check_customizations("headerCustomizations", header_customizations, is_header)?;
                authorization.as_ref().map_or(Ok(()), check_webhook)
            }
        }
    }

    /// The destination with all its secrets: those that are hidden are those of the one that is there, where nothing
    /// that says where they go is another.
    ///
    /// # Errors
    /// [`SecretError::Nothing`] when there is none to keep.
    pub(crate) fn with_secrets(mut self, kept: Option<&Self>) -> Result<Self, SecretError> {
        let mut kept = kept.map(|kept| kept.target.clone());
        let old = kept.as_mut().map_or_else(Vec::new, Target::secrets);
        for (place, secret) in self.target.secrets() {
            let same = old.iter().find(|(other, _)| *other == place).map(|(_, secret)| &**secret);
            *secret = secret.clone().or_kept(place.field, same)?;
        }
        if let Some(connection) = self.target.connection() {
            let old = kept.as_mut().and_then(Target::connection);
            *connection = connection.clone().or_kept(old.as_deref())?;
        }
        Ok(self)
    }
}

/// Which secret it is, and all that says where it goes.
#[derive(PartialEq)]
struct Place {
    field: &'static str,
    goes_to: Vec<String>,
}

impl Target {
    fn secrets(&mut self) -> Vec<(Place, &mut Secret)> {
        let place = |field, goes_to: &[&String]| Place { field, goes_to: goes_to.iter().copied().cloned().collect() };
        match self {
            Self::DataExplorer {
                cluster_url,
                authorization: TableAuthorization::ServicePrincipal { client_id, tenant_id, client_secret },
                ..
            } => vec![(place("clientSecret", &[cluster_url, client_id, tenant_id]), client_secret)],
            Self::Webhook { url, query_customizations, header_customizations, authorization } => {
                let mut all = vec![];
                for (field, of) in
                    [("queryCustomizations", query_customizations), ("headerCustomizations", header_customizations)]
                {
                    all.extend(of.iter_mut().filter_map(|(name, one)| match one {
                        Customization::Secret(secret) => Some((place(field, &[url, name]), secret)),
                        Customization::Open(_) => None,
                    }));
                }
                match authorization {
                    Some(WebhookAuthorization::Header { value }) => all.push((place("value", &[url]), value)),
                    Some(WebhookAuthorization::OAuth { token_url, client_id, client_secret, .. }) => {
                        all.push((place("clientSecret", &[token_url, client_id]), client_secret));
                    }
                    None => {}
                }
                all
            }
            _ => vec![],
        }
    }

    fn connection(&mut self) -> Option<&mut ConnectionString> {
        match self {
            Self::BlobStorage { authorization: BlobAuthorization::ConnectionString { connection_string, .. } }
            | Self::EventHubs { authorization: EntityAuthorization::ConnectionString { connection_string } }
            | Self::ServiceBusQueue { authorization: EntityAuthorization::ConnectionString { connection_string } }
            | Self::ServiceBusTopic { authorization: EntityAuthorization::ConnectionString { connection_string } } => {
                Some(connection_string)
            }
            _ => None,
        }
    }
}

fn check_blobs(authorization: &BlobAuthorization) -> Result<(), DestinationError> {
    let container_name = match authorization {
        BlobAuthorization::ConnectionString { connection_string, container_name } => {
            connection_string.check(&["AccountName"])?;
            container_name
        }
        BlobAuthorization::SystemAssignedManagedIdentity { endpoint_uri, container_name } => {
            check_url("endpointUri", endpoint_uri)?;
            container_name
        }
    };
    check_name("containerName", container_name)
}

fn check_entity(authorization: &EntityAuthorization, field: &'static str) -> Result<(), DestinationError> {
    match authorization {
        EntityAuthorization::ConnectionString { connection_string } => {
            Ok(connection_string.check(&["Endpoint", "EntityPath"])?)
        }
        EntityAuthorization::SystemAssignedManagedIdentity { host_name, entity } => {
            check_name("hostName", host_name).and_then(|()| check_name(field, entity))
        }
    }
}

fn check_webhook(authorization: &WebhookAuthorization) -> Result<(), DestinationError> {
    let WebhookAuthorization::OAuth { token_url, client_id, audience, scope, .. } = authorization else {
        return Ok(());
    };
    check_url("tokenUrl", token_url)?;
    check_name("clientId", client_id)?;
    audience.as_deref().map_or(Ok(()), |text| check_name("audience", text))?;
    scope.as_deref().map_or(Ok(()), |text| check_name("scope", text))
}

fn check_customizations(
    field: &'static str,
    all: &Customizations,
    is_name: fn(&str) -> bool,
) -> Result<(), DestinationError> {
    if all.len() > CUSTOMIZATIONS_MAX {
        return Err(DestinationError::TooManyCustomizations(field));
    }
    let is_good = |text: &str| text.chars().count() <= NAME_CHARS_MAX && !text.chars().any(char::is_control);
    if let Some(name) = all.keys().find(|name| !is_name(name) || !is_good(name)) {
        return Err(DestinationError::Customization { field, name: name.chars().take(NAME_CHARS_MAX).collect() });
    }
    let is_value = |one: &Customization| match one {
        Customization::Open(text) => is_text(text),
        Customization::Secret(_) => true,
    };
    if all.values().all(is_value) { Ok(()) } else { Err(DestinationError::Invalid { field, what: TEXTS }) }
}

const TEXTS: &str = "texts of at most 4096 characters without control characters";

fn is_text(text: &str) -> bool {
    text.chars().count() <= crate::secrets::SECRET_CHARS_MAX && !text.chars().any(char::is_control)
}

/// Headers of a connection and its framing, which follow from what is sent and where (RFC 9110, 7.6.1; RFC 9112, 6).
const FRAMING: [&str; 9] =
    ["connection", "content-length", "expect", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"];

/// Whether a text is a token of HTTP, which names of headers are, and none that whoever sends decides.
fn is_header(name: &str) -> bool {
    let is_framing = FRAMING.iter().any(|framing| name.eq_ignore_ascii_case(framing));
    !name.is_empty()
        && !is_framing
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

fn check_url(field: &'static str, text: &str) -> Result<(), DestinationError> {
    let parsed = Url::parse(text).ok().filter(|_| is_url(text, &["https://", "http://"]));
    let Some(url) = parsed else {
        return Err(DestinationError::Invalid { field, what: "a URL with `https://` or `http://`" });
    };
    // It is shown to whoever may read destinations.
    let is_open = url.username().is_empty() && url.password().is_none();
    let what = "a URL without a user and a password, which are for `authorization`";
    if is_open { Ok(()) } else { Err(DestinationError::Invalid { field, what }) }
}

fn check_name(field: &'static str, text: &str) -> Result<(), DestinationError> {
    let is_good = (1..=NAME_CHARS_MAX).contains(&text.chars().count()) && !text.chars().any(char::is_control);
    if is_good { Ok(()) } else { Err(DestinationError::Invalid { field, what: "a text of 1 to 256 characters" }) }
}

/// Checks that a destination may be written under an id.
///
/// # Errors
/// [`DestinationError`].
pub fn check_put(all: &Destinations, id: &DestinationId, new: &Destination) -> Result<(), DestinationError> {
    if !all.contains_key(id) && all.len() >= DESTINATIONS_MAX {
        return Err(DestinationError::TooMany);
    }
    new.check()
}

#[cfg(test)]
pub(crate) mod tests;
