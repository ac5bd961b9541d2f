//! What a caller may do: everything with the account's key, what a signature says otherwise.

use gantry_identity::{Refusal, Timestamp};

use crate::name::{BlobName, ContainerName};

/// What a request is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The account itself.
    Account,
    /// A container.
    Container(ContainerName),
    /// A blob.
    Blob(ContainerName, BlobName),
}

/// A right of a shared access signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// `r`.
    Read,
    /// `w`.
    Write,
    /// `c`.
    Create,
    /// `d`.
    Delete,
    /// `l`.
    List,
}

impl Permission {
    fn letter(self) -> char {
        match self {
            Self::Read => 'r',
            Self::Write => 'w',
            Self::Create => 'c',
            Self::Delete => 'd',
            Self::List => 'l',
        }
    }
}

/// Why a caller was refused. For the log; the peer hears a code only.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// No credential.
    #[error("no credential was presented")]
    Missing,
    /// The credential cannot be read; names the field.
    #[error("credential's `{0}` cannot be read")]
    Malformed(&'static str),
    /// A kind of credential that is not built.
    #[error("{0} is not supported")]
    Unsupported(&'static str),
    /// The signature is of neither key.
    #[error("signature does not match")]
    Signature,
    /// Another account's credential.
    #[error("credential is for another account")]
    Account,
    /// Not valid yet, or not any more.
    #[error("credential is valid from {from} to {to}")]
    Time {
        /// Begin of its life.
        from: Timestamp,
        /// End of its life.
        to: Timestamp,
    },
    /// The signature is for other addresses.
    #[error("credential is for other addresses")]
    Address,
    /// The signature is for other services.
    #[error("credential is for other services")]
    Service,
    /// The signature is for other resources.
    #[error("credential is for other resources")]
    Resource,
    /// The signature lacks the right.
    #[error("credential lacks the right `{0}`")]
    Permission(char),
}

impl From<&Denied> for Refusal {
    fn from(denied: &Denied) -> Self {
        let right = |right: &str| Self::Right { policy: "shared access signature".into(), right: right.into() };
        match denied {
            Denied::Missing | Denied::Malformed(_) | Denied::Unsupported(_) => Self::Missing,
            Denied::Signature => Self::Signature,
            Denied::Account => Self::UnknownIdentity("storage account".into()),
            Denied::Time { to, .. } => Self::Expired(*to),
            Denied::Address => right("use from this address"),
            Denied::Service => right("use of the blob service"),
            Denied::Resource => right("use of this resource"),
            Denied::Permission(letter) => right(&letter.to_string()),
        }
    }
}

/// What a proven caller may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grant {
    /// The account's key: everything.
    Key,
    /// A signature for a blob or a container; which one was proven with it.
    Service {
        /// Letters of `sp`.
        permissions: String,
        /// It is for one blob and not for its container.
        is_blob: bool,
    },
    /// A signature for the account.
    Account {
        /// Letters of `sp`.
        permissions: String,
        /// Letters of `srt`.
        resource_types: String,
    },
}

impl Grant {
    /// Lets through who has one of `needed` on `target`; says which one it was.
    ///
    /// # Errors
    /// [`Denied::Resource`] or [`Denied::Permission`].
    pub fn require(&self, target: &Target, needed: &[Permission]) -> Result<Permission, Denied> {
        let first = *needed.first().expect("an operation needs a right");
        let permissions = match self {
            Self::Key => return Ok(first),
            Self::Service { permissions, is_blob } => {
                // A signature of a container covers its blobs and their list; nothing else of the container.
                let covered = match target {
                    Target::Account => false,
                    Target::Container(_) => !is_blob && first == Permission::List,
                    Target::Blob(..) => true,
                };
                if !covered {
                    return Err(Denied::Resource);
                }
                permissions
            }
            Self::Account { permissions, resource_types } => {
                let letter = match target {
                    Target::Account => 's',
                    Target::Container(_) => 'c',
                    Target::Blob(..) => 'o',
                };
                if !resource_types.contains(letter) {
                    return Err(Denied::Resource);
                }
                permissions
            }
        };
        let held = needed.iter().find(|permission| permissions.contains(permission.letter()));
        held.copied().ok_or(Denied::Permission(first.letter()))
    }
}
