//! Latency: a rider's publish over NATS to the frame at a WebSocket client who follows the order, through a whole node, in
//! turn with bare NATS at the same rate: core publish to subscriber, and JetStream publish to consumer.

use super::{
    super::outside::{Http, say},
    figures::{Latency, Spread},
    load::{BEGIN, Load, SET_UP, SPEED_MPS, fix},
    place::{self, Place},
};
use crate::{
    app::App,
    clock::{self, Stopwatch},
    domain::CellId,
    nats::streams,
    wire::{
        client::{ClientFrame, ServerFrame},
        subject,
        view::View,
    },
};
use anyhow::Context as _;
use async_nats::{
    Client,
    jetstream::{self, consumer::AckPolicy, consumer::DeliverPolicy, consumer::pull},
};
use futures::{SinkExt, Stream, StreamExt};
use parking_lot::Mutex;
use std::{collections::VecDeque, pin::pin, sync::Arc, time::Duration};
use tokio_tungstenite::tungstenite::Message;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

const PATIENCE: Duration = Duration::from_secs(30);
/// What is still under way at the end of a round gets so long.
const LAST_ARRIVALS: Duration = Duration::from_millis(500);
/// Room for a raw log: a minute at 10,000 a second takes half of it.
const RAW_LOG_BYTES: u64 = 256 << 20;

/// How fast and how long.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(super) struct LatencyArgs {
    /// Fixes per second.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// Seconds that each of the three is measured, over all rounds.
    #[arg(long = "for", value_name = "SECS", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=3_600))]
    for_s: u32,
    /// Orders, each with a rider and a WebSocket client.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    orders: u32,
    /// Turns that each of the three takes.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
}

impl Default for LatencyArgs {
    fn default() -> Self {
        Self { rate: 1_000, for_s: 20, orders: 200, rounds: 4 }
    }
}

/// What was sent when, and how long it took to come. One line per rider, in which nothing overtakes.
#[derive(Debug)]
struct Board {
    since: Stopwatch,
    lines: Vec<Mutex<VecDeque<(i64, Duration)>>>,
    samples: Mutex<Vec<Duration>>,
}

impl Board {
    fn new(lines: u32) -> Arc<Self> {
        let lines = (0..lines).map(|_| Mutex::default()).collect();
        Arc::new(Self { since: Stopwatch::start(), lines, samples: Mutex::default() })
    }

    fn sent(&self, line: u32, fix_time_ms: i64) {
        if let Some(line) = self.lines.get(line as usize) {
            line.lock().push_back((fix_time_ms, self.since.elapsed()));
        }
    }

    /// Older ones that never came were conflated with this one; they are no samples.
    fn came(&self, line: u32, fix_time_ms: i64, at: Duration) {
        let Some(line) = self.lines.get(line as usize) else { return };
        let mut line = line.lock();
        while let Some((sent_ms, sent)) = line.front().copied()
            && sent_ms <= fix_time_ms
        {
            line.pop_front();
            if sent_ms == fix_time_ms {
                self.samples.lock().push(at.saturating_sub(sent));
            }
        }
    }

    fn take(&self) -> Latency {
        Latency::of(std::mem::take(&mut *self.samples.lock()))
    }
}

/// Publishes fixes of the load's riders by turns at a steady rate.
struct Phones {
    client: Client,
    load: Load,
    board: Arc<Board>,
    subjects: Vec<String>,
    rate: u32,
    /// Goes on from round to round, so that riders do too.
    sent: u32,
    last_ms: i64,
}

impl Phones {
    fn new(client: Client, load: Load, board: &Arc<Board>, rate: u32) -> anyhow::Result<Self> {
        let subjects = (0..load.orders).map(|n| load.fix_subject(n)).collect::<Result<_, _>>()?;
        Ok(Self { client, load, board: board.clone(), subjects, rate, sent: 0, last_ms: 0 })
    }

    /// One round; gives what came of it.
    async fn round(&mut self, length: Duration) -> anyhow::Result<(Latency, u32)> {
        let (watch, before) = (Stopwatch::start(), self.sent);
        // A round may end amid a turn; what is sent now mustn't bear the time of before the pause.
        self.last_ms = clock::wall().0.max(self.last_ms + 1);
        let mut tick = tokio::time::interval(Duration::from_millis(1));
        while watch.elapsed() < length {
            tick.tick().await;
            let due = watch.elapsed().as_millis() * u128::from(self.rate) / 1_000;
            while u128::from(self.sent - before) < due {
                self.one().await?;
            }
        }
        tokio::time::sleep(LAST_ARRIVALS).await;
        Ok((self.board.take(), self.sent - before))
    }

