//! `trunkline simulate`: a small town that orders, picks and delivers, driving the system only from outside: a shop over
//! HTTP, warehouses and riders over NATS. It paces itself by the cell clock, which it sets.

mod act;
mod city;
mod rider;
mod tasks;
mod town;

use super::interrupted;
use super::outside::{Http, Nats, Pace, say};
use crate::{
    clock::{self, Stopwatch},
    domain::{CellId, time::MAX_CLOCK_SCALE},
    wire::view::View,
};
use act::Hands;
use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use std::{collections::VecDeque, process::ExitCode, sync::Arc, time::Duration};
use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use town::{Act, Counts, Done, Size, Town};

const PATIENCE: Duration = Duration::from_secs(30);
/// Requests under way at once; when they are, the town waits.
const AT_ONCE: usize = 256;
const PROGRESS_EVERY: Duration = Duration::from_secs(5);
/// For requests under way at the end.
const LAST_ANSWERS: Duration = Duration::from_secs(10);
const MAX_LISTED: usize = 20;

/// Simulates a small town: a shop, warehouses and riders
#[derive(Clone, Debug, clap::Args)]
pub struct SimulateArgs {
    /// Address of the server
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    pub http: String,
    /// Address of NATS
    #[arg(long, default_value = "nats://127.0.0.1:4222")]
    pub nats: String,
    #[arg(long, default_value = "default")]
    pub cell: CellId,
    /// Orders placed in all
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub orders: u32,
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub riders: u32,
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub warehouses: u32,
    /// Of every decision
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// How many times faster than life the cell clock runs
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_CLOCK_SCALE)))]
    pub scale: u32,
    /// Stop after so many seconds of wall time; without it, when all orders are done
    #[arg(long = "for", value_name = "SECS")]
    pub for_s: Option<u64>,
    /// Begins every id; without it, one of this run's own
    #[arg(long)]
    pub prefix: Option<String>,
}

/// Runs the town. Fails (exit code 1) if anything that it did was refused.
pub async fn run(args: SimulateArgs) -> anyhow::Result<ExitCode> {
    let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
    let http = Http::new(&args.http, View::Operations, PATIENCE)?;
    let nats = Nats::connect(&args.nats, PATIENCE, &tracker, stop.clone()).await?;
    let pace = Pace::set(&nats, &http, &args.cell, args.scale, None).await?;
    // Times of day in seconds, so that two runs on one cell don't meet.
    let prefix = args.prefix.clone().unwrap_or_else(|| format!("s{:x}-", clock::wall().0 / 1_000));
    let town = Town::new(size(&args), &prefix, pace.now().plus(1_000))?;
    let (task_tx, tasks) = mpsc::channel(1_024);
    tracker.spawn(tasks::read(nats.clone(), args.cell.clone(), task_tx, stop.clone()));
    let city = Arc::new(town.city.clone());
    let hands = Hands { http: http.clone(), nats: nats.clone(), cell: args.cell.clone(), city };
    let mut run = Run {
        town,
        hands,
        pace,
        under_way: FuturesUnordered::new(),
        waiting: VecDeque::new(),
        refused: Vec::new(),
        refused_count: 0,
    };
    say(format_args!(
        "{} orders, {} riders, {} warehouses, seed {}, {} times life's pace, ids {prefix}…",
        args.orders, args.riders, args.warehouses, args.seed, args.scale
    ));
    let ended = Box::pin(run.until_the_end(tasks, args.for_s.map(Duration::from_secs))).await;
    let restored = Pace::set(&nats, &http, &args.cell, 1, None).await;
    nats.flush().await;
    stop.cancel();
    tracker.close();
    tracker.wait().await;
    ended?;
    restored?;
    Ok(run.report())
}

/// Orders are placed in the first half of a limited run, so that most come to their end within it.
fn size(args: &SimulateArgs) -> Size {
    let span_ms = args.for_s.map(|seconds| seconds.saturating_mul(u64::from(args.scale)).saturating_mul(500));
    let every_ms = span_ms.map_or(30_000, |ms| ms / u64::from(args.orders));
    Size {
        seed: args.seed,
        orders: args.orders,
        riders: args.riders,
        warehouses: args.warehouses,
        order_every_ms: i64::try_from(every_ms).unwrap_or(30_000).min(24 * 3_600_000),
    }
}

