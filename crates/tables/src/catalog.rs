//! The one file that says what counts.

use std::collections::BTreeMap;
use std::sync::Arc;

use gantry_analytics::store::{Definitions, Extent, Snapshot, Span};
use gantry_kql::value::{DateTime, TimeSpan, Type, Value};
use serde::{Deserialize, Serialize};

/// What a catalogue of this version of the format says: with extents elsewhere, which version 1 does not know.
const FORMAT: u32 = 2;
/// What it says as long as everything is in the folder: versions before can read it.
const FORMAT_WITHOUT_COLD: u32 = 1;

/// A snapshot as it is written.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalog {
    format: u32,
    version: u64,
    /// What the names of our objects in a cold storage begin with; drawn once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    definitions: Definitions,
    cursors: BTreeMap<u64, Vec<u64>>,
    extents: BTreeMap<u64, Vec<Entry>>,
}

/// An extent as it is written.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Its id: the name of its file.
    pub id: String,
    /// Where its file is in the cold storage; here without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cold: Option<String>,
    rows: u64,
    bytes: u64,
    created: i64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tags: Vec<String>,
    columns: Vec<(u64, String)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    spans: Vec<(u64, End, End)>,
}

/// A value at one end of a span. Numbers are whole (ticks; the bits of a real), so that they come back as they were.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum End {
    Number(i64),
    Text(String),
}

fn end(value: &Value) -> Option<End> {
    Some(match value {
        Value::Long(value) => End::Number(*value),
        Value::DateTime(value) => End::Number(value.0),
        Value::TimeSpan(value) => End::Number(value.0),
        Value::Real(value) => End::Number(value.to_bits() as i64),
        Value::String(text) => End::Text(text.clone()),
        _ => return None,
    })
}

fn value(end: End, ty: Type) -> Option<Value> {
    Some(match (end, ty) {
        (End::Number(value), Type::Long) => Value::Long(value),
        (End::Number(value), Type::DateTime) => Value::DateTime(DateTime(value)),
        (End::Number(value), Type::TimeSpan) => Value::TimeSpan(TimeSpan(value)),
        (End::Number(value), Type::Real) => Value::Real(f64::from_bits(value as u64)),
        (End::Text(text), Type::String) => Value::String(text),
        _ => return None,
    })
}

impl Catalog {
    /// Of a snapshot.
    pub fn of(snapshot: &Snapshot, owner: Option<&str>) -> Catalog {
        let entry = |extent: &Arc<Extent>| Entry {
            id: extent.id.clone(),
            cold: extent.cold.clone(),
            rows: extent.rows,
            bytes: extent.bytes,
            created: extent.created,
            tags: extent.tags.clone(),
            columns: extent.columns.iter().map(|(id, ty)| (*id, ty.name().to_owned())).collect(),
            spans: extent
                .spans
                .iter()
                .filter_map(|span| Some((span.column, end(&span.low)?, end(&span.high)?)))
                .collect(),
        };
        Catalog {
            format: if owner.is_some() { FORMAT } else { FORMAT_WITHOUT_COLD },
            version: snapshot.version,
            owner: owner.map(str::to_owned),
            definitions: snapshot.definitions.clone(),
            cursors: snapshot.cursors.clone(),
            extents: snapshot.extents.iter().map(|(table, all)| (*table, all.iter().map(entry).collect())).collect(),
        }
    }

    /// Back; `kept` makes what an extent needs to find its file.
    ///
    /// # Errors
    /// In words, when it is of another format or names what there is not.
    pub fn snapshot(
        self,
        mut kept: impl FnMut(&Entry) -> Result<Box<dyn std::any::Any + Send + Sync>, String>,
    ) -> Result<Snapshot, String> {
        if ![FORMAT_WITHOUT_COLD, FORMAT].contains(&self.format) {
            return Err(format!("its format is {}, this version reads up to {FORMAT}", self.format));
        }
        let mut extents = BTreeMap::new();
        for (table, entries) in self.extents {
            let mut all = Vec::with_capacity(entries.len());
            for entry in entries {
                let kept = kept(&entry)?;
                let ty = |name: &str| Type::from_name(name).ok_or_else(|| format!("`{name}` is no type"));
                let columns = entry.columns.iter().map(|(id, name)| Ok((*id, ty(name)?)));
                let columns = columns.collect::<Result<Vec<_>, String>>()?;
                let of = |id: u64| columns.iter().find(|column| column.0 == id).map(|column| column.1);
                let spans = entry.spans.into_iter().filter_map(|(id, low, high)| {
                    let ty = of(id)?;
                    Some(Span { column: id, low: value(low, ty)?, high: value(high, ty)? })
                });
                let spans = spans.collect();
                all.push(Arc::new(Extent {
                    id: entry.id,
                    rows: entry.rows,
                    bytes: entry.bytes,
                    created: entry.created,
                    tags: entry.tags,
                    columns,
                    spans,
                    cold: entry.cold,
                    kept,
                }));
            }
            extents.insert(table, Arc::new(all));
        }
        Ok(Snapshot { version: self.version, definitions: self.definitions, extents, cursors: self.cursors })
    }
}
