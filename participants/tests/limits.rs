//! Handlers that never return: they end at their attempt's limit, and nothing of them takes effect.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    future::pending,
    sync::{Arc, Condvar, Mutex},
    time::Duration,
};

use saga_participant::{
    Answer, Ctx, Memory, MemoryInbox, Op, Participant, Result, Sqlite, SqliteInbox, StepKey,
    inbox::Ask,
    testing::{Harness, bare},
};
use tempfile::TempDir;
use tokio::time::timeout;

/// No wait of these tests comes near it unless something is broken.
const PATIENCE: Duration = Duration::from_secs(20);

/// Blocks threads until it is opened.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    fn pass(&self) {
        let (open, opened) = &*self.0;
        drop(
            opened
                .wait_while(open.lock().unwrap(), |open| !*open)
                .unwrap(),
        );
    }

    fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }
}

/// A gate opens with its test, also when the test fails: the runtime waits for blocked threads.
struct Opens(Gate);

impl Drop for Opens {
    fn drop(&mut self) {
        self.0.open();
    }
}

fn command(step: &str, action: &str, attempt: u32, limit_ms: u64) -> Ask {
    let key = StepKey {
        saga_id: uuid(),
        step: step.into(),
        round: 1,
    };
    Ask {
        action: action.to_owned(),
        input: "null".into(),
        attempt,
        timeout: Duration::from_millis(limit_ms),
        ..bare(key, Op::Action)
    }
}

fn uuid() -> uuid::Uuid {
    uuid::Uuid::from_u128(7)
}

async fn note(ctx: &Ctx<Sqlite>) -> Result<()> {
    let mut tx = ctx.tx().await?;
    let step = ctx.step().to_owned();
    sqlx::query("insert into deed (step) values (?)")
        .bind(step)
        .execute(&mut *tx)
        .await?;
    Ok(())
}

/// A participant that does one deed, and hangs in many ways in its first attempt.
async fn hanging(gate: &Gate) -> (TempDir, Harness<Sqlite>, sqlx::SqlitePool) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("hanging.db");
    let inbox = SqliteInbox::open(&path).await.unwrap();
    inbox
        .migrate("create table deed (step text)")
        .await
        .unwrap();
    let (holding, free) = (gate.clone(), gate.clone());
    let participant = Participant::<Sqlite>::new("hanging")
        .action("do", async |ctx: Ctx<Sqlite>, (): ()| note(&ctx).await)
        .action("wait", async |ctx: Ctx<Sqlite>, (): ()| {
            note(&ctx).await?;
            let _tx = ctx.tx().await?;
            if ctx.attempt() == 1 { pending().await } else { Ok(()) }
        })
        .action("compute", async |ctx: Ctx<Sqlite>, (): ()| {
            note(&ctx).await?;
            if ctx.attempt() == 1 {
                let mut tx = ctx.tx().await?;
                let endless =
                    "with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) from n";
                sqlx::query(endless).execute(&mut *tx).await?;
            }
            Ok(())
        })
        .action("block", move |ctx: Ctx<Sqlite>, (): ()| {
            let gate = free.clone();
            async move {
                note(&ctx).await?;
                if ctx.attempt() == 1 {
                    gate.pass();
                }
                Ok(())
            }
        })
        .action("block_holding", move |ctx: Ctx<Sqlite>, (): ()| {
            let gate = holding.clone();
            async move {
                note(&ctx).await?;
                let mut tx = ctx.tx().await?;
                if ctx.attempt() == 1 {
                    gate.pass();
                    // As no handler may; it does not help this one either.
                    let ended = sqlx::raw_sql("commit").execute(&mut *tx).await;
                    assert!(ended.is_err(), "it was committed behind the back of the inbox");
                }
                Ok(())
            }
        })
        .inbox(inbox);
    let reader = sqlx::SqlitePool::connect(&format!("sqlite://{}", path.display()))
        .await
        .unwrap();
    (directory, participant.test(), reader)
}

async fn deeds(reader: &sqlx::SqlitePool) -> Vec<String> {
    sqlx::query_scalar("select step from deed order by step")
        .fetch_all(reader)
        .await
        .unwrap()
}

async fn answer(harness: &Harness<Sqlite>, ask: Ask) -> Answer {
    timeout(PATIENCE, harness.deliver_ask(ask))
        .await
        .expect("an answer in time")
        .expect("an answer")
}

