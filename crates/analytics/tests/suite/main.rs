//! The engine over whole queries: commands, corpora, SQL, several threads.

mod beside;
mod commands;
mod corpus;
mod sql;
