//! Simulated devices: those that the application says are, played in this process.
//!
//! Each has a session and a mailbox as any device has, proven with its own key, so that everything behind the hub sees
//! no difference. A device is played while it is enabled, simulated and has a template.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use gantry_central::Central;
use gantry_central::devices::{Profile, TAG, template_of};
use gantry_central::kept::Kept;
use gantry_central::simulation::{Message, SIMULATED_MAX, Simulated, State, seed_of};
use gantry_central::templates::DeviceTemplate;
use gantry_hub::connection::{CloseReason, Delivery, Mailbox, MethodResponse, Subscriptions};
use gantry_hub::device::{Authentication, Status};
use gantry_hub::event::{SystemProperties, Telemetry};
use gantry_hub::ports::{Constraint, Record, Search, Step, Test};
use gantry_hub::{Hub, HubError, Presented, Session};
use gantry_identity::{Identity, Signer, Timestamp};
use serde_json::{Map, Value};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::{info, warn};

/// How often it is looked which devices are simulated.
const LOOKING_PERIOD: Duration = Duration::from_secs(2);
/// How often a simulated device sends.
const SENDING_PERIOD: Duration = Duration::from_secs(5);
/// How long it waits after it could not connect or was put off.
const PAUSE: Duration = Duration::from_secs(5);
/// How long its token is good; it connects again then.
const TOKEN_LIFE: Duration = Duration::from_secs(3600);

/// The template a device is to be played from.
type Wanted = Arc<Kept<DeviceTemplate>>;
/// A device that is played, and the template it is played from: with another one it is another play.
type Playing = (Wanted, JoinHandle<()>);

/// Plays every simulated device of a hub until it is told to stop.
pub async fn run(hub: Arc<Hub>, central: Arc<Central>, mut stopped: watch::Receiver<bool>) {
    let mut playing: HashMap<Identity, Playing> = HashMap::new();
    let mut timer = tokio::time::interval(LOOKING_PERIOD);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = timer.tick() => {}
            _ = stopped.wait_for(|stop| *stop) => break,
        }
        match wanted(&hub, &central).await {
            Ok(wanted) => keep(&hub, &mut playing, wanted),
            Err(error) => warn!(%error, "simulated devices are not looked for"),
        }
    }
    for (_, one) in playing.into_values() {
        one.abort();
    }
}

/// The devices to be played.
async fn wanted(hub: &Hub, central: &Central) -> Result<HashMap<Identity, Wanted>, HubError> {
    let path = ["tags", TAG, "simulated"].map(|name| Step::Name(name.to_owned())).to_vec();
    let constraints = vec![Constraint { path, test: Test::OneOf(vec![true.into()]) }];
    let search = Search { modules: false, constraints };
    let state = central.state();
    let mut all = HashMap::new();
    for record in hub.find_devices(search, None, SIMULATED_MAX * 2).await? {
        let profile = Profile::of(&record.twin.tags);
        if !profile.is_simulated || record.device.status != Status::Enabled || all.len() >= SIMULATED_MAX {
            continue;
        }
        if let Some((_, kept)) = template_of(&state.templates, &profile, record.twin.model_id.as_deref()) {
            all.insert(record.device.identity, Arc::clone(kept));
        }
    }
    Ok(all)
}

fn keep(hub: &Arc<Hub>, playing: &mut HashMap<Identity, Playing>, wanted: HashMap<Identity, Wanted>) {
    playing.retain(|identity, (template, task)| {
        let stays = wanted.get(identity).is_some_and(|of| Arc::ptr_eq(of, template)) && !task.is_finished();
        if !stays {
            task.abort();
        }
        stays
    });
    for (identity, kept) in wanted {
        if playing.contains_key(&identity) {
            continue;
        }
        let simulated = match Simulated::of(&kept.value, seed_of(identity.device.as_str())) {
            Ok(simulated) => simulated,
            Err(error) => {
                warn!(device = %identity, %error, "its template cannot be played");
                continue;
            }
        };
        let model_id = kept.value.model_id().to_owned();
        let player =
            Player { hub: Arc::clone(hub), identity: identity.clone(), simulated, model_id, state: State::default() };
        playing.insert(identity, (kept, tokio::spawn(player.play())));
    }
}

/// A device that is played.
struct Player {
    hub: Arc<Hub>,
    identity: Identity,
    simulated: Simulated,
    model_id: String,
    state: State,
}

