//! That everything in an application template is something, and refers to what is there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gantry_dtdl::Dtmi;
use gantry_identity::{DeviceId, Timestamp};

use super::*;
use crate::groups::{DeviceFacts, DeviceFilter};
use crate::simulation::{SIMULATED_MAX, Simulated, seed_of};
use crate::templates::{Capabilities, DeviceTemplate, Part, Schema};

/// Minutes of a day, and how many of them are between two messages.
const DAY: i64 = 24 * 60;
const EVERY: usize = 2;
const NOW: i64 = 1_780_315_200_000;

struct Made {
    templates: BTreeMap<&'static str, (DeviceTemplate, Arc<Capabilities>)>,
}

fn made(application: &'static Application) -> Made {
    let one = |template: &'static Template| {
        let made = DeviceTemplate::new(&template.id, template.write(), &mut |_: &[Dtmi]| None).unwrap();
        let capabilities = made.capabilities().unwrap();
        (template.id.as_str(), (made, capabilities))
    };
    Made { templates: application.templates.iter().map(one).collect() }
}

/// A capability by its path, and the schema at the end of it.
fn telemetry<'a>(capabilities: &'a Capabilities, path: &str) -> Option<&'a Schema> {
    find_path(capabilities, path, |part, name| part.telemetry(name).map(|one| &one.schema))
}

fn property<'a>(capabilities: &'a Capabilities, path: &str) -> Option<&'a Schema> {
    find_path(capabilities, path, |part, name| part.property(name).map(|one| &one.schema))
}

fn find_path<'a>(
    capabilities: &'a Capabilities,
    path: &str,
    get: impl Fn(&'a Part, &str) -> Option<&'a Schema>,
) -> Option<&'a Schema> {
    match path.split_once('.') {
        None => get(&capabilities.root, path),
        Some((first, rest)) => match capabilities.part(Some(first)) {
            Some(part) => get(part, rest),
            None => match get(&capabilities.root, first)? {
                Schema::Object(fields) => fields.iter().find(|field| field.name == rest).map(|field| &field.schema),
                _ => None,
            },
        },
    }
}

fn members<'a>(application: &'a Application, group: &Group) -> Vec<&'a str> {
    let filter = DeviceFilter::parse(&group.filter).unwrap();
    let is_member = |device: &&Device| {
        filter.holds(&DeviceFacts {
            id: &device.id,
            display_name: device.display_name.as_str(),
            template: Some(device.template.as_str()),
            is_simulated: true,
            is_provisioned: true,
            is_enabled: true,
            organization: device.organization.as_ref().map(OrganizationId::as_str),
            properties: &device.cloud_properties,
        })
    };
    application.devices.iter().filter(is_member).map(|device| device.id.as_str()).collect()
}

#[test]
fn there_is_one_for_everybody_and_one_for_each_industry() {
    let industries: Vec<&str> = all().iter().map(|one| one.industry.as_str()).collect();
    assert_eq!(industries, ["", "Retail", "Energy", "Government", "Healthcare"]);
    assert!(all().windows(2).all(|pair| pair[0].order < pair[1].order));
    assert_eq!(find("iotc-pnp-preview@1.0.0").unwrap().order, 1);
    assert_eq!(find("iotc-patient").unwrap().industry, "Healthcare");
    assert_eq!(find("iotc-patient@2.0.0"), None);
    assert_eq!(find("nothing"), None);
}

#[test]
fn every_model_is_one_and_makes_a_template() {
    for application in all() {
        let made = made(application);
        assert_eq!(made.templates.len(), application.templates.len(), "{}", application.name);
        for (_, capabilities) in made.templates.values() {
            assert!(capabilities.root.telemetry.len() >= 3 && !capabilities.root.commands.is_empty());
            assert!(capabilities.part(Some("deviceInformation")).is_some());
        }
    }
}

#[test]
fn devices_have_templates_organizations_and_cloud_properties_that_are_there() {
    for application in all() {
        let made = made(application);
        let ids: BTreeSet<&str> = application.devices.iter().map(|device| device.id.as_str()).collect();
        assert_eq!(ids.len(), application.devices.len());
        assert!((1..=SIMULATED_MAX).contains(&ids.len()));
        let mut used = BTreeSet::new();
        for device in &application.devices {
            DeviceId::parse(&device.id).unwrap();
            let (_, capabilities) = &made.templates[device.template.as_str()];
            used.insert(device.template.as_str());
            for (name, value) in &device.cloud_properties {
                let property = capabilities.root.property(name).unwrap();
                assert!(property.is_cloud, "{} {name}", device.id);
                assert_eq!(property.schema == Schema::Word("boolean"), value.is_boolean(), "{} {name}", device.id);
            }
            let has = |id: &OrganizationId| application.organizations.iter().any(|one| one.id == *id);
            assert!(device.organization.as_ref().is_none_or(has), "{}", device.id);
        }
        assert_eq!(used.len(), application.templates.len(), "each template has a device");
    }
}

