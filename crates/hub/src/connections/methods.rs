//! Direct methods: a request to a connected device and its answer.
//!
//! Nothing is queued. The hub has no clock, so the head that calls bounds each wait with
//! the time-outs of the call.

use bytes::Bytes;
use gantry_identity::Identity;
use tokio::sync::oneshot;

use crate::connections::connection::{Answer, MethodResponse, Subscriptions, TakenOver, Undelivered};
use crate::error::HubError;
use crate::hub::Hub;
use crate::limits;
use crate::registry::device::Status;

/// A method to call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MethodCall {
    /// Method name.
    pub name: String,
    /// JSON text; empty when the caller named no payload, which is not `null`.
    pub payload: Bytes,
}

impl MethodCall {
    /// Checks name and payload.
    ///
    /// # Errors
    /// [`HubError::Invalid`] or [`HubError::MessageTooLarge`].
    pub fn new(name: &str, payload: Bytes) -> Result<Self, HubError> {
        if name.is_empty() || name.chars().count() > limits::METHOD_NAME_LEN_MAX {
            let max = limits::METHOD_NAME_LEN_MAX;
            return Err(HubError::Invalid(format!("methodName must have 1 to {max} characters")));
        }
        if payload.len() > limits::METHOD_BYTES_MAX {
            return Err(HubError::MessageTooLarge { bytes: payload.len(), max: limits::METHOD_BYTES_MAX });
        }
        Ok(Self { name: name.to_owned(), payload })
    }
}

/// What a device answered, or why it did not.
pub(crate) async fn answered(
    identity: &Identity,
    waiting: oneshot::Receiver<Answer>,
) -> Result<MethodResponse, HubError> {
    match waiting.await {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(TakenOver)) => Err(HubError::TakenOver(identity.clone())),
        Err(_) => Err(HubError::NotOnline(identity.clone())),
    }
}

impl Hub {
    /// Resolves when the device is connected and listens for methods. Bound it with the connect time-out;
    /// when that is zero, skip it.
    pub async fn method_listener(&self, identity: &Identity) {
        self.listener(identity, Subscriptions::METHODS).await;
    }

    pub(crate) async fn listener(&self, identity: &Identity, wanted: Subscriptions) {
        loop {
            let mut changed = std::pin::pin!(self.connections.changed());
            // Listen before looking, so that a subscription in between is not missed.
            changed.as_mut().enable();
            if self.connections.listens(identity, wanted) {
                return;
            }
            changed.await;
        }
    }

    /// Calls a method on a connected device and resolves with its answer. Bound it with the response time-out.
    ///
    /// # Errors
    /// [`HubError::NotOnline`], [`HubError::TakenOver`] or [`HubError::TooManyMethods`].
    pub async fn invoke(&self, identity: &Identity, call: &MethodCall) -> Result<MethodResponse, HubError> {
        let waiting = self.connections.method(identity, &call.name, &call.payload).map_err(|error| match error {
            Undelivered::Offline => HubError::NotOnline(identity.clone()),
            Undelivered::TooManyInFlight => HubError::TooManyMethods(identity.clone()),
        })?;
        answered(identity, waiting).await
    }

    /// Checks that a method may be called on an identity at all.
    ///
    /// # Errors
    /// [`HubError::NotFound`] or [`HubError::Disabled`].
    pub async fn check_callable(&self, identity: &Identity) -> Result<(), HubError> {
        let mut record = self.record(identity).await?;
        if identity.module.is_some() {
            record = self.record(&Identity::device(identity.device.clone())).await?;
        }
        match record.device.status {
            Status::Enabled => Ok(()),
            Status::Disabled => Err(HubError::Disabled(identity.clone())),
        }
    }
}
