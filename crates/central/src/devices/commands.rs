//! Commands of devices: which a template has, what they take, what they are called on the wire.

use serde_json::Value;

use crate::templates::{Capabilities, Command};

/// Why a command is not run.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum CommandError {
    /// The template has no such component.
    #[error("the device template has no component `{0}`")]
    UnknownComponent(String),
    /// The template has no such command.
    #[error("the device template has no command `{0}`")]
    Unknown(String),
    /// The request is not what the command takes.
    #[error("`request`: {0}")]
    Request(String),
}

/// The command of a template, after its request was checked. Without a template nothing is known, and nothing is
/// checked.
///
/// # Errors
/// [`CommandError`].
pub fn request_of<'c>(
    capabilities: Option<&'c Capabilities>,
    component: Option<&str>,
    name: &str,
    request: Option<&Value>,
) -> Result<Option<&'c Command>, CommandError> {
    let Some(capabilities) = capabilities else { return Ok(None) };
    let part = capabilities.part(component);
    let part = part.ok_or_else(|| CommandError::UnknownComponent(component.unwrap_or_default().to_owned()))?;
    let command = part.command(name).ok_or_else(|| CommandError::Unknown(name.to_owned()))?;
    match (&command.request, request.filter(|value| !value.is_null())) {
        (Some(field), Some(value)) => {
            field.schema.check(value).map_err(|why| CommandError::Request(why.to_string()))?
        }
        (None, Some(_)) => return Err(CommandError::Request("the command takes none".to_owned())),
        (_, None) => {}
    }
    Ok(Some(command))
}

/// What a command is called on the wire: a direct method (Plug and Play conventions).
#[must_use]
pub fn method_name(component: Option<&str>, name: &str) -> String {
    component.map_or_else(|| name.to_owned(), |component| format!("{component}*{name}"))
}
