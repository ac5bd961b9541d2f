//! What a `$skiptoken` holds: where a page ended, and what the pages before it were made of.
//!
//! base64url of a JSON object: `v` version, `f` what the query was, `t` the instant of the first page in ticks, `k` the
//! values the last row was sorted by, `n` how many rows with just these values were given, `l` how many rows `$top`
//! still allows, `c` the count, `b` for each part of the table the last row that was there at the first page. So pages
//! that follow are of the same rows, whatever comes meanwhile. A token gives nobody anything that the query does not.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value as Json, json};

use super::failure::Failure;

/// A place in a result.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Token {
    /// What the query was.
    pub query: u64,
    /// The instant of the first page.
    pub now: i64,
    /// What the last row was sorted by.
    pub last: Vec<Option<String>>,
    /// Rows with these values that were given.
    pub given: u64,
    /// Rows that are still wanted.
    pub left: Option<u64>,
    /// All rows, when they were counted.
    pub count: Option<u64>,
    /// Ends of the parts of a table to which rows are only added: values of its key but for the last, and that.
    pub ends: Option<Vec<Vec<String>>>,
}

/// Characters of a token: it travels in an address.
const LEN_MAX: usize = 6_000;

impl Token {
    /// As it travels.
    ///
    /// # Errors
    /// When the values are too long for an address.
    pub fn write(&self) -> Result<String, Failure> {
        let document = json!({
            "v": 1, "f": format!("{:x}", self.query), "t": self.now, "k": self.last, "n": self.given, "l": self.left,
            "c": self.count, "b": self.ends,
        });
        let text = URL_SAFE_NO_PAD.encode(document.to_string());
        if text.len() > LEN_MAX {
            return Err(Failure::bad_request("values that $orderby sorts by are too long for a page to end at them"));
        }
        Ok(text)
    }

    /// Reads one of the query `query`.
    ///
    /// # Errors
    /// When it is none of ours, or of another query.
    pub fn read(text: &str, query: u64) -> Result<Token, Failure> {
        let wrong = || Failure::bad_request("the $skiptoken is none that this service gave for this query");
        let token = URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| parse(&bytes)).ok_or_else(wrong)?;
        if token.query == query { Ok(token) } else { Err(wrong()) }
    }
}

fn parse(bytes: &[u8]) -> Option<Token> {
    let document: Json = serde_json::from_slice(bytes).ok()?;
    let texts = |value: &Json| -> Option<Vec<String>> {
        value.as_array()?.iter().map(|text| text.as_str().map(str::to_owned)).collect()
    };
    let maybe = |name: &str| match &document[name] {
        Json::Null => Some(None),
        value => value.as_u64().map(Some),
    };
    if document["v"].as_u64()? != 1 {
        return None;
    }
    let last = document["k"].as_array()?.iter().map(|value| match value {
        Json::Null => Some(None),
        value => value.as_str().map(|text| Some(text.to_owned())),
    });
    Some(Token {
        query: u64::from_str_radix(document["f"].as_str()?, 16).ok()?,
        now: document["t"].as_i64()?,
        last: last.collect::<Option<_>>()?,
        given: document["n"].as_u64()?,
        left: maybe("l")?,
        count: maybe("c")?,
        ends: match &document["b"] {
            Json::Null => None,
            value => Some(value.as_array()?.iter().map(texts).collect::<Option<_>>()?),
        },
    })
}

/// What tells one query from another (FNV-1a): a token of one is not taken for another by mistake.
pub fn fingerprint(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_reads_back_and_no_other_does() {
        let token = Token {
            query: fingerprint("a"),
            now: 5,
            last: vec![None, Some("x'".into())],
            given: 1,
            left: Some(7),
            count: None,
            ends: Some(vec![vec!["0".into(), "9".into()]]),
        };
        let text = token.write().unwrap();
        assert_eq!(Token::read(&text, fingerprint("a")).unwrap(), token);
        assert!(Token::read(&text, fingerprint("b")).is_err());
        for wrong in
            ["", "x", &text[1..], &URL_SAFE_NO_PAD.encode("{}"), &URL_SAFE_NO_PAD.encode(r#"{"v":1,"f":"-1"}"#)]
        {
            assert!(Token::read(wrong, fingerprint("a")).is_err(), "{wrong}");
        }
        assert!(Token { last: vec![Some("x".repeat(9_000))], ..token }.write().is_err());
    }
}
