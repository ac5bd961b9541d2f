//! Behaviour of the service side as its clients see it.

mod authorization;
mod registry;
mod service;
mod session;
