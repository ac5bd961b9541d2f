//! How much there may be. Source, where none is said: "Azure Digital Twins service limits".

/// Twins of a graph; the configuration may say less. The reference's limit.
pub const TWINS_MAX: usize = 2_000_000;
/// Relationships of a graph; the configuration may say less. The reference's limit.
pub const RELATIONSHIPS_MAX: usize = 20_000_000;
/// Relationships that come to one twin.
pub const INCOMING_MAX: usize = 50_000;
/// Relationships that leave one twin.
pub const OUTGOING_MAX: usize = 50_000;
/// Bytes of the body of a write of a twin, relationship or route.
pub const BODY_BYTES_MAX: usize = 32 << 10;
/// Bytes of a twin or relationship as it is kept, what the service adds among them. Ours: patches add up.
pub const DOCUMENT_BYTES_MAX: usize = 64 << 10;
/// Bytes of a string within a property, UTF-8.
pub const STRING_BYTES_MAX: usize = 4 << 10;
/// Bytes of a name within a property.
pub const NAME_BYTES_MAX: usize = 1 << 10;
/// Bytes of the id of a twin or relationship.
pub const ID_LEN_MAX: usize = 128;
/// Models of a graph.
pub const MODELS_MAX: usize = 10_000;
/// Models in one call.
pub const MODELS_PER_CALL_MAX: usize = 250;
/// Bytes of one model.
pub const MODEL_BYTES_MAX: usize = 1 << 20;
/// Bytes of all models together. Ours: all are parsed at start.
pub const MODELS_BYTES_MAX: usize = 64 << 20;
/// Ids in `dependenciesFor`. Ours.
pub const DEPENDENCIES_FOR_MAX: usize = 250;
/// Event routes of a graph.
pub const ROUTES_MAX: usize = 6;
/// Bytes of the id of an event route or job. Ours.
pub const NAME_LEN_MAX: usize = 128;
/// Operations of one patch. Ours.
pub const PATCH_OPERATIONS_MAX: usize = 1_000;
/// Steps of a path of a patch. Ours: values of DTDL are not nested as deep.
pub const PATCH_DEPTH_MAX: usize = 32;
/// Bytes of telemetry. The reference's largest request.
pub const TELEMETRY_BYTES_MAX: usize = 32 << 10;
/// Items of a page that does not say how many it wants.
pub const PAGE_ITEMS: usize = 100;
/// Items of a page at most. Ours.
pub const PAGE_ITEMS_MAX: usize = 1_000;
/// Jobs that are remembered, of each kind. Ours; those that ended first go first.
pub const JOBS_MAX: usize = 100;
/// Days after which a job that ended is forgotten. Ours.
pub const JOB_DAYS: u64 = 30;
/// Bytes of a line of an import: a model and its punctuation.
pub const LINE_BYTES_MAX: usize = MODEL_BYTES_MAX + 1024;
/// Things an import writes at once. Ours.
pub const BATCH_ITEMS: usize = 500;
/// Bytes of the log of an import that are kept while it runs; further lines are counted only. Ours.
pub const LOG_BYTES_MAX: usize = 4 << 20;
/// Minutes a deletion runs when nobody says how long. Ours.
pub const DELETION_MINUTES: u64 = 60;
