//! Requests of a client and their responses: twin, and answers to methods.

use std::borrow::Cow;

use gantry_hub::connection::MethodResponse;
use gantry_mqtt::v5::{Properties, Publish, Reason};

use super::CORRELATION_BYTES_MAX;
use super::failure::{Failure, Stop, status};
use super::hub::V5;
use super::message::only;
use super::outgoing::explained;
use super::topics::{self, Inbound};
use crate::mqtt::connection::{Connection, Stream, bounded};

/// What a request is answered with: user properties and payload.
struct Answer {
    properties: Vec<(&'static str, String)>,
    payload: String,
}

impl<S: Stream> Connection<'_, S, V5<'_>> {
    /// Answers a request, or takes the answer to one of ours.
    pub(super) async fn handle_request(&mut self, inbound: Inbound, publish: &Publish<'_>) -> Result<(), Stop> {
        if inbound == Inbound::Unknown {
            let text = format!("Unsupported topic: `{}`", bounded(publish.topic));
            return Err(Failure::new(Reason::TOPIC_NAME_INVALID, Some(status::NOT_FOUND), text).into());
        }
        let correlation = publish.properties.correlation_data;
        let correlation = correlation.ok_or_else(|| Failure::bad_request("`Correlation Data` property is missing"))?;
        if correlation.len() > CORRELATION_BYTES_MAX {
            let text = format!("`Correlation Data` is longer than {CORRELATION_BYTES_MAX} bytes");
            return Err(Failure::bad_request(text).into());
        }
        let answer = match inbound {
            Inbound::TwinGet => self.twin(publish).await,
            Inbound::TwinReport => self.reported(publish).await,
            _ => return Ok(self.method_answered(correlation, publish)?),
        };
        self.respond(correlation, answer);
        Ok(())
    }

    async fn twin(&mut self, publish: &Publish<'_>) -> Result<Answer, Failure> {
        only(&publish.properties, &[])?;
        let twin = self.read_twin().await.map_err(|error| Failure::from(&error))?;
        Ok(Answer { properties: vec![], payload: twin.to_string() })
    }

    async fn reported(&mut self, publish: &Publish<'_>) -> Result<Answer, Failure> {
        const IF_VERSION: &str = "if-version";
        only(&publish.properties, &[IF_VERSION])?;
        let version = publish.properties.user_property(IF_VERSION).map(str::parse).transpose();
        let version = version.map_err(|_| Failure::bad_request("`if-version` is not a version"))?;
        let version = self.report(publish.payload, version).await.map_err(|error| Failure::from(&error))?;
        Ok(Answer { properties: vec![("version", version.to_string())], payload: String::new() })
    }

    fn respond(&mut self, correlation: &[u8], answer: Result<Answer, Failure>) {
        let too_large = || Failure::new(Reason::PACKET_TOO_LARGE, Some(status::RESOURCE_EXHAUSTED), "");
        let failure = match &answer {
            Ok(answer) => {
                let user = answer.properties.iter().map(|(name, value)| (*name, value.as_str())).collect();
                if self.send_response(correlation, user, answer.payload.as_bytes()) {
                    return;
                }
                Cow::Owned(too_large())
            }
            Err(failure) => Cow::Borrowed(failure),
        };
        let user = explained(&failure);
        let status = user.iter().copied().filter(|(name, _)| *name == "status").collect();
        if !self.send_response(correlation, user, &[]) {
            self.send_response(correlation, status, &[]);
        }
    }

    fn send_response(&mut self, correlation: &[u8], user: Vec<(&str, &str)>, payload: &[u8]) -> bool {
        let properties = Properties { correlation_data: Some(correlation), user, ..Default::default() };
        self.outgoing().publish(topics::RESPONSES, 0, properties, payload)
    }

    /// Takes a client's answer to a method. With a `status` it says that it could not be run.
    fn method_answered(&mut self, correlation: &[u8], publish: &Publish<'_>) -> Result<(), Failure> {
        // What is not one of ours answers nothing, as a late answer does.
        let Ok(request_id) = correlation.try_into().map(u64::from_be_bytes) else { return Ok(()) };
        let properties = &publish.properties;
        if properties.user_property("status").is_some() {
            self.mailbox.decline(request_id);
            return Ok(());
        }
        let answered = only(properties, &["response-code"]).and_then(|()| {
            let code = properties.user_property("response-code");
            let code = code.ok_or_else(|| Failure::bad_request("`response-code` property is missing"))?;
            code.parse().map_err(|_| Failure::bad_request("`response-code` is not a number"))
        });
        match answered {
            Ok(status) => {
                let payload = bytes::Bytes::copy_from_slice(publish.payload);
                self.mailbox.answer(request_id, MethodResponse { status, payload });
                Ok(())
            }
            Err(failure) => {
                self.mailbox.decline(request_id);
                Err(failure)
            }
        }
    }
}
