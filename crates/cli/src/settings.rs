//! Flags and environment variables that go before the configuration file.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;
use gantry_runtime::config::Sources;
use toml::{Table, Value};

/// Where the configuration is; each flag has an environment variable.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Overrides {
    /// Configuration file (TOML).
    #[arg(long, env = "GANTRY_CONFIG", global = true)]
    config: Option<PathBuf>,
    /// Data folder.
    #[arg(long, env = "GANTRY_DATA", global = true)]
    data: Option<PathBuf>,
}

/// Flags of `serve` that override the file.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ServeOverrides {
    /// Address to listen on; may be repeated.
    #[arg(long, env = "GANTRY_BIND", value_delimiter = ',')]
    bind: Vec<IpAddr>,
    /// Name of the hub and its event stream.
    #[arg(long, env = "GANTRY_HUB_NAME")]
    hub_name: Option<String>,
    /// Name clients connect to; may be repeated, the first is in connection strings.
    #[arg(long, env = "GANTRY_HOST_NAMES", value_delimiter = ',')]
    host_name: Vec<String>,
    /// Edition of the reference service to act like, with its throttles and daily quota, such as S1x2.
    #[arg(long, env = "GANTRY_ACT_LIKE")]
    act_like: Option<String>,
    /// Let devices ask for faults in their messages (AzIoTHub_FaultOperationType).
    #[arg(long, env = "GANTRY_ALLOW_FAULTS")]
    allow_faults: bool,
    /// Added to every port.
    #[arg(long, env = "GANTRY_PORT_OFFSET")]
    port_offset: Option<u16>,
    /// MQTT port.
    #[arg(long, env = "GANTRY_MQTT_PORT_NUMBER")]
    mqtt_port: Option<u16>,
    /// AMQP port.
    #[arg(long, env = "GANTRY_AMQP_PORT_NUMBER")]
    amqp_port: Option<u16>,
    /// HTTPS port.
    #[arg(long, env = "GANTRY_HTTPS_PORT_NUMBER")]
    https_port: Option<u16>,
    /// PostgreSQL port.
    #[arg(long, env = "GANTRY_POSTGRES_PORT_NUMBER")]
    postgres_port: Option<u16>,
    /// MQTT without TLS on this port of 127.0.0.1: for `gantry bench` only, so that TLS can be told apart.
    #[arg(long, env = "GANTRY_BENCH_PLAIN_PORT", hide = true)]
    pub(crate) bench_plain_port: Option<u16>,
}

impl Overrides {
    /// Whether somebody said which platform is meant.
    pub(crate) fn is_given(&self) -> bool {
        self.config.is_some() || self.data.is_some()
    }

    /// The file and the values that go before it.
    pub(crate) fn sources(&self) -> anyhow::Result<Sources> {
        let mut overrides = Table::new();
        if let Some(data) = &self.data {
            let text = data.to_str().ok_or_else(|| anyhow::anyhow!("--data is not text: {}", data.display()))?;
            overrides.insert("data_folder".into(), text.into());
        }
        Ok(Sources { file: self.config.clone(), overrides })
    }
}

impl ServeOverrides {
    /// Adds what was given, in the shape of a configuration file.
    pub(crate) fn add_to(&self, sources: &mut Sources) {
        let texts = |list: Vec<String>| (!list.is_empty()).then(|| Value::from(list));
        let number = |port: Option<u16>| port.map(|port| Value::from(i64::from(port)));
        let hub = [
            ("name", self.hub_name.clone().map(Value::from)),
            ("host_names", texts(self.host_name.clone())),
            ("act_like", self.act_like.clone().map(Value::from)),
            ("allow_faults", self.allow_faults.then(|| Value::from(true))),
        ];
        let ports = [
            ("offset", number(self.port_offset)),
            ("mqtt", number(self.mqtt_port)),
            ("amqp", number(self.amqp_port)),
            ("https", number(self.https_port)),
            ("postgres", number(self.postgres_port)),
        ];
        let top = [("bind", texts(self.bind.iter().map(IpAddr::to_string).collect()))];
        let given = |pairs: &[(&str, Option<Value>)]| -> Table {
            pairs.iter().filter_map(|(key, value)| Some(((*key).to_owned(), value.clone()?))).collect()
        };
        sources.overrides.extend(given(&top));
        sources.overrides.insert("hub".into(), given(&hub).into());
        sources.overrides.insert("ports".into(), given(&ports).into());
    }
}
