//! MQTT 5, packet by packet: what is refused, limited, settled and ended, each with its reason.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::Context as _;
use gantry_identity::{ConnectSignature, Key};
use gantry_mqtt::QoS;
use gantry_mqtt::v5::{
    Acknowledgement, Connect, Decoded, Ending, Packet, Properties, Publish, Reason, Subscribe, SubscribeFilter, Will,
    decode, encode,
};
use gantry_testkit::{C2dSender, Platform, TlsSocket, stored_events};

use super::{key, platform_with};

const TELEMETRY: &str = "$iothub/telemetry";
const COMMANDS: &str = "$iothub/commands";

/// What a device says of itself at CONNECT, besides how it proves it.
#[derive(Clone)]
struct Login {
    client_id: &'static str,
    key: Key,
    life: Duration,
    connect: Properties<'static>,
    clean_start: bool,
    keep_alive_secs: u16,
    has_will: bool,
}

impl Login {
    fn new() -> Self {
        Self {
            client_id: "d1",
            key: key(1),
            life: Duration::from_secs(3600),
            connect: Properties::default(),
            clean_start: true,
            keep_alive_secs: 60,
            has_will: false,
        }
    }

    fn encode(&self) -> Vec<u8> {
        let proof = Proof::new(self.client_id, &self.key, self.life);
        let will = Will {
            properties: Properties { will_delay_secs: Some(5), user: vec![("@why", "cut")], ..Default::default() },
            topic: TELEMETRY,
            payload: b"last words",
            qos: QoS::AtLeastOnce,
            retain: false,
        };
        let mut properties = proof.properties();
        properties.user.extend([("api-version", "2020-10-01-preview"), ("host", "localhost")]);
        properties.user.extend(&self.connect.user);
        let properties = Properties { user: properties.user, ..self.connect.clone() };
        let properties = Properties {
            authentication_method: Some("SAS"),
            authentication_data: Some(&proof.signature),
            ..properties
        };
        let connect = Connect {
            clean_start: self.clean_start,
            keep_alive_secs: self.keep_alive_secs,
            properties,
            client_id: self.client_id,
            will: self.has_will.then(|| Box::new(will)),
            user_name: None,
            password: None,
        };
        bytes(&Packet::Connect(connect))
    }
}

/// A signature and what it is over.
struct Proof {
    expiry: String,
    signature: [u8; 32],
}

impl Proof {
    fn new(client_id: &str, key: &Key, life: Duration) -> Self {
        let at = gantry_gateway::now().plus(life);
        let expiry = at.as_millis().to_string();
        let context = ConnectSignature {
            host: "localhost",
            client_id,
            policy: None,
            at: Some("1"),
            expiry: &expiry,
            signature: &[],
        };
        let signature = context.sign(key);
        Self { expiry, signature }
    }

    fn properties(&self) -> Properties<'_> {
        Properties {
            authentication_method: Some("SAS"),
            authentication_data: Some(&self.signature),
            user: vec![("sas-at", "1"), ("sas-expiry", &self.expiry)],
            ..Default::default()
        }
    }
}

fn bytes(packet: &Packet<'_>) -> Vec<u8> {
    let mut out = vec![];
    encode(&mut out, packet);
    out
}

fn publish(packet_id: u16, topic: &str, properties: Properties<'_>, payload: &[u8]) -> Vec<u8> {
    let qos = if packet_id == 0 { QoS::AtMostOnce } else { QoS::AtLeastOnce };
    bytes(&Packet::Publish(Publish { dup: false, qos, retain: false, topic, packet_id, properties, payload }))
}

fn user(name: &'static str, value: &'static str) -> Properties<'static> {
    Properties { user: vec![(name, value)], ..Default::default() }
}

/// What the tests look at in a packet of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    kind: &'static str,
    reason: Reason,
    packet_id: u16,
    user: Vec<(String, String)>,
    reason_string: Option<String>,
    payload: Vec<u8>,
    session_present: bool,
    server_keep_alive_secs: Option<u16>,
}

