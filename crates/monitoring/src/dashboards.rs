//! Dashboards: questions that are shown together, with parameters they share and a period after which they are asked
//! again. They are kept and handed out; whoever shows them asks.

use std::collections::BTreeMap;
use std::sync::Arc;

use gantry_hub::device::IfMatch;
use gantry_hub::owned::{Changed, Owned};
use gantry_hub::ports::{Collection, Documents, StoreError};
use gantry_identity::Timestamp;
use serde::{Deserialize, Serialize};

const COLLECTION: &str = "dashboards";
/// Dashboards there may be.
const DASHBOARDS_MAX: usize = 500;
/// Tiles of one.
const TILES_MAX: usize = 50;
/// Parameters of one.
const PARAMETERS_MAX: usize = 20;
/// Values a parameter offers.
const CHOICES_MAX: usize = 200;
/// Characters of a title, a name or a value.
const TITLE_CHARS_MAX: usize = 128;
/// Bytes of a question.
const QUERY_BYTES_MAX: usize = 64 << 10;
/// Bytes of a whole dashboard.
const BYTES_MAX: usize = 256 << 10;
/// Columns of the page.
const COLUMNS: u8 = 4;
/// The shortest and longest period, in seconds.
const REFRESH: std::ops::RangeInclusive<u32> = 5..=86_400;
/// The types of the language.
const TYPES: [&str; 10] =
    ["bool", "datetime", "decimal", "dynamic", "guid", "int", "long", "real", "string", "timespan"];

/// A dashboard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Dashboard {
    /// What it is called.
    pub title: String,
    /// After how many seconds its questions are asked again; never with nought.
    #[serde(default)]
    pub refresh_seconds: u32,
    /// What its questions share.
    #[serde(default)]
    pub parameters: Vec<Parameter>,
    /// Its questions, in the order they are shown.
    #[serde(default)]
    pub tiles: Vec<Tile>,
}

/// A parameter of every question: `declare query_parameters` of the language.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Parameter {
    /// Its name in questions.
    pub name: String,
    /// Its type, in the words of the language.
    #[serde(rename = "type")]
    pub ty: String,
    /// Its value while nobody chooses another: a plain text for strings, else a literal.
    #[serde(default)]
    pub value: String,
    /// Values to choose from; whoever looks types one without.
    #[serde(default)]
    pub choices: Vec<String>,
}

/// A question and its place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Tile {
    /// What it is called.
    pub title: String,
    /// The question, in KQL; `render` says how its result looks.
    pub query: String,
    /// How many of the page's four columns it takes.
    #[serde(default = "one")]
    pub width: u8,
}

fn one() -> u8 {
    1
}

/// A dashboard as it is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Kept {
    /// The dashboard.
    pub dashboard: Dashboard,
    /// How often it was written; its etag.
    pub version: u64,
    /// When it was written last.
    #[serde(with = "crate::iso")]
    pub updated_at: Timestamp,
}

