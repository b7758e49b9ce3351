//! A copy of a cell's file while its owner goes on writing, and what a copy has to be told when it is put back.
//!
//! `VACUUM INTO` reads one commit, so state, outbox and cursor in the copy fit together; it holds up nobody (40 MB:
//! 0.12 s). The copy is one file without a write-ahead log.

use super::{
    BUSY, read,
    schema::{self, SchemaError},
};
use crate::{domain::CellId, ports::LogMark};
use rusqlite::{Connection, OpenFlags};
use std::{fs::File, io, path::Path};

/// Why there is no copy, or nothing can be said of one.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    #[error("sqlite: {0}")]
    Sqlite(#[from] rusqlite::Error),
    #[error(transparent)]
    Schema(#[from] SchemaError),
    #[error("the file has never seen a log")]
    NoLog,
    #[error("the cell's state can't be read: {0}")]
    State(String),
    #[error(transparent)]
    File(#[from] io::Error),
}

/// Copies the cell's file as of one commit to `to`, which must not be there, and syncs it to the disk. Gives where in its
/// log the copy stands.
pub fn copy(from: &Path, to: &Path, cell: &CellId) -> Result<LogMark, CopyError> {
    if to.try_exists()? {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "the copy's file is there already").into());
    }
    let connection = open(from, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    schema::belongs(&connection, cell)?;
    let path = to.to_str().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the path isn't UTF-8"))?;
    connection.execute("VACUUM INTO ?1", [path])?;
    // SQLite leaves that to us.
    File::open(to)?.sync_all()?;
    mark(to, cell)
}

/// Where in its log the cell's file stands.
pub fn mark(path: &Path, cell: &CellId) -> Result<LogMark, CopyError> {
    let connection = open(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    schema::belongs(&connection, cell)?;
    read::mark(&connection).map_err(|e| CopyError::State(e.to_string()))?.ok_or(CopyError::NoLog)
}

/// Tells a file that nobody has open that its log now counts as created at `created_ns`, nanoseconds since 1970. Only for
/// a log that is known to be the same: made from a copy of it. What was published after the copy was made is not in it, so
/// no owner carries on where another ended.
pub fn readopt(path: &Path, created_ns: i64) -> Result<(), CopyError> {
    let connection = open(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.execute("UPDATE cell_state SET log_created_ns = ?1, since_epoch = NULL, run = NULL", [created_ns])?;
    connection.close().map_err(|(_, error)| error)?;
    Ok(File::open(path)?.sync_all()?)
}

fn open(path: &Path, mode: OpenFlags) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, mode | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY)?;
    Ok(connection)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ports::Store as _,
        store::{Store, fixtures::Shop, fixtures::open, state_hash},
    };

    /// The file that the seed's first commits make, up to a cursor.
    async fn made_anew(path: &Path, cursor: u64) {
        let (store, mut shop) = (store_at(path), Shop::new(5));
        loop {
            let commit = shop.batch(7);
            let reached = commit.cursor;
            store.commit(commit).await.unwrap();
            if reached >= cursor {
                break store.close().await.unwrap();
            }
        }
    }

    fn store_at(path: &Path) -> Store {
        let (cell, metrics) = (CellId::default(), crate::metrics::Metrics::default());
        Store::open(path, &cell, crate::store::Options::default(), metrics).unwrap()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_copy_amid_commits_is_the_state_at_its_cursor() {
        let dir = tempfile::tempdir().unwrap();
        let (path, cell) = (dir.path().join("cell.sqlite"), CellId::default());
        let store = store_at(&path);
        store.adopt(17).await.unwrap();
        let (from, to) = (path.clone(), dir.path().to_owned());
        let copying = tokio::task::spawn_blocking(move || {
            let copied = (0..4).map(|n| {
                let to = to.join(format!("copy-{n}"));
                (copy(&from, &to, &CellId::default()).unwrap(), to)
            });
            copied.collect::<Vec<_>>()
        });
        let mut shop = Shop::new(5);
        while !copying.is_finished() {
            store.commit(shop.batch(7)).await.unwrap();
        }
        store.close().await.unwrap();
        for (mark, copied) in copying.await.unwrap() {
            assert_eq!(mark.created_ns, 17);
            let anew = copied.with_extension("anew");
            if mark.cursor > 0 {
                made_anew(&anew, mark.cursor).await;
                assert_eq!(state_hash(&copied).unwrap(), state_hash(&anew).unwrap(), "at {}", mark.cursor);
            }
            let again = copy(&path, &copied, &cell).unwrap_err();
            assert!(matches!(again, CopyError::File(_)), "nothing is overwritten: {again}");
        }
    }

    #[tokio::test]
    async fn a_readopted_copy_knows_its_new_log_and_nothing_else_changes() {
        let (dir, store) = open();
        store.adopt(17).await.unwrap();
        store.commit(Shop::new(5).batch(20)).await.unwrap();
        assert_eq!(store.carry_on(3, Some("run".into())).await.unwrap(), 3);
        store.close().await.unwrap();
        let (from, to, cell) = (dir.path().join("cell.sqlite"), dir.path().join("copy"), CellId::default());
        let before = copy(&from, &to, &cell).unwrap();
        readopt(&to, 99).unwrap();
        assert_eq!(mark(&to, &cell).unwrap(), LogMark { created_ns: 99, ..before });
        assert_eq!(state_hash(&to).unwrap(), state_hash(&from).unwrap());
        let store = store_at(&to);
        store.adopt(99).await.unwrap();
        let since = store.carry_on(8, Some("run".into())).await.unwrap();
        assert_eq!(since, 8, "what was published after the copy was made may come again with another meaning");
        store.close().await.unwrap();
        let other = copy(&from, &dir.path().join("other"), &"north".parse().unwrap()).unwrap_err();
        assert!(matches!(other, CopyError::Schema(SchemaError::OtherCell { .. })), "{other}");
    }
}
