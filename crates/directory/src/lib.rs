//! Who signs in, and what they may do: people, programs, their tokens, roles and the log of what they did.
//!
//! Everything here is a plain function or `&mut self` method of its arguments: no HTTP, sockets, files, clock (`now`
//! is passed in) or randomness (bytes are drawn by the caller; only what ECDSA draws for each signature is not).
//!
//! - [`People`]: who they are, kept; [`Person`] says as what they may sign in.
//! - [`Credentials`]: what a person proves themselves with; [`Attempts`] bounds guessing; [`Sessions`] keeps them
//!   signed in.
//! - [`validate`]: a directory token of whoever is trusted ([`TrustedIssuer`]) into a [`Principal`].
//! - [`OwnDirectory`]: programs of ours and the tokens they get; [`SigningKeys`] and how one follows another.
//! - [`Flows`]: people who sign in with a foreign OpenID [`Provider`].
//! - [`RoleAssignments`]: who may do what, where; [`roles::actions`] has the words.
//! - [`audit`]: what they did, chained so that changes show.
//!
//! Invariants: nothing secret is kept that can be kept as a hash; nothing secret is in an error, a `Debug` or the
//! audit log; whatever is not allowed is refused.

pub mod audit;
mod credentials;
mod form;
mod ids;
mod issuer;
mod millis;
mod oidc;
mod people;
pub mod roles;
mod secret;
mod sessions;
mod token;

pub use credentials::{
    ATTEMPT_KEYS_MAX, Admitted, Argon2Parameters, Attempts, Credentials, NAME_LEN_MAX, PASSWORD_LEN_MAX,
    PASSWORD_LEN_MIN, ParametersError, PasswordHash, PasswordPolicy, Passwords, Presented, RECOVERY_CODES,
    RecoveryCodes, Refused as SignInRefused, SignedIn, Totp, TotpSecret, Verdict, Wait, WeakPassword,
};
pub use form::FormError;
pub use ids::{Guid, GuidError};
pub use issuer::{
    CLIENT_SECRET_LIFE_MAX, CLIENT_SECRETS_MAX, ClientSecret, Endpoint, GrantError, Granted, KEPT_AFTER, OwnDirectory,
    PUBLISHED_BEFORE, ROTATED_AFTER, SIGNING_KEYS_MAX, SecretNotAdded, ServicePrincipal, SigningKeyError, SigningKeys,
    TOKEN_LIFE_SECS, TokenRequest,
};
pub use oidc::{
    Awaiting, CallbackRefused, Client, Drawn, Exchange, FLOW_LIFE, FLOWS_MAX, Flows, ForeignUser, IdTokenRefused,
    Mapping, PROVIDER_DOCUMENT_BYTES_MAX, Provider, ProviderError, RoleRule, Start, TOKEN_ANSWER_BYTES_MAX,
};
pub use people::{
    ADMINISTRATOR, Origin, PASSWORD_LINK_LIFE, PEOPLE_MAX, PasswordLink, People, PeopleError, Person, PersonId,
    PersonWrite, PlatformRole,
};
pub use roles::{
    BLOB_PERMISSIONS, BUILT_IN_ROLES, HUB_RIGHTS, NotAssigned, PROVISIONING_RIGHTS, ROLE_ASSIGNMENTS_MAX,
    RoleAssignment, RoleAssignments, RoleDefinition, SCOPE_LEN_MAX, Scope, ScopeError,
};
pub use secret::{Secret, SecretHash, SecretText};
pub use sessions::{
    NoSession, SESSIONS_MAX, SESSIONS_PER_USER_MAX, Session, SessionLife, Sessions, Stage, TooManySessions, csrf_token,
    is_csrf_token,
};
pub use token::{
    Audiences, ClaimError, GROUPS_MAX, Head, JwtError, KEY_SET_BYTES_MAX, KEYS_MAX, KeySetError, Principal,
    PrincipalKind, PublicKey, PublicKeys, ROLES_MAX, TOKEN_LEN_MAX, TimeError, TokenRefused, TrustedIssuer, validate,
};
