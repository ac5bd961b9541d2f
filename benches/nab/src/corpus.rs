//! Reading labelled series: `data/<group>/<series>.csv` and `labels.json`.
//!
//! The corpus is not part of the repository; its folder is an argument.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use time::PrimitiveDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

const TIMESTAMP: &[BorrowedFormatItem<'_>] = format_description!("[year]-[month]-[day] [hour]:[minute]:[second]");

/// Why a series could not be read.
#[derive(Debug, thiserror::Error)]
pub enum CorpusError {
    /// The folder or a file in it is missing or unreadable.
    #[error("reading `{path}`")]
    Read {
        /// The file that was asked for.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// `labels.json` has another shape.
    #[error("parsing `{path}`")]
    Labels {
        /// The labels file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// A row is not `timestamp,value`, or a label is not a timestamp.
    #[error("`{path}`, row {row}: `{text}` is not {expected}")]
    Row {
        /// The file.
        path: PathBuf,
        /// Line in the file, the header being 1; 0 for a label.
        row: usize,
        /// What stands there.
        text: String,
        /// What should.
        expected: &'static str,
    },
}

/// One series with its labelled windows.
#[derive(Clone, Debug)]
pub struct Series {
    /// `<group>/<series>.csv`.
    pub name: String,
    /// Milliseconds since 1970, the series' local time taken as UTC.
    pub times_ms: Vec<i64>,
    /// One value a row.
    pub values: Vec<f64>,
    /// First and last row of each labelled window, in order.
    pub windows: Vec<(usize, usize)>,
}

#[derive(Deserialize)]
struct Labels {
    windows: Vec<(String, String)>,
}

/// Reads every series that `labels.json` in `folder` names, in order of name.
pub fn read(folder: &Path) -> Result<Vec<Series>, CorpusError> {
    let path = folder.join("labels.json");
    let text = fs::read_to_string(&path).map_err(|source| CorpusError::Read { path: path.clone(), source })?;
    let labels: BTreeMap<String, Labels> =
        serde_json::from_str(&text).map_err(|source| CorpusError::Labels { path: path.clone(), source })?;
    labels
        .into_iter()
        .map(|(name, labels)| {
            let (times_ms, values) = read_csv(&folder.join("data").join(&name))?;
            let windows = rows_of(&labels, &times_ms, &path)?;
            Ok(Series { name, times_ms, values, windows })
        })
        .collect()
}

/// Reads one series alone: the CSV file and, from a labels file, its windows.
pub fn read_one(csv: &Path, labels: &Path, name: &str) -> Result<Series, CorpusError> {
    let read =
        |path: &Path| fs::read_to_string(path).map_err(|source| CorpusError::Read { path: path.to_owned(), source });
    let parsed: BTreeMap<String, Labels> = serde_json::from_str(&read(labels)?)
        .map_err(|source| CorpusError::Labels { path: labels.to_owned(), source })?;
    let (times_ms, values) = read_csv(csv)?;
    let windows = match parsed.get(name) {
        Some(found) => rows_of(found, &times_ms, labels)?,
        None => Vec::new(),
    };
    Ok(Series { name: name.to_owned(), times_ms, values, windows })
}

/// Parses `2014-02-08 14:30:00`, with or without a fraction, to milliseconds since 1970.
pub fn parse_time(text: &str) -> Option<i64> {
    let whole = text.split_once('.').map_or(text, |(whole, _)| whole);
    let parsed = PrimitiveDateTime::parse(whole, TIMESTAMP).ok()?;
    Some(parsed.assume_utc().unix_timestamp() * 1000)
}

/// Writes milliseconds since 1970 as `2014-02-08 14:30:00`.
pub fn format_time(time_ms: i64) -> String {
    time::OffsetDateTime::from_unix_timestamp(time_ms / 1000)
        .ok()
        .and_then(|time| time.format(TIMESTAMP).ok())
        .unwrap_or_else(|| format!("{time_ms} ms"))
}

fn rows_of(labels: &Labels, times_ms: &[i64], path: &Path) -> Result<Vec<(usize, usize)>, CorpusError> {
    let time = |text: &String| {
        parse_time(text).ok_or_else(|| CorpusError::Row {
            path: path.to_owned(),
            row: 0,
            text: text.clone(),
            expected: "a timestamp",
        })
    };
    labels
        .windows
        .iter()
        .map(|(start, end)| {
            let (start, end) = (time(start)?, time(end)?);
            let first = times_ms.iter().position(|&at| at >= start).unwrap_or(times_ms.len());
            let last = times_ms.iter().rposition(|&at| at <= end).unwrap_or(0);
            Ok((first, last.max(first)))
        })
        .collect()
}

fn read_csv(path: &Path) -> Result<(Vec<i64>, Vec<f64>), CorpusError> {
    let text = fs::read_to_string(path).map_err(|source| CorpusError::Read { path: path.to_owned(), source })?;
    let mut times_ms = Vec::new();
    let mut values = Vec::new();
    for (index, line) in text.lines().enumerate().skip(1) {
        let parsed =
            line.split_once(',').and_then(|(time, value)| Some((parse_time(time)?, value.trim().parse::<f64>().ok()?)));
        let Some((time_ms, value)) = parsed else {
            return Err(CorpusError::Row {
                path: path.to_owned(),
                row: index + 1,
                text: line.to_owned(),
                expected: "`timestamp,value`",
            });
        };
        times_ms.push(time_ms);
        values.push(value);
    }
    Ok((times_ms, values))
}
