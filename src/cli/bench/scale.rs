//! Scale: does an active order cost the same when there are twenty times as many? Memory of each, the rate of fixes with
//! many active orders against few, both against the raw limit on the same log, and the restart with many.
//!
//! The rates are of fixes alone: bringing the orders under way is in the log, but before the watch is started. The two
//! logs take turns (raw and durable with few, raw and durable with many, and again), so that whatever else the machine
//! does falls on all of them.

use super::{
    super::outside::say,
    figures::Spread,
    ingest::{self, Durable, Filled},
    load::{BEGIN, Load, SET_UP, STEP_MS},
    memory::{self, PerOrder},
    place::{self, Place},
    raw::{self, Reading},
};
use crate::{
    app::App,
    clock::{self, Stopwatch},
    domain::CellId,
    nats::server::NatsServer,
};
use anyhow::{Context as _, ensure};
use std::{path::Path, time::Duration};
use tokio_util::task::TaskTracker;

/// A restart that takes longer has got stuck.
const RESTART_WITHIN: Duration = Duration::from_secs(120);

/// How many orders, and how long the logs are.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(super) struct ScaleArgs {
    /// Active orders in one process.
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(10..=1_000_000))]
    orders: u32,
    /// Against so many.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(10..=1_000_000))]
    few: u32,
    /// Fixes in each log, behind the messages that bring the orders under way.
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u64).range(100..=10_000_000))]
    fixes: u64,
    /// Times that each side reads each log.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Leave the memory out.
    #[arg(long)]
    no_memory: bool,
}

/// A log with its server, and what reading it took.
#[derive(Debug)]
struct Side {
    orders: u32,
    server: NatsServer,
    filled: Filled,
    /// The place of the last message that brings an order under way.
    set_up: u64,
    raws: Vec<Reading>,
    durables: Vec<Durable>,
}

pub(super) async fn run(args: ScaleArgs, place: &Place) -> anyhow::Result<()> {
    let ScaleArgs { orders, few, fixes, rounds, no_memory } = args;
    ensure!(few < orders, "--few must be less than --orders");
    let tasks = TaskTracker::new();
    let per_order = if no_memory {
        None
    } else {
        place.fresh("memory")?;
        let nats = place.nats("memory", &tasks).await?;
        let per_order = memory::orders(orders, &nats, &place.fresh("memory-data")?).await?;
        nats.stop().await;
        Some(per_order)
    };
    let mut sides = [Side::new(few, fixes, place, &tasks).await?, Side::new(orders, fixes, place, &tasks).await?];
    for round in 1..=rounds {
        for side in &mut sides {
            Box::pin(side.round(round, place)).await?;
        }
    }
    let [few, many] = &sides;
    let restarts = Box::pin(many.restarts(rounds, &place.dir().join(many.data()))).await?;
    report(few, many, per_order, restarts);
    for side in sides {
        side.server.stop().await;
    }
    tasks.close();
    tasks.wait().await;
    Ok(())
}

impl Side {
    async fn new(orders: u32, fixes: u64, place: &Place, tasks: &TaskTracker) -> anyhow::Result<Self> {
        let set_up = BEGIN + SET_UP * u64::from(orders);
        let messages = set_up + fixes;
        let server = place.nats(&format!("ingest-{messages}-{orders}"), tasks).await?;
        let filled = ingest::fill(&server.url(), &Load::new(orders), messages).await?;
        Ok(Self { orders, server, filled, set_up, raws: Vec::new(), durables: Vec::new() })
    }

    /// The folder of its database.
    fn data(&self) -> String {
        format!("scale-data-{}", self.orders)
    }

    async fn round(&mut self, round: u32, place: &Place) -> anyhow::Result<()> {
        let Self { orders, server, filled, set_up, .. } = self;
        let pid = server.pid().map(|pid| pid.to_string()).unwrap_or_default();
        let raw = raw::decode_and_drop(&server.url(), &pid, &CellId::default(), *set_up, filled.messages).await?;
        let data = place.fresh(&format!("scale-data-{orders}"))?;
        let durable = Box::pin(ingest::durable(&server.url(), &pid, &data, *filled, *set_up)).await?;
        say(format_args!(
            "round {round}, {orders} orders: raw {:.0}/s, {:.1} us CPU; durable {:.0}/s, {:.1} us CPU; ratio {:.3}",
            raw.messages_per_s,
            raw.cpu_us_per_message,
            durable.reading.messages_per_s,
            durable.reading.cpu_us_per_message,
            durable.reading.messages_per_s / raw.messages_per_s,
        ));
        if let Some(first) = self.durables.first() {
            ensure!(first.hash == durable.hash, "one log gave two states: {} and {}", first.hash, durable.hash);
        }
        self.raws.push(raw);
        self.durables.push(durable);
        Ok(())
    }

