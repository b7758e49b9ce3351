//! A part of the globe between two parallels and two meridians.

use super::{EARTH_RADIUS_M, Point};

/// Both ends belong to it. Where `west` lies east of `east`, it spans the antimeridian.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Bounds {
    pub south_e7: i32,
    pub west_e7: i32,
    pub north_e7: i32,
    pub east_e7: i32,
}

const QUARTER_E7: i32 = 900_000_000;
const HALF_E7: i32 = 1_800_000_000;

impl Bounds {
    /// All there is.
    pub const GLOBE: Self = Self { south_e7: -QUARTER_E7, west_e7: -HALF_E7, north_e7: QUARTER_E7, east_e7: HALF_E7 };

    /// The smallest that holds every point within `radius_m` of `center`, and a little more than that.
    pub fn around(center: Point, radius_m: f64) -> Self {
        // A centimetre more than the distance: rounding must not cut a point off.
        let angle = (radius_m + 0.01) / EARTH_RADIUS_M;
        let reach_e7 = units_up(angle);
        let (south, north) = (i64::from(center.lat_e7) - reach_e7, i64::from(center.lat_e7) + reach_e7);
        let quarter = i64::from(QUARTER_E7);
        // A circle that holds a pole meets every meridian.
        if south <= -quarter || north >= quarter {
            return Self { south_e7: latitude(south), north_e7: latitude(north), ..Self::GLOBE };
        }
        let widest = libm::sin(angle) / libm::cos(center.lat().to_radians());
        let wide_e7 = if widest >= 1.0 { i64::from(HALF_E7) } else { units_up(libm::asin(widest)) };
        if wide_e7 >= i64::from(HALF_E7) {
            return Self { south_e7: latitude(south), north_e7: latitude(north), ..Self::GLOBE };
        }
        let lon = i64::from(center.lon_e7);
        Self {
            south_e7: latitude(south),
            west_e7: longitude(lon - wide_e7),
            north_e7: latitude(north),
            east_e7: longitude(lon + wide_e7),
        }
    }

    /// Whether the point lies in it.
    pub fn contains(&self, point: Point) -> bool {
        let Point { lat_e7, lon_e7 } = point;
        let east = || lon_e7 >= self.west_e7;
        let west = || lon_e7 <= self.east_e7;
        (self.south_e7..=self.north_e7).contains(&lat_e7)
            && if self.spans_antimeridian() { east() || west() } else { east() && west() }
    }

    /// The longitudes as one range, or as two that meet at the antimeridian.
    pub fn longitudes(&self) -> [Option<(i32, i32)>; 2] {
        if self.spans_antimeridian() {
            [Some((self.west_e7, HALF_E7)), Some((-HALF_E7, self.east_e7))]
        } else {
            [Some((self.west_e7, self.east_e7)), None]
        }
    }

    fn spans_antimeridian(&self) -> bool {
        self.west_e7 > self.east_e7
    }
}

#[allow(clippy::cast_possible_truncation, reason = "at most a few turns of the globe")]
fn units_up(radians: f64) -> i64 {
    // Beyond half a turn there is nothing more.
    libm::ceil(radians.to_degrees().min(360.0) * 1e7) as i64 + 1
}

fn latitude(e7: i64) -> i32 {
    let quarter = i64::from(QUARTER_E7);
    i32::try_from(e7.clamp(-quarter, quarter)).unwrap_or(0)
}

/// Brought back to ±180°.
fn longitude(e7: i64) -> i32 {
    let (half, turn) = (i64::from(HALF_E7), 2 * i64::from(HALF_E7));
    let wrapped = if e7 > half {
        e7 - turn
    } else if e7 < -half {
        e7 + turn
    } else {
        e7
    };
    i32::try_from(wrapped).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geo::distance_m;
    use proptest::prelude::*;

    fn anywhere() -> impl Strategy<Value = Point> {
        let edge = prop_oneof![Just(-HALF_E7), Just(HALF_E7), -HALF_E7..=HALF_E7];
        (prop_oneof![4 => -QUARTER_E7..=QUARTER_E7, 1 => Just(QUARTER_E7)], edge)
            .prop_map(|(lat_e7, lon_e7)| Point { lat_e7, lon_e7 })
    }

    proptest! {
        #[test]
        fn what_is_near_is_within(center in anywhere(), other in anywhere(), more_m in 0.0..2_000.0) {
            let radius = distance_m(center, other) + more_m;
            prop_assert!(Bounds::around(center, radius).contains(other), "{:?}", Bounds::around(center, radius));
        }
    }

    #[test]
    fn a_box_across_the_antimeridian() {
        let fiji =
            Bounds { south_e7: -200_000_000, west_e7: 1_770_000_000, north_e7: -160_000_000, east_e7: -1_780_000_000 };
        let at = |lat, lon| Point::from_degrees(lat, lon).unwrap();
        assert!(fiji.contains(at(-17.0, 178.0)) && fiji.contains(at(-17.0, -179.0)) && fiji.contains(at(-17.0, 180.0)));
        assert!(!fiji.contains(at(-17.0, 0.0)) && !fiji.contains(at(-21.0, 178.0)));
    }
}
