//! A foreign OpenID provider, as its discovery document says (OpenID Connect Discovery, 4.2).

use serde_json::{Map, Value};

/// Largest discovery document, bytes.
pub const PROVIDER_DOCUMENT_BYTES_MAX: usize = 64 * 1024;
/// Longest URL in it, bytes.
const URL_LEN_MAX: usize = 2048;

/// Where a provider's parts are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provider {
    /// What it calls itself in tokens.
    pub issuer: String,
    /// Where people are sent.
    pub authorization_endpoint: String,
    /// Where codes become tokens.
    pub token_endpoint: String,
    /// Where its keys are.
    pub jwks_uri: String,
    /// It says who it is in callbacks (RFC 9207).
    pub names_itself: bool,
}

/// Why a document is no provider's.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum ProviderError {
    /// Too large, or no JSON object.
    #[error("provider's document is no JSON object of at most {PROVIDER_DOCUMENT_BYTES_MAX} bytes")]
    Malformed,
    /// It is another's.
    #[error("provider's document names another issuer than the one that was asked")]
    Issuer,
    /// A URL is missing or none we call.
    #[error("provider's `{0}` is no https URL of at most {URL_LEN_MAX} bytes")]
    Url(&'static str),
    /// It cannot do what we need.
    #[error("provider's `{0}` lacks `{1}`")]
    Lacks(&'static str, &'static str),
}

impl Provider {
    /// Reads the document that was fetched from `{issuer}/.well-known/openid-configuration`.
    ///
    /// # Errors
    /// [`ProviderError`].
    pub fn parse(bytes: &[u8], issuer: &str) -> Result<Self, ProviderError> {
        if bytes.len() > PROVIDER_DOCUMENT_BYTES_MAX {
            return Err(ProviderError::Malformed);
        }
        let document: Map<String, Value> = serde_json::from_slice(bytes).map_err(|_| ProviderError::Malformed)?;
        if document.get("issuer").and_then(Value::as_str) != Some(issuer) {
            return Err(ProviderError::Issuer);
        }
        require(&document, "response_types_supported", "code")?;
        // Absent means that it says nothing about PKCE; one that knows it must know S256.
        if document.contains_key("code_challenge_methods_supported") {
            require(&document, "code_challenge_methods_supported", "S256")?;
        }
        Ok(Self {
            issuer: issuer.to_owned(),
            authorization_endpoint: url(&document, "authorization_endpoint")?,
            token_endpoint: url(&document, "token_endpoint")?,
            jwks_uri: url(&document, "jwks_uri")?,
            names_itself: document.get("authorization_response_iss_parameter_supported") == Some(&Value::Bool(true)),
        })
    }
}

fn require(document: &Map<String, Value>, name: &'static str, value: &'static str) -> Result<(), ProviderError> {
    let has = document.get(name).and_then(Value::as_array).is_some_and(|all| all.iter().any(|one| one == value));
    if has { Ok(()) } else { Err(ProviderError::Lacks(name, value)) }
}

fn url(document: &Map<String, Value>, name: &'static str) -> Result<String, ProviderError> {
    let url = document.get(name).and_then(Value::as_str).filter(|url| is_https(url));
    url.map(str::to_owned).ok_or(ProviderError::Url(name))
}

fn is_https(url: &str) -> bool {
    let rest = url.strip_prefix("https://").unwrap_or_default();
    let plain = |b: u8| b.is_ascii_graphic() && !matches!(b, b'#' | b'"' | b'<' | b'>' | b'\\' | b'@');
    url.len() <= URL_LEN_MAX && !rest.is_empty() && !rest.starts_with(['/', '?', ':']) && rest.bytes().all(plain)
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    pub(crate) const ISSUER: &str = "https://id.example/realms/works";

    pub(crate) fn document() -> Value {
        json!({
            "issuer": ISSUER,
            "authorization_endpoint": "https://id.example/authorize?realm=works",
            "token_endpoint": "https://id.example/token",
            "jwks_uri": "https://id.example/keys",
            "response_types_supported": ["code", "id_token"],
            "code_challenge_methods_supported": ["plain", "S256"],
            "authorization_response_iss_parameter_supported": true,
            "scopes_supported": ["openid"],
        })
    }

    fn read(document: &Value) -> Result<Provider, ProviderError> {
        Provider::parse(document.to_string().as_bytes(), ISSUER)
    }

    #[test]
    fn a_document_is_its_issuers() {
        let provider = read(&document()).unwrap();
        assert_eq!((provider.token_endpoint.as_str(), provider.names_itself), ("https://id.example/token", true));
        let check = |name: &str, value: Value, expected: ProviderError| {
            let mut document = document();
            document[name] = value;
            assert_eq!(read(&document).unwrap_err(), expected, "{name}");
        };
        check("issuer", json!("https://id.example/realms/works/"), ProviderError::Issuer);
        check(
            "response_types_supported",
            json!(["id_token"]),
            ProviderError::Lacks("response_types_supported", "code"),
        );
        let pkce = "code_challenge_methods_supported";
        check(pkce, json!(["plain"]), ProviderError::Lacks(pkce, "S256"));
        let long = format!("https://{}", "a".repeat(URL_LEN_MAX - 7));
        for url in
            ["", "http://id.example", "https://", "https:///x", "https://a b", "https://u@x", "https://x/#f", &long]
        {
            check("token_endpoint", json!(url), ProviderError::Url("token_endpoint"));
        }
        assert!(is_https(&long[..URL_LEN_MAX]));
        assert_eq!(Provider::parse(b"[]", ISSUER).unwrap_err(), ProviderError::Malformed);
        let large = vec![b' '; PROVIDER_DOCUMENT_BYTES_MAX + 1];
        assert_eq!(Provider::parse(&large, ISSUER).unwrap_err(), ProviderError::Malformed);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>, name in "[a-z_]{1,20}", text in "\\PC{0,30}") {
            let _ = Provider::parse(&bytes, ISSUER);
            let mut document = document();
            document[name] = json!(text);
            let _ = read(&document);
        }
    }
}
