//! Dashboards: shared and personal.

use super::*;

#[tokio::test]
async fn a_shared_dashboard_is_written_where_its_author_may() {
    let (central, by) = with_organizations().await;
    let id = dashboard_id("shared");
    let put = async |organization: Option<&str>, by: &[RoleAssignment]| {
        central.put_dashboard(WRITE, &id, &dashboard(organization), author(by)).await
    };
    assert_eq!(denied(put(None, &by).await), Some(Denied::Unseen));
    put(Some("west"), &by).await.unwrap();
    assert_eq!(denied(put(None, &by).await), Some(Denied::Unseen), "moved to the root");
    let viewer = [given(ORG_VIEWER, Some("us"))];
    let update = Some(Denied::Permission(Permission::DashboardsUpdate));
    assert_eq!(denied(put(Some("west"), &viewer).await), update);
    let elsewhere = [given(ORG_ADMINISTRATOR, Some("eu"))];
    let deleted = central.delete_dashboard(&id, &IfMatch::Any, author(&elsewhere)).await;
    assert_eq!(denied(deleted), Some(Denied::Unseen));
    let used = central.delete_organization(&organization_id("west"), &IfMatch::Any, &by).await;
    assert!(matches!(used, Err(CentralError::Organization(OrganizationError::InUse { what: "dashboards", .. }))));
    central.delete_dashboard(&id, &IfMatch::Any, author(&by)).await.unwrap();
}

#[tokio::test]
async fn a_personal_dashboard_is_its_users_alone_and_goes_with_them() {
    let (central, by) = with_organizations().await;
    let (one, other) = (user_id("one"), user_id("other"));
    for (id, name) in [(&one, "one"), (&other, "other")] {
        central.put_user(WRITE, id, &person(name, by[0].clone()), &administrator()).await.unwrap();
    }
    let id = dashboard_id("own");
    let own = Dashboard { owner: Some(one.clone()), ..dashboard(None) };
    let as_user = |user| Author { roles: &by, user: Some(user) };
    let put = async |new: &Dashboard, by: Author<'_>| central.put_dashboard(WRITE, &id, new, by).await;
    let owner = |told| matches!(told, Err(CentralError::Dashboard(DashboardError::Owner)));
    assert!(owner(put(&own, as_user(&other)).await), "made for somebody else");
    assert!(owner(put(&own, author(&administrator())).await), "made by a token");
    let viewer = [given(ORG_VIEWER, Some("us"))];
    let told = put(&own, Author { roles: &viewer, user: Some(&one) }).await;
    assert_eq!(denied(told), Some(Denied::Permission(Permission::PersonalCreate)));
    put(&own, as_user(&one)).await.unwrap();
    assert_eq!(denied(put(&own, as_user(&other)).await), Some(Denied::Unseen));
    assert_eq!(denied(put(&dashboard(None), author(&administrator())).await), Some(Denied::Unseen));
    assert!(owner(put(&Dashboard { owner: Some(other.clone()), ..own.clone() }, as_user(&one)).await), "given away");
    let root = Author { roles: &administrator(), user: Some(&one) };
    assert!(owner(put(&dashboard(None), root).await), "shared");
    let shared = dashboard_id("first");
    let taken = central.put_dashboard(WRITE, &shared, &own, root).await;
    assert!(owner(taken), "taken");
    let deleted = central.delete_dashboard(&id, &IfMatch::Any, Author { user: Some(&other), ..root }).await;
    assert_eq!(denied(deleted), Some(Denied::Unseen));
    central.delete_user(&one, &IfMatch::Any, &administrator()).await.unwrap();
    let left: Vec<_> = central.state().dashboards.keys().cloned().collect();
    assert_eq!(left, [shared]);
}
