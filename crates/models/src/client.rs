//! The platform's side: the child, and what is asked of it.

use std::collections::HashSet;
use std::ffi::OsString;
use std::io::{self, BufReader, BufWriter};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use gantry_analytics::models::{self, Features, NotScored, Scores};
use parking_lot::{Condvar, Mutex};
use sha2::{Digest as _, Sha256};
use tracing::warn;

use crate::protocol::{Answer, Digest, FRAME_BYTES_MAX, Question};

/// The worker ends when nobody asked for so long.
const IDLE: Duration = Duration::from_secs(60);
/// How often it is looked whether a question is still wanted.
const LOOK: Duration = Duration::from_millis(100);
/// Rows that are scored at once.
const ROWS_AT_ONCE: usize = 65_536;

/// Why rows were not scored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Nobody said where the library is.
    #[error("models need ONNX Runtime: `tables.onnxruntime` of the configuration says where the library is")]
    NoLibrary,
    /// The model cannot be loaded, or not with these rows.
    #[error("{0}")]
    Model(String),
    /// The worker cannot be started, or died.
    #[error("the process that scores models {0}")]
    Worker(String),
    /// The question is not wanted any more.
    #[error("scoring was stopped")]
    Stopped,
}

/// Runs models in a child process.
pub struct Worker {
    /// The program and what it is called with.
    command: Option<(PathBuf, Vec<OsString>)>,
    running: Arc<Mutex<Option<Running>>>,
}

struct Running {
    child: Arc<Mutex<Child>>,
    to: BufWriter<ChildStdin>,
    from: BufReader<ChildStdout>,
    /// Models it was given. It may have forgotten some.
    loaded: HashSet<Digest>,
    used: Instant,
}

impl Worker {
    /// Without a library: whoever asks is told so.
    pub fn none() -> Self {
        Self { command: None, running: Arc::default() }
    }

    /// With a program that runs [`work`](crate::work).
    pub fn new(program: PathBuf, arguments: Vec<OsString>) -> Self {
        Self { command: Some((program, arguments)), running: Arc::default() }
    }

    /// What a model says of each row. Blocks until it does, or `is_wanted` says no.
    ///
    /// # Errors
    /// [`Failure`] says why not.
    pub fn score(
        &self,
        model: &[u8],
        features: &Features,
        is_wanted: &(dyn Fn() -> bool + Sync),
    ) -> Result<Scores, Failure> {
        if model.len() >= FRAME_BYTES_MAX {
            return Err(Failure::Model("the model is larger than 256 MiB".into()));
        }
        let digest: Digest = Sha256::digest(model).into();
        let columns = features.columns.max(1);
        let mut scores: Option<Scores> = None;
        for values in features.values.chunks(ROWS_AT_ONCE * columns) {
            let some = Features { columns: features.columns, values: values.to_vec() };
            let more = self.ask(model, &digest, &some, is_wanted)?;
            scores = Some(match scores {
                None => more,
                Some(before) => joined(before, more)?,
            });
        }
        Ok(scores.unwrap_or(Scores::Numbers(Vec::new())))
    }

    /// Asks the worker, which is started when it is not there.
    fn ask(
        &self,
        model: &[u8],
        digest: &Digest,
        features: &Features,
        is_wanted: &(dyn Fn() -> bool + Sync),
    ) -> Result<Scores, Failure> {
        // One question at a time; who waits may be stopped too.
        let mut held = loop {
            match self.running.try_lock_for(LOOK) {
                Some(held) => break held,
                None if is_wanted() => {}
                None => return Err(Failure::Stopped),
            }
        };
        let running = match &mut *held {
            Some(running) => running,
            nobody => nobody.insert(self.start()?),
        };
        let child = Arc::clone(&running.child);
        let (done, ended) = (Mutex::new(false), Condvar::new());
        let answer = thread::scope(|scope| {
            let watch = scope.spawn(|| {
                let mut done = done.lock();
                while !*done {
                    if ended.wait_for(&mut done, LOOK).timed_out() && !is_wanted() {
                        // The pipes end, and with them the wait for an answer.
                        let _ = child.lock().kill();
                        return true;
                    }
                }
                false
            });
            let answer = running.exchange(model, digest, features);
            *done.lock() = true;
            ended.notify_all();
            (answer, watch.join().unwrap_or(false))
        });
        running.used = Instant::now();
        match answer {
            (Ok(Answer::Scored(scores)), _) => Ok(scores),
            (Ok(Answer::Failed(why)), _) => Err(Failure::Model(why)),
            (Ok(Answer::Loaded | Answer::Unknown), _) => {
                end(held.take());
                Err(Failure::Worker("answered something else than it was asked".into()))
            }
            (Err(error), is_stopped) => {
                let status = end(held.take());
                if is_stopped {
                    return Err(Failure::Stopped);
                }
                warn!(%error, status, "the process that scores models died");
                Err(Failure::Worker(format!("died ({status}): the model may be more than it can hold")))
            }
        }
    }

