//! Rows of what clients of the digital-twin graph ask, and of the model repository. The handlers are those of the room
//! that answers.
//!
//! Source: the published document of the data plane, 2023-10-31. Names are its behind a word of ours. All paths begin
//! with [`BASE`]: the hub has `/digitaltwins` and `/jobs` of its own.

use axum::http::Method;

use crate::caller::Permissions as P;
use crate::fields::Fields;
use crate::operation::Body::{self, Json, Nothing, Object};
use crate::operation::{Access, Head, Operation, Parameter};

/// What the paths of the graph begin with.
pub const BASE: &str = "/graph";
/// What the names of all of its operations begin with.
pub const NAMES: &str = "Graph_";

/// Versions of the API that released clients ask for; what they have in common is answered as the last one says.
pub const VERSIONS: &[&str] = &[
    "2020-10-31",
    "2021-06-30-preview",
    "2022-05-31",
    "2023-02-27-preview",
    "2023-06-30",
    "2023-07-31-preview",
    "2023-10-31",
];

const NOTHING: Fields = Fields::NOTHING;
const QUERY: Fields = Fields { taken: &["query", "continuationToken"], ..NOTHING };
const ROUTE: Fields = Fields { taken: &["endpointName", "filter"], shown: &["id"], ..NOTHING };
const IMPORT: Fields = Fields {
    taken: &["inputBlobUri", "outputBlobUri"],
    shown: &["id", "status", "createdDateTime", "lastActionDateTime", "finishedDateTime", "purgeDateTime", "error"],
    ..NOTHING
};
const PATCH_BODY: Body = Json("a JSON patch: `add`, `replace` and `remove`.");

const TOKEN: Parameter = Parameter { name: "continuationToken", about: "Where the page begins, from `nextLink`." };
const PAGES: &[Parameter] = &[TOKEN];
const DEFINITION: Parameter = Parameter { name: "includeModelDefinition", about: "Whether definitions are shown." };
const MODELS: &[Parameter] = &[
    Parameter { name: "dependenciesFor", about: "Ids of models that are shown with what they are built on." },
    DEFINITION,
    TOKEN,
];
const MODEL: &[Parameter] = &[DEFINITION];
const NAME: &[Parameter] = &[Parameter { name: "relationshipName", about: "Relationships of this name only." }, TOKEN];
const MINUTES: &[Parameter] = &[Parameter { name: "timeoutInMinutes", about: "How long it may run." }];

/// Bytes of a body with a twin, relationship, route or query. Source: the reference's largest request.
const BODY_BYTES_MAX: usize = 32 << 10;
/// Bytes of a body with models.
const MODELS_BYTES_MAX: usize = 16 << 20;

const GET: Method = Method::GET;
const PUT: Method = Method::PUT;
const POST: Method = Method::POST;
const PATCH: Method = Method::PATCH;
const DELETE: Method = Method::DELETE;

type Entry = (Method, &'static str, &'static str, P, Body, &'static [Parameter], &'static str);

