//! Who may do what: roles of the database, of tables, functions and views.
//!
//! Whoever has a key of the platform that reads devices reads the tables, and whoever may change rules may change
//! tables: that follows from policies and users, not from here. Roles say who sees a table that has the policy
//! `restricted_view_access`. They are given by who administers the platform.

use gantry_kql::command::{Entity, RoleChange};

use super::answers::{Answer, text};
use super::{Answered, Run};
use crate::store::Role;
use crate::warehouse::Rejected;

/// Roles and what they are shown as.
const ROLES: [(&str, &str); 7] = [
    ("admins", "Admin"),
    ("users", "User"),
    ("viewers", "Viewer"),
    ("unrestrictedviewers", "UnrestrictedViewer"),
    ("ingestors", "Ingestor"),
    ("monitors", "Monitor"),
    ("owners", "Owner"),
];

pub(super) fn change(
    run: &Run,
    change: RoleChange,
    entity: &Entity,
    role: &str,
    principals: &[String],
    notes: &str,
) -> Answered {
    if !run.ask.by.may_administer {
        let who = &run.ask.by.principal;
        return Err(Rejected::Forbidden(format!("{who} is not authorized to run `{}`", run.name)));
    }
    if !ROLES.iter().any(|(known, _)| *known == role) {
        return Err(Rejected::Wrong(format!("`{role}` is no role")));
    }
    for principal in principals {
        let kinds = ["aaduser", "aadapp", "aadgroup", "msauser", "policy", "user", "dstsgroup", "aad"];
        let known = principal.split_once('=').is_some_and(|(kind, name)| {
            kinds.iter().any(|one| kind.to_ascii_lowercase().starts_with(one)) && !name.is_empty()
        });
        if !known {
            return Err(Rejected::Wrong(format!("`{principal}` names nobody: `policy=NAME` or `user=NAME` does")));
        }
    }
    let of = super::policies::entity_of(run, entity, &run.snapshot())?;
    run.change(|snapshot| {
        let all = snapshot.definitions.roles.entry(of.clone()).or_default();
        match change {
            RoleChange::Set => all.retain(|one| one.role != role),
            RoleChange::Drop => all.retain(|one| one.role != role || !principals.contains(&one.principal)),
            RoleChange::Add => {}
        }
        if change != RoleChange::Drop {
            for principal in principals {
                let fresh = Role { role: role.to_owned(), principal: principal.clone(), notes: notes.to_owned() };
                all.retain(|one| (&one.role, &one.principal) != (&fresh.role, &fresh.principal));
                all.push(fresh);
            }
        }
        if all.is_empty() {
            snapshot.definitions.roles.remove(&of);
        }
        Ok(())
    })?;
    show(run, Some(entity))
}

pub(super) fn show(run: &Run, entity: Option<&Entity>) -> Answered {
    let snapshot = run.snapshot();
    let shown = |role: &str| ROLES.iter().find(|(known, _)| *known == role).map_or("", |(_, shown)| shown);
    let Some(entity) = entity else {
        let mut answer = Answer::of("ShowPrincipalRoles");
        for (of, roles) in &snapshot.definitions.roles {
            for one in roles.iter().filter(|one| one.principal == run.ask.by.principal) {
                answer.row(&[
                    ("Scope", text(of)),
                    ("DisplayName", text(&one.principal)),
                    ("Role", text(shown(&one.role))),
                ]);
            }
        }
        return Ok(answer.table());
    };
    let of = match entity {
        Entity::Cluster => "cluster".to_owned(),
        other => super::policies::entity_of(run, other, &snapshot)?,
    };
    let (kind, name) = of.split_once(' ').unwrap_or((&of, run.warehouse.database()));
    let kind = kind[..1].to_uppercase() + &kind[1..];
    let mut answer = Answer::of("ShowDatabasePrincipals");
    for one in snapshot.definitions.roles.get(&of).into_iter().flatten() {
        let (principal_kind, id) = one.principal.split_once('=').unwrap_or(("", &one.principal));
        answer.row(&[
            ("Role", text(format!("{kind} {name} {}", shown(&one.role)))),
            ("PrincipalType", text(principal_kind)),
            ("PrincipalDisplayName", text(id)),
            ("PrincipalObjectId", text(id)),
            ("PrincipalFQN", text(&one.principal)),
            ("Notes", text(&one.notes)),
        ]);
    }
    Ok(answer.table())
}
