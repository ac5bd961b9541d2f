//! Port 443: REST, the page, WebSockets for MQTT and AMQP, health and metrics.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Router};
use gantry_analytics::Warehouse;
use gantry_analytics_api::kusto::Queues;
use gantry_api::blob::{BlobService, divert};
use gantry_api::tokens::{self, Tokens};
use gantry_api::{Api, OnKnown, PeerAddress, PeerCertificate, Routes, graph, process};
use gantry_gateway::hang_up::Lingering;
use gantry_gateway::newcomers::Newcomer;
use gantry_gateway::{Gateway, Peer};
use hyper::body::{Frame, SizeHint};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use metrics_exporter_prometheus::PrometheusHandle;
use tower::ServiceExt as _;

use crate::amqp::Amqp;
use crate::bridge;
use crate::listen::{ANSWER_PATIENCE, Serve, Stream};
use crate::page;
use crate::prompt::Prompt;
use crate::websocket::{ByteStream, MESSAGE_BYTES_MAX};

/// How long a client may take to send its headers.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// The service on port 443.
#[derive(Clone)]
pub struct Https {
    router: Router,
    /// Names under which the digital-twin graph answers alone.
    graph_names: Arc<[String]>,
}

/// The digital-twin graph's.
pub struct Twins {
    /// Its routes.
    pub routes: Routes,
    /// Names under which it answers alone.
    pub host_names: Arc<[String]>,
}

/// What is asked about the tables, and how data comes into them.
pub struct Tables {
    /// The tables.
    pub warehouse: Arc<Warehouse>,
    /// Queues of ingestion.
    pub queues: Arc<Queues>,
    /// What answers Arrow Flight SQL, when it is on.
    pub flight: Option<Router>,
}

/// Heads beside those of the hub.
pub struct Heads {
    /// The tables'.
    pub tables: Tables,
    /// The application's.
    pub central: Routes,
    /// The control plane's.
    pub management: Routes,
    /// The directory's; none when it is off.
    pub directory: Routes,
    /// The digital-twin graph's.
    pub graph: Twins,
    /// The blob store.
    pub blobs: BlobService,
    /// The token server, when it is on.
    pub tokens: Option<Tokens>,
}

#[derive(Clone)]
struct Shared {
    gateway: Gateway,
    amqp: Amqp,
    metrics: PrometheusHandle,
    warehouse: Arc<Warehouse>,
}

impl Https {
    /// A service of these routes alone.
    pub fn of(routes: Routes) -> Self {
        Self { router: routes.into_router(), graph_names: Arc::default() }
    }

    /// Joins the API with the page, WebSockets, health and metrics.
    pub fn new(api: Arc<Api>, heads: Heads, gateway: Gateway, amqp: Amqp, metrics: PrometheusHandle) -> Self {
        let Heads {
            tables: Tables { warehouse, queues, flight },
            central,
            management,
            directory,
            graph,
            blobs,
            tokens,
        } = heads;
        let shared = Arc::new(Shared { gateway, amqp, metrics, warehouse: Arc::clone(&warehouse) });
        let own = Routes::new()
            .on(process::hub_socket(), upgrade)
            .on(process::stream_socket(), upgrade)
            .on(process::bridge(), bridge_end)
            .on(process::health(), health)
            .on(process::ready(), || async { "ready\n" })
            .on(process::metrics(), render_metrics)
            .with_state(shared);
        let flight = flight.map(|router| Routes::new().on(process::flight(), call).with_state(router));
        let tokens = tokens.map(tokens::routes).unwrap_or_default();
        let tables = gantry_analytics_api::routes(&api, warehouse, Arc::clone(&queues));
        let routes = gantry_api::routes(api)
            .merge(tables)
            .merge(central)
            .merge(management)
            .merge(graph.routes)
            .merge(own)
            .merge(tokens);
        let routes = routes.merge(flight.unwrap_or_default()).merge(directory);
        // Before paths are read: names of blobs are data.
        let layer = from_fn_with_state(blobs, divert);
        let router = routes.otherwise(page::serve).into_router().layer(layer);
        // Queues have addresses within the account of the blobs.
        let router = router.layer(from_fn_with_state(queues, gantry_analytics_api::kusto::divert));
        Self { router, graph_names: graph.host_names }
    }
}

/// A call for a router that reads its own requests.
async fn call(State(router): State<Router>, request: axum::extract::Request) -> Response {
    router.oneshot(request).await.unwrap_or_else(|never| match never {})
}

/// The process runs. What does not work meanwhile has a line of its own, without names: anybody may ask.
async fn health(State(shared): State<Arc<Shared>>) -> &'static str {
    match shared.warehouse.store().cold_place().and_then(|place| place.trouble) {
        Some(_) => "ok\ntables: the cold storage does not do what it is asked; files stay in the data folder\n",
        None => "ok\n",
    }
}

async fn render_metrics(State(shared): State<Arc<Shared>>) -> Response {
    shared.metrics.run_upkeep();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], shared.metrics.render()).into_response()
}

