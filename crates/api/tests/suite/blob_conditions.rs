//! Conditional headers of the blob service: every operation with every condition.
//!
//! The expected answers are written down by hand from "Specifying conditional headers for Blob service operations" of
//! the Azure Storage REST reference, and from what the service was seen to answer where the reference is silent
//! (`docs/compatibility.md`).

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use axum::middleware::from_fn_with_state;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gantry_api::PeerAddress;
use gantry_api::blob::{BlobService, divert};
use gantry_blobs::{Account, Blobs};
use gantry_identity::{Key, KeyPair, encode_component};
use gantry_storage::Database;
use object_store::memory::InMemory;
use tower::ServiceExt as _;

use crate::authorization::api;

/// One operation on a blob or container at `{}`; what it answers when nothing is asked of it.
struct Operation {
    kind: Kind,
    method: &'static str,
    query: &'static str,
    body: &'static str,
    done: u16,
}

/// Which rules an operation is under.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Read,
    /// Writes a blob that may be there or not.
    Create,
    /// Writes what must be there.
    Change,
}

const fn operation(kind: Kind, method: &'static str, query: &'static str, body: &'static str, done: u16) -> Operation {
    Operation { kind, method, query, body, done }
}

const ON_BLOBS: [Operation; 8] = [
    operation(Kind::Read, "GET", "", "", 200),
    operation(Kind::Read, "HEAD", "", "", 200),
    operation(Kind::Read, "GET", "comp=metadata", "", 200),
    operation(Kind::Create, "PUT", "", "new", 201),
    operation(Kind::Create, "PUT", "comp=blocklist", "<BlockList></BlockList>", 201),
    operation(Kind::Change, "PUT", "comp=metadata", "", 200),
    operation(Kind::Change, "PUT", "comp=properties", "", 200),
    operation(Kind::Change, "DELETE", "", "", 202),
];

/// The reference takes dates alone here, and passes over the rest.
const ON_CONTAINERS: [Operation; 2] = [
    operation(Kind::Change, "PUT", "restype=container&comp=metadata", "", 200),
    operation(Kind::Change, "DELETE", "restype=container", "", 202),
];

const PAST: &str = "Sat, 01 Jan 2000 00:00:00 GMT";
const FUTURE: &str = "Fri, 01 Jan 2100 00:00:00 GMT";
const OTHER: &str = "\"0x8DFFFFFFFFFFFFF\"";

/// Lines of headers (`{}` is the ETag), and the answers of reads, creations and changes: first where the blob is, then
/// where it is not. `.` done, `P` 412, `N` 304, `U` unsatisfiable, `M` multiple, `H` bad header, `E` exists, `A` absent.
const CONDITIONS: [(&[(&str, &str)], &str); 28] = [
    (&[("if-match", "\"{}\"")], "... APA"),
    (&[("if-match", "{}")], "... APA"),
    (&[("if-match", "*")], "... APA"),
    (&[("if-match", OTHER)], "PPP APA"),
    (&[("if-match", "0x8DFFFFFFFFFFFFF")], "PPP APA"),
    (&[("if-match", "nonsense")], "PPP APA"),
    (&[("if-match", "")], "PPP APA"),
    (&[("if-match", "W/\"{}\"")], "PPP APA"),
    (&[("if-match", "\"x\", \"{}\"")], ".MM AMM"),
    (&[("if-match", "\"x\""), ("if-match", "\"{}\"")], ".MM AMM"),
    (&[("if-none-match", "\"{}\"")], "NPP A.A"),
    (&[("if-none-match", "{}")], "NPP A.A"),
    (&[("if-none-match", "*")], "UEP U.A"),
    (&[("if-none-match", OTHER)], "... A.A"),
    (&[("if-none-match", "W/\"{}\"")], "NPP A.A"),
    (&[("if-none-match", "\"x\", \"{}\"")], "NMM AMM"),
    (&[("if-none-match", "\"x\""), ("if-none-match", "\"{}\"")], "NMM AMM"),
    (&[("if-modified-since", PAST)], "... A.A"),
    (&[("if-modified-since", FUTURE)], "NPP A.A"),
    (&[("if-unmodified-since", PAST)], "PPP A.A"),
    (&[("if-unmodified-since", FUTURE)], "... A.A"),
    (&[("if-unmodified-since", "")], "... A.A"),
    (&[("if-unmodified-since", "yesterday")], "HHH HHH"),
    (&[("if-unmodified-since", FUTURE), ("if-unmodified-since", FUTURE)], "HHH HHH"),
    // Two kinds: reads take any, writes two pairs of which the ETag decides.
    (&[("if-match", "\"{}\""), ("if-none-match", OTHER)], ".MM AMM"),
    (&[("if-none-match", "\"{}\""), ("if-modified-since", PAST)], ".PP A.A"),
    (&[("if-none-match", OTHER), ("if-modified-since", FUTURE)], "... A.A"),
    (&[("if-match", "\"{}\""), ("if-unmodified-since", PAST)], "P.. APA"),
];

