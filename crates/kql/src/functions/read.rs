//! Reads the tables of functions.
//!
//! A line is `name ; signature ; ... ; word ...`, or `alias = name ; word ...` for another name
//! of a function before it. A signature is `(parameter, ...) returns`, a parameter
//! `name:kind` with `!` if it must be constant, `?` if it may be left out, `*` if it repeats. The words at the end:
//!
//! * how a column of a call is named: `@arg` as its argument, `@fn` function and argument,
//!   `@pre:word` the word and the argument, `@word:text` the text alone, `@own` a rule of its
//!   own;
//! * `window`: over rows in order; `if:n` parameter n is a condition and `of:name` the plain
//!   function; `fields:a:type,b:type` the values of one that yields several.

use super::{Aggregation, Function, Kind, Naming, Parameter, Plugin, Returns, Signature, Tables};
use crate::value::Type;
use std::collections::HashMap;

const SCALARS: &str = include_str!("scalars.txt");
const AGGREGATES: &str = include_str!("aggregates.txt");
const PLUGINS: &str = include_str!("plugins.txt");

/// One line.
struct Line {
    name: &'static str,
    alias_of: Option<&'static str>,
    signatures: Vec<Signature>,
    naming: Naming,
    window: bool,
    condition: Option<usize>,
    plain: Option<&'static str>,
    fields: Vec<(&'static str, Type)>,
}

pub(super) fn tables() -> Tables {
    let mut scalars: HashMap<&'static str, (&'static Function, Naming)> = HashMap::new();
    for line in lines(SCALARS) {
        let function = match line.alias_of {
            Some(main) => scalars[main].0,
            None => Box::leak(Box::new(Function {
                name: line.name,
                signatures: line.signatures,
                naming: line.naming,
                window: line.window,
                fields: line.fields,
            })),
        };
        scalars.insert(line.name, (function, line.naming));
    }
    let mut aggregates: HashMap<&'static str, (&'static Aggregation, Naming)> = HashMap::new();
    for line in lines(AGGREGATES) {
        let function = match line.alias_of {
            Some(main) => aggregates[main].0,
            None => Box::leak(Box::new(Aggregation {
                name: line.name,
                plain: line.plain.unwrap_or(line.name),
                signatures: line.signatures,
                naming: line.naming,
                condition: line.condition,
            })),
        };
        aggregates.insert(line.name, (function, line.naming));
    }
    let mut plugins: HashMap<&'static str, &'static Plugin> = HashMap::new();
    for line in lines(PLUGINS) {
        plugins.insert(line.name, Box::leak(Box::new(Plugin { name: line.name, signatures: line.signatures })));
    }
    Tables { scalars, aggregates, plugins }
}

fn lines(table: &'static str) -> impl Iterator<Item = Line> {
    table.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')).map(line)
}

fn line(text: &'static str) -> Line {
    let mut parts = text.split(';').map(str::trim);
    let head = parts.next().expect("a line has a name");
    let (name, alias_of) = match head.split_once('=') {
        Some((name, main)) => (name.trim(), Some(main.trim())),
        None => (head, None),
    };
    let mut line = Line {
        name,
        alias_of,
        signatures: Vec::new(),
        naming: Naming::None,
        window: false,
        condition: None,
        plain: None,
        fields: Vec::new(),
    };
    for part in parts {
        if part.starts_with('(') {
            line.signatures.push(signature(part));
            continue;
        }
        for word in part.split_whitespace() {
            match word.split_once(':') {
                Some(("@pre", prefix)) => line.naming = Naming::PrefixAndArgument(prefix),
                Some(("@word", text)) => line.naming = Naming::Prefix(text),
                Some(("if", at)) => line.condition = Some(at.parse().expect("a place")),
                Some(("of", plain)) => line.plain = Some(plain),
                Some(("fields", fields)) => {
                    let field = |field: &'static str| {
                        let (name, ty) = field.split_once(':').expect("a field has a type");
                        (name, Type::from_name(ty).expect("a type"))
                    };
                    line.fields = fields.split(',').map(field).collect();
                }
                _ => match word {
                    "@arg" => line.naming = Naming::Argument,
                    "@fn" => line.naming = Naming::FunctionAndArgument,
                    "@own" => line.naming = Naming::Special,
                    "window" => line.window = true,
                    _ => panic!("`{word}` in the line of `{name}`"),
                },
            }
        }
    }
    line
}

