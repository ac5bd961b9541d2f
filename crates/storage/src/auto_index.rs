//! Indexes over paths into identities and twins, made when queries ask for them.
//!
//! Table `auto_indexes` names them; each is a table of values and identities that triggers on `identities` keep as current
//! as the row itself. (An index over the expression, as earlier versions had it, costs a write as much, but SQLite looks
//! up the row of every match all the same where it need only count.) There are at most [`INDEXES_MAX`],
//! because each costs every write a little. One that was not used for [`KEPT_FOR`] makes room.
//! Making one holds up writers for a scan of all records, so a large registry makes
//! one only for a path that is asked for again.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use gantry_hub::ports::{Step, StoreError};
use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension as _, params};

use crate::database::{Database, fail};

/// Indexes at once.
const INDEXES_MAX: usize = 16;
/// Paths whose use is counted.
const PATHS_MAX: usize = 1_000;
/// Records up to which an index is made at the first use of its path.
const SMALL_REGISTRY: i64 = 20_000;
/// Uses that make an index in a larger one.
const USES_MIN: u32 = 2;
/// How long an index that is not used is safe from making room.
const KEPT_FOR: Duration = Duration::from_secs(60 * 60);
/// Longest path that is indexed, in bytes.
const PATH_LEN_MAX: usize = 512;

pub(crate) const TABLES: &str = "
CREATE TABLE auto_indexes(name TEXT NOT NULL PRIMARY KEY) WITHOUT ROWID;
CREATE INDEX identities_modules ON identities(device_id, module_id) WHERE module_id <> '';
CREATE TABLE totals(enabled INTEGER PRIMARY KEY, count INTEGER NOT NULL);
INSERT INTO totals SELECT 0, COUNT(*) FROM identities WHERE module_id = '' AND enabled = 0;
INSERT INTO totals SELECT 1, COUNT(*) FROM identities WHERE module_id = '' AND enabled = 1;
CREATE TRIGGER identities_made AFTER INSERT ON identities WHEN new.module_id = '' BEGIN
  UPDATE totals SET count = count + 1 WHERE enabled = new.enabled; END;
CREATE TRIGGER identities_gone AFTER DELETE ON identities WHEN old.module_id = '' BEGIN
  UPDATE totals SET count = count - 1 WHERE enabled = old.enabled; END;
CREATE TRIGGER identities_turned AFTER UPDATE OF enabled ON identities
  WHEN new.module_id = '' AND old.enabled <> new.enabled BEGIN
  UPDATE totals SET count = count - 1 WHERE enabled = old.enabled;
  UPDATE totals SET count = count + 1 WHERE enabled = new.enabled; END;
";

/// A path into one of the JSON columns of `identities`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    column: &'static str,
    path: String,
}

impl Place {
    /// A fixed path into the identity.
    pub(crate) fn identity(path: &'static str) -> Self {
        Self { column: "identity", path: path.to_owned() }
    }

    /// A path into the twin; `None` when SQLite's path language cannot say it, or it is too long.
    pub(crate) fn twin(root: &str, steps: &[Step]) -> Option<Self> {
        let mut path = root.to_owned();
        for step in steps {
            match step {
                Step::Name(name) if name.contains(|c: char| matches!(c, '"' | '\\') || c.is_control()) => return None,
                Step::Name(name) => path.push_str(&format!(".\"{name}\"")),
                Step::Index(index) => path.push_str(&format!("[{index}]")),
            }
        }
        (path.len() <= PATH_LEN_MAX).then_some(Self { column: "twin", path })
    }

    /// Whether it is the scope of the device above.
    pub(crate) fn is_scope(&self) -> bool {
        self.path == "$.parent_scopes[0]"
    }

    /// As SQL over a row of `identities`, which is called `row`.
    pub(crate) fn expression(&self, row: &str) -> String {
        format!("json_extract({row}.{}, '{}')", self.column, self.path.replace('\'', "''"))
    }

    /// Statements that make the index called `name` over devices, or modules.
    fn create(&self, name: &str, modules: bool) -> String {
        let kind = if modules { "<>" } else { "=" };
        let (old, new, column) = (self.expression("old"), self.expression("new"), self.column);
        let row = self.expression("i");
        format!(
            "CREATE TABLE {name}(value, device_id TEXT NOT NULL, module_id TEXT NOT NULL,
               PRIMARY KEY(value, device_id, module_id)) WITHOUT ROWID;
             INSERT INTO {name} SELECT {row}, i.device_id, i.module_id FROM identities i
               WHERE i.module_id {kind} '' AND {row} IS NOT NULL ORDER BY 1, 2, 3;
             CREATE TRIGGER {name}_made AFTER INSERT ON identities
               WHEN new.module_id {kind} '' AND {new} IS NOT NULL BEGIN
               INSERT INTO {name} VALUES ({new}, new.device_id, new.module_id); END;
             CREATE TRIGGER {name}_gone AFTER DELETE ON identities
               WHEN old.module_id {kind} '' AND {old} IS NOT NULL BEGIN
               DELETE FROM {name} WHERE value = {old} AND device_id = old.device_id AND module_id = old.module_id; END;
             CREATE TRIGGER {name}_turned AFTER UPDATE OF {column} ON identities
               WHEN new.module_id {kind} '' AND {old} IS NOT {new} BEGIN
               DELETE FROM {name} WHERE value = {old} AND device_id = old.device_id AND module_id = old.module_id;
               INSERT INTO {name} SELECT {new}, new.device_id, new.module_id WHERE {new} IS NOT NULL; END;"
        )
    }

    /// The name of its table: spelled from the path, so that it is the same after a restart.
    pub(crate) fn index(&self, modules: bool) -> String {
        let mut name = format!("auto_{}_{}", if modules { "modules" } else { "devices" }, self.column);
        for byte in self.path.bytes() {
            name.push_str(&format!("{byte:02x}"));
        }
        name
    }
}

