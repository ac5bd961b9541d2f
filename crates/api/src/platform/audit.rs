//! Reading the audit log.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::Method as M;
use gantry_directory::audit::{ActorKind, AuditOutcome, AuditRecord, Head, Mac, Verified};
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::PlatformError;
use super::row;
use crate::Api;
use crate::caller::Permissions as P;
use crate::operation::Parameter;
use crate::query::Query;
use crate::routes::Routes;

/// Records of a page, when nobody says.
const PAGE: usize = 100;
const LIST: &[Parameter] = &[
    Parameter { name: "before", about: "Records before this number: `next` of the page before." },
    Parameter { name: "limit", about: "The most records that are wanted, 100 unless said, 1,000 at most." },
];
const VERIFY: &[Parameter] =
    &[Parameter { name: "anchor", about: "A head that was kept elsewhere, `NUMBER:MAC`: the log must contain it." }];

pub(super) fn routes() -> Routes<Arc<Api>> {
    let list_about = "`{\"value\":[AuditRecord],\"next\":number|null}`, newest first.";
    let verify_about = "`{\"first\",\"head\":\"NUMBER:MAC\",\"broken\":null|{\"file\",\"reason\"}}`: whether the log is as it was \
                        written, and if not, from where on.";
    Routes::new()
        .on(row(M::GET, "/audit", "Audit_List", P::AUDIT_READ, list_about).query(LIST), list)
        .on(row(M::GET, "/audit/verification", "Audit_Verify", P::AUDIT_READ, verify_about).query(VERIFY), verify)
}

#[derive(Deserialize)]
struct ListQuery {
    before: Option<u64>,
    limit: Option<usize>,
}

fn failed(reason: String) -> PlatformError {
    tracing::error!(%reason, "the audit log cannot be read");
    PlatformError::unavailable()
}

async fn list(State(api): State<Arc<Api>>, Query(query): Query<ListQuery>) -> Result<Json<Value>, PlatformError> {
    let limit = query.limit.unwrap_or(PAGE).min(gantry_directory::audit::AUDIT_PAGE_MAX);
    let records = api.audit.read(query.before, limit).await.map_err(failed)?;
    let next = records.last().map(|record| record.number).filter(|number| records.len() == limit && *number > 1);
    Ok(Json(json!({ "value": records.iter().map(document).collect::<Vec<_>>(), "next": next })))
}

fn document(record: &AuditRecord) -> Value {
    let entry = &record.entry;
    let kind = match entry.actor.kind {
        ActorKind::User => "user",
        ActorKind::ServicePrincipal => "servicePrincipal",
        ActorKind::Key => "key",
        ActorKind::Device => "device",
        ActorKind::Platform => "platform",
        ActorKind::Anonymous => "anonymous",
    };
    let (outcome, reason) = match &entry.outcome {
        AuditOutcome::Done => ("done", None),
        AuditOutcome::Refused(why) => ("refused", Some(why.as_str())),
        AuditOutcome::Failed(why) => ("failed", Some(why.as_str())),
    };
    json!({
        "number": record.number,
        "at": entry.at.to_string(),
        "actor": { "kind": kind, "id": entry.actor.id.as_str(), "name": entry.actor.name.as_str() },
        "from": entry.from.as_str(),
        "operation": entry.operation.as_str(),
        "target": entry.target.as_str(),
        "outcome": outcome,
        "reason": reason,
    })
}

#[derive(Deserialize)]
struct VerifyQuery {
    anchor: Option<String>,
}

async fn verify(State(api): State<Arc<Api>>, Query(query): Query<VerifyQuery>) -> Result<Json<Value>, PlatformError> {
    let anchor = match query.anchor {
        None => None,
        Some(text) => Some(head(&text).ok_or_else(|| PlatformError::invalid("`anchor` is not NUMBER:MAC"))?),
    };
    let Verified { first, head, broken } = api.audit.verify(anchor).await.map_err(failed)?;
    let broken = broken.map(|(file, reason)| json!({ "file": file, "reason": reason }));
    Ok(Json(json!({ "first": first, "head": format!("{}:{}", head.number, head.mac), "broken": broken })))
}

fn head(text: &str) -> Option<Head> {
    let (number, mac) = text.split_once(':')?;
    Some(Head { number: number.parse().ok()?, mac: Mac::parse(mac)? })
}
