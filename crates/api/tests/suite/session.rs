//! Signing in to the page: links and passwords, second factors, cookies with their flags, CSRF, what ends a session, and
//! what the audit log says of it.

use std::sync::atomic::{AtomicU16, Ordering};

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode, header};
use gantry_api::{Api, PeerAddress, Permissions, now};
use gantry_identity::Key;
use hmac::{Hmac, Mac as _};
use serde_json::{Value, json};
use sha1::Sha1;
use tower::ServiceExt as _;

use crate::authorization::{api, router, token};

const PASSWORD: &str = "tallow brink seven";

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Value,
}

impl Answer {
    fn code(&self) -> &str {
        self.body["error"]["code"].as_str().unwrap_or_default()
    }

    fn cookie(&self) -> &str {
        self.headers[header::SET_COOKIE].to_str().unwrap()
    }
}

/// A browser at an address of its own, with the cookie it was given.
struct Browser {
    api: Api,
    peer: String,
    cookie: String,
    csrf: String,
}

impl Browser {
    fn new(api: &Api) -> Self {
        static NEXT: AtomicU16 = AtomicU16::new(1);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let peer = format!("10.0.{}.{}:1", n / 256, n % 256);
        Self { api: api.clone(), peer, cookie: String::new(), csrf: String::new() }
    }

    async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
        let path = format!("/platform/v1{path}");
        let mut request = Request::builder().method(method).uri(path).extension(PeerAddress::from(self.peer.as_str()));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let response = router(self.api.clone()).oneshot(request.body(Body::from(body)).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, usize::MAX).await.unwrap();
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Answer { status: parts.status, headers: parts.headers, body }
    }

    async fn call(&self, method: &str, path: &str, body: Value) -> Answer {
        self.send(method, path, &[("cookie", &self.cookie), ("x-gantry-csrf", &self.csrf)], &body).await
    }

    /// Calls, and keeps the session of the answer.
    async fn keep(&mut self, method: &str, path: &str, body: Value) -> Answer {
        let answer = self.call(method, path, body).await;
        if answer.status.is_success() {
            self.cookie = answer.cookie().split(';').next().unwrap().to_owned();
            self.csrf = answer.body["csrf"].as_str().unwrap().to_owned();
        }
        answer
    }

    async fn sign_in(&mut self, name: &str, password: &str, code: Option<&str>) -> Answer {
        self.keep("POST", "/session", json!({ "name": name, "password": password, "code": code })).await
    }

    async fn status(&self, method: &str, path: &str, body: Value) -> u16 {
        self.call(method, path, body).await.status.as_u16()
    }
}

/// The administrator, signed in by a link.
async fn administrator(api: &Api) -> Browser {
    api.sign_in.add_link("one-time", now());
    let mut browser = Browser::new(api);
    assert_eq!(browser.keep("POST", "/session", json!({ "token": "one-time" })).await.status, StatusCode::OK);
    browser
}

/// Somebody who chose a password.
async fn person(admin: &Browser, name: &str, role: &str) {
    assert_eq!(admin.status("PUT", &format!("/users/{name}"), json!({ "role": role })).await, 200);
    let link = admin.call("POST", &format!("/users/{name}/passwordLink"), Value::Null).await;
    let chosen = json!({ "token": link.body["token"], "password": PASSWORD });
    assert_eq!(Browser::new(&admin.api).status("POST", "/sign-in/password", chosen).await, 204);
}

async fn signed_in(api: &Api, name: &str) -> Browser {
    let mut browser = Browser::new(api);
    assert_eq!(browser.sign_in(name, PASSWORD, None).await.status, StatusCode::OK);
    browser
}

/// The code of an authenticator, so many steps from now.
fn code(secret: &str, steps: i64) -> String {
    let bits = secret.chars().flat_map(|c| {
        let value = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".find(c).unwrap();
        (0..5).rev().map(move |bit| (value >> bit) & 1)
    });
    let bits: Vec<_> = bits.collect();
    let key: Vec<u8> =
        bits.chunks_exact(8).map(|byte| byte.iter().fold(0, |all, bit| (all << 1) | *bit as u8)).collect();
    let mut mac = Hmac::<Sha1>::new_from_slice(&key).unwrap();
    mac.update(&(now().as_secs() / 30 + steps).to_be_bytes());
    let mac = mac.finalize().into_bytes();
    let at = usize::from(mac[19] & 15);
    let number = u32::from_be_bytes(mac[at..at + 4].try_into().unwrap()) & 0x7fff_ffff;
    format!("{:06}", number % 1_000_000)
}

