//! Looking records up by what a query demands of single attributes.
//!
//! Every demand that can be said in SQL becomes a predicate; one of them drives the search over
//! an index, the others are checked on the rows it finds. What is found is a superset of the
//! matches: the caller evaluates the whole condition. Paths into tags and properties have
//! indexes of their own when they are asked for (`auto_index.rs`).

use gantry_hub::limits;
use gantry_hub::ports::{Constraint, Record, Search, Step, StoreError, Test};
use gantry_identity::Identity;
use rusqlite::types::Value as SqlValue;
use rusqlite::{Connection, params_from_iter};
use serde_json::Value;

use crate::auto_index::Place;
use crate::database::Database;
use crate::hub_store::{Raw, select_from};

/// Matches of a range or list that are sorted by id; more are found by walking in order of id.
const SORTED_MAX: i64 = 5_000;

/// Where an attribute is kept.
#[derive(Clone, Debug, PartialEq)]
enum Column {
    DeviceId,
    Enabled,
    /// Under automatic management by a configuration.
    Managed(String),
    Json(Place),
}

/// A demand as SQL, with `{}` where the column goes.
#[derive(Debug)]
struct Predicate {
    column: Column,
    /// With `{}` for the column's expression.
    sql: String,
    values: Vec<SqlValue>,
    /// Whether it says all that the demand says.
    is_exact: bool,
    /// Whether one value of the column satisfies it, so that an index keeps the order of ids.
    is_single: bool,
}

fn column(path: &[Step]) -> Option<Column> {
    let name = |index: usize| match path.get(index) {
        Some(Step::Name(name)) => Some(name.as_str()),
        _ => None,
    };
    match (name(0)?, name(1), name(2)) {
        ("deviceId", None, None) if path.len() == 1 => Some(Column::DeviceId),
        ("status", None, None) if path.len() == 1 => Some(Column::Enabled),
        ("configurations", Some(id), Some("status")) if path.len() == 3 => Some(Column::Managed(id.to_owned())),
        ("parentScopes", None, None) if path.len() == 1 => Some(Column::Json(Place::identity("$.parent_scopes[0]"))),
        ("deviceScope", None, None) if path.len() == 1 => Some(Column::Json(Place::identity("$.device_scope"))),
        ("capabilities", Some("iotEdge"), None) if path.len() == 2 => Some(Column::Json(Place::identity("$.iot_edge"))),
        ("tags", Some(_), _) => Place::twin("$.tags", &path[1..]).map(Column::Json),
        ("properties", Some("desired"), Some(key)) if !key.starts_with('$') => {
            Place::twin("$.desired.values", &path[2..]).map(Column::Json)
        }
        ("properties", Some("reported"), Some(key)) if !key.starts_with('$') => {
            Place::twin("$.reported.values", &path[2..]).map(Column::Json)
        }
        _ => None,
    }
}

fn sql_value(value: &Value) -> Option<SqlValue> {
    match value {
        Value::Bool(b) => Some(SqlValue::Integer((*b).into())),
        Value::Number(n) => {
            // Past them the evaluator compares what a double makes of an integer; no twin holds such an integer.
            let exact = n.as_i64().filter(|n| limits::TWIN_INTEGER.contains(n));
            exact.map(SqlValue::Integer).or_else(|| n.as_f64().map(SqlValue::Real))
        }
        Value::String(text) => Some(SqlValue::Text(text.clone())),
        _ => None,
    }
}

/// Whether SQL's value of a JSON path is this value only for this JSON: true is 1 there, and arrays are texts.
fn is_itself(value: &Value) -> bool {
    match value {
        Value::String(text) => !text.starts_with(['[', '{']),
        Value::Number(n) => !matches!(n.as_f64(), Some(0.0 | 1.0)),
        _ => false,
    }
}

/// The least text that is greater than every text with this prefix; `None` when there is none.
fn after_prefix(prefix: &str) -> Option<String> {
    let mut chars: Vec<char> = prefix.chars().collect();
    while let Some(last) = chars.pop() {
        let next = (last as u32 + 1..=char::MAX as u32).find_map(char::from_u32);
        if let Some(next) = next {
            chars.push(next);
            return Some(chars.into_iter().collect());
        }
    }
    None
}

