//! How much a job holds, against its limits.

use crate::codec::{Read, Reader, Writer};
use crate::error::Failure;
use crate::job::Limits;

/// What is held now.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    limits: Limits,
    events: usize,
    groups: usize,
    bytes: usize,
}

/// A part of what is held.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Share {
    pub events: usize,
    pub groups: usize,
    pub bytes: usize,
}

impl Share {
    pub(crate) fn event(bytes: usize) -> Share {
        Share { events: 1, groups: 0, bytes }
    }

    pub(crate) fn group(bytes: usize) -> Share {
        Share { events: 0, groups: 1, bytes }
    }

    pub(crate) fn bytes(bytes: usize) -> Share {
        Share { events: 0, groups: 0, bytes }
    }
}

impl Held {
    pub(crate) fn new(limits: Limits) -> Held {
        Held { limits, events: 0, groups: 0, bytes: 0 }
    }

    /// Takes a share, unless it is more than there is.
    pub(crate) fn take(&mut self, share: Share) -> Result<(), Failure> {
        self.events += share.events;
        self.groups += share.groups;
        self.bytes += share.bytes;
        let full = |what, limit| Err(Failure::Full { what, limit });
        if self.events > self.limits.events {
            full("events", self.limits.events)
        } else if self.groups > self.limits.groups {
            full("groups", self.limits.groups)
        } else if self.bytes > self.limits.bytes {
            full("bytes", self.limits.bytes)
        } else {
            Ok(())
        }
    }

    /// Gives a share back.
    pub(crate) fn give(&mut self, share: Share) {
        self.events = self.events.saturating_sub(share.events);
        self.groups = self.groups.saturating_sub(share.groups);
        self.bytes = self.bytes.saturating_sub(share.bytes);
    }

    /// Whether so many rows of one instant are too many.
    pub(crate) fn check_rows(&self, rows: usize) -> Result<(), Failure> {
        if rows > self.limits.events {
            return Err(Failure::Full { what: "events", limit: self.limits.events });
        }
        Ok(())
    }

    pub(crate) fn usage(&self) -> (usize, usize, usize) {
        (self.events, self.groups, self.bytes)
    }

    pub(crate) fn write(&self, writer: &mut Writer) {
        writer.size(self.events);
        writer.size(self.groups);
        writer.size(self.bytes);
    }

    pub(crate) fn read(&mut self, reader: &mut Reader<'_>) -> Read<()> {
        self.events = reader.size()?;
        self.groups = reader.size()?;
        self.bytes = reader.size()?;
        Ok(())
    }
}
