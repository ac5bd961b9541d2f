//! Who calls: every call passes [`admit`] before its handler, which asks for what the row of the operation says.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::RequestPartsExt as _;
use axum::extract::{Path, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use gantry_hub::ports::directory::{Audience, Bearer, Resource, bearer_token, is_jwt};
use gantry_hub::{HubError, Presented};
use gantry_identity::{CertificateChain, DeviceId, Identity, Key, Refusal, Rights, Signer, Timestamp};
use gantry_provisioning::DpsError;

use crate::actions;
use crate::audit::Witness;
use crate::caller::{Caller, Permissions, Who};
use crate::dps::DpsFailure;
use crate::error::ApiError;
use crate::operation::{Access, Head, Operation, Row};
use crate::platform::error::PlatformError;
use crate::platform::session;
use crate::refused::Refused;
use crate::{Api, now};

/// Address of the caller, put into each request by the listener, and what is to be done once it proved who it is.
#[derive(Clone, Debug)]
pub struct PeerAddress(pub String, pub OnKnown);

/// What the listener does when a caller proved who it is.
#[derive(Clone, Default)]
pub struct OnKnown(Option<Arc<dyn Fn() + Send + Sync>>);

impl OnKnown {
    /// Calls `act`, each time.
    pub fn new(act: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(act)))
    }
}

impl std::fmt::Debug for OnKnown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OnKnown")
    }
}

impl From<&str> for PeerAddress {
    fn from(address: &str) -> Self {
        Self(address.to_owned(), OnKnown::default())
    }
}

impl PeerAddress {
    /// The caller proved who it is.
    pub fn is_known(&self) {
        if let Some(act) = &self.1.0 {
            act();
        }
    }
}

/// Certificates of the caller, put into each request by the listener when it presented some.
#[derive(Clone, Debug)]
pub struct PeerCertificate(pub CertificateChain);

/// The token of a call. Clients that know bearer tokens only bring a shared access signature as one.
fn token(headers: &HeaderMap) -> Option<&str> {
    let text = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    Some(text.strip_prefix("Bearer ").filter(|token| token.starts_with("SharedAccessSignature ")).unwrap_or(text))
}

/// The token of a directory that a call brings.
fn directory_token(headers: &HeaderMap) -> Option<&str> {
    bearer_token(headers.get(header::AUTHORIZATION)?.to_str().ok()?)
}

/// Who brings a token of a directory, when the platform takes some.
pub(crate) fn identify(api: &Api, headers: &HeaderMap, audience: Audience) -> Option<Result<Arc<dyn Bearer>, Refusal>> {
    let directory = api.directory.as_deref()?;
    Some(directory.identify(now(), directory_token(headers)?, audience))
}

/// What somebody who is known is not let do, for the security event.
fn lacks(bearer: &dyn Bearer, what: &str) -> Refusal {
    Refusal::NotProven(format!("no role of `{}` allows {what}", bearer.person().object_id))
}

/// Tells the audit log whom no role allows something.
fn note_refused(parts: &Parts, bearer: &dyn Bearer, action: &str) {
    let witness = Witness::of(&parts.extensions);
    witness.bearer(bearer.person());
    witness.refuse(&format!("no role allows {action}"));
}

/// The first of these actions that no role allows.
fn missing(bearer: &dyn Bearer, actions: &[&'static str], resource: Resource<'_>) -> Option<&'static str> {
    if actions.is_empty() {
        return Some("this operation");
    }
    actions.iter().copied().find(|action| !bearer.may(action, resource))
}

/// The policy a token names, for the security event of a refusal; nothing secret.
fn claimed(headers: &HeaderMap) -> String {
    if directory_token(headers).is_some() {
        return "(bearer token)".to_owned();
    }
    let policy = token(headers).and_then(|t| t.split('&').find_map(|field| field.strip_prefix("skn=")));
    policy.unwrap_or("(no policy)").to_owned()
}

/// Lets a call through that the row of its operation lets through. Handlers find out who calls as a [`Caller`].
pub(crate) async fn admit(State((api, row)): State<(Arc<Api>, Row)>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    match check(&api, &row, &mut parts).await {
        Ok(Some(caller)) => drop(parts.extensions.insert(caller)),
        Ok(None) => {}
        Err(refused) => return refused,
    }
    next.run(Request::from_parts(parts, body)).await
}

