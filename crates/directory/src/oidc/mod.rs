//! Signing in with a foreign OpenID provider: authorization code with PKCE (RFC 6749, RFC 7636, OpenID Connect Core),
//! we being the client. The steps are types; HTTP between them is done by others.
//!
//! 1. [`Flows::begin`] gives the address the browser is sent to, and the state for its cookie.
//! 2. [`Flows::callback`] takes what the browser brings back, once, and gives the [`Exchange`] to post.
//! 3. [`Awaiting::finish`] reads the provider's answer, checks the id token and gives a [`ForeignUser`].
//!
//! Invariant: at most [`FLOWS_MAX`] people are on their way; the one who left first is forgotten for a new one.

mod id_token;
mod provider;

use std::collections::HashMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gantry_identity::Timestamp;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

pub use id_token::{Awaiting, ForeignUser, IdTokenRefused, Mapping, RoleRule, TOKEN_ANSWER_BYTES_MAX};
pub use provider::{PROVIDER_DOCUMENT_BYTES_MAX, Provider, ProviderError};

use crate::form::{Form, FormError, encode};
use crate::secret::{Secret, SecretHash, SecretText};
use crate::token::jws::shown;

/// People on their way at one time.
pub const FLOWS_MAX: usize = 10_000;
/// How long the way may take.
pub const FLOW_LIFE: Duration = Duration::from_secs(10 * 60);

/// What a provider knows us as.
#[derive(Clone, Debug)]
pub struct Client {
    /// Our id there.
    pub client_id: String,
    /// Our secret there, if it gave us one.
    pub client_secret: Option<SecretText>,
    /// Where it sends people back to.
    pub redirect_uri: String,
    /// What we ask for beside `openid`.
    pub scopes: Vec<String>,
}

/// Secrets drawn for one way.
#[derive(Debug)]
pub struct Drawn {
    /// Ties the callback to the browser.
    pub state: Secret,
    /// Ties the id token to this way.
    pub nonce: Secret,
    /// Ties the code to us.
    pub verifier: Secret,
}

#[derive(Debug)]
struct Flow {
    provider: Provider,
    nonce: Secret,
    verifier: Secret,
    began_at: Timestamp,
    return_to: String,
}

/// What the browser is told.
#[derive(Debug)]
pub struct Start {
    /// Where to go; state and nonce are in it.
    pub url: SecretText,
    /// For a cookie that only the callback gets: `Secure; HttpOnly; SameSite=Lax`.
    pub state: SecretText,
}

