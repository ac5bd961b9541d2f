//! One hub of the process and everything that is its own: store, event log, blobs, application, and what they need
//! done in the background. Several live side by side and share the listeners.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use gantry_analytics::Warehouse;
use gantry_analytics_api::kusto::Queues;
use gantry_analytics_api::postgres::Postgres;
use gantry_api::blob::BlobService;
use gantry_api::{Api, Files, History, ServiceLines, SignIn, StreamingJobs, WallClock};
use gantry_blobs::Blobs;
use gantry_central::Central;
use gantry_gateway::Gateway;
use gantry_hub::device::IfMatch;
use gantry_hub::file_uploads::FileUploads;
use gantry_hub::import_export::{ImportExport, Outside};
use gantry_hub::ports::{Audit, Checkpoints, Entropy, EventSource, RefusedAccess, Store};
use gantry_hub::{Hub, HubConfig, Ports};
use gantry_identity::Identity;
use gantry_monitoring::Monitoring;
use gantry_monitoring::dashboards::Dashboards;
use gantry_provisioning::Instances;
use gantry_storage::{Database, Events, LogConfig};
use metrics_exporter_prometheus::PrometheusHandle;
use rand::RngCore as _;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tracing::{info, warn};

use crate::amqp::Amqp;
use crate::application::{self, Observers, Uploads};
use crate::audit_log::FileLog;
use crate::blobs;
use crate::config::Config;
use crate::directory::Directory;
use crate::exports::{self, Exports};
use crate::first_start::{self, Secrets};
use crate::follow::Checkpoint;
use crate::graph;
use crate::https::{Heads, Https, Tables, Twins};
use crate::management;
use crate::model_repository::Models;
use crate::processing::{self, Processing};
use crate::registry;
use crate::routing;
use crate::sign_in;
use crate::simulated;
use crate::streaming::Jobs;
use crate::tables::HubTables;
use crate::token_server;

/// How often queues are looked after.
const TENDING_PERIOD: Duration = Duration::from_secs(1);
/// How often retention is applied.
const RETENTION_PERIOD: Duration = Duration::from_secs(60);
/// Pause after reports could not be relayed.
const RELAY_PAUSE: Duration = Duration::from_secs(1);

/// The system's random bytes.
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, buffer: &mut [u8]) {
        rand::rng().fill_bytes(buffer);
    }
}

/// Refused access: counted, logged and taken by the application.
pub struct CountedAudit(Arc<Monitoring>);

impl Audit for CountedAudit {
    fn refused(&self, event: RefusedAccess) {
        metrics::counter!("gantry_refused_access_total").increment(1);
        // The same refusal again within a minute is counted, not logged.
        if self.0.note_refusal(&event) {
            info!(claimed = %event.claimed, peer = %event.peer, operation = event.operation, reason = %event.reason, "access refused");
        }
    }
}

/// One hub and what is its own.
pub struct Unit {
    /// The configuration, as it is for this hub.
    pub config: Config,
    /// The hub.
    pub hub: Arc<Hub>,
    /// Its store.
    pub database: Arc<Database>,
    /// Its keys.
    pub secrets: Secrets,
    /// Where refused access goes.
    pub audit: Arc<CountedAudit>,
    /// What was changed, by whom.
    log: Arc<FileLog>,
    events: Arc<Events>,
    blobs: Arc<Blobs>,
    monitoring: Arc<Monitoring>,
    /// Of monitoring.
    checkpoints: Vec<Checkpoint>,
    /// The application.
    central: Arc<Central>,
    /// Devices that announce models, until somebody takes them.
    models: parking_lot::Mutex<Option<mpsc::Receiver<Identity>>>,
}

/// How a hub is reached, and its work in the background.
pub struct Running {
    /// AMQP.
    pub amqp: Amqp,
    /// HTTPS.
    pub https: Https,
    /// PostgreSQL.
    pub postgres: Postgres,
    work: Vec<JoinHandle<()>>,
}

impl Running {
    /// Waits until the work, told to stop, has ended.
    pub async fn ended(self) {
        for work in self.work {
            let _ = work.await;
        }
    }
}

