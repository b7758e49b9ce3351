//! Durable ingest: the whole of a tracker as in production, from the log's first message to the last one committed and
//! announced, against a bare consumer of the same log that decodes and drops.

use super::{
    super::outside::say,
    figures::{Spread, histogram},
    load::{BEGIN, Load, SET_UP},
    place::{self, Place},
    raw::{self, Reading},
};
use crate::{app::App, clock::Stopwatch, domain::CellId, nats::streams, store::state_hash};
use anyhow::{Context as _, ensure};
use async_nats::jetstream;
use std::{path::Path, time::Duration};
use tokio_util::task::TaskTracker;

/// A round that takes longer has got stuck.
const ROUND_WITHIN: Duration = Duration::from_secs(300);

/// How long the log is, and how often it is read.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(super) struct IngestArgs {
    /// Messages in the log.
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u64).range(100..=10_000_000))]
    messages: u64,
    /// Orders, each with a rider.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    orders: u32,
    /// Times that each side reads the log.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
}

impl Default for IngestArgs {
    fn default() -> Self {
        Self { messages: 200_000, orders: 1_000, rounds: 5 }
    }
}

/// What the log holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Filled {
    pub(super) messages: u64,
    deltas: u64,
}

/// One durable round.
#[derive(Clone, Debug)]
pub(super) struct Durable {
    pub(super) reading: Reading,
    entries_per_batch: f64,
    entries_per_transaction: f64,
    pub(super) hash: String,
}

pub(super) async fn run(args: IngestArgs, place: &Place) -> anyhow::Result<()> {
    let IngestArgs { messages, orders, rounds } = args;
    let tasks = TaskTracker::new();
    let server = place.nats(&format!("ingest-{messages}-{orders}"), &tasks).await?;
    let url = server.url();
    let pid = server.pid().map(|pid| pid.to_string()).unwrap_or_default();
    let filled = fill(&url, &Load::new(orders), messages).await?;
    say(format_args!("log: {} messages, {orders} orders, {} deltas to come of it", filled.messages, filled.deltas));
    let (mut raws, mut durables) = (Vec::new(), Vec::<Durable>::new());
    for round in 1..=rounds {
        let raw = raw::decode_and_drop(&url, &pid, &CellId::default(), 0, filled.messages).await?;
        let durable = Box::pin(durable(&url, &pid, &place.fresh("ingest-data")?, filled, 0)).await?;
        say(format_args!(
            "round {round}: raw {:.0}/s, {:.1} us CPU ({:.1} in nats-server); durable {:.0}/s, {:.1} us CPU ({:.1} in \
             nats-server), {:.0} entries a batch, {:.0} a transaction; ratio {:.3}",
            raw.messages_per_s,
            raw.cpu_us_per_message,
            raw.server_cpu_us_per_message,
            durable.reading.messages_per_s,
            durable.reading.cpu_us_per_message,
            durable.reading.server_cpu_us_per_message,
            durable.entries_per_batch,
            durable.entries_per_transaction,
            durable.reading.messages_per_s / raw.messages_per_s,
        ));
        if let Some(first) = durables.first() {
            ensure!(first.hash == durable.hash, "one log gave two states: {} and {}", first.hash, durable.hash);
        }
        raws.push(raw);
        durables.push(durable);
    }
    report(&raws, &durables);
    server.stop().await;
    tasks.close();
    tasks.wait().await;
    Ok(())
}

fn report(raws: &[Reading], durables: &[Durable]) {
    let of =
        |figure: fn(&Reading) -> f64, readings: &mut dyn Iterator<Item = &Reading>| Spread::of(readings.map(figure));
    let durable = || durables.iter().map(|d| &d.reading);
    let ratios = raws.iter().zip(durable()).map(|(raw, durable)| durable.messages_per_s / raw.messages_per_s);
    say("median (least to most) of the rounds");
    say(format_args!("  raw, messages/s                  {:.0}", of(|r| r.messages_per_s, &mut raws.iter())));
    say(format_args!("  durable, messages/s              {:.0}", of(|r| r.messages_per_s, &mut durable())));
    say(format_args!("  raw, CPU us a message            {:.2}", of(|r| r.cpu_us_per_message, &mut raws.iter())));
    say(format_args!("  durable, CPU us a message        {:.2}", of(|r| r.cpu_us_per_message, &mut durable())));
    say(format_args!("  durable / raw (goal: 0.5)        {:.3}", Spread::of(ratios)));
    if let Some(Durable { hash, .. }) = durables.first() {
        say(format_args!("  state after every round          {hash}"));
    }
}

