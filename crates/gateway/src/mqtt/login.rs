//! CONNECT: who wants what, told apart by the user name.
//!
//! - hub: `{host}/{clientId}/?api-version=…&DeviceClientType=…&model-id=…`, and the old forms
//!   without `?` or without a query;
//! - DPS: `{idScope}/registrations/{registrationId}/api-version=…&ClientVersion=…`.

use gantry_mqtt::{Connect, ConnectReturnCode, QoS};
use percent_encoding::percent_decode_str;

/// What a CONNECT asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Login {
    Hub(HubLogin),
    Dps(DpsLogin),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HubLogin {
    pub(super) host: String,
    pub(super) client_id: String,
    pub(super) model_id: Option<String>,
    pub(super) password: Option<String>,
    pub(super) terms: Terms,
}

/// What a device asks of its connection to the hub: all that is kept of a CONNECT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Terms {
    pub(super) clean_session: bool,
    pub(super) keep_alive_secs: u16,
    pub(super) will: Option<OwnedWill>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DpsLogin {
    pub(super) id_scope: String,
    pub(super) registration_id: String,
    /// The version of the API; a missing or unknown one is told in the answers.
    pub(super) api_version: Option<String>,
    pub(super) password: Option<String>,
    pub(super) keep_alive_secs: u16,
}

/// A will, kept until the connection ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OwnedWill {
    pub(super) topic: String,
    pub(super) message: Vec<u8>,
    pub(super) retain: bool,
}

/// Why a CONNECT is refused before any credential is looked at.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub(super) enum LoginError {
    #[error("protocol `{name}` level {level} is not MQTT 3.1.1 or 5")]
    Version { name: String, level: u8 },
    #[error("client id is empty")]
    ClientId,
    #[error("user name is missing")]
    NoUserName,
    #[error("user name does not begin with host and client id")]
    UserName,
    #[error("password is not text")]
    Password,
    #[error("will with QoS 2")]
    WillQos,
}

impl LoginError {
    pub(super) fn code(&self) -> ConnectReturnCode {
        match self {
            Self::Version { .. } => ConnectReturnCode::UnacceptableProtocolVersion,
            Self::ClientId => ConnectReturnCode::IdentifierRejected,
            Self::NoUserName | Self::UserName | Self::Password => ConnectReturnCode::BadUserNameOrPassword,
            Self::WillQos => ConnectReturnCode::NotAuthorized,
        }
    }
}

impl Login {
    pub(super) fn read(connect: &Connect<'_>) -> Result<Self, LoginError> {
        if connect.protocol_name != "MQTT" || connect.protocol_level != 4 {
            let name = connect.protocol_name.chars().take(16).collect();
            return Err(LoginError::Version { name, level: connect.protocol_level });
        }
        if connect.client_id.is_empty() {
            return Err(LoginError::ClientId);
        }
        let user_name = connect.user_name.ok_or(LoginError::NoUserName)?;
        let password = connect.password.map(|p| std::str::from_utf8(p).map_err(|_| LoginError::Password));
        let password = password.transpose()?.filter(|p| !p.is_empty()).map(str::to_owned);
        if let Some((id_scope, rest)) = user_name.split_once("/registrations/") {
            let (registration_id, query) = rest.split_once('/').unwrap_or((rest, ""));
            if registration_id != connect.client_id {
                return Err(LoginError::UserName);
            }
            return Ok(Self::Dps(DpsLogin {
                id_scope: id_scope.to_owned(),
                registration_id: registration_id.to_owned(),
                api_version: parameter(query.strip_prefix('?').unwrap_or(query), "api-version"),
                password,
                keep_alive_secs: connect.keep_alive_secs,
            }));
        }
        let (host, rest) = user_name.split_once('/').ok_or(LoginError::UserName)?;
        let query = rest.strip_prefix(connect.client_id).ok_or(LoginError::UserName)?;
        let query = match query.strip_prefix('/') {
            Some(query) => query.strip_prefix('?').unwrap_or(query),
            None if query.is_empty() => "",
            None => return Err(LoginError::UserName),
        };
        let will = match &connect.will {
            Some(will) if will.qos == QoS::ExactlyOnce => return Err(LoginError::WillQos),
            Some(will) => {
                Some(OwnedWill { topic: will.topic.to_owned(), message: will.message.to_vec(), retain: will.retain })
            }
            None => None,
        };
        Ok(Self::Hub(HubLogin {
            host: host.to_owned(),
            client_id: connect.client_id.to_owned(),
            model_id: model_id(query),
            password,
            terms: Terms { clean_session: connect.clean_session, keep_alive_secs: connect.keep_alive_secs, will },
        }))
    }
}

