//! Where records go, and what is asked of them.

use gantry_hub::ports::PortFuture;

use super::{AuditEntry, AuditRecord, Head};

/// Records read at once, at most.
pub const AUDIT_PAGE_MAX: usize = 1_000;

/// What a log is found to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Number of the first record that is kept; one more than the last while there is none.
    pub first: u64,
    /// How far the log goes that is as it was written.
    pub head: Head,
    /// Where it is not any more: the file, and what is wrong in it.
    pub broken: Option<(String, String)>,
}

/// A log that outlasts the process.
pub trait AuditLog: Send + Sync {
    /// Appends an entry; resolves when it is durable, or lost and counted.
    fn append(&self, entry: AuditEntry) -> PortFuture<'_, (), String>;
    /// Records before a number, or the last ones, newest first; [`AUDIT_PAGE_MAX`] at most.
    fn read(&self, before: Option<u64>, limit: usize) -> PortFuture<'_, Vec<AuditRecord>, String>;
    /// Checks everything that is kept, against a head that was kept elsewhere too, if one is given.
    fn verify(&self, anchor: Option<Head>) -> PortFuture<'_, Verified, String>;
}