    /// Seconds from starting a tracker on the database of the last round, with one more step of fixes in the log, to its
    /// first commit.
    async fn restarts(&self, times: u32, data: &Path) -> anyhow::Result<Vec<f64>> {
        let url = self.server.url();
        let client = async_nats::connect(&url).await?;
        let load = Load::new(self.orders);
        let mut last = self.filled.messages;
        let mut seconds = Vec::new();
        // The riders go on from where the log left them.
        let steps = u32::try_from((last - self.set_up) / u64::from(self.orders))? + 1;
        for step in steps..steps + times {
            // Some fixes of different orders, each of which has to be brought back first.
            let riders = 0..self.orders.min(100);
            let at_ms = clock::wall().0 + i64::from(step + 1) * STEP_MS;
            load.step(&client, step, at_ms, riders.clone()).await?;
            let before = last;
            last += 1 + u64::from(riders.end);
            load.stored(&client, last).await?;
            let watch = Stopwatch::start();
            let app = App::start(place::config(&url, data, &["tracker"])?).await?;
            let first = async {
                while app.cursor() <= Some(before) {
                    tokio::time::sleep(Duration::from_micros(500)).await;
                }
                watch.elapsed().as_secs_f64()
            };
            let first = tokio::time::timeout(RESTART_WITHIN, first).await.context("the restarted tracker is stuck")?;
            seconds.push(first);
            let all = async {
                while app.cursor() < Some(last) {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            };
            tokio::time::timeout(RESTART_WITHIN, all).await.context("the restarted tracker is stuck")?;
            app.stop().await;
        }
        Ok(seconds)
    }

    fn raw(&self, figure: fn(&Reading) -> f64) -> Spread {
        Spread::of(self.raws.iter().map(figure))
    }

    fn durable(&self, figure: fn(&Reading) -> f64) -> Spread {
        Spread::of(self.durables.iter().map(|durable| figure(&durable.reading)))
    }

    /// Round by round, so that both sides of a ratio had the same machine.
    fn ratio(&self) -> Spread {
        let pairs = self.durables.iter().zip(&self.raws);
        Spread::of(pairs.map(|(durable, raw)| durable.reading.messages_per_s / raw.messages_per_s))
    }
}

fn report(few: &Side, many: &Side, per_order: Option<PerOrder>, restarts: Vec<f64>) {
    say("median (least to most) of the rounds");
    for side in [few, many] {
        say(format_args!("  {} active orders", side.orders));
        say(format_args!("    raw, messages/s                {:.0}", side.raw(|r| r.messages_per_s)));
        say(format_args!("    durable, messages/s            {:.0}", side.durable(|r| r.messages_per_s)));
        say(format_args!("    raw, CPU us a message          {:.2}", side.raw(|r| r.cpu_us_per_message)));
        say(format_args!("    durable, CPU us a message      {:.2}", side.durable(|r| r.cpu_us_per_message)));
        say(format_args!("    durable / raw (goal: 0.5)      {:.3}", side.ratio()));
    }
    let rounds = many.durables.iter().zip(&few.durables);
    let against = rounds.map(|(many, few)| many.reading.messages_per_s / few.reading.messages_per_s);
    let (many, few) = (many.orders, few.orders);
    say(format_args!("  rate at {many} / rate at {few} (goal: 0.9)  {:.3}", Spread::of(against)));
    say(format_args!("  restart with {many} active orders, s to the first commit  {:.2}", Spread::of(restarts)));
    if let Some(PerOrder { over_all_kb, second_half_kb }) = per_order {
        say(format_args!(
            "  kB per active order (goal: 11)   {second_half_kb:.2} of the second half, {over_all_kb:.2} over all"
        ));
    }
}
