use std::collections::BTreeSet;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Mutex;

use gantry_analytics::store::{Extent, Snapshot, maintenance};
use gantry_analytics::{Ask, By, Cancel, Chunk, Context, Flow, Limits, Warehouse};
use gantry_kql::bound::Column as SchemaColumn;
use gantry_kql::value::{TICKS_PER_DAY, Type, Value};
use object_store::memory::InMemory;
use tokio::runtime::Runtime;

use super::super::tests::{chunk, read, write};
use super::*;
use crate::ColdStore;

mod faulty;
use faulty::{Fault, Faulty};

const COLUMNS: [(u64, Type); 1] = [(2, Type::Long)];
const NOW: i64 = 100 * TICKS_PER_DAY;

fn context() -> Context {
    Context::new(NOW, Limits::default(), Cancel::default(), 0)
}

fn cold_store(objects: &Faulty, runtime: &Runtime) -> ColdStore {
    ColdStore {
        objects: Arc::new(objects.clone()),
        name: "s3://lake".into(),
        root: "plant".into(),
        folder: None,
        hot_span: 7 * TICKS_PER_DAY,
        cache_bytes: 64 << 20,
        runtime: runtime.handle().clone(),
    }
}

/// A folder with its cold storage, and what drives that.
struct World {
    runtime: Runtime,
    objects: Faulty,
    path: PathBuf,
    folder: Folder,
}

impl World {
    fn open(path: &FilePath, objects: Faulty) -> World {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let folder = Folder::open_with(path, Some(cold_store(&objects, &runtime))).unwrap();
        World { runtime, objects, path: path.to_owned(), folder }
    }

    fn reopen(self) -> World {
        let World { objects, path, folder, .. } = self;
        drop(folder);
        World::open(&path, objects)
    }

    /// A table `T`, and a row of each number in an extent of its own that came on that day.
    fn fill(&self, days: impl IntoIterator<Item = i64>) {
        self.edit(|snapshot| {
            if !snapshot.definitions.tables.contains_key("T") {
                let table = snapshot.definitions.new_table(&[SchemaColumn::new("n", Type::Long)]);
                snapshot.definitions.tables.insert("T".into(), table);
            }
        });
        for day in days {
            let extent = write(&self.folder, &COLUMNS, &[chunk(&COLUMNS, &[vec![Value::Long(day)]])]);
            let extent = Arc::into_inner(extent).unwrap();
            let extent = Arc::new(Extent { created: day * TICKS_PER_DAY, ..extent });
            self.edit(|snapshot| snapshot.add(snapshot.definitions.tables["T"].id, Arc::clone(&extent)));
        }
    }

    fn edit(&self, mut edit: impl FnMut(&mut Snapshot)) {
        let edit = &mut |snapshot: &mut Snapshot| {
            edit(snapshot);
            Ok(())
        };
        self.folder.change(edit).unwrap();
    }

    fn policy(&self, owner: &str, name: &str, policy: &serde_json::Value) {
        self.edit(|snapshot| {
            let of = snapshot.definitions.policies.entry(owner.to_owned()).or_default();
            of.insert(name.to_owned(), policy.clone());
        });
    }

    fn hot(&self, owner: &str, span: &str) {
        self.policy(owner, "caching", &serde_json::json!({"DataHotSpan": {"Value": span}}));
    }

    fn cool(&self) -> Result<usize> {
        self.folder.cool("telemetry", &context())
    }

    /// Until there is nothing left to do.
    fn cool_all(&self) {
        while self.cool().unwrap() > 0 {}
    }

    /// All numbers there are, or why they cannot be read.
    fn rows(&self) -> Result<Vec<i64>> {
        let snapshot = self.folder.snapshot();
        let mut rows = Vec::new();
        for extent in snapshot.extents.values().flat_map(|extents| extents.iter()) {
            self.folder.read(extent, &COLUMNS, &[], &context(), &mut |chunk: Chunk| {
                rows.extend((0..chunk.rows).filter_map(|row| chunk.columns[0].cell(row).long()));
                Ok(Flow::More)
            })?;
        }
        rows.sort_unstable();
        Ok(rows)
    }

