//! Shared access signatures of the blob service: of a container or blob, and of the account.
//!
//! The text to sign depends on the version `sv` the client wrote ("Create a service SAS", "Create an
//! account SAS"). Fields are signed decoded, an absent one as an empty line. Signatures of stored
//! access policies (`si`) and of user delegation keys (`skoid`) are refused by name.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use gantry_identity::{KeyPair, Timestamp, encode_component};
use subtle::ConstantTimeEq as _;

use crate::grant::{Denied, Grant, Target};
use crate::store::Account;

/// The oldest version whose text to sign is known here.
const OLDEST: &str = "2015-04-05";
/// From here on the kind of resource and the snapshot are signed.
const WITH_RESOURCE: &str = "2018-11-09";
/// From here on the encryption scope is signed.
const WITH_SCOPE: &str = "2020-12-06";
/// The version our own signatures are written in.
const OWN_VERSION: &str = "2021-12-02";

/// The query parameters of a request, decoded.
#[derive(Clone, Copy, Debug)]
pub struct SasParameters<'a>(pub &'a [(String, String)]);

impl SasParameters<'_> {
    fn field(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    fn text(&self, name: &str) -> &str {
        self.field(name).unwrap_or_default()
    }
}

/// Checks the signature in a request's query against the account's keys, its time and its address.
///
/// # Errors
/// [`Denied`] says why, for the log.
pub fn verify_sas(
    account: &Account,
    query: SasParameters<'_>,
    target: &Target,
    peer: Option<IpAddr>,
    now: Timestamp,
) -> Result<Grant, Denied> {
    let version = query.text("sv");
    if !is_date(version) || version < OLDEST {
        return Err(Denied::Malformed("sv"));
    }
    for (field, what) in [("si", "a stored access policy"), ("skoid", "a user delegation key")] {
        if query.field(field).is_some() {
            return Err(Denied::Unsupported(what));
        }
    }
    let permissions = query.text("sp").to_owned();
    let (text, grant) = if query.field("ss").is_some() {
        let resource_types = query.text("srt").to_owned();
        (account_text(account, query, version), Grant::Account { permissions, resource_types })
    } else {
        let is_blob = match query.text("sr") {
            "b" => true,
            "c" => false,
            _ => return Err(Denied::Malformed("sr")),
        };
        let resource = resource_of(account, target, is_blob).ok_or(Denied::Resource)?;
        (service_text(query, version, &resource), Grant::Service { permissions, is_blob })
    };
    check_signature(&account.keys, text.as_bytes(), query.text("sig"))?;
    check_time(query, now)?;
    check_address(query.field("sip"), peer)?;
    if query.field("ss").is_some_and(|services| !services.contains('b')) {
        return Err(Denied::Service);
    }
    Ok(grant)
}

/// Compares a base64 signature in constant time with those of both keys.
pub(crate) fn check_signature(keys: &KeyPair, text: &[u8], presented: &str) -> Result<(), Denied> {
    let presented = BASE64.decode(presented).map_err(|_| Denied::Malformed("sig"))?;
    let of = |key: &gantry_identity::Key| key.sign(text).ct_eq(&presented);
    if bool::from(of(&keys.primary) | of(&keys.secondary)) { Ok(()) } else { Err(Denied::Signature) }
}

fn is_date(text: &str) -> bool {
    let shape = |(at, b): (usize, u8)| if matches!(at, 4 | 7) { b == b'-' } else { b.is_ascii_digit() };
    text.len() == 10 && text.bytes().enumerate().all(shape)
}

fn resource_of(account: &Account, target: &Target, is_blob: bool) -> Option<String> {
    match target {
        Target::Account => None,
        Target::Container(_) if is_blob => None,
        Target::Blob(container, blob) if is_blob => Some(format!("/blob/{}/{container}/{blob}", account.name)),
        Target::Container(container) | Target::Blob(container, _) => {
            Some(format!("/blob/{}/{container}", account.name))
        }
    }
}

