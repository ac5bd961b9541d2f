use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use gantry_identity::Timestamp;

use super::*;
use crate::form::encode;
use crate::secret::Secret;
use crate::token::{Audiences, Head, Principal, PrincipalKind, validate};

const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_000);
const HUB: &str = "https://iothubs.azure.net";

fn guid(n: u8) -> Guid {
    Guid::from_random([n; 16])
}

fn secret() -> Secret {
    Secret::from_random([7; 32])
}

fn program() -> ServicePrincipal {
    let mut one = ServicePrincipal::new(guid(1), guid(2), "line 7");
    one.add_secret(guid(3), "first", &secret(), Duration::from_secs(3600), NOW).unwrap();
    one
}

fn directory() -> OwnDirectory {
    OwnDirectory::new("https://login.example/", guid(9))
}

fn keys() -> SigningKeys {
    let mut keys = SigningKeys::default();
    keys.add(signing::tests::drawn(), NOW).unwrap();
    keys
}

fn ask(endpoint: Endpoint, body: &str, client: Option<&ServicePrincipal>) -> Result<Granted, GrantError> {
    let request = TokenRequest::parse(endpoint, body, None)?;
    let resources: Vec<_> = Head::ALL.map(|head| Audiences::of(head, [""])).into();
    directory().grant(&request, client, &resources, &keys(), guid(5), NOW)
}

fn body(changes: &[(&str, &str)]) -> String {
    let (id, secret) = (guid(1).to_string(), secret());
    let mut all = vec![
        ("grant_type", "client_credentials"),
        ("client_id", &id),
        ("client_secret", secret.text()),
        ("scope", "https://iothubs.azure.net/.default"),
        ("resource", HUB),
        ("x-client-SKU", "MSAL.Python"),
    ];
    all.retain(|(name, _)| changes.iter().all(|(changed, _)| changed != name));
    all.extend(changes.iter().copied());
    encode(&all)
}

fn read(keys: &SigningKeys, token: &str, head: Head) -> Principal {
    let issuer = directory().trusted(keys.public_keys().unwrap());
    validate(token, &[issuer], &Audiences::of(head, [""]), NOW).unwrap()
}

#[test]
fn a_program_gets_a_token_that_our_heads_take() {
    let keys = keys();
    let mut program = program();
    program.roles = vec!["Device.Read".into()];
    for (endpoint, scope, head) in [
        (Endpoint::V1, "", Head::IotHub),
        (Endpoint::V2, "https://iothubs.azure.net/.default", Head::IotHub),
        (Endpoint::V2, "https://management.core.windows.net//.default", Head::Management),
    ] {
        let request = TokenRequest::parse(endpoint, &body(&[("scope", scope)]), None).unwrap();
        let resources = [Audiences::of(head, [""])];
        let granted = directory().grant(&request, Some(&program), &resources, &keys, guid(5), NOW).unwrap();
        let principal = read(&keys, granted.access_token.text(), head);
        assert_eq!((principal.tenant_id, principal.object_id), (guid(9), guid(2)));
        assert_eq!((principal.kind, principal.name.as_str()), (PrincipalKind::ServicePrincipal, "line 7"));
        assert_eq!((principal.app_id, principal.roles), (Some(guid(1).to_string()), vec!["Device.Read".to_owned()]));
    }
}

#[test]
fn the_answers_are_those_client_libraries_read() {
    let first = ask(Endpoint::V1, &body(&[]), Some(&program())).unwrap().document();
    assert_eq!((&first["expires_in"], &first["resource"]), (&json!("3599"), &json!(HUB)));
    assert_eq!(first["expires_on"], (NOW.as_secs() + 3600).to_string());
    let second = ask(Endpoint::V2, &body(&[]), Some(&program())).unwrap().document();
    assert_eq!((&second["expires_in"], &second["token_type"]), (&json!(3599), &json!("Bearer")));
    assert!(second.get("resource").is_none());
    let error = GrantError::Secret.document(guid(1), guid(2), NOW);
    assert_eq!(error["error_codes"], json!([7_000_215]));
    assert!(error["error_description"].as_str().unwrap().starts_with("AADSTS7000215: "), "{error}");
}

