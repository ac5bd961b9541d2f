//! Who is let in and who is not, over a directory that is kept on disk.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gantry_directory::{
    Audiences, Endpoint, GrantError, Guid, Head, OwnDirectory, PublicKeys, RoleAssignment, RoleDefinition, Scope,
    Secret, ServicePrincipal, SigningKeys, TokenRequest,
};
use gantry_hub::ports::Documents;
use gantry_hub::ports::directory::{Audience, Bearer, Directory as _, Resource};
use gantry_identity::{Refusal, Timestamp};
use gantry_storage::Database;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::kept::Change;
use crate::service::{Issuer, NoToken, Service, Setup};
use crate::{OfHub, Place};

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const HUB: &str = "https://iothubs.azure.net";
const READ: &str = "Microsoft.Devices/IotHubs/devices/read";
const HOME: &str = "10.0.0.7:40000";

fn draw_key() -> Zeroizing<Vec<u8>> {
    Zeroizing::new(rcgen::KeyPair::generate().unwrap().serialize_der())
}

fn guid(n: u128) -> Guid {
    Guid::from_u128(n)
}

fn secret() -> Secret {
    Secret::from_random([7; 32])
}

/// A directory with one program, which reads devices of the hub.
struct World {
    documents: Arc<dyn Documents>,
    service: Arc<Service>,
    _folder: tempfile::TempDir,
}

fn setup(issuers: Vec<Issuer>) -> Setup {
    Setup { origin: "https://localhost".into(), own_names: vec!["https://localhost".into()], issuers, draw_key }
}

async fn open(documents: &Arc<dyn Documents>, issuers: Vec<Issuer>, now: Timestamp) -> Arc<Service> {
    let service = Service::open(Arc::clone(documents), setup(issuers)).await.unwrap();
    service.tend(now).await.unwrap();
    Arc::new(service)
}

fn assignment(service: &Service, id: u128, principal: u128, role: &str) -> RoleAssignment {
    RoleAssignment {
        id: guid(id),
        tenant_id: service.own().tenant_id,
        principal_id: guid(principal),
        role_definition_id: RoleDefinition::named(role).unwrap().id,
        scope: Scope::parse("/subscriptions/s").unwrap(),
    }
}

async fn change(service: &Service, change: Change) {
    let change = std::cell::RefCell::new(Some(change));
    service.change(|_| Ok((change.take().unwrap(), ()))).await.unwrap();
}

impl World {
    async fn new() -> Self {
        Self::with(vec![]).await
    }

    async fn with(issuers: Vec<Issuer>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let documents: Arc<dyn Documents> = Arc::new(Database::open(folder.path()).unwrap());
        let service = open(&documents, issuers, NOW).await;
        let mut one = ServicePrincipal::new(guid(1), guid(2), "line 7");
        one.add_secret(guid(3), "", &secret(), Duration::from_secs(600 * 86_400), NOW).unwrap();
        let principals = vec![(guid(2), Some(one))];
        let given = vec![assignment(&service, 9, 2, "IoT Hub Data Reader")];
        change(&service, Change { principals, given, ..Change::default() }).await;
        Self { documents, service, _folder: folder }
    }

    fn grant(&self, secret: &str, peer: &str, now: Timestamp) -> Result<String, NoToken> {
        let body = format!(
            "grant_type=client_credentials&client_id={}&client_secret={secret}&scope={HUB}%2F.default",
            guid(1)
        );
        let granted = self.service.grant(Endpoint::V2, &body, None, peer, now);
        granted.map(|granted| granted.access_token.text().to_owned()).map_err(|(_, refused)| refused)
    }

    fn token(&self) -> String {
        self.grant(secret().text(), HOME, NOW).unwrap()
    }

    fn of_hub(&self) -> OfHub {
        OfHub::new(Arc::clone(&self.service), Place::new("s", "g", "hub1", "account"))
    }

    fn identify(&self, token: &str, now: Timestamp) -> Result<Arc<dyn Bearer>, Refusal> {
        self.of_hub().identify(now, token, Audience::Hub)
    }
}

fn parts(token: &str) -> (Value, Value) {
    let read = |part: &str| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap();
    let mut parts = token.split('.').map(str::to_owned);
    (read(&parts.next().unwrap()), read(&parts.next().unwrap()))
}

fn signed(header: &Value, claims: &Value, key: &EncodingKey, algorithm: Algorithm) -> String {
    let text = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
    let signature = jsonwebtoken::crypto::sign(text.as_bytes(), key, algorithm).unwrap();
    format!("{text}.{signature}")
}

