//! The TLS settings every port shares.
//!
//! TLS 1.2 and 1.3. A client certificate is asked for and never required: devices with
//! X.509 present theirs in the ordinary handshake, and self-signed or unknown ones must get
//! through to be judged by the registry. The handshake still proves that the peer holds the
//! certificate's key.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, SignatureVerificationAlgorithm, SubjectPublicKeyInfoDer, UnixTime,
};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, PeerMisbehaved, ServerConfig, SignatureScheme,
};
use webpki::RawPublicKeyEntity;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

/// Settings for a certificate chain, leaf first, and its key.
///
/// # Errors
/// When the key does not belong to the certificate.
pub fn server_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    alpn: &[&[u8]],
) -> Result<Arc<ServerConfig>, Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = Arc::new(AnyCertificate { algorithms: provider.signature_verification_algorithms });
    let mut config = ServerConfig::builder_with_provider(Arc::<CryptoProvider>::clone(&provider))
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)?;
    config.alpn_protocols = alpn.iter().map(|p| p.to_vec()).collect();
    // Stateless tickets would let a session outlive a disabled certificate; resumption is not worth it here.
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// The key a certificate is for. Version 1 certificates have one too: `openssl x509 -req` makes them, and devices
/// that are known by thumbprint use them.
fn public_key<'a>(certificate: &'a CertificateDer<'_>) -> Result<SubjectPublicKeyInfoDer<'a>, Error> {
    match X509Certificate::from_der(certificate) {
        Ok(([], parsed)) => Ok(SubjectPublicKeyInfoDer::from(parsed.tbs_certificate.subject_pki.raw)),
        _ => Err(bad_encoding()),
    }
}

fn bad_encoding() -> Error {
    CertificateError::BadEncoding.into()
}

#[derive(Debug)]
struct AnyCertificate {
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientCertVerifier for AnyCertificate {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        // Trust is the registry's decision, by thumbprint or verified CA.
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let key = public_key(cert)?;
        let entity = RawPublicKeyEntity::try_from(&key).map_err(|_| bad_encoding())?;
        let fitting = self.algorithms.mapping.iter().find(|(scheme, _)| *scheme == dss.scheme);
        let (_, candidates) = fitting.ok_or(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme)?;
        // TLS 1.2 names hash and kind of key only: the curve is found by trying.
        let is_good = |candidate: &&dyn SignatureVerificationAlgorithm| {
            entity.verify_signature(*candidate, message, dss.signature()).is_ok()
        };
        match candidates.iter().any(is_good) {
            true => Ok(HandshakeSignatureValid::assertion()),
            false => Err(CertificateError::BadSignature.into()),
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature_with_raw_key(message, &public_key(cert)?, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
