//! `make bench-cluster`: what a Task costs on a real API server, beside a bare pod and a Job in the same run.
//!
//! etcd, API server, controller manager and scheduler are real, the nodes are hollow: what is measured is the control
//! plane. Prints tables; nothing here fails for being slow, since machines differ.
//!
//! `e2e/bench/run.sh` brings up the cluster. ERRAND_BENCH_UNITS lists the sizes of batches, ERRAND_BENCH_CACHED says
//! how many Tasks the controller has to hold.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../hollow/mod.rs"]
mod hollow;

mod audit;
mod by_hand;
mod cached;
mod latency;
mod process;
mod report;
mod space;
mod units;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use http::{HeaderName, HeaderValue};
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use tokio::signal::unix::{SignalKind, signal};

use audit::{Audit, Writes};
use by_hand::LetGo;
use hollow::Hollow;
use process::{ApiServer, Controller};
use report::Row;
use space::Space;
use units::{Kind, Pace};

/// User agents, by which the audit log tells the parts of this process.
const CLIENT: &str = "errand-bench";
const NODES: &str = "errand-hollow-nodes";
/// As many as make no difference to the scheduler.
const HOLLOW_NODES: usize = 10;
/// Shorter than the first poll of a log, long enough that every controller sees the pod run.
const RUN_TIME: Duration = Duration::from_millis(250);
/// Writes have ended when there was none for so long.
const QUIET: Duration = Duration::from_secs(3);

/// What is compared, in the order of the columns.
const KINDS: [Kind; 5] = [
    Kind::Pod,
    Kind::Job,
    Kind::Task,
    Kind::ByHand(LetGo::AtOnce),
    Kind::ByHand(LetGo::Last),
];

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    // On a signal all that this process started is dropped, and ends with it.
    let finished = runtime.block_on(async {
        let (mut interrupt, mut terminate) = (
            signal(SignalKind::interrupt()).unwrap(),
            signal(SignalKind::terminate()).unwrap(),
        );
        tokio::select! {
            () = measure() => true,
            _ = interrupt.recv() => false,
            _ = terminate.recv() => false,
        }
    });
    if !finished {
        std::process::exit(130);
    }
}

/// The cluster and what works on it.
struct Bench {
    client: Client,
    hollow: Hollow,
    controller: Controller,
    api_server: ApiServer,
    audit: Audit,
    kubeconfig: PathBuf,
    log: PathBuf,
}

async fn measure() {
    let cluster = PathBuf::from(std::env::var_os("ERRAND_CLUSTER_DIR").expect("run `make bench-cluster`"));
    let kubeconfig = cluster.join("kubeconfig");
    let log = cluster.join("log/errand-controller");
    let hollow = Hollow::start(client(&kubeconfig, NODES).await, HOLLOW_NODES, RUN_TIME).await;
    let controller = Controller::start(&kubeconfig, &log).await;
    let mut bench = Bench {
        client: client(&kubeconfig, CLIENT).await,
        hollow,
        controller,
        api_server: ApiServer::of(&cluster),
        audit: Audit::of(&cluster),
        kubeconfig,
        log,
    };
    tokio::time::sleep(QUIET).await;
    let idle = bench.controller.memory();
    let sizes = std::env::var("ERRAND_BENCH_UNITS").unwrap_or_else(|_| "500,2000".to_owned());
    for size in sizes.split(',').map(|size| size.parse().unwrap()) {
        let mut rows = Vec::new();
        for kind in KINDS {
            eprintln!("bench: {size} {}s", kind.word());
            rows.push(bench.batch(kind, size).await);
        }
        report::batches(size, &rows);
    }
    eprintln!("bench: latencies under a light load");
    latency::measure(&bench).await;
    println!("| memory of the controller, idle | {idle:.1} MiB |");
    cached::measure(bench).await;
}

impl Bench {
    async fn batch(&mut self, kind: Kind, size: usize) -> Row {
        let space = Space::open(&self.client, format!("bench-{}-{size}", kind.word())).await;
        self.audit.skip();
        self.controller.peak();
        let (cpu, api_server) = (self.controller.cpu(), self.api_server.cpu());
        let batch = units::run(&self.client, &space, kind, size, Pace::Flood).await;
        let writes = self.all_writes(&space.name).await;
        let row = Row {
            kind,
            rate: size as f64 / batch.took.as_secs_f64(),
            writes: writes
                .into_iter()
                .map(|(what, count)| (what, count as f64 / size as f64))
                .collect(),
            cpu: (self.controller.cpu() - cpu) * 1000.0 / size as f64,
            api_server: (self.api_server.cpu() - api_server) * 1000.0 / size as f64,
            peak: self.controller.peak(),
        };
        space.close().await;
        row
    }

    /// The writes to a namespace until there are no more.
    async fn all_writes(&mut self, namespace: &str) -> Writes {
        let mut writes = Writes::new();
        while self.audit.add(namespace, &mut writes) > 0 {
            tokio::time::sleep(QUIET).await;
        }
        writes
    }
}

/// A client that the audit log shows as `agent`.
async fn client(kubeconfig: &Path, agent: &'static str) -> Client {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .unwrap();
    let header = (
        HeaderName::from_static("user-agent"),
        HeaderValue::from_static(agent),
    );
    config.headers.push(header);
    Client::try_from(config).unwrap()
}