/// Drops an index, of whichever kind.
fn drop_index(connection: &Connection, name: &str) -> rusqlite::Result<()> {
    let triggers = ["made", "gone", "turned"].map(|event| format!("DROP TRIGGER IF EXISTS {name}_{event};")).concat();
    connection.execute_batch(&triggers)?;
    match kind(connection, name)?.as_deref() {
        Some("table") => connection.execute_batch(&format!("DROP TABLE {name}"))?,
        Some(_) => connection.execute_batch(&format!("DROP INDEX {name}"))?,
        None => {}
    }
    connection.execute("DELETE FROM auto_indexes WHERE name = ?1", [name]).map(drop)
}

/// What of the schema has this name: a table, or an index, as earlier versions had.
fn kind(connection: &Connection, name: &str) -> rusqlite::Result<Option<String>> {
    let sql = "SELECT type FROM sqlite_schema WHERE name = ?1";
    connection.query_row(sql, [name], |row| row.get(0)).optional()
}

#[derive(Debug)]
struct Use {
    count: u32,
    last: Instant,
}

/// Which indexes there are and what is asked for.
#[derive(Default, Debug)]
pub(crate) struct AutoIndexes {
    state: Mutex<State>,
}

#[derive(Default, Debug)]
struct State {
    /// Ready indexes by name, with their last use.
    ready: HashMap<String, Instant>,
    making: Option<String>,
    uses: HashMap<String, Use>,
}

impl AutoIndexes {
    /// Those there are; ones that earlier versions made go, and are made again when they are asked for.
    pub(crate) fn load(connection: &Connection) -> Result<Self, StoreError> {
        let read = || -> rusqlite::Result<HashMap<String, Instant>> {
            let mut statement = connection.prepare("SELECT name FROM auto_indexes")?;
            let names: Vec<String> = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
            let mut ready = HashMap::new();
            for name in names {
                if kind(connection, &name)?.as_deref() == Some("table") {
                    ready.insert(name, Instant::now());
                } else {
                    drop_index(connection, &name)?;
                }
            }
            Ok(ready)
        };
        Ok(Self { state: Mutex::new(State { ready: read().map_err(fail)?, ..State::default() }) })
    }

    /// Whether a path has an index; notes that it was asked for, and has one made when it is time.
    pub(crate) fn wants(&self, database: &Database, place: &Place, modules: bool) -> bool {
        let (name, now) = (place.index(modules), Instant::now());
        let mut state = self.state.lock();
        if let Some(last) = state.ready.get_mut(&name) {
            *last = now;
            return true;
        }
        if state.uses.len() >= PATHS_MAX && !state.uses.contains_key(&name) {
            state.uses.clear();
        }
        let uses = state.uses.entry(name.clone()).or_insert(Use { count: 0, last: now });
        (uses.count, uses.last) = (uses.count.saturating_add(1), now);
        let count = uses.count;
        if state.making.is_some() {
            return false;
        }
        let oldest = state.ready.iter().min_by_key(|(_, last)| **last);
        let evicted = match oldest {
            Some((oldest, last)) if state.ready.len() >= INDEXES_MAX => {
                if now.duration_since(*last) < KEPT_FOR {
                    return false;
                }
                Some(oldest.clone())
            }
            _ => None,
        };
        state.making = Some(name.clone());
        drop(state);
        database.make_index(name, place, modules, count, evicted);
        false
    }

    /// Whether one is being made.
    #[cfg(test)]
    pub(crate) fn is_making(&self) -> bool {
        self.state.lock().making.is_some()
    }

    fn made(&self, name: &str, is_made: bool, evicted: Option<&str>) {
        let mut state = self.state.lock();
        state.making = None;
        if is_made {
            state.uses.remove(name);
            state.ready.insert(name.to_owned(), Instant::now());
            if let Some(evicted) = evicted {
                state.ready.remove(evicted);
            }
        }
    }

    /// Before an index goes, nobody may count on it.
    fn forget(&self, name: &str) {
        self.state.lock().ready.remove(name);
    }
}

impl Database {
    /// Makes an index in the background, if the registry is small or the path was asked for often enough.
    fn make_index(&self, name: String, place: &Place, modules: bool, uses: u32, evicted: Option<String>) {
        let create = place.create(&name, modules);
        if let Some(evicted) = &evicted {
            self.auto_indexes().forget(evicted);
        }
        let (database, made, dropped) = (self.clone(), name.clone(), evicted.clone());
        let job = move |connection: &Connection| {
            let run = || -> rusqlite::Result<bool> {
                let sql = "SELECT COALESCE(SUM(count), 0) FROM totals";
                let records: i64 = connection.query_row(sql, [], |row| row.get(0))?;
                if records > SMALL_REGISTRY && uses < USES_MIN {
                    return Ok(false);
                }
                if let Some(evicted) = &evicted {
                    drop_index(connection, evicted)?;
                }
                drop_index(connection, &name)?;
                connection.execute_batch(&create)?;
                connection.execute("INSERT OR IGNORE INTO auto_indexes(name) VALUES (?1)", params![name])?;
                Ok(true)
            };
            run().map_err(fail)
        };
        // Without a runtime there is nobody to wait for the writer: the next use tries again.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return self.auto_indexes().made(&made, false, None);
        };
        runtime.spawn(async move {
            let is_made = database.write(job).await.unwrap_or_else(|error| {
                tracing::warn!(%error, "index not made");
                false
            });
            database.auto_indexes().made(&made, is_made, dropped.as_deref());
        });
    }
}
