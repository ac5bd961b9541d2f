//! Bytes from sockets: MQTT and AMQP.

use bytes::Bytes;
use gantry_amqp::connection::{Accept, Config, Connection};
use gantry_amqp::decode::Reader;
use gantry_amqp::sasl::Outcome;
use gantry_amqp::{DeliveryState, Event, Message, encode};

const PACKET_BYTES_MAX: usize = 1 << 20;

/// Packets of MQTT 3.1.1, one after another.
///
/// # Panics
/// When more is decoded than there is, or what is there is taken for something else once more follows.
pub fn mqtt(bytes: &[u8]) {
    let mut rest = bytes;
    while let Ok(Some(decoded)) = gantry_mqtt::decode(rest, PACKET_BYTES_MAX) {
        assert!(0 < decoded.len && decoded.len <= rest.len());
        let alone = gantry_mqtt::decode(&rest[..decoded.len], PACKET_BYTES_MAX);
        assert!(matches!(&alone, Ok(Some(alone)) if alone.packet == decoded.packet));
        rest = &rest[decoded.len..];
    }
}

/// Packets of MQTT 5, one after another.
///
/// # Panics
/// When one does not say the same after it was encoded again.
pub fn mqtt5(bytes: &[u8]) {
    let mut rest = bytes;
    while let Ok(Some(decoded)) = gantry_mqtt::v5::decode(rest, PACKET_BYTES_MAX) {
        assert!(0 < decoded.len && decoded.len <= rest.len());
        let mut again = vec![];
        gantry_mqtt::v5::encode(&mut again, &decoded.packet);
        let again = gantry_mqtt::v5::decode(&again, 2 * PACKET_BYTES_MAX);
        assert!(matches!(&again, Ok(Some(again)) if again.packet == decoded.packet), "{again:?}");
        rest = &rest[decoded.len..];
    }
}

/// A value and a message of AMQP.
///
/// # Panics
/// When a value does not say the same after it was encoded again.
pub fn amqp_value(bytes: &[u8]) {
    let bytes = Bytes::copy_from_slice(bytes);
    if let Ok(value) = Reader::new(&bytes).value() {
        let mut once = Vec::new();
        encode::value(&mut once, &value);
        let once = Bytes::from(once);
        let again = Reader::new(&once).value().expect("what we write can be read");
        // Compared as bytes, because a NaN is not equal to itself.
        let mut twice = Vec::new();
        encode::value(&mut twice, &again);
        assert_eq!(once, twice);
    }
    let _ = Message::decode(&bytes);
}

/// An AMQP server that grants everything. The first byte cuts the rest into pieces.
pub fn amqp_server(bytes: &[u8]) {
    let Some((piece, bytes)) = bytes.split_first() else { return };
    let mut server = Connection::server(Config::server("fuzz"), 0);
    for piece in bytes.chunks(usize::from(*piece) + 1) {
        let _ = server.receive(0, piece);
        while let Some(event) = server.next_event() {
            match event {
                Event::Sasl(_) => drop(server.sasl_outcome(Outcome::Ok)),
                Event::AttachRequested(request) => {
                    server.accept_attach(*request, Accept { credit: 10, ..Accept::default() });
                }
                Event::Message(delivery) if !delivery.settled => {
                    server.settle(delivery.link, delivery.delivery_id, DeliveryState::Accepted);
                }
                Event::Credit { link, drain: true, .. } => server.drained(link),
                _ => {}
            }
        }
        let _ = server.take_output(0);
    }
}
