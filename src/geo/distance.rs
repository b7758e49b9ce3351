//! Distance between two fixes.

use super::Point;

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

#[cfg(test)]
mod tests {
    use super::*;

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
