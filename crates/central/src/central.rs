//! What an application has, kept: every rule about it is decided on all of it at one version.
//!
//! Each kind of object is a collection of documents ([`kept`](crate::kept)). All are read at start and written with
//! compare-and-swap on every one of them, so that what a rule looked at (the other administrators, the roles that are
//! given, the tree) is as it was when the write is there. Whether a caller may do it at all is decided before
//! ([`Caller`]), because that depends on the operation.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use gantry_hub::device::IfMatch;
use gantry_hub::owned::{Changed, Owned};
use gantry_hub::ports::{Collection, Documents, StoreError};
use gantry_identity::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::access::caller::Caller;
use crate::access::roles::{self, CustomRole, CustomRoles, RoleError};
use crate::access::tokens::{ApiToken, NewToken, TokenError, Tokens};
use crate::access::users::{People, RoleAssignment, User, UserError, Users};
use crate::groups::{self, DeviceGroup, DeviceGroups, GroupError};
use crate::ids::{DeviceGroupId, DeviceTemplateId, ETag, OrganizationId, RoleId, TokenId, UserId};
use crate::kept::Kept;
use crate::organizations::{self, Organization, OrganizationError, Organizations};
use crate::ports::Devices;
use crate::templates::{self, DeviceTemplate, TemplateError, Templates};

/// Everything an application has.
#[derive(Clone, Default, Debug)]
pub struct State {
    /// Organizations.
    pub organizations: Organizations,
    /// Custom roles.
    pub roles: CustomRoles,
    /// Users.
    pub users: Users,
    /// API tokens.
    pub tokens: Tokens,
    /// Device templates.
    pub templates: Templates,
    /// Device groups.
    pub groups: DeviceGroups,
}

impl State {
    /// What decides about users and tokens.
    #[must_use]
    pub fn people(&self) -> People<'_> {
        People { organizations: &self.organizations, roles: &self.roles, users: &self.users, tokens: &self.tokens }
    }

    /// Somebody with roles.
    #[must_use]
    pub fn caller(&self, roles: &[RoleAssignment]) -> Caller {
        Caller::of(roles, &self.roles)
    }
}

/// All objects of a kind.
type All<T> = BTreeMap<<T as Object>::Id, Arc<Kept<T>>>;

/// A kind of object, which is a collection.
trait Object: Serialize + DeserializeOwned + Clone {
    type Id: Ord + Clone + fmt::Display + TryFrom<String>;
    /// Its place among [`COLLECTIONS`].
    const AT: usize;
    fn all(state: &State) -> &All<Self>;
    fn all_mut(state: &mut State) -> &mut All<Self>;
    fn unknown(id: &Self::Id) -> CentralError;
}

/// The collections, in the order in which they are written.
const COLLECTIONS: [&str; 6] =
    ["centralOrganizations", "centralRoles", "centralUsers", "centralTokens", "centralTemplates", "centralGroups"];

macro_rules! objects {
    ($($at:literal, $field:ident: $id:ty => $object:ty, $unknown:expr;)*) => {
        $(impl Object for $object {
            type Id = $id;
            const AT: usize = $at;
            fn all(state: &State) -> &All<Self> {
                &state.$field
            }
            fn all_mut(state: &mut State) -> &mut All<Self> {
                &mut state.$field
            }
            fn unknown(id: &$id) -> CentralError {
                $unknown(id.clone()).into()
            }
        })*

        fn read_all(stored: Vec<Collection>) -> Result<State, StoreError> {
            let mut state = State::default();
            for (at, collection) in stored.into_iter().enumerate() {
                match at {
                    $(<$object>::AT => read::<$object>(&mut state, collection)?,)*
                    _ => {}
                }
            }
            Ok(state)
        }
    };
}

objects! {
    0, organizations: OrganizationId => Organization, OrganizationError::Unknown;
    1, roles: RoleId => CustomRole, RoleError::Unknown;
    2, users: UserId => User, UserError::Unknown;
    3, tokens: TokenId => ApiToken, TokenError::Unknown;
    4, templates: DeviceTemplateId => DeviceTemplate, TemplateError::Unknown;
    5, groups: DeviceGroupId => DeviceGroup, GroupError::Unknown;
}

