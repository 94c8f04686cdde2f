//! The saga server: the API, sagas in words, and what the owner of a store has.

pub mod api;
mod clock_health;
pub mod config;
mod front;
mod health;
mod ownership;
mod running;
pub mod screens;
pub mod story;
mod turns;
pub mod verify;

pub use running::{
    BROKER_SERVICE, Error, MESSAGE_BYTES_MAX, PINGS_ANSWERED_WITHIN, Running, STANDBY_SERVICE,
    Server,
};
