//! Documents as JSON-LD has them: objects with keywords, properties with lists of values.
//!
//! Arrays in arrays are one list, as in JSON-LD; a property's text is kept for what the metamodel
//! does not know. What is wrong here (a keyword given twice, a context that is a number) is wrong
//! before anything is known about models, so it ends the parse.

use crate::error::{ErrorName, ParsingError};
use crate::json::Json;
use std::collections::HashSet;

/// An object of a document.
#[derive(Debug, Default)]
pub(crate) struct Node<'a> {
    /// How many members the object has, keywords among them.
    pub(crate) members: usize,
    pub(crate) has_graph: bool,
    pub(crate) context: Option<Vec<Context<'a>>>,
    /// Empty if it is not a string.
    pub(crate) id: Option<&'a str>,
    /// A type that is not a string is empty.
    pub(crate) types: Option<Vec<&'a str>>,
    pub(crate) value: Option<Box<Value<'a>>>,
    /// Empty if it is not a string.
    pub(crate) language: Option<&'a str>,
    /// Keywords not named here.
    pub(crate) keywords: Vec<&'a str>,
    pub(crate) properties: Vec<Property<'a>>,
    /// Of an interface, its bytes without white space and without other interfaces inside.
    pub(crate) size: usize,
    /// The bytes of interfaces inside.
    inside: usize,
}

/// One component of a context.
#[derive(Debug)]
pub(crate) enum Context<'a> {
    /// A context somewhere else.
    Remote(&'a str),
    /// Terms defined in place.
    Local,
}

/// A property with its values.
#[derive(Debug)]
pub(crate) struct Property<'a> {
    pub(crate) name: &'a str,
    pub(crate) values: Vec<Value<'a>>,
    /// Whether they are written as an array.
    pub(crate) plural: bool,
    pub(crate) json: &'a Json,
}

/// A value of a property.
#[derive(Debug)]
pub(crate) enum Value<'a> {
    Null,
    Bool(bool),
    Number(f64),
    Text(&'a str),
    Node(Node<'a>),
}

type Fault = Box<ParsingError>;

fn fault<T>(name: ErrorName) -> Result<T, Fault> {
    Err(Box::new(ParsingError::new(name)))
}

/// The top-level values of a document, arrays taken apart.
pub(crate) fn values(json: &Json) -> Result<Vec<Value<'_>>, Fault> {
    let mut values = Vec::new();
    collect(json, &mut values)?;
    Ok(values)
}

fn collect<'a>(json: &'a Json, into: &mut Vec<Value<'a>>) -> Result<(), Fault> {
    match json {
        Json::Array(items) => items.iter().try_for_each(|item| collect(item, into)),
        single => {
            into.push(value(single)?);
            Ok(())
        }
    }
}

fn value(json: &Json) -> Result<Value<'_>, Fault> {
    Ok(match json {
        // An array is the value of `@value` only, where it is nothing that is allowed.
        Json::Null | Json::Array(_) => Value::Null,
        Json::Bool(flag) => Value::Bool(*flag),
        Json::Number(number) => Value::Number(number.as_f64().unwrap_or(f64::NAN)),
        Json::Text(text) => Value::Text(text),
        Json::Object(members) => Value::Node(Node::of(json, members)?),
    })
}

impl<'a> Node<'a> {
    fn of(json: &'a Json, members: &'a [(String, Json)]) -> Result<Self, Fault> {
        let mut node = Node { members: members.len(), ..Self::default() };
        for (name, json) in members {
            if name.starts_with('@') {
                node.keyword(name, json)?;
                continue;
            }
            let mut values = Vec::new();
            collect(json, &mut values)?;
            node.properties.push(Property { name, values, plural: matches!(json, Json::Array(_)), json });
        }
        let mut seen = HashSet::new();
        if !node.keywords.iter().all(|keyword| seen.insert(keyword)) {
            return fault(ErrorName::RepeatedKeyword);
        }
        node.inside = node.interfaces_inside();
        if node.is_interface() {
            node.size = json.size().saturating_sub(node.inside);
        }
        Ok(node)
    }

