//! Shared access signatures.
//!
//! `SharedAccessSignature sr={uri}&sig={signature}&se={expiry}[&skn={policy}]`, fields in any
//! order. The signature is `base64(HMAC-SHA256(key, sr + "\n" + se))` **over the `sr` text
//! exactly as received**: clients differ in how they percent-encode it, so decoding and
//! encoding again would refuse some of them. After that `sr` is decoded and authorizes by
//! whole path segments. Source: IoT Hub "control access with shared access signatures".

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use subtle::ConstantTimeEq as _;

use crate::key::{Key, KeyPair};
use crate::time::Timestamp;

/// Longest token text accepted, in bytes.
pub const TOKEN_LEN_MAX: usize = 4096;
/// How far the client's clock may be behind ours at expiry.
pub const CLOCK_SKEW: Duration = Duration::from_secs(5 * 60);

const PREFIX: &str = "SharedAccessSignature ";
const COMPONENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Percent-encodes everything but unreserved characters, as JavaScript's `encodeURIComponent` nearly does.
pub fn encode_component(text: &str) -> String {
    utf8_percent_encode(text, COMPONENT).to_string()
}

/// Why a text is not a token.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum SasError {
    /// Does not begin with `SharedAccessSignature `.
    #[error("token does not begin with `SharedAccessSignature `")]
    Prefix,
    /// Longer than [`TOKEN_LEN_MAX`].
    #[error("token is longer than {TOKEN_LEN_MAX} bytes")]
    TooLong,
    /// A field is missing.
    #[error("token has no `{0}`")]
    Missing(&'static str),
    /// A field occurs twice.
    #[error("token has `{0}` twice")]
    Repeated(&'static str),
    /// A field cannot be decoded.
    #[error("token's `{0}` cannot be read")]
    Malformed(&'static str),
}

/// Why valid-looking proof was refused. For logs and security events, never for the peer.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The token text cannot be read.
    #[error("malformed token")]
    Malformed(#[from] SasError),
    /// No proof was presented.
    #[error("no credential was presented")]
    Missing,
    /// The signature is of neither key.
    #[error("signature does not match")]
    Signature,
    /// The token expired.
    #[error("token expired at {0}")]
    Expired(Timestamp),
    /// The token is for something else.
    #[error("token is for `{presented}`, not for `{needed}`")]
    Resource {
        /// What the token covers.
        presented: String,
        /// What was asked for.
        needed: String,
    },
    /// No such policy.
    #[error("policy `{0}` is unknown")]
    UnknownPolicy(String),
    /// The policy lacks a right.
    #[error("policy `{policy}` lacks {right}")]
    Right {
        /// The policy's name.
        policy: String,
        /// What it lacks.
        right: String,
    },
    /// It answers a challenge that was answered before.
    #[error("the challenge was answered already")]
    Replayed,
    /// The certificate is not good for the identity.
    #[error(transparent)]
    Certificate(#[from] crate::CertificateError),
    /// A proof that is no token and no certificate of ours was not good; says why.
    #[error("{0}")]
    NotProven(String),
    /// No such device, module, enrollment or scope.
    #[error("`{0}` is unknown")]
    UnknownIdentity(String),
    /// Registered but switched off.
    #[error("`{0}` is disabled")]
    Disabled(String),
    /// The identity is registered with another kind of credential.
    #[error("`{identity}` does not authenticate with {presented}")]
    Kind {
        /// The identity.
        identity: String,
        /// What was presented.
        presented: &'static str,
    },
}

/// A parsed token. Holding one proves nothing until [`verify`](Self::verify) was called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedAccessSignature {
    raw_resource: String,
    raw_expiry: String,
    resource: String,
    signature: [u8; 32],
    expires_at: Timestamp,
    policy: Option<String>,
}

/// What a verified token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// Decoded resource, without scheme and trailing slash.
    pub resource: String,
    /// Policy that signed it; absent when an identity's own key did.
    pub policy: Option<String>,
    /// When a connection made with it ends.
    pub expires_at: Timestamp,
}

impl SharedAccessSignature {
    /// Reads a token.
    ///
    /// # Errors
    /// [`SasError`] names the field that is missing or unreadable.
    pub fn parse(text: &str) -> Result<Self, SasError> {
        if text.len() > TOKEN_LEN_MAX {
            return Err(SasError::TooLong);
        }
        let fields = text.strip_prefix(PREFIX).ok_or(SasError::Prefix)?;
        let (mut sr, mut sig, mut se, mut skn) = (None, None, None, None);
        for field in fields.split('&') {
            let (name, value) = field.split_once('=').unwrap_or((field, ""));
            let (slot, name) = match name {
                "sr" => (&mut sr, "sr"),
                "sig" => (&mut sig, "sig"),
                "se" => (&mut se, "se"),
                "skn" => (&mut skn, "skn"),
                _ => continue,
            };
            if slot.replace(value).is_some() {
                return Err(SasError::Repeated(name));
            }
        }
        let raw_resource = sr.ok_or(SasError::Missing("sr"))?;
        let raw_expiry = se.ok_or(SasError::Missing("se"))?;
        let signature = decode("sig", sig.ok_or(SasError::Missing("sig"))?)?;
        let signature = BASE64.decode(signature).ok().and_then(|b| <[u8; 32]>::try_from(b).ok());
        // Some old clients write a fraction; only whole seconds count.
        let seconds: i64 = raw_expiry
            .split('.')
            .next()
            .and_then(|s| s.parse().ok())
            .filter(|s| (0..=253_402_300_799).contains(s))
            .ok_or(SasError::Malformed("se"))?;
        let policy = skn.filter(|s| !s.is_empty()).map(|s| decode("skn", s)).transpose()?;
        Ok(Self {
            raw_resource: raw_resource.to_owned(),
            raw_expiry: raw_expiry.to_owned(),
            resource: normalize(&decode("sr", raw_resource)?),
            signature: signature.ok_or(SasError::Malformed("sig"))?,
            expires_at: Timestamp::from_millis(seconds * 1000),
            policy,
        })
    }

    /// What it says it covers: decoded, without scheme and trailing slash. Proves nothing.
    pub fn resource(&self) -> &str {
        &self.resource
    }

    /// The policy that signed it, if it names one.
    pub fn policy(&self) -> Option<&str> {
        self.policy.as_deref()
    }

    /// Checks the signature under either key, and the expiry.
    ///
    /// # Errors
    /// [`Refusal::Signature`] or [`Refusal::Expired`].
    pub fn verify(&self, keys: &KeyPair, now: Timestamp) -> Result<Claims, Refusal> {
        // Both comparisons always run, so time does not tell which key is in use.
        let good = self.matches(&keys.primary) | self.matches(&keys.secondary);
        if !good {
            return Err(Refusal::Signature);
        }
        if now > self.expires_at.plus(CLOCK_SKEW) {
            return Err(Refusal::Expired(self.expires_at));
        }
        Ok(Claims {
            resource: self.resource.clone(),
            policy: self.policy.clone(),
            expires_at: if now > self.expires_at { self.expires_at.plus(CLOCK_SKEW) } else { self.expires_at },
        })
    }

    fn matches(&self, key: &Key) -> bool {
        let expected = key.sign_parts(&[self.raw_resource.as_bytes(), b"\n", self.raw_expiry.as_bytes()]);
        expected.ct_eq(&self.signature).into()
    }
}

impl Claims {
    /// Whether the token covers `path` on one of our hosts.
    ///
    /// C# encodes an id, and then the resource it is part of. The key of an identity is good for no other one in any
    /// reading; that of a policy is, so its resource is read once only.
    ///
    /// # Errors
    /// [`Refusal::Resource`] tells both sides.
    pub fn require(&self, host: &str, path: &str) -> Result<(), Refusal> {
        let needed = if path.is_empty() { host.to_owned() } else { format!("{host}/{path}") };
        let is_read_again = || {
            let again = percent_decode_str(&self.resource).decode_utf8();
            self.policy.is_none() && again.is_ok_and(|resource| covers(&resource, &needed))
        };
        if covers(&self.resource, &needed) || is_read_again() {
            return Ok(());
        }
        Err(Refusal::Resource { presented: self.resource.clone(), needed })
    }

    /// Whether the token is for one of `hosts`, whatever path it names: the token of a policy opens everything the
    /// policy may do there. Azure IoT Explorer signs `{host}/devices/query` once and uses it for every operation.
    ///
    /// # Errors
    /// [`Refusal::Resource`] tells both sides.
    pub fn require_host<'a>(&self, hosts: impl IntoIterator<Item = &'a String>) -> Result<(), Refusal> {
        let mut needed = "";
        for host in hosts {
            if covers(host, &self.resource) {
                return Ok(());
            }
            needed = host;
        }
        Err(Refusal::Resource { presented: self.resource.clone(), needed: needed.to_owned() })
    }
}

