//! How long files and functions may be.

use proc_macro2::Span;
use syn::{
    ImplItemFn, ItemFn, TraitItemFn,
    spanned::Spanned,
    visit::{self, Visit},
};

use crate::tree::{files_ending, text};

/// Past this a file is two files.
const FILE_LINES_MAX: usize = 600;
/// One screen.
const FUNCTION_LINES_MAX: usize = 70;

/// Longer files, with the reason.
const LONG_FILES: &[(&str, &str)] = &[
    (
        "orchestrator/core/src/event.rs",
        "the form of each event, with its doc",
    ),
    (
        "orchestrator/core/src/state.rs",
        "the form of the state; not taken apart yet",
    ),
    (
        "orchestrator/lab/src/trials/generate.rs",
        "one case after another",
    ),
    (
        "orchestrator/lab/src/trials/world.rs",
        "a whole world; not taken apart yet",
    ),
    ("participants/tests/harness.rs", "stories of one kind"),
    ("tests/simulation/wire.rs", "stories of one kind"),
    ("tests/system/sizes.rs", "stories of one kind"),
];
/// Longer functions, with the reason.
const LONG_FUNCTIONS: &[(&str, &str)] = &[
    (
        "orchestrator/cli/src/show/sample.rs: compensating",
        "a sample",
    ),
    (
        "orchestrator/cli/tests/command_line.rs: a_trip_is_booked_and_another_is_undone",
        "one story, or one table of cases",
    ),
    (
        "orchestrator/core/src/apply.rs: apply_in_place",
        "one arm an event",
    ),
    (
        "orchestrator/engine/src/lane/decider.rs: decide_input",
        "five ways out, each with its own ritual; not taken apart yet",
    ),
    (
        "orchestrator/lab/src/trials/generate.rs: limits",
        "one case after another",
    ),
    (
        "orchestrator/lab/src/trials/generate.rs: undo",
        "one case after another",
    ),
    (
        "orchestrator/server/src/api/deploy.rs: deploy",
        "not taken apart yet",
    ),
    (
        "orchestrator/server/src/api/tests/running.rs: a_saga_is_started_watched_to_its_end_and_told",
        "one story, or one table of cases",
    ),
    (
        "orchestrator/server/src/api/tests/running.rs: what_is_wrong_with_a_start_is_said_at_once",
        "one story, or one table of cases",
    ),
    (
        "orchestrator/server/src/api/tests/steering.rs: files_are_registered_all_or_none",
        "one story, or one table of cases",
    ),
    (
        "orchestrator/server/src/api/tests/steering.rs: lists_page_filter_and_say_what_is_next",
        "one story, or one table of cases",
    ),
    (
        "orchestrator/server/src/story/advice.rs: remedies",
        "one arm a kind of incident",
    ),
    (
        "orchestrator/server/src/story/events.rs: describe",
        "one sentence an event",
    ),
    (
        "orchestrator/server/src/story/fold.rs: note",
        "one arm an event",
    ),
    (
        "orchestrator/server/src/story/why.rs: incident",
        "one arm a kind of incident",
    ),
    (
        "orchestrator/wire-amqp/src/roster.rs: settle",
        "not taken apart yet",
    ),
    ("orchestrator/wire-amqp/src/topology.rs: objects", "a list"),
    (
        "orchestrator/wire-grpc/src/session.rs: run",
        "a loop over what may happen",
    ),
    (
        "participants/src/inbox/memory.rs: enter_now",
        "the table of the barrier",
    ),
    (
        "participants/src/serve/amqp/session.rs: run",
        "a loop over what may happen",
    ),
    (
        "saga-dsl/src/expr/eval.rs: value",
        "one arm a form of expression",
    ),
    (
        "saga-dsl/src/expr/tests/absence.rs: unguarded_reads_are_faults",
        "one story, or one table of cases",
    ),
    (
        "saga-dsl/src/expr/tests/faults.rs: of_the_checker",
        "one story, or one table of cases",
    ),
    (
        "saga-dsl/src/expr/tests/faults.rs: of_the_parser",
        "one story, or one table of cases",
    ),
    (
        "saga-dsl/src/expr/tests/random.rs: pieces",
        "one story, or one table of cases",
    ),
    (
        "saga-dsl/src/file/format/tests/random.rs: value",
        "one arm a form of expression",
    ),
    (
        "saga-dsl/src/graph/tests.rs: an_svg_is_closed_and_holds_every_step_once_and_inside_of_its_frame",
        "one story, or one table of cases",
    ),
    (
        "saga-dsl/src/schema/checker.rs: keeps",
        "one arm a word of the schema",
    ),
    (
        "saga-dsl/src/schema/page.rs: required_keys_defaults_and_words_are_those_of_the_reader",
        "not taken apart yet",
    ),
    (
        "saga-dsl/src/schema/tests.rs: reader_and_schema_agree_on_every_slip",
        "one story, or one table of cases",
    ),
    (
        "saga-dsl/src/types/tests.rs: schemas_become_types_where_they_fit",
        "one story, or one table of cases",
    ),
    (
        "saga-dsl/src/types/tests.rs: values_are_checked_to_the_last_fault",
        "one story, or one table of cases",
    ),
    (
        "tests/chaos/breakers.rs: a_participant_that_fails_is_left_alone_and_comes_back_without_a_storm",
        "one story, or one table of cases",
    ),
    (
        "tests/chaos/breakers.rs: for_half_a_minute_under_load",
        "one story, or one table of cases",
    ),
    (
        "tests/conformance/cases/reads.rs: lists_filter",
        "one story, or one table of cases",
    ),
    (
        "tests/conformance/differential.rs: batch",
        "one story, or one table of cases",
    ),
    (
        "tests/conformance/differential.rs: read",
        "one story, or one table of cases",
    ),
    (
        "tests/conformance/inbox.rs: postgres_never_acts_twice",
        "one story, or one table of cases",
    ),
    (
        "tests/conformance/left_work.rs: hand_over",
        "one story, or one table of cases",
    ),
    (
        "tests/conformance/postgres_trouble.rs: a_statement_that_is_given_up_is_not_written_and_a_lost_session_is_unknown",
        "one story, or one table of cases",
    ),
    ("tests/fuzz/journal.rs: goes_on", "one arm an event"),
    ("tests/rig/plain.rs: barrier", "the table of the barrier"),
    ("tests/rig/plain.rs: take", "one arm an operation"),
    (
        "tests/simulation/checks.rs: dispatches",
        "one story, or one table of cases",
    ),
    (
        "tests/simulation/heard.rs: stands_behind",
        "one story, or one table of cases",
    ),
    (
        "tests/system/acknowledge.rs: stays_until_it_is_acknowledged",
        "one story, or one table of cases",
    ),
    (
        "tests/system/deploys.rs: a_version_never_changes_and_a_new_one_is_for_new_sagas",
        "one story, or one table of cases",
    ),
    (
        "tests/system/events.rs: killed_again_and_again",
        "one story, or one table of cases",
    ),
    (
        "tests/system/guards.rs: a_breaker_that_an_operator_tripped_outlives_the_server_and_spends_no_attempt",
        "one story, or one table of cases",
    ),
    (
        "tests/system/lists.rs: pages_show_every_saga_once_while_others_start",
        "one story, or one table of cases",
    ),
    (
        "tests/system/numbers.rs: an_edit_of_a_step_keeps_its_other_fields_and_is_checked_first",
        "one story, or one table of cases",
    ),
    (
        "tests/system/serving.rs: a_server_ends_soon_although_streams_are_open_and_sagas_run",
        "one story, or one table of cases",
    ),
    (
        "tests/system/starts.rs: a_start_that_cannot_be_meant_is_refused_in_words_that_help",
        "one story, or one table of cases",
    ),
    (
        "tests/system/starts_by_message.rs: a_service_needs_no_more_than_the_permissions_that_are_printed",
        "one story, or one table of cases",
    ),
    (
        "tests/system/starts_by_message.rs: what_can_never_be_a_start_is_answered_and_does_not_come_again",
        "one story, or one table of cases",
    ),
    (
        "tests/system/store_trouble.rs: a_full_disk_is_told_above_every_screen",
        "one story, or one table of cases",
    ),
    (
        "tests/system/strangers.rs: answers_without_sense_change_nothing_and_the_right_one_counts_once",
        "one story, or one table of cases",
    ),
    (
        "tests/yardstick/main.rs: over_the_broker",
        "one measurement after another",
    ),
];