fn service_text(query: SasParameters<'_>, version: &str, resource: &str) -> String {
    let mut lines = vec![query.text("sp"), query.text("st"), query.text("se"), resource, query.text("si")];
    lines.extend([query.text("sip"), query.text("spr"), version]);
    if version >= WITH_RESOURCE {
        lines.extend([query.text("sr"), query.text("snapshot")]);
    }
    if version >= WITH_SCOPE {
        lines.push(query.text("ses"));
    }
    lines.extend(["rscc", "rscd", "rsce", "rscl", "rsct"].map(|name| query.text(name)));
    lines.join("\n")
}

fn account_text(account: &Account, query: SasParameters<'_>, version: &str) -> String {
    let mut lines = vec![account.name.as_str()];
    lines.extend(["sp", "ss", "srt", "st", "se", "sip", "spr"].map(|name| query.text(name)));
    lines.push(version);
    if version >= WITH_SCOPE {
        lines.push(query.text("ses"));
    }
    lines.push("");
    lines.join("\n")
}

fn check_time(query: SasParameters<'_>, now: Timestamp) -> Result<(), Denied> {
    let read = |name: &'static str| match query.field(name).filter(|text| !text.is_empty()) {
        None => Ok(None),
        Some(text) => instant(text).map(Some).ok_or(Denied::Malformed(name)),
    };
    let from = read("st")?.unwrap_or(Timestamp::NEVER);
    let to = read("se")?.ok_or(Denied::Malformed("se"))?;
    if now < from || now >= to { Err(Denied::Time { from, to }) } else { Ok(()) }
}

/// The spellings the documents allow: a date, or date and time to the minute, second or fraction, in UTC.
fn instant(text: &str) -> Option<Timestamp> {
    let text = text.strip_suffix('Z').unwrap_or(text);
    match text.len() {
        10 => Timestamp::parse(&format!("{text}T00:00:00Z")),
        16 => Timestamp::parse(&format!("{text}:00Z")),
        _ => Timestamp::parse(&format!("{text}Z")),
    }
}

/// `sip` is one IPv4 address or `first-last`.
fn check_address(allowed: Option<&str>, peer: Option<IpAddr>) -> Result<(), Denied> {
    let Some(allowed) = allowed.filter(|text| !text.is_empty()) else { return Ok(()) };
    let (first, last) = allowed.split_once('-').unwrap_or((allowed, allowed));
    let read = |text: &str| text.parse::<IpAddr>().map_err(|_| Denied::Malformed("sip"));
    let (first, last) = (read(first)?, read(last)?);
    let within = peer.is_some_and(|peer| peer.is_ipv4() == first.is_ipv4() && (first..=last).contains(&peer));
    if within { Ok(()) } else { Err(Denied::Address) }
}

/// Signs signatures for one account: ours, or one at Azure whose key we were given.
#[derive(Clone, Debug)]
pub struct SasSigner {
    /// The account.
    pub account: String,
    /// One of its keys.
    pub key: gantry_identity::Key,
}

impl SasSigner {
    /// A signature for one blob as query text, beginning with `?`. HTTPS only.
    pub fn blob(&self, container: &str, blob: &str, permissions: &str, expires_at: Timestamp) -> String {
        self.sign("b", &format!("/blob/{}/{container}/{blob}", self.account), permissions, expires_at)
    }

    /// A signature for one container and its blobs as query text, beginning with `?`. HTTPS only.
    pub fn container(&self, container: &str, permissions: &str, expires_at: Timestamp) -> String {
        self.sign("c", &format!("/blob/{}/{container}", self.account), permissions, expires_at)
    }

