//! The blob store over its catalogue in SQLite and objects in a folder: against a naive model, over
//! restarts, and with its garbage collected.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use gantry_blobs::blob::{Draft, UNCOMMITTED_MAX, Which};
use gantry_blobs::conditions::{Conditions, Tags};
use gantry_blobs::ports::{BlobAddress, Catalogue as _};
use gantry_blobs::{
    Account, BlobError, BlobName, Blobs, ContainerName, GARBAGE_GRACE, ListQuery, Listed, PART_BYTES, Place,
};
use gantry_identity::{Key, KeyPair, Timestamp};
use gantry_storage::Database;
use object_store::local::LocalFileSystem;
use proptest::prelude::*;

const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_000);

fn later(duration: Duration) -> Timestamp {
    NOW.plus(duration)
}

fn open(folder: &Path, epoch: u64) -> (Arc<Blobs>, Arc<Database>) {
    let keys = KeyPair { primary: Key::from_bytes([1; 32]), secondary: Key::from_bytes([2; 32]) };
    let account = Account { name: "gantry".into(), keys };
    let database = Arc::new(Database::open(folder).unwrap());
    let objects = folder.join("blobs");
    std::fs::create_dir_all(&objects).unwrap();
    let objects = Arc::new(LocalFileSystem::new_with_prefix(objects).unwrap().with_fsync(true));
    (Arc::new(Blobs::new(account, Arc::<Database>::clone(&database), objects, epoch)), database)
}

fn at(name: &str) -> BlobAddress {
    BlobAddress { container: ContainerName::parse("files").unwrap(), name: BlobName::parse(name).unwrap() }
}

async fn put(blobs: &Blobs, name: &str, body: &[u8], conditions: Conditions) -> Result<(), BlobError> {
    let pieces: Vec<_> = body.chunks(70_000).map(|chunk| Ok::<_, BlobError>(Bytes::copy_from_slice(chunk))).collect();
    let stored = blobs.store(futures::stream::iter(pieces), u64::MAX).await?;
    blobs.put_blob(&at(name), Draft::default(), stored, conditions, NOW).await.map(drop)
}

async fn put_block(blobs: &Blobs, name: &str, id: &str, body: &[u8]) -> Result<(), BlobError> {
    let once = futures::stream::iter([Ok::<_, BlobError>(Bytes::copy_from_slice(body))]);
    let stored = blobs.store(once, u64::MAX).await?;
    blobs.put_block(&at(name), id.to_owned(), stored, NOW).await
}

async fn read(blobs: &Blobs, name: &str, range: Option<(u64, Option<u64>)>) -> Result<Vec<u8>, BlobError> {
    let (_, _, content) = blobs.read(&at(name), range, &Conditions::default()).await?;
    let pieces: Vec<Bytes> = content.try_collect().await?;
    Ok(pieces.concat())
}

fn objects_in(folder: &Path) -> usize {
    let folders = std::fs::read_dir(folder.join("blobs")).unwrap().map(|entry| entry.unwrap().path());
    folders.filter(|path| path.is_dir()).map(|path| std::fs::read_dir(path).unwrap().count()).sum()
}

