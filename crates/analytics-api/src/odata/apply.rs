//! `$apply`: `filter`, `groupby`, `aggregate` and `identity`, one after the other.

use gantry_kql::ast::{Binary, Expr, Named, Operator};
use gantry_kql::value::{Type, Value};

use super::ask::Asker;
use super::expr::{Scope, Ty, condition, value};
use super::failure::Failure;
use super::model::{Property, Set};
use super::options::split;
use super::tree;

/// What `$apply` made of a set.
pub struct Applied {
    /// Everything that is done to the table.
    pub operators: Vec<Operator>,
    /// What comes out.
    pub properties: Vec<Property>,
    /// The columns that tell its rows apart; those of the key without.
    pub groups: Option<Vec<String>>,
}

/// Transformations of one request.
const STEPS_MAX: usize = 20;
/// Transformations of the protocol that are not here.
const ELSEWHERE: [&str; 12] = [
    "compute",
    "concat",
    "expand",
    "search",
    "bottomcount",
    "bottomsum",
    "bottompercent",
    "topcount",
    "topsum",
    "toppercent",
    "join",
    "outerjoin",
];

impl Asker<'_> {
    /// Carries out `$apply` behind what was done already.
    ///
    /// # Errors
    /// When it is wrong, or asks for what is not here.
    pub fn apply(
        &self,
        set: &Set,
        operators: Vec<Operator>,
        text: &str,
        aliases: &[(String, String)],
    ) -> Result<Applied, Failure> {
        let mut applied = Applied { operators, properties: set.properties.clone(), groups: None };
        let steps = split(text, '/')?;
        if steps.len() > STEPS_MAX {
            return Err(Failure::bad_request(format!("$apply may have {STEPS_MAX} transformations")));
        }
        for step in steps {
            let step = step.trim();
            let (name, inner) = match step.split_once('(') {
                Some((name, rest)) => (name.trim(), rest.strip_suffix(')')),
                None => (step, None),
            };
            let argument = || inner.ok_or_else(|| Failure::bad_request(format!("`{step}` needs its parentheses")));
            let properties = applied.properties.clone();
            let scope = Scope { properties: &properties, aliases };
            match name {
                "identity" => {}
                "filter" => applied.operators.push(tree::filter(condition(argument()?, scope)?)),
                "aggregate" => self.aggregate(set, &mut applied, &[], argument()?, scope)?,
                "groupby" => self.group(set, &mut applied, argument()?, scope)?,
                _ if ELSEWHERE.contains(&name) => {
                    return Err(Failure::not_implemented(&format!("the transformation {name}")));
                }
                "orderby" | "top" | "skip" => {
                    let message = format!("the transformation {name}, beside the option ${name}");
                    return Err(Failure::not_implemented(&message));
                }
                _ => return Err(Failure::bad_request(format!("there is no transformation `{name}`"))),
            }
        }
        Ok(applied)
    }

    /// `groupby((a,b),aggregate(...))`
    fn group(&self, set: &Set, applied: &mut Applied, text: &str, scope: Scope) -> Result<(), Failure> {
        let wrong = || Failure::bad_request(format!("groupby(({text}) is no groupby((a,b),aggregate(...))"));
        let parts = split(text, ',')?;
        let (first, rest) = parts.split_first().ok_or_else(wrong)?;
        let names = first.trim().strip_prefix('(').and_then(|names| names.strip_suffix(')')).ok_or_else(wrong)?;
        let mut by: Vec<&Property> = Vec::new();
        for name in split(names, ',')?.into_iter().map(str::trim) {
            if name.contains(['/', '(']) {
                return Err(Failure::not_implemented(&format!("{name} in groupby")));
            }
            let property = scope.properties.iter().find(|property| property.name == name);
            let property = property.ok_or_else(|| Failure::bad_request(format!("there is no property `{name}`")))?;
            if by.contains(&property) {
                return Err(Failure::bad_request(format!("{name} is there twice in groupby")));
            }
            by.push(property);
        }
        match rest {
            [] => self.aggregate(set, applied, &by, "", scope),
            [one] => {
                let one = one.trim();
                let Some(inner) = one.strip_prefix("aggregate(").and_then(|inner| inner.strip_suffix(')')) else {
                    return Err(Failure::not_implemented(&format!("{one} within groupby")));
                };
                self.aggregate(set, applied, &by, inner, scope)
            }
            _ => Err(wrong()),
        }
    }

    /// `aggregate(a with sum as b, $count as n)`
    fn aggregate(
        &self,
        set: &Set,
        applied: &mut Applied,
        by: &[&Property],
        text: &str,
        scope: Scope,
    ) -> Result<(), Failure> {
        let (mut aggregates, mut made): (Vec<Named>, Vec<(String, Option<String>)>) = (Vec::new(), Vec::new());
        let items = if text.is_empty() { vec![] } else { split(text, ',')? };
        for (at, item) in items.into_iter().map(str::trim).enumerate() {
            let wrong = || Failure::bad_request(format!("`{item}` is no `value with method as name`"));
            let (what, alias) = item.rsplit_once(" as ").ok_or_else(wrong)?;
            let alias = alias.trim();
            let is_name = |c: char| c.is_alphanumeric() || c == '_';
            if alias.is_empty() || alias.starts_with(char::is_numeric) || !alias.chars().all(is_name) {
                return Err(wrong());
            }
            let taken = made.iter().any(|(known, _)| known == alias) || by.iter().any(|known| known.name == alias);
            if taken {
                return Err(Failure::bad_request(format!("{alias} is there twice")));
            }
            let count = || tree::call("count", []);
            if what.trim() == "$count" {
                aggregates.push(tree::named(alias, count()));
                made.push((alias.to_owned(), None));
                continue;
            }
            let (of, method) = what.rsplit_once(" with ").ok_or_else(wrong)?;
            let of = value(of, scope)?;
            let summable = matches!(of.ty, Ty::Whole | Ty::Number | Ty::Span);
            let fits = match method.trim() {
                "countdistinct" => true,
                "min" | "max" => !matches!(of.ty, Ty::Guid | Ty::Null),
                "sum" | "average" => summable,
                other => return Err(Failure::not_implemented(&format!("the method {other}"))),
            };
            if !fits {
                return Err(Failure::bad_request(format!("`{item}`: the method does not fit the value's type")));
            }
            let function = match method.trim() {
                "countdistinct" => "count_distinct",
                "average" => "avg",
                other => other,
            };
            aggregates.push(tree::named(alias, tree::call(function, [of.expr.clone()])));
            // Of no values at all, the sum and the average are null.
            let values = matches!(function, "sum" | "avg").then(|| format!("\u{1}n{at}"));
            if let Some(values) = &values {
                aggregates.push(tree::named(values, tree::call("countif", [tree::call("isnotnull", [of.expr])])));
            }
            made.push((alias.to_owned(), values));
        }
        let key = |property: &&Property| {
            let is_dynamic = matches!(property.ty, Type::Dynamic | Type::Unknown);
            let column = tree::name(&property.column);
            tree::named(&property.column, if is_dynamic { tree::call("tostring", [column]) } else { column })
        };
        if by.is_empty() && aggregates.is_empty() {
            return Err(Failure::bad_request("an empty aggregate()"));
        }
        applied.operators.push(tree::summarize(aggregates, by.iter().map(key).collect()));
        let columns = self.columns(&set.name, applied.operators.clone())?;
        let ty =
            |name: &str| columns.iter().find(|column| &*column.name == name).map_or(Type::Unknown, |column| column.ty);
        let mut values: Vec<Named> = by.iter().map(|key| tree::named(&key.column, tree::name(&key.column))).collect();
        for (alias, counted) in &made {
            let value = tree::name(alias);
            let value: Expr = match counted {
                Some(counted) => {
                    let none = tree::binary(Binary::Equal, tree::name(counted), tree::long(0));
                    tree::call("iff", [none, tree::literal(Value::Null, ty(alias)), value])
                }
                None => value,
            };
            values.push(tree::named(alias, value));
        }
        applied.operators.push(tree::project(values));
        let group = |key: &&Property| Property { ty: ty(&key.column), ..(*key).clone() };
        let alias = |name: &String| Property { name: name.clone(), column: name.clone(), ty: ty(name) };
        applied.properties = by.iter().map(group).chain(made.iter().map(|(name, _)| alias(name))).collect();
        applied.groups = Some(by.iter().map(|key| key.column.clone()).collect());
        Ok(())
    }
}
