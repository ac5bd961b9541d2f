//! A platform in this process: opens stores, binds listeners, serves until it is stopped. Several may run at once.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use gantry_gateway::{Gateway, Peer};
use gantry_provisioning::{Instances, Service};
use rand::RngCore as _;
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::background::Background;
use crate::by_name::ByName;
use crate::config::{Config, Ports};
use crate::first_start::{self, Certificates, Connections};
use crate::listen::{self, Bounds, Serve, Stream};
use crate::provisioning;
use crate::recorder;
use crate::unit::{Running, Unit};

/// A running platform. Dropped, it ends on its own time and nobody hears how; see [`stop`](Self::stop).
pub struct Platform {
    ready: Ready,
    units: Vec<Unit>,
    running: Vec<Running>,
    /// Listeners and upkeep.
    tasks: JoinSet<()>,
    /// Tells what follows the log to end.
    stop: watch::Sender<bool>,
    bounds: Bounds,
    /// What follows the log runs there.
    _background: Background,
}

/// How a running platform is reached. It cannot be printed: the link signs in.
#[derive(Clone)]
pub struct Ready {
    /// The page and the HTTP side of the main hub.
    pub url: String,
    /// Signs in whoever opens it, once; the token is in its fragment.
    pub sign_in_url: String,
    /// First host name of the main hub.
    pub host_name: String,
    /// The ports that were bound.
    pub ports: Ports,
    /// Id scope of the main hub's provisioning service.
    pub id_scope: String,
    /// Certificate of the private authority, PEM.
    pub ca_file: PathBuf,
    /// Names and keys for programs; see [`first_start`](crate::first_start).
    pub connection_env: PathBuf,
}

impl Ready {
    fn new(connections: &Connections, config: &Config, sign_in: &str) -> Self {
        let value = |name: &str| connections.get(name).to_owned();
        Self {
            url: value("GANTRY_URL"),
            sign_in_url: format!("{}/#signin={sign_in}", value("GANTRY_URL")),
            host_name: value("IOTHUB_HOSTNAME"),
            ports: config.ports,
            id_scope: value("PROVISIONING_IDSCOPE"),
            ca_file: value("GANTRY_CA_FILE").into(),
            connection_env: config.data_folder.join("connection.env"),
        }
    }
}

struct Listeners {
    mqtt: Vec<TcpListener>,
    amqp: Vec<TcpListener>,
    https: Vec<TcpListener>,
    postgres: Vec<TcpListener>,
}

impl Platform {
    /// Starts a platform; when this resolves, it accepts connections. The process must have chosen its cryptography
    /// (`rustls::crypto::CryptoProvider::install_default`).
    ///
    /// # Errors
    /// When it cannot start; says what is in the way.
    pub async fn start(mut config: Config) -> anyhow::Result<Self> {
        first_start::open_folder(&config.data_folder)?;
        let certificates = first_start::certificates(&config.data_folder, &config.hub.name, &config.all_host_names())?;
        let mut units = vec![];
        for config in config.each_hub() {
            first_start::open_folder(&config.data_folder)?;
            let named = format!("hub {}", config.hub.name);
            units.push(Unit::open(config).await.context(named)?);
        }
        let mut instances = vec![];
        for unit in &units {
            instances.push(provisioning::open(unit, &units).await?);
        }
        let (listeners, ports) = bind(&config)?;
        config.ports = ports;
        for unit in &mut units {
            unit.config.ports = ports;
            Connections::new(&unit.config, &unit.secrets)?.write(&unit.config.data_folder)?;
        }
        let main = units.first().context("no hub")?;
        let (connections, link) = (Connections::new(&config, &main.secrets)?, sign_in_token());
        let ready = Ready::new(&connections, &config, &link);
        Self::serve(&config, ready, link, units, instances.into(), listeners, &certificates).await
    }

    /// How it is reached.
    pub fn ready(&self) -> &Ready {
        &self.ready
    }

