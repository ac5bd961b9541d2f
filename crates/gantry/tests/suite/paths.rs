//! The routes that the processes add to those of the API: each is found in every spelling of its path. The API's own
//! table is walked in its crate.

use gantry_testkit::{PATIENCE, Platform, TokenServer};

use super::{GANTRY, platform_with};

const SPELLINGS: [fn(&str) -> String; 6] = [
    |path| format!("{path}/"),
    |path| format!("/{}//", path.replace('/', "//")),
    |path| format!("/{}", path[1..].replace('/', "%2F").replace('$', "%24")),
    |path| path.replace('/', "/%2f"),
    str::to_ascii_uppercase,
    |path| path.to_ascii_uppercase().replace('E', "%65"),
];

/// Status line of the answer to a request, and its body where that is always the same.
async fn answer(platform: &Platform, path: &str, headers: &str) -> String {
    let mut socket = platform.tls(platform.https_port(), b"http/1.1").await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
    socket.write(request.as_bytes()).await.unwrap();
    let mut input = vec![];
    while !input.windows(4).any(|window| window == b"\r\n\r\n") {
        assert!(socket.read(&mut input).await.unwrap(), "{path}: {}", String::from_utf8_lossy(&input));
    }
    String::from_utf8_lossy(&input).lines().next().unwrap().to_owned()
}

fn upgrade(protocol: &str) -> String {
    let protocol = if protocol.is_empty() { String::new() } else { format!("Sec-WebSocket-Protocol: {protocol}\r\n") };
    format!(
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{protocol}"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_of_the_processes_is_found_in_every_spelling() {
    let (platform, _) = platform_with(&[]).await;
    for (path, headers, expected) in [
        ("/$iothub/websocket", upgrade("mqtt"), "101"),
        ("/$iothub/websocket", upgrade("AMQPWSB10"), "101"),
        ("/$iothub/websocket", upgrade("other"), "400"),
        ("/$servicebus/websocket", upgrade("AMQPWSB10"), "101"),
        ("/bridges/x1", upgrade(""), "401"),
        ("/healthz", String::new(), "200"),
        ("/readyz", String::new(), "200"),
        ("/metrics", String::new(), "200"),
    ] {
        for spelling in SPELLINGS.iter().map(|spell| spell(path)).chain([path.to_owned()]) {
            let status = answer(&platform, &spelling, &headers).await;
            assert!(status.contains(expected), "{spelling}: {status}");
        }
    }
    assert!(answer(&platform, "/healthz/more", "").await.contains("404"));

    let files = [("primary", "HostName=localhost;SharedAccessKeyName=device;SharedAccessKey=MDEyMzQ1Njc4OWFiY2RlZg==")];
    let config = "[hub]\nprimary_file = \"{folder}/primary\"\n[token_server]\naudit_log = \"{folder}/audit\"\n\
                  [[token_server.api_keys]]\nname = \"one\"\nidentities = [\"d1\"]\nsha256 = \
                  \"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"\n";
    let server = TokenServer::start(GANTRY, config, &files).unwrap();
    let ca = reqwest::Certificate::from_pem(&server.ca().unwrap()).unwrap();
    let client = reqwest::Client::builder().tls_certs_only([ca]).timeout(PATIENCE).build().unwrap();
    let tokens = server.url().find("/sts").unwrap();
    let (host, path) = server.url().split_at(tokens);
    for (path, expected) in [(path, 400), ("/healthz", 200), ("/readyz", 200), ("/metrics", 200)] {
        for spelling in SPELLINGS.iter().map(|spell| spell(path)).chain([path.to_owned()]) {
            let status = client.get(format!("{host}{spelling}")).send().await.unwrap().status();
            assert_eq!(status, expected, "{spelling}");
        }
    }
}
