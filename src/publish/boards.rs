//! What the owner says to boards: twice a second what changed in the cell, and with every heartbeat the cell's version and
//! the documents of riders once more. Only what somebody asked for lately; with nobody asking, this says nothing.

use super::encode;
use crate::{
    domain::CellId,
    ports::Owner,
    wire::{board::CellWord, subject},
};
use async_nats::Client;
use bytes::Bytes;
use std::{sync::Arc, time::Duration};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

/// How often.
#[derive(Clone, Debug)]
pub struct Options {
    /// What changed in the cell, conflated over this time. Nobody's eye needs it sooner on a map of a whole city, and a rider
    /// who sends a fix every second costs two rows instead of many.
    pub cell_every: Duration,
    /// As the orders' heartbeat.
    pub heartbeat: Duration,
    /// Riders' documents said again in one go; the goes are spread over the period.
    pub chunk: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { cell_every: Duration::from_millis(500), heartbeat: Duration::from_secs(5), chunk: 200 }
    }
}

/// Says it until `stop` is cancelled.
pub async fn run(client: Client, cell: CellId, owner: Arc<dyn Owner>, options: Options, stop: CancellationToken) {
    let saying = async {
        tokio::join!(say_cell(&client, &cell, &*owner, &options), say_riders(&client, &cell, &*owner, &options))
    };
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        _ = saying => {}
    }
}

async fn say_cell(client: &Client, cell: &CellId, owner: &dyn Owner, options: &Options) {
    let (mut often, mut beats) = (tokio::time::interval(options.cell_every), tokio::time::interval(options.heartbeat));
    often.set_missed_tick_behavior(MissedTickBehavior::Delay);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        // One loop for both, so that no heartbeat overtakes what it counts.
        let words: Vec<CellWord> = tokio::select! {
            _ = often.tick() => owner.cell_words(),
            _ = beats.tick() => owner.cell_words().into_iter().chain(owner.cell_heartbeat()).collect(),
        };
        for word in words {
            publish(client, subject::update_cell(cell), encode(&word)).await;
        }
    }
}

async fn say_riders(client: &Client, cell: &CellId, owner: &dyn Owner, options: &Options) {
    let mut beats = tokio::time::interval(options.heartbeat);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        beats.tick().await;
        let words = owner.rider_words();
        let chunks = words.len().div_ceil(options.chunk).max(1);
        // As with the orders: the rest of the period is for a slow pass.
        let pause = options.heartbeat * 4 / 5 / u32::try_from(chunks).unwrap_or(u32::MAX);
        for (n, chunk) in words.chunks(options.chunk).enumerate() {
            if n > 0 {
                tokio::time::sleep(pause).await;
            }
            for word in chunk {
                publish(client, subject::update_rider(cell, &word.rider), encode(word)).await;
            }
        }
    }
}

/// Waits for room in the client's buffer.
async fn publish(client: &Client, subject: String, payload: Option<Bytes>) {
    let Some(payload) = payload else { return };
    if let Err(error) = client.publish(subject, payload).await {
        tracing::warn!(%error, "a board's word is not published");
    }
}
