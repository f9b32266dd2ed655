//! `causeway init`

use crate::config::{
    AdminConfig, AppserviceConfig, ClientApiConfig, Config, ConsentRequiredOf, FederationConfig,
    HomeserverConfig, KeysConfig, LimitsConfig, LogConfig, MimiConfig, PeerConfig, PeerDomain, PeerPolicy,
    ProviderConfig, Secret, StoreConfig, UsersConfig, example,
};
use crate::failure::{Code, Failure};
use crate::files;
use crate::keys::{KeyFile, KeyKind};
use crate::tls::dev_ca::DevCa;
use appservice::Registration;
use clap::Args;
use mimi_wire::Domain;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

mod ask;
mod snippets;

/// Make a configuration, keys, and whatever else a new provider needs.
///
/// Asks for what is missing when run on a terminal; with --yes it takes the defaults. Nothing that exists is
/// overwritten.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  causeway init
      asks
  causeway init --yes --domain a.example --homeserver http://127.0.0.1:8008 --dev-ca dev-ca --peer b.example
      beside a homeserver, with certificates for development
  causeway init --yes --domain b.example --dev-ca ../a/dev-ca --peer a.example=127.0.0.1:8443
      a second provider without a homeserver that trusts the first")]
pub(super) struct InitArgs {
    /// The provider's domain; beside a homeserver its server name. It can't be changed later.
    #[arg(long, value_name = "NAME")]
    domain: Option<String>,
    /// This node's own Matrix server name [default: cw1.DOMAIN].
    #[arg(long, value_name = "NAME")]
    node_name: Option<String>,
    /// Where to listen for other providers.
    #[arg(long, default_value = "0.0.0.0:8443", value_name = "ADDRESS")]
    mimi_listen: SocketAddr,
    /// Host and port that other providers are told to use [default: DOMAIN].
    #[arg(long, value_name = "HOST[:PORT]")]
    mimi_host: Option<String>,
    /// Where to listen for this provider's clients.
    #[arg(long, default_value = "127.0.0.1:8480", value_name = "ADDRESS")]
    client_listen: SocketAddr,
    /// Where to listen for administration and metrics.
    #[arg(long, default_value = "127.0.0.1:8482", value_name = "ADDRESS")]
    admin_listen: SocketAddr,
    /// Use the development authority in this folder, or make one there. Providers that share it trust each other, and
    /// their users may add each other to rooms without asking.
    #[arg(long, value_name = "DIR")]
    dev_ca: Option<PathBuf>,
    /// A peer, with its address where DNS doesn't know it. May be repeated.
    #[arg(long, value_name = "DOMAIN[=ADDRESS]")]
    peer: Vec<Peer>,
    /// Base URL of the homeserver's client-server API, as this machine reaches it. Without it: local accounts only.
    #[arg(long, value_name = "URL")]
    homeserver: Option<String>,
    /// Base URL of a listener of the homeserver with the resource openid [default: the one of --homeserver].
    #[arg(long, value_name = "URL")]
    openid_url: Option<String>,
    /// Where to listen for the homeserver's transactions.
    #[arg(long, default_value = "127.0.0.1:8481", value_name = "ADDRESS")]
    appservice_listen: SocketAddr,
    /// How the homeserver reaches that [default: http://ADDRESS].
    #[arg(long, value_name = "URL")]
    appservice_url: Option<String>,
    /// Where to listen for Matrix servers. Without it this node doesn't federate.
    #[arg(long, value_name = "ADDRESS")]
    federation_listen: Option<SocketAddr>,
    /// The store's folder.
    #[arg(long, default_value = "data", value_name = "DIR")]
    store: PathBuf,
    /// Don't ask.
    #[arg(long, short)]
    yes: bool,
    /// Don't tell what was made and what is left to do.
    #[arg(long, short)]
    quiet: bool,
}

/// `DOMAIN[=ADDRESS]`
#[derive(Clone, Debug)]
struct Peer(Domain, Option<SocketAddr>);

impl std::str::FromStr for Peer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (domain, address) = text.split_once('=').map_or((text, None), |(d, a)| (d, Some(a)));
        let domain = Domain::parse(domain).map_err(|e| format!("{domain}: {e}"))?;
        let address = address
            .map(|a| a.parse().map_err(|e| format!("{a}: {e}; write IP:PORT")))
            .transpose()?;
        Ok(Self(domain, address))
    }
}

const CERTIFICATE: &str = "tls/mimi.pem";
const CERTIFICATE_KEY: &str = "tls/mimi.key";
const CA: &str = "tls/ca.pem";
const NODE_CERTIFICATE: &str = "tls/node.pem";
const NODE_KEY: &str = "tls/node.key";
const REGISTRATION: &str = "registration.yaml";

pub(super) fn run(mut args: InitArgs, path: &Path) -> Result<(), Failure> {
    if !args.yes {
        ask::complete(&mut args)?;
    }
    let config = config(&args, path)?;
    if let Some(problem) = config.problems().first() {
        return Err(Failure::new(
            Code::Usage,
            format!("{}: {}", problem.key, problem.cause),
            problem.remedy.clone(),
        ));
    }
    let made = [
        path.to_owned(),
        config.path(&config.keys.node),
        config.path(Path::new(REGISTRATION)),
    ];
    if let Some(there) = made.iter().find(|p| p.exists()) {
        return Err(Failure::new(
            Code::Exists,
            format!("{} exists already", there.display()),
            "init only makes new providers: name another file with --config, or move what is there away",
        ));
    }
    keys(&config)?;
    certificates(&args, &config)?;
    if let Some(homeserver) = &config.homeserver {
        registration(&args, &config, homeserver)?;
    }
    let text = format!(
        "# Made by `causeway init`. Every key is explained in docs/causeway.example.toml.\n\n{}",
        example::plain(&config)?
    );
    files::write(path, &text)?;
    if !args.quiet {
        snippets::print(&config, path, args.dev_ca.is_some());
    }
    Ok(())
}

