//! A query on its way through documents.

use serde_json::{Map, Value};

use crate::ast::{Aggregate, Item, Query, Select, What};
use crate::eval::{canonical, holds, lookup, order};

/// Most groups one query may form; further ones are counted into none and reported by the caller's page size.
const GROUPS_MAX: usize = 10_000;

/// One page in the making. Feed documents with [`offer`](Self::offer) until it is full.
#[derive(Debug)]
pub struct Run<'q> {
    query: &'q Query,
    page: usize,
    items: Vec<Value>,
    groups: Vec<(Vec<Value>, Vec<Accumulator>)>,
}

impl<'q> Run<'q> {
    pub(crate) fn new(query: &'q Query, page: usize) -> Self {
        let page = query.top.map_or(page, |top| top.min(page));
        Self { query, page, items: vec![], groups: vec![] }
    }

    /// Takes a document; true when the page is full and the next document belongs to the next page.
    pub fn offer(&mut self, document: &Value) -> bool {
        if self.page == 0 {
            return true;
        }
        if self.query.condition.as_ref().is_some_and(|condition| !holds(condition, document)) {
            return false;
        }
        match &self.query.select {
            Select::Whole => self.items.push(document.clone()),
            Select::Items(items) if aggregates(items) || !self.query.group_by.is_empty() => {
                self.accumulate(items, document);
                return false;
            }
            Select::Items(items) => self.items.push(project(items, document)),
        }
        self.items.len() >= self.page
    }

    fn accumulate(&mut self, items: &[Item], document: &Value) {
        let key: Vec<Value> =
            self.query.group_by.iter().map(|path| lookup(document, path).cloned().unwrap_or(Value::Null)).collect();
        let index = match self.groups.iter().position(|(k, _)| *k == key) {
            Some(index) => index,
            None if self.groups.len() >= GROUPS_MAX => return,
            None => {
                self.groups.push((key, vec![Accumulator::default(); items.len()]));
                self.groups.len() - 1
            }
        };
        for (item, accumulator) in items.iter().zip(&mut self.groups[index].1) {
            match &item.what {
                What::Aggregate(_, None) => accumulator.count += 1,
                What::Aggregate(_, Some(path)) | What::Attribute(path) => accumulator.take(lookup(document, path)),
            }
        }
    }

    /// The items of the page.
    pub fn finish(mut self) -> Vec<Value> {
        let Select::Items(items) = &self.query.select else { return self.items };
        if !aggregates(items) && self.query.group_by.is_empty() {
            return self.items;
        }
        if self.groups.is_empty() && self.query.group_by.is_empty() {
            self.groups.push((vec![], vec![Accumulator::default(); items.len()]));
        }
        self.groups.iter().map(|(_, accumulators)| summarize(items, accumulators)).collect()
    }
}

fn aggregates(items: &[Item]) -> bool {
    items.iter().any(|item| matches!(item.what, What::Aggregate(..)))
}

fn project(items: &[Item], document: &Value) -> Value {
    let mut row = Map::new();
    for item in items {
        if let What::Attribute(path) = &item.what
            && let Some(value) = lookup(document, path)
        {
            row.insert(name_of(item), value.clone());
        }
    }
    Value::Object(row)
}

fn name_of(item: &Item) -> String {
    if let Some(alias) = &item.alias {
        return alias.clone();
    }
    match &item.what {
        What::Attribute(path) => match path.as_slice() {
            [only] => canonical(only).to_owned(),
            path => path.last().cloned().unwrap_or_default(),
        },
        What::Aggregate(aggregate, _) => match aggregate {
            Aggregate::Count => "count",
            Aggregate::Avg => "avg",
            Aggregate::Sum => "sum",
            Aggregate::Min => "min",
            Aggregate::Max => "max",
        }
        .to_owned(),
    }
}

fn summarize(items: &[Item], accumulators: &[Accumulator]) -> Value {
    let mut row = Map::new();
    for (item, accumulator) in items.iter().zip(accumulators) {
        let value = match &item.what {
            What::Attribute(_) => accumulator.last.clone(),
            What::Aggregate(Aggregate::Count, _) => Some(accumulator.count.into()),
            What::Aggregate(Aggregate::Sum, _) => number(accumulator.sum),
            What::Aggregate(Aggregate::Avg, _) => number(accumulator.sum / accumulator.numbers as f64),
            What::Aggregate(Aggregate::Min, _) => accumulator.min.clone(),
            What::Aggregate(Aggregate::Max, _) => accumulator.max.clone(),
        };
        if let Some(value) = value {
            row.insert(name_of(item), value);
        }
    }
    Value::Object(row)
}

fn number(value: f64) -> Option<Value> {
    if value.fract() == 0.0 && value.abs() < 9e15 {
        return Some((value as i64).into());
    }
    serde_json::Number::from_f64(value).map(Value::Number)
}

#[derive(Clone, Debug, Default)]
struct Accumulator {
    count: u64,
    numbers: u64,
    sum: f64,
    min: Option<Value>,
    max: Option<Value>,
    last: Option<Value>,
}

