//! Writing devices as rows.

use gantry_identity::KeyPair;
use serde_json::{Map, Value};

use super::cell::guarded;
use super::{COLUMNS, Thumbprints};
use crate::templates::Capabilities;

/// A device as it is exported.
#[derive(Clone, Copy, Debug)]
pub struct Exported<'a> {
    /// Its id.
    pub device_id: &'a str,
    /// What it is called.
    pub display_name: &'a str,
    /// Its keys, if it has any.
    pub keys: Option<&'a KeyPair>,
    /// The thumbprints of its certificates, if it has any.
    pub thumbprints: Option<&'a Thumbprints>,
    /// Its properties as they are read, components as objects.
    pub properties: &'a Map<String, Value>,
}

/// Rows of devices: text that ends with a line break, in the order in which they are asked for.
#[derive(Clone, Debug)]
pub struct Export {
    properties: Vec<String>,
    separator: char,
}

impl Export {
    /// An export with some properties, by their paths (`name`, `component.name`).
    #[must_use]
    pub fn new(properties: Vec<String>) -> Self {
        Self { properties, separator: ',' }
    }

    /// An export with all properties of a template.
    #[must_use]
    pub fn of(capabilities: &Capabilities) -> Self {
        let paths = capabilities.parts().flat_map(|part| {
            part.properties.iter().map(|property| match &part.name {
                Some(component) => format!("{component}.{}", property.name),
                None => property.name.clone(),
            })
        });
        Self::new(paths.collect())
    }

    /// The same with `;` between cells, as spreadsheets of many countries want it.
    #[must_use]
    pub fn with_semicolons(self) -> Self {
        Self { separator: ';', ..self }
    }

    /// The first row.
    #[must_use]
    pub fn header(&self) -> String {
        self.joined(COLUMNS.into_iter().map(str::to_owned).chain(self.properties.iter().cloned()))
    }

    /// The row of a device.
    #[must_use]
    pub fn row(&self, device: &Exported<'_>) -> String {
        let key = |of: fn(&KeyPair) -> String| device.keys.map(of).unwrap_or_default();
        let thumbprint = |of: fn(&Thumbprints) -> Option<&String>| device.thumbprints.and_then(of).cloned();
        let own = [
            device.device_id.to_owned(),
            device.display_name.to_owned(),
            key(|keys| keys.primary.to_base64()),
            key(|keys| keys.secondary.to_base64()),
            thumbprint(|of| Some(&of.primary)).unwrap_or_default(),
            thumbprint(|of| of.secondary.as_ref()).unwrap_or_default(),
        ];
        let properties = self.properties.iter().map(|path| text(value(device.properties, path)));
        self.joined(own.into_iter().chain(properties))
    }

    fn joined(&self, cells: impl Iterator<Item = String>) -> String {
        let mut row = String::new();
        for (number, cell) in cells.enumerate() {
            if number > 0 {
                row.push(self.separator);
            }
            let cell = guarded(&cell);
            // Whatever separates cells elsewhere is quoted too, so that no reader finds a cell of its own in one.
            if cell.contains([',', ';', '\t', '|', '"', '\r', '\n']) {
                row.push('"');
                row.push_str(&cell.replace('"', "\"\""));
                row.push('"');
            } else {
                row.push_str(&cell);
            }
        }
        row.push_str("\r\n");
        row
    }
}

fn value<'a>(properties: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    match path.split_once('.') {
        Some((component, name)) => properties.get(component)?.get(name),
        None => properties.get(path),
    }
}

/// Texts as they are, everything else as JSON.
fn text(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}
