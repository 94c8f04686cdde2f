//! With one rule removed, the simulation must notice: else it would not notice a fault either.
//!
//! In the suite each mutant is run until it is caught; the long mode runs them all for as many stories as the table of
//! `docs/reference/mutants.md` speaks of, and prints that table.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};

use saga_core::Rule;
use saga_dsl::plan::Plan;

use super::{
    judge, number, pool,
    rules::{Habit, Kept},
    world::Script,
};

/// Within so many stories a mutant is caught.
const RUNS: u64 = 100_000;

/// One rule that is left out, or two that stand for each other.
struct Mutant {
    name: String,
    says: String,
    kept: Kept,
    /// Another rule does its work, so nothing is seen without it.
    harmless: Option<&'static str>,
}

const HABITS: [Habit; 9] = [
    Habit::Dedup,
    Habit::DedupByKey,
    Habit::StickyRefusal,
    Habit::Tombstone,
    Habit::TombstoneStays,
    Habit::DurableStore,
    Habit::StartKeys,
    Habit::OwnerFence,
    Habit::JournalFence,
];

fn mutants() -> Vec<Mutant> {
    let rules = Rule::ALL.iter().map(|&rule| Mutant {
        name: format!("`{rule}`"),
        says: rule.says().to_owned(),
        kept: Kept::ALL.without_rule(rule),
        harmless: None,
    });
    let habits = HABITS.into_iter().map(|habit| Mutant {
        name: habit.name().to_owned(),
        says: habit.says().to_owned(),
        kept: Kept::ALL.without(habit),
        harmless: (habit == Habit::JournalFence).then_some("the owner fence stands before it"),
    });
    rules.chain(habits).collect()
}

/// What a mutant came to.
#[derive(Default)]
struct Caught {
    stories: u64,
    violations: u64,
    first: Option<u64>,
    /// Per check: how often, and the first seed with what was seen.
    by: BTreeMap<&'static str, (u64, u64, String)>,
}

/// Runs a mutant on all cores: until it is caught, or to the end.
fn run(kept: Kept, pool: &[Arc<Plan>], runs: u64, until_caught: bool) -> Caught {
    let (next, over) = (AtomicU64::new(0), AtomicBool::new(false));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let work = || {
        let mut caught = Caught::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= runs || (until_caught && over.load(Ordering::Relaxed)) {
                return caught;
            }
            let script = Script {
                seed,
                kept,
                liar: false,
                told: false,
                transitions: false,
            };
            let verdict = judge::tell(script, pool);
            caught.stories += 1;
            if let Some(violation) = verdict.violation {
                caught.violations += 1;
                caught.first.get_or_insert(seed);
                caught
                    .by
                    .entry(violation.check)
                    .or_insert((0, seed, violation.seen))
                    .0 += 1;
                over.store(true, Ordering::Relaxed);
            }
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let mut all = Caught::default();
        for worker in workers {
            let part = worker.join().expect("a mutant's story does not panic");
            all.stories += part.stories;
            all.violations += part.violations;
            for (check, (count, seed, seen)) in part.by {
                let sum = all.by.entry(check).or_insert((0, seed, String::new()));
                sum.0 += count;
                if seed <= sum.1 {
                    (sum.1, sum.2) = (seed, seen);
                }
            }
            all.first = all.first.into_iter().chain(part.first).min();
        }
        all
    })
}

#[test]
fn every_mutant_is_caught() {
    let pool = pool();
    let long = std::env::var("SAGA_SIMULATION").is_ok_and(|mode| mode == "long");
    let runs = number("SAGA_SIMULATION_RUNS").unwrap_or(RUNS);
    let only = std::env::var("SAGA_SIMULATION_MUTANT").ok();
    let begun = Instant::now();
    let mut missed = Vec::new();
    let none = Mutant {
        name: "none".to_owned(),
        says: "The engine as it ships.".to_owned(),
        kept: Kept::ALL,
        harmless: Some("it is whole"),
    };
    let whole = long.then_some(none);
    println!(
        "| rule removed | what it says | violations in {runs} | first seed | caught by |\n|---|---|---|---|---|"
    );
    for mutant in whole.into_iter().chain(mutants()) {
        if only
            .as_ref()
            .is_some_and(|only| !mutant.name.contains(only.as_str()))
        {
            continue;
        }
        // What is harmless is looked at for as long as others take in the long mode only.
        let runs = if mutant.harmless.is_some() && !long {
            runs / 100
        } else {
            runs
        };
        let caught = run(mutant.kept, &pool, runs, !long);
        let by = caught
            .by
            .iter()
            .map(|(check, (count, ..))| format!("{check} {count}"))
            .collect::<Vec<_>>()
            .join(", ");
        let first = caught.first.map_or("–".to_owned(), |seed| seed.to_string());
        let count = if long {
            caught.violations.to_string()
        } else {
            format!("first of {}", caught.stories)
        };
        println!(
            "| {} | {} | {count} | {first} | {by} |",
            mutant.name, mutant.says
        );
        if std::env::var_os("SAGA_SIMULATION_SEEN").is_some() {
            for (check, (_, seed, seen)) in &caught.by {
                println!(
                    "{check}, seed {seed}: {}",
                    seen.chars().take(1_500).collect::<String>()
                );
            }
        }
        if caught.first.is_some() == mutant.harmless.is_some() {
            missed.push(mutant.name);
        }
    }
    println!("{:.1} s", begun.elapsed().as_secs_f64());
    assert!(missed.is_empty(), "not as expected: {missed:?}");
}
