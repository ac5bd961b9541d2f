//! Queues: cloud-to-device messages, their outcomes, and what waits for services.
//!
//! - `c2d`: queued messages in order of `sequence`; `message` is JSON as in `shapes.rs`.
//! - `feedback`: outcomes (JSON as services get it) that are no message yet, in order.
//! - `service_messages`: `queue` 0 is feedback, 1 file notifications, 16 to 31 those of routes (with 256 times
//!   the subscription for topics); `body` is JSON text, of routes as in `queue_record.rs`.
//!
//! What becomes of a message and the outcome for its sender are one transaction.

use std::sync::Arc;

use bytes::Bytes;
use gantry_hub::c2d::C2dMessage;
use gantry_hub::ports::{Enqueued, FeedbackBatch, PortFuture, QueueChange, Queues, Settlement, StoreError};
use gantry_hub::service_queue::{Content, RoutedEvent, ServiceMessage, ServiceQueue};
use gantry_identity::{Identity, Timestamp};
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use crate::database::{Database, fail};
use crate::hub_store::{json, module_of};
use crate::queue_record;
use crate::shapes::C2dShape;

pub(crate) const TABLES: &str = "
ALTER TABLE c2d ADD COLUMN enqueued_at INTEGER NOT NULL DEFAULT 0;
CREATE INDEX c2d_by_expiry ON c2d(expires_at, sequence);
CREATE TABLE feedback(sequence INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, document TEXT NOT NULL);
CREATE TABLE service_messages(
  sequence INTEGER PRIMARY KEY AUTOINCREMENT, queue INTEGER NOT NULL, enqueued_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL, delivery_count INTEGER NOT NULL, body BLOB NOT NULL);
CREATE INDEX service_messages_by_queue ON service_messages(queue, sequence);
CREATE INDEX service_messages_by_expiry ON service_messages(expires_at);
";

/// Columns of a message without its body, for [`enqueued`].
const COLUMNS: &str = "sequence, delivery_count, enqueued_at, expires_at, message";

fn enqueued(row: &Row<'_>, body: Vec<u8>) -> rusqlite::Result<Enqueued> {
    let shape: C2dShape = serde_json::from_str(&row.get::<_, String>(4)?).unwrap_or_default();
    Ok(Enqueued {
        sequence_number: row.get::<_, i64>(0)?.cast_unsigned(),
        delivery_count: row.get(1)?,
        enqueued_at: Timestamp::from_millis(row.get(2)?),
        generation_id: shape.generation_id.clone(),
        message: shape.read(row.get(3)?, body),
    })
}

fn number_of(queue: ServiceQueue) -> i64 {
    match queue {
        ServiceQueue::Feedback => 0,
        ServiceQueue::FileNotifications => 1,
        ServiceQueue::Routed { number, subscription } => (i64::from(subscription) << 8) + 16 + i64::from(number),
    }
}

/// What a row holds. A record that cannot be read any more comes as its text.
fn content(queue: ServiceQueue, body: Vec<u8>) -> Content {
    let event = matches!(queue, ServiceQueue::Routed { .. }).then(|| queue_record::decode(&body)).flatten();
    event.map_or_else(|| Content::Text(body.into()), |event| Content::Event(Box::new(event)))
}

/// The first number of a query that is none of `skip`.
fn first_free(
    connection: &Connection,
    sql: &str,
    values: impl rusqlite::Params,
    skip: &[u64],
) -> rusqlite::Result<Option<i64>> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(values)?;
    while let Some(row) = rows.next()? {
        let sequence: i64 = row.get(0)?;
        if !skip.contains(&sequence.cast_unsigned()) {
            return Ok(Some(sequence));
        }
    }
    Ok(None)
}

