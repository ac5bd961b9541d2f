//! Behaviour of the library as its users see it.

mod connection;
mod golden;
mod pair;
mod properties;
mod wrong;
