//! `gantry serve`: opens stores, binds listeners, serves until told to stop.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use gantry_api::blob::BlobService;
use gantry_api::{Api, ImportExport, Sessions};
use gantry_blobs::Blobs;
use gantry_central::Central;
use gantry_eventlog::Log;
use gantry_gateway::{Gateway, Peer};
use gantry_hub::authorities::Authorities;
use gantry_hub::device::IfMatch;
use gantry_hub::ports::{Audit, Entropy, RefusedAccess};
use gantry_hub::{Hub, HubConfig, Ports};
use gantry_provisioning::{DPS_COLLECTION, IdScope, LinkedHub, Service, ServiceConfig};
use gantry_storage::{Database, Events};
use metrics_exporter_prometheus::PrometheusBuilder;
use rand::RngCore as _;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tracing::{info, warn};

use crate::amqp::Amqp;
use crate::blobs;
use crate::config::Config;
use crate::first_start::{self, Certificates, Connections, Secrets};
use crate::https::Https;
use crate::listen::{self, Bounds, Serve, Stream};
use crate::processing::{self, Processing};
use crate::registry;
use crate::routing;

/// How often queues are looked after.
const TENDING_PERIOD: Duration = Duration::from_secs(1);
/// How often retention is applied.
const RETENTION_PERIOD: Duration = Duration::from_secs(60);
/// Pause after reports could not be relayed.
const RELAY_PAUSE: Duration = Duration::from_secs(1);
/// How long connections may take to end at shutdown.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(3);

/// The system's random bytes.
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, buffer: &mut [u8]) {
        rand::rng().fill_bytes(buffer);
    }
}

/// Refused access: counted, logged and taken by the application.
struct CountedAudit(Arc<Central>);

impl Audit for CountedAudit {
    fn refused(&self, event: RefusedAccess) {
        metrics::counter!("gantry_refused_access_total").increment(1);
        // The same refusal again within a minute is counted, not logged.
        if self.0.note_refusal(&event) {
            info!(claimed = %event.claimed, peer = %event.peer, operation = event.operation, reason = %event.reason, "access refused");
        }
    }
}

/// Everything that runs, before its listeners accept.
struct Platform {
    events: Events,
    hub: Arc<Hub>,
    blobs: Arc<Blobs>,
    provisioning: Arc<Service>,
    central: Arc<Central>,
    database: Arc<Database>,
    secrets: Secrets,
}

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
    raise_file_limit();
    first_start::open_folder(&config.data_folder)?;
    let certificates = first_start::certificates(&config)?;
    let platform = build(&config).await?;
    let listeners = bind(&config)?;
    let connections = Connections::new(&config, &platform.secrets, listeners.https_port)?;
    connections.write(&config.data_folder)?;
    serve(&config, platform, listeners, &certificates, &connections, json).await
}

/// A connection is a file: takes as many as the system allows.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }) {
        warn!(%error, "limit of open files not raised");
    }
}

