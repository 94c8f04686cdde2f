//! The decisions of the saga orchestrator: synchronous, without clock, store or runtime.
//!
//! Everything that happens to a saga is an [`Input`]. [`decide()`] looks at the saga's [`Plan`](saga_dsl::plan::Plan) and
//! [`SagaState`] and answers with [`Event`]s to be journaled and [`Effect`]s to be carried out after the commit.
//! [`apply()`] folds events into the state. Live runs, recovery, replay and simulation use these two functions
//! and no others.
//!
//! In reading order: [`ids`], [`input`], [`event`], [`effect`], [`gate`], [`state`] (the transition list stands at
//! its top), [`decide()`] (one file per input), [`compensation`], [`retry`], [`limits`], [`apply()`]; [`rules`] names what all
//! of it stands on.

pub mod apply;
pub mod command;
pub mod compensation;
pub mod decide;
pub mod effect;
pub mod error;
pub mod event;
pub mod gate;
mod ground;
pub mod ids;
pub mod input;
pub mod limits;
pub mod retry;
pub mod rules;
pub mod scope;
pub mod state;

pub use apply::{apply, apply_record};
pub use decide::{Decision, decide, decide_under};
pub use effect::{Command, Effect};
pub use error::ErrorBody;
pub use event::{Event, Record};
pub use gate::Gate;
pub use ground::{Op, Verb, Wait};
pub use ids::{ActId, Partition, SagaId, Timestamp};
pub use input::{Input, Rejected};
pub use rules::{Rule, Rules};
pub use saga_dsl::payload::{self, Payload};
pub use state::{SagaState, Status};
