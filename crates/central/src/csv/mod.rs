//! Devices as rows of CSV files: what is imported, and what is exported.
//!
//! ```text
//! IOTC_DEVICEID,IOTC_DEVICENAME,IOTC_SASKEY_PRIMARY,IOTC_SASKEY_SECONDARY,
//! IOTC_X509THUMBPRINT_PRIMARY,IOTC_X509THUMBPRINT_SECONDARY[,property]...
//! ```
//!
//! on one line. An import needs the first column only; a device without a name is called by its id. What an export
//! writes, an import reads: keys, thumbprints and properties, each under the name of its column, `component.name` in a
//! component. Files are UTF-8, with or without a byte order mark, and separated by `,`, `;`, a tab or `|`.
//! Spaces around what a cell holds are not read, nor are rows without anything in them.
//!
//! A cell that a spreadsheet would run as a formula is written with a `'` before it, and read without ([`cell`]).
//! Source: "Manage devices in bulk" of IoT Central (columns, alphabet and lengths); keys, thumbprints and properties on
//! import are ours.

mod cell;
mod export;
mod import;
#[cfg(test)]
mod tests;

pub use self::export::{Export, Exported};
pub use self::import::{
    CELL_BYTES_MAX, COLUMNS_MAX, CsvError, ERRORS_MAX, FILE_BYTES_MAX, Import, NAME_CHARS_MAX, Problem, ROWS_MAX,
    Refused, Row, check,
};

/// The id of a device, the only column that must be there.
pub const DEVICE_ID: &str = "IOTC_DEVICEID";
/// What it is called.
pub const DEVICE_NAME: &str = "IOTC_DEVICENAME";
/// Its primary key in base64.
pub const SAS_KEY_PRIMARY: &str = "IOTC_SASKEY_PRIMARY";
/// Its secondary key.
pub const SAS_KEY_SECONDARY: &str = "IOTC_SASKEY_SECONDARY";
/// The thumbprint of its certificate.
pub const THUMBPRINT_PRIMARY: &str = "IOTC_X509THUMBPRINT_PRIMARY";
/// The thumbprint of its other certificate.
pub const THUMBPRINT_SECONDARY: &str = "IOTC_X509THUMBPRINT_SECONDARY";
/// Columns that every export has, in this order.
pub const COLUMNS: [&str; 6] =
    [DEVICE_ID, DEVICE_NAME, SAS_KEY_PRIMARY, SAS_KEY_SECONDARY, THUMBPRINT_PRIMARY, THUMBPRINT_SECONDARY];

/// Thumbprints of a device's certificates, in capitals.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Thumbprints {
    /// Of the certificate in everyday use.
    pub primary: String,
    /// Of the one that takes over.
    pub secondary: Option<String>,
}
