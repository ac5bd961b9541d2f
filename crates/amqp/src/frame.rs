//! Frames (part 2, 2.3) and protocol headers (part 2, 2.2).
//!
//! A frame on the wire:
//!
//! | bytes | content |
//! |---|---|
//! | 0..4 | size of the whole frame, big-endian, at least 8 |
//! | 4 | offset of the body in words of four bytes, at least 2 |
//! | 5 | type: 0 AMQP, 1 SASL |
//! | 6..8 | channel (AMQP), ignored (SASL) |
//! | ... | extended header, skipped |
//! | ... | body: a performative, and for transfers the payload; empty in a keep-alive |

use bytes::{Buf, Bytes, BytesMut};

/// Bytes of a frame before its body.
pub const HEADER_LEN: usize = 8;

/// The smallest frame limit a peer may set (2.7.1).
pub const MAX_FRAME_SIZE_MIN: u32 = 512;

/// The protocol header that starts the AMQP layer.
pub const AMQP_HEADER: [u8; 8] = *b"AMQP\x00\x01\x00\x00";

/// The protocol header that starts the SASL layer.
pub const SASL_HEADER: [u8; 8] = *b"AMQP\x03\x01\x00\x00";

/// Which layer a frame belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Part 2.
    Amqp = 0,
    /// Part 5.
    Sasl = 1,
}

/// A frame's channel and body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The layer.
    pub kind: Kind,
    /// The channel.
    pub channel: u16,
    /// Performative and payload; empty for a keep-alive.
    pub body: Bytes,
}

/// Why bytes are not a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Larger than we said we accept.
    #[error("frame of {size} bytes, limit is {limit}")]
    TooLarge {
        /// What the frame says.
        size: u32,
        /// What we accept.
        limit: u32,
    },
    /// The size or data offset contradicts the layout.
    #[error("malformed frame header")]
    Malformed,
    /// Neither AMQP nor SASL.
    #[error("unknown frame type {0}")]
    UnknownKind(u8),
}

/// Takes the next whole frame off the front of `input`; `None` when more bytes are needed.
///
/// # Errors
/// When what is there cannot become a frame.
pub fn take(input: &mut BytesMut, limit: u32) -> Result<Option<Frame>, FrameError> {
    let Some(&[a, b, c, d, offset, kind, high, low]) = input.first_chunk::<HEADER_LEN>() else {
        return Ok(None);
    };
    let size = u32::from_be_bytes([a, b, c, d]);
    if size > limit {
        return Err(FrameError::TooLarge { size, limit });
    }
    let body_at = usize::from(offset) * 4;
    let size = size as usize;
    if size < HEADER_LEN || body_at < HEADER_LEN || body_at > size {
        return Err(FrameError::Malformed);
    }
    let kind = match kind {
        0 => Kind::Amqp,
        1 => Kind::Sasl,
        other => return Err(FrameError::UnknownKind(other)),
    };
    if input.len() < size {
        return Ok(None);
    }
    let mut body = input.split_to(size).freeze();
    body.advance(body_at);
    Ok(Some(Frame { kind, channel: u16::from_be_bytes([high, low]), body }))
}

/// Starts a frame at the end of `out`; [`finish`] writes its size.
#[must_use = "a frame must be finished"]
pub(crate) fn begin(out: &mut Vec<u8>, kind: Kind, channel: u16) -> usize {
    let at = out.len();
    let [high, low] = channel.to_be_bytes();
    out.extend_from_slice(&[0, 0, 0, 0, 2, kind as u8, high, low]);
    at
}

/// Ends the frame that begins at `at`.
pub(crate) fn finish(out: &mut [u8], at: usize) {
    let size = u32::try_from(out.len() - at).expect("frames stay far below 4 GiB");
    out[at..at + 4].copy_from_slice(&size.to_be_bytes());
}

/// Appends a whole frame.
pub fn put(out: &mut Vec<u8>, kind: Kind, channel: u16, body: impl FnOnce(&mut Vec<u8>)) {
    let at = begin(out, kind, channel);
    body(out);
    finish(out, at);
}
