//! `gantry simulate fleet`: many devices of a group that register, lose power together, and come back as the
//! documented rules for devices ask: see `return_rules`.
//!
//! Devices go only as far as the provisioning service; they do not connect to the hub they are given.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Args;
use gantry_identity::{Key, Signer};
use indicatif::ProgressBar;
use parking_lot::Mutex;
use reqwest::{Method, header};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::client::Connection;
use super::output::Output;
use super::return_rules::{Plan, Retries, START_MIN, Trouble, Wait};

const API_VERSION: &str = "2021-10-01";
const TOKEN_LIFE: Duration = Duration::from_secs(24 * 3600);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// How long to wait before a poll when the service does not say.
const POLL_PAUSE: Duration = Duration::from_secs(2);
/// Polls of one registration; then it counts as failed.
const POLLS_MAX: u32 = 30;
/// Slots the planned window is cut into, to see how requests are spread over it.
const SLOTS: usize = 20;
/// Slots that are looked at apart; what comes later is in the last.
const SLOTS_MAX: usize = 20_000;
/// Slots of the histogram.
const HISTOGRAM_MAX: usize = 3 * SLOTS;
/// A shorter window leaves nothing to spread.
const WINDOW_MIN: Duration = Duration::from_secs(3);
/// Devices of one run.
const DEVICES_MAX: u32 = 1_000_000;
/// Failures that are told in words.
const WORDS_MAX: usize = 5;

#[derive(Args)]
pub(super) struct FleetArgs {
    /// Devices.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=i64::from(DEVICES_MAX)))]
    devices: u32,
    /// Key of the enrollment group (base64); the device keys are derived from it.
    #[arg(long, env = "GANTRY_GROUP_KEY", hide_env_values = true)]
    group_key: String,
    /// Registration ids are this, a dash and a number.
    #[arg(long, default_value = "fleet")]
    prefix: String,
    /// Connections a second the platform is good for.
    #[arg(long, default_value_t = 500.0)]
    connections_per_second: f64,
    /// Share of these the fleet may use, above 0 and up to 1.
    #[arg(long, default_value_t = 0.5)]
    load: f64,
    /// Divides the waits devices choose themselves. Waits the service asks for stay as they are: its clock does not
    /// run faster.
    #[arg(long, default_value_t = 1.0)]
    speed: f64,
    /// Requests under way at once, on connections that are kept.
    #[arg(long, default_value_t = 128)]
    concurrency: usize,
    /// Hubs the devices should be spread over evenly; those seen when absent.
    #[arg(long)]
    hubs: Option<usize>,
    /// Fail when the busiest slot (a twentieth of the planned time) has more than so many times its share of the
    /// requests.
    #[arg(long, default_value_t = 3.0)]
    storm_max: f64,
    /// The devices were registered by an earlier run: only lose power and come back.
    #[arg(long)]
    registered: bool,
    /// Come back all at once, against the rules, to see what they are for.
    #[arg(long)]
    at_once: bool,
}

impl FleetArgs {
    fn plan(&self) -> Plan {
        let (devices, connections_per_second, load) = (self.devices, self.connections_per_second, self.load);
        Plan { devices, connections_per_second, load }
    }

    fn check(&self) -> anyhow::Result<()> {
        ensure!(self.load > 0.0 && self.load <= 1.0, "--load must be above 0 and up to 1");
        ensure!(self.connections_per_second > 0.0, "--connections-per-second must be above 0");
        ensure!(self.speed > 0.0 && self.speed.is_finite(), "--speed must be above 0");
        ensure!((1..=10_000).contains(&self.concurrency), "--concurrency must be 1 to 10000");
        let few = "so few devices may come as they like; have more, or fewer --connections-per-second";
        ensure!(self.plan().window() >= WINDOW_MIN, few);
        ensure!(self.hubs != Some(0), "--hubs must be at least 1");
        Ok(())
    }
}

