//! A tree of actions, laid out flat: each node knows its place, and log sources are handed down. Pure.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::crd::{Action, DownloadAction, RunAction, UploadAction};

/// A node's place in its tree.
pub(super) type Id = usize;

/// A tree; the root is node 0.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) nodes: Vec<Node>,
}

/// One action.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) parent: Option<Id>,
    pub(super) kind: Kind,
    /// Name of the log's source, where there is one.
    pub(super) source: Option<String>,
}

/// What an action does.
#[derive(Debug)]
pub(super) enum Kind {
    Work(Work),
    Serial(Vec<Id>),
    Parallel(Vec<Id>),
    Codependent(Vec<Id>),
    Timeout(Duration, Id),
    Try(Id),
    EmitProgress(Words, Id),
}

/// An action that has no others in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Work {
    Run(RunAction),
    Download(DownloadAction),
    Upload(UploadAction),
}

/// What `emitProgress` says.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Words {
    pub(super) start: Option<String>,
    pub(super) success: Option<String>,
    pub(super) failure: Option<String>,
}

impl Tree {
    /// `source` is the name of the log's source where an action gives none and inherits none.
    pub(super) fn new(action: Action, source: Option<String>) -> Self {
        let mut tree = Self { nodes: Vec::new() };
        let mut ahead = vec![(action, None, source)];
        while let Some((action, parent, source)) = ahead.pop() {
            let id = tree.nodes.len();
            let (kind, own, inherited, inner) = take_apart(action, &source);
            tree.nodes.push(Node {
                parent,
                kind,
                source: own,
            });
            if let Some(parent) = parent {
                tree.adopt(parent, id);
            }
            // The last is taken first, so the children come in order.
            ahead.extend(
                inner
                    .into_iter()
                    .rev()
                    .map(|action| (action, Some(id), inherited.clone())),
            );
        }
        tree
    }

    fn adopt(&mut self, parent: Id, child: Id) {
        match self.nodes.get_mut(parent).map(|node| &mut node.kind) {
            Some(Kind::Serial(children) | Kind::Parallel(children) | Kind::Codependent(children)) => {
                children.push(child);
            }
            Some(Kind::Timeout(_, inner) | Kind::Try(inner) | Kind::EmitProgress(_, inner)) => *inner = child,
            Some(Kind::Work(_)) | None => {}
        }
    }

    /// The children of a node, in order.
    pub(super) fn children(&self, id: Id) -> &[Id] {
        match self.nodes.get(id).map(|node| &node.kind) {
            Some(Kind::Serial(children) | Kind::Parallel(children) | Kind::Codependent(children)) => children,
            Some(Kind::Timeout(_, inner) | Kind::Try(inner) | Kind::EmitProgress(_, inner)) => {
                std::slice::from_ref(inner)
            }
            Some(Kind::Work(_)) | None => &[],
        }
    }
}

/// A node without its children, its own source, the source that its children inherit, and the children.
///
/// As Diego's transformer does it: serial and emitProgress do not hand on what they name.
fn take_apart(
    action: Action,
    source: &Option<String>,
) -> (Kind, Option<String>, Option<String>, Vec<Action>) {
    let or = |own: Option<String>| own.or_else(|| source.clone());
    let work = |work, own: Option<String>| (Kind::Work(work), or(own), None, Vec::new());
    match action {
        Action::Run(run) => {
            let own = run.log_source.clone();
            work(Work::Run(run), own)
        }
        Action::Download(download) => {
            let own = download.log_source.clone();
            work(Work::Download(download), own)
        }
        Action::Upload(upload) => {
            let own = upload.log_source.clone();
            work(Work::Upload(upload), own)
        }
        Action::Serial(group) => (Kind::Serial(Vec::new()), None, source.clone(), group.actions),
        Action::Parallel(group) => {
            let source = or(group.log_source);
            (Kind::Parallel(Vec::new()), None, source, group.actions)
        }
        Action::Codependent(group) => {
            let source = or(group.log_source);
            (Kind::Codependent(Vec::new()), None, source, group.actions)
        }
        Action::Timeout(timeout) => {
            let source = or(timeout.log_source);
            (
                Kind::Timeout(timeout.after.get(), 0),
                None,
                source,
                vec![*timeout.action],
            )
        }
        Action::Try(attempt) => (Kind::Try(0), None, or(attempt.log_source), vec![*attempt.action]),
        Action::EmitProgress(emit) => {
            let words = Words {
                start: emit.start_message,
                success: emit.success_message,
                failure: emit.failure_message_prefix,
            };
            let own = or(emit.log_source);
            (
                Kind::EmitProgress(words, 0),
                own,
                source.clone(),
                vec![*emit.action],
            )
        }
    }
}
