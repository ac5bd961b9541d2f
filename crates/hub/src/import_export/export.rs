//! Export: devices, then modules, one line each; configurations in a file of their own.

use std::sync::Arc;

use bytes::Bytes;
use gantry_identity::{Identity, Timestamp};

use super::{Container, Files, Inner, Pieces, Progress};
use crate::registry::export::EXPORT_PAGE;

const LINE_END: &str = "\r\n";

pub(super) async fn run(
    inner: &Arc<Inner>,
    output: &dyn Container,
    files: &Files,
    exclude_keys: bool,
    progress: Arc<Progress>,
    now: Timestamp,
) -> Result<(), String> {
    let counts = inner.hub.counts().await.map_err(|error| error.to_string())?;
    progress.expect(counts.enabled + counts.disabled);
    output.write(now, &files.devices, identities(Arc::clone(inner), exclude_keys, progress)).await?;
    let Some(name) = &files.configurations else { return Ok(()) };
    let configurations = inner.hub.configurations();
    let line = |configuration: &Arc<_>| Ok(Bytes::from(inner.lines.configuration(configuration) + LINE_END));
    let lines: Vec<_> = configurations.iter().map(line).collect();
    output.write(now, name, Box::pin(futures::stream::iter(lines))).await
}

struct State {
    modules: bool,
    after: Option<Identity>,
    ended: bool,
}

/// The lines of a page at a time.
fn identities(inner: Arc<Inner>, exclude_keys: bool, progress: Arc<Progress>) -> Pieces {
    let start = State { modules: false, after: None, ended: false };
    Box::pin(futures::stream::try_unfold(start, move |mut state| {
        let (inner, progress) = (Arc::clone(&inner), Arc::clone(&progress));
        async move {
            if progress.is_cancelled() {
                return Err("cancelled".to_owned());
            }
            if state.ended {
                return Ok(None);
            }
            let page = inner.hub.identities_after(state.modules, state.after.as_ref()).await;
            let page = page.map_err(|error| error.to_string())?;
            let mut text = String::new();
            for record in &page {
                text.push_str(&inner.lines.identity(record, exclude_keys));
                text.push_str(LINE_END);
            }
            if !state.modules {
                progress.add(page.len() as u64);
            }
            if page.len() < EXPORT_PAGE {
                state = State { ended: state.modules, modules: true, after: None };
            } else {
                state.after = page.last().map(|record| record.device.identity.clone());
            }
            Ok(Some((Bytes::from(text), state)))
        }
    }))
}
