//! The audit log of what is changed over HTTP: one record for each call of an operation that changes something, by
//! somebody who is known, whatever became of it; and for each sign-in, also one that was refused.
//!
//! Which operations those are is said by their rows ([`is_audited`]); devices and the bytes of blobs are not among them.
//! The record is durable before the answer is given. Who calls is told to the [`Witness`] of the call where it is found
//! out. Calls of nobody who is known are security events, not records: anybody could fill the log with them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{Extensions, Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use gantry_directory::audit::{Actor, ActorKind, AuditEntry, AuditLog, AuditOutcome, AuditText, ChangedMembers};
use gantry_hub::ports::directory::Person;
use parking_lot::Mutex;
use percent_encoding::percent_decode_str;

use crate::auth::PeerAddress;
use crate::caller::{Caller, Who};
use crate::operation::{Head, Operation, Row};
use crate::{Api, now};

/// Whether calls of an operation are recorded.
pub(crate) fn is_audited(row: &Operation) -> bool {
    let is_recorded = match row.head {
        Head::Service | Head::DpsService | Head::Platform | Head::Kusto | Head::OData => true,
        Head::Application | Head::Management | Head::Graph => true,
        // Devices, bytes of blobs, and tokens, which have a log of their own.
        Head::Device | Head::DpsDevice | Head::Blob | Head::Tokens | Head::Directory | Head::Models | Head::Process => {
            false
        }
    };
    is_recorded && row.changes.unwrap_or(!matches!(row.method, Some(Method::GET | Method::HEAD)))
}

#[derive(Default)]
struct Noted {
    actor: Option<Actor>,
    refused: Option<String>,
    target: Option<String>,
    asks: bool,
}

/// Hears who calls, and why they are refused.
#[derive(Clone, Default)]
pub struct Witness(Arc<Mutex<Noted>>);

impl Witness {
    /// That of a call; what is told of calls that are not recorded is forgotten.
    pub fn of(extensions: &Extensions) -> Self {
        extensions.get::<Self>().cloned().unwrap_or_default()
    }

    /// Somebody with a key or API token calls.
    pub fn key(&self, id: &str) {
        self.actor(ActorKind::Key, id, "");
    }

    pub(crate) fn caller(&self, caller: &Caller) {
        match &caller.who {
            Who::User(person) => self.person(person),
            Who::Policy(name) => self.key(name),
            Who::Directory(bearer) => self.bearer(bearer.person()),
            Who::Device(session) => self.actor(ActorKind::Device, &session.identity.to_string(), ""),
        }
    }

    pub(crate) fn person(&self, person: &gantry_directory::Person) {
        self.actor(ActorKind::User, person.id.as_str(), &person.display_name);
    }

    /// Somebody of a directory calls.
    pub fn bearer(&self, person: &Person) {
        let kind = if person.is_program { ActorKind::ServicePrincipal } else { ActorKind::User };
        self.actor(kind, &person.principal(), &person.name);
    }

    /// Somebody calls who did not prove who they are.
    pub(crate) fn nobody(&self, claimed: &str) {
        self.actor(ActorKind::Anonymous, "", claimed);
    }

    fn actor(&self, kind: ActorKind, id: &str, name: &str) {
        self.0.lock().actor = Some(Actor { kind, id: id.into(), name: name.into() });
    }

    /// Why they are refused.
    pub fn refuse(&self, why: &str) {
        self.0.lock().refused = Some(why.to_owned());
    }

    /// The call turns out to be a question.
    pub fn asks(&self) {
        self.0.lock().asks = true;
    }

    /// What it is about, where the path does not say it.
    pub fn target(&self, target: &str) {
        self.0.lock().target = Some(target.to_owned());
    }

    fn entry(&self, row: &Operation, path: &str, from: &str, status: StatusCode) -> Option<AuditEntry> {
        let noted = std::mem::take(&mut *self.0.lock());
        if noted.asks {
            return None;
        }
        let code = status.as_str();
        let outcome = match noted.refused {
            Some(why) => AuditOutcome::Refused(AuditText::new(&why)),
            None if matches!(code, "401" | "403" | "429") => AuditOutcome::Refused(code.into()),
            None if status.is_client_error() || status.is_server_error() => AuditOutcome::Failed(code.into()),
            None => AuditOutcome::Done,
        };
        Some(AuditEntry {
            at: now(),
            actor: noted.actor?,
            from: from.into(),
            operation: AuditText::new(&row.id),
            target: AuditText::new(noted.target.as_deref().unwrap_or(path)),
            outcome,
            changed: ChangedMembers::default(),
        })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Witness {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self::of(&parts.extensions))
    }
}

