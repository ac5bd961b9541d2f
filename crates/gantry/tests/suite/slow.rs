//! Clients that connect and then do too little: each is let go after its bound, none is held for ever.

use std::time::{Duration, Instant};

use gantry_mqtt::QoS;
use gantry_testkit::{Device, Login, Platform};
use tokio::io::AsyncReadExt as _;

use super::{key, platform_with};

/// The longest bound a client without credentials may use, and a margin for a busy machine.
const SILENCE_MAX: Duration = Duration::from_secs(36);

/// Says nothing at all, not even TLS.
async fn no_tls(platform: &Platform, port: u16) {
    let mut socket = platform.tcp(port).await.unwrap();
    let closed = tokio::time::timeout(SILENCE_MAX, socket.read_to_end(&mut vec![])).await;
    assert!(closed.is_ok(), "port {port} keeps a connection without TLS");
}

/// Says `bytes` after TLS and no more.
async fn after_tls(platform: &Platform, port: u16, alpn: &[u8], bytes: &[u8]) {
    let begun = Instant::now();
    let mut socket = platform.tls(port, alpn).await.unwrap();
    socket.write(bytes).await.unwrap();
    let what = String::from_utf8_lossy(bytes);
    let closed = tokio::time::timeout(SILENCE_MAX, socket.read_to_end()).await;
    assert!(closed.is_ok_and(|read| read.is_ok()), "port {port} keeps a client that said `{what}`");
    assert!(begun.elapsed() < SILENCE_MAX, "port {port} after `{what}`: {:?}", begun.elapsed());
}

/// Asks and asks and never reads an answer.
async fn never_reads(platform: &Platform) {
    let (mut device, _) = Device::connect(platform, &Login::new("d1", &key(1))).await.unwrap();
    device.subscribe(&[("$iothub/twin/res/#", QoS::AtMostOnce)]).await.unwrap();
    let mut requests = vec![];
    for _ in 0..1000 {
        device.encode_publish(&mut requests, "$iothub/twin/GET/?$rid=1", b"", false);
    }
    while device.send(&requests).await.is_ok() {}
    assert_eq!(platform.wait_log(&["peer does not read"], 1).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_and_silent_clients_are_let_go() {
    let (platform, _) = platform_with(&["d1", "d2"]).await;
    let (mqtt, amqp, https) = (platform.mqtt_port(), platform.amqp_port(), platform.https_port());
    let (mut honest, _) = Device::connect(&platform, &Login::new("d2", &key(1))).await.unwrap();
    tokio::join!(
        no_tls(&platform, mqtt),
        no_tls(&platform, amqp),
        no_tls(&platform, https),
        after_tls(&platform, mqtt, b"", b""),
        after_tls(&platform, mqtt, b"", b"\x10\x40\x00\x04MQ"),
        after_tls(&platform, amqp, b"", b""),
        after_tls(&platform, amqp, b"", b"AMQP\x03"),
        after_tls(&platform, https, b"", b""),
        after_tls(&platform, https, b"http/1.1", b""),
        after_tls(&platform, https, b"http/1.1", b"GET /devices HTTP/1.1\r\nHost: loc"),
        after_tls(&platform, https, b"http/1.1", b"PUT /devices/x HTTP/1.1\r\nHost: l\r\nContent-Length: 9\r\n\r\n{"),
        after_tls(&platform, https, b"h2", b""),
        after_tls(&platform, https, b"h2", b"PRI * HTTP/2.0\r\n"),
        never_reads(&platform),
    );
    assert_eq!(platform.wait_log(&["no CONNECT within"], 2).await.unwrap().len(), 2);
    assert_eq!(platform.wait_log(&["no handshake within"], 3).await.unwrap().len(), 3);
    honest.publish("devices/d2/messages/events/", b"not disturbed").await.unwrap();
    drop(honest);
    let (mut honest, _) = Device::connect(&platform, &Login::new("d2", &key(1))).await.unwrap();
    honest.ping().await.unwrap();
    assert_eq!(honest.subscribe(&[("$iothub/methods/POST/#", QoS::AtMostOnce)]).await.unwrap(), [0]);
}
