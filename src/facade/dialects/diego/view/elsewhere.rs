//! Tasks that were made elsewhere, described as if they had been desired here.

use crate::{
    crd::{Container, FunctionSpec, Task},
    facade::dialects::diego::{
        messages::{Action, EnvironmentVariable, RunAction, TaskDefinition},
        quantity,
    },
};

/// What a Task's own object does not tell.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// The Function that it runs, where that is another object.
    pub function: Option<FunctionSpec>,
    /// Its whole definition, where a part of it is sealed and the reader may see that.
    pub definition: Option<Vec<u8>>,
}

/// A definition that tells what the Task runs and needs.
pub fn definition(task: &Task, origin: &Origin) -> TaskDefinition {
    let spec = &task.spec;
    let function = spec.function.as_ref().or(origin.function.as_ref());
    let actions = spec.actions.as_ref().map(|actions| &actions.container);
    let container = function.map(|function| &function.container).or(actions);
    let capabilities = spec
        .capabilities
        .as_ref()
        .or_else(|| function.and_then(|function| function.capabilities.as_ref()));
    let megabytes = |quantity: Option<&crate::crd::Quantity>| {
        quantity.map_or(0, |quantity| quantity::mebibytes(&quantity.0))
    };
    let variables = container.map(|container| &container.env).into_iter().flatten();
    TaskDefinition {
        root_fs: match (container, &spec.external) {
            (Some(container), _) => rootfs(&container.image),
            (None, Some(external)) => format!("external:{}", external.processor),
            (None, None) => {
                let function = spec.function_ref.as_ref();
                format!("function:{}", function.map_or("", |function| &function.name))
            }
        },
        environment_variables: variables
            .chain(&spec.env)
            .filter_map(|variable| {
                Some(EnvironmentVariable {
                    name: variable.name.clone(),
                    value: variable.value.clone()?,
                })
            })
            .collect(),
        action: Some(Action {
            run: Some(Box::new(command(task, container))),
            ..Action::default()
        }),
        memory_mb: megabytes(capabilities.and_then(|needs| needs.memory.as_ref())),
        disk_mb: megabytes(capabilities.and_then(|needs| needs.ephemeral_storage.as_ref())),
        privileged: capabilities.is_some_and(|needs| needs.privileged == Some(true)),
        annotation: spec.annotation.clone().unwrap_or_default(),
        ..TaskDefinition::default()
    }
}

/// The command, as far as it is known: an image may bring its own.
fn command(task: &Task, container: Option<&Container>) -> RunAction {
    let input = task.spec.input.as_ref();
    let words = container
        .map(|container| container.command.iter().chain(&container.args))
        .into_iter()
        .flatten()
        .chain(input.map(|input| &input.args).into_iter().flatten());
    let mut words = words.cloned();
    RunAction {
        path: words.next().unwrap_or_default(),
        args: words.collect(),
        dir: container
            .and_then(|container| container.working_dir.clone())
            .unwrap_or_default(),
        ..RunAction::default()
    }
}

/// An image as a root file system: `docker://[HOST]/PATH[#TAG]`.
fn rootfs(image: &str) -> String {
    let (host, path) = match image.split_once('/') {
        // As Docker tells registries from folders of its own hub.
        Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => (host, path),
        _ => ("", image),
    };
    let host = if host == "docker.io" { "" } else { host };
    let (path, tag) = match path.rsplit_once(':') {
        Some((path, tag)) if !path.contains('@') => (path, format!("#{tag}")),
        _ => (path, String::new()),
    };
    format!("docker://{host}/{path}{tag}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_told_as_a_root_file_system() {
        for (image, wanted) in [
            ("busybox", "docker:///busybox"),
            ("busybox:1.36", "docker:///busybox#1.36"),
            ("docker.io/library/busybox:1", "docker:///library/busybox#1"),
            (
                "registry.example.com:5000/a/b:x",
                "docker://registry.example.com:5000/a/b#x",
            ),
            ("a/b@sha256:ab", "docker:///a/b@sha256:ab"),
        ] {
            assert_eq!(rootfs(image), wanted, "{image}");
        }
    }
}
