//! The version of the API that a call asks for. What is asked for changes nothing but whether it is answered.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use gantry_api::{Row, asked_version};

use crate::Failure;

/// Lets a call through that asks for a version its row has.
pub(crate) async fn check(State(row): State<Row>, request: Request, next: Next) -> Response {
    match asked_version(request.uri().query()) {
        None => Failure::no_version().into_response(),
        Some(asked) if row.versions.iter().any(|known| known.eq_ignore_ascii_case(&asked)) => next.run(request).await,
        Some(asked) => Failure::unknown_version(&asked, row.versions).into_response(),
    }
}
