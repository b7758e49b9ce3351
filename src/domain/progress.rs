//! How far a rider has come along the planned route, and how far beside it. A fix says where the rider is, not where on
//! the route: streets are ridden out and back, routes cross themselves and come near themselves. So progress is kept, and
//! a fix is looked for first where the rider can have come to since.
//!
//! Progress is monotone: less than [`BACK_M`] back holds it, more needs [`AGREEING`] fixes that agree, and so does a jump
//! ahead beyond what the time allows. The distance to the route is that to its part within reach, ahead or back: who rides
//! the route backwards is not beside it. What is far from all of that is nowhere on the route until three fixes in a row agree.

use super::{rules::Rules, time::UnixMillis};
use crate::geo::{Foot, Plane, Point, Ruler, apart_m, length_m};
use serde::{Deserialize, Serialize};

/// Going back by so much is jitter, and holds progress.
pub const BACK_M: f64 = 50.0;
/// So many fixes in a row are believed against progress.
pub const AGREEING: u8 = 3;
/// Within this distance (and the fix's accuracy, at most as much again) a fix can lie on the route: the 99th percentile
/// of a car's fixes from its true path in a town is 36 m.
const NEAR_M: f64 = 40.0;
/// What may be between two places beyond the time's way: both fixes' errors, and corners that the route cuts.
const SLACK_M: f64 = 100.0;
/// A place that is off from where the rider is expected by as much as the rider moved (and [`SLACK_M`]) has to be nearer by
/// so much: fixes' errors decide nothing between the two directions of a street.
const PREFER_M: f64 = 20.0;

/// Where a fix lies against the planned route, in metres.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Placed {
    /// To the nearest place of the route that the rider can be at. The fix's accuracy is not taken off.
    pub offset_m: f64,
    /// From the route's start to where progress is.
    pub along_m: f64,
    /// From there to the route's end.
    pub remaining_m: f64,
}

/// The machine. It belongs to one route: another route begins another progress.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Of the whole route, once it was measured.
    total_m: Option<f64>,
    spot: Spot,
    /// The last fix that lay near the route where it was expected; none, until one lies near the route.
    near: Option<(Point, UnixMillis)>,
    doubt: Option<Doubt>,
}

/// A place on the route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Spot {
    segment: u32,
    /// Length up to the segment's start.
    start_m: f64,
    along_m: f64,
}

/// Where the last fixes say that the rider is, against progress.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Doubt {
    spot: Spot,
    at: UnixMillis,
    agreeing: u8,
    /// Near the route, or the nearest place of it from afar.
    near: bool,
}

impl Progress {
    /// Takes a good fix, newer than all before; `accuracy_m` is 0 where unknown. A route without points has no length,
    /// and nothing is beside it.
    pub fn take(&mut self, route: &[Point], point: Point, accuracy_m: f64, at: UnixMillis, rules: &Rules) -> Placed {
        let [first, _, ..] = route else {
            return Placed { offset_m: route.first().map_or(0.0, |p| apart_m(*p, point)), ..Placed::default() };
        };
        if self.spot.segment as usize + 1 >= route.len() {
            *self = Self::default();
        }
        let total_m = *self.total_m.get_or_insert_with(|| length_m(route));
        let near_m = NEAR_M + accuracy_m.min(NEAR_M);
        let search = Search { route, ruler: Ruler::at(*first), plane: Plane::at(point), near_m2: near_m * near_m };
        let offset_m = self.place(&search, point, total_m, at, rules);
        let along_m = self.spot.along_m;
        Placed { offset_m, along_m, remaining_m: (total_m - along_m).max(0.0) }
    }

    /// Finds where the fix lies and moves progress there if it may. Gives the distance to the part within reach.
    fn place(&mut self, search: &Search<'_>, point: Point, total_m: f64, at: UnixMillis, rules: &Rules) -> f64 {
        let here_m = self.spot.along_m;
        let doubted_m = self.doubt.filter(|d| d.near).map_or(here_m, |d| d.spot.along_m);
        let reach_m = self.near.map_or(total_m, |(_, then)| reach_m(then, at, rules));
        let (back_m, reached_m) = (here_m - BACK_M, here_m + reach_m);
        // On a route that is followed, the rider goes along it as far as across the ground, or farther. It begins at its start.
        let moved_m = self.near.map_or(0.0, |(last, _)| apart_m(last, point));
        let (around_m, width_m) = (here_m + moved_m, moved_m + SLACK_M);
        let window = Window { from_m: back_m, to_m: reached_m, around_m, width_m };
        let ahead = search.sweep(search.back_to(self.spot, back_m), window);
        // At the window's start, the fix may belong farther back.
        if let Some(near) = ahead.near.filter(|near| near.spot.along_m > back_m) {
            self.put(near.spot, point, at);
            return ahead.least.square_m2.sqrt();
        }
        let before_m = here_m - reach_m;
        let window = Window { from_m: before_m, to_m: back_m, around_m: doubted_m, width_m: reach_m };
        let behind = search.sweep(search.back_to(self.spot, before_m), window);
        let anywhere = |from_m, to_m| Window { from_m, to_m, around_m: doubted_m, width_m: total_m };
        let reachable_m2 = ahead.least.square_m2.min(behind.least.square_m2);
        let elsewhere = if let Some(near) = behind.near.filter(|near| near.spot.along_m < back_m) {
            Some(near)
        } else if let Some(near) = ahead.near {
            self.put(near.spot, point, at);
            return reachable_m2.sqrt();
        } else {
            let on = search.sweep(ahead.end, anywhere(reached_m, total_m)).near;
            on.or_else(|| search.sweep(Spot::default(), anywhere(0.0, before_m)).near)
        };
        let Some(Found { spot, square_m2 }) = elsewhere else {
            self.doubt(ahead.least.spot, false, point, at, rules);
            return reachable_m2.sqrt();
        };
        // Once two fixes say so, the rider is on the route there, though progress waits for the third.
        let agreeing = self.doubt(spot, true, point, at, rules);
        if agreeing > 1 { reachable_m2.min(square_m2).sqrt() } else { reachable_m2.sqrt() }
    }

