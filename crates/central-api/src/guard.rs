//! Who calls, and whether the version they ask for has the operation.
//!
//! A caller brings the text of an API token, or is signed in to the page. The row of the operation says which
//! permissions open it; having one of them anywhere is enough here, and what is seen or changed is decided again by the
//! handler, where the thing is.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use gantry_api::{
    Access, Caller as Session, Operation, PeerAddress, Permissions, Row, Witness, admit_session, asked_version, now,
};
use gantry_central::State as Kept;
use gantry_central::access::caller::Caller;
use gantry_central::access::permissions::Permission;
use gantry_central::access::roles::ADMINISTRATOR;
use gantry_central::access::tokens::PresentedToken;
use gantry_central::access::users::{Identity, RoleAssignment};
use gantry_central::ids::{RoleId, TokenId};
use gantry_identity::Refusal;

use crate::{Failure, Shared};

/// Somebody who proved who they are.
#[derive(Clone)]
pub(crate) struct Who {
    /// With the kind of it: `token=ci`, `user=admin`.
    pub(crate) name: String,
    /// Their roles.
    pub(crate) roles: Arc<[RoleAssignment]>,
    /// What follows from them.
    pub(crate) caller: Arc<Caller>,
    /// What the application had when that was looked at last.
    pub(crate) state: Arc<Kept>,
    by: By,
}

/// How they proved it.
#[derive(Clone)]
enum By {
    /// With a token.
    Token(TokenId),
    /// With a session of the page; the person as they were when that was looked at last.
    Person(Session),
}

impl By {
    fn name(&self) -> String {
        match self {
            Self::Token(id) => format!("token={id}"),
            Self::Person(session) => session.principal(),
        }
    }

    /// What roles they have; none when they are nobody any more.
    fn roles(&self, state: &Kept) -> Option<Vec<RoleAssignment>> {
        match self {
            Self::Token(id) => state.tokens.get(id).map(|kept| kept.value.roles.clone()),
            Self::Person(session) if session.permissions.contains(Permissions::ALL) => Some(administrator()),
            Self::Person(session) => Some(session.email().map(|email| of_user(state, email)).unwrap_or_default()),
        }
    }
}

/// The roles of the user with an address.
fn of_user(state: &Kept, email: &str) -> Vec<RoleAssignment> {
    let email = Identity::Email { email: email.to_owned() };
    let found = state.users.values().find(|kept| kept.value.identity.is_same(&email));
    found.map(|kept| kept.value.roles.clone()).unwrap_or_default()
}

impl Who {
    /// Looks again at what they may do; says whether they are still anybody.
    pub(crate) fn renew(&mut self, shared: &Shared) -> bool {
        self.state = shared.application.central.state();
        if let By::Person(session) = &self.by {
            let Some(session) = shared.application.api.sign_in.renewed(session) else { return false };
            self.by = By::Person(session);
        }
        let Some(roles) = self.by.roles(&self.state) else { return false };
        self.roles = roles.into();
        self.caller = Arc::new(self.state.caller(&self.roles));
        true
    }
}

/// Versions that any operation has.
const VERSIONS: [&str; 5] = ["1.0", "2022-05-31", "2022-06-30-preview", "2022-07-31", "2022-10-31-preview"];

/// Lets a call through that its row lets through.
pub(crate) async fn admit(
    State((shared, row)): State<(Arc<Shared>, Row)>,
    mut request: Request,
    next: Next,
) -> Response {
    match check(&shared, &row, &mut request).await {
        Ok(who) => drop(request.extensions_mut().insert(who)),
        Err(failure) => return failure.into_response(),
    }
    next.run(request).await
}

async fn check(shared: &Shared, row: &Operation, request: &mut Request) -> Result<Who, Failure> {
    // Operations of ours have their version in the path.
    if !row.versions.is_empty() {
        check_version(row, request.uri().query())?;
    }
    let peer = request.extensions().get::<PeerAddress>().cloned().unwrap_or("unknown".into());
    let who = if request.headers().contains_key(header::AUTHORIZATION) {
        by_token(shared, request, &peer)?
    } else {
        signed_in(shared, request, &peer)?
    };
    let Access::Application(one_of) = row.access else { return Err(Failure::unauthorized()) };
    let has = one_of.iter().filter_map(|word| Permission::parse(word)).any(|one| who.caller.has(one));
    if has {
        return Ok(who);
    }
    let needed = one_of.join(" or ");
    Witness::of(request.extensions()).refuse(&format!("lacks {needed}"));
    let refusal = Refusal::Right { policy: who.name.clone(), right: needed.clone() };
    shared.application.api.hub.report_refusal(now(), &who.name, &peer.0, "https application", &refusal);
    Err(gantry_api::Refused::Forbidden(format!("this needs the permission {needed}")).into())
}

fn check_version(row: &Operation, query: Option<&str>) -> Result<(), Failure> {
    let asked = asked_version(query).ok_or_else(|| Failure::invalid("api-version is missing"))?;
    if !VERSIONS.contains(&asked.as_str()) {
        return Err(Failure::invalid(format!("api-version `{asked}` is not known; there are {}", VERSIONS.join(", "))));
    }
    if !row.versions.contains(&asked.as_str()) {
        return Err(Failure::not_found(format!("{} is not in api-version {asked}", row.id)));
    }
    Ok(())
}

fn by_token(shared: &Shared, request: &Request, peer: &PeerAddress) -> Result<Who, Failure> {
    let application = &shared.application;
    let text = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    // The reference takes its tokens as they are; some clients put `Bearer` before everything.
    let text = text.strip_prefix("Bearer ").unwrap_or(text);
    let refused = |claimed: &str, refusal: &Refusal| {
        application.api.hub.report_refusal(now(), claimed, &peer.0, "https application", refusal);
        Failure::unauthorized()
    };
    let presented = PresentedToken::parse(text).map_err(|error| refused("(no API token)", &error.into()))?;
    let state = application.central.state();
    let id = presented.id();
    let kept = id.as_ref().and_then(|id| state.tokens.get(id));
    let claimed = id.as_ref().map_or_else(|| "(no API token)".to_owned(), |id| format!("token={id}"));
    presented
        .verify(kept.map(|kept| &kept.value), &application.id, now())
        .map_err(|refusal| refused(&claimed, &refusal))?;
    let (Some(kept), Some(id)) = (kept, id.clone()) else { return Err(Failure::unauthorized()) };
    peer.is_known();
    Witness::of(request.extensions()).key(&claimed);
    Ok(who(claimed, kept.value.roles.clone(), &state, By::Token(id)))
}

/// The administrator of the platform administers its application; everybody else who is signed in has the roles of the
/// application's user with their address.
fn signed_in(shared: &Shared, request: &mut Request, peer: &PeerAddress) -> Result<Who, Failure> {
    let (parts, body) = std::mem::take(request).into_parts();
    let caller = admit_session(&shared.application.api, &parts, peer);
    *request = Request::from_parts(parts, body);
    let (by, state) = (By::Person(caller?), shared.application.central.state());
    let roles = by.roles(&state).ok_or_else(Failure::unauthorized)?;
    Ok(who(by.name(), roles, &state, by))
}

/// The role that may do everything.
fn administrator() -> Vec<RoleAssignment> {
    RoleId::parse(ADMINISTRATOR).map(|role| RoleAssignment { role, organization: None }).into_iter().collect()
}

fn who(name: String, roles: Vec<RoleAssignment>, state: &Arc<Kept>, by: By) -> Who {
    let caller = Arc::new(state.caller(&roles));
    Who { name, roles: roles.into(), caller, state: Arc::clone(state), by }
}
