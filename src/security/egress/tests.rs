mod connections;
mod tls;

use proptest::prelude::*;

use super::*;
use crate::security::Rule;

fn open(ranges: &[&str]) -> Config {
    let networks = ranges.iter().flat_map(|range| parse_networks(range).expect("a range"));
    Config { allow_private: networks.collect(), proxy: None }
}

fn policy(ranges: &[&str]) -> Policy {
    Policy::new(open(ranges))
}

/// The rule that refuses it, or `None`.
fn judged(policy: &Policy, author: Author, text: &str) -> Option<Rule> {
    policy.allow(author, text).err().map(|refusal| refusal.rule)
}

#[track_caller]
fn check(policy: &Policy, author: Author, cases: &[(&str, Option<Rule>)]) {
    for (text, expect) in cases {
        assert_eq!(judged(policy, author, text), *expect, "{author:?} {text:?}");
    }
}

#[test]
fn syntax_scheme_and_userinfo_hold_for_everybody() {
    let cases = [
        ("https://example.com", None),
        ("HTTP://Example.COM:8080/mcp?a=b#c", None),
        ("https://b\u{fc}cher.example/", None),
        ("https://example.com/a%20b", None),
        ("ftp://example.com", Some(Rule::Scheme)),
        ("file:///etc/passwd", Some(Rule::Scheme)),
        ("gopher://example.com", Some(Rule::Scheme)),
        ("javascript:alert(1)", Some(Rule::UrlSyntax)),
        ("nonsense", Some(Rule::UrlSyntax)),
        ("", Some(Rule::UrlSyntax)),
        ("http://", Some(Rule::UrlSyntax)),
        ("http:///example.com", Some(Rule::UrlSyntax)),
        ("http:example.com", Some(Rule::UrlSyntax)),
        ("http:\\\\example.com", Some(Rule::UrlSyntax)),
        ("http://example.com\\@other.example", Some(Rule::UrlSyntax)),
        ("http://a:b@example.com", Some(Rule::Userinfo)),
        ("http://a@example.com", Some(Rule::Userinfo)),
        ("http://@example.com", Some(Rule::Userinfo)),
        ("http://:@example.com", Some(Rule::Userinfo)),
        ("http://exam\tple.com", Some(Rule::UrlSyntax)),
        ("http://example.com/\n", Some(Rule::UrlSyntax)),
        ("ht\rtp://example.com", Some(Rule::UrlSyntax)),
        (" http://example.com", Some(Rule::UrlSyntax)),
        ("http://example.com/a b", Some(Rule::UrlSyntax)),
        ("http://example.com/\u{0}", Some(Rule::UrlSyntax)),
        ("http://example.com/\u{7f}", Some(Rule::UrlSyntax)),
        ("http://example.com/\u{a0}", Some(Rule::UrlSyntax)),
        ("http://a..example.com", Some(Rule::UrlSyntax)),
        ("http://example.com..", Some(Rule::UrlSyntax)),
        ("http://exa%00mple.com", Some(Rule::UrlSyntax)),
        ("http://example.com:99999", Some(Rule::UrlSyntax)),
        ("http://[::1%25eth0]/", Some(Rule::UrlSyntax)),
    ];
    check(&policy(&[]), Author::App, &cases);
    check(&policy(&["0.0.0.0/0", "::/0"]), Author::App, &cases);
    check(&policy(&[]), Author::Owner, &cases);
}

/// Every way to write an address that the parser knows comes to the same.
#[test]
fn odd_literals_are_addresses() {
    for text in [
        "http://127.0.0.1",
        "http://127.1",
        "http://127.0.1",
        "http://0x7f.1",
        "http://0x7f000001",
        "http://0177.0.0.1",
        "http://2130706433",
        "http://017700000001",
        "http://127.0.0.1.",
        "http://127.0.0.1:8080/x",
        "http://%31%32%37.0.0.1",
        "http://\u{ff11}\u{ff12}\u{ff17}.0.0.1",
        "http://127\u{3002}0\u{3002}0\u{3002}1",
        "http://127\u{ff0e}0\u{ff0e}0\u{ff61}1",
        "http://\u{2460}\u{2461}\u{2466}.0.0.1",
        "http://[::1]",
        "http://[0:0:0:0:0:0:0:1]",
        "http://[::ffff:127.0.0.1]",
        "http://[::ffff:7f00:1]",
    ] {
        let refusal = policy(&[]).allow(Author::App, text).expect_err(text);
        assert!(refusal.to_string().contains("is a loopback address"), "{text}: {refusal}");
        assert!(refusal.hint.contains("--allow-private-network loopback"), "{text}: {refusal}");
        assert_eq!(judged(&policy(&["loopback"]), Author::App, text), None, "{text}");
        assert_eq!(judged(&policy(&[]), Author::Owner, text), None, "{text}");
    }
}

