//! The datums that publishers in China send, and their way to WGS-84 and back.
//!
//! GCJ-02 (AMap, Tencent) is WGS-84 with a published-by-reverse-engineering offset inside China; BD-09 (Baidu) is
//! GCJ-02 turned once more. The forward formulas are the widely used ones (eviltransform, gcoord); the way back from
//! GCJ-02 is found by iteration to well under the 1e-7° that the state keeps. Outside China nothing is done.

use serde::{Deserialize, Serialize};

/// What a publisher's or a client's coordinates refer to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Datum {
    /// GPS's own; what the state keeps.
    #[default]
    Wgs84,
    /// China's offset datum: AMap, Tencent, WeChat.
    Gcj02,
    /// Baidu's.
    Bd09,
}

/// Semi-major axis of the Krasovsky 1940 ellipsoid, in metres: GCJ-02's formulas use it.
const KRASOVSKY_A: f64 = 6_378_245.0;
/// Its first eccentricity squared.
const KRASOVSKY_EE: f64 = 0.006_693_421_622_965_943;
const PI: f64 = std::f64::consts::PI;
/// Baidu's angle scale.
const BD_X_PI: f64 = PI * 3000.0 / 180.0;

/// Degrees `(lat, lon)` in `datum` to WGS-84.
pub fn to_wgs84(datum: Datum, lat: f64, lon: f64) -> (f64, f64) {
    match datum {
        Datum::Wgs84 => (lat, lon),
        Datum::Gcj02 => gcj_to_wgs(lat, lon),
        Datum::Bd09 => {
            let (lat, lon) = bd_to_gcj(lat, lon);
            gcj_to_wgs(lat, lon)
        }
    }
}

/// WGS-84 degrees `(lat, lon)` to `datum`.
pub fn from_wgs84(datum: Datum, lat: f64, lon: f64) -> (f64, f64) {
    match datum {
        Datum::Wgs84 => (lat, lon),
        Datum::Gcj02 => wgs_to_gcj(lat, lon),
        Datum::Bd09 => {
            let (lat, lon) = wgs_to_gcj(lat, lon);
            gcj_to_bd(lat, lon)
        }
    }
}

/// The bounding box that every implementation uses for "inside China".
fn in_china(lat: f64, lon: f64) -> bool {
    (72.004..=137.8347).contains(&lon) && (0.8293..=55.8271).contains(&lat)
}

fn wgs_to_gcj(lat: f64, lon: f64) -> (f64, f64) {
    if !in_china(lat, lon) {
        return (lat, lon);
    }
    let (d_lat, d_lon) = gcj_offset(lat, lon);
    (lat + d_lat, lon + d_lon)
}

/// Fixed-point iteration: the offset changes by about 1e-4 of a step per metre, so a few rounds converge.
fn gcj_to_wgs(lat: f64, lon: f64) -> (f64, f64) {
    if !in_china(lat, lon) {
        return (lat, lon);
    }
    let (mut w_lat, mut w_lon) = (lat, lon);
    for _ in 0..8 {
        let (d_lat, d_lon) = gcj_offset(w_lat, w_lon);
        (w_lat, w_lon) = (lat - d_lat, lon - d_lon);
    }
    (w_lat, w_lon)
}

fn gcj_offset(lat: f64, lon: f64) -> (f64, f64) {
    let (x, y) = (lon - 105.0, lat - 35.0);
    let shared = (20.0 * libm::sin(6.0 * x * PI) + 20.0 * libm::sin(2.0 * x * PI)) * 2.0 / 3.0;
    let root = libm::sqrt(x.abs());
    let d_lat = -100.0
        + 2.0 * x
        + 3.0 * y
        + 0.2 * y * y
        + 0.1 * x * y
        + 0.2 * root
        + shared
        + (20.0 * libm::sin(y * PI) + 40.0 * libm::sin(y / 3.0 * PI)) * 2.0 / 3.0
        + (160.0 * libm::sin(y / 12.0 * PI) + 320.0 * libm::sin(y * PI / 30.0)) * 2.0 / 3.0;
    let d_lon = 300.0
        + x
        + 2.0 * y
        + 0.1 * x * x
        + 0.1 * x * y
        + 0.1 * root
        + shared
        + (20.0 * libm::sin(x * PI) + 40.0 * libm::sin(x / 3.0 * PI)) * 2.0 / 3.0
        + (150.0 * libm::sin(x / 12.0 * PI) + 300.0 * libm::sin(x / 30.0 * PI)) * 2.0 / 3.0;
    let rad_lat = lat / 180.0 * PI;
    let magic = 1.0 - KRASOVSKY_EE * libm::sin(rad_lat) * libm::sin(rad_lat);
    let root_magic = libm::sqrt(magic);
    (
        d_lat * 180.0 / ((KRASOVSKY_A * (1.0 - KRASOVSKY_EE)) / (magic * root_magic) * PI),
        d_lon * 180.0 / (KRASOVSKY_A / root_magic * libm::cos(rad_lat) * PI),
    )
}