pub(super) async fn run(connection: &Connection, output: Output, args: FleetArgs) -> anyhow::Result<()> {
    args.check()?;
    let bar = ProgressBar::new(u64::from(args.devices));
    let fleet = Arc::new(Fleet::new(Https::new(connection, &args)?, &args));
    let mut phases = vec![];
    let mut hubs = vec![None; args.devices as usize];
    let kinds = [("first start", false), ("after the blackout", true)];
    for (name, known) in kinds.into_iter().skip(usize::from(args.registered)) {
        bar.reset();
        let phase = Phase::run(&fleet, &args, known, &bar).await?;
        phases.push(phase.report(name, &args));
        for (was, is) in hubs.iter_mut().zip(phase.hubs) {
            *was = is;
        }
    }
    bar.finish_and_clear();
    let report = report(&args, phases, &hubs);
    output.value(&report, |report| {
        let of_phases = [
            ("phase", "/phase"),
            ("back", "/back"),
            ("requests", "/requests"),
            ("429", "/throttled"),
            ("5xx", "/serverErrors"),
            ("no answer", "/unreachable"),
            ("peak/s", "/peakPerSecond"),
            ("mean/s", "/meanPerSecond"),
            ("storm factor", "/stormFactor"),
            ("seconds", "/seconds"),
        ];
        Output::Text.table(&report["phases"], &of_phases);
        Output::Text.table(&report["hubs"], &[("hub", "/hub"), ("devices", "/devices")]);
        println!("chi-square {} with {} degrees of freedom", report["chiSquare"], report["degreesOfFreedom"]);
    });
    let problems: Vec<_> = report["problems"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    ensure!(problems.is_empty(), "{}", problems.join("; "));
    Ok(())
}

fn report(args: &FleetArgs, phases: Vec<Value>, hubs: &[Option<String>]) -> Value {
    let mut split: BTreeMap<&str, u64> = BTreeMap::new();
    for hub in hubs.iter().flatten() {
        *split.entry(hub).or_default() += 1;
    }
    let mut problems = vec![];
    for phase in &phases {
        let name = phase["phase"].as_str().unwrap_or_default();
        let missing = u64::from(args.devices) - phase["back"].as_u64().unwrap_or_default();
        if missing > 0 {
            problems.push(format!("{name}: {missing} devices did not come back: {}", phase["failures"]));
        }
        let storm = phase["stormFactor"].as_f64().unwrap_or(f64::INFINITY);
        if storm > args.storm_max {
            problems.push(format!("{name}: storm factor {storm:.2} is above {}", args.storm_max));
        }
    }
    let count = args.hubs.unwrap_or(split.len());
    if split.len() != count {
        problems.push(format!("{} hubs have devices, not {count}", split.len()));
    }
    let counts: Vec<u64> = split.values().copied().collect();
    let hubs: Vec<_> = split.iter().map(|(hub, devices)| json!({ "hub": hub, "devices": devices })).collect();
    json!({
        "devices": args.devices,
        "speed": args.speed,
        "phases": phases,
        "hubs": hubs,
        "chiSquare": round(chi_square(&counts, count)),
        "degreesOfFreedom": count.saturating_sub(1),
        "problems": problems,
    })
}

/// Of these counts and as many zeros as make `cells`, against equal shares.
fn chi_square(counts: &[u64], cells: usize) -> f64 {
    let total: u64 = counts.iter().sum();
    let share = total as f64 / cells.max(1) as f64;
    if share == 0.0 {
        return 0.0;
    }
    let empty = cells.saturating_sub(counts.len());
    let part = |count: u64| (count as f64 - share).powi(2) / share;
    counts.iter().map(|&count| part(count)).sum::<f64>() + empty as f64 * part(0)
}

fn round(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}

/// What all devices share.
struct Fleet<S> {
    service: S,
    prefix: String,
    speed: f64,
}

/// A provisioning service as devices see it.
trait Asked: Send + Sync + 'static {
    /// What a device proves itself with.
    fn token(&self, id: &str) -> String;
    /// The answer; `None` when there is none.
    fn ask(&self, id: &str, token: &str, step: &Step) -> impl Future<Output = Option<Answer>> + Send;
}

/// The service over HTTPS.
struct Https {
    http: reqwest::Client,
    /// With the scope.
    url: String,
    scope: String,
    group_key: Key,
    permits: Semaphore,
}

/// What a device does next.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    LookUp,
    Register,
    Poll(String),
}

/// What an answer means.
#[derive(Debug, PartialEq)]
enum Verdict {
    /// The device has a hub.
    Assigned(String),
    /// Go on, after a wait.
    Go(Step, Wait),
    /// The same again, when the rules say.
    Again(Trouble),
    /// It is no use.
    Failed(String),
}

struct Answer {
    status: u16,
    retry_after: Option<Duration>,
    body: Value,
}

