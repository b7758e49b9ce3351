//! One history with a late fix, two riders, a jump, an alert, an ETA and a hostile note, in every form; and laws that hold
//! for any text.

use super::*;
use proptest::prelude::*;
use serde_json::json;

const NOTE: &str = "=HYPERLINK(\"http://x\",\"a, b\")\r\n<&>\u{1}";

fn row(id: i64, kind: &str, at_s: i64, more: Value) -> TrackRow {
    let mut row = json!({"id": id, "kind": kind, "version": id, "rev": 1, "status": 3,
        "at_ms": 1_700_000_000_000_i64 + at_s * 1_000, "operator_id": "shop", "operator_type": 4});
    row.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(row).unwrap()
}

fn fix(id: i64, rider: &str, (at_s, fix_s): (i64, i64), lon: f64, mark: &str) -> TrackRow {
    let time = 1_700_000_000_000_i64 + fix_s * 1_000 + 250;
    let more = json!({"operator_id": rider, "operator_type": 1, "lat": 31.2, "lon": lon, "fix_time_ms": time,
        "device_time_ms": time, "accuracy_m": 5.5, "speed_mps": 4.2, "heading_deg": 90, "battery_pct": 60, "mark": mark});
    row(id, "fix", at_s, more)
}

fn history() -> Vec<TrackRow> {
    let mut predicted = fix(5, "r1", (31, 30), 121.402, "good");
    let time = |s: i64| Some(UnixMillis(1_700_000_000_000 + s * 1_000));
    (predicted.eta_p10_ms, predicted.eta_p50_ms, predicted.eta_p90_ms) = (time(900), time(1_000), time(1_200));
    vec![
        row(1, "create", 0, json!({"status": 1})),
        row(2, "stage", 5, json!({"status": 2, "stage": "packed", "operator_id": "w1", "lat": 31.1, "lon": 121.4})),
        row(3, "assign", 10, json!({"note": "r1"})),
        fix(4, "r1", (21, 20), 121.401, "good"),
        predicted,
        fix(6, "r1", (36, 35), 121.9, "jump"),
        row(7, "stops", 37, json!({})),
        row(8, "assign", 40, json!({"note": "r2"})),
        fix(9, "r2", (51, 50), 121.404, "good"),
        // It waited in the first rider's phone.
        fix(10, "r1", (52, 25), 121.4015, "good"),
        row(11, "alert", 55, json!({"note": NOTE})),
        row(12, "deliver", 60, json!({"status": 4, "lat": 31.2, "lon": 121.404})),
    ]
}

fn state() -> Value {
    json!({"id": "o1", "created_at_ms": 1_700_000_000_000_i64, "destination": {"lat": 31.21, "lon": 121.41},
        "warehouse": {"id": "w1", "name": "North & <South>", "lat": 31.1, "lon": 121.4},
        "route": {"type": "LineString", "coordinates": [[121.4, 31.1], [121.41, 31.21]]}})
}

fn written(format: Format, drawn: Drawn, rows: &[TrackRow]) -> String {
    let (order, state) = ("o1".parse().unwrap(), state());
    let mut out = String::new();
    let mut writer =
        TrackWriter::begin(format, &About { order: &order, state: &state, datum: Datum::Wgs84, drawn }, &mut out);
    rows.iter().for_each(|row| writer.row(row, &mut out));
    writer.end(&mut out);
    out
}

#[test]
fn geojson() {
    insta::assert_snapshot!(written(Format::GeoJson, Drawn::Good, &history()));
}

#[test]
fn gpx() {
    insta::assert_snapshot!(written(Format::Gpx, Drawn::Good, &history()));
}

#[test]
fn csv() {
    let text = written(Format::Csv, Drawn::Good, &history());
    assert!(text.ends_with("\r\n"));
    insta::assert_snapshot!(text.replace('\r', "␍"));
}

#[test]
fn json_is_one_page_with_everything() {
    let page: crate::wire::query::TrackPage =
        serde_json::from_str(&written(Format::Json, Drawn::Good, &history())).unwrap();
    assert_eq!((page.rows, page.next), (history(), None));
}

