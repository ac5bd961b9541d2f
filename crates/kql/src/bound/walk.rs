//! Making nodes and walking over them.

use super::{
    Aggregate, Argument, Cost, DEPTH_MAX, Expr, ExprKind, Graph, GraphKind, List, NODES_MAX, Rel, RelKind, Schema,
};
use crate::diagnostic::Span;
use crate::value::{Type, Value};
use std::sync::Arc;

impl Cost {
    pub fn within_limits(self) -> bool {
        self.nodes <= NODES_MAX && self.depth <= DEPTH_MAX
    }

    fn add(&mut self, child: Self) {
        self.nodes = self.nodes.saturating_add(child.nodes);
        self.depth = self.depth.max(child.depth);
        self.columns |= child.columns;
    }

    fn above(self) -> Self {
        Self { nodes: self.nodes.saturating_add(1), depth: self.depth.saturating_add(1), ..self }
    }
}

impl Expr {
    /// An expression.
    pub fn new(kind: ExprKind, ty: Type, span: Span) -> Self {
        let mut expr = Self { kind, ty, span, cost: Cost::default() };
        let mut cost = Cost::default();
        expr.for_each_child(&mut |child| cost.add(child.cost));
        if let ExprKind::In { list: List::Rel(rel), .. } = &expr.kind {
            // The columns of that table are not of this row.
            cost.add(Cost { columns: false, ..rel.cost });
        }
        cost.columns |= matches!(
            expr.kind,
            ExprKind::Column(_)
                | ExprKind::Late(_)
                | ExprKind::Window { .. }
                | ExprKind::StepColumn { .. }
                | ExprKind::Property { .. }
                | ExprKind::Element(_)
                | ExprKind::Graph { .. }
        );
        expr.cost = cost.above();
        expr
    }

    /// A literal.
    pub fn literal(value: Value, ty: Type, span: Span) -> Self {
        Self::new(ExprKind::Literal(value), ty, span)
    }

    /// Column n of a type.
    pub fn column(index: usize, ty: Type, span: Span) -> Self {
        Self::new(ExprKind::Column(index), ty, span)
    }

    /// The same, written elsewhere.
    pub(crate) fn at(mut self, span: Span) -> Self {
        self.span = span;
        self
    }

    /// The value of a literal.
    pub fn as_literal(&self) -> Option<&Value> {
        match &self.kind {
            ExprKind::Literal(value) => Some(value),
            _ => None,
        }
    }

    /// Calls for every direct part.
    pub fn for_each_child<'a>(&'a self, f: &mut dyn FnMut(&'a Expr)) {
        match &self.kind {
            ExprKind::Literal(_)
            | ExprKind::Column(_)
            | ExprKind::Late(_)
            | ExprKind::Scalar(_)
            | ExprKind::PartitionKey
            | ExprKind::StepColumn { .. }
            | ExprKind::Property { .. }
            | ExprKind::Element(_)
            | ExprKind::Graph { .. } => {}
            ExprKind::Negate(of) | ExprKind::Cast(of) | ExprKind::Member { of, .. } | ExprKind::Field { of, .. } => {
                f(of)
            }
            ExprKind::Over { body, .. } => f(body),
            ExprKind::And(parts)
            | ExprKind::Or(parts)
            | ExprKind::Call { arguments: parts, .. }
            | ExprKind::Window { arguments: parts, .. } => parts.iter().for_each(f),
            ExprKind::Binary { left, right, .. } | ExprKind::Index { of: left, index: right } => {
                f(left);
                f(right);
            }
            ExprKind::In { value, list, .. } => {
                f(value);
                if let List::Values(values) = list {
                    values.iter().for_each(f);
                }
            }
            ExprKind::Between { value, low, high, .. } => {
                f(value);
                f(low);
                f(high);
            }
        }
    }

    /// Whether this or a part of it is so. Parts in tables of `in` are not looked at.
    pub fn any(&self, test: &mut dyn FnMut(&Expr) -> bool) -> bool {
        if test(self) {
            return true;
        }
        let mut found = false;
        self.for_each_child(&mut |child| found = found || child.any(test));
        found
    }

    /// Whether the value depends on a row: it has columns or window functions.
    pub fn has_columns(&self) -> bool {
        self.cost.columns
    }

