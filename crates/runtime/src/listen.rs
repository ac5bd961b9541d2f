//! Sockets: both loopback families, TLS, bounds on connections and newcomers.
//!
//! A handshake waits for its peer in a place among the newcomers, and for us in a queue for one of few slots, which it
//! holds only while keys are worked with: peers that begin a handshake and go no further hold up nobody.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use gantry_gateway::Peer;
use gantry_gateway::newcomers::{Newcomer, Newcomers, Places, Watched};
use gantry_identity::CertificateChain;
use rustls::ServerConfig;
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tracing::{debug, info, warn};

use crate::config::{IpRule, admits};
use crate::tls_stream::{Hello, TlsStream};

/// Connections the kernel holds before they are accepted.
const BACKLOG: i32 = 4096;
/// How long connections may take to end at shutdown.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a TLS handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a peer keeps its place for sure before it has said hello, which it sends together with its last packet of
/// the TCP handshake.
const HELLO_PATIENCE: Duration = Duration::from_millis(500);
/// How long a peer keeps its place for sure while an answer of its own is due: a slow line's way there and back.
pub const ANSWER_PATIENCE: Duration = Duration::from_secs(3);
/// Files the process needs beside its connections: logs, databases, blobs, connections of its own.
const FILES_OF_OUR_OWN: usize = 512;

/// Bounds all ports share.
#[derive(Clone)]
pub struct Bounds {
    /// Which addresses may connect.
    pub ip_filter: Arc<[IpRule]>,
    /// A permit for each open connection.
    pub connections: Arc<Semaphore>,
    /// How many of them there are.
    connections_max: usize,
    /// Peers that have not proven who they are.
    newcomers: Arc<Newcomers>,
    /// A permit for each handshake whose keys are worked with.
    handshakes: Arc<Semaphore>,
}

impl Bounds {
    /// So many connections, as far as the system lets us have them, and so many newcomers among them, half of them from
    /// one address.
    pub fn new(ip_filter: Arc<[IpRule]>, connections_max: usize, newcomers_max: usize) -> Self {
        let files = usize::try_from(raise_file_limit()).unwrap_or(usize::MAX);
        let room = files.saturating_sub(FILES_OF_OUR_OWN).max(1);
        if room < connections_max {
            info!(connections_max, files, "the system's limit of open files lets in fewer connections");
        }
        let connections_max = connections_max.min(room);
        let total = newcomers_max.min(connections_max.div_ceil(2)).max(1);
        Self {
            ip_filter,
            connections: Arc::new(Semaphore::new(connections_max)),
            connections_max,
            newcomers: Newcomers::new(Places { total, per_address: total.div_ceil(2) }),
            handshakes: Arc::new(Semaphore::new(
                std::thread::available_parallelism().map_or(2, |cores| cores.get() * 2),
            )),
        }
    }

    /// Waits until every connection has ended, but not for ever.
    pub async fn drain(&self) {
        let all = u32::try_from(self.connections_max).unwrap_or(u32::MAX);
        let _ = tokio::time::timeout(DRAIN_TIMEOUT, self.connections.acquire_many(all)).await;
    }
}

/// A connection is a file: takes as many as the system allows. Says how many.
fn raise_file_limit() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    match setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }) {
        Ok(()) => limit.maximum.unwrap_or(u64::MAX),
        Err(error) => {
            warn!(%error, "limit of open files not raised");
            limit.current.unwrap_or(u64::MAX)
        }
    }
}

/// Binds a port on every address; with port 0 one that is free, the same on all of them. Addresses of a family the machine lacks are skipped with a warning.
///
/// # Errors
/// When no address can be bound, or a port is taken.
pub fn bind(addresses: &[IpAddr], mut port: u16) -> io::Result<Vec<TcpListener>> {
    let mut listeners = vec![];
    for address in addresses {
        match bind_one(SocketAddr::new(*address, port)) {
            Ok(listener) => {
                port = listener.local_addr()?.port();
                listeners.push(listener);
            }
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
pub type Stream = Box<TlsStream<Watched<TcpStream>>>;

/// A service on one port: gets each connection after its handshake.
pub trait Serve: Clone + Send + Sync + 'static {
    /// Serves one connection until it ends.
    fn serve(self, stream: Stream, peer: Peer) -> impl Future<Output = ()> + Send;

    /// What the protocol says before the TLS handshake; whether one follows.
    fn before_tls(&self, socket: &mut Watched<TcpStream>) -> impl Future<Output = io::Result<bool>> + Send {
        let _ = socket;
        async { Ok(true) }
    }
}

/// Accepts connections until the task is aborted.
pub async fn accept(listener: TcpListener, tls: Arc<ServerConfig>, bounds: Bounds, service: impl Serve) {
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
        let place = bounds.newcomers.enter(address.ip(), HELLO_PATIENCE).await;
        let (tls, handshakes, service) = (Arc::clone(&tls), Arc::clone(&bounds.handshakes), service.clone());
        tokio::spawn(async move {
            let shaken =
                tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake(tls, &handshakes, socket, &place, &service)).await;
            match shaken.context("no handshake within 15 s").flatten() {
                Ok(stream) => {
                    let certificate = stream.peer_certificates().and_then(CertificateChain::new);
                    let peer = Peer { address: address.to_string(), certificate, place: Some(place) };
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

async fn handshake(
    tls: Arc<ServerConfig>,
    slots: &Semaphore,
    socket: TcpStream,
    place: &Newcomer,
    service: &impl Serve,
) -> anyhow::Result<Stream> {
    socket.set_nodelay(true)?;
    // A peer that vanished is noticed even by protocols without a heartbeat.
    let keepalive = TcpKeepalive::new().with_time(Duration::from_secs(120)).with_interval(Duration::from_secs(30));
    socket2::SockRef::from(&socket).set_tcp_keepalive(&keepalive)?;
    let mut socket = Watched::new(socket, place.clone());
    anyhow::ensure!(service.before_tls(&mut socket).await?, "no handshake follows");
    let hello = Hello::read(socket).await?;
    place.waits_for_us();
    let slot = slots.acquire().await?;
    let mut stream = Box::new(hello.answer(tls)?);
    drop(slot);
    // Now the peer has the word.
    place.has_turn(ANSWER_PATIENCE);
    stream.finish().await?;
    place.has_turn(ANSWER_PATIENCE);
    // We have nothing to say now, so the kernel would keep the acknowledgement of the peer's last packet for 40 ms, and a
    // peer with Nagle's algorithm (Python's MQTT and AMQP clients) its first one for as long.
    let _ = socket2::SockRef::from(stream.get_ref().get_ref()).set_tcp_quickack(true);
    Ok(stream)
}
