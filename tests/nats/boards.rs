//! The topics beside a single order, on a real server: owner, bridge and screen are three.

use crate::{
    harness::Server,
    lost_update::Proxy,
    node::{Node, Web, settings},
    screen::Screen,
};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// A tracker, and a bridge behind a proxy that may lose messages.
struct Pair {
    server: Server,
    tracker: Node,
    bridge: Node,
    proxy: Proxy,
}

impl Pair {
    async fn start() -> Self {
        let server = Server::start().await;
        let mut owning = settings(server.dir.path(), &server.ready.url());
        owning.roles = vec!["tracker".into()];
        let tracker = Node::start(owning).await;
        let proxy = Proxy::start(server.ready.port).await;
        let mut serving = settings(server.dir.path(), &proxy.url);
        serving.roles = vec!["bridge".into()];
        let bridge = Node::start(serving).await;
        bridge.web.ready().await;
        Self { server, tracker, bridge, proxy }
    }

    fn web(&self) -> &Web {
        &self.bridge.web
    }

    async fn stop(self) {
        self.bridge.stop().await;
        self.tracker.stop().await;
    }
}

fn state<'a>(screen: &'a Screen, topic: &str) -> &'a Value {
    &screen.orders[topic].state
}

fn stops(screen: &Screen) -> Vec<&str> {
    let stops = state(screen, "rider/r1")["stops"].as_array().unwrap();
    stops.iter().map(|stop| stop["order"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_riders_trip_changes_and_ends() {
    let pair = Box::pin(Pair::start()).await;
    let web = pair.web();
    web.delivering("a", "r1").await;
    web.delivering("b", "r1").await;
    let mut screen = Screen::open(web, "rider").await;
    screen.follow_board("rider/r1", json!({})).await;
    assert_eq!(stops(&screen), ["a", "b"]);
    web.post("/v1/riders/r1/trip", None, &json!({"stops": ["b", "a"]})).await.ok();
    screen.until("the other order of stops", |s| stops(s) == ["b", "a"]).await;
    let start = web.cell_time().await;
    web.fix("r1", (31.201, 121.4), start + 1_000).await.ok();
    screen.until("the position", |s| state(s, "rider/r1")["position"]["lat"] == 31.201).await;

    // A word that is lost: the document is said again with the next heartbeat.
    pair.proxy.drop_next_on("update.default.rider.r1");
    web.fix("r1", (31.2011, 121.4), start + 2_000).await.ok();
    pair.proxy.has_dropped(1).await;
    let lost = Instant::now();
    screen.until("the lost position", |s| state(s, "rider/r1")["position"]["lat"] == 31.2011).await;
    assert!(lost.elapsed() < Duration::from_secs(3), "{:?}", lost.elapsed());

    web.post("/v1/riders/r1/delivered", Some("d-b"), &json!({"order": "b"})).await.ok();
    screen.until("the end of an order", |s| stops(s) == ["a"]).await;
    assert!(!state(&screen, "rider/r1").to_string().contains("\"b\""));
    web.command("a", "cancel", &json!({"reason": "changed my mind"})).await.ok();
    screen.until("the end of the trip", |s| stops(s).is_empty()).await;
    let beats = screen.beats;
    screen.until("heartbeats", |s| s.beats >= beats + 2).await;
    let seen = &screen.orders["rider/r1"];
    assert_eq!((seen.gaps, seen.snapshots, seen.beat, seen.unconfirmed), (0, 1, Some(seen.version), false));
    Box::pin(pair.stop()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_warehouse_sees_stages_and_the_rider_drawing_near() {
    let pair = Box::pin(Pair::start()).await;
    let web = pair.web();
    web.create("a").await.ok();
    let mut screen = Screen::open(web, "warehouse").await;
    let topic = "warehouse/w1";
    screen.follow_board(topic, json!({})).await;
    assert_eq!(state(&screen, topic)["orders"], json!({}), "not paid yet");
    let order = |s: &Screen| state(s, topic)["orders"]["a"].clone();
    web.command("a", "pay", &json!({})).await.ok();
    screen.until("the order", |s| order(s)["status"] == 2).await;
    web.stage("a", "picking").await.ok();
    screen.until("the stage", |s| order(s)["stage"] == "picking").await;
    web.command("a", "assign", &json!({"rider": "r1"})).await.ok();
    screen.until("the rider", |s| order(s)["rider"]["id"] == "r1").await;
    let (start, place) = (web.cell_time().await, state_of_warehouse(web).await);
    let mut farthest = f64::INFINITY;
    for (n, off) in [0.01, 0.006, 0.002].into_iter().enumerate() {
        // Far apart in time, or it would be a jump.
        web.fix("r1", (place.0 + off, place.1), start - 400_000 + n as i64 * 150_000).await.ok();
        let distance = |s: &Screen| order(s)["rider"]["arrival"]["distance_m"].as_f64();
        screen.until("a shorter way", |s| distance(s).is_some_and(|d| d < farthest)).await;
        farthest = distance(&screen).unwrap();
    }
    assert!(farthest < 300.0 && order(&screen)["rider"]["arrival"]["basis"] == "constant_speed");
    let board: Vec<_> = screen.texts.iter().filter(|text| text.contains(topic)).collect();
    assert!(board.iter().all(|text| !text.contains("\"lat\"") && !text.contains("destination")), "{board:?}");
    web.stage("a", "packed").await.ok();
    web.stage("a", "handed_over").await.ok();
    screen.until("the handing over", |s| state(s, topic)["orders"] == json!({})).await;
    assert_eq!((screen.orders[topic].gaps, screen.orders[topic].snapshots), (0, 1));
    Box::pin(pair.stop()).await;
}

/// Where the warehouse of the orders of these tests is.
async fn state_of_warehouse(web: &Web) -> (f64, f64) {
    let warehouse = web.state("a", "operations").await["warehouse"].clone();
    (warehouse["lat"].as_f64().unwrap(), warehouse["lon"].as_f64().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cell_in_a_box_and_a_lost_word_healed_by_a_heartbeat() {
    let pair = Box::pin(Pair::start()).await;
    let web = pair.web();
    web.delivering("a", "r1").await;
    let start = web.cell_time().await;
    web.fix("r1", (31.2, 121.4), start - 900_000).await.ok();
    let destination = web.state("a", "operations").await["destination"].clone();
    let mut screen = Screen::open(web, "operations").await;
    screen.follow_board("cell", json!({"box": [121.39, 31.19, 121.41, 31.21]})).await;
    let riders = |s: &Screen| state(s, "cell")["riders"].clone();
    assert_eq!(
        (&riders(&screen)["r1"]["orders"], &riders(&screen)["r1"]["position"]["lat"]),
        (&json!(["a"]), &json!(31.2))
    );
    web.fix("r1", (31.23, 121.4), start - 600_000).await.ok();
    screen.until("the rider has left the box", |s| riders(s) == json!({})).await;
    web.fix("r1", (31.2, 121.4), start - 300_000).await.ok();
    screen.until("the rider is back", |s| riders(s)["r1"]["position"]["lat"] == 31.2).await;

    pair.proxy.drop_next_on("update.default.cell");
    web.fix("r1", (31.205, 121.4), start - 100_000).await.ok();
    pair.proxy.has_dropped(1).await;
    let lost = Instant::now();
    screen.until("the lost position", |s| riders(s)["r1"]["position"]["lat"] == 31.205).await;
    // As with an order, and the second in which the cell's changes are gathered.
    assert!(lost.elapsed() < Duration::from_secs(4), "{:?}", lost.elapsed());
    let seen = &screen.orders["cell"];
    assert_eq!((seen.gaps, seen.snapshots, pair.bridge.metrics().hub_resyncs.get()), (0, 1, 1));

    let (lat, lon) = (destination["lat"].as_f64().unwrap(), destination["lon"].as_f64().unwrap());
    screen.follow_board("cell", json!({"box": [lon - 0.001, lat - 0.001, lon + 0.001, lat + 0.001]})).await;
    assert_eq!(state(&screen, "cell")["orders"]["a"]["rider"]["id"], "r1");
    web.post("/v1/riders/r1/delivered", Some("d-a"), &json!({"order": "a"})).await.ok();
    screen.until("the end of the order", |s| state(s, "cell")["orders"] == json!({})).await;
    let beats = screen.beats;
    screen.until("heartbeats", |s| s.beats >= beats + 2).await;
    let seen = &screen.orders["cell"];
    assert_eq!((seen.gaps, seen.beat, seen.unconfirmed), (0, Some(seen.version), false));
    Box::pin(pair.stop()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alerts_as_they_come_after_those_that_are_open() {
    let pair = Box::pin(Pair::start()).await;
    let mut screen = Screen::open(pair.web(), "operations").await;
    screen.follow_board("alerts", json!({})).await;
    assert_eq!(state(&screen, "alerts"), &json!({"alerts": {}}), "there are none yet");
    let js = pair.server.jetstream().await;
    let alert =
        |id: &str, state: &str| json!({"alert": id, "kind": "late", "order": "a", "state": state, "late_ms": 7});
    let raise = async |n: u32, id: &str, state: &str| {
        let subject = format!("alert.default.late.a.{id}.{n}");
        js.publish(subject, alert(id, state).to_string().into()).await.unwrap().await.unwrap();
    };
    raise(1, "x", "raised").await;
    screen.until("the first", |s| state(s, "alerts")["alerts"]["x"] == alert("x", "raised")).await;
    raise(2, "x", "acknowledged").await;
    raise(1, "y", "raised").await;
    screen.until("the others", |s| state(s, "alerts")["alerts"]["y"] == alert("y", "raised")).await;
    assert_eq!(state(&screen, "alerts")["alerts"]["x"]["state"], "acknowledged");
    raise(3, "x", "cleared").await;
    screen.until("the end of one", |s| state(s, "alerts")["alerts"]["x"]["state"] == "cleared").await;
    let beats = screen.beats;
    screen.until("heartbeats", |s| s.beats >= beats + 2).await;
    let seen = &screen.orders["alerts"];
    assert_eq!((seen.gaps, seen.snapshots, seen.beat), (0, 1, Some(seen.version)));
    let mut late = Screen::open(pair.web(), "operations").await;
    late.follow_board("alerts", json!({})).await;
    assert_eq!(state(&late, "alerts"), state(&screen, "alerts"));
    Box::pin(pair.stop()).await;
}
