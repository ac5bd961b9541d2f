//! The catalogue of the blob store.
//!
//! - `blob_containers`: one row a container. A deleted one has lost its name and waits until `expire`
//!   has let go of its blobs.
//! - `blobs`: committed blobs; `document` is a [`BlobShape`].
//! - `blob_parts`: the parts of blobs (`committed` 1, `start` where the part begins in the blob) and
//!   blocks put since (`committed` 0, `start` 0), in order of `position`. `block_id` is empty for a
//!   blob put in one piece.
//! - `blob_garbage`: objects nothing names any more, and since when.
//! - `blob_sequence`: the last ETag given out.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use gantry_blobs::blob::{
    self, Blob, Block, Container, Draft, ETag, Metadata, ObjectId, Part, Properties, UNCOMMITTED_MAX, Which,
};
use gantry_blobs::conditions::{Conditions, Current};
use gantry_blobs::ports::{BlobAddress, BlockLists, Catalogue, CatalogueFuture, Placed};
use gantry_blobs::{BlobError, BlobName, ContainerName};
use gantry_hub::ports::StoreError;
use gantry_identity::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde::{Deserialize, Serialize};

use crate::database::{Database, fail};

/// Tables of the blob store.
pub(crate) const TABLES: &str = "
CREATE TABLE blob_containers(
  id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE, etag INTEGER NOT NULL, modified_at INTEGER NOT NULL,
  metadata TEXT NOT NULL);
CREATE TABLE blobs(
  container INTEGER NOT NULL, name TEXT NOT NULL, etag INTEGER NOT NULL, length INTEGER NOT NULL,
  created_at INTEGER NOT NULL, modified_at INTEGER NOT NULL, document TEXT NOT NULL,
  PRIMARY KEY(container, name)) WITHOUT ROWID;
CREATE TABLE blob_parts(
  container INTEGER NOT NULL, name TEXT NOT NULL, committed INTEGER NOT NULL, position INTEGER NOT NULL,
  block_id TEXT NOT NULL, object TEXT NOT NULL, start INTEGER NOT NULL, length INTEGER NOT NULL,
  put_at INTEGER NOT NULL, PRIMARY KEY(container, name, committed, position)) WITHOUT ROWID;
CREATE INDEX blob_parts_by_block ON blob_parts(container, name, committed, block_id);
CREATE INDEX blob_parts_by_object ON blob_parts(object);
CREATE INDEX blob_parts_by_age ON blob_parts(put_at) WHERE committed = 0;
CREATE TABLE blob_garbage(object TEXT NOT NULL PRIMARY KEY, since INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX blob_garbage_by_age ON blob_garbage(since);
CREATE TABLE blob_sequence(last INTEGER NOT NULL);
INSERT INTO blob_sequence(last) VALUES (0);
";

/// Blobs of deleted containers, or old blocks, that one transaction lets go of.
const EXPIRE_PAGE: usize = 500;

/// Why a job wrote nothing: the operation is refused, or the database failed.
enum Stop {
    Refused(BlobError),
    Store(StoreError),
}

impl From<BlobError> for Stop {
    fn from(error: BlobError) -> Self {
        Self::Refused(error)
    }
}

impl From<rusqlite::Error> for Stop {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(fail(error))
    }
}

fn refused(error: StoreError) -> BlobError {
    match error {
        StoreError::NoSpace => BlobError::NoSpace,
        other => BlobError::Failed(other.to_string()),
    }
}

fn settle<T>(result: Result<T, Stop>) -> Result<Result<T, BlobError>, StoreError> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(Stop::Refused(error)) => Ok(Err(error)),
        Err(Stop::Store(error)) => Err(error),
    }
}

