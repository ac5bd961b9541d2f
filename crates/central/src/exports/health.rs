//! How exports fare: known to whoever sends, not kept.

use std::collections::BTreeMap;

use gantry_identity::Timestamp;
use parking_lot::Mutex;

use super::Status;
use crate::ids::{DestinationId, ExportId};

/// What went wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// The published code: `InvalidResponse` of a server that answered no, `Unreachable` of one that did not answer,
    /// `TransformError` of a program.
    pub code: &'static str,
    /// In words, without secrets.
    pub message: String,
}

/// How an export fares at a destination.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Fares {
    /// Whether it tried already.
    has_begun: bool,
    /// What went wrong with the last attempt.
    fault: Option<Fault>,
    /// When something arrived last.
    arrived: Option<Timestamp>,
}

/// How all of them fare, at all destinations.
#[derive(Default)]
pub struct Health(Mutex<BTreeMap<(ExportId, DestinationId), Fares>>);

/// In the published words.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Said {
    /// The status.
    pub status: Status,
    /// What went wrong.
    pub faults: Vec<Fault>,
    /// When something arrived last.
    pub arrived: Option<Timestamp>,
}

impl Health {
    /// An attempt worked or not.
    pub fn note(&self, export: &ExportId, destination: &DestinationId, now: Timestamp, outcome: Result<(), Fault>) {
        let mut all = self.0.lock();
        let fares = all.entry((export.clone(), destination.clone())).or_default();
        fares.has_begun = true;
        match outcome {
            Ok(()) => (fares.arrived, fares.fault) = (Some(now), None),
            Err(fault) => fares.fault = Some(fault),
        }
    }

    /// Nothing is sent there any more.
    pub fn forget(&self, export: &ExportId, destination: &DestinationId) {
        self.0.lock().remove(&(export.clone(), destination.clone()));
    }

    /// How an export fares, everywhere together.
    pub fn of_export(&self, id: &ExportId, enabled: bool) -> Said {
        if !enabled {
            return Said { status: Status::NotStarted, faults: vec![], arrived: None };
        }
        said(self.0.lock().iter().filter(|((export, _), _)| export == id).map(|(_, fares)| fares), Status::Starting)
    }

    /// How a destination fares with all exports together.
    pub fn of_destination(&self, id: &DestinationId) -> Said {
        let all = self.0.lock();
        said(all.iter().filter(|((_, destination), _)| destination == id).map(|(_, fares)| fares), Status::Waiting)
    }
}

fn said<'a>(all: impl Iterator<Item = &'a Fares>, before: Status) -> Said {
    let mut said = Said { status: before, faults: vec![], arrived: None };
    let mut is_healthy = false;
    for fares in all {
        said.faults.extend(fares.fault.clone());
        said.arrived = said.arrived.max(fares.arrived);
        is_healthy |= fares.has_begun;
    }
    if !said.faults.is_empty() {
        said.status = Status::Error;
    } else if is_healthy {
        said.status = Status::Healthy;
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_follow_what_happened() {
        let (health, export) = (Health::default(), ExportId::parse("e1").unwrap());
        let to = |id: &str| DestinationId::parse(id).unwrap();
        let status = || health.of_export(&export, true).status;
        assert_eq!(health.of_export(&export, false).status, Status::NotStarted);
        assert_eq!((status(), health.of_destination(&to("d1")).status), (Status::Starting, Status::Waiting));
        health.note(&export, &to("d1"), Timestamp::from_millis(5), Ok(()));
        assert_eq!(status(), Status::Healthy);
        let fault = Fault { code: "InvalidResponse", message: "answered 404".to_owned() };
        health.note(&export, &to("d2"), Timestamp::from_millis(6), Err(fault.clone()));
        let said = health.of_export(&export, true);
        let arrived = Some(Timestamp::from_millis(5));
        assert_eq!(said, Said { status: Status::Error, faults: vec![fault], arrived });
        assert_eq!(health.of_destination(&to("d1")).status, Status::Healthy);
        health.forget(&export, &to("d2"));
        assert_eq!(status(), Status::Healthy);
    }
}
