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
mod tests;
