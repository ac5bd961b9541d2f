//! The blob store of the real binary: a kill loses nothing that was answered, a large blob needs little
//! memory, a full disk is said.

use std::collections::BTreeMap;

use bytes::Bytes;
use gantry_blobs::SasSigner;
use gantry_identity::{Key, Timestamp, encode_component};
use gantry_testkit::Platform;
use rand::rngs::StdRng;
use rand::{Rng as _, RngCore as _, SeedableRng as _};
use reqwest::{Body, Client, Response, StatusCode};
use tokio::sync::watch;

use super::GANTRY;
use super::full_disk::SmallDisk;

/// The container that file upload makes at first start.
const CONTAINER: &str = "uploads";
const ROUNDS: u64 = 4;
const LARGE_MIB: u64 = 512;
const MIB: u64 = 1 << 20;

/// A client with a signature for the container.
struct Blobs {
    http: Client,
    url: String,
    signature: String,
}

impl Blobs {
    fn new(platform: &Platform) -> Self {
        let connection = platform.connection().unwrap()["AZURE_STORAGE_CONNECTION_STRING"].clone();
        let field = |name: &str| {
            let mut fields = connection.split(';').filter_map(|pair| pair.split_once('='));
            fields.find(|(key, _)| *key == name).unwrap().1.to_owned()
        };
        let key = Key::from_base64(&field("AccountKey")).unwrap();
        let signer = SasSigner { account: field("AccountName"), key };
        let expires_at = Timestamp::from_millis(4_000_000_000_000);
        let signature = signer.container(CONTAINER, "rcwdl", expires_at);
        let url = format!("https://localhost:{}/{CONTAINER}", platform.https_port());
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let ca = reqwest::Certificate::from_pem(&platform.ca().unwrap()).unwrap();
        let http = Client::builder().tls_certs_only([ca]).http1_only().build().unwrap();
        Self { http, url, signature }
    }

    fn address(&self, name: &str) -> String {
        format!("{}/{}{}", self.url, encode_component(name), self.signature)
    }

    async fn put(&self, name: &str, body: impl Into<Body>) -> reqwest::Result<Response> {
        self.http.put(self.address(name)).header("x-ms-blob-type", "BlockBlob").body(body).send().await
    }

    async fn put_in_blocks(&self, name: &str, body: &[u8]) -> reqwest::Result<Response> {
        let mut list = String::from("<BlockList>");
        for (n, block) in body.chunks(body.len() / 3 + 1).enumerate() {
            let id = format!("QUF{n}");
            let address = format!("{}&comp=block&blockid={id}", self.address(name));
            self.http.put(address).body(block.to_vec()).send().await?.error_for_status()?;
            list.push_str(&format!("<Latest>{id}</Latest>"));
        }
        let address = format!("{}&comp=blocklist", self.address(name));
        self.http.put(address).body(format!("{list}</BlockList>")).send().await
    }

    async fn get(&self, name: &str) -> Option<Vec<u8>> {
        let answer = self.http.get(self.address(name)).send().await.unwrap();
        if answer.status() == StatusCode::NOT_FOUND {
            return None;
        }
        Some(answer.error_for_status().unwrap().bytes().await.unwrap().to_vec())
    }
}

fn body(seed: u64) -> Vec<u8> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut body = vec![0; random.random_range(1..3_000_000)];
    random.fill_bytes(&mut body);
    body
}

/// Puts blobs one after the other until the connection breaks; says what each was answered to hold last.
async fn put_until_killed(blobs: Blobs, worker: u64, round: u64, count: watch::Sender<u64>) -> BTreeMap<String, u64> {
    let mut answered = BTreeMap::new();
    for n in 0.. {
        let (name, seed) = (format!("w{worker}/{}", n % 5), worker << 32 | round << 16 | n);
        // What is under way when the process is killed may be there or not.
        answered.remove(&name);
        let body = body(seed);
        let put = if n % 2 == 0 { blobs.put(&name, body).await } else { blobs.put_in_blocks(&name, &body).await };
        if put.and_then(Response::error_for_status).is_err() {
            break;
        }
        answered.insert(name, seed);
        count.send_modify(|count| *count += 1);
    }
    answered
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_loses_no_blob_that_was_answered() {
    let mut platform = Platform::start(GANTRY).unwrap();
    for round in 0..ROUNDS {
        let (count, mut counted) = watch::channel(0);
        let work = |worker| tokio::spawn(put_until_killed(Blobs::new(&platform), worker, round, count.clone()));
        let workers: Vec<_> = (0..3).map(work).collect();
        let kill_after = rand::rng().random_range(10..40);
        counted.wait_for(|count| *count >= kill_after).await.unwrap();
        platform.kill().unwrap();
        platform.restart().unwrap();
        let blobs = Blobs::new(&platform);
        for worker in workers {
            for (name, seed) in worker.await.unwrap() {
                assert!(blobs.get(&name).await.is_some_and(|found| found == body(seed)), "{name} of {seed:x}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_blob_needs_little_memory() {
    let platform = Platform::start(GANTRY).unwrap();
    let blobs = Blobs::new(&platform);
    blobs.put("small", "x").await.unwrap().error_for_status().unwrap();
    let before = platform.resident_bytes().unwrap();
    let piece = Bytes::from(vec![7; MIB as usize]);
    let pieces = futures::stream::iter((0..LARGE_MIB).map(move |_| Ok::<_, std::io::Error>(piece.clone())));
    blobs.put("large", Body::wrap_stream(pieces)).await.unwrap().error_for_status().unwrap();
    let address = blobs.address("large");
    let mut answer = blobs.http.get(address).send().await.unwrap().error_for_status().unwrap();
    let mut length = 0;
    while let Some(chunk) = answer.chunk().await.unwrap() {
        assert!(chunk.iter().all(|byte| *byte == 7));
        length += chunk.len() as u64;
    }
    assert_eq!(length, LARGE_MIB * MIB);
    let grown = platform.resident_bytes().unwrap().saturating_sub(before);
    println!("{LARGE_MIB} MiB up and down: resident memory grew by {} KiB", grown >> 10);
    assert!(grown < 48 * MIB, "resident memory grew by {grown} bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_said_and_passes() {
    let disk = SmallDisk::mount();
    let platform = Platform::start_with_data(GANTRY, &disk.data()).unwrap();
    let blobs = Blobs::new(&platform);
    blobs.put("before", "kept").await.unwrap().error_for_status().unwrap();
    disk.fill();
    for size in [100_000, 3_000_000] {
        let refused = blobs.put("no-room", vec![1; size]).await.unwrap();
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(refused.headers()["x-ms-error-code"], "ServerBusy");
    }
    assert_eq!(blobs.get("no-room").await, None);
    assert_eq!(blobs.get("before").await.as_deref(), Some(&b"kept"[..]));
    disk.release();
    blobs.put("after", vec![1; 3_000_000]).await.unwrap().error_for_status().unwrap();
    assert_eq!(blobs.get("after").await.map(|found| found.len()), Some(3_000_000));
}
