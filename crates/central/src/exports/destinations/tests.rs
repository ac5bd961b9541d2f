use super::*;
use crate::kept::tests::kept;

pub(crate) fn destination(target: Target) -> Destination {
    Destination { display_name: DisplayName::parse("Destination").unwrap(), target }
}

fn secret(text: &str) -> Secret {
    Secret::parse("secret", text).unwrap()
}

fn connection(text: &str) -> ConnectionString {
    ConnectionString::parse(text).unwrap()
}

fn blobs(text: &str) -> Target {
    let (connection_string, container_name) = (connection(text), "test".to_owned());
    Target::BlobStorage { authorization: BlobAuthorization::ConnectionString { connection_string, container_name } }
}

const BROKER: &str = "Endpoint=sb://a.servicebus.windows.net/;SharedAccessKeyName=n;SharedAccessKey=k;EntityPath=e";

fn broker(text: &str) -> EntityAuthorization {
    EntityAuthorization::ConnectionString { connection_string: connection(text) }
}

fn explorer(url: &str, client_id: &str, client_secret: Secret) -> Target {
    let (client_id, tenant_id) = (client_id.to_owned(), "72f988bf".to_owned());
    let authorization = TableAuthorization::ServicePrincipal { client_id, tenant_id, client_secret };
    let (database, table) = ("d".to_owned(), "t".to_owned());
    Target::DataExplorer { cluster_url: url.to_owned(), database, table, authorization }
}

pub(crate) fn webhook(url: &str, authorization: Option<WebhookAuthorization>) -> Target {
    let (query_customizations, header_customizations) = (Customizations::new(), Customizations::new());
    Target::Webhook { url: url.to_owned(), query_customizations, header_customizations, authorization }
}

fn with_header(url: &str, name: &str, one: Customization) -> Target {
    let (query_customizations, authorization) = (Customizations::new(), None);
    let header_customizations = Customizations::from([(name.to_owned(), one)]);
    Target::Webhook { url: url.to_owned(), query_customizations, header_customizations, authorization }
}

fn oauth(token_url: &str, client_id: &str, client_secret: Secret) -> WebhookAuthorization {
    let (token_url, client_id) = (token_url.to_owned(), client_id.to_owned());
    let (audience, scope, request_type) = (Some("a".to_owned()), None, Some(RequestType::UrlEncoded));
    WebhookAuthorization::OAuth { token_url, client_id, client_secret, audience, scope, request_type }
}

const AZURE: &str = "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=k==;EndpointSuffix=core.windows.net";

fn every_kind() -> Vec<Target> {
    let (host_name, entity) = ("a.servicebus.windows.net".to_owned(), "e".to_owned());
    let identity = EntityAuthorization::SystemAssignedManagedIdentity { host_name, entity };
    let (endpoint_uri, container_name) = ("https://a.blob.core.windows.net/".to_owned(), "c".to_owned());
    let by_identity = BlobAuthorization::SystemAssignedManagedIdentity { endpoint_uri, container_name };
    let header = WebhookAuthorization::Header { value: secret("Bearer x") };
    vec![
        blobs(AZURE),
        Target::BlobStorage { authorization: by_identity },
        Target::EventHubs { authorization: broker(BROKER) },
        Target::EventHubs { authorization: identity.clone() },
        Target::ServiceBusQueue { authorization: broker(BROKER) },
        Target::ServiceBusTopic { authorization: identity },
        explorer("https://c.kusto.windows.net", "c", secret("s")),
        webhook("https://contoso.com/hook", None),
        webhook("https://contoso.com/hook", Some(header)),
        webhook("https://contoso.com/hook", Some(oauth("https://contoso.com/token", "c", secret("s")))),
        with_header("https://contoso.com/hook", "x-custom-region", Customization::Open("eastus".to_owned())),
    ]
}

#[test]
fn every_kind_is_good_and_read_as_it_was_stored() {
    for target in every_kind() {
        let one = destination(target);
        assert_eq!(one.check(), Ok(()), "{one:?}");
        assert_eq!(one.clone().with_secrets(None), Ok(one.clone()));
        let text = serde_json::to_string(&one).unwrap();
        assert_eq!(serde_json::from_str::<Destination>(&text).unwrap(), one, "{text}");
    }
}

#[track_caller]
fn wrong(target: Target, part: &str) {
    let told = destination(target).check().unwrap_err().to_string();
    assert!(told.contains(part), "{told}");
}