#[tokio::test]
async fn a_link_signs_in_once_and_signing_out_ends_it() {
    let folder = tempfile::tempdir().unwrap();
    let api = api(&folder);
    api.sign_in.add_link("one-time", now());
    let mut browser = Browser::new(&api);
    let link = json!({ "token": "one-time" });
    let answer = browser.keep("POST", "/session", link.clone()).await;
    let full = answer.cookie();
    for flag in ["__Host-gantry_session=", "HttpOnly", "Secure", "SameSite=Strict", "Path=/", "Max-Age=43200"] {
        assert!(full.contains(flag), "{full}");
    }
    assert!(!full.contains("Domain"), "{full}");
    assert_eq!(Browser::new(&api).status("POST", "/session", link).await, 401, "only once");
    assert_eq!(browser.status("GET", "/fleet", Value::Null).await, 200);
    let mut guess = Browser::new(&api);
    guess.cookie = "__Host-gantry_session=guess".into();
    assert_eq!(guess.status("GET", "/fleet", Value::Null).await, 401);
    assert_eq!(browser.status("DELETE", "/session", Value::Null).await, 204);
    assert_eq!(browser.status("GET", "/fleet", Value::Null).await, 401);
}

#[tokio::test]
async fn a_cookie_alone_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let api = api(&folder);
    let (browser, other) = (administrator(&api).await, administrator(&api).await);
    let rule = json!({ "when": { "kind": "urgency", "urgencyMin": 0.5 }, "severity": "info" });
    let cookie = ("cookie", browser.cookie.as_str());
    for wrong in [None, Some(""), Some("1"), Some(other.csrf.as_str()), Some(&browser.csrf[1..])] {
        let token = wrong.map(|wrong| ("x-gantry-csrf", wrong));
        let headers: Vec<_> = [cookie].into_iter().chain(token).collect();
        let forged = browser.send("PUT", "/rules/x", &headers, &rule).await;
        assert_eq!((forged.status.as_u16(), forged.code()), (403, "Forbidden"), "{wrong:?}");
    }
    assert_eq!(browser.status("PUT", "/rules/x", rule).await, 200);
    let page = browser.call("GET", "/audit?limit=7", Value::Null).await.body;
    let told = |n: usize| {
        let record = &page["value"][n];
        (
            record["operation"].clone(),
            record["outcome"].clone(),
            record["reason"].clone(),
            record["actor"]["id"].clone(),
        )
    };
    let rules = json!("Rules_CreateOrUpdate");
    assert_eq!(told(0), (rules.clone(), json!("done"), Value::Null, json!("admin")));
    assert_eq!(told(1), (rules, json!("refused"), json!("csrf"), json!("admin")));
    assert_eq!(told(6), (json!("Session_Create"), json!("done"), Value::Null, json!("admin")));
    assert_eq!(page["value"][0]["target"], "/platform/v1/rules/x");
    assert_eq!(page["value"][0]["from"], browser.peer.trim_end_matches(":1"));
}

#[tokio::test]
async fn a_session_says_whose_it_is_and_what_they_may() {
    let folder = tempfile::tempdir().unwrap();
    let api = api(&folder);
    let browser = administrator(&api).await;
    let shown = browser.call("GET", "/session", Value::Null).await;
    assert_eq!((&shown.body["user"], &shown.body["hub"]), (&json!("admin"), &json!("hub")));
    assert_eq!(shown.body["permissions"], json!(Permissions::ALL.names().collect::<Vec<_>>()));
    assert_eq!((&shown.body["csrf"], &shown.body["hasPassword"]), (&json!(browser.csrf), &json!(false)));
    assert_eq!(shown.headers[header::CACHE_CONTROL], "no-store");
    let service = token("service", Key::from_bytes([1; 32]));
    let program = browser.send("GET", "/session", &[("authorization", &service)], &Value::Null).await.body;
    assert_eq!(program["user"], "service", "a program goes by its policy");
    assert_eq!(program["permissions"], json!(Permissions::OPERATOR.names().collect::<Vec<_>>()));
    let account = browser.send("GET", "/account", &[("authorization", &service)], &Value::Null).await;
    assert_eq!(account.status, StatusCode::UNAUTHORIZED, "programs have no account");
    let reader = token("registryRead", Key::from_bytes([1; 32]));
    let nobody = browser.send("GET", "/session", &[("authorization", &reader)], &Value::Null).await;
    assert_eq!(nobody.status, StatusCode::UNAUTHORIZED, "no permission at all");
}

