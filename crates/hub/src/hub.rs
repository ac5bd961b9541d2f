//! The hub itself: what it is made of, and who may come in.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use gantry_identity::{
    CertificateChain, CertificateError, Identity, KeyPair, Policies, Refusal, Rights, SharedAccessSignature, Timestamp,
};

use crate::authorities::{Authorities, HUB_COLLECTION};
use crate::configurations::Configurations;
use crate::connection::{CloseReason, Connections, Mailbox, Subscriptions};
use crate::device::{Authentication, Device, Status};
use crate::error::HubError;
use crate::faults::Spells;
use crate::feedback::Receipt;
use crate::jobs::Running;
use crate::locks::Locks;
use crate::owned::Owned;
use crate::policies;
use crate::ports::{
    Audit, Documents, Entropy, EventSink, Observer, Presence, Record, RefusedAccess, Store, StoreError,
};
use crate::rehearsal::Stage;
use crate::routing::Routes;
use crate::service_queue::{Messaging, ServiceQueues};
use crate::streams::Streams;
use crate::throttle::{Edition, Throttles};

/// Longest claimed name kept in a security event, in characters.
const CLAIMED_LEN_MAX: usize = 256;

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
}

/// Kinds of token a hub refuses, so that only certificates are left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DisabledTokens {
    /// Tokens signed with a device's own key.
    pub devices: bool,
    /// Tokens signed with a module's own key.
    pub modules: bool,
    /// Tokens signed with the key of a policy (`disableLocalAuth`).
    pub policies: bool,
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
    pub(crate) connections: Arc<Connections>,
    pub(crate) locks: Locks<Identity, Receipt>,
    pub(crate) service_queues: ServiceQueues,
    pub(crate) authorities: Authorities,
    pub(crate) routes: Routes,
    reports_made: AtomicU64,
    pub(crate) throttles: Option<Throttles>,
    pub(crate) spells: Spells,
    pub(crate) stage: Stage,
    pub(crate) configurations: Configurations,
    pub(crate) running: Running,
    pub(crate) streams: Streams,
    audit: Arc<dyn Audit>,
    pub(crate) policies: Owned<Policies>,
}

