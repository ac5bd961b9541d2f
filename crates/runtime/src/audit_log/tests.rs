use gantry_identity::Timestamp;
use gantry_storage::Database;

use super::*;

struct Place {
    folder: tempfile::TempDir,
    database: Arc<Database>,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let database = Arc::new(Database::open(folder.path()).unwrap());
        Self { folder, database }
    }

    fn audit(&self) -> PathBuf {
        self.folder.path().join("audit")
    }

    async fn open(&self) -> FileLog {
        let documents: Arc<dyn Documents> = Arc::<Database>::clone(&self.database);
        FileLog::open(&self.audit(), Key::from_bytes([7; 32]), 3 * FILE_BYTES_MAX, documents).await.unwrap()
    }

    fn files(&self) -> Vec<PathBuf> {
        files(&self.audit()).unwrap().into_iter().map(|(_, path)| path).collect()
    }

    /// Writes a text of the last file anew.
    fn edit(&self, change: impl FnOnce(String) -> String) {
        let path = self.files().pop().unwrap();
        let text = fs::read_to_string(&path).unwrap();
        fs::write(path, change(text)).unwrap();
    }
}

fn entry(n: u64) -> AuditEntry {
    AuditEntry {
        at: Timestamp::from_millis(1_000),
        actor: Actor { kind: ActorKind::User, id: "jane".into(), name: "Jane".into() },
        from: "10.0.0.7".into(),
        operation: "Rules_CreateOrUpdate".into(),
        target: AuditText::new(&format!("/rules/{n}")),
        outcome: AuditOutcome::Done,
        changed: ChangedMembers::default(),
    }
}

async fn write(log: &FileLog, count: u64) {
    for n in 0..count {
        log.append(entry(n)).await.unwrap();
    }
}

/// Four records, written; what a change of their file is found to be.
async fn found(change: impl FnOnce(String) -> String) -> Verified {
    let place = Place::new();
    let log = place.open().await;
    write(&log, 4).await;
    place.edit(change);
    let verified = log.verify(None).await.unwrap();
    log.close().await;
    verified
}

