//! Addresses: the IANA special-purpose registries at both edges of every range, forms that hide an address in another
//! one, and what `--allow-private-network` opens.

use super::Check;
use ipnet::{Ipv4Net, Ipv6Net};
use serde_json::{Value, json};
use std::net::{Ipv4Addr, Ipv6Addr};

fn url(url: impl Into<String>) -> Value {
    json!({"kind": "url", "url": url.into()})
}

fn of_file(address: &str) -> Value {
    json!({"kind": "url", "url": address, "source": "file"})
}

/// Special-purpose space, multicast, and what is reserved.
const SPECIAL_4: [&str; 17] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "255.255.255.255/32",
    "168.63.129.16/32",
];

/// Ranges of the registry that are reachable and serve no one host: AS 112 and AMT.
const ANYCAST_4: [&str; 3] = ["192.31.196.0/24", "192.52.193.0/24", "192.175.48.0/24"];
const ANYCAST_6: [&str; 1] = ["2620:4f:8000::/48"];

/// All but global unicast, and what is special within that.
const SPECIAL_6: [&str; 25] = [
    "::/3",
    "::/128",
    "::1/128",
    "::/96",
    "::ffff:0:0:0/96",
    "64:ff9b::/96",
    "64:ff9b:1::/48",
    "100::/64",
    "100:0:0:1::/64",
    "2001::/23",
    "2001::/32",
    "2001:2::/48",
    "2001:10::/28",
    "2001:db8::/32",
    "2002::/16",
    "3fff::/20",
    "4000::/2",
    "5f00::/16",
    "8000::/1",
    "fc00::/7",
    "fd00:ec2::254/128",
    "fd20:ce::254/128",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
];

fn nets_4(ranges: &[&str]) -> Vec<Ipv4Net> {
    ranges.iter().map(|range| range.parse().expect("a range")).collect()
}

fn nets_6(ranges: &[&str]) -> Vec<Ipv6Net> {
    ranges.iter().map(|range| range.parse().expect("a range")).collect()
}

#[test]
fn every_range_of_ipv4_has_its_edges_where_they_belong() {
    let special = nets_4(&[&SPECIAL_4[..], &ANYCAST_4].concat());
    let edges = nets_4(&SPECIAL_4).into_iter().flat_map(|range| {
        let (first, last) = (u32::from(range.network()), u32::from(range.broadcast()));
        [first.checked_sub(1), Some(first), Some(first / 2 + last / 2), Some(last), last.checked_add(1)]
    });
    let edges = edges.flatten().map(Ipv4Addr::from);
    Check::new().judges(edges.map(|address| (url(format!("http://{address}/mcp")), !special.iter().any(|range| range.contains(&address)))));
}

#[test]
fn every_range_of_ipv6_has_its_edges_where_they_belong() {
    let special = nets_6(&[&SPECIAL_6[..], &ANYCAST_6].concat());
    let edges = nets_6(&SPECIAL_6).into_iter().flat_map(|range| {
        let (first, last) = (u128::from(range.network()), u128::from(range.broadcast()));
        [first.checked_sub(1), Some(first), Some(first / 2 + last / 2), Some(last), last.checked_add(1)]
    });
    let edges = edges.flatten().map(Ipv6Addr::from);
    Check::new().judges(
        edges
            .filter(|address| address.to_ipv4_mapped().is_none())
            .map(|address| (url(format!("http://[{address}]/mcp")), !special.iter().any(|range| range.contains(&address)))),
    );
}

#[test]
fn the_rest_of_the_registries_is_special_as_well() {
    let of_4 = nets_4(&ANYCAST_4).into_iter().flat_map(|range| [range.network(), range.broadcast()]);
    let of_6 = nets_6(&ANYCAST_6).into_iter().flat_map(|range| [range.network(), range.broadcast()]);
    let more = ["192.0.0.8", "192.0.0.9", "192.0.0.10", "192.0.0.170", "192.0.0.171"].map(|address| format!("http://{address}/"));
    let all = of_4.map(|address| format!("http://{address}/")).chain(of_6.map(|address| format!("http://[{address}]/")));
    Check::new().refuses(all.chain(more).map(url));
}

