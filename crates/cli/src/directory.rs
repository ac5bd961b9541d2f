//! `gantry directory`: service principals, their secrets, and roles.

use clap::Subcommand;
use gantry_identity::encode_component;
use reqwest::Method;
use serde_json::{Value, json};

use super::client::Client;
use super::output::{Output, text};

const PATH: &str = "/platform/v1/directory";

#[derive(Subcommand)]
pub(super) enum DirectoryCommand {
    /// What the directory is, and which others are trusted.
    Show,
    /// Programs that get tokens.
    #[command(subcommand)]
    Principal(PrincipalCommand),
    /// Secrets of a program.
    #[command(subcommand)]
    Secret(SecretCommand),
    /// Who may do what.
    #[command(subcommand)]
    Role(RoleCommand),
    /// Keys that tokens are signed with.
    #[command(subcommand)]
    Key(KeyCommand),
}

#[derive(Subcommand)]
pub(super) enum KeyCommand {
    /// List keys.
    List,
    /// Forget a key that is not secret any more: every token signed with it is refused at once.
    Revoke {
        /// Its id.
        id: String,
    },
}

#[derive(Subcommand)]
pub(super) enum PrincipalCommand {
    /// List programs.
    List,
    /// Make a program with a first secret, which is printed this once.
    Create {
        /// Name, for people.
        name: String,
        /// How long the secret lives, in days.
        #[arg(long, default_value_t = 180)]
        days: u64,
        /// Without a secret.
        #[arg(long)]
        no_secret: bool,
    },
    /// Give a program no more tokens, and refuse those it has.
    Disable {
        /// Its application id or object id.
        id: String,
    },
    /// Let a program get tokens again.
    Enable {
        /// Its application id or object id.
        id: String,
    },
    /// Delete a program with its roles.
    Delete {
        /// Its application id or object id.
        id: String,
    },
}

#[derive(Subcommand)]
pub(super) enum SecretCommand {
    /// Draw a further secret, which is printed this once.
    Add {
        /// Application id or object id of the program.
        id: String,
        /// Name, for people.
        #[arg(long, default_value = "")]
        name: String,
        /// How long it lives, in days.
        #[arg(long, default_value_t = 180)]
        days: u64,
    },
    /// Forget a secret.
    Remove {
        /// Application id or object id of the program.
        id: String,
        /// The secret's id.
        key: String,
    },
}

#[derive(Subcommand)]
pub(super) enum RoleCommand {
    /// List the roles there are.
    Definitions,
    /// List who has which role where.
    List,
    /// Give a role.
    Assign {
        /// Application id or object id of a program; of a person or a group of another directory the object id.
        principal: String,
        /// Name of the role, such as "IoT Hub Data Contributor".
        role: String,
        /// Resource id where it counts; everything of this hub unless said.
        #[arg(long)]
        scope: Option<String>,
        /// The directory of the principal, when it is another one.
        #[arg(long)]
        tenant: Option<String>,
    },
    /// Take a role away.
    Remove {
        /// Id of the assignment.
        id: String,
    },
}

fn of_principal(id: &str) -> String {
    format!("{PATH}/servicePrincipals/{}", encode_component(id))
}

pub(super) async fn run(client: &Client, output: Output, command: DirectoryCommand) -> anyhow::Result<()> {
    match command {
        DirectoryCommand::Show => {
            let shown = client.hub(Method::GET, PATH, None).await?;
            output.value(&shown, |shown| {
                println!("tenant     {}", text(shown, "/tenantId"));
                println!("authority  {}", text(shown, "/authority"));
                println!("scope      {}", text(shown, "/scope"));
                for issuer in shown["issuers"].as_array().into_iter().flatten() {
                    println!("trusts     {} ({} keys)", text(issuer, "/tenantId"), text(issuer, "/keys"));
                }
            });
        }
        DirectoryCommand::Principal(command) => principal(client, output, command).await?,
        DirectoryCommand::Secret(command) => secret(client, output, command).await?,
        DirectoryCommand::Role(command) => role(client, output, command).await?,
        DirectoryCommand::Key(KeyCommand::List) => {
            let list = client.hub(Method::GET, &format!("{PATH}/signingKeys"), None).await?;
            output.table(&list["value"], &[("id", "/id"), ("signs from", "/signsFrom")]);
        }
        DirectoryCommand::Key(KeyCommand::Revoke { id }) => {
            client.hub(Method::DELETE, &format!("{PATH}/signingKeys/{}", encode_component(&id)), None).await?;
            output.value(&json!({ "revoked": id }), |_| println!("revoked {id}"));
        }
    }
    Ok(())
}

