//! Questions about telemetry and properties: a plan becomes a query in KQL over the tables.
//!
//! Everything that somebody wrote is in the query as a literal. A message has values of one component; a value of another
//! is null in its row, and rows without any value that the question names are none of it. Devices are those of the
//! template that the caller sees.

mod text;

use axum::Json;
use gantry_central::CentralError;
use gantry_central::access::permissions::Permission;
use gantry_central::question::{QuestionError, parse, plan};
use gantry_central::templates::TemplateError;
use serde_json::{Map, Value, json};

use self::text::{Devices, query};
use crate::call::Call;
use crate::{Failure, body};

impl From<QuestionError> for Failure {
    fn from(error: QuestionError) -> Self {
        Self::invalid(format!("query: {error}"))
    }
}

pub(crate) async fn run(call: Call) -> Result<Json<Value>, Failure> {
    let body = call.body()?;
    let question = parse(body::needed(&body, "query")?).map_err(QuestionError::from)?;
    let state = &call.who.state;
    let template = state.templates.get(&question.template);
    let template = template.ok_or_else(|| CentralError::from(TemplateError::Unknown(question.template.clone())))?;
    let capabilities = template.value.capabilities().map_err(|error| Failure::internal(&error))?;
    let id = question.template.as_str().to_owned();
    let plan = plan(question, &capabilities)?;
    let devices = Devices { template: &id, organizations: seen(&call) };
    let rows = call.application().tables.ask(query(&plan, &devices), vec![]).await;
    let rows = rows.map_err(|error| Failure::internal(&error))?;
    let named = |row: Vec<Value>| {
        let cells = plan.columns.iter().zip(row).filter(|(_, value)| !value.is_null());
        Value::Object(cells.map(|(column, value)| (column.name.clone(), value)).collect::<Map<_, _>>())
    };
    Ok(Json(json!({ "results": rows.into_iter().map(named).collect::<Vec<_>>() })))
}

/// The organizations whose devices the caller sees; none when they see all.
fn seen(call: &Call) -> Option<Vec<String>> {
    if call.sees(Permission::DevicesView, None) {
        return None;
    }
    let all = call.who.state.organizations.keys();
    Some(all.filter(|id| call.sees(Permission::DevicesView, Some(*id))).map(ToString::to_string).collect())
}
