//! What the tokens of one connection allow.

use std::sync::Arc;

use gantry_hub::ports::directory::{Audience, Bearer, Resource};
use gantry_identity::{Refusal, Rights, Timestamp};

use super::ports::Grant;

/// Most audiences a connection holds tokens for.
const GRANTS_MAX: usize = 1_024;

/// What a token must be for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// A node of the hub: a policy's token is good whatever path it names, as over HTTP; of a directory it takes a role
    /// that allows this data action.
    Hub(&'static str),
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
    proof: Proof,
    token: Box<str>,
}

/// Whose token it is.
pub(super) enum Proof {
    /// A policy's.
    Policy(Grant),
    /// Somebody's of a directory, for the hub or for the stream.
    Directory(Arc<dyn Bearer>, Audience),
}

impl Proof {
    fn expires_at(&self) -> Timestamp {
        match self {
            Self::Policy(grant) => grant.expires_at,
            Self::Directory(bearer, _) => bearer.person().expires_at,
        }
    }

    fn name(&self) -> &str {
        match self {
            Self::Policy(grant) => &grant.policy,
            Self::Directory(bearer, _) => &bearer.person().name,
        }
    }

    fn require(&self, scope: &Scope, right: Rights) -> Result<(), Refusal> {
        match self {
            Self::Policy(grant) => {
                if let Scope::Entity(path) = scope
                    && !covers(&grant.resource, path)
                {
                    return Err(Refusal::Resource { presented: grant.resource.clone(), needed: path.clone() });
                }
                if !grant.rights.contains(right) {
                    return Err(Refusal::Right { policy: grant.policy.clone(), right: right.to_string() });
                }
                Ok(())
            }
            Self::Directory(bearer, audience) if allows(&**bearer, *audience, scope) => Ok(()),
            Self::Directory(bearer, _) => {
                let words = format!("no role of `{}` allows {scope:?}", bearer.person().object_id);
                Err(Refusal::NotProven(words))
            }
        }
    }
}

/// Whether roles allow what a token for one part of the platform is used for.
fn allows(bearer: &dyn Bearer, audience: Audience, scope: &Scope) -> bool {
    if !bearer.is_known() {
        return false;
    }
    match (scope, audience) {
        (Scope::Hub(action), Audience::Hub) => bearer.may(action, Resource::Hub),
        (Scope::Entity(path), Audience::Stream) => {
            let segments: Vec<&str> = path.split('/').collect();
            match segments.as_slice() {
                [entity, "ConsumerGroups", group, ..] => bearer.may(RECEIVE, Resource::Stream(entity, Some(group))),
                [entity, "$management"] => {
                    [RECEIVE, SEND].iter().any(|action| bearer.may(action, Resource::Stream(entity, None)))
                }
                // Queues are Service Bus, whose tokens are not taken.
                _ => false,
            }
        }
        _ => false,
    }
}

const RECEIVE: &str = "Microsoft.EventHub/namespaces/messages/receive/action";
const SEND: &str = "Microsoft.EventHub/namespaces/messages/send/action";

impl Grants {
    /// The grant of SASL PLAIN.
    pub(super) fn set_plain(&mut self, grant: Grant, token: &str) {
        self.plain = true;
        let proof = Proof::Policy(grant);
        self.by_audience.push(Held { audience: String::new(), proof, token: token.into() });
    }

    /// The connection was opened with the token of a device, which it ends with.
    pub(super) fn set_plain_device(&mut self) {
        self.plain = true;
    }

    /// Whether the connection was opened with SASL PLAIN, and ends with its token.
    pub(super) fn is_plain(&self) -> bool {
        self.plain
    }

    /// Whether somebody of a directory is among them.
    pub(super) fn has_directory(&self) -> bool {
        self.by_audience.iter().any(|held| matches!(held.proof, Proof::Directory(..)))
    }

    /// Keeps the proof of a token, in place of an earlier one for the same audience. `false` when there are too many.
    pub(super) fn put(&mut self, audience: &str, proof: Proof, token: &str) -> bool {
        let held = Held { audience: audience.to_owned(), proof, token: token.into() };
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
        let fits = |held: &&Held| match &held.proof {
            Proof::Policy(grant) => {
                now < grant.expires_at && grant.rights.contains(Rights::DEVICE_CONNECT) && covers(&grant.resource, path)
            }
            Proof::Directory(..) => false,
        };
        self.by_audience.iter().find(fits).map(|held| &*held.token)
    }

    /// Whether some token that has not expired gives `right` over `scope`.
    pub(super) fn require(&self, now: Timestamp, scope: &Scope, right: Rights) -> Result<(), Refusal> {
        let mut best = Refusal::Missing;
        for Held { proof, .. } in &self.by_audience {
            let expires_at = proof.expires_at();
            if now >= expires_at {
                best = Refusal::Expired(expires_at);
                continue;
            }
            match proof.require(scope, right) {
                Ok(()) => return Ok(()),
                Err(refusal) => best = refusal,
            }
        }
        Err(best)
    }

    /// Whose token came first; what a security event calls the peer.
    pub(super) fn claimed(&self) -> &str {
        self.by_audience.first().map_or("", |held| held.proof.name())
    }

    /// Whether there is no token.
    pub(super) fn is_empty(&self) -> bool {
        self.by_audience.is_empty()
    }

    /// When the next token expires.
    pub(super) fn next_expiry(&self) -> Option<Timestamp> {
        self.by_audience.iter().map(|held| held.proof.expires_at()).min()
    }

