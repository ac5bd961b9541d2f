//! What is kept of the directory, in collections of documents.
//!
//! `directory`: `tenant` `{"version":1,"tenantId"}`; `signing-keys` `{"version":1,"keys"}`, the keys as
//! `SigningKeys` writes them, private parts too; `development` `{"version":1,"objectId","secret"}`, the program whose
//! secret `connection.env` has, when there is one. `directory-principals`: service principals by object id, as
//! `ServicePrincipal` writes them: secrets as hashes. `directory-roles`: `{"version":1,"assignment"}` by id.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use gantry_directory::{
    Guid, NotAssigned, OwnDirectory, RoleAssignment, RoleAssignments, SecretNotAdded, ServicePrincipal,
    SigningKeyError, SigningKeys, TrustedIssuer,
};
use gantry_hub::owned::{Changed, Edits, Owned};
use gantry_hub::ports::{Changes, Collection, Documents, StoreError};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Service principals there may be.
pub const PRINCIPALS_MAX: usize = 1_000;

const DIRECTORY: &str = "directory";
const PRINCIPALS: &str = "directory-principals";
const ROLES: &str = "directory-roles";

const TENANT: &str = "tenant";
const KEYS: &str = "signing-keys";
const DEVELOPMENT: &str = "development";
/// Version of the shapes here.
const VERSION: u8 = 1;

