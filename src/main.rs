//! Parses the command line and runs one subcommand.

use std::process::ExitCode;

use clap::Parser;

/// Many small objects are made and dropped by many threads, which glibc's allocator handles slowly.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    errand::cli::run(errand::cli::Cli::parse())
}
