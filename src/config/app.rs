//! The App's address and the proxy's own key: where they come from, and which belong together.

use std::{net::IpAddr, path::Path};

use ipnet::IpNet;
use url::{Host, Url};

use super::{Given, Settings, bounded, defaults, env, file};
use crate::{
    secret::Secret,
    security::{egress, token},
    source,
};

/// Whose keys the App is asked with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keys {
    Own,
    OfClients,
}

/// A key has 256 bytes at most, and may end in a line break or two.
const MAX_KEY_FILE: usize = 1024;

impl Settings<'_> {
    /// The key that the operator gives, as text or in a file of its own. Of two, the one by option counts, then the text.
    fn key(&mut self, (key, file): (Option<String>, Option<String>)) -> Option<Given> {
        let by_option = |name: &str, value: Option<String>| {
            let text = value.map(|text| text.trim().to_owned()).filter(|text| env::says_something(text))?;
            Some(Given { text, from: format!("`{name}`") })
        };
        if let Some(key) = by_option("--pluggedin-api-key", key) {
            return Some(key);
        }
        if let Some(file) = by_option("--pluggedin-api-key-file", file) {
            return self.key_in(&file);
        }
        if let Some(key) = self.variable(env::API_KEY) {
            return Some(key);
        }
        let file = self.variable(env::API_KEY_FILE)?;
        self.key_in(&file)
    }

    /// A file that cannot be read is a problem: going on without its key, or with another one, is not what was asked for.
    fn key_in(&mut self, file: &Given) -> Option<Given> {
        let Given { text: path, from } = file;
        match bounded(Path::new(path), MAX_KEY_FILE).map(String::from_utf8) {
            Ok(Ok(text)) => Some(Given { text: text.trim().to_owned(), from: format!("the key in `{path}` of {from}") }),
            Ok(Err(_)) => {
                self.problem(format!("{from}: `{path}` is not UTF-8 text"));
                None
            }
            Err(error) => {
                self.problem(format!("{from}: `{path}` cannot be read: {}", error.kind()));
                None
            }
        }
    }

    /// The address that the operator names, or the default one; and the App with the proxy's own key, if there is one.
    ///
    /// SECURITY: a key is sent only where its owner wants it. Options, environment and
    /// env file are the operator's word and one level; each credentials file is a level
    /// of its own. The address comes from the key's level or from the operator, so no
    /// file, and least of all one that lies in a project, can redirect another's key.
    /// Clients' keys go where the operator says; the proxy's own is not at hand then.
    pub(super) fn app(
        &mut self,
        key: (Option<String>, Option<String>),
        base_url: Option<String>,
        keys: Keys,
    ) -> (Url, Option<source::app::Config>) {
        let key = self.key(key);
        let base_url = self.option("--pluggedin-api-base-url", base_url, env::API_BASE_URL);
        let operators = base_url.map(|Given { text, from }| {
            let url = self.parse(Some(Given { text, from: from.clone() }), default_base_url(), parse_base_url);
            (url, from)
        });
        let (base_url, from) = operators.clone().unwrap_or_else(|| (default_base_url(), String::new()));
        match keys {
            Keys::Own => (base_url, self.own_app(key, operators)),
            Keys::OfClients => {
                if let Some(Given { from, .. }) = key {
                    self.warn(format!("{from} is not used: with `--auth per-client` each client brings a key"));
                }
                self.warn_of_plain_http(&base_url, &from);
                (base_url, None)
            }
        }
    }

    fn own_app(&mut self, key: Option<Given>, operators: Option<(Url, String)>) -> Option<source::app::Config> {
        let (files, warnings) = file::credentials(self.environment);
        self.problems.warnings.extend(warnings);

        let (key, own_url, place) = match key {
            Some(Given { text, from }) => match token::api_key(text.trim()) {
                Ok(key) => (key, None, None),
                Err(why) => {
                    self.problem(format!("{from} {why}"));
                    return None;
                }
            },
            None => files.iter().find_map(|file| self.file_key(file))?,
        };
        if place == Some(file::PROJECT_SETTINGS) {
            self.warn(format!("the API key of the working directory, in `{}`, is used", file::PROJECT_SETTINGS));
        }
        let operator_says = operators.is_some();
        let (base_url, from) = operators
            .or_else(|| own_url.map(|url| (url, format!("the base URL in `{}`", place.unwrap_or_default()))))
            .unwrap_or_else(|| (default_base_url(), String::new()));
        for file in files.iter().filter(|file| !operator_says && Some(file.place) != place) {
            if file.base_url.as_deref().is_some_and(|url| parse_base_url(url).as_ref() != Ok(&base_url)) {
                self.warn(format!("the base URL in `{}` is ignored, because the API key comes from elsewhere", file.place));
            }
        }
        self.warn_of_plain_http(&base_url, &from);
        Some(source::app::Config { base_url, key })
    }

    fn warn_of_plain_http(&mut self, base_url: &Url, from: &str) {
        if base_url.scheme() == "http" && is_public(base_url) {
            self.warn(format!("{from} is plain `http` to a public host: others can read the API key; hint: use `https`"));
        }
    }

    /// The key of a file with the file's own base URL, if both can be used.
    fn file_key(&mut self, file: &file::Credentials) -> Option<(Secret, Option<Url>, Option<&'static str>)> {
        let key = match token::api_key(file.api_key.as_deref()?.trim()) {
            Ok(key) => key,
            Err(why) => {
                self.warn(format!("the API key in `{}` is ignored: it {why}", file.place));
                return None;
            }
        };
        match file.base_url.as_deref().map(parse_base_url).transpose() {
            Ok(base_url) => Some((key, base_url, Some(file.place))),
            Err(why) => {
                // Its key is for another App than the default one.
                self.warn(format!("the API key in `{}` is ignored: the base URL beside it {why}", file.place));
                None
            }
        }
    }
}

