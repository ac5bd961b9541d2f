//! Port 5432: the PostgreSQL wire protocol over the tables of each hub.

use std::io;

use gantry_analytics_api::postgres::{Postgres, before_tls};
use gantry_gateway::Peer;
use gantry_gateway::newcomers::Watched;
use tokio::net::TcpStream;
use tracing::debug;

use crate::by_name::ByName;
use crate::listen::{Serve, Stream};

/// The first byte of a TLS handshake: a client may begin with it.
const TLS_HANDSHAKE: u8 = 0x16;

impl Serve for ByName<Postgres> {
    async fn serve(self, stream: Stream, peer: Peer) {
        let Some(postgres) = self.of(stream.server_name()) else { return };
        let Peer { address, place, .. } = peer;
        if let Err(error) = postgres.serve(stream, &address, move || drop(place)).await {
            debug!(peer = %address, %error, "postgres connection broke");
        }
    }

    async fn before_tls(&self, socket: &mut Watched<TcpStream>) -> io::Result<bool> {
        let mut first = [0];
        if socket.get_ref().peek(&mut first).await? == 1 && first[0] == TLS_HANDSHAKE {
            return Ok(true);
        }
        before_tls(socket, |id, key| {
            self.each(|postgres| {
                postgres.cancel(id, key);
            });
        })
        .await
    }
}