#[tokio::test]
async fn a_link_lets_somebody_choose_a_password_once() {
    let folder = tempfile::tempdir().unwrap();
    let api = api(&folder);
    let admin = administrator(&api).await;
    assert_eq!(admin.status("PUT", "/users/jane", json!({ "role": "viewer" })).await, 200);
    let first = admin.call("POST", "/users/jane/passwordLink", Value::Null).await.body["token"].clone();
    let token = admin.call("POST", "/users/jane/passwordLink", Value::Null).await.body["token"].clone();
    let choose = async |token: &Value, password: &str| {
        let body = json!({ "token": token, "password": password });
        Browser::new(&api).call("POST", "/sign-in/password", body).await.status.as_u16()
    };
    assert_eq!(choose(&first, PASSWORD).await, 403, "another link took its place");
    assert_eq!(choose(&json!("guess"), PASSWORD).await, 403);
    for weak in ["short", "jane jane and more", "abababababababab", &"x".repeat(129)] {
        assert_eq!(choose(&token, weak).await, 400, "{weak}");
    }
    assert_eq!(choose(&token, PASSWORD).await, 204);
    assert_eq!(choose(&token, "another brink seven").await, 403, "once");
    let jane = signed_in(&api, "JANE").await;
    assert_eq!(jane.call("GET", "/session", Value::Null).await.body["user"], "jane");
}

#[tokio::test]
async fn nobody_hears_who_exists_and_guessing_is_slow() {
    let folder = tempfile::tempdir().unwrap();
    let api = api(&folder);
    let admin = administrator(&api).await;
    person(&admin, "jane", "viewer").await;
    person(&admin, "joan", "viewer").await;
    let mut browser = Browser::new(&api);
    let wrong = browser.sign_in("jane", "wrong", None).await;
    let unknown = browser.sign_in("nobody", "wrong", None).await;
    assert_eq!((wrong.status.as_u16(), &wrong.body), (401, &unknown.body));
    let disabled = json!({ "role": "viewer", "disabled": true });
    assert_eq!(admin.status("PUT", "/users/joan", disabled).await, 200);
    assert_eq!(browser.sign_in("joan", PASSWORD, None).await.body, wrong.body, "disabled, with the right password");
    // The fifth failure makes the user wait, wherever the next attempt comes from, and whether or not they exist.
    for name in ["jane", "nobody"] {
        for _ in 0..4 {
            assert_eq!(Browser::new(&api).sign_in(name, "wrong", None).await.status.as_u16(), 401);
        }
        let waits = Browser::new(&api).sign_in(name, PASSWORD, None).await;
        assert_eq!((waits.status.as_u16(), waits.code()), (429, "TooManyRequests"), "{name}");
        assert!(waits.headers.contains_key(header::RETRY_AFTER));
    }
    assert_eq!(admin.status("POST", "/users/jane/unlock", Value::Null).await, 204);
    signed_in(&api, "jane").await;
    let mut one = Browser::new(&api);
    for n in 0..20 {
        assert_eq!(one.sign_in(&format!("name-{n}"), "wrong", None).await.status.as_u16(), 401);
    }
    assert_eq!(one.sign_in("jane", PASSWORD, None).await.status.as_u16(), 429, "an address that tries many");
    signed_in(&api, "jane").await;
    let page = admin.call("GET", "/audit?limit=1000", Value::Null).await.body;
    let refused: Vec<_> = page["value"].as_array().unwrap().iter().filter(|one| one["outcome"] == "refused").collect();
    assert!(refused.iter().any(|one| one["actor"]["name"] == "jane" && one["reason"] == "password is wrong"));
    assert!(refused.iter().any(|one| one["actor"]["name"] == "(unknown user)"));
    assert!(!page.to_string().contains("name-7"), "what nobody is called may be a password");
}

