//! `trunkline watch`: follows orders over WebSocket as operations would (or in another role), prints every change of
//! status, and at the end compares what it merged with the server's snapshots. Its summary is what the demo shows.

use super::interrupted;
use super::outside::{
    Agreement, FollowTally, FollowerOptions, Followers, Http, Record, StatusChange, TokenOptions, agreement, say,
    write_json,
};
use crate::{
    domain::{OrderId, Status},
    wire::{query::MAX_PAGE, view::View},
};
use anyhow::Context;
use serde::Serialize;
use std::{collections::HashSet, path::PathBuf, process::ExitCode, sync::Arc, time::Duration};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

const PATIENCE: Duration = Duration::from_secs(30);
/// Between looks for new orders.
const LIST_EVERY: Duration = Duration::from_millis(500);
/// For orders in motion to be caught at one version by client and server.
const SETTLE: Duration = Duration::from_secs(25);
/// Orders read over REST at once, for the record.
const READS_AT_ONCE: usize = 16;
/// Most orders that one run follows.
const MAX_ORDERS: usize = 20_000;

/// Follows orders over WebSocket and checks that nothing is lost
#[derive(Clone, Debug, clap::Args)]
pub struct WatchArgs {
    /// Address of the server
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    pub http: String,
    #[command(flatten)]
    pub token: TokenOptions,
    /// customer, shared, rider, warehouse or operations
    #[arg(long, default_value = "operations")]
    pub role: View,
    /// Stop after so many seconds; without it, at Ctrl-C
    #[arg(long = "for", value_name = "SECS")]
    pub for_s: Option<u64>,
    /// Follow every order, new ones too. The default when no order is named
    #[arg(long, conflicts_with = "orders")]
    pub all: bool,
    /// Orders on one connection
    #[arg(long, default_value_t = 100)]
    pub orders_per_connection: usize,
    /// Where to write the summary as JSON
    #[arg(long)]
    pub summary_json: Option<PathBuf>,
    /// Keep every frame, and an order as REST shows it whenever its status changes and at the end, byte for byte
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// Orders to follow
    #[arg(value_name = "ORDER")]
    pub orders: Vec<OrderId>,
}

/// What was seen.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    pub role: View,
    #[serde(flatten)]
    pub tally: FollowTally,
    /// Orders, how many of them completed, and for how many the merged state equals the snapshot.
    pub agreement: Agreement,
    pub connections: usize,
    pub errors: Vec<String>,
}

