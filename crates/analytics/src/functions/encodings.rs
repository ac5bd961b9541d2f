//! Encodings: Base64, URLs, compression, punycode, XML.

use std::io::Read;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::read::{GzDecoder, GzEncoder, ZlibDecoder, ZlibEncoder};
use gantry_kql::value::{Bag, Dynamic, Value};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::Implementation::{Lax, Strict};
use super::{Call, Family, or_null, text};
use crate::column::Cell;

/// Bytes that a compressed text may unfold to.
const UNFOLDED_BYTES_MAX: u64 = 1 << 24;
/// What `url_encode_component` leaves as it is (RFC 3986, 2.3).
const UNRESERVED: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

pub(super) const FUNCTIONS: Family = &[
    ("base64_encode_tostring", Lax(|cells, _| text(STANDARD.encode(cells[0].text().as_bytes())))),
    (
        "base64_decode_tostring",
        Lax(|cells, _| {
            let decoded = decode(cells[0]).and_then(|bytes| String::from_utf8(bytes).ok());
            decoded.map_or(text(""), text)
        }),
    ),
    (
        "base64_decode_toarray",
        Lax(|cells, _| {
            or_null(decode(cells[0]), |bytes| {
                Value::Dynamic(Dynamic::Array(bytes.into_iter().map(|byte| Dynamic::Long(i64::from(byte))).collect()))
            })
        }),
    ),
    (
        "base64_encode_fromarray",
        Lax(|cells, _| bytes_of(cells[0]).map_or(text(""), |bytes| text(STANDARD.encode(bytes)))),
    ),
    (
        "base64_encode_fromguid",
        Strict(|cells, _| cells[0].guid().map_or(text(""), |bits| text(STANDARD.encode(guid_bytes(bits))))),
    ),
    (
        "base64_decode_toguid",
        Strict(|cells, _| {
            let bytes = decode(cells[0]).and_then(|bytes| <[u8; 16]>::try_from(bytes).ok());
            or_null(bytes, |bytes| crate::column::guid_value(guid_bits(bytes)))
        }),
    ),
    (
        "url_encode",
        Lax(|cells, _| text(utf8_percent_encode(&cells[0].text(), &UNRESERVED).to_string().replace("%20", "+"))),
    ),
    ("url_encode_component", Lax(|cells, _| text(utf8_percent_encode(&cells[0].text(), &UNRESERVED).to_string()))),
    ("url_decode", Lax(|cells, _| text(percent_decode_str(&cells[0].text().replace('+', " ")).decode_utf8_lossy()))),
    (
        "zlib_compress_to_base64_string",
        Lax(|cells, _| fold(cells[0], |bytes, out| ZlibEncoder::new(bytes, Compression::default()).read_to_end(out))),
    ),
    (
        "gzip_compress_to_base64_string",
        Lax(|cells, _| fold(cells[0], |bytes, out| GzEncoder::new(bytes, Compression::default()).read_to_end(out))),
    ),
    (
        "zlib_decompress_from_base64_string",
        Lax(|cells, _| {
            unfold(cells[0], |bytes, out| ZlibDecoder::new(bytes).take(UNFOLDED_BYTES_MAX).read_to_end(out))
        }),
    ),
    (
        "gzip_decompress_from_base64_string",
        Lax(|cells, _| unfold(cells[0], |bytes, out| GzDecoder::new(bytes).take(UNFOLDED_BYTES_MAX).read_to_end(out))),
    ),
    ("punycode_from_string", Lax(|cells, _| text(idna::punycode::encode_str(&cells[0].text()).unwrap_or_default()))),
    (
        "punycode_to_string",
        Lax(|cells, _| text(idna::punycode::decode_to_string(&cells[0].text()).unwrap_or_default())),
    ),
    ("punycode_domain_from_string", Lax(|cells, _| text(idna::domain_to_ascii(&cells[0].text()).unwrap_or_default()))),
    ("punycode_domain_to_string", Lax(|cells, _| text(idna::domain_to_unicode(&cells[0].text()).0))),
    ("parse_url", Lax(parse_url)),
    (
        "parse_urlquery",
        Lax(|cells, _| {
            let query = cells[0].text();
            let query = query.split_once('?').map_or(&*query, |(_, query)| query);
            Value::Dynamic(bag([("Query Parameters", query_bag(query))]))
        }),
    ),
    ("parse_xml", Lax(parse_xml)),
];

fn decode(cell: Cell) -> Option<Vec<u8>> {
    STANDARD.decode(cell.text().as_bytes()).ok()
}

fn bytes_of(cell: Cell) -> Option<Vec<u8>> {
    cell.array()?.iter().map(|item| Cell::from(item).long().and_then(|byte| u8::try_from(byte).ok())).collect()
}

/// Bytes of a guid as .NET lays them out: the first three fields little-endian.
fn guid_bytes(bits: u128) -> [u8; 16] {
    let mut bytes = bits.to_be_bytes();
    bytes[..4].reverse();
    bytes[4..6].reverse();
    bytes[6..8].reverse();
    bytes
}

fn guid_bits(mut bytes: [u8; 16]) -> u128 {
    bytes[..4].reverse();
    bytes[4..6].reverse();
    bytes[6..8].reverse();
    u128::from_be_bytes(bytes)
}