    /// Whether a window function is in it.
    pub fn has_window(&self) -> bool {
        self.any(&mut |expr| matches!(expr.kind, ExprKind::Window { .. }))
    }

    pub(crate) fn cost(&self) -> Cost {
        self.cost
    }
}

impl Rel {
    /// An operator.
    pub fn new(kind: RelKind, schema: Arc<Schema>, serialized: bool, span: Span) -> Self {
        let mut rel = Self { kind, schema, serialized, span, cost: Cost::default() };
        let mut cost = Cost::default();
        rel.for_each_input(&mut |input| cost.add(input.cost));
        rel.for_each_expr(&mut |expr| cost.add(expr.cost));
        rel.cost = cost.above();
        rel
    }

    /// Calls for every table this operator reads, bodies included.
    pub fn for_each_input<'a>(&'a self, f: &mut dyn FnMut(&'a Arc<Rel>)) {
        match &self.kind {
            RelKind::Table { .. }
            | RelKind::ExternalTable { .. }
            | RelKind::MaterializedView { .. }
            | RelKind::DataTable { .. }
            | RelKind::ExternalData { .. }
            | RelKind::Range { .. }
            | RelKind::Print { .. }
            | RelKind::Materialized(_)
            | RelKind::Input => {}
            RelKind::Where { input, .. }
            | RelKind::Project { input, .. }
            | RelKind::Sort { input, .. }
            | RelKind::Top { input, .. }
            | RelKind::Take { input, .. }
            | RelKind::Sample { input, .. }
            | RelKind::SampleDistinct { input, .. }
            | RelKind::TopHitters { input, .. }
            | RelKind::TopNested { input, .. }
            | RelKind::Summarize { input, .. }
            | RelKind::Reduce { input, .. }
            | RelKind::Consume { input } => f(input),
            RelKind::MvExpand(expand) => f(&expand.input),
            RelKind::Parse(parse) => f(&parse.input),
            RelKind::ParseKv(parse) => f(&parse.input),
            RelKind::MakeSeries(series) => f(&series.input),
            RelKind::Scan(scan) => f(&scan.input),
            RelKind::Over(over) => f(&over.input),
            RelKind::Join { left, right, .. } => {
                f(left);
                f(right);
            }
            RelKind::Union { inputs } => inputs.iter().for_each(f),
            RelKind::MvApply { expand, body, .. } => {
                f(&expand.input);
                f(body);
            }
            RelKind::Partition { input, body, .. } => {
                f(input);
                f(body);
            }
            RelKind::Evaluate { input, arguments, .. } => {
                input.iter().for_each(&mut *f);
                for argument in arguments {
                    if let Argument::Rel(rel) = argument {
                        f(rel);
                    }
                }
            }
            RelKind::GraphMatch(search) | RelKind::GraphShortestPaths { search, .. } => {
                search.graph.for_each_input(f);
            }
            RelKind::GraphToTable { graph, .. } => graph.for_each_input(f),
        }
    }

