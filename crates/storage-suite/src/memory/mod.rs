//! A store and an event log in memory: every port, as plainly as it can be said.
//!
//! It is the model that engines are compared with, and what simulations and tests stand on that are not about a disk.
//! Everything is behind one lock, so each operation happens at once or not at all; nothing is indexed, and searches
//! give everything they may give. What is here is gone with the last clone of it.

mod documents;
mod jobs;
mod log;
mod provisioning;
mod queues;
mod records;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use gantry_hub::job::Job;
use gantry_hub::ports::{Collection, DeviceJobFilter, EventSink, PortFuture, Record, StoreError};
use gantry_hub::reports::Report;
use gantry_hub::service_queue::{ServiceMessage, ServiceQueue};
use gantry_identity::{Identity, Timestamp};
use gantry_provisioning::{Enrollment, HubLink, Registration};
use parking_lot::Mutex;
use tokio::sync::Notify;

use self::jobs::Listed;
pub use self::log::MemoryLog;
use self::provisioning::{DepartureKey, EnrollmentId};
use self::queues::Waiting;
use self::records::Noted;

/// State in memory. Clones share it.
#[derive(Clone, Default)]
pub struct Memory {
    state: Arc<Mutex<State>>,
    reports: Arc<Notify>,
}

#[derive(Default)]
struct State {
    records: BTreeMap<Identity, Record>,
    presence: BTreeMap<Identity, Noted>,
    /// Reports that are not in the log, in the order of their writes.
    outbox: VecDeque<Report>,
    /// Messages of all devices by sequence number.
    c2d: BTreeMap<u64, Waiting>,
    /// Outcomes that are no message yet.
    feedback: VecDeque<(Timestamp, String)>,
    /// Messages of all service queues by sequence number.
    service: BTreeMap<u64, (ServiceQueue, ServiceMessage)>,
    last_sequence: u64,
    jobs: BTreeMap<String, Job>,
    /// Devices of jobs, by job.
    listed: BTreeMap<(String, Identity), Listed>,
    documents: BTreeMap<&'static str, Collection>,
    enrollments: BTreeMap<EnrollmentId, Enrollment>,
    /// By folded id.
    registrations: BTreeMap<String, Registration>,
    departures: BTreeSet<DepartureKey>,
    /// The last one that was shown.
    departure_turn: Option<DepartureKey>,
    /// By host name in lower case.
    hub_links: BTreeMap<String, HubLink>,
}

impl State {
    fn next_sequence(&mut self) -> u64 {
        self.last_sequence += 1;
        self.last_sequence
    }
}

impl Memory {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Carries an operation out when it is waited for, as an engine would.
    fn run<'a, T>(
        &'a self,
        work: impl FnOnce(&mut State) -> Result<T, StoreError> + Send + 'a,
    ) -> PortFuture<'a, T, StoreError> {
        Box::pin(async move { work(&mut self.state.lock()) })
    }

    /// Moves waiting reports into a log; says whether there were any.
    ///
    /// # Errors
    /// When the log fails; what was not moved stays.
    pub async fn relay(&self, log: &dyn EventSink) -> Result<bool, StoreError> {
        let waiting: Vec<Report> = self.state.lock().outbox.iter().cloned().collect();
        for report in &waiting {
            let append = report.as_event(|event| log.append(std::slice::from_ref(event)));
            append.await.map_err(|error| StoreError::Failed(error.to_string()))?;
            self.state.lock().outbox.pop_front();
        }
        Ok(!waiting.is_empty())
    }

    /// Resolves when a write left reports since the last call.
    pub async fn reports_waiting(&self) {
        self.reports.notified().await;
    }
}

/// Whether an item comes after a place in an order; everything does when there is none.
fn is_after<T: Ord + ?Sized>(item: &T, after: Option<&T>) -> bool {
    after.is_none_or(|after| item > after)
}

fn is_wanted(filter: &DeviceJobFilter, job: &str, identity: &Identity) -> bool {
    filter.job.as_deref().is_none_or(|wanted| wanted == job)
        && filter.device.as_deref().is_none_or(|wanted| wanted == identity.device.as_str())
}
