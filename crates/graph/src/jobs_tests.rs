use std::collections::BTreeMap;
use std::pin::Pin;

use gantry_storage_suite::Memory;
use parking_lot::Mutex;

use super::*;
use crate::events::Notification;

/// Files by address, a clock that stands, numbers in turn, and nobody who is told.
#[derive(Default)]
struct World {
    files: Mutex<BTreeMap<String, Vec<u8>>>,
    drawn: Mutex<u8>,
    now: Mutex<i64>,
}

impl Files for World {
    fn check<'a>(&'a self, input: &'a str, _: &'a str) -> PortFuture<'a, (), String> {
        let is_there = self.files.lock().contains_key(input);
        Box::pin(async move { if is_there { Ok(()) } else { Err("there is no such file".into()) } })
    }

    fn read<'a>(&'a self, uri: &'a str) -> PortFuture<'a, Pieces, String> {
        let text = self.files.lock().get(uri).cloned().unwrap_or_default();
        let pieces: Vec<Result<bytes::Bytes, String>> = text.chunks(7).map(|piece| Ok(piece.to_vec().into())).collect();
        Box::pin(async move {
            let pieces: Pieces = Box::pin(futures::stream::iter(pieces));
            Ok(pieces)
        })
    }

    fn write<'a>(&'a self, _: Timestamp, uri: &'a str, text: Vec<u8>) -> PortFuture<'a, (), String> {
        self.files.lock().insert(uri.to_owned(), text);
        Box::pin(async { Ok(()) })
    }
}

impl Tell for World {
    fn has_endpoint(&self, _: &str) -> bool {
        true
    }

    fn tell(&self, _: Vec<Notification>) -> PortFuture<'_, (), String> {
        Box::pin(async { Ok(()) })
    }
}

impl Clock for World {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(*self.now.lock())
    }

    fn sleep(&self, _: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(std::future::ready(()))
    }
}

impl Entropy for World {
    fn fill(&self, buffer: &mut [u8]) {
        let mut drawn = self.drawn.lock();
        *drawn = drawn.wrapping_add(1);
        buffer.fill(*drawn);
    }
}

async fn jobs() -> (Arc<World>, Arc<Graph>, Jobs) {
    let world = Arc::new(World::default());
    let graph = Arc::new(Graph::load(Arc::new(Memory::new()), 10_000, 10_000).await.unwrap());
    let ports = (Arc::<World>::clone(&world), Arc::<World>::clone(&world));
    let more = (Arc::<World>::clone(&world), Arc::<World>::clone(&world));
    let jobs = Jobs::new(Arc::clone(&graph), ports.0, ports.1, more.0, more.1);
    (world, graph, jobs)
}

const MODEL: &str = r#"{"@context":"dtmi:dtdl:context;2","@id":"dtmi:x:A;1","@type":"Interface",
    "contents":[{"@type":"Relationship","name":"next"}]}"#;

fn file(world: &World, twins: usize, more: &str) {
    let mut text = format!("{{\"Section\":\"Models\"}}\n{}\n{{\"Section\":\"Twins\"}}\n", MODEL.replace('\n', ""));
    for number in 0..twins {
        text.push_str(&format!("{{\"$dtId\":\"t{number}\",\"$metadata\":{{\"$model\":\"dtmi:x:A;1\"}}}}\n"));
    }
    text.push_str(more);
    world.files.lock().insert("in?sig=secret".into(), text.into_bytes());
}

async fn imported(jobs: &Jobs, id: &str) -> Job {
    let job = jobs.create_import(id, "in?sig=secret", "out?sig=secret").await.unwrap();
    assert_eq!(job.status, Status::NotStarted);
    jobs.run_import(job, "in?sig=secret", "out?sig=secret").await.unwrap();
    jobs.get(JobKind::Import, id).unwrap()
}

#[tokio::test]
async fn an_import_writes_all_and_keeps_no_signature() {
    let (world, graph, jobs) = jobs().await;
    let more = "{\"Section\":\"Relationships\"}\n\
        {\"$dtId\":\"t1\",\"$relationshipId\":\"r\",\"$targetId\":\"t2\",\"$relationshipName\":\"next\"}";
    file(&world, limits::BATCH_ITEMS + 1, more);
    let job = imported(&jobs, "a").await;
    assert_eq!((job.status, job.error), (Status::Succeeded, None));
    assert_eq!((job.input.as_str(), job.output.as_str()), ("in", "out"));
    assert_eq!((graph.read().twins_len(), graph.read().relationships_len()), (limits::BATCH_ITEMS + 1, 1));
    let log = String::from_utf8(world.files.lock()["out?sig=secret"].clone()).unwrap();
    assert!(log.contains("Started") && log.ends_with('\n') && !log.contains("secret"), "{log}");
}

