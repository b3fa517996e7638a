//! `errand runner` as a process, with real commands, pipes and signals.

use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use errand::handover::args::{DecodeInput, ResultFrom, SuperviseArgs};
use errand::handover::continuation::MARK;
use errand::handover::record::{Body, Content, Ended, Evidence, EvidenceError, Outcome, Record, Stream};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use proptest::prelude::*;
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

/// Marked lines as a real run has written them, for a command to repeat.
fn marked_lines() -> Vec<u8> {
    let left = Bench::shell("head -c 9000 /dev/zero").run();
    left.stdout[9000..].to_vec()
}

fn hostile(old: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => proptest::collection::vec(any::<u8>(), 0..3000),
        2 => Just(b"\n".to_vec()),
        1 => Just(b"::progress 5 x\n".to_vec()),
        1 => Just(MARK.as_bytes().to_vec()),
        1 => "::errand-evidence [0-9a-f]{32} [rlj][0-9] [a-zA-Z0-9]{0,40} [0-9a-f]{16}\n".prop_map(String::into_bytes),
        1 => Just(old.clone()),
        1 => Just(old[..old.len() / 2].to_vec()),
    ];
    // No more than a pipe takes at once, so that stdout has arrived before stderr begins.
    proptest::collection::vec(piece, 0..8).prop_map(|pieces| {
        let mut bytes = pieces.concat();
        bytes.truncate(30_000);
        bytes
    })
}

#[test]
fn two_hostile_streams_come_through_unharmed() {
    let old = marked_lines();
    assert!(old.starts_with(MARK.as_bytes()));
    let streams = (hostile(old.clone()), hostile(old), 0usize..40_000, 0usize..70_000);
    proptest!(ProptestConfig::with_cases(48), |((stdout, stderr, result_limit, log_limit) in streams)| {
        let bench = Bench::shell("cat $1/out; cat $1/err >&2").with(|args| {
            args.result_limit = result_limit;
            args.log_limit = log_limit;
        });
        std::fs::write(bench.path("out"), &stdout).unwrap();
        std::fs::write(bench.path("err"), &stderr).unwrap();

        let left = bench.run();

        prop_assert_eq!(&left.stderr, &stderr);
        prop_assert_eq!((&left.record.stdout, &left.record.stderr), (&stream(&stdout), &stream(&stderr)));
        let evidence = left.evidence();
        prop_assert_eq!(evidence.log.unwrap(), stdout.clone());

        let is_progress = |line: &&[u8]| {
            errand::handover::progress::Progress::parse(line.strip_suffix(b"\n").unwrap_or(line)).is_some()
        };
        let lines = stdout.split_inclusive(|byte| *byte == b'\n');
        let whole = lines.filter(|line| !is_progress(line)).collect::<Vec<_>>().concat();
        let result = left.record.result.unwrap();
        prop_assert_eq!(result.size_bytes, whole.len() as u64);
        prop_assert_eq!(result.sha256, Some(sha256(&whole)));
        let kept = evidence.result.unwrap().unwrap();
        prop_assert!(whole.starts_with(&kept) && (kept.len() + 3 >= result_limit.min(whole.len())));

        let both = [stdout, stderr].concat();
        let tail = evidence.tail.unwrap();
        prop_assert_eq!(left.record.log.size_bytes, both.len() as u64);
        prop_assert!(both.ends_with(&tail) && tail.len() * 2 + 8 >= log_limit.min(both.len()));
    });
}

#[test]
fn one_log_for_both_streams_is_cut_clean_too() {
    let bench = Bench::shell("head -c 5000 /dev/zero; printf 'no newline'; printf 'nor here' >&2");
    let mut command = Command::new("sh");
    command
        .args([
            "-c",
            "exec \"$@\" 2>&1",
            "sh",
            env!("CARGO_BIN_EXE_errand"),
            "runner",
        ])
        .args(bench.args.to_args());
    let log = command.stdin(Stdio::null()).output().unwrap().stdout;
    let mut written = vec![0; 5000];
    written.extend_from_slice(b"no newlinenor here");
    let evidence = bench.record().evidence(Some(&log));
    assert_eq!(
        (evidence.log, evidence.tail),
        (Some(written.clone()), Ok(written))
    );
    assert!(evidence.result.unwrap().unwrap().ends_with(b"no newline"));
}

