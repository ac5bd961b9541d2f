//! The two WebSockets of a device stream: bytes between a socket and an end of a pipe.
//!
//! A party comes to `/bridges/{id}` with `Authorization: Bearer {token}`. Messages keep their boundaries and their
//! kind. A party is asked every [`PING_PERIOD`] whether it is there, and given up after [`SILENCE_MAX`].

use std::future::pending;
use std::time::Duration;

use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt as _, StreamExt as _};
use gantry_gateway::Peer;
use gantry_hub::Hub;
use gantry_hub::streams::{End, PIECE_BYTES_MAX, Piece};
use gantry_identity::Refusal;
use tokio::sync::mpsc;

/// How often a party is asked whether it is there.
const PING_PERIOD: Duration = Duration::from_secs(30);
/// How long a party may say nothing, not even that it is there.
const SILENCE_MAX: Duration = Duration::from_secs(90);
/// How long a party may refuse to read.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// Lets a party with a good token to its end of a stream.
pub fn join(hub: &Hub, peer: &Peer, id: &str, headers: &HeaderMap, upgrade: WebSocketUpgrade) -> Response {
    let now = gantry_gateway::now();
    let token = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = token.and_then(|value| value.strip_prefix("Bearer "));
    let joined = match (u64::from_str_radix(id, 16), token) {
        (Ok(id), Some(token)) => hub.join_stream(now, id, token.trim()),
        (_, None) => Err(Refusal::Missing),
        (Err(_), _) => Err(Refusal::Signature),
    };
    let end = match joined {
        Ok(end) => end,
        Err(refusal) => {
            hub.report_refusal(now, "(device stream)", &peer.address, "device stream", &refusal);
            return (StatusCode::UNAUTHORIZED, "no stream opens with this token\n").into_response();
        }
    };
    let upgrade = upgrade.max_message_size(PIECE_BYTES_MAX).max_frame_size(PIECE_BYTES_MAX);
    // A client that asks for a protocol wants to hear one.
    let asked = headers.get(header::SEC_WEBSOCKET_PROTOCOL).and_then(|value| value.to_str().ok());
    let asked = asked.and_then(|list| list.split(',').next()).map(|first| first.trim().to_owned());
    upgrade.protocols(asked).on_upgrade(|socket| carry(socket, end))
}

/// Carries bytes both ways until either side ends.
async fn carry(socket: WebSocket, end: End) {
    let End { sender, receiver, mut stopped } = end;
    let (mut sink, mut stream) = socket.split();
    tokio::select! {
        () = incoming(&mut stream, sender) => {}
        () = outgoing(&mut sink, receiver) => {}
        // Only dropped, never changed.
        _ = stopped.changed() => {}
    }
    let parting = async {
        sink.close().await?;
        // Closed by both, so that nothing said last is thrown away.
        while let Some(message) = stream.next().await {
            message?;
        }
        Ok::<_, axum::Error>(())
    };
    let _ = tokio::time::timeout(WRITE_TIMEOUT, parting).await;
}

/// From the socket to the other end. The socket is read only when there is room for what it says.
async fn incoming(stream: &mut SplitStream<WebSocket>, sender: mpsc::Sender<Piece>) {
    loop {
        let Ok(room) = sender.reserve().await else {
            // The other end is gone; what it sent is still on its way out.
            return pending().await;
        };
        match tokio::time::timeout(SILENCE_MAX, stream.next()).await {
            Ok(Some(Ok(Message::Binary(bytes)))) => room.send(Piece { is_text: false, bytes }),
            Ok(Some(Ok(Message::Text(text)))) => room.send(Piece { is_text: true, bytes: text.into() }),
            Ok(Some(Ok(Message::Ping(_) | Message::Pong(_)))) => {}
            _ => return,
        }
    }
}

/// From the other end to the socket.
async fn outgoing(sink: &mut SplitSink<WebSocket, Message>, mut receiver: mpsc::Receiver<Piece>) {
    let mut pings = tokio::time::interval(PING_PERIOD);
    pings.reset();
    loop {
        let message = tokio::select! {
            piece = receiver.recv() => match piece {
                Some(Piece { is_text: false, bytes }) => Message::Binary(bytes),
                Some(Piece { is_text: true, bytes }) => match bytes.try_into() {
                    Ok(text) => Message::Text(text),
                    Err(_) => return,
                },
                None => return,
            },
            _ = pings.tick() => Message::Ping(bytes::Bytes::new()),
        };
        match tokio::time::timeout(WRITE_TIMEOUT, sink.send(message)).await {
            Ok(Ok(())) => {}
            _ => return,
        }
    }
}
