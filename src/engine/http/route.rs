//! The ways to a function.

use std::{fmt, net::SocketAddr};

use kube::Client;

/// The way to a function.
#[derive(Clone)]
pub enum Route {
    /// Straight to its pod.
    Direct(SocketAddr),
    /// Through the API server's pod proxy.
    ApiProxy(PodProxy),
}

/// A port of a pod, as the API server's proxy knows it.
#[derive(Clone)]
pub struct PodProxy {
    /// The API server.
    pub client: Client,
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub pod: String,
    /// Port that the container listens on.
    pub port: u16,
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Direct(target) => target.fmt(f),
            Self::ApiProxy(PodProxy { pod, port, .. }) => write!(f, "{pod}:{port} through the API server"),
        }
    }
}
