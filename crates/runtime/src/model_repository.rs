//! Models of devices: those of the graph, of a folder, and of a repository elsewhere, in this order.
//!
//! A folder and a repository have the layout of the public device models repository. What is served to others is what
//! the graph and the folder have. An address elsewhere is asked for models only, under the address that is configured;
//! redirects are not followed, answers are bounded in size and time, and one that does not answer is left alone for a
//! while. Paths are made of identifiers and never reach the file system as they came.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use futures::TryStreamExt as _;
use gantry_central::devices::Profile;
use gantry_central::templates::{self, DeviceTemplate, TemplateError};
use gantry_central::{CentralError, Write};
use gantry_central_api::Application;
use gantry_dtdl::Dtmi;
use gantry_graph::Graph;
use gantry_graph::limits::MODEL_BYTES_MAX;
use gantry_graph_api::Repository;
use gantry_hub::HubError;
use gantry_hub::device::IfMatch;
use gantry_hub::ports::PortFuture;
use gantry_identity::Identity;
use parking_lot::Mutex;
use rand::RngCore as _;
use serde_json::Value;
use tracing::{info, warn};

use crate::config::ModelsConfig;

/// Bytes of a file with a model and everything it is built on.
const EXPANDED_BYTES_MAX: usize = 8 << 20;
/// Models one model may be built on.
const DEPENDENCIES_MAX: usize = 64;
/// How long an answer of a repository may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How long a repository that failed is not asked.
const PAUSE: Duration = Duration::from_secs(30);
/// How long a model that nobody has is not looked for.
const UNKNOWN_LIFE: Duration = Duration::from_secs(300);
/// Models that nobody has which are remembered; the oldest is forgotten first.
const UNKNOWN_MAX: usize = 1000;

/// That the settings can be used.
///
/// # Errors
/// Names the one that cannot.
pub fn check(config: &ModelsConfig) -> anyhow::Result<()> {
    if config.address.is_empty() {
        return Ok(());
    }
    let url = url::Url::parse(&config.address).context("address")?;
    let is_local = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
    ensure!(url.scheme() == "https" || (url.scheme() == "http" && is_local), "address must begin with https://");
    ensure!(url.username().is_empty() && url.password().is_none(), "address must not hold a password");
    ensure!(url.query().is_none() && url.fragment().is_none(), "address must have no query");
    Ok(())
}

/// Where models come from.
pub struct Models {
    graph: Arc<Graph>,
    folder: Option<PathBuf>,
    elsewhere: Option<Elsewhere>,
    unknown: Mutex<Unknown>,
}

/// Models nobody has, and when they were looked for.
#[derive(Default)]
struct Unknown {
    order: VecDeque<String>,
    at: BTreeMap<String, Instant>,
}

impl Unknown {
    fn has(&self, id: &str) -> bool {
        self.at.get(id).is_some_and(|at| at.elapsed() < UNKNOWN_LIFE)
    }

    fn note(&mut self, id: &str) {
        if self.at.insert(id.to_owned(), Instant::now()).is_none() {
            self.order.push_back(id.to_owned());
        }
        if self.order.len() > UNKNOWN_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.at.remove(&oldest);
        }
    }
}

/// A repository elsewhere.
struct Elsewhere {
    client: reqwest::Client,
    address: String,
    failed_at: Mutex<Option<Instant>>,
}

impl Elsewhere {
    fn new(config: &ModelsConfig) -> anyhow::Result<Option<Self>> {
        if config.address.is_empty() {
            return Ok(None);
        }
        let ca = match config.ca_file.as_os_str().is_empty() {
            true => None,
            false => {
                let path = &config.ca_file;
                Some(std::fs::read(path).with_context(|| format!("reading {}", path.display()))?)
            }
        };
        let client = gantry_endpoints::client(ca.as_deref()).map_err(anyhow::Error::msg)?;
        let address = format!("{}/", config.address.trim_end_matches('/'));
        Ok(Some(Self { client, address, failed_at: Mutex::default() }))
    }

    /// The text of a file; nothing when there is none.
    async fn get(&self, path: &str, bytes_max: usize) -> Result<Option<String>, String> {
        if self.failed_at.lock().is_some_and(|at| at.elapsed() < PAUSE) {
            return Ok(None);
        }
        let answer = tokio::time::timeout(TIMEOUT, self.fetch(path, bytes_max)).await;
        let answer = answer.unwrap_or_else(|_| Err("it does not answer in time".into()));
        *self.failed_at.lock() = answer.is_err().then(Instant::now);
        answer
    }

