//! The real table of routes, walked: every operation in every spelling of its path, and with every kind of version.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, StatusCode};
use gantry_api::{Api, Head, PeerAddress, Row, routes};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::authorization::api;
use crate::service::{call, ok};

/// A version both of the hub's API and of the provisioning service's.
const VERSION_OF_BOTH: &str = "api-version=2018-04-01";

/// Every operation with a path that fits it.
pub(crate) fn operations(api: &Api) -> Vec<(Row, String)> {
    let fill = |piece: &str| match piece {
        "{scope}" => "0ne".to_owned(),
        parameter if parameter.starts_with('{') => "X1".to_owned(),
        word => word.to_owned(),
    };
    let path = |row: &Row| row.path.split('/').map(fill).collect::<Vec<_>>().join("/");
    routes(api.clone()).table().into_iter().map(|row| (Arc::clone(&row), path(&row))).collect()
}

/// The method of a row.
pub(crate) fn method(row: &Row) -> Method {
    row.method.clone().unwrap_or(Method::GET)
}

/// Status and error of a call without credentials, so that nothing changes.
async fn answer(router: &Router, method: &Method, path_and_query: &str) -> (StatusCode, Value) {
    let request = Request::builder().method(method).uri(path_and_query).extension(PeerAddress::from("127.0.0.1:1"));
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
    for (row, path) in operations {
        let method = method(&row);
        let expected = answer(&router, &method, &format!("{path}?{VERSION_OF_BOTH}")).await;
        assert_ne!(expected, nowhere, "{method} {path}");
        assert_ne!(expected.0, StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
        let words = |change: fn(&str) -> String| {
            path.split('/')
                .map(|word| if ["X1", "0ne"].contains(&word) { word.to_owned() } else { change(word) })
                .collect::<Vec<_>>()
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

/// What a head answers to a call whose version it does not take; the platform's API has none.
fn refusal(row: &Row) -> Option<Value> {
    match row.head {
        Head::DpsService | Head::DpsDevice => Some(json!([[null, "400004"], 400_004, null, false])),
        Head::Service | Head::Device => Some(json!([["InvalidProtocolVersion", null], null, null, true])),
        Head::Platform
        | Head::Blob
        | Head::Tokens
        | Head::Directory
        | Head::Kusto
        | Head::OData
        | Head::Application
        | Head::Management
        | Head::Graph
        | Head::Models
        | Head::Process => None,
    }
}

#[tokio::test]
async fn every_operation_asks_for_a_version_it_knows() {
    let folder = tempfile::tempdir().unwrap();
    let api = api(&folder);
    let wrong = [
        "",
        "?",
        "?api-version",
        "?api-version=",
        "?api-version=latest",
        "?api-version=2021-4-12",
        "?api-version=2021-04-12x",
        "?api-version=2099-01-01",
        "?api-version=1999-01-01",
        "?api-version=2020-01-01",
        "?api_version=2021-04-12",
        "?api-version=2018-04-01&api-version=2018-04-01",
    ];
    let (operations, router) = (operations(&api), routes(api).into_router());
    for (row, path) in operations {
        let method = method(&row);
        for query in wrong {
            let (status, error) = answer(&router, &method, &format!("{path}{query}")).await;
            match refusal(&row) {
                Some(expected) => {
                    assert_eq!((status, error), (StatusCode::BAD_REQUEST, expected), "{method} {path}{query}")
                }
                // A version is nothing to it: it answers as without.
                None => assert_eq!((status, error), answer(&router, &method, &path).await, "{method} {path}{query}"),
            }
        }
        for query in ["?api-version=2018-04-01", "?top=1&API-VERSION=2018-04-01", "?api-version=2018%2D04-01"] {
            let (_, error) = answer(&router, &method, &format!("{path}{query}")).await;
            assert_ne!(Some(error), refusal(&row), "{method} {path}{query}");
        }
    }
}
