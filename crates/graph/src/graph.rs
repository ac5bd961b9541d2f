//! The graph: what there is, and the way to change it.
//!
//! The collections are read at start and kept in memory; this is their only owner in the process. A write is decided on
//! what is there, written at the versions that were read, and seen when it is durable. When somebody else wrote, all is
//! read again and the write decided anew.

use std::sync::Arc;

use gantry_hub::device::IfMatch;
use gantry_hub::ports::{Collection, Documents, StoreError};
use gantry_identity::Timestamp;
use parking_lot::{RwLock, RwLockReadGuard};
use serde_json::{Map, Value};

use crate::error::GraphError;
use crate::events::{Notification, NotificationKind};
use crate::ids::{self, cut};
use crate::jobs::{Job, JobKind};
use crate::limits;
use crate::models;
use crate::patch::Patch;
use crate::relationship::{self, Relationship};
use crate::routes::{Compiled, EventRoute};
use crate::state::{Change, State};
use crate::stored::{self, COLLECTIONS};
use crate::twin::{self, Twin, bare};

/// How often a write is decided before its caller is told that others were quicker.
const ATTEMPTS: usize = 8;

/// What a write is made with.
#[derive(Clone, Copy, Debug)]
pub struct Write<'a> {
    /// The instant.
    pub now: Timestamp,
    /// A number drawn for this write: etags and ids of events are made of it.
    pub drawn: u128,
    /// What the caller expects to be there.
    pub if_match: &'a IfMatch,
    /// Whether the caller expects nothing to be there (`If-None-Match: *`).
    pub is_new: bool,
}

impl<'a> Write<'a> {
    /// A write that expects nothing.
    #[must_use]
    pub fn any(now: Timestamp, drawn: u128) -> Self {
        Self { now, drawn, if_match: &IfMatch::Absent, is_new: false }
    }

    fn admits(&self, what: &str, etag: Option<&str>) -> Result<(), GraphError> {
        let is_admitted = match etag {
            Some(etag) => !self.is_new && self.if_match.admits(bare(etag)),
            None => true,
        };
        if is_admitted { Ok(()) } else { Err(GraphError::PreconditionFailed(cut(what))) }
    }

    /// As the one of so many that are made of one draw.
    fn of(self, number: usize) -> (Timestamp, u128) {
        (self.now, self.drawn.wrapping_add(number as u128))
    }
}

/// One of many things written at once.
#[derive(Clone, Debug)]
pub enum Item {
    /// A twin with its body; its id is `$dtId`.
    Twin(Map<String, Value>),
    /// A relationship with its body; its source is `$dtId` or `$sourceId`, its id `$relationshipId`.
    Relationship(Map<String, Value>),
    /// A change of a twin.
    Patch(String, Patch),
}

/// What a write comes to.
pub(crate) struct Decided<R> {
    pub(crate) changes: Vec<Change>,
    pub(crate) events: Vec<Notification>,
    pub(crate) said: R,
}

/// What became of each of many, and what is to be told.
pub type Many = (Vec<Result<(), GraphError>>, Vec<Notification>);

/// A graph.
pub struct Graph {
    documents: Arc<dyn Documents>,
    /// Versions of the collections. Held over a write, so that writes do not meet.
    versions: tokio::sync::Mutex<Vec<u64>>,
    state: RwLock<State>,
    /// Who looks at much of the state for long takes a turn, and so does who writes it, each in the order they came: a
    /// write never waits on a thread, nor keeps others from reading, while a query runs.
    turns: Arc<tokio::sync::RwLock<()>>,
    twins_max: usize,
    relationships_max: usize,
}

