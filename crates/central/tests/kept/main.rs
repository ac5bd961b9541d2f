//! What an application keeps: rules that look at several collections, writers beside each other, and what is stored.

mod dashboards;
mod exports;
mod jobs;
mod manifests;
mod places;
mod scheduled;
mod uploads;

use std::path::PathBuf;
use std::sync::Arc;

use gantry_central::access::caller::Denied;
use gantry_central::access::permissions::{Permission, PermissionSet};
use gantry_central::access::roles::{
    ADMINISTRATOR, BUILDER, CustomRole, ORG_ADMINISTRATOR, ORG_OPERATOR, ORG_VIEWER, RoleError, RoleKind,
};
use gantry_central::access::tokens::{NewToken, PresentedToken, TokenError};
use gantry_central::access::users::{Identity, RoleAssignment, User, UserError};
use gantry_central::dashboards::{Dashboard, DashboardError, read_tiles};
use gantry_central::groups::{DeviceFilter, DeviceGroup, GroupError};
use gantry_central::ids::{
    DashboardId, DeploymentManifestId, DeviceGroupId, DeviceTemplateId, DisplayName, OrganizationId, RoleId, TokenId,
    UserId,
};
use gantry_central::manifests::{DeploymentManifest, ManifestData, ManifestError};
use gantry_central::organizations::{Organization, OrganizationError};
use gantry_central::ports::Devices;
use gantry_central::templates::{DeviceTemplate, TemplateError, TemplateWrite};
use gantry_central::{Author, Central, CentralError, Write};
use gantry_hub::device::IfMatch;
use gantry_hub::ports::{Documents, PortFuture, StoreError};
use gantry_identity::Timestamp;
use gantry_storage_suite::Memory;
use serde_json::json;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const WRITE: Write<'static> = Write { now: NOW, drawn: 1_000, if_match: &IfMatch::Absent };

/// Devices of which there is one of a template, with a manifest and in an organization, or none.
struct Fleet(bool);

impl Devices for Fleet {
    fn any_of_template<'a>(&'a self, _: &'a DeviceTemplateId) -> PortFuture<'a, bool, StoreError> {
        Box::pin(async { Ok(self.0) })
    }
    fn any_with_manifest<'a>(&'a self, _: &'a DeploymentManifestId) -> PortFuture<'a, bool, StoreError> {
        Box::pin(async { Ok(self.0) })
    }
    fn any_in_organization<'a>(&'a self, _: &'a OrganizationId) -> PortFuture<'a, bool, StoreError> {
        Box::pin(async { Ok(self.0) })
    }
}

async fn load(documents: &Arc<Memory>, has_devices: bool) -> Central {
    Central::load(Arc::clone(documents) as Arc<dyn Documents>, Arc::new(Fleet(has_devices))).await.unwrap()
}

fn organization_id(text: &str) -> OrganizationId {
    OrganizationId::parse(text).unwrap()
}

fn user_id(text: &str) -> UserId {
    UserId::parse(text).unwrap()
}

fn given(role: &str, organization: Option<&str>) -> RoleAssignment {
    RoleAssignment { role: RoleId::parse(role).unwrap(), organization: organization.map(organization_id) }
}

fn person(name: &str, role: RoleAssignment) -> User {
    User { identity: Identity::Email { email: format!("{name}@contoso.com") }, roles: vec![role] }
}

fn administrator() -> Vec<RoleAssignment> {
    vec![given(ADMINISTRATOR, None)]
}

fn below(parent: Option<&str>) -> Organization {
    Organization { display_name: Some(DisplayName::parse("North").unwrap()), parent: parent.map(organization_id) }
}

fn template_id() -> DeviceTemplateId {
    DeviceTemplateId::parse("dtmi:contoso:pumpTemplate;1").unwrap()
}

