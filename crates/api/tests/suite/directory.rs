//! Tokens of a directory at the heads here: every row of the table with roles that open it, and without.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, StatusCode};
use gantry_api::{Access, Api, Head, PeerAddress, Row, now};
use gantry_hub::ports::directory::{Audience, Bearer, Directory, Person, Resource};
use gantry_identity::{Refusal, Timestamp};
use serde_json::{Value, json};
use tokio::sync::watch;
use tower::ServiceExt as _;

use crate::authorization::{api, router, token};
use crate::paths::operations;

/// Takes tokens `AUDIENCE:ACTION,ACTION...`, of somebody who may do these actions everywhere.
struct Actions;

struct Somebody(Person, Vec<String>);

impl Bearer for Somebody {
    fn person(&self) -> &Person {
        &self.0
    }

    fn may(&self, action: &str, resource: Resource<'_>) -> bool {
        resource != Resource::Group && self.1.iter().any(|held| held == action)
    }

    fn may_manage(&self, action: &str, resource: Resource<'_>) -> bool {
        resource == Resource::Group && self.1.iter().any(|held| held == action)
    }

    fn is_known(&self) -> bool {
        true
    }
}

impl Directory for Actions {
    fn identify(&self, _: Timestamp, token: &str, audience: Audience) -> Result<Arc<dyn Bearer>, Refusal> {
        let (of, actions) = token.split_once(':').ok_or(Refusal::NotProven("no token".into()))?;
        if of != format!("{audience:?}") {
            return Err(Refusal::NotProven(format!("for {of}")));
        }
        let person = Person {
            tenant_id: "t".into(),
            object_id: "o".into(),
            app_id: Some("a".into()),
            is_program: true,
            name: "line 7".into(),
            groups: vec![],
            expires_at: now().plus(std::time::Duration::from_secs(60)),
        };
        Ok(Arc::new(Somebody(person, actions.split(',').map(str::to_owned).collect())))
    }

    fn authority(&self) -> (&str, &str) {
        ("https://localhost", "t")
    }

    fn changes(&self) -> watch::Receiver<u64> {
        watch::channel(0).1
    }
}

