//! Proves that a cell's database is what its log gives: the log is played from its first message to the database's
//! cursor, and what comes out is compared order by order with its alerts, rider by rider, and the cell's own state.

use super::{
    OpenLog, Read, ReplayError,
    differences::{Beside, Detail, compare, digest, first_difference},
};
use crate::{
    clock::Stopwatch,
    domain::{CellId, Effect, Order, OrderId, cell::Solo},
    ports::LogMark,
    store::Look,
    wire::{blob, hex, log},
};
use serde::Serialize;
use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    time::Duration,
};

/// Most differences that are told one by one.
pub const MOST_TOLD: usize = 1_000;

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verified {
    pub cell: CellId,
    /// Last place in the log that the database has applied.
    pub cursor: u64,
    /// Messages that were played, and places that have none because they were erased.
    pub entries: u64,
    pub erased: u64,
    pub fixes: u64,
    /// Orders, their alerts and riders in the database or the log.
    pub orders: u64,
    pub alerts: u64,
    pub riders: u64,
    /// Of these, how many are the same in both; of an order, with its alerts.
    pub equal_orders: u64,
    pub equal_alerts: u64,
    pub equal_riders: u64,
    /// Over all orders' hashes.
    pub database_hash: String,
    pub log_hash: String,
    /// Of the first [`MOST_TOLD`] of what differs.
    pub differing: Vec<Differing>,
    /// Time for the log, and for comparing.
    pub played: Duration,
    pub compared: Duration,
}

impl Verified {
    /// Whether the database is what the log gives.
    pub fn is_equal(&self) -> bool {
        self.differing.is_empty()
    }
}

/// An order, a rider or the cell that isn't what the log gives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Differing {
    /// `order o1`, `rider r1`, `cell`.
    pub what: String,
    pub details: Vec<Detail>,
}

/// See the module. `reached` hears now and then how far in the log the play is.
pub async fn verify(database: &Path, log: &OpenLog, mut reached: impl FnMut(u64)) -> Result<Verified, ReplayError> {
    let look = Look::open(database).map_err(|error| ReplayError::Look { path: database.to_owned(), error })?;
    if *look.cell() != log.head().cell {
        return Err(ReplayError::OtherCell { log: log.head().cell.clone(), database: look.cell().clone() });
    }
    let mark = look.mark()?.ok_or_else(|| ReplayError::NoLog(database.to_owned()))?;
    log.has_beginning()?;
    log.belongs(mark).await?;
    let watch = Stopwatch::start();
    let mut played = Played::default();
    let mut reading = log.read();
    'log: while let Some(chunk) = reading.next().await? {
        for read in &chunk {
            if read.entry.seq > mark.cursor {
                break 'log;
            }
            played.take(read, mark)?;
        }
        reached(played.last);
    }
    drop(reading);
    reached(mark.cursor);
    let played_for = watch.elapsed();
    played.compare(&look, mark, played_for)
}

/// The log as far as it was played.
#[derive(Debug, Default)]
struct Played {
    solo: Solo,
    /// What each order has beside its state.
    beside: HashMap<OrderId, Beside>,
    entries: u64,
    fixes: u64,
    last: u64,
}

impl Played {
    fn take(&mut self, Read { message, entry }: &Read, mark: LogMark) -> Result<(), ReplayError> {
        if entry.seq == mark.cursor && log::digest(&message.raw()) != mark.digest {
            let reason = format!("the message at sequence {} is not the one that was applied from there", entry.seq);
            return Err(ReplayError::OtherLog(reason));
        }
        let outcome = self.solo.apply(entry);
        self.fixes += outcome.verdicts.len() as u64;
        for (order, effect) in outcome.effects {
            if let Effect::Row(_) | Effect::Alert(_) = effect {
                match self.beside.get_mut(&order) {
                    Some(beside) => beside.hear(effect),
                    None => self.beside.entry(order).or_default().hear(effect),
                }
            }
        }
        self.entries += 1;
        self.last = entry.seq;
        Ok(())
    }

