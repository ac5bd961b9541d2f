//! Running a query: pages of rows, each row a way to bind the pattern.
//!
//! Rows come in order of the twin a query begins with, and within it in order of relationships. A page that is not the
//! last has a token with the query, the place it came to, and how many rows of the last twin were shown: so a page goes on
//! where the one before ended, as long as nobody changes what is there. Whoever makes a token of their own asks what they
//! could have asked in a query.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::ast::{Direction, Edge, Expr, Query, Select, Slot};
use super::eval::Bound;
use super::plan::{Plan, Roots};
use super::{PAGE_BYTES_MAX, PAGE_STEPS_MAX, STEPS_MAX};
use crate::error::GraphError;
use crate::models::descendants;
use crate::relationship::Relationship;
use crate::state::State;
use crate::twin::Twin;

/// Bytes of a token at most: a query of the largest size, and a place.
const TOKEN_LEN_MAX: usize = 64 << 10;

/// A page of results.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// Rows as texts of JSON.
    pub rows: Vec<String>,
    /// Where the next page begins; none after the last.
    pub token: Option<String>,
    /// What it took, in units of the reference's making: steps of the walk count.
    pub charge: f64,
}

/// Where a page begins.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    /// The query.
    q: String,
    /// The model whose twins are shown, when a query begins with models.
    #[serde(skip_serializing_if = "Option::is_none")]
    m: Option<String>,
    /// The twin, or the source of the relationship.
    i: String,
    /// The relationship.
    #[serde(skip_serializing_if = "Option::is_none")]
    r: Option<String>,
    /// Rows of it that were shown.
    n: u64,
    /// Rows that may still come.
    #[serde(skip_serializing_if = "Option::is_none")]
    t: Option<u64>,
}

impl Place {
    fn read(token: &str) -> Result<Self, GraphError> {
        let bad = || GraphError::BadContinuation;
        if token.len() > TOKEN_LEN_MAX {
            return Err(bad());
        }
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(token).map_err(|_| bad())?;
        serde_json::from_slice(&bytes).map_err(|_| bad())
    }

    fn token(&self) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).unwrap_or_default())
    }
}

/// Steps after which it is asked whether the answer is still wanted.
const LOOK_STEPS: u64 = 64;

/// A page of a query, the first one or the one a token names, of so many rows at most.
///
/// # Errors
/// When the query or the token cannot be understood, or the query looks at more than it may.
pub fn page(state: &State, text: &str, token: Option<&str>, rows_max: usize) -> Result<Page, GraphError> {
    page_while(state, text, token, rows_max, &|| true)
}

/// The same, while `is_wanted` says so, which is asked every now and then.
///
/// # Errors
/// As [`page`]; [`GraphError::TimeoutError`] when it is not wanted any more.
pub fn page_while(
    state: &State,
    text: &str,
    token: Option<&str>,
    rows_max: usize,
    is_wanted: &dyn Fn() -> bool,
) -> Result<Page, GraphError> {
    let place = token.map(Place::read).transpose()?;
    let query = match &place {
        Some(place) => Query::parse(&place.q).map_err(|_| GraphError::BadContinuation)?,
        None => Query::parse(text)?,
    };
    let plan = Plan::of(&query);
    if matches!(query.select, Select::Count) {
        return count(state, &query, &plan, is_wanted);
    }
    let left = place.as_ref().map_or(query.top, |place| place.t);
    let most = left.map_or(rows_max, |left| rows_max.min(usize::try_from(left).unwrap_or(usize::MAX)));
    let mut run = Run::new(state, &query, &plan, most, is_wanted);
    if let Some(place) = &place {
        // Relationships go on behind the last one, twins at it.
        run.skip = if place.r.is_none() { place.n } else { 0 };
    }
    let ended = if most == 0 { ControlFlow::Break(Stop::Full) } else { roots(state, &plan, place.as_ref(), &mut run) };
    let shown = run.rows.len() as u64;
    let left = left.map(|left| left.saturating_sub(shown));
    let token = match ended {
        ControlFlow::Break(Stop::TooMuch) => return Err(GraphError::TimeoutError),
        ControlFlow::Break(Stop::Full) if left != Some(0) => {
            let (model, id, relationship) = run.root.clone();
            let place = Place { q: query.text.clone(), m: model, i: id, r: relationship, n: run.of_root, t: left };
            Some(place.token())
        }
        _ => None,
    };
    Ok(Page { charge: run.charge(), rows: run.rows, token })
}