#[test]
fn organizations_are_below_those_before_them() {
    for application in all() {
        for (number, one) in application.organizations.iter().enumerate() {
            let is_before =
                |parent: &OrganizationId| application.organizations[..number].iter().any(|other| other.id == *parent);
            assert!(one.parent.as_ref().is_none_or(is_before), "{}", one.id);
        }
    }
}

#[test]
fn every_group_has_members() {
    for application in all() {
        for group in &application.groups {
            assert!(!members(application, group).is_empty(), "{}", group.id);
            let has = |id: &OrganizationId| application.organizations.iter().any(|one| one.id == *id);
            assert!(group.organization.as_ref().is_none_or(has), "{}", group.id);
        }
    }
}

/// Checks a tile, and gives its place.
fn check_tile(application: &'static Application, made: &Made, tile: &Value) -> [u64; 4] {
    let name = tile["displayName"].as_str().unwrap();
    let configuration = tile["configuration"].as_object().unwrap();
    let kind = configuration["type"].as_str().unwrap();
    assert!(
        tile.as_object()
            .unwrap()
            .keys()
            .all(|key| { ["displayName", "configuration", "x", "y", "width", "height"].contains(&key.as_str()) })
    );
    let place = ["x", "y", "width", "height"].map(|key| tile[key].as_u64().unwrap());
    assert!(place[0] <= 100 && place[1] <= 100 && (1..=10).contains(&place[2]) && (1..=10).contains(&place[3]));
    if kind == "markdown" {
        assert!(configuration["description"].is_string());
        return place;
    }
    let group = application.groups.iter().find(|group| group.id.as_str() == configuration["group"]).expect(name);
    let template = DeviceFilter::parse(&group.filter).unwrap().template().unwrap().to_owned();
    let (_, capabilities) = &made.templates[template.as_str()];
    let inside = members(application, group);
    match kind {
        "deviceCount" => return place,
        "command" => {
            assert!(capabilities.root.command(configuration["command"].as_str().unwrap()).is_some(), "{name}");
            assert!(inside.contains(&configuration["device"].as_str().unwrap()), "{name}");
            return place;
        }
        _ => {}
    }
    let devices = configuration["devices"].as_array().unwrap();
    assert!(!devices.is_empty() && devices.len() <= 10, "{name}");
    assert!(devices.iter().all(|id| inside.contains(&id.as_str().unwrap())), "{name}");
    for capability in configuration["capabilities"].as_array().unwrap() {
        check_capability(capabilities, kind, name, capability);
    }
    if !["lkv", "property", "mapProperty", "mapTelemetry"].contains(&kind) {
        let range = &configuration["queryRange"];
        assert_eq!(range["type"], "time", "{name}");
        let durations = ["PT30M", "PT1H", "PT12H", "P1D", "P1W", "P30D"];
        assert!(durations.contains(&range["duration"].as_str().unwrap()), "{name}");
    }
    place
}

fn check_capability(capabilities: &Capabilities, kind: &str, name: &str, capability: &Value) {
    let path = capability["capability"].as_str().unwrap();
    let function = capability["aggregateFunction"].as_str().unwrap();
    assert!(["sum", "count", "max", "min", "avg"].contains(&function), "{name}");
    let found = match kind {
        "property" | "mapProperty" => property(capabilities, path),
        _ => telemetry(capabilities, path),
    };
    let schema = found.unwrap_or_else(|| panic!("{name}: there is no `{path}`"));
    let semantic = capabilities.root.telemetry(path).and_then(|one| one.semantic_type.as_deref());
    match kind {
        "mapTelemetry" | "mapProperty" => assert_eq!(*schema, Schema::Geopoint, "{name}"),
        "stateChart" | "stateHistoryChart" | "pieChart" => assert_eq!(semantic, Some("State"), "{name}"),
        "eventChart" | "eventHistoryChart" => assert_eq!(semantic, Some("Event"), "{name}"),
        "lineChart" | "barChart" | "heatMapChart" | "kpi" => {
            let is_number = matches!(schema, Schema::Word("double" | "integer"));
            assert!(is_number || function == "count", "{name}: `{path}` is no number");
        }
        "lkv" | "property" => {}
        other => panic!("{name}: there is no tile `{other}`"),
    }
}

