//! Who is signed in to the page, and the token that shows a request to be the page's own.
//!
//! A session's id is in the browser's cookie; we keep its hash. The CSRF token is made of the id
//! (`HMAC-SHA256(id, "csrf")`), so nothing more is kept for it, and whoever cannot read the cookie cannot make it.
//! A session ends when it was idle too long, when it is too old, when there are newer ones of the same user than may
//! be, and when it is revoked. It gets a new id when what it may do changes ([`Sessions::renew`]), against fixation.
//!
//! Invariant: at most [`SESSIONS_MAX`] sessions, at most [`SESSIONS_PER_USER_MAX`] of one user.

use std::collections::HashMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gantry_identity::Timestamp;
use hmac::{Hmac, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use crate::secret::{Secret, SecretHash};

/// Sessions of everybody.
pub const SESSIONS_MAX: usize = 10_000;
/// Sessions of one user; the one that was idle longest gives way.
pub const SESSIONS_PER_USER_MAX: usize = 20;
/// Longest id or CSRF token that is looked at, bytes.
const TEXT_LEN_MAX: usize = 128;
/// Longest note of where a session came from, characters.
const FROM_LEN_MAX: usize = 128;

/// How long sessions last. The default: half an hour idle, twelve hours in all (OWASP Session Management Cheat
/// Sheet's range for everyday applications).
#[derive(Clone, Copy, Debug)]
pub struct SessionLife {
    /// Without a request.
    pub idle: Duration,
    /// In all.
    pub absolute: Duration,
}

impl SessionLife {
    /// Whether a session is not over.
    pub fn is_live(self, session: &Session, now: Timestamp) -> bool {
        now.since(session.used_at) < self.idle && now.since(session.opened_at) < self.absolute
    }
}

impl Default for SessionLife {
    fn default() -> Self {
        Self { idle: Duration::from_secs(30 * 60), absolute: Duration::from_secs(12 * 3600) }
    }
}

/// What a session is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Stage {
    /// The password was right; the second factor is missing.
    Code,
    /// Another password must be chosen first.
    Change,
    /// Everything the user may do.
    Full,
}

/// One session, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Session {
    /// Hash of its id; also its name in lists, which opens nothing.
    pub id: SecretHash,
    /// Whose.
    pub user: String,
    /// What for.
    pub stage: Stage,
    /// Address and program it came from, to recognise it by.
    pub from: String,
    /// Since when.
    #[serde(with = "crate::millis")]
    pub opened_at: Timestamp,
    /// Last request.
    #[serde(with = "crate::millis")]
    pub used_at: Timestamp,
}

/// There are as many sessions as may be.
#[derive(Debug, thiserror::Error, Clone, Copy, PartialEq, Eq)]
#[error("{SESSIONS_MAX} sessions are open, which is the most")]
pub struct TooManySessions;

/// Why a request has no session.
#[derive(Debug, thiserror::Error, Clone, Copy, PartialEq, Eq)]
pub enum NoSession {
    /// Never opened, ended or revoked.
    #[error("session is unknown")]
    Unknown,
    /// Too old, or too long idle.
    #[error("session has expired")]
    Expired,
}

/// Every session.
#[derive(Debug, Default)]
pub struct Sessions {
    life: SessionLife,
    sessions: HashMap<SecretHash, Session>,
}

impl Sessions {
    /// None yet.
    pub fn new(life: SessionLife) -> Self {
        Self { life, sessions: HashMap::new() }
    }

    /// Those that were kept, without what has expired and what is beyond the bounds.
    pub fn restore(life: SessionLife, kept: impl IntoIterator<Item = Session>, now: Timestamp) -> Self {
        let mut all = Self::new(life);
        let mut of_user: HashMap<String, usize> = HashMap::new();
        for session in kept.into_iter().filter(|session| life.is_live(session, now)).take(SESSIONS_MAX) {
            let count = of_user.entry(session.user.clone()).or_default();
            *count += 1;
            if *count <= SESSIONS_PER_USER_MAX {
                all.sessions.insert(session.id, session);
            }
        }
        all
    }

    /// Opens a session with a secret drawn for it, whose text is the id for the cookie.
    ///
    /// # Errors
    /// [`TooManySessions`].
    pub fn open(
        &mut self,
        user: &str,
        stage: Stage,
        from: &str,
        secret: &Secret,
        now: Timestamp,
    ) -> Result<(), TooManySessions> {
        if self.of(user).count() >= SESSIONS_PER_USER_MAX {
            self.end_idlest(user);
        }
        if self.sessions.len() >= SESSIONS_MAX {
            self.sweep(now);
        }
        if self.sessions.len() >= SESSIONS_MAX {
            return Err(TooManySessions);
        }
        let from = from.chars().take(FROM_LEN_MAX).collect();
        let id = secret.hash();
        let session = Session { id, user: user.to_owned(), stage, from, opened_at: now, used_at: now };
        self.sessions.insert(id, session);
        Ok(())
    }

