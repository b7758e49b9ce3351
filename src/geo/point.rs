//! A position as the state keeps it.

use serde::{Deserialize, Serialize};

/// One degree in the units of [`Point`].
const UNITS_PER_DEGREE: f64 = 1e7;

/// A WGS-84 position in integer units of 1e-7 degree (about 1 cm), so that equality and hashes are exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Point {
    pub lat_e7: i32,
    pub lon_e7: i32,
}

/// A coordinate that is not on the globe. `field` is `lat` or `lon`.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("{field} is {value}, outside ±{limit}")]
pub struct CoordinateError {
    pub field: &'static str,
    pub value: f64,
    pub limit: f64,
}

impl Point {
    /// From degrees; refuses what is not finite or beyond ±90 / ±180.
    pub fn from_degrees(lat: f64, lon: f64) -> Result<Self, CoordinateError> {
        Ok(Self { lat_e7: units("lat", lat, 90.0)?, lon_e7: units("lon", lon, 180.0)? })
    }

    /// Latitude in degrees.
    pub fn lat(self) -> f64 {
        f64::from(self.lat_e7) / UNITS_PER_DEGREE
    }

    /// Longitude in degrees.
    pub fn lon(self) -> f64 {
        f64::from(self.lon_e7) / UNITS_PER_DEGREE
    }

    /// The place at 1/`parts` of the straight way to `to`, in whole units; across the antimeridian where that is shorter.
    #[allow(clippy::cast_possible_truncation, reason = "between two coordinates, or brought back to ±180°")]
    pub fn toward(self, to: Self, parts: i32) -> Self {
        let parts = i64::from(parts.max(1));
        let (lat, lon) = (i64::from(self.lat_e7), i64::from(self.lon_e7));
        let wrapped = |units: i64| match units {
            1_800_000_001.. => units - 3_600_000_000,
            ..=-1_800_000_001 => units + 3_600_000_000,
            -1_800_000_000..=1_800_000_000 => units,
        };
        let lat = lat + (i64::from(to.lat_e7) - lat) / parts;
        let lon = wrapped(lon + wrapped(i64::from(to.lon_e7) - lon) / parts);
        Self { lat_e7: lat as i32, lon_e7: lon as i32 }
    }
}

#[allow(clippy::cast_possible_truncation, reason = "checked against the limit first; 180e7 fits an i32")]
fn units(field: &'static str, value: f64, limit: f64) -> Result<i32, CoordinateError> {
    // A NaN is in no range.
    if !(-limit..=limit).contains(&value) {
        return Err(CoordinateError { field, value, limit });
    }
    Ok(libm::round(value * UNITS_PER_DEGREE) as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_is_off_the_globe_and_names_the_field() {
        assert_eq!(Point::from_degrees(91.0, 0.0).unwrap_err().field, "lat");
        assert_eq!(Point::from_degrees(0.0, -180.1).unwrap_err().field, "lon");
        assert_eq!(Point::from_degrees(f64::NAN, 0.0).unwrap_err().field, "lat");
        assert!(Point::from_degrees(-90.0, 180.0).is_ok());
    }

    #[test]
    fn toward_takes_the_short_way() {
        let at = |lat_e7, lon_e7| Point { lat_e7, lon_e7 };
        assert_eq!(at(0, 0).toward(at(100, -50), 2), at(50, -25));
        assert_eq!(at(0, 1_799_999_990).toward(at(0, -1_799_999_970), 4), at(0, 1_800_000_000));
        assert_eq!(at(0, 1_799_999_990).toward(at(0, -1_799_999_970), 2), at(0, -1_799_999_990));
        assert_eq!(at(7, 7).toward(at(9, 9), 1), at(9, 9));
    }

    #[test]
    fn keeps_seven_decimals() {
        let p = Point::from_degrees(50.3018881, 11.9258164).unwrap();
        assert_eq!((p.lat_e7, p.lon_e7), (503_018_881, 119_258_164));
        assert_eq!((p.lat(), p.lon()), (50.3018881, 11.9258164));
    }
}
