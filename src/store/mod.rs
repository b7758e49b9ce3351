//! The store of one cell: a SQLite file with one writer thread and a few readers.
//!
//! The state of a cell is a function of its log, and the cursor into the log is written in the same transaction as the
//! state. That is why `synchronous=NORMAL` is enough: after a power cut the last commits may be gone, but state, outbox
//! and cursor are gone together, and the log gives them again. A commit that has resolved survives the death of the
//! process, whenever it comes.
//!
//! [`Store`] implements the ports that actors and publishers see; what only the owner of the cell reads (lists, deltas,
//! tracks, everything at a start) are methods of its own. [`state_hash`] proves that two files hold the same state.

mod alerts;
mod checkpoint;
mod conditions;
mod copy;
mod deltas;
mod hash;
mod list;
mod look;
mod outcomes;
mod passed;
mod read;
mod readers;
mod rows;
mod schema;
mod track;
mod writer;

#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod kill;
#[cfg(test)]
mod tests;

pub use alerts::AlertRow;
pub use copy::{CopyError, copy, mark, readopt};
pub use hash::{HashError, StateHash, TableHash, state_hash};
pub use list::ListError;
pub use look::{Look, LookError, StoredOrder};
pub use outcomes::Counts;
pub use read::CellImage;
pub use schema::SchemaError;

use crate::{
    domain::{AlertKind, CellId, OrderId, RiderId, UnixMillis, effect::TimerKind},
    metrics::Metrics,
    ports::{self, Commit, LogMark, OrderImage, OutboxItem, StoreError},
    wire::{
        alert::{AlertBody, AlertPage, AlertQuery, AlertsQuery},
        query,
    },
};
use bytes::Bytes;
use checkpoint::Checkpointer;
use futures::future::BoxFuture;
use readers::Readers;
use rusqlite::Connection;
use std::{path::Path, sync::Arc, time::Duration};
use writer::{StartError, Writer};

/// How long to wait for another program that has the file locked (`sqlite3`, a backup).
const BUSY: Duration = Duration::from_secs(5);

/// Settings of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Commits that may be in flight. A caller that has more is not waiting for them: that commit and all later ones
    /// are refused. 64: the cell keeps two or three.
    pub queued_commits: usize,
    /// Most jobs in a transaction. 64: the whole queue.
    pub group_jobs: usize,
    /// No more jobs are taken into a transaction that has so many rows already. 20,000 rows are about 0.2 s, so that
    /// nobody waits longer for a commit because of those that came with it.
    pub group_rows: usize,
    /// Reads for those who ask (lists, deltas, tracks, snapshots) at once, each on a connection and a blocking thread of
    /// its own. 2: one long list doesn't hold up the next query. What the cell itself reads has another connection, so
    /// that no query ever holds up the log.
    pub readers: usize,
    /// Page cache of the writer. 64 MiB: the rows of some 15,000 active orders and the tops of all indexes, so that a
    /// commit of scattered orders doesn't read.
    pub cache_kib: i64,
    /// Page cache of each reader. 8 MiB: the tops of the indexes; the system's cache holds the rest of the file.
    pub reader_cache_kib: i64,
    /// How much of the file readers map into memory; the writer maps nothing. 0: a mapping saves a copy of each page,
    /// but with it a failing disk comes as a signal that ends the process, not as the error of one read.
    pub mmap_bytes: i64,
    /// How often the write-ahead log is copied into the file while there is work. 500 ms: rarely enough that pages that
    /// change all the time are copied once for many commits, and often enough that a restart has little to read.
    pub checkpoint_ms: u64,
    /// Pages in the write-ahead log after which the writer copies what is left itself, so that the log can start over.
    /// 8,000 pages (32 MB).
    pub checkpoint_pages: u32,
    /// Largest size of the file in pages of 4 KiB, as a quota; beyond it a commit fails as on a full disk. None by
    /// default. (4 KiB pages, SQLite's default: commits touch scattered orders of 1–2 kB, and each touched page is written
    /// whole.)
    pub max_pages: Option<u32>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            queued_commits: 64,
            group_jobs: 64,
            group_rows: 20_000,
            readers: 2,
            cache_kib: 64 * 1024,
            reader_cache_kib: 8 * 1024,
            mmap_bytes: 0,
            checkpoint_ms: 500,
            checkpoint_pages: 8_000,
            max_pages: None,
        }
    }
}