    /// The session of a cookie; notes that it was used.
    ///
    /// # Errors
    /// [`NoSession`].
    pub fn find(&mut self, cookie: &str, now: Timestamp) -> Result<&Session, NoSession> {
        let id = hash(cookie).ok_or(NoSession::Unknown)?;
        let session = self.sessions.get(&id).ok_or(NoSession::Unknown)?;
        if !self.life.is_live(session, now) {
            self.sessions.remove(&id);
            return Err(NoSession::Expired);
        }
        let session = self.sessions.get_mut(&id).ok_or(NoSession::Unknown)?;
        session.used_at = session.used_at.max(now);
        Ok(session)
    }

    /// Gives a session a new id and stage, when its user proved more. The old id is worth nothing from now on; its
    /// age goes on.
    ///
    /// # Errors
    /// [`NoSession`].
    pub fn renew(&mut self, cookie: &str, stage: Stage, secret: &Secret, now: Timestamp) -> Result<(), NoSession> {
        let old = self.find(cookie, now)?.id;
        let session = self.sessions.remove(&old).ok_or(NoSession::Unknown)?;
        let id = secret.hash();
        self.sessions.insert(id, Session { id, stage, ..session });
        Ok(())
    }

    /// Ends the session of a cookie; whether there was one.
    pub fn end(&mut self, cookie: &str) -> bool {
        hash(cookie).is_some_and(|id| self.revoke(&id))
    }

    /// Ends a session by its name in lists; whether there was one.
    pub fn revoke(&mut self, id: &SecretHash) -> bool {
        self.sessions.remove(id).is_some()
    }

    /// Ends every session of a user but the one of a cookie, if it is given; how many.
    pub fn revoke_all(&mut self, user: &str, but: Option<&str>) -> usize {
        let but = but.and_then(hash);
        let before = self.sessions.len();
        self.sessions.retain(|id, session| session.user != user || Some(*id) == but);
        before - self.sessions.len()
    }

    /// Forgets what has expired.
    pub fn sweep(&mut self, now: Timestamp) {
        let life = self.life;
        self.sessions.retain(|_, session| life.is_live(session, now));
    }

    /// Sessions of a user.
    pub fn of<'a>(&'a self, user: &'a str) -> impl Iterator<Item = &'a Session> {
        self.sessions.values().filter(move |session| session.user == user)
    }

    /// All of them, to keep over a restart.
    pub fn iter(&self) -> impl Iterator<Item = &Session> {
        self.sessions.values()
    }

    fn end_idlest(&mut self, user: &str) {
        let idlest = self.of(user).min_by_key(|session| session.used_at).map(|session| session.id);
        if let Some(id) = idlest {
            self.sessions.remove(&id);
        }
    }
}

fn hash(cookie: &str) -> Option<SecretHash> {
    (cookie.len() <= TEXT_LEN_MAX).then(|| SecretHash::of(cookie))
}

/// The CSRF token of a session, for its page alone.
pub fn csrf_token(cookie: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(cookie.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(b"csrf");
    URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes())
}

