//! Which orders were where, and when: an index by grid cell and quarter of an hour, and the answer to "which orders passed
//! this box between then and then".
//!
//! The index holds each (grid cell, quarter, order) in which the order has or had a good fix. It is written with the
//! commit that has the fix, and nothing is ever taken out of it: a fix that is marked bad later, or moved, leaves its line
//! there. What it names is therefore looked up in the history before it is told, and a line too many costs a look.

use super::{read::id, readers::ReadError};
use crate::{
    domain::{OrderId, UnixMillis},
    geo::{Point, grid_cell, grid_cells, grid_count},
    wire::{
        FieldError,
        area::Region,
        query::{Passed, PassedPage, PassedQuery, page_limit},
    },
};
use rusqlite::{Connection, params};
use std::collections::{BTreeSet, HashMap};

/// Filled with what a file has from before: [`grid_cell`] and [`quarter`] in SQL. Degrees are as printed from integers of
/// 1e-7, so that rounding finds these again.
pub(super) const TABLE: &str = "
CREATE TABLE order_passed (
    cell INTEGER NOT NULL,              -- of the grid, not of the deployment
    quarter INTEGER NOT NULL,           -- of an hour, since 1970
    order_id TEXT NOT NULL,
    PRIMARY KEY (cell, quarter, order_id)
) STRICT, WITHOUT ROWID;
INSERT OR IGNORE INTO order_passed
SELECT (CAST(round(latitude * 1e7) AS INTEGER) + 900000000) / 50000 * 36001
        + (CAST(round(longitude * 1e7) AS INTEGER) + 1800000000) / 100000,
    (fix_time - ((fix_time % 900000) + 900000) % 900000) / 900000,
    order_id
FROM order_tracking
WHERE kind = 'fix' AND mark = 'good' AND latitude IS NOT NULL AND longitude IS NOT NULL AND fix_time IS NOT NULL;
";

const QUARTER_MS: i64 = 900_000;

/// Orders whose last place is remembered. 131,072: all that a large cell has under way, in some 10 MB.
const REMEMBERED: usize = 1 << 17;

/// Most grid cells that a box may touch: some 60 km by 35 km.
const MAX_CELLS: u64 = 4_096;
/// Most cells times quarters of one question: a town of 10 km by 10 km over ten days.
const MAX_SCANNED: u64 = 200_000;
/// Most lines of the index, and of the history, that are read for one answer; about 0.2 s each.
const MAX_ENTRIES: usize = 500_000;
const MAX_LINES: usize = 200_000;

fn quarter(time: UnixMillis) -> i64 {
    time.0.div_euclid(QUARTER_MS)
}

/// The writer's memory of where each order was last: a rider is in the same cell and quarter for some twenty fixes, and
/// only the first of them is written. What is forgotten is written once more, which changes nothing; what is remembered is
/// written, since a transaction that fails ends the writing.
#[derive(Debug, Default)]
pub(super) struct Trail {
    last: HashMap<OrderId, (i64, i64)>,
}

impl Trail {
    /// The order has a good fix there.
    pub(super) fn passed(
        &mut self,
        connection: &Connection,
        order: &OrderId,
        point: Point,
        time: UnixMillis,
    ) -> rusqlite::Result<()> {
        let here = (grid_cell(point), quarter(time));
        if self.last.get(order) == Some(&here) {
            return Ok(());
        }
        connection.prepare_cached("INSERT OR IGNORE INTO order_passed VALUES (?1, ?2, ?3)")?.execute(params![
            here.0,
            here.1,
            order.as_str()
        ])?;
        if self.last.len() >= REMEMBERED {
            self.last.clear();
        }
        self.last.insert(order.clone(), here);
        Ok(())
    }

    /// The order has ended: few fixes will follow.
    pub(super) fn forget(&mut self, order: &OrderId) {
        self.last.remove(order);
    }
}

/// A checked question.
#[derive(Debug)]
pub(super) struct Asked {
    region: Region,
    from: UnixMillis,
    to: UnixMillis,
    after: String,
    limit: usize,
}

