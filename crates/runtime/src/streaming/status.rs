//! How a job fares, as others are told.

use gantry_api::{JobState, StreamingJob};
use gantry_identity::Timestamp;
use parking_lot::Mutex;

/// How a job fares.
pub(super) struct Status(Mutex<StreamingJob>);

impl Status {
    /// Of a job that has not begun.
    pub fn new(job: StreamingJob) -> Self {
        Self(Mutex::new(job))
    }

    /// As it is now.
    pub fn get(&self) -> StreamingJob {
        self.0.lock().clone()
    }

    pub fn runs(&self, now: Timestamp) {
        let mut job = self.0.lock();
        (job.state, job.since) = (JobState::Running, now);
    }

    pub fn failed(&self, now: Timestamp, why: String) {
        let mut job = self.0.lock();
        (job.state, job.since) = (JobState::Failed(why), now);
    }

    /// So many events were read.
    pub fn took(&self, events: u64) {
        self.0.lock().events += events;
    }

    /// A checkpoint was written, and so many rows.
    pub fn wrote(
        &self,
        rows: usize,
        watermark: Timestamp,
        held: (usize, usize, usize),
        dropped: Vec<(&'static str, u64)>,
    ) {
        let mut job = self.0.lock();
        job.rows += rows as u64;
        (job.watermark, job.held, job.dropped) = (Some(watermark), held, dropped);
    }
}
