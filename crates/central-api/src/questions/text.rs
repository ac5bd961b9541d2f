//! A plan as a text of KQL.

use std::fmt::Write as _;

use gantry_central::devices::TAG;
use gantry_central::language::compare::Comparison;
use gantry_central::language::{Condition, Literal};
use gantry_central::question::{Column, Function, Key, Kind, Plan, PlanTest, Source, TimeRange};

/// The devices that are asked about.
pub(super) struct Devices<'a> {
    /// Of this template.
    pub(super) template: &'a str,
    /// In one of these organizations; wherever without.
    pub(super) organizations: Option<Vec<String>>,
}

/// The query of a plan; its columns are those of the plan, in their order.
pub(super) fn query(plan: &Plan, devices: &Devices<'_>) -> String {
    let mut text = devices_text(devices);
    match plan.kind {
        Kind::Telemetry => telemetry(plan, &mut text),
        Kind::Properties => text.push_str("devices\n"),
    }
    if let Some(condition) = &plan.condition {
        let _ = writeln!(text, "| where {}", condition_text(condition));
    }
    if plan.is_aggregate() {
        aggregate(plan, &mut text)
    } else {
        rows(plan, &mut text)
    }
    text
}

/// `devices`: an id a row, with what is known of each beside its telemetry.
fn devices_text(devices: &Devices<'_>) -> String {
    let mut text = format!(
        "let devices = Twins\n| where isempty(ModuleId) and tostring(Tags.{TAG}.template) == {}\n",
        literal_text(devices.template)
    );
    if let Some(organizations) = &devices.organizations {
        let listed: Vec<String> = organizations.iter().map(|id| literal_text(id)).collect();
        // An empty list is nobody's.
        let listed = if listed.is_empty() { "\"\"".to_owned() } else { listed.join(", ") };
        let _ = writeln!(text, "| where tostring(Tags.{TAG}.organization) in ({listed})");
        text.push_str("| where isnotempty(DeviceId)\n");
    }
    let _ = writeln!(
        text,
        "| project DeviceId, simulated = tobool(Tags.{TAG}.simulated) == true, provisioned = isnotnull(LastActivityTime), \
         cloud = Tags.{TAG}.properties, Reported;"
    );
    text
}

fn telemetry(plan: &Plan, text: &mut String) {
    text.push_str("Telemetry\n");
    match plan.within {
        Some(TimeRange::Past(ms)) => drop(writeln!(text, "| where EnqueuedTime >= now() - {ms}ms")),
        Some(TimeRange::Between(from, until)) => {
            let _ = writeln!(text, "| where EnqueuedTime >= datetime({from}) and EnqueuedTime < datetime({until})");
        }
        None => {}
    }
    text.push_str("| where isempty(ModuleId)\n| join kind=inner (devices) on DeviceId\n");
    let mut named: Vec<String> = vec![];
    for source in sources(plan).filter(|source| matches!(source, Source::Telemetry { .. })) {
        let test = format!("isnotnull({})", value(source));
        if !named.contains(&test) {
            named.push(test);
        }
    }
    if !named.is_empty() {
        let _ = writeln!(text, "| where {}", named.join(" or "));
    }
}

/// Everything a plan looks at.
fn sources(plan: &Plan) -> impl Iterator<Item = &Source> {
    let tested = plan.condition.iter().flat_map(Condition::tests).map(PlanTest::source);
    plan.columns.iter().map(|column| &column.source).chain(tested).chain(&plan.group_by)
}

/// A value as an expression.
fn value(source: &Source) -> String {
    match source {
        Source::Id => "DeviceId".to_owned(),
        Source::Time => "EnqueuedTime".to_owned(),
        Source::Provisioned => "provisioned".to_owned(),
        Source::Simulated => "simulated".to_owned(),
        Source::Telemetry { component, name } => {
            let component = literal_text(component.as_deref().unwrap_or_default());
            format!("iff(ComponentName == {component}, Body[{}], dynamic(null))", literal_text(name))
        }
        Source::Property { component, name, is_cloud } => {
            let section = if *is_cloud { "cloud" } else { "Reported" };
            let part = component.as_ref().map_or_else(String::new, |part| format!("[{}]", literal_text(part)));
            let place = format!("{section}{part}[{}]", literal_text(name));
            // An acknowledgement has the value within.
            if *is_cloud { place } else { format!("iff(isnotnull({place}.ac), {place}.value, {place})") }
        }
    }
}

