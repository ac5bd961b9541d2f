//! Crowds of peers that begin something and go no further: devices and services get in all the same, long before the
//! crowd's time is up.

use std::time::{Duration, Instant};

use gantry_testkit::{Device, Login, PATIENCE, Platform, Service, TlsSocket};
use reqwest::Method;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::{GANTRY, key};

/// Places for those who have not proven who they are; the crowds are larger.
const PLACES: usize = 48;
const CROWD: usize = 80;
/// What the platform gives a handshake: on a machine so busy that a crowd takes this long to come, its first are out of
/// time by rights, and the log cannot say whether anybody waited for it.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(15);
/// The first bytes of a TLS handshake.
const HALF_A_HELLO: &[u8] = b"\x16\x03\x01\x02\x00\x01";

/// One of a crowd, which keeps its connection.
#[expect(dead_code, reason = "held open and never looked at")]
enum Member {
    Tcp(TcpStream),
    Tls(Box<TlsSocket>),
}

async fn says_before_tls(platform: &Platform, port: u16, bytes: &[u8]) -> Member {
    let mut socket = platform.tcp(port).await.unwrap();
    socket.write_all(bytes).await.unwrap();
    Member::Tcp(socket)
}

async fn says_after_tls(platform: &Platform, port: u16, bytes: &[u8]) -> Member {
    let mut socket = platform.tls(port, b"").await.unwrap();
    socket.write(bytes).await.unwrap();
    Member::Tls(Box::new(socket))
}

/// How many were shown out so far, as the platform counts them.
async fn shown_out(service: &Service) -> usize {
    let metrics = service.call(Method::GET, "/metrics", "").await.unwrap().body;
    let mut lines = metrics.as_str().unwrap().lines();
    let count = lines.find_map(|line| line.strip_prefix("gantry_newcomers_shown_out_total "));
    count.map_or(0, |count| count.parse().unwrap())
}

/// While a crowd stands there, a device connects and a service that was never there is answered.
async fn good_clients_get_in_beside(
    platform: &Platform,
    what: &str,
    crowd: Vec<Member>,
    (began, before): (Instant, usize),
) {
    assert_eq!(crowd.len(), CROWD, "{what}");
    let (mut device, _) = Device::connect(platform, &Login::new("d1", &key(1))).await.expect(what);
    device.publish("devices/d1/messages/events/", b"{}").await.expect(what);
    let service = platform.service().unwrap();
    assert_eq!(service.twin("d1").await.expect(what).status, 200, "{what}");
    // A member counts once the platform has come to wait for it.
    let mut out = shown_out(&service).await - before;
    while out < CROWD - PLACES {
        assert!(began.elapsed() < PATIENCE, "{what}: only {out} were shown out");
        tokio::task::yield_now().await;
        out = shown_out(&service).await - before;
    }
    assert!(out < CROWD, "{what}: those who came last keep their places");
    let timed_out = platform.log_lines(&["within"]).unwrap();
    if began.elapsed() < HANDSHAKE_TIMEOUT / 2 {
        assert_eq!(timed_out, Vec::<String>::new(), "{what}: nobody waited for the time of others to be up");
    } else {
        println!("{what}: came too slowly to say who waited for whom: {timed_out:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn crowds_keep_nobody_out() {
    let config = format!("[limits]\nnewcomers_max = {PLACES}\n");
    let platform = Platform::start_with_config(GANTRY, &config).expect("the platform starts");
    let service = platform.service().unwrap();
    assert_eq!(service.create_device("d1", &key(1)).await.unwrap().status, 200);
    let (mqtt, amqp, https) = (platform.mqtt_port(), platform.amqp_port(), platform.https_port());
    for (port, bytes) in [(mqtt, b"".as_slice()), (mqtt, HALF_A_HELLO), (amqp, HALF_A_HELLO), (https, HALF_A_HELLO)] {
        let before = (Instant::now(), shown_out(&service).await);
        let mut crowd = vec![];
        for _ in 0..CROWD {
            crowd.push(says_before_tls(&platform, port, bytes).await);
        }
        good_clients_get_in_beside(&platform, &format!("{bytes:?} to {port}"), crowd, before).await;
    }
    let upgrade = "GET /$iothub/websocket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                   Sec-WebSocket-Protocol: mqtt\r\n\r\n";
    // Answers that are large and cost the platform little.
    let asks = "GET /platform/v1/openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(200);
    let crowds = [
        (mqtt, "\u{10}\u{40}\0\u{4}MQ"),
        (amqp, "AMQP\u{3}"),
        (https, "GET /devices HTTP/1.1\r\nHost: loc"),
        (https, upgrade),
        (https, &asks),
    ];
    for (port, words) in crowds {
        let before = (Instant::now(), shown_out(&service).await);
        let mut crowd = vec![];
        for _ in 0..CROWD {
            crowd.push(says_after_tls(&platform, port, words.as_bytes()).await);
        }
        let what = words.chars().take(40).collect::<String>();
        good_clients_get_in_beside(&platform, &what, crowd, before).await;
    }
}
