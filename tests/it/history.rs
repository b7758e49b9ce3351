//! Histories over HTTP and their replay over the socket, from an owner that is made up.

use crate::{
    fake::{Fake, Owned, PAGE},
    rest::serve,
    socket::{connect, next, send},
};
use serde_json::{Value, json};
use std::time::Duration;
use trunkline::{
    bridge::Options,
    wire::{
        merge,
        query::{PassedQuery, TrackQuery, TrackRow},
    },
};

const BEGIN: i64 = 1_700_000_000_000;

/// An order that changes each second: created, and then a fix each.
fn history(fixes: i64) -> Vec<TrackRow> {
    let line = |n: i64| {
        let mut row = json!({"id": n + 1, "version": n + 1, "rev": 1, "status": 3, "at_ms": BEGIN + n * 1_000,
            "operator_id": "r1", "operator_type": 1, "kind": "fix", "lat": 31.1774276, "lon": 121.5272106,
            "fix_time_ms": BEGIN + n * 1_000, "mark": "good",
            "patch": {"position": {"lat": 31.0 + n as f64 / 1_000.0, "lon": 121.4}, "stops_ahead": n}});
        if n == 0 {
            row["kind"] = "create".into();
            row["patch"] = json!({"id": "o1", "cell": "default", "status": 3, "user_id": "u", "personal": "secret"});
        }
        serde_json::from_value(row).unwrap()
    };
    (0..=fixes).map(line).collect()
}

/// The order at the end of that history.
fn order(rows: &[TrackRow]) -> Owned {
    let mut state = json!({});
    rows.iter().for_each(|row| merge::patch(&mut state, row.patch.as_ref().unwrap()));
    let mut owned = Owned::new(state);
    owned.version = rows.len() as u64;
    owned
}

async fn get(base: &str, path: &str, accept: Option<&str>) -> (u16, String, String) {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = http.get(format!("{base}{path}"));
    let request = accept.into_iter().fold(request, |r, accept| r.header("accept", accept));
    let response = request.send().await.unwrap();
    let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
    (response.status().as_u16(), kind, response.text().await.unwrap_or_else(|e| format!("broken off: {e}")))
}

#[tokio::test]
async fn a_history_comes_in_every_form_whole_and_in_the_clients_datum() {
    let fake = Fake::default();
    let fixes = 5 * PAGE;
    let rows = history(fixes as i64);
    fake.put("o1", order(&rows));
    fake.put_history("o1", rows);
    let rig = fake.bridge(Options::default());
    let base = format!("http://{}", serve(&rig).await);

    let (status, kind, text) = get(&base, "/v1/orders/o1/track?format=geojson&datum=gcj02", None).await;
    assert_eq!((status, kind.as_str()), (200, "application/geo+json"));
    let file: Value = serde_json::from_str(&text).unwrap();
    let turn = file["features"].as_array().unwrap().iter().find(|f| f["properties"]["what"] == "turn").unwrap();
    let line = turn["geometry"]["coordinates"].as_array().unwrap();
    assert_eq!(line.len(), fixes);
    assert!((line[0][0].as_f64().unwrap() - 121.5315419).abs() < 1e-5 && file["datum"] == "GCJ-02", "{}", line[0]);
    assert!(!text.contains("patch") && !text.contains("secret"));
    let asked = fake.asked();
    assert_eq!(asked.len(), 6, "a page each, and no more at once: {asked:?}");
    assert!(asked[1..].iter().all(|ask| serde_json::from_value::<TrackQuery>(ask.clone()).unwrap().after.is_some()));

    let (_, kind, text) = get(&base, "/v1/orders/o1/track", Some("application/gpx+xml")).await;
    assert_eq!((kind.as_str(), text.matches("<trkpt").count()), ("application/gpx+xml", fixes));
    assert!(text.ends_with("</gpx>\n"));
    let (_, kind, text) = get(&base, "/v1/orders/o1/track", Some("text/csv, application/json;q=0.5")).await;
    assert!(kind.starts_with("text/csv") && text.matches("\r\n").count() == fixes + 2, "{kind}");
    // JSON stays as it was: in pages.
    let (_, kind, text) = get(&base, "/v1/orders/o1/track?limit=7&after=2", None).await;
    let page: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((kind.as_str(), page["rows"].as_array().unwrap().len()), ("application/json", 7));
    assert_eq!((&page["next"], page["rows"][0].get("patch")), (&json!(9), None));

    for (query, field) in [
        ("format=kml", "format"),
        ("format=gpx&limit=5", "limit"),
        ("format=csv&after=5", "after"),
        ("fixes=all", "fixes"),
        ("format=gpx&fixes=some", "fixes"),
        ("format=gpx&datum=mars", "datum"),
        ("format=gpx&page=1", "page"),
    ] {
        let (status, kind, text) = get(&base, &format!("/v1/orders/o1/track?{query}"), None).await;
        let problem: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((status, kind.as_str()), (400, "application/problem+json"), "{query}: {text}");
        assert_eq!(problem["field"], field, "{query}");
    }
    assert_eq!(get(&base, "/v1/orders/o9/track?format=gpx", None).await.0, 404);
    let (status, _, text) = get(&base, "/v1/orders/o1/track", Some("text/html")).await;
    assert!(status == 406 && text.contains("application/gpx+xml"), "{text}");
    assert_eq!(get(&base, "/v1/orders/o1", Some("text/csv")).await.0, 406, "only a history has these forms");
}