    /// A fix near the route where it was expected.
    fn put(&mut self, spot: Spot, point: Point, at: UnixMillis) {
        if spot.along_m > self.spot.along_m {
            self.spot = spot;
        }
        self.near = Some((point, at));
        self.doubt = None;
    }

    /// A fix elsewhere. Once believed, those that go on agreeing are believed one by one. Gives how many agree.
    fn doubt(&mut self, spot: Spot, near: bool, point: Point, at: UnixMillis, rules: &Rules) -> u8 {
        let agrees = |d: &Doubt| d.near == near && (spot.along_m - d.spot.along_m).abs() <= reach_m(d.at, at, rules);
        let agreeing = self.doubt.filter(agrees).map_or(1, |d| d.agreeing.saturating_add(1));
        self.doubt = Some(Doubt { spot, at, agreeing, near });
        if agreeing < AGREEING {
            return agreeing;
        }
        if near {
            self.spot = spot;
            self.near = Some((point, at));
        } else if spot.along_m > self.spot.along_m {
            // From afar, as on a street beside it, progress only goes on; where the rider comes back to the route is open.
            self.spot = spot;
        }
        agreeing
    }
}

/// The way that the time between two fixes allows.
fn reach_m(then: UnixMillis, at: UnixMillis, rules: &Rules) -> f64 {
    rules.max_speed_mps * (at.since(then).max(0) as f64 / 1_000.0) + SLACK_M
}

/// A part of the route, and the place that is preferred in it.
#[derive(Clone, Copy)]
struct Window {
    from_m: f64,
    to_m: f64,
    around_m: f64,
    /// Being so far from the preferred place costs [`PREFER_M`].
    width_m: f64,
}

/// A place, and the square of its distance from the fix.
#[derive(Clone, Copy)]
struct Found {
    spot: Spot,
    square_m2: f64,
}

/// What a window has.
struct Swept {
    /// The best place that is near the point.
    near: Option<Found>,
    /// The nearest place that was looked at, however far.
    least: Found,
    /// The first segment that wasn't looked at whole.
    end: Spot,
}

struct Search<'a> {
    route: &'a [Point],
    ruler: Ruler,
    plane: Plane,
    near_m2: f64,
}

impl Search<'_> {
    fn length_m(&self, segment: usize) -> f64 {
        self.ruler.length_m(self.route[segment], self.route[segment + 1])
    }

    /// The segment at or before `along_m`, looked for backwards.
    fn back_to(&self, spot: Spot, along_m: f64) -> Spot {
        let Spot { mut segment, mut start_m, .. } = spot;
        while segment > 0 && start_m > along_m {
            segment -= 1;
            // The first begins at 0 whatever rounding made of the way back.
            start_m = if segment == 0 { 0.0 } else { start_m - self.length_m(segment as usize) };
        }
        Spot { segment, start_m, along_m: start_m }
    }

    /// Looks at the window, from a segment at or before its start; no farther than something better may come.
    fn sweep(&self, from: Spot, window: Window) -> Swept {
        let Window { from_m, to_m, around_m, width_m } = window;
        let mut swept = Swept { near: None, least: Found { spot: from, square_m2: f64::INFINITY }, end: from };
        let mut least_cost_m = f64::INFINITY;
        let cost_of = |off_m: f64| PREFER_M * off_m / width_m.max(1.0);
        let mut a = self.plane.offset(self.route[from.segment as usize]);
        for (i, b) in (from.segment..).zip(&self.route[from.segment as usize + 1..]) {
            let start_m = swept.end.start_m;
            // What follows is out of the window, or can't be better than what was found, were it at the point itself.
            if start_m > to_m || cost_of(start_m - around_m) >= least_cost_m {
                break;
            }
            let b = self.plane.offset(*b);
            let length_m = self.length_m(i as usize);
            let end_m = start_m + length_m;
            if end_m >= from_m {
                let part = |m: f64| if length_m > 0.0 { ((m - start_m) / length_m).clamp(0.0, 1.0) } else { 0.0 };
                let first = if start_m < from_m { part(from_m) } else { 0.0 };
                let last = if end_m > to_m { part(to_m) } else { 1.0 };
                let Foot { fraction, square_m2 } = Foot::between(a, b, first, last.max(first));
                // Clipped by the window, a place is its edge exactly.
                let along_m = (start_m + fraction * length_m).max(from_m).min(to_m);
                let found = Found { spot: Spot { segment: i, start_m, along_m }, square_m2 };
                if square_m2 < swept.least.square_m2 {
                    swept.least = found;
                }
                if square_m2 <= self.near_m2 {
                    let cost_m = square_m2.sqrt() + cost_of((along_m - around_m).abs());
                    if cost_m < least_cost_m {
                        (swept.near, least_cost_m) = (Some(found), cost_m);
                    }
                }
            }
            if end_m > to_m {
                break;
            }
            swept.end = Spot { segment: i + 1, start_m: end_m, along_m: end_m };
            a = b;
        }
        swept
    }
}

#[cfg(test)]
mod tests;
