//! Exports of data: what is sent, with what added, and where to.
//!
//! Nothing here sends. How an export or destination fares changes with every message and is not kept: whoever sends
//! knows, and says it in the published words ([`Status`]). A transform is a program of jq, kept as text; whoever runs
//! it says what is wrong with it. Source: data exports of `iotcentral-2022-10-31-preview`.

pub mod destinations;
pub mod filter;
pub mod health;
pub mod message;

use std::collections::BTreeMap;
use std::sync::Arc;

use gantry_identity::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::destinations::Destinations;
use self::filter::{ExportFilter, From as FilterFrom};
use crate::ids::{DestinationId, DisplayName, ExportId, IdError};
use crate::kept::Kept;
use crate::language::SyntaxError;

/// Exports an application has (IoT Central quotas and limits).
pub const EXPORTS_MAX: usize = 10;
/// Destinations of one (IoT Central quotas and limits).
pub const DESTINATIONS_OF_EXPORT_MAX: usize = 5;
/// Enrichments of one (IoT Central quotas and limits).
pub const ENRICHMENTS_MAX: usize = 10;
/// Characters of a transform; ours.
pub const TRANSFORM_CHARS_MAX: usize = 16_384;
/// Bytes of the value of an enrichment; ours.
pub const VALUE_BYTES_MAX: usize = 4_096;
/// Characters of the name, target or path of an enrichment; ours.
const NAME_CHARS_MAX: usize = 256;

/// An export.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Export {
    /// What it is called.
    pub display_name: DisplayName,
    /// Whether it sends.
    pub enabled: bool,
    /// What it sends.
    pub source: Source,
    /// Which of that; all without.
    pub filter: Option<ExportFilter>,
    /// What is added, by name.
    pub enrichments: BTreeMap<String, Enrichment>,
    /// Where it sends to.
    pub destinations: Vec<DestinationUse>,
}

/// What an export sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Source {
    /// Telemetry.
    Telemetry,
    /// Changes of properties.
    Properties,
    /// Devices that are made, changed and deleted.
    DeviceLifecycle,
    /// Templates that are.
    DeviceTemplateLifecycle,
    /// Devices that come and go.
    DeviceConnectivity,
    /// What people do.
    Audit,
}

impl Source {
    const WORDS: [(Self, &'static str); 6] = [
        (Self::Telemetry, "telemetry"),
        (Self::Properties, "properties"),
        (Self::DeviceLifecycle, "deviceLifecycle"),
        (Self::DeviceTemplateLifecycle, "deviceTemplateLifecycle"),
        (Self::DeviceConnectivity, "deviceConnectivity"),
        (Self::Audit, "audit"),
    ];

    /// The source of a published word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::WORDS.iter().find(|(_, of)| *of == word).map(|(source, _)| *source)
    }

    /// Its published word.
    #[must_use]
    pub fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(source, _)| *source == self).map_or("", |(_, word)| word)
    }
}

/// What every device has that may be added.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SystemProperty {
    /// Whether it may connect.
    Enabled,
    /// What it is called.
    DisplayName,
    /// What its template is called.
    TemplateDisplayName,
    /// Its organization.
    Organizations,
    /// Whether it was provisioned.
    Provisioned,
    /// Whether it is simulated.
    Simulated,
}

impl SystemProperty {
    /// `$deviceName` is in a published example, for the name.
    const WORDS: [(Self, &'static str); 7] = [
        (Self::Enabled, "$enabled"),
        (Self::DisplayName, "$displayName"),
        (Self::DisplayName, "$deviceName"),
        (Self::TemplateDisplayName, "$templateDisplayName"),
        (Self::Organizations, "$organizations"),
        (Self::Provisioned, "$provisioned"),
        (Self::Simulated, "$simulated"),
    ];
}

/// Something added to what is sent.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Enrichment {
    /// Always the same.
    Value {
        /// What.
        value: Value,
    },
    /// Something every device has.
    System {
        /// What.
        property: SystemProperty,
        /// Its path, as it was written.
        path: String,
    },
    /// A property of devices of a template.
    Property {
        /// The template or interface that has it.
        target: String,
        /// Its name, with its component before a dot.
        path: String,
    },
}

