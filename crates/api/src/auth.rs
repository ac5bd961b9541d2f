//! Who calls: tokens in the `Authorization` header.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use gantry_hub::{HubError, Presented, Session};
use gantry_identity::{CertificateChain, Identity, Refusal, Rights};

use crate::error::ApiError;
use crate::{Api, now};

/// Address of the caller, put into each request by the listener, and what is to be done once it proved who it is.
#[derive(Clone, Debug)]
pub struct PeerAddress(pub String, pub OnKnown);

/// What the listener does when a caller proved who it is.
#[derive(Clone, Default)]
pub struct OnKnown(Option<Arc<dyn Fn() + Send + Sync>>);

impl OnKnown {
    /// Calls `act`, each time.
    pub fn new(act: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(act)))
    }
}

impl std::fmt::Debug for OnKnown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OnKnown")
    }
}

impl From<&str> for PeerAddress {
    fn from(address: &str) -> Self {
        Self(address.to_owned(), OnKnown::default())
    }
}

impl PeerAddress {
    /// The caller proved who it is.
    pub(crate) fn is_known(&self) {
        if let Some(act) = &self.1.0 {
            act();
        }
    }
}

/// Certificates of the caller, put into each request by the listener when it presented some.
#[derive(Clone, Debug)]
pub struct PeerCertificate(pub CertificateChain);

/// Lets a device's call through: by its token, or by its certificate.
pub(crate) async fn device(
    api: &Api,
    headers: &HeaderMap,
    peer: &PeerAddress,
    certificate: Option<&PeerCertificate>,
    identity: &Identity,
) -> Result<Session, ApiError> {
    let presented = Presented { token: token(headers), certificate: certificate.map(|c| &c.0) };
    let result = api.hub.authenticate_device(now(), identity, presented).await;
    if let Err(HubError::Unauthorized(refusal)) = &result {
        api.hub.report_refusal(now(), &identity.to_string(), &peer.0, "https device", refusal);
    }
    let session = result?;
    peer.is_known();
    Ok(session)
}

fn token(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::AUTHORIZATION)?.to_str().ok()
}

/// The policy a token names, for the security event of a refusal; nothing secret.
fn claimed(headers: &HeaderMap) -> String {
    let policy = token(headers).and_then(|t| t.split('&').find_map(|field| field.strip_prefix("skn=")));
    policy.unwrap_or("(no policy)").to_owned()
}

/// Lets a service call through that has `needed` at the hub.
pub(crate) fn hub(api: &Api, headers: &HeaderMap, peer: &PeerAddress, needed: Rights) -> Result<(), ApiError> {
    let checked = api.hub.authenticate_service(now(), token(headers), needed);
    checked.map(|_| peer.is_known()).map_err(|refusal| refused(api, headers, peer, &refusal))
}

/// Lets an operator's call to the platform through that has `needed` at the hub.
pub(crate) fn operator(api: &Api, headers: &HeaderMap, peer: &PeerAddress, needed: Rights) -> Result<(), ApiError> {
    let checked = api.hub.authenticate_operator(now(), token(headers), needed);
    checked.map(|_| peer.is_known()).map_err(|refusal| refused(api, headers, peer, &refusal))
}

fn refused(api: &Api, headers: &HeaderMap, peer: &PeerAddress, refusal: &Refusal) -> ApiError {
    api.hub.report_refusal(now(), &claimed(headers), &peer.0, "https service", refusal);
    ApiError::unauthorized()
}

/// Lets a service's call in whose policy has the right. Ask for it before the rest of a request is looked at.
macro_rules! right {
    ($name:ident, $right:ident) => {
        pub(crate) struct $name;

        impl FromRequestParts<Arc<Api>> for $name {
            type Rejection = ApiError;

            async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, ApiError> {
                let peer = parts.extensions.get::<PeerAddress>().cloned().unwrap_or("unknown".into());
                hub(api, &parts.headers, &peer, Rights::$right).map(|()| Self)
            }
        }
    };
}

right!(RegistryRead, REGISTRY_READ);
right!(RegistryWrite, REGISTRY_WRITE);
right!(ServiceConnect, SERVICE_CONNECT);

/// Lets an operator's call through that has `needed` at the provisioning service.
pub(crate) fn dps(api: &Api, headers: &HeaderMap, peer: &PeerAddress, needed: Rights) -> Result<(), Refusal> {
    api.provisioning.authenticate_service(now(), token(headers), needed).inspect_err(|refusal| {
        api.provisioning.report_refusal(now(), &claimed(headers), &peer.0, "https dps service", refusal);
    })?;
    peer.is_known();
    Ok(())
}

/// The token of a device call.
pub(crate) fn device_token(headers: &HeaderMap) -> Option<&str> {
    token(headers)
}
