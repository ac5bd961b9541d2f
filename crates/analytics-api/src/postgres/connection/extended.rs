//! The extended protocol: statements are parsed, bound to parameters, described, run in parts and forgotten.

use gantry_analytics::SqlRejected;
use gantry_kql::value::Value;
use gantry_sql::statement::{self, Statement};
use gantry_sql::types::SqlType;
use gantry_sql::{Error, Parameter};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Connection, Outcome, PORTALS_MAX, Portal, Prepared, STATEMENTS_MAX, Step, Transaction};
use super::{is_binary, no_portal, no_statement, protocol, shown, texts};
use crate::postgres::message::{Fields, message, row_description};
use crate::postgres::value;

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Connection<'_, S> {
    pub(super) async fn prepared(
        &mut self,
        text: String,
        statement: Statement,
        types: &[u32],
    ) -> Result<Prepared, Error> {
        let given: Vec<Parameter> = types
            .iter()
            .map(|oid| Parameter { ty: SqlType::from_oid(*oid).filter(|ty| *ty != SqlType::UNKNOWN), value: None })
            .collect();
        let (query, single) = match &statement {
            Statement::Query(query) => (Some(query.clone()), None),
            Statement::Copy(query, _) => (Some(query.clone()), None),
            Statement::Show(Some(name)) => (None, Some(shown(name).to_owned())),
            Statement::Show(None) => (None, Some("setting".to_owned())),
            Statement::Explain(_) => (None, Some("QUERY PLAN".to_owned())),
            _ => (None, None),
        };
        let mut parameters: Vec<SqlType> = given.iter().map(|one| one.ty.unwrap_or(SqlType::TEXT)).collect();
        let mut columns = single.map(|name| texts(&name, Vec::new()).columns);
        if let Some(query) = query {
            let (user, by, settings) = (self.user.clone(), self.by.clone(), self.settings.clone());
            let bound = self
                .work(move |warehouse| {
                    let setting = |name: &str| settings.get(name).cloned();
                    let now = crate::kusto::now();
                    warehouse.describe_sql(&query, &given, &setting, &user, &by, now)
                })
                .await?;
            parameters = bound.parameters;
            columns = (!matches!(statement, Statement::Copy(..))).then_some(bound.columns);
        }
        Ok(Prepared { text, statement, parameters, columns })
    }

    pub(super) fn keep(&mut self, name: &str, prepared: Prepared) -> Result<(), Error> {
        if !name.is_empty() && self.statements.contains_key(name) {
            return Err(Error::new("42P05", format!("prepared statement \"{name}\" already exists")));
        }
        if self.statements.len() >= STATEMENTS_MAX {
            return Err(Error::new("53400", format!("at most {STATEMENTS_MAX} prepared statements")));
        }
        self.statements.insert(name.to_owned(), prepared);
        Ok(())
    }

    pub(super) async fn parse(&mut self, fields: &mut Fields<'_>) -> Step<Result<(), (Error, String)>> {
        let (Some(name), Some(sent)) = (fields.text(), fields.text()) else { return Err(protocol()) };
        let Some(count) = fields.short() else { return Err(protocol()) };
        let types: Option<Vec<u32>> = (0..count).map(|_| fields.int().map(|oid| oid as u32)).collect();
        let Some(types) = types else { return Err(protocol()) };
        let text_ = sent.to_owned();
        let parsed = async {
            let split = self.work(move |_| statement::split(&text_).map_err(SqlRejected::Statement)).await?;
            let [statement] = <[Statement; 1]>::try_from(split)
                .map_err(|_| Error::new("42601", "cannot insert multiple commands into a prepared statement"))?;
            let ends = matches!(
                statement,
                Statement::Commit | Statement::Rollback | Statement::Nothing("ROLLBACK") | Statement::Empty
            );
            if self.transaction == Transaction::Failed && !ends {
                return Err(Error::new(
                    "25P02",
                    "current transaction is aborted, commands ignored until end of transaction block",
                ));
            }
            self.prepared(sent.to_owned(), statement, &types).await
        };
        let kept = match parsed.await {
            Ok(prepared) => {
                if name.is_empty() {
                    self.statements.remove("");
                }
                self.keep(name, prepared)
            }
            Err(wrong) => Err(wrong),
        };
        Ok(kept.map(|()| message(&mut self.out, b'1', |_| {})).map_err(|wrong| (wrong, sent.to_owned())))
    }

    pub(super) fn bind(&mut self, fields: &mut Fields) -> Result<(), (Error, String)> {
        let bare = |wrong: Error| (wrong, String::new());
        let broken = || (Error::new("08P01", "invalid Bind message"), String::new());
        let (portal, name) = (fields.text().ok_or_else(broken)?, fields.text().ok_or_else(broken)?);
        let prepared = self.statements.get(name).cloned().ok_or_else(|| bare(no_statement(name)))?;
        let formats = fields.shorts().ok_or_else(broken)?;
        let count = usize::try_from(fields.short().ok_or_else(broken)?).map_err(|_| broken())?;
        if count != prepared.parameters.len() {
            return Err(bare(Error::new(
                "08P01",
                format!(
                    "bind message supplies {count} parameters, but prepared statement \"{name}\" requires {}",
                    prepared.parameters.len()
                ),
            )));
        }
        let mut values = Vec::with_capacity(count);
        for (at, ty) in prepared.parameters.iter().enumerate() {
            let len = fields.int().ok_or_else(broken)?;
            let binary =
                *formats.get(at).or(if formats.len() == 1 { formats.first() } else { None }).unwrap_or(&0) == 1;
            let value = match usize::try_from(len) {
                Ok(len) => value::read(fields.bytes(len).ok_or_else(broken)?, *ty, binary).map_err(bare)?,
                Err(_) => Value::Null,
            };
            values.push(Parameter { ty: Some(*ty), value: Some(value) });
        }
        let formats = fields.shorts().ok_or_else(broken)?;
        if !portal.is_empty() && self.portals.contains_key(portal) {
            return Err(bare(Error::new("42P03", format!("cursor \"{portal}\" already exists"))));
        }
        if self.portals.len() >= PORTALS_MAX {
            return Err(bare(Error::new("53400", format!("at most {PORTALS_MAX} portals"))));
        }
        self.portals.insert(portal.to_owned(), Portal { prepared, values, formats, rows: None, next: (0, 0), sent: 0 });
        message(&mut self.out, b'2', |_| {});
        Ok(())
    }

    pub(super) fn describe(&mut self, fields: &mut Fields) -> Result<(), (Error, String)> {
        let broken = || (Error::new("08P01", "invalid Describe message"), String::new());
        let kind = fields.bytes(1).ok_or_else(broken)?;
        let name = fields.text().ok_or_else(broken)?;
        let (columns, formats) = if kind == b"S" {
            let prepared = self.statements.get(name).ok_or_else(|| (no_statement(name), String::new()))?;
            message(&mut self.out, b't', |out| {
                out.extend_from_slice(&(prepared.parameters.len() as i16).to_be_bytes());
                prepared.parameters.iter().for_each(|ty| out.extend_from_slice(&ty.oid().to_be_bytes()));
            });
            (prepared.columns.as_ref(), Vec::new())
        } else {
            let portal = self.portals.get(name).ok_or_else(|| (no_portal(name), String::new()))?;
            (portal.prepared.columns.as_ref(), portal.formats.clone())
        };
        match columns {
            Some(columns) => row_description(&mut self.out, columns, &|at| is_binary(&formats, at)),
            None => message(&mut self.out, b'n', |_| {}),
        }
        Ok(())
    }

    pub(super) async fn execute(&mut self, fields: &mut Fields<'_>) -> Step<Result<(), (Error, String)>> {
        let (Some(name), Some(count)) = (fields.text(), fields.int()) else { return Err(protocol()) };
        let Some(mut portal) = self.portals.remove(name) else {
            return Ok(Err((no_portal(name), String::new())));
        };
        let limit = if count > 0 { count as u64 } else { u64::MAX };
        if portal.rows.is_none() {
            match self.outcome(&portal.prepared.statement, &portal.values).await {
                Ok(Outcome::Rows(rows, _)) => {
                    let same = portal.prepared.columns.as_ref().is_some_and(|known| {
                        known.len() == rows.columns.len() && known.iter().zip(&rows.columns).all(|(a, b)| a.ty == b.ty)
                    });
                    if !same {
                        // The tables have other columns than when it was prepared.
                        let wrong = Error::new("0A000", "cached plan must not change result type");
                        return Ok(Err((wrong, String::new())));
                    }
                    portal.rows = Some(rows);
                }
                Ok(Outcome::Copy(rows, format)) => {
                    self.copy(&rows, &format).await?;
                    return Ok(Ok(()));
                }
                Ok(Outcome::Done(tag)) => {
                    self.complete(&tag);
                    return Ok(Ok(()));
                }
                Ok(Outcome::Empty) => {
                    message(&mut self.out, b'I', |_| {});
                    return Ok(Ok(()));
                }
                Err(wrong) => return Ok(Err((wrong, portal.prepared.text.clone()))),
            }
        }
        let Some(rows) = portal.rows.clone() else { return Err(protocol()) };
        let (next, sent) = self.send(&rows, portal.next, limit, &portal.formats).await?;
        portal.next = next;
        portal.sent += sent;
        if next.0 < rows.table.chunks.len() {
            message(&mut self.out, b's', |_| {});
        } else {
            self.complete(&format!("SELECT {}", portal.sent));
        }
        self.portals.insert(name.to_owned(), portal);
        Ok(Ok(()))
    }

    pub(super) fn close(&mut self, fields: &mut Fields) -> Result<(), (Error, String)> {
        let broken = || (Error::new("08P01", "invalid Close message"), String::new());
        let kind = fields.bytes(1).ok_or_else(broken)?;
        let name = fields.text().ok_or_else(broken)?;
        if kind == b"S" {
            self.statements.remove(name);
        } else {
            self.portals.remove(name);
        }
        message(&mut self.out, b'3', |_| {});
        Ok(())
    }
}
