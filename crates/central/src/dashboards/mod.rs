//! Dashboards: tiles with a place each, for everybody in an organization or for one user.
//!
//! A tile is kept as it was written, after every member of it was checked against what is published for its kind; a
//! page draws it, nothing here does. A personal dashboard belongs to its user for ever, is seen by nobody else and
//! goes with the user. Whether groups, devices and capabilities that a tile names are there is the page's to show.
//! Source: dashboards of `iotcentral-2022-10-31-preview`.

mod kinds;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};

use crate::ids::{DashboardId, DisplayName, IdError, OrganizationId, UserId};
use crate::kept::Kept;
use crate::organizations::Organizations;
use crate::shape::ShapeError;

/// Dashboards an application has; ours.
pub const DASHBOARDS_MAX: usize = 500;
/// Of them, personal ones of one user; ours.
pub const PERSONAL_MAX: usize = 50;
/// Tiles of one; ours.
pub const TILES_MAX: usize = 100;
/// Bytes of all tiles of one; ours.
pub const TILES_BYTES_MAX: usize = 256 * 1_024;

/// A dashboard.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Dashboard {
    /// What it is called.
    pub display_name: DisplayName,
    /// What is on it.
    pub tiles: Vec<Tile>,
    /// Whether it is among those that are shown first.
    pub favorite: bool,
    /// Whose it is when it is personal.
    pub owner: Option<UserId>,
    /// The organization it belongs to; the root, or its user, without one.
    pub organization: Option<OrganizationId>,
}

/// A tile.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tile {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    display_name: String,
    configuration: Configuration,
    height: Number,
    width: Number,
    x: Number,
    y: Number,
}

impl Tile {
    /// Reads a tile that is at a path, such as `tiles[2]`.
    ///
    /// # Errors
    /// [`ShapeError`] names the member that is wrong.
    pub fn read(value: &Value, path: &str) -> Result<Self, ShapeError> {
        kinds::TILE.check(value, path)?;
        let wrong = |_| ShapeError::Wrong { path: path.to_owned(), wanted: "a tile".to_owned() };
        serde_json::from_value(value.clone()).map_err(wrong)
    }

    /// The tile as it was written.
    #[must_use]
    pub fn value(&self) -> Value {
        serde_json::to_value(self).expect("tiles have nothing that JSON has not")
    }

    /// What it shows.
    #[must_use]
    pub fn configuration(&self) -> &Configuration {
        &self.configuration
    }
}

/// What a tile shows: a kind, and what it takes.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub struct Configuration(Value);

impl Configuration {
    /// Reads a configuration that is at a path, such as `tiles[2].configuration`.
    ///
    /// # Errors
    /// [`ShapeError`] names the member that is wrong.
    pub fn read(value: &Value, path: &str) -> Result<Self, ShapeError> {
        kinds::CONFIGURATION.check(value, path)?;
        Ok(Self(value.clone()))
    }

    /// The configuration as it was written.
    #[must_use]
    pub fn value(&self) -> &Value {
        &self.0
    }

    /// Its kind, such as `lineChart`.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.0.get("type").and_then(Value::as_str).unwrap_or_default()
    }

    /// The id of the device group it shows, if any.
    #[must_use]
    pub fn group(&self) -> Option<&str> {
        self.0.get("group").and_then(Value::as_str)
    }
}

impl TryFrom<Value> for Configuration {
    type Error = ShapeError;
    fn try_from(value: Value) -> Result<Self, ShapeError> {
        Self::read(&value, "configuration")
    }
}

impl From<Configuration> for Value {
    fn from(configuration: Configuration) -> Self {
        configuration.0
    }
}

/// All dashboards by id.
pub type Dashboards = BTreeMap<DashboardId, Arc<Kept<Dashboard>>>;

