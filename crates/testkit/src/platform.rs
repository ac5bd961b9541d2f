//! The real binary in a process of its own.
//!
//! Each platform has its own ports: an offset is drawn until all of them are free, and drawn
//! again when another test was faster. Ports stay below the range the kernel draws from.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use rand::Rng as _;
use rustix::process::{Pid, Signal, kill_process};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::{PATIENCE, Service, TlsSocket};

const MQTT: u16 = 8883;
const AMQP: u16 = 5671;
const HTTPS: u16 = 443;
const START_TIMEOUT: Duration = Duration::from_secs(30);
const OFFSET_TRIES: usize = 50;

/// A running `gantry serve`. Dropping it kills it.
pub struct Platform {
    binary: PathBuf,
    data: PathBuf,
    config: Option<PathBuf>,
    log: PathBuf,
    offset: u16,
    child: Child,
    /// Folders of this platform, removed with it.
    _folder: TempDir,
}

impl Platform {
    /// Starts a platform with a data folder of its own; returns when it accepts connections.
    ///
    /// # Errors
    /// When it does not start; holds its log.
    pub fn start(binary: &str) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let data = folder.path().join("data");
        Self::start_in(binary, folder, data, None)
    }

    /// Starts a platform with a configuration file of this text.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_with_config(binary: &str, config: &str) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let (data, path) = (folder.path().join("data"), folder.path().join("config.toml"));
        fs::write(&path, config)?;
        Self::start_in(binary, folder, data, Some(path))
    }

    /// Starts a platform over the data folder `data`, which the caller keeps.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_with_data(binary: &str, data: &Path) -> anyhow::Result<Self> {
        Self::start_in(binary, tempfile::tempdir()?, data.to_owned(), None)
    }

    fn start_in(binary: &str, folder: TempDir, data: PathBuf, config: Option<PathBuf>) -> anyhow::Result<Self> {
        let (binary, log) = (PathBuf::from(binary), folder.path().join("log"));
        for _ in 0..OFFSET_TRIES {
            let offset = free_offset()?;
            match spawn(&binary, &data, config.as_deref(), &log, offset) {
                Ok(child) => return Ok(Self { binary, data, config, log, offset, child, _folder: folder }),
                // Another process took a port between the probe and the start.
                Err(error) if format!("{error:#}").contains("listening on port") => {}
                Err(error) => return Err(error),
            }
        }
        bail!("no free ports after {OFFSET_TRIES} tries")
    }

    /// Kills it as a crash would: SIGKILL.
    ///
    /// # Errors
    /// When the process cannot be waited for.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Asks it to stop with SIGTERM and waits.
    ///
    /// # Errors
    /// When it does not end in time or ends with a failure.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        let id = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("process id")?;
        kill_process(id, Signal::TERM)?;
        let status = wait(&mut self.child, START_TIMEOUT)?;
        ensure!(status.success(), "stopped with {status}; log:\n{}", self.log()?);
        Ok(())
    }

    /// Starts it again after [`kill`](Self::kill) or [`stop`](Self::stop), on the same folder and ports.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.child = spawn(&self.binary, &self.data, self.config.as_deref(), &self.log, self.offset)?;
        Ok(())
    }

    /// Whether the process is there.
    ///
    /// # Errors
    /// When the process cannot be asked.
    pub fn is_running(&mut self) -> anyhow::Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// The data folder.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Everything it has logged over all its starts, at level debug, without colours.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn log(&self) -> anyhow::Result<String> {
        Ok(fs::read_to_string(&self.log)?)
    }

    /// Lines of the log that hold every one of `words`.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn log_lines(&self, words: &[&str]) -> anyhow::Result<Vec<String>> {
        let log = self.log()?;
        let lines = log.lines().filter(|line| words.iter().all(|word| line.contains(word)));
        Ok(lines.map(str::to_owned).collect())
    }

    /// Waits until at least `count` lines hold all `words`: a line may be written a moment after its cause is seen.
    ///
    /// # Errors
    /// When they do not come within [`PATIENCE`].
    pub async fn wait_log(&self, words: &[&str], count: usize) -> anyhow::Result<Vec<String>> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let lines = self.log_lines(words)?;
            if lines.len() >= count {
                return Ok(lines);
            }
            ensure!(Instant::now() < deadline, "{words:?}: {} of {count} lines in\n{}", lines.len(), self.log()?);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Resident memory, bytes, from `/proc`.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn resident_bytes(&self) -> anyhow::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
        let kib: u64 = line.trim().trim_end_matches(" kB").trim().parse()?;
        Ok(kib << 10)
    }

    /// The variables of `connection.env`.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn connection(&self) -> anyhow::Result<HashMap<String, String>> {
        let text = fs::read_to_string(self.data.join("connection.env"))?;
        let assignments = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('='));
        Ok(assignments.map(|(name, value)| (name.to_owned(), value.trim_matches('\'').to_owned())).collect())
    }

    /// Port of MQTT.
    pub fn mqtt_port(&self) -> u16 {
        MQTT + self.offset
    }

    /// Port of AMQP.
    pub fn amqp_port(&self) -> u16 {
        AMQP + self.offset
    }

    /// Port of HTTPS.
    pub fn https_port(&self) -> u16 {
        HTTPS + self.offset
    }

    /// The certificate of its CA, PEM.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn ca(&self) -> anyhow::Result<Vec<u8>> {
        Ok(fs::read(self.data.join("tls/ca.pem"))?)
    }

    /// A TCP connection.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn tcp(&self, port: u16) -> anyhow::Result<TcpStream> {
        let socket = tokio::time::timeout(PATIENCE, TcpStream::connect(("127.0.0.1", port))).await??;
        socket.set_nodelay(true)?;
        Ok(socket)
    }

    /// A TLS connection whose bytes the test chooses, offering `alpn` when not empty.
    ///
    /// # Errors
    /// When TCP or TLS fails.
    pub async fn tls(&self, port: u16, alpn: &[u8]) -> anyhow::Result<TlsSocket> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&self.ca()?) {
            roots.add(certificate?)?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols.extend((!alpn.is_empty()).then(|| alpn.to_vec()));
        let connector = TlsConnector::from(Arc::new(config));
        let socket = self.tcp(port).await?;
        let connecting = connector.connect(ServerName::try_from("localhost")?, socket);
        Ok(TlsSocket::new(tokio::time::timeout(PATIENCE, connecting).await??))
    }

    /// A client of the REST API with the owner's policy.
    ///
    /// # Errors
    /// When `connection.env` cannot be read.
    pub fn service(&self) -> anyhow::Result<Service> {
        Service::new(self)
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An offset at which every port is free now.
fn free_offset() -> anyhow::Result<u16> {
    for _ in 0..OFFSET_TRIES {
        let offset = rand::rng().random_range(2_000..23_000);
        let is_free = |port: u16| std::net::TcpListener::bind(("127.0.0.1", port + offset)).is_ok();
        if [MQTT, AMQP, HTTPS].into_iter().all(is_free) {
            return Ok(offset);
        }
    }
    bail!("no free ports after {OFFSET_TRIES} tries")
}

fn spawn(binary: &Path, data: &Path, config: Option<&Path>, log: &Path, offset: u16) -> anyhow::Result<Child> {
    let logged_before = fs::metadata(log).map_or(0, |metadata| metadata.len());
    let log_file = File::options().create(true).append(true).open(log)?;
    let mut child = Command::new(binary)
        .arg("serve")
        .arg("--data")
        .arg(data)
        .args(["--port-offset", &offset.to_string(), "--bind", "127.0.0.1"])
        .args(config.into_iter().flat_map(|path| [Path::new("--config"), path]))
        .env("GANTRY_LOG", "info,gantry=debug")
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log_file)
        .spawn()
        .with_context(|| format!("starting {}", binary.display()))?;
    let stdout = child.stdout.take().context("stdout")?;
    let (sender, ready) = mpsc::channel();
    std::thread::spawn(move || {
        // Reads to the end, so that the platform never writes into a closed pipe.
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if line.ends_with("is ready") {
                let _ = sender.send(());
            }
        }
    });
    if ready.recv_timeout(START_TIMEOUT).is_err() {
        let _ = child.kill();
        let _ = child.wait();
        let log = fs::read(log)?;
        let log = log.get(usize::try_from(logged_before)?..).unwrap_or_default();
        bail!("the platform did not start:\n{}", String::from_utf8_lossy(log));
    }
    Ok(child)
}

fn wait(child: &mut Child, timeout: Duration) -> anyhow::Result<ExitStatus> {
    let deadline = Instant::now() + timeout;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        ensure!(Instant::now() < deadline, "the platform does not end");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}
