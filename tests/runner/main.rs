//! `errand runner` as a process, with real commands, pipes and signals.

// Helpers of tests may fail like tests; clippy.toml spares only the test functions themselves.
#![allow(clippy::unwrap_used, clippy::panic)]

mod actions;
mod endings;
mod secure;
mod streams;
mod transfers;

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use errand::handover::args::{DecodeInput, ResultFrom, SuperviseArgs};
use errand::handover::record::{Body, Content, Ended, Evidence, Outcome, Record, Stream};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sha2::{Digest as _, Sha256};

/// No wait in these tests is meant to last; this bounds those that would last for ever.
const PATIENCE: Duration = Duration::from_secs(120);

/// A folder, and a supervisor whose termination message lies in it.
struct Bench {
    dir: tempfile::TempDir,
    args: SuperviseArgs,
}

/// What a run left behind.
struct Left {
    status: ExitStatus,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    record: Record,
}

impl Bench {
    /// Runs `script` in a shell whose `$1` is the folder.
    fn shell(script: &str) -> Self {
        let bench = Self::command(&["sh", "-c", script, "sh"]);
        let folder = bench.dir.path().display().to_string();
        bench.with(|args| args.command.push(folder))
    }

    fn command(command: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut args = SuperviseArgs::new(command.iter().map(ToString::to_string).collect());
        args.termination_message = dir.path().join("termination-log");
        // A test that hangs should say so.
        args.timeout = Some(PATIENCE);
        Self { dir, args }
    }

