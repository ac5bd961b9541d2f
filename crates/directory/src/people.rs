//! People: who may sign in, as what, and what is kept of each. A collection of documents, read at start and written with
//! compare-and-swap.
//!
//! A person is of ours, with a name they chose and a password, or comes from a foreign provider, whose issuer and
//! subject their id is made of; so nobody of a provider can take a name of ours. What somebody may do on the platform is
//! one role ([`PlatformRole`]); of the application they have what its user with their address has.
//!
//! Invariants: an enabled administrator of ours is always there; at most [`PEOPLE_MAX`] people.
//!
//! On disk: collection `people`, a document for each id: JSON `{v: 1, displayName, email?, role, origin, disabled,
//! credentials?, link?, revision, createdAt}`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use gantry_hub::owned::{Changed, Owned};
use gantry_hub::ports::{Collection, Documents, StoreError};
use gantry_identity::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{Credentials, ForeignUser, Guid, SecretHash};

/// People there may be.
pub const PEOPLE_MAX: usize = 10_000;
/// The person that every platform begins with; a sign-in link is theirs.
pub const ADMINISTRATOR: &str = "admin";
/// How long a link to choose a password works.
pub const PASSWORD_LINK_LIFE: Duration = Duration::from_secs(24 * 3600);
const COLLECTION: &str = "people";
/// Format of a document.
const VERSION: u32 = 1;
/// Longest id, bytes.
const ID_LEN_MAX: usize = 64;
/// Longest display name, characters.
const DISPLAY_NAME_LEN_MAX: usize = 128;
/// Longest address, bytes (RFC 5321).
const EMAIL_LEN_MAX: usize = 254;

/// The id of a person: the name they sign in with, in lower case, or a GUID for those of a foreign provider.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize)]
#[serde(transparent)]
pub struct PersonId(String);

impl PersonId {
    /// Reads an id; names are read without case.
    ///
    /// # Errors
    /// [`PeopleError::Invalid`].
    pub fn parse(text: &str) -> Result<Self, PeopleError> {
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'@' | b'+');
        let begins = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
        if !begins || text.len() > ID_LEN_MAX || !text.bytes().all(is_plain) {
            return Err(PeopleError::Invalid {
                field: "name",
                what: "1 to 64 letters, digits or `._-@+`, beginning with a letter or digit",
            });
        }
        Ok(Self(text.to_ascii_lowercase()))
    }

    /// The administrator's.
    pub fn administrator() -> Self {
        Self(ADMINISTRATOR.to_owned())
    }

    /// Of somebody of a foreign provider: a GUID (version 8) of the SHA-256 of issuer and subject.
    fn foreign(issuer: &str, subject: &str) -> Self {
        let hash = Sha256::new().chain_update(issuer).chain_update([0]).chain_update(subject).finalize();
        let mut bytes = [0; 16];
        bytes.iter_mut().zip(hash).for_each(|(to, from)| *to = from);
        Self(uuid::Builder::from_custom_bytes(bytes).into_uuid().to_string())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PersonId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What somebody may do on the platform; each role may what those before it may.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PlatformRole {
    /// Nothing but sign in: their roles are in the application.
    Member,
    /// See.
    Viewer,
    /// Operate.
    Operator,
    /// Everything.
    Administrator,
}

impl PlatformRole {
    const NAMES: [(Self, &'static str); 4] = [
        (Self::Member, "member"),
        (Self::Viewer, "viewer"),
        (Self::Operator, "operator"),
        (Self::Administrator, "administrator"),
    ];

    /// Reads its name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, name)| *name == text).map(|(role, _)| *role)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(role, _)| *role == self).map_or("", |(_, name)| name)
    }
}

/// Where a person comes from.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase", deny_unknown_fields)]
pub enum Origin {
    /// From here, with a password.
    Local,
    /// From a foreign provider.
    OpenId {
        /// Which.
        issuer: String,
        /// Their id there.
        subject: String,
    },
}

/// A link that lets its holder choose a person's password, once.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PasswordLink {
    /// Of the token in it.
    pub hash: SecretHash,
    /// Until when it works.
    #[serde(with = "crate::millis")]
    pub until: Timestamp,
}

