//! The linked hubs: those of this process, and others by their connection strings.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use gantry_hub::ports::PortFuture;
use serde_json::Value;

use crate::allocation::CustomError;
use crate::custom::Webhooks;
use crate::link::{Link, LinkedHub};
use crate::service::{DpsError, Service, Unknown};

/// Hubs an instance may be linked to (DPS limits).
const HUBS_MAX: usize = 50;
/// Largest share of one hub.
const WEIGHT_MAX: u32 = 1000;

/// A hub elsewhere, as an operator links it.
#[derive(Clone, PartialEq, Eq)]
pub struct HubLink {
    /// Connection string of a policy with the rights RegistryWrite and ServiceConnect.
    pub connection_string: String,
    /// Certificate authority of the hub (PEM), beside those the system trusts.
    pub authority: Option<String>,
    /// Its share of the devices; 1 to 1000.
    pub weight: u32,
    /// Whether it takes part where an enrollment names no hubs.
    pub takes_part: bool,
}

impl fmt::Debug for HubLink {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubLink").field("weight", &self.weight).finish_non_exhaustive()
    }
}

/// The way to a hub, and its name.
pub type Way = (String, Arc<dyn Link>);

/// Makes ways to hubs elsewhere.
pub trait Linker: Send + Sync {
    /// The host name and the way. Nothing is sent yet.
    ///
    /// # Errors
    /// Says what is wrong with the connection string or the authority, without repeating a key.
    fn link(&self, hub: &HubLink) -> Result<Way, String>;
}

/// Reaches nothing outside the process: no hub elsewhere, no webhook.
pub struct Isolated;

impl Linker for Isolated {
    fn link(&self, _: &HubLink) -> Result<Way, String> {
        Err("hubs elsewhere cannot be linked here".into())
    }
}

impl Webhooks for Isolated {
    fn ask<'a>(&'a self, _: &'a str, _: &'a Value) -> PortFuture<'a, Value, CustomError> {
        Box::pin(async { Err(CustomError::Failed("webhooks cannot be asked here".into())) })
    }
}

/// A linked hub, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubView {
    /// Name devices connect to.
    pub host_name: String,
    /// Its share.
    pub weight: u32,
    /// Whether it takes part where an enrollment names no hubs.
    pub takes_part: bool,
    /// Whether it runs in this process.
    pub is_own: bool,
    /// How long it took to answer last.
    pub latency: Option<Duration>,
}

impl Service {
    /// Links the hubs that were linked before. Call it once, before devices come.
    ///
    /// # Errors
    /// When the store fails; a hub whose link cannot be read is left out with a warning.
    pub async fn restore_links(&self) -> Result<(), DpsError> {
        for hub in self.store.hub_links().await? {
            let linked = self.linker.link(&hub).map_err(DpsError::Invalid);
            // One whose name a hub of this process has by now must not keep the process from starting.
            if let Err(error) = linked.and_then(|(host_name, link)| self.admit(host_name, &hub, link)) {
                tracing::warn!(%error, "a linked hub is left out");
            }
        }
        Ok(())
    }

    /// Links a hub elsewhere, or changes how it is linked (its key, its share).
    ///
    /// # Errors
    /// [`DpsError::Invalid`] says what is wrong.
    pub async fn link_hub(&self, hub: HubLink) -> Result<HubView, DpsError> {
        if !(1..=WEIGHT_MAX).contains(&hub.weight) {
            return Err(DpsError::Invalid(format!("allocationWeight must be 1 to {WEIGHT_MAX}")));
        }
        let (host_name, link) = self.linker.link(&hub).map_err(DpsError::Invalid)?;
        self.admit(host_name.clone(), &hub, link)?;
        self.store.put_hub_link(host_name.clone(), hub).await?;
        self.hub_view(&host_name)
    }

    /// Links a hub elsewhere anew: with another connection string when one is given, with the authority it had.
    ///
    /// # Errors
    /// [`DpsError::NotFound`] for one that is not linked and has no connection string; else as [`Self::link_hub`].
    pub async fn relink_hub(
        &self,
        host_name: &str,
        connection_string: Option<String>,
        weight: u32,
        takes_part: bool,
    ) -> Result<HubView, DpsError> {
        let is_it = |hub: &HubLink| self.linker.link(hub).is_ok_and(|(name, _)| name.eq_ignore_ascii_case(host_name));
        let known = self.store.hub_links().await?.into_iter().find(is_it);
        let authority = known.as_ref().and_then(|hub| hub.authority.clone());
        let unknown = || DpsError::NotFound(Unknown::Hub, host_name.chars().take(253).collect());
        let connection_string = connection_string.or(known.map(|hub| hub.connection_string)).ok_or_else(unknown)?;
        self.link_hub(HubLink { connection_string, authority, weight, takes_part }).await
    }

    fn admit(&self, host_name: String, hub: &HubLink, link: Arc<dyn Link>) -> Result<(), DpsError> {
        if self.own.iter().any(|own| own.is_named(&host_name)) {
            return Err(DpsError::Conflict(format!("hub `{host_name}` of this process")));
        }
        let mut links = self.links.write();
        let mut all: Vec<_> =
            links.iter().filter(|linked| !linked.host_name.eq_ignore_ascii_case(&host_name)).cloned().collect();
        if all.len() >= HUBS_MAX {
            return Err(DpsError::Invalid(format!("{HUBS_MAX} hubs are linked already")));
        }
        all.push(LinkedHub { host_name, aliases: vec![], weight: hub.weight, takes_part: hub.takes_part, link });
        *links = Arc::new(all);
        Ok(())
    }

    /// Unlinks a hub elsewhere. Its devices stay there.
    ///
    /// # Errors
    /// [`DpsError::NotFound`], or [`DpsError::Invalid`] for a hub of this process.
    pub async fn unlink_hub(&self, host_name: &str) -> Result<(), DpsError> {
        if self.own.iter().any(|own| own.is_named(host_name)) {
            return Err(DpsError::Invalid("a hub of this process stays linked".into()));
        }
        let name = self.hub_view(host_name)?.host_name;
        self.store.delete_hub_link(&name).await?;
        let mut links = self.links.write();
        *links = Arc::new(links.iter().filter(|linked| linked.host_name != name).cloned().collect());
        Ok(())
    }

    /// Every linked hub.
    pub fn hub_views(&self) -> Vec<HubView> {
        let latencies = Arc::clone(&self.latencies.read());
        let view = |hub: &LinkedHub| HubView {
            host_name: hub.host_name.clone(),
            weight: hub.weight,
            takes_part: hub.takes_part,
            is_own: self.own.iter().any(|own| own.host_name == hub.host_name),
            latency: latencies.get(&hub.host_name).copied(),
        };
        self.linked().iter().map(view).collect()
    }

    fn hub_view(&self, host_name: &str) -> Result<HubView, DpsError> {
        let found = self.hub_views().into_iter().find(|view| view.host_name.eq_ignore_ascii_case(host_name));
        found.ok_or_else(|| DpsError::NotFound(Unknown::Hub, host_name.chars().take(253).collect()))
    }

    /// The linked hubs of this moment.
    pub(crate) fn linked(&self) -> Arc<Vec<LinkedHub>> {
        Arc::clone(&self.links.read())
    }

    /// Measures how long each hub takes to answer, for the lowest latency policy. One that does not answer is far.
    pub async fn measure_hubs(&self) {
        let mut latencies = HashMap::new();
        for hub in self.linked().iter() {
            if let Ok(latency) = hub.link.probe().await {
                latencies.insert(hub.host_name.clone(), latency);
            }
        }
        *self.latencies.write() = Arc::new(latencies);
    }
}
