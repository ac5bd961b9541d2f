//! People who sign in to the page: with name and password, by a link of the console, or with a foreign provider.
//!
//! What decides is of `gantry_directory`; here it meets the clock, randomness, addresses and the threads that hash. A
//! session is a cookie; what its person may do is looked up with every request, so whoever is disabled, deleted or given
//! another role is so at once. Sessions, failures and people on their way are in memory: a restart signs everybody out.
//!
//! Bounds: [`HASHES_AT_ONCE`] passwords are hashed at one time and [`HASHES_WAITING_MAX`] wait, because each takes what
//! memory and time it is meant to take.

mod account;
mod links;
mod openid;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use gantry_directory::{
    Argon2Parameters, Attempts, Credentials, ParametersError, PasswordPolicy, Passwords, People, PeopleError, Person,
    PersonId, Presented, Secret, SecretHash, Session, SessionLife, Sessions, SignInRefused, SignedIn, Stage,
    TotpSecret, is_csrf_token,
};
use gantry_hub::ports::Entropy;
use gantry_identity::Timestamp;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use crate::caller::{Caller, Who};

pub(crate) use self::account::AccountError;
use self::links::{Links, Recent};
use self::openid::Way;
pub(crate) use self::openid::{CallbackFailure, STATE_COOKIE, StartFailure};
pub use self::openid::{OpenIdProvider, ProviderLink};

/// Passwords that are hashed at one time.
const HASHES_AT_ONCE: usize = 4;
/// Those that wait for it, with those.
const HASHES_WAITING_MAX: usize = 64;
/// How often a sign-in is worked out again, because somebody used the same credentials at the same time.
const ATTEMPTS_MAX: usize = 8;

/// How people sign in.
pub struct SignInConfig {
    /// What authenticators call the platform.
    pub name: String,
    /// How long sessions last.
    pub life: SessionLife,
    /// Which passwords may be chosen.
    pub policy: PasswordPolicy,
    /// What a hash costs.
    pub cost: Argon2Parameters,
    /// Foreign providers.
    pub providers: Vec<OpenIdProvider>,
}

impl Default for SignInConfig {
    fn default() -> Self {
        Self {
            name: "Gantry".into(),
            life: SessionLife::default(),
            policy: PasswordPolicy::default(),
            cost: Argon2Parameters::default(),
            providers: vec![],
        }
    }
}

/// Everybody who signs in or is signed in.
pub struct SignIn {
    /// Who they are.
    pub people: People,
    name: String,
    life: SessionLife,
    policy: PasswordPolicy,
    passwords: Arc<Passwords>,
    entropy: Arc<dyn Entropy>,
    sessions: Mutex<Sessions>,
    attempts: Mutex<Attempts>,
    /// Of the tokens of links, which are nobody's in particular.
    link_attempts: Mutex<Attempts>,
    links: Mutex<Links>,
    /// Second factors that are not confirmed yet.
    pending: Mutex<HashMap<PersonId, (TotpSecret, Timestamp)>>,
    starts: Mutex<Recent>,
    ways: Vec<Way>,
    hashing: Semaphore,
    waiting: Semaphore,
}

/// Why nobody is signed in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotSignedIn {
    /// Too many failures before.
    #[error("too many attempts; wait {} seconds", .0.as_secs().max(1))]
    Wait(Duration),
    /// What was presented is not theirs; the peer hears one text.
    #[error("{reason}")]
    Wrong { reason: SignInRefused, known: Option<Arc<Person>> },
    /// The password is right, and they have a second factor.
    #[error("the code of the second factor is missing")]
    CodeMissing(Arc<Person>),
    /// There is no room for another hash or session.
    #[error("too many people sign in at this moment")]
    Busy,
    /// People cannot be written.
    #[error(transparent)]
    Failed(#[from] PeopleError),
}

/// A session that was just opened.
pub(crate) struct Opened {
    /// Its id, for the cookie.
    pub(crate) secret: Secret,
    pub(crate) person: Arc<Person>,
    pub(crate) stage: Stage,
    /// Recovery codes that are left, when one was used.
    pub(crate) recovery_left: Option<usize>,
}

/// Address of a peer; without one, all share one.
pub(crate) fn address(peer: &str) -> IpAddr {
    peer.parse::<SocketAddr>().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip())
}

/// Whose sessions are a person's: not those of somebody before who had the same name.
fn user(person: &Person) -> String {
    format!("{} {}", person.id, person.created_at.as_millis())
}

