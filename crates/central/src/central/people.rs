//! Organizations, roles, users and tokens: their writes.

use std::sync::Arc;

use gantry_hub::device::IfMatch;

use super::objects::Draft;
use super::{Central, CentralError, Rights, State, Write};
use crate::access::caller::Denied;
use crate::access::permissions::Permission;
use crate::access::roles::{self, CustomRole, RoleError};
use crate::access::tokens::{ApiToken, NewToken, TokenError};
use crate::access::users::{RoleAssignment, User, UserError};
use crate::dashboards::Dashboard;
use crate::ids::{DashboardId, OrganizationId, RoleId, TokenId, UserId};
use crate::kept::Kept;
use crate::organizations::{self, Organization, OrganizationError};

const ORGANIZATIONS: Rights = Rights {
    create: Permission::OrganizationsCreate,
    update: Permission::OrganizationsUpdate,
    delete: Permission::OrganizationsDelete,
};
const TOKENS: Rights =
    Rights { create: Permission::TokensCreate, update: Permission::TokensCreate, delete: Permission::TokensDelete };

impl Central {
    /// Makes or replaces an organization in the name of somebody who has a role above it: where they may not write,
    /// they neither make it, nor move it there, nor take it from there.
    ///
    /// # Errors
    /// [`CentralError`]; one above that they do not see is [`CentralError::Denied`] whether it is there or not.
    pub async fn put_organization(
        &self,
        write: Write<'_>,
        id: &OrganizationId,
        new: &Organization,
        by: &[RoleAssignment],
    ) -> Result<Arc<Kept<Organization>>, CentralError> {
        let check = |state: &State| {
            let before = parent(state, id);
            let told = state.may_put(by, ORGANIZATIONS, before, new.parent.as_ref());
            told.map_err(|denied| about_organization(state, id, by, ORGANIZATIONS.update, denied))?;
            organizations::check_put(&state.organizations, id, new).map_err(Into::into)
        };
        self.put(write, id, new, check).await
    }

    /// Deletes an organization in which nothing is, in the name of somebody who has a role above it.
    ///
    /// # Errors
    /// [`OrganizationError::InUse`] among others.
    pub async fn delete_organization(
        &self,
        id: &OrganizationId,
        if_match: &IfMatch,
        by: &[RoleAssignment],
    ) -> Result<(), CentralError> {
        let has_devices = self.devices.any_in_organization(id).await?;
        let check = |state: &State| {
            let told = state.may_delete(by, ORGANIZATIONS, parent(state, id).flatten());
            told.map_err(|denied| about_organization(state, id, by, ORGANIZATIONS.delete, denied))?;
            let uses = [
                (organizations::children(&state.organizations, Some(id)).next().is_some(), "organizations below it"),
                (state.people().are_in(id), "users or API tokens with a role in it"),
                (state.groups.values().any(|kept| kept.value.organization.as_ref() == Some(id)), "device groups"),
                (state.dashboards.values().any(|kept| kept.value.organization.as_ref() == Some(id)), "dashboards"),
                (
                    state.manifests.values().any(|kept| kept.value.organization.as_ref() == Some(id)),
                    "deployment manifests",
                ),
                (
                    state.scheduled.values().any(|kept| kept.value.job.organization.as_ref() == Some(id)),
                    "scheduled jobs",
                ),
                (self.jobs().are_in(id), "jobs that have not ended"),
                (has_devices, "devices"),
            ];
            let in_use = |what| Err(OrganizationError::InUse { id: id.clone(), what }.into());
            uses.into_iter().find(|(is_used, _)| *is_used).map_or(Ok(()), |(_, what)| in_use(what))
        };
        let was = self.state().organizations.get(id).cloned();
        self.delete::<Organization>(id, if_match, check).await?;
        // Who puts a device into it looks afterwards whether it is there; so does who deletes it, and one of them sees
        // the other.
        if let Some(was) = was
            && self.devices.any_in_organization(id).await?
        {
            self.restore(id, was).await?;
            return Err(OrganizationError::InUse { id: id.clone(), what: "devices" }.into());
        }
        Ok(())
    }

    /// Makes or replaces a custom role in the name of somebody, who may do all that it allows: whoever has a role and
    /// may write it would give themselves more otherwise.
    ///
    /// # Errors
    /// [`CentralError`].
    pub async fn put_role(
        &self,
        write: Write<'_>,
        id: &RoleId,
        new: &CustomRole,
        by: &[RoleAssignment],
    ) -> Result<Arc<Kept<CustomRole>>, CentralError> {
        let check = |state: &State| {
            roles::check_put(&state.roles, id, new)?;
            let has = state.caller(by).permissions_in(&state.organizations, None);
            if has.covers(new.permissions) { Ok(()) } else { Err(RoleError::TooMuch.into()) }
        };
        self.put(write, id, new, check).await
    }

