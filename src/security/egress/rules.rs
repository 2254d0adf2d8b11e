//! What may be connected to: every URL, name and address is judged here and nowhere else.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, OnceLock},
};

use ipnet::{IpNet, Ipv4Net};
use url::{Host, Url};

use super::{
    address::{self, Block},
    connect::Resolve,
    names,
    url::{AllowedUrl, origin, parse, plain},
};
use crate::security::{Author, Refusal, Rule};

/// The operator's word, and what the proxy knows of itself.
#[derive(Debug)]
pub(super) struct Rules {
    /// Opened to servers of the App. Mapped ranges stand here as the IPv4 that they are.
    open: Vec<IpNet>,
    /// Where clients reach this proxy.
    own: OnceLock<SocketAddr>,
    pub(super) resolver: Arc<dyn Resolve>,
}

/// Why an address may not be connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Denied {
    Own,
    Metadata(IpAddr),
    Special(&'static Block),
}

impl Rules {
    pub(super) fn new(open: &[IpNet], resolver: Arc<dyn Resolve>) -> Self {
        Self { open: open.iter().copied().map(unmapped).collect(), own: OnceLock::new(), resolver }
    }

    pub(super) fn listens_at(&self, address: SocketAddr) {
        // Called once: there is one listener.
        let _ = self.own.set(SocketAddr::new(address.ip().to_canonical(), address.port()));
    }

    pub(super) fn allow(&self, author: Author, text: &str) -> Result<AllowedUrl, Refusal> {
        let (url, uri) = parse(text)?;
        match url.host() {
            Some(Host::Ipv4(ip)) => self.judge(author, ip.into(), url.port_or_known_default(), &Subject::Url(&url))?,
            Some(Host::Ipv6(ip)) => self.judge(author, ip.into(), url.port_or_known_default(), &Subject::Url(&url))?,
            Some(Host::Domain(name)) => self.judge_name(author, name)?,
            None => return Err(Refusal::new(Rule::UrlSyntax, "the URL has no host", "write it as `https://host/path`")),
        }
        // SECURITY: after the host, so that who names a forbidden address is told of that and not of its port.
        if author == Author::App && url.port_or_known_default().is_some_and(names::is_bad_port) {
            let hint = "serve MCP at another port, or name the server in the file of `--config`";
            return Err(Refusal::new(Rule::Port, format!("the port of `{}` belongs to another service than HTTP", origin(&url)), hint));
        }
        Ok(AllowedUrl { url, uri, author })
    }

    /// `reference` as a server named it, relative or absolute, on the origin of `base`.
    pub(super) fn same_origin(&self, base: &AllowedUrl, reference: &str) -> Result<AllowedUrl, Refusal> {
        plain(reference)?;
        let bad = || Refusal::new(Rule::UrlSyntax, "the server names an address that cannot be read", "this is the server's to mend");
        if reference.contains('\\') {
            return Err(bad());
        }
        let joined = base.url.join(reference).map_err(|_| bad())?;
        if joined.origin() != base.url.origin() {
            let what = format!("the server names an address on another origin, `{}`", origin(&joined));
            return Err(Refusal::new(Rule::OtherOrigin, what, "configure that address if you trust it"));
        }
        self.allow(base.author, joined.as_str())
    }

    /// Names that need no resolver to be wrong.
    fn judge_name(&self, author: Author, name: &str) -> Result<(), Refusal> {
        if names::is_metadata(name) && !self.open.iter().any(|net| is_exact(net) && address::metadata(net.addr()).is_some()) {
            return Err(refuse_metadata(format!("`{name}` is a name of a cloud metadata service"), None));
        }
        if names::has_empty_label(name) {
            return Err(Refusal::new(Rule::UrlSyntax, "the host name has an empty part", "write it with single dots"));
        }
        if author == Author::Owner {
            return Ok(());
        }
        if names::is_localhost(name) {
            let loopback = self.open.iter().any(|net| overlaps(net, &address::LOOPBACK_V4) || net.contains(&address::LOOPBACK_V6));
            let what = || format!("`{name}` is this machine, which {SERVERS}");
            return if loopback { Ok(()) } else { Err(Refusal::new(Rule::HostName, what(), hint("loopback"))) };
        }
        // Where the operator has opened a range, the addresses that such a name leads to decide.
        if names::is_single_label(name) && self.open.is_empty() {
            let what = format!("`{name}` is a name of a private network only, which {SERVERS}");
            let hint = "give the full name, or start the proxy with `--allow-private-network <RANGE>` for the range of its address if you trust it";
            return Err(Refusal::new(Rule::HostName, what, hint));
        }
        Ok(())
    }

    /// All addresses of a name that may be connected to.
    pub(super) async fn lookup(&self, author: Author, name: &str) -> Result<Vec<IpAddr>, Unresolved> {
        let found = self.resolver.resolve(name).await.map_err(|_| Unresolved::Unknown)?;
        let mut refusal = None;
        let mut allowed = Vec::with_capacity(found.len());
        // SECURITY: each by itself. A name with one good address must not bring in a bad one, nor be lost for it.
        for ip in found {
            match self.judge(author, ip, None, &Subject::Name(name)) {
                Ok(()) => allowed.push(ip),
                Err(refused) => refusal = refusal.or(Some(refused)),
            }
        }
        match refusal {
            Some(refusal) if allowed.is_empty() => Err(Unresolved::Refused(refusal)),
            None if allowed.is_empty() => Err(Unresolved::Unknown),
            _ => Ok(allowed),
        }
    }

