//! Webhooks of custom allocation: one question, one answer.

use std::time::Duration;

use gantry_hub::ports::PortFuture;
use gantry_provisioning::{CustomError, Webhooks};
use reqwest::StatusCode;
use serde_json::Value;

/// How long a webhook may take: less than the 30 s after which SDKs give up.
const TIMEOUT: Duration = Duration::from_secs(25);
/// Largest answer in bytes.
const ANSWER_BYTES_MAX: usize = 128 * 1024;

/// Asks webhooks.
pub struct AllocationWebhooks {
    client: reqwest::Client,
    timeout: Duration,
}

impl AllocationWebhooks {
    /// Asks with a client of [`client`](crate::client).
    pub fn new(client: reqwest::Client) -> Self {
        Self { client, timeout: TIMEOUT }
    }

    async fn post(&self, url: &str, body: &Value) -> Result<Value, CustomError> {
        let failed = |error: reqwest::Error| CustomError::Failed(error.without_url().to_string());
        let mut response = self.client.post(url).json(body).send().await.map_err(failed)?;
        match response.status() {
            StatusCode::OK => {}
            status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
                return Err(CustomError::Unauthorized(status.as_u16()));
            }
            status => return Err(CustomError::Failed(format!("the webhook answered {}", status.as_u16()))),
        }
        let mut answer = vec![];
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if answer.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(CustomError::Failed(format!("the answer exceeds {ANSWER_BYTES_MAX} bytes")));
            }
            answer.extend_from_slice(&chunk);
        }
        serde_json::from_slice(&answer).map_err(|error| CustomError::Failed(format!("the answer is no JSON: {error}")))
    }
}

impl Webhooks for AllocationWebhooks {
    fn ask<'a>(&'a self, url: &'a str, body: &'a Value) -> PortFuture<'a, Value, CustomError> {
        Box::pin(async move {
            let late = |_| CustomError::Failed(format!("no answer within {:?}", self.timeout));
            tokio::time::timeout(self.timeout, self.post(url, body)).await.map_err(late)?
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    fn client() -> reqwest::Client {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        crate::client(None).unwrap()
    }

    /// Answers one request, whatever it says.
    async fn receiver(answer: String) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut request = vec![];
            while !request.ends_with(b"{}") {
                assert!(socket.read_buf(&mut request).await.unwrap() > 0);
            }
            let _ = socket.write_all(answer.as_bytes()).await;
        });
        url
    }

    async fn ask(answer: String) -> Result<Value, CustomError> {
        let url = receiver(answer).await;
        let webhooks = AllocationWebhooks { client: client(), timeout: Duration::from_secs(5) };
        webhooks.ask(&url, &serde_json::json!({})).await
    }

    fn answer(status: &str, body: &str) -> String {
        format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
    }

    #[tokio::test]
    async fn answers_are_told_apart() {
        assert_eq!(ask(answer("200 OK", "{}")).await, Ok(serde_json::json!({})));
        assert_eq!(ask(answer("401 Unauthorized", "")).await, Err(CustomError::Unauthorized(401)));
        for (answered, words) in [
            (answer("500 Internal Server Error", ""), "answered 500"),
            (answer("200 OK", "no JSON"), "no JSON"),
            (answer("200 OK", &"x".repeat(ANSWER_BYTES_MAX + 1)), "exceeds"),
            ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n".to_owned(), ""),
        ] {
            let Err(CustomError::Failed(told)) = ask(answered).await else { panic!("{words}") };
            assert!(told.contains(words), "{told}");
        }
    }

    #[tokio::test]
    async fn one_that_hangs_is_given_up_on() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/?code=secret", listener.local_addr().unwrap());
        let webhooks = AllocationWebhooks { client: client(), timeout: Duration::from_millis(100) };
        let Err(CustomError::Failed(told)) = webhooks.ask(&url, &serde_json::json!({})).await else { panic!() };
        assert!(told.contains("no answer") && !told.contains("secret"), "{told}");
    }
}
