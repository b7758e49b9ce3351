//! An order's planned route by itself: its forms, its datum, and who sees it when.

use crate::{
    fake::{Fake, Owned, Rig},
    rest::serve,
};
use serde_json::{Value, json};
use trunkline::{
    bridge::Options,
    geo::Datum,
    wire::route::{RouteBody, decode_polyline},
};

struct Answer {
    status: u16,
    kind: String,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }
}

async fn get(rig: &Rig, query: &str, accept: Option<&str>) -> Answer {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = http.get(format!("http://{}/v1/orders/o1/route?{query}", serve(rig).await));
    let response = accept.into_iter().fold(request, |r, kind| r.header("accept", kind)).send().await.unwrap();
    let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
    Answer { status: response.status().as_u16(), kind, text: response.text().await.unwrap() }
}

fn order(status: u8) -> Value {
    let line = json!([[121.4, 31.2], [121.5272106, 31.1774276]]);
    json!({"id": "o1", "status": status, "route": {"type": "LineString", "coordinates": line}})
}

#[tokio::test]
async fn comes_in_the_form_and_the_datum_that_were_asked_for() {
    let fake = Fake::default();
    let rig = fake.bridge(Options::default());
    fake.put("o1", Owned::new(order(3)));
    let plain = get(&rig, "", None).await;
    assert_eq!((plain.status, plain.kind.as_str()), (200, "application/geo+json"));
    assert_eq!(plain.json(), order(3)["route"]);
    assert_eq!(get(&rig, "format=geojson", Some("application/geo+json")).await.json(), plain.json());

    for (precision, format) in [(5_u8, "polyline5"), (6, "polyline6")] {
        let answer = get(&rig, &format!("format={format}"), Some("application/json")).await;
        assert_eq!(
            (answer.kind.as_str(), answer.json()["precision"].as_u64()),
            ("application/json", Some(precision.into()))
        );
        let points = decode_polyline(answer.json()["polyline"].as_str().unwrap(), precision).unwrap();
        assert!((points[1].0 - 31.1774276).abs() < 1e-5 && (points[1].1 - 121.5272106).abs() < 1e-5, "{points:?}");
    }
    let gpx = get(&rig, "format=gpx", Some("application/gpx+xml")).await;
    assert_eq!((gpx.status, gpx.kind.as_str()), (200, "application/gpx+xml"));
    // What goes out may come in again.
    let again = RouteBody::Gpx { gpx: gpx.text }.route(Datum::Wgs84).unwrap();
    assert_eq!((again.points.len(), again.points[1].lat_e7), (2, 311_774_276));

    let gcj = get(&rig, "datum=gcj02", None).await.json();
    assert!((gcj["coordinates"][1][0].as_f64().unwrap() - 121.5315419).abs() < 1e-5, "{gcj}");
}

#[tokio::test]
async fn is_seen_when_the_view_shows_it() {
    let fake = Fake::default();
    let rig = fake.bridge(Options::default());
    for (status, role, seen) in [
        (3, "customer", true),
        (2, "customer", false),
        (4, "customer", false),
        (2, "rider", true),
        (4, "operations", true),
        (3, "warehouse", false),
    ] {
        fake.put("o1", Owned::new(order(status)));
        let answer = get(&rig, &format!("role={role}"), None).await;
        if seen {
            assert_eq!(answer.status, 200, "{role} in {status}");
        } else {
            assert_eq!((answer.status, answer.json()["type"].as_str()), (404, Some("unknown_route")), "{role}");
            assert!(!answer.text.contains("121."));
        }
    }
    fake.put("o1", Owned::new(json!({"id": "o1", "status": 3})));
    assert_eq!(get(&rig, "", None).await.status, 404, "it has none");
}

#[tokio::test]
async fn says_what_does_not_fit() {
    let fake = Fake::default();
    let rig = fake.bridge(Options::default());
    fake.put("o1", Owned::new(order(3)));
    for (query, field) in [("format=kml", "format"), ("format=gpx&format=gpx", "format"), ("form=gpx", "form")] {
        let answer = get(&rig, query, None).await;
        assert_eq!((answer.status, answer.json()["field"].as_str()), (400, Some(field)), "{query}");
    }
    let answer = get(&rig, "", Some("text/csv")).await;
    assert_eq!((answer.status, answer.json()["field"].as_str()), (406, Some("Accept")));
}
