//! One play of a log with a timer wheel of its own: other settings make other timers, so those in the log don't count.
//!
//! A timer fires when the cell clock passes its due time: before the entry that passes it, in the order of due times, and
//! at that very time. In production it comes a little later, as far as publishing takes, or much later where the owner was
//! down; two plays that are compared both leave that out.

use super::{ReplayError, decisions::Decisions, override_rules::Overrides};
use crate::domain::{
    Effect, OrderId, Rules, UnixMillis,
    cell::{Cell, CellHead, Entry, Input, Solo},
    effect::TimerKind,
};
use std::collections::{BTreeMap, HashMap};

/// A play under way.
#[derive(Debug)]
pub(super) struct Player {
    solo: Solo,
    wheel: Wheel,
    overrides: Overrides,
    pub decisions: Decisions,
    /// Timers fired.
    pub fired: u64,
}

impl Player {
    /// A cell before its first entry, by these settings.
    pub(super) fn new(overrides: Overrides) -> Result<Self, ReplayError> {
        let head = CellHead { rules: overrides.over(&Rules::default())?, ..CellHead::default() };
        let solo = Solo { cell: Cell::restore(head, []), ..Solo::default() };
        Ok(Self { solo, wheel: Wheel::default(), overrides, decisions: Decisions::default(), fired: 0 })
    }

    pub(super) fn cell(&self) -> &Cell {
        &self.solo.cell
    }

    /// Orders so far.
    pub(super) fn orders(&self) -> u64 {
        self.solo.orders.values().flatten().count() as u64
    }

    /// What the cell clock shows at this entry, before the entry itself may set it.
    pub(super) fn time_of(&self, entry: &Entry) -> UnixMillis {
        self.cell().head().clock.at_log(entry.log_time)
    }

    /// Plays the next entry, and before it the timers that it passes.
    pub(super) fn play(&mut self, mut entry: Entry) -> Result<(), ReplayError> {
        self.fire(self.time_of(&entry), entry.seq);
        match &mut entry.input {
            // Ours have fired.
            Input::Timer { .. } => return Ok(()),
            Input::Rules { rules, .. } => *rules = self.overrides.over(rules)?,
            Input::Command { .. }
            | Input::Stage { .. }
            | Input::Fixes { .. }
            | Input::Shift { .. }
            | Input::Trip { .. }
            | Input::Clock { .. }
            | Input::Route { .. }
            | Input::Malformed { .. } => {}
        }
        self.apply(&entry);
        Ok(())
    }

    /// Fires what is due by the clock's last time.
    pub(super) fn end(&mut self) {
        self.fire(self.cell().head().clock.now(), u64::MAX);
    }

    fn fire(&mut self, until: UnixMillis, seq: u64) {
        while let Some((due, order, kind, n)) = self.wheel.take(until) {
            let log_time = self.cell().head().clock.log_time_of(due);
            self.fired += 1;
            self.apply(&Entry { seq, log_time, input: Input::Timer { order, kind, n } });
        }
    }

    fn apply(&mut self, entry: &Entry) {
        let outcome = self.solo.apply(entry);
        for (order, effect) in &outcome.effects {
            self.decisions.hear(order, effect);
            self.wheel.turn(order, effect);
        }
    }
}

/// Timers by when they are due.
#[derive(Debug, Default)]
struct Wheel {
    due: BTreeMap<(UnixMillis, OrderId, TimerKind), u32>,
    running: HashMap<(OrderId, TimerKind), UnixMillis>,
}

impl Wheel {
    fn turn(&mut self, order: &OrderId, effect: &Effect) {
        match effect {
            Effect::SetTimer { kind, n, due } => {
                self.clear(order, *kind);
                self.due.insert((*due, order.clone(), *kind), *n);
                self.running.insert((order.clone(), *kind), *due);
            }
            Effect::ClearTimer { kind } => self.clear(order, *kind),
            Effect::Row(_)
            | Effect::Revise(_)
            | Effect::Change(_)
            | Effect::Answer(_)
            | Effect::Verdict(_)
            | Effect::Task(_)
            | Effect::Alert(_)
            | Effect::SeekRoute(_)
            | Effect::Carry(_)
            | Effect::Register
            | Effect::Finish => {}
        }
    }

    fn clear(&mut self, order: &OrderId, kind: TimerKind) {
        if let Some(due) = self.running.remove(&(order.clone(), kind)) {
            self.due.remove(&(due, order.clone(), kind));
        }
    }

    /// The first that is due at `until` or before.
    fn take(&mut self, until: UnixMillis) -> Option<(UnixMillis, OrderId, TimerKind, u32)> {
        let first = self.due.first_entry()?;
        if first.key().0 > until {
            return None;
        }
        let ((due, order, kind), n) = first.remove_entry();
        self.running.remove(&(order.clone(), kind));
        Some((due, order, kind, n))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        Action, Facts,
        order::Promise,
        testing::{T0, command, facts, order},
    };
    use std::sync::Arc;

