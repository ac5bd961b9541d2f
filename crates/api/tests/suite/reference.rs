//! What is told of the table of routes: OpenAPI and the reference page; and that nothing gets around the table.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use gantry_api::{
    Operation, PeerAddress, blob, central, directory, graph, kusto, management, odata, page, process, routes, tokens,
};
use serde_json::Value;
use tower::ServiceExt as _;

use crate::authorization::{api, router};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Everything that any of our processes answers.
fn everything() -> Vec<Operation> {
    let folder = tempfile::tempdir().unwrap();
    let table = routes(api(&folder)).table();
    let rest = process::operations()
        .into_iter()
        .chain(kusto::operations())
        .chain(odata::operations())
        .chain(directory::operations())
        .chain(central::operations())
        .chain(central::own_operations())
        .chain(management::operations())
        .chain(graph::operations())
        .chain(graph::repository())
        .chain([tokens::operation()])
        .chain(blob::operations());
    table.iter().map(|row| (**row).clone()).chain(rest).collect()
}

#[test]
fn every_operation_has_a_name_of_its_own_and_a_sentence() {
    let all = everything();
    let names: BTreeSet<_> = all.iter().map(|row| &row.id).collect();
    assert_eq!(names.len(), all.len());
    for row in &all {
        let is_sentence = row.about.ends_with('.') && !row.about.contains('\n');
        assert!(is_sentence, "{}: {}", row.id, row.about);
        assert!(row.id.contains('_') && row.id.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'), "{}", row.id);
    }
}

/// To rewrite the page: `GANTRY_BLESS=1 cargo nextest run -p gantry-api the_reference_page_is_true`.
#[test]
fn the_reference_page_is_true() {
    let (path, page) = (root().join("docs/api.md"), page(&everything()));
    if std::env::var_os("GANTRY_BLESS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page,
        "docs/api.md is not what the table of routes says; rewrite it with \
         `GANTRY_BLESS=1 cargo nextest run -p gantry-api the_reference_page_is_true` and read the difference"
    );
}

#[tokio::test]
async fn openapi_tells_of_every_operation() {
    let folder = tempfile::tempdir().unwrap();
    let api = api(&folder);
    let request = Request::get("/platform/v1/openapi.json").extension(PeerAddress::from("127.0.0.1:1"));
    let response = router(api.clone()).oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let document = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    let document: Value = serde_json::from_slice(&document).unwrap();
    let table = routes(api).table();
    for row in &table {
        let method = row.method.as_ref().unwrap().as_str().to_ascii_lowercase();
        let told = &document["paths"][row.path.replace("{*", "{")][&method];
        assert_eq!(told["operationId"], *row.id, "{}", row.path);
        let of_path = |one: &&Value| one["in"] == "path" && one["required"] == true;
        let named: Vec<_> = told["parameters"].as_array().unwrap().iter().filter(of_path).collect();
        let named: Vec<_> = named.iter().filter_map(|one| one["name"].as_str()).collect();
        assert_eq!(named, row.parameters().collect::<Vec<_>>(), "{}", row.id);
        assert_eq!(told["requestBody"].is_object(), row.has_body(), "{}", row.id);
    }
    let told: usize = document["paths"].as_object().unwrap().values().map(|path| path.as_object().unwrap().len()).sum();
    assert_eq!(told, table.len());
}

fn sources(folder: &Path, to: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, to);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            to.push(path);
        }
    }
}

#[test]
fn nothing_gets_into_a_router_but_through_the_table() {
    // What makes a router of axum's, or puts a path into one.
    const WAYS: [&str; 8] = [
        "Router::new",
        "Router::default",
        ".route(",
        ".route_service(",
        ".nest(",
        ".nest_service(",
        "axum::routing",
        "MethodRouter::new",
    ];
    let mut files = vec![];
    for entry in std::fs::read_dir(root().join("crates")).unwrap() {
        let source = entry.unwrap().path().join("src");
        if source.is_dir() {
            sources(&source, &mut files);
        }
    }
    assert!(files.len() > 200, "{}", files.len());
    let table = Path::new("api/src/routes.rs");
    for file in files.iter().filter(|file| !file.ends_with(table)) {
        let text = std::fs::read_to_string(file).unwrap();
        // One gRPC service, whose own router has no paths of ours: it is reached by a row of the table (`process::flight`).
        let is_grpc = |way: &str| way == "Router::new" && file.ends_with("flight/src/lib.rs");
        for way in WAYS.into_iter().filter(|way| !is_grpc(way)) {
            assert!(!text.contains(way), "{} has `{way}`: add a row to a table of routes instead", file.display());
        }
    }
    let own = files.iter().find(|file| file.ends_with(table)).expect("the table is where it was");
    assert!(std::fs::read_to_string(own).unwrap().contains(".route("), "the check can fail");
}
