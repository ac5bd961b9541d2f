//! CONNECT of version 5: who, how proved, and what the client can take.

use gantry_identity::ConnectSignature;
use gantry_mqtt::QoS;
use gantry_mqtt::v5::{Connect, Packet, Properties, Publish, Reason, Will, encode};

use super::failure::{Failure, status};
use super::message::telemetry;
use super::topics::TELEMETRY;

/// The first version of this API; later dates are taken too.
const API_VERSION_MIN: &str = "2020-10-01";
/// Longest name or number kept from a CONNECT, in bytes.
const TEXT_BYTES_MAX: usize = 256;
/// User properties a CONNECT may have; `model-id` is ours, for Plug and Play.
const KNOWN: [&str; 7] = ["api-version", "host", "sas-at", "sas-expiry", "sas-policy", "client-agent", "model-id"];

/// What a CONNECT asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Login {
    pub(super) client_id: String,
    /// The host the client means; without it, any name of the hub.
    pub(super) host: Option<String>,
    pub(super) proof: Proof,
    pub(super) model_id: Option<String>,
    pub(super) clean_start: bool,
    /// Seconds the session outlives the connection.
    pub(super) session_expiry_secs: u32,
    pub(super) keep_alive_secs: u16,
    /// QoS 1 publishes the client takes before it acknowledges one.
    pub(super) receive_maximum: u16,
    /// Largest packet the client takes.
    pub(super) packet_bytes_max: usize,
    /// Whether acknowledgements may say more than their code.
    pub(super) tells_problems: bool,
    /// The will, as the PUBLISH it becomes.
    pub(super) will: Option<Vec<u8>>,
}

/// How a client proves itself: `Authentication Method`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Proof {
    /// `SAS`.
    Signed(Signed),
    /// `X509`.
    Certificate,
}

impl Proof {
    /// The value of `Authentication Method`.
    pub(super) fn method(&self) -> &'static str {
        match self {
            Self::Signed(_) => "SAS",
            Self::Certificate => "X509",
        }
    }
}

/// What a client signed, as sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Signed {
    pub(super) policy: Option<String>,
    at: Option<String>,
    expiry: String,
    signature: Vec<u8>,
}

impl Signed {
    /// Reads the properties of a CONNECT or an AUTH.
    pub(super) fn read(properties: &Properties<'_>) -> Result<Self, Failure> {
        let missing = |name: &str| Failure::bad_request(format!("`{name}` property is missing"));
        let at = optional(properties, "sas-at")?;
        if at.as_deref().is_some_and(|at| at.parse::<i64>().is_err()) {
            return Err(Failure::bad_request("`sas-at` is not a time in milliseconds"));
        }
        let expiry = optional(properties, "sas-expiry")?.ok_or_else(|| missing("sas-expiry"))?;
        if expiry.parse::<i64>().is_err() {
            return Err(Failure::bad_request("`sas-expiry` is not a time in milliseconds"));
        }
        let signature = properties.authentication_data.ok_or_else(|| missing("Authentication Data"))?;
        if signature.len() > TEXT_BYTES_MAX {
            return Err(Failure::bad_request("`Authentication Data` is too long"));
        }
        let policy = optional(properties, "sas-policy")?.filter(|policy| !policy.is_empty());
        Ok(Self { policy, at, expiry, signature: signature.to_vec() })
    }

    /// What was signed, for checking.
    pub(super) fn context<'a>(&'a self, host: Option<&'a str>, client_id: &'a str) -> ConnectSignature<'a> {
        ConnectSignature {
            host: host.unwrap_or(""),
            client_id,
            policy: self.policy.as_deref(),
            at: self.at.as_deref(),
            expiry: &self.expiry,
            signature: &self.signature,
        }
    }
}

/// A user property, bounded.
fn optional(properties: &Properties<'_>, name: &str) -> Result<Option<String>, Failure> {
    match properties.user_property(name) {
        Some(value) if value.len() > TEXT_BYTES_MAX => Err(Failure::bad_request(format!("`{name}` is too long"))),
        value => Ok(value.map(str::to_owned)),
    }
}

impl Login {
    pub(super) fn read(connect: &Connect<'_>) -> Result<Self, Failure> {
        let properties = &connect.properties;
        if connect.client_id.is_empty() {
            return Err(Failure::new(Reason::CLIENT_ID_NOT_VALID, None, "client ids are not assigned"));
        }
        if let Some((name, _)) = properties.user.iter().find(|(name, _)| !KNOWN.contains(name)) {
            return Err(Failure::bad_request(format!("Unknown property `{name}`")));
        }
        match properties.user_property("api-version") {
            Some(version) if version >= API_VERSION_MIN => {}
            Some(_) => return Err(Failure::bad_request("`api-version` is not one of MQTT 5")),
            None => return Err(Failure::bad_request("`api-version` property is missing")),
        }
        let proof = match properties.authentication_method {
            Some("SAS") => Proof::Signed(Signed::read(properties)?),
            Some("X509") => Proof::Certificate,
            Some(_) => {
                let text = "`Authentication Method` must be SAS or X509";
                return Err(Failure::new(Reason::BAD_AUTHENTICATION_METHOD, Some(status::BAD_REQUEST), text));
            }
            None => return Err(Failure::bad_request("`Authentication Method` property is missing")),
        };
        Ok(Self {
            client_id: connect.client_id.to_owned(),
            host: optional(properties, "host")?.filter(|host| !host.is_empty()),
            proof,
            model_id: optional(properties, "model-id")?.filter(|id| !id.is_empty()),
            clean_start: connect.clean_start,
            session_expiry_secs: properties.session_expiry_secs.unwrap_or(0),
            keep_alive_secs: connect.keep_alive_secs,
            receive_maximum: properties.receive_maximum.unwrap_or(u16::MAX),
            packet_bytes_max: properties.maximum_packet_size.map_or(usize::MAX, |max| max as usize),
            tells_problems: properties.request_problem_information.unwrap_or(true),
            will: connect.will.as_deref().map(kept).transpose()?,
        })
    }
}

