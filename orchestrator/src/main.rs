//! The `saga` command: server, developer's tool and operator's command in one binary.

mod cli;

use std::process::ExitCode;

/// The system's allocator collapses under threads on musl; `docs/decisions/0008` has the figures.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::main()
}