fn config(args: &InitArgs, path: &Path) -> Result<Config, Failure> {
    let text = args.domain.as_deref().ok_or_else(|| {
        Failure::new(
            Code::Usage,
            "the provider needs a domain",
            "give --domain, for example --domain a.example",
        )
    })?;
    let domain = Domain::parse(text).map_err(|e| {
        Failure::new(
            Code::Usage,
            format!("{text} is not a domain: {e}"),
            "give a DNS name without port",
        )
    })?;
    let peers: BTreeMap<_, _> = args
        .peer
        .iter()
        .map(|Peer(domain, address)| {
            (
                PeerDomain(domain.clone()),
                PeerConfig {
                    address: *address,
                    ..PeerConfig::default()
                },
            )
        })
        .collect();
    let homeserver = args.homeserver.clone().map(|url| HomeserverConfig {
        server_name: domain.to_string(),
        url,
        openid_url: args.openid_url.clone(),
    });
    let appservice = homeserver
        .is_some()
        .then(|| AppserviceConfig::new(args.appservice_listen, REGISTRATION.into()));
    Ok(Config {
        provider: ProviderConfig {
            node_name: args.node_name.clone().unwrap_or_else(|| format!("cw1.{domain}")),
            domain: PeerDomain(domain),
        },
        keys: KeysConfig::default(),
        store: StoreConfig {
            path: args.store.clone(),
            ..StoreConfig::default()
        },
        mimi: MimiConfig {
            listen: args.mimi_listen,
            host: args.mimi_host.clone(),
            certificate: CERTIFICATE.into(),
            key: CERTIFICATE_KEY.into(),
            trusted_ca: vec![CA.into()],
            peers: PeerPolicy::Listed,
            web_pki_roots: None,
            private_networks: Vec::new(),
            asset_url: None,
        },
        peers,
        client_api: ClientApiConfig {
            listen: args.client_listen,
            ..ClientApiConfig::default()
        },
        homeserver,
        appservice,
        users: UsersConfig {
            // Among providers for development anybody may add anybody; elsewhere who comes from outside has to ask.
            consent_required_of: match &args.dev_ca {
                Some(_) => ConsentRequiredOf::Nobody,
                None => ConsentRequiredOf::default(),
            },
            ..UsersConfig::default()
        },
        cluster: None,
        federation: federation(args),
        admin: AdminConfig {
            listen: args.admin_listen,
            ..AdminConfig::default()
        },
        log: LogConfig::default(),
        limits: LimitsConfig::default(),
        file: Some(path.to_owned()),
        base: path
            .parent()
            .filter(|p| !p.as_os_str().is_empty())
            .unwrap_or(Path::new("."))
            .to_owned(),
    })
}

/// The section federation. With a development authority the other servers are taken to be development's, too: of the
/// same authority, on this machine or its network.
fn federation(args: &InitArgs) -> Option<FederationConfig> {
    let mut section =
        FederationConfig::new(args.federation_listen?, NODE_CERTIFICATE.into(), NODE_KEY.into());
    if args.dev_ca.is_some() {
        section.trusted_ca = vec![CA.into()];
        section.allow_private_addresses = true;
    }
    Some(section)
}

fn keys(config: &Config) -> Result<(), Failure> {
    let keys = &config.keys;
    for (file, kind) in [
        (&keys.node, KeyKind::Ed25519),
        (&keys.hub, KeyKind::Ed25519),
        (&keys.franking, KeyKind::Ed25519),
        (&keys.hub_key, KeyKind::HmacSha256),
    ] {
        KeyFile::generate()?.write(&config.path(file), kind)?;
    }
    if let Some(token) = &config.admin.token_file {
        files::write_secret(&config.path(token), Secret::random()?.expose())?;
    }
    Ok(())
}

fn certificates(args: &InitArgs, config: &Config) -> Result<(), Failure> {
    let Some(folder) = &args.dev_ca else { return Ok(()) };
    let ca = DevCa::open(folder)?;
    let mut names = vec![config.provider.domain.to_string()];
    let host = config.advertised_name().to_owned();
    if !names.contains(&host) {
        names.push(host);
    }
    ca.issue(
        &names,
        &config.path(&config.mimi.certificate),
        &config.path(&config.mimi.key),
    )?;
    if let Some(federation) = &config.federation {
        let names = [config.node_host().to_owned()];
        ca.issue(
            &names,
            &config.path(&federation.certificate),
            &config.path(&federation.key),
        )?;
    }
    files::write(&config.path(Path::new(CA)), &files::read(ca.certificate())?)
}

fn registration(args: &InitArgs, config: &Config, homeserver: &HomeserverConfig) -> Result<(), Failure> {
    let failure = |e: appservice::RegistrationError| {
        Failure::new(
            Code::Registration,
            "the registration can't be made",
            "check --homeserver and --appservice-url",
        )
        .with_source(e)
    };
    let url = args
        .appservice_url
        .clone()
        .unwrap_or_else(|| format!("http://{}", args.appservice_listen));
    let registration =
        Registration::generate(&homeserver.server_name, &url, getrandom::fill).map_err(failure)?;
    files::write_secret(
        &config.path(Path::new(REGISTRATION)),
        &registration.to_yaml().map_err(failure)?,
    )
}