fn template() -> DeviceTemplate {
    let write = TemplateWrite {
        types: vec!["ModelDefinition".to_owned(), "DeviceModel".to_owned()],
        display_name: Some("Pump".to_owned()),
        capability_model: json!({ "@id": "dtmi:contoso:pump;1", "@type": "Interface", "contents": [
            { "@type": "Telemetry", "name": "t", "schema": "double" }] }),
        ..TemplateWrite::default()
    };
    DeviceTemplate::new(&template_id(), write, &mut |_: &[_]| None).unwrap()
}

fn custom_role() -> CustomRole {
    CustomRole {
        display_name: DisplayName::parse("Rule keeper").unwrap(),
        kind: RoleKind::Application,
        permissions: PermissionSet::of(&[Permission::RulesUpdate]),
    }
}

fn group(organization: Option<&str>) -> DeviceGroup {
    DeviceGroup {
        display_name: DisplayName::parse("Pumps").unwrap(),
        description: None,
        filter: DeviceFilter::parse(r#"SELECT * FROM devices WHERE $template = "dtmi:contoso:pumpTemplate;1""#)
            .unwrap(),
        organization: organization.map(organization_id),
    }
}

fn dashboard_id(text: &str) -> DashboardId {
    DashboardId::parse(text).unwrap()
}

fn dashboard(organization: Option<&str>) -> Dashboard {
    let tiles = json!([{ "displayName": "Pumps", "height": 1, "width": 2.5, "x": 0, "y": 0,
        "configuration": { "type": "deviceCount", "group": "pumps" } }]);
    Dashboard {
        display_name: DisplayName::parse("Overview").unwrap(),
        tiles: read_tiles(&tiles).unwrap(),
        favorite: true,
        owner: None,
        organization: organization.map(organization_id),
    }
}

fn manifest_id(text: &str) -> DeploymentManifestId {
    DeploymentManifestId::parse(text).unwrap()
}

fn manifest(organization: Option<&str>) -> DeploymentManifest {
    let module = |more| {
        let mut module = json!({ "type": "docker", "settings": { "image": "i" } });
        module.as_object_mut().unwrap().extend(more);
        module
    };
    let running = json!({ "status": "running", "restartPolicy": "always" }).as_object().unwrap().clone();
    let agent = json!({ "schemaVersion": "1.1", "runtime": { "type": "docker", "settings": {} },
        "systemModules": { "edgeAgent": module(serde_json::Map::new()), "edgeHub": module(running) }, "modules": {} });
    let hub =
        json!({ "schemaVersion": "1.1", "routes": {}, "storeAndForwardConfiguration": { "timeToLiveSecs": 7200 } });
    let data = json!({ "modulesContent": {
        "$edgeAgent": { "properties.desired": agent }, "$edgeHub": { "properties.desired": hub } } });
    DeploymentManifest {
        display_name: DisplayName::parse("Edge").ok(),
        data: ManifestData::read(&data).unwrap(),
        organization: organization.map(organization_id),
    }
}

fn author(roles: &[RoleAssignment]) -> Author<'_> {
    Author { roles, user: None }
}

fn new_token() -> NewToken {
    NewToken { roles: administrator(), expiry: None, secret: [9; 32] }
}

/// An application with one of each kind.
async fn filled(documents: &Arc<Memory>) -> Central {
    let central = load(documents, false).await;
    central.found(WRITE, &user_id("root"), &person("root", given(ADMINISTRATOR, None))).await.unwrap();
    central.put_organization(WRITE, &organization_id("north"), &below(None), &administrator()).await.unwrap();
    central.put_role(WRITE, &RoleId::parse("keeper").unwrap(), &custom_role(), &administrator()).await.unwrap();
    central.put_template(WRITE, &template_id(), &template()).await.unwrap();
    central.put_group(WRITE, &DeviceGroupId::parse("pumps").unwrap(), &group(None), &administrator()).await.unwrap();
    let token = TokenId::parse("t1").unwrap();
    central.create_token(WRITE, "app", &token, new_token(), &administrator()).await.unwrap();
    central.put_dashboard(WRITE, &dashboard_id("first"), &dashboard(None), author(&administrator())).await.unwrap();
    central.put_manifest(WRITE, &manifest_id("edge"), &manifest(None), &administrator()).await.unwrap();
    exports::fill(&central).await;
    central.put_file_uploads(WRITE, &uploads::uploads("hush"), |_| Ok(())).await.unwrap();
    central.put_scheduled_job(WRITE, &jobs::job_id("nightly"), &scheduled::daily(), &administrator()).await.unwrap();
    central
}

