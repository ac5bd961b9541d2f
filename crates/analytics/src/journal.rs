//! What is under way and what has been: queries, commands, operations, ingestion that failed. It is kept in memory,
//! the newest of each kind, and a restart forgets it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use gantry_kql::value::Guid;

use crate::context::Cancel;

/// How many of each kind are kept.
const KEPT_MAX: usize = 1_000;
/// Bytes of a text that are kept.
const TEXT_BYTES_MAX: usize = 16 << 10;

/// A text that was asked.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Our name for it, a guid.
    pub activity: String,
    /// The client's name for it.
    pub request_id: String,
    /// Its kind: `Query`, or the words of the command.
    pub kind: String,
    /// The text, with secrets masked.
    pub text: String,
    /// Who asked.
    pub principal: String,
    /// With which program.
    pub application: String,
    /// When, in ticks.
    pub started: i64,
    /// How long it took, in ticks; so far, while it runs.
    pub duration: i64,
    /// `InProgress`, `Completed`, `Failed`, `Cancelled`.
    pub state: &'static str,
    /// Why it failed.
    pub failure: String,
}

/// Something that goes on after its command was answered, or might.
#[derive(Debug, Clone)]
pub struct Operation {
    /// Its name, a guid.
    pub id: String,
    /// `DataIngestPull`, `TableSetOrAppend`, `MaterializedViewCreate`...
    pub kind: String,
    /// When it began, in ticks.
    pub started: i64,
    /// How long it took, in ticks.
    pub duration: i64,
    /// `Completed` or `Failed`.
    pub state: &'static str,
    /// Why it failed.
    pub status: String,
    /// Who asked.
    pub principal: String,
}

/// Data that did not get into its table.
#[derive(Debug, Clone)]
pub struct Failure {
    /// Of which operation.
    pub operation: String,
    /// The table it was for.
    pub table: String,
    /// When, in ticks.
    pub failed: i64,
    /// Where the data was.
    pub source: String,
    /// Why.
    pub details: String,
    /// Code of the reason.
    pub code: String,
    /// Trying again does not help.
    pub permanent: bool,
    /// An update policy failed, not the data.
    pub of_update_policy: bool,
    /// Who sent it.
    pub principal: String,
}

/// Everything that is remembered.
#[derive(Debug, Default)]
pub struct Journal(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    last: u64,
    running: BTreeMap<u64, (Entry, Instant, Cancel)>,
    done: VecDeque<Entry>,
    operations: VecDeque<Operation>,
    failures: VecDeque<Failure>,
}

fn push<T>(kept: &mut VecDeque<T>, one: T) {
    if kept.len() == KEPT_MAX {
        kept.pop_front();
    }
    kept.push_back(one);
}

/// Ticks that have gone by.
fn ticks_since(began: Instant) -> i64 {
    i64::try_from(began.elapsed().as_nanos() / 100).unwrap_or(i64::MAX)
}

impl Journal {
    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a text runs; when the answer is dropped, that it is over.
    pub fn begin(&self, mut entry: Entry, cancel: Cancel) -> Running<'_> {
        if entry.text.len() > TEXT_BYTES_MAX {
            let cut = (0..=TEXT_BYTES_MAX).rev().find(|at| entry.text.is_char_boundary(*at)).unwrap_or(0);
            entry.text.truncate(cut);
        }
        let mut inner = self.inner();
        inner.last += 1;
        let number = inner.last;
        inner.running.insert(number, (entry, Instant::now(), cancel));
        Running { journal: self, number, ended: None }
    }

    /// What runs.
    pub fn running(&self) -> Vec<Entry> {
        let inner = self.inner();
        let entry =
            |(entry, began, _): &(Entry, Instant, Cancel)| Entry { duration: ticks_since(*began), ..entry.clone() };
        inner.running.values().map(entry).collect()
    }

    /// What has been, the newest last.
    pub fn done(&self) -> Vec<Entry> {
        self.inner().done.iter().cloned().collect()
    }

    /// Stops what runs under a client's name; says whether something does.
    pub fn cancel(&self, request_id: &str) -> bool {
        let inner = self.inner();
        let mut found = false;
        for (entry, _, cancel) in inner.running.values() {
            if entry.request_id == request_id || entry.activity == request_id {
                cancel.cancel();
                found = true;
            }
        }
        found
    }

    /// Notes an operation.
    pub fn operation(&self, operation: Operation) {
        push(&mut self.inner().operations, operation);
    }

    /// Operations, the newest last.
    pub fn operations(&self) -> Vec<Operation> {
        self.inner().operations.iter().cloned().collect()
    }

    /// Notes that data did not get into its table.
    pub fn failed(&self, failure: Failure) {
        push(&mut self.inner().failures, failure);
    }

    /// What did not get in, the newest last.
    pub fn failures(&self) -> Vec<Failure> {
        self.inner().failures.iter().cloned().collect()
    }
}

/// Something that runs.
pub struct Running<'a> {
    journal: &'a Journal,
    number: u64,
    ended: Option<(&'static str, String)>,
}

impl Running<'_> {
    /// How it ended.
    pub fn ended(&mut self, state: &'static str, failure: String) {
        self.ended = Some((state, failure));
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let mut inner = self.journal.inner();
        let Some((mut entry, began, _)) = inner.running.remove(&self.number) else { return };
        entry.duration = ticks_since(began);
        (entry.state, entry.failure) = self.ended.take().unwrap_or(("Failed", "it ended without an answer".to_owned()));
        push(&mut inner.done, entry);
    }
}

/// A guid that nobody has had. It need not be secret.
pub fn new_guid() -> String {
    use std::hash::{BuildHasher, Hasher, RandomState};
    let half = || u128::from(RandomState::new().build_hasher().finish());
    // A version 4 guid (RFC 9562, 5.4).
    let bits = (half() << 64 | half()) & !(0xf << 76) & !(0x3 << 62) | (0x4 << 76) | (0x2 << 62);
    Guid(bits).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(request_id: &str) -> Entry {
        Entry {
            activity: new_guid(),
            request_id: request_id.into(),
            kind: "Query".into(),
            text: "é".repeat(TEXT_BYTES_MAX),
            principal: String::new(),
            application: String::new(),
            started: 0,
            duration: 0,
            state: "InProgress",
            failure: String::new(),
        }
    }

    #[test]
    fn what_runs_is_shown_and_stopped_by_its_name_and_then_has_been() {
        let journal = Journal::default();
        let mut running = journal.begin(entry("a"), Cancel::default());
        assert_eq!(journal.running()[0].request_id, "a");
        assert!(journal.cancel("a") && !journal.cancel("b"));
        running.ended("Completed", String::new());
        drop(running);
        drop(journal.begin(entry("b"), Cancel::default()));
        let done = journal.done();
        assert_eq!((done[0].state, done[1].state), ("Completed", "Failed"));
        assert!(journal.running().is_empty() && done[0].text.len() <= TEXT_BYTES_MAX);
    }

    #[test]
    fn guids_differ_and_are_of_version_4() {
        let guid = new_guid();
        assert_ne!(guid, new_guid());
        assert_eq!((&guid[14..15], guid.len()), ("4", 36));
    }
}
