//! Stores on disk: what is true of files beyond what every store promises.

mod blobs;
mod golden;
mod log;
mod messaging;
