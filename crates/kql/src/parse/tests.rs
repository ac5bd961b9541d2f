//! What is of the language and what is not.

use super::*;
use crate::ast::{Binary, OperatorKind, StatementKind};

#[track_caller]
fn accepted(texts: &[&str]) {
    for text in texts {
        if let Err(faults) = parse(text) {
            panic!("{text}\n{} at {}", faults[0], faults[0].position(text));
        }
    }
}

#[track_caller]
fn refused(texts: &[&str]) {
    for text in texts {
        let faults = parse(text).expect_err(text);
        assert!(faults[0].span.end() as usize <= text.len(), "{text}");
    }
}

/// The expression of `print x = ...` with every operator in parentheses.
fn grouped(text: &str) -> String {
    let text = format!("print {text}");
    let script = parse(&text).unwrap_or_else(|faults| panic!("{text}: {}", faults[0]));
    let StatementKind::Query(Expr { kind: ExprKind::Pipe { operators, .. }, .. }) = &script.statements[0].kind else {
        panic!("{text}")
    };
    let OperatorKind::Print(values) = &operators[0].kind else { panic!("{text}") };
    show(&values[0].value, &text)
}

fn show(expr: &Expr, text: &str) -> String {
    match &expr.kind {
        ExprKind::Binary { op, left, right } => {
            format!("({} {} {})", show(left, text), op.symbol(), show(right, text))
        }
        ExprKind::And(parts) => {
            format!("({})", parts.iter().map(|part| show(part, text)).collect::<Vec<_>>().join(" and "))
        }
        ExprKind::Or(parts) => {
            format!("({})", parts.iter().map(|part| show(part, text)).collect::<Vec<_>>().join(" or "))
        }
        ExprKind::Sign { of, .. } => format!("(-{})", show(of, text)),
        ExprKind::Path { of, member } => format!("({}.{})", show(of, text), show(member, text)),
        ExprKind::Index { of, index } => format!("({}[{}])", show(of, text), show(index, text)),
        _ => expr.span.of(text).into(),
    }
}

#[test]
fn operators_bind_as_the_language_says() {
    for (text, groups) in [
        ("a + b * c", "(a + (b * c))"),
        ("a - b - c", "((a - b) - c)"),
        ("a or b and c or d", "(a or (b and c) or d)"),
        ("a == b < c", "(a == (b < c))"),
        ("a + b < c - d", "((a + b) < (c - d))"),
        // Tests of strings bind tighter than arithmetic.
        ("a + b has c", "(a + (b has c))"),
        ("a * b has c", "(a * (b has c))"),
        ("a =~ b == c", "((a =~ b) == c)"),
        ("-a.b[c] * d", "((-((a.b)[c])) * d)"),
        ("a.['b c'].[0]", "((a.['b c'])[0])"),
    ] {
        assert_eq!(grouped(text), groups);
    }
    refused(&[
        "print a == b == c",
        "print a < b < c",
        "print a has b has c",
        "print a in (b) == c",
        "print a in (b) in (c)",
        "print - - a",
        "print !a",
        "print not a",
    ]);
}

#[test]
fn literals_of_every_type_are_read() {
    accepted(&[
        "print 1, 0x1F, 1.5, 1e3, 1.e3, 1., 1.5e-3, true, False, TRUE",
        "print 1d, 1.5h, 30m, 10s, 100ms, 10microsecond, 1tick, 1min, 2days, 1hour",
        "print int(5), long(null), real(nan), decimal(1.5), bool(true), guid(74be27de-1e4e-49d9-b579-fe0b331d3642)",
        "print datetime(2020-01-01 10:00), datetime(), datetime(8:00), timespan(0.12:34:56.7), time(2)",
        r#"print "a\tb" 'c' @"d\e" @'it''s', h"secret", H@'x', ```raw "text"```, ~~~x~~~"#,
        r#"print dynamic({"a":[1, -2.5, null, datetime(2020-01-01), 1d, {"b":dynamic(1)}]}), dynamic("x")"#,
        "print a = int(abc), b = datetime(xyz), c = 12345678901234567890",
        "print 1w, 3DES, ['a b'], [\"c\"]",
    ]);
    refused(&[
        "print .5",
        "print 'a",
        "print 'a\nb'",
        r"print '\d'",
        "print int (1)",
        "print long(now())",
        "print dynamic({a:1})",
        "print dynamic([1,])",
        "print dynamic([+1])",
        "print dynamic(NULL)",
        "print 'a'[0]",
        "print `a`",
    ]);
}

