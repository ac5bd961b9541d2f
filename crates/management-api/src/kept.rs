//! What is kept of the resources beside what they are made of: their tags, and where hubs elsewhere are said to be.
//!
//! Collection `management`: documents `hub`, `provisioning` and `application` with the tags of each, and `locations`
//! with the places of hubs elsewhere by host name; each is an object of texts.

use std::collections::BTreeMap;
use std::sync::Arc;

use gantry_hub::owned::{Changed, Owned};
use gantry_hub::ports::{Collection, Documents, StoreError};
use serde_json::Value;

use crate::Failure;
use crate::call::Kind;

const COLLECTION: &str = "management";
const LOCATIONS: &str = "locations";
/// Tags of a resource (ARM limits).
const TAGS_MAX: usize = 50;
/// Longest name of a tag in characters (ARM limits).
const TAG_NAME_LEN_MAX: usize = 512;
/// Longest text of a tag in characters (ARM limits).
const TAG_LEN_MAX: usize = 256;
/// Longest location of a hub elsewhere in characters.
const LOCATION_LEN_MAX: usize = 64;

/// Texts by name.
pub(crate) type Texts = BTreeMap<String, String>;

/// What is kept.
pub(crate) struct Kept(Owned<BTreeMap<String, Texts>>);

fn document(kind: Kind) -> &'static str {
    match kind {
        Kind::Hub => "hub",
        Kind::Provisioning => "provisioning",
        Kind::Application => "application",
    }
}

/// Tags as a body has them.
pub(crate) fn read_tags(value: &Value) -> Result<Texts, Failure> {
    let wrong = || {
        Failure::invalid(format!(
            "`tags` is an object of at most {TAGS_MAX} texts, names of 1 to {TAG_NAME_LEN_MAX} and texts of at most \
             {TAG_LEN_MAX} characters"
        ))
    };
    let object = value.as_object().filter(|object| object.len() <= TAGS_MAX).ok_or_else(wrong)?;
    let read = |(name, text): (&String, &Value)| {
        let text = text.as_str().filter(|text| text.chars().count() <= TAG_LEN_MAX).ok_or_else(wrong)?;
        let is_name = (1..=TAG_NAME_LEN_MAX).contains(&name.chars().count());
        if is_name { Ok((name.clone(), text.to_owned())) } else { Err(wrong()) }
    };
    object.iter().map(read).collect()
}

/// The location of a hub elsewhere.
pub(crate) fn read_location(text: &str) -> Result<String, Failure> {
    let is_good = (1..=LOCATION_LEN_MAX).contains(&text.chars().count());
    let wrong = || Failure::invalid(format!("`location` has 1 to {LOCATION_LEN_MAX} characters"));
    if is_good { Ok(text.to_owned()) } else { Err(wrong()) }
}

impl Kept {
    pub(crate) async fn load(documents: Arc<dyn Documents>) -> Result<Self, StoreError> {
        let read = |(id, text): (String, String)| {
            let unreadable = |error| StoreError::Failed(format!("{COLLECTION}/{id} cannot be read: {error}"));
            let texts = serde_json::from_str(&text).map_err(unreadable)?;
            Ok((id, texts))
        };
        let read_all = move |stored: Vec<Collection>| {
            stored.into_iter().flat_map(|all| all.documents).map(read).collect::<Result<BTreeMap<_, _>, _>>()
        };
        Ok(Self(Owned::load(documents, vec![COLLECTION], read_all).await?))
    }

    fn texts(&self, id: &str) -> Texts {
        self.0.current().get(id).cloned().unwrap_or_default()
    }

    async fn put(&self, id: &'static str, texts: Texts) -> Result<(), StoreError> {
        if self.texts(id) == texts {
            return Ok(());
        }
        let put = |all: &BTreeMap<String, Texts>| {
            let text = serde_json::to_string(&texts).map_err(|error| StoreError::Failed(error.to_string()))?;
            let mut next = all.clone();
            next.insert(id.to_owned(), texts.clone());
            Ok::<_, StoreError>(Changed { edits: vec![vec![(id.to_owned(), Some(text))]], next, said: () })
        };
        self.0.change(put).await
    }

    /// The tags of a resource.
    pub(crate) fn tags(&self, kind: Kind) -> Texts {
        self.texts(document(kind))
    }

    /// Replaces them.
    pub(crate) async fn put_tags(&self, kind: Kind, tags: Texts) -> Result<(), StoreError> {
        self.put(document(kind), tags).await
    }

    /// Where hubs elsewhere are said to be, by host name.
    pub(crate) fn locations(&self) -> Texts {
        self.texts(LOCATIONS)
    }

    /// Replaces that.
    pub(crate) async fn put_locations(&self, locations: Texts) -> Result<(), StoreError> {
        self.put(LOCATIONS, locations).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn tags_are_bounded() {
        let many = |n: usize| (0..n).map(|i| (format!("t{i}"), json!("x"))).collect::<serde_json::Map<_, _>>();
        assert_eq!(read_tags(&json!({ "site": "north" })).unwrap()["site"], "north");
        assert_eq!(read_tags(&many(TAGS_MAX).into()).unwrap().len(), TAGS_MAX);
        assert!(read_tags(&json!({ "n".repeat(TAG_NAME_LEN_MAX): "t".repeat(TAG_LEN_MAX) })).is_ok());
        for wrong in [
            json!(null),
            json!([]),
            json!({ "a": 1 }),
            json!({ "a": null }),
            json!({ "": "x" }),
            json!({ "n".repeat(TAG_NAME_LEN_MAX + 1): "x" }),
            json!({ "a": "t".repeat(TAG_LEN_MAX + 1) }),
            many(TAGS_MAX + 1).into(),
        ] {
            assert!(read_tags(&wrong).is_err(), "{wrong}");
        }
        assert!(read_location("").is_err() && read_location(&"x".repeat(LOCATION_LEN_MAX + 1)).is_err());
    }
}
