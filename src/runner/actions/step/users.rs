//! Users by name, out of the container's own files. Not through the C library: a static program has no use for its
//! name services.

use std::io;

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::{Gid, Uid, getegid, geteuid, setgid, setgroups, setuid};

/// Who a process is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct User {
    uid: u32,
    gid: u32,
    /// All groups.
    groups: Vec<u32>,
    /// Name and home, where the user has a line in `/etc/passwd`.
    entry: Option<(String, String)>,
}

/// The process cannot become what it should.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum UserError {
    #[error("the user {0:?} is not in the image's /etc/passwd: name one that is, or give a number")]
    NoUser(String),
    #[error("the group {0:?} is not in the image's /etc/group: name one that is, or give a number")]
    NoGroup(String),
    #[error("cannot become user {user:?}: the container runs as user {now}, and only root may become another ({})", errno.desc())]
    Refused { user: String, now: u32, errno: Errno },
    #[error("nofile: {wanted} open files cannot be allowed: the container's own limit is {limit} ({})", errno.desc())]
    Files { wanted: u64, limit: u64, errno: Errno },
}

impl User {
    /// The user that `text` names: `NAME`, `UID`, and either with `:GROUP` or `:GID`, as in Docker and core/v1.
    pub(super) fn find(text: &str) -> Result<Self, UserError> {
        let read = |path| match std::fs::read(path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            // An image need not have the files.
            Err(_) => String::new(),
        };
        Self::look_up(text, &read("/etc/passwd"), &read("/etc/group"))
    }

    fn look_up(text: &str, passwd: &str, group: &str) -> Result<Self, UserError> {
        let (name, named_group) = match text.split_once(':') {
            Some((name, group)) => (name, Some(group)),
            None => (text, None),
        };
        let line = passwd.lines().find_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let [login, _, uid, gid, _, home, ..] = fields[..] else {
                return None;
            };
            let (uid, gid): (u32, u32) = (uid.parse().ok()?, gid.parse().ok()?);
            let is = login == name || name.parse() == Ok(uid);
            is.then(|| (login.to_owned(), uid, gid, home.to_owned()))
        });
        let (uid, gid, entry) = match (line, name.parse()) {
            (Some((login, uid, gid, home)), _) => (uid, gid, Some((login, home))),
            // A number needs no line; its group is root's then, as container runtimes have it.
            (None, Ok(uid)) => (uid, 0, None),
            (None, Err(_)) => return Err(UserError::NoUser(name.to_owned())),
        };
        let groups = || group.lines().filter_map(group_line);
        let gid = match named_group {
            None => gid,
            Some(named) => groups()
                .find(|(name, ..)| *name == named)
                .map(|(_, gid, _)| gid)
                .or_else(|| named.parse().ok())
                .ok_or_else(|| UserError::NoGroup(named.to_owned()))?,
        };
        let mut all = vec![gid];
        if let Some((login, _)) = &entry {
            let member = |members: &str| members.split(',').any(|member| member == login);
            all.extend(
                groups()
                    .filter(|(_, _, members)| member(members))
                    .map(|(_, gid, _)| gid),
            );
        }
        all.sort_unstable();
        all.dedup();
        Ok(Self {
            uid,
            gid,
            groups: all,
            entry,
        })
    }

    /// Becomes this user, for good.
    pub(super) fn become_it(&self, text: &str) -> Result<(), UserError> {
        let groups: Vec<Gid> = self.groups.iter().copied().map(Gid::from_raw).collect();
        if geteuid().as_raw() == self.uid && getegid().as_raw() == self.gid {
            // A container need not have the right, and its runtime has given it the groups of its user.
            let _ = setgroups(&groups);
            return Ok(());
        }
        let switch = || {
            setgroups(&groups)?;
            setgid(Gid::from_raw(self.gid))?;
            setuid(Uid::from_raw(self.uid))
        };
        switch().map_err(|errno| UserError::Refused {
            user: text.to_owned(),
            now: geteuid().as_raw(),
            errno,
        })
    }

    /// Variables that tell a program who it is.
    pub(super) fn variables(&self) -> Vec<(&'static str, &str)> {
        match &self.entry {
            Some((login, home)) => vec![("HOME", home), ("USER", login), ("LOGNAME", login)],
            None => vec![("HOME", "/")],
        }
    }

    /// Makes a folder, and those above it that are missing, as this user's.
    pub(super) fn make_folder(user: Option<&Self>, path: &std::path::Path) -> io::Result<()> {
        if path.is_dir() {
            return Ok(());
        }
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            Self::make_folder(user, parent)?;
        }
        match std::fs::create_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
            other => other?,
        }
        match user {
            Some(user) => std::os::unix::fs::lchown(path, Some(user.uid), Some(user.gid)),
            None => Ok(()),
        }
    }
}

fn group_line(line: &str) -> Option<(&str, u32, &str)> {
    let fields: Vec<&str> = line.split(':').collect();
    let [name, _, gid, members, ..] = fields[..] else {
        return None;
    };
    Some((name, gid.parse().ok()?, members))
}

/// Sets the limit on open files.
pub(super) fn limit_files(wanted: u64) -> Result<(), UserError> {
    let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(_, hard)| hard);
    setrlimit(Resource::RLIMIT_NOFILE, wanted, wanted).map_err(|errno| UserError::Files {
        wanted,
        limit,
        errno,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nvcap:x:2000:2000::/home/vcap:/bin/sh\nbroken\n";
    const GROUP: &str = "root:x:0:\nvcap:x:2000:\nstaff:x:50:vcap,ann\ndisk:x:6:ann\n";

    fn found(text: &str) -> Result<(u32, u32, Vec<u32>), UserError> {
        User::look_up(text, PASSWD, GROUP).map(|user| (user.uid, user.gid, user.groups))
    }

    #[test]
    fn users_are_found_by_name_and_by_number_with_their_groups() {
        assert_eq!(found("vcap"), Ok((2000, 2000, vec![50, 2000])));
        assert_eq!(found("2000"), Ok((2000, 2000, vec![50, 2000])));
        assert_eq!(found("vcap:disk"), Ok((2000, 6, vec![6, 50])));
        assert_eq!(found("vcap:7"), Ok((2000, 7, vec![7, 50])));
        assert_eq!(found("root"), Ok((0, 0, vec![0])));
        assert_eq!(found("1234"), Ok((1234, 0, vec![0])));
    }

    #[test]
    fn users_and_groups_that_are_not_there_are_named() {
        assert_eq!(found("ann"), Err(UserError::NoUser("ann".into())));
        assert_eq!(found(""), Err(UserError::NoUser(String::new())));
        assert_eq!(found("vcap:wheel"), Err(UserError::NoGroup("wheel".into())));
        assert_eq!(found("-1"), Err(UserError::NoUser("-1".into())));
    }

    #[test]
    fn a_user_knows_name_and_home() {
        let user = User::look_up("vcap", PASSWD, GROUP).unwrap();
        assert_eq!(
            user.variables(),
            [("HOME", "/home/vcap"), ("USER", "vcap"), ("LOGNAME", "vcap")]
        );
        assert_eq!(
            User::look_up("7", PASSWD, GROUP).unwrap().variables(),
            [("HOME", "/")]
        );
    }

    proptest! {
        #[test]
        fn no_files_and_no_name_make_it_stumble(text in "\\PC{0,12}", passwd in "[a-z:0-9\n]{0,60}", group in "[a-z:,0-9\n]{0,60}") {
            let _ = User::look_up(&text, &passwd, &group);
        }
    }
}