    /// Deletes a custom role that nobody has.
    ///
    /// # Errors
    /// [`RoleError::InUse`] among others.
    pub async fn delete_role(&self, id: &RoleId, if_match: &IfMatch) -> Result<(), CentralError> {
        roles::check_custom(id)?;
        let check = |state: &State| match state.people().have_role(id) {
            true => Err(RoleError::InUse(id.clone()).into()),
            false => Ok(()),
        };
        self.delete::<CustomRole>(id, if_match, check).await
    }

    /// Makes or replaces a user, in the name of somebody who gives the roles; see [`State::caller`].
    ///
    /// # Errors
    /// [`CentralError`].
    pub async fn put_user(
        &self,
        write: Write<'_>,
        id: &UserId,
        new: &User,
        by: &[RoleAssignment],
    ) -> Result<Arc<Kept<User>>, CentralError> {
        let check = |state: &State| state.people().check_put(id, new, &state.caller(by)).map_err(Into::into);
        self.put(write, id, new, check).await
    }

    /// The first user of an application that has none: its administrator, whom nobody has to give the role.
    ///
    /// # Errors
    /// [`UserError::Known`] when there is a user, [`UserError::NoAdministrator`] when this is none.
    pub async fn found(&self, write: Write<'_>, id: &UserId, new: &User) -> Result<Arc<Kept<User>>, CentralError> {
        let check = |state: &State| match state.users.keys().next() {
            Some(other) => Err(UserError::Known(other.clone()).into()),
            None if !new.is_administrator() => Err(UserError::NoAdministrator.into()),
            None => state.people().check_put(id, new, &state.caller(&new.roles)).map_err(Into::into),
        };
        self.put(write, id, new, check).await
    }

    /// Deletes a user in the name of somebody, with their personal dashboards, but not the last administrator.
    ///
    /// # Errors
    /// [`UserError::LastAdministrator`] among others.
    pub async fn delete_user(
        &self,
        id: &UserId,
        if_match: &IfMatch,
        by: &[RoleAssignment],
    ) -> Result<(), CentralError> {
        let check = |state: &State| state.people().check_delete(id, &state.caller(by)).map_err(Into::into);
        let with = |draft: &mut Draft| {
            let is_theirs = |kept: &Kept<Dashboard>| kept.value.owner.as_ref() == Some(id);
            let all = draft.state().dashboards.iter().filter(|(_, kept)| is_theirs(kept));
            let theirs: Vec<DashboardId> = all.map(|(id, _)| id.clone()).collect();
            theirs.iter().for_each(|id| draft.remove::<Dashboard>(id));
        };
        self.delete_with::<User>(id, if_match, check, with).await
    }

    /// Makes a token for an application and says its text, which nobody can say later.
    ///
    /// # Errors
    /// [`TokenError::Exists`] and [`UserError`] among others.
    pub async fn create_token(
        &self,
        write: Write<'_>,
        application: &str,
        id: &TokenId,
        new: NewToken,
        by: &[RoleAssignment],
    ) -> Result<(Arc<Kept<ApiToken>>, String), CentralError> {
        let (token, text) = new.issue(write.now, application, id)?;
        let check = |state: &State| {
            if state.tokens.contains_key(id) {
                return Err(TokenError::Exists(id.clone()).into());
            }
            state.people().check_roles(&token.roles, &[], &state.caller(by)).map_err(Into::into)
        };
        Ok((self.put(write, id, &token, check).await?, text))
    }

    /// Deletes a token in the name of somebody who deletes tokens wherever it has a role; its text proves nothing from
    /// then on.
    ///
    /// # Errors
    /// [`TokenError::Unknown`] among others.
    pub async fn delete_token(&self, id: &TokenId, by: &[RoleAssignment]) -> Result<(), CentralError> {
        let check = |state: &State| {
            let roles = state.tokens.get(id).map_or(&[][..], |kept| &kept.value.roles);
            let may = |one: &RoleAssignment| state.may_delete(by, TOKENS, one.organization.as_ref());
            roles.iter().try_for_each(may).map_err(Into::into)
        };
        self.delete::<ApiToken>(id, &IfMatch::Any, check).await
    }
}

/// Where an organization is.
fn parent<'a>(state: &'a State, id: &OrganizationId) -> Option<Option<&'a OrganizationId>> {
    state.organizations.get(id).map(|kept| kept.value.parent.as_ref())
}

/// What somebody hears who may not write an organization: whoever has a role in it sees it, though not where it is.
fn about_organization(
    state: &State,
    id: &OrganizationId,
    by: &[RoleAssignment],
    needed: Permission,
    denied: Denied,
) -> Denied {
    let Some(above) = parent(state, id) else { return denied };
    let (all, caller) = (&state.organizations, state.caller(by));
    let is_top = caller.sees(all, Some(id)) && !caller.sees(all, above);
    if is_top { Denied::Permission(needed) } else { denied }
}
