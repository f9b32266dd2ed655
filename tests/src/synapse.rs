//! A real, unmodified Synapse on loopback, from the pinned environment that `scripts/lib.sh` installs.

use crate::matrix::User;
use crate::process::Process;
use crate::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::process::Command;

/// A homeserver.
pub struct Synapse {
    server_name: String,
    dir: PathBuf,
    url: String,
    process: Option<Process>,
}

/// The Python that has Synapse: `CAUSEWAY_PYTHON`, else the one below `.venv`. `None` where it isn't installed.
pub fn python() -> Option<PathBuf> {
    let python = std::env::var_os("CAUSEWAY_PYTHON").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.venv/bin/python")),
        PathBuf::from,
    );
    python.exists().then_some(python)
}

/// Whether homeservers keep their data in PostgreSQL: `CAUSEWAY_TEST_SYNAPSE_DB` says where, as libpq's connection string
/// of a user that may make databases.
pub fn on_postgres() -> Option<String> {
    std::env::var("CAUSEWAY_TEST_SYNAPSE_DB").ok()
}

/// Where a homeserver keeps its data: a file of its own, or a new database.
fn database(dir: &Path) -> Result<Value> {
    let Some(dsn) = on_postgres() else {
        return Ok(json!({"name": "sqlite3", "args": {"database": dir.join("homeserver.db")}}));
    };
    let mut random = [0_u8; 8];
    getrandom::fill(&mut random).context("naming a database")?;
    let name = format!("causeway_{}", hex::encode(random));
    // Synapse wants the locale C; the driver is in its own environment.
    let make = "import psycopg2, sys; c = psycopg2.connect(sys.argv[1]); c.autocommit = True; \
                c.cursor().execute(\"CREATE DATABASE \" + sys.argv[2] + \" ENCODING UTF8 LOCALE 'C' TEMPLATE template0\")";
    let python = python().context("looking for the homeserver's environment (.venv)")?;
    let made = std::process::Command::new(python)
        .args(["-c", make, &dsn, &name])
        .output()
        .context("making a database")?;
    if !made.status.success() {
        let errors = String::from_utf8_lossy(&made.stderr);
        return Err(crate::Failure(format!("making a database: {errors}")));
    }
    Ok(json!({"name": "psycopg2", "args": {"dsn": dsn, "dbname": name, "cp_min": 1, "cp_max": 5}}))
}

/// A rate limit that is none.
fn unlimited() -> Value {
    json!({"per_second": 100_000, "burst_count": 100_000})
}

