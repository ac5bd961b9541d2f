//! Kinds of objects, each a collection, and how all of them are read.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use gantry_hub::owned::{Changed, Edits};
use gantry_hub::ports::{Collection, StoreError};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{CentralError, State};
use crate::access::roles::{CustomRole, RoleError};
use crate::access::tokens::{ApiToken, TokenError};
use crate::access::users::{User, UserError};
use crate::dashboards::{Dashboard, DashboardError};
use crate::enrollments::{EnrollmentError, EnrollmentGroup};
use crate::exports::destinations::{Destination, DestinationError};
use crate::exports::{Export, ExportError};
use crate::file_uploads::{FileUploads, FileUploadsError};
use crate::groups::{DeviceGroup, GroupError};
use crate::ids::{
    DashboardId, DeploymentManifestId, DestinationId, DeviceGroupId, DeviceTemplateId, EnrollmentGroupId, ExportId,
    JobId, OrganizationId, RoleId, Single, TokenId, UserId,
};
use crate::jobs::JobError;
use crate::jobs::scheduled::ScheduledJob;
use crate::kept::Kept;
use crate::manifests::{DeploymentManifest, ManifestError};
use crate::organizations::{Organization, OrganizationError};
use crate::templates::{DeviceTemplate, TemplateError};

/// All objects of a kind.
type All<T> = BTreeMap<<T as Object>::Id, Arc<Kept<T>>>;

/// A kind of object, which is a collection.
pub(super) trait Object: Serialize + DeserializeOwned + Clone {
    type Id: Ord + Clone + fmt::Display + TryFrom<String>;
    /// Its place among [`COLLECTIONS`].
    const AT: usize;
    fn all(state: &State) -> &All<Self>;
    fn all_mut(state: &mut State) -> &mut All<Self>;
    fn unknown(id: &Self::Id) -> CentralError;
}

/// The collections, in the order in which they are written.
pub(super) const COLLECTIONS: [&str; 13] = [
    "centralOrganizations",
    "centralRoles",
    "centralUsers",
    "centralTokens",
    "centralTemplates",
    "centralGroups",
    "centralDashboards",
    "centralManifests",
    "centralDestinations",
    "centralExports",
    "centralFileUploads",
    "centralScheduledJobs",
    "centralEnrollmentGroups",
];

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
                let unknown: fn($id) -> _ = $unknown;
                unknown(id.clone()).into()
            }
        })*

        pub(super) fn read_all(stored: Vec<Collection>) -> Result<State, StoreError> {
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
    6, dashboards: DashboardId => Dashboard, DashboardError::Unknown;
    7, manifests: DeploymentManifestId => DeploymentManifest, ManifestError::Unknown;
    8, destinations: DestinationId => Destination, DestinationError::Unknown;
    9, exports: ExportId => Export, ExportError::Unknown;
    10, uploads: Single => FileUploads, |_| FileUploadsError::Unknown;
    11, scheduled: JobId => ScheduledJob, JobError::UnknownScheduled;
    12, enrollments: EnrollmentGroupId => EnrollmentGroup, EnrollmentError::Unknown;
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

/// A change that is being made: the state it leads to, and what is written of each collection.
pub(super) struct Draft {
    next: State,
    edits: Vec<Edits>,
}

impl Draft {
    pub(super) fn of(state: &State) -> Self {
        Self { next: state.clone(), edits: vec![vec![]; COLLECTIONS.len()] }
    }

    pub(super) fn state(&self) -> &State {
        &self.next
    }

    pub(super) fn insert<T: Object>(&mut self, id: &T::Id, kept: Arc<Kept<T>>) {
        self.edit::<T>(id, Some(kept.document()));
        T::all_mut(&mut self.next).insert(id.clone(), kept);
    }

    pub(super) fn remove<T: Object>(&mut self, id: &T::Id) {
        self.edit::<T>(id, None);
        T::all_mut(&mut self.next).remove(id);
    }

    fn edit<T: Object>(&mut self, id: &T::Id, text: Option<String>) {
        if let Some(of_kind) = self.edits.get_mut(T::AT) {
            of_kind.push((id.to_string(), text));
        }
    }

    pub(super) fn changed<R>(self, said: R) -> Changed<State, R> {
        Changed { edits: self.edits, next: self.next, said }
    }
}
