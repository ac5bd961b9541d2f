//! The token server, apart from the hub and as a role of the platform.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::{StreamExt as _, stream};
use gantry_identity::{Key, SharedAccessSignature};
use gantry_mqtt::ConnectReturnCode;
use gantry_testkit::{Device, Login, PATIENCE, Platform, Service, TokenServer};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use reqwest::Method;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{GANTRY, key};

/// A policy's connection string as `gantry policy connection-string` makes it.
async fn policy(service: &Service, name: &str, field: &str) -> String {
    let list = service.call(Method::GET, "/platform/v1/policies", "").await.unwrap().body;
    let policies = list["value"].as_array().unwrap();
    let policy = policies.iter().find(|policy| policy["keyName"] == name).unwrap();
    let key = policy[field].as_str().unwrap();
    format!("HostName=localhost;SharedAccessKeyName={name};SharedAccessKey={key}")
}

/// Entry of an API key.
fn api_key(name: &str, text: &str, identities: &[&str]) -> String {
    let hash = Sha256::digest(text).iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    });
    format!("[[token_server.api_keys]]\nname = \"{name}\"\nsha256 = \"{hash}\"\nidentities = {identities:?}\n")
}

/// A certificate authority and certificates below it.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// A certificate and its key, for a client.
    fn client(&self, name: &str, dns: &[&str]) -> reqwest::Identity {
        let mut params = CertificateParams::new(dns.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        reqwest::Identity::from_pem(format!("{}{}", certificate.pem(), key.serialize_pem()).as_bytes()).unwrap()
    }
}

/// Somebody who asks for tokens.
struct Asker {
    http: reqwest::Client,
    url: String,
}