/// The same for rows that ask for permissions on the platform, refusing in a shape of somebody else's.
pub(crate) async fn admit_as<E: From<Refused> + IntoResponse>(
    State((api, row)): State<(Arc<Api>, Row)>,
    request: Request,
    next: Next,
) -> Response {
    let (mut parts, body) = request.into_parts();
    if let Access::Platform(needed) = row.access {
        if row.head == Head::OData {
            exchange(&api, &mut parts.headers);
        }
        let peer = parts.extensions.get::<PeerAddress>().cloned().unwrap_or("unknown".into());
        match platform(&api, &parts, &peer, &row, needed) {
            Ok(caller) => drop(parts.extensions.insert(caller)),
            Err(error) => return E::from(Refused::from(error)).into_response(),
        }
    }
    next.run(Request::from_parts(parts, body)).await
}

/// Who calls, where the row asks for that; or the answer to somebody who may not.
async fn check(api: &Api, row: &Operation, parts: &mut Parts) -> Result<Option<Caller>, Response> {
    let peer = parts.extensions.get::<PeerAddress>().cloned().unwrap_or("unknown".into());
    let caller = match row.access {
        Access::Hub(needed) => hub(api, row, parts, &peer, needed).map_err(IntoResponse::into_response)?,
        Access::Provisioning(needed) => {
            provisioning(api, row, parts, &peer, needed).map_err(IntoResponse::into_response)?
        }
        Access::Device => device(api, parts, &peer).await.map_err(IntoResponse::into_response)?,
        Access::Platform(needed) => platform(api, parts, &peer, row, needed).map_err(IntoResponse::into_response)?,
        Access::Person => session::caller(api, parts, row.before_password).map_err(IntoResponse::into_response)?,
        // Guarded where the application is known, which is not here.
        Access::Application(_) => return Err(PlatformError::unauthorized().into_response()),
        Access::Blob(_) | Access::Proof(_) | Access::Anyone => return Ok(None),
    };
    Witness::of(&parts.extensions).caller(&caller);
    Ok(Some(caller))
}

/// The device that the path names: by its token, or by its certificate.
async fn device(api: &Api, parts: &mut Parts, peer: &PeerAddress) -> Result<Caller, ApiError> {
    let path = parts.extract::<Path<HashMap<String, String>>>().await;
    let id = path.ok().and_then(|Path(mut named)| named.remove("id")).unwrap_or_default();
    let id = DeviceId::parse(&id).map_err(|error| ApiError::invalid(format!("device id: {error}")))?;
    let identity = Identity::device(id);
    let certificate = parts.extensions.get::<PeerCertificate>();
    let presented = Presented { token: token(&parts.headers), certificate: certificate.map(|c| &c.0) };
    let result = api.hub.authenticate_device(now(), &identity, presented).await;
    if let Err(HubError::Unauthorized(refusal)) = &result {
        api.hub.report_refusal(now(), &identity.to_string(), &peer.0, "https device", refusal);
    }
    let session = result?;
    peer.is_known();
    Ok(Caller::device(session))
}

/// A program whose policy has `needed` at the hub, or whose roles allow the operation.
fn hub(api: &Api, row: &Operation, parts: &Parts, peer: &PeerAddress, needed: Rights) -> Result<Caller, ApiError> {
    let headers = &parts.headers;
    if let Some(identified) = identify(api, headers, Audience::Hub) {
        let bearer = identified.map_err(|refusal| {
            report(api, headers, peer, &refusal);
            ApiError::unauthorized()
        })?;
        peer.is_known();
        let Some(action) = missing(&*bearer, row.data_actions, Resource::Hub) else {
            return Ok(Caller::of_directory(bearer, Permissions::NONE));
        };
        let refusal = lacks(&*bearer, action);
        note_refused(parts, &*bearer, action);
        api.hub.report_refusal(now(), &bearer.person().name, &peer.0, "https service", &refusal);
        return Err(ApiError::no_role(&bearer.person().object_id, &parts.method, parts.uri.path()));
    }
    let checked = api.hub.authenticate_service(now(), token(headers), needed);
    let principal = checked.map_err(|refusal| {
        report(api, headers, peer, &refusal);
        ApiError::unauthorized()
    })?;
    peer.is_known();
    Ok(Caller::from(&principal))
}

