#![allow(clippy::unwrap_used, reason = "a test may panic")]

use saga_dsl::file;

use super::{memory::Memory, *};

const TRIP: &[u8] = include_bytes!("../../../../examples/book_trip/book_trip.saga.yaml");

pub(super) fn plan(text: &[u8]) -> Arc<Plan> {
    let loaded = file::load("t.saga.yaml", text);
    Arc::new(
        loaded
            .plan
            .unwrap_or_else(|| panic!("{:#?}", loaded.diagnostics)),
    )
}

async fn broken(plan: &Arc<Plan>, seed: u64) -> Vec<(String, Vec<String>)> {
    let mut broken = Vec::new();
    for case in generate(plan).cases {
        let verdict = run(plan, &case, seed, &mut Memory::default()).await;
        if !verdict.passed() {
            let story: Vec<String> = verdict
                .story
                .iter()
                .take(60)
                .map(|line| {
                    format!(
                        "  {:>8} {:<18} {}",
                        line.after_ms,
                        line.step.clone().unwrap_or_default(),
                        line.text
                    )
                })
                .collect();
            println!("{}: {:?}\n{}", case.name, verdict.faults, story.join("\n"));
            broken.push((case.name, verdict.faults));
        }
    }
    broken
}

#[tokio::test]
async fn the_trip_passes_with_many_seeds() {
    let plan = plan(TRIP);
    for seed in 0..5 {
        assert_eq!(broken(&plan, seed).await, [], "seed {seed}");
    }
}

const SHAPES: [&str; 9] = [
    // Nothing but compensatable steps, the last without anything after it; small budgets.
    "saga: s\nversion: 1\nsteps:\n  - {step: a, action: p/a, compensation: {action: p/b, retry: {max_attempts: 2}}, retry: {max_attempts: 1}}\n  - {step: c, action: p/c, compensation: p/d, retry: {max_attempts: 2, non_retryable: [gone]}}\n",
    // A lone pivot; a pivot with a budget.
    "saga: s\nversion: 1\nsteps:\n  - {step: a, kind: pivot, action: p/a}\n",
    "saga: s\nversion: 1\ndeadline: 10d\nsteps:\n  - {step: a, action: p/a, compensation: p/b}\n  - {step: c, kind: pivot, action: p/c, retry: {max_attempts: 3}}\n  - {step: d, kind: retriable, action: p/d, retry: {max_attempts: 2}}\n",
    // Conditions, groups, a step that is left out of the plain sample, a pivot that may be skipped.
    "saga: s\nversion: 1\ndeadline: 2h\ninput: {big: int, fast: optional bool}\nsteps:\n  - parallel:\n      - sequence:\n          - {step: a, action: p/a, compensation: p/ua}\n          - {step: b, when: input.big > 100, action: q/b, compensation: q/ub}\n      - {step: c, action: p/c, compensation: {action: none, reason: a read}}\n  - {step: d, when: \"steps.c.output.level == 'high'\", action: p/d, compensation: {action: p/ud, input: {t: \"${has(self.output) ? self.output.t : self.key}\"}}}\n  - {step: e, kind: pivot, when: \"!has(input.fast) || !input.fast\", action: q/e}\n  - {step: f, kind: retriable, action: p/f, input: {level: '${steps.c.output.level}'}}\n",
    // Effects at least once.
    "saga: s\nversion: 1\ndeadline: 1h\nsteps:\n  - {step: a, action: p/a, compensation: p/ua, at_least_once: true}\n  - {step: b, kind: pivot, action: p/b, at_least_once: true}\n  - {step: c, kind: retriable, action: p/c, at_least_once: true}\n",
    // Attempts that the deadline cuts, no limits elsewhere.
    "saga: s\nversion: 1\ndeadline: 30s\nsteps:\n  - {step: a, action: p/a, compensation: p/ua, timeout: 5s, retry: {max_attempts: 20, initial_delay: 10s, max_delay: 10s}}\n  - {step: b, action: p/b, compensation: p/ub, retry: {max_attempts: unlimited}}\n",
    // Either the pivot or the step after it runs; steps that are never both there.
    "saga: s\nversion: 1\ndeadline: 1h\ninput: {x: bool}\nsteps:\n  - {step: a, action: p/a, compensation: p/ua}\n  - {step: b, kind: pivot, when: input.x, action: p/b}\n  - {step: c, kind: retriable, when: \"!input.x\", action: p/c}\n",
    // Limits by time instead of by number, also of an undo; short ones.
    "saga: s\nversion: 1\nsteps:\n  - {step: a, action: p/a, timeout: 2s, retry: {max_attempts: unlimited, max_elapsed: 3s}, compensation: {action: p/ua, timeout: 1s, retry: {max_elapsed: 1s}}}\n  - {step: b, kind: pivot, action: p/b, retry: {max_elapsed: 10s}, escalate_after: 1s}\n  - {step: c, kind: retriable, action: p/c, timeout: 1s, retry: {max_elapsed: 1s}, escalate_after: 2s}\n",
    // One action for several steps, a deadline that is near, a payload read through two steps.
    "saga: s\nversion: 1\ndeadline: 2s\ninput: {items: [{sku: string}], note: optional string}\nsteps:\n  - {step: a, action: p/do, compensation: p/undo, timeout: 100ms, input: {n: '${size(input.items)}'}}\n  - parallel:\n      - {step: b, action: p/do, compensation: p/undo, timeout: 100ms, input: {of: '${steps.a.output.id}'}}\n      - {step: c, action: p/do, compensation: {action: p/undo, input: {k: '${self.key}', of: '${self.input}'}}, timeout: 100ms}\n  - {step: d, action: p/do, compensation: p/undo, timeout: 100ms, when: \"has(input.note) && input.note.startsWith('x')\"}\n",
];

