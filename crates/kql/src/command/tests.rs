//! Commands and their parts.

use super::*;
use crate::value::Type;

#[track_caller]
fn kind(text: &str) -> Kind {
    match parse(text) {
        Ok(command) => command.kind,
        Err(faults) => panic!("{text}: {} at {}", faults[0], faults[0].position(text)),
    }
}

#[test]
fn shows_are_read_with_what_narrows_them() {
    assert_eq!(kind(".show version"), Kind::ShowVersion);
    assert_eq!(kind("// comment\n .show databases"), Kind::ShowDatabases { name: None, detail: None });
    assert_eq!(
        kind(".show databases (['a b'], c) schema as json"),
        Kind::ShowSchema { databases: vec!["a b".into(), "c".into()], current: false, form: SchemaForm::Json }
    );
    assert_eq!(
        kind(".show database schema"),
        Kind::ShowSchema { databases: vec![], current: true, form: SchemaForm::Rows }
    );
    assert_eq!(
        kind(".show schema as json"),
        Kind::ShowSchema { databases: vec![], current: false, form: SchemaForm::Json }
    );
    assert_eq!(
        kind(".show database D schema as csl script with (ShowObfuscatedStrings = true)"),
        Kind::ShowSchema { databases: vec!["D".into()], current: false, form: SchemaForm::Script }
    );
    assert_eq!(kind(".show table T cslschema"), Kind::ShowTable { name: "T".into(), form: TableForm::Csl });
    assert_eq!(
        kind(".show table ['a b'] schema as json"),
        Kind::ShowTable { name: "a b".into(), form: TableForm::Json }
    );
    assert_eq!(
        kind(".show table T policy update"),
        Kind::ShowPolicy { entity: Entity::Table("T".into()), policy: "update".into() }
    );
    assert_eq!(
        kind(".show table T ingestion csv mapping \"M\""),
        Kind::ShowMappings { entity: Entity::Table("T".into()), format: Some("csv".into()), name: Some("M".into()) }
    );
    assert_eq!(kind(".show running queries"), Kind::ShowQueries { running: true });
}

#[test]
fn operators_may_follow() {
    let command = parse(".show tables | where TableName has 'x' | count").unwrap();
    assert_eq!(command.name, ".show tables");
    let schema = crate::bound::Schema::of(vec![Column::new("TableName", Type::String)]);
    let bound = crate::bind_over(&command.pipeline.unwrap(), &crate::EmptyCatalog, schema).unwrap();
    assert_eq!(bound.queries[0].results[0].rel.schema.columns[0].to_string(), "Count:long");
    assert!(parse(".show tables where x").is_ok_and(|command| command.kind == Kind::NotImplemented));
    assert!(parse(".show tables | whre x").is_err());
}

#[test]
fn tables_are_made_and_changed() {
    let columns = vec![Column::new("a", Type::Long), Column::new("b c", Type::String)];
    for (text, mode) in [
        (".create table T (a:long, ['b c']:string)", TableMode::Create),
        (".create-merge table T (a:long, ['b c']:string)", TableMode::CreateMerge),
        (".alter table T (a:long, ['b c']:string)", TableMode::Alter),
        (".alter-merge table T (a:long, ['b c']:string)", TableMode::AlterMerge),
    ] {
        let wanted = Kind::CreateTables { mode, tables: vec![("T".into(), columns.clone())], properties: vec![] };
        assert_eq!(kind(text), wanted);
    }
    let Kind::CreateTables { properties, .. } = kind(".create table T (a:int) with (docstring='x', folder=\"y\")")
    else {
        panic!()
    };
    assert_eq!(properties[1], ("folder".into(), Value::String("y".into())));
    assert_eq!(
        kind(".drop tables (A, ['B C']) ifexists"),
        Kind::DropTables { names: vec!["A".into(), "B C".into()], if_exists: true }
    );
    assert_eq!(
        kind(".rename tables A=B, C=D"),
        Kind::RenameTables(vec![("A".into(), "B".into()), ("C".into(), "D".into())])
    );
    assert!(parse(".create table T (a:long, a:long)").is_err());
    assert!(parse(".create table T (a:number)").is_err());
    assert!(parse(".create table").is_err());
}

#[test]
fn data_and_queries_are_texts_with_a_place() {
    let text = ".ingest inline into table T with (format='csv') <|\n1,\"a // b\"\n2,'c\n";
    let Kind::IngestInline { table, data, .. } = kind(text) else { panic!() };
    assert_eq!((table.as_str(), data.text.as_str()), ("T", "1,\"a // b\"\n2,'c"));
    assert_eq!(data.span.of(text), data.text);
    let text = ".set-or-append async ['T'] with (folder=\"a <| b\") <| U | where x == '<|'";
    let Kind::IngestQuery { mode, asynchronous, table, query, .. } = kind(text) else { panic!() };
    assert_eq!((mode, asynchronous, table.as_str()), (IngestMode::SetOrAppend, true, "T"));
    assert_eq!(query.text, "U | where x == '<|'");
    assert_eq!(query.span.of(text), query.text);
    assert!(parse(".append T <|").is_err());
}