/// An organization administrator of `us`, below which are `west` and `east`; `eu` is beside it.
async fn with_organizations() -> (Central, Vec<RoleAssignment>) {
    let central = filled(&Arc::new(Memory::new())).await;
    for (id, parent) in [("us", None), ("eu", None), ("west", Some("us")), ("east", Some("us"))] {
        central.put_organization(WRITE, &organization_id(id), &below(parent), &administrator()).await.unwrap();
    }
    (central, vec![given(ORG_ADMINISTRATOR, Some("us"))])
}

fn denied<T>(told: Result<T, CentralError>) -> Option<Denied> {
    match told {
        Err(CentralError::Denied(denied)) => Some(denied),
        _ => None,
    }
}

#[tokio::test]
async fn what_was_written_is_there_after_a_start() {
    let documents = Arc::new(Memory::new());
    let before = filled(&documents).await.state();
    let after = load(&documents, false).await.state();
    assert_eq!(before.users, after.users);
    assert_eq!(before.organizations, after.organizations);
    assert_eq!(before.roles, after.roles);
    assert_eq!(before.tokens, after.tokens);
    assert_eq!(before.groups, after.groups);
    assert_eq!(before.dashboards, after.dashboards);
    assert_eq!(before.manifests, after.manifests);
    assert_eq!(before.destinations, after.destinations);
    assert_eq!(before.exports, after.exports);
    assert_eq!(before.scheduled, after.scheduled);
    assert_eq!(before.file_uploads(), after.file_uploads());
    let capabilities = after.templates[&template_id()].value.capabilities().unwrap();
    assert!(capabilities.root.telemetry("t").is_some());
}

#[tokio::test]
async fn documents_are_stored_as_they_were() {
    let documents = Arc::new(Memory::new());
    let central = filled(&documents).await;
    let id = jobs::job_id("levels");
    central.put_job(WRITE, &id, &jobs::job(), &jobs::devices(3), &administrator()).await.unwrap();
    central.hand_out_devices(&id).await.unwrap();
    central.settle_devices(NOW, &id, &[(0, true), (2, false)]).await.unwrap();
    let mut told = String::new();
    for name in [
        "centralOrganizations",
        "centralRoles",
        "centralUsers",
        "centralTokens",
        "centralTemplates",
        "centralGroups",
        "centralDashboards",
        "centralManifests",
        "centralDestinations",
        "centralExports",
        "centralFileUploads",
        "centralScheduledJobs",
        "centralJobs",
        "centralJobDevices",
    ] {
        for (id, text) in documents.all(name).await.unwrap().documents {
            told.push_str(&format!("{name} {id}\n{text}\n"));
        }
    }
    let folder: PathBuf = gantry_golden::folder(env!("CARGO_MANIFEST_DIR"));
    gantry_golden::check(&folder.join("documents.v1.txt"), told.as_bytes());
}

#[tokio::test]
async fn a_document_that_cannot_be_read_is_named() {
    let documents = Arc::new(Memory::new());
    let change = gantry_hub::ports::Changes {
        collection: "centralUsers",
        version: 0,
        documents: vec![("root".to_owned(), Some("{}".to_owned()))],
    };
    documents.put(vec![change]).await.unwrap();
    let told = Central::load(documents, Arc::new(Fleet(false))).await.err().unwrap().to_string();
    assert!(told.contains("`root` of centralUsers"), "{told}");
}