#[test]
fn requests_are_refused_with_their_reason() {
    let check = |endpoint, changes: &[(&str, &str)], expected: &str| {
        let error = ask(endpoint, &body(changes), Some(&program())).unwrap_err();
        let (_, word, number) = error.code();
        assert_eq!(format!("{word} {number}"), expected, "{changes:?}: {error}");
    };
    let both = |changes: &[(&str, &str)], expected: &str| {
        check(Endpoint::V1, changes, expected);
        check(Endpoint::V2, changes, expected);
    };
    both(&[("grant_type", "")], "invalid_request 900144");
    both(&[("grant_type", "password")], "unsupported_grant_type 70003");
    both(&[("client_assertion", "x")], "unsupported_grant_type 70003");
    both(&[("client_id", "")], "invalid_request 900144");
    both(&[("client_id", "x")], "unauthorized_client 700016");
    both(&[("client_id", &guid(8).to_string())], "unauthorized_client 700016");
    both(&[("client_secret", "")], "invalid_request 900144");
    both(&[("client_secret", "x")], "invalid_client 7000215");
    both(
        &[("client_secret", &secret().hash().as_bytes().iter().map(|b| format!("{b:02x}")).collect::<String>())],
        "invalid_client 7000215",
    );
    both(&[("client_id", "x"), ("client_id", "y")], "invalid_request 90014");
    check(Endpoint::V1, &[("resource", "")], "invalid_request 900144");
    check(Endpoint::V1, &[("resource", "https://graph.microsoft.com")], "invalid_resource 500011");
    check(Endpoint::V1, &[("resource", &"x".repeat(600))], "invalid_resource 500011");
    check(Endpoint::V2, &[("scope", "")], "invalid_request 900144");
    for scope in [HUB, "/.default", "a/.default b/.default", "https://iothubs.azure.net/user_impersonation"] {
        check(Endpoint::V2, &[("scope", scope)], "invalid_scope 70011");
    }
}

#[test]
fn programs_that_are_unknown_disabled_or_late_get_none() {
    let refused = |client: Option<&ServicePrincipal>| ask(Endpoint::V2, &body(&[]), client).unwrap_err();
    let unknown = GrantError::Unknown(guid(1).to_string());
    assert_eq!(refused(None), unknown);
    let with = |change: fn(&mut ServicePrincipal)| {
        let mut one = program();
        change(&mut one);
        one
    };
    assert_eq!(refused(Some(&with(|one| one.enabled = false))), unknown);
    assert_eq!(refused(Some(&with(|one| one.app_id = guid(4)))), unknown);
    let mut late = program();
    late.remove_secret(guid(3));
    late.add_secret(guid(3), "", &secret(), Duration::from_secs(1), Timestamp::from_millis(0)).unwrap();
    assert_eq!(refused(Some(&late)), GrantError::SecretExpired);
    let request = TokenRequest::parse(Endpoint::V1, &body(&[]), None).unwrap();
    let resources = [Audiences::of(Head::IotHub, [""])];
    let without = directory().grant(&request, Some(&program()), &resources, &SigningKeys::default(), guid(5), NOW);
    assert_eq!(without.unwrap_err(), GrantError::Signing);
}

#[test]
fn a_client_may_be_named_by_a_header_once() {
    let of = |text: &str| format!("basic {}", BASE64.encode(text));
    let good = of(&format!("{}:{}", guid(1), encode(&[("", secret().text())]).trim_start_matches('=')));
    let without = body(&[("client_id", ""), ("client_secret", "")]);
    let parse = |body: &str, header: &str| TokenRequest::parse(Endpoint::V1, body, Some(header));
    assert_eq!(parse(&without, &good).unwrap().client_id, guid(1));
    assert!(parse(&body(&[("client_secret", "")]), &good).is_ok(), "the same id again");
    assert_eq!(parse(&body(&[]), &good).unwrap_err(), GrantError::Client, "two secrets");
    for wrong in ["", "Basic", "Basic !", "Bearer abc", &of("no colon"), &of("%ff:x")] {
        assert_eq!(parse(&without, wrong).unwrap_err(), GrantError::Client, "{wrong}");
    }
}

#[test]
fn clients_find_what_they_need() {
    let document = directory().discovery_document(Endpoint::V2);
    let home = format!("https://login.example/{}", guid(9));
    assert_eq!(document["issuer"], format!("{home}/v2.0"));
    assert_eq!(document["token_endpoint"], format!("{home}/oauth2/v2.0/token"));
    assert_eq!(document["jwks_uri"], format!("{home}/discovery/v2.0/keys"));
    let first = directory().discovery_document(Endpoint::V1);
    assert_eq!(
        (&first["issuer"], &first["token_endpoint"]),
        (&json!(format!("{home}/")), &json!(format!("{home}/oauth2/token")))
    );
}

proptest::proptest! {
    #[test]
    fn any_request_is_read_or_refused(body in "\\PC{0,200}", header in "(Basic |basic )?[A-Za-z0-9+/=:]{0,60}") {
        for endpoint in [Endpoint::V1, Endpoint::V2] {
            let _ = TokenRequest::parse(endpoint, &body, None);
            let _ = TokenRequest::parse(endpoint, &format!("grant_type=client_credentials&{body}"), Some(&header));
        }
    }
}
