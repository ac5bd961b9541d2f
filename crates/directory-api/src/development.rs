//! The program for development, whose secret `connection.env` has: made when an operator asks for it, once. Who deletes
//! it is not given it again.

use std::time::Duration;

use gantry_directory::{
    CLIENT_SECRET_LIFE_MAX, RoleAssignment, RoleDefinition, Scope, Secret, SecretHash, ServicePrincipal,
};
use gantry_identity::Timestamp;
use rand::Rng as _;

use crate::kept::{Change, Development, DirectoryError, Kept};
use crate::service::{DevelopmentSecret, Service, draw_guid};

const NAME: &str = "development";
/// What is left of a secret's life when another one is drawn at a start.
const RENEWED_BEFORE: Duration = Duration::from_secs(30 * 86_400);

/// What it may do: everything there is on the platform.
const ROLES: [&str; 6] = [
    "Owner",
    "IoT Hub Data Contributor",
    "Device Provisioning Service Data Contributor",
    "Azure Event Hubs Data Owner",
    "Storage Blob Data Owner",
    "AllDatabasesAdmin",
];

impl Service {
    /// The program for development, if there is one; `wanted`: makes it, unless it was made before.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn development(&self, wanted: bool, now: Timestamp) -> Result<Option<DevelopmentSecret>, DirectoryError> {
        let kept = self.kept.current();
        if kept.development.is_none() && wanted {
            self.change(|kept| make(kept, now)).await?;
        } else if kept.development.as_ref().is_some_and(|one| is_ending(&kept, one, now)) {
            self.change(|kept| renew(kept, now)).await?;
        }
        let kept = self.kept.current();
        let one = kept.development.as_ref().and_then(|one| Some((one, kept.principals.get(&one.object_id)?)));
        Ok(one.map(|(one, principal)| DevelopmentSecret {
            app_id: principal.app_id.to_string(),
            secret: one.secret.clone(),
        }))
    }
}

fn make(kept: &Kept, now: Timestamp) -> Result<(Change, ()), DirectoryError> {
    let mut principal = ServicePrincipal::new(draw_guid(), draw_guid(), NAME);
    let secret = Secret::from_random(rand::rng().random());
    principal.add_secret(draw_guid(), "connection.env", &secret, CLIENT_SECRET_LIFE_MAX, now)?;
    let principal_id = principal.object_id;
    let scope = Scope::parse("/").map_err(|error| DirectoryError::Invalid(error.to_string()))?;
    let given = |role: &&str| {
        let role_definition_id = RoleDefinition::named(role)?.id;
        let (id, tenant_id) = (draw_guid(), kept.own.tenant_id);
        Some(RoleAssignment { id, tenant_id, principal_id, role_definition_id, scope: scope.clone() })
    };
    let change = Change {
        development: Some(Development::new(principal_id, secret.text())),
        given: ROLES.iter().filter_map(given).collect(),
        principals: vec![(principal_id, Some(principal))],
        ..Change::default()
    };
    Ok((change, ()))
}

fn is_ending(kept: &Kept, one: &Development, now: Timestamp) -> bool {
    let hash = SecretHash::of(&one.secret);
    let Some(principal) = kept.principals.get(&one.object_id) else { return false };
    let held = principal.secrets().iter().find(|secret| secret.is(&hash));
    held.is_none_or(|secret| now.plus(RENEWED_BEFORE) >= secret.expires_at)
}

fn renew(kept: &Kept, now: Timestamp) -> Result<(Change, ()), DirectoryError> {
    let Some((one, principal)) =
        kept.development.as_ref().and_then(|one| Some((one, kept.principals.get(&one.object_id)?)))
    else {
        return Ok((Change::default(), ()));
    };
    let (mut principal, hash) = (principal.clone(), SecretHash::of(&one.secret));
    let old = principal.secrets().iter().find(|secret| secret.is(&hash)).map(|secret| secret.key_id);
    if let Some(old) = old {
        principal.remove_secret(old);
    }
    let secret = Secret::from_random(rand::rng().random());
    principal.add_secret(draw_guid(), "connection.env", &secret, CLIENT_SECRET_LIFE_MAX, now)?;
    let development = Some(Development::new(principal.object_id, secret.text()));
    let principals = vec![(principal.object_id, Some(principal))];
    Ok((Change { development, principals, ..Change::default() }, ()))
}
