//! The command line. `serve`, `doctor` and `bench` are the product's own; the others act as the outside world and talk to it only
//! over HTTP, WebSocket and NATS.

mod bench;
mod doctor;
pub mod import;
pub mod outside;
mod serve;
pub mod simulate;
pub mod watch;

use clap::{Parser, Subcommand};
use std::{io::IsTerminal, process::ExitCode};

/// Real-time order tracking: one actor per active order, fed by NATS JetStream.
#[derive(Debug, Parser)]
#[command(name = "trunkline", version, about, long_about = None, propagate_version = true)]
struct Arguments {
    /// What to log, as `info` or `trunkline=debug,async_nats=warn`.
    #[arg(long, global = true, default_value = "info", env = "TRUNKLINE_LOG")]
    log: String,
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
    /// Play recorded tracks into a running system, as riders with orders.
    Import(Box<import::ImportArgs>),
    /// Drive a running system with a simulated city.
    Simulate(simulate::SimulateArgs),
    /// Follow orders over a WebSocket and check what arrives against the server.
    Watch(watch::WatchArgs),
    /// Look into a cell's database: its state hash, or a rebuild from the log.
    Doctor(doctor::DoctorArgs),
    /// Measure the system against the raw limit of this machine.
    Bench(bench::BenchArgs),
}

/// Parses the command line and runs it.
#[allow(clippy::print_stderr, reason = "the last word of a failed command")]
pub fn main() -> ExitCode {
    let Arguments { log, log_json, command } = Arguments::parse();
    let filter = tracing_subscriber::EnvFilter::try_new(&log).unwrap_or_else(|_| "info".into());
    let colours = std::io::stderr().is_terminal();
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours);
    if log_json {
        logs.json().init()
    } else {
        logs.init()
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("trunkline: {error}");
            return ExitCode::FAILURE;
        }
    };
    let ended = runtime.block_on(async {
        match command {
            Command::Serve(args) => serve::run(args).await,
            Command::Import(args) => import::run(*args).await,
            Command::Simulate(args) => simulate::run(args).await,
            Command::Watch(args) => watch::run(args).await,
            Command::Doctor(args) => doctor::run(args).await,
            Command::Bench(args) => bench::run(args).await,
        }
    });
    ended.unwrap_or_else(|error| {
        eprintln!("trunkline: {error:#}");
        ExitCode::FAILURE
    })
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
