//! Where things are: a live index of points by id, for the nearest ones and for all in a box.
//!
//! A grid of cells of 1/76 degree (1.5 km from south to north), kept in sorted maps: a fix that stays in its cell costs
//! one comparison, and every answer comes in the same order wherever it is asked, which the state's being a function of
//! the log demands. Circles are searched by boxes that double until they hold enough; boxes know poles and antimeridian.

use crate::geo::{Bounds, Point, distance_m};
use std::{
    borrow::Borrow,
    collections::{BTreeMap, BTreeSet, HashMap},
    hash::Hash,
};

/// A cell's edge is 2^17 units of 1e-7 degree.
const CELL_BITS: u32 = 17;

/// The first circle of a search, in metres.
const FIRST_RADIUS_M: f64 = 1_000.0;

/// Half the globe's circumference, and a little more: nothing is farther.
const FARTHEST_M: f64 = 20_100_000.0;

/// Row and column.
type Square = (i32, i32);

/// See the module. Follows from what is put in, and is not stored.
#[derive(Clone, Debug)]
pub struct Spatial<K> {
    places: HashMap<K, Point>,
    squares: BTreeMap<Square, BTreeSet<K>>,
}

impl<K> Default for Spatial<K> {
    fn default() -> Self {
        Self { places: HashMap::new(), squares: BTreeMap::new() }
    }
}

/// What was found, and how far from the point that was asked about.
#[derive(Clone, Debug, PartialEq)]
pub struct Near<K> {
    pub id: K,
    pub point: Point,
    pub distance_m: f64,
}

impl<K: Clone + Ord + Hash> Spatial<K> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Puts `id` at `point`, wherever it was.
    pub fn put(&mut self, id: &K, point: Point) {
        let Some(place) = self.places.get_mut(id) else {
            self.places.insert(id.clone(), point);
            self.squares.entry(square(point)).or_default().insert(id.clone());
            return;
        };
        let (from, to) = (square(*place), square(point));
        *place = point;
        if from != to {
            self.leave(from, id);
            self.squares.entry(to).or_default().insert(id.clone());
        }
    }

    /// Takes `id` out.
    pub fn remove<Q: ?Sized + Hash + Eq + Ord>(&mut self, id: &Q)
    where
        K: Borrow<Q>,
    {
        if let Some(point) = self.places.remove(id) {
            self.leave(square(point), id);
        }
    }

    /// The `k` nearest to `center` within `max_m` that `suits` lets through, nearest first; equally near ones by id.
    pub fn nearest(&self, center: Point, k: usize, max_m: f64, mut suits: impl FnMut(&K) -> bool) -> Vec<Near<K>> {
        let max_m = max_m.min(FARTHEST_M);
        let mut radius = FIRST_RADIUS_M.min(max_m);
        let mut seen = 0.0;
        let mut found: Vec<Near<K>> = Vec::new();
        loop {
            // Only the ring that the circle before didn't have; whoever was there was asked already.
            self.each_in(&Bounds::around(center, radius), |id, point| {
                let distance_m = distance_m(center, point);
                let is_new = distance_m <= radius && (distance_m > seen || seen == 0.0);
                if is_new && suits(id) {
                    found.push(Near { id: id.clone(), point, distance_m });
                }
            });
            if found.len() >= k || radius >= max_m {
                break;
            }
            seen = radius;
            radius = (radius * 2.0).min(max_m);
        }
        found.sort_by(|a, b| a.distance_m.total_cmp(&b.distance_m).then_with(|| a.id.cmp(&b.id)));
        found.truncate(k);
        found
    }

    /// All in the box, by id.
    pub fn within(&self, bounds: &Bounds) -> Vec<(K, Point)> {
        let mut found = Vec::new();
        self.each_in(bounds, |id, point| found.push((id.clone(), point)));
        found.sort_by(|a, b| a.0.cmp(&b.0));
        found
    }

    fn each_in(&self, bounds: &Bounds, mut visit: impl FnMut(&K, Point)) {
        let mut look = |ids: &BTreeSet<K>| {
            for id in ids {
                if let Some(point) = self.places.get(id).filter(|point| bounds.contains(**point)) {
                    visit(id, *point);
                }
            }
        };
        let rows = (bounds.south_e7 >> CELL_BITS)..=(bounds.north_e7 >> CELL_BITS);
        // A box with more rows than there are squares is emptier than the list of squares is long.
        if usize::try_from(rows.end() - rows.start()).unwrap_or(usize::MAX) >= self.squares.len() {
            return self.squares.values().for_each(look);
        }
        let columns = columns(bounds);
        for row in rows {
            for (first, last) in columns.into_iter().flatten().filter(|(first, last)| first <= last) {
                self.squares.range((row, first)..=(row, last)).for_each(|(_, ids)| look(ids));
            }
        }
    }

    fn leave<Q: ?Sized + Ord>(&mut self, square: Square, id: &Q)
    where
        K: Borrow<Q>,
    {
        if let Some(ids) = self.squares.get_mut(&square) {
            ids.remove(id);
            if ids.is_empty() {
                self.squares.remove(&square);
            }
        }
    }
}

