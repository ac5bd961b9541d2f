use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use gantry_central::exports::destinations::Customization;
use gantry_central::secrets::Secret;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

/// Answers requests one after the other, the last answer again and again; keeps what was asked.
async fn server(answers: &'static [(&'static str, &'static str)]) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let asked = Arc::new(Mutex::new(vec![]));
    let kept = Arc::clone(&asked);
    tokio::spawn(async move {
        for at in 0.. {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut request = vec![];
            loop {
                socket.read_buf(&mut request).await.unwrap();
                let text = String::from_utf8_lossy(&request);
                let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                let length =
                    head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
                if body.len() >= length.unwrap_or(0) {
                    break;
                }
            }
            kept.lock().unwrap().push(String::from_utf8(request).unwrap());
            let (status, body) = answers[at.min(answers.len() - 1)];
            let head =
                format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
            socket.write_all(head.as_bytes()).await.unwrap();
        }
    });
    (address, asked)
}

fn receiver(target: &Target) -> Result<Receiver, String> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    Receiver::new(crate::client(None).unwrap(), target)
}

fn secret(text: &str) -> Secret {
    Secret::parse("value", text).unwrap()
}

fn webhook(url: String, authorization: Option<WebhookAuthorization>) -> Target {
    let headers = BTreeMap::from([("x-region".to_owned(), Customization::Open("north".to_owned()))]);
    let query = BTreeMap::from([("code".to_owned(), Customization::Secret(secret("a&b")))]);
    Target::Webhook { url, query_customizations: query, header_customizations: headers, authorization }
}

fn outgoing(count: usize) -> Vec<Outgoing> {
    let one = |n: usize| Outgoing {
        body: json!({ "n": n }).to_string(),
        properties: vec![("iotcentral-device-id", format!("d{n}"))],
    };
    (0..count).map(one).collect()
}

const NOW: Timestamp = Timestamp::from_millis(1_000_000);

#[tokio::test]
async fn a_webhook_gets_one_message_a_request_with_all_that_was_configured() {
    let (address, asked) = server(&[("200 OK", "")]).await;
    let header = WebhookAuthorization::Header { value: secret("key k1") };
    let mut receiver = receiver(&webhook(format!("http://{address}/hook?a=1"), Some(header))).unwrap();
    let all = outgoing(3);
    assert_eq!(receiver.batch(&all), 1);
    receiver.send(NOW, &all[..1]).await.unwrap();
    let asked = asked.lock().unwrap().remove(0);
    assert!(asked.starts_with("POST /hook?a=1&code=a%26b HTTP/1.1"), "{asked}");
    for part in ["authorization: key k1", "x-region: north", "content-type: application/json", r#"{"n":0}"#] {
        assert!(asked.contains(part), "{part}: {asked}");
    }
}

#[tokio::test]
async fn what_will_never_be_taken_is_told_from_what_may_be_later() {
    for (status, is_again) in
        [("500 No", true), ("429 Slow", true), ("404 None", true), ("401 No", true), ("400 Bad", false)]
    {
        let answers: &'static [(&'static str, &'static str)] = Box::leak(Box::new([(status, "")]));
        let (address, _) = server(answers).await;
        let mut receiver = receiver(&webhook(format!("http://{address}/"), None)).unwrap();
        let NotSent { error, fault } = receiver.send(NOW, &outgoing(1)).await.unwrap_err();
        assert_eq!(matches!(error, DeliveryError::Again(_)), is_again, "{status}");
        assert_eq!(fault.code, "InvalidResponse");
        assert!(!fault.message.contains("a&b") && !fault.message.contains("code="), "{}", fault.message);
    }
}

