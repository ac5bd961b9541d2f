//! Telemetry as a table: how an event becomes a row.
//!
//! Every row has the columns of [`SYSTEM`]; behind them stands a column for each name that the bodies (JSON objects)
//! have at their top, typed by what was seen: whole numbers are `long`, with a fraction `real`, then `bool` and
//! `string`; a name that has had values of two kinds is `dynamic`, and whole numbers beside others are `real`. What a
//! column cannot hold is never lost: `Body` is the whole body, as JSON, or as text when it is none.
//! A name of a body that is one of a system column's stands as `Body_NAME`.

use std::sync::Arc;

use gantry_kql::bound::Column as SchemaColumn;
use gantry_kql::value::{Bag, Dynamic, Type, Value};

use crate::chunk::{CHUNK_ROWS, Chunk};
use crate::column::{Builder, Cell, Column, Strings};
use crate::pushdown::Need;

/// The columns that every row has.
pub const SYSTEM: [(&str, Type); 13] = [
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
    ("ComponentName", Type::String),
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
    /// Empty for none, as the four that follow.
    pub message_id: &'a str,
    /// Correlation id.
    pub correlation_id: &'a str,
    /// Content type.
    pub content_type: &'a str,
    /// Model id.
    pub model_id: &'a str,
    /// The component of the model that sent it, empty for the device itself.
    pub component: &'a str,
    /// Application properties.
    pub properties: &'a [(String, Option<String>)],
    /// The body.
    pub body: &'a [u8],
}

/// What bodies have been seen to hold.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Seen {
    types: Vec<(String, Type)>,
    places: std::collections::HashMap<String, usize>,
}

impl Seen {
    /// What an earlier [`columns`](Self::columns) tells.
    pub fn of(columns: &[SchemaColumn]) -> Seen {
        let mut seen = Seen::default();
        // By name: rows of an earlier build have fewer of the others.
        for column in columns.iter().filter(|column| SYSTEM.iter().all(|(system, _)| *system != &*column.name)) {
            seen.add(body_name(&column.name).to_owned(), column.ty);
        }
        seen
    }

    fn add(&mut self, name: String, ty: Type) {
        self.places.insert(name.clone(), self.types.len());
        self.types.push((name, ty));
    }

    /// Notes a value of a name; answers the place of its column, none when there are too many.
    fn note(&mut self, name: &str, ty: Type) -> Option<usize> {
        match self.places.get(name) {
            Some(at) => {
                let known = &mut self.types[*at].1;
                *known = widened(*known, ty);
                Some(*at)
            }
            None if self.types.len() < TYPED_COLUMNS_MAX && name.len() <= NAME_BYTES_MAX => {
                self.add(name.to_owned(), ty);
                Some(self.types.len() - 1)
            }
            None => None,
        }
    }

    /// The columns of the table.
    pub fn columns(&self) -> Vec<SchemaColumn> {
        let system = SYSTEM.iter().map(|(name, ty)| SchemaColumn::new(*name, *ty));
        system.chain(self.types.iter().map(|(name, ty)| SchemaColumn::new(column_name(name), *ty))).collect()
    }
}