    fn compare(mut self, look: &Look, mark: LogMark, played: Duration) -> Result<Verified, ReplayError> {
        let watch = Stopwatch::start();
        let mut found = Found::default();
        self.compare_cell(look, &mut found)?;
        let orders = std::mem::take(&mut self.solo.orders);
        let mut orders: BTreeMap<OrderId, Order> =
            orders.into_iter().filter_map(|(id, order)| Some((id, order?))).collect();
        look.orders(|stored| {
            found.orders += 1;
            found.alerts += stored.alerts.len() as u64;
            let Some(order) = orders.remove(&stored.order) else {
                found.database.extend(digest([stored.order.as_str().as_bytes()]));
                found.tell(format!("order {}", stored.order), vec![Detail::new("order", "is there", "isn't there")]);
                return Ok(());
            };
            let beside = self.beside.remove(&stored.order).unwrap_or_default();
            let compared = compare(look.cell(), &stored, &order, &beside)?;
            found.alerts += compared.missing_alerts;
            found.equal_alerts += compared.equal_alerts;
            found.database.extend(compared.database);
            found.log.extend(compared.log);
            if compared.details.is_empty() {
                found.equal_orders += 1;
            } else {
                found.tell(format!("order {}", stored.order), compared.details);
            }
            Ok::<_, ReplayError>(())
        })?;
        for id in orders.keys() {
            found.orders += 1;
            found.log.extend(digest([id.as_str().as_bytes()]));
            found.alerts += self.beside.get(id).map_or(0, |beside| beside.alerts.len() as u64);
            found.tell(format!("order {id}"), vec![Detail::new("order", "isn't there", "is there")]);
        }
        // Of an order that is missing in the database, that is told already.
        for stray in look.stray_alerts()?.iter().filter(|row| !orders.keys().any(|id| id.as_str() == row.order)) {
            found.alerts += 1;
            found.database.extend(digest([stray.columns.to_string().as_bytes()]));
            let details = vec![Detail::new(format!("alert {}", stray.n), "is there", "isn't there")];
            found.tell(format!("order {}", stray.order), details);
        }
        self.compare_riders(look, &mut found)?;
        Ok(Verified {
            cell: look.cell().clone(),
            cursor: mark.cursor,
            entries: self.entries,
            erased: mark.cursor.saturating_sub(self.entries),
            fixes: self.fixes,
            orders: found.orders,
            alerts: found.alerts,
            riders: found.riders,
            equal_orders: found.equal_orders,
            equal_alerts: found.equal_alerts,
            equal_riders: found.equal_riders,
            database_hash: hex(&digest([&found.database[..]])),
            log_hash: hex(&digest([&found.log[..]])),
            differing: found.differing,
            played,
            compared: watch.elapsed(),
        })
    }

    fn compare_cell(&self, look: &Look, found: &mut Found) -> Result<(), ReplayError> {
        let image = look.image()?;
        let head = self.solo.cell.head();
        let mut details = Vec::new();
        // A cell that has applied nothing has stored nothing.
        let stored = if image.head.is_empty() { Ok(Default::default()) } else { blob::decode(&image.head) };
        match stored {
            Ok(stored) if stored == *head => {}
            Ok(stored) => {
                let shown = |head: &crate::domain::cell::CellHead| serde_json::to_value(head).unwrap_or_default();
                let differs = first_difference("head", &shown(&stored), &shown(head));
                details.push(differs.unwrap_or_else(|| Detail::new("head", "other content", "the same fields")));
            }
            Err(error) => details.push(Detail::new("head", format!("can't be read: {error}"), "readable")),
        }
        if image.cell_time != head.clock.now() {
            details.push(Detail::new("column cell_time", image.cell_time.0, head.clock.now().0));
        }
        if !details.is_empty() {
            found.tell("cell".to_owned(), details);
        }
        Ok(())
    }

    fn compare_riders(&mut self, look: &Look, found: &mut Found) -> Result<(), ReplayError> {
        let mut riders: BTreeMap<_, _> = self.solo.cell.take_changed().into_iter().collect();
        for (id, stored) in look.riders()? {
            found.riders += 1;
            let details = match (riders.remove(&id), blob::decode(&stored)) {
                (Some(rider), Ok(stored)) if rider == stored => {
                    found.equal_riders += 1;
                    continue;
                }
                (Some(rider), Ok(stored)) => {
                    let shown = |rider: &crate::domain::cell::Rider| serde_json::to_value(rider).unwrap_or_default();
                    let differs = first_difference("state", &shown(&stored), &shown(&rider));
                    differs.unwrap_or_else(|| Detail::new("state", "other content", "the same fields"))
                }
                (Some(_), Err(error)) => Detail::new("state", format!("can't be read: {error}"), "readable"),
                (None, _) => Detail::new("rider", "is there", "isn't there"),
            };
            found.tell(format!("rider {id}"), vec![details]);
        }
        for id in riders.keys() {
            found.riders += 1;
            found.tell(format!("rider {id}"), vec![Detail::new("rider", "isn't there", "is there")]);
        }
        Ok(())
    }
}

#[derive(Debug, Default)]
struct Found {
    orders: u64,
    equal_orders: u64,
    alerts: u64,
    equal_alerts: u64,
    riders: u64,
    equal_riders: u64,
    /// Hashes of the orders, one behind the other.
    database: Vec<u8>,
    log: Vec<u8>,
    differing: Vec<Differing>,
}

impl Found {
    fn tell(&mut self, what: String, details: Vec<Detail>) {
        if self.differing.len() < MOST_TOLD {
            self.differing.push(Differing { what, details });
        }
    }
}
