//! Direct methods: calls over one link, answers over another.

use bytes::Bytes;
use gantry_amqp::{Body, DeliveryState, ErrorCondition, Message, MessageId, Properties, condition as amqp};
use gantry_hub::connection::MethodResponse;
use gantry_identity::Identity;
use uuid::Uuid;

use super::super::connection::Head;
use super::Channel;

/// Application property with the name of a method. Peers look it up in this spelling.
const METHOD_NAME: &str = "IoThub-methodname";
/// Application property with a device's own status.
const STATUS: &str = "IoThub-status";

impl Head {
    pub(super) fn call_method(&mut self, identity: &Identity, request_id: u64, name: &str, payload: Bytes) {
        let Some(link) = self.outgoing_link(identity, Channel::Methods, None) else { return };
        let message = Message {
            properties: Some(Properties {
                // Two clients make a GUID of it before they answer.
                correlation_id: Some(MessageId::String(Uuid::from_u128(request_id.into()).to_string())),
                ..Properties::default()
            }),
            application_properties: vec![(METHOD_NAME.into(), name.into())],
            body: Body::Data(vec![payload]),
            ..Message::default()
        };
        self.send_outgoing(link, &message);
    }

    pub(super) fn method_answer(&mut self, identity: &Identity, message: &Message) -> DeliveryState {
        let malformed = |text: &str| DeliveryState::Rejected(Some(ErrorCondition::new(amqp::ARGUMENT_ERROR, text)));
        let correlation_id = message.properties.as_ref().and_then(|properties| properties.correlation_id.as_ref());
        let Some(request_id) = correlation_id.and_then(request_id) else {
            return malformed("the correlation id of an answer must be that of its call");
        };
        let status = message
            .application_properties
            .iter()
            .find(|(name, _)| name.as_str().is_some_and(|name| name.eq_ignore_ascii_case(STATUS)));
        let Some(status) = status.and_then(|(_, value)| value.as_i64()).and_then(|status| i32::try_from(status).ok())
        else {
            return malformed("application property `IoThub-status` must be an integer");
        };
        let Some(payload) = message.body.to_bytes() else { return malformed("the body must be data") };
        if let Some(device) = self.devices.connected.get(identity) {
            device.mailbox.answer(request_id, MethodResponse { status, payload });
        }
        DeliveryState::Accepted
    }
}

/// The call an answer belongs to, in the type its peer prefers.
fn request_id(correlation_id: &MessageId) -> Option<u64> {
    let id = match correlation_id {
        MessageId::Uuid(id) => *id,
        MessageId::String(text) => Uuid::parse_str(text).ok()?,
        MessageId::Binary(bytes) => Uuid::from_slice(bytes).ok()?,
        MessageId::Ulong(_) => return None,
    };
    u64::try_from(id.as_u128()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_found_by_its_id_in_every_type() {
        let id = Uuid::from_u128(7);
        assert_eq!(request_id(&MessageId::Uuid(id)), Some(7));
        assert_eq!(request_id(&MessageId::String(id.to_string())), Some(7));
        assert_eq!(request_id(&MessageId::Binary(Bytes::copy_from_slice(id.as_bytes()))), Some(7));
        assert_eq!(request_id(&MessageId::String("7".into())), None);
        assert_eq!(request_id(&MessageId::Uuid(Uuid::from_u128(u128::MAX))), None);
    }
}
