//! An object as it is kept: what it is, its etag, when it was written.
//!
//! The text of a document is `{"v":1,"etag":n,"updatedAt":ms,"value":{...}}`: format, etag as a number, milliseconds
//! since the epoch, and the object as its type stores it. A text of another format is refused.

use std::sync::Arc;

use gantry_identity::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::ids::ETag;

/// The format written; raised when a type stores itself in another way.
const FORMAT: u32 = 1;

/// An object with its etag.
#[derive(Clone, PartialEq, Debug)]
pub struct Kept<T> {
    /// The object.
    pub value: T,
    /// Its state.
    pub etag: ETag,
    /// When it was written last.
    pub updated_at: Timestamp,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stored<T> {
    v: u32,
    etag: ETag,
    updated_at: i64,
    value: T,
}

/// Why a document cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// No document of its type.
    #[error("the document cannot be read")]
    Shape(#[from] serde_json::Error),
    /// Of a format that is not known.
    #[error("the document is of format {0}")]
    Format(u32),
}

impl<T: Serialize + DeserializeOwned> Kept<T> {
    /// The document.
    #[must_use]
    pub fn document(&self) -> String {
        let stored = Stored { v: FORMAT, etag: self.etag, updated_at: self.updated_at.as_millis(), value: &self.value };
        serde_json::to_string(&stored).expect("objects have nothing that JSON has not")
    }

    /// Reads a document.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn read(text: &str) -> Result<Arc<Self>, ReadError> {
        let stored: Stored<T> = serde_json::from_str(text)?;
        if stored.v != FORMAT {
            return Err(ReadError::Format(stored.v));
        }
        let updated_at = Timestamp::from_millis(stored.updated_at);
        Ok(Arc::new(Self { value: stored.value, etag: stored.etag, updated_at }))
    }
}

/// An instant as documents have it: milliseconds since the epoch.
pub(crate) mod millis {
    use gantry_identity::Timestamp;
    use serde::{Deserialize as _, Deserializer, Serializer};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
    pub(crate) fn serialize<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(at.as_millis())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        i64::deserialize(deserializer).map(Timestamp::from_millis)
    }
}

/// An instant that may be missing, as documents have it.
pub(crate) mod maybe_millis {
    use gantry_identity::Timestamp;
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    #[expect(clippy::ref_option, reason = "serde calls it with a reference")]
    pub(crate) fn serialize<S: Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
        at.map(Timestamp::as_millis).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
        Option::<i64>::deserialize(deserializer).map(|at| at.map(Timestamp::from_millis))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn kept<T>(value: T) -> Arc<Kept<T>> {
        Arc::new(Kept { value, etag: ETag::first(7), updated_at: Timestamp::from_millis(1_000) })
    }

    #[test]
    fn a_document_is_read_as_it_was_written() {
        let one = kept(vec![1, 2]);
        assert_eq!(one.document(), r#"{"v":1,"etag":7,"updatedAt":1000,"value":[1,2]}"#);
        assert_eq!(Kept::read(&one.document()).unwrap(), one);
    }

    #[test]
    fn another_format_and_another_shape_are_refused() {
        let read = |text: &str| Kept::<Vec<i32>>::read(text);
        assert!(matches!(read(r#"{"v":2,"etag":7,"updatedAt":1,"value":[]}"#), Err(ReadError::Format(2))));
        assert!(matches!(read(r#"{"v":1,"etag":7,"updatedAt":1,"value":{}}"#), Err(ReadError::Shape(_))));
        assert!(matches!(read("x"), Err(ReadError::Shape(_))));
    }
}