fn square(point: Point) -> Square {
    (point.lat_e7 >> CELL_BITS, point.lon_e7 >> CELL_BITS)
}

/// The box's columns, each once: its two ranges of longitudes may begin and end in the same square.
fn columns(bounds: &Bounds) -> [Option<(i32, i32)>; 2] {
    let [first, second] = bounds.longitudes().map(|range| range.map(|(w, e)| (w >> CELL_BITS, e >> CELL_BITS)));
    let from = first.map_or(i32::MAX, |(from, _)| from);
    [first, second.map(|(west, east)| (west, east.min(from - 1)))]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A town, and places where longitudes end.
    fn point() -> impl Strategy<Value = Point> {
        let town = (310_000_000..310_400_000, 1_210_000_000..1_210_400_000);
        let globe = (-900_000_000..=900_000_000, -1_800_000_000..=1_800_000_000);
        let seam = (-1_000_000..1_000_000, prop_oneof![1_799_000_000..=1_800_000_000, -1_800_000_000..=-1_799_000_000]);
        let pole = (899_900_000..=900_000_000, -1_800_000_000..=1_800_000_000);
        let any = prop_oneof![4 => town.boxed(), 1 => globe.boxed(), 1 => seam.boxed(), 1 => pole.boxed()];
        any.prop_map(|(lat_e7, lon_e7)| Point { lat_e7, lon_e7 })
    }

    /// Puts, moves and removals, and what they leave.
    fn index(steps: &[(u8, Option<Point>)]) -> (Spatial<u8>, BTreeMap<u8, Point>) {
        let (mut index, mut model) = (Spatial::default(), BTreeMap::new());
        for (id, step) in steps {
            match step {
                Some(point) => {
                    index.put(id, *point);
                    model.insert(*id, *point);
                }
                None => {
                    index.remove(id);
                    model.remove(id);
                }
            }
        }
        (index, model)
    }

    fn steps() -> impl Strategy<Value = Vec<(u8, Option<Point>)>> {
        prop::collection::vec((0..60u8, prop::option::weighted(0.85, point())), 0..120)
    }

    proptest! {
        #[test]
        fn the_nearest_are_those_of_brute_force(
            steps in steps(), center in point(), k in 0..12usize, odd: bool,
            max_m in prop_oneof![Just(0.0), 10.0..5_000.0, 5_000.0..3e7],
        ) {
            let (index, model) = index(&steps);
            let suits = |id: &u8| !odd || id % 2 == 1;
            let near = |(id, point): (&u8, &Point)| Near { id: *id, point: *point, distance_m: distance_m(center, *point) };
            let mut all: Vec<_> = model.iter().filter(|(id, _)| suits(id)).map(near).collect();
            all.retain(|near| near.distance_m <= max_m);
            all.sort_by(|a, b| a.distance_m.total_cmp(&b.distance_m).then(a.id.cmp(&b.id)));
            all.truncate(k);
            prop_assert_eq!(index.nearest(center, k, max_m, suits), all);
        }

        #[test]
        fn a_box_holds_what_brute_force_finds(steps in steps(), a in point(), b in point()) {
            let (index, model) = index(&steps);
            let (south_e7, north_e7) = (a.lat_e7.min(b.lat_e7), a.lat_e7.max(b.lat_e7));
            let bounds = Bounds { south_e7, west_e7: a.lon_e7, north_e7, east_e7: b.lon_e7 };
            let all: Vec<_> = model.into_iter().filter(|(_, point)| bounds.contains(*point)).collect();
            prop_assert_eq!(index.within(&bounds), all);
        }

        /// An index that was rebuilt answers like the one that lived through it all.
        #[test]
        fn how_it_came_about_makes_no_difference(steps in steps(), center in point()) {
            let (index, model) = index(&steps);
            let mut again = Spatial::default();
            model.iter().rev().for_each(|(id, point)| again.put(id, *point));
            prop_assert_eq!(index.nearest(center, 5, 3e7, |_| true), again.nearest(center, 5, 3e7, |_| true));
            prop_assert_eq!(index.len(), model.len());
            prop_assert_eq!(index.squares, again.squares);
        }
    }

    #[test]
    fn each_is_asked_once() {
        let (mut index, mut asked) = (Spatial::default(), 0);
        for n in 0..100 {
            index.put(&n, Point { lat_e7: 310_000_000 + n * 100_000, lon_e7: 1_210_000_000 });
        }
        let found = index.nearest(Point { lat_e7: 310_000_000, lon_e7: 1_210_000_000 }, 1, 3e7, |n| {
            asked += 1;
            *n == 99
        });
        assert_eq!((found[0].id, asked), (99, 100));
    }
}
