//! What a file says of streaming jobs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use gantry_analytics::Warehouse;
use gantry_streaming::{Beyond, Input, Job, Limits, OnError, Settings, Tolerance, Value};
use serde::Deserialize;

/// What the state of a job may hold: less than a checkpoint may have bytes.
const LIMITS: Limits = Limits { events: 200_000, groups: 200_000, bytes: 24 << 20 };
/// How often reference data may be read again, in seconds.
const REFRESH_SECONDS: std::ops::RangeInclusive<u64> = 1..=86_400;

/// Streaming jobs, by name.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamingConfig {
    /// By name.
    #[serde(default)]
    pub jobs: BTreeMap<String, JobConfig>,
}

/// A streaming job.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobConfig {
    /// The text.
    pub(super) query: String,
    /// What the text calls the telemetry.
    #[serde(default = "input")]
    pub(super) input: String,
    /// Where rows of an output go, by its name; into a table of its name when nothing is said.
    #[serde(default)]
    outputs: BTreeMap<String, OutputConfig>,
    /// Rows that the telemetry is joined with, by what the text calls them.
    #[serde(default)]
    pub(super) reference: BTreeMap<String, ReferenceConfig>,
    /// Events older than their arrival by more than this are late.
    #[serde(default = "late_seconds")]
    late_seconds: u64,
    /// Events older by more than this than the newest before them are out of order.
    #[serde(default)]
    out_of_order_seconds: u64,
    /// What becomes of events late or out of order: `adjust` or `drop`.
    #[serde(default)]
    late: Policy,
    #[serde(default)]
    out_of_order: Policy,
    /// What becomes of an event that cannot be evaluated: `drop` or `stop`.
    #[serde(default)]
    on_error: ErrorPolicy,
}

/// Where rows of an output go.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OutputConfig {
    #[serde(default)]
    pub to: Target,
    /// The column that names the device an event is about.
    #[serde(default = "device")]
    pub device: String,
}

/// Into a table, or into the log as events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Target {
    #[default]
    Table,
    Events,
}

impl Target {
    /// As a file spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Events => "events",
        }
    }
}

/// Rows of a query over the tables.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReferenceConfig {
    /// In KQL.
    pub query: String,
    /// How often it is asked again.
    #[serde(default = "refresh_seconds")]
    refresh_seconds: u64,
}

impl ReferenceConfig {
    /// How often it is asked again.
    pub fn period(&self) -> Duration {
        Duration::from_secs(self.refresh_seconds)
    }
}

fn device() -> String {
    "deviceId".into()
}

const fn refresh_seconds() -> u64 {
    300
}

fn input() -> String {
    "input".into()
}

