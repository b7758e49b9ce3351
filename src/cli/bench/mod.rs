//! `trunkline bench`: what the system costs, as a ratio to the raw limit of the same machine, measured in the same run.
//!
//! A figure alone says more about the machine than about the program, so each is printed beside what a bare client of the
//! same server can do, in rounds that take turns (raw, whole, raw, whole, …), as median, least and most. nats-server and
//! the load share the machine's cores with what is measured; CPU seconds are printed too, since they suffer less from that.

mod alerts;
mod fanout;
mod figures;
mod ingest;
mod latency;
mod load;
mod memory;
mod node;
mod owner;
mod place;
mod raw;
mod scale;
mod socket;
mod stalled;
mod steady;

use super::outside::say;
use clap::{Args, Subcommand};
use std::{path::PathBuf, process::ExitCode};

/// Measure the system against the raw limit of this machine. Without a word: all of it.
#[derive(Debug, Args)]
pub(super) struct BenchArgs {
    #[command(subcommand)]
    what: Option<What>,
    /// Work here, and keep what was made: logs that fit are used again. Without it, a temporary folder.
    #[arg(long, global = true, value_name = "DIR")]
    dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Log to commit and announcement, against a consumer that decodes and drops.
    Ingest(ingest::IngestArgs),
    /// A rider's publish to the frame at a WebSocket client, against bare NATS.
    Latency(latency::LatencyArgs),
    /// Memory per active order and per idle WebSocket connection.
    Memory(memory::MemoryArgs),
    /// Many active orders against few: memory of each, ingest rates beside the raw limit, restart.
    Scale(scale::ScaleArgs),
    /// What a frame to a WebSocket client and an idle connection cost the bridge, beside Nchan and ws.
    Fanout(fanout::FanoutArgs),
    /// One client that stops reading: the server's memory, the other clients' time, and what it ends with.
    Stalled(stalled::StalledArgs),
    /// Alerts on recorded trips and on riders who stand: false ones, missed ones, delays.
    Alerts(alerts::AlertsArgs),
}

/// Runs what is asked for. Fails (exit code 1) if what was measured wasn't all there.
pub(super) async fn run(BenchArgs { what, dir }: BenchArgs) -> anyhow::Result<ExitCode> {
    let place = || {
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        let build =
            if cfg!(debug_assertions) { "a build without optimisation: figures mean nothing" } else { "release build" };
        say(format_args!("{cores} cores, shared with nats-server and the load; {build}"));
        place::Place::new(dir)
    };
    match what {
        Some(What::Ingest(args)) => Box::pin(ingest::run(args, &place()?)).await?,
        Some(What::Latency(args)) => Box::pin(latency::run(args, &place()?)).await?,
        Some(What::Memory(args)) => Box::pin(memory::run(args, &place()?)).await?,
        Some(What::Scale(args)) => Box::pin(scale::run(args, &place()?)).await?,
        Some(What::Fanout(args)) => return judged(Box::pin(fanout::run(args, &place()?)).await?),
        Some(What::Stalled(args)) => return judged(Box::pin(stalled::run(args, &place()?)).await?),
        // Judged by what is decided, on no place and whatever the build.
        Some(What::Alerts(args)) => alerts::run(&args)?,
        None => {
            let place = place()?;
            Box::pin(ingest::run(ingest::IngestArgs::default(), &place)).await?;
            Box::pin(latency::run(latency::LatencyArgs::default(), &place)).await?;
            Box::pin(memory::run(memory::MemoryArgs::default(), &place)).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Fails where a line says MISSED.
fn judged(met: bool) -> anyhow::Result<ExitCode> {
    Ok(if met { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
