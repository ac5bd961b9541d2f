//! Streaming anomaly detection: score, expected band, reason in words, health and maintenance list.
