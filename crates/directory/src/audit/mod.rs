//! The audit log: who did what, from where, on what, when, and how it ended; each entry chained to the one before.
//!
//! A record's `mac` is `HMAC-SHA256(key, text)`. The text is, with every part but the first two behind its length in
//! eight bytes, big-endian:
//!
//! ```text
//! "gantry audit 1"  mac of the record before (32 bytes)
//! number  at (milliseconds)  actor kind  actor id  actor name  from  operation  target  outcome kind  outcome code
//! count of changed members  each member
//! ```
//!
//! Whoever has no key can change, remove, add or re-order no record without [`verify`] noticing, but the last ones can
//! be cut off: that shows only against a [`Head`] that was kept elsewhere. Whoever has the key can write a log anew.
//!
//! No entry has values of what was changed, only names of members; texts are bounded and of one line, and what is cut
//! ends in `…`.

mod port;

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use gantry_identity::{Key, Timestamp};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use subtle::ConstantTimeEq as _;

pub use self::port::{AUDIT_PAGE_MAX, AuditLog, Verified};

/// Longest text of an entry, characters.
pub const AUDIT_TEXT_LEN_MAX: usize = 256;
/// Names of changed members in one entry; when there are more, the last says so with `…`.
pub const AUDIT_MEMBERS_MAX: usize = 32;
const DOMAIN: &[u8] = b"gantry audit 1";

/// A text on one line, of at most [`AUDIT_TEXT_LEN_MAX`] characters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct AuditText(String);

impl AuditText {
    /// Any text, cut and with control characters replaced.
    pub fn new(text: &str) -> Self {
        let plain = |c: char| if c.is_control() { '\u{fffd}' } else { c };
        if text.chars().nth(AUDIT_TEXT_LEN_MAX).is_none() {
            return Self(text.chars().map(plain).collect());
        }
        Self(text.chars().take(AUDIT_TEXT_LEN_MAX - 1).map(plain).chain(['…']).collect())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for AuditText {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

/// As it is on disk: what does not fit is not cut there, or the record would not verify.
impl<'de> Deserialize<'de> for AuditText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let fits = Self::new(&text);
        if fits.0 == text {
            Ok(fits)
        } else {
            Err(serde::de::Error::custom("text is too long or has control characters"))
        }
    }
}

/// What somebody is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ActorKind {
    /// A person.
    User,
    /// A program of a directory.
    ServicePrincipal,
    /// A shared access policy or API token.
    Key,
    /// A device or module.
    Device,
    /// The platform itself.
    Platform,
    /// Nobody who proved who they are.
    Anonymous,
}

/// Who.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Actor {
    /// What they are.
    pub kind: ActorKind,
    /// Id: object id, name of a policy, device id.
    pub id: AuditText,
    /// For people.
    pub name: AuditText,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind", content = "code", deny_unknown_fields)]
pub enum AuditOutcome {
    /// Done.
    Done,
    /// Not allowed; why, in a word.
    Refused(AuditText),
    /// Allowed, and it failed; why, in a word.
    Failed(AuditText),
}

/// Names of the members an operation changed, never what they were or are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct ChangedMembers(Vec<AuditText>);

impl ChangedMembers {
    /// From names: `["displayName", "roles"]`.
    pub fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let mut names: Vec<_> = names.into_iter().take(AUDIT_MEMBERS_MAX + 1).map(AuditText::new).collect();
        if names.len() > AUDIT_MEMBERS_MAX {
            names.truncate(AUDIT_MEMBERS_MAX - 1);
            names.push(AuditText("…".to_owned()));
        }
        Self(names)
    }

    /// The names.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(AuditText::as_str)
    }
}

impl<'de> Deserialize<'de> for ChangedMembers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let names = Vec::<AuditText>::deserialize(deserializer)?;
        if names.len() > AUDIT_MEMBERS_MAX {
            return Err(serde::de::Error::custom(format!("more than {AUDIT_MEMBERS_MAX} members")));
        }
        Ok(Self(names))
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AuditEntry {
    /// When.
    #[serde(with = "crate::millis")]
    pub at: Timestamp,
    /// Who.
    pub actor: Actor,
    /// Address of the peer.
    pub from: AuditText,
    /// What, by the name of the operation.
    pub operation: AuditText,
    /// On what: a resource.
    pub target: AuditText,
    /// How it ended.
    pub outcome: AuditOutcome,
    /// What it changed.
    pub changed: ChangedMembers,
}

/// One link: HMAC-SHA256.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Mac([u8; 32]);

impl Mac {
    /// Reads the text that is shown: 32 bytes in base64.
    pub fn parse(text: &str) -> Option<Self> {
        BASE64.decode(text).ok()?.try_into().ok().map(Self)
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64.encode(self.0))
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64.encode(self.0))
    }
}

impl Serialize for Mac {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64.encode(self.0))
    }
}

