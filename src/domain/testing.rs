//! Random logs for tests: a few orders and riders, every kind of entry, many of them nonsense in their place.

use super::{
    Action, CellClock, Command, Dispatch, Fix, FixId, KeyId, Operator, OperatorKind, Order, OrderId, RiderId, Rules,
    Stage, UnixMillis,
    cell::{Entry, Input, Solo},
    effect::{RouteEnds, TimerKind},
    order::{Edit, Facts, FoundRoute, Missing, MissingItem, Money, Place, Promise, Proof, Route},
};
use crate::geo::Point;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::sync::Arc;

pub(crate) const T0: i64 = 1_700_000_000_000;

pub(crate) fn order(n: u32) -> OrderId {
    format!("o{n}").parse().unwrap()
}

pub(crate) fn rider(n: u32) -> RiderId {
    format!("r{n}").parse().unwrap()
}

pub(crate) fn point(north_m: f64, east_m: f64) -> Point {
    Point::from_degrees(31.0 + north_m / 111_195.0, 121.0 + east_m / 95_300.0).unwrap()
}

pub(crate) fn facts() -> Arc<Facts> {
    Arc::new(Facts {
        user: "u1".parse().unwrap(),
        cell: "default".parse().unwrap(),
        warehouse: Place { id: "w1".parse().unwrap(), name: "一号仓".into(), point: point(0.0, 0.0) },
        destination: point(2_000.0, 500.0),
        total: Money { minor: 4_200, currency: "CNY".into() },
        items: 3,
        promise: None,
        route: None,
        extra: None,
    })
}

pub(crate) fn command(action: Action, key: u128) -> Command {
    let by = Operator { kind: OperatorKind::Operations, id: "alice".into() };
    Command { action, key: KeyId(key.to_le_bytes()), if_rev: None, by, needs: 1 }
}

pub(crate) fn fix(t_ms: i64, seq: Option<u32>, north_m: f64) -> Fix {
    Fix {
        point: point(north_m, 0.0),
        id: FixId { device_time: UnixMillis(t_ms), seq },
        accuracy_dm: None,
        speed_cmps: None,
        heading_deg: None,
        battery_pct: None,
    }
}

/// A seeded log of `len` entries, one second apart, as version 1 of the rules had them.
pub(crate) fn log(seed: u64, len: u64, orders: u32, riders: u32) -> Vec<Entry> {
    entries(seed, len, |rng, _, now| input(rng, now, orders, riders))
}

/// The same with everything that came with version 2: the commands of life, shifts that hand over, dispatch.
pub(crate) fn life(seed: u64, len: u64, orders: u32, riders: u32) -> Vec<Entry> {
    entries(seed, len, |rng, seq, now| {
        let input = input(rng, now, orders, riders);
        if seq == 1 {
            dispatching(rng, Rules { rules_version: 2, ..Rules::default() })
        } else if let Input::Rules { rules, .. } = input {
            dispatching(rng, rules)
        } else if rng.random_bool(0.25) {
            later_input(rng, now, orders, riders)
        } else {
            input
        }
    })
}

/// The same with everything that came with version 3: orders that watch themselves, with promises, routes and timers.
pub(crate) fn watching(seed: u64, len: u64, orders: u32, riders: u32) -> Vec<Entry> {
    watched_by(3, seed, len, orders, riders)
}

/// The same with everything that came with version 4: notes.
pub(crate) fn noting(seed: u64, len: u64, orders: u32, riders: u32) -> Vec<Entry> {
    watched_by(4, seed, len, orders, riders)
}

fn watched_by(version: u32, seed: u64, len: u64, orders: u32, riders: u32) -> Vec<Entry> {
    let log = entries(seed, len, |rng, seq, now| {
        let input = input(rng, now, orders, riders);
        if seq == 1 {
            return watched(rng, version, Rules { rules_version: version, ..Rules::default() });
        }
        if rng.random_bool(0.15) {
            return later_input(rng, now, orders, riders);
        }
        if rng.random_bool(0.05) {
            let kind = TimerKind::ALL[rng.random_range(0..TimerKind::ALL.len())];
            return Input::Timer { order: order(rng.random_range(0..orders)), kind, n: rng.random_range(1..24) };
        }
        if rng.random_bool(0.02) {
            let ends = RouteEnds { from: facts().warehouse.point, to: facts().destination };
            let route = Route { points: vec![ends.from, point(1_000.0, 0.0), ends.to] };
            let found = Arc::new(FoundRoute { ends, route, source: "osrm".into() });
            return Input::Route { order: order(rng.random_range(0..orders)), found };
        }
        match input {
            Input::Rules { rules, .. } => watched(rng, version, rules),
            Input::Command { order, mut command } => {
                if let Action::Create(facts) = &mut command.action {
                    *facts = planned(rng, now, facts);
                } else if rng.random_bool(0.3) {
                    command.key = KeyId(rng.random());
                    let note = (version > 3 && command.key.0[0] % 2 == 0).then(|| "called; 在路上".into());
                    command.action = Action::Acknowledge { alert: rng.random_range(1..4), note };
                }
                Input::Command { order, command }
            }
            Input::Fixes { rider, sent_time, mut fixes } => {
                for fix in &mut fixes {
                    fix.battery_pct = rng.random_bool(0.3).then(|| rng.random_range(5..40));
                }
                Input::Fixes { rider, sent_time, fixes }
            }
            other @ (Input::Stage { .. }
            | Input::Shift { .. }
            | Input::Trip { .. }
            | Input::Timer { .. }
            | Input::Clock { .. }
            | Input::Route { .. }
            | Input::Malformed { .. }) => other,
        }
    });
    fired(log)
}

