//! What outlives a connection, and what ends one.

use std::time::{Duration, Instant};

use gantry_hub::event::StoredEvent;
use gantry_mqtt::QoS;
use gantry_testkit::{C2dSender, Device, Login, Received, stored_events};

use super::{key, platform_with};

const C2D_FILTER: &str = "devices/d1/messages/devicebound/#";
const EVENTS: &str = "devices/d1/messages/events/";

fn kept(device: &str) -> Login {
    Login { clean_session: false, ..Login::new(device, &key(1)) }
}

fn is_message(received: &Received) -> bool {
    matches!(received, Received::Message { .. })
}

async fn expect_c2d(device: &mut Device, body: &[u8]) {
    let Received::Message { topic, payload, packet_id } = device.wait(is_message).await.unwrap() else {
        unreachable!("waited for a message")
    };
    assert!(topic.starts_with("devices/d1/messages/devicebound/"), "{topic}");
    assert_eq!(payload, body);
    device.acknowledge(packet_id).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_session_keeps_subscriptions_and_messages_over_reconnect_and_restart() {
    let (mut platform, service) = platform_with(&["d1"]).await;
    let (mut device, session_present) = Device::connect(&platform, &kept("d1")).await.unwrap();
    assert!(!session_present);
    assert_eq!(device.subscribe(&[(C2D_FILTER, QoS::AtLeastOnce)]).await.unwrap(), [1]);
    device.disconnect().await.unwrap();

    let mut sender = C2dSender::connect(&platform, &service).await.unwrap();
    assert!(sender.send("d1", "m1", b"while away").await.unwrap());
    let (mut device, session_present) = Device::connect(&platform, &kept("d1")).await.unwrap();
    assert!(session_present);
    expect_c2d(&mut device, b"while away").await;
    device.disconnect().await.unwrap();

    assert!(sender.send("d1", "m2", b"before the restart").await.unwrap());
    platform.stop().unwrap();
    platform.restart().unwrap();
    let (mut device, session_present) = Device::connect(&platform, &kept("d1")).await.unwrap();
    assert!(session_present);
    expect_c2d(&mut device, b"before the restart").await;
    device.disconnect().await.unwrap();

    // A clean session forgets: what comes next waits in the queue until it is asked for.
    let (device, session_present) = Device::connect(&platform, &Login::new("d1", &key(1))).await.unwrap();
    assert!(!session_present);
    device.disconnect().await.unwrap();
    let (_, session_present) = Device::connect(&platform, &kept("d1")).await.unwrap();
    assert!(!session_present);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chart_shows_after_a_restart_what_was_sent_before_it() {
    let (mut platform, service) = platform_with(&["d1"]).await;
    let sent = [20.5, 21.5, 22.5];
    let (mut device, _) = Device::connect(&platform, &Login::new("d1", &key(1))).await.unwrap();
    for value in sent {
        device.publish(EVENTS, format!("{{\"motor\":{{\"temperature\":{value}}}}}").as_bytes()).await.unwrap();
    }
    device.disconnect().await.unwrap();
    shows(&service, &sent.map(|value| (value, true))).await;

    platform.stop().unwrap();
    platform.restart().unwrap();
    let service = platform.service().unwrap();
    shows(&service, &sent.map(|value| (value, false))).await;
    let (mut device, _) = Device::connect(&platform, &Login::new("d1", &key(1))).await.unwrap();
    device.publish(EVENTS, br#"{"motor":{"temperature":23.5}}"#).await.unwrap();
    device.disconnect().await.unwrap();
    shows(&service, &[(20.5, false), (21.5, false), (22.5, false), (23.5, true)]).await;
}

/// Waits until a chart has these values, with whether they were judged: a point is there before it is judged.
async fn shows(service: &gantry_testkit::Service, expected: &[(f64, bool)]) {
    let path = "/platform/v1/devices/d1/series?signal=motor.temperature";
    let mut shown = Vec::new();
    for _ in 0..600 {
        let answer = service.call(reqwest::Method::GET, path, "").await.unwrap();
        let point = |point: &serde_json::Value| (point["value"].as_f64().unwrap(), point["score"].is_number());
        shown = answer.body["points"].as_array().into_iter().flatten().map(point).collect();
        if shown == expected {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{shown:?} after 30 s, not {expected:?}")
}

fn property<'a>(event: &'a StoredEvent, name: &str) -> Option<&'a str> {
    event.properties.iter().find(|(n, _)| n == name).and_then(|(_, value)| value.as_deref())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_will_is_published_when_the_socket_is_cut_and_retain_is_a_property() {
    let (mut platform, _) = platform_with(&["d1"]).await;
    let will = Some((format!("{EVENTS}why=cut"), b"last words".to_vec()));
    let login = Login { will, ..Login::new("d1", &key(1)) };
    let (device, _) = Device::connect(&platform, &login).await.unwrap();
    device.disconnect().await.unwrap();
    let (device, _) = Device::connect(&platform, &login).await.unwrap();
    drop(device);

    let (mut device, _) = Device::connect(&platform, &Login::new("d1", &key(1))).await.unwrap();
    let mut output = vec![];
    let packet_id = device.encode_publish(&mut output, EVENTS, b"kept?", true);
    device.send(&output).await.unwrap();
    device.wait(|received| *received == Received::Puback(packet_id)).await.unwrap();
    device.disconnect().await.unwrap();
    platform.stop().unwrap();

    let events = stored_events(platform.data()).await.unwrap();
    let wills: Vec<_> = events.iter().filter(|event| &event.body[..] == b"last words").collect();
    assert_eq!(wills.len(), 1, "one connection was cut, one left in order");
    assert_eq!(property(wills[0], "iothub-MessageType"), Some("Will"));
    assert_eq!(property(wills[0], "why"), Some("cut"));
    let retained = events.iter().find(|event| &event.body[..] == b"kept?").unwrap();
    assert_eq!(property(retained, "mqtt-retain"), Some("true"));
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_of_one_and_a_half_keep_alives_ends_a_connection() {
    let (platform, _) = platform_with(&["d1"]).await;
    let login = Login { keep_alive_secs: 1, ..Login::new("d1", &key(1)) };
    let (mut device, _) = Device::connect(&platform, &login).await.unwrap();
    let begun = Instant::now();
    device.closed().await.unwrap();
    let silent = begun.elapsed();
    assert!((Duration::from_millis(1400)..Duration::from_secs(6)).contains(&silent), "{silent:?}");
    assert_eq!(platform.wait_log(&["keep-alive exceeded"], 1).await.unwrap().len(), 1);
}
