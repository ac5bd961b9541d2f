//! Where the platform sends: webhooks, mail, and files in storage containers.
//!
//! Each endpoint carries an action out once, within [`TIMEOUT`]; retries are the caller's.
//! What can never work (a refused address, a redirect, a malformed URL) is told apart from
//! what is worth another attempt.

mod mail;
pub mod storage;
mod webhook;

use std::time::Duration;

pub use mail::Mail;
pub use webhook::Webhook;

/// How long one attempt may take.
pub const TIMEOUT: Duration = Duration::from_secs(15);
