//! Carrying out a plan: kind by kind, many things at once, each noted as it is done.

use std::collections::HashMap;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use indicatif::ProgressBar;
use serde_json::Value;

use super::endpoint::Endpoint;
use super::hub::BULK_LEN_MAX;
use super::identity::How;
use super::kind::Kind;
use super::plan::{Action, Inventory, Key, Step};
use super::report::Outcome;
use super::state::State;
use super::{Of, central, hub};

/// What became of things.
pub(super) type Outcomes = HashMap<Key, Outcome>;

/// Both sides of a migration that is carried out.
pub(super) struct Carrying<'a> {
    pub(super) of: Of,
    pub(super) here: &'a Endpoint,
    pub(super) source: &'a Inventory,
    /// What was here before.
    pub(super) present: &'a Inventory,
    pub(super) at_once: usize,
    pub(super) bar: &'a ProgressBar,
}

/// Things that are written by one call.
type Batch<'a> = (How, Vec<(&'a Key, &'a Value)>);

impl Carrying<'_> {
    /// Carries out every step that makes or overwrites something. Outcomes are there also when it is cut short.
    ///
    /// # Errors
    /// When the platform cannot be reached, or the state not be written.
    pub(super) async fn all(&self, steps: &[Step], mut state: State, outcomes: &mut Outcomes) -> anyhow::Result<()> {
        let how = |step: &Step| match step.action {
            Action::Create => Some(((step.kind, step.id.clone()), How::Create)),
            Action::Overwrite(_) => Some(((step.kind, step.id.clone()), How::Replace)),
            Action::Same | Action::Differs(_) | Action::Leave(_) => None,
        };
        let wanted: HashMap<Key, How> = steps.iter().filter_map(how).collect();
        self.bar.set_position(0);
        self.bar.set_length(wanted.len() as u64);
        for kind in self.of.kinds() {
            let ids: Vec<String> = steps.iter().filter(|step| step.kind == *kind).map(|step| step.id.clone()).collect();
            let ids = ids.into_iter().filter(|id| wanted.contains_key(&(*kind, id.clone()))).collect();
            self.bar.set_message(format!("writing {} into {}", kind.name(), self.here.name()));
            let waves = match self.of {
                Of::Central => central::order(*kind, ids, self.source),
                Of::Hub => hub::order(*kind, ids, self.source),
            };
            for wave in waves {
                let keys: Vec<Key> = wave.into_iter().map(|id| (*kind, id)).collect();
                self.wave(&keys, &wanted, &mut state, outcomes).await?;
            }
        }
        Ok(())
    }

    async fn wave(
        &self,
        keys: &[Key],
        wanted: &HashMap<Key, How>,
        state: &mut State,
        outcomes: &mut Outcomes,
    ) -> anyhow::Result<()> {
        let mut batches: Vec<Batch<'_>> = vec![];
        for how in [How::Create, How::Replace] {
            let of_it = keys.iter().filter(|key| wanted.get(*key) == Some(&how));
            let things: Vec<_> = of_it.filter_map(|key| Some((key, self.source.get(key.0, &key.1)?))).collect();
            batches.extend(things.chunks(self.batch_len(keys)).map(|chunk| (how, chunk.to_vec())));
        }
        // By these it is known which devices are ours to finish.
        let made = batches.iter().filter(|(how, _)| *how == How::Create).flat_map(|(_, things)| things);
        state.begin(made.map(|(key, _)| *key).filter(|(kind, _)| *kind == self.of.devices()))?;
        let writes = batches.into_iter().map(|(how, things)| async move {
            let results = self.write(how, &things).await?;
            anyhow::Ok((things, results))
        });
        let mut written = stream::iter(writes).buffer_unordered(self.at_once.max(1));
        while let Some((things, results)) = written.try_next().await? {
            for ((key, _), result) in things.into_iter().zip(results) {
                self.bar.inc(1);
                let outcome = match result {
                    Ok(()) => {
                        state.finish([key])?;
                        Outcome::Done
                    }
                    Err(words) => {
                        state.refuse([key])?;
                        Outcome::Failed(words)
                    }
                };
                outcomes.insert(key.clone(), outcome);
            }
        }
        Ok(())
    }

    fn batch_len(&self, keys: &[Key]) -> usize {
        let is_bulk = keys.first().is_some_and(|(kind, _)| matches!(kind, Kind::Identities | Kind::Modules));
        if is_bulk { BULK_LEN_MAX } else { 1 }
    }

    async fn write(&self, how: How, things: &[(&Key, &Value)]) -> anyhow::Result<Vec<Result<(), String>>> {
        match things {
            [((Kind::Identities | Kind::Modules, _), _), ..] => hub::write(self.here, things, how, self.present).await,
            [(key @ (Kind::Configurations, _), thing)] => {
                Ok(vec![hub::write_configuration(self.here, key, thing, how).await?])
            }
            [(key, thing)] => Ok(vec![central::write(self.here, key, thing).await?]),
            _ => Ok(vec![]),
        }
    }
}