impl Database {
    fn change<'a, T: Send + 'static>(
        &'a self,
        job: impl FnOnce(&Connection) -> Result<T, Stop> + Send + 'static,
    ) -> CatalogueFuture<'a, T> {
        Box::pin(async move { self.write(|connection| settle(job(connection))).await.map_err(refused)? })
    }

    fn look<'a, T: Send + 'static>(
        &'a self,
        job: impl FnOnce(&Connection) -> rusqlite::Result<Result<T, BlobError>> + Send + 'static,
    ) -> CatalogueFuture<'a, T> {
        Box::pin(async move { self.read(job).map_err(refused)? })
    }
}

/// Properties and metadata of a blob.
#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
struct BlobShape {
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_encoding: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_language: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_disposition: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_control: Option<String>,
    /// Base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    content_md5: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    metadata: Metadata,
}

fn write_shape(properties: &Properties, metadata: &Metadata) -> String {
    let Properties {
        content_type,
        content_encoding,
        content_language,
        content_disposition,
        cache_control,
        content_md5,
    } = properties.clone();
    let shape = BlobShape {
        content_type,
        content_encoding,
        content_language,
        content_disposition,
        cache_control,
        content_md5: content_md5.map(|md5| BASE64.encode(md5)),
        metadata: metadata.clone(),
    };
    serde_json::to_string(&shape).expect("texts are JSON")
}

fn read_shape(text: &str) -> Result<(Properties, Metadata), rusqlite::Error> {
    let shape: BlobShape = serde_json::from_str(text).map_err(unreadable)?;
    let md5 = |text: String| BASE64.decode(text).ok()?.try_into().ok();
    let properties = Properties {
        content_type: shape.content_type,
        content_encoding: shape.content_encoding,
        content_language: shape.content_language,
        content_disposition: shape.content_disposition,
        cache_control: shape.cache_control,
        content_md5: shape.content_md5.and_then(md5),
    };
    Ok((properties, shape.metadata))
}

fn unreadable(error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(error))
}

fn number(value: u64) -> i64 {
    value.cast_signed()
}

/// `etag, length, created_at, modified_at, document` from column `at` on.
fn blob_from(row: &Row<'_>, at: usize) -> rusqlite::Result<Blob> {
    let (properties, metadata) = read_shape(&row.get::<_, String>(at + 4)?)?;
    Ok(Blob {
        properties,
        metadata,
        etag: ETag(row.get::<_, i64>(at)?.cast_unsigned()),
        length: row.get::<_, i64>(at + 1)?.cast_unsigned(),
        created_at: Timestamp::from_millis(row.get(at + 2)?),
        modified_at: Timestamp::from_millis(row.get(at + 3)?),
    })
}

/// `etag, modified_at, metadata` from column `at` on.
fn container_from(row: &Row<'_>, at: usize) -> rusqlite::Result<Container> {
    Ok(Container {
        etag: ETag(row.get::<_, i64>(at)?.cast_unsigned()),
        modified_at: Timestamp::from_millis(row.get(at + 1)?),
        metadata: serde_json::from_str(&row.get::<_, String>(at + 2)?).map_err(unreadable)?,
    })
}

fn find_container(connection: &Connection, name: &str) -> rusqlite::Result<Result<(i64, Container), BlobError>> {
    let sql = "SELECT id, etag, modified_at, metadata FROM blob_containers WHERE name = ?1";
    let read = |row: &Row<'_>| Ok((row.get(0)?, container_from(row, 1)?));
    let found = connection.prepare_cached(sql)?.query_row([name], read).optional()?;
    Ok(found.ok_or(BlobError::NoContainer))
}

fn find_blob(connection: &Connection, container: i64, name: &str) -> rusqlite::Result<Option<Blob>> {
    let sql = "SELECT etag, length, created_at, modified_at, document FROM blobs WHERE container = ?1 AND name = ?2";
    connection.prepare_cached(sql)?.query_row(params![container, name], |row| blob_from(row, 0)).optional()
}

