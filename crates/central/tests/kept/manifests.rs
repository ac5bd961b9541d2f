//! Deployment manifests.

use super::*;

#[tokio::test]
async fn a_manifest_goes_only_when_no_device_has_it() {
    let documents = Arc::new(Memory::new());
    let central = filled(&documents).await;
    let (id, by) = (manifest_id("edge"), administrator());
    let used = load(&documents, true).await.delete_manifest(&id, &IfMatch::Any, &by).await;
    assert!(matches!(used, Err(CentralError::Manifest(ManifestError::InUse { what: "devices", .. }))));
    central.delete_manifest(&id, &IfMatch::Any, &by).await.unwrap();
    let gone = central.delete_manifest(&id, &IfMatch::Any, &by).await;
    assert!(matches!(gone, Err(CentralError::Manifest(ManifestError::Unknown(_)))));
}

#[tokio::test]
async fn a_manifest_is_written_by_who_manages_them() {
    let (central, by) = with_organizations().await;
    let id = manifest_id("own");
    let put = async |organization: Option<&str>, by: &[RoleAssignment]| {
        central.put_manifest(WRITE, &id, &manifest(organization), by).await
    };
    let manage = Some(Denied::Permission(Permission::ManifestsManageGlobal));
    assert_eq!(denied(put(Some("west"), &by).await), manage);
    assert_eq!(denied(put(None, &by).await), Some(Denied::Unseen));
    let builder = [given(BUILDER, None)];
    put(Some("west"), &builder).await.unwrap();
    assert_eq!(denied(central.delete_manifest(&id, &IfMatch::Any, &by).await), manage);
    let used = central.delete_organization(&organization_id("west"), &IfMatch::Any, &administrator()).await;
    let what = "deployment manifests";
    assert!(
        matches!(used, Err(CentralError::Organization(OrganizationError::InUse { what: told, .. })) if told == what)
    );
    let unknown = put(Some("none"), &builder).await;
    assert!(matches!(unknown, Err(CentralError::Manifest(ManifestError::UnknownOrganization(_)))));
}
