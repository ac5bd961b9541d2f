//! The event log: partitions, segments, group commit, retention and readers; knows bytes, not devices.
