//! Operators that make rows or columns out of what is within a cell: `mv-expand`, `mv-apply`,
//! `parse`, `parse-kv`, `reduce`.

use super::{Binder, Cx, Item, Result, names};
use crate::ast;
use crate::bound::{Column, Expand, MvExpand, Parse, ParseKind, ParseKv, ParsePiece, Rel, RelKind, Schema, Slot};
use crate::diagnostic::{Code, Span};
use crate::value::{Type, Value};
use std::sync::Arc;

/// The columns of an output that changes or appends to those of its input.
struct Changed {
    columns: Vec<Column>,
    slots: Vec<Slot>,
}

impl Changed {
    fn new(schema: &Schema) -> Self {
        let slots = (0..schema.columns.len()).map(Slot::Input).collect();
        Self { columns: schema.columns.clone(), slots }
    }

    /// Puts a column in the place of the one of its name, or at the end.
    fn put(&mut self, name: &str, ty: Type, slot: Slot) {
        let column = Column::new(name, ty);
        match self.columns.iter().position(|column| &*column.name == name) {
            Some(place) => (self.columns[place], self.slots[place]) = (column, slot),
            None => {
                self.columns.push(column);
                self.slots.push(slot);
            }
        }
    }

    fn has(&self, name: &str) -> bool {
        self.columns.iter().any(|column| &*column.name == name)
    }
}

