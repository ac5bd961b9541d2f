//! `gantry simulate`: a real device over TLS. It provisions itself through DPS with a group
//! or individual key, connects to the hub it is given, replays a CSV file and answers
//! methods and desired properties. `gantry simulate fleet` is in `fleet`.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use clap::{Args, Subcommand};
use gantry_identity::{Key, Signer};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use tokio::time::{Instant, MissedTickBehavior};

use super::client::Connection;
use super::fleet;
use super::mqtt_client::{Incoming, KEEP_ALIVE_SECS, Login, MqttClient, Target, trust};
use super::output::Output;

/// Publishes in flight; the next row waits when so many are unacknowledged.
const IN_FLIGHT_MAX: usize = 256;
/// How long a token is good.
const TOKEN_LIFE: Duration = Duration::from_secs(24 * 3600);
const PING_PERIOD: Duration = Duration::from_secs(60);
const REPLY_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Subcommand)]
enum SimulateCommand {
    /// Many devices that register, lose power together and come back.
    Fleet(fleet::FleetArgs),
}

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct SimulateArgs {
    #[command(subcommand)]
    command: Option<SimulateCommand>,
    /// CSV file with a header; its first column is the time, the second the value.
    #[arg(long, required = true)]
    csv: Option<PathBuf>,
    /// Registration id, and device id under a group enrollment.
    #[arg(long, required = true)]
    registration_id: Option<String>,
    /// Key of the enrollment group (base64); the device key is derived from it.
    #[arg(
        long,
        env = "GANTRY_GROUP_KEY",
        hide_env_values = true,
        conflicts_with = "key",
        required_unless_present = "key"
    )]
    group_key: Option<String>,
    /// Key of an individual enrollment (base64).
    #[arg(long, env = "GANTRY_DEVICE_KEY", hide_env_values = true)]
    key: Option<String>,
    /// Name of the signal in the telemetry.
    #[arg(long, default_value = "temperature")]
    signal: String,
    /// Seconds the whole file should take; 0 for as fast as it is acknowledged.
    #[arg(long, default_value_t = 180)]
    seconds: u64,
    /// Rows to send; all of them when absent.
    #[arg(long)]
    rows: Option<usize>,
    /// Stay connected behind the last row, answering methods and following desired properties, until Ctrl-C.
    #[arg(long)]
    stay: bool,
}

struct Row {
    time: String,
    value: f64,
}

pub(super) async fn run(connection: &Connection, output: Output, args: SimulateArgs) -> anyhow::Result<()> {
    if let Some(SimulateCommand::Fleet(args)) = args.command {
        return fleet::run(connection, output, args).await;
    }
    let (csv, id) = (args.csv.context("--csv")?, args.registration_id.context("--registration-id")?);
    let mut rows = read(&csv)?;
    rows.truncate(args.rows.unwrap_or(usize::MAX));
    let key = match (&args.group_key, &args.key) {
        (Some(group), _) => Key::from_base64(group).context("--group-key")?.derive(&id),
        (None, Some(key)) => Key::from_base64(key).context("--key")?,
        (None, None) => bail!("give --group-key or --key"),
    };
    let target = Target {
        host: connection.get("PROVISIONING_HOST")?.to_owned(),
        port: connection.get("GANTRY_MQTT_PORT")?.parse()?,
        tls: Some(trust(&connection.ca()?)?),
    };
    let scope = connection.get("PROVISIONING_IDSCOPE")?;
    let (hub, device_id) = provision(&target, scope, &id, &key).await?;
    let target = Target { host: hub.split(':').next().unwrap_or(&hub).to_owned(), ..target };
    let signer = Signer { resource: format!("{hub}/devices/{device_id}"), key, policy: None };
    let login = Login {
        client_id: device_id.clone(),
        user_name: Some(format!("{hub}/{device_id}/?api-version=2021-04-12&DeviceClientType=gantry-simulate")),
        password: Some(signer.token(gantry_gateway::now().plus(TOKEN_LIFE))),
        keep_alive_secs: KEEP_ALIVE_SECS,
    };
    let client = MqttClient::connect(&target, &login).await?;
    let bar = progress(&device_id, rows.len(), output);
    let period = Duration::from_secs(args.seconds).checked_div(u32::try_from(rows.len().max(1))?).unwrap_or_default();
    let mut device = Device { client, device_id, hub, signal: args.signal, load: 100 };
    let sent = device.replay(&rows, period, args.stay, &bar).await?;
    bar.finish();
    let summary = json!({ "deviceId": device.device_id, "hub": device.hub, "sent": sent });
    output.value(&summary, |_| {});
    device.client.disconnect().await;
    Ok(())
}