#[tokio::test]
async fn what_was_stored_is_there_after_a_restart_and_ranges_cross_parts() {
    let folder = tempfile::tempdir().unwrap();
    let large: Vec<u8> = (0..3 * PART_BYTES + 17).map(|n| (n % 251) as u8).collect();
    {
        let (blobs, _database) = open(folder.path(), 1);
        blobs.create_container(&at("x").container, Vec::new(), NOW).await.unwrap();
        put(&blobs, "a", b"one", Conditions::default()).await.unwrap();
        put(&blobs, "large", &large, Conditions::default()).await.unwrap();
        for (id, body) in [("1", &large[..10]), ("2", &large[10..25]), ("3", &large[25..40])] {
            put_block(&blobs, "blocks", id, body).await.unwrap();
        }
        let list = ["1", "2", "3"].map(|id| (Which::Latest, id.to_owned())).to_vec();
        blobs.commit_blocks(&at("blocks"), Draft::default(), list, Conditions::default(), NOW).await.unwrap();
    }
    let (blobs, _database) = open(folder.path(), 2);
    assert_eq!(blobs.sweep().await.unwrap(), 0, "nothing that a blob is made of is swept");
    assert_eq!(read(&blobs, "a", None).await.unwrap(), b"one");
    assert_eq!(read(&blobs, "large", None).await.unwrap(), large);
    let of = |from: u64, to: u64| large[usize::try_from(from).unwrap()..usize::try_from(to).unwrap()].to_vec();
    for (from, to) in [(0, 1), (9, 11), (10, 25), (5, 40), (39, 40)] {
        assert_eq!(read(&blobs, "blocks", Some((from, Some(to)))).await.unwrap(), of(from, to), "{from}..{to}");
    }
    assert_eq!(read(&blobs, "blocks", Some((30, None))).await.unwrap(), of(30, 40));
    assert_eq!(read(&blobs, "blocks", Some((30, Some(999)))).await.unwrap(), of(30, 40));
    let outside = read(&blobs, "blocks", Some((40, None))).await;
    assert!(matches!(outside, Err(BlobError::RangeOutside { length: 40 })));
}

#[tokio::test]
async fn uploads_that_break_off_leave_nothing() {
    let folder = tempfile::tempdir().unwrap();
    {
        let (blobs, _database) = open(folder.path(), 1);
        blobs.create_container(&at("x").container, Vec::new(), NOW).await.unwrap();
        for whole in [10, PART_BYTES * 2 + 1] {
            let pieces = [Ok(Bytes::from(vec![1; whole])), Err(BlobError::Incomplete)];
            let stored = blobs.store(futures::stream::iter(pieces), u64::MAX).await;
            assert!(matches!(stored, Err(BlobError::Incomplete)));
            let pieces = [Ok::<_, BlobError>(Bytes::from(vec![1; whole]))];
            let stored = blobs.store(futures::stream::iter(pieces), whole as u64 - 1).await;
            assert!(matches!(stored, Err(BlobError::TooLarge(_))));
        }
        assert_eq!(objects_in(folder.path()), 0);
        // Durable, and then the process ends before the catalogue hears of it.
        let once = futures::stream::iter([Ok::<_, BlobError>(Bytes::from_static(b"lost"))]);
        blobs.store(once, u64::MAX).await.unwrap();
        assert_eq!(objects_in(folder.path()), 1);
        assert_eq!(blobs.sweep().await.unwrap(), 0, "an upload of this start may be under way");
    }
    let (blobs, _database) = open(folder.path(), 2);
    assert_eq!(blobs.sweep().await.unwrap(), 1);
    assert_eq!(objects_in(folder.path()), 0);
}

#[tokio::test]
async fn what_no_blob_has_any_more_is_deleted_after_a_while() {
    let folder = tempfile::tempdir().unwrap();
    let (blobs, database) = open(folder.path(), 1);
    let container = at("x").container;
    blobs.create_container(&container, Vec::new(), NOW).await.unwrap();
    put(&blobs, "replaced", b"1", Conditions::default()).await.unwrap();
    put(&blobs, "replaced", b"2", Conditions::default()).await.unwrap();
    put(&blobs, "deleted", b"3", Conditions::default()).await.unwrap();
    blobs.delete_blob(&at("deleted"), Conditions::default(), NOW).await.unwrap();
    put_block(&blobs, "waiting", "YQ==", b"4").await.unwrap();
    put_block(&blobs, "waiting", "YQ==", b"5").await.unwrap();
    assert_eq!(objects_in(folder.path()), 5);
    assert_eq!(blobs.collect_garbage(NOW).await.unwrap(), 0, "readers may be under way");
    assert_eq!(blobs.collect_garbage(later(GARBAGE_GRACE)).await.unwrap(), 3);
    assert_eq!(objects_in(folder.path()), 2);
    let week = Duration::from_secs(7 * 24 * 60 * 60);
    blobs.collect_garbage(later(week)).await.unwrap();
    assert_eq!(database.blocks(&at("waiting")).await.unwrap().1.uncommitted.len(), 1);
    blobs.collect_garbage(later(week + Duration::from_millis(1))).await.unwrap();
    assert!(matches!(database.blocks(&at("waiting")).await, Err(BlobError::NoBlob)));
    blobs.delete_container(&container, Conditions::default()).await.unwrap();
    assert!(matches!(read(&blobs, "replaced", None).await, Err(BlobError::NoContainer)));
    blobs.create_container(&container, Vec::new(), NOW).await.unwrap();
    assert!(matches!(read(&blobs, "replaced", None).await, Err(BlobError::NoBlob)), "a new container is empty");
    blobs.collect_garbage(later(week * 2)).await.unwrap();
    blobs.collect_garbage(later(week * 3)).await.unwrap();
    assert_eq!(objects_in(folder.path()), 0);
}

