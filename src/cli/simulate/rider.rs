//! A rider as the plan knows them: where they will be when, and until when they are busy. Takes a wrong turn now and then,
//! and a long stop.

use super::{
    draw::{Draw, stream},
    motion::Motion,
    phone::Phone,
    streets::{Corner, Streets, Way},
};
use crate::domain::{RiderId, UnixMillis, ids::IdError};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// One ride in so many takes a wrong turn, so far from the way; one in so many has a long stop.
const WRONG_TURN_CHANCE: f64 = 0.04;
const WRONG_TURN_M: std::ops::Range<f64> = 200.0..600.0;
const LONG_STOP_CHANCE: f64 = 0.015;
const LONG_STOP_MS: std::ops::Range<i64> = 4 * 60_000..9 * 60_000;
/// How fast this rider is against others.
const PACE: std::ops::Range<f64> = 0.85..1.1;

/// Something that a watchful system might notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Incident {
    pub(super) what: &'static str,
    pub(super) from: UnixMillis,
    pub(super) to: UnixMillis,
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Rider {
    pub(super) id: RiderId,
    pub(super) shift: (UnixMillis, UnixMillis),
    pub(super) motion: Motion,
    pub(super) phone: Phone,
    pub(super) incidents: Vec<Incident>,
    pub(super) corner: Corner,
    /// From when on they can be sent out again.
    pub(super) free_from: UnixMillis,
    /// Orders of the last trip.
    pub(super) last_trip: Vec<u32>,
    pub(super) ended: bool,
    pace: f64,
    random: ChaCha8Rng,
}

impl Rider {
    pub(super) fn new(
        seed: u64,
        n: u32,
        prefix: &str,
        streets: &Streets,
        shift: (UnixMillis, UnixMillis),
    ) -> Result<Self, IdError> {
        let mut random = stream(seed, Draw::Rider(n));
        let corner = streets.any(&mut random);
        let phone = Phone::new(stream(seed, Draw::Phone(n)), shift.0, shift.1);
        Ok(Self {
            id: format!("{prefix}r{n}").parse()?,
            shift,
            motion: Motion::standing(streets.spot(corner), shift.0),
            phone,
            incidents: Vec::new(),
            corner,
            free_from: shift.0,
            last_trip: Vec::new(),
            ended: false,
            pace: random.random_range(PACE),
            random,
        })
    }

    /// Whether they can be sent out at `now`.
    pub(super) fn is_free(&self, now: UnixMillis) -> bool {
        !self.ended && self.free_from <= now && self.on_shift(now)
    }

    pub(super) fn on_shift(&self, now: UnixMillis) -> bool {
        (self.shift.0..self.shift.1).contains(&now)
    }

    /// How many orders they take this time: one to four.
    pub(super) fn appetite(&mut self) -> usize {
        [1, 1, 2, 2, 2, 3, 3, 4][self.random.random_range(0..8)]
    }

    /// Rides to a corner, at `flow` times the streets' speed; gives the arrival.
    pub(super) fn ride(&mut self, streets: &Streets, to: Corner, flow: f64) -> UnixMillis {
        let (begin, _) = self.motion.end();
        let (wrong_turn, long_stop) =
            (self.random.random_bool(WRONG_TURN_CHANCE), self.random.random_bool(LONG_STOP_CHANCE));
        let direct = streets.way(self.corner, to);
        let way = if wrong_turn { self.astray(streets, to, &direct) } else { direct };
        let pause = long_stop.then(|| {
            let after = self.random.random_range(0..way.legs().len().max(1));
            (after, self.random.random_range(LONG_STOP_MS))
        });
        let arrival = self.motion.ride(&way, self.pace * flow, pause);
        self.corner = to;
        if wrong_turn {
            self.incidents.push(Incident { what: "wrong_turn", from: begin, to: arrival });
        }
        if pause.is_some() {
            self.incidents.push(Incident { what: "long_stop", from: begin, to: arrival });
        }
        arrival
    }

    /// Over a corner beside the way.
    fn astray(&mut self, streets: &Streets, to: Corner, direct: &Way) -> Way {
        let Some(middle) = direct.middle() else { return direct.clone() };
        let over = streets.any_within(middle, WRONG_TURN_M.start, WRONG_TURN_M.end, &mut self.random);
        streets.way(self.corner, over).then(&streets.way(over, to))
    }

    /// Stands for a while; gives the end.
    pub(super) fn stand(&mut self, ms: std::ops::Range<i64>) -> UnixMillis {
        let until = self.motion.end().0.plus(self.random.random_range(ms));
        self.motion.stay(until);
        until
    }

    /// Whether something of this chance happens.
    pub(super) fn happens(&mut self, chance: f64) -> bool {
        self.random.random_bool(chance)
    }

    /// A draw of their own.
    pub(super) fn between(&mut self, ms: std::ops::Range<i64>) -> i64 {
        self.random.random_range(ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rides_end_where_they_should_and_some_go_astray() {
        let streets = Streets::grid().unwrap();
        let shift = (UnixMillis(0), UnixMillis(100 * 3_600_000));
        let mut rider = Rider::new(1, 1, "", &streets, shift).unwrap();
        for n in 0..300_u32 {
            let to = (n * 37) % 441;
            let arrival = rider.ride(&streets, to, 0.8);
            assert_eq!(rider.motion.at(arrival).spot, streets.spot(to));
            assert_eq!(rider.stand(20_000..60_000), rider.motion.end().0);
        }
        let count = |what| rider.incidents.iter().filter(|i| i.what == what).count();
        assert!((3..30).contains(&count("wrong_turn")) && (1..15).contains(&count("long_stop")));
        assert!((1..200).map(|_| rider.appetite()).all(|n| (1..=4).contains(&n)));
    }
}
