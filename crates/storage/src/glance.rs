//! Looking at many records without reading them whole: a condition that no index helps with needs a few attributes of
//! each, and they stand near the beginning of the twin's text.

use std::borrow::Cow;
use std::fmt;

use gantry_hub::ports::{Attribute, Filter, Glance, Part, Record, Search, StoreError};
use gantry_identity::Identity;
use rusqlite::{Connection, params_from_iter};
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

use crate::database::Database;
use crate::hub_store::{Raw, read_raw};
use crate::shapes::{corrupt, identity};

/// Rows looked at in one go: a reader may not keep the log of writes from being folded in for ever.
const ROWS_MAX: usize = 100_000;
/// Parts of a twin as `shapes.rs` names them.
const PARTS: [(&str, Part); 3] = [("tags", Part::Tags), ("desired", Part::Desired), ("reported", Part::Reported)];

/// What a look at some rows found.
#[derive(Default)]
struct Looked {
    count: u64,
    accepted: Vec<Raw>,
    /// After which more may follow.
    next: Option<(String, String)>,
}

impl Database {
    /// Records that the filter accepts, and after which more may follow.
    pub(crate) async fn search_where(
        &self,
        search: Search,
        filter: Filter,
        after: Option<Identity>,
        limit: usize,
    ) -> Result<(Vec<Record>, Option<Identity>), StoreError> {
        let looked = self.glance_at(search, filter, after, Some(limit)).await?;
        let records = looked.accepted.into_iter().map(Raw::decode).collect::<Result<_, _>>()?;
        let next = looked.next.map(|(device, module)| identity(&device, &module)).transpose()?;
        Ok((records, next))
    }

    /// How many records the filter accepts.
    pub(crate) async fn count_search_where(&self, search: Search, filter: Filter) -> Result<u64, StoreError> {
        let (mut count, mut after) = (0, None);
        loop {
            let looked = self.glance_at(search.clone(), filter.clone(), after, None).await?;
            count += looked.count;
            match looked.next {
                Some((device, module)) => after = Some(identity(&device, &module)?),
                None => return Ok(count),
            }
        }
    }

    /// Looks at rows in order of id, and reads those it accepts when there is a limit to them.
    async fn glance_at(
        &self,
        search: Search,
        filter: Filter,
        after: Option<Identity>,
        limit: Option<usize>,
    ) -> Result<Looked, StoreError> {
        let database = self.clone();
        let looked = self.scan(move |connection| {
            let plan = database.plan(connection, &search)?;
            if plan.is_never {
                return Ok(Ok(Looked::default()));
            }
            let select = format!("SELECT i.device_id, i.module_id, i.enabled, i.twin FROM {}", plan.from);
            let (sql, values) = plan.statement(&select, after.as_ref(), &search);
            let mut statement = connection.prepare_cached(&sql)?;
            let mut rows = statement.query(params_from_iter(values))?;
            look_at(connection, &mut rows, &filter, limit)
        });
        looked.await?
    }
}

fn look_at(
    connection: &Connection,
    rows: &mut rusqlite::Rows<'_>,
    filter: &Filter,
    limit: Option<usize>,
) -> rusqlite::Result<Result<Looked, StoreError>> {
    let mut looked = Looked::default();
    // The last row that was looked at, kept for its room.
    let mut last = (String::new(), String::new());
    let mut seen = 0;
    while let Some(row) = rows.next()? {
        if seen == ROWS_MAX {
            looked.next = Some(last);
            return Ok(Ok(looked));
        }
        let (device, module) = (row.get_ref(0)?.as_str()?, row.get_ref(1)?.as_str()?);
        let Some(values) = attributes(row.get_ref(3)?.as_str()?, filter.attributes()) else {
            return Ok(Err(corrupt("twin")));
        };
        let glance = Glance { device_id: device, is_enabled: row.get(2)?, values };
        if filter.accepts(&glance) {
            if limit.is_some_and(|limit| looked.accepted.len() >= limit) {
                looked.next = Some(last);
                return Ok(Ok(looked));
            }
            looked.count += 1;
            if limit.is_some() {
                looked.accepted.extend(read_raw(connection, device, module)?);
            }
        }
        for (kept, id) in [(&mut last.0, device), (&mut last.1, module)] {
            kept.clear();
            kept.push_str(id);
        }
        seen += 1;
    }
    Ok(Ok(looked))
}

