//! The table of routes, and the one rule by which the path of a request finds its place in it.
//!
//! A path is percent-decoded once, whole, and cut at its slashes; empty pieces go. Fixed words of a route are compared
//! without case, and what stands at the place of a parameter is kept to the letter. So `/devices/d1`, `/Devices/d1/`,
//! `//devices//d1` and `/devices%2Fd1` are one path: Azure IoT Explorer percent-encodes paths whole, slashes too, and
//! the SDKs differ in case and in slashes at the end. The id `a%2Fb`, which a client writes `a%252Fb`, stays what it is,
//! because nothing is decoded twice.
//!
//! A word is never taken for a parameter's value when a route with the method has it: `POST /devices/query` asks a
//! query, and `GET /devices/query` is about a device of that name.

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::Request;
use axum::handler::Handler;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{self, MethodFilter, MethodRouter};
use axum::{Extension, Router};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use tower::ServiceExt as _;

use crate::central;
use crate::error::ApiError;
use crate::openapi;
use crate::operation::{Head, Operation, Row};

/// Characters that a path shows as they are.
const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Every operation of a router; handlers find it as an [`Extension`].
pub type Table = Arc<[Row]>;

/// Operations with their handlers: the one way into a router.
pub struct Routes<S = ()> {
    rows: Vec<(Row, MethodRouter<S>)>,
    otherwise: Option<MethodRouter>,
}

impl<S: Clone + Send + Sync + 'static> Default for Routes<S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: Clone + Send + Sync + 'static> Routes<S> {
    /// None yet.
    pub fn new() -> Self {
        Self { rows: vec![], otherwise: None }
    }

    /// Adds an operation. Its handler finds the row as an [`Extension`].
    ///
    /// # Panics
    /// When it is an operation's whose method no router can tell apart (none of ours).
    #[must_use]
    pub fn on<H: Handler<T, S>, T: 'static>(mut self, row: Operation, handler: H) -> Self {
        let one = match &row.method {
            Some(method) => {
                let filter = MethodFilter::try_from(method.clone()).expect("a method of the standard");
                routing::on(filter, handler)
            }
            None => routing::any(handler),
        };
        self.rows.push((Arc::new(row), one));
        self
    }

    /// Adds the routes of another table.
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        self.rows.extend(other.rows);
        self.otherwise = self.otherwise.or(other.otherwise);
        self
    }

    /// Puts a layer, which may depend on the row, around every handler; calls of other methods do not pass it.
    #[must_use]
    pub fn layered(mut self, layer: impl Fn(&Row, MethodRouter<S>) -> MethodRouter<S>) -> Self {
        self.rows = self.rows.into_iter().map(|(row, one)| (Arc::clone(&row), layer(&row, one))).collect();
        self
    }

    /// Answers calls of paths that are nowhere in the table.
    #[must_use]
    pub fn otherwise<H: Handler<T, ()>, T: 'static>(mut self, handler: H) -> Self {
        self.otherwise = Some(routing::any(handler));
        self
    }

    /// Gives the handlers what they work with.
    #[must_use]
    pub fn with_state<S2>(self, state: S) -> Routes<S2> {
        let rows = self.rows.into_iter().map(|(row, one)| (row, one.with_state(state.clone()))).collect();
        Routes { rows, otherwise: self.otherwise }
    }

    /// Every operation.
    pub fn table(&self) -> Vec<Row> {
        self.rows.iter().map(|(row, _)| Arc::clone(row)).collect()
    }
}

impl Routes {
    /// A router that takes the paths of these routes in every spelling.
    pub fn into_router(self) -> Router {
        let table: Table = self.table().into();
        let paths = Arc::new(Paths::new(&table));
        let mut seen = HashSet::new();
        let mut router = Router::new();
        for (row, one) in self.rows {
            let own = Extension(Arc::clone(&row));
            let mut one = if row.method.is_some() { one.route_layer(own) } else { one.layer(own) };
            if matches!(row.head, Head::Service | Head::Device) && seen.insert(row.path.clone()) {
                one =
                    one.fallback(|method: Method| async move { ApiError::method_not_allowed(&method).into_response() });
            }
            if row.head == Head::Application && seen.insert(row.path.clone()) {
                one = one.fallback(|method: Method| async move {
                    let message = format!("{method} is not allowed here");
                    central::refusal(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", &message)
                });
            }
            router = router.route(&row.path, one);
        }
        if let Some(otherwise) = self.otherwise {
            router = router.fallback_service(otherwise);
        }
        let router = router.layer(Extension(openapi::Document::of(table)));
        let service = tower::service_fn(move |mut request: Request| {
            paths.fold(&request.method().clone(), request.uri_mut());
            let router = router.clone();
            async move { Ok::<Response, Infallible>(router.oneshot(request).await.unwrap_or_else(|never| match never {})) }
        });
        Router::new().fallback_service(service)
    }
}

/// A piece of a route's path.
#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Word(String),
    Parameter,
    /// One or more pieces up to the end.
    Rest,
}

