//! Programs of jq that make other messages of messages, in a process of their own.
//!
//! A program comes from whoever may write exports, and may go on for ever or take all memory there is: nothing in the
//! language says when it ends. So it is run by a child process only, [`work`], which has no sockets, files or keys of
//! ours: [`Transforms`] starts it when the first message comes, hands it programs and messages over pipes, and ends it
//! when it is slow. What a program does to the child costs those messages their transform and nothing else.
//!
//! A program may begin with `import "iotc" as iotc;`, which brings `iotc::find(f)`: the `value` of the first element of
//! an array for which `f` holds, null without one ("Transform data inside your IoT Central application for export").

mod client;
mod program;
mod protocol;
mod worker;

pub use client::{Failure, Transforms};
pub use worker::work;
