//! What is written short and means much: it is refused in time, and nothing overflows.

use gantry_kql::bound::{DEPTH_MAX, NODES_MAX};
use gantry_kql::{Catalog, Code, EmptyCatalog, StoredFunction, bind, parse};
use std::collections::HashMap;
use std::fmt::Write;

#[track_caller]
fn refused(text: &str) {
    let script = parse(text).unwrap_or_else(|faults| panic!("{}", faults[0]));
    let faults = bind(&script, &EmptyCatalog, &HashMap::new()).expect_err("it is too large");
    assert_eq!(faults[0].code, Code::TooComplex, "{}", faults[0]);
}

fn accepted(text: &str) {
    let script = parse(text).unwrap_or_else(|faults| panic!("{}", faults[0]));
    bind(&script, &EmptyCatalog, &HashMap::new()).unwrap_or_else(|faults| panic!("{}", faults[0]));
}

/// `let x0 = first; let x1 = next(x0); ...`
fn lets(first: &str, count: usize, next: impl Fn(usize) -> String, last: &str) -> String {
    let mut text = format!("let x0 = {first}; ");
    for at in 1..count {
        write!(text, "let x{at} = {}; ", next(at - 1)).unwrap();
    }
    text + last
}

#[test]
fn names_that_double_are_counted_as_if_written_out() {
    refused(&lets("1", 60, |at| format!("x{at} + x{at}"), "print x59"));
    refused(&lets("print a = 1", 60, |at| format!("union x{at}, x{at}"), "x59"));
    refused(&lets("print a = 1", 60, |at| format!("x{at} | join x{at} on a | project a"), "x59"));
    let functions = (1..60).fold("let f0 = () { 1 }; ".to_string(), |text, at| {
        format!("{text}let f{at} = () {{ f{0}() + f{0}() }}; ", at - 1)
    });
    refused(&(functions + "print f59()"));
    accepted(&lets("1", 12, |at| format!("x{at} + x{at}"), "print x11"));
}

#[test]
fn trees_are_not_deeper_than_recursion_goes() {
    let deep = DEPTH_MAX as usize + 10;
    refused(&lets("1", deep, |at| format!("x{at} + 1"), "print 1"));
    refused(&lets("print a = 1", deep, |at| format!("x{at} | where a > 1"), "x1"));
    refused(&format!("print a = 1{}", " | where a > 1".repeat(deep)));
    accepted(&format!("print a = 1{}", " | where a > 1".repeat(deep - 30)));
}

#[test]
fn wide_texts_are_bound() {
    accepted(&format!("print a = 1 | where a in (1{})", ", 2".repeat(50_000)));
    accepted(&format!("print a = 1 | where a == 1{}", " or a == 2".repeat(20_000)));
    refused(&format!("print a = 1 | where a in (1{})", ", 2".repeat(NODES_MAX as usize + 10)));
}

#[test]
fn columns_and_looking_for_them_are_bounded() {
    let list = |count: usize, item: &dyn Fn(usize) -> String| (0..count).map(item).collect::<Vec<_>>().join(", ");
    let many = |count: usize| list(count, &|at| format!("c{at} = 1"));
    accepted(&format!("print {}", many(9_000)));
    refused(&format!("print {}", many(10_001)));
    refused(&format!("print a = 1 | extend {}", many(150_000)));
    refused(&format!("print {} | where 1 == 1{}", many(9_000), " and c8999 == 1".repeat(90_000)));
    refused(&format!("print {} | project-away {}", many(9_000), list(90_000, &|_| "c8999".into())));
    refused(&format!("print {} | sort by {}", many(9_000), list(90_000, &|_| "c8999".into())));
    refused(&format!(
        "print a = 1 | join (print a = 1 | extend {0}) on a | join (print a = 1 | extend {0}) on a",
        many(6_000)
    ));
    // The same name again and again.
    accepted(&format!("print a = 'x' | project {}", list(9_000, &|_| "strlen(a)".into())));
    // A large constant used often is not looked through each time.
    let large = lets("1", 18, |at| format!("x{at} + x{at}"), "");
    accepted(&format!("{large}{} print 1", (0..60_000).map(|at| format!("let y{at}=x17;")).collect::<String>()));
    refused(&format!("{large} print a = 1 | summarize {}", list(9_000, &|at| format!("s{at} = sum(a) + x17"))));
}

#[test]
fn functions_that_call_themselves_end() {
    struct Stored;
    impl Catalog for Stored {
        fn default_database(&self) -> String {
            "d".into()
        }
        fn database(&self, name: &str) -> Option<String> {
            (name == "d").then(|| name.into())
        }
        fn tables(&self, _: &str) -> Vec<String> {
            Vec::new()
        }
        fn table(&self, _: &str, _: &str) -> Option<Vec<gantry_kql::bound::Column>> {
            None
        }
        fn function(&self, _: &str, name: &str) -> Option<StoredFunction> {
            let body = match name {
                "f" => "{ union f(), f() }",
                "g" => "{ g(x) + 1 }",
                _ => return None,
            };
            Some(StoredFunction { parameters: if name == "g" { "(x:long)" } else { "()" }.into(), body: body.into() })
        }
    }
    for text in ["f()", "f", "print g(1)"] {
        let faults = bind(&parse(text).unwrap(), &Stored, &HashMap::new()).unwrap_err();
        assert_eq!(faults[0].code, Code::TooComplex, "{}", faults[0]);
    }
}

#[test]
fn the_deepest_texts_that_are_read_are_bound() {
    // With the stack that callers give them.
    let thread = std::thread::Builder::new().stack_size(64 << 20).spawn(bind_the_deepest).expect("a thread");
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

fn bind_the_deepest() {
    let depth = 95;
    accepted(&format!("print {}1{}", "abs(".repeat(depth), ")".repeat(depth)));
    accepted(&format!("print {}1{}", "iff(true, ".repeat(depth), ", 2)".repeat(depth)));
    accepted(&format!("{}print a = 1{}", "(".repeat(depth), " | where a > 1)".repeat(depth)));
    accepted(&format!("print a = 1{}", " + 1".repeat(390)));
    let mut text = "print a = dynamic([1])".to_string();
    text += &" | mv-apply a on (where 1 == 1".repeat(depth);
    text += &")".repeat(depth);
    accepted(&text);
}
