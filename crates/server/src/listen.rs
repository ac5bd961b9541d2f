//! Sockets: both loopback families, TLS, bounds on connections and handshakes.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use gantry_gateway::Peer;
use gantry_identity::CertificateChain;
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::{debug, warn};

use crate::config::{IpRule, admits};

/// Connections the kernel holds before they are accepted.
const BACKLOG: i32 = 4096;
/// How long a TLS handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(15);

/// Bounds all ports share.
#[derive(Clone)]
pub struct Bounds {
    /// Which addresses may connect.
    pub ip_filter: Arc<[IpRule]>,
    /// A permit for each open connection.
    pub connections: Arc<Semaphore>,
    /// A permit for each handshake under way.
    pub handshakes: Arc<Semaphore>,
}

/// Binds a port on every address. Addresses of a family the machine lacks are skipped with a warning.
///
/// # Errors
/// When no address can be bound, or a port is taken.
pub fn bind(addresses: &[IpAddr], port: u16) -> io::Result<Vec<TcpListener>> {
    let mut listeners = vec![];
    for address in addresses {
        match bind_one(SocketAddr::new(*address, port)) {
            Ok(listener) => listeners.push(listener),
            Err(error)
                if matches!(error.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::Unsupported)
                    || error.raw_os_error() == Some(97) =>
            {
                warn!(%address, port, %error, "address is not there, not listening on it");
            }
            Err(error) => return Err(error),
        }
    }
    if listeners.is_empty() {
        return Err(io::Error::new(io::ErrorKind::AddrNotAvailable, "no address could be bound"));
    }
    Ok(listeners)
}

fn bind_one(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// A connection after its handshake; boxed, because futures that pass it on would each keep room for it.
pub type Stream = Box<TlsStream<TcpStream>>;

/// A service on one port: gets each connection after its handshake.
pub trait Serve: Clone + Send + Sync + 'static {
    /// Serves one connection until it ends.
    fn serve(self, stream: Stream, peer: Peer) -> impl Future<Output = ()> + Send;
}

/// Accepts connections until the task is aborted.
pub async fn accept(listener: TcpListener, acceptor: TlsAcceptor, bounds: Bounds, service: impl Serve) {
    loop {
        let Ok(permit) = Arc::clone(&bounds.connections).acquire_owned().await else { return };
        let (socket, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely: wait for some to be closed.
                warn!(%error, "connection not accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        if !admits(&bounds.ip_filter, address.ip()) {
            debug!(peer = %address, "connection refused by the address filter");
            metrics::counter!("gantry_connections_filtered").increment(1);
            continue;
        }
        let (acceptor, handshakes, service) = (acceptor.clone(), Arc::clone(&bounds.handshakes), service.clone());
        tokio::spawn(async move {
            match handshake(&acceptor, &handshakes, socket).await {
                Ok(stream) => {
                    let certificate = stream.get_ref().1.peer_certificates().and_then(CertificateChain::new);
                    let peer = Peer { address: address.to_string(), certificate };
                    // A task of its own: what the handshake needed is freed with this one.
                    tokio::spawn(async move {
                        let _permit = permit;
                        service.serve(stream, peer).await;
                    });
                }
                Err(error) => debug!(peer = %address, error = %format!("{error:#}"), "handshake failed"),
            }
        });
    }
}

async fn handshake(acceptor: &TlsAcceptor, handshakes: &Semaphore, socket: TcpStream) -> anyhow::Result<Stream> {
    socket.set_nodelay(true)?;
    // A peer that vanished is noticed even by protocols without a heartbeat.
    let keepalive = TcpKeepalive::new().with_time(Duration::from_secs(120)).with_interval(Duration::from_secs(30));
    socket2::SockRef::from(&socket).set_tcp_keepalive(&keepalive)?;
    let _permit = handshakes.acquire().await?;
    let accepted = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(socket)).await;
    Ok(Box::new(accepted.context("no handshake within 15 s")??))
}
