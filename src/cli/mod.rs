//! The command line: one file per subcommand, and the parts that they share. `main.rs` parses and calls [`run`].

pub mod access_args;
mod apply;
mod callback_args;
mod cancel;
pub mod connect;
mod controller;
mod crds;
mod definitions;
mod dev;
mod doors;
mod facade;
mod facts;
pub mod follow;
mod get;
mod install;
mod kubeconfig;
mod logs;
mod manifest;
pub mod outcome;
pub mod plane;
mod result;
mod rooms;
mod run;
mod shallow;
mod signals;
mod supervisor_image;
mod table;
pub mod token;
mod unserved;
mod view;
mod yaml;

use std::{io, process::ExitCode};

use clap::{Parser, Subcommand};

use crate::{chain::chain, handover::args::SuperviseArgs, runner};

/// Runs containers as tasks on Kubernetes.
#[derive(Debug, Parser)]
#[command(name = "errand", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a Function once: submit a Task, show it, print its result
    Run(run::Args),
    /// Show the Tasks of a namespace, or one Task with all its facts
    Get(get::Args),
    /// Print the log of a Task
    Logs(logs::Args),
    /// Print the result of a Task, byte for byte
    Result(result::Args),
    /// Stop Tasks; what they logged and returned so far is kept
    Cancel(cancel::Args),
    /// Run all of Errand on this machine, with no cluster
    Dev(Box<dev::Args>),
    /// Run the controller in a cluster
    Controller(Box<controller::Args>),
    /// Run the REST facade in a cluster
    Facade(Box<facade::Args>),
    /// Run a command in a container and leave the evidence of it (the controller writes this into pods)
    Runner(SuperviseArgs),
    /// Carry out one action of a Task (the supervisor starts this)
    #[command(hide = true)]
    Step,
    /// Copy this executable to a path (the init container that brings the supervisor into pods runs this)
    Install(install::Args),
    /// Print the CustomResourceDefinitions, write them to a folder, or put them into a cluster
    Crds(crds::Args),
}

/// Runs the chosen subcommand; what it returns is the exit code of the process.
pub fn run(cli: Cli) -> ExitCode {
    match cli.command {
        Command::Run(args) => match client(run::run(args)) {
            Some(Ok(code)) => ExitCode::from(code),
            Some(Err(error)) => fail(&error, error.exit_code()),
            None => ExitCode::from(outcome::USAGE),
        },
        Command::Get(args) => finish(client(get::run(args))),
        Command::Logs(args) => finish(client(logs::run(args))),
        Command::Result(args) => finish(client(result::run(args))),
        Command::Cancel(args) => finish(client(cancel::run(args))),
        Command::Dev(args) => finish(server(dev::run(*args))),
        Command::Controller(args) => finish(server(controller::run(*args))),
        Command::Facade(args) => finish(server(facade::run(*args))),
        Command::Runner(args) => runner::run(args),
        Command::Step => runner::actions::step::run(),
        Command::Install(args) => finish(Some(install::run(&args))),
        Command::Crds(args) => finish(client(crds::run(args))),
    }
}

/// Runs a client command: one thread is enough for one person's requests. Nothing where there is no runtime.
fn client<F: Future>(command: F) -> Option<F::Output> {
    started(tokio::runtime::Builder::new_current_thread().enable_all().build())
        .map(|runtime| runtime.block_on(command))
}

/// Runs a command that serves.
fn server<F: Future>(command: F) -> Option<F::Output> {
    started(tokio::runtime::Builder::new_multi_thread().enable_all().build())
        .map(|runtime| runtime.block_on(command))
}

fn started(runtime: io::Result<tokio::runtime::Runtime>) -> Option<tokio::runtime::Runtime> {
    runtime
        .map_err(|error| {
            eprintln!("errand: could not start: {error}; are the limits on files and threads too low?")
        })
        .ok()
}

fn finish<E: std::error::Error + 'static>(outcome: Option<Result<u8, E>>) -> ExitCode {
    match outcome {
        Some(Ok(code)) => ExitCode::from(code),
        Some(Err(error)) => fail(&error, outcome::FAILED),
        None => ExitCode::FAILURE,
    }
}

fn fail(error: &(dyn std::error::Error + 'static), code: u8) -> ExitCode {
    eprintln!("errand: {}", chain(error));
    ExitCode::from(code)
}

#[cfg(test)]
mod served_specs;
#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_command_line_reads_as_the_design_writes_it() {
        for line in [
            "errand run hello --input text --arg a --arg -b --timeout 90s --detach",
            "errand run -f task.yaml --input @file -n jobs --context prod",
            "errand get",
            "errand get t -o yaml",
            "errand logs t -f",
            "errand result t --wait",
            "errand cancel a b c",
            "errand crds --out crds",
            "errand crds --apply --context prod",
        ] {
            assert!(Cli::try_parse_from(line.split(' ')).is_ok(), "{line}");
        }
        for line in [
            "errand run",
            "errand run f -f file",
            "errand run f --timeout soon",
            "errand cancel",
            "errand crds --apply --out crds",
        ] {
            assert!(Cli::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }
}
