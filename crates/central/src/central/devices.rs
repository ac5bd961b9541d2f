//! Device templates, groups of devices and deployment manifests: their writes.

use std::sync::Arc;

use gantry_hub::device::IfMatch;

use super::{Central, CentralError, Rights, State, Write};
use crate::access::permissions::Permission;
use crate::access::users::RoleAssignment;
use crate::groups::{self, DeviceGroup};
use crate::ids::{DeploymentManifestId, DeviceGroupId, DeviceTemplateId};
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
    /// [`GroupError::Unknown`](crate::groups::GroupError::Unknown) among others.
    pub async fn delete_group(
        &self,
        id: &DeviceGroupId,
        if_match: &IfMatch,
        by: &[RoleAssignment],
    ) -> Result<(), CentralError> {
        let check = |state: &State| {
            let before = state.groups.get(id).and_then(|kept| kept.value.organization.as_ref());
            state.may_delete(by, GROUPS, before).map_err(Into::into)
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

    /// Deletes a deployment manifest that no device has, in the name of somebody who may where it is.
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
        let check = |state: &State| {
            let before = state.manifests.get(id).and_then(|kept| kept.value.organization.as_ref());
            state.may_delete(by, MANIFESTS, before)?;
            let in_use = ManifestError::InUse { id: id.clone(), what: "devices" };
            if is_used { Err(in_use.into()) } else { Ok(()) }
        };
        self.delete::<DeploymentManifest>(id, if_match, check).await
    }
}
