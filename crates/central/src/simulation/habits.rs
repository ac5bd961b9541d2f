//! How a number behaves: its usual range, how it moves through a day, its decimals.
//!
//! What the model says comes first: bounds, unit, semantic type. Where it says nothing, the words of the name do. Ranges
//! are what somebody would see at a machine, in a room or on a roof in ordinary times; episodes go beyond them.

use super::additions::Bounds;

/// How a number behaves.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Habit {
    /// The lower end of the usual range; of a counter, of what an hour adds.
    pub(super) low: f64,
    /// The upper end.
    pub(super) high: f64,
    /// What it never falls below.
    pub(super) min: f64,
    /// What it never exceeds.
    pub(super) max: f64,
    /// Digits after the point.
    pub(super) decimals: u8,
    /// How it moves.
    pub(super) course: Course,
}

/// How a number moves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Course {
    /// Up and down with the day, highest at this hour, with drift, noise and episodes.
    Daily(u8),
    /// As the sun: nothing at night.
    Daylight,
    /// It only grows, and begins anew when it cannot.
    Counter,
    /// It falls for days and is full again.
    Battery,
    /// It stays.
    Still,
    /// A degree of latitude on the device's track.
    Latitude,
    /// A degree of longitude.
    Longitude,
}

impl Course {
    fn is_place(self) -> bool {
        matches!(self, Self::Latitude | Self::Longitude)
    }
}

/// What is known of a value beside its schema.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Facts<'a> {
    pub(super) name: &'a str,
    pub(super) unit: Option<&'a str>,
    pub(super) semantic_type: Option<&'a str>,
    pub(super) bounds: Bounds,
}

/// The hour at which most things are warmest and busiest.
const AFTERNOON: u8 = 15;
/// The hour at which air is dampest.
const DAWN: u8 = 5;
/// The most digits after the point; a double has no more.
const DECIMALS_MAX: u8 = 12;
/// Those of degrees on the earth: a tenth of a metre.
const PLACE_DECIMALS: u8 = 6;
/// Bounds so many times wider than what is usual say nothing of it.
const WIDE: f64 = 4.0;

/// Where a counter begins anew; it fits every number there is in a model.
const COUNTER_MAX: f64 = 1e9;

/// Units with the range of what is measured in them.
const UNITS: [(&str, f64, f64); 87] = [
    ("degreeCelsius", 18.0, 27.0),
    ("degreeFahrenheit", 64.0, 81.0),
    ("kelvin", 291.0, 300.0),
    ("percent", 30.0, 70.0),
    ("unity", 0.3, 0.7),
    ("partsPerMillion", 400.0, 1_000.0),
    ("partsPerBillion", 5.0, 60.0),
    ("gramPerCubicMetre", 5.0, 15.0),
    ("milligramPerCubicMetre", 0.01, 0.05),
    ("microgramPerCubicMetre", 5.0, 25.0),
    ("kilogramPerCubicMetre", 950.0, 1_050.0),
    ("pascal", 99_000.0, 103_000.0),
    ("hectopascal", 990.0, 1_030.0),
    ("millibar", 990.0, 1_030.0),
    ("kilopascal", 99.0, 103.0),
    ("bar", 2.0, 6.0),
    ("poundPerSquareInch", 30.0, 80.0),
    ("millimetresOfMercury", 740.0, 780.0),
    ("inchesOfMercury", 29.0, 30.5),
    ("inchesOfWater", 2.0, 8.0),
    ("metrePerSecond", 0.5, 4.0),
    ("centimetrePerSecond", 5.0, 60.0),
    ("kilometrePerHour", 20.0, 80.0),
    ("milePerHour", 15.0, 50.0),
    ("knot", 5.0, 20.0),
    ("volt", 225.0, 237.0),
    ("millivolt", 3_300.0, 4_100.0),
    ("kilovolt", 10.0, 20.0),
    ("microvolt", 10.0, 500.0),
    ("ampere", 1.0, 12.0),
    ("milliampere", 20.0, 400.0),
    ("microampere", 10.0, 200.0),
    ("watt", 60.0, 800.0),
    ("kilowatt", 0.5, 8.0),
    ("megawatt", 1.0, 5.0),
    ("milliwatt", 20.0, 300.0),
    ("horsepower", 2.0, 20.0),
    ("kilowattHour", 0.2, 1.6),
    ("megawattHour", 0.2, 1.6),
    ("wattHour", 200.0, 1_600.0),
    ("joule", 100.0, 900.0),
    ("kilojoule", 100.0, 900.0),
    ("megajoule", 1.0, 6.0),
    ("hertz", 49.9, 50.1),
    ("kilohertz", 1.0, 20.0),
    ("megahertz", 433.0, 915.0),
    ("gigahertz", 2.4, 2.5),
    ("metre", 1.0, 10.0),
    ("centimetre", 10.0, 100.0),
    ("millimetre", 5.0, 200.0),
    ("micrometre", 10.0, 500.0),
    ("nanometre", 400.0, 700.0),
    ("kilometre", 1.0, 50.0),
    ("foot", 3.0, 30.0),
    ("inch", 5.0, 40.0),
    ("mile", 1.0, 30.0),
    ("second", 10.0, 60.0),
    ("millisecond", 20.0, 300.0),
    ("microsecond", 20.0, 900.0),
    ("minute", 5.0, 60.0),
    ("hour", 1.0, 24.0),
    ("day", 1.0, 30.0),
    ("degreeOfArc", 5.0, 60.0),
    ("radian", 0.1, 1.5),
    ("degreePerSecond", -5.0, 5.0),
    ("radianPerSecond", -0.1, 0.1),
    ("revolutionPerMinute", 900.0, 3_000.0),
    ("revolutionPerSecond", 15.0, 50.0),
    ("kilogram", 10.0, 100.0),
    ("gram", 50.0, 900.0),
    ("tonne", 1.0, 20.0),
    ("litre", 50.0, 500.0),
    ("millilitre", 100.0, 900.0),
    ("cubicMetre", 1.0, 30.0),
    ("litrePerSecond", 2.0, 15.0),
    ("litrePerHour", 200.0, 900.0),
    ("lux", 100.0, 800.0),
    ("lumen", 400.0, 1_500.0),
    ("wattPerSquareMetre", 100.0, 900.0),
    ("decibel", 35.0, 65.0),
    ("gForce", -1.0, 1.0),
    ("metrePerSecondSquared", -2.0, 2.0),
    ("tesla", 0.000_02, 0.000_06),
    ("newton", 10.0, 200.0),
    ("newtonMetre", 5.0, 80.0),
    ("ohm", 90.0, 120.0),
    ("squareMetre", 20.0, 200.0),
];

