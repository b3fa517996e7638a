//! What is read: tasks, domains, cells.

use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;

use super::*;
use crate::{
    crd,
    facade::dialects::diego::messages::{
        CellsResponse, DomainsResponse, ImageLayer, PingResponse, UpsertDomainRequest,
    },
};

#[tokio::test]
async fn tasks_are_listed_by_domain_by_cell_and_by_both() {
    let bbs = Bbs::open(with_cells(0)).await;
    bbs.desire("a-guid", "some-domain").await.unwrap();
    bbs.desire("b-guid", "b-domain").await.unwrap();
    bbs.start("b-guid", "b-cell").await;
    let guids = async |domain: &str, cell: &str| {
        let mut guids: Vec<_> = bbs
            .listed(domain, cell)
            .await
            .into_iter()
            .map(|task| task.task_guid)
            .collect();
        guids.sort();
        guids
    };
    assert_eq!(guids("", "").await, ["a-guid", "b-guid"]);
    assert_eq!(guids("some-domain", "").await, ["a-guid"]);
    assert_eq!(guids("", "b-cell").await, ["b-guid"]);
    assert_eq!(guids("b-domain", "b-cell").await, ["b-guid"]);
    assert_eq!(guids("some-domain", "b-cell").await, [""; 0]);
    for task in bbs.listed("", "").await {
        assert_eq!(task.task_definition, Some(definition().encode_to_vec()));
    }
}

#[tokio::test]
async fn a_definition_comes_back_byte_for_byte_also_what_is_not_known_of_it() {
    let bbs = Bbs::open(with_cells(0)).await;
    let mut bytes = definition().encode_to_vec();
    put(&mut bytes, 4711, b"from the future");
    let body = desire("g", "d", &bytes);
    outcome(&bbs.bytes("/v1/tasks/desire.r2", body).await).unwrap();
    assert_eq!(bbs.got("g").await.task_definition, Some(bytes));
}

#[tokio::test]
async fn older_clients_see_no_image_layers() {
    let bbs = Bbs::open(with_cells(0)).await;
    let layer = |kind, name: &str| ImageLayer {
        name: name.into(),
        url: "http://blobs/x".into(),
        destination_path: "/x".into(),
        layer_type: kind,
        media_type: 1,
        digest_algorithm: 1,
        digest_value: "ab".into(),
    };
    let sent = TaskDefinition {
        image_layers: vec![layer(1, "shared"), layer(2, "exclusive")],
        legacy_download_user: "vcap".into(),
        ..definition()
    };
    let body = desire("g", "d", &sent.encode_to_vec());
    outcome(&bbs.bytes("/v1/tasks/desire.r2", body).await).unwrap();
    let task_guid = "g".to_owned();
    let one: TaskResponse = bbs
        .call("/v1/tasks/get_by_task_guid.r2", TaskGuidRequest { task_guid })
        .await;
    let all: TasksResponse = bbs.call("/v1/tasks/list.r2", TasksRequest::default()).await;
    assert_eq!((one.error, all.error), (None, None));
    assert_eq!(all.tasks, [one.task.clone().unwrap()]);
    let older = TaskDefinition::decode(&*one.task.unwrap().task_definition.unwrap()).unwrap();
    assert_eq!(
        (
            older.image_layers.len(),
            older.cached_dependencies[0].name.as_str()
        ),
        (0, "shared")
    );
    let serial = older.action.unwrap().serial.unwrap();
    let download = serial.actions[0].parallel.as_ref().unwrap().actions[0]
        .download
        .clone();
    assert_eq!(download.unwrap().artifact, "exclusive");
    assert_eq!(serial.actions[1], definition().action.unwrap());
    assert_eq!(bbs.got("g").await.task_definition, Some(sent.encode_to_vec()));
}

#[tokio::test]
async fn tasks_that_were_made_elsewhere_are_read_by_their_name_and_cancelled() {
    let bbs = Bbs::open(with_cells(0)).await;
    let tasks: Api<crd::Task> = Api::namespaced(bbs.facade.objects.client(), "default");
    let task = json!({"apiVersion": crd::API_VERSION, "kind": "Task", "metadata": {"name": "copy"},
        "spec": {"function": {"container": {"image": "busybox:1", "command": ["sh"]}}, "domain": "d"}});
    let made = tasks
        .create(&PostParams::default(), &serde_json::from_value(task).unwrap())
        .await
        .unwrap();
    bbs.facade.views.tasks.seen(&made).await;
    let task = bbs.got("copy").await;
    assert_eq!((task.state(), task.domain.as_str()), (State::Pending, "d"));
    let definition = TaskDefinition::decode(&*task.task_definition.unwrap()).unwrap();
    assert_eq!(definition.root_fs, "docker:///busybox#1");
    assert_eq!(bbs.listed("d", "").await.len(), 1);
    assert!(matches!(
        bbs.desire("copy", "d").await,
        Err((ErrorType::ResourceExists, _))
    ));
    assert_eq!(
        told(bbs.start("copy", "cell").await.error),
        transition(State::Pending, State::Running)
    );
    bbs.named("cancel", "copy").await.unwrap();
    assert_eq!(tasks.get("copy").await.unwrap().spec.cancel, Some(true));
    assert_eq!(bbs.got("copy").await.state(), State::Completed);
}

