//! The tables as entity sets: names, types, keys, and which set leads to which.
//!
//! Every table that has a key is a set. A set leads to another (a navigation, which has the other's name)
//! - when it has all columns of the other's key, of which the first is a text: to the one entity they name;
//! - else, when the first column of its own key is a text that is a column of the other too: to the rows of the other
//!   in which it, and what else they have of the key in common, is the same.
//!
//! Columns are named by whoever sends telemetry; what cannot be in an identifier stands in it as `_xHHHH_`.

use gantry_analytics::Warehouse;
use gantry_kql::bound::Column;
use gantry_kql::value::Type;

/// A property of an entity, which is a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Property {
    /// Its name here.
    pub name: String,
    /// The column's name.
    pub column: String,
    /// The column's type.
    pub ty: Type,
}

/// A way from one set to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Navigation {
    /// The other set, and its name.
    pub target: String,
    /// It leads to one entity, not to many.
    pub one: bool,
    /// Columns that are the same: here, and there.
    pub on: Vec<(String, String)>,
}

/// An entity set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    /// Its name, which is the table's, and that of its type.
    pub name: String,
    /// The columns.
    pub properties: Vec<Property>,
    /// Names of the columns of its key.
    pub key: Vec<String>,
    /// The column of the key by which rows rise.
    pub rises_by: Option<String>,
    /// Where it leads.
    pub navigations: Vec<Navigation>,
}

impl Set {
    /// A property by its name here.
    pub fn property(&self, name: &str) -> Option<&Property> {
        self.properties.iter().find(|property| property.name == name)
    }

    /// A property by the name of its column.
    pub fn column(&self, column: &str) -> Option<&Property> {
        self.properties.iter().find(|property| property.column == column)
    }

    /// The properties of its key.
    pub fn key_properties(&self) -> impl Iterator<Item = &Property> {
        self.key.iter().filter_map(|column| self.column(column))
    }

    /// A way by its name.
    pub fn navigation(&self, name: &str) -> Option<&Navigation> {
        self.navigations.iter().find(|navigation| navigation.target == name)
    }
}

/// All sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// By name.
    pub sets: Vec<Set>,
}

impl Model {
    /// The tables as they are now.
    ///
    /// # Errors
    /// When a table cannot be read.
    pub fn of(warehouse: &Warehouse) -> gantry_analytics::Result<Model> {
        let mut sets = Vec::new();
        for (name, source) in warehouse.sources() {
            if source.key().is_empty() {
                continue;
            }
            let rises_by = source.rises_by();
            sets.push(set(name, source.columns()?, source.key(), rises_by));
        }
        let navigations: Vec<_> = sets.iter().map(|from| ways(from, &sets)).collect();
        sets.iter_mut().zip(navigations).for_each(|(set, ways)| set.navigations = ways);
        Ok(Model { sets })
    }

    /// A set by its name.
    pub fn set(&self, name: &str) -> Option<&Set> {
        self.sets.iter().find(|set| set.name == name)
    }
}

fn set(name: &str, columns: Vec<Column>, key: &[&str], rises_by: Option<&str>) -> Set {
    let property =
        |column: &Column| Property { name: identifier(&column.name), column: column.name.to_string(), ty: column.ty };
    Set {
        name: name.to_owned(),
        properties: columns.iter().map(property).collect(),
        key: key.iter().map(|&column| column.to_owned()).collect(),
        rises_by: rises_by.map(str::to_owned),
        navigations: Vec::new(),
    }
}

fn ways(from: &Set, sets: &[Set]) -> Vec<Navigation> {
    let is_text = |set: &Set, column: Option<&String>| {
        column.and_then(|column| set.column(column)).is_some_and(|property| property.ty == Type::String)
    };
    let common = |of: &Set, with: &Set| -> Vec<(String, String)> {
        let shared =
            |column: &&String| with.column(column).map(|there| there.ty) == of.column(column).map(|here| here.ty);
        of.key.iter().filter(shared).map(|column| (column.clone(), column.clone())).collect()
    };
    let way = |to: &Set| {
        // A property of the name goes first.
        if to.name == from.name || from.property(&to.name).is_some() {
            return None;
        }
        let theirs = common(to, from);
        if is_text(to, to.key.first()) && theirs.len() == to.key.len() {
            return Some(Navigation { target: to.name.clone(), one: true, on: theirs });
        }
        let ours = common(from, to);
        let leads = is_text(from, from.key.first()) && ours.first().map(|(column, _)| column) == from.key.first();
        leads.then(|| Navigation { target: to.name.clone(), one: false, on: ours })
    };
    sets.iter().filter_map(way).collect()
}