fn fold(cell: Cell, f: fn(&[u8], &mut Vec<u8>) -> std::io::Result<usize>) -> Value {
    let mut out = Vec::new();
    match f(cell.text().as_bytes(), &mut out) {
        Ok(_) => text(STANDARD.encode(out)),
        Err(_) => text(""),
    }
}

fn unfold(cell: Cell, f: fn(&[u8], &mut Vec<u8>) -> std::io::Result<usize>) -> Value {
    let mut out = Vec::new();
    let bytes = decode(cell).unwrap_or_default();
    match f(&bytes, &mut out) {
        Ok(_) => text(String::from_utf8(out).unwrap_or_default()),
        Err(_) => text(""),
    }
}

fn bag<const N: usize>(entries: [(&str, Dynamic); N]) -> Dynamic {
    Dynamic::Bag(Bag::from_entries(entries.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()))
}

fn query_bag(query: &str) -> Dynamic {
    let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let decoded = |part: &str| percent_decode_str(&part.replace('+', " ")).decode_utf8_lossy().into_owned();
        (decoded(name), Dynamic::String(decoded(value)))
    });
    Dynamic::Bag(Bag::from_entries(pairs.collect()))
}

/// Parts of an absolute address, as they are written.
fn parse_url(cells: &[Cell], _: &Call) -> Value {
    let source = cells[0].text().into_owned();
    let word = |part: &str| Dynamic::String(part.to_owned());
    let (scheme, rest) = source.split_once("://").unwrap_or(("", &source));
    let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = match rest.find('/') {
        Some(at) if !scheme.is_empty() => (&rest[..at], &rest[at..]),
        None if !scheme.is_empty() => (rest, ""),
        _ => ("", rest),
    };
    let (user, place) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (name, password) = user.split_once(':').unwrap_or((user, ""));
    let (host, port) = match place.rfind(':') {
        Some(at) if !place[at..].contains(']') => (&place[..at], &place[at + 1..]),
        _ => (place, ""),
    };
    Value::Dynamic(bag([
        ("Scheme", word(scheme)),
        ("Host", word(host)),
        ("Port", word(port)),
        ("Path", word(path)),
        ("Username", word(name)),
        ("Password", word(password)),
        ("Query Parameters", query_bag(query)),
        ("Fragment", word(fragment)),
    ]))
}

/// XML as a bag: attributes as `@name`, text beside them as `#text`, elements of one name as an array.
fn parse_xml(cells: &[Cell], _: &Call) -> Value {
    or_null(xml(&cells[0].text()), Value::Dynamic)
}

/// An element that is open: its name, its entries, its text.
type Element = (String, Vec<(String, Dynamic)>, String);

/// Elements within elements, at most.
const XML_DEPTH_MAX: usize = 128;

fn xml(source: &str) -> Option<Dynamic> {
    use quick_xml::events::Event;
    let mut reader = quick_xml::Reader::from_str(source);
    // Names, entries and text of the elements that are open; the first is the document.
    let mut open: Vec<Element> = vec![(String::new(), Vec::new(), String::new())];
    loop {
        match reader.read_event().ok()? {
            Event::Start(start) => {
                if open.len() > XML_DEPTH_MAX {
                    return None;
                }
                open.push((start.name().as_ref().to_owned(), attributes(&start)?, String::new()));
            }
            Event::Empty(start) => {
                let element = (start.name().as_ref().to_owned(), attributes(&start)?, String::new());
                close(element, open.last_mut()?);
            }
            Event::End(_) => {
                let element = open.pop()?;
                close(element, open.last_mut()?);
            }
            Event::Text(words) => open.last_mut()?.2.push_str(words.trim()),
            Event::CData(words) => open.last_mut()?.2.push_str(&words),
            Event::GeneralRef(name) => {
                let name = name.to_string();
                let resolved = quick_xml::escape::unescape(&format!("&{name};")).ok()?.into_owned();
                open.last_mut()?.2.push_str(&resolved);
            }
            Event::Eof => break,
            _ => {}
        }
    }
    let (_, entries, _) = open.pop()?;
    (open.is_empty() && !entries.is_empty()).then(|| Dynamic::Bag(Bag::from_entries(entries)))
}

fn attributes(start: &quick_xml::events::BytesStart) -> Option<Vec<(String, Dynamic)>> {
    let mut found = Vec::new();
    for attribute in start.attributes() {
        let attribute = attribute.ok()?;
        let name = format!("@{}", attribute.key.as_ref());
        found.push((name, Dynamic::String(quick_xml::escape::unescape(&attribute.value).ok()?.into_owned())));
    }
    Some(found)
}

fn close(element: Element, parent: &mut Element) {
    let (name, mut entries, words) = element;
    let value = if entries.is_empty() {
        if words.is_empty() { Dynamic::Null } else { Dynamic::String(words) }
    } else {
        if !words.is_empty() {
            entries.push(("#text".to_owned(), Dynamic::String(words)));
        }
        Dynamic::Bag(Bag::from_entries(entries))
    };
    match parent.1.iter_mut().find(|(known, _)| *known == name) {
        Some((_, Dynamic::Array(items))) => items.push(value),
        Some((_, first)) => {
            let one = std::mem::replace(first, Dynamic::Null);
            *first = Dynamic::Array(vec![one, value]);
        }
        None => parent.1.push((name, value)),
    }
}