#[tokio::test]
async fn nobody_makes_a_task_another_by_writing_its_annotations() {
    let bbs = Bbs::open(with_cells(0)).await;
    let tasks: Api<crd::Task> = Api::namespaced(bbs.facade.objects.client(), "default");
    bbs.desire("g", "d").await.unwrap();
    let name = crate::facade::dialects::diego::names::object_name("g");
    let forged = json!({"metadata": {"annotations": {"errand.dev/diego-guid": "h", "errand.dev/diego-state": "{\"running\": 1"}}});
    let patched = tasks
        .patch(&name, &PatchParams::default(), &Patch::Merge(forged))
        .await
        .unwrap();
    bbs.facade.views.tasks.seen(&patched).await;
    assert_eq!(told(bbs.response("h").await.error), not_found());
    assert_eq!(told(bbs.response("g").await.error), not_found());
    assert_eq!(bbs.listed("", "").await[0].task_guid, name);
}

#[tokio::test]
async fn domains_are_fresh_for_their_time() {
    let bbs = Bbs::open(with_cells(0)).await;
    let upsert = async |domain: &str, ttl| {
        let domain = domain.into();
        bbs.moved("/v1/domains/upsert", UpsertDomainRequest { domain, ttl })
            .await
    };
    let listed = async || {
        let listed: DomainsResponse = bbs.call("/v1/domains/list", TasksRequest::default()).await;
        listed.domains
    };
    assert_eq!(listed().await, [""; 0]);
    upsert("long", 3600).await.unwrap();
    upsert("Any name, with spaces/slashes", 0).await.unwrap();
    upsert("short", 3600).await.unwrap();
    assert_eq!(listed().await, ["Any name, with spaces/slashes", "long", "short"]);
    upsert("short", 1).await.unwrap();
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(30);
    while listed().await.len() > 2 {
        assert!(tokio::time::Instant::now() < deadline);
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(
        upsert("", 1).await,
        Err((ErrorType::InvalidRequest, "Invalid field: domain".into()))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn domains_that_come_at_once_are_all_kept() {
    let bbs = Arc::new(Bbs::open(with_cells(0)).await);
    let calls = (0..8).map(|number| {
        let bbs = bbs.clone();
        let request = UpsertDomainRequest {
            domain: format!("d{number}"),
            ttl: 60,
        };
        tokio::spawn(async move { bbs.moved("/v1/domains/upsert", request).await })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap().unwrap();
    }
    let listed: DomainsResponse = bbs.call("/v1/domains/list", TasksRequest::default()).await;
    assert_eq!(listed.domains.len(), 8);
}

#[tokio::test]
async fn nodes_are_cells() {
    let bbs = Bbs::open(with_cells(0)).await;
    let none: CellsResponse = bbs.call("/v1/cells/list.r1", TasksRequest::default()).await;
    assert_eq!((none.error, none.cells.len()), (None, 0));
    let nodes: Api<k8s_openapi::api::core::v1::Node> = Api::all(bbs.facade.objects.client());
    let node = json!({"metadata": {"name": "n1"}});
    nodes
        .create(&PostParams::default(), &serde_json::from_value(node).unwrap())
        .await
        .unwrap();
    let cells: CellsResponse = bbs.call("/v1/cells/list.r1", TasksRequest::default()).await;
    assert_eq!(cells.cells[0].cell_id, "n1");
    assert!(!cells.cells[0].rep_address.is_empty());
}

#[tokio::test]
async fn the_server_is_there() {
    let bbs = Bbs::open(with_cells(0)).await;
    assert_eq!(
        bbs.bytes("/v1/ping", b"whatever".to_vec()).await,
        [0x08, 0x01].as_slice()
    );
    let ping: PingResponse = bbs.call("/v1/ping", TasksRequest::default()).await;
    assert!(ping.available);
}
