//! Reads a cell's log, in order and without a gap, into the cell.
//!
//! The only cursor is the store's. A consumer here is a throw-away reader: ephemeral, in memory, without acks, made at
//! the place after the last delivered message and made anew there on any doubt: an error, a missed heartbeat, a
//! reconnect, a sequence that isn't the next. So there is nothing on the server that could disagree with the store.
//!
//! Before each consumer the log proves that it is the one that made the store's state ([`identity`]); one that isn't is
//! not read, and the feed ends with words for an operator.
//!
//! What is in flight is bounded by the sink: the feed waits in [`Sink::deliver`], the consumer's pull requests run dry,
//! and the rest stays in the log.

mod identity;
mod reader;
mod scroll;

use crate::{
    domain::{CellId, UnixMillis},
    metrics::Metrics,
    nats::streams::Log,
    ports::{LogMark, Sink, Stopped, StoreError},
    wire::subject,
};
use async_nats::jetstream::Context;
use identity::Verdict;
use reader::Reader;
pub use scroll::{Scroll, ScrollError};
use std::{sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// How the log is read.
#[derive(Clone, Debug)]
pub struct Options {
    /// Most messages in a batch: what one transaction of the store takes well. A batch is what has come, so only a backlog
    /// fills one; then a larger one writes each order once for more of its fixes.
    pub batch: usize,
    /// Most fixes in a batch: one message may hold 1,000 of them, each a line of the history. A single message that has
    /// more is a batch of its own.
    pub batch_fixes: usize,
    /// Most bytes that a pull request asks for, and so, twice, what waits in memory. At least NATS's `max_payload`.
    pub pull_bytes: usize,
    /// The server says every so often that it is there; two missed ones are a doubt.
    pub heartbeat: Duration,
    /// Life of a pull request.
    pub expires: Duration,
    /// The server forgets a reader that didn't ask for so long.
    pub inactive: Duration,
    /// Between two looks at the backlog.
    pub backlog_every: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            batch: 4_096,
            batch_fixes: 5_000,
            pull_bytes: 16 << 20,
            heartbeat: Duration::from_secs(1),
            expires: Duration::from_secs(5),
            inactive: Duration::from_secs(30),
            backlog_every: Duration::from_secs(1),
        }
    }
}

/// Why the feed ended.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// The log isn't the one that made the store's state. Nothing was read on.
    #[error("{0}")]
    WrongLog(String),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// Waits between attempts to make a consumer: the first is at once.
const MIN_WAIT: Duration = Duration::from_millis(50);
const MAX_WAIT: Duration = Duration::from_secs(1);

/// The last message that the sink took in this run, which may be ahead of what the store has committed.
#[derive(Clone, Copy, Debug)]
struct Delivered {
    seq: u64,
    digest: [u8; 32],
}

/// Reads until `stop` is cancelled (`Ok`) or there is no reading on.
pub async fn run(
    js: Context,
    cell: CellId,
    sink: Arc<dyn Sink>,
    metrics: Metrics,
    options: Options,
    stop: CancellationToken,
) -> Result<(), FeedError> {
    let feed = Feed { stream: subject::log_stream(&cell), js, sink, metrics, options };
    tokio::select! {
        biased;
        () = stop.cancelled() => Ok(()),
        ended = feed.read() => ended,
        () = feed.gauge() => Ok(()),
    }
}

/// Whether a database with this mark was made from the cell's log: what the feed asks before it reads. Gives the log, or
/// words for an operator.
pub async fn belongs(js: &Context, cell: &CellId, mark: LogMark) -> Result<Log, String> {
    match identity::check(js, &subject::log_stream(cell), Some(mark), None, None).await {
        Verdict::Same(log) => Ok(log),
        Verdict::Wrong(reason) => Err(reason),
        Verdict::Unknown(error) => Err(format!("the log can't be looked at: {error}")),
    }
}

#[derive(Debug)]
struct Feed {
    js: Context,
    stream: String,
    sink: Arc<dyn Sink>,
    metrics: Metrics,
    options: Options,
}

impl Feed {
    async fn read(&self) -> Result<(), FeedError> {
        let mut delivered: Option<Delivered> = None;
        let mut created_ns: Option<i64> = None;
        let mut wait = Duration::ZERO;
        loop {
            tokio::time::sleep(wait).await;
            wait = (wait * 2).clamp(MIN_WAIT, MAX_WAIT);
            let mark = self.sink.mark().await?;
            let verdict = identity::check(&self.js, &self.stream, mark, delivered, created_ns).await;
            let log = match verdict {
                Verdict::Same(log) => log,
                Verdict::Wrong(reason) => return Err(FeedError::WrongLog(reason)),
                Verdict::Unknown(error) => {
                    tracing::warn!(error, stream = self.stream, "the log can't be looked at yet");
                    continue;
                }
            };
            created_ns = Some(log.created_ns);
            let from = delivered.map_or_else(|| mark.map_or(0, |m| m.cursor), |d| d.seq) + 1;
            let mut reader = match Reader::open(&self.js, &self.stream, from, &self.options).await {
                Ok(reader) => reader,
                Err(doubt) => {
                    tracing::warn!(%doubt, from, "no consumer yet");
                    continue;
                }
            };
            tracing::info!(stream = self.stream, from, last = log.last_seq, "reading the log");
            let doubt = loop {
                match reader.next().await {
                    Ok(batch) => {
                        let Some(last) = batch.entries.last().map(|r| (r.entry.seq, r.entry.log_time)) else {
                            continue;
                        };
                        let digest = batch.digest;
                        self.observe(batch.entries.len(), last.1);
                        self.sink.deliver(batch).await?;
                        delivered = Some(Delivered { seq: last.0, digest });
                        wait = Duration::ZERO;
                    }
                    Err(doubt) => break doubt,
                }
            };
            self.metrics.feed_restarts.inc();
            tracing::warn!(%doubt, delivered = delivered.map(|d| d.seq), "making the log's consumer anew");
        }
    }

    #[allow(clippy::cast_precision_loss, reason = "figures for a histogram")]
    fn observe(&self, entries: usize, last_log_time: UnixMillis) {
        self.metrics.batch_entries.observe(entries as f64);
        let age_ms = crate::clock::wall().since(last_log_time).max(0);
        let step = crate::metrics::Step { step: "decoded" };
        self.metrics.latency_seconds.get_or_create(&step).observe(age_ms as f64 / 1e3);
    }

    /// Keeps the backlog's gauge, also while the sink takes nothing. Never ends.
    async fn gauge(&self) {
        loop {
            tokio::time::sleep(self.options.backlog_every).await;
            let Ok(Some(LogMark { cursor, .. })) = self.sink.mark().await else { continue };
            let Ok(stream) = self.js.get_stream(&self.stream).await else { continue };
            let behind = Log::from(stream.cached_info()).last_seq.saturating_sub(cursor);
            self.metrics.backlog.set(i64::try_from(behind).unwrap_or(i64::MAX));
        }
    }
}
