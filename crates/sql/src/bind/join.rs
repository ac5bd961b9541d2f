//! Joins, planned when the conditions are known: what looks at one table alone is tested there, equalities become keys,
//! and inner joins are taken in an order that finds keys, which comma lists with conditions in `where` need.

use std::collections::BTreeSet;
use std::sync::Arc;

use gantry_kql::Span;
use gantry_kql::bound::{Binary, Expand, Expr, ExprKind, JoinKind, MvExpand, Rel, RelKind, Slot};
use gantry_kql::value::{Type, Value};

use super::from::Node;
use super::operator::comparison_of;
use super::sub::join;
use super::{columns, each_column, expr, filter, project, rel, types};

/// Rows, and which of the numbered columns each of theirs is.
struct Built {
    rel: Arc<Rel>,
    columns: Vec<usize>,
}

impl Built {
    fn has(&self, of: &Expr) -> bool {
        let mut all = true;
        each_column(of, &mut |at| all = all && self.columns.contains(&at));
        all
    }

    /// An expression over the numbered columns as one over these rows.
    fn here(&self, of: &Expr) -> Expr {
        super::remap(of, &|at, ty| match self.columns.iter().position(|column| *column == at) {
            Some(place) => Expr::column(place, self.rel.schema.columns[place].ty, Span::default()),
            // A value of the query around, while these are being found out: what is built then is thrown away.
            None => Expr::literal(Value::absent(ty), ty, Span::default()),
        })
    }

    fn filtered(self, conditions: Vec<Expr>) -> Built {
        if conditions.is_empty() {
            return self;
        }
        let all: Vec<Expr> = conditions.iter().map(|one| plain(self.here(one))).collect();
        let predicate = match <[Expr; 1]>::try_from(all) {
            Ok([one]) => one,
            Err(all) => expr(ExprKind::And(all.into()), Type::Bool),
        };
        Built { rel: filter(self.rel, predicate), columns: self.columns }
    }
}

/// A condition whose rows are kept when it is true: there a comparison with null may as well be false, and the engine
/// knows the plain one.
fn plain(of: Expr) -> Expr {
    match &of.kind {
        ExprKind::Call { function, arguments } => match (comparison_of(function.name), &arguments[..]) {
            (Some(op), [left, right]) if left.ty == right.ty && !matches!(left.ty, Type::Dynamic) => {
                expr(ExprKind::Binary { op, left: left.clone().into(), right: right.clone().into() }, Type::Bool)
            }
            _ => of,
        },
        ExprKind::And(parts) => expr(ExprKind::And(parts.iter().cloned().map(plain).collect()), Type::Bool),
        ExprKind::Or(parts) => expr(ExprKind::Or(parts.iter().cloned().map(plain).collect()), Type::Bool),
        _ => of,
    }
}

/// The rows of all tables where all conditions hold, with their columns in their order.
pub(super) fn build(node: Node, conditions: Vec<Expr>) -> Arc<Rel> {
    let width = node.width();
    let built = assemble(node, conditions);
    let in_order = built.columns.iter().copied().eq(0..width);
    if in_order {
        return built.rel;
    }
    let place = |at: usize| built.columns.iter().position(|column| *column == at).expect("every column is there");
    let all = columns(&built.rel);
    project(built.rel, (0..width).map(|at| all[place(at)].clone()).collect())
}

