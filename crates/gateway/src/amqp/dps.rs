//! A device at the provisioning service: one link to ask, one for the answers, both at `{scope}/registrations/{id}`.
//!
//! A connection is for one registration. Its device proves itself with SASL PLAIN (`{scope}/registrations/{id}` as
//! user, a token as password), with a TPM (`tpm.rs`), or with the certificate of its TLS handshake when it asks for its first link. Requests
//! are messages with an operation in their application properties; each is accepted and answered by a message with
//! the same correlation id, or rejected with the error as JSON in the description, where the .NET client reads it.

use std::collections::VecDeque;
use std::sync::Arc;

use gantry_amqp::connection::{Accept, AttachRequest, Delivery, DeliveryId, LinkId, Outgoing};
use gantry_amqp::message::lookup;
use gantry_amqp::sasl::Outcome;
use gantry_amqp::{
    Body, DeliveryState, ErrorCondition, Message, MessageId, Properties, ReceiverSettleMode, Role, Symbol, Value,
    condition as amqp,
};
use gantry_hub::Presented;
use gantry_identity::{Refusal, Timestamp};
use gantry_provisioning::{
    DpsError, RETRY_AFTER_SECS, Registering, Registrant, RegistrationId, Service, check_api_version,
};
use serde_json::Value as Json;
use tracing::debug;

use super::condition;
use super::connection::{Done, Head};
use super::links::{ANSWERS_MAX, Link, LinkKind, MESSAGE_SIZE_MAX};
use super::tpm::TpmSasl;

/// Requests of one connection under way; a device has one.
const REQUESTS_MAX: u32 = 10;
/// Links that may wait for their device to prove itself.
const WAITING_MAX: usize = 10;

/// Link property with the version of the API.
const API_VERSION: &str = "com.microsoft:api-version";
const OPERATION_TYPE: &str = "iotdps-operation-type";
const OPERATION_ID: &str = "iotdps-operation-id";
const FORCE: &str = "iotdps-forceRegistration";
/// Seconds until a device should ask again: in the spelling of Node, and in that of .NET.
const RETRY_AFTER: [&str; 2] = ["retry-after", "Retry-After"];

/// The device of a connection at the provisioning service.
#[derive(Default)]
pub(super) struct Dps {
    registrant: Option<Arc<Registrant>>,
    /// The instance it spoke to.
    service: Option<Arc<Service>>,
    waiting: Vec<(AttachRequest, RegistrationId)>,
    checking: bool,
    /// Its proof was refused when it asked for a link.
    refused: bool,
    pub(super) tpm: Option<TpmSasl>,
    in_flight: u32,
}

/// Something about it that was waited for.
pub(super) enum DpsDone {
    /// Its proof was checked: for SASL, or for its first link.
    Checked(Box<Checked>),
    /// A challenge for its TPM was made.
    Challenged(Box<Result<Vec<u8>, DpsError>>),
    /// A request was carried out.
    Answered(Answered),
}

/// The outcome of a check.
pub(super) struct Checked {
    id: String,
    sasl: bool,
    result: Result<Registrant, DpsError>,
}

/// The outcome of a request.
pub(super) struct Answered {
    link: LinkId,
    delivery_id: DeliveryId,
    settled: bool,
    correlation_id: Option<MessageId>,
    result: Result<Answer, DpsError>,
}

struct Answer {
    body: Json,
    ask_again: bool,
}

/// The scope and registration id of a user name or address.
pub(super) fn registration_of(text: &str) -> Option<(&str, &str)> {
    let (scope, id) = text.trim_start_matches('/').split_once("/registrations/")?;
    (!scope.is_empty() && !scope.contains('/') && !id.contains('/')).then_some((scope, id))
}

impl Dps {
    /// When the proof of its device ends.
    pub(super) fn expires_at(&self) -> Option<Timestamp> {
        self.registrant.as_ref().map(|registrant| registrant.expires_at)
    }
}

impl Head {
    /// SASL PLAIN of a device: the token decides.
    pub(super) fn check_registrant_token(&mut self, scope: &str, id: &str, token: String) {
        self.check_registrant(scope, id, Some(token), true);
    }