    async fn serve(
        config: &Config,
        ready: Ready,
        link: String,
        units: Vec<Unit>,
        instances: Arc<[Arc<Service>]>,
        listeners: Listeners,
        certificates: &Certificates,
    ) -> anyhow::Result<Self> {
        let metrics = recorder::installed()?;
        let tls = |alpn: &[&[u8]]| {
            gantry_gateway::tls::server_config(certificates.chain.clone(), certificates.key.clone_key(), alpn)
        };
        let (plain, web) = (tls(&[])?, tls(&[b"h2", b"http/1.1"])?);
        let limits = config.limits;
        let bounds = Bounds::new(config.hub.ip_filter.clone().into(), limits.connections_max, limits.newcomers_max);
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let background = Background::start().context("starting threads")?;
        let hubs: Vec<_> = units.iter().map(|unit| Arc::clone(&unit.hub)).collect();
        let (mut mqtt, mut amqp, mut https, mut running) = (None, ByName::default(), ByName::default(), vec![]);
        let mut postgres = ByName::default();
        for (unit, own) in units.iter().zip(instances.iter()) {
            let provisioning = Instances::new(Arc::clone(own), Arc::clone(&instances));
            let gateway = Gateway::new(Arc::clone(&unit.hub), &hubs, provisioning);
            let own_link = mqtt.is_none().then_some(link.as_str());
            if mqtt.is_none() {
                mqtt = Some(gateway.clone());
            }
            let threads = background.handle();
            let started = unit.start(gateway, own_link, metrics.clone(), stopped.clone(), &mut tasks, &threads).await?;
            amqp.add(&unit.config.hub.host_names, started.amqp.clone());
            https.add(&unit.config.hub.host_names, started.https.clone());
            postgres.add(&unit.config.hub.host_names, started.postgres.clone());
            running.push(started);
        }
        let mqtt = mqtt.context("no hub")?;
        accept_on(&mut tasks, listeners.mqtt, &plain, &bounds, &Mqtt(mqtt.clone()));
        accept_on(&mut tasks, listeners.amqp, &plain, &bounds, &amqp);
        accept_on(&mut tasks, listeners.https, &web, &bounds, &https);
        let sql = tls(&[b"postgresql"])?;
        accept_on(&mut tasks, listeners.postgres, &sql, &bounds, &postgres);
        if let Some(port) = config.bench_plain_port {
            warn!(port, "MQTT without TLS on loopback, for the bench only");
            let listener = TcpListener::bind(("127.0.0.1", port)).await.context("binding the bench's plain port")?;
            tasks.spawn(accept_plain(listener, mqtt));
        }
        for service in instances.iter() {
            tasks.spawn(provisioning::maintain(Arc::clone(service)));
        }
        Ok(Self { ready, units, running, tasks, stop, bounds, _background: background })
    }

    /// Ends connections and work in order, and writes everything to its end.
    ///
    /// # Errors
    /// When an event log cannot be written to its end.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        info!("stopping");
        self.tasks.shutdown().await;
        self.tell();
        self.bounds.drain().await;
        for started in std::mem::take(&mut self.running) {
            started.ended().await;
        }
        for unit in &self.units {
            unit.close().await?;
        }
        info!("stopped");
        Ok(())
    }

    /// Tells connections and work to end.
    fn tell(&self) {
        for unit in &self.units {
            unit.hub.shut_down();
        }
        self.stop.send_replace(true);
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        self.tell();
    }
}

fn bind(config: &Config) -> anyhow::Result<(Listeners, Ports)> {
    let bind = |port: u16| listen::bind(&config.bind, port).with_context(|| format!("listening on port {port}"));
    let (mqtt, amqp) = (bind(config.ports.mqtt())?, bind(config.ports.amqp())?);
    let first = config.ports.https();
    let https = match (listen::bind(&config.bind, first), config.ports.https_fallback()) {
        (Ok(listeners), _) => listeners,
        (Err(error), Some(fallback)) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            warn!(
                "port {first} may not be bound by this user; using {fallback}. SDKs over WebSocket or HTTPS need 443"
            );
            bind(fallback)?
        }
        (Err(error), _) => return Err(error).with_context(|| format!("listening on port {first}")),
    };
    let port = |listeners: &[TcpListener]| {
        let first = listeners.first().context("no listener")?;
        anyhow::Ok(first.local_addr()?.port())
    };
    let postgres = if config.postgres.enabled { bind_postgres(config)? } else { vec![] };
    let sql = if postgres.is_empty() { 0 } else { port(&postgres)? };
    let ports = Ports::bound(port(&mqtt)?, port(&amqp)?, port(&https)?, sql);
    Ok((Listeners { mqtt, amqp, https, postgres }, ports))
}

/// The port of PostgreSQL; where a PostgreSQL has it already, one that is free.
fn bind_postgres(config: &Config) -> anyhow::Result<Vec<TcpListener>> {
    let first = config.ports.postgres();
    match listen::bind(&config.bind, first) {
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse && config.ports.postgres_may_move() => {
            warn!("port {first} is taken, by a PostgreSQL most likely; POSTGRES_URL names another one");
            listen::bind(&config.bind, 0)
        }
        bound => bound,
    }
    .with_context(|| format!("listening on port {first}"))
}

