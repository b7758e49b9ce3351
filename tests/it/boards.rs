//! Boards over a real socket: what each topic shows, that a lost word is made good by the next heartbeat, and that a board
//! ends after its last follower.

use crate::{
    fake::{Fake, Owned, Rig},
    rig::eventually,
    socket::{Socket, connect, next, send},
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, time::Duration};
use trunkline::{
    bridge::{Options, bucket::Bucket},
    domain::UnixMillis,
    wire::{
        board::{CellPage, CellWord, OrderRow, RiderRow, RiderWord},
        merge,
    },
};

fn rig(fake: &Fake) -> Rig {
    let mut options = Options { heartbeat: Duration::from_millis(300), ..Options::default() };
    options.boards.owner_heartbeat = Duration::from_millis(400);
    options.boards.cell_every = Duration::from_millis(200);
    options.boards.tick = Duration::from_millis(20);
    options.boards.linger = Duration::from_millis(200);
    options.hub.tick = Duration::from_millis(20);
    fake.bridge(options)
}

/// A board as a page has it.
#[derive(Debug, Default)]
struct Page {
    state: Value,
    epoch: u64,
    version: u64,
    snapshots: u32,
    deltas: u32,
    recovery: String,
    /// What the last heartbeat said of the topic: its version, if confirmed.
    beat: Option<u64>,
    text: String,
}

impl Page {
    async fn subscribe(socket: &mut Socket, frame: Value) -> Self {
        let mut page = Self::default();
        let topic = frame["topic"].as_str().unwrap().to_owned();
        send(socket, frame).await;
        page.until(socket, &topic, |p| p.snapshots == 1).await;
        page
    }

    /// Reads on until it is so.
    async fn until(&mut self, socket: &mut Socket, topic: &str, reached: impl Fn(&Self) -> bool) {
        while !reached(self) {
            let frame = tokio::time::timeout(Duration::from_secs(5), next(socket)).await;
            let frame = frame.unwrap_or_else(|_| panic!("{topic}: waited in vain: {self:?}"));
            self.take(&frame, topic);
        }
    }

    fn take(&mut self, frame: &Value, topic: &str) {
        let number = |field: &str| frame[field].as_u64().unwrap();
        match frame["type"].as_str().unwrap() {
            "heartbeat" => self.beat = frame["topics"][topic].as_u64(),
            _ if frame["topic"] != topic => {}
            "subscribed" => self.recovery = frame["recovery"].as_str().unwrap().to_owned(),
            "snapshot" => {
                (self.epoch, self.version, self.state) = (number("epoch"), number("version"), frame["state"].clone());
                self.snapshots += 1;
            }
            "delta" => {
                assert_eq!((self.epoch, self.version), (number("epoch"), number("from")), "a delta over a gap");
                merge::patch(&mut self.state, &frame["patch"]);
                self.version = number("to");
                self.deltas += 1;
            }
            other => panic!("{other}: {frame}"),
        }
        self.text = frame.to_string();
    }
}

fn row(lon: f64, orders: &[&str]) -> RiderRow {
    let orders: Vec<_> = orders.iter().map(|order| json!(order)).collect();
    serde_json::from_value(json!({
        "on_shift": true, "position": {"lat": 31.0, "lon": lon, "fix_time_ms": 1_000}, "orders": orders,
    }))
    .unwrap()
}

fn word(version: u64, lon: f64, orders: &[&str]) -> RiderWord {
    RiderWord { epoch: 1, version, at_ms: UnixMillis(1_000), rider: "r1".parse().unwrap(), row: row(lon, orders) }
}

fn carried(order: &str, stage: &str) -> Value {
    json!({"id": order, "status": 3, "rev": 4, "stage": stage, "rider": {"id": "r1"}, "user_id": "u1", "amount_minor": 5,
           "position": {"lat": 31.5, "lon": 121.5}, "destination": {"lat": 31.1, "lon": 121.4}})
}