/// Watches until the time is up or Ctrl-C. Fails (exit code 1) on a gap or on a state that differs at the end.
pub async fn run(args: WatchArgs) -> anyhow::Result<ExitCode> {
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let record = match &args.record {
        Some(file) => Record::create(file).with_context(|| format!("write {}", file.display()))?,
        None => Record::default(),
    };
    let http = Http::new(&args.http, args.role, PATIENCE)?.with_token(args.token.read()?).recorded(record.clone());
    let reads = Reads { http: http.clone(), tasks: tasks.clone(), at_once: Arc::new(Semaphore::new(READS_AT_ONCE)) };
    let finding = finding(&args, &http)?;
    let (changes, mut told) = mpsc::channel(1_024);
    let options = FollowerOptions {
        http: http.clone(),
        orders_per_connection: args.orders_per_connection,
        changes: Some(changes),
    };
    let mut followers = Followers::new(options, tasks.clone(), stop.clone());
    let mut found = Finder::default();
    for order in &args.orders {
        followers.follow(order.clone()).await;
    }
    let mut list = tokio::time::interval(LIST_EVERY);
    list.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let end = async {
        match args.for_s {
            Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
            None => std::future::pending().await,
        }
    };
    let mut end = std::pin::pin!(end);
    let mut interrupted = std::pin::pin!(interrupted());
    loop {
        tokio::select! {
            biased;
            () = &mut interrupted => break,
            () = &mut end => break,
            Some(change) = told.recv() => {
                tell(&change);
                reads.read(&change.order);
            }
            _ = list.tick(), if args.orders.is_empty() => {
                // The server may be restarting; the next look finds what this one missed.
                if let Err(error) = found.look(&finding, &mut followers, &mut told).await {
                    say(format_args!("list of orders: {error}"));
                }
            }
        }
    }
    // Changes go on being told while the last states settle, or a full channel would hold the followers up.
    let agreement = {
        let mut settled = std::pin::pin!(agreement(&http, followers.all(), SETTLE));
        loop {
            tokio::select! {
                agreement = &mut settled => break agreement,
                Some(change) = told.recv() => tell(&change),
            }
        }
    };
    let summary = Summary {
        role: args.role,
        tally: followers.tally(),
        agreement,
        connections: followers.all().len(),
        errors: followers.errors(),
    };
    stop.cancel();
    drop(told);
    tasks.close();
    tasks.wait().await;
    report(&summary);
    let pieces = record.close().context("what came isn't kept whole")?;
    if record.is_on() {
        say(format_args!("kept       {pieces} pieces"));
    }
    if let Some(path) = &args.summary_json {
        write_json(path, &summary).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(if agrees(&summary) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Reads orders over REST beside following them, for the record. One more than are under way at once is left out: the
/// follower must not wait for it.
#[derive(Debug)]
struct Reads {
    http: Http,
    tasks: TaskTracker,
    at_once: Arc<Semaphore>,
}

impl Reads {
    fn read(&self, order: &OrderId) {
        let Ok(permit) = self.at_once.clone().try_acquire_owned() else { return };
        if self.http.record().is_on() {
            let (http, order) = (self.http.clone(), order.clone());
            self.tasks.spawn(async move {
                // Recorded whatever it is.
                let _ = http.order(&order).await;
                drop(permit);
            });
        }
    }
}

/// Finds orders that aren't followed yet.
#[derive(Debug, Default)]
struct Finder {
    seen: HashSet<OrderId>,
    /// Once every page has been read, only what is newer needs to be looked at.
    complete: bool,
}

impl Finder {
    /// Newest first, until a page tells nothing new.
    async fn look(
        &mut self,
        http: &Http,
        followers: &mut Followers,
        told: &mut mpsc::Receiver<StatusChange>,
    ) -> anyhow::Result<()> {
        let mut cursor: Option<String> = None;
        loop {
            let page = http.orders(cursor.as_deref(), if self.complete { 100 } else { MAX_PAGE }).await?;
            let orders = page.orders.iter().filter_map(|snapshot| snapshot.state.get("id")?.as_str()?.parse().ok());
            let mut news = false;
            for order in orders {
                if self.seen.len() < MAX_ORDERS && self.seen.insert(OrderId::clone(&order)) {
                    news = true;
                    // A follower that waits for its changes to be told takes no orders.
                    while let Ok(change) = told.try_recv() {
                        tell(&change);
                    }
                    followers.follow(order).await;
                }
            }
            match page.next {
                Some(next) if news || !self.complete => cursor = Some(next),
                Some(_) => return Ok(()),
                None => {
                    self.complete = true;
                    return Ok(());
                }
            }
        }
    }
}

/// Who lists the orders. A share link is for one order and lists none: whose ids they are somebody else says, and what the
/// answer to that somebody holds is nothing that this role was sent.
fn finding(args: &WatchArgs, http: &Http) -> anyhow::Result<Http> {
    match args.role {
        View::Shared => Ok(Http::new(&args.http, View::Operations, PATIENCE)?.with_token(args.token.read()?)),
        View::Customer | View::Rider | View::Warehouse | View::Operations => Ok(http.clone()),
    }
}

fn tell(change: &StatusChange) {
    let StatusChange { order, before, after, version, at_ms } = change;
    let at = jiff::Timestamp::from_millisecond(*at_ms).map(|t| t.to_string()).unwrap_or_else(|_| at_ms.to_string());
    let before = before.map_or("(new)", Status::name);
    say(format_args!("{at}  {order}  {before} -> {}  version {version}", after.name()));
}

fn agrees(summary: &Summary) -> bool {
    summary.tally.gaps == 0 && summary.agreement.mismatches.is_empty()
}

fn report(summary: &Summary) {
    let Summary { role, tally, agreement, connections, errors } = summary;
    let Agreement { orders, equal, completed, cancelled, mismatches } = agreement;
    say(format_args!("watched as {} on {connections} connections", role.name()));
    say(format_args!("orders     {orders} seen, {completed} completed, {cancelled} cancelled"));
    say(format_args!("deltas     {} received, {} gaps, {} repeats", tally.deltas, tally.gaps, tally.repeats));
    say(format_args!(
        "resumes    {} (reconnects {}, resets {}, healed by a heartbeat {})",
        tally.resumes, tally.reconnects, tally.resets, tally.healed
    ));
    say(format_args!("snapshots  {}, heartbeats {}", tally.snapshots, tally.heartbeats));
    say(format_args!("agree      {equal} of {orders} orders have the server's state and version"));
    for mismatch in mismatches.iter().take(20) {
        say(format_args!("  {}: {}", mismatch.order, mismatch.reason));
    }
    for error in errors {
        say(format_args!("error      {error}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::outside::Mismatch;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        watch: WatchArgs,
    }

    #[test]
    fn arguments() {
        let line = Line::try_parse_from(["watch", "--role", "customer", "--for", "60", "o1", "o2"]).unwrap();
        assert_eq!((line.watch.role, line.watch.for_s, line.watch.orders.len()), (View::Customer, Some(60), 2));
        assert!(Line::try_parse_from(["watch", "--all", "o1"]).is_err());
        assert!(Line::try_parse_from(["watch", "--role", "king"]).is_err());
        assert!(Line::try_parse_from(["watch", "a.b"]).is_err());
    }

    #[test]
    fn a_gap_or_a_difference_fails() {
        let good = Summary {
            role: View::Operations,
            tally: FollowTally::default(),
            agreement: Agreement::default(),
            connections: 1,
            errors: Vec::new(),
        };
        assert!(agrees(&good));
        let gap = Summary { tally: FollowTally { gaps: 1, ..FollowTally::default() }, ..good.clone() };
        let differs = Mismatch { order: "o".parse().unwrap(), reason: String::new() };
        let mismatch = Summary { agreement: Agreement { mismatches: vec![differs], ..Agreement::default() }, ..good };
        assert!(!agrees(&gap) && !agrees(&mismatch));
    }
}
