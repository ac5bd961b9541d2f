use std::sync::atomic::{AtomicU64, Ordering};

use gantry_analytics::store::{MemoryStore, maintenance};
use gantry_analytics::{Ask, By, Cancel, Limits, Warehouse};
use gantry_hub::event::SystemProperties;
use gantry_hub::ports::{Batch, EventCursor, PartitionState, PortFuture};
use gantry_hub::routing::Destinations;
use gantry_identity::{Identity, Timestamp};
use gantry_kql::value::Value;

use super::*;

/// Two partitions of events in memory.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<[Vec<StoredEvent>; 2]>>);

impl Log {
    fn append(&self, partition: u16, device: &str, body: impl Into<String>) {
        let mut partitions = self.0.lock().unwrap();
        let events = &mut partitions[usize::from(partition)];
        let sequence_number = events.len() as u64;
        events.push(StoredEvent {
            partition,
            sequence_number,
            enqueued_at: Timestamp::from_millis(1_700_000_000_000 + sequence_number as i64),
            source: MessageSource::Telemetry,
            identity: Identity::parse(device).unwrap(),
            generation_id: String::new(),
            auth_method: String::new(),
            model_id: None,
            system: SystemProperties::default(),
            properties: vec![],
            destinations: Destinations::BUILT_IN,
            added: vec![],
            body: body.into().into(),
        });
    }
}

impl EventSource for Log {
    fn partitions(&self) -> u16 {
        2
    }

    fn created_at(&self) -> Timestamp {
        Timestamp::NEVER
    }

    fn partition(&self, partition: u16) -> PortFuture<'_, Option<PartitionState>, LogError> {
        let partitions = self.0.lock().unwrap();
        let last = partitions[usize::from(partition)].last().map(|event| (event.sequence_number, event.enqueued_at));
        Box::pin(std::future::ready(Ok(Some(PartitionState { begin: 0, last, is_empty: last.is_none() }))))
    }

    fn read(&self, partition: u16, start: Start) -> PortFuture<'_, Option<Box<dyn EventCursor>>, LogError> {
        let Start::At(next) = start else { panic!("{start:?}") };
        let cursor: Box<dyn EventCursor> = Box::new(Cursor(self.clone(), partition, next));
        Box::pin(std::future::ready(Ok(Some(cursor))))
    }
}

struct Cursor(Log, u16, u64);

impl EventCursor for Cursor {
    fn position(&self) -> u64 {
        self.2
    }

    fn next(&mut self, events_max: usize, _: usize) -> PortFuture<'_, Option<Batch>, LogError> {
        let partitions = self.0.0.lock().unwrap();
        let events: Vec<StoredEvent> =
            partitions[usize::from(self.1)].iter().skip(self.2 as usize).take(events_max).cloned().collect();
        drop(partitions);
        self.2 += events.len() as u64;
        Box::pin(std::future::ready(Ok(Some(Batch { events, missed: 0 }))))
    }
}

struct World {
    runtime: tokio::runtime::Runtime,
    log: Log,
    store: Arc<dyn TableStore>,
    table: Arc<EventTable>,
}

impl World {
    fn new(log: Log, store: Arc<dyn TableStore>) -> World {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let waiter = Waiter(runtime.handle().clone());
        let ports: (Arc<dyn EventSource>, _) = (Arc::new(log.clone()), Arc::clone(&store));
        let takes = |source| source == MessageSource::Telemetry;
        let table = EventTable::new("Telemetry", "Messages.", waiter, ports, takes, 10);
        World { runtime, log, store, table: Arc::new(table) }
    }

    /// The first row of a query.
    fn ask(&self, text: &str) -> Vec<Value> {
        let source: Arc<dyn Source> = Arc::<EventTable>::clone(&self.table);
        let warehouse =
            Warehouse::new("telemetry", [("Telemetry".to_owned(), source)]).with_store(Arc::clone(&self.store));
        let ask = Ask {
            database: None,
            text,
            parameters: &[],
            now: 0,
            limits: &|_| Limits::default(),
            rows_wanted: None,
            cancel: Cancel::default(),
            by: By::default(),
        };
        let tables = warehouse.query(&ask).unwrap_or_else(|rejected| panic!("{text}: {rejected:?}"));
        assert_eq!(tables[0].failure, None, "{text}");
        let chunk = tables[0].chunks.iter().find(|chunk| chunk.rows > 0).unwrap_or_else(|| panic!("{text}: no row"));
        chunk.columns.iter().map(|column| column.value(0)).collect()
    }