    async fn one(&mut self) -> anyhow::Result<()> {
        let (rider, step) = (self.sent % self.load.orders, self.sent / self.load.orders);
        // A fix time of its own for each fix of a rider, also beyond 1,000 a second and rider.
        if rider == 0 {
            self.last_ms = clock::wall().0.max(self.last_ms + 1);
        }
        // The way that a rider makes between two turns.
        let way_m = f64::from(step) * SPEED_MPS * f64::from(self.load.orders) / f64::from(self.rate);
        let payload = fix(rider, way_m, step, self.last_ms)?;
        let subject = self.subjects.get(rider as usize).cloned().context("a rider without a subject")?;
        self.board.sent(rider, self.last_ms);
        self.client.publish(subject, payload).await?;
        self.sent += 1;
        Ok(())
    }
}

pub(super) async fn run(args: LatencyArgs, place: &Place) -> anyhow::Result<()> {
    let LatencyArgs { rate, for_s, orders, rounds } = args;
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    place.fresh("latency")?;
    let server = place.nats("latency", &tasks).await?;
    let url = server.url();
    let core = bare(&url, "core", orders, rate, false, &tasks, &stop).await?;
    let stream = bare(&url, "stream", orders, rate, true, &tasks, &stop).await?;
    let app = App::start(place::config(&url, &place.fresh("latency-data")?, &["tracker", "bridge"])?).await?;
    let whole = whole(&app, orders, rate, &tasks, &stop).await?;
    say(format_args!(
        "{rate} fixes/s of {orders} riders, a WebSocket client on each order, {for_s} s in {rounds} rounds"
    ));
    let length = Duration::from_secs(for_s.into()) / rounds;
    let mut measured = [
        ("core NATS, publish to subscriber ", core),
        ("JetStream, publish to consumer   ", stream),
        ("Trunkline, publish to frame      ", whole),
    ]
    .map(|(name, phones)| (name, phones, Vec::new()));
    for round in 1..=rounds {
        for (name, phones, figures) in &mut measured {
            let (latency, sent) = phones.round(length).await?;
            say(format_args!("round {round}: {name} {latency} of {sent}"));
            figures.push(latency);
        }
    }
    say("median (least to most) of the rounds");
    for (name, _, figures) in &measured {
        let of = |figure: fn(&Latency) -> f64| Spread::of(figures.iter().map(figure));
        let (p50, p99, max) = (of(|l| l.p50_ms), of(|l| l.p99_ms), of(|l| l.max_ms));
        say(format_args!("  {name} p50 {p50:.2} ms, p99 {p99:.2} ms, max {max:.2} ms"));
    }
    say("  goal: p50 under 3 ms, p99 under 15 ms");
    stop.cancel();
    app.stop().await;
    server.stop().await;
    tasks.close();
    tasks.wait().await;
    Ok(())
}

