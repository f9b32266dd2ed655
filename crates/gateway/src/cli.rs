//! The command line: one module per command.

use crate::config::{Config, Environment, load};
use crate::failure::{EXIT_CODES, Failure};
use clap::{Parser, Subcommand};
use mls_client::cli::ClientArgs;
use std::path::PathBuf;
use std::process::ExitCode;

mod admin_link;
mod appservice;
mod backup;
mod check;
mod content;
pub(crate) mod doctor;
mod graph;
mod init;
mod keys;
mod node;
mod output;
mod peers;
mod reports;
mod restore;
mod room;
mod schema;
mod serve;
mod store;
mod user;

fn version() -> &'static str {
    static VERSION: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    VERSION.get_or_init(crate::version)
}

/// Makes a Matrix deployment a full MIMI provider.
#[derive(Debug, Parser)]
#[command(name = "causeway", version = version(), after_help = EXIT_CODES, propagate_version = false)]
struct Cli {
    /// The configuration file.
    #[arg(
        long,
        global = true,
        env = "CAUSEWAY_CONFIG",
        default_value = "causeway.toml",
        value_name = "FILE"
    )]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Init(Box<init::InitArgs>),
    Serve(serve::ServeArgs),
    Check(check::CheckArgs),
    Doctor(doctor::DoctorArgs),
    Appservice(appservice::AppserviceArgs),
    User(user::UserArgs),
    Room(room::RoomArgs),
    Node(node::NodeArgs),
    Reports(reports::ReportsArgs),
    Keys(keys::KeysArgs),
    Peers(peers::PeersArgs),
    Backup(backup::BackupArgs),
    Restore(restore::RestoreArgs),
    Store(store::StoreArgs),
    Content(content::ContentArgs),
    Graph(graph::GraphArgs),
    Client(Box<ClientArgs>),
    #[command(hide = true)]
    Schema(schema::SchemaArgs),
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    match Cli::parse() {
        // Its exit status says what it found, and it needs no configuration.
        Cli {
            command: Command::Graph(args),
            ..
        } if args.works_on_files() => graph::run(args),
        cli => exit(run(cli)),
    }
}

fn exit(outcome: Result<(), Failure>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{}", failure.report());
            ExitCode::from(failure.exit())
        }
    }
}

/// Runs a command given as arguments, the program's name first.
pub fn run_from<I, T>(arguments: I) -> Result<(), Failure>
where
    I: IntoIterator<Item = T>,
    T: Into<std::ffi::OsString> + Clone,
{
    let cli = Cli::try_parse_from(arguments).map_err(|e| {
        Failure::new(
            crate::failure::Code::Usage,
            e.to_string(),
            "see `causeway --help`",
        )
    })?;
    run(cli)
}

fn run(cli: Cli) -> Result<(), Failure> {
    // HTTP clients without TLS settings of their own ask for a process default; everything else passes it explicitly.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let path = cli.config;
    let config = || load(&path, &Environment::process());
    match cli.command {
        Command::Init(args) => init::run(*args, &path),
        Command::Serve(args) => serve::run(&args, config()?),
        Command::Check(args) => check::run(&args, &path),
        Command::Doctor(args) => doctor::run(&args, &path),
        Command::Appservice(args) => appservice::run(args, &config()?),
        Command::User(args) => user::run(args, &config()?),
        Command::Room(args) => room::run(args, &config()?),
        Command::Node(args) => node::run(args, config, &path),
        Command::Reports(args) => reports::run(args, &config()?),
        Command::Keys(args) => keys::run(&args, &config()?),
        Command::Peers(args) => peers::run(args, config),
        Command::Backup(args) => backup::run(&args, &config()?, &path),
        Command::Restore(args) => restore::run(&args, &path),
        Command::Store(args) => store::run(args, &config()?),
        Command::Content(args) => content::run(args),
        Command::Graph(args) => graph::run_online(args, &config()?),
        Command::Client(args) => client(*args),
        Command::Schema(args) => schema::run(args),
    }
}

/// The command-line client. It needs no configuration: it is for people, who may be elsewhere.
fn client(args: ClientArgs) -> Result<(), Failure> {
    if let Ok(filter) = tracing_subscriber::EnvFilter::try_from_default_env() {
        let _ = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .try_init();
    }
    runtime()?.block_on(mls_client::cli::run(args)).map_err(|e| {
        Failure::new(crate::failure::Code::Client, e.cause(), e.remedy()).with_exit(e.exit_code())
    })
}

/// A runtime for commands that wait for something.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|e| {
            Failure::new(
                crate::failure::Code::Internal,
                "no threads can be started",
                "check the system's limits",
            )
            .with_source(e)
        })
}

/// Opens the store that the configuration names, if it is there.
async fn open_store(config: &Config, create: bool) -> Result<::store::SledStore, Failure> {
    use crate::failure::Code;
    let path = config.path(&config.store.path);
    if !create && !path.exists() {
        return Err(Failure::new(
            Code::StoreOpen,
            format!("there is no store at {}", path.display()),
            "correct store.path, or start the service once: it makes the store",
        ));
    }
    let mut options = ::store::SledOptions::new(path);
    options.cache_bytes = u64::from(config.store.cache_mib) * 1024 * 1024;
    ::store::SledStore::open(options).await.map_err(store_failure)
}

/// What a failed store means to the one at the terminal.
fn store_failure(error: ::store::StoreError) -> Failure {
    use crate::failure::Code;
    use ::store::StoreError as E;
    let (code, remedy) = match &error {
        E::Locked { .. } => (
            Code::StoreLocked,
            "stop the service that uses it, or ask that service instead",
        ),
        E::Corrupt { .. } => (
            Code::StoreDamaged,
            "keep the files, run `causeway store verify`, restore a backup or export",
        ),
        E::NewerFormat { .. } => (Code::StoreOpen, "install that version of causeway or a later one"),
        E::HalfImported => (Code::StoreOpen, "delete the folder and import again"),
        E::NotEmpty => (
            Code::Exists,
            "import into a store that is empty: name a new folder as store.path",
        ),
        E::BadExport { .. } => (Code::StoreDamaged, "use another copy of the export"),
        E::DiskFull { .. } => (Code::StoreOpen, "free some space"),
        _ => (Code::StoreOpen, "check the folder's permissions and the disk"),
    };
    Failure::new(code, "the store", remedy).with_source(error)
}

#[cfg(test)]
mod tests {
    use super::Cli;
    use clap::CommandFactory as _;

    #[test]
    fn the_commands_contradict_each_other_nowhere() {
        Cli::command().debug_assert();
    }
}
