//! Attestation on disk: fields of the JSON of enrollments and registrations.
//!
//! - enrollment: one of `keys` (`shapes.rs`), `x509` and `tpm`. `tpm` has `endorsement` and `storageRoot`
//!   (`TPM2B_PUBLIC`) and `key`, base64. `x509` has `kind` (`client`, `signing`, `references`),
//!   `primary` and `secondary`: base64 of the certificate's DER, or a name for `references`.
//! - registration: nothing for symmetric keys, `x509` with `leaf` and `signer`, what is public of either, or `tpm`, the
//!   wrapped key, base64.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gantry_hub::ports::StoreError;
use gantry_identity::{Certificate, CertificateInfo, Key, Timestamp, TpmPublic};
use gantry_provisioning::{Attestation, Evidence, Slots, TpmAttestation, X509};
use serde::{Deserialize, Serialize};

use crate::shapes::{KeysShape, corrupt};

#[derive(Serialize, Deserialize)]
pub(crate) struct AttestationShape {
    #[serde(skip_serializing_if = "Option::is_none")]
    keys: Option<KeysShape>,
    #[serde(skip_serializing_if = "Option::is_none")]
    x509: Option<X509Shape>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tpm: Option<TpmShape>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct TpmShape {
    endorsement: String,
    storage_root: Option<String>,
    key: String,
}

impl TpmShape {
    fn read(&self) -> Result<TpmAttestation, StoreError> {
        let public = |text: &str| {
            let bytes = STANDARD.decode(text).map_err(|_| corrupt("TPM key"))?;
            TpmPublic::parse(&bytes).map_err(|_| corrupt("TPM key"))
        };
        Ok(TpmAttestation {
            endorsement: public(&self.endorsement)?,
            storage_root: self.storage_root.as_deref().map(public).transpose()?,
            key: Key::from_base64(&self.key).map_err(|_| corrupt("key"))?,
        })
    }
}

#[derive(Serialize, Deserialize)]
struct X509Shape {
    kind: X509Kind,
    primary: Option<String>,
    secondary: Option<String>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum X509Kind {
    Client,
    Signing,
    References,
}

impl From<&X509> for X509Shape {
    fn from(x509: &X509) -> Self {
        let encode = |certificate: &Certificate| STANDARD.encode(certificate.der());
        let of = |kind, slots: &Slots<Certificate>| Self {
            kind,
            primary: slots.primary.as_ref().map(encode),
            secondary: slots.secondary.as_ref().map(encode),
        };
        match x509 {
            X509::Client(slots) => of(X509Kind::Client, slots),
            X509::Signing(slots) => of(X509Kind::Signing, slots),
            X509::References(names) => {
                let (primary, secondary) = (names.primary.clone(), names.secondary.clone());
                Self { kind: X509Kind::References, primary, secondary }
            }
        }
    }
}

impl X509Shape {
    fn read(self) -> Result<X509, StoreError> {
        let slots = Slots { primary: self.primary, secondary: self.secondary };
        let certificates = |slots: Slots<String>| {
            slots.try_map(|text| Certificate::parse(text.as_bytes()).map_err(|_| corrupt("certificate")))
        };
        Ok(match self.kind {
            X509Kind::Client => X509::Client(certificates(slots)?),
            X509Kind::Signing => X509::Signing(certificates(slots)?),
            X509Kind::References => X509::References(slots),
        })
    }
}

impl From<&Attestation> for AttestationShape {
    fn from(attestation: &Attestation) -> Self {
        match attestation {
            Attestation::SymmetricKey(keys) => Self { keys: Some(keys.into()), x509: None, tpm: None },
            Attestation::X509(x509) => Self { keys: None, x509: Some(x509.into()), tpm: None },
            Attestation::Tpm(tpm) => {
                let public = |key: &TpmPublic| STANDARD.encode(key.to_bytes());
                let storage_root = tpm.storage_root.as_ref().map(public);
                let (endorsement, key) = (public(&tpm.endorsement), tpm.key.to_base64());
                Self { keys: None, x509: None, tpm: Some(TpmShape { endorsement, storage_root, key }) }
            }
        }
    }
}

impl AttestationShape {
    pub(crate) fn read(self) -> Result<Attestation, StoreError> {
        match (self.keys, self.x509, self.tpm) {
            (Some(keys), None, None) => keys.read().map(Attestation::SymmetricKey),
            (None, Some(x509), None) => x509.read().map(Attestation::X509),
            (None, None, Some(tpm)) => tpm.read().map(Attestation::Tpm),
            _ => Err(corrupt("attestation")),
        }
    }
}

#[derive(Serialize, Deserialize)]
pub(crate) struct EvidenceShape {
    #[serde(skip_serializing_if = "Option::is_none")]
    x509: Option<X509EvidenceShape>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tpm: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct X509EvidenceShape {
    leaf: CertificateInfoShape,
    signer: Option<CertificateInfoShape>,
}

#[derive(Serialize, Deserialize)]
struct CertificateInfoShape {
    subject: String,
    issuer: String,
    sha1: String,
    sha256: String,
    not_before: i64,
    not_after: i64,
    serial: String,
    version: u32,
}

impl From<&CertificateInfo> for CertificateInfoShape {
    fn from(info: &CertificateInfo) -> Self {
        Self {
            subject: info.subject.clone(),
            issuer: info.issuer.clone(),
            sha1: info.sha1_thumbprint.clone(),
            sha256: info.sha256_thumbprint.clone(),
            not_before: info.not_before.as_millis(),
            not_after: info.not_after.as_millis(),
            serial: info.serial_number.clone(),
            version: info.version,
        }
    }
}

impl CertificateInfoShape {
    fn read(self) -> Box<CertificateInfo> {
        Box::new(CertificateInfo {
            subject: self.subject,
            sha1_thumbprint: self.sha1,
            sha256_thumbprint: self.sha256,
            issuer: self.issuer,
            not_before: Timestamp::from_millis(self.not_before),
            not_after: Timestamp::from_millis(self.not_after),
            serial_number: self.serial,
            version: self.version,
        })
    }
}

impl From<&Evidence> for EvidenceShape {
    fn from(evidence: &Evidence) -> Self {
        match evidence {
            Evidence::SymmetricKey => Self { x509: None, tpm: None },
            Evidence::Tpm { authentication_key } => Self { x509: None, tpm: Some(authentication_key.clone()) },
            Evidence::X509 { leaf, signer } => {
                let signer = signer.as_deref().map(Into::into);
                Self { x509: Some(X509EvidenceShape { leaf: (&**leaf).into(), signer }), tpm: None }
            }
        }
    }
}

impl EvidenceShape {
    pub(crate) fn read(self) -> Evidence {
        match (self.x509, self.tpm) {
            (None, None) => Evidence::SymmetricKey,
            (None, Some(authentication_key)) => Evidence::Tpm { authentication_key },
            (Some(x509), _) => {
                Evidence::X509 { leaf: x509.leaf.read(), signer: x509.signer.map(CertificateInfoShape::read) }
            }
        }
    }
}
