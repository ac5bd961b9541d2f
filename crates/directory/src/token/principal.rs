//! Whom a token is about.

use gantry_identity::Timestamp;
use serde_json::Value;

use super::claims::{ClaimError, Claims};
use super::jws::shown;
use crate::ids::Guid;

/// Groups in one token (the reference puts at most 200 into a JSON Web Token).
pub const GROUPS_MAX: usize = 200;
/// Application roles in one token.
pub const ROLES_MAX: usize = 100;

/// A person or a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrincipalKind {
    /// A person, by way of an application.
    User,
    /// A program of its own.
    ServicePrincipal,
}

/// Who makes a request, as a directory says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// Directory, `tid`.
    pub tenant_id: Guid,
    /// Id there, `oid`; roles are assigned to it.
    pub object_id: Guid,
    /// Person or program.
    pub kind: PrincipalKind,
    /// For logs and pages; says nothing about who it is.
    pub name: String,
    /// The application that got the token, `appid` or `azp`.
    pub app_id: Option<String>,
    /// Groups, `groups`.
    pub groups: Vec<Guid>,
    /// Some groups are not in the token, because there are too many (`hasgroups`, `_claim_names`).
    pub groups_elsewhere: bool,
    /// Application roles, `roles`.
    pub roles: Vec<String>,
    /// What the application may do for a person, `scp`.
    pub scopes: Vec<String>,
    /// When the token ends.
    pub expires_at: Timestamp,
}

impl Principal {
    pub(super) fn from_claims(claims: &Claims, tenant_id: Guid, expires_at: Timestamp) -> Result<Self, ClaimError> {
        let object_id = claims.guid("oid")?;
        let app_id = app_id(claims)?;
        let kind = kind(claims, app_id)?;
        let groups = claims.list("groups", GROUPS_MAX)?.into_iter().map(Guid::parse).collect::<Result<_, _>>();
        Ok(Self {
            tenant_id,
            object_id,
            kind,
            name: name(claims, kind, app_id)?.map_or_else(|| object_id.to_string(), shown),
            app_id: app_id.map(shown),
            groups: groups.map_err(|_| ClaimError { name: "groups", what: "a list of GUIDs" })?,
            groups_elsewhere: has_groups_elsewhere(claims),
            roles: claims.list("roles", ROLES_MAX)?.into_iter().map(str::to_owned).collect(),
            scopes: claims.text("scp")?.unwrap_or_default().split_ascii_whitespace().map(str::to_owned).collect(),
            expires_at,
        })
    }
}

/// Version 1 says `appid`, version 2 `azp`.
fn app_id(claims: &Claims) -> Result<Option<&str>, ClaimError> {
    match claims.text("ver")? {
        Some("1.0") => claims.required("appid").map(Some),
        Some("2.0") => claims.required("azp").map(Some),
        None => Ok(claims.text("appid")?.or(claims.text("azp")?)),
        Some(_) => Err(ClaimError { name: "ver", what: "`1.0` or `2.0`" }),
    }
}

/// `idtyp` says it where it is there. Without it, a token for a program alone has its own id as subject and no
/// scopes ("Access token claims reference"). What has neither scopes nor is a program's is no access token.
fn kind(claims: &Claims, app_id: Option<&str>) -> Result<PrincipalKind, ClaimError> {
    let has_scopes = claims.text("scp")?.is_some_and(|scopes| !scopes.trim().is_empty());
    let is_own_subject = claims.required("sub")?.eq_ignore_ascii_case(claims.required("oid")?);
    match claims.text("idtyp")? {
        Some("app") if has_scopes => Err(ClaimError { name: "scp", what: "absent from a program's token" }),
        Some("app") => Ok(PrincipalKind::ServicePrincipal),
        None if !has_scopes && is_own_subject && app_id.is_some() => Ok(PrincipalKind::ServicePrincipal),
        None | Some("user") if has_scopes => Ok(PrincipalKind::User),
        None | Some("user") => Err(ClaimError { name: "scp", what: "there, so this is no access token" }),
        Some(_) => Err(ClaimError { name: "idtyp", what: "`app` or `user`" }),
    }
}

fn name<'a>(claims: &'a Claims, kind: PrincipalKind, app_id: Option<&'a str>) -> Result<Option<&'a str>, ClaimError> {
    let names: &[&'static str] = match kind {
        PrincipalKind::User => &["upn", "preferred_username", "unique_name", "email", "name"],
        PrincipalKind::ServicePrincipal => &["app_displayname"],
    };
    for name in names {
        if let Some(text) = claims.text(name)?.filter(|text| !text.is_empty()) {
            return Ok(Some(text));
        }
    }
    Ok(app_id.filter(|_| kind == PrincipalKind::ServicePrincipal))
}

fn has_groups_elsewhere(claims: &Claims) -> bool {
    let names = claims.0.get("_claim_names").and_then(Value::as_object);
    let has = claims.0.get("hasgroups").is_some_and(|value| *value == Value::Bool(true) || value == "true");
    has || names.is_some_and(|names| names.contains_key("groups"))
}
