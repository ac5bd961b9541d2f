//! What names stand for: tables and functions of a catalogue, parameters, scopes.

use gantry_kql::bound::{Bound, Column, ExprKind, Rel, RelKind};
use gantry_kql::value::{Type, Value};
use gantry_kql::{Catalog, Code, Diagnostic, StoredFunction, bind, parse};
use std::collections::HashMap;

/// Two databases with a few tables and functions.
struct Plant;

fn columns(text: &str) -> Vec<Column> {
    text.split(',')
        .map(|column| {
            let (name, ty) = column.split_once(':').unwrap();
            Column::new(name, Type::from_name(ty).unwrap())
        })
        .collect()
}

impl Catalog for Plant {
    fn default_database(&self) -> String {
        "telemetry".into()
    }

    fn database(&self, name: &str) -> Option<String> {
        ["telemetry", "Archive"].into_iter().find(|known| known.eq_ignore_ascii_case(name)).map(Into::into)
    }

    fn tables(&self, database: &str) -> Vec<String> {
        let names: &[&str] = if database == "telemetry" { &["Motors", "MotorEvents", "Sites"] } else { &["Motors"] };
        names.iter().map(ToString::to_string).collect()
    }

    fn table(&self, database: &str, name: &str) -> Option<Vec<Column>> {
        match (database, name) {
            ("telemetry", "Motors") => Some(columns("id:string,speed:real,t:datetime")),
            ("telemetry", "MotorEvents") => Some(columns("id:string,kind:string,body:dynamic")),
            ("telemetry", "Sites") => Some(columns("site:string,id:string")),
            ("Archive", "Motors") => Some(columns("id:string,speed:long")),
            _ => None,
        }
    }

    fn external_table(&self, _: &str, name: &str) -> Option<Vec<Column>> {
        (name == "Files").then(|| columns("line:string"))
    }

    fn materialized_view(&self, _: &str, name: &str) -> Option<Vec<Column>> {
        (name == "Latest").then(|| columns("id:string,t:datetime"))
    }

    fn function(&self, _: &str, name: &str) -> Option<StoredFunction> {
        let (parameters, body) = match name {
            "Fast" => ("(least:real=1.0)", "{ Motors | where speed > least }"),
            "WithSite" => ("(T:(id:string), s:string)", "{ T | extend site = s }"),
            "Broken" => ("()", "{ Motors | wher x }"),
            "Wrong" => ("()", "{ Motors | where nothing }"),
            _ => return None,
        };
        Some(StoredFunction { parameters: parameters.into(), body: body.into() })
    }

    fn is_this_cluster(&self, name: &str) -> bool {
        name == "here"
    }

    fn resolve_open(&self, rel: &Rel) -> Option<Vec<Column>> {
        let RelKind::Evaluate { plugin, .. } = &rel.kind else { return None };
        (plugin.name == "bag_unpack").then(|| {
            let mut columns = rel.schema.columns.clone();
            columns.push(Column::new("pressure", Type::Real));
            columns
        })
    }
}

fn bound_with(text: &str, parameters: &[(&str, &str)]) -> Result<Bound, Diagnostic> {
    let script = parse(text).map_err(|mut faults| faults.remove(0))?;
    let parameters: HashMap<String, String> =
        parameters.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    bind(&script, &Plant, &parameters).map_err(|mut faults| faults.remove(0))
}

/// The columns of the last result.
#[track_caller]
fn yields(text: &str, wanted: &str) {
    let bound = bound_with(text, &[]).unwrap_or_else(|fault| panic!("{text}: {fault} at {}", fault.position(text)));
    let schema = &bound.queries.last().unwrap().results.last().unwrap().rel.schema;
    let names: Vec<String> = schema.columns.iter().map(ToString::to_string).collect();
    assert_eq!(names.join(","), wanted, "{text}");
}

#[track_caller]
fn refused(text: &str, code: Code) -> Diagnostic {
    match bound_with(text, &[]) {
        Ok(_) => panic!("{text} is bound"),
        Err(fault) => {
            assert_eq!(fault.code, code, "{text}: {fault}");
            fault
        }
    }
}

#[test]
fn tables_are_found_in_their_database() {
    yields("Motors", "id:string,speed:real,t:datetime");
    yields("database('archive').Motors", "id:string,speed:long");
    yields("cluster('here').database('Archive').Motors | project speed", "speed:long");
    yields("database().Motors | project id", "id:string");
    yields("alias database a = database('Archive'); database('a').Motors", "id:string,speed:long");
    yields("table('Sites')", "site:string,id:string");
    yields("external_table('Files')", "line:string");
    yields("Latest | join (materialized_view('Latest')) on id | project t1", "t1:datetime");
    refused("Nothing", Code::UnknownName);
    refused("motors", Code::UnknownName);
    refused("database('x').Motors", Code::UnknownName);
    refused("cluster('there').database('a').T", Code::NotSupported);
    refused("Motors | where Speed > 1", Code::UnknownName);
}