/// ::ffff:0:0/96 is judged as the address that it holds.
#[test]
fn mapped_addresses_are_what_they_hold() {
    let special = nets_4(&[&SPECIAL_4[..], &ANYCAST_4].concat());
    let edges = nets_4(&SPECIAL_4).into_iter().flat_map(|range| {
        let (first, last) = (u32::from(range.network()), u32::from(range.broadcast()));
        [first.checked_sub(1), Some(first), Some(last), last.checked_add(1)]
    });
    let edges: Vec<Ipv4Addr> = edges.flatten().map(Ipv4Addr::from).collect();
    let allowed = |address: &Ipv4Addr| !special.iter().any(|range| range.contains(address));
    let dotted = edges.iter().map(|address| (url(format!("http://[::ffff:{address}]/")), allowed(address)));
    let hex =
        edges.iter().map(|address| (url(format!("http://[0:0:0:0:0:ffff:{:x}:{:x}]/", high(*address), low(*address))), allowed(address)));
    Check::new().judges(dotted.chain(hex));
}

fn high(address: Ipv4Addr) -> u32 {
    u32::from(address) >> 16
}

fn low(address: Ipv4Addr) -> u32 {
    u32::from(address) & 0xffff
}

/// The other forms are refused whatever they hold: who translates them is not known.
#[test]
fn addresses_within_addresses_are_refused() {
    let held: [Ipv4Addr; 6] = ["127.0.0.1", "10.0.0.1", "169.254.169.254", "8.8.8.8", "93.184.216.34", "0.0.0.0"]
        .map(|address| address.parse().expect("an address"));
    let forms = held.into_iter().flat_map(|address| {
        let (high, low) = (high(address), low(address));
        [
            format!("::{address}"),
            format!("::{high:x}:{low:x}"),
            format!("::ffff:0:{address}"),
            format!("64:ff9b::{address}"),
            format!("64:ff9b::{high:x}:{low:x}"),
            format!("64:ff9b:1::{address}"),
            format!("64:ff9b:1:ffff:ffff:ffff:{high:x}:{low:x}"),
            format!("2002:{high:x}:{low:x}::"),
            format!("2002:{high:x}:{low:x}::1"),
            format!("2002:{high:x}:{low:x}:1:2:3:4:5"),
            format!("2001::{high:x}:{low:x}"),
            format!("2001:0:{high:x}:{low:x}:0:0:{:x}:{:x}", !high & 0xffff, !low & 0xffff),
            format!("2001:0:0808:0808:0:0:{:x}:{:x}", !high & 0xffff, !low & 0xffff),
        ]
    });
    Check::new().refuses(forms.map(|address| url(format!("http://[{address}]/"))));
}

const METADATA: [&str; 9] = [
    "169.254.169.254",
    "169.254.170.2",
    "169.254.170.23",
    "100.100.100.200",
    "192.0.0.192",
    "168.63.129.16",
    "[fd00:ec2::254]",
    "[fd00:ec2::23]",
    "[fd20:ce::254]",
];

/// Ways to write 169.254.169.254.
const METADATA_FORMS: [&str; 14] = [
    "2852039166",
    "0xa9fea9fe",
    "0xA9.0xFE.0xA9.0xFE",
    "0251.0376.0251.0376",
    "0251.254.0xa9.254",
    "169.254.43518",
    "169.16689662",
    "169.254.169.254.",
    "025177524776",
    "[::ffff:169.254.169.254]",
    "[::ffff:a9fe:a9fe]",
    "[0:0:0:0:0:FFFF:A9FE:A9FE]",
    "１６９.２５４.１６９.２５４",
    "169。254｡169．254",
];

const METADATA_NAMES: [&str; 8] = [
    "metadata.google.internal",
    "METADATA.google.Internal",
    "metadata.google.internal.",
    "metadata.google.internal..",
    "metadata.goog",
    "metadata",
    "instance-data",
    "instance-data.ec2.internal",
];

