//! Scalar expressions, column by column.
//!
//! An [`Expr`] of the bound tree is compiled once into a [`Program`]: literals are folded, texts to look for are
//! prepared, lists become sets, names of functions become the functions. A program is then evaluated over chunks and
//! gives a [`Datum`]: one value for all rows, or a column.

mod arithmetic;
mod choice;
mod compare;
mod lists;
mod strings;

use std::sync::Arc;

use gantry_kql::bound::{Binary, Expr, ExprKind};
use gantry_kql::value::{Dynamic, Type, Value};

use crate::chunk::Chunk;
use crate::column::{Builder, Cell, Column, ColumnRef, Data};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::functions::{self, Implementation};
use lists::Membership;
use strings::TextTest;

pub use arithmetic::one as arithmetic_one;
pub use compare::compare;

/// What an expression gives: one value for all rows, or a value for each.
#[derive(Debug, Clone)]
pub enum Datum {
    /// One value.
    One(Value),
    /// A value for each row.
    Many(ColumnRef),
}

impl Datum {
    /// The value of a row.
    pub fn cell(&self, row: usize) -> Cell<'_> {
        match self {
            Datum::One(value) => Cell::from(value),
            Datum::Many(column) => column.cell(row),
        }
    }

    /// As a column of so many rows.
    pub fn into_column(self, ty: Type, rows: usize) -> ColumnRef {
        match self {
            Datum::One(value) => Arc::new(Column::repeat(ty, &value, rows)),
            Datum::Many(column) => column,
        }
    }

    /// The rows for which it is true.
    pub fn true_rows(&self, rows: usize) -> Vec<u32> {
        match self {
            Datum::One(value) => {
                if Cell::from(value).bool() == Some(true) {
                    (0..rows as u32).collect()
                } else {
                    Vec::new()
                }
            }
            Datum::Many(column) => match (column.data(), column.nulls()) {
                (Data::Bool(values), None) => select(values.iter().copied()),
                (Data::Bool(values), Some(nulls)) => {
                    select(values.iter().zip(nulls).map(|(value, null)| *value && !null))
                }
                _ => select((0..rows).map(|row| column.cell(row).bool() == Some(true))),
            },
        }
    }
}

fn select(flags: impl Iterator<Item = bool>) -> Vec<u32> {
    flags.enumerate().filter_map(|(row, flag)| flag.then_some(row as u32)).collect()
}

/// Resolves what only the running query knows.
pub trait Outer {
    /// Who is asked for everything that this one does not answer itself; the query answers all.
    fn query(&self) -> &dyn Outer;
    /// The value of an entry of [`gantry_kql::bound::Bound::scalars`].
    fn scalar(&self, at: usize) -> Result<Value> {
        self.query().scalar(at)
    }
    /// The values of the first column of a table, for `in`.
    fn list(&self, rel: &Arc<gantry_kql::bound::Rel>) -> Result<Vec<Value>> {
        self.query().list(rel)
    }
    /// What every part of the query shares.
    fn context(&self) -> &Arc<Context> {
        self.query().context()
    }
    /// The key of the partition whose rows are at hand.
    fn partition_key(&self) -> Result<Value> {
        self.query().partition_key()
    }
    /// The column in which an operator keeps a value that is none of its input: a window function, the state of a
    /// step, an element of a graph.
    fn place(&self, expr: &Expr) -> Option<usize> {
        let _ = expr;
        None
    }
}

/// The dynamic value whose text an expression is: tests of texts make the text themselves, where they have to.
fn dynamic_of_text(expr: &Expr) -> Option<&Expr> {
    let of = match &expr.kind {
        ExprKind::Cast(of) if expr.ty == Type::String => of,
        ExprKind::Call { function, arguments } if function.name == "tostring" => arguments.first()?,
        _ => return None,
    };
    (of.ty == Type::Dynamic).then_some(of)
}

/// An expression ready to be evaluated.
#[derive(Debug)]
pub struct Program {
    ty: Type,
    node: Node,
}

#[derive(Debug)]
enum Node {
    Value(Value),
    Column(usize),
    Negate(Box<Program>),
    And(Vec<Program>),
    Or(Vec<Program>),
    Arithmetic {
        op: Binary,
        left: Box<Program>,
        right: Box<Program>,
    },
    Compare {
        op: Binary,
        left: Box<Program>,
        right: Box<Program>,
    },
    Text {
        test: Box<TextTest>,
        left: Box<Program>,
        right: Box<Program>,
    },
    In {
        set: Box<Membership>,
        value: Box<Program>,
    },
    Between {
        negated: bool,
        value: Box<Program>,
        low: Box<Program>,
        high: Box<Program>,
    },
    Call {
        implementation: Implementation,
        arguments: Vec<Program>,
    },
    /// `case` of SQL.
    Choice(Vec<Program>),
    Cast(Box<Program>),
    /// One value of a function of several, which come as an array.
    Field {
        of: Box<Program>,
        field: usize,
    },
    Member {
        of: Box<Program>,
        name: Arc<str>,
    },
    Index {
        of: Box<Program>,
        index: Box<Program>,
    },
}

