//! What the tokens of one connection allow.

use gantry_identity::{Refusal, Rights, Timestamp};

use super::ports::Grant;

/// Most audiences a connection holds tokens for.
const GRANTS_MAX: usize = 1_024;

/// What a token must be for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// A node of the hub: a policy's token is good whatever path it names, as over HTTP.
    Hub,
    /// An entity of the event stream, or a queue: Event Hubs and Service Bus narrow tokens to the path they name.
    Entity(String),
}

/// Tokens by audience; SASL PLAIN counts as one that cannot be renewed.
#[derive(Default)]
pub(super) struct Grants {
    by_audience: Vec<Held>,
    plain: bool,
}

/// A token and what it allows. The text is kept for devices that come in with it.
struct Held {
    audience: String,
    grant: Grant,
    token: Box<str>,
}

impl Grants {
    /// The grant of SASL PLAIN.
    pub(super) fn set_plain(&mut self, grant: Grant, token: &str) {
        self.plain = true;
        self.by_audience.push(Held { audience: String::new(), grant, token: token.into() });
    }

    /// The connection was opened with the token of a device, which it ends with.
    pub(super) fn set_plain_device(&mut self) {
        self.plain = true;
    }

    /// Whether the connection was opened with SASL PLAIN, and ends with its token.
    pub(super) fn is_plain(&self) -> bool {
        self.plain
    }

    /// Keeps the grant of a token, in place of an earlier one for the same audience. `false` when there are too many.
    pub(super) fn put(&mut self, audience: &str, grant: Grant, token: &str) -> bool {
        let held = Held { audience: audience.to_owned(), grant, token: token.into() };
        if let Some(old) = self.by_audience.iter_mut().find(|old| old.audience.eq_ignore_ascii_case(audience)) {
            *old = held;
        } else if self.by_audience.len() >= GRANTS_MAX {
            return false;
        } else {
            self.by_audience.push(held);
        }
        true
    }

    /// The text of a token that covers `path` and may connect devices.
    pub(super) fn device_token(&self, now: Timestamp, path: &str) -> Option<&str> {
        let fits = |held: &&Held| {
            let grant = &held.grant;
            now < grant.expires_at && grant.rights.contains(Rights::DEVICE_CONNECT) && covers(&grant.resource, path)
        };
        self.by_audience.iter().find(fits).map(|held| &*held.token)
    }

    /// Whether some token that has not expired gives `right` over `scope`.
    pub(super) fn require(&self, now: Timestamp, scope: &Scope, right: Rights) -> Result<(), Refusal> {
        let mut best = Refusal::Missing;
        for Held { grant, .. } in &self.by_audience {
            if now >= grant.expires_at {
                best = Refusal::Expired(grant.expires_at);
            } else if let Scope::Entity(path) = scope
                && !covers(&grant.resource, path)
            {
                best = Refusal::Resource { presented: grant.resource.clone(), needed: path.clone() };
            } else if !grant.rights.contains(right) {
                best = Refusal::Right { policy: grant.policy.clone(), right: right.to_string() };
            } else {
                return Ok(());
            }
        }
        Err(best)
    }

    /// The policy that came first; what a security event calls the peer.
    pub(super) fn claimed(&self) -> &str {
        self.by_audience.first().map_or("", |held| &held.grant.policy)
    }

    /// Whether there is no token.
    pub(super) fn is_empty(&self) -> bool {
        self.by_audience.is_empty()
    }

    /// When the next token expires.
    pub(super) fn next_expiry(&self) -> Option<Timestamp> {
        self.by_audience.iter().map(|held| held.grant.expires_at).min()
    }

    /// Forgets tokens that expired; whether there were any.
    pub(super) fn expire(&mut self, now: Timestamp) -> bool {
        let before = self.by_audience.len();
        self.by_audience.retain(|held| now < held.grant.expires_at);
        self.by_audience.len() < before
    }
}