struct Run {
    town: Town,
    hands: Hands,
    pace: Pace,
    under_way: FuturesUnordered<BoxFuture<'static, (Done, Option<String>)>>,
    /// Decided, but not begun: too much is under way.
    waiting: VecDeque<Act>,
    refused: Vec<String>,
    refused_count: u64,
}

impl Run {
    async fn until_the_end(
        &mut self,
        mut tasks: mpsc::Receiver<tasks::Task>,
        limit: Option<Duration>,
    ) -> anyhow::Result<()> {
        for rider in self.town.riders.iter().map(|rider| rider.id.clone()) {
            self.hands.shift(&rider, true).await.map_err(anyhow::Error::msg)?;
        }
        let (since, mut progress) = (Stopwatch::start(), Stopwatch::start());
        let mut interrupted = std::pin::pin!(interrupted());
        while !self.town.is_done() && limit.is_none_or(|limit| since.elapsed() < limit) {
            if progress.elapsed() >= PROGRESS_EVERY {
                progress = Stopwatch::start();
                self.progress();
            }
            self.begin_what_is_due();
            // Not longer than to the next line or the end.
            let nap = match self.town.next_due() {
                Some(due) if self.waiting.is_empty() => self.pace.until(due),
                Some(_) | None => Duration::from_millis(200),
            };
            tokio::select! {
                () = &mut interrupted => break,
                Some((done, error)) = self.under_way.next(), if !self.under_way.is_empty() => self.took(done, error),
                Some(task) = tasks.recv() => self.town.task(&task, self.pace.now()),
                () = tokio::time::sleep(nap.min(Duration::from_millis(200))) => {}
            }
        }
        self.progress();
        self.wind_up().await;
        Ok(())
    }

    fn begin_what_is_due(&mut self) {
        let now = self.pace.now();
        while self.waiting.len() + self.under_way.len() < AT_ONCE {
            match self.town.step(now) {
                Some(acts) => self.waiting.extend(acts),
                None => break,
            }
            self.begin_waiting();
        }
        self.begin_waiting();
    }

    fn begin_waiting(&mut self) {
        while self.under_way.len() < AT_ONCE
            && let Some(act) = self.waiting.pop_front()
        {
            self.under_way.push(self.hands.clone().perform(act).boxed());
        }
    }

    fn took(&mut self, done: Done, error: Option<String>) {
        if let Some(error) = error {
            self.refused_count += 1;
            if self.refused.len() < MAX_LISTED {
                self.refused.push(error);
            }
        }
        let acts = self.town.done(done, self.pace.now());
        self.waiting.extend(acts);
    }

    /// Takes the answers that are still to come, and ends the shifts of those who carry nothing.
    async fn wind_up(&mut self) {
        let since = Stopwatch::start();
        while !self.under_way.is_empty() && since.elapsed() < LAST_ANSWERS {
            match tokio::time::timeout(LAST_ANSWERS, self.under_way.next()).await {
                Ok(Some((done, error))) => self.took(done, error),
                Ok(None) | Err(_) => break,
            }
        }
        let free = self.town.riders.iter().filter(|rider| rider.is_free()).map(|rider| rider.id.clone());
        for rider in free.collect::<Vec<_>>() {
            // One who was promised an order in the last moment stays on shift; the system rightly refuses.
            let _ = self.hands.shift(&rider, false).await;
        }
    }

    fn progress(&self) {
        let Counts { created, packed, assigned, delivered, cancelled, fixes } = self.town.counts;
        let at = jiff::Timestamp::from_millisecond(self.pace.now().0).map(|t| t.to_string()).unwrap_or_default();
        say(format_args!(
            "{at}  placed {created}  packed {packed}  assigned {assigned}  delivered {delivered}  cancelled {cancelled}  \
             fixes {fixes}  refused {}",
            self.refused_count
        ));
    }

    fn report(&self) -> ExitCode {
        for error in &self.refused {
            say(format_args!("refused  {error}"));
        }
        if self.refused_count == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
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
        assert_eq!(size(&line.simulate).order_every_ms, 60_000);
        assert!(Line::try_parse_from(["simulate", "--scale", "0"]).is_err());
        assert!(Line::try_parse_from(["simulate", "--riders", "0"]).is_err());
    }
}
