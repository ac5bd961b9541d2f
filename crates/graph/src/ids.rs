//! Ids of twins, relationships, models, routes and jobs, checked once where they come in.

use gantry_dtdl::Dtmi;

use crate::error::GraphError;
use crate::limits::{ID_LEN_MAX, NAME_LEN_MAX};

/// Signs beside letters and digits. Source: the hub's rule for device ids, which twins of devices share, and `;~`.
const SIGNS: &[u8] = b"-.+%_#*?!(),:=@$';~";

/// An id of a twin or relationship.
pub fn check(what: &str, id: &str) -> Result<(), GraphError> {
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || SIGNS.contains(&byte);
    if (1..=ID_LEN_MAX).contains(&id.len()) && id.bytes().all(is_good) {
        return Ok(());
    }
    let signs = String::from_utf8_lossy(SIGNS);
    Err(GraphError::InvalidArgument(format!(
        "the id of a {what} has 1 to {ID_LEN_MAX} letters, digits and {signs}; `{}` is none",
        cut(id)
    )))
}

/// An id of a model: that of an interface.
pub fn check_model(id: &str) -> Result<(), GraphError> {
    match Dtmi::parse(id) {
        Ok(id) if id.fragment().is_none() && !id.is_reserved() => Ok(()),
        _ => Err(GraphError::InvalidArgument(format!("`{}` is not the id of a model", cut(id)))),
    }
}

/// An id of a route or job.
pub fn is_name(id: &str) -> bool {
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=NAME_LEN_MAX).contains(&id.len()) && id.bytes().all(is_good)
}

/// As much of a caller's text as is repeated to it.
pub fn cut(text: &str) -> String {
    text.chars().take(ID_LEN_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_their_length_and_signs() {
        for good in ["a", "Room 1".replace(' ', "_").as_str(), "x:y;1~'", &"a".repeat(ID_LEN_MAX)] {
            assert!(check("digital twin", good).is_ok(), "{good}");
        }
        for bad in ["", "a b", "ä", "a/b", "a\n", &"a".repeat(ID_LEN_MAX + 1)] {
            assert!(matches!(check("digital twin", bad), Err(GraphError::InvalidArgument(_))), "{bad}");
        }
    }

    #[test]
    fn models_have_identifiers_of_interfaces() {
        assert!(check_model("dtmi:com:example:Room;1").is_ok());
        for bad in ["", "Room", "dtmi:com:example:Room;0", "dtmi:x:_y;1", "dtmi:x;1#a", "dtmi: x;1"] {
            assert!(check_model(bad).is_err(), "{bad}");
        }
    }
}