#[test]
fn functions_and_views_keep_their_texts() {
    let text = ".create-or-alter function with (docstring='d') f(a:long, T:(*)) { let x = 1; T | take x }";
    let Kind::CreateFunction { mode, name, parameters, body, .. } = kind(text) else { panic!() };
    assert_eq!((mode, name.as_str(), parameters.as_str()), (CreateMode::CreateOrAlter, "f", "(a:long, T:(*))"));
    assert_eq!(body.text, "{ let x = 1; T | take x }");
    assert!(crate::parse_function(&parameters, &body.text).is_ok());
    let text =
        ".create async ifnotexists materialized-view with (backfill=true) V on table T { T | summarize count() by a }";
    let Kind::CreateView { mode, asynchronous, source, query, .. } = kind(text) else { panic!() };
    assert_eq!((mode, asynchronous, source), (CreateMode::CreateIfNotExists, true, Entity::Table("T".into())));
    assert_eq!(query.text, "T | summarize count() by a");
    assert_eq!(query.span.of(text), query.text);
}

#[test]
fn policies_and_mappings_are_read() {
    let Kind::CreateMapping { name, mapping, format, .. } =
        kind(".create table T ingestion json mapping 'M' '[{\"Column\":\"a\"' ',\"Properties\":{}}]'")
    else {
        panic!()
    };
    assert_eq!((name.as_str(), format.as_str()), ("M", "json"));
    assert_eq!(mapping, "[{\"Column\":\"a\",\"Properties\":{}}]");
    let Kind::AlterPolicy { policy, value, merge, .. } =
        kind(".alter-merge table T policy retention softdelete = 10d recoverability = disabled")
    else {
        panic!()
    };
    assert_eq!((policy.as_str(), merge), ("retention", true));
    let PolicyValue::Settings(settings) = value else { panic!() };
    assert_eq!(settings[1], ("recoverability".into(), Value::String("disabled".into())));
    let Kind::AlterPolicy { value, .. } = kind(".alter database D policy streamingingestion enable") else { panic!() };
    assert_eq!(value, PolicyValue::Switch(true));
}

#[test]
fn a_script_is_taken_apart_at_its_commands() {
    let text = ".execute database script with (ContinueOnErrors=true) <|\n.create table T (a:long)\n\n// x\n.create function f() {\n  T\n  | where a > .5e0\n}\n";
    let Kind::ExecuteScript { commands, .. } = kind(text) else { panic!() };
    assert_eq!(commands.len(), 2);
    assert!(commands[0].text.starts_with(".create table T"));
    assert_eq!(commands[1].span.of(text), commands[1].text);
}

#[test]
fn roles_are_given_taken_and_set() {
    let of = |change, entity, role: &str, principals: &[&str], notes: &str| Kind::Roles {
        change,
        entity,
        role: role.into(),
        principals: principals.iter().map(|one| (*one).into()).collect(),
        notes: notes.into(),
    };
    let database = || Entity::Database(Some("D".into()));
    assert_eq!(
        kind(".add database D viewers ('a=1', 'a=2') 'note'"),
        of(RoleChange::Add, database(), "viewers", &["a=1", "a=2"], "note")
    );
    assert_eq!(kind(".set database D viewers none"), of(RoleChange::Set, database(), "viewers", &[], ""));
    let table = Entity::Table("D.T".into());
    assert_eq!(kind(".drop table D.T admins ('a=1')"), of(RoleChange::Drop, table, "admins", &["a=1"], ""));
    assert_eq!(kind(".drop table T"), Kind::DropTables { names: vec!["T".into()], if_exists: false });
}

#[test]
fn secrets_are_masked_and_nothing_else() {
    assert_eq!(masked("a h'secret' H@\"x\" 'h' push'x' // h'c'"), "a h'*****' h'*****' 'h' push'x' // h'c'");
    assert_eq!(masked("h'open"), "h'open");
}

#[test]
fn what_is_not_implemented_has_a_name() {
    for (text, name) in [
        (".add cluster blockedprincipals 'x'", ".add cluster blockedprincipals"),
        (".show graph_models details", ".show graph_models details"),
        (".purge table T records <| where x", ".purge table"),
        (".make graph_snapshot S from M", ".make graph_snapshot"),
    ] {
        let command = parse(text).unwrap();
        assert_eq!((command.kind, command.name.as_str()), (Kind::NotImplemented, name));
    }
    for wrong in ["", "show tables", ".", "..", ".  'x'", "T | take 1"] {
        assert!(parse(wrong).is_err(), "{wrong}");
    }
    assert!(is_command(" // a\n .show") && !is_command("T | take 1"));
}