fn predicate(constraint: &Constraint) -> Option<Predicate> {
    let column = column(&constraint.path)?;
    let make = |sql: String, values: Vec<SqlValue>, is_exact: bool, is_single: bool| {
        Some(Predicate { column: column.clone(), sql, values, is_exact, is_single })
    };
    match (&column, &constraint.test) {
        (Column::Enabled, Test::OneOf(words)) => {
            let flags: Vec<_> = words
                .iter()
                .filter_map(|word| match word.as_str() {
                    Some("enabled") => Some(SqlValue::Integer(1)),
                    Some("disabled") => Some(SqlValue::Integer(0)),
                    _ => None,
                })
                .collect();
            let is_single = flags.len() == 1;
            make(format!("{{}} IN ({})", marks(flags.len())), flags, true, is_single)
        }
        (Column::Managed(_), Test::OneOf(words)) => {
            let flag = |word: &Value| match word.as_str() {
                Some("Applied") => Some(SqlValue::Integer(1)),
                Some("Targeted") => Some(SqlValue::Integer(0)),
                _ => None,
            };
            let flags: Vec<_> = words.iter().filter_map(flag).collect();
            make(format!("{{}} IN ({})", marks(flags.len())), flags, true, true)
        }
        (Column::Enabled | Column::Managed(_), _) => None,
        (Column::DeviceId, Test::OneOf(ids)) => {
            let ids: Vec<_> = ids.iter().filter(|id| id.is_string()).filter_map(sql_value).collect();
            make(format!("{{}} IN ({})", marks(ids.len())), ids, true, false)
        }
        // Tags and properties that hold arrays are not looked up; one scope is all a device has above it.
        (Column::Json(place), Test::Holds(value)) if place.is_scope() => {
            make("{} = ?".into(), vec![sql_value(value)?], is_itself(value), true)
        }
        (_, Test::Holds(_)) => None,
        (Column::Json(place), _) if place.is_scope() => None,
        (_, Test::OneOf(values)) => {
            let is_exact = values.iter().all(is_itself);
            let values = values.iter().map(sql_value).collect::<Option<Vec<_>>>()?;
            // An equation keeps the order of ids within the index; a list of one does not always.
            let is_single = values.len() == 1;
            let sql = if is_single { "{} = ?".to_owned() } else { format!("{{}} IN ({})", marks(values.len())) };
            make(sql, values, is_exact, is_single)
        }
        (_, Test::Prefix(prefix)) => match after_prefix(prefix) {
            Some(end) => {
                let values = vec![SqlValue::Text(prefix.clone()), SqlValue::Text(end)];
                make("{} >= ? AND {} < ?".into(), values, column == Column::DeviceId, false)
            }
            None => make("{} >= ?".into(), vec![SqlValue::Text(prefix.clone())], false, false),
        },
        (_, Test::AtLeast { value, exclusive }) if !value.is_boolean() => {
            let is_exact = column == Column::DeviceId && value.is_string();
            make(format!("{{}} {} ?", if *exclusive { ">" } else { ">=" }), vec![sql_value(value)?], is_exact, false)
        }
        (_, Test::AtMost { value, exclusive }) if !value.is_boolean() => {
            let is_exact = column == Column::DeviceId && value.is_string();
            make(format!("{{}} {} ?", if *exclusive { "<" } else { "<=" }), vec![sql_value(value)?], is_exact, false)
        }
        _ => None,
    }
}

fn marks(len: usize) -> String {
    vec!["?"; len].join(", ")
}

impl Predicate {
    /// As a condition on a row of `identities i`; `plus` keeps SQLite from choosing an index for it.
    fn text(&self, plus: &str) -> (String, Vec<SqlValue>) {
        let on = |expression: &str| self.sql.replace("{}", expression);
        match &self.column {
            Column::DeviceId => (on("i.device_id"), self.values.clone()),
            Column::Enabled => (on(&format!("{plus}i.enabled")), self.values.clone()),
            Column::Json(place) => (on(&format!("{plus}{}", place.expression("i"))), self.values.clone()),
            Column::Managed(id) => {
                let mut values = vec![SqlValue::Text(id.clone())];
                values.extend(self.values.clone());
                let sql = format!(
                    "EXISTS(SELECT 1 FROM managed_by g WHERE g.device_id = i.device_id
                            AND g.module_id = i.module_id AND g.configuration = ? AND {})",
                    on("g.applied")
                );
                (sql, values)
            }
        }
    }
}

