//! Requests to `$cbs` and `$management`: carried out, and answered on the right link.

use std::sync::Arc;

use gantry_amqp::connection::{LinkId, Outgoing};
use gantry_amqp::{Body, ErrorCondition, Message, MessageId, condition as amqp};
use gantry_hub::ports::directory::{Audience, bearer_token, is_jwt};
use gantry_identity::{Refusal, SharedAccessSignature};
use tracing::debug;

use super::connection::{Done, Head};
use super::device::identities_of;
use super::grants::Proof;
use super::links::{Link, LinkKind, Node};
use super::management::{self, Answer, PutToken};

/// A request that is to be answered.
pub(super) struct Asked {
    link: LinkId,
    node: Node,
    message_id: Option<MessageId>,
    reply_to: Option<String>,
}

impl Head {
    pub(super) fn request(&mut self, link: LinkId, node: Node, request: &Message) {
        let properties = request.properties.as_ref();
        let asked = Asked {
            link,
            node,
            message_id: properties.and_then(|properties| properties.message_id.clone()),
            reply_to: properties.and_then(|properties| properties.reply_to.clone()),
        };
        match node {
            Node::Cbs => self.put_token(asked, request),
            Node::Management => self.manage(asked, request),
        }
    }

    fn manage(&mut self, asked: Asked, request: &Message) {
        let streams = self.context.streams().into_iter().map(|(entity, _)| entity);
        match management::question(request, streams.filter(|entity| self.may_manage(entity))) {
            Err(answer) => self.answer(asked, answer),
            Ok(question) => {
                let events = Arc::clone(&self.context.events);
                self.work.push(Box::pin(async move {
                    let answer = management::answer(&question, &*events).await;
                    Ok(Done::Managed(asked, answer))
                }));
            }
        }
    }

    pub(super) fn answer(&mut self, asked: Asked, mut answer: Answer) {
        let Asked { link, node, message_id, reply_to } = asked;
        if node == Node::Cbs {
            // One client that finds an error condition here never looks at status and description.
            answer.condition = None;
        }
        let Some(to) = self.answer_link(link, node, reply_to.as_deref()) else {
            debug!(peer = %self.peer.address, ?node, ?reply_to, "nowhere to answer to");
            return;
        };
        let answer = answer.encode(message_id);
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

    /// Takes a token: of a policy, or an identity's own.
    fn put_token(&mut self, asked: Asked, request: &Message) {
        let request = match management::put_token(request) {
            Ok(request) => request,
            Err(answer) => return self.answer(asked, answer),
        };
        if let Ok(signature) = SharedAccessSignature::parse(&request.token)
            && signature.policy().is_none()
            && let Some(readings) = identities_of(signature.resource())
        {
            return self.check_own_token(readings, request.token, Some(asked));
        }
        let answer = match self.check_token(&request) {
            Ok(proof) => {
                if let Proof::Policy(grant) = &proof {
                    self.renew_by_policy(grant);
                }
                // Devices come in with the text of a policy's token; nobody needs that of others.
                let text = if matches!(proof, Proof::Policy(_)) { request.token.as_str() } else { "" };
                if self.put_grant(&request.audience, proof, text) {
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
        };
        self.answer(asked, answer);
    }

    /// Whose token it is: a policy's, or somebody's of a directory. Clients of the hub put the word `Bearer` before it.
    fn check_token(&self, request: &PutToken) -> Result<Proof, Refusal> {
        let now = (self.context.now)();
        let token = bearer_token(&request.token).unwrap_or(&request.token);
        let Some(directory) = self.context.directory.as_ref().filter(|_| is_jwt(token)) else {
            return self.context.authorizer.check(now, &request.token).map(Proof::Policy);
        };
        // What a token is for is in it; what the client says it is for tells which of the two is likelier.
        let (first, second) = match request.audience.starts_with("https://") {
            true => (Audience::Hub, Audience::Stream),
            false => (Audience::Stream, Audience::Hub),
        };
        let identify = |audience| Ok(Proof::Directory(directory.identify(now, token, audience)?, audience));
        identify(first).or_else(|refusal: Refusal| identify(second).map_err(|_: Refusal| refusal))
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
