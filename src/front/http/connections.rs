use std::net::SocketAddr;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer {
    pub(super) remote: SocketAddr,
    pub(super) local: SocketAddr,
}
pub(super) async fn serve(l: tokio::net::TcpListener, _c: super::limits::Config, a: axum::Router, t: TaskTracker, x: CancellationToken) {
    loop {
        let (s, remote) = tokio::select! { r = l.accept() => r.unwrap(), () = x.cancelled() => return };
        let local = s.local_addr().unwrap();
        let a = a.clone();
        s.set_nodelay(true).unwrap();
        let x = x.clone();
        t.spawn(async move {
            let service = hyper::service::service_fn(move |mut r: hyper::Request<hyper::body::Incoming>| {
                let mut a = a.clone();
                r.extensions_mut().insert(Peer { remote, local });
                async move { tower_service::Service::call(&mut a, r).await }
            });
            let builder = hyper_util::server::conn::auto::Builder::new(hyper_util::rt::TokioExecutor::new());
            let c = builder.serve_connection(hyper_util::rt::TokioIo::new(s), service);
            tokio::pin!(c);
            tokio::select! { _ = &mut c => {}, () = x.cancelled() => { c.as_mut().graceful_shutdown(); let _ = c.await; } }
        });
    }
}
