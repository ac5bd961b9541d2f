//! Tokens of `$filter` and its relatives.

use gantry_kql::value::{DateTime, Decimal, Guid, TICKS_PER_DAY, TICKS_PER_HOUR, TICKS_PER_MINUTE, TimeSpan};

use super::failure::Failure;

/// A token and where it begins, counted in characters from 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Token {
    /// What it is.
    pub kind: Kind,
    /// Where it begins.
    pub at: usize,
}

/// The tokens.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// A name, an operator that is a word, or a qualified name (`Edm.String`).
    Word(String),
    /// `@name`, a parameter alias.
    Alias(String),
    /// `$it` and its relatives.
    System(String),
    /// A text, without its quotes.
    Text(String),
    /// A whole number.
    Long(i64),
    /// A number with a point or an exponent.
    Real(f64),
    /// A whole number beyond 64 bits.
    Decimal(Decimal),
    /// An instant.
    Instant(DateTime),
    /// A day.
    Date(DateTime),
    /// A span.
    Span(TimeSpan),
    /// A guid.
    Guid(Guid),
    /// `( ) , / - : ; * =`
    Sign(char),
    /// The end.
    End,
}

/// Tokens of a text; the last is the end.
pub fn tokens(text: &str) -> Result<Vec<Token>, Failure> {
    let mut lexer = Lexer { text, at: 0 };
    let mut tokens = Vec::new();
    loop {
        let token = lexer.next()?;
        let ended = token.kind == Kind::End;
        tokens.push(token);
        if ended {
            return Ok(tokens);
        }
    }
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// The characters from here for which this holds.
    fn run(&mut self, fits: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let len = rest.find(|c| !fits(c)).unwrap_or(rest.len());
        self.at += len;
        &rest[..len]
    }

    fn next(&mut self) -> Result<Token, Failure> {
        self.run(char::is_whitespace);
        let at = self.text[..self.at].chars().count() + 1;
        let wrong = |what: &str| Failure::bad_request(format!("{what} at position {at}"));
        let rest = self.rest();
        let Some(first) = rest.chars().next() else { return Ok(Token { kind: Kind::End, at }) };
        let kind = match first {
            '\'' => Kind::Text(self.quoted().ok_or_else(|| wrong("a text without an end"))?),
            '(' | ')' | ',' | '/' | ':' | ';' | '*' | '=' => {
                self.at += 1;
                Kind::Sign(first)
            }
            '-' if !rest[1..].starts_with(|c: char| c.is_ascii_digit()) => {
                self.at += 1;
                Kind::Sign(first)
            }
            '@' | '$' => {
                self.at += 1;
                let name = self.run(is_word).to_owned();
                if first == '@' { Kind::Alias(name) } else { Kind::System(name) }
            }
            _ if guid(rest).is_some() => {
                self.at += GUID_LEN;
                Kind::Guid(guid(rest).unwrap_or(Guid(0)))
            }
            '-' | '0'..='9' => {
                self.at += 1;
                self.run(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | ':' | '+' | '-'));
                let literal = &rest[..self.at - (self.text.len() - rest.len())];
                number(literal).ok_or_else(|| wrong(&format!("`{literal}` is no literal")))?
            }
            c if c.is_alphabetic() || c == '_' => {
                let word = self.run(|c| is_word(c) || c == '.');
                match word {
                    "duration" if self.rest().starts_with('\'') => {
                        let text = self.quoted().ok_or_else(|| wrong("a text without an end"))?;
                        Kind::Span(duration(&text).ok_or_else(|| wrong(&format!("`{text}` is no duration")))?)
                    }
                    "INF" => Kind::Real(f64::INFINITY),
                    "NaN" => Kind::Real(f64::NAN),
                    _ if self.rest().starts_with('\'') => {
                        return Err(Failure::not_implemented(&format!("a literal of the kind {word}'...'")));
                    }
                    _ => Kind::Word(word.to_owned()),
                }
            }
            other => return Err(wrong(&format!("unexpected `{other}`"))),
        };
        Ok(Token { kind, at })
    }

    /// A text in quotes, with two for one.
    fn quoted(&mut self) -> Option<String> {
        let mut text = String::new();
        let mut characters = self.rest().char_indices().skip(1).peekable();
        while let Some((at, c)) = characters.next() {
            if c == '\'' && characters.next_if(|(_, next)| *next == '\'').is_none() {
                self.at += at + 1;
                return Some(text);
            }
            text.push(c);
        }
        None
    }
}