#[tokio::test]
async fn a_rider_sees_the_trip_with_what_the_riders_view_shows() {
    let fake = Fake::default();
    for order in ["a", "b"] {
        fake.put(order, Owned::new(carried(order, "packed")));
    }
    fake.put_rider(word(5, 121.0, &["b", "a"]), false);
    let rig = rig(&fake);
    rig.personal.put("a", r#"{"by":"x","settled":true,"address":"1 Road"}"#.into()).await.unwrap();
    let mut socket = connect(&rig, "role=rider").await;
    let frame = json!({"type": "subscribe", "topic": "rider/r1"});
    let mut page = Page::subscribe(&mut socket, frame).await;
    let stops = |page: &Page| page.state["stops"].as_array().unwrap().clone();
    let orders = |page: &Page| stops(page).iter().map(|s| s["order"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(orders(&page), ["b", "a"]);
    assert_eq!((&stops(&page)[1]["address"], &page.state["position"]["lon"]), (&json!("1 Road"), &json!(121.0)));
    for hidden in ["user_id", "amount_minor", "31.5"] {
        assert!(!page.text.contains(hidden), "{}", page.text);
    }
    // A move is a delta of the position, not of the stops.
    fake.put_rider(word(6, 121.1, &["b", "a"]), true);
    page.until(&mut socket, "rider/r1", |p| p.state["position"]["lon"] == 121.1).await;
    assert!(!page.text.contains("stops"), "{}", page.text);
    // What the order says.
    let update = fake.with("b", |owned| owned.step(carried("b", "handed_over")));
    fake.say("b", &update);
    page.until(&mut socket, "rider/r1", |p| p.state["stops"][0]["stage"] == "handed_over").await;
    // A word that is lost is made good by the one that is said again.
    fake.put_rider(word(7, 121.2, &["b"]), false);
    fake.put_rider(word(7, 121.2, &["b"]), true);
    page.until(&mut socket, "rider/r1", |p| orders(p) == ["b"]).await;
    assert!(!page.state.to_string().contains("Road"));
    // Another rider has it now, though this one's document doesn't say so yet.
    let other = json!({"id": "b", "status": 3, "rider": {"id": "r2"}});
    let update = fake.with("b", |owned| owned.step(other));
    fake.say("b", &update);
    page.until(&mut socket, "rider/r1", |p| orders(p).is_empty()).await;
    assert_eq!(page.snapshots, 1);
    // A rider's deltas hold all stops and are kept for nobody: who comes back gets what is there now.
    let before = page.version;
    send(&mut socket, json!({"type": "subscribe", "topic": "rider/r1", "version": before - 1, "epoch": page.epoch}))
        .await;
    page.version -= 1;
    page.until(&mut socket, "rider/r1", |p| p.version == before).await;
    assert_eq!((page.recovery.as_str(), page.snapshots), ("reset", 2));
    let unknown = json!({"type": "subscribe", "topic": "rider/nobody"});
    send(&mut socket, unknown).await;
    let problem = loop {
        let frame = next(&mut socket).await;
        if frame["type"] == "error" {
            break frame["problem"].clone();
        }
    };
    assert_eq!((&problem["status"], &problem["field"]), (&json!(404), &json!("topic")));
    // With its followers the board goes, and what it asked of the owner and the hub.
    socket.close(None).await.unwrap();
    eventually("nobody follows", || rig.bridge.boards().desks() == 0 && fake.boards().1 == 0).await;
}

fn order(warehouse: &str, lon: f64, rider: Option<&str>) -> OrderRow {
    let mut row = json!({"status": 2, "stage": "picking", "warehouse": {"id": warehouse, "lat": 31.0, "lon": 121.0},
        "destination": {"lat": 31.0, "lon": lon}, "items": 2, "created_at_ms": 1});
    if let Some(rider) = rider {
        row["rider"] = json!({"id": rider});
    }
    serde_json::from_value(row).unwrap()
}

pub fn page(version: u64, riders: Vec<(&str, RiderRow)>, orders: Vec<(&str, OrderRow)>) -> CellPage {
    CellPage {
        epoch: 1,
        version,
        at_ms: UnixMillis(1_000),
        riders: riders.into_iter().map(|(id, row)| (id.parse().unwrap(), row)).collect(),
        orders: orders.into_iter().map(|(id, row)| (id.parse().unwrap(), row)).collect(),
        next: None,
    }
}

fn moved(from: u64, rider: &str, row: RiderRow) -> CellWord {
    let riders: BTreeMap<_, _> = [(rider.parse().unwrap(), Some(row))].into();
    CellWord::Delta { epoch: 1, from, to: from + 1, at_ms: UnixMillis(2_000), riders, orders: BTreeMap::new() }
}

#[tokio::test]
async fn the_cell_shows_what_lies_in_the_box_and_heals_with_a_heartbeat() {
    let fake = Fake::default();
    let orders = || vec![("a", order("w1", 121.02, Some("r1"))), ("far", order("w2", 122.0, None))];
    fake.put_cell(page(1, vec![("r1", row(121.01, &["a"])), ("r2", row(121.5, &[]))], orders()));
    let rig = rig(&fake);
    let mut socket = connect(&rig, "role=operations").await;
    let frame = json!({"type": "subscribe", "topic": "cell", "box": [121.0, 30.9, 121.1, 31.1]});
    let mut cell = Page::subscribe(&mut socket, frame).await;
    let ids = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!((ids(&cell.state["riders"]), ids(&cell.state["orders"])), (vec!["r1".into()], vec!["a".to_owned()]));
    assert_eq!(cell.state["orders"]["a"].get("items"), None);
    // Into the box and out of it; several moves are one delta.
    fake.say_cell(&moved(1, "r2", row(121.05, &[])));
    fake.say_cell(&moved(2, "r1", row(121.04, &["a"])));
    fake.say_cell(&moved(3, "r1", row(121.2, &["a"])));
    cell.until(&mut socket, "cell", |p| ids(&p.state["riders"]) == ["r2"]).await;
    assert!(cell.deltas <= 2, "{cell:?}");
    // A word that nobody hears: the heartbeat ahead shows it, and the cell is read anew.
    let (reads, snapshots) = (fake.boards().0, cell.snapshots);
    fake.put_cell(page(5, vec![("r2", row(121.06, &[]))], orders()));
    fake.say_cell(&CellWord::Heartbeat { epoch: 1, version: 5 });
    cell.until(&mut socket, "cell", |p| p.state["riders"]["r2"]["position"]["lon"] == 121.06).await;
    assert!(fake.boards().0 > reads && cell.snapshots == snapshots);
    fake.say_cell(&CellWord::Heartbeat { epoch: 1, version: 5 });
    let version = cell.version;
    cell.until(&mut socket, "cell", |p| p.beat == Some(version)).await;
    // Another box, by subscribing again from here: nobody resumes into another box.
    let wide = json!({"type": "subscribe", "topic": "cell", "box": [120.0, 30.0, 123.0, 32.0],
                      "version": version, "epoch": cell.epoch});
    send(&mut socket, wide).await;
    cell.until(&mut socket, "cell", |p| p.snapshots == snapshots + 1).await;
    assert_eq!((cell.recovery.as_str(), ids(&cell.state["orders"]).len()), ("reset", 2));
    // The owner falls silent and doesn't answer.
    fake.set_down(true);
    cell.until(&mut socket, "cell", |p| p.beat.is_none()).await;
    fake.set_down(false);
    cell.until(&mut socket, "cell", |p| p.beat.is_some()).await;
}

#[tokio::test]
async fn a_warehouse_sees_its_own_and_a_rider_drawing_near() {
    let fake = Fake::default();
    let orders = vec![("a", order("w1", 121.02, Some("r1"))), ("b", order("w2", 122.0, None))];
    fake.put_cell(page(1, vec![("r1", row(121.01, &["a"]))], orders));
    let rig = rig(&fake);
    let mut socket = connect(&rig, "role=warehouse&datum=gcj02").await;
    let topic = "warehouse/w1";
    let mut board = Page::subscribe(&mut socket, json!({"type": "subscribe", "topic": topic})).await;
    let distance = |p: &Page| p.state["orders"]["a"]["rider"]["arrival"]["distance_m"].as_f64();
    let first = distance(&board).unwrap();
    assert_eq!(board.state["orders"].as_object().unwrap().len(), 1);
    fake.say_cell(&moved(1, "r1", row(121.001, &["a"])));
    board.until(&mut socket, topic, |p| distance(p) < Some(first)).await;
    assert!(board.text.len() < 400 && !board.text.contains("lat"), "{}", board.text);
    let gone = [("a".parse().unwrap(), None)].into();
    let riders = BTreeMap::new();
    fake.say_cell(&CellWord::Delta { epoch: 1, from: 2, to: 3, at_ms: UnixMillis(3_000), riders, orders: gone });
    board.until(&mut socket, topic, |p| p.state["orders"] == json!({})).await;
    assert_eq!(board.snapshots, 1);
}

#[tokio::test]
async fn alerts_come_whole_and_one_that_was_lost_is_read_again() {
    let fake = Fake::default();
    let alert = |id: &str, state: &str| json!({"alert": id, "kind": "late", "order": "a", "state": state, "by_m": 7});
    fake.alert(alert("x", "raised"), true);
    fake.alert(alert("y", "cleared"), true);
    let rig = rig(&fake);
    let mut socket = connect(&rig, "").await;
    let mut board = Page::subscribe(&mut socket, json!({"type": "subscribe", "topic": "alerts"})).await;
    assert_eq!(board.state, json!({"alerts": {"x": alert("x", "raised")}}));
    fake.alert(alert("z", "raised"), true);
    board.until(&mut socket, "alerts", |p| p.state["alerts"]["z"] == alert("z", "raised")).await;
    fake.alert(alert("x", "acknowledged"), false);
    board.until(&mut socket, "alerts", |p| p.state["alerts"]["x"] == alert("x", "acknowledged")).await;
    assert_eq!((board.snapshots, rig.metrics.hub_resyncs.get()), (1, 1));
    let version = board.version;
    board.until(&mut socket, "alerts", |p| p.beat == Some(version)).await;
}

#[tokio::test]
async fn what_does_not_fit_into_a_snapshot_asks_for_a_smaller_box() {
    let fake = Fake::default();
    let orders = (0..50).map(|n| (format!("o{n}"), order("w1", 121.0 + f64::from(n) / 1e3, None)));
    let orders: Vec<_> = orders.collect();
    fake.put_cell(page(1, vec![], orders.iter().map(|(id, row)| (id.as_str(), row.clone())).collect()));
    let mut options = Options::default();
    options.boards.snapshot_max_bytes = 4_000;
    let rig = fake.bridge(options);
    let mut socket = connect(&rig, "").await;
    next(&mut socket).await;
    send(&mut socket, json!({"type": "subscribe", "topic": "cell"})).await;
    let error = next(&mut socket).await;
    assert_eq!((&error["problem"]["status"], &error["problem"]["field"]), (&json!(413), &json!("box")));
    send(&mut socket, json!({"type": "subscribe", "topic": "cell", "box": [121.0, 30.0, 121.005, 32.0]})).await;
    assert_eq!(next(&mut socket).await["recovery"], "fresh");
    assert_eq!(next(&mut socket).await["state"]["orders"].as_object().unwrap().len(), 6);
}
