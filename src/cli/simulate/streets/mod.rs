//! A city's streets: a graph of crossings and corners with the time that each piece takes, and the quickest way through
//! it. From a map, or made up as a grid.

mod geojson;
mod grid;
mod osm;
mod place;
mod way;

pub(super) use place::{Frame, Spot};
pub(super) use way::Way;

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    path::Path,
};

/// Why streets can't be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum StreetsError {
    #[error("{file}: {source}")]
    Read { file: String, source: std::io::Error },
    #[error("{file}: {reason}")]
    Unreadable { file: String, reason: String },
    #[error("{file}: only {corners} corners can be reached from each other; a city needs {needed}")]
    TooSmall { file: String, corners: usize, needed: usize },
}

/// What an electric bicycle rides at, in m/s: from arterial roads down to alleys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Trunk,
    Primary,
    Secondary,
    Tertiary,
    Residential,
    Alley,
}

impl Class {
    pub(super) fn speed_mps(self) -> f64 {
        match self {
            Self::Trunk => FASTEST_MPS,
            Self::Primary => 7.5,
            Self::Secondary => 7.0,
            Self::Tertiary => 6.5,
            Self::Residential => 5.5,
            Self::Alley => 3.5,
        }
    }
}

const FASTEST_MPS: f64 = 8.0;
const FEWEST_CORNERS: usize = 20;

/// Where a rider can be told to go: a corner of the graph.
pub(super) type Corner = u32;

#[derive(Clone, Copy, Debug)]
struct Piece {
    to: Corner,
    seconds: f64,
}

/// See the module. Every corner can be reached from every other.
#[derive(Clone, Debug)]
pub(super) struct Streets {
    pub(super) frame: Frame,
    spots: Vec<Spot>,
    pieces: Vec<Vec<Piece>>,
}

/// Streets as a source tells them, in degrees.
#[derive(Debug, Default)]
struct Draft {
    /// By position in 1e-7 degrees: lines that share a point are joined there.
    corners: HashMap<(i64, i64), Corner>,
    places: Vec<(f64, f64)>,
    pieces: Vec<(Corner, Corner, Class)>,
}

impl Draft {
    /// A street along these (lat, lon).
    fn street(&mut self, line: impl IntoIterator<Item = (f64, f64)>, class: Class, one_way: bool) {
        let mut before = None;
        for place in line {
            let here = self.corner(place);
            if let Some(before) = before.filter(|b| *b != here) {
                self.pieces.push((before, here, class));
                if !one_way {
                    self.pieces.push((here, before, class));
                }
            }
            before = Some(here);
        }
    }

    #[allow(clippy::cast_possible_truncation, reason = "degrees; a broken one only gives a lonely corner")]
    fn corner(&mut self, (lat, lon): (f64, f64)) -> Corner {
        let next = u32::try_from(self.places.len()).unwrap_or(u32::MAX);
        let key = (libm::round(lat * 1e7) as i64, libm::round(lon * 1e7) as i64);
        let corner = *self.corners.entry(key).or_insert(next);
        if corner == next {
            self.places.push((lat, lon));
        }
        corner
    }

    /// Keeps the largest part in which one gets from everywhere to everywhere.
    fn build(self, file: &str) -> Result<Streets, StreetsError> {
        let count = self.places.len();
        let mut out = vec![Vec::new(); count];
        let mut into = vec![Vec::new(); count];
        for &(from, to, _) in &self.pieces {
            out[from as usize].push(to);
            into[to as usize].push(from);
        }
        let kept = largest_strong_part(&out, &into);
        if kept.len() < FEWEST_CORNERS {
            return Err(StreetsError::TooSmall { file: file.into(), corners: kept.len(), needed: FEWEST_CORNERS });
        }
        let mut new = vec![None; count];
        for (n, &old) in kept.iter().enumerate() {
            new[old as usize] = u32::try_from(n).ok();
        }
        let mean = |of: fn(&(f64, f64)) -> f64| {
            kept.iter().map(|&old| of(&self.places[old as usize])).sum::<f64>() / kept.len() as f64
        };
        let frame = Frame { lat: mean(|p| p.0), lon: mean(|p| p.1) };
        let place = |&old: &Corner| self.places[old as usize];
        let spots: Vec<_> = kept.iter().map(place).map(|(lat, lon)| frame.spot(lat, lon)).collect();
        let mut pieces = vec![Vec::new(); spots.len()];
        for (from, to, class) in self.pieces {
            if let (Some(from), Some(to)) = (new[from as usize], new[to as usize]) {
                let length_m = spots[from as usize].distance_m(spots[to as usize]);
                pieces[from as usize].push(Piece { to, seconds: length_m / class.speed_mps() });
            }
        }
        Ok(Streets { frame, spots, pieces })
    }
}

