use std::process::ExitCode;

use clap::Parser;
use errand::handover::args::SuperviseArgs;

#[derive(Parser)]
enum Cli {
    Runner(SuperviseArgs),
}

fn main() -> ExitCode {
    match Cli::parse() {
        Cli::Runner(args) => errand::runner::run(args),
    }
}
