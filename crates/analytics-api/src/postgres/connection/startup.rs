//! How a connection begins: requests before it, who it is, what it sets.

use std::collections::HashMap;

use gantry_api::Caller;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::{End, Postgres, Step};
use crate::postgres::message::{Fields, message, text};
use crate::postgres::{CANCEL_REQUEST, GSS_REQUEST, SSL_REQUEST, STARTUP_BYTES_MAX};

/// Somebody who has proven who they are, and what they set.
pub(super) struct Started {
    pub who: Caller,
    pub settings: HashMap<String, String>,
}

/// Who it is, proven.
pub(super) async fn startup<S: AsyncRead + AsyncWrite + Unpin>(
    postgres: &Postgres,
    stream: &mut S,
    peer: &str,
) -> Step<Option<Started>> {
    let body = loop {
        let len = usize::try_from(stream.read_i32().await?).unwrap_or(0);
        if !(8..=STARTUP_BYTES_MAX).contains(&len) {
            return Err(End::Fatal("08P01", "invalid length of startup packet".into()));
        }
        let mut body = vec![0; len - 4];
        stream.read_exact(&mut body).await?;
        let code = i32::from_be_bytes([body[0], body[1], body[2], body[3]]);
        match code {
            SSL_REQUEST | GSS_REQUEST => {
                stream.write_all(b"N").await?;
                stream.flush().await?;
            }
            CANCEL_REQUEST => {
                let mut fields = Fields(&body[4..]);
                if let (Some(id), Some(key)) = (fields.int(), fields.int()) {
                    postgres.cancel(id, key);
                }
                return Ok(None);
            }
            code if code >> 16 == 3 => break body,
            _ => return Err(End::Fatal("0A000", "unsupported frontend protocol".into())),
        }
    };
    let minor = i32::from_be_bytes([body[0], body[1], body[2], body[3]]) & 0xffff;
    let mut fields = Fields(&body[4..]);
    let (mut user, mut database, mut settings, mut unknown) = (String::new(), None, HashMap::new(), Vec::new());
    while let Some(name) = fields.text().filter(|name| !name.is_empty()) {
        let Some(value) = fields.text() else {
            return Err(End::Fatal("08P01", "invalid startup packet layout".into()));
        };
        match name {
            "user" => user = value.to_owned(),
            "database" => database = Some(value.to_owned()),
            "replication" if value != "false" && value != "off" && value != "0" => {
                return Err(End::Fatal("0A000", "replication is not supported".into()));
            }
            "replication" => {}
            "options" => read_options(value, &mut settings),
            name if name.starts_with("_pq_.") => unknown.push(name.to_owned()),
            name => {
                settings.insert(name.to_lowercase(), value.to_owned());
            }
        }
    }
    let mut out = Vec::new();
    if minor > 0 || !unknown.is_empty() {
        message(&mut out, b'v', |out| {
            out.extend_from_slice(&(3_i32 << 16).to_be_bytes());
            out.extend_from_slice(&(unknown.len() as i32).to_be_bytes());
            unknown.iter().for_each(|name| text(out, name));
        });
    }
    // The password comes in the clear within TLS.
    message(&mut out, b'R', |out| out.extend_from_slice(&3_i32.to_be_bytes()));
    stream.write_all(&out).await?;
    stream.flush().await?;
    let tag = stream.read_u8().await?;
    let len = usize::try_from(stream.read_i32().await?).unwrap_or(0);
    if tag != b'p' || !(5..=STARTUP_BYTES_MAX).contains(&len) {
        return Err(End::Fatal("08P01", "a password was expected".into()));
    }
    let mut password = vec![0; len - 4];
    stream.read_exact(&mut password).await?;
    let password = Fields(&password).text().unwrap_or_default().to_owned();
    let Some(who) = gantry_api::admit_password(&postgres.0.api, &user, &password, peer) else {
        return Err(End::Fatal("28P01", format!("password authentication failed for user \"{user}\"")));
    };
    let own = postgres.0.warehouse.database();
    if let Some(database) = database.filter(|name| !name.eq_ignore_ascii_case(own)) {
        return Err(End::Fatal("3D000", format!("database \"{database}\" does not exist")));
    }
    Ok(Some(Started { who, settings }))
}

/// `-c name=value` and `--name=value`.
fn read_options(options: &str, settings: &mut HashMap<String, String>) {
    let mut words = options.split_whitespace();
    while let Some(word) = words.next() {
        let pair = match word {
            "-c" => words.next().unwrap_or_default(),
            word => word.trim_start_matches("-c").trim_start_matches("--"),
        };
        if let Some((name, value)) = pair.split_once('=') {
            settings.insert(name.to_lowercase().replace('-', "_"), value.to_owned());
        }
    }
}
