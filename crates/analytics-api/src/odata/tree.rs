//! Trees of KQL, built piece by piece: nothing that a client sent is ever pasted into a text.

use gantry_kql::Span;
use gantry_kql::ast::{Binary, Expr, ExprKind, Name, Named, Operator, OperatorKind, Ordered, Script, Statement};
use gantry_kql::ast::{In, StatementKind};
use gantry_kql::value::{Type, Value};

fn expr(kind: ExprKind) -> Expr {
    Expr { kind, span: Span::default() }
}

fn ident(text: &str) -> Name {
    Name { text: text.to_owned(), span: Span::default() }
}

/// A column, or a table.
pub fn name(text: &str) -> Expr {
    expr(ExprKind::Name(text.to_owned()))
}

/// A value.
pub fn literal(value: Value, ty: Type) -> Expr {
    expr(ExprKind::Literal(value, ty))
}

/// A text.
pub fn text(text: &str) -> Expr {
    literal(Value::String(text.to_owned()), Type::String)
}

/// A whole number.
pub fn long(value: i64) -> Expr {
    literal(Value::Long(value), Type::Long)
}

/// A truth.
pub fn boolean(value: bool) -> Expr {
    literal(Value::Bool(value), Type::Bool)
}

/// A call of a function.
pub fn call<const N: usize>(function: &str, arguments: [Expr; N]) -> Expr {
    let arguments = arguments.into_iter().map(plain).collect();
    expr(ExprKind::Call { name: ident(function), arguments })
}

/// An operator of two sides.
pub fn binary(op: Binary, left: Expr, right: Expr) -> Expr {
    expr(ExprKind::Binary { op, left: Box::new(left), right: Box::new(right) })
}

/// All of these; true when there are none.
pub fn and(mut parts: Vec<Expr>) -> Expr {
    match parts.len() {
        0 => boolean(true),
        1 => parts.remove(0),
        _ => expr(ExprKind::And(parts)),
    }
}

/// Any of these; false when there are none.
pub fn or(mut parts: Vec<Expr>) -> Expr {
    match parts.len() {
        0 => boolean(false),
        1 => parts.remove(0),
        _ => expr(ExprKind::Or(parts)),
    }
}

/// `-x`
pub fn negative(of: Expr) -> Expr {
    expr(ExprKind::Sign { negative: true, of: Box::new(of) })
}

/// One of these values.
pub fn among(value: Expr, list: Vec<Expr>) -> Expr {
    expr(ExprKind::In { op: In::In, value: Box::new(value), list })
}

fn plain(value: Expr) -> Named {
    Named { names: Vec::new(), tuple: false, value }
}

/// `name = value`
pub fn named(name: &str, value: Expr) -> Named {
    Named { names: vec![ident(name)], tuple: false, value }
}

fn operator(kind: OperatorKind) -> Operator {
    Operator { kind, span: Span::default() }
}

/// `where predicate`
pub fn filter(predicate: Expr) -> Operator {
    operator(OperatorKind::Where(plain(predicate)))
}

/// `extend ...`
pub fn extend(values: Vec<Named>) -> Operator {
    operator(OperatorKind::Extend(values))
}

/// `project ...`
pub fn project(values: Vec<Named>) -> Operator {
    operator(OperatorKind::Project(values))
}

/// `summarize ... by ...`
pub fn summarize(aggregates: Vec<Named>, by: Vec<Named>) -> Operator {
    operator(OperatorKind::Summarize { aggregates, by, bin: None, properties: Vec::new() })
}

/// `take n`
pub fn take(count: i64) -> Operator {
    operator(OperatorKind::Take(long(count)))
}

/// Columns to sort by, each with whether it is descending. Nulls are less than all values.
fn ordered(keys: &[(String, bool)]) -> Vec<Ordered> {
    let one = |(column, descending): &(String, bool)| Ordered {
        value: plain(name(column)),
        ascending: Some(!descending),
        nulls_first: Some(!descending),
    };
    keys.iter().map(one).collect()
}

/// `sort by ...`
pub fn sort(keys: &[(String, bool)]) -> Operator {
    operator(OperatorKind::Sort(ordered(keys)))
}

/// `top n by ...`
pub fn top(count: i64, keys: &[(String, bool)]) -> Operator {
    operator(OperatorKind::Top { count: long(count), by: ordered(keys), properties: Vec::new() })
}

/// A query of a table.
pub fn query(table: &str, operators: Vec<Operator>) -> Script {
    let source = name(table);
    let query =
        if operators.is_empty() { source } else { expr(ExprKind::Pipe { source: Some(Box::new(source)), operators }) };
    Script { statements: vec![Statement { kind: StatementKind::Query(query), span: Span::default() }] }
}