impl Queues for Database {
    fn c2d_push<'a>(
        &'a self,
        identity: &'a Identity,
        message: C2dMessage,
        generation_id: String,
        now: Timestamp,
        len_max: usize,
    ) -> PortFuture<'a, u64, StoreError> {
        let (device, module) = (identity.device.to_string(), module_of(identity).to_owned());
        Box::pin(async move {
            let shape = json(&C2dShape::new(&message, generation_id))?;
            self.write_record(&identity.device, move |connection| {
                let count = "SELECT COUNT(*) FROM c2d WHERE device_id = ?1 AND module_id = ?2 AND expires_at > ?3";
                let waiting: i64 = connection
                    .prepare_cached(count)
                    .and_then(|mut s| s.query_row(params![device, module, now.as_millis()], |row| row.get(0)))
                    .map_err(fail)?;
                if waiting >= i64::try_from(len_max).unwrap_or(i64::MAX) {
                    return Err(StoreError::Full);
                }
                let expires_at = message.expires_at.unwrap_or(now).as_millis();
                let sql =
                    "INSERT INTO c2d(device_id, module_id, enqueued_at, expires_at, delivery_count, message, body)
                           VALUES (?1, ?2, ?3, ?4, 0, ?5, ?6)";
                let values = params![device, module, now.as_millis(), expires_at, shape, &message.body[..]];
                connection.prepare_cached(sql).and_then(|mut s| s.execute(values)).map_err(fail)?;
                Ok(connection.last_insert_rowid().cast_unsigned())
            })
            .await
        })
    }

    fn c2d_first<'a>(
        &'a self,
        identity: &'a Identity,
        now: Timestamp,
        skip: Vec<u64>,
    ) -> PortFuture<'a, Option<Enqueued>, StoreError> {
        Box::pin(async move {
            self.read(|connection| {
                let sql = "SELECT sequence FROM c2d
                           WHERE device_id = ?1 AND module_id = ?2 AND expires_at > ?3 ORDER BY sequence";
                let values = params![identity.device.as_str(), module_of(identity), now.as_millis()];
                let Some(sequence) = first_free(connection, sql, values, &skip)? else { return Ok(None) };
                let sql = format!("SELECT {COLUMNS}, body FROM c2d WHERE sequence = ?1");
                let mut statement = connection.prepare_cached(&sql)?;
                statement.query_row([sequence], |row| enqueued(row, row.get(5)?)).optional()
            })
        })
    }

    fn c2d_list<'a>(&'a self, identity: &'a Identity) -> PortFuture<'a, Vec<Enqueued>, StoreError> {
        Box::pin(async move {
            self.read(|connection| {
                let sql =
                    format!("SELECT {COLUMNS} FROM c2d WHERE device_id = ?1 AND module_id = ?2 ORDER BY sequence");
                let mut statement = connection.prepare_cached(&sql)?;
                let values = params![identity.device.as_str(), module_of(identity)];
                let rows = statement.query_map(values, |row| enqueued(row, Vec::new()))?;
                rows.collect()
            })
        })
    }

    fn c2d_settle<'a>(
        &'a self,
        identity: &'a Identity,
        settlements: Vec<Settlement>,
    ) -> PortFuture<'a, usize, StoreError> {
        let (device, module) = (identity.device.to_string(), module_of(identity).to_owned());
        Box::pin(async move {
            self.write_record(&identity.device, move |connection| {
                let mut count = 0;
                for settlement in settlements {
                    count += usize::from(settle_one(connection, &device, &module, &settlement).map_err(fail)?);
                }
                Ok(count)
            })
            .await
        })
    }

    fn c2d_expired(
        &self,
        now: Timestamp,
        after: Option<(Timestamp, u64)>,
        limit: usize,
    ) -> PortFuture<'_, Vec<(Identity, Enqueued)>, StoreError> {
        Box::pin(async move {
            let (at, sequence) = after.map_or((i64::MIN, 0), |(at, number)| (at.as_millis(), number.cast_signed()));
            let rows = self.read(|connection| {
                let sql = format!(
                    "SELECT {COLUMNS}, device_id, module_id FROM c2d
                     WHERE expires_at <= ?1 AND (expires_at, sequence) > (?2, ?3) ORDER BY expires_at, sequence LIMIT ?4"
                );
                let mut statement = connection.prepare_cached(&sql)?;
                let limit = i64::try_from(limit).unwrap_or(i64::MAX);
                let rows = statement.query_map(params![now.as_millis(), at, sequence, limit], |row| {
                    Ok((row.get::<_, String>(5)?, row.get::<_, String>(6)?, enqueued(row, Vec::new())?))
                })?;
                rows.collect::<rusqlite::Result<Vec<_>>>()
            })?;
            let named = |(device, module, enqueued): (String, String, Enqueued)| {
                Ok((crate::shapes::identity(&device, &module)?, enqueued))
            };
            rows.into_iter().map(named).collect()
        })
    }

    fn feedback_batch(&self, batch: FeedbackBatch) -> PortFuture<'_, usize, StoreError> {
        Box::pin(async move {
            // Nothing is written when nothing is due, so that an idle hub leaves the disk alone.
            if !self.read(|connection| is_batch_due(connection, &batch))? {
                return Ok(0);
            }
            self.write(move |connection| make_batches(connection, &batch).map_err(fail)).await
        })
    }

    fn service_push(
        &self,
        queue: ServiceQueue,
        body: Bytes,
        enqueued_at: Timestamp,
        expires_at: Timestamp,
        len_max: usize,
    ) -> PortFuture<'_, (), StoreError> {
        Box::pin(async move {
            self.write(move |connection| {
                push_service(connection, queue, &body, enqueued_at, expires_at, len_max).map_err(fail)
            })
            .await
        })
    }

    fn routed_push(
        &self,
        queue: ServiceQueue,
        events: Arc<Vec<RoutedEvent>>,
        enqueued_at: Timestamp,
        expires_at: Timestamp,
        len_max: usize,
    ) -> PortFuture<'_, (), StoreError> {
        Box::pin(async move {
            let bodies: Vec<Vec<u8>> = events.iter().map(queue_record::encode).collect();
            self.write(move |connection| {
                let queue = number_of(queue);
                let sql = "SELECT COUNT(*) FROM service_messages WHERE queue = ?1";
                let len: i64 = connection
                    .prepare_cached(sql)
                    .and_then(|mut statement| statement.query_row([queue], |row| row.get(0)))
                    .map_err(fail)?;
                if usize::try_from(len).unwrap_or(usize::MAX).saturating_add(bodies.len()) > len_max {
                    return Err(StoreError::Full);
                }
                let sql = "INSERT INTO service_messages(queue, enqueued_at, expires_at, delivery_count, body)
                           VALUES(?1, ?2, ?3, 0, ?4)";
                let mut statement = connection.prepare_cached(sql).map_err(fail)?;
                for body in &bodies {
                    let values = params![queue, enqueued_at.as_millis(), expires_at.as_millis(), &body[..]];
                    statement.execute(values).map_err(fail)?;
                }
                Ok(())
            })
            .await
        })
    }

    fn service_purge(&self, queue: ServiceQueue) -> PortFuture<'_, (), StoreError> {
        Box::pin(async move {
            self.write(move |connection| {
                let sql = "DELETE FROM service_messages WHERE queue = ?1";
                connection.execute(sql, [number_of(queue)]).map(drop).map_err(fail)
            })
            .await
        })
    }

    fn service_first(
        &self,
        queue: ServiceQueue,
        now: Timestamp,
        skip: Vec<u64>,
    ) -> PortFuture<'_, Option<ServiceMessage>, StoreError> {
        Box::pin(async move {
            self.read(|connection| {
                let sql =
                    "SELECT sequence FROM service_messages WHERE queue = ?1 AND expires_at > ?2 ORDER BY sequence";
                let values = params![number_of(queue), now.as_millis()];
                let Some(sequence) = first_free(connection, sql, values, &skip)? else { return Ok(None) };
                let sql = "SELECT enqueued_at, expires_at, delivery_count, body FROM service_messages
                           WHERE sequence = ?1";
                let mut statement = connection.prepare_cached(sql)?;
                let read = |row: &Row<'_>| {
                    Ok(ServiceMessage {
                        sequence_number: sequence.cast_unsigned(),
                        enqueued_at: Timestamp::from_millis(row.get(0)?),
                        expires_at: Timestamp::from_millis(row.get(1)?),
                        delivery_count: row.get(2)?,
                        content: content(queue, row.get(3)?),
                    })
                };
                statement.query_row([sequence], read).optional()
            })
        })
    }

    fn service_settle(
        &self,
        queue: ServiceQueue,
        sequence_number: u64,
        change: QueueChange,
    ) -> PortFuture<'_, bool, StoreError> {
        Box::pin(async move {
            self.write(move |connection| {
                let (sequence, queue) = (sequence_number.cast_signed(), number_of(queue));
                let changed = match change {
                    QueueChange::Remove => connection
                        .prepare_cached("DELETE FROM service_messages WHERE sequence = ?1 AND queue = ?2")
                        .and_then(|mut statement| statement.execute(params![sequence, queue])),
                    QueueChange::Count(count) => connection
                        .prepare_cached(
                            "UPDATE service_messages SET delivery_count = ?3 WHERE sequence = ?1 AND queue = ?2",
                        )
                        .and_then(|mut statement| statement.execute(params![sequence, queue, count])),
                };
                Ok(changed.map_err(fail)? == 1)
            })
            .await
        })
    }

    fn service_expire(&self, now: Timestamp) -> PortFuture<'_, (), StoreError> {
        Box::pin(async move {
            let due = self.read(|connection| {
                let sql = "SELECT EXISTS(SELECT 1 FROM service_messages WHERE expires_at <= ?1)";
                connection.prepare_cached(sql)?.query_row([now.as_millis()], |row| row.get::<_, bool>(0))
            })?;
            if !due {
                return Ok(());
            }
            self.write(move |connection| {
                let sql = "DELETE FROM service_messages WHERE expires_at <= ?1";
                connection.execute(sql, [now.as_millis()]).map(drop).map_err(fail)
            })
            .await
        })
    }
}

