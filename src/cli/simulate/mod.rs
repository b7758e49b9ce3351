//! `trunkline simulate`: a city that orders, picks and delivers, driving the system only from outside: a shop over HTTP,
//! warehouses and riders over NATS. It paces itself by the cell clock, which it sets.
//!
//! A run is planned whole before it begins ([`plan`]): every decision comes from the seed, none from how fast the system
//! answers. Then the plan is carried out ([`run`]), each party waiting for the answer to its last message.

mod act;
mod day;
mod deed;
mod demand;
mod draw;
mod lanes;
mod motion;
mod phone;
mod plan;
mod rider;
mod run;
mod streets;
mod tasks;
mod trip;
mod truth;
mod warehouse;
mod wish;

use super::outside::{Http, Nats, Pace, TokenOptions, say};
use crate::{
    clock::{self, Stopwatch},
    domain::{CellId, UnixMillis, time::MAX_CLOCK_SCALE},
    wire::view::View,
};
use act::Hands;
use anyhow::Context;
use demand::Demand;
use plan::{Plan, Size};
use run::Run;
use serde_json::json;
use std::{path::PathBuf, process::ExitCode, sync::Arc, time::Duration};
use streets::Streets;
use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use truth::Truth;

const PATIENCE: Duration = Duration::from_secs(30);
const DAY_MS: i64 = 24 * 3_600_000;

/// Simulates a city: a shop, warehouses and riders
#[derive(Clone, Debug, clap::Args)]
pub struct SimulateArgs {
    /// Address of the server
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    pub http: String,
    #[command(flatten)]
    pub token: TokenOptions,
    /// Address of NATS
    #[arg(long, default_value = "nats://127.0.0.1:4222")]
    pub nats: String,
    #[arg(long, default_value = "default")]
    pub cell: CellId,
    /// Orders placed in all
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub orders: u32,
    /// Without it 10, or with --day one for every 40 orders
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub riders: Option<u32>,
    /// Without it 3, or with --day one for every 400 orders
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub warehouses: Option<u32>,
    /// In each warehouse; orders queue for them
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub pickers: u32,
    /// Of every decision
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// How many times faster than life the cell clock runs
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_CLOCK_SCALE)))]
    pub scale: u32,
    /// A whole day with rush hours and shifts, from the cell clock's next midnight on, which it is set to
    #[arg(long, conflicts_with = "for_s")]
    pub day: bool,
    /// The city's offset from UTC, for its midnight
    #[arg(long, value_name = "HOURS", default_value_t = 8, allow_negative_numbers = true, value_parser = clap::value_parser!(i64).range(-12..=14))]
    pub utc_offset: i64,
    /// Stop after so many seconds of wall time; without it, when all orders are done
    #[arg(long = "for", value_name = "SECS")]
    pub for_s: Option<u64>,
    /// Streets of an OpenStreetMap extract (.osm.pbf) instead of a made-up grid
    #[arg(long, value_name = "FILE", conflicts_with = "streets")]
    pub osm: Option<PathBuf>,
    /// Streets from GeoJSON lines instead of a made-up grid
    #[arg(long, value_name = "FILE")]
    pub streets: Option<PathBuf>,
    /// Write what the city really did, as JSON lines
    #[arg(long, value_name = "FILE")]
    pub truth: Option<PathBuf>,
    /// Begins every id; without it, one of this run's own
    #[arg(long)]
    pub prefix: Option<String>,
}

