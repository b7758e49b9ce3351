//! What the pure core costs: one fix through an order that watches itself, and through cell and order, late and in time,
//! and a delta.

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use trunkline::{
    domain::{
        Action, AlertKind, Command, Effect, Fix, FixId, KeyId, Operator, OperatorKind, Order, OrderId, OrderInput,
        Rules, Stage, UnixMillis,
        cell::{Entry, Input, Routed, Solo},
        order::apply,
    },
    geo::Point,
    wire::{command::CreateBody, doc, log},
};

const T0: i64 = 1_700_000_000_000;
const STEP_MS: i64 = 5_000;

/// A rider with one order, whose route has 200 points.
fn rider_with_order() -> Solo {
    let coordinates: Vec<_> = (0..200).map(|i| [121.4, 31.2 + f64::from(i) * 1e-4]).collect();
    let body = serde_json::json!({
        "user_id": "u1", "warehouse": {"id": "w1", "name": "W", "lat": 31.2, "lon": 121.4},
        "destination": {"lat": 31.22, "lon": 121.4}, "amount_minor": 4200, "currency": "CNY", "items": 3,
        "route": {"type": "LineString", "coordinates": coordinates}
    });
    let body: CreateBody = serde_json::from_value(body).expect("a valid body");
    let facts = body.facts(&"default".parse().expect("a token")).expect("valid facts");
    let by = Operator { kind: OperatorKind::System, id: "shop".into() };
    let mut solo = Solo::default();
    let actions = [Action::Create(facts.into()), Action::Pay, Action::Assign { rider: "r1".parse().expect("a token") }];
    for (i, action) in (0u8..).zip(actions) {
        let command = Command { action, key: KeyId([i; 16]), if_rev: None, by: by.clone(), needs: 1 };
        let input = Input::Command { order: order(), command };
        solo.apply(&Entry { seq: u64::from(i) + 1, log_time: UnixMillis(T0), input });
    }
    solo
}

fn order() -> OrderId {
    "o1".parse().expect("a token")
}

/// The `n`th fix of a ride, received at `at_ms`.
fn fix(n: i64, at_ms: i64) -> Entry {
    let point = Point { lat_e7: 312_000_000 + i32::try_from(n % 20_000).unwrap_or(0) * 600, lon_e7: 1_214_000_000 };
    let id = FixId { device_time: UnixMillis(T0 + n * STEP_MS), seq: None };
    let fix = Fix { point, id, accuracy_dm: Some(80), speed_cmps: Some(450), heading_deg: Some(0), battery_pct: None };
    let input = Input::Fixes { rider: "r1".parse().expect("a token"), sent_time: None, fixes: vec![fix] };
    Entry { seq: 9, log_time: UnixMillis(at_ms), input }
}

fn fixes(c: &mut Criterion) {
    c.bench_function("fix through cell and order", |b| {
        let (mut solo, mut n) = (rider_with_order(), 0);
        b.iter(|| {
            n += 1;
            black_box(solo.apply(&fix(n, T0 + n * STEP_MS)));
        });
    });
    for length in [100, 1_000, 5_000] {
        // Every second fix of a ride, then one of those between them.
        let mut solo = rider_with_order();
        let end_ms = T0 + 2 * length * STEP_MS;
        for n in 0..length {
            solo.apply(&fix(2 * n, T0 + 2 * n * STEP_MS));
        }
        for (what, n) in [
            ("late fix into the middle", length | 1),
            ("late fix near the end", 2 * length - 9),
            ("repeated fix", 2 * length - 20),
        ] {
            c.bench_function(&format!("{what} of a track of {length}"), |b| {
                let late = fix(n, end_ms);
                b.iter_batched_ref(|| solo.clone(), |solo| black_box(solo.apply(&late)), BatchSize::LargeInput);
            });
        }
    }
    let payload =
        br#"{"lat":31.2012345,"lon":121.4012345,"fix_time_ms":1700000000000,"accuracy_m":8.0,"speed_mps":4.5}"#;
    c.bench_function("decode one fix", |b| {
        let raw = log::Raw {
            seq: 1,
            log_time: UnixMillis(T0),
            subject: "rider.default.r1.fix",
            payload,
            idempotency_key: None,
            publisher: None,
        };
        b.iter(|| black_box(log::decode(black_box(raw))));
    });
}

/// Vertices of the planned route, and between them 50 m; the ride along it at 5 m/s, a fix every 15 s.
const VERTICES: i32 = 200;
const RIDE: i64 = 120;
const RIDE_MS: i64 = 15_000;

/// A vertex, or a place between two: to the north, swaying by some 10 m.
fn along(vertices: f64) -> (f64, f64) {
    let sway = (vertices % 20.0 - 10.0).abs() * 1e-5;
    (50.0 + vertices * 4.5e-4, 11.9 + sway)
}

