//! Device and module ids, shared access signatures, policies and scopes.