#[tokio::test]
async fn lines_that_cannot_be_written_are_told_by_number() {
    let (world, graph, jobs) = jobs().await;
    // The same twin again is written after the first; what is no line is passed over.
    let again = "{\"$dtId\":\"t0\",\"$metadata\":{\"$model\":\"dtmi:x:A;1\"}}\n";
    file(
        &world,
        1,
        &format!("{again}nonsense\n{{\"$dtId\":\"t1\",\"$metadata\":{{\"$model\":\"dtmi:x:B;1\"}}}}\n{again}"),
    );
    let job = imported(&jobs, "a").await;
    assert_eq!(job.status, Status::Failed);
    assert!(job.error.unwrap().1.starts_with("2 of 6"));
    assert_eq!(graph.read().twins_len(), 1);
    let log = String::from_utf8(world.files.lock()["out?sig=secret"].clone()).unwrap();
    assert!(log.contains("\"line\":6") && log.contains("\"line\":7"), "{log}");
}

#[tokio::test]
async fn one_import_runs_at_a_time_and_is_told_to_stop() {
    let (world, graph, jobs) = jobs().await;
    file(&world, 2 * limits::BATCH_ITEMS, "");
    let job = jobs.create_import("a", "in?sig=secret", "out").await.unwrap();
    assert!(matches!(jobs.create_import("b", "in?sig=secret", "out").await, Err(GraphError::JobLimitReached(_))));
    assert!(matches!(jobs.create_import("a", "in?sig=secret", "out").await, Err(GraphError::ValidationFailed(_))));
    assert!(matches!(jobs.create_import("c", "none", "out").await, Err(GraphError::ValidationFailed(_))));
    assert!(matches!(jobs.create_import("c/d", "in?sig=secret", "out").await, Err(GraphError::ValidationFailed(_))));
    assert!(matches!(jobs.delete("a").await, Err(GraphError::ValidationFailed(_))));
    assert_eq!(jobs.cancel("a").await.unwrap().status, Status::Cancelling);
    jobs.run_import(job, "in?sig=secret", "out").await.unwrap();
    assert_eq!(jobs.get(JobKind::Import, "a").unwrap().status, Status::Cancelled);
    assert!(graph.read().twins_len() < 2 * limits::BATCH_ITEMS);
    assert!(matches!(jobs.cancel("a").await, Err(GraphError::ValidationFailed(_))));
    jobs.delete("a").await.unwrap();
    assert!(matches!(jobs.get(JobKind::Import, "a"), Err(GraphError::JobNotFound { .. })));
}

#[tokio::test]
async fn jobs_of_a_run_before_have_failed_and_old_ones_are_forgotten() {
    let (world, _, jobs) = jobs().await;
    file(&world, 1, "");
    jobs.create_import("a", "in?sig=secret", "out").await.unwrap();
    jobs.settle().await.unwrap();
    let job = jobs.get(JobKind::Import, "a").unwrap();
    assert_eq!((job.status, job.error.unwrap().0.as_str()), (Status::Failed, "JobInterrupted"));
    *world.now.lock() += i64::try_from(limits::JOB_DAYS).unwrap() * 86_400_000;
    assert!(jobs.list(JobKind::Import).is_empty());
    // Its id is free again.
    jobs.create_import("a", "in?sig=secret", "out").await.unwrap();
}

#[tokio::test]
async fn a_deletion_ends_with_its_work_or_its_time() {
    let (world, graph, jobs) = jobs().await;
    file(&world, 3, "");
    imported(&jobs, "a").await;
    let job = jobs.create_deletion("d").await.unwrap();
    jobs.run_deletion(job, 0).await.unwrap();
    let job = jobs.get(JobKind::Delete, "d").unwrap();
    assert_eq!((job.status, job.error.unwrap().0.as_str()), (Status::Failed, "TimeoutError"));
    let job = jobs.create_deletion("e").await.unwrap();
    jobs.run_deletion(job, 1).await.unwrap();
    assert_eq!(jobs.get(JobKind::Delete, "e").unwrap().status, Status::Succeeded);
    assert!(graph.read().twins_len() == 0 && graph.read().models().is_empty());
}
