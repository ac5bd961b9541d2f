//! Configuration: `default.toml`, a user's file, and what goes before it, in this order.

use std::collections::HashSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use gantry_hub::DisabledTokens;
use gantry_hub::limits::CONSUMER_GROUPS_MAX;
use gantry_hub::routing::Routing;
use gantry_hub::service_queue::{Messaging, QueueRules};
use gantry_hub::throttle::{Edition, EditionError};
use gantry_models::Worker;
use gantry_provisioning::{AllocationPolicy, Limits as ProvisioningLimits};
use gantry_transforms::Transforms;
use ipnet::IpNet;
use serde::Deserialize;

use crate::directory::DirectoryConfig;
use crate::sign_in::SignInSection;
use crate::streaming::StreamingConfig;
use crate::tables::cold::ColdConfig;
use crate::token_server::TokenServerConfig;

const DEFAULT: &str = include_str!("../default.toml");

/// Everything that can be chosen, checked.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where everything lives.
    pub data_folder: PathBuf,
    /// Addresses to listen on.
    pub bind: Vec<IpAddr>,
    /// The hub.
    pub hub: HubConfig,
    /// Further hubs in the same process.
    #[serde(default)]
    pub hubs: Vec<HubConfig>,
    /// The provisioning service.
    pub provisioning: ProvisioningConfig,
    /// Cloud-to-device messages.
    pub c2d: Queue,
    /// Their outcomes.
    pub feedback: Queue,
    /// Uploaded files.
    pub file_notifications: FileNotifications,
    /// Ports.
    pub ports: Ports,
    /// PostgreSQL.
    pub postgres: PostgresConfig,
    /// Bounds.
    pub limits: Limits,
    /// What memory is spent on.
    pub memory: Memory,
    /// The blob store.
    pub blobs: BlobsConfig,
    /// File upload.
    pub file_upload: FileUploadConfig,
    /// Files outside that questions about telemetry may name.
    pub external_data: ExternalData,
    /// How people sign in.
    pub sign_in: SignInSection,
    /// The audit log.
    pub audit: AuditConfig,
    /// Tables.
    pub tables: TablesConfig,
    /// The digital-twin graph.
    pub graph: GraphConfig,
    /// Models of devices.
    pub models: ModelsConfig,
    /// Streaming jobs.
    pub streaming: StreamingConfig,
    /// Mail.
    pub mail: Mail,
    /// The token server's role.
    pub token_server: TokenServerConfig,
    /// The directory.
    pub directory: DirectoryConfig,
    /// Arrow Flight SQL.
    pub flight_sql: FlightSqlConfig,
    /// What answers Arrow Flight SQL, in a binary that has it.
    #[serde(skip)]
    pub flight_head: Option<FlightHead>,
    /// The program that runs models, with its arguments, which the library follows; given by the binary.
    #[serde(skip)]
    pub model_worker: Option<(PathBuf, Vec<String>)>,
    /// The program that runs transforms of exports, with its arguments; given by the binary.
    #[serde(skip)]
    pub transform_worker: Option<(PathBuf, Vec<String>)>,
    /// MQTT without TLS on this port of 127.0.0.1: for `gantry bench` only, so that TLS can be told apart. No file can
    /// set it.
    #[serde(skip)]
    pub bench_plain_port: Option<u16>,
    /// The data folder of the process, in the configuration of a further hub.
    #[serde(skip)]
    main_folder: Option<PathBuf>,
}

/// The audit log.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditConfig {
    /// What its files may take, in MiB.
    pub keep_mib: u64,
}

/// What answers Arrow Flight SQL: it is given to the platform, so that nothing here is built with Arrow.
pub type FlightHead = fn(Arc<gantry_api::Api>, Arc<gantry_analytics::Warehouse>) -> axum::Router;

/// Arrow Flight SQL.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlightSqlConfig {
    enabled: bool,
}

/// The provisioning service.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProvisioningConfig {
    /// How a hub is chosen where an enrollment does not say.
    allocation_policy: String,
    /// Whose limits it has; empty is none.
    act_like: String,
}

