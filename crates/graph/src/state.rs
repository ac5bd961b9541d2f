//! What a graph has, in memory, with the indexes that questions need: twins by id and by model, relationships by where
//! they leave and where they come to.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use gantry_dtdl::Dtmi;
use serde_json::Value;

use crate::error::GraphError;
use crate::ids::cut;
use crate::jobs::{Job, JobKind};
use crate::models::{Definitions, Model, with_dependencies};
use crate::relationship::Relationship;
use crate::routes::Compiled;
use crate::twin::Twin;

/// Relationships that leave a twin, by id.
type Leaving = BTreeMap<Arc<str>, Arc<Relationship>>;
/// Relationships that come to a twin, by where they leave and by id.
type Coming = BTreeMap<(Arc<str>, Arc<str>), Arc<Relationship>>;

/// A graph as it is.
#[derive(Default)]
pub struct State {
    pub(crate) models: Definitions,
    pub(crate) twins: BTreeMap<Arc<str>, Arc<Twin>>,
    by_model: BTreeMap<Arc<str>, BTreeSet<Arc<str>>>,
    leaving: BTreeMap<Arc<str>, Leaving>,
    coming: HashMap<Arc<str>, Coming>,
    relationships: usize,
    /// Models by the path a model repository has them under.
    paths: HashMap<String, Arc<str>>,
    pub(crate) routes: BTreeMap<String, Compiled>,
    pub(crate) jobs: BTreeMap<(JobKind, String), Job>,
}

/// What a write does; nothing in the place of something deletes it.
#[derive(Clone)]
pub(crate) enum Change {
    Model(Arc<str>, Option<Arc<Model>>),
    Twin(Arc<str>, Option<Arc<Twin>>),
    Relationship(Arc<str>, Arc<str>, Option<Arc<Relationship>>),
    Route(String, Option<Compiled>),
    Job(JobKind, String, Option<Job>),
}

impl State {
    pub(crate) fn apply(&mut self, change: Change) {
        match change {
            Change::Model(id, model) => self.apply_model(id, model),
            Change::Twin(id, twin) => self.apply_twin(id, twin),
            Change::Relationship(source, id, relationship) => self.apply_relationship(&source, &id, relationship),
            Change::Route(id, Some(route)) => drop(self.routes.insert(id, route)),
            Change::Route(id, None) => drop(self.routes.remove(&id)),
            Change::Job(kind, id, Some(job)) => drop(self.jobs.insert((kind, id), job)),
            Change::Job(kind, id, None) => drop(self.jobs.remove(&(kind, id))),
        }
    }

    fn apply_model(&mut self, id: Arc<str>, model: Option<Arc<Model>>) {
        let path = Dtmi::parse(&id).ok().and_then(|id| id.repository_path());
        match model {
            Some(model) => {
                self.paths.extend(path.map(|path| (path, Arc::clone(&id))));
                self.models.insert(id, model);
            }
            None => {
                path.iter().for_each(|path| drop(self.paths.remove(path)));
                self.models.remove(&id);
            }
        }
    }

    fn apply_twin(&mut self, id: Arc<str>, twin: Option<Arc<Twin>>) {
        let old = match &twin {
            Some(twin) => self.twins.insert(Arc::clone(&id), Arc::clone(twin)),
            None => self.twins.remove(&id),
        };
        if let Some(old) = old
            && let Some(of_model) = self.by_model.get_mut(&old.model)
        {
            of_model.remove(&id);
            if of_model.is_empty() {
                self.by_model.remove(&old.model);
            }
        }
        if let Some(twin) = twin {
            self.by_model.entry(Arc::clone(&twin.model)).or_default().insert(id);
        }
    }

    fn apply_relationship(&mut self, source: &Arc<str>, id: &Arc<str>, relationship: Option<Arc<Relationship>>) {
        let leaving = self.leaving.entry(Arc::clone(source)).or_default();
        let old = match &relationship {
            Some(relationship) => leaving.insert(Arc::clone(id), Arc::clone(relationship)),
            None => leaving.remove(id),
        };
        if leaving.is_empty() {
            self.leaving.remove(source);
        }
        let place = (Arc::clone(source), Arc::clone(id));
        if let Some(old) = old {
            self.relationships -= 1;
            if let Some(coming) = self.coming.get_mut(&old.target) {
                coming.remove(&place);
                if coming.is_empty() {
                    self.coming.remove(&old.target);
                }
            }
        }
        if let Some(relationship) = relationship {
            self.relationships += 1;
            self.coming.entry(Arc::clone(&relationship.target)).or_default().insert(place, relationship);
        }
    }

