//! Dashboards: their writes.

use std::sync::Arc;

use gantry_hub::device::IfMatch;

use super::{Central, CentralError, Rights, State, Write};
use crate::access::caller::Denied;
use crate::access::permissions::Permission;
use crate::access::users::RoleAssignment;
use crate::dashboards::{self, Dashboard, DashboardError};
use crate::ids::{DashboardId, UserId};
use crate::kept::Kept;

const SHARED: Rights = Rights {
    create: Permission::DashboardsCreate,
    update: Permission::DashboardsUpdate,
    delete: Permission::DashboardsDelete,
};
const PERSONAL: Rights = Rights {
    create: Permission::PersonalCreate,
    update: Permission::PersonalUpdate,
    delete: Permission::PersonalDelete,
};

/// Who writes a dashboard.
#[derive(Clone, Copy, Debug)]
pub struct Author<'a> {
    /// Their roles.
    pub roles: &'a [RoleAssignment],
    /// Which user they are; a token is none and has no dashboards of its own.
    pub user: Option<&'a UserId>,
}

impl Central {
    /// Makes or replaces a dashboard: a shared one where its author may, a personal one for its author.
    ///
    /// # Errors
    /// [`CentralError`]; [`CentralError::Denied`] for the personal one of somebody else.
    pub async fn put_dashboard(
        &self,
        write: Write<'_>,
        id: &DashboardId,
        new: &Dashboard,
        by: Author<'_>,
    ) -> Result<Arc<Kept<Dashboard>>, CentralError> {
        let check = |state: &State| {
            check_author(state, id, new, by)?;
            dashboards::check_put(&state.dashboards, &state.organizations, id, new).map_err(Into::into)
        };
        self.put(write, id, new, check).await
    }

    /// Deletes a dashboard.
    ///
    /// # Errors
    /// [`DashboardError::Unknown`] among others.
    pub async fn delete_dashboard(
        &self,
        id: &DashboardId,
        if_match: &IfMatch,
        by: Author<'_>,
    ) -> Result<(), CentralError> {
        let check = |state: &State| match state.dashboards.get(id).map(|kept| &kept.value) {
            Some(Dashboard { owner: Some(owner), .. }) => check_own(state, owner, by, PERSONAL.delete),
            before => {
                let organization = before.and_then(|one| one.organization.as_ref());
                state.may_delete(by.roles, SHARED, organization).map_err(Into::into)
            }
        };
        self.delete::<Dashboard>(id, if_match, check).await
    }
}

fn check_author(state: &State, id: &DashboardId, new: &Dashboard, by: Author<'_>) -> Result<(), CentralError> {
    let before = state.dashboards.get(id).map(|kept| &kept.value);
    if let Some(owner) = before.and_then(|one| one.owner.as_ref()) {
        check_own(state, owner, by, PERSONAL.update)?;
    }
    let Some(owner) = &new.owner else {
        let place = before.map(|one| one.organization.as_ref());
        state.may_put(by.roles, SHARED, place, new.organization.as_ref())?;
        return if before.is_some_and(|one| one.owner.is_some()) { Err(DashboardError::Owner.into()) } else { Ok(()) };
    };
    let is_new = before.is_none();
    let was_shared = before.is_some_and(|one| one.owner.is_none());
    if by.user != Some(owner) || was_shared || !state.users.contains_key(owner) {
        return Err(DashboardError::Owner.into());
    }
    check_own(state, owner, by, if is_new { PERSONAL.create } else { PERSONAL.update })
}

/// Checks that a personal dashboard is its author's, and that they may have such.
fn check_own(state: &State, owner: &UserId, by: Author<'_>, one: Permission) -> Result<(), CentralError> {
    match by.user {
        Some(user) if user == owner && state.caller(by.roles).has(one) => Ok(()),
        Some(user) if user == owner => Err(Denied::Permission(one).into()),
        _ => Err(Denied::Unseen.into()),
    }
}
