//! How far a job is.
//!
//! ```text
//! pending -> running -> complete
//!               |  \--> cancelled (more failures than the threshold allows)
//!               |  \--> failed    (it could not go on)
//!            stopped -> running
//! ```
//!
//! Devices are handed out batch by batch, the next when all of the last have fared. Devices handed out before a job was
//! stopped, cancelled or failed may fare afterwards, which is counted.
//!
//! Invariant: `pending + completed + failed == total`.

use gantry_identity::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Job, JobError, RUNNING_MAX};
use crate::kept::maybe_millis;

/// How a job is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Status {
    /// It has not begun.
    Pending,
    /// It runs.
    Running,
    /// It was done on all devices, well or not.
    Complete,
    /// It could not go on.
    Failed,
    /// Somebody stopped it.
    Stopped,
    /// Too many devices failed.
    Cancelled,
}

impl Status {
    /// Its published word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Complete => "complete",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether it stays so.
    #[must_use]
    pub fn is_end(self) -> bool {
        matches!(self, Self::Complete | Self::Failed | Self::Cancelled)
    }
}

/// How many devices fared how.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// All.
    pub total: u64,
    /// Those that have not fared.
    pub pending: u64,
    /// Those on which it was done.
    pub completed: u64,
    /// Those on which it failed.
    pub failed: u64,
}

/// A job that runs, or did.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Run {
    status: Status,
    progress: Progress,
    /// Devices handed out in the last batch.
    batch: u64,
    /// Of them, those that have not fared.
    batch_pending: u64,
    /// Of them, those on which it failed.
    batch_failed: u64,
    #[serde(with = "maybe_millis")]
    started_at: Option<Timestamp>,
    #[serde(with = "maybe_millis")]
    ended_at: Option<Timestamp>,
}

impl Run {
    /// A job that is to be done on so many devices.
    #[must_use]
    pub fn new(devices: u64) -> Self {
        Self {
            status: Status::Pending,
            progress: Progress { total: devices, pending: devices, ..Progress::default() },
            batch: 0,
            batch_pending: 0,
            batch_failed: 0,
            started_at: None,
            ended_at: None,
        }
    }

    /// How it is.
    #[must_use]
    pub fn status(&self) -> Status {
        self.status
    }