async fn principal(client: &Client, output: Output, command: PrincipalCommand) -> anyhow::Result<()> {
    match command {
        PrincipalCommand::List => {
            let list = client.hub(Method::GET, &format!("{PATH}/servicePrincipals"), None).await?;
            let columns = [
                ("name", "/displayName"),
                ("application id", "/appId"),
                ("object id", "/objectId"),
                ("enabled", "/enabled"),
            ];
            output.table(&list["value"], &columns);
        }
        PrincipalCommand::Create { name, days, no_secret } => {
            let body = json!({ "displayName": name });
            let mut made = client.hub(Method::POST, &format!("{PATH}/servicePrincipals"), Some(&body)).await?;
            if !no_secret {
                let path = format!("{}/secrets", of_principal(&text(&made, "/objectId")));
                let told =
                    client.hub(Method::POST, &path, Some(&json!({ "displayName": "first", "days": days }))).await?;
                made["secret"] = told["secret"].clone();
            }
            output.value(&made, |made| {
                println!("client id  {}", text(made, "/appId"));
                println!("object id  {}", text(made, "/objectId"));
                if !no_secret {
                    println!("secret     {}", text(made, "/secret"));
                    println!("The secret is not shown again. It has no role yet: `gantry directory role assign`.");
                }
            });
        }
        PrincipalCommand::Disable { id } => enable(client, output, &id, false).await?,
        PrincipalCommand::Enable { id } => enable(client, output, &id, true).await?,
        PrincipalCommand::Delete { id } => {
            client.hub(Method::DELETE, &of_principal(&id), None).await?;
            output.value(&json!({ "deleted": id }), |_| println!("deleted {id}"));
        }
    }
    Ok(())
}

async fn enable(client: &Client, output: Output, id: &str, enabled: bool) -> anyhow::Result<()> {
    let one = client.hub(Method::PATCH, &of_principal(id), Some(&json!({ "enabled": enabled }))).await?;
    let word = if enabled { "enabled" } else { "disabled" };
    output.value(&one, |one| println!("{word} {}", text(one, "/displayName")));
    Ok(())
}

async fn secret(client: &Client, output: Output, command: SecretCommand) -> anyhow::Result<()> {
    match command {
        SecretCommand::Add { id, name, days } => {
            let body = json!({ "displayName": name, "days": days });
            let told: Value = client.hub(Method::POST, &format!("{}/secrets", of_principal(&id)), Some(&body)).await?;
            output.value(&told, |told| {
                println!("secret id  {}", text(told, "/keyId"));
                println!("secret     {}", text(told, "/secret"));
                println!("until      {}", text(told, "/expiresAt"));
            });
        }
        SecretCommand::Remove { id, key } => {
            let path = format!("{}/secrets/{}", of_principal(&id), encode_component(&key));
            client.hub(Method::DELETE, &path, None).await?;
            output.value(&json!({ "removed": key }), |_| println!("removed {key}"));
        }
    }
    Ok(())
}

async fn role(client: &Client, output: Output, command: RoleCommand) -> anyhow::Result<()> {
    match command {
        RoleCommand::Definitions => {
            let list = client.hub(Method::GET, &format!("{PATH}/roleDefinitions"), None).await?;
            output.table(&list["value"], &[("name", "/roleName"), ("id", "/id")]);
        }
        RoleCommand::List => {
            let list = client.hub(Method::GET, &format!("{PATH}/roleAssignments"), None).await?;
            let columns = [
                ("id", "/id"),
                ("principal", "/principalId"),
                ("name", "/principalName"),
                ("role", "/role"),
                ("scope", "/scope"),
            ];
            output.table(&list["value"], &columns);
        }
        RoleCommand::Assign { principal, role, scope, tenant } => {
            let mut body = json!({ "principalId": principal, "role": role });
            let mut put = |name: &str, value: Option<String>| {
                if let Some(value) = value {
                    body[name] = value.into();
                }
            };
            put("scope", scope);
            put("tenantId", tenant);
            let given = client.hub(Method::POST, &format!("{PATH}/roleAssignments"), Some(&body)).await?;
            output.value(&given, |given| {
                println!("{}: {} at {}", text(given, "/id"), text(given, "/role"), text(given, "/scope"));
            });
        }
        RoleCommand::Remove { id } => {
            client.hub(Method::DELETE, &format!("{PATH}/roleAssignments/{}", encode_component(&id)), None).await?;
            output.value(&json!({ "removed": id }), |_| println!("removed {id}"));
        }
    }
    Ok(())
}
