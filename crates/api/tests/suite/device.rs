//! Devices over HTTPS, and services that poll, without sockets.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use bytes::Bytes;
use gantry_api::{Api, PeerAddress};
use gantry_hub::c2d::{Ack, C2dMessage};
use gantry_hub::device::{AuthenticationWrite, DeviceWrite, IfMatch, Status};
use gantry_hub::feedback::FileNotification;
use gantry_identity::{Identity, Key, KeyPair, Signer, Timestamp};
use tower::ServiceExt as _;

use crate::authorization::{Logged, api_with_log, router, token};

const EVENTS: &str = "/devices/d1/messages/events?api-version=2021-04-12";
const BOUND: &str = "/devices/d1/messages/deviceBound?api-version=2021-04-12";
const D2C_BYTES_MAX: usize = 256 * 1024;

struct World {
    api: Api,
    log: Arc<Mutex<Vec<Logged>>>,
    device: Identity,
    _folder: tempfile::TempDir,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// Status and name of the error.
    fn error(&self) -> (u16, &str) {
        (self.status.as_u16(), self.header("iothub-errorcode").unwrap_or_default())
    }

    fn lock(&self) -> String {
        let etag = self.header("etag").expect("a lock token");
        etag.strip_prefix('"').and_then(|etag| etag.strip_suffix('"')).expect("in quotes").to_owned()
    }
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (api, log) = api_with_log(&folder);
        let device = Identity::parse("d1").unwrap();
        let keys = KeyPair { primary: Key::from_bytes([3; 32]), secondary: Key::from_bytes([4; 32]) };
        let write = DeviceWrite { authentication: AuthenticationWrite::Sas(Some(keys)), ..DeviceWrite::default() };
        api.hub.put_device(gantry_api::now(), &device, write, &IfMatch::Absent).await.unwrap();
        Self { api, log, device, _folder: folder }
    }

    async fn call(&self, method: &str, path: &str, token: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
        let mut request = Request::builder().method(method).uri(path).extension(PeerAddress::from("127.0.0.1:1"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.header("authorization", token).body(Body::from(body)).unwrap();
        let (parts, body) = router(self.api.clone()).oneshot(request).await.unwrap().into_parts();
        Answer { status: parts.status, headers: parts.headers, body: to_bytes(body, usize::MAX).await.unwrap() }
    }

    async fn device(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        self.call(method, path, &device_token("localhost/devices/d1", 3), headers, body.into()).await
    }

    async fn service(&self, method: &str, path: &str) -> Answer {
        self.call(method, path, &token("service", Key::from_bytes([1; 32])), &[], vec![]).await
    }

    async fn send(&self, message: C2dMessage) {
        self.api.hub.send_c2d(gantry_api::now(), &self.device, message).await.unwrap();
    }

    fn bodies(&self) -> Vec<String> {
        self.log.lock().unwrap().iter().map(|event| String::from_utf8(event.body.clone()).unwrap()).collect()
    }
}

fn device_token(resource: &str, key: u8) -> String {
    let signer = Signer { resource: resource.into(), key: Key::from_bytes([key; 32]), policy: None };
    signer.token(Timestamp::from_millis(4_000_000_000_000))
}

#[tokio::test]
async fn a_message_keeps_its_properties() {
    let world = World::new().await;
    let headers = [
        ("iothub-to", "/devices/d1/messages/events"),
        ("iothub-messageid", "m"),
        ("iothub-correlationid", "c"),
        ("iothub-userid", "u"),
        ("iothub-contenttype", "application/json"),
        ("iothub-contentencoding", "utf-8"),
        ("iothub-creationtimeutc", "2026-01-01T00:00:00Z"),
        ("dt-subject", "thermostat"),
        ("iothub-app-level", "5"),
        ("iothub-app-empty", ""),
        ("iothub-app-iothub-connection-device-id", "somebody else"),
        ("content-type", "application/octet-stream"),
        ("x-other", "not ours"),
    ];
    let answer = world.device("POST", EVENTS, &headers, "{}").await;
    assert_eq!((answer.status, answer.body.len()), (StatusCode::NO_CONTENT, 0));
    let logged = world.log.lock().unwrap()[0].clone();
    assert_eq!((logged.identity, logged.body), (world.device.clone(), b"{}".to_vec()));
    let fields: Vec<_> = logged.fields.iter().map(|field| field.as_deref()).collect();
    let time = Some("2026-01-01T00:00:00Z");
    let (kind, encoding) = (Some("application/json"), Some("utf-8"));
    let expected = [Some("m"), Some("c"), Some("u"), kind, encoding, None, time, Some("thermostat"), None, None];
    assert_eq!(fields, expected);
    assert_eq!(
        logged.properties,
        [("level".to_owned(), Some("5".to_owned())), ("empty".to_owned(), Some(String::new()))]
    );
}

#[tokio::test]
async fn words_of_paths_are_known_in_any_case() {
    let world = World::new().await;
    let answer = world.device("POST", "/Devices/d1/Messages/Events", &[], "x").await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
    let answer = world.device("POST", "/devices/D1/messages/events", &[], "x").await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "ids keep their case");
}

