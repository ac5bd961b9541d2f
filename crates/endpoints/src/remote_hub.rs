//! A hub elsewhere, by its connection string: what provisioning does there, over its service API.
//!
//! The service API cannot write reported properties, so a device that moves to or from a hub elsewhere takes its tags
//! and desired properties along and reports the rest again.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use gantry_hub::device::AuthenticationWrite;
use gantry_hub::ports::PortFuture;
use gantry_hub::twin::{Object, Twin, TwinWrite};
use gantry_identity::{DeviceId, Key, Signer, Timestamp};
use gantry_provisioning::{Beginning, HubLink, Link, LinkError, Linker, Placed, Placement, Way};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::{Map, Value, json};
use url::Url;

/// Version of the service API.
const API_VERSION: &str = "2021-04-12";
/// Life of the tokens made for each call.
const TOKEN_LIFE: Duration = Duration::from_secs(300);
/// Largest answer in bytes: a twin is 8 KiB of tags and twice 32 KiB of properties, with metadata.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Makes links from connection strings.
pub struct HubLinker;

impl Linker for HubLinker {
    fn link(&self, hub: &HubLink) -> Result<Way, String> {
        let remote = RemoteHub::new(hub)?;
        Ok((remote.host_name.clone(), Arc::new(remote)))
    }
}

/// A hub elsewhere.
struct RemoteHub {
    client: reqwest::Client,
    base: Url,
    host_name: String,
    policy: String,
    key: Key,
}

impl RemoteHub {
    fn new(hub: &HubLink) -> Result<Self, String> {
        let part = |name: &str| {
            let mut pairs = hub.connection_string.split(';').filter_map(|pair| pair.split_once('='));
            let found = pairs.find(|(key, _)| key.trim().eq_ignore_ascii_case(name)).map(|(_, value)| value.trim());
            found
                .filter(|value| !value.is_empty())
                .map(str::to_owned)
                .ok_or_else(|| format!("the connection string has no {name}"))
        };
        let (address, policy) = (part("HostName")?, part("SharedAccessKeyName")?);
        let key = Key::from_base64(&part("SharedAccessKey")?).map_err(|_| "SharedAccessKey is no key".to_owned())?;
        let base = Url::parse(&format!("https://{address}/")).map_err(|error| format!("HostName: {error}"))?;
        let host_name = base.host_str().unwrap_or_default().to_owned();
        if host_name.is_empty() || base.path() != "/" || base.query().is_some() {
            return Err("HostName is no host name".into());
        }
        let client = crate::client(hub.authority.as_deref().map(str::as_bytes))?;
        Ok(Self { client, base, host_name, policy, key })
    }

    fn request(&self, method: Method, path: [&str; 2]) -> Result<RequestBuilder, LinkError> {
        let mut url = self.base.clone();
        url.path_segments_mut().map_err(|()| LinkError("HostName is no host name".into()))?.clear().extend(path);
        url.query_pairs_mut().append_pair("api-version", API_VERSION);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let expiry = Timestamp::from_millis(i64::try_from((now + TOKEN_LIFE).as_millis()).unwrap_or(i64::MAX));
        let policy = Some(self.policy.clone());
        let token = Signer { resource: self.host_name.clone(), key: self.key.clone(), policy }.token(expiry);
        Ok(self.client.request(method, url).header("authorization", token))
    }

    /// Sends; none when the hub says that there is no such thing.
    async fn send(&self, request: RequestBuilder, what: &str) -> Result<Option<Response>, LinkError> {
        let told = |words: String| LinkError(format!("{what} at {}: {words}", self.host_name));
        let response = request.send().await.map_err(|error| told(error.without_url().to_string()))?;
        match response.status() {
            status if status.is_success() => Ok(Some(response)),
            StatusCode::NOT_FOUND => Ok(None),
            status => Err(told(format!("status {}", status.as_u16()))),
        }
    }

    async fn json(&self, mut response: Response) -> Result<Value, LinkError> {
        let broken = |words: String| LinkError(format!("answer of {}: {words}", self.host_name));
        let mut bytes = vec![];
        while let Some(chunk) = response.chunk().await.map_err(|error| broken(error.without_url().to_string()))? {
            if bytes.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(broken(format!("over {ANSWER_BYTES_MAX} bytes")));
            }
            bytes.extend_from_slice(&chunk);
        }
        serde_json::from_slice(&bytes).map_err(|error| broken(error.to_string()))
    }

    async fn get(&self, kind: &'static str, device: &DeviceId) -> Result<Option<Value>, LinkError> {
        let request = self.request(Method::GET, [kind, device.as_str()])?;
        match self.send(request, "reading a device").await? {
            Some(response) => self.json(response).await.map(Some),
            None => Ok(None),
        }
    }

    async fn put(&self, placement: &Placement) -> Result<Placed, LinkError> {
        let id = placement.device_id.as_str();
        let known = self.get("devices", &placement.device_id).await?;
        let status = known.as_ref().and_then(|device| device.get("status")).cloned();
        let device = json!({
            "deviceId": id,
            // A device an operator switched off at the hub stays off.
            "status": status.clone().unwrap_or_else(|| "enabled".into()),
            "authentication": authentication(&placement.authentication),
            "capabilities": { "iotEdge": placement.iot_edge },
        });
        let mut request = self.request(Method::PUT, ["devices", id])?.json(&device);
        if known.is_some() {
            request = request.header("if-match", "\"*\"");
        }
        self.send(request, "writing a device").await?;
        let (tags, desired) = match &placement.beginning {
            Beginning::Carried(twin) => (twin.tags.clone(), twin.desired.values.clone()),
            Beginning::Initial(None) if known.is_none() => return Ok(Placed::New),
            Beginning::Initial(initial) => {
                let initial = initial.clone().unwrap_or_default();
                (initial.tags, initial.desired)
            }
        };
        let is_off = status.is_some_and(|status| status == "disabled");
        if known.is_none() || (placement.overwrite && !is_off) {
            let twin = json!({ "deviceId": id, "tags": tags, "properties": { "desired": desired } });
            let request = self.request(Method::PUT, ["twins", id])?.header("if-match", "\"*\"").json(&twin);
            self.send(request, "writing a twin").await?;
        }
        Ok(if known.is_some() { Placed::Known } else { Placed::New })
    }
}

