//! The published limits of the service, each with its source.
//!
//! Limits of our own (queues, buffers) sit next to the queue they bound.

use std::time::Duration;

/// Whole device-to-cloud message: body, system property values, application names and values.
/// Source: IoT Hub quotas, "maximum device-to-cloud message size".
pub const D2C_BYTES_MAX: usize = 256 * 1024;
/// Cloud-to-device message. Source: IoT Hub quotas.
pub const C2D_BYTES_MAX: usize = 64 * 1024;
/// Pending cloud-to-device messages per device. Source: IoT Hub quotas.
pub const C2D_QUEUE_LEN_MAX: usize = 50;
/// Life of a message without its own expiry. Source: cloud-to-device options, `defaultTtlAsIso8601`.
pub const C2D_TTL_DEFAULT: Duration = Duration::from_secs(60 * 60);
/// Longest life a sender may ask for. Source: cloud-to-device options.
pub const C2D_TTL_MAX: Duration = Duration::from_secs(48 * 60 * 60);
/// How long a message stays in the hands of a receiver. Source: cloud-to-device options, `lockDurationAsIso8601`.
pub const C2D_LOCK_DEFAULT: Duration = Duration::from_secs(60);
/// Deliveries before a message is dead-lettered. Source: cloud-to-device options.
pub const C2D_DELIVERY_COUNT_MAX: u32 = 10;
/// Consumer groups of a stream beside `$Default`. Source: IoT Hub limits, Event Hubs quotas of the standard tier.
pub const CONSUMER_GROUPS_MAX: usize = 20;
/// Endpoints beside the built-in one. Source: IoT Hub quotas.
pub const ROUTING_ENDPOINTS_MAX: usize = 10;
/// Routes. Source: IoT Hub quotas.
pub const ROUTES_MAX: usize = 100;
/// Enrichments. Source: message enrichments, limitations.
pub const ENRICHMENTS_MAX: usize = 10;
/// Certificate authorities of a hub. Source: IoT Hub quotas.
pub const AUTHORITIES_MAX: usize = 25;
/// Direct method payload, each way. Source: IoT Hub quotas.
pub const METHOD_BYTES_MAX: usize = 128 * 1024;
/// Direct method name in characters. Source: service REST reference.
pub const METHOD_NAME_LEN_MAX: usize = 100;
/// Response time-out range of a direct method in seconds. Source: service SDKs.
pub const METHOD_TIMEOUT_SECS: std::ops::RangeInclusive<u64> = 5..=300;
/// Response time-out when the caller gives none. Source: direct methods guide.
pub const METHOD_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);
/// Size of the tags section. Source: device twins guide.
pub const TWIN_TAGS_BYTES_MAX: usize = 8 * 1024;
/// Size of the desired and of the reported section. Source: device twins guide.
pub const TWIN_PROPERTIES_BYTES_MAX: usize = 32 * 1024;
/// Length of a key in a twin in bytes. Source: device twins guide.
pub const TWIN_KEY_BYTES_MAX: usize = 1024;
/// Length of a string in a twin in bytes. Source: device twins guide.
pub const TWIN_STRING_BYTES_MAX: usize = 4096;
/// Depth of a twin section. Source: device twins guide.
pub const TWIN_DEPTH_MAX: usize = 10;
/// Integers a twin may hold. Source: device twins guide.
pub const TWIN_INTEGER: std::ops::RangeInclusive<i64> = -4_503_599_627_370_496..=4_503_599_627_370_495;
/// Most devices one list call returns. Source: registry REST reference.
pub const DEVICE_LIST_MAX: usize = 1000;
/// Largest page of a query. Source: registry REST reference.
pub const QUERY_PAGE_MAX: usize = 1000;
/// Entries of one bulk call. Source: registry REST reference.
pub const BULK_LEN_MAX: usize = 100;
/// File uploads of one device under way. Source: IoT Hub quotas, "concurrently connected device file uploads".
pub const FILE_UPLOADS_PENDING_MAX: usize = 10;
/// Configurations and deployments of one hub. Source: IoT Hub quotas.
pub const CONFIGURATIONS_MAX: usize = 100;
/// Custom metrics of one configuration. Source: automatic device management.
pub const CONFIGURATION_METRICS_MAX: usize = 5;
/// Modules of one device. Source: IoT Hub quotas.
pub const MODULES_MAX: usize = 50;