#[tokio::test]
async fn a_program_may_what_its_roles_say_until_they_are_taken_away() {
    let world = World::new().await;
    let token = world.token();
    let bearer = world.identify(&token, NOW).unwrap();
    assert_eq!(bearer.person().principal(), format!("aadapp={};{}", guid(1), world.service.authority().1));
    assert!(bearer.may(READ, Resource::Hub) && !bearer.may("Microsoft.Devices/IotHubs/devices/write", Resource::Hub));
    assert!(!bearer.may_manage("Microsoft.Devices/IotHubs/read", Resource::Group), "data is not the control plane");
    let elsewhere = OfHub::new(Arc::clone(&world.service), Place::new("other", "g", "hub1", "account"));
    let there = elsewhere.identify(NOW, &token, Audience::Hub).unwrap();
    assert!(!there.may(READ, Resource::Hub), "another subscription");
    let mut changes = world.of_hub().changes();
    change(&world.service, Change { taken: vec![guid(9)], ..Change::default() }).await;
    assert!(changes.has_changed().unwrap() && changes.changed().await.is_ok());
    assert!(!bearer.may(READ, Resource::Hub), "at once, for whoever was known");
    assert!(!world.identify(&token, NOW).unwrap().may(READ, Resource::Hub));
}

#[tokio::test]
async fn what_is_forged_is_refused_whatever_it_says() {
    let world = World::new().await;
    let good = world.token();
    let (header, claims) = parts(&good);
    let own = EncodingKey::from_ec_der(&draw_key());
    let with = |of: &Value, name: &str, value: Value| {
        let mut of = of.clone();
        of[name] = value;
        of
    };
    let keys = world.service.kept.current().keys.document();
    let public = URL_SAFE_NO_PAD.decode(keys["keys"][0]["x"].as_str().unwrap()).unwrap();
    let unsigned = [with(&header, "alg", json!("none")), claims.clone()];
    let unsigned = unsigned.map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
    let mut changed = good.clone();
    changed.replace_range(good.len() - 4.., if good.ends_with("AAAA") { "BBBB" } else { "AAAA" });
    let es = Algorithm::ES256;
    let (hs, symmetric) = (with(&header, "alg", json!("HS256")), EncodingKey::from_secret(&public));
    let by_set = EncodingKey::from_secret(keys.to_string().as_bytes());
    let forged = [
        ("another key under our id", signed(&header, &claims, &own, es)),
        ("more than there was", signed(&header, &with(&claims, "oid", json!(guid(5))), &own, es)),
        ("no algorithm", format!("{unsigned}.")),
        ("no algorithm, with a signature", format!("{unsigned}.{}", good.rsplit('.').next().unwrap())),
        ("the public key as a secret", signed(&hs, &claims, &symmetric, Algorithm::HS256)),
        ("the set as a secret", signed(&hs, &claims, &by_set, Algorithm::HS256)),
        ("a key of its own", signed(&with(&header, "jwk", keys["keys"][0].clone()), &claims, &own, es)),
        ("an unknown key", signed(&with(&header, "kid", json!("x")), &claims, &own, es)),
        ("a changed signature", changed),
        ("another issuer", signed(&header, &with(&claims, "iss", json!("https://evil.example/")), &own, es)),
        ("nothing", String::new()),
        ("too much", "e".repeat(1 << 20)),
    ];
    for (what, token) in forged {
        for _ in 0..2 {
            let refused = world.identify(&token, NOW).err().unwrap_or_else(|| panic!("{what} is taken"));
            assert!(matches!(refused, Refusal::NotProven(_)), "{what}: {refused:?}");
        }
    }
    assert!(world.identify(&good, NOW).is_ok());
}

#[tokio::test]
async fn a_token_is_for_one_part_of_the_platform_and_for_an_hour() {
    let world = World::new().await;
    let token = world.token();
    let directory = world.of_hub();
    assert!(directory.identify(NOW, &token, Audience::Hub).is_ok());
    for other in [
        Audience::Provisioning,
        Audience::Stream,
        Audience::Storage,
        Audience::Tables,
        Audience::Application,
        Audience::Management,
    ] {
        assert!(directory.identify(NOW, &token, other).is_err(), "{other:?}");
    }
    // Known by now, and refused all the same when it is over; clocks may be a minute apart.
    let at = |secs: u64| NOW.plus(Duration::from_secs(secs));
    assert!(world.identify(&token, at(3599)).is_ok() && world.identify(&token, at(3659)).is_ok());
    assert!(world.identify(&token, at(3660)).is_err());
    assert!(world.identify(&token, Timestamp::from_millis(NOW.as_millis() - 61_000)).is_ok(), "it is known already");
    let fresh = World::new().await;
    let token = fresh.token();
    assert!(fresh.identify(&token, Timestamp::from_millis(NOW.as_millis() - 61_000)).is_err(), "not yet");
}

