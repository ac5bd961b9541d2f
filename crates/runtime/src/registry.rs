//! What the hub does by itself: records are brought in line with configurations, and jobs are run.

use std::sync::Arc;
use std::time::Duration;

use gantry_api::WallClock;
use gantry_gateway::now;
use gantry_hub::Hub;
use tokio::sync::watch;
use tracing::error;

/// How often every configuration is looked at, beside what is noted (automatic device management).
const MANAGEMENT_PERIOD: Duration = Duration::from_secs(5 * 60);
/// Pause after a failure of the store.
const RETRY_PAUSE: Duration = Duration::from_secs(5);

/// Runs until `stopped` changes.
pub(crate) async fn run(hub: Arc<Hub>, mut stopped: watch::Receiver<bool>) {
    tokio::select! {
        _ = stopped.changed() => {}
        () = manage(&hub) => {}
        () = run_jobs(&hub) => {}
    }
}

async fn run_jobs(hub: &Hub) {
    while let Err(error) = hub.run_jobs(&WallClock).await {
        error!(%error, "jobs interrupted");
        tokio::time::sleep(RETRY_PAUSE).await;
    }
}

async fn manage(hub: &Hub) {
    let mut timer = tokio::time::interval(MANAGEMENT_PERIOD);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = hub.management_wanted() => {}
            _ = timer.tick() => hub.want_management(),
        }
        if let Err(error) = hub.manage(now()).await {
            error!(%error, "records not brought in line with configurations");
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }
}
