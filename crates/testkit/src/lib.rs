//! A platform in one process for tests, and client drivers.
