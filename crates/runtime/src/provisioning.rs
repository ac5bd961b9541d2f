//! The provisioning services of the process, one beside each hub, and what they need done in the background.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use gantry_endpoints::{AllocationWebhooks, HubLinker};
use gantry_hub::authorities::Authorities;
use gantry_provisioning::{DPS_COLLECTION, IdScope, LinkedHub, Ports, Service, ServiceConfig};
use gantry_storage::Database;
use tracing::warn;

use crate::unit::{CountedAudit, SystemEntropy, Unit};

/// How often departures are ended and hubs are measured.
const PERIOD: Duration = Duration::from_secs(30);

/// Opens the service over the store of a hub, linked to every hub of the process. That of the main hub spreads devices
/// over all by their weights; another one keeps them at its own hub unless an enrollment names others.
///
/// # Errors
/// When the store cannot be read.
pub async fn open(unit: &Unit, units: &[Unit]) -> anyhow::Result<Arc<Service>> {
    let config = &unit.config;
    let service_config = ServiceConfig {
        id_scope: IdScope::new(&unit.secrets.id_scope),
        host_names: config.hub.host_names.clone(),
        policies: unit.secrets.dps_policies.clone(),
        allocation: config.provisioning.allocation_policy()?,
        limits: config.provisioning.limits()?,
    };
    let entropy = Arc::new(SystemEntropy);
    let documents = Arc::<Database>::clone(&unit.database);
    let authorities = Authorities::load(documents, Arc::<SystemEntropy>::clone(&entropy), DPS_COLLECTION).await?;
    let ca = std::fs::read(config.ca_file())?;
    let client = gantry_endpoints::client(Some(&ca)).map_err(anyhow::Error::msg)?;
    let ports = Ports {
        store: Arc::<Database>::clone(&unit.database),
        linker: Arc::new(HubLinker),
        webhooks: Arc::new(AllocationWebhooks::new(client)),
        entropy,
        audit: Arc::<CountedAudit>::clone(&unit.audit),
    };
    let weight = |other: &Unit| match (unit.config.is_main(), other.hub.name() == unit.hub.name()) {
        (true, _) => other.config.hub.allocation_weight,
        (false, is_own) => u32::from(is_own),
    };
    let own = units.iter().map(|other| LinkedHub::own(Arc::clone(&other.hub), weight(other))).collect();
    let service = Arc::new(Service::new(service_config, ports, own, authorities));
    service.restore_links().await.context("restoring links to hubs")?;
    Ok(service)
}

/// Removes devices from hubs they left where that failed, and measures hubs, from time to time.
pub async fn maintain(service: Arc<Service>) {
    let mut timer = tokio::time::interval(PERIOD);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        timer.tick().await;
        if let Err(error) = service.finish_departures(gantry_gateway::now()).await {
            warn!(%error, "departures are not ended");
        }
        service.measure_hubs().await;
    }
}