fn expected(letter: char, operation: &Operation) -> (u16, Option<&'static str>) {
    match letter {
        '.' => (operation.done, None),
        'P' => (412, Some("ConditionNotMet")),
        'N' => (304, Some("ConditionNotMet")),
        'U' => (400, Some("UnsatisfiableCondition")),
        'M' => (400, Some("MultipleConditionHeadersNotSupported")),
        'H' => (400, Some("InvalidHeaderValue")),
        'E' => (409, Some("BlobAlreadyExists")),
        'A' => (404, Some("BlobNotFound")),
        _ => unreachable!("a letter of the table"),
    }
}

/// A blob service in memory, and a signature for all of it.
struct Service {
    router: Router,
    signature: String,
    _folders: [tempfile::TempDir; 2],
}

struct Answer {
    status: u16,
    code: Option<String>,
    etag: Option<String>,
    body: String,
}

impl Service {
    fn new() -> Self {
        let (folder, catalogue) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let key = Key::from_bytes([7; 32]);
        let fields =
            [("sp", "rwdlac"), ("ss", "b"), ("srt", "sco"), ("se", "2100-01-01T00:00:00Z"), ("sv", "2019-02-02")];
        let signed = "gantry\nrwdlac\nb\nsco\n\n2100-01-01T00:00:00Z\n\n\n2019-02-02\n";
        let signature = encode_component(&STANDARD.encode(key.sign(signed.as_bytes())));
        let mut all: String = fields.iter().map(|(name, value)| format!("{name}={value}&")).collect();
        all.push_str(&format!("sig={signature}"));
        let account = Account { name: "gantry".into(), keys: KeyPair { primary: key.clone(), secondary: key } };
        let hub = api(&folder).hub;
        let database = Arc::new(Database::open(catalogue.path()).unwrap());
        let blobs = Arc::new(Blobs::new(account, database, Arc::new(InMemory::new()), 1));
        let router = Router::new().layer(from_fn_with_state(BlobService { blobs, hub, directory: None }, divert));
        Self { router, signature: all, _folders: [folder, catalogue] }
    }

    async fn call(&self, method: &str, path: &str, query: &str, lines: &[(&str, &str)], body: &'static str) -> Answer {
        let uri = format!("/gantry{path}?{query}&{}", self.signature);
        let mut request = Request::builder().method(method).uri(uri).extension(PeerAddress::from("127.0.0.1:1"));
        for (name, value) in lines {
            request = request.header(*name, *value);
        }
        let answer = self.router.clone().oneshot(request.body(Body::from(body)).unwrap()).await.unwrap();
        let text = |map: &HeaderMap, name: &str| map.get(name).map(|value| value.to_str().unwrap().to_owned());
        let (status, map) = (answer.status(), answer.headers().clone());
        let body = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
        Answer {
            status: status.as_u16(),
            code: text(&map, "x-ms-error-code"),
            etag: text(&map, "etag").map(|etag| etag.trim_matches('"').to_owned()),
            body: String::from_utf8(body.to_vec()).unwrap(),
        }
    }

    /// Makes a container, or a blob in one that is there; its ETag.
    async fn make(&self, path: &str) -> String {
        let query = if path[1..].contains('/') { "" } else { "restype=container" };
        let made = self.call("PUT", path, query, &[("x-ms-blob-type", "BlockBlob")], "").await;
        assert_eq!(made.status, 201, "{}", made.body);
        made.etag.unwrap()
    }

    /// The ETag of what is there.
    async fn etag(&self, path: &str) -> Option<String> {
        let query = if path[1..].contains('/') { "" } else { "restype=container" };
        self.call("HEAD", path, query, &[], "").await.etag
    }

    /// Carries an operation out under conditions and compares all of its answer, and what became of the blob.
    async fn check(&self, operation: &Operation, path: &str, lines: &[(&str, &str)], letter: char) {
        let before = self.etag(path).await;
        let etag = before.clone().unwrap_or("0x8D0000000000001".into());
        let owned: Vec<_> = lines.iter().map(|(name, value)| (*name, value.replace("{}", &etag))).collect();
        let mut lines: Vec<_> = owned.iter().map(|(name, value)| (*name, value.as_str())).collect();
        lines.push(("x-ms-blob-type", "BlockBlob"));
        let Operation { method, query, body, .. } = operation;
        let answer = self.call(method, path, query, &lines, body).await;
        let of = format!(
            "{method} {query} {} {lines:?}: {}",
            if before.is_some() { "there" } else { "absent" },
            answer.body
        );
        assert_eq!((answer.status, answer.code.as_deref()), expected(letter, operation), "{of}");
        if *method == "HEAD" || answer.status == 304 {
            assert_eq!(answer.body, "", "{of}");
        } else if let Some(code) = answer.code {
            assert!(answer.body.contains(&format!("<Code>{code}</Code>")), "{of}");
        }
        let is_write = operation.kind != Kind::Read;
        assert_eq!(self.etag(path).await != before, is_write && letter == '.', "{of}");
    }
}