    /// Calls for every expression of this operator itself.
    pub fn for_each_expr<'a>(&'a self, f: &mut dyn FnMut(&'a Expr)) {
        match &self.kind {
            RelKind::Table { .. }
            | RelKind::ExternalTable { .. }
            | RelKind::DataTable { .. }
            | RelKind::ExternalData { .. }
            | RelKind::Materialized(_)
            | RelKind::Input
            | RelKind::Union { .. }
            | RelKind::GraphToTable { .. }
            | RelKind::Consume { .. } => {}
            RelKind::MaterializedView { max_age, .. } => max_age.iter().for_each(f),
            RelKind::Range { from, to, step } => [from, to, step].into_iter().for_each(f),
            RelKind::Print { values } | RelKind::Project { values, .. } => values.iter().for_each(f),
            RelKind::Where { predicate, .. } => f(predicate),
            RelKind::Sort { keys, .. } => keys.iter().for_each(|key| f(&key.value)),
            RelKind::Top { count, keys, .. } => {
                f(count);
                keys.iter().for_each(|key| f(&key.value));
            }
            RelKind::Take { count, .. } | RelKind::Sample { count, .. } => f(count),
            RelKind::SampleDistinct { count, of, .. } => [count, of].into_iter().for_each(f),
            RelKind::TopHitters { count, of, by, .. } => {
                [count, of].into_iter().for_each(&mut *f);
                by.iter().for_each(f);
            }
            RelKind::TopNested { levels, .. } => {
                for level in levels {
                    level.count.iter().for_each(&mut *f);
                    f(&level.of);
                    level.others.iter().for_each(&mut *f);
                    level.by.for_each_expr(f);
                    level.rank.iter().for_each(&mut *f);
                }
            }
            RelKind::Summarize { keys, aggregates, .. } => {
                keys.iter().for_each(&mut *f);
                aggregates.iter().for_each(|aggregate| aggregate.for_each_expr(f));
            }
            RelKind::Join { on, .. } => {
                for (left, right) in on {
                    f(left);
                    f(right);
                }
            }
            RelKind::MvExpand(expand) | RelKind::MvApply { expand, .. } => {
                expand.items.iter().for_each(|item| f(&item.value));
                expand.limit.iter().for_each(f);
            }
            RelKind::Partition { key, .. } => f(key),
            RelKind::Parse(parse) => f(&parse.text),
            RelKind::ParseKv(parse) => f(&parse.text),
            RelKind::MakeSeries(series) => {
                series.aggregates.iter().for_each(|aggregate| aggregate.for_each_expr(f));
                for one in &series.series {
                    f(&one.value);
                    one.default.iter().for_each(&mut *f);
                }
                f(&series.axis);
                series.from.iter().chain(&series.to).for_each(&mut *f);
                f(&series.step);
                series.keys.iter().for_each(f);
            }
            RelKind::Scan(scan) => {
                scan.declared.iter().for_each(|(_, default)| f(default));
                for step in &scan.steps {
                    f(&step.condition);
                    step.assignments.iter().for_each(|(_, value)| f(value));
                }
            }
            RelKind::Over(over) => over.for_each_expr(f),
            RelKind::Reduce { of, .. } => f(of),
            RelKind::Evaluate { arguments, .. } => {
                for argument in arguments {
                    match argument {
                        Argument::Scalar(expr) => f(expr),
                        Argument::Aggregate(aggregate) => aggregate.for_each_expr(f),
                        Argument::Rel(_) | Argument::Schema(_) | Argument::Absent => {}
                    }
                }
            }
            RelKind::GraphMatch(search) | RelKind::GraphShortestPaths { search, .. } => {
                search.graph.for_each_expr(f);
                search.filter.iter().chain(&search.values).for_each(f);
            }
        }
    }

    /// Whether an operator or expression of this table is so, at any depth.
    pub fn any_expr(&self, test: &mut dyn FnMut(&Expr) -> bool) -> bool {
        let mut found = false;
        self.for_each_expr(&mut |expr| found = found || expr.any(test));
        if !found {
            self.for_each_input(&mut |input| found = found || input.any_expr(test));
        }
        found
    }

    /// Whether it is small and flat enough to be walked over.
    pub fn is_within_limits(&self) -> bool {
        self.cost.within_limits()
    }

    pub(crate) fn cost(&self) -> Cost {
        self.cost
    }
}

impl Aggregate {
    /// Calls for every argument and the condition.
    pub fn for_each_expr<'a>(&'a self, f: &mut dyn FnMut(&'a Expr)) {
        self.arguments.iter().chain(&self.condition).for_each(f);
    }
}

impl Graph {
    /// Calls for every table the graph is made of.
    pub fn for_each_input<'a>(&'a self, f: &mut dyn FnMut(&'a Arc<Rel>)) {
        match &self.kind {
            GraphKind::Make { edges, nodes, .. } => {
                f(edges);
                nodes.iter().for_each(|(rel, _)| f(rel));
            }
            GraphKind::Stored { .. } => {}
            GraphKind::MarkComponents { graph, .. } | GraphKind::Where { graph, .. } => graph.for_each_input(f),
        }
    }

    fn for_each_expr<'a>(&'a self, f: &mut dyn FnMut(&'a Expr)) {
        match &self.kind {
            GraphKind::Make { .. } | GraphKind::Stored { .. } => {}
            GraphKind::MarkComponents { graph, .. } => graph.for_each_expr(f),
            GraphKind::Where { graph, predicate, .. } => {
                graph.for_each_expr(f);
                f(predicate);
            }
        }
    }
}
