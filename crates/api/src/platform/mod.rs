//! The platform API: what the page and the command line use (`docs/platform-api.md`).

mod account;
mod alerts;
mod audit;
mod certificates;
mod dashboards;
mod devices;
pub(crate) mod error;
mod faults;
mod hubs;
mod live;
mod openid;
mod policies;
mod provisioning;
mod routing;
pub(crate) mod session;
mod streaming;
mod users;

use std::sync::Arc;

use axum::body::Bytes;
use axum::http::Method as M;
use serde::de::DeserializeOwned;

use crate::Api;
use crate::caller::Permissions as P;
use crate::fields::{self, Fields};
use crate::openapi;
use crate::operation::{Access, Head, Operation, Parameter};
use crate::routes::Routes;
use error::PlatformError;

const ALERTS: &[Parameter] = &[Parameter { name: "state", about: "`open`, `acknowledged` or `closed`." }];
const SERIES: &[Parameter] = &[
    Parameter { name: "signal", about: "The signal; must be there." },
    Parameter { name: "limit", about: "The most points that are wanted, 2,000 unless said." },
];
const FORECAST: &[Parameter] = &[
    Parameter { name: "signal", about: "The signal; must be there." },
    Parameter { name: "seconds", about: "How far after the last value, as far as there is a forecast unless said." },
    Parameter { name: "points", about: "Into how many points that is cut, 100 unless said, 1,000 at most." },
];
const LIVE: &[Parameter] = &[Parameter { name: "device", about: "Only what is about this device." }];

/// Reads a JSON object with these fields.
fn parse<T: DeserializeOwned>(body: &Bytes, fields: &Fields) -> Result<T, PlatformError> {
    let malformed = |error: serde_json::Error| PlatformError::invalid(format!("malformed body: {error}"));
    let body = gantry_hub::json::parse(body).map_err(malformed)?;
    gantry_hub::json::read_value(fields.read(body).map_err(PlatformError::invalid)?).map_err(malformed)
}

fn row(
    method: M,
    path: &str,
    id: impl Into<std::borrow::Cow<'static, str>>,
    needed: P,
    about: &'static str,
) -> Operation {
    Operation::new(Head::Platform, method, path, id, Access::Platform(needed), about)
}

pub(crate) fn routes() -> Routes<Arc<Api>> {
    signing_in()
        .merge(devices())
        .merge(alerts())
        .merge(certificates::routes::<certificates::AtHub>())
        .merge(certificates::routes::<certificates::AtProvisioning>())
        .merge(dashboards::routes())
        .merge(hubs::routes())
        .merge(provisioning::routes())
        .merge(policies())
        .merge(routing())
        .merge(faults())
        .merge(streaming::routes())
        .merge(openid::routes())
        .merge(account::routes())
        .merge(users::routes())
        .merge(audit::routes())
}

fn signing_in() -> Routes<Arc<Api>> {
    let proof = Access::Proof("the token of a sign-in link, or name, password and code, in the body");
    let sign_in = "Trades them for the cookie `__Host-gantry_session`; answers as `GET` does. 401 `CodeMissing` asks for the \
                   second factor's `code`, or a recovery code.";
    let session = "`{\"user\",\"displayName\",\"hub\",\"permissions\":[],\"csrf\",\"hasPassword\",\"mustChangePassword\"}`; of \
                   a program `user`, `hub` and `permissions`.";
    let document = "This document: OpenAPI 3.0 of every operation.";
    Routes::new()
        .on(row(M::GET, "/session", "Session_Get", P::NONE, session).before_password(), session::show)
        .on(
            Operation::new(Head::Platform, M::POST, "/session", "Session_Create", proof, sign_in)
                .takes(&fields::SIGN_IN),
            session::sign_in,
        )
        .on(
            row(M::DELETE, "/session", "Session_Delete", P::NONE, "204; signs out.").before_password(),
            session::sign_out,
        )
        .on(
            Operation::new(Head::Platform, M::GET, "/openapi.json", "OpenApi_Get", Access::Anyone, document),
            openapi::get,
        )
}

