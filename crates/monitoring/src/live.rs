//! What changes, for pages that are open.

use std::sync::Arc;

use tokio::sync::broadcast;

/// Events a slow page may fall behind before it is told to load again.
const CAPACITY: usize = 4_096;

/// One change.
#[derive(Clone, Debug)]
pub struct Live {
    /// Name of the event, as `docs/platform-api.md` lists them.
    pub name: &'static str,
    /// The device it is about.
    pub device: Option<Arc<str>>,
    /// JSON.
    pub data: Arc<str>,
}

/// Where changes are published. Nothing is made when nobody listens.
#[derive(Clone, Debug)]
pub struct Channel(broadcast::Sender<Live>);

impl Default for Channel {
    fn default() -> Self {
        Self(broadcast::channel(CAPACITY).0)
    }
}

impl Channel {
    /// Publishes what `make` makes, if anybody listens.
    pub fn publish(&self, make: impl FnOnce() -> Live) {
        if self.0.receiver_count() > 0 {
            let _ = self.0.send(make());
        }
    }

    /// Listens from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Live> {
        self.0.subscribe()
    }
}
