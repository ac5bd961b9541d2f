//! Rows of a job as events of the log.

use gantry_hub::Hub;
use gantry_hub::rows::Row;
use tracing::warn;

use super::rows;

/// Rows that are appended together.
const TOGETHER: usize = 500;

/// Where rows come from.
pub(super) struct Rows<'a> {
    pub job: &'a str,
    pub output: &'a str,
    /// The column that names the device.
    pub device: &'a str,
    /// What the ids of the rows begin with: the same when they are offered again.
    pub request: String,
}

impl Rows<'_> {
    /// Appends rows, and waits until they are durable.
    ///
    /// # Errors
    /// When store or log fail.
    pub async fn append(&self, hub: &Hub, lines: &[u8]) -> anyhow::Result<()> {
        let made = rows::records(lines)?.into_iter().enumerate().map(|(number, row)| {
            let device = row.iter().find(|(name, _)| name.eq_ignore_ascii_case(self.device));
            let device = device.and_then(|(_, value)| match value {
                serde_json::Value::String(text) => Some(text.clone()),
                serde_json::Value::Number(number) => Some(number.to_string()),
                _ => None,
            });
            (format!("{}-{}-{number}", self.request, self.output), device, serde_json::Value::Object(row).to_string())
        });
        let made: Vec<_> = made.collect();
        for some in made.chunks(TOGETHER) {
            let rows: Vec<Row<'_>> = some
                .iter()
                .map(|(id, device, body)| Row {
                    job: self.job,
                    output: self.output,
                    id,
                    device: device.as_deref(),
                    body: body.as_bytes(),
                })
                .collect();
            let too_large = hub.append_rows(gantry_gateway::now(), &rows).await?;
            if too_large > 0 {
                warn!(
                    job = self.job,
                    output = self.output,
                    too_large,
                    "rows larger than a message may be were dropped"
                );
                let labels = [("job", self.job.to_owned()), ("why", "too large".to_owned())];
                metrics::counter!("gantry_streaming_dropped_total", &labels).increment(too_large as u64);
            }
        }
        Ok(())
    }
}