#[tokio::test]
async fn whom_the_directory_forgets_is_nobody_at_once() {
    let world = World::new().await;
    let token = world.token();
    let bearer = world.identify(&token, NOW).unwrap();
    let mut one = world.service.kept.current().principals[&guid(2)].clone();
    one.enabled = false;
    change(&world.service, Change { principals: vec![(guid(2), Some(one.clone()))], ..Change::default() }).await;
    assert!(matches!(world.identify(&token, NOW).err(), Some(Refusal::Disabled(_))) && !bearer.is_known());
    assert!(matches!(world.grant(secret().text(), HOME, NOW), Err(NoToken::Grant(GrantError::Unknown(_)))));
    one.enabled = true;
    change(&world.service, Change { principals: vec![(guid(2), Some(one))], ..Change::default() }).await;
    assert!(world.identify(&token, NOW).is_ok());
    change(&world.service, Change { principals: vec![(guid(2), None)], ..Change::default() }).await;
    assert!(world.identify(&token, NOW).is_err());
}

#[tokio::test]
async fn guessing_is_made_slow_where_it_comes_from() {
    let world = World::new().await;
    let guess = |peer: &str, now| world.grant("guess", peer, now);
    for _ in 0..5 {
        assert!(matches!(guess(HOME, NOW), Err(NoToken::Grant(GrantError::Secret))));
    }
    let Err(NoToken::Wait(wait)) = guess(HOME, NOW) else { panic!("a sixth guess") };
    assert!(wait.retry_after >= Duration::from_secs(30));
    assert!(matches!(world.grant(secret().text(), HOME, NOW), Err(NoToken::Wait(_))), "the right one waits too");
    assert!(world.grant(secret().text(), "10.0.0.8:1", NOW).is_ok(), "nobody is kept out from elsewhere");
    assert!(world.grant(secret().text(), HOME, NOW.plus(wait.retry_after)).is_ok());
    // Many at once that are right are no failures.
    for _ in 0..100 {
        world.grant(secret().text(), HOME, NOW.plus(wait.retry_after)).unwrap();
    }
}

#[tokio::test]
async fn everything_is_there_after_a_start_and_keys_follow_each_other() {
    let world = World::new().await;
    let token = world.token();
    let day = |days: u64| NOW.plus(Duration::from_secs(days * 86_400));
    let again = open(&world.documents, vec![], NOW).await;
    assert_eq!(again.authority(), world.service.authority());
    let again = World { service: again, ..world };
    assert!(again.identify(&token, NOW).unwrap().may(READ, Resource::Hub));
    let count = |service: &Service| service.kept.current().keys.document()["keys"].as_array().unwrap().len();
    again.service.tend(day(28)).await.unwrap();
    assert_eq!(count(&again.service), 1);
    again.service.tend(day(29)).await.unwrap();
    assert_eq!(count(&again.service), 2, "published a day before it signs");
    let last = again.grant(secret().text(), HOME, day(30)).unwrap();
    assert_ne!(parts(&last).0["kid"], parts(&token).0["kid"]);
    let third = open(&again.documents, vec![], day(31)).await;
    assert_eq!(count(&third), 1);
    let third = World { service: third, ..again };
    assert!(third.identify(&last, day(30)).is_ok() && third.identify(&token, NOW).is_err(), "its key is gone");
}

#[tokio::test]
async fn a_key_that_is_not_secret_any_more_is_worth_nothing() {
    let world = World::new().await;
    let token = world.token();
    assert!(world.identify(&token, NOW).is_ok());
    let id = parts(&token).0["kid"].as_str().unwrap().to_owned();
    assert!(matches!(world.service.revoke_key("x", NOW).await, Err(crate::DirectoryError::Unknown(..))));
    world.service.revoke_key(&id, NOW).await.unwrap();
    assert!(world.identify(&token, NOW).is_err(), "known or not");
    let next = world.token();
    assert_ne!(parts(&next).0["kid"], id);
    assert!(world.identify(&next, NOW).is_ok());
}