/// Semantic types, for values without a unit.
const QUANTITIES: [(&str, f64, f64); 13] = [
    ("Temperature", 18.0, 27.0),
    ("RelativeHumidity", 30.0, 70.0),
    ("Humidity", 30.0, 70.0),
    ("Pressure", 990.0, 1_030.0),
    ("Voltage", 225.0, 237.0),
    ("Current", 1.0, 12.0),
    ("Power", 60.0, 800.0),
    ("Energy", 0.2, 1.6),
    ("Illuminance", 100.0, 800.0),
    ("SoundPressure", 35.0, 65.0),
    ("Velocity", 0.5, 4.0),
    ("Acceleration", -2.0, 2.0),
    ("Angle", 5.0, 60.0),
];

/// Beginnings of words in names, the telling ones first.
const WORDS: [(&str, f64, f64); 33] = [
    ("batt", 20.0, 100.0),
    ("spo", 94.0, 99.0),
    ("oxygen", 94.0, 99.0),
    ("heart", 60.0, 95.0),
    ("pulse", 60.0, 95.0),
    ("respiration", 12.0, 20.0),
    ("systolic", 105.0, 135.0),
    ("diastolic", 65.0, 88.0),
    ("temp", 18.0, 27.0),
    ("humid", 30.0, 70.0),
    ("moist", 20.0, 60.0),
    ("press", 990.0, 1_030.0),
    ("co", 400.0, 1_000.0),
    ("ph", 6.8, 7.8),
    ("rssi", -90.0, -50.0),
    ("signal", -90.0, -50.0),
    ("rpm", 900.0, 3_000.0),
    ("speed", 5.0, 60.0),
    ("volt", 225.0, 237.0),
    ("curr", 1.0, 12.0),
    ("power", 60.0, 800.0),
    ("energy", 0.2, 1.6),
    ("light", 100.0, 800.0),
    ("lumin", 100.0, 800.0),
    ("sound", 35.0, 65.0),
    ("noise", 35.0, 65.0),
    ("altitude", 20.0, 120.0),
    ("level", 20.0, 80.0),
    ("flow", 2.0, 15.0),
    ("count", 0.0, 40.0),
    ("vibration", 0.5, 4.0),
    ("accel", -2.0, 2.0),
    ("gyro", -5.0, 5.0),
];

/// The range of what nothing is known of.
const ANY: (f64, f64) = (20.0, 80.0);

