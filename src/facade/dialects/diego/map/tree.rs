//! Actions of this API as actions of a Task: the words are the same, but for what a Task leaves out where it is empty.

use super::{Unsupported, filled, is_variable, rootfs::Layer};
use crate::{
    crd::{
        Action, ActionGroup, Checksum, ChecksumAlgorithm, DownloadAction, Duration, EmitProgressAction,
        RunAction, TimeoutAction, TryAction, UploadAction, Variable,
    },
    facade::dialects::diego::{
        downgrade,
        messages::{self, CachedDependency, TaskDefinition},
    },
};

/// What holds for all actions of a task.
pub struct Tree {
    /// Names of log sources count. Without a `log_guid` logs have none.
    sources: bool,
}

impl Tree {
    /// Of this definition.
    pub fn of(definition: &TaskDefinition) -> Self {
        Self {
            sources: !definition.log_guid.is_empty(),
        }
    }

    /// The name of a log source, where names count.
    pub fn source(&self, name: &str) -> Option<String> {
        filled(name).filter(|_| self.sources)
    }

    /// All that the task does: what its file system needs is downloaded first, as cells do it; then its action.
    pub fn action(&self, definition: &TaskDefinition, layer: Option<&Layer>) -> Result<Action, Unsupported> {
        let action = self.with_downloads(definition)?;
        let Some(layer) = layer else {
            return Ok(action);
        };
        // It is part of the root file system, over which all else goes.
        Ok(Action::Serial(ActionGroup {
            actions: vec![Action::Download(over_the_root(layer)), action],
            log_source: None,
        }))
    }

    fn with_downloads(&self, definition: &TaskDefinition) -> Result<Action, Unsupported> {
        let mut first: Vec<Action> = Vec::new();
        let shared = downgrade::dependencies(&definition.image_layers);
        for dependency in shared.iter().chain(&definition.cached_dependencies) {
            first.push(Action::Download(self.dependency(dependency)?));
        }
        let user = &definition.legacy_download_user;
        for layer in downgrade::downloads(&definition.image_layers, user) {
            first.push(self.one(&layer)?);
        }
        // Its absence was found before.
        let none = messages::Action::default();
        let own = self.one(definition.action.as_ref().unwrap_or(&none))?;
        if first.is_empty() {
            return Ok(own);
        }
        let first = Action::Parallel(ActionGroup {
            actions: first,
            log_source: None,
        });
        Ok(Action::Serial(ActionGroup {
            actions: vec![first, own],
            log_source: None,
        }))
    }

    /// Cells mount these read-only from their cache; here they are unpacked where they would be.
    fn dependency(&self, dependency: &CachedDependency) -> Result<DownloadAction, Unsupported> {
        Ok(DownloadAction {
            from: dependency.from.clone(),
            to: dependency.to.clone(),
            artifact: filled(&dependency.name),
            user: None,
            checksum: checksum(
                &dependency.from,
                &dependency.checksum_algorithm,
                &dependency.checksum_value,
            )?,
            cache_key: filled(&dependency.cache_key),
            log_source: self.source(&dependency.log_source),
        })
    }

