//! Whatever bytes come: they are refused, or become a task that is shown as it was sent.

use prost::Message as _;
use serde_json::Value;

use super::{
    downgrade::{dependencies, downloads, without_layers},
    fields::put,
    map::{self, Wanted},
    messages::{
        self, Action, CompleteTaskRequest, DesireTaskRequest, FailTaskRequest, ParallelAction,
        RejectTaskRequest, SerialAction, StartTaskRequest, State, TaskDefinition, TaskGuidRequest,
        TasksRequest, UpsertDomainRequest,
    },
    names,
    settings::Settings,
    tasks::older,
    transit, validate, view,
    wire::FromWire as _,
};
use crate::{
    crd::{ReportedEnd, Task},
    fuzz,
};

/// The ways in which an operator can have tasks run.
fn settings() -> [Settings; 3] {
    let stacks = [("s".to_owned(), "image".to_owned())].into();
    let pods = Settings {
        stacks,
        ..Settings::default()
    };
    let closed = Settings {
        egress: true,
        ..pods.clone()
    };
    let cells = Settings {
        cells: true,
        ..Settings::default()
    };
    [pods, closed, cells]
}

/// Reads a request, and all that follows where it is a task.
fn desire(bytes: &[u8]) {
    let Ok(request) = DesireTaskRequest::from_wire(bytes) else {
        return;
    };
    let Some(sent) = &request.task_definition else {
        return;
    };
    let Ok(definition) = TaskDefinition::decode(&**sent) else {
        return;
    };
    // Whatever else is wrong with it, every client that reads it back can.
    assert_eq!(
        TaskDefinition::decode(&*without_layers(sent).unwrap()),
        Ok(of_older_clients(&definition))
    );
    if validate::desire(&request.task_guid, &request.domain, Some(&definition)).is_err() {
        return;
    }
    for settings in settings() {
        let wanted = Wanted {
            guid: &request.task_guid,
            domain: &request.domain,
            bytes: sent,
            definition: &definition,
            hidden: None,
        };
        if let Ok(task) = map::task(&wanted, &settings) {
            comes_back(&request, stored(task));
        }
    }
}

/// The Task as the API server hands it out again.
fn stored(mut task: Task) -> Task {
    task.metadata.creation_timestamp = Some(serde_json::from_str("\"2026-01-01T00:00:00Z\"").unwrap());
    let text = serde_json::to_string(&task).unwrap();
    let read: Task = serde_json::from_str(&text).unwrap();
    assert_eq!(
        serde_json::to_value(&read).unwrap(),
        serde_json::from_str::<Value>(&text).unwrap()
    );
    read
}

fn comes_back(request: &DesireTaskRequest, task: Task) {
    let shown = view::task(&task, &view::Origin::default());
    let created = 1_767_225_600_000_000_000;
    let wanted = messages::Task {
        task_definition: request.task_definition.clone(),
        task_guid: request.task_guid.clone(),
        domain: request.domain.clone(),
        created_at: created,
        updated_at: created,
        state: State::Pending.into(),
        ..messages::Task::default()
    };
    assert_eq!(shown, wanted);
    assert_eq!(messages::Task::decode(&*shown.encode_to_vec()), Ok(wanted));
    assert!(older(shown).is_ok());
    if let Some(actions) = &task.spec.actions {
        let tree = crate::crd::Action::read(&actions.action).unwrap();
        assert_eq!(tree.to_map(), actions.action);
    }
}

/// What clients see who know no layers.
fn of_older_clients(definition: &TaskDefinition) -> TaskDefinition {
    let mut older = definition.clone();
    let layers = std::mem::take(&mut older.image_layers);
    older.cached_dependencies.splice(..0, dependencies(&layers));
    let downloads = downloads(&layers, &definition.legacy_download_user);
    if !downloads.is_empty() {
        let parallel = Action {
            parallel: Some(Box::new(ParallelAction {
                actions: downloads,
                log_source: String::new(),
            })),
            ..Action::default()
        };
        older.action = Some(match older.action.take() {
            None => parallel,
            Some(then) => Action {
                serial: Some(Box::new(SerialAction {
                    actions: vec![parallel, then],
                    log_source: String::new(),
                })),
                ..Action::default()
            },
        });
    }
    older
}