    /// The text a model repository has under a path: `dtmi/com/example/thermostat-1.json`, or `.expanded.json` with
    /// everything the model is built on.
    #[must_use]
    pub fn model_file(&self, path: &str) -> Option<String> {
        let (plain, is_expanded) = match path.strip_suffix(".expanded.json") {
            Some(stem) => (format!("{stem}.json"), true),
            None => (path.to_owned(), false),
        };
        let id = self.paths.get(&plain)?;
        if !is_expanded {
            return self.models.get(id).map(|model| model.definition.to_string());
        }
        let all = with_dependencies(&self.models, &[id.to_string()]).ok()?;
        Some(all.iter().map(|model| model.definition.clone()).collect::<Value>().to_string())
    }

    /// Models by id.
    #[must_use]
    pub fn models(&self) -> &Definitions {
        &self.models
    }

    /// How many twins there are.
    #[must_use]
    pub fn twins_len(&self) -> usize {
        self.twins.len()
    }

    /// How many relationships there are.
    #[must_use]
    pub fn relationships_len(&self) -> usize {
        self.relationships
    }

    /// A twin.
    ///
    /// # Errors
    /// When there is none of the id.
    pub fn twin(&self, id: &str) -> Result<&Arc<Twin>, GraphError> {
        crate::ids::check("digital twin", id)?;
        self.twins.get(id).ok_or_else(|| GraphError::DigitalTwinNotFound(cut(id)))
    }

    /// A twin, if there is one.
    pub(crate) fn get(&self, id: &str) -> Option<&Arc<Twin>> {
        self.twins.get(id)
    }

    /// A relationship.
    ///
    /// # Errors
    /// When there is no such twin, or no such relationship leaves it.
    pub fn relationship(&self, twin: &str, id: &str) -> Result<&Arc<Relationship>, GraphError> {
        crate::ids::check("relationship", id)?;
        self.twin(twin)?;
        self.leaving_of(twin, id).ok_or_else(|| GraphError::RelationshipNotFound { twin: cut(twin), id: cut(id) })
    }

    fn leaving_of(&self, twin: &str, id: &str) -> Option<&Arc<Relationship>> {
        self.leaving.get(twin)?.get(id)
    }

