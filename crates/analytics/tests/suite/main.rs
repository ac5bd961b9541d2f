//! The engine over whole queries: commands, corpora, SQL, several threads.

mod commands;
mod corpus;
mod sql;
