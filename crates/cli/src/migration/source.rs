//! Where things come from and where they go: a service, a folder, this platform; each with how it is proved who asks.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use indicatif::ProgressBar;

use super::central::Details;
use super::endpoint::{Endpoint, Trust};
use super::plan::Inventory;
use super::{Of, folder};
use crate::client::{Connection, Credentials};

#[derive(Args)]
pub(crate) struct CentralSource {
    /// Address of the application, such as https://app.azureiotcentral.com, or folder with one that was exported.
    #[arg(long)]
    from: Option<String>,
    /// API token of the application; other users of this machine see arguments, and do not see the variable.
    #[arg(long, env = "GANTRY_IMPORT_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// File with the API token; goes before the variable.
    #[arg(long)]
    token_file: Option<PathBuf>,
    /// Certificate authority of the application (PEM), beside those the system trusts.
    #[arg(long)]
    ca: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct HubSource {
    /// Connection string of a policy with the rights RegistryRead and ServiceConnect, or folder with what was exported.
    /// Other users of this machine see arguments, and do not see `GANTRY_IMPORT_FROM`, which `import` reads.
    #[arg(long)]
    from: Option<String>,
    /// File with the connection string.
    #[arg(long, conflicts_with = "from")]
    from_file: Option<PathBuf>,
    /// Certificate authority of the hub (PEM), beside those the system trusts.
    #[arg(long)]
    ca: Option<PathBuf>,
}

/// Where things come from.
pub(super) enum Source {
    Live(Endpoint),
    Folder(PathBuf),
}

impl Source {
    /// What it is called in reports.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Live(endpoint) => endpoint.name().to_owned(),
            Self::Folder(path) => path.display().to_string(),
        }
    }

    pub(super) async fn read(&self, of: Of, at_once: usize, progress: &ProgressBar) -> anyhow::Result<Inventory> {
        match self {
            Self::Live(endpoint) => of.read(endpoint, at_once, Details::All, progress).await,
            Self::Folder(path) => folder::read(path, of.word(), of.kinds()),
        }
    }
}

fn is_folder(from: &str) -> anyhow::Result<Option<PathBuf>> {
    let path = Path::new(from);
    if !path.is_dir() {
        return Ok(None);
    }
    Ok(Some(path.canonicalize().with_context(|| format!("finding {from}"))?))
}

fn secret_of(file: &Path) -> anyhow::Result<String> {
    Ok(std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?.trim().to_owned())
}

impl CentralSource {
    pub(super) fn source(&self) -> anyhow::Result<Option<Source>> {
        let Some(from) = &self.from else { return Ok(None) };
        if let Some(folder) = is_folder(from)? {
            return Ok(Some(Source::Folder(folder)));
        }
        ensure!(from.contains("://"), "--from is an address that begins with https://, or a folder: {from} is neither");
        let token = match (&self.token_file, &self.token) {
            (Some(file), _) => secret_of(file)?,
            (None, Some(token)) => token.clone(),
            (None, None) => bail!("give --token-file, GANTRY_IMPORT_TOKEN or --token: an API token of {from}"),
        };
        Ok(Some(Source::Live(Endpoint::central(from, token, &Trust::system_and(self.ca.as_deref())?)?)))
    }
}

impl HubSource {
    /// `variable` is what the environment says, which counts when no argument does.
    pub(super) fn source(&self, variable: Option<String>) -> anyhow::Result<Option<Source>> {
        let from = match (&self.from, &self.from_file, variable) {
            (Some(from), ..) => from.clone(),
            (None, Some(file), _) => secret_of(file)?,
            (None, None, Some(variable)) => variable,
            (None, None, None) => return Ok(None),
        };
        if let Some(folder) = is_folder(&from)? {
            return Ok(Some(Source::Folder(folder)));
        }
        // What it is otherwise may hold a key and is not said.
        ensure!(from.contains("HostName="), "--from is neither a connection string nor a folder");
        let credentials = Credentials::parse("the connection string", &from)?;
        Ok(Some(Source::Live(Endpoint::hub(None, credentials, &Trust::system_and(self.ca.as_deref())?)?)))
    }
}

/// How this platform is reached: by the `connection.env` of a folder, or of the environment if no folder was named.
pub(crate) struct Here<'a> {
    /// The data folder.
    pub(crate) folder: &'a Path,
    /// Whether somebody named it.
    pub(crate) is_named: bool,
}

impl Here<'_> {
    pub(super) fn endpoint(&self, of: Of) -> anyhow::Result<Endpoint> {
        let connection = match Connection::of_environment().filter(|_| !self.is_named) {
            Some(connection) => connection,
            None => Connection::read(self.folder)?,
        };
        let trust = match connection.get("GANTRY_CA_FILE") {
            Ok(_) => Trust::Only(connection.ca()?),
            Err(_) => Trust::System(None),
        };
        match of {
            Of::Central => {
                let token = connection.get("IOTCENTRAL_API_TOKEN")?.to_owned();
                Endpoint::central(connection.get("IOTCENTRAL_URL")?, token, &trust)
            }
            Of::Hub => {
                let credentials = connection.credentials("IOTHUB_CONNECTION_STRING")?;
                Endpoint::hub(connection.get("GANTRY_URL").ok(), credentials, &trust)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn central(from: &str, token: Option<&str>) -> anyhow::Result<Option<Source>> {
        // As the binary does; another test may have been first.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let token = token.map(str::to_owned);
        CentralSource { from: Some(from.to_owned()), token, token_file: None, ca: None }.source()
    }

    fn hub(from: &str) -> anyhow::Result<Option<Source>> {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        HubSource { from: Some(from.to_owned()), from_file: None, ca: None }.source(None)
    }

    #[test]
    fn a_source_is_a_service_or_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_str().unwrap();
        assert!(matches!(central(path, None).unwrap(), Some(Source::Folder(_))));
        assert!(matches!(hub(path).unwrap(), Some(Source::Folder(_))));
        let live = central("https://app.example.com/", Some("t")).unwrap().unwrap();
        assert_eq!(live.name(), "https://app.example.com");
        let live =
            hub("HostName=h.example.com;SharedAccessKeyName=iothubowner;SharedAccessKey=AAECAwQFBgcICQoLDA0ODw==")
                .unwrap()
                .unwrap();
        assert_eq!(live.name(), "https://h.example.com");
    }

    #[test]
    fn what_is_wrong_with_a_source_is_said_without_its_secret() {
        let said = |result: anyhow::Result<Option<Source>>| format!("{:#}", result.err().unwrap());
        assert!(said(central("nowhere", Some("t"))).contains("neither"));
        assert!(said(central("http://app.example.com", Some("t"))).contains("https://"));
        assert!(said(central("https://app.example.com", None)).contains("GANTRY_IMPORT_TOKEN"));
        for wrong in ["SharedAccessKey=c2VjcmV0", "HostName=h;SharedAccessKey=c2VjcmV0"] {
            assert!(!said(hub(wrong)).contains("c2VjcmV0"), "{}", said(hub(wrong)));
        }
    }
}
