//! The one maker of HTTP clients.
//!
//! Everything that all outbound requests have in common stands here: no automatic
//! redirects, no proxy from the environment, a limit on connecting.

use std::time::Duration;

/// Longer than any healthy TCP and TLS handshake, short enough that a dead
/// address does not use up the time of the request.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

const USER_AGENT: &str = concat!("pluggedin-mcp-proxy/", env!("CARGO_PKG_VERSION"));

/// A builder to start from; time limits for whole requests are the caller's.
///
/// The process must have installed rustls' crypto provider before `build()`.
pub fn client_builder() -> reqwest::ClientBuilder {
    // SECURITY: redirects are followed, where at all, by the caller, who knows which
    // headers may go where. Proxy variables are ignored: with an outer proxy that
    // resolves names, checks of addresses would see the proxy only.
    reqwest::Client::builder()
        .user_agent(USER_AGENT)
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .no_proxy()
        .connect_timeout(CONNECT_TIMEOUT)
}
