//! Checkpoints: who took one last writes it, and nobody else.

use std::sync::Arc;

use gantry_hub::ports::CheckpointError;

use crate::Engine;
use crate::fixtures::{WRITERS, at_once};

/// As it says.
pub async fn a_checkpoint_has_one_holder(engine: Box<dyn Engine>) {
    let places = engine.checkpoints();
    assert_eq!(places.get("place/1").await, Ok(None));
    let first = places.take("place/1").await.unwrap();
    places.put("place/1", first, b"1".to_vec()).await.unwrap();
    let second = places.take("place/1").await.unwrap();
    assert_eq!(places.put("place/1", first, b"late".to_vec()).await, Err(CheckpointError::Taken));
    places.put("place/1", second, b"2".to_vec()).await.unwrap();
    drop(places);

    let engine = engine.restart().await.unwrap();
    let places = engine.checkpoints();
    assert_eq!(places.put("place/1", first, b"late".to_vec()).await, Err(CheckpointError::Taken));
    let third = places.take("place/1").await.unwrap();
    assert!(third > second);
    assert_eq!(places.get("place/1").await, Ok(Some(b"2".to_vec())));
    assert_eq!(places.remove("place/1", second).await, Err(CheckpointError::Taken));
    places.remove("place/1", third).await.unwrap();
    assert_eq!(places.get("place/1").await, Ok(None));
    places.remove("place/1", third).await.unwrap();
    assert_eq!(places.put("place/1", second, b"late".to_vec()).await, Err(CheckpointError::Taken), "it is still held");
    assert_eq!(places.get("place/2").await, Ok(None), "another name is another checkpoint");
    assert!(matches!(places.take(&"n".repeat(81)).await, Err(CheckpointError::Failed(_))));
}

/// As it says.
pub async fn of_many_that_take_a_checkpoint_the_last_writes_it(engine: Box<dyn Engine>) {
    let places = engine.checkpoints();
    let took = at_once(|_| {
        let places = Arc::clone(&places);
        async move { places.take("place").await.unwrap() }
    });
    let mut epochs = took.await;
    epochs.sort_unstable();
    epochs.dedup();
    assert_eq!(epochs.len(), WRITERS, "each has an epoch of its own");
    let last = epochs[WRITERS - 1];
    let wrote = at_once(|writer| {
        let (places, epoch) = (Arc::clone(&places), epochs[writer]);
        async move { places.put("place", epoch, vec![u8::try_from(writer).unwrap()]).await }
    });
    let wrote = wrote.await;
    assert!(wrote[WRITERS - 1].is_ok());
    assert!(wrote[..WRITERS - 1].iter().all(|outcome| *outcome == Err(CheckpointError::Taken)));
    assert_eq!(places.get("place").await, Ok(Some(vec![u8::try_from(WRITERS - 1).unwrap()])));
    places.put("place", last, vec![]).await.unwrap();
    assert_eq!(places.get("place").await, Ok(Some(vec![])));
}
