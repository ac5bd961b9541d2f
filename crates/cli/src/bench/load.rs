//! What one connection of the bench sends.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::Context as _;
use tokio::time::Instant;

use crate::mqtt_client::{Incoming, MqttClient};

/// One latency of so many is kept.
const LATENCY_SAMPLE: u64 = 16;

/// What one connection sends.
pub(super) struct Load {
    pub(super) topic: String,
    /// Sent in turn.
    pub(super) bodies: Vec<Vec<u8>>,
    pub(super) window: usize,
    pub(super) until: Instant,
    pub(super) rate: Option<f64>,
    /// Every message in a write of its own.
    pub(super) one_by_one: bool,
}

impl Load {
    /// Sends until the time is up, then waits for the last acknowledgement.
    pub(super) async fn run(self, mut client: MqttClient) -> anyhow::Result<(u64, Vec<Duration>)> {
        let started = Instant::now();
        let (mut sent, mut acked, mut sent_at, mut latencies) = (0_u64, 0_u64, VecDeque::new(), vec![]);
        loop {
            let now = Instant::now();
            let allowed = match self.rate {
                _ if now >= self.until => sent,
                None => u64::MAX,
                Some(rate) => (now.duration_since(started).as_secs_f64() * rate) as u64,
            };
            while sent < allowed && sent_at.len() < self.window {
                client.publish(&self.topic, &self.bodies[sent as usize % self.bodies.len()]);
                sent_at.push_back(now);
                sent += 1;
                if self.one_by_one {
                    client.flush().await?;
                }
            }
            client.flush().await?;
            if sent_at.is_empty() {
                if now >= self.until {
                    client.disconnect().await;
                    return Ok((acked, latencies));
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
                continue;
            }
            let incoming = match self.rate {
                None => client.receive().await?,
                Some(_) => match tokio::time::timeout(Duration::from_millis(1), client.receive()).await {
                    Ok(incoming) => incoming?,
                    Err(_) => continue,
                },
            };
            let now = Instant::now();
            for _ in incoming.iter().filter(|i| matches!(i, Incoming::Acknowledged(_))) {
                let at = sent_at.pop_front().context("acknowledgement of nothing")?;
                if acked.is_multiple_of(LATENCY_SAMPLE) {
                    latencies.push(now.duration_since(at));
                }
                acked += 1;
            }
        }
    }
}