    fn check_registrant(&mut self, scope: &str, id: &str, token: Option<String>, sasl: bool) {
        let (service, now) = (Arc::clone(self.context.provisioning.of(scope)), self.context.now);
        self.dps.service = Some(Arc::clone(&service));
        let certificate = self.peer.certificate.clone();
        let (scope, id) = (scope.to_owned(), id.to_owned());
        self.dps.checking = true;
        self.work.push(Box::pin(async move {
            let presented = Presented { token: token.as_deref(), certificate: certificate.as_ref() };
            let result = match RegistrationId::parse(&id) {
                Ok(parsed) => service.authenticate_device(now(), &scope, &parsed, presented).await,
                Err(_) => Err(DpsError::Unauthorized(Refusal::UnknownIdentity(id.clone()))),
            };
            Ok(Done::Dps(DpsDone::Checked(Box::new(Checked { id, sasl, result }))))
        }));
    }

    pub(super) fn dps_done(&mut self, done: DpsDone) {
        match done {
            DpsDone::Checked(checked) => self.registrant_checked(*checked),
            DpsDone::Challenged(result) => self.tpm_challenged(*result),
            DpsDone::Answered(answered) => self.registration_answered(answered),
        }
    }

    fn registrant_checked(&mut self, checked: Checked) {
        let Checked { id, sasl, result } = checked;
        self.dps.checking = false;
        if let Err(DpsError::Unauthorized(refusal)) = &result {
            debug!(peer = %self.peer.address, %id, %refusal, "registrant refused");
            let operation = if sasl { "amqp dps sasl" } else { "amqp dps attach" };
            let service = self.dps.service.as_ref().unwrap_or(self.context.provisioning.own());
            service.report_refusal((self.context.now)(), &id, &self.peer.address, operation, refusal);
        }
        let outcome = match &result {
            Ok(_) => Outcome::Ok,
            Err(DpsError::Unauthorized(_)) => Outcome::Auth,
            Err(_) => Outcome::SystemTemporary,
        };
        let waiting = std::mem::take(&mut self.dps.waiting);
        match result {
            Ok(registrant) => {
                self.has_token();
                self.dps.registrant = Some(Arc::new(registrant));
                for (request, id) in waiting {
                    self.open_registration_link(request, &id);
                }
            }
            Err(error) => {
                self.dps.refused = !sasl;
                for (request, _) in waiting {
                    let refusal = of_dps(&error, (self.context.now)());
                    self.amqp.refuse_attach(request, refusal);
                }
            }
        }
        if sasl {
            self.sasl_decided(outcome);
        }
    }

    /// A device asks for a link of its registration.
    pub(super) fn attach_registration(&mut self, request: AttachRequest, scope: &str, id: &str) {
        let Ok(parsed) = RegistrationId::parse(id) else {
            return self.amqp.refuse_attach(request, condition::not_found(id));
        };
        if self.dps.registrant.is_some() {
            if self.dps.service.as_ref().is_none_or(|service| service.id_scope().as_str() != scope) {
                return self.amqp.refuse_attach(request, condition::unauthorized());
            }
            return self.open_registration_link(request, &parsed);
        }
        if self.dps.refused {
            // The Node client asks for its other link before it sees the refusal of the first, and never comes back
            // from a second one. This link goes with the connection, which ends without a proof.
            return;
        }
        if self.dps.waiting.len() >= WAITING_MAX {
            let text = "too many links wait for their device";
            return self.amqp.refuse_attach(request, ErrorCondition::new(amqp::RESOURCE_LIMIT_EXCEEDED, text));
        }
        self.dps.waiting.push((request, parsed));
        if !self.dps.checking {
            self.check_registrant(scope, id, None, false);
        }
    }

    fn open_registration_link(&mut self, request: AttachRequest, id: &RegistrationId) {
        let is_its_own = self.dps.registrant.as_ref().is_some_and(|registrant| registrant.id == *id);
        if !is_its_own {
            return self.amqp.refuse_attach(request, condition::unauthorized());
        }
        if !self.amqp.has_link(request.link) {
            // The peer gave up while its device was being checked.
            return;
        }
        // It may be left out, and only the link that asks is refused: the Node client cannot take a second refusal.
        let version = lookup(&request.attach.properties, API_VERSION).filter(|version| **version != Value::Null);
        if request.attach.role == Role::Sender
            && let Some(version) = version
            && let Err(error) = check_api_version(version.as_str())
        {
            let refusal = of_dps(&error, (self.context.now)());
            return self.amqp.refuse_attach(request, refusal);
        }
        let kind = match request.attach.role {
            Role::Sender => LinkKind::Registration,
            Role::Receiver => LinkKind::RegistrationAnswers(VecDeque::new()),
        };
        self.links.insert(request.link, Link::of_registration(request.session, kind));
        let accept = Accept {
            credit: REQUESTS_MAX,
            rcv_settle_mode: ReceiverSettleMode::First,
            max_message_size: Some(MESSAGE_SIZE_MAX),
            ..Accept::default()
        };
        self.amqp.accept_attach(request, accept);
    }

