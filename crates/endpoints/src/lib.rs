//! Where the platform sends: webhook and mail.
