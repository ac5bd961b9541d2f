//! Where the counters of the process go.

use anyhow::anyhow;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use parking_lot::Mutex;

static RECORDER: Mutex<Option<PrometheusHandle>> = Mutex::new(None);

/// The recorder of the process, installed when first asked for: every platform in it counts in the same.
///
/// # Errors
/// When the process has installed another.
pub fn installed() -> anyhow::Result<PrometheusHandle> {
    let mut recorder = RECORDER.lock();
    if let Some(handle) = &*recorder {
        return Ok(handle.clone());
    }
    let handle = PrometheusBuilder::new().install_recorder().map_err(|error| anyhow!("metrics: {error}"))?;
    Ok(recorder.insert(handle).clone())
}