fn decode(field: &'static str, raw: &str) -> Result<String, SasError> {
    percent_decode_str(raw).decode_utf8().map(|s| s.into_owned()).map_err(|_| SasError::Malformed(field))
}

fn normalize(resource: &str) -> String {
    let rest = resource.split_once("://").map_or(resource, |(_, rest)| rest);
    rest.trim_end_matches('/').to_owned()
}

/// Whether `scope` grants `resource`: same host without case, whole segments as written.
pub fn covers(scope: &str, resource: &str) -> bool {
    let (scope_host, scope_path) = scope.split_once('/').unwrap_or((scope, ""));
    let (host, path) = resource.split_once('/').unwrap_or((resource, ""));
    if !strip_port(scope_host).eq_ignore_ascii_case(strip_port(host)) {
        return false;
    }
    let mut segments = path.split('/');
    scope_path
        .split('/')
        .filter(|s| !s.is_empty() && !s.starts_with("api-version="))
        .all(|s| segments.next() == Some(s))
}

fn strip_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}

/// Makes tokens: for the command line, the simulator and tests.
#[derive(Debug, Clone)]
pub struct Signer {
    /// Resource without scheme, such as `hub.example/devices/d1`.
    pub resource: String,
    /// Key to sign with.
    pub key: Key,
    /// Policy name, for policy keys.
    pub policy: Option<String>,
}

