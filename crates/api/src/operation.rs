//! One operation over HTTP, as data: its row in the table of routes.
//!
//! Everything that must know of an operation reads its row: the router where it is, `auth` who may call it, `throttle`
//! what it counts as, `openapi` and `reference` what is told of it, and the tests, which walk the table. A handler
//! says none of this again, and gets no place in the router without a row ([`Routes::on`](crate::Routes::on)).

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use axum::http::Method;
use gantry_blobs::Permission;
use gantry_hub::throttle;
use gantry_identity::Rights;

use crate::actions;
use crate::caller::Permissions;
use crate::fields::Fields;

/// A row as it is handed on.
pub type Row = Arc<Operation>;

/// Whose API an operation belongs to. A head has one shape of errors and one rule for versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Head {
    /// The hub, for services.
    Service,
    /// The hub, for devices.
    Device,
    /// The provisioning service, for operators.
    DpsService,
    /// The provisioning service, for devices.
    DpsDevice,
    /// The platform: the page and the command line.
    Platform,
    /// The blob store. Its rows lead to no router; see `blob/operations.rs`.
    Blob,
    /// The token server.
    Tokens,
    /// Our own directory: where programs get tokens.
    Directory,
    /// The tables, for clients of Kusto.
    Kusto,
    /// The tables, for clients of OData.
    OData,
    /// The application: templates, devices as people see them, groups, jobs, people.
    Application,
    /// The resources of the platform, for clients of the control plane.
    Management,
    /// The digital-twin graph.
    Graph,
    /// The model repository.
    Models,
    /// The process: its health, and ways in for other protocols.
    Process,
}

impl Head {
    /// Every head.
    pub const ALL: [Self; 15] = [
        Self::Service,
        Self::Device,
        Self::DpsService,
        Self::DpsDevice,
        Self::Platform,
        Self::Blob,
        Self::Tokens,
        Self::Directory,
        Self::Kusto,
        Self::OData,
        Self::Application,
        Self::Management,
        Self::Graph,
        Self::Models,
        Self::Process,
    ];

    /// Its name in documents.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Service => "Hub, for services",
            Self::Device => "Hub, for devices",
            Self::DpsService => "Provisioning, for operators",
            Self::DpsDevice => "Provisioning, for devices",
            Self::Platform => "Platform",
            Self::Blob => "Blob store",
            Self::Tokens => "Token server",
            Self::Directory => "Directory",
            Self::Kusto => "Tables, for clients of Kusto",
            Self::OData => "Tables, for clients of OData",
            Self::Application => "Application",
            Self::Management => "Management",
            Self::Graph => "Digital-twin graph",
            Self::Models => "Model repository",
            Self::Process => "Process",
        }
    }

    /// What all its paths begin with.
    const fn base(self) -> &'static str {
        match self {
            Self::Platform => "/platform/v1",
            Self::Application => "/api",
            _ => "",
        }
    }

    /// Whether a call names a version of the API in its query.
    pub const fn is_versioned(self) -> bool {
        !matches!(
            self,
            Self::Platform
                | Self::Blob
                | Self::Tokens
                | Self::Directory
                | Self::Kusto
                | Self::OData
                | Self::Models
                | Self::Process
        )
    }
}

/// What opens an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// A token of a policy of the hub that has these rights.
    Hub(Rights),
    /// A token of a policy of the provisioning service that has these rights.
    Provisioning(Rights),
    /// The device in the path: its own token or certificate, or a token of a policy that connects devices.
    Device,
    /// Whoever has these permissions on the platform: a session of the page, or a token of a policy of the hub.
    Platform(Permissions),
    /// A person who is signed in, about their own account; programs have none.
    Person,
    /// A shared key of the account, or a signature that allows one of these.
    Blob(&'static [Permission]),
    /// Whoever has one of these permissions of the application, where it counts: an API token, or a session of the page.
    Application(&'static [&'static str]),
    /// A proof that the operation reads itself, in words.
    Proof(&'static str),
    /// Nothing: anybody may call.
    Anyone,
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hub(rights) | Self::Provisioning(rights) => write!(f, "policy: {rights}"),
            Self::Device => f.write_str("the device, or policy: DeviceConnect"),
            Self::Platform(Permissions::NONE) => f.write_str("whoever is signed in"),
            Self::Platform(permissions) => write!(f, "{permissions}"),
            Self::Person => f.write_str("a person who is signed in"),
            Self::Blob(one_of) => {
                let words: Vec<_> = one_of.iter().map(|one| format!("{one:?}").to_ascii_lowercase()).collect();
                write!(f, "shared key, or signature to {}", words.join(" or "))
            }
            Self::Application(one_of) => f.write_str(&one_of.join(" or ")),
            Self::Proof(what) => f.write_str(what),
            Self::Anyone => f.write_str("anybody"),
        }
    }
}

/// A parameter of the query.
#[derive(Clone, Copy, Debug)]
pub struct Parameter {
    /// Its name.
    pub name: &'static str,
    /// What it says.
    pub about: &'static str,
}

