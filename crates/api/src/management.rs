//! Rows of what clients of the control plane ask (ARM): the hub, its provisioning service and its application as
//! resources. The handlers are those of the room that answers.
//!
//! Source: the published documents `Microsoft.Devices` 2023-06-30 (hub) and 2022-12-12 (provisioning), and
//! `Microsoft.IoTCentral` 2021-06-01. Names are theirs behind a word of ours, since heads may not share a name.

use axum::http::Method;

use crate::caller::Permissions as P;
use crate::fields::{Fields, NAME, PROOF, TEST_ROUTE, TEST_ROUTES};
use crate::operation::Body::{self, Nothing, Object};
use crate::operation::{Access, Head, Operation};

/// What the names of all of them begin with.
pub const NAMES: &str = "Management_";

/// Versions of the hub's control plane: those of the shapes that are answered, which released clients ask for.
const HUB: &[&str] = &[
    "2019-03-22",
    "2019-07-01-preview",
    "2021-07-02",
    "2022-04-30-preview",
    "2022-11-15-preview",
    "2023-06-30",
    "2023-06-30-preview",
];
/// Versions of provisioning's.
const DPS: &[&str] =
    &["2021-10-15", "2022-02-05", "2022-12-12", "2023-03-01-preview", "2025-02-01-preview", "2026-11-01"];
/// Versions of both, for what belongs to the provider.
const DEVICES: &[&str] = &[
    "2019-03-22",
    "2019-07-01-preview",
    "2021-07-02",
    "2021-10-15",
    "2022-02-05",
    "2022-04-30-preview",
    "2022-11-15-preview",
    "2022-12-12",
    "2023-03-01-preview",
    "2023-06-30",
    "2023-06-30-preview",
    "2025-02-01-preview",
    "2026-11-01",
];
/// Versions of the application's.
const CENTRAL: &[&str] = &["2018-09-01", "2021-06-01", "2021-11-01-preview"];

const GET: Method = Method::GET;
const PUT: Method = Method::PUT;
const PATCH: Method = Method::PATCH;
const DELETE: Method = Method::DELETE;
const POST: Method = Method::POST;

const NOTHING: Fields = Fields::NOTHING;
const RESOURCE: Fields = Fields {
    taken: &["location", "tags", "etag", "properties", "sku", "identity"],
    shown: &["id", "name", "type", "systemData", "resourcegroup", "subscriptionid"],
    ..NOTHING
};
const TAGS: Fields = Fields { taken: &["tags"], ..NOTHING };
const APP_PATCH: Fields = Fields { taken: &["tags", "sku", "properties", "identity"], ..NOTHING };
const GROUP: Fields = Fields {
    inner: &[("properties", &Fields { taken: &["name"], shown: &["created"], ..NOTHING })],
    shown: &["id", "name", "type", "etag"],
    ..NOTHING
};
const CERTIFICATE: Fields = Fields {
    inner: &[(
        "properties",
        &Fields {
            taken: &["certificate", "isVerified"],
            shown: &["subject", "expiry", "thumbprint", "created", "updated"],
            ..NOTHING
        },
    )],
    shown: &["id", "name", "type", "etag", "systemData"],
    ..NOTHING
};
const EXPORT: Fields = Fields {
    taken: &[
        "exportBlobContainerUri",
        "excludeKeys",
        "exportBlobName",
        "authenticationType",
        "identity",
        "includeConfigurations",
        "configurationsBlobName",
    ],
    ..NOTHING
};
const IMPORT: Fields = Fields {
    taken: &[
        "inputBlobContainerUri",
        "outputBlobContainerUri",
        "inputBlobName",
        "outputBlobName",
        "authenticationType",
        "identity",
        "includeConfigurations",
        "configurationsBlobName",
    ],
    ..NOTHING
};
const FAILOVER: Fields = Fields { taken: &["failoverRegion"], ..NOTHING };
const ANY: Body = Body::Json("as published; it is not read.");

const SUBSCRIPTION: &str = "/subscriptions/{subscriptionId}";
const GROUPS: &str = "/resourceGroups/{resourceGroupName}";
const HUBS: &str = "/providers/Microsoft.Devices/IotHubs";
const SERVICES: &str = "/providers/Microsoft.Devices/provisioningServices";
const APPS: &str = "/providers/Microsoft.IoTCentral/iotApps";

/// What is not built, and why not.
const NOT_HERE: &str = "501: see docs/compatibility.md.";

