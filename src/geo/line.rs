//! Distances to lines: from a point to a segment, not to the nearest vertex, and along a polyline.
//!
//! A [`Plane`] touches the globe at one point and measures from there, which is all that a projection of that point needs;
//! a [`Ruler`] measures lengths along a line, the same from wherever they are asked, so that they add up. Both cost a
//! multiplication where a great circle costs trigonometry: a route is projected on at every fix. Segments take the short
//! way across the antimeridian.

use super::{EARTH_RADIUS_M, Point};

/// Metres of one unit of [`Point`] along a meridian.
const UNIT_M: f64 = EARTH_RADIUS_M * UNIT_RAD;
pub(super) const UNIT_RAD: f64 = std::f64::consts::PI / 180.0 * 1e-7;

/// Units once round a parallel.
const ROUND: f64 = 3.6e9;

/// Units of longitude from `a` to `b`, the short way. Differences of integers are exact in an `f64`.
pub(super) fn east_units(a: Point, b: Point) -> f64 {
    let units = f64::from(b.lon_e7) - f64::from(a.lon_e7);
    if units > ROUND / 2.0 {
        units - ROUND
    } else if units < -ROUND / 2.0 {
        units + ROUND
    } else {
        units
    }
}

/// Units of latitude from `a` to `b`.
pub(super) fn north_units(a: Point, b: Point) -> f64 {
    f64::from(b.lat_e7) - f64::from(a.lat_e7)
}

/// Metres east and north of a [`Plane`]'s point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Offset {
    pub east_m: f64,
    pub north_m: f64,
}

impl Offset {
    fn square_m2(self) -> f64 {
        self.east_m * self.east_m + self.north_m * self.north_m
    }
}

/// A plane about a point: true to centimetres within 5 km of it, and to a metre within 20 km.
#[derive(Clone, Copy, Debug)]
pub struct Plane {
    point: Point,
    /// Metres per unit of longitude at the point's latitude, and half of what they lose per unit northward: a place is
    /// measured at the latitude midway to it.
    east_m: f64,
    half_loss_m: f64,
}

impl Plane {
    pub fn at(point: Point) -> Self {
        let lat = f64::from(point.lat_e7) * UNIT_RAD;
        Self { point, east_m: UNIT_M * libm::cos(lat), half_loss_m: UNIT_M * libm::sin(lat) * UNIT_RAD / 2.0 }
    }

    /// Where a place lies.
    pub fn offset(&self, place: Point) -> Offset {
        let north = north_units(self.point, place);
        let east_m = (self.east_m - self.half_loss_m * north) * east_units(self.point, place);
        Offset { east_m, north_m: north * UNIT_M }
    }
}

/// The place of a segment that is nearest to the plane's point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Foot {
    /// 0 at the segment's start, 1 at its end.
    pub fraction: f64,
    /// Square of the distance: comparing needs no root.
    pub square_m2: f64,
}

impl Foot {
    /// Of the part of the segment from `a` to `b` between two fractions, `0 ≤ from ≤ to ≤ 1`.
    pub fn between(a: Offset, b: Offset, from: f64, to: f64) -> Self {
        let (east_m, north_m) = (b.east_m - a.east_m, b.north_m - a.north_m);
        let square = east_m * east_m + north_m * north_m;
        // A segment without length (a repeated point) is its start.
        let along = -(a.east_m * east_m + a.north_m * north_m);
        // Most segments lie ahead or behind as a whole, and need no division.
        let fraction = if along <= square * from {
            from
        } else if along >= square * to {
            to
        } else {
            along / square
        };
        let place = Offset { east_m: a.east_m + fraction * east_m, north_m: a.north_m + fraction * north_m };
        Self { fraction, square_m2: place.square_m2() }
    }
}

/// Measures along a line: lengths by the equirectangular formula at each segment's middle latitude, whose cosine is
/// developed about the line's first point (to a millionth within 100 km).
#[derive(Clone, Copy, Debug)]
pub struct Ruler {
    first: Point,
    cos: f64,
    sin: f64,
}

impl Ruler {
    /// For a line that begins at `first`.
    pub fn at(first: Point) -> Self {
        let lat = f64::from(first.lat_e7) * UNIT_RAD;
        Self { first, cos: libm::cos(lat), sin: libm::sin(lat) }
    }

    /// Metres from `a` to `b`, two neighbours of the line.
    pub fn length_m(&self, a: Point, b: Point) -> f64 {
        let d = (north_units(self.first, a) + north_units(self.first, b)) * (UNIT_RAD / 2.0);
        let cos = self.cos * (1.0 - d * d / 2.0) - self.sin * d;
        Offset { east_m: east_units(a, b) * cos * UNIT_M, north_m: north_units(a, b) * UNIT_M }.square_m2().sqrt()
    }
}

/// Length of a polyline in metres; 0 of less than two points.
pub fn length_m(line: &[Point]) -> f64 {
    let Some(first) = line.first() else { return 0.0 };
    let ruler = Ruler::at(*first);
    line.windows(2).map(|ab| ruler.length_m(ab[0], ab[1])).sum()
}

