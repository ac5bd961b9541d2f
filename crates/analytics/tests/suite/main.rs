//! The engine over whole queries: commands, corpora, patterns of rows and texts, SQL and T-SQL, several threads.

mod beside;
mod commands;
mod corpus;
mod patterns;
mod sql;
mod tsql;
