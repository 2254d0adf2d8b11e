//! The options of the HTTP front, judged. What comes of them is the front's business.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

use super::{Given, Settings, app::parse_base_url, cli::HttpOptions, defaults, env, some_time, time};
use crate::{
    front::http::{self, auth, limits, origin, sessions},
    secret::Secret,
};

/// What clients are asked for, before it is known whether there is a key to compare with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Auth {
    Nothing,
    OwnKey,
    PerClient,
}

impl Settings<'_> {
    pub(super) fn auth(&mut self, option: Option<String>, require: bool) -> Auth {
        let required = require || self.switch(env::REQUIRE_API_AUTH);
        let given = self.option("--auth", option, env::AUTH);
        let auth = self.parse(given, None, |text| match text {
            "none" => Ok(Some(Auth::Nothing)),
            "key" => Ok(Some(Auth::OwnKey)),
            "per-client" => Ok(Some(Auth::PerClient)),
            _ => Err("must be `none`, `key` or `per-client`".to_owned()),
        });
        match auth {
            Some(Auth::Nothing) if required => {
                self.problem("`--auth none` and `--require-api-auth` contradict each other; hint: leave one of them out");
                Auth::OwnKey
            }
            Some(auth) => auth,
            None if required => Auth::OwnKey,
            None => Auth::Nothing,
        }
    }

    /// All of it is judged, also where nothing comes of it. `named` says whether PORT and BIND_HOST are meant for
    /// us: others use these names as well.
    pub(super) fn http(&mut self, options: HttpOptions, named: bool, auth: auth::Config) -> http::Config {
        let HttpOptions {
            host,
            port,
            stateless,
            auth: _,
            require_api_auth: _,
            allowed_host,
            allowed_origin,
            session_timeout,
            max_sessions,
            max_body,
            max_connections,
            max_calls,
            grace,
        } = options;
        let limits = limits::Config::default();
        let host = self.option("--host", host, env::BIND_HOST).filter(|given| named || given.from == "`--host`");
        let session_timeout = self.option("--session-timeout", session_timeout, env::SESSION_TIMEOUT);
        let max_sessions = self.option("--max-sessions", max_sessions, env::MAX_SESSIONS);
        let max_body = self.option("--max-body", max_body, env::MAX_BODY);
        let max_connections = self.option("--max-connections", max_connections, env::MAX_CONNECTIONS);
        let max_calls = self.option("--max-calls", max_calls, env::MAX_CALLS);
        let grace = self.option("--grace", grace, env::GRACE);
        http::Config {
            host: self.parse(host, defaults::HOST.to_owned(), |text| Ok(without_brackets(&parse_host(text)?))),
            port: self.port(port, named),
            stateless: stateless || self.switch(env::STATELESS),
            auth,
            origins: origin::Config {
                allowed_hosts: self.list("--allowed-host", allowed_host, env::ALLOWED_HOSTS, parse_allowed_host),
                allowed_origins: self.list("--allowed-origin", allowed_origin, env::ALLOWED_ORIGINS, parse_origin),
            },
            sessions: sessions::Config {
                timeout: self.parse(session_timeout, defaults::SESSION_TIMEOUT, some_time),
                max: self.parse(max_sessions, defaults::MAX_SESSIONS, count),
            },
            limits: limits::Config {
                body: self.parse(max_body, limits.body, size),
                connections: self.parse(max_connections, limits.connections, count),
                calls: self.parse(max_calls, limits.calls, count),
                ..limits
            },
            grace: self.parse(grace, defaults::GRACE, time),
        }
    }

    fn port(&mut self, option: Option<String>, named: bool) -> u16 {
        let port = |text: &str| text.parse().map_err(|_| "must be a port, 0 to 65535".to_owned());
        // Whoever serves over stdio may have a PORT of something else in the environment.
        let variable = self.variable(env::PORT).filter(|_| named);
        let option = self.option("--port", option, env::PORT).filter(|given| given.from == "`--port`");
        self.parse(variable.or(option), defaults::PORT, port)
    }

    /// Repeated options or one variable; commas separate in both.
    pub(super) fn list<T: PartialEq>(
        &mut self,
        option: &str,
        values: Vec<String>,
        variable: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        let values = if values.is_empty() { vec![None] } else { values.into_iter().map(Some).collect() };
        let given: Vec<Given> = values.into_iter().filter_map(|value| self.option(option, value, variable)).collect();
        let mut list = Vec::new();
        for Given { text, from, in_env_file: _ } in given {
            for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
                match parse(item) {
                    Ok(item) if list.contains(&item) => {}
                    Ok(item) => list.push(item),
                    Err(why) => self.problem(format!("{from} {why}")),
                }
            }
        }
        list
    }

    /// What the front is given to compare with.
    pub(super) fn front_auth(&mut self, auth: Auth, own_key: Option<&Secret>, serving: bool) -> auth::Config {
        match (auth, own_key) {
            (Auth::Nothing, _) => auth::Config::Open,
            (Auth::PerClient, _) => auth::Config::PerClient,
            (Auth::OwnKey, Some(key)) => auth::Config::Key(key.clone()),
            (Auth::OwnKey, None) => {
                if serving {
                    self.problem(
                        "`--require-api-auth` (or `--auth key`) needs an API key to compare with, and none can be used; \
                         hint: set `PLUGGEDIN_API_KEY`",
                    );
                }
                auth::Config::Open
            }
        }
    }

    /// SECURITY: whoever reaches an open port uses the servers with the operator's rights.
    pub(super) fn warn_of_open_port(&mut self, config: &http::Config) {
        let http::Config { host, auth, .. } = config;
        if matches!(auth, auth::Config::Open) && !is_loopback(host) {
            self.warn(format!(
                "listening at `{host}` without asking for a key: WHOEVER REACHES THE PORT CAN USE ALL SERVERS; \
                 hint: `--require-api-auth`, or `--host {}`",
                defaults::HOST
            ));
        }
    }

    /// What the holders of other keys get of this machine.
    pub(super) fn warn_of_sharing(&mut self, programs: bool, file: bool) {
        if programs {
            self.warn("`--stdio-servers` is on with `--auth per-client`: whoever has a key of the App can run programs on this machine");
        }
        if file {
            self.warn("the servers of `--config` are offered to every client with `--auth per-client`, whatever its key");
        }
    }

    /// Where `health` asks.
    pub(super) fn health_url(&mut self, url: Option<String>, front: &http::Config) -> Url {
        let host = match front.host.parse() {
            Ok(IpAddr::V4(Ipv4Addr::UNSPECIFIED)) => Host::Ipv4(Ipv4Addr::LOCALHOST),
            Ok(IpAddr::V6(Ipv6Addr::UNSPECIFIED)) => Host::Ipv6(Ipv6Addr::LOCALHOST),
            Ok(IpAddr::V4(ip)) => Host::Ipv4(ip),
            Ok(IpAddr::V6(ip)) => Host::Ipv6(ip),
            Err(_) => Host::Domain(front.host.clone()),
        };
        let own = Url::parse(&format!("http://{host}:{}/", front.port)).expect("the host was judged");
        if url.is_none() && front.port == 0 {
            self.problem("`health` needs a port to ask; hint: `--port` or `--url`");
        }
        let given = url.map(|text| Given::new(text, "`--url`"));
        let mut url = self.parse(given, own, parse_base_url);
        if url.path() == "/" {
            url.set_path("/health");
        }
        url
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.to_canonical().is_loopback())
}