impl Asked {
    pub(super) fn check(ask: &PassedQuery) -> Result<Self, FieldError> {
        let PassedQuery { within, from_ms, to_ms, after, limit } = ask;
        let limit = page_limit(*limit)?;
        let region = within.region()?;
        if to_ms <= from_ms {
            return Err(FieldError::new("to_ms", "must be after from_ms"));
        }
        let cells = grid_count(&region.bounds());
        if cells > MAX_CELLS {
            let said = format!("touches {cells} cells of 0.005° by 0.01°, at most {MAX_CELLS} are looked at");
            return Err(FieldError::new("within", said));
        }
        let quarters = quarter(*to_ms).abs_diff(quarter(*from_ms)) + 1;
        if cells.saturating_mul(quarters) > MAX_SCANNED {
            let most_h = MAX_SCANNED / cells / 4;
            return Err(FieldError::new("to_ms", format!("is too late: of such a box, {most_h} hours are looked at")));
        }
        let after = after.as_ref().map(ToString::to_string).unwrap_or_default();
        Ok(Self { region, from: *from_ms, to: *to_ms, after, limit })
    }

    /// A page, or the field to change where too much lies there.
    pub(super) fn page(&self, connection: &Connection) -> Result<Result<PassedPage, FieldError>, ReadError> {
        // A few more than fit, since some may only have passed next to the box.
        let most = 2 * self.limit + 100;
        let Some((candidates, more)) = self.candidates(connection, most)? else {
            let said = format!("is too late: more than {MAX_ENTRIES} passages lie between; ask for a shorter time");
            return Ok(Err(FieldError::new("to_ms", said)));
        };
        let (mut page, mut lines, mut last) = (PassedPage::default(), 0, None);
        for candidate in candidates {
            if page.orders.len() >= self.limit || lines >= MAX_LINES {
                page.next = last;
                return Ok(Ok(page));
            }
            let order: OrderId = id("order_passed.order_id", Ok::<_, String>(&candidate))?;
            page.orders.extend(self.look(connection, &order, &mut lines)?);
            last = Some(order);
        }
        page.next = last.filter(|_| more);
        Ok(Ok(page))
    }

    /// The first so many orders that the index names, by id, and whether there are others; `None` if it names too many
    /// times.
    fn candidates(&self, connection: &Connection, most: usize) -> Result<Option<(BTreeSet<String>, bool)>, ReadError> {
        let mut statement = connection.prepare_cached(
            "SELECT order_id FROM order_passed WHERE cell = ?1 AND quarter BETWEEN ?2 AND ?3 AND order_id > ?4",
        )?;
        let (first, last) = (quarter(self.from), quarter(UnixMillis(self.to.0.saturating_sub(1))));
        let (mut found, mut more, mut entries) = (BTreeSet::<String>::new(), false, 0);
        for cell in grid_cells(&self.region.bounds()) {
            let mut rows = statement.query(params![cell, first, last, self.after])?;
            while let Some(row) = rows.next()? {
                entries += 1;
                if entries > MAX_ENTRIES {
                    return Ok(None);
                }
                let order = row.get_ref(0)?.as_str().map_err(|e| ReadError::column("order_passed.order_id", e))?;
                if found.contains(order) || (more && found.last().is_some_and(|last| order > last.as_str())) {
                    continue;
                }
                found.insert(order.to_owned());
                if found.len() > most {
                    found.pop_last();
                    more = true;
                }
            }
        }
        Ok(Some((found, more)))
    }