impl Https {
    fn new(connection: &Connection, args: &FleetArgs) -> anyhow::Result<Self> {
        let ca = reqwest::Certificate::from_pem(&connection.ca()?)?;
        let builder = reqwest::Client::builder().tls_certs_only([ca]).http1_only().timeout(REQUEST_TIMEOUT);
        // Whether and when to ask again is for the rules alone to say.
        let http = builder.retry(reqwest::retry::never()).pool_max_idle_per_host(args.concurrency).build()?;
        let scope = connection.get("PROVISIONING_IDSCOPE")?.to_owned();
        Ok(Self {
            http,
            url: format!("{}/{scope}/registrations", connection.get("GANTRY_URL")?),
            scope,
            group_key: Key::from_base64(&args.group_key).context("--group-key")?,
            permits: Semaphore::new(args.concurrency),
        })
    }
}

impl<S: Asked> Fleet<S> {
    fn new(service: S, args: &FleetArgs) -> Self {
        Self { service, prefix: args.prefix.clone(), speed: args.speed }
    }

    /// Real time of a wait.
    fn compressed(&self, wait: Wait) -> Duration {
        wait.asked + wait.own.div_f64(self.speed)
    }

    /// One device comes back; says to which hub, or why not.
    async fn come_back(
        &self,
        traffic: &Mutex<Traffic>,
        number: u32,
        start: Duration,
        known: bool,
    ) -> Result<String, String> {
        let id = format!("{}-{number}", self.prefix);
        let token = self.service.token(&id);
        let mut step = if known { Step::LookUp } else { Step::Register };
        let (mut retries, mut polls) = (Retries::default(), 0);
        let mut due = traffic.lock().began + self.compressed(Wait { asked: Duration::ZERO, own: start });
        loop {
            traffic.lock().count_request(due);
            tokio::time::sleep_until(due).await;
            let answer = self.service.ask(&id, &token, &step).await;
            let wait = match judge(&step, answer) {
                Verdict::Assigned(hub) => return Ok(hub),
                Verdict::Failed(words) => return Err(words),
                Verdict::Go(next, wait) => {
                    polls += u32::from(matches!(next, Step::Poll(_)));
                    if polls > POLLS_MAX {
                        return Err("the registration did not finish".into());
                    }
                    step = next;
                    wait
                }
                Verdict::Again(trouble) => {
                    traffic.lock().count_trouble(trouble);
                    let wait = retries.next(trouble, rand::random());
                    wait.ok_or_else(|| format!("gave up after {trouble:?}"))?
                }
            };
            due = Instant::now() + self.compressed(wait);
        }
    }
}

impl Asked for Https {
    fn token(&self, id: &str) -> String {
        let signer = Signer {
            resource: format!("{}/registrations/{id}", self.scope),
            key: self.group_key.derive(id),
            policy: Some("registration".into()),
        };
        signer.token(gantry_gateway::now().plus(TOKEN_LIFE))
    }

    async fn ask(&self, id: &str, token: &str, step: &Step) -> Option<Answer> {
        let (method, path) = match step {
            Step::LookUp => (Method::POST, format!("/{id}")),
            Step::Register => (Method::PUT, format!("/{id}/register")),
            Step::Poll(operation) => (Method::GET, format!("/{id}/operations/{operation}")),
        };
        let url = format!("{}{path}?api-version={API_VERSION}", self.url);
        let mut request = self.http.request(method.clone(), url).header(header::AUTHORIZATION, token);
        if method != Method::GET {
            request = request.json(&json!({ "registrationId": id }));
        }
        let _permit = self.permits.acquire().await.ok()?;
        let response = request.send().await.ok()?;
        let retry_after = response.headers().get(header::RETRY_AFTER);
        let retry_after = retry_after.and_then(|value| value.to_str().ok()?.parse().ok()).map(Duration::from_secs);
        let status = response.status().as_u16();
        let body = serde_json::from_slice(&response.bytes().await.ok()?).unwrap_or(Value::Null);
        Some(Answer { status, retry_after, body })
    }
}

