//! Scoring rows with ONNX models, in a process of its own.
//!
//! ONNX Runtime is a library in C++ that takes models from whoever may write into tables. So it is loaded by a child
//! process only, [`worker`], which has no sockets, files or keys of ours: [`Worker`] starts it when the first question
//! asks for a model, hands it models and rows over pipes ([`protocol`]), ends it when it is slow or idle, and starts
//! another when it died. What a model does to the child costs that question its answer and nothing else.

mod client;
mod protocol;
mod worker;

pub use client::{Failure, Worker};
pub use worker::work;
