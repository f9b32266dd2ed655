//! Certificates: readable, fitting, for the right names, not about to expire.

use super::{Finding, Probe};
use crate::config::Config;
use crate::tls::{self, OwnCertificate, PeerTrust, validity::validity};
use rustls::client::verify_server_name;
use rustls::pki_types::ServerName;
use rustls::server::ParsedCertificate;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

const DAY: i64 = 86_400;
/// Certificates that end within this many days are warned about.
const SOON: i64 = 21;

/// An own certificate: fits its key, covers its names.
struct OwnProbe {
    certificate: PathBuf,
    key: PathBuf,
    names: Vec<String>,
}

impl Probe for OwnProbe {
    fn run(&self) -> Finding {
        let own = match OwnCertificate::load(&self.certificate, &self.key) {
            Ok(own) => own,
            Err(failure) => return Finding::of(&failure),
        };
        if let Err(failure) = tls::plain_server(&own) {
            return Finding::of(&failure);
        }
        let shown = self.certificate.display();
        let Some(parsed) = own
            .chain()
            .first()
            .and_then(|c| ParsedCertificate::try_from(c).ok())
        else {
            return Finding::error(format!("{shown}: not an X.509 certificate"), "replace it");
        };
        for name in &self.names {
            let covered =
                ServerName::try_from(name.as_str()).is_ok_and(|n| verify_server_name(&parsed, &n).is_ok());
            if !covered {
                return Finding::error(
                    format!("{shown}: is not for {name}"),
                    format!(
                        "get a certificate whose subject alternative names include {}",
                        self.names.join(" and ")
                    ),
                );
            }
        }
        Finding::ok(format!("certificate {shown} for {}", self.names.join(", ")))
    }
}

/// Any certificate's validity.
struct ValidityProbe(PathBuf);

impl Probe for ValidityProbe {
    fn run(&self) -> Finding {
        let shown = self.0.display();
        let all = match tls::certificates(&self.0) {
            Ok(all) => all,
            Err(failure) => return Finding::of(&failure),
        };
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| i64::try_from(d.as_secs()).unwrap_or(0));
        let mut left = i64::MAX;
        for certificate in &all {
            match validity(certificate) {
                None => return Finding::error(format!("{shown}: not an X.509 certificate"), "replace it"),
                Some((from, _)) if from > now => {
                    return Finding::error(format!("{shown}: not valid yet"), "check this machine's clock");
                }
                Some((_, until)) => left = left.min(until - now),
            }
        }
        let days = left.div_euclid(DAY);
        if left <= 0 {
            Finding::error(format!("{shown}: expired"), "renew it and restart the service")
        } else if days < SOON {
            Finding::warning(
                format!("{shown}: expires in {days} days"),
                "renew it and restart the service",
            )
        } else {
            Finding::ok(format!("{shown} is valid for {days} days"))
        }
    }
}

/// The authorities as the MIMI face will use them.
struct TrustProbe<'a>(&'a Config);

impl Probe for TrustProbe<'_> {
    fn run(&self) -> Finding {
        match PeerTrust::new(self.0) {
            Ok(_) if self.0.peers.is_empty() && self.0.mimi.peers == crate::config::PeerPolicy::Listed => {
                Finding::warning(
                    "no peers are listed, so nobody is one",
                    "add [peers.\"their.domain\"] to the configuration",
                )
            }
            Ok(_) => Finding::ok("authorities of peers"),
            Err(failure) => Finding::of(&failure),
        }
    }
}

pub(super) fn probes(config: &Config) -> Vec<Box<dyn Probe + '_>> {
    let mimi = &config.mimi;
    let mut names = vec![config.provider.domain.to_string()];
    if config.advertised_name() != config.provider.domain.as_str() {
        names.push(config.advertised_name().to_owned());
    }
    let mut files = vec![config.path(&mimi.certificate)];
    files.extend(mimi.trusted_ca.iter().map(|p| config.path(p)));
    files.extend(
        config
            .peers
            .values()
            .filter_map(|p| p.ca.as_ref())
            .map(|p| config.path(p)),
    );
    let mut all: Vec<Box<dyn Probe + '_>> = vec![
        Box::new(OwnProbe {
            certificate: config.path(&mimi.certificate),
            key: config.path(&mimi.key),
            names,
        }),
        Box::new(TrustProbe(config)),
    ];
    if let (Some(certificate), Some(key)) = (&config.client_api.certificate, &config.client_api.key) {
        let certificate = config.path(certificate);
        files.push(certificate.clone());
        all.push(Box::new(OwnProbe {
            certificate,
            key: config.path(key),
            names: Vec::new(),
        }));
    }
    if let Some(federation) = &config.federation {
        let certificate = config.path(&federation.certificate);
        files.push(certificate.clone());
        files.extend(federation.trusted_ca.iter().map(|ca| config.path(ca)));
        all.push(Box::new(OwnProbe {
            certificate,
            key: config.path(&federation.key),
            names: vec![config.node_host().to_owned()],
        }));
    }
    all.extend(
        files
            .into_iter()
            .map(|path| Box::new(ValidityProbe(path)) as Box<dyn Probe + '_>),
    );
    all
}