/// A log with the timers that an owner fires in it: each comes before the entry at whose time it is due.
fn fired(log: Vec<Entry>) -> Vec<Entry> {
    let (mut solo, mut all) = (Solo::default(), Vec::new());
    for Entry { log_time, input, .. } in log {
        // Firings of firings wait for the next entry, as they would for the owner.
        let now = solo.cell.head().clock.at_log(log_time);
        let of = |o: &Order| o.timers.iter().map(|(kind, n, due)| (*due, o.id.clone(), *kind, *n)).collect::<Vec<_>>();
        let mut due: Vec<_> = solo.orders.values().flatten().flat_map(of).filter(|timer| timer.0 <= now).collect();
        due.sort();
        let timers = due.into_iter().map(|(_, order, kind, n)| Input::Timer { order, kind, n });
        for input in timers.chain([input]) {
            let entry = Entry { seq: all.len() as u64 + 1, log_time, input };
            solo.apply(&entry);
            all.push(entry);
        }
    }
    all
}

fn watched(rng: &mut ChaCha8Rng, version: u32, mut rules: Rules) -> Input {
    if rng.random_bool(0.1) {
        rules.rules_version = rng.random_range(1..version + 1);
    }
    rules.off_route.raise_after_ms = rng.random_range(0..10_000);
    rules.off_route.clear_after_ms = rng.random_range(0..10_000);
    rules.stalled.after_ms = rng.random_range(1_000..30_000);
    rules.signal_lost.after_ms = rng.random_range(1_000..20_000);
    rules.stage_overdue.received_ms = rng.random_range(0..30_000);
    rules.stage_overdue.packed_ms = rng.random_range(0..30_000);
    rules.pace.picking_ms = rng.random_range(0..120_000);
    Input::Rules { rules, needs: 3 }
}

/// Some with a promise, some with a route to the east of where riders are.
fn planned(rng: &mut ChaCha8Rng, now: UnixMillis, facts: &Facts) -> Arc<Facts> {
    let promise = rng.random_bool(0.6).then(|| Promise { from: now, to: now.plus(rng.random_range(0..600_000)) });
    let east_m = f64::from(rng.random_range(0..300));
    let line = (0..=20).map(|i| point(f64::from(i) * 100.0, east_m)).collect();
    let route = rng.random_bool(0.6).then_some(Route { points: line });
    Arc::new(Facts { promise, route, ..facts.clone() })
}

fn entries(seed: u64, len: u64, mut input: impl FnMut(&mut ChaCha8Rng, u64, UnixMillis) -> Input) -> Vec<Entry> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    // Times are told by the cell's clock, as those who speed it up must do.
    let mut clock = CellClock::default();
    let one = |seq| {
        let log_time = UnixMillis(T0 + i64::try_from(seq).unwrap() * 1_000);
        let input = input(&mut rng, seq, clock.advance(log_time));
        if let Input::Clock { scale, cell_time } = input {
            clock.set(log_time, scale, cell_time);
        }
        Entry { seq, log_time, input }
    };
    (1..=len).map(one).collect()
}