/// Why a callback ends the way. For the log.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum CallbackRefused {
    /// It cannot be read.
    #[error("callback cannot be read: {0}")]
    Form(#[from] FormError),
    /// A parameter is missing.
    #[error("callback has no `{0}`")]
    Missing(&'static str),
    /// Another browser began, or none.
    #[error("callback's state is not that of the browser's cookie")]
    OtherBrowser,
    /// Nobody is on that way: never begun, over, too late, or taken before.
    #[error("sign-in is unknown, was finished or took longer than ten minutes")]
    Unknown,
    /// Another provider answers (RFC 9207).
    #[error("callback is of issuer `{0}`")]
    Issuer(String),
    /// The provider says no.
    #[error("provider refuses: `{0}`")]
    Provider(String),
}

/// What is to be posted to the provider.
#[derive(Debug)]
pub struct Exchange {
    /// Where to.
    pub url: String,
    /// `application/x-www-form-urlencoded`.
    pub body: SecretText,
    /// What reads the answer.
    pub awaiting: Awaiting,
    /// Where the person wanted to go.
    pub return_to: String,
}

/// Everybody who is on their way.
#[derive(Debug, Default)]
pub struct Flows(HashMap<SecretHash, Flow>);

impl Flows {
    /// Sends somebody to a provider. `return_to` is a path of ours, which the caller has checked.
    pub fn begin(
        &mut self,
        provider: &Provider,
        client: &Client,
        drawn: Drawn,
        return_to: &str,
        now: Timestamp,
    ) -> Start {
        self.0.retain(|_, flow| now.since(flow.began_at) < FLOW_LIFE);
        if self.0.len() >= FLOWS_MAX {
            let first = self.0.iter().min_by_key(|(_, flow)| flow.began_at).map(|(state, _)| *state);
            first.map(|state| self.0.remove(&state));
        }
        let url = authorization_url(provider, client, &drawn);
        let Drawn { state, nonce, verifier } = drawn;
        let flow = Flow { provider: provider.clone(), nonce, verifier, began_at: now, return_to: return_to.to_owned() };
        self.0.insert(state.hash(), flow);
        Start { url: SecretText::new(url), state: SecretText::new(state.text()) }
    }

    /// Takes what the browser brings back: the query of the callback, and its cookie.
    ///
    /// # Errors
    /// [`CallbackRefused`]; whoever was on this way begins again.
    pub fn callback(
        &mut self,
        client: &Client,
        query: &str,
        cookie: &str,
        now: Timestamp,
    ) -> Result<Exchange, CallbackRefused> {
        let form = Form::parse(query)?;
        let state = form.get("state")?.ok_or(CallbackRefused::Missing("state"))?;
        if !bool::from(state.as_bytes().ct_eq(cookie.as_bytes())) {
            return Err(CallbackRefused::OtherBrowser);
        }
        let flow = self.0.remove(&SecretHash::of(state)).ok_or(CallbackRefused::Unknown)?;
        if now.since(flow.began_at) >= FLOW_LIFE {
            return Err(CallbackRefused::Unknown);
        }
        match form.get("iss")? {
            Some(issuer) if issuer != flow.provider.issuer => return Err(CallbackRefused::Issuer(shown(issuer))),
            None if flow.provider.names_itself => return Err(CallbackRefused::Missing("iss")),
            _ => {}
        }
        if let Some(error) = form.get("error")? {
            return Err(CallbackRefused::Provider(shown(error)));
        }
        let code = form.get("code")?.ok_or(CallbackRefused::Missing("code"))?;
        Ok(exchange(client, flow, code))
    }
}

fn authorization_url(provider: &Provider, client: &Client, drawn: &Drawn) -> String {
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(drawn.verifier.text()));
    let mut scope = String::from("openid");
    for one in client.scopes.iter().filter(|one| *one != "openid") {
        scope.push(' ');
        scope.push_str(one);
    }
    let query = encode(&[
        ("response_type", "code"),
        ("client_id", &client.client_id),
        ("redirect_uri", &client.redirect_uri),
        ("scope", &scope),
        ("state", drawn.state.text()),
        ("nonce", drawn.nonce.text()),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
    ]);
    let at = &provider.authorization_endpoint;
    format!("{at}{}{query}", if at.contains('?') { '&' } else { '?' })
}

fn exchange(client: &Client, flow: Flow, code: &str) -> Exchange {
    let mut parameters = vec![
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", &client.redirect_uri),
        ("client_id", &client.client_id),
        ("code_verifier", flow.verifier.text()),
    ];
    if let Some(secret) = &client.client_secret {
        parameters.push(("client_secret", secret.text()));
    }
    let body = SecretText::new(encode(&parameters));
    let Flow { provider, nonce, began_at, return_to, .. } = flow;
    let url = provider.token_endpoint;
    let awaiting = Awaiting { issuer: provider.issuer, client_id: client.client_id.clone(), nonce, began_at };
    Exchange { url, body, awaiting, return_to }
}

#[cfg(test)]
pub(super) mod tests {
    use super::provider::tests::{ISSUER, document};
    use super::*;

    const NOW: Timestamp = crate::token::tests::NOW;

    fn provider() -> Provider {
        Provider::parse(document().to_string().as_bytes(), ISSUER).unwrap()
    }

    pub(crate) fn client() -> Client {
        Client {
            client_id: "gantry at work".into(),
            client_secret: Some(SecretText::new("s&s")),
            redirect_uri: "https://gantry.example/callback".into(),
            scopes: vec!["openid".into(), "profile".into()],
        }
    }

    fn drawn(n: u8) -> Drawn {
        let secret = |k| Secret::from_random([n.wrapping_add(k); 32]);
        Drawn { state: secret(0), nonce: secret(100), verifier: secret(200) }
    }

    fn begin(flows: &mut Flows, n: u8) -> (Start, String) {
        let start = flows.begin(&provider(), &client(), drawn(n), "/devices", NOW);
        let issuer = encode(&[("iss", ISSUER)]);
        let query = format!("code=c%2B1&state={}&{issuer}", start.state.text());
        (start, query)
    }

    pub(crate) fn awaiting() -> Awaiting {
        let mut flows = Flows::default();
        let (start, query) = begin(&mut flows, 1);
        flows.callback(&client(), &query, start.state.text(), NOW).unwrap().awaiting
    }

    pub(crate) fn nonce() -> String {
        drawn(1).nonce.text().to_owned()
    }