/// A statement without its list, limit and place.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) from: String,
    /// The table of the index that drives the search, if it is one of a path.
    alone: Option<String>,
    /// The table whose ids give the order.
    order: char,
    conditions: Vec<String>,
    values: Vec<SqlValue>,
    is_exact: bool,
    /// Whether a demand lists nothing that could be.
    pub(crate) is_never: bool,
}

impl Plan {
    /// The statement that counts. An index that knows all there is to know is all it reads.
    fn count(&self) -> String {
        let (from, conditions) = match (&self.alone, self.conditions.as_slice()) {
            (Some(index), [_kind, of_index]) => (format!("{index} m"), of_index.clone()),
            _ => (self.from.clone(), self.conditions.join(" AND ")),
        };
        format!("SELECT COUNT(*) FROM {from} WHERE {conditions}")
    }

    /// The statement that begins with `select`, for rows after an identity in order of id.
    pub(crate) fn statement(&self, select: &str, after: Option<&Identity>, search: &Search) -> (String, Vec<SqlValue>) {
        let (order, mut conditions, mut values) = (self.order, self.conditions.clone(), self.values.clone());
        if let Some(after) = after {
            values.push(SqlValue::Text(after.device.to_string()));
            if search.modules {
                conditions.push(format!("({order}.device_id, {order}.module_id) > (?, ?)"));
                let module = after.module.as_ref().map_or("", |module| module.as_str());
                values.push(SqlValue::Text(module.to_owned()));
            } else {
                conditions.push(format!("{order}.device_id > ?"));
            }
        }
        let conditions = conditions.join(" AND ");
        let by =
            if search.modules { format!("{order}.device_id, {order}.module_id") } else { format!("{order}.device_id") };
        (format!("{select} WHERE {conditions} ORDER BY {by}"), values)
    }
}

impl Database {
    pub(crate) fn plan(&self, connection: &Connection, search: &Search) -> rusqlite::Result<Plan> {
        let translated: Vec<Option<Predicate>> = search.constraints.iter().map(predicate).collect();
        let is_exact = translated.iter().all(|predicate| predicate.as_ref().is_some_and(|p| p.is_exact));
        let predicates: Vec<Predicate> = translated.into_iter().flatten().collect();
        let is_never = predicates.iter().any(|predicate| predicate.values.is_empty());
        let driver = self.driver(connection, search.modules, &predicates)?;
        let column = driver.map(|driver| &predicates[driver].column);
        // A plus keeps SQLite from an index; partial indexes want the condition as it is.
        let kind = match (search.modules, column) {
            (true, _) => "i.module_id <> ''",
            (false, Some(Column::Enabled)) => "i.module_id = ''",
            (false, _) => "+i.module_id = ''",
        };
        let order = if matches!(column, Some(Column::Managed(_) | Column::Json(_))) { 'm' } else { 'i' };
        let mut plan = Plan {
            from: String::new(),
            alone: None,
            order,
            conditions: vec![kind.to_owned()],
            values: vec![],
            is_exact,
            is_never,
        };
        plan.from = match column {
            Some(Column::Managed(_)) => "managed_by m CROSS JOIN identities i
                                           ON i.device_id = m.device_id AND i.module_id = m.module_id"
                .to_owned(),
            Some(Column::Json(place)) => format!(
                "{} m CROSS JOIN identities i ON i.device_id = m.device_id AND i.module_id = m.module_id",
                place.index(search.modules)
            ),
            Some(Column::Enabled) => "identities i INDEXED BY identities_by_status".to_owned(),
            Some(Column::DeviceId) | None if search.modules => "identities i INDEXED BY identities_modules".to_owned(),
            Some(Column::DeviceId) | None => "identities i".to_owned(),
        };
        plan.alone = match column {
            Some(Column::Json(place)) => Some(place.index(search.modules)),
            _ => None,
        };
        for (number, predicate) in predicates.iter().enumerate() {
            let (sql, values) = match (&predicate.column, Some(number) == driver) {
                (Column::Managed(id), true) => {
                    let mut values = vec![SqlValue::Text(id.clone())];
                    values.extend(predicate.values.clone());
                    (format!("m.configuration = ? AND {}", predicate.sql.replace("{}", "m.applied")), values)
                }
                (Column::Json(_), true) => (predicate.sql.replace("{}", "m.value"), predicate.values.clone()),
                (_, true) => predicate.text(""),
                (_, false) => predicate.text("+"),
            };
            plan.conditions.push(sql);
            plan.values.extend(values);
        }
        Ok(plan)
    }

