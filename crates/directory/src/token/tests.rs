use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gantry_identity::Timestamp;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use super::*;

pub(crate) const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_000);
const TENANT: &str = "72f988bf-86f1-41af-91ab-2d7cd011db47";
const OBJECT: &str = "9a3f4c1e-0b52-4b0f-8b57-1f6c6e0f1a2b";
const APP: &str = "0f3c6e2a-5d1b-4c8e-9f7a-2b4d6e8f0a1c";

/// An issuer's private key. Made once for each kind, because RSA takes its time.
#[derive(Clone)]
pub(crate) struct Signer {
    key: EncodingKey,
    algorithm: Algorithm,
    id: String,
}

impl Signer {
    pub(crate) fn ec(id: &str) -> Self {
        static KEY: OnceLock<Vec<u8>> = OnceLock::new();
        Self::of_ec(KEY.get_or_init(|| rcgen::KeyPair::generate().unwrap().serialize_der()), id)
    }

    fn other_ec(id: &str) -> Self {
        Self::of_ec(&rcgen::KeyPair::generate().unwrap().serialize_der(), id)
    }

    fn of_ec(der: &[u8], id: &str) -> Self {
        Self { key: EncodingKey::from_ec_der(der), algorithm: Algorithm::ES256, id: id.into() }
    }

    pub(crate) fn rsa(id: &str) -> Self {
        use aws_lc_rs::encoding::AsDer as _;
        static KEY: OnceLock<Vec<u8>> = OnceLock::new();
        let der = KEY.get_or_init(|| {
            let pair = aws_lc_rs::rsa::KeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
            // PKCS #8 around a key of 2048 bits has 26 bytes in front of the PKCS #1 that is asked for.
            pair.as_der().unwrap().as_ref()[26..].to_vec()
        });
        Self { key: EncodingKey::from_rsa_der(der), algorithm: Algorithm::RS256, id: id.into() }
    }

    pub(crate) fn with_algorithm(self, algorithm: Algorithm) -> Self {
        Self { algorithm, ..self }
    }

    pub(crate) fn jwk(&self) -> Value {
        let mut jwk = Jwk::from_encoding_key(&self.key, self.algorithm).unwrap();
        jwk.common.key_id = Some(self.id.clone());
        let mut jwk = serde_json::to_value(jwk).unwrap();
        jwk.as_object_mut().unwrap().remove("alg");
        jwk
    }

    pub(crate) fn keys(&self) -> PublicKeys {
        PublicKeys::parse(json!({ "keys": [self.jwk()] }).to_string().as_bytes()).unwrap()
    }

    pub(crate) fn sign(&self, claims: &Value) -> String {
        self.sign_with(&json!({ "typ": "JWT", "alg": self.algorithm, "kid": self.id }), claims)
    }

    fn sign_with(&self, header: &Value, claims: &Value) -> String {
        let signed = format!("{}.{}", part(header), part(claims));
        let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), &self.key, self.algorithm).unwrap();
        format!("{signed}.{signature}")
    }
}

fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

/// A program's token of version 1, as the reference's look.
fn program() -> Value {
    let now = NOW.as_secs();
    json!({
        "aud": "https://iothubs.azure.net", "iss": format!("https://sts.windows.net/{TENANT}/"),
        "iat": now - 5, "nbf": now - 5, "exp": now + 3600, "aio": "x", "appid": APP, "appidacr": "1",
        "idp": format!("https://sts.windows.net/{TENANT}/"), "idtyp": "app", "oid": OBJECT, "rh": "x.", "sub": OBJECT,
        "tid": TENANT, "uti": "x", "ver": "1.0", "roles": ["Device.Read"],
    })
}

/// A person's token of version 2.
fn person() -> Value {
    let now = NOW.as_secs();
    json!({
        "aud": Head::IotHub.app_id().to_string(), "iss": format!("https://login.microsoftonline.com/{TENANT}/v2.0"),
        "iat": now - 5, "nbf": now - 5, "exp": now + 3600, "azp": APP, "azpacr": "0", "oid": OBJECT, "sub": "pairwise",
        "tid": TENANT, "ver": "2.0", "name": "Jane Doe", "preferred_username": "jane@contoso.com",
        "scp": "user_impersonation other", "groups": [APP, OBJECT],
    })
}

fn with(mut claims: Value, change: impl FnOnce(&mut Value)) -> Value {
    change(&mut claims);
    claims
}

