//! Conversions between units (`convert_temperature` and its relatives) and sizes in words.
//!
//! Units are spelled as the reference does, in any case. A unit that is none gives null.

use gantry_kql::value::Value;

use super::Implementation::Strict;
use super::{Call, Family, text};
use crate::column::Cell;

pub(super) const FUNCTIONS: Family = &[
    ("convert_angle", Strict(|cells, _| convert(cells, ANGLES))),
    ("convert_energy", Strict(|cells, _| convert(cells, ENERGIES))),
    ("convert_force", Strict(|cells, _| convert(cells, FORCES))),
    ("convert_length", Strict(|cells, _| convert(cells, LENGTHS))),
    ("convert_mass", Strict(|cells, _| convert(cells, MASSES))),
    ("convert_speed", Strict(|cells, _| convert(cells, SPEEDS))),
    ("convert_volume", Strict(|cells, _| convert(cells, VOLUMES))),
    ("convert_temperature", Strict(temperature)),
    ("format_bytes", Strict(format_bytes)),
];

type Units = &'static [(&'static str, f64)];

const ANGLES: Units = &[
    ("degree", 1.0),
    ("radian", 180.0 / std::f64::consts::PI),
    ("arcminute", 1.0 / 60.0),
    ("arcsecond", 1.0 / 3_600.0),
    ("centiradian", 1.8 / std::f64::consts::PI),
    ("deciradian", 18.0 / std::f64::consts::PI),
    ("gradian", 0.9),
    ("microdegree", 1e-6),
    ("microradian", 180e-6 / std::f64::consts::PI),
    ("millidegree", 1e-3),
    ("milliradian", 180e-3 / std::f64::consts::PI),
    ("nanodegree", 1e-9),
    ("nanoradian", 180e-9 / std::f64::consts::PI),
    ("nato mil", 360.0 / 6_400.0),
    ("natomil", 360.0 / 6_400.0),
    ("revolution", 360.0),
    ("tilt", 90.0),
];
const ENERGIES: Units = &[
    ("joule", 1.0),
    ("kilojoule", 1e3),
    ("megajoule", 1e6),
    ("gigajoule", 1e9),
    ("terajoule", 1e12),
    ("petajoule", 1e15),
    ("millijoule", 1e-3),
    ("calorie", 4.184),
    ("kilocalorie", 4_184.0),
    ("megacalorie", 4_184_000.0),
    ("britishthermalunit", 1_055.055_852_62),
    ("kilobritishthermalunit", 1_055_055.852_62),
    ("megabritishthermalunit", 1_055_055_852.62),
    ("decathermimperial", 1_055_055_852.62),
    ("thermimperial", 105_505_585.262),
    ("thermus", 105_480_400.0),
    ("electronvolt", 1.602_176_634e-19),
    ("kiloelectronvolt", 1.602_176_634e-16),
    ("megaelectronvolt", 1.602_176_634e-13),
    ("gigaelectronvolt", 1.602_176_634e-10),
    ("teraelectronvolt", 1.602_176_634e-7),
    ("erg", 1e-7),
    ("footpound", 1.355_817_948_331_4),
    ("foottpoundforce", 1.355_817_948_331_4),
    ("hartree", 4.359_744_722_207_1e-18),
    ("horsepowerhour", 2_684_519.537_696_173),
    ("watthour", 3_600.0),
    ("kilowatthour", 3.6e6),
    ("megawatthour", 3.6e9),
    ("gigawatthour", 3.6e12),
    ("terawatthour", 3.6e15),
    ("wattday", 86_400.0),
    ("kilowattday", 8.64e7),
    ("megawattday", 8.64e10),
    ("gigawattday", 8.64e13),
    ("terawattday", 8.64e16),
];
const FORCES: Units = &[
    ("newton", 1.0),
    ("decanewton", 10.0),
    ("kilonewton", 1e3),
    ("meganewton", 1e6),
    ("millinewton", 1e-3),
    ("micronewton", 1e-6),
    ("dyn", 1e-5),
    ("kilogramforce", 9.806_65),
    ("kilopond", 9.806_65),
    ("kilopoundforce", 4_448.221_615_260_5),
    ("poundforce", 4.448_221_615_260_5),
    ("ounceforce", 0.278_013_850_953_781_2),
    ("poundal", 0.138_254_954_376),
    ("shorttonforce", 8_896.443_230_521),
    ("tonneforce", 9_806.65),
];
const LENGTHS: Units = &[
    ("meter", 1.0),
    ("decameter", 10.0),
    ("hectometer", 100.0),
    ("kilometer", 1e3),
    ("megameter", 1e6),
    ("gigameter", 1e9),
    ("decimeter", 0.1),
    ("centimeter", 1e-2),
    ("millimeter", 1e-3),
    ("micrometer", 1e-6),
    ("nanometer", 1e-9),
    ("picometer", 1e-12),
    ("femtometer", 1e-15),
    ("angstrom", 1e-10),
    ("inch", 0.0254),
    ("microinch", 2.54e-8),
    ("mil", 2.54e-5),
    ("foot", 0.3048),
    ("ussurveyfoot", 1_200.0 / 3_937.0),
    ("kilofoot", 304.8),
    ("yard", 0.9144),
    ("kiloyard", 914.4),
    ("mile", 1_609.344),
    ("nauticalmile", 1_852.0),
    ("fathom", 1.8288),
    ("chain", 20.1168),
    ("hand", 0.1016),
    ("shackle", 27.432),
    ("rod", 5.0292),
    ("twip", 0.0254 / 1_440.0),
    ("pica", 0.0254 / 6.0),
    ("printerpica", 0.0254 / 6.022_5),
    ("printerpoint", 0.0254 / 72.27),
    ("dtppica", 0.0254 / 6.0),
    ("dtppoint", 0.0254 / 72.0),
    ("astronomicalunit", 1.495_978_707e11),
    ("lightyear", 9.460_730_472_580_8e15),
    ("kilolightyear", 9.460_730_472_580_8e18),
    ("megalightyear", 9.460_730_472_580_8e21),
    ("parsec", 3.085_677_581_491_367e16),
    ("kiloparsec", 3.085_677_581_491_367e19),
    ("megaparsec", 3.085_677_581_491_367e22),
    ("solarradius", 6.955_1e8),
];
const MASSES: Units = &[
    ("kilogram", 1.0),
    ("gram", 1e-3),
    ("decagram", 1e-2),
    ("hectogram", 0.1),
    ("decigram", 1e-4),
    ("centigram", 1e-5),
    ("milligram", 1e-6),
    ("microgram", 1e-9),
    ("nanogram", 1e-12),
    ("tonne", 1e3),
    ("kilotonne", 1e6),
    ("megatonne", 1e9),
    ("pound", 0.453_592_37),
    ("kilopound", 453.592_37),
    ("megapound", 453_592.37),
    ("ounce", 0.453_592_37 / 16.0),
    ("grain", 6.479_891e-5),
    ("stone", 6.350_293_18),
    ("longton", 1_016.046_908_8),
    ("longhundredweight", 50.802_345_44),
    ("shortton", 907.184_74),
    ("shorthundredweight", 45.359_237),
    ("slug", 14.593_902_937_206_364),
    ("earthmass", 5.9722e24),
    ("solarmass", 1.98847e30),
];
const SPEEDS: Units = &[
    ("meterpersecond", 1.0),
    ("meterperminute", 1.0 / 60.0),
    ("meterperhour", 1.0 / 3_600.0),
    ("kilometerpersecond", 1e3),
    ("kilometerperminute", 1e3 / 60.0),
    ("kilometerperhour", 1e3 / 3_600.0),
    ("decimeterpersecond", 0.1),
    ("decimeterperminute", 0.1 / 60.0),
    ("centimeterpersecond", 1e-2),
    ("centimeterperminute", 1e-2 / 60.0),
    ("centimeterperhour", 1e-2 / 3_600.0),
    ("millimeterpersecond", 1e-3),
    ("millimeterperminute", 1e-3 / 60.0),
    ("millimeterperhour", 1e-3 / 3_600.0),
    ("micrometerpersecond", 1e-6),
    ("micrometerperminute", 1e-6 / 60.0),
    ("nanometerpersecond", 1e-9),
    ("nanometerperminute", 1e-9 / 60.0),
    ("inchpersecond", 0.0254),
    ("inchperminute", 0.0254 / 60.0),
    ("inchperhour", 0.0254 / 3_600.0),
    ("footpersecond", 0.3048),
    ("footperminute", 0.3048 / 60.0),
    ("footperhour", 0.3048 / 3_600.0),
    ("yardpersecond", 0.9144),
    ("yardperminute", 0.9144 / 60.0),
    ("yardperhour", 0.9144 / 3_600.0),
    ("mileperhour", 0.44704),
    ("knot", 1_852.0 / 3_600.0),
    ("mach", 340.29),
    ("lightspeed", 299_792_458.0),
    ("speedoflight", 299_792_458.0),
];
const VOLUMES: Units = &[
    ("cubicmeter", 1.0),
    ("cubicdecimeter", 1e-3),
    ("cubiccentimeter", 1e-6),
    ("cubicmillimeter", 1e-9),
    ("cubicmicrometer", 1e-18),
    ("cubickilometer", 1e9),
    ("cubichectometer", 1e6),
    ("liter", 1e-3),
    ("hectoliter", 0.1),
    ("kiloliter", 1.0),
    ("megaliter", 1e3),
    ("deciliter", 1e-4),
    ("centiliter", 1e-5),
    ("milliliter", 1e-6),
    ("microliter", 1e-9),
    ("cubicinch", 1.638_706_4e-5),
    ("cubicfoot", 0.028_316_846_592),
    ("cubicyard", 0.764_554_857_984),
    ("cubicmile", 4.168_181_825_440_58e9),
    ("acrefoot", 1_233.481_837_547_52),
    ("boardfoot", 0.028_316_846_592 / 12.0),
    ("oilbarrel", 0.158_987_294_928),
    ("usbeerbarrel", 0.117_347_765_304),
    ("imperialbeerbarrel", 0.163_659_24),
    ("imperialgallon", 0.004_546_09),
    ("imperialounce", 2.841_306_25e-5),
    ("imperialpint", 0.000_568_261_25),
    ("usgallon", 0.003_785_411_784),
    ("usounce", 2.957_352_956_25e-5),
    ("uspint", 0.000_473_176_473),
    ("usquart", 0.000_946_352_946),
    ("uscup", 0.000_236_588_236_5),
    ("uslegalcup", 2.4e-4),
    ("uscustomarycup", 0.000_236_588_236_5),
    ("metriccup", 2.5e-4),
    ("ustablespoon", 1.478_676_478_125e-5),
    ("metrictablespoon", 1.5e-5),
    ("uktablespoon", 1.5e-5),
    ("autablespoon", 2e-5),
    ("usteaspoon", 4.928_921_593_75e-6),
    ("metricteaspoon", 5e-6),
    ("hectocubicmeter", 100.0),
    ("kilocubicmeter", 1e3),
    ("hectocubicfoot", 2.831_684_659_2),
    ("kilocubicfoot", 28.316_846_592),
];

