//! The other engine, in a process of its own.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/peer.py");

/// A running peer.
pub struct Peer {
    child: Child,
    asked: ChildStdin,
    answered: BufReader<ChildStdout>,
}

impl Peer {
    /// Starts it over a folder of tables.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(python: &Path, folder: &Path, threads: u32) -> anyhow::Result<Peer> {
        let files = crate::data::files(folder)?;
        let mut command = Command::new(python);
        command.arg(SCRIPT).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("starting {}", python.display()))?;
        let (asked, answered) = (child.stdin.take().context("no input")?, child.stdout.take().context("no output")?);
        let mut peer = Peer { child, asked, answered: BufReader::new(answered) };
        peer.call(&json!({ "threads": threads, "tables": files }))?;
        Ok(peer)
    }

    /// Asks; answers how long it took and how many rows there are.
    ///
    /// # Errors
    /// When it cannot answer.
    pub fn ask(&mut self, sql: &str) -> anyhow::Result<(Duration, u64)> {
        let answer = self.call(&json!({ "sql": sql }))?;
        let seconds = answer["seconds"].as_f64().context("no time")?;
        Ok((Duration::from_secs_f64(seconds), answer["rows"].as_u64().context("no rows")?))
    }

    /// Ends it; answers the most memory it has had, in MiB.
    ///
    /// # Errors
    /// When it does not say.
    pub fn peak_mib(mut self) -> anyhow::Result<u64> {
        let peak = self.call(&json!({ "end": true }))?["peak_mib"].as_u64().context("no peak")?;
        self.child.wait()?;
        Ok(peak)
    }

    fn call(&mut self, call: &Value) -> anyhow::Result<Value> {
        writeln!(self.asked, "{call}")?;
        let mut line = String::new();
        self.answered.read_line(&mut line)?;
        let answer: Value = serde_json::from_str(&line).with_context(|| format!("the peer answers `{line}`"))?;
        match answer["error"].as_str() {
            Some(error) => anyhow::bail!("the peer: {error}"),
            None => Ok(answer),
        }
    }
}