/// How many rows there are, without making them.
fn count(state: &State, query: &Query, plan: &Plan, is_wanted: &dyn Fn() -> bool) -> Result<Page, GraphError> {
    let row = |count: u64, charge: f64| Page { rows: vec![json!({"COUNT": count}).to_string()], token: None, charge };
    if query.edges.is_empty() {
        let indexed = match (&plan.roots, query.conditions.as_slice()) {
            (Roots::Twins, []) => Some(state.twins_len()),
            (Roots::Relationships, []) => Some(state.relationships_len()),
            (Roots::Model(model, exact), [Expr::OfModel { .. }]) => {
                let models = models_of(state, model, *exact);
                Some(models.iter().map(|model| state.of_model_len(model)).sum())
            }
            _ => None,
        };
        if let Some(count) = indexed {
            return Ok(row(count as u64, 1.0));
        }
    }
    let mut run = Run::new(state, query, plan, usize::MAX, is_wanted);
    run.is_count = true;
    match roots(state, plan, None, &mut run) {
        ControlFlow::Break(_) => Err(GraphError::TimeoutError),
        ControlFlow::Continue(()) => Ok(row(run.counted, run.charge())),
    }
}

fn models_of(state: &State, model: &str, exact: bool) -> Vec<Arc<str>> {
    let mut all = if exact { vec![] } else { descendants(state.models(), model) };
    // Twins may have a model that was deleted.
    if !all.iter().any(|one| **one == *model) {
        all.push(model.into());
        all.sort_unstable();
    }
    all
}

/// Walks from every root, from a place on.
fn roots<'a>(state: &'a State, plan: &Plan, place: Option<&Place>, run: &mut Run<'a, '_>) -> ControlFlow<Stop> {
    let at = place.map(|place| place.i.as_str());
    // The twin at the place is looked at again: rows of it may be left.
    let same = at.and_then(|id| state.get(id));
    match &plan.roots {
        Roots::Ids(ids) => {
            for id in ids.iter().filter(|id| at.is_none_or(|at| id.as_str() >= at)) {
                let Some(twin) = state.get(id) else { continue };
                run.forget_skip(at, id);
                run.twin(twin, None)?;
            }
        }
        Roots::Twins => {
            for twin in same.into_iter().chain(state.twins_after(at)) {
                run.forget_skip(at, &twin.id);
                run.twin(twin, None)?;
            }
        }
        Roots::Model(model, exact) => {
            let from = place.and_then(|place| place.m.as_deref());
            for model in models_of(state, model, *exact) {
                let at = match from {
                    Some(from) if *model < *from => continue,
                    Some(from) if *model == *from => at,
                    _ => None,
                };
                let same = same.filter(|twin| at.is_some() && *twin.model == *model);
                for twin in same.into_iter().chain(state.of_model(&model, at)) {
                    run.forget_skip(at, &twin.id);
                    run.twin(twin, Some(&*model))?;
                }
                run.skip = 0;
            }
        }
        Roots::Leaving(ids) => {
            for id in ids.iter().filter(|id| at.is_none_or(|at| id.as_str() >= at)) {
                let after = place.filter(|place| place.i == *id).and_then(|place| place.r.as_deref());
                for link in state.leaving(id, after) {
                    run.relationship(link, (id, None))?;
                }
            }
        }
        Roots::Coming(ids) => {
            for id in ids.iter().filter(|id| at.is_none_or(|at| id.as_str() >= at)) {
                let after = place.filter(|place| place.i == *id).and_then(|place| place.r.as_deref()?.split_once(' '));
                for link in state.coming(id, after) {
                    run.relationship(link, (id, Some(&*link.source)))?;
                }
            }
        }
        Roots::Relationships => {
            let after = place.and_then(|place| Some((place.i.as_str(), place.r.as_deref()?)));
            for link in state.relationships_after(after) {
                run.relationship(link, (&*link.source, None))?;
            }
        }
    }
    ControlFlow::Continue(())
}

/// Why a walk ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    /// The page is full.
    Full,
    /// More steps than there may be.
    TooMuch,
}

/// The model, twin and relationship a page came to.
type Root = (Option<String>, String, Option<String>);

struct Run<'a, 'q> {
    state: &'a State,
    query: &'q Query,
    plan: &'q Plan,
    bound: Bound<'a>,
    /// Relationships that the row has walked.
    walked: Vec<&'a Relationship>,
    rows: Vec<String>,
    rows_max: usize,
    bytes: usize,
    steps: u64,
    steps_at_root: u64,
    is_wanted: &'q dyn Fn() -> bool,
    is_count: bool,
    counted: u64,
    root: Root,
    /// Rows of the root so far, those of earlier pages among them.
    of_root: u64,
    /// Rows of the first root that earlier pages showed.
    skip: u64,
}