#[tokio::test]
async fn of_writers_with_one_etag_one_wins() {
    let folder = tempfile::tempdir().unwrap();
    let (blobs, _database) = open(folder.path(), 1);
    blobs.create_container(&at("x").container, Vec::new(), NOW).await.unwrap();
    put(&blobs, "owned", b"", Conditions::default()).await.unwrap();
    let etag = blobs.blob(&at("owned"), &Conditions::default()).await.unwrap().etag;
    let claim = |owner: usize| {
        let blobs = Arc::clone(&blobs);
        async move {
            let conditions = Conditions { if_match: Some(etag.into()), ..Conditions::default() };
            let metadata = vec![("owner".to_owned(), owner.to_string())];
            blobs.change_blob(&at("owned"), Some(metadata), None, conditions, NOW).await
        }
    };
    let outcomes = futures::future::join_all((0..20).map(claim)).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    assert!(
        outcomes.iter().flat_map(|outcome| outcome.as_ref().err()).all(|e| matches!(e, BlobError::ConditionNotMet))
    );
    // The blob deleted and made anew is another one.
    blobs.delete_blob(&at("owned"), Conditions::default(), NOW).await.unwrap();
    put(&blobs, "owned", b"", Conditions::default()).await.unwrap();
    assert!(matches!(claim(21).await, Err(BlobError::ConditionNotMet)));
}

#[tokio::test]
async fn uncommitted_blocks_are_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let (blobs, _database) = open(folder.path(), 1);
    blobs.create_container(&at("x").container, Vec::new(), NOW).await.unwrap();
    put_block(&blobs, "many", "first", b"x").await.unwrap();
    // As many as may be, without storing each one's content.
    let connection = rusqlite::Connection::open(folder.path().join("state.db")).unwrap();
    let sql = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1 - 1)
               INSERT INTO blob_parts(container, name, committed, position, block_id, object, start, length, put_at)
               SELECT 1, 'many', 0, i, 'b' || i, 'o' || i, 0, 1, 0 FROM n";
    connection.execute(sql, [UNCOMMITTED_MAX as i64]).unwrap();
    assert!(matches!(put_block(&blobs, "many", "one more", b"x").await, Err(BlobError::TooManyBlocks)));
    put_block(&blobs, "many", "b7", b"x").await.expect("a block may be put again");
}

#[tokio::test]
async fn a_place_of_ours_reads_writes_and_never_replaces_when_it_creates() {
    let folder = tempfile::tempdir().unwrap();
    let (blobs, _database) = open(folder.path(), 1);
    let container = at("x").container;
    let place = Place::Own(Arc::clone(&blobs), container.clone());
    let pieces = || futures::stream::iter([Ok(Bytes::from_static(b"ab")), Ok(Bytes::from_static(b"c"))]);
    assert!(matches!(place.write("n", pieces(), "a/b", NOW).await, Err(BlobError::NoContainer)));
    blobs.create_container(&container, Vec::new(), NOW).await.unwrap();
    check_place(&place, pieces()).await;
    let elsewhere = tempfile::tempdir().unwrap();
    let objects = Arc::new(LocalFileSystem::new_with_prefix(elsewhere.path()).unwrap());
    check_place(&Place::Elsewhere(objects), pieces()).await;
}

