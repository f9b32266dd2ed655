//! `causeway keys`

use super::admin_link::Link;
use super::{output, runtime};
use crate::config::Config;
use crate::failure::{Code, Failure};
use crate::keys::{KeyFile, KeyRing, Ring};
use clap::{Args, Subcommand, ValueEnum};
use delivery_service::public_keys;
use serde::Serialize;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A new HMAC key comes into use this long after it was made: by then every node has read it.
const GRACE: Duration = Duration::from_mins(1);

/// The hub's key rings. What a key has signed stays valid after a rotation; old keys stay in the files.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  causeway keys ls --json
  causeway keys rotate hub-key     a new HMAC key for franks; the running service takes it over

Rooms name the hub's signature keys in their MLS groups: `hub` and `franking` hold for rooms founded after the rotation.
A key of these two rings is one for Ed25519 and one for ECDSA on P-256; a room names the one of its MLS cipher suite.
The node's key is not rotated here: other servers know its events by it.")]
pub(super) struct KeysArgs {
    #[command(subcommand)]
    command: KeysCommand,
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    /// List the keys; never their secrets.
    Ls {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Make a new key and put it into use. A running service needs no restart.
    Rotate {
        /// Which ring.
        ring: RingArg,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum RingArg {
    /// The hub as external sender of its rooms.
    Hub,
    /// The signatures on franks.
    Franking,
    /// The HMAC of franks.
    HubKey,
    /// All three.
    All,
}

impl RingArg {
    fn rings(self) -> Vec<Ring> {
        match self {
            Self::Hub => vec![Ring::Hub],
            Self::Franking => vec![Ring::Franking],
            Self::HubKey => vec![Ring::HubKey],
            Self::All => Ring::ALL.to_vec(),
        }
    }
}

/// A key as it is shown.
#[derive(Serialize)]
struct Shown {
    ring: &'static str,
    version: String,
    /// When it comes into use, Unix ms; 0: from the beginning.
    since: u64,
    /// Ed25519 public key, hex.
    public: Option<String>,
    /// ECDSA public key on P-256, hex of the uncompressed point.
    public_p256: Option<String>,
    /// Whether new rooms and messages get it.
    newest: bool,
    file: String,
}

fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}

fn shown(config: &Config, ring: Ring, keys: &KeyRing) -> Vec<Shown> {
    let last = keys.keys().len().saturating_sub(1);
    let show = |(at, key): (usize, &KeyFile)| {
        let public = (ring != Ring::HubKey).then(|| public_keys(key.octets()));
        let (ed25519, p256) = public.map(|keys| (keys.ed25519, keys.p256)).unzip();
        Shown {
            ring: ring.name(),
            version: key.version().to_owned(),
            since: key.since_ms(),
            public: ed25519.map(hex::encode),
            public_p256: p256.map(hex::encode),
            newest: at == last,
            file: ring.path(config).display().to_string(),
        }
    };
    keys.keys().iter().enumerate().map(show).collect()
}

fn print(all: &[Shown], json: bool) -> Result<(), Failure> {
    if json {
        return output::json(all);
    }
    let rows: Vec<_> = all
        .iter()
        .map(|key| {
            let since = match key.since {
                0 => "-".to_owned(),
                since => output::date(since),
            };
            let newest = if key.newest { "newest" } else { "kept" };
            [
                key.ring.to_owned(),
                key.version.clone(),
                newest.to_owned(),
                since,
                key.public.clone().unwrap_or_default(),
            ]
        })
        .collect();
    output::table(["RING", "VERSION", "IS", "SINCE", "PUBLIC KEY"], &rows);
    Ok(())
}

pub(super) fn run(args: &KeysArgs, config: &Config) -> Result<(), Failure> {
    match &args.command {
        KeysCommand::Ls { json } => {
            let mut all = Vec::new();
            for ring in Ring::ALL {
                all.extend(shown(config, ring, &ring.load(config)?));
            }
            print(&all, *json)
        }
        KeysCommand::Rotate { ring, json } => rotate(config, *ring, *json),
    }
}

fn rotate(config: &Config, ring: RingArg, json: bool) -> Result<(), Failure> {
    let grace = u64::try_from(GRACE.as_millis()).unwrap_or_default();
    let mut all = Vec::new();
    for ring in ring.rings() {
        let since = match ring {
            Ring::HubKey => now_ms() + grace,
            Ring::Hub | Ring::Franking => now_ms(),
        };
        let key = KeyFile::generate()?.since(since);
        let keys = ring.load(config)?.add(key, &ring.path(config), ring.kind())?;
        all.extend(shown(config, ring, &keys));
    }
    print(&all, json)?;
    // The service would notice by itself; this makes sure, and says so.
    let told = runtime()?.block_on(async {
        if !Link::runs(config).await {
            return Ok(false);
        }
        let link = Link::open(config).await?;
        link.reload().await.map(|done| done.is_some())
    });
    match told {
        Ok(true) => eprintln!("The running service has taken it over. Back the key files up."),
        Ok(false) => eprintln!("No service runs here. Back the key files up."),
        Err(failure) => {
            return Err(Failure::new(
                Code::Admin,
                format!(
                    "the key is made, but the running service could not be told: {}",
                    failure.cause()
                ),
                "it looks at the file every few seconds; see its log, or send it SIGHUP",
            ));
        }
    }
    Ok(())
}