fn validate_with(keys: PublicKeys, token: &str) -> Result<Principal, TokenRefused> {
    let issuer = TrustedIssuer::entra(Guid::parse(TENANT).unwrap(), keys);
    validate(token, &[issuer], &Audiences::of(Head::IotHub, ["https://hub.example"]), NOW)
}

fn read(claims: &Value) -> Result<Principal, TokenRefused> {
    let signer = Signer::ec("1");
    validate_with(signer.keys(), &signer.sign(claims))
}

#[track_caller]
fn refused(claims: &Value, expected: &str) {
    assert_eq!(read(claims).unwrap_err().to_string(), expected, "{claims}");
}

#[test]
fn a_programs_token_of_version_1() {
    let principal = read(&program()).unwrap();
    let expected = Principal {
        tenant_id: Guid::parse(TENANT).unwrap(),
        object_id: Guid::parse(OBJECT).unwrap(),
        kind: PrincipalKind::ServicePrincipal,
        name: APP.into(),
        app_id: Some(APP.into()),
        groups: vec![],
        groups_elsewhere: false,
        roles: vec!["Device.Read".into()],
        scopes: vec![],
        expires_at: Timestamp::from_millis(NOW.as_millis() + 3_600_000),
    };
    assert_eq!(principal, expected);
}

#[test]
fn a_persons_token_of_version_2() {
    let principal = read(&person()).unwrap();
    assert_eq!(principal.kind, PrincipalKind::User);
    assert_eq!(principal.name, "jane@contoso.com");
    assert_eq!(principal.groups, [Guid::parse(APP).unwrap(), Guid::parse(OBJECT).unwrap()]);
    assert_eq!(principal.scopes, ["user_impersonation", "other"]);
    let upn = with(person(), |claims| claims["upn"] = json!("j\u{0}ane"));
    assert_eq!(read(&upn).unwrap().name, "jane", "no control characters in logs");
}

#[test]
fn every_algorithm_we_take_and_none_other() {
    for signer in [Signer::ec("1"), Signer::rsa("1"), Signer::rsa("1").with_algorithm(Algorithm::PS256)] {
        assert!(validate_with(signer.keys(), &signer.sign(&program())).is_ok(), "{:?}", signer.algorithm);
    }
    let signer = Signer::rsa("1").with_algorithm(Algorithm::RS384);
    let error = validate_with(signer.keys(), &signer.sign(&program())).unwrap_err();
    assert_eq!(error, JwtError::Algorithm("RS384".into()).into());
    for alg in [json!("none"), json!("None"), json!("NONE"), json!(""), json!(null), json!(["ES256"]), json!("es256")] {
        let token = format!("{}.{}.", part(&json!({ "alg": alg, "kid": "1" })), part(&program()));
        let error = validate_with(Signer::ec("1").keys(), &token).unwrap_err();
        assert!(matches!(error, TokenRefused::Jwt(JwtError::Algorithm(_))), "{alg}: {error:?}");
    }
}

#[test]
fn a_public_key_is_no_shared_secret() {
    let issuer = Signer::rsa("1");
    for secret in [issuer.jwk().to_string(), issuer.jwk()["n"].as_str().unwrap().to_owned()] {
        let header = Header { kid: Some("1".into()), ..Header::new(Algorithm::HS256) };
        let key = EncodingKey::from_secret(secret.as_bytes());
        let token = jsonwebtoken::encode(&header, &program(), &key).unwrap();
        let error = validate_with(issuer.keys(), &token).unwrap_err();
        assert_eq!(error, JwtError::Algorithm("HS256".into()).into());
    }
}

#[test]
fn a_key_counts_for_its_issuer_its_id_and_its_algorithm() {
    let (ours, forger) = (Signer::ec("1"), Signer::other_ec("1"));
    let check = |keys: PublicKeys, token: &str, expected: JwtError| {
        assert_eq!(validate_with(keys, token).unwrap_err(), expected.into());
    };
    check(ours.keys(), &forger.sign(&program()), JwtError::Signature);
    check(ours.keys(), &Signer::other_ec("2").sign(&program()), JwtError::KeyUnknown("2".into()));
    check(ours.keys(), &Signer::rsa("1").sign(&program()), JwtError::KeyMismatch("1".into()));
    // A key that is for RS256 alone.
    let rsa = Signer::rsa("1");
    let mut jwk = rsa.jwk();
    jwk["alg"] = json!("RS256");
    let keys = PublicKeys::parse(json!({ "keys": [jwk] }).to_string().as_bytes()).unwrap();
    assert!(validate_with(keys.clone(), &rsa.sign(&program())).is_ok());
    check(keys, &rsa.with_algorithm(Algorithm::PS256).sign(&program()), JwtError::KeyMismatch("1".into()));
    // Another issuer that is trusted too does not speak for this one.
    let other = TrustedIssuer::entra(Guid::parse(OBJECT).unwrap(), forger.keys());
    let own = TrustedIssuer::entra(Guid::parse(TENANT).unwrap(), ours.keys());
    let audiences = Audiences::of(Head::IotHub, [""]);
    let error = validate(&forger.sign(&program()), &[other, own], &audiences, NOW).unwrap_err();
    assert_eq!(error, JwtError::Signature.into());
}

