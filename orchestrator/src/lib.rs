//! The saga orchestrator: carries out what `saga-core` decides.

pub mod address;
pub mod api;
pub mod breaker;
pub mod clock_health;
pub mod config;
pub mod definitions;
pub mod document;
pub mod input_hash;
pub mod lane;
pub mod observe;
pub mod refusal;
pub mod server;
pub mod store;
pub mod transport;
pub mod trials;
pub mod verify;
