//! What a settled Event Hubs delivery of 256 bytes costs to send, and a message to take in.

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use gantry_amqp::connection::{Accept, AttachOptions, ClientSasl, Config, Connection, LinkId, Outgoing};
use gantry_amqp::{Event, Role, Source, Target, encode, message};

const BATCH: u32 = 1_000;

/// A client and a server with one link; the server's end of it.
fn linked(role: Role) -> (Connection, Connection, LinkId, LinkId) {
    let mut client = Connection::client(Config::client("c", "h"), ClientSasl::Anonymous, 0);
    let mut server = Connection::server(Config::server("s"), 0);
    let mut links = (None, None);
    for round in 0..8 {
        server.receive(0, &client.take_output(0)).unwrap();
        while let Some(event) = server.next_event() {
            if let Event::AttachRequested(request) = event {
                links.1 = Some(request.link);
                server.accept_attach(*request, Accept { credit: BATCH, ..Accept::default() });
            }
        }
        client.receive(0, &server.take_output(0)).unwrap();
        while client.next_event().is_some() {}
        if round == 3 {
            let session = client.begin_session().unwrap();
            let options = AttachOptions { credit: BATCH, ..AttachOptions::default() };
            links.0 = client.attach(session, "l", role, Source::at("a"), Target::at("a"), options);
        }
    }
    (client, server, links.0.unwrap(), links.1.unwrap())
}

fn write_event(out: &mut Vec<u8>, number: i64, body: &[u8]) {
    message::encode_message_annotations(out, |out| {
        encode::symbol(out, "x-opt-sequence-number");
        encode::long(out, number);
        encode::symbol(out, "x-opt-offset");
        encode::string(out, "123456");
        encode::symbol(out, "x-opt-enqueued-time");
        encode::timestamp(out, 1_795_387_521_548);
        encode::symbol(out, "iothub-connection-device-id");
        encode::string(out, "motor-1");
        encode::symbol(out, "iothub-connection-auth-method");
        encode::string(out, r#"{"scope":"device","type":"sas","issuer":"iothub"}"#);
        encode::symbol(out, "iothub-message-source");
        encode::string(out, "Telemetry");
        6
    });
    message::encode_application_properties(out, |out| {
        encode::string(out, "level");
        encode::string(out, "warning");
        1
    });
    message::encode_data(out, body);
}

fn deliveries(c: &mut Criterion) {
    let mut group = c.benchmark_group("deliveries");
    group.throughput(Throughput::Elements(BATCH.into()));
    let body = Bytes::from(vec![b'x'; 256]);
    let outgoing = Outgoing { tag: b"12345678", settled: true, format: 0 };

    // The receiving end is part of the round, for its credit; `receive` measures it alone.
    let (mut client, mut server, _, down) = linked(Role::Receiver);
    let mut buffer = Vec::new();
    group.bench_function("send", |b| {
        b.iter_custom(|rounds| {
            let mut spent = std::time::Duration::ZERO;
            for _ in 0..rounds {
                let start = std::time::Instant::now();
                let mut sent = 0;
                while sent < BATCH / 2 && server.sendable(down) > 0 {
                    let write = |out: &mut Vec<u8>| write_event(out, sent.into(), &body);
                    server.send_with(down, outgoing, write).unwrap();
                    sent += 1;
                }
                server.swap_output(0, &mut buffer);
                spent += start.elapsed();
                client.receive(0, &buffer).unwrap();
                buffer.clear();
                while client.next_event().is_some() {}
                server.receive(0, &client.take_output(0)).unwrap();
                while server.next_event().is_some() {}
                assert_eq!(sent, BATCH / 2);
            }
            spent * 2
        });
    });

    let (mut client, mut server, up, _) = linked(Role::Sender);
    group.bench_function("receive", |b| {
        b.iter_custom(|rounds| {
            let mut spent = std::time::Duration::ZERO;
            for _ in 0..rounds {
                for sent in 0..BATCH / 2 {
                    let write = |out: &mut Vec<u8>| write_event(out, sent.into(), &body);
                    client.send_with(up, outgoing, write).unwrap();
                }
                let bytes = client.take_output(0);
                let start = std::time::Instant::now();
                let mut taken = 0;
                server.receive(0, &bytes).unwrap();
                while let Some(event) = server.next_event() {
                    if let Event::Message(delivery) = event {
                        std::hint::black_box(gantry_amqp::Message::decode(&delivery.message).unwrap());
                        taken += 1;
                    }
                }
                spent += start.elapsed();
                assert_eq!(taken, BATCH / 2);
                client.receive(0, &server.take_output(0)).unwrap();
                while client.next_event().is_some() {}
            }
            spent * 2
        });
    });
    group.finish();
}

criterion_group!(benches, deliveries);
criterion_main!(benches);
