//! One decision among as many assignments as may be: of somebody with few groups, with as many as a token holds, and
//! of nobody.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use gantry_directory::roles::actions::HUB_TWINS_READ;
use gantry_directory::{
    GROUPS_MAX, Guid, Principal, PrincipalKind, ROLE_ASSIGNMENTS_MAX, RoleAssignment, RoleAssignments, RoleDefinition,
    Scope,
};
use gantry_identity::Timestamp;

fn hub(n: usize) -> String {
    format!("/subscriptions/0/resourceGroups/g{}/providers/Microsoft.Devices/IotHubs/hub{n}", n % 10)
}

fn principal(id: u128, groups: usize) -> Principal {
    Principal {
        tenant_id: Guid::from_u128(0),
        object_id: Guid::from_u128(id),
        kind: PrincipalKind::User,
        name: String::new(),
        app_id: None,
        groups: (0..groups).map(|n| Guid::from_u128(1 << 64 | n as u128)).collect(),
        groups_elsewhere: false,
        roles: vec![],
        scopes: vec![],
        expires_at: Timestamp::from_millis(0),
    }
}

fn assignments() -> RoleAssignments {
    let role = RoleDefinition::named("IoT Hub Data Reader").expect("a role").id;
    let scope = |n: usize| if n.is_multiple_of(4) { "/subscriptions/0".to_owned() } else { hub(n) };
    let one = |n: usize| RoleAssignment {
        id: Guid::from_u128(n as u128),
        tenant_id: Guid::from_u128(0),
        principal_id: Guid::from_u128(n as u128),
        role_definition_id: role,
        scope: Scope::parse(&scope(n)).expect("a scope"),
    };
    RoleAssignments::from_list((0..ROLE_ASSIGNMENTS_MAX).map(one)).expect("assignments")
}

fn may(c: &mut Criterion) {
    let all = assignments();
    let resource = hub(7);
    let mut group = c.benchmark_group("directory/may");
    for (name, one) in [
        ("own role", principal(7, 0)),
        ("role above, 10 groups", principal(8, 10)),
        ("role above, 200 groups", principal(8, GROUPS_MAX)),
        ("nobody, 200 groups", principal(1 << 80, GROUPS_MAX)),
    ] {
        group.bench_function(name, |b| b.iter(|| all.may(black_box(&one), HUB_TWINS_READ, black_box(&resource))));
    }
    group.finish();
}

criterion_group!(benches, may);
criterion_main!(benches);