impl Signer {
    /// A token good until `expires_at` (whole seconds).
    pub fn token(&self, expires_at: Timestamp) -> String {
        let resource = encode_component(&self.resource);
        let expiry = expires_at.as_secs().to_string();
        let signature = BASE64.encode(self.key.sign_parts(&[resource.as_bytes(), b"\n", expiry.as_bytes()]));
        let mut token = format!("{PREFIX}sr={resource}&sig={}&se={expiry}", encode_component(&signature));
        if let Some(policy) = &self.policy {
            token.push_str("&skn=");
            token.push_str(&encode_component(policy));
        }
        token
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Key {
        Key::from_base64("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=").unwrap()
    }

    fn pair() -> KeyPair {
        KeyPair { primary: Key::from_bytes([9; 32]), secondary: key() }
    }

    const VECTOR: &str = "SharedAccessSignature sr=hub1.example.test%2Fdevices%2Fdev1&sig=yYvLtQw3DVUFFWzmo9VIW2kQROkLEIR26T7HjCI79Oo%3D&se=1767225600";

    #[test]
    fn makes_and_verifies_the_published_vector() {
        let signer = Signer { resource: "hub1.example.test/devices/dev1".into(), key: key(), policy: None };
        assert_eq!(signer.token(Timestamp::from_millis(1_767_225_600_000)), VECTOR);
        let claims = SharedAccessSignature::parse(VECTOR).unwrap().verify(&pair(), Timestamp::from_millis(0)).unwrap();
        assert!(claims.require("HUB1.example.test", "devices/dev1/messages").is_ok());
        assert!(claims.require("hub1.example.test", "devices/dev10").is_err());
    }

    #[test]
    fn the_signature_is_over_the_text_as_sent() {
        let expiry = "1767225600";
        for sr in ["hub/devices/dev1", "hub%2fdevices%2fdev1", "HUB%2Fdevices%2Fdev1"] {
            let sig = BASE64.encode(key().sign(format!("{sr}\n{expiry}").as_bytes()));
            let token = format!("SharedAccessSignature sig={}&se={expiry}&sr={sr}&skn=", encode_component(&sig));
            let claims =
                SharedAccessSignature::parse(&token).unwrap().verify(&pair(), Timestamp::from_millis(0)).unwrap();
            assert!(claims.require("hub", "devices/dev1").is_ok(), "{sr}");
        }
    }

    #[test]
    fn a_wrong_signature_and_an_old_token_are_refused() {
        let sas = SharedAccessSignature::parse(VECTOR).unwrap();
        let other = KeyPair { primary: Key::from_bytes([1; 32]), secondary: Key::from_bytes([2; 32]) };
        assert_eq!(sas.verify(&other, Timestamp::from_millis(0)), Err(Refusal::Signature));
        let expiry = Timestamp::from_millis(1_767_225_600_000);
        assert!(sas.verify(&pair(), expiry.plus(CLOCK_SKEW)).is_ok());
        let late = expiry.plus(CLOCK_SKEW).plus(Duration::from_millis(1));
        assert_eq!(sas.verify(&pair(), late), Err(Refusal::Expired(expiry)));
    }

    #[track_caller]
    fn check(scope: &str, resource: &str, granted: bool) {
        assert_eq!(covers(scope, resource), granted, "{scope} over {resource}");
    }

    #[test]
    fn a_scope_grants_whole_segments_only() {
        check("hub", "hub/devices/dev1", true);
        check("hub/devices", "hub/devices/dev1", true);
        check("hub/devices/dev1", "hub/devices/dev1/messages", true);
        check("hub/devices/dev1", "hub/devices/dev10", false);
        check("hub/devices/dev1", "hub/devices/DEV1", false);
        check("hub/devices/dev1/api-version=2016-11-14", "hub/devices/dev1", true);
        check("hub/devices/dev1/modules/m", "hub/devices/dev1", false);
        check("hub:443", "hub/devices", true);
        check("other", "hub/devices", false);
    }

    #[test]
    fn a_policys_token_is_for_a_host_whatever_path_it_names() {
        let check = |resource: &str, good: bool| {
            let claims =
                Claims { resource: resource.into(), policy: Some("service".into()), expires_at: Timestamp::NEVER };
            let hosts = ["other".to_owned(), "hub".to_owned()];
            assert_eq!(claims.require_host(&hosts).is_ok(), good, "{resource}");
        };
        for path in ["", "/", "/devices/query", "/devices/d1", "/messages/events", "/twins/d/api-version=2016-11-14"] {
            check(&format!("HUB{path}"), true);
            check(&format!("hub:443{path}"), true);
            check(&format!("hub.else.where{path}"), false);
            check(&format!("hu{path}"), false);
        }
        check("", false);
        check("/hub", false);
    }

    #[test]
    fn an_id_may_be_encoded_before_its_resource_in_a_token_of_its_own() {
        let claims = |resource: &str, policy: Option<&str>| {
            let (resource, policy) = (resource.to_owned(), policy.map(str::to_owned));
            let token = Signer { resource, key: key(), policy }.token(Timestamp::from_millis(9_000));
            SharedAccessSignature::parse(&token).unwrap().verify(&pair(), Timestamp::from_millis(0)).unwrap()
        };
        for (written, id) in [("n%40m.et%23st", "n@m.et#st"), ("n@m.et#st", "n@m.et#st"), ("a%252Fb", "a%2Fb")] {
            let own = claims(&format!("hub/devices/{written}"), None);
            assert!(own.require("hub", &format!("devices/{id}")).is_ok(), "{written}");
            assert!(own.require("hub", "devices/n").is_err(), "{written}");
        }
        assert!(claims("hub/devices/a%2Fb", None).require("hub", "devices/a%2Fb").is_ok(), "as it is");
        assert!(claims("hub/devices/a%2Fb", None).require("hub", "devices/a").is_err());
        // `n%40m` may be registered too, and who may connect it must not connect `n@m`.
        assert!(claims("hub/devices/n%40m", Some("device")).require("hub", "devices/n@m").is_err());
        assert!(claims("hub/devices/n%40m", Some("device")).require("hub", "devices/n%40m").is_ok());
    }

    #[test]
    fn unreadable_tokens_name_the_field() {
        let cases = [
            ("Bearer x", SasError::Prefix),
            ("SharedAccessSignature sr=a&se=1", SasError::Missing("sig")),
            ("SharedAccessSignature sr=a&sr=b&se=1&sig=x", SasError::Repeated("sr")),
            ("SharedAccessSignature sr=a&se=soon&sig=eA==", SasError::Malformed("se")),
            ("SharedAccessSignature sr=a&se=-5&sig=eA==", SasError::Malformed("se")),
            ("SharedAccessSignature sr=a&se=1&sig=eA%3D%3D", SasError::Malformed("sig")),
            (
                "SharedAccessSignature sr=%ff&se=1&sig=yYvLtQw3DVUFFWzmo9VIW2kQROkLEIR26T7HjCI79Oo%3D",
                SasError::Malformed("sr"),
            ),
        ];
        for (text, error) in cases {
            assert_eq!(SharedAccessSignature::parse(text), Err(error), "{text}");
        }
        assert_eq!(SharedAccessSignature::parse(&"x".repeat(5000)), Err(SasError::TooLong));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_survived(text in "\\PC{0,200}") {
            let _ = SharedAccessSignature::parse(&format!("SharedAccessSignature {text}"));
        }
    }
}
