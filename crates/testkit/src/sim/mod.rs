//! A hub, its storage and its devices under one seed: what happens, what fails and when is drawn from it.
//!
//! [`run`] plays one simulation. Devices come and go, send telemetry, report, receive, settle and answer; services write
//! twins, send messages, call methods, read outcomes, make and delete devices; followers keep their places. The clock
//! jumps, forward and back; the disk is full at times; the power fails, often while something is being written.
//! After every step everything that can be read is compared with a model of what was acknowledged:
//!
//! - no acknowledged event is lost, none is there twice, order holds for each device, numbers and times never fall;
//! - a twin is what was written to it, and its versions rise by one with each write;
//! - a cloud-to-device message is delivered in order to one holder at a time, and ends once: completed, refused, expired,
//!   purged or gone with its device; whoever wants to know is told, once;
//! - connected devices heard of every desired property; followers find the place they saved; counts match.
//!
//! **How far it is deterministic.** The storage has threads of its own, so the order of their instructions is not the
//! seed's. The order of effects is: each operation is awaited before the next begins, and what is in flight when the
//! power fails is one operation, of which all of what it wrote, any part of it or nothing reaches the disk, as the seed
//! says. The hub, `state.db` and the event log are the real ones; sockets and protocols are left out.
//!
//! A [`Failure`] prints the seed and the last steps; the same seed gives them again.

mod events;
mod model;
mod platform;
mod random;
mod steps;
mod world;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use self::steps::Step;
use self::world::World;

/// Steps a failure prints.
const STEPS_SHOWN: usize = 60;

/// What is wrong on purpose, to see that it is found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sabotage {
    /// Nothing.
    #[default]
    None,
    /// The log acknowledges an event that it did not take.
    LoseEvent,
    /// The log changes the order of events.
    SwapEvents,
    /// The log's disk says that it synced and did not.
    LyingSync,
    /// `state.db` forgets its last writes when the power fails.
    ForgetWrites,
}

/// How a simulation is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Steps.
    pub steps: usize,
    /// Devices there may be.
    pub devices: usize,
    /// What is wrong on purpose.
    pub sabotage: Sabotage,
}

impl Default for Options {
    fn default() -> Self {
        Self { steps: 50, devices: 4, sabotage: Sabotage::None }
    }
}

/// Something that must hold did not.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// The simulation.
    pub seed: u64,
    /// What is wrong.
    pub what: String,
    /// What happened, in order.
    pub steps: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {} after {} steps: {}", self.seed, self.steps.len(), self.what)?;
        let from = self.steps.len().saturating_sub(STEPS_SHOWN);
        self.steps[from..].iter().try_for_each(|step| writeln!(f, "  {step}"))
    }
}

/// Plays the simulation of a seed. Says what happened.
///
/// # Errors
/// When something that must hold does not, or something panics.
pub fn run(seed: u64, options: &Options) -> Result<Vec<String>, Failure> {
    let mut steps = vec![];
    let played = catch_unwind(AssertUnwindSafe(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(|error| error.to_string())?;
        runtime.block_on(play(seed, options, &mut steps))
    }));
    match played {
        Ok(Ok(())) => Ok(steps),
        Ok(Err(what)) => Err(Failure { seed, what, steps }),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
            Err(Failure { seed, what: format!("panicked: {}", text.unwrap_or("no words")), steps })
        }
    }
}

async fn play(seed: u64, options: &Options, steps: &mut Vec<String>) -> Result<(), String> {
    let mut world = World::new(seed, options).await?;
    for device in 0..options.devices.min(3) {
        world.step(&Step::Create(device)).await?;
        world.check().await?;
        world.step(&Step::Connect { device, with_old_keys: false }).await?;
    }
    for number in 0..options.steps {
        if options.sabotage == Sabotage::ForgetWrites && world.random.percent(20) {
            world.old_wal = Some(world.disks.wal());
        }
        let step = Step::draw(&mut world.random, options);
        steps.push(format!("{number} at {}: {step:?}", world.now));
        world.step(&step).await?;
        world.check().await?;
        steps.push(format!("  {}", world.summary()));
    }
    steps.push(format!("the end at {}", world.now));
    let finished = world.finish().await;
    world.stop();
    finished
}