impl SignIn {
    /// Nobody is signed in yet.
    ///
    /// # Errors
    /// When a hash may not cost that.
    pub fn new(people: People, config: SignInConfig, entropy: Arc<dyn Entropy>) -> Result<Self, ParametersError> {
        let mut salt = [0; 16];
        entropy.fill(&mut salt);
        Ok(Self {
            people,
            name: config.name,
            life: config.life,
            policy: config.policy,
            passwords: Arc::new(Passwords::new(config.cost, salt)?),
            entropy,
            sessions: Mutex::new(Sessions::new(config.life)),
            attempts: Mutex::default(),
            link_attempts: Mutex::default(),
            links: Mutex::default(),
            pending: Mutex::default(),
            starts: Mutex::default(),
            ways: config.providers.into_iter().map(Way::new).collect(),
            hashing: Semaphore::new(HASHES_AT_ONCE),
            waiting: Semaphore::new(HASHES_WAITING_MAX),
        })
    }

    /// How long a session lasts in all.
    pub(crate) fn absolute_life(&self) -> Duration {
        self.life.absolute
    }

    fn draw<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.entropy.fill(&mut bytes);
        bytes
    }

    fn secret(&self) -> Secret {
        Secret::from_random(self.draw())
    }

    /// Does work that takes as long as a hash, within the bounds.
    async fn hashing<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Passwords) -> T + Send + 'static,
    ) -> Result<T, NotSignedIn> {
        let _place = self.waiting.try_acquire().map_err(|_| NotSignedIn::Busy)?;
        let _turn = self.hashing.acquire().await.map_err(|_| NotSignedIn::Busy)?;
        let passwords = Arc::clone(&self.passwords);
        tokio::task::spawn_blocking(move || work(&passwords)).await.map_err(|_| NotSignedIn::Busy)
    }

    /// Signs somebody in with what they know and have.
    pub(crate) async fn by_password(
        &self,
        name: &str,
        password: &str,
        code: Option<&str>,
        from: Whence<'_>,
        now: Timestamp,
    ) -> Result<Opened, NotSignedIn> {
        let admitted = self.attempts.lock().admit(name, from.address, now);
        let admitted = admitted.map_err(|wait| NotSignedIn::Wait(wait.retry_after))?;
        let id = PersonId::parse(name).ok();
        for _ in 0..ATTEMPTS_MAX {
            let person = id.as_ref().and_then(|id| self.people.find(id));
            let (credentials, checked) = match self.check(person.as_deref(), password, code, now).await {
                Ok(checked) => checked,
                Err(error) => {
                    // Nobody's password was wrong when there was no time to look at it.
                    self.attempts.lock().undecided(admitted);
                    return Err(error);
                }
            };
            let (person, credentials, signed_in) = match (person, credentials, checked) {
                (Some(person), Some(credentials), Ok(signed_in)) => (person, credentials, signed_in),
                (known, _, Err(reason)) => return Err(NotSignedIn::Wrong { reason, known }),
                (known, _, Ok(_)) => return Err(NotSignedIn::Wrong { reason: SignInRefused::Unknown, known }),
            };
            let (stage, recovery_left, rehashed) = match signed_in {
                SignedIn::CodeMissing => {
                    self.attempts.lock().undecided(admitted);
                    return Err(NotSignedIn::CodeMissing(person));
                }
                SignedIn::MustChange => (Stage::Change, None, false),
                SignedIn::Fully { rehash, recovery_left } => (Stage::Full, recovery_left, rehash),
            };
            // What was used up is written before anybody is let in.
            if credentials.has_totp() || rehashed {
                match self.people.put_credentials(&person, &credentials, true).await {
                    Ok(()) => {}
                    Err(PeopleError::Changed(_) | PeopleError::Unknown(_)) => continue,
                    Err(error) => return Err(error.into()),
                }
            }
            self.attempts.lock().succeeded(admitted);
            return self.open(person, stage, recovery_left, from, now);
        }
        self.attempts.lock().undecided(admitted);
        Err(NotSignedIn::Busy)
    }

    /// Checks what was presented on a thread that may take its time; gives back what is used up of it.
    async fn check(
        &self,
        person: Option<&Person>,
        password: &str,
        code: Option<&str>,
        now: Timestamp,
    ) -> Result<(Option<Credentials>, Result<SignedIn, SignInRefused>), NotSignedIn> {
        let mut credentials = person.and_then(|person| {
            let mut credentials = person.credentials.clone()?;
            credentials.set_disabled(person.disabled);
            Some(credentials)
        });
        let (password, code) = (Zeroizing::new(password.to_owned()), code.map(|code| Zeroizing::new(code.to_owned())));
        let salt = self.draw();
        self.hashing(move |passwords| {
            let presented = Presented { password: &password, code: code.as_ref().map(|code| code.as_str()) };
            let checked = Credentials::check(credentials.as_mut(), passwords, presented, now);
            if let (Some(credentials), Ok(SignedIn::Fully { rehash: true, .. })) = (&mut credentials, &checked) {
                credentials.rehash(passwords, &password, salt);
            }
            (credentials, checked)
        })
        .await
    }

    /// Opens a session with a new id.
    fn open(
        &self,
        person: Arc<Person>,
        stage: Stage,
        recovery_left: Option<usize>,
        from: Whence<'_>,
        now: Timestamp,
    ) -> Result<Opened, NotSignedIn> {
        let secret = self.secret();
        let opened = self.sessions.lock().open(&user(&person), stage, &from.note(), &secret, now);
        opened.map_err(|_| NotSignedIn::Busy)?;
        Ok(Opened { secret, person, stage, recovery_left })
    }

    /// Whose session a cookie is, if they may still have one.
    pub(crate) fn session(&self, cookie: &str, now: Timestamp) -> Option<(Arc<Person>, Stage)> {
        let (of, stage) = {
            let mut sessions = self.sessions.lock();
            let session = sessions.find(cookie, now).ok()?;
            (session.user.clone(), session.stage)
        };
        let id = of.split(' ').next().and_then(|id| PersonId::parse(id).ok())?;
        let person = self.people.find(&id).filter(|person| !person.disabled && user(person) == of)?;
        Some((person, stage))
    }

    /// The same for somebody who only listens: it is not noted as a use.
    pub(crate) fn is_live(&self, cookie: &str, now: Timestamp) -> bool {
        let cookie = SecretHash::of(cookie);
        let of = {
            let sessions = self.sessions.lock();
            let found = sessions.iter().find(|session| session.id == cookie && self.life.is_live(session, now));
            found.map(|session| session.user.clone())
        };
        let person = of.as_deref().and_then(|of| of.split(' ').next()).and_then(|id| PersonId::parse(id).ok());
        let person = person.and_then(|id| self.people.find(&id));
        person.is_some_and(|person| !person.disabled && Some(user(&person)) == of)
    }

    /// A person who called, as they are now; nobody when they are disabled or deleted by now.
    pub fn renewed(&self, caller: &Caller) -> Option<Caller> {
        let Who::User(before) = &caller.who else { return Some(caller.clone()) };
        let person = self.people.find(&before.id)?;
        (!person.disabled && person.created_at == before.created_at).then(|| Caller::person(person))
    }

    /// Whether a request with a cookie is the page's own.
    pub(crate) fn is_own(&self, cookie: &str, presented: &str) -> bool {
        is_csrf_token(cookie, presented)
    }

    /// Ends the session of a cookie.
    pub(crate) fn end(&self, cookie: &str) {
        self.sessions.lock().end(cookie);
    }

    /// Sessions of a person, the one used last first.
    pub(crate) fn sessions_of(&self, person: &Person, now: Timestamp) -> Vec<Session> {
        let mut sessions = self.sessions.lock();
        sessions.sweep(now);
        let mut all: Vec<_> = sessions.of(&user(person)).cloned().collect();
        all.sort_by_key(|session| std::cmp::Reverse(session.used_at));
        all
    }

    /// Ends a session of a person; whether it was theirs.
    pub(crate) fn revoke(&self, person: &Person, session: &Session) -> bool {
        session.user == user(person) && self.sessions.lock().revoke(&session.id)
    }

    /// Ends all sessions of a person but that of a cookie.
    pub(crate) fn revoke_all(&self, person: &Person, but: Option<&str>) {
        self.sessions.lock().revoke_all(&user(person), but);
    }

    /// Lets a person try again at once.
    pub(crate) fn forgive(&self, id: &PersonId) {
        self.attempts.lock().forgive(id.as_str());
    }
}

/// Where somebody comes from.
#[derive(Clone, Copy)]
pub(crate) struct Whence<'a> {
    pub(crate) address: IpAddr,
    /// What their program calls itself.
    pub(crate) program: &'a str,
}

impl Whence<'_> {
    fn note(self) -> String {
        let plain: String = self.program.chars().filter(|c| !c.is_control()).collect();
        format!("{} {plain}", self.address)
    }
}
