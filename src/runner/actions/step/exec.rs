//! `run`: the program takes the place of the step.

use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use super::users::{User, limit_files};
use crate::crd::RunAction;
use crate::runner::start::{NotStarted, explain};
use crate::runner::{EXIT_NOT_RUNNABLE, EXIT_SUPERVISOR};

/// Becomes the program. Returns only where that is not possible: why, and the exit code that says so.
pub(super) fn exec(run: &RunAction) -> (String, u8) {
    let mut command = Command::new(&run.path);
    command.args(&run.args).stdin(Stdio::null());
    if let Some(files) = run.nofile
        && let Err(error) = limit_files(files)
    {
        return (error.to_string(), EXIT_SUPERVISOR);
    }
    if let Some(text) = &run.user {
        let found = User::find(text).and_then(|user| user.become_it(text).map(|()| user));
        match found {
            Ok(user) => drop(command.envs(user.variables())),
            Err(error) => return (error.to_string(), EXIT_SUPERVISOR),
        }
    }
    command.envs(run.env.iter().map(|variable| (&variable.name, &variable.value)));
    if let Some(dir) = &run.dir
        && let Err(error) = std::env::set_current_dir(dir)
    {
        let failure = NotStarted::WorkingDirectory {
            command: run.path.clone(),
            errno: error.raw_os_error().unwrap_or_default(),
        };
        return (failure.to_string(), EXIT_NOT_RUNNABLE);
    }
    let failure = explain(&run.path, command.exec());
    (failure.to_string(), failure.exit_code())
}