impl ProvisioningConfig {
    /// How a hub is chosen.
    ///
    /// # Errors
    /// When the word is unknown, or the policy needs an enrollment's settings.
    pub fn allocation_policy(&self) -> anyhow::Result<AllocationPolicy> {
        let found = AllocationPolicy::parse(&self.allocation_policy);
        let found = found.filter(|policy| matches!(policy, AllocationPolicy::Hashed | AllocationPolicy::GeoLatency));
        found.context("provisioning.allocation_policy must be hashed or geoLatency")
    }

    /// How often it may be asked.
    ///
    /// # Errors
    /// When there is no such profile.
    pub fn limits(&self) -> anyhow::Result<ProvisioningLimits> {
        match self.act_like.as_str() {
            "" => Ok(ProvisioningLimits::default()),
            "S1" => Ok(ProvisioningLimits::REFERENCE),
            _ => bail!("provisioning.act_like must be S1 or empty"),
        }
    }
}

/// The hub and its event stream.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HubConfig {
    /// Short name.
    pub name: String,
    /// Names clients connect to.
    pub host_names: Vec<String>,
    /// Its share of the devices that provisioning allocates.
    pub allocation_weight: u32,
    /// Partitions of the event stream.
    pub partitions: u16,
    /// How long events are kept.
    pub retention_hours: u64,
    /// How much space they may take.
    pub retention_mib: u64,
    /// Consumer groups beside `$Default`.
    pub consumer_groups: Vec<String>,
    /// Edition to act like, such as `S1x2`; empty is unlimited.
    pub act_like: String,
    /// Whether devices may ask for faults in their messages.
    pub allow_faults: bool,
    /// Refuse tokens signed with a device's own key.
    pub disable_device_sas: bool,
    /// Refuse tokens signed with a module's own key.
    pub disable_module_sas: bool,
    /// Refuse tokens signed with the key of a policy.
    pub disable_local_auth: bool,
    /// Message routing; when given, it replaces what was set by other means at every start.
    pub routing: Option<Routing>,
    /// Which addresses may connect: the first rule that covers an address decides; none means yes.
    pub ip_filter: Vec<IpRule>,
}

/// A rule of the address filter.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IpRule {
    /// What happens to the addresses.
    pub action: IpAction,
    /// Which they are, as an address and the bits of its network (`10.1.0.0/16`).
    pub mask: IpNet,
}

/// What happens to addresses a rule covers.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum IpAction {
    /// They may connect.
    Accept,
    /// They may not.
    Reject,
}

/// Whether an address may connect.
pub fn admits(rules: &[IpRule], address: IpAddr) -> bool {
    let covering = rules.iter().find(|rule| rule.mask.contains(&address.to_canonical()));
    covering.is_none_or(|rule| rule.action == IpAction::Accept)
}

impl HubConfig {
    fn check(&self, section: &str) -> anyhow::Result<()> {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
        ensure!(
            (3..=50).contains(&self.name.len()) && self.name.chars().all(plain),
            "{section}.name must have 3 to 50 letters, digits or dashes"
        );
        ensure!(!self.host_names.is_empty(), "{section}.host_names must hold at least one name");
        self.edition().with_context(|| format!("{section}.act_like"))?;
        ensure!(self.allocation_weight <= 1000, "{section}.allocation_weight must be 0 to 1000");
        ensure!((1..=32).contains(&self.partitions), "{section}.partitions must be 1 to 32");
        ensure!((1..=168).contains(&self.retention_hours), "{section}.retention_hours must be 1 to 168");
        ensure!(
            self.consumer_groups.len() <= CONSUMER_GROUPS_MAX,
            "{section}.consumer_groups may hold {CONSUMER_GROUPS_MAX} names"
        );
        Ok(())
    }

    /// The edition to act like.
    ///
    /// # Errors
    /// When there is no such edition.
    pub fn edition(&self) -> Result<Option<Edition>, EditionError> {
        if self.act_like.is_empty() { Ok(None) } else { self.act_like.parse().map(Some) }
    }

    /// Kinds of token that are refused.
    pub fn disabled_tokens(&self) -> DisabledTokens {
        DisabledTokens {
            devices: self.disable_device_sas,
            modules: self.disable_module_sas,
            policies: self.disable_local_auth,
        }
    }
}

