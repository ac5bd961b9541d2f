//! Several hubs behind one port: which of them a client means.
//!
//! AMQP clients say it in the TLS handshake (server name indication), HTTP clients in each request. One that connects
//! to an address says nothing and means the hub with that address among its names, or else the first.

use std::sync::Arc;

use gantry_gateway::Peer;

use crate::amqp::Amqp;
use crate::https::Https;
use crate::listen::{Serve, Stream};

/// What belongs to each hub, by the names of the hub.
#[derive(Clone)]
pub struct ByName<T> {
    all: Arc<Vec<(Vec<String>, T)>>,
}

impl<T> Default for ByName<T> {
    fn default() -> Self {
        Self { all: Arc::default() }
    }
}

impl<T: Clone> ByName<T> {
    /// Adds a hub's; the first one is for those who name none.
    pub fn add(&mut self, names: &[String], one: T) {
        Arc::make_mut(&mut self.all).push((names.to_vec(), one));
    }

    /// Calls for each.
    pub fn each(&self, f: impl FnMut(&T)) {
        self.all.iter().map(|(_, one)| one).for_each(f);
    }

    /// That of a name.
    pub fn of(&self, name: Option<&str>) -> Option<T> {
        let has = |names: &[String]| name.is_some_and(|name| names.iter().any(|one| one.eq_ignore_ascii_case(name)));
        let found = self.all.iter().find(|(names, _)| has(names)).or(self.all.first());
        found.map(|(_, one)| one.clone())
    }
}

impl Serve for ByName<Amqp> {
    async fn serve(self, stream: Stream, peer: Peer) {
        let address =
            || stream.get_ref().get_ref().local_addr().ok().map(|address| address.ip().to_canonical().to_string());
        let name = stream.server_name().map(str::to_owned).or_else(address);
        if let Some(amqp) = self.of(name.as_deref()) {
            amqp.connection(stream, peer).await;
        }
    }
}

impl Serve for ByName<Https> {
    async fn serve(self, stream: Stream, peer: Peer) {
        crate::https::serve(stream, peer, move |name| self.of(name)).await;
    }
}
