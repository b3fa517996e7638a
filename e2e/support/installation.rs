//! The Errand that the chart installed.

use std::net::{SocketAddr, TcpListener, UdpSocket};

use super::{command::kubectl, http::Http, space::kubeconfig};

/// Namespace of the release.
pub const NAMESPACE: &str = "errand-system";

/// The facade's Service, from this machine.
pub fn facade() -> Http {
    Http::to(&facade_address())
}

/// The facade's Service as `HOST:PORT`, from this machine and from pods.
pub fn facade_address() -> String {
    service("{.spec.clusterIP}:{.spec.ports[0].port}")
}

/// Where the Service has Diego's door, from this machine.
pub fn diego_address() -> SocketAddr {
    let address = service(r#"{.spec.clusterIP}:{.spec.ports[?(@.name=="diego")].port}"#);
    address.parse().unwrap()
}

fn service(jsonpath: &str) -> String {
    let output = format!("jsonpath={jsonpath}");
    kubectl(
        kubeconfig(),
        [
            "--namespace",
            NAMESPACE,
            "get",
            "service",
            "errand-facade",
            "-o",
            &output,
        ],
    )
    .ok()
}

/// A listener that pods reach: on the address from which this machine speaks to them.
pub fn listener() -> TcpListener {
    let towards = UdpSocket::bind("0.0.0.0:0").unwrap();
    // Sends nothing.
    towards.connect(facade_address()).unwrap();
    TcpListener::bind((towards.local_addr().unwrap().ip(), 0)).unwrap()
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