/// Runs the city. Fails (exit code 1) if anything that it did was refused, or accepted though it was wrong.
pub async fn run(args: SimulateArgs) -> anyhow::Result<ExitCode> {
    let streets = match (&args.osm, &args.streets) {
        (Some(file), _) => Streets::from_osm(file),
        (None, Some(file)) => Streets::from_geojson(file),
        (None, None) => Streets::grid(),
    }?;
    let mut truth = Truth::create(args.truth.as_deref()).context("the truth file can't be written")?;
    let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
    let http = Http::new(&args.http, View::Operations, PATIENCE)?.with_token(args.token.read()?);
    let nats = Nats::connect(&args.nats, PATIENCE, &tracker, stop.clone()).await?;
    // Times of day in seconds, so that two runs on one cell don't meet.
    let prefix = args.prefix.clone().unwrap_or_else(|| format!("s{:x}-", clock::wall().0 / 1_000));
    let begin = match args.day {
        true => next_midnight(Pace::set(&nats, &http, &args.cell, 1, None).await?.now(), args.utc_offset),
        // Planning takes its time; the clock goes on at life's pace meanwhile.
        false => Pace::set(&nats, &http, &args.cell, 1, None).await?.now().plus(120_000),
    };
    let (size, count) = (size(&args), streets.len());
    let plan = {
        let prefix = prefix.clone();
        // Routes over a large map take seconds.
        tokio::task::spawn_blocking(move || Plan::new(size, streets, &prefix, begin)).await??
    };
    let (task_tx, tasks) = mpsc::channel(1_024);
    tracker.spawn(tasks::read(nats.clone(), args.cell.clone(), task_tx, stop.clone()));
    let setting = Stopwatch::start();
    let pace = Pace::set(&nats, &http, &args.cell, args.scale, Some(begin.plus(-1_000))).await?;
    // The clock was read within this time, and can't be further behind.
    let slack_ms =
        u64::try_from(setting.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_mul(u64::from(args.scale));
    truth.line(&json!({
        "kind": "run", "seed": args.seed, "cell": args.cell, "scale": args.scale, "prefix": prefix, "begin_ms": begin,
        "orders": size.orders, "riders": size.riders, "warehouses": size.warehouses, "pickers": size.pickers,
        "day": args.day, "corners": count, "clock_slack_ms": slack_ms,
    }));
    truth.plan(&plan);
    say(format_args!(
        "{} orders, {} riders, {} warehouses, {count} corners, seed {}, {} times life's pace, ids {prefix}…",
        size.orders, size.riders, size.warehouses, args.seed, args.scale
    ));
    let plan = Arc::new(plan);
    let hands = Hands { http: http.clone(), nats: nats.clone(), cell: args.cell.clone(), pace, plan: plan.clone() };
    let mut run = Run::new(plan, hands, truth);
    Box::pin(run.until_the_end(tasks, args.for_s.map(Duration::from_secs))).await;
    let restored = Pace::set(&nats, &http, &args.cell, 1, None).await;
    nats.flush().await;
    stop.cancel();
    tracker.close();
    tracker.wait().await;
    restored?;
    let wrong = run.report();
    run.truth.close().context("the truth file isn't whole")?;
    Ok(if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The first midnight after `now`.
fn next_midnight(now: UnixMillis, utc_offset_h: i64) -> UnixMillis {
    let offset_ms = utc_offset_h * 3_600_000;
    let local = now.plus(offset_ms);
    local.plus(DAY_MS - local.0.rem_euclid(DAY_MS)).plus(-offset_ms)
}

/// Orders are placed in the first half of a limited run, so that most come to their end within it.
fn size(args: &SimulateArgs) -> Size {
    let span_ms = args.for_s.map(|seconds| seconds.saturating_mul(u64::from(args.scale)).saturating_mul(500));
    let every_ms = span_ms.map_or(30_000, |ms| ms / u64::from(args.orders));
    let every_ms = i64::try_from(every_ms).unwrap_or(30_000).min(DAY_MS);
    let of_orders =
        |per: u32, otherwise: u32| if args.day { (args.orders / per).clamp(otherwise, 10_000) } else { otherwise };
    Size {
        seed: args.seed,
        orders: args.orders,
        riders: args.riders.unwrap_or_else(|| of_orders(40, 10)),
        warehouses: args.warehouses.unwrap_or_else(|| of_orders(400, 3).min(1_000)),
        pickers: args.pickers,
        demand: if args.day { Demand::Day } else { Demand::Even { every_ms } },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        simulate: SimulateArgs,
    }

    #[test]
    fn orders_fit_into_the_first_half_of_a_limited_run() {
        let line = Line::try_parse_from(["simulate", "--for", "60", "--scale", "60", "--orders", "30"]).unwrap();
        assert_eq!(size(&line.simulate).demand, Demand::Even { every_ms: 60_000 });
        assert!(Line::try_parse_from(["simulate", "--scale", "0"]).is_err());
        assert!(Line::try_parse_from(["simulate", "--riders", "0"]).is_err());
        assert!(Line::try_parse_from(["simulate", "--osm", "a", "--streets", "b"]).is_err());
        let day = Line::try_parse_from(["simulate", "--day", "--orders", "2000", "--utc-offset", "-3"]).unwrap();
        let Size { riders, warehouses, demand, .. } = size(&day.simulate);
        assert_eq!((riders, warehouses, demand), (50, 5, Demand::Day));
    }

    #[test]
    fn the_day_begins_at_the_citys_midnight() {
        let hour = |h: i64| UnixMillis(h * 3_600_000);
        assert_eq!(next_midnight(hour(10), 8), hour(16));
        assert_eq!(next_midnight(hour(16), 8), hour(40));
        assert_eq!(next_midnight(hour(20), -5), hour(29));
    }
}
