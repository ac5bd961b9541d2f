//! Operators over several tables: `union`, `search`, `find`.

use super::item::Source;
use super::{Binder, Cx, Result, RowKind, names::Names};
use crate::ast::{self, Binary, Find, FindColumns};
use crate::bound::{Column, Expr, ExprKind, Rel, RelKind, Schema};
use crate::diagnostic::{Code, Span};
use crate::value::{Type, Value};
use std::sync::Arc;

/// Whether a name is of a pattern with `*`.
pub(super) fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or("");
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let Some(last) = pattern.contains('*').then(|| parts.next_back().unwrap_or("")) else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.len() >= last.len() && rest.ends_with(last)
}

impl Binder<'_> {
    pub(super) fn union(
        &mut self,
        tables: &[ast::Expr],
        properties: &[ast::Property],
        input: Option<Arc<Rel>>,
        cx: Cx<'_>,
        span: Span,
    ) -> Result<Arc<Rel>> {
        let inner = match self.property_text(properties, "kind")?.as_deref() {
            None | Some("outer") => false,
            Some("inner") => true,
            Some(other) => return self.fault(Code::Syntax, span, format!("`{other}` is no kind of union")),
        };
        let fuzzy = self.property_text(properties, "isfuzzy")?.is_some_and(|text| text == "true" || text == "1");
        let with_source = match self.property_text(properties, "withsource")? {
            Some(name) => Some(name),
            None => self.property_text(properties, "with_source")?,
        };
        let mut sources: Vec<Source> = input.map(|rel| Source { name: table_name(&rel), rel }).into_iter().collect();
        for table in tables {
            match self.sources(table, cx) {
                Ok(more) => sources.extend(more),
                Err(fault) if fuzzy && fault.code == Code::UnknownName => {}
                Err(fault) => return Err(fault),
            }
        }
        self.union_of(sources, inner, with_source.as_deref(), span)
    }

    /// All rows of tables, with the columns of all (or those common to all).
    pub(super) fn union_of(
        &mut self,
        sources: Vec<Source>,
        inner: bool,
        with_source: Option<&str>,
        span: Span,
    ) -> Result<Arc<Rel>> {
        let open = sources.iter().any(|source| source.rel.schema.open);
        let (columns, plans) = unified(&sources, inner);
        let mut inputs = Vec::new();
        let mut all = Vec::new();
        let mut names = Names::default();
        if let Some(name) = with_source {
            names.take(name);
            all.push(Column::new(name, Type::String));
        }
        for column in &columns {
            all.push(Column::new(names.unique(&column.name), column.ty));
        }
        for (at, (source, plan)) in sources.into_iter().zip(plans).enumerate() {
            let mut values = Vec::new();
            if with_source.is_some() {
                let name = if source.name.is_empty() { format!("union_arg{at}") } else { source.name };
                values.push(self.make(ExprKind::Literal(Value::String(name)), Type::String, span)?);
            }
            for (column, place) in columns.iter().zip(plan) {
                values.push(match place {
                    Some(index) => self.make(ExprKind::Column(index), column.ty, span)?,
                    None => self.make(ExprKind::Literal(Value::absent(column.ty)), column.ty, span)?,
                });
            }
            let same = with_source.is_none()
                && source.rel.schema.columns == all
                && values
                    .iter()
                    .enumerate()
                    .all(|(at, value)| matches!(value.kind, ExprKind::Column(index) if index == at));
            inputs.push(if same {
                source.rel
            } else {
                let schema = Schema { columns: all.clone(), open: source.rel.schema.open };
                self.rel(RelKind::Project { input: source.rel, values }, schema, false, span)?
            });
        }
        let schema = Schema { columns: all, open };
        self.rel(RelKind::Union { inputs }, schema, false, span)
    }

    /// The tables of `in (...)`, or all of the database.
    fn searched(&mut self, tables: &[ast::Expr], cx: Cx<'_>, span: Span) -> Result<Vec<Source>> {
        if tables.is_empty() {
            return self.sources(&ast::Expr { kind: ast::ExprKind::Wildcard("*".into()), span }, cx);
        }
        let mut sources = Vec::new();
        for table in tables {
            sources.extend(self.sources(table, cx)?);
        }
        Ok(sources)
    }

    pub(super) fn search(
        &mut self,
        tables: &[ast::Expr],
        predicate: &ast::Expr,
        properties: &[ast::Property],
        input: Option<Arc<Rel>>,
        cx: Cx<'_>,
        span: Span,
    ) -> Result<Arc<Rel>> {
        let cased = match self.property_text(properties, "kind")?.as_deref() {
            None | Some("default" | "case_insensitive") => false,
            Some("case_sensitive") => true,
            Some(other) => return self.fault(Code::Syntax, span, format!("`{other}` is no kind of search")),
        };
        let sources = match input {
            Some(rel) => vec![Source { name: table_name(&rel), rel }],
            None => self.searched(tables, cx, span)?,
        };
        let mut found = Vec::new();
        for source in sources {
            let rel = self.where_terms(source.rel, predicate, cased, cx, span)?;
            found.push(Source { name: source.name, rel });
        }
        self.union_of(found, false, Some("$table"), span)
    }

    /// The rows of a table that pass a predicate with terms.
    fn where_terms(
        &mut self,
        input: Arc<Rel>,
        predicate: &ast::Expr,
        cased: bool,
        cx: Cx<'_>,
        span: Span,
    ) -> Result<Arc<Rel>> {
        let row = self.row(&input.schema, RowKind::Lenient, input.serialized);
        let value = self.terms(predicate, cased, cx.with_row(&row))?;
        let predicate = self.predicate(value)?;
        let schema = input.schema.clone();
        self.rel_of(RelKind::Where { input, predicate }, schema, false, span)
    }

    /// A predicate in which a text alone, and `column : text`, look for terms.
    fn terms(&mut self, expr: &ast::Expr, cased: bool, cx: Cx<'_>) -> Result<Expr> {
        let span = expr.span;
        let parts = |binder: &mut Self, parts: &[ast::Expr]| -> Result<Arc<[Expr]>> {
            parts
                .iter()
                .map(|part| {
                    let value = binder.terms(part, cased, cx)?;
                    binder.predicate(value)
                })
                .collect()
        };
        match &expr.kind {
            ast::ExprKind::And(list) => {
                let list = parts(self, list)?;
                self.make(ExprKind::And(list), Type::Bool, span)
            }
            ast::ExprKind::Or(list) => {
                let list = parts(self, list)?;
                self.make(ExprKind::Or(list), Type::Bool, span)
            }
            ast::ExprKind::Call { name, arguments } if name.text == "not" && arguments.len() == 1 => {
                let value = self.terms(&arguments[0].value, cased, cx)?;
                let value = self.predicate(value)?;
                self.call_of("not", vec![value], Type::Bool, span)
            }
            ast::ExprKind::Wildcard(_) => self.make(ExprKind::Literal(Value::Bool(true)), Type::Bool, span),
            ast::ExprKind::Literal(Value::String(text), _) => {
                let (op, text) = term(text, cased);
                let Some(text) = text else {
                    return self.make(ExprKind::Literal(Value::Bool(true)), Type::Bool, span);
                };
                let text = self.make(ExprKind::Literal(Value::String(text)), Type::String, span)?;
                self.any_column(op, text, span, cx)
            }
            ast::ExprKind::Binary { op: Binary::Has, left, right } => {
                let ast::ExprKind::Literal(Value::String(text), _) = &right.kind else { return self.expr(expr, cx) };
                if matches!(left.kind, ast::ExprKind::Wildcard(_)) {
                    return self.expr(expr, cx);
                }
                let (op, text) = term(text, cased);
                let left = self.expr(left, cx)?;
                let left = if left.ty == Type::Unknown { left } else { self.cast(left, Type::String)? };
                let text = text.unwrap_or_default();
                let text = self.make(ExprKind::Literal(Value::String(text)), Type::String, span)?;
                self.binary(op, left, text, span)
            }
            _ => self.expr(expr, cx),
        }
    }

    pub(super) fn find(&mut self, find: &Find, cx: Cx<'_>, span: Span) -> Result<Arc<Rel>> {
        let source_name = match self.property_text(&find.properties, "withsource")? {
            Some(name) => name,
            None => self.property_text(&find.properties, "with_source")?.unwrap_or_else(|| "source_".into()),
        };
        let sources = self.searched(&find.tables, cx, span)?;
        let mut wanted: Vec<Column> = Vec::new();
        let pack = match &find.columns {
            FindColumns::Project { columns, pack } => {
                for (name, ty) in columns {
                    let found = sources.iter().find_map(|source| {
                        source.rel.schema.position(&name.text).map(|index| source.rel.schema.columns[index].ty)
                    });
                    let ty = match ty {
                        Some(ty) => self.declared(*ty, name.span)?,
                        None => found.unwrap_or(Type::Dynamic),
                    };
                    wanted.push(Column::new(name.text.as_str(), ty));
                }
                *pack
            }
            FindColumns::Smart => {
                // The columns the predicate names, then those all tables have; the rest is packed.
                let mut named = Vec::new();
                names_in(&find.predicate, &mut named);
                for name in named {
                    let found = sources.iter().find_map(|source| {
                        source.rel.schema.position(&name).map(|index| source.rel.schema.columns[index].clone())
                    });
                    if let Some(column) = found
                        && !wanted.contains(&column)
                    {
                        wanted.push(column);
                    }
                }
                true
            }
        };
        let mut inputs = Vec::new();
        let mut columns = vec![Column::new(source_name.as_str(), Type::String)];
        columns.extend(wanted.iter().cloned());
        if pack {
            columns.push(Column::new("pack_", Type::Dynamic));
        }
        for source in sources {
            let rel = self.where_terms(source.rel, &find.predicate, false, cx, span)?;
            let mut values = Vec::new();
            values.push(self.make(ExprKind::Literal(Value::String(source.name)), Type::String, span)?);
            for column in &wanted {
                values.push(match rel.schema.position(&column.name) {
                    Some(index) => {
                        let value = self.make(ExprKind::Column(index), rel.schema.columns[index].ty, span)?;
                        self.cast(value, column.ty)?
                    }
                    None => self.make(ExprKind::Literal(Value::absent(column.ty)), column.ty, span)?,
                });
            }
            if pack {
                let mut arguments = Vec::new();
                for (index, column) in rel.schema.columns.iter().enumerate() {
                    if !wanted.iter().any(|wanted| wanted.name == column.name) {
                        let name = Value::String(column.name.to_string());
                        arguments.push(self.make(ExprKind::Literal(name), Type::String, span)?);
                        arguments.push(self.make(ExprKind::Column(index), column.ty, span)?);
                    }
                }
                values.push(self.call_of("bag_pack", arguments, Type::Dynamic, span)?);
            }
            inputs.push(self.rel(RelKind::Project { input: rel, values }, Schema::of(columns.clone()), false, span)?);
        }
        self.rel(RelKind::Union { inputs }, Schema::of(columns), false, span)
    }
}

