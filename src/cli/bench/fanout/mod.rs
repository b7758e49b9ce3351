//! Fan-out: what it costs a server to bring one update to one subscriber, and to keep one that hears nothing. Our bridge, a
//! process of its own that hears a mimicked owner over NATS, beside nginx with Nchan and the npm package ws: the same
//! subscribers, the same bytes, in rounds that take turns.
//!
//! The server's CPU is that of its processes alone, so neither nats-server nor the subscribers count; what our bridge does for
//! heartbeats, versions and rights is in its figure.

mod crowd;
mod frame;
mod measure;
mod peer;
mod report;
mod server;

pub(super) use crowd::Tally;
pub(super) use frame::position;

use super::{super::outside::say, place::Place};
use clap::ValueEnum;
use peer::{Installed, Kind};
use serde::Serialize;
use std::{path::PathBuf, time::Duration};

/// Who follows what, and how often it changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Shape {
    /// 500 subscribers of one channel, 20 updates a second.
    Wide,
    /// 100 subscribers of one channel, 200 updates a second.
    Fast,
    /// 5,000 channels with a subscriber each, one update a second: orders and who waits for them.
    Life,
}

/// Channels, subscribers of each, updates a second of each.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    channels: u32,
    each: u32,
    rate: u32,
}

impl Shape {
    fn load(self) -> Load {
        let (channels, each, rate) = match self {
            Self::Wide => (1, 500, 20),
            Self::Fast => (1, 100, 200),
            Self::Life => (5_000, 1, 1),
        };
        Load { channels, each, rate }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Wide => "500 subscribers × 20/s",
            Self::Fast => "100 subscribers × 200/s",
            Self::Life => "5,000 channels × 1 subscriber × 1/s",
        }
    }
}

/// How long, and beside whom.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct FanoutArgs {
    /// Seconds of one server's turn.
    #[arg(long = "for", value_name = "SECS", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=600))]
    for_s: u32,
    /// Turns that each server takes.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Which shapes; without it, all.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Shape::Wide, Shape::Fast, Shape::Life])]
    shapes: Vec<Shape>,
    /// Idle connections whose memory is measured; 0: none.
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(0..=15_000))]
    connections: u32,
    /// Bytes of an update's frame.
    #[arg(long, default_value_t = 240, value_parser = clap::value_parser!(u32).range(200..=60_000))]
    bytes: u32,
    /// Where `scripts/peers` has put the other servers.
    #[arg(long, value_name = "DIR", default_value = ".tools/peers")]
    peers: PathBuf,
    /// Only our bridge.
    #[arg(long)]
    alone: bool,
    /// Keep the figures here, for other programs.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// The peers that are there, with their versions; what isn't is said.
async fn present(installed: &Installed, alone: bool) -> Vec<(Kind, String)> {
    let mut present = Vec::new();
    for kind in [Kind::Nchan, Kind::Ws, Kind::WsPrepared] {
        match installed.version(kind).await {
            _ if alone => {}
            Some(version) => present.push((kind, version)),
            None => say(format_args!("{kind:?} isn't there: `scripts/peers` brings it")),
        }
    }
    present
}

/// Measures and prints; true if every goal that could be measured is met.
pub(super) async fn run(args: FanoutArgs, place: &Place) -> anyhow::Result<bool> {
    let tasks = tokio_util::task::TaskTracker::new();
    let installed = Installed::new(&args.peers)?;
    let present = present(&installed, args.alone).await;
    anyhow::ensure!(args.alone || present.len() == 3, "a comparison needs the others (or say --alone)");
    place.fresh("fanout")?;
    let nats = place.nats("fanout", &tasks).await?;
    let pad = frame::pad(args.bytes as usize)?;
    let peers: Vec<Kind> = present.iter().map(|(kind, _)| *kind).collect();
    let bench = measure::Bench { place, nats: &nats, installed: &installed, peers: &peers, tasks: &tasks, pad };
    let mut report = report::Report::new(args.bytes, present.into_iter().map(|(_, version)| version).collect());
    for &shape in &args.shapes {
        let turn = Duration::from_secs(args.for_s.into());
        report.shapes.push(Box::pin(bench.shape(shape, args.rounds, turn)).await?);
    }
    if args.connections > 0 {
        report.idle = Box::pin(bench.idle(args.connections)).await?;
    }
    nats.stop().await;
    let met = report.print();
    if let Some(path) = &args.json {
        super::super::outside::write_json(path, &report)?;
    }
    tasks.close();
    tasks.wait().await;
    Ok(met)
}
