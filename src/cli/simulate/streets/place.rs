//! Places in a city: metres about its middle, which is what riding and straying are reckoned in.

use crate::geo::Point;

/// Metres of one degree of latitude on the mean sphere.
const METRES_PER_DEGREE: f64 = 111_195.08;

/// Metres east and north of the city's origin.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::cli::simulate) struct Spot {
    pub(in crate::cli::simulate) east_m: f64,
    pub(in crate::cli::simulate) north_m: f64,
}

impl Spot {
    /// In a straight line.
    pub(in crate::cli::simulate) fn distance_m(self, other: Self) -> f64 {
        libm::hypot(self.east_m - other.east_m, self.north_m - other.north_m)
    }

    /// `part` of the way to `other`.
    pub(in crate::cli::simulate) fn towards(self, other: Self, part: f64) -> Self {
        Self {
            east_m: self.east_m + (other.east_m - self.east_m) * part,
            north_m: self.north_m + (other.north_m - self.north_m) * part,
        }
    }

    /// Moved by metres.
    pub(in crate::cli::simulate) fn moved(self, east_m: f64, north_m: f64) -> Self {
        Self { east_m: self.east_m + east_m, north_m: self.north_m + north_m }
    }
}

/// Where the origin is: WGS-84 degrees. Good to centimetres over a city, which is all that it is for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::cli::simulate) struct Frame {
    pub(super) lat: f64,
    pub(super) lon: f64,
}

impl Frame {
    pub(in crate::cli::simulate) fn spot(&self, lat: f64, lon: f64) -> Spot {
        let east_m = (lon - self.lon) * METRES_PER_DEGREE * libm::cos(self.lat.to_radians());
        Spot { east_m, north_m: (lat - self.lat) * METRES_PER_DEGREE }
    }

    /// `None` off the globe.
    pub(in crate::cli::simulate) fn point(&self, spot: Spot) -> Option<Point> {
        let lat = self.lat + spot.north_m / METRES_PER_DEGREE;
        let lon = self.lon + spot.east_m / (METRES_PER_DEGREE * libm::cos(self.lat.to_radians()));
        Point::from_degrees(lat, lon).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geo::distance_m;

    #[test]
    fn metres_are_metres_and_come_back() {
        let frame = Frame { lat: 47.15, lon: 9.55 };
        let (a, b) = (frame.spot(47.16, 9.53), frame.spot(47.14, 9.57));
        let real_m = distance_m(frame.point(a).unwrap(), frame.point(b).unwrap());
        assert!((a.distance_m(b) - real_m).abs() < 2.0, "{} {real_m}", a.distance_m(b));
        assert_eq!(frame.point(a).unwrap().lat(), 47.16);
        assert_eq!(a.towards(b, 0.0), a);
    }
}
