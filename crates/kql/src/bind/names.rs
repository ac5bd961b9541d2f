//! How columns are named when nobody names them.

use crate::ast::{Expr, ExprKind, Named};
use crate::functions::{self, Naming};
use crate::value::Value;
use std::collections::{HashMap, HashSet};

/// The name an expression gives the column made of it, if it gives one.
///
/// A column or variable has its name; a path the names along it; some functions carry the name
/// of their first argument, alone or behind their own; aggregates are `function_argument`.
pub(super) fn name_of(expr: &Expr) -> Option<String> {
    match &expr.kind {
        ExprKind::Name(name) => Some(name.clone()),
        ExprKind::Path { of, member } => match (&of.kind, &member.kind) {
            // `$left.a`, `database("d").T` are only names.
            (ExprKind::Name(name), ExprKind::Name(member)) if name.starts_with('$') => Some(member.clone()),
            (_, ExprKind::Name(member)) => Some(format!("{}_{member}", name_of(of).unwrap_or_default())),
            _ => None,
        },
        ExprKind::Index { of, index } => {
            let of = name_of(of)?;
            Some(match &index.kind {
                ExprKind::Literal(value @ (Value::String(_) | Value::Long(_)), _) => format!("{of}_{value}"),
                _ => format!("{of}_"),
            })
        }
        ExprKind::Call { name, arguments } => call_name(&name.text, arguments),
        _ => None,
    }
}

fn call_name(function: &str, arguments: &[Named]) -> Option<String> {
    let argument = || arguments.first().and_then(|argument| name_of(&argument.value));
    let naming = match functions::scalar_naming(function) {
        Naming::None => functions::aggregate_naming(function),
        naming => naming,
    };
    match naming {
        Naming::None => None,
        Naming::Argument => argument(),
        Naming::FunctionAndArgument => Some(format!("{function}_{}", argument().unwrap_or_default())),
        Naming::PrefixAndArgument(prefix) => Some(format!("{prefix}_{}", argument().unwrap_or_default())),
        Naming::Prefix(text) => Some(text.into()),
        Naming::Special => match function {
            "column_ifexists" | "columnifexists" => match &arguments.first()?.value.kind {
                ExprKind::Literal(Value::String(name), _) => Some(name.clone()),
                _ => None,
            },
            _ => argument(),
        },
    }
}

/// `95.5` within a name: `95_5`.
pub(super) fn number_in_name(value: &Value) -> String {
    let text = match value {
        Value::Real(real) => real.to_string(),
        other => other.to_string(),
    };
    text.replace(['.', '-', '+'], "_")
}

/// The names of a list of columns while it is made.
#[derive(Default)]
pub(super) struct Names {
    taken: HashSet<String>,
    /// The number to try next behind a name that was taken.
    next: HashMap<String, usize>,
    unnamed: usize,
}

impl Names {
    /// Takes a name as it is; false when it is taken.
    pub fn take(&mut self, name: &str) -> bool {
        self.taken.insert(name.into())
    }

    /// Takes a name, with a number behind it when it is taken.
    pub fn unique(&mut self, name: &str) -> String {
        if self.take(name) {
            return name.into();
        }
        loop {
            let number = self.next.entry(name.into()).or_insert(0);
            *number += 1;
            let numbered = format!("{name}{number}");
            if self.take(&numbered) {
                return numbered;
            }
        }
    }

    /// The next of `Column1`, `Column2`...
    pub fn unnamed(&mut self) -> String {
        self.unnamed += 1;
        format!("Column{}", self.unnamed)
    }
}
