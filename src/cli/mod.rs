//! The command line: one file per subcommand. `main.rs` parses and calls [`run`].

mod crds;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::chain::chain;

/// Runs containers as tasks on Kubernetes.
#[derive(Debug, Parser)]
#[command(name = "errand", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the CustomResourceDefinitions, or write them to a folder.
    Crds(crds::Args),
    /// Run a command under supervision; what containers of Tasks start with.
    #[command(hide = true)]
    Runner(crate::handover::args::SuperviseArgs),
}

/// Runs the chosen subcommand; what it returns is the exit code of the process.
pub fn run(cli: Cli) -> ExitCode {
    match cli.command {
        Command::Crds(args) => report(crds::run(&args)),
        Command::Runner(args) => crate::runner::run(args),
    }
}

fn report<E: std::error::Error>(outcome: Result<(), E>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("errand: {}", chain(&error));
            ExitCode::FAILURE
        }
    }
}
