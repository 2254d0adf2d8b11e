//! The one policy for every request that leaves the proxy: to servers, to the addresses that servers name, and to the App.
//!
//! [`Policy::allow`] judges text and gives an [`AllowedUrl`]; [`Policy::send`] takes nothing else. Two sets of rules, by [`Author`]
//! (threat model T1, T2, T3 and section 4):
//!
//! - *Servers of the App* may use globally reachable addresses, full names and harmless ports. The operator opens more with
//!   `--allow-private-network`: addresses, not schemes, ports or user names. With any range open, a name without a dot is judged by the
//!   addresses that it leads to; `localhost` needs loopback to be open.
//! - *Servers of the owner's file, and the App itself*, may be anywhere.
//!
//! For both: `http` and `https` only, no user name, nothing that parsers read differently, no metadata service unless its exact address
//! was opened, and never the proxy's own listener. What a name leads to is judged where connections are made (`connect`), again for each.

mod address;
mod body;
mod client;
mod connect;
mod names;
mod rules;
#[cfg(test)]
mod tests;
mod tls;
mod url;

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use ::url::{Host, Url};
use bytes::Bytes;
use hyper::{HeaderMap, Method};
use ipnet::IpNet;
use reqwest::Response;

pub use self::{
    body::{ReadError, read},
    client::{Cause, Redirect, SendError},
    connect::Resolve,
    rules::Unresolved,
    tls::Tls,
    url::AllowedUrl,
};
use self::{
    client::{Clients, Outer, Outgoing},
    rules::Rules,
};
use crate::security::{Author, Refusal};

use crate::secret::Secret;

/// What the operator says about where requests may go.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Ranges that servers of the App may use besides public addresses; see [`parse_networks`].
    pub allow_private: Vec<IpNet>,
    /// An HTTP proxy for all requests that leave this machine. A secret, since it may hold a password.
    pub proxy: Option<Secret>,
}

/// The rules, and the clients that keep to them. Made once and shared by all workspaces.
#[derive(Debug)]
pub struct Policy {
    rules: Arc<Rules>,
    app: Clients,
    owner: Clients,
    outer: Option<Outer>,
}

impl Default for Policy {
    /// Nothing opened.
    fn default() -> Self {
        Self::new(Config::default())
    }
}

impl Policy {
    pub fn new(config: Config) -> Self {
        Self::with_resolver(config, Arc::new(connect::System))
    }

    /// The same with other knowledge of names.
    pub fn with_resolver(config: Config, resolver: Arc<dyn Resolve>) -> Self {
        let Config { allow_private, proxy } = config;
        let rules = Arc::new(Rules::new(&allow_private, resolver));
        Self { app: Clients::new(&rules, Author::App), owner: Clients::new(&rules, Author::Owner), outer: proxy.map(Outer::new), rules }
    }

    /// Tells where the proxy's own clients reach it, so that no request leads back.
    pub fn listens_at(&self, address: SocketAddr) {
        self.rules.listens_at(address);
    }

    /// Judges a URL without looking up its name.
    ///
    /// # Errors
    /// [`Refusal`] says by which rule, and what the operator may do.
    pub fn allow(&self, author: Author, text: &str) -> Result<AllowedUrl, Refusal> {
        self.rules.allow(author, text)
    }

    /// Judges what a server named, relative or absolute, which must be on the server's own origin.
    ///
    /// # Errors
    /// [`Refusal`] where it leads elsewhere.
    pub fn same_origin(&self, base: &AllowedUrl, reference: &str) -> Result<AllowedUrl, Refusal> {
        self.rules.same_origin(base, reference)
    }

    /// The addresses that would be connected to at the moment. For showing: each connection looks again.
    ///
    /// # Errors
    /// [`Unresolved`] where none is left, with the reason of the first that is refused.
    pub async fn resolve(&self, url: &AllowedUrl) -> Result<Vec<IpAddr>, Unresolved> {
        match url.url.host() {
            // Judged with the URL.
            Some(Host::Ipv4(ip)) => Ok(vec![ip.into()]),
            Some(Host::Ipv6(ip)) => Ok(vec![ip.into()]),
            Some(Host::Domain(name)) => self.rules.lookup(url.author, name).await,
            None => Err(Unresolved::Unknown),
        }
    }

    /// Sends a request and gives the head of the response; its body is read from it. `headers` are made anew for each hop: redirects
    /// are followed on the same origin where they keep the message. Who sets `Accept-Encoding` decodes the body by [`read`].
    ///
    /// # Errors
    /// [`SendError`]
    pub async fn send(
        &self,
        method: Method,
        url: &AllowedUrl,
        headers: impl Fn() -> HeaderMap,
        body: Bytes,
    ) -> Result<Response, SendError> {
        let clients = match url.author {
            Author::App => &self.app,
            Author::Owner => &self.owner,
        };
        client::send(clients, self.outer.as_ref(), Outgoing { method, url, headers, body }).await
    }
}

/// Reads a URL without judging where it leads: what holds for every one, whoever wrote it.
///
/// # Errors
/// [`Refusal`] for what two parsers may read differently, other schemes and userinfo.
pub fn parse(text: &str) -> Result<Url, Refusal> {
    url::parse(text).map(|(url, _)| url)
}

/// Whether the URL names a cloud metadata service, by address or by name.
pub fn is_metadata(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => address::metadata(ip.into()).is_some(),
        Some(Host::Ipv6(ip)) => address::metadata(ip.into()).is_some(),
        Some(Host::Domain(name)) => names::is_metadata(name),
        None => false,
    }
}

/// Whether the way to it leads through networks of others, as far as can be told without asking for its address.
pub fn is_public(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => !address::is_local(ip.into()),
        Some(Host::Ipv6(ip)) => !address::is_local(ip.into()),
        Some(Host::Domain(name)) => !names::is_local(name),
        None => false,
    }
}

/// `10.0.0.0/8`, `fd00::/8`, a single address, or `loopback` for the addresses of this machine.
///
/// # Errors
/// What is wrong, without the text.
pub fn parse_networks(text: &str) -> Result<Vec<IpNet>, String> {
    if text.eq_ignore_ascii_case("loopback") {
        return Ok(vec![address::LOOPBACK_V4, address::LOOPBACK_V6]);
    }
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok(vec![ip.into()]);
    }
    let net: IpNet =
        text.parse().map_err(|_| "must be `loopback` or a range of addresses such as `10.0.0.0/8` or `fd00::/8`".to_owned())?;
    // SECURITY: refused rather than widened: one of its two parts is not what was meant.
    if net.addr() != net.network() {
        return Err(format!("is not the beginning of a range; hint: `{}` or `{}`", net.trunc(), IpNet::from(net.addr())));
    }
    Ok(vec![net])
}
