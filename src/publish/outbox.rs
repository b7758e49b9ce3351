//! From the store's outbox into streams. An entry is deleted when its PubAck is in, and not before; a crash between
//! the two publishes it again, and the stream knows it by its subject.
//!
//! Several streams share the outbox, and one that is full or gone must not hold up the others: its entries are left
//! where they are, in their order, and tried again after a while, and the rest goes past them.

use super::once::{self, Backoff, OnceError, Stored};
use crate::{
    clock,
    domain::{CellId, UnixMillis},
    metrics::Metrics,
    nats::streams,
    ports::{Outbox, OutboxItem, StoreError},
    wire::{header, subject},
};
use async_nats::{
    HeaderMap, HeaderName, HeaderValue,
    jetstream::{Context, context::PublishAckFuture},
};
use bytes::Bytes;
use futures::{StreamExt, stream};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

/// How the outbox is drained.
#[derive(Clone, Debug)]
pub struct Options {
    /// Entries in flight at once.
    pub window: usize,
    /// Looks for entries this often even if nobody said that there are any.
    pub look_every: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { window: 256, look_every: Duration::from_secs(5) }
    }
}

/// Room that subject and headers of a dead letter take beside the original's payload.
const HEADROOM_BYTES: usize = 16 << 10;

/// This machine's clock may be so far behind the NATS server's: what an entry's stream is about to forget isn't published
/// again either.
const CLOCKS_MS: i64 = 5 * 60 * 1_000;

/// Whether its stream may have had the entry and forgotten it.
fn is_expired(item: &OutboxItem, wall: UnixMillis) -> bool {
    let (Some(log_time), Some(kept)) = (item.log_time, streams::kept_for(&item.subject)) else { return false };
    let kept_ms = i64::try_from(kept.as_millis()).unwrap_or(i64::MAX);
    wall.since(log_time) > kept_ms - CLOCKS_MS
}
/// How much of that the original's own headers may take.
const KEPT_HEADER_BYTES: usize = 8 << 10;