/// Kosaraju's: finish order on the graph, then components on its reverse. Without recursion: streets are deep.
fn largest_strong_part(out: &[Vec<Corner>], into: &[Vec<Corner>]) -> Vec<Corner> {
    let mut finished = Vec::with_capacity(out.len());
    let mut seen = vec![false; out.len()];
    for start in 0..out.len() {
        if std::mem::replace(&mut seen[start], true) {
            continue;
        }
        let mut path = vec![(start, 0)];
        while let Some((at, next)) = path.last_mut() {
            let at = *at;
            let Some(&to) = out[at].get(*next) else {
                finished.push(at);
                path.pop();
                continue;
            };
            *next += 1;
            if !std::mem::replace(&mut seen[to as usize], true) {
                path.push((to as usize, 0));
            }
        }
    }
    let mut largest = Vec::new();
    let mut taken = vec![false; out.len()];
    for start in finished.into_iter().rev() {
        if std::mem::replace(&mut taken[start], true) {
            continue;
        }
        let (mut part, mut next) = (vec![u32::try_from(start).unwrap_or(u32::MAX)], 0);
        while let Some(&at) = part.get(next) {
            next += 1;
            part.extend(into[at as usize].iter().filter(|&&from| !std::mem::replace(&mut taken[from as usize], true)));
        }
        if part.len() > largest.len() {
            largest = part;
        }
    }
    // In the order of the source, so that nothing hangs on the walk above.
    largest.sort_unstable();
    largest
}

impl Streets {
    /// A made-up grid of 4 × 4 km.
    pub(super) fn grid() -> Result<Self, StreetsError> {
        grid::draft().build("the grid")
    }

    /// From an OpenStreetMap extract (`.osm.pbf`).
    pub(super) fn from_osm(file: &Path) -> Result<Self, StreetsError> {
        osm::read(file)?.build(&file.display().to_string())
    }

    /// From GeoJSON lines.
    pub(super) fn from_geojson(file: &Path) -> Result<Self, StreetsError> {
        geojson::read(file)?.build(&file.display().to_string())
    }

    pub(super) fn len(&self) -> usize {
        self.spots.len()
    }

    pub(super) fn spot(&self, corner: Corner) -> Spot {
        self.spots[corner as usize]
    }

    /// Any corner.
    pub(super) fn any(&self, random: &mut ChaCha8Rng) -> Corner {
        u32::try_from(random.random_range(0..self.spots.len())).unwrap_or(0)
    }

    /// Any corner within `from_m..to_m` of `about`; if there is none, any.
    pub(super) fn any_within(&self, about: Spot, from_m: f64, to_m: f64, random: &mut ChaCha8Rng) -> Corner {
        // Trying is quicker than listing, and most cities have corners everywhere.
        for _ in 0..200 {
            let corner = self.any(random);
            if (from_m..to_m).contains(&self.spot(corner).distance_m(about)) {
                return corner;
            }
        }
        let near: Vec<_> =
            (0..self.len()).filter(|&n| (from_m..to_m).contains(&self.spots[n].distance_m(about))).collect();
        if near.is_empty() {
            self.any(random)
        } else {
            u32::try_from(near[random.random_range(0..near.len())]).unwrap_or(0)
        }
    }