#[tokio::test]
async fn sagas_of_every_shape_pass() {
    for (at, shape) in SHAPES.iter().enumerate() {
        let plan = plan(shape.as_bytes());
        assert_eq!(generate(&plan).notes, [] as [&str; 0], "shape {at}");
        for seed in 0..3 {
            assert_eq!(broken(&plan, seed).await, [], "shape {at}, seed {seed}");
        }
    }
}

fn trip_with(from: &str, to: &str) -> Arc<Plan> {
    let text = std::str::from_utf8(TRIP).unwrap();
    assert!(text.contains(from));
    plan(text.replacen(from, to, 1).as_bytes())
}

async fn names_of_broken(plan: &Arc<Plan>) -> Vec<String> {
    broken(plan, 1)
        .await
        .into_iter()
        .map(|(name, _)| name)
        .collect()
}

#[tokio::test]
async fn a_compensation_whose_payload_fails_names_the_cases_that_undo() {
    // Fine while the outcome is known; the own payload of an unknown one is no number.
    let plan = trip_with(
        "compensation: hotels/cancel",
        "compensation: {action: hotels/cancel, input: {room: '${has(self.output) ? 1 : int(self.key)}'}}",
    );
    let names = names_of_broken(&plan).await;
    assert!(
        names.contains(&"reserve_hotel: never answers, effect happened".to_owned()),
        "{names:?}"
    );
    assert!(
        names.iter().all(|name| name.contains("reserve_hotel")),
        "{names:?}"
    );
    assert!(
        !names.contains(&"reserve_hotel: its undo fails 3 times, then succeeds".to_owned()),
        "{names:?}"
    );
}

#[tokio::test]
async fn a_compensation_at_the_wrong_participant_is_found() {
    // A definition that an older release took: today it is refused.
    let text = std::str::from_utf8(TRIP).unwrap();
    let text = text.replacen(
        "compensation: hotels/cancel",
        "compensation: flights/cancel",
        1,
    );
    let definition = file::load("t.saga.yaml", text.as_bytes()).definition;
    let plan = Arc::new(Plan::from_definition(definition.unwrap()).unwrap());
    let names = names_of_broken(&plan).await;
    assert!(
        names.contains(&"charge_card: refused".to_owned()),
        "{names:?}"
    );
}

#[tokio::test]
async fn an_effect_that_nothing_undoes_is_noted() {
    for (to, noted) in [
        ("compensation: none", true),
        (
            "compensation: {action: none, reason: free of charge}",
            false,
        ),
    ] {
        let plan = trip_with("compensation: hotels/cancel", to);
        let cases = generate(&plan).cases;
        let case = cases
            .iter()
            .find(|case| case.name == "charge_card: refused")
            .unwrap();
        let verdict = run(&plan, case, 1, &mut Memory::default()).await;
        assert_eq!(
            (verdict.passed(), verdict.end),
            (true, Some(End::Compensated))
        );
        assert_eq!(
            verdict
                .notes
                .iter()
                .any(|note| note.contains("reserve_hotel")),
            noted,
            "{:?}",
            verdict.notes
        );
    }
}