#[tokio::test]
async fn a_batch_is_taken_whole_or_not_at_all() {
    let world = World::new().await;
    let batch = [("content-type", "application/vnd.microsoft.iothub.json; charset=utf-8")];
    let good = r#"[{"body":"YQ==","properties":{"iothub-app-Level":"1","iothub-app-Null":null,"iothub-app-Empty":"","iothub-messageid":"a","iothub-correlationid":null}},
        {"body":"b","base64Encoded":false}, {"body":"Yw==","base64Encoded":true,"properties":{}}]"#;
    assert_eq!(world.device("POST", EVENTS, &batch, good).await.status, StatusCode::NO_CONTENT);
    assert_eq!(world.bodies(), ["a", "b", "c"]);
    let first = world.log.lock().unwrap()[0].clone();
    assert_eq!(
        first.properties,
        [
            ("Empty".to_owned(), Some(String::new())),
            ("Level".to_owned(), Some("1".to_owned())),
            ("Null".to_owned(), None)
        ]
    );
    assert_eq!(first.fields[0].as_deref(), Some("a"));
    for wrong in ["", "{}", "[]", r#"[{"body":"*"}]"#, r#"[{"body":"YQ=="},{"properties":{}}]"#, "[1]"] {
        let answer = world.device("POST", EVENTS, &batch, wrong).await;
        assert_eq!(answer.error(), (400, "ArgumentInvalid"), "{wrong}");
    }
    let half = "x".repeat(D2C_BYTES_MAX / 2);
    let item = |body: &str| format!(r#"{{"body":"{body}","base64Encoded":false}}"#);
    let full = format!("[{},{}]", item(&half), item(&half));
    assert_eq!(world.device("POST", EVENTS, &batch, &full).await.status, StatusCode::NO_CONTENT);
    let over = format!("[{},{},{}]", item(&half), item(&half), item("x"));
    assert_eq!(world.device("POST", EVENTS, &batch, &over).await.error(), (413, "MessageTooLarge"));
    assert_eq!(world.bodies().len(), 5);
}

#[tokio::test]
async fn sizes_are_bounded_at_the_limit() {
    let world = World::new().await;
    let answer = world.device("POST", EVENTS, &[], &"x".repeat(D2C_BYTES_MAX)).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
    let answer = world.device("POST", EVENTS, &[], &"x".repeat(D2C_BYTES_MAX + 1)).await;
    assert_eq!(answer.error(), (413, "MessageTooLarge"));
    let answer = world.device("POST", EVENTS, &[], &"x".repeat(1024 * 1024)).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(world.bodies().len(), 1);
}

#[tokio::test]
async fn a_polled_message_says_all_and_is_completed() {
    let world = World::new().await;
    assert_eq!(world.device("GET", BOUND, &[], "").await.status, StatusCode::NO_CONTENT);
    let message = C2dMessage {
        message_id: Some("m1".into()),
        correlation_id: Some("c\u{e9}".into()),
        user_id: Some("u".into()),
        content_type: Some("text/plain".into()),
        ack: Ack::Full,
        properties: vec![
            ("level".into(), Some("5".into())),
            ("a b".into(), Some("line\nbreak".into())),
            ("null".into(), None),
        ],
        body: Bytes::from_static(b"hello"),
        ..C2dMessage::default()
    };
    world.send(message).await;
    let answer = world.device("GET", BOUND, &[], "").await;
    assert_eq!((answer.status, &answer.body[..]), (StatusCode::OK, &b"hello"[..]));
    assert_eq!(answer.header("iothub-messageid"), Some("m1"));
    assert_eq!(answer.header("iothub-correlationid"), Some("c%C3%A9"));
    assert_eq!(answer.header("iothub-userid"), Some("u"));
    assert_eq!(answer.header("iothub-to"), Some("/devices/d1/messages/deviceBound"));
    assert_eq!(answer.header("iothub-deliverycount"), Some("0"));
    assert_eq!(answer.header("iothub-ack"), Some("full"));
    assert_eq!(answer.header("iothub-contenttype"), Some("text/plain"));
    assert_eq!(answer.header("iothub-app-level"), Some("5"));
    assert_eq!(answer.header("iothub-app-null"), Some(""), "a header cannot be null");
    assert_eq!(answer.header("iothub-app-a%20b"), Some("line%0Abreak"));
    assert!(answer.header("iothub-expiry").is_some() && answer.header("iothub-enqueuedtime").is_some());
    assert!(answer.header("iothub-sequencenumber").is_some());
    let path = format!("/devices/d1/messages/devicebound/{}?api-version=2021-04-12", answer.lock());
    assert_eq!(world.device("GET", BOUND, &[], "").await.status, StatusCode::NO_CONTENT, "it is locked");
    let done = world.device("DELETE", &path, &[("if-match", &answer.lock())], "").await;
    assert_eq!((done.status, done.body.len()), (StatusCode::NO_CONTENT, 0));
    assert_eq!(world.device("DELETE", &path, &[], "").await.error(), (412, "DeviceMessageLockLost"));
}

