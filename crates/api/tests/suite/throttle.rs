//! A hub that acts like an edition: turns, refusals and the daily quota, as REST clients see them.

use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use gantry_api::{Api, Head, PeerAddress};
use gantry_hub::throttle::Operation;
use gantry_identity::{Key, Signer, Timestamp};
use serde_json::Value;
use tower::ServiceExt as _;

use crate::authorization::{api_like, api_with_faults, router, token};

type Answer = (StatusCode, String, Value);

async fn call(api: &Api, method: &str, path: &str, token: &str, body: Vec<u8>) -> Answer {
    call_on(router(api.clone()), method, path, token, body).await
}

async fn call_on(router: Router, method: &str, path: &str, token: &str, body: Vec<u8>) -> Answer {
    let request = Request::builder().method(method).uri(path).extension(PeerAddress::from("127.0.0.1:1"));
    let request = request.header("authorization", token).body(Body::from(body)).unwrap();
    let response = router.oneshot(request).await.unwrap();
    let name = response.headers().get("iothub-errorcode").map(|name| name.to_str().unwrap().to_owned());
    let status = response.status();
    let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    (status, name.unwrap_or_default(), serde_json::from_slice(&body).unwrap_or_default())
}

fn owner() -> String {
    token("iothubowner", Key::from_bytes([2; 32]))
}

#[tokio::test]
async fn operations_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let (api, _) = api_like(&folder, None);
    let table = gantry_api::routes(api).table();
    for (method, path, expected) in [
        ("GET", "/devices/{id}", Some(Operation::Identity)),
        ("POST", "/devices", Some(Operation::Identity)),
        ("POST", "/devices/query", Some(Operation::Query)),
        ("GET", "/devices/{id}/messages/devicebound", Some(Operation::ReceiveC2d)),
        ("POST", "/devices/{id}/messages/devicebound", Some(Operation::SendC2d)),
        ("POST", "/devices/{id}/messages/events", Some(Operation::Telemetry)),
        ("DELETE", "/devices/{id}/messages/devicebound/{lock}", None),
        ("POST", "/devices/{id}/files", Some(Operation::FileUpload)),
        ("POST", "/devices/{id}/files/notifications", None),
        ("GET", "/twins/{id}/modules/{mid}", Some(Operation::TwinRead)),
        ("PATCH", "/twins/{id}", Some(Operation::TwinWrite)),
        ("POST", "/twins/{id}/modules/{mid}/methods", Some(Operation::Method)),
        ("POST", "/digitaltwins/{id}/components/{component}/commands/{name}", Some(Operation::Method)),
        ("POST", "/twins/{id}/streams/{*name}", Some(Operation::Stream)),
        ("POST", "/twins/{id}/modules/{mid}/streams/{*name}", Some(Operation::Stream)),
        ("PUT", "/jobs/v2/{id}", Some(Operation::Job)),
        ("POST", "/jobs/create", Some(Operation::Job)),
        ("GET", "/configurations", Some(Operation::Configuration)),
        ("POST", "/devices/{id}/applyConfigurationContent", Some(Operation::Configuration)),
        ("GET", "/statistics/devices", None),
        ("GET", "/messages/serviceBound/feedback", None),
    ] {
        let of_method = |method: &str| method.parse().ok();
        let row = table.iter().find(|row| row.method == of_method(method) && row.path == path);
        assert_eq!(row.map(|row| row.throttle), Some(expected), "{method} {path}");
    }
    let elsewhere =
        table.iter().find(|row| row.throttle.is_some() && !matches!(row.head, Head::Service | Head::Device));
    assert!(elsewhere.is_none(), "only the hub has rates: {elsewhere:?}");
}