    /// Relationships that leave a twin, in order of id, from behind one on.
    pub fn leaving<'a>(
        &'a self,
        twin: &str,
        after: Option<&str>,
    ) -> impl Iterator<Item = &'a Arc<Relationship>> + use<'a> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = after.map_or(Unbounded, |after| Excluded(Arc::<str>::from(after)));
        let leaving = self.leaving.get(twin).map(move |leaving| leaving.range((from, Unbounded)));
        leaving.into_iter().flatten().map(|(_, relationship)| relationship)
    }

    /// Relationships that come to a twin, in order of source and id, from behind one on.
    pub fn coming<'a>(
        &'a self,
        twin: &str,
        after: Option<(&str, &str)>,
    ) -> impl Iterator<Item = &'a Arc<Relationship>> + use<'a> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = after.map_or(Unbounded, |(source, id)| Excluded((Arc::<str>::from(source), Arc::<str>::from(id))));
        let coming = self.coming.get(twin).map(move |coming| coming.range((from, Unbounded)));
        coming.into_iter().flatten().map(|(_, relationship)| relationship)
    }

    /// How many relationships leave a twin, and how many come to it.
    pub(crate) fn degree(&self, twin: &str) -> (usize, usize) {
        (self.leaving.get(twin).map_or(0, BTreeMap::len), self.coming.get(twin).map_or(0, BTreeMap::len))
    }

    /// Ids of twins, from behind one on.
    pub fn twins_after<'a>(&'a self, after: Option<&str>) -> impl Iterator<Item = &'a Arc<Twin>> + use<'a> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = after.map_or(Unbounded, |after| Excluded(Arc::<str>::from(after)));
        self.twins.range((from, Unbounded)).map(|(_, twin)| twin)
    }

    /// Twins of one model, not of those that extend it, from behind one on.
    pub(crate) fn of_model<'a>(
        &'a self,
        model: &str,
        after: Option<&str>,
    ) -> impl Iterator<Item = &'a Arc<Twin>> + use<'a> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = after.map_or(Unbounded, |after| Excluded(Arc::<str>::from(after)));
        let ids = self.by_model.get(model).map(move |ids| ids.range((from, Unbounded)));
        ids.into_iter().flatten().filter_map(move |id| self.twins.get(id))
    }

    /// How many twins have one model.
    pub(crate) fn of_model_len(&self, model: &str) -> usize {
        self.by_model.get(model).map_or(0, BTreeSet::len)
    }

    /// Every relationship in order of source and id, from behind one on.
    pub fn relationships_after<'a>(
        &'a self,
        after: Option<(&str, &str)>,
    ) -> impl Iterator<Item = &'a Arc<Relationship>> + use<'a> {
        use std::ops::Bound::{Excluded, Unbounded};
        let rest = after.map(|(source, id)| {
            let range = (Excluded(Arc::<str>::from(id)), Unbounded);
            self.leaving.get(source).into_iter().flat_map(move |leaving| leaving.range(range.clone()))
        });
        let from = after.map_or(Unbounded, |(source, _)| Excluded(Arc::<str>::from(source)));
        let others = self.leaving.range((from, Unbounded)).flat_map(|(_, leaving)| leaving.iter());
        rest.into_iter().flatten().chain(others).map(|(_, relationship)| relationship)
    }

    /// Relationships of one source.
    pub(crate) fn get_relationship(&self, source: &str, id: &str) -> Option<&Arc<Relationship>> {
        self.leaving_of(source, id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn twin(id: &str, model: &str) -> Change {
        let twin = Twin::restore(json!({"$dtId": id, "$metadata": {"$model": model}})).unwrap();
        Change::Twin(id.into(), Some(Arc::new(twin)))
    }

    fn link(source: &str, id: &str, target: &str) -> Change {
        let document =
            json!({"$relationshipId": id, "$sourceId": source, "$targetId": target, "$relationshipName": "n"});
        Change::Relationship(source.into(), id.into(), Relationship::restore(document).map(Arc::new))
    }

    fn ids<'a>(all: impl Iterator<Item = &'a Arc<Relationship>>) -> Vec<String> {
        all.map(|one| format!("{}/{}", one.source, one.id)).collect()
    }

    #[test]
    fn indexes_follow_every_change() {
        let mut state = State::default();
        for change in [twin("a", "M"), twin("b", "M"), link("a", "r", "b"), link("a", "s", "b"), link("b", "r", "a")] {
            state.apply(change);
        }
        assert_eq!(state.of_model_len("M"), 2);
        assert_eq!(state.relationships_len(), 3);
        assert_eq!(state.degree("a"), (2, 1));
        assert_eq!(ids(state.leaving("a", None)), ["a/r", "a/s"]);
        assert_eq!(ids(state.coming("b", Some(("a", "r")))), ["a/s"]);
        assert_eq!(ids(state.relationships_after(Some(("a", "r")))), ["a/s", "b/r"]);
        // The same relationship leads elsewhere.
        state.apply(link("a", "s", "a"));
        assert_eq!(state.relationships_len(), 3);
        assert_eq!(ids(state.coming("b", None)), ["a/r"]);
        state.apply(twin("a", "N"));
        assert_eq!((state.of_model_len("M"), state.of_model_len("N")), (1, 1));
        state.apply(Change::Relationship("a".into(), "r".into(), None));
        state.apply(Change::Relationship("a".into(), "s".into(), None));
        state.apply(Change::Relationship("b".into(), "r".into(), None));
        state.apply(Change::Twin("b".into(), None));
        assert_eq!((state.relationships_len(), state.twins_len(), state.of_model_len("M")), (0, 1, 0));
        assert!(state.leaving.is_empty() && state.coming.is_empty());
    }
}