fn read<T: Object>(state: &mut State, collection: Collection) -> Result<(), StoreError> {
    for (id, text) in collection.documents {
        let broken = |why: String| StoreError::Failed(format!("`{id}` of {}: {why}", COLLECTIONS[T::AT]));
        let kept = Kept::<T>::read(&text).map_err(|error| broken(error.to_string()))?;
        let id = T::Id::try_from(id.clone()).map_err(|_| broken("the id is none".to_owned()))?;
        T::all_mut(state).insert(id, kept);
    }
    Ok(())
}

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum CentralError {
    /// About an organization.
    #[error(transparent)]
    Organization(#[from] OrganizationError),
    /// About a role.
    #[error(transparent)]
    Role(#[from] RoleError),
    /// About a user or the roles of a token.
    #[error(transparent)]
    User(#[from] UserError),
    /// About a token.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// About a device template.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// About a device group.
    #[error(transparent)]
    Group(#[from] GroupError),
    /// It is not what the caller expects it to be.
    #[error("`{0}` was changed meanwhile")]
    Changed(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a write brings with it.
#[derive(Clone, Copy, Debug)]
pub struct Write<'a> {
    /// When.
    pub now: Timestamp,
    /// Drawn at random, for the etag of what is new.
    pub drawn: u64,
    /// What the caller expects.
    pub if_match: &'a IfMatch,
}

/// An application.
pub struct Central {
    state: Owned<State>,
    devices: Arc<dyn Devices>,
}

impl Central {
    /// Reads an application.
    ///
    /// # Errors
    /// When the store fails or a document cannot be read.
    pub async fn load(documents: Arc<dyn Documents>, devices: Arc<dyn Devices>) -> Result<Self, StoreError> {
        let state = Owned::load(documents, COLLECTIONS.to_vec(), read_all).await?;
        Ok(Self { state, devices })
    }

    /// Everything as it is now.
    #[must_use]
    pub fn state(&self) -> Arc<State> {
        self.state.current()
    }

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

    /// Writes and publishes a device template.
    ///
    /// # Errors
    /// [`TemplateError::Breaking`] among others.
    pub async fn put_template(
        &self,
        write: Write<'_>,
        id: &DeviceTemplateId,
        new: &DeviceTemplate,
    ) -> Result<Arc<Kept<DeviceTemplate>>, CentralError> {
        self.put(write, id, new, |state| templates::check_put(&state.templates, id, new).map_err(Into::into)).await
    }

    /// Deletes a device template that no device uses.
    ///
    /// # Errors
    /// [`TemplateError::InUse`] among others.
    pub async fn delete_template(&self, id: &DeviceTemplateId, if_match: &IfMatch) -> Result<(), CentralError> {
        let is_used = self.devices.any_of_template(id).await?;
        let check = |_: &State| if is_used { Err(TemplateError::InUse(id.clone()).into()) } else { Ok(()) };
        self.delete::<DeviceTemplate>(id, if_match, check).await
    }

    /// Makes or replaces a device group.
    ///
    /// # Errors
    /// [`CentralError`].
    pub async fn put_group(
        &self,
        write: Write<'_>,
        id: &DeviceGroupId,
        new: &DeviceGroup,
    ) -> Result<Arc<Kept<DeviceGroup>>, CentralError> {
        let check = |state: &State| groups::check_put(&state.groups, &state.organizations, id, new).map_err(Into::into);
        self.put(write, id, new, check).await
    }

    /// Deletes a device group; its devices stay.
    ///
    /// # Errors
    /// [`GroupError::Unknown`] among others.
    pub async fn delete_group(&self, id: &DeviceGroupId, if_match: &IfMatch) -> Result<(), CentralError> {
        self.delete::<DeviceGroup>(id, if_match, |_| Ok(())).await
    }

    async fn put<T: Object>(
        &self,
        write: Write<'_>,
        id: &T::Id,
        value: &T,
        check: impl Fn(&State) -> Result<(), CentralError>,
    ) -> Result<Arc<Kept<T>>, CentralError> {
        let change = |state: &State| {
            let before = T::all(state).get(id);
            expects(write.if_match, before.map(|kept| kept.etag), id)?;
            check(state)?;
            let etag = before.map_or_else(|| ETag::first(write.drawn), |kept| kept.etag.next());
            let kept = Arc::new(Kept { value: value.clone(), etag, updated_at: write.now });
            let mut next = state.clone();
            T::all_mut(&mut next).insert(id.clone(), Arc::clone(&kept));
            Ok(Changed { edits: edits::<T>(id, Some(kept.document())), next, said: kept })
        };
        self.state.change(change).await
    }

    async fn delete<T: Object>(
        &self,
        id: &T::Id,
        if_match: &IfMatch,
        check: impl Fn(&State) -> Result<(), CentralError>,
    ) -> Result<(), CentralError> {
        let change = |state: &State| {
            let before = T::all(state).get(id).ok_or_else(|| T::unknown(id))?;
            expects(if_match, Some(before.etag), id)?;
            check(state)?;
            let mut next = state.clone();
            T::all_mut(&mut next).remove(id);
            Ok(Changed { edits: edits::<T>(id, None), next, said: () })
        };
        self.state.change(change).await
    }
}

/// Checks what a caller expects; who names an etag expects that there is something.
fn expects(if_match: &IfMatch, etag: Option<ETag>, id: &impl fmt::Display) -> Result<(), CentralError> {
    let agrees = match etag {
        Some(etag) => etag.agrees(if_match),
        None => matches!(if_match, IfMatch::Absent),
    };
    if agrees { Ok(()) } else { Err(CentralError::Changed(id.to_string())) }
}

fn edits<T: Object>(id: &T::Id, text: Option<String>) -> Vec<gantry_hub::owned::Edits> {
    let mut edits = vec![vec![]; COLLECTIONS.len()];
    if let Some(of_kind) = edits.get_mut(T::AT) {
        of_kind.push((id.to_string(), text));
    }
    edits
}
