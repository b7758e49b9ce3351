//! A front warehouse: pickers who take one order after the other, a queue before them, a shelf behind.

use crate::domain::{UnixMillis, WarehouseId};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
};

use super::streets::Corner;

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Warehouse {
    pub(super) id: WarehouseId,
    pub(super) name: String,
    pub(super) corner: Corner,
    /// When each picker is free, the next one first.
    pickers: BinaryHeap<Reverse<UnixMillis>>,
    /// Packed orders without a rider, and since when they stand there, oldest first.
    pub(super) shelf: VecDeque<(UnixMillis, u32)>,
}

/// What the warehouse reports of one order, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Picking {
    pub(super) received: UnixMillis,
    pub(super) picking: UnixMillis,
    pub(super) picked: UnixMillis,
    pub(super) packed: UnixMillis,
}

impl Warehouse {
    pub(super) fn new(id: WarehouseId, name: String, corner: Corner, pickers: u32) -> Self {
        let pickers = (0..pickers.max(1)).map(|_| Reverse(UnixMillis(i64::MIN))).collect();
        Self { id, name, corner, pickers, shelf: VecDeque::new() }
    }

    /// A task comes in: the first free picker takes it, after all that came before. Tasks have to come in order of time.
    pub(super) fn pick(&mut self, task: UnixMillis, items: u32, random: &mut ChaCha8Rng) -> Picking {
        let received = task.plus(random.random_range(1_000..4_000));
        let Reverse(free) = self.pickers.pop().unwrap_or(Reverse(UnixMillis(i64::MIN)));
        let picking = received.plus(random.random_range(3_000..10_000)).max(free);
        // To the shelves and back, and so long for each item; then packing.
        let picked =
            picking.plus(random.random_range(8_000..15_000) + i64::from(items) * random.random_range(7_000..13_000));
        let packed = picked.plus(random.random_range(20_000..45_000));
        self.pickers.push(Reverse(packed));
        Picking { received, picking, picked, packed }
    }
}

#[cfg(test)]
mod tests {
    use super::super::draw::{Draw, stream};
    use super::*;

    #[test]
    fn never_more_orders_are_picked_at_once_than_there_are_pickers_and_in_their_order() {
        let mut warehouse = Warehouse::new("w".parse().unwrap(), "W".into(), 0, 3);
        let mut random = stream(1, Draw::City);
        let picked: Vec<_> = (0..40).map(|n| warehouse.pick(UnixMillis(n * 10_000), 10, &mut random)).collect();
        for one in &picked {
            let at_once = picked.iter().filter(|p| p.picking <= one.picking && one.picking < p.packed).count();
            assert!(at_once <= 3, "{at_once}");
            assert!(one.received < one.picking && one.picking < one.picked && one.picked < one.packed);
        }
        // A queue builds up: 40 orders of over 100 s each, one every 10 s, three at a time.
        assert!(picked[39].picking.since(picked[39].received) > 600_000);
        assert!(picked.windows(2).all(|pair| pair[0].picking <= pair[1].picking.plus(10_000)));
    }
}
