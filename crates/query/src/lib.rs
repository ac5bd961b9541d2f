//! The hub query language: twin queries and conditions.
