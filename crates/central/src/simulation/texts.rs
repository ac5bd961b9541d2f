//! What things say and are called, by the words of a name.

use super::draw::Draw;
use super::habits::{Facts, begins, words};

/// Characters of a text at most, whatever the model wants.
const TEXT_CHARS_MAX: usize = 1_024;
/// What things say of themselves.
const CONDITIONS: [&str; 6] = ["nominal", "steady", "ready", "busy", "idle", "recovering"];
/// What things say when something happens.
const EVENTS: [&str; 6] =
    ["started", "self test passed", "door opened", "button pressed", "connection restored", "threshold exceeded"];
const MAKERS: [&str; 3] = ["Aldermoor Works", "Brightwell Instruments", "Kestrel Controls"];

/// A text of a kind.
type Make = fn(Draw) -> String;
/// What things are, by the beginning of a word of the name.
const NAMED: [(&str, Make); 17] = [
    ("serial", |draw| format!("SN-{:06}", draw.whole(0, 999_999))),
    ("mac", address),
    ("bssid", address),
    ("ip", |draw| format!("10.{}.{}.{}", draw.at(1).whole(0, 255), draw.at(2).whole(0, 255), draw.whole(2, 254))),
    ("version", version),
    ("firmware", version),
    ("fw", version),
    ("ssid", |draw| format!("site-{}", draw.whole(1, 40))),
    ("manufacturer", |draw| one(draw, &MAKERS)),
    ("vendor", |draw| one(draw, &MAKERS)),
    ("model", |draw| format!("X{}0", draw.whole(10, 99))),
    ("processor", |draw| one(draw, &["ARM64", "ARM Cortex-M4", "x86-64"])),
    ("os", |draw| one(draw, &["Linux", "Zephyr", "FreeRTOS"])),
    ("imei", |draw| format!("35{:013}", draw.whole(0, 9_999_999_999_999))),
    ("url", page),
    ("uri", page),
    ("id", |draw| format!("id-{:04}", draw.whole(0, 9_999))),
];

/// A text for a name: the same at all times where the name tells what it is, else what `choice` chooses.
pub(super) fn text(facts: &Facts<'_>, draw: Draw, choice: Draw) -> String {
    let words = words(facts.name);
    let of = |begin: &str| words.iter().any(|word| begins(word, begin));
    let text = match NAMED.iter().find(|(begin, _)| of(begin)) {
        Some((_, make)) => make(draw),
        None => one(choice, if facts.semantic_type == Some("Event") { &EVENTS } else { &CONDITIONS }),
    };
    let most = facts.bounds.length_max.unwrap_or(usize::MAX);
    let least = facts.bounds.length_min.unwrap_or(0).min(most).min(TEXT_CHARS_MAX);
    let padding = std::iter::repeat_n('0', least.saturating_sub(text.chars().count()));
    text.chars().chain(padding).take(most).collect()
}

fn one(draw: Draw, of: &[&str]) -> String {
    draw.pick(of).copied().unwrap_or_default().to_owned()
}

/// A locally administered address of a network interface.
fn address(draw: Draw) -> String {
    let byte = |place| format!("{:02X}", draw.at(place).whole(0, 255));
    format!("02:{}:{}:{}:{}:{}", byte(1), byte(2), byte(3), byte(4), byte(5))
}

fn version(draw: Draw) -> String {
    format!("{}.{}.{}", draw.at(1).whole(1, 4), draw.at(2).whole(0, 9), draw.at(3).whole(0, 20))
}

fn page(draw: Draw) -> String {
    format!("https://example.com/{}", draw.whole(1, 999))
}

#[cfg(test)]
mod tests {
    use super::super::additions::Bounds;
    use super::*;

    fn of(name: &'static str, bounds: Bounds) -> String {
        text(&Facts { name, bounds, ..Facts::default() }, Draw::new(3), Draw::new(4))
    }

    #[test]
    fn texts_are_what_their_name_says() {
        assert!(of("serialNumber", Bounds::default()).starts_with("SN-"));
        assert_eq!(of("swVersion", Bounds::default()).split('.').count(), 3);
        assert_eq!(of("macAddress", Bounds::default()).split(':').count(), 6);
        assert!(MAKERS.contains(&of("manufacturer", Bounds::default()).as_str()));
        assert!(CONDITIONS.contains(&of("machine", Bounds::default()).as_str()), "`mac` is a whole word");
        let event = Facts { name: "x", semantic_type: Some("Event"), ..Facts::default() };
        assert!(EVENTS.contains(&text(&event, Draw::new(3), Draw::new(4)).as_str()));
    }

    #[test]
    fn texts_are_as_long_as_they_may_be() {
        let lengths = |least, most| Bounds { length_min: Some(least), length_max: Some(most), ..Bounds::default() };
        assert_eq!(of("x", lengths(30, 40)).chars().count(), 30);
        assert_eq!(of("serialNumber", lengths(0, 2)), "SN");
        assert_eq!(of("x", lengths(9, 0)), "");
        assert_eq!(of("x", lengths(usize::MAX, usize::MAX)).chars().count(), TEXT_CHARS_MAX);
    }
}
