//! What the operator says about where requests may go, judged. What comes of it is `security::egress`'s business.

use std::sync::Arc;

use url::Url;

use super::{Settings, cli::EgressOptions, env};
use crate::{
    secret::Secret,
    security::egress::{self, Policy, parse_networks},
};

impl Settings<'_> {
    /// The policy for all requests, and whether plain `http` to a public App is what the operator wants.
    ///
    /// SECURITY: option or environment of the process only (threat model, section 4.2). Who writes servers must not open networks to
    /// himself, by a file in a project or otherwise.
    pub(super) fn egress(&mut self, options: EgressOptions) -> (Arc<Policy>, bool) {
        let EgressOptions { allow_private_network, allow_plain_http, egress_proxy } = options;
        let networks = self.list("--allow-private-network", allow_private_network, env::ALLOW_PRIVATE_NETWORKS, parse_networks);
        let proxy = self.option("--egress-proxy", egress_proxy, env::EGRESS_PROXY);
        self.found.outer_proxy = proxy.is_some();
        let from = proxy.as_ref().map(|given| given.from.clone());
        let proxy = self.parse(proxy, None, |text| parse_proxy(text).map(Some));
        if let (Some(from), Some(_)) = (from, &proxy) {
            self.warn(format!(
                "{from}: requests go through that proxy, which finds the addresses of names; IT HAS TO KEEP SERVERS FROM PRIVATE \
                 NETWORKS, since only names and literal addresses are judged here"
            ));
        }
        let config = egress::Config { allow_private: networks.into_iter().flatten().collect(), proxy };
        (Arc::new(Policy::new(config)), allow_plain_http || self.switch(env::ALLOW_PLAIN_HTTP))
    }

    /// Everybody on the way reads the API key then.
    pub(super) fn judge_plain_http(&mut self, base_url: &Url, from: &str, allowed: bool) {
        match plain_http(base_url) {
            Ok(()) => {}
            Err(why) if allowed => self.warn(format!("{from} {why}")),
            Err(why) => self.problem(format!("{from} {why}; hint: use `https`, or `--allow-plain-http` if nobody else is on the way")),
        }
    }
}

pub(super) fn plain_http(url: &Url) -> Result<(), String> {
    if url.scheme() == "http" && egress::is_public(url) {
        return Err("is plain `http` to a public host: others can read the API key".to_owned());
    }
    Ok(())
}

/// Never shows the text, which may hold a password: that of the operator's own proxy.
fn parse_proxy(text: &str) -> Result<Secret, String> {
    let bad = || "must be the URL of an HTTP proxy, such as `http://proxy.example.com:3128`".to_owned();
    let url = Url::parse(text).map_err(|_| bad())?;
    let bare = matches!(url.path(), "" | "/") && url.query().is_none() && url.fragment().is_none();
    if !matches!(url.scheme(), "http" | "https") || !bare || text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(bad());
    }
    Ok(url.as_str().into())
}
