//! Which hub gets a device.
//!
//! Where devices are spread evenly, each hub draws a score from a hash of its name and the device's id, and the highest
//! wins (weighted rendezvous hashing): the split follows the weights, a device that comes again comes to the same hub,
//! and a hub that is linked or unlinked moves no device but those it gains or loses.

use std::collections::HashMap;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::enrollment::{AllocationPolicy, EnrollmentWrite};
use crate::link::LinkedHub;
use crate::registration::RegistrationId;

/// Round trips this close are equally near.
const NEAR: Duration = Duration::from_millis(5);

/// Why no hub was chosen, as the device is told.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub(crate) enum AllocationError {
    #[error("hub `{0}` is not linked")]
    NotLinked(String),
    #[error("no linked hub takes part in allocation")]
    NoHub,
    #[error("static allocation without a hub")]
    NotSpecified,
    #[error("{0}")]
    Custom(CustomError),
}

/// Why a webhook chose none.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum CustomError {
    /// It refused our key.
    #[error("custom allocation was refused access by the webhook (status {0})")]
    Unauthorized(u16),
    /// It could not be asked, took too long, or answered something else than it should.
    #[error("custom allocation failed: {0}")]
    Failed(String),
    /// It named none, or one that is not linked.
    #[error("custom allocation named no linked hub: {0}")]
    NotSpecified(String),
}

impl AllocationError {
    /// Six-digit code.
    pub(crate) fn code(&self) -> u32 {
        match self {
            Self::NotLinked(_) | Self::NoHub => 404_205,
            Self::Custom(CustomError::Failed(_)) => 400_207,
            Self::NotSpecified | Self::Custom(CustomError::NotSpecified(_)) => 400_208,
            Self::Custom(CustomError::Unauthorized(_)) => 400_209,
        }
    }
}

/// The hubs an enrollment lets its devices go to.
pub(crate) fn candidates(settings: &EnrollmentWrite, linked: &[LinkedHub]) -> Result<Vec<LinkedHub>, AllocationError> {
    let names: Vec<&str> = match (&settings.iot_hubs[..], &settings.iot_hub_host_name) {
        ([], None) => {
            let found: Vec<_> = linked.iter().filter(|hub| hub.takes_part).cloned().collect();
            return if found.is_empty() { Err(AllocationError::NoHub) } else { Ok(found) };
        }
        ([], Some(name)) => vec![name],
        (names, _) => names.iter().map(String::as_str).collect(),
    };
    names.into_iter().map(|name| find(name, linked)).collect()
}

/// The hub of a name.
pub(crate) fn find(name: &str, linked: &[LinkedHub]) -> Result<LinkedHub, AllocationError> {
    let found = linked.iter().find(|hub| hub.is_named(name)).cloned();
    found.ok_or_else(|| AllocationError::NotLinked(name.chars().take(253).collect()))
}

/// The hub of a device by a policy that asks nobody.
pub(crate) fn choose(
    policy: AllocationPolicy,
    settings: &EnrollmentWrite,
    linked: &[LinkedHub],
    latencies: &HashMap<String, Duration>,
    id: &RegistrationId,
) -> Result<LinkedHub, AllocationError> {
    if policy == AllocationPolicy::Static {
        let name = settings.iot_hub_host_name.as_deref().or(settings.iot_hubs.first().map(String::as_str));
        return find(name.ok_or(AllocationError::NotSpecified)?, linked);
    }
    let mut found = candidates(settings, linked)?;
    if policy == AllocationPolicy::GeoLatency {
        let of = |hub: &LinkedHub| latencies.get(&hub.host_name).copied().unwrap_or(Duration::MAX);
        let nearest = found.iter().map(of).min().unwrap_or_default();
        found.retain(|hub| of(hub) <= nearest.saturating_add(NEAR));
    }
    let folded = id.folded();
    let best = found.into_iter().map(|hub| (score(&hub, &folded), hub)).max_by(|(a, _), (b, _)| a.total_cmp(b));
    best.map(|(_, hub)| hub).ok_or(AllocationError::NoHub)
}