fn next_etag(connection: &Connection) -> rusqlite::Result<ETag> {
    let sql = "UPDATE blob_sequence SET last = last + 1 RETURNING last";
    connection.prepare_cached(sql)?.query_row([], |row| Ok(ETag(row.get::<_, i64>(0)?.cast_unsigned())))
}

fn current(blob: &Blob) -> Current {
    Current { etag: blob.etag, modified_at: blob.modified_at }
}

fn blocks_of(connection: &Connection, container: i64, name: &str, committed: bool) -> rusqlite::Result<Vec<Block>> {
    let sql = "SELECT block_id, object, length FROM blob_parts
               WHERE container = ?1 AND name = ?2 AND committed = ?3 AND block_id <> '' ORDER BY position";
    let mut statement = connection.prepare_cached(sql)?;
    let read = |row: &Row<'_>| {
        let part = Part { object: ObjectId(row.get(1)?), length: row.get::<_, i64>(2)?.cast_unsigned() };
        Ok(Block { id: row.get(0)?, part })
    };
    statement.query_map(params![container, name, committed], read)?.collect()
}

/// Lets go of a blob's parts, committed and not.
fn drop_parts(connection: &Connection, container: i64, name: &str, now: Timestamp) -> rusqlite::Result<()> {
    let sql = "INSERT OR IGNORE INTO blob_garbage(object, since)
               SELECT object, ?3 FROM blob_parts WHERE container = ?1 AND name = ?2";
    connection.prepare_cached(sql)?.execute(params![container, name, now.as_millis()])?;
    let sql = "DELETE FROM blob_parts WHERE container = ?1 AND name = ?2";
    connection.prepare_cached(sql)?.execute(params![container, name])?;
    Ok(())
}

/// Writes a blob made of `blocks` (ids empty when it was put in one piece) in place of what was there.
fn replace(
    connection: &Connection,
    (container, name): (i64, &str),
    before: Option<&Blob>,
    draft: Draft,
    blocks: &[Block],
    now: Timestamp,
) -> rusqlite::Result<Blob> {
    drop_parts(connection, container, name, now)?;
    let mut start = 0;
    let mut keep = connection.prepare_cached("DELETE FROM blob_garbage WHERE object = ?1")?;
    let sql = "INSERT INTO blob_parts(container, name, committed, position, block_id, object, start, length, put_at)
               VALUES (?1, ?2, 1, ?3, ?4, ?5, ?6, ?7, ?8)";
    let mut insert = connection.prepare_cached(sql)?;
    for (position, block) in (0_i64..).zip(blocks) {
        let (object, length) = (&block.part.object.0, number(block.part.length));
        keep.execute([object])?;
        insert.execute(params![container, name, position, block.id, object, start, length, now.as_millis()])?;
        start += length;
    }
    let blob = Blob {
        etag: next_etag(connection)?,
        length: start.cast_unsigned(),
        created_at: before.map_or(now, |before| before.created_at),
        modified_at: now,
        properties: draft.properties,
        metadata: draft.metadata,
    };
    let sql = "INSERT OR REPLACE INTO blobs(container, name, etag, length, created_at, modified_at, document)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    connection.prepare_cached(sql)?.execute(params![
        container,
        name,
        number(blob.etag.0),
        start,
        blob.created_at.as_millis(),
        now.as_millis(),
        write_shape(&blob.properties, &blob.metadata)
    ])?;
    Ok(blob)
}

fn metadata_text(metadata: &Metadata) -> String {
    serde_json::to_string(metadata).expect("texts are JSON")
}