    /// The predicate whose index finds least.
    fn driver(
        &self,
        connection: &Connection,
        modules: bool,
        predicates: &[Predicate],
    ) -> rusqlite::Result<Option<usize>> {
        for is_best in
            [|column: &Column| *column == Column::DeviceId, |column: &Column| matches!(column, Column::Managed(_))]
        {
            if let Some(found) = predicates.iter().position(|predicate| is_best(&predicate.column)) {
                return Ok(Some(found));
            }
        }
        // Nothing to choose from, and in order of id already: no need to look how much it finds.
        let indexed = predicates.iter().enumerate().filter(|(_, predicate)| match &predicate.column {
            Column::Json(place) => self.auto_indexes().wants(self, place, modules),
            _ => false,
        });
        let candidates: Vec<(usize, &Predicate)> = indexed.collect();
        if let [(number, Predicate { is_single: true, .. })] = candidates.as_slice() {
            return Ok(Some(*number));
        }
        let mut best: Option<(usize, i64)> = None;
        for (number, predicate) in candidates {
            let Column::Json(place) = &predicate.column else { continue };
            let sql = format!(
                "SELECT COUNT(*) FROM (SELECT 1 FROM {} m WHERE {} LIMIT {})",
                place.index(modules),
                predicate.sql.replace("{}", "m.value"),
                SORTED_MAX + 1
            );
            let found: i64 =
                connection.prepare_cached(&sql)?.query_row(params_from_iter(&predicate.values), |row| row.get(0))?;
            if (predicate.is_single || found <= SORTED_MAX) && best.is_none_or(|(_, least)| found < least) {
                best = Some((number, found));
            }
        }
        let disabled = |p: &Predicate| p.column == Column::Enabled && p.values == [SqlValue::Integer(0)] && !modules;
        Ok(best.map(|(number, _)| number).or_else(|| predicates.iter().position(disabled)))
    }

    /// Records that may match, after an identity, in order of id.
    pub(crate) async fn search(
        &self,
        search: Search,
        after: Option<Identity>,
        limit: usize,
    ) -> Result<Vec<Record>, StoreError> {
        let database = self.clone();
        let rows = self.scan(move |connection| {
            let plan = database.plan(connection, &search)?;
            if plan.is_never {
                return Ok(vec![]);
            }
            let (mut sql, mut values) = plan.statement(&select_from(&plan.from), after.as_ref(), &search);
            sql.push_str(" LIMIT ?");
            values.push(SqlValue::Integer(limit as i64));
            let mut statement = connection.prepare_cached(&sql)?;
            let rows = statement.query_map(params_from_iter(values), Raw::from_row)?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        });
        rows.await?.into_iter().map(Raw::decode).collect()
    }

    /// How many records satisfy every demand, when SQL can tell.
    pub(crate) async fn count_search(&self, search: Search) -> Result<Option<u64>, StoreError> {
        let database = self.clone();
        self.scan(move |connection| {
            if search.constraints.is_empty() && !search.modules {
                let sql = "SELECT COALESCE(SUM(count), 0) FROM totals";
                return connection
                    .prepare_cached(sql)?
                    .query_row([], |row| row.get::<_, i64>(0))
                    .map(|n| Some(n.cast_unsigned()));
            }
            let plan = database.plan(connection, &search)?;
            if !plan.is_exact || plan.is_never {
                return Ok(plan.is_never.then_some(0));
            }
            let sql = plan.count();
            let mut statement = connection.prepare_cached(&sql)?;
            let count: i64 = statement.query_row(params_from_iter(plan.values), |row| row.get(0))?;
            Ok(Some(count.cast_unsigned()))
        })
        .await
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use gantry_hub::Query;
    use gantry_hub::ports::Store as _;
    use gantry_hub::twin::TwinWrite;
    use gantry_identity::Timestamp;
    use gantry_storage_suite::search::{check, fleet};
    use serde_json::json;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_000);