    /// Whether an order's good fixes lie there; counts the lines read.
    fn look(&self, connection: &Connection, order: &OrderId, lines: &mut usize) -> Result<Option<Passed>, ReadError> {
        let mut statement = connection.prepare_cached(
            "SELECT fix_time, latitude, longitude, mark = 'good' FROM order_tracking WHERE order_id = ?1 AND kind = 'fix'",
        )?;
        let mut rows = statement.query([order.as_str()])?;
        let mut passed: Option<Passed> = None;
        while let Some(row) = rows.next()? {
            *lines += 1;
            let time = UnixMillis(row.get(0)?);
            if time < self.from || time >= self.to || !row.get::<_, bool>(3)? {
                continue;
            }
            let point = Point::from_degrees(row.get(1)?, row.get(2)?)
                .map_err(|e| ReadError::column("order_tracking.latitude", e))?;
            if self.region.contains(point) {
                let fresh = || Passed { order: order.clone(), first_ms: time, last_ms: time, fixes: 0 };
                let passed = passed.get_or_insert_with(fresh);
                passed.first_ms = passed.first_ms.min(time);
                passed.last_ms = passed.last_ms.max(time);
                passed.fixes += 1;
            }
        }
        Ok(passed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::CellId,
        geo::Bounds,
        metrics::Metrics,
        ports::Store as _,
        store::{
            Options, Store,
            fixtures::{Shop, open},
            schema,
        },
        wire::{
            area::Area,
            query::{TrackQuery, TrackRow},
        },
    };
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn ask(within: Area, from: i64, to: i64) -> PassedQuery {
        PassedQuery { within, from_ms: UnixMillis(from), to_ms: UnixMillis(to), after: None, limit: None }
    }

    fn boxed(south: i32, west: i32, north: i32, east: i32) -> Area {
        Area::Box([Point { lat_e7: south, lon_e7: west }, Point { lat_e7: north, lon_e7: east }])
    }

    /// The index as it is.
    fn lines(connection: &Connection) -> BTreeSet<(i64, i64, String)> {
        let mut statement = connection.prepare("SELECT cell, quarter, order_id FROM order_passed").unwrap();
        let lines = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
        lines.map(Result::unwrap).collect()
    }

    /// What the histories say, line by line.
    fn scanned(histories: &BTreeMap<OrderId, Vec<TrackRow>>, ask: &PassedQuery) -> Vec<Passed> {
        let region = ask.within.region().unwrap();
        let inside = |row: &&TrackRow| {
            let time = row.fix_time_ms.unwrap();
            let point = Point::from_degrees(row.lat.unwrap(), row.lon.unwrap()).unwrap();
            row.mark.as_deref() == Some("good") && time >= ask.from_ms && time < ask.to_ms && region.contains(point)
        };
        let of = |(order, rows): (&OrderId, &Vec<TrackRow>)| {
            let times: Vec<_> =
                rows.iter().filter(|r| r.kind == "fix").filter(inside).map(|r| r.fix_time_ms.unwrap()).collect();
            let (first_ms, last_ms) = (*times.iter().min()?, *times.iter().max()?);
            Some(Passed { order: order.clone(), first_ms, last_ms, fixes: u32::try_from(times.len()).unwrap() })
        };
        histories.iter().filter_map(of).collect()
    }

    #[test]
    fn the_index_says_what_a_scan_of_every_history_says() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (dir, store) = open();
        let mut shop = Shop::new(40);
        shop.roaming = true;
        let histories = runtime.block_on(async {
            for _ in 0..30 {
                store.commit(shop.batch(40)).await.unwrap();
            }
            let mut histories = BTreeMap::new();
            for order in shop.ids() {
                let page = store.track(TrackQuery::all(order.clone())).await.unwrap().unwrap();
                histories.insert(order, page.rows);
            }
            histories
        });
        let start = 1_700_000_000_000_i64 - 7_200_000;
        let corner = || (-160_000..160_000i32, -160_000..160_000i32);
        let law = (corner(), corner(), start..start + 7_300_000, 1..4_000_000i64, 1..20u32, any::<bool>());
        let found = std::cell::Cell::new(0);
        proptest!(ProptestConfig::with_cases(200), |((a, b, from, long, limit, fence) in law)| {
            let (south, north) = (a.0.min(b.0), a.0.max(b.0));
            let within = if fence {
                let corners = [(south, a.1), (north, a.1), (north, b.1.max(a.1 + 1))];
                Area::Fence(corners.map(|(lat_e7, lon_e7)| Point { lat_e7, lon_e7 }).to_vec())
            } else {
                boxed(south, a.1.min(b.1), north, a.1.max(b.1))
            };
            let mut ask = PassedQuery { limit: Some(limit), ..ask(within, from, from + long) };
            let expected = scanned(&histories, &ask);
            let mut told = Vec::new();
            loop {
                let page = runtime.block_on(store.passed(ask.clone())).unwrap();
                prop_assert!(page.orders.len() <= limit as usize);
                told.extend(page.orders);
                ask.after = page.next;
                if ask.after.is_none() {
                    break;
                }
            }
            found.set(found.get() + told.len());
            prop_assert_eq!(told, expected);
        });
        assert!(found.get() > 500, "{found:?}");

        // A file from before the index gets it with the migration: every line that a present good fix asks for.
        let old = rusqlite::Connection::open(dir.path().join("cell.sqlite")).unwrap();
        let written = lines(&old);
        old.execute_batch(&format!("DROP TABLE order_passed; {TABLE}")).unwrap();
        let filled = lines(&old);
        let good = histories.iter().flat_map(|(order, rows)| rows.iter().map(move |row| (order, row)));
        let good = good.filter(|(_, row)| row.mark.as_deref() == Some("good"));
        let due: BTreeSet<_> = good
            .map(|(order, row)| {
                let point = Point::from_degrees(row.lat.unwrap(), row.lon.unwrap()).unwrap();
                (grid_cell(point), quarter(row.fix_time_ms.unwrap()), order.to_string())
            })
            .collect();
        assert!(filled == due && filled.is_subset(&written) && filled.len() > 100);
    }

