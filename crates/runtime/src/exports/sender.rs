//! Sends what happens in one partition to one destination of one export.

use std::sync::Arc;
use std::time::Duration;

use gantry_central::devices::{Device, template_of};
use gantry_central::exports::Source;
use gantry_central::exports::health::Fault;
use gantry_central::exports::message::{self, About, Message};
use gantry_central::ids::ExportId;
use gantry_endpoints::export::{NotSent, Outgoing, Receiver};
use gantry_hub::HubError;
use gantry_hub::delivery::DeliveryError;
use gantry_hub::event::StoredEvent;
use gantry_hub::ports::{Batch, Record};
use gantry_identity::Identity;
use gantry_transforms::Failure;
use rand::Rng as _;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use tracing::warn;

use super::files::Files;
use super::{Exports, Job};
use crate::follow::Consumer;

/// First and longest pause between attempts.
const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// Messages of which a program did not come to an end, until the rest of a batch is given up.
const ENDLESS_MAX: usize = 3;

/// Characters of a reason that are told.
const REASON_CHARS_MAX: usize = 200;

/// How messages get there.
pub(super) enum Way {
    Receiver(Receiver),
    Files(Files),
}

pub(super) struct Sender {
    exports: Arc<Exports>,
    id: ExportId,
    job: Job,
    way: Way,
    /// What was read and not worked on.
    events: Vec<StoredEvent>,
}

/// A message that is to be sent, and the event it is of.
struct Made {
    sequence_number: u64,
    outgoing: Outgoing,
}

impl Sender {
    pub(super) fn new(exports: Arc<Exports>, id: ExportId, job: Job, way: Way) -> Self {
        Self { exports, id, job, way, events: vec![] }
    }

    fn note(&self, outcome: Result<(), Fault>) {
        self.exports.health.note(&self.id, &self.job.to.id, gantry_gateway::now(), outcome);
    }

    fn dropped(&self, count: usize, code: &'static str, why: &str) {
        // Why may repeat what was in them.
        warn!(export = %self.id, destination = %self.job.to.id, count, code, "messages of an export are dropped");
        metrics::counter!("gantry_export_dropped_total").increment(count as u64);
        self.note(Err(Fault { code, message: why.chars().take(REASON_CHARS_MAX).collect() }));
    }