    /// A request came.
    pub(super) fn registration_request(&mut self, delivery: &Delivery, message: Message) {
        let (Some(registrant), Some(service)) = (self.dps.registrant.clone(), self.dps.service.clone()) else { return };
        if self.dps.in_flight >= REQUESTS_MAX {
            let error = ErrorCondition::new(amqp::RESOURCE_LIMIT_EXCEEDED, "too many requests at once");
            return self.settle(delivery, DeliveryState::Rejected(Some(error)));
        }
        self.dps.in_flight += 1;
        let now = self.context.now;
        let (link, delivery_id, settled) = (delivery.link, delivery.delivery_id, delivery.settled);
        let correlation_id = message.properties.as_ref().and_then(|properties| properties.correlation_id.clone());
        self.work.push(Box::pin(async move {
            let result = carry_out(&service, now(), &registrant, &message).await;
            Ok(Done::Dps(DpsDone::Answered(Answered { link, delivery_id, settled, correlation_id, result })))
        }));
    }

    fn registration_answered(&mut self, answered: Answered) {
        let Answered { link, delivery_id, settled, correlation_id, result } = answered;
        self.dps.in_flight = self.dps.in_flight.saturating_sub(1);
        let state = match &result {
            Ok(_) => DeliveryState::Accepted,
            Err(error) => DeliveryState::Rejected(Some(of_dps(error, (self.context.now)()))),
        };
        if !settled {
            self.amqp.settle(link, delivery_id, state);
        }
        let Ok(answer) = result else { return };
        let answers = self.links.iter_mut().find_map(|(id, link)| match &mut link.kind {
            LinkKind::RegistrationAnswers(answers) => Some((*id, answers)),
            _ => None,
        });
        let Some((to, answers)) = answers else {
            debug!(peer = %self.peer.address, "nowhere to answer a registration to");
            return;
        };
        let message = Message {
            properties: Some(Properties { correlation_id, ..Properties::default() }),
            application_properties: if answer.ask_again { retry_after(RETRY_AFTER_SECS, Value::from) } else { vec![] },
            body: Body::Data(vec![answer.body.to_string().into()]),
            ..Message::default()
        };
        if answers.len() >= ANSWERS_MAX {
            let text = "too many answers wait for credit";
            self.remove(to);
            self.amqp.detach(to, ErrorCondition::new(amqp::RESOURCE_LIMIT_EXCEEDED, text));
            return;
        }
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        answers.push_back(bytes);
        self.flush_registration_answers(to);
    }

    pub(super) fn flush_registration_answers(&mut self, link: LinkId) {
        let Some(LinkKind::RegistrationAnswers(answers)) = self.links.get_mut(&link).map(|link| &mut link.kind) else {
            return;
        };
        while self.amqp.sendable(link) > 0
            && let Some(answer) = answers.pop_front()
        {
            let delivery = Outgoing { tag: b"answer", settled: true, format: 0 };
            if self.amqp.send(link, delivery, &answer).is_err() {
                return;
            }
        }
    }

    /// Closes the connection when the proof of its device has ended.
    pub(super) fn expire_registrant(&mut self, now: Timestamp) {
        if self.dps.expires_at().is_some_and(|at| at <= now) {
            self.dps.registrant = None;
            self.close(amqp::UNAUTHORIZED_ACCESS, "the proof of this device expired");
        }
    }
}

