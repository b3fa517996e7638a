//! The Errand that the chart installed.

use super::{command::kubectl, http::Http, space::kubeconfig};

/// Namespace of the release.
pub const NAMESPACE: &str = "errand-system";

/// The facade's Service, from this machine.
pub fn facade() -> Http {
    let address = kubectl(
        kubeconfig(),
        [
            "--namespace",
            NAMESPACE,
            "get",
            "service",
            "errand-facade",
            "-o",
            "jsonpath={.spec.clusterIP}:{.spec.ports[0].port}",
        ],
    )
    .ok();
    Http::to(&address)
}

/// The last lines of controllers and facades.
pub fn last_words() -> String {
    let mut text = String::new();
    for part in ["controller", "facade"] {
        let selector = format!("app.kubernetes.io/component={part}");
        let log = kubectl(
            kubeconfig(),
            [
                "--namespace",
                NAMESPACE,
                "logs",
                "--selector",
                &selector,
                "--tail",
                "40",
                "--prefix",
            ],
        );
        text.push_str(&format!("--- {part}\n{}{}", log.text(), log.stderr));
    }
    text
}
