//! How devices prove themselves to an enrollment: what is stored, what is written, what was proven.

use gantry_hub::device::AuthenticationWrite;
use gantry_hub::ports::Entropy;
use gantry_identity::{Authority, Certificate, CertificateInfo, Key, KeyPair, TpmPublic};

use crate::enrollment::EnrollmentKey;
use crate::service::DpsError;

/// A primary and a secondary of something, so that one can be rolled while the other works. At least one is there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Slots<T> {
    /// In everyday use.
    pub primary: Option<T>,
    /// Takes over during a roll.
    pub secondary: Option<T>,
}

impl<T> Slots<T> {
    /// Those that are there, primary first.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.primary.iter().chain(&self.secondary)
    }

    /// The same slots with other content.
    ///
    /// # Errors
    /// The first of `change`.
    pub fn try_map<U, E>(self, mut change: impl FnMut(T) -> Result<U, E>) -> Result<Slots<U>, E> {
        let primary = self.primary.map(&mut change).transpose()?;
        Ok(Slots { primary, secondary: self.secondary.map(change).transpose()? })
    }
}

/// Which certificates an enrollment takes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum X509<C = Certificate> {
    /// These leaves; individual enrollments only.
    Client(Slots<C>),
    /// Leaves under these authorities.
    Signing(Slots<C>),
    /// Leaves under the verified authorities of these names.
    References(Slots<String>),
}

/// How a device proves itself to an enrollment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Attestation {
    /// A token under these keys, or under keys derived from them for a group.
    SymmetricKey(KeyPair),
    /// A certificate.
    X509(X509),
    /// A challenge that one TPM can answer; individual enrollments only.
    Tpm(TpmAttestation),
}

/// A TPM, by its public keys, and what it is given.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TpmAttestation {
    /// Endorsement key.
    pub endorsement: TpmPublic,
    /// Storage root key; any of that TPM when absent.
    pub storage_root: Option<TpmPublic>,
    /// The key its device has at the hub; drawn with the enrollment.
    pub key: Key,
}

impl Attestation {
    /// The word on the wire.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::SymmetricKey(_) => "symmetricKey",
            Self::X509(_) => "x509",
            Self::Tpm(_) => "tpm",
        }
    }
}

/// A certificate as an operator writes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CertificateWrite {
    /// This one.
    Given(Certificate),
    /// The stored one with this SHA-256: what was read, which shows no certificate, is written back.
    Kept {
        /// Hex, any case.
        sha256_thumbprint: String,
    },
}

/// Attestation as an operator writes it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum AttestationWrite {
    /// Not given: what is stored stays; a new enrollment gets symmetric keys.
    #[default]
    Unchanged,
    /// Keys; those stored stay when absent, or they are drawn.
    SymmetricKey(Option<KeyPair>),
    /// Certificates.
    X509(X509<CertificateWrite>),
    /// A TPM.
    Tpm {
        /// Endorsement key.
        endorsement: TpmPublic,
        /// Storage root key.
        storage_root: Option<TpmPublic>,
    },
}

impl AttestationWrite {
    /// What is stored after this was written over `stored`.
    ///
    /// # Errors
    /// [`DpsError::Invalid`] when the kind of enrollment does not take it, a kept certificate is another one, or one
    /// that must sign others may not.
    pub(crate) fn over(
        self,
        stored: Option<&Attestation>,
        key: &EnrollmentKey,
        entropy: &dyn Entropy,
    ) -> Result<Attestation, DpsError> {
        let is_group = matches!(key, EnrollmentKey::Group(_));
        let x509 = match (self, stored) {
            (Self::SymmetricKey(Some(keys)), _) => return Ok(Attestation::SymmetricKey(keys)),
            (Self::Unchanged, Some(stored)) => return Ok(stored.clone()),
            (Self::SymmetricKey(None), Some(stored @ Attestation::SymmetricKey(_))) => return Ok(stored.clone()),
            (Self::Unchanged | Self::SymmetricKey(None), _) => {
                // Drawn keys have the most bytes that keys may have (DPS symmetric key attestation).
                let (primary, secondary) = (draw::<64>(entropy), draw::<64>(entropy));
                return Ok(Attestation::SymmetricKey(KeyPair { primary, secondary }));
            }
            (Self::Tpm { .. }, _) if is_group => {
                return Err(DpsError::Invalid("a group cannot have TPM attestation".into()));
            }
            (Self::Tpm { endorsement, storage_root }, stored) => {
                let key = match stored {
                    Some(Attestation::Tpm(stored)) if stored.endorsement == endorsement => stored.key.clone(),
                    // As long as the hash TPMs sign with.
                    _ => draw::<32>(entropy),
                };
                return Ok(Attestation::Tpm(TpmAttestation { endorsement, storage_root, key }));
            }
            (Self::X509(x509), _) => x509,
        };
        let mut resolve = |write| match write {
            CertificateWrite::Given(certificate) => Ok(certificate),
            CertificateWrite::Kept { sha256_thumbprint } => stored_certificate(stored, &sha256_thumbprint)
                .ok_or_else(|| DpsError::Invalid("attestation.x509: a certificate is missing".into())),
        };
        Ok(Attestation::X509(match x509 {
            X509::Client(_) if is_group => {
                let words = "a group takes signingCertificates or caReferences, not clientCertificates";
                return Err(DpsError::Invalid(words.into()));
            }
            X509::Client(slots) => X509::Client(slots.try_map(&mut resolve)?),
            X509::Signing(slots) => {
                let slots = slots.try_map(resolve)?;
                for certificate in slots.iter() {
                    Authority::parse(certificate.der())
                        .map_err(|error| DpsError::Invalid(format!("signingCertificates: {error}")))?;
                }
                X509::Signing(slots)
            }
            X509::References(names) => X509::References(names),
        }))
    }
}

