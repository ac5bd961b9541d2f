//! `kill -9` under load, round after round, on one data folder.
//!
//! Devices publish numbered telemetry and report numbered properties; a service sends them
//! cloud-to-device messages. Each round is cut by SIGKILL at a random count of acknowledgements.
//! What a device was told is then compared with what the platform kept.
//!
//! `GANTRY_KILL_ROUNDS` sets the number of rounds, `GANTRY_KILL_SEED` repeats a run's choices.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, ensure};
use gantry_hub::event::StoredEvent;
use gantry_mqtt::QoS;
use gantry_testkit::{C2dSender, Device, Login, PATIENCE, Platform, Received, Service, stored_events};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::sync::watch;

use super::{key, platform_with};

const ROUNDS: u64 = 8;
const DEVICES: [&str; 4] = ["k0", "k1", "k2", "k3"];
/// Publishes a device sends before it looks for answers.
const BURST: u64 = 8;

/// What one device did and was told.
#[derive(Default)]
struct Account {
    /// Highest number whose PUBACK arrived; all below it are acknowledged too.
    acknowledged: u64,
    /// Numbers from which the device sent again after a crash.
    resumed_at: BTreeSet<u64>,
    /// Last report the hub confirmed: number and version of the section.
    reported: (u64, u64),
    /// Report under way when the connection ended.
    reporting: Option<u64>,
    /// Ids of cloud-to-device messages received.
    received: BTreeSet<String>,
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().expect("a number"))
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_when_the_platform_is_killed() {
    let (rounds, seed) = (number("GANTRY_KILL_ROUNDS", ROUNDS), number("GANTRY_KILL_SEED", rand::random()));
    let run = run(rounds, StdRng::seed_from_u64(seed)).await;
    run.unwrap_or_else(|error| panic!("GANTRY_KILL_SEED={seed}: {error:?}"));
}

async fn run(rounds: u64, mut random: StdRng) -> anyhow::Result<()> {
    let (mut platform, service) = platform_with(&DEVICES).await;
    let mut accounts: HashMap<&str, Account> = DEVICES.into_iter().map(|id| (id, Account::default())).collect();
    let mut accepted = BTreeSet::new();
    for round in 0..rounds {
        let kill_after = random.random_range(20..400);
        (platform, accounts) = one_round(platform, &service, accounts, &mut accepted, round, kill_after).await?;
        for (device, account) in &mut accounts {
            check_twin(&service, device, account).await.with_context(|| format!("round {round}"))?;
        }
    }
    for (device, account) in &mut accounts {
        drain_c2d(&platform, &service, device, account).await?;
    }
    let received: BTreeSet<_> = accounts.values().flat_map(|account| account.received.iter().cloned()).collect();
    let missing: Vec<_> = accepted.difference(&received).collect();
    ensure!(missing.is_empty(), "accepted but never delivered: {missing:?}");
    platform.stop()?;
    let events = stored_events(platform.data()).await?;
    for (device, account) in &accounts {
        check_events(&events, device, account)?;
    }
    let messages: u64 = accounts.values().map(|account| account.acknowledged).sum();
    let reports: u64 = accounts.values().map(|account| account.reported.0).sum();
    println!(
        "{rounds} rounds: {messages} messages, {reports} reports and {} c2d messages acknowledged, {} events stored",
        accepted.len(),
        events.len()
    );
    Ok(())
}

/// Load until `kill_after` acknowledgements, SIGKILL, restart.
async fn one_round(
    mut platform: Platform,
    service: &Service,
    accounts: HashMap<&'static str, Account>,
    accepted: &mut BTreeSet<String>,
    round: u64,
    kill_after: u64,
) -> anyhow::Result<(Platform, HashMap<&'static str, Account>)> {
    let count = Arc::new(AtomicU64::new(0));
    let (enough, mut is_enough) = watch::channel(false);
    let progress = Arc::new(Progress { count, kill_after, enough });
    let mut tasks = vec![];
    for (id, mut account) in accounts {
        let (device, _) = connect(&platform, id).await?;
        let progress = Arc::clone(&progress);
        tasks.push(tokio::spawn(async move {
            let ended = load(device, id, &mut account, &progress).await;
            (id, account, ended)
        }));
    }
    let sender = C2dSender::connect(&platform, service).await?;
    let sending = tokio::spawn(send_c2d(sender, round));
    tokio::time::timeout(PATIENCE, is_enough.wait_for(|enough| *enough)).await.context("load stalls")??;
    platform.kill()?;
    let mut accounts = HashMap::new();
    for task in tasks {
        let (id, account, ended) = task.await?;
        ensure!(ended.is_err(), "{id} ended before the kill");
        accounts.insert(id, account);
    }
    accepted.extend(sending.await?);
    platform.restart()?;
    Ok((platform, accounts))
}

/// Counts acknowledgements and says when there are enough for this round.
struct Progress {
    count: Arc<AtomicU64>,
    kill_after: u64,
    enough: watch::Sender<bool>,
}

impl Progress {
    fn add(&self) {
        if self.count.fetch_add(1, Ordering::Relaxed) + 1 >= self.kill_after {
            self.enough.send_replace(true);
        }
    }
}

async fn connect(platform: &Platform, id: &str) -> anyhow::Result<(Device, bool)> {
    let login = Login { clean_session: false, ..Login::new(id, &key(1)) };
    let (mut device, present) = Device::connect(platform, &login).await?;
    let c2d = format!("devices/{id}/messages/devicebound/#");
    let filters = [(c2d.as_str(), QoS::AtLeastOnce), ("$iothub/twin/res/#", QoS::AtMostOnce)];
    ensure!(device.subscribe(&filters).await? == [1, 0], "subscriptions refused");
    Ok((device, present))
}

