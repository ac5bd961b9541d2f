//! What a path names: the service, its metadata, a set, an entity, a property.

use gantry_kql::ast::Expr;
use gantry_kql::value::Type;

use super::expr::{Scope, is_literal};
use super::failure::Failure;
use super::model::{Model, Navigation, Property, Set};
use super::options::split;
use super::tree;

/// A resource.
#[derive(Debug)]
pub enum Resource<'m> {
    /// The list of sets.
    Service,
    /// The model.
    Metadata,
    /// Rows of a set.
    Collection(Place<'m>),
    /// How many they are.
    Count(Place<'m>),
    /// One entity.
    Entity(Place<'m>),
    /// A property of one; as a plain value.
    Property(Place<'m>, &'m Property, bool),
}

/// A set, as far as the path narrows it.
#[derive(Debug, Clone)]
pub struct Place<'m> {
    /// The set whose rows these are.
    pub set: &'m Set,
    /// What the path says of them.
    pub only: Vec<Expr>,
    /// Path from the service on, as the client wrote it.
    pub path: String,
    /// The entity it begins at, and the way from there.
    pub from: Option<(&'m Set, Vec<Expr>, &'m Navigation)>,
}

/// Reads a path, without slashes around it.
///
/// # Errors
/// When it names nothing, or something that is not here.
pub fn resource<'m>(path: &str, model: &'m Model, scope: Scope) -> Result<Resource<'m>, Failure> {
    let segments: Vec<&str> = split(path, '/')?.into_iter().filter(|segment| !segment.is_empty()).collect();
    let Some((first, rest)) = segments.split_first() else { return Ok(Resource::Service) };
    match *first {
        "$metadata" if rest.is_empty() => return Ok(Resource::Metadata),
        "$batch" | "$all" | "$entity" => return Err(Failure::not_implemented(first)),
        _ if first.starts_with("$crossjoin") => return Err(Failure::not_implemented("$crossjoin")),
        _ => {}
    }
    let (name, key) = key_of(first)?;
    let set = model.set(name).ok_or_else(|| Failure::not_found(format!("there is no entity set `{name}`")))?;
    let place = Place { set, only: Vec::new(), path: (*first).to_owned(), from: None };
    match key {
        None => collection(place, rest, scope),
        Some(key) => {
            let only = key_is(set, key, scope)?;
            entity(Place { only, ..place }, rest, model, scope)
        }
    }
}

/// What may come behind a set.
fn collection<'m>(place: Place<'m>, rest: &[&str], scope: Scope) -> Result<Resource<'m>, Failure> {
    match rest {
        [] => Ok(Resource::Collection(place)),
        ["$count"] => Ok(Resource::Count(place)),
        [other, ..] if other.starts_with('$') => Err(Failure::not_implemented(&format!("{other} behind a set"))),
        // A key may stand between slashes too.
        [key] if place.set.key.len() == 1 && place.from.is_none() => {
            let quoted = format!("'{}'", key.replace('\'', "''"));
            let is_text = place.set.key_properties().next().is_some_and(|key| key.ty == Type::String);
            let only = key_is(place.set, if is_text { &quoted } else { key }, scope)?;
            Ok(Resource::Entity(Place { only, ..place }))
        }
        [other, ..] => Err(Failure::not_found(format!("there is nothing at `{other}`"))),
    }
}

/// What may come behind an entity.
fn entity<'m>(place: Place<'m>, rest: &[&str], model: &'m Model, scope: Scope) -> Result<Resource<'m>, Failure> {
    let Some((next, rest)) = rest.split_first() else { return Ok(Resource::Entity(place)) };
    let (name, key) = key_of(next)?;
    if let Some(property) = place.set.property(name).filter(|_| key.is_none()) {
        return match rest {
            [] => Ok(Resource::Property(place, property, false)),
            ["$value"] => Ok(Resource::Property(place, property, true)),
            [other, ..] => Err(Failure::not_found(format!("there is nothing at `{other}`"))),
        };
    }
    if name.starts_with('$') {
        return Err(Failure::not_implemented(&format!("{name} behind an entity")));
    }
    let Some(way) = place.set.navigation(name) else {
        return Err(Failure::not_found(format!("{} has no `{name}`", place.set.name)));
    };
    if place.from.is_some() {
        return Err(Failure::not_implemented("a path over two navigations"));
    }
    let set = model.set(&way.target).ok_or_else(|| Failure::not_found(format!("there is no entity set `{name}`")))?;
    let path = format!("{}/{next}", place.path);
    let there = Place { set, only: Vec::new(), path, from: Some((place.set, place.only, way)) };
    match key {
        None if !way.one => collection(there, rest, scope),
        None => entity(there, rest, model, scope),
        Some(key) => {
            let only = key_is(set, key, scope)?;
            entity(Place { only, ..there }, rest, model, scope)
        }
    }
}

/// The name of a segment, and what is in its parentheses.
fn key_of(segment: &str) -> Result<(&str, Option<&str>), Failure> {
    match segment.split_once('(') {
        None => Ok((segment, None)),
        Some((name, rest)) => match rest.strip_suffix(')') {
            Some(key) => Ok((name, Some(key))),
            None => Err(Failure::bad_request(format!("`{segment}` is no segment of a path"))),
        },
    }
}

/// That the key of a set has these values: `'a'`, or `A='a',B=1`.
fn key_is(set: &Set, key: &str, scope: Scope) -> Result<Vec<Expr>, Failure> {
    let parts = split(key, ',')?;
    let wanted: Vec<_> = set.key_properties().collect();
    let names = || wanted.iter().map(|property| property.name.as_str()).collect::<Vec<_>>().join(", ");
    let wrong = || Failure::bad_request(format!("the key of {} is {}", set.name, names()));
    if let [value] = parts[..]
        && !is_named(value)
    {
        let mut wanted = wanted.iter();
        let first = wanted.next().ok_or_else(wrong)?;
        let mut all = vec![is_literal(first, value, scope)?];
        // What is left out of a longer key is empty: a device's own twin has no module.
        for rest in wanted {
            if rest.ty != Type::String {
                return Err(wrong());
            }
            all.push(tree::binary(gantry_kql::ast::Binary::Equal, tree::name(&rest.column), tree::text("")));
        }
        return Ok(all);
    }
    if parts.len() != wanted.len() {
        return Err(wrong());
    }
    let mut all = Vec::new();
    for property in &wanted {
        let named = parts.iter().filter_map(|part| part.split_once('='));
        let value = named.clone().find(|(name, _)| name.trim() == property.name).map(|(_, value)| value.trim());
        all.push(is_literal(property, value.ok_or_else(wrong)?, scope)?);
    }
    Ok(all)
}

fn is_named(part: &str) -> bool {
    part.split_once('=').is_some_and(|(name, _)| {
        let name = name.trim();
        !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_') && !name.starts_with(char::is_numeric)
    })
}