impl Enrichment {
    /// What a request says: a value, or a path, or a target and a path.
    ///
    /// # Errors
    /// [`ExportError::Enrichment`] when it is none of these.
    pub fn new(target: Option<String>, path: Option<String>, value: Option<Value>) -> Result<Self, ExportError> {
        let enrichment = match (target, path, value) {
            (None, None, Some(value)) => Self::Value { value },
            (None, Some(path), None) => {
                let known = SystemProperty::WORDS.iter().find(|(_, word)| *word == path);
                let (property, _) = known.ok_or(ExportError::Enrichment { what: SYSTEM })?;
                Self::System { property: *property, path }
            }
            (Some(target), Some(path), None) => Self::Property { target, path },
            _ => return Err(ExportError::Enrichment { what: "a `value`, a `path`, or a `target` with a `path`" }),
        };
        enrichment.check().map(|()| enrichment)
    }

    fn check(&self) -> Result<(), ExportError> {
        let wrong = |what| Err(ExportError::Enrichment { what });
        match self {
            Self::Value { value } if value.to_string().len() > VALUE_BYTES_MAX => {
                wrong("a value of at most 4096 bytes")
            }
            Self::Property { target, .. } if !is_text(target) => wrong("a `target` of 1 to 256 characters"),
            Self::Property { path, .. } => {
                let is_name =
                    |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
                let (component, name) = match path.split_once('.') {
                    Some((component, name)) => (Some(component), name),
                    None => (None, path.as_str()),
                };
                let is_path = is_text(path) && is_name(name) && component.is_none_or(is_name);
                if is_path { Ok(()) } else { wrong("a `path` of a name, or a component and a name with a dot between") }
            }
            _ => Ok(()),
        }
    }
}

const SYSTEM: &str = "a `path` that is one of `$enabled`, `$displayName`, `$templateDisplayName`, `$organizations`, \
                      `$provisioned`, `$simulated`, or a `target` with it";

fn is_text(text: &str) -> bool {
    (1..=NAME_CHARS_MAX).contains(&text.chars().count())
}

/// Where an export sends to, and as what.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DestinationUse {
    /// Where.
    pub id: DestinationId,
    /// A program of jq that makes of a message what is sent; the published format without.
    pub transform: Option<String>,
    /// Since when it sends there, in milliseconds since the epoch: what happened before is not sent.
    #[serde(default)]
    pub since_ms: i64,
}

/// How an export or destination fares.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    /// It is off.
    NotStarted,
    /// Nothing was sent yet.
    Waiting,
    /// It was turned on.
    Starting,
    /// What was sent arrived.
    Healthy,
    /// What was sent did not arrive.
    Error,
}

impl Status {
    /// Its published word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::NotStarted => "notStarted",
            Self::Waiting => "waiting",
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Error => "error",
        }
    }
}

/// All exports by id.
pub type Exports = BTreeMap<ExportId, Arc<Kept<Export>>>;