    pub(crate) fn open() -> (tempfile::TempDir, Database) {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(folder.path()).unwrap();
        (folder, database)
    }

    async fn indexes(database: &Database) -> i64 {
        database.read(|c| c.query_row("SELECT COUNT(*) FROM auto_indexes", [], |row| row.get(0))).unwrap()
    }

    /// Asks until the path of a condition has its index.
    async fn until_indexed(database: &Database, source: &str, condition: &str) {
        let query = Query::parse(&format!("SELECT * FROM {source} WHERE {condition}")).unwrap();
        let search = Search { modules: source != "devices", constraints: query.constraints() };
        let before = indexes(database).await;
        let wait = async {
            while indexes(database).await == before {
                database.find(search.clone(), None, 1).await.unwrap();
            }
        };
        tokio::time::timeout(Duration::from_secs(30), wait).await.expect("an index is made");
        until_idle(database).await;
    }

    #[tokio::test]
    async fn an_index_is_used_kept_and_current() {
        let (folder, database) = open();
        let mut all = fleet(&database).await;
        until_indexed(&database, "devices", "tags.n = 1").await;
        drop(database);
        let database = Database::open(folder.path()).unwrap();
        let place = Place::twin("$.tags", &[Step::Name("n".into())]).unwrap();
        assert!(database.auto_indexes().wants(&database, &place, false), "known after a restart");
        let name = place.index(false);
        let steps = steps(&database, "tags.n = 1");
        assert!(steps[0].starts_with("SEARCH m"), "{steps:?}");
        assert_eq!(kind_of(&database, &name), "table");
        let place = all.iter().position(|record| record.twin.tags.get("n") == Some(&json!(50))).unwrap();
        all[place].twin.write(&TwinWrite::merging(Some(json!({"n": 1})), None).unwrap(), NOW).unwrap();
        database.update(all[place].clone(), vec![]).await.unwrap();
        check(&database, &all, "devices", "tags.n = 1").await;
        check(&database, &all, "devices", "tags.n = 50").await;
    }

    #[tokio::test]
    async fn a_count_reads_the_index_and_nothing_else() {
        let (_folder, database) = open();
        let all = fleet(&database).await;
        until_indexed(&database, "devices", "tags.n = 2").await;
        let query = Query::parse("SELECT * FROM devices WHERE tags.n = 2").unwrap();
        let search = Search { modules: false, constraints: query.constraints() };
        let plan = database.read(|connection| database.plan(connection, &search)).unwrap();
        assert!(!plan.count().contains("identities"), "{}", plan.count());
        let expected = all.iter().filter(|one| one.twin.tags.get("n") == Some(&json!(2))).count() as u64;
        assert_eq!(database.count(search).await.unwrap(), Some(expected));
    }

    #[tokio::test]
    async fn indexes_of_earlier_versions_go_and_come_again() {
        let (folder, database) = open();
        let all = fleet(&database).await;
        let place = Place::twin("$.tags", &[Step::Name("n".into())]).unwrap();
        let (name, expression) = (place.index(false), "json_extract(twin, '$.tags.\"n\"')");
        let old = format!(
            "CREATE INDEX {name} ON identities({expression}) WHERE module_id = '' AND {expression} IS NOT NULL;
             INSERT INTO auto_indexes(name) VALUES ('{name}');"
        );
        database.write(move |c| c.execute_batch(&old).map_err(crate::database::fail)).await.unwrap();
        drop(database);
        let database = Database::open(folder.path()).unwrap();
        assert_eq!(indexes(&database).await, 0);
        until_indexed(&database, "devices", "tags.n = 1").await;
        check(&database, &all, "devices", "tags.n = 1").await;
    }

