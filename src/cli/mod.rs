//! The command line. `serve`, `token`, `doctor`, `bench`, `backup`, `restore`, `replay` and `dead` are for who runs the product; the
//! others act as the outside world and talk to it only over HTTP, WebSocket and NATS.

mod backup;
mod bench;
mod dead;
mod doctor;
pub mod import;
pub mod outside;
mod progress;
mod replay;
mod serve;
pub mod simulate;
mod token;
pub mod watch;

use clap::{Parser, Subcommand};
use std::{io::IsTerminal, process::ExitCode};
use tracing_subscriber::{EnvFilter, filter::ParseError, reload};

/// Real-time order tracking: one actor per active order, fed by NATS JetStream.
#[derive(Debug, Parser)]
#[command(name = "trunkline", version, about, long_about = None, propagate_version = true)]
struct Arguments {
    /// What to log, as `info` or `trunkline=debug,async_nats=warn`. Without it `info`, or what the node's configuration says.
    #[arg(long, global = true, env = "TRUNKLINE_LOG")]
    log: Option<String>,
    /// Log as JSON lines.
    #[arg(long, global = true)]
    log_json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a node: own a cell, serve clients, or both.
    Serve(serve::ServeArgs),
    /// Make tokens and keys, and look into tokens.
    Token(Box<token::TokenArgs>),
    /// Play recorded tracks into a running system, as riders with orders.
    Import(Box<import::ImportArgs>),
    /// Drive a running system with a simulated city.
    Simulate(simulate::SimulateArgs),
    /// Follow orders over a WebSocket and check what arrives against the server.
    Watch(watch::WatchArgs),
    /// Tell an order's story, prove a database by its log, or see what other settings would have done.
    Replay(Box<replay::ReplayArgs>),
    /// Look into a cell's database: its state hash, or a rebuild from the log.
    Doctor(doctor::DoctorArgs),
    /// Save a cell's database and log together, while the node serves.
    Backup(backup::BackupArgs),
    /// Put a backup back.
    Restore(backup::RestoreArgs),
    /// Look at what could not be applied, and put it back into the log.
    Dead(dead::DeadArgs),
    /// Measure the system against the raw limit of this machine.
    Bench(bench::BenchArgs),
}

/// Parses the command line and runs it.
#[allow(clippy::print_stderr, reason = "the last word of a failed command")]
pub fn main() -> ExitCode {
    let Arguments { log, log_json, command } = Arguments::parse();
    let log = match LogFilter::install(log.as_deref(), log_json) {
        Ok(log) => log,
        Err(error) => {
            eprintln!("trunkline: --log: {error}");
            return ExitCode::FAILURE;
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("trunkline: {error}");
            return ExitCode::FAILURE;
        }
    };
    let ended = runtime.block_on(async {
        match command {
            Command::Serve(args) => Box::pin(serve::run(args, log)).await,
            Command::Token(args) => token::run(*args).await,
            Command::Import(args) => import::run(*args).await,
            Command::Simulate(args) => simulate::run(args).await,
            Command::Watch(args) => watch::run(args).await,
            Command::Replay(args) => replay::run(*args).await,
            Command::Doctor(args) => doctor::run(args).await,
            Command::Backup(args) => backup::save(args).await,
            Command::Restore(args) => backup::restore(args).await,
            Command::Dead(args) => dead::run(args).await,
            Command::Bench(args) => bench::run(args).await,
        }
    });
    ended.unwrap_or_else(|error| {
        eprintln!("trunkline: {error:#}");
        ExitCode::FAILURE
    })
}

/// What is logged, which can be changed while the program runs.
pub(crate) struct LogFilter {
    /// Said on the command line or in the environment, which goes before a file.
    pinned: bool,
    set: Box<dyn Fn(EnvFilter) -> Result<(), reload::Error> + Send + Sync>,
}

impl LogFilter {
    fn install(filter: Option<&str>, json: bool) -> Result<Self, ParseError> {
        let first = EnvFilter::try_new(filter.unwrap_or("info"))?;
        let logs = tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
        let set: Box<dyn Fn(EnvFilter) -> Result<(), reload::Error> + Send + Sync> = if json {
            let logs = logs.json().with_env_filter(first).with_filter_reloading();
            let handle = logs.reload_handle();
            logs.init();
            Box::new(move |filter| handle.reload(filter))
        } else {
            let logs = logs.with_env_filter(first).with_filter_reloading();
            let handle = logs.reload_handle();
            logs.init();
            Box::new(move |filter| handle.reload(filter))
        };
        Ok(Self { pinned: filter.is_some(), set })
    }

    /// Logs what a checked configuration says, unless the command line said something else.
    fn follow(&self, filter: &str) -> anyhow::Result<()> {
        if !self.pinned {
            (self.set)(EnvFilter::try_new(filter)?)?;
        }
        Ok(())
    }
}

/// Resolves at Ctrl-C or SIGTERM. Signals count from the first poll on: pin it once and keep polling it, or one that comes
/// between two polls of two futures is lost.
pub(crate) async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let terminated = async {
        match signal(SignalKind::terminate()) {
            Ok(mut terminated) => drop(terminated.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminated => {}
    }
}
