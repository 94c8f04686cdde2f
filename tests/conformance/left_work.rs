//! Accepted work whose worker is gone is handed to a handler again, once, and the end of the old work is refused: with
//! two instances on one inbox, in each database.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use saga_participant::{
    CompleteError, Ctx, Handle, Memory, MemoryInbox, Outcome, Participant, PgInbox, Postgres,
    Result, Retry, Sqlite, SqliteInbox, StepKey, Store, Undo, inbox::Inbox, testing::Harness,
};
use saga_proto::v1 as wire;
use saga_tests::{postgres::database, wait::eventually_or};
use serde_json::{Value, json};

/// What a lease is cut to by the attempt's limit. Nobody renews it: these instances serve nothing.
const LIMIT_MS: u64 = 1_000;
/// A lease that no test outlives.
const LONG_MS: u64 = 600_000;

/// The handles that handlers took, in order, with the keys of their steps.
type Handles<S> = Arc<Mutex<Vec<(Handle<S>, StepKey)>>>;

struct Instance<S: Store> {
    inbox: S::Inbox,
    harness: Harness<S>,
    handles: Handles<S>,
}

/// `long` accepts and keeps a handle, `quick` ends at once, `fail` fails; each says whether it was called for work that was left.
fn instance<S: Store>(inbox: S::Inbox) -> Instance<S>
where
    S::Inbox: Inbox<Store = S>,
{
    let handles = Handles::<S>::default();
    let taken = handles.clone();
    let act = move |ctx: Ctx<S>, input: Value| {
        let taken = taken.clone();
        async move {
            match input["do"].as_str() {
                Some("accept") => {
                    let handle = (ctx.handle(), ctx.idempotency_key().clone());
                    taken.lock().expect("whole").push(handle);
                    Ok(Outcome::Accepted)
                }
                Some("fail") if ctx.resumed() => Err(Retry::new("busy", "as asked").into()),
                Some("done if resumed") if !ctx.resumed() => {
                    let handle = (ctx.handle(), ctx.idempotency_key().clone());
                    taken.lock().expect("whole").push(handle);
                    Ok(Outcome::Accepted)
                }
                Some("fail") => {
                    let handle = (ctx.handle(), ctx.idempotency_key().clone());
                    taken.lock().expect("whole").push(handle);
                    Ok(Outcome::Accepted)
                }
                _ => Ok(Outcome::Done(json!({"resumed": ctx.resumed()}))),
            }
        }
    };
    let undo = |_: Ctx<S>, _: Undo<Value, Value>| async { Result::Ok(()) };
    let harness = Participant::<S>::new("left")
        .action("act", act)
        .compensation("undo", undo)
        .inbox(inbox.clone())
        .test();
    Instance {
        inbox,
        harness,
        handles,
    }
}

fn command(step: u128, op: wire::Op, attempt: u32, doing: &str, timeout_ms: u64) -> wire::Command {
    let input = match op {
        wire::Op::Compensation => json!({"input": {"do": doing}, "action_key": "k"}),
        _ => json!({"do": doing}),
    };
    wire::Command {
        saga_id: Bytes::copy_from_slice(&step.to_be_bytes()),
        step: "step".to_owned(),
        round: 1,
        op: op.into(),
        attempt,
        action: if op == wire::Op::Compensation {
            "undo"
        } else {
            "act"
        }
        .to_owned(),
        input: input.to_string().into(),
        known: wire::Known::Unknown.into(),
        fingerprint: 1,
        timeout_ms,
        ..wire::Command::default()
    }
}

impl<S: Store> Instance<S> {
    async fn told(&self, command: wire::Command) -> (wire::Outcome, Value) {
        let reply = self.harness.deliver(command).await.expect("readable");
        let reply = reply.expect("an answer");
        let output = serde_json::from_slice(&reply.output).unwrap_or_default();
        (reply.outcome(), output)
    }