impl Accumulator {
    fn take(&mut self, value: Option<&Value>) {
        let Some(value) = value else { return };
        self.count += 1;
        if let Some(number) = value.as_f64() {
            self.numbers += 1;
            self.sum += number;
        }
        let beats = |best: &Option<Value>, wanted| best.as_ref().is_none_or(|best| order(value, best) == Some(wanted));
        if beats(&self.min, std::cmp::Ordering::Less) {
            self.min = Some(value.clone());
        }
        if beats(&self.max, std::cmp::Ordering::Greater) {
            self.max = Some(value.clone());
        }
        self.last = Some(value.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::QueryError;
    use serde_json::json;

    fn fleet() -> Vec<Value> {
        let device = |id: &str, site: Option<&str>, temperature: f64, edge: bool| {
            let tags = site.map_or(json!({}), |s| json!({ "site": s, "list": ["a", "b"] }));
            json!({
                "deviceId": id, "status": "enabled", "tags": tags, "capabilities": {"iotEdge": edge},
                "parentScopes": ["s1"], "configurations": {"c-1": {"status": "Applied"}},
                "properties": {"desired": {"rate": 5}, "reported": {"temperature": temperature, "rate": 5}},
            })
        };
        vec![
            device("m1", Some("north"), 20.0, false),
            device("m2", Some("south"), 30.5, true),
            device("x3", None, 40.0, false),
        ]
    }

    #[track_caller]
    fn rows(query: &str) -> Vec<Value> {
        let query = Query::parse(query).unwrap();
        let mut run = query.start(100);
        for document in fleet() {
            run.offer(&document);
        }
        run.finish()
    }

    #[track_caller]
    fn ids(condition: &str, expected: &[&str]) {
        let found = rows(&format!("SELECT deviceId FROM devices WHERE {condition}"));
        let found: Vec<_> = found.iter().map(|r| r["deviceId"].as_str().unwrap()).collect();
        assert_eq!(found, expected, "{condition}");
    }

    #[test]
    fn conditions_on_tags_and_properties() {
        ids("tags.site = 'north'", &["m1"]);
        ids("tags.site != 'north'", &["m2"]);
        ids("NOT tags.site = 'north'", &["m2", "x3"]);
        ids("properties.reported.temperature > 25", &["m2", "x3"]);
        ids("reported.temperature + 10 >= 50", &["x3"]);
        ids("properties.reported.rate = properties.desired.rate AND DeviceId <> 'm1'", &["m2", "x3"]);
        ids("tags.site IN ['north', 'south']", &["m1", "m2"]);
        ids("tags.site NIN ['north']", &["m2"]);
        ids("is_defined(tags.site) AND (status = 'enabled' OR status = 'disabled')", &["m1", "m2"]);
        ids("tags.site = undefined", &["x3"]);
        ids("tags.site > 5", &[]);
    }

    #[test]
    fn conditions_real_clients_send() {
        ids("capabilities.iotEdge = true", &["m2"]);
        ids("STARTSWITH(devices.deviceId,'m')", &["m1", "m2"]);
        ids("array_contains(parentScopes,'s1')", &["m1", "m2", "x3"]);
        ids("configurations.[[c-1]].status='Applied'", &["m1", "m2", "x3"]);
        ids("ARRAY_CONTAINS(tags.list, 'b')", &["m1", "m2"]);
    }

    #[test]
    fn projections_and_aliases() {
        assert_eq!(rows("select DeviceId from devices where deviceId='m1'"), [json!({"deviceId": "m1"})]);
        assert_eq!(
            rows("SELECT d.deviceId AS id, d.tags.site FROM devices d WHERE d.deviceId = 'm2'"),
            [json!({"id": "m2", "site": "south"})]
        );
        assert_eq!(rows("SELECT * FROM devices WHERE deviceId='x3'"), [fleet()[2].clone()]);
        let query = Query::parse("SELECT TOP 2 deviceId FROM devices").unwrap();
        let mut run = query.start(100);
        assert_eq!(fleet().iter().position(|d| run.offer(d)), Some(1), "full after the second");
    }

    #[test]
    fn aggregates_and_groups() {
        assert_eq!(rows("SELECT COUNT() as total FROM devices"), [json!({"total": 3})]);
        assert_eq!(
            rows(
                "SELECT tags.site AS site, COUNT() AS n, AVG(properties.reported.temperature) AS t FROM devices GROUP BY tags.site"
            ),
            [
                json!({"site": "north", "n": 1, "t": 20}),
                json!({"site": "south", "n": 1, "t": 30.5}),
                json!({"n": 1, "t": 40})
            ]
        );
        assert_eq!(
            rows("SELECT MIN(properties.reported.temperature), MAX(deviceId) FROM devices"),
            [json!({"min": 20.0, "max": "x3"})]
        );
        assert_eq!(rows("SELECT COUNT() AS n FROM devices WHERE false"), [json!({"n": 0})]);
    }

    #[track_caller]
    fn refuse(text: &str, message: &str) {
        assert_eq!(Query::parse(text).unwrap_err().to_string(), message, "{text}");
    }

    #[test]
    fn bad_queries_say_what_is_wrong() {
        refuse("", "expected SELECT but found the end of the query");
        refuse("SELECT * FROM things", "expected devices but found `things`");
        refuse(
            "SELECT * FROM devices WHERE a = ",
            "expected a value, an attribute or a function but found the end of the query",
        );
        refuse("SELECT * FROM devices WHERE a = 'x", "a string without end at character 32");
        refuse("SELECT * FROM devices WHERE a = 1 extra", "expected the end of the query but found `extra`");
        refuse("SELECT * FROM devices WHERE DROP(a)", "expected a function of the query language but found `DROP`");
        let deep = format!("SELECT * FROM devices WHERE {}a = 1", "(".repeat(100));
        assert_eq!(Query::parse(&deep), Err(QueryError::TooDeep));
        let long = format!("SELECT * FROM devices WHERE a IN [{}1]", "1,".repeat(1000));
        assert_eq!(Query::parse(&long), Err(QueryError::ListTooLong));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_survived(text in "(SELECT|FROM|WHERE|devices|[a-z.*=<>()\\[\\]'\"0-9 ,-]|\\PC){0,40}") {
            let _ = Query::parse(&text);
            let _ = Query::parse(&format!("SELECT * FROM devices WHERE {text}"));
        }
    }
}
