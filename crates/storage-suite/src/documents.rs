//! Documents: what is decided on a collection as it was read is written only if it is still so.

use std::sync::Arc;

use gantry_hub::ports::{Changes, Collection, Documents, StoreError};

use crate::Engine;
use crate::fixtures::{WRITERS, at_once, count_done, is_conflict};

fn changes(collection: &'static str, version: u64, documents: &[(&str, Option<&str>)]) -> Changes {
    let documents = documents.iter().map(|(id, text)| ((*id).to_owned(), text.map(str::to_owned))).collect();
    Changes { collection, version, documents }
}

fn collection(version: u64, documents: &[(&str, &str)]) -> Collection {
    let documents = documents.iter().map(|(id, text)| ((*id).to_owned(), (*text).to_owned())).collect();
    Collection { version, documents }
}

/// As it says.
pub async fn a_collection_is_read_as_it_was_written_and_survives_a_restart(engine: Box<dyn Engine>) {
    let documents = engine.documents();
    assert_eq!(documents.all("a").await.unwrap(), Collection::default());
    documents
        .put(vec![changes("a", 0, &[("2", Some("two")), ("1", Some("one")), ("3", Some("three"))])])
        .await
        .unwrap();
    documents.put(vec![changes("a", 1, &[("2", None), ("3", Some("drei")), ("none", None)])]).await.unwrap();
    documents.put(vec![]).await.unwrap();
    drop(documents);
    let engine = engine.restart().await.unwrap();
    let documents = engine.documents();
    assert_eq!(documents.all("a").await.unwrap(), collection(2, &[("1", "one"), ("3", "drei")]));
    assert_eq!(documents.all("b").await.unwrap(), Collection::default());
    documents.put(vec![changes("a", 2, &[("1", None), ("3", None)])]).await.unwrap();
    assert_eq!(documents.all("a").await.unwrap(), collection(3, &[]), "an empty collection keeps its version");
}

/// As it says.
pub async fn a_write_at_an_old_version_is_a_conflict_and_writes_nothing(engine: Box<dyn Engine>) {
    let documents = engine.documents();
    documents.put(vec![changes("a", 0, &[("1", Some("x"))])]).await.unwrap();
    for version in [0, 2, u64::MAX] {
        assert!(is_conflict(&documents.put(vec![changes("a", version, &[("1", Some("y")), ("2", Some("y"))])]).await));
    }
    assert_eq!(documents.all("a").await.unwrap(), collection(1, &[("1", "x")]));
    // What was read must still be so, though nothing of it is written.
    documents.put(vec![changes("a", 1, &[])]).await.unwrap();
    assert!(is_conflict(&documents.put(vec![changes("a", 1, &[])]).await));
    assert_eq!(documents.all("a").await.unwrap(), collection(2, &[("1", "x")]));
}

/// As it says.
pub async fn collections_are_written_all_or_none(engine: Box<dyn Engine>) {
    let documents = engine.documents();
    documents.put(vec![changes("b", 0, &[("1", Some("x"))])]).await.unwrap();
    let both = |of_b| vec![changes("a", 0, &[("1", Some("new"))]), changes("b", of_b, &[("1", None)])];
    assert!(is_conflict(&documents.put(both(0)).await));
    assert_eq!(documents.all("a").await.unwrap(), Collection::default());
    assert_eq!(documents.all("b").await.unwrap(), collection(1, &[("1", "x")]));
    documents.put(both(1)).await.unwrap();
    assert_eq!(documents.all("a").await.unwrap(), collection(1, &[("1", "new")]));
    assert_eq!(documents.all("b").await.unwrap(), collection(2, &[]));
}

/// Adds a document, unless there are as many as there may be; says whether it did.
async fn add(documents: &dyn Documents, id: &str, len_max: usize) -> Result<(), StoreError> {
    loop {
        let Collection { version, documents: all } = documents.all("a").await?;
        if all.len() >= len_max {
            return Err(StoreError::Full);
        }
        match documents.put(vec![changes("a", version, &[(id, Some("{}"))])]).await {
            Err(StoreError::Conflict) => {}
            outcome => return outcome,
        }
    }
}

/// As it says.
pub async fn of_many_writers_none_undoes_another(engine: Box<dyn Engine>) {
    let documents = engine.documents();
    let added = at_once(|writer| {
        let documents = Arc::clone(&documents);
        async move { add(&*documents, &format!("{writer:02}"), usize::MAX).await }
    });
    assert_eq!(count_done(&added.await, |_| false), WRITERS);
    let Collection { version, documents: all } = documents.all("a").await.unwrap();
    assert_eq!((version, all.len()), (WRITERS as u64, WRITERS));
    assert!(all.is_sorted());
}

/// As it says.
pub async fn a_limit_holds_however_many_come_at_once(engine: Box<dyn Engine>) {
    let documents = engine.documents();
    let added = at_once(|writer| {
        let documents = Arc::clone(&documents);
        async move { add(&*documents, &format!("{writer:02}"), 10).await }
    });
    assert_eq!(count_done(&added.await, |error| matches!(error, StoreError::Full)), 10);
    assert_eq!(documents.all("a").await.unwrap().documents.len(), 10);
}
