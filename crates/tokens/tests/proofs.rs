//! Proofs from the outside: JSON Web Tokens and their keys, proxies, webhooks, registrations.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use gantry_identity::{Authority, CertificateChain, Key, SharedAccessSignature, Timestamp};
use gantry_tokens::ports::{Audit, Event, Facts, KeySource, Outcome, PolicyKey, Signing, Webhook};
use gantry_tokens::{
    Denied, GroupKey, JwtRules, JwtRulesError, KeySet, KeySetRules, Life, Limits, Presented, Proofs, Rate, Request,
    Token, TokenServer, TokenServerConfig, TrustedProxy, Unproven,
};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_000);
const GROUP_KEY: &str = "8isrFI1sGsIlvvFSSFRiMfCNzv21fjbE/+ah/lSh3lF8e2YG1Te7w1KpZhJFFXJrqYKi9yegxkqIChbqOS9Egw==";

struct Fixed;

impl Signing for Fixed {
    fn current(&self) -> Option<PolicyKey> {
        Some(PolicyKey { policy: "device".into(), key: Key::from_bytes([7; 32]) })
    }
}

/// What the audit log was told, a line each.
#[derive(Default)]
struct Heard(Mutex<Vec<String>>);

impl Audit for Heard {
    fn note(&self, event: &Event<'_>) {
        let outcome = match event.outcome {
            Outcome::Issued { by, key_name, .. } => format!("issued by {by} with {key_name}"),
            Outcome::Refused(denied) => format!("refused: {denied}"),
        };
        self.0.lock().unwrap().push(format!("{} {outcome}", event.resource));
    }
}

struct World {
    server: TokenServer,
    heard: Arc<Heard>,
}

fn world(proofs: Proofs) -> World {
    let (heard, secs) = (Arc::new(Heard::default()), Duration::from_secs);
    let none = Rate { count: 0, window: secs(1) };
    let config = TokenServerConfig {
        host_names: vec!["hub.example".into()],
        life: Life { default: secs(3600), min: secs(60), max: secs(86_400) },
        group: Some(GroupKey { scope: "0ne00000001".into(), key: Key::from_base64(GROUP_KEY).unwrap() }),
        proofs,
        limits: Limits::new(none, none, none),
        signing: Arc::new(Fixed),
        audit: Arc::<Heard>::clone(&heard),
    };
    World { server: TokenServer::new(config), heard }
}

impl World {
    fn ask_at(&self, now: Timestamp, resource: &str, presented: Presented<'_>) -> Result<Token, Denied> {
        let request = Request { resource, ttl_secs: None, expiry_secs: None, peer: "10.0.0.7:1", presented };
        self.server.issue(now, request).now_or_never().expect("nothing here waits")
    }

    fn ask(&self, resource: &str, presented: Presented<'_>) -> Result<Token, Denied> {
        self.ask_at(NOW, resource, presented)
    }

    fn last_heard(&self) -> String {
        self.heard.0.lock().unwrap().last().unwrap().clone()
    }
}

/// An authorization server: its private key, and the set it publishes.
struct Server {
    key: EncodingKey,
    id: String,
}

impl Server {
    fn new(id: &str) -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        Self { key: EncodingKey::from_ec_der(&key.serialize_der()), id: id.into() }
    }

    fn jwk(&self) -> Value {
        let mut jwk = Jwk::from_encoding_key(&self.key, Algorithm::ES256).unwrap();
        jwk.common.key_id = Some(self.id.clone());
        serde_json::to_value(jwk).unwrap()
    }

    fn sign(&self, claims: &Value) -> String {
        let header = Header { kid: Some(self.id.clone()), ..Header::new(Algorithm::ES256) };
        let token = jsonwebtoken::encode(&header, claims, &self.key).unwrap();
        format!("Bearer {token}")
    }
}

fn claims() -> Value {
    let now = NOW.as_secs();
    json!({ "iss": "https://login.example", "aud": "tokens", "sub": "d1", "nbf": now - 10, "exp": now + 300 })
}

