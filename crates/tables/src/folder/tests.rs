use std::sync::Arc;

use gantry_analytics::column::Builder;
use gantry_analytics::pushdown::Range;
use gantry_analytics::store::{Rows, Snapshot, TableStore};
use gantry_analytics::{Ask, By, Cancel, Chunk, Context, Flow, Limits, Warehouse};
use gantry_kql::bound::Column as SchemaColumn;
use gantry_kql::value::{Bag, DateTime, Decimal, Dynamic, Guid, TimeSpan, Type, Value};
use proptest::prelude::*;

use super::Folder;

fn context() -> Context {
    Context::new(0, Limits::default(), Cancel::default(), 0)
}

pub(super) fn chunk(columns: &[(u64, Type)], rows: &[Vec<Value>]) -> Chunk {
    let column = |(at, (_, ty)): (usize, &(u64, Type))| {
        let mut builder = Builder::new(*ty, rows.len());
        rows.iter().for_each(|row| builder.push(row[at].clone()));
        builder.finish()
    };
    Chunk::of(columns.iter().enumerate().map(column).collect(), rows.len())
}

pub(super) fn write(
    folder: &Folder,
    columns: &[(u64, Type)],
    chunks: &[Chunk],
) -> Arc<gantry_analytics::store::Extent> {
    let names: Vec<String> = columns.iter().map(|(id, _)| format!("c{id}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    folder.write(&Rows { columns, names: &names, chunks, created: 7, tags: vec!["t".into()] }).unwrap()
}

pub(super) fn read(
    folder: &Folder,
    extent: &gantry_analytics::store::Extent,
    columns: &[(u64, Type)],
    ranges: &[Range],
) -> Vec<Vec<Value>> {
    let mut rows = Vec::new();
    let flow = folder.read(extent, columns, ranges, &context(), &mut |chunk| {
        rows.extend(values(&chunk));
        Ok(Flow::More)
    });
    assert_eq!(flow, Ok(Flow::More));
    rows
}

/// The same by columns that are read when somebody looks at them.
fn read_later(folder: &Folder, extent: &gantry_analytics::store::Extent, columns: &[(u64, Type)]) -> Vec<Vec<Value>> {
    let mut rows = Vec::new();
    let context = context();
    context.read_later();
    let flow = folder.read(extent, columns, &[], &context, &mut |chunk| {
        // A choice of rows of what is not read yet is not read yet either.
        let (first, last) = (chunk.slice(0, chunk.rows / 2), chunk.slice(chunk.rows / 2, chunk.rows - chunk.rows / 2));
        rows.extend(values(&first).into_iter().chain(values(&last)));
        Ok(Flow::More)
    });
    assert_eq!((flow, context.check()), (Ok(Flow::More), Ok(())));
    rows
}

fn values(chunk: &Chunk) -> Vec<Vec<Value>> {
    (0..chunk.rows).map(|row| chunk.columns.iter().map(|column| column.value(row)).collect()).collect()
}

const ALL: [(u64, Type); 10] = [
    (1, Type::Bool),
    (2, Type::Int),
    (3, Type::Long),
    (4, Type::Real),
    (5, Type::Decimal),
    (6, Type::String),
    (7, Type::DateTime),
    (8, Type::TimeSpan),
    (9, Type::Guid),
    (10, Type::Dynamic),
];

fn value(ty: Type) -> BoxedStrategy<Value> {
    let ticks = prop_oneof![Just(0_i64), Just(DateTime::MAX.0), 621_355_968_000_000_000_i64..=700_000_000_000_000_000];
    let some = match ty {
        Type::Bool => any::<bool>().prop_map(Value::Bool).boxed(),
        Type::Int => any::<i32>().prop_map(Value::Int).boxed(),
        Type::Long => any::<i64>().prop_map(Value::Long).boxed(),
        Type::Real => prop_oneof![Just(f64::INFINITY), Just(-0.0), any::<i32>().prop_map(|n| f64::from(n) / 100.0)]
            .prop_map(Value::Real)
            .boxed(),
        Type::Decimal => any::<i64>().prop_map(|n| Value::Decimal(Decimal::from(n))).boxed(),
        Type::String => return "[a-c\u{e9}\u{1f600}]{0,3}".prop_map(Value::String).boxed(),
        Type::DateTime => ticks.prop_map(|ticks| Value::DateTime(DateTime(ticks))).boxed(),
        Type::TimeSpan => any::<i64>().prop_map(|ticks| Value::TimeSpan(TimeSpan(ticks))).boxed(),
        Type::Guid => any::<u128>().prop_map(|bits| Value::Guid(Guid(bits))).boxed(),
        _ => prop_oneof![
            any::<i64>().prop_map(Dynamic::Long),
            "[a-z\"]{0,4}".prop_map(Dynamic::String),
            any::<bool>().prop_map(|b| Dynamic::Bag(Bag::from_entries(vec![("a b".into(), Dynamic::Bool(b))]))),
            Just(Dynamic::Array(vec![Dynamic::Null])),
        ]
        .prop_map(Value::Dynamic)
        .boxed(),
    };
    prop_oneof![4 => some, 1 => Just(Value::Null)].boxed()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn what_is_written_comes_back(rows in prop::collection::vec(ALL.map(|(_, ty)| value(ty)).to_vec(), 0..60)) {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::open(place.path()).unwrap();
        let half = rows.len() / 2;
        let chunks = [chunk(&ALL, &rows[..half]), chunk(&ALL, &rows[half..])];
        let extent = write(&folder, &ALL, &chunks);
        let before: Vec<_> = chunks.iter().flat_map(values).collect();
        prop_assert_eq!(&read_later(&folder, &extent, &ALL), &before);
        prop_assert_eq!(read(&folder, &extent, &ALL, &[]), before);
    }
}

#[test]
fn texts_that_repeat_and_texts_that_do_not_come_back() {
    let place = tempfile::tempdir().unwrap();
    let folder = Folder::open(place.path()).unwrap();
    let columns = [(1, Type::String), (2, Type::String), (3, Type::Dynamic)];
    // More than a group of rows, so that the last one is not full; as many words as need several bits.
    let rows: Vec<Vec<Value>> = (0..20_000_i64)
        .map(|n| {
            let body = Dynamic::parse_json(&format!(r#"{{"n":{n},"t":"ä"}}"#)).unwrap();
            vec![Value::String(format!("device-{}", n / 7 % 300)), Value::String(format!("ü{n}")), Value::Dynamic(body)]
        })
        .collect();
    let extent = write(&folder, &columns, &[chunk(&columns, &rows)]);
    assert_eq!(read_later(&folder, &extent, &columns), rows);
    assert_eq!(read(&folder, &extent, &columns, &[]), rows);
}

#[test]
fn a_column_that_cannot_be_read_later_fails_the_query() {
    let place = tempfile::tempdir().unwrap();
    let folder = Folder::open(place.path()).unwrap();
    let columns = [(1, Type::Long), (2, Type::String)];
    let rows: Vec<Vec<Value>> =
        (0..500).map(|n| vec![Value::Long(n * n), Value::String(format!("text {n}"))]).collect();
    let extent = write(&folder, &columns, &[chunk(&columns, &rows)]);
    let file = place.path().join(format!("{}.parquet", extent.id));
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[4..200].fill(0xff);
    std::fs::write(&file, bytes).unwrap();
    let context = context();
    context.read_later();
    let flow = folder.read(&extent, &columns, &[], &context, &mut |chunk| {
        assert!(context.check().is_ok(), "nothing is read yet");
        chunk.settle();
        Ok(Flow::More)
    });
    assert_eq!(flow, Ok(Flow::More));
    assert!(context.check().is_err(), "the end of the query hears of it");
}

#[test]
fn what_cannot_be_read_is_copied_nowhere() {
    let place = tempfile::tempdir().unwrap();
    let folder = Arc::new(Folder::open(place.path()).unwrap());
    let warehouse = Warehouse::new("telemetry", []).with_store(folder.clone());
    let ask = |text: &str| {
        let by = By { may_write: true, ..By::default() };
        let (now, limits) = (638_400_000_000_000_000, &|_: &[(String, Value)]| Limits::default());
        let cancel = Cancel::default();
        let ask = Ask { database: None, text, parameters: &[], now, limits, rows_wanted: None, cancel, by };
        let tables = if text.starts_with('.') { warehouse.command(&ask) } else { warehouse.query(&ask) };
        match tables {
            Ok(tables) => tables[0].failure.as_ref().map(ToString::to_string),
            Err(rejected) => Some(rejected.to_string()),
        }
    };
    assert_eq!(ask(".set T <| range n from 1 to 500 step 1 | extend t = strcat('text ', n * n)"), None);
    let extent = folder.snapshot().extents.values().next().unwrap()[0].clone();
    let file = place.path().join(format!("{}.parquet", extent.id));
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[4..200].fill(0xff);
    std::fs::write(&file, bytes).unwrap();
    for text in ["T", "T | where n > 7", ".set Copy <| T", ".set-or-append Copy <| T | project n"] {
        assert!(ask(text).is_some(), "{text}");
    }
    assert!(!folder.snapshot().definitions.tables.contains_key("Copy"), "no table of absent values");
}

#[test]
fn columns_are_found_by_id_and_those_that_are_missing_are_absent() {
    let place = tempfile::tempdir().unwrap();
    let folder = Folder::open(place.path()).unwrap();
    let written = [(4, Type::Long), (9, Type::String)];
    let extent = write(&folder, &written, &[chunk(&written, &[vec![Value::Long(1), Value::String("a".into())]])]);
    let wanted = [(9, Type::String), (3, Type::Real), (4, Type::Real)];
    let row = vec![Value::String("a".into()), Value::Null, Value::Null];
    assert_eq!(read(&folder, &extent, &wanted, &[]), [row], "a column of another type is another column");
}

#[test]
fn groups_outside_of_a_range_are_not_read() {
    let place = tempfile::tempdir().unwrap();
    let folder = Folder::open(place.path()).unwrap();
    let columns = [(1, Type::Long), (2, Type::String)];
    let rows: Vec<Vec<Value>> =
        (0..50_000).map(|n| vec![Value::Long(n), Value::String(format!("device-{:05}", n / 10))]).collect();
    let extent = write(&folder, &columns, &[chunk(&columns, &rows)]);
    let spans: Vec<(Value, Value)> = extent.spans.iter().map(|span| (span.low.clone(), span.high.clone())).collect();
    assert_eq!(spans[0], (Value::Long(0), Value::Long(49_999)));
    assert_eq!(spans[1], (Value::String("device-00000".into()), Value::String("device-04999".into())));
    let range = |column, value: Value| Range { column, low: Some(value.clone()), high: Some(value) };
    for range in [range(0, Value::Long(20_000)), range(1, Value::String("device-02000".into()))] {
        let found = read(&folder, &extent, &columns, std::slice::from_ref(&range));
        assert!(found.len() < 20_000, "{} rows for {range:?}", found.len());
        assert!(found.contains(&vec![Value::Long(20_000), Value::String("device-02000".into())]));
    }
    assert_eq!(read(&folder, &extent, &columns, &[range(0, Value::Long(-1))]).len(), 0);
}

#[test]
fn a_change_is_there_after_opening_again_and_files_that_nobody_names_are_not() {
    let place = tempfile::tempdir().unwrap();
    let files = || {
        let names =
            std::fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| name.ends_with(".parquet")).collect();
        names.sort();
        names
    };
    let folder = Folder::open(place.path()).unwrap();
    let columns = [(2, Type::Long)];
    let rows = [chunk(&columns, &[vec![Value::Long(5)]])];
    let kept = write(&folder, &columns, &rows);
    let forgotten = write(&folder, &columns, &rows);
    assert_eq!(files().len(), 2);
    drop(forgotten);
    assert_eq!(files(), [format!("{}.parquet", kept.id)], "an extent that was never committed goes");
    let id = kept.id.clone();
    folder
        .change(&mut |snapshot| {
            let table = snapshot.definitions.new_table(&[SchemaColumn::new("n", Type::Long)]);
            snapshot.add(table.id, Arc::clone(&kept));
            snapshot.cursors.insert(table.id, vec![3, 4]);
            snapshot.definitions.tables.insert("T".into(), table);
            Ok(())
        })
        .unwrap();
    let failed = folder.change(&mut |snapshot| {
        snapshot.definitions.tables.clear();
        Err(gantry_analytics::Error::Evaluation("no".into()))
    });
    assert!(failed.is_err());
    drop((folder, kept));
    std::fs::write(place.path().join("0000.parquet"), b"left by a crash").unwrap();
    std::fs::write(place.path().join("catalog.json.new"), b"{").unwrap();

    let folder = Folder::open(place.path()).unwrap();
    assert_eq!(files(), [format!("{id}.parquet")]);
    let snapshot = folder.snapshot();
    let table = &snapshot.definitions.tables["T"];
    assert_eq!((snapshot.version, &snapshot.cursors[&table.id]), (1, &vec![3, 4]));
    let extent = Arc::clone(&snapshot.extents_of(table.id)[0]);
    assert_eq!((extent.rows, extent.created, &extent.tags), (1, 7, &vec!["t".to_owned()]));
    assert_eq!(extent.spans[0].low, Value::Long(5));
    let id = table.id;
    drop(snapshot);
    let drop_all = |snapshot: &mut Snapshot| {
        snapshot.retain(id, |_| false);
        Ok(())
    };
    folder.change(&mut { drop_all }).unwrap();
    assert_eq!(read(&folder, &extent, &columns, &[]).len(), 1, "a query that has begun still reads it");
    drop(extent);
    assert_eq!(files().len(), 0);
}

#[test]
fn a_folder_is_open_once() {
    let place = tempfile::tempdir().unwrap();
    let folder = Folder::open(place.path()).unwrap();
    assert!(Folder::open(place.path()).unwrap_err().to_string().contains("open already"));
    drop(folder);
    Folder::open(place.path()).unwrap();
}

#[test]
fn what_is_wrong_on_the_disk_is_named() {
    let place = tempfile::tempdir().unwrap();
    let open = |text: &str| {
        std::fs::write(place.path().join("catalog.json"), text).unwrap();
        Folder::open(place.path()).unwrap_err().to_string()
    };
    assert!(open("{").contains("catalog.json"));
    let catalog = |format: u32, id: &str| {
        format!(
            r#"{{"format":{format},"version":1,"definitions":{{}},"cursors":{{}},
            "extents":{{"1":[{{"id":"{id}","rows":1,"bytes":1,"created":0,"columns":[]}}]}}}}"#
        )
    };
    assert!(open(&catalog(9, "x")).contains("format is 9"));
    assert!(open(&catalog(1, "../x")).contains("no id"));
    assert!(open(&catalog(1, "6c5a0e6e-3d5e-4f0a-9d2b-111111111111")).contains("not there"));
}
