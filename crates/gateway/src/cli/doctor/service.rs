//! The running service, and how this provider looks to its peers.

use super::NetProbe;
use crate::cli::check::Finding;
use crate::config::Config;
use crate::faces::admin::api::Readiness;
use crate::tls::{self, validity::validity};
use mimi_wire::directory::{Directory, WELL_KNOWN_PATH};
use rustls::pki_types::ServerName;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

/// For one connection or question.
const PATIENCE: Duration = Duration::from_secs(10);
/// Octets read of an answer.
const MAX_ANSWER: u64 = 128 * 1024;

pub(super) fn probes<'a>(config: &'a Config, runtime: &'a Runtime) -> Vec<NetProbe<'a>> {
    let mut all = vec![
        NetProbe::new(runtime, "service.ready", move || ready(config)),
        NetProbe::new(runtime, "mimi.tls", move || {
            as_peers_see(config, reachable(config.mimi.listen), false)
        }),
        NetProbe::new(runtime, "mimi.public", move || public(config)),
        NetProbe::new(runtime, "mimi.well-known", move || well_known(config)),
    ];
    if config.homeserver.is_some() {
        all.push(NetProbe::new(runtime, "matrix.well-known", move || {
            matrix_well_known(config)
        }));
    }
    all
}

/// A listening address as one connects to it from here.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    address
}

pub(super) fn http(config: &Config) -> Result<reqwest::Client, reqwest::Error> {
    reqwest::Client::builder()
        .timeout(PATIENCE.min(config.limits.outgoing()))
        .redirect(reqwest::redirect::Policy::limited(3))
        .user_agent(concat!("causeway-doctor/", env!("CARGO_PKG_VERSION")))
        .build()
}

async fn ready(config: &Config) -> Finding {
    let address = reachable(config.admin.listen);
    let asked = async {
        let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build()?;
        http.get(format!("http://{address}/readyz"))
            .send()
            .await?
            .json::<Readiness>()
            .await
    };
    match asked.await {
        Err(error) => Finding::error(
            format!("the service doesn't answer on {address}: {}", chain(&error)),
            "start it (systemctl start causeway, or causeway serve) and look at its log",
        ),
        Ok(readiness) if !readiness.ready => Finding::error(
            format!("the service is not ready: {}", readiness.reasons.join("; ")),
            "see its log",
        ),
        Ok(readiness) if !readiness.warnings.is_empty() => Finding::warning(
            format!("the service runs, but: {}", readiness.warnings.join("; ")),
            "see what is said about the homeserver below",
        ),
        Ok(_) => Finding::ok(format!("the service runs and is ready ({address})")),
    }
}

/// Connects as a peer does: to this address, under the provider's name, with our own certificate, which our own face
/// need not accept. `elsewhere`: by a way that may lead through other people's networks.
async fn as_peers_see(config: &Config, address: SocketAddr, elsewhere: bool) -> Finding {
    let name = config.advertised_name().to_owned();
    let connected = async {
        let own = tls::own_certificate(config).map_err(|e| e.cause())?;
        let roots = config
            .mimi
            .trusted_ca
            .iter()
            .map(|p| config.path(p))
            .collect::<Vec<_>>();
        let roots = tls::roots(roots.iter().map(std::path::PathBuf::as_path)).map_err(|e| e.cause())?;
        let client = tls::mimi_client(&own, Arc::new(roots)).map_err(|e| e.cause())?;
        let server = ServerName::try_from(name.clone()).map_err(|e| e.to_string())?;
        let tcp = tokio::time::timeout(PATIENCE, TcpStream::connect(address))
            .await
            .map_err(|_| "no answer".to_owned())?
            .map_err(|e| e.to_string())?;
        let connector = tokio_rustls::TlsConnector::from(Arc::new(client));
        let stream = tokio::time::timeout(PATIENCE, connector.connect(server, tcp))
            .await
            .map_err(|_| "the TLS handshake doesn't end".to_owned())?
            .map_err(|e| e.to_string())?;
        let shown = stream
            .get_ref()
            .1
            .peer_certificates()
            .and_then(|chain| chain.first())
            .map(|c| c.as_ref().to_vec());
        let ours = own.chain().first().map(|c| c.as_ref().to_vec());
        Ok::<_, String>((shown, ours))
    };
    let (shown, ours) = match connected.await {
        Ok(pair) => pair,
        Err(error) if error.contains("UnknownIssuer") => {
            return Finding::warning(
                format!("{address}: the certificate shown is not of an authority in mimi.trusted_ca"),
                "no harm if your peers trust that authority; otherwise get a certificate of one they trust",
            );
        }
        Err(error) => {
            let remedy = if elsewhere {
                "check DNS, the firewall, and that no proxy before this provider ends TLS"
            } else {
                "is the service running, and mimi.listen right? See its log"
            };
            return Finding::error(format!("{name} at {address}: {error}"), remedy);
        }
    };
    if elsewhere && shown != ours {
        return Finding::error(
            format!(
                "{name} at {address} shows another certificate than {}",
                config.path(&config.mimi.certificate).display()
            ),
            "something before this provider ends TLS (a reverse proxy, a load balancer): let it pass connections on unopened, \
             since peers show certificates, too",
        );
    }
    let days = shown.as_deref().and_then(validity).map(|(_, until)| {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| d.as_secs());
        (until - i64::try_from(now).unwrap_or(0)).div_euclid(86_400)
    });
    if shown != ours {
        return Finding::warning(
            format!("{address} still shows another certificate than the file"),
            "the certificate was replaced: restart the service, or wait until it reads it again",
        );
    }
    match days {
        Some(days) if days < 21 => Finding::warning(
            format!("peers see a certificate for {name} that expires in {days} days"),
            "renew it",
        ),
        Some(days) => Finding::ok(format!(
            "peers that reach {address} see a certificate for {name}, valid for {days} days"
        )),
        None => Finding::error("the certificate shown can't be read", "replace it"),
    }
}

