//! What the boards of the cell show: a warehouse's orders with their riders' arrival, and what lies in a box of the map.
//!
//! Rows pass the same tables as everything else that leaves ([`crate::wire::view::FIELDS`], [`crate::wire::board::FIELDS`]).

use super::{
    Cut,
    mirror::{Mirror, Touched},
};
use crate::{
    bridge::datum::{convert_order, convert_place},
    domain::{OrderId, RiderId, WarehouseId},
    geo::{Bounds, Point},
    wire::{
        board::{Board, IN_SHORT, OrderRow, RiderRow, arrival, pick},
        merge,
        view::project,
    },
};
use serde::Serialize;
use serde_json::{Map, Value, json};

/// Our own rows always serialize.
fn value(row: &impl Serialize) -> Value {
    serde_json::to_value(row).unwrap_or_default()
}

fn picked(board: Board, row: &OrderRow) -> Value {
    let row = value(row);
    let mut shown = pick(board, &project(board.view(), &row, None));
    for (name, _, _) in IN_SHORT.iter().filter(|(_, _, columns)| columns[board as usize]) {
        shown.extend(row.get(name).map(|value| ((*name).to_owned(), value.clone())));
    }
    Value::Object(shown)
}

/// `{id, orders: {order: {status, stage, …, rider: {id, arrival}}}}`.
pub(super) fn warehouse(id: &WarehouseId, mirror: &Mirror) -> Value {
    let shown = mirror.orders_of(id).filter(|(_, row)| row.is_the_warehouses());
    let order = |(id, row): (&OrderId, &OrderRow)| {
        let mut seen = picked(Board::Warehouse, row);
        let rider = row.rider.as_ref().and_then(|rider| mirror.riders().get(&rider.id));
        let arrival = rider.and_then(|rider| arrival(rider.position.as_ref(), &row.warehouse));
        if let (Some(arrival), Some(rider)) = (arrival, seen.get_mut("rider")) {
            rider["arrival"] = arrival;
        }
        (id.to_string(), seen)
    };
    json!({"id": id.as_str(), "orders": shown.map(order).collect::<Map<_, _>>()})
}

/// The rows of a cut: what it shows of one.
pub(super) fn rider_row(row: &RiderRow, cut: &Cut) -> Option<Value> {
    let mut shown = value(row);
    let place = shown.get_mut("position").map(|position| {
        convert_place(position, cut.datum);
        position.clone()
    });
    // Of a rider without a position nobody can say that they are outside.
    (cut.bounds.is_none() || place.is_some_and(|place| contains(cut, &place))).then_some(shown)
}

pub(super) fn order_row(row: &OrderRow, cut: &Cut) -> Option<Value> {
    let mut shown = picked(Board::Cell, row);
    convert_order(&mut shown, cut.datum);
    shown.get("destination").is_some_and(|place| contains(cut, place)).then_some(shown)
}

/// Whether a place, in the cut's datum, lies in its box.
fn contains(cut: &Cut, place: &Value) -> bool {
    let degrees = |name| place.get(name).and_then(Value::as_f64);
    let inside = |bounds: Bounds| {
        let point = degrees("lat").zip(degrees("lon")).and_then(|(lat, lon)| Point::from_degrees(lat, lon).ok());
        point.is_some_and(|point| bounds.contains(point))
    };
    cut.bounds.is_none_or(inside)
}

/// `{riders: {…}, orders: {…}}`: riders by their position, orders by their destination.
pub(super) fn cell(mirror: &Mirror, cut: &Cut) -> Value {
    let rider = |(id, row): (&RiderId, &RiderRow)| Some((id.to_string(), rider_row(row, cut)?));
    let order = |(id, row): (&OrderId, &OrderRow)| Some((id.to_string(), order_row(row, cut)?));
    let riders: Map<_, _> = mirror.riders().iter().filter_map(rider).collect();
    let orders: Map<_, _> = mirror.orders().iter().filter_map(order).collect();
    json!({"riders": riders, "orders": orders})
}

