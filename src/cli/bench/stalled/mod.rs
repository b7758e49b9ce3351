//! One client that stops reading: what it costs the server in memory and the other clients in time, in rounds with it and
//! without it by turns, and whether it ends with what there is when it reads again.

mod reader;

use super::{
    super::outside::{say, write_json},
    fanout::{Tally, position},
    figures::{Latency, Spread},
    node::{Node, PATIENCE},
    owner::{self, Owner},
    place::{self, Place},
    socket::{Heard, Socket},
    steady::steady,
};
use crate::{clock::Stopwatch, wire::client::ClientFrame};
use anyhow::{Context as _, ensure};
use reader::{Reader, Story};
use serde::Serialize;
use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Of Must show: what the stalled one may cost.
const GROWTH_MAX_KB: f64 = 2_000.0;
const P99_RATIO_MAX: f64 = 1.5;
/// Between two looks at the server's memory.
const LOOK: Duration = Duration::from_millis(250);
/// Updates go on for so long when it reads again, and then it must end where they ended.
const AFTERMATH: Duration = Duration::from_secs(2);
const CONVERGED_WITHIN: Duration = Duration::from_secs(20);
/// Until what the hub keeps of each order is full.
const WARM_UP: Duration = Duration::from_secs(10);

/// How much.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct StalledArgs {
    /// Seconds for which it doesn't read.
    #[arg(long = "for", value_name = "SECS", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=600))]
    for_s: u32,
    /// Rounds with it, and as many without.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Orders; every client follows all of them.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    orders: u32,
    /// Updates a second, of all orders together.
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: u32,
    /// Bytes of an update.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(200..=500_000))]
    bytes: u32,
    /// Clients beside it.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    clients: u32,
    /// Keep the figures here, for other programs.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// One round.
#[derive(Clone, Copy, Debug, Serialize)]
struct Round {
    stalled: bool,
    p50_ms: f64,
    p99_ms: f64,
    /// The server's most resident memory.
    peak_kb: f64,
    converged: bool,
}

/// What the rounds need.
struct Scene {
    node: Node,
    owner: Owner,
    tally: Arc<Tally>,
    reader: Reader,
    stall: watch::Sender<bool>,
    args: StalledArgs,
    /// Updates said so far: no two positions are equal.
    said: u32,
}

/// Measures and prints; true if no line says MISSED.
pub(super) async fn run(args: StalledArgs, place: &Place) -> anyhow::Result<bool> {
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    place.fresh("stalled")?;
    let nats = place.nats("stalled", &tasks).await?;
    let owner = Owner::start(&nats.url(), args.orders, &tasks, &stop).await?;
    let node = Node::start(&nats, &place.fresh("bridge")?, "bridge")?;
    let (tally, reader, (stall, stalled)) = (Arc::new(Tally::default()), Reader::default(), watch::channel(false));
    for _ in 0..args.clients {
        let following = follow_all(node.addr, args.orders);
        let socket = tokio::time::timeout(PATIENCE, following).await.context("no snapshots came")??;
        tasks.spawn(tally.clone().listen(socket, stop.clone()));
    }
    let reading = reader.clone().read(node.addr, args.orders, stalled);
    let (ended, stopped) = (stop.clone(), stop.clone());
    tasks.spawn(async move {
        if let Some(Err(error)) = stopped.run_until_cancelled_owned(reading).await
            && !ended.is_cancelled()
        {
            say(format_args!("the stalled one gave up: {error:#}"));
        }
    });
    let StalledArgs { for_s, rounds, orders, rate, bytes, clients, .. } = args;
    say(format_args!(
        "{rate} updates/s of {bytes} B over {orders} orders to {clients} clients that follow all, and one that stops reading for {for_s} s"
    ));
    let mut scene = Scene { node, owner, tally, reader, stall, args: args.clone(), said: 0 };
    scene.update(WARM_UP).await?;
    let mut measured = Vec::new();
    for round in 1..=rounds {
        // By turns, and by turns who is first.
        for stalled in if round % 2 == 1 { [false, true] } else { [true, false] } {
            let (round_, story) = scene.round(stalled).await?;
            print(round, &round_, &story);
            measured.push((round_, story));
        }
    }
    ensure!(scene.tally.ended() == 0, "{} of the others were thrown out", scene.tally.ended());
    stop.cancel();
    scene.node.end().await;
    nats.stop().await;
    tasks.close();
    tasks.wait().await;
    if let Some(path) = &args.json {
        write_json(path, &measured.iter().map(|(round, _)| round).collect::<Vec<_>>())?;
    }
    Ok(judge(&measured))
}

