//! The real table of routes, walked: every operation in every spelling of its path.

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, StatusCode};
use gantry_api::{Api, PeerAddress, Route, routes};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::authorization::api;
use crate::service::{call, ok};

/// A version both of the hub's API and of the provisioning service's.
const VERSION_OF_BOTH: &str = "api-version=2018-04-01";

/// Every operation with a path that fits it.
fn operations(api: &Api) -> Vec<(Method, String)> {
    let fill = |piece: &str| match piece.strip_prefix('{') {
        Some(name) if name.starts_with('*') => "serviceBound/feedback".to_owned(),
        Some(_) => "X1".to_owned(),
        None => piece.to_owned(),
    };
    let path = |route: &Route| route.path.split('/').map(fill).collect::<Vec<_>>().join("/");
    let table = routes(api.clone());
    table.table().iter().map(|route| (route.method.clone().unwrap_or(Method::GET), path(route))).collect()
}

/// Status and error of a call without credentials, so that nothing changes.
async fn answer(router: &Router, method: &Method, path_and_query: &str) -> (StatusCode, Value) {
    let request = Request::builder().method(method).uri(path_and_query).extension(PeerAddress("127.0.0.1:1".into()));
    let request = request.body(Body::from("{}")).unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    let header = |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
    let error = json!([header("iothub-errorcode"), header("x-ms-error-code")]);
    let status = response.status();
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    (status, json!([error, body["errorCode"], body["error"]["code"], body["Message"].is_string()]))
}

#[tokio::test]
async fn every_route_is_found_in_every_spelling() {
    let folder = tempfile::tempdir().unwrap();
    let api = api(&folder);
    let (operations, router) = (operations(&api), routes(api).into_router());
    let nowhere = answer(&router, &Method::GET, "/no/such/path").await;
    assert!(operations.len() > 100, "{}", operations.len());
    for (method, path) in operations {
        let expected = answer(&router, &method, &format!("{path}?{VERSION_OF_BOTH}")).await;
        assert_ne!(expected, nowhere, "{method} {path}");
        assert_ne!(expected.0, StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
        let words = |change: fn(&str) -> String| {
            path.split('/').map(|word| if word == "X1" { word.to_owned() } else { change(word) }).collect::<Vec<_>>()
        };
        let (upper, lower) = (words(str::to_ascii_uppercase).join("/"), words(str::to_ascii_lowercase).join("/"));
        let whole = |path: &str| format!("/{}", utf8_percent_encode(path.trim_start_matches('/'), NON_ALPHANUMERIC));
        let spellings = [
            format!("{path}/"),
            format!("/{}//", path.replace('/', "//")),
            whole(&path),
            whole(&path).replace("%2F", "%2f"),
            whole(&format!("{upper}/")),
            path.replace('/', "/%2F"),
            upper,
            lower,
        ];
        for spelling in spellings {
            let found = answer(&router, &method, &format!("{spelling}?{VERSION_OF_BOTH}")).await;
            assert_eq!(found, expected, "{method} {spelling}");
        }
    }
}

#[tokio::test]
async fn ids_are_taken_to_the_letter() {
    let folder = tempfile::tempdir().unwrap();
    let api = api(&folder);
    let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let ids = [
        "a%2Fb", "a%2fb", "%25", "100%", "d#1", "d+1", "d:1", "d?1", "d;=@$'", "DEVICES", "query", "Query", "keys",
        "...",
    ];
    for id in ids {
        let made = ok(call(&api, "PUT", &format!("/devices/{}", encode(id)), json!({ "deviceId": id })).await);
        assert_eq!(made["deviceId"], id);
        let module = format!("/devices/{}/modules/{}", encode(id), encode(id));
        ok(call(&api, "PUT", &module, json!({ "deviceId": id, "moduleId": id })).await);
    }
    for id in ids {
        for path in [format!("devices/{id}"), format!("twins/{id}"), format!("twins/{id}/modules/{id}")] {
            let once: Vec<_> = path.split('/').map(encode).collect();
            for spelling in [format!("/{}", once.join("/")), format!("/{}", encode(&path))] {
                let found = ok(call(&api, "GET", &spelling, Value::Null).await);
                assert_eq!(found["deviceId"], id, "{spelling}");
            }
        }
    }
    let listed = ok(call(&api, "GET", "/devices/?top=100", Value::Null).await);
    assert_eq!(listed.as_array().map(Vec::len), Some(ids.len()), "no device was made under another name");
}