    async fn fetch(&self, path: &str, bytes_max: usize) -> Result<Option<String>, String> {
        let words = |error: reqwest::Error| error.without_url().to_string();
        let answer = self.client.get(format!("{}{path}", self.address)).send().await.map_err(words)?;
        if answer.status() == reqwest::StatusCode::NOT_FOUND {
            return Ok(None);
        }
        if !answer.status().is_success() {
            return Err(format!("it answers {}", answer.status()));
        }
        let mut bytes = vec![];
        let mut pieces = answer.bytes_stream();
        while let Some(piece) = pieces.try_next().await.map_err(words)? {
            if bytes.len() + piece.len() > bytes_max {
                return Err(format!("its answer has more than {bytes_max} bytes"));
            }
            bytes.extend_from_slice(&piece);
        }
        String::from_utf8(bytes).map(Some).map_err(|_| "its answer is no text".into())
    }
}

/// Whether a path is one that an identifier has: nothing in it leads elsewhere.
fn is_path(path: &str) -> bool {
    let Some(rest) = path.strip_prefix("dtmi/") else { return false };
    let stem = rest.strip_suffix(".expanded.json").or_else(|| rest.strip_suffix(".json"));
    let is_good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte);
    let is_piece = |piece: &str| !piece.is_empty() && piece.bytes().all(is_good);
    path.len() <= 1024 && stem.is_some_and(|stem| stem.split('/').all(is_piece))
}

