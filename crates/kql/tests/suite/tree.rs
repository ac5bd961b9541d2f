//! What every bound tree promises an engine, over all texts that bind: columns are there and of
//! the type that is said, lists are as long as schemas, shared entries come before their users.

use gantry_kql::bound::*;
use gantry_kql::value::{Type, Value};
use gantry_kql::{EmptyCatalog, bind, parse};
use std::collections::HashMap;

struct Checker<'b> {
    bound: &'b Bound,
    query: &'b str,
}

impl Checker<'_> {
    #[track_caller]
    fn that(&self, holds: bool, what: &str) {
        assert!(holds, "{what}\n{}", self.query);
    }

    /// An expression over rows of a schema.
    fn expr(&self, expr: &Expr, schema: &Schema) {
        self.expr_in(expr, schema, &mut |_| {});
    }

    fn expr_in(&self, expr: &Expr, schema: &Schema, extra: &mut dyn FnMut(&Expr)) {
        extra(expr);
        match &expr.kind {
            ExprKind::Column(index) => {
                let column = schema.columns.get(*index);
                self.that(
                    column.is_some_and(|column| column.ty == expr.ty),
                    &format!("column {index} of {schema:?}, {expr:?}"),
                );
            }
            ExprKind::Literal(value) => {
                let fits = match value {
                    Value::Null => expr.ty != Type::String,
                    value => value.ty() == Some(expr.ty),
                };
                self.that(fits, &format!("literal {expr:?}"));
            }
            ExprKind::Scalar(index) => self.that(*index < self.bound.scalars.len(), "scalar"),
            ExprKind::And(parts) | ExprKind::Or(parts) => {
                let bools = |part: &Expr| matches!(part.ty, Type::Bool | Type::Unknown);
                self.that(parts.iter().all(bools), "parts of and, or");
            }
            ExprKind::Binary { op, left, right } if op.is_arithmetic() && expr.ty.is_number() => {
                self.that(
                    left.ty == right.ty || !left.ty.is_number(),
                    &format!("sides of {op:?}: {} {}", left.ty, right.ty),
                );
            }
            ExprKind::Binary { op, left, right } if op.is_comparison() => {
                let loose = |ty| matches!(ty, Type::Dynamic | Type::Unknown);
                let same = left.ty == right.ty || loose(left.ty) || loose(right.ty);
                self.that(same, &format!("sides of {op:?}: {} {}", left.ty, right.ty));
            }
            ExprKind::In { list: List::Rel(rel), .. } => self.rel(rel, None),
            _ => {}
        }
        if let ExprKind::Over { body, .. } = &expr.kind {
            // Its columns are those of an element.
            let _ = body;
            return;
        }
        expr.for_each_child(&mut |child| self.expr_in(child, schema, extra));
    }

    fn aggregates(&self, list: &[Aggregate], schema: &Schema) -> Vec<Column> {
        for aggregate in list {
            aggregate.for_each_expr(&mut |expr| self.expr(expr, schema));
            let condition = aggregate.condition.as_ref();
            self.that(
                condition.is_none_or(|condition| condition.ty == Type::Bool || condition.ty == Type::Unknown),
                "condition",
            );
            self.that(aggregate.function.condition.is_none(), "a conditional function appears as its plain one");
            if matches!(aggregate.function.name, "arg_max" | "arg_min" | "take_any") {
                self.that(aggregate.columns.len() == aggregate.arguments.len(), "columns of arg_max");
            }
        }
        list.iter().flat_map(|aggregate| aggregate.columns.iter().cloned()).collect()
    }

    fn slots(&self, slots: &[Slot], schema: &Schema, input: &Schema, made: &[Column]) {
        self.that(slots.len() == schema.columns.len(), "a slot for each column");
        for (slot, column) in slots.iter().zip(&schema.columns) {
            let ty = match slot {
                Slot::Input(index) => input.columns.get(*index).map(|column| column.ty),
                Slot::Made(index) => made.get(*index).map(|column| column.ty),
            };
            self.that(ty == Some(column.ty), &format!("slot {slot:?} of {column}"));
        }
    }

    fn typed(values: &[Expr]) -> Vec<Column> {
        values.iter().map(|value| Column::new("", value.ty)).collect()
    }

    fn same_types(&self, found: &[Column], schema: &Schema, what: &str) {
        let same = found.len() == schema.columns.len() && found.iter().zip(&schema.columns).all(|(a, b)| a.ty == b.ty);
        self.that(same, &format!("{what}: {found:?} for {schema:?}"));
    }

    /// A table; `inside` is the schema of the rows fed in from outside.
    fn rel(&self, rel: &Rel, inside: Option<&Schema>) {
        let schema = &*rel.schema;
        let mut names: Vec<&str> = schema.columns.iter().map(|column| &*column.name).collect();
        names.sort_unstable();
        self.that(names.windows(2).all(|pair| pair[0] != pair[1]), &format!("names are unique: {names:?}"));
        let nothing = Schema::default();
        match &rel.kind {
            RelKind::Input => self.that(inside == Some(schema), "the rows fed in"),
            RelKind::Materialized(index) => {
                let shared = self.bound.materialized.get(*index);
                self.that(shared.is_some_and(|shared| shared.schema == rel.schema), "materialized");
            }
            RelKind::DataTable { rows } => {
                for row in rows {
                    self.that(row.len() == schema.columns.len(), "a cell for each column");
                    for (cell, column) in row.iter().zip(&schema.columns) {
                        let fits = *cell == Value::Null && column.ty != Type::String || cell.ty() == Some(column.ty);
                        self.that(fits, &format!("cell {cell:?} of {column}"));
                    }
                }
            }
            RelKind::Range { from, to, step } => {
                [from, to, step].into_iter().for_each(|expr| self.expr(expr, &nothing));
            }
            RelKind::Print { values } => {
                values.iter().for_each(|value| self.expr(value, &nothing));
                self.same_types(&Self::typed(values), schema, "print");
            }
            RelKind::Where { input, predicate } => {
                self.expr(predicate, &input.schema);
                self.that(input.schema == rel.schema, "where keeps the columns");
            }
            RelKind::Project { input, values } => {
                values.iter().for_each(|value| self.expr(value, &input.schema));
                self.same_types(&Self::typed(values), schema, "project");
            }
            RelKind::Sort { input, keys } | RelKind::Top { input, keys, .. } => {
                keys.iter().for_each(|key| self.expr(&key.value, &input.schema));
                self.that(input.schema == rel.schema, "sort keeps the columns");
                self.that(rel.serialized, "sorted rows are in order");
            }
            RelKind::Summarize { input, keys, aggregates } => {
                keys.iter().for_each(|key| self.expr(key, &input.schema));
                let mut found = Self::typed(keys);
                found.extend(self.aggregates(aggregates, &input.schema));
                self.same_types(&found, schema, "summarize");
            }
            RelKind::Join { kind, left, right, on, .. } => {
                for (one, other) in on {
                    self.expr(one, &left.schema);
                    self.expr(other, &right.schema);
                    self.that(
                        one.ty == other.ty || one.ty == Type::Unknown || other.ty == Type::Unknown,
                        "keys of one type",
                    );
                }
                let found: Vec<Column> = match kind {
                    JoinKind::LeftSemi | JoinKind::LeftAnti => left.schema.columns.clone(),
                    JoinKind::RightSemi | JoinKind::RightAnti => right.schema.columns.clone(),
                    _ => left.schema.columns.iter().chain(&right.schema.columns).cloned().collect(),
                };
                self.same_types(&found, schema, "join");
            }
            RelKind::Union { inputs } => {
                for input in inputs {
                    self.that(input.schema.columns == schema.columns, "inputs of a union have its columns");
                }
            }
            RelKind::MvExpand(expand) => self.expansion(expand, schema),
            RelKind::MvApply { expand, expanded, body, outputs } => {
                self.expansion(expand, expanded);
                self.rel(body, Some(expanded));
                self.slots(outputs, schema, &expand.input.schema, &body.schema.columns);
            }
            RelKind::Partition { input, key, body } => {
                self.expr(key, &input.schema);
                self.rel(body, Some(&input.schema));
                self.that(body.schema == rel.schema, "the columns of the body");
            }
            RelKind::Parse(parse) => {
                self.expr(&parse.text, &parse.input.schema);
                let captures = parse.pieces.iter().filter_map(|piece| match piece {
                    ParsePiece::Capture(ty) => Some(Column::new("", *ty)),
                    _ => None,
                });
                self.slots(&parse.outputs, schema, &parse.input.schema, &captures.collect::<Vec<_>>());
            }
            RelKind::ParseKv(parse) => self.slots(&parse.outputs, schema, &parse.input.schema, &parse.keys),
            RelKind::MakeSeries(make) => {
                make.keys.iter().chain([&make.axis]).for_each(|expr| self.expr(expr, &make.input.schema));
                let inner = Schema::of(self.aggregates(&make.aggregates, &make.input.schema));
                for series in &make.series {
                    self.expr(&series.value, &inner);
                    if let Some(default) = &series.default {
                        self.that(default.ty == series.value.ty, "the default has the type of the value");
                    }
                }
                let made = vec![Column::new("", Type::Dynamic); make.series.len() + 1];
                self.slots(&make.outputs, schema, &Schema::of(Self::typed(&make.keys)), &made);
            }
            RelKind::Scan(scan) => {
                let mut state = (*scan.input.schema).clone();
                state.columns.extend(scan.declared.iter().map(|(column, _)| column.clone()));
                for step in &scan.steps {
                    self.expr(&step.condition, &state);
                    for (column, value) in &step.assignments {
                        self.expr(value, &state);
                        self.that(state.columns[*column].ty == value.ty, "what is noted is of the column's type");
                    }
                }
                self.that(scan.input.serialized, "scan reads rows in order");
                self.that(schema.columns.len() == state.columns.len() + usize::from(scan.match_id), "columns of scan");
            }
            RelKind::TopNested { input, levels } => {
                let mut found = Vec::new();
                for level in levels {
                    self.expr(&level.of, &input.schema);
                    let inner = Schema::of(self.aggregates(std::slice::from_ref(&level.by), &input.schema));
                    found.push(Column::new("", level.of.ty));
                    match &level.rank {
                        Some(rank) => {
                            self.expr(rank, &inner);
                            found.push(Column::new("", rank.ty));
                        }
                        None => found.push(inner.columns[0].clone()),
                    }
                }
                self.same_types(&found, schema, "top-nested");
            }
            RelKind::GraphMatch(search) | RelKind::GraphShortestPaths { search, .. } => {
                self.same_types(&Self::typed(&search.values), schema, "graph-match");
                for pattern in &search.patterns {
                    self.that(
                        pattern.len() % 2 == 1 && pattern.iter().all(|at| *at < search.elements.len()),
                        "pattern",
                    );
                }
            }
            _ => {}
        }
        let bodies = matches!(rel.kind, RelKind::MvApply { .. } | RelKind::Partition { .. });
        if bodies {
            // The body was looked at with its own rows; what feeds it, with those around.
            let mut first = true;
            rel.for_each_input(&mut |input| {
                if std::mem::replace(&mut first, false) {
                    self.rel(input, inside);
                }
            });
        } else {
            rel.for_each_input(&mut |input| self.rel(input, inside));
        }
    }

    fn expansion(&self, expand: &MvExpand, schema: &Schema) {
        expand.items.iter().for_each(|item| self.expr(&item.value, &expand.input.schema));
        let mut made: Vec<Column> =
            expand.items.iter().map(|item| Column::new("", item.to.unwrap_or(Type::Dynamic))).collect();
        made.push(Column::new("", Type::Long));
        self.slots(&expand.outputs, schema, &expand.input.schema, &made);
    }
}