    fn places(&self, is_cold: bool) -> BTreeSet<String> {
        let snapshot = self.folder.snapshot();
        let extents = snapshot.extents.values().flat_map(|extents| extents.iter());
        let place = |extent: &Arc<Extent>| match &extent.cold {
            Some(object) if is_cold => Some(object.clone()),
            None if !is_cold => Some(file_name(&extent.id)),
            _ => None,
        };
        extents.filter_map(place).collect()
    }

    /// Every file and every object is one that the catalogue names, and all that it names are there.
    #[track_caller]
    fn check_places(&self) {
        let names =
            std::fs::read_dir(&self.path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let files: BTreeSet<String> =
            names.filter(|name| name.ends_with(".parquet") || name.ends_with(".tmp")).collect();
        assert_eq!(files, self.places(false), "files");
        assert_eq!(self.objects.names(&self.runtime), self.places(true), "objects");
    }
}

fn world(place: &tempfile::TempDir) -> World {
    World::open(place.path(), Faulty::new(InMemory::new()))
}

#[test]
fn extents_past_the_hot_span_move_and_are_read_as_before() {
    let place = tempfile::tempdir().unwrap();
    let world = world(&place);
    world.fill([90, 92, 94, 96]);
    assert_eq!((world.cool(), world.cool()), (Ok(2), Ok(0)));
    assert_eq!(world.rows(), Ok(vec![90, 92, 94, 96]));
    assert_eq!((world.places(true).len(), world.places(false).len()), (2, 2));
    assert!(
        world.places(true).iter().all(|object| object.starts_with("plant/telemetry/T/")),
        "{:?}",
        world.places(true)
    );
    world.check_places();
    let world = world.reopen();
    assert_eq!(world.rows(), Ok(vec![90, 92, 94, 96]));
    assert_eq!(world.cool(), Ok(0));
    world.check_places();
}

#[test]
fn policies_of_tables_and_of_the_database_decide_and_what_is_hot_again_comes_back() {
    let place = tempfile::tempdir().unwrap();
    let world = world(&place);
    world.fill([90, 92, 94, 96]);
    world.hot("database", "5.00:00:00");
    world.cool_all();
    assert_eq!(world.places(true).len(), 3);
    world.hot("table T", "9.00:00:00");
    world.cool_all();
    assert_eq!(world.places(true).len(), 1);
    world.check_places();
    world.hot("table T", "00:00:00");
    world.cool_all();
    assert_eq!((world.places(true).len(), world.rows()), (4, Ok(vec![90, 92, 94, 96])));
    world.check_places();
    // Nothing cold is merged: it would come back here.
    let merged = maintenance::merge(&world.folder, "T", &[], &context());
    assert_eq!(merged, Ok(false));
}

#[test]
fn a_table_with_another_name_has_its_objects_in_another_folder() {
    let place = tempfile::tempdir().unwrap();
    let world = world(&place);
    world.fill([90, 96]);
    world.cool_all();
    world.edit(|snapshot| {
        let table = snapshot.definitions.tables.remove("T").unwrap();
        snapshot.definitions.tables.insert("a b/c%".into(), table);
    });
    world.cool_all();
    let places = world.places(true);
    assert!(places.iter().all(|object| object.starts_with("plant/telemetry/a b%2Fc%25/")), "{places:?}");
    world.check_places();
    let world = world.reopen();
    assert_eq!((world.rows(), world.cool()), (Ok(vec![90, 96]), Ok(0)));
}

#[test]
fn what_leaves_the_catalogue_goes_when_nobody_reads_it_any_more() {
    let place = tempfile::tempdir().unwrap();
    let world = world(&place);
    world.fill([90, 92, 94, 96]);
    world.cool_all();
    let held = world.folder.snapshot();
    world.policy("table T", "retention", &serde_json::json!({"SoftDeletePeriod": "9.00:00:00"}));
    assert_eq!(maintenance::expire(&world.folder, NOW, &|_| None), Ok(1));
    world.cool_all();
    assert_eq!(world.objects.names(&world.runtime).len(), 2);
    let extent = &held.extents.values().next().unwrap()[0];
    assert_eq!(
        read(&world.folder, extent, &COLUMNS, &[]),
        [[Value::Long(90)]],
        "a query that has begun still reads it"
    );
    drop(held);
    world.cool_all();
    world.check_places();
    world.edit(|snapshot| {
        let table = snapshot.definitions.tables.remove("T").unwrap();
        snapshot.extents.remove(&table.id);
    });
    world.cool_all();
    assert_eq!(world.objects.names(&world.runtime).len(), 0);
}

#[test]
fn an_extent_that_is_hot_again_while_somebody_reads_the_old_file_waits() {
    let place = tempfile::tempdir().unwrap();
    let world = world(&place);
    world.fill([90]);
    let held = world.folder.snapshot();
    world.cool_all();
    world.hot("table T", "30.00:00:00");
    assert_eq!(world.cool(), Ok(0));
    drop(held);
    assert_eq!((world.cool(), world.rows()), (Ok(1), Ok(vec![90])));
    world.check_places();
}

#[test]
fn only_what_is_ours_is_swept() {
    let place = tempfile::tempdir().unwrap();
    let world = world(&place);
    world.fill([90]);
    world.cool_all();
    let ours = world.places(true).into_iter().next().unwrap();
    let (folder, name) = ours.rsplit_once('/').unwrap();
    let owner = name.split_once('-').unwrap().0;
    let guid = "6c5a0e6e-3d5e-4f0a-9d2b-111111111111";
    let orphan = format!("{folder}/{owner}-{guid}.parquet");
    let others = [
        format!("{folder}/ffffffff-{guid}.parquet"),
        format!("{folder}/{guid}.parquet"),
        format!("{folder}/{owner}.parquet"),
        format!("{folder}/{owner}-notes.txt"),
        format!("other/telemetry/T/{owner}-{guid}.parquet"),
    ];
    others.iter().chain([&orphan]).for_each(|name| world.objects.make(&world.runtime, name));
    let world = world.reopen();
    world.cool_all();
    let left: BTreeSet<String> = others.into_iter().chain([ours]).collect();
    assert_eq!(world.objects.names(&world.runtime), left);
}

#[test]
fn a_storage_that_does_not_answer_keeps_nothing_but_cold_rows() {
    let place = tempfile::tempdir().unwrap();
    let world = world(&place);
    world.fill([90, 96]);
    world.cool_all();
    let world = world.reopen();
    world.objects.set(|_, _| Fault::Before);
    world.fill([91, 97]);
    let error = world.cool().unwrap_err().to_string();
    assert!(error.contains("`s3://lake`"), "{error}");
    let trouble = world.folder.cold_place().unwrap().trouble.unwrap();
    assert!(trouble.contains("`s3://lake`"), "{trouble}");
    let error = world.rows().unwrap_err().to_string();
    assert!(error.contains("`s3://lake`") && error.contains("plant/telemetry/T"), "{error}");
    // It opens, too, and goes on where it was.
    let world = world.reopen();
    world.fill([98]);
    assert_eq!((world.places(true).len(), world.places(false).len()), (1, 4));
    world.objects.set(|_, _| Fault::None);
    world.cool_all();
    assert_eq!((world.rows(), world.places(true).len()), (Ok(vec![90, 91, 96, 97, 98]), 2));
    assert_eq!(world.folder.cold_place().unwrap().trouble, None);
    world.check_places();
    // Whether it answers again is found out when there is nothing to move, too.
    let world = world.reopen();
    world.cool_all();
    world.objects.set(|_, _| Fault::Before);
    world.rows().unwrap_err();
    assert!(world.folder.cold_place().unwrap().trouble.is_some());
    world.cool().unwrap_err();
    world.objects.set(|_, _| Fault::None);
    assert_eq!((world.cool(), world.folder.cold_place().unwrap().trouble), (Ok(0), None));
}

#[test]
fn what_arrived_otherwise_than_it_was_sent_does_not_count() {
    let place = tempfile::tempdir().unwrap();
    let world = world(&place);
    world.fill([90, 96]);
    for fault in [Fault::Cut, Fault::Spoilt] {
        world.objects.set(move |_, operation| if operation == "put" { fault } else { Fault::None });
        let error = world.cool().unwrap_err().to_string();
        assert!(error.contains("not what was written"), "{error}");
        assert_eq!((world.places(true).len(), world.rows()), (0, Ok(vec![90, 96])));
    }
    world.objects.set(|_, _| Fault::None);
    world.cool_all();
    assert_eq!((world.places(true).len(), world.rows()), (1, Ok(vec![90, 96])));
    world.check_places();
}

#[test]
fn one_extent_that_is_lost_does_not_keep_the_others() {
    let place = tempfile::tempdir().unwrap();
    let world = world(&place);
    world.fill([90, 91]);
    world.cool_all();
    let lost = world.places(true).into_iter().next().unwrap();
    world.objects.lose(&world.runtime, &lost);
    world.fill([89]);
    world.hot("table T", "10.00:00:00");
    assert_eq!(world.cool(), Ok(2), "one comes back, one goes");
    let error = world.cool().unwrap_err().to_string();
    assert!(error.contains("not there") && error.contains(&lost), "{error}");
    let error = world.rows().unwrap_err().to_string();
    assert!(error.contains("not there"), "{error}");
    assert_eq!(world.folder.cold_place().unwrap().trouble, None, "the storage answers");
}

#[test]
fn whoever_stops_asking_is_not_kept_waiting() {
    let place = tempfile::tempdir().unwrap();
    let world = world(&place);
    world.fill([90, 96]);
    world.objects.set(|_, operation| if operation == "put" { Fault::Silence } else { Fault::None });
    let cancel = Cancel::default();
    let context = Context::new(NOW, Limits::default(), cancel.clone(), 0);
    std::thread::scope(|scope| {
        let cooling = scope.spawn(|| world.folder.cool("telemetry", &context));
        world.objects.wait_for_silence();
        cancel.cancel();
        assert_eq!(cooling.join().unwrap(), Err(Error::Cancelled));
    });
    world.objects.set(|_, _| Fault::None);
    world.cool_all();
    assert_eq!(world.rows(), Ok(vec![90, 96]));
    world.check_places();
}

#[test]
fn only_the_parts_that_a_question_needs_are_brought_and_once() {
    let place = tempfile::tempdir().unwrap();
    let world = world(&place);
    let columns = [(2, Type::Long), (3, Type::String)];
    // Texts that do not compress.
    let text = |n: i64| uuid::Uuid::from_u128((n as u128 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835));
    let rows: Vec<Vec<Value>> =
        (0..150_000).map(|n| vec![Value::Long(n), Value::String(text(n).to_string())]).collect();
    let extent = write(&world.folder, &columns, &[chunk(&columns, &rows)]);
    world.fill([]);
    world.edit(|snapshot| snapshot.add(snapshot.definitions.tables["T"].id, Arc::clone(&extent)));
    let size = extent.bytes;
    drop(extent);
    world.cool_all();
    let read = |world: &World, columns: &[(u64, Type)], ranges: &[gantry_analytics::pushdown::Range]| {
        let snapshot = world.folder.snapshot();
        read(&world.folder, &snapshot.extents.values().next().unwrap()[0], columns, ranges)
    };
    assert!(size > 1 << 20, "{size}");
    let before = world.objects.bytes();
    assert_eq!(read(&world, &[], &[]).len(), 150_000);
    let counting = world.objects.bytes() - before;
    assert!(counting <= 512 << 10, "{counting} bytes to count the rows");
    let one =
        |n| gantry_analytics::pushdown::Range { column: 0, low: Some(Value::Long(n)), high: Some(Value::Long(n)) };
    assert!(read(&world, &columns, &[one(5)]).contains(&rows[5]));
    let of_one_group = world.objects.bytes() - before;
    assert!(of_one_group < size / 2, "{of_one_group} of {size} bytes");
    assert_eq!(read(&world, &columns, &[]), rows);
    let all = world.objects.bytes() - before;
    assert!(all <= size, "no byte twice: {all} of {size}");
    assert_eq!(read(&world, &columns, &[]), rows);
    assert_eq!(world.objects.bytes() - before, all, "the second time everything is here");

    // With a budget that is too small it is right as well, and the budget holds.
    let World { objects, path, folder, runtime } = world;
    drop(folder);
    let store = ColdStore { cache_bytes: 600 << 10, ..cold_store(&objects, &runtime) };
    let folder = Folder::open_with(&path, Some(store)).unwrap();
    let world = World { objects, path, folder, runtime };
    for _ in 0..2 {
        assert_eq!(read(&world, &columns, &[]), rows);
    }
    let near = std::fs::read_dir(world.path.join("near")).unwrap();
    let kept: u64 = near.map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
    assert!(kept <= 600 << 10, "{kept}");
}

#[test]
fn a_large_file_goes_in_pieces() {
    let place = tempfile::tempdir().unwrap();
    let world = world(&place);
    let columns = [(2, Type::Guid)];
    let guid = |n: u128| gantry_kql::value::Guid(n.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835));
    let rows: Vec<Vec<Value>> = (1..600_000).map(|n| vec![Value::Guid(guid(n))]).collect();
    let extent = write(&world.folder, &columns, &[chunk(&columns, &rows)]);
    assert!(extent.bytes > 8 << 20, "{}", extent.bytes);
    world.fill([]);
    world.edit(|snapshot| snapshot.add(snapshot.definitions.tables["T"].id, Arc::clone(&extent)));
    drop(extent);
    world.objects.set(|_, operation| if operation == "complete" { Fault::Before } else { Fault::None });
    world.cool().unwrap_err();
    assert_eq!(world.objects.names(&world.runtime).len(), 0);
    world.objects.set(|_, _| Fault::None);
    world.cool_all();
    world.check_places();
    let snapshot = world.folder.snapshot();
    assert_eq!(read(&world.folder, &snapshot.extents.values().next().unwrap()[0], &columns, &[]), rows);
}

