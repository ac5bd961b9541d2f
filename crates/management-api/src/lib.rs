//! The control plane over HTTP (ARM): a hub, its provisioning service and its application as resources of Azure's
//! management APIs, for `azure-mgmt-iothub`, `azure-mgmt-iothubprovisioningservices` and `azure-mgmt-iotcentral`.
//!
//! A handler reads a [`Call`](call::Call), asks hub or provisioning, and writes what the published documents show. There
//! is one resource of each kind, all three by the hub's name, in one subscription and one resource group. What a
//! configuration decides is shown and cannot be changed here: a write that asks for it is refused by the property's
//! name ([`changes`]), and operations without a handler answer 501 by theirs. Nothing here decides who may call: rows
//! say it (`gantry_api::management`).

mod call;
mod central;
mod certificates;
mod changes;
mod failure;
mod hubs;
mod kept;
mod names;
mod operations;
mod provisioning;
mod versions;

use std::collections::HashMap;
use std::sync::Arc;

use axum::middleware::from_fn_with_state;
use gantry_api::{Api, Routes, management};
use gantry_hub::ports::{Documents, StoreError};

use self::call::Call;
use self::certificates::{AtHub, AtProvisioning};
pub use self::failure::Failure;
use self::kept::Kept;
use self::operations::Operations;

/// The resource group of everything.
pub const RESOURCE_GROUP: &str = "gantry";
/// Where everything is.
pub const LOCATION: &str = "local";

/// A rule of the address filter, in the words of the reference.
#[derive(Clone, Debug)]
pub struct IpRule {
    /// `Accept` or `Reject`.
    pub action: &'static str,
    /// Addresses, as `10.1.0.0/16`.
    pub mask: String,
}

/// What the configuration says of a hub that only its documents show.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The subscription: a GUID of the platform's own.
    pub subscription: String,
    /// Where the event stream is read: `sb://host:port/`.
    pub stream: String,
    /// Partitions of the event stream.
    pub partitions: u16,
    /// How long events are kept, in hours.
    pub retention_hours: u64,
    /// Container for files of devices, and how long an address in it is good in minutes; none when they may not upload.
    pub uploads: Option<(String, u64)>,
    /// The address filter.
    pub ip_filter: Vec<IpRule>,
    /// Names of every hub of the process.
    pub hubs: Vec<String>,
    /// The application's id.
    pub application: String,
}

/// The resources of one hub.
pub struct Management {
    api: Arc<Api>,
    facts: Facts,
    kept: Kept,
    operations: Operations,
}

impl Management {
    /// Reads what is kept of the resources.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn open(api: Arc<Api>, facts: Facts, documents: Arc<dyn Documents>) -> Result<Self, StoreError> {
        Ok(Self { api, facts, kept: Kept::load(documents).await?, operations: Operations::default() })
    }
}