impl<'a, 'q> Run<'a, 'q> {
    fn new(
        state: &'a State,
        query: &'q Query,
        plan: &'q Plan,
        rows_max: usize,
        is_wanted: &'q dyn Fn() -> bool,
    ) -> Self {
        let nodes = vec![None; query.nodes.len()];
        let links = vec![None; query.links.len()];
        let bound = Bound { models: state.models(), nodes, links };
        Self {
            state,
            query,
            plan,
            bound,
            walked: vec![],
            rows: vec![],
            rows_max,
            bytes: 0,
            steps: 0,
            steps_at_root: 0,
            is_wanted,
            is_count: false,
            counted: 0,
            root: Root::default(),
            of_root: 0,
            skip: 0,
        }
    }

    fn charge(&self) -> f64 {
        let hundredths = 100 + self.steps + 10 * self.rows.len() as u64;
        #[expect(clippy::cast_precision_loss, reason = "steps are bounded")]
        let charge = hundredths as f64 / 100.0;
        charge
    }

    /// Rows that were shown are those of the twin at the place, and of no other.
    fn forget_skip(&mut self, at: Option<&str>, id: &str) {
        if at != Some(id) {
            self.skip = 0;
        }
    }

    fn step(&mut self) -> ControlFlow<Stop> {
        self.steps += 1;
        let most = if self.is_count { self.steps } else { self.steps - self.steps_at_root };
        let is_late = self.steps.is_multiple_of(LOOK_STEPS) && !(self.is_wanted)();
        if most > STEPS_MAX || is_late { ControlFlow::Break(Stop::TooMuch) } else { ControlFlow::Continue(()) }
    }

    /// Ends the page before the next root when it has taken long.
    fn begin(&mut self, root: Root) -> ControlFlow<Stop> {
        if !self.is_count && self.steps >= PAGE_STEPS_MAX {
            return ControlFlow::Break(Stop::Full);
        }
        (self.root, self.of_root, self.steps_at_root) = (root, 0, self.steps);
        self.step()
    }

    fn twin(&mut self, twin: &'a Twin, model: Option<&str>) -> ControlFlow<Stop> {
        self.begin((model.map(str::to_owned), twin.id.to_string(), None))?;
        self.bind(self.plan.first, Some(twin));
        let flow = if self.fits(0) { self.walk(0) } else { ControlFlow::Continue(()) };
        self.bind(self.plan.first, None);
        flow
    }

    fn relationship(&mut self, link: &'a Relationship, (root, from): (&str, Option<&str>)) -> ControlFlow<Stop> {
        let place = from.map_or_else(|| link.id.to_string(), |source| format!("{source} {}", link.id));
        // Here, so that the place stays that of the last one shown.
        if !self.is_count && self.is_full() {
            return ControlFlow::Break(Stop::Full);
        }
        self.begin((None, root.to_owned(), Some(place)))?;
        if let Some(slot) = self.bound.links.get_mut(0) {
            *slot = Some(link);
        }
        if self.fits(0) { self.walk(0) } else { ControlFlow::Continue(()) }
    }

    fn bind(&mut self, node: usize, twin: Option<&'a Twin>) {
        if let Some(slot) = self.bound.nodes.get_mut(node) {
            *slot = twin;
        }
    }

    fn fits(&self, step: usize) -> bool {
        let conditions = self.plan.conditions.get(step).into_iter().flatten();
        conditions.filter_map(|number| self.query.conditions.get(*number)).all(|expr| self.bound.holds(expr))
    }

    /// Walks the rest of the pattern.
    fn walk(&mut self, step: usize) -> ControlFlow<Stop> {
        let Some((number, from_right)) = self.plan.steps.get(step).copied() else { return self.emit() };
        let query = self.query;
        let Some(edge) = query.edges.get(number) else { return self.emit() };
        let (here, there) = if from_right { (edge.right, edge.left) } else { (edge.left, edge.right) };
        let Some(twin) = self.bound.nodes.get(here).copied().flatten() else { return ControlFlow::Continue(()) };
        if edge.hops != (1, 1) {
            let mut found = BTreeMap::new();
            self.reach(edge, from_right, twin, 0, &mut found)?;
            for end in found.into_values() {
                self.reached(step, there, end)?;
            }
            return ControlFlow::Continue(());
        }
        for neighbour in neighbours(self.state, edge, from_right, &twin.id) {
            // One that is looked at and passed over is looked at, too.
            self.step()?;
            let Some((link, end)) = neighbour else { continue };
            if query.is_match && self.walked.iter().any(|walked| std::ptr::eq(*walked, link)) {
                continue;
            }
            self.walked.push(link);
            if let Some(slot) = edge.link.and_then(|slot| self.bound.links.get_mut(slot)) {
                *slot = Some(link);
            }
            let flow = self.reached(step, there, end);
            self.walked.pop();
            flow?;
        }
        if let Some(slot) = edge.link.and_then(|slot| self.bound.links.get_mut(slot)) {
            *slot = None;
        }
        ControlFlow::Continue(())
    }