#[test]
fn statements_stand_between_semicolons() {
    accepted(&[
        "let x = 1; let f = (a:long, b:string='x') { strcat(a, b) }; let v = view () { T }; print f(x)",
        "let f = (T:(*), U:(a:long, b:string), n:int=1) { let m = n; T | union U | take m; }; f(A, B)",
        "set notruncation; set query_take_max_records = 10; T",
        "declare query_parameters(a:long=1, b:dynamic); print a",
        "declare pattern app = (a:string)[b:string] { ('x').['y'] = { print 1 }; }; print 1",
        "restrict access to (T, V*, database('x').*); T",
        "alias database db = cluster('a').database('b'); database('db').T",
        "print 1; print 2;",
        "#connect cluster('help')\nT // comment\n| take 1",
    ]);
    refused(&[
        "print 1;;",
        ";print 1",
        "let x = 1 print x",
        "let x = 1, y = 2; print x",
        "let f = (a) { a }; f(1)",
        "T U",
    ]);
}

#[test]
fn words_of_operators_may_be_names_where_nothing_else_is_meant() {
    accepted(&[
        "T | project count, sort, top, take, limit, kind, default, step, by_ = 1",
        "T | extend by = 1, where = 2, ['and'] = 3",
        "T | where kind == 1 and step has 'x'",
        "T | partition by a (count)",
        "T | mv-apply a on (top 1 by a)",
        "print range(1, 2, 1)",
    ]);
    refused(&["T | where title == 1", "T | project by", "T | extend x = a.time", "let where = 1; print 1"]);
}

#[test]
fn operators_are_read_in_their_forms() {
    accepted(&[
        "T | where a has 'x' | filter b > 1 | extend c = 1, (d, e) = f(g) | project | project-away a*, *b, c",
        "T | summarize hint.strategy=shuffle count(), x = avg(a) by bin(t, 1h), b | summarize by a | distinct *",
        "T | join kind=leftanti hint.remote=right (U | take 1) on a, $left.b == $right.c | lookup V on a",
        "T | sort by a asc nulls first, strlen(b) desc | order by c | top 5 by a nulls last",
        "T | mv-expand kind=array with_itemindex=i a to typeof(long), b = c limit 5 | mvexpand d",
        "T | parse kind=regex flags=Ui a with * 'x' b:long 'y' c * | parse-where d with 'e' f",
        "T | parse-kv a as (b:long, c:string) with (pair_delimiter=',', kv_delimiter='=', greedy=true)",
        "T | make-series x = avg(a) default=real(null), count() on t from b to c step 1d by d",
        "T | make-series count() on t in range(1, 2, 3)",
        "T | scan with_match_id=m declare (a:long=0) with (step s1 output=last: b > 1 => a = s1.a + 1; step s2: true;)",
        "T | top-nested 3 of a with others='o' by sum(b), top-nested of c by count() asc",
        "T | evaluate hint.distribution=single bag_unpack(a) : (*, b:long) | evaluate pivot(a, sum(b), c)",
        "T | partition hint.strategy=native by a (top 1 by b) | fork (count) x=(take 1)",
        "T | facet by a, b with (take 1) | render timechart with (title='x', ycolumns=a, b, kind=stacked)",
        "union kind=outer withsource=s isfuzzy=true T, U*, database('d').V, (W | take 1)",
        "search kind=case_sensitive in (T, U*) 'x' and a:'y' | find where b == 1",
        "find withsource=s in (T) where a has 'x' project a, b:string, pack(*)",
        "externaldata (a:long, b:string) [h@'https://x/y', 'z'] with (format='csv', ignoreFirstRecord=true)",
        "inline_external_table (a:datetime) kind=storage dataformat=csv (h@'x') with (ignoreFirstRecord=true)",
        "T | make-graph a --> b with N on id | graph-match cycles=none (x)-[e*1..3]->(y)<--(z)--() where x.a == 1 project x.b",
        "T | make-graph a --> b with_node_id=n | graph-to-table nodes as N with_node_id=i, edges",
        "macro-expand entity_group [database('a'), database('b')] as X (X.T | take 1)",
        "range x from 1 to 10 step 2 | as hint.materialized=true y | invoke f(1) | getschema",
        "T | top-hitters 3 of a by b | sample 5 | sample-distinct 2 of a | reduce by a with threshold=0.5 | consume",
    ]);
    refused(&[
        "T |",
        "| take 1",
        "T | foo",
        "T | extend",
        "T | where a == 1 | where",
        "T | join (U)",
        "T | top 5 by a, b",
        "T | scan with (step s1: true)",
        "T | summarize x = count(), by a",
        "T | where a in ()",
        "T | order by a ascending",
        "T | make-series count() on t",
        "range x from 1 to 2",
        "datatable (a:long) [1 + 1]",
        "T | render",
        "T | where (a == 1",
        "T | where a == 1)",
        "T | fork a",
        "T | reduce kind=x by",
    ]);
}