async fn build(config: &Config) -> anyhow::Result<Platform> {
    let database = Database::open(&config.data_folder)?;
    let secrets = first_start::secrets(&database).await?;
    let mut log_config = gantry_eventlog::Config::new(config.data_folder.join("events"), config.hub.partitions);
    log_config.retention = Some(Duration::from_secs(config.hub.retention_hours * 3600));
    log_config.retention_bytes = Some(config.hub.retention_mib << 20);
    let (log, recovery) = Log::open(log_config).context("opening the event log")?;
    info!(?recovery, "event log open");
    let events = Events::new(Arc::new(log));
    let central = processing::restore(&database, &events)?;
    let (store, entropy) = (Arc::new(database), Arc::new(SystemEntropy));
    let audit = Arc::new(CountedAudit(Arc::clone(&central)));
    let hub_config = HubConfig {
        name: config.hub.name.clone(),
        host_names: config.hub.host_names.clone(),
        policies: secrets.hub_policies.clone(),
        messaging: config.messaging(),
        disabled: config.hub.disabled_tokens(),
        edition: config.hub.edition()?,
        allow_faults: config.hub.allow_faults,
    };
    let ports = Ports {
        store: Arc::<Database>::clone(&store),
        documents: Arc::<Database>::clone(&store),
        log: Arc::new(events.clone()),
        entropy: Arc::<SystemEntropy>::clone(&entropy),
        audit: Arc::<CountedAudit>::clone(&audit),
    };
    let hub = Arc::new(Hub::new(hub_config, ports)?);
    if let Some(routing) = &config.hub.routing
        && hub.routing().0 != *routing
    {
        hub.put_routing(gantry_gateway::now(), routing.clone(), &IfMatch::Any).await.context("[hub.routing]")?;
    }
    let linked = LinkedHub { host_name: hub.host_name().to_owned(), hub: Arc::clone(&hub) };
    let dps_config = ServiceConfig {
        id_scope: IdScope::new(&secrets.id_scope),
        host_names: config.hub.host_names.clone(),
        policies: secrets.dps_policies.clone(),
    };
    let documents = Arc::<Database>::clone(&store);
    let authorities = Authorities::load(documents, Arc::<SystemEntropy>::clone(&entropy), DPS_COLLECTION)?;
    let dps_store = Arc::<Database>::clone(&store);
    let provisioning = Arc::new(Service::new(dps_config, dps_store, vec![linked], entropy, audit, authorities));
    let blobs = blobs::open(config, secrets.storage.clone(), Arc::<Database>::clone(&store))?;
    Ok(Platform { events, hub, blobs, provisioning, central, database: store, secrets })
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
    platform: Platform,
    listeners: Listeners,
    certificates: &Certificates,
    connections: &Connections,
    json: bool,
) -> anyhow::Result<()> {
    let metrics = PrometheusBuilder::new().install_recorder().map_err(|error| anyhow!("metrics: {error}"))?;
    let tls = |alpn: &[&[u8]]| {
        gantry_gateway::tls::server_config(certificates.chain.clone(), certificates.key.clone_key(), alpn)
    };
    let (plain, web) = (TlsAcceptor::from(tls(&[])?), TlsAcceptor::from(tls(&[b"h2", b"http/1.1"])?));
    let bounds = Bounds {
        ip_filter: config.hub.ip_filter.clone().into(),
        connections: Arc::new(Semaphore::new(config.limits.connections_max)),
        handshakes: Arc::new(Semaphore::new(config.limits.handshakes_max)),
    };
    let gateway = Gateway { hub: Arc::clone(&platform.hub), provisioning: Arc::clone(&platform.provisioning) };
    let sessions = Arc::new(Sessions::default());
    let link = sign_in_token();
    sessions.add_link(link.clone(), gantry_gateway::now()).await;
    let api = api(config, &platform, sessions).await?;
    let (stop, stopped) = watch::channel(false);
    let processing = Processing::new(
        config,
        Arc::clone(&platform.central),
        Arc::clone(&platform.database),
        platform.events.clone(),
        Arc::clone(&platform.hub),
    )?;
    let processing = tokio::spawn(processing.run(stopped.clone()));
    let dispatch = {
        let blobs = Arc::clone(&platform.blobs);
        routing::Dispatch::new(config, Arc::clone(&platform.hub), platform.events.clone(), blobs)?
    };
    let dispatch = tokio::spawn(dispatch.run(stopped.clone()));
    let registry = tokio::spawn(registry::run(Arc::clone(&platform.hub), stopped.clone()));
    let amqp = Amqp::new(config, &platform.hub, platform.events.clone(), stopped);
    let blobs = BlobService { blobs: Arc::clone(&platform.blobs), hub: Arc::clone(&platform.hub) };
    let https = Https::new(api, blobs, gateway.clone(), amqp.clone(), metrics);
    let mut tasks = JoinSet::new();
    accept_on(&mut tasks, listeners.mqtt, &plain, &bounds, &Mqtt(gateway.clone()));
    accept_on(&mut tasks, listeners.amqp, &plain, &bounds, &amqp);
    accept_on(&mut tasks, listeners.https, &web, &bounds, &https);
    if let Some(port) = config.bench_plain_port {
        warn!(port, "MQTT without TLS on loopback, for the bench only");
        let listener = TcpListener::bind(("127.0.0.1", port)).await.context("binding the bench's plain port")?;
        tasks.spawn(accept_plain(listener, gateway.clone()));
    }
    tasks.spawn(retain(platform.events.clone()));
    tasks.spawn(relay(Arc::clone(&platform.database), platform.events.clone()));
    tasks.spawn(tend(Arc::clone(&platform.hub)));
    tasks.spawn(blobs::maintain(Arc::clone(&platform.blobs)));
    announce(config, connections, &link, json);
    wait_for_signal().await?;
    info!("stopping");
    tasks.shutdown().await;
    platform.hub.shut_down();
    stop.send_replace(true);
    drain(&bounds, config.limits.connections_max).await;
    let _ = tokio::join!(processing, registry, dispatch);
    platform.events.log().close().await.context("closing the event log")?;
    info!("stopped");
    Ok(())
}