impl Player {
    async fn play(mut self) {
        loop {
            match self.connection().await {
                // It is somebody else now: they have it as long as they stay.
                Ok(Some(CloseReason::TakenOver)) => {
                    while self.hub.is_connected(&self.identity) {
                        tokio::time::sleep(PAUSE).await;
                    }
                }
                Ok(None) => continue,
                Ok(Some(_)) => {}
                Err(HubError::NotFound(_)) => return,
                Err(error) => info!(device = %self.identity, %error, "a simulated device lost its connection"),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// One connection, until it ends; with the hub's reason, or for its token.
    async fn connection(&mut self) -> Result<Option<CloseReason>, HubError> {
        let session = self.session().await?;
        let mut mailbox = self.hub.connect(now(), &session, false).await?;
        let wanted = Subscriptions(Subscriptions::METHODS.0 | Subscriptions::DESIRED.0);
        self.hub.subscribe(&mailbox, wanted, false).await?;
        self.begin().await?;
        let ends = tokio::time::sleep(TOKEN_LIFE);
        tokio::pin!(ends);
        let mut timer = tokio::time::interval(SENDING_PERIOD);
        timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                delivery = mailbox.next() => {
                    let reason = self.take(&mailbox, delivery).await?;
                    if reason.is_some() {
                        return Ok(reason);
                    }
                }
                _ = timer.tick() => self.send(&session).await?,
                () = &mut ends => return Ok(None),
            }
        }
    }

    /// Proves with its own key who it is.
    async fn session(&self) -> Result<Session, HubError> {
        let record: Record = self.hub.record(&self.identity).await?;
        let Authentication::Sas(keys) = &record.device.authentication else {
            return Err(HubError::Invalid("a simulated device has keys of its own".into()));
        };
        let resource = format!("{}/devices/{}", self.hub.host_name(), self.identity.device);
        let token = Signer { resource, key: keys.primary.clone(), policy: None }.token(now().plus(TOKEN_LIFE));
        let presented = Presented { token: Some(&token), certificate: None };
        let mut session = self.hub.authenticate_device(now(), &self.identity, presented).await?;
        session.model_id = Some(self.model_id.clone());
        Ok(session)
    }

    /// What a device says when it comes: what it has, and what it makes of what is desired.
    async fn begin(&mut self) -> Result<(), HubError> {
        let all = self.simulated.report(&mut self.state, now());
        self.report(all).await?;
        let twin = self.hub.device_twin(&self.identity).await?;
        if let Some(Value::Object(desired)) = twin.get("desired") {
            let answer = self.simulated.desired(&mut self.state, desired);
            self.report(answer).await?;
        }
        Ok(())
    }

    async fn report(&self, patch: Option<Map<String, Value>>) -> Result<(), HubError> {
        match patch {
            Some(patch) => self.hub.report(now(), &self.identity, &patch).await.map(drop),
            None => Ok(()),
        }
    }

    async fn send(&mut self, session: &Session) -> Result<(), HubError> {
        let messages = self.simulated.telemetry(now());
        let bodies: Vec<String> =
            messages.iter().map(|message| Value::Object(message.body.clone()).to_string()).collect();
        let all: Vec<Telemetry<'_>> =
            messages.iter().zip(&bodies).map(|(message, body)| telemetry(message, body)).collect();
        let taken = self.hub.telemetry(now(), session, &all)?;
        taken.append.await?;
        let changes = self.simulated.report(&mut self.state, now());
        self.report(changes).await
    }

    /// Does what it is asked; a reason when the connection is to end.
    async fn take(&mut self, mailbox: &Mailbox, delivery: Delivery) -> Result<Option<CloseReason>, HubError> {
        match delivery {
            Delivery::Method { request_id, name, payload } => {
                let (component, command) = match name.split_once('*') {
                    Some((component, command)) => (Some(component), command),
                    None => (None, name.as_str()),
                };
                let request = serde_json::from_slice(&payload).unwrap_or_default();
                let answer = self.simulated.command(&mut self.state, now(), component, command, &request);
                let payload = answer.payload.to_string().into();
                mailbox.answer(request_id, MethodResponse { status: answer.status.into(), payload });
            }
            Delivery::Desired { patch: Value::Object(patch), .. } => {
                let answer = self.simulated.desired(&mut self.state, &patch);
                self.report(answer).await?;
            }
            Delivery::Stream { request_id, .. } => mailbox.decline(request_id),
            Delivery::Close(reason) => return Ok(Some(reason)),
            Delivery::Desired { .. } | Delivery::C2dAvailable => {}
        }
        Ok(None)
    }
}

/// A message as the hub takes it.
fn telemetry<'m>(message: &'m Message, body: &'m str) -> Telemetry<'m> {
    let system = SystemProperties {
        content_type: Some(Cow::Borrowed("application/json")),
        content_encoding: Some(Cow::Borrowed("utf-8")),
        subject: message.component.as_deref().map(Cow::Borrowed),
        ..SystemProperties::default()
    };
    Telemetry { system, properties: vec![], body: body.as_bytes() }
}

fn now() -> Timestamp {
    gantry_gateway::now()
}