/// The name that peers use, looked up as they do.
async fn public(config: &Config) -> Finding {
    let advertised = config.advertised();
    let target = if advertised.contains(':') {
        advertised.to_owned()
    } else {
        format!("{advertised}:443")
    };
    let found = tokio::time::timeout(PATIENCE, tokio::net::lookup_host(target.clone())).await;
    let address = match found {
        Ok(Ok(mut all)) => all.next(),
        _ => None,
    };
    match address {
        None => Finding::warning(
            format!("{advertised} has no address in DNS, so only peers that pin one reach this provider"),
            "publish an A or AAAA record for mimi.host, or have your peers set peers.\"...\".address",
        ),
        Some(address) => as_peers_see(config, address, true).await,
    }
}

/// The directory, where peers look for it: `https://domain/.well-known/...`, asked of the face that serves it here.
async fn well_known(config: &Config) -> Finding {
    let address = reachable(config.mimi.listen);
    let asked = async {
        let own = tls::own_certificate(config).map_err(|e| e.cause())?;
        let roots: Vec<_> = config.mimi.trusted_ca.iter().map(|p| config.path(p)).collect();
        let roots = tls::roots(roots.iter().map(std::path::PathBuf::as_path)).map_err(|e| e.cause())?;
        let mut client = tls::mimi_client(&own, Arc::new(roots)).map_err(|e| e.cause())?;
        client.alpn_protocols = vec![b"http/1.1".to_vec()];
        let domain = config.provider.domain.to_string();
        let server = ServerName::try_from(domain.clone()).map_err(|e| e.to_string())?;
        let tcp = TcpStream::connect(address).await.map_err(|e| e.to_string())?;
        let connector = tokio_rustls::TlsConnector::from(Arc::new(client));
        let mut stream = connector.connect(server, tcp).await.map_err(|e| e.to_string())?;
        let request =
            format!("GET {WELL_KNOWN_PATH} HTTP/1.1\r\nHost: {domain}\r\nConnection: close\r\n\r\n");
        stream
            .write_all(request.as_bytes())
            .await
            .map_err(|e| e.to_string())?;
        let mut answer = Vec::new();
        // Servers may close without a word of goodbye.
        let _ = stream.take(MAX_ANSWER).read_to_end(&mut answer).await;
        let text = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").ok_or("no HTTP answer")?;
        let status = head.split_ascii_whitespace().nth(1).unwrap_or("none").to_owned();
        if status != "200" {
            return Err(format!("HTTP status {status}"));
        }
        let start = body.find('{').ok_or("no JSON")?;
        let end = body.rfind('}').ok_or("no JSON")?;
        let json = body.get(start..=end).unwrap_or_default();
        serde_json::from_str::<Directory>(json).map_err(|e| e.to_string())
    };
    match tokio::time::timeout(PATIENCE, asked).await {
        Err(_) => Finding::error(
            "the directory of this provider: no answer",
            "see the service's log",
        ),
        Ok(Err(error)) => Finding::error(
            format!("the directory of this provider ({WELL_KNOWN_PATH}): {error}"),
            "is the service running? Peers find every endpoint through it",
        ),
        Ok(Ok(_)) => Finding::ok(format!(
            "the directory of this provider is served for {}; let https://{}{WELL_KNOWN_PATH} lead here",
            config.provider.domain, config.provider.domain
        )),
    }
}

/// What federation and clients look for at the homeserver's name. Its absence is no error: the homeserver may have
/// its own name and ports, or not federate.
async fn matrix_well_known(config: &Config) -> Finding {
    let Some(homeserver) = &config.homeserver else {
        return Finding::ok("no homeserver");
    };
    let name = &homeserver.server_name;
    let Ok(http) = http(config) else {
        return Finding::error("no HTTP client", "report this");
    };
    let mut found = Vec::new();
    let mut absent = Vec::new();
    for (what, key) in [("server", "m.server"), ("client", "m.homeserver")] {
        let url = format!("https://{name}/.well-known/matrix/{what}");
        let answer = async {
            let answer = http.get(&url).send().await.map_err(|e| chain(&e.without_url()))?;
            if !answer.status().is_success() {
                return Err(format!("HTTP status {}", answer.status()));
            }
            let body: serde_json::Value = answer.json().await.map_err(|e| chain(&e.without_url()))?;
            body.get(key).cloned().ok_or_else(|| format!("without {key}"))
        };
        match answer.await {
            Ok(value) => found.push(format!("{what}: {value}")),
            Err(error) => absent.push(format!("/.well-known/matrix/{what}: {error}")),
        }
    }
    if absent.is_empty() {
        return Finding::ok(format!("https://{name}/.well-known/matrix: {}", found.join(", ")));
    }
    Finding::warning(
        format!("https://{name}: {}", absent.join("; ")),
        "only needed where the homeserver is reached under another name or port than its server name; then serve both files",
    )
}

/// An error with what lies below it.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text.push_str(": ");
        text.push_str(&error.to_string());
        next = error.source();
    }
    text
}
