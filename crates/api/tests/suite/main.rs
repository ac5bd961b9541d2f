//! Behaviour of the service side as its clients see it.

mod authorization;
mod blob_conditions;
mod bodies;
mod configurations;
mod device;
mod digital_twins;
mod directory;
mod import_export;
mod jobs;
mod methods;
mod moving;
mod paths;
mod platform_provisioning;
mod provisioning;
mod query;
mod reference;
mod registry;
mod round_trip;
mod service;
mod session;
mod specification;
mod throttle;
mod twins;
