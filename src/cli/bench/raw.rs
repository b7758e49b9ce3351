//! The raw limit: what a bare client of the same nats-server does on the same machine.

use super::place;
use crate::{
    clock::Stopwatch,
    domain::{CellId, UnixMillis, cell::Input},
    feed,
    wire::{
        log::{self, Raw},
        subject,
    },
};
use anyhow::{Context as _, ensure};
use async_nats::jetstream::{
    self, Context, Message,
    consumer::{AckPolicy, DeliverPolicy, pull},
};
use futures::StreamExt;
use std::hint::black_box;

/// What one reading of the log took.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    pub messages_per_s: f64,
    /// Of this process.
    pub cpu_us_per_message: f64,
    /// Of nats-server.
    pub server_cpu_us_per_message: f64,
}

impl Reading {
    /// From a watch that was started when `seen` messages had been taken.
    #[allow(clippy::cast_precision_loss, reason = "figures for people")]
    pub(super) fn of(watch: &Stopwatch, messages: u64, seen: u64, cpu_s: f64, server_cpu_s: f64) -> Self {
        let n = messages as f64;
        Self {
            messages_per_s: (messages - seen) as f64 / watch.elapsed().as_secs_f64(),
            cpu_us_per_message: cpu_s / n * 1e6,
            server_cpu_us_per_message: server_cpu_s / n * 1e6,
        }
    }
}

/// A pull consumer as the feed's, without acks, on a log's messages behind the place `after`.
async fn consumer(js: &Context, cell: &CellId, after: u64) -> anyhow::Result<pull::Stream> {
    let options = feed::Options::default();
    let config = pull::Config {
        deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: after + 1 },
        ack_policy: AckPolicy::None,
        memory_storage: true,
        ..pull::Config::default()
    };
    let stream = js.get_stream(subject::log_stream(cell)).await?;
    let consumer = stream.create_consumer(config).await?;
    Ok(consumer
        .stream()
        .max_messages_per_batch(options.batch)
        .max_bytes_per_batch(options.pull_bytes)
        .heartbeat(options.heartbeat)
        .expires(options.expires)
        .messages()
        .await?)
}

/// Reads the log's messages behind the place `after` up to `last`, decodes each and drops it: from the first one's coming
/// to the last one's decoding.
pub(super) async fn decode_and_drop(
    url: &str,
    server: &str,
    cell: &CellId,
    after: u64,
    last: u64,
) -> anyhow::Result<Reading> {
    let count = last - after;
    let js = jetstream::new(async_nats::connect(url).await?);
    let (cpu_s, server_cpu_s) = (place::cpu_s("self"), place::cpu_s(server));
    let mut messages = consumer(&js, cell, after).await?;
    let mut watch = Stopwatch::start();
    for n in 0..count {
        let message = messages.next().await.context("the consumer ended")??;
        if n == 0 {
            watch = Stopwatch::start();
        }
        let entry = log::decode(raw(&message)?);
        ensure!(!matches!(entry.input, Input::Malformed { .. }), "the load is not of the contract: {entry:?}");
        black_box(entry);
    }
    let used = (place::cpu_s("self") - cpu_s, place::cpu_s(server) - server_cpu_s);
    Ok(Reading::of(&watch, count, 1, used.0, used.1))
}

fn raw(message: &Message) -> anyhow::Result<Raw<'_>> {
    let info = message.info().map_err(|e| anyhow::anyhow!("{e}"))?;
    let millis = info.published.unix_timestamp_nanos().div_euclid(1_000_000);
    let key = message.headers.as_ref().and_then(|h| h.get(crate::wire::header::IDEMPOTENCY_KEY));
    Ok(Raw {
        seq: info.stream_sequence,
        log_time: UnixMillis(i64::try_from(millis)?),
        subject: &message.subject,
        payload: &message.payload,
        idempotency_key: key.map(|v| v.as_str()),
        publisher: None,
    })
}
