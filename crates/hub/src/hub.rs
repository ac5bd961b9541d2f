//! The hub itself: what it is made of. What it does is in the folders.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use gantry_identity::Policies;

use crate::access::{Access, DisabledTokens};
use crate::configurations::Configurations;
use crate::connections::connection::{CloseReason, Connections};
use crate::connections::streams::Streams;
use crate::events::consumer_groups::{self, ConsumerGroup};
use crate::events::reports::{Heard, ReportsMade};
use crate::faults::Faults;
use crate::jobs::Running;
use crate::owned::Owned;
use crate::ports::{Audit, Documents, Entropy, EventSink, Observer, Store, StoreError};
use crate::queues::Queues;
use crate::queues::service_queue::Messaging;
use crate::routing::Routes;
use crate::throttle::{Edition, Throttles};

/// What one hub is called and who may use it.
#[derive(Clone, Debug)]
pub struct HubConfig {
    /// Short name, such as `gantry`.
    pub name: String,
    /// Names the hub answers to; the first one is in connection strings.
    pub host_names: Vec<String>,
    /// Shared access policies, as they are until a key is rolled.
    pub policies: Policies,
    /// Rules of the queues.
    pub messaging: Messaging,
    /// Kinds of token that are refused whoever signed them.
    pub disabled: DisabledTokens,
    /// Edition of the reference service to act like; none is unlimited.
    pub edition: Option<Edition>,
    /// Whether devices may ask for faults in their messages.
    pub allow_faults: bool,
    /// Consumer groups that are always there, beside [`DEFAULT`](crate::consumer_groups::DEFAULT).
    pub consumer_groups: Vec<String>,
}

/// What a hub needs from outside; the traits say what for.
#[derive(Clone)]
#[allow(missing_docs)]
pub struct Ports {
    pub store: Arc<dyn Store>,
    pub documents: Arc<dyn Documents>,
    pub log: Arc<dyn EventSink>,
    pub entropy: Arc<dyn Entropy>,
    pub audit: Arc<dyn Audit>,
    pub observer: Arc<dyn Observer>,
}

/// One hub.
pub struct Hub {
    pub(crate) config: HubConfig,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) log: Arc<dyn EventSink>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) access: Access,
    pub(crate) configurations: Configurations,
    pub(crate) connections: Arc<Connections>,
    pub(crate) consumer_groups: Owned<Vec<ConsumerGroup>>,
    pub(crate) faults: Faults,
    pub(crate) queues: Queues,
    pub(crate) reports_made: ReportsMade,
    pub(crate) reported: AtomicBool,
    pub(crate) heard: Heard,
    pub(crate) routes: Routes,
    pub(crate) running: Running,
    pub(crate) streams: Streams,
    pub(crate) throttles: Option<Throttles>,
}

impl Hub {
    /// A hub over its ports. Reads its settings: the certificate authorities it trusts, configurations, keys, routes.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn new(config: HubConfig, ports: Ports) -> Result<Self, StoreError> {
        let Ports { store, documents, log, entropy, audit, observer } = ports;
        let access = Access::load(&documents, &entropy, audit, config.policies.clone()).await?;
        let configurations = Configurations::load(Arc::clone(&documents)).await?;
        let consumer_groups = consumer_groups::load(Arc::clone(&documents)).await?;
        let throttles = config.edition.map(Throttles::new);
        let routes = Routes::load(documents, &config.name).await?;
        Ok(Self {
            config,
            store,
            log,
            entropy,
            access,
            configurations,
            connections: Arc::new(Connections::new(observer)),
            consumer_groups,
            faults: Faults::default(),
            queues: Queues::default(),
            reports_made: ReportsMade::default(),
            reported: AtomicBool::new(false),
            heard: Heard::default(),
            routes,
            running: Running::default(),
            streams: Streams::default(),
            throttles,
        })
    }

    /// Short name.
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// What it was made with. Policies have the keys of the configuration; see [`policies`](Self::policies).
    pub fn config(&self) -> &HubConfig {
        &self.config
    }

    /// The name in connection strings.
    pub fn host_name(&self) -> &str {
        self.config.host_names.first().map_or("localhost", String::as_str)
    }

    /// Every name clients may connect to.
    pub fn host_names(&self) -> &[String] {
        &self.config.host_names
    }

    /// Whether `host` (with or without port) is a name of this hub.
    pub fn answers_to(&self, host: &str) -> bool {
        self.config.host_names.iter().any(|name| gantry_identity::covers(name, host))
    }

    /// Whether what devices report goes into the log in any case: somebody who follows it wants to know.
    pub fn log_reported(&self, wanted: bool) {
        self.reported.store(wanted, Ordering::Relaxed);
    }

    /// Ends every connection and stream.
    pub fn shut_down(&self) {
        self.streams.close_all();
        self.connections.close_all(CloseReason::ShuttingDown);
    }

    /// Resolves when the log has room for more events.
    pub async fn ready(&self) {
        self.log.ready().await;
    }

    pub(crate) fn random_id(&self) -> u64 {
        let mut bytes = [0; 8];
        self.entropy.fill(&mut bytes);
        u64::from_be_bytes(bytes)
    }
}