#[test]
fn metadata_is_refused_for_everybody_and_opened_by_no_range() {
    let hosts = METADATA.iter().chain(&METADATA_FORMS).chain(&METADATA_NAMES);
    let urls: Vec<String> = hosts.flat_map(|host| [format!("http://{host}/latest/meta-data/"), format!("https://{host}:8080/")]).collect();
    let ranges: [&[&str]; 6] = [
        &[],
        &["loopback"],
        &["0.0.0.0/0", "::/0"],
        &["169.254.0.0/16", "100.64.0.0/10", "192.0.0.0/24", "fd00::/8"],
        &["169.254.169.254/31", "169.254.170.2/31", "169.254.170.22/31", "fd00:ec2::254/127", "fd00:ec2::/32", "fd20:ce::/64"],
        &["100.100.100.200/31", "192.0.0.192/31", "168.63.129.16/31", "168.0.0.0/8", "::ffff:0:0/96"],
    ];
    for ranges in ranges {
        let check = allowing(ranges);
        check.refuses(urls.iter().map(url));
        check.refuses(urls.iter().map(|address| of_file(address)));
    }
}

#[test]
fn a_metadata_address_is_opened_by_itself_alone() {
    for (n, host) in METADATA.iter().enumerate() {
        let address = host.trim_matches(['[', ']']);
        let length = if host.starts_with('[') { 128 } else { 32 };
        let check = allowing(&[&format!("{address}/{length}")]);
        let others = METADATA.iter().enumerate().filter(|(other, _)| *other != n).map(|(_, host)| (url(format!("http://{host}/")), false));
        let own = (url(format!("http://{host}/")), true);
        let port = (url(format!("http://{host}:22/")), false);
        let person = (url(format!("http://me@{host}/")), false);
        let file = (of_file(&format!("http://{host}/")), true);
        check.judges(others.chain([own, port, person, file]));
    }
}

fn allowing(ranges: &[&str]) -> Check {
    let options: Vec<String> = ranges.iter().map(|range| format!("--allow-private-network={range}")).collect();
    Check::with(&options.iter().map(String::as_str).collect::<Vec<_>>())
}

/// URLs that the first set of networks opens, and some that it does not.
const OPENED: [(&[&str], &[&str], &[&str]); 9] = [
    (
        &["loopback"],
        &[
            "http://127.0.0.1/",
            "http://127.0.0.1:3000/mcp?x=1",
            "https://127.255.255.254:8443/",
            "http://127.1/",
            "http://2130706433/",
            "http://[::1]:8080/",
            "http://[::ffff:127.0.0.1]/",
            "http://localhost:3000/mcp",
            "http://LOCALHOST/",
            "http://localhost./",
            "https://example.com/",
        ],
        &[
            "http://126.255.255.255:22/",
            "http://0.0.0.0/",
            "http://0/",
            "http://[::]/",
            "http://[::2]/",
            "http://[::127.0.0.1]/",
            "http://[64:ff9b::127.0.0.1]/",
            "http://[2002:7f00:1::]/",
            "http://10.0.0.1/",
            "http://192.168.0.1/",
            "http://[fd00::1]/",
            "http://[fe80::1]/",
            "http://169.254.1.1/",
            "http://127.0.0.1:22/",
            "http://127.0.0.1:6379/",
            "http://localhost:5432/",
            "http://[::1]:25/",
            "http://me@127.0.0.1/",
            "http://me:secret@localhost:3000/",
            "ftp://127.0.0.1/",
            "file:///etc/passwd",
            "ws://localhost:3000/",
            "http://127.0.0.1\t/",
        ],
    ),
    (
        &["127.0.0.0/8"],
        &["http://127.0.0.1/", "http://127.9.9.9/", "http://[::ffff:127.0.0.1]/"],
        &["http://[::1]/", "http://10.0.0.1/", "http://128.0.0.1:22/"],
    ),
    (&["127.0.0.1/32"], &["http://127.0.0.1/"], &["http://127.0.0.2/", "http://127.0.0.0/", "http://[::1]/"]),
    (&["::1/128"], &["http://[::1]/"], &["http://127.0.0.1/", "http://[::]/", "http://[::2]/"]),
    (
        &["10.0.0.0/8"],
        &[
            "http://10.0.0.0/",
            "http://10.255.255.255/",
            "http://10.1/",
            "http://[::ffff:10.2.3.4]:8080/",
            "https://1.1.1.1/",
            // Networks have servers with such names. Where it leads is judged when it is connected to.
            "http://server/",
        ],
        &[
            "http://127.0.0.1/",
            "http://localhost/",
            "http://172.16.0.1/",
            "http://192.168.0.1/",
            "http://[fd00::1]/",
            "http://10.0.0.1:22/",
            "http://10.0.0.1:3306/",
            "http://a:b@10.0.0.1/",
            "gopher://10.0.0.1/",
            "http://[::10.0.0.1]/",
            "http://[64:ff9b::10.0.0.1]/",
            "http://[2002:a00:1::]/",
        ],
    ),
    (&["192.168.1.128/25"], &["http://192.168.1.128/", "http://192.168.1.255/"], &["http://192.168.1.127/", "http://192.168.2.0/"]),
    (&["172.16.0.0/12", "192.168.0.0/16"], &["http://172.31.255.255/", "http://192.168.0.1/"], &["http://10.0.0.1/", "http://127.0.0.1/"]),
    (
        &["fd00::/8"],
        &["http://[fd00::1]/", "http://[fd00:ec2::253]/", "http://[fdff:ffff::1]:8443/"],
        &["http://[fc00::1]/", "http://[fe80::1]/", "http://10.0.0.1/"],
    ),
    (
        &["0.0.0.0/0", "::/0"],
        &[
            "http://127.0.0.1/",
            "http://10.0.0.1/",
            "http://169.254.1.1/",
            "http://100.64.0.1/",
            "http://[::1]/",
            "http://[fd00::1]/",
            "http://[fe80::1]/",
        ],
        &["http://10.0.0.1:25/", "http://u@10.0.0.1/", "ftp://10.0.0.1/", "http://169.254.169.254/", "http://[fd00:ec2::254]/"],
    ),
];