    fn keyword(&mut self, name: &'a str, json: &'a Json) -> Result<(), Fault> {
        let once = |given: bool, error: ErrorName| if given { fault(error) } else { Ok(()) };
        match name {
            "@graph" => {
                once(self.has_graph, ErrorName::RepeatedGraphProperty)?;
                self.has_graph = true;
                let items = std::slice::from_ref(json);
                let items = if let Json::Array(items) = json { items } else { items };
                for item in items {
                    let Json::Object(_) = item else { return fault(ErrorName::GraphNotObject) };
                    value(item)?;
                }
            }
            "@context" => {
                once(self.context.is_some(), ErrorName::RepeatedContextProperty)?;
                self.context = Some(context(json)?);
            }
            "@id" => {
                once(self.id.is_some(), ErrorName::RepeatedIdProperty)?;
                self.id = Some(text(json));
            }
            "@type" => {
                once(self.types.is_some(), ErrorName::RepeatedTypeProperty)?;
                self.types = Some(match json {
                    Json::Text(name) => vec![name],
                    Json::Array(items) => items.iter().map(text).collect(),
                    _ => vec![],
                });
            }
            "@value" => {
                once(self.value.is_some(), ErrorName::RepeatedValueProperty)?;
                self.value = Some(Box::new(value(json)?));
            }
            "@language" => {
                once(self.language.is_some(), ErrorName::RepeatedLanguageProperty)?;
                self.language = Some(text(json));
            }
            _ => self.keywords.push(name),
        }
        Ok(())
    }

    fn is_interface(&self) -> bool {
        self.types.as_ref().is_some_and(|types| {
            types.iter().any(|name| *name == "Interface" || name.starts_with("dtmi:dtdl:class:Interface;"))
        })
    }

    /// The bytes of interfaces that are defined in this object, at any depth.
    fn interfaces_inside(&self) -> usize {
        let inside = |value: &Value<'_>| match value {
            Value::Node(node) => node.size + node.inside,
            _ => 0,
        };
        self.properties.iter().flat_map(|property| &property.values).map(inside).sum()
    }
}

fn text(json: &Json) -> &str {
    if let Json::Text(text) = json { text } else { "" }
}

fn context(json: &Json) -> Result<Vec<Context<'_>>, Fault> {
    match json {
        Json::Array(items) => items.iter().map(component).collect(),
        single => Ok(vec![component(single)?]),
    }
}

fn component(json: &Json) -> Result<Context<'_>, Fault> {
    match json {
        Json::Text(id) => Ok(Context::Remote(id)),
        Json::Object(terms) => {
            local_terms(terms)?;
            Ok(Context::Local)
        }
        _ => fault(ErrorName::InvalidContext),
    }
}

/// Whether terms in place are well formed; what they mean does not matter, no version allows them.
fn local_terms(terms: &[(String, Json)]) -> Result<(), Fault> {
    let mut seen = HashSet::new();
    for (term, definition) in terms {
        if !seen.insert(term) {
            return fault(ErrorName::DuplicateTermInContextObject);
        }
        match definition {
            Json::Null | Json::Text(_) => {}
            Json::Object(members) => match members.iter().rfind(|(name, _)| name == "@id") {
                None => return fault(ErrorName::TermDefinitionMissingIdProperty),
                Some((_, Json::Text(_))) => {}
                Some(_) => return fault(ErrorName::TermDefinitionIdPropertyNotString),
            },
            _ => return fault(ErrorName::TermDefinitionNotStringOrObject),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, name: ErrorName) {
        let json = Json::parse(text).unwrap();
        assert_eq!(values(&json).map(|_| ()).unwrap_err().name, name, "{text}");
    }

    #[test]
    fn a_keyword_given_twice_is_refused_by_its_name() {
        check(r#"{"@id":"a","@id":"a"}"#, ErrorName::RepeatedIdProperty);
        check(r#"{"@type":[],"@type":[]}"#, ErrorName::RepeatedTypeProperty);
        check(r#"[{"a":[{"@set":1,"@set":1}]}]"#, ErrorName::RepeatedKeyword);
    }

    #[test]
    fn contexts_are_strings_or_objects_of_terms() {
        check(r#"{"@context":1}"#, ErrorName::InvalidContext);
        check(r#"{"@context":[[]]}"#, ErrorName::InvalidContext);
        check(r#"{"@context":{"a":"b","a":"b"}}"#, ErrorName::DuplicateTermInContextObject);
        check(r#"{"@context":{"a":1}}"#, ErrorName::TermDefinitionNotStringOrObject);
        check(r#"{"@context":{"a":{}}}"#, ErrorName::TermDefinitionMissingIdProperty);
        check(r#"{"@context":{"a":{"@id":1}}}"#, ErrorName::TermDefinitionIdPropertyNotString);
    }

    #[test]
    fn arrays_in_arrays_are_one_list() {
        let json = Json::parse("[1,[2,[3]],[]]").unwrap();
        assert_eq!(values(&json).unwrap().len(), 3);
    }
}
