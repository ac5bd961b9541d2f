//! What every store must promise, as functions over the ports, and a store in memory that keeps it.
//!
//! A promise takes an [`Engine`] that holds nothing yet and panics when it is not kept. [`promises!`] names them all, so
//! that each engine has one test for each: `tests/engines.rs` runs them over memory, and over SQLite with the event log.
//! What is true of one engine alone, such as what a torn file becomes, is tested where that engine is.

pub mod fixtures;
mod memory;

pub mod checkpoints;
pub mod documents;
pub mod jobs;
pub mod log;
pub mod outbox;
pub mod provisioning;
pub mod queues;
pub mod records;
pub mod search;
pub mod settings;

use std::sync::Arc;

use gantry_hub::ports::{Checkpoints, Documents, EventSink, EventSource, LogError, PortFuture, Store, StoreError};
use gantry_provisioning::Store as ProvisioningStore;

pub use memory::{Memory, MemoryLog};

/// The ports of one engine, and what else a promise needs to see whether it is kept.
///
/// The log has at least two partitions.
pub trait Engine: Send + Sync {
    /// Identities, twins, queues and jobs.
    fn store(&self) -> Arc<dyn Store>;
    /// Settings.
    fn documents(&self) -> Arc<dyn Documents>;
    /// Enrollments and registrations.
    fn provisioning(&self) -> Arc<dyn ProvisioningStore>;
    /// Where events go.
    fn sink(&self) -> Arc<dyn EventSink>;
    /// Where they are read.
    fn source(&self) -> Arc<dyn EventSource>;
    /// What those who follow them keep.
    fn checkpoints(&self) -> Arc<dyn Checkpoints>;
    /// Moves events that writes reported into the log; says whether there were any.
    fn relay(&self) -> PortFuture<'_, bool, StoreError>;
    /// Closes the log.
    fn close_log(&self) -> PortFuture<'_, (), LogError>;
    /// Drops some of the oldest events, and not the newest; there are 40 of 8 KiB.
    fn expire(&self) -> PortFuture<'_, (), LogError>;
    /// Makes the event unreadable whose body holds `mark`.
    fn damage(&self, mark: &[u8]);
    /// The process ends and begins again. Nothing of the engine may be in use.
    fn restart(self: Box<Self>) -> PortFuture<'static, Box<dyn Engine>, String>;
}

/// Calls `run!` with the name of each module of promises and the names of its promises.
#[macro_export]
macro_rules! promises {
    ($run:ident) => {
        $run!(
            records:
            a_record_is_read_as_it_was_written_and_survives_a_restart,
            a_write_against_an_old_revision_is_a_conflict,
            what_is_made_together_is_made_whole_or_not_at_all,
            devices_and_modules_are_listed_apart_and_deleted_together,
            who_has_the_name_of_one_that_is_gone_begins_anew,
            subscriptions_survive_presence,
            counts_follow_every_write,
            configurations_know_whom_they_target,
            of_many_writers_of_a_record_each_writes_on_what_another_wrote,
            of_many_that_make_or_delete_one_device_one_succeeds,
            a_device_has_fifty_modules_however_many_come_at_once
        );
        $run!(
            search:
            a_search_finds_what_looking_at_everything_finds,
            random_conditions_find_what_looking_at_everything_finds
        );
        $run!(
            queues:
            the_oldest_comes_first_that_nobody_holds,
            a_queue_survives_a_restart_and_its_numbers_rise,
            what_becomes_of_a_message_and_its_feedback_are_one,
            of_many_that_settle_a_message_one_does,
            a_queue_holds_fifty_however_many_come_at_once,
            expired_messages_are_listed_in_the_order_in_which_they_expired,
            outcomes_become_messages_when_they_are_many_or_old,
            a_service_queue_is_its_own_and_ends_messages_in_time,
            an_event_in_a_queue_is_what_it_was,
            a_service_queue_takes_all_or_none,
            the_oldest_of_a_service_queue_go_when_it_is_full
        );
        $run!(
            jobs:
            a_job_is_made_once,
            jobs_are_listed_newest_first_and_run_in_order_of_their_start,
            devices_are_listed_once_whoever_lists_them,
            an_outcome_counts_once,
            what_is_pending_ends_with_the_job,
            outcomes_are_found_by_job_and_device,
            jobs_of_old_are_forgotten
        );
        $run!(
            documents:
            a_collection_is_read_as_it_was_written_and_survives_a_restart,
            a_write_at_an_old_version_is_a_conflict_and_writes_nothing,
            collections_are_written_all_or_none,
            of_many_writers_none_undoes_another,
            a_limit_holds_however_many_come_at_once
        );
        $run!(
            settings:
            hubs_over_one_store_do_not_undo_each_other,
            what_a_webhook_proved_is_kept_until_no_endpoint_has_it,
            a_policy_rolled_twice_at_once_is_rolled_twice
        );
        $run!(
            provisioning:
            an_enrollment_is_written_at_its_etag,
            a_registration_is_written_at_its_etag_and_the_second_writer_loses,
            registrations_of_a_group_are_listed_in_order,
            what_a_device_left_is_known_until_it_is_gone_there,
            of_many_that_assign_one_device_one_succeeds
        );
        $run!(
            outbox:
            a_write_and_its_report_are_there_together_after_a_restart,
            what_somebody_hears_of_is_reported_without_a_route_and_goes_nowhere,
            reports_are_neither_lost_nor_out_of_order_for_a_device
        );
        $run!(
            log:
            a_cursor_begins_where_it_is_told_and_says_where_it_stands,
            positions_rise_by_one_and_time_never_falls,
            a_reader_skips_nothing_while_many_write,
            what_retention_dropped_is_told_as_missed,
            what_is_damaged_is_told_as_missed_and_never_given,
            an_append_is_decided_when_it_resolves,
            what_was_acknowledged_survives_a_restart
        );
        $run!(
            checkpoints:
            a_checkpoint_has_one_holder,
            of_many_that_take_a_checkpoint_the_last_writes_it
        );
    };
}
