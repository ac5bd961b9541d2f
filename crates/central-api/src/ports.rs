//! What the API needs of the tables, and of whoever runs transforms.

use gantry_central::file_uploads::FileUploads;
use gantry_hub::ports::PortFuture;
use serde_json::Value;

/// Rows of a result, each with its values in the order of the columns.
pub type Rows = Vec<Vec<Value>>;

/// The tables with what devices sent and have.
pub trait Tables: Send + Sync {
    /// Asks in KQL, with values of `declare query_parameters`. Instants come as texts of RFC 3339.
    ///
    /// An error says in words why there is no answer.
    fn ask(&self, text: String, parameters: Vec<(String, String)>) -> PortFuture<'_, Rows, String>;
}

/// Where devices upload files.
pub trait Uploads: Send + Sync {
    /// Whether devices can upload there.
    ///
    /// # Errors
    /// Says in words, without secrets, why not.
    fn check(&self, of: &FileUploads) -> Result<(), String>;

    /// Has devices upload there from now on; without anything, where they do by the configuration.
    ///
    /// # Errors
    /// As [`Self::check`].
    fn apply(&self, of: Option<&FileUploads>) -> Result<(), String>;
}

/// Programs of jq.
pub trait Transforms: Send + Sync {
    /// Whether a text is a program.
    ///
    /// An error says in words why not, and where.
    fn check<'a>(&'a self, program: &'a str) -> PortFuture<'a, (), String>;
}
