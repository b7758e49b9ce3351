//! A nats-server on a free port with a store of its own, and parties around it.

use async_nats::{Client, jetstream::Context};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use std::{path::PathBuf, process::Command, sync::Arc, time::Duration};
use tempfile::TempDir;
use trunkline::{
    domain::CellId,
    nats::{
        self,
        server::{Launch, Process, Ready},
        streams::{self, Log},
    },
    ports::{LogMark, Sink, Stopped, StoreError},
    wire::log::Batch,
};

pub(crate) struct Server {
    pub(crate) dir: TempDir,
    pub(crate) ready: Ready,
    process: Option<Process>,
}

impl Server {
    pub(crate) async fn start() -> Self {
        let dir = TempDir::new().unwrap();
        let (ready, process) = launch(&dir).start().await.unwrap();
        Self { dir, ready, process: Some(process) }
    }

    /// As a crash would.
    pub(crate) async fn kill(&mut self) {
        self.process.take().unwrap().kill().await;
    }

    pub(crate) async fn again(&mut self) {
        self.process = Some(self.ready.again().await.unwrap());
    }

    pub(crate) async fn client(&self) -> Client {
        let options = nats::Options::new(self.ready.url(), "test");
        let client = nats::connect(&options).await.unwrap();
        nats::ready(&client, &options, Duration::from_secs(10)).await.unwrap();
        client
    }

    pub(crate) async fn jetstream(&self) -> Context {
        nats::client::jetstream(&self.client().await)
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.dir.path().join("jetstream")
    }

    pub(crate) fn copy_of_store(&self) -> PathBuf {
        self.dir.path().join("copy")
    }
}

pub(crate) fn launch(dir: &TempDir) -> Launch {
    let installed = Command::new("scripts/nats").arg("path").output().unwrap();
    assert!(installed.status.success(), "{}", String::from_utf8_lossy(&installed.stderr));
    Launch::for_test(dir.path())
}

pub(crate) async fn ensure(js: &Context) -> Log {
    streams::ensure(js, &CellId::default(), &small()).await.unwrap()
}

pub(crate) fn small() -> streams::Options {
    streams::Options {
        log_max_bytes: 512 << 20,
        task_max_bytes: 16 << 20,
        alert_max_bytes: 16 << 20,
        dead_max_bytes: 16 << 20,
        replicas: 1,
    }
}

/// A cell that keeps what it was given and commits at once, or only as far as it is told.
#[derive(Debug, Default)]
pub(crate) struct Keeper {
    pub(crate) created_ns: Option<i64>,
    /// Sequence, subject kind and digest are enough to see order, gaps and repetition.
    pub(crate) seen: Mutex<Vec<u64>>,
    pub(crate) mark: Mutex<Option<LogMark>>,
    pub(crate) largest: Mutex<usize>,
    /// Fixes (or messages without) of each batch.
    pub(crate) weights: Mutex<Vec<usize>>,
    /// The store has committed no further than this, whatever was delivered.
    pub(crate) commit_up_to: Mutex<Option<u64>>,
    /// The next batch takes this long.
    pub(crate) pause_once: Mutex<Option<Duration>>,
}

impl Keeper {
    pub(crate) fn new(log: Log) -> Arc<Self> {
        Arc::new(Self {
            created_ns: Some(log.created_ns),
            mark: Mutex::new(Some(LogMark { created_ns: log.created_ns, cursor: 0, digest: [0; 32] })),
            ..Self::default()
        })
    }

    pub(crate) fn count(&self) -> usize {
        self.seen.lock().len()
    }

    pub(crate) fn last(&self) -> u64 {
        self.seen.lock().last().copied().unwrap_or(0)
    }
}

/// What the feed is given.
#[derive(Debug)]
pub(crate) struct KeeperSink(pub(crate) Arc<Keeper>);

impl Sink for KeeperSink {
    fn deliver(&self, batch: Batch) -> BoxFuture<'static, Result<(), Stopped>> {
        let keeper = Arc::clone(&self.0);
        Box::pin(async move {
            let pause = keeper.pause_once.lock().take();
            if let Some(pause) = pause {
                tokio::time::sleep(pause).await;
            }
            let last = batch.entries.last().unwrap().entry.seq;
            keeper.weights.lock().push(batch.entries.iter().map(|r| r.weight()).sum());
            keeper.seen.lock().extend(batch.entries.iter().map(|r| r.entry.seq));
            let mut largest = keeper.largest.lock();
            *largest = (*largest).max(batch.entries.len());
            if keeper.commit_up_to.lock().is_none_or(|most| last <= most) {
                let created_ns = keeper.created_ns.unwrap_or(0);
                *keeper.mark.lock() = Some(LogMark { created_ns, cursor: last, digest: batch.digest });
            }
            Ok(())
        })
    }

    fn mark(&self) -> BoxFuture<'static, Result<Option<LogMark>, StoreError>> {
        let mark = *self.0.mark.lock();
        Box::pin(async move { Ok(mark) })
    }
}

/// Waits for a state, not for a time; the time is only when to give up.
pub(crate) async fn until(what: &str, mut reached: impl FnMut() -> bool) {
    for _ in 0..6_000 {
        if reached() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("waited in vain for {what}");
}

/// Waits until the server has taken everything that this client said, subscriptions too: it answers in order, while a
/// flush only empties the client's own buffer.
pub(crate) async fn settled(client: &async_nats::Client) {
    client.request("$JS.API.INFO", "".into()).await.unwrap();
}