fn condition_text(condition: &Condition<PlanTest>) -> String {
    let all = |all: &[Condition<PlanTest>], word: &str| {
        let parts: Vec<String> = all.iter().map(condition_text).collect();
        format!("({})", parts.join(word))
    };
    match condition {
        Condition::Test(test) => test_text(test),
        Condition::All(parts) => all(parts, " and "),
        Condition::Any(parts) => all(parts, " or "),
    }
}

fn test_text(test: &PlanTest) -> String {
    match test {
        PlanTest::Compare(source, comparison, literal) => compare(source, *comparison, literal),
        PlanTest::In(source, list) => {
            let tests: Vec<String> = list.iter().map(|literal| compare(source, Comparison::Equal, literal)).collect();
            if tests.is_empty() { "false".to_owned() } else { format!("({})", tests.join(" or ")) }
        }
    }
}

/// A comparison within the type of the literal; what is not there is not equal to anything.
fn compare(source: &Source, comparison: Comparison, literal: &Literal) -> String {
    let value = value(source);
    let word = match comparison {
        Comparison::Equal => "==",
        Comparison::NotEqual => "!=",
        Comparison::Less => "<",
        Comparison::LessOrEqual => "<=",
        Comparison::Greater => ">",
        Comparison::GreaterOrEqual => ">=",
    };
    let typed = match (source, literal) {
        (_, Literal::Null) => {
            return match comparison {
                Comparison::Equal => format!("isnull({value})"),
                Comparison::NotEqual => format!("isnotnull({value})"),
                _ => "false".to_owned(),
            };
        }
        (Source::Time, Literal::Text(text)) => {
            return format!("EnqueuedTime {word} todatetime({})", literal_text(text));
        }
        (_, Literal::Boolean(flag)) => (format!("tobool({value})"), flag.to_string()),
        (_, Literal::Integer(number)) => (format!("todouble({value})"), format!("real({number})")),
        (_, Literal::Number(number)) => (format!("todouble({value})"), format!("real({number:e})")),
        (_, Literal::Text(text)) => (format!("tostring({value})"), literal_text(text)),
    };
    format!("{} {word} {}", typed.0, typed.1)
}

/// Rows as they are.
fn rows(plan: &Plan, text: &mut String) {
    let mut all: Vec<String> = plan.columns.iter().enumerate().map(|(at, one)| cell(at, &value(&one.source))).collect();
    // What rows are sorted by and do not show goes along until they are.
    let mut order = vec![];
    for (at, (key, is_descending)) in plan.order_by.iter().enumerate() {
        let name = match key {
            Key::Column(column) => format!("c{column}"),
            Key::Source(source) => {
                all.push(format!("o{at} = {}", value(source)));
                format!("o{at}")
            }
        };
        order.push(ordered(&name, *is_descending, plan_source(plan, key)));
    }
    let _ = writeln!(text, "| project {}", all.join(", "));
    end(plan, order, text);
}

fn cell(at: usize, value: &str) -> String {
    format!("c{at} = {value}")
}

/// Where a key of the order comes from, which says how it compares.
fn plan_source<'p>(plan: &'p Plan, key: &'p Key) -> Option<&'p Column> {
    match key {
        Key::Column(at) => plan.columns.get(*at),
        Key::Source(_) => None,
    }
}

