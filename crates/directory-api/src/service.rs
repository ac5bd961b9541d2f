//! The directory of a process: what it keeps, whom it trusts, whom it knows.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use gantry_directory::{
    Attempts, Audiences, Endpoint, GrantError, Granted, Guid, Head, OwnDirectory, Principal, PrincipalKind, PublicKeys,
    TokenRefused, TokenRequest, TrustedIssuer, Wait, validate,
};
use gantry_hub::owned::Owned;
use gantry_hub::ports::Documents;
use gantry_hub::ports::directory::{Audience, Person};
use gantry_identity::Timestamp;
use parking_lot::{Mutex, RwLock};
use rand::Rng as _;
use sha2::{Digest as _, Sha256};
use tokio::sync::{Notify, watch};
use zeroize::Zeroizing;

use crate::kept::{self, Change, DirectoryError, Kept};
use crate::known::{Identified, Known};

/// A directory elsewhere whose tokens are taken.
#[derive(Clone, Debug)]
pub struct Issuer {
    /// What it calls itself.
    pub names: Vec<String>,
    /// The tenant it speaks for.
    pub tenant_id: Guid,
    /// An audience of its tokens that is taken beside those of the heads, by every head.
    pub audience: Option<String>,
    /// Its keys; none until they could be had.
    pub keys: Option<PublicKeys>,
}

/// What the directory is made of.
pub struct Setup {
    /// Where it is: `https://host` with a port that is not 443.
    pub origin: String,
    /// Addresses of the platform by which clients of the tables may name it.
    pub own_names: Vec<String>,
    /// Directories elsewhere.
    pub issuers: Vec<Issuer>,
    /// Draws a key to sign with: ECDSA over P-256, PKCS #8.
    pub draw_key: fn() -> Zeroizing<Vec<u8>>,
}

/// What `connection.env` says of the program for development.
#[derive(Clone)]
pub struct DevelopmentSecret {
    /// Its `client_id`.
    pub app_id: String,
    /// Its secret.
    pub secret: String,
}

/// The directory.
pub struct Service {
    origin: String,
    tenant: String,
    pub(crate) kept: Owned<Kept>,
    issuers: RwLock<Arc<Vec<Trusted>>>,
    audiences: Vec<Audiences>,
    known: Known,
    attempts: Mutex<Attempts>,
    /// Rises with the keys that tokens are verified with.
    generation: AtomicU64,
    changes: watch::Sender<u64>,
    wanted: Notify,
    draw_key: fn() -> Zeroizing<Vec<u8>>,
}

/// An issuer with the audiences its tokens may have, by head.
pub(crate) struct Trusted {
    pub(crate) issuer: Issuer,
    trusted: Option<TrustedIssuer>,
    audiences: Vec<Audiences>,
}

fn head(audience: Audience) -> Head {
    match audience {
        Audience::Hub => Head::IotHub,
        Audience::Provisioning => Head::Provisioning,
        Audience::Stream => Head::EventHubs,
        Audience::Storage => Head::Storage,
        Audience::Tables => Head::Kusto,
        Audience::Application => Head::Central,
        Audience::Management => Head::Management,
    }
}

/// The audiences of every head, in the order of [`Head::ALL`].
fn audiences(own_names: &[String], more: Option<&str>) -> Vec<Audiences> {
    let of = |head: Head| {
        let own = own_names.iter().map(String::as_str).filter(|_| head == Head::Kusto);
        Audiences::of(head, own.chain(more))
    };
    Head::ALL.into_iter().map(of).collect()
}

fn of_head(all: &[Audiences], audience: Audience) -> Option<&Audiences> {
    let head = head(audience);
    Head::ALL.iter().position(|one| *one == head).and_then(|at| all.get(at))
}

/// A principal in the words of the port.
pub(crate) fn person(principal: &Principal) -> Person {
    Person {
        tenant_id: principal.tenant_id.to_string(),
        object_id: principal.object_id.to_string(),
        app_id: principal.app_id.clone(),
        is_program: principal.kind == PrincipalKind::ServicePrincipal,
        name: principal.name.clone(),
        groups: principal.groups.iter().map(Guid::to_string).collect(),
        expires_at: principal.expires_at,
    }
}

/// A new id.
pub(crate) fn draw_guid() -> Guid {
    Guid::from_random(rand::rng().random())
}