#[test]
fn a_network_is_opened_and_nothing_beside_it() {
    for (ranges, opened, closed) in OPENED {
        let opened = opened.iter().map(|address| (url(*address), true));
        allowing(ranges).judges(opened.chain(closed.iter().map(|address| (url(*address), false))));
        let joined = Check::new().env("PLUGGEDIN_ALLOW_PRIVATE_NETWORKS", &ranges.join(","));
        joined.judges(closed.iter().map(|address| (url(*address), false)));
    }
}

/// Whoever owns the machine wrote the file, and may reach what is local.
#[test]
fn servers_of_the_file_may_be_near() {
    let near = [
        "http://127.0.0.1:3000/mcp",
        "http://127.8.8.8/",
        "http://[::1]:3000/",
        "http://[::ffff:127.0.0.1]/",
        "http://localhost:8080/",
        "http://app.localhost:8080/",
        "http://10.0.0.1/",
        "http://172.16.5.4/",
        "https://192.168.178.20:8443/mcp",
        "http://[fd12:3456::1]/",
        "http://nas:8080/mcp",
        "https://mcp.example.com/",
        "http://93.184.216.34/",
    ];
    let never = [
        "http://169.254.169.254/",
        "http://metadata.google.internal/",
        "http://[::ffff:169.254.169.254]/",
        "http://2852039166/",
        "http://me@127.0.0.1/",
        "http://me:secret@mcp.example.com/",
        "ftp://127.0.0.1/",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "http://127.0.0.1\n/",
        "http://loc\talhost/",
        "http:///",
        "",
    ];
    let near = near.iter().map(|address| (of_file(address), true));
    Check::new().judges(near.chain(never.iter().map(|address| (of_file(address), false))));
}

#[test]
fn a_case_of_the_app_is_the_same_as_one_that_says_nothing() {
    let case = |address: &str| json!({"kind": "url", "url": address, "source": "app"});
    Check::new().judges([(case("http://127.0.0.1/"), false), (case("http://10.0.0.1/"), false), (case("https://example.com/"), true)]);
}
