//! What a token of a directory adds to a call: who it is of, once it was seen, and whether a role allows something; beside
//! the first time, when its signature is verified. Roles: as many as may be, the program's among them.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use gantry_directory_api::{OfHub, Place, Service, Setup};
use gantry_hub::ports::Documents;
use gantry_hub::ports::directory::{Audience, Directory as _, Resource};
use gantry_identity::Timestamp;
use gantry_storage::Database;
use zeroize::Zeroizing;

const READ: &str = "Microsoft.Devices/IotHubs/devices/read";

fn draw_key() -> Zeroizing<Vec<u8>> {
    Zeroizing::new(rcgen::KeyPair::generate().expect("a key").serialize_der())
}

fn check(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let folder = tempfile::tempdir().expect("a folder");
    let now = Timestamp::from_millis(1_800_000_000_000);
    let (service, token) = runtime.block_on(async {
        let documents: Arc<dyn Documents> = Arc::new(Database::open(folder.path()).expect("a store"));
        let setup = Setup { origin: "https://localhost".into(), own_names: vec![], issuers: vec![], draw_key };
        let service = Service::open(documents, setup).await.expect("a directory");
        service.tend(now).await.expect("a key");
        let one = service.development(true, now).await.expect("a program").expect("a program");
        let token = service.token_of(&one, "https://iothubs.azure.net", now).expect("a token");
        (Arc::new(service), token)
    });
    let directory = OfHub::new(service, Place::new("s", "gantry", "hub1", "account"));
    let mut group = c.benchmark_group("directory/check");
    group.bench_function("known token and role", |b| {
        b.iter(|| {
            let bearer = directory.identify(now, black_box(&token), Audience::Hub).expect("known");
            bearer.may(READ, Resource::Hub)
        })
    });
    let bearer = directory.identify(now, &token, Audience::Hub).expect("known");
    group.bench_function("role alone", |b| b.iter(|| bearer.may(black_box(READ), Resource::Hub)));
    group.bench_function("known token alone", |b| {
        b.iter(|| directory.identify(now, black_box(&token), Audience::Hub).is_ok())
    });
    group.bench_function("first time", |b| {
        // A text that is not known: refused at its signature, after the same work.
        let mut forged = token.clone();
        forged.pop();
        forged.push(if token.ends_with('A') { 'Q' } else { 'A' });
        b.iter(|| directory.identify(now, black_box(&forged), Audience::Hub).is_err())
    });
    group.finish();
}

criterion_group!(benches, check);
criterion_main!(benches);