/// Rules of a queue.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Queue {
    /// Life of a message that names no expiry.
    ttl_secs: u64,
    /// How long a receiver may hold a message.
    lock_secs: u64,
    /// Deliveries before a message is dead-lettered.
    max_delivery_count: u32,
}

/// Rules of the file notifications.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileNotifications {
    enabled: bool,
    ttl_secs: u64,
    lock_secs: u64,
    max_delivery_count: u32,
}

impl Queue {
    fn rules(self) -> QueueRules {
        QueueRules {
            ttl: Duration::from_secs(self.ttl_secs),
            lock: Duration::from_secs(self.lock_secs),
            delivery_count_max: self.max_delivery_count,
        }
    }

    fn check(self, section: &str) -> anyhow::Result<()> {
        ensure!((60..=172_800).contains(&self.ttl_secs), "{section}.ttl_secs must be 60 to 172800");
        ensure!((5..=300).contains(&self.lock_secs), "{section}.lock_secs must be 5 to 300");
        ensure!((1..=100).contains(&self.max_delivery_count), "{section}.max_delivery_count must be 1 to 100");
        Ok(())
    }
}

impl FileNotifications {
    fn queue(self) -> Queue {
        let Self { ttl_secs, lock_secs, max_delivery_count, .. } = self;
        Queue { ttl_secs, lock_secs, max_delivery_count }
    }
}

/// Port numbers before the offset.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ports {
    offset: u16,
    mqtt: u16,
    amqp: u16,
    https: u16,
    postgres: u16,
}

/// The PostgreSQL wire protocol.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PostgresConfig {
    /// Whether it is spoken.
    pub enabled: bool,
}

/// Bounds of the listeners.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Connections on all ports together.
    pub connections_max: usize,
    /// Peers that have not proven who they are.
    pub newcomers_max: usize,
}

/// What memory is spent on, for each hub.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    /// What the other keys are where nobody says.
    pub profile: Profile,
    /// Events just taken, from which live readers are served, in MiB.
    pub tail_mib: usize,
    /// Events on their way to the disk, in MiB.
    pub pending_mib: usize,
    /// Judged values kept for charts.
    pub points_max: usize,
}

/// How much memory there is.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// Enough.
    Standard,
    /// Little: a gateway, a computer on one board.
    Small,
}

/// What [`Profile::Small`] says.
const SMALL: &str = "[memory]\ntail_mib = 2\npending_mib = 2\npoints_max = 50000\n[limits]\nnewcomers_max = 512\n";

/// Where the contents of blobs are kept.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlobsConfig {
    /// Connection string of an Azure Storage account; empty: the data folder.
    pub azure_connection_string: String,
    /// Container in that account.
    pub azure_container: String,
}

/// Where devices upload files.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileUploadConfig {
    /// Whether they may.
    pub enabled: bool,
    /// Container the files go to.
    pub container: String,
    /// How long an upload's address is good, in minutes.
    pub sas_minutes: u64,
    /// Connection string of another account; empty: our own storage.
    pub azure_connection_string: String,
}

/// Tables.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TablesConfig {
    /// Messages behind the files of their table that make a new file.
    pub seal_rows: std::num::NonZeroUsize,
    /// The library ONNX Runtime, which runs models; none when empty.
    pub onnxruntime: PathBuf,
    /// Where files go that are not hot any more.
    pub cold: ColdConfig,
}

/// The digital-twin graph.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GraphConfig {
    /// Names of the hub under which the graph answers, without a path before its own.
    pub host_names: Vec<String>,
    /// Twins there may be.
    pub twins_max: usize,
    /// Relationships there may be.
    pub relationships_max: usize,
    /// Whether what devices send and report changes twins.
    pub follow_devices: bool,
}

/// Where models come from that devices announce, and whether others may read ours.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelsConfig {
    /// A folder in the layout of a model repository; none when empty.
    pub folder: PathBuf,
    /// Address of a model repository; none when empty.
    pub address: String,
    /// PEM file of authorities to trust for it, beside the system's.
    pub ca_file: PathBuf,
    /// Whether everybody may read the models here.
    pub serve: bool,
}

/// Files outside that questions about telemetry may name.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExternalData {
    /// Beginnings of their addresses: `file:///folder/`, `https://host/`.
    pub allow: Vec<String>,
}