#[tokio::test]
async fn an_etag_that_is_old_changes_nothing() {
    let central = filled(&Arc::new(Memory::new())).await;
    let id = organization_id("north");
    let first = central.state().organizations[&id].etag.text();
    let put = |tag: IfMatch| {
        let (central, id) = (&central, &id);
        async move {
            let write = Write { if_match: &tag, ..WRITE };
            central.put_organization(write, id, &below(None), &administrator()).await
        }
    };
    let second = put(IfMatch::tag(first.clone())).await.unwrap().etag.text();
    assert_ne!(first, second);
    assert!(matches!(put(IfMatch::tag(first.clone())).await, Err(CentralError::Changed(_))));
    let deleted = central.delete_organization(&id, &IfMatch::tag(first), &administrator()).await;
    assert!(matches!(deleted, Err(CentralError::Changed(_))));
    let missing = organization_id("none");
    let made = central
        .put_organization(Write { if_match: &IfMatch::Any, ..WRITE }, &missing, &below(None), &administrator())
        .await;
    assert!(matches!(made, Err(CentralError::Changed(_))));
}

#[tokio::test]
async fn two_processes_do_not_both_remove_an_administrator() {
    let documents = Arc::new(Memory::new());
    let one = filled(&documents).await;
    one.put_user(WRITE, &user_id("second"), &person("second", given(ADMINISTRATOR, None)), &administrator())
        .await
        .unwrap();
    let other = load(&documents, false).await;
    one.delete_user(&user_id("root"), &IfMatch::Any, &administrator()).await.unwrap();
    let told = other.delete_user(&user_id("second"), &IfMatch::Any, &administrator()).await;
    assert!(matches!(told, Err(CentralError::User(UserError::LastAdministrator(_)))), "{told:?}");
    assert_eq!(load(&documents, false).await.state().users.len(), 1);
}

#[tokio::test]
async fn an_organization_goes_only_when_nothing_is_in_it() {
    let documents = Arc::new(Memory::new());
    let central = filled(&documents).await;
    let id = organization_id("north");
    let check =
        async |expected: Option<&str>| match central.delete_organization(&id, &IfMatch::Any, &administrator()).await {
            Ok(()) => assert_eq!(expected, None),
            Err(CentralError::Organization(OrganizationError::InUse { what, .. })) => assert_eq!(Some(what), expected),
            Err(other) => panic!("{other:?}"),
        };
    central.put_organization(WRITE, &organization_id("inner"), &below(Some("north")), &administrator()).await.unwrap();
    check(Some("organizations below it")).await;
    central.delete_organization(&organization_id("inner"), &IfMatch::Any, &administrator()).await.unwrap();
    let viewer = person("viewer", given(ORG_VIEWER, Some("north")));
    central.put_user(WRITE, &user_id("viewer"), &viewer, &administrator()).await.unwrap();
    check(Some("users or API tokens with a role in it")).await;
    central.delete_user(&user_id("viewer"), &IfMatch::Any, &administrator()).await.unwrap();
    let pumps = DeviceGroupId::parse("pumps").unwrap();
    let elsewhere = central.put_group(WRITE, &pumps, &group(Some("south")), &administrator()).await;
    assert!(matches!(elsewhere, Err(CentralError::Group(GroupError::UnknownOrganization(_)))));
    central.put_group(WRITE, &pumps, &group(Some("north")), &administrator()).await.unwrap();
    check(Some("device groups")).await;
    central.put_group(WRITE, &pumps, &group(None), &administrator()).await.unwrap();
    let used = load(&documents, true).await.delete_organization(&id, &IfMatch::Any, &administrator()).await;
    assert!(matches!(used, Err(CentralError::Organization(OrganizationError::InUse { what: "devices", .. }))));
    check(None).await;
    let again = central.delete_organization(&id, &IfMatch::Any, &administrator()).await;
    assert!(matches!(again, Err(CentralError::Organization(OrganizationError::Unknown(_)))));
}

