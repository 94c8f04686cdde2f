//! What a participant answers, asked through the harness: every rule on both kinds of inbox.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::time::Duration;

use saga_participant::{
    Answer, CompleteError, Ctx, Known, Memory, MemoryInbox, NeedsOperator, Op, Outcome,
    Participant, Reject, Result, Retry, Sqlite, SqliteInbox, Store, TxError, Undo, inbox::Inbox,
    testing::Harness,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

#[derive(Debug, Deserialize, JsonSchema)]
struct Reserve {
    seat: String,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema, PartialEq)]
struct Reserved {
    code: String,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Void {
    reason: String,
}

async fn reserve<S: Store>(ctx: Ctx<S>, ask: Reserve) -> Result<Reserved> {
    match &*ask.seat {
        "taken" => Err(Reject::new("seat_taken", "somebody sits there"))?,
        "busy" if ctx.attempt() == 1 => Err(Retry::after(Duration::from_secs(7)))?,
        "broken" => Err(std::io::Error::other("seat map unreadable"))?,
        "haunted" => panic!("boo"),
        "huge" => Ok(Reserved {
            code: "x".repeat(saga_participant::OUTPUT_BYTES_MAX),
        }),
        seat => Ok(Reserved {
            code: format!("R-{seat}"),
        }),
    }
}

async fn cancel<S: Store>(ctx: Ctx<S>, undo: Undo<Reserve, Reserved>) -> Result<()> {
    assert_eq!(undo.action_key, ctx.idempotency_key().to_string());
    let output = undo
        .output
        .expect("the inbox knows it even where the orchestrator does not");
    match &*undo.input.seat {
        "glued" => Err(NeedsOperator::new("glued", "bring a screwdriver"))?,
        "stubborn" => Err(Reject::new("no", "a compensation may not refuse"))?,
        seat => assert_eq!(output.code, format!("R-{seat}")),
    }
    Ok(())
}

async fn void<S: Store>(_: Ctx<S>, ask: Void) -> Result<()> {
    if ask.reason == "none" {
        Err(Retry::new("why", "no reason given"))?
    } else {
        Ok(())
    }
}

async fn slow<S: Store>(_: Ctx<S>, (): ()) -> Result<Outcome<u32>> {
    Ok(Outcome::Accepted)
}

fn participant<S, I>(inbox: I) -> Participant<S>
where
    S: Store<Inbox = I>,
    I: Inbox<Store = S>,
{
    Participant::new("seats")
        .action("reserve", reserve::<S>)
        .compensation("cancel", cancel::<S>)
        .undoes("reserve")
        .compensation_with("void", void::<S>)
        .action("slow", slow::<S>)
        .inbox(inbox)
}

async fn sqlite() -> (tempfile::TempDir, SqliteInbox) {
    let directory = tempfile::tempdir().unwrap();
    let inbox = SqliteInbox::open(directory.path().join("seats.db"))
        .await
        .unwrap();
    (directory, inbox)
}

/// Runs a scenario on a fresh inbox of each kind.
macro_rules! on_both_inboxes {
    ($($name:ident => $scenario:ident;)*) => { mod memory { $(
        #[tokio::test]
        async fn $name() {
            super::$scenario(super::participant::<super::Memory, _>(super::MemoryInbox::new())).await;
        } )*
    } mod sqlite { $(
        #[tokio::test]
        async fn $name() {
            let (_directory, inbox) = super::sqlite().await;
            super::$scenario(super::participant::<super::Sqlite, _>(inbox)).await;
        } )*
    } };
}

on_both_inboxes! {
    a_repeated_action_answers_again => repeated;
    an_undo_before_its_action_blocks_it => undo_first;
    a_late_action_after_its_undo_is_blocked => late_action;
    refusals_are_sticky_and_failures_are_not => refused_and_failed;
    faults_of_handlers_become_answers => faults;
    undecodable_payloads_are_definite => undecodable;
    queries_and_seals_need_no_handler => query_and_seal;
    a_known_effect_without_a_row_needs_an_operator => lost;
    compensations_fail_in_their_own_way => compensations;
    expired_and_conflicting_commands_change_nothing => expired_and_conflict;
    accepted_work_is_completed_later => accepted;
    a_forgotten_key_is_new => forgotten;
    work_that_ends_before_its_acceptance_waits_for_it => completed;
}

fn code(answer: &Answer) -> &str {
    match answer {
        Answer::Refused(fault) | Answer::NeedsOperator(fault) => &fault.code,
        Answer::Failed(failure) => &failure.fault.code,
        other => panic!("{other:?} carries no code"),
    }
}

fn reserved(code: &str) -> bytes::Bytes {
    json!({ "code": code }).to_string().into()
}

async fn repeated<S: Store>(seats: Participant<S>) {
    let seats = seats.test();
    let answers = seats
        .call("reserve", json!({"seat": "1A"}))
        .times(3)
        .answers()
        .await;
    assert_eq!(answers, vec![Answer::Succeeded(reserved("R-1A")); 3]);
    assert_eq!(
        seats.undo("cancel").times(2).answers().await,
        vec![Answer::Compensated; 2]
    );
}

async fn undo_first<S: Store>(seats: Participant<S>) {
    let seats = seats.test();
    assert_eq!(
        seats.undo("cancel").times(2).answers().await,
        vec![Answer::NothingToDo; 2]
    );
    assert_eq!(
        seats.call("reserve", json!({"seat": "1A"})).await,
        Answer::Blocked
    );
    assert_eq!(seats.query().await, Answer::Sealed);
}

async fn late_action<S: Store>(seats: Participant<S>) {
    let seats = seats.test();
    seats.call("reserve", json!({"seat": "1A"})).await;
    // The orchestrator never saw the output; the inbox fills it in.
    assert_eq!(undo_blindly(&seats, "1A").await, Answer::Compensated);
    assert_eq!(
        seats.call("reserve", json!({"seat": "1A"})).await,
        Answer::Blocked
    );
    assert_eq!(seats.query().await, Answer::Compensated);
    assert_eq!(seats.seal().await, Answer::Compensated);
}

async fn undo_blindly<S: Store>(seats: &Harness<S>, seat: &str) -> Answer {
    let body = json!({"input": {"seat": seat}, "action_key": seats.key().to_string()});
    seats.undo_with("cancel", body).known(Known::Unknown).await
}

async fn refused_and_failed<S: Store>(seats: Participant<S>) {
    let seats = seats.test();
    for answer in seats
        .call("reserve", json!({"seat": "taken"}))
        .times(2)
        .answers()
        .await
    {
        assert_eq!(code(&answer), "seat_taken");
        assert!(matches!(answer, Answer::Refused(_)), "{answer:?}");
    }
    assert!(matches!(seats.query().await, Answer::Refused(_)));
    assert_eq!(seats.undo("cancel").await, Answer::NothingToDo);
    assert_eq!(
        seats.call("reserve", json!({"seat": "taken"})).await,
        Answer::Blocked
    );

    seats.next_step();
    let answers = seats
        .call("reserve", json!({"seat": "busy"}))
        .times(2)
        .answers()
        .await;
    let Answer::Failed(failure) = &answers[0] else {
        panic!("{answers:?}")
    };
    assert_eq!(failure.retry_after, Some(Duration::from_secs(7)));
    assert_eq!(
        answers[1],
        Answer::Succeeded(reserved("R-busy")),
        "the second attempt ran"
    );
}

async fn faults<S: Store>(seats: Participant<S>) {
    let seats = seats.test();
    for (seat, expected) in [
        ("broken", "handler_error"),
        ("haunted", "panic"),
        ("huge", "output_too_large"),
    ] {
        let answer = seats.call("reserve", json!({ "seat": seat })).await;
        assert!(matches!(answer, Answer::Failed(_)), "{answer:?}");
        assert_eq!(code(&answer), expected);
        assert_eq!(
            seats.query().await,
            Answer::Absent,
            "{seat} was rolled back"
        );
        seats.next_step();
    }
    let answer = seats.call("levitate", json!({})).await;
    assert!(
        matches!(answer, Answer::Failed(_)) && code(&answer) == "unknown_action",
        "{answer:?}"
    );
    assert_eq!(seats.query().await, Answer::Absent);
}

async fn undecodable<S: Store>(seats: Participant<S>) {
    let seats = seats.test();
    let answer = seats.call("reserve", json!({"seat": 7})).times(2).await;
    assert!(
        matches!(answer, Answer::Refused(_)) && code(&answer) == "invalid_input",
        "{answer:?}"
    );

    seats.next_step();
    seats.call("reserve", json!({"seat": "1A"})).await;
    let answer = seats.undo_with("cancel", json!({"nonsense": true})).await;
    assert!(
        matches!(answer, Answer::NeedsOperator(_)) && code(&answer) == "invalid_input",
        "{answer:?}"
    );
    assert_eq!(
        seats.query().await,
        Answer::Done(reserved("R-1A")),
        "nothing was undone"
    );
}

async fn query_and_seal<S: Store>(seats: Participant<S>) {
    let seats = seats.test();
    assert_eq!(seats.query().await, Answer::Absent);
    assert_eq!(seats.seal().times(2).await, Answer::Sealed);
    assert_eq!(
        seats.call("reserve", json!({"seat": "1A"})).await,
        Answer::Blocked
    );

    seats.next_step();
    seats.call("reserve", json!({"seat": "1A"})).await;
    assert_eq!(seats.seal().await, Answer::Done(reserved("R-1A")));
    assert_eq!(seats.query().await, Answer::Done(reserved("R-1A")));
}

async fn lost<S: Store>(seats: Participant<S>) {
    let seats = seats.test();
    let answer = seats.undo("cancel").known(Known::Done).times(2).await;
    assert!(
        matches!(answer, Answer::NeedsOperator(_)) && code(&answer) == "inbox_lost",
        "{answer:?}"
    );
    assert_eq!(
        seats.query().await,
        Answer::Absent,
        "the alarm wrote nothing"
    );
}

async fn compensations<S: Store>(seats: Participant<S>) {
    let seats = seats.test();
    for seat in ["glued", "stubborn"] {
        seats.call("reserve", json!({ "seat": seat })).await;
        let answer = seats.undo("cancel").await;
        assert!(matches!(answer, Answer::NeedsOperator(_)), "{answer:?}");
        assert!(matches!(seats.query().await, Answer::Done(_)), "still done");
        seats.next_step();
    }
    seats.call("reserve", json!({"seat": "1A"})).await;
    assert_eq!(
        code(&seats.undo_with("void", json!({"reason": "none"})).await),
        "why"
    );
    assert_eq!(
        seats.undo_with("void", json!({"reason": "weather"})).await,
        Answer::Compensated
    );
}

async fn expired_and_conflict<S: Store>(seats: Participant<S>) {
    let seats = seats.test();
    assert_eq!(
        seats.call("reserve", json!({"seat": "1A"})).expired().await,
        Answer::Expired
    );
    assert_eq!(
        seats.query().await,
        Answer::Absent,
        "expired writes nothing"
    );
    let first = seats.call("reserve", json!({"seat": "1A"})).await;
    assert_eq!(
        seats.call("reserve", json!({"seat": "2B"})).await,
        Answer::Conflict
    );
    assert_eq!(
        seats.call("reserve", json!({"seat": "1A"})).expired().await,
        first,
        "stored answers do not expire"
    );
}

async fn accepted<S: Store>(seats: Participant<S>) {
    let handle = seats.handle().unwrap();
    let seats = seats.test();
    assert_eq!(seats.call("slow", ()).times(2).await, Answer::Accepted);
    assert_eq!(seats.query().await, Answer::Running);
    assert_eq!(seats.seal().await, Answer::Running);
    assert_eq!(
        seats.undo("cancel").known(Known::Done).await,
        Answer::Running
    );
    handle.complete(&seats.key(), Ok(5_u32)).await.unwrap();
    assert_eq!(seats.call("slow", ()).await, Answer::Succeeded("5".into()));
    let again = handle.complete(&seats.key(), Ok(6_u32)).await;
    assert!(
        matches!(again, Err(CompleteError::NotRunning(_))),
        "{again:?}"
    );

    seats.next_step();
    seats.call("slow", ()).await;
    handle
        .complete::<()>(&seats.key(), Err(Reject::new("no", "after all").into()))
        .await
        .unwrap();
    assert_eq!(code(&seats.call("slow", ()).await), "no");

    seats.next_step();
    seats.call("slow", ()).await;
    handle
        .complete::<()>(&seats.key(), Err(Retry::new("later", "try again").into()))
        .await
        .unwrap();
    assert_eq!(
        seats.query().await,
        Answer::Absent,
        "failed work frees the key"
    );
}

async fn forgotten<S: Store>(seats: Participant<S>) {
    let seats = seats.test();
    seats.call("reserve", json!({"seat": "1A"})).await;
    seats.forget().await;
    assert_eq!(seats.query().await, Answer::Absent);
}

async fn in_background<S: Store>(ctx: Ctx<S>, (): ()) -> Result<Outcome<u32>> {
    let (handle, key) = (ctx.handle(), ctx.idempotency_key().clone());
    // It may well be done before its acceptance is stored, and must still find it.
    let work = tokio::spawn(async move { handle.complete(&key, Ok(11_u32)).await });
    tokio::task::yield_now().await;
    assert!(!work.is_finished(), "there is nothing to complete yet");
    Ok(Outcome::Accepted)
}

async fn completed<S: Store>(seats: Participant<S>) {
    let seats = seats.action("in_background", in_background::<S>).test();
    assert_eq!(seats.call("in_background", ()).await, Answer::Accepted);
    let settled = async {
        loop {
            let answer = seats.query().await;
            if answer != Answer::Running {
                return answer;
            }
            tokio::task::yield_now().await;
        }
    };
    let answer = tokio::time::timeout(Duration::from_secs(20), settled)
        .await
        .expect("it ends");
    assert_eq!(answer, Answer::Done("11".into()));
}

#[tokio::test]
async fn the_effect_and_its_row_share_one_transaction() {
    async fn hold(ctx: Ctx<Sqlite>, ask: Reserve) -> Result<()> {
        let mut tx = ctx.tx().await?;
        sqlx::query("insert into seat (name) values (?)")
            .bind(&ask.seat)
            .execute(&mut *tx)
            .await?;
        drop(tx);
        match &*ask.seat {
            "refused" => Err(Reject::new("no", "the write before it goes"))?,
            "failed" => Err(Retry::new("later", "the write before it goes"))?,
            "panics" => panic!("the write before it goes"),
            _ => Ok(()),
        }
    }
    let (directory, inbox) = sqlite().await;
    inbox
        .migrate("create table seat (name text)")
        .await
        .unwrap();
    let seats = Participant::new("seats")
        .action("hold", hold)
        .inbox(inbox)
        .test();
    for seat in ["refused", "failed", "panics", "kept"] {
        seats.call("hold", json!({ "seat": seat })).times(2).await;
        seats.next_step();
    }
    let path = format!("sqlite://{}", directory.path().join("seats.db").display());
    let reader = sqlx::SqlitePool::connect(&path).await.unwrap();
    let names: Vec<String> = sqlx::query_scalar("select name from seat")
        .fetch_all(&reader)
        .await
        .unwrap();
    assert_eq!(names, ["kept"]);
    let rows: Vec<String> = sqlx::query_scalar("select state from saga_inbox order by state")
        .fetch_all(&reader)
        .await
        .unwrap();
    assert_eq!(rows, ["done", "refused"]);
}

#[tokio::test]
async fn a_handler_cannot_end_the_inbox_transaction_unseen() {
    async fn meddle(ctx: Ctx<Sqlite>, (): ()) -> Result<()> {
        let mut tx = ctx.tx().await?;
        sqlx::raw_sql("commit").execute(&mut *tx).await?;
        Ok(())
    }
    let (_directory, inbox) = sqlite().await;
    let seats = Participant::new("seats")
        .action("meddle", meddle)
        .inbox(inbox)
        .test();
    let answer = seats.call("meddle", ()).await;
    assert_eq!(code(&answer), "inbox_unavailable");
    // The row went out with the meddler's commit: the effect is not repeated.
    assert_eq!(seats.call("meddle", ()).await, Answer::Accepted);
}

#[tokio::test]
async fn a_handler_that_is_dropped_halfway_leaves_nothing() {
    async fn hang(_: Ctx<Sqlite>, (): ()) -> Result<()> {
        std::future::pending().await
    }
    let (_directory, inbox) = sqlite().await;
    let seats = Participant::new("seats")
        .action("hang", hang)
        .inbox(inbox)
        .test();
    let call = seats.call("hang", ()).into_future();
    tokio::time::timeout(Duration::from_millis(50), call)
        .await
        .expect_err("it hangs");
    assert_eq!(seats.query().await, Answer::Absent);
}

#[tokio::test(start_paused = true)]
async fn a_transaction_asked_for_twice_at_once_fails_instead_of_hanging() {
    async fn clumsy(ctx: Ctx<Sqlite>, (): ()) -> Result<()> {
        let _held = ctx.tx().await?;
        let _again = ctx.tx().await?;
        Ok(())
    }
    let (_directory, inbox) = sqlite().await;
    let seats = Participant::new("seats")
        .action("clumsy", clumsy)
        .inbox(inbox)
        .test();
    let Answer::Failed(failure) = seats.call("clumsy", ()).await else {
        panic!("it cannot succeed")
    };
    assert_eq!(failure.fault.message, TxError::Held.to_string());
}

#[tokio::test]
async fn a_task_left_behind_cannot_write_any_more() {
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    let leak = move |ctx: Ctx<Sqlite>, (): ()| {
        let sender = sender.clone();
        async move {
            drop(sender.send(ctx));
            Ok(())
        }
    };
    let (_directory, inbox) = sqlite().await;
    let seats = Participant::new("seats")
        .action("leak", leak)
        .inbox(inbox)
        .test();
    assert_eq!(
        seats.call("leak", ()).await,
        Answer::Succeeded("null".into())
    );
    let ctx = receiver.recv().await.unwrap();
    assert_eq!(ctx.tx().await.err(), Some(TxError::Over));
}

#[tokio::test]
async fn an_inbox_keeps_its_id_and_its_rows() {
    let (directory, inbox) = sqlite().await;
    let id = inbox.id().to_owned();
    let seats = participant::<Sqlite, _>(inbox).test();
    seats.call("reserve", json!({"seat": "1A"})).await;
    drop(seats);
    let again = SqliteInbox::open(directory.path().join("seats.db"))
        .await
        .unwrap();
    assert_eq!(again.id(), id);
    assert_ne!(sqlite().await.1.id(), id, "another database, another inbox");
}

#[tokio::test]
async fn the_hook_runs_after_commits_only() {
    use std::sync::{Arc, Mutex};
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hearing = heard.clone();
    let seats = participant::<Memory, _>(MemoryInbox::new())
        .after_commit(move |_, op| {
            let heard = hearing.clone();
            async move { heard.lock().unwrap().push(op) }
        })
        .test();
    seats.call("reserve", json!({"seat": "broken"})).await;
    seats.query().await;
    seats.next_step();
    seats.call("reserve", json!({"seat": "1A"})).times(2).await;
    seats.undo("cancel").times(2).await;
    assert_eq!(*heard.lock().unwrap(), [Op::Action, Op::Compensation]);
}

#[test]
fn mistakes_of_the_builder_are_told() {
    let twice = participant::<Memory, _>(MemoryInbox::new()).action("slow", slow::<Memory>);
    let error = tokio::runtime::Runtime::new()
        .unwrap()
        .block_on(twice.serve("grpc://127.0.0.1:1", async {}));
    assert_eq!(
        error.unwrap_err().to_string(),
        "participant seats: action `slow` is there twice"
    );
    let bare = Participant::<Memory>::new("bare")
        .handle()
        .err()
        .expect("no inbox");
    assert!(
        bare.to_string()
            .starts_with("participant bare: it has no inbox"),
        "{bare}"
    );
}

/// An input with a schema of about 200 KiB.
#[derive(Debug, Deserialize)]
struct Described {}

impl JsonSchema for Described {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Described".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"description": "x".repeat(200 * 1024)})
    }
}

async fn described(_: Ctx<Memory>, _: Described) -> Result<()> {
    Ok(())
}

#[test]
fn a_registration_that_no_server_takes_is_a_mistake() {
    let with = |count: usize| {
        let seats = participant::<Memory, _>(MemoryInbox::new());
        (0..count).fold(seats, |seats, at| seats.action(format!("a{at}"), described))
    };
    let served = |participant: Participant<Memory>| {
        let done = participant.serve("grpc://127.0.0.1:1", std::future::ready(()));
        tokio::runtime::Runtime::new().unwrap().block_on(done)
    };
    assert!(served(with(10)).is_ok());
    let error = served(with(11)).unwrap_err().to_string();
    assert!(
        error.starts_with("participant seats: the schemas of its actions have 22"),
        "{error}"
    );
    assert!(
        error.ends_with("bytes together, 2097152 are allowed"),
        "{error}"
    );

    let seats = participant::<Memory, _>(MemoryInbox::new());
    let many = (0..1_001).fold(seats, |seats, at| {
        seats.action(format!("a{at}"), slow::<Memory>)
    });
    let error = served(many).unwrap_err().to_string();
    assert!(
        error.starts_with("participant seats: it serves 10"),
        "{error}"
    );
}
