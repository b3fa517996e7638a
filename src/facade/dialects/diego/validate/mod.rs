//! What the real server finds wrong with requests, with its words (`Validate` in `bbs/models/*.go`). Pure.
//!
//! A problem is the text that the client gets; several are joined with a comma, in the order in which the real server
//! looks.

mod actions;
mod egress;
mod url;

use self::{actions::checksum, url::has_scheme};
use super::{
    failure::{Failure, bad_request, invalid},
    messages::{
        CachedDependency, CompleteTaskRequest, FailTaskRequest, ImageLayer, LayerType, MediaType,
        RejectTaskRequest, StartTaskRequest, TaskDefinition, TaskGuidRequest, UpsertDomainRequest,
    },
};

/// Most bytes of an annotation.
const MAX_ANNOTATION: usize = 10 * 1024;
/// Most characters of a guid, a domain and the id of a cell: what the columns of the real server's tables hold.
const MAX_ID: usize = 255;

/// Most problems that are told: a request has room for a hundred thousand.
const MOST: usize = 100;

/// Problems found so far.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Problems(Vec<String>);

impl Problems {
    /// Something else than a field.
    fn say(&mut self, text: &str) {
        self.extend([text.to_owned()]);
    }

    /// A field is wrong.
    fn field(&mut self, name: &str) {
        self.extend([format!("Invalid field: {name}")]);
    }

    fn extend(&mut self, texts: impl IntoIterator<Item = String>) {
        let room = MOST.saturating_sub(self.0.len());
        self.0.extend(texts.into_iter().take(room));
    }

    fn field_if(&mut self, wrong: bool, name: &str) {
        if wrong {
            self.field(name);
        }
    }

    /// What is wrong within a field, after the field itself.
    fn within(&mut self, name: &str, inner: Self) {
        if !inner.0.is_empty() {
            self.field(name);
            self.extend(inner.0);
        }
    }

    /// Nothing is wrong, or the error that says what.
    fn settle(self) -> Result<(), Failure> {
        match self.0.is_empty() {
            true => Ok(()),
            false => Err(invalid(self.0.join(", "))),
        }
    }
}

/// A task that is to be made.
///
/// # Errors
/// What is wrong with it.
pub fn desire(guid: &str, domain: &str, definition: Option<&TaskDefinition>) -> Result<(), Failure> {
    let mut problems = Problems::default();
    problems.field_if(!is_guid(guid), "task_guid");
    problems.field_if(domain.is_empty(), "domain");
    match definition {
        None => problems.field("task_definition"),
        Some(definition) => self::definition(&mut problems, definition),
    }
    problems.settle()?;
    fits([guid, domain])
}

/// `tasks/start`
///
/// # Errors
/// What is wrong with it.
pub fn start(request: &StartTaskRequest) -> Result<(), Failure> {
    placed(&request.task_guid, &request.cell_id)
}

/// `tasks/complete`
///
/// # Errors
/// What is wrong with it.
pub fn complete(request: &CompleteTaskRequest) -> Result<(), Failure> {
    placed(&request.task_guid, &request.cell_id)
}

fn placed(guid: &str, cell: &str) -> Result<(), Failure> {
    let mut problems = Problems::default();
    problems.field_if(!is_guid(guid), "task_guid");
    problems.field_if(cell.is_empty(), "cell_id");
    problems.settle()?;
    fits([guid, cell])
}

/// `tasks/fail`
///
/// # Errors
/// What is wrong with it.
pub fn fail(request: &FailTaskRequest) -> Result<(), Failure> {
    explained(&request.task_guid, &request.failure_reason)
}

/// `tasks/reject`. The real server calls its reason by the name that it has in `tasks/fail`.
///
/// # Errors
/// What is wrong with it.
pub fn reject(request: &RejectTaskRequest) -> Result<(), Failure> {
    explained(&request.task_guid, &request.rejection_reason)
}

fn explained(guid: &str, reason: &str) -> Result<(), Failure> {
    let mut problems = Problems::default();
    problems.field_if(!is_guid(guid), "task_guid");
    problems.field_if(reason.is_empty(), "failure_reason");
    problems.settle()
}