#[tokio::test]
async fn a_second_factor_is_good_once_and_so_is_a_recovery_code() {
    let folder = tempfile::tempdir().unwrap();
    let api = api(&folder);
    let admin = administrator(&api).await;
    person(&admin, "jane", "viewer").await;
    let (jane, other) = (signed_in(&api, "jane").await, signed_in(&api, "jane").await);
    assert_eq!(jane.status("PUT", "/account/totp", json!({ "code": "123456" })).await, 409, "nothing was begun");
    assert_eq!(jane.status("POST", "/account/totp", json!({ "password": "wrong" })).await, 403);
    let begun = jane.call("POST", "/account/totp", json!({ "password": PASSWORD })).await;
    let secret = begun.body["secret"].as_str().unwrap().to_owned();
    assert!(begun.body["uri"].as_str().unwrap().starts_with("otpauth://totp/Gantry:jane?"), "{}", begun.body);
    let mut browser = Browser::new(&api);
    assert_eq!(browser.sign_in("jane", PASSWORD, None).await.status, StatusCode::OK, "not before it is confirmed");
    assert_eq!(jane.status("PUT", "/account/totp", json!({ "code": "000000" })).await, 400);
    let confirmed = jane.call("PUT", "/account/totp", json!({ "code": code(&secret, -1) })).await;
    let recovery = confirmed.body["recoveryCodes"].as_array().unwrap().clone();
    assert_eq!(recovery.len(), 10);
    assert_eq!(other.status("GET", "/session", Value::Null).await, 401, "other sessions ended");
    assert_eq!(jane.status("GET", "/session", Value::Null).await, 200);

    let missing = browser.sign_in("jane", PASSWORD, None).await;
    assert_eq!((missing.status.as_u16(), missing.code()), (401, "CodeMissing"));
    assert_eq!(browser.sign_in("jane", "wrong", Some(&code(&secret, 0))).await.code(), "Unauthorized");
    let used = code(&secret, 0);
    assert_eq!(browser.sign_in("jane", PASSWORD, Some(&used)).await.status, StatusCode::OK);
    assert_eq!(browser.sign_in("jane", PASSWORD, Some(&used)).await.status.as_u16(), 401, "replayed");
    let spare = recovery[0].as_str().unwrap().to_lowercase();
    let answer = browser.sign_in("jane", PASSWORD, Some(&spare)).await;
    assert_eq!((answer.status.as_u16(), &answer.body["recoveryCodesLeft"]), (200, &json!(9)));
    assert_eq!(browser.sign_in("jane", PASSWORD, Some(&spare)).await.status.as_u16(), 401, "twice");
    let account = browser.call("GET", "/account", Value::Null).await.body;
    assert_eq!((&account["hasTotp"], &account["recoveryCodesLeft"]), (&json!(true), &json!(9)));
    let drawn = browser.call("POST", "/account/recoveryCodes", json!({ "password": PASSWORD })).await.body;
    assert_eq!(drawn["recoveryCodes"].as_array().unwrap().len(), 10);
    let old = recovery[1].as_str().unwrap();
    assert_eq!(Browser::new(&api).sign_in("jane", PASSWORD, Some(old)).await.status.as_u16(), 401, "drawn anew");
    assert_eq!(browser.status("POST", "/account/totp/remove", json!({ "password": PASSWORD })).await, 204);
    assert_eq!(browser.status("POST", "/account/totp/remove", json!({ "password": PASSWORD })).await, 409);
    signed_in(&api, "jane").await;
}

#[tokio::test]
async fn two_at_once_do_not_use_one_code_twice() {
    let folder = tempfile::tempdir().unwrap();
    let api = api(&folder);
    let admin = administrator(&api).await;
    person(&admin, "jane", "viewer").await;
    let jane = signed_in(&api, "jane").await;
    let secret = jane.call("POST", "/account/totp", json!({ "password": PASSWORD })).await.body["secret"].clone();
    let secret = secret.as_str().unwrap();
    assert_eq!(jane.status("PUT", "/account/totp", json!({ "code": code(secret, -1) })).await, 200);
    let used = code(secret, 0);
    let mut browsers: Vec<_> = (0..4).map(|_| Browser::new(&api)).collect();
    let all = browsers.iter_mut().map(|browser| browser.sign_in("jane", PASSWORD, Some(&used)));
    let all = futures::future::join_all(all).await;
    assert_eq!(all.iter().filter(|answer| answer.status.is_success()).count(), 1);
}

