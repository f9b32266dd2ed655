//! Where a peer's name may lead: public addresses only, unless the operator names others. What is checked is the
//! address that is connected to, after resolution, so that a name can't change its answer in between.

use ipnet::IpNet;
use replication::guard::is_public;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// A name or URL that leads where no peer is looked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{host} leads to {address}, which is no public address; mimi.private_networks doesn't name it either"
)]
pub struct AddressRefused {
    /// The name.
    pub host: String,
    /// Where it leads.
    pub address: IpAddr,
}

/// Resolves names by the system, and refuses those that lead to an address that is neither public nor allowed.
#[derive(Clone, Debug)]
pub struct Guarded {
    allowed: Arc<[IpNet]>,
}

impl Guarded {
    /// With networks that are allowed besides public addresses.
    pub fn new(allowed: &[IpNet]) -> Self {
        Self {
            allowed: allowed.into(),
        }
    }

    /// Whether one may connect there.
    pub fn allows(&self, address: IpAddr) -> bool {
        // An IPv4 address is the same however it is written.
        let plain = address.to_canonical();
        is_public(address) || self.allowed.iter().any(|net| net.contains(&plain))
    }

    /// A URL whose host is an address is never resolved, so it is checked here.
    pub fn check_url(&self, url: &reqwest::Url) -> Result<(), AddressRefused> {
        let host = url.host_str().unwrap_or_default();
        let literal = host.trim_start_matches('[').trim_end_matches(']');
        match literal.parse::<IpAddr>() {
            Ok(address) if !self.allows(address) => Err(AddressRefused {
                host: host.to_owned(),
                address,
            }),
            _ => Ok(()),
        }
    }

    /// The addresses that one may connect to; an error where there are some but none of them is allowed.
    fn filter(&self, host: &str, found: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, AddressRefused> {
        let refused = found.first().map(SocketAddr::ip);
        let good: Vec<_> = found.into_iter().filter(|a| self.allows(a.ip())).collect();
        match refused {
            Some(address) if good.is_empty() => Err(AddressRefused {
                host: host.to_owned(),
                address,
            }),
            _ => Ok(good),
        }
    }
}

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.clone();
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let good = guard.filter(name.as_str(), found)?;
            let addresses: Addrs = Box::new(good.into_iter());
            Ok(addresses)
        })
    }
}

/// Leads every name to one address, which the operator has named.
pub(crate) struct Pinned(pub(crate) SocketAddr);

impl Resolve for Pinned {
    fn resolve(&self, _: Name) -> Resolving {
        let addresses: Addrs = Box::new(std::iter::once(self.0));
        Box::pin(std::future::ready(Ok(addresses)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )]
    use super::*;

    #[test]
    fn networks_of_the_operator_are_allowed_too() {
        let guard = Guarded::new(&["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()]);
        for (address, allowed) in [
            ("10.9.8.7", true),
            ("::ffff:10.9.8.7", true),
            ("fd00::1", true),
            ("192.168.0.1", false),
            ("127.0.0.1", false),
            ("1.1.1.1", true),
        ] {
            assert_eq!(guard.allows(address.parse().unwrap()), allowed, "{address}");
        }
        for (url, allowed) in [
            ("https://10.0.0.1/x", true),
            ("https://127.1/x", false),
            ("https://0x7f000001/x", false),
            ("https://[::1]:8443/x", false),
            ("https://[::ffff:7f00:1]/x", false),
            ("https://a.example/x", true),
        ] {
            let url = reqwest::Url::parse(url).unwrap();
            assert_eq!(guard.check_url(&url).is_ok(), allowed, "{url}");
        }
        let at = |a: &str| SocketAddr::new(a.parse().unwrap(), 0);
        let both = guard.filter("x", vec![at("127.0.0.1"), at("1.1.1.1")]).unwrap();
        assert_eq!(both, [at("1.1.1.1")]);
        assert!(guard.filter("x", vec![at("127.0.0.1")]).is_err());
        assert_eq!(guard.filter("x", vec![]).unwrap(), []);
    }

    #[tokio::test]
    async fn a_name_that_leads_home_is_refused_when_it_is_resolved() {
        let localhost = || "localhost".parse::<Name>().unwrap();
        let refused = Guarded::new(&[]).resolve(localhost()).await.err().unwrap();
        assert!(refused.downcast_ref::<AddressRefused>().is_some(), "{refused}");
        let allowed = Guarded::new(&["127.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()]);
        assert!(allowed.resolve(localhost()).await.unwrap().count() > 0);
    }
}
