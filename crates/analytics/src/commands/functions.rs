//! Stored functions.

use gantry_kql::ast::{ColumnDeclaration, ExprKind, Parameter, ParameterType};
use gantry_kql::command::{CreateMode, Properties, Text};
use gantry_kql::value::Type;
use serde_json::json;

use super::answers::{Answer, text};
use super::{Answered, Run, check_name, flag, only_known, text_property};
use crate::store::FunctionDefinition;
use crate::warehouse::{Rejected, rejected};

fn not_found(name: &str) -> Rejected {
    Rejected::NotFound { kind: "Function", name: name.to_owned() }
}

pub(super) fn create(
    run: &Run,
    mode: CreateMode,
    name: &str,
    properties: &Properties,
    parameters: &str,
    body: &Text,
) -> Answered {
    check_name("function", name)?;
    only_known(properties, &["folder", "docstring", "skipvalidation", "view"])?;
    let fresh = FunctionDefinition {
        parameters: parameters.to_owned(),
        body: body.text.clone(),
        folder: text_property(properties, "folder").unwrap_or_default(),
        docstring: text_property(properties, "docstring").unwrap_or_default(),
    };
    if !flag(properties, "skipvalidation")? {
        validate(run, &fresh, body)?;
    }
    let _ = flag(properties, "view")?;
    run.change(|snapshot| {
        let functions = &mut snapshot.definitions.functions;
        let mut fresh = fresh.clone();
        match (mode, functions.get(name)) {
            (CreateMode::Create, Some(_)) => {
                return Err(Rejected::Exists { kind: "Function", name: name.to_owned() });
            }
            (CreateMode::CreateIfNotExists, Some(_)) => return Ok(()),
            (CreateMode::Alter, None) => return Err(not_found(name)),
            // What a change does not say stays.
            (CreateMode::Alter | CreateMode::CreateOrAlter, Some(known)) => {
                if super::property(properties, "folder").is_none() {
                    fresh.folder.clone_from(&known.folder);
                }
                if super::property(properties, "docstring").is_none() {
                    fresh.docstring.clone_from(&known.docstring);
                }
            }
            (_, None) => {}
        }
        functions.insert(name.to_owned(), fresh);
        Ok(())
    })?;
    show(run, Some(name))
}

/// Binds the body as a call would, with null for each parameter. What takes tables can only be read until somebody
/// calls it.
///
/// What is bound is the command itself with `let f=` in place of its first word, so that a fault is where it is in the
/// command.
fn validate(run: &Run, function: &FunctionDefinition, body: &Text) -> Result<(), Rejected> {
    let before = run.text.get(..body.span.start as usize).unwrap_or_default();
    let end = body.span.end() as usize;
    let (Some(dot), Some(at)) = (before.find('.'), before.rfind(&function.parameters)) else { return Ok(()) };
    let blank = |text: &str| text.chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect::<String>();
    let start = format!("{}let f={}", blank(&before[..dot]), blank(run.text.get(dot + 6..at).unwrap_or_default()));
    let text = format!("{start}{}", run.text.get(at..end).unwrap_or_default());
    let place = |wrong: Vec<gantry_kql::Diagnostic>, text: &str| rejected(&wrong, text);
    let read = gantry_kql::parse_function(&function.parameters, &function.body);
    let Ok(read) = read else {
        let whole = format!("{text}; print 1");
        return gantry_kql::parse(&whole).map(|_| ()).map_err(|wrong| place(wrong, &whole));
    };
    let mut values = Vec::new();
    for parameter in &read.parameters {
        match parameter.ty {
            ParameterType::Table(_) => return Ok(()),
            ParameterType::Scalar(Type::String) => values.push("''".to_owned()),
            ParameterType::Scalar(Type::Unknown) => values.push("dynamic(null)".to_owned()),
            ParameterType::Scalar(ty) => values.push(format!("{ty}(null)")),
        }
    }
    let call = format!("f({})", values.join(", "));
    let world = run.world();
    let bind = |text: &str| {
        let none = std::collections::HashMap::new();
        gantry_kql::parse(text).and_then(|script| gantry_kql::bind(&script, &world, &none))
    };
    let as_table = format!("{text}; {call}");
    match bind(&as_table) {
        Ok(_) => Ok(()),
        // What yields a value and no table is a function too.
        Err(_) if bind(&format!("{text}; print {call}")).is_ok() => Ok(()),
        Err(wrong) => Err(place(wrong, &as_table)),
    }
}

pub(super) fn drop(run: &Run, names: &[String], if_exists: bool) -> Answered {
    run.change(|snapshot| {
        for name in names {
            if snapshot.definitions.functions.remove(name).is_none() && !if_exists {
                return Err(not_found(name));
            }
            super::tables::forget(&mut snapshot.definitions, &format!("function {name}"));
        }
        Ok(())
    })?;
    if run.name.ends_with("functions") {
        return show(run, None);
    }
    let mut answer = Answer::of("DropFunction");
    names.iter().for_each(|name| answer.row(&[("Name", text(name))]));
    Ok(answer.table())
}

pub(super) fn describe(run: &Run, name: &str, what: &str, said: &str) -> Answered {
    run.change(|snapshot| {
        let function = snapshot.definitions.functions.get_mut(name).ok_or_else(|| not_found(name))?;
        let place = if what == "folder" { &mut function.folder } else { &mut function.docstring };
        said.clone_into(place);
        Ok(())
    })?;
    show(run, Some(name))
}

pub(super) fn show(run: &Run, name: Option<&str>) -> Answered {
    let snapshot = run.snapshot();
    let functions = &snapshot.definitions.functions;
    if let Some(name) = name.filter(|name| !functions.contains_key(*name)) {
        return Err(not_found(name));
    }
    let mut answer = Answer::of("ShowFunctions");
    for (known, function) in functions.iter().filter(|(known, _)| name.is_none_or(|name| name == *known)) {
        answer.row(&[
            ("Name", text(known)),
            ("Parameters", text(&function.parameters)),
            ("Body", text(&function.body)),
            ("Folder", text(&function.folder)),
            ("DocString", text(&function.docstring)),
        ]);
    }
    Ok(answer.table())
}

/// Parameters as tools read them.
pub(super) fn parameters_json(function: &FunctionDefinition) -> serde_json::Value {
    let Ok(read) = gantry_kql::parse_function(&function.parameters, &function.body) else { return json!([]) };
    let parameter = |parameter: &Parameter| {
        let mut shown = json!({"Name": parameter.name.text});
        match &parameter.ty {
            ParameterType::Scalar(ty) => {
                shown["Type"] = json!(ty.system_name());
                shown["CslType"] = json!(ty.name());
            }
            ParameterType::Table(columns) => {
                let column = |column: &ColumnDeclaration| json!({"Name": column.name.text, "Type": column.ty.system_name(), "CslType": column.ty.name()});
                shown["Columns"] = columns.iter().map(column).collect();
            }
        }
        if let Some(ExprKind::Literal(value, _)) = parameter.default.as_ref().map(|default| &default.kind) {
            let ty = value.ty().unwrap_or(Type::Dynamic);
            shown["CslDefaultValue"] = json!(gantry_kql::print_literal(value, ty));
        }
        shown
    };
    read.parameters.iter().map(parameter).collect()
}
