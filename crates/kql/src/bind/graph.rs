//! Graphs: making them, matching patterns, and back to tables.

use super::aggregate::Output;
use super::{Binder, Cx, Item, Result, RowKind};
use crate::ast::{self, Named, OperatorKind, PatternPart};
use crate::bound::{
    Column, Element, ElementKind, Expr, ExprKind, Graph, GraphId, GraphKind, GraphMatch, Quantifier, Rel, RelKind,
    Schema,
};
use crate::diagnostic::{Code, Span};
use crate::functions;
use crate::value::{Type, Value};
use std::sync::Arc;

/// The elements of a pattern, as names in its expressions.
pub(super) struct Scope<'s> {
    elements: &'s [Element],
    graph: &'s Graph,
}

impl Scope<'_> {
    pub fn element(&self, name: &str) -> Option<usize> {
        self.elements.iter().position(|element| !name.is_empty() && element.name == name)
    }

    /// The columns of an element.
    fn schema(&self, element: usize) -> &Schema {
        match self.elements[element].kind {
            ElementKind::Node => &self.graph.nodes,
            ElementKind::Edge { .. } => &self.graph.edges,
        }
    }

    fn is_path(&self, element: usize) -> bool {
        matches!(self.elements[element].kind, ElementKind::Edge { hops: Some(_), .. })
    }

    /// The column of an element, and its type: of a path all values as an array.
    pub fn property(&self, element: usize, name: &str) -> Option<(usize, Type)> {
        let schema = self.schema(element);
        let column = schema.position(name)?;
        let ty = if self.is_path(element) { Type::Dynamic } else { schema.columns[column].ty };
        Some((column, ty))
    }
}

