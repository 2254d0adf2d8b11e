use super::*;

fn first(net: &IpNet) -> IpAddr {
    net.network()
}

fn last(net: &IpNet) -> IpAddr {
    match net {
        IpNet::V4(net) => net.broadcast().into(),
        IpNet::V6(net) => net.broadcast().into(),
    }
}

fn step(address: IpAddr, up: bool) -> Option<IpAddr> {
    match address {
        IpAddr::V4(ip) => {
            let bits = if up { ip.to_bits().checked_add(1) } else { ip.to_bits().checked_sub(1) };
            bits.map(|bits| Ipv4Addr::from_bits(bits).into())
        }
        IpAddr::V6(ip) => {
            let bits = if up { ip.to_bits().checked_add(1) } else { ip.to_bits().checked_sub(1) };
            bits.map(|bits| Ipv6Addr::from_bits(bits).into())
        }
    }
}

/// Written out by hand, so that a slip in the tables is seen: what lies before, the edges, what lies behind.
const EDGES: &[(&str, &str, &str, &str, &str)] = &[
    // range, before, first, last, behind; `-` where that is special as well, or there is nothing
    ("0.0.0.0/8", "-", "0.0.0.0", "0.255.255.255", "1.0.0.0"),
    ("10.0.0.0/8", "9.255.255.255", "10.0.0.0", "10.255.255.255", "11.0.0.0"),
    ("100.64.0.0/10", "100.63.255.255", "100.64.0.0", "100.127.255.255", "100.128.0.0"),
    ("127.0.0.0/8", "126.255.255.255", "127.0.0.0", "127.255.255.255", "128.0.0.0"),
    ("169.254.0.0/16", "169.253.255.255", "169.254.0.0", "169.254.255.255", "169.255.0.0"),
    ("172.16.0.0/12", "172.15.255.255", "172.16.0.0", "172.31.255.255", "172.32.0.0"),
    ("192.0.0.0/24", "191.255.255.255", "192.0.0.0", "192.0.0.255", "192.0.1.0"),
    ("192.0.2.0/24", "192.0.1.255", "192.0.2.0", "192.0.2.255", "192.0.3.0"),
    ("192.31.196.0/24", "192.31.195.255", "192.31.196.0", "192.31.196.255", "192.31.197.0"),
    ("192.52.193.0/24", "192.52.192.255", "192.52.193.0", "192.52.193.255", "192.52.194.0"),
    ("192.88.99.0/24", "192.88.98.255", "192.88.99.0", "192.88.99.255", "192.88.100.0"),
    ("192.168.0.0/16", "192.167.255.255", "192.168.0.0", "192.168.255.255", "192.169.0.0"),
    ("192.175.48.0/24", "192.175.47.255", "192.175.48.0", "192.175.48.255", "192.175.49.0"),
    ("198.18.0.0/15", "198.17.255.255", "198.18.0.0", "198.19.255.255", "198.20.0.0"),
    ("198.51.100.0/24", "198.51.99.255", "198.51.100.0", "198.51.100.255", "198.51.101.0"),
    ("203.0.113.0/24", "203.0.112.255", "203.0.113.0", "203.0.113.255", "203.0.114.0"),
    ("224.0.0.0/4", "223.255.255.255", "224.0.0.0", "239.255.255.255", "-"),
    ("240.0.0.0/4", "-", "240.0.0.0", "255.255.255.255", "-"),
    ("::/128", "-", "::", "::", "-"),
    ("::1/128", "-", "::1", "::1", "-"),
    ("::/96", "-", "::2", "::ffff:ffff", "-"),
    ("::ffff:0:0:0/96", "-", "::ffff:0:0:0", "::ffff:0:ffff:ffff", "-"),
    ("64:ff9b::/96", "-", "64:ff9b::", "64:ff9b::ffff:ffff", "-"),
    ("64:ff9b:1::/48", "-", "64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff", "-"),
    ("100::/64", "-", "100::", "100::ffff:ffff:ffff:ffff", "-"),
    ("100:0:0:1::/64", "-", "100:0:0:1::", "100::1:ffff:ffff:ffff:ffff", "-"),
    ("::/3", "-", "::1:0:0", "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2000::"),
    ("2001::/32", "2000:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2001::", "2001:0:ffff:ffff:ffff:ffff:ffff:ffff", "-"),
    ("2001::/23", "-", "2001:1::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff", "2001:200::"),
    ("2001:db8::/32", "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db9::"),
    ("2002::/16", "2001:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2002::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2003::"),
    (
        "2620:4f:8000::/48",
        "2620:4f:7fff:ffff:ffff:ffff:ffff:ffff",
        "2620:4f:8000::",
        "2620:4f:8000:ffff:ffff:ffff:ffff:ffff",
        "2620:4f:8001::",
    ),
    ("3fff::/20", "3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff", "3fff:1000::"),
    ("4000::/2", "3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "4000::", "7fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "-"),
    ("5f00::/16", "-", "5f00::", "5f00:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "-"),
    ("8000::/1", "-", "8000::", "fbff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "-"),
    ("fc00::/7", "-", "fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "-"),
    ("fe80::/10", "-", "fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "-"),
    ("fec0::/10", "-", "fec0::", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "-"),
    ("ff00::/8", "-", "ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "-"),
];

fn parse(text: &str) -> Option<IpAddr> {
    (text != "-").then(|| text.parse().expect("the table holds addresses"))
}

#[test]
fn every_range_ends_where_it_should() {
    for &(range, before, first, last, behind) in EDGES {
        for edge in [first, last] {
            let found = special(parse(edge).expect("each range has edges")).map(|block| block.net.to_string());
            assert_eq!(found.as_deref(), Some(range), "{edge}");
        }
        for outside in [before, behind].into_iter().filter_map(parse) {
            assert_eq!(special(outside), None, "{outside} beside {range}");
        }
    }
    assert_eq!(EDGES.len(), V4.len() + V6.len(), "each range has a row");
}

/// The same by reckoning: neighbours of a range are in another one or free, and never in this one.
#[test]
fn neighbours_are_not_in_a_range() {
    for block in V4.iter().chain(&V6) {
        let neighbours = [step(first(&block.net), false), step(last(&block.net), true)];
        for neighbour in neighbours.into_iter().flatten() {
            assert_ne!(special(neighbour).map(|found| found.net), Some(block.net), "{neighbour}");
        }
    }
}

#[test]
fn public_addresses_are_free() {
    for text in ["1.1.1.1", "8.8.8.8", "93.184.216.34", "2606:4700:4700::1111", "2a00:1450::1", "2001:4860:4860::8888", "2000::", "3ffe::"]
    {
        assert_eq!(special(parse(text).expect("an address")), None, "{text}");
    }
}

#[test]
fn metadata_is_found_in_every_dress() {
    for text in [
        "169.254.169.254",
        "169.254.170.2",
        "169.254.170.23",
        "fd00:ec2::254",
        "fd00:ec2::23",
        "fd20:ce::254",
        "100.100.100.200",
        "192.0.0.192",
        "168.63.129.16",
        "::ffff:169.254.169.254",
        "::169.254.169.254",
        "::ffff:0:169.254.169.254",
        "64:ff9b::169.254.169.254",
        "64:ff9b:1::169.254.169.254",
        "64:ff9b:1:a9fe:a9:fe00::",
        "2002:a9fe:a9fe::1",
        "2001:0:a9fe:a9fe::1",
        "2001:0:1:1:0:0:5601:5601",
    ] {
        assert!(metadata(parse(text).expect("an address")).is_some(), "{text}");
    }
    for text in ["169.254.169.253", "169.254.169.255", "168.63.129.15", "168.63.129.17", "fd00:ec2::253", "::1", "127.0.0.1", "64:ff9b::1"]
    {
        assert_eq!(metadata(parse(text).expect("an address")), None, "{text}");
    }
}