#[test]
fn a_folder_without_its_cold_storage_opens_and_says_what_is_missing() {
    let place = tempfile::tempdir().unwrap();
    let catalog = || std::fs::read_to_string(place.path().join("catalog.json")).unwrap();
    let folder = Folder::open(place.path()).unwrap();
    folder.change(&mut |_| Ok(())).unwrap();
    assert!(catalog().contains(r#""format":1,"#), "versions before read it as long as there is none");
    drop(folder);
    let world = world(&place);
    world.fill([90, 96]);
    world.cool_all();
    assert!(catalog().contains(r#""format":2,"#));
    let World { objects, path, folder, .. } = world;
    drop(folder);
    let folder = Folder::open(&path).unwrap();
    let cold = folder.snapshot().extents.values().next().unwrap()[0].clone();
    let error = folder.read(&cold, &COLUMNS, &[], &context(), &mut |_| Ok(Flow::More)).unwrap_err().to_string();
    assert!(error.contains("tables.cold"), "{error}");
    assert_eq!((folder.cold_place(), folder.cool("telemetry", &context())), (None, Ok(0)));
    folder.change(&mut |_| Ok(())).unwrap();
    drop((folder, cold));
    let world = World::open(&path, objects);
    world.cool_all();
    assert_eq!(world.rows(), Ok(vec![90, 96]));
    world.check_places();
}

#[test]
fn commands_tell_what_is_hot_and_questions_see_all() {
    let place = tempfile::tempdir().unwrap();
    let world = world(&place);
    world.fill([90, 91, 96]);
    world.cool_all();
    let World { folder, .. } = &world;
    let bytes = |is_cold: bool| {
        let snapshot = folder.snapshot();
        let extents = snapshot.extents.values().flat_map(|extents| extents.iter());
        extents.filter(|extent| extent.cold.is_some() == is_cold).map(|extent| extent.bytes).sum::<u64>() as f64
    };
    let (hot, all) = (bytes(false), bytes(false) + bytes(true));
    let World { folder, objects, runtime, .. } = world;
    let warehouse = Warehouse::new("telemetry", []).with_store(Arc::new(folder));
    let first = |text: &str| {
        let ask = Ask {
            database: None,
            text,
            parameters: &[],
            now: NOW,
            limits: &|_| Limits::default(),
            rows_wanted: None,
            cancel: Cancel::default(),
            by: By::default(),
        };
        let tables = if text.starts_with('.') { warehouse.command(&ask) } else { warehouse.query(&ask) };
        let tables = tables.unwrap_or_else(|rejected| panic!("{text}: {rejected}"));
        assert_eq!(tables[0].failure, None, "{text}");
        let chunk = tables[0].chunks.iter().find(|chunk| chunk.rows > 0).unwrap_or_else(|| panic!("{text}: no row"));
        chunk.columns.iter().map(|column| column.value(0)).collect::<Vec<Value>>()
    };
    let counts = "project TotalExtents, TotalExtentSize, TotalRowCount, HotExtents, HotExtentSize, HotRowCount";
    let (long, real) = (Value::Long, Value::Real);
    let expected = [long(3), real(all), long(3), long(1), real(hot), long(1)];
    assert_eq!(first(&format!(".show table T details | {counts}")), expected);
    let stats = ".show database datastats | project ExtentSize, RowCount, HotExtentSize, HotRowCount";
    assert_eq!(first(stats), [real(all), long(3), real(hot), long(1)]);
    assert_eq!(first(".show table T extents | count"), [long(3)]);
    assert_eq!(first(".show table T extents hot | count"), [long(1)]);
    let policy = r#"{"DataHotSpan":{"Value":"7.00:00:00"},"IndexHotSpan":{"Value":"7.00:00:00"}}"#;
    assert_eq!(first(".show table T details | project CachingPolicy"), [Value::String(policy.into())], "what holds");
    assert_eq!(first("T | summarize sum(n), count()"), [long(277), long(3)]);
    let attention = ".show diagnostics | project IsAttentionRequired, AttentionRequiredReason has 's3://lake'";
    assert_eq!(first(attention), [Value::Bool(false), Value::Bool(false)]);
    // A question that needs what the storage does not give makes it known.
    objects.set(|_, _| Fault::Before);
    let snapshot = warehouse.store().snapshot();
    let cold = snapshot.extents.values().flat_map(|extents| extents.iter()).find(|extent| extent.cold.is_some());
    std::fs::remove_dir_all(place.path().join("near")).unwrap();
    warehouse.store().read(cold.unwrap(), &COLUMNS, &[], &context(), &mut |_| Ok(Flow::More)).unwrap_err();
    assert_eq!(first(attention), [Value::Bool(true), Value::Bool(true)]);
    drop(runtime);
}

#[test]
fn a_folder_is_a_storage_too_and_half_written_files_are_swept() {
    let (place, lake) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let objects = object_store::local::LocalFileSystem::new_with_prefix(lake.path()).unwrap().with_fsync(true);
    let objects: Arc<dyn object_store::ObjectStore> = Arc::new(objects.with_automatic_cleanup(true));
    let open = || {
        let faulty = Faulty::new(InMemory::new());
        let folder = Some(lake.path().join("plant"));
        let store = ColdStore { objects: Arc::clone(&objects), folder, ..cold_store(&faulty, &runtime) };
        let folder = Folder::open_with(place.path(), Some(store)).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        World { runtime, objects: faulty, path: place.path().to_owned(), folder }
    };
    let world = open();
    world.cool_all();
    world.fill([90, 96]);
    world.cool_all();
    let object = lake.path().join(world.places(true).into_iter().next().unwrap());
    assert!(object.is_file());
    let half = |name: &str| {
        PathBuf::from(object.to_string_lossy().replace(object.file_name().unwrap().to_str().unwrap(), name))
    };
    let owner = object.file_name().unwrap().to_str().unwrap().split_once('-').unwrap().0.to_owned();
    let (ours, other) = (half(&format!("{owner}-x.parquet#1")), half("ffffffff-x.parquet#1"));
    std::fs::write(&ours, b"half").unwrap();
    std::fs::write(&other, b"half").unwrap();
    drop(world);
    let world = open();
    world.cool_all();
    assert_eq!(world.rows(), Ok(vec![90, 96]));
    assert!(!ours.exists() && other.exists() && object.exists());
}

/// Everything that is kept at one instant.
struct Moment {
    what: String,
    place: tempfile::TempDir,
    objects: InMemory,
    /// The rows there may be: those before a change, or after it.
    rows: Vec<Vec<i64>>,
}

fn moment(what: String, folder: &FilePath, objects: &InMemory, rows: &[Vec<i64>]) -> Moment {
    let place = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() && entry.file_name() != "lock" {
            std::fs::copy(entry.path(), place.path().join(entry.file_name())).unwrap();
        }
    }
    Moment { what, place, objects: objects.fork(), rows: rows.to_vec() }
}

/// The process ends before and after everything that is asked of the storage, while queries hold what they read and while
/// none does.
#[test]
fn whenever_the_process_ends_nothing_is_lost_nothing_is_twice_and_nothing_is_left() {
    for readers in [false, true] {
        let place = tempfile::tempdir().unwrap();
        let world = world(&place);
        let moments: Arc<Mutex<Vec<Moment>>> = Arc::default();
        let expected: Arc<Mutex<Vec<Vec<i64>>>> = Arc::default();
        let mut held = Vec::new();
        let mut step = |rows: &[i64], work: &dyn Fn(&World)| {
            if readers {
                held.push(world.folder.snapshot());
            }
            expected.lock().unwrap().push(rows.to_vec());
            work(&world);
            *expected.lock().unwrap() = vec![rows.to_vec()];
            while world.cool().unwrap() > 0 {}
        };
        let all: Vec<i64> = (88..98).collect();
        step(&all, &|world| world.fill(88..98));
        world.objects.watch({
            let (moments, expected) = (Arc::clone(&moments), Arc::clone(&expected));
            let folder = place.path().to_owned();
            move |what, objects| {
                let rows = expected.lock().unwrap().clone();
                moments.lock().unwrap().push(moment(what, &folder, objects, &rows));
            }
        });
        step(&all, &|world| world.hot("table T", "8.00:00:00"));
        step(&all, &|world| {
            world.edit(|snapshot| {
                let table = snapshot.definitions.tables.remove("T").unwrap();
                snapshot.definitions.tables.insert("U".into(), table);
            });
        });
        step(&all, &|world| world.hot("table U", "6.00:00:00"));
        step(&all, &|world| world.hot("table U", "11.00:00:00"));
        step(&all, &|world| world.hot("table U", "00:00:00"));
        step(&all[3..], &|world| {
            world.policy("table U", "retention", &serde_json::json!({"SoftDeletePeriod": "9.00:00:00"}));
            maintenance::expire(&world.folder, NOW, &|_| None).unwrap();
        });
        world.objects.watch(|_, _| {});
        drop(held);
        let moments = std::mem::take(&mut *moments.lock().unwrap());
        assert!(moments.len() > 60, "{} moments", moments.len());
        for Moment { what, place, objects, rows } in moments {
            let world = World::open(place.path(), Faulty::new(objects));
            let found = world.rows().unwrap_or_else(|error| panic!("{what}: {error}"));
            assert!(rows.contains(&found), "{what}: {found:?} is none of {rows:?}");
            world.cool_all();
            assert_eq!(world.rows(), Ok(found), "{what}");
            world.check_places();
        }
    }
}

/// Requests fail by chance, before they are carried out or after.
#[test]
fn requests_that_fail_lose_nothing_and_leave_nothing() {
    for seed in 0..30 {
        let place = tempfile::tempdir().unwrap();
        let mut world = world(&place);
        let dice = Mutex::new(seed * 7_919 + 1);
        let roll = move |_, _: &str| {
            let mut state = dice.lock().unwrap();
            *state = u64::wrapping_mul(*state, 6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            match *state >> 61 {
                0 => Fault::Before,
                1 => Fault::After,
                _ => Fault::None,
            }
        };
        world.objects.set(roll);
        let mut rows = Vec::new();
        for round in 0..8_i64 {
            world.fill([84 + round, 92 + round]);
            rows.extend([84 + round, 92 + round]);
            rows.sort_unstable();
            world.hot("table T", ["7.00:00:00", "00:00:00", "12.00:00:00"][round as usize % 3]);
            let _ = world.cool();
            if let Ok(found) = world.rows() {
                assert_eq!(found, rows, "seed {seed}, round {round}");
            }
            if round % 3 == 2 {
                world = world.reopen();
            }
        }
        world.objects.set(|_, _| Fault::None);
        let world = world.reopen();
        world.cool_all();
        assert_eq!(world.rows(), Ok(rows), "seed {seed}");
        world.check_places();
    }
}