async fn status(api: &Api, row: &Row, path: &str, authorization: &str) -> (StatusCode, Value) {
    let method = row.method.clone().unwrap_or(Method::GET);
    let request = Request::builder().method(method).uri(path).extension(PeerAddress::from("127.0.0.1:1"));
    let request = request.header("authorization", authorization).body(Body::from("{}")).unwrap();
    let response = router(api.clone()).oneshot(request).await.unwrap();
    let status = response.status();
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

/// Whether somebody who is known is told that they may not, in the shape of the head.
fn is_forbidden(row: &Row, (status, body): &(StatusCode, Value)) -> bool {
    let told = match row.head {
        Head::Service => body["Message"].as_str().is_some_and(|text| text.contains("no assigned permissions")),
        Head::DpsService => body["errorCode"] == 403_002,
        _ => body["error"]["code"] == "Forbidden",
    };
    *status == StatusCode::FORBIDDEN && told
}

fn with_directory(folder: &tempfile::TempDir) -> Api {
    Api { directory: Some(Arc::new(Actions)), ..api(folder) }
}

#[tokio::test]
async fn every_operation_of_hub_and_provisioning_opens_to_its_actions_and_to_no_fewer() {
    let folder = tempfile::tempdir().unwrap();
    let api = with_directory(&folder);
    let all: Vec<_> = operations(&api)
        .into_iter()
        .filter(|(row, _)| matches!(row.access, Access::Hub(_) | Access::Provisioning(_)))
        .collect();
    assert!(all.len() > 60, "{}", all.len());
    for (row, path) in &all {
        assert!(!row.data_actions.is_empty(), "{} has no data action: api/src/actions.rs", row.id);
        let audience = if row.head == Head::DpsService { "Provisioning" } else { "Hub" };
        let call =
            async |held: &[&str]| status(&api, row, path, &format!("Bearer {audience}:{}", held.join(","))).await;
        // Last, since it may delete what the others are about.
        for left_out in row.data_actions {
            let held: Vec<_> = row.data_actions.iter().copied().filter(|action| action != left_out).collect();
            let answer = call(&held).await;
            assert!(is_forbidden(row, &answer), "{} without {left_out}: {answer:?}", row.id);
        }
        let answer = call(row.data_actions).await;
        let is_in = answer.0 != StatusCode::UNAUTHORIZED && !is_forbidden(row, &answer);
        assert!(is_in, "{} {:?}: {answer:?}", row.id, row.data_actions);
        let other = if row.head == Head::DpsService { "Hub" } else { "Provisioning" };
        let elsewhere = format!("Bearer {other}:{}", row.data_actions.join(","));
        assert_eq!(status(&api, row, path, &elsewhere).await.0, StatusCode::UNAUTHORIZED, "{}", row.id);
    }
}

#[tokio::test]
async fn the_platform_opens_to_roles_of_its_resource_group() {
    let folder = tempfile::tempdir().unwrap();
    let api = with_directory(&folder);
    const READ: &str = "Microsoft.Devices/IotHubs/read";
    const WRITE: &str = "Microsoft.Devices/IotHubs/write";
    const ASSIGN: &str = "Microsoft.Authorization/roleAssignments/write";
    let readers = ["DevicesRead", "AlertsRead", "RulesRead", "SecurityRead", "RoutingRead"];
    let mut seen = 0;
    for (row, path) in operations(&api) {
        let Access::Platform(needed) = row.access else { continue };
        // Signing out, the session and endless answers are for the page.
        if ["Session_Get", "Session_Delete", "Live_Get", "Monitor_Get"].contains(&&*row.id) {
            continue;
        }
        seen += 1;
        let call = async |held: &str| {
            let answer = status(&api, &row, &path, &format!("Bearer Management:{held}")).await;
            assert_ne!(answer.0, StatusCode::UNAUTHORIZED, "{} {held}", row.id);
            !is_forbidden(&row, &answer)
        };
        assert!(!call("").await, "{} without a role", row.id);
        assert!(!call(ASSIGN).await, "{}: whoever gives roles has none", row.id);
        assert_eq!(call(READ).await, needed.names().all(|name| readers.contains(&name)), "{}", row.id);
        let owners = ["PoliciesManage", "UsersManage", "AuditRead"];
        let is_owners = needed.names().any(|name| owners.contains(&name));
        assert_eq!(call(WRITE).await, !is_owners, "{}", row.id);
        assert!(call(&format!("{WRITE},{ASSIGN}")).await, "{}", row.id);
        let data = "Bearer Hub:Microsoft.Devices/IotHubs/devices/read";
        assert_eq!(status(&api, &row, &path, data).await.0, StatusCode::UNAUTHORIZED, "{}", row.id);
    }
    assert!(seen > 30, "{seen}");
}

#[tokio::test]
async fn what_is_refused_is_noted_and_signatures_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let api = with_directory(&folder);
    let (row, path) = operations(&api).into_iter().find(|(row, _)| row.id == "Devices_GetDevices").unwrap();
    let last = |api: &Api| json!(api.monitoring.security())[0].clone();
    assert_eq!(status(&api, &row, &path, "Bearer nonsense").await.0, StatusCode::UNAUTHORIZED);
    let noted = last(&api);
    assert_eq!((&noted["claimed"], &noted["operation"]), (&json!("(bearer token)"), &json!("https service")));
    assert!(!noted.to_string().contains("nonsense"), "{noted}");
    assert_eq!(status(&api, &row, &path, "Bearer Hub:nothing").await.0, StatusCode::FORBIDDEN);
    let noted = json!(api.monitoring.security()).to_string();
    assert!(noted.contains("no role of `o` allows Microsoft.Devices/IotHubs/devices/read"), "{noted}");
    let signed = token("iothubowner", gantry_identity::Key::from_bytes([1; 32]));
    assert_eq!(status(&api, &row, &path, &signed).await.0, StatusCode::OK);
    assert_eq!(status(&api, &row, &path, &format!("Bearer {signed}")).await.0, StatusCode::OK);
    let off = Api { directory: None, ..api };
    let good = "Bearer Hub:Microsoft.Devices/IotHubs/devices/read";
    assert_eq!(status(&off, &row, &path, good).await.0, StatusCode::UNAUTHORIZED, "switched off");
}
