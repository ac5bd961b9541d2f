//! The directory as the heads of one hub ask it: names of resources become resource ids.

use std::borrow::Cow;
use std::sync::Arc;

use gantry_hub::ports::directory::{Audience, Bearer, Directory, Person, Resource};
use gantry_identity::{Refusal, Timestamp};
use tokio::sync::watch;

use crate::known::Identified;
use crate::service::Service;

/// Where the resources of a hub are (ARM resource ids).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The resource group.
    pub group: String,
    hub: String,
    provisioning: String,
    streams: String,
    storage: String,
    tables: String,
}

impl Place {
    /// The place of a hub with a name, in a subscription and resource group, with a storage account.
    pub fn new(subscription: &str, group: &str, hub: &str, account: &str) -> Self {
        let group = format!("/subscriptions/{subscription}/resourceGroups/{group}");
        let provider = |kind: &str, name: &str| format!("{group}/providers/{kind}/{name}");
        Self {
            hub: provider("Microsoft.Devices/IotHubs", hub),
            provisioning: provider("Microsoft.Devices/provisioningServices", hub),
            streams: provider("Microsoft.EventHub/namespaces", hub),
            storage: provider("Microsoft.Storage/storageAccounts", account),
            tables: provider("Microsoft.Kusto/clusters", hub),
            group,
        }
    }

    /// The id of a resource.
    pub fn id(&self, resource: Resource<'_>) -> Cow<'_, str> {
        match resource {
            Resource::Hub => Cow::Borrowed(&self.hub),
            Resource::Provisioning => Cow::Borrowed(&self.provisioning),
            Resource::Stream(name, None) => Cow::Owned(format!("{}/eventhubs/{name}", self.streams)),
            Resource::Stream(name, Some(group)) => {
                Cow::Owned(format!("{}/eventhubs/{name}/consumergroups/{group}", self.streams))
            }
            Resource::Storage(None) => Cow::Borrowed(&self.storage),
            Resource::Storage(Some(container)) => {
                Cow::Owned(format!("{}/blobServices/default/containers/{container}", self.storage))
            }
            Resource::Tables => Cow::Borrowed(&self.tables),
            Resource::Group => Cow::Borrowed(&self.group),
        }
    }
}

/// The directory, for one hub.
pub struct OfHub {
    service: Arc<Service>,
    place: Arc<Place>,
}

impl OfHub {
    /// The directory for the hub at a place.
    pub fn new(service: Arc<Service>, place: Place) -> Self {
        Self { service, place: Arc::new(place) }
    }
}

impl Directory for OfHub {
    fn identify(&self, now: Timestamp, token: &str, audience: Audience) -> Result<Arc<dyn Bearer>, Refusal> {
        let identified = self.service.identify(now, token, audience);
        let one = identified.map_err(|refused| Refusal::NotProven(refused.to_string()))?;
        let bearer = Known { one, service: Arc::clone(&self.service), place: Arc::clone(&self.place) };
        if !bearer.is_known() {
            return Err(Refusal::Disabled(bearer.one.person.object_id.clone()));
        }
        Ok(Arc::new(bearer))
    }

    fn authority(&self) -> (&str, &str) {
        self.service.authority()
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.service.changes()
    }
}

struct Known {
    one: Arc<Identified>,
    service: Arc<Service>,
    place: Arc<Place>,
}

impl Bearer for Known {
    fn person(&self) -> &Person {
        &self.one.person
    }

    fn may(&self, data_action: &str, resource: Resource<'_>) -> bool {
        let kept = self.service.kept.current();
        kept.roles.may(&self.one.principal, data_action, &self.place.id(resource))
    }

    fn may_manage(&self, action: &str, resource: Resource<'_>) -> bool {
        let kept = self.service.kept.current();
        kept.roles.may_manage(&self.one.principal, action, &self.place.id(resource))
    }

    fn is_known(&self) -> bool {
        self.service.is_known(&self.one.principal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_have_the_ids_of_the_control_plane() {
        let place = Place::new("s", "gantry", "hub1", "acct");
        let check = |resource, expected: &str| {
            assert_eq!(place.id(resource), format!("/subscriptions/s/resourceGroups/gantry{expected}"));
        };
        check(Resource::Group, "");
        check(Resource::Hub, "/providers/Microsoft.Devices/IotHubs/hub1");
        check(Resource::Provisioning, "/providers/Microsoft.Devices/provisioningServices/hub1");
        check(Resource::Stream("e", None), "/providers/Microsoft.EventHub/namespaces/hub1/eventhubs/e");
        let group = "/providers/Microsoft.EventHub/namespaces/hub1/eventhubs/e/consumergroups/g";
        check(Resource::Stream("e", Some("g")), group);
        check(Resource::Storage(None), "/providers/Microsoft.Storage/storageAccounts/acct");
        let container = "/providers/Microsoft.Storage/storageAccounts/acct/blobServices/default/containers/c";
        check(Resource::Storage(Some("c")), container);
        check(Resource::Tables, "/providers/Microsoft.Kusto/clusters/hub1");
    }
}