impl std::fmt::Debug for FileUploadConfig {
    /// Without the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileUploadConfig").field("enabled", &self.enabled).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for BlobsConfig {
    /// Without the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlobsConfig").field("azure_container", &self.azure_container).finish_non_exhaustive()
    }
}

/// Where e-mail actions go.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mail {
    /// SMTP server as `host:port`; empty when there is none.
    pub server: String,
    /// Sender address.
    pub from: String,
}

impl Ports {
    /// These, as they are.
    pub(crate) fn bound(mqtt: u16, amqp: u16, https: u16, postgres: u16) -> Self {
        Self { offset: 0, mqtt, amqp, https, postgres }
    }

    /// With the offset; 0, for any that is free, stays 0.
    fn shifted(self, port: u16) -> u16 {
        if port == 0 { 0 } else { port.saturating_add(self.offset) }
    }

    /// MQTT over TLS.
    pub fn mqtt(self) -> u16 {
        self.shifted(self.mqtt)
    }

    /// AMQP over TLS.
    pub fn amqp(self) -> u16 {
        self.shifted(self.amqp)
    }

    /// PostgreSQL.
    pub fn postgres(self) -> u16 {
        self.shifted(self.postgres)
    }

    /// Whether another port will do for PostgreSQL: nobody chose this one.
    pub fn postgres_may_move(self) -> bool {
        self.postgres == 5432
    }

    /// HTTPS and WebSockets.
    pub fn https(self) -> u16 {
        self.shifted(self.https)
    }

    /// HTTPS when the first choice may not be bound; none when an operator chose the port.
    pub fn https_fallback(self) -> Option<u16> {
        (self.https == 443).then(|| self.shifted(8443))
    }
}

/// What settings are read from, beside the defaults.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// A file (TOML).
    pub file: Option<PathBuf>,
    /// Values in the shape of a file that take the place of the file's: flags and environment variables.
    pub overrides: toml::Table,
}

impl Sources {
    /// The defaults with what the file and the overrides say instead; `prepare` may work on the file first.
    ///
    /// # Errors
    /// Names the file, and the key that is unknown.
    pub(crate) fn over(
        &self,
        mut table: toml::Table,
        prepare: impl FnOnce(&mut toml::Table) -> anyhow::Result<()>,
    ) -> anyhow::Result<toml::Table> {
        if let Some(path) = &self.file {
            let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
            let named = || format!("in {}", path.display());
            let mut file: toml::Table = toml::from_str(&text).with_context(named)?;
            if file.get("memory").and_then(|memory| memory.get("profile")?.as_str()) == Some("small") {
                merge(&mut table, toml::from_str(SMALL).expect("the profile is valid"), "")?;
            }
            prepare(&mut file).and_then(|()| merge(&mut table, file, "")).with_context(named)?;
        }
        merge(&mut table, self.overrides.clone(), "")?;
        Ok(table)
    }
}

impl Config {
    /// Reads and checks everything.
    ///
    /// # Errors
    /// Names the file and key that is wrong.
    pub fn load(sources: &Sources) -> anyhow::Result<Self> {
        let table: toml::Table = toml::from_str(DEFAULT).expect("default.toml is valid");
        let mut config: Self = sources.over(table, complete_hubs)?.try_into().context("in the configuration")?;
        if config.data_folder.as_os_str().is_empty() {
            config.data_folder = default_folder()?;
        }
        config.check()?;
        Ok(config)
    }

    /// What runs models, when somebody said where the library is.
    pub fn models(&self) -> Worker {
        match &self.model_worker {
            Some((program, arguments)) if !self.tables.onnxruntime.as_os_str().is_empty() => {
                let arguments = arguments.iter().map(Into::into);
                Worker::new(program.clone(), arguments.chain([self.tables.onnxruntime.clone().into()]).collect())
            }
            _ => Worker::none(),
        }
    }

    /// What runs transforms of exports.
    pub fn transforms(&self) -> Transforms {
        let command = self.transform_worker.as_ref();
        Transforms::new(
            command.map(|(program, arguments)| (program.clone(), arguments.iter().map(Into::into).collect())),
        )
    }

