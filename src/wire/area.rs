//! A part of the map that is asked about: a box, or a fence.
//!
//! In queries of a bridge to an owner it is in WGS-84. Over HTTP a client says it as text in its own datum: `box` as
//! `west,south,east,north` in degrees, `fence` as an encoded polyline of precision 5, closed by itself. A box is converted
//! by its corners, and so at most a few metres wider or narrower than the one that was meant.

use super::{FieldError, command::Coordinates, route::decode_polyline};
use crate::geo::{Bounds, Datum, Fence, Point};
use serde::{Deserialize, Serialize};

/// Most corners of a fence.
pub const MAX_CORNERS: usize = 200;
/// Longest text of a fence: as many corners, the farthest apart.
pub const MAX_FENCE_TEXT: usize = 12 * MAX_CORNERS;

/// WGS-84.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Area {
    /// South-west and north-east corner; across the antimeridian where the west lies east of the east.
    Box([Point; 2]),
    /// Corners in order, 3 to [`MAX_CORNERS`].
    Fence(Vec<Point>),
}

/// A checked area.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Region {
    Box(Bounds),
    Fence(Fence),
}

impl Area {
    /// From `box=west,south,east,north`, degrees in `datum`.
    pub fn parse_box(text: &str, datum: Datum) -> Result<Self, FieldError> {
        let bad = || FieldError::new("box", "must be west,south,east,north in degrees");
        let mut degrees = [0.0; 4];
        let mut parts = text.split(',');
        for value in &mut degrees {
            // Rust's own parser also knows infinities and exponents.
            let plain = |part: &&str| part.bytes().all(|b| b.is_ascii_digit() || b == b'.' || b == b'-');
            *value = parts.next().filter(plain).and_then(|part| part.parse().ok()).ok_or_else(bad)?;
        }
        if parts.next().is_some() {
            return Err(bad());
        }
        let [west, south, east, north] = degrees;
        let corner = |lat, lon| Coordinates { lat, lon }.point(datum).map_err(|e| FieldError::new("box", e.reason));
        let area = Self::Box([corner(south, west)?, corner(north, east)?]);
        area.region().map_err(|e| FieldError::new("box", e.reason)).map(|_| area)
    }

    /// From an encoded polyline of precision 5, in `datum`.
    pub fn parse_fence(text: &str, datum: Datum) -> Result<Self, FieldError> {
        let in_fence = |e: FieldError| FieldError::new("fence", e.reason);
        if text.len() > MAX_FENCE_TEXT {
            return Err(FieldError::new("fence", format!("must be at most {MAX_FENCE_TEXT} bytes")));
        }
        let corners = decode_polyline(text, 5).map_err(in_fence)?;
        let corners = corners.into_iter().map(|(lat, lon)| Coordinates { lat, lon }.point(datum));
        let area = Self::Fence(corners.collect::<Result<_, _>>().map_err(in_fence)?);
        area.region().map_err(in_fence).map(|_| area)
    }

    /// The same, checked.
    pub fn region(&self) -> Result<Region, FieldError> {
        let off = |p: &Point| !Bounds::GLOBE.contains(*p);
        match self {
            Self::Box([low, high]) if off(low) || off(high) => Err(FieldError::new("within", "is off the globe")),
            Self::Box([low, high]) if low.lat_e7 > high.lat_e7 => {
                Err(FieldError::new("within", "must have its south below its north"))
            }
            Self::Box([low, high]) => Ok(Region::Box(Bounds {
                south_e7: low.lat_e7,
                west_e7: low.lon_e7,
                north_e7: high.lat_e7,
                east_e7: high.lon_e7,
            })),
            Self::Fence(corners) if corners.len() > MAX_CORNERS => {
                Err(FieldError::new("within", format!("must have at most {MAX_CORNERS} corners")))
            }
            Self::Fence(corners) if corners.iter().any(off) => Err(FieldError::new("within", "is off the globe")),
            Self::Fence(corners) => {
                let fence = Fence::new(corners.clone()).map_err(|e| FieldError::new("within", e.to_string()))?;
                Ok(Region::Fence(fence))
            }
        }
    }
}

impl Region {
    /// The smallest box that holds it.
    pub fn bounds(&self) -> Bounds {
        match self {
            Self::Box(bounds) => *bounds,
            Self::Fence(fence) => fence.bounds(),
        }
    }

    /// Whether the point lies in it.
    pub fn contains(&self, point: Point) -> bool {
        match self {
            Self::Box(bounds) => bounds.contains(point),
            Self::Fence(fence) => fence.contains(point),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_become_areas_in_wgs84() {
        let shanghai = Area::parse_box("121.4,31.1,121.6,31.3", Datum::Wgs84).unwrap();
        let region = shanghai.region().unwrap();
        assert!(region.contains(Point::from_degrees(31.2, 121.5).unwrap()));
        assert!(!region.contains(Point::from_degrees(31.0, 121.5).unwrap()));
        let gcj = Area::parse_box("121.4,31.1,121.6,31.3", Datum::Gcj02).unwrap();
        assert_ne!(gcj, shanghai);
        // The published example of the format, a triangle in North America.
        let fence = Area::parse_fence("_p~iF~ps|U_ulLnnqC_mqNvxq`@", Datum::Wgs84).unwrap().region().unwrap();
        assert!(fence.contains(Point::from_degrees(40.5, -121.5).unwrap()));
        assert!(!fence.contains(Point::from_degrees(39.0, -126.0).unwrap()));
    }

    #[test]
    fn what_is_no_area_names_its_parameter() {
        for text in ["", "1,2,3", "1,2,3,4,5", "1,x,3,4", "0,91,1,92", "0,2,1,1", "nan,0,1,1", "0,0,181,1"] {
            assert_eq!(Area::parse_box(text, Datum::Wgs84).unwrap_err().field, "box", "{text}");
        }
        for text in ["", "_p~iF~ps|U", "\u{7f}", &"_p~iF~ps|U".repeat(300), &"??".repeat(MAX_CORNERS + 1)] {
            assert_eq!(Area::parse_fence(text, Datum::Wgs84).unwrap_err().field, "fence", "{text}");
        }
    }
}