/// Method, what follows the place of the resource, name, permissions, body, what it does.
type Entry = (Method, &'static str, &'static str, P, Body, &'static str);

/// Of the hub's resource; paths go on from its name.
#[rustfmt::skip]
fn of_hub() -> Vec<Entry> {
    let reads = P::DEVICES_READ;
    vec![
        (GET, "", "IotHubResource_Get", P::ROUTING_MANAGE, Nothing, "The hub, with its routing; keys are shown as `****`."),
        (PUT, "", "IotHubResource_CreateOrUpdate", P::ROUTING_MANAGE, Object(&RESOURCE), "Changes routing and tags of the hub; another change, or another hub, is refused by name."),
        (PATCH, "", "IotHubResource_Update", P::ROUTING_MANAGE, Object(&TAGS), "Replaces the hub's tags; the hub."),
        (DELETE, "", "IotHubResource_Delete", P::POLICIES_MANAGE, Nothing, NOT_HERE),
        (GET, "/operationResults/{operationId}", "IotHubResource_GetOperationResult", reads, Nothing, "How a long operation fares: 202 while it runs."),
        (GET, "/IotHubStats", "IotHubResource_GetStats", reads, Nothing, "How many devices there are."),
        (GET, "/skus", "IotHubResource_GetValidSkus", reads, Nothing, "The edition the hub acts like, the only one it can have."),
        (GET, "/eventHubEndpoints/{eventHubEndpointName}/ConsumerGroups", "IotHubResource_ListEventHubConsumerGroups", reads, Nothing, "Consumer groups of the endpoint `events`."),
        (GET, "/eventHubEndpoints/{eventHubEndpointName}/ConsumerGroups/{name}", "IotHubResource_GetEventHubConsumerGroup", reads, Nothing, "The consumer group."),
        (PUT, "/eventHubEndpoints/{eventHubEndpointName}/ConsumerGroups/{name}", "IotHubResource_CreateEventHubConsumerGroup", P::ROUTING_MANAGE, Object(&GROUP), "Makes a consumer group."),
        (DELETE, "/eventHubEndpoints/{eventHubEndpointName}/ConsumerGroups/{name}", "IotHubResource_DeleteEventHubConsumerGroup", P::ROUTING_MANAGE, Nothing, "Deletes a consumer group; those of the configuration stay."),
        (GET, "/jobs", "IotHubResource_ListJobs", reads, Nothing, "Import and export jobs."),
        (GET, "/jobs/{jobId}", "IotHubResource_GetJob", reads, Nothing, "The job."),
        (GET, "/quotaMetrics", "IotHubResource_GetQuotaMetrics", reads, Nothing, "Messages of the day and devices, with their limits on a hub that acts like an edition."),
        (GET, "/routingEndpointsHealth", "IotHubResource_GetEndpointHealth", P::ROUTING_READ, Nothing, "How endpoints of routing fare."),
        (POST, "/routing/routes/$testall", "IotHubResource_TestAllRoutes", P::ROUTING_READ, Object(&TEST_ROUTES), "Routes that match a message."),
        (POST, "/routing/routes/$testnew", "IotHubResource_TestRoute", P::ROUTING_READ, Object(&TEST_ROUTE), "A route, tried out."),
        (POST, "/listkeys", "IotHubResource_ListKeys", P::POLICIES_MANAGE, Nothing, "The policies of the hub, with their keys."),
        (POST, "/IotHubKeys/{keyName}/listkeys", "IotHubResource_GetKeysForKeyName", P::POLICIES_MANAGE, Nothing, "A policy of the hub, with its keys."),
        (POST, "/exportDevices", "IotHubResource_ExportDevices", P::POLICIES_MANAGE, Object(&EXPORT), "Begins an export of identities; the job."),
        (POST, "/importDevices", "IotHubResource_ImportDevices", P::POLICIES_MANAGE, Object(&IMPORT), "Begins an import of identities; the job."),
        (GET, "/certificates", "Certificates_ListByIotHub", P::CERTIFICATES_MANAGE, Nothing, "Authorities whose devices may connect."),
        (GET, "/certificates/{certificateName}", "Certificates_Get", P::CERTIFICATES_MANAGE, Nothing, "The certificate."),
        (PUT, "/certificates/{certificateName}", "Certificates_CreateOrUpdate", P::CERTIFICATES_MANAGE, Object(&CERTIFICATE), "The certificate; not verified unless said."),
        (DELETE, "/certificates/{certificateName}", "Certificates_Delete", P::CERTIFICATES_MANAGE, Nothing, "Deletes a certificate; 204 when there is none."),
        (POST, "/certificates/{certificateName}/generateVerificationCode", "Certificates_GenerateVerificationCode", P::CERTIFICATES_MANAGE, Nothing, "The certificate, with `verificationCode`."),
        (POST, "/certificates/{certificateName}/verify", "Certificates_Verify", P::CERTIFICATES_MANAGE, Object(&PROOF), "Takes a certificate signed by the authority, with the code as common name."),
        (POST, "/failover", "IotHub_ManualFailover", P::FAULTS_MANAGE, Object(&FAILOVER), "Rehearses a failover: REST is refused and telemetry lost for a while; 403 on a hub without `allow_faults`."),
        (GET, "/privateLinkResources", "PrivateLinkResources_List", P::POLICIES_MANAGE, Nothing, NOT_HERE),
        (GET, "/privateLinkResources/{groupId}", "PrivateLinkResources_Get", P::POLICIES_MANAGE, Nothing, NOT_HERE),
        (GET, "/privateEndpointConnections", "PrivateEndpointConnections_List", P::POLICIES_MANAGE, Nothing, NOT_HERE),
        (GET, "/privateEndpointConnections/{connectionName}", "PrivateEndpointConnections_Get", P::POLICIES_MANAGE, Nothing, NOT_HERE),
        (PUT, "/privateEndpointConnections/{connectionName}", "PrivateEndpointConnections_Update", P::POLICIES_MANAGE, ANY, NOT_HERE),
        (DELETE, "/privateEndpointConnections/{connectionName}", "PrivateEndpointConnections_Delete", P::POLICIES_MANAGE, Nothing, NOT_HERE),
    ]
}

/// Of the provisioning service's resource.
#[rustfmt::skip]
fn of_provisioning() -> Vec<Entry> {
    let keys = P::POLICIES_MANAGE | P::PROVISIONING_MANAGE;
    vec![
        (GET, "", "IotDpsResource_Get", P::PROVISIONING_MANAGE, Nothing, "The provisioning service, with its linked hubs; keys are shown as `****`."),
        (PUT, "", "IotDpsResource_CreateOrUpdate", P::PROVISIONING_MANAGE, Object(&RESOURCE), "Changes linked hubs and tags; another change, or another service, is refused by name."),
        (PATCH, "", "IotDpsResource_Update", P::PROVISIONING_MANAGE, Object(&TAGS), "Replaces the service's tags; the service."),
        (DELETE, "", "IotDpsResource_Delete", P::POLICIES_MANAGE, Nothing, NOT_HERE),
        (GET, "/operationresults/{operationId}", "IotDpsResource_GetOperationResult", P::PROVISIONING_MANAGE, Nothing, "How a long operation fared."),
        (GET, "/skus", "IotDpsResource_ListValidSkus", P::PROVISIONING_MANAGE, Nothing, "The edition there is."),
        (POST, "/listkeys", "IotDpsResource_ListKeys", keys, Nothing, "The policies of the service, with their keys."),
        (POST, "/keys/{keyName}/listkeys", "IotDpsResource_ListKeysForKeyName", keys, Nothing, "A policy of the service, with its keys."),
        (GET, "/certificates", "DpsCertificate_List", P::CERTIFICATES_MANAGE, Nothing, "Authorities that enrollments name."),
        (GET, "/certificates/{certificateName}", "DpsCertificate_Get", P::CERTIFICATES_MANAGE, Nothing, "The certificate."),
        (PUT, "/certificates/{certificateName}", "DpsCertificate_CreateOrUpdate", P::CERTIFICATES_MANAGE, Object(&CERTIFICATE), "The certificate; not verified unless said."),
        (DELETE, "/certificates/{certificateName}", "DpsCertificate_Delete", P::CERTIFICATES_MANAGE, Nothing, "Deletes a certificate; 204 when there is none."),
        (POST, "/certificates/{certificateName}/generateVerificationCode", "DpsCertificate_GenerateVerificationCode", P::CERTIFICATES_MANAGE, Nothing, "The certificate, with `verificationCode`."),
        (POST, "/certificates/{certificateName}/verify", "DpsCertificate_VerifyCertificate", P::CERTIFICATES_MANAGE, Object(&PROOF), "Takes a certificate signed by the authority, with the code as common name."),
        (GET, "/privateLinkResources", "IotDpsResource_ListPrivateLinkResources", P::POLICIES_MANAGE, Nothing, NOT_HERE),
        (GET, "/privateLinkResources/{groupId}", "IotDpsResource_GetPrivateLinkResources", P::POLICIES_MANAGE, Nothing, NOT_HERE),
        (GET, "/privateEndpointConnections", "IotDpsResource_ListPrivateEndpointConnections", P::POLICIES_MANAGE, Nothing, NOT_HERE),
        (GET, "/privateEndpointConnections/{connectionName}", "IotDpsResource_GetPrivateEndpointConnection", P::POLICIES_MANAGE, Nothing, NOT_HERE),
        (PUT, "/privateEndpointConnections/{connectionName}", "IotDpsResource_CreateOrUpdatePrivateEndpointConnection", P::POLICIES_MANAGE, ANY, NOT_HERE),
        (DELETE, "/privateEndpointConnections/{connectionName}", "IotDpsResource_DeletePrivateEndpointConnection", P::POLICIES_MANAGE, Nothing, NOT_HERE),
    ]
}

/// Of the application's resource.
#[rustfmt::skip]
fn of_application() -> Vec<Entry> {
    vec![
        (GET, "", "Apps_Get", P::DEVICES_READ, Nothing, "The application."),
        (PUT, "", "Apps_CreateOrUpdate", P::POLICIES_MANAGE, Object(&RESOURCE), "Changes tags; another change, or another application, is refused by name."),
        (PATCH, "", "Apps_Update", P::POLICIES_MANAGE, Object(&APP_PATCH), "Replaces the application's tags; another change is refused by name."),
        (DELETE, "", "Apps_Delete", P::POLICIES_MANAGE, Nothing, NOT_HERE),
    ]
}

/// Of the subscription, and of nothing in particular; whole paths, each with its versions.
#[rustfmt::skip]
fn of_providers() -> Vec<(&'static [&'static str], Entry)> {
    let reads = P::DEVICES_READ;
    vec![
        (DEVICES, (GET, "/providers/Microsoft.Devices/operations", "Operations_List", P::NONE, Nothing, "Operations of hub and provisioning service.")),
        (CENTRAL, (GET, "/providers/Microsoft.IoTCentral/operations", "IotCentralOperations_List", P::NONE, Nothing, "Operations of the application.")),
        (HUB, (GET, "/subscriptions/{subscriptionId}/providers/Microsoft.Devices/usages", "ResourceProviderCommon_GetSubscriptionQuota", reads, Nothing, "How many hubs there are and may be.")),
        (HUB, (POST, "/subscriptions/{subscriptionId}/providers/Microsoft.Devices/checkNameAvailability", "IotHubResource_CheckNameAvailability", reads, Object(&NAME), "Whether a hub has the name.")),
        (DPS, (POST, "/subscriptions/{subscriptionId}/providers/Microsoft.Devices/checkProvisioningServiceNameAvailability", "IotDpsResource_CheckProvisioningServiceNameAvailability", reads, Object(&NAME), "Whether a provisioning service has the name.")),
        (CENTRAL, (POST, "/subscriptions/{subscriptionId}/providers/Microsoft.IoTCentral/checkNameAvailability", "Apps_CheckNameAvailability", reads, Object(&NAME), "Whether an application has the name.")),
        (CENTRAL, (POST, "/subscriptions/{subscriptionId}/providers/Microsoft.IoTCentral/checkSubdomainAvailability", "Apps_CheckSubdomainAvailability", reads, Object(&NAME), "Whether an application has the subdomain.")),
        (CENTRAL, (POST, "/subscriptions/{subscriptionId}/providers/Microsoft.IoTCentral/appTemplates", "Apps_ListTemplates", reads, Nothing, "Templates of applications.")),
    ]
}

