//! Distance between two fixes.

use super::{
    Point,
    line::{UNIT_RAD, east_units, north_units},
};

/// Mean earth radius of the IUGG, in metres.
pub const EARTH_RADIUS_M: f64 = 6_371_008.8;

/// Great-circle distance in metres by the haversine formula.
pub fn distance_m(a: Point, b: Point) -> f64 {
    let (lat_a, lat_b) = (a.lat().to_radians(), b.lat().to_radians());
    let half_lat = libm::sin((lat_b - lat_a) / 2.0);
    let half_lon = libm::sin((b.lon() - a.lon()).to_radians() / 2.0);
    let h = half_lat * half_lat + libm::cos(lat_a) * libm::cos(lat_b) * half_lon * half_lon;
    2.0 * EARTH_RADIUS_M * libm::asin(libm::sqrt(h.min(1.0)))
}

/// Units of [`Point`] within which [`apart_m`] needs no great circle: 5 km at most …
const NEAR_UNITS: f64 = 450_000.0;
/// … and not at the poles.
const POLAR_UNITS: i32 = 800_000_000;

/// The same to a millimetre, at a quarter of the cost where both are within some kilometres of each other, as fixes and what
/// they are measured against mostly are: by the cosine of the latitude midway.
pub fn apart_m(a: Point, b: Point) -> f64 {
    let (east, north) = (east_units(a, b), north_units(a, b));
    if east.abs() > NEAR_UNITS || north.abs() > NEAR_UNITS || a.lat_e7.abs() > POLAR_UNITS {
        return distance_m(a, b);
    }
    let east = east * libm::cos((f64::from(a.lat_e7) + north / 2.0) * UNIT_RAD);
    EARTH_RADIUS_M * UNIT_RAD * (east * east + north * north).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn near_or_far_it_is_the_great_circle(
            lat in -900_000_000..900_000_000i32, lon in -1_800_000_000..1_800_000_000i32,
            north in -900_000..900_000i32, east in -900_000..900_000i32,
        ) {
            let a = Point { lat_e7: lat, lon_e7: lon };
            let b = Point { lat_e7: (lat + north).clamp(-900_000_000, 900_000_000), lon_e7: lon };
            let b = Point { lon_e7: (lon.saturating_add(east)).clamp(-1_800_000_000, 1_800_000_000), ..b };
            prop_assert!((apart_m(a, b) - distance_m(a, b)).abs() < 1e-3, "{} {}", apart_m(a, b), distance_m(a, b));
            prop_assert_eq!(apart_m(a, a), 0.0);
        }
    }

    #[test]
    fn the_antimeridian_is_no_border() {
        let (a, b) = (Point { lat_e7: 0, lon_e7: 1_799_999_000 }, Point { lat_e7: 0, lon_e7: -1_799_999_000 });
        assert!((apart_m(a, b) - distance_m(a, b)).abs() < 1e-3 && apart_m(a, b) < 23.0);
    }

    #[test]
    fn one_degree_of_latitude_is_111_195_m() {
        let a = Point::from_degrees(50.0, 11.0).unwrap();
        let b = Point::from_degrees(51.0, 11.0).unwrap();
        assert!((distance_m(a, b) - 111_195.1).abs() < 0.1, "{}", distance_m(a, b));
    }

    #[test]
    fn antipodes_do_not_leave_the_domain_of_asin() {
        let a = Point::from_degrees(0.0, 0.0).unwrap();
        let b = Point::from_degrees(0.0, 180.0).unwrap();
        assert!((distance_m(a, b) - std::f64::consts::PI * EARTH_RADIUS_M).abs() < 1.0);
    }
}