fn assemble(node: Node, conditions: Vec<Expr>) -> Built {
    match node {
        Node::Leaf { rel, first } => {
            let columns = (first..first + rel.schema.columns.len()).collect();
            Built { rel, columns }.filtered(conditions)
        }
        Node::Inner { .. } => {
            let (mut parts, mut all) = (Vec::new(), conditions);
            flatten(node, &mut parts, &mut all);
            assemble_inner(parts, all)
        }
        Node::Outer { kind, left, right, on, retyped } => assemble_outer(kind, *left, *right, on, retyped, conditions),
        Node::Expand { input, value, first, ty, ordinality } => {
            let mut own = Vec::new();
            let (mut below, made) = (Vec::new(), first..first + 1 + usize::from(ordinality));
            for one in conditions {
                let mut here = true;
                each_column(&one, &mut |at| here = here && !made.contains(&at));
                if here { below.push(one) } else { own.push(one) }
            }
            let input = assemble(*input, below);
            let mut shape: Vec<Type> = types(&input.rel).collect();
            let mut outputs: Vec<Slot> = (0..shape.len()).map(Slot::Input).collect();
            let mut columns = input.columns.clone();
            outputs.push(Slot::Made(0));
            shape.push(ty);
            columns.push(first);
            if ordinality {
                outputs.push(Slot::Made(1));
                shape.push(Type::Long);
                columns.push(first + 1);
            }
            let to = (ty != Type::Dynamic).then_some(ty);
            let serialized = input.rel.serialized;
            let expand = MvExpand {
                items: vec![Expand { value: input.here(&value), to }],
                input: input.rel,
                outputs,
                entries_as_arrays: false,
                limit: None,
            };
            let mut rows = rel(RelKind::MvExpand(expand), shape.iter().copied(), serialized);
            if ordinality {
                // Elements count from one.
                let mut all = self::columns(&rows);
                let last = all.pop().expect("the ordinality");
                let kind = ExprKind::Binary { op: Binary::Add, left: last.into(), right: super::number(1).into() };
                all.push(expr(kind, Type::Long));
                rows = project(rows, all);
            }
            Built { rel: rows, columns }.filtered(own)
        }
    }
}

fn flatten(node: Node, parts: &mut Vec<Node>, all: &mut Vec<Expr>) {
    match node {
        Node::Inner { parts: inner, on } => {
            all.extend(on);
            inner.into_iter().for_each(|one| flatten(one, parts, all));
        }
        other => parts.push(other),
    }
}

/// Conditions of `and` one by one.
fn split(conditions: Vec<Expr>) -> Vec<Expr> {
    let mut all = Vec::new();
    for one in conditions {
        match &one.kind {
            ExprKind::And(parts) => all.extend(split(parts.iter().cloned().collect())),
            _ => all.push(one),
        }
    }
    all
}

/// The sides of an equality.
fn equality(of: &Expr) -> Option<(&Expr, &Expr)> {
    match &of.kind {
        ExprKind::Binary { op: Binary::Equal, left, right } => Some((left, right)),
        ExprKind::Call { function, arguments } if function.name == "sql.eq" => match &arguments[..] {
            [left, right] => Some((left, right)),
            _ => None,
        },
        _ => None,
    }
}

/// Keys that an equality gives for a join of two sides.
fn key(of: &Expr, left: &Built, right: &Built) -> Option<(Expr, Expr)> {
    let (a, b) = equality(of)?;
    let (a, b) = if left.has(a) && right.has(b) {
        (left.here(a), right.here(b))
    } else if left.has(b) && right.has(a) {
        (left.here(b), right.here(a))
    } else {
        return None;
    };
    if !a.has_columns() || !b.has_columns() {
        return None;
    }
    // Texts of both forms are compared as the form that has null.
    let dynamic = |of: Expr| if of.ty == Type::Dynamic { of } else { expr(ExprKind::Cast(of.into()), Type::Dynamic) };
    Some(if a.ty == b.ty { (a, b) } else { (dynamic(a), dynamic(b)) })
}