    /// The messages of what was read, before any transform: what each is of, and as the transform or receiver reads it.
    async fn messages(&self, events: &[StoredEvent]) -> Vec<(u64, Vec<(&'static str, String)>, Value)> {
        let export = &self.job.export.value;
        let is_input = self.job.to.transform.is_some();
        let needs_properties = export.filter.is_some() || !export.enrichments.is_empty();
        let mut all = vec![];
        for event in events {
            let happened = message::read(export.source, event);
            if happened.is_empty() {
                continue;
            }
            let record = self.record(event).await;
            let state = self.exports.central.state();
            let device = record.as_ref().map(|record| Device::of(record, &state.templates, false));
            let properties = match &device {
                Some(device) if needs_properties => device.properties(),
                _ => Map::new(),
            };
            let template = device.as_ref().and_then(|device| {
                let model_id = device.record.twin.model_id.as_deref();
                template_of(&state.templates, &device.profile, model_id).map(|(_, kept)| &kept.value)
            });
            let capabilities = template.and_then(|template| template.capabilities().ok());
            let about = device.as_ref().map(|device| About {
                device,
                properties: &properties,
                template,
                capabilities: capabilities.as_deref(),
            });
            for happened in &happened {
                let application = &self.exports.application;
                let message = Message { application, export, event, happened, about };
                if message.passes() {
                    let shown = if is_input { message.input() } else { message.document() };
                    all.push((event.sequence_number, properties_of(application, export.source, event), shown));
                }
            }
        }
        all
    }

    /// The device of an event, unless it is gone or another one by now.
    async fn record(&self, event: &StoredEvent) -> Option<Record> {
        let identity = Identity::device(event.identity.device.clone());
        let mut pause = PAUSE_MIN;
        loop {
            match self.exports.hub.record(&identity).await {
                Ok(record) => {
                    // The generation in an event of a module is the module's.
                    let is_it = event.identity.module.is_some() || record.device.generation_id == event.generation_id;
                    return Some(record).filter(|_| is_it);
                }
                Err(HubError::NotFound(_)) => return None,
                Err(error) => {
                    warn!(%error, export = %self.id, "a device cannot be looked up yet");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
        }
    }

    async fn made(&self, events: &[StoredEvent]) -> Vec<Made> {
        let messages = self.messages(events).await;
        let Some(program) = &self.job.to.transform else {
            let one = |(sequence_number, properties, shown): (u64, _, Value)| Made {
                sequence_number,
                outgoing: Outgoing { body: shown.to_string(), properties },
            };
            return messages.into_iter().map(one).collect();
        };
        if messages.is_empty() {
            return vec![];
        }
        let inputs: Vec<_> = messages.iter().map(|(_, _, shown)| shown.clone()).collect();
        let mut all = vec![];
        let outputs = self.transformed(program, &inputs).await;
        for ((sequence_number, properties, _), output) in messages.into_iter().zip(outputs) {
            match output {
                Ok(bodies) => all.extend(bodies.into_iter().map(|body| Made {
                    sequence_number,
                    outgoing: Outgoing { body: body.get().to_owned(), properties: properties.clone() },
                })),
                Err(why) => self.dropped(1, "TransformError", &why),
            }
        }
        all
    }

    /// What a program makes of each message.
    async fn transformed(&self, program: &str, inputs: &[Value]) -> Vec<Result<Vec<Box<RawValue>>, String>> {
        let transforms = &self.exports.transforms;
        let who = self.id.as_str();
        match transforms.run(who, program, inputs).await {
            Ok(outputs) => return outputs,
            // One of them does it: the others are not to be lost with it.
            Err(Failure::Endless) if inputs.len() > 1 => {}
            Err(failure) => return inputs.iter().map(|_| Err(failure.to_string())).collect(),
        }
        let (mut all, mut endless) = (vec![], 0);
        for input in inputs {
            all.push(match endless {
                ENDLESS_MAX => Err(Failure::Endless.to_string()),
                _ => match transforms.run(who, program, std::slice::from_ref(input)).await {
                    Ok(mut outputs) => outputs.pop().unwrap_or(Ok(vec![])),
                    Err(failure) => {
                        endless += usize::from(failure == Failure::Endless);
                        Err(failure.to_string())
                    }
                },
            });
        }
        all
    }

    /// Sends until everything arrived or never will.
    async fn send(&mut self, made: Vec<Made>) {
        let now = gantry_gateway::now();
        if let Way::Files(files) = &mut self.way {
            made.iter().for_each(|one| files.push(now, one.sequence_number, &one.outgoing.body));
            if files.is_due(now) {
                self.until_it_works(&[]).await;
            }
            return;
        }
        let all: Vec<_> = made.into_iter().map(|made| made.outgoing).collect();
        let mut rest = all.as_slice();
        while !rest.is_empty() {
            let count = match &self.way {
                Way::Receiver(receiver) => receiver.batch(rest),
                Way::Files(_) => rest.len(),
            };
            let (batch, more) = rest.split_at(count.min(rest.len()));
            self.until_it_works(batch).await;
            rest = more;
        }
    }

    async fn until_it_works(&mut self, batch: &[Outgoing]) {
        let mut pause = PAUSE_MIN;
        loop {
            let now = gantry_gateway::now();
            let sent = match &mut self.way {
                Way::Receiver(receiver) => receiver.send(now, batch).await,
                Way::Files(files) => files.write(now).await,
            };
            match sent {
                Ok(()) => {
                    metrics::counter!("gantry_export_messages_total").increment(batch.len() as u64);
                    self.note(Ok(()));
                    return;
                }
                Err(NotSent { error: DeliveryError::Never(_), fault }) => {
                    self.dropped(batch.len(), fault.code, &fault.message);
                    return;
                }
                Err(NotSent { error: DeliveryError::Again(why), fault }) => {
                    warn!(export = %self.id, destination = %self.job.to.id, why, "messages are not exported yet");
                    self.note(Err(fault));
                    let jitter = rand::rng().random_range(0.8..1.2);
                    tokio::time::sleep(pause.mul_f64(jitter)).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
        }
    }
}

/// Properties that go beside a message, where the receiver has such.
fn properties_of(application: &str, source: Source, event: &StoredEvent) -> Vec<(&'static str, String)> {
    let mut all = vec![
        ("iotcentral-application-id", application.to_owned()),
        ("iotcentral-device-id", event.identity.device.to_string()),
        ("iotcentral-message-source", source.word().to_owned()),
    ];
    all.extend(event.identity.module.as_ref().map(|module| ("iotcentral-module-id", module.to_string())));
    all
}

impl Consumer for Sender {
    const BATCH_EVENTS: usize = 256;

    fn has_room(&self) -> bool {
        self.events.is_empty()
    }

    fn take(&mut self, batch: Batch) {
        self.events.extend(batch.events);
    }

    async fn work(&mut self) {
        let events = std::mem::take(&mut self.events);
        let made = self.made(&events).await;
        self.send(made).await;
    }

    fn is_done(&self) -> bool {
        match &self.way {
            Way::Receiver(_) => self.events.is_empty(),
            Way::Files(files) => self.events.is_empty() && files.is_empty(),
        }
    }
}
