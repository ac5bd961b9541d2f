//! Mutual TLS: devices with certificates of their own, and an operator's proxy.

use gantry_identity::{Authority, CertificateChain, Timestamp};

use crate::denied::Unproven;
use crate::pattern::Pattern;

/// Authorities whose certificates name devices, by common name or subject alternative name.
#[derive(Clone, Debug)]
pub struct DeviceCertificates {
    /// Roots or intermediates.
    pub authorities: Vec<Authority>,
}

impl DeviceCertificates {
    /// The identities a certificate is for.
    pub(crate) fn check(&self, chain: &CertificateChain, now: Timestamp) -> Result<Vec<Pattern>, Unproven> {
        chain.find_authority(&self.authorities.iter().collect::<Vec<_>>(), now)?;
        Ok(exact(chain.names().iter().map(String::as_str)))
    }
}

/// A proxy in front of the server that has proven devices in a way of its own (a mobile network's SIM, say) and
/// names them in a header. Believed only from a peer with the proxy's own certificate.
#[derive(Clone, Debug)]
pub struct TrustedProxy {
    /// Who signed the proxy's certificate.
    pub authorities: Vec<Authority>,
    /// Names it may have.
    pub names: Vec<String>,
}

impl TrustedProxy {
    pub(crate) fn check(
        &self,
        chain: Option<&CertificateChain>,
        device: &str,
        now: Timestamp,
    ) -> Result<(String, Vec<Pattern>), Unproven> {
        let chain = chain.ok_or_else(|| Unproven::Proxy("no certificate was presented".into()))?;
        let authorities: Vec<_> = self.authorities.iter().collect();
        chain.find_authority(&authorities, now).map_err(|error| Unproven::Proxy(error.to_string()))?;
        let presented = chain.names();
        let name = self.names.iter().find(|name| presented.contains(name));
        let name = name.ok_or_else(|| Unproven::Proxy(format!("certificate is for {presented:?}")))?;
        Ok((name.clone(), exact([device])))
    }
}

/// Patterns for ids taken literally; what is no id names nobody.
pub(crate) fn exact<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<Pattern> {
    names.into_iter().filter_map(|name| Pattern::exact(name).ok()).collect()
}
