//! Signing in to the page: the token once, the cookie with its flags, the header against forged requests.

use axum::body::{Body, to_bytes};
use axum::http::{Request, Response, StatusCode, header};
use gantry_api::{Api, PeerAddress, Permissions, now};
use gantry_identity::Key;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::authorization::{api, router, token};

async fn send(api: &Api, method: &str, path: &str, headers: &[(&str, &str)], body: &'static str) -> Response<Body> {
    let path = format!("/platform/v1{path}");
    let mut request = Request::builder().method(method).uri(path).extension(PeerAddress::from("127.0.0.1:1"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    router(api.clone()).oneshot(request.body(Body::from(body)).unwrap()).await.unwrap()
}

fn cookie(response: &Response<Body>) -> String {
    response.headers()[header::SET_COOKIE].to_str().unwrap().to_owned()
}

const SIGN_IN: &str = r#"{"token":"one-time"}"#;

#[tokio::test]
async fn a_link_signs_in_once_and_signing_out_ends_it() {
    let folder = tempfile::tempdir().unwrap();
    let api = api(&folder);
    api.sessions.add_link("one-time".into(), now()).await;
    let signed_in = send(&api, "POST", "/session", &[], SIGN_IN).await;
    assert_eq!(signed_in.status(), StatusCode::OK);
    let full = cookie(&signed_in);
    for flag in ["HttpOnly", "Secure", "SameSite=Strict", "Path=/", "Max-Age=43200"] {
        assert!(full.contains(flag), "{full}");
    }
    assert_eq!(send(&api, "POST", "/session", &[], SIGN_IN).await.status(), StatusCode::UNAUTHORIZED, "only once");
    let session = full.split(';').next().unwrap();
    assert_eq!(send(&api, "GET", "/fleet", &[("cookie", session)], "").await.status(), StatusCode::OK);
    assert_eq!(
        send(&api, "GET", "/fleet", &[("cookie", "gantry_session=guess")], "").await.status(),
        StatusCode::UNAUTHORIZED
    );
    let out = send(&api, "DELETE", "/session", &[("cookie", session), ("x-gantry-csrf", "1")], "").await;
    assert_eq!(out.status(), StatusCode::NO_CONTENT);
    assert_eq!(send(&api, "GET", "/fleet", &[("cookie", session)], "").await.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_cookie_alone_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let api = api(&folder);
    api.sessions.add_link("one-time".into(), now()).await;
    let full = cookie(&send(&api, "POST", "/session", &[], SIGN_IN).await);
    let session = full.split(';').next().unwrap();
    let rule = r#"{"when":{"kind":"urgency","urgencyMin":0.5},"severity":"info"}"#;
    let forged = send(&api, "PUT", "/rules/x", &[("cookie", session)], rule).await;
    assert_eq!(forged.status(), StatusCode::FORBIDDEN);
    let own = send(&api, "PUT", "/rules/x", &[("cookie", session), ("x-gantry-csrf", "1")], rule).await;
    assert_eq!(own.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_session_says_whose_it_is_and_what_they_may() {
    let folder = tempfile::tempdir().unwrap();
    let api = api(&folder);
    api.sessions.add_link("one-time".into(), now()).await;
    let signed_in = send(&api, "POST", "/session", &[], SIGN_IN).await;
    let full = cookie(&signed_in);
    let read = async |response: Response<Body>| -> Value {
        serde_json::from_slice(&to_bytes(response.into_body(), usize::MAX).await.unwrap()).unwrap()
    };
    let shown = read(send(&api, "GET", "/session", &[("cookie", full.split(';').next().unwrap())], "").await).await;
    assert_eq!(shown, read(signed_in).await);
    assert_eq!((&shown["user"], &shown["hub"]), (&json!("admin"), &json!("hub")));
    let all: Vec<_> = Permissions::ALL.names().collect();
    assert_eq!(shown["permissions"], json!(all));
    let service = token("service", Key::from_bytes([1; 32]));
    let program = read(send(&api, "GET", "/session", &[("authorization", &service)], "").await).await;
    assert_eq!(program["user"], "service", "a program goes by its policy");
    assert_eq!(program["permissions"], json!(Permissions::OPERATOR.names().collect::<Vec<_>>()));
    let reader = token("registryRead", Key::from_bytes([1; 32]));
    let nobody = send(&api, "GET", "/session", &[("authorization", &reader)], "").await;
    assert_eq!(nobody.status(), StatusCode::UNAUTHORIZED, "no permission at all");
}