fn input(rng: &mut ChaCha8Rng, now: UnixMillis, orders: u32, riders: u32) -> Input {
    let order = order(rng.random_range(0..orders));
    let who = rider(rng.random_range(0..riders));
    let key = u128::from(rng.random_range(0..40u32)) << 32 | rng.random_range(0..3u128);
    let reason = rng.random_bool(0.5).then(|| "no stock".to_owned());
    let if_rev = rng.random_bool(0.1).then(|| rng.random_range(1..6));
    let send =
        |action, key| Input::Command { order: order.clone(), command: Command { if_rev, ..command(action, key) } };
    match rng.random_range(0..100) {
        0..10 => Input::Command { order, command: command(Action::Create(facts()), key) },
        10..20 => send(Action::Pay, key | 1 << 100),
        20..32 => send(Action::Assign { rider: who }, key | 1 << 101),
        32..34 => send(Action::Unassign, key | 1 << 102),
        34..38 => {
            let at = rng.random_bool(0.5).then(|| now.plus(-rng.random_range(0..60_000)));
            send(Action::Deliver { at, sent: None, proof: None }, key | 1 << 103)
        }
        38..40 => send(Action::Cancel { reason }, key | 1 << 104),
        40..52 => {
            let stage = Stage::ALL[rng.random_range(0..Stage::ALL.len())];
            let warehouse = if rng.random_bool(0.05) { "w2" } else { "w1" };
            Input::Stage { warehouse: warehouse.parse().unwrap(), order, stage }
        }
        52 => Input::Trip { rider: who, stops: vec![order] },
        53 => Input::Shift { rider: who, on: rng.random_bool(0.5), handover_to: None },
        54..57 => Input::Timer { order, kind: TimerKind::Unpaid, n: rng.random_range(1..6) },
        57 => Input::Malformed { field: "payload".into(), reason: "broken".into() },
        58 if rng.random_bool(0.7) => {
            let rules = Rules {
                rules_version: 0,
                late_ms: rng.random_range(1..24) * 3_600_000,
                unpaid_ms: rng.random_range(0..20) * 1_000,
                readmit_fixes: rng.random_range(1..5),
                ..Rules::default()
            };
            Input::Rules { rules, needs: 1 }
        }
        59 if rng.random_bool(0.3) => Input::Clock { scale: [1, 1, 60][rng.random_range(0..3)], cell_time: None },
        _ => fixes(rng, now, who),
    }
}

fn dispatching(rng: &mut ChaCha8Rng, mut rules: Rules) -> Input {
    if rng.random_bool(0.1) {
        rules.rules_version = rng.random_range(1..3);
    }
    rules.dispatch = if rng.random_bool(0.7) { Dispatch::Nearest } else { Dispatch::Manual };
    rules.max_orders_per_rider = rng.random_range(1..4);
    rules.max_distance_m = f64::from(rng.random_range(500..4_000));
    Input::Rules { rules, needs: 2 }
}

fn later_input(rng: &mut ChaCha8Rng, now: UnixMillis, orders: u32, riders: u32) -> Input {
    let order = order(rng.random_range(0..orders));
    let (who, other) = (rider(rng.random_range(0..riders)), rider(rng.random_range(0..riders)));
    let kind = OperatorKind::ALL[rng.random_range(0..4)];
    let id = if kind == OperatorKind::Rider { who.as_str() } else { "w1" };
    let by = Operator { kind, id: id.into() };
    let at = rng.random_bool(0.5).then(|| now.plus(-rng.random_range(0..60_000)));
    let key = rng.random_range(0..60u128) << 64 | 1 << 110;
    let send =
        |action| Input::Command { order: order.clone(), command: Command { by: by.clone(), ..command(action, key) } };
    match rng.random_range(0..12) {
        0 => send(Action::Fail { reason: "nobody there".into(), at, sent: None }),
        1 => send(Action::Return { reason: "refused".into(), at, sent: None }),
        2 => {
            let items = vec![MissingItem { name: "milk".into(), count: 2 }];
            send(Action::Missing(Arc::new(Missing { count: rng.random_range(1..5), items, note: None })))
        }
        3 => {
            let promise = rng.random_bool(0.5).then(|| Promise { from: now, to: now.plus(1_800_000) });
            let destination = rng.random_bool(0.5).then(|| point(f64::from(rng.random_range(0..9)), 0.0));
            send(Action::Edit(Edit { promise, destination, personal: rng.random_bool(0.5) }))
        }
        4 => {
            let proof = Some(Arc::new(Proof { code: Some("4711".into()), ..Proof::default() }));
            send(Action::Deliver { at, sent: None, proof })
        }
        5 => Input::Shift { rider: who, on: rng.random_bool(0.1), handover_to: Some(other) },
        6 => Input::Trip { rider: who, stops: vec![order] },
        _ => Input::Shift { rider: who, on: true, handover_to: None },
    }
}

/// One fix or a few, mostly of the last two minutes, some much later or earlier than may be, one rider's by a clock that is off.
fn fixes(rng: &mut ChaCha8Rng, now: UnixMillis, rider: RiderId) -> Input {
    let batch = if rng.random_bool(0.1) { 20 } else { 1 };
    // One rider's clock is ten minutes fast.
    let off_ms = if rider == self::rider(1) { 600_000 } else { 0 };
    let one = |rng: &mut ChaCha8Rng| {
        let back_s = match rng.random_range(0..50) {
            0 => rng.random_range(-90..0),
            1 => rng.random_range(120..90_000),
            _ => rng.random_range(0..120),
        };
        let mut fix = fix(now.0 + off_ms - back_s * 1_000, None, f64::from(rng.random_range(0..3_000)));
        fix.id.seq = rng.random_bool(0.1).then(|| rng.random_range(0..3));
        fix.accuracy_dm = rng.random_bool(0.2).then(|| rng.random_range(0..1_300));
        fix
    };
    let fixes = (0..batch).map(|_| one(rng)).collect();
    let sent_time = (off_ms != 0).then(|| now.plus(off_ms - rng.random_range(0..3_000)));
    Input::Fixes { rider, sent_time, fixes }
}
