//! Reads the commands that bring data in, take it out, or run others.

use super::read::{Reader, commands_of};
use super::{IngestMode, Kind, RoleChange, Text};
use crate::lex::Kind as Tok;
use crate::parse::Result;

impl Reader<'_> {
    pub(super) fn ingest(&mut self) -> Result<Kind> {
        if self.eat("inline") {
            self.expect("into")?;
            let _ = self.eat("table");
            let table = self.table_name()?;
            let properties = self.with()?;
            let data = match self.tail.take() {
                Some(data) => data,
                // `[row] [row]` without `<|`
                None if self.p.is_sign("[") => {
                    let start = self.p.token(0);
                    while self.p.token(0).kind != Tok::End {
                        self.p.advance();
                    }
                    let span = self.p.since(start);
                    Text { text: span.of(self.p.text).to_string(), span }
                }
                None => return self.p.expected("`<|` and data"),
            };
            return Ok(Kind::IngestInline { table, properties, data });
        }
        let asynchronous = self.eat("async");
        self.expect("into")?;
        let _ = self.eat("table");
        let table = self.table_name()?;
        let mut sources = Vec::new();
        if self.p.eat_sign("(") {
            while !self.p.eat_sign(")") {
                sources.push(self.p.string()?);
                if !self.p.is_sign(")") {
                    self.p.expect_sign(",")?;
                }
            }
        } else {
            sources.push(self.p.string()?);
        }
        Ok(Kind::Ingest { asynchronous, table, sources, properties: self.with()? })
    }

    pub(super) fn ingest_query(&mut self, verb: &str) -> Result<Kind> {
        let mode = match verb {
            "set" => IngestMode::Set,
            "append" => IngestMode::Append,
            "set-or-append" => IngestMode::SetOrAppend,
            _ => IngestMode::SetOrReplace,
        };
        if self.tail.is_none() && verb == "set" {
            return self.roles(RoleChange::Set);
        }
        if self.tail.is_none() || self.peek() == "stored_query_result" {
            return Ok(Kind::NotImplemented);
        }
        let asynchronous = self.eat("async");
        let _ = self.peek() == "table" && self.p.word(1).is_some() && self.eat("table");
        let table = self.table_name()?;
        let properties = self.with()?;
        Ok(Kind::IngestQuery { mode, asynchronous, table, properties, query: self.query()? })
    }

    pub(super) fn export(&mut self) -> Result<Kind> {
        let mut asynchronous = self.eat("async");
        let compressed = self.eat("compressed");
        asynchronous |= self.eat("async");
        self.expect("to")?;
        let (format, targets) = if self.eat("table") {
            (None, vec![self.table_name()?])
        } else {
            let format = self.words();
            self.p.expect_sign("(")?;
            let mut targets = Vec::new();
            while !self.p.eat_sign(")") {
                targets.push(self.p.string()?);
                if !self.p.is_sign(")") {
                    self.p.expect_sign(",")?;
                }
            }
            (Some(format), targets)
        };
        let properties = self.with()?;
        Ok(Kind::Export { asynchronous, compressed, format, targets, properties, query: self.query()? })
    }

    pub(super) fn execute(&mut self) -> Result<Kind> {
        let _ = self.eat("database");
        if !self.eat("script") {
            return Ok(Kind::NotImplemented);
        }
        let properties = self.with()?;
        let script = self.query()?;
        let commands = commands_of(&script.text, script.span.start as usize);
        Ok(Kind::ExecuteScript { properties, commands })
    }
}
