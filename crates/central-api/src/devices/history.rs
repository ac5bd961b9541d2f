//! The last run of each command, for those that were run lately: in memory, a bounded number.

use std::collections::{HashMap, VecDeque};

use gantry_identity::{DeviceId, Identity};
use parking_lot::Mutex;
use serde_json::{Value, json};

/// Commands whose last run is known.
const RUNS_MAX: usize = 10_000;

/// A run of a command.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Run {
    pub(crate) id: String,
    pub(crate) request: Option<Value>,
    pub(crate) response: Option<Value>,
    pub(crate) response_code: Option<i32>,
}

impl Run {
    /// As bodies show it.
    pub(crate) fn document(&self) -> Value {
        let mut shown = json!({ "id": self.id });
        if let Some(request) = &self.request {
            shown["request"] = request.clone();
        }
        if let Some(response) = &self.response {
            shown["response"] = response.clone();
        }
        if let Some(code) = self.response_code {
            shown["responseCode"] = code.into();
        }
        shown
    }
}

/// A device or module, and a command as it is called on the wire.
type Key = (Identity, String);

/// Last runs.
#[derive(Default)]
pub(crate) struct Runs(Mutex<(HashMap<Key, Run>, VecDeque<Key>)>);

impl Runs {
    /// Keeps a run; the command that was noted first goes when there are too many.
    pub(crate) fn note(&self, identity: &Identity, command: &str, run: Run) {
        let (all, order) = &mut *self.0.lock();
        let key = (identity.clone(), command.to_owned());
        if all.insert(key.clone(), run).is_none() {
            order.push_back(key);
        }
        if order.len() > RUNS_MAX
            && let Some(first) = order.pop_front()
        {
            all.remove(&first);
        }
    }

    /// Forgets what ran on a device and its modules.
    pub(crate) fn forget(&self, device: &DeviceId) {
        let (all, order) = &mut *self.0.lock();
        all.retain(|(identity, _), _| identity.device != *device);
        order.retain(|(identity, _)| identity.device != *device);
    }

    /// The last run of a command.
    pub(crate) fn last(&self, identity: &Identity, command: &str) -> Option<Run> {
        self.0.lock().0.get(&(identity.clone(), command.to_owned())).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_run_is_known_and_the_oldest_of_too_many_goes() {
        let runs = Runs::default();
        let device = |n: usize| Identity::device(DeviceId::parse(&format!("d{n}")).unwrap());
        let run = |id: &str| Run { id: id.to_owned(), ..Run::default() };
        for n in 0..=RUNS_MAX {
            runs.note(&device(n), "a", run("1"));
            runs.note(&device(n), "a", run("2"));
        }
        assert_eq!(runs.last(&device(0), "a"), None);
        assert_eq!(runs.last(&device(1), "a"), Some(run("2")));
        assert_eq!(runs.last(&device(1), "b"), None);
        runs.forget(&device(1).device);
        assert_eq!(runs.last(&device(1), "a"), None);
        assert_eq!(runs.last(&device(2), "a"), Some(run("2")));
    }
}
