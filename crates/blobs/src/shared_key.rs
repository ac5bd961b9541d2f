//! Requests signed with the account's key: `Authorization: SharedKey {account}:{signature}`
//! ("Authorize with Shared Key", the form for blobs since 2015-02-21).

use std::cmp::Ordering;
use std::time::Duration;

use gantry_identity::Timestamp;

use crate::grant::{Denied, Grant};
use crate::sas::check_signature;
use crate::store::Account;

/// How far the date of a request may be from ours.
const SKEW: Duration = Duration::from_secs(15 * 60);
/// Headers that are signed by position, in order.
const POSITIONAL: [&str; 11] = [
    "content-encoding",
    "content-language",
    "content-length",
    "content-md5",
    "content-type",
    "date",
    "if-modified-since",
    "if-match",
    "if-none-match",
    "if-unmodified-since",
    "range",
];

/// What of a request is signed.
#[derive(Clone, Copy, Debug)]
pub struct SignedRequest<'a> {
    /// Method in capitals.
    pub method: &'a str,
    /// Path as sent, still percent-encoded.
    pub path: &'a str,
    /// Query parameters, decoded.
    pub query: &'a [(String, String)],
    /// Headers, names in lower case.
    pub headers: &'a [(String, String)],
    /// Date of `x-ms-date`, else of `Date`.
    pub date: Option<Timestamp>,
}

impl SignedRequest<'_> {
    fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value.as_str())
    }

    fn text(&self, account: &str, order: fn(&str, &str) -> Ordering) -> String {
        let mut text = format!("{}\n", self.method);
        for name in POSITIONAL {
            let value = match self.header(name) {
                // An empty body has no length to sign; a date that x-ms-date overrides is left out.
                "0" if name == "content-length" => "",
                _ if name == "date" && !self.header("x-ms-date").is_empty() => "",
                value => value,
            };
            text.push_str(value);
            text.push('\n');
        }
        let mut own: Vec<_> = self.headers.iter().filter(|(name, _)| name.starts_with("x-ms-")).collect();
        own.sort_by(|(a, _), (b, _)| order(a, b));
        for (name, value) in own {
            text.push_str(&format!("{name}:{}\n", value.trim()));
        }
        text.push_str(&format!("/{account}{}", self.path));
        let mut query: Vec<_> = self.query.iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect();
        query.sort();
        let mut last = String::new();
        for (name, value) in query {
            if name == last {
                text.push_str(&format!(",{value}"));
            } else {
                text.push_str(&format!("\n{name}:{value}"));
                last = name;
            }
        }
        text
    }
}

/// Checks a request against the account's keys.
///
/// # Errors
/// [`Denied`] says why, for the log.
pub fn verify_shared_key(account: &Account, request: &SignedRequest<'_>, now: Timestamp) -> Result<Grant, Denied> {
    let credential = request.header("authorization").strip_prefix("SharedKey ");
    let (name, signature) = credential.and_then(|c| c.split_once(':')).ok_or(Denied::Malformed("Authorization"))?;
    if name != account.name {
        return Err(Denied::Account);
    }
    // Clients sort headers by bytes, or as the service does; both orders sign the same headers.
    let by_bytes = check_signature(&account.keys, request.text(name, str::cmp).as_bytes(), signature);
    by_bytes.or_else(|_| check_signature(&account.keys, request.text(name, service_order).as_bytes(), signature))?;
    let date = request.date.ok_or(Denied::Malformed("x-ms-date"))?;
    if now.since(date) > SKEW || date.since(now) > SKEW {
        let from = Timestamp::from_millis(date.as_millis() - SKEW.as_millis() as i64);
        return Err(Denied::Time { from, to: date.plus(SKEW) });
    }
    Ok(Grant::Key)
}

/// The order of header names at the service: `_`, digits, letters, and dashes only when nothing else differs.
fn service_order(a: &str, b: &str) -> Ordering {
    let weight = |byte: u8| if byte == b'_' { 0 } else { byte };
    let plain = |text: &str| text.bytes().filter(|b| *b != b'-').map(weight).collect::<Vec<_>>();
    let dashes = |text: &str| text.bytes().map(|b| b == b'-').collect::<Vec<_>>();
    plain(a).cmp(&plain(b)).then_with(|| dashes(a).cmp(&dashes(b)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use gantry_identity::{Key, KeyPair};

    const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_000);

    fn account() -> Account {
        let keys = KeyPair { primary: Key::from_bytes([1; 32]), secondary: Key::from_bytes([2; 32]) };
        Account { name: "gantry".into(), keys }
    }

    fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn the_text_is_as_documented() {
        let headers = owned(&[
            ("x-ms-version", "2021-12-02"),
            ("content-length", "0"),
            ("date", "other"),
            ("x-ms-date", "Thu, 01 Jan 2026 00:00:00 GMT"),
            ("authorization", "ignored"),
        ]);
        let query = owned(&[("timeout", "20"), ("comp", "metadata"), ("restype", "container")]);
        let request =
            SignedRequest { method: "GET", path: "/gantry/files", query: &query, headers: &headers, date: Some(NOW) };
        let expected = "GET\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:Thu, 01 Jan 2026 00:00:00 GMT\nx-ms-version:2021-12-02\n\
                        /gantry/gantry/files\ncomp:metadata\nrestype:container\ntimeout:20";
        assert_eq!(request.text("gantry", str::cmp), expected);
    }

    #[test]
    fn headers_come_in_either_order() {
        // As the tables of azure-storage-blob order them.
        let mut names = ["x-ms-meta-a1", "x-ms-meta-a-b", "x-ms-meta-a_b", "x-ms-meta-aa", "x-ms-meta-ab"];
        names.sort_by(|a, b| service_order(a, b));
        assert_eq!(names, ["x-ms-meta-a_b", "x-ms-meta-a1", "x-ms-meta-aa", "x-ms-meta-ab", "x-ms-meta-a-b"]);
    }

    #[test]
    fn the_key_and_the_date_must_be_right() {
        let check = |key: u8, name: &str, minutes: i64, order: fn(&str, &str) -> Ordering| {
            let mut headers = owned(&[("x-ms-meta-a-b", "1"), ("x-ms-meta-a_b", "2"), ("x-ms-date", "d")]);
            let date = Some(Timestamp::from_millis(NOW.as_millis() + minutes * 60_000));
            let request = |headers: &'_ [(String, String)]| {
                SignedRequest { method: "PUT", path: "/", query: &[], headers, date }.text("gantry", order)
            };
            let signature = Key::from_bytes([key; 32]).sign(request(&headers).as_bytes());
            let signature = base64::engine::general_purpose::STANDARD.encode(signature);
            headers.push(("authorization".into(), format!("SharedKey {name}:{signature}")));
            let request = SignedRequest { method: "PUT", path: "/", query: &[], headers: &headers, date };
            verify_shared_key(&account(), &request, NOW)
        };
        for key in [1, 2] {
            assert_eq!(check(key, "gantry", 15, str::cmp), Ok(Grant::Key));
            assert_eq!(check(key, "gantry", -15, service_order), Ok(Grant::Key));
        }
        assert_eq!(check(3, "gantry", 0, str::cmp), Err(Denied::Signature));
        assert_eq!(check(1, "other", 0, str::cmp), Err(Denied::Account));
        assert!(matches!(check(1, "gantry", 16, str::cmp), Err(Denied::Time { .. })));
        assert!(matches!(check(1, "gantry", -16, str::cmp), Err(Denied::Time { .. })));
    }
}