    fn sign(&self, kind: &str, resource: &str, permissions: &str, expires_at: Timestamp) -> String {
        // Without fractions of a second, as SDKs write it.
        let text = expires_at.to_string();
        let expiry = format!("{}Z", text.split('.').next().unwrap_or_default());
        let fields = [("sv", OWN_VERSION), ("sr", kind), ("se", &expiry), ("sp", permissions), ("spr", "https")];
        let pairs: Vec<_> = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let text = service_text(SasParameters(&pairs), OWN_VERSION, resource);
        let signature = BASE64.encode(self.key.sign(text.as_bytes()));
        let fields = fields.map(|(name, value)| format!("{name}={}", encode_component(value)));
        format!("?{}&sig={}", fields.join("&"), encode_component(&signature))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::{BlobName, ContainerName};
    use gantry_identity::Key;

    const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_000);

    fn account() -> Account {
        let keys = KeyPair { primary: Key::from_bytes([1; 32]), secondary: Key::from_bytes([2; 32]) };
        Account { name: "gantry".into(), keys }
    }

    fn blob(name: &str) -> Target {
        Target::Blob(ContainerName::parse("files").unwrap(), BlobName::parse(name).unwrap())
    }

    fn pairs(query: &str) -> Vec<(String, String)> {
        let decode = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8().unwrap().into_owned();
        let read = |pair: &str| pair.split_once('=').map(|(k, v)| (k.to_owned(), decode(v)));
        query.trim_start_matches('?').split('&').filter_map(read).collect()
    }

    fn verify(query: &str, target: &Target, now: Timestamp) -> Result<Grant, Denied> {
        verify_sas(&account(), SasParameters(&pairs(query)), target, Some("127.0.0.1".parse().unwrap()), now)
    }

    fn signer(key: u8) -> SasSigner {
        SasSigner { account: "gantry".into(), key: Key::from_bytes([key; 32]) }
    }

    /// Signs fields as a client would, for one version.
    fn client(version: &str, fields: &[(&str, &str)], resource: Option<&str>) -> String {
        let mut all: Vec<_> = fields.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let text = match resource {
            Some(resource) => service_text(SasParameters(&all), version, resource),
            None => account_text(&account(), SasParameters(&all), version),
        };
        all.push(("sv".into(), version.into()));
        all.push(("sig".into(), BASE64.encode(Key::from_bytes([1; 32]).sign(text.as_bytes()))));
        all.iter().map(|(k, v)| format!("{k}={}", encode_component(v))).collect::<Vec<_>>().join("&")
    }

    #[test]
    fn a_blobs_signature_is_for_that_blob_until_it_expires() {
        for key in [1, 2] {
            let query = signer(key).blob("files", "d 1/ä#?.txt", "rw", NOW.plus(std::time::Duration::from_secs(1)));
            assert!(query.starts_with("?sv="));
            let grant = Grant::Service { permissions: "rw".into(), is_blob: true };
            assert_eq!(verify(&query, &blob("d 1/ä#?.txt"), NOW), Ok(grant));
            assert_eq!(verify(&query, &blob("d 1/other"), NOW), Err(Denied::Signature));
            let container = Target::Container(ContainerName::parse("files").unwrap());
            assert_eq!(verify(&query, &container, NOW), Err(Denied::Resource));
            let end = Timestamp::from_millis(NOW.as_millis() + 1000);
            assert!(matches!(verify(&query, &blob("d 1/ä#?.txt"), end), Err(Denied::Time { .. })));
        }
        let query = signer(3).blob("files", "x", "rw", NOW.plus(std::time::Duration::from_secs(1)));
        assert_eq!(verify(&query, &blob("x"), NOW), Err(Denied::Signature));
    }