fn assemble_inner(parts: Vec<Node>, conditions: Vec<Expr>) -> Built {
    let mut rest = split(conditions);
    let mut built: Vec<Built> = Vec::new();
    for part in parts {
        let mut numbers = BTreeSet::new();
        own_columns(&part, &mut numbers);
        let (mut own, mut other) = (Vec::new(), Vec::new());
        for one in rest {
            let (mut some, mut all) = (false, true);
            each_column(&one, &mut |at| {
                some = true;
                all = all && numbers.contains(&at);
            });
            if some && all { own.push(one) } else { other.push(one) }
        }
        rest = other;
        built.push(assemble(part, own));
    }
    let mut built = built.into_iter();
    let mut joined = built.next().expect("one at least");
    let mut waiting: Vec<Built> = built.collect();
    while !waiting.is_empty() {
        let linked = waiting.iter().position(|next| rest.iter().any(|one| key(one, &joined, next).is_some()));
        let next = waiting.remove(linked.unwrap_or(0));
        let mut on = Vec::new();
        rest.retain(|one| match key(one, &joined, &next) {
            Some(pair) => {
                on.push(pair);
                false
            }
            None => true,
        });
        let mut columns = joined.columns;
        columns.extend(&next.columns);
        joined = Built { rel: join(JoinKind::Inner, joined.rel, next.rel, on), columns };
        let (now, later): (Vec<Expr>, Vec<Expr>) =
            rest.into_iter().partition(|one| joined.has(one) && one.has_columns());
        joined = joined.filtered(now);
        rest = later;
    }
    joined.filtered(rest)
}

fn own_columns(node: &Node, numbers: &mut BTreeSet<usize>) {
    match node {
        Node::Leaf { rel, first } => numbers.extend(*first..first + rel.schema.columns.len()),
        Node::Inner { parts, .. } => parts.iter().for_each(|part| own_columns(part, numbers)),
        Node::Outer { left, right, .. } => {
            own_columns(left, numbers);
            own_columns(right, numbers);
        }
        Node::Expand { input, first, ordinality, .. } => {
            own_columns(input, numbers);
            numbers.extend(*first..first + 1 + usize::from(*ordinality));
        }
    }
}

fn assemble_outer(
    kind: JoinKind,
    left: Node,
    right: Node,
    on: Vec<Expr>,
    retyped: Vec<(usize, Type)>,
    conditions: Vec<Expr>,
) -> Built {
    let (mut left_columns, mut right_columns) = (BTreeSet::new(), BTreeSet::new());
    own_columns(&left, &mut left_columns);
    own_columns(&right, &mut right_columns);
    let within = |of: &Expr, side: &BTreeSet<usize>| {
        let mut all = true;
        each_column(of, &mut |at| all = all && side.contains(&at));
        all
    };
    // What looks at rows that are all kept can be tested before.
    let (mut lefts, mut rights, mut above) = (Vec::new(), Vec::new(), Vec::new());
    for one in split(conditions) {
        match kind {
            JoinKind::LeftOuter if within(&one, &left_columns) => lefts.push(one),
            JoinKind::RightOuter if within(&one, &right_columns) => rights.push(one),
            _ => above.push(one),
        }
    }
    let mut on = split(on);
    // A condition on the side that may be missing only decides which of its rows match.
    let (missing, wanted) = match kind {
        JoinKind::LeftOuter => (Some(&right_columns), &mut rights),
        JoinKind::RightOuter => (Some(&left_columns), &mut lefts),
        _ => (None, &mut rights),
    };
    if let Some(missing) = missing {
        on.retain(|one| {
            let own = one.has_columns() && within(one, missing);
            if own {
                wanted.push(one.clone());
            }
            !own
        });
    }
    let (left, right) = (assemble(left, lefts), assemble(right, rights));
    let mut keys = Vec::new();
    let mut rest = Vec::new();
    for one in on {
        if let Some(pair) = key(&one, &left, &right) {
            keys.push(pair);
        } else if left.has(&one) {
            keys.push((left.here(&one), super::truth(true)));
        } else if right.has(&one) {
            keys.push((super::truth(true), right.here(&one)));
        } else {
            rest.push(one);
        }
    }
    let (on_left, on_right): (Vec<Expr>, Vec<Expr>) = keys.into_iter().unzip();
    let (left, on_left) = prepared(left, on_left, &retyped, 1 << 40);
    let (right, on_right) = prepared(right, on_right, &retyped, 1 << 41);
    let keys = on_left.into_iter().zip(on_right).collect();
    let mut columns_of = left.columns.clone();
    columns_of.extend(&right.columns);
    let rows = if rest.is_empty() {
        join(kind, left.rel, right.rel, keys)
    } else {
        with_conditions(kind, &left, &right, keys, &rest)
    };
    let kept: Vec<(Expr, usize)> =
        columns(&rows).into_iter().zip(columns_of).filter(|(_, number)| *number < 1 << 40).collect();
    let (values, columns_of) = kept.into_iter().unzip();
    Built { rel: project(rows, values), columns: columns_of }.filtered(above)
}