#[test]
fn servers_of_the_app_have_public_addresses() {
    let private = Some(Rule::PrivateAddress);
    let cases = [
        ("http://8.8.8.8", None),
        ("http://[2606:4700::1]:8443", None),
        ("http://0.0.0.0", private),
        ("http://0", private),
        ("http://10.1.2.3", private),
        ("http://192.168.1.1", private),
        ("http://172.31.255.255", private),
        ("http://172.32.0.0", None),
        ("http://169.254.1.1", private),
        ("http://100.64.0.1", private),
        ("http://224.0.0.1", private),
        ("http://255.255.255.255", private),
        ("http://[::]", private),
        ("http://[fe80::1]", private),
        ("http://[fd00::1]", private),
        ("http://[ff02::1]", private),
        ("http://[::127.0.0.1]", private),
        ("http://[::8.8.8.8]", private),
        ("http://[::ffff:0:8.8.8.8]", private),
        ("http://[::ffff:8.8.8.8]", None),
        ("http://[::ffff:10.0.0.1]", private),
        ("http://[64:ff9b::8.8.8.8]", private),
        ("http://[64:ff9b:1::1]", private),
        ("http://[2002:808:808::1]", private),
        ("http://[2001::1]", private),
        ("http://[2001:db8::1]", private),
    ];
    check(&policy(&[]), Author::App, &cases);
    for (text, _) in cases {
        assert_eq!(judged(&policy(&[]), Author::Owner, text), None, "{text}");
    }
}

#[test]
fn names_that_nobody_else_knows_are_refused_before_they_are_looked_up() {
    let name = Some(Rule::HostName);
    let cases = [
        ("http://localhost", name),
        ("http://LOCALHOST.", name),
        ("http://a.localhost:8080", name),
        ("http://loc%61lhost", name),
        ("http://\u{ff4c}ocalhost", name),
        ("http://intranet", name),
        ("http://intranet.", name),
        ("http://metadata.google.internal", Some(Rule::MetadataAddress)),
        ("http://metadata.google.internal.", Some(Rule::MetadataAddress)),
        ("http://metadata/computeMetadata", Some(Rule::MetadataAddress)),
        ("http://example.com.", None),
        ("http://localhost.example.com", None),
    ];
    check(&policy(&[]), Author::App, &cases);
    let owner = |text| judged(&policy(&[]), Author::Owner, text);
    assert_eq!((owner("http://localhost"), owner("http://intranet"), owner("http://nas.local:22")), (None, None, None));
    assert_eq!(owner("http://metadata"), Some(Rule::MetadataAddress));
    // What was opened decides which of them are of use.
    check(&policy(&["loopback"]), Author::App, &[("http://localhost", None), ("http://a.localhost.", None), ("http://intranet", None)]);
    check(&policy(&["::1/128"]), Author::App, &[("http://localhost", None)]);
    check(&policy(&["10.0.0.0/8"]), Author::App, &[("http://localhost", name), ("http://intranet", None)]);
    check(&policy(&["0.0.0.0/0"]), Author::App, &[("http://localhost", None), ("http://metadata", Some(Rule::MetadataAddress))]);
}

#[test]
fn ports_of_other_services_are_refused() {
    let port = Some(Rule::Port);
    let cases = [
        ("http://example.com:21", port),
        ("http://example.com:22", port),
        ("http://example.com:24", None),
        ("http://example.com:6379", port),
        ("http://example.com:6380", None),
        ("https://8.8.8.8:5432", port),
        ("https://example.com:0", port),
        ("http://example.com:443", None),
        ("https://example.com", None),
    ];
    check(&policy(&[]), Author::App, &cases);
    // A range opens addresses and no ports.
    check(&policy(&["10.0.0.0/8"]), Author::App, &[("http://10.0.0.1:6379", port), ("http://10.0.0.1:6380", None)]);
    assert_eq!(judged(&policy(&[]), Author::Owner, "http://example.com:22"), None);
}

#[test]
fn a_range_opens_itself_and_its_mapped_form() {
    let private = Some(Rule::PrivateAddress);
    let cases = [
        ("http://9.255.255.255", None),
        ("http://10.0.0.0", None),
        ("http://[::ffff:10.255.255.255]", None),
        ("http://11.0.0.0", None),
        ("http://127.0.0.1", private),
        ("http://192.168.0.1", private),
        ("http://[64:ff9b::10.0.0.1]", private),
    ];
    check(&policy(&["10.0.0.0/8"]), Author::App, &cases);
    check(&policy(&["::ffff:10.0.0.0/104"]), Author::App, &cases);
    check(&policy(&["10.1.2.3"]), Author::App, &[("http://10.1.2.2", private), ("http://10.1.2.3", None), ("http://10.1.2.4", private)]);
}

