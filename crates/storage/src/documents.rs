//! JSON documents by collection and id: settings of the platform and state of the application.
//!
//! The owner of a collection owns the shape of its documents. Table `collections` has the version of those that were
//! written since there are versions; a missing row is version 0.

use gantry_hub::ports::{Changes, Collection, Documents, PortFuture, StoreError};
use rusqlite::{Connection, OptionalExtension as _, params};

use crate::database::{Database, fail};

pub(crate) const TABLES: &str = "
CREATE TABLE collections(name TEXT NOT NULL PRIMARY KEY, version INTEGER NOT NULL) WITHOUT ROWID;
";

impl Documents for Database {
    fn all(&self, collection: &'static str) -> PortFuture<'_, Collection, StoreError> {
        Box::pin(async move {
            self.read(|connection| {
                // One statement, so that the documents are those of the version.
                let sql = "SELECT v.version, d.id, d.document
                           FROM (SELECT COALESCE((SELECT version FROM collections WHERE name = ?1), 0) AS version) v
                           LEFT JOIN documents d ON d.collection = ?1 ORDER BY d.id";
                let mut statement = connection.prepare_cached(sql)?;
                let mut rows = statement.query([collection])?;
                let mut all = Collection::default();
                while let Some(row) = rows.next()? {
                    all.version = row.get::<_, i64>(0)?.cast_unsigned();
                    all.documents.extend(row.get::<_, Option<String>>(1)?.zip(row.get::<_, Option<String>>(2)?));
                }
                Ok(all)
            })
        })
    }

    fn put(&self, changes: Vec<Changes>) -> PortFuture<'_, (), StoreError> {
        Box::pin(self.write(move |connection| {
            for Changes { collection, version, .. } in &changes {
                if stored_version(connection, collection).map_err(fail)? != *version {
                    return Err(StoreError::Conflict);
                }
            }
            changes.iter().try_for_each(|changes| write(connection, changes)).map_err(fail)
        }))
    }
}

fn stored_version(connection: &Connection, collection: &str) -> rusqlite::Result<u64> {
    let mut statement = connection.prepare_cached("SELECT version FROM collections WHERE name = ?1")?;
    let version = statement.query_row([collection], |row| row.get::<_, i64>(0)).optional()?;
    Ok(version.unwrap_or(0).cast_unsigned())
}

fn write(connection: &Connection, changes: &Changes) -> rusqlite::Result<()> {
    let Changes { collection, version, documents } = changes;
    let sql = "INSERT OR REPLACE INTO collections(name, version) VALUES (?1, ?2)";
    connection.prepare_cached(sql)?.execute(params![collection, (version + 1).cast_signed()])?;
    for (id, document) in documents {
        match document {
            Some(text) => {
                let sql = "INSERT OR REPLACE INTO documents(collection, id, document) VALUES (?1, ?2, ?3)";
                connection.prepare_cached(sql)?.execute(params![collection, id, text])?
            }
            None => {
                let sql = "DELETE FROM documents WHERE collection = ?1 AND id = ?2";
                connection.prepare_cached(sql)?.execute(params![collection, id])?
            }
        };
    }
    Ok(())
}
