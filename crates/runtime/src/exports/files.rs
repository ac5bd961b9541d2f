//! Messages gathered into files of a container: a file a minute, a message a line.
//!
//! Name: `{application}/{partition}/{YYYY}/{MM}/{dd}/{hh}/{mm}/{number of the first event}.json`, with the minute in
//! which it was begun.

use std::sync::Arc;

use anyhow::{Context as _, bail};
use gantry_blobs::{BlobError, Blobs, ContainerName, Place};
use gantry_central::exports::destinations::BlobAuthorization;
use gantry_endpoints::export::NotSent;
use gantry_hub::delivery::DeliveryError;
use gantry_identity::{Key, Timestamp};

use crate::blobs::StorageAccount;

/// How long a file is gathered.
const GATHERED_MS: i64 = 60_000;
/// A file is not made larger, but for its last message.
const FILE_BYTES_MAX: usize = 16 << 20;
/// Names tried: a restart may meet its own files.
const NAMES_MAX: u32 = 100;

pub(super) struct Files {
    place: Place,
    prefix: String,
    gathered: Option<Gathered>,
}

struct Gathered {
    begun: Timestamp,
    first: u64,
    lines: String,
}

impl Files {
    /// A container of an account, which may be our own.
    pub(super) fn new(
        authorization: &BlobAuthorization,
        blobs: &Arc<Blobs>,
        application: &str,
        partition: u16,
    ) -> anyhow::Result<Self> {
        let BlobAuthorization::ConnectionString { connection_string, container_name } = authorization else {
            bail!("managed identities are not implemented");
        };
        let text = String::from(connection_string.clone());
        let account = StorageAccount::parse(&text).context("the connection string")?;
        let own = blobs.account();
        let key = Key::from_base64(&account.key).context("AccountKey")?;
        let is_own = account.name == own.name && (key == own.keys.primary || key == own.keys.secondary);
        let place = if is_own {
            Place::Own(Arc::clone(blobs), ContainerName::parse(container_name).context("containerName")?)
        } else {
            Place::Elsewhere(account.container(container_name)?)
        };
        Ok(Self { place, prefix: format!("{application}/{partition}"), gathered: None })
    }

    pub(super) fn push(&mut self, now: Timestamp, sequence_number: u64, line: &str) {
        let gathered =
            self.gathered.get_or_insert_with(|| Gathered { begun: now, first: sequence_number, lines: String::new() });
        gathered.lines.push_str(line);
        gathered.lines.push('\n');
    }

    pub(super) fn is_empty(&self) -> bool {
        self.gathered.is_none()
    }

    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        self.gathered.as_ref().is_some_and(|gathered| {
            now.as_millis() - gathered.begun.as_millis() >= GATHERED_MS || gathered.lines.len() >= FILE_BYTES_MAX
        })
    }

    /// Writes what is gathered.
    pub(super) async fn write(&mut self, now: Timestamp) -> Result<(), NotSent> {
        let Some(gathered) = &self.gathered else { return Ok(()) };
        for attempt in 0..NAMES_MAX {
            let name = name(&self.prefix, gathered, attempt);
            let content = gathered.lines.clone().into_bytes();
            match self.place.create(&name, content.into(), "application/json", now).await {
                Ok(()) => {
                    self.gathered = None;
                    return Ok(());
                }
                Err(BlobError::BlobExists) => {}
                Err(error) => return Err(NotSent::unreachable(DeliveryError::Again(error.to_string()))),
            }
        }
        Err(NotSent::unreachable(DeliveryError::Again("every name of this file is taken".into())))
    }
}

fn name(prefix: &str, gathered: &Gathered, attempt: u32) -> String {
    let at = gathered.begun.to_string();
    let minute: Vec<_> = at.split(['-', 'T', ':']).take(5).collect();
    let more = if attempt == 0 { String::new() } else { format!("-{attempt}") };
    format!("{prefix}/{}/{}{more}.json", minute.join("/"), gathered.first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_named_after_its_minute_and_first_event() {
        let begun = Timestamp::from_millis(1_767_225_690_123);
        let gathered = Gathered { begun, first: 77, lines: String::new() };
        assert_eq!(name("app/3", &gathered, 0), "app/3/2026/01/01/00/01/77.json");
        assert_eq!(name("app/3", &gathered, 2), "app/3/2026/01/01/00/01/77-2.json");
    }
}
