//! Requests to `$cbs` and `$management`: carried out, and answered on the right link.

use gantry_amqp::connection::{LinkId, Outgoing};
use gantry_amqp::{Body, ErrorCondition, Message, condition as amqp};
use tracing::debug;

use super::connection::Head;
use super::links::{Link, LinkKind, Node};
use super::management::{self, Answer};

impl Head {
    pub(super) fn request(&mut self, link: LinkId, node: Node, request: &Message) {
        let answer = match node {
            // One client that finds an error condition here never looks at status and description.
            Node::Cbs => Answer { condition: None, ..self.put_token(request) },
            Node::Management => {
                management::answer(request, self.context.stream.as_ref(), |entity| self.may_manage(entity))
            }
        };
        let properties = request.properties.as_ref();
        let reply_to = properties.and_then(|properties| properties.reply_to.as_deref());
        let Some(to) = self.answer_link(link, node, reply_to) else {
            debug!(peer = %self.peer.address, ?node, ?reply_to, "nowhere to answer to");
            return;
        };
        let answer = answer.encode(properties.and_then(|properties| properties.message_id.clone()));
        if let Some(LinkKind::Answers(answers)) = self.links.get_mut(&to).map(|link| &mut link.kind)
            && !answers.push(answer)
        {
            let text = "too many answers wait for credit";
            self.remove(to);
            self.amqp.detach(to, ErrorCondition::new(amqp::RESOURCE_LIMIT_EXCEEDED, text));
            return;
        }
        self.flush_answers(to);
    }

    fn put_token(&mut self, request: &Message) -> Answer {
        let request = match management::put_token(request) {
            Ok(request) => request,
            Err(answer) => return answer,
        };
        let now = (self.context.now)();
        match self.context.authorizer.check(now, &request.token) {
            Ok(grant) => {
                if self.put_grant(&request.audience, grant) {
                    Answer::ok(Body::Empty)
                } else {
                    Answer::failed(403, "amqp:resource-limit-exceeded", "too many tokens on one connection")
                }
            }
            Err(refusal) => {
                debug!(peer = %self.peer.address, audience = %request.audience, %refusal, "token refused");
                self.refused(&request.audience, "amqp cbs", &refusal);
                Answer::failed(401, "amqp:unauthorized-access", "Unauthorized access.")
            }
        }
    }

    /// The link answers go to. `reply-to` may hold its target address, its name or its source address, and one
    /// client sends none: then it is the one in the request's session, or else any to the same node.
    fn answer_link(&self, request: LinkId, node: Node, reply_to: Option<&str>) -> Option<LinkId> {
        let session = self.links.get(&request)?.session;
        let rank = |link: &Link| {
            let LinkKind::Answers(answers) = &link.kind else { return None };
            if answers.node != node {
                return None;
            }
            let named = answers.names.iter().position(|name| reply_to.is_some() && name.as_deref() == reply_to);
            Some((link.session != session, named.unwrap_or(answers.names.len())))
        };
        self.links.iter().filter_map(|(id, link)| Some((rank(link)?, *id))).min().map(|(_, id)| id)
    }

    pub(super) fn flush_answers(&mut self, link: LinkId) {
        let Some(LinkKind::Answers(answers)) = self.links.get_mut(&link).map(|link| &mut link.kind) else { return };
        while self.amqp.sendable(link) > 0
            && let Some(answer) = answers.waiting.pop_front()
        {
            let delivery = Outgoing { tag: b"answer", settled: true, format: 0 };
            if self.amqp.send(link, delivery, &answer).is_err() {
                return;
            }
        }
    }
}
