//! Organizations, roles, users and tokens: their writes.

use std::sync::Arc;

use gantry_hub::device::IfMatch;

use super::{Central, CentralError, State, Write};
use crate::access::roles::{self, CustomRole, RoleError};
use crate::access::tokens::{ApiToken, NewToken, TokenError};
use crate::access::users::{RoleAssignment, User, UserError};
use crate::ids::{OrganizationId, RoleId, TokenId, UserId};
use crate::kept::Kept;
use crate::organizations::{self, Organization, OrganizationError};

impl Central {
    /// Makes or replaces an organization.
    ///
    /// # Errors
    /// [`CentralError`].
    pub async fn put_organization(
        &self,
        write: Write<'_>,
        id: &OrganizationId,
        new: &Organization,
    ) -> Result<Arc<Kept<Organization>>, CentralError> {
        let check = |state: &State| organizations::check_put(&state.organizations, id, new).map_err(Into::into);
        self.put(write, id, new, check).await
    }

    /// Deletes an organization in which nothing is.
    ///
    /// # Errors
    /// [`OrganizationError::InUse`] among others.
    pub async fn delete_organization(&self, id: &OrganizationId, if_match: &IfMatch) -> Result<(), CentralError> {
        let has_devices = self.devices.any_in_organization(id).await?;
        let check = |state: &State| {
            let uses = [
                (organizations::children(&state.organizations, Some(id)).next().is_some(), "organizations below it"),
                (state.people().are_in(id), "users or API tokens with a role in it"),
                (state.groups.values().any(|kept| kept.value.organization.as_ref() == Some(id)), "device groups"),
                (has_devices, "devices"),
            ];
            let in_use = |what| Err(OrganizationError::InUse { id: id.clone(), what }.into());
            uses.into_iter().find(|(is_used, _)| *is_used).map_or(Ok(()), |(_, what)| in_use(what))
        };
        self.delete::<Organization>(id, if_match, check).await
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

    /// Deletes a user in the name of somebody, but not the last administrator.
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
        self.delete::<User>(id, if_match, check).await
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

    /// Deletes a token; its text proves nothing from then on.
    ///
    /// # Errors
    /// [`TokenError::Unknown`] among others.
    pub async fn delete_token(&self, id: &TokenId) -> Result<(), CentralError> {
        self.delete::<ApiToken>(id, &IfMatch::Any, |_| Ok(())).await
    }
}
