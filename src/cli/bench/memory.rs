//! Memory: resident size of a fresh server process per active order and per idle WebSocket connection. A process that was
//! busy before under-reports, since it fills holes that it has, so each figure has a process of its own.

use super::{
    super::outside::say,
    load::{BEGIN, Load, SET_UP, STEP_MS},
    node::Node,
    place::Place,
};
use crate::{clock, nats::server::NatsServer};
use anyhow::{Context as _, ensure};
use futures::{StreamExt, TryStreamExt};
use std::{path::Path, time::Duration};
use tokio_util::task::TaskTracker;

/// Connections opened at once.
const AT_ONCE: usize = 64;
/// Fixes of each order: a few minutes under way.
const STEPS: u32 = 40;

/// How many.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(super) struct MemoryArgs {
    /// Active orders, each with a rider.
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(10..=1_000_000))]
    orders: u32,
    /// Idle WebSocket connections.
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(10..=1_000_000))]
    connections: u32,
}

impl Default for MemoryArgs {
    fn default() -> Self {
        Self { orders: 20_000, connections: 5_000 }
    }
}

pub(super) async fn run(args: MemoryArgs, place: &Place) -> anyhow::Result<()> {
    let tasks = TaskTracker::new();
    place.fresh("memory")?;
    let nats = place.nats("memory", &tasks).await?;
    orders(args.orders, &nats, &place.fresh("memory-data")?).await?;
    connections(args.connections, &nats, &place.fresh("memory-data")?).await?;
    nats.stop().await;
    tasks.close();
    tasks.wait().await;
    Ok(())
}

/// kB per order.
#[derive(Clone, Copy, Debug)]
pub(super) struct PerOrder {
    /// With all first-time costs.
    pub(super) over_all_kb: f64,
    /// Of the second half of the orders.
    pub(super) second_half_kb: f64,
}

/// Half of the orders, and then the other half: the second has no first-time costs in it.
pub(super) async fn orders(orders: u32, nats: &NatsServer, data: &Path) -> anyhow::Result<PerOrder> {
    let node = Node::start(nats, data, "tracker,bridge")?;
    node.applied(BEGIN).await?;
    let client = async_nats::connect(nats.url()).await?;
    let load = Load::new(orders);
    let start_ms = clock::wall().0 + STEP_MS;
    // Behind the rules that the tracker put there.
    load.rules(&client).await?;
    let (mut kb, mut sent) = (vec![node.rss_kb().await], BEGIN + 1);
    for (turn, half) in (0u32..).zip([0..orders / 2, orders / 2..orders]) {
        let count = u64::from(half.end - half.start);
        load.set_up(&client, half.clone()).await?;
        sent += SET_UP * count;
        for step in turn * STEPS..(turn + 1) * STEPS {
            load.step(&client, step, start_ms + i64::from(step) * STEP_MS, half.clone()).await?;
            sent += 1 + count;
            // Not faster than it is applied: a backlog's buffers are no order's memory.
            load.stored(&client, sent).await?;
            node.applied(sent).await?;
        }
        kb.push(node.rss_kb().await);
    }
    let [empty, half, full] = kb.as_slice() else { anyhow::bail!("three figures were due") };
    let per_order = |kb: f64, orders: u32| kb / f64::from(orders);
    let over_all_kb = per_order(full - empty, orders);
    let second_half_kb = per_order(full - half, orders - orders / 2);
    say(format_args!("active orders, {orders} with {STEPS} fixes each, one rider each; resident kB of the server:"));
    say(format_args!("  empty {empty:.0}, half {half:.0}, full {full:.0}"));
    say(format_args!("  kB per order (goal: 11): {over_all_kb:.2} over all, {second_half_kb:.2} for the second half"));
    node.end().await;
    Ok(PerOrder { over_all_kb, second_half_kb })
}

async fn connections(connections: u32, nats: &NatsServer, data: &Path) -> anyhow::Result<()> {
    let node = Node::start(nats, data, "bridge")?;
    let url = node.http.ws_url();
    let connect = async || {
        let (mut socket, _) = tokio_tungstenite::connect_async(&url).await?;
        // The server's hello: it has done its part.
        socket.next().await.context("the connection ended")??;
        anyhow::Ok(socket)
    };
    // It takes a moment until the server listens, and the first connection pays for what all share.
    let mut patience = 0;
    let first = loop {
        match connect().await {
            Ok(socket) => break socket,
            Err(error) => ensure!(patience < 200, "no connection: {error}"),
        }
        patience += 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let before = node.rss_kb().await;
    let all: Vec<_> =
        futures::stream::iter(0..connections).map(|_| connect()).buffer_unordered(AT_ONCE).try_collect().await?;
    let after = node.rss_kb().await;
    say(format_args!(
        "idle WebSocket connections, {}; resident kB of the server: {before:.0}, then {after:.0}",
        all.len()
    ));
    say(format_args!("  kB per connection (goal: 7): {:.2}", (after - before) / f64::from(connections)));
    drop((first, all));
    node.end().await;
    Ok(())
}
