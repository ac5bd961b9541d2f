//! Device templates, groups of devices, enrollment groups and deployment manifests: their writes.

use std::sync::Arc;

use gantry_hub::device::IfMatch;

use super::{Central, CentralError, Rights, State, Write};
use crate::access::permissions::Permission;
use crate::access::users::RoleAssignment;
use crate::enrollments::{self, EnrollmentError, EnrollmentGroup};
use crate::groups::{self, DeviceGroup, GroupError};
use crate::ids::{DeploymentManifestId, DeviceGroupId, DeviceTemplateId, EnrollmentGroupId};
use crate::jobs::JobData;
use crate::kept::Kept;
use crate::manifests::{self, DeploymentManifest, ManifestError};
use crate::templates::{self, DeviceTemplate, TemplateError};

const GROUPS: Rights =
    Rights { create: Permission::GroupsCreate, update: Permission::GroupsUpdate, delete: Permission::GroupsDelete };
const MANIFESTS: Rights = Rights {
    create: Permission::ManifestsManageGlobal,
    update: Permission::ManifestsManageGlobal,
    delete: Permission::ManifestsManageGlobal,
};

impl Central {
    /// Names an enrollment group.
    ///
    /// # Errors
    /// [`CentralError`].
    pub async fn put_enrollment_group(
        &self,
        write: Write<'_>,
        id: &EnrollmentGroupId,
        new: &EnrollmentGroup,
    ) -> Result<Arc<Kept<EnrollmentGroup>>, CentralError> {
        self.put(write, id, new, |state| enrollments::check_put(&state.enrollments, id).map_err(Into::into)).await
    }

    /// Forgets the name of an enrollment group that has one.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn delete_enrollment_group(&self, id: &EnrollmentGroupId) -> Result<(), CentralError> {
        match self.delete::<EnrollmentGroup>(id, &IfMatch::Any, |_| Ok(())).await {
            Err(CentralError::Enrollment(EnrollmentError::Unknown(_))) => Ok(()),
            other => other,
        }
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
        let was = self.state().templates.get(id).cloned();
        self.delete::<DeviceTemplate>(id, if_match, check).await?;
        // As of organizations: who gives it to a device and who deletes it both look afterwards.
        if let Some(was) = was
            && self.devices.any_of_template(id).await?
        {
            self.restore(id, was).await?;
            return Err(TemplateError::InUse(id.clone()).into());
        }
        Ok(())
    }

    /// Makes or replaces a device group in the name of somebody who may, where it was and where it will be.
    ///
    /// # Errors
    /// [`CentralError`].
    pub async fn put_group(
        &self,
        write: Write<'_>,
        id: &DeviceGroupId,
        new: &DeviceGroup,
        by: &[RoleAssignment],
    ) -> Result<Arc<Kept<DeviceGroup>>, CentralError> {
        let check = |state: &State| {
            let before = state.groups.get(id).map(|kept| kept.value.organization.as_ref());
            state.may_put(by, GROUPS, before, new.organization.as_ref())?;
            groups::check_put(&state.groups, &state.organizations, id, new).map_err(Into::into)
        };
        self.put(write, id, new, check).await
    }

    /// Deletes a device group in the name of somebody who may where it is; its devices stay.
    ///
    /// # Errors
    /// [`GroupError::InUse`] among others.
    pub async fn delete_group(
        &self,
        id: &DeviceGroupId,
        if_match: &IfMatch,
        by: &[RoleAssignment],
    ) -> Result<(), CentralError> {
        let check = |state: &State| {
            let before = state.groups.get(id).and_then(|kept| kept.value.organization.as_ref());
            state.may_delete(by, GROUPS, before)?;
            match state.scheduled.iter().find(|(_, kept)| kept.value.job.group == *id) {
                Some((job, _)) => Err(GroupError::InUse { id: id.clone(), job: job.clone() }.into()),
                None => Ok(()),
            }
        };
        self.delete::<DeviceGroup>(id, if_match, check).await
    }

    /// Makes or replaces a deployment manifest in the name of somebody who may, where it was and where it will be.
    ///
    /// # Errors
    /// [`CentralError`].
    pub async fn put_manifest(
        &self,
        write: Write<'_>,
        id: &DeploymentManifestId,
        new: &DeploymentManifest,
        by: &[RoleAssignment],
    ) -> Result<Arc<Kept<DeploymentManifest>>, CentralError> {
        let check = |state: &State| {
            let before = state.manifests.get(id).map(|kept| kept.value.organization.as_ref());
            state.may_put(by, MANIFESTS, before, new.organization.as_ref())?;
            manifests::check_put(&state.manifests, &state.organizations, id, new).map_err(Into::into)
        };
        self.put(write, id, new, check).await
    }

    /// Deletes a deployment manifest that no device has or gets, in the name of somebody who may where it is.
    ///
    /// # Errors
    /// [`ManifestError::InUse`] among others.
    pub async fn delete_manifest(
        &self,
        id: &DeploymentManifestId,
        if_match: &IfMatch,
        by: &[RoleAssignment],
    ) -> Result<(), CentralError> {
        let is_used = self.devices.any_with_manifest(id).await?;
        let gets_it = |one: &JobData| matches!(one, JobData::DeviceManifestMigration { manifest } if manifest == id);
        let check = |state: &State| {
            let before = state.manifests.get(id).and_then(|kept| kept.value.organization.as_ref());
            state.may_delete(by, MANIFESTS, before)?;
            let is_scheduled = state.scheduled.values().any(|kept| kept.value.job.data.iter().any(gets_it));
            let in_use = |what| Err(ManifestError::InUse { id: id.clone(), what }.into());
            match (is_used, is_scheduled) {
                (true, _) => in_use("devices"),
                (_, true) => in_use("scheduled jobs"),
                _ => Ok(()),
            }
        };
        self.delete::<DeploymentManifest>(id, if_match, check).await
    }
}