    /// What answers Arrow Flight SQL, if anything does.
    pub fn flight(&self) -> Option<FlightHead> {
        self.flight_head.filter(|_| self.flight_sql.enabled)
    }

    /// The certificate authority of the process, for clients.
    pub fn ca_file(&self) -> PathBuf {
        self.main_folder.as_ref().unwrap_or(&self.data_folder).join("tls/ca.pem")
    }

    /// Whether this is the configuration of the main hub.
    pub fn is_main(&self) -> bool {
        self.main_folder.is_none()
    }

    /// The configuration of each hub, the main one first.
    pub fn each_hub(&self) -> Vec<Self> {
        let further = |hub: &HubConfig| Self {
            hub: hub.clone(),
            data_folder: self.data_folder.join("hubs").join(&hub.name),
            main_folder: Some(self.data_folder.clone()),
            token_server: self.token_server.off(),
            ..self.clone()
        };
        std::iter::once(self.clone()).chain(self.hubs.iter().map(further)).collect()
    }

    /// The names of every hub.
    pub fn all_host_names(&self) -> Vec<String> {
        let hubs = std::iter::once(&self.hub).chain(&self.hubs);
        hubs.flat_map(|hub| hub.host_names.iter().cloned()).collect()
    }

    /// Rules of the queues.
    pub fn messaging(&self) -> Messaging {
        Messaging {
            c2d: self.c2d.rules(),
            feedback: self.feedback.rules(),
            file_notifications: self.file_notifications.queue().rules(),
            file_notifications_enabled: self.file_notifications.enabled,
        }
    }

    fn check(&self) -> anyhow::Result<()> {
        ensure!(!self.bind.is_empty(), "bind must name at least one address");
        self.hub.check("hub")?;
        let mut names = HashSet::new();
        for hub in &self.hubs {
            hub.check("hubs")?;
            ensure!(names.insert(&hub.name), "hubs.name: `{}` is there twice", hub.name);
            ensure!(hub.ip_filter.is_empty(), "hubs.ip_filter: the ports are shared; set hub.ip_filter");
        }
        ensure!(!names.contains(&self.hub.name), "hubs.name: `{}` is there twice", self.hub.name);
        let hosts = self.all_host_names();
        let different: HashSet<_> = hosts.iter().map(|host| host.to_ascii_lowercase()).collect();
        ensure!(different.len() == hosts.len(), "host_names: two hubs have a name in common");
        for name in &self.graph.host_names {
            let is_known = hosts.iter().any(|host| host.eq_ignore_ascii_case(name));
            ensure!(is_known, "graph.host_names: `{name}` is not among the host_names of a hub");
        }
        let is_first = |name: &String| self.hub.host_names.first() == Some(name);
        ensure!(!self.graph.host_names.iter().any(is_first), "graph.host_names: the first name is the hub's own");
        crate::model_repository::check(&self.models).context("[models]")?;
        self.provisioning.allocation_policy()?;
        self.provisioning.limits()?;
        ensure!((1..=1440).contains(&self.file_upload.sas_minutes), "file_upload.sas_minutes must be 1 to 1440");
        for one in &self.external_data.allow {
            let rest = ["file:///", "https://", "http://"].iter().find_map(|scheme| one.strip_prefix(scheme));
            let names = rest.is_some_and(|rest| !rest.is_empty());
            ensure!(names, "external_data.allow: `{one}` is not as `file:///folder/` or `https://host/`");
        }
        self.c2d.check("c2d")?;
        self.feedback.check("feedback")?;
        self.file_notifications.queue().check("file_notifications")?;
        self.token_server.check()?;
        self.directory.check()?;
        self.sign_in.check()?;
        ensure!((16..=1_048_576).contains(&self.audit.keep_mib), "audit.keep_mib must be 16 to 1048576");
        self.streaming.check()?;
        crate::tables::cold::check(&self.tables.cold)?;
        let Memory { tail_mib, pending_mib, points_max, .. } = self.memory;
        ensure!((1..=65_536).contains(&tail_mib), "memory.tail_mib must be 1 to 65536");
        ensure!((1..=31).contains(&pending_mib), "memory.pending_mib must be 1 to 31");
        ensure!((1_000..=1_000_000_000).contains(&points_max), "memory.points_max must be 1000 to 1000000000");
        let ports = [self.ports.mqtt, self.ports.amqp, self.ports.https, self.ports.postgres];
        for port in ports {
            ensure!(port.checked_add(self.ports.offset).is_some(), "a port plus ports.offset is over 65535");
        }
        Ok(())
    }
}

