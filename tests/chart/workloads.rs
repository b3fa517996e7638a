//! What runs: arguments, security, and that the parts find each other.

use std::{collections::BTreeSet, process::Command};

use serde_json::{Value, json};

use crate::{VALUES, all, name, named, names, refusal, rendered, with};

/// Pod templates with the names of their owners.
fn pods(objects: &[Value]) -> Vec<(&str, &Value)> {
    let owners = objects
        .iter()
        .filter(|object| object["spec"]["template"].is_object());
    owners
        .map(|owner| (name(owner), &owner["spec"]["template"]))
        .collect()
}

/// The one container of a pod.
fn container(pod: &Value) -> &Value {
    let containers = pod["spec"]["containers"].as_array().unwrap();
    assert_eq!(containers.len(), 1);
    &containers[0]
}

fn args(pod: &Value) -> Vec<&str> {
    let args = container(pod)["args"].as_array().unwrap();
    args.iter().map(|arg| arg.as_str().unwrap()).collect()
}

#[test]
fn the_binary_understands_every_argument_and_variable() {
    for values in VALUES {
        for (owner, pod) in pods(&with(values)) {
            let mut errand = Command::new(env!("CARGO_BIN_EXE_errand"));
            errand
                .env_clear()
                .args(args(pod))
                .args(["--kubeconfig", "/nowhere/kubeconfig"]);
            let output = errand.output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            // 2 is a mistake in the arguments; with none it fails later, for want of files or of a cluster.
            assert_eq!(output.status.code(), Some(1), "{values} {owner}: {said}");
            assert!(said.contains("could not "), "{values} {owner}: {said}");
        }
    }
}

#[test]
fn all_flags_that_the_values_stand_for_reach_the_binary() {
    let objects = with("full");
    let flags = |deployment: &str| -> Vec<String> {
        let deployment = named(&objects, "Deployment", deployment);
        args(&deployment["spec"]["template"])
            .into_iter()
            .map(str::to_owned)
            .collect()
    };
    assert_eq!(
        flags("tasks-controller"),
        [
            "controller",
            "--log-level=info,errand::engine=debug",
            "--log-format=json",
            "--lease-name=tasks-controller",
            "--lease-namespace=errand-system",
            "--workers=128",
            "--node-lost-after=1m30s",
            "--runner-image=registry.example.com/errand:runner",
            "--runner-pull-policy=Always",
            "--runner-delivery=init-container",
            "--callback-allow=10.0.0.0/8,fd00::/8",
            "--callback-deny=10.96.0.0/12",
            "--callback-ca=/etc/errand/callbacks/bundle.pem",
            "--callback-cert=/etc/errand/caller/tls.crt",
            "--callback-key=/etc/errand/caller/tls.key",
            "--lease-duration=30s",
            "--lease-renew-deadline=20s",
        ]
    );
    assert_eq!(
        flags("tasks-facade"),
        [
            "facade",
            "--log-level=info,errand::engine=debug",
            "--log-format=json",
            "--catalogue-namespace=errand-system",
            "--namespaces=group:ns:",
            "--cloudru-any-form=both",
            "--cloudru-statuses=Failed=ERROR: see error,Running=IN_PROGRESS,Succeeded=DONE",
            "--static-tokens=/etc/errand/tokens/tokens.csv",
            "--tls-cert=/etc/errand/tls/tls.crt",
            "--tls-key=/etc/errand/tls/tls.key",
            "--diego-addr=0.0.0.0:8889",
            "--diego-ca=/etc/errand/diego/ca.crt",
            "--diego-cert=/etc/errand/diego/tls.crt",
            "--diego-key=/etc/errand/diego/tls.key",
            "--diego-stack=cflinuxfs4=cloudfoundry/cflinuxfs4:1.200.0",
            "--diego-volume=nfsv3driver=claim",
            "--diego-cells",
            "--diego-egress",
            "--diego-encryption-keys=/etc/errand/diego-keys/all",
            "--diego-retries=3",
            "--diego-namespaces=fixed:cf",
            "--max-streams=8192",
        ]
    );
}

