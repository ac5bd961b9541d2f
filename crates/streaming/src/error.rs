//! What goes wrong: in a text, while events run, and in a checkpoint.

/// Why a text is not a job, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub struct Error {
    /// Line of the text, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// What is wrong, naming it.
    pub message: String,
}

/// Why a running job cannot go on. Nothing it holds is trusted afterwards: it starts again from its last checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The state has grown to its bound.
    #[error("the job holds more than {limit} {what}")]
    Full {
        /// What there is too much of: `events`, `groups` or `bytes`.
        what: &'static str,
        /// The bound.
        limit: usize,
    },
    /// An event could not be evaluated, and the job is set to stop at such.
    #[error("an event of time {timestamp} could not be evaluated: {message}")]
    Event {
        /// Its time, as text.
        timestamp: String,
        /// What was wrong with it.
        message: String,
    },
    /// The caller names an input that the job does not read.
    #[error("the job has no stream `{0}`")]
    UnknownInput(String),
    /// The caller names a partition past the number the settings give.
    #[error("input `{input}` has {count} partitions, not a partition {partition}")]
    UnknownPartition {
        /// The input.
        input: String,
        /// Which was named.
        partition: u32,
        /// How many there are.
        count: u32,
    },
}

/// Why a checkpoint cannot be restored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// The bytes are not what was saved.
    #[error("the checkpoint is damaged")]
    Damaged,
    /// Saved by a version that writes another form.
    #[error("the checkpoint has version {0}, which is not known here")]
    Version(u8),
    /// Saved by a job with another text or other settings.
    #[error("the checkpoint belongs to another job, or to this one before it was changed")]
    OtherJob,
}
