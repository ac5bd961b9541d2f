//! Bytes no client of good faith sends: refused, logged once, nothing kept.

use gantry_mqtt::{ConnectReturnCode, Publish, QoS};
use gantry_testkit::{Device, Login, Platform, Received, Service};
use reqwest::Method;

use super::{key, platform_with};

const EVENTS: &str = "devices/d1/messages/events/";
const CLOSED: &str = "connection closed for cause";
const MESSAGE_BYTES_MAX: usize = 256 * 1024;

/// Connections before memory is measured, and after.
const WARM_UP: usize = 400;
const FLOOD: usize = 3000;
/// How much resident memory may grow over the flood: what an allocator keeps, not 3000 of anything.
const GROWTH_BYTES_MAX: u64 = 12 << 20;

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    [&[first, u8::try_from(body.len()).expect("a short packet")], body].concat()
}

fn publish(qos: QoS, topic: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![];
    let publish = Publish { dup: false, qos, retain: false, topic, packet_id: 1, payload };
    gantry_mqtt::encode_publish(&mut bytes, &publish);
    bytes
}

/// The connection is closed without an answer, and the log says why in one line.
async fn check(platform: &Platform, mut device: Device, bytes: &[u8], reason: &str) {
    let before = platform.log_lines(&[CLOSED]).unwrap().len();
    device.send(bytes).await.unwrap();
    device.closed().await.unwrap_or_else(|error| panic!("{reason}: {error}"));
    let lines = platform.wait_log(&[CLOSED], before + 1).await.unwrap();
    assert_eq!(lines.len(), before + 1, "{reason}: logged once");
    assert!(lines[before].contains(reason), "{reason}: {}", lines[before]);
}

