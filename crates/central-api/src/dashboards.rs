//! Dashboards. Personal ones belong to people, so no token sees or writes any.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use gantry_central::access::permissions::Permission;
use gantry_central::dashboards::{Dashboard, DashboardError, Tile, read_tiles};
use gantry_central::ids::{DashboardId, DisplayName};
use gantry_central::kept::Kept;
use gantry_central::{Author, CentralError};
use gantry_hub::device::IfMatch;
use serde_json::{Value, json};

use crate::call::Call;
use crate::kind::Kind;
use crate::{Failure, body, list};

fn show(id: &str, kept: &Kept<Dashboard>) -> Value {
    let one = &kept.value;
    let mut shown = json!({
        "id": id,
        "displayName": one.display_name.as_str(),
        "tiles": one.tiles.iter().map(Tile::value).collect::<Vec<_>>(),
        "personal": one.owner.is_some(),
        "favorite": one.favorite,
        "etag": format!("\"{}\"", kept.etag.text()),
    });
    body::put_organization(&mut shown, one.organization.as_ref());
    shown
}

fn read(body: &Value) -> Result<Dashboard, Failure> {
    if body::flag(body, "personal")? == Some(true) {
        return Err(Failure::invalid("`personal`: a dashboard of somebody's own is made by that person, on the page"));
    }
    let tiles = match body.get("tiles") {
        None | Some(Value::Null) => vec![],
        Some(tiles) => read_tiles(tiles).map_err(CentralError::from)?,
    };
    Ok(Dashboard {
        display_name: DisplayName::parse(body::needed(body, "displayName")?)?,
        tiles,
        favorite: body::flag(body, "favorite")?.unwrap_or(false),
        owner: None,
        organization: body::organization(body)?,
    })
}

/// Whether the caller sees a dashboard.
fn sees(call: &Call, one: &Dashboard) -> bool {
    one.owner.is_none() && call.sees(Permission::DashboardsView, one.organization.as_ref())
}

pub(crate) async fn list(call: Call) -> Result<Response, Failure> {
    let seen = call.who.state.dashboards.iter().filter(|(_, kept)| sees(&call, &kept.value));
    list::answer(&call, seen.map(|(id, kept)| (id.to_string(), kept)), |id, kept| show(id, kept))
}

fn known(call: &Call) -> Result<(DashboardId, &Kept<Dashboard>), Failure> {
    let id = call.id("dashboardId", DashboardId::parse)?;
    match call.who.state.dashboards.get(&id).filter(|kept| sees(call, &kept.value)) {
        Some(kept) => Ok((id, kept)),
        None => Err(CentralError::from(DashboardError::Unknown(id)).into()),
    }
}

pub(crate) async fn get(call: Call) -> Result<Json<Value>, Failure> {
    let (id, kept) = known(&call)?;
    Ok(Json(show(id.as_str(), kept)))
}

/// Dashboards, as a kind.
pub(crate) struct Dashboards;

impl Kind for Dashboards {
    type Id = DashboardId;
    type Object = Dashboard;
    const WHOLE: &'static [&'static str] = &[];

    fn known(call: &Call) -> Result<(DashboardId, &Kept<Dashboard>), Failure> {
        known(call)
    }

    fn show(id: &str, kept: &Kept<Dashboard>) -> Value {
        show(id, kept)
    }

    async fn write(call: &Call, body: &Value, if_match: &IfMatch) -> Result<Json<Value>, Failure> {
        write(call, body, if_match).await
    }
}

async fn write(call: &Call, body: &Value, if_match: &IfMatch) -> Result<Json<Value>, Failure> {
    let id = call.id("dashboardId", DashboardId::parse)?;
    let new = read(body)?;
    let kept = call.central().put_dashboard(call.write(if_match), &id, &new, author(call)).await?;
    Ok(Json(show(id.as_str(), &kept)))
}

fn author(call: &Call) -> Author<'_> {
    Author { roles: &call.who.roles, user: None }
}

pub(crate) async fn remove(call: Call) -> Result<Response, Failure> {
    let (id, _) = known(&call)?;
    call.central().delete_dashboard(&id, &call.if_match(&Value::Null)?, author(&call)).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