/// The paths of a table, ready to be compared.
struct Paths(Vec<(Option<Method>, Vec<Piece>)>);

impl Paths {
    fn new(table: &[Row]) -> Self {
        let piece = |text: &str| match text.strip_prefix('{') {
            Some(name) if name.starts_with('*') => Piece::Rest,
            Some(_) => Piece::Parameter,
            None => Piece::Word(text.to_owned()),
        };
        let pieces = |path: &str| path.split('/').filter(|text| !text.is_empty()).map(piece).collect();
        Self(table.iter().map(|route| (route.method.clone(), pieces(&route.path))).collect())
    }

    /// Makes a request's path the one its route has; a path of no route stays as it is.
    fn fold(&self, method: &Method, uri: &mut Uri) {
        let decoded = percent_decode_str(uri.path()).decode_utf8_lossy();
        let given: Vec<&str> = decoded.split('/').filter(|piece| !piece.is_empty()).collect();
        let method = if *method == Method::HEAD { &Method::GET } else { method };
        let fitting = self.0.iter().filter(|(_, pieces)| fits(pieces, &given));
        let Some((_, pieces)) = fitting.min_by_key(|(of, pieces)| {
            let is_other = of.as_ref().is_some_and(|of| of != method);
            // Among those, the one whose words come first.
            (is_other, pieces.iter().map(|piece| !matches!(piece, Piece::Word(_))).collect::<Vec<_>>())
        }) else {
            return;
        };
        let mut folded = String::with_capacity(uri.path().len() + 8);
        for (at, text) in given.iter().enumerate() {
            folded.push('/');
            match pieces.get(at) {
                Some(Piece::Word(word)) => folded.push_str(word),
                // Escaped at its first byte, so that the router never takes it for a word.
                Some(Piece::Parameter) => write_parameter(&mut folded, text),
                Some(Piece::Rest) | None => folded.extend(utf8_percent_encode(text, PATH)),
            }
        }
        if folded == uri.path() {
            return;
        }
        let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
        // The host stays, which HTTP/2 tells nowhere else.
        let mut parts = uri.clone().into_parts();
        parts.path_and_query = format!("{folded}{query}").parse().ok();
        if let Ok(folded) = Uri::from_parts(parts) {
            *uri = folded;
        }
    }
}

fn fits(pieces: &[Piece], given: &[&str]) -> bool {
    let as_many = match pieces.split_last() {
        Some((Piece::Rest, before)) => given.len() > before.len(),
        _ => given.len() == pieces.len(),
    };
    let same = |(piece, text): (&Piece, &&str)| match piece {
        Piece::Word(word) => word.eq_ignore_ascii_case(text),
        Piece::Parameter | Piece::Rest => true,
    };
    as_many && pieces.iter().zip(given).all(same)
}