/// The name in bodies of a column.
fn body_name(column: &str) -> &str {
    let name = column.strip_prefix("Body_").filter(|name| SYSTEM.iter().any(|(system, _)| system == name));
    name.unwrap_or(column)
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

/// Where the bodies are among the columns.
const BODY: usize = SYSTEM.len() - 1;

/// Rows of events on their way into chunks. Columns come, and widen, as bodies show them.
#[derive(Debug, Default)]
pub struct Gather {
    seen: Seen,
    system: Vec<Builder>,
    typed: Vec<Builder>,
    /// Columns whose type has widened since the chunk began: they are made of the bodies when it ends.
    widened: Vec<bool>,
    bodies: Strings,
}

impl Gather {
    /// No rows yet; bodies have been seen to hold this.
    pub fn new(seen: Seen) -> Gather {
        let mut rows = Gather { seen, ..Gather::default() };
        rows.begin();
        rows
    }

    fn begin(&mut self) {
        self.system = SYSTEM[..BODY].iter().map(|(_, ty)| Builder::new(*ty, 256)).collect();
        self.typed = self.seen.types.iter().map(|(_, ty)| Builder::new(*ty, 256)).collect();
        self.widened = vec![false; self.typed.len()];
        self.bodies = Strings::default();
    }

    /// What bodies have been seen to hold so far.
    pub fn seen(&self) -> &Seen {
        &self.seen
    }

    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.bodies.len()
    }

    /// Whether there are as many rows as a chunk should have.
    pub fn is_full(&self) -> bool {
        self.rows() >= CHUNK_ROWS
    }

    /// Adds the row of an event.
    pub fn push(&mut self, event: &Event) {
        let properties = Bag::from_entries(
            event
                .properties
                .iter()
                .map(|(name, value)| (name.clone(), value.clone().map_or(Dynamic::Null, Dynamic::String)))
                .collect(),
        );
        let cells = [
            Cell::DateTime(event.enqueued),
            Cell::String(event.device),
            Cell::String(event.module),
            Cell::String(event.source),
            Cell::Int(i32::from(event.partition)),
            Cell::Long(event.sequence_number as i64),
            Cell::String(event.message_id),
            Cell::String(event.correlation_id),
            Cell::String(event.content_type),
            Cell::String(event.model_id),
            Cell::String(event.component),
        ];
        for (builder, cell) in self.system.iter_mut().zip(cells) {
            builder.push_cell(cell);
        }
        self.system[BODY - 1].push(Value::Dynamic(Dynamic::Bag(properties)));
        let text = std::str::from_utf8(event.body);
        let parsed = text.ok().and_then(Dynamic::parse_json);
        if let Some(Dynamic::Bag(bag)) = &parsed {
            for (name, value) in bag.iter() {
                self.put(name, value);
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
        let rows = self.bodies.len();
        self.typed.iter_mut().filter(|builder| builder.len() < rows).for_each(Builder::push_absent);
    }

    /// The value of a name in the body of the row that is being added.
    fn put(&mut self, name: &str, value: &Dynamic) {
        let Some(ty) = type_of(value) else { return };
        let Some(at) = self.seen.note(name, ty) else { return };
        if at == self.typed.len() {
            let mut builder = Builder::new(ty, self.bodies.len() + 256);
            (0..self.bodies.len()).for_each(|_| builder.push_absent());
            self.typed.push(builder);
            self.widened.push(false);
        }
        let builder = &mut self.typed[at];
        self.widened[at] |= builder.ty() != self.seen.types[at].1;
        // A name that comes twice in a body counts once.
        if builder.len() == self.bodies.len() {
            builder.push_cell(Cell::from(value));
        }
    }

    /// The rows so far as a chunk, and its columns; none when there are no rows.
    pub fn take(&mut self) -> Option<(Vec<SchemaColumn>, Chunk)> {
        let rows = self.rows();
        if rows == 0 {
            return None;
        }
        let mut columns: Vec<Arc<Column>> =
            std::mem::take(&mut self.system).into_iter().map(|builder| Arc::new(builder.finish())).collect();
        let bodies = Arc::new(Column::json(std::mem::take(&mut self.bodies)));
        columns.push(Arc::clone(&bodies));
        let typed = std::mem::take(&mut self.typed).into_iter().zip(&self.widened).zip(&self.seen.types);
        for ((builder, widened), (name, ty)) in typed {
            columns.push(Arc::new(if *widened { of_bodies(&bodies, name, *ty) } else { builder.finish() }));
        }
        self.begin();
        Some((self.seen.columns(), Chunk::new(columns, rows)))
    }
}

/// The column of a name, made of bodies.
fn of_bodies(bodies: &Column, name: &str, ty: Type) -> Column {
    let mut builder = Builder::new(ty, bodies.len());
    let Some(texts) = bodies.texts() else { return Column::absent(ty, bodies.len()) };
    for text in texts.iter() {
        match Dynamic::parse_json(text).as_ref().and_then(|body| body.member(name)) {
            Some(value) => builder.push_cell(Cell::from(value)),
            None => builder.push_absent(),
        }
    }
    builder.finish()
}

/// How the columns of older rows become those of the table today.
#[derive(Debug)]
pub struct Conform {
    /// For each column that is wanted: where it is among the older ones, or that it is made of the bodies.
    steps: Vec<Step>,
    /// Which of the older columns are used.
    used: Vec<bool>,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Same(usize),
    /// Of the bodies, which are at this place.
    OfBody(usize),
    Absent,
}

impl Conform {
    /// From columns that rows have to columns that a query looks at.
    pub fn new(had: &[SchemaColumn], wanted: &[SchemaColumn], need: &Need) -> Conform {
        let mut used = vec![false; had.len()];
        let body = had.iter().position(|column| &*column.name == SYSTEM[BODY].0).unwrap_or(BODY);
        let step = |(at, column): (usize, &SchemaColumn)| {
            if !need.uses(at) {
                return Step::Absent;
            }
            match had.iter().position(|known| known.name == column.name) {
                Some(at) if had[at].ty == column.ty => {
                    used[at] = true;
                    Step::Same(at)
                }
                Some(_) => {
                    used[body] = true;
                    Step::OfBody(body)
                }
                None => Step::Absent,
            }
        };
        Conform { steps: wanted.iter().enumerate().map(step).collect(), used }
    }

    /// Whether a column that rows have is needed.
    pub fn uses(&self, at: usize) -> bool {
        self.used[at]
    }

    /// The rows in the columns that are wanted.
    pub fn apply(&self, chunk: &Chunk, wanted: &[SchemaColumn]) -> Chunk {
        let column = |(step, column): (&Step, &SchemaColumn)| match step {
            Step::Same(at) => Arc::clone(&chunk.columns[*at]),
            Step::OfBody(at) => Arc::new(of_bodies(&chunk.columns[*at], body_name(&column.name), column.ty)),
            Step::Absent => Arc::new(Column::absent(column.ty, chunk.rows)),
        };
        Chunk::new(self.steps.iter().zip(wanted).map(column).collect(), chunk.rows)
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
            component: "",
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
        let mut rows = Gather::new(Seen::default());
        bodies.iter().for_each(|body| rows.push(&event(body)));
        let (columns, chunk) = rows.take().unwrap();
        let typed: Vec<String> = columns[SYSTEM.len()..].iter().map(ToString::to_string).collect();
        assert_eq!(typed, ["temperature:real", "ok:bool", "Body_Body:string", "tag:dynamic", "deep:dynamic"]);
        assert!(rows.take().is_none());
        assert_eq!(Seen::of(&columns), *rows.seen());
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

    #[test]
    fn older_rows_have_the_columns_of_today() {
        let mut rows = Gather::new(Seen::default());
        rows.push(&event(br#"{"n":1,"s":"x"}"#));
        rows.push(&event(br#"{"s":""}"#));
        let (had, old) = rows.take().unwrap();
        rows.push(&event(br#"{"n":0.5,"s":7,"new":true}"#));
        let (wanted, _) = rows.take().unwrap();
        let all = Conform::new(&had, &wanted, &Need::all());
        let today = all.apply(&old, &wanted);
        let of = |name: &str, row: usize| value(&today, &wanted, name, row);
        assert_eq!((of("n", 0), of("n", 1)), (Value::Real(1.0), Value::Null));
        assert_eq!(of("s", 0).to_string(), "x");
        assert_eq!((of("new", 0), of("DeviceId", 1)), (Value::Null, Value::String("motor-1".into())));
        assert_eq!(of("Body", 1).to_string(), r#"{"s":""}"#);
        let only = Need { columns: Some(wanted.iter().map(|column| &*column.name == "n").collect()), ranges: vec![] };
        let few = Conform::new(&had, &wanted, &only);
        let used: Vec<&str> = (0..had.len()).filter(|at| few.uses(*at)).map(|at| &*had[at].name).collect();
        assert_eq!(used, ["Body"], "a column that has widened is made of the bodies");
    }

    #[test]
    fn rows_of_a_build_that_had_fewer_columns_are_read() {
        let mut rows = Gather::new(Seen::default());
        rows.push(&event(br#"{"n":1}"#));
        let (mut had, old) = rows.take().unwrap();
        let at = had.iter().position(|column| &*column.name == "ComponentName").unwrap();
        had.remove(at);
        let mut columns = old.columns.clone();
        columns.remove(at);
        let old = Chunk::new(columns, old.rows);
        assert_eq!(Seen::of(&had), *rows.seen());
        rows.push(&Event { component: "fan", ..event(br#"{"n":0.5}"#) });
        let (wanted, new) = rows.take().unwrap();
        assert_eq!(value(&new, &wanted, "ComponentName", 0), Value::String("fan".into()));
        let today = Conform::new(&had, &wanted, &Need::all()).apply(&old, &wanted);
        let of = |name: &str| value(&today, &wanted, name, 0);
        assert_eq!((of("n"), of("DeviceId")), (Value::Real(1.0), Value::String("motor-1".into())));
        assert_eq!(of("ComponentName").to_string(), "");
    }
}