/// Gives each further hub of a file the defaults of `[hub]`; it must have a name and host names of its own.
fn complete_hubs(file: &mut toml::Table) -> anyhow::Result<()> {
    let Some(hubs) = file.get_mut("hubs") else { return Ok(()) };
    let default: toml::Table = toml::from_str(DEFAULT).expect("default.toml is valid");
    let Some(hubs) = hubs.as_array_mut() else { bail!("hubs must be an array of tables: [[hubs]]") };
    for hub in hubs {
        let (toml::Value::Table(given), Some(toml::Value::Table(mut base))) = (&mut *hub, default.get("hub").cloned())
        else {
            bail!("hubs must be an array of tables: [[hubs]]")
        };
        ensure!(given.contains_key("name") && given.contains_key("host_names"), "hubs: name and host_names are needed");
        merge(&mut base, std::mem::take(given), "hubs.")?;
        *hub = toml::Value::Table(base);
    }
    Ok(())
}

/// The section `[token_server]` as it is by default: a token server of its own has it too.
pub fn default_token_server() -> toml::Value {
    let mut table: toml::Table = toml::from_str(DEFAULT).expect("default.toml is valid");
    table.remove("token_server").expect("default.toml has [token_server]")
}

/// Keys a file may have that have no default.
const WITHOUT_DEFAULT: [&str; 4] = ["hub.routing", "hubs.routing", "hubs", "streaming.jobs"];

/// Puts a file's values in the place of those they override.
///
/// # Errors
/// Names a key that is unknown.
fn merge(base: &mut toml::Table, file: toml::Table, at: &str) -> anyhow::Result<()> {
    for (key, value) in file {
        match (base.get_mut(&key), value) {
            (None, value) if WITHOUT_DEFAULT.contains(&format!("{at}{key}").as_str()) => {
                base.insert(key, value);
            }
            (None, _) => bail!("unknown key `{at}{key}`"),
            (Some(toml::Value::Table(base)), toml::Value::Table(file)) => merge(base, file, &format!("{at}{key}."))?,
            (Some(slot), value) => *slot = value,
        }
    }
    Ok(())
}