/// Lines as they are drawn: the rider, and the longitudes.
fn lines(drawn: Drawn, rows: &[TrackRow]) -> Vec<(String, Vec<f64>)> {
    let file: Value = serde_json::from_str(&written(Format::GeoJson, drawn, rows)).unwrap();
    let turns = file["features"].as_array().unwrap().iter().filter(|f| f["properties"]["what"] == "turn");
    turns
        .map(|turn| {
            let line = turn["geometry"]["coordinates"].as_array().unwrap();
            let lons = line.iter().map(|at| at.get(0).unwrap_or(at).as_f64().unwrap()).collect();
            (turn["properties"]["rider"].as_str().unwrap().to_owned(), lons)
        })
        .collect()
}

#[test]
fn lines_go_by_time_and_by_turn() {
    let [r1, r2] = ["r1", "r2"].map(str::to_owned);
    let good = lines(Drawn::Good, &history());
    assert_eq!(good, [(r1.clone(), vec![121.401, 121.4015, 121.402]), (r2, vec![121.404, 31.2])]);
    let all = lines(Drawn::All, &history());
    assert_eq!(all[0], (r1.clone(), vec![121.401, 121.4015, 121.402, 121.9]));
    // The same rider twice is two turns.
    let mut again = history();
    again[8] = fix(9, "r1", (51, 50), 121.404, "good");
    again.push(fix(13, "r1", (62, 55), 121.405, "good"));
    assert_eq!(lines(Drawn::Good, &again)[1], (r1, vec![121.404, 121.405]));
    assert_eq!(lines(Drawn::Good, &history()[..3]), []);
}

#[test]
fn the_best_liked_form_is_chosen() {
    let chosen = |accept: &str| Format::accepted(&[accept]);
    for (accept, format) in [
        ("", Format::Json),
        ("*/*", Format::Json),
        ("application/*", Format::Json),
        ("application/geo+json", Format::GeoJson),
        ("text/html, application/gpx+xml;q=0.9, */*;q=0.8", Format::Gpx),
        ("text/*", Format::Csv),
        ("Application/JSON;q=0.5, text/csv; q=0.6", Format::Csv),
        ("application/json;q=0, */*", Format::GeoJson),
    ] {
        assert_eq!(chosen(accept), Some(format), "{accept}");
    }
    assert_eq!((chosen("text/html"), chosen("text/csv;q=0"), chosen("*/*;q=0.000")), (None, None, None));
    assert!("kml".parse::<Format>().unwrap_err().contains("json, geojson, gpx, csv"));
}

proptest! {
    /// Whatever a note says: CSV gives it back, guarded or not, and no cell of text begins a formula.
    #[test]
    fn csv_holds_any_text(note in any::<String>()) {
        let text = written(Format::Csv, Drawn::Good, &[row(1, "cancel", 0, json!({"note": note}))]);
        let mut reader = ::csv::ReaderBuilder::new().from_reader(text.as_bytes());
        let columns = reader.headers().unwrap().len();
        let records: Vec<_> = reader.records().map(Result::unwrap).collect();
        prop_assert_eq!((records.len(), records[0].len()), (1, columns));
        let cell = &records[0][columns - 1];
        prop_assert!(cell == note || cell.strip_prefix('\'') == Some(note.as_str()), "{:?}", cell);
        prop_assert!(!cell.starts_with(['=', '+', '-', '@', '\t', '\r']));
    }

    /// XML and JSON stay what they are.
    #[test]
    fn no_text_breaks_out(note in any::<String>()) {
        let rows = [row(1, "cancel", 0, json!({"note": note, "lat": 1.0, "lon": 2.0}))];
        let file: Value = serde_json::from_str(&written(Format::GeoJson, Drawn::Good, &rows)).unwrap();
        prop_assert_eq!(&file["features"][3]["properties"]["note"], &json!(note));
        let gpx = written(Format::Gpx, Drawn::Good, &rows);
        let desc = gpx.split("<desc>").nth(1).unwrap().split("</desc>").next().unwrap();
        prop_assert!(!desc.contains(['<', '>', '"']));
        prop_assert!(!desc.chars().any(|c| c.is_ascii_control() && c != '\n' && c != '\t'));
    }
}
