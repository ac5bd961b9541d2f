//! The service side: REST for hub, DPS and the page, Event Hubs and service AMQP.

pub mod amqp;
