//! `application/x-www-form-urlencoded`, of token requests, callbacks and authorization URLs.

use std::borrow::Cow;

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// Longest text that is read, bytes.
pub(crate) const FORM_LEN_MAX: usize = 16 * 1024;
/// Parameters in one text.
const PARAMETERS_MAX: usize = 64;

/// Why a text is no form.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum FormError {
    /// Too long, or too many parameters.
    #[error("parameters are longer than {FORM_LEN_MAX} bytes or more than {PARAMETERS_MAX}")]
    TooLong,
    /// Not encoded as it must be.
    #[error("parameters are not percent-encoded UTF-8")]
    Encoding,
    /// A parameter must not come twice (RFC 6749, 3.1 and 3.2).
    #[error("parameter `{0}` is there twice")]
    Twice(&'static str),
}

/// Parameters, decoded.
#[derive(Debug)]
pub(crate) struct Form(Vec<(String, String)>);

impl Form {
    pub(crate) fn parse(text: &str) -> Result<Self, FormError> {
        if text.len() > FORM_LEN_MAX || text.split('&').count() > PARAMETERS_MAX {
            return Err(FormError::TooLong);
        }
        let pair = |pair: &str| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode(name)?, decode(value)?))
        };
        text.split('&').filter(|pair| !pair.is_empty()).map(pair).collect::<Result<_, _>>().map(Self)
    }

    /// A parameter's value; without one it counts as missing (RFC 6749, 3.1).
    pub(crate) fn get(&self, name: &'static str) -> Result<Option<&str>, FormError> {
        let mut values = self.0.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str());
        match (values.next(), values.next()) {
            (_, Some(_)) => Err(FormError::Twice(name)),
            (value, None) => Ok(value.filter(|value| !value.is_empty())),
        }
    }
}

/// Decodes one name or value.
pub(crate) fn decode(text: &str) -> Result<String, FormError> {
    let spaced = text.replace('+', " ");
    percent_decode_str(&spaced).decode_utf8().map(Cow::into_owned).map_err(|_| FormError::Encoding)
}

/// Writes parameters.
pub(crate) fn encode(parameters: &[(&str, &str)]) -> String {
    let all: Vec<_> = parameters
        .iter()
        .map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC)))
        .collect();
    all.join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded_and_come_once() {
        let form = Form::parse("a=1+%2B%C3%A9&b&c=&&d=x=y&d=z").unwrap();
        assert_eq!(form.get("a"), Ok(Some("1 +é")));
        for missing in ["b", "c", "e"] {
            assert_eq!(form.get(missing), Ok(None));
        }
        assert_eq!(form.get("d"), Err(FormError::Twice("d")));
        assert_eq!(Form::parse("a=%ff").unwrap_err(), FormError::Encoding);
        assert!(Form::parse(&vec!["a=1"; PARAMETERS_MAX].join("&")).is_ok());
        assert_eq!(Form::parse(&vec!["a=1"; PARAMETERS_MAX + 1].join("&")).unwrap_err(), FormError::TooLong);
        assert_eq!(Form::parse(&"a".repeat(FORM_LEN_MAX + 1)).unwrap_err(), FormError::TooLong);
    }

    proptest::proptest! {
        #[test]
        fn what_is_written_is_read(value in "\\PC{1,40}") {
            let form = Form::parse(&encode(&[("a", &value), ("b", "x")])).unwrap();
            proptest::prop_assert_eq!(form.get("a"), Ok(Some(value.as_str())));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,200}") {
            let _ = Form::parse(&text);
        }
    }
}