/// Characters of a name behind its first.
fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

const GUID_LEN: usize = 36;

fn guid(text: &str) -> Option<Guid> {
    let candidate = text.get(..GUID_LEN)?;
    let is_part = |at: usize, byte: u8| match at {
        8 | 13 | 18 | 23 => byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    };
    let ends = !text[GUID_LEN..].starts_with(is_word);
    let all = candidate.bytes().enumerate().all(|(at, byte)| is_part(at, byte));
    (ends && all).then(|| Guid::parse(candidate)).flatten()
}

/// A number, a day or an instant.
fn number(text: &str) -> Option<Kind> {
    let digits = |text: &str, lens: std::ops::RangeInclusive<usize>| {
        lens.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    if let Some((date, time)) = text.split_once('T') {
        let ends = time.ends_with('Z') || time.len() > 6 && matches!(time.as_bytes()[time.len() - 6], b'+' | b'-');
        return DateTime::parse(text).filter(|_| is_date(date) && ends).map(Kind::Instant);
    }
    if is_date(text) {
        return DateTime::parse(text).map(Kind::Date);
    }
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    if digits(unsigned, 1..=38) {
        return match text.parse() {
            Ok(value) => Some(Kind::Long(value)),
            Err(_) => Decimal::parse(text).map(Kind::Decimal),
        };
    }
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.strip_prefix(['+', '-']).unwrap_or(exponent)),
        None => (unsigned, "0"),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    let is_number = digits(whole, 1..=400) && digits(fraction, 1..=400) && digits(exponent, 1..=5);
    is_number.then(|| text.parse().ok().map(Kind::Real)).flatten()
}

fn is_date(text: &str) -> bool {
    text.len() == 10
        && text
            .bytes()
            .enumerate()
            .all(|(at, byte)| if matches!(at, 4 | 7) { byte == b'-' } else { byte.is_ascii_digit() })
}

/// A duration of XML Schema, without years and months: `P1DT2H3M4.5S`.
pub fn duration(text: &str) -> Option<TimeSpan> {
    let (negative, text) = match text.strip_prefix('-') {
        Some(text) => (true, text),
        None => (false, text),
    };
    let text = text.strip_prefix('P')?;
    let (days, time) = text.split_once('T').map_or((text, None), |(days, time)| (days, Some(time)));
    let mut ticks = 0_i64;
    let mut parts = 0;
    let mut whole = |rest: &mut &str, unit: char, size: i64| -> Option<()> {
        if let Some((count, after)) = rest.split_once(unit) {
            let is_count = !count.is_empty() && count.bytes().all(|byte| byte.is_ascii_digit());
            let count: i64 = is_count.then(|| count.parse().ok()).flatten()?;
            ticks = ticks.checked_add(count.checked_mul(size)?)?;
            parts += 1;
            *rest = after;
        }
        Some(())
    };
    let mut days = days;
    whole(&mut days, 'D', TICKS_PER_DAY)?;
    let mut time_left = time.unwrap_or("");
    whole(&mut time_left, 'H', TICKS_PER_HOUR)?;
    whole(&mut time_left, 'M', TICKS_PER_MINUTE)?;
    if !days.is_empty() || time == Some("") {
        return None;
    }
    if let Some(seconds) = time_left.strip_suffix('S') {
        let (whole, fraction) = seconds.split_once('.').unwrap_or((seconds, "0"));
        let fits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !fits(whole) || !fits(fraction) || fraction.len() > 7 {
            return None;
        }
        let seconds: i64 = whole.parse().ok()?;
        let fraction: i64 = format!("{fraction:0<7}").parse().ok()?;
        ticks = ticks.checked_add(seconds.checked_mul(10_000_000)?.checked_add(fraction)?)?;
        parts += 1;
    } else if !time_left.is_empty() {
        return None;
    }
    (parts > 0).then_some(TimeSpan(if negative { -ticks } else { ticks }))
}

