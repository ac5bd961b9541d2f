//! `gantry serve`: a platform until SIGTERM or SIGINT.

use gantry_runtime::config::Config;
use gantry_runtime::platform::{Platform, Ready};
use tokio::signal::unix::{SignalKind, signal};

/// Runs until told to stop. Says that it is ready on standard output, as JSON when asked.
pub(super) async fn run(config: Config, json: bool) -> anyhow::Result<()> {
    // Nothing this process writes is for other users.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let platform = Platform::start(config).await?;
    announce(platform.ready(), json);
    wait_for_signal().await?;
    platform.stop().await
}

fn announce(ready: &Ready, json: bool) {
    let version = env!("CARGO_PKG_VERSION");
    let (mqtt, amqp) = (ready.ports.mqtt(), ready.ports.amqp());
    if json {
        let ready = serde_json::json!({
            "version": version,
            "url": ready.url,
            "signIn": ready.sign_in_url,
            "hostName": ready.host_name,
            "mqttPort": mqtt,
            "amqpPort": amqp,
            "idScope": ready.id_scope,
            "caFile": ready.ca_file,
            "connectionEnv": ready.connection_env,
        });
        println!("{ready}");
        return;
    }
    println!("gantry {version} is ready");
    println!("  page      {}", ready.url);
    println!("  sign in   {}", ready.sign_in_url);
    println!("  hub       {} (MQTT {mqtt}, AMQP {amqp})", ready.host_name);
    println!("  id scope  {}", ready.id_scope);
    println!("  CA        {}", ready.ca_file.display());
    println!("  secrets   source {}", ready.connection_env.display());
}

async fn wait_for_signal() -> anyhow::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
