//! Behaviour of the service side as its clients see it.

mod amqp;
mod amqp_world;
mod authorization;
mod registry;
mod service;
mod session;