    /// RFC 7636, appendix B.
    #[test]
    fn the_challenge_is_the_published_one() {
        let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        let bytes: [u8; 32] = URL_SAFE_NO_PAD.decode(verifier).unwrap().try_into().unwrap();
        let drawn = Drawn { verifier: Secret::from_random(bytes), ..drawn(1) };
        let url = authorization_url(&provider(), &client(), &drawn);
        assert!(url.contains("&code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw%2DcM&"), "{url}");
    }

    #[test]
    fn a_person_goes_and_comes_back_once() {
        let mut flows = Flows::default();
        let (start, query) = begin(&mut flows, 1);
        let way = "https://id.example/authorize?realm=works&response_type=code&client_id=gantry%20at%20work&";
        assert!(start.url.text().starts_with(way), "{}", start.url.text());
        assert!(start.url.text().contains("&scope=openid%20profile&"));
        let exchange = flows.callback(&client(), &query, start.state.text(), NOW).unwrap();
        assert_eq!((exchange.url.as_str(), exchange.return_to.as_str()), ("https://id.example/token", "/devices"));
        let form = Form::parse(exchange.body.text()).unwrap();
        let get = |name| form.get(name).unwrap().unwrap().to_owned();
        assert_eq!((get("code"), get("client_secret")), ("c+1".into(), "s&s".into()));
        assert_eq!(get("code_verifier"), drawn(1).verifier.text());
        let again = flows.callback(&client(), &query, start.state.text(), NOW).unwrap_err();
        assert_eq!(again, CallbackRefused::Unknown);
    }

    #[test]
    fn callbacks_of_others_are_refused() {
        let check = |change: &dyn Fn(String) -> String, expected: CallbackRefused| {
            let mut flows = Flows::default();
            let (start, query) = begin(&mut flows, 1);
            let query = change(query);
            assert_eq!(flows.callback(&client(), &query, start.state.text(), NOW).unwrap_err(), expected, "{query}");
        };
        check(&|query| query.replace("state=", "state=x"), CallbackRefused::OtherBrowser);
        check(&|query| query.replace("state=", "other="), CallbackRefused::Missing("state"));
        check(&|query| query.replace("code=c", "code=&c"), CallbackRefused::Missing("code"));
        check(&|query| query.replace("works", "others"), CallbackRefused::Issuer(ISSUER.replace("works", "others")));
        check(&|query| query.replace("iss=", "was="), CallbackRefused::Missing("iss"));
        check(&|query| format!("{query}&code=2"), FormError::Twice("code").into());
        check(&|query| format!("error=access_denied&{query}"), CallbackRefused::Provider("access_denied".into()));
        let mut flows = Flows::default();
        let (start, query) = begin(&mut flows, 1);
        for cookie in ["", drawn(2).state.text()] {
            let error = flows.callback(&client(), &query, cookie, NOW).unwrap_err();
            assert_eq!(error, CallbackRefused::OtherBrowser);
        }
        let late = flows.callback(&client(), &query, start.state.text(), NOW.plus(FLOW_LIFE)).unwrap_err();
        assert_eq!(late, CallbackRefused::Unknown);
    }

    #[test]
    fn the_first_of_too_many_is_forgotten() {
        let mut flows = Flows::default();
        let (first, query) = begin(&mut flows, 1);
        let begin_at = |flows: &mut Flows, n: usize| {
            let mut bytes = [9; 32];
            bytes[..8].copy_from_slice(&n.to_be_bytes());
            let drawn = Drawn { state: Secret::from_random(bytes), ..drawn(2) };
            flows.begin(&provider(), &client(), drawn, "/", NOW.plus(Duration::from_secs(1)));
        };
        let flow = || Flow {
            provider: provider(),
            nonce: drawn(3).nonce,
            verifier: drawn(3).verifier,
            began_at: NOW.plus(Duration::from_secs(1)),
            return_to: String::new(),
        };
        flows.0.extend((1..FLOWS_MAX).map(|n| (SecretHash::of(&n.to_string()), flow())));
        assert!(flows.0.contains_key(&SecretHash::of(first.state.text())));
        begin_at(&mut flows, 1);
        assert_eq!(flows.0.len(), FLOWS_MAX);
        let error = flows.callback(&client(), &query, first.state.text(), NOW).unwrap_err();
        assert_eq!(error, CallbackRefused::Unknown);
    }

    proptest::proptest! {
        #[test]
        fn any_callback_is_refused(query in "\\PC{0,200}", cookie in "\\PC{0,60}") {
            let mut flows = Flows::default();
            begin(&mut flows, 1);
            proptest::prop_assert!(flows.callback(&client(), &query, &cookie, NOW).is_err());
        }
    }
}