#[tokio::test]
async fn every_operation_answers_every_condition_as_the_reference() {
    let service = Service::new();
    service.make("/blobs").await;
    let mut number = 0;
    for (lines, letters) in CONDITIONS {
        let letters: Vec<char> = letters.chars().filter(|letter| *letter != ' ').collect();
        for operation in &ON_BLOBS {
            for is_there in [true, false] {
                number += 1;
                let path = format!("/blobs/b{number}");
                if is_there {
                    service.make(&path).await;
                }
                let letter = letters[operation.kind as usize + if is_there { 0 } else { 3 }];
                service.check(operation, &path, lines, letter).await;
            }
        }
        for operation in &ON_CONTAINERS {
            number += 1;
            let path = format!("/container{number}");
            service.make(&path).await;
            service.check(operation, &path, lines, letters[Kind::Change as usize]).await;
        }
    }
}

#[tokio::test]
async fn operations_without_conditions_pass_over_them() {
    let service = Service::new();
    service.make("/blobs").await;
    service.make("/blobs/there").await;
    let mut number = 0;
    for (lines, _) in CONDITIONS {
        let owned: Vec<_> =
            lines.iter().map(|(name, value)| (*name, value.replace("{}", "0x8D0000000000001"))).collect();
        let lines: Vec<_> = owned.iter().map(|(name, value)| (*name, value.as_str())).collect();
        number += 1;
        let new = format!("/new{number}");
        for (method, path, query, status, code) in [
            ("PUT", "/blobs/there", "comp=block&blockid=QUFB", 201, None),
            ("PUT", "/blobs/absent", "comp=block&blockid=QUFB", 201, None),
            ("GET", "/blobs/there", "comp=blocklist&blocklisttype=all", 200, None),
            ("GET", "/blobs/nothing", "comp=blocklist", 404, Some("BlobNotFound")),
            ("PUT", new.as_str(), "restype=container", 201, None),
            ("PUT", "/blobs", "restype=container", 409, Some("ContainerAlreadyExists")),
            ("GET", "/blobs", "restype=container", 200, None),
            ("HEAD", "/blobs", "restype=container", 200, None),
            ("GET", "/blobs", "restype=container&comp=metadata", 200, None),
            ("GET", "/blobs", "restype=container&comp=list", 200, None),
            ("GET", "", "comp=list", 200, None),
        ] {
            let answer = service.call(method, path, query, &lines, "x").await;
            let of = format!("{method} {path} {query} {lines:?}: {}", answer.body);
            assert_eq!((answer.status, answer.code.as_deref()), (status, code), "{of}");
        }
    }
}

#[tokio::test]
async fn leases_and_tags_are_refused_by_every_operation() {
    let service = Service::new();
    service.make("/blobs").await;
    service.make("/blobs/there").await;
    let mut all: Vec<_> = ON_BLOBS.iter().map(|one| (one.method, "/blobs/there", one.query)).collect();
    all.extend(ON_CONTAINERS.iter().map(|one| (one.method, "/blobs", one.query)));
    all.extend([
        ("PUT", "/blobs/there", "comp=block&blockid=QUFB"),
        ("GET", "/blobs/there", "comp=blocklist"),
        ("GET", "/blobs", "restype=container"),
        ("PUT", "/more", "restype=container"),
        ("GET", "/blobs", "restype=container&comp=list"),
    ]);
    for (method, path, query) in all {
        for name in ["x-ms-if-tags", "x-ms-lease-id"] {
            let answer = service.call(method, path, query, &[(name, "x"), ("x-ms-blob-type", "BlockBlob")], "x").await;
            let found = (answer.status, answer.code.as_deref());
            assert_eq!(found, (501, Some("NotImplemented")), "{method} {path} {query} {name}");
        }
    }
    assert!(service.etag("/more").await.is_none());
}

#[tokio::test]
async fn lines_of_one_header_are_joined() {
    let service = Service::new();
    service.make("/blobs").await;
    let lines = [("x-ms-blob-type", "BlockBlob"), ("x-ms-meta-a", "1"), ("x-ms-meta-a", "2")];
    assert_eq!(service.call("PUT", "/blobs/b", "", &lines, "0123456789").await.status, StatusCode::CREATED);
    let twice = [("x-ms-range", "bytes=0-1"), ("x-ms-range", "bytes=4-5")];
    let answer = service.call("GET", "/blobs/b", "", &twice, "").await;
    assert_eq!((answer.status, answer.code.as_deref()), (400, Some("InvalidHeaderValue")));
    let listed = service.call("GET", "/blobs", "restype=container&comp=list&include=metadata", &[], "").await;
    assert!(listed.body.contains("<a>1,2</a>"), "{}", listed.body);
}
