//! Any bytes at a server that grants everything. The first byte cuts the rest into pieces.
#![no_main]

use gantry_amqp::connection::{Accept, Config, Connection};
use gantry_amqp::sasl::Outcome;
use gantry_amqp::{DeliveryState, Event};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((piece, bytes)) = data.split_first() else { return };
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
});
