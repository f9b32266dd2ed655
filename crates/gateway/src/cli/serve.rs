//! `causeway serve`

use super::{open_store, runtime};
use crate::config::{Config, LogConfig, LogFormat};
use crate::failure::{Code, Failure};
use crate::manager::Manager;
use crate::service::Service;
use clap::Args;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Run the service in the foreground. SIGTERM and SIGINT end it gracefully; SIGHUP reads configuration, certificates
/// and keys again.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  causeway serve
  CAUSEWAY__LOG__FORMAT=json causeway --config /etc/causeway/causeway.toml serve")]
pub(super) struct ServeArgs {
    /// Check that everything needed to start is there and readable, then exit.
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn run(args: &ServeArgs, config: Config) -> Result<(), Failure> {
    logs(&config.log)?;
    if args.dry_run {
        crate::service::keys(&config)?;
        crate::tls::own_certificate(&config)?;
        crate::tls::PeerTrust::new(&config)?;
        crate::service::admin_token(&config)?;
        return Ok(());
    }
    let metrics = recorder()?;
    let runtime = runtime()?;
    let outcome = runtime.block_on(serve(config, metrics));
    // The store's last handle is gone by now; whatever else still runs must not hold up the exit.
    runtime.shutdown_timeout(std::time::Duration::from_secs(5));
    outcome
}

async fn serve(config: Config, metrics: PrometheusHandle) -> Result<(), Failure> {
    let signals = |kind| {
        signal(kind).map_err(|e| Failure::new(Code::Internal, "no signals", "report this").with_source(e))
    };
    let (mut term, mut interrupt, mut hangup) = (
        signals(SignalKind::terminate())?,
        signals(SignalKind::interrupt())?,
        signals(SignalKind::hangup())?,
    );
    tracing::info!(version = crate::version(), provider = %config.provider.domain, "starting");
    let store = Arc::new(open_store(&config, true).await?);
    let service = Service::start(&config, store, Some(metrics)).await?;
    tracing::info!(addresses = ?service.addresses(), "ready");
    let manager = Manager::new(service.engine().clone());
    manager.tell("READY=1");
    let watchdog = manager.clone().watchdog();
    loop {
        tokio::select! {
            _ = term.recv() => break,
            _ = interrupt.recv() => break,
            // What went wrong is in the log, and what held before holds on.
            _ = hangup.recv() => drop(service.reloader().again().await),
        }
    }
    tracing::info!("stopping");
    manager.tell("STOPPING=1");
    tokio::select! {
        () = service.stop() => tracing::info!("stopped"),
        _ = term.recv() => tracing::warn!("told twice: stopping at once"),
        _ = interrupt.recv() => tracing::warn!("told twice: stopping at once"),
    }
    if let Some(watchdog) = watchdog {
        watchdog.abort();
    }
    Ok(())
}

fn logs(config: &LogConfig) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(&config.filter).map_err(|e| {
        Failure::new(
            Code::ConfigValue,
            "log.filter can't be used",
            "write for example info,room_engine=debug",
        )
        .with_source(e)
    })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let done = match config.format {
        LogFormat::Text => {
            use std::io::IsTerminal as _;
            builder.with_ansi(std::io::stderr().is_terminal()).try_init()
        }
        LogFormat::Json => builder
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .try_init(),
    };
    done.map_err(|e| Failure::new(Code::Internal, "logs can't be set up", "report this").with_source(e))
}

fn recorder() -> Result<PrometheusHandle, Failure> {
    const SECONDS: [f64; 12] = [
        0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
    ];
    PrometheusBuilder::new()
        .set_buckets(&SECONDS)
        .and_then(PrometheusBuilder::install_recorder)
        .map_err(|e| Failure::new(Code::Internal, "metrics can't be set up", "report this").with_source(e))
}
