//! What the application needs from outside, beside [`Documents`](gantry_hub::ports::Documents).

use gantry_hub::ports::{PortFuture, StoreError};

use crate::ids::{DeploymentManifestId, DeviceTemplateId, OrganizationId};

/// Questions about devices that decide whether something may go.
///
/// Devices are not of the collections that an application owns, so the answer may be old when it is acted on: whoever
/// gives a device a template or an organization looks afterwards whether it is still there.
pub trait Devices: Send + Sync {
    /// Whether a device has a template.
    fn any_of_template<'a>(&'a self, id: &'a DeviceTemplateId) -> PortFuture<'a, bool, StoreError>;
    /// Whether a device has a deployment manifest.
    fn any_with_manifest<'a>(&'a self, id: &'a DeploymentManifestId) -> PortFuture<'a, bool, StoreError>;
    /// Whether a device, group of enrollments or anything else the application does not own is in an organization.
    fn any_in_organization<'a>(&'a self, id: &'a OrganizationId) -> PortFuture<'a, bool, StoreError>;
}