impl Unit {
    /// Opens what is the hub's own.
    ///
    /// # Errors
    /// When it cannot be opened; says what is in the way.
    pub async fn open(config: Config) -> anyhow::Result<Self> {
        let database = Database::open(&config.data_folder)?;
        let mut secrets = first_start::secrets(&database).await?;
        let mut log_config = LogConfig::new(config.data_folder.join("events"), config.hub.partitions);
        log_config.retention = Some(Duration::from_secs(config.hub.retention_hours * 3600));
        log_config.retention_bytes = Some(config.hub.retention_mib << 20);
        log_config.tail_bytes_max = config.memory.tail_mib << 20;
        log_config.pending_bytes_max = config.memory.pending_mib << 20;
        let events = Arc::new(Events::open(log_config).context("opening the event log")?);
        let (monitoring, checkpoints) =
            processing::restore(&database, events.partitions(), events.clone(), config.memory.points_max).await?;
        let store = Arc::new(database);
        let audit = Arc::new(CountedAudit(Arc::clone(&monitoring)));
        let (central, text) = application::open(&store, &secrets.application).await?;
        secrets.application.token_text = text;
        let (observers, models) = Observers::new(Arc::clone(&monitoring));
        let hub_config = HubConfig {
            name: config.hub.name.clone(),
            host_names: config.hub.host_names.clone(),
            policies: secrets.hub_policies.clone(),
            messaging: config.messaging(),
            disabled: config.hub.disabled_tokens(),
            edition: config.hub.edition()?,
            allow_faults: config.hub.allow_faults,
            consumer_groups: config.hub.consumer_groups.clone(),
        };
        let ports = Ports {
            store: Arc::<Database>::clone(&store),
            documents: Arc::<Database>::clone(&store),
            log: Arc::<Events>::clone(&events),
            entropy: Arc::new(SystemEntropy),
            audit: Arc::<CountedAudit>::clone(&audit),
            observer: Arc::new(observers),
        };
        let hub = Arc::new(Hub::new(hub_config, ports).await?);
        // With the keys of the last roll.
        secrets.hub_policies = (*hub.policies()).clone();
        if let Some(routing) = &config.hub.routing
            && hub.routing().0 != *routing
        {
            hub.put_routing(gantry_gateway::now(), routing.clone(), &IfMatch::Any).await.context("[hub.routing]")?;
        }
        let blobs = blobs::open(&config, secrets.storage.clone(), Arc::<Database>::clone(&store))?;
        let models = parking_lot::Mutex::new(Some(models));
        let (folder, documents) = (config.data_folder.join("audit"), Arc::<Database>::clone(&store));
        let log = FileLog::open(&folder, secrets.audit.clone(), config.audit.keep_mib << 20, documents).await;
        let log = Arc::new(log.context("opening the audit log")?);
        Ok(Self {
            log,
            config,
            events,
            hub,
            blobs,
            monitoring,
            checkpoints,
            central,
            models,
            database: store,
            secrets,
            audit,
        })
    }