/// Whether a resource (`host/path`) covers a path of ours: whole segments, without case, because one client writes
/// its audience in lower case.
pub(super) fn covers(resource: &str, path: &str) -> bool {
    let (_, scope) = resource.split_once('/').unwrap_or((resource, ""));
    let mut segments = path.split('/');
    scope
        .split('/')
        .filter(|segment| !segment.is_empty())
        .all(|segment| segments.next().is_some_and(|ours| ours.eq_ignore_ascii_case(segment)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition() -> Scope {
        Scope::Entity("hub/ConsumerGroups/$Default/Partitions/1".into())
    }

    fn grant(resource: &str, expires: i64) -> Grant {
        Grant {
            resource: resource.into(),
            policy: "service".into(),
            rights: Rights::SERVICE_CONNECT,
            expires_at: Timestamp::from_millis(expires),
        }
    }

    #[track_caller]
    fn check(resource: &str, covered: bool) {
        let mut grants = Grants::default();
        grants.put("a", grant(resource, 10), "");
        let result = grants.require(Timestamp::from_millis(9), &partition(), Rights::SERVICE_CONNECT);
        assert_eq!(result.is_ok(), covered, "{resource}: {result:?}");
    }

    #[test]
    fn a_token_covers_whole_segments_without_case() {
        check("localhost", true);
        check("localhost/HUB", true);
        check("localhost/hub/consumergroups/$default", true);
        check("localhost/hub/ConsumerGroups/$Default/Partitions/1", true);
        check("localhost/hub/ConsumerGroups/$Default/Partitions/11", false);
        check("localhost/hub/ConsumerGroups/$Default/Partitions/1/x", false);
        check("localhost/hubs", false);
    }

    #[test]
    fn nodes_of_the_hub_take_a_policys_token_whatever_path_it_names() {
        for resource in ["localhost", "localhost/messages/events", "localhost/devices/query", "localhost/devices/d1"] {
            let mut grants = Grants::default();
            grants.put("a", grant(resource, 10), "");
            let at = Timestamp::from_millis(9);
            assert!(grants.require(at, &Scope::Hub, Rights::SERVICE_CONNECT).is_ok(), "{resource}");
            assert!(grants.require(at, &Scope::Hub, Rights::DEVICE_CONNECT).is_err(), "{resource}");
        }
        assert!(Grants::default().require(Timestamp::NEVER, &Scope::Hub, Rights::SERVICE_CONNECT).is_err());
    }

    #[test]
    fn a_token_ends_at_its_expiry() {
        let mut grants = Grants::default();
        grants.put("a", grant("localhost", 10), "");
        let (before, at) = (Timestamp::from_millis(9), Timestamp::from_millis(10));
        assert!(grants.require(before, &partition(), Rights::SERVICE_CONNECT).is_ok());
        assert_eq!(grants.require(at, &partition(), Rights::SERVICE_CONNECT), Err(Refusal::Expired(at)));
        assert!(!grants.expire(before) && grants.expire(at));
        assert_eq!(grants.require(before, &partition(), Rights::SERVICE_CONNECT), Err(Refusal::Missing));
    }

    #[test]
    fn a_new_token_replaces_the_old_one_of_its_audience() {
        let mut grants = Grants::default();
        grants.put("sb://h/hub", grant("h/hub", 10), "");
        grants.put("SB://h/HUB", grant("h/hub", 20), "");
        assert_eq!(grants.next_expiry(), Some(Timestamp::from_millis(20)));
    }

    #[test]
    fn the_policy_needs_the_right() {
        let mut grants = Grants::default();
        grants.put("a", Grant { rights: Rights::DEVICE_CONNECT, ..grant("localhost", 10) }, "");
        let result = grants.require(Timestamp::from_millis(1), &partition(), Rights::SERVICE_CONNECT);
        assert!(matches!(result, Err(Refusal::Right { .. })));
    }

    #[test]
    fn audiences_are_bounded() {
        let mut grants = Grants::default();
        for n in 0..GRANTS_MAX {
            assert!(grants.put(&n.to_string(), grant("localhost", 10), ""));
        }
        assert!(!grants.put("one more", grant("localhost", 10), ""));
        assert!(grants.put("5", grant("localhost", 20), ""));
    }
}