/// Why a dashboard was not written.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum DashboardError {
    /// There is none with this id.
    #[error("there is no dashboard `{0}`")]
    Unknown(DashboardId),
    /// The name is none.
    #[error(transparent)]
    Name(#[from] IdError),
    /// A tile is none.
    #[error(transparent)]
    Tile(#[from] ShapeError),
    /// Too many tiles.
    #[error("`tiles` has {0} tiles; {TILES_MAX} are allowed")]
    TooManyTiles(usize),
    /// Tiles that are too large together.
    #[error("`tiles` has {0} bytes; {TILES_BYTES_MAX} are allowed")]
    TooLarge(usize),
    /// There is no such organization.
    #[error("there is no organization `{0}`")]
    UnknownOrganization(OrganizationId),
    /// A personal one in an organization.
    #[error("`organizations` of a personal dashboard is empty")]
    PersonalInOrganization,
    /// It would be somebody else's, or change from a personal one to a shared one or back.
    #[error("a personal dashboard is its user's and stays so")]
    Owner,
    /// There are as many as there may be.
    #[error("there are {DASHBOARDS_MAX} dashboards, which is the most")]
    TooMany,
    /// The user has as many as they may have.
    #[error("there are {PERSONAL_MAX} personal dashboards of one user, which is the most")]
    TooManyPersonal,
}

/// Reads `tiles` of a dashboard.
///
/// # Errors
/// [`DashboardError`] names the member that is wrong.
pub fn read_tiles(value: &Value) -> Result<Vec<Tile>, DashboardError> {
    let wrong = || ShapeError::Wrong { path: "tiles".to_owned(), wanted: "a list".to_owned() };
    let all = value.as_array().ok_or_else(wrong)?;
    if all.len() > TILES_MAX {
        return Err(DashboardError::TooManyTiles(all.len()));
    }
    let read = |(at, one)| Tile::read(one, &format!("tiles[{at}]")).map_err(Into::into);
    all.iter().enumerate().map(read).collect()
}

/// Checks that a dashboard may be written under an id. Whose it is was checked.
///
/// # Errors
/// [`DashboardError`].
pub fn check_put(
    all: &Dashboards,
    organizations: &Organizations,
    id: &DashboardId,
    new: &Dashboard,
) -> Result<(), DashboardError> {
    if new.tiles.len() > TILES_MAX {
        return Err(DashboardError::TooManyTiles(new.tiles.len()));
    }
    let bytes = new.tiles.iter().map(|tile| tile.value().to_string().len()).sum();
    if bytes > TILES_BYTES_MAX {
        return Err(DashboardError::TooLarge(bytes));
    }
    if !all.contains_key(id) {
        check_room(all, new)?;
    }
    match &new.organization {
        Some(_) if new.owner.is_some() => Err(DashboardError::PersonalInOrganization),
        Some(id) if !organizations.contains_key(id) => Err(DashboardError::UnknownOrganization(id.clone())),
        _ => Ok(()),
    }
}

fn check_room(all: &Dashboards, new: &Dashboard) -> Result<(), DashboardError> {
    if all.len() >= DASHBOARDS_MAX {
        return Err(DashboardError::TooMany);
    }
    let of_user = all.values().filter(|kept| new.owner.is_some() && kept.value.owner == new.owner).count();
    if of_user < PERSONAL_MAX { Ok(()) } else { Err(DashboardError::TooManyPersonal) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kept::tests::kept;
    use crate::organizations::tests::tree;

    /// Tiles of the published examples, one of each kind they have.
    const EXAMPLES: &str = include_str!("../../tests/examples/tiles.json");

    fn examples() -> Value {
        serde_json::from_str(EXAMPLES).unwrap()
    }

    fn dashboard() -> Dashboard {
        let tiles = vec![Tile::read(&examples()[0], "tiles[0]").unwrap()];
        let display_name = DisplayName::parse("My Dashboard").unwrap();
        Dashboard { display_name, tiles, favorite: false, owner: None, organization: None }
    }

    fn id(text: &str) -> DashboardId {
        DashboardId::parse(text).unwrap()
    }

    #[test]
    fn the_published_examples_are_read_and_written_back() {
        let tiles = read_tiles(&examples()).unwrap();
        assert_eq!(Value::Array(tiles.iter().map(Tile::value).collect()), examples());
        let stored = serde_json::to_string(&tiles).unwrap();
        assert_eq!(serde_json::from_str::<Vec<Tile>>(&stored).unwrap(), tiles);
        for (tile, value) in tiles.iter().zip(examples().as_array().unwrap()) {
            let configuration = Configuration::read(&value["configuration"], "configuration").unwrap();
            assert_eq!(configuration.value(), &value["configuration"]);
            assert_eq!(&configuration, tile.configuration());
            assert_eq!(value["configuration"]["type"], configuration.kind());
            assert_eq!(value["configuration"].get("group").and_then(Value::as_str), configuration.group());
        }
    }

    /// A configuration of every kind with all its members.
    fn full() -> Vec<Value> {
        let shown = |of: &str, more: Value| {
            let mut all = json!({ "type": of, "group": "g", "devices": ["d"],
                "capabilities": [{ "capability": "c.t", "aggregateFunction": "avg" }] });
            all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            all
        };
        let time = json!({ "type": "time", "duration": "P30D", "resolution": "P1W" });
        let chart = json!({ "queryRange": time, "format": { "xAxisEnabled": false } });
        let text =
            json!({ "abbreviateValue": true, "decimalPlaces": 2, "textSize": 1.5, "unit": "pt", "wordWrap": true });
        let history = json!({ "queryRange": time, "format": text });
        vec![
            shown("barChart", chart.clone()),
            shown("lineChart", json!({ "queryRange": { "type": "count", "count": 100 } })),
            shown("pieChart", chart.clone()),
            shown("heatMapChart", chart),
            shown("eventChart", json!({ "queryRange": time })),
            shown("eventHistoryChart", history.clone()),
            shown("stateChart", json!({ "queryRange": time })),
            shown("stateHistoryChart", history.clone()),
            shown("kpi", history),
            shown("lkv", json!({ "showTrend": false, "format": text })),
            shown("property", json!({ "format": text })),
            shown("mapProperty", json!({ "zoomLevel": 24 })),
            shown("mapTelemetry", json!({ "zoomLevel": 0 })),
            json!({ "type": "command", "device": "d", "command": "c", "group": "g" }),
            json!({ "type": "dataExplorer", "queryRange": time, "query": "q" }),
            json!({ "type": "deviceCount", "group": "g", "format": text }),
            json!({ "type": "externalContent", "sourceUrl": "https://contoso.com" }),
            json!({ "type": "image", "image": "i", "href": "https://a", "format": { "backgroundColor": "#FFFFFF",
                "fitImage": true, "textColor": "#000000", "textSize": 14, "textSizeUnit": "px", "showTitle": true } }),
            json!({ "type": "label", "text": "t", "textSize": 24, "textSizeUnit": "pt", "wordWrap": true }),
            json!({ "type": "markdown", "description": "*d*", "href": "", "image": "i" }),
        ]
    }

    #[test]
    fn every_kind_has_its_members_and_no_others() {
        for mut one in full() {
            assert_eq!(Configuration::read(&one, "c").unwrap().value(), &one);
            one.as_object_mut().unwrap().insert("other".to_owned(), json!(1));
            assert_eq!(Configuration::read(&one, "c"), Err(ShapeError::Unknown("c.other".to_owned())), "{one}");
        }
    }

    #[track_caller]
    fn wrong(pointer: &str, value: Value, expected: &str) {
        let mut tiles = json!([examples()[0], examples()[0], examples()[0]]);
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        tiles[2].pointer_mut(parent).unwrap()[name] = value;
        assert_eq!(read_tiles(&tiles).unwrap_err().to_string(), expected);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_path() {
        wrong(
            "/configuration/queryRange/type",
            json!("ever"),
            "`tiles[2].configuration.queryRange.type` is not one of `time`, `count`",
        );
        wrong(
            "/configuration/type",
            json!("x"),
            &format!(
                "`tiles[2].configuration.type` is not one of `{}`",
                full().iter().map(|one| one["type"].as_str().unwrap().to_owned()).collect::<Vec<_>>().join("`, `")
            ),
        );
        wrong(
            "/configuration/showTrend",
            json!(true),
            "`tiles[2].configuration.showTrend` is not a member that is known there",
        );
        wrong(
            "/configuration/devices",
            json!([1]),
            "`tiles[2].configuration.devices[0]` is not a text of 1 to 1024 characters",
        );
        wrong("/height", json!(0), "`tiles[2].height` is not a number of 1 to 10");
        wrong("/height", json!(10.5), "`tiles[2].height` is not a number of 1 to 10");
        wrong("/width", json!(11), "`tiles[2].width` is not a number of 1 to 10");
        wrong("/x", json!(-1), "`tiles[2].x` is not a number of 0 to 100");
        wrong("/y", json!(101), "`tiles[2].y` is not a number of 0 to 100");
        wrong("/y", json!("1"), "`tiles[2].y` is not a number of 0 to 100");
        wrong("/z", json!(1), "`tiles[2].z` is not a member that is known there");
        assert_eq!(read_tiles(&json!({})).unwrap_err().to_string(), "`tiles` is not a list");
        let mut without = examples()[0].clone();
        without["configuration"].as_object_mut().unwrap().remove("group");
        assert_eq!(Tile::read(&without, "t"), Err(ShapeError::Missing("t.configuration.group".to_owned())));
    }

    #[track_caller]
    fn put(all: &Dashboards, change: impl FnOnce(&mut Dashboard), expected: Result<(), DashboardError>) {
        let mut new = dashboard();
        change(&mut new);
        assert_eq!(check_put(all, &tree(&[("north", None)]), &id("one"), &new), expected);
    }

    #[test]
    fn dashboards_are_bounded() {
        let owner = || UserId::parse("u1").ok();
        let none = Dashboards::new();
        let tile = dashboard().tiles[0].clone();
        put(&none, |new| new.tiles = vec![tile.clone(); TILES_MAX], Ok(()));
        put(&none, |new| new.tiles = vec![tile; TILES_MAX + 1], Err(DashboardError::TooManyTiles(TILES_MAX + 1)));
        let many = json!(vec![examples()[0].clone(); TILES_MAX + 1]);
        assert_eq!(read_tiles(&many), Err(DashboardError::TooManyTiles(TILES_MAX + 1)));
        let label = |bytes: usize| {
            let tile = |text: &str| {
                json!({ "displayName": "", "height": 1, "width": 1, "x": 0, "y": 0,
                    "configuration": { "type": "label", "text": text } })
            };
            let (half, empty) = ("a".repeat(120_000), tile("").to_string().len());
            let rest = "a".repeat(bytes - 2 * 120_000 - 3 * empty);
            read_tiles(&json!([tile(&half), tile(&half), tile(&rest)])).unwrap()
        };
        put(&none, |new| new.tiles = label(TILES_BYTES_MAX), Ok(()));
        put(&none, |new| new.tiles = label(TILES_BYTES_MAX + 1), Err(DashboardError::TooLarge(TILES_BYTES_MAX + 1)));
        let of = |count: usize, owner: Option<UserId>| -> Dashboards {
            let one = |n: usize| (id(&format!("d{n}")), kept(Dashboard { owner: owner.clone(), ..dashboard() }));
            (0..count).map(one).collect()
        };
        put(&of(DASHBOARDS_MAX - 1, None), |_| {}, Ok(()));
        put(&of(DASHBOARDS_MAX, None), |_| {}, Err(DashboardError::TooMany));
        put(&of(PERSONAL_MAX - 1, owner()), |new| new.owner = owner(), Ok(()));
        put(&of(PERSONAL_MAX, owner()), |new| new.owner = owner(), Err(DashboardError::TooManyPersonal));
        put(&of(PERSONAL_MAX, owner()), |_| {}, Ok(()));
    }

    #[test]
    fn a_dashboard_is_in_an_organization_that_is_there_or_of_a_user() {
        let north = OrganizationId::parse("north").unwrap();
        let none = Dashboards::new();
        put(&none, |new| new.organization = Some(north.clone()), Ok(()));
        let south = OrganizationId::parse("south").unwrap();
        put(
            &none,
            |new| new.organization = Some(south.clone()),
            Err(DashboardError::UnknownOrganization(south.clone())),
        );
        let both = |new: &mut Dashboard| (new.organization, new.owner) = (Some(north.clone()), UserId::parse("u").ok());
        put(&none, both, Err(DashboardError::PersonalInOrganization));
    }
}
