//! What a select says before anything of it is bound: what nothing here has, names of columns nobody named, whether it
//! adds up.

use sqlparser::ast::{self, SelectItem, SetExpr};

use super::scope::folded;
use crate::error::{Error, Result};
use crate::types::SqlType;

/// Parts of a select that nothing here has.
pub(super) fn refuse(select: &ast::Select) -> Result<()> {
    let refused = [
        (select.into.is_some(), "SELECT INTO"),
        (select.exclude.is_some(), "EXCLUDE"),
        (!select.lateral_views.is_empty(), "LATERAL VIEW"),
        (select.prewhere.is_some(), "PREWHERE"),
        (!select.connect_by.is_empty(), "CONNECT BY"),
        (!select.cluster_by.is_empty(), "CLUSTER BY"),
        (!select.distribute_by.is_empty(), "DISTRIBUTE BY"),
        (!select.sort_by.is_empty(), "SORT BY"),
        (select.qualify.is_some(), "QUALIFY"),
        (select.value_table_mode.is_some(), "SELECT AS"),
    ];
    match refused.iter().find(|(there, _)| *there) {
        Some((_, what)) => Err(Error::unsupported(what)),
        None => Ok(()),
    }
}

pub(super) fn no_options(options: &ast::WildcardAdditionalOptions) -> Result<()> {
    let plain = options.opt_ilike.is_none()
        && options.opt_exclude.is_none()
        && options.opt_except.is_none()
        && options.opt_replace.is_none()
        && options.opt_rename.is_none();
    if plain { Ok(()) } else { Err(Error::unsupported("a star with exceptions")) }
}

/// The name of a column nobody named.
pub(super) fn name_of(of: &ast::Expr) -> String {
    use ast::Expr as E;
    match of {
        E::Identifier(name) => folded(name),
        E::CompoundIdentifier(path) => path.last().map(folded).unwrap_or_default(),
        E::Function(function) => super::call::function_name(&function.name),
        E::Cast { expr, data_type, .. } => match name_of(expr).as_str() {
            "?column?" => cast_name(data_type),
            name => name.to_owned(),
        },
        E::Nested(of) | E::Collate { expr: of, .. } => name_of(of),
        E::CompoundFieldAccess { root, .. } => name_of(root),
        E::Case { else_result, .. } => match else_result.as_deref().map(name_of) {
            Some(name) if name != "?column?" => name,
            _ => "case".into(),
        },
        E::Extract { .. } => "extract".into(),
        E::Array(_) => "array".into(),
        E::Exists { .. } => "exists".into(),
        E::Substring { .. } => "substring".into(),
        E::Position { .. } => "position".into(),
        E::Trim { .. } => "btrim".into(),
        E::Ceil { .. } => "ceil".into(),
        E::Floor { .. } => "floor".into(),
        E::Interval(_) => "interval".into(),
        E::AtTimeZone { .. } => "timezone".into(),
        E::Value(ast::ValueWithSpan { value: ast::Value::Boolean(_), .. }) => "bool".into(),
        E::TypedString(typed) => cast_name(&typed.data_type),
        E::Subquery(query) => match &*query.body {
            SetExpr::Select(select) => match select.projection.first() {
                Some(SelectItem::UnnamedExpr(of)) => name_of(of),
                Some(SelectItem::ExprWithAlias { alias, .. }) => folded(alias),
                _ => "?column?".into(),
            },
            _ => "?column?".into(),
        },
        _ => "?column?".into(),
    }
}

pub(super) fn cast_name(ty: &ast::DataType) -> String {
    let written = ty.to_string().to_lowercase();
    let last = written.rsplit('.').next().unwrap_or(&written);
    SqlType::from_name(last).map_or_else(|| last.to_owned(), |ty| ty.name().trim_start_matches('_').to_owned())
}

/// Whether an aggregate is in an expression, sub-queries aside.
pub(super) fn has_aggregate(of: &ast::Expr) -> bool {
    use ast::Expr as E;
    let any = |parts: &[&ast::Expr]| parts.iter().any(|part| has_aggregate(part));
    match of {
        E::Function(function) => {
            let name = super::call::function_name(&function.name);
            if function.over.is_none() && super::aggregate::is_aggregate(&name) {
                return true;
            }
            super::call::plain_arguments_or_star(function).is_ok_and(|arguments| any(&arguments))
                || matches!(&function.over, Some(ast::WindowType::WindowSpec(spec))
                    if spec.partition_by.iter().any(has_aggregate)
                        || spec.order_by.iter().any(|key| has_aggregate(&key.expr)))
        }
        E::BinaryOp { .. } => {
            // Chains may be long.
            let mut of = of;
            while let E::BinaryOp { left, right, .. } = of {
                if has_aggregate(right) {
                    return true;
                }
                of = left;
            }
            has_aggregate(of)
        }
        E::UnaryOp { expr, .. }
        | E::Nested(expr)
        | E::Cast { expr, .. }
        | E::IsNull(expr)
        | E::IsNotNull(expr)
        | E::IsTrue(expr)
        | E::IsNotTrue(expr)
        | E::IsFalse(expr)
        | E::IsNotFalse(expr)
        | E::Extract { expr, .. }
        | E::Ceil { expr, .. }
        | E::Floor { expr, .. }
        | E::Substring { expr, .. }
        | E::Trim { expr, .. }
        | E::Collate { expr, .. }
        | E::AtTimeZone { timestamp: expr, .. }
        | E::CompoundFieldAccess { root: expr, .. } => has_aggregate(expr),
        E::IsDistinctFrom(a, b) | E::IsNotDistinctFrom(a, b) => any(&[a, b]),
        E::Between { expr, low, high, .. } => any(&[expr, low, high]),
        E::Like { expr, pattern, .. } | E::ILike { expr, pattern, .. } => any(&[expr, pattern]),
        E::AnyOp { left, right, .. } | E::AllOp { left, right, .. } => any(&[left, right]),
        E::In { expr, target, .. } => {
            has_aggregate(expr) || matches!(target, ast::InTarget::List(list) if list.iter().any(has_aggregate))
        }
        E::Case { operand, conditions, else_result, .. } => {
            operand.as_deref().is_some_and(has_aggregate)
                || else_result.as_deref().is_some_and(has_aggregate)
                || conditions.iter().any(|pair| has_aggregate(&pair.condition) || has_aggregate(&pair.result))
        }
        E::Array(array) => array.elem.iter().any(has_aggregate),
        E::Tuple(parts) => parts.iter().any(has_aggregate),
        _ => false,
    }
}
