//! A request as the blob service reads it: what it is about, who asks, and with which conditions.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::Request;
use axum::http::request::Parts;
use axum::http::{Method, StatusCode, header};
use gantry_blobs::blob::{Metadata, Properties};
use gantry_blobs::conditions::Conditions;
use gantry_blobs::ports::BlobAddress;
use gantry_blobs::{
    BlobError, BlobName, ContainerName, Denied, Grant, Permission, SasParameters, SignedRequest, Target, verify_sas,
    verify_shared_key,
};
use gantry_hub::ports::directory::{Audience, Bearer, Directory, Resource, bearer_token};
use gantry_identity::Refusal;
use percent_encoding::percent_decode_str;

use super::error::Failure;
use super::operations::Row;
use super::{BlobService, headers};
use crate::{PeerAddress, now};

/// Longest query text.
const QUERY_LEN_MAX: usize = 16 * 1024;

/// What a request says, before its body.
pub(super) struct Head {
    pub(super) method: Method,
    pub(super) target: Target,
    /// Decoded.
    pub(super) query: Vec<(String, String)>,
    /// Names in lower case, each once; lines of one name are joined with commas (RFC 9110, 5.3).
    pub(super) headers: Vec<(String, String)>,
}

/// What a credential allows.
enum Credential {
    /// A key of the account, or a signature made with one.
    Signed(Grant),
    /// Somebody of a directory: what their roles allow.
    Directory(Arc<dyn Bearer>),
}

/// A request whose credential was checked.
pub(super) struct Call {
    head: Head,
    credential: Credential,
    peer: String,
    service: BlobService,
}

/// Whether a request is for the blob service; see the module's head.
pub(super) fn is_meant(service: &BlobService, request: &Request) -> bool {
    let first = request.uri().path().split('/').nth(1).unwrap_or_default();
    let signed = |query: &str| query.split('&').any(|pair| pair.starts_with("sig="));
    let shared_key = |value: &axum::http::HeaderValue| value.as_bytes().starts_with(b"SharedKey");
    first == service.blobs.account().name
        || request.uri().query().is_some_and(signed)
        || request.headers().get(header::AUTHORIZATION).is_some_and(shared_key)
}

impl Head {
    pub(super) fn read(account: &str, parts: &Parts) -> Result<Self, Failure> {
        let target = target(account, parts.uri.path())?;
        let query = query(parts.uri.query().unwrap_or_default())?;
        let headers =
            parts.headers.keys().map(|name| (name.to_string(), joined(parts.headers.get_all(name)))).collect();
        Ok(Self { method: parts.method.clone(), target, query, headers })
    }

    pub(super) fn query(&self, name: &str) -> &str {
        self.query.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value.as_str())
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn address(&self) -> Result<BlobAddress, Failure> {
        match &self.target {
            Target::Blob(container, name) => Ok(BlobAddress { container: container.clone(), name: name.clone() }),
            _ => Err(Failure::bad("InvalidUri", "a blob is needed")),
        }
    }

    pub(super) fn container(&self) -> Result<&ContainerName, Failure> {
        match &self.target {
            Target::Container(name) => Ok(name),
            _ => Err(Failure::bad("InvalidUri", "a container is needed")),
        }
    }

    pub(super) fn conditions(&self) -> Result<Conditions, Failure> {
        headers::conditions(self)
    }

    pub(super) fn metadata(&self) -> Result<Metadata, Failure> {
        headers::metadata(&self.headers)
    }

    pub(super) fn properties(&self, with_plain: bool) -> Result<Properties, Failure> {
        headers::properties(self, with_plain)
    }
}

impl std::ops::Deref for Call {
    type Target = Head;

    fn deref(&self) -> &Head {
        &self.head
    }
}