impl Scene {
    async fn round(&mut self, stalled: bool) -> anyhow::Result<(Round, Story)> {
        let pid = self.node.pid.clone();
        let _ = (self.tally.take(), self.reader.story());
        self.stall.send_replace(stalled);
        let length = Duration::from_secs(self.args.for_s.into());
        let mut peak_kb = place::rss_kb(&pid);
        let looking = async {
            loop {
                tokio::time::sleep(LOOK).await;
                peak_kb = peak_kb.max(place::rss_kb(&pid));
            }
        };
        tokio::select! {
            said = self.update(length) => said?,
            () = looking => {}
        }
        let Latency { p50_ms, p99_ms, .. } = self.tally.take();
        self.stall.send_replace(false);
        self.update(AFTERMATH).await?;
        let since = Stopwatch::start();
        let converged = loop {
            match self.reader.behind(&self.owner, self.args.orders)? {
                0 => break true,
                _ if since.elapsed() > CONVERGED_WITHIN => break false,
                _ => tokio::time::sleep(LOOK).await,
            }
        };
        let story = self.reader.story();
        Ok((Round { stalled, p50_ms, p99_ms, peak_kb, converged }, story))
    }

    /// Says updates, one order after the other.
    async fn update(&mut self, length: Duration) -> anyhow::Result<()> {
        let (begin, &StalledArgs { orders, rate, bytes, .. }) = (self.said, &self.args);
        // What surrounds the padding takes some 130 bytes.
        let pad = (bytes as usize).saturating_sub(200);
        let said = steady(rate, length, async |n| {
            let n = begin + n;
            self.owner.tell(n % orders, position(n, self.tally.sent_us(), pad)).await
        });
        let said = said.await?;
        self.said += said;
        Ok(())
    }
}

