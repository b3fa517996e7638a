//! `errand` and `kubectl` as commands of a test.

use std::{
    ffi::OsStr,
    io::{BufRead, BufReader, Read, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{OnceLock, mpsc},
    time::{Duration, Instant},
};

use super::PATIENCE;

/// The binary under test.
pub const ERRAND: &str = env!("CARGO_BIN_EXE_errand");

/// What a command left behind.
#[derive(Debug)]
pub struct Ran {
    /// Exit code; `None` where a signal ended it.
    pub code: Option<i32>,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Ran {
    /// Standard output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard output of a command that must have succeeded.
    pub fn ok(self) -> String {
        assert_eq!(
            self.code,
            Some(0),
            "stdout: {}\nstderr: {}",
            self.text(),
            self.stderr
        );
        self.text()
    }
}

/// `errand` with arguments; the plane is named by KUBECONFIG.
pub fn errand<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(kubeconfig: &Path, args: I) -> Ran {
    run(command(Path::new(ERRAND), kubeconfig, args), b"")
}

/// `errand` with something on its standard input.
pub fn errand_with_input<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(
    kubeconfig: &Path,
    args: I,
    input: &[u8],
) -> Ran {
    run(command(Path::new(ERRAND), kubeconfig, args), input)
}

/// `kubectl` with arguments.
pub fn kubectl<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(kubeconfig: &Path, args: I) -> Ran {
    run(command(kubectl_path(), kubeconfig, args), b"")
}

/// kubectl on PATH, or the one from PyPI in the user's cache.
pub fn kubectl_path() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let tool = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/tool.sh");
        let output = Command::new(tool)
            .arg("kubectl")
            .stderr(Stdio::inherit())
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "kubectl is missing and could not be installed"
        );
        PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
    })
}

/// A command whose environment holds nothing of the person who runs the tests but PATH.
pub fn command<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(
    program: &Path,
    kubeconfig: &Path,
    args: I,
) -> Command {
    let mut command = Command::new(program);
    let home = kubeconfig.parent().unwrap();
    command
        .args(args)
        .env_clear()
        .env("KUBECONFIG", kubeconfig)
        .env("HOME", home);
    command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    command
}

/// Runs to the end, or kills the command after [`PATIENCE`].
pub fn run(mut command: Command, input: &[u8]) -> Ran {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    std::thread::spawn(move || stdin.write_all(&input));
    let (stdout, stderr) = (
        drain(child.stdout.take().unwrap()),
        drain(child.stderr.take().unwrap()),
    );
    let (status, timely) = wait(&mut child);
    let ran = Ran {
        code: status.code(),
        stdout: stdout.join().unwrap(),
        stderr: String::from_utf8_lossy(&stderr.join().unwrap()).into_owned(),
    };
    assert!(timely, "{command:?} did not end: {ran:?}");
    ran
}

fn drain(mut stream: impl Read + Send + 'static) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        bytes
    })
}

fn wait(child: &mut Child) -> (std::process::ExitStatus, bool) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return (status, true);
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            return (child.wait().unwrap(), false);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A command that goes on beside the test; it is killed when the test ends.
pub struct Beside {
    pub child: Child,
    stdout: mpsc::Receiver<String>,
    stderr: mpsc::Receiver<String>,
    seen: Vec<String>,
}

impl Beside {
    pub fn start(mut command: Command) -> Self {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdout = lines(child.stdout.take().unwrap());
        let stderr = lines(child.stderr.take().unwrap());
        Self {
            child,
            stdout,
            stderr,
            seen: Vec::new(),
        }
    }

    /// The next line of standard output that holds `part`.
    pub fn stdout_with(&mut self, part: &str) -> String {
        Self::find(&self.stdout, &mut self.seen, part)
    }

    /// The next line of standard error that holds `part`.
    pub fn stderr_with(&mut self, part: &str) -> String {
        Self::find(&self.stderr, &mut self.seen, part)
    }

    fn find(from: &mpsc::Receiver<String>, seen: &mut Vec<String>, part: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match from.recv_timeout(left) {
                Ok(line) if line.contains(part) => return line,
                Ok(line) => seen.push(line),
                Err(_) => panic!("no line with {part:?} came; others were {seen:#?}"),
            }
        }
    }

    /// Exit code once it has ended by itself.
    pub fn code(&mut self) -> Option<i32> {
        let (status, timely) = wait(&mut self.child);
        assert!(timely, "the command did not end; it said {:#?}", self.seen);
        status.code()
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lines(stream: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
            if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                break;
            }
        }
    });
    receiver
}
