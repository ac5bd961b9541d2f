//! Relationships: which device another connects through or runs below. Each is kept with the lower one.
//!
//! Below an edge device, the hub learns of it too: the lower device gets its scope.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use gantry_api::now;
use gantry_central::access::permissions::Permission;
use gantry_central::devices::{Profile, TAG, Upstream};
use gantry_central::ids::RelationshipId;
use gantry_hub::HubError;
use gantry_hub::device::{AuthenticationWrite, DeviceWrite, IfMatch};
use gantry_hub::ports::{Constraint, Record, Search, Step, Test};
use gantry_hub::twin::TwinWrite;
use gantry_identity::{DeviceId, Identity};
use serde_json::{Value, json};

use super::{hub, known, unknown};
use crate::call::Call;
use crate::{Failure, body, list};

/// Devices below one that are looked at; ours.
const BELOW_MAX: usize = 10_000;
/// Records asked of the store at once.
const LOOKED_AT_ONCE: usize = 500;
/// Devices above each other, at most; ours.
const LEVELS_MAX: usize = 10;

/// A relationship: its id, the upper device, the lower one.
type Relationship = (RelationshipId, DeviceId, DeviceId);

fn show((id, source, target): &Relationship) -> Value {
    json!({ "id": id.as_str(), "source": source.as_str(), "target": target.as_str() })
}

/// The relationship of a device to the one above it.
fn upward(record: &Record) -> Option<(Upstream, DeviceId)> {
    Some((Profile::of(&record.twin.tags).upstream?, record.device.identity.device.clone()))
}