impl Seen {
    fn of(packet: &Packet<'_>) -> Self {
        let none = Properties::default();
        let (kind, reason, packet_id, properties, payload) = match packet {
            Packet::Connack(p) => ("connack", p.reason, 0, &p.properties, &b""[..]),
            Packet::Puback(p) => ("puback", p.reason, p.packet_id, &p.properties, &b""[..]),
            Packet::Publish(p) => ("publish", Reason::SUCCESS, p.packet_id, &p.properties, p.payload),
            Packet::Suback(p) => ("suback", Reason(p.reasons[0]), p.packet_id, &p.properties, p.reasons),
            Packet::Disconnect(p) => ("disconnect", p.reason, 0, &p.properties, &b""[..]),
            Packet::Auth(p) => ("auth", p.reason, 0, &p.properties, &b""[..]),
            Packet::Pingresp => ("pingresp", Reason::SUCCESS, 0, &none, &b""[..]),
            other => panic!("{other:?}"),
        };
        Self {
            kind,
            reason,
            packet_id,
            user: properties.user.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
            reason_string: properties.reason_string.map(str::to_owned),
            payload: payload.to_vec(),
            session_present: matches!(packet, Packet::Connack(p) if p.session_present),
            server_keep_alive_secs: properties.server_keep_alive_secs,
        }
    }