#[test]
fn wildcards_stand_for_tables_and_views() {
    yields("union withsource=s Motor*", "s:string,id:string,speed:real,t:datetime,kind:string,body:dynamic");
    yields("union Motors, database('Archive').*", "id:string,speed_real:real,speed_long:long,t:datetime");
    yields(
        "let MotorView = view () { print q = 1 }; let MotorOther = () { print z = 1 }; union Motor* | project q",
        "q:long",
    );
    yields("union isfuzzy=true Sites, Nothing", "site:string,id:string");
    refused("union Sites, Nothing", Code::UnknownName);
    yields("find in (Motors, Sites) where id == 'x'", "source_:string,id:string,pack_:dynamic");
    yields("search in (Sites) 'x'", "$table:string,site:string,id:string");
}

#[test]
fn functions_are_expanded_with_their_arguments() {
    yields("Fast | project id", "id:string");
    yields("Fast(2.5) | count", "Count:long");
    yields("Sites | invoke WithSite('x')", "site:string,id:string");
    yields("WithSite(s='x', T=Motors) | project site", "site:string");
    yields("let Fast = (n:long) { print n }; Fast(1)", "print_0:long");
    yields(
        "let f = (x:long) { x + 1 }; Motors | extend y = f(strlen(id)), z = f(x=2)",
        "id:string,speed:real,t:datetime,y:long,z:long",
    );
    refused("Fast('x')", Code::WrongType);
    refused("Fast(1, 2)", Code::WrongType);
    refused("print x = 1 | invoke WithSite('x')", Code::WrongType);
    refused("Sites | invoke WithSite()", Code::WrongType);
    refused("Nothing(1)", Code::UnknownFunction);
    refused("Broken()", Code::Syntax);
    // A fault within a stored function is reported where it is called.
    let text = "Motors | take 1 | union (Wrong() | take 2)";
    assert_eq!(refused(text, Code::UnknownName).span.of(text), "Wrong()");
}

#[test]
fn a_value_of_a_row_stays_with_its_row() {
    refused(
        "let f = (x:real) { toscalar(Motors | where speed == x | count) }; Motors | extend y = f(speed)",
        Code::NotConstant,
    );
    refused("let f = (n:long) { Motors | take n }; Motors | where strlen(id) in (f(strlen(id)))", Code::NotConstant);
    refused("Motors | take speed", Code::UnknownName);
    yields("let n = 3; Motors | take n | project id", "id:string");
}

#[test]
fn parameters_get_the_values_that_were_sent() {
    let text = "declare query_parameters(n:long=10, s:string, t:datetime=datetime(2024-01-01), d:dynamic=dynamic(null)); \
                print a = n, b = s, c = t, e = d";
    let values = |parameters: &[(&str, &str)]| {
        let bound = bound_with(text, parameters)?;
        let RelKind::Print { values } = &bound.queries[0].results[0].rel.kind else { panic!() };
        Ok::<Vec<String>, Diagnostic>(values.iter().map(|value| value.as_literal().unwrap().to_string()).collect())
    };
    assert_eq!(values(&[("s", "'a b'")]).unwrap(), ["10", "a b", "2024-01-01T00:00:00Z", ""]);
    assert_eq!(values(&[("s", "plain; drop"), ("n", "-3")]).unwrap()[..2], ["-3", "plain; drop"]);
    assert_eq!(
        values(&[("s", ""), ("n", "long(7)"), ("t", "datetime(2025-05-05)"), ("d", "{\"a\":[1]}")]).unwrap(),
        ["7", "", "2025-05-05T00:00:00Z", "{\"a\":[1]}"]
    );
    assert_eq!(values(&[]).unwrap_err().code, Code::Parameter);
    assert_eq!(values(&[("s", "x"), ("n", "1; drop")]).unwrap_err().code, Code::Parameter);
    let options = bound_with("set notruncation; set query_take_max_records = 5; print 1", &[]).unwrap().options;
    assert_eq!(
        options,
        [("notruncation".into(), Value::Bool(true)), ("query_take_max_records".into(), Value::Long(5))]
    );
}