fn devices() -> Routes<Arc<Api>> {
    Routes::new()
        .on(
            row(
                M::GET,
                "/fleet",
                "Fleet_Get",
                P::DEVICES_READ,
                "`{\"devices\":[Device]}`: every device with its health, ordered as the maintenance list, then by id.",
            ),
            devices::fleet,
        )
        .on(
            row(
                M::GET,
                "/maintenance",
                "Maintenance_Get",
                P::DEVICES_READ,
                "`{\"items\":[MaintenanceItem],\"updatedAt\":time}`, most urgent first.",
            ),
            devices::maintenance,
        )
        .on(
            row(
                M::POST,
                "/maintenance/{id}/serviced",
                "Maintenance_Serviced",
                P::DEVICES_OPERATE,
                "204; resets time since service and urgency.",
            ),
            devices::serviced,
        )
        .on(
            row(
                M::GET,
                "/devices/{id}/signals",
                "Devices_GetSignals",
                P::DEVICES_READ,
                "`{\"signals\":[{\"name\":\"temperature\",\"unit\":null,\"last\":Point}]}`.",
            ),
            devices::signals,
        )
        .on(
            row(
                M::GET,
                "/devices/{id}/series",
                "Devices_GetSeries",
                P::DEVICES_READ,
                "`{\"deviceId\",\"signal\",\"points\":[Point],\"changes\":[Change]}`, oldest first, 10,000 points at most. Values \
                 from before the last start come from the table `Telemetry`, without score and band.",
            )
            .query(SERIES),
            devices::series,
        )
        .on(
            row(
                M::GET,
                "/devices/{id}/forecast",
                "Devices_GetForecast",
                P::DEVICES_READ,
                "`{\"deviceId\",\"signal\",\"points\":[Forecast],\"limits\":[ToLimit]}`: where the signal is expected, and when it \
                 reaches the limits of rules. No points while too little is known.",
            )
            .query(FORECAST),
            devices::forecast,
        )
        .on(row(M::GET, "/devices/{id}/twin", "Devices_ShowTwin", P::DEVICES_READ, "The twin document."), devices::twin)
        .on(
            row(
                M::PATCH,
                "/devices/{id}/twin",
                "Devices_PatchTwin",
                P::DEVICES_OPERATE,
                "Merges tags and desired properties; the new twin.",
            )
            .takes(&fields::TWIN),
            devices::patch_twin,
        )
        .on(
            row(
                M::POST,
                "/devices/{id}/methods",
                "Devices_CallMethod",
                P::DEVICES_OPERATE,
                "`{\"status\",\"payload\"}`; without `payload` the device gets an empty body.",
            )
            .takes(&fields::METHOD),
            devices::invoke,
        )
        .on(
            row(M::GET, "/live", "Live_Get", P::DEVICES_READ, "Server-sent events: what changes, while it happens.")
                .query(LIVE),
            live::live,
        )
        .on(
            row(
                M::GET,
                "/monitor",
                "Monitor_Get",
                P::DEVICES_READ,
                "Server-sent events `message`: every device-to-cloud event as it is stored.",
            )
            .query(LIVE),
            live::monitor,
        )
}

fn alerts() -> Routes<Arc<Api>> {
    Routes::new()
        .on(
            row(M::GET, "/alerts", "Alerts_List", P::ALERTS_READ, "`{\"alerts\":[Alert]}`, newest first, at most 500.")
                .query(ALERTS),
            alerts::list,
        )
        .on(
            row(M::POST, "/alerts/{id}/acknowledge", "Alerts_Acknowledge", P::ALERTS_MANAGE, "The alert."),
            alerts::acknowledge,
        )
        .on(row(M::POST, "/alerts/{id}/close", "Alerts_Close", P::ALERTS_MANAGE, "The alert."), alerts::close)
        .on(
            row(
                M::GET,
                "/security",
                "SecurityEvents_List",
                P::SECURITY_READ,
                "`{\"events\":[SecurityEvent]}`, newest first, at most 500.",
            ),
            alerts::security,
        )
        .on(
            row(
                M::GET,
                "/rules",
                "Rules_List",
                P::RULES_READ,
                "`{\"rules\":[Rule]}`; of webhooks only the origin without RulesManage.",
            ),
            alerts::rules,
        )
        .on(
            row(M::PUT, "/rules/{id}", "Rules_CreateOrUpdate", P::RULES_MANAGE, "The rule.").takes(&fields::RULE),
            alerts::put_rule,
        )
        .on(row(M::DELETE, "/rules/{id}", "Rules_Delete", P::RULES_MANAGE, "204."), alerts::delete_rule)
}

