//! The bytes of messages as protoc makes them from the real definitions.

use prost::Message as _;

use super::*;
use crate::facade::dialects::diego::fields::put;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn messages_have_the_bytes_that_protoc_makes() {
    let ping = PingResponse { available: true };
    assert_eq!(hex(&ping.encode_to_vec()), "0801");
    let guid = TaskGuidRequest {
        task_guid: "g".into(),
    };
    assert_eq!(hex(&guid.encode_to_vec()), "0a0167");
    let start = StartTaskResponse {
        error: None,
        should_start: true,
    };
    assert_eq!(hex(&start.encode_to_vec()), "1001");
    let upsert = UpsertDomainRequest {
        domain: "d".into(),
        ttl: 60,
    };
    assert_eq!(hex(&upsert.encode_to_vec()), "0a0164103c");
}

#[test]
fn ports_of_a_rule_are_written_one_by_one_and_read_in_both_forms() {
    let rule = SecurityGroupRule {
        protocol: "udp".into(),
        destinations: vec!["8.8.0.0/16".into()],
        ports: vec![53, 54],
        ..SecurityGroupRule::default()
    };
    let bytes = rule.encode_to_vec();
    assert_eq!(hex(&bytes), "0a03756470120a382e382e302e302f313618351836");
    let mut packed = bytes[..17].to_vec();
    packed.extend_from_slice(&[0x1a, 2, 53, 54]);
    assert_eq!(SecurityGroupRule::decode(&*packed).unwrap(), rule);
}

/// The request of the reference: as its bytes and as what they say.
pub fn desire() -> (&'static str, TaskDefinition) {
    let bytes = "0a310a13646f636b65723a2f2f2f62757379626f7823311a181a160a02736812022d631204747275652a003204726f6f7428401201671a0164";
    let run = RunAction {
        path: "sh".into(),
        args: vec!["-c".into(), "true".into()],
        user: "root".into(),
        resource_limits: Some(ResourceLimits::default()),
        ..RunAction::default()
    };
    let definition = TaskDefinition {
        root_fs: "docker:///busybox#1".into(),
        action: Some(Action {
            run: Some(Box::new(run)),
            ..Action::default()
        }),
        memory_mb: 64,
        ..TaskDefinition::default()
    };
    (bytes, definition)
}

#[test]
fn a_desire_is_read_with_its_definition_as_it_came() {
    let (bytes, definition) = desire();
    let encoded = definition.encode_to_vec();
    let mut request = Vec::new();
    put(&mut request, 1, &encoded);
    put(&mut request, 2, b"g");
    put(&mut request, 3, b"d");
    assert_eq!(hex(&request), bytes);
    let wanted = DesireTaskRequest {
        task_definition: Some(encoded.clone()),
        task_guid: "g".into(),
        domain: "d".into(),
    };
    assert_eq!(DesireTaskRequest::parse(&request), Ok(wanted));
    assert_eq!(TaskDefinition::decode(&*encoded).unwrap(), definition);
}

#[test]
fn a_task_carries_its_definition_byte_for_byte() {
    let task = Task {
        task_definition: Some(vec![0x0a, 0x03, b'a', b':', b'b']),
        task_guid: "g".into(),
        domain: "d".into(),
        created_at: 1,
        updated_at: 1,
        state: State::Pending.into(),
        ..Task::default()
    };
    assert_eq!(
        hex(&task.encode_to_vec()),
        "0a050a03613a621201671a01642001280138 01".replace(' ', "")
    );
}

#[test]
fn actions_nested_without_end_are_not_read() {
    let mut action = Vec::new();
    for _ in 0..10_000 {
        let mut serial = Vec::new();
        put(&mut serial, 1, &action);
        let mut next = Vec::new();
        put(&mut next, 8, &serial);
        action = next;
    }
    assert!(Action::decode(&*action).is_err());
}
