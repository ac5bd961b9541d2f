//! A value of a schema at a moment.

use gantry_identity::Timestamp;
use serde_json::{Value, json};

use super::draw::Draw;
use super::habits::{Facts, Habit};
use super::numbers::{HOUR, MINUTE, number, whole};
use super::shapes::{Place, Track};
use super::texts::text;
use crate::templates::{Field, Schema};

/// Numbers, texts and other leaves in one document; what comes after them is left out.
pub const LEAVES_MAX: usize = 10_000;
/// Items of a list at the top, and one fewer at each level below, one at least.
const ITEMS: usize = 3;
/// How long a choice lasts.
const CHOICE: (i64, i64) = (20 * MINUTE, 2 * HOUR);
/// How likely something is true.
const TRUE_CHANCE: f64 = 0.3;
/// The last moment that has a date, and the first.
const MOMENTS: (i64, i64) = (-62_135_596_800_000, 253_402_300_799_000);
/// When things were made, installed or serviced: 2022-01-01 and some days.
const MADE: i64 = 1_640_995_200_000;
const MADE_DAYS: i64 = 900;

/// Makes values of one moment on one track, [`LEAVES_MAX`] at most.
pub(super) struct Maker<'a> {
    at: i64,
    track: &'a Track,
    /// Whether values are of this moment, or lasting ones of a thing.
    is_lasting: bool,
    left: usize,
}

impl<'a> Maker<'a> {
    /// Values that are measured: they are of the moment.
    pub(super) fn measured(at: i64, track: &'a Track) -> Self {
        Self { at: at.clamp(MOMENTS.0, MOMENTS.1), track, is_lasting: false, left: LEAVES_MAX }
    }

    /// Values that a thing has: it was made some day and is in its place.
    pub(super) fn lasting(at: i64, track: &'a Track) -> Self {
        Self { is_lasting: true, ..Self::measured(at, track) }
    }

    /// A value of a schema; none where the schema is not known or there are too many.
    pub(super) fn value(&mut self, schema: &Schema, facts: &Facts<'_>, draw: Draw) -> Option<Value> {
        self.nested(schema, facts, draw, ITEMS)
    }

    fn nested(&mut self, schema: &Schema, facts: &Facts<'_>, draw: Draw, items: usize) -> Option<Value> {
        if self.left == 0 {
            return None;
        }
        let below = items.saturating_sub(1).max(1);
        match schema {
            Schema::Object(fields) => {
                let members = fields.iter().filter_map(|field| self.member(field, draw, below));
                Some(Value::Object(members.collect()))
            }
            Schema::Map(of) => {
                let keys = (1..=items).map(|number| format!("key{number}"));
                let mut member = |key: String| Some((key.clone(), self.nested(of, facts, draw.of(&key), below)?));
                Some(Value::Object(keys.filter_map(&mut member).collect()))
            }
            Schema::Array(of) => {
                let mut item = |number: usize| self.nested(of, facts, draw.at(number as i64), below);
                Some(Value::Array((0..items).filter_map(&mut item).collect()))
            }
            leaf => {
                self.left -= 1;
                self.leaf(leaf, facts, draw)
            }
        }
    }

    fn member(&mut self, field: &Field, draw: Draw, items: usize) -> Option<(String, Value)> {
        let facts = Facts { name: &field.name, ..Facts::default() };
        let value = self.nested(&field.schema, &facts, draw.of(&field.name), items)?;
        Some((field.name.clone(), value))
    }

    fn leaf(&self, schema: &Schema, facts: &Facts<'_>, draw: Draw) -> Option<Value> {
        match schema {
            Schema::Word(word) => self.word(word, facts, draw),
            Schema::Enum(values) => {
                let known: Vec<&Value> = values.iter().map(|one| &one.value).filter(|one| !one.is_null()).collect();
                self.choice(draw).favour(&known).map(|value| (*value).clone())
            }
            Schema::Geopoint => {
                let here = self.here();
                let alt = 40.0 + 20.0 * draw.of("alt").smooth(self.at, HOUR);
                Some(json!({ "lat": here.lat, "lon": here.lon, "alt": (alt * 10.0).round() / 10.0 }))
            }
            Schema::Vector => Some(self.vector(facts, draw)),
            Schema::Object(_) | Schema::Map(_) | Schema::Array(_) | Schema::Deeper => None,
        }
    }

    fn word(&self, word: &str, facts: &Facts<'_>, draw: Draw) -> Option<Value> {
        Some(match word {
            "boolean" => json!(self.choice(draw).unit() < TRUE_CHANCE),
            "double" => json!(self.number(facts, draw)),
            "float" => json!(single(self.number(facts, draw))),
            "integer" => json!(self.whole(facts, draw, i64::from(i32::MIN), i64::from(i32::MAX))),
            "long" => json!(self.whole(facts, draw, i64::MIN, i64::MAX)),
            "string" => json!(text(facts, draw, self.choice(draw))),
            "dateTime" => json!(self.moment(draw)),
            "date" => json!(self.moment(draw).split('T').next()?),
            "time" => json!(self.moment(draw).split('T').nth(1)?),
            "duration" => {
                let choice = self.choice(draw);
                json!(format!("PT{}H{}M", choice.of("hours").whole(0, 11), choice.of("minutes").whole(1, 59)))
            }
            shape => self.track.shape(shape, self.here())?,
        })
    }

    fn number(&self, facts: &Facts<'_>, draw: Draw) -> f64 {
        number(&Habit::of(facts), draw, self.at, self.track)
    }

    fn whole(&self, facts: &Facts<'_>, draw: Draw, low: i64, high: i64) -> i64 {
        let habit = Habit::of(facts);
        whole(number(&habit, draw, self.at, self.track), &habit, low, high)
    }

