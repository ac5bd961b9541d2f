//! The digital-twin graph: models in DTDL, twins of them, relationships between twins, a query language over both, event
//! routes, and jobs that import and delete.
//!
//! [`Graph`] owns what is kept: collections of documents behind [`Documents`](gantry_hub::ports::Documents), held in
//! memory with the indexes that questions need (`state.rs`). A write is decided by plain functions over the state
//! (`models.rs`, `twin.rs`, `relationship.rs`), written with compare-and-swap, and only then seen; what it tells others
//! are [`Notification`]s. [`query`] parses a text once and walks the graph within bounds. Nothing here knows HTTP, a
//! clock or randomness: instants and drawn numbers are arguments.
//!
//! Source of names, shapes and errors: the published document of the data plane, 2023-10-31, and the reference's pages on
//! its query language and service limits.

mod error;
mod events;
pub mod feed;
mod graph;
mod ids;
mod import;
mod jobs;
pub mod limits;
mod models;
mod patch;
pub mod query;
mod relationship;
mod routes;
mod state;
mod stored;
mod twin;

pub use error::GraphError;
pub use events::{Notification, NotificationKind, Tell};
pub use graph::{Graph, Item, Many, Write};
pub use import::{Importer, Section, Step};
pub use jobs::{Files, Job, JobKind, Jobs, Status};
pub use models::{Definitions, Model};
pub use patch::{Operation, Patch};
pub use relationship::Relationship;
pub use routes::EventRoute;
pub use state::State;
pub use twin::Twin;
