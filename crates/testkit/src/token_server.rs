//! `gantry token-server` in a process of its own.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::PATIENCE;

/// A running token server. Dropping it kills it.
pub struct TokenServer {
    folder: TempDir,
    child: Child,
    url: String,
}

impl TokenServer {
    /// Starts one with `files` (name and content) in its folder; `config` may name them as `{folder}/NAME`. It listens
    /// on a port of its own on 127.0.0.1.
    ///
    /// # Errors
    /// When it does not start; holds its log.
    pub fn start(binary: &str, config: &str, files: &[(&str, &str)]) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        for (name, content) in files {
            fs::write(folder.path().join(name), content)?;
        }
        write_config(folder.path(), config)?;
        let mut child = Command::new(binary)
            .args(["token-server", "--json", "--config"])
            .arg(folder.path().join("config.toml"))
            .arg("--data")
            .arg(folder.path().join("data"))
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(folder.path().join("log"))?)
            .spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("stdout")?).read_line(&mut line)?;
        let log = || fs::read_to_string(folder.path().join("log")).unwrap_or_default();
        let ready: Value = serde_json::from_str(&line).with_context(|| format!("did not start:\n{}", log()))?;
        let url = ready["url"].as_str().context("url")?.to_owned();
        Ok(Self { folder, child, url })
    }

    /// Where tokens are asked for.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A file in its folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The certificate of its own authority, PEM.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn ca(&self) -> anyhow::Result<Vec<u8>> {
        Ok(fs::read(self.path("data/tls/ca.pem"))?)
    }

    /// What it has logged.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn log(&self) -> anyhow::Result<String> {
        Ok(fs::read_to_string(self.path("log"))?)
    }

    /// Replaces a file of its folder.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, name: &str, content: &str) -> anyhow::Result<()> {
        Ok(fs::write(self.path(name), content)?)
    }

    /// Makes it read its configuration again; returns when its log has a further line with `word`.
    ///
    /// # Errors
    /// When the line does not come.
    pub async fn reload(&self, word: &str) -> anyhow::Result<()> {
        let count = |log: String| log.lines().filter(|line| line.contains(word)).count();
        let before = count(self.log()?);
        let id = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("process id")?;
        kill_process(id, Signal::HUP)?;
        let deadline = Instant::now() + PATIENCE;
        while count(self.log()?) == before {
            ensure!(Instant::now() < deadline, "no `{word}` in\n{}", self.log()?);
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// Replaces its configuration; [`reload`](Self::reload) makes it read it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn configure(&self, config: &str) -> anyhow::Result<()> {
        write_config(self.folder.path(), config)
    }
}

fn write_config(folder: &Path, config: &str) -> anyhow::Result<()> {
    let text = config.replace("{folder}", &folder.display().to_string());
    Ok(fs::write(folder.join("config.toml"), format!("port = 0\nbind = [\"127.0.0.1\"]\n{text}"))?)
}

impl Drop for TokenServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
