//! Exports of data and their destinations.

use std::collections::BTreeMap;

use gantry_central::exports::destinations::{
    Customization, Destination, DestinationError, EntityAuthorization, Target, WebhookAuthorization,
};
use gantry_central::exports::filter::ExportFilter;
use gantry_central::exports::{DestinationUse, Enrichment, Export, ExportError, Source};
use gantry_central::ids::{DestinationId, ExportId};
use gantry_central::secrets::{ConnectionString, HIDDEN, Secret, SecretError};

use super::*;

const HUB: &str = "Endpoint=sb://a.example/;SharedAccessKeyName=n;SharedAccessKey=hush;EntityPath=e";

fn destination_id(text: &str) -> DestinationId {
    DestinationId::parse(text).unwrap()
}

fn hub(text: &str) -> Destination {
    let connection_string = ConnectionString::parse(text).unwrap();
    let target = Target::EventHubs { authorization: EntityAuthorization::ConnectionString { connection_string } };
    Destination { display_name: DisplayName::parse("Event Hub").unwrap(), target }
}

fn hook(url: &str, value: Secret) -> Destination {
    let target = Target::Webhook {
        url: url.to_owned(),
        query_customizations: BTreeMap::new(),
        header_customizations: BTreeMap::from([
            ("x-custom-region".to_owned(), Customization::Open("eastus".to_owned())),
            ("x-key".to_owned(), Customization::Secret(value.clone())),
        ]),
        authorization: Some(WebhookAuthorization::Header { value }),
    };
    Destination { display_name: DisplayName::parse("Hook").unwrap(), target }
}

fn export(to: &[&str]) -> Export {
    let property = Enrichment::new(Some("dtmi:a:b;1".to_owned()), Some("model".to_owned()), None).unwrap();
    Export {
        display_name: DisplayName::parse("Export").unwrap(),
        enabled: true,
        source: Source::Telemetry,
        filter: Some(ExportFilter::parse("SELECT * FROM dtmi:a:b;1 AS A WHERE A.t > 5").unwrap()),
        enrichments: BTreeMap::from([
            ("model".to_owned(), property),
            ("name".to_owned(), Enrichment::new(None, Some("$displayName".to_owned()), None).unwrap()),
            ("plant".to_owned(), Enrichment::new(None, None, Some(json!(7))).unwrap()),
        ]),
        destinations: to
            .iter()
            .map(|id| DestinationUse { id: destination_id(id), transform: None, since_ms: 0 })
            .collect(),
    }
}

fn export_id() -> ExportId {
    ExportId::parse("export1").unwrap()
}

/// Two destinations, and an export to one of them.
pub(super) async fn fill(central: &Central) {
    central.put_destination(WRITE, &destination_id("hub"), &hub(HUB)).await.unwrap();
    let secret = Secret::parse("value", "hush").unwrap();
    central.put_destination(WRITE, &destination_id("hook"), &hook("https://a.example", secret)).await.unwrap();
    central.put_export(WRITE, &export_id(), &export(&["hub"])).await.unwrap();
}

#[tokio::test]
async fn a_destination_that_was_read_and_written_back_keeps_its_secrets() {
    let central = filled(&Arc::new(Memory::new())).await;
    let (hub_id, hook_id) = (destination_id("hub"), destination_id("hook"));
    let before = central.state().destinations.clone();
    assert!(!format!("{before:?}").contains("hush"));
    central.put_destination(WRITE, &hub_id, &hub(&HUB.replace("hush", HIDDEN))).await.unwrap();
    central.put_destination(WRITE, &hook_id, &hook("https://a.example", Secret::hidden())).await.unwrap();
    let after = central.state().destinations.clone();
    for id in [&hub_id, &hook_id] {
        assert_eq!(after[id].value, before[id].value);
    }
}

#[tokio::test]
async fn a_secret_is_not_sent_elsewhere() {
    let central = filled(&Arc::new(Memory::new())).await;
    let (hub_id, hook_id) = (destination_id("hub"), destination_id("hook"));
    let nothing = |told: Result<_, CentralError>| {
        matches!(told, Err(CentralError::Destination(DestinationError::Secret(SecretError::Nothing(_)))))
    };
    let moved = HUB.replace("hush", HIDDEN).replace("a.example", "b.example");
    assert!(nothing(central.put_destination(WRITE, &hub_id, &hub(&moved)).await));
    assert!(nothing(central.put_destination(WRITE, &hook_id, &hook("https://b.example", Secret::hidden())).await));
    assert!(nothing(central.put_destination(WRITE, &destination_id("new"), &hub(&HUB.replace("hush", HIDDEN))).await));
    let new = Secret::parse("value", "new").unwrap();
    central.put_destination(WRITE, &hook_id, &hook("https://b.example", new)).await.unwrap();
}

#[tokio::test]
async fn a_destination_goes_only_when_no_export_sends_to_it() {
    let central = filled(&Arc::new(Memory::new())).await;
    let id = destination_id("hub");
    let used = central.delete_destination(&id, &IfMatch::Any).await;
    assert!(
        matches!(used, Err(CentralError::Destination(DestinationError::InUse { export, .. })) if export == export_id())
    );
    central.put_export(WRITE, &export_id(), &export(&["hook"])).await.unwrap();
    central.delete_destination(&id, &IfMatch::Any).await.unwrap();
    let gone = central.put_export(WRITE, &export_id(), &export(&["hook", "hub"])).await;
    assert!(matches!(gone, Err(CentralError::Export(ExportError::UnknownDestination(told))) if told == id));
    central.delete_export(&export_id(), &IfMatch::Any).await.unwrap();
    let again = central.delete_export(&export_id(), &IfMatch::Any).await;
    assert!(matches!(again, Err(CentralError::Export(ExportError::Unknown(_)))));
    central.delete_destination(&destination_id("hook"), &IfMatch::Any).await.unwrap();
}