fn with(change: impl FnOnce(&mut Value)) -> Value {
    let mut claims = claims();
    change(&mut claims);
    claims
}

/// A key set that can go down; counts how often it was asked.
struct Source {
    set: Mutex<Result<Value, String>>,
    asked: AtomicUsize,
    failures: Mutex<Vec<String>>,
}

impl Source {
    fn of(keys: &[Value]) -> Arc<Self> {
        Self::with(json!({ "keys": keys }))
    }

    fn with(set: Value) -> Arc<Self> {
        Arc::new(Self { set: Mutex::new(Ok(set)), asked: AtomicUsize::default(), failures: Mutex::default() })
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

impl KeySource for Source {
    fn fetch(&self) -> BoxFuture<'_, Result<Vec<u8>, String>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let answer = self.set.lock().unwrap().clone().map(|set| set.to_string().into_bytes());
        Box::pin(std::future::ready(answer))
    }

    fn failed(&self, reason: &str) {
        self.failures.lock().unwrap().push(reason.to_owned());
    }
}

fn jwt(source: &Arc<Source>, algorithms: &[&str], claim: &str) -> Result<JwtRules, JwtRulesError> {
    let algorithms: Vec<_> = algorithms.iter().map(|name| (*name).to_owned()).collect();
    let keys = KeySet::new(Arc::<Source>::clone(source), KeySetRules::default());
    JwtRules::new("https://login.example", "tokens", &algorithms, claim, keys)
}

fn jwt_world(source: &Arc<Source>) -> World {
    world(Proofs { jwt: Some(jwt(source, &["ES256", "RS256"], "sub").unwrap()), ..Proofs::default() })
}

fn bearer(token: &str) -> Presented<'_> {
    Presented { authorization: Some(token), ..Presented::default() }
}

#[track_caller]
fn unproven(result: Result<Token, Denied>, word: &str) {
    match result {
        Err(Denied::Unproven(Unproven::Jwt(reason))) => assert!(reason.contains(word), "{reason} has no {word}"),
        other => panic!("{other:?} instead of {word}"),
    }
}

#[test]
fn a_json_web_token_is_for_the_device_it_names() {
    let login = Server::new("1");
    let world = jwt_world(&Source::of(&[login.jwk()]));
    let good = login.sign(&claims());
    let token = world.ask("hub.example/devices/d1", bearer(&good)).unwrap();
    assert_eq!(SharedAccessSignature::parse(&token.text).unwrap().resource(), "hub.example/devices/d1");
    assert_eq!(token.expires_at.as_secs(), NOW.as_secs() + 3600);
    assert_eq!(world.last_heard(), "hub.example/devices/d1 issued by jwt `d1` with device");
    assert!(world.ask("hub.example/devices/d1/modules/m", bearer(&good)).is_ok(), "a module of the device");
    let other = world.ask("hub.example/devices/d2", bearer(&good));
    assert!(matches!(other, Err(Denied::NotOwn { .. })), "{other:?}");
    let module = login.sign(&with(|claims| claims["sub"] = json!("d1/m")));
    assert!(world.ask("hub.example/devices/d1/modules/m", bearer(&module)).is_ok());
    assert!(world.ask("hub.example/devices/d1", bearer(&module)).is_err(), "a module is not its device");
    let star = login.sign(&with(|claims| claims["sub"] = json!("*")));
    assert!(world.ask("hub.example/devices/d1", bearer(&star)).is_err(), "a star in a claim is a star");
}