impl Binder<'_> {
    pub(super) fn mv_expand(
        &mut self,
        list: &[ast::Expand],
        limit: Option<&ast::Expr>,
        properties: &[ast::Property],
        input: Arc<Rel>,
        cx: Cx<'_>,
    ) -> Result<(MvExpand, Schema)> {
        let mut changed = Changed::new(&input.schema);
        let mut items = Vec::new();
        let mut unnamed = names::Names::default();
        for item in list {
            let span = item.value.value.span;
            self.charge(changed.columns.len() as u64, span)?;
            let value = self.row_value(&item.value.value, &input, cx)?;
            if !matches!(value.ty, Type::Dynamic | Type::Unknown) {
                let message = format!("only a dynamic value expands, not a {}", value.ty);
                return self.fault(Code::WrongType, span, message);
            }
            let to = match item.to {
                Some(ty) => Some(self.declared(ty, span)?),
                None => None,
            };
            let name = match item.value.names.first() {
                Some(name) => name.text.clone(),
                None => names::name_of(&item.value.value).unwrap_or_else(|| unnamed.unnamed()),
            };
            changed.put(&name, to.unwrap_or(Type::Dynamic), Slot::Made(items.len()));
            items.push(Expand { value, to });
        }
        if let Some(mut index) = self.property_text(properties, "with_itemindex")? {
            let mut number = 1;
            while changed.has(&index) {
                index = format!("{index}{number}");
                number += 1;
            }
            changed.put(&index, Type::Long, Slot::Made(items.len()));
        }
        let limit = match limit {
            Some(limit) => Some(self.count(limit, cx)?),
            None => None,
        };
        let kind = match self.property_text(properties, "kind")? {
            Some(kind) => Some(kind),
            None => self.property_text(properties, "bagexpansion")?,
        };
        let entries_as_arrays = kind.as_deref() == Some("array");
        let schema = Schema { columns: changed.columns, open: input.schema.open };
        Ok((MvExpand { input, items, outputs: changed.slots, entries_as_arrays, limit }, schema))
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one operator")]
    pub(super) fn mv_apply(
        &mut self,
        list: &[ast::Expand],
        limit: Option<&ast::Expr>,
        body: &ast::Expr,
        properties: &[ast::Property],
        input: Arc<Rel>,
        cx: Cx<'_>,
        span: Span,
    ) -> Result<Arc<Rel>> {
        let (expand, schema) = self.mv_expand(list, limit, properties, input.clone(), cx)?;
        let expanded = Arc::new(schema);
        let inside = self.rel_of(RelKind::Input, expanded.clone(), true, span)?;
        let body = match self.pipe(body, cx, Some(inside), None)? {
            Item::Rel(body) => body,
            _ => return self.fault(Code::WrongShape, body.span, "tabular value expected"),
        };
        // A column that was expanded under its own name goes; it may come back from the body.
        let gone = |name: &str| {
            list.iter().any(|item| {
                item.value.names.is_empty()
                    && matches!(&item.value.value.kind, ast::ExprKind::Name(column) if column == name)
            })
        };
        let (mut columns, mut outputs) = (Vec::new(), Vec::new());
        let mut taken = vec![false; body.schema.columns.len()];
        for (index, column) in input.schema.columns.iter().enumerate() {
            if gone(&column.name) {
                continue;
            }
            match body.schema.position(&column.name) {
                Some(made) => {
                    taken[made] = true;
                    columns.push(body.schema.columns[made].clone());
                    outputs.push(Slot::Made(made));
                }
                None => {
                    columns.push(column.clone());
                    outputs.push(Slot::Input(index));
                }
            }
        }
        for (made, column) in body.schema.columns.iter().enumerate() {
            if !taken[made] {
                columns.push(column.clone());
                outputs.push(Slot::Made(made));
            }
        }
        let schema = Schema { columns, open: input.schema.open || body.schema.open };
        self.rel(RelKind::MvApply { expand, expanded, body, outputs }, schema, false, span)
    }

    pub(super) fn parse_rows(
        &mut self,
        parse: &ast::Parse,
        input: Arc<Rel>,
        cx: Cx<'_>,
        span: Span,
    ) -> Result<Arc<Rel>> {
        let text = self.row_value(&parse.text, &input, cx)?;
        let text = self.cast(text, Type::String)?;
        let kind = match self.property_text(&parse.properties, "kind")?.as_deref() {
            None | Some("simple") => ParseKind::Simple,
            Some("regex") => ParseKind::Regex,
            Some("relaxed") => ParseKind::Relaxed,
            Some(other) => return self.fault(Code::Syntax, span, format!("`{other}` is no kind of parse")),
        };
        let flags = self.property_text(&parse.properties, "flags")?.unwrap_or_default();
        let mut changed = Changed::new(&input.schema);
        let mut pieces = Vec::new();
        let mut names = names::Names::default();
        let mut captures = 0;
        for piece in &parse.pieces {
            pieces.push(match piece {
                ast::ParsePiece::Star => ParsePiece::Star,
                ast::ParsePiece::Text(text) => ParsePiece::Text(text.clone()),
                ast::ParsePiece::Capture { name, ty } => {
                    self.charge(changed.columns.len() as u64, name.span)?;
                    let ty = self.declared(*ty, name.span)?;
                    if !names.take(&name.text) {
                        let message = format!("a column with the name `{}` is declared already", name.text);
                        return self.fault(Code::DuplicateName, name.span, message);
                    }
                    changed.put(&name.text, ty, Slot::Made(captures));
                    captures += 1;
                    ParsePiece::Capture(ty)
                }
            });
        }
        let schema = Schema { columns: changed.columns, open: input.schema.open };
        let serialized = input.serialized;
        let parse = Parse { input, text, kind, flags, pieces, outputs: changed.slots, drop_failed: parse.drop_failed };
        self.rel(RelKind::Parse(parse), schema, serialized, span)
    }

    pub(super) fn parse_kv(
        &mut self,
        text: &ast::Expr,
        keys: &[ast::ColumnDeclaration],
        with: &[ast::Property],
        input: Arc<Rel>,
        cx: Cx<'_>,
        span: Span,
    ) -> Result<Arc<Rel>> {
        let text = self.row_value(text, &input, cx)?;
        let text = self.cast(text, Type::String)?;
        let keys = self.columns(keys)?;
        let mut changed = Changed::new(&input.schema);
        for (index, key) in keys.iter().enumerate() {
            changed.put(&key.name, key.ty, Slot::Made(index));
        }
        let mut properties = self.property_values(with)?;
        properties.iter_mut().for_each(|(name, _)| *name = name.to_lowercase());
        let schema = Schema { columns: changed.columns, open: input.schema.open };
        let serialized = input.serialized;
        let parse = ParseKv { input, text, keys, properties, outputs: changed.slots };
        self.rel(RelKind::ParseKv(parse), schema, serialized, span)
    }

    pub(super) fn reduce(
        &mut self,
        of: &ast::Expr,
        properties: &[ast::Property],
        with: &[ast::Property],
        input: Arc<Rel>,
        cx: Cx<'_>,
        span: Span,
    ) -> Result<Arc<Rel>> {
        if self.property_text(properties, "kind")?.is_some() {
            return self.fault(Code::NotSupported, span, "`kind` of `reduce` is not implemented");
        }
        let of = self.row_value(of, &input, cx)?;
        let of = self.cast(of, Type::String)?;
        let properties: Vec<(String, Value)> = self.property_values(with)?;
        let columns = vec![
            Column::new("Pattern", Type::String),
            Column::new("Count", Type::Long),
            Column::new("Representative", Type::String),
        ];
        self.rel(RelKind::Reduce { input, of, properties }, Schema::of(columns), false, span)
    }
}
