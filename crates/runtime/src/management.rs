//! The control plane of a hub: what its resources show of the configuration.

use std::sync::Arc;

use gantry_api::{Api, Routes};
use gantry_gateway::Gateway;
use gantry_hub::ports::{Documents, StoreError};
use gantry_management_api::{Facts, IpRule, Management};
use gantry_storage::Database;

use crate::config::{Config, IpAction};
use crate::unit::Unit;

/// The routes of a hub's control plane.
///
/// # Errors
/// When what it keeps cannot be read.
pub async fn open(unit: &Unit, gateway: &Gateway, api: Arc<Api>) -> Result<Routes, StoreError> {
    let documents: Arc<dyn Documents> = Arc::<Database>::clone(&unit.database);
    let management = Management::open(api, facts(unit, gateway), documents).await?;
    Ok(gantry_management_api::routes(Arc::new(management)))
}

fn facts(unit: &Unit, gateway: &Gateway) -> Facts {
    let config = &unit.config;
    let uploads = &config.file_upload;
    Facts {
        subscription: unit.secrets.subscription.clone(),
        stream: format!("sb://{}:{}/", unit.hub.host_name(), config.ports.amqp()),
        partitions: config.hub.partitions,
        retention_hours: config.hub.retention_hours,
        uploads: uploads.enabled.then(|| (uploads.container.clone(), uploads.sas_minutes)),
        ip_filter: ip_filter(config),
        hubs: gateway.hubs().iter().map(|hub| hub.name().to_owned()).collect(),
        application: unit.secrets.application.id.clone(),
    }
}

fn ip_filter(config: &Config) -> Vec<IpRule> {
    let rule = |rule: &crate::config::IpRule| IpRule {
        action: match rule.action {
            IpAction::Accept => "Accept",
            IpAction::Reject => "Reject",
        },
        mask: rule.mask.to_string(),
    };
    config.hub.ip_filter.iter().map(rule).collect()
}
