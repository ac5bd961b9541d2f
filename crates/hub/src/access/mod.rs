//! Who may come in: devices by what they present, services by the policy that signed their token.

pub mod authorities;
mod connect_signature;
pub mod policies;

use std::sync::Arc;

use gantry_identity::{
    CertificateChain, CertificateError, Identity, KeyPair, Policies, Refusal, Rights, SharedAccessSignature, Timestamp,
};

use crate::access::authorities::{Authorities, HUB_COLLECTION};
use crate::connections::connection::Subscriptions;
use crate::error::HubError;
use crate::hub::Hub;
use crate::owned::Owned;
use crate::ports::{Audit, Documents, Entropy, Record, RefusedAccess, StoreError};
use crate::registry::device::{Authentication, Device, Status};

/// Longest claimed name kept in a security event, in characters.
const CLAIMED_LEN_MAX: usize = 256;

/// What proofs are checked against, and who hears of refused ones.
pub(crate) struct Access {
    authorities: Authorities,
    policies: Owned<Policies>,
    audit: Arc<dyn Audit>,
}

impl Access {
    /// The settings as they are stored; `configured` are the policies whose keys were never rolled.
    pub(crate) async fn load(
        documents: &Arc<dyn Documents>,
        entropy: &Arc<dyn Entropy>,
        audit: Arc<dyn Audit>,
        configured: Policies,
    ) -> Result<Self, StoreError> {
        let authorities = Authorities::load(Arc::clone(documents), Arc::clone(entropy), HUB_COLLECTION).await?;
        let policies = policies::load(Arc::clone(documents), configured).await?;
        Ok(Self { authorities, policies, audit })
    }
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
    /// The certificate authorities it trusts.
    pub fn authorities(&self) -> &Authorities {
        &self.access.authorities
    }

    /// The shared access policies as they are now.
    pub fn policies(&self) -> Arc<Policies> {
        self.access.policies.current()
    }

    /// Whether tokens signed with the key of a policy are refused, whoever comes with them.
    pub fn refuses_policy_tokens(&self) -> bool {
        self.config.disabled.policies
    }

    /// Reports refused access as a security event.
    pub fn report_refusal(&self, now: Timestamp, claimed: &str, peer: &str, operation: &'static str, reason: &Refusal) {
        self.access.audit.refused(RefusedAccess {
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
            Authentication::CertificateAuthority => self.access.authorities.check(chain, &identity.to_string(), now)?,
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

    /// As [`authenticate_service`](Self::authenticate_service), by the true time whatever faults are planned: whoever
    /// began them must be able to end them.
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