#[test]
fn no_file_is_longer_than_it_may_be() {
    let long = files_ending(".rs").into_iter().filter_map(|path| {
        let lines = text(&path).expect("sources are UTF-8").lines().count();
        (lines > FILE_LINES_MAX).then_some((path, lines))
    });
    held_against(LONG_FILES, long.collect(), FILE_LINES_MAX);
}

#[test]
fn no_function_is_longer_than_a_screen() {
    let mut long = Vec::new();
    for path in files_ending(".rs") {
        let parsed = syn::parse_file(&text(&path).expect("sources are UTF-8"));
        let mut functions = Functions::default();
        functions.visit_file(&parsed.unwrap_or_else(|error| panic!("{path}: {error}")));
        let longer = functions.0.into_iter();
        let longer = longer.filter(|(_, lines)| *lines > FUNCTION_LINES_MAX);
        long.extend(longer.map(|(name, lines)| (format!("{path}: {name}"), lines)));
    }
    held_against(LONG_FUNCTIONS, long, FUNCTION_LINES_MAX);
}

/// Whatever is too long has a reason, and whatever has a reason is too long.
fn held_against(reasons: &[(&str, &str)], long: Vec<(String, usize)>, max: usize) {
    let mut faults: Vec<String> = long
        .iter()
        .filter(|(what, _)| reasons.iter().all(|(known, _)| known != what))
        .map(|(what, lines)| format!("{what}: {lines} lines, at most {max}"))
        .collect();
    let short = reasons
        .iter()
        .filter(|(known, _)| long.iter().all(|(what, _)| what != known));
    faults.extend(short.map(|(known, _)| format!("{known}: is no longer too long")));
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Names of functions and how many lines each has.
#[derive(Default)]
struct Functions(Vec<(String, usize)>);

impl Functions {
    fn note(&mut self, name: &syn::Ident, span: Span) {
        let lines = span.end().line - span.start().line + 1;
        self.0.push((name.to_string(), lines));
    }
}

impl<'ast> Visit<'ast> for Functions {
    fn visit_item_fn(&mut self, item: &'ast ItemFn) {
        self.note(
            &item.sig.ident,
            item.sig
                .span()
                .join(item.block.span())
                .unwrap_or(item.block.span()),
        );
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast ImplItemFn) {
        self.note(
            &item.sig.ident,
            item.sig
                .span()
                .join(item.block.span())
                .unwrap_or(item.block.span()),
        );
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast TraitItemFn) {
        if let Some(block) = &item.default {
            self.note(&item.sig.ident, block.span());
        }
        visit::visit_trait_item_fn(self, item);
    }
}
