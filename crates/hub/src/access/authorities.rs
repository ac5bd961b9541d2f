//! Certificate authorities a service trusts for its devices, and the proof that whoever uploaded
//! one holds its key. A hub has a list, and so has a provisioning service.
//!
//! An upload is unverified and trusted for nothing. The service draws a code; the operator signs a
//! certificate with that code as common name; showing it makes the authority verified
//! (management reference, `Certificates_Verify`). An upload may also say that it is verified,
//! which only those may do who hold every right on the service.

use std::sync::Arc;

use gantry_identity::{Authority, CertificateChain, CertificateError, Timestamp};
use serde_json::{Value, json};

use crate::error::HubError;
use crate::limits;
use crate::owned::{Changed, Owned};
use crate::ports::{Collection, Documents, Entropy, StoreError};
use crate::registry::device::IfMatch;

/// Collection of a hub's authorities.
pub const HUB_COLLECTION: &str = "authorities";
/// Longest name of a certificate in characters (management reference).
const NAME_LEN_MAX: usize = 64;

/// An uploaded authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The operator's name for it.
    pub name: String,
    /// The certificate.
    pub authority: Authority,
    /// Whether possession of its key was proven.
    pub is_verified: bool,
    /// Code a proof must carry as common name, once asked for.
    pub code: Option<String>,
    /// When it was uploaded.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// Changes with every write.
    pub etag: u64,
}

impl Entry {
    /// The ETag as bodies carry it.
    pub fn etag_text(&self) -> String {
        format!("{:016x}", self.etag)
    }

    fn document(&self) -> String {
        use base64::Engine as _;
        let certificate = base64::engine::general_purpose::STANDARD.encode(self.authority.der());
        json!({
            "certificate": certificate, "isVerified": self.is_verified, "code": self.code,
            "createdAt": self.created_at.as_millis(), "updatedAt": self.updated_at.as_millis(), "etag": self.etag,
        })
        .to_string()
    }

    fn read(name: String, text: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(text).ok()?;
        let at = |field: &str| value[field].as_i64().map(Timestamp::from_millis);
        Some(Self {
            name,
            authority: Authority::parse(value["certificate"].as_str()?.as_bytes()).ok()?,
            is_verified: value["isVerified"].as_bool()?,
            code: value["code"].as_str().map(str::to_owned),
            created_at: at("createdAt")?,
            updated_at: at("updatedAt")?,
            etag: value["etag"].as_u64()?,
        })
    }
}

/// The authorities of one service, in order of name.
pub struct Authorities {
    entropy: Arc<dyn Entropy>,
    entries: Owned<Vec<Entry>>,
}

impl Authorities {
    /// Reads those stored in a collection.
    ///
    /// # Errors
    /// When the store fails or an entry cannot be read.
    pub async fn load(
        documents: Arc<dyn Documents>,
        entropy: Arc<dyn Entropy>,
        collection: &'static str,
    ) -> Result<Self, StoreError> {
        let read = |(name, text): (String, String)| {
            Entry::read(name, &text).ok_or_else(|| StoreError::Failed("a stored authority cannot be read".into()))
        };
        let read_all = move |stored: Vec<Collection>| {
            stored.into_iter().flat_map(|all| all.documents).map(read).collect::<Result<Vec<_>, _>>()
        };
        Ok(Self { entropy, entries: Owned::load(documents, vec![collection], read_all).await? })
    }

    /// Whether the leaf is named `name` and leads to a verified authority.
    pub(crate) fn check(&self, chain: &CertificateChain, name: &str, now: Timestamp) -> Result<(), CertificateError> {
        let entries = self.entries.current();
        chain.check_chain(name, entries.iter().filter(|entry| entry.is_verified).map(|entry| &entry.authority), now)
    }

    /// Writes the entry `change` makes of the current one, or deletes it for `None`.
    async fn change(
        &self,
        name: &str,
        mut change: impl FnMut(Option<&Entry>, usize) -> Result<Option<Entry>, HubError>,
    ) -> Result<Option<Entry>, HubError> {
        let replace = |all: &Vec<Entry>| {
            let mut next = all.clone();
            let place = all.binary_search_by(|entry| entry.name.as_str().cmp(name));
            let changed = change(place.ok().map(|place| &all[place]), all.len())?;
            match (place, &changed) {
                (Ok(place), Some(entry)) => next[place] = entry.clone(),
                (Err(place), Some(entry)) => next.insert(place, entry.clone()),
                (Ok(place), None) => drop(next.remove(place)),
                (Err(_), None) => {}
            }
            let edits = vec![vec![(name.to_owned(), changed.as_ref().map(Entry::document))]];
            Ok(Changed { edits, next, said: changed })
        };
        self.entries.change(replace).await
    }

    fn random_id(&self) -> u64 {
        let mut bytes = [0; 8];
        self.entropy.fill(&mut bytes);
        u64::from_be_bytes(bytes)
    }