/// Metres from `point` to the segment from `a` to `b`.
pub fn distance_to_segment_m(point: Point, a: Point, b: Point) -> f64 {
    distance_to_line_m(point, &[a, b]).unwrap_or(f64::INFINITY)
}

/// Metres from `point` to the nearest place of a polyline; `None` where it has no point.
pub fn distance_to_line_m(point: Point, line: &[Point]) -> Option<f64> {
    let plane = Plane::at(point);
    let mut a = plane.offset(*line.first()?);
    let mut least = a.square_m2();
    for b in &line[1..] {
        let b = plane.offset(*b);
        least = least.min(Foot::between(a, b, 0.0, 1.0).square_m2);
        a = b;
    }
    Some(least.sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geo::distance_m;
    use proptest::prelude::*;

    /// Where one comes from `from`, so far east and north, on the globe.
    fn place(from: Point, east_m: f64, north_m: f64) -> Point {
        let lat = from.lat() + north_m / (UNIT_M * 1e7);
        let lon = from.lon() + east_m / (UNIT_M * 1e7 * libm::cos(from.lat().to_radians()));
        Point::from_degrees(lat, around(lon)).unwrap()
    }

    /// A longitude that may have gone over the antimeridian, either way.
    fn around(lon: f64) -> f64 {
        if lon.abs() > 180.0 { lon - lon.signum() * 360.0 } else { lon }
    }

    /// By halving: the globe's own distance to the points of the segment, which is straight in degrees.
    fn by_search(point: Point, a: Point, b: Point) -> f64 {
        let (north, east) = (north_units(a, b), east_units(a, b));
        let at = |t: f64| {
            let lon = around(a.lon() + east * t / 1e7);
            distance_m(point, Point::from_degrees(a.lat() + north * t / 1e7, lon).unwrap())
        };
        let (mut low, mut high) = (0.0, 1.0);
        for _ in 0..100 {
            let (left, right) = (low + (high - low) / 3.0, high - (high - low) / 3.0);
            if at(left) < at(right) { high = right } else { low = left }
        }
        at(low)
    }

    #[test]
    fn the_nearest_place_is_not_the_nearest_vertex() {
        let a = Point::from_degrees(50.0, 11.0).unwrap();
        let (b, point) = (place(a, 2_000.0, 0.0), place(a, 1_000.0, 30.0));
        assert!((distance_to_segment_m(point, a, b) - 30.0).abs() < 0.2);
        assert!(distance_to_line_m(point, &[a]).unwrap() > 1_000.0);
        assert_eq!(distance_to_line_m(point, &[]), None);
        // A repeated point is a point.
        assert!((distance_to_segment_m(point, a, a) - distance_m(point, a)).abs() < 0.01);
        assert_eq!(distance_to_segment_m(a, a, a), 0.0);
    }

    #[test]
    fn the_antimeridian_is_a_line_like_any_other() {
        let west = Point::from_degrees(-17.0, 179.995).unwrap();
        let east = Point::from_degrees(-17.0, -179.995).unwrap();
        assert!((length_m(&[west, east]) - distance_m(west, east)).abs() < 0.01);
        let point = Point::from_degrees(-17.001, 180.0).unwrap();
        assert!((distance_to_segment_m(point, west, east) - 111.2).abs() < 0.1);
        let other = Point::from_degrees(-17.001, -180.0).unwrap();
        assert!((distance_to_segment_m(other, east, west) - 111.2).abs() < 0.1);
    }

    proptest! {
        #[test]
        fn true_to_half_a_metre_within_five_kilometres(
            lat in -70.0..70.0f64, lon in -180.0..180.0f64,
            (ae, an) in (-3_500.0..3_500.0f64, -3_500.0..3_500.0f64),
            (be, bn) in (-3_500.0..3_500.0f64, -3_500.0..3_500.0f64),
        ) {
            let point = Point::from_degrees(lat, lon).unwrap();
            let (a, b) = (place(point, ae, an), place(point, be, bn));
            // Vertices to centimetres; between them, a straight line of the plane and one of degrees part by decimetres.
            prop_assert!((distance_to_segment_m(point, a, a) - distance_m(point, a)).abs() < 0.05);
            let sagitta = distance_m(a, b).powi(2) * lat.to_radians().tan().abs() / (8.0 * EARTH_RADIUS_M);
            let off = (distance_to_segment_m(point, a, b) - by_search(point, a, b)).abs();
            prop_assert!(off < 0.1 + sagitta, "{off} m");
        }

        #[test]
        fn lengths_add_up(lat in -70.0..70.0f64, lon in -180.0..180.0f64, e in -20_000.0..20_000.0f64, n in -20_000.0..20_000.0f64) {
            let a = Point::from_degrees(lat, lon).unwrap();
            let b = place(a, e, n);
            let whole = distance_m(a, b);
            prop_assert!((length_m(&[a, b]) - whole).abs() < 0.02 + whole * 3e-5, "{} {whole}", length_m(&[a, b]));
            prop_assert!((length_m(&[a, b, a]) - 2.0 * length_m(&[a, b])).abs() < 0.01 + whole * 1e-6);
        }
    }
}
