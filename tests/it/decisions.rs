//! A small log, committed, and what is decided of it, in words that were read by eye. A change of any decision shows
//! here, whether it was meant or not.
//!
//! `TRUNKLINE_DECISIONS=text` writes the words anew after a change that was meant; `TRUNKLINE_DECISIONS=log` makes the log
//! anew from [`scenes`] first. Read the difference before committing it.

mod scenes;

use std::{fmt::Write, path::Path};
use tokio_util::task::TaskTracker;
use trunkline::app::replay::{OpenLog, Source, chronicle, story};

const LOG: &str = "tests/decisions/scenes.log.jsonl";
const TEXT: &str = "tests/decisions/scenes.txt";

/// Every order's story, then what the cell itself said.
async fn decided(log: &Path) -> String {
    let log = OpenLog::open(&Source::File(log.to_owned()), TaskTracker::new()).await.unwrap();
    let chronicle::Chronicle { stories, cell } = chronicle::from_log(&log, None, |_| {}).await.unwrap();
    let mut text = String::new();
    for (order, lines) in stories {
        writeln!(text, "{}", story::tell(&chronicle::Story { order, lines })).unwrap();
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
    for without in ["order.default.plain.deliver", "warehouse.default.w1.detour.packed", "timer.default.unpaid.unpaid"]
    {
        let mut kept = lines.clone();
        let at = kept.iter().position(|line| line.contains(without)).unwrap_or_else(|| panic!("no {without}"));
        kept.remove(at);
        let end = format!("{{\"messages\":{}}}", messages - 1);
        *kept.last_mut().unwrap() = &end;
        std::fs::write(&path, kept.join("\n")).unwrap();
        assert_ne!(decided(&path).await, expected, "without {without}");
    }
}