    /// Starts the work in the background, on those threads what follows the log, and makes the ways to reach the hub.
    ///
    /// # Errors
    /// When something it needs cannot be read.
    #[expect(clippy::too_many_arguments, reason = "what a hub of the process is given once")]
    pub async fn start(
        &self,
        gateway: Gateway,
        link: Option<&str>,
        metrics: PrometheusHandle,
        directory: Option<&Directory>,
        stopped: watch::Receiver<bool>,
        tasks: &mut JoinSet<()>,
        background: &Handle,
    ) -> anyhow::Result<Running> {
        let takes_tokens = directory.map(|directory| directory.of_hub(self));
        let containers = blobs::SignedContainers { blobs: Arc::clone(&self.blobs), hub: Arc::clone(&self.hub) };
        let graph = graph::OfHub::open(&self.config, &self.hub, &self.database, containers).await;
        let graph = Arc::new(graph.context("reading the digital-twin graph")?);
        let tables = self.tables(&graph)?;
        let jobs = self.jobs(&tables.warehouse)?;
        let told = (Arc::clone(&tables.history), jobs.told());
        let sign_in = sign_in::open(&self.config, Arc::<Database>::clone(&self.database)).await?;
        if let Some(link) = link {
            sign_in.add_link(link, gantry_gateway::now());
        }
        let uploads = self.uploads().await?;
        let api = self.api(gateway.provisioning.clone(), Arc::new(sign_in), told, uploads.files()).await?;
        let api = Api { directory: takes_tokens.clone(), ..api };
        let processing = Processing::new(
            &self.config,
            Arc::clone(&self.monitoring),
            self.checkpoints.clone(),
            Arc::clone(&self.database),
            Arc::<Events>::clone(&self.events),
            Arc::clone(&self.hub),
        )?;
        let dispatch = {
            let (events, checkpoints) = (Arc::<Events>::clone(&self.events), Arc::<Events>::clone(&self.events));
            let (hub, blobs) = (Arc::clone(&self.hub), Arc::clone(&self.blobs));
            routing::Dispatch::new(&self.config, hub, events, checkpoints, blobs)?
        };
        let mut work = vec![
            background.spawn(processing.run(stopped.clone())),
            background.spawn(dispatch.run(stopped.clone())),
            tokio::spawn(registry::run(Arc::clone(&self.hub), stopped.clone())),
            background.spawn(jobs.run(stopped.clone())),
            tokio::spawn(simulated::run(Arc::clone(&self.hub), Arc::clone(&self.central), stopped.clone())),
        ];
        tasks.spawn(retain(Arc::clone(&self.events)));
        tasks.spawn(relay(Arc::clone(&self.database), Arc::clone(&self.events)));
        tasks.spawn(tend(Arc::clone(&self.hub)));
        tasks.spawn(blobs::maintain(Arc::clone(&self.blobs)));
        let events = Arc::<Events>::clone(&self.events);
        let directory_of_amqp = takes_tokens.clone();
        let amqp =
            Amqp::new(&self.config, &self.hub, &gateway.provisioning, events, directory_of_amqp, stopped.clone());
        let blobs = BlobService { blobs: Arc::clone(&self.blobs), hub: Arc::clone(&self.hub), directory: takes_tokens };
        let tokens = token_server::role(&self.config, &self.hub).context("[token_server]")?;
        tasks.spawn_on(tables.upkeep(), background);
        tasks.spawn_on(tables.cooling(), background);
        let (api, warehouse) = (Arc::new(api), tables.warehouse);
        let flight = self.config.flight().map(|head| head(Arc::clone(&api), Arc::clone(&warehouse)));
        let postgres = Postgres::new(Arc::clone(&api), Arc::clone(&warehouse));
        let queues = Queues::new(Arc::clone(&self.blobs));
        queues.prepare().await.context("making the containers of ingestion")?;
        tasks.spawn(Arc::clone(&queues).run(Arc::clone(&warehouse)));
        tasks.spawn_on(crate::tables::export(Arc::clone(&warehouse)), background);
        let exports = self.exports()?;
        work.push(background.spawn(Arc::clone(&exports).run(stopped.clone())));
        let application = application::of(
            &self.secrets.application,
            Arc::clone(&self.central),
            Arc::clone(&api),
            Arc::clone(&warehouse),
            &exports,
            uploads,
        );
        let application = Arc::new(application);
        let models = Models::new(&self.config.models, Arc::clone(&graph.graph)).context("[models]")?;
        let repository = Arc::new(models);
        if let Some(models) = self.models.lock().take() {
            tasks.spawn(application::adopt(Arc::clone(&application), Arc::clone(&repository), models));
        }
        if self.config.graph.follow_devices {
            let events = Arc::<Events>::clone(&self.events);
            work.push(tokio::spawn(Arc::clone(&graph).follow(events, stopped.clone())));
        }
        work.push(tokio::spawn(gantry_central_api::work(Arc::clone(&application), stopped.clone())));
        let central = gantry_central_api::routes(application);
        let management =
            management::open(self, &gateway, Arc::clone(&api)).await.context("reading the control plane")?;
        let directory = directory.map(|directory| directory.routes(&api, self)).unwrap_or_default();
        let mut twins = graph.routes(Arc::clone(&api));
        if self.config.models.serve {
            twins = twins.merge(gantry_graph_api::repository(repository));
        }
        let graph = Twins { routes: twins, host_names: self.config.graph.host_names.clone().into() };
        let tables = Tables { warehouse, queues, flight };
        let heads = Heads { tables, central, management, directory, graph, blobs, tokens };
        let https = Https::new(api, heads, gateway, amqp.clone(), metrics);
        Ok(Running { amqp, https, postgres, work })
    }