#[tokio::test]
async fn a_changed_password_ends_other_sessions_and_gives_this_one_a_new_id() {
    let folder = tempfile::tempdir().unwrap();
    let api = api(&folder);
    let admin = administrator(&api).await;
    person(&admin, "jane", "viewer").await;
    let (mut jane, other) = (signed_in(&api, "jane").await, signed_in(&api, "jane").await);
    let before = jane.cookie.clone();
    let change = |current: &str, new: &str| json!({ "current": current, "new": new });
    assert_eq!(jane.status("PUT", "/account/password", json!({ "new": "another brink seven" })).await, 403);
    assert_eq!(jane.status("PUT", "/account/password", change("wrong", "another brink seven")).await, 403);
    assert_eq!(jane.status("PUT", "/account/password", change(PASSWORD, "short")).await, 400);
    assert_eq!(jane.status("PUT", "/account/password", change(PASSWORD, PASSWORD)).await, 400, "the present one");
    let changed = jane.keep("PUT", "/account/password", change(PASSWORD, "another brink seven")).await;
    assert_eq!(changed.status, StatusCode::OK);
    assert_ne!(jane.cookie, before);
    assert_eq!(jane.status("GET", "/session", Value::Null).await, 200);
    assert_eq!(other.status("GET", "/session", Value::Null).await, 401);
    jane.cookie = before;
    assert_eq!(jane.status("GET", "/session", Value::Null).await, 401, "the old id");
    let mut browser = Browser::new(&api);
    assert_eq!(browser.sign_in("jane", PASSWORD, None).await.status.as_u16(), 401);
    assert_eq!(browser.sign_in("jane", "another brink seven", None).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_password_that_must_be_changed_opens_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let api = api(&folder);
    let admin = administrator(&api).await;
    person(&admin, "jane", "operator").await;
    let jane = signed_in(&api, "jane").await;
    let must = json!({ "role": "operator", "mustChangePassword": true });
    assert_eq!(admin.status("PUT", "/users/jane", must).await, 200);
    assert_eq!(jane.status("GET", "/session", Value::Null).await, 401, "sessions end");
    let mut jane = Browser::new(&api);
    let answer = jane.sign_in("jane", PASSWORD, None).await;
    assert_eq!((answer.status.as_u16(), &answer.body["mustChangePassword"]), (200, &json!(true)));
    assert_eq!(jane.call("GET", "/session", Value::Null).await.body["permissions"], json!([]));
    for (method, path) in [("GET", "/fleet"), ("GET", "/account"), ("DELETE", "/account/sessions"), ("GET", "/live")] {
        assert_eq!(jane.status(method, path, Value::Null).await, 403, "{path}");
    }
    let change = json!({ "current": PASSWORD, "new": "another brink seven" });
    assert_eq!(jane.keep("PUT", "/account/password", change).await.status, StatusCode::OK);
    assert_eq!(jane.status("GET", "/fleet", Value::Null).await, 200);
}

#[tokio::test]
async fn who_may_not_write_rules_does_not_learn_where_their_webhooks_go() {
    let folder = tempfile::tempdir().unwrap();
    let api = api(&folder);
    let admin = administrator(&api).await;
    let url = "https://hooks.example:8443/services/T0/secret?key=secret";
    let when = json!({ "kind": "urgency", "urgencyMin": 0.5 });
    let rule = json!({ "when": when, "severity": "info", "actions": [{ "kind": "webhook", "url": url }] });
    assert_eq!(admin.status("PUT", "/rules/told", rule).await, 200);
    for (role, shown) in [("operator", url), ("viewer", "https://hooks.example:8443/****")] {
        person(&admin, role, role).await;
        let rules = signed_in(&api, role).await.call("GET", "/rules", Value::Null).await.body;
        let told = rules["rules"].as_array().unwrap().iter().find(|rule| rule["id"] == "told").unwrap();
        assert_eq!(told["actions"], json!([{ "kind": "webhook", "url": shown }]), "{role}");
    }
}

#[tokio::test]
async fn a_role_and_a_person_are_gone_with_the_next_call() {
    let folder = tempfile::tempdir().unwrap();
    let api = api(&folder);
    let admin = administrator(&api).await;
    person(&admin, "jane", "administrator").await;
    let jane = signed_in(&api, "jane").await;
    assert_eq!(jane.status("GET", "/users", Value::Null).await, 200);
    for (role, users, fleet) in [("operator", 403, 200), ("viewer", 403, 200), ("member", 403, 403)] {
        assert_eq!(admin.status("PUT", "/users/jane", json!({ "role": role })).await, 200);
        assert_eq!(jane.status("GET", "/users", Value::Null).await, users, "{role}");
        assert_eq!(jane.status("GET", "/fleet", Value::Null).await, fleet, "{role}");
        assert_eq!(jane.status("GET", "/session", Value::Null).await, 200, "{role}");
    }
    // Nobody raises themselves, and nobody's account is another's.
    assert_eq!(jane.status("PUT", "/users/jane", json!({ "role": "administrator" })).await, 403);
    assert_eq!(jane.status("POST", "/users/admin/passwordLink", Value::Null).await, 403);
    let of_admin = admin.call("GET", "/account/sessions", Value::Null).await.body["value"][0]["id"].clone();
    let path = format!("/account/sessions/{}", of_admin.as_str().unwrap());
    assert_eq!(jane.status("DELETE", &path, Value::Null).await, 404, "another's session");
    assert_eq!(admin.status("GET", "/session", Value::Null).await, 200);
    assert_eq!(admin.status("PUT", "/users/jane", json!({ "role": "viewer", "disabled": true })).await, 200);
    assert_eq!(jane.status("GET", "/session", Value::Null).await, 401);
    assert_eq!(admin.status("PUT", "/users/jane", json!({ "role": "viewer" })).await, 200);
    assert_eq!(jane.status("GET", "/session", Value::Null).await, 401, "and stays ended");
    let jane = signed_in(&api, "jane").await;
    assert_eq!(admin.status("DELETE", "/users/jane", Value::Null).await, 204);
    assert_eq!(admin.status("PUT", "/users/jane", json!({ "role": "viewer" })).await, 200);
    assert_eq!(jane.status("GET", "/session", Value::Null).await, 401, "another of the same name");
    assert_eq!(admin.status("DELETE", "/users/admin", Value::Null).await, 409, "the last administrator");
    assert_eq!(admin.status("PUT", "/users/admin", json!({ "role": "viewer" })).await, 409);
}

#[tokio::test]
async fn sessions_are_listed_and_ended_one_by_one() {
    let folder = tempfile::tempdir().unwrap();
    let api = api(&folder);
    let admin = administrator(&api).await;
    person(&admin, "jane", "viewer").await;
    let (jane, other) = (signed_in(&api, "jane").await, signed_in(&api, "jane").await);
    let all = jane.call("GET", "/account/sessions", Value::Null).await.body;
    let all = all["value"].as_array().unwrap();
    assert_eq!(all.len(), 2);
    let find = |current: bool| all.iter().find(|one| one["current"] == current).unwrap()["id"].as_str().unwrap();
    assert_eq!(jane.status("DELETE", &format!("/account/sessions/{}", find(false)), Value::Null).await, 204);
    assert_eq!(other.status("GET", "/session", Value::Null).await, 401);
    assert_eq!(jane.status("DELETE", &format!("/account/sessions/{}", find(false)), Value::Null).await, 404);
    let other = signed_in(&api, "jane").await;
    assert_eq!(jane.status("DELETE", "/account/sessions", Value::Null).await, 204);
    assert_eq!(other.status("GET", "/session", Value::Null).await, 401);
    assert_eq!(jane.status("GET", "/session", Value::Null).await, 200);
    // A session somebody planted ends when its holder signs in.
    let planted = jane.cookie.clone();
    let mut victim = Browser::new(&api);
    victim.cookie = planted.clone();
    victim.sign_in("jane", PASSWORD, None).await;
    assert_ne!(victim.cookie, planted);
    assert_eq!(jane.status("GET", "/session", Value::Null).await, 401);
}

#[tokio::test]
async fn bodies_that_are_none_sign_nobody_in() {
    let folder = tempfile::tempdir().unwrap();
    let api = api(&folder);
    let browser = Browser::new(&api);
    for wrong in [
        json!({}),
        json!({ "name": "admin" }),
        json!({ "password": "x" }),
        json!({ "token": "x", "name": "admin", "password": "x" }),
        json!({ "name": 1, "password": "x" }),
        json!({ "name": "admin", "password": "x", "role": "administrator" }),
    ] {
        assert_eq!(browser.status("POST", "/session", wrong.clone()).await, 400, "{wrong}");
    }
    let admin = administrator(&api).await;
    for (method, path) in [
        ("PUT", "/account/password"),
        ("POST", "/account/totp"),
        ("PUT", "/account/totp"),
        ("POST", "/account/totp/remove"),
        ("POST", "/account/recoveryCodes"),
    ] {
        let refused = admin.call(method, path, json!({ "colour": 1 })).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{path}");
        assert!(refused.body["error"]["message"].as_str().unwrap().contains("`colour`"), "{path}");
        assert_eq!(admin.status(method, path, json!([])).await, 400, "{path}");
    }
    let long = json!({ "name": "a".repeat(100_000), "password": "x".repeat(100_000), "code": "1".repeat(100_000) });
    assert_eq!(browser.status("POST", "/session", long).await, 401);
    assert_eq!(browser.status("POST", "/session", json!({ "name": "admin", "password": "" })).await, 401, "none yet");
}

#[tokio::test]
async fn somebody_who_may_not_is_recorded_and_questions_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let api = api(&folder);
    let admin = administrator(&api).await;
    person(&admin, "jane", "viewer").await;
    let jane = signed_in(&api, "jane").await;
    let last = async || admin.call("GET", "/audit?limit=1", Value::Null).await.body["value"][0].clone();
    assert_eq!(jane.status("DELETE", "/rules/x", Value::Null).await, 403);
    let record = last().await;
    assert_eq!((&record["operation"], &record["reason"]), (&json!("Rules_Delete"), &json!("lacks RulesManage")));
    assert_eq!(record["actor"], json!({ "kind": "user", "id": "jane", "name": "jane" }));
    let before = record["number"].clone();
    assert_eq!(jane.status("POST", "/routing/testnew", json!({})).await, 400);
    assert_eq!(jane.status("GET", "/fleet", Value::Null).await, 200);
    assert_eq!(Browser::new(&api).status("DELETE", "/rules/x", Value::Null).await, 401);
    assert_eq!(last().await["number"], before, "questions, and calls of nobody");
    let owner = token("iothubowner", Key::from_bytes([1; 32]));
    let path = "/devices/recorded?api-version=2021-04-12";
    let request = Request::put(path).header("authorization", owner).extension(PeerAddress::from("10.9.9.9:1"));
    let request = request.body(Body::from(r#"{"deviceId":"recorded"}"#)).unwrap();
    assert_eq!(router(api.clone()).oneshot(request).await.unwrap().status(), StatusCode::OK);
    let record = last().await;
    assert_eq!((&record["target"], &record["from"]), (&json!("/devices/recorded"), &json!("10.9.9.9")));
    assert_eq!((&record["actor"]["kind"], &record["actor"]["id"]), (&json!("key"), &json!("iothubowner")));
    let page = admin.call("GET", "/audit?limit=2", Value::Null).await.body;
    let older = admin.call("GET", &format!("/audit?limit=2&before={}", page["next"]), Value::Null).await.body;
    assert_eq!(older["value"][0]["number"].as_u64(), page["next"].as_u64().map(|next| next - 1));
    let verified = admin.call("GET", "/audit/verification", Value::Null).await.body;
    assert!(verified["broken"].is_null() && verified["head"].as_str().unwrap().contains(':'), "{verified}");
    assert_eq!(jane.status("GET", "/audit", Value::Null).await, 403);
    assert_eq!(admin.status("GET", "/audit/verification?anchor=x", Value::Null).await, 400);
}