impl Habit {
    pub(super) fn of(facts: &Facts<'_>) -> Self {
        let words = words(facts.name);
        let course = course(facts, &words);
        let usual = usual(facts, &words);
        let (min, max) = (facts.bounds.min.unwrap_or(f64::MIN), facts.bounds.max.unwrap_or(f64::MAX));
        let (min, max) = if min <= max { (min, max) } else { (f64::MIN, f64::MAX) };
        let (low, high) = within(usual, min, max, course);
        let natural = natural(facts, low, high, course);
        let of_course = || if course.is_place() { PLACE_DECIMALS } else { decimals_of(high - low) };
        let decimals = facts.bounds.decimals.unwrap_or_else(of_course).min(DECIMALS_MAX);
        Self { low, high, min: min.max(natural.0), max: max.min(natural.1), decimals, course }
    }
}

fn usual(facts: &Facts<'_>, words: &[String]) -> (f64, f64) {
    let known = |table: &[(&str, f64, f64)], word: Option<&str>| {
        table.iter().find(|(of, _, _)| Some(*of) == word).map(|(_, low, high)| (*low, *high))
    };
    let by_unit = || known(&UNITS, facts.unit);
    let by_name = || {
        let of = |begin: &str| words.iter().any(|word| begins(word, begin));
        WORDS.iter().find(|(begin, _, _)| of(begin)).map(|(_, low, high)| (*low, *high))
    };
    // A part of a whole may be one of anything: the name knows more.
    let is_vague = matches!(facts.unit, Some("percent" | "unity"));
    let is_share = |(low, high): &(f64, f64)| *low >= 0.0 && *high <= 100.0 && facts.unit == Some("percent");
    let by_vague = || if is_vague { by_name().filter(is_share) } else { None };
    by_vague().or_else(by_unit).or_else(|| known(&QUANTITIES, facts.semantic_type)).or_else(by_name).unwrap_or(ANY)
}

/// The usual range within bounds. Bounds not much wider than what is usual were chosen for the place: the range is then
/// in their middle, with room for episodes above it. That of a counter is what an hour adds.
fn within((low, high): (f64, f64), min: f64, max: f64, course: Course) -> (f64, f64) {
    let fits = low >= min && high <= max;
    let is_unbounded = min == f64::MIN && max == f64::MAX;
    if course == Course::Counter || course.is_place() || is_unbounded || (fits && max - min > WIDE * (high - low)) {
        return (low, high);
    }
    match (course, min == f64::MIN, max == f64::MAX) {
        (_, false, true) if low < min => (min, min + (high - low)),
        (_, true, false) if high > max => (max - (high - low), max),
        (_, _, true) | (_, true, _) => (low, high),
        (Course::Daily(_), ..) => (min + 0.25 * (max - min), min + 0.6 * (max - min)),
        _ => (min, max),
    }
}

/// What values of a kind do not exceed, whoever measures them.
fn natural(facts: &Facts<'_>, low: f64, high: f64, course: Course) -> (f64, f64) {
    let width = high - low;
    let min = if low >= 0.0 { 0.0_f64.max(low - width) } else { low - width };
    match (course, facts.unit) {
        (Course::Counter, _) => (0.0, COUNTER_MAX),
        (Course::Latitude, _) => (-90.0, 90.0),
        (Course::Longitude, _) => (-180.0, 180.0),
        (_, Some("percent")) => (min.min(low), 100.0_f64.max(high)),
        (_, Some("unity")) if high <= 1.0 => (min, 1.0),
        _ => (min, high + width),
    }
}

fn course(facts: &Facts<'_>, words: &[String]) -> Course {
    let is = |of: &[&str]| words.iter().any(|word| of.iter().any(|begin| begins(word, begin)));
    match facts.semantic_type {
        Some("Latitude") => Course::Latitude,
        Some("Longitude") => Course::Longitude,
        Some("Energy" | "ReactiveEnergy" | "ApparentEnergy") => Course::Counter,
        Some("Illuminance" | "Irradiance") => Course::Daylight,
        Some("RelativeHumidity" | "Humidity") => Course::Daily(DAWN),
        Some("DataSize") => Course::Still,
        _ if is(&["lat", "latitude"]) => Course::Latitude,
        _ if is(&["lon", "lng", "longitude"]) => Course::Longitude,
        _ if is(&["batt"]) && facts.unit.is_none_or(|unit| unit == "percent") => Course::Battery,
        _ if is(&["total", "uptime", "odometer", "cumul"]) => Course::Counter,
        _ if is(&["solar", "irradi", "daylight"]) => Course::Daylight,
        _ => Course::Daily(AFTERNOON),
    }
}

/// Three or four digits that tell something.
fn decimals_of(width: f64) -> u8 {
    if width > 0.0 { (3.0 - width.log10().ceil()).clamp(0.0, f64::from(DECIMALS_MAX)) as u8 } else { 0 }
}

