//! Late fixes as if they had come in time: where each belongs in the log, and a play with them there.
//!
//! Late is a fix that came more than the clock's tolerance after it was taken; what is nearer is the network's delay,
//! and stays where it is. A late fix is taken out of its message and played, alone, before the first entry that is
//! later than it. Everything else stays: a `delivered` that came late is still late.

use super::{ReplayError, player::Player};
use crate::domain::{
    RiderId, UnixMillis,
    cell::{Entry, Input},
    fix::{Fix, clock_offset},
};
use std::collections::HashMap;

/// A fix and where it belongs.
#[derive(Clone, Debug, PartialEq)]
struct Moved {
    /// Corrected: cell time at which it was taken.
    taken: UnixMillis,
    /// Where it was found, which settles the order of those taken at the same time.
    seq: u64,
    nth: usize,
    rider: RiderId,
    /// What its sender's clock showed then, if the message said when it was sent: so its correction stays what it was.
    sent_time: Option<UnixMillis>,
    fix: Fix,
}

/// The late fixes of a log. First every entry is noticed, along with a play; then [`Self::play`] plays them anew.
#[derive(Debug, Default)]
pub(super) struct Late {
    moved: Vec<Moved>,
    /// Which fixes leave which entry.
    leaving: HashMap<u64, Vec<usize>>,
    /// Next of `moved`, once they are sorted.
    next: usize,
    sorted: bool,
}

impl Late {
    /// Notices the late fixes of an entry that `player` is about to play.
    pub(super) fn notice(&mut self, player: &Player, entry: &Entry) {
        let Input::Fixes { rider, sent_time, fixes } = &entry.input else { return };
        let (at, tolerance_ms) = (player.time_of(entry), player.cell().head().rules.clock_tolerance_ms);
        let kept_ms = player.cell().rider(rider).map_or(0, |r| r.clock_offset_ms);
        let offset_ms = clock_offset(*sent_time, at, kept_ms, tolerance_ms);
        for (nth, fix) in fixes.iter().enumerate() {
            let taken = fix.id.device_time.plus(offset_ms);
            if at.since(taken) > tolerance_ms {
                let sent_time = sent_time.map(|_| fix.id.device_time);
                self.leaving.entry(entry.seq).or_default().push(nth);
                self.moved.push(Moved { taken, seq: entry.seq, nth, rider: rider.clone(), sent_time, fix: *fix });
            }
        }
    }

    /// How many were noticed.
    pub(super) fn len(&self) -> usize {
        self.moved.len()
    }

    /// Plays the entry without the fixes that leave it, and before it those that belong there.
    pub(super) fn play(&mut self, player: &mut Player, mut entry: Entry) -> Result<(), ReplayError> {
        let time = player.time_of(&entry);
        self.play_until(player, time, entry.log_time, entry.seq)?;
        if let Input::Fixes { fixes, .. } = &mut entry.input
            && let Some(leaving) = self.leaving.get(&entry.seq)
        {
            let mut nth = 0..;
            fixes.retain(|_| !nth.next().is_some_and(|nth| leaving.contains(&nth)));
            if fixes.is_empty() {
                return Ok(());
            }
        }
        player.play(entry)
    }

    /// Plays what is left.
    pub(super) fn end(&mut self, player: &mut Player) -> Result<(), ReplayError> {
        self.play_until(player, UnixMillis(i64::MAX), UnixMillis(i64::MAX), u64::MAX)
    }

    fn play_until(
        &mut self,
        player: &mut Player,
        before: UnixMillis,
        latest: UnixMillis,
        seq: u64,
    ) -> Result<(), ReplayError> {
        if !self.sorted {
            self.moved.sort_by_key(|m| (m.taken, m.seq, m.nth));
            self.sorted = true;
        }
        while let Some(Moved { taken, rider, sent_time, fix, .. }) = self.moved.get(self.next).cloned()
            && taken < before
        {
            self.next += 1;
            let log_time = player.cell().head().clock.log_time_of(taken).min(latest);
            let input = Input::Fixes { rider, sent_time, fixes: vec![fix] };
            player.play(Entry { seq, log_time, input })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        app::replay::override_rules::Overrides,
        domain::{
            Action,
            testing::{T0, command, facts, fix, order, rider},
        },
    };

    const SEC: i64 = 1_000;

    fn log(batch_at: i64, sent_time: Option<UnixMillis>, ahead_ms: i64) -> Vec<Entry> {
        let say = |action, key| Input::Command { order: order(1), command: command(action, key) };
        let one = |t: i64| fix(T0 + t * SEC + ahead_ms, None, 10.0 * t as f64);
        let mut entries = vec![
            (0, say(Action::Create(facts()), 1)),
            (0, say(Action::Pay, 2)),
            (10, say(Action::Assign { rider: rider(1) }, 3)),
            (20, Input::Fixes { rider: rider(1), sent_time: None, fixes: vec![fix(T0 + 20 * SEC, None, 200.0)] }),
            (30, say(Action::Unassign, 4)),
            (40, say(Action::Assign { rider: rider(1) }, 5)),
        ];
        let fixes = [12, 14, 22, 35, 45].map(one).to_vec();
        entries.push((batch_at, Input::Fixes { rider: rider(1), sent_time, fixes }));
        let at = |(i, (t, input)): (usize, (i64, Input))| Entry {
            seq: i as u64 + 1,
            log_time: UnixMillis(T0 + t * SEC),
            input,
        };
        entries.into_iter().enumerate().map(at).collect()
    }

    /// Where the rider was shown before each entry, in metres; and how many fixes were late.
    fn shown(entries: Vec<Entry>) -> (Vec<f64>, usize) {
        let player = || Player::new(Overrides::default()).unwrap();
        let (mut first, mut late) = (player(), Late::default());
        for entry in entries.clone() {
            late.notice(&first, &entry);
            first.play(entry).unwrap();
        }
        let (mut second, mut shown) = (player(), Vec::new());
        let north = |player: &Player| {
            let position = player.cell().rider(&rider(1)).and_then(|r| r.position());
            position.map_or(-1.0, |p| ((p.point.lat() - fix(0, None, 0.0).point.lat()) * 111_195.0).round())
        };
        for entry in entries {
            late.play(&mut second, entry).unwrap();
            shown.push(north(&second));
        }
        late.end(&mut second).unwrap();
        shown.push(north(&second));
        (shown, late.len())
    }

    #[test]
    fn a_late_batch_is_split_and_comes_where_it_belongs() {
        let (shown, late) = shown(log(100, None, 0));
        assert_eq!(late, 5);
        // After create, pay, assign, the fix in time, unassign, assign, the batch (now empty), and the end.
        assert_eq!(shown, [-1.0, -1.0, -1.0, 200.0, 220.0, 350.0, 450.0, 450.0]);
    }

    #[test]
    fn what_came_in_time_stays_and_clocks_that_are_off_are_corrected_as_before() {
        // Ten minutes ahead, and says so.
        let ahead = 600 * SEC;
        let (corrected, late) = shown(log(100, Some(UnixMillis(T0 + 100 * SEC + ahead)), ahead));
        assert_eq!((late, corrected), (5, shown(log(100, None, 0)).0));
        let (_, late) = shown(log(46, None, 0));
        assert_eq!(late, 4, "a second is the network's");
    }
}
