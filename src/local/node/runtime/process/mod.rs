//! Containers as child processes of this machine, like Nomad's raw_exec.
//!
//! No isolation: the process sees this machine's files, network and processes with the node's own rights; its
//! image is ignored, and cpu and memory limits, users and capabilities are not enforced. What it does have: a
//! clean environment, its volumes (see [`translate`]), a log, an address (see [`ports`]), a process group that is
//! killed as a whole, and a mark that finds those of its children that left the group (see [`leftovers`]).

pub mod leftovers;
mod output;
mod ports;
mod translate;

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinSet;

use super::{ContainerConfig, Exit, LogHandle, PodKey, RuntimeError, StartFailure, Started, StopSignal};
use crate::local::node::cri_log::Stream;
use crate::local::node::log_file::{DEFAULT_FILE_LIMIT, LogFile};
use leftovers::Owner;
use translate::translate;

/// For a node whose own PATH is not set.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Output of an ended container that is held open by a process outside its group is waited for so long
/// before that process is looked for, and again so long afterwards.
const DRAIN: Duration = Duration::from_millis(200);
/// At most one search per so long for processes that left an ended container's group.
const SWEEP_EVERY: Duration = Duration::from_millis(500);
/// Rounds of the last search, with a pause of a tenth of a second between.
const LAST_SWEEPS: usize = 20;

/// How this runtime works.
#[derive(Clone, Debug)]
pub struct ProcessOptions {
    /// Bytes per log file; two are kept per container run.
    pub log_file_limit: u64,
}

impl Default for ProcessOptions {
    fn default() -> Self {
        Self {
            log_file_limit: DEFAULT_FILE_LIMIT,
        }
    }
}

/// The runtime; clones are the same one.
#[derive(Clone, Debug)]
pub struct ProcessRuntime {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    options: ProcessOptions,
    owner: Owner,
    path: String,
    pods: Mutex<HashMap<String, Ipv4Addr>>,
    /// Container id -> pid of its first process, which leads its group. Only while that process has not been
    /// waited for: a signal must never hit a later process of the same number.
    running: Mutex<HashMap<String, Pid>>,
    /// Ended containers whose stray children have not been looked for.
    ended: Mutex<HashSet<String>>,
    sweep: Notify,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ProcessRuntime {
    /// Says once what this runtime is not.
    pub fn new(options: ProcessOptions) -> Self {
        tracing::warn!(
            "containers run as plain child processes of this machine: no isolation, images are ignored, \
             cpu and memory limits are not enforced"
        );
        let inner = Arc::new(Inner {
            options,
            owner: Owner::here(),
            path: std::env::var("PATH").unwrap_or_else(|_| DEFAULT_PATH.to_owned()),
            pods: Mutex::default(),
            running: Mutex::default(),
            ended: Mutex::default(),
            sweep: Notify::new(),
        });
        tokio::spawn(sweep(Arc::downgrade(&inner)));
        Self { inner }
    }

    /// Ends processes of nodes that are dead; how many.
    pub async fn clean_leftovers(&self) -> usize {
        let found = tokio::task::spawn_blocking(|| leftovers::kill_marked(leftovers::is_leftover)).await;
        found.unwrap_or_default()
    }

    /// Gives the pod its address.
    pub fn add_pod(&self, pod: &PodKey) -> Ipv4Addr {
        let mut pods = lock(&self.inner.pods);
        let taken: HashSet<Ipv4Addr> = pods.values().copied().collect();
        *pods
            .entry(pod.uid.clone())
            .or_insert_with(|| ports::free_address(&taken))
    }

    /// Takes the pod's address back.
    pub fn remove_pod(&self, pod: &PodKey) {
        lock(&self.inner.pods).remove(&pod.uid);
    }

    /// Starts the command.
    pub async fn start(&self, config: ContainerConfig) -> Result<Started, StartFailure> {
        let id = format!("{}_{}_{}", config.pod.uid, config.name, config.attempt);
        let here = |text: &String| translate(text, &config.mounts);
        let command: Vec<String> = config.command.iter().chain(&config.args).map(here).collect();
        let Some((program, arguments)) = command.split_first().filter(|_| !config.command.is_empty()) else {
            return Err(StartFailure::Start(format!(
                "container {:?} has no command: the process runtime has no image whose entrypoint it could run, so set \"command\"",
                config.name
            )));
        };
        let mut env: Vec<(String, String)> = config
            .env
            .iter()
            .map(|(name, value)| (name.clone(), here(value)))
            .collect();
        let held = self.hold_port(&config, &mut env)?;
        let path = env
            .iter()
            .find(|(name, _)| name == "PATH")
            .map_or(&self.inner.path, |(_, value)| value);
        let folder = working_folder(&config)?;
        let program = find_program(program, path, &folder)?;

        let mut command = Command::new(program);
        command
            .args(arguments)
            .env_clear()
            .env("PATH", path)
            .envs(env.iter().map(|(name, value)| (name, value)))
            .env(leftovers::MARK, self.inner.owner.mark(&id))
            .current_dir(folder)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let log = self.create_log(&config)?;
        let child = self.spawn(&mut command, &id, &log)?;

        let (done, exit) = oneshot::channel();
        let (end_ports, ports_ended) = oneshot::channel();
        if let Some(held) = held {
            tokio::spawn(ports::serve(held, ports_ended));
        }
        let started_at = Timestamp::now();
        let full_id = format!("process://{id}");
        tokio::spawn(follow(
            self.inner.clone(),
            id,
            child,
            log.clone(),
            end_ports,
            done,
        ));
        Ok(Started {
            id: full_id,
            image_id: String::new(),
            started_at,
            pod_ip: None,
            logs: LogHandle::File(log),
            exit,
        })
    }

    fn spawn(&self, command: &mut Command, id: &str, log: &Arc<LogFile>) -> Result<Child, StartFailure> {
        let child = command.spawn().map_err(|error| {
            log.close();
            let program = command.as_std().get_program().to_string_lossy().into_owned();
            StartFailure::Start(format!("exec: {program:?}: {error}"))
        })?;
        if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) {
            lock(&self.inner.running).insert(id.to_owned(), Pid::from_raw(pid));
        }
        Ok(child)
    }

