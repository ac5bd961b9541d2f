//! The platform as a library: units, listeners, runners, what follows the log, configuration and the first start.
//!
//! The only room that joins heads, domain and storage. The binary, an edge runtime and tests stand on it.

mod amqp;
mod application;
mod audit_log;
mod background;
mod blobs;
mod bridge;
mod by_name;
pub mod config;
mod directory;
mod exports;
mod first_start;
mod follow;
mod graph;
mod https;
mod listen;
mod management;
mod model_repository;
mod page;
pub mod platform;
mod postgres;
mod processing;
mod prompt;
mod provisioning;
mod recorder;
mod registry;
mod routing;
mod sign_in;
mod simulated;
mod streaming;
mod tables;
mod tls_stream;
pub mod token_server;
mod unit;
mod websocket;
