//! `gantry serve`: opens stores, binds listeners, serves until told to stop.

use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use gantry_api::Sessions;
use gantry_gateway::{Gateway, Peer};
use gantry_provisioning::{Instances, Service};
use metrics_exporter_prometheus::PrometheusBuilder;
use rand::RngCore as _;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::rustls::ServerConfig;
use tracing::{info, warn};

use crate::by_name::ByName;
use crate::config::Config;
use crate::first_start::{self, Certificates, Connections};
use crate::listen::{self, Bounds, Serve, Stream};
use crate::provisioning;
use crate::unit::Unit;

struct Listeners {
    mqtt: Vec<TcpListener>,
    amqp: Vec<TcpListener>,
    https: Vec<TcpListener>,
    https_port: u16,
}

/// Runs until SIGTERM or SIGINT. Says that it is ready on standard output, as JSON when asked.
///
/// # Errors
/// When the platform cannot start; says what is in the way.
pub async fn run(config: Config, json: bool) -> anyhow::Result<()> {
    // Nothing this process writes is for other users.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    first_start::open_folder(&config.data_folder)?;
    let certificates = first_start::certificates(&config.data_folder, &config.hub.name, &config.all_host_names())?;
    let mut units = vec![];
    for config in config.each_hub() {
        first_start::open_folder(&config.data_folder)?;
        let named = format!("hub {}", config.hub.name);
        units.push(Unit::open(config).await.context(named)?);
    }
    let main = units.first().context("no hub")?;
    let mut instances = vec![];
    for unit in &units {
        instances.push(provisioning::open(unit, &units).await?);
    }
    let listeners = bind(&config)?;
    let connections = Connections::new(&config, &main.secrets, listeners.https_port)?;
    connections.write(&config.data_folder)?;
    for unit in units.iter().skip(1) {
        Connections::new(&unit.config, &unit.secrets, listeners.https_port)?.write(&unit.config.data_folder)?;
    }
    serve(&config, units, instances.into(), listeners, &certificates, &connections, json).await
}

fn bind(config: &Config) -> anyhow::Result<Listeners> {
    let bind = |port: u16| listen::bind(&config.bind, port).with_context(|| format!("listening on port {port}"));
    let (mqtt, amqp) = (bind(config.ports.mqtt())?, bind(config.ports.amqp())?);
    let first = config.ports.https();
    let (https, https_port) = match (listen::bind(&config.bind, first), config.ports.https_fallback()) {
        (Ok(listeners), _) => (listeners, first),
        (Err(error), Some(fallback)) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            warn!(
                "port {first} may not be bound by this user; using {fallback}. SDKs over WebSocket or HTTPS need 443"
            );
            (bind(fallback)?, fallback)
        }
        (Err(error), _) => return Err(error).with_context(|| format!("listening on port {first}")),
    };
    Ok(Listeners { mqtt, amqp, https, https_port })
}

#[derive(Clone)]
struct Mqtt(Gateway);

impl Serve for Mqtt {
    async fn serve(self, stream: Stream, peer: Peer) {
        gantry_gateway::mqtt::serve(stream, self.0, peer).await;
    }
}

async fn serve(
    config: &Config,
    units: Vec<Unit>,
    instances: Arc<[Arc<Service>]>,
    listeners: Listeners,
    certificates: &Certificates,
    connections: &Connections,
    json: bool,
) -> anyhow::Result<()> {
    let metrics = PrometheusBuilder::new().install_recorder().map_err(|error| anyhow!("metrics: {error}"))?;
    let tls = |alpn: &[&[u8]]| {
        gantry_gateway::tls::server_config(certificates.chain.clone(), certificates.key.clone_key(), alpn)
    };
    let (plain, web) = (tls(&[])?, tls(&[b"h2", b"http/1.1"])?);
    let limits = config.limits;
    let bounds = Bounds::new(config.hub.ip_filter.clone().into(), limits.connections_max, limits.newcomers_max);
    let link = sign_in_token();
    let (stop, stopped) = watch::channel(false);
    let mut tasks = JoinSet::new();
    let hubs: Vec<_> = units.iter().map(|unit| Arc::clone(&unit.hub)).collect();
    let (mut mqtt, mut amqp, mut https, mut running) = (None, ByName::default(), ByName::default(), vec![]);
    for (number, (unit, own)) in units.iter().zip(instances.iter()).enumerate() {
        let provisioning = Instances::new(Arc::clone(own), Arc::clone(&instances));
        let gateway = Gateway::new(Arc::clone(&unit.hub), &hubs, provisioning);
        mqtt.get_or_insert_with(|| gateway.clone());
        let sessions = Arc::new(Sessions::default());
        if number == 0 {
            sessions.add_link(link.clone(), gantry_gateway::now()).await;
        }
        let started =
            unit.start(gateway, sessions, metrics.clone(), listeners.https_port, stopped.clone(), &mut tasks).await?;
        amqp.add(&unit.config.hub.host_names, started.amqp.clone());
        https.add(&unit.config.hub.host_names, started.https.clone());
        running.push(started);
    }
    let mqtt = mqtt.context("no hub")?;
    accept_on(&mut tasks, listeners.mqtt, &plain, &bounds, &Mqtt(mqtt.clone()));
    accept_on(&mut tasks, listeners.amqp, &plain, &bounds, &amqp);
    accept_on(&mut tasks, listeners.https, &web, &bounds, &https);
    if let Some(port) = config.bench_plain_port {
        warn!(port, "MQTT without TLS on loopback, for the bench only");
        let listener = TcpListener::bind(("127.0.0.1", port)).await.context("binding the bench's plain port")?;
        tasks.spawn(accept_plain(listener, mqtt));
    }
    for service in instances.iter() {
        tasks.spawn(provisioning::maintain(Arc::clone(service)));
    }
    announce(config, connections, &link, json);
    wait_for_signal().await?;
    info!("stopping");
    tasks.shutdown().await;
    for unit in &units {
        unit.hub.shut_down();
    }
    stop.send_replace(true);
    bounds.drain().await;
    for started in running {
        started.ended().await;
    }
    for unit in &units {
        unit.close().await?;
    }
    info!("stopped");
    Ok(())
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

fn announce(config: &Config, connections: &Connections, link: &str, json: bool) {
    let value = |name: &str| connections.variables.iter().find(|(n, _)| *n == name).map_or("", |(_, v)| v);
    let secrets = config.data_folder.join("connection.env");
    if json {
        let ready = serde_json::json!({
            "version": env!("CARGO_PKG_VERSION"),
            "url": value("GANTRY_URL"),
            "signIn": format!("{}/#signin={link}", value("GANTRY_URL")),
            "hostName": value("IOTHUB_HOSTNAME"),
            "mqttPort": config.ports.mqtt(),
            "amqpPort": config.ports.amqp(),
            "idScope": value("PROVISIONING_IDSCOPE"),
            "caFile": value("GANTRY_CA_FILE"),
            "connectionEnv": secrets,
        });
        println!("{ready}");
        return;
    }
    println!("gantry {} is ready", env!("CARGO_PKG_VERSION"));
    println!("  page      {}", value("GANTRY_URL"));
    println!("  sign in   {}/#signin={link}", value("GANTRY_URL"));
    println!("  hub       {} (MQTT {}, AMQP {})", value("IOTHUB_HOSTNAME"), config.ports.mqtt(), config.ports.amqp());
    println!("  id scope  {}", value("PROVISIONING_IDSCOPE"));
    println!("  CA        {}", value("GANTRY_CA_FILE"));
    println!("  secrets   source {}", secrets.display());
}

async fn wait_for_signal() -> anyhow::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