#[tokio::test]
async fn a_token_of_oauth_is_asked_for_in_the_way_that_works_and_used_again() {
    const TOKEN: &str = r#"{"access_token":"t1","expires_in":"3600"}"#;
    let (tokens, asked_tokens) = server(&[("400 Bad", ""), ("200 OK", TOKEN)]).await;
    let (address, asked) = server(&[("200 OK", ""), ("200 OK", ""), ("401 No", ""), ("200 OK", "")]).await;
    let oauth = WebhookAuthorization::OAuth {
        token_url: format!("http://{tokens}/token"),
        client_id: "c1".into(),
        client_secret: secret("s3cret"),
        audience: Some("aud".into()),
        scope: None,
        request_type: Some(RequestType::Auto),
    };
    let mut receiver = receiver(&webhook(format!("http://{address}/"), Some(oauth))).unwrap();
    receiver.send(NOW, &outgoing(1)).await.unwrap();
    receiver.send(NOW, &outgoing(1)).await.unwrap();
    {
        let tokens = asked_tokens.lock().unwrap();
        assert_eq!(tokens.len(), 2, "a form, then JSON, and then no more");
        assert!(tokens[0].contains("grant_type=client_credentials&client_id=c1&client_secret=s3cret&audience=aud"));
        assert!(tokens[1].contains(r#""client_secret":"s3cret""#));
    }
    assert!(asked.lock().unwrap().iter().all(|one| one.contains("authorization: Bearer t1")));
    assert!(receiver.send(NOW, &outgoing(1)).await.is_err(), "the token is good no more");
    receiver.send(NOW, &outgoing(1)).await.unwrap();
    assert_eq!(asked_tokens.lock().unwrap().len(), 3, "another is asked for");
}

#[tokio::test]
async fn an_event_hub_gets_a_batch_under_a_signature_of_its_policy() {
    let (address, asked) = server(&[("201 Created", "")]).await;
    let text = format!("Endpoint=http://{address}/;SharedAccessKeyName=send;SharedAccessKey={};EntityPath=Hub1", KEY);
    let connection_string = ConnectionString::parse(&text).unwrap();
    let target = Target::EventHubs { authorization: EntityAuthorization::ConnectionString { connection_string } };
    let mut receiver = receiver(&target).unwrap();
    let all = outgoing(2);
    assert_eq!(receiver.batch(&all), 2);
    receiver.send(NOW, &all).await.unwrap();
    let asked = asked.lock().unwrap().remove(0);
    assert!(asked.starts_with("POST /Hub1/messages HTTP/1.1"), "{asked}");
    let body: Value = serde_json::from_str(asked.split_once("\r\n\r\n").unwrap().1).unwrap();
    let expected = |n: usize| {
        json!({"Body": format!("{{\"n\":{n}}}"), "BrokerProperties": {"ContentType": "application/json"},
               "UserProperties": {"iotcentral-device-id": format!("d{n}")}})
    };
    assert_eq!(body, json!([expected(0), expected(1)]));
    // As the reference's samples sign: the key is the text, the resource in lower case and encoded.
    let signer = Signer {
        resource: format!("https://{address}/hub1"),
        key: Key::from_base64(KEY).unwrap().as_text(),
        policy: Some("send".into()),
    };
    let token = signer.token(Timestamp::from_millis(NOW.as_millis() + TOKEN_LIFE_MS));
    assert!(asked.contains(&format!("authorization: {token}")), "{asked}");
}

const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

#[tokio::test]
async fn a_table_gets_lines_under_a_token_of_the_directory_it_names() {
    const TOKEN: &str = r#"{"access_token":"t1","expires_in":3600}"#;
    let (login, asked_tokens) = server(&[("200 OK", TOKEN)]).await;
    let about =
        json!({"AzureAD": {"LoginEndpoint": format!("http://{login}/"), "KustoServiceResourceId": "https://res"}});
    let answers: &'static [(&'static str, &'static str)] =
        Box::leak(Box::new([("200 OK", &*Box::leak(about.to_string().into_boxed_str())), ("200 OK", "{}")]));
    let (address, asked) = server(answers).await;
    let target = Target::DataExplorer {
        cluster_url: format!("http://{address}"),
        database: "d 1".into(),
        table: "t".into(),
        authorization: TableAuthorization::ServicePrincipal {
            client_id: "c1".into(),
            tenant_id: "ten/ant".into(),
            client_secret: secret("s3cret"),
        },
    };
    let mut receiver = receiver(&target).unwrap();
    receiver.send(NOW, &outgoing(2)).await.unwrap();
    let asked = asked.lock().unwrap();
    assert!(asked[0].starts_with("GET /v1/rest/auth/metadata "));
    assert!(asked[1].starts_with("POST /v1/rest/ingest/d%201/t?streamFormat=MultiJSON "), "{}", asked[1]);
    assert!(
        asked[1].contains("authorization: Bearer t1") && asked[1].ends_with("{\"n\":0}\n{\"n\":1}"),
        "{}",
        asked[1]
    );
    let token = asked_tokens.lock().unwrap().remove(0);
    assert!(token.starts_with("POST /ten%2Fant/oauth2/v2.0/token "), "{token}");
    assert!(token.contains("scope=https%3A%2F%2Fres%2F.default"), "{token}");
}

#[test]
fn what_cannot_be_used_is_named_without_secrets() {
    let entity = |text: &str| Target::EventHubs {
        authorization: EntityAuthorization::ConnectionString {
            connection_string: ConnectionString::parse(text).unwrap(),
        },
    };
    for (text, part) in [
        ("Endpoint=sb://a/;SharedAccessKeyName=n;SharedAccessKey=k3y;EntityPath=e", "`SharedAccessKey`"),
        ("Endpoint=sb://a/;SharedAccessKey=k3y;EntityPath=e", "`SharedAccessKey`"),
        ("SharedAccessKeyName=n;SharedAccessKey=k3y;EntityPath=e", "no `Endpoint`"),
    ] {
        let why = receiver(&entity(text)).map(drop).unwrap_err();
        assert!(why.contains(part) && !why.contains("k3y"), "{why}");
    }
    let identity = EntityAuthorization::SystemAssignedManagedIdentity { host_name: "h".into(), entity: "e".into() };
    assert!(
        receiver(&Target::EventHubs { authorization: identity }).map(drop).unwrap_err().contains("not implemented")
    );
}

#[tokio::test]
async fn batches_are_bounded() {
    let text = format!("Endpoint=sb://a/;SharedAccessKeyName=n;SharedAccessKey={KEY};EntityPath=e");
    let connection_string = ConnectionString::parse(&text).unwrap();
    let target = Target::ServiceBusQueue { authorization: EntityAuthorization::ConnectionString { connection_string } };
    let receiver = receiver(&target).unwrap();
    let large = |bytes: usize| Outgoing { body: "x".repeat(bytes), properties: vec![] };
    assert_eq!(receiver.batch(&vec![large(40 << 10); 10]), 2);
    assert_eq!(receiver.batch(&[large(1 << 20), large(1)]), 1, "one is sent, however large");
}
