//! Import: one entry a line, carried out as a bulk call does. Lines that fail are in `importErrors.log`.

use std::collections::HashSet;

use bytes::Bytes;
use futures::channel::mpsc;
use futures::{SinkExt as _, StreamExt as _, stream};
use gantry_identity::Identity;
use serde_json::{Value, json};

use super::lines::{Pieced, TooLong};
use super::{ConfigurationEntry, Container, Files, Inner, LineError, Progress};
use crate::configurations::configuration::ConfigurationError;
use crate::error::HubError;
use crate::registry::bulk::{BulkEntry, BulkFailure};
use crate::registry::device::IfMatch;

const ERROR_LOG: &str = "importErrors.log";
/// Entries carried out together; their writes share commits.
const BATCH_LEN_MAX: usize = 2000;
/// Errors on their way into the log.
const ERRORS_WAITING_MAX: usize = 64;

/// Says how many lines failed, if any.
pub(super) async fn run(
    inner: &Inner,
    input: &dyn Container,
    files: &Files,
    errors: &dyn Container,
    progress: &Progress,
) -> Result<Option<String>, String> {
    progress.expect(input.length(&files.devices).await?);
    let (log, waiting) = mpsc::channel(ERRORS_WAITING_MAX);
    let import =
        Import { inner, progress, batch: Vec::new(), named: HashSet::new(), line: 0, count: 0, failed: 0, log };
    let (imported, written) = tokio::join!(import.files(input, files), write_log(inner, errors, waiting));
    let (lines, failed) = imported?;
    written.map_err(|error| format!("writing {ERROR_LOG}: {error}"))?;
    Ok((failed > 0).then(|| format!("{failed} of {lines} lines failed; see {ERROR_LOG}")))
}

/// Writes errors as they come; the file is begun with the first one.
async fn write_log(inner: &Inner, errors: &dyn Container, mut waiting: mpsc::Receiver<Bytes>) -> Result<(), String> {
    let Some(first) = waiting.next().await else { return Ok(()) };
    let pieces = stream::iter([first]).chain(waiting).map(Ok);
    errors.write(inner.clock.now(), ERROR_LOG, Box::pin(pieces)).await
}

/// What a file holds.
#[derive(Clone, Copy)]
enum Kind {
    Devices,
    Configurations,
}

struct Import<'a> {
    inner: &'a Inner,
    progress: &'a Progress,
    batch: Vec<BulkEntry>,
    named: HashSet<Identity>,
    /// Line of the file that is read.
    line: u64,
    /// Lines read of all files.
    count: u64,
    failed: u64,
    log: mpsc::Sender<Bytes>,
}

impl Import<'_> {
    /// Reads the files; says how many lines there were and how many failed.
    async fn files(mut self, input: &dyn Container, files: &Files) -> Result<(u64, u64), String> {
        self.read(input, &files.devices, Kind::Devices).await?;
        self.flush().await?;
        if let Some(name) = &files.configurations {
            self.read(input, name, Kind::Configurations).await?;
        }
        Ok((self.count, self.failed))
    }

    async fn read(&mut self, input: &dyn Container, name: &str, kind: Kind) -> Result<(), String> {
        let mut content = input.read(name).await?;
        let mut lines = Pieced::default();
        self.line = 0;
        while let Some(piece) = content.next().await {
            let piece = piece?;
            lines.feed(&piece);
            while let Some(line) = lines.next() {
                if self.progress.is_cancelled() {
                    return Err("cancelled".into());
                }
                self.take(line, kind).await?;
            }
            self.progress.add(piece.len() as u64);
        }
        match lines.last() {
            Some(line) => self.take(line, kind).await,
            None => Ok(()),
        }
    }

    async fn take(&mut self, line: Result<Bytes, TooLong>, kind: Kind) -> Result<(), String> {
        (self.line, self.count) = (self.line + 1, self.count + 1);
        let entry = match line {
            Ok(line) => {
                let text = line.trim_ascii();
                // A mark at the begin of the file is not part of the first line.
                let text = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text);
                if text.is_empty() {
                    return Ok(());
                }
                match kind {
                    Kind::Configurations => {
                        self.take_configuration(text).await;
                        return Ok(());
                    }
                    Kind::Devices => self.inner.lines.read_identity(text),
                }
            }
            Err(TooLong) => Err(self.inner.lines.refusal(HubError::Invalid("the line is too long".into()))),
        };
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                self.note(error, kind).await;
                return Ok(());
            }
        };
        // The second entry of an identity is carried out after the first.
        if self.batch.len() == BATCH_LEN_MAX || !self.named.insert(entry.identity.clone()) {
            self.flush().await?;
            self.named.insert(entry.identity.clone());
        }
        self.batch.push(entry);
        Ok(())
    }

    async fn take_configuration(&mut self, text: &[u8]) {
        let outcome = match self.inner.lines.read_configuration(text) {
            Ok(entry) => self.put(entry).await.map_err(|error| self.inner.lines.refusal(error)),
            Err(error) => Err(error),
        };
        if let Err(error) = outcome {
            self.note(error, Kind::Configurations).await;
        }
    }

    /// Creates a configuration, or replaces the one that is there.
    async fn put(&self, entry: ConfigurationEntry) -> Result<(), HubError> {
        let ConfigurationEntry { id, write, if_match } = entry;
        let (hub, now) = (&self.inner.hub, self.inner.clock.now());
        match hub.put_configuration(now, &id, write.clone(), &IfMatch::Absent).await {
            Err(HubError::Configuration(ConfigurationError::AlreadyExists(_))) => {}
            other => return other.map(drop),
        }
        hub.put_configuration(now, &id, write, &if_match).await.map(drop)
    }

    /// Logs what is wrong with the line that was read.
    async fn note(&mut self, error: LineError, kind: Kind) {
        let file = match kind {
            Kind::Devices => "devices",
            Kind::Configurations => "configurations",
        };
        let LineError { code, words } = error;
        self.log(&json!({ "file": file, "line": self.line, "errorCode": code, "errorStatus": words })).await;
    }

    async fn flush(&mut self) -> Result<(), String> {
        self.named.clear();
        let batch = std::mem::take(&mut self.batch);
        if batch.is_empty() {
            return Ok(());
        }
        let failures = self.inner.hub.bulk(self.inner.clock.now(), batch).await.map_err(|error| error.to_string())?;
        for BulkFailure { identity, mode, error } in failures {
            let LineError { code, words } = self.inner.lines.refusal(error);
            let error = json!({
                "deviceId": identity.device.as_str(),
                "moduleId": identity.module.as_ref().map(|module| module.as_str()),
                "errorCode": code,
                "errorStatus": words,
                "operation": mode.as_str(),
            });
            self.log(&error).await;
        }
        Ok(())
    }

    async fn log(&mut self, error: &Value) {
        self.failed += 1;
        // When the writer is gone, its own error is told at the end.
        let _ = self.log.send(format!("{error}\r\n").into()).await;
    }
}
