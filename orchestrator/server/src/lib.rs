//! The saga server: the API, sagas in words, and what the owner of a store has.

pub mod api;
mod clock_health;
pub mod config;
mod front;
mod health;
mod keepalive;
mod ownership;
mod running;
pub mod screens;
pub mod story;
mod turns;
pub mod verify;

pub use health::{BROKER_SERVICE, STANDBY_SERVICE};
pub use running::{Error, Running, Server};
