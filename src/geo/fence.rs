//! A part of the globe inside a polygon.

use super::{Bounds, Point};

/// A simple polygon: its corners in order, closed by itself. What crosses itself is judged by the even-odd rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    corners: Vec<Point>,
    bounds: Bounds,
}

/// Why corners are no fence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FenceError {
    #[error("must have at least 3 corners")]
    TooFew,
    /// A fence across the antimeridian would have two meanings.
    #[error("must be less than 180° wide")]
    TooWide,
}

impl Fence {
    /// A fence of at least three corners.
    pub fn new(corners: Vec<Point>) -> Result<Self, FenceError> {
        let [first, _, _, ..] = corners.as_slice() else { return Err(FenceError::TooFew) };
        let start =
            Bounds { south_e7: first.lat_e7, west_e7: first.lon_e7, north_e7: first.lat_e7, east_e7: first.lon_e7 };
        let bounds = corners.iter().fold(start, |b, p| Bounds {
            south_e7: b.south_e7.min(p.lat_e7),
            west_e7: b.west_e7.min(p.lon_e7),
            north_e7: b.north_e7.max(p.lat_e7),
            east_e7: b.east_e7.max(p.lon_e7),
        });
        if i64::from(bounds.east_e7) - i64::from(bounds.west_e7) >= 1_800_000_000 {
            return Err(FenceError::TooWide);
        }
        Ok(Self { corners, bounds })
    }

    /// The smallest box that holds it.
    pub fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// Whether the point lies inside: of a ray to the east, every second crossing leaves. Exact, in integers.
    pub fn contains(&self, point: Point) -> bool {
        if !self.bounds.contains(point) {
            return false;
        }
        let (x, y) = (i128::from(point.lon_e7), i128::from(point.lat_e7));
        let next = self.corners.iter().cycle().skip(1);
        let crossings = self.corners.iter().zip(next).filter(|(a, b)| {
            let (ax, ay, bx, by) =
                (i128::from(a.lon_e7), i128::from(a.lat_e7), i128::from(b.lon_e7), i128::from(b.lat_e7));
            // A corner at the point's height belongs to the edge above it, so that none counts twice.
            if (ay > y) == (by > y) {
                return false;
            }
            let side = (bx - ax) * (y - ay) - (x - ax) * (by - ay);
            if by > ay { side > 0 } else { side < 0 }
        });
        crossings.count() % 2 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(lat_e7: i32, lon_e7: i32) -> Point {
        Point { lat_e7, lon_e7 }
    }

    #[test]
    fn an_l_holds_its_arms_and_not_its_hollow() {
        let l = Fence::new(vec![at(0, 0), at(0, 30), at(10, 30), at(10, 10), at(30, 10), at(30, 0)]).unwrap();
        assert!(l.contains(at(5, 25)) && l.contains(at(25, 5)) && l.contains(at(5, 5)));
        assert!(!l.contains(at(20, 20)) && !l.contains(at(-1, 5)) && !l.contains(at(5, 31)));
        // The other way round it is the same fence.
        let corners = l.corners.iter().rev().copied().collect();
        let turned = Fence::new(corners).unwrap();
        for lat in -2..33 {
            for lon in -2..33 {
                // Edges belong to whichever side; neighbours on both sides must agree.
                let edge = [0, 10, 30].contains(&lat) || [0, 10, 30].contains(&lon);
                assert!(edge || l.contains(at(lat, lon)) == turned.contains(at(lat, lon)), "{lat} {lon}");
            }
        }
    }

    #[test]
    fn what_is_no_fence_is_refused() {
        assert_eq!(Fence::new(vec![at(0, 0), at(1, 1)]), Err(FenceError::TooFew));
        let wide = vec![at(0, -900_000_000), at(0, 900_000_000), at(5, 0)];
        assert_eq!(Fence::new(wide), Err(FenceError::TooWide));
    }
}
