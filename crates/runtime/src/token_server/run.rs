//! `gantry token-server`: the process of its own.

use std::sync::Arc;

use anyhow::Context as _;
use axum::http::header;
use gantry_api::tokens::{self, Role, Tokens};
use gantry_api::{Routes, process};
use gantry_tokens::ports::{PolicyKey, Signing};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tracing::{error, info, warn};

use super::audit::{AuditLog, Reporter};
use super::build;
use super::config::{HubKey, StandaloneConfig};
use crate::config::Sources;
use crate::first_start::{self, Certificates};
use crate::https::Https;
use crate::listen::{self, Bounds};
use crate::recorder;

/// Peers that have not proven who they are.
const NEWCOMERS_MAX: usize = 4096;
/// Policies of a hub that can do more than connect devices.
const TOO_MIGHTY: [&str; 4] = ["iothubowner", "service", "registryRead", "registryReadWrite"];

/// Serves until SIGTERM or SIGINT; SIGHUP reads the configuration again.
///
/// # Errors
/// When it cannot start; says what is in the way.
pub async fn run(sources: &Sources, json: bool) -> anyhow::Result<()> {
    let config = StandaloneConfig::load(sources)?;
    let tokens = Tokens::new(role(&config)?);
    let certificates = certificates(&config)?;
    let metrics = recorder::installed()?;
    let listeners = listen::bind(&config.bind, config.port);
    let listeners = listeners.with_context(|| format!("listening on port {}", config.port))?;
    let tls = gantry_gateway::tls::server_config(certificates.chain, certificates.key, &[b"h2", b"http/1.1"])?;
    let bounds = Bounds::new(Arc::new([]), config.connections_max, NEWCOMERS_MAX);
    let service = Https::of(routes(tokens.clone(), metrics));
    let port = listeners.first().and_then(|listener| listener.local_addr().ok()).map_or(config.port, |at| at.port());
    let mut tasks = JoinSet::new();
    for listener in listeners {
        tasks.spawn(listen::accept(listener, Arc::clone(&tls), bounds.clone(), service.clone()));
    }
    announce(&config, port, json);
    serve_signals(sources, &tokens).await?;
    info!("stopping");
    tasks.shutdown().await;
    bounds.drain().await;
    Ok(())
}

fn routes(tokens: Tokens, metrics: PrometheusHandle) -> Routes {
    let render = move || async move {
        metrics.run_upkeep();
        ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], metrics.render())
    };
    tokens::routes(tokens)
        .on(process::health(), || async { "ok\n" })
        .on(process::ready(), || async { "ready\n" })
        .on(process::metrics(), render)
}

/// What the configuration says, with everything it names read.
fn role(config: &StandaloneConfig) -> anyhow::Result<Role> {
    let HubKey { host_names, policy, key } = config.hub.current()?;
    if TOO_MIGHTY.iter().any(|name| policy.eq_ignore_ascii_case(name)) {
        warn!(policy, "this policy can do more than connect devices; give the token server one that cannot");
    }
    let audit = AuditLog::open(&config.token_server.audit_log, Reporter::None)?;
    let signing = Arc::new(FixedKey(PolicyKey { policy, key }));
    build(&config.token_server, host_names, signing, audit).context("[token_server]")
}

/// The key of a connection string; another one comes with another [`Role`].
struct FixedKey(PolicyKey);

impl Signing for FixedKey {
    fn current(&self) -> Option<PolicyKey> {
        Some(self.0.clone())
    }
}

fn certificates(config: &StandaloneConfig) -> anyhow::Result<Certificates> {
    let tls = &config.tls;
    if !tls.certificate_file.as_os_str().is_empty() {
        return Certificates::read(&tls.certificate_file, &tls.key_file);
    }
    first_start::open_folder(&config.data_folder)?;
    first_start::certificates(&config.data_folder, "the token server", &config.host_names)
}

async fn serve_signals(sources: &Sources, tokens: &Tokens) -> anyhow::Result<()> {
    let mut hangup = signal(SignalKind::hangup())?;
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    loop {
        tokio::select! {
            _ = hangup.recv() => {}
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
        }
        match StandaloneConfig::load(sources).and_then(|config| role(&config)) {
            Ok(role) => {
                tokens.replace(role);
                info!("configuration read again");
            }
            Err(error) => error!(error = %format!("{error:#}"), "configuration not taken; going on as before"),
        }
    }
}

fn announce(config: &StandaloneConfig, port: u16, json: bool) {
    let host = config.host_names.first().map_or("localhost", String::as_str);
    let url = format!("https://{host}:{port}{}", tokens::PATH);
    let own_ca = config.tls.certificate_file.as_os_str().is_empty().then(|| config.data_folder.join("tls/ca.pem"));
    if json {
        println!("{}", serde_json::json!({ "version": env!("CARGO_PKG_VERSION"), "url": url, "caFile": own_ca }));
        return;
    }
    println!("gantry token server {} is ready", env!("CARGO_PKG_VERSION"));
    println!("  tokens    {url}?sr=HOST/devices/ID");
    if let Some(ca) = own_ca {
        println!("  CA        {}", ca.display());
    }
}