    fn entry(seq: u64, at_ms: i64, input: Input) -> Entry {
        Entry { seq, log_time: UnixMillis(T0 + at_ms), input }
    }

    fn say(n: u32, action: Action, key: u32) -> Input {
        Input::Command { order: order(n), command: command(action, key.into()) }
    }

    fn played(settings: &[&str], entries: Vec<Entry>) -> Vec<(OrderId, i64)> {
        let mut player = Player::new(Overrides::parse(settings.iter().copied()).unwrap()).unwrap();
        for entry in entries {
            player.play(entry).unwrap();
        }
        player.end();
        let all = player.decisions.into_all();
        all.into_iter().map(|d| (d.order, d.raised.0 - T0)).collect()
    }

    #[test]
    fn timers_fire_at_their_time_by_the_settings_of_the_play() {
        const MIN: i64 = 60_000;
        let tick = || Input::Malformed { field: "x".into(), reason: "x".into() };
        let entries = || {
            vec![
                entry(1, 0, say(1, Action::Create(facts()), 1)),
                entry(2, MIN, say(2, Action::Create(facts()), 2)),
                entry(3, 2 * MIN, say(2, Action::Pay, 3)),
                entry(4, 10 * MIN, tick()),
                // The log's own firing doesn't count.
                entry(5, 31 * MIN, Input::Timer { order: order(1), kind: TimerKind::Unpaid, n: 1 }),
                entry(6, 40 * MIN, tick()),
            ]
        };
        assert_eq!(played(&[], entries()), [(order(1), 30 * MIN)]);
        assert_eq!(played(&["unpaid_ms=300000"], entries()), [(order(1), 5 * MIN)]);
        assert_eq!(played(&["unpaid_ms=30000"], entries()), [(order(1), MIN / 2), (order(2), MIN + MIN / 2)]);
        assert_eq!(played(&["unpaid_ms=2400000"], entries()), [(order(1), 40 * MIN)], "due at the very end");
    }

    #[test]
    fn settings_hold_against_every_message_of_the_log_and_clocks_that_jump_fire_timers() {
        let rules = Rules { unpaid_ms: 1_000, ..Rules::default() };
        let jump = Input::Clock { scale: 60, cell_time: Some(UnixMillis(T0 + 900_000)) };
        let entries = || {
            vec![
                entry(1, 0, Input::Rules { rules, needs: 1 }),
                entry(2, 0, say(1, Action::Create(facts()), 1)),
                entry(3, 500, jump.clone()),
                entry(4, 501, say(2, Action::Create(facts()), 2)),
            ]
        };
        // By the log's rules it is due before anything could tell of it: at the jump.
        assert_eq!(played(&[], entries()), [(order(1), 900_000)]);
        assert_eq!(played(&["unpaid_ms=600000"], entries()), [(order(1), 900_000)]);
        assert_eq!(played(&["unpaid_ms=900030"], entries()), [(order(1), 900_060)], "a millisecond is 60 here");
    }

    #[test]
    fn lazy_timers_of_an_order_that_nobody_ends_come_to_rest() {
        const MIN: i64 = 60_000;
        let promise = Promise { from: UnixMillis(T0), to: UnixMillis(T0 + 120 * MIN) };
        let promised = Arc::new(Facts { promise: Some(promise), ..(*facts()).clone() });
        let rules = Rules { rules_version: 3, ..Rules::default() };
        let assign = Action::Assign { rider: crate::domain::testing::rider(1) };
        let mut player = Player::new(Overrides::default()).unwrap();
        for one in [
            entry(1, 0, Input::Rules { rules, needs: 3 }),
            entry(2, 0, say(1, Action::Create(promised.clone()), 1)),
            entry(3, MIN, say(1, Action::Pay, 2)),
            entry(4, MIN, say(2, Action::Create(promised), 3)),
            entry(5, 2 * MIN, say(2, Action::Pay, 4)),
            entry(6, 3 * MIN, say(2, assign, 5)),
            entry(7, 30 * 24 * 60 * MIN, Input::Malformed { field: "x".into(), reason: "x".into() }),
        ] {
            player.play(one).unwrap();
        }
        player.end();
        assert!(player.fired < 20, "{} timers in a month without news", player.fired);
        let kinds = |n| {
            let of = player.decisions.clone().into_all().into_iter().filter(move |d| d.order == order(n));
            of.map(|d| d.kind).collect::<Vec<_>>()
        };
        assert_eq!(kinds(1), ["stage_overdue", "late_risk", "late"]);
        assert_eq!(kinds(2), ["stage_overdue", "late_risk", "late"]);
    }
}
