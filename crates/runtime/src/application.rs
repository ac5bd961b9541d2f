//! The application of a hub: what it keeps, its token for programs, and what it needs of the hub and the tables.

use std::sync::Arc;

use anyhow::Context as _;
use gantry_analytics::{Ask, By, Cancel, Limits, Warehouse};
use gantry_api::{Api, Files, UploadTarget};
use gantry_blobs::ContainerName;
use gantry_central::access::roles::ADMINISTRATOR;
use gantry_central::access::tokens::{NewToken, PresentedToken};
use gantry_central::access::users::RoleAssignment;
use gantry_central::devices::{Profile, TAG};
use gantry_central::file_uploads::FileUploads as Where;
use gantry_central::ids::{DeploymentManifestId, DeviceTemplateId, OrganizationId, RoleId, TokenId};
use gantry_central::ports::Devices;
use gantry_central::{Central, CentralError, Write};
use gantry_central_api::{Application, Exporting, Rows, Tables, Transforms, Uploads as _};
use gantry_hub::device::IfMatch;
use gantry_hub::file_uploads::FileUploads;
use gantry_hub::ports::{Constraint, Documents, Observer, PortFuture, Record, Search, Step, Store, StoreError, Test};
use gantry_identity::{Identity, Timestamp};
use gantry_kql::value::Value as Kusto;
use gantry_monitoring::Monitoring;
use gantry_storage::Database;
use rand::RngCore as _;
use serde_json::Value;
use tokio::sync::{Notify, mpsc};
use tracing::{debug, warn};

use crate::exports::Exports;
use crate::first_start::ApplicationSecrets;
use crate::model_repository::Models;

/// The API token that `connection.env` has.
const TOKEN: &str = "connection-env";
/// When it ends (2100-01-01).
const TOKEN_END: Timestamp = Timestamp::from_millis(4_102_444_800_000);
/// Devices whose announced models wait to be looked at; a device that finds no room is looked at when it comes again.
const ANNOUNCED_MAX: usize = 100_000;
/// Records asked of the store at once.
const LOOKED_AT_ONCE: usize = 100;
/// How long a question of the application may take.
const SECONDS_MAX: u64 = 10;

/// What the hub tells of its devices: to monitoring, and to the application, which looks for the template of a model.
pub struct Observers {
    monitoring: Arc<Monitoring>,
    announced: mpsc::Sender<Identity>,
}

impl Observers {
    /// With the devices that announce models.
    pub fn new(monitoring: Arc<Monitoring>) -> (Self, mpsc::Receiver<Identity>) {
        let (announced, models) = mpsc::channel(ANNOUNCED_MAX);
        (Self { monitoring, announced }, models)
    }
}

impl Observer for Observers {
    fn connection(&self, identity: &Identity, is_connected: bool) {
        self.monitoring.connection(identity, is_connected);
    }

    fn model(&self, identity: &Identity, _: &str) {
        if self.announced.try_send(identity.clone()).is_err() {
            debug!(%identity, "no room to look for the template of its model; it is looked for when it comes again");
        }
    }
}

/// Gives devices that announce a model the template of it, until the hub is gone.
/// Before, a template is made of a model that has none and that somebody has.
pub async fn adopt(application: Arc<Application>, repository: Arc<Models>, mut models: mpsc::Receiver<Identity>) {
    while let Some(identity) = models.recv().await {
        let made = repository.ensure_template(&application, &identity).await;
        let adopted = match made {
            Ok(()) => gantry_central_api::adopt(&application, &identity).await,
            Err(error) => Err(error),
        };
        if let Err(error) = adopted {
            warn!(%identity, %error, "it is not given the template of its model yet");
        }
    }
}