fn convert(cells: &[Cell], units: Units) -> Value {
    let size = |cell: Cell| {
        let name = cell.text().to_ascii_lowercase();
        units.iter().find(|(unit, _)| *unit == name).map(|(_, size)| *size)
    };
    match (cells[0].real(), size(cells[1]), size(cells[2])) {
        (Some(value), Some(from), Some(to)) => Value::Real(value * (from / to)),
        _ => Value::Null,
    }
}

/// Temperatures have zeros of their own: each is `kelvin = value · factor + offset`.
fn temperature(cells: &[Cell], _: &Call) -> Value {
    let scale = |cell: Cell| {
        Some(match cell.text().to_ascii_lowercase().as_str() {
            "kelvin" => (1.0, 0.0),
            "millidegreecelsius" => (1e-3, 273.15),
            "degreecelsius" => (1.0, 273.15),
            "degreefahrenheit" => (5.0 / 9.0, 459.67 * 5.0 / 9.0),
            "degreerankine" => (5.0 / 9.0, 0.0),
            "degreedelisle" => (-2.0 / 3.0, 373.15),
            "degreenewton" => (100.0 / 33.0, 273.15),
            "degreereaumur" => (1.25, 273.15),
            "degreeroemer" => (40.0 / 21.0, 273.15 - 7.5 * 40.0 / 21.0),
            "solartemperature" => (5_778.0, 0.0),
            _ => return None,
        })
    };
    match (cells[0].real(), scale(cells[1]), scale(cells[2])) {
        (Some(value), Some((from, zero)), Some((to, other))) => Value::Real((value * from + zero - other) / to),
        _ => Value::Null,
    }
}

/// `format_bytes(size [, precision [, units]])`.
fn format_bytes(cells: &[Cell], _: &Call) -> Value {
    const UNITS: [&str; 7] = ["Bytes", "KB", "MB", "GB", "TB", "PB", "EB"];
    let Some(size) = cells[0].real() else { return text("") };
    let precision = cells.get(1).and_then(|cell| cell.long()).unwrap_or(0).clamp(0, 15) as usize;
    let wanted = cells.get(2).map(|cell| cell.text().to_ascii_lowercase());
    let unit = match wanted {
        Some(name) => match UNITS.iter().position(|unit| unit.to_ascii_lowercase() == name) {
            Some(unit) => unit,
            None => return text(""),
        },
        None => (0..UNITS.len()).rev().find(|unit| size.abs() >= 1_024_f64.powi(*unit as i32)).unwrap_or(0),
    };
    let scaled = size / 1_024_f64.powi(unit as i32);
    let power = 10_f64.powi(precision as i32);
    let rounded = (scaled * power).round() / power;
    let printed = format!("{rounded:.precision$}");
    let printed = if printed.contains('.') { printed.trim_end_matches('0').trim_end_matches('.') } else { &printed };
    text(format!("{printed} {}", UNITS[unit]))
}