impl Binder<'_> {
    pub(super) fn make_graph(
        &mut self,
        make: &ast::MakeGraph,
        input: Arc<Rel>,
        cx: Cx<'_>,
        span: Span,
    ) -> Result<Item> {
        let source = self.graph_column(&input, &make.source)?;
        let target = self.graph_column(&input, &make.target)?;
        let mut nodes = Vec::new();
        let mut columns: Vec<Column> = Vec::new();
        for (table, id) in &make.nodes {
            let rel = self.table(table, cx)?;
            let id = self.graph_column(&rel, id)?;
            for column in &rel.schema.columns {
                if !columns.iter().any(|known| known.name == column.name) {
                    columns.push(column.clone());
                }
            }
            nodes.push((rel, id));
        }
        let mut node_id = None;
        if let Some(name) = &make.node_id {
            node_id = Some(columns.len());
            columns.push(Column::new(name.text.as_str(), input.schema.columns[source].ty));
        }
        let edges_schema = input.schema.clone();
        let kind = GraphKind::Make { edges: input.clone(), source, target, nodes, node_id };
        let graph = Arc::new(Graph { kind, nodes: Arc::new(Schema::of(columns)), edges: edges_schema });
        let Some((column, body)) = &make.partitioned_by else { return Ok(Item::Graph(graph)) };
        // `partitioned-by`: the body runs over the graph of each value's edges.
        let key = self.graph_column(&input, column)?;
        let key = self.make(ExprKind::Column(key), input.schema.columns[key].ty, column.span)?;
        let inside = self.rel_of(RelKind::Input, input.schema.clone(), false, span)?;
        let GraphKind::Make { source, target, nodes, node_id, .. } = &graph.kind else { unreachable!("it was made") };
        let kind = GraphKind::Make {
            edges: inside,
            source: *source,
            target: *target,
            nodes: nodes.clone(),
            node_id: *node_id,
        };
        let inner = Arc::new(Graph { kind, nodes: graph.nodes.clone(), edges: graph.edges.clone() });
        let ast::ExprKind::Pipe { source: None, operators } = &body.kind else {
            return self.fault(Code::WrongShape, body.span, "an operator over the graph expected");
        };
        let mut current = Item::Graph(inner);
        for operator in operators {
            current = match current {
                Item::Graph(graph) => self.graph_operator(&operator.kind, graph, cx, operator.span)?,
                Item::Rel(rel) => {
                    let kind = ast::ExprKind::Pipe { source: None, operators: vec![operator.clone()] };
                    self.pipe(&ast::Expr { kind, span: operator.span }, cx, Some(rel), None)?
                }
                other => other,
            };
        }
        let Item::Rel(body) = current else {
            return self.fault(Code::WrongShape, body.span, "tabular value expected");
        };
        let schema = body.schema.clone();
        self.rel_of(RelKind::Partition { input, key, body }, schema, false, span).map(Item::Rel)
    }

    fn graph_column(&self, rel: &Rel, name: &ast::Name) -> Result<usize> {
        match rel.schema.position(&name.text) {
            Some(index) => Ok(index),
            None => self.fault(Code::UnknownName, name.span, format!("failed to resolve column `{}`", name.text)),
        }
    }

    /// An operator over a graph.
    pub(super) fn graph_operator(
        &mut self,
        kind: &OperatorKind,
        graph: Arc<Graph>,
        cx: Cx<'_>,
        span: Span,
    ) -> Result<Item> {
        match kind {
            OperatorKind::GraphMatch(search) => {
                let cycles = self.property_text(&search.properties, "cycles")?.unwrap_or_else(|| "unique_edges".into());
                let (search, schema) = self.search_graph(search, graph, cycles, cx, span)?;
                self.rel(RelKind::GraphMatch(Box::new(search)), schema, false, span).map(Item::Rel)
            }
            OperatorKind::GraphShortestPaths(search) => {
                let all = self.property_text(&search.properties, "output")?.as_deref() == Some("all");
                let cycles = self.property_text(&search.properties, "cycles")?.unwrap_or_else(|| "none".into());
                let (search, schema) = self.search_graph(search, graph, cycles, cx, span)?;
                let kind = RelKind::GraphShortestPaths { search: Box::new(search), all };
                self.rel(kind, schema, false, span).map(Item::Rel)
            }
            OperatorKind::GraphToTable(tables) => match &tables[..] {
                [table] => self.graph_table(table, graph, span).map(Item::Rel),
                _ => self.fault(
                    Code::NotSupported,
                    span,
                    "`graph-to-table` of two tables is not implemented: ask for each",
                ),
            },
            OperatorKind::GraphMarkComponents(properties) => {
                let strong = self.property_text(properties, "kind")?.as_deref() == Some("strong");
                let name = self.property_text(properties, "with_component_id")?.unwrap_or_else(|| "ComponentId".into());
                let mut nodes = (*graph.nodes).clone();
                nodes.columns.push(Column::new(name, Type::Long));
                let edges = graph.edges.clone();
                let kind = GraphKind::MarkComponents { graph, strong };
                Ok(Item::Graph(Arc::new(Graph { kind, nodes: Arc::new(nodes), edges })))
            }
            OperatorKind::GraphWhere { edges, predicate } => {
                let schema = if *edges { graph.edges.clone() } else { graph.nodes.clone() };
                let row = self.row(&schema, RowKind::Element, false);
                let value = self.expr(predicate, cx.with_row(&row))?;
                let predicate = self.predicate(value)?;
                let (nodes, edge_schema) = (graph.nodes.clone(), graph.edges.clone());
                let kind = GraphKind::Where { graph, edges: *edges, predicate };
                Ok(Item::Graph(Arc::new(Graph { kind, nodes, edges: edge_schema })))
            }
            _ => self.fault(Code::WrongShape, span, "the operator needs rows, not a graph"),
        }
    }

    pub(super) fn graph_table(&mut self, table: &ast::GraphTable, graph: Arc<Graph>, span: Span) -> Result<Arc<Rel>> {
        let wanted: &[(&str, GraphId)] = if table.edges {
            &[("with_source_id", GraphId::Source), ("with_target_id", GraphId::Target)]
        } else {
            &[("with_node_id", GraphId::Node)]
        };
        let (mut columns, mut ids) = (Vec::new(), Vec::new());
        for (property, id) in wanted {
            if let Some(name) = self.property_text(&table.properties, property)? {
                columns.push(Column::new(name, Type::Long));
                ids.push(*id);
            }
        }
        let schema = if table.edges { &graph.edges } else { &graph.nodes };
        columns.extend(schema.columns.iter().cloned());
        let kind = RelKind::GraphToTable { graph, edges: table.edges, ids };
        self.rel(kind, Schema::of(columns), false, span)
    }

    fn search_graph(
        &mut self,
        search: &ast::GraphMatch,
        graph: Arc<Graph>,
        cycles: String,
        cx: Cx<'_>,
        span: Span,
    ) -> Result<(GraphMatch, Schema)> {
        let mut elements: Vec<Element> = Vec::new();
        let mut patterns = Vec::new();
        for pattern in &search.patterns {
            let mut parts = Vec::new();
            for part in pattern {
                let (name, kind) = match part {
                    PatternPart::Node(name) => (name, ElementKind::Node),
                    PatternPart::Edge { name, direction, hops } => {
                        let hops = match hops {
                            Some((least, most)) => Some((self.hops(least, cx)?, self.hops(most, cx)?)),
                            None => None,
                        };
                        (name, ElementKind::Edge { direction: *direction, hops })
                    }
                };
                let text = name.as_ref().map_or("", |name| name.text.as_str());
                let known = elements.iter().position(|element| !text.is_empty() && element.name == text);
                parts.push(match known {
                    Some(known) => known,
                    None => {
                        elements.push(Element { name: text.into(), kind });
                        elements.len() - 1
                    }
                });
            }
            patterns.push(parts);
        }
        let scope = Scope { elements: &elements, graph: &graph };
        let nothing = Schema::default();
        let row = self.row(&nothing, RowKind::Graph(&scope), false);
        let inner = cx.with_row(&row);
        let filter = match &search.filter {
            Some(filter) => {
                let value = self.expr(filter, inner)?;
                Some(self.predicate(value)?)
            }
            None => None,
        };
        let mut output = Output::new();
        if let Some(list) = &search.values {
            for mut made in self.values(list, true, inner)? {
                // What is computed of a path has one value for each of its edges or for all.
                self.charge(made.value.cost().nodes, made.span)?;
                let path = made.value.any(&mut |part| match &part.kind {
                    ExprKind::Property { element, .. } | ExprKind::Over { element, .. } => scope.is_path(*element),
                    _ => false,
                });
                if path {
                    made.value = self.cast(made.value, Type::Dynamic)?;
                }
                output.add(self, made)?;
            }
        } else {
            return self.fault(Code::Syntax, span, "a pattern needs `project`");
        }
        let schema = Schema::of(output.columns);
        Ok((GraphMatch { graph, cycles, elements, patterns, filter, values: output.values }, schema))
    }

    fn hops(&mut self, expr: &ast::Expr, cx: Cx<'_>) -> Result<u32> {
        let value = self.constant(expr, cx)?;
        match value.as_literal() {
            Some(Value::Long(count)) if u32::try_from(*count).is_ok() => Ok(*count as u32),
            Some(Value::Int(count)) if *count >= 0 => Ok(count.unsigned_abs()),
            _ => self.fault(Code::NotConstant, expr.span, "the number of hops must be a constant whole number"),
        }
    }

    /// Whether `all`, `any` or `map` is asked of a path here.
    pub(super) fn is_graph_quantifier(&self, name: &ast::Name, cx: Cx<'_>) -> bool {
        matches!(name.text.as_str(), "all" | "any" | "map")
            && cx.row.is_some_and(|row| matches!(row.kind, RowKind::Graph(_)))
    }

    /// The functions of graph patterns.
    pub(super) fn graph_call(
        &mut self,
        name: &ast::Name,
        arguments: &[Named],
        span: Span,
        cx: Cx<'_>,
    ) -> Result<Option<Expr>> {
        match name.text.as_str() {
            "node_id" | "node_degree_in" | "node_degree_out" | "labels" => {
                let function = functions::scalar(&name.text).expect("it is in the table");
                let element = match (arguments, cx.row.map(|row| row.kind)) {
                    ([], Some(RowKind::Element)) => None,
                    ([argument], Some(RowKind::Graph(scope))) => match self.path_of(&argument.value, scope) {
                        Some((element, _)) => Some(element),
                        None => {
                            return self.fault(
                                Code::UnknownName,
                                argument.value.span,
                                "an element of the pattern expected",
                            );
                        }
                    },
                    _ => {
                        let message = format!("`{}` is asked of an element of a graph pattern", name.text);
                        return self.fault(Code::WrongShape, span, message);
                    }
                };
                let ty = match name.text.as_str() {
                    "node_id" => Type::String,
                    "labels" => Type::Dynamic,
                    _ => Type::Long,
                };
                self.make(ExprKind::Graph { function, element }, ty, span).map(Some)
            }
            "all" | "any" | "map" => {
                let Some(RowKind::Graph(scope)) = cx.row.map(|row| row.kind) else { return Ok(None) };
                let quantifier = match name.text.as_str() {
                    "all" => Quantifier::All,
                    "any" => Quantifier::Any,
                    _ => Quantifier::Map,
                };
                let [of, body] = arguments else {
                    return self.fault(
                        Code::WrongType,
                        span,
                        format!("`{}` expects a path and an expression", name.text),
                    );
                };
                let Some((element, inner_nodes)) = self.path_of(&of.value, scope) else {
                    return self.fault(Code::UnknownName, of.value.span, "a path of the pattern expected");
                };
                let schema = if inner_nodes { scope.graph.nodes.clone() } else { scope.graph.edges.clone() };
                let row = self.row(&schema, RowKind::Element, false);
                let body = self.expr(&body.value, cx.with_row(&row))?;
                let (body, ty) = match quantifier {
                    Quantifier::Map => (body, Type::Dynamic),
                    _ => (self.predicate(body)?, Type::Bool),
                };
                let kind = ExprKind::Over { quantifier, element, inner_nodes, body: body.into() };
                self.make(kind, ty, span).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// The element an expression names, and whether `inner_nodes` of it.
    fn path_of(&self, expr: &ast::Expr, scope: &Scope<'_>) -> Option<(usize, bool)> {
        match &expr.kind {
            ast::ExprKind::Name(name) => scope.element(name).map(|element| (element, false)),
            ast::ExprKind::Call { name, arguments } if name.text == "inner_nodes" => match &arguments[..] {
                [argument] => self.path_of(&argument.value, scope).map(|(element, _)| (element, true)),
                _ => None,
            },
            _ => None,
        }
    }
}