/// A connection that follows all orders and has their first state.
async fn follow_all(addr: SocketAddr, orders: u32) -> anyhow::Result<Socket> {
    let open = async || Socket::open(addr, "/v1/ws?role=customer").await;
    let mut socket = loop {
        match open().await {
            Ok(socket) => break socket,
            // It takes a moment until the server listens.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    };
    for n in 0..orders {
        let topic = format!("order/{}", owner::order(n));
        let follow = ClientFrame::Subscribe { topic, version: None, epoch: None, bounds: None };
        socket.say(&serde_json::to_string(&follow)?).await?;
    }
    let mut begun = 0;
    while begun < orders {
        let going_on = socket.hear(|heard| match heard {
            Heard::Text(text) => begun += u32::from(text.starts_with(br#"{"type":"snapshot""#)),
            Heard::Ping(_) | Heard::Close(_) | Heard::Other => {}
        });
        ensure!(going_on.await?, "the bridge ended the connection");
    }
    Ok(socket)
}

fn print(n: u32, round: &Round, story: &Story) {
    let Round { stalled, p50_ms, p99_ms, peak_kb, converged } = round;
    let Story { frames, conflated, closed, resumed, reset, gaps } = story;
    let with = if *stalled { "one stalled " } else { "none stalled" };
    say(format_args!(
        "  round {n}, {with}: the others p50 {p50_ms:.2} ms, p99 {p99_ms:.2} ms; server at most {peak_kb:.0} kB; \
         its {frames} frames, {conflated} conflated, {gaps} gaps, closed {closed:?}, {resumed} resumed, {reset} reset; {}",
        if *converged { "ends at the newest" } else { "NOT at the newest" }
    ));
}

/// By how much rounds with a stalled one raised the server's peak. Of all of them: what a first one takes and keeps would hide what
/// the others need.
fn grown<'a>(rounds: impl Iterator<Item = &'a Round>) -> f64 {
    let (mut grown, mut peak) = (0.0, None::<f64>);
    for round in rounds {
        let before = peak.unwrap_or(round.peak_kb);
        if round.stalled {
            grown += (round.peak_kb - before).max(0.0);
        }
        peak = Some(before.max(round.peak_kb));
    }
    grown
}

/// The verdicts; true if none says MISSED.
fn judge(measured: &[(Round, Story)]) -> bool {
    let of = |stalled: bool, figure: fn(&Round) -> f64| {
        Spread::of(measured.iter().filter(|(round, _)| round.stalled == stalled).map(|(round, _)| figure(round)))
    };
    let (with, without) = (of(true, |r| r.p99_ms), of(false, |r| r.p99_ms));
    let ratio = with.median / without.median;
    let grown_kb = grown(measured.iter().map(|(round, _)| round));
    let stalls = measured.iter().filter(|(round, _)| round.stalled);
    let (all, newest) = (stalls.clone().count(), stalls.clone().filter(|(round, _)| round.converged).count());
    let gaps: u64 = measured.iter().map(|(_, story)| story.gaps).sum();
    let verdict = |met: bool| if met { "met" } else { "MISSED" };
    // A client of which nothing is conflated and that isn't closed either never stalled.
    let stalled_at_all = stalls.clone().all(|(_, story)| story.conflated > 0 || !story.closed.is_empty());
    let kept = stalls.filter(|(_, story)| story.closed.is_empty()).count();
    let met = [ratio <= P99_RATIO_MAX, grown_kb < GROWTH_MAX_KB, newest == all && gaps == 0 && stalled_at_all];
    say("medians (least to most) of the rounds");
    say(format_args!(
        "  p99 of the others: {with:.2} ms beside a stalled one, {without:.2} without; ratio {ratio:.2} (at most {P99_RATIO_MAX}): {}",
        verdict(met[0])
    ));
    say(format_args!(
        "  server memory: {grown_kb:.0} kB more in all rounds with it together, beyond its peak before each (under {GROWTH_MAX_KB}): {}",
        verdict(met[1])
    ));
    say(format_args!(
        "  the stalled one ended at the newest version of every order in {newest} of {all} rounds, {kept} on its own connection, \
         {} by resuming; {gaps} gaps: {}",
        all - kept,
        verdict(met[2])
    ));
    met.iter().all(|&met| met)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_judged() {
        let round = |stalled, p99_ms, peak_kb, converged| {
            let story = Story { conflated: u64::from(stalled), ..Story::default() };
            (Round { stalled, p50_ms: 1.0, p99_ms, peak_kb, converged }, story)
        };
        let good = [round(false, 10.0, 100.0, true), round(true, 14.9, 2_000.0, true)];
        assert!(judge(&good));
        for bad in [round(true, 15.1, 0.0, true), round(true, 1.0, 2_101.0, true), round(true, 1.0, 100.0, false)] {
            assert!(!judge(&[good[0].clone(), bad]));
        }
        let gap = Story { gaps: 1, ..Story::default() };
        assert!(!judge(&[good[0].clone(), (good[1].0, gap)]));
        assert!(!judge(&[good[0].clone(), (good[1].0, Story::default())]), "it never stalled");
        let more = round(false, 10.0, 9_000.0, true);
        let again = [good[0].clone(), good[1].clone(), more, round(true, 14.9, 9_050.0, true)];
        assert!((grown(again.iter().map(|(round, _)| round)) - 1_950.0).abs() < 1e-6, "1,900 and 50");
    }
}
