//! What a client takes: `$format`, `Accept`, `Prefer`.

use axum::http::{HeaderMap, header};

use super::failure::Failure;
use super::write::{Detail, Form};

/// A kind of content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// JSON.
    Json,
    /// XML.
    Xml,
}

/// Header lines of a name as one list.
fn list(headers: &HeaderMap, name: impl header::AsHeaderName) -> String {
    headers.get_all(name).iter().filter_map(|line| line.to_str().ok()).collect::<Vec<_>>().join(",")
}

/// One kind that a client takes, with its parameters.
struct Range {
    name: String,
    parameters: Vec<(String, String)>,
    quality: f32,
}

fn ranges(text: &str) -> Vec<Range> {
    let range = |text: &str| {
        let mut parts = text.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default().to_ascii_lowercase();
        let pair = |part: &str| {
            let (name, value) = part.split_once('=')?;
            Some((name.trim().to_ascii_lowercase(), value.trim().trim_matches('"').to_ascii_lowercase()))
        };
        let parameters: Vec<_> = parts.filter_map(pair).collect();
        let quality = parameters.iter().find(|(name, _)| name == "q").and_then(|(_, value)| value.parse().ok());
        Range { name, parameters, quality: quality.unwrap_or(1.0) }
    };
    let mut all: Vec<Range> = text.split(',').filter(|part| !part.trim().is_empty()).map(range).collect();
    all.sort_by(|a, b| b.quality.total_cmp(&a.quality));
    all.retain(|range| range.quality > 0.0);
    all
}

/// How results are written.
///
/// # Errors
/// When the client takes no JSON.
pub fn form(headers: &HeaderMap, format: Option<&str>) -> Result<Form, Failure> {
    let default = Form { detail: Detail::Minimal, numbers_as_text: false };
    let asked = match format.map(str::trim) {
        Some("json") => return Ok(default),
        Some(format) => format.to_owned(),
        None => list(headers, header::ACCEPT),
    };
    if asked.trim().is_empty() {
        return Ok(default);
    }
    let takes = |range: &&Range| matches!(range.name.as_str(), "application/json" | "application/*" | "*/*" | "*");
    let all = ranges(&asked);
    let range = all.iter().find(takes).ok_or_else(Failure::not_acceptable)?;
    let parameter =
        |name: &str| range.parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    let detail = match parameter("odata.metadata").or_else(|| parameter("metadata")) {
        Some("none") => Detail::None,
        Some("full") => Detail::Full,
        _ => Detail::Minimal,
    };
    Ok(Form { detail, numbers_as_text: parameter("ieee754compatible") == Some("true") })
}

/// How the model is written: XML, unless the client takes JSON alone.
///
/// # Errors
/// When it takes neither.
pub fn of_metadata(headers: &HeaderMap, format: Option<&str>) -> Result<Content, Failure> {
    let asked = match format.map(str::trim) {
        Some("json") => return Ok(Content::Json),
        Some("xml") => return Ok(Content::Xml),
        Some(format) => format.to_owned(),
        None => list(headers, header::ACCEPT),
    };
    let all = ranges(&asked);
    let takes = |names: &[&str]| all.iter().any(|range| names.contains(&range.name.as_str()));
    if all.is_empty() || takes(&["application/xml", "text/xml", "application/*", "*/*", "*"]) {
        Ok(Content::Xml)
    } else if takes(&["application/json"]) {
        Ok(Content::Json)
    } else {
        Err(Failure::not_acceptable())
    }
}

/// Rows of a page, if the client prefers some number.
pub fn page_size(headers: &HeaderMap) -> Option<u64> {
    let preferences = list(headers, "prefer");
    let value = preferences.split([',', ';']).find_map(|one| {
        let (name, value) = one.split_once('=')?;
        let name = name.trim();
        let is_ours = name.eq_ignore_ascii_case("odata.maxpagesize") || name.eq_ignore_ascii_case("maxpagesize");
        is_ours.then(|| value.trim().trim_matches('"').to_owned())
    })?;
    value.parse().ok().filter(|rows| *rows > 0)
}

/// Refuses clients of earlier versions.
///
/// # Errors
/// When the client takes none that is spoken here.
pub fn version(headers: &HeaderMap) -> Result<(), Failure> {
    let most = headers.get("odata-maxversion").and_then(|value| value.to_str().ok());
    match most.map(|most| most.trim().parse::<f32>()) {
        Some(Ok(most)) if most < 4.0 => Err(Failure::bad_request("OData-MaxVersion must be 4.0 or more")),
        Some(Err(_)) => Err(Failure::bad_request("OData-MaxVersion is no version")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::HeaderName::from_static(name), value.parse().unwrap())])
    }

    #[test]
    fn what_excel_and_power_query_send_is_understood() {
        let accept = "application/json;odata.metadata=minimal;q=1.0,application/json;odata=minimalmetadata;q=0.9,\
                      application/atomsvc+xml;q=0.8,application/atom+xml;q=0.8,application/xml;q=0.7,text/plain;q=0.7";
        let form = form(&headers("accept", accept), None).unwrap();
        assert_eq!((form.detail, form.numbers_as_text), (Detail::Minimal, false));
        assert_eq!(of_metadata(&headers("accept", accept), None).unwrap(), Content::Xml);
    }

    #[test]
    fn the_best_that_is_taken_is_given() {
        let detail =
            |accept: &str| form(&headers("accept", accept), None).map(|form| (form.detail, form.numbers_as_text));
        assert_eq!(detail("application/json;odata.metadata=none;q=0.5, */*;q=0.1"), Ok((Detail::None, false)));
        assert_eq!(detail("application/json;IEEE754Compatible=true;odata.metadata=full"), Ok((Detail::Full, true)));
        assert!(detail("application/atom+xml").is_err());
        assert!(form(&HeaderMap::new(), Some("atom")).is_err());
        assert_eq!(of_metadata(&headers("accept", "application/json"), None), Ok(Content::Json));
        assert_eq!(page_size(&headers("prefer", "respond-async, odata.maxpagesize=50")), Some(50));
        assert_eq!(page_size(&headers("prefer", "maxpagesize=0")), None);
        assert!(version(&headers("odata-maxversion", "3.0")).is_err());
        assert!(version(&headers("odata-maxversion", "4.01")).is_ok());
    }
}
