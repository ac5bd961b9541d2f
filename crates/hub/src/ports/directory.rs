//! Directory tokens: who brings one, and what the roles given to them allow. The heads ask; whoever keeps roles and
//! keys answers.

use std::sync::Arc;

use gantry_identity::{Refusal, Timestamp};
use tokio::sync::watch;

/// The part of the platform that a token is shown to. A token is for one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Audience {
    /// The hub's service API.
    Hub,
    /// The provisioning service.
    Provisioning,
    /// The event stream.
    Stream,
    /// The blob store.
    Storage,
    /// The tables.
    Tables,
    /// The application.
    Application,
    /// The control plane, and the platform's own API.
    Management,
}

/// What something is to be done with. Names are those of the hub that was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource<'a> {
    /// The hub.
    Hub,
    /// Its provisioning service.
    Provisioning,
    /// A stream, and a consumer group of it.
    Stream(&'a str, Option<&'a str>),
    /// Its storage account, or a container there.
    Storage(Option<&'a str>),
    /// The tables.
    Tables,
    /// Everything of the hub: its resource group.
    Group,
}

/// Who somebody is, as their directory says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// Directory.
    pub tenant_id: String,
    /// Id there.
    pub object_id: String,
    /// The application that got the token.
    pub app_id: Option<String>,
    /// A program of its own, and no person.
    pub is_program: bool,
    /// For logs; says nothing about who it is. Of a person it is their address.
    pub name: String,
    /// Ids of groups.
    pub groups: Vec<String>,
    /// When the token ends.
    pub expires_at: Timestamp,
}

impl Person {
    /// As clients of Kusto write principals: `aadapp=id;tenant` or `aaduser=id;tenant`.
    pub fn principal(&self) -> String {
        match (&self.app_id, self.is_program) {
            (Some(app_id), true) => format!("aadapp={app_id};{}", self.tenant_id),
            _ => format!("aaduser={};{}", self.object_id, self.tenant_id),
        }
    }
}

/// Somebody whose token was verified. What they may do is looked up each time, so a role that is taken away is gone
/// with the next question.
pub trait Bearer: Send + Sync {
    /// Who it is.
    fn person(&self) -> &Person;
    /// Whether they may do something with the data in a resource (`Microsoft.Devices/IotHubs/twins/read`).
    fn may(&self, data_action: &str, resource: Resource<'_>) -> bool;
    /// Whether they may do something with a resource itself.
    fn may_manage(&self, action: &str, resource: Resource<'_>) -> bool;
    /// Whether they still are somebody: their own directory did not forget them.
    fn is_known(&self) -> bool;
}

/// Who takes directory tokens, as one hub sees it.
pub trait Directory: Send + Sync {
    /// Who a token (without the word `Bearer`) is of.
    ///
    /// # Errors
    /// Why not, for the log.
    fn identify(&self, now: Timestamp, token: &str, audience: Audience) -> Result<Arc<dyn Bearer>, Refusal>;
    /// Where tokens come from: the origin of the directory, and its tenant.
    fn authority(&self) -> (&str, &str);
    /// Changes whenever somebody may have lost a role.
    fn changes(&self) -> watch::Receiver<u64>;
}

/// The bearer token of a header, if it is one of a directory: what is no shared access signature.
pub fn bearer_token(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.split_once(' ')?;
    let is_bearer = scheme.eq_ignore_ascii_case("bearer") && !token.starts_with("SharedAccessSignature ");
    is_bearer.then_some(token.trim())
}

/// Whether a text looks like a JSON Web Token: three parts, of which the first is an object in base64.
pub fn is_jwt(text: &str) -> bool {
    text.starts_with("eyJ") && text.split('.').count() == 3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_no_bearer_token() {
        for (header, expected) in [
            ("Bearer abc", Some("abc")),
            ("bearer  abc ", Some("abc")),
            ("Bearer SharedAccessSignature sr=x", None),
            ("SharedAccessSignature sr=x", None),
            ("Basic abc", None),
            ("Bearer", None),
            ("", None),
        ] {
            assert_eq!(bearer_token(header), expected, "{header}");
        }
        assert!(is_jwt("eyJh.b.c") && !is_jwt("eyJh.b") && !is_jwt("a.b.c") && !is_jwt("eyJh.b.c.d.e"));
    }

    #[test]
    fn principals_are_written_as_kusto_does() {
        let mut one = Person {
            tenant_id: "t".into(),
            object_id: "o".into(),
            app_id: Some("a".into()),
            is_program: true,
            name: String::new(),
            groups: vec![],
            expires_at: Timestamp::from_millis(0),
        };
        assert_eq!(one.principal(), "aadapp=a;t");
        one.is_program = false;
        assert_eq!(one.principal(), "aaduser=o;t");
    }
}