fn draw<const N: usize>(entropy: &dyn Entropy) -> Key {
    let mut bytes = [0; N];
    entropy.fill(&mut bytes);
    Key::from_bytes(bytes)
}

fn stored_certificate(stored: Option<&Attestation>, sha256_thumbprint: &str) -> Option<Certificate> {
    let Some(Attestation::X509(X509::Client(slots) | X509::Signing(slots))) = stored else { return None };
    slots.iter().find(|one| one.info().sha256_thumbprint.eq_ignore_ascii_case(sha256_thumbprint)).cloned()
}

/// What a device proved to hold: it is its credential at the hub too.
#[derive(Clone, Debug)]
pub enum Credential {
    /// One of these keys: the enrollment's own, or those derived from its group's.
    SymmetricKeys(KeyPair),
    /// The key of a certificate.
    Certificate {
        /// The certificate.
        leaf: Box<CertificateInfo>,
        /// The enrollment's certificate it leads to; absent when the enrollment names the leaf.
        signer: Option<Box<CertificateInfo>>,
    },
    /// A TPM, which gets a key for the hub.
    Tpm {
        /// That key.
        key: Key,
        /// The key as only the TPM can open it, base64.
        wrapped: String,
    },
}

impl Credential {
    /// The credential as the hub's registry takes it.
    pub(crate) fn hub_write(&self) -> AuthenticationWrite {
        match self {
            Self::SymmetricKeys(keys) => AuthenticationWrite::Sas(Some(keys.clone())),
            Self::Tpm { key, .. } => {
                AuthenticationWrite::Sas(Some(KeyPair { primary: key.clone(), secondary: key.clone() }))
            }
            Self::Certificate { leaf, .. } => {
                // The reference registers the one certificate as both; programs that read the registry count on it.
                let thumbprint = || Some(leaf.sha256_thumbprint.clone());
                AuthenticationWrite::SelfSigned { primary: thumbprint(), secondary: thumbprint() }
            }
        }
    }

    /// What a registration says of it.
    pub(crate) fn evidence(&self) -> Evidence {
        match self {
            Self::SymmetricKeys(_) => Evidence::SymmetricKey,
            Self::Tpm { wrapped, .. } => Evidence::Tpm { authentication_key: wrapped.clone() },
            Self::Certificate { leaf, signer } => Evidence::X509 { leaf: leaf.clone(), signer: signer.clone() },
        }
    }
}

/// How a registered device proved itself, without secrets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Evidence {
    /// By a token.
    SymmetricKey,
    /// By a certificate.
    X509 {
        /// The certificate.
        leaf: Box<CertificateInfo>,
        /// The enrollment's certificate it leads to.
        signer: Option<Box<CertificateInfo>>,
    },
    /// By what its TPM signed.
    Tpm {
        /// The key its TPM was given for the hub, as only the TPM can open it, base64.
        authentication_key: String,
    },
}

impl Evidence {
    /// The word on the wire.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::SymmetricKey => "symmetricKey",
            Self::X509 { .. } => "x509",
            Self::Tpm { .. } => "tpm",
        }
    }
}
