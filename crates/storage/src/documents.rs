//! JSON documents by collection and id: settings of the platform and state of the application.
//!
//! The owner of a collection owns the shape of its documents.

use gantry_hub::ports::{Change, Documents, PortFuture, StoreError};
use rusqlite::{OptionalExtension as _, params};

use crate::database::{Database, fail};

impl Database {
    /// One document.
    ///
    /// # Errors
    /// When the store fails.
    pub fn document(&self, collection: &str, id: &str) -> Result<Option<String>, StoreError> {
        let sql = "SELECT document FROM documents WHERE collection = ?1 AND id = ?2";
        self.read(|connection| {
            connection.prepare_cached(sql)?.query_row(params![collection, id], |row| row.get(0)).optional()
        })
    }

    /// All documents of a collection with their ids, in order of id.
    ///
    /// # Errors
    /// When the store fails.
    pub fn documents(&self, collection: &str) -> Result<Vec<(String, String)>, StoreError> {
        let sql = "SELECT id, document FROM documents WHERE collection = ?1 ORDER BY id";
        self.read(|connection| {
            let mut statement = connection.prepare_cached(sql)?;
            let rows = statement.query_map(params![collection], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect()
        })
    }

    /// Writes documents of a collection in one transaction; `None` deletes. Durable when it resolves.
    ///
    /// # Errors
    /// When the store fails; nothing is written then.
    pub async fn put_documents(
        &self,
        collection: &'static str,
        documents: Vec<(String, Option<String>)>,
    ) -> Result<(), StoreError> {
        self.put_changes(documents.into_iter().map(|(id, document)| (collection, id, document)).collect()).await
    }

    /// As [`put_documents`](Self::put_documents), over several collections.
    ///
    /// # Errors
    /// When the store fails; nothing is written then.
    pub async fn put_changes(&self, changes: Vec<Change>) -> Result<(), StoreError> {
        self.write(move |connection| {
            for (collection, id, document) in changes {
                match document {
                    Some(text) => {
                        let sql = "INSERT OR REPLACE INTO documents(collection, id, document) VALUES (?1, ?2, ?3)";
                        connection.prepare_cached(sql).and_then(|mut s| s.execute(params![collection, id, text]))
                    }
                    None => {
                        let sql = "DELETE FROM documents WHERE collection = ?1 AND id = ?2";
                        connection.execute(sql, params![collection, id])
                    }
                }
                .map_err(fail)?;
            }
            Ok(())
        })
        .await
    }
}

impl Documents for Database {
    fn all(&self, collection: &'static str) -> Result<Vec<(String, String)>, StoreError> {
        self.documents(collection)
    }

    fn put(&self, changes: Vec<Change>) -> PortFuture<'_, (), StoreError> {
        Box::pin(self.put_changes(changes))
    }
}