    /// The quickest way (A*). Of equally quick ones always the same.
    pub(super) fn way(&self, from: Corner, to: Corner) -> Way {
        let goal = self.spot(to);
        let estimate = |corner: Corner| self.spot(corner).distance_m(goal) / FASTEST_MPS;
        // Best time so far, and where it came from.
        let mut best: HashMap<Corner, (f64, Corner)> = HashMap::from([(from, (0.0, from))]);
        let mut open = BinaryHeap::from([Reverse((Seconds(estimate(from)), from))]);
        while let Some(Reverse((Seconds(total), at))) = open.pop() {
            if at == to {
                break;
            }
            let so_far = best.get(&at).map_or(f64::INFINITY, |b| b.0);
            if total > so_far + estimate(at) + 1e-9 {
                continue;
            }
            for piece in &self.pieces[at as usize] {
                let seconds = so_far + piece.seconds;
                if best.get(&piece.to).is_none_or(|known| seconds < known.0) {
                    best.insert(piece.to, (seconds, at));
                    open.push(Reverse((Seconds(seconds + estimate(piece.to)), piece.to)));
                }
            }
        }
        let mut legs = Vec::new();
        let mut at = to;
        while let Some(&(seconds, before)) = best.get(&at) {
            legs.push((self.spot(at), seconds));
            if before == at {
                break;
            }
            at = before;
        }
        legs.reverse();
        Way::new(legs)
    }
}

/// Seconds in total order: none of ours is NaN.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Seconds(f64);

impl Eq for Seconds {}

impl PartialOrd for Seconds {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Seconds {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::draw::{Draw, stream};
    use super::*;

    /// Bellman-Ford, to compare A* with.
    fn seconds(streets: &Streets, from: Corner, to: Corner) -> f64 {
        let mut best = vec![f64::INFINITY; streets.len()];
        best[from as usize] = 0.0;
        loop {
            let before = best.clone();
            for (at, pieces) in streets.pieces.iter().enumerate() {
                for piece in pieces {
                    best[piece.to as usize] = best[piece.to as usize].min(best[at] + piece.seconds);
                }
            }
            if best == before {
                return best[to as usize];
            }
        }
    }

    #[test]
    fn the_quickest_way_is_found_and_is_along_the_streets() {
        let streets = Streets::grid().unwrap();
        let mut random = stream(1, Draw::City);
        for _ in 0..20 {
            let (from, to) = (streets.any(&mut random), streets.any(&mut random));
            let way = streets.way(from, to);
            assert!((way.seconds() - seconds(&streets, from, to)).abs() < 1e-6);
            assert_eq!(way.first(), Some(streets.spot(from)));
            assert_eq!(way.last(), Some(streets.spot(to)));
        }
    }

    #[test]
    fn dead_ends_of_one_way_streets_are_left_out() {
        let mut draft = Draft::default();
        let line = |n: i32| (0..30).map(move |i| (f64::from(n) * 0.001, f64::from(i) * 0.001));
        draft.street(line(0), Class::Residential, false);
        draft.street([(0.0, 0.029), (0.001, 0.029)], Class::Primary, true);
        draft.street(line(5), Class::Residential, true);
        let streets = draft.build("test").unwrap();
        assert_eq!(streets.len(), 30);
        let error = Draft::default().build("empty").unwrap_err();
        assert!(error.to_string().contains("only 0 corners"), "{error}");
    }

    #[test]
    fn corners_are_found_at_a_distance() {
        let streets = Streets::grid().unwrap();
        let mut random = stream(2, Draw::City);
        let middle = Spot { east_m: 0.0, north_m: 0.0 };
        for _ in 0..50 {
            let corner = streets.any_within(middle, 300.0, 900.0, &mut random);
            assert!((300.0..900.0).contains(&streets.spot(corner).distance_m(middle)));
        }
    }
}
