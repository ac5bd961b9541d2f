//! The application: rules, alerts, actions, security events and the maintenance list.