fn write_parameter(to: &mut String, text: &str) {
    let mut characters = text.chars();
    if let Some(first) = characters.next().filter(char::is_ascii) {
        to.push_str(&format!("%{:02X}", u32::from(first)));
        to.extend(utf8_percent_encode(characters.as_str(), PATH));
    } else {
        to.extend(utf8_percent_encode(text, PATH));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::Access;
    use axum::body::{Body, to_bytes};
    use axum::extract::Path;

    fn router() -> Router {
        let one = |name: &'static str| move |Path(id): Path<String>| async move { format!("{name} {id}") };
        let two = |name: &'static str| {
            move |Path((id, rest)): Path<(String, String)>| async move { format!("{name} {id} {rest}") }
        };
        let row = |method: &str, path: &str| {
            let method = (method != "ANY").then(|| method.parse::<Method>().unwrap());
            Operation::new(Head::Process, method, path, path.to_owned(), Access::Anyone, "")
        };
        Routes::new()
            .on(row("GET", "/devices"), || async { "list" })
            .on(row("POST", "/devices/query"), || async { "query" })
            .on(row("GET", "/devices/{id}"), one("device"))
            .on(row("ANY", "/devices/{id}/messages/{*rest}"), two("messages"))
            .on(row("POST", "/{scope}/registrations/{id}"), two("registration"))
            .merge(Routes::new().on(row("GET", "/platform/v1/rules/{id}"), one("rule")))
            .into_router()
    }

    async fn call(method: &str, path: &str) -> String {
        let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        let (parts, body) = router().oneshot(request).await.unwrap().into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap();
        if parts.status.is_success() {
            String::from_utf8(body.to_vec()).unwrap()
        } else {
            parts.status.as_u16().to_string()
        }
    }

    async fn check(method: &str, paths: &[&str], expected: &str) {
        for path in paths {
            assert_eq!(call(method, path).await, expected, "{method} {path}");
        }
    }

    #[tokio::test]
    async fn a_path_has_many_spellings() {
        let spellings =
            ["/devices/d1", "/devices/d1/", "//devices///d1//", "/DEVICES/d1", "/devices%2Fd1?a=b", "/%44evices/%641"];
        check("GET", &spellings, "device d1").await;
        check("GET", &["/devices", "/Devices/", "/devices%2f", "//devices"], "list").await;
        check("GET", &["/platform/v1/rules/R", "/Platform/V1/Rules/R/", "/platform%2Fv1%2Frules%2FR"], "rule R").await;
        check(
            "POST",
            &["/0ne/registrations/r", "/0ne/Registrations/r", "/0ne%2Fregistrations%2Fr"],
            "registration 0ne r",
        )
        .await;
        check("PUT", &["/devices/d/messages/Events/x/", "/devices%2Fd%2Fmessages%2FEvents%2Fx"], "messages d Events/x")
            .await;
        check("GET", &["/", "/nothing", "/devices/a/b", "/platform/v1/rules"], "404").await;
        check("PATCH", &["/devices/d1", "/Devices%2Fd1"], "405").await;
    }

    #[tokio::test]
    async fn what_is_no_word_stays_to_the_letter() {
        for (id, once) in [
            ("DEVICES", "DEVICES"),
            ("a%2Fb", "a%252Fb"),
            ("%252F", "%25252F"),
            ("a#b?c", "a%23b%3Fc"),
            ("a+b c", "a+b%20c"),
            ("a:b@c=d", "a:b@c=d"),
            ("ä", "%C3%A4"),
            ("%", "%25"),
            ("x%", "x%"),
            ("..", ".."),
        ] {
            let whole = utf8_percent_encode(&format!("devices/{id}"), NON_ALPHANUMERIC).to_string();
            check("GET", &[&format!("/devices/{once}"), &format!("/{whole}")], &format!("device {id}")).await;
        }
    }

    #[tokio::test]
    async fn a_word_is_a_parameter_where_no_route_of_the_method_has_it() {
        check("POST", &["/devices/query", "/devices/QUERY/"], "query").await;
        for id in ["query", "Query", "registrations"] {
            check("GET", &[&format!("/devices/{id}")], &format!("device {id}")).await;
        }
        check("POST", &["/devices/registrations/x"], "registration devices x").await;
    }

    proptest::proptest! {
        #[test]
        fn any_path_is_survived_and_folded_once(path in "/[/%a-zA-Z0-9.+*{}:-]{0,60}") {
            if let Ok(mut uri) = path.parse::<Uri>() {
                let row = |method, path| Arc::new(Operation::new(Head::Process, method, path, "", Access::Anyone, ""));
                let paths = Paths::new(&[row(None, "/devices/{id}/{*rest}"), row(Some(Method::GET), "/{a}/b/{c}")]);
                paths.fold(&Method::GET, &mut uri);
                let once = uri.clone();
                paths.fold(&Method::GET, &mut uri);
                proptest::prop_assert_eq!(uri, once);
            }
        }
    }
}