/// Writes one settlement, and its feedback when the message was still there.
fn settle_one(connection: &Connection, device: &str, module: &str, settlement: &Settlement) -> rusqlite::Result<bool> {
    let sequence = settlement.sequence_number.cast_signed();
    let changed = match settlement.change {
        QueueChange::Remove => connection
            .prepare_cached("DELETE FROM c2d WHERE sequence = ?1 AND device_id = ?2 AND module_id = ?3")?
            .execute(params![sequence, device, module])?,
        QueueChange::Count(count) => connection
            .prepare_cached(
                "UPDATE c2d SET delivery_count = ?4 WHERE sequence = ?1 AND device_id = ?2 AND module_id = ?3",
            )?
            .execute(params![sequence, device, module, count])?,
    };
    if changed == 1
        && let Some(feedback) = &settlement.feedback
    {
        let sql = "INSERT INTO feedback(at, document) VALUES(?1, ?2)";
        connection.prepare_cached(sql)?.execute(params![feedback.at.as_millis(), feedback.document])?;
    }
    Ok(changed == 1)
}

/// Whether a batch is full, or its first outcome is old enough.
fn is_batch_due(connection: &Connection, batch: &FeedbackBatch) -> rusqlite::Result<bool> {
    let sql = "SELECT (SELECT at FROM feedback ORDER BY sequence LIMIT 1) <= ?1
                 OR EXISTS(SELECT 1 FROM feedback LIMIT 1 OFFSET ?2)";
    let last = i64::try_from(batch.len_max).unwrap_or(i64::MAX) - 1;
    let due: Option<bool> =
        connection.prepare_cached(sql)?.query_row(params![batch.due_at.as_millis(), last], |row| row.get(0))?;
    Ok(due.unwrap_or(false))
}

