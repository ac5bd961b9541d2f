//! What an owner makes of its collections of documents: read at start, kept in memory, written with compare-and-swap.
//!
//! Others may write the same collections. A change is worked out on what was read last; when somebody wrote since, all
//! is read again and the change worked out anew, whether it was to be written or refused. That also mends what a change
//! leaves behind whose caller went away before it heard that it was written.

use std::sync::Arc;

use parking_lot::RwLock;

use crate::ports::{Changes, Collection, Documents, StoreError};

type Read<T> = Box<dyn Fn(Vec<Collection>) -> Result<T, StoreError> + Send + Sync>;

/// How often a change is worked out before its caller is told that others were quicker. Each time, another wrote; one that
/// writes much in a row is quicker than one that has to read first, dozens of times when the machine is busy.
const ATTEMPTS: usize = 1_000;

/// New texts of documents by id, or `None` for those that are deleted.
pub type Edits = Vec<(String, Option<String>)>;

/// What a change makes of what is owned.
pub struct Changed<T, R> {
    /// What is written of each collection, in their order; missing ones at the end stay as they are.
    pub edits: Vec<Edits>,
    /// What is in memory from then on.
    pub next: T,
    /// What the caller hears.
    pub said: R,
}

/// What collections say, and the way to change it.
pub struct Owned<T> {
    documents: Arc<dyn Documents>,
    collections: Vec<&'static str>,
    read: Read<T>,
    current: RwLock<Arc<T>>,
    /// Versions of the collections. Held over a change, so that changes of this process do not meet.
    versions: tokio::sync::Mutex<Vec<u64>>,
}

impl<T> Owned<T> {
    /// Reads collections.
    ///
    /// # Errors
    /// When the store fails or they cannot be read.
    pub async fn load(
        documents: Arc<dyn Documents>,
        collections: Vec<&'static str>,
        read: impl Fn(Vec<Collection>) -> Result<T, StoreError> + Send + Sync + 'static,
    ) -> Result<Self, StoreError> {
        let (versions, all) = fetch(&*documents, &collections).await?;
        let current = RwLock::new(Arc::new(read(all)?));
        let versions = tokio::sync::Mutex::new(versions);
        Ok(Self { documents, collections, read: Box::new(read), current, versions })
    }

    /// As it is now.
    pub fn current(&self) -> Arc<T> {
        Arc::clone(&self.current.read())
    }

    /// Writes what `change` makes of it, once more if somebody else was quicker.
    ///
    /// # Errors
    /// Those of `change`, and of the store: [`StoreError::Conflict`] when others were quicker every time.
    pub async fn change<R, E: From<StoreError>>(
        &self,
        mut change: impl FnMut(&T) -> Result<Changed<T, R>, E>,
    ) -> Result<R, E> {
        let mut versions = self.versions.lock().await;
        for _ in 0..ATTEMPTS {
            let changed = change(&self.current());
            let Changed { mut edits, next, said } = match changed {
                Ok(changed) => changed,
                Err(refusal) => {
                    // Nobody is refused for what is true no more.
                    if self.renew(&mut versions).await? {
                        continue;
                    }
                    return Err(refusal);
                }
            };
            edits.resize(self.collections.len(), vec![]);
            let places = self.collections.iter().zip(versions.iter()).zip(edits);
            let changes = places
                .map(|((collection, version), documents)| Changes { collection, version: *version, documents })
                .collect();
            match self.documents.put(changes).await {
                Ok(()) => {
                    versions.iter_mut().for_each(|version| *version += 1);
                    *self.current.write() = Arc::new(next);
                    return Ok(said);
                }
                Err(StoreError::Conflict) => {
                    self.renew(&mut versions).await?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(StoreError::Conflict.into())
    }

    /// Reads everything again; says whether somebody had written.
    async fn renew(&self, versions: &mut Vec<u64>) -> Result<bool, StoreError> {
        let (read, all) = fetch(&*self.documents, &self.collections).await?;
        if *versions == read {
            return Ok(false);
        }
        *self.current.write() = Arc::new((self.read)(all)?);
        *versions = read;
        Ok(true)
    }
}

async fn fetch(
    documents: &dyn Documents,
    collections: &[&'static str],
) -> Result<(Vec<u64>, Vec<Collection>), StoreError> {
    let mut all = Vec::with_capacity(collections.len());
    for collection in collections {
        all.push(documents.all(collection).await?);
    }
    Ok((all.iter().map(|collection| collection.version).collect(), all))
}