impl Options {
    fn check(&self) -> Result<(), OpenError> {
        let zero = [
            ("queued_commits", self.queued_commits == 0),
            ("group_jobs", self.group_jobs == 0),
            ("group_rows", self.group_rows == 0),
            ("readers", self.readers == 0),
            ("checkpoint_ms", self.checkpoint_ms == 0),
        ];
        match zero.into_iter().find(|(_, is_zero)| *is_zero) {
            Some((name, _)) => Err(OpenError::Options(name)),
            None => Ok(()),
        }
    }
}

/// A connection that may write.
fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "synchronous", "normal")?;
    Ok(connection)
}

/// The store can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("options.{0} must be at least 1")]
    Options(&'static str),
    #[error(transparent)]
    Schema(#[from] SchemaError),
    #[error("sqlite: {0}")]
    Sqlite(#[from] rusqlite::Error),
    #[error("the writer thread: {0}")]
    Thread(std::io::Error),
}

impl From<StartError> for OpenError {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Sqlite(error) => Self::Sqlite(error),
            StartError::Thread(error) => Self::Thread(error),
        }
    }
}

/// A handle; clones share the writer and the readers. When the last one is dropped, the writer finishes what is queued
/// and closes the file; [`Store::close`] waits for that.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    writer: Writer,
    /// For who asks.
    readers: Readers,
    /// For the cell: actors' images, the log's mark, the outbox. Each is short.
    own: Readers,
}

impl Store {
    /// Opens or creates the file of `cell` and migrates it. Blocks on the disk: call it before serving begins.
    pub fn open(path: &Path, cell: &CellId, options: Options, metrics: Metrics) -> Result<Self, OpenError> {
        options.check()?;
        let mut connection = connect(path)?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        connection.pragma_update(None, "foreign_keys", false)?;
        connection.pragma_update(None, "cache_size", -options.cache_kib)?;
        connection.pragma_update(None, "wal_autocheckpoint", options.checkpoint_pages)?;
        connection.set_prepared_statement_cache_capacity(32);
        schema::prepare(&mut connection, cell)?;
        if let Some(pages) = options.max_pages {
            connection.pragma_update(None, "max_page_count", pages)?;
        }
        let pace = Duration::from_millis(options.checkpoint_ms);
        let checkpointer = Checkpointer::start(connect(path)?, pace).map_err(OpenError::Thread)?;
        let writer = Writer::start(connection, checkpointer, cell.to_string(), options.clone(), metrics)?;
        let readers = Readers::new(path, options.readers, options.clone());
        let own = Readers::new(path, 1, options);
        Ok(Self { inner: Arc::new(Inner { writer, readers, own }) })
    }

    /// Waits until all that is queued is written, and closes the file. Later calls, on any clone, get an error.
    pub async fn close(&self) -> Result<(), StoreError> {
        self.inner.readers.close();
        self.inner.own.close();
        self.inner.writer.close().await
    }

    /// Records when the log was created (nanoseconds since 1970), at the first start on it. Refused if the store has
    /// seen another log.
    pub async fn adopt(&self, created_ns: i64) -> Result<(), StoreError> {
        self.inner.writer.adopt(created_ns).await
    }

    /// From which epoch on versions have meant what they mean now, for an owner that begins as `epoch` in this `run` of the
    /// machine: as before if the one before it was in the same run, else from now on.
    pub async fn carry_on(&self, epoch: u64, run: Option<String>) -> Result<u64, StoreError> {
        self.inner.writer.carry_on(epoch, run).await?;
        self.inner.readers.read(read::since_epoch).await
    }

    /// The cell core's own state, and where in the log it stands.
    pub async fn cell(&self) -> Result<CellImage, StoreError> {
        self.inner.readers.read(read::cell).await
    }

    /// The state of every rider that the cell has seen, by id.
    pub async fn riders(&self) -> Result<Vec<(RiderId, Bytes)>, StoreError> {
        self.inner.readers.read(read::riders).await
    }

    /// Every running timer, with its number and when it is due in cell time; the earliest first.
    pub async fn timers(&self) -> Result<Vec<(OrderId, TimerKind, u32, UnixMillis)>, StoreError> {
        self.inner.readers.read(read::timers).await
    }

    /// The state of a rider, or `None` for one that the cell has never seen.
    pub async fn rider(&self, rider: &RiderId) -> Result<Option<Bytes>, StoreError> {
        let rider = rider.clone();
        self.inner.readers.read(move |c| read::rider(c, &rider)).await
    }