/// The PUBLISH a will becomes.
fn kept(will: &Will<'_>) -> Result<Vec<u8>, Failure> {
    if will.topic != TELEMETRY {
        return Err(Failure::new(Reason::TOPIC_NAME_INVALID, None, format!("a will is published to `{TELEMETRY}`")));
    }
    if will.qos == QoS::ExactlyOnce {
        return Err(Failure::new(Reason::QOS_NOT_SUPPORTED, None, "will with QoS 2"));
    }
    if will.retain {
        return Err(Failure::new(Reason::RETAIN_NOT_SUPPORTED, None, "will with RETAIN"));
    }
    telemetry(&will.properties, will.payload)?;
    let properties = Properties { will_delay_secs: None, ..will.properties.clone() };
    let mut bytes = vec![];
    let publish = Publish {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: false,
        topic: will.topic,
        packet_id: 0,
        properties,
        payload: will.payload,
    };
    encode(&mut bytes, &Packet::Publish(publish));
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connect() -> Connect<'static> {
        let user = vec![("api-version", "2020-10-01-preview"), ("host", "h"), ("sas-expiry", "5")];
        Connect {
            client_id: "d1",
            properties: Properties {
                authentication_method: Some("SAS"),
                authentication_data: Some(&[1; 32]),
                user,
                ..Default::default()
            },
            ..Default::default()
        }
    }

    #[test]
    fn what_is_left_out_has_the_standards_default() {
        let login = Login::read(&connect()).unwrap();
        assert_eq!((login.session_expiry_secs, login.receive_maximum, login.tells_problems), (0, u16::MAX, true));
        let Proof::Signed(signed) = &login.proof else { panic!() };
        assert_eq!((signed.policy.as_deref(), signed.at.as_deref(), signed.expiry.as_str()), (None, None, "5"));
    }

    #[track_caller]
    fn refuse(change: impl Fn(&mut Connect<'_>), reason: Reason, words: &str) {
        let mut connect = connect();
        change(&mut connect);
        let failure = Login::read(&connect).unwrap_err();
        assert_eq!(failure.reason, reason, "{words}");
        assert!(failure.text.contains(words), "{}", failure.text);
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        let bad = Reason::IMPLEMENTATION_SPECIFIC;
        refuse(|c| c.client_id = "", Reason::CLIENT_ID_NOT_VALID, "client id");
        refuse(|c| c.properties.authentication_method = None, bad, "`Authentication Method` property is missing");
        refuse(|c| c.properties.authentication_method = Some("x"), Reason::BAD_AUTHENTICATION_METHOD, "SAS or X509");
        refuse(|c| c.properties.authentication_data = None, bad, "`Authentication Data`");
        refuse(|c| c.properties.user.clear(), bad, "`api-version`");
        refuse(|c| c.properties.user[0].1 = "2019-01-01", bad, "`api-version`");
        refuse(|c| c.properties.user.truncate(2), bad, "`sas-expiry`");
        refuse(|c| c.properties.user[2].1 = "soon", bad, "`sas-expiry`");
        refuse(|c| c.properties.user.push(("sas-at", "")), bad, "`sas-at`");
        refuse(|c| c.properties.user.push(("Host", "h")), bad, "Unknown property `Host`");
    }

    #[test]
    fn a_will_is_a_message_of_the_device() {
        let will = |topic: &'static str, qos, retain| {
            Some(Box::new(Will { properties: Properties::default(), topic, payload: b"x", qos, retain }))
        };
        let mut with = connect();
        with.will = will(TELEMETRY, QoS::AtLeastOnce, false);
        assert!(Login::read(&with).unwrap().will.is_some());
        refuse(|c| c.will = will("other", QoS::AtMostOnce, false), Reason::TOPIC_NAME_INVALID, TELEMETRY);
        refuse(|c| c.will = will(TELEMETRY, QoS::ExactlyOnce, false), Reason::QOS_NOT_SUPPORTED, "QoS 2");
        refuse(|c| c.will = will(TELEMETRY, QoS::AtMostOnce, true), Reason::RETAIN_NOT_SUPPORTED, "RETAIN");
    }
}