/// Calls that name a task and nothing else.
///
/// # Errors
/// The name is missing.
pub fn named(request: &TaskGuidRequest) -> Result<(), Failure> {
    let mut problems = Problems::default();
    problems.field_if(request.task_guid.is_empty(), "task_guid");
    problems.settle()
}

/// `domains/upsert`
///
/// # Errors
/// What is wrong with it.
pub fn upsert(request: &UpsertDomainRequest) -> Result<(), Failure> {
    let mut problems = Problems::default();
    problems.field_if(request.domain.is_empty(), "domain");
    problems.settle()?;
    fits([request.domain.as_str(), ""])
}

fn is_guid(guid: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    !guid.is_empty() && guid.bytes().all(legal)
}

/// The real server's database refuses longer ones, and the client is told no more than this.
fn fits(ids: [&str; 2]) -> Result<(), Failure> {
    match ids.iter().all(|id| id.chars().count() <= MAX_ID) {
        true => Ok(()),
        false => Err(bad_request()),
    }
}

fn definition(problems: &mut Problems, definition: &TaskDefinition) {
    problems.field_if(!has_scheme(&definition.root_fs), "rootfs");
    match &definition.action {
        None => problems.say("invalid action type"),
        Some(action) => {
            let mut inner = Problems::default();
            actions::action(&mut inner, action);
            problems.within("action", inner);
        }
    }
    problems.field_if(definition.memory_mb < 0, "memory_mb");
    problems.field_if(definition.disk_mb < 0, "disk_mb");
    let rate = definition.log_rate_limit.map(|limit| limit.bytes_per_second);
    problems.field_if(rate.is_some_and(|rate| rate < -1), "log_rate_limit");
    problems.field_if(definition.max_pids < 0, "max_pids");
    problems.field_if(definition.annotation.len() > MAX_ANNOTATION, "annotation");
    for rule in &definition.egress_rules {
        problems.field_if(!egress::is_valid(rule), "egress_rules");
    }
    let (user, password) = (&definition.image_username, &definition.image_password);
    problems.field_if(user.is_empty() && !password.is_empty(), "image_username");
    problems.field_if(!user.is_empty() && password.is_empty(), "image_password");
    for dependency in &definition.cached_dependencies {
        problems.within("cached_dependency", cached(dependency));
    }
    for layer in &definition.image_layers {
        problems.within("image_layer", self::layer(layer));
    }
    let exclusive = |layer: &ImageLayer| layer.layer_type() == LayerType::Exclusive;
    problems.field_if(
        definition.image_layers.iter().any(exclusive) && definition.legacy_download_user.is_empty(),
        "legacy_download_user",
    );
}

fn cached(dependency: &CachedDependency) -> Problems {
    let mut problems = Problems::default();
    problems.field_if(dependency.from.is_empty(), "from");
    problems.field_if(dependency.to.is_empty(), "to");
    checksum(
        &mut problems,
        &dependency.checksum_algorithm,
        &dependency.checksum_value,
    );
    problems
}

fn layer(layer: &ImageLayer) -> Problems {
    let mut problems = Problems::default();
    let exclusive = layer.layer_type() == LayerType::Exclusive;
    let (algorithm, value) = (layer.digest_algorithm != 0, !layer.digest_value.is_empty());
    problems.field_if(layer.url.is_empty(), "url");
    problems.field_if(layer.destination_path.is_empty(), "destination_path");
    // Also what is no type at all.
    problems.field_if(layer.layer_type() == LayerType::Invalid, "layer_type");
    problems.field_if(layer.media_type() == MediaType::Invalid, "media_type");
    problems.field_if((value || exclusive) && !algorithm, "digest_algorithm");
    problems.field_if((algorithm || exclusive) && !value, "digest_value");
    problems.field_if(value && layer.algorithm().is_empty(), "digest_algorithm");
    problems
}

#[cfg(test)]
mod tests;
