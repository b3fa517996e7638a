//! What the controller can be told.

use std::time::Duration;

use super::callback;

/// How the supervisor's binary gets into a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// An image volume holds it (Kubernetes 1.35 and newer by default).
    ImageVolume,
    /// An init container copies it into an emptyDir.
    InitContainer,
}

/// The image that holds this very binary, and how it gets into containers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Runner {
    /// Image reference; the binary lies at `/errand` in it.
    pub image: String,
    /// Pull policy of the image; the API server's default where absent.
    pub pull_policy: Option<String>,
    /// How it gets into containers; `None` asks the API server for its version.
    pub delivery: Option<Delivery>,
}

/// Configuration of the controller. Times are chosen for a cluster; tests shorten them.
#[derive(Clone, Debug)]
pub struct Config {
    /// The one namespace to serve; `None` serves all.
    pub namespace: Option<String>,
    /// Reconciles that run at once.
    pub workers: u16,
    /// The supervisor's image.
    pub runner: Runner,
    /// Limit on one API call.
    pub api_timeout: Duration,
    /// A node that has not been Ready for so long is lost, and its Tasks with it.
    pub node_lost_after: Duration,
    /// How long a failing image pull or container creation may go on before the Task ends.
    pub bad_start_grace: Duration,
    /// How long a missing Function is waited for, since `kubectl apply` of a folder may create the Task first.
    pub function_grace: Duration,
    /// A start that takes longer is shown as Pending; a shorter one costs no write. Grows with the API server's lag.
    pub pending_after: Duration,
    /// A run that takes longer is shown as Running; a shorter one costs no write. Kubernetes tells a container's start in
    /// whole seconds, so the write comes up to a second earlier than this after the true start. Grows with the API
    /// server's lag.
    pub running_after: Duration,
    /// How long beyond a pod's own grace period its end is waited for before it is let go without evidence.
    pub stop_margin: Duration,
    /// Running Tasks whose log is followed for progress lines at once.
    pub followed_tasks: usize,
    /// A Task's log is followed once it has run for so long; shorter ones cost no call.
    pub follow_after: Duration,
    /// How callbacks are made.
    pub callbacks: callback::Settings,
    /// How often Tasks and followed logs are counted for the metrics.
    pub count_every: Duration,
    /// The controller's name in Events and as field manager.
    pub instance: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            namespace: None,
            workers: 64,
            runner: Runner {
                image: concat!("errand:", env!("CARGO_PKG_VERSION")).to_owned(),
                pull_policy: None,
                delivery: None,
            },
            api_timeout: Duration::from_secs(15),
            node_lost_after: Duration::from_secs(60),
            bad_start_grace: Duration::from_secs(20),
            function_grace: Duration::from_secs(2),
            pending_after: Duration::from_secs(5),
            running_after: Duration::from_millis(1500),
            stop_margin: Duration::from_secs(15),
            followed_tasks: 256,
            follow_after: Duration::from_secs(1),
            callbacks: callback::Settings::default(),
            count_every: Duration::from_secs(5),
            instance: "errand-controller".to_owned(),
        }
    }
}