    /// How many devices fared how.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.progress
    }

    /// How many devices were handed out so far, those of the last batch that have not fared among them. They are the
    /// first of all, because each batch goes on where the last ended.
    #[must_use]
    pub fn handed_out(&self) -> u64 {
        self.progress.total - self.progress.pending + self.batch_pending
    }

    /// When it began.
    #[must_use]
    pub fn started_at(&self) -> Option<Timestamp> {
        self.started_at
    }

    /// When it ended.
    #[must_use]
    pub fn ended_at(&self) -> Option<Timestamp> {
        self.ended_at
    }

    /// Begins it, or goes on with it after a stop, while `running` others run. Without devices it is complete at once.
    ///
    /// # Errors
    /// [`JobError::Status`] and [`JobError::Busy`].
    pub fn start(&mut self, now: Timestamp, running: usize) -> Result<(), JobError> {
        if !matches!(self.status, Status::Pending | Status::Stopped) {
            return Err(JobError::Status { status: self.status, what: "started" });
        }
        if running >= RUNNING_MAX {
            return Err(JobError::Busy);
        }
        self.status = Status::Running;
        self.started_at = self.started_at.or(Some(now));
        self.complete(now);
        Ok(())
    }

    /// Stops it.
    ///
    /// # Errors
    /// [`JobError::Status`].
    pub fn stop(&mut self) -> Result<(), JobError> {
        if !matches!(self.status, Status::Pending | Status::Running) {
            return Err(JobError::Status { status: self.status, what: "stopped" });
        }
        self.status = Status::Stopped;
        Ok(())
    }

    /// Ends it because it cannot go on.
    ///
    /// # Errors
    /// [`JobError::Status`].
    pub fn fail(&mut self, now: Timestamp) -> Result<(), JobError> {
        if self.status.is_end() {
            return Err(JobError::Status { status: self.status, what: "failed" });
        }
        self.end(Status::Failed, now);
        Ok(())
    }

    /// How many devices are next; whoever asks hands them out. None while it does not run or a batch has not fared.
    pub fn next_batch(&mut self, job: &Job) -> u64 {
        if self.status != Status::Running || self.batch_pending > 0 {
            return 0;
        }
        let size = job.batch.map_or(self.progress.pending, |share| share.of(self.progress.total));
        let next = size.min(self.progress.pending);
        (self.batch, self.batch_pending, self.batch_failed) = (next, next, 0);
        next
    }

    /// Counts how a device that was handed out fared. Says whether that was expected.
    pub fn settle(&mut self, job: &Job, now: Timestamp, is_good: bool) -> bool {
        if self.batch_pending == 0 {
            return false;
        }
        self.batch_pending -= 1;
        self.progress.pending -= 1;
        if is_good {
            self.progress.completed += 1;
        } else {
            self.progress.failed += 1;
            self.batch_failed += 1;
        }
        if self.status == Status::Running && self.is_over(job) {
            self.end(Status::Cancelled, now);
        }
        self.complete(now);
        true
    }

    fn is_over(&self, job: &Job) -> bool {
        job.cancellation_threshold.is_some_and(|threshold| match threshold.is_per_batch {
            true => threshold.share.is_exceeded(self.batch_failed, self.batch),
            false => threshold.share.is_exceeded(self.progress.failed, self.progress.total),
        })
    }

    fn complete(&mut self, now: Timestamp) {
        if self.status == Status::Running && self.progress.pending == 0 {
            self.end(Status::Complete, now);
        }
    }

    fn end(&mut self, status: Status, now: Timestamp) {
        (self.status, self.ended_at) = (status, Some(now));
    }

    /// Checks that devices on which it failed may be tried again, as a new job.
    ///
    /// # Errors
    /// [`JobError::Status`] when it has not ended or failed nowhere.
    pub fn check_rerun(&self) -> Result<(), JobError> {
        if self.status.is_end() && self.progress.failed > 0 {
            return Ok(());
        }
        Err(JobError::Status { status: self.status, what: "run again on devices that failed" })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::job;
    use super::super::{Share, Threshold};
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_000);

    fn started(devices: u64) -> Run {
        let mut run = Run::new(devices);
        run.start(NOW, 0).unwrap();
        run
    }

    /// Runs a job to its end; devices at multiples of `fails` fail. Says the sizes of its batches.
    fn play(run: &mut Run, job: &Job, fails: u64) -> Vec<u64> {
        let (mut sizes, mut device) = (vec![], 0);
        loop {
            let size = run.next_batch(job);
            if size == 0 {
                return sizes;
            }
            sizes.push(size);
            for _ in 0..size {
                device += 1;
                assert!(run.settle(job, NOW, device % fails != 0));
                let Progress { total, pending, completed, failed } = run.progress();
                assert_eq!(pending + completed + failed, total);
            }
        }
    }

    #[test]
    fn a_job_runs_in_batches() {
        let mut divided = job();
        let mut run = started(1_000);
        assert_eq!(play(&mut run, &divided, 1_001), [1_000]);
        divided.batch = Some(Share::Number(300));
        let mut run = started(1_000);
        assert_eq!(play(&mut run, &divided, 1_001), [300, 300, 300, 100]);
        assert_eq!((run.status(), run.ended_at()), (Status::Complete, Some(NOW)));
        divided.batch = Some(Share::Percentage(40));
        assert_eq!(play(&mut started(1_000), &divided, 1_001), [400, 400, 200]);
    }

    #[test]
    fn a_batch_waits_for_the_last_one() {
        let mut divided = job();
        divided.batch = Some(Share::Number(2));
        let mut run = started(4);
        assert_eq!(run.next_batch(&divided), 2);
        assert_eq!(run.next_batch(&divided), 0);
        run.settle(&divided, NOW, true);
        assert_eq!(run.next_batch(&divided), 0);
        run.settle(&divided, NOW, true);
        assert!(!run.settle(&divided, NOW, true), "nobody was handed out");
        assert_eq!(run.next_batch(&divided), 2);
    }

    #[test]
    fn too_many_failures_cancel_it() {
        let mut bounded = job();
        bounded.cancellation_threshold = Some(Threshold { share: Share::Number(3), is_per_batch: false });
        bounded.batch = Some(Share::Number(10));
        let mut run = started(100);
        assert_eq!(play(&mut run, &bounded, 10), [10; 4]);
        assert_eq!((run.status(), run.progress().failed), (Status::Cancelled, 4));
        bounded.cancellation_threshold = Some(Threshold { share: Share::Percentage(10), is_per_batch: true });
        let mut run = started(100);
        assert_eq!(play(&mut run, &bounded, 10).len(), 10);
        assert_eq!((run.status(), run.progress().failed), (Status::Complete, 10));
        let mut run = started(100);
        assert_eq!(play(&mut run, &bounded, 5), [10]);
        assert_eq!((run.status(), run.progress().failed), (Status::Cancelled, 2));
    }

    #[test]
    fn seven_of_a_hundred_fail_and_the_rest_is_done() {
        let mut run = started(1_000);
        play(&mut run, &job(), 14);
        let expected = Progress { total: 1_000, pending: 0, completed: 929, failed: 71 };
        assert_eq!((run.status(), run.progress()), (Status::Complete, expected));
        assert_eq!(run.check_rerun(), Ok(()));
        let mut good = started(2);
        play(&mut good, &job(), 3);
        assert!(good.check_rerun().is_err());
    }

    #[test]
    fn a_stopped_job_goes_on_and_counts_what_was_handed_out() {
        let mut divided = job();
        divided.batch = Some(Share::Number(2));
        let mut run = started(3);
        assert_eq!(run.next_batch(&divided), 2);
        run.stop().unwrap();
        assert_eq!(run.stop(), Err(JobError::Status { status: Status::Stopped, what: "stopped" }));
        assert!(run.settle(&divided, NOW, true) && run.settle(&divided, NOW, true));
        assert_eq!(run.next_batch(&divided), 0);
        run.start(Timestamp::from_millis(2_000), 4).unwrap();
        assert_eq!(run.next_batch(&divided), 1);
        run.settle(&divided, NOW, true);
        assert_eq!((run.status(), run.started_at()), (Status::Complete, Some(NOW)));
        assert!(run.start(NOW, 0).is_err() && run.stop().is_err() && run.fail(NOW).is_err());
    }

    #[test]
    fn what_was_handed_out_is_known_when_a_run_is_read_again() {
        let mut divided = job();
        divided.batch = Some(Share::Number(3));
        let mut run = started(5);
        assert_eq!(run.handed_out(), 0);
        run.next_batch(&divided);
        run.settle(&divided, NOW, false);
        assert_eq!(run.handed_out(), 3);
        let text = serde_json::to_string(&run).unwrap();
        let mut again: Run = serde_json::from_str(&text).unwrap();
        assert_eq!(again, run, "{text}");
        assert!(again.settle(&divided, NOW, true) && again.settle(&divided, NOW, true));
        assert_eq!((again.next_batch(&divided), again.handed_out()), (2, 5));
    }

    #[test]
    fn five_run_at_once_and_a_job_without_devices_is_complete() {
        assert_eq!(Run::new(1).start(NOW, RUNNING_MAX), Err(JobError::Busy));
        assert_eq!(Run::new(1).start(NOW, RUNNING_MAX - 1), Ok(()));
        assert_eq!(started(0).status(), Status::Complete);
        let mut run = Run::new(3);
        run.fail(NOW).unwrap();
        assert_eq!(run.status(), Status::Failed);
        assert!(run.check_rerun().is_err());
    }
}