/// An order on its way under the newest rules, with a promise and all its alerts awake: the goods handed over, the timers
/// of the signal and of the promise set.
fn watching() -> Solo {
    let coordinates: Vec<_> = (0..VERTICES).map(|i| along(f64::from(i))).map(|(lat, lon)| [lon, lat]).collect();
    let (end, start) = (coordinates[coordinates.len() - 1], coordinates[0]);
    let body = serde_json::json!({
        "user_id": "u1", "warehouse": {"id": "w1", "name": "W", "lat": start[1], "lon": start[0]},
        "destination": {"lat": end[1], "lon": end[0]}, "amount_minor": 4200, "currency": "CNY", "items": 3,
        "promise": {"from_ms": T0, "to_ms": T0 + 3_600_000},
        "route": {"type": "LineString", "coordinates": coordinates}
    });
    let body: CreateBody = serde_json::from_value(body).expect("a valid body");
    let facts = body.facts(&"default".parse().expect("a token")).expect("valid facts");
    let by = Operator { kind: OperatorKind::System, id: "shop".into() };
    let act = |action, key: u8| {
        let command = Command { action, key: KeyId([key; 16]), if_rev: None, by: by.clone(), needs: 1 };
        Input::Command { order: order(), command }
    };
    let inputs = [
        Input::Rules { rules: Rules { rules_version: 3, ..Rules::default() }, needs: 3 },
        act(Action::Create(facts.into()), 1),
        act(Action::Pay, 2),
        act(Action::Assign { rider: "r1".parse().expect("a token") }, 3),
        Input::Stage { warehouse: "w1".parse().expect("a token"), order: order(), stage: Stage::HandedOver },
    ];
    let mut solo = Solo::default();
    for (seq, input) in (1..).zip(inputs) {
        solo.apply(&Entry { seq, log_time: UnixMillis(T0), input });
    }
    solo
}

/// The ride's fixes, so many degrees to the east of the route.
fn ride(east: f64) -> Vec<Entry> {
    let entry = |n: i64| {
        let step = i32::try_from(n).unwrap_or_default();
        let (lat, lon) = along(f64::from(step) * 1.5);
        let point = Point::from_degrees(lat, lon + east + f64::from(step % 3) * 2e-5).expect("on the globe");
        let at = UnixMillis(T0 + n * RIDE_MS);
        let id = FixId { device_time: at, seq: None };
        let fix = Fix {
            point,
            id,
            accuracy_dm: Some(80),
            speed_cmps: Some(500),
            heading_deg: Some(0),
            battery_pct: Some(80),
        };
        let input = Input::Fixes { rider: "r1".parse().expect("a token"), sent_time: None, fixes: vec![fix] };
        Entry { seq: 9, log_time: at, input }
    };
    (1..=RIDE).map(entry).collect()
}

/// The state after the first fixes, those that follow, and what the cell makes of them for the order.
struct Ride {
    solo: Solo,
    entries: Vec<Entry>,
    inputs: Vec<(UnixMillis, OrderInput)>,
}

impl Ride {
    fn new(east: f64) -> Self {
        let (mut solo, mut entries) = (watching(), ride(east));
        let rest = entries.split_off(4);
        for entry in &entries {
            solo.apply(entry);
        }
        let (mut cell, mut routed) = (solo.cell.clone(), Routed::default());
        let mut input = |entry: &Entry| {
            assert!(cell.route(entry, &mut routed) == trunkline::domain::cell::Route::Routed);
            (routed.at, routed.orders.pop().expect("goes to the order").1)
        };
        let inputs = rest.iter().map(&mut input).collect();
        Self { solo, entries: rest, inputs }
    }

    fn order(&self) -> Option<Order> {
        self.solo.orders[&order()].clone()
    }
}

fn watched(c: &mut Criterion) {
    let rules = Rules { rules_version: 3, ..Rules::default() };
    for (place, east) in [("along the route", 0.0), ("far off the route", 0.03)] {
        let ride = Ride::new(east);
        let off = ride.order().is_some_and(|o| o.alerts().iter().any(|a| a.kind == AlertKind::OffRoute));
        assert_eq!(off, east > 0.0, "{place}");
        // At its end the ride begins anew: one copy of the order in over a hundred fixes.
        c.bench_function(&format!("one fix through the whole core of an order, {place}"), |b| {
            let (id, mut slot, mut out, mut n) = (order(), ride.order(), Vec::new(), 0);
            b.iter(|| {
                if n == ride.inputs.len() {
                    (slot, n) = (ride.order(), 0);
                }
                let (at, input) = &ride.inputs[n];
                n += 1;
                out.clear();
                black_box(apply(&mut slot, &id, black_box(input), *at, &rules, &mut out))
            });
        });
        c.bench_function(&format!("the same through the cell and the order, {place}"), |b| {
            let (mut solo, mut n) = (ride.solo.clone(), 0);
            b.iter(|| {
                if n == ride.entries.len() {
                    (solo, n) = (ride.solo.clone(), 0);
                }
                n += 1;
                black_box(solo.apply(black_box(&ride.entries[n - 1])))
            });
        });
    }
}

fn deltas(c: &mut Criterion) {
    let mut solo = rider_with_order();
    let mut change = |n: i64| {
        let outcome = solo.apply(&fix(n, T0 + n * STEP_MS));
        outcome.effects.into_iter().find_map(|(_, e)| if let Effect::Change(c) = e { Some(c) } else { None })
    };
    change(1);
    let moved = change(2).expect("a fix moves the order");
    let before = moved.before.as_ref().map(|(facts, live)| (facts.as_ref(), live));
    c.bench_function("delta of a moved marker", |b| {
        b.iter(|| black_box(doc::diff(&order(), black_box(before), (&moved.after.0, &moved.after.1))));
    });
    c.bench_function("whole document, route of 200 points", |b| {
        b.iter(|| black_box(doc::order(&order(), &moved.after.0, &moved.after.1)));
    });
}

criterion_group!(benches, watched, fixes, deltas);
criterion_main!(benches);