    /// Where commits are cut and how they are grouped decides what is remembered, and changes nothing.
    #[tokio::test]
    async fn the_index_is_the_same_however_commits_are_cut() {
        let mut expected = None;
        for size in [1, 7, 60, 420] {
            let mut shop = Shop::new(41);
            shop.roaming = true;
            let commits: Vec<_> = (0..420 / size).map(|_| shop.batch(size)).collect();
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("cell.sqlite");
            let options = Options { queued_commits: commits.len(), ..Options::default() };
            let store = Store::open(&path, &CellId::default(), options, Metrics::default()).unwrap();
            futures::future::try_join_all(commits.into_iter().map(|commit| store.commit(commit))).await.unwrap();
            store.close().await.unwrap();
            let found = lines(&Connection::open(&path).unwrap());
            assert!(found.len() > 100);
            assert_eq!(*expected.get_or_insert(found.clone()), found, "cut into {size}");
        }
    }

    proptest! {
        /// The migration's arithmetic is the code's, also before 1970 and at the globe's edges.
        #[test]
        fn sql_finds_the_same_cell_and_quarter(
            lat_e7 in -900_000_000..=900_000_000i32, lon_e7 in -1_800_000_000..=1_800_000_000i32, time: i32, far: bool,
        ) {
            let mut connection = Connection::open_in_memory().unwrap();
            schema::prepare(&mut connection, &CellId::default()).unwrap();
            let time = i64::from(time) * if far { 900_000 } else { 1 };
            let point = Point { lat_e7, lon_e7 };
            connection.execute(
                "INSERT INTO order_tracking (order_id, seq, kind, version, rev, status, longitude, latitude, operator_id,
                    operator_type, create_time, fix_time, device_time, mark)
                 VALUES ('o', 1, 'fix', 1, 1, 3, ?1, ?2, 'r', 1, 0, ?3, 0, 'good')",
                params![point.lon(), point.lat(), time],
            ).unwrap();
            connection.execute_batch(&format!("DROP TABLE order_passed; {TABLE}")).unwrap();
            let found: (i64, i64) = connection
                .query_one("SELECT cell, quarter FROM order_passed", [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
            prop_assert_eq!(found, (grid_cell(point), quarter(UnixMillis(time))));
        }
    }

    #[test]
    fn a_rider_in_one_place_costs_one_line() {
        let mut connection = Connection::open_in_memory().unwrap();
        schema::prepare(&mut connection, &CellId::default()).unwrap();
        let (mut trail, order) = (Trail::default(), "o".parse().unwrap());
        let at = |lon_e7| Point { lat_e7: 0, lon_e7 };
        for n in 0..10 {
            trail.passed(&connection, &order, at(n), UnixMillis(i64::from(n))).unwrap();
        }
        let count = "SELECT count(*) FROM order_passed";
        let lines = |c: &Connection| c.query_one(count, [], |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!(lines(&connection), 1);
        let changes = connection.total_changes();
        trail.passed(&connection, &order, at(5), UnixMillis(11)).unwrap();
        assert_eq!(connection.total_changes(), changes);
        trail.passed(&connection, &order, at(5), UnixMillis(QUARTER_MS)).unwrap();
        trail.passed(&connection, &order, at(100_000), UnixMillis(QUARTER_MS)).unwrap();
        trail.forget(&order);
        trail.passed(&connection, &order, at(100_000), UnixMillis(QUARTER_MS)).unwrap();
        assert_eq!(lines(&connection), 3);
    }

    #[test]
    fn questions_are_bounded_and_the_field_is_named() {
        let field = |within: Area, from, to| Asked::check(&ask(within, from, to)).unwrap_err().field;
        let town = || boxed(310_000_000, 1_214_000_000, 311_000_000, 1_215_000_000);
        assert!(Asked::check(&ask(town(), 0, 7 * 86_400_000)).is_ok());
        assert_eq!(field(town(), 5, 5), "to_ms");
        assert_eq!(field(town(), 0, 365 * 86_400_000), "to_ms");
        assert_eq!(field(town(), i64::MIN, i64::MAX), "to_ms");
        assert_eq!(field(boxed(0, 0, 900_000_000, 900_000_000), 0, 1), "within");
        assert_eq!(field(boxed(1, 0, 0, 0), 0, 1), "within");
        let globe = Bounds::GLOBE;
        assert!(grid_count(&globe) > MAX_CELLS);
        let none = PassedQuery { limit: Some(0), ..ask(town(), 0, 1) };
        assert_eq!(Asked::check(&none).unwrap_err().field, "limit");
    }
}