/// Fills the log, unless it is there from an earlier run.
pub(super) async fn fill(url: &str, load: &Load, messages: u64) -> anyhow::Result<Filled> {
    let client = async_nats::connect(url).await?;
    let js = jetstream::new(client.clone());
    let log = streams::ensure(&js, &load.cell, &streams::Options::default()).await?;
    let filled = |messages: u64, deltas: u64| Filled { messages, deltas };
    if log.last_seq > 0 {
        let set_up = BEGIN + SET_UP * u64::from(load.orders);
        let per_step = u64::from(load.orders) + 1;
        ensure!(log.last_seq > set_up, "the log in this folder is none of this benchmark's: remove it");
        say("the log is there from an earlier run");
        let clocks = (log.last_seq - set_up).div_ceil(per_step);
        return Ok(filled(log.last_seq, log.last_seq - BEGIN - clocks));
    }
    let watch = Stopwatch::start();
    let deltas = load.fill(&client, messages).await?;
    let log = streams::existing_log(&js, &load.cell).await?;
    say(format_args!("filled the log in {:.1} s", watch.elapsed().as_secs_f64()));
    Ok(filled(log.last_seq, deltas))
}

/// A tracker with a fresh database reads the whole log. Measured is what lies behind the place `after`: from the commit
/// that reaches it, or, where it is 0, from the first message.
pub(super) async fn durable(
    url: &str,
    server: &str,
    data: &Path,
    filled: Filled,
    after: u64,
) -> anyhow::Result<Durable> {
    let Filled { messages, deltas } = filled;
    let used = || (place::cpu_s("self"), place::cpu_s(server));
    let mut before = used();
    let app = App::start(place::config(url, data, &["tracker"])?).await?;
    let metrics = app.metrics().clone();
    let polling = async {
        let mut tick = tokio::time::interval(Duration::from_micros(500));
        // Batches that came before the first look count as not measured.
        let seen = loop {
            tick.tick().await;
            let seen = if after == 0 { metrics.log_entries.get() } else { app.cursor().unwrap_or(0) };
            if seen > after {
                break seen;
            }
        };
        let watch = Stopwatch::start();
        if after > 0 {
            before = used();
        }
        // The cursor is the commit's, the deltas are counted when they are announced.
        while app.cursor() < Some(messages) || metrics.updates_published.get() < deltas {
            tick.tick().await;
        }
        let now = used();
        let (cpu_s, server_cpu_s) = (now.0 - before.0, now.1 - before.1);
        if after > 0 {
            Reading::of(&watch, messages.saturating_sub(seen), 0, cpu_s, server_cpu_s)
        } else {
            Reading::of(&watch, messages, seen.min(messages - 1), cpu_s, server_cpu_s)
        }
    };
    let reading = tokio::time::timeout(ROUND_WITHIN, polling).await.with_context(|| {
        format!(
            "stuck at place {:?} of {messages}, {} of {deltas} deltas",
            app.cursor(),
            metrics.updates_published.get()
        )
    })?;
    let text = metrics.encode()?;
    app.stop().await;
    let (entries, batches) = histogram(&text, "trunkline_batch_entries");
    let (_, transactions) = histogram(&text, "trunkline_commit_seconds");
    let announced = metrics.updates_published.get();
    ensure!(announced == deltas, "{announced} deltas were announced where {deltas} were due");
    let database = data.join("cells").join(format!("{}.sqlite", CellId::default()));
    let hash = tokio::task::spawn_blocking(move || state_hash(&database)).await??.to_string();
    Ok(Durable { reading, entries_per_batch: entries / batches, entries_per_transaction: entries / transactions, hash })
}
