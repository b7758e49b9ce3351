//! The tables, and how an older file becomes a present one.
//!
//! `user_version` counts the migrations that a file has had. Each runs in a transaction of its own together with the
//! new count, so that a crash between two leaves a file that the next start takes up. Migrations are only ever added.

use crate::domain::CellId;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

/// "TRKL" in the file's header: another program's database isn't migrated by mistake.
const APPLICATION_ID: i32 = 0x5452_4b4c;

/// Why a file can't be this cell's store.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    #[error("the file has schema {found}, this program knows up to {known}: it was written by a newer release")]
    Newer { found: usize, known: usize },
    #[error("the file is a database of another program (application_id {0:#x})")]
    Foreign(i32),
    #[error("the file belongs to cell `{found}`, not to `{wanted}`")]
    OtherCell { found: String, wanted: String },
    #[error("migration to schema {to}: {source}")]
    Migration { to: usize, source: rusqlite::Error },
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
}

/// All of them, oldest first.
pub(super) const MIGRATIONS: &[&str] =
    &[TABLES, REPORT, ENDED, OUTBOX_AGE, BY_USER, ETA, ALERTS, super::passed::TABLE, CARRY_ON, super::outcomes::TABLE];

/// Times are milliseconds since 1970: the cell's unless the name says otherwise. Foreign keys are not declared: every
/// row comes from one writer that has just written the order, and checking would cost a look-up for each fix.
const TABLES: &str = "
CREATE TABLE orders (
    id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL,
    cell TEXT NOT NULL,
    warehouse_id TEXT NOT NULL,
    warehouse_name TEXT NOT NULL,
    rider_id TEXT,
    status INTEGER NOT NULL,            -- 1 pending payment, 2 paid, 3 delivering, 4 completed, 5 cancelled
    stage TEXT,
    version INTEGER NOT NULL,
    rev INTEGER NOT NULL,
    total_minor INTEGER NOT NULL,       -- in the currency's minor unit; see orders_decimal
    currency TEXT NOT NULL,
    create_time INTEGER NOT NULL,
    update_time INTEGER NOT NULL,
    complete_time INTEGER,
    state BLOB NOT NULL                 -- last, so that the columns before it are read without it
) STRICT;
-- Lists go from the newest to the oldest; the id makes the order total.
CREATE INDEX orders_by_create_time ON orders (create_time, id);
CREATE INDEX orders_by_status ON orders (status, create_time, id);
CREATE INDEX orders_by_rider ON orders (rider_id, create_time, id) WHERE rider_id IS NOT NULL;
CREATE INDEX orders_by_warehouse ON orders (warehouse_id, create_time, id);
-- The lately ended ones, whose versions heartbeats still say.
CREATE INDEX orders_by_end ON orders (ifnull(complete_time, update_time)) WHERE status >= 4;

CREATE TABLE order_track_chunk (
    order_id TEXT NOT NULL,
    n INTEGER NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (order_id, n)
) STRICT, WITHOUT ROWID;

CREATE TABLE order_tracking (
    id INTEGER PRIMARY KEY,             -- in log order
    order_id TEXT NOT NULL,
    seq INTEGER NOT NULL,               -- place in the cell's log
    kind TEXT NOT NULL,
    version INTEGER NOT NULL,
    rev INTEGER NOT NULL,
    status INTEGER NOT NULL,
    stage TEXT,
    longitude REAL,
    latitude REAL,
    address TEXT,                       -- of stages: the warehouse's name
    operator_id TEXT NOT NULL,
    operator_type INTEGER NOT NULL,     -- 1 rider, 2 warehouse, 3 operations, 4 system
    create_time INTEGER NOT NULL,       -- when it was applied
    fix_time INTEGER,                   -- the device's, corrected
    device_time INTEGER,                -- the device's own; with fix_seq the fix's identity
    sent_time INTEGER,                  -- the device's
    fix_seq INTEGER,
    accuracy_m REAL,
    speed_mps REAL,
    heading_deg INTEGER,
    battery_pct INTEGER,
    mark TEXT,                          -- good, inaccurate, jump
    note TEXT,
    patch TEXT                          -- what changed in the published state: RFC 7396, from version - 1 to version
) STRICT;
CREATE INDEX order_tracking_by_order ON order_tracking (order_id);
-- The database's own proof that no fix is there twice.
CREATE UNIQUE INDEX order_tracking_fix ON order_tracking (order_id, operator_id, device_time, ifnull(fix_seq, -1))
    WHERE kind = 'fix';