    fn user(&self, name: &str) -> Option<&str> {
        self.user.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

struct Device {
    socket: TlsSocket,
    input: Vec<u8>,
    later: VecDeque<Seen>,
}

impl Device {
    async fn open(platform: &Platform, first: &[u8]) -> (Self, Seen) {
        let mut socket = platform.tls(platform.mqtt_port(), b"").await.unwrap();
        socket.write(first).await.unwrap();
        let mut device = Self { socket, input: vec![], later: VecDeque::new() };
        let connack = device.next().await.unwrap().expect("a CONNACK");
        (device, connack)
    }

    async fn connect(platform: &Platform, login: &Login) -> Self {
        let (device, connack) = Self::open(platform, &login.encode()).await;
        assert_eq!((connack.kind, connack.reason), ("connack", Reason::SUCCESS), "{connack:?}");
        device
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.socket.write(bytes).await.unwrap();
    }

    async fn next(&mut self) -> anyhow::Result<Option<Seen>> {
        if let Some(seen) = self.later.pop_front() {
            return Ok(Some(seen));
        }
        loop {
            if let Some(Decoded { packet, len }) = decode(&self.input, 1 << 20)? {
                let seen = Seen::of(&packet);
                self.input.drain(..len);
                return Ok(Some(seen));
            }
            if !self.socket.read(&mut self.input).await? {
                return Ok(None);
            }
        }
    }

    async fn expect(&mut self, kind: &str) -> Seen {
        let seen = self.next().await.unwrap().with_context(|| format!("closed before a {kind}")).unwrap();
        assert_eq!(seen.kind, kind, "{seen:?}");
        seen
    }

    /// The reason of a DISCONNECT, after which the connection is closed.
    async fn ended(&mut self) -> Seen {
        let seen = self.expect("disconnect").await;
        assert_eq!(self.next().await.unwrap(), None);
        seen
    }

    async fn subscribe(&mut self, filter: &str, properties: Properties<'_>) -> Reason {
        let (qos, no_local, retain_as_published, retain_handling) = (QoS::AtLeastOnce, false, false, 0);
        let filter = SubscribeFilter { filter, qos, no_local, retain_as_published, retain_handling };
        self.send(&bytes(&Packet::Subscribe(Subscribe { packet_id: 1, properties, filters: vec![filter] }))).await;
        self.expect("suback").await.reason
    }

    async fn settle(&mut self, packet_id: u16, reason: Reason, properties: Properties<'_>) {
        self.send(&bytes(&Packet::Puback(Acknowledgement { packet_id, reason, properties }))).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connect_is_refused_with_a_reason() {
    let (platform, _) = platform_with(&["d1"]).await;
    let with = |connect: Properties<'static>| Login { connect, ..Login::new() }.encode();
    let cases = [
        (Login { key: key(2), ..Login::new() }.encode(), Reason::NOT_AUTHORIZED, Some("0101")),
        (Login { client_id: "d2", ..Login::new() }.encode(), Reason::NOT_AUTHORIZED, Some("0101")),
        (with(user("host", "elsewhere.test")), Reason::NOT_AUTHORIZED, Some("0101")),
        (Login { client_id: "", ..Login::new() }.encode(), Reason::CLIENT_ID_NOT_VALID, None),
        (Login { client_id: "a b", ..Login::new() }.encode(), Reason::CLIENT_ID_NOT_VALID, None),
        (with(user("test", "1")), Reason::IMPLEMENTATION_SPECIFIC, Some("0100")),
        // Of version 5 by its level, but a property twice, and a flag that must be zero.
        (
            b"\x10\x14\x00\x04MQTT\x05\x02\x00\x3c\x06\x21\x00\x01\x21\x00\x01\x00\x01d".to_vec(),
            Reason::PROTOCOL_ERROR,
            None,
        ),
        (b"\x10\x0e\x00\x04MQTT\x05\x03\x00\x3c\x00\x00\x01d".to_vec(), Reason::MALFORMED_PACKET, None),
    ];
    for (connect, reason, status) in cases {
        let (mut device, connack) = Device::open(&platform, &connect).await;
        assert_eq!((connack.kind, connack.reason, connack.user("status")), ("connack", reason, status), "{connack:?}");
        assert_eq!(device.next().await.unwrap(), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_breaks_the_rules_ends_the_connection_with_a_reason() {
    let (platform, _) = platform_with(&["d1"]).await;
    let alias = |alias| Properties { topic_alias: Some(alias), ..Default::default() };
    let plain = Properties::default;
    let raw = |qos, retain| {
        let (topic, packet_id, properties) = (TELEMETRY, 1, plain());
        bytes(&Packet::Publish(Publish { dup: false, qos, retain, topic, packet_id, properties, payload: b"" }))
    };
    let too_many: Vec<u8> = (1..=17).flat_map(|id| publish(id, TELEMETRY, plain(), b"x")).collect();
    let cases = [
        (raw(QoS::ExactlyOnce, false), Reason::QOS_NOT_SUPPORTED),
        (raw(QoS::AtLeastOnce, true), Reason::RETAIN_NOT_SUPPORTED),
        (publish(1, TELEMETRY, alias(0), b""), Reason::TOPIC_ALIAS_INVALID),
        (publish(1, TELEMETRY, alias(11), b""), Reason::TOPIC_ALIAS_INVALID),
        (publish(1, "", alias(3), b""), Reason::TOPIC_ALIAS_INVALID),
        (too_many, Reason::RECEIVE_MAXIMUM_EXCEEDED),
        // 256 KiB announced behind the header; none of it is waited for.
        (vec![0x30, 0x80, 0x80, 0x10], Reason::PACKET_TOO_LARGE),
        (Login::new().encode(), Reason::PROTOCOL_ERROR),
        (bytes(&Packet::Pingresp), Reason::PROTOCOL_ERROR),
        (vec![0x36, 3, 0, 1, b'a'], Reason::MALFORMED_PACKET),
        (publish(0, TELEMETRY, user("nothing", ""), b""), Reason::IMPLEMENTATION_SPECIFIC),
        (publish(0, "$iothub/nothing", plain(), b""), Reason::TOPIC_NAME_INVALID),
        (bytes(&Packet::Auth(Ending::default())), Reason::PROTOCOL_ERROR),
    ];
    for (sent, reason) in cases {
        let mut device = Device::connect(&platform, &Login::new()).await;
        device.send(&sent).await;
        assert_eq!(device.ended().await.reason, reason);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn publishes_are_answered_in_order_refused_ones_among_them() {
    let (mut platform, _) = platform_with(&["d1"]).await;
    let mut device = Device::connect(&platform, &Login::new()).await;
    let alias = Properties { topic_alias: Some(10), ..Default::default() };
    let mut sent = publish(1, TELEMETRY, alias.clone(), b"one");
    sent.extend(publish(2, "", alias.clone(), b"two"));
    sent.extend(publish(3, TELEMETRY, user("nothing", ""), b"three"));
    sent.extend(publish(4, "$iothub/twin/get", Properties::default(), b""));
    sent.extend(publish(5, "$iothub/nothing", Properties::default(), b""));
    sent.extend(publish(6, "", alias, b"six"));
    device.send(&sent).await;
    let refused = Reason::IMPLEMENTATION_SPECIFIC;
    let expected = [
        (None, Reason(0)),
        (None, Reason(0)),
        (Some("0100"), refused),
        (Some("0100"), refused),
        (Some("0504"), refused),
        (None, Reason(0)),
    ];
    for (packet_id, (status, reason)) in (1..).zip(expected) {
        let puback = device.expect("puback").await;
        assert_eq!((puback.packet_id, puback.reason, puback.user("status")), (packet_id, reason, status));
        assert_eq!(puback.reason_string.is_some(), status.is_some());
    }
    // The window is free again.
    for packet_id in 1..=16 {
        device.send(&publish(packet_id, TELEMETRY, Properties::default(), b"more")).await;
    }
    for _ in 1..=16 {
        assert_eq!(device.expect("puback").await.reason, Reason::SUCCESS);
    }
    platform.stop().unwrap();
    let bodies: Vec<_> = stored_events(platform.data()).await.unwrap().into_iter().map(|event| event.body).collect();
    assert_eq!((bodies.len(), &bodies[..3]), (19, &["one".into(), "two".into(), "six".into()][..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_told_no_more_than_it_wants() {
    let (platform, _) = platform_with(&["d1"]).await;
    let quiet = Properties { request_problem_information: Some(false), ..Default::default() };
    let mut device = Device::connect(&platform, &Login { connect: quiet, ..Login::new() }).await;
    device.send(&publish(1, TELEMETRY, user("nothing", ""), b"")).await;
    let puback = device.expect("puback").await;
    assert_eq!((puback.reason, puback.user.len(), puback.reason_string), (Reason::IMPLEMENTATION_SPECIFIC, 0, None));

    let small = Properties { maximum_packet_size: Some(60), ..Default::default() };
    let mut device = Device::connect(&platform, &Login { connect: small, ..Login::new() }).await;
    let request = Properties { correlation_data: Some(b"1"), ..Default::default() };
    device.send(&publish(0, "$iothub/twin/get", request, b"")).await;
    let answer = device.expect("publish").await;
    assert_eq!((answer.user("status"), answer.payload.len()), (Some("0503"), 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keep_alive_has_a_cap_and_subscriptions_no_identifiers() {
    let (platform, _) = platform_with(&["d1"]).await;
    for (asked, told) in [(0, Some(1140)), (1140, None), (1141, Some(1140))] {
        let login = Login { keep_alive_secs: asked, ..Login::new() };
        let (_, connack) = Device::open(&platform, &login.encode()).await;
        assert_eq!(connack.server_keep_alive_secs, told);
    }
    let mut device = Device::connect(&platform, &Login::new()).await;
    let identifier = Properties { subscription_identifier: Some(1), ..Default::default() };
    let refused = Reason::SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED;
    assert_eq!(device.subscribe(COMMANDS, identifier).await, refused);

    let mut device = Device::connect(&platform, &Login { keep_alive_secs: 1, ..Login::new() }).await;
    assert_eq!(device.ended().await.reason, Reason::KEEP_ALIVE_TIMEOUT);
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_are_done_given_back_or_refused_one_at_a_time() {
    let (platform, service) = platform_with(&["d1"]).await;
    let mut sender = C2dSender::connect(&platform, &service).await.unwrap();
    for body in ["one", "two", "three"] {
        assert!(sender.send("d1", body, body.as_bytes()).await.unwrap());
    }
    let connect = Properties { receive_maximum: Some(1), session_expiry_secs: Some(60), ..Default::default() };
    let login = Login { connect, clean_start: false, ..Login::new() };
    let mut device = Device::connect(&platform, &login).await;
    assert_eq!(device.subscribe(COMMANDS, Properties::default()).await, Reason(1));

    let first = device.expect("publish").await;
    assert_eq!((&first.payload[..], first.user("delivery-count")), (&b"one"[..], Some("0")));
    let failed = Reason::IMPLEMENTATION_SPECIFIC;
    device.settle(first.packet_id, failed, user("status", "0603")).await;
    let again = device.expect("publish").await;
    assert_eq!((&again.payload[..], again.user("delivery-count")), (&b"one"[..], Some("1")));
    device.settle(again.packet_id, failed, user("status", "0100")).await;
    let second = device.expect("publish").await;
    assert_eq!(second.payload, b"two");
    // One is unacknowledged, so the next waits: what comes first is the answer to the ping.
    device.send(&bytes(&Packet::Pingreq)).await;
    device.expect("pingresp").await;
    // Unsettled, it comes again with the session.
    drop(device);
    let (mut device, connack) = Device::open(&platform, &login.encode()).await;
    assert!(connack.session_present);
    let second = device.expect("publish").await;
    assert_eq!(second.payload, b"two");
    device.settle(second.packet_id, Reason::SUCCESS, Properties::default()).await;
    assert_eq!(device.expect("publish").await.payload, b"three");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_larger_than_the_client_takes_is_rejected() {
    let (platform, service) = platform_with(&["d1"]).await;
    let mut sender = C2dSender::connect(&platform, &service).await.unwrap();
    assert!(sender.send("d1", "large", &[b'x'; 1000]).await.unwrap());
    assert!(sender.send("d1", "small", b"small").await.unwrap());
    let connect = Properties { maximum_packet_size: Some(500), ..Default::default() };
    let mut device = Device::connect(&platform, &Login { connect, ..Login::new() }).await;
    assert_eq!(device.subscribe(COMMANDS, Properties::default()).await, Reason(1));
    let command = device.expect("publish").await;
    assert_eq!(command.payload, b"small");
    device.settle(command.packet_id, Reason::SUCCESS, Properties::default()).await;
    device.send(&bytes(&Packet::Pingreq)).await;
    device.expect("pingresp").await;
    let twin = service.twin("d1").await.unwrap();
    assert_eq!(twin.body["cloudToDeviceMessageCount"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_is_renewed_in_the_connection_or_ends_it() {
    let (platform, _) = platform_with(&["d1", "d2"]).await;
    let short = Login { life: Duration::from_secs(4), ..Login::new() };
    let renew = |key: &Key, life| {
        let proof = Proof::new("d1", key, life);
        bytes(&Packet::Auth(Ending { reason: Reason::REAUTHENTICATE, properties: proof.properties() }))
    };
    let mut device = Device::connect(&platform, &short).await;
    device.send(&renew(&key(1), Duration::from_secs(3600))).await;
    assert_eq!(device.expect("auth").await.reason, Reason::SUCCESS);
    // A later connection with a proof as short ends; the renewed one does not.
    let mut expiring = Device::connect(&platform, &Login { client_id: "d2", ..short }).await;
    assert_eq!(expiring.ended().await.reason, Reason::NOT_AUTHORIZED);
    device.send(&bytes(&Packet::Pingreq)).await;
    device.expect("pingresp").await;
    // A newer proof may also end earlier.
    device.send(&renew(&key(1), Duration::from_secs(1))).await;
    assert_eq!(device.expect("auth").await.reason, Reason::SUCCESS);
    assert_eq!(device.ended().await.reason, Reason::NOT_AUTHORIZED);

    let mut device = Device::connect(&platform, &Login::new()).await;
    device.send(&renew(&key(2), Duration::from_secs(60))).await;
    assert_eq!(device.ended().await.reason, Reason::NOT_AUTHORIZED);
    let mut device = Device::connect(&platform, &Login::new()).await;
    let other = Properties { authentication_method: Some("X509"), ..Default::default() };
    device.send(&bytes(&Packet::Auth(Ending { reason: Reason::REAUTHENTICATE, properties: other }))).await;
    assert_eq!(device.ended().await.reason, Reason::BAD_AUTHENTICATION_METHOD);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_says_why_it_ends_a_connection_and_publishes_the_will() {
    let (mut platform, service) = platform_with(&["d1"]).await;
    let with_will = Login { has_will: true, ..Login::new() };
    drop(Device::connect(&platform, &with_will).await);
    let mut first = Device::connect(&platform, &Login::new()).await;
    let mut second = Device::connect(&platform, &Login::new()).await;
    assert_eq!(first.ended().await.reason, Reason::SESSION_TAKEN_OVER);
    service.update_device("d1", &key(1), "disabled").await.unwrap();
    assert_eq!(second.ended().await.reason, Reason::NOT_AUTHORIZED);
    service.update_device("d1", &key(1), "enabled").await.unwrap();
    let mut third = Device::connect(&platform, &Login::new()).await;
    platform.stop().unwrap();
    assert_eq!(third.ended().await.reason, Reason::SERVER_SHUTTING_DOWN);
    let events = stored_events(platform.data()).await.unwrap();
    assert_eq!((events.len(), &events[0].body[..]), (1, &b"last words"[..]));
    let properties: Vec<_> =
        events[0].properties.iter().map(|(n, v)| (n.as_str(), v.as_deref().unwrap_or("null"))).collect();
    assert_eq!(properties, [("why", "cut"), ("iothub-MessageType", "Will")]);
}