/// A parameter, decoded.
fn parameter(query: &str, name: &str) -> Option<String> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let values: Vec<_> = pairs.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect();
    // Twice is as wrong as any other version.
    (!values.is_empty()).then(|| percent_decode_str(&values.join(",")).decode_utf8_lossy().into_owned())
}

fn model_id(query: &str) -> Option<String> {
    let value = query.split('&').find_map(|pair| match pair.split_once('=')? {
        ("model-id" | "digital-twin-model-id", value) => Some(value),
        _ => None,
    })?;
    let decoded = percent_decode_str(value).decode_utf8().ok()?;
    // A model id is at most 128 characters (DTDL).
    (!decoded.is_empty() && decoded.len() <= 256).then(|| decoded.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connect<'a>(client_id: &'a str, user_name: &'a str) -> Connect<'a> {
        Connect {
            protocol_name: "MQTT",
            protocol_level: 4,
            clean_session: false,
            keep_alive_secs: 60,
            client_id,
            will: None,
            user_name: Some(user_name),
            password: Some(b"token"),
        }
    }

    #[track_caller]
    fn hub(client_id: &str, user_name: &str, model: Option<&str>) {
        let Ok(Login::Hub(login)) = Login::read(&connect(client_id, user_name)) else { panic!("{user_name}") };
        assert_eq!((login.host.as_str(), login.model_id.as_deref()), ("h", model), "{user_name}");
    }

    #[test]
    fn every_sdk_spelling_of_the_user_name_is_read() {
        hub("d", "h/d/?api-version=2019-10-01&DeviceClientType=x%2F1", None);
        hub("d/m", "h/d/m/?api-version=2021-04-12", None);
        hub("d", "h/d/api-version=2016-11-14/x", None);
        hub("d", "h/d", None);
        hub("d", "h/d/", None);
        hub("d", "h/d/?api-version=2020-09-30&model-id=dtmi%3Aa%3Bb%3B1", Some("dtmi:a;b;1"));
        hub("d", "h/d/?model-id=dtmi:a:b;1&api-version=2021-04-12", Some("dtmi:a:b;1"));
    }

    #[test]
    fn dps_is_told_apart() {
        let login = Login::read(&connect("r1", "0ne1/registrations/r1/api-version=2019-03-31&ClientVersion=x"));
        let Ok(Login::Dps(login)) = login else { panic!() };
        assert_eq!((login.id_scope.as_str(), login.registration_id.as_str()), ("0ne1", "r1"));
        for (rest, version) in [
            ("/api-version=2019-03-31&ClientVersion=x", Some("2019-03-31")),
            ("/?ClientVersion=x&api-version=2021-06-01", Some("2021-06-01")),
            ("/api-version=", Some("")),
            ("/api-version=2019-03-31&api-version=2019-03-31", Some("2019-03-31,2019-03-31")),
            ("/ClientVersion=x", None),
            ("", None),
        ] {
            let Ok(Login::Dps(login)) = Login::read(&connect("r1", &format!("0ne1/registrations/r1{rest}"))) else {
                panic!("{rest}")
            };
            assert_eq!(login.api_version.as_deref(), version, "{rest}");
        }
        assert_eq!(Login::read(&connect("r2", "0ne1/registrations/r1/x")), Err(LoginError::UserName));
    }

    #[test]
    fn what_is_wrong_has_a_code() {
        let code = |c: &Connect<'_>| Login::read(c).unwrap_err().code();
        assert_eq!(code(&connect("d", "h/other/?x")), ConnectReturnCode::BadUserNameOrPassword);
        assert_eq!(code(&connect("d", "h/dd/?x")), ConnectReturnCode::BadUserNameOrPassword);
        assert_eq!(code(&connect("", "h//?x")), ConnectReturnCode::IdentifierRejected);
        assert_eq!(
            code(&Connect { protocol_level: 5, ..connect("d", "h/d") }),
            ConnectReturnCode::UnacceptableProtocolVersion
        );
        assert_eq!(code(&Connect { user_name: None, ..connect("d", "") }), ConnectReturnCode::BadUserNameOrPassword);
    }
}