/// Why an export was not written.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum ExportError {
    /// There is none with this id.
    #[error("there is no export `{0}`")]
    Unknown(ExportId),
    /// The name is none.
    #[error(transparent)]
    Name(#[from] IdError),
    /// The filter is none.
    #[error("`filter` of an export cannot be read: {0}")]
    Filter(#[from] SyntaxError),
    /// The source has nothing that a filter tests.
    #[error("`filter` is not for an export of `{}`: {what}", .of.word())]
    FilterSource {
        /// What is exported.
        of: Source,
        /// Why not.
        what: &'static str,
    },
    /// An enrichment is none.
    #[error("an enrichment is not {what}")]
    Enrichment {
        /// What it must be.
        what: &'static str,
    },
    /// An enrichment has a name that is none.
    #[error("a name in `enrichments` has 1 to {NAME_CHARS_MAX} characters")]
    EnrichmentName,
    /// Too many enrichments.
    #[error("`enrichments` has {0} members; {ENRICHMENTS_MAX} are allowed")]
    TooManyEnrichments(usize),
    /// A transform is too long.
    #[error("`transform` for destination `{0}` has 1 to {TRANSFORM_CHARS_MAX} characters")]
    Transform(DestinationId),
    /// Too many destinations.
    #[error("`destinations` has {0} destinations; {DESTINATIONS_OF_EXPORT_MAX} are allowed")]
    TooManyDestinations(usize),
    /// The same destination twice.
    #[error("destination `{0}` is there twice")]
    Repeated(DestinationId),
    /// There is no such destination.
    #[error("there is no destination `{0}`")]
    UnknownDestination(DestinationId),
    /// There are as many as there may be.
    #[error("there are {EXPORTS_MAX} exports, which is the most")]
    TooMany,
}

impl Export {
    /// The export with the times since when it sends to each destination: for as long as it does, or from now on.
    #[must_use]
    pub fn begun(mut self, before: Option<&Self>, now: Timestamp) -> Self {
        let before = before.filter(|before| before.enabled && before.source == self.source);
        for one in &mut self.destinations {
            let same = before.and_then(|before| before.destinations.iter().find(|other| other.id == one.id));
            one.since_ms = same.map_or(now.as_millis(), |same| same.since_ms);
        }
        self
    }

    /// Checks ranges.
    ///
    /// # Errors
    /// [`ExportError`] names what is wrong.
    pub fn check(&self) -> Result<(), ExportError> {
        self.check_filter()?;
        if self.enrichments.len() > ENRICHMENTS_MAX {
            return Err(ExportError::TooManyEnrichments(self.enrichments.len()));
        }
        if !self.enrichments.keys().all(|name| is_text(name)) {
            return Err(ExportError::EnrichmentName);
        }
        self.enrichments.values().try_for_each(Enrichment::check)?;
        if self.destinations.len() > DESTINATIONS_OF_EXPORT_MAX {
            return Err(ExportError::TooManyDestinations(self.destinations.len()));
        }
        for (at, one) in self.destinations.iter().enumerate() {
            if self.destinations.iter().take(at).any(|other| other.id == one.id) {
                return Err(ExportError::Repeated(one.id.clone()));
            }
            let chars = one.transform.as_deref().map_or(1, |text| text.chars().count());
            if !(1..=TRANSFORM_CHARS_MAX).contains(&chars) {
                return Err(ExportError::Transform(one.id.clone()));
            }
        }
        Ok(())
    }

    fn check_filter(&self) -> Result<(), ExportError> {
        let Some(filter) = &self.filter else { return Ok(()) };
        let wrong = |what| Err(ExportError::FilterSource { of: self.source, what });
        match (self.source, filter.from()) {
            (Source::Audit, _) => wrong("it is not about devices"),
            (Source::Telemetry | Source::Properties, _) | (_, FilterFrom::Devices) => Ok(()),
            (_, FilterFrom::Templates(_)) => wrong("it has no telemetry or properties; `FROM devices` is"),
        }
    }
}

/// Checks that an export may be written under an id.
///
/// # Errors
/// [`ExportError`].
pub fn check_put(all: &Exports, destinations: &Destinations, id: &ExportId, new: &Export) -> Result<(), ExportError> {
    if !all.contains_key(id) && all.len() >= EXPORTS_MAX {
        return Err(ExportError::TooMany);
    }
    new.check()?;
    let unknown = new.destinations.iter().find(|one| !destinations.contains_key(&one.id));
    unknown.map_or(Ok(()), |one| Err(ExportError::UnknownDestination(one.id.clone())))
}

/// The exports that send to a destination.
pub fn of_destination<'a>(
    all: &'a Exports,
    id: &'a DestinationId,
) -> impl Iterator<Item = (&'a ExportId, &'a Arc<Kept<Export>>)> {
    all.iter().filter(move |(_, kept)| kept.value.destinations.iter().any(|one| one.id == *id))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::destinations::tests::{destination, webhook};
    use super::*;
    use crate::kept::tests::kept;

    fn destination_id(text: &str) -> DestinationId {
        DestinationId::parse(text).unwrap()
    }

    fn export() -> Export {
        let filter = r#"SELECT * FROM devices WHERE $displayName != "abc" AND $id = "a""#;
        let path = Enrichment::new(None, Some("$templateDisplayName".to_owned()), None).unwrap();
        let transform = Some("{ ApplicationId: .applicationId }".to_owned());
        Export {
            display_name: DisplayName::parse("Test Export 1").unwrap(),
            enabled: false,
            source: Source::Telemetry,
            filter: Some(ExportFilter::parse(filter).unwrap()),
            enrichments: BTreeMap::from([("abc".to_owned(), path)]),
            destinations: vec![DestinationUse { id: destination_id("d0"), transform, since_ms: 0 }],
        }
    }

    #[test]
    fn an_export_is_read_as_it_was_stored() {
        let mut one = export();
        for (name, value) in [("a", json!("x")), ("b", json!(null)), ("c", json!({ "d": [1] }))] {
            one.enrichments.insert(name.to_owned(), Enrichment::new(None, None, Some(value)).unwrap());
        }
        let text = serde_json::to_string(&one).unwrap();
        assert_eq!(serde_json::from_str::<Export>(&text).unwrap(), one, "{text}");
        for (source, word) in Source::WORDS {
            assert_eq!((Source::parse(word), source.word()), (Some(source), word));
            assert_eq!(serde_json::to_value(source).unwrap(), word);
        }
        assert_eq!(Source::parse("events"), None);
    }

    #[test]
    fn a_destination_that_was_stored_without_a_time_sends_everything_there_is() {
        let stored = serde_json::from_str::<DestinationUse>(r#"{"id":"hub","transform":null}"#).unwrap();
        assert_eq!(stored.since_ms, 0);
    }

    #[test]
    fn what_happened_before_it_sends_there_is_not_sent() {
        let at = Timestamp::from_millis;
        let since = |one: &Export| one.destinations.iter().map(|one| one.since_ms).collect::<Vec<_>>();
        let on = |enabled: bool| Export { enabled, ..export() };
        let first = on(true).begun(None, at(1));
        assert_eq!(since(&first), [1]);
        assert_eq!(since(&on(true).begun(Some(&first), at(2))), [1], "it goes on");
        let mut more = on(true);
        more.destinations.push(DestinationUse { id: destination_id("d1"), transform: None, since_ms: 0 });
        assert_eq!(since(&more.begun(Some(&first), at(3))), [1, 3]);
        let off = on(false).begun(Some(&first), at(4));
        assert_eq!(since(&on(true).begun(Some(&off), at(5))), [5], "it was off between");
        let other = Export { source: Source::Properties, ..on(true) };
        assert_eq!(since(&other.begun(Some(&first), at(6))), [6], "it sends something else");
    }

    #[test]
    fn an_enrichment_is_a_value_a_system_property_or_a_property() {
        let some = |text: &str| Some(text.to_owned());
        let new = Enrichment::new;
        assert!(matches!(new(None, some("$deviceName"), None), Ok(Enrichment::System { .. })));
        assert!(matches!(new(some("dtmi:a;1"), some("c.model"), None), Ok(Enrichment::Property { .. })));
        for (target, path, value) in [
            (None, None, None),
            (None, some("model"), None),
            (None, some("$id"), None),
            (some("dtmi:a;1"), None, None),
            (some(""), some("model"), None),
            (some("dtmi:a;1"), some("a.b.c"), None),
            (some("dtmi:a;1"), some(""), None),
            (None, some("$enabled"), Some(json!(1))),
            (some("dtmi:a;1"), None, Some(json!(1))),
        ] {
            let told = new(target.clone(), path.clone(), value.clone());
            assert!(matches!(told, Err(ExportError::Enrichment { .. })), "{target:?} {path:?} {value:?}");
        }
        let long = |bytes: usize| new(None, None, Some(json!("x".repeat(bytes - 2))));
        assert!(long(VALUE_BYTES_MAX).is_ok() && long(VALUE_BYTES_MAX + 1).is_err());
    }

    #[track_caller]
    fn check(change: impl FnOnce(&mut Export), expected: Result<(), ExportError>) {
        let mut one = export();
        change(&mut one);
        let to = |n: usize| (destination_id(&format!("d{n}")), kept(destination(webhook("https://a", None))));
        let destinations: Destinations = (0..6).map(to).collect();
        assert_eq!(check_put(&Exports::new(), &destinations, &ExportId::parse("e").unwrap(), &one), expected);
    }

    fn uses(count: usize) -> Vec<DestinationUse> {
        let one = |n: usize| DestinationUse { id: destination_id(&format!("d{n}")), transform: None, since_ms: 0 };
        (0..count).map(one).collect()
    }

    #[test]
    fn exports_are_bounded() {
        check(|_| {}, Ok(()));
        check(|one| one.destinations = uses(DESTINATIONS_OF_EXPORT_MAX), Ok(()));
        check(|one| one.destinations = uses(6), Err(ExportError::TooManyDestinations(6)));
        let id = || destination_id("d0");
        check(|one| one.destinations = [uses(1), uses(1)].concat(), Err(ExportError::Repeated(id())));
        let other = || DestinationUse { id: destination_id("none"), transform: None, since_ms: 0 };
        check(|one| one.destinations = vec![other()], Err(ExportError::UnknownDestination(other().id)));
        let transform = |one: &mut Export, chars| one.destinations[0].transform = Some(".".repeat(chars));
        check(|one| transform(one, TRANSFORM_CHARS_MAX), Ok(()));
        check(|one| transform(one, TRANSFORM_CHARS_MAX + 1), Err(ExportError::Transform(id())));
        check(|one| transform(one, 0), Err(ExportError::Transform(id())));
        let enrich = |one: &mut Export, count: usize| {
            let value = one.enrichments["abc"].clone();
            one.enrichments = (0..count).map(|n| (format!("e{n}"), value.clone())).collect();
        };
        check(|one| enrich(one, ENRICHMENTS_MAX), Ok(()));
        check(|one| enrich(one, ENRICHMENTS_MAX + 1), Err(ExportError::TooManyEnrichments(11)));
        let named = |one: &mut Export, name: &str| {
            let value = one.enrichments["abc"].clone();
            one.enrichments.insert(name.to_owned(), value);
        };
        check(|one| named(one, ""), Err(ExportError::EnrichmentName));
        check(|one| named(one, &"x".repeat(NAME_CHARS_MAX)), Ok(()));
        check(|one| named(one, &"x".repeat(NAME_CHARS_MAX + 1)), Err(ExportError::EnrichmentName));
        let id = |n: usize| ExportId::parse(&format!("e{n}")).unwrap();
        let plain = Export { destinations: vec![], ..export() };
        let of = |count: usize| -> Exports { (0..count).map(|n| (id(n), kept(plain.clone()))).collect() };
        let put = |all: &Exports, n: usize| check_put(all, &Destinations::new(), &id(n), &plain);
        assert_eq!(put(&of(EXPORTS_MAX - 1), 99), Ok(()));
        assert_eq!(put(&of(EXPORTS_MAX), 99), Err(ExportError::TooMany));
        assert_eq!(put(&of(EXPORTS_MAX), 0), Ok(()));
    }

    #[test]
    fn a_filter_fits_its_source() {
        let with = |source, filter: &str| {
            let filter = Some(ExportFilter::parse(filter).unwrap());
            Export { source, filter, ..export() }.check().is_ok()
        };
        let (devices, template) = ("SELECT * FROM devices", "SELECT * FROM dtmi:a:b;1");
        for (source, _) in Source::WORDS {
            let has_values = matches!(source, Source::Telemetry | Source::Properties);
            assert_eq!(with(source, template), has_values, "{source:?}");
            assert_eq!(with(source, devices), source != Source::Audit, "{source:?}");
        }
    }
}