/// Why something of the directory was not read or changed.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// There is none; what, and its id.
    #[error("there is no {0} `{1}`")]
    Unknown(&'static str, String),
    /// A member cannot be used; says which.
    #[error("{0}")]
    Invalid(String),
    /// As many as may be.
    #[error("there are {PRINCIPALS_MAX} service principals, which is the most")]
    TooMany,
    /// A secret was not added.
    #[error(transparent)]
    Secret(#[from] SecretNotAdded),
    /// A role was not given.
    #[error(transparent)]
    Assignment(#[from] NotAssigned),
    /// A key was not taken.
    #[error(transparent)]
    Key(#[from] SigningKeyError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct TenantShape {
    version: u8,
    tenant_id: Guid,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeysShape {
    version: u8,
    keys: SigningKeys,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RoleShape {
    version: u8,
    assignment: RoleAssignment,
}

/// The program for development.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Development {
    version: u8,
    pub(crate) object_id: Guid,
    /// Its secret's text: `connection.env` has it after every start.
    pub(crate) secret: String,
}

impl Development {
    pub(crate) fn new(object_id: Guid, secret: &str) -> Self {
        Self { version: VERSION, object_id, secret: secret.to_owned() }
    }
}

/// Everything that is kept, ready for questions.
#[derive(Clone)]
pub(crate) struct Kept {
    pub(crate) own: OwnDirectory,
    pub(crate) keys: SigningKeys,
    /// Our own directory as an issuer; none before its first key.
    pub(crate) trusted: Option<TrustedIssuer>,
    pub(crate) development: Option<Development>,
    /// By object id.
    pub(crate) principals: Arc<BTreeMap<Guid, ServicePrincipal>>,
    /// Object ids by application id.
    by_app: Arc<HashMap<Guid, Guid>>,
    pub(crate) roles: Arc<RoleAssignments>,
}

impl Kept {
    fn read(origin: &str, collections: Vec<Collection>) -> Result<Self, StoreError> {
        let mut all = collections.into_iter();
        let mut next = || all.next().map(|one| one.documents).unwrap_or_default();
        let (directory, principals, roles) = (next(), next(), next());
        let document = |id: &str| directory.iter().find(|(found, _)| found == id).map(|(_, text)| text.as_str());
        let tenant = document(TENANT).ok_or_else(|| StoreError::Failed("directory/tenant is missing".into()))?;
        let tenant: TenantShape = parse(DIRECTORY, TENANT, tenant)?;
        checked(DIRECTORY, TENANT, tenant.version)?;
        let keys = match document(KEYS) {
            None => SigningKeys::default(),
            Some(text) => {
                let shape: KeysShape = parse(DIRECTORY, KEYS, text)?;
                checked(DIRECTORY, KEYS, shape.version)?;
                shape.keys
            }
        };
        let development = document(DEVELOPMENT).map(|text| parse::<Development>(DIRECTORY, DEVELOPMENT, text));
        let development = development.transpose()?;
        if let Some(one) = &development {
            checked(DIRECTORY, DEVELOPMENT, one.version)?;
        }
        let read = |(id, text): (String, String)| parse::<ServicePrincipal>(PRINCIPALS, &id, &text);
        let principals = principals.into_iter().map(read).collect::<Result<Vec<_>, _>>()?;
        let read = |(id, text): (String, String)| {
            let shape: RoleShape = parse(ROLES, &id, &text)?;
            checked(ROLES, &id, shape.version)?;
            Ok::<_, StoreError>(shape.assignment)
        };
        let roles = roles.into_iter().map(read).collect::<Result<Vec<_>, _>>()?;
        let roles =
            RoleAssignments::from_list(roles).map_err(|error| StoreError::Failed(format!("{ROLES}: {error}")))?;
        let own = OwnDirectory::new(origin, tenant.tenant_id);
        let none = Self {
            own,
            keys: SigningKeys::default(),
            trusted: None,
            development,
            principals: Arc::default(),
            by_app: Arc::default(),
            roles: Arc::new(roles),
        };
        Ok(none.with_keys(keys).with_principals(principals.into_iter().map(|one| (one.object_id, one)).collect()))
    }

    fn with_keys(self, keys: SigningKeys) -> Self {
        let trusted = keys.public_keys().map(|public| self.own.trusted(public));
        Self { keys, trusted, ..self }
    }

    fn with_principals(self, principals: BTreeMap<Guid, ServicePrincipal>) -> Self {
        let by_app = principals.values().map(|one| (one.app_id, one.object_id)).collect();
        Self { principals: Arc::new(principals), by_app: Arc::new(by_app), ..self }
    }

    /// The program with an application id.
    pub(crate) fn of_app(&self, app_id: Guid) -> Option<&ServicePrincipal> {
        self.by_app.get(&app_id).and_then(|id| self.principals.get(id))
    }

    /// The program that somebody calls by either of its ids.
    pub(crate) fn named(&self, text: &str) -> Result<&ServicePrincipal, DirectoryError> {
        let found = Guid::parse(text).ok().and_then(|id| self.principals.get(&id).or_else(|| self.of_app(id)));
        let shown = || text.chars().take(64).collect();
        found.ok_or_else(|| DirectoryError::Unknown("service principal", shown()))
    }
}

fn parse<T: DeserializeOwned>(collection: &str, id: &str, text: &str) -> Result<T, StoreError> {
    // Nothing of the text is in the message: it may be a secret.
    let place = |error: serde_json::Error| format!("line {}, column {}", error.line(), error.column());
    serde_json::from_str(text)
        .map_err(|error| StoreError::Failed(format!("{collection}/{id} cannot be read: {}", place(error))))
}

fn checked(collection: &str, id: &str, version: u8) -> Result<(), StoreError> {
    if version == VERSION {
        return Ok(());
    }
    Err(StoreError::Failed(format!("{collection}/{id}: version {version} is not known")))
}

fn text<T: Serialize>(value: &T) -> Result<Option<String>, StoreError> {
    serde_json::to_string(value).map(Some).map_err(|error| StoreError::Failed(error.to_string()))
}

/// Reads what is kept, with a tenant id that is drawn once.
///
/// # Errors
/// When the store fails, or something cannot be read.
pub(crate) async fn load(
    documents: Arc<dyn Documents>,
    origin: String,
    draw: impl Fn() -> Guid,
) -> Result<Owned<Kept>, StoreError> {
    loop {
        let now = documents.all(DIRECTORY).await?;
        if now.documents.iter().any(|(id, _)| id == TENANT) {
            break;
        }
        let tenant = text(&TenantShape { version: VERSION, tenant_id: draw() })?;
        let made = vec![(TENANT.to_owned(), tenant)];
        match documents.put(vec![Changes { collection: DIRECTORY, version: now.version, documents: made }]).await {
            // Read again as it was written, by whomever.
            Ok(()) | Err(StoreError::Conflict) => {}
            Err(error) => return Err(error),
        }
    }
    Owned::load(documents, vec![DIRECTORY, PRINCIPALS, ROLES], move |all| Kept::read(&origin, all)).await
}

/// A change, worked out on what is kept.
#[derive(Default)]
pub(crate) struct Change {
    pub(crate) keys: Option<SigningKeys>,
    pub(crate) development: Option<Development>,
    /// Programs as they are from now on; none: deleted.
    pub(crate) principals: Vec<(Guid, Option<ServicePrincipal>)>,
    pub(crate) given: Vec<RoleAssignment>,
    pub(crate) taken: Vec<Guid>,
}

impl Change {
    /// What it makes of what is kept, and what is written.
    pub(crate) fn on<R>(self, kept: &Kept, said: R) -> Result<Changed<Kept, R>, DirectoryError> {
        let (mut directory, mut principals, mut roles): (Edits, Edits, Edits) = Default::default();
        let mut next = kept.clone();
        if let Some(keys) = self.keys {
            directory.push((KEYS.to_owned(), text(&KeysShape { version: VERSION, keys: keys.clone() })?));
            next = next.with_keys(keys);
        }
        if let Some(development) = self.development {
            directory.push((DEVELOPMENT.to_owned(), text(&development)?));
            next.development = Some(development);
        }
        let mut all = (*next.principals).clone();
        for (id, one) in self.principals {
            principals.push((id.to_string(), one.as_ref().map_or(Ok(None), text)?));
            match one {
                Some(one) => drop(all.insert(id, one)),
                None => drop(all.remove(&id)),
            }
        }
        if all.len() > PRINCIPALS_MAX {
            return Err(DirectoryError::TooMany);
        }
        if !principals.is_empty() {
            next = next.with_principals(all);
        }
        if !self.given.is_empty() || !self.taken.is_empty() {
            let mut assigned = (*next.roles).clone();
            for id in self.taken {
                assigned.remove(id);
                roles.push((id.to_string(), None));
            }
            for one in self.given {
                roles.push((one.id.to_string(), text(&RoleShape { version: VERSION, assignment: one.clone() })?));
                assigned.add(one)?;
            }
            next.roles = Arc::new(assigned);
        }
        Ok(Changed { edits: vec![directory, principals, roles], next, said })
    }
}