impl Program {
    /// Prepares an expression.
    pub fn compile(expr: &Expr, outer: &dyn Outer) -> Result<Program> {
        let compile = |expr: &Expr| Program::compile(expr, outer).map(Box::new);
        let node = match &expr.kind {
            ExprKind::Literal(value) => Node::Value(value.clone()),
            ExprKind::Column(at) => Node::Column(*at),
            ExprKind::Scalar(at) => Node::Value(outer.scalar(*at)?),
            ExprKind::Negate(of) => Node::Negate(compile(of)?),
            ExprKind::And(parts) => Node::And(compile_all(parts, outer)?),
            ExprKind::Or(parts) => Node::Or(compile_all(parts, outer)?),
            ExprKind::Binary { op, left, right } => {
                let is_text = !op.is_arithmetic() && !op.is_comparison();
                let left = if is_text { dynamic_of_text(left).unwrap_or(left) } else { left };
                let (left, right) = (compile(left)?, compile(right)?);
                match op {
                    op if op.is_arithmetic() => Node::Arithmetic { op: *op, left, right },
                    op if op.is_comparison() => Node::Compare { op: *op, left, right },
                    op => Node::Text {
                        test: Box::new(TextTest::new(*op, right.constant(), outer.context())?),
                        left,
                        right,
                    },
                }
            }
            ExprKind::In { op, value, list } => {
                let value = compile(value)?;
                let values = match list {
                    gantry_kql::bound::List::Rel(rel) => outer
                        .list(rel)?
                        .into_iter()
                        .map(Node::Value)
                        .map(|node| Program { ty: Type::Dynamic, node })
                        .collect(),
                    gantry_kql::bound::List::Values(values) => compile_all(values, outer)?,
                };
                Node::In { set: Box::new(Membership::new(*op, values)), value }
            }
            ExprKind::Between { negated, value, low, high } => {
                Node::Between { negated: *negated, value: compile(value)?, low: compile(low)?, high: compile(high)? }
            }
            ExprKind::Call { function, arguments } if function.name == "sql.case" => {
                Node::Choice(compile_all(arguments, outer)?)
            }
            ExprKind::Call { function, arguments } => {
                let implementation = functions::find(function.name)?;
                let call = Node::Call { implementation, arguments: compile_all(arguments, outer)? };
                // A function of several values, used as one, is its first.
                // One sorted array is that array, several are an array of them.
                let arrays = arguments.iter().filter(|argument| argument.ty != Type::Bool).count();
                let several = !function.fields.is_empty() || (function.name.starts_with("array_sort_") && arrays == 1);
                if !several {
                    call
                } else {
                    Node::Field { of: Box::new(Program { ty: Type::Dynamic, node: call }), field: 0 }
                }
            }
            ExprKind::Field { of, field } => match &of.kind {
                ExprKind::Call { function, arguments } => {
                    let implementation = functions::find(function.name)?;
                    let call = Node::Call { implementation, arguments: compile_all(arguments, outer)? };
                    Node::Field { of: Box::new(Program { ty: Type::Dynamic, node: call }), field: *field }
                }
                _ => Node::Field { of: compile(of)?, field: *field },
            },
            ExprKind::Cast(of) => Node::Cast(compile(of)?),
            ExprKind::Member { of, name } => Node::Member { of: compile(of)?, name: Arc::clone(name) },
            ExprKind::Index { of, index } => Node::Index { of: compile(of)?, index: compile(index)? },
            ExprKind::PartitionKey => Node::Value(outer.partition_key()?),
            ExprKind::Late(name) => return Err(Error::Evaluation(format!("column `{name}` is not known"))),
            ExprKind::Window { .. }
            | ExprKind::StepColumn { .. }
            | ExprKind::Property { .. }
            | ExprKind::Element(_)
            | ExprKind::Over { .. }
            | ExprKind::Graph { .. } => match outer.place(expr) {
                Some(at) => Node::Column(at),
                None => return Err(Error::NotImplemented(format!("{:?} here", expr.kind))),
            },
        };
        let program = Program { ty: expr.ty, node };
        // What needs no row is worked out once. Functions of chance are new for every row.
        if program.is_foldable() && !matches!(program.node, Node::Value(_)) {
            return match program.eval(&Chunk::unit(), outer.context()) {
                Ok(value) => Ok(Program { ty: expr.ty, node: Node::Value(value.cell(0).to_value()) }),
                // An error of SQL is one only if a row comes to it: `case` may keep all rows away.
                Err(Error::Sql { .. }) => Ok(program),
                Err(error) => Err(error),
            };
        }
        Ok(program)
    }

