//! What a customer orders, and what becomes of it short of accidents on the way. Whatever an order holds that isn't for
//! everybody (who ordered, where to, what they noted, why it failed) has a mark of its own in it, in letters and digits
//! that occur nowhere else: whoever reads the bytes that went to somebody can tell whose and what each piece is.

use super::{
    draw::{Draw, stream},
    plan::UNPAID_MS,
    streets::{Corner, Spot, Streets, Way},
};
use crate::domain::{OrderId, ids::IdError};
use rand::Rng;

/// Doors are so far from their warehouse.
const DOOR_M: std::ops::Range<f64> = 200.0..2_500.0;
/// One order in so many is edited before it is handed over: half of them move to another door.
const EDIT_CHANCE: f64 = 0.05;
/// Of one order in so many something is sold out.
const MISSING_CHANCE: f64 = 0.03;
/// Beyond any other number on the wire but times, so that an amount's digits are an amount's.
const LEAST_AMOUNT_MINOR: i64 = 1_000_000;
/// Doors of orders at one corner are so far apart, in metres: each order's destination is its own.
const DOOR_APART_M: f64 = 0.05;

/// What the customer makes of an order, short of accidents on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Intent {
    Receive,
    NeverPay,
    CancelUnpaid,
    CancelPaid,
}

/// A change of mind before the goods are handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Edit {
    /// Before payment, or while it is picked.
    pub(super) unpaid: bool,
    /// Another door; without it only the promise changes.
    pub(super) door: Option<Corner>,
    /// Later than promised first, by so much.
    pub(super) later_ms: i64,
}

/// What was ordered.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    pub(super) order: OrderId,
    pub(super) number: u32,
    pub(super) warehouse: usize,
    /// Where to, as ordered.
    pub(super) first_door: Corner,
    /// Where to, in the end.
    pub(super) door: Corner,
    pub(super) items: u32,
    pub(super) amount_minor: i64,
    pub(super) route: Way,
    pub(super) pay_after_ms: i64,
    pub(super) intent: Intent,
    pub(super) edit: Option<Edit>,
    /// So many of the items are sold out.
    pub(super) missing: Option<u32>,
    /// What is shown when it is handed over: photo, code, signature.
    pub(super) proof: [bool; 3],
    pub(super) cancelled: bool,
}

/// What a mark stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    User,
    Name,
    Address,
    Notes,
    Extra,
    CancelReason,
    AttemptReason,
    Missing,
    Proof,
}

impl Mark {
    fn letters(self) -> &'static str {
        match self {
            Self::User => "USR",
            Self::Name => "NAM",
            Self::Address => "ADR",
            Self::Notes => "NOT",
            Self::Extra => "EXT",
            Self::CancelReason => "CAN",
            Self::AttemptReason => "ATT",
            Self::Missing => "MIS",
            Self::Proof => "PRF",
        }
    }
}

impl Wish {
    /// Order number `n` of the city, from one of its warehouses.
    pub(super) fn draw(
        seed: u64,
        n: u32,
        prefix: &str,
        streets: &Streets,
        warehouses: &[super::warehouse::Warehouse],
    ) -> Result<Self, IdError> {
        let mut random = stream(seed, Draw::Order(n));
        // The stream's first draw was the order's time.
        let _: f64 = random.random_range(0.0..1.0);
        let warehouse = random.random_range(0..warehouses.len());
        let from = warehouses[warehouse].corner;
        let any_door = |random: &mut _| streets.any_within(streets.spot(from), DOOR_M.start, DOOR_M.end, random);
        let door = any_door(&mut random);
        let items = random.random_range(1..=12);
        let cents = random.random_range(0..100);
        let pay_after_ms = random.random_range(5_000..=20_000);
        let intent = match random.random_range(0..200) {
            0..=2 => Intent::NeverPay,
            3..=6 => Intent::CancelUnpaid,
            7..=9 => Intent::CancelPaid,
            _ => Intent::Receive,
        };
        let mut luck = stream(seed, Draw::Life(n));
        let edit = luck.random_bool(EDIT_CHANCE).then(|| Edit {
            unpaid: luck.random_bool(0.5),
            door: luck.random_bool(0.5).then(|| any_door(&mut luck)),
            later_ms: luck.random_range(60_000..UNPAID_MS),
        });
        let received = |_: &Edit| intent == Intent::Receive;
        let missing = luck.random_bool(MISSING_CHANCE).then(|| luck.random_range(1..=items));
        Ok(Self {
            order: format!("{prefix}o{n}").parse()?,
            number: n,
            warehouse,
            first_door: door,
            door,
            items,
            amount_minor: LEAST_AMOUNT_MINOR + i64::from(n) * 100 + cents,
            route: streets.way(from, door),
            pay_after_ms,
            intent,
            edit: edit.filter(received),
            missing: missing.filter(|_| intent == Intent::Receive),
            proof: [luck.random_bool(0.5), luck.random_bool(0.3), luck.random_bool(0.2)],
            cancelled: false,
        })
    }

    /// The mark of this order in such a place, as `QADR00012Q`.
    pub(super) fn mark(&self, place: Mark) -> String {
        format!("Q{}{:05}Q", place.letters(), self.number)
    }

    /// Of the contact: its last four digits are shown to more than the others.
    pub(super) fn phone(&self) -> String {
        format!("+8613977{:06}", self.number)
    }

    /// Where in the city the order goes that has its door at this corner.
    pub(super) fn destination(&self, streets: &Streets, door: Corner) -> Spot {
        let (east, north) = (f64::from(self.number % 100), f64::from(self.number / 100 % 100));
        streets.spot(door).moved(east * DOOR_APART_M, north * DOOR_APART_M)
    }
}

#[cfg(test)]
mod tests {
    use super::super::warehouse::Warehouse;
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn marks_amounts_phones_and_destinations_are_an_orders_own() {
        let streets = Streets::grid().unwrap();
        let warehouses = [Warehouse::new("w".parse().unwrap(), "W".into(), 5, 2)];
        let wishes: Vec<_> = (0..3_000).map(|n| Wish::draw(1, n, "t-", &streets, &warehouses).unwrap()).collect();
        let mut seen = BTreeSet::new();
        for wish in &wishes {
            let point = streets.frame.point(wish.destination(&streets, wish.door)).unwrap();
            assert!(seen.insert(wish.mark(Mark::Notes)) && seen.insert(wish.phone()));
            assert!(seen.insert(wish.amount_minor.to_string()) && seen.insert(format!("{point:?}")));
            assert!(streets.spot(wish.door).distance_m(wish.destination(&streets, wish.door)) < 10.0);
        }
        assert_eq!(wishes[12].mark(Mark::Address), "QADR00012Q");
        let count = |what: fn(&Wish) -> bool| wishes.iter().filter(|wish| what(wish)).count();
        assert!(count(|w| w.edit.is_some()) > 100 && count(|w| w.edit.is_some_and(|e| e.door.is_some())) > 40);
        assert!(count(|w| w.missing.is_some()) > 50 && count(|w| w.proof == [false; 3]) > 300);
    }
}
