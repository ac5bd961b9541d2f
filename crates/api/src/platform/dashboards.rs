//! Dashboards.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, Method as M, StatusCode, header};
use axum::response::{IntoResponse, Response};
use gantry_monitoring::dashboards::{Dashboard, DashboardError, Kept};
use serde_json::{Value, json};

use super::error::PlatformError;
use super::{parse, row};
use crate::caller::Permissions as P;
use crate::hub::if_match;
use crate::routes::Routes;
use crate::{Api, fields, now};

pub(super) fn routes() -> Routes<Arc<Api>> {
    let about = "`{\"value\":[{\"id\",\"title\",\"tiles\":n,\"updatedAt\"}]}`, in order of id.";
    Routes::new()
        .on(row(M::GET, "/dashboards", "Dashboards_List", P::DEVICES_READ, about), list)
        .on(row(M::GET, "/dashboards/{id}", "Dashboards_Get", P::DEVICES_READ, "A Dashboard, with its etag."), get)
        .on(
            row(
                M::PUT,
                "/dashboards/{id}",
                "Dashboards_Put",
                P::DASHBOARDS_MANAGE,
                "Makes or replaces a Dashboard; `If-Match` with its etag keeps what others wrote. The Dashboard.",
            )
            .takes(&fields::DASHBOARD),
            put,
        )
        .on(row(M::DELETE, "/dashboards/{id}", "Dashboards_Delete", P::DASHBOARDS_MANAGE, "204."), delete)
}

async fn list(State(api): State<Arc<Api>>) -> Json<Value> {
    let all = api.dashboards.all();
    let one = |(id, kept): (&String, &Arc<Kept>)| {
        let Kept { dashboard, updated_at, .. } = &**kept;
        json!({
            "id": id, "title": dashboard.title, "tiles": dashboard.tiles.len(), "updatedAt": updated_at.to_string(),
        })
    };
    Json(json!({ "value": all.iter().map(one).collect::<Vec<_>>() }))
}

async fn get(State(api): State<Arc<Api>>, Path(id): Path<String>) -> Result<Response, PlatformError> {
    let kept = api.dashboards.all().get(&id).cloned().ok_or(DashboardError::NotFound(id.clone()))?;
    Ok(answer(&id, &kept))
}

async fn put(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, PlatformError> {
    let dashboard: Dashboard = parse(&body, &fields::DASHBOARD)?;
    let kept = api.dashboards.put(now(), &id, &dashboard, &if_match(&headers)).await?;
    Ok(answer(&id, &kept))
}

async fn delete(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, PlatformError> {
    api.dashboards.delete(&id, &if_match(&headers)).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn answer(id: &str, kept: &Kept) -> Response {
    let mut body = json!(kept.dashboard);
    let etag = format!("\"{}\"", kept.version);
    body["id"] = id.into();
    body["etag"] = etag.clone().into();
    body["updatedAt"] = kept.updated_at.to_string().into();
    let mut response = Json(body).into_response();
    if let Ok(value) = HeaderValue::from_str(&etag) {
        response.headers_mut().insert(header::ETAG, value);
    }
    response
}

impl From<DashboardError> for PlatformError {
    fn from(error: DashboardError) -> Self {
        match error {
            DashboardError::NotFound(id) => Self::not_found(format!("dashboard `{id}`")),
            DashboardError::Invalid(reason) => Self::invalid(reason),
            DashboardError::Changed(_) => Self::changed(error.to_string()),
            DashboardError::Store(error) => {
                tracing::error!(%error, "a dashboard was not written");
                Self::unavailable()
            }
        }
    }
}
