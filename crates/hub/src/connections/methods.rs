//! Direct methods: a request to a connected device and its answer.
//!
//! Nothing is queued. A call has two waits, each with a time-out of its own: for the device to listen, and for its
//! answer. What it ends with is the device's answer or a [`HubError`]: `NotOnline`, `TakenOver`, `Timeout`,
//! `TooManyMethods`. Heads bring the clock and translate.

use std::time::Duration;

use bytes::Bytes;
use gantry_identity::Identity;
use tokio::sync::oneshot;

use crate::connections::connection::{Answer, MethodResponse, Subscriptions, TakenOver, Undelivered};
use crate::error::HubError;
use crate::hub::Hub;
use crate::limits;
use crate::ports::Clock;
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

/// How long a call may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MethodTimeouts {
    /// For the device to connect and listen; zero asks whether it does now.
    pub connect: Duration,
    /// For the device to answer.
    pub response: Duration,
}

impl MethodTimeouts {
    /// Those a caller asks for in seconds. Without a response time-out, or with zero, it is the usual one.
    ///
    /// # Errors
    /// [`HubError::Invalid`] when one is out of bounds.
    pub fn from_secs(connect: Option<u64>, response: Option<u64>) -> Result<Self, HubError> {
        let response = response.filter(|secs| *secs != 0);
        if response.is_some_and(|secs| !limits::METHOD_TIMEOUT_SECS.contains(&secs)) {
            return Err(HubError::Invalid("responseTimeoutInSeconds must be 5 to 300".into()));
        }
        let connect = connect.unwrap_or(0);
        if connect > *limits::METHOD_TIMEOUT_SECS.end() {
            return Err(HubError::Invalid("connectTimeoutInSeconds must be 0 to 300".into()));
        }
        Ok(Self {
            connect: Duration::from_secs(connect),
            response: response.map_or(limits::METHOD_TIMEOUT_DEFAULT, Duration::from_secs),
        })
    }
}

/// What comes within a time; `None` when it does not.
async fn within<T>(clock: &dyn Clock, limit: Duration, coming: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        came = coming => Some(came),
        () = clock.sleep(limit) => None,
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
    /// Calls a method within its time-outs.
    ///
    /// # Errors
    /// [`HubError::NotFound`] or [`HubError::Disabled`], [`HubError::NotOnline`] when the device does not come,
    /// [`HubError::TakenOver`] when another connection of it takes over meanwhile, [`HubError::Timeout`] when it does
    /// not answer in time, [`HubError::TooManyMethods`].
    pub async fn call_method(
        &self,
        clock: &dyn Clock,
        identity: &Identity,
        call: &MethodCall,
        timeouts: MethodTimeouts,
    ) -> Result<MethodResponse, HubError> {
        self.check_callable(identity).await?;
        if !timeouts.connect.is_zero() {
            let listener = self.listener(identity, Subscriptions::METHODS);
            let listens = within(clock, timeouts.connect, listener).await;
            listens.ok_or_else(|| HubError::NotOnline(identity.clone()))?;
        }
        let answer = within(clock, timeouts.response, self.invoke(identity, call)).await;
        answer.unwrap_or_else(|| Err(HubError::Timeout(identity.clone())))
    }

    /// Resolves when the device is connected and listens.
    pub(super) async fn listener(&self, identity: &Identity, wanted: Subscriptions) {
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

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::pin::Pin;

    use gantry_identity::Timestamp;

    use super::*;

    #[track_caller]
    fn check(connect: Option<u64>, response: Option<u64>, expected: Option<(u64, u64)>) {
        let timeouts = MethodTimeouts::from_secs(connect, response).ok();
        let seconds = timeouts.map(|timeouts| (timeouts.connect.as_secs(), timeouts.response.as_secs()));
        assert_eq!(seconds, expected, "{connect:?} {response:?}");
    }

    #[test]
    fn time_outs_have_bounds_and_zero_is_none() {
        check(None, None, Some((0, 30)));
        check(Some(0), Some(0), Some((0, 30)));
        check(Some(1), Some(5), Some((1, 5)));
        check(Some(300), Some(300), Some((300, 300)));
        check(None, Some(4), None);
        check(None, Some(301), None);
        check(Some(301), None, None);
    }

    /// A clock whose waits are over at once, or never.
    struct Still(bool);

    impl Clock for Still {
        fn now(&self) -> Timestamp {
            Timestamp::NEVER
        }

        fn sleep(&self, _: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
            if self.0 { Box::pin(pending()) } else { Box::pin(ready(())) }
        }
    }

    #[tokio::test]
    async fn what_is_there_is_never_late() {
        let limit = Duration::from_secs(1);
        assert_eq!(within(&Still(false), limit, ready(1)).await, Some(1));
        assert_eq!(within(&Still(true), limit, ready(1)).await, Some(1));
        assert_eq!(within(&Still(false), limit, pending::<u8>()).await, None);
    }
}