fn policies() -> Routes<Arc<Api>> {
    Routes::new()
        .on(
            row(
                M::GET,
                "/policies",
                "Policies_List",
                P::POLICIES_MANAGE,
                "`{\"value\":[{\"keyName\",\"rights\",\"primaryKey\",\"secondaryKey\"}]}`.",
            ),
            policies::list,
        )
        .on(
            row(
                M::POST,
                "/policies/{name}/roll",
                "Policies_Roll",
                P::POLICIES_MANAGE,
                "The policy: its primary key is a new one, its secondary key the old primary.",
            ),
            policies::roll,
        )
}

fn routing() -> Routes<Arc<Api>> {
    let code = Access::Proof("the code in the path, good once, for ten minutes");
    let link = "The link in a webhook's validation event.";
    Routes::new()
        .on(
            row(
                M::GET,
                "/routing",
                "Routing_Get",
                P::ROUTING_MANAGE,
                "`{\"etag\",\"properties\":Routing}`; keys in connection strings are shown as `****`.",
            ),
            routing::get,
        )
        .on(
            row(
                M::PUT,
                "/routing",
                "Routing_Update",
                P::ROUTING_MANAGE,
                "The same; `****` keeps a key. `If-Match`, or the `etag` of the body, is optional.",
            )
            .takes(&fields::ROUTING),
            routing::put,
        )
        .on(
            Operation::new(Head::Platform, M::GET, "/routing/validate/{code}", "Routing_Validate", code, link),
            routing::validate,
        )
        .on(
            row(
                M::GET,
                "/routing/health",
                "Routing_GetHealth",
                P::ROUTING_READ,
                "`{\"value\":[{\"endpointId\",\"healthStatus\",\"lastKnownError\",…}]}`, with the status unknown, \
                 healthy, unhealthy or dead.",
            ),
            routing::health,
        )
        .on(
            row(
                M::POST,
                "/routing/testnew",
                "Routing_TestRoute",
                P::ROUTING_READ,
                "`{\"result\":\"true|false|undefined\",\"details\":{\"compilationErrors\":[]}}`: a route, tried out.",
            )
            .takes(&fields::TEST_ROUTE)
            .asks(),
            routing::test_new,
        )
        .on(
            row(
                M::POST,
                "/routing/testall",
                "Routing_TestAllRoutes",
                P::ROUTING_READ,
                "`{\"routes\":[{\"properties\":Route}]}`: those that match.",
            )
            .takes(&fields::TEST_ROUTES)
            .asks(),
            routing::test_all,
        )
}

fn faults() -> Routes<Arc<Api>> {
    Routes::new()
        .on(
            row(
                M::GET,
                "/faults",
                "Faults_Get",
                P::FAULTS_MANAGE,
                "`{\"faults\":Faults|null,\"until\":time|null}`; `rehearsal` is `faults` too.",
            ),
            faults::get,
        )
        .on(
            row(M::PUT, "/faults", "Faults_Begin", P::FAULTS_MANAGE, "The same; 403 on a hub without `allow_faults`.")
                .takes(&fields::FAULTS),
            faults::put,
        )
        .on(row(M::DELETE, "/faults", "Faults_End", P::FAULTS_MANAGE, "204; all is well again."), faults::delete)
}