/// A directory elsewhere, with one program.
struct Elsewhere {
    own: OwnDirectory,
    keys: SigningKeys,
    program: ServicePrincipal,
}

impl Elsewhere {
    fn new(origin: &str, tenant: Guid, object_id: Guid) -> Self {
        let mut keys = SigningKeys::default();
        keys.add(draw_key(), NOW).unwrap();
        let mut program = ServicePrincipal::new(guid(1), object_id, "theirs");
        program.add_secret(guid(3), "", &secret(), Duration::from_secs(600), NOW).unwrap();
        Self { own: OwnDirectory::new(origin, tenant), keys, program }
    }

    fn issuer(&self, audience: Option<&str>) -> Issuer {
        let names = vec![self.own.issuer(Endpoint::V1)];
        let audience = audience.map(str::to_owned);
        Issuer { names, tenant_id: self.own.tenant_id, audience, keys: self.keys.public_keys() }
    }

    fn token(&self, resource: &str) -> String {
        let body = format!(
            "grant_type=client_credentials&client_id={}&client_secret={}&resource={resource}",
            guid(1),
            secret().text()
        );
        let request = TokenRequest::parse(Endpoint::V1, &body, None).unwrap();
        let resources = [Audiences::of(Head::IotHub, [resource])];
        let granted = self.own.grant(&request, Some(&self.program), &resources, &self.keys, guid(8), NOW);
        granted.unwrap().access_token.text().to_owned()
    }
}

#[tokio::test]
async fn tokens_of_issuers_that_are_trusted_are_taken_and_say_nothing_of_our_own() {
    // It writes the object id of our own program into its token.
    let theirs = Elsewhere::new("https://login.example", guid(77), guid(2));
    let world = World::with(vec![theirs.issuer(None)]).await;
    let bearer = world.identify(&theirs.token(HUB), NOW).unwrap();
    assert_eq!(bearer.person().tenant_id, guid(77).to_string());
    assert!(!bearer.may(READ, Resource::Hub), "our program's role is not theirs");
    let given = RoleAssignment { tenant_id: guid(77), ..assignment(&world.service, 10, 2, "IoT Hub Data Reader") };
    change(&world.service, Change { given: vec![given], ..Change::default() }).await;
    assert!(bearer.may(READ, Resource::Hub) && bearer.is_known());
    assert!(world.identify(&theirs.token("https://vault.azure.net"), NOW).is_err(), "for somebody else");
    let ours = world.service.own().tenant_id;
    let liar = Elsewhere::new("https://login.example", ours, guid(2));
    assert!(world.identify(&liar.token(HUB), NOW).is_err(), "another key");
    let setup = setup(vec![liar.issuer(None)]);
    assert!(Service::open(Arc::clone(&world.documents), setup).await.is_err(), "nobody else speaks for our tenant");
}

#[tokio::test]
async fn an_issuer_is_only_who_it_says_with_its_own_keys_for_its_own_tenant() {
    let (first, second) = (
        Elsewhere::new("https://a.example", guid(77), guid(5)),
        Elsewhere::new("https://b.example", guid(78), guid(5)),
    );
    let world = World::with(vec![first.issuer(Some("gantry")), second.issuer(None)]).await;
    assert!(world.identify(&first.token("gantry"), NOW).is_ok(), "an audience of its own");
    assert!(world.identify(&second.token("gantry"), NOW).is_err());
    // The second signs as the first, and for the tenant of the first.
    let as_first = Elsewhere { own: OwnDirectory::new("https://a.example", guid(77)), ..second };
    assert!(world.identify(&as_first.token(HUB), NOW).is_err());
    let second = Elsewhere { own: OwnDirectory::new("https://b.example", guid(78)), ..as_first };
    let (header, mut claims) = parts(&second.token(HUB));
    claims["tid"] = json!(guid(77));
    let pkcs8 = serde_json::to_value(&second.keys).unwrap()[0]["pkcs8"].as_str().unwrap().to_owned();
    let der = base64::engine::general_purpose::STANDARD.decode(pkcs8).unwrap();
    let token = signed(&header, &claims, &EncodingKey::from_ec_der(&der), Algorithm::ES256);
    assert!(world.identify(&token, NOW).is_err(), "the tenant of another issuer");
}