impl Catalogue for Database {
    fn create_container<'a>(
        &'a self,
        name: &'a ContainerName,
        metadata: Metadata,
        now: Timestamp,
    ) -> CatalogueFuture<'a, Container> {
        let name = name.clone();
        self.change(move |connection| {
            if find_container(connection, name.as_str())?.is_ok() {
                return Err(BlobError::ContainerExists.into());
            }
            let etag = next_etag(connection)?;
            let sql = "INSERT INTO blob_containers(name, etag, modified_at, metadata) VALUES (?1, ?2, ?3, ?4)";
            let values = params![name.as_str(), number(etag.0), now.as_millis(), metadata_text(&metadata)];
            connection.execute(sql, values)?;
            Ok(Container { metadata, etag, modified_at: now })
        })
    }

    fn container<'a>(&'a self, name: &'a ContainerName) -> CatalogueFuture<'a, Container> {
        let name = name.clone();
        self.look(move |connection| Ok(find_container(connection, name.as_str())?.map(|(_, container)| container)))
    }

    fn containers<'a>(
        &'a self,
        prefix: &'a str,
        from: &'a str,
        limit: usize,
    ) -> CatalogueFuture<'a, Vec<(ContainerName, Container)>> {
        let (prefix, from) = (prefix.to_owned(), from.max(prefix).to_owned());
        self.look(move |connection| {
            let sql = "SELECT name, etag, modified_at, metadata FROM blob_containers
                       WHERE name >= ?1 ORDER BY name LIMIT ?2";
            let mut statement = connection.prepare_cached(sql)?;
            let mut rows = statement.query(params![from, limit as i64])?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                let name: String = row.get(0)?;
                if !name.starts_with(&prefix) {
                    break;
                }
                if let Ok(name) = ContainerName::parse(&name) {
                    found.push((name, container_from(row, 1)?));
                }
            }
            Ok(Ok(found))
        })
    }

    fn set_container_metadata<'a>(
        &'a self,
        name: &'a ContainerName,
        metadata: Metadata,
        conditions: Conditions,
        now: Timestamp,
    ) -> CatalogueFuture<'a, Container> {
        let name = name.clone();
        self.change(move |connection| {
            let (id, container) = find_container(connection, name.as_str())??;
            conditions.check_change(Current { etag: container.etag, modified_at: container.modified_at })?;
            let etag = next_etag(connection)?;
            let sql = "UPDATE blob_containers SET etag = ?2, modified_at = ?3, metadata = ?4 WHERE id = ?1";
            connection.execute(sql, params![id, number(etag.0), now.as_millis(), metadata_text(&metadata)])?;
            Ok(Container { metadata, etag, modified_at: now })
        })
    }

    fn delete_container<'a>(&'a self, name: &'a ContainerName, conditions: Conditions) -> CatalogueFuture<'a, ()> {
        let name = name.clone();
        self.change(move |connection| {
            let (id, container) = find_container(connection, name.as_str())??;
            conditions.check_change(Current { etag: container.etag, modified_at: container.modified_at })?;
            connection.execute("UPDATE blob_containers SET name = NULL WHERE id = ?1", [id])?;
            Ok(())
        })
    }

    fn blob<'a>(&'a self, at: &'a BlobAddress, (from, to): (u64, u64)) -> CatalogueFuture<'a, (Blob, Vec<Placed>)> {
        let at = at.clone();
        self.look(move |connection| {
            // One snapshot for both reads.
            let transaction = connection.unchecked_transaction()?;
            let (id, _) = match find_container(&transaction, at.container.as_str())? {
                Ok(found) => found,
                Err(error) => return Ok(Err(error)),
            };
            let Some(blob) = find_blob(&transaction, id, at.name.as_str())? else {
                return Ok(Err(BlobError::NoBlob));
            };
            let sql = "SELECT object, start, length FROM blob_parts
                       WHERE container = ?1 AND name = ?2 AND committed = 1 AND start < ?4 AND start + length > ?3
                       ORDER BY position";
            let mut statement = transaction.prepare_cached(sql)?;
            let (from, to) = (number(from.min(blob.length)), number(to.min(blob.length)));
            let parts = statement.query_map(params![id, at.name.as_str(), from, to], |row| {
                let part = Part { object: ObjectId(row.get(0)?), length: row.get::<_, i64>(2)?.cast_unsigned() };
                Ok(Placed { start: row.get::<_, i64>(1)?.cast_unsigned(), part })
            })?;
            let parts = parts.collect::<rusqlite::Result<_>>()?;
            Ok(Ok((blob, parts)))
        })
    }

    fn blobs<'a>(
        &'a self,
        container: &'a ContainerName,
        prefix: &'a str,
        from: &'a str,
        limit: usize,
    ) -> CatalogueFuture<'a, Vec<(BlobName, Blob)>> {
        let (container, prefix, from) = (container.clone(), prefix.to_owned(), from.max(prefix).to_owned());
        let job = move |connection: &Connection| {
            let (id, _) = match find_container(connection, container.as_str())? {
                Ok(found) => found,
                Err(error) => return Ok(Err(error)),
            };
            let sql = "SELECT name, etag, length, created_at, modified_at, document FROM blobs
                       WHERE container = ?1 AND name >= ?2 ORDER BY name LIMIT ?3";
            let mut statement = connection.prepare_cached(sql)?;
            let mut rows = statement.query(params![id, from, limit as i64])?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                let name: String = row.get(0)?;
                if !name.starts_with(&prefix) {
                    break;
                }
                if let Ok(name) = BlobName::parse(&name) {
                    found.push((name, blob_from(row, 1)?));
                }
            }
            Ok(Ok(found))
        };
        Box::pin(async move { self.scan(job).await.map_err(refused)? })
    }

    fn put_blob<'a>(
        &'a self,
        at: &'a BlobAddress,
        draft: Draft,
        content: Option<Part>,
        conditions: Conditions,
        now: Timestamp,
    ) -> CatalogueFuture<'a, Blob> {
        let at = at.clone();
        self.change(move |connection| {
            let (id, _) = find_container(connection, at.container.as_str())??;
            let before = find_blob(connection, id, at.name.as_str())?;
            conditions.check_write(before.as_ref().map(current))?;
            let blocks: Vec<_> = content.into_iter().map(|part| Block { id: String::new(), part }).collect();
            Ok(replace(connection, (id, at.name.as_str()), before.as_ref(), draft, &blocks, now)?)
        })
    }

    fn put_block<'a>(&'a self, at: &'a BlobAddress, block: Block, now: Timestamp) -> CatalogueFuture<'a, ()> {
        let at = at.clone();
        self.change(move |connection| {
            let (id, _) = find_container(connection, at.container.as_str())??;
            let name = at.name.as_str();
            let sql = "SELECT position, object FROM blob_parts
                       WHERE container = ?1 AND name = ?2 AND committed = 0 AND block_id = ?3";
            let read = |row: &Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?));
            let same = connection.prepare_cached(sql)?.query_row(params![id, name, block.id], read).optional()?;
            let sql = "SELECT COALESCE(MAX(position) + 1, 0) FROM blob_parts
                       WHERE container = ?1 AND name = ?2 AND committed = 0";
            let next: i64 = connection.prepare_cached(sql)?.query_row(params![id, name], |row| row.get(0))?;
            if same.is_none() && next >= UNCOMMITTED_MAX as i64 {
                return Err(BlobError::TooManyBlocks.into());
            }
            let position = match same {
                None => next,
                Some((position, object)) => {
                    let sql = "INSERT OR IGNORE INTO blob_garbage(object, since) VALUES (?1, ?2)";
                    connection.prepare_cached(sql)?.execute(params![object, now.as_millis()])?;
                    position
                }
            };
            let sql = "INSERT OR REPLACE INTO blob_parts
                       (container, name, committed, position, block_id, object, start, length, put_at)
                       VALUES (?1, ?2, 0, ?3, ?4, ?5, 0, ?6, ?7)";
            let (object, length) = (block.part.object.0, number(block.part.length));
            let values = params![id, name, position, block.id, object, length, now.as_millis()];
            connection.prepare_cached(sql)?.execute(values)?;
            Ok(())
        })
    }

    fn commit_blocks<'a>(
        &'a self,
        at: &'a BlobAddress,
        draft: Draft,
        list: Vec<(Which, String)>,
        conditions: Conditions,
        now: Timestamp,
    ) -> CatalogueFuture<'a, Blob> {
        let at = at.clone();
        self.change(move |connection| {
            let (id, _) = find_container(connection, at.container.as_str())??;
            let name = at.name.as_str();
            let before = find_blob(connection, id, name)?;
            conditions.check_write(before.as_ref().map(current))?;
            let committed = blocks_of(connection, id, name, true)?;
            let uncommitted = blocks_of(connection, id, name, false)?;
            let blocks = blob::resolve(&list, &committed, &uncommitted).map_err(BlobError::from)?;
            Ok(replace(connection, (id, name), before.as_ref(), draft, &blocks, now)?)
        })
    }

    fn blocks<'a>(&'a self, at: &'a BlobAddress) -> CatalogueFuture<'a, (Option<Blob>, BlockLists)> {
        let at = at.clone();
        self.look(move |connection| {
            let (id, _) = match find_container(connection, at.container.as_str())? {
                Ok(found) => found,
                Err(error) => return Ok(Err(error)),
            };
            let name = at.name.as_str();
            let blob = find_blob(connection, id, name)?;
            let lists = BlockLists {
                committed: blocks_of(connection, id, name, true)?,
                uncommitted: blocks_of(connection, id, name, false)?,
            };
            let nothing = blob.is_none() && lists == BlockLists::default();
            Ok(if nothing { Err(BlobError::NoBlob) } else { Ok((blob, lists)) })
        })
    }

    fn change_blob<'a>(
        &'a self,
        at: &'a BlobAddress,
        metadata: Option<Metadata>,
        properties: Option<Properties>,
        conditions: Conditions,
        now: Timestamp,
    ) -> CatalogueFuture<'a, Blob> {
        let at = at.clone();
        self.change(move |connection| {
            let (id, _) = find_container(connection, at.container.as_str())??;
            let mut blob = find_blob(connection, id, at.name.as_str())?.ok_or(BlobError::NoBlob)?;
            conditions.check_change(current(&blob))?;
            blob.metadata = metadata.unwrap_or(blob.metadata);
            blob.properties = properties.unwrap_or(blob.properties);
            (blob.etag, blob.modified_at) = (next_etag(connection)?, now);
            let sql = "UPDATE blobs SET etag = ?3, modified_at = ?4, document = ?5 WHERE container = ?1 AND name = ?2";
            let shape = write_shape(&blob.properties, &blob.metadata);
            let values = params![id, at.name.as_str(), number(blob.etag.0), now.as_millis(), shape];
            connection.prepare_cached(sql)?.execute(values)?;
            Ok(blob)
        })
    }

    fn delete_blob<'a>(
        &'a self,
        at: &'a BlobAddress,
        conditions: Conditions,
        now: Timestamp,
    ) -> CatalogueFuture<'a, ()> {
        let at = at.clone();
        self.change(move |connection| {
            let (id, _) = find_container(connection, at.container.as_str())??;
            let blob = find_blob(connection, id, at.name.as_str())?.ok_or(BlobError::NoBlob)?;
            conditions.check_change(current(&blob))?;
            drop_parts(connection, id, at.name.as_str(), now)?;
            let sql = "DELETE FROM blobs WHERE container = ?1 AND name = ?2";
            connection.prepare_cached(sql)?.execute(params![id, at.name.as_str()])?;
            Ok(())
        })
    }

    fn expire(&self, before: Timestamp, now: Timestamp) -> CatalogueFuture<'_, bool> {
        self.change(move |connection| {
            let blocks = expire_blocks(connection, before, now)?;
            let blobs = expire_container(connection, now)?;
            Ok(blocks || blobs)
        })
    }

    fn garbage(&self, before: Timestamp, limit: usize) -> CatalogueFuture<'_, Vec<ObjectId>> {
        self.look(move |connection| {
            let sql = "SELECT object FROM blob_garbage WHERE since <= ?1 ORDER BY since LIMIT ?2";
            let mut statement = connection.prepare_cached(sql)?;
            let rows =
                statement.query_map(params![before.as_millis(), limit as i64], |row| Ok(ObjectId(row.get(0)?)))?;
            Ok(Ok(rows.collect::<rusqlite::Result<_>>()?))
        })
    }

    fn forget(&self, objects: Vec<ObjectId>) -> CatalogueFuture<'_, ()> {
        self.change(move |connection| {
            let mut statement = connection.prepare_cached("DELETE FROM blob_garbage WHERE object = ?1")?;
            for object in objects {
                statement.execute([object.0])?;
            }
            Ok(())
        })
    }

    fn strangers(&self, objects: Vec<ObjectId>) -> CatalogueFuture<'_, Vec<ObjectId>> {
        self.look(move |connection| {
            let sql = "SELECT EXISTS(SELECT 1 FROM blob_parts WHERE object = ?1)
                           OR EXISTS(SELECT 1 FROM blob_garbage WHERE object = ?1)";
            let mut statement = connection.prepare_cached(sql)?;
            let mut strangers = Vec::new();
            for object in objects {
                let known: bool = statement.query_row([&object.0], |row| row.get(0))?;
                if !known {
                    strangers.push(object);
                }
            }
            Ok(Ok(strangers))
        })
    }
}