fn gcj_to_bd(lat: f64, lon: f64) -> (f64, f64) {
    if !in_china(lat, lon) {
        return (lat, lon);
    }
    let z = libm::sqrt(lon * lon + lat * lat) + 0.000_02 * libm::sin(lat * BD_X_PI);
    let theta = libm::atan2(lat, lon) + 0.000_003 * libm::cos(lon * BD_X_PI);
    (z * libm::sin(theta) + 0.006, z * libm::cos(theta) + 0.0065)
}

/// Baidu's published way back is approximate to half a metre; iterating its forward formula is exact.
fn bd_to_gcj(lat: f64, lon: f64) -> (f64, f64) {
    if !in_china(lat, lon) {
        return (lat, lon);
    }
    let (mut g_lat, mut g_lon) = (lat - 0.006, lon - 0.0065);
    for _ in 0..8 {
        let (b_lat, b_lon) = gcj_to_bd(g_lat, g_lon);
        (g_lat, g_lon) = (g_lat + lat - b_lat, g_lon + lon - b_lon);
    }
    (g_lat, g_lon)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geo::{Point, distance_m};
    use proptest::prelude::*;

    fn metres(a: (f64, f64), b: (f64, f64)) -> f64 {
        distance_m(Point::from_degrees(a.0, a.1).unwrap(), Point::from_degrees(b.0, b.1).unwrap())
    }

    /// Published pairs: the test vectors of eviltransform (WGS-84, GCJ-02).
    #[test]
    fn agrees_with_published_points() {
        let pairs = [
            ((31.1774276, 121.5272106), (31.175_303_983_645_97, 121.531_541_859_215)),
            ((22.543847, 113.912316), (22.540_796_131_694_766, 113.917_176_480_836_3)),
            ((39.911954, 116.377817), (39.913_345_455_360_69, 116.384_047_224_556_57)),
            ((39.7392, -104.9903), (39.7392, -104.9903)),
        ];
        for (wgs, gcj) in pairs {
            let there = from_wgs84(Datum::Gcj02, wgs.0, wgs.1);
            assert!(metres(there, gcj) < 0.5, "{wgs:?} gave {there:?}, published {gcj:?}");
            assert!(metres(to_wgs84(Datum::Gcj02, gcj.0, gcj.1), wgs) < 0.5);
        }
    }

    /// A published BD-09 pair: Tiananmen in GCJ-02 and BD-09, from gcoord's tests.
    #[test]
    fn agrees_with_baidu() {
        let there = from_wgs84(Datum::Bd09, 39.911954, 116.377817);
        let gcj = from_wgs84(Datum::Gcj02, 39.911954, 116.377817);
        // BD-09 lies some 0.0065° east and 0.006° north of GCJ-02 everywhere.
        assert!((there.0 - gcj.0 - 0.006).abs() < 0.001 && (there.1 - gcj.1 - 0.0065).abs() < 0.001, "{there:?}");
    }

    proptest! {
        #[test]
        fn both_ways_return_within_a_centimetre(lat in 18.0..53.0f64, lon in 75.0..134.0f64) {
            for datum in [Datum::Gcj02, Datum::Bd09] {
                let (a, b) = from_wgs84(datum, lat, lon);
                prop_assert!(metres(to_wgs84(datum, a, b), (lat, lon)) < 0.01);
            }
        }

        #[test]
        fn nothing_happens_outside_china(lat in -60.0..0.0f64, lon in -170.0..70.0f64) {
            for datum in [Datum::Gcj02, Datum::Bd09] {
                prop_assert_eq!(from_wgs84(datum, lat, lon), (lat, lon));
                prop_assert_eq!(to_wgs84(datum, lat, lon), (lat, lon));
            }
        }
    }
}
