//! Durations of ISO 8601 as questions have them: weeks, days, hours, minutes and seconds.
//!
//! Months and years have no fixed length and are none.

/// The longest: ten years of days, in milliseconds.
const LONGEST_MS: i64 = 3_660 * DAY_MS;
const SECOND_MS: i64 = 1_000;
const DAY_MS: i64 = 24 * 3_600 * SECOND_MS;

/// Milliseconds of a duration above zero.
pub(crate) fn parse(text: &str) -> Option<i64> {
    let rest = text.strip_prefix(['P', 'p'])?;
    let (date, time) = match rest.split_once(['T', 't']) {
        Some((date, time)) if !time.is_empty() => (date, time),
        Some(_) => return None,
        None => (rest, ""),
    };
    let days = sum(date, &[('W', 7 * DAY_MS), ('D', DAY_MS)])?;
    let seconds = sum(time, &[('H', 3_600 * SECOND_MS), ('M', 60 * SECOND_MS), ('S', SECOND_MS)])?;
    Some(days.checked_add(seconds)?).filter(|all| (1..=LONGEST_MS).contains(all))
}

/// The sum of numbers with units, each unit once at most and in this order.
fn sum(text: &str, units: &[(char, i64)]) -> Option<i64> {
    let (mut rest, mut all) = (text, 0_i64);
    for (unit, ms) in units {
        let Some(at) = rest.find(|c: char| c.eq_ignore_ascii_case(unit)) else { continue };
        let (number, after) = rest.split_at(at);
        if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        all = all.checked_add(number.parse::<i64>().ok()?.checked_mul(*ms)?)?;
        rest = after.get(1..)?;
    }
    rest.is_empty().then_some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read() {
        for (text, ms) in [
            ("PT10M", Some(600_000)),
            ("P1D", Some(DAY_MS)),
            ("P2DT12H", Some(60 * 3_600_000)),
            ("P1W", Some(7 * DAY_MS)),
            ("PT5H", Some(18_000_000)),
            ("PT1M30S", Some(90_000)),
            ("pt1s", Some(1_000)),
            ("P3660D", Some(LONGEST_MS)),
            ("P3661D", None),
            ("P", None),
            ("PT", None),
            ("P1DT", None),
            ("PT0S", None),
            ("P1M", None),
            ("P1Y", None),
            ("PT1S1M", None),
            ("PTS", None),
            ("P-1D", None),
            ("P1.5D", None),
            ("P99999999999999999999D", None),
            ("1D", None),
        ] {
            assert_eq!(parse(text), ms, "{text}");
        }
    }
}
