//! Why a query ended without all of its rows.

/// What ended a query.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The engine knows the part of the language and does not have it.
    #[error("`{0}` is not implemented")]
    NotImplemented(String),
    /// A value made it impossible to go on: a wrong regular expression, a step of zero.
    #[error("{0}")]
    Evaluation(String),
    /// A value made it impossible to go on, as SQL names it.
    #[error("{message}")]
    Sql {
        /// The state of the standard.
        state: &'static str,
        /// What is wrong.
        message: String,
    },
    /// More rows than the caller takes.
    #[error("Query result set has exceeded the internal record count limit {0}")]
    Rows(u64),
    /// More bytes than the caller takes.
    #[error("Query result set has exceeded the internal data size limit {0}")]
    Size(u64),
    /// An operator needed more memory than it may have.
    #[error("`{operator}` needed more than its limit of {limit} bytes of memory")]
    Memory {
        /// The operator.
        operator: &'static str,
        /// Its limit.
        limit: u64,
    },
    /// An operator would have made more rows than it may.
    #[error("`{operator}` makes more than {limit} rows")]
    TooManyRows {
        /// The operator.
        operator: &'static str,
        /// Its limit.
        limit: u64,
    },
    /// The time was over.
    #[error("the query took longer than its limit of {0} s")]
    Timeout(u64),
    /// Somebody cancelled it.
    #[error("the query was cancelled")]
    Cancelled,
    /// A table could not be read.
    #[error("reading table `{table}`: {reason}")]
    Table {
        /// The table.
        table: String,
        /// Why.
        reason: String,
    },
    /// The caller may not read a table.
    #[error("access to `{table}` is forbidden: {reason}")]
    Forbidden {
        /// The table.
        table: String,
        /// Why.
        reason: String,
    },
}

impl Error {
    /// The code under which the reference reports the kind.
    pub fn code(&self) -> &'static str {
        match self {
            Error::NotImplemented(_) => "General_NotImplemented",
            Error::Evaluation(_) | Error::Sql { .. } => "General_BadRequest",
            Error::Rows(_) | Error::Size(_) => "E_QUERY_RESULT_SET_TOO_LARGE",
            Error::Memory { .. } | Error::TooManyRows { .. } => "E_RUNAWAY_QUERY",
            Error::Timeout(_) => "E_QUERY_TIMEOUT",
            Error::Cancelled => "E_QUERY_CANCELLED",
            Error::Table { .. } => "E_TABLE_READ",
            Error::Forbidden { .. } => "Forbidden",
        }
    }
}

/// What most functions here return.
pub type Result<T> = std::result::Result<T, Error>;