    /// Judges the address where a connection ended up.
    pub(super) fn judge_peer(&self, author: Author, peer: SocketAddr, local: SocketAddr) -> Result<(), Refusal> {
        let (peer_ip, local_ip) = (peer.ip().to_canonical(), local.ip().to_canonical());
        // SECURITY: who listens at every address is reached by each of them: then both ends are on this machine.
        let own = self.own.get().is_some_and(|own| own.ip().is_unspecified() && own.port() == peer.port() && peer_ip == local_ip);
        if own { Err(refusal(&Denied::Own, &Subject::Peer)) } else { self.judge(author, peer_ip, Some(peer.port()), &Subject::Peer) }
    }

    pub(super) fn judge(&self, author: Author, ip: IpAddr, port: Option<u16>, subject: &Subject<'_>) -> Result<(), Refusal> {
        self.verdict(author, ip.to_canonical(), port).map_err(|denied| refusal(&denied, subject))
    }

    fn verdict(&self, author: Author, ip: IpAddr, port: Option<u16>) -> Result<(), Denied> {
        if port.is_some_and(|port| self.is_own(ip, port)) {
            return Err(Denied::Own);
        }
        // SECURITY: before the opened ranges, and for the owner's file as well: whoever opens 169.254.0.0/16 does not think of these.
        if let Some(service) = address::metadata(ip)
            && !self.open.iter().any(|net| is_exact(net) && [service, ip].contains(&net.addr()))
        {
            return Err(Denied::Metadata(ip));
        }
        if author == Author::Owner || self.open.iter().any(|net| net.contains(&ip)) {
            return Ok(());
        }
        address::special(ip).map_or(Ok(()), |block| Err(Denied::Special(block)))
    }

    /// Whether clients of this proxy reach it there.
    fn is_own(&self, ip: IpAddr, port: u16) -> bool {
        let Some(own) = self.own.get().filter(|own| own.port() == port) else { return false };
        let here = ip.is_loopback() || ip.is_unspecified();
        // Connecting to 0.0.0.0 reaches what listens at 127.0.0.1.
        own.ip() == ip || (own.ip().is_unspecified() && here) || (own.ip().is_loopback() && ip.is_unspecified())
    }
}

/// Why a name has no address to connect to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unresolved {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("the host name is unknown")]
    Unknown,
}

/// What a refusal speaks of.
pub(super) enum Subject<'a> {
    Url(&'a Url),
    Name(&'a str),
    Peer,
}

impl Subject<'_> {
    fn is(&self, what: &str) -> String {
        match self {
            Self::Url(url) => format!("`{}` is {what}", origin(url)),
            Self::Name(name) => format!("`{name}` resolves to {what}"),
            Self::Peer => format!("the connection leads to {what}"),
        }
    }
}

const SERVERS: &str = "servers of the App may not use";

fn hint(range: &str) -> String {
    format!("start the proxy with `--allow-private-network {range}` if you trust it")
}

fn refusal(denied: &Denied, subject: &Subject<'_>) -> Refusal {
    match denied {
        Denied::Own => Refusal::new(Rule::OwnAddress, subject.is("the proxy's own address"), "name the server itself, not the proxy"),
        Denied::Metadata(ip) => {
            // Nobody is told what a name resolves to; who writes the address knows it.
            let named = matches!(subject, Subject::Url(_)).then_some(*ip);
            refuse_metadata(subject.is("an address of a cloud metadata service"), named)
        }
        Denied::Special(block) => {
            let net = block.net.to_string();
            let what = format!("{} ({net}), which {SERVERS}", subject.is(block.kind));
            let loopback = address::LOOPBACK_V4 == block.net || address::LOOPBACK_V6 == block.net;
            Refusal::new(Rule::PrivateAddress, what, hint(if loopback { "loopback" } else { &net }))
        }
    }
}

fn refuse_metadata(what: String, ip: Option<IpAddr>) -> Refusal {
    let exact = ip.map_or_else(|| "<ADDRESS>".to_owned(), |ip| IpNet::from(ip).to_string());
    let hint = format!("no range opens it; if you must, start the proxy with its exact address: `--allow-private-network {exact}`");
    Refusal::new(Rule::MetadataAddress, what, hint)
}

fn is_exact(net: &IpNet) -> bool {
    net.prefix_len() == net.max_prefix_len()
}

fn overlaps(a: &IpNet, b: &IpNet) -> bool {
    a.contains(b) || b.contains(a)
}

/// A range of `::ffff:0:0/96` as the IPv4 range that it is.
fn unmapped(net: IpNet) -> IpNet {
    let IpNet::V6(v6) = net else { return net };
    let v4 = v6.addr().to_ipv4_mapped().filter(|_| v6.prefix_len() >= 96);
    v4.and_then(|ip| Ipv4Net::new(ip, v6.prefix_len() - 96).ok()).map_or(net, IpNet::V4)
}
