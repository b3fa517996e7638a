//! Parses the command line and runs one subcommand.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    errand::cli::run(errand::cli::Cli::parse())
}