/// Drains the outbox until `stop` is cancelled (`Ok`) or the store is gone.
pub async fn run(
    js: Context,
    cell: CellId,
    outbox: Arc<dyn Outbox>,
    nudge: Arc<Notify>,
    metrics: Metrics,
    options: Options,
    stop: CancellationToken,
) -> Result<(), StoreError> {
    let mut drain =
        Drain { js, cell, outbox, metrics, options, seen: 0, behind: BTreeMap::new(), set_aside: BTreeMap::new() };
    loop {
        // Given up in the middle, entries are published again at the next start, which is harmless.
        let wait = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            looked = drain.look() => looked?,
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            () = nudge.notified() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Why an entry was not even sent.
enum Unsent {
    /// It never will be; others go past it.
    TooLarge,
    Unreachable(String),
}

/// A stream that refused an entry (it is full, say) or didn't answer. Its entries wait for it; others go past them.
struct Behind {
    /// None of those that wait has a lower id.
    first: i64,
    again: Instant,
    backoff: Backoff,
}

impl Behind {
    fn rest(&mut self, first: i64) {
        self.first = first;
        self.again = Instant::now() + self.backoff.next();
    }
}

/// What it knows of entries is a place for each stream, however many of them wait.
struct Drain {
    js: Context,
    cell: CellId,
    outbox: Arc<dyn Outbox>,
    metrics: Metrics,
    options: Options,
    /// Every entry up to this id was looked at: it is gone, or set aside, or its stream is behind.
    seen: i64,
    /// By what tells the stream, see [`subject::outbox_target`].
    behind: BTreeMap<String, Behind>,
    /// The last entry of each stream that was set aside: within a stream they are looked at in order, so one that isn't
    /// above was set aside before. Set aside ones are tried again at the next start.
    set_aside: BTreeMap<String, i64>,
}

/// What a page of entries came to.
#[derive(Default)]
struct Sent {
    stored: usize,
    /// The oldest entry of each stream that was not stored.
    left: BTreeMap<String, i64>,
}

impl Drain {
    /// Looks at a page of new entries, and at one of each stream whose wait is over. Gives how long to wait for the next
    /// look if nobody says that there is something new.
    async fn look(&mut self) -> Result<Duration, StoreError> {
        let mut more = self.first_try().await?;
        let due = |behind: &Behind| behind.again <= Instant::now();
        let streams: Vec<String> = self.behind.iter().filter(|(_, b)| due(b)).map(|(s, _)| s.clone()).collect();
        for stream in streams {
            self.next_try(&stream).await?;
        }
        more |= self.behind.values().any(due);
        let next = self.behind.values().map(|b| b.again.saturating_duration_since(Instant::now())).min();
        let wait = next.map_or(self.options.look_every, |next| next.min(self.options.look_every));
        Ok(if more { Duration::ZERO } else { wait })
    }

    /// A page of entries that were never looked at; whether there may be more. Those of a stream that is behind stay
    /// behind the older ones.
    async fn first_try(&mut self) -> Result<bool, StoreError> {
        let entries = self.outbox.pending(self.seen, self.options.window).await?;
        let Some((last, _)) = entries.last() else { return Ok(false) };
        let (last, more) = (*last, entries.len() == self.options.window);
        let is_free = |item: &OutboxItem| !self.behind.contains_key(subject::outbox_target(&item.subject));
        let sent = self.send(entries.into_iter().filter(|(_, item)| is_free(item)).collect()).await?;
        for (stream, first) in sent.left {
            let mut behind = Behind { first, again: Instant::now(), backoff: Backoff::default() };
            behind.rest(first);
            self.behind.insert(stream, behind);
        }
        self.seen = last;
        Ok(more)
    }

    /// A page of what waits for `stream`.
    async fn next_try(&mut self, stream: &str) -> Result<(), StoreError> {
        let Some(first) = self.behind.get(stream).map(|b| b.first) else { return Ok(()) };
        let entries = self.outbox.pending(first.saturating_sub(1), self.options.window).await?;
        let more = entries.len() == self.options.window;
        let next = entries.last().map_or(i64::MAX, |(last, _)| last.saturating_add(1));
        let seen = self.seen;
        let waits = |id: i64, item: &OutboxItem| id <= seen && subject::outbox_target(&item.subject) == stream;
        let sent = self.send(entries.into_iter().filter(|(id, item)| waits(*id, item)).collect()).await?;
        let Some(behind) = self.behind.get_mut(stream) else { return Ok(()) };
        if sent.stored > 0 {
            behind.backoff.reset();
        }
        match sent.left.get(stream) {
            Some(first) => behind.rest(*first),
            None if more && next <= seen => behind.first = next,
            None => drop(self.behind.remove(stream)),
        }
        Ok(())
    }

    /// Publishes entries and deletes those that are stored.
    async fn send(&mut self, entries: Vec<(i64, OutboxItem)>) -> Result<Sent, StoreError> {
        let mut sent = Sent::default();
        // Queued one after the other, so in the order of the outbox; the acks are waited for together.
        let mut acks = Vec::with_capacity(entries.len());
        let mut expired = Vec::new();
        for (id, item) in entries {
            let stream = subject::outbox_target(&item.subject).to_owned();
            if sent.left.contains_key(&stream) {
                // It would wait as long as the one before.
                continue;
            }
            if is_expired(&item, clock::wall()) {
                expired.push(id);
                continue;
            }
            let subject = item.subject.clone();
            match self.publish(item).await {
                Ok(ack) => acks.push((id, stream, ack)),
                Err(Unsent::TooLarge) => self.set_aside(id, &subject, stream),
                Err(Unsent::Unreachable(error)) => {
                    tracing::warn!(id, subject, error, "outbox entry not published yet");
                    sent.left.insert(stream, id);
                }
            }
        }
        let mut acked = stream::iter(acks)
            .map(|(id, stream, ack)| async move { (id, stream, once::stored(ack).await) })
            .buffer_unordered(self.options.window);
        let mut stored = Vec::new();
        let mut refused: BTreeMap<String, (usize, OnceError)> = BTreeMap::new();
        while let Some((id, stream, result)) = acked.next().await {
            match result {
                // On subjects that only owners use, a message that was there is this one.
                Ok(Stored::Now | Stored::Before) => stored.push(id),
                Err(error) => {
                    let first = sent.left.entry(stream.clone()).or_insert(id);
                    *first = id.min(*first);
                    refused.entry(stream).or_insert((0, error)).0 += 1;
                }
            }
        }
        drop(acked);
        for (stream, (entries, error)) in refused {
            tracing::warn!(stream, entries, %error, "outbox entries not stored yet");
        }
        sent.stored = stored.len();
        if !expired.is_empty() {
            tracing::warn!(entries = expired.len(), "outbox entries dropped: older than their streams keep messages");
            self.metrics.outbox_expired.inc_by(expired.len() as u64);
            stored.append(&mut expired);
        }
        if !stored.is_empty() {
            self.outbox.done(stored).await?;
        }
        Ok(sent)
    }

    /// Takes note of an entry that can't be sent; once, however often it is met.
    fn set_aside(&mut self, id: i64, subject: &str, stream: String) {
        let last = self.set_aside.entry(stream).or_insert(0);
        if id > *last {
            *last = id;
            self.metrics.outbox_set_aside.inc();
            tracing::error!(id, subject, "outbox entry is larger than NATS takes; it is kept, others go past it");
        }
    }

    async fn publish(&self, item: OutboxItem) -> Result<PublishAckFuture, Unsent> {
        let OutboxItem { subject, headers, payload, log_time: _ } = item;
        let mut map = HeaderMap::new();
        for (name, value) in &headers {
            // A reason may quote what a publisher sent: no line breaks in headers.
            let value: String = value.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
            match (name.parse::<HeaderName>(), value.parse::<HeaderValue>()) {
                (Ok(name), Ok(value)) => map.insert(name, value),
                (Err(_), _) | (_, Err(_)) => tracing::warn!(name, subject, "a header of an outbox entry is left out"),
            }
        }
        let payload = match self.dead_sequence(&subject, &headers) {
            Some(seq) if payload.is_empty() => self.original(seq, &mut map).await?,
            Some(_) | None => payload,
        };
        once::publish(&self.js, subject, map, payload)
            .await
            .map_err(|e| if e.is_too_large() { Unsent::TooLarge } else { Unsent::Unreachable(e.to_string()) })
    }

    /// The place of the message that a dead letter is about; `None` for other entries.
    fn dead_sequence(&self, subject: &str, headers: &[(String, String)]) -> Option<u64> {
        let (_, seq) = headers.iter().find(|(name, _)| name == header::DEAD_SEQUENCE)?;
        let seq = seq.parse().ok()?;
        (subject::dead(&self.cell, seq) == subject).then_some(seq)
    }

    /// The message in the log at `seq`, which the dead letter repeats, unless it is gone: nothing else keeps it.
    async fn original(&self, seq: u64, headers: &mut HeaderMap) -> Result<Bytes, Unsent> {
        let log = self.js.get_stream_no_info(subject::log_stream(&self.cell)).await;
        let log = log.map_err(|e| Unsent::Unreachable(e.to_string()))?;
        let message = match log.get_raw_message(seq).await {
            Ok(message) => message,
            Err(error) if streams::is_gone(&error) => return Ok(Bytes::new()),
            Err(error) => return Err(Unsent::Unreachable(error.to_string())),
        };
        headers.insert(header::DEAD_SUBJECT, message.subject.as_str());
        if !keep(&message.headers, headers) {
            headers.append(header::DEAD_LEFT_OUT, "headers");
        }
        let room = self.js.client().max_payload().saturating_sub(HEADROOM_BYTES);
        if message.payload.len() > room {
            tracing::warn!(seq, bytes = message.payload.len(), "the dead letter goes without its payload: too large");
            headers.append(header::DEAD_LEFT_OUT, "payload");
            return Ok(Bytes::new());
        }
        Ok(message.payload)
    }
}

/// Copies what a dead letter keeps of the original's headers, those that decide something first; whether all fit.
fn keep(original: &HeaderMap, kept: &mut HeaderMap) -> bool {
    let mut room = KEPT_HEADER_BYTES;
    let mut all = true;
    let decides = |name: &str| name == header::IDEMPOTENCY_KEY || name == header::PUBLISHER;
    let names = original.iter().map(|(name, _)| name).filter(|name| header::is_kept(name.as_ref()));
    let (first, rest): (Vec<_>, Vec<_>) = names.partition(|name| decides(name.as_ref()));
    for name in first.into_iter().chain(rest) {
        // The last value: the one that the feed read.
        let Some(value) = original.get_last(name.clone()) else { continue };
        let bytes = name.to_string().len() + value.as_str().len();
        match room.checked_sub(bytes) {
            Some(left) => {
                room = left;
                kept.insert(name.clone(), value.clone());
            }
            None => all = false,
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_letter_keeps_what_decides_before_what_is_large() {
        let mut original = HeaderMap::new();
        original.insert("Comment", "x".repeat(KEPT_HEADER_BYTES));
        original.insert(header::IDEMPOTENCY_KEY, "k1");
        original.insert(header::PUBLISHER, "system.shop");
        original.insert(header::REPLY, "_INBOX.gone");
        original.insert("Nats-Rollup", "all");
        let mut kept = HeaderMap::new();
        assert!(!keep(&original, &mut kept));
        assert_eq!(kept.len(), 2);
        assert_eq!(kept.get(header::IDEMPOTENCY_KEY).unwrap().as_str(), "k1");
        original.insert("Comment", "short");
        assert!(keep(&original, &mut kept));
        assert_eq!(kept.get("Comment").unwrap().as_str(), "short");
    }
}
