//! The provisioning service over HTTPS: what devices ask, and the attestation of enrollments. Without sockets.

use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use gantry_api::{Api, PeerAddress, PeerCertificate};
use gantry_identity::{CertificateChain, Key, Signer, Timestamp};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::authorization::{api, router, token};
use crate::service::Answer;

pub(crate) const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

async fn send(api: &Api, request: Request<Body>) -> Answer {
    let response = router(api.clone()).oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let bytes = to_bytes(body, usize::MAX).await.unwrap();
    let body = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap() };
    Answer { status: parts.status, headers: parts.headers, body }
}

/// A call of an operator.
pub(crate) async fn operator(api: &Api, method: &str, path: &str, body: &Value) -> Answer {
    let token = token("provisioningserviceowner", Key::from_bytes([1; 32]));
    send_as(api, method, path, &token, Some("*"), body).await
}

/// A call with a token, and an `If-Match` where one is given.
pub(crate) async fn send_as(
    api: &Api,
    method: &str,
    path: &str,
    token: &str,
    etag: Option<&str>,
    body: &Value,
) -> Answer {
    let request = Request::builder().method(method).uri(path).extension(PeerAddress::from("127.0.0.1:1"));
    let mut request = request.header("authorization", token);
    if let Some(etag) = etag {
        request = request.header("if-match", etag);
    }
    send(api, request.body(Body::from(body.to_string())).unwrap()).await
}

async fn enroll(api: &Api, path: &str, attestation: Value) -> Answer {
    operator(api, "PUT", path, &json!({ "attestation": attestation })).await
}

pub(crate) fn device_token(scope: &str, id: &str, key: &str) -> String {
    let key = Key::from_base64(key).unwrap();
    let signer = Signer { resource: format!("{scope}/registrations/{id}"), key, policy: Some("registration".into()) };
    signer.token(Timestamp::from_millis(4_000_000_000_000))
}

/// A call of a device.
pub(crate) async fn device(api: &Api, method: &str, path: &str, proof: Option<&str>, body: &str) -> Answer {
    let mut request = Request::builder().method(method).uri(path).extension(PeerAddress::from("127.0.0.1:1"));
    if let Some(token) = proof {
        request = request.header("authorization", token);
    }
    send(api, request.body(Body::from(body.to_owned())).unwrap()).await
}

/// A certificate signed by itself, as PEM and as its holder presents it.
pub(crate) fn certificate(name: &str, is_ca: bool) -> (String, PeerCertificate) {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = if is_ca { IsCa::Ca(BasicConstraints::Unconstrained) } else { IsCa::ExplicitNoCa };
    let made = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
    (made.pem(), PeerCertificate(CertificateChain::new(&[made.der().clone()]).unwrap()))
}

#[track_caller]
fn refused(answer: &Answer, status: u16, code: u32) {
    assert_eq!(answer.status.as_u16(), status, "{answer:?}");
    assert_eq!(answer.header("x-ms-error-code"), Some(code.to_string().as_str()), "{answer:?}");
    assert_eq!(answer.body["errorCode"], code, "{answer:?}");
    for field in ["trackingId", "message", "timestampUtc"] {
        assert!(answer.body[field].as_str().is_some_and(|text| !text.is_empty()), "{field}: {answer:?}");
    }
    assert!(answer.body["info"].is_object(), "{answer:?}");
}

