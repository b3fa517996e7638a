//! What the facade can be told.

use std::time::Duration;

use super::{access::AccessConfig, dialects};
use crate::tls::FileIdentity;

/// Configuration of the facade.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who may do what.
    pub access: AccessConfig,
    /// What single doors are told.
    pub dialects: dialects::Settings,
    /// Certificate and key of the doors; `None` = plain HTTP.
    pub tls: Option<FileIdentity>,
    /// Serve only this namespace; `None` = all of them.
    pub namespace: Option<String>,
    /// Namespace of what all namespaces share, such as the catalogue of runtimes.
    pub catalogue: String,
    /// Field manager of what is written.
    pub manager: String,
    /// Limit on each call to the API server.
    pub api_timeout: Duration,
    /// Limit on the answer to a request that is no stream. Half of it is for the body to arrive.
    pub request_timeout: Duration,
    /// Requests under way at once, streams apart.
    pub requests: usize,
    /// Streams and long polls open at once.
    pub streams: usize,
    /// Connections at once.
    pub connections: usize,
    /// Live logs read for streams at once; more streams show the log at the end only.
    pub logs: usize,
    /// Tasks that report progress at once.
    pub reporters: usize,
    /// How long a stream goes on before its caller's right to it is asked for again.
    pub recheck: Duration,
    /// A WebSocket whose peer takes nothing for so long is dropped.
    pub stalled: Duration,
}

impl Config {
    /// Limit on the arrival of a request's body: short of the limit on the answer, which would speak first and blame
    /// this side.
    pub fn body_timeout(&self) -> Duration {
        self.request_timeout / 2
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            access: AccessConfig::default(),
            dialects: dialects::Settings::default(),
            tls: None,
            namespace: None,
            catalogue: "default".to_owned(),
            manager: "errand-facade".to_owned(),
            api_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            requests: 256,
            streams: 4096,
            connections: 8192,
            logs: 256,
            reporters: 4096,
            recheck: Duration::from_secs(60),
            stalled: Duration::from_secs(10),
        }
    }
}
