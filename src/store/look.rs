//! A cell's file looked at from outside, as of one commit: for replays, which compare it with the log or tell an order's
//! story. Nothing is written, and a server may write meanwhile; as long as a look is held, that server's write-ahead log
//! can't start over.

use super::{
    alerts::{self, AlertRow},
    read::{self, CellImage, unsigned},
    readers::ReadError,
    schema::{self, MIGRATIONS, SchemaError},
    track,
};
use crate::{
    domain::{CellId, OrderId, RiderId},
    ports::{LogMark, OrderImage, RunningTimer},
    wire::query::{Lines, TrackRow},
};
use bytes::Bytes;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row};
use std::path::Path;

/// Why a file can't be looked at.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    #[error("sqlite: {0}")]
    Sqlite(#[from] rusqlite::Error),
    #[error(transparent)]
    Schema(#[from] SchemaError),
    #[error("the file has schema {found}, this program reads {known}; start the server on it once")]
    Older { found: usize, known: usize },
    /// A row holds what this program would not have written.
    #[error("{0}")]
    Row(String),
}

impl From<ReadError> for LookError {
    fn from(error: ReadError) -> Self {
        Self::Row(error.to_string())
    }
}

/// An order's row, with what other tables say of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredOrder {
    pub order: OrderId,
    pub image: OrderImage,
    pub version: u64,
    pub rev: u64,
    pub status: u64,
    pub rider_id: Option<String>,
    pub timers: Vec<RunningTimer>,
    /// Lines of its history.
    pub lines: u64,
    /// By their numbers.
    pub alerts: Vec<AlertRow>,
}

/// See the module.
#[derive(Debug)]
pub struct Look {
    connection: Connection,
    cell: CellId,
}

