//! The state hash: equal for two files exactly when they hold the same function of the same log.
//!
//! It covers orders, track chunks, history, riders, timers, alerts and the cell's own state with its cursor; every column,
//! in key order. It leaves out the outbox, which depends on when PubAcks came, the log's creation time, which differs between
//! a log and its copy, `outcomes`, which follows from orders and history, and `order_passed`, which is an index of the history and may hold more
//! than it must. Each value goes
//! in with its type and length, so that no two contents look alike.

use super::schema::MIGRATIONS;
use rusqlite::{Connection, OpenFlags, types::ValueRef};
use sha2::{Digest, Sha256};
use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    path::Path,
};

/// Why there is no hash.
#[derive(Debug, thiserror::Error)]
pub enum HashError {
    #[error("sqlite: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// Columns differ between schemas, so their hashes can't be compared.
    #[error("the file has schema {found}, this program hashes schema {known}; start the server on it once")]
    Schema { found: i64, known: usize },
}

/// Hashes of a store's content, from the whole down to an order.
#[derive(Clone, PartialEq, Eq)]
pub struct StateHash {
    /// Over the tables' hashes: the figure to compare.
    pub total: [u8; 32],
    /// In a fixed order.
    pub tables: Vec<TableHash>,
    /// Over what each table says of an order, without the ids of history lines: those depend on other orders.
    pub orders: BTreeMap<String, [u8; 32]>,
}

/// One table's.
#[derive(Clone, PartialEq, Eq)]
pub struct TableHash {
    pub table: &'static str,
    pub rows: u64,
    pub hash: [u8; 32],
}

impl fmt::Display for StateHash {
    /// The total as 64 hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(f, &self.total)
    }
}

impl fmt::Display for TableHash {
    /// `name rows hash`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ", self.table, self.rows)?;
        hex(f, &self.hash)
    }
}

impl fmt::Debug for StateHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} {:?}", self.tables)
    }
}

impl fmt::Debug for TableHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn hex(f: &mut fmt::Formatter<'_>, hash: &[u8; 32]) -> fmt::Result {
    hash.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

impl StateHash {
    /// The tables whose content differs.
    pub fn differing_tables(&self, other: &Self) -> Vec<&'static str> {
        self.tables.iter().zip(&other.tables).filter(|(a, b)| a != b).map(|(a, _)| a.table).collect()
    }

    /// The orders that differ or that only one has, by id.
    pub fn differing_orders(&self, other: &Self) -> Vec<String> {
        let mine = self.orders.iter().filter(|(id, hash)| other.orders.get(*id) != Some(*hash));
        let theirs = other.orders.iter().filter(|(id, _)| !self.orders.contains_key(*id));
        let mut ids: Vec<_> = mine.chain(theirs).map(|(id, _)| id.clone()).collect();
        ids.sort_unstable();
        ids
    }
}

/// A table, what of it is state, in which order, and which column names the order.
struct Part {
    table: &'static str,
    sql: &'static str,
    order: Option<&'static str>,
}

const PARTS: [Part; 7] = [
    Part { table: "orders", sql: "SELECT * FROM orders ORDER BY id", order: Some("id") },
    Part {
        table: "order_track_chunk",
        sql: "SELECT * FROM order_track_chunk ORDER BY order_id, n",
        order: Some("order_id"),
    },
    Part { table: "order_tracking", sql: "SELECT * FROM order_tracking ORDER BY id", order: Some("order_id") },
    Part { table: "riders", sql: "SELECT * FROM riders ORDER BY id", order: None },
    Part { table: "timers", sql: "SELECT * FROM timers ORDER BY order_id, kind", order: Some("order_id") },
    Part { table: "alerts", sql: "SELECT * FROM alerts ORDER BY id", order: Some("order_id") },
    Part { table: "cell_state", sql: "SELECT cursor, cursor_digest, cell_time, head FROM cell_state", order: None },
];

/// Hashes the file at `path` as of one commit; a server may be writing it meanwhile.
pub fn state_hash(path: &Path) -> Result<StateHash, HashError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(super::BUSY)?;
    let transaction = connection.transaction()?;
    let found: i64 = transaction.query_one("PRAGMA user_version", [], |row| row.get(0))?;
    if usize::try_from(found) != Ok(MIGRATIONS.len()) {
        return Err(HashError::Schema { found, known: MIGRATIONS.len() });
    }
    let mut orders: HashMap<String, Sha256> = HashMap::new();
    let tables = PARTS.iter().map(|part| table(&transaction, part, &mut orders)).collect::<Result<Vec<_>, _>>()?;
    let mut total = Sha256::new();
    for TableHash { table, rows, hash } in &tables {
        total.update(table);
        total.update(rows.to_le_bytes());
        total.update(hash);
    }
    let orders = orders.into_iter().map(|(id, hash)| (id, hash.finalize().into())).collect();
    Ok(StateHash { total: total.finalize().into(), tables, orders })
}

