//! For whom tokens are: the resources that clients of the reference name.
//!
//! Clients write a resource with and without a slash at the end, and the token then has what they wrote. Tokens of
//! version 2 name the application behind a resource by its id instead.

use crate::ids::Guid;

/// A part of the platform that takes directory tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Head {
    /// IoT Hub's service API.
    IotHub,
    /// Device Provisioning Service.
    Provisioning,
    /// Event Hubs; also `https://{namespace}.servicebus.windows.net`, as the caller's own names.
    EventHubs,
    /// Blobs and queues; also `https://{account}.blob.core.windows.net`, as the caller's own names.
    Storage,
    /// Data Explorer; also the URL of the cluster, as the caller's own names.
    Kusto,
    /// IoT Central's application API.
    Central,
    /// Azure Resource Manager.
    Management,
}

impl Head {
    /// Every head.
    pub const ALL: [Self; 7] = [
        Self::IotHub,
        Self::Provisioning,
        Self::EventHubs,
        Self::Storage,
        Self::Kusto,
        Self::Central,
        Self::Management,
    ];

    /// The resources clients name, without the slash at the end.
    pub fn resources(self) -> &'static [&'static str] {
        match self {
            Self::IotHub => &["https://iothubs.azure.net"],
            Self::Provisioning => &["https://azure-devices-provisioning.net"],
            Self::EventHubs => &["https://eventhubs.azure.net"],
            Self::Storage => &["https://storage.azure.com"],
            Self::Kusto => &["https://kusto.kusto.windows.net"],
            Self::Central => &["https://apps.azureiotcentral.com"],
            Self::Management => &["https://management.azure.com", "https://management.core.windows.net"],
        }
    }

    /// The application behind it (Microsoft's first-party application ids).
    pub fn app_id(self) -> Guid {
        Guid::from_u128(match self {
            Self::IotHub => 0x89d10474_74af_4874_99a7_c23c2f643083,
            Self::Provisioning => 0x0cd79364_7a90_4354_9984_6e36c841418d,
            Self::EventHubs => 0x80369ed6_5f11_4dd9_bef3_692475845e77,
            Self::Storage => 0xe406a681_f3d4_42a8_90b6_c2b029497af1,
            Self::Kusto => 0x2746ea77_4702_4b45_80ca_3c97e680e8b7,
            Self::Central => 0x9edfcdd9_0bc5_4bd4_b287_c3afc716aac7,
            Self::Management => 0x797f4846_ba00_4fd7_ba43_dac1f8f63013,
        })
    }
}

/// The audiences one head takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audiences(Vec<String>);

impl Audiences {
    /// Those of a head, and resources that are the installation's own (`https://cluster.example`).
    pub fn of<S: AsRef<str>>(head: Head, own: impl IntoIterator<Item = S>) -> Self {
        let mut all: Vec<String> = head.resources().iter().map(|resource| (*resource).to_owned()).collect();
        all.push(head.app_id().to_string());
        all.extend(own.into_iter().map(|resource| without_slash(resource.as_ref()).to_ascii_lowercase()));
        all.retain(|audience| !audience.is_empty());
        Self(all)
    }

    /// Whether a token's `aud`, or a resource that is asked for, is one of them: without case, with or without one
    /// slash at the end.
    pub fn contains(&self, audience: &str) -> bool {
        let audience = without_slash(audience);
        self.0.iter().any(|own| own.eq_ignore_ascii_case(audience))
    }
}

fn without_slash(resource: &str) -> &str {
    resource.strip_suffix('/').unwrap_or(resource)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(head: Head, audience: &str, expected: bool) {
        assert_eq!(Audiences::of(head, ["https://Cluster.example:8443/"]).contains(audience), expected, "{audience}");
    }

    #[test]
    fn a_resource_is_meant_with_and_without_slash_and_case() {
        for head in Head::ALL {
            for resource in head.resources() {
                check(head, resource, true);
                check(head, &format!("{resource}/"), true);
                check(head, &format!("{resource}//"), false);
                check(head, &resource.to_uppercase(), true);
                check(head, &format!("{resource}.evil.example"), false);
            }
            check(head, &head.app_id().to_string(), true);
            check(head, "https://cluster.example:8443", true);
            for wrong in ["", "/", "https://graph.microsoft.com", "iothubs.azure.net"] {
                check(head, wrong, false);
            }
        }
        assert!(!Audiences::of(Head::IotHub, ["", "/"]).contains(""));
    }

    #[test]
    fn no_head_takes_tokens_of_another() {
        for head in Head::ALL {
            for other in Head::ALL.into_iter().filter(|other| *other != head) {
                check(head, other.resources()[0], false);
                check(head, &other.app_id().to_string(), false);
            }
        }
    }
}