/// A name or an address, as browsers write it: in lower case, IPv6 in brackets.
fn parse_host(text: &str) -> Result<Host, String> {
    if let Ok(ip) = text.parse() {
        return Ok(Host::Ipv6(ip));
    }
    // `*` is a letter for the parser, and `%41` is an `a`; for nobody else.
    if text.contains(['*', '%']) {
        return Err(bad_host(text));
    }
    Host::parse(text.strip_suffix('.').unwrap_or(text)).map_err(|_| bad_host(text))
}

fn bad_host(text: &str) -> String {
    if text.contains('*') {
        return "cannot hold `*`: each host has to be named".to_owned();
    }
    "must be a host name or an address, without scheme, port and path".to_owned()
}

/// As listeners take it.
fn without_brackets(host: &Host) -> String {
    match host {
        Host::Domain(name) => name.clone(),
        Host::Ipv4(ip) => ip.to_string(),
        Host::Ipv6(ip) => ip.to_string(),
    }
}

fn parse_allowed_host(text: &str) -> Result<String, String> {
    // What the front cannot compare with would allow nothing, and tell nobody.
    parse_host(text).map(|host| host.to_string()).ok().filter(|host| origin::is_host(host)).ok_or_else(|| bad_host(text))
}

fn parse_origin(text: &str) -> Result<String, String> {
    // SECURITY: each would let pages in that nobody has named.
    if text.contains('*') {
        return Err("cannot hold `*`: each origin has to be named".to_owned());
    }
    if text == "null" {
        return Err("cannot be `null`: every page in a sandbox says that of itself".to_owned());
    }
    if text.ends_with('/') || !origin::is_origin(text) {
        return Err("must be `scheme://host` or `scheme://host:port` with nothing after it, such as `https://app.example.com`".to_owned());
    }
    Ok(text.to_owned())
}