async fn is_healthy(service: &Service) -> bool {
    service.call(Method::GET, "/readyz", "").await.is_ok_and(|answer| answer.status == 200)
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_packets_before_connect_close_the_connection() {
    let (platform, service) = platform_with(&[]).await;
    let not_utf8 = packet(0x10, b"\x00\x04MQTT\x04\x02\x00\x3c\x00\x02\xff\xfe");
    let cases: [(&[u8], &str); 9] = [
        (b"\x10\xff\xff\xff\xff\x01", "remaining length"),
        (b"\x10\x02\x00\x04", "shorter than its fields"),
        (b"\xf0\x00", "packet type 15"),
        (b"\x00\x00", "packet type 0"),
        (b"\x11\x00", "flags"),
        (b"\xc0\x00", "not CONNECT"),
        (b"\x30\x03\x00\x01a", "not CONNECT"),
        (&not_utf8, "UTF-8"),
        // 2 MiB announced; not one byte of it is waited for.
        (b"\x30\x80\x80\x80\x01", "over the limit"),
    ];
    for (bytes, reason) in cases {
        check(&platform, Device::open(&platform).await.unwrap(), bytes, reason).await;
    }
    assert!(is_healthy(&service).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn packets_against_the_rules_close_the_connection() {
    let (platform, service) = platform_with(&["d1"]).await;
    let login = Login::new("d1", &key(1));
    let too_large = vec![0; MESSAGE_BYTES_MAX + 1];
    let cases = [
        (login.encode(), "second CONNECT"),
        (vec![0x20, 2, 0, 0], "may not send"),
        (publish(QoS::AtLeastOnce, "devices/d2/messages/events/", b""), "publish to topic"),
        (publish(QoS::AtLeastOnce, "$iothub/nothing", b""), "publish to topic"),
        (publish(QoS::AtLeastOnce, "", b""), "topic name is empty"),
        (publish(QoS::ExactlyOnce, EVENTS, b""), "QoS 2"),
        (publish(QoS::AtLeastOnce, &format!("{EVENTS}a=%ff"), b""), "UTF-8"),
        (publish(QoS::AtLeastOnce, EVENTS, &too_large), "262145"),
        (packet(0x36, b"\x00\x01a\x00\x01"), "QoS 3"),
        (packet(0x32, b"\x00\x01a\x00\x00"), "packet id is zero"),
        (packet(0x30, b"\x00\x01\xff"), "UTF-8"),
        (packet(0x82, b"\x00\x01"), "no topic filter"),
        (packet(0x80, b"\x00\x01\x00\x01a\x00"), "flags"),
        (vec![0x30, 0x80, 0x80, 0x80, 0x01], "over the limit"),
    ];
    for (bytes, reason) in cases {
        let (device, _) = Device::connect(&platform, &login).await.unwrap();
        check(&platform, device, &bytes, reason).await;
    }
    assert!(is_healthy(&service).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_at_the_limit_is_taken_and_qos_2_is_lowered() {
    let (platform, _) = platform_with(&["d1"]).await;
    let (mut device, _) = Device::connect(&platform, &Login::new("d1", &key(1))).await.unwrap();
    device.publish(EVENTS, &vec![b'x'; MESSAGE_BYTES_MAX]).await.unwrap();
    let filters = [("devices/d1/messages/devicebound/#", QoS::ExactlyOnce), ("devices/d2/#", QoS::AtLeastOnce)];
    assert_eq!(device.subscribe(&filters).await.unwrap(), [1, 0x80]);
    // A packet may come in any pieces.
    for byte in publish(QoS::AtLeastOnce, EVENTS, b"in pieces") {
        device.send(&[byte]).await.unwrap();
    }
    assert_eq!(device.next().await.unwrap(), Some(Received::Puback(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_requests_are_refused_in_the_shape_of_the_reference() {
    let (platform, service) = platform_with(&["d1"]).await;
    let cases = [
        (Method::PUT, "/devices/d3", "{".to_owned(), 400),
        (Method::PUT, "/devices/d3", "[1]".to_owned(), 400),
        (Method::PUT, "/devices/d3", "\u{0}".to_owned(), 400),
        (Method::PATCH, "/twins/d1", r#"{"properties":7}"#.to_owned(), 400),
        (Method::PATCH, "/twins/d1", "[".repeat(100_000), 400),
        (Method::POST, "/devices/query", r#"{"query":"SELEKT"}"#.to_owned(), 400),
        (Method::POST, "/twins/d1/methods", "{".to_owned(), 400),
        (Method::PATCH, "/twins/nobody", "{}".to_owned(), 404),
        (Method::PUT, "/devices/d3", format!("{{\"deviceId\":\"{}\"}}", "x".repeat(20 << 20)), 413),
    ];
    for (method, path, body, status) in cases {
        let start: String = body.chars().take(30).collect();
        let answer = service.call(method, path, body).await.unwrap();
        assert_eq!(answer.status, status, "{path} {start}: {answer:?}");
        let words = answer.body["Message"].as_str().unwrap_or_else(|| panic!("{path} {start}: {answer:?}"));
        assert!(words.contains("ErrorCode") || words.contains("errorCode"), "{path} {start}: {words}");
        assert!(answer.error_code.is_some(), "{path} {start}: {answer:?}");
    }
    let mut socket = platform.tls(platform.https_port(), b"http/1.1").await.unwrap();
    let header = format!("GET /devices HTTP/1.1\r\nHost: localhost\r\nX-Long: {}\r\n\r\n", "x".repeat(4 << 20));
    // The server may close before it has read everything.
    let _ = socket.write(header.as_bytes()).await;
    let answer = socket.read_to_end().await.unwrap();
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 431"), "{}", String::from_utf8_lossy(&answer));
    assert!(is_healthy(&service).await);
}

/// Garbage of many kinds, by number.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_says_all_before_it_listens_hears_why() {
    let (platform, _) = platform_with(&[]).await;
    let body = vec![b'x'; 8 << 20];
    for (path, status) in [("/devices/d1?api-version=2021-04-12", "413"), ("/nothing", "404")] {
        let mut socket = platform.tls(platform.https_port(), b"http/1.1").await.unwrap();
        let head = format!("PUT {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", body.len());
        socket.write(head.as_bytes()).await.unwrap();
        socket.write(&body).await.expect("it may say all");
        let answer = String::from_utf8(socket.read_to_end().await.unwrap()).unwrap();
        assert!(answer.lines().next().unwrap_or_default().contains(status), "{path}: {answer}");
    }
}

fn garbage(n: usize) -> Vec<u8> {
    let starts: [&[u8]; 6] = [
        b"\x10\xff\xff\xff\xff",
        b"AMQP\x09\x01\x00\x00",
        b"GET \xff\xfe HTTP/9\r\n\r\n",
        b"\x00",
        b"PRI * X",
        b"\x16\x03",
    ];
    let mut bytes = starts[n % starts.len()].to_vec();
    // A linear congruence is random enough for garbage.
    let next = |state: &mut u64| {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        Some(state.to_be_bytes()[0])
    };
    let mut state = n as u64;
    bytes.extend(std::iter::from_fn(|| next(&mut state)).take(64 + n % 4096));
    bytes
}

/// Sends garbage to a port, inside TLS or instead of it, and hangs up.
async fn harass(platform: &Platform, n: usize) {
    let port = [platform.mqtt_port(), platform.amqp_port(), platform.https_port()][n % 3];
    // What the platform does with it is its own affair; it may also close at once.
    if n.is_multiple_of(2) {
        let mut socket = platform.tls(port, b"").await.unwrap();
        let _ = socket.write(&garbage(n)).await;
        if n.is_multiple_of(4) {
            let _ = socket.write(&garbage(n + 1)).await;
        }
    } else {
        use tokio::io::AsyncWriteExt as _;
        let mut socket = platform.tcp(port).await.unwrap();
        let _ = socket.write_all(&garbage(n)).await;
    }
}

/// Logs in with a token nobody signed, under a name of its own.
async fn intrude(platform: &Platform, n: usize) {
    let login = Login::new(&format!("nobody-{n}"), &key(9));
    let (mut device, _, code) = Device::try_connect(platform, &login).await.unwrap();
    assert_eq!(code, ConnectReturnCode::NotAuthorized);
    device.closed().await.unwrap();
}

/// Does something for every number, some at once.
async fn flood(numbers: std::ops::Range<usize>, act: impl AsyncFn(usize)) {
    const AT_ONCE: usize = 16;
    let lanes = (0..AT_ONCE).map(|lane| {
        let (numbers, act) = (numbers.clone(), &act);
        async move {
            for n in numbers.skip(lane).step_by(AT_ONCE) {
                act(n).await;
            }
        }
    });
    futures::future::join_all(lanes).await;
}

/// Resident memory stays within bounds over [`FLOOD`] of `act`, and honest devices are served.
async fn check_memory(what: &str, act: impl AsyncFn(&Platform, usize)) {
    let (mut platform, service) = platform_with(&["d1"]).await;
    let (mut device, _) = Device::connect(&platform, &Login::new("d1", &key(1))).await.unwrap();
    flood(0..WARM_UP, async |n| act(&platform, n).await).await;
    let before = platform.resident_bytes().unwrap();
    flood(WARM_UP..WARM_UP + FLOOD, async |n| act(&platform, n).await).await;
    let after = platform.resident_bytes().unwrap();
    println!("resident memory: {} KiB before, {} KiB after {FLOOD} {what}", before >> 10, after >> 10);
    assert!(after < before + GROWTH_BYTES_MAX, "{what}: {before} -> {after} bytes");
    device.publish(EVENTS, b"still here").await.unwrap();
    assert!(is_healthy(&service).await && platform.is_running().unwrap());
    assert!(!platform.log().unwrap().contains("panicked"));
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_garbage_connections_leave_nothing_behind() {
    check_memory("connections of garbage", harass).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_refused_logins_leave_nothing_behind() {
    check_memory("refused logins", intrude).await;
}