/// The text of a file of a folder; nothing when there is none.
async fn read(folder: &Path, path: &str) -> Result<Option<String>, String> {
    use tokio::io::AsyncReadExt as _;
    let file = match tokio::fs::File::open(folder.join(path)).await {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    let mut text = String::new();
    let most = EXPANDED_BYTES_MAX as u64;
    file.take(most + 1).read_to_string(&mut text).await.map_err(|error| error.to_string())?;
    if text.len() as u64 > most {
        return Err(format!("`{path}` has more than {most} bytes"));
    }
    Ok(Some(text.strip_prefix('\u{feff}').unwrap_or(&text).to_owned()))
}

impl Models {
    /// From their section.
    ///
    /// # Errors
    /// When a setting cannot be used.
    pub fn new(config: &ModelsConfig, graph: Arc<Graph>) -> anyhow::Result<Self> {
        let folder = (!config.folder.as_os_str().is_empty()).then(|| config.folder.clone());
        Ok(Self { graph, folder, elsewhere: Elsewhere::new(config)?, unknown: Mutex::default() })
    }

    /// What is here.
    async fn here(&self, path: &str) -> Result<Option<String>, String> {
        if !is_path(path) {
            return Ok(None);
        }
        if let Some(text) = self.graph.read().model_file(path) {
            return Ok(Some(text));
        }
        match &self.folder {
            Some(folder) => read(folder, path).await,
            None => Ok(None),
        }
    }

    async fn anywhere(&self, path: &str, bytes_max: usize) -> Result<Option<String>, String> {
        match (self.here(path).await?, &self.elsewhere) {
            (None, Some(elsewhere)) if is_path(path) => elsewhere.get(path, bytes_max).await,
            (found, _) => Ok(found),
        }
    }

    /// The interface of an identifier and everything it is built on; nothing when nobody has it.
    async fn resolve(&self, id: &Dtmi) -> Result<Option<Vec<Value>>, String> {
        let (Some(plain), Some(expanded)) = (id.repository_path(), id.repository_path_expanded()) else {
            return Ok(None);
        };
        let parse = |text: String| serde_json::from_str::<Value>(&text).map_err(|error| error.to_string());
        if let Some(text) = self.anywhere(&expanded, EXPANDED_BYTES_MAX).await? {
            return match parse(text)? {
                Value::Array(all) => Ok(Some(all)),
                _ => Err(format!("`{expanded}` is no array")),
            };
        }
        let Some(text) = self.anywhere(&plain, MODEL_BYTES_MAX).await? else { return Ok(None) };
        let mut all = vec![parse(text)?];
        loop {
            let texts: Vec<String> = all.iter().map(Value::to_string).collect();
            let missing = match gantry_dtdl::Parser::default().parse(&texts) {
                Err(gantry_dtdl::DtdlError::Unresolved(missing)) => missing,
                _ => return Ok(Some(all)),
            };
            if all.len() + missing.len() > DEPENDENCIES_MAX {
                return Err(format!("it is built on more than {DEPENDENCIES_MAX} models"));
            }
            for id in missing {
                let path = id.repository_path().unwrap_or_default();
                match self.anywhere(&path, MODEL_BYTES_MAX).await? {
                    Some(text) => all.push(parse(text)?),
                    None => return Err(format!("`{id}`, which it is built on, is not there")),
                }
            }
        }
    }

    /// Makes a template of the model a device announced, when there is none and somebody has the model (CEN-03).
    ///
    /// # Errors
    /// When records or templates cannot be read or written.
    pub async fn ensure_template(&self, application: &Application, identity: &Identity) -> Result<(), HubError> {
        let record = match application.api.hub.record(identity).await {
            Ok(record) => record,
            Err(HubError::NotFound(_)) => return Ok(()),
            Err(error) => return Err(error),
        };
        let Some(model_id) = record.twin.model_id.as_deref() else { return Ok(()) };
        let state = application.central.state();
        let has_one = Profile::of(&record.twin.tags).template.is_some()
            || identity.module.is_some()
            || templates::for_model(&state.templates, model_id).is_some();
        if has_one || self.unknown.lock().has(model_id) {
            return Ok(());
        }
        let Ok(id) = Dtmi::parse(model_id) else { return Ok(()) };
        match self.make_template(application, &id).await {
            Ok(true) => info!(model = model_id, "a template was made of a model that a device announced"),
            Ok(false) => self.unknown.lock().note(model_id),
            Err(error) => {
                self.unknown.lock().note(model_id);
                warn!(model = model_id, %error, "no template is made of a model that a device announced");
            }
        }
        Ok(())
    }

    async fn make_template(&self, application: &Application, id: &Dtmi) -> Result<bool, String> {
        let Some(all) = self.resolve(id).await? else { return Ok(false) };
        let words = |error: TemplateError| error.to_string();
        let mut nobody = |_: &[Dtmi]| None::<Vec<String>>;
        let (template_id, template) = DeviceTemplate::automatic(id, &Value::Array(all), &mut nobody).map_err(words)?;
        let write = Write { now: gantry_gateway::now(), drawn: rand::rng().next_u64(), if_match: &IfMatch::Absent };
        let written = application.central.put_template(write, &template_id, &template).await;
        written.map(|_| true).map_err(|error: CentralError| error.to_string())
    }
}

impl Repository for Models {
    fn file<'a>(&'a self, path: &'a str) -> PortFuture<'a, Option<String>, String> {
        Box::pin(async move { self.here(&path.to_ascii_lowercase()).await })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_identifiers() {
        for good in ["dtmi/com/example/thermostat-1.json", "dtmi/a-1.expanded.json", "dtmi/a_b/c-2.json"] {
            assert!(is_path(good), "{good}");
        }
        for bad in [
            "dtmi/../secret.json",
            "dtmi//a-1.json",
            "dtmi/a-1.json/..",
            "/dtmi/a-1.json",
            "dtmi/.a-1.json",
            "dtmi/A-1.json",
            "dtmi/a-1.txt",
            "dtmi/a\\b-1.json",
            "dtmi/",
            "",
        ] {
            assert!(!is_path(bad), "{bad}");
        }
        assert!(!is_path(&format!("dtmi/{}-1.json", "a".repeat(1024))));
    }

    fn config(address: &str) -> ModelsConfig {
        let (folder, ca_file) = (PathBuf::new(), PathBuf::new());
        ModelsConfig { folder, address: address.into(), ca_file, serve: false }
    }

    #[test]
    fn addresses_are_safe() {
        for good in ["", "https://models.example.com", "http://127.0.0.1:8080/models/"] {
            assert!(check(&config(good)).is_ok(), "{good}");
        }
        for bad in ["http://models.example.com", "ftp://x", "https://u:p@x/", "https://x/?a=b", "models"] {
            assert!(check(&config(bad)).is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn files_of_a_folder_are_read_within_their_bounds() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("dtmi/x")).unwrap();
        std::fs::write(folder.path().join("dtmi/x/a-1.json"), "\u{feff}{}").unwrap();
        std::fs::write(folder.path().join("dtmi/x/b-1.json"), "x".repeat(EXPANDED_BYTES_MAX + 1)).unwrap();
        assert_eq!(read(folder.path(), "dtmi/x/a-1.json").await.unwrap().as_deref(), Some("{}"));
        assert_eq!(read(folder.path(), "dtmi/x/c-1.json").await.unwrap(), None);
        assert!(read(folder.path(), "dtmi/x/b-1.json").await.is_err());
    }

    #[test]
    fn models_nobody_has_are_forgotten_in_turn() {
        let mut unknown = Unknown::default();
        for number in 0..=UNKNOWN_MAX {
            unknown.note(&format!("m{number}"));
        }
        assert!(!unknown.has("m0") && unknown.has("m1"));
        assert_eq!(unknown.at.len(), UNKNOWN_MAX);
    }
}