CREATE TABLE riders (
    id TEXT PRIMARY KEY,
    state BLOB NOT NULL
) STRICT;

CREATE TABLE timers (
    order_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    n INTEGER NOT NULL,
    due_ms INTEGER NOT NULL,
    PRIMARY KEY (order_id, kind)
) STRICT, WITHOUT ROWID;

-- Not part of the state: entries come with a commit and go when their PubAck is in.
CREATE TABLE outbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    subject TEXT NOT NULL UNIQUE,
    headers TEXT NOT NULL,              -- JSON: [[name, value], ...]
    payload BLOB NOT NULL
) STRICT;

CREATE TABLE cell_state (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    cell TEXT NOT NULL,
    log_created_ns INTEGER,             -- null until the log was seen
    cursor INTEGER NOT NULL,            -- last applied place in the log
    cursor_digest BLOB NOT NULL,        -- of the message there
    cell_time INTEGER NOT NULL,
    head BLOB NOT NULL
) STRICT;
";

/// Not part of the state. From which epoch on versions mean what they mean now, and in which run of the machine (and by which
/// release of the program) the last owner began.
const CARRY_ON: &str = "
ALTER TABLE cell_state ADD COLUMN since_epoch INTEGER;
ALTER TABLE cell_state ADD COLUMN run TEXT;
";

/// Exponents as in ISO 4217; every other currency has two decimals. The amount is a REAL, not text, so that sums and
/// comparisons are numeric; it is exact as printed with the currency's decimals.
const REPORT: &str = "
CREATE VIEW orders_decimal AS
SELECT id, user_id, cell, warehouse_id, warehouse_name, rider_id, status, stage, version, rev,
    total_minor / CASE
        WHEN currency IN ('BIF','CLP','DJF','GNF','ISK','JPY','KMF','KRW','PYG','RWF','UGX','UYI','VND','VUV','XAF',
            'XOF','XPF') THEN 1.0
        WHEN currency IN ('BHD','IQD','JOD','KWD','LYD','OMR','TND') THEN 1000.0
        WHEN currency IN ('CLF','UYW') THEN 10000.0
        ELSE 100.0
    END AS total_amount,
    currency, create_time, update_time, complete_time
FROM orders;
";

/// An ended order still changes when a late fix comes, and is told of for an hour after that: what counts is its last
/// change, here as in the cell's memory.
const ENDED: &str = "
DROP INDEX orders_by_end;
CREATE INDEX orders_by_end ON orders (update_time) WHERE status >= 4;
";

/// Log time of what an entry says; null for one that is published at any age.
const OUTBOX_AGE: &str = "ALTER TABLE outbox ADD COLUMN log_time INTEGER;";

/// A customer's own orders; and what changed lately, for those who keep a copy.
const BY_USER: &str = "
CREATE INDEX orders_by_user ON orders (user_id, create_time, id);
CREATE INDEX orders_by_update_time ON orders (update_time);
";

/// The arrival time where a line told a new one, as then predicted.
const ETA: &str = "
ALTER TABLE order_tracking ADD COLUMN eta_p10 INTEGER;
ALTER TABLE order_tracking ADD COLUMN eta_p50 INTEGER;
ALTER TABLE order_tracking ADD COLUMN eta_p90 INTEGER;
";

