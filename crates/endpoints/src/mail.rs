//! Mail through SMTP: plain to loopback, STARTTLS anywhere else.

use gantry_hub::delivery::DeliveryError;
use gantry_hub::ports::PortFuture;
use gantry_monitoring::actions::Action;
use gantry_monitoring::alerts::Alert;
use gantry_monitoring::ports::Endpoint;
use lettre::message::Mailbox;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};

use crate::TIMEOUT;

/// Sends alerts as mail.
pub struct Mail {
    transport: Option<AsyncSmtpTransport<Tokio1Executor>>,
    from: Mailbox,
}

impl Mail {
    /// Through `server` (`host:port`), from `from`. An empty server makes every delivery fail and say so.
    ///
    /// # Errors
    /// Names what cannot be read.
    pub fn new(server: &str, from: &str) -> Result<Self, String> {
        let from = from.parse().map_err(|error| format!("mail.from: {error}"))?;
        if server.is_empty() {
            return Ok(Self { transport: None, from });
        }
        let (host, port) = server.rsplit_once(':').ok_or("mail.server must be host:port")?;
        let port = port.parse().map_err(|_| "mail.server must be host:port")?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let is_loopback = matches!(host, "localhost" | "127.0.0.1" | "::1");
        let tls = if is_loopback {
            Tls::None
        } else {
            Tls::Required(TlsParameters::new(host.to_owned()).map_err(|error| format!("mail.server: {error}"))?)
        };
        let transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host).port(port).tls(tls);
        Ok(Self { transport: Some(transport.timeout(Some(TIMEOUT)).build()), from })
    }

    async fn send(&self, to: &str, alert: &Alert) -> Result<(), DeliveryError> {
        let Some(transport) = &self.transport else {
            return Err(DeliveryError::Never("no mail server is configured (mail.server)".into()));
        };
        let to: Mailbox = to.parse().map_err(|error| DeliveryError::Never(format!("address: {error}")))?;
        let body = format!(
            "{}\n\n{}\n\nSeverity: {:?}\nDevice: {}\nOpened: {}\nAlert: {}\n",
            alert.title,
            alert.reason,
            alert.severity,
            alert.device_id.as_deref().unwrap_or("none"),
            alert.opened_at,
            alert.id
        );
        let message = Message::builder()
            .from(self.from.clone())
            .to(to)
            .subject(format!("[gantry] {}", alert.title))
            .body(body)
            .map_err(|error| DeliveryError::Never(error.to_string()))?;
        match transport.send(message).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_permanent() => Err(DeliveryError::Never(error.to_string())),
            Err(error) => Err(DeliveryError::Again(error.to_string())),
        }
    }
}

impl Endpoint for Mail {
    fn deliver<'a>(&'a self, action: &'a Action, alert: &'a Alert) -> PortFuture<'a, (), DeliveryError> {
        Box::pin(async move {
            match action {
                Action::Email { to } => self.send(to, alert).await,
                _ => Err(DeliveryError::Never("not a mail".into())),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::webhook::tests::alert;
    use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
    use tokio::net::TcpListener;

    /// An SMTP server for one mail; answers RCPT with `rcpt` and gives the mail back.
    async fn server(rcpt: &'static str) -> (String, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let task = tokio::spawn(async move {
            let (socket, _) = listener.accept().await.unwrap();
            let mut socket = BufReader::new(socket);
            let (mut mail, mut in_data) = (String::new(), false);
            socket.write_all(b"220 test\r\n").await.unwrap();
            loop {
                let mut line = String::new();
                if socket.read_line(&mut line).await.unwrap() == 0 {
                    return mail;
                }
                let answer = match line.split_whitespace().next().unwrap_or_default() {
                    "." if in_data => {
                        in_data = false;
                        "250 taken"
                    }
                    _ if in_data => {
                        mail.push_str(&line);
                        continue;
                    }
                    "RCPT" => rcpt,
                    "DATA" => {
                        in_data = true;
                        "354 go on"
                    }
                    "QUIT" => "221 bye",
                    _ => "250 ok",
                };
                socket.write_all(format!("{answer}\r\n").as_bytes()).await.unwrap();
            }
        });
        (address, task)
    }

    fn to(address: &str) -> Action {
        Action::Email { to: address.into() }
    }

    #[tokio::test]
    async fn the_alert_arrives_as_mail() {
        let (address, task) = server("250 ok").await;
        {
            let mail = Mail::new(&address, "gantry@localhost").unwrap();
            mail.deliver(&to("maria@localhost"), &alert()).await.unwrap();
        }
        let text = task.await.unwrap();
        assert!(text.contains("Subject: [gantry] temperature of motor-1 is unusual"), "{text}");
        assert!(text.contains("20 is below the expected 80 to 90"), "{text}");
    }

    #[tokio::test]
    async fn a_refused_address_is_not_tried_again_and_a_busy_server_is() {
        for (answer, again) in [("550 no such user", false), ("451 later", true)] {
            let (address, _task) = server(answer).await;
            let mail = Mail::new(&address, "gantry@localhost").unwrap();
            let error = mail.deliver(&to("nobody@localhost"), &alert()).await.unwrap_err();
            assert_eq!(matches!(error, DeliveryError::Again(_)), again, "{answer}: {error}");
        }
    }

    #[tokio::test]
    async fn without_a_server_delivery_fails_and_says_so() {
        let mail = Mail::new("", "gantry@localhost").unwrap();
        let error = mail.deliver(&to("a@b"), &alert()).await.unwrap_err();
        assert!(error.to_string().contains("mail.server"), "{error}");
        assert!(Mail::new("nowhere", "gantry@localhost").is_err());
    }
}