/// What an operation reads of a request's body.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Body {
    /// Nothing.
    Nothing,
    /// An object with these fields.
    Object(&'static Fields),
    /// An array of such objects.
    Array(&'static Fields),
    /// JSON that is described in words.
    Json(&'static str),
    /// Bytes that are not looked into.
    Bytes,
}

/// One operation: a method and a path of words and `{parameters}`, of which the last may be a `{*rest}`.
#[derive(Clone, Debug)]
pub struct Operation {
    /// Its name, unique: the reference's where that has published one.
    pub id: Cow<'static, str>,
    /// The method; none: all of them.
    pub method: Option<Method>,
    /// The path, as the router takes it.
    pub path: String,
    /// Whose it is.
    pub head: Head,
    /// What opens it.
    pub access: Access,
    /// Data actions that a role of a directory must allow, all of them.
    pub data_actions: &'static [&'static str],
    /// What it counts as on a hub that acts like an edition of the reference.
    pub throttle: Option<throttle::Operation>,
    /// What it does, in sentences.
    pub about: &'static str,
    /// Parameters of its query, beside the version.
    pub query: &'static [Parameter],
    /// Versions of the API that have it; empty: all that its head knows.
    pub versions: &'static [&'static str],
    /// Open to whoever must choose another password first.
    pub(crate) before_password: bool,
    /// Whether a call changes something, where the method does not say it.
    pub changes: Option<bool>,
    /// Largest body in bytes. One that is larger than most is read only of who may call.
    pub body_bytes_max: usize,
    pub(crate) body: Body,
}

impl Operation {
    /// A row; it has no throttle, no query and no body unless they are added.
    pub fn new(
        head: Head,
        method: impl Into<Option<Method>>,
        path: &str,
        id: impl Into<Cow<'static, str>>,
        access: Access,
        about: &'static str,
    ) -> Self {
        let id = id.into();
        Self {
            data_actions: actions::of(&id),
            id,
            method: method.into(),
            path: format!("{}{path}", head.base()),
            head,
            access,
            throttle: None,
            about,
            query: &[],
            versions: &[],
            before_password: false,
            changes: None,
            body_bytes_max: crate::body::BODY_BYTES_MAX,
            body: Body::Nothing,
        }
    }

    /// Takes bodies of so many bytes.
    #[must_use]
    pub fn up_to(self, body_bytes_max: usize) -> Self {
        Self { body_bytes_max, ..self }
    }

    /// Asks and changes nothing, whatever its method.
    #[must_use]
    pub fn asks(self) -> Self {
        Self { changes: Some(false), ..self }
    }

    /// Changes something, whatever its method.
    #[must_use]
    pub fn changes(self) -> Self {
        Self { changes: Some(true), ..self }
    }

    /// Is open to whoever must choose another password first.
    pub(crate) fn before_password(self) -> Self {
        Self { before_password: true, ..self }
    }

    /// Counts as this.
    #[must_use]
    pub fn throttled(self, class: impl Into<Option<throttle::Operation>>) -> Self {
        Self { throttle: class.into(), ..self }
    }

    /// Reads these parameters.
    #[must_use]
    pub fn query(self, query: &'static [Parameter]) -> Self {
        Self { query, ..self }
    }

    /// Is in these versions of the API.
    pub(crate) fn of_versions(self, versions: &'static [&'static str]) -> Self {
        Self { versions, ..self }
    }

    /// Reads bytes that the handler looks into.
    #[must_use]
    pub fn takes_bytes(self) -> Self {
        self.reads(Body::Bytes)
    }

    /// Reads an object with these fields.
    pub(crate) fn takes(self, fields: &'static Fields) -> Self {
        self.reads(Body::Object(fields))
    }

    /// Reads this body.
    pub(crate) fn reads(self, body: Body) -> Self {
        Self { body, ..self }
    }

    /// Whether it reads a body of any kind.
    pub fn has_body(&self) -> bool {
        !matches!(self.body, Body::Nothing)
    }

    /// The names an object in its body may have, if that is what it reads.
    pub fn fields(&self) -> Option<Vec<&'static str>> {
        match self.body {
            Body::Object(fields) => Some(fields.names().collect()),
            _ => None,
        }
    }

    /// An object from its body, with the names of fields as they are published and without what is only shown.
    ///
    /// # Errors
    /// Names a field that is not known, or is there twice.
    pub fn read(&self, body: serde_json::Value) -> Result<serde_json::Value, String> {
        match self.body {
            Body::Object(fields) | Body::Array(fields) => fields.read(body),
            Body::Nothing | Body::Json(_) | Body::Bytes => Ok(body),
        }
    }

    /// The parameters of its path, in order.
    pub fn parameters(&self) -> impl Iterator<Item = &str> {
        let pieces = self.path.split('/');
        pieces.filter_map(|piece| piece.strip_prefix('{')?.strip_suffix('}')).map(|name| name.trim_start_matches('*'))
    }
}
