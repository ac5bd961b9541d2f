//! What the API needs of the tables.

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