#[test]
fn a_header_names_a_key_and_brings_none() {
    let signer = Signer::ec("1");
    let check = |name: &str, value: Value, expected: JwtError| {
        let mut header = json!({ "alg": "ES256", "kid": "1" });
        header[name] = value;
        let error = validate_with(signer.keys(), &signer.sign_with(&header, &program())).unwrap_err();
        assert_eq!(error, expected.into(), "{name}");
    };
    check("jwk", signer.jwk(), JwtError::OwnKey("jwk"));
    check("jku", json!("https://evil.example"), JwtError::OwnKey("jku"));
    check("x5u", json!("https://evil.example"), JwtError::OwnKey("x5u"));
    check("crit", json!(["b64"]), JwtError::Critical);
    check("cty", json!("JWT"), JwtError::Nested("cty"));
    check("zip", json!("DEF"), JwtError::Nested("zip"));
    check("kid", json!(7), JwtError::Malformed { part: "`kid`", what: "a text" });
    let without = signer.sign_with(&json!({ "alg": "ES256" }), &program());
    assert_eq!(validate_with(signer.keys(), &without).unwrap_err(), JwtError::KeyIdMissing.into());
    let inner = signer.sign(&program());
    let nested = format!("{}.{}.x", part(&json!({ "alg": "ES256", "kid": "1" })), URL_SAFE_NO_PAD.encode(&inner));
    let expected = JwtError::Malformed { part: "payload", what: "a JSON object" };
    assert_eq!(validate_with(signer.keys(), &nested).unwrap_err(), expected.into());
}

#[test]
fn what_is_no_token_is_refused() {
    let signer = Signer::ec("1");
    let check = |token: &str, expected: JwtError| {
        assert_eq!(validate_with(signer.keys(), token).unwrap_err(), expected.into(), "{token}");
    };
    let three = JwtError::Malformed { part: "text", what: "three parts" };
    for token in ["", "a", "a.b", "a.b.c.d", "a.b.c.d.e.f", "......"] {
        check(token, three.clone());
    }
    check("a.b.c.d.e", JwtError::Encrypted);
    check("é.b.c", JwtError::Malformed { part: "header", what: "base64url" });
    check(&format!("{}.b.c", part(&json!([]))), JwtError::Malformed { part: "header", what: "a JSON object" });
    let good = signer.sign(&program());
    check(&format!("{good}="), JwtError::Signature);
    check(&good[..good.len() - 4], JwtError::Signature);
    let long = |len: usize| format!("{}{}", "a".repeat(len - 4), ".b.c");
    check(&long(TOKEN_LEN_MAX + 1), JwtError::TooLong);
    assert_ne!(validate_with(signer.keys(), &long(TOKEN_LEN_MAX)).unwrap_err(), JwtError::TooLong.into());
}

