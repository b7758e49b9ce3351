//! A cell made anew from its log, in one go and for nobody to watch: proves that the state is a function of the log.

use super::{AppError, connect, tracker};
use crate::{
    actors::{CellHandle, CellOptions, Restored},
    domain::CellId,
    feed,
    metrics::Metrics,
    nats,
    ports::{Announcements, Publish},
    store::Store,
};
use futures::future::BoxFuture;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How the log is read. None of it may make a difference to the result.
#[derive(Clone, Debug)]
pub struct RebuildOptions {
    pub cell: CellId,
    /// Most entries in a batch.
    pub batch: usize,
    /// Let every order actor go after each batch.
    pub passivate_each: bool,
}

/// Says nothing to anybody: what the log's first owner said must not be said again.
#[derive(Debug)]
struct Silent;

impl Publish for Silent {
    fn announce(&self, _: Announcements) -> BoxFuture<'static, ()> {
        Box::pin(async {})
    }
}

/// Reads the cell's log, as long as it is now, into a fresh database under `data`; gives its path.
pub async fn rebuild(nats_url: &str, data: &Path, options: RebuildOptions) -> Result<PathBuf, AppError> {
    let RebuildOptions { cell, batch, passivate_each } = options;
    let path = tracker::database(data, &cell)?;
    if path.exists() {
        return Err(AppError::NotFresh(path));
    }
    let (metrics, tasks, stop) = (Metrics::default(), TaskTracker::new(), CancellationToken::new());
    let js = nats::client::jetstream(&connect(nats_url, "trunkline-rebuild").await?);
    let log = nats::streams::existing_log(&js, &cell).await?;
    let store = tracker::open(&path, &cell, &metrics).await?;
    store.adopt(log.created_ns).await?;
    let mut cell_options = CellOptions::new(cell.clone(), 0);
    cell_options.passivate_each = passivate_each;
    let dyn_store: Arc<Store> = Arc::new(store.clone());
    let handle =
        CellHandle::start(cell_options, Restored::default(), dyn_store, Arc::new(Silent), metrics.clone(), &tasks)
            .await?;
    let feed_options = feed::Options { batch, ..feed::Options::default() };
    let reading = feed::run(js, cell, Arc::new(handle.clone()), metrics, feed_options, stop.clone());
    let mut stopped = handle.stopped();
    let done = async {
        while handle.cursor() < log.last_seq && stopped.borrow_and_update().is_none() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        ended = reading => ended?,
        () = done => stop.cancel(),
    }
    handle.finish().await;
    if let Some(reason) = handle.stopped().borrow().clone() {
        return Err(AppError::Store(crate::ports::StoreError(reason)));
    }
    tasks.close();
    tasks.wait().await;
    store.close().await?;
    Ok(path)
}
