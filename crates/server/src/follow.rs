//! Following the event log from a saved place.

use std::sync::Arc;

use gantry_hub::ports::{CheckpointError, Checkpoints};

/// A checkpoint this process holds, until somebody else takes it.
#[derive(Clone)]
pub struct Checkpoint {
    checkpoints: Arc<dyn Checkpoints>,
    name: String,
    epoch: u64,
}

impl Checkpoint {
    /// Takes it from whoever held it.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn take(checkpoints: Arc<dyn Checkpoints>, name: String) -> Result<Self, CheckpointError> {
        let epoch = checkpoints.take(&name).await?;
        Ok(Self { checkpoints, name, epoch })
    }

    /// What was put last.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn get(&self) -> Result<Option<Vec<u8>>, CheckpointError> {
        self.checkpoints.get(&self.name).await
    }

    /// Replaces it; durable when this returns.
    ///
    /// # Errors
    /// When somebody took it since, or the store fails.
    pub async fn put(&self, bytes: Vec<u8>) -> Result<(), CheckpointError> {
        self.checkpoints.put(&self.name, self.epoch, bytes).await
    }

    /// Removes it.
    ///
    /// # Errors
    /// When somebody took it since, or the store fails.
    pub async fn remove(self) -> Result<(), CheckpointError> {
        self.checkpoints.remove(&self.name, self.epoch).await
    }
}
