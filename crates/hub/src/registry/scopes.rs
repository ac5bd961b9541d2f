//! Edge scopes: which edge device a device or edge device is under.
//!
//! An edge device has a scope of its own, made once. A leaf carries its parent's scope in
//! `deviceScope` and in `parentScopes`; an edge device has its parent's in `parentScopes`
//! alone. Source: registry REST reference, "deviceScope" and "parentScopes".

use gantry_identity::{DeviceId, Identity, Timestamp};

use crate::error::HubError;
use crate::hub::Hub;
use crate::registry::device::{Device, DeviceWrite};

const PREFIX: &str = "ms-azure-iot-edge://";

/// What a write leaves in both fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Scopes {
    device_scope: Option<String>,
    parent_scopes: Vec<String>,
}

impl Scopes {
    pub(crate) fn put(self, device: &mut Device) {
        device.device_scope = self.device_scope;
        device.parent_scopes = self.parent_scopes;
    }
}

/// The device a scope belongs to.
fn owner(scope: &str) -> Option<DeviceId> {
    DeviceId::parse(scope.strip_prefix(PREFIX)?.rsplit_once('-')?.0).ok()
}

impl Hub {
    /// Checks the scopes of a write and completes them. `old` is the scope the device has, if it is an edge device.
    pub(crate) async fn scopes(
        &self,
        now: Timestamp,
        identity: &Identity,
        write: &DeviceWrite,
        old: Option<&str>,
    ) -> Result<Scopes, HubError> {
        if identity.module.is_some() {
            return Ok(Scopes::default());
        }
        if write.parent_scopes.len() > 1 {
            return Err(HubError::Scope("parentScopes may hold one scope".into()));
        }
        let (own, parent) = if write.iot_edge {
            (Some(own_scope(now, &identity.device, write, old)?), write.parent_scopes.first())
        } else {
            let parent = write.parent_scopes.first().or(write.device_scope.as_ref());
            if write.device_scope.as_ref().is_some_and(|scope| Some(scope) != parent) {
                return Err(HubError::Scope("deviceScope of a leaf must be the scope in parentScopes".into()));
            }
            (None, parent)
        };
        if let Some(parent) = parent {
            self.check_parent(identity, parent).await?;
        }
        let parent_scopes = parent.cloned().into_iter().collect();
        Ok(Scopes { device_scope: own.or_else(|| parent.cloned()), parent_scopes })
    }

    async fn check_parent(&self, identity: &Identity, scope: &str) -> Result<(), HubError> {
        let unknown = || HubError::Scope(format!("`{scope}` is not the scope of an edge device"));
        let owner = owner(scope).filter(|owner| *owner != identity.device).ok_or_else(unknown)?;
        let parent = self.store.record(&Identity::device(owner)).await?.ok_or_else(unknown)?.device;
        if parent.iot_edge && parent.device_scope.as_deref() == Some(scope) { Ok(()) } else { Err(unknown()) }
    }
}

/// The scope of an edge device: the one it has, one that was exported with its id in it, or a new one.
fn own_scope(now: Timestamp, device: &DeviceId, write: &DeviceWrite, old: Option<&str>) -> Result<String, HubError> {
    match (old, &write.device_scope) {
        (Some(old), Some(given)) if old != given => {
            Err(HubError::Scope("deviceScope of an edge device cannot be changed".into()))
        }
        (Some(old), _) => Ok(old.to_owned()),
        (None, Some(given)) if owner(given).as_ref() == Some(device) => Ok(given.clone()),
        (None, Some(_)) => Err(HubError::Scope("deviceScope of an edge device is made by the hub".into())),
        (None, None) => Ok(format!("{PREFIX}{device}-{}", now.as_millis())),
    }
}
