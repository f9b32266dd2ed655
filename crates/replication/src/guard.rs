//! Which addresses a server may lead us to. Names are checked after resolution, on every hop, at the moment of
//! connecting: what a name meant when it was looked at before does not count.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether requests may go to addresses that are not on the public Internet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressPolicy {
    /// Public addresses only.
    Public,
    /// Any address: for servers of one network, and for tests.
    Any,
}

impl AddressPolicy {
    /// True if a connection to the address may be made.
    pub fn allows(self, address: IpAddr) -> bool {
        match self {
            Self::Any => true,
            Self::Public => is_public(address),
        }
    }
}

/// True for addresses that are reachable from everywhere and belong to nobody's own network, also where an IPv6 address
/// embeds an IPv4 one.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !(address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_broadcast()
        || address.is_multicast()
        || address.is_documentation()
        || a == 0
        // 100.64.0.0/10: carriers' shared space.
        || (a == 100 && (64..128).contains(&b))
        // 192.0.0.0/24: protocol assignments; 192.88.99.0/24: 6to4 relays.
        || (a == 192 && b == 0 && c == 0)
        || (a == 192 && b == 88 && c == 99)
        // 198.18.0.0/15: benchmarks.
        || (a == 198 && (b == 18 || b == 19))
        // 240.0.0.0/4: reserved.
        || a >= 240)
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let s = address.segments();
    let [hi, lo] = [s[6].to_be_bytes(), s[7].to_be_bytes()];
    let embedded = Ipv4Addr::new(hi[0], hi[1], lo[0], lo[1]);
    // ::ffff:0:0/96 mapped, ::/96 compatible, ::ffff:0:0:0/96 translated, 64:ff9b::/96 NAT64.
    let high_zero = s[..4].iter().all(|x| *x == 0);
    if high_zero
        && ((s[4] == 0 && (s[5] == 0xffff || s[5] == 0)) || (s[4] == 0xffff && s[5] == 0))
        && !(address.is_loopback() || address.is_unspecified())
    {
        return is_public_v4(embedded);
    }
    if s[0] == 0x64 && s[1] == 0xff9b {
        // 64:ff9b:1::/48 is for local use.
        return s[2] == 0 && s[3] == 0 && s[4] == 0 && s[5] == 0 && is_public_v4(embedded);
    }
    if s[0] == 0x2002 {
        // 6to4 carries an IPv4 address.
        let [hi, lo] = [s[1].to_be_bytes(), s[2].to_be_bytes()];
        return is_public_v4(Ipv4Addr::new(hi[0], hi[1], lo[0], lo[1]));
    }
    // Global unicast is 2000::/3. Out of it: 2001::/23 protocol assignments with Teredo, 2001:db8::/32 and 3fff::/20
    // documentation.
    s[0] & 0xe000 == 0x2000
        && !(s[0] == 0x2001 && s[1] < 0x200)
        && !(s[0] == 0x2001 && s[1] == 0xdb8)
        && !(s[0] == 0x3fff && s[1] < 0x1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ATK-16, ATK-18, ATK-33, EDGE-08: every way to write an address of the own network.
    #[test]
    fn own_networks_are_closed_in_every_spelling() {
        for text in [
            "127.0.0.1",
            "0.0.0.0",
            "10.1.2.3",
            "127.255.0.9",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "192.0.0.8",
            "192.0.2.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::127.0.0.1",
            "::ffff:0:10.0.0.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b:1::8.8.8.8",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2002:a00:1::1",
            "2001::1",
            "2001:db8::1",
            "3fff::1",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "100::1",
        ] {
            assert!(!is_public(text.parse().unwrap()), "{text}");
        }
        for text in [
            "8.8.8.8",
            "1.1.1.1",
            "172.32.0.1",
            "100.63.255.255",
            "100.128.0.1",
            "192.0.1.1",
            "223.255.255.254",
            "2606:4700::1111",
            "2a00:1450::1",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
            "2002:808:808::1",
        ] {
            assert!(is_public(text.parse().unwrap()), "{text}");
        }
        assert!(AddressPolicy::Any.allows("127.0.0.1".parse().unwrap()));
        assert!(!AddressPolicy::Public.allows("::1".parse().unwrap()));
    }
}
