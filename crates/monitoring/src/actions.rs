//! Actions: what is done when an alert opens, with retries that back off.
//!
//! Pending actions are part of their alert's document, so they survive a restart. An
//! action is tried at most [`ATTEMPTS_MAX`] times over about ten minutes, then it has failed.

use std::time::Duration;

use gantry_hub::delivery::DeliveryError;
use gantry_hub::twin::TwinWrite;
use gantry_identity::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::rules::RuleError;

/// Attempts of one action.
pub const ATTEMPTS_MAX: u32 = 10;
const BACK_OFF_FIRST: Duration = Duration::from_secs(1);
const BACK_OFF_MAX: Duration = Duration::from_secs(120);

/// Something to do.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum Action {
    /// POST the alert as JSON.
    Webhook {
        /// Where; http or https.
        url: String,
    },
    /// Send the alert as mail.
    Email {
        /// To whom.
        to: String,
    },
    /// Invoke a direct method on the device.
    Method {
        /// Method name.
        name: String,
        /// Payload; `null` is one, and not the same as none.
        #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
        payload: Option<Value>,
    },
    /// Merge desired properties into the device's twin.
    Desired {
        /// The patch.
        patch: Value,
    },
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

impl Action {
    /// The word for what it is.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Webhook { .. } => "webhook",
            Self::Email { .. } => "email",
            Self::Method { .. } => "method",
            Self::Desired { .. } => "desired",
        }
    }

    /// Checks what can be checked before it is tried.
    ///
    /// # Errors
    /// Names what is wrong.
    pub fn check(&self) -> Result<(), RuleError> {
        match self {
            Self::Webhook { url } if !(url.starts_with("https://") || url.starts_with("http://")) => {
                Err(RuleError::Invalid("url must begin with https:// or http://"))
            }
            Self::Email { to } if !to.contains('@') || to.len() > 254 => {
                Err(RuleError::Invalid("to must be a mail address"))
            }
            Self::Method { name, .. } if name.is_empty() || name.len() > 100 => {
                Err(RuleError::Invalid("name of a method must have 1 to 100 characters"))
            }
            Self::Desired { patch } if !patch.is_object() => Err(RuleError::Invalid("patch must be a JSON object")),
            Self::Desired { patch } if TwinWrite::merging(None, Some(patch.clone())).is_err() => {
                Err(RuleError::Invalid("patch holds a key or value that no twin takes"))
            }
            _ => Ok(()),
        }
    }
}

/// Where an action stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum State {
    /// To be tried, or tried again.
    Pending,
    /// Carried out.
    Done,
    /// Given up.
    Failed,
}

/// One action of an alert.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Task {
    /// What to do.
    #[serde(flatten)]
    pub action: Action,
    /// Where it stands.
    pub state: State,
    /// Attempts so far.
    pub attempts: u32,
    /// Why the last attempt failed.
    pub error: Option<String>,
    /// When it is due.
    #[serde(with = "crate::iso")]
    pub due_at: Timestamp,
}

impl Task {
    /// A task to be tried at once.
    pub fn new(action: Action, now: Timestamp) -> Self {
        Self { action, state: State::Pending, attempts: 0, error: None, due_at: now }
    }

    /// Takes the outcome of an attempt. `jitter` in [0, 1) spreads retries.
    pub fn finish(&mut self, outcome: Result<(), DeliveryError>, now: Timestamp, jitter: f64) {
        self.attempts += 1;
        match outcome {
            Ok(()) => (self.state, self.error) = (State::Done, None),
            Err(DeliveryError::Never(why)) => (self.state, self.error) = (State::Failed, Some(why)),
            Err(DeliveryError::Again(why)) => {
                self.error = Some(why);
                if self.attempts >= ATTEMPTS_MAX {
                    self.state = State::Failed;
                    return;
                }
                let back_off = (BACK_OFF_FIRST * 2_u32.saturating_pow(self.attempts - 1)).min(BACK_OFF_MAX);
                self.due_at = now.plus(back_off.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_without_payload_is_not_one_with_null() {
        let left_out = r#"{"kind":"method","name":"stop"}"#;
        let null = r#"{"kind":"method","name":"stop","payload":null}"#;
        for text in [left_out, null] {
            let action: Action = serde_json::from_str(text).unwrap();
            let Action::Method { payload, .. } = &action else { panic!() };
            assert_eq!(payload.is_some(), text == null);
            assert_eq!(serde_json::to_string(&action).unwrap(), text);
            let task = serde_json::to_string(&Task::new(action.clone(), Timestamp::from_millis(0))).unwrap();
            assert_eq!(serde_json::from_str::<Task>(&task).unwrap().action, action);
        }
    }

    #[test]
    fn retries_back_off_and_end() {
        let mut now = Timestamp::from_millis(0);
        let mut task = Task::new(Action::Webhook { url: "http://localhost/".into() }, now);
        let mut waits = vec![];
        while task.state == State::Pending {
            task.finish(Err(DeliveryError::Again("503".into())), now, 0.999);
            waits.push(task.due_at.since(now).as_secs_f64().round() as u64);
            now = task.due_at;
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 120, 120, 0]);
        assert_eq!((task.state, task.attempts, task.error.as_deref()), (State::Failed, 10, Some("503")));
    }

    #[test]
    fn success_clears_the_error_and_never_means_never() {
        let now = Timestamp::from_millis(0);
        let mut task = Task::new(Action::Email { to: "a@b".into() }, now);
        task.finish(Err(DeliveryError::Again("busy".into())), now, 0.0);
        task.finish(Ok(()), now, 0.0);
        assert_eq!((task.state, task.error), (State::Done, None));
        let mut task = Task::new(Action::Email { to: "a@b".into() }, now);
        task.finish(Err(DeliveryError::Never("no such address".into())), now, 0.0);
        assert_eq!(task.state, State::Failed);
    }
}
