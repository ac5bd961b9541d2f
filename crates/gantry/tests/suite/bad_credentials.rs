//! Who is not let in, and who is put out.

use std::time::Duration;

use gantry_identity::Key;
use gantry_mqtt::ConnectReturnCode;
use gantry_testkit::{Device, Login, Platform, device_token};
use reqwest::Method;

use super::{key, platform_with};

const HOUR: Duration = Duration::from_secs(3600);

/// Refused with CONNACK 5, the reason in the log once.
async fn check(platform: &Platform, login: &Login, reason: &str) {
    let words = ["access refused", reason];
    let before = platform.log_lines(&words).unwrap().len();
    let (mut device, session_present, code) = Device::try_connect(platform, login).await.unwrap();
    assert_eq!((code, session_present), (ConnectReturnCode::NotAuthorized, false), "{reason}");
    device.closed().await.unwrap();
    let after = platform.wait_log(&words, before + 1).await.unwrap().len();
    assert_eq!(after, before + 1, "{reason}: logged once");
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_credentials_get_connack_5_and_one_line() {
    let (platform, service) = platform_with(&["d1", "d2", "off"]).await;
    assert_eq!(service.update_device("off", &key(1), "disabled").await.unwrap().status, 200);
    let with = |password: String| Login { password, ..Login::new("d1", &key(1)) };
    check(&platform, &with(device_token("d1", &key(1), HOUR, true)), "expired").await;
    check(&platform, &Login::new("d1", &key(9)), "signature").await;
    check(&platform, &with(device_token("d2", &key(1), HOUR, false)), "localhost/devices/d2").await;
    check(&platform, &Login::new("nobody", &key(1)), "nobody").await;
    check(&platform, &Login::new("off", &key(1)), "disabled").await;
    check(&platform, &with("not a token".into()), "d1").await;
    check(&platform, &with(String::new()), "d1").await;
    let elsewhere = Login { user_name: "other.example/d1/".into(), ..Login::new("d1", &key(1)) };
    check(&platform, &elsewhere, "other.example").await;
    let secret = key(1).to_base64();
    assert!(!platform.log().unwrap().contains(&secret), "no secret in the log");
    assert!(!platform.log().unwrap().contains("sig="), "no token in the log");
    assert_eq!(service.call(Method::GET, "/readyz", "").await.unwrap().status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_refusals_have_their_own_codes() {
    let (platform, _) = platform_with(&["d1"]).await;
    let login = Login::new("d1", &key(1));
    let cases = [
        (Login { user_name: "localhost/d2/".into(), ..login.clone() }, ConnectReturnCode::BadUserNameOrPassword),
        (Login { client_id: String::new(), ..login.clone() }, ConnectReturnCode::IdentifierRejected),
        (
            Login { will: Some(("devices/d2/messages/events/".into(), vec![])), ..login.clone() },
            ConnectReturnCode::NotAuthorized,
        ),
    ];
    for (login, expected) in cases {
        let (mut device, _, code) = Device::try_connect(&platform, &login).await.unwrap();
        assert_eq!(code, expected, "{login:?}");
        device.closed().await.unwrap();
    }
    let mut version_6 = login.encode();
    let level = version_6.windows(4).position(|window| window == b"MQTT").unwrap() + 4;
    version_6[level] = 6;
    let mut device = Device::open(&platform).await.unwrap();
    device.send(&version_6).await.unwrap();
    let refused = gantry_testkit::Received::Connack {
        session_present: false,
        code: ConnectReturnCode::UnacceptableProtocolVersion,
    };
    assert_eq!(device.next().await.unwrap(), Some(refused));
    device.closed().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_may_no_longer_be_there_is_cut_off() {
    let (platform, service) = platform_with(&["gone", "off", "rolled", "old"]).await;
    let connect = async |device: &str, key: &Key| Device::connect(&platform, &Login::new(device, key)).await.unwrap().0;

    let mut gone = connect("gone", &key(1)).await;
    assert_eq!(service.call(Method::DELETE, "/devices/gone", "").await.unwrap().status, 204);
    gone.closed().await.unwrap();

    let mut off = connect("off", &key(1)).await;
    assert_eq!(service.update_device("off", &key(1), "disabled").await.unwrap().status, 200);
    off.closed().await.unwrap();

    let mut rolled = connect("rolled", &key(1)).await;
    assert_eq!(service.update_device("rolled", &key(2), "enabled").await.unwrap().status, 200);
    rolled.closed().await.unwrap();
    let mut rolled = connect("rolled", &key(2)).await;
    rolled.ping().await.unwrap();

    let password = device_token("old", &key(1), Duration::from_secs(2), false);
    let login = Login { password, ..Login::new("old", &key(1)) };
    let (mut old, _) = Device::connect(&platform, &login).await.unwrap();
    old.closed().await.unwrap();
    assert_eq!(platform.wait_log(&["token expired"], 1).await.unwrap().len(), 1);
}