    /// Every authority, in order of name.
    pub fn list(&self) -> Arc<Vec<Entry>> {
        self.entries.current()
    }

    /// One authority.
    ///
    /// # Errors
    /// [`HubError::NoSuchCertificate`].
    pub fn get(&self, name: &str) -> Result<Entry, HubError> {
        let entries = self.entries.current();
        let found = entries.iter().find(|entry| entry.name == name);
        found.cloned().ok_or_else(|| HubError::NoSuchCertificate(name.to_owned()))
    }

    /// Uploads or replaces an authority. A replaced one must be verified again.
    ///
    /// # Errors
    /// A bad name or certificate, [`HubError::CertificateChanged`], or that there are 25 already.
    pub async fn put(
        &self,
        now: Timestamp,
        name: &str,
        authority: Authority,
        is_verified: bool,
        if_match: &IfMatch,
    ) -> Result<Entry, HubError> {
        let is_name = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        if name.is_empty() || name.len() > NAME_LEN_MAX || !name.chars().all(is_name) {
            let words = format!("a certificate's name has 1 to {NAME_LEN_MAX} letters, digits, `-`, `.` or `_`");
            return Err(HubError::Invalid(words));
        }
        let etag = self.random_id();
        let changed = self.change(name, move |current, count| {
            admit(current, if_match, name)?;
            if current.is_none() && count >= limits::AUTHORITIES_MAX {
                return Err(HubError::Invalid(format!(
                    "{} certificates is the most a service has",
                    limits::AUTHORITIES_MAX
                )));
            }
            let created_at = current.map_or(now, |entry| entry.created_at);
            let (name, authority) = (name.to_owned(), authority.clone());
            Ok(Some(Entry { name, authority, is_verified, code: None, created_at, updated_at: now, etag }))
        });
        Ok(changed.await?.expect("an upload leaves an entry"))
    }

    /// Draws a new code for the proof of possession.
    ///
    /// # Errors
    /// [`HubError::NoSuchCertificate`] or [`HubError::CertificateChanged`].
    pub async fn draw_code(&self, now: Timestamp, name: &str, if_match: &IfMatch) -> Result<Entry, HubError> {
        let (etag, code) = (self.random_id(), format!("{:016X}{:016X}", self.random_id(), self.random_id()));
        self.change_existing(name, if_match, |current| {
            Ok(Entry { code: Some(code.clone()), is_verified: false, updated_at: now, etag, ..current.clone() })
        })
        .await
    }

    /// Takes a proof of possession: a certificate signed by the authority with the code as common name.
    ///
    /// # Errors
    /// [`HubError::NoSuchCertificate`], [`HubError::CertificateChanged`], or what is wrong with the proof.
    pub async fn verify(
        &self,
        now: Timestamp,
        name: &str,
        proof: &[u8],
        if_match: &IfMatch,
    ) -> Result<Entry, HubError> {
        let etag = self.random_id();
        self.change_existing(name, if_match, |current| {
            let code = current.code.as_deref();
            let code = code.ok_or_else(|| HubError::Invalid("ask for a verification code first".into()))?;
            let checked = current.authority.check_possession(proof, code, now);
            checked.map_err(|error| HubError::Invalid(format!("proof of possession: {error}")))?;
            Ok(Entry { code: None, is_verified: true, updated_at: now, etag, ..current.clone() })
        })
        .await
    }

    /// Deletes an authority. Devices under it are refused from their next connection on.
    ///
    /// # Errors
    /// [`HubError::NoSuchCertificate`] or [`HubError::CertificateChanged`].
    pub async fn delete(&self, name: &str, if_match: &IfMatch) -> Result<(), HubError> {
        let changed = self.change(name, |current, _| {
            let current = current.ok_or_else(|| HubError::NoSuchCertificate(name.to_owned()))?;
            admit(Some(current), if_match, name).map(|()| None)
        });
        changed.await.map(|_| ())
    }

    async fn change_existing(
        &self,
        name: &str,
        if_match: &IfMatch,
        change: impl Fn(&Entry) -> Result<Entry, HubError>,
    ) -> Result<Entry, HubError> {
        let changed = self.change(name, |current, _| {
            let current = current.ok_or_else(|| HubError::NoSuchCertificate(name.to_owned()))?;
            admit(Some(current), if_match, name)?;
            change(current).map(Some)
        });
        Ok(changed.await?.expect("a change leaves an entry"))
    }
}

fn admit(current: Option<&Entry>, if_match: &IfMatch, name: &str) -> Result<(), HubError> {
    let admitted = match current {
        Some(entry) => if_match.admits(&entry.etag_text()),
        None => !matches!(if_match, IfMatch::Tags(_)),
    };
    if admitted { Ok(()) } else { Err(HubError::CertificateChanged(name.to_owned())) }
}