fn check(query: &str) -> bool {
    let Ok(script) = parse(query) else { return false };
    let Ok(bound) = bind(&script, &EmptyCatalog, &HashMap::new()) else { return false };
    let checker = Checker { bound: &bound, query };
    for rel in bound.materialized.iter().chain(&bound.scalars) {
        checker.rel(rel, None);
    }
    for result in bound.queries.iter().flat_map(|query| &query.results) {
        checker.rel(&result.rel, None);
    }
    true
}

#[test]
fn bound_trees_keep_their_promises() {
    let mut bound = 0;
    for line in include_str!("../corpus/schemas.jsonl").lines() {
        let record: serde_json::Value = serde_json::from_str(line).unwrap();
        bound += usize::from(check(record["query"].as_str().unwrap()));
    }
    assert!(bound > 450, "{bound}");
}

#[test]
fn every_operator_keeps_them() {
    let t = "datatable(a:long, i:int, r:real, b:bool, s:string, d:dynamic, t:datetime, n:timespan) []";
    for operators in [
        "where a == i and r > i and s has 'x' or b == 1 and t between (now() .. 1d) and s == 5",
        "where * has 'x' and d.x == 1 and d.y + 1 > 2",
        "extend a = s, x = i + i, y = r * i, z = n * 2, (p, q) = series_fit_line(d), array_sort_asc(d, d)",
        "project a, tolower(s), x = iff(b, i, a), y = case(b, 1, b, r, 2), z = coalesce(i, a), max_of(i, r)",
        "summarize count(), x = sum(i) / count(), arg_max(t, *), take_any(a, s), percentiles(i, 5, 95), countif(b) by bin(t, 1d), s",
        "summarize sumif(a, b), dcountif(s, b), make_list_if(a, b), avgif(i, b), round(avg(a), 2), max(a) + min(a)",
        "summarize by s | distinct * | count",
        "distinct s, bin(a, 10) | sort by s asc, a nulls first | top 3 by a",
        "join kind=inner (print a = 1, s = 'x', a1 = 2) on a, $left.s == $right.s",
        "join kind=leftouter (print x = int(1)) on $left.a == $right.x | join kind=rightsemi (print a = 1) on a",
        "lookup (print x = 1, s = 'x', k = 2) on $left.a == $right.x",
        "union withsource=src (print a = int(1), q = 2), (print s = 1)",
        "mv-expand with_itemindex=k d, x = d.y to typeof(long), s2 = split(s, 'x') limit 5",
        "mv-apply with_itemindex=k e = d to typeof(long) on (where e > 1 | summarize x = max(e), a = sum(e))",
        "mv-apply d on (mv-apply f = d.x on (take 1 | extend y = a) | top 1 by y)",
        "partition hint.strategy=native by s (top 1 by a | extend x = toscalar(s))",
        "parse s with * 'x' a:real 'y' z | parse-where kind=regex s with 'a' q:int | parse-kv s as (k:long, s:string)",
        "make-series count(), x = avg(a) default=0, sum(i) * 2 on t from now() to now() step 1d by s, bin(a, 5)",
        "make-series x = max(r) default=int(0) on a in range(1, 10, 2)",
        "serialize | scan with_match_id=m declare (x:long=0, y:real) with (step s1: a > 1 => x = s1.x + i, y = i, i = a; step s2 output=last: b;)",
        "top-nested 2 of s with others='x' by sum(i), top-nested of a by max(r) * 2 desc",
        "top-hitters 3 of s by i | sample 5 | sample-distinct 3 of s | take 5",
        "evaluate bag_unpack(d) : (*, x:long) | evaluate autocluster() | evaluate narrow()",
        "evaluate pivot(s, sum(i), a) : (a:long, x:long)",
        "as x | union x | join (x | count) on $left.a == $right.Count",
        "sort by a | extend p = prev(a), k = row_number(), c = row_cumsum(i) | where next(a) > 1",
        "project-rename z = a | project-away s* | project-reorder t, * desc | project-keep t, z | getschema",
        "extend x = toscalar(range q from 1 to 3 step 1 | count), y = s in (print z = 'x'), w = a in (1, 2.5, d)",
        "search 'x' and a:'1*' or s == 'y'",
        "reduce by s with threshold=0.5 | where Count > 1",
        "make-graph s --> s with (print s = 'x', v = 1) on s | graph-match (x)-[e*1..3]->(y)<--(z) where x.v > 1 and all(e, a > 1) project x.v, p = map(inner_nodes(e), v), e.a, y",
    ] {
        let query = format!("{t} | {operators}");
        let script = parse(&query).unwrap_or_else(|faults| panic!("{query}: {}", faults[0]));
        if let Err(faults) = bind(&script, &EmptyCatalog, &HashMap::new()) {
            panic!("{query}: {} at {}", faults[0], faults[0].position(&query));
        }
        assert!(check(&query), "{query}");
    }
}