#[test]
fn scopes_hide_and_do_not_leak() {
    yields("let x = 1; let f = () { let x = 'a'; x }; print f(), x", "print_0:string,print_1:long");
    refused("let f = () { let inner = 1; inner }; print inner", Code::UnknownName);
    refused("let x = 1; let x = 2; print x", Code::DuplicateName);
    refused("let f = () { later }; let later = 1; print f()", Code::UnknownName);
    refused("let f = () { f() }; print f()", Code::UnknownFunction);
    // A column hides a variable.
    yields("let id = 5; Motors | project x = id", "x:string");
}

#[test]
fn restricted_access_leaves_what_is_listed() {
    yields("restrict access to (Motors, Sit*); Motors | join (Sites) on id | project site", "site:string");
    yields("let V = () { MotorEvents | project kind }; restrict access to (V); V", "kind:string");
    refused("restrict access to (Motors); Sites", Code::UnknownName);
    refused("restrict access to (Motors); table('Sites')", Code::UnknownName);
    refused("restrict access to (Motors); database('Archive').Motors", Code::UnknownName);
    yields("restrict access to (database('Archive').*); database('Archive').Motors", "id:string,speed:long");
    refused("let V = () { Sites }; restrict access to (Motors); V", Code::UnknownName);
    refused("restrict access to (Motors); let f = () { Sites }; f()", Code::UnknownName);
    yields("restrict access to (Motors); union * | project id", "id:string");
}

#[test]
fn schemas_that_rows_tell_are_asked_for() {
    yields("MotorEvents | evaluate bag_unpack(body) | where pressure > 1", "id:string,kind:string,pressure:real");
    let bound = bound_with("Motors | evaluate pivot(id, sum(speed)) | where x > 1", &[]).unwrap();
    let rel = &bound.queries[0].results[0].rel;
    assert!(rel.schema.open);
    let RelKind::Where { predicate, .. } = &rel.kind else { panic!() };
    assert!(predicate.any(&mut |part| matches!(&part.kind, ExprKind::Late(name) if &**name == "x")));
}

#[test]
fn what_is_shared_is_evaluated_once() {
    let bound = bound_with(
        "let m = materialize(Motors | take 1); let n = toscalar(m | count); union m, m | where speed > n",
        &[],
    )
    .unwrap();
    assert_eq!((bound.materialized.len(), bound.scalars.len()), (1, 1));
    let bound = bound_with("Motors | fork (count) slow = (where speed < 1) | render table", &[]).unwrap();
    assert_eq!(bound.materialized.len(), 1);
    let results = &bound.queries[0].results;
    assert_eq!((results.len(), results[1].name.as_deref()), (2, Some("slow")));
    assert_eq!(bound.queries[0].render.as_ref().unwrap().kind, "table");
}

#[test]
fn what_makes_no_sense_is_refused_with_its_code() {
    for (text, code) in [
        ("Motors | extend x = row_number()", Code::NotSerialized),
        ("Motors | where prev(speed) > 1", Code::NotSerialized),
        ("Motors | scan with (step s: true;)", Code::NotSerialized),
        ("Motors | where speed", Code::WrongType),
        ("Motors | where id > 'a'", Code::WrongType),
        ("Motors | where speed has 'a'", Code::WrongType),
        ("Motors | where t = now()", Code::Syntax),
        ("MotorEvents | summarize count() by body", Code::WrongType),
        ("MotorEvents | sort by body", Code::WrongType),
        ("Motors | summarize id, count()", Code::WrongShape),
        ("Motors | extend x = count()", Code::WrongShape),
        ("Motors | summarize sum(count())", Code::WrongShape),
        ("Motors | project id, id", Code::DuplicateName),
        ("Motors | join (Sites) on speed", Code::UnknownName),
        ("Motors | join (database('Archive').Motors) on $left.id > $right.id", Code::WrongShape),
        ("Motors | make-series count() on t step 1", Code::WrongType),
        ("Motors | mv-expand speed", Code::WrongType),
        ("print 1 + 'a'", Code::WrongType),
        ("print strlen(1)", Code::WrongType),
        ("print strlen()", Code::WrongType),
        ("print x = int(abc)", Code::WrongType),
        ("print nothing(1)", Code::UnknownFunction),
        ("Motors | evaluate nothing()", Code::UnknownFunction),
        ("Motors | extend x = (Sites)", Code::WrongShape),
        ("1 + 1", Code::WrongShape),
        ("take 1", Code::UnknownName),
        ("datatable(a:long, b:long) [1, 2, 3]", Code::WrongType),
        ("datatable(a:number) []", Code::WrongType),
        ("declare pattern p; p('x').y", Code::NotSupported),
        ("Motors | parse id with a:long 'x' a:long", Code::DuplicateName),
    ] {
        if parse(text).is_err() {
            assert!(matches!(code, Code::Syntax | Code::UnknownName), "{text}");
            continue;
        }
        refused(text, code);
    }
}