fn make_batches(connection: &Connection, batch: &FeedbackBatch) -> rusqlite::Result<usize> {
    let mut made = 0;
    while is_batch_due(connection, batch)? {
        let sql = "SELECT sequence, document FROM feedback ORDER BY sequence LIMIT ?1";
        let mut statement = connection.prepare_cached(sql)?;
        let limit = i64::try_from(batch.len_max).unwrap_or(i64::MAX);
        let rows = statement.query_map([limit], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)))?;
        let outcomes = rows.collect::<rusqlite::Result<Vec<_>>>()?;
        let Some((through, _)) = outcomes.last() else { break };
        connection.prepare_cached("DELETE FROM feedback WHERE sequence <= ?1")?.execute([through])?;
        let documents: Vec<&str> = outcomes.iter().map(|(_, document)| document.as_str()).collect();
        let body = format!("[{}]", documents.join(","));
        let (at, expires_at) = (batch.enqueued_at, batch.expires_at);
        push_service(connection, ServiceQueue::Feedback, body.as_bytes(), at, expires_at, batch.queue_len_max)?;
        made += 1;
    }
    Ok(made)
}

fn push_service(
    connection: &Connection,
    queue: ServiceQueue,
    body: &[u8],
    enqueued_at: Timestamp,
    expires_at: Timestamp,
    len_max: usize,
) -> rusqlite::Result<()> {
    let queue = number_of(queue);
    let sql = "INSERT INTO service_messages(queue, enqueued_at, expires_at, delivery_count, body)
               VALUES(?1, ?2, ?3, 0, ?4)";
    let values = params![queue, enqueued_at.as_millis(), expires_at.as_millis(), body];
    connection.prepare_cached(sql)?.execute(values)?;
    let sql = "DELETE FROM service_messages WHERE queue = ?1 AND sequence <=
                 (SELECT sequence FROM service_messages WHERE queue = ?1 ORDER BY sequence DESC LIMIT 1 OFFSET ?2)";
    let dropped =
        connection.prepare_cached(sql)?.execute(params![queue, i64::try_from(len_max).unwrap_or(i64::MAX)])?;
    if dropped > 0 {
        tracing::warn!(queue, dropped, "a service queue is full, nobody reads it; its oldest messages are gone");
    }
    Ok(())
}
