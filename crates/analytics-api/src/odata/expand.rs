//! `$expand`: with each row, what it leads to.
//!
//! What all rows of a page lead to is asked for at once, in the order each wants it, and dealt out.

use std::collections::HashMap;

use gantry_analytics::Flow;
use gantry_kql::ast::Expr;
use gantry_kql::value::{Type, Value};

use super::ask::Asker;
use super::expr::{Scope, condition, order};
use super::failure::Failure;
use super::model::{Navigation, Property, Set};
use super::options::{Expand, Options};
use super::page::{Page, Row, key_of_order, shown};
use super::tree;
use super::write::{key_literal, members};

/// Entities of one row that are told with it; a link leads to more.
const ENTITIES_MAX: u64 = 100;

/// What one row leads to.
#[derive(Default)]
struct Found {
    entities: Vec<String>,
    all: u64,
}

/// The columns of a set whose values its expanded rows are found by.
pub fn needed<'s>(set: &'s Set, expands: &[Expand]) -> Result<Vec<&'s str>, Failure> {
    let mut needed: Vec<&str> = Vec::new();
    for expand in expands {
        let way = way(set, expand)?;
        let keys = set.key.iter().filter(|_| !way.one).map(String::as_str);
        for column in way.on.iter().map(|(here, _)| here.as_str()).chain(keys) {
            if !needed.contains(&column) {
                needed.push(column);
            }
        }
    }
    Ok(needed)
}

fn way<'s>(set: &'s Set, expand: &Expand) -> Result<&'s Navigation, Failure> {
    let none = || Failure::bad_request(format!("{} has no navigation `{}`", set.name, expand.name));
    set.navigation(&expand.name).ok_or_else(none)
}