/// An operator whose policy has `needed` at the provisioning service, or whose roles allow the operation. The call
/// counts among its operations.
fn provisioning(
    api: &Api,
    row: &Operation,
    parts: &Parts,
    peer: &PeerAddress,
    needed: Rights,
) -> Result<Caller, DpsFailure> {
    let headers = &parts.headers;
    if let Some(identified) = identify(api, headers, Audience::Provisioning) {
        let bearer = identified.map_err(|refusal| {
            api.provisioning.report_refusal(now(), &claimed(headers), &peer.0, "https dps service", &refusal);
            DpsError::Unauthorized(refusal)
        })?;
        peer.is_known();
        if let Some(action) = missing(&*bearer, row.data_actions, Resource::Provisioning) {
            let (refusal, name) = (lacks(&*bearer, action), &bearer.person().name);
            note_refused(parts, &*bearer, action);
            api.provisioning.report_refusal(now(), name, &peer.0, "https dps service", &refusal);
            return Err(DpsError::Forbidden(refusal).into());
        }
        api.provisioning.count_operation(now())?;
        return Ok(Caller::of_directory(bearer, Permissions::NONE));
    }
    let checked = api.provisioning.authenticate_service(now(), token(headers), needed);
    let principal = checked.map_err(|refusal| {
        api.provisioning.report_refusal(now(), &claimed(headers), &peer.0, "https dps service", &refusal);
        DpsError::Unauthorized(refusal)
    })?;
    peer.is_known();
    api.provisioning.count_operation(now())?;
    Ok(Caller::from(&principal))
}

/// Whoever is signed in to the page, or brings a token of a policy, and has `needed` on the platform.
fn platform(
    api: &Api,
    parts: &Parts,
    peer: &PeerAddress,
    row: &Operation,
    needed: Permissions,
) -> Result<Caller, PlatformError> {
    let audience = match row.head {
        Head::Kusto | Head::OData => Audience::Tables,
        _ => Audience::Management,
    };
    let caller = if parts.headers.contains_key(header::AUTHORIZATION) {
        by_token(api, &parts.headers, peer, audience)?
    } else {
        session::caller(api, parts, row.before_password)?
    };
    let witness = Witness::of(&parts.extensions);
    witness.caller(&caller);
    permitted(api, caller, peer, needed).inspect_err(|_| witness.refuse(&format!("lacks {needed}")))
}

/// A program, by its headers alone and in any of the ways it may have: a token of a policy, also as `Bearer`, or as
/// `Basic` the policy's name with its key, or any name with a token.
///
/// # Errors
/// When nobody knows it, or it may not.
pub fn admit_program(
    api: &Api,
    headers: &mut HeaderMap,
    peer: &PeerAddress,
    needed: Permissions,
) -> Result<Caller, Refused> {
    exchange(api, headers);
    Ok(permitted(api, by_token(api, headers, peer, Audience::Tables)?, peer, needed)?)
}

/// Go's clients of Flight leave the signs at the end out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
/// Whose session of the page a request has.
///
/// # Errors
/// When it has none, or nothing says that the page made it.
pub fn admit_session(api: &Api, parts: &Parts, peer: &PeerAddress) -> Result<Caller, Refused> {
    let caller = session::caller(api, parts, false)?;
    peer.is_known();
    Ok(caller)
}

/// How long a token is good that is made of a policy's key for the one who brings it.
const EXCHANGED_LIFE: Duration = Duration::from_secs(24 * 3600);

/// Puts a token in the place of what came as `Basic`: the token that is the password, or one signed with the key that
/// is. Whether the key is the policy's is found out where every token is checked.
fn exchange(api: &Api, headers: &mut HeaderMap) {
    let Some(basic) = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()) else { return };
    let Some((scheme, encoded)) = basic.split_once(' ') else { return };
    if !scheme.eq_ignore_ascii_case("basic") {
        return;
    }
    let decoded =
        BASE64.decode(encoded.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default();
    let (name, password) = decoded.split_once(':').unwrap_or((&decoded, ""));
    let token = match Key::from_base64(password) {
        Ok(key) => {
            let resource = api.hub.host_name().to_owned();
            let policy = Some(name.to_owned());
            Signer { resource, key, policy }.token(now().plus(EXCHANGED_LIFE))
        }
        Err(_) if is_jwt(password) => format!("Bearer {password}"),
        // A token, or nothing that could be one.
        Err(_) => password.to_owned(),
    };
    if let Ok(token) = HeaderValue::from_str(&token) {
        headers.insert(header::AUTHORIZATION, token);
    }
}