    #[tokio::test]
    async fn an_index_follows_every_change() {
        let (_folder, database) = open();
        let mut all = fleet(&database).await;
        let count = async |value: i64| {
            let query = Query::parse(&format!("SELECT * FROM devices WHERE tags.n = {value}")).unwrap();
            let search = Search { modules: false, constraints: query.constraints() };
            database.count(search).await.unwrap()
        };
        until_indexed(&database, "devices", "tags.n = 7").await;
        let at = all.iter().position(|record| record.twin.tags.get("n") == Some(&json!(7))).unwrap();
        let mut record = all.swap_remove(at);
        for (tag, here) in
            [(json!(8), 0), (json!(null), 0), (json!(7), 1), (json!(7), 1), (json!([7]), 0), (json!(7.0), 1)]
        {
            let tags = TwinWrite::merging(Some(json!({ "n": tag })), None).unwrap();
            record.twin.write(&tags, NOW).unwrap();
            database.update(record.clone(), vec![]).await.unwrap();
            record = database.record(&record.device.identity).await.unwrap().unwrap();
            assert_eq!(count(7).await, Some(here), "{tag}");
        }
        database.delete(&record.device.identity, record.revision, vec![]).await.unwrap();
        assert_eq!(count(7).await, Some(0));
        database.insert(vec![record], vec![]).await.unwrap();
        assert_eq!(count(7).await, Some(1));
    }

    fn kind_of(database: &Database, name: &str) -> String {
        let sql = "SELECT type FROM sqlite_schema WHERE name = ?1";
        database.read(|c| c.query_row(sql, [name], |row| row.get(0))).unwrap()
    }

    /// SQLite's plan of a page of devices.
    fn steps(database: &Database, condition: &str) -> Vec<String> {
        let query = Query::parse(&format!("SELECT * FROM devices WHERE {condition}")).unwrap();
        let search = Search { modules: false, constraints: query.constraints() };
        let steps = database.read(|connection| {
            let plan = database.plan(connection, &search)?;
            let (from, conditions, order) = (plan.from, plan.conditions.join(" AND "), plan.order);
            let sql = format!(
                "EXPLAIN QUERY PLAN SELECT 1 FROM {from} WHERE {conditions} ORDER BY {order}.device_id LIMIT 9"
            );
            let mut statement = connection.prepare(&sql)?;
            let rows = statement.query_map(params_from_iter(plan.values), |row| row.get::<_, String>(3))?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        });
        steps.unwrap()
    }

    #[tokio::test]
    async fn a_page_is_found_in_order_of_id_without_sorting() {
        let (_folder, database) = open();
        fleet(&database).await;
        until_indexed(&database, "devices", "tags.n = 1").await;
        for condition in [
            "true",
            "tags.n = 1",
            "deviceId = 'd05'",
            "configurations.c.status = 'Applied'",
            "status = 'disabled'",
            "tags.x = 1",
        ] {
            let steps = steps(&database, condition);
            assert!(steps.iter().all(|step| !step.contains("TEMP B-TREE")), "{condition}: {steps:?}");
        }
    }

    #[tokio::test]
    async fn indexes_are_bounded() {
        let (_folder, database) = open();
        let all = fleet(&database).await;
        for number in 0..40 {
            check(&database, &all, "devices", &format!("tags.path{number} = 1")).await;
            check(&database, &all, "devices", &format!("tags.path{number} = 1")).await;
        }
        until_idle(&database).await;
        let count = indexes(&database).await;
        assert!((1..=16).contains(&count), "{count}");
    }

    async fn until_idle(database: &Database) {
        let wait = async {
            while database.auto_indexes().is_making() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), wait).await.expect("indexes are made");
    }

    #[test]
    fn the_text_after_a_prefix_is_greater_than_every_text_with_it() {
        assert_eq!(after_prefix("ab").as_deref(), Some("ac"));
        assert_eq!(after_prefix("a\u{10FFFF}").as_deref(), Some("b"));
        assert_eq!(after_prefix("\u{D7FF}").as_deref(), Some("\u{E000}"));
        assert_eq!(after_prefix("\u{10FFFF}"), None);
    }
}
