//! Tokens a second on one core: signing alone, and a whole request with an API key.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures::FutureExt as _;
use gantry_identity::{Key, Signer, Timestamp};
use gantry_tokens::ports::{Audit, Event, PolicyKey, Signing};
use gantry_tokens::{
    ApiKey, ApiKeys, Life, Limits, Pattern, Presented, Proofs, Rate, Request, TokenServer, TokenServerConfig,
    hash_api_key,
};

const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_000);

struct Fixed;

impl Signing for Fixed {
    fn current(&self) -> Option<PolicyKey> {
        Some(PolicyKey { policy: "device".into(), key: Key::from_bytes([7; 32]) })
    }
}

struct Unheard;

impl Audit for Unheard {
    fn note(&self, event: &Event<'_>) {
        black_box(event);
    }
}

fn server() -> TokenServer {
    let key = |n: u32| ApiKey {
        name: format!("line {n}"),
        hash: hash_api_key(&format!("key {n}")),
        identities: vec![Pattern::parse(&format!("line-{n}-*")).expect("a pattern")],
    };
    let secs = Duration::from_secs;
    let none = Rate { count: 0, window: secs(1) };
    // Bounds that count and never refuse, for as many requests as a measurement makes at one instant.
    let all = Rate { count: u32::MAX, window: secs(1 << 31) };
    TokenServer::new(TokenServerConfig {
        host_names: vec!["hub.example".into()],
        life: Life { default: secs(3600), min: secs(60), max: secs(86_400) },
        group: None,
        proofs: Proofs { api_keys: ApiKeys::new((0..1000).map(key)).expect("keys"), ..Proofs::default() },
        limits: Limits::new(all, none, all),
        signing: Arc::new(Fixed),
        audit: Arc::new(Unheard),
    })
}

/// Nothing a request waits for here is ever pending.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("ready at once")
}

fn issue(c: &mut Criterion) {
    let mut group = c.benchmark_group("tokens");
    group.throughput(Throughput::Elements(1));
    let signer = Signer {
        resource: "hub.example/devices/line-7-motor-12".into(),
        key: Key::from_bytes([7; 32]),
        policy: Some("device".into()),
    };
    group.bench_function("sign", |b| b.iter(|| black_box(&signer).token(NOW)));
    let server = server();
    let request = Request {
        resource: "hub.example%2Fdevices%2Fline-7-motor-12",
        ttl_secs: None,
        expiry_secs: None,
        peer: "10.0.0.7:50123",
        presented: Presented { api_key: Some("key 7"), ..Presented::default() },
    };
    block_on(server.issue(NOW, request)).expect("a token");
    group.bench_function("issue with an API key", |b| b.iter(|| block_on(server.issue(NOW, black_box(request)))));
    group.finish();
}

criterion_group!(benches, issue);
criterion_main!(benches);