/// What an application keeps, with the text of its token for programs; empty when that was deleted.
///
/// # Errors
/// When it cannot be read or written.
pub async fn open(database: &Arc<Database>, secrets: &ApplicationSecrets) -> anyhow::Result<(Arc<Central>, String)> {
    let documents: Arc<dyn Documents> = Arc::<Database>::clone(database);
    let devices = Arc::new(OfHub(Arc::<Database>::clone(database)));
    let central = Arc::new(Central::load(documents, devices).await.context("reading the application")?);
    let id = TokenId::parse(TOKEN)?;
    let by = vec![RoleAssignment { role: RoleId::parse(ADMINISTRATOR)?, organization: None }];
    let new = NewToken { roles: by.clone(), expiry: Some(TOKEN_END), secret: secrets.token };
    let now = gantry_gateway::now();
    let (_, text) = new.clone().issue(now, &secrets.id, &id)?;
    // Made with the first start and never again: whoever deletes it wants it gone.
    if secrets.is_new {
        let write = Write { now, drawn: rand::rng().next_u64(), if_match: &IfMatch::Absent };
        match central.create_token(write, &secrets.id, &id, new, &by).await {
            Ok(_) | Err(CentralError::Token(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let state = central.state();
    let presented = PresentedToken::parse(&text)?;
    let is_good = presented.verify(state.tokens.get(&id).map(|kept| &kept.value), &secrets.id, now).is_ok();
    Ok((central, if is_good { text } else { String::new() }))
}

/// The application as its API needs it.
pub fn of(
    secrets: &ApplicationSecrets,
    central: Arc<Central>,
    api: Arc<Api>,
    warehouse: Arc<Warehouse>,
    exports: &Exports,
    uploads: Arc<Uploads>,
) -> Application {
    let transforms = Arc::new(OfTransforms(Arc::clone(&exports.transforms)));
    Application {
        id: secrets.id.clone(),
        central,
        api,
        tables: Arc::new(OfTables(warehouse)),
        exporting: Exporting { health: Arc::clone(&exports.health), transforms },
        uploads,
        work: Notify::new(),
    }
}

struct OfTransforms(Arc<gantry_transforms::Transforms>);

impl Transforms for OfTransforms {
    fn check<'a>(&'a self, program: &'a str) -> PortFuture<'a, (), String> {
        Box::pin(async move { self.0.check(program).await.map_err(|failure| failure.to_string()) })
    }
}

/// Where devices upload files: where the application says, else where the configuration does.
pub struct Uploads {
    files: Arc<Files>,
    configured: Option<Arc<UploadTarget>>,
}

impl Uploads {
    /// With what the application says now. What it says and cannot be used counts as not said, and is told of.
    pub fn new(uploads: FileUploads, configured: Option<Arc<UploadTarget>>, central: &Central) -> Self {
        let all = Self { files: Arc::new(Files::new(uploads, configured.clone())), configured };
        if let Some(kept) = central.state().file_uploads()
            && let Err(error) = all.apply(Some(&kept.value))
        {
            warn!(error, "the application's storage for file uploads cannot be used");
        }
        all
    }

    /// As the HTTP side has it.
    pub fn files(&self) -> Arc<Files> {
        Arc::clone(&self.files)
    }

    fn target(of: &Where) -> Result<UploadTarget, String> {
        let container = ContainerName::parse(&of.container).map_err(|error| format!("`container`: {error}"))?;
        let text = String::from(of.connection_string.clone());
        let target = crate::blobs::elsewhere(&text, &container, of.lasts());
        target.map_err(|error| format!("`connectionString`: {error:#}"))
    }
}

impl gantry_central_api::Uploads for Uploads {
    fn check(&self, of: &Where) -> Result<(), String> {
        Self::target(of).map(drop)
    }

    fn apply(&self, of: Option<&Where>) -> Result<(), String> {
        let target = of.map(Self::target).transpose()?.map(Arc::new);
        self.files.redirect(target.or_else(|| self.configured.clone()));
        Ok(())
    }
}

/// Devices of the hub, for what the application asks before it lets something go.
struct OfHub(Arc<Database>);

impl OfHub {
    async fn any(&self, name: &str, value: &str, is_it: impl Fn(&Profile) -> bool) -> Result<bool, StoreError> {
        let path = ["tags", TAG, name].map(|name| Step::Name(name.to_owned())).to_vec();
        let constraints = vec![Constraint { path, test: Test::OneOf(vec![value.into()]) }];
        let mut after = None;
        loop {
            let search = Search { modules: false, constraints: constraints.clone() };
            let found = self.0.find(search, after, LOOKED_AT_ONCE).await?;
            if found.iter().any(|record| is_it(&Profile::of(&record.twin.tags))) {
                return Ok(true);
            }
            if found.len() < LOOKED_AT_ONCE {
                return Ok(false);
            }
            after = found.last().map(|record: &Record| record.device.identity.clone());
        }
    }
}

impl Devices for OfHub {
    fn any_of_template<'a>(&'a self, id: &'a DeviceTemplateId) -> PortFuture<'a, bool, StoreError> {
        Box::pin(self.any("template", id.as_str(), |profile| profile.template.as_ref() == Some(id)))
    }

    fn any_with_manifest<'a>(&'a self, id: &'a DeploymentManifestId) -> PortFuture<'a, bool, StoreError> {
        Box::pin(self.any("manifest", id.as_str(), |profile| profile.manifest.as_ref() == Some(id)))
    }

    fn any_in_organization<'a>(&'a self, id: &'a OrganizationId) -> PortFuture<'a, bool, StoreError> {
        Box::pin(self.any("organization", id.as_str(), |profile| profile.organization.as_ref() == Some(id)))
    }
}

/// The tables, asked for the application.
struct OfTables(Arc<Warehouse>);

impl Tables for OfTables {
    fn ask(&self, text: String, parameters: Vec<(String, String)>) -> PortFuture<'_, Rows, String> {
        let warehouse = Arc::clone(&self.0);
        let ask = move || ask(&warehouse, &text, &parameters);
        Box::pin(async move { tokio::task::spawn_blocking(ask).await.map_err(|error| error.to_string())? })
    }
}

fn ask(warehouse: &Warehouse, text: &str, parameters: &[(String, String)]) -> Result<Rows, String> {
    let ask = Ask {
        database: None,
        text,
        parameters,
        now: crate::tables::ticks_of(gantry_gateway::now()),
        limits: &|_| Limits { seconds_max: SECONDS_MAX, ..Limits::default() },
        rows_wanted: None,
        cancel: Cancel::default(),
        by: By { principal: "application".into(), application: "gantry".into(), ..By::default() },
    };
    let tables = warehouse.query(&ask).map_err(|rejected| rejected.to_string())?;
    let table = tables.first().ok_or("the query has no result")?;
    if let Some(failure) = &table.failure {
        return Err(failure.to_string());
    }
    let chunks = table.chunks.iter();
    let rows = chunks.flat_map(|chunk| {
        (0..chunk.rows).map(|row| chunk.columns.iter().map(|column| json(&column.value(row))).collect())
    });
    Ok(rows.collect())
}

/// A value as bodies have it.
fn json(value: &Kusto) -> Value {
    match value {
        Kusto::Null => Value::Null,
        Kusto::Bool(flag) => (*flag).into(),
        Kusto::Int(number) => (*number).into(),
        Kusto::Long(number) => (*number).into(),
        Kusto::Real(number) => (*number).into(),
        Kusto::DateTime(at) => crate::tables::timestamp_of(at.0).to_string().into(),
        Kusto::Dynamic(value) => serde_json::from_str(&value.to_json()).unwrap_or_default(),
        other => other.to_string().into(),
    }
}