fn signature(text: &'static str) -> Signature {
    let (parameters, returns) = text[1..].rsplit_once(')').expect("a signature has parentheses");
    let parameters = parameters.split(',').map(str::trim).filter(|text| !text.is_empty()).map(parameter).collect();
    Signature { parameters, returns: returns_of(returns.trim()) }
}

fn parameter(text: &'static str) -> Parameter {
    let (name, kind) = text.split_once(':').expect("a parameter has a kind");
    let (kind, repeats) = kind.strip_suffix('*').map_or((kind, false), |kind| (kind, true));
    let (kind, optional) = kind.strip_suffix('?').map_or((kind, false), |kind| (kind, true));
    let (kind, constant) = kind.strip_suffix('!').map_or((kind, false), |kind| (kind, true));
    Parameter { name, kind: kind_of(kind), constant, optional, repeats }
}

fn kind_of(word: &str) -> Kind {
    match word {
        "any" => Kind::Scalar,
        "integer" => Kind::Integer,
        "number" => Kind::Number,
        "summable" => Kind::Summable,
        "orderable" => Kind::Orderable,
        "plain" => Kind::NotDynamic,
        "hashable" => Kind::NotRealOrBool,
        "array" => Kind::Array,
        "bag" => Kind::Bag,
        "text" => Kind::StringOrDynamic,
        "texts" => Kind::StringOrArray,
        "integers" => Kind::IntegerOrArray,
        "numberorbool" => Kind::NumberOrBool,
        "common" => Kind::Common,
        "commonordynamic" => Kind::CommonOrDynamic,
        "commonorderable" => Kind::CommonOrderable,
        "type" => Kind::TypeLiteral,
        "table" => Kind::Tabular,
        "aggregate" => Kind::Aggregate,
        "column" => Kind::Column,
        ty => Kind::Of(Type::from_name(ty).unwrap_or_else(|| panic!("`{ty}` is no kind"))),
    }
}

fn returns_of(word: &str) -> Returns {
    match word {
        "common" => Returns::Common,
        "widest" => Returns::Widest,
        "type" => Returns::TypeLiteral,
        "own" => Returns::Special,
        _ => {
            if let Some(at) = word.strip_prefix("arg") {
                Returns::Argument(at.parse().expect("a place"))
            } else if let Some(at) = word.strip_prefix("promoted") {
                Returns::Promoted(at.parse().expect("a place"))
            } else {
                Returns::Of(Type::from_name(word).unwrap_or_else(|| panic!("`{word}` is no type")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{aggregate, aggregate_names, plugin, plugin_names, scalar, scalar_names};

    #[test]
    fn every_line_is_read() {
        assert!(scalar_names().count() > 350);
        assert!(aggregate_names().count() > 40);
        assert!(plugin_names().count() > 40);
        for name in plugin_names() {
            assert!(!plugin(name).unwrap().signatures.is_empty(), "{name}");
        }
    }

    #[test]
    fn other_names_stand_for_the_main_one() {
        assert_eq!(scalar("iif").unwrap().name, "iff");
        assert_eq!(aggregate("makeset").unwrap().name, "make_set");
        let counting = aggregate("countif").unwrap();
        assert_eq!((counting.plain, counting.condition), ("count", Some(0)));
        assert!(aggregate(counting.plain).is_some());
        assert!(scalar("prev").unwrap().window);
    }

    #[test]
    fn the_plain_function_of_every_conditional_one_exists() {
        for name in aggregate_names() {
            let row = aggregate(name).unwrap();
            assert_eq!(aggregate(row.plain).map(|plain| plain.plain), Some(row.plain), "{name}");
        }
    }
}
