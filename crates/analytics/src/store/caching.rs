//! Which extents of a table are hot: kept here, where questions are answered. The others are in a [`ColdPlace`].

use gantry_kql::value::{DateTime, TimeSpan};
use serde_json::Value as Json;

use super::Snapshot;

/// Where extents are kept that are not hot any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColdPlace {
    /// How long extents are hot of tables without a caching policy, in ticks.
    pub hot_span: i64,
    /// What is the matter with it; nothing as long as it answers.
    pub trouble: Option<String>,
}

/// What the caching policy of a table says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caching {
    span: i64,
    windows: Vec<(i64, i64)>,
}

impl Caching {
    /// The policy of a table, or that of the database; a span without either.
    pub fn of(snapshot: &Snapshot, table: &str, otherwise: i64) -> Caching {
        let policy = |owner: &str| snapshot.definitions.policies.get(owner)?.get("caching");
        let policy = policy(&format!("table {table}")).or_else(|| policy("database"));
        let span = policy.and_then(|policy| policy.get("DataHotSpan")).and_then(|span| {
            let text = span.get("Value").unwrap_or(span).as_str()?;
            TimeSpan::parse(text).map(|span| span.0)
        });
        let windows = policy.and_then(|policy| policy.get("HotWindows")?.as_array());
        let windows = windows.into_iter().flatten().filter_map(window).collect();
        Caching { span: span.unwrap_or(otherwise), windows }
    }

    /// Whether an extent is hot whose rows came at an instant.
    pub fn is_hot(&self, created: i64, now: i64) -> bool {
        created >= now.saturating_sub(self.span)
            || self.windows.iter().any(|(from, to)| (*from..=*to).contains(&created))
    }
}

/// The two ends of a hot window.
pub(crate) fn window(window: &Json) -> Option<(i64, i64)> {
    let end = |name: &str| {
        let text = window.get(name)?.as_str()?;
        DateTime::parse(text).map(|at| at.0)
    };
    Some((end("MinValue")?, end("MaxValue")?))
}

#[cfg(test)]
mod tests {
    use gantry_kql::value::TICKS_PER_DAY;
    use serde_json::json;

    use super::*;

    fn hot(policies: &[(&str, Json)], table: &str, days: &[i64]) -> Vec<bool> {
        let mut snapshot = Snapshot::default();
        for (owner, policy) in policies {
            let of = snapshot.definitions.policies.entry((*owner).to_owned()).or_default();
            of.insert("caching".into(), policy.clone());
        }
        let caching = Caching::of(&snapshot, table, 7 * TICKS_PER_DAY);
        days.iter().map(|day| caching.is_hot(day * TICKS_PER_DAY, 100 * TICKS_PER_DAY)).collect()
    }

    #[test]
    fn a_table_has_its_own_span_or_that_of_the_database_or_the_default() {
        let days = [98, 96, 92];
        assert_eq!(hot(&[], "T", &days), [true, true, false]);
        let database = ("database", json!({"DataHotSpan": {"Value": "10.00:00:00"}}));
        assert_eq!(hot(std::slice::from_ref(&database), "T", &days), [true, true, true]);
        // Both forms that policies have.
        let table = ("table T", json!({"DataHotSpan": "3.00:00:00"}));
        assert_eq!(hot(&[database.clone(), table.clone()], "T", &days), [true, false, false]);
        assert_eq!(hot(&[database, table], "U", &days), [true, true, true]);
        let none = ("table T", json!({"DataHotSpan": {"Value": "00:00:00"}}));
        assert_eq!(hot(&[none], "T", &[99, 100, 101]), [false, true, true]);
    }

    #[test]
    fn windows_are_hot_beside_the_span() {
        let ends = json!([{"MinValue": "0001-02-10T00:00:00Z", "MaxValue": "0001-02-20T00:00:00Z"}]);
        let policy = json!({"DataHotSpan": {"Value": "1.00:00:00"}, "HotWindows": ends});
        assert_eq!(hot(&[("table T", policy)], "T", &[39, 40, 45, 50, 51, 99]), [false, true, true, true, false, true]);
    }
}
