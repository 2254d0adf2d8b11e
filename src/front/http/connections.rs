use std::net::SocketAddr;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer {
    pub(super) remote: SocketAddr,
    pub(super) local: SocketAddr,
}
pub(super) async fn serve(
    _l: tokio::net::TcpListener,
    _c: super::limits::Config,
    _a: axum::Router,
    _t: TaskTracker,
    _x: CancellationToken,
) {
}
