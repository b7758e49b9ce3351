//! The owner says the version of each order again and again, on the order's update subject. Clients' consistency rests
//! on this and not on what a bridge believes: whoever missed a delta learns of it here, though nothing else happens.

use super::encode;
use crate::{
    domain::CellId,
    ports::Owner,
    wire::{subject, update::Update},
};
use async_nats::Client;
use std::{sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// How often.
#[derive(Clone, Debug)]
pub struct Options {
    /// Each order's heartbeat comes this often. A bridge promises 10 s to its clients; half of that lets one be lost.
    pub every: Duration,
    /// Heartbeats published in one go; the goes are spread over the period, so that deltas don't queue behind them.
    pub chunk: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { every: Duration::from_secs(5), chunk: 200 }
    }
}

/// Says versions until `stop` is cancelled.
pub async fn run(client: Client, cell: CellId, owner: Arc<dyn Owner>, options: Options, stop: CancellationToken) {
    let mut period = tokio::time::interval(options.every);
    period.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let beat = async {
        loop {
            period.tick().await;
            say(&client, &cell, owner.as_ref(), &options).await;
        }
    };
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        () = beat => {}
    }
}

async fn say(client: &Client, cell: &CellId, owner: &dyn Owner, options: &Options) {
    let epoch = owner.epoch();
    let versions = owner.versions().await;
    let chunks = versions.len().div_ceil(options.chunk).max(1);
    // Four fifths of the period: the rest is for a slow pass.
    let pause = options.every * 4 / 5 / u32::try_from(chunks).unwrap_or(u32::MAX);
    for (n, chunk) in versions.chunks(options.chunk).enumerate() {
        if n > 0 {
            tokio::time::sleep(pause).await;
        }
        for (order, version) in chunk {
            let Some(payload) = encode(&Update::Heartbeat { epoch, version: *version }) else { continue };
            if let Err(error) = client.publish(subject::update_order(cell, order), payload).await {
                tracing::warn!(%error, %order, "heartbeat not published");
                return;
            }
        }
    }
}