fn count(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| defaults::COUNT_RANGE.contains(number));
    number.ok_or_else(|| "must be a number from 1 to 1000000".to_owned())
}

/// `65536`, `512k`, `10MiB`.
pub(super) fn size(text: &str) -> Result<usize, String> {
    let unit = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit);
    let factor = match unit.to_ascii_lowercase().as_str() {
        "" => Some(1),
        "k" | "kib" => Some(1024),
        "m" | "mib" => Some(1024 * 1024),
        _ => None,
    };
    let size = factor.and_then(|factor| number.trim().parse::<usize>().ok()?.checked_mul(factor));
    let size = size.filter(|size| defaults::MAX_BODY_RANGE.contains(size));
    size.ok_or_else(|| "must be a size such as `65536`, `512k` or `10MiB`, from 1 KiB to 1 GiB".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        let host = |text: &str| parse_host(text).map(|host| (host.to_string(), without_brackets(&host))).ok();
        for (text, shown, bound) in [
            ("localhost", "localhost", "localhost"),
            ("MCP.Example.com", "mcp.example.com", "mcp.example.com"),
            ("mcp.example.com.", "mcp.example.com", "mcp.example.com"),
            ("my_container-1", "my_container-1", "my_container-1"),
            ("b\u{fc}cher.example", "xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("0.0.0.0", "0.0.0.0", "0.0.0.0"),
            ("::", "[::]", "::"),
            ("[::1]", "[::1]", "::1"),
            ("FD00:0::1", "[fd00::1]", "fd00::1"),
        ] {
            assert_eq!(host(text), Some((shown.to_owned(), bound.to_owned())), "{text}");
            assert_eq!(parse_allowed_host(text).as_deref(), Ok(shown));
        }
        for bad in ["", ".", "http://a", "a:80", "[::1]:80", "a/b", "a b", "*", "*.a.example", "u@a", "[a]", "fe80::1%eth0", "256.1.1.1"] {
            assert!(parse_host(bad).is_err() && parse_allowed_host(bad).is_err(), "{bad}");
        }
        // A name that no request can bear.
        assert!(parse_allowed_host("a!b.example").is_err());
    }

    #[test]
    fn origins() {
        for text in [
            "https://app.example.com",
            "HTTPS://App.Example.com:443",
            "http://localhost:6274",
            "http://[::1]:80",
            "http://127.0.0.1:1",
            "chrome-extension://abcdef",
        ] {
            assert_eq!(parse_origin(text).as_deref(), Ok(text));
        }
        for bad in [
            "",
            "*",
            "null",
            "https://*.example.com",
            "app.example.com",
            "https://app.example.com/",
            "https://app.example.com/path",
            "https://app.example.com?a",
            "https://app.example.com#a",
            "https://u@app.example.com",
            "https://app.example.com\\",
            "https://a b",
            "https://",
            "https://a:99999",
            "file://",
            "data:text/plain,x",
        ] {
            assert!(parse_origin(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes) in
            [("1024", 1024), ("64k", 65_536), ("64KiB", 65_536), ("10m", 10_485_760), ("10 MiB", 10_485_760), ("1024M", 1_073_741_824)]
        {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for bad in ["", "0", "1023", "k", "-1k", "1.5m", "1g", "1025m", "10 bytes", "99999999999999999999m"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn loopback_is_told_from_the_rest() {
        for host in ["localhost", "127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["0.0.0.0", "::", "192.168.0.1", "example.com", "localhost.example.com", "::ffff:10.0.0.1"] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
