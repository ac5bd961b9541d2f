//! Reads commands.

use super::{Command, CreateMode, Entity, Kind, PolicyValue, Properties, RoleChange, TableMode, Text};
use crate::ast::{Expr, ExprKind, Script, Statement, StatementKind};
use crate::bound::Column;
use crate::diagnostic::{Code, Span};
use crate::lex::{self, Kind as Tok};
use crate::parse::{Parser, Result};
use crate::value::{Dynamic, Type, Value};

/// A text without the blanks and comments before it.
pub(super) fn body(text: &str) -> &str {
    let mut rest = text.trim_start_matches(['\u{feff}', '\u{200b}']).trim_start();
    while let Some(comment) = rest.strip_prefix("//") {
        rest = comment.split_once('\n').map_or("", |(_, rest)| rest).trim_start();
    }
    rest
}

/// What somebody may be.
const ROLES: [&str; 7] = ["admins", "users", "viewers", "unrestrictedviewers", "ingestors", "monitors", "owners"];

/// Where `<|` is, outside of texts and comments.
fn split(text: &str) -> Option<usize> {
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        if text[at..].starts_with("<|") {
            return Some(at);
        }
        if text[at..].starts_with("//") {
            at += text[at..].find('\n').unwrap_or(text.len() - at);
        } else if let Ok(Some(end)) = lex::string_end(text, at) {
            at = end;
        } else {
            at += c.len_utf8();
        }
    }
    None
}

pub(super) fn command(text: &str) -> Result<Command> {
    let cut = split(text);
    let head = &text[..cut.unwrap_or(text.len())];
    let tail = cut.map(|cut| Text {
        text: text[cut + 2..].trim().to_string(),
        span: Span::new(cut + 2 + (text[cut + 2..].len() - text[cut + 2..].trim_start().len()), text.trim_end().len()),
    });
    let tokens = match crate::parse::tokens(head) {
        Ok(tokens) => tokens,
        // What is not implemented may hold anything.
        Err(fault) => return unknown(text).ok_or(fault),
    };
    let mut reader = Reader { p: Parser::new(head, &tokens), tail, name: String::new() };
    reader.p.expect_sign(".")?;
    let verb = reader.words();
    reader.name = format!(".{verb}");
    let kind = reader.kind(&verb)?;
    if kind == Kind::NotImplemented {
        return unknown(text).ok_or_else(|| reader.p.expected::<()>("a command").expect_err("it is a fault"));
    }
    let pipeline = reader.pipeline()?;
    Ok(Command { name: reader.name, kind, pipeline })
}

/// A command that is known by its words only.
fn unknown(text: &str) -> Option<Command> {
    let mut name = String::new();
    for word in body(text).split(|c: char| c.is_whitespace() && c != '\n') {
        let plain = |c: char| c.is_ascii_lowercase() || matches!(c, '-' | '_');
        let word_of = if name.is_empty() { word.strip_prefix('.')? } else { word };
        if word_of.is_empty() || !word_of.chars().all(plain) {
            break;
        }
        if !name.is_empty() {
            name.push(' ');
        }
        name.push_str(word);
    }
    (!name.is_empty()).then_some(Command { name, kind: Kind::NotImplemented, pipeline: None })
}

/// A reader of what stands before `<|`, and what stands behind.
pub(super) struct Reader<'a> {
    pub(super) p: Parser<'a>,
    pub(super) tail: Option<Text>,
    pub(super) name: String,
}