/// Phones whose fixes a bare client takes: from core NATS, or from a stream.
async fn bare(
    url: &str,
    cell: &str,
    orders: u32,
    rate: u32,
    stored: bool,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> anyhow::Result<Phones> {
    let load = Load { cell: cell.parse::<CellId>()?, orders };
    let board = Board::new(orders);
    let listener = async_nats::connect(url).await?;
    if stored {
        let js = jetstream::new(listener);
        let options = streams::Options { log_max_bytes: RAW_LOG_BYTES, ..streams::Options::default() };
        streams::ensure(&js, &load.cell, &options).await?;
        let config = pull::Config {
            deliver_policy: DeliverPolicy::All,
            ack_policy: AckPolicy::None,
            memory_storage: true,
            ..pull::Config::default()
        };
        let log = js.get_stream(subject::log_stream(&load.cell)).await?;
        let messages = log.create_consumer(config).await?.messages().await?;
        let messages = messages.filter_map(|m| async { m.ok().map(|m| m.message.payload) });
        tasks.spawn(take(messages, board.clone(), stop.clone()));
    } else {
        let messages = listener.subscribe(subject::log_subjects(&load.cell).swap_remove(2)).await?;
        listener.flush().await?;
        tasks.spawn(take(messages.map(|m| m.payload), board.clone(), stop.clone()));
    }
    Phones::new(async_nats::connect(url).await?, load, &board, rate)
}

/// Notes arrivals. Riders take turns, and one connection keeps the order.
async fn take(payloads: impl Stream<Item = bytes::Bytes>, board: Arc<Board>, stop: CancellationToken) {
    let mut payloads = pin!(payloads);
    let lines = u32::try_from(board.lines.len()).unwrap_or(u32::MAX);
    let mut n = 0;
    loop {
        let payload = tokio::select! {
            () = stop.cancelled() => return,
            payload = payloads.next() => payload,
        };
        let Some(payload) = payload else { return };
        let at = board.since.elapsed();
        let fix_time_ms = std::str::from_utf8(&payload).ok().and_then(fix_time_ms);
        board.came(n % lines, fix_time_ms.unwrap_or(0), at);
        n += 1;
    }
}

/// Phones whose fixes go through a node to its clients.
async fn whole(
    app: &App,
    orders: u32,
    rate: u32,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> anyhow::Result<Phones> {
    let load = Load::new(orders);
    let board = Board::new(orders);
    let client = async_nats::connect(app.nats_url()).await?;
    load.set_up(&client, 0..orders).await?;
    let under_way = async {
        while app.cursor() < Some(BEGIN + SET_UP * u64::from(orders)) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, under_way).await.context("the orders don't get under way")?;
    let addr = app.http().context("the node serves no clients")?;
    let ws_url = Http::new(&format!("http://{addr}"), View::Customer, PATIENCE)?.ws_url();
    for n in 0..orders {
        let (mut socket, _) = tokio_tungstenite::connect_async(&ws_url).await?;
        let topic = format!("order/{}", Load::order(n)?);
        let follow = ClientFrame::Subscribe { topic, version: None, epoch: None, bounds: None };
        socket.send(Message::text(serde_json::to_string(&follow)?)).await?;
        let snapshot = async {
            loop {
                let frame = socket.next().await.context("the connection ended")??;
                let frame = frame.to_text()?;
                match serde_json::from_str(frame)? {
                    ServerFrame::Snapshot { .. } => return anyhow::Ok(()),
                    ServerFrame::Error { problem, .. } => anyhow::bail!("{}", problem.title),
                    ServerFrame::Hello { .. }
                    | ServerFrame::Authenticated { .. }
                    | ServerFrame::GoingAway { .. }
                    | ServerFrame::Expired { .. }
                    | ServerFrame::Subscribed { .. }
                    | ServerFrame::Unsubscribed { .. }
                    | ServerFrame::Delta { .. }
                    | ServerFrame::Heartbeat { .. }
                    | ServerFrame::Pong { .. }
                    | ServerFrame::Replay(_) => {}
                }
            }
        };
        tokio::time::timeout(PATIENCE, snapshot).await.context("no snapshot came")??;
        let (board, stop) = (board.clone(), stop.clone());
        tasks.spawn(async move {
            loop {
                let message = tokio::select! {
                    () = stop.cancelled() => return,
                    message = socket.next() => message,
                };
                let Some(Ok(message)) = message else { return };
                let at = board.since.elapsed();
                if let Some(fix_time_ms) = message.to_text().ok().and_then(fix_time_ms) {
                    board.came(n, fix_time_ms, at);
                }
            }
        });
    }
    Phones::new(client, load, &board, rate)
}

/// The fix time in a payload or a frame, found without parsing all of it: the clients share the machine.
fn fix_time_ms(text: &str) -> Option<i64> {
    let (_, behind) = text.split_once("\"fix_time_ms\":")?;
    let digits = behind.find(|c: char| !c.is_ascii_digit()).unwrap_or(behind.len());
    behind.get(..digits)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_one_fix_and_the_conflated_are_none() {
        let board = Board::new(2);
        for ms in [10, 20, 30] {
            board.sent(1, ms);
        }
        board.came(1, 20, Duration::from_secs(5));
        board.came(1, 20, Duration::from_secs(5));
        board.came(0, 30, Duration::from_secs(5));
        board.came(1, 30, Duration::from_secs(5));
        assert_eq!(board.take().count, 2);
        assert_eq!(board.take().count, 0);
    }

    #[test]
    fn fix_times_are_found() {
        let payload = fix(3, 5.0, 1, 1_234).unwrap();
        assert_eq!(fix_time_ms(std::str::from_utf8(&payload).unwrap()), Some(1_234));
        assert_eq!(fix_time_ms(r#"{"type":"heartbeat","orders":{}}"#), None);
    }
}
