//! The real binary under what the field does to it: crashes, full disks, broken and hostile clients.

mod bad_credentials;
mod bad_input;
mod blobs;
mod crowd;
mod errors;
mod fleet;
mod full_disk;
mod kill9;
mod mqtt5;
mod paths;
mod sessions;
mod slow;
mod streaming;
mod token_server;

use gantry_identity::Key;
use gantry_testkit::{Platform, Service};

/// The binary under test.
const GANTRY: &str = env!("CARGO_BIN_EXE_gantry");

/// A key of one repeated byte.
fn key(byte: u8) -> Key {
    Key::from_bytes([byte; 32])
}

/// A platform with enabled devices, all with `key(1)`.
async fn platform_with(devices: &[&str]) -> (Platform, Service) {
    let platform = Platform::start(GANTRY).expect("the platform starts");
    let service = platform.service().expect("connection.env is there");
    for device in devices {
        let answer = service.create_device(device, &key(1)).await.expect("an answer");
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    (platform, service)
}
