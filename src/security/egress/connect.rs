//! The check where it bites: at the address that is connected to, each time.
//!
//! SECURITY: hyper's connector asks the resolver for names only and connects to literals at once, so that there are three places. A
//! literal is judged when its URL is ([`super::rules`]) and again in [`Connector`]; the addresses of a name are judged as the resolver
//! gives them; and the peer of a connection is judged before the first byte is sent. Nothing is looked up twice, so that an answer that
//! changes (DNS rebinding) is judged like the first.

use std::{
    error::Error,
    fmt, io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
    vec,
};

use futures_util::{FutureExt, future::BoxFuture};
use hyper::Uri;
use hyper_util::{
    client::legacy::connect::{Connection, HttpConnector, HttpInfo, dns::Name},
    rt::TokioIo,
};
use tokio::{net::TcpStream, time::timeout};
use tower_layer::Layer;
use tower_service::Service;

use super::rules::{Rules, Subject};
use crate::security::{Author, Refusal};

/// A connection that is not there after this long, the lookup of its name included, will not come.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A peer that has vanished is noticed some time after a connection, say an event stream, has been silent for so long.
pub(super) const KEEPALIVE: Duration = Duration::from_secs(60);

type BoxError = Box<dyn Error + Send + Sync>;

/// Finds the addresses of host names. The system's resolver, but for tests.
pub trait Resolve: fmt::Debug + Send + Sync {
    fn resolve(&self, name: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>>;
}

/// The resolver of the operating system.
#[derive(Debug)]
pub(super) struct System;

impl Resolve for System {
    fn resolve(&self, name: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        let name = name.to_owned();
        async move { Ok(tokio::net::lookup_host((name.as_str(), 0)).await?.map(|address| address.ip()).collect()) }.boxed()
    }
}

/// Under whose rules connections are made. It is a resolver for both clients, and the layer around reqwest's connector.
#[derive(Debug, Clone)]
pub(super) struct Guard {
    pub(super) rules: Arc<Rules>,
    pub(super) author: Author,
}

impl Guard {
    fn lookup(&self, name: &str) -> BoxFuture<'static, Result<vec::IntoIter<SocketAddr>, BoxError>> {
        let (guard, name) = (self.clone(), name.to_owned());
        async move {
            let addresses = guard.rules.lookup(guard.author, &name).await?;
            // The connector puts the URL's port in place of 0.
            let addresses: Vec<_> = addresses.into_iter().map(|ip| SocketAddr::new(ip, 0)).collect();
            Ok(addresses.into_iter())
        }
        .boxed()
    }

    fn judge_literal(&self, uri: &Uri) -> Result<(), Refusal> {
        let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        let Ok(ip) = host.parse::<IpAddr>() else { return Ok(()) };
        let port = uri.port_u16().or(Some(80));
        self.rules.judge(self.author, ip, port, &Subject::Peer)
    }

    fn judge_connection(&self, connection: &impl Connection) -> Result<(), BoxError> {
        let mut extensions = hyper::http::Extensions::new();
        connection.connected().get_extras(&mut extensions);
        // A connection that is gone already has no ends any more.
        let info = extensions.get::<HttpInfo>().ok_or(io::ErrorKind::ConnectionReset).map_err(io::Error::from)?;
        Ok(self.rules.judge_peer(self.author, info.remote_addr(), info.local_addr())?)
    }
}

impl Service<Name> for Guard {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        self.lookup(name.as_str())
    }
}

impl reqwest::dns::Resolve for Guard {
    fn resolve(&self, name: reqwest::dns::Name) -> reqwest::dns::Resolving {
        let lookup = self.lookup(name.as_str());
        Box::pin(async move { Ok(Box::new(lookup.await?) as reqwest::dns::Addrs) })
    }
}

/// Makes plain connections.
#[derive(Debug, Clone)]
pub(super) struct Connector {
    guard: Guard,
    tcp: HttpConnector<Guard>,
}

impl Connector {
    pub(super) fn new(guard: Guard) -> Self {
        let mut tcp = HttpConnector::new_with_resolver(guard.clone());
        // Where a name has several addresses, each has its share of it. It does not cover the lookup.
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        tcp.set_keepalive(Some(KEEPALIVE));
        tcp.set_nodelay(true);
        Self { guard, tcp }
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<TcpStream>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let Self { guard, mut tcp } = self.clone();
        async move {
            guard.judge_literal(&uri)?;
            // SECURITY: whoever answers for a name may be silent for good (threat model T11).
            let stream = timeout(CONNECT_TIMEOUT, tcp.call(uri)).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
            guard.judge_connection(&stream)?;
            Ok(stream)
        }
        .boxed()
    }
}

impl<S> Layer<S> for Guard {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded { inner, guard: self.clone() }
    }
}

/// A connector of reqwest, whose connections are judged once they stand.
#[derive(Debug, Clone)]
pub(super) struct Guarded<S> {
    inner: S,
    guard: Guard,
}

impl<S, T> Service<T> for Guarded<S>
where
    S: Service<T, Error = BoxError>,
    S::Response: Connection + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, target: T) -> Self::Future {
        let (connecting, guard) = (self.inner.call(target), self.guard.clone());
        async move {
            let connection = connecting.await?;
            guard.judge_connection(&connection)?;
            Ok(connection)
        }
        .boxed()
    }
}