#[tokio::test(start_paused = true)]
async fn what_comes_too_fast_waits_its_turn_and_is_refused_beyond_that() {
    let folder = tempfile::tempdir().unwrap();
    let (api, _) = api_like(&folder, Some("S1".parse().unwrap()));
    let began = tokio::time::Instant::now();
    let owner = owner();
    let router = router(api.clone());
    let calls = (0..80).map(|_| call_on(router.clone(), "GET", "/devices", &owner, vec![])).collect::<Vec<_>>();
    let answers = futures::future::join_all(calls).await;
    let count = |wanted: StatusCode| answers.iter().filter(|(status, ..)| *status == wanted).count();
    // 100 a minute: one or two at once, 50 in the half minute that may wait.
    let passed = count(StatusCode::OK);
    assert!((50..=54).contains(&passed), "{passed} passed");
    assert_eq!(count(StatusCode::TOO_MANY_REQUESTS), 80 - passed);
    assert!((28..32).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    let (_, name, body) = answers.iter().find(|(status, ..)| *status == StatusCode::TOO_MANY_REQUESTS).unwrap();
    assert_eq!(name, "ThrottlingException");
    assert!(body["Message"].as_str().unwrap().starts_with("ErrorCode:ThrottlingException;"), "{body}");
    // Other operations have rates of their own.
    assert_eq!(call(&api, "GET", "/twins/none", &owner, vec![]).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test(start_paused = true)]
async fn the_daily_quota_is_counted_in_steps_and_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let (api, log) = api_like(&folder, Some("F1".parse().unwrap()));
    let (status, _, made) = call(&api, "PUT", "/devices/d", &owner(), b"{}".to_vec()).await;
    assert_eq!(status, StatusCode::OK, "{made}");
    let key = Key::from_base64(made["authentication"]["symmetricKey"]["primaryKey"].as_str().unwrap()).unwrap();
    let device = Signer { resource: "localhost/devices/d".into(), key, policy: None };
    let device = device.token(Timestamp::from_millis(4_000_000_000_000));
    // 256 KB are 512 messages of the free edition; 8,000 a day are 15 of them.
    let large = vec![b'x'; 256 * 1024];
    let mut refused = None;
    for sent in 0..17 {
        let answer = call(&api, "POST", "/devices/d/messages/events", &device, large.clone()).await;
        if answer.0 != StatusCode::NO_CONTENT {
            refused = Some((sent, answer));
            break;
        }
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    let (sent, (status, name, _)) = refused.expect("the quota ends");
    assert_eq!((sent, status, name.as_str()), (15, StatusCode::FORBIDDEN, "IotHubQuotaExceeded"));
    assert_eq!(log.lock().unwrap().len(), 15);
}

#[tokio::test]
async fn a_basic_edition_lacks_what_goes_to_devices() {
    let folder = tempfile::tempdir().unwrap();
    let (api, _) = api_like(&folder, Some("B1".parse().unwrap()));
    for (method, path) in [
        ("GET", "/twins/d"),
        ("PATCH", "/twins/d"),
        ("POST", "/twins/d/methods"),
        ("POST", "/devices/query"),
        ("GET", "/jobs/v2/query"),
        ("GET", "/configurations"),
        ("GET", "/digitaltwins/d"),
    ] {
        let (status, name, _) = call(&api, method, path, &owner(), b"{}".to_vec()).await;
        assert_eq!((status, name.as_str()), (StatusCode::FORBIDDEN, "OperationNotAvailableInCurrentTier"), "{path}");
    }
    assert_eq!(call(&api, "GET", "/devices", &owner(), vec![]).await.0, StatusCode::OK);
}

#[tokio::test]
async fn planned_refusals_carry_retry_after_and_end() {
    let folder = tempfile::tempdir().unwrap();
    let (api, _) = api_like(&folder, None);
    let rest = r#"{"durationSecs":60,"rest":{"status":503,"share":0.5,"retryAfterSecs":7}}"#;
    let (status, ..) = call(&api, "PUT", "/platform/v1/faults", &owner(), rest.into()).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "not unless the hub allows it");
    assert_eq!(call(&api, "GET", "/devices", &owner(), vec![]).await.0, StatusCode::OK);

    let folder = tempfile::tempdir().unwrap();
    let api = api_with_faults(&folder);
    assert_eq!(call(&api, "PUT", "/platform/v1/faults", &owner(), rest.into()).await.0, StatusCode::OK);
    let mut seen = vec![];
    for _ in 0..6 {
        seen.push(call(&api, "GET", "/devices", &owner(), vec![]).await.0.as_u16());
    }
    assert_eq!(seen, [200, 503, 200, 503, 200, 503]);
    let skew = r#"{"durationSecs":60,"clockSkewSecs":7200}"#;
    assert_eq!(call(&api, "PUT", "/platform/v1/faults", &owner(), skew.into()).await.0, StatusCode::OK);
    let hour = Signer { resource: "localhost".into(), key: Key::from_bytes([2; 32]), policy: Some("service".into()) };
    let hour = hour.token(gantry_api::now().plus(Duration::from_secs(3600)));
    assert_eq!(call(&api, "GET", "/twins/none", &hour, vec![]).await.0, StatusCode::UNAUTHORIZED);
    let owner_hour =
        Signer { resource: "localhost".into(), key: Key::from_bytes([2; 32]), policy: Some("iothubowner".into()) };
    let owner_hour = owner_hour.token(gantry_api::now().plus(Duration::from_secs(3600)));
    assert_eq!(call(&api, "GET", "/twins/none", &owner_hour, vec![]).await.0, StatusCode::UNAUTHORIZED);
    // The operator's clock stays, or nobody could end it.
    assert_eq!(call(&api, "DELETE", "/platform/v1/faults", &owner_hour, vec![]).await.0, StatusCode::NO_CONTENT);
    assert_eq!(call(&api, "GET", "/twins/none", &hour, vec![]).await.0, StatusCode::NOT_FOUND);
}