async fn check_place<S>(place: &Place, pieces: S)
where
    S: futures::Stream<Item = Result<Bytes, BlobError>> + Unpin + Send,
{
    assert!(matches!(place.stat("d 1/ä#").await, Err(BlobError::NoBlob)));
    place.write("d 1/ä#", pieces, "a/b", NOW).await.unwrap();
    assert_eq!(place.stat("d 1/ä#").await.unwrap().length, 3);
    let read: Vec<Bytes> = place.read("d 1/ä#").await.unwrap().try_collect().await.unwrap();
    assert_eq!(read.concat(), b"abc");
    let broken = futures::stream::iter([Ok(Bytes::from_static(b"x")), Err(BlobError::Incomplete)]).boxed();
    assert!(matches!(place.write("broken", broken, "a/b", NOW).await, Err(BlobError::Incomplete)));
    assert!(matches!(place.stat("broken").await, Err(BlobError::NoBlob)));
    place.create("new", Bytes::from_static(b"1"), "a/b", NOW).await.unwrap();
    let again = place.create("new", Bytes::from_static(b"2"), "a/b", NOW).await;
    assert!(matches!(again, Err(BlobError::BlobExists)));
}

/// What a client can do to four blobs.
#[derive(Clone, Debug)]
enum Step {
    Put(u8, Vec<u8>, bool),
    Block(u8, u8, Vec<u8>),
    Commit(u8, Vec<(u8, u8)>),
    Delete(u8),
    Collect,
}

fn step() -> impl Strategy<Value = Step> {
    let body = || proptest::collection::vec(any::<u8>(), 1..20);
    prop_oneof![
        (0..4_u8, body(), any::<bool>()).prop_map(|(blob, body, only_new)| Step::Put(blob, body, only_new)),
        (0..4_u8, 0..3_u8, body()).prop_map(|(blob, id, body)| Step::Block(blob, id, body)),
        (0..4_u8, proptest::collection::vec((0..3_u8, 0..3_u8), 0..4))
            .prop_map(|(blob, list)| Step::Commit(blob, list)),
        (0..4_u8).prop_map(Step::Delete),
        Just(Step::Collect),
    ]
}

/// A store that is nothing but maps.
#[derive(Default)]
struct Model {
    blobs: BTreeMap<u8, Vec<(String, Vec<u8>)>>,
    blocks: BTreeMap<u8, BTreeMap<String, Vec<u8>>>,
}

impl Model {
    fn find(&self, blob: u8, which: u8, id: &str) -> Option<Vec<u8>> {
        let uncommitted = || self.blocks.get(&blob).and_then(|blocks| blocks.get(id)).cloned();
        let committed = || {
            let parts = self.blobs.get(&blob)?;
            parts.iter().rev().find(|(name, _)| name == id).map(|(_, body)| body.clone())
        };
        match which {
            0 => committed(),
            1 => uncommitted(),
            _ => uncommitted().or_else(committed),
        }
    }
}