/// The same when the one above is there, is still the same device, and is seen.
async fn seen_upward(call: &Call, record: &Record) -> Result<Option<Relationship>, Failure> {
    let Some((upstream, target)) = upward(record) else { return Ok(None) };
    let above = match hub(call).record(&Identity::device(upstream.source.clone())).await {
        Ok(above) => above,
        Err(HubError::NotFound(_)) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let is_it = above.device.generation_id == upstream.generation_id && sees(call, &above);
    Ok(is_it.then_some((upstream.id, upstream.source, target)))
}

fn sees(call: &Call, record: &Record) -> bool {
    call.sees(Permission::DevicesView, Profile::of(&record.twin.tags).organization.as_ref())
}

/// Every relationship of a device that the caller sees both ends of, in order of id.
async fn all(call: &Call, record: &Record) -> Result<Vec<Relationship>, Failure> {
    let path = ["tags", TAG, "upstream", "source"].map(|name| Step::Name(name.to_owned())).to_vec();
    let (above, generation) = (record.device.identity.device.as_str(), &record.device.generation_id);
    let constraints = vec![Constraint { path, test: Test::OneOf(vec![above.into()]) }];
    let (mut found, mut after): (Vec<_>, _) = (seen_upward(call, record).await?.into_iter().collect(), None);
    loop {
        let search = Search { modules: false, constraints: constraints.clone() };
        let below = hub(call).find_devices(search, after, LOOKED_AT_ONCE).await?;
        let of_it = below.iter().filter(|record| sees(call, record)).filter_map(upward);
        let of_it = of_it.filter(|(one, _)| one.source.as_str() == above && one.generation_id == *generation);
        found.extend(of_it.map(|(one, target)| (one.id, one.source, target)));
        if below.len() < LOOKED_AT_ONCE || found.len() > BELOW_MAX {
            break;
        }
        after = below.last().map(|record| record.device.identity.clone());
    }
    found.sort_by(|(one, ..), (other, ..)| one.cmp(other));
    Ok(found)
}

pub(crate) async fn list(call: Call) -> Result<Response, Failure> {
    let known = known(&call, Permission::DevicesView).await?;
    let all = all(&call, &known.record).await?;
    list::answer(&call, all.into_iter().map(|one| (one.0.to_string(), one)), |_, one| show(one))
}

/// The relationship of the path.
async fn one(call: &Call, permission: Permission) -> Result<Relationship, Failure> {
    let id = call.id("relationshipId", RelationshipId::parse)?;
    let known = known(call, permission).await?;
    let found = all(call, &known.record).await?.into_iter().find(|(of, ..)| *of == id);
    found.ok_or_else(|| Failure::not_found(format!("the device has no relationship `{id}`")))
}

pub(crate) async fn get(call: Call) -> Result<Json<Value>, Failure> {
    Ok(Json(show(&one(&call, Permission::DevicesView).await?)))
}

pub(crate) async fn put(call: Call) -> Result<Json<Value>, Failure> {
    let id = call.id("relationshipId", RelationshipId::parse)?;
    let known = known(&call, Permission::DevicesUpdate).await?;
    let (here, body) = (known.identity().device.clone(), call.body()?);
    let end = |name: &str| match body::text(&body, name)? {
        Some(text) => DeviceId::parse(text).map_err(|error| Failure::invalid(format!("`{name}`: {error}"))),
        None => Ok(here.clone()),
    };
    let (source, target) = (end("source")?, end("target")?);
    if (source == here) == (target == here) {
        return Err(Failure::invalid("one of `source` and `target` is the device, the other is another one"));
    }
    relate(&call, (id, source, target), &IfMatch::Absent, None).await
}

pub(crate) async fn patch(call: Call) -> Result<Json<Value>, Failure> {
    let before = one(&call, Permission::DevicesUpdate).await?;
    let body = body::patched(&show(&before), &call.body()?);
    let end = |name: &str| {
        DeviceId::parse(body::needed(&body, name)?).map_err(|error| Failure::invalid(format!("`{name}`: {error}")))
    };
    let after = (before.0.clone(), end("source")?, end("target")?);
    if after.2 != before.2 {
        // Made first: what fails leaves what was.
        let made = relate(&call, after, &IfMatch::Absent, Some(&before)).await?;
        unrelate(&call, &before).await?;
        return Ok(made);
    }
    relate(&call, after, &IfMatch::Any, None).await
}

pub(crate) async fn remove(call: Call) -> Result<Response, Failure> {
    let before = one(&call, Permission::DevicesUpdate).await?;
    unrelate(&call, &before).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// A device at an end, which the caller may change.
async fn end(call: &Call, id: &DeviceId) -> Result<Record, Failure> {
    let record = match hub(call).record(&Identity::device(id.clone())).await {
        Ok(record) => record,
        Err(HubError::NotFound(_)) => return Err(unknown(id)),
        Err(error) => return Err(error.into()),
    };
    call.may_see(Permission::DevicesUpdate, Profile::of(&record.twin.tags).organization.as_ref(), || unknown(id))?;
    Ok(record)
}

/// Puts the lower device below the upper one; in place of what it is below already when `replaces` says any, and in
/// place of a relationship that is about to go.
async fn relate(
    call: &Call,
    one: Relationship,
    replaces: &IfMatch,
    going: Option<&Relationship>,
) -> Result<Json<Value>, Failure> {
    let (id, source, target) = &one;
    let (above, below) = (end(call, source).await?, end(call, target).await?);
    let mut profile = Profile::of(&below.twin.tags);
    let generation_id = above.device.generation_id.clone();
    let new = Upstream { id: id.clone(), source: source.clone(), generation_id };
    let of_above = all(call, &above).await?;
    let is_other = |of: &&Relationship| of.0 == *id && of.1 == *source && of.2 != *target && Some(*of) != going;
    if of_above.iter().any(|of| is_other(&of)) {
        return Err(Failure::conflict(format!("`{source}` has a relationship `{id}` to another device")));
    }
    if let Some(old) = profile.upstream.as_ref().filter(|old| **old != new)
        && *replaces != IfMatch::Any
        && old.id != *id
    {
        return Err(Failure::conflict(format!("`{target}` is below `{}` already (`{}`)", old.source, old.id)));
    }
    check_levels(call, &above, target).await?;
    profile.upstream = Some(new);
    store(call, &below, &profile).await?;
    // Somebody may have put the upper one below the lower one in the same moment: neither sees the other before, both
    // do afterwards.
    if let Err(failure) = check_levels(call, &end(call, source).await?, target).await {
        unrelate(call, &one).await?;
        return Err(failure);
    }
    scope(call, &below, above.device.iot_edge.then(|| above.device.device_scope.clone()).flatten()).await?;
    Ok(Json(show(&one)))
}

/// Checks that nothing comes to be above itself, or too far down.
async fn check_levels(call: &Call, above: &Record, target: &DeviceId) -> Result<(), Failure> {
    let mut at = above.clone();
    for _ in 0..LEVELS_MAX {
        if at.device.identity.device == *target {
            return Err(Failure::conflict(format!("`{target}` would be above itself")));
        }
        let Some(upstream) = Profile::of(&at.twin.tags).upstream else { return Ok(()) };
        match hub(call).record(&Identity::device(upstream.source)).await {
            Ok(record) => at = record,
            Err(HubError::NotFound(_)) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
    Err(Failure::conflict(format!("devices are at most {LEVELS_MAX} levels deep")))
}

async fn unrelate(call: &Call, (id, source, target): &Relationship) -> Result<(), Failure> {
    end(call, source).await?;
    let below = end(call, target).await?;
    let mut profile = Profile::of(&below.twin.tags);
    if profile.upstream.as_ref().is_none_or(|upstream| upstream.id != *id) {
        return Ok(());
    }
    profile.upstream = None;
    store(call, &below, &profile).await?;
    scope(call, &below, None).await
}

async fn store(call: &Call, record: &Record, profile: &Profile) -> Result<(), Failure> {
    let write = TwinWrite { tags: profile.write_over(&Profile::of(&record.twin.tags)), desired: None };
    let if_match = IfMatch::tag(record.twin.etag_text());
    hub(call).write_twin(now(), &record.device.identity, &write, &if_match).await?;
    Ok(())
}

/// Gives a device the scope of the edge device above it, or none.
async fn scope(call: &Call, below: &Record, scope: Option<String>) -> Result<(), Failure> {
    let record = hub(call).record(&below.device.identity).await?;
    let device = &record.device;
    // The scope of an edge device is its own; that of another is the one above it.
    let (own, above) = match device.iot_edge {
        true => (device.device_scope.clone(), scope.into_iter().collect()),
        false => (scope.clone(), scope.into_iter().collect::<Vec<_>>()),
    };
    if device.device_scope == own && device.parent_scopes == above {
        return Ok(());
    }
    let write = DeviceWrite {
        status: device.status,
        status_reason: device.status_reason.clone(),
        authentication: AuthenticationWrite::Unchanged,
        iot_edge: device.iot_edge,
        device_scope: own,
        parent_scopes: above,
        managed_by: device.managed_by.clone(),
    };
    let if_match = IfMatch::tag(device.etag_text());
    hub(call).put_device(now(), &device.identity, write, &if_match).await?;
    Ok(())
}
