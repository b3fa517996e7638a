//! The server through an in-process `kube::Client`.
mod access;
mod apply;
mod basics;
mod kubectl;
mod proxy;
mod served;
mod wire;

use super::*;

/// A server in memory and its client.
pub async fn server() -> (ApiServer, kube::Client) {
    let server = ApiServer::start(ApiOptions::default()).await.unwrap();
    let client = server.client();
    (server, client)
}
