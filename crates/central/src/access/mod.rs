//! People and what they may do: permissions, roles, users, API tokens, and the decision.
//!
//! How somebody proves who they are is not here, but for API tokens, whose text is ours.

pub mod caller;
pub mod permissions;
pub mod roles;
pub mod tokens;
pub mod users;