    /// Forgets tokens that expired; whether there were any.
    pub(super) fn expire(&mut self, now: Timestamp) -> bool {
        let before = self.by_audience.len();
        self.by_audience.retain(|held| now < held.proof.expires_at());
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
    use gantry_hub::ports::directory::Person;

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
        grants.put("a", Proof::Policy(grant(resource, 10)), "");
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
            grants.put("a", Proof::Policy(grant(resource, 10)), "");
            let at = Timestamp::from_millis(9);
            assert!(grants.require(at, &Scope::Hub("x"), Rights::SERVICE_CONNECT).is_ok(), "{resource}");
            assert!(grants.require(at, &Scope::Hub("x"), Rights::DEVICE_CONNECT).is_err(), "{resource}");
        }
        assert!(Grants::default().require(Timestamp::NEVER, &Scope::Hub("x"), Rights::SERVICE_CONNECT).is_err());
    }

    #[test]
    fn a_token_ends_at_its_expiry() {
        let mut grants = Grants::default();
        grants.put("a", Proof::Policy(grant("localhost", 10)), "");
        let (before, at) = (Timestamp::from_millis(9), Timestamp::from_millis(10));
        assert!(grants.require(before, &partition(), Rights::SERVICE_CONNECT).is_ok());
        assert_eq!(grants.require(at, &partition(), Rights::SERVICE_CONNECT), Err(Refusal::Expired(at)));
        assert!(!grants.expire(before) && grants.expire(at));
        assert_eq!(grants.require(before, &partition(), Rights::SERVICE_CONNECT), Err(Refusal::Missing));
    }

    #[test]
    fn a_new_token_replaces_the_old_one_of_its_audience() {
        let mut grants = Grants::default();
        grants.put("sb://h/hub", Proof::Policy(grant("h/hub", 10)), "");
        grants.put("SB://h/HUB", Proof::Policy(grant("h/hub", 20)), "");
        assert_eq!(grants.next_expiry(), Some(Timestamp::from_millis(20)));
    }

    #[test]
    fn the_policy_needs_the_right() {
        let mut grants = Grants::default();
        grants.put("a", Proof::Policy(Grant { rights: Rights::DEVICE_CONNECT, ..grant("localhost", 10) }), "");
        let result = grants.require(Timestamp::from_millis(1), &partition(), Rights::SERVICE_CONNECT);
        assert!(matches!(result, Err(Refusal::Right { .. })));
    }

    #[test]
    fn audiences_are_bounded() {
        let mut grants = Grants::default();
        for n in 0..GRANTS_MAX {
            assert!(grants.put(&n.to_string(), Proof::Policy(grant("localhost", 10)), ""));
        }
        assert!(!grants.put("one more", Proof::Policy(grant("localhost", 10)), ""));
        assert!(grants.put("5", Proof::Policy(grant("localhost", 20)), ""));
    }

    /// Somebody with these data actions at these resources.
    struct Somebody(Person, Vec<(&'static str, &'static str)>);

    impl Bearer for Somebody {
        fn person(&self) -> &Person {
            &self.0
        }

        fn may(&self, action: &str, resource: Resource<'_>) -> bool {
            let resource = format!("{resource:?}");
            self.1.iter().any(|(held, at)| *held == action && *at == resource)
        }

        fn may_manage(&self, _: &str, _: Resource<'_>) -> bool {
            false
        }

        fn is_known(&self) -> bool {
            self.0.name != "gone"
        }
    }

    fn somebody(name: &str, held: &[(&'static str, &'static str)]) -> Arc<dyn Bearer> {
        let person = Person {
            tenant_id: "t".into(),
            object_id: "o".into(),
            app_id: None,
            is_program: true,
            name: name.into(),
            groups: vec![],
            expires_at: Timestamp::from_millis(10),
        };
        Arc::new(Somebody(person, held.to_vec()))
    }

    #[test]
    fn a_token_of_a_directory_opens_what_its_roles_allow_where_it_is_for() {
        let check = |audience, held: &[(&'static str, &'static str)], scope: &Scope, expected: bool| {
            let mut grants = Grants::default();
            grants.put("a", Proof::Directory(somebody("x", held), audience), "");
            let at = Timestamp::from_millis(9);
            assert_eq!(grants.require(at, scope, Rights::SERVICE_CONNECT).is_ok(), expected, "{held:?} {scope:?}");
            assert!(grants.require(Timestamp::from_millis(10), scope, Rights::SERVICE_CONNECT).is_err());
            assert_eq!(grants.device_token(at, ""), None);
            assert!(grants.has_directory());
        };
        let group = (RECEIVE, "Stream(\"hub\", Some(\"$Default\"))");
        check(Audience::Stream, &[group], &partition(), true);
        check(Audience::Hub, &[group], &partition(), false);
        check(Audience::Stream, &[(SEND, group.1)], &partition(), false);
        check(Audience::Stream, &[(RECEIVE, "Stream(\"hub\", Some(\"other\"))")], &partition(), false);
        let management = Scope::Entity("hub/$management".into());
        check(Audience::Stream, &[(SEND, "Stream(\"hub\", None)")], &management, true);
        check(Audience::Stream, &[(RECEIVE, "Stream(\"other\", None)")], &management, false);
        check(Audience::Hub, &[("send", "Hub")], &Scope::Hub("send"), true);
        check(Audience::Hub, &[("send", "Hub")], &Scope::Hub("other"), false);
        check(Audience::Stream, &[("send", "Hub")], &Scope::Hub("send"), false);
        check(Audience::Stream, &[group, (RECEIVE, "Stream(\"q\", None)")], &Scope::Entity("q".into()), false);
    }

    #[test]
    fn whom_their_directory_forgot_is_nobody() {
        let mut grants = Grants::default();
        grants.put("a", Proof::Directory(somebody("gone", &[("send", "Hub")]), Audience::Hub), "");
        assert!(grants.require(Timestamp::from_millis(9), &Scope::Hub("send"), Rights::SERVICE_CONNECT).is_err());
    }
}
