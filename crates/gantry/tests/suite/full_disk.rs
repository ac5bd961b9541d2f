//! A disk without space: said clearly, nothing acknowledged is lost, and all is well when space returns.
//!
//! The data folder is on a small tmpfs of its own, so these tests must be allowed to mount.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;

use gantry_mqtt::QoS;
use gantry_testkit::{C2dSender, Device, Login, Platform, Received, stored_events};
use reqwest::Method;
use tempfile::TempDir;

use super::{GANTRY, key};

const EVENTS: &str = "devices/d1/messages/events/";
/// The event log takes 64 MiB at a time: room for one segment, not for two.
const DISK: &str = "size=160m";
/// Messages of this size fill what is left of the segment in a few hundred.
const MESSAGE_BYTES: usize = 250 * 1024;
const MESSAGES_MAX: usize = 400;

/// A tmpfs, unmounted when dropped.
pub(super) struct SmallDisk {
    folder: TempDir,
}

impl SmallDisk {
    pub(super) fn mount() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let status = Command::new("mount").args(["-t", "tmpfs", "-o", DISK, "tmpfs"]).arg(folder.path()).status();
        assert!(status.is_ok_and(|status| status.success()), "mounting a tmpfs is not permitted; run as root");
        Self { folder }
    }

    pub(super) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn filler(&self) -> PathBuf {
        self.folder.path().join("filler")
    }

    /// Takes every byte that is left.
    pub(super) fn fill(&self) {
        let mut file = File::options().create(true).append(true).open(self.filler()).unwrap();
        for block_bytes in [1 << 20, 4096, 1] {
            let block = vec![0; block_bytes];
            while file.write_all(&block).is_ok() {}
        }
    }

    pub(super) fn release(&self) {
        fs::remove_file(self.filler()).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.folder.path()).status();
    }
}

fn body(number: usize) -> Vec<u8> {
    let mut body = format!("{number} ").into_bytes();
    body.resize(MESSAGE_BYTES, b'.');
    body
}

/// Publishes until the hub closes; returns how many were acknowledged in all, counting from `next`.
async fn publish_until_closed(platform: &Platform, next: usize) -> usize {
    let (mut device, _) = Device::connect(platform, &Login::new("d1", &key(1))).await.unwrap();
    for number in next..next + MESSAGES_MAX {
        if device.publish(EVENTS, &body(number)).await.is_err() {
            return number;
        }
    }
    panic!("the disk is full, but publishes are acknowledged");
}

/// The status of the hub's answer to a report.
async fn report(platform: &Platform) -> String {
    let (mut device, _) = Device::connect(platform, &Login::new("d1", &key(1))).await.unwrap();
    assert_eq!(device.subscribe(&[("$iothub/twin/res/#", QoS::AtMostOnce)]).await.unwrap(), [0]);
    let mut output = vec![];
    device.encode_publish(&mut output, "$iothub/twin/PATCH/properties/reported/?$rid=1", br#"{"a":1}"#, false);
    device.send(&output).await.unwrap();
    match device.wait(|received| matches!(received, Received::Message { .. })).await.unwrap() {
        Received::Message { topic, .. } => topic.split('/').nth(3).unwrap().to_owned(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_said_and_passes_and_loses_nothing() {
    let disk = SmallDisk::mount();
    let mut platform = Platform::start_with_data(GANTRY, &disk.data()).unwrap();
    let service = platform.service().unwrap();
    assert_eq!(service.create_device("d1", &key(1)).await.unwrap().status, 200);
    let mut c2d = C2dSender::connect(&platform, &service).await.unwrap();
    disk.fill();

    // Writes are refused with words; those before that are kept.
    let mut created = vec![];
    let refusal = loop {
        let id = format!("extra{}", created.len());
        let answer = service.create_device(&id, &key(1)).await.unwrap();
        if answer.status != 200 {
            break answer;
        }
        created.push(id);
        assert!(created.len() < 3000, "the disk is full, so writes must be refused");
    };
    assert_eq!((refusal.status, refusal.error_code.as_deref()), (503, Some("ServiceUnavailable")), "{refusal:?}");
    assert!(refusal.body["Message"].as_str().is_some_and(|words| words.contains("no space")), "{refusal:?}");
    assert_eq!(report(&platform).await, "503");
    assert!(!c2d.send("d1", "m", b"m").await.unwrap());
    let acknowledged = publish_until_closed(&platform, 0).await;
    let acknowledged = publish_until_closed(&platform, acknowledged).await;
    assert_eq!(platform.wait_log(&["telemetry not stored, closing", "no space left"], 2).await.unwrap().len(), 2);

    // Reads go on.
    for path in ["/devices/d1", "/twins/d1", "/readyz", "/devices"] {
        assert_eq!(service.call(Method::GET, path, "").await.unwrap().status, 200, "{path}");
    }
    assert!(platform.is_running().unwrap());

    // Space returns: everything works without a restart.
    disk.release();
    assert_eq!(service.create_device("later", &key(1)).await.unwrap().status, 200);
    assert_eq!(report(&platform).await, "204");
    assert!(c2d.send("d1", "m", b"m").await.unwrap());
    let (mut device, _) = Device::connect(&platform, &Login::new("d1", &key(1))).await.unwrap();
    device.publish(EVENTS, &body(acknowledged)).await.unwrap();
    device.disconnect().await.unwrap();

    for words in ["state is not being written", "state is being written again", "events are not being committed"] {
        assert_eq!(platform.wait_log(&[words], 1).await.unwrap().len(), 1, "{words}: logged once");
    }

    // It stops in order on a full disk, says why it cannot start, and starts when it can.
    disk.fill();
    platform.stop().unwrap();
    let refused = platform.restart().unwrap_err().to_string();
    assert!(refused.contains("No space left") || refused.contains("no space left"), "{refused}");
    disk.release();
    platform.restart().unwrap();
    let (mut device, _) = Device::connect(&platform, &Login::new("d1", &key(1))).await.unwrap();
    device.publish(EVENTS, &body(acknowledged + 1)).await.unwrap();
    for id in created.iter().map(String::as_str).chain(["d1", "later"]) {
        let answer = service.call(Method::GET, &format!("/devices/{id}"), "").await.unwrap();
        assert_eq!(answer.status, 200, "{id}");
    }
    let refused = service.call(Method::GET, &format!("/devices/extra{}", created.len()), "").await.unwrap();
    assert_eq!(refused.status, 404, "a refused device is not there");
    device.disconnect().await.unwrap();
    platform.stop().unwrap();
    let mut stored: Vec<_> = stored_events(&disk.data()).await.unwrap().into_iter().map(|event| event.body).collect();
    stored.dedup();
    let expected: Vec<_> = (0..acknowledged + 2).map(body).collect();
    let intact = stored.len() == expected.len() && stored.iter().zip(&expected).all(|(a, b)| a == b);
    assert!(intact, "{} acknowledged, {} stored or not as sent", expected.len(), stored.len());
    println!("full disk: {acknowledged} messages and {} devices acknowledged before it", created.len());
}
