//! SRV look-ups: one question to the system's name servers.

use matrix_wire::discovery::best_srv;
use simple_dns::{CLASS, Name, Packet, QCLASS, QTYPE, Question, RCODE, TYPE};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::net::UdpSocket;

/// How long one name server is waited for.
const PATIENCE: Duration = Duration::from_secs(3);
/// Name servers asked, one after the other.
const SERVERS: usize = 3;
/// Largest answer taken, in bytes. One that does not fit is cut by its server; the records that came count.
const ANSWER_SIZE: usize = 4096;
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// The host and port that the SRV record of `query` (`_service._tcp.name`) names.
pub(crate) async fn look_up(query: &str) -> Option<(String, u16)> {
    let servers = name_servers(&tokio::fs::read_to_string(RESOLV_CONF).await.unwrap_or_default());
    for server in servers {
        if let Ok(Some(answer)) = tokio::time::timeout(PATIENCE, ask(server, query)).await {
            return best_srv(&answer);
        }
    }
    None
}

/// The `nameserver` lines, else this machine's own.
fn name_servers(text: &str) -> Vec<SocketAddr> {
    let mut servers: Vec<SocketAddr> = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver"))
        .filter_map(|rest| rest.trim().parse::<IpAddr>().ok())
        .map(|address| SocketAddr::new(address, 53))
        .take(SERVERS)
        .collect();
    if servers.is_empty() {
        servers.push(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 53));
    }
    servers
}

/// One question, one answer from where it was asked, under the same id. None for anything else.
async fn ask(server: SocketAddr, query: &str) -> Option<Vec<u8>> {
    let mut id = [0; 2];
    getrandom::fill(&mut id).ok()?;
    let id = u16::from_be_bytes(id);
    let octets = question(id, query)?;
    let any: SocketAddr = if server.is_ipv4() {
        ([0, 0, 0, 0], 0).into()
    } else {
        ([0_u16; 8], 0).into()
    };
    let socket = UdpSocket::bind(any).await.ok()?;
    // Connected: datagrams from elsewhere never arrive.
    socket.connect(server).await.ok()?;
    socket.send(&octets).await.ok()?;
    let mut answer = vec![0; ANSWER_SIZE];
    loop {
        let length = socket.recv(&mut answer).await.ok()?;
        let received = answer.get(..length)?;
        let Ok(packet) = Packet::parse(received) else {
            continue;
        };
        let fits = packet.id() == id
            && packet
                .questions
                .first()
                .is_some_and(|q| q.qname.to_string().eq_ignore_ascii_case(query));
        if !fits {
            continue;
        }
        // "No such name" is an answer too.
        let told = matches!(packet.rcode(), RCODE::NoError | RCODE::NameError);
        return told.then(|| received.to_vec());
    }
}

fn question(id: u16, query: &str) -> Option<Vec<u8>> {
    let mut packet = Packet::new_query(id);
    packet.set_flags(simple_dns::PacketFlag::RECURSION_DESIRED);
    packet.questions.push(Question::new(
        Name::new(query).ok()?,
        QTYPE::TYPE(TYPE::SRV),
        QCLASS::CLASS(CLASS::IN),
        false,
    ));
    packet.build_bytes_vec().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use simple_dns::ResourceRecord;
    use simple_dns::rdata::{RData, SRV};

    #[test]
    fn name_servers_of_the_system() {
        let all = name_servers("# x\nnameserver 192.0.2.1\nsearch a\n nameserver ::1\n");
        assert_eq!(
            all,
            ["192.0.2.1:53".parse().unwrap(), "[::1]:53".parse().unwrap()]
        );
        assert_eq!(name_servers("").len(), 1);
    }

    #[tokio::test]
    async fn a_question_and_its_answer() {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let mut octets = [0; 512];
            let (length, from) = socket.recv_from(&mut octets).await.unwrap();
            let asked = Packet::parse(&octets[..length]).unwrap();
            // An answer under another id first: it has to be overlooked.
            for id in [asked.id().wrapping_add(1), asked.id()] {
                let mut reply = Packet::new_reply(id);
                reply.questions.clone_from(&asked.questions);
                reply.answers.push(ResourceRecord::new(
                    Name::new_unchecked("_matrix._tcp.a.example"),
                    CLASS::IN,
                    60,
                    RData::SRV(SRV {
                        priority: 1,
                        weight: 1,
                        port: id.max(1),
                        target: Name::new_unchecked("b.example"),
                    }),
                ));
                socket
                    .send_to(&reply.build_bytes_vec().unwrap(), from)
                    .await
                    .unwrap();
            }
            asked.id().max(1)
        });
        let octets = ask(address, "_matrix._tcp.a.example").await.unwrap();
        assert_eq!(
            best_srv(&octets),
            Some(("b.example".to_owned(), server.await.unwrap()))
        );
    }
}
