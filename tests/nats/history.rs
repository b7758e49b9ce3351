//! A delivered order's history: replayed over the socket, written as a file, and found by where its rider went.

use crate::{
    harness::Server,
    node::{Node, Party, database, settings},
    screen::{Screen, patch},
};
use serde_json::{Value, json};
use std::{process::Command, time::Duration};

const STEP_MS: i64 = 5_000;
const FIXES: i64 = 36;

fn place(n: i64) -> (f64, f64) {
    (31.2 + n as f64 / 1_000.0, 121.4)
}

/// An order brought to the door in three minutes of cell time.
async fn delivered(node: &Node, control: &Party, order: &str) -> i64 {
    node.web.delivering(order, "r1").await;
    let start = node.web.cell_time().await;
    for n in 1..=FIXES {
        control.clock_to(start + n * STEP_MS).await;
        assert_eq!(node.web.fix("r1", place(n), start + n * STEP_MS).await.ok()["good"], 1);
    }
    node.web.command(order, "deliver", &json!({})).await.ok();
    start
}

/// What a client has of a replay, frame by frame.
#[derive(Default)]
struct Shown {
    read: usize,
    state: Value,
    version: u64,
    /// Version, time and state after each frame.
    states: Vec<(u64, i64, Value)>,
    deltas: usize,
}

impl Shown {
    /// Reads on until a frame of this type, which is given.
    async fn until(&mut self, screen: &mut Screen, kind: &str) -> Value {
        loop {
            while self.read < screen.texts.len() {
                let frame: Value = serde_json::from_str(&screen.texts[self.read]).unwrap();
                self.read += 1;
                self.take(&frame);
                if frame["type"] == kind {
                    return frame;
                }
            }
            let read = self.read;
            screen.until("more of the replay", |s| s.texts.len() > read).await;
        }
    }