/// The text of a duration.
pub fn print_duration(ticks: i64) -> String {
    let (sign, size) = (if ticks < 0 { "-" } else { "" }, ticks.unsigned_abs());
    let unit = |per: i64| per.unsigned_abs();
    let (days, rest) = (size / unit(TICKS_PER_DAY), size % unit(TICKS_PER_DAY));
    let (hours, rest) = (rest / unit(TICKS_PER_HOUR), rest % unit(TICKS_PER_HOUR));
    let (minutes, rest) = (rest / unit(TICKS_PER_MINUTE), rest % unit(TICKS_PER_MINUTE));
    let (seconds, fraction) = (rest / 10_000_000, rest % 10_000_000);
    let mut text = format!("{sign}P");
    if days > 0 {
        text.push_str(&format!("{days}D"));
    }
    let mut time = String::new();
    if hours > 0 {
        time.push_str(&format!("{hours}H"));
    }
    if minutes > 0 {
        time.push_str(&format!("{minutes}M"));
    }
    if fraction > 0 {
        time.push_str(&format!("{seconds}.{}S", format!("{fraction:07}").trim_end_matches('0')));
    } else if seconds > 0 || (days == 0 && time.is_empty()) {
        time.push_str(&format!("{seconds}S"));
    }
    if !time.is_empty() {
        text.push('T');
        text.push_str(&time);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<Kind> {
        tokens(text).unwrap().into_iter().map(|token| token.kind).collect()
    }

    #[test]
    fn literals_are_told_apart() {
        let instant = |text: &str| DateTime::parse(text).unwrap();
        for (text, expected) in [
            ("5", Kind::Long(5)),
            ("-9223372036854775808", Kind::Long(i64::MIN)),
            ("9223372036854775808", Kind::Decimal(Decimal::parse("9223372036854775808").unwrap())),
            ("1.5", Kind::Real(1.5)),
            ("-1.5e-3", Kind::Real(-0.0015)),
            ("INF", Kind::Real(f64::INFINITY)),
            ("'it''s'", Kind::Text("it's".into())),
            ("''", Kind::Text(String::new())),
            ("2024-01-01", Kind::Date(instant("2024-01-01"))),
            ("2024-01-01T00:00:00Z", Kind::Instant(instant("2024-01-01"))),
            ("2024-01-01T01:00:00.5+01:00", Kind::Instant(instant("2024-01-01T00:00:00.5Z"))),
            (
                "74be27de-1e4e-49d9-b579-fe0b331d3642",
                Kind::Guid(Guid::parse("74be27de-1e4e-49d9-b579-fe0b331d3642").unwrap()),
            ),
            (
                "a4be27de-1e4e-49d9-b579-fe0b331d3642",
                Kind::Guid(Guid::parse("a4be27de-1e4e-49d9-b579-fe0b331d3642").unwrap()),
            ),
            ("duration'PT1H'", Kind::Span(TimeSpan(TICKS_PER_HOUR))),
        ] {
            assert_eq!(kinds(text), [expected, Kind::End], "{text}");
        }
    }

    #[test]
    fn what_is_no_literal_is_refused() {
        for text in [
            "5L",
            "1.",
            ".5",
            "1e",
            "'open",
            "2024-13-01",
            "2024-01-01T00:00:00",
            "duration'P1Y'",
            "#",
            "1.5M",
            "12:00:00",
            "--5x",
        ] {
            assert!(tokens(text).is_err(), "{text}");
        }
        assert!(tokens("binary'AA'").unwrap_err().message().contains("binary'...'"));
    }

    #[test]
    fn durations_are_written_as_they_are_read() {
        for (text, ticks) in [
            ("PT0S", 0),
            ("P1D", TICKS_PER_DAY),
            ("-P1DT2H3M4.5S", -(TICKS_PER_DAY + 2 * TICKS_PER_HOUR + 3 * TICKS_PER_MINUTE + 45_000_000)),
            ("PT0.0000001S", 1),
            ("P10675199DT2H48M5.4775807S", i64::MAX),
        ] {
            assert_eq!(duration(text), Some(TimeSpan(ticks)), "{text}");
            assert_eq!(print_duration(ticks), text);
        }
        assert_eq!(print_duration(i64::MIN), "-P10675199DT2H48M5.4775808S");
        for wrong in ["", "P", "PT", "P1", "1D", "PT1", "PT1.5H", "P1DT", "PT1S2M", "PT99999999999999999999S"] {
            assert_eq!(duration(wrong), None, "{wrong}");
        }
    }
}
