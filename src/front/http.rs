//! The Streamable HTTP front (MCP transports, "Streamable HTTP").

use std::time::Duration;

pub mod auth;
#[cfg_attr(not(test), expect(dead_code, reason = "what uses it is on its way"))]
pub mod limits;
#[cfg_attr(not(test), expect(dead_code, reason = "what uses it is on its way"))]
pub mod origin;
#[cfg_attr(not(test), expect(dead_code, reason = "what uses it is on its way"))]
mod reply;
pub mod sessions;

/// How clients reach the proxy over HTTP.
#[derive(Debug, Clone)]
pub struct Config {
    /// A name or an address to listen at.
    pub host: String,
    /// 0 lets the operating system choose.
    pub port: u16,
    /// Every request stands alone; nothing is kept between requests.
    pub stateless: bool,
    pub auth: auth::Config,
    pub origins: origin::Config,
    pub limits: limits::Config,
    pub sessions: sessions::Config,
    /// How long calls in flight may take to finish once a signal has come.
    pub grace: Duration,
}