#[test]
fn wrong_claims_are_refused_by_name() {
    let login = Server::new("1");
    let world = jwt_world(&Source::of(&[login.jwk()]));
    let now = NOW.as_secs();
    type Change = fn(&mut Value, i64);
    let cases: [(Change, &str); 12] = [
        (|claims, now| claims["exp"] = json!(now - 61), "expired"),
        (|claims, _| claims["exp"] = json!("soon"), "exp"),
        (|claims, _| drop(claims.as_object_mut().unwrap().remove("exp")), "exp"),
        (|claims, now| claims["nbf"] = json!(now + 61), "not valid yet"),
        (|claims, _| claims["iss"] = json!("https://evil.example"), "InvalidIssuer"),
        (|claims, _| drop(claims.as_object_mut().unwrap().remove("iss")), "iss"),
        (|claims, _| claims["aud"] = json!("others"), "InvalidAudience"),
        (|claims, _| claims["aud"] = json!(["others"]), "InvalidAudience"),
        (|claims, _| drop(claims.as_object_mut().unwrap().remove("aud")), "aud"),
        (|claims, _| drop(claims.as_object_mut().unwrap().remove("sub")), "no text `sub`"),
        (|claims, _| claims["sub"] = json!(7), "no text `sub`"),
        (|claims, _| claims["filler"] = json!("x".repeat(9000)), "longer"),
    ];
    for (change, word) in cases {
        let token = login.sign(&with(|claims| change(claims, now)));
        unproven(world.ask("hub.example/devices/d1", bearer(&token)), word);
    }
    for within in [
        with(|claims| claims["exp"] = json!(now - 59)),
        with(|claims| claims["nbf"] = json!(now + 59)),
        with(|claims| claims["aud"] = json!(["others", "tokens"])),
        with(|claims| claims["exp"] = json!(now as f64 + 0.5)),
    ] {
        assert!(world.ask("hub.example/devices/d1", bearer(&login.sign(&within))).is_ok(), "{within}");
    }
}

#[test]
fn forged_and_unsigned_tokens_are_refused() {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let (login, forger) = (Server::new("1"), Server::new("1"));
    let world = jwt_world(&Source::of(&[login.jwk()]));
    unproven(world.ask("hub.example/devices/d1", bearer(&forger.sign(&claims()))), "InvalidSignature");
    let unknown = Server::new("2");
    unproven(world.ask("hub.example/devices/d1", bearer(&unknown.sign(&claims()))), "not in the key set");
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let none = format!("Bearer {}.{}.", part(json!({ "alg": "none", "kid": "1" })), part(claims()));
    unproven(world.ask("hub.example/devices/d1", bearer(&none)), "unknown algorithm");
    // The public key as a shared secret.
    let secret = EncodingKey::from_secret(login.jwk().to_string().as_bytes());
    let header = Header { kid: Some("1".into()), ..Header::new(Algorithm::HS256) };
    let confused = format!("Bearer {}", jsonwebtoken::encode(&header, &claims(), &secret).unwrap());
    unproven(world.ask("hub.example/devices/d1", bearer(&confused)), "HS256 is not allowed");
    for rubbish in ["Bearer", "Bearer ", "Bearer x", "Bearer a.b", "bearer a.b.c", "Bearer ....", "Bearer é.é.é"] {
        let result = world.ask("hub.example/devices/d1", bearer(rubbish));
        assert!(matches!(result, Err(Denied::Unproven(_))), "{rubbish}: {result:?}");
    }
    let basic = world.ask("hub.example/devices/d1", bearer("Basic abc"));
    assert_eq!(basic, Err(Denied::Unproven(Unproven::Missing)));
}

#[test]
fn shared_secrets_and_unknown_words_are_no_rules() {
    let source = Source::of(&[]);
    for name in ["HS256", "none", "es256", ""] {
        assert_eq!(jwt(&source, &[name], "sub").unwrap_err(), JwtRulesError::Algorithm(name.into()));
    }
    assert_eq!(jwt(&source, &[], "sub").unwrap_err(), JwtRulesError::Empty("algorithms"));
    assert_eq!(jwt(&source, &["ES256"], "").unwrap_err(), JwtRulesError::Empty("device_claim"));
}

