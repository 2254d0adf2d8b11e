//! Which addresses are somebody's own: the special-purpose registries of IANA as explicit tables.
//!
//! Not `Ipv4Addr::is_private` and its kin, which know a part of them only (threat model, section 7). What
//! parses text into an address is the URL parser, never this file.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// A range of addresses that are not for everybody.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) net: IpNet,
    /// As in "it is …".
    pub(super) kind: &'static str,
}

const fn v4(a: u8, b: u8, c: u8, prefix: u8, kind: &'static str) -> Block {
    Block { net: IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, 0), prefix)), kind }
}

const fn v6(head: [u16; 6], prefix: u8, kind: &'static str) -> Block {
    let first = Ipv6Addr::new(head[0], head[1], head[2], head[3], head[4], head[5], 0, 0);
    Block { net: IpNet::V6(Ipv6Net::new_assert(first, prefix)), kind }
}

const LOOPBACK: &str = "a loopback address";
const PRIVATE: &str = "a private address";
const LINK_LOCAL: &str = "a link-local address";
const THIS_MACHINE: &str = "an address of this machine";
const CARRIER: &str = "an address of a carrier's own network";
const MULTICAST: &str = "a multicast address";
const DOCUMENTATION: &str = "an address for documentation";
const RESERVED: &str = "a reserved address";
const EMBEDDING: &str = "an address that stands for another one";

pub(super) const LOOPBACK_V4: IpNet = IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8));
pub(super) const LOOPBACK_V6: IpNet = IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128));

/// The IPv4 special-purpose registry, and multicast. Its few ranges that are reachable from everywhere (anycast of relays and
/// of empty reverse zones) are no servers of anybody and stay refused.
static V4: [Block; 18] = [
    v4(0, 0, 0, 8, THIS_MACHINE),
    v4(10, 0, 0, 8, PRIVATE),
    v4(100, 64, 0, 10, CARRIER),
    v4(127, 0, 0, 8, LOOPBACK),
    v4(169, 254, 0, 16, LINK_LOCAL),
    v4(172, 16, 0, 12, PRIVATE),
    v4(192, 0, 0, 24, RESERVED),
    v4(192, 0, 2, 24, DOCUMENTATION),
    v4(192, 31, 196, 24, RESERVED),
    v4(192, 52, 193, 24, RESERVED),
    v4(192, 88, 99, 24, RESERVED),
    v4(192, 168, 0, 16, PRIVATE),
    v4(192, 175, 48, 24, RESERVED),
    v4(198, 18, 0, 15, "an address for benchmarks"),
    v4(198, 51, 100, 24, DOCUMENTATION),
    v4(203, 0, 113, 24, DOCUMENTATION),
    v4(224, 0, 0, 4, MULTICAST),
    v4(240, 0, 0, 4, RESERVED),
];

/// The first that holds an address tells what it is. The last three leave 2000::/3, the only part that is handed out.
static V6: [Block; 22] = [
    Block { net: IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 128)), kind: THIS_MACHINE },
    Block { net: LOOPBACK_V6, kind: LOOPBACK },
    v6([0; 6], 96, EMBEDDING),
    v6([0, 0, 0, 0, 0xffff, 0], 96, EMBEDDING),
    v6([0x64, 0xff9b, 0, 0, 0, 0], 96, EMBEDDING),
    v6([0x64, 0xff9b, 1, 0, 0, 0], 48, EMBEDDING),
    v6([0x100, 0, 0, 0, 0, 0], 64, RESERVED),
    v6([0x100, 0, 0, 1, 0, 0], 64, RESERVED),
    v6([0x2001, 0, 0, 0, 0, 0], 32, EMBEDDING),
    v6([0x2001, 0, 0, 0, 0, 0], 23, RESERVED),
    v6([0x2001, 0xdb8, 0, 0, 0, 0], 32, DOCUMENTATION),
    v6([0x2002, 0, 0, 0, 0, 0], 16, EMBEDDING),
    v6([0x2620, 0x4f, 0x8000, 0, 0, 0], 48, RESERVED),
    v6([0x3fff, 0, 0, 0, 0, 0], 20, DOCUMENTATION),
    v6([0x5f00, 0, 0, 0, 0, 0], 16, RESERVED),
    v6([0xfc00, 0, 0, 0, 0, 0], 7, PRIVATE),
    v6([0xfe80, 0, 0, 0, 0, 0], 10, LINK_LOCAL),
    v6([0xfec0, 0, 0, 0, 0, 0], 10, PRIVATE),
    v6([0xff00, 0, 0, 0, 0, 0], 8, MULTICAST),
    v6([0; 6], 3, RESERVED),
    v6([0x4000, 0, 0, 0, 0, 0], 2, RESERVED),
    v6([0x8000, 0, 0, 0, 0, 0], 1, RESERVED),
];

/// Where clouds hand out credentials (threat model, section 4.3). The last one is public space.
const METADATA: [IpAddr; 9] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 23)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
];

/// The range that keeps an address from being everybody's; `None` for globally reachable unicast. Takes canonical
/// addresses: `::ffff:a.b.c.d` is an IPv4 address.
pub(super) fn special(address: IpAddr) -> Option<&'static Block> {
    let table: &'static [Block] = if address.is_ipv4() { &V4 } else { &V6 };
    table.iter().find(|block| block.net.contains(&address))
}

/// Whether the way there stays within networks that one knows.
pub(super) fn is_local(address: IpAddr) -> bool {
    const LOCAL: [&str; 5] = [THIS_MACHINE, LOOPBACK, PRIVATE, LINK_LOCAL, CARRIER];
    special(address.to_canonical()).is_some_and(|block| LOCAL.contains(&block.kind))
}

/// The metadata address that this is, or that it is translated to on its way.
pub(super) fn metadata(address: IpAddr) -> Option<IpAddr> {
    let address = address.to_canonical();
    let embedded = match address {
        IpAddr::V4(_) => [None, None],
        IpAddr::V6(address) => embedded(address),
    };
    let forms = [Some(address)].into_iter().chain(embedded.map(|address| address.map(IpAddr::V4))).flatten();
    forms.into_iter().find(|form| METADATA.contains(form))
}

/// The IPv4 addresses that an IPv6 address stands for where there is a translator.
fn embedded(address: Ipv6Addr) -> [Option<Ipv4Addr>; 2] {
    let of = |high: u16, low: u16| Some(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)));
    match address.segments() {
        // IPv4-compatible and IPv4-translated (RFC 2765), NAT64 (RFC 6052), 6to4
        [0, 0, 0, 0, 0 | 0xffff, 0, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => [of(high, low), None],
        // NAT64 of a local network (RFC 8215): its prefix is /48 or longer, and the address comes behind it.
        [0x64, 0xff9b, 1, high, x, y, last_high, last_low] => [of(last_high, last_low), of(high, (x & 0xff) << 8 | y >> 8)],
        // Teredo: its server, and its client upside down
        [0x2001, 0, high, low, .., client_high, client_low] => [of(high, low), of(!client_high, !client_low)],
        _ => [None, None],
    }
}

#[cfg(test)]
mod tests {
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
        for text in
            ["1.1.1.1", "8.8.8.8", "93.184.216.34", "2606:4700:4700::1111", "2a00:1450::1", "2001:4860:4860::8888", "2000::", "3ffe::"]
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
        for text in
            ["169.254.169.253", "169.254.169.255", "168.63.129.15", "168.63.129.17", "fd00:ec2::253", "::1", "127.0.0.1", "64:ff9b::1"]
        {
            assert_eq!(metadata(parse(text).expect("an address")), None, "{text}");
        }
    }
}
