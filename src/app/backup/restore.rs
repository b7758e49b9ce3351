//! Putting a backup back: everything is checked before anything is made, nothing that is there is touched, and what was
//! made is taken back if the rest fails.

use super::{BackupError, DATABASE, Manifest, STREAMS, Stream, at, sync_folder};
use crate::{
    app::{AppError, connect, start_nats, tracker},
    config::Config,
    domain::CellId,
    feed,
    nats::{self, epoch, snapshot, streams},
    store,
};
use async_nats::jetstream::Context;
use std::path::{Path, PathBuf};
use tokio_util::task::TaskTracker;

/// What is restored, and how.
#[derive(Clone, Debug)]
pub struct RestoreOptions {
    /// The backup.
    pub from: PathBuf,
    /// Leaves buckets that are there as they are: other cells use them. Without it they are in the way.
    pub keep_buckets: bool,
}

/// What a restore came to.
#[derive(Clone, Debug)]
pub struct Restored {
    pub manifest: Manifest,
    pub database: PathBuf,
    /// Buckets that were there and stayed.
    pub kept: Vec<String>,
    /// The cell's epoch, from which the next owner goes on.
    pub epoch: u64,
}

const HINT: &str = "A backup is restored where nothing of the cell is: move its database away, and delete its streams or \
     start with an empty NATS; with --keep-buckets, buckets that are there may stay";

/// Restores the cell that the backup is of into `config.data` and its NATS, which is started for the time if the
/// configuration names none. The node must not run.
pub async fn restore(config: &Config, options: RestoreOptions) -> Result<Restored, BackupError> {
    let manifest = Manifest::read(&options.from).await?;
    manifest.check(&options.from).await?;
    let tasks = TaskTracker::new();
    let server = start_nats(config, &tasks).await?;
    let url = server.as_ref().map_or_else(|| config.nats.url.clone().unwrap_or_default(), |s| s.url());
    let restored = onto(&url, &config.data, manifest, &options).await;
    if let Some(server) = server {
        server.stop().await;
    }
    tasks.close();
    tasks.wait().await;
    restored
}

async fn onto(url: &str, data: &Path, manifest: Manifest, options: &RestoreOptions) -> Result<Restored, BackupError> {
    let js = nats::client::jetstream(&connect(url, "trunkline-restore").await?);
    let (wanted, kept) = survey(&js, data, &manifest, options.keep_buckets).await?;
    let mut made = Vec::new();
    match make(&js, data, &manifest, &options.from, &wanted, &mut made).await {
        Ok((database, epoch)) => Ok(Restored { database, kept, epoch, manifest }),
        Err(error) => {
            for stream in made {
                if let Err(error) = js.delete_stream(&stream).await {
                    tracing::error!(%error, stream, "what was restored of the stream could not be deleted again");
                }
            }
            Err(error)
        }
    }
}

/// Which streams are to be made and which are kept; an error that names everything in the way.
async fn survey<'a>(
    js: &Context,
    data: &Path,
    manifest: &'a Manifest,
    keep_buckets: bool,
) -> Result<(Vec<&'a Stream>, Vec<String>), BackupError> {
    let database = tracker::database_path(data, &manifest.cell);
    let mut what = Vec::new();
    // A write-ahead log without its database would be read into the restored one.
    for behind in ["", "-wal", "-shm"] {
        let mut path = database.clone().into_os_string();
        path.push(behind);
        let path = PathBuf::from(path);
        if path.try_exists().map_err(at(&path))? {
            what.push(path.display().to_string());
        }
    }
    let (mut wanted, mut kept) = (Vec::new(), Vec::new());
    for part in &manifest.streams {
        match js.get_stream(&part.stream).await {
            Ok(_) if part.shared && keep_buckets => kept.push(part.stream.clone()),
            Ok(_) => what.push(format!("stream {}", part.stream)),
            Err(error) if streams::is_missing(&error) => wanted.push(part),
            Err(error) => {
                let stream = part.stream.clone();
                return Err(AppError::from(streams::StreamsError::Request { stream, reason: error.to_string() }).into());
            }
        }
    }
    if what.is_empty() { Ok((wanted, kept)) } else { Err(BackupError::InTheWay { what, hint: HINT }) }
}

async fn make(
    js: &Context,
    data: &Path,
    manifest: &Manifest,
    from: &Path,
    wanted: &[&Stream],
    made: &mut Vec<String>,
) -> Result<(PathBuf, u64), BackupError> {
    // The log, which is the first, at the end: who publishes into it then finds the rest.
    for Stream { stream, figures, .. } in wanted.iter().rev() {
        // One that fails is not there afterwards; one that is there then is somebody else's.
        let restored = snapshot::restore(js, stream, &from.join(STREAMS).join(stream)).await?;
        made.push(stream.clone());
        if restored.last_seq < figures.last_seq {
            let reason = format!("{stream} ends at {} and not at {}", restored.last_seq, figures.last_seq);
            return Err(BackupError::Apart(reason));
        }
        tracing::info!(stream, messages = restored.messages, "restored");
    }
    // No number that an owner had since the backup may come again: clients remember versions under them.
    let epoch = epoch::advance(js, &manifest.cell, epoch::LEAP).await.map_err(AppError::from)?;
    let log = streams::existing_log(js, &manifest.cell).await.map_err(AppError::from)?;
    let database = tracker::database(data, &manifest.cell)?;
    let part = database.with_extension("part");
    let placed = place(js, &manifest.cell, &from.join(DATABASE), &part, &database, log.created_ns).await;
    if let Err(error) = std::fs::remove_file(&part) {
        tracing::debug!(%error, "no unfinished database to remove");
    }
    placed?;
    Ok((database, epoch))
}

/// Puts the database in its place, after it has proven that the restored log is its own.
async fn place(
    js: &Context,
    cell: &CellId,
    from: &Path,
    part: &Path,
    to: &Path,
    created_ns: i64,
) -> Result<(), BackupError> {
    tokio::fs::copy(from, part).await.map_err(at(part))?;
    let (path, id) = (part.to_owned(), cell.clone());
    let marked = tokio::task::spawn_blocking(move || {
        // A restored stream counts as created at its restore.
        store::readopt(&path, created_ns)?;
        store::mark(&path, &id)
    });
    let marked = marked.await.map_err(|e| at(part)(e.into()))?;
    let mark = marked.map_err(|source| BackupError::Copy { path: part.to_owned(), source })?;
    feed::belongs(js, cell, mark).await.map_err(BackupError::Apart)?;
    // A link, since a rename would overwrite what a node that was started meanwhile has made.
    std::fs::hard_link(part, to).map_err(at(to))?;
    to.parent().map_or(Ok(()), sync_folder)
}