    fn here(&self) -> Place {
        if self.is_lasting { self.track.place() } else { self.track.at(self.at) }
    }

    /// What is drawn for a while.
    fn choice(&self, draw: Draw) -> Draw {
        draw.at(draw.stretch(self.at, CHOICE.0, CHOICE.1).number)
    }

    /// RFC 3339, UTC.
    fn moment(&self, draw: Draw) -> String {
        let made = MADE + draw.of("made").whole(0, MADE_DAYS * 24 * 60) * MINUTE;
        Timestamp::from_millis(if self.is_lasting { made } else { self.at }).to_string()
    }

    fn vector(&self, facts: &Facts<'_>, draw: Draw) -> Value {
        let pull = match (facts.semantic_type, facts.unit) {
            (Some("AccelerationVector"), Some("gForce")) => 1.0,
            (Some("AccelerationVector"), _) => 9.81,
            _ => 0.0,
        };
        let axis = |name: &str, rest: f64| {
            let of = draw.of(name);
            let shake = of.of("shake").at(self.at).between(-0.1, 0.1);
            json!(((rest + 0.5 * of.smooth(self.at, HOUR) + shake) * 1_000.0).round() / 1_000.0)
        };
        json!({ "x": axis("x", 0.0), "y": axis("y", 0.0), "z": axis("z", pull) })
    }
}

/// The nearest number of single precision, as a double that prints short.
fn single(value: f64) -> f64 {
    let near = value as f32;
    if near.is_finite() { value } else { f64::from(f32::MAX.copysign(near)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::templates::EnumValue;

    const NOW: i64 = 1_780_315_200_000;

    fn made(schema: &Schema, facts: &Facts<'_>, seed: u64) -> Option<Value> {
        let track = Track::new(Place { lat: 0.0, lon: 0.0 }, Draw::new(seed));
        Maker::measured(NOW, &track).value(schema, facts, Draw::new(seed))
    }

    fn facts(name: &'static str) -> Facts<'static> {
        Facts { name, ..Facts::default() }
    }

    #[test]
    fn what_has_no_known_schema_is_left_out() {
        assert_eq!(made(&Schema::Word("any"), &facts("x"), 1), None);
        assert_eq!(made(&Schema::Deeper, &facts("x"), 1), None);
        assert_eq!(made(&Schema::Enum(vec![]), &facts("x"), 1), None);
        let field = |name: &str, schema| Field { name: name.to_owned(), display_name: String::new(), schema };
        let object = Schema::Object(vec![field("a", Schema::Word("any")), field("b", Schema::Word("boolean"))]);
        assert_eq!(made(&object, &facts("x"), 1).unwrap().as_object().unwrap().len(), 1);
        assert_eq!(made(&Schema::Array(Box::new(Schema::Word("any"))), &facts("x"), 1), Some(json!([])));
    }

    #[test]
    fn a_document_has_so_many_leaves_and_no_more() {
        let nested = (0..11).fold(Schema::Word("integer"), |of, _| Schema::Array(Box::new(of)));
        let field =
            |number: usize| Field { name: format!("f{number}"), display_name: String::new(), schema: nested.clone() };
        let wide = Schema::Object((0..LEAVES_MAX + 1).map(field).collect());
        let leaves = |value: &Value| value.to_string().matches(',').count() + 1;
        let value = made(&wide, &facts("x"), 1).unwrap();
        assert_eq!(leaves(&value), LEAVES_MAX);
        let one = Schema::Array(Box::new(nested));
        assert!(leaves(&made(&one, &facts("x"), 1).unwrap()) < 20, "lists get shorter the deeper they are");
    }

    #[test]
    fn choices_last_a_while_and_the_first_is_the_likeliest() {
        let value = |name: &str| EnumValue { name: name.into(), display_name: name.into(), value: json!(name) };
        let schema = Schema::Enum(vec![value("running"), value("idle"), value("broken")]);
        let track = Track::new(Place { lat: 0.0, lon: 0.0 }, Draw::new(1));
        let at = |minute: i64| Maker::measured(NOW + minute * MINUTE, &track).value(&schema, &facts("s"), Draw::new(6));
        let all: Vec<Value> = (0..60 * 24 * 20).map(|minute| at(minute).unwrap()).collect();
        let changes = all.windows(2).filter(|pair| pair[0] != pair[1]).count();
        assert!((50..1_000).contains(&changes), "{changes}");
        let count = |name: &str| all.iter().filter(|one| *one == name).count();
        assert!(count("running") > count("idle") && count("idle") > count("broken") && count("broken") > 0);
    }

    #[test]
    fn moments_are_now_or_when_a_thing_was_made() {
        let track = Track::new(Place { lat: 0.0, lon: 0.0 }, Draw::new(1));
        let schema = Schema::Word("dateTime");
        let of = |maker: &mut Maker<'_>| maker.value(&schema, &facts("at"), Draw::new(1)).unwrap();
        assert_eq!(of(&mut Maker::measured(NOW, &track)), json!("2026-06-01T12:00:00.0000000Z"));
        assert_eq!(of(&mut Maker::lasting(NOW, &track)), of(&mut Maker::lasting(NOW + HOUR, &track)));
        assert_eq!(of(&mut Maker::measured(i64::MAX, &track)), json!("9999-12-31T23:59:59.0000000Z"));
    }

    #[test]
    fn a_float_is_one() {
        assert_eq!(single(0.1), 0.1);
        assert!((single(1e300) as f32).is_finite() && (single(-1e300) as f32).is_finite());
    }
}
