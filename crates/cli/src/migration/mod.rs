//! `gantry import` and `gantry export`: an application or a hub from elsewhere into this one, and out into files.
//!
//! Both sides are read by their public APIs; what becomes of each thing is a function of what they have (`plan`).
//! Without `--yes` that is all. With it what is missing is made, in the order in which things need each other; what
//! differs is left unless `--overwrite` is given. Cut short, the same command goes on (`state`). What the sides are
//! allowed to ask of each other is theirs: this is a client like any other.

mod carry;
mod central;
mod differences;
mod endpoint;
mod folder;
mod hub;
mod identity;
mod kind;
mod plan;
mod properties;
mod report;
mod source;
mod state;

use std::path::PathBuf;

use anyhow::{Context as _, bail, ensure};
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use self::central::Details;
use self::endpoint::Endpoint;
use self::kind::Kind;
use self::plan::Inventory;
use self::report::{Outcome, Report};
pub(super) use self::source::Here;
use self::source::{CentralSource, HubSource, Source};
use crate::output::Output;

/// Things that are printed which could not be exported.
const GAPS_PRINTED_MAX: usize = 40;

#[derive(Subcommand)]
pub(super) enum ImportCommand {
    /// Take over an application: IoT Central's, another Gantry's, or one that was exported.
    Iotcentral {
        #[command(flatten)]
        from: CentralSource,
        #[command(flatten)]
        work: Work,
    },
    /// Take over devices, modules, twins and configurations of a hub, or of one that was exported.
    Iothub {
        #[command(flatten)]
        from: HubSource,
        #[command(flatten)]
        work: Work,
    },
}

#[derive(Subcommand)]
pub(super) enum ExportCommand {
    /// Write an application into files; this platform's without --from.
    Iotcentral {
        #[command(flatten)]
        from: CentralSource,
        #[command(flatten)]
        into: Into,
    },
    /// Write devices, modules, twins and configurations of a hub into files; this platform's without --from.
    Iothub {
        #[command(flatten)]
        from: HubSource,
        #[command(flatten)]
        into: Into,
    },
}

#[derive(Args)]
pub(super) struct Work {
    /// Carry it out; without it the report says what would be done.
    #[arg(long)]
    yes: bool,
    /// Change nothing, which is so without --yes.
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// Overwrite what is here and differs.
    #[arg(long)]
    overwrite: bool,
    /// Folder for the report, and for what is needed to go on when this is cut short; gantry-import-iotcentral or
    /// gantry-import-iothub without it.
    #[arg(long)]
    report: Option<PathBuf>,
    /// Calls at once.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u8).range(1..=64))]
    at_once: u8,
}

#[derive(Args)]
pub(super) struct Into {
    /// Folder for the files; empty, or not there yet.
    folder: PathBuf,
    /// With keys of devices and passwords of registries.
    #[arg(long)]
    keys: bool,
    /// Calls at once.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u8).range(1..=64))]
    at_once: u8,
}

/// What is migrated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Of {
    Central,
    Hub,
}

impl Of {
    fn word(self) -> &'static str {
        match self {
            Self::Central => "iotcentral",
            Self::Hub => "iothub",
        }
    }

    fn kinds(self) -> &'static [Kind] {
        match self {
            Self::Central => &kind::CENTRAL,
            Self::Hub => &kind::HUB,
        }
    }

    fn devices(self) -> Kind {
        match self {
            Self::Central => Kind::Devices,
            Self::Hub => Kind::Identities,
        }
    }

    async fn read(
        self,
        endpoint: &Endpoint,
        at_once: usize,
        details: Details<'_>,
        progress: &ProgressBar,
    ) -> anyhow::Result<Inventory> {
        match self {
            Self::Central => central::read(endpoint, at_once, details, progress).await,
            Self::Hub => hub::read(endpoint, at_once, details, progress).await,
        }
    }

    fn notes(self, source: &Inventory) -> Vec<String> {
        match self {
            Self::Central => central::notes(source),
            Self::Hub => hub::notes(source),
        }
    }
}

fn progress() -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} {msg} {pos}/{len}");
    let bar = ProgressBar::new(0);
    if let Ok(style) = style { bar.with_style(style) } else { bar }
}

