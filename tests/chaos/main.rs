//! Chaos: real processes, killed with SIGKILL in the midst of their work, and what is left afterwards.
//!
//! The programs are built beforehand, in the profile of this test:
//! `cargo build -p saga-cli --bin saga -p saga-examples --bin book_trip`. `SAGA_CHAOS=long` makes runs that
//! last minutes instead of seconds.
#![allow(clippy::expect_used, reason = "a test may panic")]

mod audit;
mod breakers;
mod client;
mod commands;
mod forgetful;
mod load;
mod processes;
mod tap;
mod trips;
mod without;

/// Whether the long runs are asked for.
fn long() -> bool {
    std::env::var("SAGA_CHAOS").is_ok_and(|value| value == "long")
}
