//! The servers under measurement: this build and, beside it, Mosquitto.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use reqwest::Method;
use tokio::time::Instant;

use super::{MOSQUITTO_PORT, MOSQUITTO_TLS_PORT, PLAIN_PORT, PORT_OFFSET};
use crate::client::Client;
use crate::mqtt_client::{Target, trust};

/// Clock ticks a second in `/proc`: USER_HZ, 100 on every Linux we run on.
const TICKS_PER_SECOND: f64 = 100.0;
pub(super) const START_TIMEOUT: Duration = Duration::from_secs(20);

/// A server under measurement; killed when dropped.
pub(super) struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Server {
    /// A process that serves.
    pub(super) fn of(process: Child) -> Self {
        Self(process)
    }

    /// CPU seconds the process used so far.
    pub(super) fn cpu(&self) -> anyhow::Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id()))?;
        // Fields after the command name, which is in parentheses and may hold blanks.
        let fields: Vec<_> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |n: usize| fields.get(n).and_then(|f| f.parse::<f64>().ok()).context("/proc stat");
        Ok((ticks(11)? + ticks(12)?) / TICKS_PER_SECOND)
    }

    /// Resident memory in KiB.
    pub(super) fn resident_kib(&self) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").trim().parse()?)
    }
}

/// Starts this build in a folder, with a plain listener beside the TLS one.
pub(super) async fn start_gantry(folder: &Path) -> anyhow::Result<(Server, Client)> {
    start_build(folder, None).await
}

/// Starts a build, this one when none is named.
pub(super) async fn start_build(folder: &Path, binary: Option<&Path>) -> anyhow::Result<(Server, Client)> {
    let data = folder.join("data");
    let child = Command::new(binary.map_or_else(std::env::current_exe, |path| Ok(path.to_owned()))?)
        .args(["serve", "--port-offset", &PORT_OFFSET.to_string()])
        .env("GANTRY_DATA", &data)
        .env("GANTRY_BENCH_PLAIN_PORT", PLAIN_PORT.to_string())
        .env("GANTRY_LOG", "warn")
        .stdout(Stdio::null())
        .spawn()?;
    let mut server = Server(child);
    let started = Instant::now();
    loop {
        if let Some(status) = server.0.try_wait()? {
            bail!("gantry serve ended: {status}");
        }
        if let Ok(client) = Client::new(&data)
            && client.hub(Method::GET, "/statistics/devices", None).await.is_ok()
        {
            return Ok((server, client));
        }
        anyhow::ensure!(started.elapsed() < START_TIMEOUT, "gantry serve did not become ready");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// API key of a token server under measurement.
pub(super) const TOKEN_KEY: &str = "bench";

/// Where a token server under measurement is.
pub(super) struct TokenServer {
    /// Where tokens are asked for.
    pub(super) url: String,
    /// Certificate of its authority.
    pub(super) ca_file: PathBuf,
}

/// Starts a token server that signs for `hub.example` and bounds nothing; its audit log is a file.
pub(super) fn start_token_server(folder: &Path) -> anyhow::Result<(Server, TokenServer)> {
    let hash = gantry_tokens::hash_api_key(TOKEN_KEY);
    let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    let audit = serde_json::json!(folder.join("audit"));
    let config = format!(
        "port = 0\nbind = [\"127.0.0.1\"]\n[token_server]\nper_address_per_second = 0\nper_identity_per_minute = 0\n\
         total_per_second = 0\naudit_log = {audit}\n\
         [[token_server.api_keys]]\nname = \"bench\"\nsha256 = \"{hash}\"\nidentities = [\"bench-*\"]\n"
    );
    let path = folder.join("token-server.toml");
    std::fs::write(&path, config)?;
    let key =
        "HostName=hub.example;SharedAccessKeyName=device;SharedAccessKey=AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let mut child = Command::new(std::env::current_exe()?)
        .args(["token-server", "--json"])
        .env("GANTRY_CONFIG", &path)
        .env("GANTRY_DATA", folder.join("tokens"))
        .env("GANTRY_TOKEN_HUB_PRIMARY", key)
        .env("GANTRY_LOG", "warn")
        .stdout(Stdio::piped())
        .spawn()?;
    let stdout = child.stdout.take().context("stdout")?;
    let server = Server(child);
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    let ready: serde_json::Value = serde_json::from_str(&line).context("gantry token-server did not start")?;
    let text = |name: &str| ready[name].as_str().map(str::to_owned).context("the line it starts with");
    Ok((server, TokenServer { url: text("url")?, ca_file: text("caFile")?.into() }))
}

/// Mosquitto and how it is reached.
pub(super) struct Mosquitto {
    pub(super) server: Server,
    pub(super) plain: Target,
    pub(super) tls: Target,
}

/// Starts Mosquitto with the certificate of a platform that ran in the folder.
pub(super) async fn start_mosquitto(folder: &Path) -> anyhow::Result<Mosquitto> {
    let config = folder.join("mosquitto.conf");
    let tls = folder.join("data/tls");
    let file = |name: &str| tls.join(name).display().to_string();
    std::fs::write(
        &config,
        format!(
            "per_listener_settings false\nuser root\nallow_anonymous true\nmax_inflight_messages 0\nmax_queued_messages 0\n\
             listener {MOSQUITTO_PORT} 127.0.0.1\n\
             listener {MOSQUITTO_TLS_PORT} 127.0.0.1\ncertfile {}\nkeyfile {}\n",
            file("server.pem"),
            file("server.key"),
        ),
    )?;
    let binary = ["/usr/sbin/mosquitto", "/usr/bin/mosquitto"].iter().map(PathBuf::from).find(|path| path.exists());
    let binary = binary.context("mosquitto is not installed (apt-get install mosquitto), or use --no-peer")?;
    let child = Command::new(binary).arg("-c").arg(&config).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let server = Server(child);
    let started = Instant::now();
    while tokio::net::TcpStream::connect(("127.0.0.1", MOSQUITTO_TLS_PORT)).await.is_err() {
        anyhow::ensure!(started.elapsed() < START_TIMEOUT, "mosquitto did not become ready");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(Mosquitto {
        server,
        plain: Target { host: "127.0.0.1".into(), port: MOSQUITTO_PORT, tls: None },
        tls: Target {
            host: "localhost".into(),
            port: MOSQUITTO_TLS_PORT,
            tls: Some(trust(&std::fs::read(tls.join("ca.pem"))?)?),
        },
    })
}
