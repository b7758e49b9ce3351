//! Subscribers: many cheap sockets, and one tally of what they hear.

use super::{
    super::{
        figures::Latency,
        socket::{Heard, Socket, sent_us},
    },
    frame::SENT_BASE_US,
    server::Server,
};
use crate::clock::Stopwatch;
use anyhow::{Context as _, ensure};
use futures::{StreamExt, TryStreamExt};
use parking_lot::Mutex;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Connections opened at once.
const AT_ONCE: usize = 64;
const PATIENCE: Duration = Duration::from_secs(60);

/// What was heard.
#[derive(Debug)]
pub(in crate::cli::bench) struct Tally {
    pub(in crate::cli::bench) since: Stopwatch,
    updates: AtomicU64,
    /// Connections that ended by themselves.
    ended: AtomicU64,
    samples: Mutex<Vec<Duration>>,
}

impl Default for Tally {
    fn default() -> Self {
        let (updates, ended) = Default::default();
        Self { since: Stopwatch::start(), updates, ended, samples: Mutex::default() }
    }
}

impl Tally {
    /// When an update is sent that is sent now.
    pub(in crate::cli::bench) fn sent_us(&self) -> u64 {
        SENT_BASE_US + u64::try_from(self.since.elapsed().as_micros()).unwrap_or_default()
    }

    /// Updates heard so far.
    pub(in crate::cli::bench) fn updates(&self) -> u64 {
        self.updates.load(Ordering::Relaxed)
    }

    pub(in crate::cli::bench) fn ended(&self) -> u64 {
        self.ended.load(Ordering::Relaxed)
    }

    /// Latencies since the last time.
    pub(in crate::cli::bench) fn take(&self) -> Latency {
        Latency::of(std::mem::take(&mut *self.samples.lock()))
    }

    /// Listens until `stop`.
    pub(in crate::cli::bench) async fn listen(self: Arc<Self>, mut socket: Socket, stop: CancellationToken) {
        let mut samples = Vec::new();
        let listening = async {
            loop {
                // Heartbeats and the like are no updates.
                let going_on = socket.hear(|heard| match heard {
                    Heard::Text(text) => samples.extend(sent_us(text)),
                    Heard::Ping(_) | Heard::Close(_) | Heard::Other => {}
                });
                let going_on = going_on.await.unwrap_or(false);
                self.count(&mut samples);
                if !going_on {
                    self.ended.fetch_add(1, Ordering::Relaxed);
                    return;
                }
            }
        };
        stop.run_until_cancelled(listening).await;
    }

    fn count(&self, sent: &mut Vec<u64>) {
        self.updates.fetch_add(sent.len() as u64, Ordering::Relaxed);
        if sent.is_empty() {
            return;
        }
        let now = self.sent_us();
        let took = sent.drain(..).map(|sent_us| Duration::from_micros(now.saturating_sub(sent_us)));
        self.samples.lock().extend(took);
        // A backlog's room is given back: it is one of thousands.
        sent.shrink_to(16);
    }
}

/// Subscribers of one server, until dropped.
#[derive(Debug)]
pub(super) struct Crowd {
    pub(super) tally: Arc<Tally>,
    pub(super) size: u32,
    stop: CancellationToken,
}

impl Crowd {
    /// `each` subscribers on each of the channels 0 to `channels`; resolves when all of them are subscribed.
    pub(super) async fn gather(server: &Server, channels: u32, each: u32, tasks: &TaskTracker) -> anyhow::Result<Self> {
        let size = channels * each;
        let sockets = futures::stream::iter(0..size).map(|n| server.subscribe(n % channels));
        let sockets = sockets.buffer_unordered(AT_ONCE).try_collect().await.context(server.name())?;
        Ok(Self::listening(sockets, size, tasks))
    }

    /// Connections that are subscribed to nothing.
    pub(super) async fn silent(server: &Server, size: u32, tasks: &TaskTracker) -> anyhow::Result<Self> {
        let sockets = futures::stream::iter(0..size).map(|_| server.connect());
        let sockets = sockets.buffer_unordered(AT_ONCE).try_collect().await.context(server.name())?;
        Ok(Self::listening(sockets, size, tasks))
    }

    fn listening(sockets: Vec<Socket>, size: u32, tasks: &TaskTracker) -> Self {
        let (tally, stop) = (Arc::new(Tally::default()), CancellationToken::new());
        for socket in sockets {
            tasks.spawn(tally.clone().listen(socket, stop.clone()));
        }
        Self { tally, size, stop }
    }

    /// Waits until so many updates were heard, or none comes any more.
    pub(super) async fn heard(&self, updates: u64) {
        let (since, mut last) = (Stopwatch::start(), 0);
        while self.tally.updates() < updates && since.elapsed() < PATIENCE {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let now = self.tally.updates();
            if now == last {
                return;
            }
            last = now;
        }
    }

    /// Whether all are still there.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        ensure!(self.tally.ended() == 0, "{} subscribers were thrown out", self.tally.ended());
        Ok(())
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
