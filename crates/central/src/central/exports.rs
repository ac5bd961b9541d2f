//! Exports of data and their destinations: their writes.

use std::sync::Arc;

use gantry_hub::device::IfMatch;

use super::{Central, CentralError, State, Write};
use crate::exports::destinations::{self, Destination, DestinationError};
use crate::exports::{self, Export};
use crate::ids::{DestinationId, ExportId};
use crate::kept::Kept;

impl Central {
    /// Makes or replaces a destination. A secret that is hidden is the one that is there, if it goes where it went.
    ///
    /// # Errors
    /// [`CentralError`].
    pub async fn put_destination(
        &self,
        write: Write<'_>,
        id: &DestinationId,
        new: &Destination,
    ) -> Result<Arc<Kept<Destination>>, CentralError> {
        let made = |state: &State| {
            let kept = state.destinations.get(id).map(|kept| &kept.value);
            let new = new.clone().with_secrets(kept).map_err(DestinationError::from)?;
            destinations::check_put(&state.destinations, id, &new)?;
            Ok(new)
        };
        self.put_made(write, id, made).await
    }

    /// Deletes a destination that no export sends to.
    ///
    /// # Errors
    /// [`DestinationError::InUse`] among others.
    pub async fn delete_destination(&self, id: &DestinationId, if_match: &IfMatch) -> Result<(), CentralError> {
        let check = |state: &State| match exports::of_destination(&state.exports, id).next() {
            Some((export, _)) => Err(DestinationError::InUse { id: id.clone(), export: export.clone() }.into()),
            None => Ok(()),
        };
        self.delete::<Destination>(id, if_match, check).await
    }

    /// Makes or replaces an export. What it is sent to from now on gets what happens from now on.
    ///
    /// # Errors
    /// [`CentralError`].
    pub async fn put_export(
        &self,
        write: Write<'_>,
        id: &ExportId,
        new: &Export,
    ) -> Result<Arc<Kept<Export>>, CentralError> {
        let made = |state: &State| {
            exports::check_put(&state.exports, &state.destinations, id, new)?;
            let before = state.exports.get(id).map(|kept| &kept.value);
            Ok(new.clone().begun(before, write.now))
        };
        self.put_made(write, id, made).await
    }

    /// Deletes an export; its destinations stay.
    ///
    /// # Errors
    /// [`exports::ExportError::Unknown`] among others.
    pub async fn delete_export(&self, id: &ExportId, if_match: &IfMatch) -> Result<(), CentralError> {
        self.delete::<Export>(id, if_match, |_| Ok(())).await
    }
}