/// Where everything lives when nobody says.
///
/// # Errors
/// When there is no home.
pub fn default_folder() -> anyhow::Result<PathBuf> {
    if let Some(base) = std::env::var_os("XDG_DATA_HOME").filter(|v| !v.is_empty()) {
        return Ok(Path::new(&base).join("gantry"));
    }
    let home = std::env::var_os("HOME").context("neither --data, XDG_DATA_HOME nor HOME is set")?;
    Ok(Path::new(&home).join(".local/share/gantry"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> anyhow::Result<Config> {
        let file = tempfile::NamedTempFile::new()?;
        std::fs::write(file.path(), text)?;
        let overrides = toml::toml! { data_folder = "x" };
        Config::load(&Sources { file: Some(file.path().to_owned()), overrides })
    }

    #[test]
    fn the_default_is_valid_and_a_file_overrides_it() {
        let config = load("[hub]\nname = \"plant-7\"\n[ports]\noffset = 1000\n").unwrap();
        assert_eq!((config.hub.name.as_str(), config.ports.mqtt(), config.ports.https()), ("plant-7", 9883, 1443));
        assert_eq!(config.hub.partitions, 4);
    }

    #[test]
    fn a_profile_gives_way_to_what_is_said_beside_it() {
        let memory = |text: &str| {
            let Memory { tail_mib, pending_mib, points_max, .. } = load(text).unwrap().memory;
            (tail_mib, pending_mib, points_max)
        };
        assert_eq!(memory(""), (16, 16, 500_000));
        assert_eq!(memory("[memory]\nprofile = \"small\"\n"), (2, 2, 50_000));
        assert_eq!(memory("[memory]\nprofile = \"small\"\ntail_mib = 6\n"), (6, 2, 50_000));
        assert_eq!(load("[memory]\nprofile = \"small\"\n").unwrap().limits.newcomers_max, 512);
    }

    /// A provider of sign-in, with something said in place of what it is by default.
    fn provider(said: &str) -> String {
        let name = said.split(' ').next().unwrap();
        let whole = [
            "id = \"works\"",
            "name = \"Works\"",
            "issuer = \"https://id.example\"",
            "client_id = \"gantry\"",
            "roles = [{ claim = \"groups\", value = \"x\", role = \"viewer\" }]",
        ];
        let rest: Vec<_> = whole.into_iter().filter(|line| !line.starts_with(&format!("{name} "))).collect();
        format!("[[sign_in.openid]]\n{}\n{said}\n", rest.join("\n"))
    }

    #[test]
    fn unknown_keys_and_bad_values_are_named() {
        for (text, expected) in [
            ("[hub]\nnmae = \"x\"\n", "unknown key `hub.nmae`"),
            ("[hub]\npartitions = 33\n", "hub.partitions must be 1 to 32"),
            ("[hub]\nname = \"a b c\"\n", "hub.name"),
            ("bind = [\"nowhere\"]\n", "bind"),
            ("[memory]\nprofile = \"tiny\"\n", "profile"),
            ("[memory]\ntail_mib = 0\n", "memory.tail_mib must be 1 to 65536"),
            (
                "[streaming.jobs.a]\nquery = \"SELECT x FROM y\"\n",
                "streaming.jobs.a.query: line 1, column 15: there is no input",
            ),
            ("[streaming.jobs.a]\nqueri = \"SELECT x FROM input\"\n", "queri"),
            ("[streaming]\njob = 1\n", "unknown key `streaming.job`"),
            ("[directory]\nenable = true\n", "unknown key `directory.enable`"),
            ("[directory]\ndevelopment_principal = true\n", "directory.development_principal needs directory.enabled"),
            (
                "[directory]\nenabled = true\n[[directory.issuers]]\nissuer = [\"x\"]\ntenant_id = \"y\"\nkeys = \"z\"\n",
                "tenant_id",
            ),
            ("[sign_in]\nidle_minutes = 0\n", "sign_in.idle_minutes must be 1 to 1440"),
            ("[sign_in]\npassword_length_min = 7\n", "sign_in.password_length_min must be 8 to 128"),
            ("[sign_in]\nurl = \"http://x\"\n", "sign_in.url"),
            ("[[sign_in.openid]]\nid = \"a\"\n", "missing field `name`"),
            (provider("id = \"A b\"").as_str(), "sign_in.openid.id"),
            (provider("issuer = \"http://x\"").as_str(), "sign_in.openid.issuer of `works` is no https URL"),
            (provider("roles = []").as_str(), "without any nobody signs in"),
            (provider("secret = \"x\"").as_str(), "unknown field `secret`"),
            (
                provider("roles = [{ claim = \"a\", value = \"b\", role = \"owner\" }]").as_str(),
                "unknown variant `owner`",
            ),
            ("[audit]\nkeep_mib = 15\n", "audit.keep_mib must be 16 to 1048576"),
            ("[tables.cold]\nplace = \"ftp://x\"\n", "tables.cold.place: it is not as"),
            ("[tables.cold]\nhot_days = 40000\n", "tables.cold.hot_days must be 0 to 36500"),
        ] {
            let error = format!("{:#}", load(text).unwrap_err());
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    /// The examples in the comments of a configuration file: lines of a comment that are set in by three blanks, each
    /// run of them one example, under the section it stands in unless it names one.
    fn examples(text: &str) -> Vec<String> {
        let (mut found, mut example, mut section) = (vec![], String::new(), "");
        for line in text.lines().chain([""]) {
            if let Some(line) = line.strip_prefix("#   ") {
                if example.is_empty() && !line.starts_with('[') && !section.is_empty() {
                    example = format!("{section}\n");
                }
                example.push_str(line);
                example.push('\n');
                continue;
            }
            if !example.is_empty() {
                found.push(std::mem::take(&mut example));
            }
            if line.starts_with('[') {
                section = line.split('#').next().unwrap_or_default().trim();
            }
        }
        found
    }

    #[test]
    fn every_example_in_the_manual_can_be_used_as_it_stands() {
        let examples = examples(DEFAULT);
        let about = |word: &str| examples.iter().filter(|example| example.contains(word)).count();
        let sections =
            ["[[hubs]]", "ip_filter", "hub.routing", "token_server.api_keys", "directory.issuers", "streaming.jobs"];
        for what in sections.into_iter().chain(["[[sign_in.openid]]"]) {
            assert_eq!(about(what), 1, "an example of {what}: {examples:#?}");
        }
        for example in &examples {
            load(example).unwrap_or_else(|error| panic!("{example}\n{error:#}"));
        }
        // All together too, but for the further hub: the whole manual without its comment signs.
        let whole: String = examples.iter().filter(|example| !example.contains("[[hubs]]")).cloned().collect();
        let config = load(&whole).unwrap();
        let routing = config.hub.routing.expect("routing");
        assert_eq!((routing.endpoints.webhooks.len(), routing.routes.len()), (1, 1));
        assert_eq!(config.hub.ip_filter.len(), 3);
    }

    #[test]
    fn every_configuration_in_the_guide_to_streaming_jobs_can_be_used() {
        let guide = include_str!("../../../docs/streaming.md");
        let blocks = guide.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap_or_default());
        let blocks: Vec<_> = blocks.collect();
        assert_eq!(blocks.len(), 3);
        for block in blocks {
            load(block).unwrap_or_else(|error| panic!("{block}\n{error:#}"));
        }
    }

    #[test]
    fn every_configuration_in_the_guide_to_signing_in_can_be_used() {
        let guide = include_str!("../../../docs/sign-in.md");
        let blocks = guide.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap_or_default());
        let blocks: Vec<_> = blocks.collect();
        assert_eq!(blocks.len(), 2);
        for block in blocks {
            load(block).unwrap_or_else(|error| panic!("{block}\n{error:#}"));
        }
    }

    #[test]
    fn a_further_hub_has_routing_of_its_own_and_unknown_keys_in_it_are_named() {
        let hub = "[[hubs]]\nname = \"line-2\"\nhost_names = [\"l2\"]\n";
        let route = "name = \"hot\"\nsource = \"DeviceMessages\"\nendpointNames = [\"events\"]\n";
        let config = load(&format!("{hub}[[hubs.routing.routes]]\n{route}")).unwrap();
        assert_eq!(config.hubs[0].routing.as_ref().map(|routing| routing.routes.len()), Some(1));
        assert!(config.hub.routing.is_none());
        for (text, expected) in [
            (format!("[[hub.routing.routes]]\n{route}conditon = \"true\"\n"), "conditon"),
            ("[hub.routing]\nroute = []\n".to_owned(), "route"),
            ("[hub.routing.endpoints]\nwebhook = []\n".to_owned(), "webhook"),
            (format!("{hub}ruoting = {{}}\n"), "unknown key `hubs.ruoting`"),
        ] {
            let error = format!("{:#}", load(&text).expect_err(&text));
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn the_first_rule_that_covers_an_address_decides() {
        #[derive(Deserialize)]
        struct Rules {
            rules: Vec<IpRule>,
        }
        let text = r#"rules = [
            { action = "reject", mask = "10.1.2.3/32" }, { action = "accept", mask = "10.1.0.0/16" },
            { action = "accept", mask = "::1/128" }, { action = "reject", mask = "0.0.0.0/0" }]"#;
        let Rules { rules } = toml::from_str(text).unwrap();
        for (address, expected) in [
            ("10.1.2.3", false),
            ("10.1.2.4", true),
            ("::ffff:10.1.2.4", true),
            ("10.2.0.1", false),
            ("::ffff:10.2.0.1", false),
            ("::1", true),
            ("fd00::1", true),
        ] {
            assert_eq!(admits(&rules, address.parse().unwrap()), expected, "{address}");
        }
        assert!(admits(&[], "10.2.0.1".parse().unwrap()));
        assert!(toml::from_str::<Rules>(r#"rules = [{ action = "accept", mask = "10.1.0.0/99" }]"#).is_err());
    }
}