/// A person.
#[derive(Clone, Debug)]
pub struct Person {
    /// Their id.
    pub id: PersonId,
    /// For people.
    pub display_name: String,
    /// Their address; the application's user with it is theirs.
    pub email: Option<String>,
    /// What they may do on the platform.
    pub role: PlatformRole,
    /// Where they come from.
    pub origin: Origin,
    /// They may not sign in.
    pub disabled: bool,
    /// What they prove themselves with; nothing before they chose a password.
    pub credentials: Option<Credentials>,
    /// A link that is on its way to them.
    pub link: Option<PasswordLink>,
    /// Rises with every write.
    pub revision: u64,
    /// Since when they are known.
    pub created_at: Timestamp,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Stored {
    v: u32,
    display_name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    email: Option<String>,
    role: PlatformRole,
    origin: Origin,
    disabled: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    credentials: Option<Credentials>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    link: Option<PasswordLink>,
    revision: u64,
    #[serde(with = "crate::millis")]
    created_at: Timestamp,
}

impl Person {
    fn new(id: PersonId, origin: Origin, now: Timestamp) -> Self {
        let display_name = id.0.clone();
        Self {
            id,
            display_name,
            email: None,
            role: PlatformRole::Member,
            origin,
            disabled: false,
            credentials: None,
            link: None,
            revision: 0,
            created_at: now,
        }
    }

    fn read(id: &str, text: &str) -> Result<Self, String> {
        let stored: Stored = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if stored.v != VERSION {
            return Err(format!("version {} is not known", stored.v));
        }
        let Stored { display_name, email, role, origin, disabled, credentials, link, revision, created_at, .. } =
            stored;
        let id = PersonId::parse(id).map_err(|error| error.to_string())?;
        Ok(Self { id, display_name, email, role, origin, disabled, credentials, link, revision, created_at })
    }

    fn document(&self) -> String {
        let Self { display_name, email, role, origin, disabled, credentials, link, revision, created_at, .. } =
            self.clone();
        let v = VERSION;
        let stored = Stored { v, display_name, email, role, origin, disabled, credentials, link, revision, created_at };
        serde_json::to_string(&stored).expect("people have nothing that JSON has not")
    }

    /// Whether they are of ours.
    pub fn is_local(&self) -> bool {
        self.origin == Origin::Local
    }

    /// Whether the platform is safe with them: an administrator no provider can take away.
    fn is_last_resort(&self) -> bool {
        self.is_local() && !self.disabled && self.role == PlatformRole::Administrator
    }

    /// Whether a token is that of their link.
    pub fn has_link(&self, token: &SecretHash, now: Timestamp) -> bool {
        !self.disabled && self.link.as_ref().is_some_and(|link| link.hash == *token && now < link.until)
    }

