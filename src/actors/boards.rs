//! What boards hear of the committed state: a rider's document, pages of the cell, and what changed in it.

use super::hot::{Hot, HotRider};
use crate::{
    domain::{OrderId, RiderId, UnixMillis},
    wire::board::{After, CellPage, CellWord, OrderRow, PAGE_ROWS, RiderRow, RiderWord},
};
use std::{collections::BTreeMap, time::Duration};

use super::interest::{Asked, Changes, page};

pub(super) fn row(rider: &HotRider) -> RiderRow {
    RiderRow {
        on_shift: rider.on_shift,
        position: rider.position.as_ref().map(Into::into),
        orders: rider.stops.to_vec(),
    }
}

pub(super) fn word(epoch: u64, id: &RiderId, rider: &HotRider, Asked { version, at, .. }: Asked) -> RiderWord {
    RiderWord { epoch, version, at_ms: at, rider: id.clone(), row: row(rider) }
}

impl Hot {
    /// A rider as they are now; what changes from here on is among the announcements until `until`, counted from the
    /// owner's start. `None` for one that the cell doesn't know.
    pub fn rider_board(&self, id: &RiderId, epoch: u64, until: Duration) -> Option<RiderWord> {
        let riders = self.riders.read();
        let rider = riders.known.get(id)?;
        let asked = self.interest.lock().ask_rider(id, riders.cursor, riders.at, until);
        Some(word(epoch, id, rider, asked))
    }

    /// The riders that somebody asked for, as they are now.
    pub fn rider_words(&self, epoch: u64, now: Duration) -> Vec<RiderWord> {
        let riders = self.riders.read();
        let asked = self.interest.lock().riders(now);
        asked.into_iter().filter_map(|(id, asked)| Some(word(epoch, &id, riders.known.get(&id)?, asked))).collect()
    }

    /// A page of the cell, and interest in what changes from here on.
    pub fn cell_page(&self, ask: &After, epoch: u64, until: Duration) -> CellPage {
        // The version before the rows: they may be newer than it, never older.
        let version = self.interest.lock().ask_cell(until);
        let at_ms = self.riders.read().at;
        let mut found =
            CellPage { epoch, version, at_ms, riders: BTreeMap::new(), orders: BTreeMap::new(), next: None };
        match ask {
            After::Riders(after) => {
                let riders = self.riders.read();
                let shown = riders.known.iter().filter(|(_, r)| r.on_shift || !r.stops.is_empty());
                let (rows, more) = page(shown, after.as_ref(), PAGE_ROWS);
                let last = rows.last_key_value().map(|(id, _)| id.clone());
                found.next = Some(if more { After::Riders(last) } else { After::Orders(None) });
                found.riders = rows.into_iter().map(|(id, rider)| (id, row(rider))).collect();
            }
            After::Orders(after) => {
                let orders = self.orders.read();
                let active = orders.known.iter().filter(|(_, order)| !order.live.status.is_final());
                let (rows, more) = page(active, after.as_ref(), PAGE_ROWS);
                found.next = more.then(|| After::Orders(rows.last_key_value().map(|(id, _)| id.clone())));
                let row =
                    |(id, order): (OrderId, &super::HotOrder)| Some((id, OrderRow::of(&order.facts, &order.live)?));
                found.orders = rows.into_iter().filter_map(row).collect();
            }
            After::All => {}
        }
        found
    }

    /// What changed since the last time, while somebody asks.
    pub fn cell_words(&self, epoch: u64, now: Duration) -> Vec<CellWord> {
        let changes = self.interest.lock().take(now, PAGE_ROWS);
        let at_ms = self.riders.read().at;
        changes.into_iter().map(|changes| self.cell_word(epoch, at_ms, changes)).collect()
    }

    fn cell_word(&self, epoch: u64, at_ms: UnixMillis, Changes { from, to, riders, orders }: Changes) -> CellWord {
        let known = self.riders.read();
        let rider = |id: RiderId| {
            let row = known.known.get(&id).map(row).filter(RiderRow::is_shown);
            (id, row)
        };
        let riders = riders.into_iter().map(rider).collect();
        drop(known);
        let known = self.orders.read();
        let order = |id: OrderId| {
            let row = known.known.get(&id).and_then(|order| OrderRow::of(&order.facts, &order.live));
            (id, row)
        };
        CellWord::Delta { epoch, from, to, at_ms, riders, orders: orders.into_iter().map(order).collect() }
    }

    /// The cell's version, while somebody asks.
    pub fn cell_heartbeat(&self, epoch: u64) -> Option<CellWord> {
        self.interest.lock().cell_version().map(|version| CellWord::Heartbeat { epoch, version })
    }
}
