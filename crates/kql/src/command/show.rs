//! Reads the commands that show something.

use super::read::Reader;
use super::{Entity, Kind, SchemaForm, TableForm};
use crate::parse::Result;

impl Reader<'_> {
    pub(super) fn show(&mut self) -> Result<Kind> {
        let at = self.p.at;
        let name = self.name.clone();
        let kind = self.show_object()?;
        if kind == Kind::NotImplemented || !self.at_end() {
            (self.p.at, self.name) = (at, name);
            return Ok(Kind::NotImplemented);
        }
        Ok(kind)
    }

    fn show_object(&mut self) -> Result<Kind> {
        let simple = |reader: &mut Self, kind: Kind| -> Result<Kind> {
            reader.words();
            Ok(kind)
        };
        let word = self.peek();
        self.name = format!("{} {word}", self.name);
        match word.as_str() {
            "version" => simple(self, Kind::ShowVersion),
            "capacity" => simple(self, Kind::ShowCapacity),
            "diagnostics" => simple(self, Kind::ShowDiagnostics),
            "commands" => simple(self, Kind::ShowCommands { queries: false }),
            "commands-and-queries" => simple(self, Kind::ShowCommands { queries: true }),
            "queries" => simple(self, Kind::ShowQueries { running: false }),
            "running" => {
                self.words();
                self.expect("queries")?;
                Ok(Kind::ShowQueries { running: true })
            }
            "operations" => {
                self.words();
                let id = self.rest_until_pipe();
                Ok(Kind::ShowOperations(if id.is_empty() { None } else { Some(id) }))
            }
            "extents" => {
                self.words();
                self.show_extents(None)
            }
            "ingestion" => {
                self.words();
                self.expect("failures")?;
                if self.p.is_word("with") {
                    self.with()?;
                }
                Ok(Kind::ShowIngestionFailures)
            }
            "principal" => {
                self.words();
                self.expect("roles")?;
                Ok(Kind::ShowPrincipals(None))
            }
            "cluster" => {
                self.words();
                if self.at_end() {
                    return Ok(Kind::ShowCluster);
                }
                self.show_of(Entity::Cluster)
            }
            // Without a name, as editors ask: of every database.
            "schema" => {
                self.words();
                Ok(Kind::ShowSchema { databases: Vec::new(), current: false, form: self.schema_form()? })
            }
            "databases" => {
                self.words();
                let mut databases = if self.p.is_sign("(") { self.names()? } else { Vec::new() };
                if self.eat("schema") {
                    return Ok(Kind::ShowSchema { databases, current: false, form: self.schema_form()? });
                }
                let detail = if self.at_end() { None } else { Some(self.words()) };
                self.with()?;
                Ok(Kind::ShowDatabases { name: databases.pop(), detail })
            }
            "database" => {
                self.words();
                if self.at_end() {
                    return Ok(Kind::ShowDatabases { name: Some(String::new()), detail: None });
                }
                if self.eat("schema") {
                    return Ok(Kind::ShowSchema { databases: Vec::new(), current: true, form: self.schema_form()? });
                }
                if matches!(self.peek().as_str(), "policy" | "ingestion" | "principals" | "extents") {
                    return self.show_of(Entity::Database(None));
                }
                let word = self.peek();
                if matches!(word.as_str(), "details" | "identity" | "policies" | "datastats" | "entities") {
                    self.words();
                    self.with()?;
                    return Ok(Kind::ShowDatabases { name: Some(String::new()), detail: Some(word) });
                }
                let name = self.table_name()?;
                if self.at_end() {
                    return Ok(Kind::ShowDatabases { name: Some(name), detail: None });
                }
                if self.eat("schema") {
                    return Ok(Kind::ShowSchema { databases: vec![name], current: false, form: self.schema_form()? });
                }
                if matches!(self.peek().as_str(), "details" | "identity") {
                    return Ok(Kind::ShowDatabases { name: Some(name), detail: Some(self.words()) });
                }
                self.show_of(Entity::Database(Some(name)))
            }
            "tables" => {
                self.words();
                let names = if self.p.is_sign("(") { self.names()? } else { Vec::new() };
                Ok(Kind::ShowTables { names, details: self.eat("details") })
            }
            "table" => {
                self.words();
                let name = self.dotted_name()?;
                if self.at_end() {
                    return Ok(Kind::ShowTable { name, form: TableForm::Row });
                }
                if self.eat("details") {
                    return Ok(Kind::ShowTable { name, form: TableForm::Details });
                }
                if self.eat("cslschema") {
                    return Ok(Kind::ShowTable { name, form: TableForm::Csl });
                }
                if self.eat("schema") {
                    self.expect("as")?;
                    let csl = self.eat("csl");
                    if !csl {
                        self.expect("json")?;
                    }
                    return Ok(Kind::ShowTable { name, form: if csl { TableForm::Csl } else { TableForm::Json } });
                }
                if self.eat("extents") {
                    return self.show_extents(Some(name));
                }
                self.show_of(Entity::Table(name))
            }
            "functions" => simple(self, Kind::ShowFunctions { name: None }),
            "function" => {
                self.words();
                let name = self.table_name()?;
                if self.at_end() {
                    return Ok(Kind::ShowFunctions { name: Some(name) });
                }
                self.show_of(Entity::Function(name))
            }
            "materialized-views" => {
                self.words();
                let detail = if self.at_end() { None } else { Some(self.words()) };
                Ok(Kind::ShowViews { name: None, detail })
            }
            "materialized-view" => {
                self.words();
                let name = self.table_name()?;
                let word = self.peek();
                if matches!(word.as_str(), "policy" | "principals") {
                    return self.show_of(Entity::MaterializedView(name));
                }
                let detail = if self.at_end() { None } else { Some(self.words()) };
                Ok(Kind::ShowViews { name: Some(name), detail })
            }
            "external" => {
                self.words();
                if self.eat("tables") {
                    let detail = if self.at_end() { None } else { Some(self.words()) };
                    return Ok(Kind::ShowExternalTables { name: None, detail });
                }
                self.expect("table")?;
                let name = self.table_name()?;
                if matches!(self.peek().as_str(), "mapping" | "mappings" | "policy" | "principals") {
                    return self.show_of(Entity::ExternalTable(name));
                }
                if self.at_end() {
                    return Ok(Kind::ShowExternalTables { name: Some(name), detail: None });
                }
                let mut detail = self.words();
                while self.p.word(0).is_some() {
                    detail = format!("{detail} {}", self.words());
                }
                Ok(Kind::ShowExternalTables { name: Some(name), detail: Some(detail) })
            }
            "continuous-exports" => simple(self, Kind::ShowExports { name: None, detail: None }),
            "continuous-export" => {
                self.words();
                let name = self.table_name()?;
                let detail = if self.at_end() { None } else { Some(self.words()) };
                Ok(Kind::ShowExports { name: Some(name), detail })
            }
            _ => Ok(Kind::NotImplemented),
        }
    }

    /// `[as json|csl script]`, `details`, and what narrows them.
    fn schema_form(&mut self) -> Result<SchemaForm> {
        let mut form = SchemaForm::Rows;
        if self.eat("details") {
            form = SchemaForm::Details;
        }
        if self.eat("if_later_than") {
            self.text_or_word()?;
        }
        if self.eat("as") {
            form = if self.eat("json") {
                SchemaForm::Json
            } else {
                self.expect("csl")?;
                self.expect("script")?;
                SchemaForm::Script
            };
        }
        if self.p.is_word("with") {
            self.with()?;
        }
        Ok(form)
    }

    fn show_extents(&mut self, table: Option<String>) -> Result<Kind> {
        Ok(Kind::ShowExtents { table, hot: self.eat("hot") })
    }

    /// What may be shown of an entity: a policy, its mappings, who may do what.
    fn show_of(&mut self, entity: Entity) -> Result<Kind> {
        if self.eat("policy") {
            return Ok(Kind::ShowPolicy { entity, policy: self.words() });
        }
        if self.eat("principals") {
            return Ok(Kind::ShowPrincipals(Some(entity)));
        }
        if matches!(entity, Entity::Database(_) | Entity::Cluster) && self.eat("extents") {
            return self.show_extents(None);
        }
        if self.eat("ingestion") {
            if self.eat("mappings") {
                return Ok(Kind::ShowMappings { entity, format: None, name: None });
            }
            let format = self.words();
            if self.eat("mappings") {
                return Ok(Kind::ShowMappings { entity, format: Some(format), name: None });
            }
            self.expect("mapping")?;
            return Ok(Kind::ShowMappings { entity, format: Some(format), name: Some(self.text_or_word()?) });
        }
        Ok(Kind::NotImplemented)
    }
}
