//! Whether the kernel killed something of this container for want of memory.

/// How many processes it has killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OomKills(Option<u64>);

/// Where a container sees its own cgroup: version 2, and version 1.
const PLACES: [&str; 2] = [
    "/sys/fs/cgroup/memory.events",
    "/sys/fs/cgroup/memory/memory.oom_control",
];

impl OomKills {
    pub(super) fn now() -> Self {
        let texts = PLACES
            .iter()
            .filter_map(|path| std::fs::read_to_string(path).ok());
        Self(texts.filter_map(|text| count(&text)).next())
    }

    /// There are more now. False where it cannot be known.
    pub(super) fn grew(self) -> bool {
        matches!((self.0, Self::now().0), (Some(before), Some(now)) if now > before)
    }
}

/// The line `oom_kill N` (Linux, "Control Group v2", memory.events).
fn count(text: &str) -> Option<u64> {
    let number = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
    number?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::count;

    #[test]
    fn kills_are_counted_in_both_versions() {
        assert_eq!(
            count("low 0\nhigh 0\nmax 3\noom 2\noom_kill 1\noom_group_kill 0\n"),
            Some(1)
        );
        assert_eq!(count("oom_kill_disable 0\nunder_oom 0\noom_kill 7\n"), Some(7));
        assert_eq!(count("oom 2\n"), None);
    }
}
