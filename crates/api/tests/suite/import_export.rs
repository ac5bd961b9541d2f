//! Import and export jobs over a restart. What they do is tested with real clients (`tests/clients`).

use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use gantry_api::{Api, PeerAddress};
use gantry_hub::ports::{Changes, Documents as _};
use gantry_identity::Key;
use gantry_storage::Database;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::authorization::{api, router, token};

async fn get(api: &Api, path: &str) -> (StatusCode, Value) {
    let request = Request::builder().uri(path).extension(PeerAddress::from("127.0.0.1:1"));
    let request = request.header("authorization", token("iothubowner", Key::from_bytes([1; 32])));
    let answer = router(api.clone()).oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let status = answer.status();
    let body = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap())
}

fn job(id: &str, status: &str, created_at: i64) -> (String, Option<String>) {
    let job = json!({
        "jobId": id, "type": "export", "status": status, "progress": 40, "startTimeUtc": "2026-01-01T00:00:00Z",
        "outputBlobContainerUri": "https://localhost/c", "excludeKeysInExport": false,
        "storageAuthenticationType": "keyBased", "createdAtMillis": created_at,
    });
    (id.to_owned(), Some(job.to_string()))
}

#[tokio::test]
async fn a_job_cut_off_by_a_restart_is_failed_and_old_ones_are_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let recent = 4_000_000_000_000;
    {
        let database = Database::open(folder.path()).unwrap();
        let documents =
            vec![job("ran", "running", recent), job("done", "completed", recent + 1), job("old", "completed", 0)];
        let jobs = Changes { collection: "import_export_jobs", version: 0, documents };
        database.put(vec![jobs]).await.unwrap();
    }
    for _ in 0..2 {
        let api = api(&folder);
        api.import_export.settle().await.unwrap();
        let (status, ran) = get(&api, "/jobs/ran").await;
        assert_eq!((status, &ran["status"]), (StatusCode::OK, &json!("failed")));
        assert!(ran["failureReason"].as_str().unwrap().contains("restarted"), "{ran}");
        let (_, listed) = get(&api, "/jobs").await;
        let ids: Vec<_> = listed.as_array().unwrap().iter().map(|job| job["jobId"].as_str().unwrap()).collect();
        assert_eq!(ids, ["done", "ran"]);
        assert_eq!(get(&api, "/jobs/old").await.0, StatusCode::NOT_FOUND);
    }
}
