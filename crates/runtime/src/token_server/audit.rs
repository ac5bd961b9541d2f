//! Every answer of the token server: lines of JSON in a file, or fields in the log.
//!
//! ```text
//! {"at":"…","peer":"10.0.0.7:50123","resource":"hub/devices/d1","outcome":"issued",
//!  "by":"api_key","name":"line 3","policy":"device","expiresAt":"…"}
//! {"at":"…","peer":"…","resource":"…","outcome":"refused","kind":"unproven","reason":"…"}
//! ```
//!
//! A file that cannot be written does not stop tokens, because devices would drop off one by one;
//! what is lost is counted and logged.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use gantry_hub::Hub;
use gantry_identity::Refusal;
use gantry_tokens::ports::{Audit, Event, Outcome};
use gantry_tokens::{Denied, Unproven};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tracing::{error, info};

/// The audit log.
pub struct AuditLog {
    file: Option<Mutex<File>>,
    reporter: Reporter,
}

/// Who else hears of refusals.
pub enum Reporter {
    /// The platform's security events.
    Hub(Arc<Hub>),
    /// Nobody.
    None,
}

impl AuditLog {
    /// Opens the file to append to, readable by its owner; an empty path is the log of the process.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: &Path, reporter: Reporter) -> anyhow::Result<Self> {
        if path.as_os_str().is_empty() {
            return Ok(Self { file: None, reporter });
        }
        let file = File::options().append(true).create(true).mode(0o600).open(path);
        let file = file.with_context(|| format!("opening audit_log {}", path.display()))?;
        Ok(Self { file: Some(Mutex::new(file)), reporter })
    }

    fn write(&self, file: &Mutex<File>, event: &Event<'_>) {
        let mut line = document(event).to_string();
        line.push('\n');
        // One write a line, so that lines of several processes do not mix.
        if let Err(error) = file.lock().write_all(line.as_bytes()) {
            metrics::counter!("gantry_token_audit_lost_total").increment(1);
            error!(%error, "a line of the token server's audit log is lost");
        }
    }

    fn report(&self, event: &Event<'_>, denied: &Denied) {
        let Reporter::Hub(hub) = &self.reporter else { return };
        // Requests nobody claimed anything with are no attempts to get in.
        if matches!(denied, Denied::Unproven(_) | Denied::NotOwn { .. }) {
            hub.report_refusal(event.at, event.resource, event.peer, "token server", &refusal(denied));
        }
    }
}

impl Audit for AuditLog {
    fn note(&self, event: &Event<'_>) {
        match &self.file {
            Some(file) => self.write(file, event),
            None => info!(target: "gantry::token_audit", "{}", document(event)),
        }
        if let Outcome::Refused(denied) = event.outcome {
            self.report(event, denied);
        }
    }
}

fn document(event: &Event<'_>) -> Value {
    let Event { at, peer, resource, outcome } = event;
    let at = at.to_string();
    match outcome {
        Outcome::Issued { by, expires_at, key_name } => json!({
            "at": at, "peer": peer, "resource": resource, "outcome": "issued",
            "by": by.kind(), "name": by.name(), "policy": key_name, "expiresAt": expires_at.to_string(),
        }),
        Outcome::Refused(denied) => json!({
            "at": at, "peer": peer, "resource": resource, "outcome": "refused",
            "kind": denied.kind(), "reason": denied.to_string(),
        }),
    }
}

fn refusal(denied: &Denied) -> Refusal {
    match denied {
        Denied::Unproven(Unproven::Missing) => Refusal::Missing,
        Denied::Unproven(Unproven::Certificate(error)) => Refusal::Certificate(error.clone()),
        other => Refusal::NotProven(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_identity::Timestamp;
    use gantry_tokens::By;

    #[test]
    fn a_line_for_each_answer_appended_to_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let at = Timestamp::from_millis(0);
        for _ in 0..2 {
            let log = AuditLog::open(&path, Reporter::None).unwrap();
            let by = By::ApiKey("line 3".into());
            let issued = Outcome::Issued { by: &by, expires_at: at, key_name: "device" };
            log.note(&Event { at, peer: "p", resource: "h/devices/d", outcome: issued });
            let denied = Denied::Unproven(Unproven::ApiKey);
            log.note(&Event { at, peer: "p", resource: "bad\n\"text", outcome: Outcome::Refused(&denied) });
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 4);
        assert_eq!((&lines[2]["outcome"], &lines[2]["name"]), (&json!("issued"), &json!("line 3")));
        assert_eq!((&lines[3]["kind"], &lines[3]["resource"]), (&json!("unproven"), &json!("bad\n\"text")));
        assert!(AuditLog::open(folder.path(), Reporter::None).is_err());
    }
}