    fn extents(&self) -> usize {
        self.store.snapshot().extents.values().map(|extents| extents.len()).sum()
    }
}

fn text(text: &str) -> Value {
    Value::String(text.into())
}

#[test]
fn every_event_is_there_once_wherever_it_is_and_after_every_opening() {
    let place = tempfile::tempdir().unwrap();
    let open = || -> Arc<dyn TableStore> { Arc::new(gantry_tables::Folder::open(place.path()).unwrap()) };
    let log = Log::default();
    let mut world = World::new(log.clone(), open());
    let mut sum = 0;
    for round in 0_i64..40 {
        for n in 0..=round % 7 {
            world.log.append((n % 2) as u16, &format!("motor-{n}"), format!(r#"{{"n":{}}}"#, round + n));
            sum += round + n;
        }
        match round % 3 {
            0 => drop(world.table.seal().unwrap()),
            1 => {}
            // A crash: what was not committed is not there.
            _ => {
                drop(world);
                world = World::new(log.clone(), open());
            }
        }
        let events = log.0.lock().unwrap().iter().map(Vec::len).sum::<usize>() as i64;
        let found =
            world.ask("Telemetry | summarize count(), sum(n), dcount(strcat(Partition, '/', SequenceNumber), 4)");
        assert_eq!(found, [Value::Long(events), Value::Long(sum), Value::Long(events)], "round {round}");
    }
    assert!(world.extents() > 2, "{} extents", world.extents());
    let context = Context::new(0, Limits::default(), Cancel::default(), 0);
    while maintenance::merge(&*world.store, "Telemetry", &ORDER, &context).unwrap() {}
    assert!(world.extents() < 5, "{} extents", world.extents());
    assert_eq!(world.ask("Telemetry | summarize sum(n)"), [Value::Long(sum)]);
    drop(world.runtime);
}

#[test]
fn columns_widen_over_extents_and_bodies_stay_as_they_were_sent() {
    let world = World::new(Log::default(), Arc::new(MemoryStore::default()));
    for n in 0..10 {
        world.log.append(0, "motor-1", format!(r#"{{ "n": {n}, "s": "x", "late": null }}"#));
    }
    world.table.seal().unwrap();
    assert_eq!(world.extents(), 1);
    world.log.append(1, "motor-2", r#"{"n": 1.50, "s": 7, "late": true}"#);
    let types = world
        .ask("Telemetry | getschema | where ColumnName in ('n', 's', 'late') | summarize t = make_list(ColumnType)");
    assert_eq!(types[0].to_string(), r#"["real","dynamic","bool"]"#);
    assert_eq!(world.ask("Telemetry | summarize sum(n), countif(isnull(late))"), [Value::Real(46.5), Value::Long(10)]);
    assert_eq!(world.ask("Telemetry | summarize countif(tostring(s) == 'x')"), [Value::Long(10)]);
    for n in 0..10 {
        world.log.append(1, "motor-3", format!("no json {n}"));
    }
    world.table.seal().unwrap();
    assert_eq!(world.extents(), 2);
    assert_eq!(world.ask("Telemetry | summarize sum(n), count()"), [Value::Real(46.5), Value::Long(21)]);
    let body = |device: &str| {
        world.ask(&format!("Telemetry | where DeviceId == '{device}' | top 1 by SequenceNumber asc | project Body"))
    };
    assert_eq!(body("motor-2")[0].to_string(), r#"{"n":1.5,"s":7,"late":true}"#);
    assert_eq!(body("motor-3"), [text("no json 0")]);
    let raw = world.store.snapshot();
    let table = &raw.definitions.fed["Telemetry"];
    let bodies =
        table.columns.iter().find(|column| column.name == "Body").map(|column| (column.id, column.ty)).unwrap();
    let (context, mut kept) = (Context::new(0, Limits::default(), Cancel::default(), 0), String::new());
    for extent in raw.extents_of(table.id) {
        let read = world.store.read(extent, &[bodies], &[], &context, &mut |chunk| {
            chunk.columns[0].texts().unwrap().iter().for_each(|text| kept.push_str(text));
            Ok(Flow::More)
        });
        assert_eq!(read, Ok(Flow::More));
    }
    assert!(kept.contains(r#"{"n": 1.50, "s": 7, "late": true}"#), "{kept}");
}

/// A store that counts what is read of it.
struct Counted(MemoryStore, AtomicU64);

impl TableStore for Counted {
    fn snapshot(&self) -> Arc<Snapshot> {
        self.0.snapshot()
    }

    fn write(&self, rows: &Rows) -> Result<Arc<Extent>> {
        let extent = self.0.write(rows)?;
        let span = |at: usize| gantry_analytics::store::Span {
            column: rows.columns[at].0,
            low: rows.chunks[0].columns[at].value(0),
            high: rows.chunks[0].columns[at].value(rows.chunks[0].rows - 1),
        };
        let Extent { id, rows: count, bytes, created, tags, columns, cold, kept, .. } =
            Arc::into_inner(extent).unwrap();
        Ok(Arc::new(Extent { id, rows: count, bytes, created, tags, columns, spans: vec![span(1)], cold, kept }))
    }

    fn change(&self, edit: &mut dyn FnMut(&mut Snapshot) -> Result<()>) -> Result<Arc<Snapshot>> {
        self.0.change(edit)
    }

    fn read(
        &self,
        extent: &Extent,
        columns: &[(u64, Type)],
        ranges: &[Range],
        context: &Context,
        sink: &mut dyn FnMut(Chunk) -> Result<Flow>,
    ) -> Result<Flow> {
        self.1.fetch_add(1 << (8 * columns.len()), Ordering::Relaxed);
        self.0.read(extent, columns, ranges, context, sink)
    }
}

#[test]
fn a_question_reads_the_extents_and_columns_that_it_needs() {
    let store = Arc::new(Counted(MemoryStore::default(), AtomicU64::new(0)));
    let world = World::new(Log::default(), Arc::<Counted>::clone(&store));
    for device in ["a", "b", "c"] {
        for n in 0..10 {
            world.log.append(0, device, format!(r#"{{"n":{n},"m":1}}"#));
        }
        world.table.seal().unwrap();
    }
    assert_eq!(world.extents(), 3);
    assert_eq!(world.ask("Telemetry | where DeviceId == 'b' | summarize sum(n)"), [Value::Long(45)]);
    assert_eq!(store.1.swap(0, Ordering::Relaxed), 1 << 16, "one extent, two columns");
    for question in ["DeviceId in ('b', 'bb')", "DeviceId startswith_cs 'b'"] {
        assert_eq!(world.ask(&format!("Telemetry | where {question} | summarize sum(n)")), [Value::Long(45)]);
        assert_eq!(store.1.swap(0, Ordering::Relaxed), 1 << 16, "{question}");
    }
    assert_eq!(world.ask("Telemetry | where DeviceId !in ('b') | summarize sum(n)"), [Value::Long(90)]);
    assert_eq!(store.1.swap(0, Ordering::Relaxed), 3 << 16, "what is not wanted tells nothing");
    assert_eq!(world.ask("Telemetry | count"), [Value::Long(30)]);
    assert_eq!(store.1.swap(0, Ordering::Relaxed), 3, "three extents, no column");
}

#[test]
fn charts_go_back_beyond_the_last_start_and_no_farther_than_asked() {
    let store: Arc<dyn TableStore> = Arc::new(MemoryStore::default());
    let mut world = World::new(Log::default(), Arc::clone(&store));
    for n in 0..25 {
        let body = format!(r#"{{"motor": {{"temperature": {n}.5}}, "time": {}}}"#, 1_700_000_000_000_i64 + n * 1_000);
        world.log.append(0, "motor-1", body);
        world.log.append(0, "motor-2", r#"{"motor": {"temperature": 1}}"#);
        world.table.seal().unwrap();
    }
    world = World::new(world.log.clone(), store);
    world.log.append(1, "motor-1", "no json");
    assert!(world.extents() > 2);
    let history = super::super::history::OfTelemetry(Arc::clone(&world.table));
    let values = |before: Option<i64>, limit| -> Vec<(i64, f64)> {
        let before = before.map(|second| Timestamp::from_millis(1_700_000_000_000 + second * 1_000));
        let found = gantry_api::History::values(&history, "motor-1", "motor.temperature", before, limit).unwrap();
        found.iter().map(|one| ((one.at.as_millis() - 1_700_000_000_000) / 1_000, one.value)).collect()
    };
    assert_eq!(values(None, 3), [(22, 22.5), (23, 23.5), (24, 24.5)]);
    assert_eq!(values(Some(3), 100), [(0, 0.5), (1, 1.5), (2, 2.5)]);
    assert_eq!(values(None, 100).len(), 25);
    assert_eq!(values(None, 0), []);
    let other = gantry_api::History::values(&history, "motor-2", "temperature", None, 10).unwrap();
    assert_eq!(other, [], "another signal");
}
