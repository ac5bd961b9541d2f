//! The list of sets, and the model as XML and as JSON.

use std::fmt::Write as _;

use gantry_kql::value::Type;
use serde_json::{Map, Value as Json, json};

use super::model::{Model, Property, Set, edm};

/// The name of the schema.
const NAMESPACE: &str = "Gantry";
/// The name of the container.
const CONTAINER: &str = "Tables";

/// The list of sets.
pub fn service(model: &Model, root: &str, with_context: bool) -> String {
    let sets: Vec<_> =
        model.sets.iter().map(|set| json!({ "name": set.name, "kind": "EntitySet", "url": set.name })).collect();
    let mut document = Map::new();
    if with_context {
        document.insert("@odata.context".into(), json!(format!("{root}$metadata")));
    }
    document.insert("value".into(), json!(sets));
    Json::Object(document).to_string()
}

/// The qualified name of a set's type.
pub fn type_name(set: &str) -> String {
    format!("{NAMESPACE}.{set}")
}

fn is_nullable(set: &Set, property: &Property) -> bool {
    property.ty != Type::String && !set.key.contains(&property.column)
}

/// Digits of a second's fraction, or of a number's, where the type needs to say.
fn facet(ty: Type) -> Option<(&'static str, Json)> {
    match ty {
        Type::DateTime | Type::TimeSpan => Some(("Precision", json!(7))),
        Type::Decimal => Some(("Scale", json!("variable"))),
        _ => None,
    }
}

/// The model as XML.
pub fn xml(model: &Model) -> String {
    let mut out = String::from(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n\
         <edmx:Edmx Version=\"4.0\" xmlns:edmx=\"http://docs.oasis-open.org/odata/ns/edmx\"><edmx:DataServices>",
    );
    let _ = write!(out, "<Schema Namespace=\"{NAMESPACE}\" xmlns=\"http://docs.oasis-open.org/odata/ns/edm\">");
    for set in &model.sets {
        let _ = write!(out, "<EntityType Name=\"{}\"><Key>", set.name);
        for key in set.key_properties() {
            let _ = write!(out, "<PropertyRef Name=\"{}\"/>", key.name);
        }
        out.push_str("</Key>");
        for property in &set.properties {
            let (name, ty) = (&property.name, edm(property.ty));
            let _ = write!(out, "<Property Name=\"{name}\" Type=\"{ty}\"");
            if !is_nullable(set, property) {
                out.push_str(" Nullable=\"false\"");
            }
            if let Some((facet, value)) = facet(property.ty) {
                let _ = write!(out, " {facet}=\"{}\"", value.as_str().map_or_else(|| value.to_string(), str::to_owned));
            }
            out.push_str("/>");
        }
        for way in &set.navigations {
            let (name, ty) = (&way.target, type_name(&way.target));
            let ty = if way.one { ty } else { format!("Collection({ty})") };
            let _ = write!(out, "<NavigationProperty Name=\"{name}\" Type=\"{ty}\"/>");
        }
        out.push_str("</EntityType>");
    }
    let _ = write!(out, "<EntityContainer Name=\"{CONTAINER}\">");
    for set in &model.sets {
        let _ = write!(out, "<EntitySet Name=\"{}\" EntityType=\"{}\">", set.name, type_name(&set.name));
        for way in &set.navigations {
            let _ = write!(out, "<NavigationPropertyBinding Path=\"{0}\" Target=\"{0}\"/>", way.target);
        }
        out.push_str("</EntitySet>");
    }
    out.push_str("</EntityContainer></Schema></edmx:DataServices></edmx:Edmx>\n");
    out
}

/// The model as JSON.
pub fn json(model: &Model) -> String {
    let (mut schema, mut container) = (Map::new(), Map::new());
    container.insert("$Kind".into(), json!("EntityContainer"));
    for set in &model.sets {
        let mut entity = Map::new();
        entity.insert("$Kind".into(), json!("EntityType"));
        entity.insert("$Key".into(), set.key_properties().map(|key| json!(key.name)).collect());
        for property in &set.properties {
            let mut told = Map::new();
            told.insert("$Type".into(), json!(edm(property.ty)));
            if is_nullable(set, property) {
                told.insert("$Nullable".into(), json!(true));
            }
            if let Some((facet, value)) = facet(property.ty) {
                told.insert(format!("${facet}"), value);
            }
            entity.insert(property.name.clone(), Json::Object(told));
        }
        let mut bindings = Map::new();
        for way in &set.navigations {
            let (many, ty) = if way.one { ("$Nullable", &way.target) } else { ("$Collection", &way.target) };
            entity.insert(
                way.target.clone(),
                json!({ "$Kind": "NavigationProperty", "$Type": type_name(ty), many: true }),
            );
            bindings.insert(way.target.clone(), json!(way.target));
        }
        schema.insert(set.name.clone(), Json::Object(entity));
        let told = json!({
            "$Collection": true, "$Type": type_name(&set.name), "$NavigationPropertyBinding": bindings,
        });
        container.insert(set.name.clone(), told);
    }
    schema.insert(CONTAINER.into(), Json::Object(container));
    json!({ "$Version": "4.01", "$EntityContainer": format!("{NAMESPACE}.{CONTAINER}"), NAMESPACE: schema }).to_string()
}
