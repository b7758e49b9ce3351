//! What boards have asked for lately, and what changed of it: the owner says of riders and of the whole cell only what
//! somebody wants to hear, so that a cell whose boards nobody watches pays nothing for them.
//!
//! Interest begins with a question and ends a while after the last one. Versions count within an epoch only: a rider's is
//! the log's cursor at its last change, the cell's grows by one per word. When interest in the cell ends, its version
//! moves on unsaid, so that whoever comes back late finds a gap and reads anew.

use crate::domain::{OrderId, RiderId, UnixMillis};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

/// A rider that somebody asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    until: Duration,
    pub(super) version: u64,
    /// Cell time of that version, as far as it is known.
    pub(super) at: UnixMillis,
}

/// Riders asked for at once. Beyond it the ones that were asked for longest ago are let go: their boards ask again.
const RIDERS_MAX: usize = 100_000;

/// See the module. All times are counted from the owner's start.
#[derive(Debug, Default)]
pub(super) struct Interest {
    riders: HashMap<RiderId, Asked>,
    cell_until: Option<Duration>,
    cell_version: u64,
    changed_riders: BTreeSet<RiderId>,
    changed_orders: BTreeSet<OrderId>,
}

/// What changed in the cell from one version to the next.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) riders: Vec<RiderId>,
    pub(super) orders: Vec<OrderId>,
}

impl Interest {
    /// Somebody asks for a rider, whose version is at most `cursor`.
    pub(super) fn ask_rider(&mut self, rider: &RiderId, cursor: u64, at: UnixMillis, until: Duration) -> Asked {
        if self.riders.len() >= RIDERS_MAX && !self.riders.contains_key(rider) {
            let first = self.riders.iter().min_by_key(|(_, asked)| asked.until).map(|(id, _)| id.clone());
            first.map(|id| self.riders.remove(&id));
        }
        let asked = self.riders.entry(rider.clone()).or_insert(Asked { until, version: cursor, at });
        asked.until = asked.until.max(until);
        *asked
    }

    /// A rider changed; whether somebody wants to hear of it.
    pub(super) fn rider_changed(&mut self, rider: &RiderId, cursor: u64, at: UnixMillis) -> Option<Asked> {
        if self.cell_until.is_some() {
            self.changed_riders.insert(rider.clone());
        }
        let asked = self.riders.get_mut(rider)?;
        (asked.version, asked.at) = (asked.version.max(cursor), at);
        Some(*asked)
    }

    pub(super) fn order_changed(&mut self, order: &OrderId) {
        if self.cell_until.is_some() {
            self.changed_orders.insert(order.clone());
        }
    }

    /// The riders that are still asked for.
    pub(super) fn riders(&mut self, now: Duration) -> Vec<(RiderId, Asked)> {
        self.riders.retain(|_, asked| asked.until > now);
        self.riders.iter().map(|(id, asked)| (id.clone(), *asked)).collect()
    }

    /// Somebody asks for the cell; its version, after which every change is said.
    pub(super) fn ask_cell(&mut self, until: Duration) -> u64 {
        self.cell_until = Some(self.cell_until.map_or(until, |before| before.max(until)));
        self.cell_version
    }

    /// The cell's version, while somebody asks.
    pub(super) fn cell_version(&self) -> Option<u64> {
        self.cell_until.map(|_| self.cell_version)
    }

    /// Takes what changed, in words of at most `rows` rows.
    pub(super) fn take(&mut self, now: Duration, rows: usize) -> Vec<Changes> {
        if self.cell_until.is_some_and(|until| until <= now) {
            let version = self.cell_version + 1;
            (self.cell_until, self.cell_version) = (None, version);
            (self.changed_riders, self.changed_orders) = Default::default();
        }
        let mut words = Vec::new();
        while !self.changed_riders.is_empty() || !self.changed_orders.is_empty() {
            let riders = first(&mut self.changed_riders, rows);
            let orders = first(&mut self.changed_orders, rows - riders.len());
            let from = self.cell_version;
            self.cell_version += 1;
            words.push(Changes { from, to: self.cell_version, riders, orders });
        }
        words
    }
}

fn first<K: Ord>(from: &mut BTreeSet<K>, most: usize) -> Vec<K> {
    std::iter::from_fn(|| from.pop_first()).take(most).collect()
}

/// The first `most` of a map's rows after a key, by key, and whether there are more.
pub(super) fn page<'a, K: Ord + Clone + 'a, R: 'a>(
    rows: impl Iterator<Item = (&'a K, R)>,
    after: Option<&K>,
    most: usize,
) -> (BTreeMap<K, R>, bool) {
    let mut page = BTreeMap::new();
    let mut more = false;
    for (key, row) in rows.filter(|(key, _)| after.is_none_or(|after| *key > after)) {
        let room = page.len() < most;
        more |= !room;
        if room || page.last_key_value().is_some_and(|(last, _)| key < last) {
            page.insert(key.clone(), row);
            if !room {
                page.pop_last();
            }
        }
    }
    (page, more)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::testing::{order, rider};

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn nothing_is_noted_that_nobody_asked_for() {
        let mut interest = Interest::default();
        assert_eq!(interest.rider_changed(&rider(1), 5, UnixMillis(5)), None);
        interest.order_changed(&order(1));
        assert_eq!((interest.take(S, 10), interest.cell_version()), (vec![], None));
        let asked = interest.ask_rider(&rider(1), 6, UnixMillis(6), S * 60);
        assert_eq!(asked.version, 6);
        assert_eq!(interest.rider_changed(&rider(1), 9, UnixMillis(9)).map(|a| a.version), Some(9));
        assert_eq!((interest.riders(S * 59).len(), interest.riders(S * 60).len()), (1, 0));
        assert_eq!(interest.rider_changed(&rider(1), 10, UnixMillis(10)), None);
    }

    #[test]
    fn words_are_bounded_and_lead_on_and_a_pause_leaves_a_gap() {
        let mut interest = Interest::default();
        assert_eq!(interest.ask_cell(S * 60), 0);
        (0..5).for_each(|n| interest.order_changed(&order(n)));
        for _ in 0..2 {
            interest.rider_changed(&rider(1), 1, UnixMillis(1));
        }
        let words = interest.take(S, 4);
        let sizes: Vec<_> = words.iter().map(|w| (w.from, w.to, w.riders.len(), w.orders.len())).collect();
        assert_eq!(sizes, [(0, 1, 1, 3), (1, 2, 0, 2)]);
        assert_eq!(interest.take(S, 4), []);
        interest.order_changed(&order(1));
        // Too late: what changed is forgotten, and the version says so.
        assert_eq!((interest.take(S * 60, 4), interest.cell_version()), (vec![], None));
        assert_eq!(interest.ask_cell(S * 120), 3);
    }

    #[test]
    fn pages_give_each_row_once() {
        let rows: HashMap<u32, u32> = (0..100).map(|n| (n, n)).collect();
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let (found, more) = page(rows.iter().map(|(k, v)| (k, *v)), after.as_ref(), 7);
            after = found.last_key_value().map(|(k, _)| *k);
            all.extend(found.into_keys());
            if !more {
                break;
            }
        }
        assert_eq!(all, (0..100).collect::<Vec<_>>());
    }
}
