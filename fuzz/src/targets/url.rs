use std::{net::IpAddr, sync::LazyLock};

use pluggedin_mcp_proxy::security::{Author, egress::Policy};

use super::{Target, hash, size};

pub(super) const TARGET: Target = Target {
    name: "url",
    seeds: &[
        "https://example.com/mcp",
        "http://user:pass@example.com:8080/a/b?c=d#e",
        "https://[2001:db8::1]:443/",
        "http://127.0.0.1/",
        "http://0x7f.1/",
        "http://017700000001",
        "http://2130706433/",
        "http://[::ffff:169.254.169.254]/latest/meta-data",
        "https://169.254.169.254",
        "https://metadata.google.internal/",
        "https://localhost./",
        "https://ex\u{e4}mple.\u{65e5}\u{672c}/",
        "HTTPS:\\\\example.com\\x",
        "file:///etc/passwd",
    ],
    words: &[
        "http://", "https://", "@", "[::", "]", "%2e", "%00", "\t", "\r\n", "。", "．", "①", "ß", "xn--", "0x", ":80", ":443", "..", "\\",
    ],
    run,
};

/// The policy for servers of the App.
fn allowed(text: &str) -> Option<String> {
    static POLICY: LazyLock<Policy> = LazyLock::new(Policy::default);
    POLICY.allow(Author::App, text).ok().map(|allowed| allowed.as_url().to_string())
}

/// By the standard library, which knows fewer ranges than the policy but none that is public.
fn is_special(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(ip) => {
            let plain = ip.is_private() || ip.is_loopback() || ip.is_link_local() || ip.is_documentation();
            plain || ip.is_unspecified() || ip.is_broadcast() || ip.is_multicast()
        }
        IpAddr::V6(ip) => {
            ip.is_loopback() || ip.is_unspecified() || ip.is_multicast() || ip.is_unique_local() || ip.is_unicast_link_local()
        }
    }
}

fn run(input: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(input);
    let Some(url) = allowed(&text) else { return hash(&(false, size(text.len()))) };
    let (scheme, rest) = url.split_once("://").expect("a scheme with an authority");
    assert!(matches!(scheme, "http" | "https"), "scheme of {url:?}");
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    assert!(!authority.is_empty() && !authority.contains('@'), "authority of {url:?}");
    assert!(url.is_ascii() && !url.contains(|c: char| c.is_control() || c == ' '), "characters of {url:?}");
    assert_eq!(allowed(&url).as_deref(), Some(url.as_str()), "what was read reads differently");

    let host =
        authority.rsplit_once(':').filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit())).map_or(authority, |(host, _)| host);
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>().ok().map(|address| address.to_canonical());
    assert!(address.is_none_or(|address| !is_special(address)), "a special address: {url:?}");
    let metadata = ["100.100.100.200", "168.63.129.16", "192.0.0.192"];
    assert!(address.is_none_or(|address| !metadata.contains(&address.to_string().as_str())), "a metadata address: {url:?}");
    assert!(!matches!(host.trim_end_matches('.'), "localhost" | "metadata.google.internal"), "a local name: {url:?}");
    hash(&(true, scheme, address.is_some(), size(rest.len()), url.contains('?'), url.contains('%'), url.contains("xn--")))
}