async fn upgrade(
    State(shared): State<Arc<Shared>>,
    Extension(peer): Extension<Peer>,
    upgrade: WebSocketUpgrade,
) -> Response {
    // The C SDK writes `MQTT`; the answer must have the client's spelling.
    let upgrade = upgrade
        .protocols(["mqtt", "MQTT", "AMQPWSB10", "amqpwsb10"])
        .max_message_size(MESSAGE_BYTES_MAX)
        .max_frame_size(MESSAGE_BYTES_MAX);
    let protocol = upgrade.selected_protocol().and_then(|p| p.to_str().ok()).map(str::to_ascii_lowercase);
    match protocol.as_deref() {
        Some("mqtt") => {
            let gateway = shared.gateway.clone();
            upgrade.on_upgrade(move |socket| gantry_gateway::mqtt::serve(ByteStream::new(socket), gateway, peer))
        }
        Some("amqpwsb10") => {
            let amqp = shared.amqp.clone();
            upgrade.on_upgrade(move |socket| amqp.connection(ByteStream::new(socket), peer))
        }
        _ => (StatusCode::BAD_REQUEST, "Sec-WebSocket-Protocol must be mqtt or AMQPWSB10\n").into_response(),
    }
}

async fn bridge_end(
    State(shared): State<Arc<Shared>>,
    Extension(peer): Extension<Peer>,
    Path(id): Path<String>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    bridge::join(&shared.gateway.hub, &peer, &id, &headers, upgrade)
}

/// A path of the graph as everybody else writes it, of a request for a name of the graph's own.
fn of_graph(uri: &Uri) -> Option<Uri> {
    let (path, query) = (uri.path(), uri.query().map(|query| format!("?{query}")).unwrap_or_default());
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(format!("{}{path}{query}", graph::BASE).parse().ok()?);
    Uri::from_parts(parts).ok()
}

/// The host a request is for, without its port.
fn host(request: &hyper::Request<hyper::body::Incoming>) -> Option<&str> {
    let header = || request.headers().get(header::HOST).and_then(|value| value.to_str().ok());
    let authority = request.uri().authority().map(axum::http::uri::Authority::as_str).or_else(header)?;
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let without_port = host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
    Some(without_port.map_or(host, |(host, _)| host).trim_start_matches('[').trim_end_matches(']'))
}

impl Serve for Https {
    async fn serve(self, stream: Stream, peer: Peer) {
        serve(stream, peer, move |_| Some(self.clone())).await;
    }
}

/// Whose turn it is on a connection: ours while a request is under way.
struct Turns {
    place: Option<Newcomer>,
    under_way: AtomicUsize,
}

impl Turns {
    fn begin(self: &Arc<Self>) -> Turn {
        if self.under_way.fetch_add(1, Ordering::AcqRel) == 0
            && let Some(place) = &self.place
        {
            place.waits_for_us();
        }
        Turn(Arc::clone(self))
    }
}

/// A request under way, until its answer is sent or given up.
struct Turn(Arc<Turns>);

impl Drop for Turn {
    fn drop(&mut self) {
        if self.0.under_way.fetch_sub(1, Ordering::AcqRel) == 1
            && let Some(place) = &self.0.place
        {
            place.has_turn(ANSWER_PATIENCE);
        }
    }
}

/// A body with the turn it ends.
struct Answer {
    body: Body,
    _turn: Turn,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Serves one connection until it ends; `of` finds the service of a host name.
pub async fn serve(
    stream: Stream,
    peer: Peer,
    of: impl Fn(Option<&str>) -> Option<Https> + Clone + Send + Sync + 'static,
) {
    let on_known = peer.place.clone().map(|place| OnKnown::new(move || place.is_known()));
    let address = PeerAddress(peer.address.clone(), on_known.unwrap_or_default());
    let turns = Arc::new(Turns { place: peer.place.clone(), under_way: AtomicUsize::new(0) });
    let certificate = peer.certificate.clone().map(PeerCertificate);
    let service = tower::service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
        let name = host(&request).map(str::to_owned);
        let https = of(name.as_deref());
        let is_named = |https: &Https| {
            let is_it = |one: &String| name.as_ref().is_some_and(|name| one.eq_ignore_ascii_case(name));
            https.graph_names.iter().any(is_it)
        };
        if https.as_ref().is_some_and(is_named)
            && let Some(uri) = of_graph(request.uri())
        {
            *request.uri_mut() = uri;
        }
        let router = https.map(|https| https.router).unwrap_or_default();
        request.extensions_mut().insert(address.clone());
        if let Some(certificate) = &certificate {
            request.extensions_mut().insert(certificate.clone());
        }
        request.extensions_mut().insert(peer.clone());
        let turn = turns.begin();
        async move {
            let response = router.oneshot(request.map(Body::new)).await?;
            Ok::<_, Infallible>(response.map(|body| Body::new(Answer { body, _turn: turn })))
        }
    });
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    server.http2().timer(TokioTimer::new()).keep_alive_interval(Duration::from_secs(60));
    let stream = TokioIo::new(Prompt::new(Lingering::new(stream), HEADER_TIMEOUT));
    let served = server.serve_connection_with_upgrades(stream, TowerToHyperService::new(service));
    if let Err(error) = served.await {
        tracing::debug!(%error, "https connection ended");
    }
}