/// Asks until the registration is done.
pub(crate) async fn outcome(api: &Api, location: &str, proof: &str) -> Value {
    loop {
        let answer = device(api, "GET", location, Some(proof), "").await;
        match answer.status {
            StatusCode::OK => return answer.body,
            StatusCode::ACCEPTED => assert!(answer.header("retry-after").is_some(), "{answer:?}"),
            _ => panic!("{answer:?}"),
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_device_registers_asks_and_looks_up() {
    let folder = tempfile::tempdir().unwrap();
    let api = api(&folder);
    let keys = json!({ "type": "symmetricKey", "symmetricKey": { "primaryKey": KEY, "secondaryKey": KEY } });
    assert_eq!(enroll(&api, "/enrollments/pump", keys).await.status, 200);
    let proof = device_token("0ne", "pump", KEY);
    let unknown = device(&api, "POST", "/0ne/registrations/pump", Some(&proof), "{}").await;
    refused(&unknown, 404, 404_202);
    let body = r#"{"registrationId":"pump","payload":{"model":"x"}}"#;
    let path = "/0ne/registrations/pump/register?api-version=2021-10-01&forceRegistration=true";
    let accepted = device(&api, "PUT", path, Some(&proof), body).await;
    assert_eq!((accepted.status.as_u16(), &accepted.body["status"]), (202, &json!("assigning")));
    assert!(accepted.header("retry-after").is_some());
    let done = outcome(&api, accepted.header("location").unwrap(), &proof).await;
    assert_eq!(done["registrationState"]["assignedHub"], "localhost", "{done}");
    let state = device(&api, "POST", "/0ne/registrations/pump", Some(&proof), r#"{"registrationId":"pump"}"#).await;
    assert_eq!((state.status.as_u16(), &state.body["deviceId"]), (200, &json!("pump")));
}

#[tokio::test]
async fn what_a_device_gets_wrong_has_the_documented_shape() {
    let folder = tempfile::tempdir().unwrap();
    let api = api(&folder);
    let keys = json!({ "type": "symmetricKey", "symmetricKey": { "primaryKey": KEY, "secondaryKey": KEY } });
    enroll(&api, "/enrollments/pump", keys).await;
    let good = device_token("0ne", "pump", KEY);
    let other_key = "MDEyMzQ1Njc4OWFiY2RlZg==";
    let register = |id: &str| format!("/0ne/registrations/{id}/register");
    for proof in [None, Some("nonsense"), Some(device_token("0ne", "pump", other_key).as_str())] {
        refused(&device(&api, "PUT", &register("pump"), proof, "{}").await, 401, 401_002);
    }
    let elsewhere = device_token("0nf", "pump", KEY);
    refused(&device(&api, "PUT", "/0nf/registrations/pump/register", Some(&elsewhere), "{}").await, 401, 401_002);
    refused(&device(&api, "PUT", &register("fan"), Some(&good), "{}").await, 401, 401_002);
    refused(&device(&api, "PUT", &register("pump."), Some(&good), "{}").await, 400, 400_004);
    let large = format!(r#"{{"payload":"{}"}}"#, "x".repeat(96 * 1024));
    for body in [r#"{"registrationId":"fan"}"#, large.as_str()] {
        refused(&device(&api, "PUT", &register("pump"), Some(&good), body).await, 400, 400_004);
    }
    for body in ["{", "[]", r#"{"registrationId":"pump","payload":7}"#, r#"{"payload":[{}]}"#] {
        refused(&device(&api, "PUT", &register("pump"), Some(&good), body).await, 400, 400_012);
    }
    let request = r#"{"registrationId":"pump","csr":"MIIB"}"#;
    refused(&device(&api, "PUT", &register("pump"), Some(&good), request).await, 501, 501_001);
    refused(&device(&api, "POST", "/0ne/registrations/pump", Some(&good), request).await, 400, 400_004);
    refused(&device(&api, "GET", "/0ne/registrations/pump/operations/5.0", Some(&good), "").await, 404, 404_203);
    refused(&operator(&api, "GET", "/registrations/pump", &Value::Null).await, 404, 404_202);
}

#[tokio::test]
async fn a_query_gives_every_enrollment_whatever_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let api = api(&folder);
    let keys = json!({ "type": "symmetricKey", "symmetricKey": { "primaryKey": KEY, "secondaryKey": KEY } });
    for path in ["/enrollments/pump", "/enrollments/fan", "/enrollmentGroups/plant"] {
        assert_eq!(enroll(&api, path, keys.clone()).await.status, 200);
    }
    let queries = [
        json!({ "query": "SELECT * FROM enrollments" }),
        json!({ "query": "" }),
        json!({ "query": "select *" }),
        json!({ "query": "SELECT * FROM enrollments WHERE registrationId = 'nobody'" }),
        json!({ "query": "anything" }),
        json!({ "query": null }),
        json!({}),
    ];
    for query in &queries {
        for (path, count) in [("/enrollments/query", 2), ("/enrollmentGroups/query", 1)] {
            let found = operator(&api, "POST", path, query).await;
            assert_eq!((found.status.as_u16(), found.body.as_array().map(Vec::len)), (200, Some(count)), "{query}");
        }
        let none = operator(&api, "POST", "/registrations/plant/query", query).await;
        assert_eq!((none.status.as_u16(), &none.body), (200, &json!([])), "{query}");
    }
    for wrong in [json!({ "query": 7 }), json!({ "sql": "SELECT *" }), json!([])] {
        refused(&operator(&api, "POST", "/enrollments/query", &wrong).await, 400, 400_012);
    }
    refused(&enroll(&api, "/enrollments/pump", json!(7)).await, 400, 400_012);
}

#[tokio::test]
async fn certificates_are_written_shown_as_info_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let api = api(&folder);
    let (first, holder) = certificate("pump", false);
    let x509 = |slots: Value| json!({ "type": "x509", "x509": slots });
    let leaf = x509(json!({ "clientCertificates": { "primary": { "certificate": first }, "secondary": null } }));
    let stored = enroll(&api, "/enrollments/pump", leaf).await;
    assert_eq!(stored.status, 200, "{stored:?}");
    let shown = operator(&api, "GET", "/enrollments/pump", &Value::Null).await.body;
    let slots = &shown["attestation"]["x509"]["clientCertificates"];
    assert_eq!(slots["primary"]["info"]["subjectName"], "CN=pump");
    assert!(slots["primary"].get("certificate").is_none() && slots.get("secondary").is_none());
    // What was read is written back, and the device still gets in.
    assert_eq!(operator(&api, "PUT", "/enrollments/pump", &shown).await.status, 200);
    let request = Request::builder().method("PUT").uri("/0ne/registrations/pump/register");
    let request = request.extension(PeerAddress::from("127.0.0.1:1")).extension(holder);
    assert_eq!(send(&api, request.body(Body::empty()).unwrap()).await.status, 202);
    let mut other = shown.clone();
    other["attestation"]["x509"]["clientCertificates"]["primary"]["info"]["sha256Thumbprint"] = "00".into();
    refused(&operator(&api, "PUT", "/enrollments/pump", &other).await, 400, 400_004);
}

#[tokio::test]
async fn attestation_that_cannot_be_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let api = api(&folder);
    let ((leaf, _), (authority, _)) = (certificate("pump", false), certificate("plant", true));
    let slot = |pem: &str| json!({ "primary": { "certificate": pem } });
    let x509 = |slots: Value| json!({ "type": "x509", "x509": slots });
    let good = x509(json!({ "signingCertificates": slot(&authority) }));
    assert_eq!(enroll(&api, "/enrollmentGroups/plant", good).await.status, 200);
    let tpm = |key: &str| json!({ "type": "tpm", "tpm": { "endorsementKey": key } });
    for wrong in [
        x509(json!({})),
        x509(json!({ "clientCertificates": slot(&leaf) })),
        x509(json!({ "signingCertificates": slot(&leaf) })),
        x509(json!({ "signingCertificates": slot("no certificate") })),
        x509(json!({ "signingCertificates": slot(&authority), "caReferences": { "primary": "plant" } })),
        x509(json!({ "caReferences": { "primary": "nobody" } })),
        tpm("AAAA"),
    ] {
        refused(&enroll(&api, "/enrollmentGroups/line", wrong).await, 400, 400_004);
    }
    for wrong in [tpm(""), tpm("no base64!"), tpm("AAAA"), json!({ "type": "else" })] {
        refused(&enroll(&api, "/enrollments/pump", wrong).await, 400, 400_004);
    }
}