/// Reads the bytes as each of the other requests, and decides about a task that is there.
fn other_requests(bytes: &[u8]) {
    let _ = TasksRequest::from_wire(bytes);
    let _ = UpsertDomainRequest::from_wire(bytes).map(|request| validate::upsert(&request));
    let _ = TaskGuidRequest::from_wire(bytes).map(|request| validate::named(&request));
    let mut task = waiting();
    if let Ok(request) = StartTaskRequest::from_wire(bytes)
        && validate::start(&request).is_ok()
    {
        let Ok(transit::Start::Granted(write)) = transit::start(&task, &request.cell_id, 1) else {
            panic!("a task that waits may be started")
        };
        mark(&mut task, &write);
        let standing = view::standing(&task);
        assert_eq!((standing.state, standing.cell), (State::Running, request.cell_id));
    }
    if let Ok(request) = RejectTaskRequest::from_wire(bytes)
        && validate::reject(&request).is_ok()
        && let Ok(rejected) = transit::reject(&task, &request.rejection_reason, 1, 2)
    {
        mark(&mut task, &rejected.write);
        let reason = names::stored(&request.rejection_reason);
        assert!(reason.len() <= 1024);
        assert_eq!(names::marks(&task).rejection_reason, Some(reason));
    }
    if let Ok(request) = CompleteTaskRequest::from_wire(bytes)
        && validate::complete(&request).is_ok()
        && let Ok(end) = transit::complete(&task, &request)
    {
        let shown = ended(&task, end);
        assert_eq!((shown.failed, &shown.result), (request.failed, &request.result));
    }
    if let Ok(request) = FailTaskRequest::from_wire(bytes)
        && validate::fail(&request).is_ok()
    {
        let end = transit::fail(&task, &request.failure_reason).unwrap();
        let shown = ended(&task, end);
        assert_eq!(shown.failure_reason, names::stored(&request.failure_reason));
    }
}

/// A task that waits for a cell.
fn waiting() -> Task {
    let wanted = Wanted {
        guid: "g",
        domain: "d",
        bytes: b"",
        definition: &TaskDefinition::default(),
        hidden: None,
    };
    let [_, _, cells] = settings();
    stored(map::task(&wanted, &cells).unwrap())
}

fn mark(task: &mut Task, write: &transit::Write) {
    let annotations = task.metadata.annotations.get_or_insert_default();
    annotations.insert(names::MARKS.to_owned(), write.marks.to_text());
}

fn ended(task: &Task, end: ReportedEnd) -> messages::Task {
    let mut task = task.clone();
    task.status.get_or_insert_default().reported_end = Some(end);
    let shown = view::task(&stored(task), &view::Origin::default());
    assert_eq!(shown.state(), State::Completed);
    shown
}

/// Bytes as a message, so that most of them are one. A byte says what follows: its lowest five bits are the number of a
/// field, the three highest its kind.
fn message(bytes: &[u8]) -> Vec<u8> {
    let mut rest = bytes.iter().copied();
    // Messages that are open, the innermost last, each with the number of its field in the one around it.
    let mut open: Vec<(u32, Vec<u8>)> = vec![(0, Vec::new())];
    while let Some(head) = rest.next() {
        let number = u32::from(head & 0x1f).max(1);
        let mut argument = || rest.next().unwrap_or_default();
        let (_, content) = open.last_mut().unwrap();
        match head >> 5 {
            0 => prost::encoding::uint64::encode(number, &u64::from(argument()), content),
            1 => prost::encoding::int64::encode(number, &-i64::from(argument()), content),
            2 | 3 => {
                let length = usize::from(argument());
                let text: Vec<u8> = rest.by_ref().take(length).collect();
                put(content, number, &text);
            }
            4 | 5 => open.push((number, Vec::new())),
            // As it comes: numbers of other sizes, groups, nonsense.
            6 => content.push(argument()),
            _ => close(&mut open),
        }
    }
    while open.len() > 1 {
        close(&mut open);
    }
    open.swap_remove(0).1
}

fn close(open: &mut Vec<(u32, Vec<u8>)>) {
    if open.len() > 1
        && let (Some((number, content)), Some((_, around))) = (open.pop(), open.last_mut())
    {
        put(around, number, &content);
    }
}

fn request(definition: &[u8]) -> Vec<u8> {
    let mut request = Vec::new();
    put(&mut request, 1, definition);
    put(&mut request, 2, b"Some_guid");
    put(&mut request, 3, b"domain");
    request
}

#[test]
fn diego_request() {
    fuzz::check("diego_request", |bytes| {
        desire(bytes);
        other_requests(bytes);
    });
}

#[test]
fn diego_definition() {
    fuzz::check("diego_definition", |bytes| desire(&request(&message(bytes))));
}

/// On a thread with the stack of those that serve requests.
#[test]
fn however_deep_actions_are_nested_the_stack_holds() {
    let mut run = Vec::new();
    put(&mut run, 1, b"sh");
    put(&mut run, 6, b"root");
    for depth in [30, 49, 50, 100, 10_000] {
        let mut action = Vec::new();
        put(&mut action, 3, &run);
        for _ in 0..depth {
            let mut group = Vec::new();
            put(&mut group, 1, &action);
            action.clear();
            put(&mut action, 8, &group);
        }
        let mut definition = Vec::new();
        put(&mut definition, 1, b"docker:///busybox");
        put(&mut definition, 3, &action);
        desire(&request(&definition));
    }
}
