//! Checkpoints beside the event log. Each call goes to the disk, on a thread that may wait for it.

use std::sync::Arc;

use gantry_eventlog::CheckpointError as Error;
use gantry_hub::ports::{CheckpointError, Checkpoints, PortFuture};

use crate::Events;

impl Events {
    fn checkpoint<'a, T: Send + 'static>(
        &self,
        name: &str,
        work: impl FnOnce(&gantry_eventlog::Checkpoints, &str) -> Result<T, Error> + Send + 'static,
    ) -> PortFuture<'a, T, CheckpointError> {
        let (checkpoints, name) = (Arc::clone(self.checkpoints()), name.to_owned());
        Box::pin(async move {
            match tokio::task::spawn_blocking(move || work(&checkpoints, &name)).await {
                Ok(Ok(value)) => Ok(value),
                Ok(Err(Error::Taken { .. })) => Err(CheckpointError::Taken),
                Ok(Err(Error::Damaged { .. })) => Err(CheckpointError::Damaged),
                Ok(Err(Error::Io(error))) => Err(CheckpointError::Failed(error.to_string())),
                Ok(Err(error)) => Err(CheckpointError::Failed(error.to_string())),
                Err(error) => Err(CheckpointError::Failed(error.to_string())),
            }
        })
    }
}

impl Checkpoints for Events {
    fn take<'a>(&'a self, name: &'a str) -> PortFuture<'a, u64, CheckpointError> {
        self.checkpoint(name, |checkpoints, name| checkpoints.take(name))
    }

    fn get<'a>(&'a self, name: &'a str) -> PortFuture<'a, Option<Vec<u8>>, CheckpointError> {
        self.checkpoint(name, |checkpoints, name| checkpoints.get(name))
    }

    fn put<'a>(&'a self, name: &'a str, epoch: u64, bytes: Vec<u8>) -> PortFuture<'a, (), CheckpointError> {
        self.checkpoint(name, move |checkpoints, name| checkpoints.put(name, epoch, &bytes))
    }

    fn remove<'a>(&'a self, name: &'a str, epoch: u64) -> PortFuture<'a, (), CheckpointError> {
        self.checkpoint(name, move |checkpoints, name| checkpoints.remove(name, epoch))
    }
}