impl<'de> Deserialize<'de> for Mac {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("not 32 bytes in base64"))
    }
}

/// How far a log goes: the number of its last record, and its link. Kept elsewhere (printed, mailed, written to
/// another machine) it is an anchor: a log that does not contain it was cut or written anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Head {
    /// Number of the last record; zero before the first.
    pub number: u64,
    /// Its link.
    pub mac: Mac,
}

impl Head {
    /// Of a log without records.
    pub const EMPTY: Self = Self { number: 0, mac: Mac([0; 32]) };
}

/// An entry in its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AuditRecord {
    /// Counts from one.
    pub number: u64,
    /// What happened.
    pub entry: AuditEntry,
    /// Its link.
    pub mac: Mac,
}

/// Where a log is not what was written.
#[derive(Debug, thiserror::Error, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// A record is missing, doubled or in another's place.
    #[error("record {found} is where record {expected} must be")]
    Number {
        /// What must be there.
        expected: u64,
        /// What is.
        found: u64,
    },
    /// A record was changed, or the one before it.
    #[error("record {0} is not what was written there")]
    Mac(u64),
    /// The log ends before the anchor.
    #[error("the log ends with record {last}, and record {anchor} was written")]
    Cut {
        /// The last one.
        last: u64,
        /// The anchor's.
        anchor: u64,
    },
    /// The log is another than the one the anchor is of.
    #[error("record {0} is not the one the anchor is of")]
    Anchor(u64),
}

/// The record that follows `head`; the head after it is [`AuditRecord::head`].
pub fn append(key: &Key, head: &Head, entry: AuditEntry) -> AuditRecord {
    let number = head.number + 1;
    let mac = Mac(key.sign(&text(&head.mac, number, &entry)));
    AuditRecord { number, entry, mac }
}

impl AuditRecord {
    /// The log's head when this is its last record.
    pub fn head(&self) -> Head {
        Head { number: self.number, mac: self.mac }
    }
}

/// Checks the records that follow `from`, and gives the head after the last. A range in the middle of a log is
/// checked from the head of the record before it.
///
/// # Errors
/// [`Broken`] names the first place.
pub fn verify<'a>(key: &Key, from: &Head, records: impl IntoIterator<Item = &'a AuditRecord>) -> Result<Head, Broken> {
    records.into_iter().try_fold(*from, |head, record| {
        let expected = head.number + 1;
        if record.number != expected {
            return Err(Broken::Number { expected, found: record.number });
        }
        let mac = key.sign(&text(&head.mac, record.number, &record.entry));
        if bool::from(mac.ct_eq(&record.mac.0)) { Ok(record.head()) } else { Err(Broken::Mac(record.number)) }
    })
}

/// [`verify`], and that the records reach at least to an anchor and contain it.
///
/// # Errors
/// [`Broken`] names the first place.
pub fn verify_to<'a>(
    key: &Key,
    from: &Head,
    anchor: &Head,
    records: impl IntoIterator<Item = &'a AuditRecord>,
) -> Result<Head, Broken> {
    let mut seen = (*from == *anchor).then_some(*from);
    let looked = records.into_iter().inspect(|record| {
        if record.number == anchor.number {
            seen = Some(record.head());
        }
    });
    let head = verify(key, from, looked)?;
    match seen {
        Some(there) if there == *anchor => Ok(head),
        None if head.number < anchor.number => Err(Broken::Cut { last: head.number, anchor: anchor.number }),
        _ => Err(Broken::Anchor(anchor.number)),
    }
}

fn text(before: &Mac, number: u64, entry: &AuditEntry) -> Vec<u8> {
    let mut text = [DOMAIN, &before.0].concat();
    let mut put = |part: &[u8]| {
        text.extend((part.len() as u64).to_be_bytes());
        text.extend(part);
    };
    put(&number.to_be_bytes());
    put(&entry.at.as_millis().to_be_bytes());
    put(kind_name(entry.actor.kind).as_bytes());
    let (kind, code) = match &entry.outcome {
        AuditOutcome::Done => ("done", ""),
        AuditOutcome::Refused(code) => ("refused", code.as_str()),
        AuditOutcome::Failed(code) => ("failed", code.as_str()),
    };
    for part in [&entry.actor.id, &entry.actor.name, &entry.from, &entry.operation, &entry.target] {
        put(part.as_str().as_bytes());
    }
    put(kind.as_bytes());
    put(code.as_bytes());
    put(&(entry.changed.0.len() as u64).to_be_bytes());
    entry.changed.iter().for_each(|member| put(member.as_bytes()));
    text
}

fn kind_name(kind: ActorKind) -> &'static str {
    match kind {
        ActorKind::User => "user",
        ActorKind::ServicePrincipal => "servicePrincipal",
        ActorKind::Key => "key",
        ActorKind::Device => "device",
        ActorKind::Platform => "platform",
        ActorKind::Anonymous => "anonymous",
    }
}

#[cfg(test)]
mod tests;