impl Asker {
    fn new(url: &str, ca: &[u8], identity: Option<reqwest::Identity>) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let ca = reqwest::Certificate::from_pem(ca).unwrap();
        let mut builder = reqwest::Client::builder().tls_certs_only([ca]).timeout(PATIENCE);
        if let Some(identity) = identity {
            builder = builder.identity(identity);
        }
        Self { http: builder.build().unwrap(), url: url.to_owned() }
    }

    fn of(server: &TokenServer, identity: Option<reqwest::Identity>) -> Self {
        Self::new(server.url(), &server.ca().unwrap(), identity)
    }

    async fn ask(&self, query: &str, headers: &[(&str, &str)]) -> (u16, String) {
        let mut request = self.http.get(format!("{}?{query}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    #[track_caller]
    fn is_refused((status, text): &(u16, String), expected: u16, word: &str) {
        assert_eq!(*status, expected, "{text}");
        let body: Value = serde_json::from_str(text).unwrap();
        assert!(body["error"]["message"].as_str().unwrap().contains(word), "{text}");
    }
}

async fn connects(platform: &Platform, device: &str, token: &str) -> bool {
    let login = Login { password: token.to_owned(), ..Login::new(device, &key(9)) };
    Device::try_connect(platform, &login).await.unwrap().2 == ConnectReturnCode::Accepted
}

async fn devices(service: &Service, names: &[&str]) {
    for name in names {
        assert_eq!(service.create_device(name, &key(1)).await.unwrap().status, 200);
    }
}

const HUB: &str = "[hub]\nprimary_file = \"{folder}/primary\"\nsecondary_file = \"{folder}/secondary\"\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_device_gets_a_token_for_itself_alone() {
    let (platform, service) = super::platform_with(&["line-1", "line-2", "cam"]).await;
    let policy = policy(&service, "device", "primaryKey").await;
    let authority = Authority::new("Plant");
    let (one, all) = (api_key("one", "key-of-line-1", &["line-1"]), api_key("lines", "key-of-lines", &["line-*"]));
    let config = format!(
        "{HUB}[token_server]\naudit_log = \"{{folder}}/audit\"\ndevice_ca_files = [\"{{folder}}/ca.pem\"]\n{one}{all}"
    );
    let server = TokenServer::start(GANTRY, &config, &[("primary", &policy), ("ca.pem", &authority.pem)]).unwrap();

    // By API key, in every spelling; the token is what the article says it is.
    let asker = Asker::of(&server, None);
    let own = [("x-api-key", "key-of-line-1")];
    for sr in ["localhost/devices/line-1", "localhost%2Fdevices%2Fline-1", "localhost%252Fdevices%252Fline-1"] {
        let (status, token) = asker.ask(&format!("sr={sr}"), &own).await;
        assert_eq!(status, 200, "{token}");
        assert!(token.starts_with("SharedAccessSignature sr=localhost%2Fdevices%2Fline-1&sig="), "{token}");
        assert!(token.ends_with("&skn=device"), "{token}");
        assert!(connects(&platform, "line-1", &token).await, "{token}");
        assert!(!connects(&platform, "line-2", &token).await, "a token for one device fails on another");
    }
    let (_, token) = asker.ask("sr=localhost/devices/line-2", &[("x-api-key", "key-of-lines")]).await;
    assert!(connects(&platform, "line-2", &token).await);

    // By certificate: common name, or DNS name.
    for (name, dns) in [("cam", vec![]), ("Camera 7", vec!["cam"])] {
        let asker = Asker::of(&server, Some(authority.client(name, &dns)));
        let (status, token) = asker.ask("sr=localhost/devices/cam&ttl=60", &[]).await;
        assert_eq!(status, 200, "{token}");
        assert!(connects(&platform, "cam", &token).await);
        Asker::is_refused(&asker.ask("sr=localhost/devices/line-1", &[]).await, 403, "not for the identity");
    }
    let stranger = Asker::of(&server, Some(Authority::new("Plant").client("cam", &[])));
    Asker::is_refused(&stranger.ask("sr=localhost/devices/cam", &[]).await, 401, "credentials");

    // What is refused, and that neither the answer nor the log says why a credential is wrong.
    for (query, headers, status, word) in [
        ("sr=localhost/devices/line-2", &own[..], 403, "not for the identity"),
        ("sr=localhost/devices/line-1", &[], 401, "credentials"),
        ("sr=localhost/devices/line-1", &[("x-api-key", "guess")], 401, "credentials"),
        ("sr=localhost/devices/line-1", &[("authorization", "Bearer a.b.c")], 401, "credentials"),
        ("", &own, 400, "`sr` is missing"),
        ("sr=localhost", &own, 400, "must be HOST/devices/ID"),
        ("sr=localhost/devices", &own, 400, "must be HOST/devices/ID"),
        ("sr=elsewhere/devices/line-1", &own, 400, "elsewhere"),
        ("sr=0ne0/registrations/line-1", &own, 400, "0ne0"),
        ("sr=localhost/devices/li%20ne", &own, 400, "' '"),
        ("sr=localhost/devices/line-1&ttl=59", &own, 400, "60 to 86400"),
        ("sr=localhost/devices/line-1&ttl=86401", &own, 400, "60 to 86400"),
        ("sr=localhost/devices/line-1&ttl=-60", &own, 400, "whole number"),
        ("sr=localhost/devices/line-1&se=1", &own, 400, "60 to 86400"),
        ("sr=localhost/devices/line-1&sr=localhost/devices/line-2", &own, 400, "twice"),
    ] {
        Asker::is_refused(&asker.ask(query, headers).await, status, word);
    }
    let long = format!("sr=localhost/devices/{}", "x".repeat(3000));
    Asker::is_refused(&asker.ask(&long, &own).await, 400, "longer");

    // Every answer has its line, and no line a secret.
    let audit = std::fs::read_to_string(server.path("audit")).unwrap();
    let lines: Vec<Value> = audit.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let count = |outcome: &str| lines.iter().filter(|line| line["outcome"] == outcome).count();
    assert_eq!((count("issued"), count("refused")), (6, 18), "{audit}");
    assert!(lines.iter().any(|line| line["by"] == "certificate" && line["name"] == "Camera 7"));
    assert!(lines.iter().any(|line| line["reason"].as_str().is_some_and(|reason| reason.contains("does not lead to"))));
    let signing_key = policy.rsplit_once("SharedAccessKey=").unwrap().1;
    let everything = audit + &server.log().unwrap();
    for secret in ["key-of-line-1", "key-of-lines", "guess", "sig=", signing_key] {
        assert!(!everything.contains(secret), "{secret} in\n{everything}");
    }
    let (_, metrics) =
        Asker { url: server.url().replace(gantry_api::tokens::PATH, "/metrics"), ..asker }.ask("", &[]).await;
    assert!(metrics.contains("gantry_tokens_issued_total{by=\"api_key\"} 4"), "{metrics}");
    assert!(metrics.contains("gantry_tokens_refused_total{kind=\"not_own\"} 3"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_issuers_policy_connects_devices_and_nothing_else() {
    let (platform, service) = super::platform_with(&["d1", "d2"]).await;
    let string = policy(&service, "device", "primaryKey").await;
    let key = Key::from_base64(string.rsplit_once("SharedAccessKey=").unwrap().1).unwrap();
    let signer = gantry_identity::Signer { resource: "localhost".into(), key, policy: Some("device".into()) };
    let expires_at = gantry_gateway::now().plus(Duration::from_secs(600));
    let token = signer.token(expires_at);
    let ca = platform.ca().unwrap();
    for path in ["/devices", "/devices/d1", "/twins/d1", "/statistics/devices", "/platform/v1/policies"] {
        let asker = Asker::new(&format!("https://localhost:{}{path}", platform.https_port()), &ca, None);
        let (status, text) = asker.ask("api-version=2021-04-12", &[("authorization", &token)]).await;
        assert_eq!(status, 401, "{path}: {text}");
    }
    // A device that is disabled is cut off whatever token it has.
    let own = gantry_identity::Signer { resource: "localhost/devices/d1".into(), ..signer };
    assert!(connects(&platform, "d1", &own.token(expires_at)).await);
    assert_eq!(service.update_device("d1", &super::key(1), "disabled").await.unwrap().status, 200);
    assert!(!connects(&platform, "d1", &own.token(expires_at)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_platform_has_the_role_when_it_is_configured() {
    let plain = Platform::start(GANTRY).unwrap();
    let url = |platform: &Platform| format!("https://localhost:{}{}", platform.https_port(), gantry_api::tokens::PATH);
    let asker = Asker::new(&url(&plain), &plain.ca().unwrap(), None);
    let (status, _) = asker.ask("sr=localhost/devices/d1", &[("x-api-key", "the-key")]).await;
    assert_eq!(status, 404, "the role is off by default");

    let key = api_key("all", "the-key", &["d*"]);
    let config = format!("[token_server]\nenabled = true\nper_identity_per_minute = 3\n{key}");
    let platform = Platform::start_with_config(GANTRY, &config).unwrap();
    let service = platform.service().unwrap();
    devices(&service, &["d1"]).await;
    let asker = Asker::new(&url(&platform), &platform.ca().unwrap(), None);
    let with_key = [("x-api-key", "the-key")];
    let (status, token) = asker.ask("sr=localhost/devices/d1", &with_key).await;
    assert_eq!(status, 200, "{token}");
    assert!(connects(&platform, "d1", &token).await);
    let module = asker.ask("sr=localhost/devices/d1/modules/m", &with_key).await;
    assert!(module.1.starts_with("SharedAccessSignature sr=localhost%2Fdevices%2Fd1%2Fmodules%2Fm&"), "{module:?}");

    // It signs with the hub's key of the moment.
    for _ in 0..2 {
        let rolled = service.call(Method::POST, "/platform/v1/policies/device/roll", "").await.unwrap();
        assert_eq!(rolled.status, 200, "{rolled:?}");
    }
    assert!(!connects(&platform, "d1", &token).await, "two rolls end a token");
    let (_, token) = asker.ask("sr=localhost/devices/d1", &with_key).await;
    assert!(connects(&platform, "d1", &token).await);

    // A refusal is a security event, and a token counts against its identity.
    Asker::is_refused(&asker.ask("sr=localhost/devices/x1", &with_key).await, 403, "not for the identity");
    let events = service.call(Method::GET, "/platform/v1/security", "").await.unwrap().body;
    let event = events["events"].as_array().unwrap().iter().find(|event| event["operation"] == "token server");
    assert_eq!(event.unwrap()["claimed"], "localhost/devices/x1", "{events}");
    assert_eq!(asker.ask("sr=localhost/devices/d1", &with_key).await.0, 200);
    let answer = asker.http.get(format!("{}?sr=localhost/devices/d1", asker.url)).header("x-api-key", "the-key");
    let answer = answer.send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 429);
    let retry_after: u64 = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=20).contains(&retry_after), "{retry_after}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_cannot_work_is_refused_in_words() {
    let primary = "HostName=localhost;SharedAccessKeyName=device;SharedAccessKey=AAECAwQFBgcICQoLDA0ODw==";
    let key = api_key("a", "k", &["*"]);
    for (config, expected) in [
        (format!("[token_server]\n{key}"), "GANTRY_TOKEN_HUB_PRIMARY"),
        (HUB.to_owned(), "no proof is configured"),
        (format!("{HUB}{}", key.replace("sha256 = \"", "sha256 = \"zz")), "sha256 of API key `a`"),
        (format!("{HUB}{key}{key}"), "are the same key"),
        (format!("{HUB}[token_server.proxy]\nheader = \"x-sim\"\n"), "proxy.ca_files"),
        (format!("{HUB}[token_server]\ndevice_ca_files = [\"{{folder}}/none\"]\n"), "device_ca_files"),
        (format!("{HUB}[token_server.webhook]\nurl = \"http://example.com/\"\n"), "not https"),
        (format!("{HUB}[token_server.jwt]\nissuer = \"i\"\nkeys = \"{{folder}}/none\"\n"), "neither a URL nor a file"),
        (format!("{HUB}{key}[token_server.enrollment_group]\nid_scope = \"s\"\n"), "go together"),
    ] {
        let error = TokenServer::start(GANTRY, &config, &[("primary", primary)]).err().unwrap();
        assert!(format!("{error:#}").contains(expected), "{config}: {error:#}");
    }
}

/// What a token says of its expiry, seconds since the epoch.
fn expiry(token: &str) -> i64 {
    assert!(SharedAccessSignature::parse(token).is_ok(), "{token}");
    token.split('&').find_map(|field| field.strip_prefix("se=")).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_ends_with_its_token() {
    let config = format!("[token_server]\nenabled = true\nlife_min_secs = 10\n{}", api_key("all", "the-key", &["*"]));
    let platform = Platform::start_with_config(GANTRY, &config).unwrap();
    let service = platform.service().unwrap();
    devices(&service, &["d1"]).await;
    let url = format!("https://localhost:{}{}", platform.https_port(), gantry_api::tokens::PATH);
    let asker = Asker::new(&url, &platform.ca().unwrap(), None);
    let (_, token) = asker.ask("sr=localhost/devices/d1&ttl=10", &[("x-api-key", "the-key")]).await;
    let login = Login { password: token.clone(), ..Login::new("d1", &key(9)) };
    let (mut device, _) = Device::connect(&platform, &login).await.unwrap();
    device.publish("devices/d1/messages/events/", b"before").await.unwrap();
    device.closed().await.unwrap();
    let late_ms = gantry_gateway::now().as_millis() - expiry(&token) * 1000;
    assert!((0..3000).contains(&late_ms), "closed {late_ms} ms after the expiry");
    let (_, token) = asker.ask("sr=localhost/devices/d1&ttl=10", &[("x-api-key", "the-key")]).await;
    assert!(connects(&platform, "d1", &token).await, "and comes back with a new token");
}

/// Clients of the roll, and how many of them ask at once. A thousand are no harder, and take minutes.
const CLIENTS: usize = 300;
const AT_ONCE: usize = 32;

/// Everybody asks for a token and sends a message with it; returns what did not work.
async fn everybody_renews(
    asker: &Arc<Asker>,
    messages: &Arc<Asker>,
    with_token: &Arc<Mutex<Vec<Option<String>>>>,
) -> Vec<String> {
    let work = (0..CLIENTS).map(|n| {
        let (asker, messages, with_token) = (Arc::clone(asker), Arc::clone(messages), Arc::clone(with_token));
        async move {
            let old = with_token.lock().unwrap()[n].clone();
            let (status, token) = asker.ask(&format!("sr=localhost/devices/c{n}"), &[("x-api-key", "the-key")]).await;
            if status != 200 {
                return Some(token);
            }
            // The token it had goes on working as well: nobody renews at the very moment of a roll.
            for token in old.iter().chain([&token]) {
                let url = format!("{}/devices/c{n}/messages/events?api-version=2021-04-12", messages.url);
                let sent = messages.http.post(url).header("authorization", token).body("x").send().await.unwrap();
                if sent.status().as_u16() != 204 {
                    return Some(format!("{}: {}", sent.status(), sent.text().await.unwrap()));
                }
            }
            with_token.lock().unwrap()[n] = Some(token);
            None
        }
    });
    stream::iter(work).buffer_unordered(AT_ONCE).filter_map(std::future::ready).collect().await
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_rolled_while_hundreds_of_clients_renew() {
    let (platform, service) = super::platform_with(&[]).await;
    let create = |n: usize| {
        let service = service.clone();
        async move { service.create_device(&format!("c{n}"), &key(1)).await.unwrap().status }
    };
    let made: Vec<u16> = stream::iter((0..CLIENTS).map(create)).buffer_unordered(AT_ONCE).collect().await;
    assert!(made.iter().all(|status| *status == 200));

    let first = policy(&service, "device", "primaryKey").await;
    let api_key = api_key("all", "the-key", &["c*"]);
    let limits = "[token_server]\nper_address_per_second = 0\ntotal_per_second = 0\n";
    let config = |sign_with: &str| HUB.to_owned() + &format!("sign_with = \"{sign_with}\"\n{limits}{api_key}");
    let server = TokenServer::start(GANTRY, &config("primary"), &[("primary", &first), ("secondary", "")]).unwrap();
    let asker = Arc::new(Asker::of(&server, None));
    let messages = format!("https://localhost:{}", platform.https_port());
    let messages = Arc::new(Asker::new(&messages, &platform.ca().unwrap(), None));
    let with_token = Arc::new(Mutex::new(vec![None; CLIENTS]));
    let renewing = {
        let (asker, messages, with_token) = (Arc::clone(&asker), Arc::clone(&messages), Arc::clone(&with_token));
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let task = tokio::spawn(async move {
            let (mut rounds, mut failures) = (0, vec![]);
            while !*stopped.borrow() {
                failures.extend(everybody_renews(&asker, &messages, &with_token).await);
                rounds += 1;
            }
            (rounds, failures)
        });
        (stop, task)
    };
    let a_round = async |count: usize| {
        let issued = || std::fs::read_to_string(server.path("log")).unwrap().matches("\"issued\"").count();
        let from = issued();
        while issued() < from + count {
            assert!(!renewing.1.is_finished());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    a_round(2 * CLIENTS).await;
    // The issuer moves to the secondary key; then the primary one is drawn anew, and it moves back.
    let secondary = policy(&service, "device", "secondaryKey").await;
    server.write("secondary", &secondary).unwrap();
    server.configure(&config("secondary")).unwrap();
    server.reload("configuration read again").await.unwrap();
    a_round(2 * CLIENTS).await;
    // What cannot be read changes nothing.
    server.configure("sign_with = 1").unwrap();
    server.reload("configuration not taken").await.unwrap();
    a_round(CLIENTS / 2).await;
    server.configure(&config("primary")).unwrap();
    server.reload("configuration read again").await.unwrap();
    a_round(2 * CLIENTS).await;
    let rolled = service.call(Method::POST, "/platform/v1/policies/device/roll", "").await.unwrap();
    assert_eq!(rolled.status, 200, "{rolled:?}");
    let new = policy(&service, "device", "primaryKey").await;
    assert_ne!(new, first);
    assert_eq!(policy(&service, "device", "secondaryKey").await, first, "the issuer's key works until the next roll");
    a_round(2 * CLIENTS).await;
    server.write("primary", &new).unwrap();
    server.reload("configuration read again").await.unwrap();
    a_round(2 * CLIENTS).await;
    renewing.0.send_replace(true);
    let (rounds, failures) = renewing.1.await.unwrap();
    assert!(failures.is_empty(), "{} failures, such as {}", failures.len(), failures[0]);
    assert!(rounds >= 8, "{rounds} rounds");

    // After another roll the first key opens nothing, here and after a restart.
    let old = token_of(&first, "c1");
    assert!(connects(&platform, "c1", &old).await);
    assert_eq!(service.call(Method::POST, "/platform/v1/policies/device/roll", "").await.unwrap().status, 200);
    let (mut platform, newest) = (platform, policy(&service, "device", "primaryKey").await);
    for _ in 0..2 {
        assert!(!connects(&platform, "c1", &old).await);
        assert!(connects(&platform, "c1", &token_of(&new, "c1")).await);
        assert!(connects(&platform, "c1", &token_of(&newest, "c1")).await);
        platform.stop().unwrap();
        platform.restart().unwrap();
    }
    let none = service.call(Method::POST, "/platform/v1/policies/nobody/roll", "").await.unwrap();
    assert_eq!(none.status, 404, "{none:?}");
}

/// A token signed with a connection string's key.
fn token_of(connection_string: &str, device: &str) -> String {
    let key = Key::from_base64(connection_string.rsplit_once("SharedAccessKey=").unwrap().1).unwrap();
    let signer =
        gantry_identity::Signer { resource: format!("localhost/devices/{device}"), key, policy: Some("device".into()) };
    signer.token(gantry_gateway::now().plus(Duration::from_secs(600)))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_registers_with_a_token_derived_for_it() {
    let (platform, service) = super::platform_with(&[]).await;
    let connection = platform.connection().unwrap();
    let (scope, group_key) = (&connection["PROVISIONING_IDSCOPE"], key(5).to_base64());
    let owner = &connection["PROVISIONING_CONNECTION_STRING"];
    let dps_key = Key::from_base64(owner.rsplit_once("SharedAccessKey=").unwrap().1).unwrap();
    let dps = gantry_identity::Signer {
        resource: "localhost".into(),
        key: dps_key,
        policy: Some("provisioningserviceowner".into()),
    };
    let base = format!("https://localhost:{}", platform.https_port());
    let http = Asker::new(&base, &platform.ca().unwrap(), None).http;
    let keys = serde_json::json!({ "primaryKey": group_key, "secondaryKey": group_key });
    let group = serde_json::json!({
        "enrollmentGroupId": "motors", "attestation": { "type": "symmetricKey", "symmetricKey": keys },
    });
    let made = http.put(format!("{base}/enrollmentGroups/motors?api-version=2021-10-01"));
    let made = made.header("authorization", dps.token(gantry_gateway::now().plus(Duration::from_secs(600))));
    let made = made.json(&group).send().await.unwrap();
    assert_eq!(made.status().as_u16(), 200, "{}", made.text().await.unwrap());

    let config = format!(
        "{HUB}[token_server.enrollment_group]\nid_scope = \"{scope}\"\nkey_file = \"{{folder}}/group\"\n{}",
        api_key("motors", "the-key", &["motor-*"])
    );
    let primary = policy(&service, "device", "primaryKey").await;
    let server = TokenServer::start(GANTRY, &config, &[("primary", &primary), ("group", &group_key)]).unwrap();
    let asker = Asker::of(&server, None);
    let with_key = [("x-api-key", "the-key")];
    let (status, token) = asker.ask(&format!("sr={scope}%2Fregistrations%2Fmotor-1"), &with_key).await;
    assert_eq!(status, 200, "{token}");
    assert!(token.ends_with("&skn=registration"), "{token}");
    let register = async |id: &str, token: &str| {
        let url = format!("{base}/{scope}/registrations/{id}/register?api-version=2019-03-31");
        let request = http.put(url).header("authorization", token);
        request.json(&serde_json::json!({ "registrationId": id })).send().await.unwrap()
    };
    assert_eq!(register("motor-2", &token).await.status().as_u16(), 401, "a token for one registration");
    let accepted = register("motor-1", &token).await;
    assert_eq!(accepted.status().as_u16(), 202);
    let operation: Value = accepted.json().await.unwrap();
    let path = format!("registrations/motor-1/operations/{}", operation["operationId"].as_str().unwrap());
    let poll = async || -> Value {
        let poll = http.get(format!("{base}/{scope}/{path}?api-version=2019-03-31")).header("authorization", &token);
        poll.send().await.unwrap().json().await.unwrap()
    };
    let (mut result, deadline) = (poll().await, Instant::now() + PATIENCE);
    while result["status"] == "assigning" && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(10)).await;
        result = poll().await;
    }
    assert_eq!(result["status"], "assigned", "{result}");
    assert_eq!(result["registrationState"]["deviceId"], "motor-1");
    // And on to the hub with a token of the same server.
    let (_, token) = asker.ask("sr=localhost/devices/motor-1", &with_key).await;
    assert!(connects(&platform, "motor-1", &token).await);
    Asker::is_refused(&asker.ask(&format!("sr={scope}/registrations/pump-1"), &with_key).await, 403, "not for");
}

/// Answers like an authorization server and like an operator's webhook: yes for devices that begin with `hook`, no
/// answer at all for `slow`.
async fn outside(key_set: String) -> String {
    use axum::routing::{get, post};
    let judge = async |body: axum::Json<Value>| {
        let device = body["deviceId"].as_str().unwrap_or_default();
        match device {
            "slow" => std::future::pending().await,
            _ if device.starts_with("hook") && body["authorization"] == "Basic b" => axum::http::StatusCode::OK,
            _ => axum::http::StatusCode::FORBIDDEN,
        }
    };
    let router = axum::Router::new().route("/keys", get(move || async move { key_set })).route("/judge", post(judge));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    url
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_an_authorization_server_a_proxy_and_a_webhook_count() {
    use jsonwebtoken::{Algorithm, EncodingKey, Header, jwk::Jwk};
    let (platform, service) = super::platform_with(&["jwt-1", "sim-1", "hook-1"]).await;
    let login = EncodingKey::from_ec_der(&KeyPair::generate().unwrap().serialize_der());
    let key_set = serde_json::json!({ "keys": [Jwk::from_encoding_key(&login, Algorithm::ES256).unwrap()] });
    let url = outside(key_set.to_string()).await;
    let network = Authority::new("Network");
    let config = format!(
        "{HUB}[token_server.jwt]\nissuer = \"https://login.example\"\naudience = \"tokens\"\nkeys = \"{url}/keys\"\n\
         [token_server.webhook]\nurl = \"{url}/judge\"\ntimeout_secs = 1\n\
         [token_server.proxy]\nheader = \"x-sim-device\"\nca_files = [\"{{folder}}/ca.pem\"]\nnames = [\"gateway\"]\n"
    );
    let primary = policy(&service, "device", "primaryKey").await;
    let server = TokenServer::start(GANTRY, &config, &[("primary", &primary), ("ca.pem", &network.pem)]).unwrap();
    let (asker, proxy) = (Asker::of(&server, None), Asker::of(&server, Some(network.client("gateway", &[]))));

    let bearer = |expires_in: i64| {
        let claims = serde_json::json!({
            "iss": "https://login.example", "aud": "tokens", "sub": "jwt-1",
            "exp": gantry_gateway::now().as_secs() + expires_in,
        });
        let token = jsonwebtoken::encode(&Header::new(Algorithm::ES256), &claims, &login).unwrap();
        format!("Bearer {token}")
    };
    let (good, old) = (bearer(300), bearer(-300));
    let sim = ("x-sim-device", "sim-1");
    for (asker, device, header) in [
        (&asker, "jwt-1", ("authorization", good.as_str())),
        (&proxy, "sim-1", sim),
        (&asker, "hook-1", ("authorization", "Basic b")),
    ] {
        let (status, token) = asker.ask(&format!("sr=localhost/devices/{device}"), &[header]).await;
        assert_eq!(status, 200, "{device}: {token}");
        assert!(connects(&platform, device, &token).await, "{device}");
    }
    for (device, header, status) in [
        ("jwt-1", ("authorization", old.as_str()), 401),
        ("hook-1", ("authorization", good.as_str()), 403),
        ("sim-1", sim, 401),
        ("sim-1", ("authorization", "Basic b"), 401),
        ("hook-1", ("authorization", "Basic c"), 401),
        ("slow", ("authorization", "Basic b"), 503),
    ] {
        Asker::is_refused(
            &asker.ask(&format!("sr=localhost/devices/{device}"), &[header]).await,
            status,
            "credentials",
        );
    }
    let log = server.log().unwrap();
    for reason in ["JSON Web Token: expired", "forwarded identity not from the proxy", "no answer within 1 s"] {
        assert!(log.contains(reason), "{reason} in\n{log}");
    }
}
