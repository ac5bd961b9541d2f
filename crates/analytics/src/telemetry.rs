//! Telemetry as a table: how an event becomes a row.
//!
//! Every row has the columns of [`SYSTEM`]; behind them stands a column for each name that the bodies (JSON objects)
//! have at their top, typed by what was seen: whole numbers are `long`, with a fraction `real`, then `bool` and
//! `string`; a name that has had values of two kinds is `dynamic`, and whole numbers beside others are `real`. What a
//! column cannot hold is never lost: `Body` is the whole body, as JSON, or as text when it is none.
//! A name of a body that is one of a system column's stands as `Body_NAME`.

use std::sync::Arc;

use gantry_kql::bound::Column as SchemaColumn;
use gantry_kql::value::{Bag, DateTime, Dynamic, Type, Value};

use crate::chunk::{CHUNK_ROWS, Chunk};
use crate::column::{Builder, Cell, Column, Strings};

/// The columns that every row has.
pub const SYSTEM: [(&str, Type); 12] = [
    ("EnqueuedTime", Type::DateTime),
    ("DeviceId", Type::String),
    ("ModuleId", Type::String),
    ("MessageSource", Type::String),
    ("Partition", Type::Int),
    ("SequenceNumber", Type::Long),
    ("MessageId", Type::String),
    ("CorrelationId", Type::String),
    ("ContentType", Type::String),
    ("ModelId", Type::String),
    ("Properties", Type::Dynamic),
    ("Body", Type::Dynamic),
];

/// Names of bodies that get a column of their own; those that come later are found in `Body`.
const TYPED_COLUMNS_MAX: usize = 1_000;
/// Bytes of a name that gets one.
const NAME_BYTES_MAX: usize = 256;

/// An event, as it is read.
#[derive(Debug, Clone, Copy)]
pub struct Event<'a> {
    /// When the hub took it, in ticks.
    pub enqueued: i64,
    /// Who sent it.
    pub device: &'a str,
    /// The module, empty for none.
    pub module: &'a str,
    /// What it is (`Telemetry`, `twinChangeEvents`...).
    pub source: &'a str,
    /// Where it is in the log.
    pub partition: u16,
    /// Where it is in the partition.
    pub sequence_number: u64,
    /// Empty for none, as the three that follow.
    pub message_id: &'a str,
    /// Correlation id.
    pub correlation_id: &'a str,
    /// Content type.
    pub content_type: &'a str,
    /// Model id.
    pub model_id: &'a str,
    /// Application properties.
    pub properties: &'a [(String, Option<String>)],
    /// The body.
    pub body: &'a [u8],
}

/// What bodies have been seen to hold.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    types: Vec<(String, Type)>,
    places: std::collections::HashMap<String, usize>,
}

impl Seen {
    /// Notes the names and types of a body.
    pub fn note(&mut self, body: &[u8]) {
        let Some(Dynamic::Bag(bag)) = parse(body) else { return };
        for (name, value) in bag.iter() {
            let Some(ty) = type_of(value) else { continue };
            match self.places.get(name) {
                Some(at) => self.types[*at].1 = widened(self.types[*at].1, ty),
                None if self.types.len() < TYPED_COLUMNS_MAX && name.len() <= NAME_BYTES_MAX => {
                    self.places.insert(name.to_owned(), self.types.len());
                    self.types.push((name.to_owned(), ty));
                }
                None => {}
            }
        }
    }

    /// The columns of the table.
    pub fn columns(&self) -> Vec<SchemaColumn> {
        let system = SYSTEM.iter().map(|(name, ty)| SchemaColumn::new(*name, *ty));
        system.chain(self.types.iter().map(|(name, ty)| SchemaColumn::new(column_name(name), *ty))).collect()
    }
}

/// The name of the column of a name in bodies.
fn column_name(name: &str) -> String {
    if SYSTEM.iter().any(|(system, _)| *system == name) { format!("Body_{name}") } else { name.to_owned() }
}

fn type_of(value: &Dynamic) -> Option<Type> {
    Some(match value {
        Dynamic::Null => return None,
        Dynamic::Bool(_) => Type::Bool,
        Dynamic::Long(_) => Type::Long,
        Dynamic::Real(_) => Type::Real,
        Dynamic::String(_) => Type::String,
        _ => Type::Dynamic,
    })
}

fn widened(known: Type, seen: Type) -> Type {
    match (known, seen) {
        (known, seen) if known == seen => known,
        (Type::Long, Type::Real) | (Type::Real, Type::Long) => Type::Real,
        _ => Type::Dynamic,
    }
}

fn parse(body: &[u8]) -> Option<Dynamic> {
    Dynamic::parse_json(std::str::from_utf8(body).ok()?)
}

/// Rows on their way into a chunk, in the columns of an earlier [`Seen::columns`].
pub struct Rows {
    columns: Vec<SchemaColumn>,
    /// Names in bodies of the columns behind the system's.
    names: Vec<String>,
    builders: Vec<Builder>,
    bodies: Strings,
}

impl Rows {
    /// No rows yet.
    pub fn new(columns: &[SchemaColumn]) -> Rows {
        let names = columns[SYSTEM.len().min(columns.len())..]
            .iter()
            .map(|column| {
                let name =
                    column.name.strip_prefix("Body_").filter(|name| SYSTEM.iter().any(|(system, _)| system == name));
                name.unwrap_or(&column.name).to_owned()
            })
            .collect();
        let mut rows = Rows { columns: columns.to_vec(), names, builders: Vec::new(), bodies: Strings::default() };
        rows.begin();
        rows
    }