    /// What a password of theirs may not hold.
    pub fn names(&self) -> Vec<&str> {
        [self.id.as_str(), &self.display_name].into_iter().chain(self.email.as_deref()).collect()
    }
}

/// What is written of a person.
#[derive(Clone, Debug)]
pub struct PersonWrite {
    /// For people; the id when it is empty.
    pub display_name: String,
    /// Their address.
    pub email: Option<String>,
    /// What they may do on the platform.
    pub role: PlatformRole,
    /// They may not sign in.
    pub disabled: bool,
    /// They must choose another password at their next sign-in.
    pub must_change: bool,
}

impl PersonWrite {
    fn check(&self) -> Result<(), PeopleError> {
        let is_name = |text: &str| text.chars().count() <= DISPLAY_NAME_LEN_MAX && !text.chars().any(char::is_control);
        if !is_name(&self.display_name) {
            return Err(PeopleError::Invalid { field: "displayName", what: "a line of at most 128 characters" });
        }
        let is_address = |text: &String| {
            let is_split = text.split_once('@').is_some_and(|(name, host)| !name.is_empty() && !host.is_empty());
            is_split && text.len() <= EMAIL_LEN_MAX && !text.contains(|c: char| c.is_whitespace() || c.is_control())
        };
        if self.email.as_ref().is_none_or(is_address) {
            return Ok(());
        }
        Err(PeopleError::Invalid { field: "email", what: "an address of at most 254 bytes" })
    }
}

/// Why something about a person was not done.
#[derive(Debug, thiserror::Error, Clone)]
pub enum PeopleError {
    /// There is none with this id.
    #[error("there is no user `{0}`")]
    Unknown(PersonId),
    /// A member is not what it must be.
    #[error("`{field}` is not {what}")]
    Invalid {
        /// Which.
        field: &'static str,
        /// What it must be.
        what: &'static str,
    },
    /// As many as there may be.
    #[error("{PEOPLE_MAX} users are there, which is the most")]
    TooMany,
    /// Somebody else wrote meanwhile.
    #[error("user `{0}` was changed meanwhile")]
    Changed(PersonId),
    /// Nobody could administer the platform.
    #[error("user `{0}` is the last administrator")]
    LastAdministrator(PersonId),
    /// It is the provider's to say.
    #[error("user `{0}` is of a foreign provider, which says their name, address and role")]
    Foreign(PersonId),
    /// They may not sign in.
    #[error("user `{0}` is disabled")]
    Disabled(PersonId),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

type All = BTreeMap<PersonId, Arc<Person>>;

/// Everybody.
pub struct People(Owned<All>);

impl People {
    /// Reads everybody; the first time there is the administrator alone, without a password.
    ///
    /// # Errors
    /// When the store fails or somebody cannot be read.
    pub async fn load(documents: Arc<dyn Documents>, now: Timestamp) -> Result<Self, StoreError> {
        let one = |(id, text): (String, String)| {
            let broken = |error| StoreError::Failed(format!("stored user `{id}` cannot be read: {error}"));
            let person = Person::read(&id, &text).map_err(broken)?;
            Ok((person.id.clone(), Arc::new(person)))
        };
        let all = move |stored: Vec<Collection>| stored.into_iter().flat_map(|all| all.documents).map(one).collect();
        let people = Self(Owned::load(documents, vec![COLLECTION], all).await?);
        let first = |all: &All| {
            let mut person = Person::new(PersonId::administrator(), Origin::Local, now);
            person.role = PlatformRole::Administrator;
            Ok::<_, StoreError>(if all.is_empty() { written(all, person) } else { unchanged(all) })
        };
        people.0.change(first).await?;
        Ok(people)
    }

    /// All of them, by id.
    pub fn all(&self) -> Arc<BTreeMap<PersonId, Arc<Person>>> {
        self.0.current()
    }

    /// One of them.
    pub fn find(&self, id: &PersonId) -> Option<Arc<Person>> {
        self.0.current().get(id).cloned()
    }

    /// Makes a person of ours, or writes what an administrator may say of one; `seen` is the revision it must have.
    ///
    /// # Errors
    /// [`PeopleError`].
    pub async fn put(
        &self,
        now: Timestamp,
        id: &PersonId,
        write: &PersonWrite,
        seen: Option<u64>,
    ) -> Result<Arc<Person>, PeopleError> {
        write.check()?;
        let change = |all: &All| {
            let before = all.get(id);
            if seen.is_some_and(|seen| before.is_none_or(|person| person.revision != seen)) {
                return Err(PeopleError::Changed(id.clone()));
            }
            let mut person = match before {
                Some(person) => Person::clone(person),
                None if Guid::parse(id.as_str()).is_ok() => return Err(PeopleError::Unknown(id.clone())),
                None if all.len() >= PEOPLE_MAX => return Err(PeopleError::TooMany),
                None => Person::new(id.clone(), Origin::Local, now),
            };
            let display_name = if write.display_name.is_empty() { id.as_str() } else { &write.display_name };
            let said = (display_name, &write.email, write.role);
            if !person.is_local() && said != (person.display_name.as_str(), &person.email, person.role) {
                return Err(PeopleError::Foreign(id.clone()));
            }
            (person.display_name, person.email, person.role) =
                (display_name.to_owned(), write.email.clone(), write.role);
            person.disabled = write.disabled;
            if let Some(credentials) = person.credentials.as_mut().filter(|_| write.must_change) {
                credentials.require_change();
            }
            check_last(all, id, Some(&person))?;
            Ok(written(all, person))
        };
        self.0.change(change).await?;
        self.find(id).ok_or_else(|| PeopleError::Unknown(id.clone()))
    }