const fn late_seconds() -> u64 {
    5
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Policy {
    #[default]
    Adjust,
    Drop,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ErrorPolicy {
    #[default]
    Drop,
    Stop,
}

impl StreamingConfig {
    /// Checks names and texts.
    ///
    /// # Errors
    /// When one is wrong; says which and where.
    pub fn check(&self) -> anyhow::Result<()> {
        for (name, job) in &self.jobs {
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
            if name.is_empty() || name.len() > 40 || !name.bytes().all(fits) {
                bail!("streaming.jobs: `{name}` must be 1 to 40 letters, digits, `-` and `_`");
            }
            let parsed = job.job(1, &BTreeMap::new()).with_context(|| format!("streaming.jobs.{name}.query"))?;
            for output in job.outputs.keys() {
                if !parsed.outputs().any(|known| known == output) {
                    bail!("streaming.jobs.{name}.outputs.{output}: the query has no such output");
                }
            }
            for (reference, config) in &job.reference {
                let at = || format!("streaming.jobs.{name}.reference.{reference}");
                if reference.eq_ignore_ascii_case(&job.input) {
                    bail!("{}: the telemetry has this name", at());
                }
                if !REFRESH_SECONDS.contains(&config.refresh_seconds) {
                    bail!("{}.refresh_seconds must be 1 to 86400", at());
                }
                if let Err(wrong) = gantry_kql::parse(&config.query) {
                    let wrong = wrong.first().map(|wrong| wrong.message.as_str()).unwrap_or_default();
                    bail!("{}.query: {wrong}", at());
                }
            }
        }
        Ok(())
    }

    /// Checks that no job writes into a table that the platform makes itself.
    ///
    /// # Errors
    /// Says which does.
    pub fn check_outputs(&self, warehouse: &Warehouse) -> anyhow::Result<()> {
        for (name, job) in &self.jobs {
            let outputs = job.outputs().with_context(|| format!("streaming.jobs.{name}.query"))?;
            for (output, _) in outputs.iter().filter(|(_, to)| *to == Target::Table) {
                if warehouse.sources().any(|(table, _)| table == output) {
                    bail!(
                        "streaming.jobs.{name}.query: `{output}` is a table of the platform, which no job writes into"
                    );
                }
            }
        }
        Ok(())
    }
}

impl JobConfig {
    /// Where rows of an output go.
    pub(super) fn output(&self, name: &str) -> OutputConfig {
        let said = self.outputs.get(name).cloned();
        said.unwrap_or_else(|| OutputConfig { to: Target::default(), device: device() })
    }

    /// The outputs of the text, and where their rows go.
    pub(super) fn outputs(&self) -> anyhow::Result<Vec<(String, Target)>> {
        let job = self.job(1, &BTreeMap::new())?;
        Ok(job.outputs().map(|output| (output.to_owned(), self.output(output).to)).collect())
    }

    /// The job over so many partitions, with rows of its reference data.
    pub(super) fn job(&self, partitions: u16, rows: &BTreeMap<String, Vec<Value>>) -> anyhow::Result<Arc<Job>> {
        let tolerance = |seconds, policy| Tolerance {
            within: Duration::from_secs(seconds),
            beyond: match policy {
                Policy::Adjust => Beyond::Adjust,
                Policy::Drop => Beyond::Drop,
            },
        };
        let rows = |name: &String| rows.get(name).cloned().unwrap_or_default();
        let reference = self.reference.keys().map(|name| Input::reference(name, rows(name)));
        let stream = Input::stream(&self.input, partitions.into());
        let mut settings = Settings::new([stream].into_iter().chain(reference).collect());
        settings.late = tolerance(self.late_seconds, self.late);
        settings.out_of_order = tolerance(self.out_of_order_seconds, self.out_of_order);
        settings.limits = LIMITS;
        settings.on_error = match self.on_error {
            ErrorPolicy::Drop => OnError::Drop,
            ErrorPolicy::Stop => OnError::Stop,
        };
        Ok(Job::parse(&self.query, &settings)?)
    }
}

#[cfg(test)]
mod tests {
    use gantry_analytics::pushdown::Need;
    use gantry_analytics::{Chunk, Context, Flow, Source};
    use gantry_kql::bound::Column;

    use super::*;

    #[test]
    fn a_job_is_checked_before_it_runs() {
        let check = |text: &str| toml::from_str::<StreamingConfig>(text).unwrap().check();
        check("[jobs.a]\nquery = 'SELECT x INTO T FROM input'").unwrap();
        check("[jobs.a]\nquery = 'SELECT x INTO T FROM hub'\ninput = 'hub'\nlate = 'drop'\non_error = 'stop'").unwrap();
        let wrong = check("[jobs.a]\nquery = '''SELECT x\nINTO T FROM elsewhere'''").unwrap_err();
        assert_eq!(
            format!("{wrong:#}"),
            "streaming.jobs.a.query: line 2, column 13: there is no input and no step called `elsewhere`"
        );
        assert!(check("[jobs.'a b']\nquery = 'SELECT x FROM input'").is_err());
        assert!(check("[jobs.a]\nquery = 'SELECT x FROM input'\nlate_seconds = 99999999").is_err());
        assert!(toml::from_str::<StreamingConfig>("[jobs.a]\nquery = ''\nunknown = 1").is_err());
        let joined = "[jobs.a]\nquery = 'SELECT i.x, s.y INTO Hot FROM input i JOIN sites s ON i.d = s.d'\n";
        let sites = "[jobs.a.reference.sites]\nquery = 'Sites | project d, y'\n";
        let hot = "[jobs.a.outputs.Hot]\nto = 'events'\ndevice = 'd'\n";
        check(&format!("{joined}{sites}{hot}")).unwrap();
        for (text, expected) in [
            (joined.to_owned(), "there is no input and no step called `sites`"),
            (
                format!("{joined}{sites}refresh_seconds = 0\n"),
                "streaming.jobs.a.reference.sites.refresh_seconds must be",
            ),
            (format!("{joined}{}", sites.replace("| project d, y", "| |")), "streaming.jobs.a.reference.sites.query: "),
            (
                format!("{joined}{sites}{}", sites.replace("sites]", "input]")),
                "reference.input: the telemetry has this name",
            ),
            (
                format!("{joined}{sites}[jobs.a.outputs.Cold]\n"),
                "streaming.jobs.a.outputs.Cold: the query has no such output",
            ),
        ] {
            let wrong = format!("{:#}", check(&text).expect_err(&text));
            assert!(wrong.contains(expected), "{wrong}");
        }
        assert!(toml::from_str::<StreamingConfig>(&format!("{joined}[jobs.a.outputs.Hot]\nto = 'mars'\n")).is_err());
        let into = |table: &str| format!("[jobs.a]\nquery = 'SELECT x INTO {table} FROM input'");
        let source = Arc::new(Nothing);
        let warehouse = Warehouse::new("telemetry", [("Telemetry".to_owned(), source as Arc<dyn Source>)]);
        let check = |text: &str| toml::from_str::<StreamingConfig>(text).unwrap().check_outputs(&warehouse);
        check(&into("Mine")).unwrap();
        check(&format!("{}\n[jobs.a.outputs.Telemetry]\nto = 'events'", into("Telemetry"))).unwrap();
        assert!(check(&into("Telemetry")).unwrap_err().to_string().contains("`Telemetry` is a table of the platform"));
    }

    struct Nothing;

    impl Source for Nothing {
        fn about(&self) -> &'static str {
            "Nothing."
        }

        fn columns(&self) -> gantry_analytics::Result<Vec<Column>> {
            Ok(Vec::new())
        }

        fn scan(
            &self,
            _: &[Column],
            _: &Need,
            _: &Context,
            _: &mut dyn FnMut(Chunk) -> gantry_analytics::Result<Flow>,
        ) -> gantry_analytics::Result<Flow> {
            Ok(Flow::More)
        }
    }
}