    fn begin(&mut self) {
        let body = SYSTEM.len() - 1;
        self.builders = self
            .columns
            .iter()
            .enumerate()
            .map(|(at, column)| Builder::new(column.ty, if at == body { 0 } else { 256 }))
            .collect();
        self.bodies = Strings::default();
    }

    /// Whether there are as many rows as a chunk should have.
    pub fn is_full(&self) -> bool {
        self.bodies.len() >= CHUNK_ROWS
    }

    /// Adds the row of an event.
    pub fn push(&mut self, event: &Event) {
        let text = std::str::from_utf8(event.body);
        let parsed = text.ok().and_then(Dynamic::parse_json);
        let properties = Bag::from_entries(
            event
                .properties
                .iter()
                .map(|(name, value)| (name.clone(), value.clone().map_or(Dynamic::Null, Dynamic::String)))
                .collect(),
        );
        let system = [
            Value::DateTime(DateTime(event.enqueued)),
            Value::String(event.device.to_owned()),
            Value::String(event.module.to_owned()),
            Value::String(event.source.to_owned()),
            Value::Int(i32::from(event.partition)),
            Value::Long(event.sequence_number as i64),
            Value::String(event.message_id.to_owned()),
            Value::String(event.correlation_id.to_owned()),
            Value::String(event.content_type.to_owned()),
            Value::String(event.model_id.to_owned()),
            Value::Dynamic(Dynamic::Bag(properties)),
        ];
        let typed = self.builders.split_off(SYSTEM.len());
        for (builder, value) in self.builders.iter_mut().zip(system) {
            builder.push(value);
        }
        self.builders.extend(typed);
        for (builder, name) in self.builders[SYSTEM.len()..].iter_mut().zip(&self.names) {
            match parsed.as_ref().and_then(|body| body.member(name)) {
                Some(value) => builder.push_cell(Cell::from(value)),
                None => builder.push_absent(),
            }
        }
        match (&parsed, text) {
            (Some(_), Ok(text)) => self.bodies.push(text),
            // What is no JSON is a JSON text; what is no text is told in Base64, as event consumers see it.
            (None, Ok(text)) => self.bodies.push(&Dynamic::String(text.to_owned()).to_json()),
            (_, Err(_)) => {
                use base64::Engine;
                let encoded = base64::engine::general_purpose::STANDARD.encode(event.body);
                self.bodies.push(&Dynamic::String(encoded).to_json());
            }
        }
    }

    /// The rows so far as a chunk; none when there are none.
    pub fn take(&mut self) -> Option<Chunk> {
        let rows = self.bodies.len();
        if rows == 0 {
            return None;
        }
        let builders = std::mem::take(&mut self.builders);
        let bodies = std::mem::take(&mut self.bodies);
        self.begin();
        let body = SYSTEM.len() - 1;
        let mut bodies = Some(bodies);
        let columns = builders.into_iter().enumerate().map(|(at, builder)| {
            Arc::new(match bodies.take_if(|_| at == body) {
                Some(bodies) => Column::json(bodies),
                None => builder.finish(),
            })
        });
        Some(Chunk::new(columns.collect(), rows))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(body: &[u8]) -> Event<'_> {
        Event {
            enqueued: 0,
            device: "motor-1",
            module: "",
            source: "Telemetry",
            partition: 2,
            sequence_number: 7,
            message_id: "",
            correlation_id: "",
            content_type: "application/json",
            model_id: "",
            properties: &[],
            body,
        }
    }

    fn value(chunk: &Chunk, columns: &[SchemaColumn], name: &str, row: usize) -> Value {
        let at = columns.iter().position(|column| *column.name == *name).unwrap();
        chunk.columns[at].value(row)
    }

    #[test]
    fn names_of_bodies_become_columns_that_widen_and_nothing_is_lost() {
        let bodies: [&[u8]; 6] = [
            br#"{"temperature":20,"ok":true,"Body":"b","tag":1}"#,
            br#"{"temperature":20.5,"tag":"x","deep":{"a":1},"none":null}"#,
            b"no json",
            b"\xff\x00",
            b"[1,2]",
            b"",
        ];
        let mut seen = Seen::default();
        bodies.iter().for_each(|body| seen.note(body));
        let columns = seen.columns();
        let typed: Vec<String> = columns[SYSTEM.len()..].iter().map(ToString::to_string).collect();
        assert_eq!(typed, ["temperature:real", "ok:bool", "Body_Body:string", "tag:dynamic", "deep:dynamic"]);
        let mut rows = Rows::new(&columns);
        bodies.iter().for_each(|body| rows.push(&event(body)));
        let chunk = rows.take().unwrap();
        assert!(rows.take().is_none());
        let of = |name: &str, row: usize| value(&chunk, &columns, name, row);
        assert_eq!(of("temperature", 0), Value::Real(20.0));
        assert_eq!(of("temperature", 2), Value::Null);
        assert_eq!(of("Body_Body", 0), Value::String("b".into()));
        assert_eq!(of("tag", 1).to_string(), "x");
        assert_eq!(of("Body", 1).to_string(), r#"{"temperature":20.5,"tag":"x","deep":{"a":1},"none":null}"#);
        assert_eq!(of("Body", 2).to_string(), "no json");
        assert_eq!(of("Body", 3).to_string(), "/wA=");
        assert_eq!(of("Body", 4).to_string(), "[1,2]");
        assert_eq!(of("Partition", 0), Value::Int(2));
    }
}