/// What a term with or without `*` at its ends asks for: nothing when it is only a star.
fn term(text: &str, cased: bool) -> (Binary, Option<String>) {
    let (front, back) = (text.starts_with('*'), text.len() > 1 && text.ends_with('*'));
    let bare = text.trim_matches('*');
    if bare.is_empty() {
        return (Binary::Has, None);
    }
    if bare.contains('*') {
        let pattern: Vec<String> = text.split('*').map(escape).collect();
        let pattern = format!("{}{}", if cased { "" } else { "(?i)" }, pattern.join(".*"));
        return (Binary::MatchesRegex, Some(pattern));
    }
    let op = match (front, back, cased) {
        (false, false, false) => Binary::Has,
        (false, false, true) => Binary::HasCs,
        (false, true, false) => Binary::HasPrefix,
        (false, true, true) => Binary::HasPrefixCs,
        (true, false, false) => Binary::HasSuffix,
        (true, false, true) => Binary::HasSuffixCs,
        (true, true, false) => Binary::Contains,
        (true, true, true) => Binary::ContainsCs,
    };
    (op, Some(bare.into()))
}

/// A text as a regular expression that matches it.
fn escape(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if c.is_ascii_punctuation() {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// The names in a predicate, in order.
fn names_in(expr: &ast::Expr, names: &mut Vec<String>) {
    match &expr.kind {
        ast::ExprKind::Name(name) => names.push(name.clone()),
        ast::ExprKind::And(parts) | ast::ExprKind::Or(parts) => parts.iter().for_each(|part| names_in(part, names)),
        ast::ExprKind::Binary { left, right, .. } => {
            names_in(left, names);
            names_in(right, names);
        }
        ast::ExprKind::Sign { of, .. } | ast::ExprKind::Path { of, .. } | ast::ExprKind::Index { of, .. } => {
            names_in(of, names);
        }
        ast::ExprKind::In { value, list, .. } => {
            names_in(value, names);
            list.iter().for_each(|part| names_in(part, names));
        }
        ast::ExprKind::Between { value, low, high, .. } => {
            [value, low, high].into_iter().for_each(|part| names_in(part, names));
        }
        ast::ExprKind::Call { arguments, .. } => arguments.iter().for_each(|part| names_in(&part.value, names)),
        _ => {}
    }
}

/// The name of the table rows come from, if they come from one.
fn table_name(rel: &Rel) -> String {
    match &rel.kind {
        RelKind::Table { name, .. } | RelKind::ExternalTable { name, .. } | RelKind::MaterializedView { name, .. } => {
            name.clone()
        }
        RelKind::Where { input, .. } | RelKind::Take { input, .. } | RelKind::Sort { input, .. } => table_name(input),
        _ => String::new(),
    }
}

/// Where a source has each column of a union; nothing for a column it lacks.
type Plan = Vec<Option<usize>>;

/// The columns of a union: by name and type; a name with several types becomes several columns
/// with the type behind the name, in the place of the first.
fn unified(sources: &[Source], inner: bool) -> (Vec<Column>, Vec<Plan>) {
    // For each name, in order, the types it has.
    let mut order: Vec<(Arc<str>, Vec<Type>)> = Vec::new();
    let mut places: std::collections::HashMap<Arc<str>, usize> = std::collections::HashMap::new();
    for source in sources {
        for column in &source.rel.schema.columns {
            let place = *places.entry(column.name.clone()).or_insert_with(|| {
                order.push((column.name.clone(), Vec::new()));
                order.len() - 1
            });
            if !order[place].1.contains(&column.ty) {
                order[place].1.push(column.ty);
            }
        }
    }
    let mut names = Names::default();
    for (name, types) in &order {
        if types.len() == 1 {
            names.take(name);
        }
    }
    let (mut columns, mut keys) = (Vec::new(), Vec::new());
    for (name, types) in &order {
        for ty in types {
            let has = |source: &Source| {
                source.rel.schema.columns.iter().any(|column| column.name == *name && column.ty == *ty)
            };
            if inner && !sources.iter().all(has) {
                continue;
            }
            let unique = if types.len() == 1 { name.to_string() } else { names.unique(&format!("{name}_{ty}")) };
            columns.push(Column::new(unique, *ty));
            keys.push((name.clone(), *ty));
        }
    }
    let plan = |source: &Source| {
        let find = |(name, ty): &(Arc<str>, Type)| {
            source.rel.schema.columns.iter().position(|column| column.name == *name && column.ty == *ty)
        };
        keys.iter().map(find).collect()
    };
    let plans = sources.iter().map(plan).collect();
    (columns, plans)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns_match_whole_names() {
        for (pattern, name, is) in [
            ("*", "abc", true),
            ("a*", "abc", true),
            ("*c", "abc", true),
            ("a*c", "abc", true),
            ("a*b*c", "a1b2c", true),
            ("abc", "abc", true),
            ("ab", "abc", false),
            ("*b", "abc", false),
            ("ab*bc", "abc", false),
            ("a*b*c", "acb", false),
        ] {
            assert_eq!(matches(pattern, name), is, "{pattern} {name}");
        }
    }
}
