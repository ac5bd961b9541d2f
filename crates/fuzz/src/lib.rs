//! What every decoder does with any bytes: the bodies of the fuzz targets.
//!
//! A target takes bytes and panics when something is not as it must be, whatever they are. `tests/corpus.rs` runs each
//! over its folder of `corpus/` and some thousand mutations of that with a fixed seed; the workspace `fuzz/` runs them
//! under libFuzzer, with coverage, as long as one likes (`make fuzz`). An input that was found goes into the corpus.

mod log;
mod texts;
mod wire;

pub use log::event_log;
pub use texts::{dtdl, graph_query, json, kql, query, shared_access_signature, sql, stream, twin};
pub use wire::{amqp_server, amqp_value, mqtt, mqtt5};

pub use gantry_api::blob::survive_request as blob_request;
pub use gantry_storage::survive_event_record as event_record;

/// A target: its name, which is that of its corpus, and what it does.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: &[Target] = &[
    ("amqp_server", amqp_server),
    ("amqp_value", amqp_value),
    ("blob_request", blob_request),
    ("dtdl", dtdl),
    ("event_log", event_log),
    ("event_record", event_record),
    ("graph_query", graph_query),
    ("json", json),
    ("kql", kql),
    ("mqtt", mqtt),
    ("mqtt5", mqtt5),
    ("query", query),
    ("shared_access_signature", shared_access_signature),
    ("sql", sql),
    ("stream", stream),
    ("twin", twin),
];
