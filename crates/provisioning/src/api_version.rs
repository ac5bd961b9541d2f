//! Versions of the provisioning API that a client may ask for, whatever the transport.
//!
//! What is asked for changes nothing: every version is served alike. One that was never published is refused, as the
//! reference does (its answer is seen in the reports of `iotedge`), so that a mistake is found here and not there.

use crate::service::DpsError;

/// Published for devices or operators, and the previews that released clients ask for.
const KNOWN: [&str; 17] = [
    "2017-08-21-preview",
    "2017-11-15",
    "2018-04-01",
    "2018-09-01",
    "2018-09-01-preview",
    "2018-11-01",
    "2019-01-15",
    "2019-03-31",
    "2019-04-15",
    "2020-09-01-preview",
    "2021-06-01",
    "2021-10-01",
    "2021-11-01-preview",
    "2022-04-15-preview",
    "2022-10-01-preview",
    "2023-02-01-preview",
    "2025-07-01-preview",
];

/// Whether a client may ask for a version.
///
/// # Errors
/// [`DpsError::Invalid`] when it is missing or was never published.
pub fn check_api_version(asked: Option<&str>) -> Result<(), DpsError> {
    match asked.map(str::trim).filter(|text| !text.is_empty()) {
        Some(text) if KNOWN.iter().any(|known| known.eq_ignore_ascii_case(text)) => Ok(()),
        Some(text) => Err(DpsError::Invalid(format!("Unsupported API version {text}."))),
        None => Err(DpsError::Invalid("API version is missing.".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_published_versions_are_taken() {
        for good in ["2019-03-31", "2021-10-01", "2025-07-01-preview", "2025-07-01-PREVIEW"] {
            assert!(check_api_version(Some(good)).is_ok(), "{good}");
        }
        for bad in ["2099-01-01", "2019-03-32", "2019-03-31-preview", "latest", "2019-03-31,2019-03-31", "20190331"] {
            let error = check_api_version(Some(bad)).unwrap_err();
            assert_eq!((error.code(), error.to_string()), (400_004, format!("Unsupported API version {bad}.")));
        }
        for missing in [None, Some(""), Some(" ")] {
            assert_eq!(check_api_version(missing).unwrap_err().code(), 400_004);
        }
    }
}
