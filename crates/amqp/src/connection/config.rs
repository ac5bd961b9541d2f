//! What one end of a connection promises and accepts.

use crate::sasl;
use crate::value::{Map, Symbol};

/// Bytes of unfinished messages one connection may make us hold, over all its links.
pub const PARTIAL_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Settings of one end of a connection.
#[derive(Clone, Debug)]
pub struct Config {
    /// Our name in `open`.
    pub container_id: String,
    /// Host name in `open`: the one a client wants; a server leaves it out.
    pub hostname: Option<String>,
    /// Largest frame, in bytes, we accept.
    pub max_frame_size: u32,
    /// Highest channel number; one pooled connection of a .NET client carries 995 devices, each
    /// with its own session.
    pub channel_max: u16,
    /// Highest link handle of a session.
    pub handle_max: u32,
    /// Most links of a connection, those still being detached included.
    pub links_max: usize,
    /// Milliseconds of silence we announce and after which we give up.
    pub idle_timeout_ms: u32,
    /// Milliseconds from the first byte to the end of the handshake.
    pub handshake_timeout_ms: u32,
    /// Largest message, in bytes, we accept.
    pub message_size_max: u64,
    /// Deliveries of one link that may wait for the peer to settle them.
    pub unsettled_max: u32,
    /// SASL mechanisms, in the order they are offered.
    pub mechanisms: Vec<Symbol>,
    /// Properties in `open`.
    pub properties: Map,
}

impl Config {
    /// A server that offers every mechanism but `EXTERNAL`, which belongs first in the list when
    /// the TLS layer has a client certificate.
    pub fn server(container_id: impl Into<String>) -> Self {
        Self {
            container_id: container_id.into(),
            hostname: None,
            max_frame_size: 65_536,
            channel_max: 1_023,
            handle_max: 255,
            links_max: 4_096,
            idle_timeout_ms: 240_000,
            handshake_timeout_ms: 30_000,
            // 256 KiB of payload, and as much again would be abuse: the slack is for properties.
            message_size_max: 256 * 1024 + 64 * 1024,
            unsettled_max: 2_048,
            mechanisms: vec![sasl::MSSBCBS, sasl::PLAIN, sasl::ANONYMOUS, sasl::TPM],
            properties: Map::new(),
        }
    }

    /// A client that asks for a host.
    pub fn client(container_id: impl Into<String>, hostname: impl Into<String>) -> Self {
        Self { hostname: Some(hostname.into()), ..Self::server(container_id) }
    }
}
