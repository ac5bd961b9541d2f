//! Queries over the registry: which records match, page by page, and what a query makes of them.

use std::borrow::Cow;
use std::cell::OnceCell;

use gantry_identity::{Identity, Timestamp};
use gantry_query::{Constraint, Document, Operand, Query, Run, Source, Step, Test, find};
use serde_json::Value;

use crate::error::HubError;
use crate::hub::Hub;
use crate::jobs::JobPage;
use crate::limits;
use crate::ports::{Filter, Record, Search};
use crate::twins::document::connection_state;
use crate::twins::twin::{METADATA, VERSION};

/// Records fetched at once while a query looks for matches.
const SCAN_PAGE: usize = 500;
/// Items on a page when the caller does not say.
const PAGE_DEFAULT: usize = 100;

/// What the items of a page are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ItemType {
    /// Whole twins.
    Twin,
    /// Outcomes of jobs on devices.
    DeviceJob,
    /// Projections and aggregates.
    Raw,
}

/// One page of a query.
#[derive(Debug, Clone, PartialEq)]
pub struct QueryPage {
    /// What the items are.
    pub item_type: ItemType,
    /// The items.
    pub items: Vec<Value>,
    /// Where the next page begins; absent on the last.
    pub continuation: Option<String>,
}

/// A record as queries see it. The document is built only for what it alone can answer.
pub(crate) struct Found<'r> {
    record: &'r Record,
    connected: bool,
    whole: OnceCell<Value>,
}

impl<'r> Found<'r> {
    pub(crate) fn new(record: &'r Record, connected: bool) -> Self {
        Self { record, connected, whole: OnceCell::new() }
    }

    fn quick(&self, path: &[Step]) -> Option<Operand<'_>> {
        let name = |index: usize| match path.get(index) {
            Some(Step::Name(name)) => Some(name.as_str()),
            _ => None,
        };
        let (device, twin) = (&self.record.device, &self.record.twin);
        Some(match (name(0)?, name(1), name(2)) {
            ("deviceId", None, _) if path.len() == 1 => device.identity.device.as_str().into(),
            ("status", None, _) if path.len() == 1 => device.status.as_str().into(),
            ("connectionState", None, _) if path.len() == 1 => connection_state(self.connected).into(),
            // Times the twin document calls otherwise, or does not show.
            ("statusUpdatedTime", None, _) if path.len() == 1 => time(device.status_updated_at),
            ("connectionStateUpdatedTime", None, _) if path.len() == 1 => time(self.record.presence.updated_at),
            ("tags", Some(key), _) => twin.tags.get(key).and_then(|value| find(value, &path[2..])).into(),
            ("properties", Some(section), Some(key)) => {
                let section = match section {
                    "desired" => &twin.desired,
                    "reported" => &twin.reported,
                    _ => return None,
                };
                match key {
                    VERSION if path.len() == 3 => section.version.into(),
                    METADATA => return None,
                    key => section.values.get(key).and_then(|value| find(value, &path[3..])).into(),
                }
            }
            _ => return None,
        })
    }
}

fn time(at: Timestamp) -> Operand<'static> {
    Cow::<str>::Owned(at.to_string()).into()
}

impl Document for Found<'_> {
    fn value(&self, path: &[Step]) -> Operand<'_> {
        if let Some(value) = self.quick(path) {
            return value;
        }
        let whole = self.whole.get_or_init(|| self.record.twin_document(self.connected));
        find(whole, path).into()
    }

    fn whole(&self) -> Value {
        self.whole.get().cloned().unwrap_or_else(|| self.record.twin_document(self.connected))
    }
}

/// Where a page begins: after an identity, with so many items of `TOP n` left.
struct Place {
    after: Identity,
    left: Option<usize>,
}

impl Place {
    /// No id holds a bar.
    fn text(&self) -> String {
        format!("{}|{}", self.left.map(|left| left.to_string()).unwrap_or_default(), self.after)
    }

    fn parse(text: &str) -> Result<Self, HubError> {
        let malformed = || HubError::Invalid("continuation token is malformed".into());
        let (left, after) = text.split_once('|').ok_or_else(malformed)?;
        let left = match left {
            "" => None,
            left => Some(left.parse().map_err(|_| malformed())?),
        };
        Ok(Self { after: Identity::parse(after).map_err(|_| malformed())?, left })
    }
}