#[test]
fn metadata_services_are_opened_by_their_exact_address_only() {
    let everything = policy(&["0.0.0.0/0", "::/0", "169.254.169.254/31"]);
    for text in [
        "http://169.254.169.254/latest",
        "http://0xa9fea9fe/",
        "http://169.254.170.2",
        "http://169.254.170.23",
        "http://100.100.100.200",
        "http://192.0.0.192",
        "http://168.63.129.16",
        "http://[fd00:ec2::254]/",
        "http://[fd00:ec2::23]/",
        "http://[fd20:ce::254]/",
        "http://[::ffff:169.254.169.254]/",
        "http://[::169.254.169.254]/",
        "http://[64:ff9b::169.254.169.254]/",
        "http://[2002:a9fe:a9fe::1]/",
        "http://metadata.google.internal./",
    ] {
        for author in [Author::App, Author::Owner] {
            assert_eq!(judged(&everything, author, text), Some(Rule::MetadataAddress), "{author:?} {text}");
            assert_eq!(judged(&policy(&[]), author, text), Some(Rule::MetadataAddress), "{author:?} {text}");
        }
    }
    let exact = policy(&["169.254.169.254/32", "fd00:ec2::254/128"]);
    let metadata = Some(Rule::MetadataAddress);
    let cases = [
        ("http://169.254.169.254", None),
        ("http://[::ffff:169.254.169.254]", None),
        ("http://[fd00:ec2::254]", None),
        ("http://169.254.170.2", metadata),
        ("http://metadata.google.internal", None),
    ];
    check(&exact, Author::App, &cases);
    check(&exact, Author::Owner, &cases);
    assert_eq!(judged(&exact, Author::App, "http://169.254.169.253"), Some(Rule::PrivateAddress));
}

#[test]
fn refusals_teach_and_hold_no_secret() {
    let said = |text: &str| policy(&[]).allow(Author::App, text).expect_err("refused").to_string();
    assert_eq!(
        said("http://10.1.2.3:8080/path?token=SECRET"),
        "`http://10.1.2.3:8080` is a private address (10.0.0.0/8), which servers of the App may not use (rule `private-address`); \
         hint: start the proxy with `--allow-private-network 10.0.0.0/8` if you trust it"
    );
    assert_eq!(
        said("http://169.254.169.254/SECRET"),
        "`http://169.254.169.254` is an address of a cloud metadata service (rule `metadata-address`); hint: no range opens it; if you \
         must, start the proxy with its exact address: `--allow-private-network 169.254.169.254/32`"
    );
    for text in
        ["http://u:SECRET@example.com", "http://SECRET@exa mple.com", "http://x:SECRET", "x://SECRET", "SECRET", "http://a/\u{7}?SECRET"]
    {
        assert!(!said(text).contains("SECRET"), "{text}");
    }
}

#[test]
fn nothing_that_is_logged_shows_a_path_or_a_password() {
    let proxy = Some("http://user:SECRET@proxy.example:3128".into());
    let policy = Policy::new(Config { proxy, ..Config::default() });
    let url = policy.allow(Author::Owner, "https://example.com/SECRET?key=SECRET").expect("allowed");
    let shown = format!("{policy:?} {url:?}");
    assert!(!shown.contains("SECRET") && shown.contains("https://example.com"), "{shown}");
}