#[tokio::test]
async fn who_passed_is_asked_in_the_clients_datum_and_told_by_its_names() {
    let fake = Fake::default();
    let rig = fake.bridge(Options::default());
    let base = format!("http://{}", serve(&rig).await);
    let path = "/v1/passed?box=121.52,31.17,121.54,31.18&from_ms=5&to_ms=9&cursor=o0&limit=7&datum=gcj02";
    let (status, _, text) = get(&base, path, None).await;
    let page: Value = serde_json::from_str(&text).unwrap();
    let passed = json!({"order": "o1", "first_ms": 5, "last_ms": 9, "fixes": 2});
    assert_eq!((status, page), (200, json!({"orders": [passed], "next": "o1"})));
    let ask: PassedQuery = serde_json::from_value(fake.asked().pop().unwrap()).unwrap();
    assert_eq!((ask.limit, ask.after.unwrap().as_str(), ask.from_ms.0, ask.to_ms.0), (Some(7), "o0", 5, 9));
    let wgs84 = ask.within.region().unwrap().bounds();
    assert!((f64::from(wgs84.south_e7) / 1e7 - 31.17).abs() > 0.001, "{wgs84:?}");
    for (query, field) in [
        ("from_ms=1&to_ms=2", "box"),
        ("box=1,1,2,2&to_ms=2", "from_ms"),
        ("box=1,1,2,2&from_ms=1", "to_ms"),
        ("box=1,1,2,2&from_ms=1&to_ms=soon", "to_ms"),
        ("box=1,1,2,2&fence=_p~iF~ps%7CU_ulLnnqC_mqNvxq%60@&from_ms=1&to_ms=2", "fence"),
        // What the owner calls `within`.
        ("box=1,1,2,2&from_ms=2&to_ms=1", "box"),
        ("fence=_p~iF~ps%7CU_ulLnnqC_mqNvxq%60@&from_ms=2&to_ms=1", "fence"),
        ("box=1,1,2,2&from_ms=1&to_ms=2&limit=0", "limit"),
    ] {
        let (status, _, text) = get(&base, &format!("/v1/passed?{query}"), None).await;
        let problem: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((status, problem["field"].as_str()), (400, Some(field)), "{query}: {text}");
    }
}

#[tokio::test]
async fn a_replay_runs_over_the_socket_and_only_for_those_who_read_tracks() {
    let fake = Fake::default();
    let rows = history(600);
    fake.put("o1", order(&rows));
    fake.put_history("o1", rows);
    let rig = fake.bridge(Options::default());
    for role in ["customer", "shared", "rider", "warehouse", "system"] {
        let mut socket = connect(&rig, &format!("role={role}")).await;
        next(&mut socket).await;
        send(&mut socket, json!({"type": "replay", "replay": 1, "order": "o1"})).await;
        let failed = next(&mut socket).await;
        assert_eq!((&failed["type"], &failed["problem"]["status"]), (&json!("replay_failed"), &json!(403)), "{role}");
    }
    let mut socket = connect(&rig, "").await;
    next(&mut socket).await;
    // From 590 s on, of 600 s; what the timeline says comes first.
    let start = json!({"type": "replay", "replay": 3, "order": "o1", "speed": 60, "from_ms": BEGIN + 590_000});
    send(&mut socket, start).await;
    let started = next(&mut socket).await;
    assert_eq!((&started["type"], &started["last_ms"]), (&json!("replay_started"), &json!(BEGIN + 600_000)));
    assert_eq!(started["events"].as_array().unwrap().len(), 1);
    let state = next(&mut socket).await;
    assert_eq!((&state["type"], &state["version"]), (&json!("replay_state"), &json!(591)));
    assert_eq!((&state["state"]["stops_ahead"], state["state"].get("personal")), (&json!(590), None));
    let mut seen = state["state"].clone();
    let mut version = 591;
    loop {
        let frame = next(&mut socket).await;
        match frame["type"].as_str().unwrap() {
            "replay_delta" => {
                assert_eq!((&frame["replay"], &frame["from"]), (&json!(3), &json!(version)));
                version = frame["to"].as_u64().unwrap();
                merge::patch(&mut seen, &frame["patch"]);
            }
            "replay_position" => {}
            "replay_ended" => break,
            other => panic!("{other}"),
        }
    }
    assert_eq!((version, &seen["stops_ahead"]), (601, &json!(600)));
    // Back, paused, and a second one beside it.
    send(&mut socket, json!({"type": "replay_control", "replay": 3, "seek_ms": BEGIN + 10_000, "paused": true})).await;
    let back = next(&mut socket).await;
    assert_eq!((&back["version"], &back["state"]["stops_ahead"]), (&json!(11), &json!(10)));
    assert_eq!(next(&mut socket).await["paused"], true);
    send(&mut socket, json!({"type": "replay", "replay": 4, "order": "nobody"})).await;
    let failed = next(&mut socket).await;
    assert_eq!((&failed["replay"], &failed["problem"]["type"]), (&json!(4), &json!("unknown_order")));
    fake.set_down(true);
    send(&mut socket, json!({"type": "replay", "replay": 4, "order": "o1"})).await;
    assert_eq!(next(&mut socket).await["problem"]["status"], 503);
    send(&mut socket, json!({"type": "replay_stop", "replay": 3})).await;
    assert_eq!(next(&mut socket).await, json!({"type": "replay_stopped", "replay": 3}));
    // The socket goes on.
    send(&mut socket, json!({"type": "ping", "id": 1})).await;
    let pong = tokio::time::timeout(Duration::from_secs(2), next(&mut socket)).await.unwrap();
    assert_eq!(pong["type"], "pong");
}