async fn apply(blobs: &Blobs, model: &mut Model, step: Step, clock: &mut Timestamp) {
    match step {
        Step::Put(blob, body, only_new) => {
            let conditions = Conditions { if_none_match: only_new.then(Tags::any), ..Conditions::default() };
            let done = put(blobs, &blob.to_string(), &body, conditions).await;
            if only_new && model.blobs.contains_key(&blob) {
                assert!(matches!(done, Err(BlobError::BlobExists)));
                return;
            }
            done.unwrap();
            model.blobs.insert(blob, vec![(String::new(), body)]);
            model.blocks.remove(&blob);
        }
        Step::Block(blob, id, body) => {
            put_block(blobs, &blob.to_string(), &id.to_string(), &body).await.unwrap();
            model.blocks.entry(blob).or_default().insert(id.to_string(), body);
        }
        Step::Commit(blob, list) => {
            let wanted = list.iter().map(|(which, id)| {
                let id = id.to_string();
                Some((id.clone(), model.find(blob, *which, &id)?))
            });
            let wanted: Option<Vec<_>> = wanted.collect();
            let which = |which| [Which::Committed, Which::Uncommitted, Which::Latest][usize::from(which)];
            let list = list.iter().map(|(of, id)| (which(*of), id.to_string())).collect();
            let name = at(&blob.to_string());
            let done = blobs.commit_blocks(&name, Draft::default(), list, Conditions::default(), NOW).await;
            match wanted {
                None => assert!(matches!(done, Err(BlobError::BlockList(_)))),
                Some(parts) => {
                    done.unwrap();
                    model.blobs.insert(blob, parts);
                    model.blocks.remove(&blob);
                }
            }
        }
        Step::Delete(blob) => {
            let done = blobs.delete_blob(&at(&blob.to_string()), Conditions::default(), NOW).await;
            match model.blobs.remove(&blob) {
                Some(_) => {
                    done.unwrap();
                    model.blocks.remove(&blob);
                }
                None => assert!(matches!(done, Err(BlobError::NoBlob))),
            }
        }
        Step::Collect => {
            *clock = clock.plus(GARBAGE_GRACE);
            blobs.collect_garbage(*clock).await.unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_store_does_what_a_naive_one_does(steps in proptest::collection::vec(step(), 1..25)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let (blobs, _database) = open(folder.path(), 1);
            blobs.create_container(&at("x").container, Vec::new(), NOW).await.unwrap();
            let (mut model, mut clock) = (Model::default(), NOW);
            for step in steps {
                apply(&blobs, &mut model, step, &mut clock).await;
                for (blob, parts) in &model.blobs {
                    let expected: Vec<u8> = parts.iter().flat_map(|(_, body)| body.clone()).collect();
                    assert_eq!(read(&blobs, &blob.to_string(), None).await.unwrap(), expected);
                }
            }
            let query = ListQuery { prefix: String::new(), delimiter: String::new(), marker: String::new(), limit: 9 };
            let listing = blobs.list(&at("x").container, &query).await.unwrap();
            assert_eq!(listing.lines.len(), model.blobs.len());
        });
    }

    #[test]
    fn pages_of_a_list_hold_every_name_once(
        names in proptest::collection::btree_set("[ab/]{1,4}", 1..30),
        limit in 1..5_usize,
        is_folded in any::<bool>(),
        prefix in "[ab/]{0,2}",
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let (blobs, _database) = open(folder.path(), 1);
            blobs.create_container(&at("x").container, Vec::new(), NOW).await.unwrap();
            for name in &names {
                put(&blobs, name, b"", Conditions::default()).await.unwrap();
            }
            let delimiter = if is_folded { "/" } else { "" };
            let mut found = Vec::new();
            let mut marker = String::new();
            loop {
                let query = ListQuery { prefix: prefix.clone(), delimiter: delimiter.into(), marker, limit };
                let page = blobs.list(&at("x").container, &query).await.unwrap();
                assert!(page.lines.len() <= limit);
                found.extend(page.lines.into_iter().map(|line| match line {
                    Listed::Blob(name, _) => name.as_str().to_owned(),
                    Listed::Prefix(prefix) => prefix,
                }));
                match page.next {
                    Some(next) => marker = next,
                    None => break,
                }
            }
            let mut expected: Vec<String> = names.iter().filter_map(|name| {
                let rest = name.strip_prefix(&prefix)?;
                let end = if is_folded { rest.find('/') } else { None };
                Some(end.map_or_else(|| name.clone(), |end| format!("{prefix}{}", &rest[..=end])))
            }).collect();
            expected.dedup();
            assert_eq!(found, expected);
        });
    }
}