/// Every alert as it is after its last change. Lists go from the one detected last to the first; what is asked for all day
/// are those that are open.
const ALERTS: &str = "
CREATE TABLE alerts (
    id TEXT PRIMARY KEY,                -- order_id.n
    order_id TEXT NOT NULL,
    n INTEGER NOT NULL,                 -- counts the order's alerts from 1
    kind TEXT NOT NULL,
    severity TEXT NOT NULL,             -- info, warning, critical
    state TEXT NOT NULL,                -- raised, acknowledged, cleared
    change INTEGER NOT NULL,            -- counts the alert's changes from 1
    at INTEGER NOT NULL,                -- of the last change
    since INTEGER NOT NULL,             -- since when it is so; fix time of what fixes show
    detected_at INTEGER NOT NULL,
    due_at INTEGER,                     -- of what a deadline raised
    rider_id TEXT,
    acknowledged_at INTEGER,
    acknowledged_by TEXT,
    cleared_at INTEGER,
    cleared_because TEXT,
    measure REAL NOT NULL,              -- in the kind's unit
    threshold REAL NOT NULL,
    body TEXT NOT NULL                  -- JSON of the last change, as the stream has it
) STRICT;
CREATE INDEX alerts_open ON alerts (detected_at, id) WHERE state <> 'cleared';
CREATE INDEX alerts_by_detected ON alerts (detected_at, id);
CREATE INDEX alerts_by_kind ON alerts (kind, detected_at, id);
CREATE INDEX alerts_by_order ON alerts (order_id, detected_at, id);
CREATE INDEX alerts_by_rider ON alerts (rider_id, detected_at, id) WHERE rider_id IS NOT NULL;
";

/// Brings the file to the present schema and checks that it is this cell's.
pub(super) fn prepare(connection: &mut Connection, cell: &CellId) -> Result<(), SchemaError> {
    check_application(connection)?;
    migrate(connection, MIGRATIONS)?;
    connection.execute(
        "INSERT INTO cell_state (id, cell, cursor, cursor_digest, cell_time, head) VALUES (1, ?1, 0, zeroblob(32), 0, x'')
         ON CONFLICT (id) DO NOTHING",
        params![cell.as_str()],
    )?;
    is_cell(connection, cell)
}

/// Checks that a file is this cell's, of whatever schema that this program knows, and changes nothing.
pub(super) fn belongs(connection: &Connection, cell: &CellId) -> Result<(), SchemaError> {
    known(connection)?;
    is_cell(connection, cell)
}

/// Checks that a file is ours, of a schema that this program knows, and gives which.
pub(super) fn known(connection: &Connection) -> Result<usize, SchemaError> {
    check_application(connection)?;
    let had = version(connection)?;
    if had > MIGRATIONS.len() {
        return Err(SchemaError::Newer { found: had, known: MIGRATIONS.len() });
    }
    Ok(had)
}

fn is_cell(connection: &Connection, cell: &CellId) -> Result<(), SchemaError> {
    let found: String = connection.query_one("SELECT cell FROM cell_state", [], |row| row.get(0))?;
    if found == cell.as_str() { Ok(()) } else { Err(SchemaError::OtherCell { found, wanted: cell.to_string() }) }
}

fn version(connection: &Connection) -> rusqlite::Result<usize> {
    let version: i32 = connection.query_one("PRAGMA user_version", [], |row| row.get(0))?;
    Ok(usize::try_from(version).unwrap_or(usize::MAX))
}

/// A file is ours, or empty and becomes ours.
fn check_application(connection: &Connection) -> Result<(), SchemaError> {
    let id: i32 = connection.query_one("PRAGMA application_id", [], |row| row.get(0))?;
    let table: Option<i32> = connection.query_row("SELECT 1 FROM sqlite_schema", [], |row| row.get(0)).optional()?;
    if id == APPLICATION_ID || (id == 0 && table.is_none()) { Ok(()) } else { Err(SchemaError::Foreign(id)) }
}

