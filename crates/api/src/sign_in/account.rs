//! What a person does about their own account: password, second factor, recovery codes.

use std::sync::Arc;
use std::time::Duration;

use gantry_directory::{
    Credentials, NoSession, PeopleError, Person, RECOVERY_CODES, RecoveryCodes, Secret, SecretText, Stage, Totp,
    TotpSecret, WeakPassword,
};
use gantry_identity::Timestamp;
use zeroize::Zeroizing;

use super::{ATTEMPTS_MAX, NotSignedIn, SignIn, Whence, user};

/// How long a second factor may wait for its first code.
const PENDING_LIFE: Duration = Duration::from_secs(10 * 60);

/// Why something about an account was not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AccountError {
    /// Who asks did not prove who they are.
    #[error("{0}")]
    NotProven(String),
    /// Too many failures before.
    #[error("too many attempts; wait {} seconds", .0.as_secs().max(1))]
    Wait(Duration),
    /// There is no room for another hash.
    #[error("too many people sign in at this moment")]
    Busy,
    /// The password may not be chosen.
    #[error(transparent)]
    Weak(#[from] WeakPassword),
    /// Their account is a provider's.
    #[error("you sign in with a foreign provider, which keeps password and second factor")]
    Foreign,
    /// They have no password yet.
    #[error("choose a password first")]
    NoPassword,
    /// They have no second factor.
    #[error("there is no second factor")]
    NoTotp,
    /// No second factor waits for a code.
    #[error("no second factor waits for its first code; begin again")]
    NothingPending,
    /// The first code is wrong.
    #[error("the code is wrong; the clock of the authenticator may be off")]
    Code,
    /// The session ended meanwhile.
    #[error(transparent)]
    Session(#[from] NoSession),
    /// About a person.
    #[error(transparent)]
    People(#[from] PeopleError),
}

impl From<NotSignedIn> for AccountError {
    fn from(error: NotSignedIn) -> Self {
        match error {
            NotSignedIn::Wait(wait) => Self::Wait(wait),
            NotSignedIn::Busy => Self::Busy,
            NotSignedIn::Failed(error) => Self::People(error),
            NotSignedIn::Wrong { .. } | NotSignedIn::CodeMissing(_) => {
                Self::NotProven("the link is unknown, was used or is too old".into())
            }
        }
    }
}

impl SignIn {
    /// Names a password may not hold.
    pub(super) fn names<'a>(&'a self, person: &'a Person) -> Vec<&'a str> {
        person.names().into_iter().chain([self.name.as_str()]).collect()
    }

    /// Whether somebody who is signed in still knows their password: a session that was left open is not enough.
    async fn prove(
        &self,
        person: &Person,
        password: &str,
        from: Whence<'_>,
        now: Timestamp,
    ) -> Result<Credentials, AccountError> {
        if !person.is_local() {
            return Err(AccountError::Foreign);
        }
        let credentials = person.credentials.clone().ok_or(AccountError::NoPassword)?;
        let admitted = self.attempts.lock().admit(person.id.as_str(), from.address, now);
        let admitted = admitted.map_err(|wait| AccountError::Wait(wait.retry_after))?;
        let password = Zeroizing::new(password.to_owned());
        let check = move |passwords: &gantry_directory::Passwords| {
            (credentials.has_password(passwords, &password), credentials)
        };
        let (is_right, credentials) = self.hashing(check).await?;
        if !is_right {
            return Err(AccountError::NotProven("the password is wrong".into()));
        }
        self.attempts.lock().succeeded(admitted);
        Ok(credentials)
    }

    /// Writes what `change` makes of credentials, looked at again when somebody else wrote.
    async fn change_credentials(
        &self,
        person: &Arc<Person>,
        change: impl Fn(&mut Credentials),
    ) -> Result<(), AccountError> {
        let mut seen = Arc::clone(person);
        for _ in 0..ATTEMPTS_MAX {
            let mut credentials = seen.credentials.clone().ok_or(AccountError::NoPassword)?;
            change(&mut credentials);
            match self.people.put_credentials(&seen, &credentials, true).await {
                Err(PeopleError::Changed(id)) => {
                    seen = self.people.find(&id).ok_or(PeopleError::Unknown(id))?;
                }
                other => return Ok(other?),
            }
        }
        Err(PeopleError::Changed(person.id.clone()).into())
    }

    /// Gives a person another password, ends their other sessions, and gives this one a new id.
    pub(crate) async fn change_password(
        &self,
        person: &Arc<Person>,
        (cookie, stage): (&str, Stage),
        (current, new): (Option<&str>, &str),
        from: Whence<'_>,
        now: Timestamp,
    ) -> Result<Secret, AccountError> {
        if !person.is_local() {
            return Err(AccountError::Foreign);
        }
        let before = match &person.credentials {
            None => None,
            Some(_) => Some(self.prove(person, current.unwrap_or_default(), from, now).await?),
        };
        self.policy.check(new, &self.names(person))?;
        let (salt, new) = (self.draw(), Zeroizing::new(new.to_owned()));
        let chosen = self.hashing(move |passwords| match before {
            None => Ok(Credentials::chosen(passwords.hash(&new, salt), now)),
            Some(mut credentials) => credentials.change(passwords, &new, salt, now).map(|()| credentials),
        });
        let credentials = chosen.await??;
        self.people.put_credentials(person, &credentials, false).await?;
        let secret = self.secret();
        let mut sessions = self.sessions.lock();
        sessions.revoke_all(&user(person), Some(cookie));
        let stage = if stage == Stage::Change { Stage::Full } else { stage };
        sessions.renew(cookie, stage, &secret, now)?;
        Ok(secret)
    }

    /// Begins a second factor: its key, and what a QR code holds.
    pub(crate) async fn begin_totp(
        &self,
        person: &Person,
        password: &str,
        from: Whence<'_>,
        now: Timestamp,
    ) -> Result<(SecretText, SecretText), AccountError> {
        self.prove(person, password, from, now).await?;
        let secret = TotpSecret::from_random(self.draw());
        let told = (SecretText::new(secret.base32()), SecretText::new(secret.uri(&self.name, person.id.as_str())));
        let mut pending = self.pending.lock();
        pending.retain(|_, (_, since)| now.since(*since) < PENDING_LIFE);
        // At most one for each person.
        pending.insert(person.id.clone(), (secret, now));
        Ok(told)
    }

    /// Switches the second factor on that was begun; gives the recovery codes, which are never shown again.
    pub(crate) async fn confirm_totp(
        &self,
        person: &Arc<Person>,
        cookie: &str,
        code: &str,
        from: Whence<'_>,
        now: Timestamp,
    ) -> Result<Vec<SecretText>, AccountError> {
        let admitted = self.attempts.lock().admit(person.id.as_str(), from.address, now);
        let admitted = admitted.map_err(|wait| AccountError::Wait(wait.retry_after))?;
        let pending = self.pending.lock().get(&person.id).cloned();
        let pending = pending.filter(|(_, since)| now.since(*since) < PENDING_LIFE);
        let (secret, _) = pending.ok_or(AccountError::NothingPending)?;
        let totp = Totp::confirm(secret, code, now).ok_or(AccountError::Code)?;
        self.attempts.lock().succeeded(admitted);
        self.pending.lock().remove(&person.id);
        let (codes, texts) = self.draw_recovery();
        self.change_credentials(person, |credentials| credentials.add_totp(totp.clone(), codes.clone())).await?;
        self.revoke_all(person, Some(cookie));
        Ok(texts)
    }

    /// Switches the second factor off.
    pub(crate) async fn remove_totp(
        &self,
        person: &Arc<Person>,
        password: &str,
        from: Whence<'_>,
        now: Timestamp,
    ) -> Result<(), AccountError> {
        if !self.prove(person, password, from, now).await?.has_totp() {
            return Err(AccountError::NoTotp);
        }
        self.change_credentials(person, Credentials::remove_totp).await
    }

    /// The same by an administrator, for somebody who lost it.
    pub(crate) async fn take_totp(&self, person: &Arc<Person>) -> Result<(), AccountError> {
        if !person.credentials.as_ref().is_some_and(Credentials::has_totp) {
            return Err(AccountError::NoTotp);
        }
        self.change_credentials(person, Credentials::remove_totp).await?;
        self.revoke_all(person, None);
        Ok(())
    }

    /// Draws recovery codes in the place of those there were.
    pub(crate) async fn draw_codes(
        &self,
        person: &Arc<Person>,
        password: &str,
        from: Whence<'_>,
        now: Timestamp,
    ) -> Result<Vec<SecretText>, AccountError> {
        if !self.prove(person, password, from, now).await?.has_totp() {
            return Err(AccountError::NoTotp);
        }
        let (codes, texts) = self.draw_recovery();
        self.change_credentials(person, |credentials| credentials.replace_recovery(codes.clone())).await?;
        Ok(texts)
    }

    fn draw_recovery(&self) -> (RecoveryCodes, Vec<SecretText>) {
        let bytes: [[u8; 10]; RECOVERY_CODES] = std::array::from_fn(|_| self.draw());
        RecoveryCodes::from_random(bytes)
    }
}
