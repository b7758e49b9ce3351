//! A rider's phone: takes a fix every 15 s, keeps them while it has no network, and isn't always right. What each fix
//! must become is decided here, when it is made, and goes into the truth file.

use super::{
    draw::normal,
    motion::Motion,
    streets::{Frame, Spot},
};
use crate::{domain::UnixMillis, wire::fix::FixBody};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;
use std::collections::VecDeque;

/// Spec: riders report every 15 s; phones are not exact.
const REPORT_MS: i64 = 15_000;
const REPORT_JITTER_MS: i64 = 2_000;
/// Error of a good fix in metres: it wanders rather than jumps, so that two fixes' errors are alike.
const NOISE_M: f64 = 5.0;
const NOISE_KEPT: f64 = 0.7;
const INACCURATE_M: f64 = 60.0;
/// One fix in so many …
const INACCURATE_CHANCE: f64 = 0.015;
const OUTLIER_CHANCE: f64 = 0.003;
const WRONG_DATE_CHANCE: f64 = 0.000_7;
/// … and one message in so many is sent again although it was heard.
const AGAIN_CHANCE: f64 = 0.01;
/// One phone in so many has a wrong clock, and says when it sends.
const WRONG_CLOCK_CHANCE: f64 = 0.08;
const WRONG_CLOCK_MS: std::ops::Range<i64> = 60_000..3 * 3_600_000;
/// After something odd, so many ordinary fixes: one outlier among good ones is told apart, two side by side may not be.
const ORDINARY_BETWEEN: u32 = 3;
/// GPS counts weeks in ten bits.
const ROLLOVER_MS: i64 = 1_024 * 7 * 24 * 3_600_000;
const AHEAD_MS: i64 = 20 * 60_000;
/// Between two spells without network, and their lengths; one in ten is a long one.
const ONLINE_MS: std::ops::Range<i64> = 5 * 60_000..50 * 60_000;
const OFFLINE_MS: std::ops::Range<i64> = 40_000..240_000;
const LONG_OFFLINE_MS: std::ops::Range<i64> = 5 * 60_000..20 * 60_000;

/// What a fix must become, whatever the way it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Must {
    Good,
    Inaccurate,
    Jump,
    /// Refused: its time lies in the future.
    Future,
    /// Refused: its time is years ago.
    TooOld,
}

/// A fix, and the truth about it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Taken {
    pub(super) body: FixBody,
    pub(super) time: UnixMillis,
    pub(super) spot: Spot,
    pub(super) must: Must,
}

/// Fixes that are sent together.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Message {
    pub(super) fixes: Vec<Taken>,
    /// To be added to the true time; with it the phone says when it sends.
    pub(super) clock_ms: Option<i64>,
    /// A repetition of the message before.
    pub(super) again: bool,
}

/// Times without network, in their order.
#[derive(Clone, Debug, Default)]
pub(super) struct Spells(VecDeque<(UnixMillis, UnixMillis)>);

impl Spells {
    fn draw(random: &mut ChaCha8Rng, from: UnixMillis, to: UnixMillis) -> Self {
        let mut spells = VecDeque::new();
        let mut at = from.plus(random.random_range(ONLINE_MS));
        while at < to {
            let length = if random.random_bool(0.1) { LONG_OFFLINE_MS } else { OFFLINE_MS };
            let end = at.plus(random.random_range(length));
            spells.push_back((at, end));
            at = end.plus(random.random_range(ONLINE_MS));
        }
        Self(spells)
    }

