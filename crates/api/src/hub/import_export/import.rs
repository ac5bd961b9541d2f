//! Import: one entry a line, carried out as `POST /devices` does. Lines that fail are in `importErrors.log`.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use futures::channel::mpsc;
use futures::{SinkExt as _, StreamExt as _};
use gantry_blobs::{BlobError, Place};
use gantry_hub::bulk::{BulkEntry, BulkFailure};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::jobs::{Files, Inner, Progress};
use super::lines::{Lines, TooLong};
use crate::error::ApiError;
use crate::hub::bulk::ImportBody;
use crate::hub::{bodies, configurations};
use crate::now;

const ERROR_LOG: &str = "importErrors.log";
/// Entries carried out together; their writes share commits.
const BATCH_LEN_MAX: usize = 2000;
/// Errors on their way into the log.
const ERRORS_WAITING_MAX: usize = 64;

/// Says how many lines failed, if any.
pub(super) async fn run(
    inner: &Arc<Inner>,
    input: &Place,
    files: &Files,
    errors: Place,
    progress: &Progress,
) -> Result<Option<String>, String> {
    let stat = input.stat(&files.devices).await.map_err(|error| error.to_string())?;
    progress.expect(stat.length);
    let log = ErrorLog::new(errors);
    let mut import = Import { inner, progress, batch: Vec::new(), named: HashSet::new(), line: 0, count: 0, log };
    import.read(input, &files.devices, Kind::Devices).await?;
    import.flush().await?;
    if let Some(name) = &files.configurations {
        import.read(input, name, Kind::Configurations).await?;
    }
    let (lines, failed) = (import.count, import.log.end().await?);
    Ok((failed > 0).then(|| format!("{failed} of {lines} lines failed; see {ERROR_LOG}")))
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
    named: HashSet<gantry_identity::Identity>,
    /// Line of the file that is read.
    line: u64,
    /// Lines read of all files.
    count: u64,
    log: ErrorLog,
}

impl Import<'_> {
    async fn read(&mut self, input: &Place, name: &str, kind: Kind) -> Result<(), String> {
        let words = |error: BlobError| error.to_string();
        let mut content = input.read(name).await.map_err(words)?;
        let mut lines = Lines::default();
        self.line = 0;
        while let Some(piece) = content.next().await {
            let piece = piece.map_err(words)?;
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
                if matches!(kind, Kind::Configurations) {
                    let imported = configurations::import(&self.inner.hub, text).await;
                    return self.note(imported.err(), kind).await;
                }
                bodies::parse(text).and_then(ImportBody::read).and_then(ImportBody::entry)
            }
            Err(TooLong) => Err(ApiError::invalid("the line is too long")),
        };
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => return self.note(Some(error), kind).await,
        };
        // The second entry of an identity is carried out after the first.
        if self.batch.len() == BATCH_LEN_MAX || !self.named.insert(entry.identity.clone()) {
            self.flush().await?;
            self.named.insert(entry.identity.clone());
        }
        self.batch.push(entry);
        Ok(())
    }

    /// Logs what is wrong with the line that was read.
    async fn note(&mut self, error: Option<ApiError>, kind: Kind) -> Result<(), String> {
        let Some(error) = error else { return Ok(()) };
        let file = match kind {
            Kind::Devices => "devices",
            Kind::Configurations => "configurations",
        };
        let (code, words) = (error.name(), error.words());
        let error = json!({ "file": file, "line": self.line, "errorCode": code, "errorStatus": words });
        self.log.add(&error).await
    }

    async fn flush(&mut self) -> Result<(), String> {
        self.named.clear();
        let batch = std::mem::take(&mut self.batch);
        if batch.is_empty() {
            return Ok(());
        }
        let failures = self.inner.hub.bulk(now(), batch).await.map_err(|error| error.to_string())?;
        for failure in failures {
            self.log.add(&described(failure)).await?;
        }
        Ok(())
    }
}

fn described(failure: BulkFailure) -> Value {
    let BulkFailure { identity, mode, error } = failure;
    let error = ApiError::from(error);
    json!({
        "deviceId": identity.device.as_str(),
        "moduleId": identity.module.as_ref().map(|module| module.as_str()),
        "errorCode": error.name(),
        "errorStatus": error.words(),
        "operation": mode.as_str(),
    })
}

/// Where errors go in, and the task that writes them.
type Writing = (mpsc::Sender<Result<Bytes, BlobError>>, JoinHandle<Result<(), BlobError>>);

/// Writes errors as they come; the blob is begun with the first one.
struct ErrorLog {
    place: Place,
    writing: Option<Writing>,
    count: u64,
}

impl ErrorLog {
    fn new(place: Place) -> Self {
        Self { place, writing: None, count: 0 }
    }

    async fn add(&mut self, error: &Value) -> Result<(), String> {
        self.count += 1;
        let place = &self.place;
        let (sender, _) = self.writing.get_or_insert_with(|| {
            let (sender, receiver) = mpsc::channel(ERRORS_WAITING_MAX);
            let place = place.clone();
            let task = tokio::spawn(async move { place.write(ERROR_LOG, receiver, "text/plain", now()).await });
            (sender, task)
        });
        // When the writer is gone, its own error is told at the end.
        let _ = sender.send(Ok(format!("{error}\r\n").into())).await;
        Ok(())
    }

    async fn end(self) -> Result<u64, String> {
        if let Some((sender, task)) = self.writing {
            drop(sender);
            let written = task.await.map_err(|error| error.to_string())?;
            written.map_err(|error| format!("writing {ERROR_LOG}: {error}"))?;
        }
        Ok(self.count)
    }
}