async fn carry_out(
    service: &Arc<Service>,
    now: Timestamp,
    registrant: &Registrant,
    message: &Message,
) -> Result<Answer, DpsError> {
    let property = |name| message.application_property(name).and_then(Value::as_str);
    let body = message.body.to_bytes().ok_or_else(|| DpsError::Invalid("the body must be data".into()))?;
    match property(OPERATION_TYPE).unwrap_or_default() {
        "iotdps-register" => {
            let force = message.application_property(FORCE) == Some(&Value::Boolean(true));
            let asked = Registering { force, ..Registering::read(&body, &registrant.id)? };
            let operation = service.register(now, registrant, asked).await?;
            Ok(Answer { body: operation.document(), ask_again: true })
        }
        "iotdps-get-operationstatus" => {
            let id = property(OPERATION_ID).ok_or_else(|| DpsError::Invalid(format!("{OPERATION_ID} is missing")))?;
            let operation = service.operation(now, registrant, id).await?;
            Ok(Answer { body: operation.document(), ask_again: !operation.is_done() })
        }
        "iotdps-get-registration" => {
            Registering::read(&body, &registrant.id)?;
            Ok(Answer { body: service.registration(&registrant.id).await?.document(), ask_again: false })
        }
        _ => Err(DpsError::Invalid(format!("{OPERATION_TYPE} names no operation"))),
    }
}

fn retry_after(secs: i32, key: impl Fn(&'static str) -> Value) -> Vec<(Value, Value)> {
    RETRY_AFTER.into_iter().map(|name| (key(name), Value::Int(secs))).collect()
}

/// What a device is told: Node tries again after `internal-error` and throttling alone.
pub(crate) fn of_dps(error: &DpsError, now: Timestamp) -> ErrorCondition {
    let condition = match error.code() / 1000 {
        401 | 403 => amqp::UNAUTHORIZED_ACCESS,
        404 => amqp::NOT_FOUND,
        429 => condition::THROTTLED,
        501 => amqp::NOT_IMPLEMENTED,
        500.. => amqp::INTERNAL_ERROR,
        _ => amqp::ARGUMENT_ERROR,
    };
    let symbol = |name| Value::Symbol(Symbol::from_static(name));
    let info = match (error, error.code() / 1000) {
        (DpsError::Throttled { retry_after: wait }, _) => {
            retry_after(i32::try_from(wait.as_secs() + 1).unwrap_or(i32::MAX), symbol)
        }
        (_, 500 | 503) => retry_after(RETRY_AFTER_SECS, symbol),
        _ => vec![],
    };
    let tracking_id = format!("{:x}", now.as_millis());
    ErrorCondition { condition, description: error.document(&tracking_id, now).to_string(), info }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registrations_are_told_from_other_users_and_addresses() {
        assert_eq!(registration_of("0ne1/registrations/r.1"), Some(("0ne1", "r.1")));
        assert_eq!(registration_of("/0ne1/registrations/r"), Some(("0ne1", "r")));
        for other in ["registrations/r", "/registrations/r", "a/b/registrations/r", "0ne1/registrations/r/x", "d@sas.h"]
        {
            assert_eq!(registration_of(other), None, "{other}");
        }
    }

    #[test]
    fn errors_are_json_under_the_condition_clients_look_for() {
        let now = Timestamp::from_millis(0);
        let check = |error: DpsError, condition: &str, code: u32, retries: bool| {
            let told = of_dps(&error, now);
            let json: Json = serde_json::from_str(&told.description).unwrap();
            assert_eq!((told.condition.as_str(), json["errorCode"].as_u64()), (condition, Some(code.into())));
            assert_eq!(!told.info.is_empty(), retries, "{condition}");
        };
        check(DpsError::Unauthorized(Refusal::Missing), "amqp:unauthorized-access", 401_002, false);
        check(
            DpsError::NotFound(gantry_provisioning::Unknown::Enrollment, "x".into()),
            "amqp:not-found",
            404_201,
            false,
        );
        check(DpsError::Invalid("x".into()), "com.microsoft:argument-error", 400_004, false);
        check(DpsError::Malformed("x".into()), "com.microsoft:argument-error", 400_012, false);
        let throttled = DpsError::Throttled { retry_after: std::time::Duration::from_secs(9) };
        check(throttled, "com.microsoft:device-container-throttled", 429_001, true);
        check(DpsError::NotImplemented("x"), "amqp:not-implemented", 501_001, false);
        check(DpsError::Failed("x".into()), "amqp:internal-error", 500_001, true);
    }
}
