//! Hubs that devices can be allocated to: what provisioning needs of one, and how a hub of this process gives it.

use std::sync::Arc;
use std::time::Duration;

use gantry_hub::device::{Authentication, AuthenticationWrite, DeviceWrite, IfMatch, Status};
use gantry_hub::ports::PortFuture;
use gantry_hub::twin::{Object, SectionWrite, Twin, TwinWrite};
use gantry_hub::{Hub, HubError};
use gantry_identity::{DeviceId, Identity, Timestamp};

use crate::enrollment::InitialTwin;

/// Why a hub could not do what provisioning asked.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
#[error("{0}")]
pub struct LinkError(pub String);

impl From<HubError> for LinkError {
    fn from(error: HubError) -> Self {
        Self(error.to_string())
    }
}

/// A device as it should be at a hub.
#[derive(Clone, Debug)]
pub struct Placement {
    /// Its id there.
    pub device_id: DeviceId,
    /// How it proves itself.
    pub authentication: AuthenticationWrite,
    /// Whether it is an edge device.
    pub iot_edge: bool,
    /// What its twin begins with.
    pub beginning: Beginning,
    /// Whether a twin that is there already gives way to it.
    pub overwrite: bool,
}

/// What a twin begins with.
#[derive(Clone, Debug)]
pub enum Beginning {
    /// What the enrollment says, if anything.
    Initial(Option<InitialTwin>),
    /// What it was at another hub.
    Carried(Box<Twin>),
}

/// What a hub did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placed {
    /// The device is new there.
    New,
    /// It was there already.
    Known,
}

/// What provisioning needs of a hub.
pub trait Link: Send + Sync {
    /// Makes the device be there as it should be. A device an operator switched off stays off.
    fn place<'a>(&'a self, now: Timestamp, placement: &'a Placement) -> PortFuture<'a, Placed, LinkError>;
    /// The twin of a device, or nothing when it is not there. A hub elsewhere shows values without their history.
    fn twin<'a>(&'a self, now: Timestamp, device: &'a DeviceId) -> PortFuture<'a, Option<Twin>, LinkError>;
    /// Removes a device; one that is not there is removed already.
    fn remove<'a>(&'a self, now: Timestamp, device: &'a DeviceId) -> PortFuture<'a, (), LinkError>;
    /// How long the hub takes to answer.
    fn probe(&self) -> PortFuture<'_, Duration, LinkError>;
}

/// A hub that devices can be allocated to.
#[derive(Clone)]
pub struct LinkedHub {
    /// Name devices connect to.
    pub host_name: String,
    /// Other names it answers to.
    pub aliases: Vec<String>,
    /// Its share of the devices, against those of the others; 1 to 1000.
    pub weight: u32,
    /// Whether it takes part where an enrollment names no hubs.
    pub takes_part: bool,
    /// The way to it.
    pub link: Arc<dyn Link>,
}

impl LinkedHub {
    /// Whether it is the hub of a name.
    pub fn is_named(&self, name: &str) -> bool {
        std::iter::once(&self.host_name).chain(&self.aliases).any(|own| own.eq_ignore_ascii_case(name))
    }

    /// A hub of this process, with its share of the devices; none of them without being named when that is 0.
    pub fn own(hub: Arc<Hub>, weight: u32) -> Self {
        let host_name = hub.host_name().to_owned();
        let aliases = hub.host_names().to_vec();
        Self { host_name, aliases, weight: weight.max(1), takes_part: weight > 0, link: Arc::new(Own(hub)) }
    }
}

/// A hub of this process.
struct Own(Arc<Hub>);

impl Own {
    async fn put(&self, now: Timestamp, placement: &Placement) -> Result<Placed, HubError> {
        let identity = Identity::device(placement.device_id.clone());
        let write = DeviceWrite {
            authentication: placement.authentication.clone(),
            iot_edge: placement.iot_edge,
            ..DeviceWrite::default()
        };
        let twin = match &placement.beginning {
            Beginning::Initial(initial) => initial_twin(initial.as_ref(), now)?,
            Beginning::Carried(twin) => (**twin).clone(),
        };
        match self.0.create(now, &identity, write.clone(), twin.clone()).await {
            Ok(_) => return Ok(Placed::New),
            Err(HubError::AlreadyExists(_)) => {}
            Err(error) => return Err(error),
        }
        let record = self.0.record(&identity).await?;
        if !proves_alike(&record.device.authentication, &placement.authentication) {
            // A device an operator switched off at the hub stays off.
            let write =
                DeviceWrite { status: record.device.status, status_reason: record.device.status_reason, ..write };
            self.0.put_device(now, &identity, write, &IfMatch::Any).await?;
        }
        if placement.overwrite && record.device.status == Status::Enabled {
            let write = replacement(twin.tags, twin.desired.values);
            self.0.write_twin(now, &identity, &write, &IfMatch::Any).await?;
        }
        Ok(Placed::Known)
    }
}

/// Whether what is stored is what would be written.
fn proves_alike(stored: &Authentication, write: &AuthenticationWrite) -> bool {
    match (stored, write) {
        (_, AuthenticationWrite::Unchanged)
        | (Authentication::CertificateAuthority, AuthenticationWrite::CertificateAuthority)
        | (Authentication::None, AuthenticationWrite::None) => true,
        (Authentication::Sas(stored), AuthenticationWrite::Sas(Some(keys))) => stored == keys,
        (
            Authentication::SelfSigned { primary, secondary },
            AuthenticationWrite::SelfSigned { primary: first, secondary: second },
        ) => primary == first && secondary == second,
        _ => false,
    }
}

fn initial_twin(initial: Option<&InitialTwin>, now: Timestamp) -> Result<Twin, HubError> {
    let mut twin = Twin::new();
    if let Some(initial) = initial {
        twin.write(&replacement(initial.tags.clone(), initial.desired.clone()), now)?;
    }
    Ok(twin)
}

fn replacement(tags: Object, desired: Object) -> TwinWrite {
    TwinWrite { tags: Some(SectionWrite::Replace(tags)), desired: Some(SectionWrite::Replace(desired)) }
}

impl Link for Own {
    fn place<'a>(&'a self, now: Timestamp, placement: &'a Placement) -> PortFuture<'a, Placed, LinkError> {
        Box::pin(async move { Ok(self.put(now, placement).await?) })
    }

    fn twin<'a>(&'a self, _: Timestamp, device: &'a DeviceId) -> PortFuture<'a, Option<Twin>, LinkError> {
        Box::pin(async move {
            match self.0.record(&Identity::device(device.clone())).await {
                Ok(record) => Ok(Some(record.twin)),
                Err(HubError::NotFound(_)) => Ok(None),
                Err(error) => Err(error.into()),
            }
        })
    }

    fn remove<'a>(&'a self, now: Timestamp, device: &'a DeviceId) -> PortFuture<'a, (), LinkError> {
        Box::pin(async move {
            match self.0.delete_device(now, &Identity::device(device.clone()), &IfMatch::Any).await {
                Ok(()) | Err(HubError::NotFound(_)) => Ok(()),
                Err(error) => Err(error.into()),
            }
        })
    }

    fn probe(&self) -> PortFuture<'_, Duration, LinkError> {
        Box::pin(async { Ok(Duration::ZERO) })
    }
}
