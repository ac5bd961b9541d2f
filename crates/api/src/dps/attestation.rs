//! The attestation of enrollments as JSON.
//!
//! Certificates are written as PEM or base64 of DER and come back as `info` only; what was read may be written back,
//! and keeps them. Keys are shown to those only who may write them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gantry_hub::device::AuthenticationWrite;
use gantry_identity::{Certificate, TpmPublic};
use gantry_provisioning::{AttestationWrite, CertificateWrite, DpsError, Slots, X509};
use serde::Deserialize;

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct AttestationBody {
    r#type: Option<String>,
    symmetric_key: Option<KeysBody>,
    x509: Option<X509Body>,
    tpm: Option<TpmBody>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct TpmBody {
    endorsement_key: Option<String>,
    storage_root_key: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct KeysBody {
    primary_key: Option<String>,
    secondary_key: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct X509Body {
    client_certificates: Option<SlotsBody<CertificateBody>>,
    signing_certificates: Option<SlotsBody<CertificateBody>>,
    ca_references: Option<SlotsBody<String>>,
}

#[derive(Deserialize)]
struct SlotsBody<T> {
    primary: Option<T>,
    secondary: Option<T>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct CertificateBody {
    certificate: Option<String>,
    info: Option<InfoBody>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct InfoBody {
    sha256_thumbprint: Option<String>,
}

/// An attestation as bodies have it: `{"type", "symmetricKey" | "x509" | "tpm"}`.
///
/// # Errors
/// [`DpsError::Invalid`] names what is wrong.
pub fn read_attestation(body: serde_json::Value) -> Result<AttestationWrite, DpsError> {
    let body: AttestationBody =
        gantry_hub::json::read_value(body).map_err(|error| DpsError::Malformed(error.to_string()))?;
    body.write()
}

fn invalid(words: impl Into<String>) -> DpsError {
    DpsError::Invalid(words.into())
}

impl AttestationBody {
    /// The attestation as the service takes it.
    pub(super) fn write(self) -> Result<AttestationWrite, DpsError> {
        let kind = self.r#type.as_deref().unwrap_or(if self.x509.is_some() { "x509" } else { "symmetricKey" });
        let kind = kind.to_ascii_lowercase();
        let there = [
            ("symmetrickey", self.symmetric_key.as_ref().is_some_and(KeysBody::is_given)),
            ("x509", self.x509.is_some()),
            ("tpm", self.tpm.is_some()),
        ];
        if there.into_iter().any(|(other, is_given)| is_given && other != kind) {
            return Err(invalid("attestation holds something of another type than its own"));
        }
        match kind.as_str() {
            "symmetrickey" => self.symmetric_key.unwrap_or_default().write(),
            "x509" => self.x509.unwrap_or_default().write().map(AttestationWrite::X509),
            "tpm" => self.tpm.unwrap_or_default().write(),
            "none" => Err(DpsError::NotImplemented("attestation of type none")),
            _ => Err(invalid("attestation.type must be symmetricKey, x509 or tpm")),
        }
    }
}

impl KeysBody {
    fn is_given(&self) -> bool {
        [&self.primary_key, &self.secondary_key].into_iter().flatten().any(|key| !key.is_empty())
    }

    fn write(self) -> Result<AttestationWrite, DpsError> {
        match AuthenticationWrite::sas(self.primary_key.as_deref(), self.secondary_key.as_deref()) {
            Ok(AuthenticationWrite::Sas(keys)) => Ok(AttestationWrite::SymmetricKey(keys)),
            Ok(_) => Ok(AttestationWrite::SymmetricKey(None)),
            Err(error) => Err(invalid(format!("symmetricKey: {error}"))),
        }
    }
}

impl TpmBody {
    fn write(self) -> Result<AttestationWrite, DpsError> {
        let key = |name: &str, text: Option<String>| {
            let text = text.filter(|text| !text.is_empty());
            text.map(|text| {
                let bytes = STANDARD.decode(text.trim()).map_err(|_| invalid(format!("tpm.{name} is not base64")))?;
                TpmPublic::parse(&bytes).map_err(|error| invalid(format!("tpm.{name}: {error}")))
            })
            .transpose()
        };
        let endorsement = key("endorsementKey", self.endorsement_key)?;
        Ok(AttestationWrite::Tpm {
            endorsement: endorsement.ok_or_else(|| invalid("tpm.endorsementKey is missing"))?,
            storage_root: key("storageRootKey", self.storage_root_key)?,
        })
    }
}

impl X509Body {
    fn write(self) -> Result<X509<CertificateWrite>, DpsError> {
        let client = self.client_certificates.and_then(|body| body.slots(CertificateBody::is_given));
        let signing = self.signing_certificates.and_then(|body| body.slots(CertificateBody::is_given));
        let references = self.ca_references.and_then(|body| body.slots(|name| !name.is_empty()));
        match (client, signing, references) {
            (Some(slots), None, None) => Ok(X509::Client(slots.try_map(|one| one.write("clientCertificates"))?)),
            (None, Some(slots), None) => Ok(X509::Signing(slots.try_map(|one| one.write("signingCertificates"))?)),
            (None, None, Some(names)) => Ok(X509::References(names)),
            _ => Err(invalid("x509 must have one of clientCertificates, signingCertificates and caReferences")),
        }
    }
}

impl<T> SlotsBody<T> {
    /// The slots with something in them; `None` when neither has.
    fn slots(self, is_given: impl Fn(&T) -> bool) -> Option<Slots<T>> {
        let (primary, secondary) = (self.primary.filter(&is_given), self.secondary.filter(&is_given));
        (primary.is_some() || secondary.is_some()).then_some(Slots { primary, secondary })
    }
}

impl CertificateBody {
    fn is_given(&self) -> bool {
        self.certificate.as_ref().is_some_and(|text| !text.is_empty())
            || self.info.as_ref().is_some_and(|info| info.sha256_thumbprint.is_some())
    }

    fn write(self, what: &str) -> Result<CertificateWrite, DpsError> {
        match (self.certificate.filter(|text| !text.is_empty()), self.info.and_then(|info| info.sha256_thumbprint)) {
            (Some(text), _) => Certificate::parse(text.as_bytes())
                .map(CertificateWrite::Given)
                .map_err(|error| invalid(format!("{what}: {error}"))),
            (None, Some(sha256_thumbprint)) => Ok(CertificateWrite::Kept { sha256_thumbprint }),
            (None, None) => Err(invalid(format!("{what}: a certificate is missing"))),
        }
    }
}