    fn create_log(&self, config: &ContainerConfig) -> Result<Arc<LogFile>, StartFailure> {
        let folder = config.folder.join("logs");
        let name = format!("{}.{}", config.name, config.attempt);
        std::fs::create_dir_all(&folder)
            .and_then(|()| LogFile::create(&folder, &name, self.inner.options.log_file_limit))
            .map_err(|error| StartFailure::Create(format!("create the container's log: {error}")))
    }

    fn hold_port(
        &self,
        config: &ContainerConfig,
        env: &mut [(String, String)],
    ) -> Result<Option<ports::Held>, StartFailure> {
        let Some((_, value)) = env.iter_mut().find(|(name, _)| name == "PORT") else {
            return Ok(None);
        };
        let Some(port) = value
            .parse()
            .ok()
            .filter(|port: &u16| config.ports.contains(port))
        else {
            return Ok(None);
        };
        let Some(address) = lock(&self.inner.pods).get(&config.pod.uid).copied() else {
            return Ok(None);
        };
        let held = ports::hold(address, port).map_err(|error| {
            StartFailure::Create(format!("hold {address}:{port} for the container: {error}"))
        })?;
        *value = held.inner.to_string();
        Ok(Some(held))
    }

    /// Signals the first process only, as an engine signals process 1 of a container; SIGKILL takes the group.
    pub fn signal(&self, id: &str, signal: StopSignal) {
        let id = id.trim_start_matches("process://");
        let running = lock(&self.inner.running);
        let Some(pid) = running.get(id) else { return };
        let _ = match signal {
            StopSignal::Terminate => kill(*pid, Signal::SIGTERM),
            StopSignal::Kill => killpg(*pid, Signal::SIGKILL),
        };
    }