    /// Forgets a person.
    ///
    /// # Errors
    /// [`PeopleError`].
    pub async fn delete(&self, id: &PersonId) -> Result<(), PeopleError> {
        let change = |all: &All| {
            if !all.contains_key(id) {
                return Err(PeopleError::Unknown(id.clone()));
            }
            check_last(all, id, None)?;
            let mut next = all.clone();
            next.remove(id);
            Ok(Changed { edits: vec![vec![(id.0.clone(), None)]], next, said: () })
        };
        self.0.change(change).await
    }

    /// Writes what somebody proves themselves with, if they are as they were `seen`; a link is used up with it when a
    /// password was chosen.
    ///
    /// # Errors
    /// [`PeopleError::Changed`]: look again, for a code may be used up by now.
    pub async fn put_credentials(
        &self,
        seen: &Person,
        credentials: &Credentials,
        keep_link: bool,
    ) -> Result<(), PeopleError> {
        let change = |all: &All| {
            let person = all.get(&seen.id).ok_or_else(|| PeopleError::Unknown(seen.id.clone()))?;
            if person.revision != seen.revision {
                return Err(PeopleError::Changed(seen.id.clone()));
            }
            let link = person.link.clone().filter(|_| keep_link);
            let credentials = Some(credentials.clone());
            Ok(written(all, Person { credentials, link, ..Person::clone(person) }))
        };
        self.0.change(change).await
    }

    /// Gives a person of ours a link to choose a password; one that was on its way is worth nothing from now on.
    ///
    /// # Errors
    /// [`PeopleError`].
    pub async fn put_link(&self, id: &PersonId, link: &PasswordLink) -> Result<(), PeopleError> {
        let change = |all: &All| {
            let person = all.get(id).ok_or_else(|| PeopleError::Unknown(id.clone()))?;
            if !person.is_local() {
                return Err(PeopleError::Foreign(id.clone()));
            }
            if person.disabled {
                return Err(PeopleError::Disabled(id.clone()));
            }
            Ok(written(all, Person { link: Some(link.clone()), ..Person::clone(person) }))
        };
        self.0.change(change).await
    }

    /// Takes somebody whom a foreign provider knows, as it says who they are today.
    ///
    /// # Errors
    /// [`PeopleError`].
    pub async fn welcome(
        &self,
        now: Timestamp,
        user: &ForeignUser,
        role: PlatformRole,
    ) -> Result<Arc<Person>, PeopleError> {
        let id = PersonId::foreign(&user.issuer, &user.subject);
        let change = |all: &All| {
            let (issuer, subject) = (user.issuer.clone(), user.subject.clone());
            let before = match all.get(&id) {
                Some(person) if person.disabled => return Err(PeopleError::Disabled(id.clone())),
                Some(person) => Person::clone(person),
                None if all.len() >= PEOPLE_MAX => return Err(PeopleError::TooMany),
                None => Person::new(id.clone(), Origin::OpenId { issuer, subject }, now),
            };
            let said = (&user.name, &user.email, role);
            if before.revision > 0 && said == (&before.display_name, &before.email, before.role) {
                return Ok(unchanged(all));
            }
            let (display_name, email) = (user.name.clone(), user.email.clone());
            Ok(written(all, Person { display_name, email, role, ..before }))
        };
        self.0.change(change).await?;
        self.find(&id).ok_or(PeopleError::Unknown(id))
    }
}

/// Checks that an administrator of ours is left when somebody is as they are `after`.
fn check_last(all: &All, id: &PersonId, after: Option<&Person>) -> Result<(), PeopleError> {
    let was = all.get(id).is_some_and(|person| person.is_last_resort());
    let is = after.is_some_and(Person::is_last_resort);
    let others = || all.values().any(|person| person.id != *id && person.is_last_resort());
    if was && !is && !others() { Err(PeopleError::LastAdministrator(id.clone())) } else { Ok(()) }
}

fn written(all: &All, person: Person) -> Changed<All, ()> {
    let person = Person { revision: person.revision + 1, ..person };
    let edits = vec![vec![(person.id.0.clone(), Some(person.document()))]];
    let mut next = all.clone();
    next.insert(person.id.clone(), Arc::new(person));
    Changed { edits, next, said: () }
}

fn unchanged(all: &All) -> Changed<All, ()> {
    Changed { edits: vec![], next: all.clone(), said: () }
}

#[cfg(test)]
mod tests;