#[tokio::test]
async fn the_same_seed_tells_the_same_story_and_another_one_another() {
    let plan = plan(TRIP);
    let cases = generate(&plan).cases;
    let case = cases
        .iter()
        .find(|case| case.name.contains("on the way back"))
        .unwrap();
    let mut stories = Vec::new();
    for seed in [1, 1, 2] {
        stories.push(run(&plan, case, seed, &mut Memory::default()).await.story);
    }
    assert_eq!(stories[0], stories[1]);
    assert_ne!(stories[0], stories[2]);
}

#[test]
fn cases_have_names_of_their_own() {
    for shape in SHAPES.iter().map(|shape| shape.as_bytes()).chain([TRIP]) {
        let names: Vec<String> = generate(&plan(shape))
            .cases
            .into_iter()
            .map(|case| case.name)
            .collect();
        let unique: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(unique.len(), names.len(), "{names:?}");
    }
}

#[tokio::test]
async fn trouble_really_happens() {
    let plan = plan(TRIP);
    let expected = [
        (
            "crash before each of its commits",
            "the orchestrator dies before it commits",
        ),
        (
            "crash after each of its commits",
            "the orchestrator dies right after it committed",
        ),
        ("its undo arrives before its action", "keeps it out"),
        ("no answer once, effect happened", "and the answer is lost"),
        ("no answer once, no effect", "is lost on its way"),
        ("the deadline passes while it waits", "the deadline passed"),
        ("cancelled while its command is held up", "has sealed it"),
        ("connects late", "waits: no live participant"),
        (
            "its first command arrives after the saga has ended",
            "is held up on its way",
        ),
    ];
    let mut seen = [0; 9];
    for case in generate(&plan).cases {
        let verdict = run(&plan, &case, 3, &mut Memory::default()).await;
        for ((name, text), seen) in expected.iter().zip(&mut seen) {
            if case.name.contains(name) {
                *seen += 1;
                assert!(
                    verdict.story.iter().any(|line| line.text.contains(text)),
                    "{}: {text}",
                    case.name
                );
            }
        }
    }
    assert!(seen.iter().all(|count| *count > 0), "{seen:?}");
}

/// Participants without an inbox, and what they forget.
#[derive(Default)]
struct Forgetful {
    kept: std::collections::BTreeMap<String, cast::Effects>,
    undoes_nothing: bool,
}

impl Cast for Forgetful {
    async fn take(
        &mut self,
        call: &cast::Call<'_>,
        _: Option<&saga_dsl::test_file::Answer>,
    ) -> saga_core::input::Outcome {
        use saga_core::{Op, input::Outcome};
        let effects = self.kept.entry(call.step.to_owned()).or_default();
        match call.command.op {
            Op::Action => {
                effects.acted += 1;
                Outcome::Succeeded(saga_core::Payload::from_value(call.sample.clone()))
            }
            Op::Compensation => {
                effects.undone += u32::from(!self.undoes_nothing);
                Outcome::Compensated
            }
            Op::Query => Outcome::Absent,
            Op::Seal => Outcome::Sealed,
        }
    }

    async fn effects(
        &mut self,
        _: saga_core::SagaId,
    ) -> std::collections::BTreeMap<String, cast::Effects> {
        self.kept.clone()
    }
}

#[tokio::test]
async fn broken_promises_are_told_by_their_number() {
    let plan = plan(TRIP);
    let cases = generate(&plan).cases;
    let faults = async |name: &str, undoes_nothing| {
        let case = cases.iter().find(|case| case.name == name).unwrap();
        let mut cast = Forgetful {
            undoes_nothing,
            ..Forgetful::default()
        };
        run(&plan, case, 1, &mut cast).await.faults.join("; ")
    };
    let twice = faults("reserve_hotel: every message comes twice", false).await;
    assert!(
        twice.contains("`reserve_hotel` took effect 2 times (I1)"),
        "{twice}"
    );
    let left = faults("reserve_hotel: cancelled while it is in flight", true).await;
    assert!(
        left.contains("the effect of `reserve_hotel` is still there (I5)"),
        "{left}"
    );
    let hangs = faults("reserve_hotel: its undo arrives before its action", false).await;
    assert!(hangs.contains("(I22)") || hangs.contains("(I5)"), "{hangs}");
    let pivot = faults(
        "charge_card: cancelled while it is in flight: settled first",
        false,
    )
    .await;
    assert!(pivot.is_empty() || pivot.contains("charge_card"), "{pivot}");
}