fn read(path: &std::path::Path) -> anyhow::Result<Vec<Row>> {
    let mut reader = csv::Reader::from_path(path).with_context(|| format!("reading {}", path.display()))?;
    let row = |record: Result<csv::StringRecord, csv::Error>| {
        let record = record?;
        let field = |n: usize| record.get(n).with_context(|| format!("row {:?} has no column {n}", record.position()));
        let value = field(1)?.trim().parse().with_context(|| format!("`{}` is not a number", &record[1]))?;
        // The series carry local times without a zone; they are sent as UTC.
        let time = field(0)?.trim().replacen(' ', "T", 1);
        Ok(Row { time: if time.ends_with('Z') { time } else { format!("{time}Z") }, value })
    };
    let rows = reader.records().map(row).collect::<anyhow::Result<Vec<_>>>();
    let rows = rows.with_context(|| format!("in {}", path.display()))?;
    ensure!(!rows.is_empty(), "{} has no rows", path.display());
    Ok(rows)
}

fn progress(device_id: &str, len: usize, output: Output) -> ProgressBar {
    if output == Output::Json {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(len as u64).with_message(device_id.to_owned());
    let style = ProgressStyle::with_template("{msg:20} {bar:40} {pos}/{len} {per_sec} {eta}");
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// Registers with DPS over MQTT; returns hub and device id.
async fn provision(target: &Target, scope: &str, id: &str, key: &Key) -> anyhow::Result<(String, String)> {
    let signer = Signer {
        resource: format!("{scope}/registrations/{id}"),
        key: key.clone(),
        policy: Some("registration".into()),
    };
    let login = Login {
        client_id: id.to_owned(),
        user_name: Some(format!("{scope}/registrations/{id}/api-version=2019-03-31&ClientVersion=gantry-simulate")),
        password: Some(signer.token(gantry_gateway::now().plus(TOKEN_LIFE))),
        keep_alive_secs: KEEP_ALIVE_SECS,
    };
    let mut client = MqttClient::connect(target, &login).await.context("provisioning")?;
    client.subscribe(&["$dps/registrations/res/#"]);
    client.publish(
        "$dps/registrations/PUT/iotdps-register/?$rid=1",
        json!({ "registrationId": id }).to_string().as_bytes(),
    );
    for rid in 2..30 {
        client.flush().await?;
        let (status, body) =
            tokio::time::timeout(REPLY_TIMEOUT, dps_reply(&mut client)).await.context("no DPS reply")??;
        match (status, body["status"].as_str()) {
            (200, Some("assigned")) => {
                let state = &body["registrationState"];
                let field = |name: &str| state[name].as_str().with_context(|| format!("DPS reply without {name}"));
                let found = (field("assignedHub")?.to_owned(), field("deviceId")?.to_owned());
                client.disconnect().await;
                return Ok(found);
            }
            (202, _) | (200, Some("assigning")) => {
                let operation = body["operationId"].as_str().context("DPS reply without operationId")?;
                // The dialogue asks for a pause of at least two seconds.
                tokio::time::sleep(Duration::from_secs(2)).await;
                client.publish(
                    &format!("$dps/registrations/GET/iotdps-get-operationstatus/?$rid={rid}&operationId={operation}"),
                    b" ",
                );
            }
            _ => bail!("registration refused: {body}"),
        }
    }
    bail!("registration did not finish")
}

async fn dps_reply(client: &mut MqttClient) -> anyhow::Result<(u16, Value)> {
    loop {
        for incoming in client.receive().await? {
            if let Incoming::Message { topic, payload } = incoming
                && let Some(rest) = topic.strip_prefix("$dps/registrations/res/")
            {
                let status = rest.split('/').next().unwrap_or_default().parse()?;
                return Ok((status, serde_json::from_slice(&payload)?));
            }
        }
    }
}

struct Device {
    client: MqttClient,
    device_id: String,
    hub: String,
    signal: String,
    /// What `reduceLoad` sets, reported in the twin.
    load: i64,
}

impl Device {
    async fn replay(&mut self, rows: &[Row], period: Duration, stay: bool, bar: &ProgressBar) -> anyhow::Result<usize> {
        self.client.subscribe(&[
            "$iothub/methods/POST/#",
            "$iothub/twin/res/#",
            "$iothub/twin/PATCH/properties/desired/#",
        ]);
        self.report()?;
        let topic = format!("devices/{}/messages/events/$.ct=application%2Fjson&$.ce=utf-8", self.device_id);
        let (mut sent, mut in_flight, started) = (0, 0_usize, Instant::now());
        let mut ping = tokio::time::interval(PING_PERIOD);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stay || sent < rows.len() || in_flight > 0 {
            let mut due = started + period * u32::try_from(sent).unwrap_or(u32::MAX);
            while sent < rows.len() && in_flight < IN_FLIGHT_MAX && due <= Instant::now() {
                let row = &rows[sent];
                let body = json!({ self.signal.as_str(): row.value, "timestamp": row.time });
                self.client.publish(&topic, body.to_string().as_bytes());
                sent += 1;
                in_flight += 1;
                due = started + period * u32::try_from(sent).unwrap_or(u32::MAX);
            }
            self.client.flush().await?;
            bar.set_position((sent - in_flight.min(sent)) as u64);
            let may_send = sent < rows.len() && in_flight < IN_FLIGHT_MAX;
            tokio::select! {
                incoming = self.client.receive() => {
                    for incoming in incoming? {
                        in_flight -= usize::from(matches!(incoming, Incoming::Acknowledged(_)) && in_flight > 0);
                        self.handle(incoming)?;
                    }
                }
                () = tokio::time::sleep_until(due), if may_send => {}
                _ = ping.tick() => self.client.ping(),
                _ = tokio::signal::ctrl_c(), if stay => break,
            }
        }
        Ok(sent)
    }

    fn report(&mut self) -> anyhow::Result<()> {
        let reported = json!({ "load": self.load, "firmware": "1.0.0" });
        self.client.publish("$iothub/twin/PATCH/properties/reported/?$rid=1", &serde_json::to_vec(&reported)?);
        Ok(())
    }

    /// Answers a method, follows desired properties.
    fn handle(&mut self, incoming: Incoming) -> anyhow::Result<()> {
        let Incoming::Message { topic, payload } = incoming else { return Ok(()) };
        let body: Value = serde_json::from_slice(&payload).unwrap_or(Value::Null);
        if let Some((name, rid)) = topic.strip_prefix("$iothub/methods/POST/").and_then(|t| t.split_once("/?$rid=")) {
            let (status, answer) = match name {
                "reduceLoad" => {
                    self.load = body["to"].as_i64().unwrap_or(70);
                    (200, json!({ "load": self.load }))
                }
                "ping" => (200, json!("pong")),
                _ => (404, json!({ "message": format!("no method {name}; there are reduceLoad and ping") })),
            };
            self.client.publish(&format!("$iothub/methods/res/{status}/?$rid={rid}"), &serde_json::to_vec(&answer)?);
            return self.report();
        }
        if topic.starts_with("$iothub/twin/PATCH/properties/desired/")
            && let Some(load) = body["load"].as_i64()
        {
            self.load = load;
            return self.report();
        }
        Ok(())
    }
}
