//! Finding processes by the mark in their environment.
//!
//! Every child of the node carries a variable that names its container and the node that started it, and
//! its own children inherit it, also those that left the process group. A program that clears its
//! environment and leaves its group escapes; nothing short of a cgroup would hold it.

use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The variable.
pub const MARK: &str = "LOCAL_NODE_CONTAINER";

/// Who started a process: a pid namespace, a process in it with its start time, and one runtime within it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    namespace: String,
    pid: u32,
    started: u64,
    instance: String,
}

impl Owner {
    /// This process, with a fresh instance.
    pub fn here() -> Self {
        let pid = std::process::id();
        Self {
            namespace: pid_namespace("self").unwrap_or_default(),
            pid,
            started: start_time(pid).unwrap_or(0),
            instance: uuid::Uuid::new_v4().simple().to_string(),
        }
    }

    /// The value of the mark for one container.
    pub fn mark(&self, container: &str) -> String {
        format!(
            "{} {} {} {} {container}",
            self.namespace, self.pid, self.started, self.instance
        )
    }

    fn lives(&self) -> bool {
        start_time(self.pid) == Some(self.started)
    }
}

/// A marked process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marked {
    pub pid: i32,
    pub owner: Owner,
    pub container: String,
}

/// Reads a mark; `pid` is only passed on.
pub fn parse(pid: i32, value: &str) -> Option<Marked> {
    let mut parts = value.splitn(5, ' ');
    let owner = Owner {
        namespace: parts.next()?.to_owned(),
        pid: parts.next()?.parse().ok()?,
        started: parts.next()?.parse().ok()?,
        instance: parts.next()?.to_owned(),
    };
    Some(Marked {
        pid,
        owner,
        container: parts.next()?.to_owned(),
    })
}

/// `pid:[4026531836]` without blanks, as the kernel names it.
fn pid_namespace(pid: &str) -> Option<String> {
    fs::read_link(format!("/proc/{pid}/ns/pid"))
        .ok()
        .map(|link| link.to_string_lossy().into_owned())
}

/// Clock ticks since boot at which a process began: field 22 of `/proc/PID/stat`, counted behind the command's
/// closing parenthesis, since the command may hold blanks.
fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

/// Every marked process that may be read. Blocking; reads one small file per process of the machine.
pub fn marked() -> Vec<Marked> {
    let prefix = format!("{MARK}=");
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(|pid| {
        let environ = fs::read(format!("/proc/{pid}/environ")).ok()?;
        let mut variables = environ.split(|byte| *byte == 0);
        let value = variables.find_map(|variable| variable.strip_prefix(prefix.as_bytes()))?;
        parse(pid, std::str::from_utf8(value).ok()?)
    })
    .collect()
}

/// SIGKILL to every marked process that `which` picks; how many there were. Blocking.
pub fn kill_marked(which: impl Fn(&Marked) -> bool) -> usize {
    let victims: Vec<Marked> = marked().into_iter().filter(|one| which(one)).collect();
    for victim in &victims {
        let _ = kill(Pid::from_raw(victim.pid), Signal::SIGKILL);
    }
    victims.len()
}

/// Whether a process was left by a node that is dead now. One in another pid namespace cannot be judged
/// from here and is left alone.
pub fn is_leftover(one: &Marked) -> bool {
    !one.owner.lives() && Some(&one.owner.namespace) == pid_namespace("self").as_ref()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_mark_tells_its_owner_and_container() {
        let owner = Owner::here();
        let parsed = parse(7, &owner.mark("uid_task name_0"));
        assert_eq!(
            parsed,
            Some(Marked {
                pid: 7,
                owner: owner.clone(),
                container: "uid_task name_0".to_owned()
            })
        );
        assert!(owner.lives());
        assert!(
            !Owner {
                started: owner.started + 1,
                ..owner
            }
            .lives()
        );
        for text in ["", "a b c d e", "a 1 2 3"] {
            assert_eq!(parse(7, text), None, "{text}");
        }
    }

    #[test]
    fn processes_of_a_dead_node_are_found_and_ended() {
        let dead = Owner {
            started: 1,
            ..Owner::here()
        };
        let mark = dead.mark("leftover");
        let mut child = Command::new("sleep")
            .arg("60")
            .env(MARK, &mark)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        assert_eq!(kill_marked(|one| is_leftover(one) && one.owner == dead), 1);
        assert!(!child.wait().unwrap().success());
    }
}