fn judge(step: &Step, answer: Option<Answer>) -> Verdict {
    let Some(Answer { status, retry_after, body }) = answer else { return Verdict::Again(Trouble::Unreachable) };
    let assigned = |state: &Value| state["assignedHub"].as_str().map(str::to_owned);
    match (step, status) {
        (_, 429) => Verdict::Again(Trouble::Throttled { retry_after }),
        (_, 500..) => Verdict::Again(Trouble::ServerError { retry_after }),
        // Nobody knows the device, or it has no hub any more: it registers.
        (Step::LookUp, 401 | 403 | 404) | (Step::Poll(_), 404) => Verdict::Go(Step::Register, Wait::default()),
        (Step::LookUp, 200) => match assigned(&body) {
            Some(hub) if body["status"] == "assigned" => Verdict::Assigned(hub),
            _ => Verdict::Go(Step::Register, Wait::default()),
        },
        (Step::Register | Step::Poll(_), 200 | 202) => match (body["status"].as_str(), body["operationId"].as_str()) {
            (Some("assigned"), _) => match assigned(&body["registrationState"]) {
                Some(hub) => Verdict::Assigned(hub),
                None => Verdict::Failed(format!("assigned without a hub: {body}")),
            },
            (Some("assigning"), Some(operation)) => {
                let asked = retry_after.unwrap_or(POLL_PAUSE);
                Verdict::Go(Step::Poll(operation.to_owned()), Wait { asked, own: Duration::ZERO })
            }
            _ => Verdict::Failed(body.to_string()),
        },
        _ => Verdict::Failed(format!("{status}: {body}")),
    }
}

/// The requests of one phase, when they are due: this process may be late, and they may wait for a connection.
struct Traffic {
    began: Instant,
    slot: Duration,
    slots: Vec<u32>,
    requests: u64,
    throttled: u64,
    server_errors: u64,
    unreachable: u64,
}

impl Traffic {
    fn count_request(&mut self, due: Instant) {
        self.requests += 1;
        let at = (due.duration_since(self.began).as_secs_f64() / self.slot.as_secs_f64()) as usize;
        let at = at.min(SLOTS_MAX - 1);
        if self.slots.len() <= at {
            self.slots.resize(at + 1, 0);
        }
        self.slots[at] += 1;
    }

    fn count_trouble(&mut self, trouble: Trouble) {
        match trouble {
            Trouble::Throttled { .. } => self.throttled += 1,
            Trouble::ServerError { .. } => self.server_errors += 1,
            Trouble::Unreachable => self.unreachable += 1,
        }
    }
}

/// All devices start once.
struct Phase {
    traffic: Traffic,
    took: Duration,
    /// The hub of each device.
    hubs: Vec<Option<String>>,
    failures: Vec<String>,
}

impl Phase {
    async fn run<S: Asked>(
        fleet: &Arc<Fleet<S>>,
        args: &FleetArgs,
        known: bool,
        bar: &ProgressBar,
    ) -> anyhow::Result<Self> {
        let plan = args.plan();
        let slot = (plan.window() - START_MIN).div_f64(args.speed * SLOTS as f64).max(Duration::from_millis(1));
        let began = Instant::now();
        let traffic =
            Traffic { began, slot, slots: vec![], requests: 0, throttled: 0, server_errors: 0, unreachable: 0 };
        let traffic = Arc::new(Mutex::new(traffic));
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..args.devices {
            let (fleet, traffic) = (Arc::clone(fleet), Arc::clone(&traffic));
            let start = if args.at_once { Duration::ZERO } else { plan.start(rand::random()) };
            tasks.spawn(async move { (number, fleet.come_back(&traffic, number, start, known).await) });
        }
        let (mut hubs, mut failures) = (vec![None; args.devices as usize], vec![]);
        while let Some(done) = tasks.join_next().await {
            bar.inc(1);
            match done? {
                (number, Ok(hub)) => hubs[number as usize] = Some(hub),
                (_, Err(words)) if failures.len() < WORDS_MAX => failures.push(words),
                _ => {}
            }
        }
        let traffic = Arc::try_unwrap(traffic).ok().context("a device is still there")?.into_inner();
        Ok(Self { traffic, took: began.elapsed(), hubs, failures })
    }

