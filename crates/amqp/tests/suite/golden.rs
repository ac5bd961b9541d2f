//! What real clients send, and what it means.
//!
//! `tests/golden/NAME.hex` is the whole byte stream of one client connection, captured from the
//! named package; `NAME.txt` is what we read in it. Run with `GOLDEN_WRITE=1` to rewrite the
//! latter, and review the difference.

use std::fmt::Write as _;
use std::path::Path;

use bytes::{Bytes, BytesMut};
use gantry_amqp::connection::{Accept, Config, Connection};
use gantry_amqp::decode::Reader;
use gantry_amqp::frame::{self, AMQP_HEADER, Kind, SASL_HEADER};
use gantry_amqp::performative::Performative;
use gantry_amqp::sasl::SaslFrame;
use gantry_amqp::{Event, Message, Role};

pub(crate) const CAPTURES: [&str; 3] =
    ["azure-eventhub-5.15.1-management", "azure-eventhub-5.15.1-receiver", "azure-event-hubs-6.0.4"];

pub(crate) fn capture(name: &str) -> Vec<u8> {
    let text = std::fs::read_to_string(file(name, "hex")).unwrap();
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(pair).collect()
}

fn file(name: &str, extension: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format!("{name}.{extension}"))
}

/// Headers and frames as text; every performative must survive being written again.
fn transcript(bytes: &[u8]) -> String {
    let mut input = BytesMut::from(bytes);
    let mut text = String::new();
    while !input.is_empty() {
        if input.starts_with(b"AMQP") {
            let header = input.split_to(8);
            let name = if header[..] == SASL_HEADER { "SASL" } else { "AMQP" };
            assert!(header[..] == SASL_HEADER || header[..] == AMQP_HEADER);
            writeln!(text, "header {name}").unwrap();
            continue;
        }
        let frame = frame::take(&mut input, u32::MAX).unwrap().expect("captures end with a frame");
        let mut reader = Reader::new(&frame.body);
        if frame.kind == Kind::Sasl {
            writeln!(text, "{:?}", SaslFrame::decode(&mut reader).unwrap()).unwrap();
            continue;
        }
        let performative = Performative::decode(&mut reader).unwrap();
        writeln!(text, "channel {} {performative:?}", frame.channel).unwrap();
        let mut again = Vec::new();
        performative.encode(&mut again);
        let again = Bytes::from(again);
        assert_eq!(Performative::decode(&mut Reader::new(&again)).unwrap(), performative);
        let payload = reader.rest();
        if !payload.is_empty() {
            let message = Message::decode(&payload).unwrap();
            writeln!(text, "    {message:?}").unwrap();
            let mut again = Vec::new();
            message.encode(&mut again);
            assert_eq!(Message::decode(&again.into()).unwrap(), message);
        }
    }
    text
}

#[test]
fn captured_clients_are_understood() {
    for name in CAPTURES {
        let actual = transcript(&capture(name));
        if std::env::var_os("GOLDEN_WRITE").is_some() {
            std::fs::write(file(name, "txt"), &actual).unwrap();
        }
        let expected = std::fs::read_to_string(file(name, "txt")).unwrap();
        assert_eq!(actual, expected, "{name}");
    }
}

/// The events of a server that grants everything, whatever the pieces the bytes come in.
fn replay(bytes: &[u8], piece: usize) -> Vec<String> {
    let mut server = Connection::server(Config::server("golden"), 0);
    let mut events = Vec::new();
    for piece in bytes.chunks(piece) {
        server.receive(0, piece).unwrap();
        while let Some(event) = server.next_event() {
            events.push(format!("{event:?}"));
            if let Event::AttachRequested(request) = event {
                assert!(matches!(request.attach.role, Role::Sender | Role::Receiver));
                server.accept_attach(*request, Accept { credit: 10, ..Accept::default() });
            }
        }
    }
    events
}

#[test]
fn captured_clients_are_served_in_any_pieces() {
    for name in CAPTURES {
        let bytes = capture(name);
        let bytewise = replay(&bytes, 1);
        assert!(bytewise.iter().any(|event| event.starts_with("Message")), "{name}");
        for piece in [3, 7, 50] {
            assert_eq!(replay(&bytes, piece), bytewise, "{name} in pieces of {piece}");
        }
    }
}