/// What a device presents to prove itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Presented<'a> {
    /// A shared access signature.
    pub token: Option<&'a str>,
    /// The certificates of its TLS handshake. They count only when there is no token.
    pub certificate: Option<&'a CertificateChain>,
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
    /// A hub over its ports. Reads its settings: the certificate authorities it trusts, configurations, keys, routes.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn new(config: HubConfig, ports: Ports) -> Result<Self, StoreError> {
        let Ports { store, documents, log, entropy, audit, observer } = ports;
        let authorities = Authorities::load(Arc::clone(&documents), Arc::clone(&entropy), HUB_COLLECTION).await?;
        let configurations = Configurations::load(Arc::clone(&documents)).await?;
        let policies = policies::load(Arc::clone(&documents), config.policies.clone()).await?;
        let throttles = config.edition.map(Throttles::new);
        let routes = Routes::load(documents, &config.name).await?;
        let (locks, service_queues, reports_made) = Default::default();
        Ok(Self {
            config,
            store,
            log,
            entropy,
            audit,
            connections: Arc::new(Connections::new(observer)),
            locks,
            service_queues,
            authorities,
            routes,
            reports_made,
            throttles,
            spells: Spells::default(),
            stage: Stage::default(),
            configurations,
            running: Running::default(),
            policies,
            streams: Streams::default(),
        })
    }

    /// Short name.
    pub fn name(&self) -> &str {
        &self.config.name
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

    /// The shared access policies as they are now.
    pub fn policies(&self) -> Arc<Policies> {
        self.policies.current()
    }

    /// Whether tokens signed with the key of a policy are refused, whoever comes with them.
    pub fn refuses_policy_tokens(&self) -> bool {
        self.config.disabled.policies
    }

    /// Connections open now.
    pub fn connected_count(&self) -> usize {
        self.connections.count()
    }

    /// Whether the identity is connected.
    pub fn is_connected(&self, identity: &Identity) -> bool {
        self.connections.is_connected(identity)
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

    /// Checks what a device presented: a token signed with its own key or with the key of a policy that may
    /// connect devices, or a certificate.
    ///
    /// # Errors
    /// [`HubError::Unauthorized`] with the reason for the log, or a store failure.
    pub async fn authenticate_device(
        &self,
        now: Timestamp,
        identity: &Identity,
        presented: Presented<'_>,
    ) -> Result<Session, HubError> {
        let record = self.store.record(identity).await?;
        let now = self.skewed(now, Some(identity));
        let checked = match presented {
            Presented { token: Some(token), .. } => self.check_token(now, identity, token, record.as_ref()),
            Presented { certificate: Some(chain), .. } => self.check_certificate(now, identity, chain, record.as_ref()),
            Presented { token: None, certificate: None } => Err(Refusal::Missing),
        };
        self.admit_proof(identity, record, checked).await
    }

    /// The session of an identity whose proof was checked, if it may come in.
    pub(crate) async fn admit_proof(
        &self,
        identity: &Identity,
        record: Option<Record>,
        checked: Result<Proof, Refusal>,
    ) -> Result<Session, HubError> {
        let proof = checked.map_err(HubError::Unauthorized)?;
        let unknown = || HubError::Unauthorized(Refusal::UnknownIdentity(identity.to_string()));
        let record = record.ok_or_else(unknown)?;
        enabled(&record.device).map_err(HubError::Unauthorized)?;
        self.check_parent_enabled(identity).await?;
        let (scope, kind) = (proof.scope, proof.kind);
        Ok(Session {
            identity: identity.clone(),
            generation_id: record.device.generation_id.clone(),
            auth_method: format!(
                r#"{{"scope":"{scope}","type":"{kind}","issuer":"iothub","acceptingIpFilterRule":null}}"#
            ),
            model_id: None,
            expires_at: proof.expires_at,
            subscriptions: Subscriptions(record.presence.subscriptions),
        })
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

    fn check_token(
        &self,
        now: Timestamp,
        identity: &Identity,
        token: &str,
        record: Option<&Record>,
    ) -> Result<Proof, Refusal> {
        let sas = SharedAccessSignature::parse(token)?;
        let (keys, scope) = self.signing_keys(identity, sas.policy(), record)?;
        let claims = sas.verify(&keys, now)?;
        self.covered(&claims, &identity.resource())?;
        Ok(Proof { scope, kind: "sas", expires_at: Some(claims.expires_at) })
    }

    /// The keys a device may sign with, and whose they are: its own, or those of a policy that may connect devices.
    pub(crate) fn signing_keys(
        &self,
        identity: &Identity,
        policy: Option<&str>,
        record: Option<&Record>,
    ) -> Result<(KeyPair, &'static str), Refusal> {
        let off = |is_off: bool| if is_off { Err(kind(identity, "a token (switched off)")) } else { Ok(()) };
        let disabled = self.config.disabled;
        if let Some(name) = policy {
            off(disabled.policies)?;
            let policies = self.policies();
            let policy = policies.find(name).ok_or_else(|| Refusal::UnknownPolicy(name.to_owned()))?;
            require(policy.rights, Rights::DEVICE_CONNECT, &policy.name)?;
            return Ok((policy.keys.clone(), "hub"));
        }
        match &registered(identity, record)?.device.authentication {
            Authentication::Sas(keys) => {
                off(if identity.module.is_some() { disabled.modules } else { disabled.devices })?;
                Ok((keys.clone(), own_scope(identity)))
            }
            _ => Err(kind(identity, "a token")),
        }
    }

    fn check_certificate(
        &self,
        now: Timestamp,
        identity: &Identity,
        chain: &CertificateChain,
        record: Option<&Record>,
    ) -> Result<Proof, Refusal> {
        if self.certificate_is_out(now, identity) {
            return Err(CertificateError::Validity.into());
        }
        match &registered(identity, record)?.device.authentication {
            Authentication::SelfSigned { primary, secondary } => {
                let thumbprints = [primary, secondary].into_iter().flatten();
                chain.check_thumbprint(thumbprints.map(String::as_str), now)?;
            }
            Authentication::CertificateAuthority => self.authorities.check(chain, &identity.to_string(), now)?,
            _ => return Err(kind(identity, "a certificate")),
        }
        Ok(Proof { scope: own_scope(identity), kind: "x509", expires_at: None })
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
        self.authenticate_operator(self.skewed(now, None), token, needed)
    }

    /// As [`authenticate_service`](Self::authenticate_service), by the true time whatever is rehearsed: whoever began
    /// a rehearsal must be able to end it.
    ///
    /// # Errors
    /// The reason, for the log.
    pub fn authenticate_operator(
        &self,
        now: Timestamp,
        token: Option<&str>,
        needed: Rights,
    ) -> Result<Principal, Refusal> {
        let sas = SharedAccessSignature::parse(token.ok_or(Refusal::Missing)?)?;
        let name = sas.policy().ok_or_else(|| Refusal::UnknownPolicy(String::new()))?;
        if self.config.disabled.policies {
            return Err(Refusal::Kind { identity: name.to_owned(), presented: "a token (switched off)" });
        }
        let policies = self.policies();
        let policy = policies.find(name).ok_or_else(|| Refusal::UnknownPolicy(name.to_owned()))?;
        let claims = sas.verify(&policy.keys, now)?;
        claims.require_host(&self.config.host_names)?;
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
        // An older connection loses what it holds; requests keep their locks.
        self.locks.release_connections(&session.identity);
        let mailbox = self.connections.open(now, session.identity.clone(), kept);
        self.note(now, &session.identity, kept);
        self.report_connection(now, &session.identity, true);
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
        let (holder, current, kept) = (mailbox.holder().clone(), mailbox.is_current(), mailbox.subscriptions());
        drop(mailbox);
        self.locks.release_holder(&holder.identity, holder.number);
        if current {
            self.note(now, &holder.identity, kept);
            self.report_connection(now, &holder.identity, false);
        }
    }

    /// Notes that a connection was ended by the hub: its holder will find it is not current.
    pub(crate) fn note_gone(&self, now: Timestamp, identity: &Identity) {
        self.note(now, identity, Subscriptions::default());
        self.report_connection(now, identity, false);
    }

    /// Distinguishes reports made in the same millisecond.
    pub(crate) fn next_report_number(&self) -> u64 {
        self.reports_made.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
    }

    fn note(&self, now: Timestamp, identity: &Identity, subscriptions: Subscriptions) {
        let presence =
            Presence { updated_at: now, last_activity_at: now, subscriptions: subscriptions.0, c2d_count: 0 };
        self.store.note_presence(identity, presence);
    }

    /// The certificate authorities it trusts.
    pub fn authorities(&self) -> &Authorities {
        &self.authorities
    }

    pub(crate) fn random_id(&self) -> u64 {
        let mut bytes = [0; 8];
        self.entropy.fill(&mut bytes);
        u64::from_be_bytes(bytes)
    }
}

/// What a check of credentials found.
pub(crate) struct Proof {
    /// `hub`, `device` or `module`.
    pub(crate) scope: &'static str,
    /// `sas` or `x509`.
    pub(crate) kind: &'static str,
    /// When the proof expires.
    pub(crate) expires_at: Option<Timestamp>,
}

fn registered<'a>(identity: &Identity, record: Option<&'a Record>) -> Result<&'a Record, Refusal> {
    record.ok_or_else(|| Refusal::UnknownIdentity(identity.to_string()))
}

fn own_scope(identity: &Identity) -> &'static str {
    if identity.module.is_some() { "module" } else { "device" }
}

fn kind(identity: &Identity, presented: &'static str) -> Refusal {
    Refusal::Kind { identity: identity.to_string(), presented }
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
