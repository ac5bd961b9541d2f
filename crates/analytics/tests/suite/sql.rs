//! SQL over small tables, against what PostgreSQL 15 answers.
//!
//! `sql/cases.txt` holds statements with their rows as `psql -At` printed them over the tables of `sql/tables.sql`
//! (null is `~`); lines that begin with `!` name the state of the error. The tables here hold the same rows.

use std::fmt::Write;
use std::sync::Arc;

use gantry_analytics::column::Builder;
use gantry_analytics::pushdown::Need;
use gantry_analytics::{
    By, Cancel, Chunk, Context, Error, Flow, Limits, Result, Source, SqlAsk, SqlRejected, Warehouse,
};
use gantry_kql::bound::Column;
use gantry_kql::value::{DateTime, Dynamic, Type, Value};
use gantry_sql::statement::{Statement, split};
use gantry_sql::{Environment, Parameter};

/// A table of rows.
pub struct Rows(pub Vec<(&'static str, Type)>, pub Vec<Vec<Value>>);

impl Source for Rows {
    fn about(&self) -> &'static str {
        "rows of a test"
    }

    fn columns(&self) -> Result<Vec<Column>> {
        Ok(self.0.iter().map(|(name, ty)| Column::new(*name, *ty)).collect())
    }

    fn scan(&self, _: &[Column], _: &Need, _: &Context, sink: &mut dyn FnMut(Chunk) -> Result<Flow>) -> Result<Flow> {
        // Two chunks, so that nothing relies on one.
        for part in self.1.chunks(self.1.len().div_ceil(2).max(1)) {
            let columns = self.0.iter().enumerate().map(|(at, (_, ty))| {
                let mut builder = Builder::new(*ty, part.len());
                part.iter().for_each(|row| builder.push(row[at].clone()));
                builder.finish()
            });
            if sink(Chunk::of(columns.collect(), part.len()))? == Flow::Enough {
                return Ok(Flow::Enough);
            }
        }
        Ok(Flow::More)
    }
}

fn text(value: &str) -> Value {
    Value::String(value.into())
}

fn long(value: i64) -> Value {
    Value::Long(value)
}

fn at(value: &str) -> Value {
    Value::DateTime(DateTime::parse(value).unwrap())
}

fn json(value: &str) -> Value {
    Value::Dynamic(Dynamic::parse_json(value).unwrap())
}

fn warehouse() -> Warehouse {
    let telemetry = Rows(
        vec![
            ("ts", Type::DateTime),
            ("device", Type::String),
            ("temperature", Type::Real),
            ("n", Type::Long),
            ("ok", Type::Bool),
            ("body", Type::Dynamic),
        ],
        vec![
            vec![
                at("2024-01-01T00:00:00Z"),
                text("a"),
                Value::Real(20.5),
                long(1),
                Value::Bool(true),
                json(r#"{"v": 1, "tags": ["x", "y"], "s": "one"}"#),
            ],
            vec![
                at("2024-01-01T00:05:00Z"),
                text("a"),
                Value::Real(21.5),
                long(2),
                Value::Bool(false),
                json(r#"{"v": 2.5, "in": {"deep": true}}"#),
            ],
            vec![at("2024-01-01T01:00:00Z"), text("b"), Value::Null, long(3), Value::Null, json(r#"{"s": "three"}"#)],
            vec![
                at("2024-01-02T00:00:00Z"),
                text("b"),
                Value::Real(-3.25),
                Value::Null,
                Value::Bool(true),
                json(r#"[1, 2, 3]"#),
            ],
            vec![at("2024-01-31T12:30:15.5Z"), text("c"), Value::Real(100.0), long(5), Value::Bool(true), Value::Null],
            vec![
                at("2024-02-29T23:59:59Z"),
                text("C_d"),
                Value::Real(0.0),
                long(-6),
                Value::Bool(false),
                json(r#"{"v": null}"#),
            ],
        ],
    );
    let sites = Rows(
        vec![("device", Type::String), ("site", Type::String), ("capacity", Type::Int)],
        vec![
            vec![text("a"), text("north"), Value::Int(10)],
            vec![text("b"), text("south"), Value::Null],
            vec![text("z"), text("south"), Value::Int(30)],
        ],
    );
    let tables: [(String, Arc<dyn Source>); 2] =
        [("Telemetry".into(), Arc::new(telemetry)), ("Sites".into(), Arc::new(sites))];
    Warehouse::new("telemetry", tables)
}

fn run(warehouse: &Warehouse, statement: &str, parameters: &[Parameter]) -> std::result::Result<String, String> {
    let ran = warehouse.with_stack(|| {
        let all = split(statement).map_err(SqlRejected::Statement)?;
        let Some(Statement::Query(query)) = all.first() else { panic!("{statement} is no query") };
        warehouse.sql(&SqlAsk {
            query,
            parameters,
            by: By::default(),
            environment: Environment::NONE,
            now: DateTime::parse("2024-03-01T00:00:00Z").unwrap().0,
            limits: Limits::default(),
            cancel: Cancel::default(),
        })
    });
    let rows = match ran {
        Ok(rows) => rows,
        Err(SqlRejected::Statement(error)) => return Err(format!("{} {}", error.state, error.message)),
        Err(SqlRejected::Run(error)) => return Err(error.to_string()),
    };
    match rows.table.failure {
        Some(Error::Sql { state, message }) => return Err(format!("{state} {message}")),
        Some(error) => return Err(format!("{error}")),
        None => {}
    }
    let mut out = String::new();
    for chunk in &rows.table.chunks {
        for row in 0..chunk.rows {
            let values: Vec<String> = rows
                .columns
                .iter()
                .zip(&chunk.columns)
                .map(|(column, values)| match values.value(row) {
                    Value::Null => "~".to_owned(),
                    value => gantry_sql::text::print(&value, column.ty),
                })
                .collect();
            writeln!(out, "{}", values.join("|")).unwrap();
        }
    }
    Ok(out)
}

#[test]
fn statements_answer_what_postgresql_answers() {
    let warehouse = warehouse();
    let (mut wrong, mut count) = (Vec::new(), 0);
    for case in include_str!("../sql/cases.txt").split("\n\n").filter(|case| !case.trim().is_empty()) {
        let (statement, expected) = case.split_once("\n----").unwrap_or((case, ""));
        let expected = expected.strip_prefix('\n').unwrap_or(expected).trim_end();
        count += 1;
        let got = match run(&warehouse, statement.trim_start_matches('\n'), &[]) {
            Ok(rows) => rows.trim_end().to_owned(),
            Err(error) => format!("!{error}"),
        };
        let same = match expected.strip_prefix('!') {
            Some(state) => got.strip_prefix('!').is_some_and(|error| error.starts_with(state)),
            None => got == expected,
        };
        if !same {
            wrong.push(format!("{statement}\n-- expected\n{expected}\n-- got\n{got}\n"));
        }
    }
    assert!(count > 150, "{count} statements");
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn statements_of_clients_that_look_around_are_answered() {
    let warehouse = warehouse();
    let mut wrong = Vec::new();
    for line in include_str!("../sql/introspection.jsonl").lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let text = line["statement"].as_str().unwrap();
        let parameters = vec![Parameter { ty: None, value: Some(Value::Null) }; 4];
        let all = match warehouse.with_stack(|| split(text).map_err(SqlRejected::Statement)) {
            Ok(all) => all,
            Err(error) => {
                wrong.push(format!("{text}\n{error:?}"));
                continue;
            }
        };
        for statement in all {
            let query = match statement {
                Statement::Query(query) | Statement::Copy(query, _) => query,
                _ => continue,
            };
            if let Err(error) = run(&warehouse, &query.to_string(), &parameters) {
                wrong.push(format!("{text}\n{error}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn a_parameter_is_of_the_type_its_place_needs() {
    let warehouse = warehouse();
    let described = |text: &str| {
        let query = gantry_sql::parse(text).unwrap();
        let prepared = warehouse.describe_sql(&query, &[], &|_| None, "x", &By::default(), 0).unwrap();
        prepared.parameters.iter().map(|ty| ty.name()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(described("select * from telemetry where n > $1 and device = $2 and ts >= $3"), "int8 text timestamptz");
    assert_eq!(described("select $1::int4 + 1, $2 limit $3"), "int4 text int8");
    assert_eq!(described("select 1 from telemetry where device = any($1)"), "_text");
    let given = [Parameter { ty: None, value: Some(text("a")) }];
    assert_eq!(run(&warehouse, "select count(*) from telemetry where device = $1", &given).unwrap(), "2\n");
    let given = [Parameter { ty: None, value: Some(Value::Null) }];
    assert_eq!(run(&warehouse, "select count(*) from telemetry where device = $1", &given).unwrap(), "0\n");
}

#[test]
fn no_statement_takes_the_stack_or_much_time() {
    let warehouse = warehouse();
    let many = |piece: &str, count: usize| piece.repeat(count);
    for (statement, state) in [
        (format!("select 1{}", many("+1", 5_000)), "54001"),
        (format!("select {}1{}", many("(", 3_000), many(")", 3_000)), "54001"),
        (format!("select {}1", many("- ", 5_000)), "54001"),
        (format!("select '{}'", many("x", 2 << 20)), "54001"),
        (format!("select 1 where true{}", many(" and true", 3_000)), ""),
        ("select * from telemetry a, telemetry b, telemetry c, telemetry d, telemetry e, telemetry f, telemetry g, telemetry h".into(), "Query result"),
        ("select count(*) from generate_series(1, 100000000000)".into(), "`generate_series`"),
        ("select repeat('x', 1000000000)".into(), "54000"),
        ("select 'a' ~ '(a{1000}){1000}'".into(), "2201B"),
    ] {
        let head: String = statement.chars().take(40).collect();
        match run(&warehouse, &statement, &[]) {
            Ok(_) => assert_eq!(state, "", "{head}"),
            Err(error) => assert!(!state.is_empty() && error.starts_with(state), "{head}: {error}"),
        }
    }
}

#[test]
fn the_examples_of_the_guide_mean_something() {
    let telemetry = vec![
        ("EnqueuedTime", Type::DateTime),
        ("DeviceId", Type::String),
        ("temperature", Type::Real),
        ("Body", Type::Dynamic),
    ];
    let twins = vec![("DeviceId", Type::String), ("Tags", Type::Dynamic)];
    let tables: [(String, Arc<dyn Source>); 2] = [
        ("Telemetry".into(), Arc::new(Rows(telemetry, Vec::new()))),
        ("Twins".into(), Arc::new(Rows(twins, Vec::new()))),
    ];
    let warehouse = Warehouse::new("telemetry", tables);
    let guide = include_str!("../../../../docs/questions.md");
    let examples: Vec<&str> = guide.split("```sql\n").skip(1).filter_map(|rest| rest.split("\n```").next()).collect();
    assert!(examples.len() >= 6);
    for example in examples {
        run(&warehouse, example, &[]).unwrap_or_else(|error| panic!("{example}\n{error}"));
    }
}