/// Runs a test with the stack that callers give to texts of the greatest depth.
fn with_stack(test: fn()) {
    let thread = std::thread::Builder::new().stack_size(64 << 20).spawn(test).expect("a thread");
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn deep_and_long_texts_are_refused_and_wide_ones_are_not() {
    with_stack(|| {
        let within = |depth: usize| format!("print {}1{}", "(".repeat(depth), ")".repeat(depth));
        accepted(&[&within(NESTING_MAX as usize)]);
        for deep in [
            within(NESTING_MAX as usize + 1),
            within(100_000),
            format!("print {}", "f(".repeat(100_000)),
            format!("print {}", "a[".repeat(100_000)),
            format!("print dynamic({}", "[".repeat(100_000)),
            format!("print a{}", ".b".repeat(100_000)),
            format!("print a{}", " + b".repeat(100_000)),
            format!("T | where a in ({}", "(a in (".repeat(50_000)),
            "let f = () { ".repeat(50_000),
            format!("T {}", "| join (T ".repeat(50_000)),
            format!("T {}", "| mv-apply a on (".repeat(50_000)),
            format!("T {}", "| fork (take 1 ".repeat(50_000)),
            format!(
                "T {}",
                "| facet by a with take 1 ".repeat(2) + &"| facet by a with facet by b with ".repeat(9_000)
            ),
            "-".repeat(100_000),
            format!("print {}", "not(".repeat(50_000)),
            "macro-expand a as b (".repeat(50_000),
            format!("print {}", "datatable(a:long)[".repeat(50_000)),
        ] {
            assert!(parse(&deep).is_err());
        }
        accepted(&[
            &format!("T | where a == 1{}", " or a == 2 and b".repeat(10_000)),
            &format!("T | where a in (1{})", ", 2".repeat(100_000)),
            &format!("datatable (a:real)[1{}]", ", -2, real(3.5), real(-4)".repeat(10_000)),
            &format!("print {}", "-1, real(-4), ".repeat(1_000) + "dynamic([-1])"),
            &format!("T{}", " | take 1".repeat(10_000)),
            &format!("print x = 'a'{}", " 'b'".repeat(10_000)),
        ]);
        let faults = parse(&" ".repeat(TEXT_LEN_MAX + 1)).unwrap_err();
        assert_eq!(faults[0].code, Code::TooComplex);
        accepted(&[&format!("print 1{}", " ".repeat(TEXT_LEN_MAX - 7))]);
    });
}

#[test]
fn a_fault_says_where_and_what() {
    let text = "T\n| where a ==\n| take 1";
    let fault = &parse(text).unwrap_err()[0];
    assert_eq!(fault.to_string(), "SYN0002: expected an expression, found `|`");
    assert_eq!(fault.position(text).to_string(), "3:1");
}

#[test]
fn and_and_or_are_one_node_however_long() {
    let script = parse("T | where a and b and c or d").unwrap();
    let StatementKind::Query(Expr { kind: ExprKind::Pipe { operators, .. }, .. }) = &script.statements[0].kind else {
        panic!()
    };
    let OperatorKind::Where(predicate) = &operators[0].kind else { panic!() };
    let ExprKind::Or(parts) = &predicate.value.kind else { panic!() };
    assert!(matches!(&parts[0].kind, ExprKind::And(parts) if parts.len() == 3));
    assert_eq!(Binary::Equal.symbol(), "==");
}