/// A call whose record is not written yet. When its client goes away before it is answered, what it began is recorded
/// as it stands.
struct Call {
    audit: Arc<dyn AuditLog>,
    row: Row,
    witness: Witness,
    path: String,
    from: String,
    is_over: bool,
}

impl Call {
    /// Writes the record, on a task of its own: a client that goes away does not keep it from being written.
    fn record(&mut self, status: StatusCode) -> Option<tokio::task::JoinHandle<()>> {
        self.is_over = true;
        let entry = self.witness.entry(&self.row, &self.path, &self.from, status)?;
        let audit = Arc::clone(&self.audit);
        // None is left when the process ends.
        let runtime = tokio::runtime::Handle::try_current().ok()?;
        Some(runtime.spawn(async move {
            if let Err(error) = audit.append(entry).await {
                tracing::error!(%error, "a record of the audit log is lost");
            }
        }))
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if !self.is_over {
            let gone = StatusCode::from_u16(499).unwrap_or(StatusCode::REQUEST_TIMEOUT);
            drop(self.record(gone));
        }
    }
}

/// Records a call.
pub(crate) async fn record(State((api, row)): State<(Arc<Api>, Row)>, mut request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<PeerAddress>().map_or("unknown", |peer| peer.0.as_str());
    let from = peer.parse::<SocketAddr>().map_or_else(|_| peer.to_owned(), |peer| peer.ip().to_string());
    let path = percent_decode_str(request.uri().path()).decode_utf8_lossy().into_owned();
    let witness = Witness::default();
    request.extensions_mut().insert(witness.clone());
    let mut call = Call { audit: Arc::clone(&api.audit), row, witness, path, from, is_over: false };
    let response = next.run(request).await;
    if let Some(written) = call.record(response.status()) {
        let _ = tokio::time::timeout(PATIENCE, written).await;
    }
    response
}

/// How long an answer waits for a disk that does not answer.
const PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::Access;

    fn row(head: Head, method: Method) -> Operation {
        Operation::new(head, method, "/x", "X_Y", Access::Anyone, "")
    }

    #[test]
    fn what_changes_something_is_audited_and_questions_are_not() {
        for method in [Method::PUT, Method::POST, Method::PATCH, Method::DELETE] {
            assert!(is_audited(&row(Head::Service, method.clone())));
            for head in [Head::Device, Head::DpsDevice, Head::Blob, Head::Tokens, Head::Process] {
                assert!(!is_audited(&row(head, method.clone())), "{head:?}");
            }
        }
        assert!(!is_audited(&row(Head::Platform, Method::GET)));
        assert!(!is_audited(&row(Head::Service, Method::POST).asks()));
        assert!(is_audited(&row(Head::Platform, Method::GET).changes()));
    }

    #[test]
    fn an_entry_says_who_and_what_became_of_it() {
        let row = row(Head::Service, Method::PUT);
        let entry = |told: fn(&Witness), status: u16| {
            let witness = Witness::default();
            told(&witness);
            witness.entry(&row, "/devices/d1", "10.0.0.7", StatusCode::from_u16(status).unwrap())
        };
        assert_eq!(entry(|_| {}, 401), None, "nobody who is known");
        let done = entry(|witness| witness.key("service"), 200).unwrap();
        assert_eq!((done.actor.kind, done.target.as_str()), (ActorKind::Key, "/devices/d1"));
        assert_eq!(done.outcome, AuditOutcome::Done);
        let outcome = |told: fn(&Witness), status| entry(told, status).unwrap().outcome;
        assert_eq!(outcome(|witness| witness.key("a"), 403), AuditOutcome::Refused("403".into()));
        assert_eq!(outcome(|witness| witness.key("a"), 412), AuditOutcome::Failed("412".into()));
        let refused = outcome(
            |witness| {
                witness.nobody("jane");
                witness.refuse("password");
            },
            303,
        );
        assert_eq!(refused, AuditOutcome::Refused("password".into()));
    }
}