    #[test]
    fn no_field_can_be_changed_or_added() {
        let query = signer(1).blob("files", "x", "r", NOW.plus(std::time::Duration::from_secs(60)));
        assert!(verify(&query, &blob("x"), NOW).is_ok());
        for changed in [query.replace("sp=r", "sp=rwd"), query.replace("2026", "2036"), format!("{query}&rsct=a")] {
            assert_eq!(verify(&changed, &blob("x"), NOW), Err(Denied::Signature), "{changed}");
        }
        assert_eq!(verify(&query.replace("sr=b", "sr=c"), &blob("x"), NOW), Err(Denied::Signature));
        assert_eq!(verify(&query.replace("sr=b", "sr=d"), &blob("x"), NOW), Err(Denied::Malformed("sr")));
        for field in ["si", "skoid"] {
            let refused = verify(&format!("{query}&{field}=a"), &blob("x"), NOW);
            assert!(matches!(refused, Err(Denied::Unsupported(_))));
        }
    }

    #[test]
    fn every_version_signs_its_own_text() {
        let of = |version| {
            let fields = [("sp", "r"), ("se", "2026-01-02"), ("sr", "c")];
            service_text(SasParameters(&pairs(&client("x", &fields, Some("")))), version, "/blob/gantry/files")
        };
        assert_eq!(of("2015-04-05").lines().count() + 1, 13);
        assert_eq!(of("2018-11-09"), "r\n\n2026-01-02\n/blob/gantry/files\n\n\n\n2018-11-09\nc\n\n\n\n\n\n");
        assert_eq!(of("2020-12-06"), "r\n\n2026-01-02\n/blob/gantry/files\n\n\n\n2020-12-06\nc\n\n\n\n\n\n\n");
        for version in ["2015-04-05", "2017-11-09", "2018-11-09", "2019-12-12", "2020-12-06", "2026-04-06"] {
            let fields = [("sp", "rl"), ("se", "2026-01-02T00:00Z"), ("sr", "c")];
            let query = client(version, &fields, Some("/blob/gantry/files"));
            assert!(verify(&query, &blob("any"), NOW).is_ok(), "{version}");
        }
        let query = client("2014-02-14", &[("sp", "r"), ("sr", "c")], Some("/blob/gantry/files"));
        assert_eq!(verify(&query, &blob("any"), NOW), Err(Denied::Malformed("sv")));
    }

    #[test]
    fn an_accounts_signature_names_services_resources_and_addresses() {
        let of = |services: &str, address: &str| {
            let fields =
                [("sp", "rwl"), ("ss", services), ("srt", "co"), ("se", "2026-01-02T00:00:00Z"), ("sip", address)];
            let query = client("2021-08-06", &fields, None);
            let grant = verify(&query, &blob("x"), NOW)?;
            let container = Target::Container(ContainerName::parse("files").unwrap());
            assert_eq!(grant.require(&container, &[crate::Permission::List]), Ok(crate::Permission::List));
            assert_eq!(grant.require(&Target::Account, &[crate::Permission::List]), Err(Denied::Resource));
            grant.require(&blob("x"), &[crate::Permission::Delete])
        };
        assert_eq!(of("bq", ""), Err(Denied::Permission('d')));
        assert_eq!(of("q", ""), Err(Denied::Service));
        assert_eq!(of("b", "127.0.0.1"), Err(Denied::Permission('d')));
        assert_eq!(of("b", "126.0.0.1-127.0.0.9"), Err(Denied::Permission('d')));
        assert_eq!(of("b", "127.0.0.2-127.0.0.9"), Err(Denied::Address));
        assert_eq!(of("b", "nonsense"), Err(Denied::Malformed("sip")));
    }

    #[test]
    fn a_container_signature_does_not_reach_the_container_itself() {
        let grant = Grant::Service { permissions: "rwdlc".into(), is_blob: false };
        let container = Target::Container(ContainerName::parse("files").unwrap());
        assert!(grant.require(&container, &[crate::Permission::List]).is_ok());
        assert_eq!(grant.require(&container, &[crate::Permission::Delete]), Err(Denied::Resource));
        assert_eq!(grant.require(&Target::Account, &[crate::Permission::List]), Err(Denied::Resource));
    }
}