#[tokio::test]
async fn every_outcome_has_its_call_and_its_feedback() {
    let world = World::new().await;
    let (feedback, devicebound) = ("/messages/serviceBound/feedback", "/devices/d1/messages/devicebound");
    for (message_id, suffix) in [("complete", ""), ("reject", "?api-version=2021-04-12&reject"), ("cli", "?reject=")] {
        let message = C2dMessage { message_id: Some(message_id.into()), ack: Ack::Full, ..C2dMessage::default() };
        world.send(message).await;
        let lock = world.device("GET", BOUND, &[], "").await.lock();
        let path = format!("{devicebound}/{lock}/abandon");
        assert_eq!(world.device("POST", &path, &[], "").await.status, StatusCode::NO_CONTENT);
        let again = world.device("GET", BOUND, &[("iothub-messagelocktimeout", "30")], "").await;
        assert_eq!(again.header("iothub-deliverycount"), Some("1"));
        let path = format!("{devicebound}/{}{suffix}", again.lock());
        assert_eq!(world.device("DELETE", &path, &[], "").await.status, StatusCode::NO_CONTENT);
    }
    assert_eq!(world.service("GET", feedback).await.status, StatusCode::NO_CONTENT);
    world.api.hub.tend(gantry_api::now().plus(Duration::from_secs(16))).await.unwrap();
    let answer = world.service("GET", feedback).await;
    assert_eq!(answer.header("content-type"), Some("application/vnd.microsoft.iothub.feedback.json"));
    let records: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    let codes: Vec<_> = records.as_array().unwrap().iter().map(|record| record["statusCode"].clone()).collect();
    assert_eq!(codes, ["Success", "Rejected", "Rejected"]);
    let path = format!("{feedback}/{}/abandon", answer.lock());
    assert_eq!(world.service("POST", &path).await.status, StatusCode::NO_CONTENT);
    let answer = world.service("GET", feedback).await;
    assert_eq!(answer.header("iothub-deliverycount"), Some("1"));
    let path = format!("{feedback}/{}", answer.lock());
    assert_eq!(world.service("DELETE", &path).await.status, StatusCode::NO_CONTENT);
    assert_eq!(world.service("DELETE", &path).await.error(), (412, "DeviceMessageLockLost"));
    assert_eq!(world.service("GET", feedback).await.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn file_notifications_are_polled_at_both_spellings() {
    let world = World::new().await;
    for path in ["/messages/serviceBound/filenotifications", "/messages/servicebound/fileuploadnotifications"] {
        let file = FileNotification {
            identity: world.device.clone(),
            blob_uri: "https://localhost/c/d1/a".into(),
            blob_name: "d1/a".into(),
            last_updated_at: gantry_api::now(),
            size_bytes: 3,
        };
        world.api.hub.notify_file_uploaded(gantry_api::now(), &file).await.unwrap();
        let answer = world.service("GET", path).await;
        let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!((&body["blobName"], &body["blobSizeInBytes"]), (&"d1/a".into(), &3.into()));
        let done = world.service("DELETE", &format!("{path}/{}", answer.lock())).await;
        assert_eq!(done.status, StatusCode::NO_CONTENT);
    }
}

#[tokio::test]
async fn only_the_device_itself_gets_in() {
    let world = World::new().await;
    let wrong = [
        device_token("localhost/devices/d1", 9),
        device_token("localhost/devices/d2", 3),
        device_token("elsewhere/devices/d1", 3),
        token("service", Key::from_bytes([1; 32])),
        "rubbish".to_owned(),
        String::new(),
    ];
    let lock = "/devices/d1/messages/devicebound/00000000-0000-0000-0000-000000000000";
    for token in &wrong {
        for (method, path) in [("POST", EVENTS), ("GET", BOUND), ("DELETE", lock)] {
            let answer = world.call(method, path, token, &[], vec![]).await;
            assert_eq!(answer.error(), (401, "IotHubUnauthorized"), "{token} {method}");
        }
    }
    let policy = token("device", Key::from_bytes([1; 32]));
    let answer = world.call("POST", EVENTS, &policy, &[], b"x".to_vec()).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT, "a policy that may connect devices");
    let write = DeviceWrite { status: Status::Disabled, ..DeviceWrite::default() };
    world.api.hub.put_device(gantry_api::now(), &world.device, write, &IfMatch::Any).await.unwrap();
    assert_eq!(world.device("POST", EVENTS, &[], "x").await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn what_is_not_there_is_said() {
    let world = World::new().await;
    for (method, path, expected) in [
        ("GET", EVENTS, (405, "GenericMethodNotAllowed")),
        ("PUT", BOUND, (405, "GenericMethodNotAllowed")),
        // A service's call: a device's token is none.
        ("POST", BOUND, (401, "IotHubUnauthorized")),
        ("DELETE", "/devices/d1/messages/devicebound/rubbish", (412, "DeviceMessageLockLost")),
        ("PUT", "/devices/d1/messages/devicebound/x", (405, "GenericMethodNotAllowed")),
        ("POST", "/devices/d1/messages/devicebound/x/renew", (404, "GenericNotFound")),
        ("GET", "/devices/d1/messages/other", (404, "GenericNotFound")),
        ("POST", "/devices/a%20b/messages/events", (400, "ArgumentInvalid")),
    ] {
        assert_eq!(world.device(method, path, &[], "").await.error(), expected, "{method} {path}");
    }
    assert_eq!(world.service("GET", "/messages/serviceBound/other").await.error(), (404, "GenericNotFound"));
    assert_eq!(world.service("PUT", "/messages/serviceBound/feedback").await.error(), (405, "GenericMethodNotAllowed"));
}

#[tokio::test]
async fn a_service_sends_to_a_device_with_one_post() {
    let world = World::new().await;
    let owner = token("service", Key::from_bytes([1; 32]));
    let headers = [
        ("iothub-messageid", "m1"),
        ("iothub-correlationid", "c1"),
        ("iothub-ack", "Full"),
        ("iothub-expiry", "2099-01-01T00:00:00Z"),
        ("iothub-contenttype", "text/plain"),
        ("iothub-app-level", "5"),
        ("content-type", "application/json"),
    ];
    let sent = world.call("POST", BOUND, &owner, &headers, b"hello".to_vec()).await;
    assert_eq!((sent.status, sent.body.len()), (StatusCode::NO_CONTENT, 0));
    let got = world.device("GET", BOUND, &[], "").await;
    assert_eq!(&got.body[..], b"hello");
    for (name, value) in &headers[..3] {
        assert_eq!(got.header(name).map(str::to_ascii_lowercase).as_deref(), Some(value.to_ascii_lowercase().as_str()));
    }
    assert_eq!((got.header("iothub-app-level"), got.header("iothub-contenttype")), (Some("5"), Some("text/plain")));
    for wrong in [("iothub-ack", "maybe"), ("iothub-expiry", "tomorrow"), ("iothub-expiry", "2001-01-01T00:00:00Z")] {
        let answer = world.call("POST", BOUND, &owner, &[wrong], vec![]).await;
        assert_eq!(answer.error(), (400, "ArgumentInvalid"), "{wrong:?}");
    }
    let nobody = "/devices/nobody/messages/deviceBound";
    assert_eq!(world.call("POST", nobody, &owner, &[], vec![]).await.error(), (404, "DeviceNotFound"));
    // The id as it is comes first; only then what it is decoded once more.
    for (id, path) in [("d%23", "d%2523"), ("d#", "d%23"), ("e#", "e%2523")] {
        let device = Identity::parse(id).unwrap();
        world.api.hub.put_device(gantry_api::now(), &device, DeviceWrite::default(), &IfMatch::Absent).await.unwrap();
        let path = format!("/devices/{path}/messages/deviceBound");
        assert_eq!(world.call("POST", &path, &owner, &[], vec![]).await.status, StatusCode::NO_CONTENT, "{path}");
        let waiting = world.api.hub.receive_c2d(gantry_api::now(), &device, None).await.unwrap();
        assert!(waiting.is_some(), "{id}");
    }
}