fn table(
    connection: &Connection,
    part: &Part,
    orders: &mut HashMap<String, Sha256>,
) -> Result<TableHash, rusqlite::Error> {
    let mut statement = connection.prepare(part.sql)?;
    let columns = statement.column_count();
    let order = part.order.map(|name| statement.column_index(name)).transpose()?;
    let line_id = if part.table == "order_tracking" { Some(statement.column_index("id")?) } else { None };
    let (mut hash, mut count) = (Sha256::new(), 0);
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let mut of_order = match order {
            Some(column) => {
                let of_order = orders.entry(row.get(column)?).or_default();
                of_order.update(part.table);
                Some(of_order)
            }
            None => None,
        };
        for column in 0..columns {
            let value = row.get_ref(column)?;
            absorb(&mut hash, value);
            if let Some(of_order) = of_order.as_mut().filter(|_| Some(column) != line_id) {
                absorb(of_order, value);
            }
        }
        count += 1;
    }
    Ok(TableHash { table: part.table, rows: count, hash: hash.finalize().into() })
}

fn absorb(hash: &mut Sha256, value: ValueRef<'_>) {
    let mut sized = |tag: u8, bytes: &[u8]| {
        hash.update([tag]);
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    match value {
        ValueRef::Null => sized(0, &[]),
        ValueRef::Integer(n) => sized(1, &n.to_le_bytes()),
        ValueRef::Real(x) => sized(2, &x.to_bits().to_le_bytes()),
        ValueRef::Text(text) => sized(3, text),
        ValueRef::Blob(blob) => sized(4, blob),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::CellId,
        metrics::Metrics,
        ports::{Commit, Store as _},
        store::{Options, Store, fixtures::Shop},
    };

    /// The hash after these commits, none waited for, with at most so many in a transaction.
    async fn hash_of(commits: Vec<Commit>, group_jobs: usize) -> StateHash {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cell.sqlite");
        let options = Options { group_jobs, queued_commits: commits.len(), ..Options::default() };
        let store = Store::open(&path, &CellId::default(), options, Metrics::default()).unwrap();
        // What is no state must not show.
        store.adopt(i64::try_from(group_jobs).unwrap()).await.unwrap();
        futures::future::try_join_all(commits.into_iter().map(|commit| store.commit(commit))).await.unwrap();
        let hash = state_hash(&path).unwrap();
        store.close().await.unwrap();
        assert_eq!(state_hash(&path).unwrap(), hash, "closing changes nothing");
        hash
    }

    #[tokio::test]
    async fn is_the_same_however_commits_are_cut_and_grouped() {
        let cut = |size: usize| {
            let mut shop = Shop::new(6);
            (0..420 / size).map(|_| shop.batch(size)).collect::<Vec<_>>()
        };
        let expected = hash_of(cut(1), 1).await;
        assert!(expected.tables.iter().all(|table| table.rows > 0), "{expected:?}");
        for (size, group) in [(1, 64), (7, 1), (7, 5), (60, 3), (420, 1)] {
            let hash = hash_of(cut(size), group).await;
            assert_eq!(hash.differing_tables(&expected), Vec::<&str>::new(), "cut {size}, group {group}");
            assert_eq!(hash, expected);
        }
    }

    #[tokio::test]
    async fn a_difference_is_found_by_table_and_order() {
        let mut shop = Shop::new(8);
        let commits: Vec<_> = (0..3).map(|_| shop.batch(100)).collect();
        let one = hash_of(commits.clone(), 1).await;
        let mut changed = commits;
        let last = changed[2].orders.last_mut().unwrap();
        last.columns.total_minor += 1;
        let order = last.order.to_string();
        let other = hash_of(changed, 1).await;
        assert_ne!(one.total, other.total);
        assert_eq!(one.differing_tables(&other), ["orders"]);
        assert_eq!(one.differing_orders(&other), [order]);
        assert_eq!(one.to_string().len(), 64);
    }

    #[test]
    fn an_older_schema_is_not_compared() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("old.sqlite");
        Connection::open(&path).unwrap().execute_batch("PRAGMA user_version = 1").unwrap();
        assert!(matches!(state_hash(&path), Err(HashError::Schema { found: 1, .. })));
    }
}