    async fn acts(
        &self,
        step: u128,
        attempt: u32,
        doing: &str,
        timeout_ms: u64,
    ) -> (wire::Outcome, Value) {
        self.told(command(step, wire::Op::Action, attempt, doing, timeout_ms))
            .await
    }

    async fn asked(&self, step: u128, op: wire::Op) -> wire::Outcome {
        self.told(command(step, op, 1, "", LIMIT_MS)).await.0
    }

    /// Ends the work of the handle that was taken last.
    async fn completes(&self) -> std::result::Result<(), CompleteError> {
        let (handle, key) = self.handles.lock().expect("whole").pop().expect("a handle");
        handle.complete(&key, Ok(json!({"by": "the first"}))).await
    }
}

/// Waits until nobody counts as at work on the step.
async fn lapsed<S: Store>(instance: &Instance<S>, step: u128) {
    eventually_or("the claim to lapse", async || {
        match instance.asked(step, wire::Op::Query).await {
            wire::Outcome::Absent => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

async fn hand_over<S: Store>(first: Instance<S>, second: Instance<S>) {
    use wire::{Op, Outcome};
    // The worker is alive and late: its work is handed over, and what it says then is refused.
    let accepted = first.acts(1, 1, "done if resumed", LIMIT_MS).await;
    assert_eq!(accepted.0, Outcome::Accepted);
    lapsed(&second, 1).await;
    let same = second.acts(1, 1, "done if resumed", LIMIT_MS).await.0;
    assert_eq!(
        same,
        Outcome::Accepted,
        "no later attempt: it may be a copy"
    );
    for op in [Op::Compensation, Op::Seal] {
        assert_eq!(second.asked(1, op).await, Outcome::Running, "{op:?}");
    }
    let again = second.acts(1, 2, "done if resumed", LIMIT_MS).await;
    assert_eq!(again, (Outcome::Succeeded, json!({"resumed": true})));
    let late = first.completes().await;
    assert!(
        matches!(late, Err(CompleteError::NotRunning(_))),
        "{late:?}"
    );

    // The handler accepts again: the work has another claim.
    first.acts(2, 1, "accept", LIMIT_MS).await;
    lapsed(&second, 2).await;
    assert_eq!(
        second.acts(2, 2, "accept", LONG_MS).await.0,
        Outcome::Accepted
    );
    let late = first.completes().await;
    assert!(
        matches!(late, Err(CompleteError::HandedOver(_))),
        "{late:?}"
    );
    assert_eq!(first.asked(2, Op::Query).await, Outcome::Running);
    assert_eq!(
        first.acts(2, 3, "accept", LONG_MS).await.0,
        Outcome::Accepted
    );
    second.completes().await.expect("it has the claim");
    assert_eq!(first.asked(2, Op::Query).await, Outcome::Done);

    // Who runs the handler again fails: the first may still end the work.
    first.acts(3, 1, "fail", LIMIT_MS).await;
    lapsed(&second, 3).await;
    assert_eq!(second.acts(3, 2, "fail", LIMIT_MS).await.0, Outcome::Failed);
    first.completes().await.expect("nobody took the work over");
    let stored = second.acts(3, 3, "fail", LIMIT_MS).await;
    assert_eq!(stored, (Outcome::Succeeded, json!({"by": "the first"})));

    // While the worker counts as alive, nothing is handed over.
    first.acts(4, 1, "accept", LONG_MS).await;
    assert_eq!(
        second.acts(4, 2, "accept", LONG_MS).await.0,
        Outcome::Accepted
    );
    assert_eq!(second.asked(4, Op::Query).await, Outcome::Running);
    first.completes().await.expect("it is its own");

    // Signs of life put the end of the claim off.
    first.acts(5, 1, "accept", LIMIT_MS).await;
    lapsed(&second, 5).await;
    // The next look may come too late on a busy machine; a later sign is as good.
    eventually_or("a sign of life to count", async || {
        first.inbox.give_signs_of_life().await.expect("written");
        match second.asked(5, Op::Query).await {
            Outcome::Running => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    first.completes().await.expect("it is its own");

    // Another fingerprint, or a command whose time has passed, resumes nothing.
    first.acts(6, 1, "accept", LIMIT_MS).await;
    lapsed(&second, 6).await;
    let mut other = command(6, Op::Action, 2, "accept", LIMIT_MS);
    other.fingerprint = 2;
    assert_eq!(second.told(other).await.0, Outcome::Conflict);
    let mut expired = command(6, Op::Action, 2, "accept", LIMIT_MS);
    expired.not_after_us = 1;
    assert_eq!(second.told(expired).await.0, Outcome::Accepted);
}

/// In one process no lease is waited for: work whose last handle is dropped is gone.
async fn drop_the_handle<S: Store>(one: Instance<S>) {
    use wire::{Op, Outcome};
    one.acts(10, 1, "done if resumed", LONG_MS).await;
    assert_eq!(
        one.acts(10, 2, "done if resumed", LONG_MS).await.0,
        Outcome::Accepted
    );
    one.handles.lock().expect("whole").clear();
    assert_eq!(one.asked(10, Op::Query).await, Outcome::Absent);
    let again = one.acts(10, 3, "done if resumed", LONG_MS).await;
    assert_eq!(again, (Outcome::Succeeded, json!({"resumed": true})));

    one.acts(11, 1, "fail", LONG_MS).await;
    one.handles.lock().expect("whole").clear();
    assert_eq!(one.acts(11, 2, "fail", LONG_MS).await.0, Outcome::Failed);
    assert_eq!(one.acts(11, 3, "fail", LONG_MS).await.0, Outcome::Failed);
    assert_eq!(one.asked(11, Op::Compensation).await, Outcome::Running);
}

#[tokio::test]
async fn left_work_is_handed_over_once_in_sqlite() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("inbox.db");
    let open = async || SqliteInbox::open(&path).await.expect("opens");
    hand_over::<Sqlite>(instance(open().await), instance(open().await)).await;
    drop_the_handle::<Sqlite>(instance(open().await)).await;
}

#[tokio::test]
async fn left_work_is_handed_over_once_in_postgresql() {
    let url = database().await;
    let open = async || PgInbox::connect(&url).await.expect("opens");
    hand_over::<Postgres>(instance(open().await), instance(open().await)).await;
    drop_the_handle::<Postgres>(instance(open().await)).await;
}

#[tokio::test]
async fn work_whose_handle_is_dropped_is_left_in_memory() {
    drop_the_handle::<Memory>(instance(MemoryInbox::new())).await;
}

/// The table of an earlier release, with work in it that was accepted then.
const EARLIER: &str = "
create table saga_inbox (
    saga_id blob not null, step text not null, round integer not null,
    state text not null check (state in ('running', 'done', 'refused', 'tombstone', 'compensated')),
    fingerprint integer not null, attempt integer not null, output blob, error_code text, error_message text,
    retain_until_us integer not null, updated_at_us integer not null, primary key (saga_id, step, round));
insert into saga_inbox values (x'00000000000000000000000000000014', 'step', 1, 'running', 1, 1, null, null, null, 0, 0)";

#[tokio::test]
async fn work_that_an_earlier_release_accepted_is_not_handed_over() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("inbox.db");
    let earlier = rusqlite::Connection::open(&path).expect("opens");
    earlier.execute_batch(EARLIER).expect("made");
    drop(earlier);
    for _ in 0..2 {
        let inbox = SqliteInbox::open(&path).await.expect("opens");
        let now = instance::<Sqlite>(inbox);
        // Its worker gives no signs of life and knows of no claims, so it may be at work.
        let later = now.acts(20, 7, "accept", LIMIT_MS).await.0;
        assert_eq!(later, wire::Outcome::Accepted);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
