//! The PostgreSQL inbox under fire: many operations at once on few keys, by two instances, and a ledger that hides no
//! repetition.
//!
//! For each key: an action takes effect at most once, is undone at most as often as it took effect, and never takes effect
//! after somebody was told that it never will.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use saga_participant::{
    Answer, Ctx, Participant, PgInbox, Postgres, Reject, Result, Retry, StepKey, Undo,
    testing::Harness,
};
use saga_tests::postgres::database;
use sqlx::PgPool;

const KEYS: usize = 30;
const TASKS: usize = 16;
/// Of one run; `SAGA_RACE_OPERATIONS` makes them more.
const OPERATIONS: usize = 3_000;

/// xorshift64: a race is not repeatable anyway, but its operations are.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

async fn note(ctx: &Ctx<Postgres>, kind: &str) -> Result<()> {
    let mut tx = ctx.tx().await?;
    sqlx::query("insert into ledger (key, kind) values ($1, $2)")
        .bind(ctx.idempotency_key().to_string())
        .bind(kind)
        .execute(&mut *tx)
        .await?;
    Ok(())
}

/// The effect comes first, so that refusals and failures must take it back.
async fn act(ctx: Ctx<Postgres>, (): ()) -> Result<u32> {
    note(&ctx, "act").await?;
    tokio::task::yield_now().await;
    if ctx.attempt().is_multiple_of(17) {
        return Err(Reject::new("refused", "the seventeenth").into());
    }
    if ctx.attempt().is_multiple_of(3) {
        return Err(Retry::new("failed", "the third").into());
    }
    Ok(1)
}

async fn undo(ctx: Ctx<Postgres>, _: Undo<(), u32>) -> Result<()> {
    note(&ctx, "undo").await?;
    if ctx.attempt().is_multiple_of(3) {
        return Err(Retry::new("failed", "the third").into());
    }
    Ok(())
}

fn instance(inbox: PgInbox) -> Participant<Postgres> {
    Participant::new("race")
        .action("act", act)
        .compensation("undo", undo)
        .inbox(inbox)
}

async fn count(reader: &PgPool, key: &StepKey, kind: &str) -> i64 {
    sqlx::query_scalar("select count(*) from ledger where key = $1 and kind = $2")
        .bind(key.to_string())
        .bind(kind)
        .fetch_one(reader)
        .await
        .expect("counts")
}

async fn operation(harness: &Harness<Postgres>, dice: &mut Dice) -> Answer {
    let attempt = u32::try_from(dice.roll(50)).expect("small");
    match dice.roll(100) {
        0..55 => harness.call("act", ()).attempt(attempt).await,
        55..75 => {
            harness
                .undo("undo")
                .known(saga_participant::Known::Unknown)
                .attempt(attempt)
                .await
        }
        75..92 => harness.query().attempt(attempt).await,
        _ => harness.seal().attempt(attempt).await,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn postgres_never_acts_twice() {
    let url = database().await;
    // Two instances on one database, as two processes would have them; they make its tables at the same time.
    let (one, two) = tokio::join!(PgInbox::connect(&url), PgInbox::connect(&url));
    let (one, two) = (one.expect("opens"), two.expect("opens"));
    one.migrate("create table ledger (key text not null, kind text not null)")
        .await
        .expect("migrates");
    let harnesses: Arc<Vec<Harness<Postgres>>> = Arc::new(
        (0..KEYS)
            .map(|n| instance(if n % 2 == 0 { one.clone() } else { two.clone() }).test())
            .collect(),
    );
    let reader = PgPool::connect(&url).await.expect("reads");
    let asked = std::env::var("SAGA_RACE_OPERATIONS")
        .ok()
        .and_then(|text| text.parse().ok());
    let operations: usize = asked.unwrap_or(OPERATIONS);
    let sent = Arc::new(AtomicUsize::new(0));
    let mut storm = tokio::task::JoinSet::new();
    for task in 0..TASKS {
        let (harnesses, reader, sent) = (Arc::clone(&harnesses), reader.clone(), Arc::clone(&sent));
        storm.spawn(async move {
            let mut dice = Dice(0x9e37_79b9_7f4a_7c15 ^ (task as u64 + 1));
            let mut over: HashMap<StepKey, i64> = HashMap::new();
            while sent.fetch_add(1, Ordering::Relaxed) < operations {
                let at = usize::try_from(dice.roll(KEYS as u64)).expect("small");
                let harness = &harnesses[at];
                let key = harness.key();
                let answer = operation(harness, &mut dice).await;
                if let Some(before) = over.get(&key) {
                    assert_eq!(
                        count(&reader, &key, "act").await,
                        *before,
                        "{key} acted after its end"
                    );
                }
                match answer {
                    Answer::Blocked
                    | Answer::Sealed
                    | Answer::NothingToDo
                    | Answer::Compensated => {
                        let acted = count(&reader, &key, "act").await;
                        over.insert(key, acted);
                    }
                    Answer::Absent if over.contains_key(&key) => panic!("{key} came back to life"),
                    _ => {}
                }
            }
        });
    }
    while let Some(result) = storm.join_next().await {
        result.expect("no task of the storm fails");
    }
    let mut acted_at_all = 0;
    for harness in harnesses.iter() {
        let key = harness.key();
        let expected = match harness.query().await {
            Answer::Done(_) => (1, 0),
            Answer::Compensated => (1, 1),
            Answer::Refused(_) | Answer::Sealed | Answer::Absent => (0, 0),
            other => panic!("{key} has not come to rest: {other:?}"),
        };
        let acted = count(&reader, &key, "act").await;
        assert_eq!(
            (acted, count(&reader, &key, "undo").await),
            expected,
            "{key}: effects and inbox agree"
        );
        acted_at_all += acted;
    }
    assert!(
        acted_at_all > 0,
        "a storm without any effect proves nothing"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_meets_work_in_progress_is_told_so() {
    let url = database().await;
    let inbox = PgInbox::connect(&url).await.expect("opens");
    inbox
        .migrate("create table ledger (key text not null, kind text not null)")
        .await
        .expect("migrates");
    let gate = saga_tests::Gate::new();
    let held = gate.clone();
    let participant = Participant::new("slow")
        .action("act", move |ctx: Ctx<Postgres>, (): ()| {
            let held = held.clone();
            async move {
                note(&ctx, "act").await?;
                held.pass().await;
                Ok(1_u32)
            }
        })
        .compensation("undo", undo)
        .inbox(inbox);
    let harness = Arc::new(participant.test());
    let acting = tokio::spawn({
        let harness = Arc::clone(&harness);
        async move { harness.call("act", ()).await }
    });
    gate.arrived(1).await;
    let known = saga_participant::Known::Unknown;
    let (undone, asked, sealed) = tokio::join!(
        harness.undo("undo").known(known),
        harness.query(),
        harness.seal()
    );
    assert_eq!(
        (undone, asked, sealed),
        (Answer::Running, Answer::Running, Answer::Running)
    );
    gate.open();
    assert!(matches!(
        acting.await.expect("no panic"),
        Answer::Succeeded(_)
    ));
    assert_eq!(harness.undo("undo").await, Answer::Compensated);
    assert_eq!(harness.call("act", ()).await, Answer::Blocked);
}