impl Call {
    /// Reads a request and checks its credential. A request within another has the version of that one.
    pub(super) fn read(
        service: &BlobService,
        parts: &Parts,
        peer: Option<PeerAddress>,
        version: Option<&str>,
    ) -> Result<Self, Failure> {
        let head = Head::read(&service.blobs.account().name, parts)?;
        let date = |name: &str| head.header(name).and_then(headers::date);
        let peer = peer.unwrap_or("unknown".into());
        let signed = SignedRequest {
            method: parts.method.as_str(),
            path: parts.uri.path(),
            query: &head.query,
            headers: &head.headers,
            date: date("x-ms-date").or_else(|| date("date")),
        };
        let address = peer.0.parse::<SocketAddr>().ok().map(|address| plain(address.ip()));
        let credential = match bearer(service, &head, version)? {
            Some((directory, token)) => Credential::Directory(identify(service, directory, token, &peer.0)?),
            None => {
                let granted = authenticate(service, &signed, &head.target, address);
                Credential::Signed(granted.map_err(|denied| report(service, &peer.0, &denied))?)
            }
        };
        peer.is_known();
        Ok(Self { head, credential, peer: peer.0, service: service.clone() })
    }

    /// Where the caller is.
    pub(super) fn peer(&self) -> &str {
        &self.peer
    }

    /// Lets through who has one of what the row needs; says which.
    pub(super) fn require(&self, row: &Row) -> Result<Permission, Failure> {
        match &self.credential {
            Credential::Signed(grant) => {
                grant.require(&self.head.target, row.needs).map_err(|denied| report(&self.service, &self.peer, &denied))
            }
            Credential::Directory(bearer) => self.require_role(&**bearer, row),
        }
    }

    fn require_role(&self, bearer: &dyn Bearer, row: &Row) -> Result<Permission, Failure> {
        let container = match &self.head.target {
            Target::Account => None,
            Target::Container(container) | Target::Blob(container, _) => Some(container.to_string()),
        };
        let resource = Resource::Storage(container.as_deref());
        if let Some(permission) = row.what.allowed(bearer, row.needs, resource) {
            return Ok(permission);
        }
        let person = bearer.person();
        let refusal = Refusal::NotProven(format!("no role of `{}` allows {:?}", person.object_id, row.what));
        self.service.hub.report_refusal(now(), &person.name, &self.peer, "https blob", &refusal);
        let words = "This request is not authorized to perform this operation using this permission.";
        Err(Failure::new(StatusCode::FORBIDDEN, "AuthorizationPermissionMismatch", words))
    }
}

/// The first version that takes tokens of a directory ("Authorize with Microsoft Entra ID").
const BEARER_SINCE: &str = "2017-11-09";

/// The token of a directory that a request brings, when the platform takes some.
fn bearer<'a>(
    service: &'a BlobService,
    head: &'a Head,
    version: Option<&str>,
) -> Result<Option<(&'a dyn Directory, &'a str)>, Failure> {
    let Some(directory) = service.directory.as_deref() else { return Ok(None) };
    let Some(token) = head.header("authorization").and_then(bearer_token) else { return Ok(None) };
    match head.header("x-ms-version").or(version) {
        // Versions are dates.
        Some(version) if version >= BEARER_SINCE => Ok(Some((directory, token))),
        _ => Err(Failure::header("x-ms-version")),
    }
}

fn identify(
    service: &BlobService,
    directory: &dyn Directory,
    token: &str,
    peer: &str,
) -> Result<Arc<dyn Bearer>, Failure> {
    directory.identify(now(), token, Audience::Storage).map_err(|refusal| {
        service.hub.report_refusal(now(), "(bearer token)", peer, "https blob", &refusal);
        let words = "Server failed to authenticate the request. Please refer to the information in the www-authenticate header.";
        Failure::new(StatusCode::UNAUTHORIZED, "InvalidAuthenticationInfo", words)
    })
}

fn joined<'a>(lines: impl IntoIterator<Item = &'a axum::http::HeaderValue>) -> String {
    let lines = lines.into_iter().map(|line| String::from_utf8_lossy(line.as_bytes()).into_owned());
    lines.collect::<Vec<_>>().join(",")
}

/// IPv4 of an address that came in over IPv6.
fn plain(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(six) => six.to_ipv4_mapped().map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    }
}