impl Synapse {
    /// Makes the configuration of a homeserver in a folder of its own. It isn't started.
    pub fn configure(
        dir: &Path,
        server_name: &str,
        address: SocketAddr,
        registrations: &[PathBuf],
    ) -> Result<Self> {
        std::fs::create_dir_all(dir).context("making the homeserver's folder")?;
        let url = format!("http://{address}");
        let file = |name: &str| dir.join(name);
        let mut key = [0_u8; 32];
        getrandom::fill(&mut key).context("making the homeserver's key")?;
        std::fs::write(
            file("signing.key"),
            format!("ed25519 a_test {}\n", STANDARD_NO_PAD.encode(key)),
        )
        .context("writing the homeserver's key")?;
        let log = json!({
            "version": 1,
            "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s %(request)s %(message)s"}},
            "handlers": {"file": {
                "class": "logging.FileHandler", "formatter": "line", "filename": file("homeserver.log"), "encoding": "utf8",
            }},
            "root": {"level": "INFO", "handlers": ["file"]},
            "disable_existing_loggers": false,
        });
        let unlimited = unlimited();
        let config = json!({
            "server_name": server_name,
            "public_baseurl": format!("{url}/"),
            "report_stats": false,
            "pid_file": file("homeserver.pid"),
            "signing_key_path": file("signing.key"),
            "log_config": file("log.yaml"),
            "media_store_path": file("media"),
            "macaroon_secret_key": hex::encode(key),
            "form_secret": "form",
            "listeners": [{
                "port": address.port(), "bind_addresses": ["127.0.0.1"], "type": "http", "tls": false,
                "resources": [{"names": ["client", "openid"]}],
            }],
            "database": database(dir)?,
            "app_service_config_files": registrations,
            "enable_registration": true,
            "enable_registration_without_verification": true,
            "bcrypt_rounds": 4,
            "trusted_key_servers": [],
            "suppress_key_server_warning": true,
            // Loopback is blocked otherwise, and our appservice is there.
            "ip_range_blacklist": [],
            "presence": {"enabled": false},
            "user_directory": {"enabled": false},
            "stats": {"enabled": false},
            "push": {"enabled": false},
            "url_preview_enabled": false,
            "rc_message": unlimited, "rc_registration": unlimited, "rc_admin_redaction": unlimited,
            "rc_login": {"address": unlimited, "account": unlimited, "failed_attempts": unlimited},
            "rc_joins": {"local": unlimited, "remote": unlimited},
            "rc_joins_per_room": unlimited, "rc_room_creation": unlimited, "rc_key_requests": unlimited,
            "rc_invites": {"per_room": unlimited, "per_user": unlimited, "per_issuer": unlimited},
            "experimental_features": {
                "msc2409_to_device_messages_enabled": true, "msc3202_transaction_extensions": true,
            },
        });
        // Every JSON text is a YAML text.
        for (name, value) in [("log.yaml", &log), ("homeserver.yaml", &config)] {
            let text =
                serde_json::to_string_pretty(value).context("writing the homeserver's configuration")?;
            std::fs::write(file(name), text).context("writing the homeserver's configuration")?;
        }
        Ok(Self {
            server_name: server_name.to_owned(),
            dir: dir.to_owned(),
            url,
            process: None,
        })
    }

    /// Changes the configuration of a homeserver that isn't running.
    pub fn change(&self, change: impl FnOnce(&mut serde_json::Map<String, Value>)) -> Result<()> {
        let file = self.dir.join("homeserver.yaml");
        let doing = "changing the homeserver's configuration";
        let text = std::fs::read_to_string(&file).context(doing)?;
        let mut config: serde_json::Map<String, Value> = serde_json::from_str(&text).context(doing)?;
        change(&mut config);
        let text = serde_json::to_string_pretty(&config).context(doing)?;
        std::fs::write(&file, text).context(doing)
    }

    /// Has it federate: TLS at `listen` with this certificate, whose authority is the only one it trusts. To be called
    /// before it is started.
    pub fn federate(
        &self,
        listen: SocketAddr,
        certificate: &Path,
        key: &Path,
        ca: &Path,
        room_version: &str,
    ) -> Result<()> {
        let path = self.dir.join("homeserver.yaml");
        let text = std::fs::read_to_string(&path).context("reading the homeserver's configuration")?;
        let mut config: Value =
            serde_json::from_str(&text).context("reading the homeserver's configuration")?;
        let listener = json!({
            "port": listen.port(), "bind_addresses": ["127.0.0.1"], "type": "http", "tls": true,
            "resources": [{"names": ["federation"]}],
        });
        let listeners = config.get_mut("listeners").and_then(Value::as_array_mut);
        listeners.context("the homeserver's listeners")?.push(listener);
        let more = json!({
            "tls_certificate_path": certificate, "tls_private_key_path": key,
            "federation_custom_ca_list": [ca], "federation_ip_range_blacklist": [],
            "default_room_version": room_version,
            // After an outage it shall look again at once; the defaults are minutes to days.
            "federation": {
                "client_timeout": "15s", "max_short_retries": 0, "max_long_retries": 1, "max_short_retry_delay": 100,
                "max_long_retry_delay": 500, "destination_min_retry_interval": 500,
                "destination_retry_multiplier": 1, "destination_max_retry_interval": "1s",
            },
            "rc_federation": {
                "window_size": 1000, "sleep_limit": 100_000, "sleep_delay": 1, "reject_limit": 100_000, "concurrent": 100,
            },
            "federation_rr_transactions_per_room_per_second": 1000,
        });
        if let (Some(config), Value::Object(more)) = (config.as_object_mut(), more) {
            config.extend(more);
        }
        let text = serde_json::to_string_pretty(&config).context("writing the homeserver's configuration")?;
        std::fs::write(&path, text).context("writing the homeserver's configuration")
    }

    /// Starts it and waits until it answers.
    pub async fn start(&mut self) -> Result<()> {
        let python = python().context("looking for the homeserver's environment (.venv)")?;
        let mut command = Command::new(python);
        command
            .args(["-m", "synapse.app.homeserver", "-c"])
            .arg(self.dir.join("homeserver.yaml"))
            .current_dir(&self.dir)
            .env("PYTHONUNBUFFERED", "1");
        let mut process = Process::start("the homeserver", &mut command, &self.dir.join("stdout.log"))?;
        let http = crate::matrix::http()?;
        let url = format!("{}/_matrix/client/versions", self.url);
        let ready = || async {
            http.get(&url)
                .send()
                .await
                .is_ok_and(|answer| answer.status().is_success())
        };
        process.wait_until(Duration::from_secs(90), ready).await?;
        self.process = Some(process);
        Ok(())
    }

    /// Stops it; it can be started again.
    pub async fn stop(&mut self) -> Result<()> {
        if let Some(process) = self.process.take() {
            process.stop(Duration::from_secs(30)).await?;
        }
        Ok(())
    }

    /// Its process id, while it runs.
    pub fn id(&self) -> Option<u32> {
        self.process.as_ref().and_then(Process::id)
    }

    /// Its name.
    pub fn server_name(&self) -> &str {
        &self.server_name
    }

    /// Base of its client-server API.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where its database, logs and configuration are.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Makes an account and signs in.
    pub async fn register(&self, localpart: &str, password: &str) -> Result<User> {
        User::register(&self.url, localpart, password).await
    }
}
