//! One suite for every store, with a naive model beside it; one for every transport.
//!
//! An engine joins with one line of [`suite!`]: a name and a function that makes an empty store. What only one
//! engine promises (its files, its crashes) is tested in a module of its own.

mod cases;
mod chronicle;
mod crash;
mod differential;
mod full_disk;
mod inbox;
mod inbox_vectors;
mod left_work;
mod model;
mod postgres;
mod postgres_suffix;
mod postgres_trouble;
mod rate;
mod readers;
mod sqlite_place;
mod transports;

use std::time::Duration;

use saga_store_postgres::PostgresStore;
use saga_store_sqlite::SqliteStore;
use tempfile::TempDir;

/// Runs every case, and the comparison with the model, on stores made by `$make`. It is awaited and answers the
/// store and something to keep until the case is over.
macro_rules! suite {
    ($engine:ident, $make:expr) => {
        suite!($engine, $make;
            claim_raises_epochs_and_sets_the_token,
            claim_knows_the_last_commit,
            a_batch_is_read_back_whole,
            an_incident_may_outlive_its_saga,
            stale_fences_are_named_and_nothing_is_written,
            rows_outside_of_the_fence_are_refused,
            all_conflicts_of_a_batch_are_listed,
            a_start_conflicts_with_one_of_the_same_batch,
            a_key_is_shared_by_versions_and_not_by_names,
            journal_gaps_and_repeats_are_named,
            journal_rows_may_come_in_any_order,
            a_change_of_an_unknown_saga_is_refused,
            what_operators_did_is_kept_with_the_decision_or_not_at_all,
            the_audit_list_pages_from_the_newest,
            what_was_done_to_no_saga_stands_in_the_audit_list_too,
            open_sagas_come_in_pages_by_id,
            journals_come_in_the_order_asked_for,
            lists_page_without_gaps_or_repeats,
            lists_filter,
            suffixes_find_open_sagas_first,
            a_suffix_finds_the_oldest_of_many_sagas,
            counts_follow_every_change,
            definitions_go_in_all_or_none,
            participants_are_replaced_by_name,
            breakers_are_kept_as_of_their_last_opening,
            odd_text_survives_or_is_refused,
            large_bodies_survive,
            numbers_at_the_edge_survive_or_are_refused,
            writes_are_done_in_the_order_of_the_calls,
            reads_see_answered_commits_from_any_task,
            a_closed_store_says_so,
        );
    };
    ($engine:ident, $make:expr; $($case:ident,)+) => {
        mod $engine {
            use super::*;

            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    let (store, _keep) = $make.await;
                    cases::$case(store).await;
                }
            )+

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn does_what_the_model_does() {
                for seed in differential::seeds() {
                    let (store, _keep) = $make.await;
                    differential::play(&store, seed).await;
                }
            }
        }
    };
}

async fn new_model() -> (model::Model, ()) {
    (model::Model::default(), ())
}

async fn new_postgres() -> (PostgresStore, ()) {
    let url = saga_tests::postgres::database().await;
    (PostgresStore::open(&url, false).await.expect("open"), ())
}

async fn new_sqlite() -> (SqliteStore, TempDir) {
    let dir = TempDir::new().expect("directory");
    (
        SqliteStore::open(&dir.path().join("saga.db")).expect("open"),
        dir,
    )
}

suite!(the_model, new_model());
suite!(sqlite, new_sqlite());
suite!(postgresql, new_postgres());

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints rates of the store alone; build with --release to mean something"]
async fn sqlite_rate() {
    for (rows, keys) in [(1, false), (100, false), (1_000, false), (1_000, true)] {
        let (store, _keep) = new_sqlite().await;
        rate::run(&store, rows, keys, Duration::from_secs(3)).await;
    }
}
