//! Listing the blobs of a container: by prefix, in pages, with a delimiter that folds names into prefixes.

use crate::blob::Blob;
use crate::name::{BlobName, ContainerName};
use crate::ports::Catalogue;
use crate::{BlobError, NameError};

/// Names in one page. Source: List Blobs reference.
pub const LIST_MAX: usize = 5000;

/// What to list.
#[derive(Clone, Debug)]
pub struct ListQuery {
    /// Names begin with this.
    pub prefix: String,
    /// Folds names that have it behind the prefix; empty: none.
    pub delimiter: String,
    /// First name of the page, as an earlier page gave it; empty for the first page.
    pub marker: String,
    /// Names and prefixes a page may hold, 1 to [`LIST_MAX`].
    pub limit: usize,
}

/// One line of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listed {
    /// A blob.
    Blob(BlobName, Box<Blob>),
    /// Blobs folded into their common prefix.
    Prefix(String),
}

/// A page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Its lines in order.
    pub lines: Vec<Listed>,
    /// Where the next page begins; none on the last.
    pub next: Option<String>,
}

/// Behind every name that begins with a folded prefix: no name holds this character's successor.
fn behind(prefix: &str) -> String {
    format!("{prefix}{}", char::MAX)
}

pub(crate) async fn list(
    catalogue: &dyn Catalogue,
    container: &ContainerName,
    query: &ListQuery,
) -> Result<Listing, BlobError> {
    let limit = query.limit.clamp(1, LIST_MAX);
    let mut listing = Listing::default();
    let mut from = query.marker.clone();
    'pages: loop {
        // One more than fits, to know where the next page begins.
        let wanted = limit + 1 - listing.lines.len();
        let found = catalogue.blobs(container, &query.prefix, &from, wanted).await?;
        let complete = found.len() < wanted;
        let mut last = String::new();
        for (name, blob) in found {
            let folded = fold(name.as_str(), query);
            if listing.lines.len() == limit {
                listing.next = Some(name.as_str().to_owned());
                return Ok(listing);
            }
            if let Some(prefix) = folded {
                from = behind(&prefix);
                listing.lines.push(Listed::Prefix(prefix));
                continue 'pages;
            }
            name.as_str().clone_into(&mut last);
            listing.lines.push(Listed::Blob(name, Box::new(blob)));
        }
        if complete {
            return Ok(listing);
        }
        // Names have no control characters, so the next one is behind this.
        from = format!("{last}\u{1}");
    }
}

fn fold(name: &str, query: &ListQuery) -> Option<String> {
    if query.delimiter.is_empty() {
        return None;
    }
    let rest = name.strip_prefix(&query.prefix)?;
    let at = rest.find(&query.delimiter)?;
    Some(format!("{}{}", query.prefix, &rest[..at + query.delimiter.len()]))
}

impl ListQuery {
    /// Checks what a client gave.
    ///
    /// # Errors
    /// When prefix or marker are longer than a name can be.
    pub fn check(&self) -> Result<(), BlobError> {
        let long = |text: &str| text.chars().count() > 1025;
        if long(&self.prefix) || long(&self.marker) { Err(NameError::BlobLength.into()) } else { Ok(()) }
    }
}