#[rustfmt::skip]
fn entries() -> Vec<Entry> {
    let (reads, writes, rules) = (P::DEVICES_READ, P::DEVICES_OPERATE, P::RULES_MANAGE);
    vec![
        (POST, "/models", "DigitalTwinModels_Add", rules, Json("an array of interfaces in DTDL."), &[], "Adds models, all or none."),
        (GET, "/models", "DigitalTwinModels_List", reads, Nothing, MODELS, "Models in order of id."),
        (GET, "/models/{id}", "DigitalTwinModels_GetById", reads, Nothing, MODEL, "A model."),
        (PATCH, "/models/{id}", "DigitalTwinModels_Update", rules, PATCH_BODY, &[], "Says whether new twins may have a model (`/decommissioned`)."),
        (DELETE, "/models/{id}", "DigitalTwinModels_Delete", rules, Nothing, &[], "Deletes a model that no other is built on."),
        (POST, "/query", "Query_QueryTwins", reads, Object(&QUERY), &[], "Runs a query, or the next page of one."),
        (GET, "/digitaltwins/{id}", "DigitalTwins_GetById", reads, Nothing, &[], "A twin."),
        (PUT, "/digitaltwins/{id}", "DigitalTwins_Add", writes, Json("a twin with `$metadata.$model` and its contents."), &[], "Makes a twin, or replaces one."),
        (DELETE, "/digitaltwins/{id}", "DigitalTwins_Delete", writes, Nothing, &[], "Deletes a twin without relationships."),
        (PATCH, "/digitaltwins/{id}", "DigitalTwins_Update", writes, PATCH_BODY, &[], "Changes a twin."),
        (GET, "/digitaltwins/{id}/relationships/{relationshipId}", "DigitalTwins_GetRelationshipById", reads, Nothing, &[], "A relationship."),
        (PUT, "/digitaltwins/{id}/relationships/{relationshipId}", "DigitalTwins_AddRelationship", writes, Json("`$targetId`, `$relationshipName` and properties."), &[], "Makes a relationship, or replaces one."),
        (DELETE, "/digitaltwins/{id}/relationships/{relationshipId}", "DigitalTwins_DeleteRelationship", writes, Nothing, &[], "Deletes a relationship."),
        (PATCH, "/digitaltwins/{id}/relationships/{relationshipId}", "DigitalTwins_UpdateRelationship", writes, PATCH_BODY, &[], "Changes properties of a relationship."),
        (GET, "/digitaltwins/{id}/relationships", "DigitalTwins_ListRelationships", reads, Nothing, NAME, "Relationships that leave a twin."),
        (GET, "/digitaltwins/{id}/incomingrelationships", "DigitalTwins_ListIncomingRelationships", reads, Nothing, PAGES, "Relationships that come to a twin."),
        (POST, "/digitaltwins/{id}/telemetry", "DigitalTwins_SendTelemetry", writes, Json("an object."), &[], "Sends telemetry on behalf of a twin to the event routes."),
        (POST, "/digitaltwins/{id}/components/{componentPath}/telemetry", "DigitalTwins_SendComponentTelemetry", writes, Json("an object."), &[], "The same of a component."),
        (GET, "/digitaltwins/{id}/components/{componentPath}", "DigitalTwins_GetComponent", reads, Nothing, &[], "A component of a twin."),
        (PATCH, "/digitaltwins/{id}/components/{componentPath}", "DigitalTwins_UpdateComponent", writes, PATCH_BODY, &[], "Changes a component of a twin."),
        (GET, "/eventroutes", "EventRoutes_List", P::RULES_READ, Nothing, PAGES, "Event routes in order of id."),
        (GET, "/eventroutes/{id}", "EventRoutes_GetById", P::RULES_READ, Nothing, &[], "An event route."),
        (PUT, "/eventroutes/{id}", "EventRoutes_Add", rules, Object(&ROUTE), &[], "Makes an event route to an endpoint of the hub, or replaces one."),
        (DELETE, "/eventroutes/{id}", "EventRoutes_Delete", rules, Nothing, &[], "Deletes an event route."),
        (GET, "/jobs/imports", "ImportJobs_List", reads, Nothing, PAGES, "Import jobs in order of id."),
        (PUT, "/jobs/imports/{id}", "ImportJobs_Add", rules, Object(&IMPORT), &[], "Imports models, twins and relationships from a file of the blob store."),
        (GET, "/jobs/imports/{id}", "ImportJobs_GetById", reads, Nothing, &[], "How an import fares."),
        (DELETE, "/jobs/imports/{id}", "ImportJobs_Delete", rules, Nothing, &[], "Forgets an import that has ended."),
        (POST, "/jobs/imports/{id}/cancel", "ImportJobs_Cancel", rules, Nothing, &[], "Tells an import to stop; what it wrote stays."),
        (POST, "/jobs/deletions", "DeleteJobs_Add", rules, Nothing, MINUTES, "Deletes every relationship, twin and model."),
        (GET, "/jobs/deletions", "DeleteJobs_List", reads, Nothing, PAGES, "Deletion jobs in order of id."),
        (GET, "/jobs/deletions/{id}", "DeleteJobs_GetById", reads, Nothing, &[], "How a deletion fares."),
    ]
}

fn row(entry: Entry) -> Operation {
    let (method, path, id, needed, body, query, about) = entry;
    let most = if id == "DigitalTwinModels_Add" { MODELS_BYTES_MAX } else { BODY_BYTES_MAX };
    let (path, id) = (format!("{BASE}{path}"), format!("{NAMES}{id}"));
    let asks = id.ends_with("Query_QueryTwins");
    let row = Operation::new(Head::Graph, method, &path, id, Access::Platform(needed), about)
        .of_versions(VERSIONS)
        .query(query)
        .reads(body)
        .up_to(most);
    if asks { row.asks() } else { row }
}

/// All of the graph's.
pub fn operations() -> impl Iterator<Item = Operation> {
    entries().into_iter().map(row)
}

/// A file of the model repository.
pub fn model_file() -> Operation {
    let about =
        "A model by its id: `dtmi/com/example/thermostat-1.json`, or `.expanded.json` with what it is built on.";
    Operation::new(Head::Models, GET, "/dtmi/{*path}", "Models_File", Access::Anyone, about)
}

/// What the model repository offers.
pub fn metadata() -> Operation {
    let about = "What the model repository offers: whether it has expanded files.";
    Operation::new(Head::Models, GET, "/metadata.json", "Models_Metadata", Access::Anyone, about)
}

/// All of the model repository's.
pub fn repository() -> [Operation; 2] {
    [model_file(), metadata()]
}
