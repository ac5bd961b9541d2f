//! Lists: `{"value": [...], "nextLink": "..."}` with the options `filter`, `orderby` and `maxpagesize`, in the spelling of
//! either preview.
//!
//! A page in order of id begins behind the last id of the page before, so that nothing is shown twice or left out for what
//! others write meanwhile. A list in another order is worked out anew for each page and begins at a number.

use axum::Json;
use axum::response::{IntoResponse as _, Response};
use gantry_central::lists::{Filter, NAMED_FIELDS, OrderBy, PAGE_DEFAULT, PAGE_MAX};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use crate::Failure;
use crate::call::Call;

/// Where a page begins, in the query.
const TOKEN: &str = "$skiptoken";

/// What a request asks of a list.
pub(crate) struct Asked {
    /// Which objects.
    pub(crate) filter: Option<Filter>,
    /// In what order; by id without.
    pub(crate) order: Option<OrderBy>,
    /// How many.
    pub(crate) size: usize,
    /// Where the page begins.
    pub(crate) from: From,
}

/// Where a page begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum From {
    /// Behind an id, or at the first.
    After(Option<String>),
    /// At a number, from 0.
    At(usize),
}

impl Asked {
    /// Reads the options, for a list with these fields.
    pub(crate) fn read(call: &Call, fields: &[&str]) -> Result<Self, Failure> {
        let filter = call.asked(&["filter", "$filter"]).map(|text| Filter::parse(text, fields)).transpose();
        let filter = filter.map_err(|error| Failure::invalid(format!("filter: {error}")))?;
        let order = call.asked(&["orderby", "$orderby"]).map(|text| OrderBy::parse(text, fields)).transpose();
        let order = order.map_err(|error| Failure::invalid(format!("orderby: {error}")))?;
        let size = match call.asked(&["maxpagesize", "$maxpagesize", "$top", "top"]) {
            None => PAGE_DEFAULT,
            Some(text) => {
                let size = text.parse().ok().filter(|size| (1..=PAGE_MAX).contains(size));
                size.ok_or_else(|| Failure::invalid(format!("maxpagesize is a number from 1 to {PAGE_MAX}")))?
            }
        };
        let token = call.asked(&[TOKEN]);
        let from = match (&order, token) {
            (None, token) => From::After(token.map(str::to_owned)),
            (Some(_), None) => From::At(0),
            (Some(_), Some(token)) => {
                From::At(token.parse().map_err(|_| Failure::invalid(format!("{TOKEN} is none of this list")))?)
            }
        };
        Ok(Self { filter, order, size, from })
    }
}

/// The list of objects that are all at hand, in order of id. `field` says what a filter sees of what is shown.
pub(crate) fn answer<T>(
    call: &Call,
    all: impl Iterator<Item = (String, T)>,
    show: impl Fn(&str, &T) -> Value,
) -> Result<Response, Failure> {
    let asked = Asked::read(call, NAMED_FIELDS)?;
    let field = |shown: &Value, name: &str| shown.get(name).cloned().unwrap_or_default();
    let shown = all.map(|(id, one)| (show(&id, &one), id));
    let mut found: Vec<(Value, String)> = shown
        .filter(|(shown, _)| asked.filter.as_ref().is_none_or(|filter| filter.holds(|name| field(shown, name))))
        .collect();
    if let Some(order) = &asked.order {
        let values = |shown: &Value| order.values(|name| field(shown, name));
        found.sort_by(|(one, _), (other, _)| order.compare(&values(one), &values(other)));
    }
    let begins = match &asked.from {
        From::At(at) => (*at).min(found.len()),
        From::After(None) => 0,
        From::After(Some(id)) => found.iter().position(|(_, other)| other > id).unwrap_or(found.len()),
    };
    let rest = found.split_off(begins);
    let has_more = rest.len() > asked.size;
    let page: Vec<(Value, String)> = rest.into_iter().take(asked.size).collect();
    let next = has_more.then(|| match &asked.from {
        From::At(at) => at.saturating_add(asked.size).to_string(),
        From::After(_) => page.last().map(|(_, id)| id.clone()).unwrap_or_default(),
    });
    Ok(page_of(call, page.into_iter().map(|(shown, _)| shown).collect(), next))
}

/// A page, and where the next one begins.
pub(crate) fn page_of(call: &Call, value: Vec<Value>, next: Option<String>) -> Response {
    let mut body = json!({ "value": value });
    if let Some(token) = next {
        body["nextLink"] = link(call, &token).into();
    }
    Json(body).into_response()
}

/// The address of the next page: this one's, with all it asks for.
fn link(call: &Call, token: &str) -> String {
    let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let kept = call.query.iter().filter(|(name, _)| !name.eq_ignore_ascii_case(TOKEN));
    let kept = kept.map(|(name, value)| format!("{}={}", name_of(name), encode(value)));
    let all: Vec<String> = kept.chain([format!("{TOKEN}={}", encode(token))]).collect();
    let mut path = call.row.path.clone();
    for name in call.row.parameters() {
        path = path.replace(&format!("{{{name}}}"), &encode(call.piece(name)));
    }
    format!("https://{}{path}?{}", call.host, all.join("&"))
}

/// The name of a parameter, whose dollar and dash need no escape.
fn name_of(name: &str) -> String {
    const NAME: &AsciiSet = &NON_ALPHANUMERIC.remove(b'$').remove(b'-').remove(b'_');
    utf8_percent_encode(name, NAME).to_string()
}
