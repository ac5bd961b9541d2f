//! Links that sign in, or let somebody choose a password; and how often an address may begin something.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use gantry_directory::{
    Credentials, PASSWORD_LINK_LIFE, PasswordLink, PersonId, Secret, SecretHash, Stage, WeakPassword,
};
use gantry_identity::Timestamp;
use zeroize::Zeroizing;

use super::{AccountError, NotSignedIn, Opened, SignIn, Whence};

/// How long a sign-in link works.
const LINK_LIFE: Duration = Duration::from_secs(24 * 3600);
const LINKS_MAX: usize = 16;
/// Longest token that is looked at.
const TOKEN_LEN_MAX: usize = 128;
/// What one address may begin within a minute.
const STARTS_MAX: usize = 30;
/// Beginnings remembered.
const STARTS_KEPT: usize = 10_000;

/// Sign-in links of the console, as hashes, each with its end.
#[derive(Default)]
pub(super) struct Links(VecDeque<(SecretHash, Timestamp)>);

/// What began within the last minute.
#[derive(Default)]
pub(super) struct Recent(VecDeque<(Timestamp, IpAddr)>);

impl Recent {
    /// Whether an address may begin one more.
    pub(super) fn admit(&mut self, address: IpAddr, now: Timestamp) -> bool {
        let is_old = |at: Timestamp| now.since(at) > Duration::from_secs(60);
        while self.0.len() >= STARTS_KEPT || self.0.front().is_some_and(|(at, _)| is_old(*at)) {
            self.0.pop_front();
        }
        if self.0.iter().filter(|(_, from)| *from == address).count() >= STARTS_MAX {
            return false;
        }
        self.0.push_back((now, address));
        true
    }
}

impl SignIn {
    /// Lets `token` sign the administrator in once.
    pub fn add_link(&self, token: &str, now: Timestamp) {
        let links = &mut self.links.lock().0;
        if links.len() >= LINKS_MAX {
            links.pop_front();
        }
        links.push_back((SecretHash::of(token), now.plus(LINK_LIFE)));
    }

    /// Counts an attempt with a token of a link; whether it may go on.
    fn admit_token(&self, token: &str, from: Whence<'_>, now: Timestamp) -> Result<SecretHash, NotSignedIn> {
        let mut attempts = self.link_attempts.lock();
        // Nobody's failures but those of the address count: nobody can be kept from their link.
        let admitted = attempts.admit(&from.address.to_string(), from.address, now);
        let _failed = admitted.map_err(|wait| NotSignedIn::Wait(wait.retry_after))?;
        if token.len() > TOKEN_LEN_MAX {
            return Err(unknown());
        }
        Ok(SecretHash::of(token))
    }

    fn token_was_good(&self, from: Whence<'_>) {
        self.link_attempts.lock().forgive(&from.address.to_string());
    }

    /// Signs the administrator in, once for each link.
    pub(crate) fn by_link(&self, token: &str, from: Whence<'_>, now: Timestamp) -> Result<Opened, NotSignedIn> {
        let hash = self.admit_token(token, from, now)?;
        let admin = self.people.find(&PersonId::administrator()).filter(|person| !person.disabled);
        {
            let links = &mut self.links.lock().0;
            links.retain(|(_, until)| *until > now);
            let before = links.len();
            links.retain(|(link, _)| *link != hash);
            if links.len() == before {
                return Err(unknown());
            }
        }
        let admin = admin.ok_or_else(unknown)?;
        self.token_was_good(from);
        self.open(admin, Stage::Full, None, from, now)
    }

    /// Makes a link with which a person may choose their password, and gives its token.
    pub(crate) async fn make_link(&self, id: &PersonId, now: Timestamp) -> Result<(Secret, Timestamp), AccountError> {
        let (secret, until) = (self.secret(), now.plus(PASSWORD_LINK_LIFE));
        self.people.put_link(id, &PasswordLink { hash: secret.hash(), until }).await?;
        Ok((secret, until))
    }

    /// Gives the person of a link the password they choose. It signs nobody in: they have a second factor, perhaps.
    pub(crate) async fn choose(
        &self,
        token: &str,
        password: &str,
        from: Whence<'_>,
        now: Timestamp,
    ) -> Result<std::sync::Arc<gantry_directory::Person>, AccountError> {
        let hash = self.admit_token(token, from, now)?;
        let all = self.people.all();
        // Every link is compared, each in constant time.
        let found =
            all.values().fold(None, |found, person| if person.has_link(&hash, now) { Some(person) } else { found });
        let person = found.ok_or_else(unknown)?;
        self.token_was_good(from);
        self.policy.check(password, &self.names(person))?;
        let (before, salt) = (person.credentials.clone(), self.draw());
        let password = Zeroizing::new(password.to_owned());
        let chosen = self.hashing(move |passwords| match before {
            None => Ok(Credentials::chosen(passwords.hash(&password, salt), now)),
            Some(mut credentials) => match credentials.change(passwords, &password, salt, now) {
                // Somebody who forgot it may choose it again.
                Ok(()) | Err(WeakPassword::Same) => Ok(credentials),
                Err(weak) => Err(weak),
            },
        });
        let credentials = chosen.await??;
        self.people.put_credentials(person, &credentials, false).await?;
        self.attempts.lock().forgive(person.id.as_str());
        self.revoke_all(person, None);
        Ok(std::sync::Arc::clone(person))
    }
}

fn unknown() -> NotSignedIn {
    NotSignedIn::Wrong { reason: gantry_directory::SignInRefused::Unknown, known: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_begins_so_many_a_minute() {
        let mut recent = Recent::default();
        let (one, other) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let at = |secs: i64| Timestamp::from_millis(secs * 1000);
        for _ in 0..STARTS_MAX {
            assert!(recent.admit(one, at(0)));
        }
        assert!(!recent.admit(one, at(60)) && recent.admit(other, at(60)));
        assert!(recent.admit(one, at(61)));
        for n in 0..2 * STARTS_KEPT {
            recent.admit(IpAddr::from(u32::try_from(n).unwrap().to_be_bytes()), at(61));
        }
        assert!(recent.0.len() <= STARTS_KEPT);
    }
}