fn aggregate(plan: &Plan, text: &mut String) {
    let mut summed = vec![];
    let mut by: Vec<String> = plan.group_by.iter().enumerate().map(|(at, source)| group(at, source)).collect();
    if let Some(ms) = plan.window_ms {
        by.push(format!("w = bin(EnqueuedTime, {ms}ms)"));
    }
    for (at, column) in plan.columns.iter().enumerate() {
        if let Some(function) = column.function {
            let name = match function {
                // With the time first.
                Function::First | Function::Last => format!("(c{at}, c{at}_value)"),
                _ => format!("c{at}"),
            };
            summed.push(format!("{name} = {}", function_text(function, &value(&column.source))));
        }
    }
    let _ = writeln!(text, "| summarize {} by {}", summed.join(", "), by.join(", "));
    if by.is_empty() {
        // No keys: one row.
        *text = text.trim_end().trim_end_matches("by").trim_end().to_owned();
        text.push('\n');
    }
    let mut all = vec![];
    for (at, column) in plan.columns.iter().enumerate() {
        let value = match (column.function, &column.source, plan.window_ms) {
            (Some(Function::First | Function::Last), ..) => format!("c{at}_value"),
            (Some(_), ..) => format!("c{at}"),
            (None, Source::Time, Some(ms)) => format!("w + {ms}ms"),
            (None, source, _) => plan
                .group_by
                .iter()
                .position(|of| of == source)
                .map_or_else(|| "\"\"".to_owned(), |at| format!("g{at}")),
        };
        all.push(cell(at, &value));
    }
    let mut order = vec![];
    for (at, (key, is_descending)) in plan.order_by.iter().enumerate() {
        let name = match key {
            Key::Column(column) => format!("c{column}"),
            Key::Source(source) => {
                let of = plan.group_by.iter().position(|of| of == source).unwrap_or_default();
                all.push(format!("o{at} = g{of}"));
                format!("o{at}")
            }
        };
        order.push(ordered(&name, *is_descending, plan_source(plan, key)));
    }
    let _ = writeln!(text, "| project {}", all.join(", "));
    end(plan, order, text);
}

/// A key that rows are put together by; values of telemetry and properties are compared as texts.
fn group(at: usize, source: &Source) -> String {
    match source {
        Source::Telemetry { .. } | Source::Property { .. } => format!("g{at} = tostring({})", value(source)),
        _ => format!("g{at} = {}", value(source)),
    }
}

fn function_text(function: Function, value: &str) -> String {
    match function {
        Function::Sum => format!("sum(todouble({value}))"),
        Function::Max => format!("max(todouble({value}))"),
        Function::Min => format!("min(todouble({value}))"),
        Function::Avg => format!("avg(todouble({value}))"),
        Function::Count => format!("countif(isnotnull({value}))"),
        // The row in which the value is, whatever rows without it there are before or behind.
        Function::First => {
            format!("arg_min(iff(isnotnull({value}), EnqueuedTime, datetime(9999-12-31)), {value})")
        }
        Function::Last => {
            format!("arg_max(iff(isnotnull({value}), EnqueuedTime, datetime(0001-01-01)), {value})")
        }
    }
}

/// A column in the order: what may be of any type is sorted by numbers first.
fn ordered(name: &str, is_descending: bool, column: Option<&Column>) -> String {
    let way = if is_descending { "desc" } else { "asc" };
    let is_dynamic = column.is_none_or(|column| {
        column.function.is_none() && matches!(column.source, Source::Telemetry { .. } | Source::Property { .. })
    });
    if is_dynamic { format!("todouble({name}) {way}, tostring({name}) {way}") } else { format!("{name} {way}") }
}

/// The order, the number of rows, and the columns that are shown.
fn end(plan: &Plan, order: Vec<String>, text: &mut String) {
    if order.is_empty() {
        let _ = writeln!(text, "| take {}", plan.limit);
    } else {
        let _ = writeln!(text, "| order by {}\n| take {}", order.join(", "), plan.limit);
    }
    let shown: Vec<String> = (0..plan.columns.len()).map(|at| format!("c{at}")).collect();
    let _ = write!(text, "| project {}", shown.join(", "));
}

