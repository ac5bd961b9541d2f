//! Parameters of a query, refused in the shape of the head that they were sent to.

use axum::extract::{FromRequestParts, Query as Read};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse as _, Response};
use gantry_provisioning::DpsError;
use serde::de::DeserializeOwned;

use crate::dps::DpsFailure;
use crate::error::ApiError;
use crate::operation::{Head, Row};
use crate::platform::error::PlatformError;

/// As axum's, with our errors.
pub(crate) struct Query<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        let read = Read::<T>::from_request_parts(parts, state).await;
        let row = parts.extensions.get::<Row>();
        read.map(|Read(parameters)| Self(parameters)).map_err(|error| refuse(row, error.body_text()))
    }
}

fn refuse(row: Option<&Row>, words: String) -> Response {
    match row.map(|row| row.head) {
        Some(Head::Service | Head::Device) => ApiError::invalid(words).into_response(),
        Some(Head::DpsService | Head::DpsDevice) => DpsFailure::from(DpsError::Invalid(words)).into_response(),
        Some(Head::Platform) => PlatformError::invalid(words).into_response(),
        Some(
            Head::Blob
            | Head::Tokens
            | Head::Directory
            | Head::Kusto
            | Head::OData
            | Head::Application
            | Head::Management
            | Head::Graph
            | Head::Models
            | Head::Process,
        )
        | None => (StatusCode::BAD_REQUEST, words).into_response(),
    }
}