/// Words of `$filter` that a property must not be.
const WORDS: [&str; 6] = ["null", "true", "false", "not", "INF", "NaN"];

/// A column's name as an identifier: no two names have the same one.
fn identifier(column: &str) -> String {
    let mut name = String::with_capacity(column.len());
    if column.is_empty() {
        return "_x_".into();
    }
    for (at, c) in column.char_indices() {
        let fits = if at == 0 { c.is_alphabetic() || c == '_' } else { c.is_alphanumeric() || c == '_' };
        let escapes = c == '_' && column[at..].starts_with("_x");
        if fits && !escapes && !(at == 0 && WORDS.contains(&column)) {
            name.push(c);
        } else {
            name.push_str(&format!("_x{:04X}_", u32::from(c)));
        }
    }
    name
}

/// The type of the protocol.
pub fn edm(ty: Type) -> &'static str {
    match ty {
        Type::Bool => "Edm.Boolean",
        Type::Int => "Edm.Int32",
        Type::Long => "Edm.Int64",
        Type::Real => "Edm.Double",
        Type::Decimal => "Edm.Decimal",
        Type::DateTime => "Edm.DateTimeOffset",
        Type::TimeSpan => "Edm.Duration",
        Type::Guid => "Edm.Guid",
        // Objects and arrays are JSON.
        Type::String | Type::Dynamic | Type::Unknown => "Edm.String",
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A set for tests: `name`, columns `name:type`, keys.
    pub(crate) fn some(name: &str, columns: &[(&str, Type)], key: &[&str]) -> Set {
        let columns = columns.iter().map(|(name, ty)| Column::new(*name, *ty)).collect();
        set(name, columns, key, None)
    }

    #[test]
    fn names_of_columns_become_identifiers_that_differ() {
        for (column, expected) in [
            ("temperature", "temperature"),
            ("Größe", "Größe"),
            ("a b", "a_x0020_b"),
            ("a.b/c'd", "a_x002E_b_x002F_c_x0027_d"),
            ("1st", "_x0031_st"),
            ("a_x0020_b", "a_x005F_x0020_b"),
            ("null", "_x006E_ull"),
            ("", "_x_"),
            ("_x_", "_x005F_x_"),
            ("𝛼-1", "𝛼_x002D_1"),
        ] {
            assert_eq!(identifier(column), expected, "{column}");
        }
    }

    #[test]
    fn sets_lead_to_each_other_by_their_keys() {
        let text = Type::String;
        let sets = [
            some("Devices", &[("DeviceId", text), ("Status", text)], &["DeviceId"]),
            some("Twins", &[("DeviceId", text), ("ModuleId", text)], &["DeviceId", "ModuleId"]),
            some(
                "Telemetry",
                &[("DeviceId", text), ("ModuleId", text), ("Partition", Type::Int), ("SequenceNumber", Type::Long)],
                &["Partition", "SequenceNumber"],
            ),
            some("Alerts", &[("AlertId", text), ("DeviceId", text)], &["AlertId"]),
        ];
        let of = |at: usize| -> Vec<(String, bool, usize)> {
            ways(&sets[at], &sets).into_iter().map(|way| (way.target, way.one, way.on.len())).collect()
        };
        let way = |name: &str, one, on| (name.to_owned(), one, on);
        assert_eq!(of(0), [way("Twins", false, 1), way("Telemetry", false, 1), way("Alerts", false, 1)]);
        assert_eq!(of(1), [way("Devices", true, 1), way("Telemetry", false, 2), way("Alerts", false, 1)]);
        assert_eq!(of(2), [way("Devices", true, 1), way("Twins", true, 2)]);
        assert_eq!(of(3), [way("Devices", true, 1)]);
    }
}