/// The HTTP side, with the jobs of the last run settled.
async fn api(config: &Config, platform: &Platform, sessions: Arc<Sessions>) -> anyhow::Result<Api> {
    let files = blobs::files(config, &platform.blobs, &platform.database)?;
    if let Some(files) = &files {
        blobs::prepare(files).await?;
    }
    let containers = blobs::SignedContainers { blobs: Arc::clone(&platform.blobs), hub: Arc::clone(&platform.hub) };
    let import_export = ImportExport::load(
        Arc::clone(&platform.hub),
        Arc::clone(&platform.central),
        Arc::<Database>::clone(&platform.database),
        Arc::new(containers),
    )?;
    import_export.settle().await?;
    Ok(Api {
        hub: Arc::clone(&platform.hub),
        provisioning: Arc::clone(&platform.provisioning),
        central: Arc::clone(&platform.central),
        files,
        import_export,
        sessions,
    })
}

/// Accepts connections of a service on every listener of its port.
fn accept_on(
    tasks: &mut JoinSet<()>,
    listeners: Vec<TcpListener>,
    acceptor: &TlsAcceptor,
    bounds: &Bounds,
    service: &impl Serve,
) {
    for listener in listeners {
        tasks.spawn(listen::accept(listener, acceptor.clone(), bounds.clone(), service.clone()));
    }
}

/// The bench's listener: what the other one does, less TLS.
async fn accept_plain(listener: TcpListener, gateway: Gateway) {
    while let Ok((socket, address)) = listener.accept().await {
        let peer = Peer { address: address.to_string(), certificate: None };
        if socket.set_nodelay(true).is_ok() {
            tokio::spawn(gantry_gateway::mqtt::serve(socket, gateway.clone(), peer));
        }
    }
}

async fn retain(events: Events) {
    let mut timer = tokio::time::interval(RETENTION_PERIOD);
    loop {
        timer.tick().await;
        let now = u64::try_from(gantry_gateway::now().as_millis()).unwrap_or(0);
        let log = Arc::clone(events.log());
        let dropped = tokio::task::spawn_blocking(move || log.apply_retention(now)).await;
        if let Ok(dropped) = dropped
            && dropped.segments > 0
        {
            info!(segments = dropped.segments, bytes = dropped.bytes, "retention dropped events");
        }
    }
}

/// Moves events that writes reported into the log.
async fn relay(database: Arc<Database>, events: Events) {
    loop {
        match database.relay(&events).await {
            Ok(true) => {}
            Ok(false) => database.reports_waiting().await,
            Err(error) => {
                warn!(%error, "reports are not relayed yet");
                tokio::time::sleep(RELAY_PAUSE).await;
            }
        }
    }
}

/// Queues in time: expiry, locks, batches of feedback.
async fn tend(hub: Arc<gantry_hub::Hub>) {
    let mut timer = tokio::time::interval(TENDING_PERIOD);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut failing = false;
    loop {
        tokio::select! {
            _ = timer.tick() => {}
            () = hub.tending_due() => {}
        }
        match hub.tend(gantry_gateway::now()).await {
            Err(error) if !std::mem::replace(&mut failing, true) => warn!(%error, "queues are not tended"),
            Err(_) => {}
            Ok(()) => failing = false,
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

/// Waits until every connection has ended, but not for ever.
async fn drain(bounds: &Bounds, connections_max: usize) {
    let all = u32::try_from(connections_max).unwrap_or(u32::MAX);
    let _ = tokio::time::timeout(DRAIN_TIMEOUT, bounds.connections.acquire_many(all)).await;
}
