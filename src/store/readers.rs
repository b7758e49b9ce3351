//! Connections that only read, on the blocking pool: at most so many at once, each read in a transaction of its own,
//! so that what it sees of several tables is of one commit.

use super::Options;
use crate::{ports::StoreError, wire::blob::BlobError};
use parking_lot::Mutex;
use rusqlite::{Connection, OpenFlags};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::sync::Semaphore;

/// A read failed, or what it found makes no sense.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    #[error("order {order}: {source}")]
    State { order: String, source: BlobError },
    /// A column holds what this program would not have written.
    #[error("{column}: {reason}")]
    Column { column: &'static str, reason: String },
}

impl ReadError {
    pub(super) fn column(column: &'static str, reason: impl ToString) -> Self {
        Self::Column { column, reason: reason.to_string() }
    }
}

impl From<ReadError> for StoreError {
    fn from(error: ReadError) -> Self {
        Self(error.to_string())
    }
}

/// The pool.
#[derive(Debug)]
pub(super) struct Readers {
    path: PathBuf,
    options: Options,
    idle: Arc<Mutex<Vec<Connection>>>,
    room: Arc<Semaphore>,
}

impl Readers {
    /// A pool of at most `size` connections.
    pub(super) fn new(path: &Path, size: usize, options: Options) -> Self {
        let room = Arc::new(Semaphore::new(size));
        Self { path: path.into(), options, idle: Arc::default(), room }
    }

    /// Runs `read` on a connection when one is free. Dropping the future lets a read that runs come to its end.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let closed = || StoreError("it is closed".into());
        let room = Arc::clone(&self.room).acquire_owned().await.map_err(|_| closed())?;
        let (path, options, idle, semaphore) =
            (self.path.clone(), self.options.clone(), Arc::clone(&self.idle), Arc::clone(&self.room));
        let run = move || {
            let taken = idle.lock().pop();
            let mut connection = match taken {
                Some(connection) => connection,
                None => open(&path, &options)?,
            };
            let transaction = connection.transaction()?;
            let result = read(&transaction);
            drop(transaction);
            let mut idle = idle.lock();
            // A panic or a closing loses the connection; the next read opens another.
            if !semaphore.is_closed() {
                idle.push(connection);
            }
            drop(idle);
            drop(room);
            result
        };
        match tokio::task::spawn_blocking(run).await {
            Ok(result) => Ok(result?),
            Err(error) => Err(StoreError(format!("a read ended early: {error}"))),
        }
    }

    /// Reads that could begin at once.
    #[cfg(test)]
    pub(super) fn free(&self) -> usize {
        self.room.available_permits()
    }

    /// Refuses further reads and closes the connections; one that is being read is closed by its reader.
    pub(super) fn close(&self) {
        self.room.close();
        self.idle.lock().clear();
    }
}

fn open(path: &Path, options: &Options) -> rusqlite::Result<Connection> {
    let connection =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(super::BUSY)?;
    connection.pragma_update(None, "query_only", true)?;
    connection.pragma_update(None, "cache_size", -options.reader_cache_kib)?;
    connection.pragma_update(None, "mmap_size", options.mmap_bytes)?;
    // Every filter of a list is a statement of its own.
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}
