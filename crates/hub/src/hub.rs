//! The hub itself: what it is made of, and who may come in.

use std::sync::Arc;

use gantry_identity::{Identity, Policies, Refusal, Rights, SharedAccessSignature, Timestamp};

use crate::c2d::Locks;
use crate::connection::{CloseReason, Connections, Mailbox, Subscriptions};
use crate::device::{Authentication, Device, Status};
use crate::error::HubError;
use crate::ports::{Audit, Entropy, EventSink, Presence, Record, RefusedAccess, Store};

/// Longest claimed name kept in a security event, in characters.
const CLAIMED_LEN_MAX: usize = 256;

/// What one hub is called and who may use it.
#[derive(Clone, Debug)]
pub struct HubConfig {
    /// Short name, such as `gantry`.
    pub name: String,
    /// Names the hub answers to; the first one is in connection strings.
    pub host_names: Vec<String>,
    /// Shared access policies.
    pub policies: Policies,
}

/// One hub.
pub struct Hub {
    pub(crate) config: HubConfig,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) log: Arc<dyn EventSink>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) connections: Arc<Connections>,
    pub(crate) locks: Locks,
    audit: Arc<dyn Audit>,
}

/// A device that proved itself.
#[derive(Clone, Debug)]
pub struct Session {
    /// Who.
    pub identity: Identity,
    /// Generation of the identity.
    pub generation_id: String,
    /// How it proved itself: the JSON text of `iothub-connection-auth-method`.
    pub auth_method: String,
    /// Model id announced at connect.
    pub model_id: Option<String>,
    /// When the proof expires and the connection with it.
    pub expires_at: Option<Timestamp>,
    /// Subscriptions kept from an earlier connection.
    pub subscriptions: Subscriptions,
}

/// A service that proved itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// Policy it came with.
    pub policy: String,
    /// What it may do.
    pub rights: Rights,
    /// When its proof expires.
    pub expires_at: Timestamp,
}

impl Hub {
    /// A hub over its ports.
    pub fn new(
        config: HubConfig,
        store: Arc<dyn Store>,
        log: Arc<dyn EventSink>,
        entropy: Arc<dyn Entropy>,
        audit: Arc<dyn Audit>,
    ) -> Self {
        Self { config, store, log, entropy, audit, connections: Arc::default(), locks: Locks::default() }
    }

    /// Short name.
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// The name in connection strings.
    pub fn host_name(&self) -> &str {
        self.config.host_names.first().map_or("localhost", String::as_str)
    }

    /// Whether `host` (with or without port) is a name of this hub.
    pub fn answers_to(&self, host: &str) -> bool {
        self.config.host_names.iter().any(|name| gantry_identity::covers(name, host))
    }

    /// The shared access policies.
    pub fn policies(&self) -> &Policies {
        &self.config.policies
    }

    /// Connections open now.
    pub fn connected_count(&self) -> usize {
        self.connections.count()
    }

    /// Whether the identity is connected.
    pub fn is_connected(&self, identity: &Identity) -> bool {
        self.connections.is_connected(identity)
    }

    /// Ends every connection.
    pub fn shut_down(&self) {
        self.connections.close_all(CloseReason::ShuttingDown);
    }

    /// Resolves when the log has room for more events.
    pub async fn ready(&self) {
        self.log.ready().await;
    }

    /// Reports refused access as a security event.
    pub fn report_refusal(&self, now: Timestamp, claimed: &str, peer: &str, operation: &'static str, reason: &Refusal) {
        self.audit.refused(RefusedAccess {
            at: now,
            claimed: claimed.chars().take(CLAIMED_LEN_MAX).collect(),
            peer: peer.to_owned(),
            operation,
            reason: reason.clone(),
        });
    }

    /// Checks a device's token: signed with its own key, or with the key of a policy that may connect devices.
    ///
    /// # Errors
    /// [`HubError::Unauthorized`] with the reason for the log, or a store failure.
    pub async fn authenticate_device(
        &self,
        now: Timestamp,
        identity: &Identity,
        token: Option<&str>,
    ) -> Result<Session, HubError> {
        let token = token.ok_or(HubError::Unauthorized(Refusal::Missing))?;
        let sas = SharedAccessSignature::parse(token).map_err(|e| HubError::Unauthorized(e.into()))?;
        let record = self.store.record(identity).await?;
        self.check_parent_enabled(identity).await?;
        let session = self.check_device(now, identity, &sas, record.as_ref()).map_err(HubError::Unauthorized)?;
        Ok(session)
    }

    /// A module of a disabled device may not come in either.
    async fn check_parent_enabled(&self, identity: &Identity) -> Result<(), HubError> {
        if identity.module.is_none() {
            return Ok(());
        }
        match self.store.record(&Identity::device(identity.device.clone())).await? {
            Some(parent) => enabled(&parent.device).map_err(HubError::Unauthorized),
            None => Err(HubError::Unauthorized(Refusal::UnknownIdentity(identity.to_string()))),
        }
    }