    /// The type of what it gives.
    pub fn ty(&self) -> Type {
        self.ty
    }

    /// Its value, when it is the same for every row.
    pub fn constant(&self) -> Option<&Value> {
        match &self.node {
            Node::Value(value) => Some(value),
            _ => None,
        }
    }

    /// The column it copies, when it does nothing else.
    pub fn as_column(&self) -> Option<usize> {
        match self.node {
            Node::Column(at) => Some(at),
            _ => None,
        }
    }

    fn is_foldable(&self) -> bool {
        match &self.node {
            Node::Value(_) => true,
            Node::Column(_) => false,
            Node::Negate(of) | Node::Cast(of) | Node::Member { of, .. } | Node::Field { of, .. } => of.is_foldable(),
            Node::And(parts) | Node::Or(parts) => parts.iter().all(Program::is_foldable),
            // What nobody chooses may be an error: it is left alone until somebody does.
            Node::Choice(_) => false,
            Node::Call { implementation, arguments } => {
                !implementation.is_random() && arguments.iter().all(Program::is_foldable)
            }
            Node::Arithmetic { left, right, .. }
            | Node::Compare { left, right, .. }
            | Node::Text { left, right, .. } => left.is_foldable() && right.is_foldable(),
            Node::In { set, value } => value.is_foldable() && set.is_foldable(),
            Node::Between { value, low, high, .. } => [value, low, high].iter().all(|part| part.is_foldable()),
            Node::Index { of, index } => of.is_foldable() && index.is_foldable(),
        }
    }

    /// Evaluates over the rows of a chunk.
    pub fn eval(&self, chunk: &Chunk, context: &Context) -> Result<Datum> {
        let rows = chunk.rows;
        Ok(match &self.node {
            Node::Value(value) => Datum::One(value.clone()),
            Node::Column(at) => Datum::Many(Arc::clone(&chunk.columns[*at])),
            Node::Negate(of) => arithmetic::negate(of.eval(chunk, context)?, self.ty, rows),
            Node::And(parts) => logical(parts, chunk, context, false)?,
            Node::Or(parts) => logical(parts, chunk, context, true)?,
            Node::Arithmetic { op, left, right } => {
                arithmetic::arithmetic(*op, left.eval(chunk, context)?, right.eval(chunk, context)?, self.ty, rows)
            }
            Node::Compare { op, left, right } => {
                compare::compare(*op, left.eval(chunk, context)?, right.eval(chunk, context)?, rows)
            }
            Node::Text { test, left, right } => {
                test.eval(left.eval(chunk, context)?, right.eval(chunk, context)?, rows, context)?
            }
            Node::In { set, value } => set.eval(value.eval(chunk, context)?, chunk, context)?,
            Node::Between { negated, value, low, high } => {
                let value = value.eval(chunk, context)?;
                let above = compare::compare(Binary::GreaterOrEqual, value.clone(), low.eval(chunk, context)?, rows);
                let below = compare::compare(Binary::LessOrEqual, value, high.eval(chunk, context)?, rows);
                let within = combine(above, below, rows, false);
                if *negated { not(within, rows) } else { within }
            }
            Node::Call { implementation, arguments } => {
                let arguments = arguments.iter().map(|one| one.eval(chunk, context)).collect::<Result<Vec<_>>>()?;
                implementation.eval(&arguments, self.ty, rows, context)?
            }
            Node::Choice(parts) => choice::eval(parts, self.ty, chunk, context)?,
            Node::Cast(of) => cast(of.eval(chunk, context)?, of.ty, self.ty, rows),
            Node::Field { of, field } => {
                let of = of.eval(chunk, context)?;
                rowwise(&[of], self.ty, rows, |cells| {
                    let value = cells[0].array().and_then(|values| values.get(*field));
                    value.map_or(Value::absent(self.ty), |value| Cell::from(value).cast(self.ty))
                })
            }
            Node::Member { of, name } => {
                let of = of.eval(chunk, context)?;
                by_dynamic(&of, rows, |value| value.member(name).cloned())
            }
            Node::Index { of, index } => {
                let (of, index) = (of.eval(chunk, context)?, index.eval(chunk, context)?);
                rowwise(&[of, index], Type::Dynamic, rows, |cells| {
                    match (cells[0], cells[1]) {
                        (Cell::Dynamic(value), Cell::String(name)) => value.member(name).cloned(),
                        (Cell::Dynamic(value), at) => at.long().and_then(|at| value.element(at)).cloned(),
                        _ => None,
                    }
                    .map_or(Value::Null, Value::Dynamic)
                })
            }
        })
    }
}