#[test]
fn a_flood_flows_with_real_sizes_and_bounded_memory() {
    const FLOOD: u64 = 200_000_000;
    let bench = Bench::shell(&format!(
        "head -c {FLOOD} /dev/zero; grep VmHWM /proc/$PPID/status >&2"
    ))
    .with(|args| (args.result_limit, args.log_limit) = (1_000_000, 100_000));
    let mut child = bench.start();
    let mut end = Vec::new();
    let mut hash = Sha256::new();
    let (mut total, mut buffer) = (0, vec![0; 1 << 20]);
    let mut stdout = child.stdout.take().unwrap();
    loop {
        let count = stdout.read(&mut buffer).unwrap();
        if count == 0 {
            break;
        }
        let of_command = usize::try_from(FLOOD.saturating_sub(total)).unwrap().min(count);
        hash.update(&buffer[..of_command]);
        end.extend_from_slice(&buffer[of_command..count]);
        total += count as u64;
    }
    let Left {
        status,
        stderr,
        record,
        ..
    } = bench.finish(child);
    let flood: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(status.code(), Some(0));
    assert_eq!(
        record.stdout,
        Stream {
            bytes: FLOOD,
            sha256: flood.clone(),
            ..Stream::default()
        }
    );
    let result = record.result.clone().unwrap();
    assert_eq!(
        (result.size_bytes, result.truncated, result.sha256),
        (FLOOD, true, Some(flood))
    );
    assert_eq!(
        (record.log.size_bytes, record.log.truncated),
        (FLOOD + stderr.len() as u64, true)
    );
    let evidence = record.evidence(Some(&end));
    assert_eq!(evidence.result.unwrap().unwrap(), vec![0; 1_000_000]);
    assert!(evidence.tail.unwrap().ends_with(&stderr));
    let words = String::from_utf8(stderr).unwrap();
    let kib: u64 = words.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(kib < 32 * 1024, "the supervisor took {kib} KiB");
}

#[test]
fn a_reader_that_went_away_costs_neither_the_run_nor_the_record() {
    let bench = Bench::shell("head -c 1000000 /dev/zero; echo survived >&2; exit 5");
    let mut child = bench.start();
    drop(child.stdout.take());
    let left = bench.finish(child);
    assert_eq!(
        (left.status.code(), &left.stderr[..]),
        (Some(5), &b"survived\n"[..])
    );
    assert_eq!(
        (left.record.stdout.bytes, left.record.stdout.dropped),
        (1_000_000, 1_000_000)
    );
    let lost = Some(Err(EvidenceError::Lost("standard output is closed".into())));
    assert_eq!((left.record.needs_log(), left.evidence().result), (false, lost));
}

#[test]
fn a_reader_that_reads_nothing_costs_no_record_when_the_run_is_stopped() {
    let bench = Bench::shell("trap '' TERM; touch $1/started; head -c 1000000 /dev/zero")
        .with(|args| args.grace = Duration::from_secs(2));
    let mut child = bench.start();
    until("the command starts", || {
        bench.path("started").exists().then_some(())
    });
    send(&child, Signal::SIGTERM);
    let status = child.wait().unwrap();
    let record = bench.record();
    assert_eq!(
        record.outcome,
        Outcome::Stopped {
            signal: 15,
            ended: Ended::Signal(9)
        }
    );
    assert_eq!(status.code(), Some(137));
    assert!(
        record.stdout.bytes < 1_000_000 && record.stdout.dropped > 0,
        "{:?}",
        record.stdout
    );
    let lost = EvidenceError::Lost("standard output is closed".into());
    assert_eq!(record.evidence(None).result, Some(Err(lost)));
}

#[test]
fn signals_reach_the_command() {
    for signal in ["HUP", "QUIT", "USR1", "USR2", "WINCH", "INT", "TERM"] {
        let script =
            format!("trap 'echo got {signal}; exit 3' {signal}; echo ready; while :; do sleep 0.02; done");
        let bench = Bench::shell(&script);
        let (child, mut stdout) = bench.ready();
        let number: Signal = format!("SIG{signal}").parse().unwrap();
        send(&child, number);
        let left = bench.finish(child);
        let mut rest = String::new();
        stdout.read_to_string(&mut rest).unwrap();
        assert_eq!((left.status.code(), rest), (Some(3), format!("got {signal}\n")));
        let ended = Ended::Code(3);
        let expected = match number {
            Signal::SIGTERM | Signal::SIGINT => Outcome::Stopped {
                signal: number as i32,
                ended,
            },
            _ => Outcome::Ended(ended),
        };
        assert_eq!(left.record.outcome, expected);
    }
}

