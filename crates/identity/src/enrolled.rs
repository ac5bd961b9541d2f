//! A certificate as a registry keeps it, and what its documents say of it.

use rustls_pki_types::CertificateDer;
use subtle::ConstantTimeEq as _;

use crate::certificate::{CertificateError, parse, read_der, sha1_hex, sha256_hex};
use crate::{CertificateChain, Timestamp};

/// A certificate, of a device or of an authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate(pub(crate) CertificateDer<'static>);

/// What is public of a certificate (DPS service API, `X509CertificateInfo`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateInfo {
    /// Subject as text (`CN=d1`).
    pub subject: String,
    /// SHA-1 of the certificate, hex in capitals.
    pub sha1_thumbprint: String,
    /// SHA-256 of the certificate, hex in capitals.
    pub sha256_thumbprint: String,
    /// Issuer as text.
    pub issuer: String,
    /// When it becomes valid.
    pub not_before: Timestamp,
    /// When it expires.
    pub not_after: Timestamp,
    /// Serial number, hex in capitals.
    pub serial_number: String,
    /// 1 to 3.
    pub version: u32,
}

impl Certificate {
    /// Reads a certificate: PEM, the base64 of PEM or of DER (as management APIs carry it), or DER.
    ///
    /// # Errors
    /// [`CertificateError::Malformed`].
    pub fn parse(bytes: &[u8]) -> Result<Self, CertificateError> {
        read_der(bytes).map(Self)
    }

    /// The certificate, DER.
    pub fn der(&self) -> &[u8] {
        &self.0
    }

    /// What is public of it.
    pub fn info(&self) -> CertificateInfo {
        let parsed = parse(&self.0).expect("it was read when this was made");
        let at = |time: x509_parser::time::ASN1Time| Timestamp::from_millis(time.timestamp().saturating_mul(1000));
        CertificateInfo {
            subject: parsed.subject().to_string(),
            sha1_thumbprint: sha1_hex(&self.0),
            sha256_thumbprint: sha256_hex(&self.0),
            issuer: parsed.issuer().to_string(),
            not_before: at(parsed.validity().not_before),
            not_after: at(parsed.validity().not_after),
            serial_number: parsed.raw_serial_as_string().replace(':', "").to_ascii_uppercase(),
            version: parsed.version().0.saturating_add(1),
        }
    }
}

impl CertificateInfo {
    /// Whether `now` is within its validity.
    pub fn is_valid(&self, now: Timestamp) -> bool {
        (self.not_before..=self.not_after).contains(&now)
    }
}

impl CertificateChain {
    /// The leaf: its holder is at the other end.
    ///
    /// # Errors
    /// [`CertificateError::Malformed`].
    pub fn leaf_certificate(&self) -> Result<Certificate, CertificateError> {
        parse(self.leaf()).map(|_| Certificate(self.leaf().clone()))
    }

    /// Checks that the leaf is one of `registered`, byte by byte, and valid now.
    ///
    /// # Errors
    /// [`CertificateError::Thumbprint`] or [`CertificateError::Validity`].
    pub fn check_leaf<'a>(
        &self,
        registered: impl IntoIterator<Item = &'a Certificate>,
        now: Timestamp,
    ) -> Result<(), CertificateError> {
        let leaf = self.leaf_certificate()?;
        if !registered.into_iter().any(|one| bool::from(one.der().ct_eq(leaf.der()))) {
            return Err(CertificateError::Thumbprint);
        }
        if leaf.info().is_valid(now) { Ok(()) } else { Err(CertificateError::Validity) }
    }
}