/// Whether a presented CSRF token is the session's, in constant time.
pub fn is_csrf_token(cookie: &str, presented: &str) -> bool {
    let is_short = cookie.len() <= TEXT_LEN_MAX && presented.len() <= TEXT_LEN_MAX;
    is_short && csrf_token(cookie).as_bytes().ct_eq(presented.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_millis(0).plus(Duration::from_secs(secs))
    }

    fn secret(n: usize) -> Secret {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&n.to_be_bytes());
        Secret::from_random(bytes)
    }

    fn open(sessions: &mut Sessions, user: &str, n: usize, now: u64) -> String {
        sessions.open(user, Stage::Full, "10.0.0.7 Firefox", &secret(n), at(now)).unwrap();
        secret(n).text().to_owned()
    }

    #[test]
    fn a_session_lasts_while_it_is_used_and_not_for_ever() {
        let mut sessions = Sessions::default();
        let cookie = open(&mut sessions, "jane", 1, 0);
        let (idle, absolute) = (30 * 60, 12 * 3600);
        let mut now = 0;
        while now + idle - 1 < absolute {
            now += idle - 1;
            assert_eq!(sessions.find(&cookie, at(now)).unwrap().user, "jane");
        }
        assert_eq!(sessions.find(&cookie, at(absolute)).unwrap_err(), NoSession::Expired);
        let cookie = open(&mut sessions, "jane", 2, 0);
        assert_eq!(sessions.find(&cookie, at(idle)).unwrap_err(), NoSession::Expired);
        assert_eq!(sessions.find(&cookie, at(0)).unwrap_err(), NoSession::Unknown, "and stays ended");
    }

    #[test]
    fn only_a_hash_is_kept() {
        let mut sessions = Sessions::default();
        let cookie = open(&mut sessions, "jane", 1, 0);
        let json = serde_json::to_string(&sessions.iter().collect::<Vec<_>>()).unwrap();
        assert!(!json.contains(&cookie), "{json}");
        let kept: Vec<Session> = serde_json::from_str(&json).unwrap();
        let mut restored = Sessions::restore(SessionLife::default(), kept.clone(), at(60));
        assert!(restored.find(&cookie, at(61)).is_ok());
        assert_eq!(Sessions::restore(SessionLife::default(), kept.clone(), at(1800)).iter().count(), 0);
        let many = (0..SESSIONS_PER_USER_MAX + 1).map(|n| Session { id: secret(n).hash(), ..kept[0].clone() });
        assert_eq!(Sessions::restore(SessionLife::default(), many, at(1)).iter().count(), SESSIONS_PER_USER_MAX);
    }

    #[test]
    fn a_renewed_session_has_another_id_and_its_old_age() {
        let mut sessions = Sessions::default();
        sessions.open("jane", Stage::Code, "", &secret(1), at(0)).unwrap();
        let (old, new) = (secret(1), secret(2));
        sessions.renew(old.text(), Stage::Full, &new, at(10)).unwrap();
        assert_eq!(sessions.find(old.text(), at(10)).unwrap_err(), NoSession::Unknown);
        let session = sessions.find(new.text(), at(10)).unwrap();
        assert_eq!((session.stage, session.opened_at), (Stage::Full, at(0)));
        assert!(sessions.renew(old.text(), Stage::Full, &secret(3), at(10)).is_err());
    }

    #[test]
    fn sessions_of_a_user_end_together_or_one_by_one() {
        let mut sessions = Sessions::default();
        let cookies: Vec<_> = (0..4).map(|n| open(&mut sessions, "jane", n, 0)).collect();
        let other = open(&mut sessions, "john", 9, 0);
        assert!(sessions.end(&cookies[0]) && !sessions.end(&cookies[0]));
        assert_eq!(sessions.revoke_all("jane", Some(&cookies[1])), 2);
        assert!(sessions.find(&cookies[1], at(1)).is_ok());
        assert_eq!(sessions.revoke_all("jane", None), 1);
        assert!(sessions.find(&other, at(1)).is_ok());
    }

    #[test]
    fn the_idlest_of_a_user_gives_way_to_a_new_one() {
        let mut sessions = Sessions::default();
        let cookies: Vec<_> = (0..SESSIONS_PER_USER_MAX).map(|n| open(&mut sessions, "jane", n, n as u64)).collect();
        assert!(sessions.find(&cookies[0], at(100)).is_ok());
        open(&mut sessions, "jane", 99, 101);
        assert_eq!(sessions.of("jane").count(), SESSIONS_PER_USER_MAX);
        assert!(sessions.find(&cookies[0], at(102)).is_ok());
        assert_eq!(sessions.find(&cookies[1], at(102)).unwrap_err(), NoSession::Unknown);
    }

    #[test]
    fn there_is_a_most_of_all() {
        let mut template = Sessions::default();
        open(&mut template, "jane", 0, 0);
        let one = template.iter().next().unwrap().clone();
        let many = |n: usize| Session { id: secret(n).hash(), user: format!("u{n}"), ..one.clone() };
        let mut sessions = Sessions::restore(SessionLife::default(), (0..SESSIONS_MAX + 1).map(many), at(1));
        assert_eq!(sessions.iter().count(), SESSIONS_MAX);
        let full = sessions.open("jane", Stage::Full, "", &secret(SESSIONS_MAX), at(1));
        assert_eq!(full, Err(TooManySessions));
        assert!(sessions.open("jane", Stage::Full, "", &secret(SESSIONS_MAX), at(1800)).is_ok(), "expired ones go");
    }

    #[test]
    fn a_csrf_token_is_of_one_session() {
        let (one, other) = (secret(1), secret(2));
        let token = csrf_token(one.text());
        assert!(is_csrf_token(one.text(), &token));
        assert!(!is_csrf_token(other.text(), &token));
        for wrong in ["", &token[1..], &format!("{token}A"), one.text(), &"A".repeat(TEXT_LEN_MAX + 1)] {
            assert!(!is_csrf_token(one.text(), wrong), "{wrong}");
        }
    }

    #[test]
    fn what_is_no_cookie_opens_nothing() {
        let mut sessions = Sessions::default();
        open(&mut sessions, "jane", 1, 0);
        for wrong in ["", "x", &"A".repeat(43), &"A".repeat(1 << 20)] {
            assert_eq!(sessions.find(wrong, at(0)).unwrap_err(), NoSession::Unknown);
        }
    }
}