pub(super) async fn import(here: Here<'_>, output: Output, command: ImportCommand) -> anyhow::Result<()> {
    let (of, source, work) = match command {
        ImportCommand::Iotcentral { from, work } => (Of::Central, from.source()?, work),
        ImportCommand::Iothub { from, work } => (Of::Hub, from.source(std::env::var("GANTRY_IMPORT_FROM").ok())?, work),
    };
    let source = source.context("say with --from where from")?;
    let here = here.endpoint(of)?;
    let report = &work.report.unwrap_or_else(|| PathBuf::from(format!("gantry-import-{}", of.word())));
    folder::make(report)?;
    let is_export = report.join("export.json").exists();
    ensure!(!is_export, "{} holds an export; give another --report", report.display());
    let (from, to) = (source.name(), here.name().to_owned());
    let done = state::read(report, &from, &to, of.kinds())?;
    let (bar, at_once) = (progress(), usize::from(work.at_once));
    let things = source.read(of, at_once, &bar).await?;
    let ids = things.ids(of.devices());
    let present = of.read(&here, at_once, Details::Of(&ids), &bar).await?;
    let steps = plan::plan(&things, &present, &done, work.overwrite);
    if let Some(jobs) = things.things.get(&Kind::Jobs).filter(|jobs| !jobs.is_empty()) {
        folder::write(&report.join("jobs.json"), &jobs.values().cloned().collect())?;
    }
    let mut outcomes = carry::Outcomes::new();
    let carried = if work.yes {
        let state = state::State::open(report, &from, &to)?;
        let carrying = carry::Carrying { of, here: &here, source: &things, present: &present, at_once, bar: &bar };
        carrying.all(&steps, state, &mut outcomes).await
    } else {
        Ok(())
    };
    bar.finish_and_clear();
    let steps = steps.into_iter().map(|step| {
        let outcome = outcomes.remove(&(step.kind, step.id.clone())).unwrap_or(Outcome::Planned);
        (step, outcome)
    });
    let all = Report { of: of.word(), from, to, is_dry: !work.yes, notes: of.notes(&things), steps: steps.collect() };
    all.write(report)?;
    output.value(&all.summary(), |_| print!("{}", all.text()));
    carried.with_context(|| format!("cut short; the same command goes on ({})", report.display()))?;
    match all.failed() {
        0 => Ok(()),
        failed => bail!("{failed} things were refused; {} says why", report.join("report.json").display()),
    }
}

pub(super) async fn export(here: Here<'_>, output: Output, command: ExportCommand) -> anyhow::Result<()> {
    let (of, source, into) = match command {
        ExportCommand::Iotcentral { from, into } => (Of::Central, from.source()?, into),
        ExportCommand::Iothub { from, into } => (Of::Hub, from.source(None)?, into),
    };
    let source = match source {
        Some(source) => source,
        None => Source::Live(here.endpoint(of)?),
    };
    folder::make_empty(&into.folder)?;
    let bar = progress();
    let things = source.read(of, usize::from(into.at_once), &bar).await?;
    bar.finish_and_clear();
    ensure!(!into.keys || !things.is_keyless, "{} was exported without keys", source.name());
    folder::export(&into.folder, of.word(), &source.name(), of.kinds(), &things, into.keys)?;
    let counts: serde_json::Map<_, _> =
        things.things.iter().map(|(kind, all)| (kind.name().to_owned(), all.len().into())).collect();
    let unreadable: serde_json::Map<_, _> =
        things.unreadable.iter().map(|(kind, words)| (kind.name().to_owned(), words.as_str().into())).collect();
    let gaps: Vec<String> =
        things.gaps.iter().map(|((kind, id), words)| format!("{} of `{id}`: {words}", kind.name())).collect();
    let said = json!({ "folder": into.folder, "exported": counts, "unreadable": unreadable, "gaps": gaps });
    output.value(&said, |_| {
        for (kind, count) in &counts {
            println!("{kind}: {count}");
        }
        for (kind, words) in &things.unreadable {
            println!("{} cannot be read: {words}", kind.name());
        }
        for gap in gaps.iter().take(GAPS_PRINTED_MAX) {
            println!("cannot be read: {gap}");
        }
    });
    ensure!(things.gaps.is_empty(), "{} things cannot be read and are not in the files", things.gaps.len());
    Ok(())
}