    /// One action. They come decoded, and so at most some fifty deep.
    fn one(&self, action: &messages::Action) -> Result<Action, Unsupported> {
        let child = |child: &Option<Box<messages::Action>>| {
            let none = messages::Action::default();
            self.one(child.as_deref().unwrap_or(&none)).map(Box::new)
        };
        if let Some(download) = &action.download {
            return self.download(download).map(Action::Download);
        }
        if let Some(upload) = &action.upload {
            return Ok(Action::Upload(UploadAction {
                from: upload.from.clone(),
                to: upload.to.clone(),
                artifact: filled(&upload.artifact),
                user: filled(&upload.user),
                log_source: self.source(&upload.log_source),
            }));
        }
        if let Some(run) = &action.run {
            return self.run(run).map(Action::Run);
        }
        if let Some(timeout) = &action.timeout {
            return Ok(Action::Timeout(TimeoutAction {
                after: Duration::from_millis(timeout.timeout_ms.unsigned_abs()),
                action: child(&timeout.action)?,
                log_source: self.source(&timeout.log_source),
            }));
        }
        if let Some(progress) = &action.emit_progress {
            return Ok(Action::EmitProgress(EmitProgressAction {
                action: child(&progress.action)?,
                start_message: filled(&progress.start_message),
                success_message: filled(&progress.success_message),
                failure_message_prefix: filled(&progress.failure_message_prefix),
                log_source: self.source(&progress.log_source),
            }));
        }
        if let Some(attempt) = &action.try_ {
            return Ok(Action::Try(TryAction {
                action: child(&attempt.action)?,
                log_source: self.source(&attempt.log_source),
            }));
        }
        if let Some(parallel) = &action.parallel {
            return self
                .group(&parallel.actions, &parallel.log_source)
                .map(Action::Parallel);
        }
        if let Some(codependent) = &action.codependent
            && action.serial.is_none()
        {
            return self
                .group(&codependent.actions, &codependent.log_source)
                .map(Action::Codependent);
        }
        // What is none of these was refused before.
        let serial = action.serial.as_deref().cloned().unwrap_or_default();
        self.group(&serial.actions, &serial.log_source)
            .map(Action::Serial)
    }

    fn download(&self, download: &messages::DownloadAction) -> Result<DownloadAction, Unsupported> {
        Ok(DownloadAction {
            from: download.from.clone(),
            to: download.to.clone(),
            artifact: filled(&download.artifact),
            user: filled(&download.user),
            checksum: checksum(
                &download.from,
                &download.checksum_algorithm,
                &download.checksum_value,
            )?,
            cache_key: filled(&download.cache_key),
            log_source: self.source(&download.log_source),
        })
    }

    fn run(&self, run: &messages::RunAction) -> Result<RunAction, Unsupported> {
        for variable in &run.env {
            is_variable(variable)?;
        }
        let env = run.env.iter().map(|variable| Variable {
            name: variable.name.clone(),
            value: variable.value.clone(),
        });
        Ok(RunAction {
            path: run.path.clone(),
            args: run.args.clone(),
            dir: filled(&run.dir),
            env: env.collect(),
            user: filled(&run.user),
            nofile: run.resource_limits.and_then(|limits| limits.nofile),
            log_source: self.source(&run.log_source),
            suppress_log_output: run.suppress_log_output,
        })
    }

    fn group(&self, actions: &[messages::Action], source: &str) -> Result<ActionGroup, Unsupported> {
        Ok(ActionGroup {
            actions: actions
                .iter()
                .map(|action| self.one(action))
                .collect::<Result<_, _>>()?,
            log_source: self.source(source),
        })
    }
}

/// As the user that the container runs as: cells unpack layers before there are users.
fn over_the_root(layer: &Layer) -> DownloadAction {
    let checksum = (!layer.digest.is_empty()).then(|| Checksum {
        algorithm: ChecksumAlgorithm::Sha256,
        value: layer.digest.clone(),
    });
    DownloadAction {
        from: layer.from.clone(),
        to: layer.to.clone(),
        checksum,
        ..DownloadAction::default()
    }
}

fn checksum(from: &str, algorithm: &str, value: &str) -> Result<Option<Checksum>, Unsupported> {
    let algorithm = match algorithm.to_ascii_lowercase().as_str() {
        "" => return Ok(None),
        "md5" => ChecksumAlgorithm::Md5,
        "sha1" => ChecksumAlgorithm::Sha1,
        "sha256" => ChecksumAlgorithm::Sha256,
        "sha512" => ChecksumAlgorithm::Sha512,
        _ => return Err(Unsupported::Digest(from.to_owned())),
    };
    Ok(Some(Checksum {
        algorithm,
        value: value.to_owned(),
    }))
}