#[tokio::test]
async fn a_template_goes_only_when_no_device_uses_it() {
    let documents = Arc::new(Memory::new());
    let central = filled(&documents).await;
    let used = load(&documents, true).await.delete_template(&template_id(), &IfMatch::Any).await;
    assert!(matches!(used, Err(CentralError::Template(TemplateError::InUse(_)))));
    central.delete_template(&template_id(), &IfMatch::Any).await.unwrap();
    let gone = central.delete_template(&template_id(), &IfMatch::Any).await;
    assert!(matches!(gone, Err(CentralError::Template(TemplateError::Unknown(_)))));
}

#[tokio::test]
async fn a_role_goes_only_when_nobody_has_it_and_nobody_widens_their_own() {
    let central = filled(&Arc::new(Memory::new())).await;
    let id = RoleId::parse("keeper").unwrap();
    let keeper = [given("keeper", None)];
    central.put_user(WRITE, &user_id("k"), &person("k", keeper[0].clone()), &administrator()).await.unwrap();
    let deleted = central.delete_role(&id, &IfMatch::Any).await;
    assert!(matches!(deleted, Err(CentralError::Role(RoleError::InUse(_)))));
    let wider = CustomRole { permissions: PermissionSet::all(), ..custom_role() };
    let told = central.put_role(WRITE, &id, &wider, &keeper).await;
    assert!(matches!(told, Err(CentralError::Role(RoleError::TooMuch))));
    central.delete_user(&user_id("k"), &IfMatch::Any, &administrator()).await.unwrap();
    central.delete_role(&id, &IfMatch::Any).await.unwrap();
    let published = central.delete_role(&RoleId::parse(BUILDER).unwrap(), &IfMatch::Any).await;
    assert!(matches!(published, Err(CentralError::Role(RoleError::BuiltIn(_)))));
}

#[tokio::test]
async fn an_application_is_founded_once_by_an_administrator() {
    let documents = Arc::new(Memory::new());
    let central = load(&documents, false).await;
    let none = central.found(WRITE, &user_id("b"), &person("b", given(BUILDER, None))).await;
    assert!(matches!(none, Err(CentralError::User(UserError::NoAdministrator))));
    central.found(WRITE, &user_id("root"), &person("root", given(ADMINISTRATOR, None))).await.unwrap();
    let again = central.found(WRITE, &user_id("next"), &person("next", given(ADMINISTRATOR, None))).await;
    assert!(matches!(again, Err(CentralError::User(UserError::Known(_)))));
}

#[tokio::test]
async fn a_token_is_made_once_and_proves_nothing_when_it_is_gone() {
    let central = filled(&Arc::new(Memory::new())).await;
    let id = TokenId::parse("t2").unwrap();
    let made = central.create_token(WRITE, "app", &id, new_token(), &administrator()).await.unwrap();
    let presented = PresentedToken::parse(&made.1).unwrap();
    let verify = |central: &Central| {
        let state = central.state();
        let kept = presented.id().and_then(|id| state.tokens.get(&id).cloned());
        presented.verify(kept.as_deref().map(|kept| &kept.value), "app", NOW).is_ok()
    };
    assert!(verify(&central));
    let again = central.create_token(WRITE, "app", &id, new_token(), &administrator()).await;
    assert!(matches!(again, Err(CentralError::Token(TokenError::Exists(_)))));
    central.delete_token(&id, &administrator()).await.unwrap();
    assert!(!verify(&central));
    let late = NewToken { expiry: Some(NOW), ..new_token() };
    let expired = central.create_token(WRITE, "app", &id, late, &administrator()).await;
    assert!(matches!(expired, Err(CentralError::Token(TokenError::Expired))));
    let by = [given(BUILDER, None)];
    let more = central.create_token(WRITE, "app", &id, new_token(), &by).await;
    assert!(matches!(more, Err(CentralError::User(UserError::TooMuch(_)))));
}