impl Reader<'_> {
    /// A word with dashes: `create-or-alter`.
    pub(super) fn words(&mut self) -> String {
        let Some(first) = self.p.word(0) else { return String::new() };
        let mut words = first.to_string();
        self.p.advance();
        while self.p.is_sign("-") && self.p.touches_previous() && self.p.touches(0) {
            let Some(more) = self.p.word(1) else { break };
            words = format!("{words}-{more}");
            self.p.at += 2;
        }
        words
    }

    /// The words here, without reading them.
    pub(super) fn peek(&mut self) -> String {
        let at = self.p.at;
        let words = self.words();
        self.p.at = at;
        words
    }

    pub(super) fn eat(&mut self, word: &str) -> bool {
        let eaten = self.peek() == word;
        if eaten {
            self.words();
            self.name = format!("{} {word}", self.name);
        }
        eaten
    }

    pub(super) fn expect(&mut self, word: &str) -> Result<()> {
        if self.eat(word) { Ok(()) } else { self.p.expected(&format!("`{word}`")) }
    }

    fn kind(&mut self, verb: &str) -> Result<Kind> {
        match verb {
            "show" => self.show(),
            "add" => self.roles(RoleChange::Add),
            "create" | "create-merge" | "create-or-alter" | "alter" | "alter-merge" => self.create(verb),
            "drop" => self.drop(),
            "delete" => {
                let Some(entity) = self.entity()? else { return Ok(Kind::NotImplemented) };
                if !self.eat("policy") {
                    return Ok(Kind::NotImplemented);
                }
                Ok(Kind::DeletePolicy { entity, policy: self.words() })
            }
            "rename" => self.rename(),
            "clear" => {
                if !self.eat("table") {
                    return Ok(Kind::NotImplemented);
                }
                let name = self.table_name()?;
                Ok(if self.eat("data") { Kind::ClearTable(name) } else { Kind::NotImplemented })
            }
            "ingest" => self.ingest(),
            "set" | "append" | "set-or-append" | "set-or-replace" => self.ingest_query(verb),
            "enable" | "disable" => {
                let enabled = verb == "enable";
                if self.eat("materialized-view") {
                    let name = self.table_name()?;
                    self.with()?;
                    return Ok(Kind::EnableView { name, enabled });
                }
                if self.eat("continuous-export") {
                    return Ok(Kind::EnableExport { name: self.table_name()?, enabled });
                }
                Ok(Kind::NotImplemented)
            }
            "export" => self.export(),
            "cancel" => {
                if self.eat("query") {
                    return Ok(Kind::CancelQuery(self.text_or_word()?));
                }
                if self.eat("operation") {
                    return Ok(Kind::CancelOperation(self.rest_until_pipe()));
                }
                Ok(Kind::NotImplemented)
            }
            "execute" => self.execute(),
            _ => Ok(Kind::NotImplemented),
        }
    }

    /// `| operator ...` behind the command, or its end.
    fn pipeline(&mut self) -> Result<Option<Script>> {
        self.p.eat_sign(";");
        if self.p.token(0).kind == Tok::End {
            return Ok(None);
        }
        let start = self.p.token(0);
        self.p.expect_sign("|")?;
        let operators = self.p.operators()?;
        self.p.eat_sign(";");
        if self.p.token(0).kind != Tok::End {
            return self.p.expected("the end of the command");
        }
        let span = self.p.since(start);
        let pipe = Expr { kind: ExprKind::Pipe { source: None, operators }, span };
        Ok(Some(Script { statements: vec![Statement { kind: StatementKind::Query(pipe), span }] }))
    }

    /// A name: any word, in brackets or quotes, with dashes. `database("d").T` is refused.
    pub(super) fn table_name(&mut self) -> Result<String> {
        if self.p.token(0).kind == Tok::String {
            return self.p.one_string();
        }
        if self.p.eat_sign("*") {
            return Ok("*".into());
        }
        if self.p.is_sign("[") && self.p.word(1).is_some() && self.p.is_sign_at(2, "]") {
            self.p.advance();
            let name = self.p.any_word()?.text;
            self.p.advance();
            return Ok(name);
        }
        if self.p.is_bracketed_name(0) {
            return Ok(self.p.name()?.text);
        }
        let token = self.p.token(0);
        if matches!(token.kind, Tok::Word | Tok::TimeSpan) {
            let words = if token.kind == Tok::Word {
                self.words()
            } else {
                {
                    self.p.advance();
                    self.p.text_of(token).into()
                }
            };
            return Ok(words);
        }
        self.p.expected("a name")
    }

    /// A name, or one with its database before it: `D.T`.
    pub(super) fn dotted_name(&mut self) -> Result<String> {
        let name = self.table_name()?;
        if self.p.is_sign(".") && self.p.touches_previous() && self.p.touches(0) {
            self.p.advance();
            return Ok(format!("{name}.{}", self.table_name()?));
        }
        Ok(name)
    }

    pub(super) fn names(&mut self) -> Result<Vec<String>> {
        self.p.expect_sign("(")?;
        let mut names = Vec::new();
        while !self.p.eat_sign(")") {
            names.push(self.table_name()?);
            if !self.p.is_sign(")") {
                self.p.expect_sign(",")?;
            }
        }
        Ok(names)
    }

    pub(super) fn text_or_word(&mut self) -> Result<String> {
        if self.p.token(0).kind == Tok::String { self.p.one_string() } else { self.table_name() }
    }

    /// What stands up to `|` or the end: ids and the like.
    pub(super) fn rest_until_pipe(&mut self) -> String {
        let start = self.p.token(0);
        while self.p.token(0).kind != Tok::End && !self.p.is_sign("|") && !self.p.is_sign(";") {
            self.p.advance();
        }
        self.p.since(start).of(self.p.text).trim_matches(['(', ')', '"', '\'', ' ']).to_string()
    }

    fn columns(&mut self) -> Result<Vec<Column>> {
        let mut columns: Vec<Column> = Vec::new();
        for column in self.p.schema()? {
            let name = column.name.text.as_str();
            if column.ty == Type::Unknown {
                let message = format!("column `{name}` has no type of the language");
                return self.p.fault(Code::WrongType, column.name.span, message);
            }
            if columns.iter().any(|known| &*known.name == name) {
                let message = format!("a column with the name `{name}` is declared already");
                return self.p.fault(Code::DuplicateName, column.name.span, message);
            }
            columns.push(Column::new(name, column.ty));
        }
        Ok(columns)
    }

    /// `with (name = value, ...)`, or nothing.
    pub(super) fn with(&mut self) -> Result<Properties> {
        if !self.p.eat_word("with") {
            return Ok(Vec::new());
        }
        self.p.expect_sign("(")?;
        let mut properties = Vec::new();
        while !self.p.eat_sign(")") {
            let mut name = self.p.any_word()?.text;
            while self.p.is_sign("-") || self.p.is_sign(".") {
                let sign = self.p.advance();
                let sign = self.p.text_of(sign).to_string();
                name = format!("{name}{sign}{}", self.p.any_word()?.text);
            }
            self.p.expect_sign("=")?;
            properties.push((name, self.value()?));
            if !self.p.is_sign(")") {
                self.p.expect_sign(",")?;
            }
        }
        Ok(properties)
    }

    /// A literal, or words as a text.
    fn value(&mut self) -> Result<Value> {
        let expr = self.p.property_value()?;
        Ok(match expr.kind {
            ExprKind::Literal(value, _) => value,
            ExprKind::Name(word) => Value::String(word),
            _ => return self.p.fault(Code::Syntax, expr.span, "expected a literal"),
        })
    }

    pub(super) fn query(&mut self) -> Result<Text> {
        match self.tail.take() {
            Some(text) if !text.text.is_empty() => Ok(text),
            _ => self.p.expected("`<|` and what follows it"),
        }
    }

    /// `table T`, `database D`, `materialized-view V`, `external table E`, `cluster`, `column T.c`.
    fn entity(&mut self) -> Result<Option<Entity>> {
        Ok(Some(if self.eat("table") {
            Entity::Table(self.dotted_name()?)
        } else if self.eat("database") {
            let word = self.peek();
            let unnamed = matches!(word.as_str(), "policy" | "ingestion" | "principals" | "schema");
            Entity::Database(if unnamed { None } else { Some(self.table_name()?) })
        } else if self.eat("materialized-view") {
            Entity::MaterializedView(self.table_name()?)
        } else if self.eat("external") {
            self.expect("table")?;
            Entity::ExternalTable(self.table_name()?)
        } else if self.eat("cluster") {
            Entity::Cluster
        } else if self.eat("function") {
            Entity::Function(self.table_name()?)
        } else if self.eat("column") {
            let table = self.table_name()?;
            self.p.expect_sign(".")?;
            Entity::Column(table, self.table_name()?)
        } else {
            return Ok(None);
        }))
    }

    pub(super) fn at_end(&self) -> bool {
        self.p.token(0).kind == Tok::End || self.p.is_sign("|") || self.p.is_sign(";")
    }

    fn create(&mut self, verb: &str) -> Result<Kind> {
        let asynchronous = self.eat("async");
        let if_not_exists = self.eat("ifnotexists");
        let mode = match (verb, if_not_exists) {
            ("create", false) => CreateMode::Create,
            ("create", true) => CreateMode::CreateIfNotExists,
            ("create-or-alter", _) => CreateMode::CreateOrAlter,
            _ => CreateMode::Alter,
        };
        let merge = verb == "alter-merge";
        match self.peek().as_str() {
            "table" => {
                self.eat("table");
                let name = self.dotted_name()?;
                if self.p.is_sign("(") {
                    let columns = self.columns()?;
                    let mode = match verb {
                        "create-merge" => TableMode::CreateMerge,
                        "alter" => TableMode::Alter,
                        "alter-merge" => TableMode::AlterMerge,
                        _ => TableMode::Create,
                    };
                    let properties = self.with()?;
                    return Ok(Kind::CreateTables { mode, tables: vec![(name, columns)], properties });
                }
                if self.eat("based-on") {
                    let like = self.table_name()?;
                    let if_not_exists = self.eat("ifnotexists");
                    return Ok(Kind::CreateTableLike { name, like, if_not_exists, properties: self.with()? });
                }
                self.alter_of(Entity::Table(name), mode, merge)
            }
            "tables" => {
                self.eat("tables");
                if self.p.is_sign("(") {
                    let entities = self.names()?.into_iter().map(Entity::Table).collect();
                    self.expect("policy")?;
                    return self.policy(entities, merge);
                }
                let mut tables = Vec::new();
                loop {
                    let name = self.table_name()?;
                    tables.push((name, self.columns()?));
                    if !self.p.eat_sign(",") {
                        break;
                    }
                }
                let mode = if verb == "create-merge" { TableMode::CreateMerge } else { TableMode::Create };
                Ok(Kind::CreateTables { mode, tables, properties: self.with()? })
            }
            "function" => {
                self.eat("function");
                let mode = if self.eat("ifnotexists") { CreateMode::CreateIfNotExists } else { mode };
                let properties = self.with()?;
                let name = self.table_name()?;
                if matches!(self.peek().as_str(), "folder" | "docstring") {
                    let what = self.words();
                    return Ok(Kind::Describe { entity: Entity::Function(name), what, text: self.p.string()? });
                }
                self.function(mode, name, properties)
            }
            "materialized-view" => {
                self.eat("materialized-view");
                let mode = if self.eat("ifnotexists") { CreateMode::CreateIfNotExists } else { mode };
                let properties = self.with()?;
                let name = self.table_name()?;
                if self.peek() != "on" {
                    return self.alter_of(Entity::MaterializedView(name), mode, merge);
                }
                self.view(mode, asynchronous, name, properties)
            }
            "external" => {
                self.eat("external");
                self.expect("table")?;
                let name = self.table_name()?;
                if self.p.is_sign("(") || self.p.is_word("kind") {
                    return self.external_table(mode, name);
                }
                self.alter_of(Entity::ExternalTable(name), mode, merge)
            }
            "continuous-export" if verb != "alter" => {
                self.eat("continuous-export");
                self.continuous_export()
            }
            "column" => {
                let Some(Entity::Column(table, name)) = self.entity()? else { return Ok(Kind::NotImplemented) };
                if self.p.eat_word("type") {
                    self.p.expect_sign("=")?;
                    let ty = self.p.type_name()?;
                    return Ok(Kind::AlterColumn { table, column: Column::new(name, ty) });
                }
                self.alter_of(Entity::Column(table, name), mode, merge)
            }
            "database" | "cluster" => match self.entity()? {
                Some(entity) => self.alter_of(entity, mode, merge),
                None => Ok(Kind::NotImplemented),
            },
            _ => Ok(Kind::NotImplemented),
        }
    }

    /// `policy ...`, `docstring "..."`, `folder "..."`, `ingestion csv mapping ...`.
    fn alter_of(&mut self, entity: Entity, mode: CreateMode, merge: bool) -> Result<Kind> {
        if self.eat("policy") {
            return self.policy(vec![entity], merge);
        }
        if matches!(self.peek().as_str(), "docstring" | "folder") {
            let what = self.words();
            return Ok(Kind::Describe { entity, what, text: self.p.string()? });
        }
        if let Entity::Table(table) = &entity
            && self.eat("column-docstrings")
        {
            let table = table.clone();
            self.p.expect_sign("(")?;
            let mut texts = Vec::new();
            while !self.p.eat_sign(")") {
                let column = self.table_name()?;
                self.p.expect_sign(":")?;
                texts.push((column, self.p.string()?));
                self.p.eat_sign(",");
            }
            return Ok(Kind::DescribeColumns { table, texts, merge });
        }
        if self.eat("ingestion") {
            let format = self.words();
            self.expect("mapping")?;
            let name = self.text_or_word()?;
            return Ok(Kind::CreateMapping { entity, mode, format, name, mapping: self.p.string()? });
        }
        Ok(Kind::NotImplemented)
    }

    fn policy(&mut self, entities: Vec<Entity>, merge: bool) -> Result<Kind> {
        let policy = self.words();
        let value = if self.p.token(0).kind == Tok::String {
            PolicyValue::Text(self.p.string()?)
        } else if self.p.is_word("enable") || self.p.is_word("disable") {
            let on = self.words() == "enable";
            if self.p.token(0).kind == Tok::String {
                // `row_level_security enable "query"`
                let query = Value::String(self.p.string()?);
                PolicyValue::Settings(vec![("enable".into(), Value::Bool(on)), ("query".into(), query)])
            } else {
                PolicyValue::Switch(on)
            }
        } else if self.p.is_word("true") || self.p.is_word("false") {
            PolicyValue::Switch(self.words() == "true")
        } else if self.p.is_sign("[") || self.p.is_sign("{") {
            // JSON that stands there bare.
            let start = self.p.token(0);
            while self.p.token(0).kind != Tok::End {
                self.p.advance();
            }
            PolicyValue::Text(self.p.since(start).of(self.p.text).to_string())
        } else if self.p.is_sign("(") {
            // `roworder (a asc, b desc)`
            let start = self.p.token(0);
            self.p.skip_parentheses()?;
            PolicyValue::Text(self.p.since(start).of(self.p.text).to_string())
        } else {
            let mut settings = Vec::new();
            while self.p.word(0).is_some() {
                let name = self.p.any_word()?.text;
                self.p.expect_sign("=")?;
                let mut value = self.value()?;
                if self.p.eat_sign("..") {
                    // `hot_window = from .. to`
                    let ends = vec![value.into_dynamic(), self.value()?.into_dynamic()];
                    value = Value::Dynamic(Dynamic::Array(ends));
                }
                settings.push((name, value));
                self.p.eat_sign(",");
            }
            if settings.is_empty() {
                return self.p.expected("the value of the policy");
            }
            PolicyValue::Settings(settings)
        };
        Ok(Kind::AlterPolicy { entities, policy, merge, value })
    }

    fn function(&mut self, mode: CreateMode, name: String, properties: Properties) -> Result<Kind> {
        let start = self.p.token(0);
        self.p.parameters()?;
        let parameters = self.p.since(start).of(self.p.text).to_string();
        let body = self.p.body()?.span;
        Ok(Kind::CreateFunction {
            mode,
            name,
            properties,
            parameters,
            body: Text { text: body.of(self.p.text).to_string(), span: body },
        })
    }

    fn view(&mut self, mode: CreateMode, asynchronous: bool, name: String, properties: Properties) -> Result<Kind> {
        self.expect("on")?;
        let source = if self.eat("materialized-view") {
            Entity::MaterializedView(self.table_name()?)
        } else {
            self.expect("table")?;
            Entity::Table(self.table_name()?)
        };
        let span = self.p.body()?.span;
        let (start, end) = (span.start as usize + 1, span.end() as usize - 1);
        let inner = &self.p.text[start..end];
        let start = start + (inner.len() - inner.trim_start().len());
        let query = Text { text: inner.trim().to_string(), span: Span::new(start, start + inner.trim().len()) };
        Ok(Kind::CreateView { mode, asynchronous, name, properties, source, query })
    }

    fn external_table(&mut self, mode: CreateMode, name: String) -> Result<Kind> {
        let columns = if self.p.is_sign("(") { self.columns()? } else { Vec::new() };
        let (mut kind, mut format, mut partitions) = (String::new(), None, None);
        loop {
            if self.p.eat_word("kind") {
                self.p.expect_sign("=")?;
                kind = self.words();
            } else if self.p.eat_word("dataformat") {
                self.p.expect_sign("=")?;
                format = Some(self.words());
            } else if self.p.is_word("partition") || self.p.is_word("pathformat") {
                let start = self.p.token(0);
                self.p.advance();
                let _ = self.p.eat_word("by") || self.p.eat_sign("=");
                self.p.skip_parentheses()?;
                let written = self.p.since(start).of(self.p.text).to_string();
                partitions = Some(partitions.map_or(written.clone(), |before: String| format!("{before} {written}")));
            } else if self.p.eat_word("table") {
                self.p.expect_sign("=")?;
                self.table_name()?;
            } else {
                break;
            }
        }
        let mut sources = Vec::new();
        if self.p.eat_sign("(") {
            while !self.p.eat_sign(")") {
                sources.push(self.p.string()?);
                if !self.p.is_sign(")") {
                    self.p.expect_sign(",")?;
                }
            }
        }
        let properties = self.with()?;
        Ok(Kind::CreateExternalTable { mode, name, columns, kind, format, partitions, sources, properties })
    }

    fn continuous_export(&mut self) -> Result<Kind> {
        let name = self.table_name()?;
        let over = if self.eat("over") { self.names()? } else { Vec::new() };
        self.expect("to")?;
        self.expect("table")?;
        let target = self.table_name()?;
        let properties = self.with()?;
        Ok(Kind::CreateExport { name, over, target, properties, query: self.query()? })
    }

    /// `ENTITY role ('principal', ...) [skip-results] ['notes']`, `ENTITY role none`
    pub(super) fn roles(&mut self, change: RoleChange) -> Result<Kind> {
        let Ok(Some(entity)) = self.entity() else { return Ok(Kind::NotImplemented) };
        let role = self.words();
        if !ROLES.contains(&role.as_str()) {
            return Ok(Kind::NotImplemented);
        }
        let mut principals = Vec::new();
        if !(change == RoleChange::Set && self.p.eat_word("none")) {
            self.p.expect_sign("(")?;
            while !self.p.eat_sign(")") {
                principals.push(self.p.string()?);
                if !self.p.is_sign(")") {
                    self.p.expect_sign(",")?;
                }
            }
        }
        let _ = self.peek() == "skip-results" && !self.words().is_empty();
        let notes = if self.p.token(0).kind == Tok::String { self.p.string()? } else { String::new() };
        Ok(Kind::Roles { change, entity, role, principals, notes })
    }

    /// Whether `ENTITY role (...)` stands here, and not what is dropped itself.
    fn is_role(&mut self) -> bool {
        let (at, name) = (self.p.at, self.name.clone());
        let is = matches!(self.entity(), Ok(Some(_))) && ROLES.contains(&self.words().as_str()) && self.p.is_sign("(");
        (self.p.at, self.name) = (at, name);
        is
    }

    fn drop(&mut self) -> Result<Kind> {
        if self.is_role() {
            return self.roles(RoleChange::Drop);
        }
        let kind = match self.peek().as_str() {
            "table" => {
                self.eat("table");
                let name = self.table_name()?;
                if self.eat("columns") {
                    let columns = self.names()?;
                    Kind::DropColumns { table: name, columns, if_exists: self.eat("ifexists") }
                } else if self.eat("ingestion") {
                    self.drop_mapping(Entity::Table(name))?
                } else {
                    Kind::DropTables { names: vec![name], if_exists: self.eat("ifexists") }
                }
            }
            "tables" => {
                self.eat("tables");
                Kind::DropTables { names: self.names()?, if_exists: self.eat("ifexists") }
            }
            "column" => match self.entity()? {
                Some(Entity::Column(table, column)) => {
                    Kind::DropColumns { table, columns: vec![column], if_exists: self.eat("ifexists") }
                }
                _ => Kind::NotImplemented,
            },
            "function" => {
                self.eat("function");
                Kind::DropFunctions { names: vec![self.table_name()?], if_exists: self.eat("ifexists") }
            }
            "functions" => {
                self.eat("functions");
                Kind::DropFunctions { names: self.names()?, if_exists: self.eat("ifexists") }
            }
            "materialized-view" => {
                self.eat("materialized-view");
                Kind::DropView { name: self.table_name()?, if_exists: self.eat("ifexists") }
            }
            "external" => {
                self.eat("external");
                self.expect("table")?;
                Kind::DropExternalTable { name: self.table_name()?, if_exists: self.eat("ifexists") }
            }
            "continuous-export" => {
                self.eat("continuous-export");
                Kind::DropExport(self.table_name()?)
            }
            "database" => {
                self.eat("database");
                let name = self.table_name()?;
                if self.eat("ingestion") {
                    self.drop_mapping(Entity::Database(Some(name)))?
                } else {
                    Kind::NotImplemented
                }
            }
            _ => Kind::NotImplemented,
        };
        Ok(if self.at_end() { kind } else { Kind::NotImplemented })
    }

    fn drop_mapping(&mut self, entity: Entity) -> Result<Kind> {
        let format = self.words();
        self.expect("mapping")?;
        Ok(Kind::DropMapping { entity, format, name: self.text_or_word()? })
    }

    fn rename(&mut self) -> Result<Kind> {
        if self.eat("table") {
            let old = self.table_name()?;
            self.expect("to")?;
            return Ok(Kind::RenameTables(vec![(self.table_name()?, old)]));
        }
        if self.eat("tables") {
            let mut pairs = Vec::new();
            loop {
                let new = self.table_name()?;
                self.p.expect_sign("=")?;
                pairs.push((new, self.table_name()?));
                if self.p.is_word("ifexists") {
                    return Ok(Kind::NotImplemented);
                }
                if !self.p.eat_sign(",") {
                    return Ok(Kind::RenameTables(pairs));
                }
            }
        }
        if self.peek() == "column"
            && let Some(Entity::Column(table, old)) = self.entity()?
        {
            self.expect("to")?;
            return Ok(Kind::RenameColumns(vec![(table, self.table_name()?, old)]));
        }
        if self.eat("columns") {
            let mut renamed = Vec::new();
            loop {
                let new = self.table_name()?;
                self.p.expect_sign("=")?;
                let table = self.table_name()?;
                self.p.expect_sign(".")?;
                renamed.push((table, new, self.table_name()?));
                if !self.p.eat_sign(",") {
                    return Ok(Kind::RenameColumns(renamed));
                }
            }
        }
        Ok(Kind::NotImplemented)
    }
}

/// The commands of a script: each starts with a dot at the start of a line, outside of texts and
/// braces.
pub(super) fn commands_of(text: &str, offset: usize) -> Vec<Text> {
    let mut starts = Vec::new();
    let (mut at, mut depth, mut line_start) = (0, 0i64, true);
    while let Some(c) = text[at..].chars().next() {
        if c == '.' && line_start && depth <= 0 {
            starts.push(at);
        }
        if text[at..].starts_with("//") {
            at += text[at..].find('\n').unwrap_or(text.len() - at);
            continue;
        }
        if let Ok(Some(end)) = lex::string_end(text, at) {
            (at, line_start) = (end, false);
            continue;
        }
        match c {
            '{' | '(' => depth += 1,
            '}' | ')' => depth -= 1,
            _ => {}
        }
        line_start = c == '\n' || line_start && c.is_whitespace();
        at += c.len_utf8();
    }
    let ends = starts.iter().skip(1).copied().chain([text.len()]);
    starts
        .iter()
        .zip(ends)
        .map(|(&start, end)| {
            let command = text[start..end].trim_end().trim_end_matches(';').trim_end();
            let from = offset + start;
            Text { text: command.to_string(), span: Span::new(from, from + command.len()) }
        })
        .collect()
}