/// Why a request got no token.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoToken {
    #[error(transparent)]
    Grant(#[from] GrantError),
    #[error(transparent)]
    Wait(#[from] Wait),
}

impl Service {
    /// Opens the directory over its documents.
    ///
    /// # Errors
    /// When the store fails, something cannot be read, or an issuer elsewhere speaks for our tenant.
    pub async fn open(documents: Arc<dyn Documents>, setup: Setup) -> Result<Self, DirectoryError> {
        let kept = kept::load(documents, setup.origin.clone(), draw_guid).await?;
        let tenant = kept.current().own.tenant_id;
        if setup.issuers.iter().any(|issuer| issuer.tenant_id == tenant) {
            return Err(DirectoryError::Invalid(format!("issuer of tenant `{tenant}`: that is our own directory")));
        }
        let trusted = |issuer: Issuer| {
            let audiences = audiences(&setup.own_names, issuer.audience.as_deref());
            Trusted { trusted: as_trusted(&issuer), audiences, issuer }
        };
        let issuers = setup.issuers.iter().cloned().map(trusted).collect();
        Ok(Self {
            origin: setup.origin,
            tenant: tenant.to_string(),
            kept,
            issuers: RwLock::new(Arc::new(issuers)),
            audiences: audiences(&setup.own_names, None),
            known: Known::default(),
            attempts: Mutex::default(),
            generation: AtomicU64::new(0),
            changes: watch::channel(0).0,
            wanted: Notify::new(),
            draw_key: setup.draw_key,
        })
    }

    /// Where it is, and its tenant.
    pub fn authority(&self) -> (&str, &str) {
        (&self.origin, &self.tenant)
    }

    pub(crate) fn own(&self) -> OwnDirectory {
        self.kept.current().own.clone()
    }

    /// Changes whenever somebody may have lost a role.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    pub(crate) fn issuers(&self) -> Arc<Vec<Trusted>> {
        Arc::clone(&self.issuers.read())
    }

    /// Takes the keys of an issuer elsewhere, the one with this place in [`Setup::issuers`].
    pub fn set_keys(&self, place: usize, keys: PublicKeys) {
        let mut issuers = self.issuers.write();
        let renewed = issuers.iter().enumerate().map(|(at, one)| {
            let mut issuer = one.issuer.clone();
            if at == place {
                issuer.keys = Some(keys.clone());
            }
            Trusted { trusted: as_trusted(&issuer), audiences: one.audiences.clone(), issuer }
        });
        *issuers = Arc::new(renewed.collect());
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    /// Resolves when a token named a key of an issuer elsewhere that is not among those we have.
    pub async fn keys_wanted(&self) {
        self.wanted.notified().await;
    }

    /// Writes a change that is worked out on what is kept.
    pub(crate) async fn change<R>(
        &self,
        mut change: impl FnMut(&Kept) -> Result<(Change, R), DirectoryError>,
    ) -> Result<R, DirectoryError> {
        let said = self.kept.change(|kept| change(kept).and_then(|(change, said)| change.on(kept, said))).await?;
        self.changes.send_modify(|count| *count = count.wrapping_add(1));
        Ok(said)
    }

    /// Draws a new key when one is due, and forgets those that nothing is signed with any more.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn tend(&self, now: Timestamp) -> Result<(), DirectoryError> {
        let is_idle = |kept: &Kept| {
            let mut keys = kept.keys.clone();
            !keys.is_due(now) && keys.retire(now) == 0
        };
        if is_idle(&self.kept.current()) {
            return Ok(());
        }
        self.change(|kept| {
            let mut keys = kept.keys.clone();
            keys.retire(now);
            if keys.is_due(now) {
                keys.add((self.draw_key)(), now)?;
            }
            Ok((Change { keys: Some(keys), ..Change::default() }, ()))
        })
        .await?;
        self.generation.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }

    /// Forgets a key that is not secret any more: what was signed with it is refused from now on. Another one signs.
    pub(crate) async fn revoke_key(&self, id: &str, now: Timestamp) -> Result<(), DirectoryError> {
        self.change(|kept| {
            let mut keys = kept.keys.clone();
            if !keys.revoke(id) {
                return Err(DirectoryError::Unknown("signing key", id.chars().take(64).collect()));
            }
            if !keys.can_sign(now) {
                keys.add((self.draw_key)(), now)?;
            }
            Ok((Change { keys: Some(keys), ..Change::default() }, ()))
        })
        .await?;
        self.generation.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }

    /// Whom a token is of, that is for one part of the platform.
    pub(crate) fn identify(
        &self,
        now: Timestamp,
        token: &str,
        audience: Audience,
    ) -> Result<Arc<Identified>, TokenRefused> {
        // Before the keys are read: what is verified with keys that go meanwhile is not known for long.
        let generation = self.generation.load(Ordering::Acquire);
        let key = (audience, Sha256::digest(token.as_bytes()).into());
        if let Some(one) = self.known.get(&key, generation, now) {
            return Ok(one);
        }
        let principal = self.verify(now, token, audience)?;
        let one = Arc::new(Identified { person: person(&principal), principal });
        self.known.put(key, generation, Arc::clone(&one), now);
        Ok(one)
    }

    fn verify(&self, now: Timestamp, token: &str, audience: Audience) -> Result<Principal, TokenRefused> {
        let (kept, issuers) = (self.kept.current(), self.issuers());
        let own = kept.trusted.iter().map(|issuer| (issuer, &self.audiences));
        let others = issuers.iter().filter_map(|one| Some((one.trusted.as_ref()?, &one.audiences)));
        let mut refused = TokenRefused::Issuer(String::new());
        for (issuer, audiences) in own.chain(others) {
            let Some(audiences) = of_head(audiences, audience) else { continue };
            match validate(token, std::slice::from_ref(issuer), audiences, now) {
                Err(error @ TokenRefused::Issuer(_)) => refused = error,
                Err(error) => {
                    if matches!(error, TokenRefused::Jwt(gantry_directory::JwtError::KeyUnknown(_))) {
                        self.wanted.notify_one();
                    }
                    return Err(error);
                }
                Ok(principal) => return Ok(principal),
            }
        }
        Err(refused)
    }

    /// A token for the program for development, without asking over HTTP.
    ///
    /// # Errors
    /// Why there is none.
    pub fn token_of(&self, one: &DevelopmentSecret, resource: &str, now: Timestamp) -> Result<String, String> {
        let DevelopmentSecret { app_id, secret } = one;
        let body =
            format!("grant_type=client_credentials&client_id={app_id}&client_secret={secret}&resource={resource}");
        let granted = self.grant(Endpoint::V1, &body, None, "", now).map_err(|(_, refused)| refused.to_string())?;
        Ok(granted.access_token.text().to_owned())
    }

    /// Whether a principal of ours is still there and enabled; of others their tokens alone say so.
    pub(crate) fn is_known(&self, principal: &Principal) -> bool {
        let kept = self.kept.current();
        principal.tenant_id != kept.own.tenant_id
            || kept.principals.get(&principal.object_id).is_some_and(|one| one.enabled)
    }

    /// Gives a program a token, or counts that it failed. Failures count for the program at the address, so nobody keeps a
    /// program out from elsewhere, and for the address, whichever programs it names.
    pub(crate) fn grant(
        &self,
        version: Endpoint,
        body: &str,
        authorization: Option<&str>,
        peer: &str,
        now: Timestamp,
    ) -> Result<Granted, (String, NoToken)> {
        let nobody = |error: GrantError| ("(token request)".to_owned(), error.into());
        let request = TokenRequest::parse(version, body, authorization).map_err(nobody)?;
        let name = request.client_id.to_string();
        let address = address(peer);
        let kept = self.kept.current();
        // Nothing is waited for between these, so requests that come at once do not count as failures of each other.
        let mut attempts = self.attempts.lock();
        let admitted = attempts.admit(&format!("{name} {address}"), address, now);
        let admitted = admitted.map_err(|wait| (name.clone(), wait.into()))?;
        let client = kept.of_app(request.client_id);
        let granted = kept.own.grant(&request, client, &self.audiences, &kept.keys, draw_guid(), now);
        match granted {
            Ok(granted) => {
                attempts.succeeded(admitted);
                Ok(granted)
            }
            Err(error @ (GrantError::Secret | GrantError::SecretExpired | GrantError::Unknown(_))) => {
                Err((name, error.into()))
            }
            Err(error) => {
                attempts.undecided(admitted);
                Err((name, error.into()))
            }
        }
    }
}

/// How long a client that failed too often is told to wait.
pub(crate) fn retry_after(wait: &Wait) -> u64 {
    wait.retry_after.max(Duration::from_secs(1)).as_secs()
}

fn address(peer: &str) -> IpAddr {
    peer.parse::<SocketAddr>().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |address| address.ip().to_canonical())
}

fn as_trusted(issuer: &Issuer) -> Option<TrustedIssuer> {
    let keys = issuer.keys.clone()?;
    Some(TrustedIssuer { names: issuer.names.clone(), tenant_id: issuer.tenant_id, keys })
}