#[test]
fn the_device_may_be_deep_in_the_claims() {
    let login = Server::new("1");
    let rules = jwt(&Source::of(&[login.jwk()]), &["ES256"], "/device/id").unwrap();
    let world = world(Proofs { jwt: Some(rules), ..Proofs::default() });
    let token = login.sign(&with(|claims| claims["device"] = json!({ "id": "d7" })));
    assert!(world.ask("hub.example/devices/d7", bearer(&token)).is_ok());
    unproven(world.ask("hub.example/devices/d1", bearer(&login.sign(&claims()))), "no text `/device/id`");
}

#[test]
fn keys_are_kept_renewed_and_used_while_their_server_is_down() {
    let (old, new, made_up) = (Server::new("old"), Server::new("new"), Server::new("made up"));
    let source = Source::of(&[old.jwk()]);
    let world = jwt_world(&source);
    let after = |secs: u64| NOW.plus(Duration::from_secs(secs));
    let ask = |server: &Server, now: Timestamp| {
        let token = server.sign(&with(|claims| claims["exp"] = json!(now.as_secs() + 60)));
        world.ask_at(now, "hub.example/devices/d1", bearer(&token))
    };
    assert!(ask(&old, NOW).is_ok() && ask(&old, after(599)).is_ok());
    assert_eq!(source.asked(), 1, "kept for ten minutes");
    assert!(ask(&old, after(600)).is_ok());
    assert_eq!(source.asked(), 2, "then renewed");
    // Made up key ids do not make us ask more often than each 30 s.
    for n in 0..29 {
        assert!(ask(&made_up, after(600 + n)).is_err());
    }
    assert_eq!(source.asked(), 2);
    // A new key is found as soon as that allows.
    *source.set.lock().unwrap() = Ok(json!({ "keys": [{ "kty": "future" }, new.jwk(), old.jwk()] }));
    assert!(ask(&new, after(630)).is_ok());
    assert_eq!(source.asked(), 3);
    // Down: what is held is used for a day, and asked for again each 30 s.
    *source.set.lock().unwrap() = Err("connection refused".into());
    assert!(ask(&new, after(630 + 86_400)).is_ok());
    assert_eq!(*source.failures.lock().unwrap(), ["connection refused"]);
    let late = ask(&new, after(631 + 86_400));
    assert!(matches!(late, Err(Denied::Unavailable(_))), "{late:?}");
    *source.set.lock().unwrap() = Ok(json!({ "keys": [new.jwk()] }));
    assert!(ask(&new, after(660 + 86_400)).is_ok(), "and back");
    assert!(ask(&old, after(661 + 86_400)).is_err(), "a key that was withdrawn");
}

#[test]
fn a_set_without_usable_keys_is_none() {
    let login = Server::new("1");
    for set in [
        json!([]),
        json!({ "keys": [] }),
        json!({ "keys": [{ "kty": "oct", "k": "c2VjcmV0", "kid": "1" }] }),
        json!({ "keys": [{ "kty": "EC" }] }),
        json!({ "keys": "x".repeat(300_000) }),
    ] {
        let source = Source::with(set.clone());
        let result = jwt_world(&source).ask("hub.example/devices/d1", bearer(&login.sign(&claims())));
        assert!(matches!(result, Err(Denied::Unavailable(_))), "{set}: {result:?}");
        assert_eq!(source.failures.lock().unwrap().len(), 1);
    }
}

/// A certificate authority and a certificate below it.
fn certificate(name: &str) -> (Authority, CertificateChain) {
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let root = params.self_signed(&key).unwrap();
    let issuer = Issuer::new(params, key);
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    let leaf = params.signed_by(&KeyPair::generate().unwrap(), &issuer).unwrap();
    (Authority::parse(root.der()).unwrap(), CertificateChain::new(&[leaf.der().clone()]).unwrap())
}

