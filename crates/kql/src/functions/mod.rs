//! The functions of the language: scalar functions, aggregates and plugins with their
//! signatures.
//!
//! The tables are texts (`scalar.txt`, `aggregates.txt`, `plugins.txt`), read once: a line for
//! each function with its signatures, and a word on how a column made of it is named. They say
//! what the binder has to know; what a function does is the engine's. The facts are those of
//! the published documentation and language service.

mod read;

use crate::value::Type;
use std::collections::HashMap;
use std::sync::OnceLock;

/// A scalar function.
#[derive(Debug)]
pub struct Function {
    /// Its main name: the one an engine knows it by.
    pub name: &'static str,
    /// What it takes and returns; the first that fits counts.
    pub signatures: Vec<Signature>,
    /// How a column made of a call is named.
    pub naming: Naming,
    /// Over the rows in order, not over one row: `prev`, `row_number`...
    pub window: bool,
    /// Names and types of the values of a function that yields several; else empty.
    pub fields: Vec<(&'static str, Type)>,
}

/// An aggregate function.
#[derive(Debug)]
pub struct Aggregation {
    /// Its main name.
    pub name: &'static str,
    /// What it takes and returns.
    pub signatures: Vec<Signature>,
    /// How a column made of a call is named.
    pub naming: Naming,
    /// The function without its condition: `count` of `countif`; else its own name.
    pub plain: &'static str,
    /// The place of the condition among the parameters.
    pub condition: Option<usize>,
}

/// A plugin of `evaluate`.
#[derive(Debug)]
pub struct Plugin {
    /// Its name.
    pub name: &'static str,
    /// What it takes.
    pub signatures: Vec<Signature>,
}

/// One way to call a function.
#[derive(Debug, Clone)]
pub struct Signature {
    /// The parameters.
    pub parameters: Vec<Parameter>,
    /// What it returns.
    pub returns: Returns,
}

/// A parameter.
#[derive(Debug, Clone)]
pub struct Parameter {
    /// Its name.
    pub name: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// It must not depend on a row.
    pub constant: bool,
    /// It may be left out.
    pub optional: bool,
    /// It may appear any number of times (at least once unless optional); neighbours that repeat
    /// do so by turns.
    pub repeats: bool,
}

/// What a parameter takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A value of this type, or what is converted to it.
    Of(Type),
    /// Any scalar.
    Scalar,
    /// int or long.
    Integer,
    /// A number.
    Number,
    /// A number, datetime or timespan.
    Summable,
    /// What can be ordered: all but dynamic.
    Orderable,
    /// All but dynamic.
    NotDynamic,
    /// All but real and bool.
    NotRealOrBool,
    /// A dynamic array.
    Array,
    /// A dynamic bag.
    Bag,
    /// A string or dynamic.
    StringOrDynamic,
    /// A string or an array.
    StringOrArray,
    /// A whole number or an array.
    IntegerOrArray,
    /// A number or bool.
    NumberOrBool,
    /// One type for all such parameters, numbers promoted.
    Common,
    /// The same, or dynamic when they have none.
    CommonOrDynamic,
    /// The same of ordered types.
    CommonOrderable,
    /// `typeof(T)`.
    TypeLiteral,
    /// A table.
    Tabular,
    /// An aggregate call.
    Aggregate,
    /// A bare column.
    Column,
}

/// What a call returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Returns {
    /// Always this type.
    Of(Type),
    /// The type of an argument.
    Argument(usize),
    /// The type of an argument, numbers at least long.
    Promoted(usize),
    /// The common type of all `Common` arguments.
    Common,
    /// The widest number among the arguments.
    Widest,
    /// What the `typeof` argument says.
    TypeLiteral,
    /// A rule of its own in the binder.
    Special,
}

/// How a column made of a call is named when nobody names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Naming {
    /// `Column1`, `print_0`.
    None,
    /// As its first argument would be.
    Argument,
    /// The function's name, `_`, the name of its first argument: `strlen_s`.
    FunctionAndArgument,
    /// Another prefix, `_`, and the name of the first argument: `make_list` is `list_s`.
    PrefixAndArgument(&'static str),
    /// The prefix and `_`, whatever the arguments.
    Prefix(&'static str),
    /// A rule of its own in the binder.
    Special,
}

struct Tables {
    scalars: HashMap<&'static str, (&'static Function, Naming)>,
    aggregates: HashMap<&'static str, (&'static Aggregation, Naming)>,
    plugins: HashMap<&'static str, &'static Plugin>,
}

fn tables() -> &'static Tables {
    static TABLES: OnceLock<Tables> = OnceLock::new();
    TABLES.get_or_init(read::tables)
}

/// The scalar function of a name, aliases and old names included.
pub fn scalar(name: &str) -> Option<&'static Function> {
    tables().scalars.get(name).map(|(function, _)| *function)
}

/// The aggregate of a name, aliases and old names included.
pub fn aggregate(name: &str) -> Option<&'static Aggregation> {
    tables().aggregates.get(name).map(|(function, _)| *function)
}

/// The plugin of a name.
pub fn plugin(name: &str) -> Option<&'static Plugin> {
    tables().plugins.get(name).copied()
}

/// How a column made by the function is named under the name it was called by.
pub(crate) fn scalar_naming(name: &str) -> Naming {
    tables().scalars.get(name).map_or(Naming::None, |(_, naming)| *naming)
}

/// How a column made by the aggregate is named under the name it was called by.
pub(crate) fn aggregate_naming(name: &str) -> Naming {
    tables().aggregates.get(name).map_or(Naming::None, |(_, naming)| *naming)
}

/// The names of all scalar functions, main names only.
pub fn scalar_names() -> impl Iterator<Item = &'static str> {
    tables().scalars.iter().filter(|(name, (function, _))| **name == function.name).map(|(name, _)| *name)
}

/// The names of all aggregates, main names only.
pub fn aggregate_names() -> impl Iterator<Item = &'static str> {
    tables().aggregates.iter().filter(|(name, (function, _))| **name == function.name).map(|(name, _)| *name)
}

/// The names of all plugins.
pub fn plugin_names() -> impl Iterator<Item = &'static str> {
    tables().plugins.keys().copied()
}

// Two functions are the same when they are the same row of the table.
macro_rules! same_by_name {
    ($($row:ty),*) => {$(
        impl PartialEq for $row {
            fn eq(&self, other: &Self) -> bool {
                self.name == other.name
            }
        }
    )*};
}
same_by_name!(Function, Aggregation, Plugin);