/// Bursts of telemetry with one report each, until the connection is lost.
async fn load(mut device: Device, id: &str, account: &mut Account, progress: &Progress) -> anyhow::Result<()> {
    let mut next = account.acknowledged + 1;
    account.resumed_at.insert(next);
    let events = format!("devices/{id}/messages/events/");
    loop {
        let (mut output, mut waiting) = (vec![], HashMap::new());
        for number in next..next + BURST {
            let packet_id = device.encode_publish(&mut output, &events, number.to_string().as_bytes(), false);
            waiting.insert(packet_id, number);
        }
        next += BURST;
        let report = account.reported.0 + 1;
        let topic = format!("$iothub/twin/PATCH/properties/reported/?$rid={report}");
        device.encode_publish(&mut output, &topic, format!(r#"{{"n":{report}}}"#).as_bytes(), false);
        account.reporting = Some(report);
        device.send(&output).await?;
        while !waiting.is_empty() || account.reporting.is_some() {
            let received = device.next().await?.context("connection lost")?;
            take(&mut device, account, &mut waiting, received, progress).await?;
        }
    }
}

async fn take(
    device: &mut Device,
    account: &mut Account,
    waiting: &mut HashMap<u16, u64>,
    received: Received,
    progress: &Progress,
) -> anyhow::Result<()> {
    match received {
        Received::Puback(packet_id) => {
            if let Some(number) = waiting.remove(&packet_id) {
                ensure!(number == account.acknowledged + 1, "{number} acknowledged after {}", account.acknowledged);
                account.acknowledged = number;
                progress.add();
            }
        }
        Received::Message { topic, payload, packet_id } if packet_id != 0 => {
            ensure!(topic.contains("/messages/devicebound/"), "{topic}");
            account.received.insert(String::from_utf8(payload)?);
            device.acknowledge(packet_id).await?;
        }
        Received::Message { topic, .. } => {
            let version = topic.strip_prefix("$iothub/twin/res/204/").and_then(|rest| rest.split_once("$version="));
            let version = version.with_context(|| format!("report answered by {topic}"))?.1.parse()?;
            account.reported = (account.reporting.take().context("no report under way")?, version);
            progress.add();
        }
        _ => {}
    }
    Ok(())
}

/// Sends to the devices in turn until the connection is lost; returns the ids that were accepted.
async fn send_c2d(mut sender: C2dSender, round: u64) -> Vec<String> {
    let mut accepted = vec![];
    for (n, device) in DEVICES.into_iter().cycle().enumerate() {
        let id = format!("{device}-{round}-{n}");
        match sender.send(device, &id, id.as_bytes()).await {
            Ok(true) => accepted.push(id),
            // The queue of that device is full: refused, so not owed.
            Ok(false) => {}
            Err(_) => break,
        }
    }
    accepted
}

/// The twin is at the confirmed report, or at the one that was under way.
async fn check_twin(service: &Service, device: &str, account: &mut Account) -> anyhow::Result<()> {
    let twin = service.twin(device).await?;
    let reported = &twin.body["properties"]["reported"];
    let found = (reported["n"].as_u64().unwrap_or(0), reported["$version"].as_u64().context("no $version")?);
    let confirmed = account.reported;
    let unconfirmed = account.reporting.take().map(|number| (number, confirmed.1 + 1));
    // Before the first report was confirmed, its version is not known.
    let is_confirmed = found == confirmed || (confirmed == (0, 0) && found.0 == 0);
    let is_unconfirmed = unconfirmed.is_some_and(|it| found == it || (confirmed == (0, 0) && found.0 == it.0));
    ensure!(is_confirmed || is_unconfirmed, "{device}: confirmed {confirmed:?}, on the way {unconfirmed:?}: {found:?}");
    account.reported = found;
    Ok(())
}

/// Reconnects and takes what waits, until the queue is empty.
async fn drain_c2d(platform: &Platform, service: &Service, device: &str, account: &mut Account) -> anyhow::Result<()> {
    let (mut connection, _) = connect(platform, device).await?;
    loop {
        let twin = service.twin(device).await?;
        if twin.body["cloudToDeviceMessageCount"].as_u64() == Some(0) {
            return Ok(());
        }
        let received = connection.wait(|received| matches!(received, Received::Message { .. })).await?;
        let Received::Message { payload, packet_id, .. } = received else { unreachable!("waited for a message") };
        account.received.insert(String::from_utf8(payload)?);
        connection.acknowledge(packet_id).await?;
        connection.ping().await?;
    }
}

/// Numbers appear in order, from 1, without a gap; a step back only where the device sent again.
fn check_events(events: &[StoredEvent], device: &str, account: &Account) -> anyhow::Result<()> {
    let (mut previous, mut highest) = (0, 0);
    for event in events.iter().filter(|event| event.identity.device.as_str() == device) {
        let number: u64 = std::str::from_utf8(&event.body)?.parse()?;
        let in_order = number == previous + 1 || (number <= previous && account.resumed_at.contains(&number));
        ensure!(in_order, "{device}: {number} after {previous}");
        previous = number;
        highest = highest.max(number);
    }
    ensure!(highest >= account.acknowledged, "{device}: {} acknowledged, {highest} stored", account.acknowledged);
    Ok(())
}