    /// The state of every order that is active, or has ended (completed or cancelled) and changed last at `since` or
    /// later, cell time: a late fix changes an ended order too. Without the sealed part of its track.
    pub async fn current(&self, since: UnixMillis) -> Result<Vec<(OrderId, Bytes)>, StoreError> {
        self.inner.readers.read(move |c| read::current(c, since)).await
    }

    /// An order's published state, or `None` if there is no such order. `epoch` is the asking owner's.
    pub async fn snapshot(&self, ask: query::OrderQuery, epoch: u64) -> Result<Option<query::Snapshot>, StoreError> {
        self.inner.readers.read(move |c| list::snapshot(c, &ask.order, epoch)).await
    }

    /// The state at the asker's version and the deltas since; `None` if there is no such order or version, or if the
    /// history between is gone or longer than [`query::MAX_DELTAS`].
    pub async fn deltas(&self, ask: query::DeltasQuery, epoch: u64) -> Result<Option<query::Deltas>, StoreError> {
        self.inner.readers.read(move |c| deltas::deltas(c, &ask, epoch)).await
    }

    /// A page of orders by creation, the newest first. `created_from_ms` is inclusive, `created_to_ms` is not. What
    /// doesn't fit in a query is named by the error.
    pub async fn orders(&self, ask: query::ListQuery, epoch: u64) -> Result<query::OrderPage, ListError> {
        let list = list::List::check(&ask).map_err(ListError::Field)?;
        Ok(self.inner.readers.read(move |c| list.page(c, epoch)).await?)
    }

    /// A page of alerts by detection, the newest first. What doesn't fit in a query is named by the error.
    pub async fn alerts(&self, ask: AlertsQuery) -> Result<AlertPage, ListError> {
        let list = alerts::List::check(&ask).map_err(ListError::Field)?;
        Ok(self.inner.readers.read(move |c| list.page(c)).await?)
    }

    /// An alert as it is now, or `None` if there is no such alert.
    pub async fn alert(&self, ask: AlertQuery) -> Result<Option<AlertBody>, StoreError> {
        self.inner.readers.read(move |c| alerts::one(c, &ask.alert)).await
    }

    /// How many alerts of each kind are open; kinds without any are left out.
    pub async fn open_alerts(&self) -> Result<Vec<(AlertKind, i64)>, StoreError> {
        self.inner.readers.read(alerts::open_by_kind).await
    }

    /// What is under way now, and how orders ended at `since` or later, cell time.
    pub async fn counts(&self, since: UnixMillis) -> Result<Counts, StoreError> {
        self.inner.readers.read(move |c| outcomes::counts(c, since)).await
    }

    /// A page of an order's history, or `None` if there is no such order.
    pub async fn track(&self, ask: query::TrackQuery) -> Result<Option<query::TrackPage>, StoreError> {
        self.inner.readers.read(move |c| track::page(c, &ask)).await
    }

    /// A page of the orders that were in a part of the map at some time, by id. What doesn't fit in a query is named by the
    /// error.
    pub async fn passed(&self, ask: query::PassedQuery) -> Result<query::PassedPage, ListError> {
        let asked = passed::Asked::check(&ask).map_err(ListError::Field)?;
        self.inner.readers.read(move |c| asked.page(c)).await?.map_err(ListError::Field)
    }
}

impl ports::Store for Store {
    fn load(&self, order: &OrderId) -> BoxFuture<'static, Result<Option<OrderImage>, StoreError>> {
        let (inner, order) = (Arc::clone(&self.inner), order.clone());
        Box::pin(async move { inner.own.read(move |c| read::image(c, &order)).await })
    }

    fn commit(&self, batch: Commit) -> BoxFuture<'static, Result<(), StoreError>> {
        let queued = self.inner.writer.commit(batch);
        Box::pin(async move { writer::told(queued?).await })
    }

    fn mark(&self) -> BoxFuture<'static, Result<Option<LogMark>, StoreError>> {
        let inner = Arc::clone(&self.inner);
        Box::pin(async move { inner.own.read(read::mark).await })
    }
}

impl ports::Outbox for Store {
    fn pending(&self, after: i64, limit: usize) -> BoxFuture<'static, Result<Vec<(i64, OutboxItem)>, StoreError>> {
        let inner = Arc::clone(&self.inner);
        Box::pin(async move { inner.own.read(move |c| read::pending(c, after, limit)).await })
    }

    fn done(&self, ids: Vec<i64>) -> BoxFuture<'static, Result<(), StoreError>> {
        let inner = Arc::clone(&self.inner);
        Box::pin(async move { inner.writer.done(ids).await })
    }
}
