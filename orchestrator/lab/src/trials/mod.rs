//! Trials: one saga at a time, in virtual time, against participants that answer as a case says.
//!
//! There is no second state machine here: `saga_core` decides, its decisions are written as JSON and folded again, a
//! crash leaves nothing but that journal, and what was outstanding is sent again, as the lane does it. Participants
//! keep the SDK's own barrier. What a case adds is trouble: refusals, lost answers, late and doubled messages,
//! crashes, deadlines, cancels.
//!
//! In reading order: [`case`] (what a case is), [`generate()`] (the cases that every saga gets), [`cast`] (who plays
//! the participants: [`memory`] alone, or [`real`] handlers), `world` (the run), `checks` (what must always
//! hold), `judge` (whether the case ended as it must).
//!
//! ```no_run
//! # use saga_lab::trials::{self, memory::Memory};
//! # async fn doc(plan: std::sync::Arc<saga_dsl::plan::Plan>) {
//! for case in trials::generate(&plan).cases {
//!     let verdict = trials::run(&plan, &case, 1, &mut Memory::default()).await;
//!     assert!(verdict.passed(), "{}: {:?}", case.name, verdict.faults);
//! }
//! # }
//! ```

pub mod case;
pub mod cast;
mod chance;
mod checks;
mod generate;
mod judge;
pub mod memory;
mod own;
pub mod real;
#[cfg(test)]
mod tests;
mod world;

use std::sync::Arc;

use saga_dsl::plan::Plan;

pub use self::{
    case::Case,
    generate::{Generated, generate},
    judge::{End, Line, Verdict},
    own::own,
};
use self::{cast::Cast, world::World};

/// Runs one case. The same seed gives the same run: it varies latencies, their order and the jitter of retries.
pub async fn run(plan: &Arc<Plan>, case: &Case, seed: u64, cast: &mut impl Cast) -> Verdict {
    let mut world = World::new(plan, case, seed, cast);
    world.run().await;
    judge::judge(world).await
}