#[test]
fn every_tile_shows_what_is_there_and_covers_no_other() {
    for application in all() {
        let made = made(application);
        assert!(!application.dashboards.is_empty());
        for dashboard in &application.dashboards {
            assert!(dashboard.body.keys().all(|key| ["displayName", "tiles", "favorite"].contains(&key.as_str())));
            let tiles = dashboard.body["tiles"].as_array().unwrap();
            let places: Vec<[u64; 4]> = tiles.iter().map(|tile| check_tile(application, &made, tile)).collect();
            for (number, [x, y, width, height]) in places.iter().enumerate() {
                for [other_x, other_y, other_width, other_height] in &places[..number] {
                    let is_beside = x + width <= *other_x || other_x + other_width <= *x;
                    let is_below = y + height <= *other_y || other_y + other_height <= *y;
                    assert!(is_beside || is_below, "{}: {}", dashboard.id, tiles[number]["displayName"]);
                }
            }
        }
    }
}

#[test]
fn every_rule_looks_at_telemetry_that_is_there() {
    for application in all() {
        let made = made(application);
        assert!(!application.rules.is_empty());
        for rule in &application.rules {
            assert!(!rule.conditions.is_empty() && (1..=5).contains(&rule.actions.len()), "{}", rule.id);
            let (_, capabilities) = &made.templates[rule.template.as_str()];
            for condition in &rule.conditions {
                let schema = telemetry(capabilities, &condition.telemetry);
                assert!(schema.is_some(), "{}: {}", rule.id, condition.telemetry);
                assert_eq!(condition.aggregate.is_some(), rule.window.is_some(), "{}", rule.id);
                assert_eq!(condition.value.is_none(), condition.operator == Operator::Exists, "{}", rule.id);
            }
        }
    }
}

fn minutes(rule: &Rule) -> usize {
    let Some(window) = &rule.window else { return 1 };
    window.strip_prefix("PT").and_then(|rest| rest.strip_suffix('M')).unwrap().parse().unwrap()
}

fn aggregated(values: &[f64], by: Option<Aggregate>) -> Option<f64> {
    let sum = values.iter().sum::<f64>();
    let last = values.last().copied()?;
    Some(match by {
        Some(Aggregate::Avg) => sum / values.len() as f64,
        Some(Aggregate::Min) => values.iter().copied().fold(f64::MAX, f64::min),
        Some(Aggregate::Max) => values.iter().copied().fold(f64::MIN, f64::max),
        Some(Aggregate::Sum) => sum,
        Some(Aggregate::Count) => values.len() as f64,
        None => last,
    })
}

/// How many windows of a day a rule holds in, and how many there are, over all devices of its template.
fn trips(application: &'static Application, made: &Made, rule: &Rule, day: i64) -> (usize, usize) {
    let (mut held, mut all) = (0, 0);
    for device in application.devices.iter().filter(|device| device.template == rule.template) {
        let (template, _) = &made.templates[device.template.as_str()];
        let simulated = Simulated::of(template, seed_of(&device.id)).unwrap().placed(device.place);
        let at = |minute: i64| Timestamp::from_millis(NOW + (day * DAY + minute) * 60_000);
        let bodies: Vec<Map<String, Value>> =
            (0..DAY).step_by(EVERY).map(|minute| simulated.telemetry(at(minute)).remove(0).body).collect();
        for window in bodies.chunks(minutes(rule).div_ceil(EVERY)) {
            let holds = |condition: &Condition| {
                // Events are texts, which count as 1.
                let number = |value: &Value| value.as_f64().unwrap_or(1.0);
                let values: Vec<f64> =
                    window.iter().filter_map(|body| body.get(&condition.telemetry)).map(number).collect();
                condition.operator.holds(aggregated(&values, condition.aggregate), condition.value)
            };
            let trips = match rule.join {
                Join::All => rule.conditions.iter().all(holds),
                Join::Any => rule.conditions.iter().any(holds),
            };
            held += usize::from(trips);
            all += 1;
        }
    }
    (held, all)
}

#[test]
fn every_rule_holds_now_and_then_within_a_day() {
    let mut wrong = vec![];
    for application in all() {
        let made = made(application);
        for rule in &application.rules {
            for day in 0..2 {
                let (held, all) = trips(application, &made, rule, day);
                if held == 0 || held * 4 > all {
                    wrong.push(format!("{} {}: {held} of {all} on day {day}", application.name, rule.id));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn operators_compare() {
    let holds = |operator: Operator, value| operator.holds(Some(value), Some(2.0));
    for (operator, below, same, above) in [
        (Operator::Exists, true, true, true),
        (Operator::Equal, false, true, false),
        (Operator::NotEqual, true, false, true),
        (Operator::GreaterThan, false, false, true),
        (Operator::GreaterThanOrEqual, false, true, true),
        (Operator::LessThan, true, false, false),
        (Operator::LessThanOrEqual, true, true, false),
    ] {
        assert_eq!([1.0, 2.0, 3.0].map(|value| holds(operator, value)), [below, same, above], "{operator:?}");
        assert!(!operator.holds(None, Some(2.0)));
    }
    assert!(!Operator::Equal.holds(Some(1.0), None));
}