    fn with(mut self, change: impl FnOnce(&mut SuperviseArgs)) -> Self {
        change(&mut self.args);
        self
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn process(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_errand"));
        command
            .arg("runner")
            .args(self.args.to_args())
            .stdin(Stdio::null());
        command
    }

    fn start(&self) -> Child {
        self.process()
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    fn run(&self) -> Left {
        self.finish(self.start())
    }

    fn finish(&self, child: Child) -> Left {
        let output = child.wait_with_output().unwrap();
        Left {
            status: output.status,
            stdout: output.stdout,
            stderr: output.stderr,
            record: self.record(),
        }
    }

    fn record(&self) -> Record {
        let message = std::fs::read_to_string(&self.args.termination_message).unwrap();
        assert!(message.len() <= self.args.termination_message_limit);
        Record::decode(&message).unwrap()
    }

    /// The supervisor, after its command has written the line `ready` to stdout.
    fn ready(&self) -> (Child, BufReader<std::process::ChildStdout>) {
        let mut child = self.start();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        (child, stdout)
    }
}

impl Left {
    fn evidence(&self) -> Evidence {
        self.record.evidence(Some(&self.stdout))
    }

    fn result(&self) -> Vec<u8> {
        self.evidence().result.unwrap().unwrap()
    }
}

fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        if let Some(found) = look() {
            return found;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("{what}: waited in vain");
}

fn send(child: &Child, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn stream(bytes: &[u8]) -> Stream {
    Stream {
        bytes: bytes.len() as u64,
        sha256: sha256(bytes),
        ..Stream::default()
    }
}

#[test]
fn a_small_command_leaves_everything_in_its_record() {
    let left = Bench::shell("echo hello; echo oops >&2; exit 3").run();
    assert_eq!(
        (left.status.code(), &left.stdout[..], &left.stderr[..]),
        (Some(3), &b"hello\n"[..], &b"oops\n"[..])
    );
    let record = left.record;
    assert_eq!(record.outcome, Outcome::Ended(Ended::Code(3)));
    assert_eq!(
        (record.stdout, record.stderr),
        (stream(b"hello\n"), stream(b"oops\n"))
    );
    assert!(record.started_at.unwrap() <= record.finished_at);
    let result = Content {
        size_bytes: 6,
        truncated: false,
        sha256: Some(sha256(b"hello\n")),
        problem: None,
        body: Body::Text("hello\n".into()),
    };
    let log = Content {
        size_bytes: 11,
        truncated: false,
        sha256: None,
        problem: None,
        body: Body::Text("hello\noops\n".into()),
    };
    assert_eq!(
        (record.result, record.log, record.continuation),
        (Some(result), log, None)
    );
}

#[test]
fn a_silent_command_has_an_empty_result() {
    let left = Bench::command(&["true"]).run();
    assert_eq!((left.status.code(), left.result()), (Some(0), vec![]));
}

#[test]
fn progress_lines_pass_through_and_stay_out_of_the_result() {
    let script = "echo one; echo '::progress 40 copying files'; printf 'two\\n::progress 3/7'";
    let left = Bench::shell(script).run();
    assert_eq!(
        left.stdout,
        b"one\n::progress 40 copying files\ntwo\n::progress 3/7"
    );
    assert_eq!(left.result(), b"one\ntwo\n");
    assert_eq!(left.record.progress.unwrap().current, Some(3));
}

#[test]
fn what_cannot_be_started_is_told_in_the_record_and_on_stderr() {
    for (command, code) in [
        ("errand-no-such-command", 127),
        ("/errand/no-such-file", 127),
        ("/", 126),
    ] {
        let left = Bench::command(&[command, "argument"]).run();
        assert_eq!(left.status.code(), Some(code));
        let Outcome::NotStarted { exit_code, message } = left.record.outcome else {
            panic!("{command} was started")
        };
        assert_eq!(i32::from(exit_code), code);
        assert_eq!(
            String::from_utf8(left.stderr).unwrap(),
            format!("errand runner: {message}\n")
        );
        assert!(
            message.starts_with(&format!("the command {command:?} ")),
            "{message}"
        );
        assert_eq!((left.record.started_at, left.record.stdout), (None, stream(b"")));
    }
}

#[test]
fn a_working_directory_that_is_gone_is_named() {
    let bench = Bench::command(&["./program"]);
    let mut command = Command::new("sh");
    command
        .args([
            "-c",
            "mkdir $0/gone && cd $0/gone && rmdir $0/gone && exec \"$@\"",
        ])
        .arg(bench.dir.path());
    command
        .args([env!("CARGO_BIN_EXE_errand"), "runner"])
        .args(bench.args.to_args());
    assert_eq!(command.output().unwrap().status.code(), Some(126));
    let Outcome::NotStarted { message, .. } = bench.record().outcome else {
        panic!("it was started")
    };
    assert_eq!(
        message,
        "the command \"./program\" cannot be run: the working directory cannot be used (No such file or directory)"
    );
}

#[test]
fn a_file_can_be_the_result() {
    let bench = Bench::shell("echo noise; printf content > $1/result");
    let path = bench.path("result");
    let left = bench.with(|args| args.result = ResultFrom::File(path)).run();
    assert_eq!(
        (left.result(), left.record.log.size_bytes),
        (b"content".to_vec(), 6)
    );

    let left = Bench::shell("exit 0")
        .with(|args| args.result = ResultFrom::File("/errand/none".into()))
        .run();
    let problem = left.record.result.unwrap().problem;
    assert_eq!(
        problem.as_deref(),
        Some("the result file /errand/none does not exist")
    );
}

#[test]
fn the_termination_message_of_the_command_can_be_the_result() {
    let bench = Bench::shell("printf message > $1/termination-log")
        .with(|args| args.result = ResultFrom::TerminationMessage);
    assert_eq!(bench.run().result(), b"message");
}

#[test]
fn without_a_result_there_is_the_log_tail_only() {
    let left = Bench::shell("echo one; echo two; echo three").with(|args| {
        args.result = ResultFrom::None;
        args.log_limit = 10;
    });
    let left = left.run();
    assert_eq!(
        (left.record.result.clone(), left.evidence().tail),
        (None, Ok(b"two\nthree\n".to_vec()))
    );
}

#[test]
fn a_binary_input_is_decoded_before_the_command_starts() {
    let bench = Bench::shell("cat $1/input/body $1/input/query");
    std::fs::create_dir(bench.path("encoded")).unwrap();
    std::fs::write(bench.path("encoded/body.base64"), "AP8=").unwrap();
    std::fs::write(bench.path("encoded/query"), "q").unwrap();
    let pair = DecodeInput::new(bench.path("encoded"), bench.path("input")).unwrap();
    let left = bench.with(|args| args.decode_input = Some(pair)).run();
    assert_eq!(left.result(), [0, 255, b'q']);

    let pair = DecodeInput::new("/errand/no-such-folder", "/tmp").unwrap();
    let left = Bench::command(&["true"])
        .with(|args| args.decode_input = Some(pair))
        .run();
    assert_eq!(left.status.code(), Some(125));
}

#[test]
fn a_record_that_cannot_be_written_is_said_and_the_exit_code_stays() {
    let bench =
        Bench::shell("exit 6").with(|args| args.termination_message = "/errand/no/such/folder".into());
    let output = bench.process().output().unwrap();
    assert_eq!((output.status.code(), output.status.signal()), (Some(6), None));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        stderr.starts_with("errand runner: the record could not be written to /errand/no/such/folder: "),
        "{stderr}"
    );
}

#[test]
#[ignore = "prints a figure: the time a supervised command takes beside a bare one"]
fn start_up() {
    let rounds = 200;
    let time = |run: &dyn Fn()| {
        let start = Instant::now();
        (0..rounds).for_each(|_| run());
        start.elapsed() / rounds
    };
    let bench = Bench::command(&["true"]);
    let bare = time(&|| assert!(Command::new("true").status().unwrap().success()));
    let supervised = time(&|| assert!(bench.process().status().unwrap().success()));
    println!(
        "bare {bare:?}, supervised {supervised:?}, difference {:?}",
        supervised.saturating_sub(bare)
    );
}