#[test]
fn what_is_wrong_is_named() {
    wrong(blobs("AccountKey=k"), "no `AccountName`");
    wrong(blobs("AccountName=a"), "no `AccountKey`");
    wrong(Target::EventHubs { authorization: broker("Endpoint=e;SharedAccessKey=k") }, "no `EntityPath`");
    wrong(Target::ServiceBusQueue { authorization: broker("Endpoint=e;EntityPath=q") }, "no `SharedAccessKey`");
    let (host_name, entity) = ("h".to_owned(), String::new());
    let identity = EntityAuthorization::SystemAssignedManagedIdentity { host_name, entity };
    wrong(Target::ServiceBusTopic { authorization: identity }, "`topicName`");
    wrong(explorer("kusto", "c", secret("s")), "`clusterUrl`");
    wrong(explorer("https://c", "", secret("s")), "`clientId`");
    for bad in ["ftp://a", "https://a:99999/", "https://[::1/", "https://a b/"] {
        wrong(webhook(bad, None), "`url` is not a URL with `https://` or `http://`");
    }
    for bad in ["https://user@a/", "https://user:secret@a/", "https://:secret@a/"] {
        wrong(webhook(bad, None), "`url` is not a URL without a user");
    }
    wrong(explorer("https://user:secret@c", "c", secret("s")), "`clusterUrl`");
    wrong(webhook("https://a", Some(oauth("token", "c", secret("s")))), "`tokenUrl`");
    let open = |text: &str| Customization::Open(text.to_owned());
    wrong(with_header("https://a", "a b", open("x")), "`headerCustomizations` has a name \"a b\"");
    for framing in ["Host", "content-length", "Transfer-Encoding", "CONNECTION"] {
        wrong(with_header("https://a", framing, open("1")), framing);
    }
    wrong(with_header("https://a", "a", open("x\r\ny: z")), "`headerCustomizations`");
    let many = |count: usize| {
        let header_customizations = (0..count).map(|n| (format!("h{n}"), open(""))).collect();
        let (query_customizations, authorization) = (Customizations::new(), None);
        Target::Webhook { url: "https://a".to_owned(), query_customizations, header_customizations, authorization }
    };
    assert_eq!(destination(many(CUSTOMIZATIONS_MAX)).check(), Ok(()));
    wrong(many(CUSTOMIZATIONS_MAX + 1), "50 members");
}

/// Writes a target over another; says whether the secret that is hidden was kept.
#[track_caller]
fn check(old: Target, new: Target, is_kept: bool) {
    let told = destination(new).with_secrets(Some(&destination(old.clone())));
    match told {
        Ok(told) if is_kept => assert_eq!(told.target, old),
        Err(SecretError::Nothing(_)) if !is_kept => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_hidden_secret_is_kept_while_it_goes_where_it_went() {
    let hidden = Secret::hidden;
    let (one, other) = ("https://a", "https://evil.example");
    check(explorer(one, "c", secret("s")), explorer(one, "c", hidden()), true);
    check(explorer(one, "c", secret("s")), explorer(other, "c", hidden()), false);
    check(explorer(one, "c", secret("s")), explorer(one, "d", hidden()), false);
    let header = |value| Some(WebhookAuthorization::Header { value });
    check(webhook(one, header(secret("s"))), webhook(one, header(hidden())), true);
    check(webhook(one, header(secret("s"))), webhook(other, header(hidden())), false);
    let token = |url, secret| webhook(one, Some(oauth(url, "c", secret)));
    check(token(one, secret("s")), token(one, hidden()), true);
    check(token(one, secret("s")), token(other, hidden()), false);
    check(webhook(one, header(secret("s"))), token(one, hidden()), false);
    let custom = |url, name, secret| with_header(url, name, Customization::Secret(secret));
    check(custom(one, "k", secret("s")), custom(one, "k", hidden()), true);
    check(custom(one, "k", secret("s")), custom(one, "l", hidden()), false);
    check(custom(one, "k", secret("s")), custom(other, "k", hidden()), false);
    check(blobs(AZURE), blobs(&connection(AZURE).masked()), true);
    check(blobs(AZURE), blobs(&connection(AZURE).masked().replace("AccountName=a", "AccountName=b")), false);
    let hub = |text: &str| Target::EventHubs { authorization: broker(text) };
    check(hub(BROKER), hub(&connection(BROKER).masked()), true);
    check(webhook(one, None), hub(&connection(BROKER).masked()), false);
}

#[test]
fn ten_at_most() {
    let id = |n: usize| DestinationId::parse(&format!("d{n}")).unwrap();
    let one = destination(webhook("https://a", None));
    let of = |count: usize| -> Destinations { (0..count).map(|n| (id(n), kept(one.clone()))).collect() };
    assert_eq!(check_put(&of(DESTINATIONS_MAX - 1), &id(99), &one), Ok(()));
    assert_eq!(check_put(&of(DESTINATIONS_MAX), &id(99), &one), Err(DestinationError::TooMany));
    assert_eq!(check_put(&of(DESTINATIONS_MAX), &id(0), &one), Ok(()));
}