#[derive(Clone)]
struct Mqtt(Gateway);

impl Serve for Mqtt {
    fn serve(self, stream: Stream, peer: Peer) -> impl Future<Output = ()> + Send {
        gantry_gateway::mqtt::serve(stream, self.0, peer)
    }
}

/// Accepts connections of a service on every listener of its port.
fn accept_on(
    tasks: &mut JoinSet<()>,
    listeners: Vec<TcpListener>,
    tls: &Arc<ServerConfig>,
    bounds: &Bounds,
    service: &impl Serve,
) {
    for listener in listeners {
        tasks.spawn(listen::accept(listener, Arc::clone(tls), bounds.clone(), service.clone()));
    }
}

/// The bench's listener: what the other one does, less TLS.
async fn accept_plain(listener: TcpListener, gateway: Gateway) {
    while let Ok((socket, address)) = listener.accept().await {
        let peer = Peer { address: address.to_string(), certificate: None, place: None };
        if socket.set_nodelay(true).is_ok() {
            tokio::spawn(gantry_gateway::mqtt::serve(socket, gateway.clone(), peer));
        }
    }
}

/// A token for one sign-in. It travels in the fragment of a link, which browsers keep to themselves.
fn sign_in_token() -> String {
    let mut bytes = [0; 24];
    rand::rng().fill_bytes(&mut bytes);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tokio::net::TcpStream;

    use super::*;
    use crate::config::Sources;

    async fn start(data: &Path, hub: &str) -> Platform {
        try_start(data, hub).await.unwrap()
    }

    async fn try_start(data: &Path, hub: &str) -> anyhow::Result<Platform> {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let overrides = toml::toml! {
            bind = ["127.0.0.1"]
            hub = {}
            ports = { mqtt = 0, amqp = 0, https = 0, postgres = 0, offset = 7 }
        };
        let mut sources = Sources { file: None, overrides };
        sources.overrides.insert("data_folder".into(), data.to_str().unwrap().into());
        sources.overrides["hub"].as_table_mut().unwrap().insert("name".into(), hub.into());
        Platform::start(Config::load(&sources).unwrap()).await
    }

    async fn get(platform: &Platform, path: &str) -> String {
        let ca = reqwest::Certificate::from_pem(&std::fs::read(&platform.ready().ca_file).unwrap()).unwrap();
        let client = reqwest::Client::builder().tls_certs_only([ca]).build().unwrap();
        let answer = client.get(format!("{}{path}", platform.ready().url)).send().await.unwrap();
        answer.error_for_status().unwrap().text().await.unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn two_platforms_run_in_one_process_on_ports_of_their_own_and_end_in_order() {
        let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (first, second) = (start(folder.path(), "line-1").await, start(other.path(), "line-2").await);
        for platform in [&first, &second] {
            assert_eq!(get(platform, "/healthz").await, "ok\n");
            get(platform, "/metrics").await;
        }
        let (one, two) = (first.ready().clone(), second.ready().clone());
        let ports =
            |ready: &Ready| [ready.ports.mqtt(), ready.ports.amqp(), ready.ports.https(), ready.ports.postgres()];
        let mut all = [ports(&one), ports(&two)].concat();
        all.sort_unstable();
        all.dedup();
        assert!(all.len() == 8 && !all.contains(&0) && !all.contains(&7), "{all:?}");
        let environment = std::fs::read_to_string(&one.connection_env).unwrap();
        assert!(environment.contains(&format!("GANTRY_MQTT_PORT='{}'", one.ports.mqtt())), "{environment}");
        assert_ne!(one.id_scope, two.id_scope);

        first.stop().await.unwrap();
        TcpStream::connect(("127.0.0.1", one.ports.mqtt())).await.unwrap_err();
        TcpStream::connect(("127.0.0.1", two.ports.mqtt())).await.unwrap();
        let again = start(folder.path(), "line-1").await;
        assert_eq!(again.ready().id_scope, one.id_scope);
        again.stop().await.unwrap();
        second.stop().await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_platform_that_is_dropped_ends_and_leaves_its_folder_to_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let first = start(folder.path(), "line-1").await;
        drop(first);
        // Until all that ran for it has let go of it, the folder is in use.
        let next = async {
            loop {
                match try_start(folder.path(), "line-1").await {
                    Ok(again) => return again,
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        };
        let again = tokio::time::timeout(std::time::Duration::from_secs(60), next).await.unwrap();
        again.stop().await.unwrap();
    }
}
