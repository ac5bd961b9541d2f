//! What an application has, kept: every rule about it is decided on all of it at one version.
//!
//! Each kind of object is a collection of documents ([`kept`](crate::kept)). All are read at start and written with
//! compare-and-swap on every one of them, so that what a rule looked at (the other administrators, the roles that are
//! given, the tree) is as it was when the write is there. Whether a caller may do it at all is decided before
//! ([`Caller`]), because that depends on the operation; where they may do it is decided here again, for what is in
//! organizations, because others may move it meanwhile.

mod dashboards;
mod devices;
mod exports;
mod jobs;
mod objects;
mod people;
mod uploads;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use gantry_hub::device::IfMatch;
use gantry_hub::owned::Owned;
use gantry_hub::ports::{Documents, StoreError};
use gantry_identity::Timestamp;

pub use self::dashboards::Author;
pub use self::jobs::ScheduledWrite;
use self::objects::{COLLECTIONS, Draft, Object, read_all};
use crate::access::caller::{Caller, Denied, Place};
use crate::access::permissions::Permission;
use crate::access::roles::{CustomRoles, RoleError};
use crate::access::tokens::{TokenError, Tokens};
use crate::access::users::{People, RoleAssignment, UserError, Users};
use crate::dashboards::{DashboardError, Dashboards};
use crate::enrollments::{EnrollmentError, EnrollmentGroups};
use crate::exports::destinations::{DestinationError, Destinations};
use crate::exports::{ExportError, Exports};
use crate::file_uploads::{FileUploads, FileUploadsError};
use crate::groups::{DeviceGroups, GroupError};
use crate::ids::{ETag, OrganizationId, Single};
use crate::jobs::JobError;
use crate::jobs::all::{self, Jobs};
use crate::jobs::scheduled::ScheduledJobs;
use crate::kept::Kept;
use crate::manifests::{ManifestError, Manifests};
use crate::organizations::{OrganizationError, Organizations};
use crate::ports::Devices;
use crate::templates::{TemplateError, Templates};

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
    /// Dashboards.
    pub dashboards: Dashboards,
    /// Deployment manifests.
    pub manifests: Manifests,
    /// Destinations of exports.
    pub destinations: Destinations,
    /// Exports of data.
    pub exports: Exports,
    /// Scheduled jobs.
    pub scheduled: ScheduledJobs,
    /// Enrollment groups.
    pub enrollments: EnrollmentGroups,
    /// Where devices upload files to; see [`State::file_uploads`].
    uploads: BTreeMap<Single, Arc<Kept<FileUploads>>>,
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

    /// Checks that somebody may write an object of an organization: make it there, or change it where it is and have it
    /// where it comes to. So nobody moves anything out of their sight, or takes what they do not see.
    fn may_put(
        &self,
        by: &[RoleAssignment],
        rights: Rights,
        before: Option<Option<&OrganizationId>>,
        after: Option<&OrganizationId>,
    ) -> Result<(), Denied> {
        let caller = self.caller(by);
        let may = |one, of| caller.may(&self.organizations, one, Place::In(of));
        match before {
            None => may(rights.create, after),
            Some(before) => may(rights.update, before).and_then(|()| may(rights.update, after)),
        }
    }

    /// Checks that somebody may delete an object of an organization.
    fn may_delete(&self, by: &[RoleAssignment], rights: Rights, before: Option<&OrganizationId>) -> Result<(), Denied> {
        self.caller(by).may(&self.organizations, rights.delete, Place::In(before))
    }
}

/// What is needed to write objects of a kind.
#[derive(Clone, Copy)]
struct Rights {
    create: Permission,
    update: Permission,
    delete: Permission,
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
    /// About a dashboard.
    #[error(transparent)]
    Dashboard(#[from] DashboardError),
    /// About a deployment manifest.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// About a destination of exports.
    #[error(transparent)]
    Destination(#[from] DestinationError),
    /// About an export of data.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// About an enrollment group.
    #[error(transparent)]
    Enrollment(#[from] EnrollmentError),
    /// About where devices upload files to.
    #[error(transparent)]
    FileUploads(#[from] FileUploadsError),
    /// About a job or a scheduled one.
    #[error(transparent)]
    Job(#[from] JobError),
    /// The caller may not do that there.
    #[error(transparent)]
    Denied(#[from] Denied),
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
    jobs: Owned<Jobs>,
    devices: Arc<dyn Devices>,
}

impl Central {
    /// Reads an application.
    ///
    /// # Errors
    /// When the store fails or a document cannot be read.
    pub async fn load(documents: Arc<dyn Documents>, devices: Arc<dyn Devices>) -> Result<Self, StoreError> {
        let jobs = Owned::load(Arc::clone(&documents), all::COLLECTIONS.to_vec(), Jobs::read).await?;
        let state = Owned::load(documents, COLLECTIONS.to_vec(), read_all).await?;
        Ok(Self { state, jobs, devices })
    }

    /// Everything as it is now.
    #[must_use]
    pub fn state(&self) -> Arc<State> {
        self.state.current()
    }

    async fn put<T: Object>(
        &self,
        write: Write<'_>,
        id: &T::Id,
        value: &T,
        check: impl Fn(&State) -> Result<(), CentralError>,
    ) -> Result<Arc<Kept<T>>, CentralError> {
        self.put_made(write, id, |state: &State| check(state).map(|()| value.clone())).await
    }

    /// Writes what is made of what is there.
    async fn put_made<T: Object>(
        &self,
        write: Write<'_>,
        id: &T::Id,
        made: impl Fn(&State) -> Result<T, CentralError>,
    ) -> Result<Arc<Kept<T>>, CentralError> {
        let change = |state: &State| {
            let before = T::all(state).get(id);
            // Who may not hears of no etag.
            let value = made(state)?;
            expects(write.if_match, before.map(|kept| kept.etag), id)?;
            let etag = before.map_or_else(|| ETag::first(write.drawn), |kept| kept.etag.next());
            let kept = Arc::new(Kept { value, etag, updated_at: write.now });
            let mut draft = Draft::of(state);
            draft.insert(id, Arc::clone(&kept));
            Ok(draft.changed(kept))
        };
        self.state.change(change).await
    }

    /// Puts an object back that was deleted, unless there is another one by now.
    async fn restore<T: Object>(&self, id: &T::Id, was: Arc<Kept<T>>) -> Result<(), CentralError> {
        let change = |state: &State| {
            let mut draft = Draft::of(state);
            if !T::all(state).contains_key(id) {
                draft.insert(id, Arc::clone(&was));
            }
            Ok::<_, CentralError>(draft.changed(()))
        };
        self.state.change(change).await
    }

    async fn delete<T: Object>(
        &self,
        id: &T::Id,
        if_match: &IfMatch,
        check: impl Fn(&State) -> Result<(), CentralError>,
    ) -> Result<(), CentralError> {
        self.delete_with::<T>(id, if_match, check, |_| {}).await
    }

    /// Deletes an object and what goes with it.
    async fn delete_with<T: Object>(
        &self,
        id: &T::Id,
        if_match: &IfMatch,
        check: impl Fn(&State) -> Result<(), CentralError>,
        with: impl Fn(&mut Draft),
    ) -> Result<(), CentralError> {
        let change = |state: &State| {
            let before = T::all(state).get(id).ok_or_else(|| T::unknown(id))?;
            check(state)?;
            expects(if_match, Some(before.etag), id)?;
            let mut draft = Draft::of(state);
            draft.remove::<T>(id);
            with(&mut draft);
            Ok(draft.changed(()))
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