fn score(hub: &LinkedHub, id: &str) -> f64 {
    let digest = Sha256::new().chain_update(hub.host_name.to_ascii_lowercase()).chain_update([0]).chain_update(id);
    let drawn = digest.finalize().first_chunk::<8>().map_or(0, |bytes| u64::from_be_bytes(*bytes));
    // Within (0, 1), so that the logarithm is finite.
    let unit = (drawn as f64 + 0.5) / (u64::MAX as f64 + 1.0);
    -f64::from(hub.weight.max(1)) / unit.ln()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use crate::link::{Link, LinkError, Placed, Placement};
    use gantry_hub::ports::PortFuture;
    use gantry_hub::twin::Twin;
    use gantry_identity::{DeviceId, Timestamp};

    struct Nowhere;

    impl Link for Nowhere {
        fn place<'a>(&'a self, _: Timestamp, _: &'a Placement) -> PortFuture<'a, Placed, LinkError> {
            Box::pin(async { Err(LinkError("nowhere".into())) })
        }
        fn twin<'a>(&'a self, _: Timestamp, _: &'a DeviceId) -> PortFuture<'a, Option<Twin>, LinkError> {
            Box::pin(async { Ok(None) })
        }
        fn remove<'a>(&'a self, _: Timestamp, _: &'a DeviceId) -> PortFuture<'a, (), LinkError> {
            Box::pin(async { Ok(()) })
        }
        fn probe(&self) -> PortFuture<'_, Duration, LinkError> {
            Box::pin(async { Ok(Duration::ZERO) })
        }
    }

    fn hub(name: &str, weight: u32) -> LinkedHub {
        LinkedHub { host_name: name.into(), aliases: vec![], weight, takes_part: true, link: Arc::new(Nowhere) }
    }

    fn split(hubs: &[LinkedHub], devices: usize) -> HashMap<String, usize> {
        let mut counts = HashMap::new();
        for n in 0..devices {
            let id = RegistrationId::parse(&format!("motor-{n}")).unwrap();
            let settings = EnrollmentWrite::default();
            let chosen = choose(AllocationPolicy::Hashed, &settings, hubs, &HashMap::new(), &id).unwrap();
            *counts.entry(chosen.host_name).or_default() += 1;
        }
        counts
    }

    #[test]
    fn ten_thousand_devices_split_evenly_over_four_hubs() {
        let counts = split(&["a", "b", "c", "d"].map(|name| hub(name, 1)), 10_000);
        let chi_square: f64 = counts.values().map(|n| (*n as f64 - 2500.0).powi(2) / 2500.0).sum();
        // Three degrees of freedom: 16.27 is passed by chance once in a thousand; the ids are fixed, so not by luck.
        assert!(counts.len() == 4 && chi_square < 16.27, "{counts:?}: {chi_square}");
    }

    #[test]
    fn weights_are_shares() {
        let counts = split(&[hub("a", 1), hub("b", 3)], 10_000);
        assert!((7350..=7650).contains(&counts["b"]), "{counts:?}");
    }

    #[test]
    fn a_new_hub_takes_devices_and_moves_no_other() {
        let few = ["a", "b", "c"].map(|name| hub(name, 1));
        let many = ["a", "b", "c", "d"].map(|name| hub(name, 1));
        for n in 0..1000 {
            let id = RegistrationId::parse(&format!("pump-{n}")).unwrap();
            let of = |hubs: &[LinkedHub]| {
                choose(AllocationPolicy::Hashed, &EnrollmentWrite::default(), hubs, &HashMap::new(), &id)
                    .unwrap()
                    .host_name
            };
            let (before, after) = (of(&few), of(&many));
            assert!(before == after || after == "d", "{before} -> {after}");
        }
    }

    #[test]
    fn the_nearest_are_those_that_answer_fastest() {
        let hubs = ["far", "near", "also-near", "silent"].map(|name| hub(name, 1));
        let ms = |name: &str, n| (name.to_owned(), Duration::from_millis(n));
        let latencies = HashMap::from([ms("far", 80), ms("near", 10), ms("also-near", 14)]);
        let mut seen: Vec<_> = (0..50)
            .map(|n| {
                let id = RegistrationId::parse(&format!("m{n}")).unwrap();
                let settings = EnrollmentWrite::default();
                choose(AllocationPolicy::GeoLatency, &settings, &hubs, &latencies, &id).unwrap().host_name
            })
            .collect();
        seen.sort();
        seen.dedup();
        assert_eq!(seen, ["also-near", "near"]);
    }

    #[test]
    fn an_enrollment_names_its_hubs() {
        let hubs = [hub("a", 1), LinkedHub { takes_part: false, ..hub("b", 1) }];
        let id = RegistrationId::parse("m").unwrap();
        let of = |settings: &EnrollmentWrite, policy| {
            choose(policy, settings, &hubs, &HashMap::new(), &id).map(|hub| hub.host_name)
        };
        let mut settings = EnrollmentWrite::default();
        assert_eq!(of(&settings, AllocationPolicy::Hashed).unwrap(), "a");
        assert_eq!(of(&settings, AllocationPolicy::Static), Err(AllocationError::NotSpecified));
        settings.iot_hubs = vec!["B".into()];
        assert_eq!(of(&settings, AllocationPolicy::Hashed).unwrap(), "b");
        assert_eq!(of(&settings, AllocationPolicy::Static).unwrap(), "b");
        settings.iot_hubs.push("gone".into());
        assert_eq!(of(&settings, AllocationPolicy::Hashed), Err(AllocationError::NotLinked("gone".into())));
    }
}