#[test]
fn a_command_starts_with_a_clean_signal_state() {
    let left = Bench::shell("grep -E 'SigBlk|SigIgn' /proc/self/status").run();
    let text = String::from_utf8(left.stdout).unwrap();
    let mask = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        u64::from_str_radix(line.trim(), 16).unwrap()
    };
    assert_eq!(mask("SigBlk:"), 0);
    assert_eq!(mask("SigIgn:") & (1 << (Signal::SIGPIPE as u64 - 1)), 0);
}

#[test]
fn a_command_that_ignores_the_stop_is_killed_before_the_grace_period_ends() {
    let bench = Bench::shell("trap '' TERM; echo ready; while :; do sleep 1; done")
        .with(|args| args.grace = Duration::from_secs(1));
    let (child, _stdout) = bench.ready();
    send(&child, Signal::SIGTERM);
    let left = bench.finish(child);
    assert_eq!(
        left.record.outcome,
        Outcome::Stopped {
            signal: 15,
            ended: Ended::Signal(9)
        }
    );
    assert_eq!(left.status.code(), Some(137));
}

#[test]
fn the_run_limit_asks_first_and_then_ends_the_whole_group() {
    let obeying = Bench::shell("exec sleep 1000").with(|args| args.timeout = Some(Duration::from_millis(50)));
    let left = obeying.run();
    assert_eq!(
        (left.status.code(), left.record.outcome),
        (Some(124), Outcome::TimedOut(Ended::Signal(15)))
    );

    let deaf = "trap '' TERM; echo kept; sleep 1000";
    let bench = Bench::shell(deaf).with(|args| {
        args.timeout = Some(Duration::from_secs(3));
        args.grace = Duration::from_millis(50);
    });
    let left = bench.run();
    assert_eq!(left.result(), b"kept\n");
    assert_eq!(
        (left.status.code(), left.record.outcome),
        (Some(124), Outcome::TimedOut(Ended::Signal(9)))
    );
    assert!(!left.record.stdout.held_open, "the group was ended as a whole");
}

#[test]
fn a_command_ended_by_a_signal_is_told_as_shells_do() {
    let left = Bench::shell("kill -KILL $$").run();
    assert_eq!(
        (left.status.code(), left.record.outcome),
        (Some(137), Outcome::Ended(Ended::Signal(9)))
    );
    // A real-time signal has a number only.
    let left = Bench::shell("kill -40 $$").run();
    assert_eq!(
        (left.status.code(), left.record.outcome),
        (Some(168), Outcome::Ended(Ended::Signal(40)))
    );
}

#[test]
fn orphans_are_reaped_while_the_command_runs() {
    let script = "(sh -c 'echo $$ > $1/pid.new; mv $1/pid.new $1/pid; exit 4' sh $1 &); \
                  while [ ! -e $1/pid ] || [ -e /proc/$(cat $1/pid) ]; do sleep 0.02; done; echo reaped";
    assert_eq!(Bench::shell(script).run().result(), b"reaped\n");
    let script = "(sh -c 'echo $$ > $1/pid.new; mv $1/pid.new $1/pid; kill -40 $$' sh $1 &); \
                  while [ ! -e $1/pid ] || [ -e /proc/$(cat $1/pid) ]; do sleep 0.02; done; echo reaped";
    assert_eq!(Bench::shell(script).run().result(), b"reaped\n");
}

#[test]
fn what_outlives_the_command_neither_holds_the_run_nor_stays_behind() {
    let left = Bench::shell("setsid sleep 1000 & echo $!").run();
    assert_eq!(left.record.outcome, Outcome::Ended(Ended::Code(0)));
    assert!(left.record.stdout.held_open && left.record.stderr.held_open);
    let pid = String::from_utf8(left.result()).unwrap();
    assert!(
        !Path::new("/proc").join(pid.trim()).exists(),
        "process {pid} is still there"
    );
}

#[test]
fn an_endless_writer_that_outlives_the_command_does_not_hold_the_run() {
    let bench = Bench::shell("yes & echo from the command >&2");
    let mut child = bench
        .process()
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!(
        (child.wait().unwrap().code(), stderr.as_str()),
        (Some(0), "from the command\n")
    );
    assert!(bench.record().stdout.held_open);
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