/// Whose token it is: a policy's, or somebody's of a directory.
pub(crate) fn by_token(
    api: &Api,
    headers: &HeaderMap,
    peer: &PeerAddress,
    audience: Audience,
) -> Result<Caller, PlatformError> {
    match identify(api, headers, audience) {
        None => by_policy(api, headers, peer),
        Some(Ok(bearer)) => Ok(of_roles(bearer, audience)),
        Some(Err(refusal)) => {
            api.hub.report_refusal(now(), "(bearer token)", &peer.0, "https platform", &refusal);
            Err(PlatformError::unauthorized())
        }
    }
}

/// Somebody with what their roles allow them, of the tables or of the platform.
fn of_roles(bearer: Arc<dyn Bearer>, audience: Audience) -> Caller {
    let permissions = match audience {
        Audience::Tables => actions::on_tables(&*bearer),
        _ => actions::on_platform(&*bearer),
    };
    Caller::of_directory(bearer, permissions)
}

/// Whose policy's token it is.
fn by_policy(api: &Api, headers: &HeaderMap, peer: &PeerAddress) -> Result<Caller, PlatformError> {
    let checked = api.hub.authenticate_operator(now(), token(headers), Rights::NONE);
    let principal = checked.map_err(|refusal| {
        report(api, headers, peer, &refusal);
        PlatformError::unauthorized()
    })?;
    Ok(Caller::from(&principal))
}

/// The caller, if it has `needed` on the platform.
fn permitted(api: &Api, caller: Caller, peer: &PeerAddress, needed: Permissions) -> Result<Caller, PlatformError> {
    peer.is_known();
    // A policy without any permission is nobody to the platform, not even where being signed in is enough. People, and
    // whoever has a token of a directory, are somebody.
    let has_none = caller.permissions == Permissions::NONE;
    let is_nobody = has_none && !matches!(caller.who, Who::User(_) | Who::Directory(_));
    let is_let_in = !has_none || matches!(caller.who, Who::User(_));
    if is_let_in && caller.permissions.contains(needed) {
        return Ok(caller);
    }
    let refusal = match &caller.who {
        Who::Directory(bearer) => lacks(&**bearer, &needed.to_string()),
        _ => Refusal::Right { policy: caller.name().to_owned(), right: needed.to_string() },
    };
    api.hub.report_refusal(now(), caller.name(), &peer.0, "https platform", &refusal);
    Err(if is_nobody {
        PlatformError::unauthorized()
    } else {
        PlatformError::forbidden(format!("this needs the permission {needed}"))
    })
}

/// Who a password proves somebody to be, if they may read tables: the key of the policy the user names, or a token of a
/// policy or a directory, with which the name says nothing. For protocols that know names and passwords only.
pub fn admit_password(api: &Api, user: &str, password: &str, peer: &str) -> Option<Caller> {
    if let Some(directory) = api.directory.as_deref().filter(|_| is_jwt(password)) {
        let identified = directory.identify(now(), password, Audience::Tables);
        let refusal = match identified.map(|bearer| of_roles(bearer, Audience::Tables)) {
            Ok(caller) if caller.permissions.contains(Permissions::DEVICES_READ) => return Some(caller),
            Ok(caller) => Refusal::NotProven(format!("no role of `{}` allows reading tables", caller.name())),
            Err(refusal) => refusal,
        };
        api.hub.report_refusal(now(), user, peer, "postgres", &refusal);
        return None;
    }
    let signed = if password.starts_with("SharedAccessSignature ") {
        Some(password.to_owned())
    } else {
        // Signed with the key, it is checked as any token is.
        Key::from_base64(password).ok().map(|key| {
            let (resource, policy) = (api.hub.host_name().to_owned(), Some(user.to_owned()));
            Signer { resource, key, policy }.token(Timestamp::from_millis(now().as_millis() + 60_000))
        })
    };
    let checked = api.hub.authenticate_operator(now(), signed.as_deref(), Rights::NONE);
    let refusal = match checked {
        Ok(principal) => {
            let caller = Caller::from(&principal);
            if caller.permissions.contains(Permissions::DEVICES_READ) {
                return Some(caller);
            }
            Refusal::Right { policy: caller.name().to_owned(), right: Permissions::DEVICES_READ.to_string() }
        }
        Err(refusal) => refusal,
    };
    api.hub.report_refusal(now(), user, peer, "postgres", &refusal);
    None
}

fn report(api: &Api, headers: &HeaderMap, peer: &PeerAddress, refusal: &Refusal) {
    api.hub.report_refusal(now(), &claimed(headers), &peer.0, "https service", refusal);
}

/// The token of a device call.
pub(crate) fn device_token(headers: &HeaderMap) -> Option<&str> {
    token(headers)
}
