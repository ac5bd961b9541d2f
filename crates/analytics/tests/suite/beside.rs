//! Several threads over one table find what one finds.

use std::sync::Arc;

use gantry_analytics::column::{Column, Data, Strings};
use gantry_analytics::store::{MemoryStore, Rows, Snapshot, TableStore};
use gantry_analytics::{Ask, By, Cancel, Chunk, Limits, Warehouse};
use gantry_kql::bound::Column as SchemaColumn;
use gantry_kql::value::Type;

const COLUMNS: [(&str, Type); 6] = [
    ("At", Type::DateTime),
    ("Device", Type::String),
    ("n", Type::Long),
    ("x", Type::Real),
    ("ok", Type::Bool),
    ("Body", Type::Dynamic),
];
const ROWS: i64 = 4_000;

fn chunk(numbers: std::ops::Range<i64>) -> Chunk {
    let all: Vec<i64> = numbers.collect();
    let texts = |text: &dyn Fn(i64) -> String| {
        all.iter().map(|n| text(*n)).fold(Strings::default(), |mut all, text| {
            all.push(&text);
            all
        })
    };
    let minute = 600_000_000;
    let columns = vec![
        Column::new(
            Type::DateTime,
            Data::Long(all.iter().map(|n| 638_396_640_000_000_000 + n * minute).collect()),
            None,
        ),
        Column::new(Type::String, Data::String(texts(&|n| format!("d{}", n * n % 13))), None),
        Column::new(Type::Long, Data::Long(all.clone()), None),
        Column::new(
            Type::Real,
            Data::Real(all.iter().map(|n| (n % 97) as f64 / 4.0).collect()),
            Some(all.iter().map(|n| n % 11 == 0).collect()),
        ),
        Column::new(Type::Bool, Data::Bool(all.iter().map(|n| n % 3 == 0).collect()), None),
        Column::json(texts(&|n| format!(r#"{{"k":{},"m":"x{}"}}"#, n % 5, n % 7))),
    ];
    Chunk::of(columns, all.len())
}

/// A table whose rows are in so many extents.
fn warehouse(extents: i64) -> Warehouse {
    let store = Arc::new(MemoryStore::default());
    let schema: Vec<SchemaColumn> = COLUMNS.iter().map(|(name, ty)| SchemaColumn::new(*name, *ty)).collect();
    let mut add = |snapshot: &mut Snapshot| {
        let table = snapshot.definitions.new_table(&schema);
        snapshot.definitions.tables.insert("T".into(), table);
        Ok(())
    };
    let table = store.change(&mut add).unwrap().definitions.tables["T"].clone();
    let each = ROWS / extents;
    for extent in 0..extents {
        let chunks = [chunk(extent * each..(extent + 1) * each)];
        let names = COLUMNS.map(|(name, _)| name);
        let rows = Rows { columns: &table.ids(), names: &names, chunks: &chunks, created: extent, tags: Vec::new() };
        let extent = store.write(&rows).unwrap();
        let mut add = |snapshot: &mut Snapshot| {
            snapshot.add(table.id, Arc::clone(&extent));
            Ok(())
        };
        store.change(&mut add).unwrap();
    }
    Warehouse::new("telemetry", []).with_store(store)
}

/// The rows of a query, as texts.
fn rows(warehouse: &Warehouse, text: &str) -> Result<Vec<String>, String> {
    let ask = Ask {
        database: None,
        text,
        parameters: &[],
        now: 0,
        limits: &|_| Limits::default(),
        rows_wanted: None,
        cancel: Cancel::default(),
        by: By::default(),
    };
    let tables = warehouse.query(&ask).map_err(|rejected| format!("{rejected:?}"))?;
    if let Some(failure) = &tables[0].failure {
        return Err(failure.to_string());
    }
    let row = |chunk: &Chunk, row: usize| {
        chunk.columns.iter().map(|column| column.value(row).to_string()).collect::<Vec<_>>().join(" | ")
    };
    Ok(tables[0].chunks.iter().flat_map(|chunk| (0..chunk.rows).map(move |at| row(chunk, at))).collect())
}

#[test]
fn what_several_threads_find_is_what_one_finds() {
    let (one, many) = (warehouse(1), warehouse(8));
    // Sums of quarters are exact in whatever order they are added.
    for aggregates in [
        "count(), countif(ok), sum(n), sum(x), sumif(n, ok), avg(x), avgif(n, x > 3), min(x), max(n), minif(n, ok), maxif(x, ok)",
        "dcount(n, 4), dcountif(n, ok, 4), count_distinct(n), count_distinctif(n, ok)",
        "round(variance(x), 3), round(stdev(n), 3), round(stdevp(x), 3), round(varianceif(n, ok), 3), binary_all_and(n), binary_all_or(n), binary_all_xor(n)",
        "arg_max(At, n, x), arg_min(n, *)",
        "array_sort_asc(make_list(n)), array_sort_asc(make_set(n % 50)), array_sort_asc(make_list_if(n, ok))",
        "make_bag_keys = array_sort_asc(bag_keys(make_bag(Body)))",
        "percentile(n, 50), percentiles(x, 5, 95), percentiles_array(n, 10, 90)",
        "hll_merge(hll), dcount_hll(hll_merge(hll))",
        "buildschema(Body)",
        "take_anyif(n, n == 17), percentilew(n, n % 3 + 1, 50)",
    ] {
        for by in
            ["", " by Device", " by Device, bin(At, 1h)", " by ok, x", " by tostring(Body.m)", " by k = toint(Body.k)"]
        {
            // States are made beforehand, as they are where they are kept.
            let of = match aggregates.contains("hll") {
                true => {
                    "T | summarize hll = hll(n) by Device, ok, At, x, body = tostring(Body) | extend Body = parse_json(body)"
                }
                false => "T",
            };
            let text = format!("{of} | summarize {aggregates}{by}");
            match (rows(&one, &text), rows(&many, &text)) {
                (Ok(mut one), Ok(mut many)) => {
                    one.sort();
                    many.sort();
                    assert_eq!(one, many, "{text}");
                }
                (one, many) => panic!("{text}: {one:?} {many:?}"),
            }
        }
    }
    for text in [
        "T | where n % 3 == 1 and Device != 'd1' | extend y = n * 7 % 4001 | top 17 by y desc",
        "T | where ok | sort by n desc | project n, Device | take 100",
        "T | make-series a = avg(x), c = count() default = -1 on At from datetime(2024-01-01) to datetime(2024-01-04) step 1h by Device | sort by Device asc",
        "T | make-series s = sum(n) on At step 6h by ok | sort by ok asc",
        "T | make-series s = sum(n) on n from 0 to 4000 step 500",
        "T | where n > 3990 | join kind=inner (T | where n < 4000 | project n, again = x) on n | sort by n asc | project n, again",
        "T | distinct Device | sort by Device asc",
        "T | count",
        "T | where n > 100000 | summarize count(), sum(n), make_list(n)",
        "T | sort by n asc | extend d = n - prev(n) | summarize max(d), min(d)",
    ] {
        let (one, many) = (rows(&one, text).unwrap(), rows(&many, text).unwrap());
        assert_eq!(one, many, "{text}");
        assert!(!one.is_empty(), "{text}");
    }
}

#[test]
fn a_fault_of_one_thread_is_the_fault_of_the_query() {
    let many = warehouse(8);
    let error = rows(&many, "T | summarize make_list(n) by n | extend x = assert(n < 3999, 'too large')").unwrap_err();
    assert!(error.contains("too large"), "{error}");
    let error = rows(&many, "T | where assert(n != 1234, 'not this one') | summarize count() by n").unwrap_err();
    assert!(error.contains("not this one"), "{error}");
}