impl Graph {
    /// Reads a graph that may have so many twins and relationships.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn load(
        documents: Arc<dyn Documents>,
        twins_max: usize,
        relationships_max: usize,
    ) -> Result<Self, StoreError> {
        let (versions, collections) = fetch(&*documents).await?;
        let (versions, state) = (tokio::sync::Mutex::new(versions), RwLock::new(stored::read(collections)?));
        let (twins_max, relationships_max) =
            (twins_max.min(limits::TWINS_MAX), relationships_max.min(limits::RELATIONSHIPS_MAX));
        Ok(Self { documents, versions, state, turns: Arc::default(), twins_max, relationships_max })
    }

    /// A turn to look at the state for long; writes wait until it is dropped, and nothing else does.
    pub async fn turn(&self) -> tokio::sync::OwnedRwLockReadGuard<()> {
        Arc::clone(&self.turns).read_owned().await
    }

    /// As it is now. Writes wait meanwhile.
    pub fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read()
    }

    /// Writes what `decide` says, and gives what is to be told.
    pub(crate) async fn write<R>(
        &self,
        mut decide: impl FnMut(&State) -> Result<Decided<R>, GraphError>,
    ) -> Result<(R, Vec<Notification>), GraphError> {
        let mut versions = self.versions.lock().await;
        for _ in 0..ATTEMPTS {
            let decided = decide(&self.state.read())?;
            if decided.changes.is_empty() {
                return Ok((decided.said, decided.events));
            }
            let written = stored::changes(&decided.changes, &versions);
            let touched: Vec<&str> = written.iter().map(|changes| changes.collection).collect();
            match self.documents.put(written).await {
                Ok(()) => {
                    let all = COLLECTIONS.iter().zip(versions.iter_mut());
                    all.filter(|(name, _)| touched.contains(*name)).for_each(|(_, version)| *version += 1);
                    let _turn = self.turns.write().await;
                    let mut state = self.state.write();
                    decided.changes.into_iter().for_each(|change| state.apply(change));
                    return Ok((decided.said, decided.events));
                }
                Err(StoreError::Conflict) => {
                    let (read, collections) = fetch(&*self.documents).await?;
                    let read_again = stored::read(collections)?;
                    let _turn = self.turns.write().await;
                    *self.state.write() = read_again;
                    *versions = read;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(StoreError::Conflict.into())
    }

    /// Adds models, all or none.
    ///
    /// # Errors
    /// Names the first that cannot be one.
    pub async fn add_models(&self, now: Timestamp, definitions: Vec<Value>) -> Result<Vec<Arc<str>>, GraphError> {
        let decide = |state: &State| {
            let made = models::read(&state.models, definitions.clone(), now)?;
            let said = made.iter().map(|model| Arc::clone(&model.id)).collect();
            let changes = made.into_iter().map(|model| Change::Model(Arc::clone(&model.id), Some(Arc::new(model))));
            Ok(Decided { changes: changes.collect(), events: vec![], said })
        };
        Ok(self.write(decide).await?.0)
    }

    /// Changes whether a model is for new twins.
    ///
    /// # Errors
    /// When there is none, the patch says something else, or others are built on it.
    pub async fn update_model(&self, id: &str, patch: &Value) -> Result<(), GraphError> {
        let decide = |state: &State| {
            let model = models::decommission(&state.models, id, patch)?;
            let change = Change::Model(Arc::clone(&model.id), Some(Arc::new(model)));
            Ok(Decided { changes: vec![change], events: vec![], said: () })
        };
        self.write(decide).await?;
        Ok(())
    }

    /// Deletes a model that nothing is built on.
    ///
    /// # Errors
    /// When there is none, or others are built on it.
    pub async fn delete_model(&self, id: &str) -> Result<(), GraphError> {
        let decide = |state: &State| {
            let model = models::find(&state.models, id)?;
            models::check_unused(&state.models, id)?;
            let change = Change::Model(Arc::clone(&model.id), None);
            Ok(Decided { changes: vec![change], events: vec![], said: () })
        };
        self.write(decide).await?;
        Ok(())
    }

    /// Models with everything they are built on, or all; in order of id, from behind one on.
    ///
    /// # Errors
    /// When one of them is not there.
    pub fn models(&self, of: &[String], after: Option<&str>) -> Result<Vec<Arc<models::Model>>, GraphError> {
        if of.len() > limits::DEPENDENCIES_FOR_MAX {
            let words = format!("`dependenciesFor` has at most {} ids", limits::DEPENDENCIES_FOR_MAX);
            return Err(GraphError::LimitExceeded(words));
        }
        let state = self.read();
        let all = match of {
            [] => state.models.values().map(Arc::clone).collect(),
            ids => models::with_dependencies(&state.models, ids)?,
        };
        Ok(all.into_iter().filter(|model| after.is_none_or(|after| &*model.id > after)).collect())
    }

    /// A model.
    ///
    /// # Errors
    /// When there is none.
    pub fn model(&self, id: &str) -> Result<Arc<models::Model>, GraphError> {
        models::find(&self.read().models, id).map(Arc::clone)
    }

    /// Makes a twin, or replaces one.
    ///
    /// # Errors
    /// What is wrong with it, or with what the caller expects.
    pub async fn put_twin(
        &self,
        write: Write<'_>,
        id: &str,
        body: &Map<String, Value>,
    ) -> Result<(Arc<Twin>, Vec<Notification>), GraphError> {
        ids::check("digital twin", id)?;
        self.write(|state| self.decide_twin(state, write, 0, id, body.clone())).await
    }

    fn decide_twin(
        &self,
        state: &State,
        write: Write<'_>,
        number: usize,
        id: &str,
        body: Map<String, Value>,
    ) -> Result<Decided<Arc<Twin>>, GraphError> {
        let old = state.get(id);
        write.admits(id, old.map(|twin| twin.etag()))?;
        if old.is_none() && state.twins_len() + number >= self.twins_max {
            return Err(GraphError::TwinLimitReached(self.twins_max));
        }
        let made = twin::make(&state.models, write.of(number), &id.into(), body, old.map(|twin| &**twin))?;
        let made = Arc::new(made);
        let event = match old {
            None => event(NotificationKind::TwinCreate, write.of(number), &made.id, None, made.document.clone()),
            Some(_) => {
                let data = serde_json::json!({"modelId": &*made.model, "patch": replaced(&made.document)});
                event(NotificationKind::TwinUpdate, write.of(number), &made.id, None, data)
            }
        };
        let change = Change::Twin(Arc::clone(&made.id), Some(Arc::clone(&made)));
        Ok(Decided { changes: vec![change], events: vec![event], said: made })
    }

    /// Changes a twin, or the component it names.
    ///
    /// # Errors
    /// What is wrong with the patch, with what it makes of the twin, or with what the caller expects.
    pub async fn update_twin(
        &self,
        write: Write<'_>,
        id: &str,
        component: Option<&str>,
        patch: &Patch,
    ) -> Result<(Arc<Twin>, Vec<Notification>), GraphError> {
        let decide = |state: &State| {
            let twin = state.twin(id)?;
            let patch = match component {
                Some(name) => {
                    twin.component(&state.models, name)?;
                    patch.clone().within(name)
                }
                None => patch.clone(),
            };
            decide_patch(state, write, 0, id, &patch)
        };
        self.write(decide).await
    }

    /// Deletes a twin that no relationship touches.
    ///
    /// # Errors
    /// When there is none, relationships touch it, or it is not as expected.
    pub async fn delete_twin(&self, write: Write<'_>, id: &str) -> Result<Vec<Notification>, GraphError> {
        let decide = |state: &State| {
            let twin = state.twin(id)?;
            write.admits(id, Some(twin.etag()))?;
            if state.degree(id) != (0, 0) {
                return Err(GraphError::RelationshipsNotDeleted(id.to_owned()));
            }
            let event = event(NotificationKind::TwinDelete, write.of(0), &twin.id, None, twin.document.clone());
            Ok(Decided { changes: vec![Change::Twin(Arc::clone(&twin.id), None)], events: vec![event], said: () })
        };
        Ok(self.write(decide).await?.1)
    }

    /// Makes a relationship, or replaces one.
    ///
    /// # Errors
    /// What is wrong with it, or with what the caller expects.
    pub async fn put_relationship(
        &self,
        write: Write<'_>,
        twin: &str,
        id: &str,
        body: &Map<String, Value>,
    ) -> Result<(Arc<Relationship>, Vec<Notification>), GraphError> {
        self.write(|state| self.decide_relationship(state, write, 0, (twin, id), body.clone())).await
    }

    fn decide_relationship(
        &self,
        state: &State,
        write: Write<'_>,
        number: usize,
        (twin, id): (&str, &str),
        body: Map<String, Value>,
    ) -> Result<Decided<Arc<Relationship>>, GraphError> {
        ids::check("relationship", id)?;
        let source = state.twin(twin)?;
        let old = state.get_relationship(twin, id);
        write.admits(id, old.map(|one| one.etag()))?;
        let drawn = write.of(number).1;
        let target_of = |id: &str| state.get(id);
        let made = relationship::make(&state.models, drawn, source, &id.into(), body, target_of)?;
        if old.is_none() {
            self.check_room(state, &made, number)?;
        }
        let made = Arc::new(made);
        let kind = match old {
            None => NotificationKind::RelationshipCreate,
            Some(_) => NotificationKind::RelationshipUpdate,
        };
        let data = match old {
            None => made.document.clone(),
            Some(_) => serde_json::json!({"modelId": &*source.model, "patch": replaced(&made.document)}),
        };
        let event = event(kind, write.of(number), &made.source, Some(id), data);
        let change = Change::Relationship(Arc::clone(&made.source), Arc::clone(&made.id), Some(Arc::clone(&made)));
        Ok(Decided { changes: vec![change], events: vec![event], said: made })
    }

    fn check_room(&self, state: &State, made: &Relationship, number: usize) -> Result<(), GraphError> {
        let full = |words: String| Err(GraphError::LimitExceeded(words));
        if state.relationships_len() + number >= self.relationships_max {
            return full(format!("a graph may have {} relationships", self.relationships_max));
        }
        if state.degree(&made.source).0 + number >= limits::OUTGOING_MAX {
            return full(format!("{} relationships may leave a digital twin", limits::OUTGOING_MAX));
        }
        if state.degree(&made.target).1 + number >= limits::INCOMING_MAX {
            return full(format!("{} relationships may come to a digital twin", limits::INCOMING_MAX));
        }
        Ok(())
    }

    /// Changes properties of a relationship.
    ///
    /// # Errors
    /// What is wrong with the patch, with what it makes of the relationship, or with what the caller expects.
    pub async fn update_relationship(
        &self,
        write: Write<'_>,
        twin: &str,
        id: &str,
        patch: &Patch,
    ) -> Result<(Arc<Relationship>, Vec<Notification>), GraphError> {
        let decide = |state: &State| {
            let old = state.relationship(twin, id)?;
            write.admits(id, Some(old.etag()))?;
            let source = state.twin(twin)?;
            let made = Arc::new(relationship::patched(&state.models, write.drawn, source, old, patch)?);
            let data = serde_json::json!({"modelId": &*source.model, "patch": patch.document()});
            let event = event(NotificationKind::RelationshipUpdate, write.of(0), &made.source, Some(id), data);
            let change = Change::Relationship(Arc::clone(&made.source), Arc::clone(&made.id), Some(Arc::clone(&made)));
            Ok(Decided { changes: vec![change], events: vec![event], said: made })
        };
        self.write(decide).await
    }

    /// Deletes a relationship.
    ///
    /// # Errors
    /// When there is none, or it is not as expected.
    pub async fn delete_relationship(
        &self,
        write: Write<'_>,
        twin: &str,
        id: &str,
    ) -> Result<Vec<Notification>, GraphError> {
        let decide = |state: &State| {
            let old = state.relationship(twin, id)?;
            write.admits(id, Some(old.etag()))?;
            let data = old.document.clone();
            let event = event(NotificationKind::RelationshipDelete, write.of(0), &old.source, Some(id), data);
            let change = Change::Relationship(Arc::clone(&old.source), Arc::clone(&old.id), None);
            Ok(Decided { changes: vec![change], events: vec![event], said: () })
        };
        Ok(self.write(decide).await?.1)
    }

    /// What telemetry of a twin, or of a component, tells others. Nothing is kept of it.
    ///
    /// # Errors
    /// When there is no such twin or component, or the telemetry is no object.
    pub fn telemetry(
        &self,
        now: Timestamp,
        (id, component): (&str, Option<&str>),
        message_id: &str,
        source_time: Option<Timestamp>,
        body: Value,
    ) -> Result<Notification, GraphError> {
        if !(1..=limits::ID_LEN_MAX).contains(&message_id.len()) {
            let words = format!("`Message-Id` has 1 to {} characters", limits::ID_LEN_MAX);
            return Err(GraphError::InvalidArgument(words));
        }
        if !body.is_object() {
            return Err(GraphError::validation("telemetry is an object"));
        }
        let state = self.read();
        let twin = state.twin(id)?;
        let mut model = Some(twin.model.to_string());
        let mut subject = id.to_owned();
        if let Some(name) = component {
            twin.component(&state.models, name)?;
            let interface = state.models.get(&twin.model).and_then(|model| model.interface());
            let of = interface.and_then(|interface| interface.content(name)?.component());
            model = of.map(|of| of.id().to_string());
            subject = format!("{id}/components/{name}");
        }
        let (kind, twin) = (NotificationKind::Telemetry, id.to_owned());
        let time = source_time.unwrap_or(now);
        Ok(Notification { kind, id: message_id.to_owned(), twin, subject, time, data: body, dataschema: model })
    }

    /// Writes many things at once; each stands or falls by itself. No two may be about the same thing.
    ///
    /// # Errors
    /// When the store fails; nothing is written then.
    pub async fn put_many(&self, now: Timestamp, drawn: u128, items: &[Item]) -> Result<Many, GraphError> {
        let write = Write::any(now, drawn);
        let decide = |state: &State| {
            let mut all = Decided { changes: vec![], events: vec![], said: vec![] };
            for (number, item) in items.iter().enumerate() {
                let one = match self.decide_item(state, write, number, item) {
                    Ok((changes, events)) => {
                        all.changes.extend(changes);
                        all.events.extend(events);
                        Ok(())
                    }
                    Err(error) => Err(error),
                };
                all.said.push(one);
            }
            Ok(all)
        };
        self.write(decide).await
    }

    fn decide_item(
        &self,
        state: &State,
        write: Write<'_>,
        number: usize,
        item: &Item,
    ) -> Result<(Vec<Change>, Vec<Notification>), GraphError> {
        let text = |body: &Map<String, Value>, name: &str| {
            let text = body.get(name).and_then(Value::as_str).map(str::to_owned);
            text.ok_or_else(|| GraphError::validation(format!("`{name}` is missing, or not a string")))
        };
        match item {
            Item::Twin(body) => {
                let id = text(body, twin::ID)?;
                ids::check("digital twin", &id)?;
                let decided = self.decide_twin(state, write, number, &id, body.clone())?;
                Ok((decided.changes, decided.events))
            }
            Item::Relationship(body) => {
                let source = text(body, twin::ID).or_else(|_| text(body, relationship::SOURCE))?;
                let id = text(body, relationship::ID)?;
                let mut body = body.clone();
                body.shift_remove(twin::ID);
                let decided = self.decide_relationship(state, write, number, (&source, &id), body)?;
                Ok((decided.changes, decided.events))
            }
            Item::Patch(id, patch) => {
                let decided = decide_patch(state, write, number, id, patch)?;
                Ok((decided.changes, decided.events))
            }
        }
    }

    /// Deletes up to so many relationships, then twins, then models; how many there were.
    ///
    /// # Errors
    /// When the store fails.
    pub(crate) async fn delete_some(&self, most: usize) -> Result<usize, GraphError> {
        let decide = |state: &State| {
            let gone =
                |one: &Arc<Relationship>| Change::Relationship(Arc::clone(&one.source), Arc::clone(&one.id), None);
            let mut changes: Vec<Change> = state.relationships_after(None).take(most).map(gone).collect();
            if changes.is_empty() {
                changes = state.twins.keys().take(most).map(|id| Change::Twin(Arc::clone(id), None)).collect();
            }
            if changes.is_empty() {
                changes = state.models.keys().map(|id| Change::Model(Arc::clone(id), None)).collect();
            }
            Ok(Decided { said: changes.len(), changes, events: vec![] })
        };
        Ok(self.write(decide).await?.0)
    }

    /// Event routes by id.
    #[must_use]
    pub fn routes(&self) -> Vec<(String, EventRoute)> {
        self.read().routes.iter().map(|(id, compiled)| (id.clone(), compiled.route.clone())).collect()
    }

    /// An event route.
    ///
    /// # Errors
    /// When there is none.
    pub fn event_route(&self, id: &str) -> Result<EventRoute, GraphError> {
        let state = self.read();
        let found = state.routes.get(id).map(|compiled| compiled.route.clone());
        found.ok_or_else(|| GraphError::EventRouteNotFound(cut(id)))
    }

    /// Makes an event route, or replaces one. Whether its endpoint is there is the caller's to know.
    ///
    /// # Errors
    /// What is wrong with it.
    pub async fn put_route(&self, id: &str, route: &EventRoute) -> Result<(), GraphError> {
        if !ids::is_name(id) {
            return Err(GraphError::EventRouteIdInvalid);
        }
        let compiled = Compiled::new(route.clone())?;
        let decide = |state: &State| {
            if !state.routes.contains_key(id) && state.routes.len() >= limits::ROUTES_MAX {
                let words = format!("a graph may have {} event routes", limits::ROUTES_MAX);
                return Err(GraphError::LimitExceeded(words));
            }
            let change = Change::Route(id.to_owned(), Some(compiled.clone()));
            Ok(Decided { changes: vec![change], events: vec![], said: () })
        };
        self.write(decide).await?;
        Ok(())
    }

    /// Deletes an event route.
    ///
    /// # Errors
    /// When there is none.
    pub async fn delete_route(&self, id: &str) -> Result<(), GraphError> {
        let decide = |state: &State| {
            if !state.routes.contains_key(id) {
                return Err(GraphError::EventRouteNotFound(cut(id)));
            }
            Ok(Decided { changes: vec![Change::Route(id.to_owned(), None)], events: vec![], said: () })
        };
        self.write(decide).await?;
        Ok(())
    }

    /// The endpoints an event goes to, each once.
    #[must_use]
    pub fn endpoints_of(&self, event: &Notification, host: &str) -> Vec<String> {
        let state = self.read();
        let mut names: Vec<String> = vec![];
        for compiled in state.routes.values() {
            if !names.contains(&compiled.route.endpoint_name) && compiled.matches(event, host) {
                names.push(compiled.route.endpoint_name.clone());
            }
        }
        names
    }

    /// Whether anybody listens.
    #[must_use]
    pub fn has_routes(&self) -> bool {
        !self.read().routes.is_empty()
    }

    /// Jobs of a kind in order of id.
    #[must_use]
    pub fn jobs(&self, kind: JobKind) -> Vec<Job> {
        self.read().jobs.iter().filter(|((of, _), _)| *of == kind).map(|(_, job)| job.clone()).collect()
    }
}

fn decide_patch(
    state: &State,
    write: Write<'_>,
    number: usize,
    id: &str,
    patch: &Patch,
) -> Result<Decided<Arc<Twin>>, GraphError> {
    let old = state.twin(id)?;
    write.admits(id, Some(old.etag()))?;
    let made = Arc::new(twin::patched(&state.models, write.of(number), old, patch)?);
    let data = serde_json::json!({"modelId": &*made.model, "patch": patch.document()});
    let event = event(NotificationKind::TwinUpdate, write.of(number), &made.id, None, data);
    let change = Change::Twin(Arc::clone(&made.id), Some(Arc::clone(&made)));
    Ok(Decided { changes: vec![change], events: vec![event], said: made })
}

/// A patch that says all of a document that was replaced.
fn replaced(document: &Value) -> Value {
    let members = document.as_object().into_iter().flatten().filter(|(name, _)| !name.starts_with('$'));
    Patch::adding(members.map(|(name, value)| (vec![name.clone()], value.clone()))).document()
}

fn event(
    kind: NotificationKind,
    (time, drawn): (Timestamp, u128),
    twin: &Arc<str>,
    relationship: Option<&str>,
    data: Value,
) -> Notification {
    let subject = match relationship {
        Some(id) => format!("{twin}/relationships/{id}"),
        None => twin.to_string(),
    };
    let id = bare(&twin::etag_of(!drawn)).to_owned();
    Notification { kind, id, twin: twin.to_string(), subject, time, data, dataschema: None }
}

async fn fetch(documents: &dyn Documents) -> Result<(Vec<u64>, Vec<Collection>), StoreError> {
    let mut all = vec![];
    for collection in COLLECTIONS {
        all.push(documents.all(collection).await?);
    }
    Ok((all.iter().map(|collection| collection.version).collect(), all))
}

#[cfg(test)]
#[path = "graph_tests.rs"]
mod tests;
