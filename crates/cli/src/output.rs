//! Tables for people, JSON for programs.

use comfy_table::Table;
use comfy_table::presets::NOTHING;
use serde_json::Value;

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// For people.
    Text,
    /// One JSON value for each result.
    Json,
}

/// The text at a JSON pointer, plain for strings, empty when absent.
pub fn text(value: &Value, pointer: &str) -> String {
    match value.pointer(pointer) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) if number.is_f64() => format!("{:.2}", number.as_f64().unwrap_or_default()),
        Some(other) => other.to_string(),
    }
}

impl Output {
    /// Prints JSON, or what `print` does.
    pub fn value(self, value: &Value, print: impl FnOnce(&Value)) {
        match self {
            Self::Json => println!("{value}"),
            Self::Text => print(value),
        }
    }

    /// Prints JSON, indented for people.
    pub fn json(self, value: &Value) {
        self.value(value, |value| println!("{value:#}"));
    }

    /// Prints an array as a table with a column for each name and JSON pointer.
    pub fn table(self, rows: &Value, columns: &[(&str, &str)]) {
        self.value(rows, |rows| {
            let mut table = Table::new();
            table.load_preset(NOTHING).set_header(columns.iter().map(|(name, _)| name.to_uppercase()));
            for row in rows.as_array().into_iter().flatten() {
                table.add_row(columns.iter().map(|(_, pointer)| text(row, pointer)));
            }
            println!("{table}");
        });
    }
}