fn row(versions: &'static [&'static str], path: &str, entry: Entry) -> Operation {
    let (method, rest, id, needed, body, about) = entry;
    let (path, id) = (format!("{path}{rest}"), format!("{NAMES}{id}"));
    let asks = ["Check", "ListTemplates", "TestRoute", "TestAllRoutes"].iter().any(|word| id.contains(word));
    let row = Operation::new(Head::Management, method, &path, id, Access::Platform(needed), about)
        .of_versions(versions)
        .reads(body);
    if asks { row.asks() } else { row }
}

/// All of them.
pub fn operations() -> impl Iterator<Item = Operation> {
    let lists = [
        (HUB, HUBS, "IotHubResource", P::ROUTING_MANAGE, "Every hub: the one of this endpoint."),
        (
            DPS,
            SERVICES,
            "IotDpsResource",
            P::PROVISIONING_MANAGE,
            "Every provisioning service: the one of this endpoint.",
        ),
        (CENTRAL, APPS, "Apps", P::DEVICES_READ, "Every application: the one of this endpoint."),
    ];
    let lists = lists.into_iter().flat_map(|(versions, kind, name, needed, about)| {
        [(String::new(), "Subscription"), (GROUPS.to_owned(), "ResourceGroup")].map(|(group, of)| {
            let (path, id) = (format!("{SUBSCRIPTION}{group}{kind}"), format!("{NAMES}{name}_ListBy{of}"));
            Operation::new(Head::Management, GET, &path, id, Access::Platform(needed), about).of_versions(versions)
        })
    });
    let resources = [(HUB, HUBS, of_hub()), (DPS, SERVICES, of_provisioning()), (CENTRAL, APPS, of_application())];
    let resources = resources.into_iter().flat_map(|(versions, kind, entries)| {
        let place = format!("{SUBSCRIPTION}{GROUPS}{kind}/{{resourceName}}");
        entries.into_iter().map(move |entry| row(versions, &place, entry))
    });
    let providers = of_providers().into_iter().map(|(versions, entry)| row(versions, "", entry));
    providers.chain(lists).chain(resources)
}
