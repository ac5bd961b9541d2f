//! Documents by collection.

use gantry_hub::ports::{Changes, Collection, Documents, PortFuture, StoreError};

use super::Memory;

impl Documents for Memory {
    fn all(&self, collection: &'static str) -> PortFuture<'_, Collection, StoreError> {
        self.run(move |state| Ok(state.documents.get(collection).cloned().unwrap_or_default()))
    }

    fn put(&self, changes: Vec<Changes>) -> PortFuture<'_, (), StoreError> {
        self.run(move |state| {
            let version = |name| state.documents.get(name).map_or(0, |collection: &Collection| collection.version);
            if changes.iter().any(|change| version(change.collection) != change.version) {
                return Err(StoreError::Conflict);
            }
            for Changes { collection, documents, .. } in changes {
                let collection = state.documents.entry(collection).or_default();
                collection.version += 1;
                for (id, text) in documents {
                    collection.documents.retain(|(other, _)| *other != id);
                    collection.documents.extend(text.map(|text| (id, text)));
                }
                collection.documents.sort();
            }
            Ok(())
        })
    }
}