/// Lets go of some blocks that were never committed. Says whether there may be more.
fn expire_blocks(connection: &Connection, before: Timestamp, now: Timestamp) -> rusqlite::Result<bool> {
    let sql = "SELECT container, name, position, object FROM blob_parts
               WHERE committed = 0 AND put_at < ?1 ORDER BY put_at LIMIT ?2";
    let read = |row: &Row<'_>| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?, row.get::<_, i64>(2)?, row.get::<_, String>(3)?))
    };
    let rows: Vec<_> = connection
        .prepare_cached(sql)?
        .query_map(params![before.as_millis(), EXPIRE_PAGE as i64], read)?
        .collect::<rusqlite::Result<_>>()?;
    for (container, name, position, object) in &rows {
        let sql = "INSERT OR IGNORE INTO blob_garbage(object, since) VALUES (?1, ?2)";
        connection.prepare_cached(sql)?.execute(params![object, now.as_millis()])?;
        let sql = "DELETE FROM blob_parts WHERE container = ?1 AND name = ?2 AND committed = 0 AND position = ?3";
        connection.prepare_cached(sql)?.execute(params![container, name, position])?;
    }
    Ok(rows.len() == EXPIRE_PAGE)
}

/// Lets go of some blobs of a deleted container, and of the container with its last one.
fn expire_container(connection: &Connection, now: Timestamp) -> rusqlite::Result<bool> {
    let sql = "SELECT id FROM blob_containers WHERE name IS NULL LIMIT 1";
    let Some(id) = connection.prepare_cached(sql)?.query_row([], |row| row.get::<_, i64>(0)).optional()? else {
        return Ok(false);
    };
    let sql = "SELECT DISTINCT name FROM (SELECT name FROM blob_parts WHERE container = ?1
               UNION ALL SELECT name FROM blobs WHERE container = ?1) LIMIT ?2";
    let names: Vec<String> = connection
        .prepare_cached(sql)?
        .query_map(params![id, EXPIRE_PAGE as i64], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    for name in &names {
        drop_parts(connection, id, name, now)?;
        connection
            .prepare_cached("DELETE FROM blobs WHERE container = ?1 AND name = ?2")?
            .execute(params![id, name])?;
    }
    if names.len() < EXPIRE_PAGE {
        connection.execute("DELETE FROM blob_containers WHERE id = ?1", [id])?;
    }
    Ok(true)
}