fn authenticate(
    service: &BlobService,
    request: &SignedRequest<'_>,
    target: &Target,
    peer: Option<IpAddr>,
) -> Result<Grant, Denied> {
    let account = service.blobs.account();
    match request.headers.iter().find(|(name, _)| name == "authorization").map(|(_, value)| value.as_str()) {
        Some(value) if value.starts_with("SharedKey ") => verify_shared_key(account, request, now()),
        Some(_) => Err(Denied::Unsupported("this kind of Authorization")),
        None if request.query.iter().any(|(name, _)| name == "sig") => {
            verify_sas(account, SasParameters(request.query), target, peer, now())
        }
        None => Err(Denied::Missing),
    }
}

/// Tells the hub's audit why, and the peer a code.
fn report(service: &BlobService, peer: &str, denied: &Denied) -> Failure {
    tracing::debug!(%denied, peer, "blob access refused");
    service.hub.report_refusal(now(), "(blob client)", peer, "https blob", &Refusal::from(denied));
    Failure::from(denied)
}

fn target(account: &str, path: &str) -> Result<Target, Failure> {
    let decode = |text: &str| {
        let decoded = percent_decode_str(text).decode_utf8();
        decoded.map(std::borrow::Cow::into_owned).map_err(|_| Failure::bad("InvalidUri", "the path is not UTF-8"))
    };
    let path = path.trim_start_matches('/');
    let rest = match path.split_once('/') {
        Some((first, rest)) if first == account => rest,
        None if path == account => "",
        _ => path,
    };
    let (container, blob) = rest.split_once('/').unwrap_or((rest, ""));
    if container.is_empty() {
        return Ok(Target::Account);
    }
    let container = decode(container)?;
    if container == account {
        return Err(Failure::bad("InvalidResourceName", "the container name is the account's"));
    }
    let container = ContainerName::parse(&container).map_err(BlobError::from)?;
    if blob.is_empty() {
        return Ok(Target::Container(container));
    }
    let blob = BlobName::parse(&decode(blob)?).map_err(BlobError::from)?;
    Ok(Target::Blob(container, blob))
}

pub(super) fn query(text: &str) -> Result<Vec<(String, String)>, Failure> {
    if text.len() > QUERY_LEN_MAX {
        return Err(Failure::bad("InvalidUri", format!("the query is longer than {QUERY_LEN_MAX} bytes")));
    }
    let decode = |text: &str| {
        let decoded = percent_decode_str(text).decode_utf8();
        decoded.map(std::borrow::Cow::into_owned).map_err(|_| Failure::bad("InvalidUri", "the query is not UTF-8"))
    };
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    let read = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        Ok((decode(name)?, decode(value)?))
    };
    pairs.map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(path: &str) -> Result<String, &'static str> {
        match target("gantry", path) {
            Ok(Target::Account) => Ok("account".into()),
            Ok(Target::Container(container)) => Ok(format!("container {container}")),
            Ok(Target::Blob(container, blob)) => Ok(format!("blob {container} {blob}")),
            Err(_) => Err("refused"),
        }
    }

    #[test]
    fn both_forms_of_address_name_the_same() {
        assert_eq!(of("/gantry"), Ok("account".into()));
        assert_eq!(of("/gantry/"), Ok("account".into()));
        assert_eq!(of("/"), Ok("account".into()));
        for start in ["/gantry", ""] {
            assert_eq!(of(&format!("{start}/files")), Ok("container files".into()));
            assert_eq!(of(&format!("{start}/files/")), Ok("container files".into()));
            assert_eq!(of(&format!("{start}/files/d1/a%20b.txt")), Ok("blob files d1/a b.txt".into()));
            assert_eq!(of(&format!("{start}/files/d1%2Fa%252F")), Ok("blob files d1/a%2F".into()));
            assert_eq!(of(&format!("{start}/files/../../x")), Ok("blob files ../../x".into()));
            assert_eq!(of(&format!("{start}/devices/x")), Err("refused"));
            assert_eq!(of(&format!("{start}/files/%ff")), Err("refused"));
            assert_eq!(of(&format!("{start}/files/%00")), Err("refused"));
        }
        assert_eq!(of("/gantry/gantry/x"), Err("refused"));
    }

    proptest::proptest! {
        #[test]
        fn any_path_and_query_are_survived(path in "[/%a-f0-9A-F.+&=-]{0,80}", text: String) {
            let _ = (target("gantry", &path), query(&path), target("gantry", &text), query(&text));
        }
    }
}
