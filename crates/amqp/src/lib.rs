//! AMQP 1.0: types, frames, SASL, connection, session and link state, without sockets or clock.
