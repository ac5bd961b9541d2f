//! Compressed data: gzip and zip, told by their first bytes, within a bound.

use std::borrow::Cow;
use std::io::Read;

use super::Fault;

/// Bytes that compressed data may grow to.
pub const INFLATED_BYTES_MAX: u64 = 1 << 30;

fn too_large(limit: u64) -> Fault {
    Fault::new("BadRequest_DataTooLarge", format!("the data is larger than {limit} bytes once it is inflated"))
}

fn limited(reader: impl Read, limit: u64) -> Result<Vec<u8>, Fault> {
    let mut out = Vec::new();
    let read = reader.take(limit + 1).read_to_end(&mut out);
    read.map_err(|error| Fault::new("BadRequest_InvalidCompression", format!("the data cannot be inflated: {error}")))?;
    if out.len() as u64 > limit { Err(too_large(limit)) } else { Ok(out) }
}

/// Data as it was before it was compressed.
///
/// # Errors
/// When it cannot be inflated, or is too large.
pub fn inflated(bytes: &[u8]) -> Result<Cow<'_, [u8]>, Fault> {
    inflated_within(bytes, INFLATED_BYTES_MAX)
}

/// The same, within a bound of one's own.
///
/// # Errors
/// When it cannot be inflated, or is too large.
pub fn inflated_within(bytes: &[u8], limit: u64) -> Result<Cow<'_, [u8]>, Fault> {
    match bytes {
        [0x1f, 0x8b, ..] => limited(flate2::read::MultiGzDecoder::new(bytes), limit).map(Cow::Owned),
        [b'P', b'K', 3, 4, ..] => unzipped(bytes, limit).map(Cow::Owned),
        _ if bytes.len() as u64 > limit => Err(too_large(limit)),
        _ => Ok(Cow::Borrowed(bytes)),
    }
}

/// The files of a zip one behind the other, found by its directory (APPNOTE, 4.3.12).
fn unzipped(bytes: &[u8], limit: u64) -> Result<Vec<u8>, Fault> {
    let broken = || Fault::new("BadRequest_InvalidCompression", "the zip cannot be read");
    let at = |place: usize, count: usize| bytes.get(place..place.checked_add(count)?);
    let number = |place: usize, count: usize| {
        at(place, count).map(|part| part.iter().rev().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte)))
    };
    // The end of the directory is 22 bytes with a comment of at most 65,535 behind them.
    let first = bytes.len().saturating_sub(22 + 65_535);
    let end = (first..bytes.len().saturating_sub(21)).rev().find(|place| at(*place, 4) == Some(b"PK\x05\x06"));
    let end = end.ok_or_else(broken)?;
    let count = number(end + 10, 2).ok_or_else(broken)?;
    let mut entry = number(end + 16, 4).ok_or_else(broken)? as usize;
    let mut out = Vec::new();
    for _ in 0..count {
        if at(entry, 4) != Some(b"PK\x01\x02") {
            return Err(broken());
        }
        let field = |offset: usize, count: usize| number(entry + offset, count).ok_or_else(broken);
        let (method, packed) = (field(10, 2)?, field(20, 4)? as usize);
        let (name, extra, comment) = (field(28, 2)? as usize, field(30, 2)? as usize, field(32, 2)? as usize);
        let local = field(42, 4)? as usize;
        if field(8, 2)? & 1 == 1 {
            return Err(Fault::new("BadRequest_InvalidCompression", "the zip is encrypted"));
        }
        let skip = |offset: usize| number(local + offset, 2).ok_or_else(broken);
        let start = local + 30 + skip(26)? as usize + skip(28)? as usize;
        let content = at(start, packed).ok_or_else(broken)?;
        let left = limit - out.len() as u64;
        match method {
            0 if content.len() as u64 > left => return Err(too_large(limit)),
            0 => out.extend_from_slice(content),
            8 => out.extend(limited(flate2::read::DeflateDecoder::new(content), left)?),
            other => {
                let message = format!("the zip uses method {other}, which is not implemented");
                return Err(Fault::new("BadRequest_InvalidCompression", message));
            }
        }
        entry += 46 + name + extra + comment;
    }
    Ok(out)
}
