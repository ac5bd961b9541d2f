//! `gantry user`: people who sign in to the page. `gantry audit`: who changed what.

use anyhow::ensure;
use clap::{Subcommand, ValueEnum};
use gantry_identity::encode_component;
use reqwest::Method;
use serde_json::{Value, json};

use super::client::Client;
use super::output::{Output, text};

/// What somebody may do on the platform.
#[derive(Clone, Copy, ValueEnum)]
pub(super) enum Role {
    /// Nothing: their roles are those of the application's user with their address.
    Member,
    /// See.
    Viewer,
    /// Operate.
    Operator,
    /// Everything.
    Administrator,
}

#[derive(Subcommand)]
pub(super) enum UserCommand {
    /// Make a person, and print the link with which they choose their password.
    Add {
        /// The name they sign in with.
        name: String,
        /// What they may do on the platform.
        #[arg(long, value_enum, default_value_t = Role::Viewer)]
        role: Role,
        /// Their address: the application's user with it is theirs.
        #[arg(long)]
        email: Option<String>,
        /// What they are called.
        #[arg(long)]
        display_name: Option<String>,
    },
    /// List people.
    List,
    /// Change what a person may do.
    SetRole {
        /// Their name.
        name: String,
        /// What they may do on the platform.
        #[arg(value_enum)]
        role: Role,
    },
    /// Keep a person from signing in; their sessions end.
    Disable {
        /// Their name.
        name: String,
    },
    /// Let a person sign in again.
    Enable {
        /// Their name.
        name: String,
    },
    /// Forget a person.
    Delete {
        /// Their name.
        name: String,
    },
    /// Print a link with which a person chooses another password.
    ResetPassword {
        /// Their name.
        name: String,
    },
    /// Switch a person's second factor off, who lost it.
    RemoveTotp {
        /// Their name.
        name: String,
    },
    /// Let a person try again at once who failed too often.
    Unlock {
        /// Their name.
        name: String,
    },
}

fn path(name: &str, rest: &str) -> String {
    format!("/platform/v1/users/{}{rest}", encode_component(name))
}

pub(super) async fn user(client: &Client, output: Output, command: UserCommand) -> anyhow::Result<()> {
    match command {
        UserCommand::Add { name, role, email, display_name } => {
            let list = client.hub(Method::GET, "/platform/v1/users", None).await?;
            let mut all = list["value"].as_array().into_iter().flatten();
            let is_there = all.any(|user| text(user, "/name").eq_ignore_ascii_case(&name));
            ensure!(!is_there, "user `{name}` is there already");
            let body = json!({ "role": word(role), "email": email, "displayName": display_name.unwrap_or_default() });
            client.hub(Method::PUT, &path(&name, ""), Some(&body)).await?;
            link(client, output, &name).await
        }
        UserCommand::List => {
            let list = client.hub(Method::GET, "/platform/v1/users", None).await?;
            let columns = [
                ("name", "/name"),
                ("display name", "/displayName"),
                ("role", "/role"),
                ("email", "/email"),
                ("disabled", "/disabled"),
                ("password", "/hasPassword"),
                ("second factor", "/hasTotp"),
                ("provider", "/issuer"),
            ];
            output.table(&list["value"], &columns);
            Ok(())
        }
        UserCommand::SetRole { name, role } => change(client, output, &name, "role", word(role).into()).await,
        UserCommand::Disable { name } => change(client, output, &name, "disabled", true.into()).await,
        UserCommand::Enable { name } => change(client, output, &name, "disabled", false.into()).await,
        UserCommand::Delete { name } => {
            client.hub(Method::DELETE, &path(&name, ""), None).await?;
            output.value(&json!({ "deleted": name }), |_| println!("deleted {name}"));
            Ok(())
        }
        UserCommand::ResetPassword { name } => link(client, output, &name).await,
        UserCommand::RemoveTotp { name } => {
            client.hub(Method::POST, &path(&name, "/totp/remove"), None).await?;
            output.value(&json!({ "removed": name }), |_| println!("{name} has no second factor any more"));
            Ok(())
        }
        UserCommand::Unlock { name } => {
            client.hub(Method::POST, &path(&name, "/unlock"), None).await?;
            output.value(&json!({ "unlocked": name }), |_| println!("{name} may try again"));
            Ok(())
        }
    }
}

fn word(role: Role) -> String {
    role.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

/// Changes one member of a person that is as it was read.
async fn change(client: &Client, output: Output, name: &str, member: &str, value: Value) -> anyhow::Result<()> {
    let mut user = client.hub(Method::GET, &path(name, ""), None).await?;
    let etag = text(&user, "/etag");
    user[member] = value;
    let user = client.hub_if(Method::PUT, &path(name, ""), Some(&user), &etag).await?;
    output.value(&user, |user| println!("{name}: {member} is {}", text(user, &format!("/{member}"))));
    Ok(())
}

async fn link(client: &Client, output: Output, name: &str) -> anyhow::Result<()> {
    let made = client.hub(Method::POST, &path(name, "/passwordLink"), None).await?;
    let url = format!("{}/#password={}", client.connection().get("GANTRY_URL")?, text(&made, "/token"));
    let told = json!({ "name": name, "url": url, "until": made["until"] });
    output.value(&told, |told| {
        println!("{name} chooses a password, once and until {}, at", text(told, "/until"));
        println!("{}", text(told, "/url"));
    });
    Ok(())
}

#[derive(Subcommand)]
pub(super) enum AuditCommand {
    /// Who changed what, newest first.
    List {
        /// The most records.
        #[arg(long, default_value_t = 100)]
        limit: u32,
        /// Records before this number.
        #[arg(long)]
        before: Option<u64>,
    },
    /// Check that the log is as it was written, and print how far it goes.
    Verify {
        /// What an earlier check printed, `NUMBER:MAC`: the log must contain it.
        #[arg(long)]
        anchor: Option<String>,
    },
}

pub(super) async fn audit(client: &Client, output: Output, command: AuditCommand) -> anyhow::Result<()> {
    match command {
        AuditCommand::List { limit, before } => {
            let before = before.map(|number| format!("&before={number}")).unwrap_or_default();
            let page = client.hub(Method::GET, &format!("/platform/v1/audit?limit={limit}{before}"), None).await?;
            let columns = [
                ("number", "/number"),
                ("at", "/at"),
                ("kind", "/actor/kind"),
                ("who", "/actor/id"),
                ("from", "/from"),
                ("operation", "/operation"),
                ("target", "/target"),
                ("outcome", "/outcome"),
                ("reason", "/reason"),
            ];
            output.table(&page["value"], &columns);
            Ok(())
        }
        AuditCommand::Verify { anchor } => {
            let anchor = anchor.map(|anchor| format!("?anchor={}", encode_component(&anchor))).unwrap_or_default();
            let path = format!("/platform/v1/audit/verification{anchor}");
            let found = client.hub(Method::GET, &path, None).await?;
            let head = text(&found, "/head");
            output.value(&found, |found| {
                if found["broken"].is_null() {
                    println!("records {} to {} are as they were written", text(found, "/first"), number(&head));
                }
                println!("{head}");
            });
            if found["broken"].is_null() {
                return Ok(());
            }
            let (file, reason) = (text(&found, "/broken/file"), text(&found, "/broken/reason"));
            let place = if file.is_empty() { String::new() } else { format!("{file}: ") };
            anyhow::bail!("the audit log is not as it was written after record {}: {place}{reason}", number(&head))
        }
    }
}

fn number(head: &str) -> &str {
    head.split(':').next().unwrap_or_default()
}
