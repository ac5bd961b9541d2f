//! What those who follow the log keep: where they stand, and what they made of the events before.

use super::PortFuture;

/// Why a checkpoint was not written or read.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum CheckpointError {
    /// Somebody took it since.
    #[error("somebody else holds the checkpoint now")]
    Taken,
    /// What was put cannot be read, today or later.
    #[error("the checkpoint is damaged")]
    Damaged,
    /// Anything else; may pass.
    #[error("checkpoint failed: {0}")]
    Failed(String),
}

/// Named bytes, each replaced as a whole, and each written by one holder.
///
/// A holder takes a name when it starts, and with it an epoch that is higher than those of all holders before. What
/// they still write is refused from then on, wherever they run and whether they heard of it or not. So a holder takes
/// first and reads then.
pub trait Checkpoints: Send + Sync {
    /// Takes a name, whether there is anything under it or not; gives the epoch.
    fn take<'a>(&'a self, name: &'a str) -> PortFuture<'a, u64, CheckpointError>;
    /// What was put last; `None` when nothing was.
    fn get<'a>(&'a self, name: &'a str) -> PortFuture<'a, Option<Vec<u8>>, CheckpointError>;
    /// Replaces what is under a name; durable when it resolves.
    fn put<'a>(&'a self, name: &'a str, epoch: u64, bytes: Vec<u8>) -> PortFuture<'a, (), CheckpointError>;
    /// Removes what is under a name, if there is anything.
    fn remove<'a>(&'a self, name: &'a str, epoch: u64) -> PortFuture<'a, (), CheckpointError>;
}
