//! Coordinates on their way out, in the datum that a client asked for. The state itself stays WGS-84.

use crate::geo::{Datum, from_wgs84};
use serde_json::Value;

/// Members of an order's state that are objects with `lat` and `lon`.
const PLACES: [&str; 3] = ["warehouse", "destination", "position"];

/// Converts the places and the route of an order's state. The same input gives the same bytes, so differences between
/// two converted states are real ones.
pub fn convert_order(state: &mut Value, datum: Datum) {
    if datum == Datum::Wgs84 {
        return;
    }
    for name in PLACES {
        if let Some(place) = state.get_mut(name) {
            convert_place(place, datum);
        }
    }
    if let Some(line) = state.pointer_mut("/route/coordinates").and_then(Value::as_array_mut) {
        for pair in line {
            let Some([lon, lat]) = pair.as_array().and_then(|p| Some([p.first()?.as_f64()?, p.get(1)?.as_f64()?]))
            else {
                continue;
            };
            let (lat, lon) = converted(datum, lat, lon);
            *pair = vec![Value::from(lon), Value::from(lat)].into();
        }
    }
}

/// Converts one object that has `lat` and `lon`; leaves any other as it is.
pub fn convert_place(place: &mut Value, datum: Datum) {
    let degrees = |name| place.get(name).and_then(Value::as_f64);
    if let (Some(lat), Some(lon)) = (degrees("lat"), degrees("lon")) {
        let (lat, lon) = converted(datum, lat, lon);
        place["lat"] = lat.into();
        place["lon"] = lon.into();
    }
}

/// Degrees in `datum`, with the seven decimals that the state has.
pub fn converted(datum: Datum, lat: f64, lon: f64) -> (f64, f64) {
    let (lat, lon) = from_wgs84(datum, lat, lon);
    (libm::round(lat * 1e7) / 1e7, libm::round(lon * 1e7) / 1e7)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn converts_places_and_route_and_nothing_else() {
        let state = json!({
            "destination": {"lat": 31.1774276, "lon": 121.5272106}, "position": {"lat": 31.1774276, "lon": 121.5272106,
            "heading_deg": 4}, "route": {"type": "LineString", "coordinates": [[121.5272106, 31.1774276]]},
            "extra": {"lat": 31.0, "lon": 121.0},
        });
        let mut gcj = state.clone();
        convert_order(&mut gcj, Datum::Gcj02);
        let near = |v: &Value, expected: f64| (v.as_f64().unwrap() - expected).abs() < 1e-5;
        assert!(near(&gcj["destination"]["lat"], 31.175304) && near(&gcj["destination"]["lon"], 121.5315419));
        assert!(near(&gcj["route"]["coordinates"][0][0], 121.5315419));
        assert_eq!(gcj["position"]["heading_deg"], 4);
        assert_eq!(gcj["extra"], state["extra"]);
        let mut same = state.clone();
        convert_order(&mut same, Datum::Wgs84);
        assert_eq!(same, state);
    }
}