/// Every route of the control plane.
pub fn routes(management: Arc<Management>) -> Routes {
    let api = Arc::clone(&management.api);
    let mut rows: HashMap<_, _> = management::operations().map(|row| (row.id.clone(), row)).collect();
    let mut routes = Routes::new();
    macro_rules! on {
        ($($name:literal => $handler:expr,)*) => {
            $(let row = rows.remove(concat!("Management_", $name)).expect("a row of the table");
            routes = routes.on(row, $handler);)*
        };
    }
    on! {
        "Operations_List" => names::operations_of_devices,
        "IotCentralOperations_List" => names::operations_of_central,
        "ResourceProviderCommon_GetSubscriptionQuota" => names::usages,
        "IotHubResource_CheckNameAvailability" => names::check,
        "IotDpsResource_CheckProvisioningServiceNameAvailability" => names::check,
        "Apps_CheckNameAvailability" => names::check,
        "Apps_CheckSubdomainAvailability" => names::check,
        "Apps_ListTemplates" => central::templates,
        "IotHubResource_ListBySubscription" => hubs::list,
        "IotHubResource_ListByResourceGroup" => hubs::list,
        "IotHubResource_Get" => hubs::get,
        "IotHubResource_CreateOrUpdate" => hubs::put,
        "IotHubResource_Update" => hubs::patch,
        "IotHubResource_GetOperationResult" => hubs::operation,
        "IotHubResource_GetStats" => hubs::measures::stats,
        "IotHubResource_GetValidSkus" => hubs::measures::skus,
        "IotHubResource_GetQuotaMetrics" => hubs::measures::quotas,
        "IotHubResource_GetEndpointHealth" => hubs::measures::health,
        "IotHubResource_ListEventHubConsumerGroups" => hubs::consumer_groups::list,
        "IotHubResource_GetEventHubConsumerGroup" => hubs::consumer_groups::get,
        "IotHubResource_CreateEventHubConsumerGroup" => hubs::consumer_groups::put,
        "IotHubResource_DeleteEventHubConsumerGroup" => hubs::consumer_groups::delete,
        "IotHubResource_ListJobs" => hubs::jobs::list,
        "IotHubResource_GetJob" => hubs::jobs::get,
        "IotHubResource_ExportDevices" => hubs::jobs::export,
        "IotHubResource_ImportDevices" => hubs::jobs::import,
        "IotHubResource_TestAllRoutes" => hubs::routing::test_all,
        "IotHubResource_TestRoute" => hubs::routing::test_new,
        "IotHubResource_ListKeys" => hubs::keys,
        "IotHubResource_GetKeysForKeyName" => hubs::key,
        "IotHub_ManualFailover" => hubs::failover::begin,
        "Certificates_ListByIotHub" => certificates::list::<AtHub>,
        "Certificates_Get" => certificates::get::<AtHub>,
        "Certificates_CreateOrUpdate" => certificates::put::<AtHub>,
        "Certificates_Delete" => certificates::delete::<AtHub>,
        "Certificates_GenerateVerificationCode" => certificates::draw_code::<AtHub>,
        "Certificates_Verify" => certificates::verify::<AtHub>,
        "IotDpsResource_ListBySubscription" => provisioning::list,
        "IotDpsResource_ListByResourceGroup" => provisioning::list,
        "IotDpsResource_Get" => provisioning::get,
        "IotDpsResource_CreateOrUpdate" => provisioning::put,
        "IotDpsResource_Update" => provisioning::patch,
        "IotDpsResource_GetOperationResult" => provisioning::operation,
        "IotDpsResource_ListValidSkus" => provisioning::skus,
        "IotDpsResource_ListKeys" => provisioning::keys,
        "IotDpsResource_ListKeysForKeyName" => provisioning::key,
        "DpsCertificate_List" => certificates::list::<AtProvisioning>,
        "DpsCertificate_Get" => certificates::get::<AtProvisioning>,
        "DpsCertificate_CreateOrUpdate" => certificates::put::<AtProvisioning>,
        "DpsCertificate_Delete" => certificates::delete::<AtProvisioning>,
        "DpsCertificate_GenerateVerificationCode" => certificates::draw_code::<AtProvisioning>,
        "DpsCertificate_VerifyCertificate" => certificates::verify::<AtProvisioning>,
        "Apps_ListBySubscription" => central::list,
        "Apps_ListByResourceGroup" => central::list,
        "Apps_Get" => central::get,
        "Apps_CreateOrUpdate" => central::put,
        "Apps_Update" => central::patch,
    }
    // In the table's order, so that the last word about a path is always the same one.
    for row in management::operations().filter(|row| rows.contains_key(&row.id)) {
        routes = routes.on(row, not_implemented);
    }
    let routes = gantry_api::guarded::<Failure>(&api, routes.with_state(management));
    // Outermost, as at the reference: who asks for no version is told so, whoever it is.
    routes.layered(|row, one| one.route_layer(from_fn_with_state(Arc::clone(row), versions::check)))
}

async fn not_implemented(call: Call) -> Failure {
    Failure::not_implemented(call.operation())
}