    fn take(&mut self, frame: &Value) {
        match frame["type"].as_str().unwrap() {
            "replay_state" => (self.state, self.version) = (frame["state"].clone(), frame["version"].as_u64().unwrap()),
            "replay_delta" => {
                assert_eq!(frame["from"], self.version, "{frame}");
                patch(&mut self.state, &frame["patch"]);
                self.version = frame["to"].as_u64().unwrap();
                self.deltas += 1;
            }
            _ => return,
        }
        self.states.push((self.version, frame["at_ms"].as_i64().unwrap(), self.state.clone()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_ends_with_the_stored_state_holds_and_goes_back() {
    let server = Server::start().await;
    let node = Node::start(settings(server.dir.path(), &server.ready.url())).await;
    let control = Party::new(&server, Some("operations.test")).await;
    let start = delivered(&node, &control, "a").await;
    let (stored, version) = (node.web.state("a", "operations").await, node.web.version("a").await);
    assert_eq!(stored["status"], 4);

    let mut screen = Screen::open(&node.web, "operations").await;
    let mut shown = Shown::default();
    let begun = std::time::Instant::now();
    screen.send(&json!({"type": "replay", "replay": 1, "order": "a", "speed": 60}).to_string()).await;
    let started = shown.until(&mut screen, "replay_started").await;
    let events: Vec<_> = started["events"].as_array().unwrap().iter().map(|e| e["kind"].as_str().unwrap()).collect();
    // Far from its address, which it says of itself.
    assert_eq!(events, ["create", "pay", "stage", "assign", "deliver", "alert"]);
    shown.until(&mut screen, "replay_state").await;
    assert_eq!((shown.version, &shown.state["status"]), (1, &json!(1)));
    let ended = shown.until(&mut screen, "replay_ended").await;
    assert_eq!((&shown.state, shown.version, ended["version"].as_u64()), (&stored, version, Some(version)));
    assert_eq!(ended["at_ms"], started["last_ms"]);
    assert_eq!(shown.deltas as u64, version - 1, "operations see every version");
    let lasted_ms = started["last_ms"].as_i64().unwrap() - started["first_ms"].as_i64().unwrap();
    let fastest = Duration::from_millis(lasted_ms.unsigned_abs() / 60);
    assert!(begun.elapsed() >= fastest, "no faster than asked for");
    let first_pass = shown.states.clone();

    // Back to the middle: the state is what it was then, and from there it leads to the same end.
    let middle = start + FIXES / 2 * STEP_MS;
    screen.send(&json!({"type": "replay_control", "replay": 1, "seek_ms": middle}).to_string()).await;
    shown.until(&mut screen, "replay_state").await;
    let (then, _, state) = first_pass.iter().rfind(|(_, at_ms, _)| *at_ms <= middle).unwrap();
    assert_eq!((shown.version, &shown.state), (*then, state));
    assert!(*then < version - 10 && shown.state["status"] == 3, "{then} of {version}");

    // A pause holds, whatever time goes by; half a second is 30 of the timeline's.
    screen.send(&json!({"type": "replay_control", "replay": 1, "paused": true}).to_string()).await;
    while shown.until(&mut screen, "replay_position").await["paused"] != true {}
    let held = shown.version;
    tokio::time::sleep(Duration::from_millis(500)).await;
    screen.send(r#"{"type":"ping","id":1}"#).await;
    shown.until(&mut screen, "pong").await;
    assert_eq!(shown.version, held);
    screen.send(&json!({"type": "replay_control", "replay": 1, "paused": false}).to_string()).await;
    shown.until(&mut screen, "replay_ended").await;
    assert_eq!((&shown.state, shown.version), (&stored, version));

    screen.send(&json!({"type": "replay_stop", "replay": 1}).to_string()).await;
    shown.until(&mut screen, "replay_stopped").await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_history_is_written_and_found_by_where_its_rider_went() {
    let server = Server::start().await;
    let node = Node::start(settings(server.dir.path(), &server.ready.url())).await;
    let control = Party::new(&server, Some("operations.test")).await;
    let start = delivered(&node, &control, "a").await;
    let text = |answer: crate::node::Answer| String::from_utf8(answer.body.to_vec()).unwrap();
    let gpx = text(node.web.get("/v1/orders/a/track?format=gpx").await);
    assert_eq!(gpx.matches("<trkpt").count() as i64, FIXES, "{gpx}");
    assert!(gpx.contains("<name>stage packed</name>") && gpx.contains("<name>North</name>"));
    let printed = Command::new(env!("CARGO_BIN_EXE_trunkline"))
        .args(["replay", "a", "--format", "gpx", "--db"])
        .arg(database(server.dir.path()))
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(printed.stdout).unwrap(), gpx, "{}", String::from_utf8_lossy(&printed.stderr));
    let csv = text(node.web.get("/v1/orders/a/track?format=csv").await);
    assert_eq!(csv.lines().count(), node.web.track("a").await.len() + 1);
    let geojson: Value = serde_json::from_str(&text(node.web.get("/v1/orders/a/track?format=geojson").await)).unwrap();
    let turn = geojson["features"].as_array().unwrap().iter().find(|f| f["properties"]["what"] == "turn").unwrap();
    assert_eq!(turn["properties"]["times_ms"][0], start + STEP_MS);

    // Fixes 10 to 19, and of these the ones within a span of time.
    let bounds = format!("box=121.39,{},121.41,{}", place(10).0 - 0.0001, place(19).0 + 0.0001);
    let passed = async |from: i64, to: i64| {
        let path = format!("/v1/passed?{bounds}&from_ms={from}&to_ms={to}");
        node.web.get(&path).await.ok()["orders"].clone()
    };
    let found = passed(start, start + 600_000).await;
    let (first, last) = (start + 10 * STEP_MS, start + 19 * STEP_MS);
    assert_eq!(found, json!([{"order": "a", "first_ms": first, "last_ms": last, "fixes": 10}]));
    let found = passed(start + 12 * STEP_MS, last).await;
    assert_eq!((&found[0]["fixes"], &found[0]["first_ms"]), (&json!(7), &json!(start + 12 * STEP_MS)));
    assert_eq!(passed(start + 20 * STEP_MS, start + 900_000).await, json!([]));
    let wide = node.web.get(&format!("/v1/passed?box=0,0,90,80&from_ms={start}&to_ms={first}")).await.problem();
    assert_eq!(wide["field"], "box");
    let long = node.web.get(&format!("/v1/passed?{bounds}&from_ms=0&to_ms={first}")).await.problem();
    assert_eq!(long["field"], "to_ms");
    node.stop().await;
}