#[test]
fn pods_keep_to_the_restricted_security_standard() {
    for values in VALUES {
        for (owner, pod) in pods(&with(values)) {
            let wanted = json!({"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}});
            assert_eq!(pod["spec"]["securityContext"], wanted, "{values} {owner}");
            let wanted = json!({
                "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": true,
            });
            let container = container(pod);
            assert_eq!(container["securityContext"], wanted, "{values} {owner}");
            assert!(
                container["resources"]["limits"]["memory"].is_string(),
                "{values} {owner}"
            );
        }
    }
}

#[test]
fn selectors_accounts_ports_and_volumes_are_those_that_exist() {
    for values in VALUES {
        let objects = with(values);
        let made: Vec<_> = names(&objects, "ServiceAccount")
            .into_iter()
            .chain(["doors".to_owned()])
            .collect();
        let selected = |selector: &Value| {
            let selector = selector.as_object().unwrap();
            let fits = |pod: &Value| {
                let labels = &pod["metadata"]["labels"];
                selector.iter().all(|(key, value)| labels[key] == *value)
            };
            pods(&objects)
                .into_iter()
                .filter(|(_, pod)| fits(pod))
                .collect::<Vec<_>>()
        };
        for (owner, pod) in pods(&objects) {
            let account = pod["spec"]["serviceAccountName"].as_str().unwrap();
            assert!(
                made.iter().any(|name| name == account),
                "{values} {owner}: {account}"
            );
            let volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
            let mounts = container(pod)["volumeMounts"].as_array().into_iter().flatten();
            let volumes: BTreeSet<_> = volumes.map(name_of).collect();
            assert_eq!(
                volumes,
                mounts.map(name_of).collect::<BTreeSet<_>>(),
                "{values} {owner}"
            );
        }
        for deployment in all(&objects, "Deployment") {
            let found = selected(&deployment["spec"]["selector"]["matchLabels"]);
            assert_eq!(found.len(), 1, "{values} {}", name(deployment));
            assert_eq!(found[0].0, name(deployment), "{values}");
        }
        for budget in all(&objects, "PodDisruptionBudget").chain(all(&objects, "NetworkPolicy")) {
            let labels = match &budget["spec"]["podSelector"] {
                Value::Null => &budget["spec"]["selector"]["matchLabels"],
                selector => &selector["matchLabels"],
            };
            assert_eq!(
                selected(labels).len(),
                1,
                "{values} {} {}",
                budget["kind"],
                name(budget)
            );
        }
        for service in all(&objects, "Service") {
            let found = selected(&service["spec"]["selector"]);
            for port in service["spec"]["ports"].as_array().unwrap() {
                let listens = |pod: &Value| {
                    let ports = container(pod)["ports"].as_array().into_iter().flatten();
                    ports.into_iter().any(|own| own["name"] == port["targetPort"])
                };
                assert!(
                    found.iter().any(|(_, pod)| listens(pod)),
                    "{values} {}",
                    name(service)
                );
            }
        }
    }
}

fn name_of(part: &Value) -> String {
    part["name"].as_str().unwrap().to_owned()
}

#[test]
fn an_old_cluster_gets_the_versions_that_it_serves() {
    let versions = |kubernetes: &str| {
        let set = "facade.autoscaling.enabled=true";
        let objects = rendered(&["--kube-version", kubernetes, "--set", set]);
        let version = |kind| named(&objects, kind, "errand-facade")["apiVersion"].clone();
        (version("PodDisruptionBudget"), version("HorizontalPodAutoscaler"))
    };
    assert_eq!(
        versions("v1.20.0"),
        (json!("policy/v1beta1"), json!("autoscaling/v2beta2"))
    );
    assert_eq!(versions("v1.33.0"), (json!("policy/v1"), json!("autoscaling/v2")));
    assert_eq!(
        versions("v1.33.5-eks-1"),
        (json!("policy/v1"), json!("autoscaling/v2"))
    );
}

#[test]
fn a_facade_that_goes_still_answers_for_a_moment_where_kubernetes_can_wait() {
    let before_the_end = |kubernetes: &str| {
        let objects = rendered(&["--kube-version", kubernetes]);
        let facade = named(&objects, "Deployment", "errand-facade");
        container(&facade["spec"]["template"])["lifecycle"].clone()
    };
    assert_eq!(before_the_end("v1.29.9"), Value::Null);
    assert_eq!(
        before_the_end("v1.30.0"),
        json!({"preStop": {"sleep": {"seconds": 5}}})
    );
}

#[test]
fn a_digest_wins_over_a_tag_and_the_supervisor_comes_from_the_same_image() {
    let digest = format!("sha256:{}", "ab".repeat(32));
    let image = format!("image.digest={digest},image.tag=other,image.repository=reg/errand");
    let objects = rendered(&["--set", &image]);
    let wanted = format!("reg/errand@{digest}");
    for (owner, pod) in pods(&objects) {
        assert_eq!(container(pod)["image"], wanted.as_str(), "{owner}");
    }
    let controller = named(&objects, "Deployment", "errand-controller");
    let flag = format!("--runner-image={wanted}");
    assert!(args(&controller["spec"]["template"]).contains(&flag.as_str()));
}

#[test]
fn values_that_mean_nothing_are_refused_by_name() {
    for (set, part) in [
        ("replicas=3", "'replicas' not allowed"),
        ("facade.tls.secret=x", "'secret' not allowed"),
        ("controller.workers=0", "/controller/workers"),
        ("image.pullPolicy=Sometimes", "/image/pullPolicy"),
        ("image.digest=latest", "/image/digest"),
        ("facade.namespaces=everyone", "/facade/namespaces"),
        ("facade.cloudru.anyForm=xml", "/facade/cloudru/anyForm"),
        ("facade.cloudru.statuses.Done=X", "'Done' not allowed"),
        (
            "facade.cloudru.statuses.Failed=",
            "/facade/cloudru/statuses/Failed",
        ),
        ("controller.nodeLostAfter=soon", "/controller/nodeLostAfter"),
        ("log.format=xml", "/log/format"),
        (
            "controller.callbacks.allow={everywhere}",
            "/controller/callbacks/allow/0",
        ),
        ("rbac.callbackSecrets={A B}", "/rbac/callbackSecrets/0"),
        (
            "facade.diego.volumes.nfsv3driver=csi",
            "/facade/diego/volumes/nfsv3driver",
        ),
        (
            "facade.diego.encryptionKeys.key=a/b",
            "/facade/diego/encryptionKeys/key",
        ),
    ] {
        let said = refusal(set);
        assert!(said.contains(part), "{set}: {said}");
    }
}
