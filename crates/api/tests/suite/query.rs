//! Queries over the REST API: pages, headers, hostile texts.

use std::time::{Duration, Instant};

use gantry_api::Api;
use serde_json::{Value, json};

use crate::authorization::api;
use crate::service::{KEY, call, call_with, connect, ok};

async fn fleet(api: &Api, count: usize) {
    let keys = json!({ "symmetricKey": {"primaryKey": KEY, "secondaryKey": KEY} });
    let entry = |n: usize| {
        json!({ "id": format!("d{n:02}"), "importMode": "create", "authentication": keys,
                "tags": {"n": n, "half": n % 2}, "properties": {"desired": {"rate": n}} })
    };
    ok(call(api, "POST", "/devices", (0..count).map(entry).collect::<Vec<_>>().into()).await);
}

/// Every page of a query, as lists of device ids, with the type of its items.
async fn pages(api: &Api, query: &str, size: &str) -> (Vec<Vec<String>>, String) {
    let (mut pages, mut token, mut kind) = (vec![], None::<String>, String::new());
    loop {
        let mut headers = vec![("x-ms-max-item-count", size)];
        headers.extend(token.as_deref().map(|token| ("x-ms-continuation", token)));
        let answer = call_with(api, "POST", "/devices/query", &json!({ "query": query }), &headers).await;
        kind = answer.header("x-ms-item-type").unwrap_or(&kind).to_owned();
        token = answer.header("x-ms-continuation").map(str::to_owned);
        let items = ok(answer);
        pages.push(items.as_array().unwrap().iter().map(|i| i["deviceId"].as_str().unwrap_or("").to_owned()).collect());
        if token.is_none() {
            return (pages, kind);
        }
    }
}

fn ids(range: impl Iterator<Item = usize>) -> Vec<String> {
    range.map(|n| format!("d{n:02}")).collect()
}

#[tokio::test]
async fn pages_follow_each_other_and_the_last_has_no_continuation() {
    let folder = tempfile::tempdir().unwrap();
    let api = api(&folder);
    fleet(&api, 10).await;
    let (found, kind) = pages(&api, "SELECT * FROM devices", "4").await;
    assert_eq!((found, kind.as_str()), (vec![ids(0..4), ids(4..8), ids(8..10)], "Twin"));
    let (found, kind) = pages(&api, "SELECT deviceId FROM devices WHERE tags.half = 0", "5").await;
    assert_eq!((found, kind.as_str()), (vec![ids((0..10).step_by(2))], "Raw"), "a full page can be the last");
    let (found, _) = pages(&api, "SELECT TOP 5 deviceId FROM devices", "2").await;
    assert_eq!(found, [ids(0..2), ids(2..4), ids(4..5)]);
    let (found, _) = pages(&api, "SELECT deviceId FROM devices WHERE tags.half = 1 OR tags.n = 0", "3").await;
    assert_eq!(found.concat(), ids([0, 1, 3, 5, 7, 9].into_iter()));
    let (found, kind) = pages(&api, "SELECT COUNT() AS n FROM devices WHERE tags.n >= 5", "1").await;
    assert_eq!((found.len(), kind.as_str()), (1, "Raw"));
    let (found, kind) = pages(&api, "SELECT * FROM devices.jobs", "5").await;
    assert_eq!((found, kind.as_str()), (vec![vec![]], "DeviceJob"));
}

#[tokio::test]
async fn writes_are_found_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let api = api(&folder);
    fleet(&api, 10).await;
    let count = |condition: &'static str| {
        let api = &api;
        async move {
            let query = json!({ "query": format!("SELECT COUNT() AS n FROM devices WHERE {condition}") });
            ok(call(api, "POST", "/devices/query", query).await)[0]["n"].as_u64().unwrap()
        }
    };
    // Asked often enough, tags.half is looked up in an index.
    for turn in 0..20 {
        assert_eq!(count("tags.half = 'x'").await, turn.min(10));
        if turn < 10 {
            let patch = json!({ "tags": {"half": "x"} });
            ok(call(&api, "PATCH", &format!("/twins/d{turn:02}"), patch).await);
        }
    }
    ok(call_with(&api, "DELETE", "/devices/d00", &Value::Null, &[("if-match", "*")]).await);
    assert_eq!((count("tags.half = 'x'").await, count("true").await), (9, 9));
}

#[tokio::test]
async fn who_is_connected_is_known_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let api = api(&folder);
    fleet(&api, 10).await;
    let mailboxes = [connect(&api.hub, "d07").await, connect(&api.hub, "d02").await, connect(&api.hub, "d05").await];
    let connected = "SELECT deviceId FROM devices WHERE connectionState = 'Connected'";
    assert_eq!(pages(&api, connected, "2").await.0.concat(), ["d02", "d05", "d07"]);
    let narrow = format!("{connected} AND tags.n > 4");
    assert_eq!(pages(&api, &narrow, "1").await.0.concat(), ["d05", "d07"]);
    let away = "SELECT deviceId FROM devices WHERE connectionState = 'Disconnected'";
    assert_eq!(pages(&api, away, "100").await.0.concat().len(), 7);
    drop(mailboxes);
    assert!(pages(&api, connected, "2").await.0.concat().is_empty());
}

#[tokio::test]
async fn hostile_texts_are_refused_soon() {
    let folder = tempfile::tempdir().unwrap();
    let api = api(&folder);
    fleet(&api, 10).await;
    let select = "SELECT * FROM devices WHERE ";
    let texts = [
        String::new(),
        "x".repeat(8193),
        format!("{select}{}1{}", "(".repeat(4000), ")".repeat(4000)),
        format!("{select}{}a", "NOT ".repeat(2000)),
        format!("{select}a IN [{}1]", "1,".repeat(3000)),
        format!("{select}a = '{}", "x".repeat(8000)),
        format!("{select}[[{}", "x".repeat(8000)),
        format!("SELECT {}a FROM devices", "a,".repeat(4000)),
        "SELECT * FROM devices; DROP TABLE identities".to_owned(),
        "SELECT * FROM identities".to_owned(),
    ];
    let began = Instant::now();
    for text in texts {
        let answer = call(&api, "POST", "/devices/query", json!({ "query": text })).await;
        assert_eq!(answer.error(), (400, "ArgumentInvalid"), "{}", &text[..text.len().min(60)]);
    }
    // These are queries, and cannot do harm either.
    for text in [
        format!("{select}tags.[[a' OR 1=1 --]] = 'x'"),
        format!("{select}tags.a = '\\') OR 1=1 --'"),
        format!("{select}{}tags.n = 99", "tags.n = 1 AND ".repeat(400)),
        format!("{select}{}tags.n = 99", "tags.n = 98 OR ".repeat(400)),
        format!("{select}tags{} = 1", ".a".repeat(3000)),
    ] {
        let answer = call(&api, "POST", "/devices/query", json!({ "query": text })).await;
        assert_eq!(ok(answer), json!([]), "{}", &text[..text.len().min(60)]);
    }
    assert!(began.elapsed() < Duration::from_secs(20), "took {:?}", began.elapsed());
    for token in ["x", "9|", "-1|d00", "|a/b/c", "||"] {
        let query = json!({ "query": "SELECT * FROM devices" });
        let answer = call_with(&api, "POST", "/devices/query", &query, &[("x-ms-continuation", token)]).await;
        assert_eq!(answer.error(), (400, "ArgumentInvalid"), "{token}");
    }
}