#[test]
fn wrong_claims_are_refused_by_name() {
    let now = NOW.as_secs();
    let change = |name: &str, value: Value| with(program(), |claims| claims[name] = value);
    let without = |name: &str| with(program(), |claims| drop(claims.as_object_mut().unwrap().remove(name)));
    refused(&change("iss", json!("https://evil.example/")), "issuer `https://evil.example/` is not trusted");
    refused(&change("iss", json!([TENANT])), "issuer `` is not trusted");
    refused(&without("iss"), "issuer `` is not trusted");
    refused(&change("tid", json!(OBJECT)), &format!("tenant `{OBJECT}` is not the issuer's"));
    refused(&change("tid", json!("x")), "claim `tid` is not a GUID");
    refused(&change("aud", json!("https://storage.azure.com")), "audience `https://storage.azure.com` is not ours");
    refused(&change("aud", json!(["a", "b"])), "audience `a b` is not ours");
    refused(&change("aud", json!(7)), "claim `aud` is not a list of texts within its bounds");
    refused(&without("aud"), "audience `` is not ours");
    refused(&change("exp", json!(now - 60)), "token has expired");
    refused(&without("exp"), "claim `exp` is not there");
    refused(&change("exp", json!("soon")), "claim `exp` is not a time in seconds");
    refused(&change("nbf", json!(now + 61)), "token is not valid yet");
    refused(&without("oid"), "claim `oid` is not there");
    refused(&change("oid", json!("jane")), "claim `oid` is not a GUID");
    refused(&without("sub"), "claim `sub` is not there");
    refused(&without("appid"), "claim `appid` is not there");
    refused(&change("ver", json!("3.0")), "claim `ver` is not `1.0` or `2.0`");
    refused(&change("ver", json!("2.0")), "claim `azp` is not there");
    refused(&change("idtyp", json!("device")), "claim `idtyp` is not `app` or `user`");
    refused(&change("scp", json!("x")), "claim `scp` is not absent from a program's token");
    refused(&change("groups", json!(["admins"])), "claim `groups` is not a list of GUIDs");
    refused(
        &change("groups", json!(vec![OBJECT; GROUPS_MAX + 1])),
        "claim `groups` is not a list of texts within its bounds",
    );
    for within in [
        change("aud", json!(["others", "https://iothubs.azure.net/"])),
        change("aud", json!("https://hub.example")),
        change("exp", json!(now - 59)),
        change("exp", json!(1e300)),
        change("nbf", json!(now + 60)),
        change("groups", json!(vec![OBJECT; GROUPS_MAX])),
        without("nbf"),
        without("idtyp"),
    ] {
        assert!(read(&within).is_ok(), "{within}");
    }
}

#[test]
fn what_proves_a_sign_in_is_no_access_token() {
    let id_token = with(person(), |claims| drop(claims.as_object_mut().unwrap().remove("scp")));
    refused(&id_token, "claim `scp` is not there, so this is no access token");
    refused(
        &with(id_token.clone(), |claims| claims["idtyp"] = json!("user")),
        "claim `scp` is not there, so this is no access token",
    );
    // A subject of its own without `idtyp` is a program.
    let program = with(id_token, |claims| claims["sub"] = json!(OBJECT));
    assert_eq!(read(&program).unwrap().kind, PrincipalKind::ServicePrincipal);
}

#[test]
fn groups_that_are_elsewhere_are_known_to_be() {
    let names = with(person(), |claims| claims["_claim_names"] = json!({ "groups": "src1" }));
    let flag = with(person(), |claims| claims["hasgroups"] = json!("true"));
    for claims in [names, flag] {
        assert!(read(&claims).unwrap().groups_elsewhere);
    }
    assert!(!read(&person()).unwrap().groups_elsewhere);
}

proptest::proptest! {
    #[test]
    fn any_text_is_refused(text in "\\PC{0,200}", header in "\\PC{0,60}", payload in "\\PC{0,60}") {
        let keys = Signer::ec("1").keys();
        let made = format!("{}.{}.x", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        for token in [text, made] {
            proptest::prop_assert!(validate_with(keys.clone(), &token).is_err());
        }
    }

    /// One character changed anywhere: never taken.
    #[test]
    fn a_changed_token_is_refused(at: proptest::sample::Index, to in "[A-Za-z0-9_.-]") {
        let signer = Signer::ec("1");
        let token = signer.sign(&program());
        let at = at.index(token.len());
        let mut changed = token.clone();
        changed.replace_range(at..=at, &to);
        proptest::prop_assume!(changed != token);
        proptest::prop_assert!(validate_with(signer.keys(), &changed).is_err());
    }

    /// Claims of any shape under a good signature: read or refused, without panic.
    #[test]
    fn any_claims_are_read_or_refused(
        name in "(aud|exp|nbf|tid|oid|sub|ver|idtyp|scp|groups|roles|appid|upn|_claim_names)",
        n: f64,
        text in "\\PC{0,20}",
    ) {
        for value in [json!(n), json!(text), json!([n, text]), json!({ "groups": text }), json!(null), json!(true)] {
            let _ = read(&with(program(), |claims| claims[&name] = value.clone()));
            let _ = read(&with(person(), |claims| claims[&name] = value));
        }
    }
}