    fn start(&self) -> Result<Running, Failure> {
        let (program, arguments) = self.command.as_ref().ok_or(Failure::NoLibrary)?;
        let fault = |error: io::Error| Failure::Worker(format!("cannot be started: {error}"));
        // It gets nothing of the platform's but its pipes and its standard error. The library sends what it does to its
        // makers unless it is told not to before it is loaded.
        let mut child = Command::new(program)
            .args(arguments)
            .env_clear()
            .env("ORT_DISABLE_TELEMETRY", "1")
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(fault)?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (to, from) = pipes.ok_or_else(|| fault(io::ErrorKind::BrokenPipe.into()))?;
        let child = Arc::new(Mutex::new(child));
        let running = Arc::clone(&self.running);
        let of = Arc::clone(&child);
        thread::spawn(move || end_when_idle(&running, &of));
        let (to, from) = (BufWriter::new(to), BufReader::new(from));
        Ok(Running { child, to, from, loaded: HashSet::new(), used: Instant::now() })
    }
}

impl models::Models for Worker {
    fn predict(
        &self,
        model: &[u8],
        features: &Features,
        is_wanted: &(dyn Fn() -> bool + Sync),
    ) -> Result<Scores, NotScored> {
        self.score(model, features, is_wanted).map_err(|failure| NotScored(failure.to_string()))
    }
}

impl Running {
    fn exchange(&mut self, model: &[u8], digest: &Digest, features: &Features) -> io::Result<Answer> {
        if self.loaded.contains(digest) {
            Question::predict(digest, features, &mut self.to)?;
            match Answer::read(&mut self.from)? {
                Answer::Unknown => {}
                answer => return Ok(answer),
            }
        }
        Question::load(model, &mut self.to)?;
        match Answer::read(&mut self.from)? {
            Answer::Loaded => {}
            answer => return Ok(answer),
        }
        self.loaded.insert(*digest);
        Question::predict(digest, features, &mut self.to)?;
        Answer::read(&mut self.from)
    }
}

fn joined(before: Scores, more: Scores) -> Result<Scores, Failure> {
    Ok(match (before, more) {
        (Scores::Numbers(a), Scores::Numbers(b)) => Scores::Numbers([a, b].concat()),
        (Scores::Whole(a), Scores::Whole(b)) => Scores::Whole([a, b].concat()),
        (Scores::Flags(a), Scores::Flags(b)) => Scores::Flags([a, b].concat()),
        (Scores::Texts(a), Scores::Texts(b)) => Scores::Texts([a, b].concat()),
        _ => return Err(Failure::Model("the model answers values of different types".into())),
    })
}

/// Ends a worker, and says how it ended.
fn end(running: Option<Running>) -> String {
    let Some(running) = running else { return String::new() };
    let mut child = running.child.lock();
    let _ = child.kill();
    child.wait().map_or_else(|error| error.to_string(), |status| status.to_string())
}

/// Ends a worker that nobody asks, while it is the one that runs.
fn end_when_idle(running: &Mutex<Option<Running>>, child: &Arc<Mutex<Child>>) {
    loop {
        thread::sleep(IDLE);
        let mut held = running.lock();
        match &*held {
            Some(now) if Arc::ptr_eq(&now.child, child) => {
                if now.used.elapsed() >= IDLE {
                    end(held.take());
                    return;
                }
            }
            _ => return,
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        end(self.running.lock().take());
    }
}
