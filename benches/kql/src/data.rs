//! What a fleet of machines sends in thirty days, in extents as the platform writes them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use gantry_analytics::column::{Column, Data, Strings};
use gantry_analytics::store::{Rows, Snapshot, TableStore};
use gantry_analytics::{Chunk, Error};
use gantry_kql::bound::Column as SchemaColumn;
use gantry_kql::value::{DateTime, TICKS_PER_DAY, Type};
use gantry_tables::Folder;

const TELEMETRY: &[(&str, Type)] = &[
    ("EnqueuedTime", Type::DateTime),
    ("DeviceId", Type::String),
    ("Site", Type::String),
    ("Model", Type::String),
    ("temperature", Type::Real),
    ("pressure", Type::Real),
    ("rpm", Type::Long),
    ("score", Type::Real),
    ("Body", Type::Dynamic),
];
const DEVICES: &[(&str, Type)] = &[("DeviceId", Type::String), ("Firmware", Type::String), ("Critical", Type::Bool)];

/// Rows of one extent.
const EXTENT_ROWS: u64 = 1_000_000;
const DAYS: i64 = 30;
const SITES: u64 = 20;
const MODELS: [&str; 5] = ["M-100", "M-200", "M-250", "M-400", "M-800"];

/// Writes both tables.
///
/// # Errors
/// When the folder has tables, or cannot be written.
pub fn make(folder: &Path, rows: u64, devices: u64) -> anyhow::Result<()> {
    ensure!(rows >= devices && devices > 0, "there are at least as many rows as devices");
    let store = Folder::open(folder)?;
    ensure!(store.snapshot().version == 0, "{} has tables", folder.display());
    let names = (0..devices).map(|device| format!("motor-{device:06}")).collect::<Vec<_>>();
    write(&store, "Devices", DEVICES, [devices_chunk(&names)].into_iter())?;
    let begin = DateTime::parse("2026-01-01T00:00:00Z").context("the first day")?.0;
    let each = rows / devices;
    let slice = (EXTENT_ROWS / devices).max(1);
    let slices = (0..each).step_by(usize::try_from(slice)?);
    let chunks = slices.map(|from| telemetry(&names, begin, each, from..(from + slice).min(each)));
    write(&store, "Telemetry", TELEMETRY, chunks)
}

/// The files of every table.
///
/// # Errors
/// When the folder cannot be read.
pub fn files(folder: &Path) -> anyhow::Result<BTreeMap<String, Vec<String>>> {
    let snapshot: Arc<Snapshot> = Folder::open(folder)?.snapshot();
    let file = |id: &str| folder.join(format!("{id}.parquet")).display().to_string();
    let of = |id: u64| snapshot.extents_of(id).iter().map(|extent| file(&extent.id)).collect();
    Ok(snapshot.definitions.tables.iter().map(|(name, table)| (name.clone(), of(table.id))).collect())
}

fn write(
    store: &Folder,
    name: &str,
    columns: &[(&str, Type)],
    chunks: impl Iterator<Item = Chunk>,
) -> anyhow::Result<()> {
    let schema: Vec<SchemaColumn> = columns.iter().map(|(name, ty)| SchemaColumn::new(*name, *ty)).collect();
    let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
    let wrong = |error: Error| anyhow::anyhow!("{name}: {error}");
    let mut add = |snapshot: &mut Snapshot| {
        let table = snapshot.definitions.new_table(&schema);
        snapshot.definitions.tables.insert(name.to_owned(), table);
        Ok(())
    };
    let table = store.change(&mut add).map_err(wrong)?.definitions.tables[name].clone();
    for chunk in chunks {
        let rows = Rows { columns: &table.ids(), names: &names, chunks: &[chunk], created: 0, tags: Vec::new() };
        let extent = store.write(&rows).map_err(wrong)?;
        let mut add = |snapshot: &mut Snapshot| {
            snapshot.add(table.id, Arc::clone(&extent));
            Ok(())
        };
        store.change(&mut add).map_err(wrong)?;
    }
    Ok(())
}

/// Numbers that look like chance and are the same every time.
fn mixed(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Between nought and one.
fn fraction(number: u64) -> f64 {
    (mixed(number) >> 11) as f64 / (1_u64 << 53) as f64
}

fn devices_chunk(names: &[String]) -> Chunk {
    let (mut ids, mut firmware) = (Strings::default(), Strings::default());
    for (name, at) in names.iter().zip(0..) {
        ids.push(name);
        firmware.push(&format!("1.{}", mixed(at) % 9));
    }
    let critical = (0..names.len() as u64).map(|at| at % 10 == 0).collect();
    let columns = vec![
        Column::new(Type::String, Data::String(ids), None),
        Column::new(Type::String, Data::String(firmware), None),
        Column::new(Type::Bool, Data::Bool(critical), None),
    ];
    Chunk::of(columns, names.len())
}

/// Some of the messages of every device, sorted by device and time.
fn telemetry(names: &[String], begin: i64, each: u64, numbers: std::ops::Range<u64>) -> Chunk {
    let step = DAYS * TICKS_PER_DAY / each as i64;
    let (mut at, mut temperature, mut pressure, mut rpm, mut score) = (vec![], vec![], vec![], vec![], vec![]);
    let [mut ids, mut sites, mut models, mut bodies] = std::array::from_fn(|_| Strings::default());
    for (name, device) in names.iter().zip(0_u64..) {
        let (site, model) = (format!("site-{:02}", mixed(device) % SITES), MODELS[(device % 5) as usize]);
        for number in numbers.clone() {
            let seed = device * each + number;
            // Milliseconds, as devices and the hub have them.
            let late = (fraction(seed ^ 1) * 1_000.0) as i64 * 10_000;
            at.push(begin + number as i64 * step + late.min(step - 1) / 10_000 * 10_000);
            let day = (number as i64 * step) as f64 / TICKS_PER_DAY as f64 * std::f64::consts::TAU;
            let warm = 60.0 + 8.0 * day.sin() + 5.0 * fraction(seed ^ 2) + (device % 5) as f64;
            let warm = (warm * 100.0).round() / 100.0;
            let bars = ((3.0 + fraction(seed ^ 3)) * 1_000.0).round() / 1_000.0;
            let turns = 1_400 + (mixed(seed ^ 4) % 200) as i64;
            let odd = (fraction(seed ^ 5).powi(8) * 1_000.0).round() / 1_000.0;
            let state = if mixed(seed ^ 6).is_multiple_of(2_000) { "E0417 bearing" } else { "ok" };
            bodies.push(&format!(
                r#"{{"temperature":{warm},"pressure":{bars},"rpm":{turns},"score":{odd},"state":"{state}"}}"#
            ));
            temperature.push(warm);
            pressure.push(bars);
            rpm.push(turns);
            score.push(odd);
            ids.push(name);
            sites.push(&site);
            models.push(model);
        }
    }
    let rows = at.len();
    let columns = vec![
        Column::new(Type::DateTime, Data::Long(at), None),
        Column::new(Type::String, Data::String(ids), None),
        Column::new(Type::String, Data::String(sites), None),
        Column::new(Type::String, Data::String(models), None),
        Column::new(Type::Real, Data::Real(temperature), None),
        Column::new(Type::Real, Data::Real(pressure), None),
        Column::new(Type::Long, Data::Long(rpm), None),
        Column::new(Type::Real, Data::Real(score), None),
        Column::json(bodies),
    ];
    Chunk::of(columns, rows)
}
