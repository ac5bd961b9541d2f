//! What every part of a running query shares: its instant, its limits, who may stop it, prepared patterns.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Instant;

pub use regex::Regex;

use crate::error::{Error, Result};

/// Patterns kept prepared; beyond that all are forgotten and prepared anew.
const REGEXES_MAX: usize = 256;
/// Bytes that one prepared pattern may take.
const REGEX_BYTES_MAX: usize = 1 << 20;

/// Limits of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Rows of all results, unless turned off.
    pub rows_max: Option<u64>,
    /// Bytes of all results, unless turned off.
    pub bytes_max: Option<u64>,
    /// Memory that operators of the query may hold together.
    pub memory_max: u64,
    /// Seconds.
    pub seconds_max: u64,
    /// Rows that one operator may make of one (`mv-expand`, `range`, bins of `make-series`).
    pub expanded_max: u64,
}

impl Default for Limits {
    /// The reference's: 500,000 rows, 64 MB, 5 GB an operator (ours is a smaller machine: 1 GB), four minutes.
    fn default() -> Limits {
        Limits {
            rows_max: Some(500_000),
            bytes_max: Some(64 << 20),
            memory_max: 1 << 30,
            seconds_max: 240,
            expanded_max: 1 << 20,
        }
    }
}

/// Stops a query from outside, and tells what it has used.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<Watched>);

#[derive(Debug, Default)]
struct Watched {
    is_stopped: AtomicBool,
    memory_peak: AtomicU64,
    rows_read: AtomicU64,
}

/// What a query has used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// The most bytes that its operators held together.
    pub memory_peak: u64,
    /// Rows that tables gave it.
    pub rows_read: u64,
}

impl Cancel {
    /// Stops it.
    pub fn cancel(&self) {
        self.0.is_stopped.store(true, Ordering::Relaxed);
    }

    /// What the queries that were given this have used so far.
    pub fn usage(&self) -> Usage {
        Usage {
            memory_peak: self.0.memory_peak.load(Ordering::Relaxed),
            rows_read: self.0.rows_read.load(Ordering::Relaxed),
        }
    }
}

/// What every part of a running query shares.
#[derive(Debug)]
pub struct Context {
    /// The instant of the query, in ticks: `now()` is the same everywhere in it.
    pub now: i64,
    /// Its limits.
    pub limits: Limits,
    cancel: Cancel,
    deadline: Instant,
    memory: Arc<AtomicU64>,
    regexes: Mutex<HashMap<String, Arc<Regex>>>,
    random: AtomicU64,
    options: Vec<(String, gantry_kql::value::Value)>,
    principal: String,
    fault: Fault,
    reads_later: AtomicBool,
}

/// Where what reads a column later tells that it could not.
#[derive(Debug, Clone, Default)]
pub struct Fault(Arc<OnceLock<Error>>);

impl Fault {
    /// Ends the query with an error; the first one counts.
    pub fn set(&self, error: Error) {
        let _ = self.0.set(error);
    }
}

impl Context {
    /// The context of a query that begins now. `now` is its instant in ticks, `seed` what chance begins with.
    pub fn new(now: i64, limits: Limits, cancel: Cancel, seed: u64) -> Context {
        Context {
            now,
            limits,
            cancel,
            deadline: Instant::now() + std::time::Duration::from_secs(limits.seconds_max),
            memory: Arc::default(),
            regexes: Mutex::default(),
            random: AtomicU64::new(seed),
            options: Vec::new(),
            principal: String::new(),
            fault: Fault::default(),
            reads_later: AtomicBool::new(false),
        }
    }

    /// Whoever runs the query looks at [`fault`](Self::fault) when it ends, so columns may be read later.
    pub fn read_later(&self) {
        self.reads_later.store(true, Ordering::Relaxed);
    }

    /// Whether columns may be read when somebody looks at them; what fails then goes here.
    pub fn reads_later(&self) -> Option<Fault> {
        self.reads_later.load(Ordering::Relaxed).then(|| self.fault.clone())
    }

    /// What could not be read.
    pub(crate) fn fault(&self) -> Option<Error> {
        self.fault.0.get().cloned()
    }

    /// With who asks.
    #[must_use]
    pub fn with_principal(self, principal: &str) -> Context {
        Context { principal: principal.to_owned(), ..self }
    }

    /// Who asks, as `current_principal()` says it.
    pub fn principal(&self) -> &str {
        &self.principal
    }

    /// The context of a query within this one: the same instant, limits and memory.
    #[must_use]
    pub fn within(&self) -> Context {
        Context {
            now: self.now,
            limits: self.limits,
            cancel: self.cancel.clone(),
            deadline: self.deadline,
            memory: Arc::clone(&self.memory),
            regexes: Mutex::default(),
            random: AtomicU64::new(self.random()),
            options: Vec::new(),
            principal: self.principal.clone(),
            fault: self.fault.clone(),
            reads_later: AtomicBool::new(self.reads_later.load(Ordering::Relaxed)),
        }
    }

    /// With what `set` says in the text.
    #[must_use]
    pub fn with_options(self, options: &[(String, gantry_kql::value::Value)]) -> Context {
        let mut context = Context { options: options.to_vec(), ..self };
        if let Some(gantry_kql::value::Value::DateTime(now)) = context.option("query_now") {
            context.now = now.0;
        }
        context
    }

    /// What `set` says of a name.
    pub fn option(&self, name: &str) -> Option<&gantry_kql::value::Value> {
        self.options.iter().rev().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// Ends the query when its time is over or somebody stopped it. Operators ask between chunks.
    pub fn check(&self) -> Result<()> {
        if self.cancel.0.is_stopped.load(Ordering::Relaxed) {
            return Err(Error::Cancelled);
        }
        if let Some(error) = self.fault() {
            return Err(error);
        }
        if Instant::now() > self.deadline {
            return Err(Error::Timeout(self.limits.seconds_max));
        }
        Ok(())
    }

    /// Notes memory that an operator holds.
    pub fn hold(&self, operator: &'static str, bytes: usize) -> Result<()> {
        let held = self.memory.fetch_add(bytes as u64, Ordering::Relaxed) + bytes as u64;
        self.cancel.0.memory_peak.fetch_max(held, Ordering::Relaxed);
        if held > self.limits.memory_max {
            return Err(Error::Memory { operator, limit: self.limits.memory_max });
        }
        Ok(())
    }

    /// Notes memory that is held no more.
    pub fn release(&self, bytes: usize) {
        self.memory.fetch_sub(bytes as u64, Ordering::Relaxed);
    }

    /// Notes rows that a table gave.
    pub(crate) fn note_read(&self, rows: usize) {
        self.cancel.0.rows_read.fetch_add(rows as u64, Ordering::Relaxed);
    }

    /// A prepared pattern.
    pub fn regex(&self, pattern: &str) -> Result<Arc<Regex>> {
        let mut regexes = self.regexes.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(regex) = regexes.get(pattern) {
            return Ok(Arc::clone(regex));
        }
        let regex = regex::RegexBuilder::new(pattern)
            .size_limit(REGEX_BYTES_MAX)
            .build()
            .map_err(|error| Error::Evaluation(format!("`{pattern}` is no regular expression: {error}")))?;
        if regexes.len() >= REGEXES_MAX {
            regexes.clear();
        }
        let regex = Arc::new(regex);
        regexes.insert(pattern.to_owned(), Arc::clone(&regex));
        Ok(regex)
    }

    /// A number by chance (SplitMix64): the same seed gives the same numbers.
    pub fn random(&self) -> u64 {
        let mut z = self.random.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