/// Why something about a dashboard was not done.
#[derive(Debug, thiserror::Error)]
pub enum DashboardError {
    /// There is none with this id.
    #[error("there is no dashboard `{0}`")]
    NotFound(String),
    /// Something in it cannot be.
    #[error("{0}")]
    Invalid(String),
    /// It is not what it was any more.
    #[error("dashboard `{0}` was changed meanwhile")]
    Changed(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

type All = BTreeMap<String, Arc<Kept>>;

/// All dashboards.
pub struct Dashboards(Owned<All>);

impl Dashboards {
    /// Reads them.
    ///
    /// # Errors
    /// When the store fails or one cannot be read.
    pub async fn load(documents: Arc<dyn Documents>) -> Result<Self, StoreError> {
        let one = |(id, text): (String, String)| {
            let kept = serde_json::from_str(&text);
            let broken = |error| StoreError::Failed(format!("stored dashboard `{id}` cannot be read: {error}"));
            kept.map(|kept| (id.clone(), Arc::new(kept))).map_err(broken)
        };
        let all = move |stored: Vec<Collection>| stored.into_iter().flat_map(|all| all.documents).map(one).collect();
        Owned::load(documents, vec![COLLECTION], all).await.map(Self)
    }

    /// All of them, by id.
    pub fn all(&self) -> Arc<BTreeMap<String, Arc<Kept>>> {
        self.0.current()
    }

    /// Makes or replaces one.
    ///
    /// # Errors
    /// [`DashboardError`].
    pub async fn put(
        &self,
        now: Timestamp,
        id: &str,
        dashboard: &Dashboard,
        if_match: &IfMatch,
    ) -> Result<Arc<Kept>, DashboardError> {
        check_id(id)?;
        check(dashboard)?;
        let change = |all: &All| {
            let before = all.get(id);
            agrees(id, before, if_match)?;
            if before.is_none() && all.len() >= DASHBOARDS_MAX {
                return Err(DashboardError::Invalid(format!(
                    "there are {DASHBOARDS_MAX} dashboards, which is the most"
                )));
            }
            let version = before.map_or(0, |kept| kept.version) + 1;
            let kept = Arc::new(Kept { dashboard: dashboard.clone(), version, updated_at: now });
            let text = serde_json::to_string(&*kept).map_err(|error| DashboardError::Invalid(error.to_string()))?;
            let mut next = all.clone();
            next.insert(id.to_owned(), Arc::clone(&kept));
            Ok(Changed { edits: vec![vec![(id.to_owned(), Some(text))]], next, said: kept })
        };
        self.0.change(change).await
    }

    /// Deletes one.
    ///
    /// # Errors
    /// [`DashboardError`].
    pub async fn delete(&self, id: &str, if_match: &IfMatch) -> Result<(), DashboardError> {
        let change = |all: &All| {
            let mut next = all.clone();
            let before = next.remove(id).ok_or_else(|| DashboardError::NotFound(id.to_owned()))?;
            agrees(id, Some(&before), if_match)?;
            Ok(Changed { edits: vec![vec![(id.to_owned(), None)]], next, said: () })
        };
        self.0.change(change).await
    }
}

fn agrees(id: &str, before: Option<&Arc<Kept>>, if_match: &IfMatch) -> Result<(), DashboardError> {
    let version = before.map(|kept| kept.version.to_string());
    let holds = match if_match {
        IfMatch::Absent => true,
        other => version.is_some_and(|version| other.admits(&version)),
    };
    if holds { Ok(()) } else { Err(DashboardError::Changed(id.to_owned())) }
}

fn check_id(id: &str) -> Result<(), DashboardError> {
    let is_good = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if !id.is_empty() && id.len() <= 64 && id.bytes().all(is_good) {
        return Ok(());
    }
    Err(DashboardError::Invalid("the id of a dashboard has 1 to 64 letters, digits, `-` and `_`".into()))
}

/// What is wrong with a dashboard, if something is.
fn check(dashboard: &Dashboard) -> Result<(), DashboardError> {
    let wrong = |reason: String| Err(DashboardError::Invalid(reason));
    let is_title = |title: &str| !title.trim().is_empty() && title.chars().count() <= TITLE_CHARS_MAX;
    if !is_title(&dashboard.title) {
        return wrong(format!("`title` has 1 to {TITLE_CHARS_MAX} characters"));
    }
    if dashboard.refresh_seconds != 0 && !REFRESH.contains(&dashboard.refresh_seconds) {
        return wrong(format!("`refreshSeconds` is 0 or {} to {}", REFRESH.start(), REFRESH.end()));
    }
    if dashboard.tiles.len() > TILES_MAX || dashboard.parameters.len() > PARAMETERS_MAX {
        return wrong(format!("a dashboard has at most {TILES_MAX} tiles and {PARAMETERS_MAX} parameters"));
    }
    for (at, parameter) in dashboard.parameters.iter().enumerate() {
        let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let name = parameter.name.as_str();
        if name.is_empty() || name.len() > 64 || name.as_bytes()[0].is_ascii_digit() || !name.bytes().all(is_word) {
            return wrong(format!("`{name}` is no name of a parameter: letters, digits and `_`, 64 at most"));
        }
        if dashboard.parameters[..at].iter().any(|other| other.name == name) {
            return wrong(format!("two parameters are called `{name}`"));
        }
        if !TYPES.contains(&parameter.ty.as_str()) {
            return wrong(format!("`{}` is no type of `{name}`: {}", parameter.ty, TYPES.join(", ")));
        }
        let is_long = |value: &String| value.chars().count() > TITLE_CHARS_MAX;
        if parameter.choices.len() > CHOICES_MAX || parameter.choices.iter().chain([&parameter.value]).any(is_long) {
            return wrong(format!(
                "`{name}` offers at most {CHOICES_MAX} values of at most {TITLE_CHARS_MAX} characters"
            ));
        }
    }
    for (number, tile) in (1..).zip(&dashboard.tiles) {
        if !is_title(&tile.title) {
            return wrong(format!("`title` of tile {number} has 1 to {TITLE_CHARS_MAX} characters"));
        }
        if tile.query.trim().is_empty() || tile.query.len() > QUERY_BYTES_MAX {
            return wrong(format!("`query` of tile {number} is a question of at most {QUERY_BYTES_MAX} bytes"));
        }
        if !(1..=COLUMNS).contains(&tile.width) {
            return wrong(format!("`width` of tile {number} is 1 to {COLUMNS}"));
        }
    }
    let bytes = serde_json::to_string(dashboard).map_or(usize::MAX, |text| text.len());
    if bytes > BYTES_MAX {
        return wrong(format!("a dashboard has at most {BYTES_MAX} bytes"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dashboard() -> Dashboard {
        let text = r#"{"title": "Motors", "refreshSeconds": 30, "parameters": [{"name": "site", "type": "string", "value": "north"}],
            "tiles": [{"title": "Hot", "query": "Telemetry | where Site == site"}]}"#;
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert!(check(&dashboard()).is_ok());
        type Spoil = fn(&mut Dashboard);
        let cases: [(Spoil, &str); 9] = [
            (|one| one.title = " ".into(), "`title`"),
            (|one| one.refresh_seconds = 4, "`refreshSeconds`"),
            (|one| one.parameters[0].name = "a b".into(), "`a b`"),
            (|one| one.parameters[0].ty = "text".into(), "`text`"),
            (|one| one.parameters.push(one.parameters[0].clone()), "two parameters"),
            (|one| one.parameters[0].choices = vec!["x".repeat(129)], "`site` offers"),
            (|one| one.tiles[0].query = String::new(), "`query` of tile 1"),
            (|one| one.tiles[0].width = 5, "`width` of tile 1"),
            (|one| one.tiles = vec![one.tiles[0].clone(); 51], "50 tiles"),
        ];
        for (spoil, named) in cases {
            let mut one = dashboard();
            spoil(&mut one);
            let told = check(&one).unwrap_err().to_string();
            assert!(told.contains(named), "{told}");
        }
        for id in ["", "a b", "ä", &"x".repeat(65)] {
            assert!(check_id(id).is_err(), "{id}");
        }
    }
}