fn authentication(write: &AuthenticationWrite) -> Value {
    match write {
        AuthenticationWrite::Sas(Some(keys)) => json!({
            "type": "sas",
            "symmetricKey": { "primaryKey": keys.primary.to_base64(), "secondaryKey": keys.secondary.to_base64() },
        }),
        AuthenticationWrite::SelfSigned { primary, secondary } => json!({
            "type": "selfSigned",
            "x509Thumbprint": { "primaryThumbprint": primary, "secondaryThumbprint": secondary },
        }),
        AuthenticationWrite::CertificateAuthority => json!({ "type": "certificateAuthority" }),
        AuthenticationWrite::Sas(None) | AuthenticationWrite::Unchanged => json!({ "type": "sas" }),
        AuthenticationWrite::None => json!({ "type": "none" }),
    }
}

/// The values of a section, without `$metadata` and `$version`.
fn values(section: Option<&Value>) -> Object {
    let section = section.and_then(Value::as_object).cloned().unwrap_or_else(Map::new);
    section.into_iter().filter(|(key, _)| !key.starts_with('$')).collect()
}

impl Link for RemoteHub {
    fn place<'a>(&'a self, _: Timestamp, placement: &'a Placement) -> PortFuture<'a, Placed, LinkError> {
        Box::pin(self.put(placement))
    }

    fn twin<'a>(&'a self, now: Timestamp, device: &'a DeviceId) -> PortFuture<'a, Option<Twin>, LinkError> {
        Box::pin(async move {
            let Some(document) = self.get("twins", device).await? else { return Ok(None) };
            let mut twin = Twin::new();
            let section = |name: &str| values(document.pointer(&format!("/properties/{name}")));
            let refused = |error: gantry_hub::twin::TwinError| LinkError(error.to_string());
            let (tags, desired) = (values(document.get("tags")).into(), section("desired").into());
            let write = TwinWrite::replacing(Some(tags), Some(desired)).map_err(refused)?;
            twin.write(&write, now).map_err(refused)?;
            twin.report(&section("reported"), now).map_err(refused)?;
            Ok(Some(twin))
        })
    }

    fn remove<'a>(&'a self, _: Timestamp, device: &'a DeviceId) -> PortFuture<'a, (), LinkError> {
        Box::pin(async move {
            let request = self.request(Method::DELETE, ["devices", device.as_str()])?.header("if-match", "\"*\"");
            self.send(request, "removing a device").await.map(drop)
        })
    }

    fn probe(&self) -> PortFuture<'_, Duration, LinkError> {
        Box::pin(async move {
            let begun = Instant::now();
            let request = self.request(Method::GET, ["statistics", "service"])?;
            self.send(request, "asking for statistics").await?;
            Ok(begun.elapsed())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(connection_string: &str) -> Result<Way, String> {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let hub = HubLink { connection_string: connection_string.into(), authority: None, weight: 1, takes_part: true };
        HubLinker.link(&hub)
    }

    #[test]
    fn a_connection_string_names_host_policy_and_key() {
        let key = "MDEyMzQ1Njc4OWFiY2RlZg==";
        let good = format!("HostName=hub.example:8443;SharedAccessKeyName=iothubowner;SharedAccessKey={key}");
        assert_eq!(link(&good).unwrap().0, "hub.example");
        for (wrong, words) in [
            (String::new(), "no HostName"),
            (format!("HostName=h;SharedAccessKey={key}"), "no SharedAccessKeyName"),
            ("HostName=h;SharedAccessKeyName=p".into(), "no SharedAccessKey"),
            ("HostName=h;SharedAccessKeyName=p;SharedAccessKey=?".into(), "no key"),
            (format!("HostName=h/x;SharedAccessKeyName=p;SharedAccessKey={key}"), "no host name"),
        ] {
            let refused = link(&wrong).err().unwrap_or_default();
            assert!(refused.contains(words) && !refused.contains(key), "{wrong}: {refused}");
        }
    }
}
