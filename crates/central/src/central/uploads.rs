//! Where devices upload files to: its writes.

use std::sync::Arc;

use gantry_hub::device::IfMatch;

use super::{Central, CentralError, State, Write};
use crate::file_uploads::{FileUploads, FileUploadsError};
use crate::ids::Single;
use crate::kept::Kept;

impl State {
    /// Where devices upload files to, if anywhere.
    #[must_use]
    pub fn file_uploads(&self) -> Option<&Arc<Kept<FileUploads>>> {
        self.uploads.get(&Single)
    }
}

impl Central {
    /// Says where devices upload files to. A key that is hidden is the one that is there; `check` says in words why
    /// what it becomes cannot be used.
    ///
    /// # Errors
    /// [`CentralError`].
    pub async fn put_file_uploads(
        &self,
        write: Write<'_>,
        new: &FileUploads,
        check: impl Fn(&FileUploads) -> Result<(), String>,
    ) -> Result<Arc<Kept<FileUploads>>, CentralError> {
        let made = |state: &State| {
            let kept = state.file_uploads().map(|kept| &kept.value);
            let new = new.clone().with_secrets(kept)?;
            check(&new).map_err(FileUploadsError::Unusable)?;
            Ok(new)
        };
        self.put_made(write, &Single, made).await
    }

    /// Devices upload files nowhere from now on.
    ///
    /// # Errors
    /// [`FileUploadsError::Unknown`](crate::file_uploads::FileUploadsError::Unknown) among others.
    pub async fn delete_file_uploads(&self, if_match: &IfMatch) -> Result<(), CentralError> {
        self.delete::<FileUploads>(&Single, if_match, |_| Ok(())).await
    }
}
