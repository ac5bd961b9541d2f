//! Behaviour of the socket protocols as their clients see it.

mod amqp;
mod amqp_device;
mod amqp_hostile;
mod amqp_world;
