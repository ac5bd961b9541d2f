//! Reading the whole registry, a page at a time.

use gantry_identity::Identity;

use crate::error::HubError;
use crate::hub::Hub;
use crate::ports::{Filter, Record, Search};

/// Identities in one page.
pub const EXPORT_PAGE: usize = 500;

impl Hub {
    /// The next devices (`modules` false) or modules after one of them, in order of id, at most [`EXPORT_PAGE`].
    ///
    /// # Errors
    /// When the store fails.
    pub async fn identities_after(&self, modules: bool, after: Option<&Identity>) -> Result<Vec<Record>, HubError> {
        Ok(self.store.records(modules, after, EXPORT_PAGE).await?)
    }

    /// Records that may satisfy a search, after one of them in order of id: all that do, and perhaps others.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn find_devices(
        &self,
        search: Search,
        after: Option<Identity>,
        limit: usize,
    ) -> Result<Vec<Record>, HubError> {
        Ok(self.store.find(search, after, limit).await?)
    }

    /// Those of them that a filter accepts, at most `limit`, and after which more may follow. What a filter looks at is
    /// read without the rest of a record where the store can.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn find_devices_where(
        &self,
        search: Search,
        filter: Filter,
        after: Option<Identity>,
        limit: usize,
    ) -> Result<(Vec<Record>, Option<Identity>), HubError> {
        Ok(self.store.find_where(search, filter, after, limit).await?)
    }
}