#[tokio::test]
async fn a_key_that_is_not_there_yet_is_asked_for_and_then_counts() {
    let theirs = Elsewhere::new("https://login.example", guid(77), guid(5));
    let world = World::with(vec![Issuer { keys: None, ..theirs.issuer(None) }]).await;
    let token = theirs.token(HUB);
    assert!(world.identify(&token, NOW).is_err());
    let other = Elsewhere::new("https://login.example", guid(77), guid(5));
    world.service.set_keys(0, other.keys.public_keys().unwrap());
    assert!(world.identify(&token, NOW).is_err());
    tokio::time::timeout(Duration::from_secs(60), world.service.keys_wanted()).await.unwrap();
    world.service.set_keys(0, theirs.keys.public_keys().unwrap());
    assert!(world.identify(&token, NOW).is_ok());
    world.service.set_keys(0, PublicKeys::parse(other.keys.document().to_string().as_bytes()).unwrap());
    assert!(world.identify(&token, NOW).is_err(), "a key that was taken back counts no more, known or not");
}

#[tokio::test]
async fn the_program_for_development_is_made_once() {
    let world = World::new().await;
    assert!(world.service.development(false, NOW).await.unwrap().is_none());
    let made = world.service.development(true, NOW).await.unwrap().unwrap();
    let same = world.service.development(false, NOW).await.unwrap().unwrap();
    assert_eq!((&made.app_id, &made.secret), (&same.app_id, &same.secret));
    let later = NOW.plus(Duration::from_secs(701 * 86_400));
    let renewed = world.service.development(true, later).await.unwrap().unwrap();
    assert_eq!(renewed.app_id, made.app_id);
    assert_ne!(renewed.secret, made.secret);
    let kept = world.service.kept.current();
    let principal = kept.named(&made.app_id).unwrap().clone();
    assert_eq!((principal.secrets().len(), kept.roles.iter().count()), (1, 7));
    change(&world.service, Change { principals: vec![(principal.object_id, None)], ..Change::default() }).await;
    assert!(world.service.development(true, later).await.unwrap().is_none(), "who deletes it is not given it again");
}

#[tokio::test]
async fn what_is_kept_is_read_as_it_was_written() {
    let golden = gantry_golden::folder(env!("CARGO_MANIFEST_DIR"));
    let files = [
        ("directory", "tenant"),
        ("directory", "signing-keys"),
        ("directory", "development"),
        ("directory-principals", "00000000-0000-0000-0000-000000000002"),
        ("directory-roles", "00000000-0000-0000-0000-000000000009"),
    ];
    let path = |collection: &str, id: &str| golden.join(format!("{collection}.{id}.v1.json"));
    if gantry_golden::blesses() {
        let world = World::new().await;
        let development = crate::kept::Development::new(guid(2), secret().text());
        change(&world.service, Change { development: Some(development), ..Change::default() }).await;
        for (collection, id) in files {
            let all = world.documents.all(collection).await.unwrap().documents;
            let text = all.iter().find(|(found, _)| found == id).map(|(_, text)| text.clone()).unwrap();
            gantry_golden::check(&path(collection, id), format!("{text}\n").as_bytes());
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let documents: Arc<dyn Documents> = Arc::new(Database::open(folder.path()).unwrap());
    for collection in ["directory", "directory-principals", "directory-roles"] {
        let of = files.iter().filter(|(one, _)| *one == collection);
        let read = |(collection, id): &(&str, &str)| {
            let text = String::from_utf8(gantry_golden::read(&path(collection, id))).unwrap();
            ((*id).to_owned(), Some(text.trim().to_owned()))
        };
        let changes = gantry_hub::ports::Changes { collection, version: 0, documents: of.map(read).collect() };
        documents.put(vec![changes]).await.unwrap();
    }
    let service = Service::open(Arc::clone(&documents), setup(vec![])).await.unwrap();
    let kept = service.kept.current();
    assert_eq!(kept.roles.iter().next().unwrap().principal_id, guid(2));
    assert_eq!(kept.named(&guid(1).to_string()).unwrap().display_name, "line 7");
    assert_eq!(kept.development.as_ref().map(|one| one.object_id), Some(guid(2)));
    // Written again, they are the same.
    let keys = kept.keys.clone();
    let one = kept.principals[&guid(2)].clone();
    change(&service, Change { keys: Some(keys), principals: vec![(guid(2), Some(one))], ..Change::default() }).await;
    for (collection, id) in files {
        let all = documents.all(collection).await.unwrap().documents;
        let text = all.iter().find(|(found, _)| found == id).map(|(_, text)| text.clone()).unwrap();
        gantry_golden::check(&path(collection, id), format!("{text}\n").as_bytes());
    }
}