#[track_caller]
fn assert_timed_out(answer: &Answer) {
    assert!(
        matches!(answer, Answer::Failed(failure) if failure.fault.code == "handler_timeout"),
        "{answer:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_handler_that_waits_for_ever_is_ended_and_rolled_back() {
    let (_directory, harness, reader) = hanging(&Gate::default()).await;
    for action in ["wait", "compute"] {
        assert_timed_out(&answer(&harness, command(action, action, 1, 300)).await);
        assert_eq!(
            answer(&harness, command(action, action, 2, 30_000)).await,
            Answer::Succeeded("null".into())
        );
    }
    assert_eq!(deeds(&reader).await, ["compute", "wait"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn others_wait_for_a_hanging_handler_no_longer_than_its_limit() {
    let (_directory, harness, reader) = hanging(&Gate::default()).await;
    let hung = harness.deliver_ask(command("a", "wait", 1, 1_000));
    let (hung, other) = tokio::join!(hung, answer(&harness, command("b", "do", 1, 30_000)));
    assert_timed_out(&hung.expect("an answer"));
    assert_eq!(other, Answer::Succeeded("null".into()));
    assert_eq!(deeds(&reader).await, ["b"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_handler_that_blocks_its_thread_commits_nothing() {
    let gate = Gate::default();
    let _opens = Opens(gate.clone());
    let (_directory, harness, reader) = hanging(&gate).await;
    assert_timed_out(&answer(&harness, command("a", "block", 1, 300)).await);
    // It did not hold the connection, so the others go on at once.
    assert_eq!(
        answer(&harness, command("b", "do", 1, 30_000)).await,
        Answer::Succeeded("null".into())
    );
    assert_timed_out(&answer(&harness, command("c", "block_holding", 1, 300)).await);
    // This one does; nobody can write before it returns, and who waits for it is not kept for ever.
    let busy = answer(&harness, command("d", "do", 1, 300)).await;
    assert!(
        matches!(&busy, Answer::Failed(failure) if failure.fault.code == "inbox_busy"),
        "{busy:?}"
    );
    gate.open();
    for (step, action) in [("c", "block_holding"), ("a", "block"), ("d", "do")] {
        assert_eq!(
            answer(&harness, command(step, action, 2, 30_000)).await,
            Answer::Succeeded("null".into())
        );
    }
    assert_eq!(deeds(&reader).await, ["a", "b", "c", "d"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_task_that_a_handler_leaves_behind_does_not_keep_its_transaction() {
    let directory = tempfile::tempdir().unwrap();
    let inbox = SqliteInbox::open(directory.path().join("left.db"))
        .await
        .unwrap();
    let participant = Participant::<Sqlite>::new("left")
        .action("leave", async |ctx: Ctx<Sqlite>, (): ()| {
            let (got, gets) = tokio::sync::oneshot::channel();
            tokio::spawn(async move {
                let _tx = ctx.tx().await.expect("free");
                let _ = got.send(());
                tokio::time::sleep(Duration::from_secs(6)).await;
            });
            gets.await?;
            Ok(())
        })
        .inbox(inbox);
    let answer = answer(&participant.test(), command("a", "leave", 1, 30_000)).await;
    assert!(
        matches!(&answer, Answer::Failed(failure) if failure.fault.message.contains("left behind")),
        "{answer:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn without_a_transaction_nothing_is_said_and_the_next_attempt_may_act() {
    let participant = Participant::<Memory>::new("forgetful")
        .action("wait", async |ctx: Ctx<Memory>, (): ()| {
            if ctx.attempt() == 1 {
                pending().await
            } else {
                Ok(7)
            }
        })
        .inbox(MemoryInbox::new());
    let harness = participant.test();
    assert_eq!(
        harness.deliver_ask(command("a", "wait", 1, 30_000)).await,
        None
    );
    assert_eq!(
        harness.deliver_ask(command("a", "wait", 2, 30_000)).await,
        Some(Answer::Succeeded("7".into()))
    );
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_gives_signs_of_life_may_take_longer() {
    let participant = Participant::<Memory>::new("slow")
        .action("work", async |ctx: Ctx<Memory>, by_handle: bool| {
            for _ in 0..10 {
                tokio::time::sleep(Duration::from_secs(20)).await;
                if by_handle {
                    ctx.handle().heartbeat(ctx.idempotency_key(), ctx.attempt());
                } else {
                    ctx.heartbeat();
                }
            }
            Ok(())
        })
        .inbox(MemoryInbox::new());
    let harness = participant.test();
    for (step, input) in [("a", "true"), ("b", "false")] {
        let ask = Ask {
            input: input.into(),
            ..command(step, "work", 1, 30_000)
        };
        assert_eq!(
            harness.deliver_ask(ask).await,
            Some(Answer::Succeeded("null".into()))
        );
    }
}