/// A side of an outer join: texts in the form that has null, so that those of a missing row are null; and the keys,
/// which are of the values before, in columns of their own.
fn prepared(side: Built, keys: Vec<Expr>, retyped: &[(usize, Type)], from: usize) -> (Built, Vec<Expr>) {
    let mut values = columns(&side.rel);
    let mut numbers = side.columns;
    for (value, number) in values.iter_mut().zip(&numbers) {
        if let Some((_, ty)) = retyped.iter().find(|(at, ty)| at == number && value.ty != *ty) {
            *value = expr(ExprKind::Cast(value.clone().into()), *ty);
        }
    }
    let mut on = Vec::with_capacity(keys.len());
    for (at, key) in keys.into_iter().enumerate() {
        on.push(Expr::column(values.len(), key.ty, Span::default()));
        values.push(key);
        numbers.push(from + at);
    }
    (Built { rel: project(side.rel, values), columns: numbers }, on)
}

/// An outer join with conditions that are no equalities: the pairs that match, and the rows that are in none.
fn with_conditions(kind: JoinKind, left: &Built, right: &Built, keys: Vec<(Expr, Expr)>, rest: &[Expr]) -> Arc<Rel> {
    let numbered = |of: &Arc<Rel>| {
        let mut all = columns(of);
        let function = gantry_kql::functions::scalar("row_number").expect("a function of the language");
        all.push(expr(ExprKind::Window { function, arguments: Vec::new().into() }, Type::Long));
        project(Arc::clone(of), all)
    };
    let (lefts, rights) = (numbered(&left.rel), numbered(&right.rel));
    let (a, b) = (left.columns.len(), right.columns.len());
    let pairs = join(JoinKind::Inner, Arc::clone(&lefts), Arc::clone(&rights), keys);
    let mut columns_of = left.columns.clone();
    columns_of.push(usize::MAX);
    columns_of.extend(&right.columns);
    columns_of.push(usize::MAX - 1);
    let pairs = Built { rel: pairs, columns: columns_of }.filtered(rest.to_vec()).rel;
    let visible = |of: &Arc<Rel>| {
        let mut all = columns(of);
        all.remove(a + 1 + b);
        all.remove(a);
        all
    };
    let matched = project(Arc::clone(&pairs), visible(&pairs));
    let shape: Vec<Type> = types(&matched).collect();
    let mut inputs = vec![matched];
    let long = |at: usize| Expr::column(at, Type::Long, Span::default());
    let absent = |ty: Type| Expr::literal(Value::absent(ty), ty, Span::default());
    if matches!(kind, JoinKind::LeftOuter | JoinKind::FullOuter) {
        let alone = join(JoinKind::LeftAnti, lefts, Arc::clone(&pairs), vec![(long(a), long(a))]);
        let mut values = columns(&alone);
        values.truncate(a);
        values.extend(shape[a..].iter().map(|ty| absent(*ty)));
        inputs.push(project(alone, values));
    }
    if matches!(kind, JoinKind::RightOuter | JoinKind::FullOuter) {
        let alone = join(JoinKind::LeftAnti, rights, pairs, vec![(long(b), long(a + 1 + b))]);
        let mut values: Vec<Expr> = shape[..a].iter().map(|ty| absent(*ty)).collect();
        values.extend(columns(&alone).into_iter().take(b));
        inputs.push(project(alone, values));
    }
    rel(RelKind::Union { inputs }, shape, false)
}