    fn report(&self, name: &str, args: &FleetArgs) -> Value {
        let traffic = &self.traffic;
        let slot = traffic.slot.as_secs_f64();
        let peak = f64::from(traffic.slots.iter().copied().max().unwrap_or_default());
        // Against an even spread over the planned time, so that a few devices that come late do not lower it.
        let mean = traffic.requests as f64 / SLOTS as f64;
        let (first, rest) = traffic.slots.split_at(traffic.slots.len().min(HISTOGRAM_MAX));
        let later: u64 = rest.iter().map(|&count| u64::from(count)).sum();
        json!({
            "phase": name,
            "back": self.hubs.iter().flatten().count(),
            "requests": traffic.requests,
            "throttled": traffic.throttled,
            "serverErrors": traffic.server_errors,
            "unreachable": traffic.unreachable,
            "peakPerSecond": round(peak / slot),
            "meanPerSecond": round(mean / slot),
            "stormFactor": round(peak / mean),
            "plannedSeconds": round(args.plan().window().as_secs_f64() / args.speed),
            "seconds": round(self.took.as_secs_f64()),
            "histogram": first,
            "later": later,
            "failures": self.failures,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use clap::Parser as _;

    use super::*;

    fn answer(status: u16, retry_after: Option<u64>, body: Value) -> Option<Answer> {
        Some(Answer { status, retry_after: retry_after.map(Duration::from_secs), body })
    }

    #[test]
    fn chi_square_counts_hubs_without_devices() {
        assert!(chi_square(&[250, 250, 250, 250], 4) < f64::EPSILON);
        assert!((chi_square(&[260, 240], 2) - 0.8).abs() < 1e-9);
        assert!((chi_square(&[500, 500], 4) - 1000.0).abs() < 1e-9);
        assert!(chi_square(&[], 0) < f64::EPSILON);
    }

    #[test]
    fn only_devices_nobody_knows_register_again() {
        for status in [401, 403, 404] {
            let verdict = judge(&Step::LookUp, answer(status, None, Value::Null));
            assert_eq!(verdict, Verdict::Go(Step::Register, Wait::default()));
            assert!(matches!(judge(&Step::Register, answer(status, None, Value::Null)), Verdict::Failed(_)));
        }
        let state = json!({ "status": "assigned", "assignedHub": "a" });
        assert_eq!(judge(&Step::LookUp, answer(200, None, state)), Verdict::Assigned("a".into()));
    }

    #[test]
    fn trouble_leaves_the_step_and_keeps_what_the_server_asks_for() {
        let retry_after = Some(Duration::from_secs(70));
        for step in [Step::LookUp, Step::Register, Step::Poll("o".into())] {
            let verdict = judge(&step, answer(429, Some(70), Value::Null));
            assert_eq!(verdict, Verdict::Again(Trouble::Throttled { retry_after }));
            let verdict = judge(&step, answer(503, Some(70), Value::Null));
            assert_eq!(verdict, Verdict::Again(Trouble::ServerError { retry_after }));
            assert_eq!(judge(&step, None), Verdict::Again(Trouble::Unreachable));
        }
    }

    /// Takes so many registrations a minute, as the reference service does, and looks up without a limit.
    struct Limited {
        began: Instant,
        a_minute: u32,
        windows: Mutex<HashMap<u64, u32>>,
    }

    impl Limited {
        fn register(&self) -> Answer {
            let passed = self.began.elapsed();
            let mut windows = self.windows.lock();
            let taken = windows.entry(passed.as_secs() / 60).or_default();
            if *taken < self.a_minute {
                *taken += 1;
                let state = json!({ "assignedHub": "a" });
                return answer(200, None, json!({ "status": "assigned", "registrationState": state })).unwrap();
            }
            answer(429, Some(60 - passed.as_secs() % 60), Value::Null).unwrap()
        }
    }

    impl Asked for Limited {
        fn token(&self, _: &str) -> String {
            String::new()
        }

        async fn ask(&self, _: &str, _: &str, step: &Step) -> Option<Answer> {
            match step {
                Step::LookUp => answer(200, None, json!({ "status": "assigned", "assignedHub": "a" })),
                _ => Some(self.register()),
            }
        }
    }

    /// More devices than may register in a minute: some are told to come back in the next, and do.
    #[tokio::test(start_paused = true)]
    async fn devices_that_are_throttled_come_back_when_they_are_told() {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            args: FleetArgs,
        }
        let line = "fleet --devices 1100 --connections-per-second 250 --load 1 --group-key AAAA";
        let args = Line::parse_from(line.split(' ')).args;
        let limited = Limited { began: Instant::now(), a_minute: 1000, windows: Mutex::default() };
        let fleet = Arc::new(Fleet::new(limited, &args));
        let first = Phase::run(&fleet, &args, false, &ProgressBar::hidden()).await.unwrap();
        assert_eq!(first.hubs.iter().flatten().count(), 1100);
        assert_eq!((first.traffic.throttled, first.traffic.requests), (100, 1200), "each that is refused, once");
        assert!((60.0..66.1).contains(&first.took.as_secs_f64()), "{:?}", first.took);
        let second = Phase::run(&fleet, &args, true, &ProgressBar::hidden()).await.unwrap();
        assert_eq!((second.traffic.throttled, second.traffic.requests), (0, 1100), "looking up is not limited");
    }
}