impl Asker<'_> {
    /// Adds to the rows of a page what they lead to. `needed` are the columns whose values they have beside.
    ///
    /// # Errors
    /// When an option means nothing here, or rows cannot be read.
    pub fn expand(&self, set: &Set, page: &mut Page, needed: &[&str], options: &Options) -> Result<(), Failure> {
        for expand in &options.expand {
            let way = way(set, expand)?;
            let Some(target) = self.model.set(&way.target) else { continue };
            let at = |column: &str| needed.iter().position(|known| *known == column).unwrap_or_default();
            let places: Vec<usize> = way.on.iter().map(|(here, _)| at(here)).collect();
            let mut found: HashMap<Vec<String>, Found> = HashMap::new();
            for row in &page.rows {
                found.entry(key(row, &places)).or_default();
            }
            self.find(target, way, &expand.options, &options.aliases, &mut found)?;
            for row in &mut page.rows {
                let found = &found[&key(row, &places)];
                if !row.members.is_empty() {
                    row.members.push(',');
                }
                let name = &way.target;
                if way.one {
                    let entity = found.entities.first().map_or("null", String::as_str);
                    row.members.push_str(&format!("\"{name}\":{entity}"));
                    continue;
                }
                if expand.options.count {
                    row.members.push_str(&format!("\"{name}@odata.count\":{},", found.all));
                }
                row.members.push_str(&format!("\"{name}\":[{}]", found.entities.join(",")));
                if found.all > expand.options.skip + found.entities.len() as u64
                    && expand.options.top.is_none_or(|top| top > ENTITIES_MAX)
                {
                    let of_key = |property: &Property| {
                        let value = &row.beside[at(&property.column)];
                        format!("{}={}", property.name, key_literal(property.ty, value.into()))
                    };
                    let keys: Vec<_> = set.key_properties().map(of_key).collect();
                    let link = self.link(&format!("{}({})/{name}", set.name, keys.join(",")), &expand.options);
                    row.members.push_str(&format!(",\"{name}@odata.nextLink\":"));
                    super::write::string(&mut row.members, &link);
                }
            }
        }
        Ok(())
    }

    /// Where the entities behind those that were told are.
    fn link(&self, path: &str, options: &Options) -> String {
        let skip = options.skip + ENTITIES_MAX;
        let mut query = vec![("$skip", skip.to_string())];
        query.extend(options.top.map(|top| ("$top", (top - ENTITIES_MAX).to_string())));
        query.extend(options.select.as_ref().map(|select| ("$select", select.join(","))));
        query.extend(options.filter.clone().map(|filter| ("$filter", filter)));
        query.extend(options.orderby.clone().map(|order| ("$orderby", order)));
        super::address(self.root, path, query.iter().map(|(name, value)| (*name, value.as_str())))
    }

    fn find(
        &self,
        target: &Set,
        way: &Navigation,
        options: &Options,
        aliases: &[(String, String)],
        found: &mut HashMap<Vec<String>, Found>,
    ) -> Result<(), Failure> {
        let scope = Scope { properties: &target.properties, aliases };
        let mut operators = Vec::new();
        // Keys that lead to others are texts first; the rest of a longer key is looked at below.
        let (_, first) = &way.on[0];
        let mut texts: Vec<&String> = found.keys().filter_map(|key| key.first()).collect();
        texts.sort_unstable();
        texts.dedup();
        operators
            .push(tree::filter(tree::among(tree::name(first), texts.into_iter().map(|one| tree::text(one)).collect())));
        if let Some(text) = &options.filter {
            operators.push(tree::filter(condition(text, scope)?));
        }
        let mut keys: Vec<(Expr, bool)> = Vec::new();
        if let Some(text) = &options.orderby {
            keys.extend(order(text, scope)?.into_iter().map(|(value, descending)| (key_of_order(value), descending)));
        }
        keys.extend(target.key_properties().map(|property| (key_of_order(super::expr::column(property)), false)));
        let shown = shown(&target.properties, options, target)?;
        let names: Vec<(String, bool)> =
            keys.iter().enumerate().map(|(at, (_, descending))| (format!("\u{1}k{at}"), *descending)).collect();
        let column = |column: &str| tree::named(column, tree::name(column));
        let mut values: Vec<_> = shown.iter().map(|property| column(&property.column)).collect();
        let on = way.on.iter().enumerate();
        values.extend(on.map(|(at, (_, there))| tree::named(&format!("\u{1}o{at}"), tree::name(there))));
        values.extend(names.iter().zip(keys).map(|((name, _), (key, _))| tree::named(name, key)));
        operators.push(tree::project(values));
        operators.push(tree::sort(&names));

        let properties: Vec<&Property> = shown.iter().collect();
        let most = options.top.map_or(ENTITIES_MAX, |top| top.min(ENTITIES_MAX));
        self.run(&target.name, operators, &mut |chunk| {
            for row in 0..chunk.rows {
                let cell = |at: usize| chunk.columns[shown.len() + at].cell(row);
                let of: Vec<String> = (0..way.on.len()).map(|at| cell(at).text().into_owned()).collect();
                let Some(found) = found.get_mut(&of) else { continue };
                found.all += 1;
                if found.all > options.skip && (found.entities.len() as u64) < most {
                    let mut text = String::from("{");
                    members(&mut text, &properties, &chunk, row, self.form);
                    text.push('}');
                    found.entities.push(text);
                }
            }
            Ok(Flow::More)
        })
    }
}

/// The texts of the columns by which a row leads on.
fn key(row: &Row, places: &[usize]) -> Vec<String> {
    places.iter().map(|place| row.beside[*place].to_string()).collect()
}

/// Values of these columns, as literals of the key of the other set.
pub fn same(way: &Navigation, target: &Set, values: &[Value]) -> Vec<Expr> {
    let one = |((_, there), value): (&(String, String), &Value)| {
        let ty = target.column(there).map_or(Type::String, |property| property.ty);
        tree::binary(gantry_kql::ast::Binary::Equal, tree::name(there), tree::literal(value.clone(), ty))
    };
    way.on.iter().zip(values).map(one).collect()
}
