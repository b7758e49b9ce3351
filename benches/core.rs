//! What the pure core costs: one fix through the cell and an order with a planned route, late and in time, and a delta.

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use trunkline::{
    domain::{
        Action, Command, Effect, Fix, FixId, KeyId, Operator, OperatorKind, OrderId, UnixMillis,
        cell::{Entry, Input, Solo},
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

criterion_group!(benches, fixes, deltas);
criterion_main!(benches);
