//! What must hold after every entry of any log.

use crate::{
    domain::{
        Alert, AlertKind, AlertState, Effect, Live, Operator, OperatorKind, Order, OrderId, RiderId, Rules, Status,
        UnixMillis, Verdict,
        alert::AlertChange,
        cell::{Cell, Entry, Input, Rider, Solo, SoloOutcome},
        effect::{Change, RowKind, TimerKind},
        eta::Legs,
        testing::{life, log, noting, rider, watching},
    },
    wire::{blob, doc, merge},
};
use proptest::prelude::*;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

const RIDERS: u32 = 4;

/// What a listener who hears every effect knows.
#[derive(Default)]
struct Listener {
    docs: BTreeMap<OrderId, (u64, Value)>,
    fixes: BTreeSet<String>,
    finals: BTreeMap<OrderId, u64>,
    /// By order and number, an alert's last change.
    alerts: BTreeMap<(OrderId, u32), Alert>,
    positions: BTreeMap<OrderId, (RiderId, UnixMillis)>,
    seen: BTreeMap<&'static str, u32>,
}

impl Listener {
    fn saw(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    fn hear(&mut self, outcome: &SoloOutcome) {
        for (id, effect) in &outcome.effects {
            match effect {
                Effect::Change(change) => self.change(id, change),
                Effect::Row(row) => {
                    if let Some(fix) = &row.fix {
                        let identity = format!("{id} {} {:?}", fix.rider, fix.fix.id);
                        assert!(self.fixes.insert(identity.clone()), "{identity} is in the history twice");
                        if self.finals.contains_key(id) {
                            self.saw("late fix after the end");
                        }
                    }
                    match row.kind {
                        RowKind::Timer => self.saw("expiry"),
                        RowKind::Fail | RowKind::Return | RowKind::Missing | RowKind::Edit | RowKind::Stops => {
                            self.saw(row.kind.name());
                        }
                        RowKind::Assign if row.by == Operator::dispatch() => self.saw("dispatch"),
                        RowKind::Assign if row.by.kind == OperatorKind::Rider => self.saw("handover"),
                        RowKind::Route => self.saw("route"),
                        RowKind::Create
                        | RowKind::Pay
                        | RowKind::Cancel
                        | RowKind::Assign
                        | RowKind::Unassign
                        | RowKind::Deliver
                        | RowKind::Stage
                        | RowKind::Fix
                        | RowKind::Alert
                        | RowKind::Acknowledge => {}
                    }
                }
                Effect::Alert(change) => self.alert(id, change),
                Effect::Revise(_) => self.saw("revision"),
                Effect::Answer(_)
                | Effect::Verdict(_)
                | Effect::Task(_)
                | Effect::SetTimer { .. }
                | Effect::ClearTimer { .. }
                | Effect::Carry(_)
                | Effect::Register
                | Effect::SeekRoute(_)
                | Effect::Finish => {}
            }
        }
        for verdict in &outcome.verdicts {
            match verdict {
                Verdict::Kept(mark) => self.saw(mark.name()),
                Verdict::Duplicate => self.saw("duplicate"),
                Verdict::Stale => self.saw("stale"),
                Verdict::Future => self.saw("future"),
                Verdict::TooOld => self.saw("too old"),
                Verdict::TrackFull => self.saw("track full"),
            }
        }
    }

    /// Raised, perhaps acknowledged, cleared; each change once and in order, one open alert of a kind.
    fn alert(&mut self, id: &OrderId, AlertChange { alert, note, .. }: &AlertChange) {
        self.saw(alert.kind.name());
        self.saw(alert.state.name());
        if note.is_some() {
            assert!(alert.acknowledged.is_some(), "{id}: {alert:?}");
            self.saw(if alert.state == AlertState::Cleared { "cleared with its note" } else { "note" });
        }
        let same_kind = |((of, n), other): (&(OrderId, u32), &Alert)| {
            of == id && *n != alert.n && other.kind == alert.kind && other.state != AlertState::Cleared
        };
        assert!(!self.alerts.iter().any(same_kind), "{id}: two of {:?}", alert.kind);
        let before = self.alerts.insert((id.clone(), alert.n), alert.clone());
        let states = (before.as_ref().map(|b| b.state), alert.state);
        let may = matches!(
            states,
            (None, AlertState::Raised)
                | (Some(AlertState::Raised), AlertState::Acknowledged | AlertState::Cleared)
                | (Some(AlertState::Acknowledged), AlertState::Cleared)
        );
        assert!(may, "{id}: {states:?} of {alert:?}");
        assert_eq!(alert.change, before.map_or(0, |b| b.change) + 1, "{id}: {alert:?}");
    }

    fn change(&mut self, id: &OrderId, Change { from, to, before, after, .. }: &Change) {
        let (version, state) = self.docs.entry(id.clone()).or_insert((0, Value::Null));
        assert_eq!((*from, *to), (*version, *version + 1), "{id} has a gap");
        *version = *to;
        let delta = doc::diff(id, before.as_ref().map(|(f, l)| (f.as_ref(), l)), (&after.0, &after.1));
        merge::patch(state, &delta);
        assert_eq!(*state, doc::order(id, &after.0, &after.1), "{id}: the delta {delta} leads elsewhere");

        let live = &after.1;
        // But for alerts that are acknowledged afterwards.
        let over = before.as_ref().filter(|_| self.finals.contains_key(id)).map(|(_, old)| old);
        if let Some(old) = over {
            let Live { rev, outlook, .. } = old.clone();
            assert_eq!(*old, Live { rev, outlook, ..live.clone() }, "{id} is final and changed");
            self.saw("acknowledged after the end");
        }
        if live.status.is_final() {
            self.finals.insert(id.clone(), *to);
            assert_eq!((live.position, live.stops_ahead), (None, None), "{id} is over and shows its rider");
        }
        let old = before.as_ref().map(|(_, live)| live);
        if old.is_some_and(|old| old.rider.is_some() && live.rider.is_some() && old.rider != live.rider) {
            self.saw("reassignment");
        }
        match live.status {
            Status::Completed => self.saw("completed"),
            Status::Cancelled => self.saw("cancelled"),
            Status::Delivering if old.is_some_and(|o| o.status == Status::Paid) => self.saw("departed"),
            Status::PendingPayment | Status::Paid | Status::Delivering => {}
        }
        match (&live.rider, live.position) {
            (Some(rider), Some(position)) => {
                if let Some((who, time)) = self.positions.insert(id.clone(), (rider.clone(), position.fix_time)) {
                    assert!(who != *rider || time <= position.fix_time, "{id}: {rider} went back in time");
                }
            }
            (Some(_), None) | (None, Some(_) | None) => drop(self.positions.remove(id)),
        }
    }
}

fn known(solo: &Solo) -> impl Iterator<Item = &Order> {
    solo.orders.values().flatten()
}

/// Orders, riders and the map between them agree, and what the entry touched survives storage.
fn check_state(solo: &Solo, entry: &Entry, outcome: &SoloOutcome, later: bool) {
    let mut held: BTreeMap<OrderId, RiderId> = BTreeMap::new();
    for rider in (0..RIDERS).map(rider) {
        for order in solo.cell.rider(&rider).map_or(&[][..], Rider::stops) {
            assert!(held.insert(order.clone(), rider.clone()).is_none(), "{order} has two carriers");
        }
    }
    let on_the_way = |o: &&Order| matches!(o.live.status, Status::Paid | Status::Delivering);
    let assigned: BTreeMap<_, _> =
        known(solo).filter(on_the_way).filter_map(|o| Some((o.id.clone(), o.live.rider.clone()?))).collect();
    assert_eq!(held, assigned, "riders and orders disagree");
    if later {
        for rider in (0..RIDERS).map(rider) {
            for (order, ahead) in solo.cell.rider(&rider).map_or(&[][..], Rider::stops).iter().zip(0u16..) {
                let shown = solo.orders[order].as_ref().unwrap().live.stops_ahead;
                assert_eq!(shown, Some(ahead), "{order} doesn't know its place in {rider}'s trip");
            }
        }
    }
    let touched: BTreeSet<_> = outcome.effects.iter().map(|(id, _)| id).collect();
    for order in touched.into_iter().filter_map(|id| solo.orders[id].as_ref()) {
        let unpaid = order.timers.iter().any(|timer| timer.0 == TimerKind::Unpaid);
        assert_eq!(unpaid, order.live.status == Status::PendingPayment, "{}", order.id);
        check_watch(order);
        let blob = blob::encode(order).unwrap();
        assert_eq!(blob::encode(&blob::decode::<Order>(&blob).unwrap()).unwrap(), blob);
    }
    if let Input::Fixes { rider, .. } | Input::Shift { rider, .. } | Input::Trip { rider, .. } = &entry.input
        && let Some(state) = solo.cell.rider(rider)
    {
        assert_eq!(*state, blob::decode::<Rider>(&blob::encode(state).unwrap()).unwrap());
    }
}

/// What is published is what the core knows, and an estimate adds up.
fn check_watch(order: &Order) {
    let outlook = order.live.outlook.as_deref().cloned().unwrap_or_default();
    let open: Vec<_> = order.alerts().iter().map(Alert::open).collect();
    assert_eq!(outlook.alerts, open, "{}", order.id);
    if order.live.status.is_final() {
        assert!(order.timers.is_empty() && outlook.eta.is_none(), "{}", order.id);
        assert!(open.iter().all(|alert| alert.kind == AlertKind::WrongPlaceDelivery), "{}", order.id);
    }
    if let Some(eta) = outlook.eta {
        assert_eq!(eta.at.plus(eta.legs.total_ms()), eta.p50);
        assert!(eta.at <= eta.p10 && eta.p10 <= eta.p50 && eta.p50 <= eta.p90, "{eta:?}");
        let Legs { picking_ms, handover_ms, ride_ms, door_ms } = eta.legs;
        assert!([picking_ms, handover_ms, ride_ms, door_ms].iter().all(|ms| *ms >= 0), "{eta:?}");
    }
}

/// Names what a store would keep differently, if anything.
fn difference(a: &Solo, b: &Solo, log: &[Entry]) -> Option<String> {
    // A repetition is an occasion to forget what is too old for any fix, by the rules of that time.
    let late_ms = |entry: &Entry| match &entry.input {
        Input::Rules { rules, .. } => Some(rules.late_ms),
        Input::Command { .. }
        | Input::Stage { .. }
        | Input::Fixes { .. }
        | Input::Shift { .. }
        | Input::Trip { .. }
        | Input::Timer { .. }
        | Input::Route { .. }
        | Input::Clock { .. }
        | Input::Malformed { .. } => None,
    };
    let shortest = log.iter().filter_map(late_ms).chain([Rules::default().late_ms]).min().unwrap_or_default();
    let before = a.cell.head().clock.now().plus(-shortest);
    if a.cell.head() != b.cell.head() {
        return Some(format!("{:?} and {:?}", a.cell.head(), b.cell.head()));
    }
    for n in 0..RIDERS {
        let known = |solo: &Solo| solo.cell.rider(&rider(n)).map(|rider| rider.without_past(before));
        let (a, b) = (known(a), known(b));
        if a != b {
            return Some(format!("rider {n}: {a:#?}\nand {b:#?}"));
        }
    }
    for (a, b) in known(a).zip(known(b)) {
        let fixes = [a, b].map(|order| order.track.fixes().unwrap());
        if fixes[0] != fixes[1] {
            return Some(format!("track of {}: {:#?}\nand {:#?}", a.id, fixes[0], fixes[1]));
        }
        if blob::encode(a).unwrap() != blob::encode(b).unwrap() {
            return Some(format!("{a:?}\nand {b:?}"));
        }
    }
    (known(a).count() != known(b).count()).then(|| "orders".to_owned())
}

fn run(log: &[Entry]) -> (Solo, Listener) {
    let (mut solo, mut listener) = (Solo::default(), Listener::default());
    let mut later = true;
    for entry in log {
        let outcome = solo.apply(entry);
        listener.hear(&outcome);
        // Under version 1 orders learn of their trip by the next fix: not even later do all of them.
        later &= solo.cell.head().rules.rules_version >= 2;
        check_state(&solo, entry, &outcome, later);
    }
    (solo, listener)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn hold_after_every_entry(seed: u64, orders in 1..12u32, version in 1..4u32) {
        let make = [log, life, watching][version as usize - 1];
        let log = make(seed, 500, orders, RIDERS);
        let (solo, listener) = run(&log);
        for (id, version) in listener.finals.iter().filter(|_| version < 3) {
            prop_assert_eq!(solo.orders[id].as_ref().unwrap().version, *version);
        }
        let again = run(&log).0;
        prop_assert_eq!(difference(&solo, &again, &log), None);
    }

    /// A cell that is restored from what a store keeps of it goes on as if nothing had happened.
    #[test]
    fn a_restart_makes_no_difference(seed: u64, at in 1..300usize) {
        let log = watching(seed, 300, 8, RIDERS);
        let whole = run(&log).0;
        let (mut solo, _) = run(&log[..at]);
        let head = blob::decode(&blob::encode(solo.cell.head()).unwrap()).unwrap();
        let riders = (0..RIDERS).map(rider).filter_map(|id| Some((id.clone(), solo.cell.rider(&id)?.clone())));
        solo.cell = Cell::restore(head, riders.collect::<Vec<_>>());
        for entry in &log[at..] {
            solo.apply(entry);
        }
        prop_assert_eq!(difference(&solo, &whole, &log), None);
    }

    /// Each message of fixes and each command comes twice, the second time in any case after the first, perhaps a while.
    #[test]
    fn what_comes_twice_counts_once(seed: u64, orders in 1..8u32, later in 0..15usize) {
        let log = log(seed, 400, orders, RIDERS);
        let plain = run(&log).0;
        let (mut solo, mut waiting) = (Solo::default(), Vec::new());
        for (i, entry) in log.iter().enumerate() {
            let outcome = solo.apply(entry);
            let again = match &entry.input {
                // What a delay adds to an unknown clock error can't be told from it: only phones that are right, here.
                // Who carried what in the future is decided in the future, even where a little of it is tolerated.
                Input::Fixes { sent_time, fixes, .. } => {
                    sent_time.is_none() && fixes.iter().all(|fix| fix.id.device_time <= outcome.at)
                }
                // Keys are remembered by their order, so there must be one.
                Input::Command { order, .. } => solo.orders[order].is_some(),
                Input::Stage { .. } | Input::Shift { .. } | Input::Trip { .. } | Input::Timer { .. }
                | Input::Route { .. } | Input::Clock { .. } | Input::Rules { .. } | Input::Malformed { .. } => false,
            };
            if again {
                waiting.push((i + later, entry, outcome.order_answer().cloned()));
            }
            for (_, first, answer) in waiting.extract_if(.., |(when, ..)| *when <= i) {
                let outcome = solo.apply(&Entry { log_time: entry.log_time, ..first.clone() });
                if answer.is_some() {
                    prop_assert_eq!(outcome.order_answer(), answer.as_ref());
                }
            }
        }
        prop_assert_eq!(difference(&solo, &plain, &log), None);
    }
}

/// The random logs are worth running: everything that the invariants speak of happens in them.
#[test]
fn random_logs_reach_everything() {
    let mut seen: BTreeMap<&str, u32> = BTreeMap::new();
    for seed in 0..16 {
        for log in [log, life, watching, noting].map(|make| make(seed, 700, 16, RIDERS)) {
            for (what, n) in run(&log).1.seen {
                *seen.entry(what).or_default() += n;
            }
        }
    }
    for what in [
        "completed",
        "cancelled",
        "departed",
        "reassignment",
        "expiry",
        "late fix after the end",
        "revision",
        "good",
        "inaccurate",
        "jump",
        "duplicate",
        "stale",
        "future",
        "too old",
        "fail",
        "return",
        "missing",
        "edit",
        "stops",
        "dispatch",
        "handover",
        "off_route",
        "stalled",
        "late_risk",
        "late",
        "stage_overdue",
        "signal_lost",
        "wrong_place_delivery",
        "low_battery",
        "raised",
        "acknowledged",
        "cleared",
        "note",
        "cleared with its note",
    ] {
        assert!(seen.get(what).is_some_and(|n| *n > 0), "{what} never happens: {seen:?}");
    }
}