    /// Ends every process of this runtime, those that left their groups too.
    pub async fn kill_all(&self) {
        for pid in lock(&self.inner.running).values() {
            let _ = killpg(*pid, Signal::SIGKILL);
        }
        for _ in 0..LAST_SWEEPS {
            let owner = self.inner.owner.clone();
            let sweep = move || leftovers::kill_marked(|one| one.owner == owner);
            let found = tokio::task::spawn_blocking(sweep).await.unwrap_or_default();
            if found == 0 && lock(&self.inner.running).is_empty() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        tracing::warn!("processes of containers are still there after SIGKILL");
    }
}

/// Takes in the output of a child to its end, and then tells the end.
async fn follow(
    inner: Arc<Inner>,
    id: String,
    mut child: Child,
    log: Arc<LogFile>,
    end_ports: oneshot::Sender<()>,
    done: oneshot::Sender<Exit>,
) {
    let mut pumps = JoinSet::new();
    if let Some(pipe) = child.stdout.take() {
        pumps.spawn(output::pump(pipe, Stream::Stdout, log.clone()));
    }
    if let Some(pipe) = child.stderr.take() {
        pumps.spawn(output::pump(pipe, Stream::Stderr, log.clone()));
    }
    let status = child.wait().await;
    let finished_at = Timestamp::now();
    let pid = lock(&inner.running).remove(&id);
    if let Some(pid) = pid {
        // A group outlives its leader; its number is not given away while anyone is in it.
        let _ = killpg(pid, Signal::SIGKILL);
    }
    drain(&inner, &id, &mut pumps).await;
    log.close();
    drop(end_ports);
    lock(&inner.ended).insert(id);
    inner.sweep.notify_one();
    let _ = done.send(exit_of(status, finished_at));
}

async fn drain(inner: &Arc<Inner>, id: &str, pumps: &mut JoinSet<()>) {
    if tokio::time::timeout(DRAIN, async { while pumps.join_next().await.is_some() {} })
        .await
        .is_ok()
    {
        return;
    }
    // Either much output is still in flight, or someone outside the group holds the pipe.
    let (owner, id) = (inner.owner.clone(), id.to_owned());
    let search = move || leftovers::kill_marked(|one| one.owner == owner && one.container == id);
    let _ = tokio::task::spawn_blocking(search).await;
    let _ = tokio::time::timeout(10 * DRAIN, async { while pumps.join_next().await.is_some() {} }).await;
    pumps.abort_all();
}

fn exit_of(status: std::io::Result<ExitStatus>, finished_at: Timestamp) -> Exit {
    let (code, signal, error) = match status {
        Ok(status) => match (status.code(), status.signal()) {
            (Some(code), _) => (code, None, None),
            (None, signal) => (128 + signal.unwrap_or(0), signal, None),
        },
        Err(error) => (
            128,
            None,
            Some(format!("the end of the process is not known: {error}")),
        ),
    };
    Exit {
        code,
        signal,
        oom_killed: false,
        error,
        finished_at,
    }
}

/// Looks for stray children of ended containers, for many containers at once.
async fn sweep(inner: std::sync::Weak<Inner>) {
    loop {
        {
            let Some(inner) = inner.upgrade() else { return };
            let waited = tokio::time::timeout(SWEEP_EVERY, inner.sweep.notified()).await;
            let ended = std::mem::take(&mut *lock(&inner.ended));
            if waited.is_ok() || !ended.is_empty() {
                let owner = inner.owner.clone();
                let search = move || {
                    leftovers::kill_marked(|one| one.owner == owner && ended.contains(&one.container))
                };
                let found = tokio::task::spawn_blocking(search).await.unwrap_or_default();
                if found > 0 {
                    tracing::debug!(found, "ended processes that had left their container's group");
                }
            }
        }
        tokio::time::sleep(SWEEP_EVERY).await;
    }
}

/// `workingDir`, or an empty folder of the container's own.
fn working_folder(config: &ContainerConfig) -> Result<PathBuf, StartFailure> {
    match config.working_dir.as_deref().filter(|text| !text.is_empty()) {
        Some(text) => {
            let folder = PathBuf::from(translate(text, &config.mounts));
            if folder.is_dir() {
                Ok(folder)
            } else {
                Err(StartFailure::Start(format!(
                    "chdir to cwd ({text:?}) failed: no such directory on this machine"
                )))
            }
        }
        None => {
            let folder = config.folder.join("work").join(&config.name);
            std::fs::create_dir_all(&folder)
                .map_err(|error| StartFailure::Create(format!("create the working folder: {error}")))?;
            Ok(folder)
        }
    }
}

/// Looks a command up as execvp does, with the sentences of runc when there is none.
fn find_program(program: &str, path: &str, folder: &Path) -> Result<PathBuf, StartFailure> {
    let executable = |file: &Path| {
        std::fs::metadata(file).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    if program.contains('/') {
        let file = folder.join(program);
        return match std::fs::metadata(&file) {
            Ok(_) if executable(&file) => Ok(file),
            Ok(_) => Err(StartFailure::Start(format!(
                "exec: {program:?}: permission denied"
            ))),
            Err(error) => Err(StartFailure::Start(format!(
                "exec: {program:?}: stat {}: {error}",
                file.display()
            ))),
        };
    }
    let found = path
        .split(':')
        .filter(|part| !part.is_empty())
        .map(|part| folder.join(part).join(program));
    found
        .into_iter()
        .find(|file| executable(file))
        .ok_or_else(|| StartFailure::Start(format!("exec: {program:?}: executable file not found in $PATH")))
}

/// Makes the folder that pods of a node live in.
pub fn prepare_folder(folder: &Path) -> Result<(), RuntimeError> {
    std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)))
        .map_err(|source| RuntimeError::Folder {
            folder: folder.to_owned(),
            source,
        })
}

#[cfg(test)]
mod tests {
    use std::{hint::black_box, os::unix::process::CommandExt as _, process::Command};

    const PAGE: usize = 4096;

    /// Pages that this thread had to get from the kernel without a disk: `minflt` of proc(5).
    fn faults() -> usize {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        fields.split(' ').nth(7).unwrap().parse().unwrap()
    }

    /// After a fork both processes share their pages, and the first write to each is a fault.
    #[test]
    fn a_start_in_another_folder_does_not_copy_this_process() {
        let mut memory = vec![1_u8; 16_384 * PAGE];
        let before = faults();
        let mut command = Command::new("true");
        command.current_dir("/").process_group(0);
        assert!(command.status().unwrap().success());
        for page in memory.chunks_mut(PAGE) {
            page[0] = black_box(2);
        }
        black_box(&memory);
        let copied = faults() - before;
        assert!(copied < 4_096, "{copied} of 16,384 pages were copied");
    }
}