#[test]
fn networks() {
    let shown = |text: &str| parse_networks(text).map(|nets| nets.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")).ok();
    for (text, expect) in [
        ("loopback", Some("127.0.0.0/8 ::1/128")),
        ("Loopback", Some("127.0.0.0/8 ::1/128")),
        ("10.0.0.0/8", Some("10.0.0.0/8")),
        ("fd00::/8", Some("fd00::/8")),
        ("10.1.2.3", Some("10.1.2.3/32")),
        ("::1", Some("::1/128")),
        ("10.1.2.3/8", None),
        ("10.0.0.0/33", None),
        ("10.0.0", None),
        ("localhost", None),
        ("example.com", None),
        ("", None),
        ("*", None),
    ] {
        assert_eq!(shown(text).as_deref(), expect, "{text}");
    }
}

#[test]
fn the_proxy_does_not_talk_to_itself() {
    let own = Some(Rule::OwnAddress);
    let of = |address: &str| {
        let policy = policy(&["loopback", "10.0.0.0/8"]);
        policy.listens_at(address.parse().expect("an address"));
        policy
    };
    let cases = [
        ("http://127.0.0.1:9000/mcp", own),
        ("http://0.0.0.0:9000", own),
        ("http://[::ffff:127.0.0.1]:9000", own),
        ("http://127.0.0.1:9001", None),
        ("http://127.0.0.2:9000", None),
    ];
    for (text, expect) in cases {
        assert_eq!(judged(&of("127.0.0.1:9000"), Author::Owner, text), expect, "{text}");
    }
    for wildcard in ["0.0.0.0:9000", "[::]:9000"] {
        for text in ["http://127.0.0.1:9000", "http://127.9.9.9:9000", "http://[::1]:9000", "http://[::]:9000", "http://0.0.0.0:9000"] {
            for author in [Author::App, Author::Owner] {
                assert_eq!(judged(&of(wildcard), author, text), own, "{text}");
            }
        }
        assert_eq!(judged(&of(wildcard), Author::Owner, "http://10.0.0.1:9000"), None);
        // The same machine by another of its addresses shows at the connection only.
        let peer = |peer: &str, local: &str| {
            let rules = &of(wildcard).rules;
            rules.judge_peer(Author::Owner, peer.parse().expect("one"), local.parse().expect("one")).err().map(|refusal| refusal.rule)
        };
        assert_eq!(peer("10.0.0.1:9000", "10.0.0.1:40000"), own);
        assert_eq!(peer("10.0.0.1:9000", "10.0.0.2:40000"), None);
        assert_eq!(peer("10.0.0.1:9001", "10.0.0.1:40000"), None);
    }
    assert_eq!(judged(&of("127.0.0.1:80"), Author::Owner, "http://127.0.0.1"), own);
}

#[test]
fn what_a_server_names_stays_on_its_origin() {
    let policy = policy(&[]);
    let base = policy.allow(Author::Owner, "http://h:1/sse?a").expect("allowed");
    let other = Some(Rule::OtherOrigin);
    for (reference, expect) in [
        ("/messages?s=1", Ok("http://h:1/messages?s=1")),
        ("messages", Ok("http://h:1/messages")),
        ("http://h:1/m", Ok("http://h:1/m")),
        ("http://other:1/m", Err(other)),
        ("http://h:2/m", Err(other)),
        ("//other/m", Err(other)),
        ("https://h:1/m", Err(other)),
        ("file:///etc/passwd", Err(other)),
        ("http://a@h:1/m", Err(Some(Rule::Userinfo))),
        ("/\\other/m", Err(Some(Rule::UrlSyntax))),
        ("/a\t/b", Err(Some(Rule::UrlSyntax))),
        (" http://h:1/m", Err(Some(Rule::UrlSyntax))),
    ] {
        let found = policy.same_origin(&base, reference).map(|url| url.as_url().to_string()).map_err(|refusal| Some(refusal.rule));
        assert_eq!(found.as_deref().map_err(|rule| *rule), expect, "{reference}");
    }
}

proptest! {
    /// What was read is written and read as the same, so that no later reader sees another host.
    #[test]
    fn parse_print_parse(text in "(http|https|HTTP)://[a-zA-Z0-9.%@:\\[\\]_-]{1,24}(/[!-~]{0,16})?", owner: bool) {
        let author = if owner { Author::Owner } else { Author::App };
        let policy = policy(&["10.0.0.0/8"]);
        if let Ok(first) = policy.allow(author, &text) {
            let printed = first.as_url().to_string();
            let second = policy.allow(author, &printed).expect("what was allowed is allowed again");
            prop_assert_eq!(first.as_url(), second.as_url());
            prop_assert_eq!(second.as_url().as_str(), printed.as_str());
            prop_assert_eq!(first.uri.host(), first.as_url().host_str());
            prop_assert_eq!(first.uri.port_u16(), first.as_url().port());
        }
    }

    #[test]
    fn no_text_is_a_crash(text in "\\PC{0,40}") {
        let policy = policy(&[]);
        let base = policy.allow(Author::App, "https://example.com/sse").expect("allowed");
        for author in [Author::App, Author::Owner] {
            let _ = policy.allow(author, &text);
            let _ = policy.allow(author, &format!("http://{text}"));
        }
        if let Ok(url) = policy.same_origin(&base, &text) {
            prop_assert_eq!(url.as_url().origin(), base.as_url().origin());
        }
    }

    /// An IPv4 address is judged the same in IPv6's clothes, whatever is open.
    #[test]
    fn mapped_is_the_same(bits: u32, net: u32, prefix in 0_u8..=32) {
        let range = ipnet::Ipv4Net::new(net.into(), prefix).expect("a range").trunc();
        let policy = Policy::new(Config { allow_private: vec![range.into()], proxy: None });
        let ip = std::net::Ipv4Addr::from(bits);
        for author in [Author::App, Author::Owner] {
            let plain = judged(&policy, author, &format!("http://{ip}:8080"));
            let mapped = judged(&policy, author, &format!("http://[{}]:8080", ip.to_ipv6_mapped()));
            prop_assert_eq!(plain, mapped);
        }
    }
}