/// Prepares several expressions.
pub fn compile_all(exprs: &[Expr], outer: &dyn Outer) -> Result<Vec<Program>> {
    exprs.iter().map(|expr| Program::compile(expr, outer)).collect()
}

/// Works a function out row by row; once, if nothing depends on the row.
pub fn rowwise(arguments: &[Datum], ty: Type, rows: usize, mut f: impl FnMut(&[Cell]) -> Value) -> Datum {
    let mut cells: Vec<Cell> = Vec::with_capacity(arguments.len());
    if arguments.iter().all(|argument| matches!(argument, Datum::One(_))) {
        cells.extend(arguments.iter().map(|argument| argument.cell(0)));
        return Datum::One(conform(f(&cells), ty));
    }
    let mut builder = Builder::new(ty, rows);
    for row in 0..rows {
        cells.clear();
        cells.extend(arguments.iter().map(|argument| argument.cell(row)));
        builder.push(f(&cells));
    }
    Datum::Many(Arc::new(builder.finish()))
}

/// A value as a column of the type would hold it.
pub fn conform(value: Value, ty: Type) -> Value {
    let mut builder = Builder::new(ty, 1);
    builder.push(value);
    builder.finish().value(0)
}

fn by_dynamic(of: &Datum, rows: usize, mut f: impl FnMut(&Dynamic) -> Option<Dynamic>) -> Datum {
    if let Datum::Many(column) = of
        && let Data::Dynamic(values) = column.data()
    {
        let found: Vec<Dynamic> = values.iter().map(|value| f(value).unwrap_or(Dynamic::Null)).collect();
        return Datum::Many(Arc::new(Column::from(found)));
    }
    rowwise(std::slice::from_ref(of), Type::Dynamic, rows, |cells| match cells[0] {
        Cell::Dynamic(value) => f(value).map_or(Value::Null, Value::Dynamic),
        _ => Value::Null,
    })
}

/// The value as another type.
pub fn cast(of: Datum, from: Type, to: Type, rows: usize) -> Datum {
    if from == to {
        return of;
    }
    if let Datum::Many(column) = &of {
        let nulls = || column.nulls().map(<[bool]>::to_vec);
        let data = match (column.data(), to) {
            (Data::Int(values), Type::Long) => Some(Data::Long(values.iter().map(|value| i64::from(*value)).collect())),
            (Data::Int(values), Type::Real) => Some(Data::Real(values.iter().map(|value| f64::from(*value)).collect())),
            (Data::Long(values), Type::Real) if column.ty() == Type::Long => {
                Some(Data::Real(values.iter().map(|value| *value as f64).collect()))
            }
            _ => None,
        };
        if let Some(data) = data {
            return Datum::Many(Arc::new(Column::new(to, data, nulls())));
        }
    }
    rowwise(&[of], to, rows, |cells| cells[0].cast(to))
}

/// `not`.
pub fn not(of: Datum, rows: usize) -> Datum {
    rowwise(&[of], Type::Bool, rows, |cells| cells[0].bool().map_or(Value::Null, |value| Value::Bool(!value)))
}

/// `and` (with `dominant` false) and `or` (with `dominant` true): the dominant value wins over null.
fn logical(parts: &[Program], chunk: &Chunk, context: &Context, dominant: bool) -> Result<Datum> {
    let mut all = Datum::One(Value::Bool(!dominant));
    for part in parts {
        let one = part.eval(chunk, context)?;
        all = combine(all, one, chunk.rows, dominant);
        if matches!(all, Datum::One(Value::Bool(value)) if value == dominant) {
            break;
        }
    }
    Ok(all)
}

fn combine(left: Datum, right: Datum, rows: usize, dominant: bool) -> Datum {
    match (&left, &right) {
        (Datum::One(Value::Bool(value)), _) => {
            if *value == dominant {
                return left;
            }
            if matches!(&right, Datum::Many(column) if column.ty() == Type::Bool)
                || matches!(right, Datum::One(Value::Bool(_)))
            {
                return right;
            }
        }
        (Datum::Many(a), Datum::Many(b)) => {
            if let (Data::Bool(x), Data::Bool(y), None, None) = (a.data(), b.data(), a.nulls(), b.nulls()) {
                let values: Vec<bool> = if dominant {
                    x.iter().zip(y).map(|(x, y)| x | y).collect()
                } else {
                    x.iter().zip(y).map(|(x, y)| x & y).collect()
                };
                return Datum::Many(Arc::new(Column::from(values)));
            }
        }
        _ => {}
    }
    rowwise(&[left, right], Type::Bool, rows, |cells| {
        let (a, b) = (cells[0].bool(), cells[1].bool());
        if a == Some(dominant) || b == Some(dominant) {
            return Value::Bool(dominant);
        }
        if a.is_some() && b.is_some() { Value::Bool(!dominant) } else { Value::Null }
    })
}