    fn check_device(
        &self,
        now: Timestamp,
        identity: &Identity,
        sas: &SharedAccessSignature,
        record: Option<&Record>,
    ) -> Result<Session, Refusal> {
        let unknown = || Refusal::UnknownIdentity(identity.to_string());
        let (claims, scope) = match sas.policy() {
            Some(name) => {
                let policy = self.config.policies.find(name).ok_or_else(|| Refusal::UnknownPolicy(name.to_owned()))?;
                let claims = sas.verify(&policy.keys, now)?;
                require(policy.rights, Rights::DEVICE_CONNECT, &policy.name)?;
                (claims, "hub")
            }
            None => match &record.ok_or_else(unknown)?.device.authentication {
                Authentication::Sas(keys) => {
                    (sas.verify(keys, now)?, if identity.module.is_some() { "module" } else { "device" })
                }
                _ => return Err(Refusal::Kind { identity: identity.to_string(), presented: "a token" }),
            },
        };
        self.covered(&claims, &identity.resource())?;
        let record = record.ok_or_else(unknown)?;
        enabled(&record.device)?;
        Ok(Session {
            identity: identity.clone(),
            generation_id: record.device.generation_id.clone(),
            auth_method: format!(
                r#"{{"scope":"{scope}","type":"sas","issuer":"iothub","acceptingIpFilterRule":null}}"#
            ),
            model_id: None,
            expires_at: Some(claims.expires_at),
            subscriptions: Subscriptions(record.presence.subscriptions),
        })
    }

    fn covered(&self, claims: &gantry_identity::Claims, path: &str) -> Result<(), Refusal> {
        let mut last = Refusal::Missing;
        for host in &self.config.host_names {
            match claims.require(host, path) {
                Ok(()) => return Ok(()),
                Err(refusal) => last = refusal,
            }
        }
        Err(last)
    }

    /// Checks a service's token and that its policy has `needed`.
    ///
    /// # Errors
    /// The reason, for the log.
    pub fn authenticate_service(
        &self,
        now: Timestamp,
        token: Option<&str>,
        needed: Rights,
    ) -> Result<Principal, Refusal> {
        let sas = SharedAccessSignature::parse(token.ok_or(Refusal::Missing)?)?;
        let name = sas.policy().ok_or_else(|| Refusal::UnknownPolicy(String::new()))?;
        let policy = self.config.policies.find(name).ok_or_else(|| Refusal::UnknownPolicy(name.to_owned()))?;
        let claims = sas.verify(&policy.keys, now)?;
        self.covered(&claims, "")?;
        require(policy.rights, needed, &policy.name)?;
        Ok(Principal { policy: policy.name.clone(), rights: policy.rights, expires_at: claims.expires_at })
    }

    /// Opens the mailbox of an authenticated device, taking it over from an older connection.
    pub async fn connect(&self, now: Timestamp, session: &Session, persistent: bool) -> Result<Mailbox, HubError> {
        let kept = if persistent { session.subscriptions } else { Subscriptions::default() };
        if !persistent && session.subscriptions != Subscriptions::default() {
            self.store.save_subscriptions(&session.identity, 0).await?;
        }
        if let Some(model_id) = &session.model_id {
            self.announce_model(&session.identity, model_id).await?;
        }
        self.locks.release_all(&session.identity);
        let mailbox = self.connections.open(now, session.identity.clone(), kept);
        self.note(now, &session.identity, kept);
        Ok(mailbox)
    }

    /// Sets what a connection hears; kept over reconnects when the session is persistent.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn subscribe(&self, mailbox: &Mailbox, wanted: Subscriptions, persistent: bool) -> Result<(), HubError> {
        if persistent && wanted != mailbox.subscriptions() {
            self.store.save_subscriptions(mailbox.identity(), wanted.0).await?;
        }
        mailbox.subscribe(wanted);
        Ok(())
    }

    /// Gives back what a closing connection held.
    pub fn disconnect(&self, now: Timestamp, mailbox: Mailbox) {
        let (identity, current, kept) = (mailbox.identity().clone(), mailbox.is_current(), mailbox.subscriptions());
        drop(mailbox);
        if current {
            self.locks.release_all(&identity);
            self.note(now, &identity, kept);
        }
    }

    /// Notes that a connection was ended by the hub: its holder will find it is not current.
    pub(crate) fn note_gone(&self, now: Timestamp, identity: &Identity) {
        self.note(now, identity, Subscriptions::default());
    }

    fn note(&self, now: Timestamp, identity: &Identity, subscriptions: Subscriptions) {
        let presence =
            Presence { updated_at: now, last_activity_at: now, subscriptions: subscriptions.0, c2d_count: 0 };
        self.store.note_presence(identity, presence);
    }

    pub(crate) fn random_id(&self) -> u64 {
        let mut bytes = [0; 8];
        self.entropy.fill(&mut bytes);
        u64::from_be_bytes(bytes)
    }
}

fn require(held: Rights, needed: Rights, policy: &str) -> Result<(), Refusal> {
    if held.contains(needed) {
        return Ok(());
    }
    Err(Refusal::Right { policy: policy.to_owned(), right: needed.to_string() })
}

fn enabled(device: &Device) -> Result<(), Refusal> {
    match device.status {
        Status::Enabled => Ok(()),
        Status::Disabled => Err(Refusal::Disabled(device.identity.to_string())),
    }
}