fn default_base_url() -> Url {
    Url::parse(defaults::BASE_URL).expect("the default is a URL")
}

/// SECURITY: refused rather than repaired, because a repaired address is another
/// address. Never shows the text, which may hold a password.
pub(super) fn parse_base_url(text: &str) -> Result<Url, String> {
    let text = text.trim();
    if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err("holds a blank or control character".to_owned());
    }
    let scheme = text.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
    if !matches!(scheme.as_deref(), Some("http" | "https")) {
        return Err("must begin with `http://` or `https://`".to_owned());
    }
    let mut url = Url::parse(text).map_err(|error| format!("is not a URL: {error}"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("holds a user name or password, which does not belong there".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("holds `?` or `#`; only scheme, host, port and a path are allowed".to_owned());
    }
    if egress::is_metadata(&url) {
        return Err("is an address of a cloud metadata service".to_owned());
    }
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}

/// Whether the way to it leads through networks of others.
fn is_public(url: &Url) -> bool {
    const LOCAL: [&str; 10] = [
        "0.0.0.0/32",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "::/127",
        "fc00::/7",
        "fe80::/10",
    ];
    const LOCAL_NAMES: [&str; 7] = [".localhost", ".local", ".internal", ".lan", ".home", ".home.arpa", ".test"];
    if let Some(address) = address(url) {
        return !LOCAL.iter().any(|net| net.parse::<IpNet>().is_ok_and(|net| net.contains(&address)));
    }
    let name = url.host_str().unwrap_or_default().trim_end_matches('.');
    name.contains('.') && !LOCAL_NAMES.iter().any(|suffix| name.ends_with(suffix))
}

/// The host where it is an address; IPv4 in IPv6's clothes is IPv4.
fn address(url: &Url) -> Option<IpAddr> {
    match url.host()? {
        Host::Ipv4(ip) => Some(ip.into()),
        Host::Ipv6(ip) => Some(ip.to_ipv4_mapped().map_or(IpAddr::V6(ip), IpAddr::V4)),
        Host::Domain(_) => None,
    }
}
