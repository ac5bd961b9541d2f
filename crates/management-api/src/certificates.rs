//! Certificate authorities of the hub and of the provisioning service. The two lists are apart and have the same
//! operations; their documents differ in the dates' places only.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use gantry_api::now;
use gantry_hub::authorities::{Authorities, Entry};
use gantry_identity::Authority;
use serde_json::{Value, json};

use crate::Failure;
use crate::call::{Call, Kind};
use crate::hubs::rfc1123;

type Answer = Result<Json<Value>, Failure>;

/// Whose list an operation is about.
pub(crate) trait Trusting: Send + 'static {
    const KIND: Kind;
    /// What answers an upload under a new name.
    const CREATED: StatusCode;
    fn authorities(call: &Call) -> &Authorities;
}

pub(crate) struct AtHub;

impl Trusting for AtHub {
    const KIND: Kind = Kind::Hub;
    const CREATED: StatusCode = StatusCode::CREATED;

    fn authorities(call: &Call) -> &Authorities {
        call.hub().authorities()
    }
}

pub(crate) struct AtProvisioning;

impl Trusting for AtProvisioning {
    const KIND: Kind = Kind::Provisioning;
    // The SDK takes nothing else.
    const CREATED: StatusCode = StatusCode::OK;

    fn authorities(call: &Call) -> &Authorities {
        call.provisioning().authorities()
    }
}

fn document<T: Trusting>(call: &Call, entry: &Entry) -> Value {
    let mut document = json!({
        "id": format!("{}/certificates/{}", call.id(T::KIND), entry.name),
        "name": entry.name,
        "type": format!("{}/certificates", T::KIND.name()),
        "etag": entry.etag_text(),
        "properties": {
            "subject": entry.authority.subject(),
            "thumbprint": entry.authority.thumbprint(),
            "expiry": rfc1123(entry.authority.not_after()),
            "isVerified": entry.is_verified,
            "created": rfc1123(entry.created_at),
            "updated": rfc1123(entry.updated_at),
            "certificate": BASE64.encode(entry.authority.der()),
        },
    });
    if let Some(code) = &entry.code {
        document["properties"]["verificationCode"] = code.as_str().into();
    }
    document
}

/// A certificate as clients write it: PEM, DER in base64, or either once more in base64, as SDKs write bytes.
fn bytes(text: &str) -> Vec<u8> {
    match BASE64.decode(text.split_ascii_whitespace().collect::<String>()) {
        Ok(inner) if inner.starts_with(b"-----BEGIN") => inner,
        Ok(inner) if BASE64.decode(&inner).is_ok() => inner,
        _ => text.as_bytes().to_owned(),
    }
}

fn certificate(value: Option<&Value>) -> Result<Vec<u8>, Failure> {
    let text = value.and_then(Value::as_str).ok_or_else(|| Failure::invalid("`certificate` is a string"))?;
    Ok(bytes(text))
}

pub(crate) async fn list<T: Trusting>(call: Call) -> Answer {
    call.check_name(T::KIND)?;
    let all = T::authorities(&call).list();
    Ok(Json(json!({ "value": all.iter().map(|entry| document::<T>(&call, entry)).collect::<Vec<_>>() })))
}

pub(crate) async fn get<T: Trusting>(call: Call) -> Answer {
    call.check_name(T::KIND)?;
    Ok(Json(document::<T>(&call, &T::authorities(&call).get(call.piece("certificateName"))?)))
}

pub(crate) async fn put<T: Trusting>(call: Call) -> Result<Response, Failure> {
    call.check_name(T::KIND)?;
    let (name, body) = (call.piece("certificateName"), call.body()?);
    let properties = body.get("properties").ok_or_else(|| Failure::invalid("`properties` is missing"))?;
    let authority = Authority::parse(&certificate(properties.get("certificate"))?);
    let authority = authority.map_err(|error| Failure::invalid(error.to_string()))?;
    let is_verified = match properties.get("isVerified") {
        None | Some(Value::Null) => false,
        Some(Value::Bool(flag)) => *flag,
        Some(_) => return Err(Failure::invalid("`isVerified` is true or false")),
    };
    let is_there = T::authorities(&call).get(name).is_ok();
    call.check_is_new(is_there)?;
    let if_match = call.if_match(None);
    let entry = T::authorities(&call).put(now(), name, authority, is_verified, &if_match).await?;
    let status = if is_there { StatusCode::OK } else { T::CREATED };
    Ok((status, Json(document::<T>(&call, &entry))).into_response())
}

pub(crate) async fn delete<T: Trusting>(call: Call) -> Result<StatusCode, Failure> {
    call.check_name(T::KIND)?;
    let name = call.piece("certificateName");
    if T::authorities(&call).get(name).is_err() {
        return Ok(StatusCode::NO_CONTENT);
    }
    T::authorities(&call).delete(name, &call.if_match(None)).await?;
    Ok(StatusCode::OK)
}

pub(crate) async fn draw_code<T: Trusting>(call: Call) -> Answer {
    call.check_name(T::KIND)?;
    let (name, if_match) = (call.piece("certificateName"), call.if_match(None));
    Ok(Json(document::<T>(&call, &T::authorities(&call).draw_code(now(), name, &if_match).await?)))
}

pub(crate) async fn verify<T: Trusting>(call: Call) -> Answer {
    call.check_name(T::KIND)?;
    let (name, if_match) = (call.piece("certificateName"), call.if_match(None));
    let proof = certificate(call.body()?.get("certificate"))?;
    Ok(Json(document::<T>(&call, &T::authorities(&call).verify(now(), name, &proof, &if_match).await?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_read_as_clients_write_them() {
        let (pem, der) =
            ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", BASE64.encode([0x30, 0x82, 1]));
        assert_eq!(bytes(pem), pem.as_bytes());
        assert_eq!(bytes(&der), der.as_bytes());
        assert_eq!(bytes(&BASE64.encode(pem)), pem.as_bytes());
        assert_eq!(bytes(&BASE64.encode(&der)), der.as_bytes());
        assert_eq!(bytes("nothing"), b"nothing");
    }
}
