//! Making a backup: under another name until it is whole, so that a folder with the right name is a whole backup.

use super::{BackupError, DATABASE, Database, FORMAT, FileSum, MANIFEST, Manifest, STREAMS, Stream, at, sync_folder};
use crate::{
    app::{connect, tracker},
    clock,
    domain::CellId,
    feed,
    nats::{self, snapshot, streams},
    ports::LogMark,
    store,
};
use async_nats::jetstream::Context;
use std::{
    fs::DirBuilder,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

/// Saves the cell's database under `data`, its streams and the buckets to the folder `to`, which must not be there. The
/// node may serve meanwhile.
pub async fn backup(nats_url: &str, data: &Path, cell: &CellId, to: &Path) -> Result<Manifest, BackupError> {
    let part = named(to, ".part");
    for taken in [to, &part] {
        if taken.try_exists().map_err(at(taken))? {
            return Err(BackupError::Taken(taken.to_owned()));
        }
    }
    let js = nats::client::jetstream(&connect(nats_url, "trunkline-backup").await?);
    folder(&part)?;
    let saved = save(&js, data, cell, &part).await;
    let finished = saved.and_then(|manifest| {
        std::fs::rename(&part, to).map_err(at(to))?;
        sync_folder(to.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")))?;
        Ok(manifest)
    });
    if finished.is_err()
        && let Err(error) = std::fs::remove_dir_all(&part)
    {
        tracing::warn!(%error, part = %part.display(), "what there is of the backup could not be removed");
    }
    finished
}

async fn save(js: &Context, data: &Path, cell: &CellId, part: &Path) -> Result<Manifest, BackupError> {
    let (mark, database) = save_database(data, cell, part).await?;
    folder(&part.join(STREAMS))?;
    let mut saved = Vec::new();
    for streams::Name { stream, shared } in streams::names(cell) {
        let inside = part.join(STREAMS).join(&stream);
        folder(&inside)?;
        let figures = snapshot::save(js, &stream, &inside).await?;
        sync_folder(&inside)?;
        tracing::info!(stream, messages = figures.messages, "saved");
        let mut stream = Stream { stream, shared, figures, files: Vec::new() };
        for file in stream.expected() {
            stream.files.push(FileSum::of(part, file).await?);
        }
        saved.push(stream);
    }
    // After the copies: what was there then is still there, and is the log that the database was made from.
    feed::belongs(js, cell, mark).await.map_err(BackupError::Apart)?;
    if let Some(Stream { figures, .. }) = saved.first()
        && (figures.last_seq < mark.cursor || figures.first_seq > mark.cursor + 1)
    {
        let snapshot::Figures { first_seq, last_seq, .. } = figures;
        let reason = format!("the log's copy has {first_seq} to {last_seq}, the database stands at {}", mark.cursor);
        return Err(BackupError::Apart(reason));
    }
    let made_at = jiff::Timestamp::from_millisecond(clock::wall().0).unwrap_or_default().to_string();
    let trunkline = env!("CARGO_PKG_VERSION").to_owned();
    let manifest = Manifest { format: FORMAT, trunkline, cell: cell.clone(), made_at, database, streams: saved };
    let path = part.join(MANIFEST);
    let text = serde_json::to_vec_pretty(&manifest).map_err(|e| at(&path)(e.into()))?;
    std::fs::write(&path, text).and_then(|()| std::fs::File::open(&path)?.sync_all()).map_err(at(&path))?;
    sync_folder(&part.join(STREAMS))?;
    sync_folder(part)?;
    Ok(manifest)
}

async fn save_database(data: &Path, cell: &CellId, part: &Path) -> Result<(LogMark, Database), BackupError> {
    let (from, to) = (tracker::database_path(data, cell), part.join(DATABASE));
    if !from.try_exists().map_err(at(&from))? {
        return Err(at(&from)(std::io::ErrorKind::NotFound.into()));
    }
    let (path, cell) = (from.clone(), cell.clone());
    let copied = tokio::task::spawn_blocking(move || {
        let mark = store::copy(&path, &to, &cell)?;
        let hash = store::state_hash(&to).map_err(|e| store::CopyError::State(e.to_string()))?;
        Ok((mark, hash))
    });
    let copied = copied.await.map_err(|e| at(&from)(e.into()))?;
    let (mark, hash) = copied.map_err(|source| BackupError::Copy { path: from, source })?;
    tracing::info!(cursor = mark.cursor, %hash, "saved the database");
    let file = FileSum::of(part, DATABASE.to_owned()).await?;
    Ok((mark, Database { file, cursor: mark.cursor, state_hash: hash.to_string() }))
}

/// For our eyes only: a backup holds what names a person.
fn folder(path: &Path) -> Result<(), BackupError> {
    DirBuilder::new().mode(0o700).create(path).map_err(at(path))
}

/// The path with something behind its last name.
fn named(path: &Path, behind: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(behind);
    name.into()
}
