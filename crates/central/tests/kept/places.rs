//! Where callers write and delete what is in organizations.

use super::*;

#[tokio::test]
async fn an_organization_is_written_by_who_has_a_role_above_it() {
    let (central, by) = with_organizations().await;
    let put = async |id: &str, parent: Option<&str>| {
        central.put_organization(WRITE, &organization_id(id), &below(parent), &by).await
    };
    put("new", Some("us")).await.unwrap();
    put("new", Some("west")).await.unwrap();
    put("west", Some("east")).await.unwrap();
    let unseen = Some(Denied::Unseen);
    assert_eq!(denied(put("top", None).await), unseen, "made at the root");
    assert_eq!(denied(put("west", None).await), unseen, "moved to the root");
    assert_eq!(denied(put("west", Some("eu")).await), unseen, "moved beside");
    assert_eq!(denied(put("west", Some("none")).await), unseen, "one that is not there is told as one unseen");
    assert_eq!(denied(put("eu", Some("us")).await), unseen, "taken from elsewhere");
    let update = Some(Denied::Permission(Permission::OrganizationsUpdate));
    assert_eq!(denied(put("us", None).await), update, "where the role is given");
    assert_eq!(denied(put("us", Some("west")).await), update);
    let operator = [given(ORG_OPERATOR, Some("us"))];
    let told = central.put_organization(WRITE, &organization_id("x1"), &below(Some("us")), &operator).await;
    assert_eq!(denied(told), Some(Denied::Permission(Permission::OrganizationsCreate)));
}

#[tokio::test]
async fn an_organization_is_deleted_by_who_has_a_role_above_it() {
    let (central, by) = with_organizations().await;
    let delete = async |id: &str| central.delete_organization(&organization_id(id), &IfMatch::Any, &by).await;
    assert_eq!(denied(delete("eu").await), Some(Denied::Unseen));
    assert_eq!(denied(delete("us").await), Some(Denied::Permission(Permission::OrganizationsDelete)));
    delete("west").await.unwrap();
    assert!(central.state().organizations.contains_key(&organization_id("eu")));
}

#[tokio::test]
async fn a_group_is_written_and_deleted_where_the_caller_may() {
    let (central, by) = with_organizations().await;
    let id = DeviceGroupId::parse("fans").unwrap();
    let put = async |organization: Option<&str>, by: &[RoleAssignment]| {
        central.put_group(WRITE, &id, &group(organization), by).await
    };
    assert_eq!(denied(put(None, &by).await), Some(Denied::Unseen), "made at the root");
    assert_eq!(denied(put(Some("eu"), &by).await), Some(Denied::Unseen), "made elsewhere");
    put(Some("west"), &by).await.unwrap();
    assert_eq!(denied(put(Some("eu"), &by).await), Some(Denied::Unseen), "moved elsewhere");
    assert_eq!(denied(put(None, &by).await), Some(Denied::Unseen), "moved to the root");
    let both = [given(ORG_VIEWER, Some("eu")), given(ORG_OPERATOR, Some("us"))];
    let update = Some(Denied::Permission(Permission::GroupsUpdate));
    assert_eq!(denied(put(Some("eu"), &both).await), update, "moved where the caller only looks");
    let delete = async |by: &[RoleAssignment]| central.delete_group(&id, &IfMatch::Any, by).await;
    assert_eq!(denied(delete(&[given(ORG_OPERATOR, Some("eu"))]).await), Some(Denied::Unseen));
    let viewer = [given(ORG_VIEWER, Some("us"))];
    assert_eq!(denied(delete(&viewer).await), Some(Denied::Permission(Permission::GroupsDelete)));
    delete(&by).await.unwrap();
}

#[tokio::test]
async fn a_token_is_deleted_by_who_may_where_it_has_roles() {
    let (central, by) = with_organizations().await;
    let id = TokenId::parse("t1").unwrap();
    let delete = async |by: &[RoleAssignment]| central.delete_token(&id, by).await;
    assert_eq!(denied(delete(&by).await), Some(Denied::Unseen));
    let builder = [given(BUILDER, None)];
    assert_eq!(denied(delete(&builder).await), Some(Denied::Permission(Permission::TokensDelete)));
    delete(&administrator()).await.unwrap();
    assert!(matches!(delete(&by).await, Err(CentralError::Token(TokenError::Unknown(_)))));
}