/// A text as a literal: escapes of JSON are escapes of KQL.
fn literal_text(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use gantry_central::ids::DeviceTemplateId;
    use gantry_central::question::{parse, plan};
    use gantry_central::templates::{DeviceTemplate, TemplateWrite};
    use serde_json::json;

    use super::*;

    fn text(question: &str, organizations: Option<Vec<String>>) -> String {
        let part = json!({
            "@id": "dtmi:a:fan;1", "@type": "Interface",
            "contents": [{ "@type": "Telemetry", "name": "rate", "schema": "double" }],
        });
        let model = json!({
            "@id": "dtmi:a:pump;1", "@type": "Interface",
            "contents": [
                { "@type": "Telemetry", "name": "temp", "schema": "double" },
                { "@type": "Telemetry", "name": "state", "schema": "string" },
                { "@type": "Property", "name": "serial", "schema": "string" },
                { "@type": ["Property", "Cloud"], "name": "room", "schema": "string" },
                { "@type": "Component", "name": "fan", "schema": part },
            ],
        });
        let types = ["ModelDefinition", "DeviceModel"].map(str::to_owned).to_vec();
        let write = TemplateWrite { types, capability_model: model, ..TemplateWrite::default() };
        let id = DeviceTemplateId::parse("dtmi:a:template;1").unwrap();
        let template = DeviceTemplate::new(&id, write, &mut |_: &[_]| None).unwrap();
        let plan = plan(parse(question).unwrap(), &template.capabilities().unwrap()).unwrap();
        query(&plan, &Devices { template: id.as_str(), organizations })
    }

    #[track_caller]
    fn check(question: &str, parts: &[&str]) {
        let text = text(question, None);
        assert!(gantry_kql::parse(&text).is_ok(), "{text}");
        for part in parts {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn a_question_is_one_query() {
        check(
            "SELECT $id, temp AS t, fan.rate FROM dtmi:a:template;1 WHERE temp > 5 AND state = 'on' ORDER BY t DESC",
            &[
                "| where isnotnull(iff(ComponentName == \"\", Body[\"temp\"], dynamic(null))) or",
                "iff(ComponentName == \"fan\", Body[\"rate\"], dynamic(null))",
                "todouble(iff(ComponentName == \"\", Body[\"temp\"], dynamic(null))) > real(5)",
                "tostring(iff(ComponentName == \"\", Body[\"state\"], dynamic(null))) == \"on\"",
                "| order by todouble(c1) desc, tostring(c1) desc",
                "| take 10000",
            ],
        );
        check(
            "SELECT TOP 7 AVG(temp), FIRST(temp) FROM dtmi:a:template;1 WHERE WITHIN_WINDOW(P1D) GROUP BY WINDOW(PT3H), $id ORDER BY $ts",
            &[
                "now() - 86400000ms",
                "by g0 = DeviceId, w = bin(EnqueuedTime, 10800000ms)",
                "c0 = w + 10800000ms",
                "| take 7",
            ],
        );
        check("SELECT COUNT(temp) FROM dtmi:a:template;1", &["| summarize c0 = countif(", "now() - 2592000000ms"]);
        check(
            "SELECT $id, serial, room FROM dtmi:a:template;1 WHERE room = 'A4' OR $simulated = true",
            &[
                "Reported[\"serial\"]",
                "tostring(cloud[\"room\"]) == \"A4\" or tobool(simulated) == true",
                "| take 1000",
            ],
        );
    }

    #[test]
    fn what_somebody_wrote_stays_a_literal() {
        for strange in
            ["\"", "\\", "\\\" or true or \\\"", "| take 1", "\n| project Body", "'; .drop table T", "\u{7}ä"]
        {
            let question = format!("SELECT temp FROM dtmi:a:template;1 WHERE state = {}", json!(strange));
            let Ok(read) = parse(&question) else { continue };
            let text = text(&question, Some(vec![strange.to_owned()]));
            assert!(read.condition.is_some() && gantry_kql::parse(&text).is_ok(), "{text}");
            assert!(text.contains(&format!("organization) in ({})", json!(strange))), "{text}");
        }
    }

    #[test]
    fn who_sees_no_organization_asks_about_no_device() {
        assert!(text("SELECT temp FROM dtmi:a:template;1", Some(vec![])).contains("in (\"\")"));
    }
}