/// The patch from what a cut shows to what is, given what was touched since: rows that leave the box are null.
pub(super) fn cell_change(mirror: &Mirror, touched: &Touched, cut: &Cut, shown: &Value) -> Option<Value> {
    let mut patch = Map::new();
    let riders = touched.riders.iter().map(|id| {
        let row = mirror.riders().get(id).and_then(|row| rider_row(row, cut));
        (id.as_str(), row)
    });
    let orders = touched.orders.iter().map(|id| {
        let row = mirror.orders().get(id).and_then(|row| order_row(row, cut));
        (id.as_str(), row)
    });
    for (name, changes) in
        [("riders", changes(shown.get("riders"), riders)), ("orders", changes(shown.get("orders"), orders))]
    {
        if !changes.is_empty() {
            patch.insert(name.to_owned(), changes.into());
        }
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}

fn changes<'a>(shown: Option<&Value>, rows: impl Iterator<Item = (&'a str, Option<Value>)>) -> Map<String, Value> {
    let mut changes = Map::new();
    for (id, row) in rows {
        let change = match (shown.and_then(|shown| shown.get(id)), row) {
            (None, None) => None,
            (Some(_), None) => Some(Value::Null),
            (None, Some(row)) => Some(row),
            (Some(before), Some(row)) => merge::diff(before, &row),
        };
        changes.extend(change.map(|change| (id.to_owned(), change)));
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        bridge::boards::mirror::tests::{Owner, order, read, rider},
        domain::{AlertKind, Status, UnixMillis},
        geo::Datum,
        wire::board::{self, After, CellPage, CellWord, PositionRow},
    };
    use proptest::prelude::*;
    use std::{collections::BTreeMap, time::Duration};

    fn cut(bounds: Option<[f64; 4]>) -> Cut {
        Cut { datum: Datum::Wgs84, bounds: bounds.map(|b| board::bounds(&b).unwrap()) }
    }

    #[test]
    fn a_warehouse_sees_its_orders_and_how_far_riders_are_and_no_place() {
        let mut owner = Owner { epoch: 1, ..Owner::default() };
        let handed = OrderRow { stage: Some("handed_over".into()), ..order("w", Status::Delivering, 1, Some(1)) };
        owner.word(
            &[(1, Some(rider(10, &[1])))],
            &[
                (1, Some(order("w", Status::Paid, 5, Some(1)))),
                (2, Some(order("w", Status::Delivering, 5, Some(2)))),
                (3, Some(handed)),
                (4, Some(order("w", Status::PendingPayment, 5, None))),
                (5, Some(order("v", Status::Paid, 5, None))),
            ],
        );
        let mut mirror = Mirror::default();
        read(&mut mirror, &owner);
        let seen = warehouse(&"w".parse().unwrap(), &mirror);
        let orders = seen["orders"].as_object().unwrap();
        assert_eq!(orders.len(), 2, "{seen}");
        let first = orders.values().find(|order| order["status"] == 2).unwrap();
        assert_eq!(first["rider"]["arrival"]["distance_m"], 953.1);
        assert_eq!(first["rider"]["arrival"]["basis"], "constant_speed");
        // Nothing is known of where the other is.
        assert!(orders.values().any(|order| order["status"] == 3 && order["rider"].get("arrival").is_none()));
        let text = seen.to_string();
        assert!(!text.contains("lat") && !text.contains("destination") && !text.contains("position"), "{text}");
    }

    /// A rider and an order of a large cell with all that a row may hold, and ids as long as the simulator's.
    fn full(n: u32) -> ((RiderId, RiderRow), (OrderId, OrderRow)) {
        let (rider, order): (RiderId, OrderId) =
            (format!("sim-7-r{n:05}").parse().unwrap(), format!("sim-7-o{n:06}").parse().unwrap());
        let at = board::Degrees { lat: 31.123_456_7, lon: 121.412_345_6 };
        let fix_time_ms = UnixMillis(1_795_277_242_040);
        let (speed_mps, heading_deg, accuracy_m) = (Some(5.43), Some(271), Some(12.5));
        let position = Some(PositionRow { at, fix_time_ms, speed_mps, heading_deg, accuracy_m });
        let row = OrderRow {
            status: Status::Delivering,
            stage: Some("handed_over".into()),
            warehouse: board::WarehouseRow { id: "sim-7-w03".parse().unwrap(), at },
            destination: at,
            rider: Some(board::RiderOf { id: rider.clone() }),
            stops_ahead: Some(2),
            items: 12,
            promise: Some(board::PromiseRow { from_ms: fix_time_ms, to_ms: fix_time_ms }),
            created_at_ms: fix_time_ms,
            paid_at_ms: Some(fix_time_ms),
            eta_p50_ms: Some(fix_time_ms),
            alerts: vec![AlertKind::Late],
        };
        ((rider, RiderRow { on_shift: true, position, orders: vec![order.clone()] }), (order, row))
    }

    #[test]
    fn a_large_cell_fits_into_a_snapshot_and_a_second_of_it_is_small() {
        let (riders, orders): (BTreeMap<_, _>, BTreeMap<_, _>) = (0..5_000).map(full).unzip();
        let page = |version| CellPage {
            epoch: 1,
            version,
            at_ms: UnixMillis(1),
            riders: BTreeMap::new(),
            orders: BTreeMap::new(),
            next: None,
        };
        let mut mirror = Mirror::default();
        let question = |after| board::CellQuery { after };
        let first = CellPage { riders: riders.clone(), next: Some(After::Orders(None)), ..page(0) };
        mirror.on_page(first, &question(After::Riders(None)), Duration::ZERO);
        mirror.on_page(CellPage { orders, ..page(0) }, &question(After::Orders(None)), Duration::ZERO);
        assert!(mirror.is_loaded());
        let shown = cell(&mirror, &cut(None));
        let bytes = shown.to_string().len();
        assert!((2 << 20..3 << 20).contains(&bytes), "{bytes}");
        let row = &shown["orders"]["sim-7-o000001"];
        assert_eq!((&row["alerts"], &row["eta_p50_ms"]), (&json!(["late"]), &json!(1_795_277_242_040_i64)));
        assert_eq!(row["promise"]["to_ms"], 1_795_277_242_040_i64);
        // Every rider a little farther: a delta has what changed, no rows.
        mirror.take_touched();
        let moved = riders.into_iter().map(|(id, mut row)| {
            let position = row.position.as_mut().unwrap();
            (position.fix_time_ms.0, position.at.lat) = (position.fix_time_ms.0 + 1_000, position.at.lat + 0.000_05);
            (id, Some(row))
        });
        let (riders, orders) = (moved.collect(), BTreeMap::new());
        let word = CellWord::Delta { epoch: 1, from: 0, to: 1, at_ms: UnixMillis(2), riders, orders };
        mirror.on_word(word, Duration::ZERO);
        let touched = mirror.take_touched();
        let change = cell_change(&mirror, &touched, &cut(None), &shown).unwrap();
        let bytes = change.to_string().len();
        assert!(bytes < 5_000 * 80, "{bytes}");
    }

    #[test]
    fn the_box_is_one_of_the_clients_datum() {
        // A destination that lies some 500 m away on a map of that datum.
        let mut row = order("w", Status::Paid, 0, None);
        row.destination = board::Degrees { lat: 31.1774276, lon: 121.5272106 };
        let bounds = Some(board::bounds(&[121.531, 31.175, 121.532, 31.176]).unwrap());
        let inside = |datum| order_row(&row, &Cut { datum, bounds }).is_some();
        assert_eq!([Datum::Wgs84, Datum::Gcj02].map(inside), [false, true]);
    }

    proptest! {
        /// The law of the box: applying the changes gives what would be drawn now, and nothing outside it is in a frame.
        #[test]
        fn changes_lead_to_what_lies_in_the_box(
            steps in prop::collection::vec((0..6u32, -8..8i32, any::<bool>(), any::<bool>()), 1..50), boxed: bool,
        ) {
            let (mut mirror, mut owner) = (Mirror::default(), Owner { epoch: 1, ..Owner::default() });
            read(&mut mirror, &owner);
            let cut = cut(boxed.then_some([-0.003, 30.0, 0.003, 32.0]));
            let mut shown = cell(&mirror, &cut);
            for (n, east, some, flush) in steps {
                let riders = [(n, some.then(|| rider(east, &[n])))];
                let word = owner.word(&riders, &[(n, some.then(|| order("w", Status::Paid, -east, Some(n))))]);
                mirror.on_word(word, Duration::ZERO);
                if flush {
                    let touched = mirror.take_touched();
                    if let Some(change) = cell_change(&mirror, &touched, &cut, &shown) {
                        merge::patch(&mut shown, &change);
                    }
                    prop_assert_eq!(&shown, &cell(&mirror, &cut));
                }
            }
            for place in shown["riders"].as_object().unwrap().values().filter(|_| boxed) {
                prop_assert!(place["position"]["lon"].as_f64().unwrap().abs() <= 0.003);
            }
        }
    }
}
