//! Devices find their template by the model they announce.
//!
//! A device without a template that announces a model whose template is published is given that template: when it
//! connects, and when the template comes. So lists and groups can look for it. Until that is written, it is read so
//! in any case ([`template_of`]).

use std::sync::Arc;

use gantry_api::now;
use gantry_central::devices::{Profile, template_of};
use gantry_hub::HubError;
use gantry_hub::device::IfMatch;
use gantry_hub::ports::{Record, Search};
use gantry_hub::twin::TwinWrite;
use gantry_identity::Identity;

use crate::{Application, Shared};

/// Records asked of the store at once.
const LOOKED_AT_ONCE: usize = 500;

/// Gives a device that announced a model its template, if it has none.
///
/// # Errors
/// When it cannot be read or written; not when it is gone or was changed meanwhile.
pub async fn one(application: &Application, identity: &Identity) -> Result<(), HubError> {
    match application.api.hub.record(identity).await {
        Ok(record) => adopt(application, &record).await,
        Err(HubError::NotFound(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

async fn adopt(application: &Application, record: &Record) -> Result<(), HubError> {
    let kept = Profile::of(&record.twin.tags);
    let mut profile = kept.clone();
    if profile.template.is_some() || record.device.identity.module.is_some() {
        return Ok(());
    }
    let state = application.central.state();
    let found = template_of(&state.templates, &profile, record.twin.model_id.as_deref());
    let Some((id, _)) = found else { return Ok(()) };
    profile.template = Some(id.clone());
    let write = TwinWrite { tags: profile.write_over(&kept), desired: None };
    let if_match = IfMatch::tag(record.twin.etag_text());
    match application.api.hub.write_twin(now(), &record.device.identity, &write, &if_match).await {
        Ok(_) | Err(HubError::NotFound(_) | HubError::PreconditionFailed(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Gives the template of a model to every device that announced it, in the background.
pub(crate) fn all_of_model(shared: &Arc<Shared>, model_id: String) {
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        if let Err(error) = all(&shared.application, &model_id).await {
            tracing::warn!(%error, model_id, "devices of a model are not given their template yet");
        }
    });
}

async fn all(application: &Application, model_id: &str) -> Result<(), HubError> {
    let mut after = None;
    loop {
        let search = Search { modules: false, constraints: vec![] };
        let found = application.api.hub.find_devices(search, after, LOOKED_AT_ONCE).await?;
        for record in found.iter().filter(|record| record.twin.model_id.as_deref() == Some(model_id)) {
            adopt(application, record).await?;
        }
        if found.len() < LOOKED_AT_ONCE {
            return Ok(());
        }
        after = found.last().map(|record| record.device.identity.clone());
    }
}
