//! The domain's ports over SQLite and the event log.
