//! The reference page of the API (`docs/api.md`), written from a table of routes.

use std::fmt::Write as _;

use crate::operation::{Body, Head, Operation};

const HEAD: &str = "\
# API reference

Every operation over HTTP, from the table of routes that the platform is built on. A test keeps this page true; \
`GANTRY_BLESS=1` rewrites it (see its message). The same as OpenAPI: `GET /platform/v1/openapi.json`. Sign-in, the \
shapes of the platform's own bodies and its live events are in [platform-api.md](platform-api.md), failures in \
[errors.md](errors.md).

Words of paths are read without regard to case, so are names of fields. A body may have the fields listed and no \
others; what a client was shown and sends back is taken and ignored. *Who may* names the rights of a shared access \
policy, or for the platform the permissions of whoever calls: the administrator has all; a policy with every right of \
the hub has all too, one with ServiceConnect has DevicesRead, DevicesOperate, AlertsRead, AlertsManage, RulesRead, \
RulesManage, SecurityRead and RoutingRead, and others have none. After `role` come the data actions that roles of a \
directory must allow instead, all of them (behind `Microsoft.Devices/IotHubs/` and \
`Microsoft.Devices/provisioningServices/`); for the platform see [directory.md](directory.md). Without credentials, or any permission, the answer \
is 401, without the right permission 403. *Counts as* is the class whose rate holds on a hub that acts like an edition.
";

/// The page of these operations.
pub fn page<'a>(table: impl IntoIterator<Item = &'a Operation>) -> String {
    let table: Vec<_> = table.into_iter().collect();
    let mut page = HEAD.to_owned();
    for head in Head::ALL {
        let of_head: Vec<_> = table.iter().filter(|row| row.head == head).collect();
        let is_throttled = of_head.iter().any(|row| row.throttle.is_some());
        let (name, rule) = if is_throttled { (" Counts as |", "---|") } else { ("", "") };
        let _ = write!(page, "\n## {}\n\n{}", head.name(), about(head));
        let _ = writeln!(page, "| Method and path | Name | Who may |{name} What it does |\n|---|---|---|{rule}---|");
        for row in of_head {
            let class = row.throttle.map_or("–".to_owned(), |class| format!("{class:?}"));
            let class = if is_throttled { format!(" {class} |") } else { String::new() };
            let method = row.method.as_ref().map_or("any", |method| method.as_str());
            let (path, id, access, does) = (&row.path, &row.id, who_may(row), does(row).replace('|', "\\|"));
            let _ = writeln!(page, "| {method} `{path}` | `{id}` | {access} |{class} {does} |");
        }
    }
    page
}

fn about(head: Head) -> &'static str {
    match head {
        Head::Service | Head::Device => "As Azure IoT Hub's REST API; every call names an `api-version`.\n\n",
        Head::DpsService => {
            "As the Device Provisioning Service's REST API; every call names an `api-version`, and counts among the \
             operations of a service with limits.\n\n"
        }
        Head::DpsDevice => "As the Device Provisioning Service's device API; every call names an `api-version`.\n\n",
        Head::Platform => "Used by the page and the command line.\n\n",
        Head::Blob => {
            "As Azure Blob Storage's REST API; requests are told by the account's name, a shared key or a signature. \
             A signed address may leave the account out. What is not here answers 501.\n\n"
        }
        Head::Directory => {
            "When `[directory]` is on: where programs get tokens, as at the reference's directory; see \
             [directory.md](directory.md). `{tenant}` is the id of the directory.\n\n"
        }
        Head::Tokens => "When `[token_server]` is on, and in the process `gantry token-server`.\n\n",
        Head::Kusto => {
            "As the query service of Azure Data Explorer: bodies are `{\"db\", \"csl\", \"properties\"}`, the token of \
             `connection.env` comes as `Bearer`.\n\n"
        }
        Head::OData => {
            "As OData 4.0; read-only. The token of `connection.env` comes as `Bearer`, or a policy's name and key come as \
             `Basic`.\n\n"
        }
        Head::Application => {
            "As the REST API of IoT Central; every call names an `api-version`: 1.0, 2022-05-31, 2022-07-31, \
             2022-06-30-preview or 2022-10-31-preview, and finds the operations that version published. The API token of \
             `connection.env` comes as it is in `Authorization`. *Who may* names permissions of roles.\n\n"
        }
        Head::Management => {
            "As the control plane of IoT Hub, the Device Provisioning Service and IoT Central (ARM); every call names an \
             `api-version`. The token of `connection.env` comes as `Bearer`. A hub's endpoint has that hub, the \
             provisioning service and the application beside it, all three by the hub's name, in the subscription and \
             resource group of `connection.env`.\n\n"
        }
        Head::Graph => {
            "As the data plane of Azure Digital Twins; every call names an `api-version`. The address and the token of \
             `connection.env` (`DIGITALTWINS_URL`, `DIGITALTWINS_TOKEN`) are what its clients take; the token comes as \
             `Bearer`.\n\n"
        }
        Head::Models => "When `[models] serve` is on; the layout is that of the public device models repository.\n\n",
        Head::Process => "",
    }
}

/// What opens it, with the data actions that a role of a directory must allow instead.
fn who_may(row: &Operation) -> String {
    let short = |action: &&str| format!("`{}`", action.splitn(3, '/').last().unwrap_or_default());
    match row.data_actions {
        [] => row.access.to_string(),
        actions => format!("{}; role: {}", row.access, actions.iter().map(short).collect::<Vec<_>>().join(", ")),
    }
}

fn does(row: &Operation) -> String {
    let list = |names: &[&str]| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let mut text = row.about.to_owned();
    for parameter in row.query {
        let _ = write!(text, " `?{}=`: {}", parameter.name, parameter.about);
    }
    let (what, fields) = match row.body {
        Body::Object(fields) => ("Body", fields),
        Body::Array(fields) => ("Body: an array of", fields),
        Body::Json(words) => return format!("{text} Body: {words}"),
        Body::Bytes | Body::Nothing => return text,
    };
    let inner = fields.inner().iter().map(|(name, _)| *name);
    let names: Vec<_> = fields.taken().iter().copied().chain(inner).collect();
    let _ = write!(text, " {what}: {}.", list(&names));
    text.replace("an array of:", "an array of")
}