/// Runs the migrations that the file hasn't had.
fn migrate(connection: &mut Connection, migrations: &[&str]) -> Result<(), SchemaError> {
    let had = version(connection)?;
    if had > migrations.len() {
        return Err(SchemaError::Newer { found: had, known: migrations.len() });
    }
    for (index, script) in migrations.iter().enumerate().skip(had) {
        let to = index + 1;
        step(connection, script, to).map_err(|source| SchemaError::Migration { to, source })?;
    }
    Ok(())
}

fn step(connection: &mut Connection, script: &str, to: usize) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(script)?;
    transaction.execute_batch(&format!("PRAGMA user_version = {to}; PRAGMA application_id = {APPLICATION_ID}"))?;
    transaction.commit()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The schema as SQLite keeps it.
    fn schema(connection: &Connection) -> Vec<String> {
        let mut statement = connection.prepare("SELECT ifnull(sql, name) FROM sqlite_schema ORDER BY name").unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    }

    #[test]
    fn every_older_version_becomes_the_present_one() {
        let mut fresh = Connection::open_in_memory().unwrap();
        prepare(&mut fresh, &CellId::default()).unwrap();
        for had in 0..MIGRATIONS.len() {
            let mut old = Connection::open_in_memory().unwrap();
            migrate(&mut old, &MIGRATIONS[..had]).unwrap();
            assert_eq!(version(&old).unwrap(), had);
            if had > 0 {
                old.execute("INSERT INTO riders VALUES ('r', x'01')", []).unwrap();
            }
            prepare(&mut old, &CellId::default()).unwrap();
            assert_eq!(schema(&old), schema(&fresh), "from {had}");
            let kept: i64 = old.query_one("SELECT count(*) FROM riders", [], |row| row.get(0)).unwrap();
            assert_eq!(kept, i64::from(had > 0));
            prepare(&mut old, &CellId::default()).unwrap();
        }
    }

    #[test]
    fn a_failed_migration_leaves_the_file_at_the_version_before() {
        let mut connection = Connection::open_in_memory().unwrap();
        let error = migrate(&mut connection, &["CREATE TABLE a (x)", "CREATE TABLE b (x); CREATE TABLE a (x)"]);
        assert!(matches!(error, Err(SchemaError::Migration { to: 2, .. })), "{error:?}");
        assert_eq!(version(&connection).unwrap(), 1);
        assert_eq!(schema(&connection).len(), 1);
    }

    #[test]
    fn newer_foreign_and_other_cells_files_are_refused() {
        let mut connection = Connection::open_in_memory().unwrap();
        prepare(&mut connection, &CellId::default()).unwrap();
        let error = prepare(&mut connection, &"north".parse().unwrap()).unwrap_err();
        assert!(matches!(error, SchemaError::OtherCell { .. }), "{error}");
        connection.execute_batch("PRAGMA user_version = 99").unwrap();
        let error = prepare(&mut connection, &CellId::default()).unwrap_err();
        assert!(error.to_string().contains("schema 99") && error.to_string().contains("newer release"), "{error}");

        let mut foreign = Connection::open_in_memory().unwrap();
        foreign.execute_batch("CREATE TABLE t (x)").unwrap();
        assert!(matches!(prepare(&mut foreign, &CellId::default()), Err(SchemaError::Foreign(0))));
    }

    #[test]
    fn amounts_are_decimal_by_currency() {
        let mut connection = Connection::open_in_memory().unwrap();
        prepare(&mut connection, &CellId::default()).unwrap();
        for (currency, amount) in [("CNY", 12.34), ("JPY", 1234.0), ("KWD", 1.234), ("CLF", 0.1234)] {
            connection
                .execute(
                    "INSERT INTO orders VALUES (?1, 'u', 'c', 'w', 'W', NULL, 1, NULL, 1, 1, 1234, ?1, 0, 0, NULL, x'')",
                    [currency],
                )
                .unwrap();
            let total: f64 = connection
                .query_one("SELECT total_amount FROM orders_decimal WHERE id = ?1", [currency], |row| row.get(0))
                .unwrap();
            assert_eq!(total, amount, "{currency}");
        }
    }
}