impl Hub {
    /// Runs a query: reads its own writes, pages by id.
    ///
    /// # Errors
    /// [`HubError::Query`] names what is wrong with the text, [`HubError::Invalid`] with the token.
    pub async fn query(
        &self,
        text: &str,
        page: Option<usize>,
        continuation: Option<&str>,
    ) -> Result<QueryPage, HubError> {
        let query = Query::parse(text)?;
        let page = page.unwrap_or(PAGE_DEFAULT).clamp(1, limits::QUERY_PAGE_MAX);
        if query.source() == Source::Jobs {
            let page = self.query_device_jobs(&query, page, continuation).await?;
            let JobPage { items, continuation } = page;
            return Ok(QueryPage { item_type: ItemType::DeviceJob, items, continuation });
        }
        let item_type = if query.is_whole() { ItemType::Twin } else { ItemType::Raw };
        if query.is_aggregate() {
            let items = self.aggregate(&query).await?;
            return Ok(QueryPage { item_type, items, continuation: None });
        }
        let place = continuation.map(Place::parse).transpose()?;
        let left = place.as_ref().map_or(query.top(), |place| place.left);
        let size = left.map_or(page, |left| left.min(page));
        let mut run = query.start(page);
        let last = self.fill(&query, &mut run, place.as_ref().map(|place| &place.after), size).await?;
        let left = left.map(|left| left - size);
        let next = last.filter(|_| left != Some(0)).map(|after| Place { after, left });
        Ok(QueryPage { item_type, items: run.finish()?, continuation: next.map(|place| place.text()) })
    }

    pub(crate) async fn aggregate(&self, query: &Query) -> Result<Vec<Value>, HubError> {
        let mut run = query.start(usize::MAX);
        if query.is_count() {
            run.count(self.count_matches(query).await?);
        } else {
            self.fill(query, &mut run, None, usize::MAX).await?;
        }
        Ok(run.finish()?)
    }

    /// Puts up to `size` matches into `run`; says after which record it stopped, unless there are no more.
    async fn fill(
        &self,
        query: &Query,
        run: &mut Run<'_>,
        after: Option<&Identity>,
        size: usize,
    ) -> Result<Option<Identity>, HubError> {
        let (mut after, mut taken) = (after.cloned(), 0);
        while taken < size {
            let (records, next) = self.matching(query, after.as_ref(), size - taken).await?;
            for record in &records {
                run.take(&Found::new(record, self.is_connected(&record.device.identity)));
            }
            taken += records.len();
            match next {
                Some(next) => after = Some(next),
                None => return Ok(None),
            }
        }
        Ok(after)
    }

    /// How many records match.
    pub(crate) async fn count_matches(&self, query: &Query) -> Result<u64, HubError> {
        if query.is_exact()
            && let Some(count) = self.store.count(search_of(query)).await?
        {
            return Ok(count);
        }
        if let Some(filter) = Filter::of(query) {
            return Ok(self.store.count_where(search_of(query), filter).await?);
        }
        let (mut after, mut count) = (None, 0);
        loop {
            let (records, next) = self.matching(query, after.as_ref(), usize::MAX).await?;
            count += records.len() as u64;
            after = next;
            if after.is_none() {
                return Ok(count);
            }
        }
    }

    /// The next matches, in order of id: at most `limit`, and where to go on, unless there are no more.
    pub(crate) async fn matching(
        &self,
        query: &Query,
        after: Option<&Identity>,
        limit: usize,
    ) -> Result<(Vec<Record>, Option<Identity>), HubError> {
        if !query.is_exact()
            && let Some(filter) = Filter::of(query)
        {
            let (search, limit) = (search_of(query), limit.min(SCAN_PAGE));
            let (found, next) = self.store.find_where(search, filter, after.cloned(), limit).await?;
            return Ok((found.into_iter().map(|record| self.with_activity(record)).collect(), next));
        }
        // With one more than is wanted it is known whether more follow.
        let fetched = if query.is_exact() { limit.saturating_add(1).min(SCAN_PAGE) } else { SCAN_PAGE };
        let (candidates, next) = self.candidates(query, after, fetched).await?;
        let (mut found, mut at) = (vec![], None);
        for record in candidates {
            let record = self.with_activity(record);
            let is_match = query.matches(&Found::new(&record, self.is_connected(&record.device.identity)));
            if is_match && found.len() >= limit {
                return Ok((found, at));
            }
            at = Some(record.device.identity.clone());
            if is_match {
                found.push(record);
            }
        }
        Ok((found, next))
    }

    /// Records that may match, and after which more follow. Who is connected is known here and not in the store.
    async fn candidates(
        &self,
        query: &Query,
        after: Option<&Identity>,
        limit: usize,
    ) -> Result<(Vec<Record>, Option<Identity>), HubError> {
        let search = search_of(query);
        if !wants_connected(&search) {
            let found = self.store.find(search, after.cloned(), limit).await?;
            let last = found.last().map(|record| record.device.identity.clone());
            let next = last.filter(|_| found.len() >= limit);
            return Ok((found, next));
        }
        let connected = self.connections.next(search.modules, after, limit);
        let next = connected.last().cloned().filter(|_| connected.len() >= limit);
        let mut found = vec![];
        for identity in connected {
            found.extend(self.store.record(&identity).await?);
        }
        Ok((found, next))
    }
}

fn search_of(query: &Query) -> Search {
    Search { modules: query.source() == Source::Modules, constraints: query.constraints() }
}

/// Whether only connected identities can match.
fn wants_connected(search: &Search) -> bool {
    search.constraints.iter().any(|Constraint { path, test }| {
        let is_state = matches!(path.as_slice(), [Step::Name(name)] if name == "connectionState");
        is_state && matches!(test, Test::OneOf(words) if words.iter().all(|word| word == "Connected"))
    })
}
