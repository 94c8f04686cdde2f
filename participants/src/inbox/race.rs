//! Every inbox under fire: many operations at once on few keys, and a ledger that hides no repetition.
//!
//! For each key: an action takes effect at most once, is undone at most as often as it took effect, and
//! never takes effect after somebody was told that it never will.

use std::{
    collections::HashMap,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
};

use uuid::Uuid;

use crate::{
    Answer, Ctx, Memory, MemoryInbox, Participant, Result, Retry, Sqlite, SqliteInbox, Undo,
    command::{Ask, Op, StepKey},
    execute::Core,
    inbox::Store,
    reply::Reject,
    serve::Sink,
    testing::ask,
};

/// Effects per key, without any constraint that could repair a mistake.
#[derive(Debug, Default)]
struct Effects {
    acted: AtomicU32,
    undone: AtomicU32,
}

type Ledger = Arc<HashMap<StepKey, Effects>>;

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

fn keys(count: usize) -> Vec<StepKey> {
    (0..count)
        .map(|n| StepKey {
            saga_id: Uuid::from_u128(n as u128),
            step: "race".into(),
            round: 1,
        })
        .collect()
}

/// Sends `total` random operations from `tasks` tasks, spread over `cores`. `acted` counts the effects of a key as committed.
async fn storm<S, F, Fut>(
    cores: Vec<Core<S>>,
    keys: &[StepKey],
    tasks: usize,
    total: usize,
    acted: F,
) -> Arc<Core<S>>
where
    S: Store,
    F: Fn(StepKey) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = u32> + Send,
{
    let cores: Vec<_> = cores.into_iter().map(Arc::new).collect();
    let sent = Arc::new(AtomicUsize::new(0));
    let mut storm = tokio::task::JoinSet::new();
    for task in 0..tasks {
        let core = cores[task % cores.len()].clone();
        let (sent, acted, keys) = (sent.clone(), acted.clone(), keys.to_vec());
        storm.spawn(async move {
            let mut dice = Dice(0x9e37_79b9_7f4a_7c15 ^ (task as u64 + 1));
            let mut over: HashMap<StepKey, u32> = HashMap::new();
            while sent.fetch_add(1, Ordering::Relaxed) < total {
                let key = keys[dice.roll(keys.len() as u64) as usize].clone();
                let command = random_command(&mut dice, key.clone());
                let answered = core.execute(&Arc::new(command), &Sink::nowhere()).await;
                let Some((_, answer)) = answered else {
                    continue;
                };
                if let Some(before) = over.get(&key) {
                    assert_eq!(
                        acted(key.clone()).await,
                        *before,
                        "{key} acted after its end"
                    );
                }
                match answer {
                    Answer::Blocked
                    | Answer::Sealed
                    | Answer::NothingToDo
                    | Answer::Compensated => {
                        let count = acted(key.clone()).await;
                        over.insert(key, count);
                    }
                    Answer::Conflict | Answer::Absent if over.contains_key(&key) => {
                        panic!("{key} came back to life: {answer:?}")
                    }
                    _ => {}
                }
            }
        });
    }
    while let Some(result) = storm.join_next().await {
        result.expect("no task of the storm fails");
    }
    cores[0].clone()
}

/// How often a key has acted and been undone, if the inbox tells the truth.
async fn expected<S: Store>(core: &Arc<Core<S>>, key: &StepKey) -> (u32, u32) {
    let query = Ask {
        key: key.clone(),
        ..ask("race", Op::Query)
    };
    match core.execute(&Arc::new(query), &Sink::nowhere()).await {
        Some((_, Answer::Done(_))) => (1, 0),
        Some((_, Answer::Compensated)) => (1, 1),
        Some((_, Answer::Refused(_) | Answer::Sealed | Answer::Absent)) => (0, 0),
        other => panic!("{key} has not come to rest: {other:?}"),
    }
}

fn random_command(dice: &mut Dice, key: StepKey) -> Ask {
    let op = match dice.roll(100) {
        0..55 => Op::Action,
        55..75 => Op::Compensation,
        75..92 => Op::Query,
        _ => Op::Seal,
    };
    let (action, input) = match op {
        Op::Compensation => (
            "undo",
            format!("{{\"input\":null,\"action_key\":\"{key}\"}}"),
        ),
        Op::Action | Op::Query | Op::Seal | Op::Forget => ("act", "null".to_owned()),
    };
    let attempt = dice.roll(50) as u32;
    Ask {
        key,
        action: action.to_owned(),
        input: input.into(),
        attempt,
        fingerprint: 1,
        ..ask("race", op)
    }
}

