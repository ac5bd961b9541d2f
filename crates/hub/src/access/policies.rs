//! The shared access policies of a hub, and rolling their keys.
//!
//! A roll makes the primary key the secondary one and draws a new primary. Whoever still signs with
//! the old primary goes on working until the next roll, so keys change without an outage; after two
//! rolls an old key opens nothing.

use std::sync::Arc;

use gantry_identity::{Key, KeyPair, Policies, Policy};
use serde_json::{Value, json};

use crate::hub::Hub;
use crate::owned::{Changed, Owned};
use crate::ports::{Collection, Documents, StoreError};

const COLLECTION: &str = "policies";

/// Why a key was not rolled.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// No policy of that name.
    #[error("policy `{0}` is not there")]
    Unknown(String),
    /// The new key could not be kept.
    #[error("keeping the new key")]
    Store(#[from] StoreError),
}

/// Policies of the configuration, with the keys of their last roll.
pub(super) async fn load(documents: Arc<dyn Documents>, configured: Policies) -> Result<Owned<Policies>, StoreError> {
    let with_rolled_keys = move |stored: Vec<Collection>| {
        let rolled = |name: &str| stored.iter().flat_map(|all| &all.documents).find(|(policy, _)| policy == name);
        let with_keys = |policy: &Policy| {
            let Some((_, text)) = rolled(&policy.name) else { return Ok(policy.clone()) };
            let unreadable = || StoreError::Failed(format!("stored keys of policy `{}` cannot be read", policy.name));
            Ok(Policy { keys: read(text).ok_or_else(unreadable)?, ..policy.clone() })
        };
        let policies: Vec<_> = configured.iter().map(with_keys).collect::<Result<_, StoreError>>()?;
        Ok(Policies::from_list(policies))
    };
    Owned::load(documents, vec![COLLECTION], with_rolled_keys).await
}

impl Hub {
    /// Rolls the keys of a policy and returns it with the new ones.
    ///
    /// # Errors
    /// [`PolicyError`]; then the keys are as before.
    pub async fn roll_policy(&self, name: &str) -> Result<Policy, PolicyError> {
        let mut bytes = [0; 32];
        self.entropy.fill(&mut bytes);
        let roll = |current: &Policies| {
            let old = current.find(name).ok_or_else(|| PolicyError::Unknown(name.to_owned()))?;
            let keys = KeyPair { primary: Key::from_bytes(bytes), secondary: old.keys.primary.clone() };
            let rolled = Policy { keys, ..old.clone() };
            let text =
                json!({ "primary": rolled.keys.primary.to_base64(), "secondary": rolled.keys.secondary.to_base64() });
            let replaced = |policy: &Policy| if policy.name == rolled.name { rolled.clone() } else { policy.clone() };
            let next = Policies::from_list(current.iter().map(replaced).collect());
            Ok(Changed { edits: vec![vec![(rolled.name.clone(), Some(text.to_string()))]], next, said: rolled })
        };
        self.access.policies.change(roll).await
    }
}

fn read(text: &str) -> Option<KeyPair> {
    let value: Value = serde_json::from_str(text).ok()?;
    let key = |name: &str| Key::from_base64(value[name].as_str()?).ok();
    Some(KeyPair { primary: key("primary")?, secondary: key("secondary")? })
}