impl Look {
    /// Opens the file and begins to see it. Blocks on the disk, as all that follows.
    pub fn open(path: &Path) -> Result<Self, LookError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(super::BUSY)?;
        // Ended by the connection's end.
        connection.execute_batch("BEGIN")?;
        let found = schema::known(&connection)?;
        if found != MIGRATIONS.len() {
            return Err(LookError::Older { found, known: MIGRATIONS.len() });
        }
        let cell = connection.query_one("SELECT cell FROM cell_state", [], |row| row.get::<_, String>(0))?;
        let cell = CellId::try_from(cell).map_err(|e| ReadError::column("cell_state.cell", e))?;
        Ok(Self { connection, cell })
    }

    pub fn cell(&self) -> &CellId {
        &self.cell
    }

    /// Where in its log the file stands; `None` for one that has never seen a log.
    pub fn mark(&self) -> Result<Option<LogMark>, LookError> {
        Ok(read::mark(&self.connection)?)
    }

    /// The cell core's own state.
    pub fn image(&self) -> Result<CellImage, LookError> {
        Ok(read::cell(&self.connection)?)
    }

    /// Every rider's state, by id.
    pub fn riders(&self) -> Result<Vec<(RiderId, Bytes)>, LookError> {
        Ok(read::riders(&self.connection)?)
    }

    /// How many orders there are.
    pub fn count(&self) -> Result<u64, LookError> {
        Ok(self.connection.query_one("SELECT count(*) FROM orders", [], |row| unsigned(row, 0))?)
    }

    /// Calls `each` with every order, by id; ends at its first error.
    pub fn orders<E: From<LookError>>(&self, mut each: impl FnMut(StoredOrder) -> Result<(), E>) -> Result<(), E> {
        let ids = || -> Result<Vec<OrderId>, LookError> {
            let mut statement = self.connection.prepare("SELECT id FROM orders ORDER BY id")?;
            let rows = statement.query_and_then([], |row| read::id("orders.id", row.get_ref(0)?.as_str()))?;
            Ok(rows.collect::<Result<_, _>>()?)
        };
        for id in ids()? {
            if let Some(order) = self.order(&id)? {
                each(order)?;
            }
        }
        Ok(())
    }

    /// One order, if there is such a one.
    pub fn order(&self, id: &OrderId) -> Result<Option<StoredOrder>, LookError> {
        let Some(image) = read::image(&self.connection, id)? else { return Ok(None) };
        let mut statement = self.connection.prepare_cached(
            "SELECT version, rev, status, rider_id, (SELECT count(*) FROM order_tracking WHERE order_id = ?1)
             FROM orders WHERE id = ?1",
        )?;
        let found = statement
            .query_row([id.as_str()], |row| {
                Ok(StoredOrder {
                    order: id.clone(),
                    image,
                    version: unsigned(row, 0)?,
                    rev: unsigned(row, 1)?,
                    status: unsigned(row, 2)?,
                    rider_id: row.get(3)?,
                    timers: Vec::new(),
                    lines: unsigned(row, 4)?,
                    alerts: Vec::new(),
                })
            })
            .optional()?;
        let Some(mut order) = found else { return Ok(None) };
        order.timers = read::timers_of(&self.connection, id)?;
        order.alerts = alerts::of_order(&self.connection, id.as_str())?;
        Ok(Some(order))
    }

    /// Alerts of orders that aren't there.
    pub fn stray_alerts(&self) -> Result<Vec<AlertRow>, LookError> {
        Ok(alerts::of_nobody(&self.connection)?)
    }

    /// An order's whole history, in the order in which it was applied, each line with what it changed in the published
    /// state (RFC 7396), if anything.
    pub fn lines(&self, order: &OrderId) -> Result<Vec<TrackRow>, LookError> {
        let mut statement = self.connection.prepare_cached(LINES)?;
        let rows = statement.query_and_then([order.as_str()], |row: &Row<'_>| {
            Ok::<_, ReadError>(TrackRow { patch: track::patch(row)?, ..track::line(row, Lines::All)? })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

const LINES: &str = "SELECT * FROM order_tracking WHERE order_id = ?1 ORDER BY id";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ports::Store as _,
        store::fixtures::{Shop, open},
    };

    #[tokio::test]
    async fn sees_one_commit_while_the_writer_goes_on() {
        let (dir, store) = open();
        let mut shop = Shop::new(3);
        let order = shop.create("o");
        shop.fix(&order);
        let first = shop.commit();
        let version = first.orders[0].columns.version;
        store.commit(first).await.unwrap();
        let path = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().path());
        let path = path.into_iter().find(|p| p.extension().is_some_and(|e| e == "sqlite")).unwrap();
        let look = Look::open(&path).unwrap();
        assert_eq!(look.count().unwrap(), 1);
        shop.fix(&order);
        shop.create("p");
        store.commit(shop.commit()).await.unwrap();
        let seen = look.order(&order).unwrap().unwrap();
        assert_eq!((seen.version, seen.lines), (version, 2));
        assert_eq!(look.lines(&order).unwrap().len(), 2);
        let mut all = Vec::new();
        look.orders(|o| {
            all.push(o.order);
            Ok::<_, LookError>(())
        })
        .unwrap();
        assert_eq!(all, [order]);
        assert_eq!(look.order(&"p".parse().unwrap()).unwrap(), None, "it came later");
        assert_eq!(Look::open(&path).unwrap().count().unwrap(), 2);
    }

    #[test]
    fn an_older_or_foreign_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("old.sqlite");
        assert!(matches!(Look::open(&path), Err(LookError::Sqlite(_))), "none is made");
        let connection = Connection::open(&path).unwrap();
        connection.execute_batch("CREATE TABLE t (x)").unwrap();
        assert!(matches!(Look::open(&path), Err(LookError::Schema(SchemaError::Foreign(0)))));
        connection.execute_batch("PRAGMA application_id = 0x54524b4c; PRAGMA user_version = 1").unwrap();
        assert!(matches!(Look::open(&path), Err(LookError::Older { found: 1, .. })));
    }
}