    /// Closes the audit log and the event log.
    ///
    /// # Errors
    /// When it cannot be written to its end.
    pub async fn close(&self) -> anyhow::Result<()> {
        self.log.close().await;
        self.events.close().await.context("closing the event log")
    }

    /// The hub's tables.
    fn tables(&self, graph: &graph::OfHub) -> anyhow::Result<HubTables> {
        let events: Arc<dyn EventSource> = Arc::<Events>::clone(&self.events);
        let store: Arc<dyn Store> = Arc::<Database>::clone(&self.database);
        let folder = self.config.data_folder.join("tables");
        let cold = crate::tables::cold::open(&self.config.tables.cold, &self.config.hub.name);
        let cold = cold.context("[tables.cold]")?;
        let kept = gantry_tables::Folder::open_with(&folder, cold);
        let kept = kept.with_context(|| format!("opening {}", folder.display()))?;
        let (graph, kept) = (&graph.graph, Arc::new(kept));
        Ok(HubTables::new(&events, &self.hub, &store, &self.monitoring, graph, kept, &self.config))
    }

    /// The hub's streaming jobs.
    fn jobs(&self, warehouse: &Arc<Warehouse>) -> anyhow::Result<Jobs> {
        let events: Arc<dyn EventSource> = Arc::<Events>::clone(&self.events);
        let checkpoints: Arc<dyn Checkpoints> = Arc::<Events>::clone(&self.events);
        Jobs::new(&self.config.streaming, &self.hub, &events, &checkpoints, warehouse)
    }

    /// Where devices upload files: where the application says, else where the configuration does.
    async fn uploads(&self) -> anyhow::Result<Arc<Uploads>> {
        let configured = blobs::upload_target(&self.config, &self.blobs)?;
        if let Some(target) = &configured {
            blobs::prepare(target).await?;
        }
        let uploads = FileUploads::new(Arc::<Database>::clone(&self.database), Arc::new(SystemEntropy));
        Ok(Arc::new(Uploads::new(uploads, configured, &self.central)))
    }

    /// The exports of the application.
    fn exports(&self) -> anyhow::Result<Arc<Exports>> {
        Ok(Arc::new(Exports {
            application: self.secrets.application.id.clone(),
            hub: Arc::clone(&self.hub),
            central: Arc::clone(&self.central),
            health: Arc::default(),
            transforms: Arc::new(self.config.transforms()),
            events: Arc::<Events>::clone(&self.events),
            checkpoints: Arc::<Events>::clone(&self.events),
            blobs: Arc::clone(&self.blobs),
            client: exports::client(&self.config)?,
        }))
    }

    /// The HTTP side, with the jobs of the last run settled.
    async fn api(
        &self,
        instances: Instances,
        sign_in: Arc<SignIn>,
        (history, streaming): (Arc<dyn History>, Arc<dyn StreamingJobs>),
        files: Arc<Files>,
    ) -> anyhow::Result<Api> {
        let containers = blobs::SignedContainers { blobs: Arc::clone(&self.blobs), hub: Arc::clone(&self.hub) };
        let outside = Outside {
            documents: Arc::<Database>::clone(&self.database),
            containers: Arc::new(containers),
            lines: Arc::new(ServiceLines),
            clock: Arc::new(WallClock),
        };
        let dashboards = Dashboards::load(Arc::<Database>::clone(&self.database)).await?;
        let import_export = ImportExport::load(Arc::clone(&self.hub), outside).await?;
        import_export.settle().await?;
        Ok(Api {
            hub: Arc::clone(&self.hub),
            provisioning: Arc::clone(instances.own()),
            instances,
            monitoring: Arc::clone(&self.monitoring),
            files,
            import_export,
            sign_in,
            audit: Arc::<FileLog>::clone(&self.log),
            dashboards: Arc::new(dashboards),
            history,
            streaming,
            directory: None,
        })
    }
}

async fn retain(events: Arc<Events>) {
    let mut timer = tokio::time::interval(RETENTION_PERIOD);
    loop {
        timer.tick().await;
        events.retain(gantry_gateway::now()).await;
    }
}

/// Moves events that writes reported into the log.
async fn relay(database: Arc<Database>, events: Arc<Events>) {
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
