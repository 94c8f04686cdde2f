//! Random sagas: sequences, parallel branches with sequences inside, a pivot and what follows it.

use saga_dsl::{
    builder::{Item, Saga, StepBuilder, parallel, sequence, step},
    definition::{Backoff, Duration, Input, MaxAttempts, Retry},
    limits::{CircuitBreaker, Participant, Per, Percent, RateLimit},
    plan::Plan,
};

use super::chance::Chance;

/// Participants with an inbox in their own database.
pub const SOUND: [&str; 3] = ["flights", "hotels", "cars"];
/// A participant without one.
pub const LOOSE: &str = "mail";

/// A code that ends the retries.
pub const HOPELESS: &str = "hopeless";

pub fn random(chance: &mut Chance, number: u64) -> Plan {
    let mut author = Author { chance, steps: 0 };
    let mut saga = Saga::new(&format!("random_{number}"), 1);
    // One in three of all plans; the others must not notice that there is such a thing.
    if author.chance.percent(33) {
        for name in SOUND {
            if author.chance.percent(70) {
                saga = saga.participant(name, limits(author.chance));
            }
        }
    }
    if author.chance.percent(40) {
        saga = saga.deadline(&format!("{}ms", author.chance.between(50, 30_000)));
    }
    for _ in 0..author.chance.below(5) {
        let item = author.item(2);
        saga = saga.item(item);
    }
    if author.chance.percent(60) {
        if author.chance.percent(15) {
            // Three of these in ten are served without an inbox: nobody can settle such a pivot but an operator.
            author.steps = author.steps / 8 * 8 + 13;
        }
        let pivot = author.step().pivot();
        saga = saga.step(author.often_unlimited(pivot));
        for _ in 0..author.chance.below(3) {
            let item = author.after_pivot();
            saga = saga.item(item);
        }
    }
    Plan::from_definition(saga.build().expect("the author writes well")).expect("a plan")
}

fn limits(chance: &mut Chance) -> Participant {
    let ms = |chance: &mut Chance, most| {
        Some(Duration {
            ms: chance.between(20, most),
        })
    };
    let few = |chance: &mut Chance, most| Some(u32::try_from(chance.between(1, most)).unwrap_or(1));
    Participant {
        max_in_flight: if chance.percent(40) {
            few(chance, 2)
        } else {
            None
        },
        rate_limit: chance.percent(25).then(|| RateLimit {
            count: few(chance, 30).unwrap_or(1),
            per: Per::Second,
        }),
        circuit_breaker: chance.percent(70).then(|| CircuitBreaker {
            failure_rate: Some(Percent(*chance.pick(&[1, 30, 50, 100]))),
            window: ms(chance, 5_000),
            min_calls: few(chance, 3),
            open_for: ms(chance, 2_000),
            half_open_calls: few(chance, 3),
        }),
    }
}

struct Author<'a> {
    chance: &'a mut Chance,
    steps: u32,
}

impl Author<'_> {
    fn item(&mut self, depth: u32) -> Item {
        match self.chance.below(10) {
            0..3 if depth > 0 => {
                let count = self.chance.between(1, 3);
                let group = parallel((0..count).map(|_| self.item(depth - 1)).collect::<Vec<_>>());
                self.perhaps(group)
            }
            3..5 if depth > 0 => {
                let count = self.chance.below(4);
                let group = sequence((0..count).map(|_| self.item(depth - 1)).collect::<Vec<_>>());
                self.perhaps(group)
            }
            _ => self.compensatable().into(),
        }
    }

    fn condition(&mut self) -> &'static str {
        if self.chance.percent(33) {
            "input.x"
        } else {
            "input.y"
        }
    }

    /// One group in five has a condition.
    fn perhaps(&mut self, group: Item) -> Item {
        if self.chance.percent(20) {
            group.when(self.condition())
        } else {
            group
        }
    }

    fn after_pivot(&mut self) -> Item {
        let retriable = |author: &mut Self| {
            let step = author.step().retriable();
            author.often_unlimited(step)
        };
        if self.chance.percent(30) {
            parallel([retriable(self), retriable(self)])
        } else {
            retriable(self).into()
        }
    }

    fn compensatable(&mut self) -> StepBuilder {
        let attempts = u32::try_from(self.chance.between(1, 4)).unwrap_or(1);
        let retry = self.retry(MaxAttempts::Times(attempts));
        let step = self.step().retry(retry);
        if self.chance.percent(10) {
            return step.no_compensation("a read");
        }
        let participant = if self.chance.percent(80) {
            None
        } else {
            Some(*self.chance.pick(&SOUND))
        };
        let limit = if self.chance.percent(15) {
            MaxAttempts::Times(3)
        } else {
            unlimited()
        };
        let retry = self.retry(limit);
        let timeout = Some(Duration {
            ms: self.chance.between(20, 2_000),
        });
        let escalate_after = self.chance.percent(20).then_some(Duration { ms: 500 });
        // Reads what is absent in some sagas.
        let broken = self.chance.percent(4);
        let home = self.home(self.steps);
        let id = self.steps;
        step.compensation_block(
            &format!(
                "{}/undo{id}",
                participant.filter(|_| home != LOOSE).unwrap_or(home)
            ),
            |b| {
                b.retry = retry;
                b.timeout = timeout;
                b.escalate_after = escalate_after;
                if broken {
                    b.input = Some(Input::Pick(vec!["z".into()]));
                }
            },
        )
    }

    /// Where a step with this number is served: every eighth by the participant without an inbox.
    fn home(&self, number: u32) -> &'static str {
        if number % 8 == 7 {
            LOOSE
        } else {
            SOUND[number as usize % SOUND.len()]
        }
    }

    fn step(&mut self) -> StepBuilder {
        self.steps += 1 + u32::try_from(self.chance.below(3)).unwrap_or(0);
        let home = self.home(self.steps);
        let mut builder = step(&format!("s{}", self.steps))
            .action(&format!("{home}/do{}", self.steps))
            .input(serde_json::json!({"n": self.steps}))
            .timeout(&format!("{}ms", self.chance.between(20, 2_000)));
        if self.chance.percent(20) {
            builder = builder.escalate_after("700ms");
        }
        if self.chance.percent(15) {
            builder = builder.when(self.condition());
        }
        // Absent in some sagas.
        if self.chance.percent(4) {
            builder = builder.input(serde_json::json!({"z": "${input.z}"}));
        }
        if home == LOOSE {
            builder.at_least_once()
        } else {
            builder
        }
    }

    fn often_unlimited(&mut self, step: StepBuilder) -> StepBuilder {
        let limit = if self.chance.percent(20) {
            MaxAttempts::Times(3)
        } else {
            unlimited()
        };
        let retry = self.retry(limit);
        step.retry(retry)
    }

    fn retry(&mut self, max_attempts: MaxAttempts) -> Retry {
        Retry {
            max_attempts: Some(max_attempts),
            backoff: Some(*self.chance.pick(&[
                Backoff::Exponential,
                Backoff::Linear,
                Backoff::Fixed,
            ])),
            initial_delay: Some(Duration {
                ms: self.chance.between(1, 500),
            }),
            max_delay: Some(Duration { ms: 5_000 }),
            max_elapsed: self.chance.percent(10).then_some(Duration { ms: 3_000 }),
            non_retryable: vec![HOPELESS.to_owned()],
            ..Retry::default()
        }
    }
}

fn unlimited() -> MaxAttempts {
    MaxAttempts::Unlimited(saga_dsl::definition::Unlimited::Unlimited)
}