    /// The first moment from `time` on at which there is network.
    pub(super) fn online_from(&self, time: UnixMillis) -> UnixMillis {
        self.0.iter().find(|(from, to)| (*from..*to).contains(&time)).map_or(time, |(_, to)| *to)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &(UnixMillis, UnixMillis)> {
        self.0.iter()
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Phone {
    random: ChaCha8Rng,
    /// By how much its clock is ahead; `None` for one that is right.
    pub(super) clock_ms: Option<i64>,
    pub(super) spells: Spells,
    from: UnixMillis,
    seq: u32,
    error_m: (f64, f64),
    /// Fixes since the last odd one, or since the phone was last without network.
    ordinary: u32,
    kept: Vec<Taken>,
}

impl Phone {
    /// A phone that is carried from `from` to `to`. Beyond a week nothing is planned.
    pub(super) fn new(mut random: ChaCha8Rng, from: UnixMillis, to: UnixMillis) -> Self {
        let clock_ms = random.random_bool(WRONG_CLOCK_CHANCE).then(|| {
            let ms = random.random_range(WRONG_CLOCK_MS);
            if random.random_bool(0.5) { ms } else { -ms }
        });
        let spells = Spells::draw(&mut random, from, to.min(from.plus(7 * 24 * 3_600_000)));
        Self { random, clock_ms, spells, from, seq: 0, error_m: (0.0, 0.0), ordinary: 0, kept: Vec::new() }
    }

    /// A report is due: what is sent now, and when the next is due.
    pub(super) fn report(&mut self, now: UnixMillis, motion: &Motion, frame: &Frame) -> (Vec<Message>, UnixMillis) {
        let online = self.spells.online_from(now) == now;
        let taken = self.take(now, motion, frame, online);
        self.kept.extend(taken);
        self.ordinary = if online { self.ordinary + 1 } else { 0 };
        let next = now.plus(REPORT_MS + self.random.random_range(-REPORT_JITTER_MS..=REPORT_JITTER_MS));
        if !online || self.kept.is_empty() {
            return (Vec::new(), next);
        }
        let message = Message { fixes: std::mem::take(&mut self.kept), clock_ms: self.clock_ms, again: false };
        let mut messages = vec![message];
        if self.random.random_bool(AGAIN_CHANCE) {
            messages.push(Message { again: true, ..messages[0].clone() });
        }
        (messages, next)
    }

    fn take(&mut self, now: UnixMillis, motion: &Motion, frame: &Frame, online: bool) -> Option<Taken> {
        let moment = motion.at(now);
        let must = self.luck(online);
        let fresh = NOISE_M * libm::sqrt(1.0 - NOISE_KEPT * NOISE_KEPT);
        self.error_m = (
            self.error_m.0 * NOISE_KEPT + normal(&mut self.random, fresh),
            self.error_m.1 * NOISE_KEPT + normal(&mut self.random, fresh),
        );
        let (mut east_m, mut north_m) = self.error_m;
        let mut accuracy_m = self.random.random_range(4.0..20.0);
        match must {
            Must::Inaccurate => {
                accuracy_m = self.random.random_range(120.0..400.0);
                east_m += normal(&mut self.random, INACCURATE_M);
                north_m += normal(&mut self.random, INACCURATE_M);
            }
            Must::Jump => {
                let away_m = self.random.random_range(4_000.0..8_000.0);
                if self.random.random_bool(0.5) { east_m += away_m } else { north_m -= away_m }
            }
            Must::Good | Must::Future | Must::TooOld => {}
        }
        let wrong_ms = match must {
            Must::Future => AHEAD_MS,
            Must::TooOld => -ROLLOVER_MS,
            Must::Good | Must::Inaccurate | Must::Jump => self.clock_ms.unwrap_or(0),
        };
        let point = frame.point(moment.spot.moved(east_m, north_m))?;
        self.seq += 1;
        let hours_on = now.since(self.from) as f64 / 3_600_000.0;
        let body = FixBody {
            lat: point.lat(),
            lon: point.lon(),
            fix_time_ms: now.plus(wrong_ms).0,
            seq: Some(self.seq),
            accuracy_m: Some(libm::round(accuracy_m)),
            speed_mps: Some(libm::round(moment.speed_mps * 10.0) / 10.0),
            heading_deg: moment.heading_deg.map(libm::floor),
            battery_pct: Some(libm::round((100.0 - hours_on * 8.0).max(3.0))),
        };
        Some(Taken { body, time: now, spot: moment.spot, must })
    }

    /// Draws as often whatever comes of it, so that one oddity more doesn't change all that follows.
    fn luck(&mut self, online: bool) -> Must {
        let mut hit = |chance| self.random.random_bool(chance);
        let (inaccurate, outlier, wrong_date, ahead) =
            (hit(INACCURATE_CHANCE), hit(OUTLIER_CHANCE), hit(WRONG_DATE_CHANCE), hit(0.5));
        let steady = online && self.ordinary >= ORDINARY_BETWEEN && self.clock_ms.is_none();
        let must = if steady && wrong_date {
            if ahead { Must::Future } else { Must::TooOld }
        } else if steady && outlier {
            Must::Jump
        } else if inaccurate {
            Must::Inaccurate
        } else {
            Must::Good
        };
        if must != Must::Good {
            self.ordinary = 0;
        }
        must
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        draw::{Draw, stream},
        streets::Streets,
    };
    use super::*;

    fn day(n: u32) -> (Phone, Vec<Message>) {
        let frame = Streets::grid().unwrap().frame;
        let to = UnixMillis(10 * 3_600_000);
        let mut phone = Phone::new(stream(1, Draw::Phone(n)), UnixMillis(0), to);
        let motion = Motion::standing(Spot { east_m: 100.0, north_m: 50.0 }, UnixMillis(0));
        let (mut now, mut messages) = (UnixMillis(0), Vec::new());
        while now < to {
            let (sent, next) = phone.report(now, &motion, &frame);
            assert!((13_000..=17_000).contains(&next.since(now)));
            messages.extend(sent);
            now = next;
        }
        (phone, messages)
    }

    #[test]
    fn every_fix_is_sent_once_but_for_repetitions() {
        let (phone, messages) = day(1);
        let once = messages.iter().filter(|m| !m.again);
        let mut seqs: Vec<_> = once.flat_map(|m| &m.fixes).map(|f| f.body.seq.unwrap()).collect();
        seqs.extend(phone.kept.iter().map(|f| f.body.seq.unwrap()));
        assert!(seqs.windows(2).all(|pair| pair[0] + 1 == pair[1]) && seqs.len() > 2_300, "{}", seqs.len());
        assert!(messages.iter().any(|m| m.again) && messages.iter().filter(|m| m.fixes.len() > 2).count() > 5);
        assert_eq!(day(1).1, messages);
    }

    #[test]
    fn noise_has_its_size_and_odd_fixes_stand_alone() {
        let (mut jumps, mut wrong_dates, mut off_m, mut count) = (0, 0, 0.0, 0.0);
        let frame = Streets::grid().unwrap().frame;
        for n in 0..20 {
            let (phone, messages) = day(n);
            let fixes: Vec<_> = messages.iter().filter(|m| !m.again).flat_map(|m| &m.fixes).collect();
            for (i, fix) in fixes.iter().enumerate() {
                let FixBody { lat, lon, fix_time_ms, accuracy_m, .. } = fix.body;
                let away_m = frame.spot(lat, lon).distance_m(fix.spot);
                match fix.must {
                    Must::Good => {
                        assert!(away_m < 45.0 && accuracy_m.unwrap() <= 20.0, "{away_m}");
                        off_m += away_m;
                        count += 1.0;
                    }
                    Must::Inaccurate => assert!(accuracy_m.unwrap() > 100.0),
                    Must::Jump => {
                        jumps += 1;
                        let around = fixes[i - 3..i].iter().chain(fixes.get(i + 1));
                        assert!(away_m > 3_900.0 && around.into_iter().all(|f| f.must != Must::Jump));
                    }
                    Must::Future | Must::TooOld => {
                        wrong_dates += 1;
                        assert!((fix_time_ms - fix.time.0).abs() > 600_000);
                        assert!(phone.clock_ms.is_none());
                    }
                }
            }
        }
        assert!(jumps > 20 && wrong_dates > 5, "{jumps} {wrong_dates}");
        let mean_m: f64 = off_m / count;
        assert!((4.5..9.0).contains(&mean_m), "{mean_m}");
    }

    #[test]
    fn without_network_nothing_is_sent() {
        let (phone, messages) = day(3);
        let spells: Vec<_> = phone.spells.iter().copied().collect();
        assert!(spells.len() > 8);
        let sent = messages.iter().map(|m| m.fixes.last().unwrap().time);
        assert!(sent.into_iter().all(|at| phone.spells.online_from(at) == at));
        assert_eq!(phone.spells.online_from(spells[0].0), spells[0].1);
    }
}
