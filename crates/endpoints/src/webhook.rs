//! Webhooks: the alert as JSON by POST.

use gantry_hub::delivery::DeliveryError;
use gantry_hub::ports::PortFuture;
use gantry_monitoring::actions::Action;
use gantry_monitoring::alerts::Alert;
use gantry_monitoring::ports::Endpoint;

use crate::unanswered;

/// Posts alerts.
pub struct Webhook {
    client: reqwest::Client,
}

impl Webhook {
    /// Posts with a client of [`client`](crate::client).
    pub fn new(client: reqwest::Client) -> Self {
        Self { client }
    }

    async fn post(&self, url: &str, alert: &Alert) -> Result<(), DeliveryError> {
        let response = self.client.post(url).json(&alert.document()).send().await.map_err(unanswered)?;
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        let words = format!("receiver answered {status}");
        // 408 and 429 are "later", like every server error; other 3xx and 4xx will not change by themselves.
        if status.is_server_error() || matches!(status.as_u16(), 408 | 429) {
            return Err(DeliveryError::Again(words));
        }
        Err(DeliveryError::Never(words))
    }
}

impl Endpoint for Webhook {
    fn deliver<'a>(&'a self, action: &'a Action, alert: &'a Alert) -> PortFuture<'a, (), DeliveryError> {
        Box::pin(async move {
            match action {
                Action::Webhook { url } => self.post(url, alert).await,
                _ => Err(DeliveryError::Never("not a webhook".into())),
            }
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use gantry_identity::Timestamp;
    use gantry_monitoring::alerts::{AlertState, Kind};
    use gantry_monitoring::rules::Severity;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    pub(crate) fn alert() -> Alert {
        Alert {
            id: "1".into(),
            rule_id: "anomaly".into(),
            subject: "motor-1".into(),
            device_id: Some("motor-1".into()),
            kind: Kind::Anomaly,
            severity: Severity::Warning,
            state: AlertState::Open,
            title: "temperature of motor-1 is unusual".into(),
            reason: "20 is below the expected 80 to 90".into(),
            opened_at: Timestamp::from_millis(0),
            updated_at: Timestamp::from_millis(0),
            count: 1,
            actions: vec![],
        }
    }

    /// Answers one request with `status` and gives the request back.
    async fn receiver(status: &'static str) -> (String, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let task = tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut request = vec![];
            while !String::from_utf8_lossy(&request).contains("\"actions\":[]}") {
                assert!(socket.read_buf(&mut request).await.unwrap() > 0);
            }
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nLocation: /other\r\n\r\n");
            socket.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8(request).unwrap()
        });
        (url, task)
    }

    fn webhook() -> Webhook {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        Webhook::new(crate::client(None).unwrap())
    }

    #[tokio::test]
    async fn the_alert_arrives_as_json() {
        let (url, task) = receiver("200 OK").await;
        webhook().deliver(&Action::Webhook { url }, &alert()).await.unwrap();
        let request = task.await.unwrap();
        assert!(
            request.starts_with("POST /hook HTTP/1.1") && request.contains("\"deviceId\":\"motor-1\""),
            "{request}"
        );
    }

    #[tokio::test]
    async fn what_may_work_later_is_told_from_what_never_will() {
        for (status, again) in [("503 Busy", true), ("429 Slow", true), ("400 Bad", false), ("302 Moved", false)] {
            let (url, _task) = receiver(status).await;
            let error = webhook().deliver(&Action::Webhook { url }, &alert()).await.unwrap_err();
            assert_eq!(matches!(error, DeliveryError::Again(_)), again, "{status}: {error}");
        }
    }

    #[tokio::test]
    async fn a_refused_connection_is_worth_another_attempt_and_keeps_the_url_secret() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/?key=secret", listener.local_addr().unwrap());
        drop(listener);
        let error = webhook().deliver(&Action::Webhook { url }, &alert()).await.unwrap_err();
        assert!(matches!(&error, DeliveryError::Again(words) if !words.contains("secret")), "{error}");
    }
}
