//! A world from its beginning to the verdict: it runs, heals and comes to rest; then the ledgers are counted, every
//! message ever sent is sent once more, and the ledgers are counted again.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use saga_core::{Op, SagaId, Status};
use saga_dsl::{definition::Kind, plan::Plan};
use saga_engine::lane::intake::Intake;
use tokio::sync::oneshot;

use super::{
    checks,
    story::{Violation, ensure},
    transitions::Transition,
    world::{self, Script, Shared, World},
};

/// What a seed came to.
pub struct Verdict {
    pub hash: u64,
    pub violation: Option<Violation>,
    pub lines: Vec<String>,
    pub ends: BTreeMap<&'static str, u64>,
    pub rows: u64,
    pub transitions: BTreeSet<Transition>,
    /// Rare things that happened: a world without them proves little.
    pub rare: BTreeSet<&'static str>,
}

/// Tells a story in a runtime of its own, whose clock jumps to whatever comes next.
pub fn tell(script: Script, pool: &[Arc<Plan>]) -> Verdict {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without threads and sockets");
    let shared = runtime.block_on(async {
        let shared = World::begin(script, pool);
        world::run(&shared).await;
        if shared.lock().violation.is_none() {
            let judged = judge(&shared, script.liar).await;
            shared.lock().check(judged);
        }
        shared
    });
    // The lanes go with their runtime; what is left is the world.
    drop(runtime);
    let mut world = shared.lock();
    let mut ends = BTreeMap::new();
    for saga in world.vault.sagas.values() {
        let end = match saga.state.status {
            Status::Completed => "completed",
            Status::Compensated => "compensated",
            Status::Abandoned => "abandoned",
            Status::Running | Status::Compensating => "parked",
        };
        *ends.entry(end).or_default() += 1;
    }
    Verdict {
        hash: world.story.hash(),
        violation: world.violation.take(),
        lines: world.story.take_lines(),
        rows: world
            .vault
            .sagas
            .values()
            .map(|saga| saga.journal.len() as u64)
            .sum(),
        transitions: world.transitions.take().unwrap_or_default(),
        rare: {
            let mut rare = std::mem::take(&mut world.rare);
            if world.inboxes.blocked {
                rare.insert("late action kept out");
            }
            rare.extend(world.guards.rare());
            rare
        },
        ends,
    }
}

async fn judge(shared: &Shared, liar: bool) -> Result<(), Violation> {
    {
        let world = shared.lock();
        world
            .guards
            .judge(world.rare.contains("two owners"), liar)?;
    }
    memory_agrees(shared).await?;
    if liar {
        return Ok(());
    }
    count(shared)?;
    replay(shared).await?;
    count(shared)
}

/// What the lane holds in memory is what the store says is open.
async fn memory_agrees(shared: &Shared) -> Result<(), Violation> {
    let (answer, census) = oneshot::channel();
    {
        let world = shared.lock();
        let Some(current) = world.current() else {
            return Err(Violation {
                check: "I13",
                seen: "no process runs in the end".to_owned(),
            });
        };
        world.hand(current, Intake::Census(answer));
    }
    let census = tokio::time::timeout(Duration::from_secs(60), census).await;
    let Ok(Ok(census)) = census else {
        return Err(Violation {
            check: "I13",
            seen: "the lane does not answer in the end".to_owned(),
        });
    };
    let world = shared.lock();
    let open = world
        .vault
        .sagas
        .values()
        .filter(|saga| !saga.state.status.is_end())
        .count();
    ensure!(
        census.broken.is_empty(),
        "I14",
        "sagas were set aside: {:?}",
        census.broken
    );
    ensure!(
        census.open == open,
        "I14",
        "{} sagas in memory, {open} are open",
        census.open
    );
    Ok(())
}

fn count(shared: &Shared) -> Result<(), Violation> {
    let world = shared.lock();
    ensure!(
        world.inboxes.alarms == 0,
        "I2",
        "{} effects were known and not there",
        world.inboxes.alarms
    );
    for (id, saga) in &world.vault.sagas {
        let sent = world
            .sent
            .iter()
            .filter(|c| c.saga_id == *id && c.op == Op::Action);
        let on_wire = sent
            .map(|command| (command.step.0, command.round))
            .collect();
        checks::ledger(
            &saga.plan,
            &saga.state,
            saga.by_word,
            &world.inboxes,
            &on_wire,
        )?;
    }
    Ok(())
}

/// I22: every message ever sent, once more, to participants and orchestrator.
async fn replay(shared: &Shared) -> Result<(), Violation> {
    let ledger = {
        let mut world = shared.lock();
        let ended: BTreeMap<SagaId, Arc<Plan>> = world
            .vault
            .sagas
            .iter()
            // What an operator left open may still land.
            .filter(|(_, saga)| saga.state.status.is_end() && !saga.by_word)
            .map(|(id, saga)| (*id, Arc::clone(&saga.plan)))
            .collect();
        let before = world.inboxes.ledger.clone();
        for command in std::mem::take(&mut world.sent) {
            let Some(plan) = ended.get(&command.saga_id) else {
                continue;
            };
            // What nothing undoes may still land: its author said that this does no harm.
            let step = &plan.steps[command.step.at()];
            let harmless = step.kind == Kind::Compensatable && step.compensation.is_none();
            if !step.at_least_once && !harmless {
                world.participate(0, command);
            }
        }
        world.queue.clear();
        let mut answered = std::mem::take(&mut world.answered);
        answered.retain(|incoming| ended.contains_key(&incoming.saga_id));
        if let (Some(current), false) = (world.current(), answered.is_empty()) {
            world.hand(current, Intake::Replies(answered));
        }
        before
    };
    memory_agrees(shared).await?;
    let world = shared.lock();
    // Where a step has no undo, its own row may have been the only news; the effects are what counts.
    ensure!(
        world.inboxes.ledger == ledger,
        "I22",
        "a replay of every message had an effect"
    );
    match &world.violation {
        Some(violation) => Err(violation.clone()),
        None => Ok(()),
    }
}
