//! A small log, committed, and what is decided of it, in words that were read by eye. A change of any decision shows
//! here, whether it was meant or not.
//!
//! `TRUNKLINE_DECISIONS=text` writes the words anew after a change that was meant; `TRUNKLINE_DECISIONS=log` makes the log
//! anew from [`scenes`] first. Read the difference before committing it.

mod scenes;

use std::{fmt::Write, path::Path, process::Command};
use tokio_util::task::TaskTracker;
use trunkline::app::replay::{OpenLog, Source, chronicle, story};

const LOG: &str = "tests/decisions/scenes.log.jsonl";
const TEXT: &str = "tests/decisions/scenes.txt";

/// Every order's story, then what the cell itself said.
async fn decided(log: &Path) -> String {
    let log = OpenLog::open(&Source::File(log.to_owned()), TaskTracker::new()).await.unwrap();
    let chronicle::Chronicle { stories, cell } = chronicle::from_log(&log, None, |_| {}).await.unwrap();
    let mut text = String::new();
    for story in stories.values() {
        writeln!(text, "{}", story::tell(story)).unwrap();
    }
    writeln!(text, "cell").unwrap();
    for said in &cell {
        writeln!(text, "  {}", story::tell_said(said)).unwrap();
    }
    text
}

#[tokio::test]
async fn the_committed_log_is_decided_as_it_was() {
    #[allow(clippy::disallowed_methods, reason = "an explicit wish")]
    let wish = std::env::var("TRUNKLINE_DECISIONS").unwrap_or_default();
    if wish == "log" {
        std::fs::write(LOG, scenes::log()).unwrap();
    }
    let text = decided(Path::new(LOG)).await;
    if wish == "log" || wish == "text" {
        std::fs::write(TEXT, &text).unwrap();
    }
    let expected = std::fs::read_to_string(TEXT).unwrap();
    let differing = text.lines().zip(expected.lines()).position(|(now, was)| now != was);
    let shorter = text.lines().count().min(expected.lines().count());
    if text != expected {
        let from = differing.unwrap_or(shorter);
        let some = |text: &str| text.lines().skip(from.saturating_sub(3)).take(8).collect::<Vec<_>>().join("\n");
        panic!(
            "decided otherwise from line {} of {TEXT} on; it was\n{}\nand is\n{}",
            from + 1,
            some(&expected),
            some(&text)
        );
    }
}

/// The words would not notice what they don't show: a log with one message less gives others.
#[tokio::test]
async fn another_log_gives_other_words() {
    let committed = std::fs::read_to_string(LOG).unwrap();
    let expected = std::fs::read_to_string(TEXT).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log.jsonl");
    let lines: Vec<_> = committed.lines().collect();
    let messages = lines.len() - 2;
    for without in [
        "order.default.plain.deliver",
        "warehouse.default.w1.detour.packed",
        "timer.default.unpaid.unpaid",
        "timer.default.late.late.",
        "timer.default.lost.signal_lost.",
        "order.default.wrong-place.acknowledge",
        "order.default.edited.edit",
        "control.default.route",
    ] {
        let mut kept = lines.clone();
        let at = kept.iter().position(|line| line.contains(without)).unwrap_or_else(|| panic!("no {without}"));
        kept.remove(at);
        let end = format!("{{\"messages\":{}}}", messages - 1);
        *kept.last_mut().unwrap() = &end;
        std::fs::write(&path, kept.join("\n")).unwrap();
        assert_ne!(decided(&path).await, expected, "without {without}");
    }
}

/// What `trunkline replay` says of the committed log.
fn replay(args: &[&str]) -> String {
    let output =
        Command::new(env!("CARGO_BIN_EXE_trunkline")).args(["replay", "--log-file", LOG]).args(args).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The lines of a `--what-if` that tell of a change.
fn changes(settings: &[&str]) -> Vec<String> {
    let text = replay(&[&["--what-if"], settings].concat());
    text.lines().filter(|line| line.contains(" of order ")).map(|line| line.trim().to_owned()).collect()
}

#[test]
fn other_thresholds_and_late_fixes_in_time_tell_which_alerts_change() {
    // What is in force already changes nothing, so both plays are one.
    assert_eq!(changes(&["off_route.raise_m=80", "stalled.after_ms=180000"]), Vec::<String>::new());
    assert_eq!(
        changes(&["off_route.raise_m=120"]),
        ["09:08:48  off_route of order beside disappears (102.6 m against 80 m), cleared at 09:10:48"]
    );
    assert_eq!(
        changes(&["signal_lost.after_ms=90000", "stalled.after_ms=600000"]),
        [
            // The signal's timer looks at all of the order.
            "09:07:24  late_risk of order late raised 1.0 s earlier",
            "09:08:42  signal_lost of order offline raised 30.0 s later",
            "09:09:22  signal_lost of order lost raised 30.0 s later",
            "09:11:31  stalled of order stall disappears (18.7 m against 30 m), cleared at 09:17:16",
            "09:21:19  signal_lost of order late disappears (60 s against 60 s), cleared at 09:21:35",
        ]
    );
    // What came late and decided nothing, in time: the phone wasn't lost, and its rider was off the route.
    assert_eq!(
        changes(&["late"]),
        [
            "09:08:27  off_route of order offline appears (343.5 m against 80 m), cleared at 09:10:33",
            "09:08:42  signal_lost of order offline disappears (60 s against 60 s), cleared at 09:10:18",
        ]
    );
    // An alert that is gone shifts the numbers of the others, and what operations took note of: no decision.
    assert_eq!(
        changes(&["low_battery.raise_pct=10"]),
        [
            "09:08:12  low_battery of order handed disappears (12 % against 15 %), cleared at 09:09:57",
            "09:10:06  low_battery of order battery raised 120.0 s later",
        ]
    );
}

#[test]
fn a_story_can_be_had_as_a_file_for_other_programs() {
    let story: serde_json::Value = serde_json::from_str(&replay(&["detour", "--format", "json"])).unwrap();
    let lines = story["lines"].as_array().unwrap();
    assert_eq!((&story["state"]["status"], &story["alerts"][0]["state"]), (&4.into(), &"cleared".into()));
    let collection: serde_json::Value = serde_json::from_str(&replay(&["detour", "--format", "geojson"])).unwrap();
    let what = |what: &str| {
        let features = collection["features"].as_array().unwrap().iter();
        features.filter(|feature| feature["properties"]["what"] == what).cloned().collect::<Vec<_>>()
    };
    let fixes = lines.iter().filter(|line| line["kind"] == "fix").count();
    assert_eq!((what("route").len(), what("turn")[0]["properties"]["fixes"].as_u64()), (1, Some(fixes as u64)));
    let alerts = what("event").into_iter().filter(|event| event["properties"]["kind"] == "alert").count();
    assert_eq!(alerts, 2, "raised and cleared");
    assert!(what("eta").len() > 5);
    let csv = replay(&["detour", "--format", "csv"]);
    assert_eq!((csv.lines().count(), csv.matches("\r\n").count()), (lines.len() + 1, lines.len() + 1));
    let gpx = replay(&["detour", "--format", "gpx"]);
    assert_eq!((gpx.matches("<trkpt ").count(), gpx.matches("<rtept ").count()), (fixes, 3));
    // A refusal is no line of a history.
    let refused = |format: &str| replay(&["wrong-place", "--format", format]).contains("refused");
    assert_eq!(["text", "json", "csv", "gpx", "geojson"].map(refused), [true, true, false, false, false]);
}