/// Every third attempt fails, every seventeenth is refused: rows come and go.
fn temper(attempt: u32) -> Result<()> {
    if attempt.is_multiple_of(17) {
        return Err(Reject::new("refused", "the seventeenth").into());
    }
    if attempt.is_multiple_of(3) {
        return Err(Retry::new("failed", "the third").into());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn memory_never_acts_twice() {
    const KEYS: usize = 400;
    let ledger: Ledger = Arc::new(
        keys(KEYS)
            .into_iter()
            .map(|key| (key, Effects::default()))
            .collect(),
    );
    let (acting, undoing, counting) = (ledger.clone(), ledger.clone(), ledger.clone());
    let core = Participant::<Memory>::new("race")
        .action("act", move |ctx: Ctx<Memory>, (): ()| {
            let ledger = acting.clone();
            async move {
                tokio::task::yield_now().await;
                temper(ctx.attempt())?;
                ledger[ctx.idempotency_key()]
                    .acted
                    .fetch_add(1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                Ok(1_u32)
            }
        })
        .compensation("undo", move |ctx: Ctx<Memory>, _: Undo<(), u32>| {
            let ledger = undoing.clone();
            async move {
                tokio::task::yield_now().await;
                if ctx.attempt().is_multiple_of(3) {
                    return Err(Retry::new("failed", "the third").into());
                }
                ledger[ctx.idempotency_key()]
                    .undone
                    .fetch_add(1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                Ok(())
            }
        })
        .inbox(MemoryInbox::new())
        .build()
        .expect("whole");
    let core = storm(vec![core], &keys(KEYS), 64, 60_000, move |key| {
        let acted = counting[&key].acted.load(Ordering::SeqCst);
        async move { acted }
    })
    .await;
    let mut acted_at_all = 0;
    for (key, effects) in &*ledger {
        let (acted, undone) = (
            effects.acted.load(Ordering::SeqCst),
            effects.undone.load(Ordering::SeqCst),
        );
        assert_eq!(
            (acted, undone),
            expected(&core, key).await,
            "{key}: effects and inbox agree"
        );
        acted_at_all += acted;
    }
    assert!(
        acted_at_all > 0,
        "a storm without any effect proves nothing"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sqlite_never_acts_twice() {
    const KEYS: usize = 40;
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("race.db");
    let inbox = SqliteInbox::open(&path).await.expect("opens");
    inbox
        .migrate("create table ledger (key text, kind text)")
        .await
        .expect("migrates");
    async fn note(ctx: &Ctx<Sqlite>, kind: &str) -> Result<()> {
        let mut tx = ctx.tx().await?;
        sqlx::query("insert into ledger (key, kind) values (?, ?)")
            .bind(ctx.idempotency_key().to_string())
            .bind(kind)
            .execute(&mut *tx)
            .await?;
        Ok(())
    }
    // The effect comes first, so that refusals and failures must take it back.
    async fn act(ctx: Ctx<Sqlite>, (): ()) -> Result<u32> {
        note(&ctx, "act").await?;
        temper(ctx.attempt()).map(|()| 1)
    }
    async fn undo(ctx: Ctx<Sqlite>, _: Undo<(), u32>) -> Result<()> {
        note(&ctx, "undo").await?;
        if ctx.attempt().is_multiple_of(3) {
            return Err(Retry::new("failed", "the third").into());
        }
        Ok(())
    }
    let instance = |inbox| {
        let participant = Participant::new("race")
            .action("act", act)
            .compensation("undo", undo);
        participant.inbox(inbox).build().expect("whole")
    };
    // A second instance on the same file, as another process would have it.
    let second = SqliteInbox::open(&path).await.expect("opens again");
    let cores = vec![instance(inbox), instance(second)];
    let reader = sqlx::SqlitePool::connect(&format!("sqlite://{}", path.display()))
        .await
        .expect("reads");
    let counts = reader.clone();
    let core = storm(cores, &keys(KEYS), 24, 4_000, move |key| {
        count(counts.clone(), key, "act")
    })
    .await;
    let mut acted_at_all = 0;
    for key in keys(KEYS) {
        let acted = count(reader.clone(), key.clone(), "act").await;
        let undone = count(reader.clone(), key.clone(), "undo").await;
        assert_eq!(
            (acted, undone),
            expected(&core, &key).await,
            "{key}: effects and inbox agree"
        );
        acted_at_all += acted;
    }
    assert!(
        acted_at_all > 0,
        "a storm without any effect proves nothing"
    );
}

async fn count(reader: sqlx::SqlitePool, key: StepKey, kind: &'static str) -> u32 {
    sqlx::query_scalar("select count(*) from ledger where key = ? and kind = ?")
        .bind(key.to_string())
        .bind(kind)
        .fetch_one(&reader)
        .await
        .expect("counts")
}