/// Whether a word begins so; one of three letters or fewer is the whole word.
pub(super) fn begins(word: &str, begin: &str) -> bool {
    word == begin || (begin.len() > 3 && word.starts_with(begin))
}

/// The words of a name, in lower case: `outsideTemp_C` is `outside`, `temp`, `c`.
pub(super) fn words(name: &str) -> Vec<String> {
    let mut words: Vec<String> = vec![];
    let mut was_lower = false;
    let mut begins = true;
    for c in name.chars() {
        begins = begins || (c.is_uppercase() && was_lower);
        if !c.is_alphabetic() {
            begins = true;
            continue;
        }
        if std::mem::take(&mut begins) {
            words.push(String::new());
        }
        was_lower = c.is_lowercase();
        if let Some(word) = words.last_mut() {
            word.extend(c.to_lowercase());
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(name: &'static str) -> Facts<'static> {
        Facts { name, ..Facts::default() }
    }

    fn bounds(min: f64, max: f64) -> Bounds {
        Bounds { min: Some(min), max: Some(max), ..Bounds::default() }
    }

    #[track_caller]
    fn check(facts: Facts<'_>, low: f64, high: f64) {
        let habit = Habit::of(&facts);
        assert_eq!((habit.low, habit.high), (low, high), "{facts:?}");
        assert!(habit.min <= habit.low && habit.low <= habit.high && habit.high <= habit.max, "{habit:?}");
    }

    #[test]
    fn units_come_before_semantic_types_and_names() {
        check(Facts { unit: Some("kelvin"), semantic_type: Some("Temperature"), ..facts("humidity") }, 291.0, 300.0);
        check(Facts { semantic_type: Some("Temperature"), ..facts("humidity") }, 18.0, 27.0);
        check(facts("outsideTemp"), 18.0, 27.0);
        check(facts("attempts"), 20.0, 80.0);
        check(facts("co2"), 400.0, 1_000.0);
        check(facts("peopleCount"), 0.0, 40.0);
        check(facts(""), 20.0, 80.0);
        check(Facts { unit: Some("percent"), ..facts("battery") }, 20.0, 100.0);
        check(Facts { unit: Some("percent"), ..facts("signal") }, 30.0, 70.0);
    }

    #[test]
    fn narrow_bounds_are_a_place_and_wide_ones_a_sensor() {
        check(Facts { bounds: bounds(0.0, 8.0), ..facts("temperature") }, 2.0, 4.8);
        check(Facts { bounds: bounds(-40.0, 125.0), ..facts("temperature") }, 18.0, 27.0);
        check(Facts { bounds: Bounds { min: Some(30.0), ..Bounds::default() }, ..facts("temp") }, 30.0, 39.0);
        check(Facts { bounds: Bounds { max: Some(10.0), ..Bounds::default() }, ..facts("temp") }, 1.0, 10.0);
        check(Facts { bounds: bounds(9.0, -9.0), ..facts("temp") }, 18.0, 27.0);
        check(Facts { bounds: bounds(5.0, 5.0), ..facts("temp") }, 5.0, 5.0);
    }

    #[test]
    fn what_cannot_be_negative_is_not() {
        assert_eq!(Habit::of(&facts("count")).min, 0.0);
        assert_eq!(Habit::of(&Facts { unit: Some("percent"), ..facts("x") }).max, 100.0);
        assert!(Habit::of(&facts("rssi")).min < -90.0);
    }

    #[test]
    fn names_are_made_of_words() {
        assert_eq!(words("outsideTemp_C"), ["outside", "temp", "c"]);
        assert_eq!(words("HTTPPort2go"), ["httpport", "go"]);
        assert!(words("_1").is_empty());
    }

    #[test]
    fn decimals_are_as_many_as_tell_something() {
        assert_eq!(decimals_of(9.0), 2);
        assert_eq!(decimals_of(1_000.0), 0);
        assert_eq!(decimals_of(0.000_04), 7);
        assert_eq!(decimals_of(0.0), 0);
        let bounds = Bounds { decimals: Some(200), ..Bounds::default() };
        assert_eq!(Habit::of(&Facts { bounds, ..facts("x") }).decimals, DECIMALS_MAX);
    }

    #[test]
    fn some_things_only_grow_or_follow_the_sun() {
        let of = |name, semantic_type| Habit::of(&Facts { semantic_type, ..facts(name) }).course;
        assert_eq!(of("e", Some("Energy")), Course::Counter);
        assert_eq!(of("totalFlow", None), Course::Counter);
        assert_eq!(of("solarPower", None), Course::Daylight);
        assert_eq!(of("lng", None), Course::Longitude);
        assert_eq!(of("batteryLevel", None), Course::Battery);
        assert_eq!(of("x", None), Course::Daily(AFTERNOON));
    }
}
