//! The decisions of the saga orchestrator: synchronous, without clock, store or runtime.

pub mod ids;

pub use ids::{Partition, SagaId, Timestamp};