#[track_caller]
fn check(verified: &Verified, head: u64, reason: &str) {
    let said = verified.broken.as_ref().map_or("", |(_, reason)| reason);
    assert!(!said.is_empty() && said.contains(reason), "{verified:?}");
    assert_eq!(verified.head.number, head, "{verified:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_is_read_after_a_restart_and_goes_on() {
    let place = Place::new();
    let log = place.open().await;
    write(&log, 3).await;
    log.close().await;
    assert!(log.append(entry(9)).await.is_err(), "closed");
    let log = place.open().await;
    write(&log, 2).await;
    let numbers = |page: Vec<AuditRecord>| page.iter().map(|record| record.number).collect::<Vec<_>>();
    assert_eq!(numbers(log.read(None, 10).await.unwrap()), [5, 4, 3, 2, 1]);
    assert_eq!(numbers(log.read(Some(4), 2).await.unwrap()), [3, 2]);
    assert_eq!(numbers(log.read(Some(1), 2).await.unwrap()), [] as [u64; 0]);
    let verified = log.verify(None).await.unwrap();
    assert_eq!((verified.first, verified.head.number, verified.broken), (1, 5, None));
    assert_eq!(place.files(), [place.audit().join("00000000000000000001.jsonl")]);
    let text = fs::read_to_string(&place.files()[0]).unwrap();
    let nought = "A".repeat(43) + "=";
    assert_eq!(text.lines().next(), Some(&*format!(r#"{{"v":1,"from":{{"number":0,"mac":"{nought}"}}}}"#)));
    let record = concat!(
        r#"{"number":1,"entry":{"at":1000,"actor":{"kind":"user","id":"jane","name":"Jane"},"from":"10.0.0.7","#,
        r#""operation":"Rules_CreateOrUpdate","target":"/rules/0","outcome":{"kind":"done"},"changed":[]},"mac":"#
    );
    assert!(text.lines().nth(1).unwrap().starts_with(record), "the shape of version 1: {text}");
    log.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_done_to_a_file_shows_and_where() {
    check(&found(|text| text.replace("/rules/2", "/rules/x")).await, 2, "record 3 is not what was written there");
    let without = |text: String, at: usize| {
        let kept = text.lines().enumerate().filter(|(n, _)| *n != at).map(|(_, line)| format!("{line}\n"));
        kept.collect::<String>()
    };
    check(&found(|text| without(text, 2)).await, 1, "record 3 is where record 2 must be");
    check(&found(|text| without(text, 4)).await, 3, "the log ends with record 3, and record 4 was written");
    check(&found(|text| text.lines().take(1).map(|line| format!("{line}\n")).collect()).await, 0, "ends with record 0");
    let swapped = |text: String| {
        let mut lines: Vec<_> = text.lines().collect();
        lines.swap(1, 2);
        lines.join("\n") + "\n"
    };
    check(&found(swapped).await, 0, "record 2 is where record 1 must be");
    check(&found(|text| text.replace("\"outcome\"", "\"outcom\"")).await, 0, "the line after record 0");
    check(&found(|text| text[..text.len() - 20].to_owned()).await, 3, "the line after record 3");
    check(&found(|_| String::new()).await, 0, "its first line");
    check(&found(|text| text.replacen("\"number\":0", "\"number\":1", 1)).await, 0, "where record 1 must be");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_done_while_nobody_watched_shows_too_and_stays() {
    let cut = |text: String| text.lines().take(3).map(|line| format!("{line}\n")).collect::<String>();
    for (change, head, reason) in [
        (Box::new(cut) as Box<dyn Fn(String) -> String>, 2, "record 5 is where record 3 must be"),
        (Box::new(|text: String| text.replace("/rules/2", "/rules/x")) as _, 2, "record 3 is not what was written"),
    ] {
        let place = Place::new();
        let log = place.open().await;
        write(&log, 4).await;
        log.close().await;
        place.edit(change);
        let log = place.open().await;
        write(&log, 2).await;
        check(&log.verify(None).await.unwrap(), head, reason);
        log.close().await;
        let log = place.open().await;
        check(&log.verify(None).await.unwrap(), head, reason);
        assert_eq!(log.read(None, 2).await.unwrap()[0].number, 6, "it goes on all the same");
        log.close().await;
    }
    let place = Place::new();
    let log = place.open().await;
    write(&log, 4).await;
    log.close().await;
    fs::remove_file(&place.files()[0]).unwrap();
    let log = place.open().await;
    check(&log.verify(None).await.unwrap(), 0, "record 5 is where record 1 must be");
    log.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_a_crash_tore_is_cut_off() {
    let place = Place::new();
    let log = place.open().await;
    write(&log, 2).await;
    log.close().await;
    place.edit(|text| text + "{\"number\":3,\"entr");
    let log = place.open().await;
    write(&log, 1).await;
    let verified = log.verify(None).await.unwrap();
    assert_eq!((verified.head.number, verified.broken), (3, None));
    log.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_was_kept_elsewhere_must_be_in_it() {
    let place = Place::new();
    let log = place.open().await;
    write(&log, 2).await;
    let anchor = log.verify(None).await.unwrap().head;
    write(&log, 1).await;
    assert_eq!(log.verify(Some(anchor)).await.unwrap().broken, None);
    let later = Head { number: 9, ..anchor };
    check(&log.verify(Some(later)).await.unwrap(), 3, "the log ends with record 3, and record 9 was written");
    let other = Head { number: 1, ..anchor };
    check(&log.verify(Some(other)).await.unwrap(), 1, "record 1 is not the one the anchor is of");
    log.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn old_files_go_and_the_rest_still_verifies() {
    let place = Place::new();
    let log = place.open().await;
    let long = "x".repeat(audit::AUDIT_TEXT_LEN_MAX);
    let large = || {
        let text = AuditText::new(&long);
        let actor = Actor { kind: ActorKind::User, id: text.clone(), name: text.clone() };
        AuditEntry { actor, from: text.clone(), operation: text.clone(), target: text, ..entry(0) }
    };
    let mut first = 1;
    while first == 1 {
        let many: Vec<_> = (0..2_000).map(|_| log.append(large())).collect();
        futures::future::join_all(many).await.into_iter().for_each(|written| written.unwrap());
        first = log.verify(None).await.unwrap().first;
    }
    assert!(place.files().len() <= 3, "{:?}", place.files());
    let verified = log.verify(None).await.unwrap();
    assert!(verified.first > 1 && verified.broken.is_none(), "{verified:?}");
    log.close().await;
    let log = place.open().await;
    assert_eq!(log.verify(None).await.unwrap(), verified);
    fs::remove_file(&place.files()[0]).unwrap();
    assert!(log.verify(None).await.unwrap().broken.is_some(), "a file that was taken away");
    log.close().await;
}
