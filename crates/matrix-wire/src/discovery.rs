//! Where a server is (server-server API, "Resolving server names"): what its domain and the domain's name servers say.

use serde::Deserialize;
use simple_dns::Packet;
use simple_dns::rdata::RData;

use crate::server_name::{Host, ServerName};

#[derive(Deserialize)]
struct WellKnown {
    #[serde(rename = "m.server")]
    server: String,
}

/// The server that a document at `/.well-known/matrix/server` delegates to.
pub fn delegated(document: &[u8]) -> Option<ServerName> {
    let document: WellKnown = serde_json::from_slice(document).ok()?;
    ServerName::parse(&document.server).ok()
}

/// The host and port that an answer of SRV records (RFC 2782) names: of the smallest priority the greatest weight, so that
/// the choice is the same every time. A target that is an address would go round the check of names: none.
pub fn best_srv(answer: &[u8]) -> Option<(String, u16)> {
    let packet = Packet::parse(answer).ok()?;
    let records = packet.answers.iter().filter_map(|record| match &record.rdata {
        RData::SRV(srv) => Some(srv),
        _ => None,
    });
    let best = records.min_by_key(|srv| (srv.priority, std::cmp::Reverse(srv.weight)))?;
    let target = best.target.to_string();
    let target = target.trim_end_matches('.');
    let name = ServerName::parse(target).ok()?;
    let is_name = matches!(name.host(), Host::Name(_)) && name.port().is_none();
    (is_name && best.port != 0).then(|| (target.to_owned(), best.port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use simple_dns::rdata::SRV;
    use simple_dns::{CLASS, Name, ResourceRecord};

    fn answer(records: &[(u16, u16, u16, &str)]) -> Vec<u8> {
        let mut packet = Packet::new_reply(7);
        for (priority, weight, port, target) in records {
            packet.answers.push(ResourceRecord::new(
                Name::new_unchecked("_matrix-fed._tcp.a.example"),
                CLASS::IN,
                60,
                RData::SRV(SRV {
                    priority: *priority,
                    weight: *weight,
                    port: *port,
                    target: Name::new_unchecked(target),
                }),
            ));
        }
        packet.build_bytes_vec().unwrap()
    }

    #[test]
    fn the_best_record_is_taken() {
        let octets = answer(&[
            (10, 99, 1, "x.example"),
            (5, 1, 2, "y.example"),
            (5, 7, 8449, "z.example"),
        ]);
        assert_eq!(best_srv(&octets), Some(("z.example".to_owned(), 8449)));
        assert_eq!(best_srv(&answer(&[])), None);
        assert_eq!(best_srv(&answer(&[(1, 1, 0, "z.example")])), None);
        assert_eq!(best_srv(&answer(&[(1, 1, 80, "127.0.0.1")])), None);
    }

    proptest! {
        #[test]
        fn any_answer_is_read_or_refused(octets in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = best_srv(&octets);
            let _ = delegated(&octets);
        }
    }
}
