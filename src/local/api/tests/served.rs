//! Over HTTPS: kube's own stack, and clients that behave badly.
use std::{net::SocketAddr, time::Duration};

use futures::TryStreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client, Config,
    api::{ListParams, PostParams, WatchParams},
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use super::super::{ApiOptions, ApiServer, StaticToken, User};

pub struct Served {
    pub server: ApiServer,
    pub address: SocketAddr,
    pub stop: CancellationToken,
    pub ended: JoinHandle<()>,
}

pub const TOKEN: &str = "0123456789abcdef";

pub async fn serve(options: ApiOptions) -> Served {
    let tokens = vec![StaticToken {
        user: User::new("admin", ["system:masters"]),
        secret: TOKEN.into(),
    }];
    let server = ApiServer::start(ApiOptions { tokens, ..options }).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let (serving, until) = (server.clone(), stop.clone());
    let ended = tokio::spawn(async move { serving.serve(listener, until).await.unwrap() });
    Served {
        server,
        address,
        stop,
        ended,
    }
}

fn der(pem: &str) -> Vec<u8> {
    let text: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    base64::Engine::decode(&base64::engine::general_purpose::STANDARD, text).unwrap()
}

fn client(served: &Served) -> Client {
    let mut config = Config::new(format!("https://{}", served.address).parse().unwrap());
    config.root_cert = Some(vec![der(served.server.authority_pem())]);
    config.auth_info.token = Some(TOKEN.to_owned().into());
    config.default_retry = false;
    Client::try_from(config).unwrap()
}

#[tokio::test]
async fn kube_speaks_to_the_served_api_and_watches_end_with_it() {
    let served = serve(ApiOptions::default()).await;
    let api: Api<ConfigMap> = Api::default_namespaced(client(&served));
    let map: ConfigMap = serde_json::from_value(json!({"metadata": {"name": "a"}})).unwrap();
    api.create(&PostParams::default(), &map).await.unwrap();
    assert_eq!(api.list(&ListParams::default()).await.unwrap().items.len(), 1);
    let events = api.watch(&WatchParams::default(), "0").await.unwrap();
    let mut events = std::pin::pin!(events);
    assert!(events.try_next().await.unwrap().is_some());
    served.stop.cancel();
    assert!(events.try_next().await.is_ok_and(|event| event.is_none()));
    tokio::time::timeout(Duration::from_secs(10), served.ended)
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn bad_clients_do_not_keep_good_ones_out() {
    let served = serve(ApiOptions::default()).await;
    let mut silent = Vec::new();
    for _ in 0..50 {
        silent.push(TcpStream::connect(served.address).await.unwrap());
    }
    let mut rude = TcpStream::connect(served.address).await.unwrap();
    rude.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    // A TLS alert or a reset, but an end.
    let _ = tokio::time::timeout(Duration::from_secs(20), rude.read_to_end(&mut answer))
        .await
        .unwrap();
    let api: Api<ConfigMap> = Api::default_namespaced(client(&served));
    assert!(api.list(&ListParams::default()).await.is_ok());
    served.stop.cancel();
    tokio::time::timeout(Duration::from_secs(10), served.ended)
        .await
        .unwrap()
        .unwrap();
    drop(silent);
}

#[tokio::test]
async fn objects_authority_and_tokens_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let options = || ApiOptions {
        data_dir: Some(folder.path().to_owned()),
        ..ApiOptions::default()
    };
    let first = serve(options()).await;
    let api: Api<ConfigMap> = Api::default_namespaced(client(&first));
    let map: ConfigMap = serde_json::from_value(json!({"metadata": {"name": "a"}})).unwrap();
    let made = api.create(&PostParams::default(), &map).await.unwrap();
    assert!(matches!(
        ApiServer::start(options()).await.err(),
        Some(super::super::Error::Data(_))
    ));
    let authority = first.server.authority_pem().to_owned();
    first.stop.cancel();
    first.ended.await.unwrap();
    drop((api, first.server));
    let second = loop {
        // The workers of the first let go of the folder as they end.
        match ApiServer::start(options()).await {
            Ok(server) => break server,
            Err(_) => tokio::task::yield_now().await,
        }
    };
    assert_eq!(second.authority_pem(), authority);
    let api: Api<ConfigMap> = Api::default_namespaced(second.client());
    assert_eq!(api.get("a").await.unwrap(), made);
}
