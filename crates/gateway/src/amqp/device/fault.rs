//! Faults a device asked for in a message, over AMQP.

use gantry_amqp::connection::LinkId;
use gantry_amqp::{ErrorCondition, condition as amqp};
use gantry_hub::faults::{Fault, FaultKind};
use gantry_identity::Identity;
use tracing::debug;

use super::{Channel, DeviceDone, DeviceRole};
use crate::amqp::connection::{Done, Head};
use crate::amqp::links::{LinkKind, Node};

impl Head {
    /// Lets a fault happen when it is due.
    pub(super) fn plan_fault(&mut self, identity: Identity, fault: Fault) {
        self.work.push(Box::pin(async move {
            tokio::time::sleep(fault.delay).await;
            Ok(Done::Device(DeviceDone::Fault(identity, fault)))
        }));
    }

    /// Breaks what the device asked to be broken.
    pub(super) fn break_something(&mut self, identity: &Identity, fault: Fault) {
        debug!(%identity, ?fault, "fault asked for");
        if fault.kind.refuses_sending() {
            self.context.hub.refuse_sending((self.context.now)(), identity, fault);
            return;
        }
        match fault.kind {
            // Clients treat the end of their only session as that of the connection.
            FaultKind::KillTcp
            | FaultKind::ShutDownAmqp
            | FaultKind::KillAmqpConnection
            | FaultKind::KillAmqpSession => self.close(amqp::CONNECTION_FORCED, "the device asked for this fault"),
            kind => {
                let hit: Vec<LinkId> = self
                    .links
                    .iter()
                    .filter(|(_, link)| is_hit(&link.kind, identity, kind))
                    .map(|(id, _)| *id)
                    .collect();
                for id in hit {
                    self.remove(id);
                    self.amqp.detach(id, ErrorCondition::new(amqp::DETACH_FORCED, "the device asked for this fault"));
                }
            }
        }
    }
}

fn is_hit(link: &LinkKind, identity: &Identity, kind: FaultKind) -> bool {
    match link {
        LinkKind::Requests(Node::Cbs) => kind == FaultKind::KillAmqpCbsRequests,
        LinkKind::Answers(answers) => answers.node == Node::Cbs && kind == FaultKind::KillAmqpCbsResponses,
        LinkKind::Device(link) if link.identity == *identity => match &link.role {
            DeviceRole::Telemetry => kind == FaultKind::KillAmqpTelemetry,
            DeviceRole::C2d(_) => kind == FaultKind::KillAmqpC2d,
            DeviceRole::Incoming(Channel::Twin) => kind == FaultKind::KillAmqpTwinRequests,
            DeviceRole::Outgoing(Channel::Twin, _) => kind == FaultKind::KillAmqpTwinResponses,
            DeviceRole::Incoming(Channel::Methods) => kind == FaultKind::KillAmqpMethodRequests,
            DeviceRole::Outgoing(Channel::Methods, _) => kind == FaultKind::KillAmqpMethodResponses,
            DeviceRole::Inputs => false,
        },
        _ => false,
    }
}