/// The attributes as far as a twin's text has them; `None` when it is no twin.
fn attributes<'t>(twin: &'t str, wanted: &[Attribute]) -> Option<Vec<Option<Cow<'t, Value>>>> {
    let mut found = Found { wanted, values: vec![None; wanted.len()], is_done: wanted.is_empty() };
    if !found.is_done {
        let read = serde_json::Deserializer::from_str(twin).deserialize_map(Twin(&mut found));
        // Reading ends, with an error of ours, where everything wanted is known.
        if read.is_err() && !found.is_done {
            return None;
        }
    }
    Some(found.values)
}

struct Found<'w, 't> {
    wanted: &'w [Attribute],
    values: Vec<Option<Cow<'t, Value>>>,
    is_done: bool,
}

/// The twin itself.
struct Twin<'f, 'w, 't>(&'f mut Found<'w, 't>);

impl<'de> Visitor<'de> for Twin<'_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a twin")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let mut missing: Vec<Part> = self.0.wanted.iter().map(|attribute| attribute.part).collect();
        while let Some(key) = members.next_key_seed(Name)? {
            let part = PARTS.iter().find(|(name, _)| *name == key).map(|(_, part)| *part);
            let part = part.filter(|part| missing.contains(part));
            let Some(part) = part else {
                members.next_value::<IgnoredAny>()?;
                continue;
            };
            members.next_value_seed(Section { found: self.0, part, is_values: part == Part::Tags })?;
            missing.retain(|other| *other != part);
            if missing.is_empty() {
                self.0.is_done = true;
                return Err(A::Error::custom("enough"));
            }
        }
        self.0.is_done = true;
        Ok(())
    }
}

/// A section with its values, or the values themselves.
struct Section<'f, 'w, 't> {
    found: &'f mut Found<'w, 't>,
    part: Part,
    is_values: bool,
}

impl<'de> DeserializeSeed<'de> for Section<'_, '_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Section<'_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let Self { found, part, is_values } = self;
        while let Some(key) = members.next_key_seed(Name)? {
            if !is_values {
                if key == "values" {
                    members.next_value_seed(Section { found: &mut *found, part, is_values: true })?;
                } else {
                    members.next_value::<IgnoredAny>()?;
                }
                continue;
            }
            let at = found.wanted.iter().position(|attribute| attribute.part == part && attribute.name == key);
            match at {
                Some(at) => found.values[at] = Some(Cow::Owned(members.next_value()?)),
                None => {
                    members.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

/// A member's name, borrowed where it has no escapes.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(name))
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn reading_ends_where_everything_wanted_is_known() {
        let wanted = vec![Attribute { part: Part::Tags, name: "a".into() }];
        let value = |text| attributes(text, &wanted).map(|values| values[0].as_deref().cloned());
        assert_eq!(value(r#"{"tags":{"b":[1,{}],"a":7},"desired": and no more"#), Some(Some(json!(7))));
        assert_eq!(
            value(r#"{"desired":{"values":{"a":1}},"version":1,"tags":{"a":{"b":null}}}"#),
            Some(Some(json!({"b": null})))
        );
        assert_eq!(value(r#"{"tags":{},"desired":{}}"#), Some(None));
        assert_eq!(value(r#"{"version":1}"#), Some(None));
        assert_eq!(value(r#"{"tags":{"b":"#), None);
        assert_eq!(attributes("no twin at all", &[]), Some(vec![]));
    }
}