#[test]
fn a_forwarded_identity_counts_from_the_proxy_alone() {
    let (authority, proxy) = certificate("edge-proxy");
    let trusted = TrustedProxy { authorities: vec![authority], names: vec!["edge-proxy".into()] };
    let world = world(Proofs { proxy: Some(trusted), ..Proofs::default() });
    let from = |certificate| Presented { forwarded: Some("sim-7"), certificate, ..Presented::default() };
    assert!(world.ask("hub.example/devices/sim-7", from(Some(&proxy))).is_ok());
    assert!(matches!(world.ask("hub.example/devices/sim-8", from(Some(&proxy))), Err(Denied::NotOwn { .. })));
    let (_, stranger) = certificate("edge-proxy");
    for certificate in [None, Some(&stranger)] {
        let result = world.ask("hub.example/devices/sim-7", from(certificate));
        assert!(matches!(result, Err(Denied::Unproven(Unproven::Proxy(_)))), "{result:?}");
    }
    let (authority, other) = certificate("a-device");
    let trusted = TrustedProxy { authorities: vec![authority], names: vec!["edge-proxy".into()] };
    let world = self::world(Proofs { proxy: Some(trusted), ..Proofs::default() });
    let result = world.ask("hub.example/devices/sim-7", from(Some(&other)));
    assert!(matches!(result, Err(Denied::Unproven(Unproven::Proxy(_)))), "{result:?}");
}

struct Judge(Result<bool, String>);

impl Webhook for Judge {
    fn judge<'a>(&'a self, facts: &'a Facts<'a>) -> BoxFuture<'a, Result<bool, String>> {
        assert_eq!((facts.peer, facts.authorization), ("10.0.0.7:1", Some("Basic abc")));
        Box::pin(std::future::ready(self.0.clone()))
    }
}

#[test]
fn a_webhook_says_yes_no_or_nothing() {
    let ask = |verdict| {
        let world = world(Proofs { webhook: Some(Arc::new(Judge(verdict))), ..Proofs::default() });
        let result = world.ask("hub.example/devices/d1", bearer("Basic abc"));
        (result, world.last_heard())
    };
    assert_eq!(ask(Ok(true)).1, "hub.example/devices/d1 issued by webhook `` with device");
    assert_eq!(ask(Ok(false)).0, Err(Denied::Unproven(Unproven::Webhook)));
    let (result, heard) = ask(Err("no answer within 5 s".into()));
    assert!(matches!(result, Err(Denied::Unavailable(_))), "{result:?}");
    assert!(heard.contains("no answer within 5 s"), "{heard}");
}

#[test]
fn a_wrong_credential_is_not_made_good_by_a_weaker_proof() {
    let login = Server::new("1");
    let rules = jwt(&Source::of(&[login.jwk()]), &["ES256"], "sub").unwrap();
    let world = world(Proofs { jwt: Some(rules), webhook: Some(Arc::new(Judge(Ok(true)))), ..Proofs::default() });
    unproven(world.ask("hub.example/devices/d1", bearer("Bearer a.b.c")), "malformed");
}

#[test]
fn a_registration_has_the_key_derived_for_it() {
    let world = world(Proofs { webhook: Some(Arc::new(Judge(Ok(true)))), ..Proofs::default() });
    let resource = "0ne00000001/registrations/sn-007-888-abc-mac-a1-b2-c3-d4-e5-f6";
    let token = world.ask(resource, bearer("Basic abc")).unwrap();
    let sas = SharedAccessSignature::parse(&token.text).unwrap();
    // The published vector of the derivation.
    let key = Key::from_base64("Jsm0lyGpjaVYVP2g3FnmnmG9dI/9qU24wNoykUmermc=").unwrap();
    let keys = gantry_identity::KeyPair { primary: key.clone(), secondary: key };
    assert_eq!(sas.verify(&keys, NOW).unwrap().resource, resource);
    assert_eq!(sas.policy(), Some("registration"));
    let other = world.ask("0ne00000002/registrations/r", bearer("Basic abc"));
    assert_eq!(other, Err(Denied::Place("0ne00000002".into())));
}