    /// The twin at the other end is bound, or is the one that is.
    fn reached(&mut self, step: usize, there: usize, end: &'a Twin) -> ControlFlow<Stop> {
        let before = self.bound.nodes.get(there).copied().flatten();
        if before.is_some_and(|before| before.id != end.id) {
            return ControlFlow::Continue(());
        }
        self.bind(there, Some(end));
        let flow = if self.fits(step + 1) { self.walk(step + 1) } else { ControlFlow::Continue(()) };
        self.bind(there, before);
        flow
    }

    /// Twins that so many hops lead to, each once; no walk takes a relationship twice.
    fn reach(
        &mut self,
        edge: &'q Edge,
        from_right: bool,
        twin: &'a Twin,
        hops: usize,
        found: &mut BTreeMap<&'a str, &'a Twin>,
    ) -> ControlFlow<Stop> {
        if hops >= edge.hops.0 {
            found.insert(&twin.id, twin);
        }
        if hops == edge.hops.1 {
            return ControlFlow::Continue(());
        }
        for neighbour in neighbours(self.state, edge, from_right, &twin.id) {
            // One that is looked at and passed over is looked at, too.
            self.step()?;
            let Some((link, end)) = neighbour else { continue };
            if self.walked.iter().any(|walked| std::ptr::eq(*walked, link)) {
                continue;
            }
            self.walked.push(link);
            let flow = self.reach(edge, from_right, end, hops + 1, found);
            self.walked.pop();
            flow?;
        }
        ControlFlow::Continue(())
    }

    fn is_full(&self) -> bool {
        self.rows.len() >= self.rows_max || self.bytes >= PAGE_BYTES_MAX
    }

    fn emit(&mut self) -> ControlFlow<Stop> {
        if self.is_count {
            self.counted += 1;
            return ControlFlow::Continue(());
        }
        if self.of_root < self.skip {
            self.of_root += 1;
            return ControlFlow::Continue(());
        }
        if self.is_full() {
            return ControlFlow::Break(Stop::Full);
        }
        self.of_root += 1;
        let row = self.row();
        self.bytes += row.len();
        self.rows.push(row);
        ControlFlow::Continue(())
    }

    fn row(&self) -> String {
        let query = self.query;
        match &query.select {
            Select::Columns(columns) => {
                let values = columns
                    .iter()
                    .filter_map(|column| Some((column.name.clone(), self.bound.value(&column.value)?.clone())));
                Value::Object(values.collect()).to_string()
            }
            _ => match (query.nodes.len(), query.links.len()) {
                (1, 0) => self.bound.document(Slot::Node(0)).map(Value::to_string).unwrap_or_default(),
                (0, 1) => self.bound.document(Slot::Link(0)).map(Value::to_string).unwrap_or_default(),
                _ => {
                    let named = |(number, name): (usize, &Option<String>)| Some((name.clone()?, Slot::Node(number)));
                    let nodes = query.nodes.iter().enumerate().filter_map(named);
                    let links = query.links.iter().enumerate().map(|(number, name)| (name.clone(), Slot::Link(number)));
                    let all = nodes.chain(links);
                    let all = all.filter_map(|(name, slot)| Some((name, self.bound.document(slot)?.clone())));
                    Value::Object(all.collect::<Map<_, _>>()).to_string()
                }
            },
        }
    }
}

/// Every relationship at a twin: those of an edge with the twin at the other end, nothing for others.
fn neighbours<'a, 'q>(
    state: &'a State,
    edge: &'q Edge,
    from_right: bool,
    twin: &str,
) -> impl Iterator<Item = Option<(&'a Relationship, &'a Twin)>> + use<'a, 'q> {
    let (out, back) = match edge.direction {
        Direction::Forward => (!from_right, from_right),
        Direction::Backward => (from_right, !from_right),
        Direction::Either => (true, true),
    };
    let leaving = out.then(|| state.leaving(twin, None)).into_iter().flatten();
    let coming = back.then(|| state.coming(twin, None)).into_iter().flatten();
    let leaving = leaving.map(move |link| Some((&**link, &**state.get(&link.target)?)));
    let coming = coming.map(move |link| Some((&**link, &**state.get(&link.source)?)));
    let has_name =
        move |link: &Relationship| edge.names.is_empty() || edge.names.iter().any(|name| **name == *link.name);
    leaving.chain(coming).map(move |found| found.filter(|(link, _)| has_name(link)))
}
